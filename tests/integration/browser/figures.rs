//! Figures and pictures.

use serde_json::json;
use tallies::{
    Counter, Gauge, Histogram, Info, LabelValue, Registry, StateSet, Summary, UpDownCounter,
};

use super::*;

#[derive(LabelValue)]
enum Pump {
    Off,
    Running,
}

fn value(family: &str) -> String {
    format!("{}.value", card(family, ".value"))
}

fn big(family: &str) -> String {
    format!("{}.value", card(family, ".big"))
}

#[test]
fn figures_on_the_page_are_those_of_the_snapshot() {
    let registry = Registry::new();
    let jobs = Counter::builder("jobs_total", "Jobs done.")
        .labels(["queue"])
        .register(&registry)
        .unwrap();
    jobs.with(["mail"]).add(1_234_567);
    jobs.with(["bulk"]).add(89);
    let huge = registry.counter("huge_total", "").unwrap();
    huge.add(u64::MAX - 7);
    let open = UpDownCounter::builder("open_doors", "")
        .register(&registry)
        .unwrap();
    open.add(5);
    open.sub(7);
    let level = registry.gauge("level", "").unwrap();
    level.set(0.000_123_456_789);
    let odd = Gauge::builder("odd", "")
        .labels(["kind"])
        .register(&registry)
        .unwrap();
    odd.with(["infinite"]).set(f64::NEG_INFINITY);
    odd.with(["none"]).set(f64::NAN);
    let latency = Histogram::builder("latency_seconds", "Time to answer.")
        .native(3)
        .register(&registry)
        .unwrap();
    (1..=1000).for_each(|i| latency.observe(f64::from(i) / 1000.0));
    let sizes = Summary::builder("sizes_bytes", "")
        .register(&registry)
        .unwrap();
    (1..=100_000).for_each(|i| sizes.observe(f64::from(i)));
    Info::builder("build_info", "")
        .constant("version", "1.2.0")
        .register(&registry)
        .unwrap();
    let pump = StateSet::builder("pump_state", "")
        .register(&registry)
        .unwrap();
    pump.set(Pump::Running);
    let _ = Pump::Off;
    let serving = serve(&registry);
    let now = registry.snapshot();
    browse(async |browser| {
        watch(browser, &serving).await;
        browser.eventually(&value("jobs_total"), "1234656");
        browser.eventually(
            &format!("{}.textContent", card("jobs_total", ".value")),
            "1\u{202f}234\u{202f}656",
        );
        let rows = "[...document.querySelectorAll('[data-family=jobs_total] .row')].map((row) => row.dataset.series)";
        browser.eventually(rows, json!(["queue=\"mail\"", "queue=\"bulk\""]));
        // A float, and so a number in a script, has no such integer.
        browser.eventually(&value("huge_total"), (u64::MAX - 7).to_string());
        browser.eventually(&big("open_doors"), "-2");
        browser.eventually(&format!("{}.textContent", card("open_doors", ".big")), "−2");
        browser.eventually(&format!("Number({})", big("level")), 0.000_123_456_789);
        browser.eventually("[...document.querySelectorAll('[data-family=odd] .row data:not(.more)')].map((row) => row.textContent)", json!(["−∞", "–"]));
        browser.eventually(&value("latency_seconds"), "1000");
        browser.eventually(&value("sizes_bytes"), "100000");
        // The quantiles of a summary are those of the snapshot, and so are their errors.
        for (phi, name) in [(0.5, "median"), (0.9, "p90"), (0.99, "p99")] {
            let found = now.quantile("sizes_bytes", &[], phi).unwrap();
            let item = format!(
                "[...document.querySelectorAll('[data-family=sizes_bytes] .quantiles > div')].find((item) => item.querySelector('dt').textContent === '{name}')"
            );
            browser.eventually(
                &format!("Number({item}?.querySelector('data').value)"),
                found.value,
            );
            let error = browser
                .run(&format!("return {item}.querySelector('small').textContent"))
                .await;
            assert!(error.as_str().unwrap().starts_with('±'), "{error}");
            let bounds = browser.run(&format!("return {item}.title")).await;
            assert!(
                bounds.as_str().unwrap().starts_with("certainly from "),
                "{bounds}"
            );
        }
        browser.eventually("document.querySelector('[data-family=pump_state] .state.on').parentElement.dataset.series", "pump_state=\"running\"");
        browser.eventually(
            &format!("{}.textContent", card("build_info", ".constant")),
            "version1.2.0",
        );
        // Nothing changes without a change, and a change comes.
        jobs.with(["bulk"]).add(11);
        sizes.observe(1.0);
        browser.eventually(&value("jobs_total"), "1234667");
        browser.eventually(&value("sizes_bytes"), "100001");
        browser.assert_clean().await;
    });
    // The readers beside the page found everything.
    assert_eq!(
        registry.snapshot().get("jobs_total", &[("queue", "bulk")]),
        Some(100.0)
    );
    serving.stop();
}

/// The number of points of a canvas that are not empty.
fn painted(family: &str) -> String {
    format!(
        "(() => {{ const c = {}; const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data; \
         let n = 0; for (let i = 3; i < d.length; i += 4) if (d[i] > 40) n++; return n; }})()",
        card(family, ".plot canvas")
    )
}

#[test]
fn rates_and_heat_maps_move_while_something_happens() {
    let registry = Registry::new();
    let jobs = registry.counter("jobs_total", "").unwrap();
    let latency = registry.histogram("latency_seconds", "").unwrap();
    let idle = registry.histogram("idle_seconds", "").unwrap();
    idle.observe(1.0);
    let serving = serve(&registry);
    browse(async |browser| {
        watch(browser, &serving).await;
        browser.eventually(&big("jobs_total"), "0");
        let end = std::time::Instant::now() + std::time::Duration::from_secs(30);
        let quantile = format!(
            "Boolean({}?.textContent > '0')",
            card("latency_seconds", ".quantiles data")
        );
        loop {
            jobs.add(10);
            latency.observe(0.02);
            latency.observe(0.2);
            let rate = browser
                .run(&format!("return Number({})", big("jobs_total")))
                .await;
            if rate.as_f64().unwrap() > 0.0
                && browser.run(&format!("return {quantile}")).await == true
            {
                break;
            }
            assert!(std::time::Instant::now() < end, "the rate is {rate}");
        }
        // Half of them are 20 ms, in the bucket up to 25 ms.
        let median = browser
            .run(&format!(
                "return Number({}.value)",
                card("latency_seconds", ".quantiles data")
            ))
            .await;
        assert!(
            (0.01..=0.025).contains(&median.as_f64().unwrap()),
            "{median}"
        );
        browser.eventually(&format!("{} > 100", painted("latency_seconds")), true);
        // Only the line at the bottom, and nothing above it.
        let idle = browser
            .run(&format!(
                "return [{}, {}]",
                painted("idle_seconds"),
                painted("latency_seconds")
            ))
            .await;
        assert!(idle[0].as_u64() < idle[1].as_u64(), "{idle}");
        // Nothing happens any more: the rate falls to 0.
        browser.eventually(&big("jobs_total"), "0");
        browser.assert_clean().await;
    });
    serving.stop();
}

#[test]
fn a_series_that_vanishes_is_said_to_be_gone() {
    let registry = Registry::new();
    let jobs = Counter::builder("jobs_total", "")
        .labels(["queue"])
        .register(&registry)
        .unwrap();
    jobs.with(["mail"]).inc();
    jobs.with(["bulk"]).inc();
    let visits = Gauge::builder("visits", "").labels(["page"]);
    let visits = visits.register(&registry).unwrap();
    visits.with(["home"]).set(3.0);
    let doors = Registry::new();
    let server = Server::new().registry(&registry).registry(&doors).live();
    let serving = server.listen("127.0.0.1:0").unwrap();
    let gauge = doors.gauge("doors", "").unwrap();
    gauge.set(1.0);
    browse(async |browser| {
        watch(browser, &serving).await;
        let row = |text: &str| {
            format!("document.querySelector('.row[data-series=\\'queue=\"{text}\"\\']')?.className")
        };
        browser.eventually(&row("mail"), "row");
        browser.eventually(&row("bulk"), "row");
        jobs.remove(["bulk"]);
        browser.eventually(&row("bulk"), "row gone");
        browser.eventually(&row("mail"), "row");
        // The last one of a family, which stays where it is when the cards are put in order.
        visits.remove(["home"]);
        let text = |part: &str| format!("{}.textContent", card("visits", part));
        browser.eventually(&text(".big"), "–");
        browser.eventually(&text(".side"), "no series now");
        registry.gauge("windows", "").unwrap();
        browser.eventually(&format!("Boolean({})", card("windows", "header")), true);
        let place = format!(
            "{}.closest('.card').parentElement",
            card("visits", "header")
        );
        browser.eventually(&format!("{place}.className"), "grid");
        // It comes back.
        jobs.with(["bulk"]).inc();
        browser.eventually(&row("bulk"), "row");
        browser.assert_clean().await;
    });
    serving.stop();
}

#[test]
fn infinities_and_long_labels_leave_a_chart_its_scale() {
    let registry = Registry::new();
    let odd = Gauge::builder("odd", "").labels(["kind"]);
    let odd = odd.register(&registry).unwrap();
    let old = Gauge::builder("age_seconds", "").labels(["kind"]);
    let old = old.register(&registry).unwrap();
    for (kind, value) in [("a", f64::INFINITY), ("b", 1.0), ("c", 5.0), ("d", 1e12)] {
        old.with([kind]).set(value);
        odd.with([kind]).set(-value.min(1e9));
    }
    odd.with(["a"]).set(f64::NEG_INFINITY);
    let started = registry.gauge("backup_start_time_seconds", "").unwrap();
    started.set(1_795_363_200.0);
    let serving = serve(&registry);
    browse(async |browser| {
        watch(browser, &serving).await;
        let text = |family: &str, part: &str| format!("{}.textContent", card(family, part));
        browser.eventually(
            &text("age_seconds", ".big"),
            "1\u{202f}s – 11\u{202f}574\u{202f}074d",
        );
        browser.eventually(&text("odd", ".side"), "least and most finite of 4");
        for family in ["age_seconds", "odd"] {
            browser.eventually(&format!("{} > 100", painted(family)), true);
            // Nothing is cut at the left.
            let canvas = card(family, ".plot canvas");
            let edge = format!("{canvas}.getContext('2d').getImageData(0, 0, 4, {canvas}.height)");
            browser.eventually(&format!("{edge}.data.every((x) => x === 0)"), true);
        }
        // Something began then, but not the process.
        browser.eventually("document.getElementById('since').textContent", "");
        browser.assert_clean().await;
    });
    serving.stop();
}
