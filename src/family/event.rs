//! The metrics of an event: families of a registry whose series have their cells in one block.
//!
//! A label set of an event has one series, in a `Family<Buckets>` that no registry lists. A
//! registry lists one [`EventPart`] for each metric. The first one that a pass asks reads the
//! series of all, so that what a scrape shows of an event comes from one read.

use std::sync::{Arc, Mutex};

use crate::observe::{Buckets, Pass};
use crate::snapshot::{self, GaugeMode, Kind, MOST_METRICS, Meta, Text, Values};
use crate::sync::lock;

use super::desc::{Desc, Names};
use super::grammar::check_name;
use super::shape::{check_bounds, without_infinity};
use super::{AnyFamily, Family};

/// One metric of an [event](crate::event): a counter or a histogram, with its name and help text.
///
/// ```
/// use tallies::event::EventMetric;
///
/// const BYTES: EventMetric = EventMetric::counter("sent_bytes_total").help("Sent.").unit("bytes");
/// const TIME: EventMetric = EventMetric::histogram("send_duration_seconds").buckets(&[0.1, 1.0]);
/// # let _ = (BYTES, TIME);
/// ```
///
/// `#[derive(Event)]` makes them from the fields of a struct.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EventMetric {
    name: &'static str,
    help: &'static str,
    unit: &'static str,
    kind: Kind,
    bounds: &'static [f64],
}

impl EventMetric {
    const fn new(name: &'static str, kind: Kind, bounds: &'static [f64]) -> Self {
        if let Err(rule) = check_name(name.as_bytes()) {
            panic!("{}", rule.metric_text());
        }
        let (help, unit) = ("", "");
        Self {
            name,
            help,
            unit,
            kind,
            bounds,
        }
    }

    /// Describes a counter.
    ///
    /// # Panics
    ///
    /// If the name is invalid: a compile error in a `const`.
    #[must_use]
    pub const fn counter(name: &'static str) -> Self {
        Self::new(name, Kind::Counter, &[])
    }

    /// Describes a histogram with the buckets [`DEFAULT`](crate::buckets::DEFAULT).
    ///
    /// # Panics
    ///
    /// If the name is invalid: a compile error in a `const`.
    #[must_use]
    pub const fn histogram(name: &'static str) -> Self {
        Self::new(name, Kind::Histogram, &[])
    }

    tallies_names::setters! {
        /// Sets the help text.
        const fn help(self, help: &'static str) = self.help = help;

        /// Sets the unit, such as `seconds`. By convention the name ends in it.
        const fn unit(self, unit: &'static str) = self.unit = unit;
    }

    /// Sets the upper bounds of the buckets of a histogram, in ascending order.
    ///
    /// # Panics
    ///
    /// If the bounds do not ascend, or one of them is not finite (except a last `+Inf`): a compile
    /// error in a `const`.
    #[must_use]
    pub const fn buckets(mut self, bounds: &'static [f64]) -> Self {
        self.bounds = without_infinity(bounds);
        if let Err(rule) = check_bounds(self.bounds) {
            panic!("{}", rule.text());
        }
        self
    }

    const fn is_counter(&self) -> bool {
        matches!(self.kind, Kind::Counter)
    }

    /// Returns the number of its counter, behind these metrics; `None` for a histogram.
    fn number_of_counter(&self, before: &[Self]) -> Option<usize> {
        self.is_counter().then(|| counters(before))
    }

    /// Changes the description of an event to that of this metric.
    const fn describe(&self, mut desc: Desc) -> Desc {
        desc.help.set(self.help);
        desc.unit.set(self.unit);
        desc.kind = self.kind;
        if self.is_counter() {
            desc.bounds = &[];
        }
        desc
    }
}

/// Returns the number of counters among the metrics of an event.
#[inline]
pub(crate) const fn counters(metrics: &[EventMetric]) -> usize {
    let (mut counters, mut i) = (0, 0);
    while i < metrics.len() {
        counters += metrics[i].is_counter() as usize;
        i += 1;
    }
    counters
}

/// Checks the metrics of an event.
///
/// # Panics
///
/// If there is no metric, more than one histogram, or more than 256 metrics.
pub(crate) const fn check(metrics: &[EventMetric]) {
    assert!(!metrics.is_empty(), "an event needs at least one metric");
    assert!(
        metrics.len() <= MOST_METRICS,
        "an event has at most 256 metrics"
    );
    assert!(
        counters(metrics) + 1 >= metrics.len(),
        "an event has at most one histogram"
    );
}

impl Desc {
    /// Creates the description of an event with these metrics, which are [valid](check). The
    /// histogram has the bounds `default` if it has none of its own.
    #[track_caller]
    pub(crate) const fn of_event(
        metrics: &'static [EventMetric],
        labels: Names,
        default: &'static [f64],
    ) -> Self {
        let first = &metrics[0];
        let mut desc = first.describe(Self::new(first.name, Kind::Histogram, labels));
        desc.event = metrics;
        desc.counters = counters(metrics);
        let mut i = 0;
        while i < metrics.len() {
            if !metrics[i].is_counter() {
                let own = metrics[i].bounds;
                desc.bounds = if own.is_empty() { default } else { own };
            }
            i += 1;
        }
        desc
    }
}

/// The family of an event, and the series that the last pass read.
struct EventSeries {
    family: Arc<Family<Buckets>>,
    /// Locked by scrapes.
    read: Mutex<LastRead>,
    /// The descriptions of the metrics that other processes read. Locked by threads that register
    /// the metrics or drop them from a registry.
    shown: Mutex<Vec<Option<ShownMetric>>>,
}

/// The description of a metric, and the labels that its series lose when they are shown.
pub(super) type ShownMetric = (Meta, Box<[String]>);

/// The series of an event, as a pass has read them.
struct LastRead {
    /// The pass, by its number. 0: none.
    pass: u64,
    series: snapshot::Family,
}

/// One metric of an event, as a registry lists it.
pub(super) struct EventPart {
    event: Arc<EventSeries>,
    desc: Desc,
    /// Its number among the metrics of the event.
    number: usize,
    /// The number of its counter; `None` for the histogram.
    counter: Option<usize>,
}

impl EventSeries {
    /// Makes other processes read a metric under this description, or not at all.
    fn show(&self, number: usize, as_shown: Option<ShownMetric>) {
        let mut shown = lock(&self.shown);
        shown[number] = as_shown;
        let metrics = shown.iter().zip(self.family.desc.event).enumerate();
        let metrics = metrics.filter_map(|(i, (shown, metric))| {
            let counter = metric.number_of_counter(&self.family.desc.event[..i]);
            Some((shown.as_ref()?, counter))
        });
        self.family.publish_event(&metrics.collect::<Vec<_>>());
    }
}

/// Returns the families that a registry lists for this one: itself, or one for each metric of an
/// event. `viewed` applies the views of the registry to the description of a metric.
pub(crate) fn listed<F: AnyFamily + 'static>(
    family: Arc<F>,
    viewed: impl Fn(Desc) -> Desc,
) -> Vec<Arc<dyn AnyFamily>> {
    if family.desc().event.is_empty() {
        return vec![family];
    }
    let Ok(family) = family.as_any().downcast::<Family<Buckets>>() else {
        return Vec::new();
    };
    let own = family.desc.clone();
    let event = Arc::new(EventSeries {
        read: Mutex::new(LastRead {
            pass: 0,
            series: snapshot::Family::new(meta(&own), AnyFamily::values(&*family)),
        }),
        shown: Mutex::new(vec![None; own.event.len()]),
        family,
    });
    let listed = descriptions(&own).into_iter().enumerate().map(|(i, desc)| {
        let counter = own.event[i].number_of_counter(&own.event[..i]);
        let (event, desc) = (Arc::clone(&event), viewed(desc));
        Arc::new(EventPart {
            event,
            desc,
            number: i,
            counter,
        }) as _
    });
    listed.collect()
}

/// Returns a description for the series of an event as they are read.
pub(super) fn meta(desc: &Desc) -> Meta {
    Meta::new(
        &desc.name,
        "",
        Kind::Histogram,
        GaugeMode::of(Kind::Histogram),
    )
}

/// Returns the descriptions of the metrics of an event; of any other family its own. That of the
/// first one has the metrics, too: it stands for the event in a registry.
pub(crate) fn descriptions(desc: &Desc) -> Vec<Desc> {
    let Some(first) = desc.event.first() else {
        return vec![desc.clone()];
    };
    // A builder may have put a prefix before the name of the first one.
    let prefix = desc.name.strip_suffix(first.name).unwrap_or_default();
    let each = desc.event.iter().enumerate().map(|(i, metric)| {
        let mut own = metric.describe(desc.clone());
        if i > 0 {
            own.name = Text::from(&*format!("{prefix}{}", metric.name));
            own.event = &[];
        }
        own
    });
    each.collect()
}

impl EventPart {
    /// Returns the family that has the series.
    pub(super) fn family(&self) -> &Family<Buckets> {
        &self.event.family
    }
}

impl AnyFamily for EventPart {
    fn has_own_cells(&self) -> bool {
        true
    }

    fn desc(&self) -> &Desc {
        &self.desc
    }

    fn values(&self) -> Values {
        match self.counter {
            Some(_) => Values::of(Kind::Counter),
            None => AnyFamily::values(self.family()),
        }
    }

    fn write(&self, pass: &mut Pass<'_>, out: &mut snapshot::Family) {
        let mut read = lock(&self.event.read);
        if read.pass != pass.number() {
            self.event.family.write(pass, &mut read.series);
            read.pass = pass.number();
        }
        let series = &read.series;
        out.begin(series.len());
        out.texts.clone_from(&series.texts);
        out.removed.clone_from(&series.removed);
        if let Values::Histogram(all) = &series.values {
            all.copy_metric(self.counter, &mut out.values);
        }
    }

    fn unusual_updates(&self) -> (u64, u64) {
        let (rejected, overflowed) = AnyFamily::unusual_updates(self.family());
        let has_histogram = self.family().shape.counters < self.family().desc.event.len();
        let rejects = self.counter.is_none() || (!has_histogram && self.number == 0);
        (if rejects { rejected } else { 0 }, overflowed)
    }

    fn skip(&self, pass: &mut Pass<'_>) {
        AnyFamily::skip(self.family(), pass);
    }

    fn label_texts(&self, each: &mut dyn FnMut(&str)) {
        AnyFamily::label_texts(self.family(), each);
    }

    fn limit(&self) -> Option<usize> {
        AnyFamily::limit(self.family())
    }

    fn start_over(&self, pass: &Pass<'_>) {
        AnyFamily::start_over(self.family(), pass);
    }

    fn publish(&self, meta: &Meta) {
        let view = self.desc.view.as_deref();
        let combined = view.and_then(|view| view.combined.as_ref());
        let dropped = combined.map(|(names, _)| names.clone()).unwrap_or_default();
        self.event.show(self.number, Some((meta.clone(), dropped)));
    }

    fn unpublish(&self) {
        self.event.show(self.number, None);
    }

    fn as_any(self: Arc<Self>) -> Arc<dyn std::any::Any + Send + Sync> {
        if self.desc.event.is_empty() {
            self
        } else {
            Arc::clone(&self.event.family) as _
        }
    }
}
