//! sketches-ddsketch 0.4 under a mutex. It has no labels and no exposition, so it appears in the
//! summaries' row only.
//!
//! It bounds the error of the value (1 %), not of the rank.

use std::sync::Mutex;

use sketches_ddsketch::{Config, DDSketch};

use crate::Row;
use crate::form::{Form, along, keep};
use crate::workload::{SHUFFLED, assert_observed};

pub fn forms(row: Row) -> Vec<Form> {
    let Row::Summary = row else { return vec![] };
    let sketch = keep(Mutex::new(DDSketch::new(Config::defaults())));
    vec![Form::new(
        "add under a Mutex",
        |_, n| along(n, &SHUFFLED, |value| sketch.lock().unwrap().add(*value)),
        |done| {
            let sketch = sketch.lock().unwrap();
            assert_observed((sketch.count() as u64, sketch.sum().unwrap()), done.all);
        },
    )]
}
