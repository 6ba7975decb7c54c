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
        browser.eventually("document.querySelectorAll('.card').length >= 3", true);
        for (key, focused) in [
            ("j", "a_total"),
            ("j", "b_total"),
            ("j", "c_total"),
            ("k", "b_total"),
        ] {
            browser.keys(key).await;
            browser.eventually(FOCUSED, focused);
        }
        browser.keys("\u{e007}").await; // Enter
        browser.eventually(opened, json!(["b_total"]));
        let rows = format!(
            "{}.querySelectorAll('.row').length",
            card("b_total", ".rows")
        );
        browser.eventually(&rows, 5);
        // The next things that take the focus are the label, and the first series.
        browser.keys("\u{e004}\u{e004}\u{e007}").await; // Tab, Tab, Enter
        browser.eventually(
            "document.querySelector('.row[aria-pressed=true]')?.dataset.series",
            "x=\"0\"",
        );
        browser.keys("\u{e00c}").await; // Escape
        browser.eventually(
            "document.querySelectorAll('.row[aria-pressed=true]').length",
            0,
        );
        browser.keys("\u{e00c}").await;
        browser.eventually(opened, json!([]));
        browser.keys("/").await;
        browser.eventually(FOCUSED, "search");
        browser.keys("c_TOTAL 3").await;
        browser.eventually(
            "[...document.querySelectorAll('.card')].map((card) => card.dataset.family)",
            json!(["c_total"]),
        );
        browser.eventually(&rows.replace("b_total", "c_total"), 1);
        browser.eventually(
            "document.getElementById('count').textContent.startsWith('1 of')",
            true,
        );
        browser.keys("\u{e00c}").await;
        browser.eventually("document.getElementById('search').value", "");
        browser.eventually("document.querySelectorAll('.card').length >= 3", true);
        browser.keys("\u{e00c}").await;
        browser.keys("3").await;
        browser.eventually(
            "document.querySelector('#ranges [aria-pressed=true]').textContent",
            "15 min",
        );
        for wanted in ["light", "dark", "auto"] {
            browser.keys("t").await;
            browser.eventually("document.documentElement.dataset.theme", wanted);
        }
        browser.keys("?").await;
        browser.eventually("document.getElementById('help').open", true);
        browser.keys("\u{e00c}").await;
        browser.eventually("document.getElementById('help').open", false);
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
        browser.eventually(&value, "0");
        browser.keys("p").await;
        browser.eventually("document.body.dataset.state", "paused");
        jobs.add(7);
        let before = source.snapshots();
        eventually("two more moments", || source.snapshots() >= before + 2);
        browser.eventually(&value, "0");
        browser.keys("p").await;
        browser.eventually(&value, "7");
        browser.eventually("document.body.dataset.state", "live");
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
        browser.eventually(&value, "0");
        tokio::task::block_in_place(|| serving.stop());
        browser.eventually("document.body.dataset.state", "lost");
        jobs.add(3);
        // What was there is there, and nothing pretends to be new.
        browser.eventually(&value, "0");
        let again = Server::new()
            .registry(&registry)
            .live()
            .listen(address)
            .unwrap();
        browser.eventually(&value, "3");
        browser.eventually("document.body.dataset.state", "live");
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
        browser.eventually("window.streams.length >= 4", true);
        jobs.add(3);
        browser.eventually(&format!("{}.value", card("jobs_total", ".value")), "3");
        // Each stream begins before the one before it ends: nobody notices.
        browser.eventually("[...window.states]", json!(["live"]));
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
        browser.eventually(&value, "0");
        let first = browser.driver.window().await.unwrap();
        let second = browser.driver.new_tab().await.unwrap();
        browser.driver.switch_to_window(second).await.unwrap();
        // The stream ends. Without one, there is no snapshot.
        eventually("no connection", || serving.connections() == 0);
        jobs.add(3);
        let before = source.snapshots();
        browser.driver.switch_to_window(first).await.unwrap();
        browser.eventually("document.hidden", false);
        browser.eventually(&value, "3");
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
        // The pace of the service.
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
        browser.eventually(script, true);
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
        browser.eventually(points, json!([[2000, 3000], [3, 4]]));
        browser.assert_clean().await;
    });
    serving.stop();
}
