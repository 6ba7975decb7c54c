//! Endpoints: each is asked on a thread of its own, so that one that hangs delays no other.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use tallies::snapshot::Snapshot;

use crate::fetch::{Client, Target};

/// Formats in the order of preference. Names outside the legacy character set stay as they are.
const ACCEPT: &str = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8,\
                      application/openmetrics-text;version=1.0.0;q=0.9,\
                      text/plain;version=1.0.0;escaping=allow-utf-8;q=0.8,\
                      text/plain;version=0.0.4;q=0.7,*/*;q=0.1";
const PLAIN: &str = "text/plain;version=0.0.4";

/// A report of a thread about its endpoint.
pub enum Report {
    /// It asks now.
    Asking,
    /// It has a page: when it arrived, how long it took, and its length.
    Page(Box<Snapshot>, Instant, Duration, usize),
    /// It has none.
    Failed(String),
}

/// Starts a thread for each endpoint. A report has the index of its endpoint.
pub fn start(clients: Vec<Client>, interval: Duration) -> Receiver<(usize, Report)> {
    let (sender, receiver) = channel();
    for (i, client) in clients.into_iter().enumerate() {
        let sender = sender.clone();
        std::thread::spawn(move || ask(i, &client, interval, &sender));
    }
    receiver
}

/// Asks until the receiver is gone.
fn ask(i: usize, client: &Client, interval: Duration, sender: &Sender<(usize, Report)>) {
    let mut accept = ACCEPT;
    let mut next = Instant::now();
    while sender.send((i, Report::Asking)).is_ok() {
        let asked = Instant::now();
        let report = page(client, &mut accept).map(|(snapshot, bytes)| {
            Report::Page(Box::new(snapshot), Instant::now(), asked.elapsed(), bytes)
        });
        if sender
            .send((i, report.unwrap_or_else(Report::Failed)))
            .is_err()
        {
            return;
        }
        // A late answer shifts the schedule instead of being followed by a burst.
        next = (next + interval).max(Instant::now());
        std::thread::sleep(next - Instant::now());
    }
}

/// Reads a page. An endpoint whose OpenMetrics is broken is asked for plain text from then on.
fn page(client: &Client, accept: &mut &'static str) -> Result<(Snapshot, usize), String> {
    loop {
        let page = client.get(accept)?;
        let is_open_metrics = page.is_open_metrics();
        let read = match is_open_metrics {
            true => tallies_check::read_open_metrics(&page.body),
            false => tallies_check::read_text(&page.body),
        };
        match read {
            Ok(snapshot) => return Ok((snapshot, page.body.len())),
            Err(_) if is_open_metrics && *accept != PLAIN => *accept = PLAIN,
            Err(error) => return Err(format!("the page cannot be read: {error}")),
        }
    }
}

/// The state of an endpoint.
pub struct Endpoint {
    pub url: String,
    /// When it was asked, while there is no answer.
    pub asked: Option<Instant>,
    /// When its last page arrived, and how long that took.
    pub last: Option<(Instant, Duration, usize)>,
    /// Why there is no page now, and since when.
    pub error: Option<(String, Instant)>,
}

impl Endpoint {
    pub fn new(target: &Target) -> Self {
        Self {
            url: target.url.clone(),
            asked: None,
            last: None,
            error: None,
        }
    }

    /// Applies a report. Returns the page, if there is one.
    pub fn apply(&mut self, report: Report) -> Option<(Box<Snapshot>, Instant)> {
        match report {
            Report::Asking => self.asked = Some(Instant::now()),
            Report::Page(snapshot, at, took, bytes) => {
                self.asked = None;
                self.error = None;
                self.last = Some((at, took, bytes));
                return Some((snapshot, at));
            }
            Report::Failed(error) => {
                self.asked = None;
                let since = self.error.take().map(|(_, since)| since);
                self.error = Some((error, since.unwrap_or_else(Instant::now)));
            }
        }
        None
    }
}
