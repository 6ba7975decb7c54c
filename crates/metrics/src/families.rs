//! The families behind the names of the facade. The first series of a name creates its family and
//! fixes its kind; a description may come before or after that.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use metrics::{Key, Unit};
use tallies::label::AnyLabels;
use tallies::snapshot::Kind;
use tallies::{Bound, Counter, Description, Error, Gauge, Histogram, Metric, Summary};

use crate::builder::{Builder, first_match};
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
}

impl FamilyHandle {
    /// Returns whether the family is for macros of this kind. Those of histograms make summaries,
    /// too.
    fn is(&self, kind: Kind) -> bool {
        self.kind() == kind || matches!((self, kind), (Self::Summary(_), Kind::Histogram))
    }

    fn kind(&self) -> Kind {
        match self {
            Self::Counter(_) => Kind::Counter,
            Self::Gauge(_) => Kind::Gauge,
            Self::Histogram(_) => Kind::Histogram,
            Self::Summary(_) => Kind::Summary,
        }
    }

    /// Returns the exposed name.
    fn name(&self) -> &str {
        match self {
            Self::Counter(family) => family.name(),
            Self::Gauge(family) => family.name(),
            Self::Histogram(family) => family.name(),
            Self::Summary(family) => family.name(),
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
        let Some(FamilyHandle::Counter(family)) = self.family(key, Kind::Counter) else {
            return (metrics::Counter::noop(), self.knows(key));
        };
        let (series, is_cacheable) = bind(key, None, |labels| family.bind(labels));
        let own = !series.is_overflow();
        // All keys beyond the limit share the overflow series, and also one total for `absolute`,
        // so that made-up labels take no memory.
        let key = match own {
            true => key.to_retained(),
            false => Key::from_name(key.name().to_owned()),
        };
        let handle = CounterHandle {
            series,
            key,
            own,
            families: Arc::clone(self),
            largest: OnceLock::new(),
        };
        (Arc::new(handle).into(), is_cacheable)
    }

    /// The same for a gauge.
    pub(super) fn gauge(&self, key: &Key) -> (metrics::Gauge, bool) {
        let Some(FamilyHandle::Gauge(family)) = self.family(key, Kind::Gauge) else {
            return (metrics::Gauge::noop(), self.knows(key));
        };
        let (series, is_cacheable) = bind(key, None, |labels| family.bind(labels));
        (Arc::new(GaugeHandle(series)).into(), is_cacheable)
    }

    /// The same for a histogram or a summary.
    pub(super) fn histogram(&self, key: &Key) -> (metrics::Histogram, bool) {
        match self.family(key, Kind::Histogram) {
            Some(FamilyHandle::Histogram(family)) => {
                let (series, is_cacheable) = bind(key, Some("le"), |labels| family.bind(labels));
                (Arc::new(HistogramHandle(series)).into(), is_cacheable)
            }
            Some(FamilyHandle::Summary(family)) => {
                let reserved = Some("quantile");
                let (series, is_cacheable) = bind(key, reserved, |labels| family.bind(labels));
                (Arc::new(SummaryHandle(series)).into(), is_cacheable)
            }
            _ => (metrics::Histogram::noop(), self.knows(key)),
        }
    }

    /// Returns the state of a name, or `None` if it is beyond the limit of names.
    fn state<'a>(
        &self,
        names: &'a mut HashMap<String, NameState>,
        name: &str,
    ) -> Option<&'a mut NameState> {
        let is_beyond = names.len() >= self.settings.names && !names.contains_key(name);
        (!is_beyond).then(|| names.entry(name.to_owned()).or_default())
    }

    /// Sets the help text and the unit of a name. The first description of a name stays.
    pub(super) fn describe(&self, name: &str, unit: Option<Unit>, help: &str) {
        if help.is_empty() && unit.is_none() {
            return;
        }
        let name = names::metric_name(name);
        let mut names = lock(&self.names);
        let is_new = |known: &&mut NameState| known.help.is_empty() && known.unit.is_none();
        let Some(known) = self.state(&mut names, &name).filter(is_new) else {
            return;
        };
        known.help = help.to_owned();
        known.unit = unit;
        let Some((family, exposed)) = &mut known.family else {
            return;
        };
        let now = self.exposed(&name, unit, family.is(Kind::Counter));
        let unit = names::unit_of(&now, unit);
        let description = Description {
            name: &now,
            help,
            unit: &unit,
        };
        match self.settings.registry.describe(exposed, description) {
            Ok(now) => *exposed = now,
            Err(error) => {
                // The logger may count its lines through this recorder.
                drop(names);
                error.log_once();
            }
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

    /// Returns the family of a name, creating it on first use. Returns `None` if the name has
    /// another kind, cannot be registered, or is beyond the limit of names.
    fn family(&self, key: &Key, kind: Kind) -> Option<FamilyHandle> {
        let name = names::metric_name(key.name());
        let is_made = |known: &NameState| known.family.is_some();
        if !lock(&self.names).get(&name).is_some_and(is_made) {
            // Registers the statics of the program, which may log, before the lock is held.
            let _ = self.settings.registry.contains(&name);
        }
        let mut names = lock(&self.names);
        let Some(known) = self.state(&mut names, &name) else {
            // The logger may count its lines through this recorder.
            drop(names);
            if !self.full.swap(true, Relaxed) {
                let limit = self.settings.names;
                Error::new(format!(
                    "the recorder has reached its limit of {limit} names; updates of further \
                     names are dropped; move what varies into labels, or raise the limit with \
                     `.limit_names(..)`"
                ))
                .log_once();
            }
            self.settings.registry.count_rejected();
            return None;
        };
        let refusal = match &known.family {
            Some((family, _)) if family.is(kind) => return Some(family.clone()),
            _ if known.warned => return None,
            Some((family, exposed)) => {
                let used = format!("family `{exposed}` was first used as a {}", family.kind());
                Error::new(format!("{used}; a {kind} needs another name"))
            }
            None => match self.make(&name, known, kind) {
                Ok(family) => {
                    known.family = Some((family.clone(), family.name().to_owned()));
                    return Some(family);
                }
                Err(error) => error,
            },
        };
        known.warned = true;
        // As above.
        drop(names);
        self.settings.registry.count_rejected();
        refusal.log_once();
        None
    }

    /// Registers the family of a name.
    fn make(&self, name: &str, known: &NameState, kind: Kind) -> Result<FamilyHandle, Error> {
        let settings = &self.settings;
        let exposed = &*self.exposed(name, known.unit, kind == Kind::Counter);
        let unit = &*names::unit_of(exposed, known.unit);
        let help = &*known.help;
        let bounds = first_match(&settings.buckets_for, name).or(settings.buckets.as_ref());
        let native = first_match(&settings.native_for, name);
        Ok(match kind {
            Kind::Counter => {
                let builder = Counter::builder(exposed, help).label_set::<AnyLabels>();
                FamilyHandle::Counter(self.register(builder, unit)?)
            }
            Kind::Gauge => {
                let builder = Gauge::builder(exposed, help).label_set::<AnyLabels>();
                FamilyHandle::Gauge(self.register(builder, unit)?)
            }
            Kind::Histogram if bounds.is_some() || native.is_some() => {
                let mut builder = Histogram::builder(exposed, help).label_set::<AnyLabels>();
                if let Some(bounds) = bounds {
                    builder = builder.buckets(bounds);
                }
                if let Some(schema) = native {
                    builder = builder.native(*schema);
                }
                FamilyHandle::Histogram(self.register(builder, unit)?)
            }
            _ => {
                let builder = Summary::builder(exposed, help)
                    .label_set::<AnyLabels>()
                    .objectives(&settings.objectives)?
                    .max_age(settings.window.0)
                    .ages(settings.window.1);
                FamilyHandle::Summary(self.register(builder, unit)?)
            }
        })
    }

    /// Applies the settings that all kinds share, and registers a family.
    fn register<M: Metric>(&self, builder: tallies::Builder<M>, unit: &str) -> Result<M, Error> {
        // Other crates chose these names.
        let mut builder = builder.unit(unit).limit(self.settings.limit).lint(false);
        builder = builder.__declared_at(self.settings.made_at);
        for (name, value) in &self.settings.labels {
            builder = builder.constant(name, value);
        }
        if let Some(idle) = self.settings.expire_after {
            builder = builder.expire_after(idle);
        }
        // Another recorder may already have registered the family.
        builder.get_or_register(&self.settings.registry)
    }
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

/// Returns the series of a key, which `in_family` binds, and whether threads may cache its handle.
/// A handle of the overflow series is not cached. `reserved` is the label name that expositions of
/// this kind use themselves.
fn bind<M: Metric>(
    key: &Key,
    reserved: Option<&str>,
    in_family: impl FnOnce(&[(&str, &str)]) -> Bound<M>,
) -> (Bound<M>, bool) {
    let labels = sanitized_labels(key, reserved);
    let labels = labels.iter().map(|(name, value)| (&**name, &**value));
    let series = in_family(&labels.collect::<Vec<_>>());
    let is_cacheable = !series.is_overflow() && is_bounded(key);
    (series, is_cacheable)
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
