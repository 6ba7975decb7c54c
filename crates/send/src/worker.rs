//! The thread of a sender: takes snapshots in a rhythm, sends what the protocol makes of them, and
//! waits as receivers ask.

use std::io::Write;
use std::time::{Duration, Instant, SystemTime};

use flate2::Compression;
use flate2::write::GzEncoder;
use tallies::Error;
use tallies::snapshot::{Merged, Snapshot, Source};
use tallies_client::{Backoff, Client, ClientError, Response, Task};

use crate::metrics::SelfMetrics;
use crate::protocol::{Answer, Headers, MOST_BODY_BYTES, Protocol, Verdict};

#[cfg(test)]
mod tests;

/// The clock of a worker, which tests replace.
pub(crate) trait Clock: Send {
    fn now(&self) -> Instant;

    fn sleep(&self, pause: Duration);
}

/// The clock of the system.
pub(crate) struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Instant {
        Instant::now()
    }

    fn sleep(&self, pause: Duration) {
        std::thread::sleep(pause);
    }
}

/// The state of a sender's thread.
pub(crate) struct Worker {
    clock: Box<dyn Clock>,
    client: Client,
    protocol: Box<dyn Protocol>,
    sources: Merged,
    interval: Duration,
    /// Whether bodies are compressed that the protocol has not compressed.
    pub(crate) gzip: bool,
    pub(crate) metrics: Option<SelfMetrics>,
    /// The last snapshot. Kept for its memory.
    snapshot: Snapshot,
    /// The body of a request.
    body: Vec<u8>,
    /// The same, compressed.
    compressed: Vec<u8>,
    /// The time of the next snapshot.
    due: Instant,
    /// The time before which no request is sent.
    blocked: Option<Instant>,
    /// The time before which the receiver wants no request, from its last answer.
    asked: Option<Instant>,
    backoff: Backoff,
    /// The time of the last snapshot, until all of it has arrived or a part of it is lost.
    unsent: Option<SystemTime>,
    /// Whether it was logged that a receiver rejected samples.
    logged_rejection: bool,
}

/// The result of an attempt to send.
enum Attempt {
    /// The receiver has the request.
    Sent,
    /// The receiver will not take the request, which is lost.
    Lost(Error),
    /// The request is to be sent again after this pause.
    Failed(Error, Duration),
}

impl Task for Worker {
    /// Whether everything arrived in time, and whether an earlier failure of the same outage was
    /// logged.
    type Last = (Result<(), Error>, bool);

    /// Takes a snapshot if one is due, and sends one request if there is one and no pause.
    fn call(&mut self) -> Duration {
        let now = self.clock.now();
        if now >= self.due {
            if let Err(error) = self.take() {
                self.failed();
                error.log_once();
            }
            // After a whole interval of delay, a new rhythm begins.
            let is_late = now.duration_since(self.due) >= self.interval;
            self.due = if is_late { now } else { self.due } + self.interval;
        }
        let next = match self.blocked.filter(|until| now < *until) {
            Some(until) => until.min(self.due),
            None => self.attempt(),
        };
        next.saturating_duration_since(self.clock.now())
    }

    /// Sends a last snapshot, and then the ends of all series, within the timeout of a request.
    fn last(mut self) -> Self::Last {
        let was_logged = self.backoff.failures() > 0;
        (self.finish(), was_logged)
    }
}

impl Worker {
    pub(crate) fn new(
        clock: Box<dyn Clock>,
        client: Client,
        protocol: Box<dyn Protocol>,
        sources: Merged,
        interval: Duration,
    ) -> Self {
        let due = clock.now();
        Self {
            clock,
            client,
            protocol,
            sources,
            interval,
            gzip: false,
            metrics: None,
            snapshot: Snapshot::default(),
            body: Vec::new(),
            compressed: Vec::new(),
            due,
            blocked: None,
            asked: None,
            backoff: Backoff::new(interval),
            unsent: None,
            logged_rejection: false,
        }
    }

    /// Sends one request, and logs the beginning and the end of an outage. Returns the time of the
    /// next step.
    fn attempt(&mut self) -> Instant {
        self.blocked = None;
        let Some(headers) = self.next() else {
            return self.due;
        };
        match self.send(&headers) {
            Attempt::Sent => {
                let failures = self.backoff.succeeded();
                if failures > 0 {
                    let url = self.client.url();
                    Error::new(format!(
                        "{url} takes metrics again; {failures} requests failed"
                    ))
                    .log();
                }
                self.clock.now()
            }
            Attempt::Lost(error) => {
                error.log_once();
                self.clock.now()
            }
            Attempt::Failed(error, pause) => {
                if self.backoff.failures() == 1 {
                    let and = "requests are sent again, and further failures are not logged until \
                               one succeeds";
                    Error::new(format!("{error}; {and}")).log();
                }
                let until = self.clock.now() + pause;
                self.blocked = Some(until);
                until.min(self.due)
            }
        }
    }

    fn finish(&mut self) -> Result<(), Error> {
        let mut result = self.take();
        // A slow collector does not take the time of the requests.
        let deadline = self.clock.now() + self.client.timeout();
        if let Some(asked) = self.asked {
            if asked >= deadline {
                let why = "the receiver asked for a longer pause than the timeout, and has not got \
                           all metrics";
                return result.and(Err(Error::new(why).at(self.client.url())));
            }
            let pause = asked.saturating_duration_since(self.clock.now());
            self.clock.sleep(pause);
        }
        let mut has_ended = false;
        loop {
            let Some(headers) = self.next() else {
                if has_ended {
                    return result;
                }
                self.protocol.end();
                has_ended = true;
                continue;
            };
            if self.clock.now() >= deadline {
                let why = "the timeout was over before all metrics were sent";
                return result.and(Err(Error::new(why).at(self.client.url())));
            }
            match self.send(&headers) {
                Attempt::Sent => {}
                Attempt::Lost(error) => result = result.and(Err(error)),
                Attempt::Failed(error, pause) => {
                    if self.clock.now() + pause >= deadline {
                        return result.and(Err(error));
                    }
                    self.clock.sleep(pause);
                }
            }
        }
    }

    /// Takes a snapshot of all sources for the protocol.
    fn take(&mut self) -> Result<(), Error> {
        self.sources.try_snapshot_into(&mut self.snapshot)?;
        let before = self.protocol.superseded();
        self.protocol.take(&self.snapshot);
        if let Some(metrics) = &self.metrics {
            metrics.superseded(self.protocol.superseded() - before);
        }
        self.unsent = Some(self.snapshot.taken());
        Ok(())
    }

    /// Writes the next request. Returns `None` if there is none, and everything was answered.
    fn next(&mut self) -> Option<Headers> {
        self.body.clear();
        let headers = self.protocol.next(&mut self.body);
        if headers.is_none() {
            let all = self.unsent.take();
            if let (Some(metrics), Some(taken)) = (&self.metrics, all) {
                metrics.arrived(taken);
            }
        }
        headers
    }

    /// Sends the request that was written.
    fn send(&mut self, headers: &Headers) -> Attempt {
        let response = self.exchange(headers);
        let answer = response.as_ref().ok().map(to_answer);
        self.asked = None;
        match self.protocol.answered(answer.as_ref()) {
            Verdict::Accepted { rejected, why } => {
                self.accepted(rejected, &why);
                Attempt::Sent
            }
            Verdict::Again => Attempt::Sent,
            Verdict::Refused => {
                self.failed();
                self.unsent = None;
                Attempt::Lost(self.error(&response))
            }
            Verdict::Retry => {
                self.failed();
                self.backoff.failed();
                let asked = response.as_ref().ok();
                let asked = asked.and_then(|response| response.retry_after(SystemTime::now()));
                self.asked = asked.and_then(|pause| self.clock.now().checked_add(pause));
                Attempt::Failed(self.error(&response), self.backoff.pause(asked))
            }
        }
    }

    fn exchange(&mut self, headers: &Headers) -> Result<Response, ClientError> {
        let is_compressed = headers.iter().any(|(name, _)| *name == "content-encoding");
        let all = headers.iter().map(|(name, value)| (*name, value.as_str()));
        let mut all: Vec<_> = all.collect();
        let mut body = &self.body;
        if self.gzip && !is_compressed {
            all.push(("content-encoding", "gzip"));
            self.compressed.clear();
            let mut gzip = GzEncoder::new(&mut self.compressed, Compression::fast());
            // Writing to memory does not fail.
            let _ = gzip.write_all(&self.body).and_then(|()| gzip.try_finish());
            drop(gzip);
            body = &self.compressed;
        }
        self.client.send("POST", &all, Some(body), MOST_BODY_BYTES)
    }

    fn error(&self, response: &Result<Response, ClientError>) -> Error {
        match response {
            Ok(response) => Error::new(self.client.rejected("POST", response).to_string()),
            Err(error) => {
                let kind = error.io_kind().unwrap_or(std::io::ErrorKind::Other);
                let cause = std::io::Error::new(kind, error.to_string());
                Error::with_cause("cannot send metrics", cause)
            }
        }
    }

    fn accepted(&mut self, rejected: u64, why: &str) {
        if let Some(metrics) = &self.metrics {
            metrics.accepted(rejected);
        }
        if rejected > 0 && !self.logged_rejection {
            self.logged_rejection = true;
            let url = self.client.url();
            let text = format!("{url} rejected {rejected} samples; further ones are not logged");
            Error::new(match why {
                "" => text,
                why => format!("{text}: {why}"),
            })
            .log();
        }
    }

    fn failed(&self) {
        if let Some(metrics) = &self.metrics {
            metrics.failed();
        }
    }
}

fn to_answer(response: &Response) -> Answer {
    let headers = response.headers();
    let text = |value| String::from_utf8_lossy(value).into_owned();
    Answer {
        status: response.status(),
        headers: headers
            .map(|(name, value)| (name.to_owned(), text(value)))
            .collect(),
        body: response.body().to_vec(),
    }
}
