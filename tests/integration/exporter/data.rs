//! Rows E4 and R2: metrics that data describes.

use tallies::encode::{open_metrics, text};
use tallies::{Registry, collect::Collected};
use tallies_config::{Config, Configure, MetricConfig, MetricKind, MetricMap};

fn error(configs: impl IntoIterator<Item = MetricConfig>) -> String {
    let registry = Registry::new();
    let error = registry.create_metrics(configs).unwrap_err().to_string();
    assert!(
        registry.names().is_empty(),
        "{error}: {:?}",
        registry.names()
    );
    error
}

fn one(kind: &str) -> MetricConfig {
    MetricConfig::new("m1", "desc1", kind.parse().unwrap())
}

#[test]
fn e4_every_kind_of_metric_from_data() {
    let registry = Registry::new();
    registry.set_lint(false);
    let metrics = registry
        .create_metrics([
            MetricConfig::new("c", "A counter.", MetricKind::Counter).labels(["b", "a"]),
            MetricConfig::new("g", "A gauge.", MetricKind::Gauge),
            MetricConfig::new("h", "A histogram.", MetricKind::Histogram)
                .set("buckets", [1.0, 10.0]),
            MetricConfig::new("s", "A summary.", MetricKind::Summary),
            MetricConfig::new("e", "An enum.", MetricKind::Enum).set("states", ["on", "off"]),
            MetricConfig::new("x", "An info.", MetricKind::Info),
        ])
        .unwrap();
    assert_eq!(metrics.get("c").unwrap().labels(), ["a", "b"]);
    let series = metrics.with("c", &[("b", "2"), ("a", "1")]).unwrap();
    series.inc().unwrap();
    series.add(1.5).unwrap();
    metrics.with("g", &[]).unwrap().set(-3.0).unwrap();
    metrics.with("h", &[]).unwrap().observe(5.0).unwrap();
    metrics.with("s", &[]).unwrap().observe(0.25).unwrap();
    metrics.with("e", &[]).unwrap().state("off").unwrap();
    metrics
        .with("x", &[])
        .unwrap()
        .info(&[("version", "1")])
        .unwrap();
    let page = text(&registry.snapshot());
    for line in [
        "# TYPE c_total counter",
        "c_total{a=\"1\",b=\"2\"} 2.5",
        "g -3",
        "h_bucket{le=\"1.0\"} 0",
        "h_bucket{le=\"10.0\"} 1",
        "h_bucket{le=\"+Inf\"} 1",
        "s_count 1",
        "s_sum 0.25",
        "e{e=\"on\"} 0",
        "e{e=\"off\"} 1",
        "x_info{version=\"1\"} 1",
    ] {
        assert!(page.lines().any(|own| own == line), "{line}: {page}");
    }
    let page = open_metrics(&registry.snapshot());
    for line in ["# TYPE e stateset", "# TYPE x info", "# TYPE c counter"] {
        assert!(page.lines().any(|own| own == line), "{line}: {page}");
    }
}

#[test]
fn e4_the_errors_are_those_of_the_predecessor() {
    assert_eq!(
        MetricConfig::from_yaml("{metrics: {m1: {type: invalid}}}")
            .unwrap_err()
            .to_string(),
        "line 1, column 23: Invalid type for m1: must be one of counter, enum, gauge, histogram, \
         info, summary"
    );
    assert_eq!(
        error([one("enum")]),
        "No states provided for Enum metric: m1"
    );
    assert_eq!(
        error([one("enum").set("states", Vec::<String>::new())]),
        "No states provided for Enum metric: m1"
    );
}

#[test]
fn e4_labels_are_sorted_and_unknown_settings_ignored() {
    let registry = Registry::new();
    let config = one("gauge").labels(["zone", "disk"]).set("colour", "red");
    let metrics = registry.create_metrics([config]).unwrap();
    assert_eq!(metrics.get("m1").unwrap().labels(), ["disk", "zone"]);
}

#[test]
fn e4_a_metric_without_labels_is_exported_at_zero() {
    let registry = Registry::new();
    registry
        .create_metrics([
            one("counter"),
            MetricConfig::new("m2", "", MetricKind::Gauge),
        ])
        .unwrap();
    let now = registry.snapshot();
    assert_eq!(
        (now.get("m1_total", &[]), now.get("m2", &[])),
        (Some(0.0), Some(0.0))
    );
}

#[test]
fn e4_a_mistake_in_one_metric_creates_none() {
    let fine = || MetricConfig::new("m0", "", MetricKind::Gauge);
    for (config, why) in [
        (
            one("gauge").labels(["a b"]),
            "label name `a b` of family `m1`",
        ),
        (
            one("gauge").labels(["a", "a"]),
            "`a` of family `m1` is given twice",
        ),
        (one("histogram").labels(["le"]), "reserved in histograms"),
        (
            one("histogram").set("buckets", [2.0, 1.0]),
            "have to ascend",
        ),
        (
            one("histogram").set("buckets", "1"),
            "has to be a list of numbers",
        ),
        (one("histogram").set("native", 9), "from -4 to 8, got 9"),
        (one("summary").set("objectives", [0.5]), "list of pairs"),
        (one("summary").set("max_age", -1.0), "seconds above 0"),
        (one("gauge").set("limit", 0.5), "whole number from 1"),
        (one("enum").set("states", ["a", "a"]), "different texts"),
        (
            one("enum").labels(["m1"]).set("states", ["a"]),
            "label of its states",
        ),
        (
            MetricConfig::new("m-1", "", MetricKind::Gauge),
            "metric name `m-1`",
        ),
        (
            MetricConfig::new("m0", "", MetricKind::Counter),
            "`m0` is given twice",
        ),
    ] {
        let said = error([fine(), config]);
        assert!(said.contains(why), "{why}: {said}");
    }
    // A name that is taken in the registry shows only when metrics are registered.
    let registry = Registry::new();
    registry.gauge("m1", "Taken.").unwrap();
    let taken = registry.create_metrics([fine(), one("gauge")]).unwrap_err();
    assert!(taken.is_already_registered(), "{taken}");
    assert_eq!(registry.names(), ["m1"]);
    assert!(registry.get_metrics().is_empty());
}

#[test]
fn e4_an_update_of_another_kind_is_an_error() {
    let registry = Registry::new();
    let enums = one("enum").labels(["pump"]).set("states", ["on", "off"]);
    let metrics = registry.create_metrics([enums]).unwrap();
    let series = metrics.with("m1", &[("pump", "a")]).unwrap();
    for (done, why) in [
        (
            series.set(1.0),
            "metric `m1` is of type enum, which has no `set`",
        ),
        (series.inc(), "no `inc`"),
        (series.observe(1.0), "no `observe`"),
        (series.info(&[]), "no `info`"),
        (
            series.state("broken"),
            "has no state `broken`; its states are `on`, `off`",
        ),
    ] {
        let said = done.unwrap_err().to_string();
        assert!(said.contains(why), "{why}: {said}");
    }
    // A state that does not exist made a series.
    assert!(
        registry
            .snapshot()
            .families()
            .next()
            .is_none_or(|family| family.is_empty())
    );
    series.state("off").unwrap();
    let labels = [("m1", "off"), ("pump", "a")];
    assert_eq!(registry.snapshot().get("m1", &labels), Some(1.0));
    for labels in [&[][..], &[("disk", "a")]] {
        assert!(metrics.with("m1", labels).is_err());
    }
}

#[test]
fn e4_a_total_that_is_kept_elsewhere_begins_again() {
    for labels in [&[][..], &[("disk", "sda")]] {
        let registry = Registry::new();
        let names = labels.iter().map(|(name, _): &(&str, &str)| *name);
        let metrics = registry
            .create_metrics([one("counter").labels(names)])
            .unwrap();
        for total in [0.0, 7.0, 7.0, 9.5, 2.0, 3.0] {
            metrics.with("m1", labels).unwrap().set(total).unwrap();
            assert_eq!(registry.snapshot().get("m1_total", labels), Some(total));
        }
        for wrong in [-1.0, f64::NAN, f64::INFINITY] {
            assert!(
                metrics.with("m1", labels).unwrap().set(wrong).is_err(),
                "{wrong}"
            );
            assert_eq!(registry.snapshot().get("m1_total", labels), Some(3.0));
        }
    }
}

/// The difference of two totals rounds. The sum was above the last total, so setting that again
/// began the series again, and Prometheus counted all of it twice.
#[test]
fn e4_rounding_is_no_restart() {
    for labels in [&[][..], &[("disk", "sda")]] {
        let registry = Registry::new();
        let names = labels.iter().map(|(name, _): &(&str, &str)| *name);
        let metrics = registry
            .create_metrics([one("counter").labels(names)])
            .unwrap();
        let set = |total| {
            metrics.with("m1", labels).unwrap().set(total).unwrap();
            registry.snapshot().get("m1_total", labels).unwrap()
        };
        let (small, total) = (0.004_236_644_311_168_547, 20.051_604_671_209_7);
        assert!(small + (total - small) > total, "an example that rounds up");
        set(small);
        let first = set(total);
        assert!((first - total).abs() < 1e-13, "{first}");
        assert!(set(total) >= first, "the total has not changed");
        assert_eq!(set(19.0), 19.0, "a real restart");
    }
}

#[test]
fn e4_series_that_are_gone_are_removed() {
    let registry = Registry::new();
    registry.set_lint(false);
    let configs = ["counter", "gauge", "histogram", "summary", "enum", "info"].map(|kind| {
        let config =
            MetricConfig::new(&format!("m_{kind}"), "", kind.parse().unwrap()).labels(["disk"]);
        match kind {
            "enum" => config.set("states", ["on"]),
            _ => config,
        }
    });
    let metrics = registry.create_metrics(configs).unwrap();
    let update = |disk: &str| {
        for metric in metrics.iter() {
            let series = metric.with(&[("disk", disk)]).unwrap();
            match metric.kind() {
                MetricKind::Counter => series.inc(),
                MetricKind::Gauge => series.set(1.0),
                MetricKind::Enum => series.state("on"),
                MetricKind::Info => series.info(&[("model", "x")]),
                _ => series.observe(1.0),
            }
            .unwrap();
        }
    };
    let of = |disk: &str| {
        let page = text(&registry.snapshot());
        let lines = page
            .lines()
            .filter(|line| line.contains(&format!("disk=\"{disk}\"")));
        lines.filter(|line| !line.contains("_bucket")).count()
    };
    update("sda");
    update("sdb");
    let each = of("sdb");
    assert!(each >= 6);
    for metric in metrics.iter() {
        assert_eq!(
            metric.retain(|values| values == ["sda"]),
            1,
            "{}",
            metric.name()
        );
    }
    assert_eq!((of("sda"), of("sdb")), (each, 0));
    for metric in metrics.iter() {
        assert!(
            metric.remove(&[("disk", "sda")]).unwrap(),
            "{}",
            metric.name()
        );
        assert!(
            !metric.remove(&[("disk", "sda")]).unwrap(),
            "{}",
            metric.name()
        );
    }
    assert_eq!(of("sda"), 0);
    update("sdb");
    metrics.iter().for_each(|metric| metric.clear());
    assert_eq!(of("sdb"), 0);
}

#[test]
fn e4_files_have_the_same_metrics() {
    let yaml = MetricConfig::from_yaml(
        "metrics:
  queue_length:
    description: Jobs waiting.
    type: gauge
    labels: [queue, host]
  job_seconds:
    type: histogram
    description: Time per job.
    config:
      buckets: [0.1, 1, +Inf]
  pump:
    type: enum
    config: {states: [on, off, 3]}
",
    );
    let toml = MetricConfig::from_toml(
        "[[metrics]]
name = \"queue_length\"
description = \"Jobs waiting.\"
type = \"gauge\"
labels = [\"queue\", \"host\"]

[[metrics]]
name = \"job_seconds\"
help = \"Time per job.\"
kind = \"histogram\"
config.buckets = [0.1, 1.0, inf]

[[metrics]]
name = \"pump\"
type = \"enum\"
config = {states = [\"on\", \"off\", 3]}
",
    );
    let pages = [yaml, toml].map(|configs| {
        let registry = Registry::new();
        let metrics = registry.create_metrics(configs.unwrap()).unwrap();
        assert_eq!(metrics.len(), 3);
        metrics
            .with("job_seconds", &[])
            .unwrap()
            .observe(0.5)
            .unwrap();
        metrics.with("pump", &[]).unwrap().state("3").unwrap();
        metrics
            .with("queue_length", &[("host", "a"), ("queue", "m")])
            .unwrap()
            .set(1.0)
            .unwrap();
        text(&registry.snapshot())
    });
    assert_eq!(pages[0], pages[1]);
    assert!(pages[0].contains("pump{pump=\"on\"} 0\n"), "{}", pages[0]);
    assert!(
        pages[0].contains("job_seconds_bucket{le=\"0.1\"} 0\n"),
        "{}",
        pages[0]
    );
}

#[test]
fn a_mistake_in_a_file_is_shown_with_its_line_and_column() {
    let create = |configs: Result<Vec<MetricConfig>, tallies::Error>| -> Result<MetricMap, _> {
        Registry::new().create_metrics(configs?)
    };
    for (text, place, why) in [
        // An unknown kind.
        (
            "metrics:\n  - name: m1\n    type: meter\n",
            "line 3, column 11: ",
            "Invalid type for m1: must be one of",
        ),
        // A duplicate name, in a list and in a map.
        (
            "metrics:\n  - {name: m1, type: gauge}\n  - {name: m1, type: gauge}\n",
            "line 3, column 12: ",
            "`m1` is given twice",
        ),
        (
            "metrics:\n  m1: {type: gauge}\n  m1: {type: gauge}\n",
            "line 3, column 3: ",
            "m1",
        ),
        // A bad label.
        (
            "metrics:\n  - name: m1\n    type: gauge\n    labels:\n      - fine\n      - not-fine\n",
            "line 6, column 9: ",
            "label name `not-fine` of family `m1` has to match",
        ),
        (
            "metrics:\n  - name: m1\n    type: histogram\n    config:\n      buckets: [2, 1]\n",
            "line 5, column 16: ",
            "have to ascend",
        ),
        (
            "metrics:\n  - name: m-1\n    type: gauge\n",
            "line 2, column 11: ",
            "metric name `m-1`",
        ),
        (
            "metrics:\n  - name: m1\n    tpye: gauge\n",
            "line 3, column 5: ",
            "unknown key `tpye`",
        ),
        (
            "metrics:\n  - name: m1\n",
            "line 2, column 5: ",
            "a metric needs `type`",
        ),
        (
            "metrics: 3\n",
            "line 1, column 10: ",
            "has to be a list of metrics",
        ),
        (
            "metrisc: []\n",
            "line 1, column 1: ",
            "unknown key `metrisc`",
        ),
        ("metrics: [\n", "line ", ""),
        (
            "metrics:\n  - {name: m1, type: gauge, name: m2}\n",
            "line 2, column 29: ",
            "key `name` is given twice; remove or rename one of them",
        ),
        (
            "metrics:\n  - {name: m1, type: histogram, config: {buckets: [1, .nan]}}\n",
            "line 2, column 51: ",
            "bucket",
        ),
    ] {
        let said = create(MetricConfig::from_yaml(text))
            .unwrap_err()
            .to_string();
        assert!(
            said.starts_with(place) && said.contains(why),
            "{text}{said}"
        );
        assert!(!said.contains('\n'), "{said}");
    }
    let toml = "[[metrics]]\nname = \"m1\"\ntype = \"gauge\"\nlabels = [\"a\", \"__b\"]\n";
    let path = std::env::temp_dir().join(format!("metrics-{}.toml", std::process::id()));
    std::fs::write(&path, toml).unwrap();
    let said = create(MetricConfig::from_file(&path))
        .unwrap_err()
        .to_string();
    let place = format!("{}, line 4, column 16: ", path.display());
    assert!(said.starts_with(&place) && said.contains("`__b`"), "{said}");
    std::fs::remove_file(&path).unwrap();
    let error = MetricConfig::from_file(&path).unwrap_err();
    assert!(
        error.is_io() && error.to_string().contains(&*path.to_string_lossy()),
        "{error}"
    );
}

/// A builder takes +Inf as the last bound, and a file used to be refused for it.
#[test]
fn infinity_is_a_last_bound_in_a_file_as_in_a_builder() {
    for last in [".inf", ".Inf", "+.INF", "+Inf", "\"+Inf\"", "inf"] {
        let text =
            format!("metrics: [{{name: h, type: histogram, config: {{buckets: [1, {last}]}}}}]");
        let registry = Registry::new();
        let metrics = registry
            .create_metrics(MetricConfig::from_yaml(&text).unwrap())
            .unwrap();
        metrics.with("h", &[]).unwrap().observe(7.0).unwrap();
        let snapshot = registry.snapshot();
        assert_eq!(
            snapshot.get("h_bucket", &[("le", "1.0")]),
            Some(0.0),
            "{last}"
        );
        assert_eq!(
            snapshot.get("h_bucket", &[("le", "+Inf")]),
            Some(1.0),
            "{last}"
        );
    }
    let toml = "metrics = [{name = 'h', type = 'histogram', config = {buckets = [1.0, inf]}}]";
    Registry::new()
        .create_metrics(MetricConfig::from_toml(toml).unwrap())
        .unwrap();
    let first = "metrics: [{name: h, type: histogram, config: {buckets: [.inf, 1]}}]";
    Registry::new()
        .create_metrics(MetricConfig::from_yaml(first).unwrap())
        .unwrap_err();
}

/// Nine lists of nine aliases each are 387 million values. Such a file used to be read for as many
/// as 250 000 of them, with a message for programmers of the parser.
#[test]
fn a_document_whose_aliases_multiply_ends_early() {
    let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x]\n");
    for i in 1..9 {
        let one = format!("*a{}", i - 1);
        text += &format!("a{i}: &a{i} [{}]\n", vec![one; 9].join(", "));
    }
    let start = std::time::Instant::now();
    let error = Config::from_yaml(&text).unwrap_err().to_string();
    assert!(
        error.contains("aliases repeat more than 10000 values; write"),
        "{error}"
    );
    assert!(error.starts_with("line "), "{error}");
    assert!(start.elapsed().as_secs() < 5, "{:?}", start.elapsed());
    let few = "x: &l [a, b]\nmetrics: [{name: m, type: gauge, labels: *l}]\n";
    let error = Config::from_yaml(few).unwrap_err().to_string();
    assert!(error.contains("unknown key `x`"), "aliases work: {error}");
    let many = format!("views: [{}]", vec!["1"; 300_000].join(", "));
    let error = Config::from_yaml(&many).unwrap_err().to_string();
    assert!(error.contains("more than 250000 values"), "{error}");
}

/// A counter at 3 said "got -4" of -1.
#[test]
fn a_total_that_cannot_be_one_is_shown_as_it_was_given() {
    let labelled = MetricConfig::new("b_total", "", MetricKind::Counter).labels(["a"]);
    let registry = Registry::new();
    let metrics = registry.create_metrics([
        MetricConfig::new("a_total", "", MetricKind::Counter),
        labelled,
    ]);
    let metrics = metrics.unwrap();
    for (name, labels) in [("a_total", &[][..]), ("b_total", &[("a", "x")])] {
        let series = metrics.with(name, labels).unwrap();
        series.set(3.0).unwrap();
        for (value, got) in [
            (-1.0, "got -1"),
            (f64::INFINITY, "got inf"),
            (f64::NAN, "got NaN"),
        ] {
            let error = series.set(value).unwrap_err().to_string();
            assert!(error.ends_with(got), "{error}");
        }
        assert_eq!(registry.snapshot().get(name, labels), Some(3.0));
    }
}

#[test]
fn r2_created_metrics_are_found_by_name() {
    let registry = Registry::new();
    let created = registry
        .create_metrics([
            one("counter"),
            MetricConfig::new("m2", "", MetricKind::Gauge).labels(["a"]),
        ])
        .unwrap();
    assert_eq!(created.len(), 2);
    registry
        .get_metric("m1")
        .unwrap()
        .with(&[])
        .unwrap()
        .inc()
        .unwrap();
    registry
        .get_metrics()
        .with("m2", &[("a", "1")])
        .unwrap()
        .set(2.0)
        .unwrap();
    assert!(registry.get_metric("m3").is_err());
    let copy = registry.get_metrics();
    registry
        .create_metrics([MetricConfig::new("m3", "", MetricKind::Gauge)])
        .unwrap();
    assert_eq!(copy.names().collect::<Vec<_>>(), ["m1", "m2"]);
    assert_eq!(registry.get_metrics().len(), 3);
    // An additional collector is on the page and not in the map; one that fails harms nothing else.
    registry
        .add_collector("pool", |out: &mut Collected| {
            Ok(out.gauge("pool_idle", "", &[], 7.0)?)
        })
        .unwrap();
    registry
        .add_collector("broken", |_: &mut Collected| Err("broken".into()))
        .unwrap();
    assert_eq!(registry.get_metrics().len(), 3);
    let now = registry.snapshot();
    assert_eq!(now.get("pool_idle", &[]), Some(7.0));
    assert_eq!(now.get("m1_total", &[]), Some(1.0));
    assert_eq!(now.get("m2", &[("a", "1")]), Some(2.0));
    registry.remove("m1_total").unwrap();
    assert!(registry.get_metric("m1").is_err());
}
