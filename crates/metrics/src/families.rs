//! The families behind the names of the facade. The first series of a name creates its family and
//! fixes its kind; a description may come before or after that.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use metrics::{Key, Unit};
use tallies::label::AnyLabels;
use tallies::{Counter, Description, Error, Gauge, Histogram, Summary, snapshot};

use crate::builder::Builder;
use crate::handles::{CounterHandle, GaugeHandle, HistogramHandle, SummaryHandle};
use crate::names;

/// The state of a recorder, shared by all threads that miss their cache.
pub(super) struct FamilyTable {
    settings: Builder,
    /// All names so far, sanitized. Written and read by descriptions and cache misses.
    names: Mutex<HashMap<String, NameState>>,
    /// The largest total that `absolute` has received, per series. An entry is added by the first
    /// `absolute` of a series, and shared with its handles.
    totals: Mutex<HashMap<Total, Arc<AtomicU64>>>,
    /// Whether reaching the limit of names has been logged. Set by a cache miss.
    full: AtomicBool,
}

/// The most bytes of a label value. Longer ones, which often are texts of clients, are cut off.
const VALUE: usize = 1024;

/// A label: its name and value.
type Label = (String, String);

/// The key of a total: a name, and sorted labels. The overflow series of the name has no labels.
type Total = (String, Option<Vec<Label>>);

/// The state of a sanitized name.
#[derive(Default)]
struct NameState {
    help: String,
    unit: Option<Unit>,
    /// The family and its exposed name. Set when the name gets its first series.
    family: Option<(FamilyHandle, String)>,
    /// Whether a rejection of this name has been logged.
    warned: bool,
}

#[derive(Clone)]
enum FamilyHandle {
    Counter(Counter<AnyLabels>),
    Gauge(Gauge<AnyLabels>),
    Histogram(Histogram<AnyLabels>),
    Summary(Summary<AnyLabels>),
    Refused,
}

/// The kind of metric that a macro uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Counter,
    Gauge,
    Histogram,
}

impl Kind {
    /// Returns the kind of a family, for error messages.
    fn of_family(self) -> snapshot::Kind {
        match self {
            Self::Counter => snapshot::Kind::Counter,
            Self::Gauge => snapshot::Kind::Gauge,
            Self::Histogram => snapshot::Kind::Histogram,
        }
    }
}

impl FamilyHandle {
    /// Returns whether the family has this kind.
    fn is(&self, kind: Kind) -> bool {
        match self {
            Self::Counter(_) => kind == Kind::Counter,
            Self::Gauge(_) => kind == Kind::Gauge,
            Self::Histogram(_) | Self::Summary(_) => kind == Kind::Histogram,
            Self::Refused => false,
        }
    }

    /// Returns the kind of the family, for error messages.
    fn kind(&self) -> snapshot::Kind {
        match self {
            Self::Counter(_) => snapshot::Kind::Counter,
            Self::Gauge(_) => snapshot::Kind::Gauge,
            Self::Histogram(_) => snapshot::Kind::Histogram,
            Self::Summary(_) => snapshot::Kind::Summary,
            Self::Refused => snapshot::Kind::Unknown,
        }
    }

    /// Returns the label name that expositions of this kind use themselves.
    fn reserved(&self) -> Option<&'static str> {
        match self {
            Self::Histogram(_) => Some("le"),
            Self::Summary(_) => Some("quantile"),
            _ => None,
        }
    }
}

impl FamilyTable {
    pub(super) fn new(settings: Builder) -> Self {
        Self {
            settings,
            names: Mutex::default(),
            totals: Mutex::default(),
            full: AtomicBool::new(false),
        }
    }

    /// Returns whether the name is in the table. The number of such names is bounded, so threads
    /// may cache even a handle that does nothing.
    fn knows(&self, key: &Key) -> bool {
        lock(&self.names).contains_key(&names::metric_name(key.name()))
    }

    /// Returns a handle, and whether threads may cache it. A handle of the overflow series is not
    /// cached.
    pub(super) fn counter(self: &Arc<Self>, key: &Key) -> (metrics::Counter, bool) {
        match self.family(key, Kind::Counter) {
            FamilyHandle::Counter(family) => {
                let series = with_labels(key, None, |labels| family.bind(labels));
                let own = !series.is_overflow();
                // All keys beyond the limit share the overflow series, and also one total for
                // `absolute`, so that made-up labels take no memory.
                let series_key = if own {
                    key.to_retained()
                } else {
                    Key::from_name(key.name().to_owned())
                };
                let handle = CounterHandle::new(series, series_key, own, self);
                let handle = metrics::Counter::from_arc(Arc::new(handle));
                (handle, own && is_bounded(key))
            }
            _ => (metrics::Counter::noop(), self.knows(key)),
        }
    }

    /// Returns a handle, and whether threads may cache it. A handle of the overflow series is not
    /// cached.
    pub(super) fn gauge(&self, key: &Key) -> (metrics::Gauge, bool) {
        match self.family(key, Kind::Gauge) {
            FamilyHandle::Gauge(family) => {
                let series = with_labels(key, None, |labels| family.bind(labels));
                let own = !series.is_overflow();
                let handle = metrics::Gauge::from_arc(Arc::new(GaugeHandle(series)));
                (handle, own && is_bounded(key))
            }
            _ => (metrics::Gauge::noop(), self.knows(key)),
        }
    }

    /// Returns a handle, and whether threads may cache it. A handle of the overflow series is not
    /// cached.
    pub(super) fn histogram(&self, key: &Key) -> (metrics::Histogram, bool) {
        let family = self.family(key, Kind::Histogram);
        let reserved = family.reserved();
        match &family {
            FamilyHandle::Histogram(family) => {
                let series = with_labels(key, reserved, |labels| family.bind(labels));
                let own = !series.is_overflow();
                let handle = HistogramHandle(series);
                let handle = metrics::Histogram::from_arc(Arc::new(handle));
                (handle, own && is_bounded(key))
            }
            FamilyHandle::Summary(family) => {
                let series = with_labels(key, reserved, |labels| family.bind(labels));
                let own = !series.is_overflow();
                let handle = SummaryHandle(series);
                let handle = metrics::Histogram::from_arc(Arc::new(handle));
                (handle, own && is_bounded(key))
            }
            _ => (metrics::Histogram::noop(), self.knows(key)),
        }
    }

    /// Sets the help text and the unit of a name. The first description of a name stays.
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
            Entry::Vacant(entry) => entry.insert(NameState::default()),
        };
        if !known.help.is_empty() || known.unit.is_some() {
            return;
        }
        known.help = help.to_owned();
        known.unit = unit;
        let Some((family, exposed)) = &mut known.family else {
            return;
        };
        let now = self.exposed(&name, unit, family.is(Kind::Counter));
        let unit = names::unit_of(&now, unit);
        let name = &now;
        let description = Description {
            name,
            help,
            unit: &unit,
        };
        match self.settings.registry.describe(exposed, description) {
            Ok(now) => *exposed = now,
            Err(error) => error.log_once(),
        }
    }

    /// Returns the largest total that `absolute` has received: for the key's own series, or for the
    /// overflow series if `own` is false.
    pub(super) fn largest_of(&self, key: &Key, own: bool) -> Arc<AtomicU64> {
        let labels = own.then(|| sanitized_labels(key, None));
        let total = (names::metric_name(key.name()), labels);
        Arc::clone(lock(&self.totals).entry(total).or_default())
    }

    /// Returns the name under which a metric is exposed.
    fn exposed(&self, name: &str, unit: Option<Unit>, counter: bool) -> String {
        if self.settings.recommended_naming {
            names::recommended(name, unit, counter)
        } else {
            name.to_owned()
        }
    }

    /// Returns the family of a name, creating it on first use. Returns [`FamilyHandle::Refused`] if
    /// the name has another kind, cannot be registered, or is beyond the limit of names.
    fn family(&self, key: &Key, kind: Kind) -> FamilyHandle {
        let name = names::metric_name(key.name());
        let mut names = lock(&self.names);
        if names.len() >= self.settings.names && !names.contains_key(&name) {
            if !self.full.swap(true, Relaxed) {
                too_many_names(self.settings.names).log_once();
            }
            self.settings.registry.count_rejected();
            return FamilyHandle::Refused;
        }
        let known = match names.entry(name.clone()) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => entry.insert(NameState::default()),
        };
        if let Some((family, exposed)) = &known.family {
            if family.is(kind) {
                return family.clone();
            }
            if !known.warned {
                known.warned = true;
                self.settings.registry.count_rejected();
                used(exposed, family.kind(), kind.of_family()).log_once();
            }
            return FamilyHandle::Refused;
        }
        let exposed = self.exposed(&name, known.unit, kind == Kind::Counter);
        let unit = names::unit_of(&exposed, known.unit);
        let family = self
            .make(&name, &exposed, &known.help, &unit, kind)
            .unwrap_or_else(|error| {
                known.warned = true;
                self.settings.registry.count_rejected();
                error.log_once();
                FamilyHandle::Refused
            });
        let exposed = match &family {
            FamilyHandle::Counter(family) => family.name(),
            FamilyHandle::Gauge(family) => family.name(),
            FamilyHandle::Histogram(family) => family.name(),
            FamilyHandle::Summary(family) => family.name(),
            FamilyHandle::Refused => "",
        };
        known.family = Some((family.clone(), exposed.to_owned()));
        family
    }

    fn make(
        &self,
        name: &str,
        exposed: &str,
        help: &str,
        unit: &str,
        kind: Kind,
    ) -> Result<FamilyHandle, Error> {
        /// Applies the settings that all kinds share, and registers the family.
        macro_rules! register {
            ($builder:expr) => {{
                // Other crates chose these names.
                let mut builder = $builder.unit(unit).limit(self.settings.limit).lint(false);
                for (name, value) in &self.settings.labels {
                    builder = builder.constant(name, value);
                }
                if let Some(idle) = self.settings.expire_after {
                    builder = builder.expire_after(idle);
                }
                // Another recorder may already have registered the family.
                builder.get_or_register(&self.settings.registry)
            }};
        }
        let (bounds, native) = (
            self.settings.buckets_of(name),
            self.settings.native_of(name),
        );
        Ok(match kind {
            Kind::Counter => FamilyHandle::Counter(register!(
                Counter::builder(exposed, help).label_set::<AnyLabels>()
            )?),
            Kind::Gauge => FamilyHandle::Gauge(register!(
                Gauge::builder(exposed, help).label_set::<AnyLabels>()
            )?),
            Kind::Histogram if bounds.is_some() || native.is_some() => {
                let mut builder = Histogram::builder(exposed, help).label_set::<AnyLabels>();
                if let Some(bounds) = bounds {
                    builder = builder.buckets(bounds);
                }
                if let Some(schema) = native {
                    builder = builder.native(schema);
                }
                FamilyHandle::Histogram(register!(builder)?)
            }
            Kind::Histogram => {
                let builder = Summary::builder(exposed, help)
                    .label_set::<AnyLabels>()
                    .objectives(&self.settings.objectives)?
                    .max_age(self.settings.window.0)
                    .ages(self.settings.window.1);
                FamilyHandle::Summary(register!(builder)?)
            }
        })
    }
}

fn too_many_names(limit: usize) -> Error {
    Error::new(format!(
        "the recorder has reached its limit of {limit} names; updates of further names are dropped; \
         move what varies into labels, or raise the limit with `.limit_names(..)`"
    ))
}

fn used(name: &str, first: snapshot::Kind, new: snapshot::Kind) -> Error {
    Error::new(format!(
        "family `{name}` was first used as a {first}; a {new} needs another name"
    ))
}

/// Returns the sanitized labels of a key, sorted by name. If a name occurs twice, the last value
/// counts.
fn sanitized_labels(key: &Key, reserved: Option<&str>) -> Vec<Label> {
    let mut labels: Vec<Label> = Vec::with_capacity(key.labels().len());
    for label in key.labels() {
        let name = names::label_name(label.key(), reserved);
        let value = bounded(label.value()).to_owned();
        match labels.iter_mut().find(|(other, _)| *other == name) {
            Some(pair) => pair.1 = value,
            None => labels.push((name, value)),
        }
    }
    labels.sort_unstable();
    labels
}

/// Returns the value, or the beginning of a long one.
fn bounded(value: &str) -> &str {
    let mut end = value.len().min(VALUE);
    while !value.is_char_boundary(end) {
        end -= 1;
    }
    &value[..end]
}

/// Returns whether a cache may have the key: its values are short.
fn is_bounded(key: &Key) -> bool {
    key.labels().all(|label| label.value().len() <= VALUE)
}

/// Calls `f` with the sanitized labels of a key.
fn with_labels<R>(key: &Key, reserved: Option<&str>, f: impl FnOnce(&[(&str, &str)]) -> R) -> R {
    let labels = sanitized_labels(key, reserved);
    let borrowed: Vec<(&str, &str)> = labels
        .iter()
        .map(|(name, value)| (&**name, &**value))
        .collect();
    f(&borrowed)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use metrics::Label;

    use super::*;

    #[test]
    fn long_label_values_are_cut_off_and_not_cached() {
        let key = |value: String| Key::from_parts("a", vec![Label::new("path", value)]);
        let long = key(format!("x{}", "é".repeat(VALUE)));
        let labels = sanitized_labels(&long, None);
        assert_eq!(labels[0].1.len(), VALUE - 1, "no half of a character");
        assert!(!is_bounded(&long));
        let short = key("x".repeat(VALUE));
        assert_eq!(sanitized_labels(&short, None)[0].1.len(), VALUE);
        assert!(is_bounded(&short));
    }
}
