//! A real Chromium, driven through Debian's chromedriver.

use std::io::{BufRead, BufReader, Lines};
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::process::{Child, ChildStdout, Command, Stdio};

use futures_util::FutureExt;
use serde_json::{Value, json};
use thirtyfour::prelude::*;

use crate::support::eventually;

/// A browser with one window. Ends when the test does.
pub struct Browser {
    pub driver: WebDriver,
    server: Child,
}

/// Records violations of the policy, errors of scripts, and the streams, from before the first
/// script of the page on.
const WATCH: &str = "
    window.violations = [];
    window.failures = [];
    window.streams = [];
    window.EventSource = class extends EventSource {
        constructor(url) {
            super(url);
            window.streams.push(new URL(url, location));
        }
    };
    document.addEventListener('securitypolicyviolation', (event) =>
        window.violations.push(event.violatedDirective + ' ' + event.blockedURI));
    window.addEventListener('error', (event) => window.failures.push(String(event.message)));
    window.addEventListener('unhandledrejection', (event) => window.failures.push(String(event.reason)));
";

impl Browser {
    /// Starts a server of browsers. Returns its port and what else it prints, or `None` if it ended
    /// without a port.
    fn start_server() -> Option<(Child, u16, Lines<BufReader<ChildStdout>>)> {
        let mut server = Command::new("chromedriver")
            .arg("--port=0")
            .stdout(Stdio::piped())
            .spawn()
            .expect("chromedriver, of the Debian package chromium-driver");
        let mut lines = BufReader::new(server.stdout.take().unwrap()).lines();
        let port = lines.find_map(|line| {
            let line = line.ok()?;
            let (_, port) = line.split_once("started successfully on port ")?;
            port.trim_end_matches('.').parse::<u16>().ok()
        });
        match port {
            Some(port) => Some((server, port, lines)),
            None => {
                server.wait().unwrap();
                None
            }
        }
    }

    /// Starts a browser. Fails if there is none: `tests/run.sh browser` installs it.
    async fn start() -> Self {
        // It binds one free port of IPv4, and then the same port of IPv6, which may be in use.
        let (server, port, mut lines) = (0..5)
            .find_map(|_| Self::start_server())
            .expect("chromedriver prints its port");
        // It must never wait for a reader.
        std::thread::spawn(move || lines.for_each(drop));
        let mut chrome = DesiredCapabilities::chrome();
        for argument in [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--window-size=1280,900",
            "--force-device-scale-factor=1.5",
            "--force-prefers-reduced-motion",
        ] {
            chrome.add_arg(argument).unwrap();
        }
        let driver = WebDriver::new(format!("http://127.0.0.1:{port}"), chrome);
        let browser = Self {
            driver: driver.await.unwrap(),
            server,
        };
        browser
            .command(
                "Page.addScriptToEvaluateOnNewDocument",
                json!({ "source": WATCH }),
            )
            .await;
        browser
    }

    /// Sends a command of the DevTools protocol.
    pub async fn command(&self, name: &str, parameters: Value) -> Value {
        let tools = self.driver.cdp();
        tools.send_raw(name, parameters).await.unwrap()
    }

    pub async fn open(&self, url: &str) {
        self.driver.goto(url).await.unwrap();
    }

    /// Runs the body of a function in the page and returns its result.
    pub async fn run(&self, script: &str) -> Value {
        let result = self.driver.execute(script, Vec::new()).await;
        result
            .unwrap_or_else(|e| panic!("{script}: {e}"))
            .json()
            .clone()
    }

    /// Waits until the expression has this value. Blocks the thread of the test.
    pub fn eventually(&self, expression: &str, wanted: impl Into<Value>) {
        let wanted = wanted.into();
        let runtime = tokio::runtime::Handle::current();
        let run = |script: &str| runtime.block_on(self.run(script));
        tokio::task::block_in_place(|| {
            eventually(expression, || {
                let found = run(&format!("return {expression}"));
                let same = match (found.as_f64(), wanted.as_f64()) {
                    (Some(found), Some(wanted)) => found == wanted,
                    _ => found == wanted,
                };
                same.then_some(()).ok_or(format!("{found}, not {wanted}"))
            });
        });
    }

    /// Presses keys, as a user would, wherever the focus is.
    pub async fn keys(&self, keys: impl Into<TypingData>) {
        let chain = self.driver.action_chain();
        chain.send_keys(keys).perform().await.unwrap();
    }

    pub async fn click(&self, selector: &str) {
        let element = self.driver.find(By::Css(selector)).await.unwrap();
        element.click().await.unwrap();
    }

    /// Asserts that nothing went wrong in the page that nobody sees.
    pub async fn assert_clean(&self) {
        let seen = self
            .run("return [window.violations, window.failures]")
            .await;
        assert_eq!(seen, json!([[], []]));
    }
}

/// Runs a test in a browser of its own.
pub fn browse(test: impl AsyncFnOnce(&Browser)) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut browser = Browser::start().await;
        let outcome = AssertUnwindSafe(test(&browser)).catch_unwind().await;
        // Ends the browser, also if the test failed.
        let quit = browser.driver.clone().quit().await;
        browser.server.kill().unwrap();
        browser.server.wait().unwrap();
        match outcome {
            Ok(()) => quit.unwrap(),
            Err(panic) => resume_unwind(panic),
        }
    });
}
