//! Pictures of the page beside the example `live`. To make those of the documentation:
//!
//!     PICTURES=$PWD/docs/images cargo test --workspace --all-features --test browser pictures
//!
//! Without that variable, they are made of a few seconds and looked at by the test only.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use serde_json::json;

use super::*;

/// A program that ends with the test, also if that fails.
struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Takes a picture of the window, and checks that it shows more than one color.
async fn picture(browser: &Browser, name: &str) {
    let png = browser.driver.screenshot_as_png().await.unwrap();
    assert!(png.len() > 30_000, "{name} is almost empty");
    if let Some(folder) = std::env::var_os("PICTURES") {
        std::fs::write(PathBuf::from(folder).join(name), png).unwrap();
    }
}

async fn size(browser: &Browser, width: u32, height: u32) {
    let size =
        json!({ "width": width, "height": height, "deviceScaleFactor": 1.5, "mobile": false });
    browser
        .command("Emulation.setDeviceMetricsOverride", size)
        .await;
    browser.eventually("innerWidth", width);
}

/// Waits for two more frames, so that all that came into sight has been drawn.
async fn settle(browser: &Browser) {
    browser.run("window.settled = 0; new MutationObserver(() => window.settled++).observe(document.getElementById('status'), { childList: true, characterData: true, subtree: true }); return 0").await;
    browser.eventually("window.settled >= 3", true);
}

#[test]
fn pictures_of_the_page_in_light_in_dark_and_on_a_narrow_screen() {
    let programs = support::examples::build(&["live"]);
    let program = Command::new(programs.join("live"))
        .args(["--listen", "127.0.0.1:0", "--series", "40"])
        .stdout(Stdio::piped())
        .spawn();
    let mut program = Program(program.unwrap());
    let mut line = String::new();
    let mut output = BufReader::new(program.0.stdout.take().unwrap());
    output.read_line(&mut line).unwrap();
    let url = line.trim().rsplit(' ').next().unwrap().to_owned();
    let points = if std::env::var_os("PICTURES").is_some() {
        63
    } else {
        4
    };
    browse(async |browser| {
        size(browser, 1280, 1010).await;
        browser.open(&url).await;
        browser.keys("t").await;
        browser.eventually("document.documentElement.dataset.theme", "light");
        browser.run("
            window.frames_seen = 0;
            let last = '';
            new MutationObserver(() => {
                const text = document.getElementById('status').textContent;
                if (text !== last) window.frames_seen++;
                last = text;
            }).observe(document.getElementById('status'), { childList: true, characterData: true, subtree: true });
            return 0").await;
        for points in [points / 2, points] {
            let seen = format!("window.frames_seen >= {points}");
            browser.eventually(&seen, true);
        }
        picture(browser, "live-light.png").await;
        browser.keys("t").await;
        browser
            .click("[data-family=http_request_duration_seconds] header")
            .await;
        settle(browser).await;
        picture(browser, "live-dark.png").await;
        browser.keys("\u{e00c}").await;
        browser
            .run("scrollTo(0, 0); document.activeElement.blur(); return 0")
            .await;
        browser.keys("t").await;
        browser.keys("t").await;
        size(browser, 420, 900).await;
        settle(browser).await;
        picture(browser, "live-narrow.png").await;
        // Nothing is wider than the screen.
        browser.eventually("document.documentElement.scrollWidth <= innerWidth", true);
        browser.assert_clean().await;
    });
}
