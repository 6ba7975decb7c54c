//! Updates: every kind, plain and looked up by two strings, at each number of threads.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use peers::form::{Class, Done, Form, Timed, Work, over, repeat};
use peers::workload::{BOUNDS, SEQUENCE, VALUES};
use peers::{CONTESTANTS, Row as Operation};
use serde::Serialize;

use crate::Plan;
use crate::crew::{Crew, Figure, Round};

/// One operation of one contestant.
#[derive(Serialize)]
pub struct Row {
    pub operation: &'static str,
    pub contestant: &'static str,
    pub how: &'static str,
    /// One figure for each number of threads.
    pub figures: Vec<Figure>,
    pub rounds: Vec<Vec<Round>>,
    /// Not every update had an effect.
    pub is_wrong: bool,
}

const OPERATIONS: [(Operation, &str); 14] = [
    (Operation::Counter, "counter"),
    (Operation::LabelStrings, "counter, look-up"),
    (Operation::Float, "float counter"),
    (Operation::LabelFloat, "float counter, look-up"),
    (Operation::Gauge, "gauge"),
    (Operation::LabelGauge, "gauge, look-up"),
    (Operation::UpDown, "up and down"),
    (Operation::LabelUpDown, "up and down, look-up"),
    (Operation::Histogram, "histogram, 11 bounds"),
    (Operation::LabelHistogram, "histogram, look-up"),
    (Operation::Native, "native histogram"),
    (Operation::LabelNative, "native histogram, look-up"),
    (Operation::Summary, "summary"),
    (Operation::LabelSummary, "summary, look-up"),
];

/// Updates between two looks at whether the round is over.
fn batch(operation: Operation) -> u64 {
    match operation {
        // The values are in sixteen orders, which are all needed: see `SHUFFLED`.
        Operation::Summary => 16 * SEQUENCE,
        _ => SEQUENCE,
    }
}

pub fn measure(crew: &Crew, plan: &Plan) -> Vec<Row> {
    let mut rows = vec![];
    for (operation, name) in OPERATIONS {
        if plan.wants(name) {
            rows.extend(rows_of(crew, plan, operation, name));
        }
    }
    rows
}

fn rows_of(crew: &Crew, plan: &Plan, operation: Operation, name: &'static str) -> Vec<Row> {
    let (mut rows, mut works): (Vec<Row>, Vec<Arc<Timed>>) = (vec![], vec![]);
    let by_hand = by_hand(operation).into_iter().map(|form| ("by hand", form));
    let others = CONTESTANTS.into_iter().flat_map(|(contestant, forms)| {
        let contestant = if contestant == "floor" {
            "by hand"
        } else {
            contestant
        };
        forms(operation)
            .into_iter()
            .map(move |form| (contestant, form))
    });
    for (contestant, Form { how, class, work }) in by_hand.chain(others) {
        let Work::Timed(work) = work else { continue };
        // It loses observations if several threads observe at once.
        let loses = contestant == "metrics"
            && matches!(operation, Operation::Histogram | Operation::Summary);
        if class == Class::Fastest && !loses {
            let (figures, rounds) = (vec![], plan.threads.iter().map(|_| vec![]).collect());
            rows.push(Row {
                operation: name,
                contestant,
                how,
                figures,
                rounds,
                is_wrong: false,
            });
            works.push(work);
        }
    }
    let mut done = vec![0; rows.len()];
    let batch = batch(operation);
    for _ in 0..plan.rounds {
        for ((row, work), done) in rows.iter_mut().zip(&works).zip(&mut done) {
            for (rounds, threads) in row.rounds.iter_mut().zip(&plan.threads) {
                let over = || std::thread::sleep(plan.round);
                let (round, operations) = crew.round(work, *threads, batch, over);
                rounds.push(round);
                *done += operations;
            }
        }
    }
    for ((row, work), all) in rows.iter_mut().zip(&works).zip(done) {
        row.figures = row.rounds.iter().map(|rounds| Figure::of(rounds)).collect();
        row.is_wrong = !work.holds(Done { all, last: 0 });
    }
    rows
}

/// The two ends of the scale: a word of each thread, of which the thread knows the place, and words
/// that all threads share.
fn by_hand(operation: Operation) -> Vec<Form> {
    #[repr(align(128))]
    struct Own(AtomicU64);
    /// Written by the thread of that number only.
    static OWN: [Own; 1024] = [const { Own(AtomicU64::new(0)) }; 1024];
    #[repr(align(128))]
    struct Shared([AtomicU64; 13]);
    static SHARED: Shared = Shared([const { AtomicU64::new(0) }; 13]);
    fn reset() {
        OWN.iter().for_each(|cell| cell.0.store(0, Relaxed));
        SHARED.0.iter().for_each(|cell| cell.store(0, Relaxed));
    }
    let own = || OWN.iter().map(|cell| cell.0.load(Relaxed)).sum::<u64>();
    let word = &SHARED.0[0];
    fn add(word: &AtomicU64, value: f64) {
        let more = |sum| Some((f64::from_bits(sum) + value).to_bits());
        _ = word.fetch_update(Relaxed, Relaxed, more);
    }
    reset();
    match operation {
        Operation::Counter => vec![
            Form::new(
                "a word in a line of each thread",
                |thread, n| {
                    let cell = &OWN[thread].0;
                    repeat(n, || cell.store(cell.load(Relaxed) + 1, Relaxed))
                },
                move |done| assert_eq!(own(), done.all),
            ),
            Form::new(
                "one shared atomic",
                |_, n| repeat(n, || _ = word.fetch_add(1, Relaxed)),
                |done| assert_eq!(word.load(Relaxed), done.all),
            ),
        ],
        Operation::Float => vec![Form::new(
            "one shared atomic, compare and exchange",
            |_, n| repeat(n, || add(word, 0.5)),
            |done| assert_eq!(f64::from_bits(word.load(Relaxed)), done.all as f64 * 0.5),
        )],
        Operation::UpDown => vec![Form::new(
            "one shared atomic",
            |_, n| {
                repeat(n, || {
                    word.fetch_add(1, Relaxed);
                    word.fetch_sub(1, Relaxed);
                })
            },
            |_| assert_eq!(word.load(Relaxed), 0),
        )],
        Operation::Histogram => vec![Form::new(
            "shared atomics: a bucket and the sum",
            |_, n| {
                over(n, &VALUES, |value| {
                    let bucket = BOUNDS.iter().filter(|bound| **bound < *value).count();
                    SHARED.0[bucket].fetch_add(1, Relaxed);
                    add(&SHARED.0[12], *value);
                })
            },
            |done| {
                let count = SHARED.0[..12]
                    .iter()
                    .map(|cell| cell.load(Relaxed))
                    .sum::<u64>();
                assert_eq!(count, done.all);
            },
        )],
        _ => vec![],
    }
}
