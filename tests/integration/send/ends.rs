//! Stale markers as a receiver of remote write sees them.

use std::time::Duration;

use tallies::{Counter, Registry};
use tallies_send::{RemoteWrite, Sender, Sending, Version};

use crate::gateway::{Answer, Gateway};
use crate::write_request::{TimeSeries, WriteRequest};
use crate::{LONG, SHORT, stop};

/// A program with one family, and its receiver.
struct Program {
    receiver: Gateway,
    jobs: Counter<[&'static str; 1]>,
    sending: Sending,
}

impl Program {
    fn new(interval: Duration, idle: Option<Duration>) -> Self {
        let receiver = Gateway::of(Answer::Status("204 No Content\r\n", String::new()));
        let registry = Registry::new();
        let jobs = Counter::builder("jobs_total", "Jobs done.").labels(["queue"]);
        let jobs = match idle {
            Some(idle) => jobs.expire_after(idle),
            None => jobs,
        };
        let jobs = jobs.register(&registry).unwrap();
        jobs.with(["mail"]).add(3);
        jobs.with(["print"]).add(4);
        let sender = Sender::new(&receiver.url, RemoteWrite::new().version(Version::V1));
        let sending = sender.registry(&registry).interval(interval).start();
        Self {
            receiver,
            jobs,
            sending: sending.unwrap(),
        }
    }

    fn next(&self) -> WriteRequest {
        WriteRequest::of(&self.receiver.next_request().body)
    }
}

/// Returns the series of this queue in a request. It has one sample.
fn queue<'a>(request: &'a WriteRequest, name: &str) -> Option<&'a TimeSeries> {
    let mut series = request.timeseries.iter();
    let found = series.find(|series| series.label("queue") == Some(name))?;
    assert_eq!(found.samples.len(), 1);
    Some(found)
}

/// The first request without a sample has the marker, one millisecond before its other samples.
#[test]
fn a_series_ends_the_moment_it_is_removed_retired_or_expires() {
    type End = fn(&Program);
    let ends: [(Option<Duration>, End); 3] = [
        (None, |program| assert!(program.jobs.remove(["mail"]))),
        (None, |program| assert!(program.jobs.retire(["mail"]))),
        (Some(Duration::from_millis(1)), |_| {}),
    ];
    for (idle, end) in ends {
        let program = Program::new(SHORT, idle);
        let first = program.next();
        assert_eq!(queue(&first, "mail").unwrap().samples[0].value, 3.0);
        end(&program);
        let request = std::iter::repeat_with(|| program.next()).find(|request| {
            let mail = &queue(request, "mail")
                .expect("a sample or a marker")
                .samples[0];
            mail.is_stale_marker()
        });
        let request = request.unwrap();
        let marker = &queue(&request, "mail").unwrap().samples[0];
        for other in &request.timeseries {
            let sample = &other.samples[0];
            let is_later = sample.timestamp == marker.timestamp + 1;
            assert!(is_later || sample.is_stale_marker(), "{request:?}");
        }
        // Once.
        assert!(queue(&program.next(), "mail").is_none());
        assert_eq!(stop(program.sending), "arrived");
    }
}

#[test]
fn a_clean_shutdown_sends_the_last_values_and_then_the_ends() {
    for drops in [false, true] {
        let program = Program::new(LONG, None);
        program.next();
        program.jobs.with(["mail"]).inc();
        if drops {
            drop(program.sending);
        } else {
            assert_eq!(stop(program.sending), "arrived");
        }
        let mut requests =
            std::iter::repeat_with(|| WriteRequest::of(&program.receiver.next_request().body));
        let (last, ends) = (requests.next().unwrap(), requests.next().unwrap());
        assert_eq!(queue(&last, "mail").unwrap().samples[0].value, 4.0);
        for name in ["mail", "print"] {
            let (last, end) = (queue(&last, name).unwrap(), queue(&ends, name).unwrap());
            assert!(end.samples[0].is_stale_marker());
            assert!(end.samples[0].timestamp > last.samples[0].timestamp);
        }
        assert!(program.receiver.is_quiet());
    }
}
