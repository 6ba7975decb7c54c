//! Deltas, compared with a model: whatever fails and whatever becomes of the series, nothing is
//! missing and nothing is there twice.

use std::collections::BTreeMap;

use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::{AggregationTemporality, number_data_point};
use proptest::prelude::*;
use tallies::snapshot::{Histogram, Number};
use tallies::{Counter, Registry};

use crate::otlp::walk::RequestLimits;

use super::*;

const BOUNDS: [f64; 2] = [1.0, 3.0];

/// The count, the sum and the buckets of observations.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Count {
    pub(super) sum: u64,
    buckets: [u64; 3],
}

impl Count {
    fn observe(&mut self, value: u64) {
        self.sum += value;
        let bucket = BOUNDS.iter().filter(|bound| value as f64 > **bound);
        self.buckets[bucket.count()] += 1;
    }

    fn add(&mut self, other: Self) {
        self.sum += other.sum;
        (0..3).for_each(|i| self.buckets[i] += other.buckets[i]);
    }
}

/// One data point of a delta.
#[derive(Debug)]
pub(super) struct Delta {
    /// The name of the family and the labels.
    pub(super) series: String,
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) count: Count,
}

pub(super) fn deltas(body: &[u8]) -> Vec<Delta> {
    let mut found = Vec::new();
    for metric in metrics(decoded(body)) {
        let name = |attributes: &[KeyValue]| format!("{} {:?}", metric.name, texts(attributes));
        let is_delta = |temporality| temporality == AggregationTemporality::Delta as i32;
        match metric.data.as_ref().unwrap() {
            Data::Sum(sum) => {
                assert!(is_delta(sum.aggregation_temporality));
                found.extend(sum.data_points.iter().map(|point| {
                    let Some(number_data_point::Value::AsInt(n)) = point.value else {
                        panic!("{point:?}");
                    };
                    let count = Count {
                        sum: n as u64,
                        ..Count::default()
                    };
                    Delta {
                        series: name(&point.attributes),
                        start: point.start_time_unix_nano,
                        end: point.time_unix_nano,
                        count,
                    }
                }));
            }
            Data::Histogram(histogram) => {
                assert!(is_delta(histogram.aggregation_temporality));
                found.extend(histogram.data_points.iter().map(|point| {
                    let buckets = <[u64; 3]>::try_from(&point.bucket_counts[..]).unwrap();
                    assert_eq!(point.count, buckets.iter().sum::<u64>());
                    let sum = point.sum.unwrap() as u64;
                    Delta {
                        series: name(&point.attributes),
                        start: point.start_time_unix_nano,
                        end: point.time_unix_nano,
                        count: Count { sum, buckets },
                    }
                }));
            }
            Data::ExponentialHistogram(histogram) => {
                assert!(is_delta(histogram.aggregation_temporality));
                found.extend(histogram.data_points.iter().map(|point| {
                    let sum = point.sum.unwrap() as u64;
                    let buckets = [point.count, 0, 0];
                    Delta {
                        series: name(&point.attributes),
                        start: point.start_time_unix_nano,
                        end: point.time_unix_nano,
                        count: Count { sum, buckets },
                    }
                }));
            }
            other => panic!("{other:?}"),
        }
    }
    found
}

pub(super) fn protocol(points: u64) -> OtlpProtocol {
    let otlp = Otlp::new().temporality(Temporality::Delta);
    otlp.protocol().limits(RequestLimits {
        points,
        bytes: usize::MAX,
    })
}

/// Series whose label does not know its creation; they live forever.
const UNKNOWN: u8 = 2;
/// All labels.
const LABELS: u8 = 6;

#[derive(Clone, Debug)]
enum Step {
    /// Counts in the series of a label, which begins if there is none.
    Observe(u8, u64),
    /// Removes the series of a label.
    End(u8),
    Snapshot,
    /// Answers the next request.
    Answer(Outcome),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Outcome {
    Accept,
    Refuse,
    Fail,
    Nothing,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let outcome = prop_oneof![
        4 => Just(Outcome::Accept),
        1 => Just(Outcome::Refuse),
        2 => Just(Outcome::Fail),
        1 => Just(Outcome::Nothing),
    ];
    let step = prop_oneof![
        6 => (0..LABELS, 0..6_u64).prop_map(|(label, value)| Step::Observe(label, value)),
        1 => (UNKNOWN..LABELS).prop_map(Step::End),
        2 => Just(Step::Snapshot),
        4 => outcome.prop_map(Step::Answer),
    ];
    proptest::collection::vec(step, 0..120)
}

/// A program of two families, and the receiver of its deltas.
struct Model {
    /// The live series: their creation and their total.
    live: BTreeMap<u8, (u64, Count)>,
    /// The totals of ended series, as far as a snapshot had them.
    ended: BTreeMap<u8, Count>,
    /// The totals of the live series in the last snapshot.
    seen: BTreeMap<u8, Count>,
    /// The counts that any snapshot had, by label, after each snapshot. The first is before all.
    history: Vec<(u64, BTreeMap<u8, Count>)>,
    /// The counts that the receiver has taken or refused, and the end of the last window.
    received: BTreeMap<String, (Count, u64)>,
    now: u64,
    lives: u64,
    protocol: OtlpProtocol,
}

impl Model {
    fn new(points: u64) -> Self {
        Self {
            live: BTreeMap::new(),
            ended: BTreeMap::new(),
            seen: BTreeMap::new(),
            history: vec![(0, BTreeMap::new())],
            received: BTreeMap::new(),
            now: 2000,
            lives: 0,
            protocol: protocol(points),
        }
    }

    fn run(&mut self, step: &Step) {
        match *step {
            Step::Observe(label, value) => {
                // The clock of a creation may be behind by 10 milliseconds.
                self.lives += 1;
                let created = self.now - 1000 + self.lives % 1000;
                let created = if self.lives % 3 == 0 {
                    self.now - 1005
                } else {
                    created
                };
                let series = self
                    .live
                    .entry(label)
                    .or_insert((created, Count::default()));
                series.1.observe(value);
            }
            Step::End(label) => {
                self.live.remove(&label);
                let seen = self.seen.remove(&label).unwrap_or_default();
                self.ended.entry(label).or_default().add(seen);
            }
            Step::Snapshot => self.snapshot(),
            Step::Answer(outcome) => _ = self.answer(outcome),
        }
    }

    fn snapshot(&mut self) {
        let mut jobs = family("jobs_total", Kind::Counter, &[]);
        let mut sizes = family("sizes", Kind::Histogram, &[]);
        self.seen.clear();
        let mut all = self.ended.clone();
        for (i, (label, (created, count))) in self.live.iter().enumerate() {
            let labels = [("x", &*label.to_string())];
            let number = Value::Counter(Number::Int(count.sum));
            jobs.push(&labels, number).unwrap();
            let value = Histogram::new(&BOUNDS, &count.buckets, count.sum as f64).unwrap();
            sizes.push(&labels, Value::Histogram(value)).unwrap();
            // In the first snapshot, a series that does not know its creation could be older.
            if *label >= UNKNOWN || self.history.len() == 1 {
                jobs.set_created(i, at(*created));
                sizes.set_created(i, at(*created));
            }
            self.seen.insert(*label, *count);
            all.entry(*label).or_default().add(*count);
        }
        self.protocol.take(&snapshot(vec![jobs, sizes], self.now));
        self.history.push((nanos_at(self.now), all));
        self.now += 1000;
        assert!(self.protocol.kept() <= 2 * usize::from(LABELS));
    }

    /// Answers the next request. Returns `false` if there is none.
    fn answer(&mut self, outcome: Outcome) -> bool {
        let mut body = Vec::new();
        if self.protocol.next(&mut body).is_none() {
            return false;
        }
        let answer = match outcome {
            Outcome::Accept => Some(200),
            Outcome::Refuse => Some(400),
            Outcome::Fail => Some(503),
            Outcome::Nothing => None,
        };
        let answer = answer.map(status);
        let verdict = self.protocol.answered(answer.as_ref());
        if !matches!(verdict, Verdict::Retry) {
            deltas(&body)
                .into_iter()
                .for_each(|delta| self.receive(delta));
        }
        true
    }

    /// Returns what all snapshots up to this time had of a series.
    fn total(&self, series: &str, time: u64) -> Count {
        let until = self.history.iter().rev().find(|(taken, _)| *taken <= time);
        let (_, counts) = until.unwrap();
        let label = (0..LABELS).find(|label| series.contains(&format!("\"{label}\"")));
        let mut count = counts.get(&label.unwrap()).copied().unwrap_or_default();
        if series.starts_with("jobs_total") {
            count.buckets = [0; 3];
        } else {
            assert!(series.starts_with("sizes"));
        }
        count
    }

    fn receive(&mut self, delta: Delta) {
        let last = self.history.last().unwrap().0;
        assert_eq!(delta.end, last);
        let (mut count, end) = self
            .received
            .get(&delta.series)
            .copied()
            .unwrap_or_default();
        // Windows do not overlap, and nothing was counted between them.
        assert!(
            end <= delta.start && delta.start <= delta.end,
            "{delta:?} after {end}"
        );
        assert_eq!(self.total(&delta.series, delta.start), count, "{delta:?}");
        count.add(delta.count);
        assert_eq!(self.total(&delta.series, delta.end), count, "{delta:?}");
        self.received.insert(delta.series, (count, delta.end));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn each_count_is_in_one_window(steps in steps(), points in 1_u64..8) {
        let mut model = Model::new(points);
        steps.iter().for_each(|step| model.run(step));
        // The outage ends.
        model.snapshot();
        while model.answer(Outcome::Accept) {}
        let (time, all) = model.history.last().unwrap().clone();
        for label in all.keys() {
            for name in ["jobs_total", "sizes"] {
                let series = format!("{name} [(\"x\", \"{label}\")]");
                let received = model.received.get(&series).copied().unwrap_or_default();
                prop_assert_eq!(received.0, model.total(&series, time));
            }
        }
        prop_assert_eq!(model.protocol.kept(), 0);
    }

    /// A registry whose series are retired into the overflow series, or removed. A label is used
    /// for one series, because a clock of milliseconds cannot tell two from each other.
    #[test]
    fn retired_series_are_not_counted_again(
        steps in proptest::collection::vec((0..6_u8, 0..5_usize), 0..80),
        points in 1_u64..8,
    ) {
        let registry = Registry::new();
        let jobs = Counter::builder("jobs_total", "Jobs done.").labels(["x"]);
        let jobs = jobs.register(&registry).unwrap();
        let sizes = tallies::Histogram::builder("sizes", "Sizes.").labels(["x"]).native(3);
        let sizes = sizes.register(&registry).unwrap();
        let mut protocol = protocol(points);
        let mut lives = [0, 1, 2, 3, 4].map(|slot| (slot, 0_u64));
        let mut total = 0;
        let mut received: BTreeMap<String, Count> = BTreeMap::new();
        let last = [(4, 0), (5, 0)].into_iter().chain([(5, 0); 40]);
        for (step, slot) in steps.into_iter().chain(last) {
            let (label, unseen) = &mut lives[slot];
            match step {
                0 | 1 => {
                    let name = label.to_string();
                    jobs.with([&*name]).add(3);
                    sizes.with([&*name]).observe(3.0);
                    total += 3;
                    *unseen += 3;
                }
                2 => {
                    let name = label.to_string();
                    jobs.retire([&*name]);
                    sizes.retire([&*name]);
                    // It counts on in the overflow series.
                    (*label, *unseen) = (*label + 5, 0);
                }
                3 => {
                    let name = label.to_string();
                    jobs.remove([&*name]);
                    sizes.remove([&*name]);
                    // Counts that no snapshot had are lost.
                    total -= *unseen;
                    (*label, *unseen) = (*label + 5, 0);
                }
                4 => {
                    protocol.take(&registry.snapshot());
                    lives.iter_mut().for_each(|(_, unseen)| *unseen = 0);
                }
                _ => {
                    let mut body = Vec::new();
                    if protocol.next(&mut body).is_some() {
                        let is_accepted = slot < 3;
                        let answer = status(if is_accepted { 200 } else { 503 });
                        protocol.answered(Some(&answer));
                        if is_accepted {
                            for delta in deltas(&body) {
                                let name = delta.series.split(' ').next().unwrap().to_owned();
                                received.entry(name).or_default().add(delta.count);
                            }
                        }
                    }
                }
            }
        }
        prop_assert_eq!(protocol.kept(), 0);
        let names = ["jobs_total", "sizes"];
        let received = names.map(|name| received.get(name).copied().unwrap_or_default());
        prop_assert_eq!(received[0].sum, total);
        prop_assert_eq!((received[1].sum, received[1].buckets[0]), (total, total / 3));
    }
}
