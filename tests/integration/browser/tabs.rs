//! The page in a framework, behind a password, and with a report on cardinality.

use axum::Router;
use axum::response::IntoResponse;
use axum::routing::get;
use serde_json::json;
use tallies::{Counter, Registry, serve::MetricsService};
use tallies_http::PageService;

use super::*;

const REPORT: &str = r#"[
    {"family": "small", "series": 1, "limit": 1000, "refused": 0, "labels": []},
    {"family": "jobs_total", "series": 950, "limit": 1000, "refused": 7, "labels": [
        {"label": "queue", "distinct": 3, "largest": [["<img src=x onerror=window.hit=1>", 900], ["", 50]]}
    ]}
]"#;

#[test]
fn a_framework_has_the_page_and_its_report_is_a_tab() {
    let registry = Registry::new();
    registry.counter("jobs_total", "").unwrap().add(5);
    browse(async |browser| {
        let service = PageService(MetricsService::of([&registry]).live());
        let report = get(async || ([("content-type", "application/json")], REPORT).into_response());
        let app = Router::new()
            .route_service("/ops/live", service.clone())
            .route_service("/ops/live/{*part}", service.clone())
            .route_service("/ops/metrics", service)
            .route("/ops/-/cardinality", report);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = tokio::spawn(async { axum::serve(listener, app).await });
        browser.open(&format!("http://{address}/ops/live")).await;
        browser.eventually(&format!("{}?.value", card("jobs_total", ".value")), "5");
        browser.eventually("document.getElementById('tabs').hidden", false);
        browser.keys("c").await;
        let cells = "[...document.querySelectorAll('.report tbody tr')].map((row) => [...row.cells].map((cell) => cell.innerText.replace(/\\s+/g, ' ').trim()))";
        browser.eventually(
            cells,
            json!([
                [
                    "jobs_total",
                    "950",
                    "1 000",
                    "7",
                    "queue 3 <img src=x onerror=window.hit=1> 900, \"\" 50"
                ],
                ["small", "1", "1 000", "0", ""],
            ]),
        );
        browser.eventually("document.getElementById('metrics').hidden", true);
        // The search once did nothing here.
        browser.keys("/").await;
        browser.keys("JOBS img").await;
        browser.eventually(
            &format!("{cells}.map(([name]) => name)"),
            json!(["jobs_total"]),
        );
        browser.keys("\u{e00c}\u{e00c}").await; // Escape, Escape
        browser.eventually(&format!("{cells}.length"), 2);
        browser.keys("c").await;
        browser.eventually("document.getElementById('metrics').hidden", false);
        browser.eventually("document.body.dataset.state", "live");
        browser.eventually("window.hit ?? null", json!(null));
        browser.assert_clean().await;
        serving.abort();
    });
}

#[test]
fn the_report_of_a_server_is_a_tab() {
    let registry = Registry::new();
    let jobs = Counter::builder("jobs_total", "").labels(["queue"]);
    let jobs = jobs.register(&registry).unwrap();
    for queue in ["mail", "mail", "disk"] {
        jobs.with([queue]).inc();
    }
    let serving = serve(&registry);
    browse(async |browser| {
        watch(browser, &serving).await;
        browser.eventually("document.getElementById('tabs').hidden", false);
        browser.keys("c").await;
        let series = "[...document.querySelectorAll('.report tbody tr')].find((row) => row.cells[0].innerText.trim() === 'jobs_total')?.cells[1].innerText.trim() ?? null";
        browser.eventually(series, "2");
        // On a narrow screen, where the table has no head, each figure says what it is.
        let driver = &browser.driver;
        driver.set_window_rect(0, 0, 420, 900).await.unwrap();
        let names = "[...document.querySelectorAll('.report tbody tr:first-child td')].map((cell) => getComputedStyle(cell, '::before').content)";
        browser.eventually(
            names,
            json!(["none", "\"series\"", "\"limit\"", "\"refused\"", "none"]),
        );
        browser.assert_clean().await;
    });
    serving.stop();
}

#[test]
fn without_a_report_there_is_no_tab() {
    let registry = Registry::new();
    browse(async |browser| {
        let service = PageService(MetricsService::of([&registry]).live());
        let app = Router::new()
            .route_service("/live", service.clone())
            .route_service("/live/{*part}", service);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = tokio::spawn(async { axum::serve(listener, app).await });
        browser.open(&format!("http://{address}/live")).await;
        // The request for it was answered, before or after this.
        let asked = "performance.getEntriesByType('resource').some((entry) => entry.name.endsWith('/-/cardinality'))";
        browser.eventually(asked, true);
        browser.eventually("document.getElementById('tabs').hidden", true);
        browser.keys("c").await;
        browser.eventually("document.getElementById('metrics').hidden", false);
        serving.abort();
    });
}

#[test]
fn a_password_opens_the_page_and_its_stream() {
    let registry = Registry::new();
    registry.counter("jobs_total", "").unwrap().add(5);
    let server = Server::new().registry(&registry).live();
    let serving = server
        .basic_auth("prometheus", "long secret")
        .listen("127.0.0.1:0")
        .unwrap();
    browse(async |browser| {
        let address = serving.address();
        browser
            .open(&format!("http://prometheus:long%20secret@{address}/live"))
            .await;
        browser.eventually(&format!("{}?.value", card("jobs_total", ".value")), "5");
        browser.assert_clean().await;
    });
    serving.stop();
}
