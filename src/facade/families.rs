//! From a name of the facade to a family: made with its first series, described before or after, and of one kind for ever.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use metrics::{Key, Unit};

use crate::declare::{Counter, Gauge, Histogram, Summary};
use crate::error::{Error, warn};
use crate::family::label::AnyLabels;
use crate::registry::REFUSED;
use crate::snapshot::Text;

use super::builder::Builder;
use super::handles::{CounterHandle, GaugeHandle, HistogramHandle, SummaryHandle};
use super::names;

/// What a recorder has seen.
pub(super) struct Families {
    settings: Builder,
    names: Mutex<HashMap<String, Name>>,
    /// Per series the largest total that `absolute` was told of.
    totals: Mutex<HashMap<Total, Arc<AtomicU64>>>,
    /// Whether the limit of names was reached, which is said once.
    full: AtomicBool,
}

/// A label: name and value.
type Pair = (String, String);

/// A name, and labels in order; without, of all that is beyond the limit.
type Total = (String, Option<Vec<Pair>>);

/// A name, sanitised.
#[derive(Default)]
struct Name {
    help: String,
    unit: Option<Unit>,
    /// Once it has a series.
    family: Option<(Family, Text)>,
    /// Whether it was said that it cannot be what somebody wants it to be.
    said: bool,
}

#[derive(Clone)]
enum Family {
    Counter(Counter<AnyLabels>),
    Gauge(Gauge<AnyLabels>),
    Histogram(Histogram<AnyLabels>),
    Summary(Summary<AnyLabels>),
    Refused,
}

/// What a macro asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    Counter,
    Gauge,
    Histogram,
}

impl Family {
    fn is(&self, wanted: Wanted) -> bool {
        match self {
            Self::Counter(_) => wanted == Wanted::Counter,
            Self::Gauge(_) => wanted == Wanted::Gauge,
            Self::Histogram(_) | Self::Summary(_) => wanted == Wanted::Histogram,
            Self::Refused => false,
        }
    }

    /// The label that a format of this kind needs for itself.
    fn reserved(&self) -> Option<&'static str> {
        match self {
            Self::Histogram(_) => Some("le"),
            Self::Summary(_) => Some("quantile"),
            _ => None,
        }
    }
}

impl Families {
    pub(super) fn new(settings: Builder) -> Self {
        Self {
            settings,
            names: Mutex::default(),
            totals: Mutex::default(),
            full: AtomicBool::new(false),
        }
    }

    /// Whether a name is one of those that are remembered, and so one of a bounded number.
    fn knows(&self, key: &Key) -> bool {
        lock(&self.names).contains_key(&names::metric_name(key.name()))
    }

    /// A handle, and whether to remember it: not where the family is full.
    pub(super) fn counter(self: &Arc<Self>, key: &Key) -> (metrics::Counter, bool) {
        match self.family(key, Wanted::Counter) {
            Family::Counter(family) => {
                let series = with(key, None, |labels| family.bind(labels));
                let own = series.has_own();
                // Beyond the limit the series is one of many, and so is what `absolute` keeps of it: made-up labels cost
                // no memory.
                let key = if own {
                    key.to_retained()
                } else {
                    Key::from_name(key.name().to_owned())
                };
                let handle = CounterHandle::new(series, key, own, self);
                (metrics::Counter::from_arc(Arc::new(handle)), own)
            }
            _ => (metrics::Counter::noop(), self.knows(key)),
        }
    }

    /// A handle, and whether to remember it: not where the family is full.
    pub(super) fn gauge(&self, key: &Key) -> (metrics::Gauge, bool) {
        match self.family(key, Wanted::Gauge) {
            Family::Gauge(family) => {
                let series = with(key, None, |labels| family.bind(labels));
                let own = series.has_own();
                (metrics::Gauge::from_arc(Arc::new(GaugeHandle(series))), own)
            }
            _ => (metrics::Gauge::noop(), self.knows(key)),
        }
    }

    /// A handle, and whether to remember it: not where the family is full.
    pub(super) fn histogram(&self, key: &Key) -> (metrics::Histogram, bool) {
        let family = self.family(key, Wanted::Histogram);
        let reserved = family.reserved();
        match &family {
            Family::Histogram(family) => {
                let series = with(key, reserved, |labels| family.bind(labels));
                let own = series.has_own();
                let handle = HistogramHandle(series);
                (metrics::Histogram::from_arc(Arc::new(handle)), own)
            }
            Family::Summary(family) => {
                let series = with(key, reserved, |labels| family.bind(labels));
                let own = series.has_own();
                let handle = SummaryHandle(series);
                (metrics::Histogram::from_arc(Arc::new(handle)), own)
            }
            _ => (metrics::Histogram::noop(), self.knows(key)),
        }
    }

    /// The help text and the unit of a name; what was said first stays.
    pub(super) fn describe(&self, name: &str, unit: Option<Unit>, help: &str) {
        if help.is_empty() && unit.is_none() {
            return;
        }
        let name = names::metric_name(name);
        let mut names = lock(&self.names);
        if names.len() >= self.settings.names && !names.contains_key(&name) {
            return;
        }
        let known = match names.entry(name.clone()) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => entry.insert(Name::default()),
        };
        if !known.help.is_empty() || known.unit.is_some() {
            return;
        }
        known.help = help.to_owned();
        known.unit = unit;
        let Some((family, exposed)) = &mut known.family else {
            return;
        };
        let now = self.exposed(&name, unit, family.is(Wanted::Counter));
        let unit = names::unit_of(&now, unit);
        match self
            .settings
            .registry
            .families()
            .describe(exposed, &now, help, &unit)
        {
            Ok(now) => *exposed = now,
            Err(error) => warn(&error),
        }
    }

    /// Where `absolute` keeps its largest total: of a series of its `own`, or of all that have none.
    pub(super) fn largest_of(&self, key: &Key, own: bool) -> Arc<AtomicU64> {
        let labels = own.then(|| pairs(key, None));
        let total = (names::metric_name(key.name()), labels);
        Arc::clone(lock(&self.totals).entry(total).or_default())
    }

    fn exposed(&self, name: &str, unit: Option<Unit>, counter: bool) -> String {
        if self.settings.recommended_naming {
            names::recommended(name, unit, counter)
        } else {
            name.to_owned()
        }
    }

    fn family(&self, key: &Key, wanted: Wanted) -> Family {
        let name = names::metric_name(key.name());
        let mut names = lock(&self.names);
        if names.len() >= self.settings.names && !names.contains_key(&name) {
            if !self.full.swap(true, Relaxed) {
                warn(&Error::too_many_names(self.settings.names));
            }
            REFUSED.fetch_add(1, Relaxed);
            return Family::Refused;
        }
        let known = match names.entry(name.clone()) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => entry.insert(Name::default()),
        };
        if let Some((family, exposed)) = &known.family {
            if family.is(wanted) {
                return family.clone();
            }
            if !known.said {
                known.said = true;
                REFUSED.fetch_add(1, Relaxed);
                warn(&Error::other_type(exposed, None));
            }
            return Family::Refused;
        }
        let exposed = self.exposed(&name, known.unit, wanted == Wanted::Counter);
        let unit = names::unit_of(&exposed, known.unit);
        let family = self
            .make(&name, &exposed, &known.help, &unit, wanted)
            .unwrap_or_else(|error| {
                known.said = true;
                REFUSED.fetch_add(1, Relaxed);
                warn(&error);
                Family::Refused
            });
        let exposed = match &family {
            Family::Counter(family) => family.name(),
            Family::Gauge(family) => family.name(),
            Family::Histogram(family) => family.name(),
            Family::Summary(family) => family.name(),
            Family::Refused => "",
        };
        known.family = Some((family.clone(), Text::shared(exposed)));
        family
    }

    fn make(
        &self,
        name: &str,
        exposed: &str,
        help: &str,
        unit: &str,
        wanted: Wanted,
    ) -> Result<Family, Error> {
        /// What all kinds have in common.
        macro_rules! common {
            ($builder:expr) => {{
                let mut builder = $builder.unit(unit).limit(self.settings.limit);
                for (name, value) in &self.settings.labels {
                    builder = builder.constant(name, value);
                }
                if let Some(idle) = self.settings.expire_after {
                    builder = builder.expire_after(idle);
                }
                // Another recorder may have been here before.
                builder.get_or_register(&self.settings.registry)
            }};
        }
        let (bounds, native) = (
            self.settings.buckets_of(name),
            self.settings.native_of(name),
        );
        Ok(match wanted {
            Wanted::Counter => {
                Family::Counter(common!(Counter::<AnyLabels>::builder(exposed, help))?)
            }
            Wanted::Gauge => Family::Gauge(common!(Gauge::<AnyLabels>::builder(exposed, help))?),
            Wanted::Histogram if bounds.is_some() || native.is_some() => {
                let mut builder = Histogram::<AnyLabels>::builder(exposed, help);
                if let Some(bounds) = bounds {
                    builder = builder.buckets(bounds);
                }
                if let Some(schema) = native {
                    builder = builder.native(schema);
                }
                Family::Histogram(common!(builder)?)
            }
            Wanted::Histogram => {
                let builder = Summary::<AnyLabels>::builder(exposed, help)
                    .objectives(&self.settings.objectives)?
                    .max_age(self.settings.window.0)
                    .ages(self.settings.window.1);
                Family::Summary(common!(builder)?)
            }
        })
    }
}

/// The labels of a key by their names, sanitised; of one name the last value counts.
fn pairs(key: &Key, reserved: Option<&str>) -> Vec<Pair> {
    let mut pairs: Vec<Pair> = Vec::with_capacity(key.labels().len());
    for label in key.labels() {
        let name = names::label_name(label.key(), reserved);
        let value = label.value().to_owned();
        match pairs.iter_mut().find(|(other, _)| *other == name) {
            Some(there) => there.1 = value,
            None => pairs.push((name, value)),
        }
    }
    pairs.sort_unstable();
    pairs
}

fn with<R>(key: &Key, reserved: Option<&str>, f: impl FnOnce(&[(&str, &str)]) -> R) -> R {
    let pairs = pairs(key, reserved);
    let borrowed: Vec<(&str, &str)> = pairs
        .iter()
        .map(|(name, value)| (&**name, &**value))
        .collect();
    f(&borrowed)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
