//! Every kind in every format, compared as a whole; samples that a format forbids are left out;
//! UTF-8 names, and names that would become equal.

use std::time::{Duration, SystemTime};

use tallies::encode::{self, Escaping, Format, Options};
use tallies::snapshot::Kind;
use tallies::{
    Counter, Gauge, Histogram, Registry, collect::Collected, label::AnyLabels, snapshot::Snapshot,
};

use crate::client_model;
use crate::kinds::{Request, every_kind, utf8_names};

use crate::support::exposition;

fn page(snapshot: &Snapshot, options: Options, format: Format) -> String {
    let mut page = Vec::new();
    options.write(snapshot, format, &mut page);
    String::from_utf8(page).unwrap()
}

/// Compares `page` with the file in `tests/golden`. With `GOLDEN=write` in the environment it
/// writes the file first.
fn golden(name: &str, page: &str) {
    let file = format!("{}/../golden/{name}", env!("CARGO_MANIFEST_DIR"));
    if std::env::var("GOLDEN").is_ok_and(|what| what == "write") {
        std::fs::write(&file, page).unwrap();
    }
    assert_eq!(page, std::fs::read_to_string(&file).unwrap(), "{name}");
}

#[test]
fn every_kind_in_text() {
    golden("formats.txt", &encode::text(&every_kind()));
}

#[test]
fn every_kind_in_open_metrics() {
    let snapshot = every_kind();
    golden("formats.openmetrics", &encode::open_metrics(&snapshot));
}

#[test]
fn every_kind_in_protobuf() {
    let mut all = String::new();
    for mut family in client_model::read(&encode::protobuf(&every_kind())) {
        let metrics = std::mem::take(&mut family.metric);
        all += &format!("{family:?}\n");
        for mut metric in metrics {
            // Creation times have a test of their own.
            if let Some(counter) = &mut metric.counter {
                assert!(counter.created_timestamp.take().is_some());
            }
            if let Some(histogram) = &mut metric.histogram {
                let is_gauge = family.r#type() == client_model::MetricType::GaugeHistogram;
                assert_eq!(histogram.created_timestamp.take().is_none(), is_gauge);
            }
            if let Some(summary) = &mut metric.summary {
                assert!(summary.created_timestamp.take().is_some());
            }
            all += &format!("  {metric:?}\n");
        }
    }
    golden("formats.protobuf", &all);
}

/// A collector's gauge histograms, read back by our own reader. In text they are plain histograms.
#[test]
fn gauge_histograms_read_back() {
    let snapshot = every_kind();
    let open_metrics = tallies_check::read(encode::open_metrics(&snapshot)).unwrap();
    let text = tallies_check::read_text(encode::text(&snapshot)).unwrap();
    for name in ["ages_seconds", "offsets"] {
        let own = snapshot.family(name).unwrap();
        for (read, kind) in [
            (&open_metrics, Kind::GaugeHistogram),
            (&text, Kind::Histogram),
        ] {
            let read = read.family(name).unwrap();
            assert_eq!((own.kind(), read.kind()), (Kind::GaugeHistogram, kind));
            assert_eq!(own.len(), read.len());
            for ((ours, value), (theirs, again)) in own.series().zip(read.series()) {
                assert!(ours.iter().eq(theirs.iter()));
                assert_eq!(value, again);
            }
        }
    }
}

/// In every format, label values are read back unchanged, whatever characters they contain.
#[test]
fn label_values_of_every_script_and_every_control_character() {
    let registry = Registry::new();
    let gauge = Gauge::builder("g", "")
        .labels(["v"])
        .register(&registry)
        .unwrap();
    let mut values: Vec<String> = (1..0x300)
        .chain((0x300..0x11_0000).step_by(1021))
        .filter_map(char::from_u32)
        .map(|c| format!("{c}x{c}"))
        .collect();
    values.push("\u{0}\u{feff}\u{2028}\"\\n\\\\\n\r\n".into());
    values.push("x".repeat(20_000));
    for value in &values {
        gauge.with([value]).set(1.0);
    }
    let snapshot = registry.snapshot();
    let text = |page: &str| {
        let families = exposition::read(page).unwrap();
        let samples = families[0].samples.iter();
        samples.map(|s| s.labels[0].1.clone()).collect::<Vec<_>>()
    };
    assert_eq!(text(&encode::text(&snapshot)), values);
    let open_metrics = encode::open_metrics(&snapshot);
    assert_eq!(text(open_metrics.strip_suffix("# EOF\n").unwrap()), values);
    let families = client_model::read(&encode::protobuf(&snapshot));
    let read = families[0].metric.iter().map(|m| m.label[0].value());
    assert!(read.eq(values.iter().map(String::as_str)));
}

/// Checks creation times: a series is created when its first update arrives or when it is cleared;
/// in an interval, when the interval began.
#[test]
fn series_have_creation_times() {
    let registry = Registry::new();
    let now = || SystemTime::now() + Duration::from_millis(1);
    // Creation times come from a coarse clock and may be one tick old.
    const TICK: Duration = Duration::from_millis(10);
    let before = SystemTime::now() - TICK - Duration::from_millis(1);
    let c = Counter::builder("c_total", "")
        .labels(["x"])
        .limit(2)
        .register(&registry)
        .unwrap();
    ["a", "b", "beyond"].iter().for_each(|x| c.with([x]).inc());
    let made = now();
    let created = |snapshot: &Snapshot| -> Vec<SystemTime> {
        let family = snapshot.family("c_total").unwrap();
        (0..family.len())
            .map(|i| family.created(i).unwrap())
            .collect()
    };
    let first = registry.snapshot();
    assert_eq!(created(&first).len(), 3);
    assert!(created(&first).iter().all(|t| before < *t && *t < made));
    // Every scrape reports the same creation times.
    assert_eq!(created(&registry.snapshot()), created(&first));
    let interval = registry.snapshot().since(&first);
    let taken = first.taken() - Duration::from_millis(1);
    assert!(created(&interval).iter().all(|t| taken < *t));
    // Merged processes report the earlier creation time.
    let mut both = first.clone();
    both.merge(&interval).unwrap();
    assert_eq!(created(&both), created(&first));
    // A series that is removed and used again has a new creation time.
    let mut page = Vec::new();
    while SystemTime::now() < made + TICK {
        std::hint::spin_loop();
    }
    assert!(c.remove(["a"]));
    (0..3).for_each(|_| _ = registry.snapshot());
    c.with(["a"]).inc();
    let later = registry.snapshot();
    let family = later.family("c_total").unwrap();
    let a = family
        .series()
        .position(|(labels, _)| labels.get("x").as_deref() == Some("a"));
    let a = family.created(a.unwrap()).unwrap();
    assert!(a >= made - Duration::from_millis(2), "{a:?} {made:?}");

    let millis = |t: SystemTime| {
        t.duration_since(SystemTime::UNIX_EPOCH)
            .unwrap()
            .as_millis()
    };
    let expected = millis(created(&first)[0]);
    Options::new()
        .created(true)
        .write(&first, Format::OPEN_METRICS, &mut page);
    let page = String::from_utf8(page).unwrap();
    let lines: Vec<_> = page.lines().collect();
    let line = lines
        .iter()
        .find(|line| line.starts_with("c_created{x=\"a\"} "));
    let seconds: f64 = line.unwrap().rsplit(' ').next().unwrap().parse().unwrap();
    assert_eq!((seconds * 1000.0).round() as u128, expected);
    // Next to the total of the same series.
    assert!(lines[1].starts_with("c_total{") && lines[2].starts_with("c_created{"));
    assert!(!encode::open_metrics(&first).contains("_created"));
    let read = client_model::read(&encode::protobuf(&first));
    let counter = read[0].metric[0].counter.as_ref().unwrap();
    let timestamp = counter.created_timestamp.as_ref().unwrap();
    assert_eq!(u128::from(timestamp.millis()), expected);
}

/// When merged with a histogram, which has creation times, a gauge histogram used to write one
/// under another family's name.
#[test]
fn a_gauge_histogram_has_no_creation_time() {
    let registry = Registry::new();
    registry
        .add_collector("ages", |out: &mut Collected| {
            Ok(out.gauge_histogram("b_ages", "", &[("x", "1")], &[1.0], &[1, 0], 0.5)?)
        })
        .unwrap();
    let mut both = registry.snapshot();
    let other = Registry::new();
    other.histogram("a_seconds", "").unwrap().observe(1.0);
    Histogram::builder("b_ages", "")
        .buckets(&[1.0])
        .register(&other)
        .unwrap()
        .observe(2.0);
    both.merge(&other.snapshot()).unwrap();
    let page = page(&both, Options::new().created(true), Format::OPEN_METRICS);
    assert_eq!(page.matches("_created").count(), 1, "{page}");
    assert_eq!(page.matches("b_ages_gcount").count(), 2, "{page}");
}

#[test]
fn timestamps_are_optional() {
    let snapshot = every_kind();
    let options = Options::new().timestamps(true);
    let millis = snapshot
        .taken()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap()
        .as_millis();
    let samples = |page: String, stamp: String| {
        let mut lines = page.lines().filter(|line| !line.starts_with('#'));
        assert!(lines.all(|line| line.ends_with(&stamp)), "{page}");
    };
    let text = page(&snapshot, options, Format::TEXT);
    assert_eq!(
        text.replace(&format!(" {millis}\n"), "\n"),
        encode::text(&snapshot)
    );
    samples(text, format!(" {millis}"));
    let open_metrics = page(&snapshot, options, Format::OPEN_METRICS);
    samples(
        open_metrics,
        format!(" {}.{:03}", millis / 1000, millis % 1000),
    );
    let mut protobuf = Vec::new();
    options.write(&snapshot, Format::PROTOBUF, &mut protobuf);
    for family in client_model::read(&protobuf) {
        let mut stamps = family.metric.iter().map(|m| m.timestamp_ms());
        assert!(stamps.all(|stamp| stamp as u128 == millis));
    }
}

#[test]
fn utf8_names_in_every_format_and_scheme() {
    static DECLARED: Counter<Request> = Counter::new_utf8("formats.declared");
    DECLARED
        .with(Request {
            method: "GET",
            status: 1,
        })
        .inc();
    let labels = [("http.method", "GET"), ("status", "1")];
    assert_eq!(
        tallies::snapshot().get("formats.declared", &labels),
        Some(1.0)
    );

    let snapshot = utf8_names();
    assert_eq!(
        snapshot.get(
            "http.requests_total",
            &[("http.method", "\"\\\n"), ("status", "200")]
        ),
        Some(2.0)
    );
    let mut all = String::new();
    for scheme in [
        Escaping::AllowUtf8,
        Escaping::Underscores,
        Escaping::Dots,
        Escaping::Values,
    ] {
        let options = Options::new();
        let text = page(&snapshot, options, Format::TEXT.escaped(scheme));
        let open_metrics = page(&snapshot, options, Format::OPEN_METRICS.escaped(scheme));
        all += &format!("{scheme:?}\n\n{text}\n{open_metrics}\n");
        // Protobuf uses the same names as the other two formats.
        let mut protobuf = Vec::new();
        let format = Format::PROTOBUF.escaped(scheme);
        options.write(&snapshot, format, &mut protobuf);
        for family in client_model::read(&protobuf) {
            let quotes = |name: &str| {
                let old = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
                if old {
                    name.to_owned()
                } else {
                    format!("{name:?}")
                }
            };
            let name = quotes(family.name());
            assert!(text.contains(&format!("# TYPE {name} ")), "{name}\n{text}");
            for label in family.metric.iter().flat_map(|m| &m.label) {
                let name = quotes(label.name());
                assert!(text.contains(&format!("{name}=\"")), "{name}\n{text}");
            }
        }
    }
    golden("utf8.txt", &all);
}

#[test]
fn names_that_would_be_equal_are_refused() {
    let registry = Registry::new();
    let counter = |name: &str| {
        Counter::builder(name, "")
            .utf8()
            .register(&registry)
            .map(drop)
    };
    registry.histogram("a_latency", "").unwrap();
    registry.counter("a_calls_total", "").unwrap();
    registry.info("a_info", "", &[("b", "c")]).unwrap();
    for name in [
        // The name of another family's samples.
        "a_latency_sum",
        "a_latency_bucket",
        "a_latency_count",
        "a_latency_created",
        "a_calls",
        "a_calls_created",
        "a",
        // Equal once escaped, each name in another scheme.
        "a.latency",
        "a.latency.count",
        "a.calls_total",
        "a.calls",
    ] {
        let error = counter(name).unwrap_err().to_string();
        assert!(
            error.contains("would expose the same samples as `a_"),
            "{error}"
        );
        assert!(error.contains(name) && error.contains(".rs:"), "{error}");
    }
    counter("a.b").unwrap();
    let error = counter("a:b c").map(|()| counter("a:b_c").unwrap_err());
    assert!(error.unwrap().to_string().contains("`a:b c`"));
    // Two names that need escaping, and a dot that looks like an escaped one.
    assert!(counter("a b").unwrap_err().to_string().contains("`a.b`"));
    assert!(
        counter("a_dot_b").is_ok(),
        "`_` becomes `__` where `.` becomes `_dot_`"
    );
    // Label names within one family.
    let labels = |one: &str, two: &str| {
        Gauge::builder("g", "")
            .utf8()
            .labels([one, two])
            .register(&registry)
            .map(drop)
    };
    let error = labels("x.y", "x_y").unwrap_err().to_string();
    assert!(
        error.contains("`x_y` and `x.y` of family `g` both become `x_y`"),
        "{error}"
    );
    assert!(labels("x y", "x_y").is_err() && labels("x.y", "x y").is_err());
    for bad in ["", "a\"", "a\\", "a\n", "__x"] {
        assert!(labels("ok", bad).is_err(), "{bad:?}");
    }
    assert!(counter("").is_err() && counter("a\"b").is_err());
    labels("x.y", "z").unwrap();
    let any = Counter::builder("any", "")
        .label_set::<AnyLabels>()
        .utf8()
        .register(&registry)
        .unwrap();
    assert!(any.check(&[("x.y", "1"), ("x_y", "2")]).is_err());
    assert!(any.check(&[("x.y", "1"), ("z", "2")]).is_ok());
    // Without `utf8`, such names are still rejected.
    assert!(registry.counter("x.y", "").is_err());
    let plain = Gauge::builder("plain", "").labels(["x.y"]);
    assert!(plain.register(&registry).is_err());
}
