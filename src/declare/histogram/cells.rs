//! The cells of a histogram: the bucket of a value, cold observations, and the series in a
//! snapshot.

use crate::declare::lazy_ref::SeriesUpdate;
use crate::declare::{buckets, column};
use crate::family::desc::Desc;
use crate::family::{CellKind, Family, MetricCells, SeriesRef};
use crate::lockfree::Generation;
use crate::observe::{self, Buckets, Cells, Observation, ObservedTotal, Outcome, Shape, is_finite};
use crate::snapshot::{Histograms, Kind, Values, sum_since};

/// Returns the bounds of a family's buckets.
#[inline(always)]
fn bounds(desc: &Desc) -> &'static [f64] {
    if desc.bounds.is_empty() && desc.native.is_none() && desc.event.is_empty() {
        buckets::DEFAULT
    } else {
        desc.bounds
    }
}

/// The hot path, by the kinds of buckets in `desc`. Returns `false` if the caller has to take the
/// cold path. `shape` returns the shape of the family if it was made.
#[inline(always)]
pub(super) fn observe_hot<'a>(
    desc: &Desc,
    shape: impl FnOnce() -> Option<&'a Shape>,
    last: u64,
    value: f64,
    times: u64,
) -> bool {
    if desc.native.is_none() {
        // The bucket last: a cold series looks for it elsewhere.
        let bucket = || shape().and_then(|shape| shape.index.find(value));
        is_finite(value)
            && observe::thread(|thread| Buckets::observe(thread, last, bucket, value, times))
    } else if desc.bounds.is_empty() {
        observe_native(last, value, times)
    } else {
        observe_both(shape(), last, value, times)
    }
}

/// The hot path of a native histogram without fixed buckets.
#[inline]
fn observe_native(last: u64, value: f64, times: u64) -> bool {
    observe::thread(|thread| Buckets::observe_native(thread, last, 0, value, times))
}

/// The same for a native histogram with fixed buckets. Not inlined, since it is both of the others.
#[inline(never)]
fn observe_both(shape: Option<&Shape>, last: u64, value: f64, times: u64) -> bool {
    let Some(shape) = shape else { return false };
    let bucket = shape.index.bucket(value);
    observe::thread(|thread| Buckets::observe_native(thread, last, bucket, value, times))
}

/// Observations that the hot path rejected.
#[derive(Clone, Copy)]
pub(super) struct ObserveMany {
    pub(super) value: f64,
    pub(super) times: u64,
}

impl SeriesUpdate<Buckets> for ObserveMany {
    #[inline(always)]
    fn quick<'a>(
        self,
        cells: &Buckets,
        at: (u64, Generation),
        family: impl FnOnce() -> &'a Family<Buckets>,
    ) -> bool {
        let Self { value, times } = self;
        if !is_finite(value) || times == 0 {
            return false;
        }
        let family = family();
        let is_hot = || family.desc.hot;
        family.shape.index.find(value).is_some_and(|bucket| {
            let observation = Observation::new(bucket, value, times);
            cells.observe_if_cold(observe::engine(), at, observation, is_hot)
        })
    }

    #[inline(always)]
    fn slow(self, series: SeriesRef<'_, Buckets>) {
        observe_in_series(series, self.value, self.times);
    }
}

pub(super) fn observe_in_series(series: SeriesRef<'_, Buckets>, value: f64, times: u64) {
    let family = series.family;
    if times == 0 {
        return;
    }
    if let Err(rule) = family.check_value(value) {
        return family.reject(times, || rule.error(&family.desc.name, value));
    }
    let shape = &family.shape;
    let bucket = match shape.index.find(value) {
        Some(bucket) => bucket,
        None => {
            // The hot path does not search for the bucket, so the series may be hot.
            let bucket = shape.index.search(value);
            let hot = shape.native.is_none()
                && observe::thread(|thread| {
                    let last = series.cells.slot_word().last(series.generation());
                    Buckets::observe(thread, last, || Some(bucket), value, times)
                });
            if hot {
                return;
            }
            bucket
        }
    };
    let observation = Observation::new(bucket, value, times);
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

    #[inline(always)]
    fn cells(desc: &Desc) -> usize {
        if !desc.event.is_empty() {
            Self::event_cells(desc.counters, desc.bounds.len() + 2)
        } else if desc.native.is_some() {
            1
        } else {
            Self::fixed_cells(bounds(desc).len() + 1)
        }
    }

    fn shape(desc: &Desc) -> Shape {
        if desc.event.is_empty() {
            Shape::new(bounds(desc), desc.native)
        } else {
            Shape::event(desc.counters, desc.bounds)
        }
    }

    fn values(desc: &Desc, shape: &Shape) -> Values {
        Values::histogram(shape.index.bounds().into(), desc.native.is_some())
    }

    fn format(shape: &Shape) -> CellKind {
        match shape.native {
            None if shape.is_event() => CellKind::Event,
            None => CellKind::Histogram,
            Some(_) => CellKind::Native,
        }
    }

    column!(Histograms, Values::Histogram(all) => all);

    fn write(total: &ObservedTotal, column: &mut Histograms) {
        // An event has one bucket more, for those that observe nothing.
        let counts = &total.counts[..=column.bounds.len()];
        column.push(counts, total.sum.value(), total.native.as_ref());
        column.counters.extend_from_slice(&total.counters);
    }

    fn fingerprint(total: &ObservedTotal) -> u64 {
        total.count()
    }

    fn baseline(total: &ObservedTotal) -> Vec<u64> {
        let sum = total.sum.value().to_bits();
        std::iter::once(sum)
            .chain(total.counts.iter().chain(&total.counters).copied())
            .collect()
    }

    fn subtract(total: &mut ObservedTotal, baseline: &ObservedTotal) {
        for (count, before) in total.counts.iter_mut().zip(&baseline.counts) {
            *count = count.wrapping_sub(*before);
        }
        for (count, before) in total.counters.iter_mut().zip(&baseline.counters) {
            *count = count.wrapping_sub(*before);
        }
        // Both are rounded before, so that nothing is left if nothing was added since.
        let (now, before) = (total.sum.value(), baseline.sum.value());
        total.sum = sum_since(now, before, total.count()).into();
        if let (Some(native), Some(before)) = (&mut total.native, &baseline.native) {
            if let Some(left) = native.without(before) {
                *native = left;
            }
        }
    }
}
