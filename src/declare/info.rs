//! Infos and state sets: labels that describe the program, and the current one of several states.

use std::marker::PhantomData;
use std::panic::Location;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use crate::error::{Error, NameRule, Subject};
use crate::lockfree::Run;
use crate::observe::{GaugeCell, Pass};
use crate::snapshot::{self, Kind, Page, Text, Values, labels};

use super::declaration::Declaration;
use super::{Builder, metric, with_builder};
use crate::family::desc::{Desc, Names};
use crate::family::grammar::check_label;
use crate::family::label::{LabelSet, LabelValue};
use crate::family::published::{self, FamilyRecords, Records};
use crate::family::{AnyFamily, CellKind};
use crate::registry::{self, Listed, Registry};

/// Labels that describe the program, such as its version. The value is always 1.
///
/// ```
/// use tallies::Info;
///
/// /// The version of this program.
/// #[tallies::metric]
/// static BUILD: Info = Info::new("app_build_info").constant(&[("version", "1.2.0")]);
///
/// assert_eq!(tallies::snapshot().get("app_build_info", &[("version", "1.2.0")]), Some(1.0));
/// ```
pub struct Info<L = ()> {
    pub(crate) inner: Declaration<GaugeCell>,
    pub(crate) labels: PhantomData<fn(L)>,
}

impl<L: LabelSet> Info<L> {
    /// Sets the current label set, and removes the one before.
    ///
    /// ```
    /// let registry = tallies::Registry::new();
    /// let leader = tallies::Info::builder("leader_info", "The host that leads.")
    ///     .labels(["host"])
    ///     .register(&registry)?;
    /// leader.set(["a"]);
    /// leader.set(["b"]);
    /// let now = registry.snapshot();
    /// assert_eq!(now.get("leader_info", &[("host", "b")]), Some(1.0));
    /// assert_eq!(now.get("leader_info", &[("host", "a")]), None);
    /// # Ok::<(), tallies::Error>(())
    /// ```
    ///
    /// A label set with an invalid name is rejected and counted in
    /// `tallies_rejected_updates_total`. Waits for a scrape that is running. If the family's limit
    /// is 1, a scrape during the call may see neither label set.
    pub fn set(&self, labels: L::Borrowed<'_>) {
        let family = self.inner.family();
        L::with_texts(&labels, |texts| {
            let text = match family.desc.own_text(texts) {
                Ok(text) => text,
                Err(error) => return family.reject(1, || error),
            };
            family.exclusively(|| {
                let retain = || family.retain(|other| other == text);
                if family.is_full() {
                    retain();
                }
                // With a limit of 0 there is only the overflow series, and nothing to remove.
                if !family.with(texts).key.is_overflow() {
                    retain();
                }
            });
        });
    }
}

metric!(Info, [L: LabelSet], [L], [], GaugeCell, Kind::Info);

impl<const LABELS: usize> Info<[&'static str; LABELS]> {
    /// Declares an info with labels in a `static`, by label names instead of a type.
    ///
    /// ```
    /// use tallies::Info;
    ///
    /// /// The host that leads.
    /// #[tallies::metric]
    /// static LEADER: Info<[&str; 1]> = Info::labelled("cluster_leader_info", &["host"]);
    ///
    /// LEADER.set(["a"]);
    /// assert_eq!(tallies::snapshot().get("cluster_leader_info", &[("host", "a")]), Some(1.0));
    /// ```
    ///
    /// # Panics
    ///
    /// The same as [`new`](Self::new): a compile error in a `static`.
    #[track_caller]
    #[must_use]
    pub const fn labelled(name: &'static str, labels: &'static [&'static str; LABELS]) -> Self {
        Self {
            inner: Declaration::new(Desc::new(name, Kind::Info, Names::Fixed(labels))),
            labels: PhantomData,
        }
    }
}

with_builder!(Info, Kind::Info);

/// The current one of several states: the series of that state is 1, the others are 0.
///
/// ```
/// use tallies::{LabelValue, StateSet};
///
/// #[derive(LabelValue)]
/// enum Pump {
///     Off,
///     Running,
///     Broken,
/// }
///
/// /// What the pump is doing.
/// #[tallies::metric]
/// static PUMP: StateSet<Pump> = StateSet::new("pump_state");
///
/// PUMP.set(Pump::Running);
/// let now = tallies::snapshot();
/// assert_eq!(now.get("pump_state", &[("pump_state", "running")]), Some(1.0));
/// assert_eq!(now.get("pump_state", &[("pump_state", "off")]), Some(0.0));
/// # let _ = (Pump::Off, Pump::Broken);
/// ```
///
/// The state is one atomic word, so a scrape sees exactly one state.
pub struct StateSet<S> {
    desc: Desc,
    states: OnceLock<Arc<States>>,
    of: PhantomData<fn(S)>,
}

impl<S: LabelValue> StateSet<S> {
    /// Sets the current state.
    pub fn set(&self, state: S) {
        // Relaxed: a reader reads no other memory with this word.
        let cell = self.states().cell.first();
        cell.updated.store(crate::clock::millis(), Relaxed);
        cell.current.store(state.index() as u64, Relaxed);
    }

    /// Declares a state set in a `static`. Its label has the name of the family, and it begins in
    /// the first state.
    ///
    /// # Panics
    ///
    /// If the name is not a valid label name, or if the type has no closed set of values.
    #[track_caller]
    #[must_use]
    pub const fn new(name: &'static str) -> Self {
        assert!(
            !S::VALUES.is_empty(),
            "the states of a state set are the variants of an enum with `#[derive(LabelValue)]`"
        );
        assert!(
            check_label(name.as_bytes(), Kind::StateSet).is_ok(),
            "the name of a state set is also its label name: it has to match \
             [a-zA-Z_][a-zA-Z0-9_]* and must not begin with `__`"
        );
        Self {
            desc: Desc::new(name, Kind::StateSet, Names::Fixed(&[])),
            states: OnceLock::new(),
            of: PhantomData,
        }
    }

    /// Sets the help text. `#[tallies::metric]` takes it from the doc comment.
    #[must_use]
    pub const fn help(mut self, help: &'static str) -> Self {
        self.desc.help.set(help);
        self
    }

    /// For `#[tallies::metric]`, which knows the module, and makes the notes about names at compile
    /// time.
    #[doc(hidden)]
    #[must_use]
    pub const fn __declared_in(mut self, module: &'static str) -> Self {
        self.desc.module = module;
        self.desc.lint = false;
        self
    }

    /// Starts to declare a state set at run time. [`register`](Builder::register) checks
    /// everything.
    ///
    /// ```
    /// use tallies::{LabelValue, Registry, StateSet};
    ///
    /// #[derive(LabelValue)]
    /// enum Pump {
    ///     Off,
    ///     Running,
    /// }
    ///
    /// let registry = Registry::new();
    /// let pump = StateSet::<Pump>::builder("pump", "What the pump does.").register(&registry)?;
    /// assert_eq!(registry.snapshot().get("pump", &[("pump", "off")]), Some(1.0));
    /// pump.set(Pump::Running);
    /// assert_eq!(registry.snapshot().get("pump", &[("pump", "off")]), Some(0.0));
    /// # let _ = Pump::Off;
    /// # Ok::<(), tallies::Error>(())
    /// ```
    #[track_caller]
    pub fn builder(name: &str, help: &str) -> Builder<Self> {
        Builder::new(
            name,
            help,
            Kind::StateSet,
            Names::Fixed(&[]),
            Location::caller(),
        )
    }

    fn states(&self) -> &Arc<States> {
        let families = registry::registry().families();
        let mut note = None;
        let states = self.states.get_or_init(|| {
            let desc = families.viewed(self.desc.clone(), true);
            let (states, to_log) = families.add_static(desc, States::make::<S>);
            note = to_log;
            states
        });
        if let Some(note) = note {
            families.log(note);
        }
        states
    }
}

impl<S: LabelValue> Builder<StateSet<S>> {
    /// Declares the state set in a registry.
    ///
    /// # Errors
    ///
    /// Returns an error if the name is already registered ([`Error::is_already_registered`]) or not
    /// a valid label name, or if the type has no closed set of values.
    pub fn register(self, registry: &Registry) -> Result<StateSet<S>, Error> {
        let name = &*self.desc.name;
        if S::VALUES.is_empty() {
            return Err(Error::other(format_args!(
                "state set `{name}` needs an enum with `#[derive(LabelValue)]`, whose variants are \
                 its states"
            )));
        }
        check_label(name.as_bytes(), Kind::StateSet)
            .map_err(|_| NameRule::StateSet.error(Subject::Metric, name))?;
        let states = States::make::<S>(registry.families().viewed(self.desc.clone(), true));
        registry.families().add(states.clone())?;
        Ok(StateSet {
            desc: self.desc,
            states: OnceLock::from(states),
            of: PhantomData,
        })
    }
}

impl<S> std::fmt::Debug for StateSet<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StateSet")
            .field("name", &self.desc.name)
            .finish_non_exhaustive()
    }
}

impl<S: LabelValue> Listed for StateSet<S> {
    fn enlist(&self) {
        self.states();
    }
}

/// The state, as it is in a mapped file.
#[derive(Debug, Default)]
#[repr(C)]
struct StateCell {
    /// Nothing. Series of other kinds have two words here.
    _reserved: [u64; 2],
    /// The index of the current state. Written by threads that set it, read by scrapes.
    current: AtomicU64,
    /// When it was set, in milliseconds since 1970, or 0. Written with it, read by other processes.
    updated: AtomicU64,
}

#[derive(Debug)]
struct States {
    desc: Desc,
    names: &'static [&'static str],
    cell: Run<StateCell>,
    /// What other processes find in the mapped file.
    records: FamilyRecords,
    /// The label of the last scrape, and the texts with it. Locked by scrapes.
    labels: Mutex<(Text, Arc<Page>)>,
}

impl States {
    fn make<S: LabelValue>(desc: Desc) -> Arc<Self> {
        let states = Arc::new(Self::of::<S>(desc));
        published::add(&states);
        states
    }

    fn of<S: LabelValue>(desc: Desc) -> Self {
        Self {
            desc,
            names: S::VALUES,
            cell: Run::new(1, StateCell::default),
            records: FamilyRecords::default(),
            labels: Mutex::default(),
        }
    }

    /// Returns the label texts. OpenMetrics wants the label of a state set to have the full name of
    /// the family, with the prefix.
    fn page(&self, label: &str) -> Arc<Page> {
        let mut page = Page::default();
        for name in self.names {
            page.push(&labels::text(&[(label, name)]), 0);
        }
        page.seal()
    }
}

impl Drop for States {
    fn drop(&mut self) {
        self.unpublish();
    }
}

#[cfg(mapped)]
impl published::FamilyHooks for States {
    fn after_fork(&self) {
        let cell = self.cell.first();
        cell.current.store(0, Relaxed);
        cell.updated.store(0, Relaxed);
        self.records.with_all_locked(Records::forget);
    }
}

impl AnyFamily for States {
    fn has_own_cells(&self) -> bool {
        false
    }

    fn desc(&self) -> &Desc {
        &self.desc
    }

    fn values(&self) -> Values {
        Values::Gauge(Vec::new())
    }

    fn write(&self, _: &mut Pass<'_>, out: &mut snapshot::Family) {
        out.begin(self.names.len());
        let current = self.cell.first().current.load(Relaxed) as usize;
        if let Values::Gauge(values) = &mut out.values {
            let states = 0..self.names.len();
            values.extend(states.map(|i| f64::from(u8::from(i == current))));
        }
        let mut labels = self.labels.lock().unwrap_or_else(PoisonError::into_inner);
        let (label, page) = &mut *labels;
        if *label != out.meta.name {
            *label = out.meta.name.clone();
            *page = self.page(label);
        }
        let mut texts = out.texts.rewrite();
        texts.put(page);
        texts.finish();
    }

    fn label_texts(&self, each: &mut dyn FnMut(&str)) {
        for name in self.names {
            each(&labels::text(&[(&self.desc.name, name)]));
        }
    }

    fn states(&self) -> &'static [&'static str] {
        self.names
    }

    fn start_over(&self, _: &Pass<'_>) {
        self.cell.first().current.store(0, Relaxed);
    }

    fn publish(&self, meta: &snapshot::Meta) {
        let text = published::encode(
            meta,
            (Names::Fixed(&[]), None),
            &self.values(),
            "",
            self.names,
        );
        let first = std::ptr::from_ref(self.cell.first()).addr() as u64;
        let fields = published::Fields {
            kind: CellKind::StateSet,
            width: 0,
            stride: size_of::<StateCell>(),
            first: self.cell.is_in_region().then_some(first),
            created: 0,
            window: [0; 3],
        };
        self.records
            .with(|records| _ = records.publish(&text, &fields));
    }

    fn unpublish(&self) {
        self.records.with(Records::unpublish);
    }

    fn as_any(self: Arc<Self>) -> Arc<dyn std::any::Any + Send + Sync> {
        self
    }
}
