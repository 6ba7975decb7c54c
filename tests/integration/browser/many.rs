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
        browser
            .until("document.querySelectorAll('.card').length", 300)
            .await;
        browser
            .until(
                "/^1\\d\\d more/.test(document.getElementById('note').textContent)",
                true,
            )
            .await;
        // Those in sight are asked for, and not many more.
        let seen = "window.streams.at(-1).searchParams.getAll('seen').length";
        browser
            .until(&format!("{seen} > 0 && {seen} <= 60"), true)
            .await;
        browser.click("#search").await;
        browser.keys("shelves").await;
        browser
            .until("document.querySelectorAll('.card').length", 1)
            .await;
        let shown = "[...document.querySelectorAll('.row')].map((row) => row.dataset.series)";
        browser
            .until(
                shown,
                serde_json::json!(["shelf=\"s09999\"", "shelf=\"s09998\"", "shelf=\"s09997\""]),
            )
            .await;
        let value = format!("{}.value", card("shelves_total", ".value"));
        browser
            .until(&value, (0..10_000_u64).sum::<u64>().to_string())
            .await;
        browser
            .until(
                &format!("{}.textContent", card("shelves_total", ".foot span")),
                "3 of 10\u{202f}000 series",
            )
            .await;
        browser.click("[data-family=shelves_total] header").await;
        browser.until(&format!("{shown}.length"), 50).await;
        browser
            .click("[data-family=shelves_total] .foot button")
            .await;
        browser.until(&format!("{shown}.length"), 100).await;
        // One of them, and the figures are its own.
        browser.click("#search").await;
        browser.keys(" s01234").await;
        browser
            .until(shown, serde_json::json!(["shelf=\"s01234\""]))
            .await;
        browser.until(&value, "1234").await;
        shelves.with(["s01234"]).add(1);
        browser.until(&value, "1235").await;
        browser.keys("x").await;
        browser
            .until("document.querySelectorAll('.card').length", 0)
            .await;
        browser
            .until("document.getElementById('note').hidden", false)
            .await;
        browser.assert_clean().await;
    });
    serving.stop();
}
