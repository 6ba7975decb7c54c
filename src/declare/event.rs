//! Events: several metrics with one label set, which count together.

use std::borrow::Cow;
use std::time::Duration;

use tallies_names::{getters, setters};

use crate::error::Error;
use crate::family::desc::{ClosedSet, Desc, Names};
use crate::family::event::{self, EventMetric};
use crate::family::label::{LabelSet, NamedLabels, Unlabelled};
use crate::family::{Family, SeriesRef};
use crate::in_both::debug;
use crate::lockfree::Generation;
use crate::observe::{self, Buckets, Cells, Observed, ObservedTotal, Shape, is_finite};

use super::declaration::Declaration;
use super::lazy_ref::SeriesUpdate;
use super::{Bound, Builder, MetricFamily, Series, buckets, forward, metric};

/// Something that happens once and counts in several metrics: a struct with `#[derive(Event)]`.
///
/// Its fields are the metrics: a `u64` is what the event adds to a counter; an `f64` or a
/// [`Duration`], or an `Option` of one, is what it observes in a histogram, of which there is at
/// most one. See [`Events`].
///
/// A type that implements it by hand has one to 256 metrics, and returns as many counts as
/// [`METRICS`](Self::METRICS) has counters; other events are rejected.
pub trait Event {
    /// The metrics, in the order of the fields.
    const METRICS: &'static [EventMetric];

    /// An array of as many numbers as there are counters.
    type Counts: AsRef<[u64]>;

    /// Returns what the event adds to the counters, in their order.
    fn counts(&self) -> Self::Counts;

    /// Returns what the event observes.
    fn observed(&self) -> Option<f64>;
}

/// A field of an event that is observed: `f64`, `Duration`, or an `Option` of one.
#[diagnostic::on_unimplemented(
    message = "a field of type `{Self}` counts in no metric",
    label = "not a field of an event",
    note = "a field of an event is a `u64`, for a counter, or an `f64`, a `Duration`, or an `Option` of one, for a histogram"
)]
pub trait EventValue {
    /// Returns the value, in seconds if it is a duration; `None` if there is none.
    fn value(&self) -> Option<f64>;
}

impl EventValue for f64 {
    #[inline(always)]
    fn value(&self) -> Option<f64> {
        Some(*self)
    }
}

impl EventValue for Duration {
    #[inline(always)]
    fn value(&self) -> Option<f64> {
        Some(self.as_secs_f64())
    }
}

impl<T: EventValue> EventValue for Option<T> {
    #[inline(always)]
    fn value(&self) -> Option<f64> {
        self.as_ref().and_then(T::value)
    }
}

/// Metrics that count the same events, under the same labels: one look-up and one update for all.
///
/// ```
/// use std::time::Duration;
/// use tallies::event::{Event, Events};
///
/// #[derive(Event)]
/// struct Answer {
///     /// Requests answered.
///     http_requests_total: u64,
///     /// Bytes sent.
///     #[metric(name = "http_sent_bytes_total", unit = "bytes")]
///     sent: u64,
///     /// Time to answer.
///     #[metric(name = "http_answer_duration_seconds", buckets = [0.01, 0.1, 1.0])]
///     took: Duration,
/// }
///
/// #[tallies::metric]
/// static ANSWERS: Events<Answer, [&str; 1]> = Events::labelled(&["method"]);
///
/// let took = Duration::from_millis(50);
/// ANSWERS.with(["get"]).record(Answer { http_requests_total: 1, sent: 512, took });
///
/// let now = tallies::snapshot();
/// assert_eq!(now.get("http_requests_total", &[("method", "get")]), Some(1.0));
/// assert_eq!(now.get("http_sent_bytes_total", &[("method", "get")]), Some(512.0));
/// ```
///
/// Each metric is a family of its own, as if it were declared apart: with its name, help text and
/// format. A scrape sees all of an event or nothing of it, in every metric that it shows. So
/// `http_sent_bytes_total` divided by `http_requests_total` is the mean of whole answers.
///
/// An event without labels costs about as much as an observation, and one nanosecond for each
/// counter. With labels the look-up is added, once.
///
/// Limits, expiry and removal are those of all metrics together. A [`View`](crate::View) acts on
/// each metric by its name: it renames it, switches it off, changes its buckets, or drops a label
/// (when a scrape shows it: the series stay apart in memory, and what is removed is missing from
/// their sum). `cap` and `native` have no effect, and of several limits the least one holds.
///
/// An observation that is not valid, such as NaN, is rejected and counted in
/// `tallies_rejected_updates_total`; the counters of its event count.
pub struct Events<E, L = ()>(MetricFamily<Buckets, Events<E>, L>);

/// The counts of a series of events.
///
/// ```
/// use tallies::event::{Event, Events};
///
/// #[derive(Event)]
/// struct Mail {
///     /// Messages sent.
///     mail_sent_total: u64,
///     /// Their bytes.
///     mail_sent_bytes_total: u64,
/// }
///
/// let registry = tallies::Registry::new();
/// let mail = Events::<Mail>::builder().register(&registry)?;
/// mail.record(Mail { mail_sent_total: 1, mail_sent_bytes_total: 77 });
/// assert_eq!(mail.get().counts, [1, 77]);
/// assert_eq!(mail.get().observed, None);
/// # Ok::<(), tallies::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Recorded {
    /// The counters, in the order of the fields.
    pub counts: Vec<u64>,
    /// The histogram, if there is one.
    pub observed: Option<Observed>,
}

/// The counts of an event and its observation, taken from its fields.
type EventCounts<'a> = (&'a [u64], Option<f64>);

/// The hot path. Returns `false` if the caller has to take the cold path.
#[inline(always)]
fn record_hot(
    family: Option<&Family<Buckets>>,
    last: u64,
    (added, value): EventCounts<'_>,
) -> bool {
    let Some(family) = family else { return false };
    bucket(&family.shape, (added, value)).is_some_and(|bucket| {
        let value = value.unwrap_or_default();
        observe::thread(|thread| Buckets::record(thread, last, added, bucket, value))
    })
}

/// Returns the bucket of an event in the common case: it fits the shape, and its bucket is found
/// without a search.
#[inline(always)]
fn bucket(shape: &Shape, (added, value): EventCounts<'_>) -> Option<usize> {
    // The number of counters comes from code of the user.
    if added.len() != shape.counters {
        return None;
    }
    match value {
        Some(value) if is_finite(value) => shape.index.find(value),
        Some(_) => None,
        None => Some(shape.no_bucket()),
    }
}

/// An event that the hot path rejected.
#[derive(Clone, Copy)]
struct Record<'a>(EventCounts<'a>);

impl SeriesUpdate<Buckets> for Record<'_> {
    #[inline(always)]
    fn quick<'a>(
        self,
        cells: &Buckets,
        at: (u64, Generation),
        family: impl FnOnce() -> &'a Family<Buckets>,
    ) -> bool {
        let (family, Self((added, value))) = (family(), self);
        let is_hot = || family.desc.hot;
        bucket(&family.shape, self.0).is_some_and(|bucket| {
            let event = (added, bucket, value.unwrap_or_default());
            cells.record_if_cold(observe::engine(), at, event, is_hot)
        })
    }

    #[inline(always)]
    fn slow(self, series: SeriesRef<'_, Buckets>) {
        record_cold(series, self.0);
    }
}

#[cold]
#[inline(never)]
fn record_cold(series: SeriesRef<'_, Buckets>, (added, value): EventCounts<'_>) {
    let family = series.family;
    let (shape, name) = (&family.shape, &family.desc.name);
    if added.len() != shape.counters {
        let (got, expected) = (added.len(), shape.counters);
        return family.reject(1, || {
            Error::other(format_args!(
                "an event of `{name}` has {got} counts for {expected} counters: `counts` has to \
                 return one for each counter of `METRICS`"
            ))
        });
    }
    let value = value.filter(|value| match family.check_value(*value) {
        Ok(()) => true,
        Err(rule) => {
            family.reject(1, || rule.error(name, *value));
            false
        }
    });
    let bucket = value.map_or(shape.no_bucket(), |value| shape.index.bucket(value));
    let value = value.unwrap_or_default();
    series.update(|cells, generation, hot| {
        observe::thread(|thread| {
            // The hot path does not take each value, so the series may be hot.
            let last = cells.slot_word().last(generation);
            if Buckets::record(thread, last, added, bucket, value) {
                return observe::Outcome::Done;
            }
            let event = (added, bucket, value);
            cells.record_cold(observe::engine(), thread, generation, event, hot)
        })
    });
}

impl<E: Event, L: LabelSet> Events<E, L> {
    /// Records an event in all its metrics.
    #[inline(always)]
    pub fn record(&self, event: E)
    where
        L: Unlabelled,
    {
        let declaration = &self.0.declaration;
        let counts = event.counts();
        let parts = (counts.as_ref(), event.observed());
        let last = declaration.slot_word.last(Generation::FIRST);
        if !record_hot(declaration.made(), last, parts) && !declaration.is_off() {
            record_cold(declaration.family().only(), parts);
            declaration.copy_slot_word();
        }
    }

    forward! { [where L: Unlabelled] this => this.0.only();
        /// Returns what was recorded so far, over all threads. Waits for a scrape that is running.
        #[must_use]
        fn get() -> Recorded;
    }

    forward! { [] this => this.0;
        /// Returns the series of a label set. Makes it if there is none; above the limit, returns
        /// the overflow series. See [`Counter::with`](crate::Counter::with).
        fn with(labels: L::Borrowed<'_>) -> Series<'_, Events<E>>;

        /// Returns the series of a label set for later use, for example in a field of a struct. See
        /// [`Counter::bind`](crate::Counter::bind).
        fn bind(labels: L::Borrowed<'_>) -> Bound<Events<E>>;

        /// Returns the series of a label set if it exists.
        #[must_use]
        fn find(labels: L::Borrowed<'_>) -> Option<Series<'_, Events<E>>>;

        /// Returns the labels and the value of every series.
        #[must_use]
        fn get_all() -> Vec<(Vec<(String, String)>, Recorded)>;

        /// Removes every series for whose labels `keep` returns `false`, and returns their number.
        fn retain(keep: impl FnMut(&[(&str, Cow<'_, str>)]) -> bool) -> usize;
    }

    /// Removes the series of a label set from all metrics. Returns `false` if there is none. See
    /// [`Counter::remove`](crate::Counter::remove).
    pub fn remove(&self, labels: L::Borrowed<'_>) -> bool {
        self.0.end(labels, true)
    }

    /// Retires the series of a label set: folds its totals into the overflow series. Returns
    /// `false` if there is none. See [`Counter::retire`](crate::Counter::retire).
    pub fn retire(&self, labels: L::Borrowed<'_>) -> bool {
        self.0.end(labels, false)
    }

    /// Removes every series. Those of closed label sets stay.
    pub fn clear(&self) {
        self.0.declaration.family().clear();
    }

    getters! {
        /// Returns the number of series, without the overflow series.
        fn len(&self) -> usize = self.0.declaration.family().len();

        /// Returns whether there are no series.
        fn is_empty(&self) -> bool = self.len() == 0;
    }
}

impl<E: Event> Series<'_, Events<E>> {
    /// Records an event in all its metrics.
    #[inline(always)]
    pub fn record(&self, event: E) {
        let counts = event.counts();
        let parts = (counts.as_ref(), event.observed());
        let (lazy_ref, last) = (&self.lazy_ref, self.lazy_ref.last());
        if !record_hot(lazy_ref.family(), last, parts) {
            lazy_ref.update(last, Record(parts));
        }
    }
}

impl<E: Event> Bound<Events<E>> {
    /// Records an event in all its metrics.
    #[inline(always)]
    pub fn record(&self, event: E) {
        self.last_found().record(event);
    }
}

impl<E: Event, L: LabelSet> Events<E, L> {
    #[track_caller]
    const fn of(labels: Names) -> Self {
        const { event::check(E::METRICS) };
        let mut desc = Desc::of_event(E::METRICS, labels, buckets::DEFAULT);
        desc.closed = ClosedSet::of::<L>();
        Self(MetricFamily::new(Declaration::new(desc)))
    }

    /// Declares the metrics in a `static`. With [`#[tallies::metric]`](macro@crate::metric) they
    /// are exported before the first event.
    #[track_caller]
    #[must_use]
    pub const fn new() -> Self
    where
        L: NamedLabels,
    {
        Self::of(L::NAMES)
    }

    setters! {
        /// For `#[tallies::metric]`, which knows the module.
        #[doc(hidden)]
        const fn __declared_in(self, module: &'static str) =
            self.0.declaration.desc.module = module;

        /// Sets labels that every series of all metrics has.
        const fn constant(self, labels: &'static [(&'static str, &'static str)]) =
            self.0.declaration.desc.constant.set(labels);

        /// Limits the number of label sets. Further ones count in one overflow series. The default
        /// is [`DEFAULT_LIMIT`](crate::label::DEFAULT_LIMIT).
        const fn limit(self, series: usize) = self.0.declaration.desc.limit = series;

        /// Retires every label set that has no event for this long. See
        /// [`Builder::expire_after`](crate::Builder::expire_after).
        const fn expire_after(self, idle: Duration) =
            self.0.declaration.desc.expire_after = Some(idle);

        /// Gives every series cells of its own in every thread from its first event on.
        const fn hot(self) = self.0.declaration.desc.hot = true;
    }
}

impl<E: Event, const LABELS: usize> Events<E, [&'static str; LABELS]> {
    /// Declares metrics with labels in a `static`, by label names instead of a type.
    #[track_caller]
    #[must_use]
    pub const fn labelled(labels: &'static [&'static str; LABELS]) -> Self {
        Self::of(Names::Fixed(labels))
    }
}

impl<E: Event> Events<E> {
    /// Starts to declare the metrics at run time.
    ///
    /// A prefix goes before all names; a unit that is set here has no effect.
    #[track_caller]
    pub fn builder() -> Builder<Self> {
        const { event::check(E::METRICS) };
        Builder::of(Desc::of_event(
            E::METRICS,
            Names::Fixed(&[]),
            buckets::DEFAULT,
        ))
    }
}

impl<E: Event, L: NamedLabels> Default for Events<E, L> {
    #[track_caller]
    fn default() -> Self {
        Self::new()
    }
}

debug!([E, L] Events<E, L> = "Events", "first": |this| this.0.declaration.desc.name);

metric!(
    @traits [E: Event, L: LabelSet] Events<E, L>,
    labelled: Events<E, X>, cells: Buckets, value: Recorded = recorded, {}
);

fn recorded(desc: &Desc, total: ObservedTotal) -> Recorded {
    let counts = total.counters.clone();
    let mut observed = total.rounded();
    observed.counts.pop();
    Recorded {
        observed: (counts.len() < desc.event.len()).then_some(observed),
        counts,
    }
}
