//! The page names what it shows: labels, failures, old values, columns, colors, units.

use std::sync::{Arc, Condvar, Mutex};

use serde_json::json;
use tallies::{Counter, Gauge, Histogram, Info, Registry};

use super::*;

/// The texts of all elements in a card.
fn texts(family: &str, selector: &str) -> String {
    format!(
        "[...document.querySelectorAll('[data-family=\"{family}\"] {selector}')].map((e) => e.textContent)"
    )
}

/// The labels of each row of a card.
fn labels(family: &str) -> String {
    format!(
        "[...document.querySelectorAll('[data-family=\"{family}\"] .row .labels')].map((row) => [...row.children].map((e) => e.textContent).join(' '))"
    )
}

/// The three rows that a card shows had the same value of a label, so the page left it out, and the
/// reader took a part for the whole.
#[test]
fn a_card_shows_each_label_that_differs_among_all_series() {
    let registry = Registry::new();
    let orders = Counter::builder("orders_total", "").labels(["shop", "express", "site"]);
    let orders = orders.register(&registry).unwrap();
    for (i, shop) in ["paris", "berlin", "rome"].into_iter().enumerate() {
        orders.with([shop, "true", "north"]).add(100 - i as u64);
        orders.with([shop, "false", "north"]).add(10 - i as u64);
    }
    // Only a series that is too small for the frame has another site.
    let shelves = Counter::builder("shelves_total", "").labels(["shelf", "site"]);
    let shelves = shelves.register(&registry).unwrap();
    for i in 0..900 {
        shelves.with([&*format!("s{i:03}"), "north"]).add(1000 - i);
    }
    shelves.with(["s900", "south"]).inc();
    // Values that are cut in the middle, where they differ.
    let files = Counter::builder("files_total", "").labels(["file"]);
    let files = files.register(&registry).unwrap();
    let file = |part: &str| format!("{}{part}{}", "a".repeat(30), "z".repeat(30));
    for (part, other) in [("1", "x"), ("2", "x"), ("2", "y")] {
        files.with([&*(file(part) + other)]).inc();
    }
    let serving = serve(&registry);
    browse(async |browser| {
        watch(browser, &serving).await;
        browser.eventually(
            &labels("orders_total"),
            json!(["paris true", "berlin true", "rome true"]),
        );
        browser.eventually(
            &labels("shelves_total"),
            json!(["s000 north", "s001 north", "s002 north"]),
        );
        let different = format!("new Set({}).size", labels("files_total"));
        browser.eventually(&different, 3);
        // A search changes nothing about that.
        browser.click("#search").await;
        browser.keys("true").await;
        browser.eventually(
            "[...document.querySelectorAll('.card')].map((card) => card.dataset.family)",
            json!(["orders_total"]),
        );
        browser.eventually(
            &labels("orders_total"),
            json!(["paris true", "berlin true", "rome true"]),
        );
        browser.assert_clean().await;
    });
    serving.stop();
}

/// Failures are rare, and the page showed the largest series.
#[test]
fn failures_are_never_behind_show_more() {
    let registry = Registry::new();
    let requests = Counter::builder("requests_total", "").labels(["route", "status"]);
    let requests = requests.register(&registry).unwrap();
    for i in 0..800 {
        requests.with([&*format!("/{i:03}"), "200"]).add(1000 - i);
    }
    requests.with(["/pay", "402"]).add(3);
    requests.with(["/pay", "503"]).add(0);
    let jobs = Counter::builder("jobs_total", "").labels(["queue", "outcome"]);
    let jobs = jobs.register(&registry).unwrap();
    for i in 0..20 {
        jobs.with([&*format!("q{i:02}"), "ok"]).add(1000);
        jobs.with([&*format!("q{i:02}"), "panicked"]).add(100 - i);
    }
    let serving = serve(&registry);
    browse(async |browser| {
        watch(browser, &serving).await;
        browser.eventually(
            &labels("requests_total"),
            json!(["/pay 402", "/000 200", "/001 200"]),
        );
        let failed =
            "[...document.querySelectorAll('.row.failed')].map((row) => row.dataset.series)";
        browser.eventually(
            &format!("{failed}.includes('route=\"/pay\",status=\"402\"')"),
            true,
        );
        // It fails for the first time.
        requests.with(["/pay", "503"]).inc();
        browser.eventually(
            &labels("requests_total"),
            json!(["/pay 402", "/pay 503", "/000 200", "/001 200"]),
        );
        // More than a card has room for: it says so.
        let rows = format!(
            "{}.filter((row) => row.endsWith('panicked'))",
            labels("jobs_total")
        );
        browser.eventually(&format!("{rows}.length"), 12);
        let behind = texts("jobs_total", ".foot .failures");
        browser.eventually(&behind, json!(["8 more that failed"]));
        browser.click("[data-family=jobs_total] header").await;
        browser.eventually(&format!("{rows}.length"), 20);
        browser.eventually(&behind, json!([""]));
        browser.eventually(&format!("{}[0]", labels("jobs_total")), "q00 panicked");
        browser.assert_clean().await;
    });
    serving.stop();
}

/// Whether the values are grey, and the status is where everybody sees it.
const GREY: &str = "Number(getComputedStyle(document.getElementById('metrics')).opacity) < 0.5 \
    && getComputedStyle(document.getElementById('status')).position === 'fixed'";
const STATUS: &str = "document.getElementById('status').textContent";

/// The page of a program that had ended looked like that of a program that runs.
#[test]
fn a_page_that_lost_its_connection_is_grey_and_says_since_when() {
    let registry = Registry::new();
    registry.counter("jobs_total", "").unwrap();
    let serving = serve(&registry);
    let address = serving.address();
    browse(async |browser| {
        watch(browser, &serving).await;
        browser.eventually(&format!("Boolean({})", card("jobs_total", ".value")), true);
        browser.eventually(GREY, false);
        tokio::task::block_in_place(|| serving.stop());
        browser.eventually(GREY, true);
        let lost = |seconds: &str| {
            format!(
                "/^connection lost {seconds}\\u202fs ago, values are of \\d\\d:\\d\\d:\\d\\d$/.test({STATUS})"
            )
        };
        browser.eventually(&lost("[1-9]"), true);
        browser.eventually(&lost("[3-9]"), true);
        let again = Server::new().registry(&registry).live();
        let again = again.listen(address).unwrap();
        browser.eventually(GREY, false);
        browser.eventually(&format!("{STATUS}.startsWith('live, ')"), true);
        tokio::task::block_in_place(|| again.stop());
    });
}

/// A connection may be open and have no news, as if a cable was cut.
#[test]
fn a_page_without_news_is_grey_too() {
    let registry = Registry::new();
    let gate = Arc::new((Mutex::new(true), Condvar::new()));
    let passed = Arc::clone(&gate);
    let level = move || {
        let open = passed.0.lock().unwrap();
        drop(passed.1.wait_while(open, |open| !*open).unwrap());
        1.0
    };
    registry.gauge_fn("level", "", level).unwrap();
    let set = |open| {
        *gate.0.lock().unwrap() = open;
        gate.1.notify_all();
    };
    let serving = serve(&registry);
    browse(async |browser| {
        watch(browser, &serving).await;
        browser.eventually(&format!("Boolean({})", card("level", ".value")), true);
        set(false);
        let text = "/^last news \\d+\\u202fs ago, values are of \\d\\d:\\d\\d:\\d\\d$/";
        browser.eventually(&format!("{text}.test({STATUS})"), true);
        browser.eventually(GREY, true);
        set(true);
        browser.eventually(GREY, false);
    });
    serving.stop();
}

/// Fifty families with charts, which do not fit on a screen.
fn fifty() -> Registry {
    let registry = Registry::new();
    for i in 0..40 {
        let name = format!("part_{i:02}_total");
        let counter = Counter::builder(&name, "").labels(["side"]);
        let counter = counter.register(&registry).unwrap();
        for side in ["left", "right"] {
            counter.with([side]).add(i);
        }
        if i % 4 == 0 {
            let name = format!("part_{i:02}_seconds");
            registry.histogram(&name, "").unwrap().observe(0.1);
        }
    }
    registry
}

/// The number of charts that were never drawn: a canvas that has its initial size, or no figure.
const UNDRAWN: &str = "[...document.querySelectorAll('.card')].filter((card) => \
    [...card.querySelectorAll('canvas')].some((c) => c.width !== Math.round(c.clientWidth * devicePixelRatio)) \
    || !card.querySelector('.big').textContent).length";

/// A picture of the whole page had empty cards, from the second screen on.
#[test]
fn cards_below_the_screen_are_drawn() {
    let serving = serve(&fifty());
    browse(async |browser| {
        watch(browser, &serving).await;
        browser.eventually("document.querySelectorAll('.card').length", 50);
        browser.eventually(
            "document.documentElement.scrollHeight > 3 * innerHeight",
            true,
        );
        browser.eventually(UNDRAWN, 0);
        browser.eventually("scrollY", 0);
        browser.assert_clean().await;
    });
    serving.stop();
}

#[test]
fn paper_has_all_cards_and_all_rows_in_light_colors() {
    let registry = fifty();
    let shelves = Counter::builder("shelves_total", "").labels(["shelf"]);
    let shelves = shelves.register(&registry).unwrap();
    (0..45).for_each(|i| shelves.with([&*format!("{i}")]).inc());
    let serving = serve(&registry);
    browse(async |browser| {
        browser
            .open(&format!("{}#open=shelves_total", url(&serving)))
            .await;
        browser.eventually("document.querySelectorAll('.card.open .row').length", 45);
        browser.run("for (const t of ['light', 'dark']) document.getElementById('theme').click(); return 0").await;
        let theme = "document.documentElement.dataset.theme";
        browser.eventually(theme, "dark");
        let watching = format!(
            "addEventListener('beforeprint', () => {{ window.printed = [{UNDRAWN}, {theme}]; }}); return 0"
        );
        browser.run(&watching).await;
        browser.command("Page.printToPDF", json!({})).await;
        browser.eventually("window.printed", json!([0, "light"]));
        browser.eventually(theme, "dark");
        browser.assert_clean().await;
    });
    serving.stop();
}

/// `374 197 grams/s` was beside `62.2 M grams`.
#[test]
fn rates_have_as_many_digits_as_totals() {
    let registry = Registry::new();
    let grams = registry.counter("parcels_grams_total", "").unwrap();
    grams.add(62_200_000);
    let serving = serve(&registry);
    browse(async |browser| {
        watch(browser, &serving).await;
        let text = format!("{}.textContent", card("parcels_grams_total", ".value"));
        browser.eventually(&text, "62.2\u{202f}M\u{202f}grams");
        let short = "import(new URL('live/text.js', location)).then(({ short }) => \
            [[374197, 'grams'], [374197], [9999], [9999.7], [10000], [-25000], [999999], [62.2e6, 'grams'], [1e18]] \
            .map(([x, unit]) => short(x, unit).replaceAll('\\u202f', ' ')))";
        browser.eventually(
            short,
            json!([
                "374 k grams",
                "374 k",
                "9 999",
                "10 k",
                "10 k",
                "−25 k",
                "1 M",
                "62.2 M grams",
                "1 000 P"
            ]),
        );
        browser.assert_clean().await;
    });
    serving.stop();
}

#[test]
fn columns_colors_and_times_are_named() {
    let registry = Registry::new();
    let jobs = Counter::builder("jobs_total", "").labels(["queue", "kind"]);
    let jobs = jobs.register(&registry).unwrap();
    for (queue, kind) in [("mail", "new"), ("mail", "old"), ("disk", "new")] {
        jobs.with([queue, kind]).inc();
    }
    let level = Gauge::builder("level", "").labels(["room"]);
    let level = level.register(&registry).unwrap();
    for room in ["hall", "roof"] {
        level.with([room]).set(2.0);
    }
    let latency = Histogram::builder("latency_seconds", "").labels(["queue"]);
    let latency = latency.register(&registry).unwrap();
    let heat = latency.clone();
    let moving = move || {
        for queue in ["mail", "disk"] {
            heat.with([queue]).observe(0.02);
        }
        1.0
    };
    registry.gauge_fn("moving", "", moving).unwrap();
    let serving = serve(&registry);
    browse(async |browser| {
        watch(browser, &serving).await;
        let heads = |family: &str| {
            let all = "[...document.querySelectorAll(SELECTOR)].filter((e) => e.checkVisibility() && e.textContent).map((e) => e.textContent)";
            let selector = format!(
                "'[data-family={family}] .heads :is(.labels span, :not(.labels) > span:not(.labels))'"
            );
            all.replace("SELECTOR", &selector)
        };
        browser.eventually(&heads("jobs_total"), json!(["queue", "kind", "rate"]));
        browser.eventually(&heads("level"), json!(["room", "value"]));
        browser.eventually(&heads("latency_seconds"), json!(["queue", "rate"]));
        // The key of the colors has the rate of the darkest one.
        let key = "/^0[\\d.]+\\/s$/.test(document.querySelector('[data-family=latency_seconds] .key')?.textContent)";
        browser.eventually(key, true);
        browser.eventually("document.querySelectorAll('.key:not([hidden])').length", 1);
        // Below the chart of a small card are times.
        let times = "(() => {
            const canvas = document.querySelector('[data-family=level] .plot canvas');
            if (!canvas?.width) return 0;
            const ratio = canvas.width / canvas.clientWidth, height = Math.floor(12 * ratio);
            const { data } = canvas.getContext('2d').getImageData(Math.ceil(60 * ratio), canvas.height - height, canvas.width - 60 * ratio, height);
            return data.filter((x, i) => i % 4 === 3 && x > 40).length > 20;
        })()";
        browser.eventually(times, true);
        // Switches are no heads, and only a card that is open has them.
        let switches =
            "[...document.querySelectorAll('.by:not([hidden]) button')].map((b) => b.textContent)";
        browser.eventually(switches, json!([]));
        for (family, last) in [("latency_seconds", "p99"), ("jobs_total", "total")] {
            browser
                .click(&format!("[data-family={family}] header"))
                .await;
            browser.eventually(&format!("{}.at(-1)", heads(family)), last);
            if family != "jobs_total" {
                browser.keys("\u{e00c}").await; // Escape
                browser.run("scrollTo(0, 0); return 0").await;
            }
        }
        browser.eventually(switches, json!(["queue", "kind"]));
        browser.eventually("document.querySelectorAll('.heads button').length", 0);
        browser.click("[data-family=jobs_total] .by button").await;
        browser.eventually(&heads("jobs_total"), json!(["queue", "rate", "total"]));
        browser.eventually(&labels("jobs_total"), json!(["mail", "disk"]));
        // One box, one description.
        let search = "document.getElementById('search').placeholder === document.querySelector('.search .hidden').textContent";
        browser.eventually(search, true);
        browser.assert_clean().await;
    });
    serving.stop();
}

/// Families without a group were first, and so `tracing_events_total` was the first of all.
#[test]
fn the_families_of_the_program_are_first() {
    let registry = Registry::new();
    Info::builder("shop_build_info", "")
        .constant("version", "1")
        .register(&registry)
        .unwrap();
    for name in [
        "process_threads",
        "tracing_events_total",
        "http_requests",
        "http_bytes",
        "alone",
        "shop_orders",
        "shop_parcels",
        "tokio_workers",
        "tokio_threads",
        "zebra",
    ] {
        registry.gauge(name, "").unwrap().set(1.0);
    }
    let serving = serve(&registry);
    browse(async |browser| {
        watch(browser, &serving).await;
        let sections = "[...document.querySelectorAll('#metrics section')].map((s) => [s.querySelector('h2').textContent, ...[...s.querySelectorAll('.grid .card')].map((c) => c.dataset.family)])";
        browser.eventually(
            sections,
            json!([
                ["shop", "shop_orders", "shop_parcels"],
                ["http", "http_bytes", "http_requests"],
                [
                    "others",
                    "alone",
                    "process_threads",
                    "zebra",
                    "tracing_events_total"
                ],
                ["tokio", "tokio_threads", "tokio_workers"],
            ]),
        );
        browser.assert_clean().await;
    });
    serving.stop();
}
