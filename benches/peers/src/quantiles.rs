//! quantiles 0.7, its CKMS under a mutex. It has no labels and no exposition, so it appears in the
//! summaries' row only.
//!
//! Its memory and its time grow with the number of observations, so it restarts here every 100 000
//! values.

use std::sync::Mutex;

use quantiles::ckms::CKMS;

use crate::Row;
use crate::form::{Form, along, keep};
use crate::workload::SHUFFLED;

const AGE: usize = 100_000;

pub fn forms(row: Row) -> Vec<Form> {
    let Row::Summary = row else { return vec![] };
    let kept = keep(Mutex::new((CKMS::new(0.001), 0)));
    vec![Form::new(
        "CKMS::insert under a Mutex, error 0.001, anew every 100 000 values",
        |_, n| {
            along(n, &SHUFFLED, |value| {
                let (sketch, before) = &mut *kept.lock().unwrap();
                sketch.insert(*value);
                if sketch.count() == AGE {
                    *before += AGE;
                    *sketch = CKMS::new(0.001);
                }
            });
        },
        |done| {
            let (sketch, before) = &*kept.lock().unwrap();
            assert_eq!((before + sketch.count()) as u64, done.all);
        },
    )]
}
