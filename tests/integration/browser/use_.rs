//! Using the page: keyboard, pause, search, and what happens when the program or the tab is away.

use std::time::Duration;

use serde_json::json;
use tallies::{Counter, Registry};

use super::*;

const FOCUSED: &str = "document.activeElement.dataset.family ?? document.activeElement.id";

fn letters() -> Registry {
    let registry = Registry::new();
    for name in ["a_total", "b_total", "c_total"] {
        let counter = Counter::builder(name, "").labels(["x"]).register(&registry);
        let counter = counter.unwrap();
        (0..5).for_each(|i| counter.with([&*format!("{i}")]).add(10 - i));
    }
    registry
}

#[test]
fn everything_can_be_done_with_the_keyboard() {
    let serving = serve(&letters());
    browse(async |browser| {
        watch(browser, &serving).await;
        let opened =
            "[...document.querySelectorAll('.card.open')].map((card) => card.dataset.family)";
        browser
            .until("document.querySelectorAll('.card').length >= 3", true)
            .await;
        for (key, focused) in [
            ("j", "a_total"),
            ("j", "b_total"),
            ("j", "c_total"),
            ("k", "b_total"),
        ] {
            browser.keys(key).await;
            browser.until(FOCUSED, focused).await;
        }
        browser.keys("\u{e007}").await; // Enter
        browser.until(opened, json!(["b_total"])).await;
        let rows = format!(
            "{}.querySelectorAll('.row').length",
            card("b_total", ".rows")
        );
        browser.until(&rows, 5).await;
        // The next things that take the focus are the label, and the first series.
        browser.keys("\u{e004}\u{e004}\u{e007}").await; // Tab, Tab, Enter
        browser
            .until(
                "document.querySelector('.row[aria-pressed=true]')?.dataset.series",
                "x=\"0\"",
            )
            .await;
        browser.keys("\u{e00c}").await; // Escape
        browser
            .until(
                "document.querySelectorAll('.row[aria-pressed=true]').length",
                0,
            )
            .await;
        browser.keys("\u{e00c}").await;
        browser.until(opened, json!([])).await;
        browser.keys("/").await;
        browser.until(FOCUSED, "search").await;
        browser.keys("c_TOTAL 3").await;
        browser
            .until(
                "[...document.querySelectorAll('.card')].map((card) => card.dataset.family)",
                json!(["c_total"]),
            )
            .await;
        browser.until(&rows.replace("b_total", "c_total"), 1).await;
        browser
            .until(
                "document.getElementById('count').textContent.startsWith('1 of')",
                true,
            )
            .await;
        browser.keys("\u{e00c}").await;
        browser
            .until("document.getElementById('search').value", "")
            .await;
        browser
            .until("document.querySelectorAll('.card').length >= 3", true)
            .await;
        browser.keys("\u{e00c}").await;
        browser.keys("3").await;
        browser
            .until(
                "document.querySelector('#ranges [aria-pressed=true]').textContent",
                "15 min",
            )
            .await;
        for wanted in ["light", "dark", "auto"] {
            browser.keys("t").await;
            browser
                .until("document.documentElement.dataset.theme", wanted)
                .await;
        }
        browser.keys("?").await;
        browser
            .until("document.getElementById('help').open", true)
            .await;
        browser.keys("\u{e00c}").await;
        browser
            .until("document.getElementById('help').open", false)
            .await;
        browser.assert_clean().await;
    });
    serving.stop();
}

#[test]
fn a_pause_holds_the_figures_and_going_on_shows_what_happened() {
    let registry = letters();
    let source = Counted::of(&registry);
    let serving = serve(&source);
    let jobs = registry.counter("jobs_total", "").unwrap();
    browse(async |browser| {
        watch(browser, &serving).await;
        let value = format!("{}.value", card("jobs_total", ".value"));
        browser.until(&value, "0").await;
        browser.keys("p").await;
        browser.until("document.body.dataset.state", "paused").await;
        jobs.add(7);
        let before = source.snapshots();
        super::http::until("two more moments", || source.snapshots() >= before + 2);
        browser.until(&value, "0").await;
        browser.keys("p").await;
        browser.until(&value, "7").await;
        browser.until("document.body.dataset.state", "live").await;
        browser.assert_clean().await;
    });
    serving.stop();
}

#[test]
fn the_page_comes_back_when_the_program_does() {
    let registry = Registry::new();
    let jobs = registry.counter("jobs_total", "").unwrap();
    let serving = serve(&registry);
    let address = serving.address();
    browse(async |browser| {
        watch(browser, &serving).await;
        let value = format!("{}.value", card("jobs_total", ".value"));
        browser.until(&value, "0").await;
        tokio::task::block_in_place(|| serving.stop());
        browser.until("document.body.dataset.state", "lost").await;
        jobs.add(3);
        // What was there is there, and nothing pretends to be new.
        browser.until(&value, "0").await;
        let again = Server::new()
            .registry(&registry)
            .live()
            .listen(address)
            .unwrap();
        browser.until(&value, "3").await;
        browser.until("document.body.dataset.state", "live").await;
        tokio::task::block_in_place(|| again.stop());
    });
}

#[test]
fn a_page_outlives_its_connections() {
    let registry = Registry::new();
    let jobs = registry.counter("jobs_total", "").unwrap();
    let server = Server::new().registry(&registry).live();
    let server = server.connection_age(Duration::from_secs(16));
    let serving = server.listen("127.0.0.1:0").unwrap();
    browse(async |browser| {
        watch(browser, &serving).await;
        browser
            .run(
                "
            window.states = new Set();
            new MutationObserver(() => window.states.add(document.body.dataset.state))
                .observe(document.body, { attributes: true });
            return 0",
            )
            .await;
        browser.until("window.streams.length >= 4", true).await;
        jobs.add(3);
        browser
            .until(&format!("{}.value", card("jobs_total", ".value")), "3")
            .await;
        // Each stream begins before the one before it ends: nobody notices.
        browser.until("[...window.states]", json!(["live"])).await;
        browser.assert_clean().await;
    });
    serving.stop();
}

#[test]
fn a_tab_in_the_background_costs_nothing() {
    let registry = Registry::new();
    let jobs = registry.counter("jobs_total", "").unwrap();
    let source = Counted::of(&registry);
    let serving = serve(&source);
    browse(async |browser| {
        watch(browser, &serving).await;
        let value = format!("{}.value", card("jobs_total", ".value"));
        browser.until(&value, "0").await;
        let first = browser.driver.window().await.unwrap();
        let second = browser.driver.new_tab().await.unwrap();
        browser.driver.switch_to_window(second).await.unwrap();
        // The stream ends. Without one, there is no snapshot.
        super::http::until("no connection", || serving.connections() == 0);
        jobs.add(3);
        let before = source.snapshots();
        browser.driver.switch_to_window(first).await.unwrap();
        browser.until("document.hidden", false).await;
        browser.until(&value, "3").await;
        assert!(source.snapshots() > before);
        browser.assert_clean().await;
    });
    serving.stop();
}

/// If a snapshot takes long, the points are seconds apart. The page once took each pause for a gap
/// and drew dots.
#[test]
fn a_service_whose_snapshots_take_long_has_curves() {
    let registry = Registry::new();
    let slow = || {
        std::thread::sleep(Duration::from_millis(420));
        1.0
    };
    registry.gauge_fn("slow", "", slow).unwrap();
    let serving = serve(&registry);
    browse(async |browser| {
        watch(browser, &serving).await;
        // The columns of the chart that have something above its base line.
        let script = "(() => {
            const canvas = document.querySelector('[data-family=slow] .plot canvas');
            if (!canvas?.width) return 0;
            const { width, height } = canvas;
            const { data } = canvas.getContext('2d').getImageData(0, 0, width, height >> 1);
            const columns = new Set();
            for (let i = 3; i < data.length; i += 4) if (data[i]) columns.add((i >> 2) % width);
            return columns.size >= 50;
        })()";
        browser.until(script, true).await;
        browser.assert_clean().await;
    });
    serving.stop();
}

#[test]
fn curves_begin_again_if_the_clock_of_the_service_is_set_back() {
    let serving = serve(&letters());
    browse(async |browser| {
        watch(browser, &serving).await;
        let points = "import(new URL('live/data.js', location)).then(({ Track }) => {
            const track = new Track();
            [5000, 6000, 6000, 2000, 3000].forEach((t, i) => track.push(t, i));
            return [track.t, track.v];
        })";
        browser.until(points, json!([[2000, 3000], [3, 4]])).await;
        browser.assert_clean().await;
    });
    serving.stop();
}
