//! Both halves of each migration example: the same requests give the same families before and
//! after.

#[path = "../../../examples/migrate_metrics.rs"]
mod migrate_metrics;
#[path = "../../../examples/migrate_prometheus.rs"]
mod migrate_prometheus;
#[path = "../../../examples/migrate_prometheus_client.rs"]
mod migrate_prometheus_client;

use crate::support::exposition::{self, comparable};

fn same(before: &str, after: &str) {
    let (before, after) = (comparable(before), comparable(after));
    assert!(!before.is_empty());
    assert_eq!(before, after);
}

#[test]
fn the_metrics_example_exposes_equal_pages() {
    let before = migrate_metrics::before();
    assert!(before.contains("http_response_size{"), "{before}");
    same(&before, &migrate_metrics::after().unwrap());
}

#[test]
fn the_prometheus_example_exposes_equal_pages() {
    same(
        &migrate_prometheus::before().unwrap(),
        &migrate_prometheus::after().unwrap(),
    );
}

#[test]
fn the_prometheus_client_example_exposes_equal_pages() {
    let before = migrate_prometheus_client::before().unwrap();
    // The exporter writes OpenMetrics, where a counter's family has no `_total`.
    let before: String = before
        .lines()
        .filter(|line| *line != "# EOF")
        .map(|line| match line.strip_prefix("# HELP http_requests ") {
            Some(help) => format!("# HELP http_requests_total {help}\n"),
            None if line == "# TYPE http_requests counter" => {
                "# TYPE http_requests_total counter\n".to_owned()
            }
            None => format!("{line}\n"),
        })
        .collect();
    same(&before, &migrate_prometheus_client::after().unwrap());
}

#[test]
fn a_difference_is_seen() {
    let page = |kind| format!("# HELP a A.\n# TYPE a {kind}\na 1\n");
    assert_ne!(comparable(&page("gauge")), comparable(&page("counter")));
    assert!(exposition::read(&page("gauge")).is_ok());
}
