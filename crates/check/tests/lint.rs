//! The rules of `lint`.

use tallies::{Registry, collect::Collected, encode};
use tallies_check::lint;
use tallies_check::lint::Rule;

#[test]
fn the_metrics_about_tallies_have_no_problems() {
    let problems = lint(&tallies::snapshot());
    let ours: Vec<_> = problems
        .iter()
        .filter(|problem| problem.family().starts_with("tallies_"))
        .collect();
    assert!(ours.is_empty(), "{ours:?}");
    assert!(tallies::snapshot().get("tallies_series", &[]).is_some());
}

/// Each rule, with a page that breaks no other.
#[test]
fn every_rule_finds_its_own_problem() {
    for (page, family, rule) in [
        ("# TYPE a gauge\na 1\n", "a", Rule::Help),
        (
            "# HELP a h\n# TYPE a counter\na 1\n",
            "a",
            Rule::CounterSuffix,
        ),
        (
            "# HELP a_total h\n# TYPE a_total gauge\na_total 1\n",
            "a_total",
            Rule::TotalSuffix,
        ),
        (
            "# HELP a_timestamp_seconds h\n# TYPE a_timestamp_seconds summary\n\
             a_timestamp_seconds_sum 1\na_timestamp_seconds_count 1\n",
            "a_timestamp_seconds",
            Rule::TimestampSuffix,
        ),
        (
            "# HELP a_sum h\n# TYPE a_sum gauge\na_sum 1\n",
            "a_sum",
            Rule::SampleSuffix,
        ),
        (
            "# HELP a_minutes h\na_minutes 1\n",
            "a_minutes",
            Rule::BaseUnit,
        ),
        ("# HELP a_ms h\na_ms 1\n", "a_ms", Rule::UnitAbbreviation),
        (
            "# HELP a_gauge h\n# TYPE a_gauge gauge\na_gauge 1\n",
            "a_gauge",
            Rule::KindInName,
        ),
        ("# HELP a:b h\na:b 1\n", "a:b", Rule::Colon),
        ("# HELP aB h\naB 1\n", "aB", Rule::SnakeCase),
        ("# HELP a h\na{bC=\"1\"} 1\n", "a", Rule::SnakeCase),
        (
            "# HELP a h\n# TYPE a gauge\na{le=\"1\"} 1\n",
            "a",
            Rule::ReservedLabel,
        ),
        ("# HELP a h\na{__b=\"1\"} 1\n", "a", Rule::LabelUnderscores),
        (
            "# HELP a_by_route h\na_by_route{route=\"1\"} 1\n",
            "a_by_route",
            Rule::LabelInName,
        ),
        ("# HELP a h\na{b=\"__overflow__\"} 1\n", "a", Rule::Overflow),
        (
            "# HELP a h\n# TYPE a summary\na_sum 1\na_count 1\n# HELP a_created h\n\
             # TYPE a_created gauge\na_created 1\n",
            "a_created",
            Rule::SharedSamples,
        ),
    ] {
        let read = tallies_check::read(page).unwrap_or_else(|e| panic!("{e}: {page}"));
        let found = lint(&read);
        let found: Vec<_> = found.iter().map(|p| (p.family(), p.rule())).collect();
        assert_eq!(found, [(family, rule)], "{page}");
    }
}

#[test]
fn ten_thousand_series_are_no_problem_and_one_more_is() {
    for (series, problems) in [(10_000, 0), (10_001, 1)] {
        let lines = (0..series).map(|i| format!("a{{b=\"{i}\"}} 1\n"));
        let page: String = std::iter::once("# HELP a h\n".to_owned())
            .chain(lines)
            .collect();
        let found = lint(&tallies_check::read(page).unwrap());
        assert_eq!(found.len(), problems, "{found:?}");
        assert!(
            found
                .iter()
                .all(|problem| problem.rule() == Rule::TooManySeries)
        );
    }
}

/// The reader rejects such a page of OpenMetrics, and text has no units.
#[test]
fn a_name_without_its_unit_is_a_problem_of_a_registry() {
    let registry = Registry::new();
    registry.set_lint(false);
    let sent = tallies::Counter::builder("sent_total", "Sent.").unit("bytes");
    sent.register(&registry).unwrap();
    let found = lint(&registry.snapshot());
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(
        (found[0].family(), found[0].rule()),
        ("sent_total", Rule::Unit)
    );
    assert!(found[0].text().contains("`sent_bytes_total`"));
}

/// OpenMetrics adds the suffix, and text has no infos.
#[test]
fn an_info_without_its_suffix_is_a_problem_of_a_registry() {
    let registry = Registry::new();
    registry.set_lint(false);
    registry
        .info("build", "This program.", &[("version", "1")])
        .unwrap();
    registry
        .info("app_info", "This program.", &[("version", "1")])
        .unwrap();
    let found = lint(&registry.snapshot());
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(
        (found[0].family(), found[0].rule()),
        ("build", Rule::InfoSuffix)
    );
    assert!(found[0].text().contains("`build_info`"));
}

/// A registry and its page agree, whatever declared the family.
#[test]
fn a_registry_and_its_page_have_the_same_problems() {
    let registry = Registry::new();
    registry.set_lint(false);
    let jobs = tallies::Counter::builder("jobsDone", "Jobs.").labels(["queueName"]);
    jobs.register(&registry).unwrap().with(["mail"]).inc();
    registry.histogram("wait_ms", "").unwrap().observe(1.0);
    let collect = |out: &mut Collected| Ok(out.gauge("pool_size_count", "Size.", &[], 1.0)?);
    registry.add_collector("pool", collect).unwrap();
    let snapshot = registry.snapshot();
    let read = tallies_check::read(encode::text(&snapshot)).unwrap();
    assert_eq!(lint(&read), lint(&snapshot));
    assert_eq!(lint(&snapshot).len(), 6, "{:?}", lint(&snapshot));
}

/// Each of them was once compared with all before it: 100 000 took a minute in an optimized build.
#[test]
fn families_with_names_in_utf8_are_not_compared_with_each_other() {
    let page: String = (0..50_000)
        .map(|i| format!("# HELP \"é{i}\" An e.\n# TYPE \"é{i}\" gauge\n{{\"é{i}\"}} 1\n"))
        .chain([
            "# HELP \"é1.a\" An e.\n{\"é1.a\"} 1\n# HELP \"é1_a\" An e.\n{\"é1_a\"} 1\n".to_owned(),
        ])
        .collect();
    let problems = lint(&tallies_check::read(page).unwrap());
    let found: Vec<_> = problems.iter().map(|problem| problem.text()).collect();
    assert_eq!(
        found,
        ["it has a sample name in common with `é1.a`, in some format"]
    );
}
