//! Views in the file of an exporter.

use std::path::{Path, PathBuf};

use tallies::Registry;
use tallies_config::{Config, Configure, MetricConfig};

use crate::process::{HERE, command, folder, run, said, serve, value};
use crate::support::http::get;

fn write(name: &str, text: &str) -> (PathBuf, String) {
    let path = folder(name).join("metrics.yml");
    std::fs::write(&path, text).unwrap();
    let shown = path.display().to_string();
    (path, shown)
}

const VIEWS: &str = "views:
  - {family: read_bytes_total, drop: [disk]}
  - {family: busy_ratio, drop: [disk], gauge_mode: max}
  - {family: token_length, off: true}
  - {family: 'static_*', rename: 'my_*'}
  - {family: 'exporter_update_*', drop: [update], gauge_mode: min}
  - {family: 'exporter_web_*', rename: 'web_*'}
  - {family: 'process_open_*', rename: 'own_open_*'}
  - {family: 'pump*', rename: 'machine*', drop: [site]}
  - {family: 'job_*', buckets: [0.5]}
metrics:
  - {name: job_seconds, type: histogram}
  - {name: pump, type: enum, labels: [pump_id, site], config: {states: [on, off]}}
";

#[test]
fn views_hold_for_everything_that_is_declared_after_the_file() {
    let (path, metrics) = write("views", VIEWS);
    let web = path.with_extension("web.yml");
    std::fs::write(&web, "").unwrap();
    let web = web.display().to_string();
    // These options made statics known before `configure`, so a view of a static was too late.
    let args = ["--process-stats", "--web.config.file", &web];
    let mut running = serve(
        "troubled_exporter",
        &[&args[..], &["--metrics", &metrics]].concat(),
    );
    let address = running.address();
    let scrape = || get(address, "/metrics", &[]).text().to_owned();
    let mut page = String::new();
    for run in 1..=3 {
        page = scrape();
        for (sample, expected) in [
            // 10 for one disk and 20 for the other.
            ("read_bytes_total", 30.0 * f64::from(run)),
            ("busy_ratio", 0.2),
            ("my_steps_total", f64::from(run)),
            ("exporter_update_success", 1.0),
            ("exporter_update_errors_total{reason=\"error\"}", 0.0),
            ("web_config_last_reload_successful", 1.0),
            ("job_seconds_bucket{le=\"0.5\"}", 0.0),
            ("updates", f64::from(run)),
        ] {
            assert_eq!(value(&page, sample), Some(expected), "{sample}: {page}");
        }
    }
    assert!(value(&page, "own_open_fds").is_some(), "{page}");
    for gone in [
        "token_length",
        "static_",
        "exporter_web_",
        "disk=",
        "le=\"1.0\"",
    ] {
        assert!(!page.contains(gone), "{gone}: {page}");
    }
}

#[test]
fn a_mistake_in_a_view_ends_the_start_and_is_shown_with_file_line_and_column() {
    for (text, place, why) in [
        (
            "metrics: {m: {type: gauge}}\nviews:\n  - family: m\n    dorp: [a]\n",
            "line 4, column 5",
            "unknown key `dorp`; the keys here are `family`, `drop`, `caps`",
        ),
        (
            "views:\n  - family: m\n    buckets: [2, 1]\n",
            "line 3, column 14",
            "buckets of family `m` have to ascend, got 1.0 after 2.0",
        ),
        (
            "views: [{family: 'm_*', rename: n}]\n",
            "line 1, column 33",
            "view `m_*` renames to `n`, which several families cannot share",
        ),
        (
            "views: [{family: m, rename: 1m}]\n",
            "line 1, column 29",
            "renames to `1m`, which is not a metric name",
        ),
        (
            "views: {family: m}\n",
            "line 1, column 8",
            "`views` has to be a list of views, got a map",
        ),
        // Two metrics of the file get one name.
        (
            "metrics: {a: {type: gauge}, b: {type: gauge}}\nviews: [{family: a, rename: b}]\n",
            "line 1, column 29",
            "`b` is already registered",
        ),
    ] {
        let (_, path) = write("wrong-views", text);
        let args = HERE.iter().copied().chain(["--metrics", &path]);
        let output = run(command("troubled_exporter", args));
        assert_eq!(output.status.code(), Some(1), "{text}{output:?}");
        let log = said(&output.stderr);
        let place = format!("cannot start: {path}, {place}: ");
        assert!(log.contains(&place) && log.contains(why), "{why}: {log}");
    }
}

#[test]
fn a_view_of_a_static_that_was_used_before_is_too_late() {
    let (_, path) = write("late", "views:\n- family: static_*\n  off: true\n");
    let args = ["--early", "--metrics", &path, "--config-check"];
    let output = run(command("troubled_exporter", args));
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let log = said(&output.stderr);
    let place = format!("{path}, line 2, column 11: view `static_*` is set too late: ");
    assert!(log.contains(&place), "{log}");
    assert!(
        log.contains("`static_steps_total` was registered before, at "),
        "{log}"
    );
    let output = run(command("troubled_exporter", &args[1..]));
    assert_eq!(output.status.code(), Some(0), "{output:?}");
}

/// The example of docs/exporter.md.
fn example() -> String {
    let guide = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/exporter.md");
    let guide = std::fs::read_to_string(guide).unwrap();
    let (_, section) = guide.split_once("\n## Views\n").unwrap();
    let (_, example) = section.split_once("```yaml\n").unwrap();
    example.split_once("```").unwrap().0.to_owned()
}

#[test]
fn the_example_of_the_guide_does_what_the_guide_says() {
    let config = Config::from_yaml(&example()).unwrap();
    let registry = Registry::new();
    registry.set_lint(false);
    let metrics = registry.configure(config).unwrap();
    let labels = |queue, worker| [("queue", queue), ("worker", worker)];
    for (queue, worker, total) in [("mail", "a", 3.0), ("mail", "b", 4.0), ("bulk", "a", 5.0)] {
        let labels = labels(queue, worker);
        metrics
            .with("jobs_total", &labels)
            .unwrap()
            .set(total)
            .unwrap();
        metrics
            .with("job_seconds", &[])
            .unwrap()
            .observe(total)
            .unwrap();
    }
    registry.gauge("debug_depth", "").unwrap().set(1.0);
    let now = registry.snapshot();
    assert_eq!(now.get("jobs_total", &[("queue", "mail")]), Some(7.0));
    assert_eq!(now.get("jobs_total", &[("queue", "bulk")]), Some(5.0));
    assert_eq!(
        now.get("worker_job_seconds_bucket", &[("le", "60")]),
        Some(3.0)
    );
    assert!(now.family("debug_depth").is_none() && now.family("job_seconds").is_none());
    // A real exporter takes it, too.
    let (_, path) = write("guide", &example());
    let mut running = serve("troubled_exporter", &["--metrics", &path]);
    let page = running.get("/metrics").text().to_owned();
    assert!(
        page.contains("# TYPE worker_job_seconds histogram\n"),
        "{page}"
    );
    assert_eq!(
        value(
            &page,
            "exporter_update_duration_seconds{update=\"metrics\"}"
        ),
        None
    );
    assert_eq!(
        value(&page, "exporter_update_success{update=\"metrics\"}"),
        Some(1.0)
    );
}

fn with_views(
    views: &str,
    metrics: impl IntoIterator<Item = MetricConfig>,
) -> (Registry, tallies_config::MetricMap) {
    let registry = Registry::new();
    registry.set_lint(false);
    let mut config = Config::from_yaml(&format!("views: [{views}]")).unwrap();
    config.metrics.extend(metrics);
    let metrics = registry.configure(config).unwrap();
    (registry, metrics)
}

fn of(kind: &str) -> MetricConfig {
    let config = MetricConfig::new("m", "", kind.parse().unwrap()).labels(["disk", "host"]);
    match kind {
        "enum" => config.set("states", ["on", "off"]),
        _ => config,
    }
}

/// The totals of disks do not tell the total of their sum, so each disk's is remembered.
#[test]
fn totals_that_are_kept_elsewhere_add_up_when_their_label_is_dropped() {
    for view in ["drop: [disk]", "caps: {disk: 0}"] {
        let (registry, metrics) =
            with_views(&format!("{{family: m_total, {view}}}"), [of("counter")]);
        let labels = |disk| [("disk", disk), ("host", "a")];
        let set = |disk, total| metrics.with("m", &labels(disk)).unwrap().set(total);
        let labels_of_sum: &[_] = match view {
            "drop: [disk]" => &[("host", "a")],
            _ => &[("disk", "__overflow__"), ("host", "a")],
        };
        let sum = || registry.snapshot().get("m_total", labels_of_sum);
        for (disk, total, expected) in [
            ("sda", 100.0, 100.0),
            ("sdb", 7.0, 107.0),
            ("sda", 110.0, 117.0),
            ("sdb", 7.0, 117.0),
            // The disk was replaced. What the old one counted stays.
            ("sdb", 2.0, 119.0),
        ] {
            set(disk, total).unwrap();
            assert_eq!(sum(), Some(expected), "{view}: {disk} {total}");
        }
        for wrong in [-1.0, f64::NAN, f64::INFINITY] {
            assert!(set("sda", wrong).is_err(), "{wrong}");
        }
        // A disk that is gone takes nothing away, and begins again when it is back.
        let metric = metrics.get("m").unwrap();
        assert_eq!(metric.labels(), ["disk", "host"]);
        assert_eq!(metric.retain(|labels| labels == ["sda", "a"]), 0);
        assert!(!metric.remove(&labels("sda")).unwrap());
        assert_eq!(sum(), Some(119.0));
        set("sdb", 5.0).unwrap();
        assert_eq!(sum(), Some(124.0));
        metric.clear();
        assert_eq!(sum(), None);
        set("sda", 3.0).unwrap();
        assert_eq!(sum(), Some(3.0));
    }
}

#[test]
fn handlers_keep_their_labels_whatever_a_view_does() {
    for view in [
        "drop: [disk]",
        "drop: [disk, host]",
        "caps: {disk: 1}",
        "rename: n",
        "off: true",
        "drop: [disk], gauge_mode: recent",
    ] {
        for kind in ["counter", "gauge", "histogram", "summary", "enum", "info"] {
            let (registry, metrics) = with_views(
                &format!("{{family: 'm*', {}}}", view.replace(" n", " 'n*'")),
                [of(kind)],
            );
            let metric = metrics.get("m").unwrap();
            assert_eq!(metric.labels(), ["disk", "host"], "{view}");
            for _ in 0..3 {
                for disk in ["sda", "sdb"] {
                    let series = metric.with(&[("host", "a"), ("disk", disk)]).unwrap();
                    match kind {
                        "counter" => series.set(1.0),
                        "gauge" => series.set(2.0),
                        "enum" => series.state("off"),
                        "info" => series.info(&[("model", "x")]),
                        _ => series.observe(1.0),
                    }
                    .unwrap_or_else(|error| panic!("{kind}, {view}: {error}"));
                }
                metric.retain(|labels| ["sda", "sdb"].contains(&labels[0]));
            }
            let page = tallies::encode::text(&registry.snapshot());
            let has = |text: &str| page.contains(text);
            assert_eq!(
                has("# TYPE "),
                view != "off: true",
                "{kind}, {view}: {page}"
            );
            assert_eq!(
                has("disk="),
                !view.contains("[disk") && view != "off: true",
                "{kind}, {view}: {page}"
            );
            assert_eq!(
                has("host="),
                !view.contains("host") && view != "off: true",
                "{kind}, {view}: {page}"
            );
            assert_eq!(
                has("# TYPE n"),
                view.starts_with("rename"),
                "{kind}, {view}: {page}"
            );
            assert_eq!(
                has("__overflow__"),
                view.starts_with("caps"),
                "{kind}, {view}: {page}"
            );
            assert!(metric.with(&[("host", "a")]).is_err());
        }
    }
}

#[test]
fn a_label_set_beyond_the_limit_of_a_view_is_an_error() {
    for kind in ["enum", "info"] {
        let (_, metrics) = with_views("{family: 'm*', limit: 1}", [of(kind)]);
        let set = |disk| {
            let series = metrics.with("m", &[("host", "a"), ("disk", disk)]).unwrap();
            match kind {
                "enum" => series.state("off"),
                _ => series.info(&[("model", "x")]),
            }
        };
        set("sda").unwrap();
        let error = set("sdb").unwrap_err().to_string();
        assert!(error.contains("limit"), "{kind}: {error}");
        set("sda").unwrap();
        assert!(
            metrics
                .get("m")
                .unwrap()
                .remove(&[("host", "a"), ("disk", "sda")])
                .unwrap()
        );
        set("sdb").unwrap();
    }
}

/// The pairs of before stayed on the page if a view drops any label.
#[test]
fn pairs_of_an_info_replace_those_of_before_unless_others_have_them() {
    let (registry, metrics) = with_views("{family: m_info, drop: [disk]}", [of("info")]);
    let set = |disk, model| {
        let series = metrics.with("m", &[("host", "a"), ("disk", disk)]).unwrap();
        series.info(&[("model", model)]).unwrap();
    };
    let models = || {
        let snapshot = registry.snapshot();
        let has =
            |model: &&str| snapshot.get("m_info", &[("host", "a"), ("model", model)]) == Some(1.0);
        ["x", "y"].into_iter().filter(has).collect::<String>()
    };
    set("sda", "x");
    set("sda", "y");
    assert_eq!(models(), "y");
    set("sdb", "x");
    set("sda", "x");
    assert_eq!(models(), "x");
    set("sdb", "y");
    assert_eq!(models(), "xy");
    assert!(
        metrics
            .get("m")
            .unwrap()
            .remove(&[("host", "a"), ("disk", "sda")])
            .unwrap()
    );
    assert_eq!(models(), "y");
}
