//! The cells of a histogram: the bucket of a value, cold observations, and the series in a snapshot.

use std::sync::Arc;

use crate::declare::buckets;
use crate::error::Error;
use crate::family::desc::Desc;
use crate::family::{MetricCells, SeriesRef};
use crate::observe::{self, Buckets, Cells, Observed, Outcome, Shape};
use crate::snapshot::{Kind, Natives, Values, sum_since};

/// Returns the index of a finite value's bucket: the number of bounds below it, counted without
/// branches.
#[inline(always)]
pub(super) fn bucket(bounds: &[f64], value: f64) -> usize {
    bounds.iter().map(|&bound| usize::from(bound < value)).sum()
}

#[inline(always)]
pub(super) fn bounds(desc: &Desc) -> &'static [f64] {
    if desc.bounds.is_empty() && desc.native.is_none() {
        buckets::DEFAULT
    } else {
        desc.bounds
    }
}

pub(super) fn observe_in_series(series: SeriesRef<'_, Buckets>, value: f64, times: u64) {
    let family = series.family;
    if times == 0 {
        return;
    }
    if let Err(rule) = family.check_value(value) {
        return family.reject(times, || Error::update(&family.desc.name, value, rule));
    }
    let observation = (bucket(bounds(&family.desc), value), value, times);
    series.update(|cells, generation, hot| {
        let outcome = observe::thread(|thread| {
            cells.observe_cold(observe::engine(), thread, generation, observation, hot)
        });
        if outcome == Outcome::Rejected {
            // Not logged: memory is short, or this thread is in its allocator.
            family.count_rejected(times);
        }
        outcome
    });
}

impl MetricCells for Buckets {
    const KIND: Kind = Kind::Histogram;
    const FOLDS: bool = true;

    #[inline(always)]
    fn cells(desc: &Desc) -> usize {
        if desc.native.is_some() {
            1
        } else {
            Self::width(&Shape::fixed(bounds(desc).len() + 1))
        }
    }

    fn shape(desc: &Desc) -> Shape {
        Shape {
            buckets: bounds(desc).len() + 1,
            native: desc.native.map(Arc::new),
        }
    }

    fn values(desc: &Desc, _: &Shape) -> Values {
        Values::Histogram {
            bounds: bounds(desc).into(),
            counts: Vec::new(),
            sums: Vec::new(),
            natives: desc.native.map(|_| Natives::default()),
        }
    }

    fn write(total: &Observed, values: &mut Values) {
        if let Values::Histogram {
            counts,
            sums,
            natives,
            ..
        } = values
        {
            counts.extend_from_slice(&total.counts);
            sums.push(total.sum);
            if let (Some(natives), Some(native)) = (natives, &total.native) {
                natives.push(native);
            }
        }
    }

    fn fingerprint(total: &Observed) -> u64 {
        total.count()
    }

    fn float_sum(total: &mut Observed) -> Option<&mut f64> {
        Some(&mut total.sum)
    }

    fn subtract(total: &mut Observed, baseline: &Observed) {
        for (count, before) in total.counts.iter_mut().zip(&baseline.counts) {
            *count = count.wrapping_sub(*before);
        }
        total.sum = sum_since(total.sum, baseline.sum, total.count());
        if let (Some(native), Some(before)) = (&mut total.native, &baseline.native) {
            if let Some(left) = native.without(before) {
                *native = left;
            }
        }
    }
}
