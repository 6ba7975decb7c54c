//! hdrhistogram 7.6 under a mutex. It has no labels and no exposition, so it appears in the
//! summaries' row only.
//!
//! It bounds the error of the value (three digits), not of the rank, within a range that is fixed
//! in advance.

use std::sync::Mutex;

use hdrhistogram::Histogram;

use crate::Row;
use crate::form::{Form, along, keep};
use crate::workload::SHUFFLED_MICROS;

pub fn forms(row: Row) -> Vec<Form> {
    let Row::Summary = row else { return vec![] };
    let histogram = keep(Mutex::new(
        Histogram::<u64>::new_with_bounds(1, 60_000_000, 3).unwrap(),
    ));
    vec![Form::new(
        "record under a Mutex, whole microseconds up to a minute",
        |_, n| {
            along(n, &SHUFFLED_MICROS, |micros| {
                histogram.lock().unwrap().record(*micros).unwrap()
            })
        },
        |done| assert_eq!(histogram.lock().unwrap().len(), done.all),
    )]
}
