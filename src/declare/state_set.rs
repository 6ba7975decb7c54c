//! State sets: the current one of several states, for the program or for each label set.
//!
//! A series is the cell of a gauge whose bits are the index of the current state. A scrape turns it
//! into one series for each state.

use crate::error::Error;
use crate::observe::{GaugeCell, GaugeOp};
use crate::snapshot::{Kind, LastSet, join};

use super::gauge::change_series;
use super::{Bound, Builder, MetricFamily, Series, forward, metric};
use crate::family::desc::{Desc, Names};
use crate::family::grammar::check_label;
use crate::family::label::{LabelSet, LabelValue, NamedLabels, Scratch, Unlabelled};

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
/// /// The state of the pump.
/// #[tallies::metric]
/// static PUMP: StateSet<Pump> = StateSet::new("pump_state");
///
/// PUMP.set(Pump::Running);
/// assert_eq!(PUMP.get(), "running");
/// let now = tallies::snapshot();
/// assert_eq!(now.get("pump_state", &[("pump_state", "running")]), Some(1.0));
/// assert_eq!(now.get("pump_state", &[("pump_state", "off")]), Some(0.0));
/// # let _ = (Pump::Off, Pump::Broken);
/// ```
///
/// The states are the values of a [`LabelValue`] type that has a closed set of them. For states
/// that are known only at run time, the type is `String`, and
/// [`Builder::states`](Builder::states) gives them.
///
/// With labels, each label set has one current state, and begins in the first one:
///
/// ```
/// use tallies::StateSet;
///
/// /// Whether the lights are on.
/// #[tallies::metric]
/// static LIGHTS: StateSet<bool, [&str; 1]> = StateSet::labelled("lights_on", &["room"]);
///
/// LIGHTS.with(["kitchen"]).set(true);
/// let labels = [("lights_on", "true"), ("room", "kitchen")];
/// assert_eq!(tallies::snapshot().get("lights_on", &labels), Some(1.0));
/// ```
///
/// The state is one atomic word, so a scrape sees exactly one state. An update takes the lock of
/// the word, because it also stores the time. A label set counts as one series for the limit,
/// whatever the number of its states.
pub struct StateSet<T, L = ()>(MetricFamily<GaugeCell, StateSet<T>, L>);

impl<T: LabelValue, L: LabelSet> StateSet<T, L> {
    forward! { [where L: Unlabelled] this => this.0.only();
        /// Sets the current state.
        ///
        /// A state that the state set does not have, which is possible with states from run time,
        /// is rejected and counted in `tallies_rejected_updates_total`.
        fn set(state: T);

        /// Sets the current state, or returns why it is not a state of this state set.
        ///
        /// # Errors
        ///
        /// Returns an error if the state is none of those that were given to
        /// [`Builder::states`](Builder::states). A rejected update is counted, and not logged.
        fn try_set(state: T) -> Result<(), Error>;

        /// Returns the current state.
        #[must_use]
        fn get() -> &'static str;
    }

    /// Declares a state set in a `static`. The label of the states has the name of the family.
    ///
    /// # Panics
    ///
    /// If the name is not a valid label name or that of another label, or if the type has no closed
    /// set of values.
    #[track_caller]
    #[must_use]
    pub const fn new(name: &'static str) -> Self
    where
        L: NamedLabels,
    {
        Self::check_name(name);
        Self(MetricFamily::declare(name, L::NAMES, false))
    }

    #[track_caller]
    const fn check_name(name: &str) {
        assert!(
            !T::VALUES.is_empty(),
            "the states of a state set are the variants of an enum with `#[derive(LabelValue)]`"
        );
        assert!(
            check_label(name.as_bytes(), Kind::StateSet).is_ok(),
            "the name of a state set is also its label name: it has to match \
             [a-zA-Z_][a-zA-Z0-9_]* and must not begin with `__`"
        );
    }
}

impl<T: LabelValue> Series<'_, StateSet<T>> {
    /// Sets the current state. See [`StateSet::set`].
    pub fn set(&self, state: T) {
        self.lazy_ref
            .resolve(|series| match index(&series.family.desc, &state) {
                Ok(state) => change_series(series, state),
                Err(error) => series.family.reject(1, || error),
            });
    }

    /// Sets the current state, or returns why it is not a state of this state set.
    ///
    /// # Errors
    ///
    /// The same as for [`StateSet::try_set`].
    pub fn try_set(&self, state: T) -> Result<(), Error> {
        self.lazy_ref.resolve(|series| {
            let state = index(&series.family.desc, &state);
            let state = state.inspect_err(|_| series.family.count_rejected(1))?;
            change_series(series, state);
            Ok(())
        })
    }
}

impl<T: LabelValue> Bound<StateSet<T>> {
    forward! { [] this => this.last_found();
        /// Sets the current state. See [`StateSet::set`].
        fn set(state: T);
        /// Sets the current state, or returns why it is not a state of this state set.
        ///
        /// # Errors
        ///
        /// The same as for [`StateSet::try_set`].
        fn try_set(state: T) -> Result<(), Error>;
    }
}

metric!(
    StateSet, [T: LabelValue, L: LabelSet], [T, L],
    example: "StateSet::<bool>",
    plain: StateSet<T>,
    labelled: StateSet<T, X>,
    named: [T: LabelValue] StateSet<T, [&'static str; LABELS]>,
    cells: GaugeCell,
    value: &'static str = state,
    {
        const KIND: Kind = Kind::StateSet;
        const STATES: &'static [&'static str] = T::VALUES;
    }
);

impl<T: LabelValue, const LABELS: usize> StateSet<T, [&'static str; LABELS]> {
    /// Declares a state set with labels in a `static`, by label names instead of a type.
    ///
    /// # Panics
    ///
    /// The same as [`new`](Self::new): a compile error in a `static`.
    #[track_caller]
    #[must_use]
    pub const fn labelled(name: &'static str, labels: &'static [&'static str; LABELS]) -> Self {
        Self::check_name(name);
        Self(MetricFamily::declare(name, Names::Fixed(labels), false))
    }
}

impl<T: LabelValue> StateSet<T> {
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
        Builder::new(name, help)
    }
}

impl<L: LabelSet> Builder<StateSet<String, L>> {
    /// Sets the states, of which the first is that at the start.
    ///
    /// ```
    /// use tallies::{Registry, StateSet};
    ///
    /// let registry = Registry::new();
    /// let pump = StateSet::<String>::builder("pump", "What the pump does.")
    ///     .states(&["off", "running"])
    ///     .labels(["site"])
    ///     .register(&registry)?;
    /// pump.with(["north"]).set("running".to_owned());
    /// assert_eq!(pump.with(["north"]).get(), "running");
    /// assert!(pump.with(["north"]).try_set("broken".to_owned()).is_err());
    /// # Ok::<(), tallies::Error>(())
    /// ```
    ///
    /// [`register`](Self::register) returns an error if there is none, or if one is given twice.
    pub fn states(mut self, states: &[impl AsRef<str>]) -> Self {
        let states: Vec<_> = states.iter().map(AsRef::as_ref).collect();
        self.desc.set_states(&states);
        self
    }
}

/// Returns the state of a series.
fn state(desc: &Desc, total: LastSet) -> &'static str {
    let state = desc.states.get(total.value.to_bits() as usize);
    state.copied().unwrap_or_default()
}

/// Returns the update that sets this state.
fn index<T: LabelValue>(desc: &Desc, state: &T) -> Result<GaugeOp, Error> {
    let index = if T::VALUES.is_empty() {
        let mut scratch = Scratch::default();
        let state = state.text(&mut scratch);
        let index = desc.states.iter().position(|known| *known == state);
        index.ok_or_else(|| {
            let (name, state) = (&desc.name, state.escape_debug());
            let states = join(desc.states.iter().map(|state| format!("`{state}`")));
            Error::other(format_args!(
                "metric `{name}` has no state `{state}`; its states are {states}"
            ))
        })?
    } else {
        state.index()
    };
    Ok(GaugeOp::Set(f64::from_bits(index as u64)))
}
