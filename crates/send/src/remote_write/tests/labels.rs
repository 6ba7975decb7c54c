//! The labels of series, and those of the settings.

use super::*;

#[test]
fn labels_are_sorted_and_have_values() {
    let labels = [
        ("zone", "b"),
        ("Upper", "é\"\\\n"),
        ("empty", ""),
        ("_a", "1"),
    ];
    let family = family("g", Kind::Gauge, &[(&labels, Value::Gauge(1.0))]);
    for settings in both() {
        let settings = settings
            .label("job", "mail")
            .label("zone", "z")
            .label("empty", "e");
        let [sample] = &sent(&settings, &snapshot([family.clone()], NOW))[..] else {
            panic!("one sample");
        };
        let expected = [
            ("Upper", "é\"\\\n"),
            ("__name__", "g"),
            ("_a", "1"),
            ("empty", "e"),
            ("job", "mail"),
            ("zone", "b"),
        ];
        let seen: Vec<_> = sample.labels.iter().map(|(n, v)| (&**n, &**v)).collect();
        assert_eq!(seen, expected);
    }
}

#[test]
fn constant_labels_are_labels_of_every_series() {
    let registry = tallies::Registry::new();
    registry.add_constant("host", "a\"b").unwrap();
    let jobs = tallies::Counter::builder("jobs_total", "").labels(["queue"]);
    let jobs = jobs.constant("site", "s").register(&registry).unwrap();
    jobs.with(["mail"]).inc();
    jobs.with(["print, \"2\""]).inc();
    let samples = sent(&v2().label("host", "other"), &registry.snapshot());
    let texts: Vec<_> = samples.iter().map(Seen::text).collect();
    assert_eq!(
        texts,
        [
            r#"jobs_total{host="a\"b",queue="mail",site="s"}"#,
            r#"jobs_total{host="a\"b",queue="print, \"2\"",site="s"}"#,
        ]
    );
}

#[test]
fn names_outside_the_legacy_characters_are_sent_as_they_are() {
    let family = family(
        "a.b c",
        Kind::Summary,
        &[(&[("l.é", "1")], summary(1, 2.0, &[]))],
    );
    for settings in both() {
        let samples = sent(&settings, &snapshot([family.clone()], NOW));
        let texts: Vec<_> = samples.iter().map(Seen::text).collect();
        assert_eq!(texts, [r#"a.b c_sum{l.é="1"}"#, r#"a.b c_count{l.é="1"}"#]);
    }
}

#[test]
fn wrong_labels_are_an_error_at_the_start() {
    let why = |names: &[(&str, &str)]| {
        let settings = names
            .iter()
            .fold(RemoteWrite::new(), |settings, (name, value)| {
                settings.label(name, value)
            });
        settings.start().err().unwrap_or_default()
    };
    assert_eq!(why(&[("job", "a"), ("instance", "b"), ("_x9", "é")]), "");
    for name in ["", "9a", "a-b", "a.b", "é", "a\n"] {
        let expected = format!(
            "label `{name}` of remote write has to match [a-zA-Z_][a-zA-Z0-9_]*, such as `instance`"
        );
        assert_eq!(why(&[("job", "a"), (name, "x")]), expected);
    }
    for (labels, expected) in [
        (
            &[("__name__", "x")][..],
            "is reserved for Prometheus; use a name that does not begin",
        ),
        (&[("le", "1")], "belongs to the buckets of histograms"),
        (
            &[("quantile", "1")],
            "belongs to the buckets of histograms or to the quantiles of",
        ),
        (
            &[("job", "")],
            "has an empty value, which is the same as no label; leave it out",
        ),
        (
            &[("job", "a"), ("job", "a")],
            "is given twice; give it once",
        ),
    ] {
        let why = why(labels);
        assert!(why.contains(expected), "{why}");
    }
}
