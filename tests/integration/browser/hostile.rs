//! Texts from outside, and the policy of the page.

use serde_json::json;
use tallies::{Counter, Histogram, Info, Registry};

use super::*;

const MARKUP: [&str; 8] = [
    "<img src=x onerror=\"window.hit=1\">",
    "\"><script>window.hit=1</script>",
    "</style><script>window.hit=1</script>",
    "javascript:window.hit=1",
    "${window.hit=1}",
    "\u{202e}\u{2028}\n\r\tdata: {}\n\nevent: age\ndata: 1",
    "__proto__",
    "<svg/onload=window.hit=1>",
];

#[test]
fn label_values_from_outside_are_text() {
    let registry = Registry::new();
    let jobs = Counter::builder(
        "jobs_total",
        "<b onmouseover='window.hit=1'>help</b> & more",
    )
    .labels(["agent"])
    .register(&registry)
    .unwrap();
    for (i, text) in MARKUP.into_iter().enumerate() {
        jobs.with([text]).add(100 - i as u64);
    }
    let latency = Histogram::builder("latency_seconds", "")
        .labels(["path"])
        .register(&registry)
        .unwrap();
    latency.with([MARKUP[0]]).observe(1.0);
    Info::builder("build_info", "")
        .constant("version", MARKUP[1])
        .register(&registry)
        .unwrap();
    let serving = serve(&registry);
    browse(async |browser| {
        watch(browser, &serving).await;
        browser.click("[data-family=jobs_total] header").await;
        let shown = "[...document.querySelectorAll('[data-family=jobs_total] .row .labels span')].map((label) => label.lastChild.textContent)";
        browser.eventually(shown, json!(MARKUP));
        browser.eventually(
            &format!("{}.textContent", card("jobs_total", ".help")),
            "<b onmouseover='window.hit=1'>help</b> & more",
        );
        browser.eventually(
            &format!(
                "{}.lastChild.textContent",
                card("build_info", ".constant span")
            ),
            MARKUP[1],
        );
        // Select one, search for one.
        browser
            .click("[data-family=jobs_total] li:first-child .row")
            .await;
        browser.eventually(
            "document.querySelectorAll('.row[aria-pressed=true]').length",
            1,
        );
        browser.eventually("document.querySelectorAll('main img, main script, main style, main svg, main b').length", 0);
        browser.click("#search").await;
        browser.keys("<img src=x").await;
        browser.eventually(
            "[...document.querySelectorAll('.card')].map((card) => card.dataset.family)",
            json!(["jobs_total", "latency_seconds"]),
        );
        browser.eventually("window.hit ?? null", json!(null));
        browser.assert_clean().await;
        // The address has the search: the page begins with it.
        browser.command("Page.reload", json!({})).await;
        browser.eventually("document.getElementById('search').value", "<img src=x");
        browser.eventually("document.querySelectorAll('.card').length", 2);
        browser.eventually("window.hit ?? null", json!(null));
        browser.assert_clean().await;
    });
    serving.stop();
}

#[test]
fn the_policy_allows_nothing_but_the_page() {
    let registry = Registry::new();
    registry.counter("jobs_total", "").unwrap().inc();
    let serving = serve(&registry);
    browse(async |browser| {
        watch(browser, &serving).await;
        browser.eventually("document.querySelectorAll('.card').length > 0", true);
        for key in ["?", "\u{e00c}", "t", "t", "t", "2", "p", "p", "j"] {
            browser.keys(key).await;
        }
        browser.assert_clean().await;
        // Everything that the page asked for came from its own origin.
        let origin = browser.run("return location.origin").await;
        let asked = browser
            .run("return performance.getEntriesByType('resource').map((entry) => entry.name)")
            .await;
        let asked: Vec<_> = asked
            .as_array()
            .unwrap()
            .iter()
            .map(|name| name.as_str().unwrap())
            .collect();
        assert!(
            asked.iter().any(|name| name.ends_with("/live/page.js")),
            "{asked:?}"
        );
        assert!(
            asked
                .iter()
                .all(|name| name.starts_with(origin.as_str().unwrap())),
            "{asked:?}"
        );
        // The policy is in force: each of these is a violation.
        browser
            .run(
                "
            import('data:text/javascript,window.hit = 1').catch(() => {});
            document.body.setAttribute('style', 'color: red');
            fetch('http://127.0.0.1:1/').catch(() => {});
            try { document.body.innerHTML = '<p>'; } catch {}
            return 0",
            )
            .await;
        let kinds = "[...new Set(window.violations.map((text) => text.split(' ')[0]))].sort()";
        browser.eventually(
            kinds,
            json!([
                "connect-src",
                "require-trusted-types-for",
                "script-src-elem",
                "style-src-attr"
            ]),
        );
        browser.eventually("window.hit ?? null", json!(null));
    });
    serving.stop();
}

/// The service answers a long URL with 431. The page once asked for one again and again.
#[test]
fn long_names_and_label_values_leave_the_page_alive() {
    let registry = Registry::new();
    let long = "é".repeat(6000);
    let jobs = Counter::builder("jobs_total", "")
        .labels(["text"])
        .register(&registry)
        .unwrap();
    jobs.with([&*long]).add(3);
    for i in 0..20 {
        let name = format!("k{i:02}_{}", "x".repeat(2000));
        registry.gauge(&name, "").unwrap().set(1.0);
    }
    let serving = serve(&registry);
    browse(async |browser| {
        watch(browser, &serving).await;
        let rows = "document.querySelectorAll('[data-family=jobs_total] .row').length";
        browser.eventually(rows, 1);
        browser.click("[data-family=jobs_total] header").await;
        browser.eventually("document.querySelectorAll('.card.open .row').length", 1);
        browser.click("[data-family=jobs_total] .row").await;
        jobs.with([&*long]).add(4);
        let value = format!("{}.value", card("jobs_total", ".value"));
        browser.eventually(&value, "7");
        browser.eventually(
            "window.streams.every((url) => url.search.length < 13000)",
            true,
        );
        browser.assert_clean().await;
    });
    serving.stop();
}

#[test]
fn a_search_finds_letters_beyond_ascii_as_they_are_typed() {
    let registry = Registry::new();
    let visits = Counter::builder("visits_total", "")
        .labels(["name"])
        .register(&registry)
        .unwrap();
    visits.with(["Ünal"]).inc();
    visits.with(["other"]).inc();
    let serving = serve(&registry);
    browse(async |browser| {
        watch(browser, &serving).await;
        browser.click("#search").await;
        browser.keys("Ünal").await;
        let rows = "document.querySelectorAll('[data-family=visits_total] .row').length";
        browser.eventually(rows, 1);
        browser.assert_clean().await;
    });
    serving.stop();
}
