//! Many series, many families, many pages.

use tallies::{Counter, Registry};

use super::*;

#[test]
fn ten_thousand_series_are_found_by_search_and_the_largest_are_shown() {
    let registry = Registry::new();
    let shelves = Counter::builder("shelves_total", "")
        .labels(["shelf"])
        .limit(10_000)
        .register(&registry)
        .unwrap();
    for i in 0..10_000_u64 {
        shelves.with([&*format!("s{i:05}")]).add(i);
    }
    for i in 0..400 {
        registry
            .counter(&format!("f{i:03}_total"), "")
            .unwrap()
            .inc();
    }
    let serving = serve(&registry);
    browse(async |browser| {
        watch(browser, &serving).await;
        // 300 families are on the page, and it says how many are not.
        browser.eventually("document.querySelectorAll('.card').length", 300);
        browser.eventually(
            "/^1\\d\\d more/.test(document.getElementById('note').textContent)",
            true,
        );
        // Those in sight are asked for, and not many more.
        let seen = "window.streams.at(-1).searchParams.getAll('seen').length";
        browser.eventually(&format!("{seen} > 0 && {seen} <= 60"), true);
        browser.click("#search").await;
        browser.keys("shelves").await;
        browser.eventually("document.querySelectorAll('.card').length", 1);
        let shown = "[...document.querySelectorAll('.row')].map((row) => row.dataset.series)";
        browser.eventually(
            shown,
            serde_json::json!(["shelf=\"s09999\"", "shelf=\"s09998\"", "shelf=\"s09997\""]),
        );
        let value = format!("{}.value", card("shelves_total", ".value"));
        browser.eventually(&value, (0..10_000_u64).sum::<u64>().to_string());
        browser.eventually(
            &format!("{}.textContent", card("shelves_total", ".foot span")),
            "3 of 10\u{202f}000 series",
        );
        browser.click("[data-family=shelves_total] header").await;
        browser.eventually(&format!("{shown}.length"), 50);
        browser
            .click("[data-family=shelves_total] .foot button")
            .await;
        browser.eventually(&format!("{shown}.length"), 100);
        // One of them, and the figures are its own.
        browser.click("#search").await;
        browser.keys(" s01234").await;
        browser.eventually(shown, serde_json::json!(["shelf=\"s01234\""]));
        browser.eventually(&value, "1234");
        shelves.with(["s01234"]).add(1);
        browser.eventually(&value, "1235");
        browser.keys("x").await;
        browser.eventually("document.querySelectorAll('.card').length", 0);
        browser.eventually("document.getElementById('note').hidden", false);
        browser.assert_clean().await;
    });
    serving.stop();
}
