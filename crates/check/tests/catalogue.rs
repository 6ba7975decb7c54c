//! Documents, dashboards and rules that are checked against a catalogue.

use std::time::Duration;

use tallies::label::AnyLabels;
use tallies::{
    Counter, Gauge, Histogram, Info, LabelValue, Metrics, Registry, StateSet, Summary, View,
    collect::Collected,
};
use tallies_check::{Check, to_html, to_json, to_markdown};

fn check(registry: &Registry) -> Check {
    Check::new(registry.catalogue())
}

#[derive(LabelValue)]
enum Pump {
    Off,
    Running,
}

#[derive(Metrics)]
struct Mail {
    /// Messages <b>sent</b>.
    mail_sent_total: Counter,
}

fn declared() -> Registry {
    let registry = Registry::new();
    registry.set_prefix("app").unwrap();
    registry.add_constant("host", "h").unwrap();
    registry
        .add_view(View::new("took_*").drop_label("user"))
        .unwrap();
    registry.add_view(View::new("silent").off()).unwrap();
    Histogram::builder("took_seconds", "Time to answer.")
        .labels(["route", "user"])
        .buckets(&[0.5, 1.0, 1e-9_f64.max(2.0)])
        .native(3)
        .unit("seconds")
        .limit(100)
        .register(&registry)
        .unwrap();
    Summary::builder("size_bytes", "Sizes.")
        .objective(0.5, 0.01)
        .max_age(Duration::from_secs(600))
        .constant("zone", "z")
        .register(&registry)
        .unwrap();
    Counter::builder("events_total", "Events.")
        .label_set::<AnyLabels>()
        .register(&registry)
        .unwrap();
    Gauge::builder("silent", "Silent.")
        .register(&registry)
        .unwrap();
    StateSet::<Pump>::builder("pump", "What the pump_does.")
        .register(&registry)
        .unwrap();
    Mail::register(&registry).unwrap().mail_sent_total.inc();
    registry
        .add_collector("disks", |out: &mut Collected| {
            out.gauge("disk_bytes", "Used.", &[("disk", "a")], 1.0)?;
            Ok(())
        })
        .unwrap();
    let _ = (Pump::Off, Pump::Running);
    registry
}

#[test]
fn metrics_md_is_up_to_date() {
    // The directory of the package is that of tests.
    check(&declared()).document("tests/METRICS.md").unwrap();
}

#[test]
fn a_document_is_up_to_date_whatever_line_ends_the_texts_have() {
    let registry = Registry::new();
    let lines = Info::builder("lines_info", "One\r\ntwo\r").constant("text", "a\r\nb`c\r");
    lines.register(&registry).unwrap();
    let path = std::env::temp_dir().join(format!("tallies-lines-{}.md", std::process::id()));
    std::fs::write(&path, to_markdown(&registry.catalogue())).unwrap();
    let checked = check(&registry).document(&path);
    std::fs::remove_file(&path).unwrap();
    checked.unwrap();
}

#[test]
fn a_family_that_changes_makes_the_document_stale() {
    let registry = declared();
    registry.counter("new_total", "New.").unwrap();
    let error = check(&registry).document("tests/METRICS.md");
    let error = error.unwrap_err().to_string();
    assert!(
        error.contains("`tests/METRICS.md` is not the catalogue: line "),
        "{error}"
    );
    assert!(error.contains("should be `## `app_new_total``"), "{error}");
}

#[test]
fn json_and_page_have_every_family() {
    let catalogue = declared().catalogue();
    let json = to_json(&catalogue);
    for part in [
        r#"{"name":"app_events_total","kind":"counter","help":"Events.","labels":[],"any_labels":true,"constant":[["host","h"]],"limit":10000,"file":"crates/check/tests/catalogue.rs""#,
        r#""labels":[{"name":"app_pump","values":["off","running"]}]"#,
        r#""help":"Messages <b>sent</b>.""#,
        r#""dropped":["user"],"bounds":[0.5,1.0,2.0],"schema":3,"limit":100"#,
        r#""objectives":[[0.5,0.01]],"window":600.0"#,
        r#""off":true"#,
        r#""collector":"disks""#,
        r#""crate":"catalogue""#,
    ] {
        assert!(json.contains(part), "{part}\n{json}");
    }
    let page = to_html(&catalogue);
    assert!(page.contains("Messages &lt;b&gt;sent&lt;/b&gt;."), "{page}");
    assert!(!page.contains("<script") && !page.contains("style="));
    assert_eq!(page.matches("<tr id=").count(), catalogue.families().len());
}

fn dashboard(queries: &[&str]) -> String {
    let target = |query: &&str| format!("{{\"expr\": {query:?}}}");
    let targets: Vec<_> = queries.iter().map(target).collect();
    format!(
        "{{\"title\": \"Service\", \"panels\": [{{\"title\": \"Requests\", \"targets\": [{}]}}]}}",
        targets.join(", ")
    )
}

fn why(check: &Check, query: &str) -> Vec<String> {
    let missing = check.missing(&dashboard(&[query])).unwrap();
    missing.iter().map(ToString::to_string).collect()
}

#[test]
fn a_panel_that_asks_for_what_is_gone_is_named() {
    let check = check(&declared());
    for query in [
        "rate(app_mail_sent_total{job=\"x\"}[5m])",
        "histogram_quantile(0.9, sum by (le) (rate(app_took_seconds_bucket[5m])))",
        "histogram_quantile(0.9, rate(app_took_seconds[5m])) / app_took_seconds_count",
        "app_size_bytes{quantile=\"0.5\"} / app_size_bytes_sum",
        "app_pump{app_pump=\"running\"} + app_pump{app_pump=~\"whatever\"}",
        "app_disk_bytes{disk=\"none\"} and up == 1 and scrape_duration_seconds > 1",
        "$metric + ${app}_total + tallies_series",
    ] {
        assert_eq!(why(&check, query), [""; 0], "{query}");
    }
    for (query, expected) in [
        (
            "rate(app_mail_sent[5m])",
            "panel `Requests` asks for `app_mail_sent`: no family exports it; \
             `app_mail_sent_total` is similar",
        ),
        (
            "nothing_like_it",
            "panel `Requests` asks for `nothing_like_it`: no family exports it",
        ),
        (
            "app_took_seconds_sum{user=\"a\"}",
            "panel `Requests` asks for `app_took_seconds_sum`: a view drops its label `user`",
        ),
        (
            "app_silent",
            "panel `Requests` asks for `app_silent`: a view switches the family off",
        ),
        (
            "app_pump{app_pump=\"broken\"}",
            "panel `Requests` asks for `app_pump`: its label `app_pump` is never `broken`, but \
             off, running",
        ),
    ] {
        assert_eq!(why(&check, query), [expected], "{query}");
    }
    let error = check
        .queries(&dashboard(&["app_silent", "x", "x"]))
        .unwrap_err();
    assert_eq!(error.to_string().lines().count(), 2, "{error}");
    check
        .also("node_*")
        .queries(&dashboard(&["node_load1"]))
        .unwrap();
}

#[test]
fn rules_are_checked_with_the_records_that_they_make() {
    let check = check(&declared());
    let rules = "
groups:
- name: mail
  rules:
  - record: job:mail:rate5m
    expr: sum by (job) (rate(app_mail_sent_total[5m]))
  - alert: NoMail
    expr: |
      job:mail:rate5m == 0
        or absent(app_mail_send_total)
";
    let error = check.queries(rules).unwrap_err().to_string();
    assert_eq!(
        error,
        "alert `NoMail` asks for `app_mail_send_total`: no family exports it; \
         `app_mail_sent_total` is similar"
    );
    check.queries(&rules.replace("send", "sent")).unwrap();
}

#[test]
fn a_text_without_queries_is_an_error() {
    let check = check(&declared());
    for text in ["", "a: b\n", "{}", "[1, 2]"] {
        let error = check.queries(text).unwrap_err().to_string();
        assert!(error.contains("no queries"), "{text}: {error}");
    }
    let error = check.queries("{\n\"expr\": }").unwrap_err().to_string();
    assert!(error.contains("line 2 column 9"), "{error}");
}
