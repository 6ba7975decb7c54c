//! Endpoints: each is asked on a thread of its own, so that one that hangs delays no other.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use tallies::snapshot::Snapshot;
use tallies_check::{Remark, Scraped};

use super::history::{FamilyHistory, GONE_PAGES};
use crate::fetch::Client;

/// Formats in the order of preference, and what is asked for where the first ones are broken. Names
/// outside the legacy character set stay as they are.
const ACCEPTS: [&str; 3] = [
    "application/openmetrics-text;version=2.0.0;escaping=allow-utf-8,\
     application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.9,\
     application/openmetrics-text;version=1.0.0;q=0.8,\
     text/plain;version=1.0.0;escaping=allow-utf-8;q=0.7,\
     text/plain;version=0.0.4;q=0.6,*/*;q=0.1",
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8,\
     text/plain;version=0.0.4;q=0.6",
    "text/plain;version=0.0.4",
];

/// A report of a thread about its endpoint.
pub enum Report {
    /// It asks now.
    Asking,
    /// It has a page: when it arrived, how long it took, and its length.
    Page(Box<Scraped>, Instant, Duration, usize),
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
    let mut accept = 0;
    let mut next = Instant::now();
    while sender.send((i, Report::Asking)).is_ok() {
        let asked = Instant::now();
        let report = page(client, &mut accept).map(|(read, bytes)| {
            Report::Page(Box::new(read), Instant::now(), asked.elapsed(), bytes)
        });
        // If the receiver is gone, the next one fails, too.
        let _ = sender.send((i, report.unwrap_or_else(Report::Failed)));
        // A late answer shifts the schedule instead of being followed by a burst.
        next = (next + interval).max(Instant::now());
        std::thread::sleep(next - Instant::now());
    }
}

/// Reads a page. An endpoint whose OpenMetrics Prometheus refuses is asked for the next of
/// [`ACCEPTS`] from then on.
fn page(client: &Client, accept: &mut usize) -> Result<(Scraped, usize), String> {
    loop {
        let page = client.get(ACCEPTS[*accept])?;
        let read = page.read();
        let is_broken = read.as_ref().map_or(true, |read| read.refused().is_some());
        if is_broken && page.is_open_metrics() && *accept + 1 < ACCEPTS.len() {
            *accept += 1;
            continue;
        }
        let read = read.map_err(|error| format!("the page cannot be read: {error}"))?;
        return Ok((read, page.body.len()));
    }
}

/// The state of an endpoint, and what its pages said.
#[derive(Default)]
pub struct Endpoint {
    pub url: String,
    /// The families by name.
    pub families: BTreeMap<String, FamilyHistory>,
    /// The last page in the history, and the time of its arrival if there was one.
    page: Snapshot,
    arrived: Option<Instant>,
    /// When it was asked, while there is no answer.
    pub asked: Option<Instant>,
    /// When its last page arrived, how long that took, and its length.
    pub last: Option<(Instant, Duration, usize)>,
    /// The number of remarks on its last page.
    pub remarks: u64,
    /// Why Prometheus refuses its last page, if it does.
    pub refused: Option<String>,
    /// Why there is no page now, and since when.
    pub error: Option<(String, Instant)>,
}

impl Endpoint {
    pub fn of(client: &Client) -> Self {
        Self {
            url: client.url.clone(),
            ..Self::default()
        }
    }

    /// Applies a report. Pages that arrive during a pause are dropped, but the state stays current.
    pub fn apply(&mut self, report: Report, is_paused: bool) {
        self.asked = None;
        match report {
            Report::Asking => self.asked = Some(Instant::now()),
            Report::Page(read, at, took, bytes) => {
                self.error = None;
                self.last = Some((at, took, bytes));
                let times = read.remarks().iter().map(Remark::times);
                self.remarks = times.sum::<u64>() + read.unlisted();
                self.refused = read.refused().map(ToString::to_string);
                if !is_paused {
                    self.add(read.into_snapshot(), at);
                }
            }
            Report::Failed(error) => {
                let since = self.error.take().map(|(_, since)| since);
                self.error = Some((error, since.unwrap_or_else(Instant::now)));
                if !is_paused {
                    let families = self.families.values_mut();
                    families.for_each(|family| family.add_gap(0));
                }
            }
        }
    }

    /// Adds a page to the history.
    fn add(&mut self, snapshot: Snapshot, at: Instant) {
        // One that has another kind now begins anew.
        self.families.retain(|name, history| {
            let family = snapshot.family(name);
            if family.is_none() {
                history.add_gap(1);
            }
            history.all.gone < GONE_PAGES
                && family.is_none_or(|family| family.kind() == history.kind)
        });
        // The first page has no rates.
        let since = |then: Instant| (at - then).as_secs_f64().max(1e-3);
        let seconds = self.arrived.map_or(f64::NAN, since);
        let interval = snapshot.since(&self.page);
        for (family, new) in snapshot.families().zip(interval.families()) {
            let history = self.families.entry(family.name().to_owned());
            let history = history.or_insert_with(|| FamilyHistory::of(family));
            history.add(family, new, seconds);
        }
        (self.page, self.arrived) = (snapshot, Some(at));
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;

    use super::*;
    use crate::fetch::Access;

    /// Answers with a page for each request, and returns the Accept headers.
    fn answer(listener: &TcpListener, pages: &[(&str, &str)]) -> Vec<String> {
        let answered = pages.iter().map(|(content_type, page)| {
            let (mut stream, _) = listener.accept().unwrap();
            let (mut request, mut byte) = (Vec::new(), [0]);
            while !request.ends_with(b"\r\n\r\n") {
                stream.read_exact(&mut byte).unwrap();
                request.push(byte[0]);
            }
            let head = format!("HTTP/1.1 200 OK\r\ncontent-type: {content_type}\r\n");
            write!(stream, "{head}connection: close\r\n\r\n{page}").unwrap();
            let request = String::from_utf8(request).unwrap();
            let accept = request.lines().find(|line| line.starts_with("accept: "));
            accept.unwrap().to_owned()
        });
        answered.collect()
    }

    #[test]
    fn an_endpoint_whose_open_metrics_is_broken_is_asked_for_another_format() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = listener.local_addr().unwrap().to_string();
        let client = Access::default().client(&url, Duration::from_secs(10));
        let client = client.unwrap();
        let answers = std::thread::spawn(move || {
            let newer = "application/openmetrics-text; version=2.0.0; charset=utf-8";
            let older = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            let jobs = "# TYPE jobs counter\njobs 1\n# EOF\n";
            let cut_off = "# TYPE jobs counter\njobs_total 1\n";
            let broken = [(newer, "a b\n"), (older, cut_off), ("text/plain", "a 1\n")];
            (
                answer(&listener, &[(newer, jobs)]),
                answer(&listener, &broken),
            )
        });
        let mut accept = 0;
        let (newest, _) = page(&client, &mut accept).unwrap();
        let newest = newest.snapshot();
        assert_eq!((newest.get("jobs", &[]), accept), (Some(1.0), 0));
        let (text, _) = page(&client, &mut accept).unwrap();
        let text = text.snapshot();
        assert_eq!((text.get("a", &[]), accept), (Some(1.0), 2));
        let (first, others) = answers.join().unwrap();
        let formats = [
            "openmetrics-text;version=2.0.0",
            "openmetrics-text;version=1.0.0",
            "plain",
        ];
        assert!(first[0].contains(formats[0]), "{first:?}");
        for (asked, format) in others.iter().zip(formats) {
            let range = asked.split(',').next().unwrap();
            assert!(range.contains(format), "{others:?}");
        }
    }
}
