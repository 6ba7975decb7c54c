//! Builders: declaring a metric at run time.

use std::marker::PhantomData;
use std::panic::Location;
use std::time::Duration;

use tallies_names::setters;

use crate::error::Error;
use crate::family::MetricCells;
use crate::family::desc::{ClosedSet, Desc, Names};
use crate::family::grammar::prefixed;
use crate::family::label::{LabelNames, LabelSet, NamedLabels};
use crate::family::lint::log_notes;
use crate::in_both::debug;
use crate::observe::Cells;
use crate::registry::Registry;
use crate::snapshot::{Kind, Text};

use super::declaration::Declaration;

/// A metric type: [`Counter`](crate::Counter), [`Gauge`](crate::Gauge),
/// [`UpDownCounter`](crate::UpDownCounter), [`Histogram`](crate::Histogram),
/// [`Summary`](crate::Summary), [`Info`](crate::Info) or [`StateSet`](crate::StateSet).
///
/// [`Builder`], [`Series`](crate::Series) and [`Bound`](crate::Bound) have it as a bound. Programs
/// do not implement it.
#[expect(private_bounds, reason = "sealed: the parts of a metric are private")]
pub trait Metric: MetricParts<Read = <Self as Metric>::Value> {
    /// The same kind of metric with other label sets.
    type Labelled<L: LabelSet>: Metric;

    /// The value of a series, as `get` returns it.
    type Value;
}

/// The private parts of a metric type.
pub(crate) trait MetricParts: Sized {
    type Cells: MetricCells;
    /// The same as [`Metric::Value`].
    type Read;

    const KIND: Kind = Self::Cells::KIND;

    /// The states of a state set that the type determines.
    const STATES: &'static [&'static str] = &[];

    /// Whether all combinations of a closed label set have series. An info has one only for the
    /// current label set.
    const HAS_ALL_COMBINATIONS: bool = true;

    fn declared(declaration: Declaration<Self::Cells>) -> Self;

    fn value(desc: &Desc, total: <Self::Cells as Cells>::Total) -> Self::Read;
}

/// Declares a metric at run time.
///
/// `Counter::builder(name, help)` and its siblings return one. Nothing is checked before
/// [`register`](Self::register), which returns every mistake as an error.
///
/// ```
/// use tallies::{Counter, Histogram, Registry};
///
/// let registry = Registry::new();
/// let sent = Counter::builder("mail_sent_total", "Messages sent.")
///     .labels(["peer"])
///     .limit(100)
///     .register(&registry)?;
/// let took = Histogram::builder("mail_send_duration_seconds", "Time to send one.")
///     .buckets(&[0.1, 1.0, 10.0])
///     .register(&registry)?;
/// sent.with(["alpha"]).inc();
/// took.observe(0.5);
/// assert_eq!(sent.with(["alpha"]).get(), 1);
/// # Ok::<(), tallies::Error>(())
/// ```
#[must_use = "nothing is declared before `register`"]
pub struct Builder<M> {
    pub(super) desc: Desc,
    pub(super) metric: PhantomData<fn(M)>,
}

debug!([M] Builder<M> = "Builder", "name": |this| this.desc.name);

/// Bounds the methods of metrics on [`Builder`], and is never implemented.
#[diagnostic::on_unimplemented(
    message = "this is a builder, and no metric before it is registered",
    label = "not registered yet",
    note = "call `register` first, and use the metric that it returns: `.register(&registry)?`"
)]
pub trait Registered {}

/// Defines methods that do not compile, and say that the builder is no metric yet.
macro_rules! methods_of_metrics {
    ($($name:ident($($value:ident)?);)*) => {
        impl<M> Builder<M> {$(
            #[doc(hidden)]
            pub fn $name$(<$value>)?(&self $(, _: $value)?)
            where
                Self: Registered,
            {
            }
        )*}
    };
}

methods_of_metrics! {
    inc();
    add(T);
    set(T);
    observe(T);
}

impl<M> Builder<M> {
    /// Returns a builder for a description.
    pub(super) fn of(desc: Desc) -> Self {
        let metric = PhantomData;
        Self { desc, metric }
    }
}

impl<M: Metric> Builder<M> {
    /// Returns a builder for a family without labels.
    #[track_caller]
    pub(super) fn new(name: &str, help: &str) -> Self {
        let (name, location) = (Text::from(name), Location::caller());
        let mut desc = Desc::unchecked(name, M::KIND, Names::Fixed(&[]), location);
        desc.help = Text::from(help);
        desc.states = M::STATES;
        Self::of(desc)
    }

    pub(super) fn with_type<T>(self) -> Builder<T> {
        Builder::of(self.desc)
    }

    pub(super) fn of_set<L: LabelSet, T>(mut self) -> Builder<T> {
        self.desc.labels = L::NAMES;
        self.desc.closed = ClosedSet::of::<L>();
        self.with_type()
    }

    /// Sets the label names.
    ///
    /// - An array, such as `["method", "status"]`: the number of labels becomes part of the type,
    ///   and `with(["get", "200"])` takes an array of the same length.
    /// - A slice or a `Vec` of texts, for names that are known only at run time: `with(&["get",
    ///   "200"])` takes a slice. A slice of another length counts in the overflow series and is
    ///   logged once.
    ///
    /// For label sets with a type of their own see [`label_set`](Self::label_set).
    ///
    /// ```
    /// use tallies::{Counter, Registry};
    ///
    /// let registry = Registry::new();
    /// let names: Vec<String> = "method,status".split(',').map(str::to_owned).collect();
    /// let requests =
    ///     Counter::builder("requests_total", "Requests.").labels(&names).register(&registry)?;
    /// requests.with(&["get", "200"]).inc();
    /// let labels = [("method", "get"), ("status", "200")];
    /// assert_eq!(registry.snapshot().get("requests_total", &labels), Some(1.0));
    /// # Ok::<(), tallies::Error>(())
    /// ```
    pub fn labels<N: LabelNames>(mut self, names: N) -> Builder<M::Labelled<N::Set>> {
        self.desc.set_labels(&names.names());
        self.desc.closed = ClosedSet::NONE;
        self.with_type()
    }

    /// Sets the type of the label sets: a struct with `#[derive(Labels)]`, or
    /// [`AnyLabels`](crate::label::AnyLabels).
    ///
    /// ```
    /// use tallies::{Counter, Labels, Registry};
    ///
    /// #[derive(Labels)]
    /// struct Request<'a> {
    ///     path: &'a str,
    /// }
    ///
    /// let registry = Registry::new();
    /// let requests = Counter::builder("requests_total", "Requests.")
    ///     .label_set::<Request>()
    ///     .register(&registry)?;
    /// requests.with(Request { path: "/" }).inc();
    /// # Ok::<(), tallies::Error>(())
    /// ```
    pub fn label_set<L: NamedLabels>(self) -> Builder<M::Labelled<L>> {
        self.of_set::<L, _>()
    }

    setters! {
        /// Puts a prefix before the name, with an underscore between them if the prefix ends in a
        /// letter or digit.
        ///
        /// ```
        /// let registry = tallies::Registry::new();
        /// let jobs = tallies::Counter::builder("jobs_total", "Jobs.");
        /// jobs.prefix("shop").register(&registry)?.inc();
        /// assert_eq!(registry.snapshot().get("shop_jobs_total", &[]), Some(1.0));
        /// # Ok::<(), tallies::Error>(())
        /// ```
        fn prefix(self, prefix: &str) =
            self.desc.name = Text::from(&prefixed(prefix, &self.desc.name));

        /// Sets the unit, such as `seconds`. By convention the name ends in it. If it does not,
        /// OpenMetrics leaves the unit out, because its readers reject such a page.
        fn unit(self, unit: &str) = self.desc.unit = Text::from(unit);

        /// Adds a label that every series has.
        ///
        /// ```
        /// use tallies::{Counter, Registry};
        ///
        /// let registry = Registry::new();
        /// let sent = Counter::builder("sent_total", "Messages sent.")
        ///     .constant("protocol", "smtp")
        ///     .register(&registry)?;
        /// sent.inc();
        /// assert_eq!(registry.snapshot().get("sent_total", &[("protocol", "smtp")]), Some(1.0));
        /// # Ok::<(), tallies::Error>(())
        /// ```
        fn constant(self, name: &str, value: &str) = self.desc.constant.add(name, value);

        /// Limits the number of series. Further label sets count in one overflow series. The
        /// default is [`DEFAULT_LIMIT`](crate::label::DEFAULT_LIMIT). With 0, all label sets count
        /// in the overflow series.
        ///
        /// ```
        /// use tallies::{Counter, Registry};
        ///
        /// let registry = Registry::new();
        /// let logins = Counter::builder("logins_total", "Logins.")
        ///     .labels(["user"])
        ///     .limit(2)
        ///     .register(&registry)?;
        /// for user in ["a", "b", "c", "d"] {
        ///     logins.with([user]).inc();
        /// }
        /// let others = [("user", "__overflow__")];
        /// assert_eq!(registry.snapshot().get("logins_total", &others), Some(2.0));
        /// # Ok::<(), tallies::Error>(())
        /// ```
        fn limit(self, series: usize) = self.desc.limit = series;

        /// Retires every series whose value stays the same for this long. Only a scrape checks it.
        ///
        /// ```
        /// use std::time::Duration;
        ///
        /// let registry = tallies::Registry::new();
        /// let jobs = tallies::Counter::builder("jobs_total", "Jobs done.")
        ///     .labels(["queue"])
        ///     .expire_after(Duration::from_secs(600))
        ///     .register(&registry)?;
        /// jobs.with(["mail"]).inc();
        /// # Ok::<(), tallies::Error>(())
        /// ```
        ///
        /// - The total of a retired series is folded into the overflow series. The value of a
        ///   gauge, an info or a state set is dropped.
        /// - A gauge that is set to the value that it has does not count as changed. The value of
        ///   an info never changes.
        /// - An up-down counter is not retired while it is not 0. It is retired if every scrape
        ///   finds it at 0, whatever it was between the scrapes.
        /// - The next update through `with` or a [`Bound`](crate::Bound) makes a retired series
        ///   again. An update through a [`Series`](crate::Series) that was looked up before counts
        ///   in the overflow series.
        fn expire_after(self, idle: Duration) = self.desc.expire_after = Some(idle);

        /// Sets whether registration logs notes about the name, as [`Registry::set_lint`] does for
        /// all names. The default is `true`. `false` is for names that somebody else chose.
        ///
        /// ```
        /// let registry = tallies::Registry::new();
        /// tallies::Counter::builder("requests", "Requests.").lint(false).register(&registry)?;
        /// # Ok::<(), tallies::Error>(())
        /// ```
        fn lint(self, on: bool) = self.desc.lint = on.then_some(log_notes);

        /// Sets the place that messages name, for adapters that register when a metric of another
        /// library is first used.
        #[doc(hidden)]
        fn __declared_at(self, location: &'static Location<'static>) =
            self.desc.location = location;

        /// Gives every series cells of its own in every thread from its first update on. Without
        /// this, a series counts in one cold cell until it has had 1 024 updates in a minute. The
        /// price is the memory of the cells.
        fn hot(self) = self.desc.hot = true;

        /// Allows any characters except `"`, `\` and control characters in the metric's name and
        /// label names: `http.requests`.
        ///
        /// ```
        /// use tallies::{Counter, Registry};
        ///
        /// let registry = Registry::new();
        /// assert!(Counter::builder("http.requests", "Requests.").register(&registry).is_err());
        /// Counter::builder("http.requests", "Requests.").utf8().register(&registry)?.inc();
        /// assert_eq!(registry.snapshot().get("http.requests", &[]), Some(1.0));
        /// # Ok::<(), tallies::Error>(())
        /// ```
        ///
        /// A scraper that does not ask for such names gets them escaped. A name whose escaped form
        /// is the same as another name is rejected.
        fn utf8(self) = self.desc.utf8 = true;
    }

    /// Declares the metric in a registry.
    ///
    /// # Errors
    ///
    /// Returns an error in these cases:
    ///
    /// - A name or label name is invalid, reserved or given twice ([`Error::is_invalid_name`]).
    /// - Buckets or objectives are invalid.
    /// - Another family has the name, or samples of the same names
    ///   ([`Error::is_already_registered`]).
    pub fn register(self, registry: &Registry) -> Result<M, Error> {
        Declaration::register(self.desc, registry).map(M::declared)
    }

    /// Returns the registry's family of this description, and declares it if there is none.
    ///
    /// The declaration that came first decides about the limit, the expiry and whether series are
    /// hot: other values here have no effect.
    ///
    /// ```
    /// use tallies::{Counter, Registry};
    ///
    /// let registry = Registry::new();
    /// let sent = || Counter::builder("sent_total", "Messages sent.").get_or_register(&registry);
    /// sent()?.inc();
    /// sent()?.inc();
    /// assert_eq!(sent()?.get(), 2);
    /// # Ok::<(), tallies::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// The same as for [`register`](Self::register), except that an identical family is not an
    /// error. A family of the same name that is declared differently is one.
    pub fn get_or_register(self, registry: &Registry) -> Result<M, Error> {
        Declaration::get_or_register(self.desc, registry).map(M::declared)
    }
}
