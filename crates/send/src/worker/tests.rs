//! The thread of a sender, step by step, with a clock that only the test moves.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, UNIX_EPOCH};

use tallies::snapshot::{Merged, Snapshot, Source, Value};
use tallies::{Error, Registry};
use tallies_client::{ClientBuilder, Task};

use super::{Clock, Worker};
use crate::metrics::SelfMetrics;
use crate::protocol::{Answer, Headers, Protocol, Verdict};
use gateway::{Answer as Reply, Gateway, fine};

#[allow(unreachable_pub, reason = "tests of other crates use it, too")]
#[path = "../../../../tests/support/gateway.rs"]
mod gateway;

const INTERVAL: Duration = Duration::from_secs(10);
const TIMEOUT: Duration = Duration::from_secs(5);

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A clock that moves when it is told to, or when somebody sleeps.
#[derive(Clone)]
struct TestClock(Arc<Mutex<Time>>);

struct Time {
    now: Instant,
    slept: Vec<Duration>,
}

impl TestClock {
    fn new() -> Self {
        Self(Arc::new(Mutex::new(Time {
            now: Instant::now(),
            slept: Vec::new(),
        })))
    }

    fn advance(&self, by: Duration) {
        self.0.lock().unwrap().now += by;
    }

    fn slept(&self) -> Vec<Duration> {
        self.0.lock().unwrap().slept.clone()
    }
}

impl Clock for TestClock {
    fn now(&self) -> Instant {
        self.0.lock().unwrap().now
    }

    fn sleep(&self, pause: Duration) {
        let mut time = self.0.lock().unwrap();
        time.now += pause;
        time.slept.push(pause);
    }
}

/// A protocol that sends `parts` requests for each snapshot, and one for the ends.
#[derive(Default)]
struct Parts {
    parts: usize,
    has_ends: bool,
    /// Whether bodies are compressed already.
    is_compressed: bool,
    snapshots: usize,
    superseded: u64,
    /// The names of the families in the last snapshot.
    families: Vec<String>,
    queue: VecDeque<String>,
}

#[derive(Clone)]
struct Shared(Arc<Mutex<Parts>>);

impl Protocol for Shared {
    fn take(&mut self, snapshot: &Snapshot) {
        let mut parts = self.0.lock().unwrap();
        parts.snapshots += 1;
        parts.superseded += parts.queue.len() as u64;
        let names = snapshot.families().map(|family| family.name().to_owned());
        parts.families = names.collect();
        let number = parts.snapshots;
        let bodies = (1..=parts.parts).map(|part| format!("{number}.{part}"));
        parts.queue = bodies.collect();
    }

    fn end(&mut self) {
        let mut parts = self.0.lock().unwrap();
        if parts.has_ends {
            parts.queue.push_back("ends".to_owned());
        }
    }

    fn superseded(&self) -> u64 {
        self.0.lock().unwrap().superseded
    }

    fn next(&mut self, body: &mut Vec<u8>) -> Option<Headers> {
        let parts = self.0.lock().unwrap();
        body.extend(parts.queue.front()?.bytes());
        let mut headers = vec![("content-type", "text/plain".to_owned())];
        if parts.is_compressed {
            headers.push(("content-encoding", "snappy".to_owned()));
        }
        Some(headers)
    }

    fn answered(&mut self, answer: Option<&Answer>) -> Verdict {
        let queue = &mut self.0.lock().unwrap().queue;
        match answer.map_or(0, |answer| answer.status) {
            200 => {
                queue.pop_front();
                let text = answer.map(|answer| String::from_utf8_lossy(&answer.body).into_owned());
                let why = text.unwrap_or_default();
                let rejected = why.parse().unwrap_or(0);
                Verdict::Accepted { rejected, why }
            }
            400 => {
                queue.pop_front();
                Verdict::Refused
            }
            415 => {
                queue[0] = "another form".to_owned();
                Verdict::Again
            }
            _ => Verdict::Retry,
        }
    }
}

struct Rig {
    worker: Worker,
    clock: TestClock,
    parts: Shared,
    receiver: Gateway,
    about: Registry,
}

fn status(status: &'static str) -> Reply {
    Reply::Status(status, String::new())
}

fn unavailable() -> Reply {
    status("503 Service Unavailable\r\n")
}

impl Rig {
    fn new(answer: impl Fn(usize) -> Reply + Send + 'static) -> Self {
        Self::with_clock(TestClock::new(), answer)
    }

    fn with_clock(clock: TestClock, answer: impl Fn(usize) -> Reply + Send + 'static) -> Self {
        let receiver = Gateway::new(answer);
        let client = ClientBuilder::new("receiver", "test/1.0").timeout(TIMEOUT);
        let client = client.build(&receiver.url).unwrap();
        let parts = Shared(Arc::new(Mutex::new(Parts {
            parts: 1,
            ..Parts::default()
        })));
        let about = Registry::new();
        let mut worker = Worker::new(
            Box::new(clock.clone()),
            client,
            Box::new(parts.clone()),
            Merged::new().source(&Registry::new()),
            INTERVAL,
        );
        worker.metrics = Some(SelfMetrics::new(&about, &receiver.url).unwrap());
        Self {
            worker,
            clock,
            parts,
            receiver,
            about,
        }
    }

    fn parts(self, parts: usize) -> Self {
        self.parts.0.lock().unwrap().parts = parts;
        self
    }

    fn with_ends(self) -> Self {
        self.parts.0.lock().unwrap().has_ends = true;
        self
    }

    /// Calls the worker until it wants a pause, and returns the pause.
    fn run(&mut self) -> Duration {
        let pauses = std::iter::repeat_with(|| self.worker.call()).take(100);
        let mut pauses = pauses.filter(|pause| !pause.is_zero());
        pauses.next().expect("a pause after fewer than 100 steps")
    }

    /// Returns the bodies of the requests that the receiver has got since the last call.
    fn bodies(&self) -> Vec<String> {
        let requests = self.receiver.received();
        requests
            .iter()
            .map(|request| request.text().to_owned())
            .collect()
    }

    fn snapshots(&self) -> usize {
        self.parts.0.lock().unwrap().snapshots
    }

    /// Returns a self-metric of the worker.
    fn about(&self, name: &str) -> f64 {
        let snapshot = self.about.snapshot();
        let family = snapshot.family(name).unwrap_or_else(|| panic!("{name}"));
        match family.value(0) {
            Value::Counter(count) => count.as_f64(),
            Value::Gauge(value) => value,
            other => panic!("{name}: {other:?}"),
        }
    }

    /// Returns the time of the last snapshot that arrived, in seconds since the Unix epoch.
    fn arrived(&self) -> f64 {
        self.about("tallies_last_send_timestamp_seconds")
    }

    /// Returns the time of the last snapshot, in seconds since the Unix epoch.
    fn taken(&self) -> f64 {
        let since = self.worker.snapshot.taken().duration_since(UNIX_EPOCH);
        since.unwrap().as_secs_f64()
    }
}

#[test]
fn a_snapshot_is_sent_part_by_part_in_a_rhythm() {
    let mut rig = Rig::new(|_| fine()).parts(3);
    // Each request is a step of its own, so that a stop does not wait for the whole snapshot.
    for _ in 0..3 {
        assert_eq!(rig.worker.call(), Duration::ZERO);
    }
    assert_eq!(rig.worker.call(), INTERVAL);
    assert_eq!(rig.bodies(), ["1.1", "1.2", "1.3"]);
    assert_eq!(rig.about("tallies_sends_total"), 3.0);
    // Too early, and a little late: the rhythm stays.
    rig.clock.advance(seconds(9));
    assert_eq!(rig.run(), seconds(1));
    assert_eq!(rig.bodies(), [""; 0]);
    rig.clock.advance(seconds(4));
    assert_eq!(rig.run(), seconds(7));
    assert_eq!(rig.bodies(), ["2.1", "2.2", "2.3"]);
    assert_eq!(rig.about("tallies_send_failures_total"), 0.0);
    assert_eq!(rig.arrived(), rig.taken());
}

/// A laptop that slept for a night does not send a snapshot for each interval of it.
#[test]
fn after_a_long_delay_a_new_rhythm_begins() {
    let mut rig = Rig::new(|_| fine());
    assert_eq!(rig.run(), INTERVAL);
    // The next snapshot is due after ten seconds. This is ten seconds too late.
    rig.clock.advance(seconds(20));
    assert_eq!(rig.run(), INTERVAL);
    rig.clock.advance(seconds(8 * 3600));
    assert_eq!(rig.run(), INTERVAL);
    assert_eq!(rig.bodies(), ["1.1", "2.1", "3.1"]);
    // Less than that is made up for by a shorter pause.
    rig.clock.advance(seconds(19));
    assert_eq!(rig.run(), seconds(1));
    assert_eq!(rig.snapshots(), 4);
}

/// Returns whether a pause is one of these seconds, at most a tenth shorter or longer.
fn is_about(pause: Duration, expected: u64) -> bool {
    let expected = expected as f64;
    (expected * 0.89..expected * 1.11).contains(&pause.as_secs_f64())
}

#[test]
fn pauses_after_failures_double_and_start_again_after_a_success() {
    let mut rig = Rig::new(|n| {
        if n < 3 || n == 4 {
            unavailable()
        } else {
            fine()
        }
    });
    for (expected, failures) in [1, 2, 4].into_iter().zip(1..) {
        let pause = rig.run();
        assert!(is_about(pause, expected), "{pause:?}");
        assert_eq!(
            rig.about("tallies_send_failures_total"),
            f64::from(failures)
        );
        assert_eq!(rig.arrived(), 0.0);
        // Nothing is sent before the pause is over.
        rig.clock.advance(pause - Duration::from_millis(1));
        assert_eq!(rig.run(), Duration::from_millis(1));
        assert_eq!(rig.bodies().len(), 1);
        rig.clock.advance(Duration::from_millis(1));
    }
    assert_eq!(rig.worker.backoff.failures(), 3);
    rig.run();
    assert_eq!(rig.bodies(), ["1.1"]);
    // What is logged as the end of an outage.
    assert_eq!(rig.worker.backoff.failures(), 0);
    assert_eq!(rig.arrived(), rig.taken());
    let arrived = rig.arrived();
    rig.clock.advance(INTERVAL);
    let pause = rig.run();
    assert!(is_about(pause, 1), "{pause:?}");
    assert_eq!(rig.arrived(), arrived);
}

#[test]
fn a_snapshot_is_taken_while_requests_wait() {
    let retry = "503 Service Unavailable\r\nRetry-After: 25\r\n";
    let mut rig = Rig::new(move |n| if n == 0 { status(retry) } else { fine() });
    assert_eq!(rig.run(), INTERVAL);
    for _ in 0..2 {
        rig.clock.advance(INTERVAL);
        let pause = rig.run();
        assert!(pause <= INTERVAL, "{pause:?}");
    }
    assert_eq!((rig.snapshots(), rig.bodies().len()), (3, 1));
    assert_eq!(rig.arrived(), 0.0);
    rig.clock
        .advance(Duration::from_secs_f64(25.0 * 0.11) + seconds(5));
    rig.run();
    assert_eq!(rig.bodies(), ["3.1"]);
    assert_eq!(rig.arrived(), rig.taken());
}

/// A wrong date once silenced a sender for a day.
#[test]
fn a_receiver_silences_a_sender_for_minutes_at_most() {
    for asked in [
        "86400",
        "99999999999999999999",
        "Fri, 31 Dec 9999 23:59:59 GMT",
    ] {
        let head = format!("503 Service Unavailable\r\nRetry-After: {asked}\r\n");
        let head: &str = head.leak();
        let mut rig = Rig::new(move |n| if n == 0 { status(head) } else { fine() });
        rig.run();
        rig.clock.advance(seconds(299));
        rig.run();
        assert_eq!(rig.bodies().len(), 1, "{asked}");
        rig.clock.advance(seconds(32));
        rig.run();
        assert_eq!(rig.bodies().len(), 1, "{asked}");
        // The receiver takes requests again, so its wish is over.
        assert!(rig.worker.asked.is_none());
    }
}

#[test]
fn another_form_is_sent_at_once_and_is_no_failure() {
    let unsupported = "415 Unsupported Media Type\r\n";
    let mut rig = Rig::new(move |n| if n == 0 { status(unsupported) } else { fine() });
    assert_eq!(rig.worker.call(), Duration::ZERO);
    assert_eq!(rig.worker.call(), Duration::ZERO);
    assert_eq!(rig.bodies(), ["1.1", "another form"]);
    assert_eq!(rig.about("tallies_send_failures_total"), 0.0);
}

/// The time that an alert looks at does not move for a snapshot of which a part is lost.
#[test]
fn what_is_refused_has_not_arrived() {
    let mut rig = Rig::new(|n| {
        if n == 1 {
            status("400 Bad Request\r\n")
        } else {
            fine()
        }
    });
    rig = rig.parts(3);
    assert_eq!(rig.run(), INTERVAL);
    // The parts after it are sent all the same, and without a pause.
    assert_eq!(rig.bodies(), ["1.1", "1.2", "1.3"]);
    assert_eq!(rig.arrived(), 0.0);
    assert_eq!(rig.about("tallies_send_failures_total"), 1.0);
    assert_eq!(rig.about("tallies_sends_total"), 2.0);
    rig.clock.advance(INTERVAL);
    rig.run();
    assert!(rig.taken() > 0.0);
    assert_eq!(rig.arrived(), rig.taken());
}

#[test]
fn samples_that_are_rejected_are_counted() {
    let mut rig = Rig::new(|n| Reply::Status("200 OK\r\n", if n < 2 { "3" } else { "" }.into()));
    for _ in 0..3 {
        rig.run();
        rig.clock.advance(INTERVAL);
    }
    assert_eq!(rig.about("tallies_send_rejected_samples_total"), 6.0);
    assert_eq!(rig.about("tallies_sends_total"), 3.0);
    // The receiver has taken the others.
    assert_eq!(rig.arrived(), rig.taken());
    assert!(rig.worker.logged_rejection);
}

#[test]
fn the_end_sends_a_last_snapshot_and_then_the_ends() {
    let mut rig = Rig::new(|_| fine()).parts(2).with_ends();
    rig.run();
    let Rig {
        worker,
        receiver,
        clock,
        ..
    } = rig;
    let (result, was_logged) = worker.last();
    assert!(result.is_ok() && !was_logged, "{result:?}");
    let requests = receiver.received();
    let bodies: Vec<_> = requests.iter().map(|request| request.text()).collect();
    assert_eq!(bodies, ["1.1", "1.2", "2.1", "2.2", "ends"]);
    assert_eq!(clock.slept(), [Duration::ZERO; 0]);
}

#[test]
fn the_end_retries_within_the_timeout_and_sleeps_no_longer() {
    let rig = Rig::new(|_| unavailable());
    let (receiver, clock) = (rig.receiver, rig.clock);
    let (result, was_logged) = rig.worker.last();
    assert!(result.unwrap_err().to_string().contains("503"));
    assert!(!was_logged);
    // 1 s and 2 s; 4 s more would be longer than the timeout.
    let slept = clock.slept();
    assert_eq!(receiver.received().len(), 3);
    assert!(
        slept.len() == 2 && is_about(slept[0], 1) && is_about(slept[1], 2),
        "{slept:?}"
    );
}

#[test]
fn the_end_of_an_outage_that_was_logged_says_so() {
    let mut rig = Rig::new(|_| unavailable());
    rig.run();
    assert!(rig.worker.last().1);
}

/// `stop` slept until the deadline before it returned this error.
#[test]
fn the_end_does_not_wait_for_a_pause_that_is_longer_than_the_timeout() {
    for asked in ["5", "86400"] {
        let head = format!("503 Service Unavailable\r\nRetry-After: {asked}\r\n");
        let head: &str = head.leak();
        let mut rig = Rig::new(move |_| status(head));
        rig.run();
        let (receiver, clock) = (rig.receiver, rig.clock);
        let error = rig.worker.last().0.unwrap_err().to_string();
        assert!(error.contains("asked for a longer pause"), "{error}");
        assert_eq!(clock.slept(), [Duration::ZERO; 0]);
        assert_eq!(receiver.received().len(), 1);
    }
}

#[test]
fn the_end_waits_as_long_as_the_receiver_has_asked() {
    let retry = "429 Too Many Requests\r\nRetry-After: 4\r\n";
    let mut rig = Rig::new(move |n| if n == 0 { status(retry) } else { fine() });
    rig.run();
    rig.clock.advance(seconds(1));
    let (receiver, clock) = (rig.receiver, rig.clock);
    assert!(rig.worker.last().0.is_ok());
    assert_eq!(clock.slept(), [seconds(3)]);
    assert_eq!(receiver.received().len(), 2);
}

/// Returns the result and the number of requests at the end of a program with so many parts, to a
/// receiver that takes two seconds for each request.
fn end_with_a_slow_receiver(parts: usize, has_ends: bool) -> (String, usize) {
    let clock = TestClock::new();
    let rig = Rig::with_clock(clock.clone(), move |_| {
        clock.advance(seconds(2));
        fine()
    });
    let mut rig = rig.parts(parts);
    if has_ends {
        rig = rig.with_ends();
    }
    let receiver = rig.receiver;
    let (result, _) = rig.worker.last();
    let said = result.map_or_else(|error| error.to_string(), |()| "arrived".to_owned());
    (said, receiver.received().len())
}

/// The last answer comes after the timeout, but all is there.
#[test]
fn the_end_is_fine_if_the_last_answer_is_late() {
    assert_eq!(
        end_with_a_slow_receiver(3, false),
        ("arrived".to_owned(), 3)
    );
    assert_eq!(end_with_a_slow_receiver(2, true), ("arrived".to_owned(), 3));
    for (parts, has_ends) in [(4, false), (3, true)] {
        let (said, requests) = end_with_a_slow_receiver(parts, has_ends);
        assert!(said.contains("the timeout was over"), "{said}");
        assert_eq!(requests, 3);
    }
}

#[test]
fn the_end_tells_what_was_refused_and_sends_the_rest() {
    let rig = Rig::new(|n| {
        if n == 0 {
            status("400 Bad Request\r\n")
        } else {
            fine()
        }
    });
    let rig = rig.parts(2).with_ends();
    let receiver = rig.receiver;
    let error = rig.worker.last().0.unwrap_err().to_string();
    assert!(error.contains("400 Bad Request"), "{error}");
    assert_eq!(receiver.received().len(), 3);
}

#[test]
fn samples_of_an_outage_count_once_as_superseded() {
    let mut rig = Rig::new(|_| unavailable()).parts(2);
    for superseded in [0.0, 2.0, 4.0, 6.0] {
        rig.run();
        let counted = rig.about("tallies_send_superseded_samples_total");
        assert_eq!(counted, superseded);
        rig.clock.advance(INTERVAL);
    }
}

#[test]
fn a_snapshot_has_the_families_of_all_sources() {
    let mut rig = Rig::new(|_| fine());
    rig.worker.sources = Merged::new();
    for name in ["a_total", "b_total", "c_total"] {
        let registry = Registry::new();
        registry.counter(name, "").unwrap();
        rig.worker.sources = rig.worker.sources.source(&registry);
    }
    for _ in 0..2 {
        rig.run();
        let families = rig.parts.0.lock().unwrap().families.clone();
        assert_eq!(families, ["a_total", "b_total", "c_total"]);
        rig.clock.advance(INTERVAL);
    }
}

/// A store that cannot be read.
#[derive(Clone)]
struct Broken;

impl Source for Broken {
    fn snapshot_into(&self, _: &mut Snapshot) {}

    fn try_snapshot_into(&self, _: &mut Snapshot) -> Result<(), Error> {
        Err(Error::new("broken"))
    }
}

#[test]
fn a_snapshot_that_fails_is_a_failure_and_the_next_one_is_taken() {
    let mut rig = Rig::new(|_| fine());
    let sources = std::mem::replace(&mut rig.worker.sources, Merged::new().source(&Broken));
    for failures in [1.0, 2.0] {
        assert_eq!(rig.run(), INTERVAL);
        assert_eq!(rig.about("tallies_send_failures_total"), failures);
        rig.clock.advance(INTERVAL);
    }
    assert_eq!(rig.arrived(), 0.0);
    rig.worker.sources = sources;
    rig.run();
    assert_eq!(rig.bodies(), ["1.1"]);
    rig.worker.sources = Merged::new().source(&Broken);
    let error = rig.worker.last().0.unwrap_err();
    assert!(error.to_string().contains("broken"), "{error}");
}

#[test]
fn a_body_that_the_protocol_has_compressed_stays_as_it_is() {
    let mut rig = Rig::new(|_| fine());
    rig.worker.gzip = true;
    rig.parts.0.lock().unwrap().is_compressed = true;
    rig.run();
    let request = &rig.receiver.received()[0];
    assert_eq!(request.header("content-encoding"), Some("snappy"));
    assert_eq!(request.text(), "1.1");
}

#[test]
fn a_body_is_compressed_once() {
    let mut rig = Rig::new(|_| fine());
    rig.worker.gzip = true;
    rig.run();
    let request = &rig.receiver.received()[0];
    assert_eq!(request.header("content-encoding"), Some("gzip"));
    let mut text = String::new();
    let mut gzip = flate2::read::GzDecoder::new(&*request.body);
    std::io::Read::read_to_string(&mut gzip, &mut text).unwrap();
    assert_eq!(text, "1.1");
}
