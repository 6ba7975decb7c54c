//! The senders of tallies.

use std::time::{Duration, SystemTime};

use tallies::snapshot::Value;
use tallies::{Bound, Counter, Histogram, Registry};
use tallies_send::{AnyProtocol, Otlp, RemoteWrite, Sender, Sending, Temporality, Version};

use crate::receiver::{Receiver, Traffic};
use crate::workload::{BOUNDS, Kind, LABELS, SCHEMA, Workload, amount, value};
use crate::{Interval, Row, Way, meter};

/// Longer than any way takes, so that no snapshot replaces one that is not sent.
const INTERVAL: Duration = Duration::from_secs(1);

pub fn rows() -> Vec<Row> {
    fn row(
        name: &'static str,
        path: &'static str,
        gzip: bool,
        protocol: fn() -> AnyProtocol,
    ) -> Row {
        let prepare = move |workload, receiver: &Receiver| -> Box<dyn Way> {
            let url = receiver.url(path);
            let sender = Sender::new(&url, protocol()).interval(INTERVAL);
            let sender = if gzip { sender.gzip() } else { sender };
            Box::new(Sent::new(workload, sender))
        };
        (name, Box::new(prepare))
    }
    let (write, otlp) = ("/api/v1/write", "/v1/metrics");
    vec![
        row("remote write 1", write, false, || {
            RemoteWrite::new().version(Version::V1).into()
        }),
        row("remote write 2", write, false, || {
            RemoteWrite::new().version(Version::V2).into()
        }),
        row("OTLP", otlp, false, || Otlp::new().into()),
        row("OTLP, gzip", otlp, true, || Otlp::new().into()),
        row("OTLP, deltas", otlp, false, || {
            Otlp::new().temporality(Temporality::Delta).into()
        }),
        row("OTLP, JSON", otlp, false, || Otlp::new().json().into()),
        row("OTLP, JSON, gzip", otlp, true, || Otlp::new().json().into()),
    ]
}

/// A registry with all series.
pub struct Program {
    workload: Workload,
    pub registry: Registry,
    counters: Vec<Bound<Counter>>,
    histograms: Vec<Bound<Histogram>>,
}

impl Program {
    pub fn new(workload: Workload) -> Self {
        let registry = Registry::new();
        let (mut counters, mut histograms) = (Vec::new(), Vec::new());
        for family in 0..workload.families {
            let (name, help) = (workload.name(family), "What the shop answered.");
            let values = (0..workload.series).map(|series| workload.values(series));
            let values = values.collect::<Vec<_>>();
            let values = values.iter().map(|[route, status]| [&**route, &**status]);
            if workload.kind == Kind::Counter {
                let builder = Counter::builder(&name, help)
                    .labels(LABELS)
                    .limit(workload.series);
                let family = builder.register(&registry).expect("a new family");
                counters.extend(values.map(|values| family.bind(values)));
            } else {
                let builder = Histogram::builder(&name, help).labels(LABELS);
                let builder = match workload.kind {
                    Kind::Native => builder.native(SCHEMA),
                    _ => builder.buckets(&BOUNDS),
                };
                let family = builder.register(&registry).expect("a new family");
                histograms.extend(values.map(|values| family.bind(values)));
            }
        }
        let program = Self {
            workload,
            registry,
            counters,
            histograms,
        };
        workload.first(|series, n| program.add(series, n));
        program
    }

    fn add(&self, series: usize, n: usize) {
        match self.workload.kind {
            Kind::Counter => self.counters[series].add(amount(series, n)),
            _ => self.histograms[series].observe(value(series, n)),
        }
    }

    pub fn update(&self, round: usize) {
        self.workload.round(round, |series, n| self.add(series, n));
    }
}

/// A program with a sender, which starts with the first interval.
struct Sent {
    program: Program,
    sender: Option<Sender>,
    sending: Option<Sending>,
    /// Has the self-metrics.
    about: Registry,
}

impl Sent {
    fn new(workload: Workload, sender: Sender) -> Self {
        let program = Program::new(workload);
        let about = Registry::new();
        let sender = sender.registry(&program.registry).self_metrics(&about);
        Self {
            program,
            sender: Some(sender),
            sending: None,
            about,
        }
    }

    /// Returns the time of the last snapshot that has arrived, in seconds since the Unix epoch.
    fn arrived(&self) -> f64 {
        let snapshot = self.about.snapshot();
        let family = snapshot.family("tallies_last_send_timestamp_seconds");
        match family.and_then(|family| family.series().next()) {
            Some((_, Value::Gauge(time))) => time,
            _ => 0.0,
        }
    }
}

impl Way for Sent {
    fn update(&mut self, round: usize) {
        self.program.update(round);
    }

    fn send(&mut self) -> Interval {
        loop {
            let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
            let begin = since.unwrap_or_default().as_secs_f64();
            let (before, arrived) = (Traffic::now(), self.arrived());
            let processor = meter::others(|| {
                if let Some(sender) = self.sender.take() {
                    self.sending = Some(sender.start().expect("the settings are right"));
                }
                while self.arrived() == arrived {
                    std::thread::sleep(Duration::from_millis(2));
                }
            });
            // An interval that began before the measurement does not count.
            if self.arrived() > begin {
                let traffic = Traffic::now() - before;
                return Interval { processor, traffic };
            }
        }
    }
}
