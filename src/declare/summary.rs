//! Summaries: quantiles within a promised rank error.

use std::marker::PhantomData;
use std::sync::Arc;

use crate::error::Error;
use crate::observe::{self, Distribution, Outcome, Promise, Streamed, Tag};
use crate::snapshot::sketch::Targets;
use crate::snapshot::{Kind, Quantiles, Values};

use super::declaration::{Declaration, Kept};
use super::desc::Desc;
use super::family::Exported;
use super::handle::{Found, Handle};
use super::label::LabelSet;
use super::{labelled, metric};

impl Exported for Distribution {
    const KIND: Kind = Kind::Summary;
    const FOLDS: bool = true;

    fn cells(_: &Desc) -> usize {
        1
    }

    fn shape(desc: &Desc) -> Arc<Promise> {
        Promise::new(desc.targets)
    }

    fn values(_: &Desc, promise: &Arc<Promise>) -> Values {
        Values::Summary {
            targets: promise.targets,
            interval: false,
            values: Vec::new(),
        }
    }

    fn write(total: &Streamed, values: &mut Values) {
        if let Values::Summary { values, .. } = values {
            values.push(quantiles(total));
        }
    }

    fn fingerprint(total: &Streamed) -> u64 {
        total.count
    }

    fn less(total: &mut Streamed, baseline: &Streamed) {
        total.count = total.count.wrapping_sub(baseline.count);
        total.sum -= baseline.sum;
        if total.count == 0 {
            total.sum = 0.0;
            total.parts.clear();
        }
    }
}

fn quantiles(total: &Streamed) -> Quantiles {
    Quantiles {
        count: total.count,
        sum: total.sum,
        sketch: Distribution::merged(total),
    }
}

/// Quantiles of what was observed since the program began, each within a promised rank error.
///
/// Every thread keeps a small sketch of its own (CKMS with a bound that survives merging: see
/// [`snapshot::sketch`](crate::snapshot::sketch)), so the promise holds for all threads together, whatever each of them saw. An observation costs some 7 ns;
/// one in 256 takes the buffer into the sketch, some microseconds. A scrape sees an exact prefix of every thread's
/// observations: count, sum and quantiles belong to the same ones.
///
/// Without [`objective`](Self::objective): the median within 5 %, 0.9 within 1 %, 0.99 within 0.1 % of the ranks. The quantiles 0 and 1 are
/// exact. NaN is dropped and counted in `tallies_refused_updates_total`, and so is an infinity of the sign opposite to
/// one seen before. Before the first observation quantiles are NaN.
///
/// Quantiles of two programs cannot be added up by Prometheus; snapshots can be, by
/// [`merge`](crate::Snapshot::merge).
///
/// ```
/// use tallies::Summary;
///
/// /// Time of a call.
/// #[tallies::metric]
/// static LATENCY: Summary = Summary::new("rpc_duration_seconds").objective(0.5, 0.01).objective(0.99, 0.001);
///
/// for i in 1..=1000 {
///     LATENCY.observe(f64::from(i));
/// }
/// let now = LATENCY.total();
/// let (median, error) = now.quantile(0.5).unwrap();
/// assert!((490.0..=510.0).contains(&median) && error <= 0.01);
/// assert_eq!(now.quantile(1.0), Some((1000.0, 0.0)));
/// ```
pub struct Summary<L = ()> {
    pub(crate) inner: Declaration<Distribution>,
    pub(crate) labels: PhantomData<fn(L)>,
}

metric!(Summary, SummaryBuilder, [L: LabelSet], [L], [], Distribution, Kind::Summary);
labelled!(
    Summary, SummarySeries, BoundSummary, [L: LabelSet], [L], [], [], Distribution, Quantiles,
    |total| quantiles(&total)
);

impl<L: LabelSet> Summary<L> {
    /// Promises the quantile `phi` within `error` of the ranks; the first call replaces the defaults.
    ///
    /// # Panics
    ///
    /// On a quantile outside 0 to 1, an error that is not above 0 and below 1, one quantile twice, more than seven, and
    /// errors too small for a sketch of 2048 values: a compile error in a `static`.
    #[must_use]
    pub const fn objective(mut self, phi: f64, error: f64) -> Self {
        let targets = if self.inner.desc.own_targets {
            self.inner.desc.targets
        } else {
            Targets::new(&[])
        };
        self.inner.desc.targets = match targets.try_with(phi, error) {
            Ok(targets) => targets,
            Err(error) => panic!("{}", error.rule()),
        };
        self.inner.desc.own_targets = true;
        self
    }

    /// No quantiles: count and sum only.
    #[must_use]
    pub const fn no_objectives(mut self) -> Self {
        self.inner.desc.targets = Targets::new(&[]);
        self.inner.desc.own_targets = true;
        self
    }
}

impl<L: LabelSet> SummaryBuilder<L> {
    /// What is promised, instead of the defaults: quantiles and their rank errors. None: count and sum only.
    ///
    /// # Errors
    ///
    /// What [`Summary::objective`] would not compile with.
    pub fn objectives(mut self, objectives: &[(f64, f64)]) -> Result<Self, Error> {
        self.desc.targets = Targets::try_new(objectives)
            .map_err(|error| Error::labels(self.desc.name, &error.to_string()))?;
        self.desc.own_targets = true;
        Ok(self)
    }
}

macro_rules! summary_methods {
    () => {
        /// Observes `value` once.
        #[inline]
        pub fn observe(&self, value: f64) {
            let hot = value.is_finite()
                && observe::thread(|thread| Distribution::observe(thread, self.last(), value));
            if !hot {
                self.observe_cold(value);
            }
        }

        /// Runs `f` and observes the seconds it took.
        pub fn time<R>(&self, f: impl FnOnce() -> R) -> R {
            let start = std::time::Instant::now();
            let result = f();
            self.observe(start.elapsed().as_secs_f64());
            result
        }
    };
}

impl Summary {
    summary_methods!();

    /// What was observed so far, by all threads. Waits for a scrape that is running.
    #[must_use]
    pub fn total(&self) -> Quantiles {
        quantiles(&self.inner.total())
    }

    #[inline]
    fn last(&self) -> u64 {
        self.inner.place.last(Tag::FIRST)
    }

    #[cold]
    fn observe_cold(&self, value: f64) {
        let series = SummarySeries {
            handle: self.inner.family().only().into(),
        };
        series.observe_cold(value);
        self.inner.copy_place();
    }
}

/// One series of a summary: as [`Summary::with`] found it, for now.
#[derive(Clone, Copy, Debug)]
pub struct SummarySeries<'a> {
    handle: Handle<'a, Distribution>,
}

impl SummarySeries<'_> {
    summary_methods!();

    #[inline]
    fn last(&self) -> u64 {
        self.handle.last()
    }

    #[inline(always)]
    fn observe_cold(&self, value: f64) {
        self.handle.cold(move |found| observe_found(found, value));
    }
}

fn observe_found(found: Found<'_, Distribution>, value: f64) {
    let Found {
        family, cells, tag, ..
    } = found;
    if value.is_nan() || !family.admits(value) {
        return observe::refuse();
    }
    let cold = |cells: &Distribution, tag, eager| {
        let what = (value, &*family.shape);
        observe::thread(|thread| cells.observe_cold(observe::engine(), thread, tag, what, eager))
    };
    if cold(cells, tag, family.desc.hot) == Outcome::Stale {
        cold(family.overflow().cells, Tag::FIRST, false);
    }
}

/// One series of a summary for keeps: see [`Summary::bind`].
#[derive(Debug)]
pub struct BoundSummary {
    kept: Kept<Distribution>,
}

impl BoundSummary {
    /// Observes `value`.
    #[inline]
    pub fn observe(&self, value: f64) {
        self.series().observe(value);
    }
}
