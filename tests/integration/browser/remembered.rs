//! The page remembers its settings and history, and shows no more than is known.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use serde_json::json;
use tallies::{Counter, Gauge, Histogram, Info};
use thirtyfour::By;

use super::*;

/// A program that does something whenever a snapshot is taken.
fn moving() -> Counted {
    let registry = Registry::new();
    let jobs = Counter::builder("jobs_total", "").labels(["queue", "kind"]);
    let jobs = jobs.register(&registry).unwrap();
    let latency = Histogram::builder("latency_seconds", "").labels(["queue"]);
    let latency = latency.register(&registry).unwrap();
    let moments = AtomicU64::new(0);
    let level = move || {
        for (queue, kind, count) in [
            ("mail", "new", 40),
            ("mail", "old", 40),
            ("bulk", "new", 9000),
        ] {
            jobs.with([queue, kind]).add(count);
            latency.with([queue]).observe(0.02);
            latency.with([queue]).observe(0.3);
        }
        50.0 + 6.0 * (moments.fetch_add(1, Relaxed) % 2) as f64
    };
    registry.gauge_fn("level", "", level).unwrap();
    for i in 0..30 {
        let name = format!("other_{i:02}");
        registry.gauge(&name, "").unwrap().set(f64::from(i));
    }
    Counted::of(&registry)
}

/// For how many seconds the chart of a family has something, and the seconds of its widest hole.
fn drawn(family: &str) -> String {
    format!(
        "(() => {{
            const canvas = {};
            if (!canvas?.width) return [0, 0];
            const {{ width, height }} = canvas;
            const ratio = width / canvas.clientWidth;
            const {{ data }} = canvas.getContext('2d').getImageData(0, height - Math.round(23 * ratio), width, 1);
            const from = Math.ceil(47 * ratio);
            let [full, hole, widest] = [0, 0, 0];
            for (let x = from; x < width - 2; x++) {{
                if (data[4 * x + 3] < 10) {{ hole++; continue; }}
                if (full) widest = Math.max(widest, hole);
                full++;
                hole = 0;
            }}
            return [full, widest].map((n) => n / (width - from) * 60);
        }})()",
        card(family, ".plot canvas")
    )
}

async fn until_drawn(browser: &Browser, family: &str, seconds: u32) {
    let drawn = format!("{}[0] >= {seconds}", drawn(family));
    browser.eventually(&drawn, true);
}

async fn hole(browser: &Browser, family: &str) -> f64 {
    let drawn = browser.run(&format!("return {}", drawn(family))).await;
    drawn[1].as_f64().unwrap()
}

fn wait(source: &Counted, moments: usize) {
    let before = source.snapshots();
    eventually("some moments", || source.snapshots() >= before + moments);
}

async fn search(browser: &Browser, text: &str) {
    browser.click("#search").await;
    browser.keys(text).await;
}

const CARDS: &str = "[...document.querySelectorAll('.card')].map((card) => card.dataset.family)";

/// The page once had a hole in every chart, as long as the search.
#[test]
fn a_search_and_a_scroll_leave_no_hole() {
    let source = moving();
    let serving = serve(&source);
    browse(async |browser| {
        watch(browser, &serving).await;
        until_drawn(browser, "level", 4).await;
        search(browser, "queue=\"mail\" new").await;
        browser.eventually(CARDS, json!(["jobs_total"]));
        wait(&source, 7);
        browser.keys("\u{e00c}").await; // Escape
        for family in ["level", "latency_seconds", "jobs_total"] {
            until_drawn(browser, family, 10).await;
            let hole = hole(browser, family).await;
            assert!(hole < 2.5, "{family} has a hole of {hole} s");
        }
        browser.run("scrollTo(0, 1e6); return 0").await;
        browser.eventually("scrollY > 400", true);
        wait(&source, 7);
        browser.run("scrollTo(0, 0); return 0").await;
        for family in ["level", "latency_seconds"] {
            until_drawn(browser, family, 18).await;
            let hole = hole(browser, family).await;
            assert!(hole < 2.5, "{family} has a hole of {hole} s");
        }
        browser.assert_clean().await;
    });
    serving.stop();
}

/// The chart once began with nothing when labels were searched for.
#[test]
fn a_search_for_labels_keeps_what_their_series_did() {
    let source = moving();
    let serving = serve(&source);
    browse(async |browser| {
        watch(browser, &serving).await;
        let row = format!("Boolean({})", card("jobs_total", ".row"));
        browser.eventually(&row, true);
        wait(&source, 9);
        search(browser, "queue=\"mail\"").await;
        browser.eventually(CARDS, json!(["jobs_total", "latency_seconds"]));
        let before = source.snapshots();
        for family in ["jobs_total", "latency_seconds"] {
            until_drawn(browser, family, 7).await;
        }
        assert!(source.snapshots() < before + 5, "it was drawn anew");
        // Two of three: 80 a second, more when snapshots of a busy machine are close together. With
        // the third it would be thousands.
        let rate = format!("Number({}.value)", card("jobs_total", ".big"));
        let rate = browser.run(&format!("return {rate}")).await;
        assert!((20.0..=500.0).contains(&rate.as_f64().unwrap()), "{rate}");
        browser.assert_clean().await;
    });
    serving.stop();
}

#[test]
fn a_page_does_not_begin_empty() {
    let source = moving();
    let serving = serve(&source);
    // Nobody looks: there is one snapshot in five seconds.
    eventually("four snapshots", || source.snapshots() >= 4);
    browse(async |browser| {
        let before = source.snapshots();
        watch(browser, &serving).await;
        for family in ["jobs_total", "latency_seconds", "level"] {
            until_drawn(browser, family, 12).await;
            assert!(hole(browser, family).await < 2.5);
        }
        assert!(source.snapshots() < before + 10, "it was drawn anew");
        browser.assert_clean().await;
    });
    serving.stop();
}

#[test]
fn a_quantile_that_only_a_bucket_is_known_of_is_not_a_number() {
    let registry = Registry::new();
    let fast = registry.histogram("fast_seconds", "").unwrap();
    let far = Histogram::builder("far_seconds", "").buckets(&[1.0]);
    let far = far.register(&registry).unwrap();
    registry.histogram("idle_seconds", "").unwrap();
    let observe = move || {
        fast.observe(0.001);
        far.observe(2.0);
        0.0
    };
    registry.gauge_fn("observed", "", observe).unwrap();
    let serving = serve(&registry);
    browse(async |browser| {
        watch(browser, &serving).await;
        for (family, text) in [
            ("fast_seconds", "≤\u{202f}5\u{202f}ms"),
            ("far_seconds", ">\u{202f}1\u{202f}s"),
            ("idle_seconds", "–"),
        ] {
            let all = format!(
                "[...document.querySelectorAll('[data-family={family}] .quantiles data')].map((data) => data.textContent)"
            );
            browser.eventually(&all, json!([text, text, text]));
        }
        browser.assert_clean().await;
    });
    serving.stop();
}

#[test]
fn gauges_of_several_series_are_a_range_and_those_that_add_up_a_sum() {
    let registry = Registry::new();
    let rooms = Gauge::builder("room_celsius", "").labels(["room"]);
    let rooms = rooms.register(&registry).unwrap();
    let open = tallies::UpDownCounter::builder("open_doors", "").labels(["room"]);
    let open = open.register(&registry).unwrap();
    for (room, celsius) in [("cellar", 12.0), ("kitchen", 20.0), ("roof", 25.0)] {
        rooms.with([room]).set(celsius);
        open.with([room]).add(2);
    }
    let serving = serve(&registry);
    browse(async |browser| {
        watch(browser, &serving).await;
        let text = |family: &str, part: &str| format!("{}.textContent", card(family, part));
        browser.eventually(&text("room_celsius", ".big"), "12 – 25°C");
        browser.eventually(&text("room_celsius", ".side"), "least and most of 3");
        browser.eventually(&text("open_doors", ".big"), "6");
        search(browser, "kitchen").await;
        browser.eventually(&text("room_celsius", ".big"), "20°C");
        browser.assert_clean().await;
    });
    serving.stop();
}

#[test]
fn a_link_scrolls_to_its_family_and_the_address_can_be_changed() {
    let serving = serve(&moving());
    browse(async |browser| {
        let visible = |family: &str| {
            format!(
                "(() => {{ const box = document.querySelector('.open[data-family={family}]')?.getBoundingClientRect(); \
                 return Boolean(box) && box.top >= 0 && box.top < innerHeight / 2; }})()"
            )
        };
        browser
            .open(&format!("{}#open=other_25", url(&serving)))
            .await;
        browser.eventually(&visible("other_25"), true);
        browser.eventually("scrollY > 400", true);
        browser
            .run("location.hash = '#open=jobs_total&range=300&by=queue'; return 0")
            .await;
        browser.eventually(&visible("jobs_total"), true);
        browser.eventually(
            "document.querySelector('#ranges [aria-pressed=true]').textContent",
            "5 min",
        );
        // The series, added up by a label.
        let sums = "[...document.querySelectorAll('[data-family=jobs_total] .row')].map((row) => row.dataset.series)";
        browser.eventually(sums, json!(["queue=\"bulk\"", "queue=\"mail\""]));
        browser
            .click("[data-family=jobs_total] .by [aria-pressed=true]")
            .await;
        browser.eventually(&format!("{sums}.length"), 3);
        browser.eventually("location.hash", "#open=jobs_total&range=300");
        browser.assert_clean().await;
    });
    serving.stop();
}

#[test]
fn a_drag_zooms_and_escape_shows_everything_again() {
    let serving = serve(&moving());
    browse(async |browser| {
        watch(browser, &serving).await;
        until_drawn(browser, "level", 3).await;
        let canvas = "[data-family=level] .plot canvas";
        let element = browser.driver.find(By::Css(canvas)).await.unwrap();
        let drag = browser.driver.action_chain();
        let drag = drag
            .move_to_element_with_offset(&element, 60, 0)
            .click_and_hold();
        drag.move_by_offset(50, 0)
            .release()
            .perform()
            .await
            .unwrap();
        let zoom = "document.getElementById('zoom').hidden";
        browser.eventually(zoom, false);
        browser.keys("\u{e00c}").await;
        browser.eventually(zoom, true);
        browser.assert_clean().await;
    });
    serving.stop();
}

#[test]
fn families_are_in_groups_and_those_about_the_metrics_are_folded() {
    let registry = Registry::new();
    Info::builder("shop_build_info", "")
        .constant("version", "1.2.0")
        .register(&registry)
        .unwrap();
    registry
        .gauge("process_start_time_seconds", "")
        .unwrap()
        .set(1_795_363_200.0);
    registry.gauge("process_max_fds", "").unwrap().set(100.0);
    for name in [
        "http_requests_total",
        "http_errors_total",
        "tallies_a_total",
    ] {
        registry.counter(name, "").unwrap();
    }
    let none = Counter::builder("imports_total", "").labels(["source"]);
    none.register(&registry).unwrap();
    let serving = serve(&registry);
    browse(async |browser| {
        watch(browser, &serving).await;
        let groups =
            "[...document.querySelectorAll('section')].map((group) => group.dataset.group)";
        browser.eventually(groups, json!(["http", "", "process", "tallies"]));
        browser.eventually(
            "document.getElementById('program').textContent",
            "shop 1.2.0",
        );
        browser.eventually(
            "document.getElementById('since').textContent.startsWith('since 2026-11-2')",
            true,
        );
        // One line each: a constant, and a family without series.
        let lines =
            "[...document.querySelectorAll('.lines .card')].map((card) => card.dataset.family)";
        browser.eventually(
            &format!("{lines}.slice(0, 2)"),
            json!(["imports_total", "shop_build_info"]),
        );
        browser.eventually(
            "document.querySelector('[data-group=tallies] .group span').textContent",
            "1 family about the metrics themselves",
        );
        let own = format!("{}.checkVisibility()", card("tallies_a_total", "header"));
        browser.eventually(&own, false);
        browser.click("[data-group=tallies] .group").await;
        browser.eventually(&own, true);
        browser.assert_clean().await;
    });
    serving.stop();
}
