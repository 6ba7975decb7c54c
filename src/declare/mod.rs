//! The metric types that users declare, with or without labels: as statics, at run time in a
//! registry, or as fields of a derived struct.
//!
//! There is one type for each kind of metric: [`Counter`], `Counter<Request>`, `Counter<Request,
//! f64>`. The compiler checks a metric in a `static`. A metric that is built at run time returns an
//! error, which says what would be right.

pub(crate) mod buckets;
mod builder;
pub(crate) mod counter;
mod declaration;
mod deferred;
pub(crate) mod event;
mod exemplar;
pub(crate) mod gauge;
pub(crate) mod histogram;
mod in_flight;
pub(crate) mod info;
mod lazy_ref;
pub(crate) mod macros;
mod metric_family;
mod series;
mod state_set;
pub(crate) mod summary;
mod timer;

pub use builder::{Builder, Metric};
pub use counter::Counter;
pub use deferred::{Deferred, TextCopies};
pub use exemplar::trace_ids;
pub use gauge::{Gauge, UpDownCounter};
pub use histogram::Histogram;
pub use in_flight::{InFlight, Track};
pub use info::Info;
pub use series::{Bound, Series};
pub use state_set::StateSet;
pub use summary::Summary;
pub use timer::{Observe, Sampled, SampledTimer, Timer};

use metric_family::MetricFamily;

/// A metric that can be a field of a `#[derive(Metrics)]` struct. Every kind of metric is one.
///
/// The name of the metric is the field's name, or the one in `#[metric(name = "..")]`. `register`
/// checks it.
///
/// ```
/// use tallies::{Counter, Histogram, Metrics, Registry};
///
/// #[derive(Metrics)]
/// struct Mail {
///     /// Messages sent.
///     #[metric(name = "mail_sent_total", labels = ["peer"])]
///     sent: Counter<[&'static str; 1]>,
///     /// Time to send one.
///     #[metric(name = "mail_send_duration_seconds", buckets = [0.1, 1.0, 10.0])]
///     took: Histogram,
///     /// Messages that came back.
///     mail_bounces_total: Counter,
/// }
///
/// let registry = Registry::new();
/// let mail = Mail::register(&registry)?;
/// mail.sent.with(["a"]).inc();
/// mail.took.observe(0.5);
/// assert_eq!(registry.snapshot().get("mail_sent_total", &[("peer", "a")]), Some(1.0));
/// assert_eq!(registry.snapshot().get("mail_bounces_total", &[]), Some(0.0));
/// # Ok::<(), tallies::Error>(())
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a metric that can be registered",
    label = "not a metric",
    note = "every field of a `#[derive(Metrics)]` struct is a metric, such as `Counter` or `Histogram<Request>`; put other fields into a struct around it"
)]
pub trait Declare: Sized {
    /// Declares the metric in a registry.
    ///
    /// # Errors
    ///
    /// The same as those of its builder's `register`.
    fn declare(
        name: &str,
        help: &str,
        options: crate::family::desc::FieldOptions<'_>,
        registry: &crate::Registry,
    ) -> Result<Self, crate::Error>;
}

/// Implements what all metric types have: look-ups, reading and removal, setters for `static`s, and
/// traits.
///
/// - `example` is the type in examples.
/// - `plain` is the type without labels.
/// - `labelled` is the type with the label sets `X`.
/// - `named` is the type with an array of `LABELS` texts as labels, after its other parameters.
/// - `value` is the value of a series, and how to make it of a total.
macro_rules! metric {
    // A kind whose only parameter is the label set, and whose series expire.
    ($metric:ident, example: $example:literal, cells: $cells:ty, value: $value:ty = $read:expr) => {
        $crate::declare::metric!(
            $metric, [L: LabelSet], [L],
            example: $example,
            plain: $metric,
            labelled: $metric<X>,
            named: [] $metric<[&'static str; LABELS]>,
            cells: $cells,
            value: $value = $read,
            {}
        );
        $crate::declare::with_static!($metric, [L: LabelSet], [L]);
        $crate::declare::with_labels!($metric, [L: LabelSet], [L], [], []);
    };
    ($metric:ident, [$($generics:tt)*], [$($names:ident),*],
     example: $example:literal,
     plain: $plain:ty,
     labelled: $labelled:ty,
     named: [$($rest:tt)*] $named:ty,
     cells: $cells:ty,
     value: $value:ty = $read:expr,
     {$($constants:tt)*}) => {
        impl<$($generics)*> $metric<$($names),*> {
            /// Returns the series of a label set. Makes it if there is none; above the limit,
            /// returns the overflow series.
            ///
            /// ```
            /// let registry = tallies::Registry::new();
            #[doc = concat!("let jobs = tallies::", $example, "::builder(\"jobs\", \"Jobs.\")")]
            ///     .labels(["queue"])
            ///     .register(&registry)?;
            /// let mail = jobs.with(["mail"]);
            /// assert!(jobs.find(["mail"]).is_some());
            /// # let _ = mail;
            /// # Ok::<(), tallies::Error>(())
            /// ```
            ///
            /// The result is for use now: once the series is removed or retired, updates through it
            /// make the series again or count in the overflow series; see
            /// [`Series`](crate::Series). A thread has a cache of the label sets that it used, so
            /// that a repeated look-up takes no lock, allocates nothing and writes no shared cache
            /// line.
            #[doc(alias = "with_label_values")]
            #[inline]
            pub fn with(&self, labels: L::Borrowed<'_>) -> $crate::Series<'_, $plain> {
                self.0.with(labels)
            }

            $crate::declare::forward! { [] this => this.0;
                /// Returns the series of a label set for later use, for example in a field of a
                /// struct.
                ///
                /// ```
                /// struct Queue {
                #[doc = concat!("    jobs: tallies::Bound<tallies::", $example, ">,")]
                /// }
                ///
                /// let registry = tallies::Registry::new();
                #[doc = concat!("let jobs = tallies::", $example, "::builder(\"jobs\", \"Jobs.\")")]
                ///     .labels(["queue"])
                ///     .register(&registry)?;
                /// let queue = Queue { jobs: jobs.bind(["mail"]) };
                /// # let _ = queue.jobs;
                /// # Ok::<(), tallies::Error>(())
                /// ```
                ///
                /// The result owns its label values and outlives the metric. If the series was
                /// removed, was retired or has expired, the next use of the result makes it again.
                fn bind(labels: L::Borrowed<'_>) -> $crate::Bound<$plain>;

                /// Returns the series of a label set if it exists.
                ///
                /// ```
                /// let registry = tallies::Registry::new();
                #[doc = concat!("let jobs = tallies::", $example, "::builder(\"jobs\", \"Jobs.\")")]
                ///     .labels(["queue"])
                ///     .register(&registry)?;
                /// assert!(jobs.find(["mail"]).is_none());
                /// jobs.with(["mail"]);
                /// assert!(jobs.find(["mail"]).is_some());
                /// # Ok::<(), tallies::Error>(())
                /// ```
                #[must_use]
                fn find(labels: L::Borrowed<'_>) -> Option<$crate::Series<'_, $plain>>;

                /// Returns the labels and the value of every series.
                ///
                /// ```
                /// let registry = tallies::Registry::new();
                #[doc = concat!("let jobs = tallies::", $example, "::builder(\"jobs\", \"Jobs.\")")]
                ///     .labels(["queue"])
                ///     .register(&registry)?;
                /// jobs.with(["mail"]);
                /// let (labels, _) = &jobs.get_all()[0];
                /// assert_eq!(labels, &[("queue".to_owned(), "mail".to_owned())]);
                /// # Ok::<(), tallies::Error>(())
                /// ```
                #[must_use]
                fn get_all() -> Vec<(Vec<(String, String)>, $value)>;

                /// Returns whether other label sets count in the series of this one, too: because
                /// of a [`View`](crate::View) that drops or caps a label, or switches the family
                /// off.
                ///
                /// ```
                /// use tallies::{Registry, View};
                ///
                /// let registry = Registry::new();
                /// registry.add_view(View::new("jobs").cap("queue", 1))?;
                #[doc = concat!("let jobs = tallies::", $example, "::builder(\"jobs\", \"Jobs.\")")]
                ///     .labels(["queue"])
                ///     .register(&registry)?;
                /// jobs.with(["mail"]);
                /// assert!(!jobs.shares(["mail"]));
                /// assert!(jobs.shares(["news"]));
                /// # Ok::<(), tallies::Error>(())
                /// ```
                #[must_use]
                fn shares(labels: L::Borrowed<'_>) -> bool;

                /// Checks a label set that has its own label names, such as
                /// [`AnyLabels`](crate::label::AnyLabels). ([`with`](Self::with) counts an invalid
                /// one in the overflow series.)
                ///
                /// ```
                /// use tallies::label::AnyLabels;
                ///
                /// let registry = tallies::Registry::new();
                #[doc = concat!("let jobs = tallies::", $example, "::builder(\"jobs\", \"Jobs.\").label_set::<AnyLabels>().register(&registry)?;")]
                /// assert!(jobs.check(&[("queue", "mail")]).is_ok());
                /// assert!(jobs.check(&[("a queue", "mail")]).is_err());
                /// # Ok::<(), tallies::Error>(())
                /// ```
                ///
                /// # Errors
                ///
                /// Returns an error if a label name is invalid, reserved, or given twice.
                fn check(labels: L::Borrowed<'_>) -> Result<(), $crate::Error>;

                /// Removes every series for whose labels `keep` returns `false`, and returns their
                /// number. See [`remove`](Self::remove).
                ///
                /// ```
                /// let registry = tallies::Registry::new();
                #[doc = concat!("let jobs = tallies::", $example, "::builder(\"jobs\", \"Jobs.\")")]
                ///     .labels(["queue"])
                ///     .register(&registry)?;
                /// jobs.with(["mail"]);
                /// jobs.with(["news"]);
                /// assert_eq!(jobs.retain(|labels| labels[0].1 == "mail"), 1);
                /// assert!(jobs.find(["news"]).is_none());
                /// # Ok::<(), tallies::Error>(())
                /// ```
                fn retain(keep: impl FnMut(&[(&str, std::borrow::Cow<'_, str>)]) -> bool) -> usize;
            }

            tallies_names::getters! {
                /// Returns the number of series, without the overflow series.
                ///
                /// ```
                /// let registry = tallies::Registry::new();
                #[doc = concat!("let jobs = tallies::", $example, "::builder(\"jobs\", \"Jobs.\")")]
                ///     .labels(["queue"])
                ///     .register(&registry)?;
                /// assert!(jobs.is_empty());
                /// jobs.with(["mail"]);
                /// assert_eq!(jobs.len(), 1);
                /// # Ok::<(), tallies::Error>(())
                /// ```
                fn len(&self) -> usize = self.0.declaration.family().len();

                /// Returns whether there are no series.
                fn is_empty(&self) -> bool = self.len() == 0;

                /// Returns whether the family has reached its limit of series. A further label set
                /// counts in the overflow series.
                ///
                /// ```
                /// let registry = tallies::Registry::new();
                #[doc = concat!("let jobs = tallies::", $example, "::builder(\"jobs\", \"Jobs.\")")]
                ///     .labels(["queue"])
                ///     .limit(1)
                ///     .register(&registry)?;
                /// assert!(!jobs.is_full());
                /// jobs.with(["mail"]);
                /// assert!(jobs.is_full());
                /// # Ok::<(), tallies::Error>(())
                /// ```
                fn is_full(&self) -> bool = self.0.declaration.family().is_full();

                /// Returns whether a [`View`](crate::View) switches the family off, so that values
                /// for it need not be computed.
                ///
                /// ```
                /// use tallies::{Registry, View};
                ///
                /// let registry = Registry::new();
                /// registry.add_view(View::new("debug_*").off())?;
                #[doc = concat!("let jobs = tallies::", $example, "::builder(\"debug_jobs\", \"Jobs.\").register(&registry)?;")]
                /// assert!(jobs.is_off());
                /// # Ok::<(), tallies::Error>(())
                /// ```
                fn is_off(&self) -> bool = self.0.declaration.family().desc.is_off();

                /// Returns the name as it was declared, without the registry's prefix.
                fn name(&self) -> &str = &self.0.declaration.desc.name;
            }

            /// Removes the series of a label set. Returns `false` if there is none.
            ///
            /// ```
            /// let registry = tallies::Registry::new();
            #[doc = concat!("let jobs = tallies::", $example, "::builder(\"jobs\", \"Jobs.\")")]
            ///     .labels(["queue"])
            ///     .register(&registry)?;
            /// jobs.with(["mail"]);
            /// assert!(jobs.remove(["mail"]));
            /// assert!(!jobs.remove(["mail"]));
            /// # Ok::<(), tallies::Error>(())
            /// ```
            ///
            /// The next scrape no longer exports the series, and its total is dropped. An update
            /// through a [`Series`](crate::Series) that was looked up before, or through a
            /// [`Bound`](crate::Bound), makes the series again. (After 4 096 more removals from the
            /// family, an update through such a `Series` counts in the overflow series.) So remove
            /// a series of an up-down counter while it is 0: a later decrement would take the fresh
            /// series below zero.
            ///
            /// Waits for a scrape that is running. The series of closed label sets (enums and
            /// `bool`s only) are not removed.
            #[doc(alias = "remove_label_values")]
            pub fn remove(&self, labels: L::Borrowed<'_>) -> bool {
                self.0.end(labels, true)
            }

            /// Retires the series of a label set: folds its total into the overflow series, so that
            /// the sum over the family does not drop. Returns `false` if there is none.
            ///
            /// ```
            /// let registry = tallies::Registry::new();
            #[doc = concat!("let jobs = tallies::", $example, "::builder(\"jobs\", \"Jobs.\")")]
            ///     .labels(["queue"])
            ///     .register(&registry)?;
            /// jobs.with(["mail"]);
            /// assert!(jobs.retire(["mail"]));
            /// assert!(jobs.find(["mail"]).is_none());
            /// # Ok::<(), tallies::Error>(())
            /// ```
            ///
            /// An update through a [`Series`](crate::Series) that was looked up before counts in
            /// the overflow series. An update through a [`Bound`](crate::Bound) makes the series
            /// again. A series that expires is retired in the same way. The value of a gauge is
            /// dropped.
            ///
            /// Waits for a scrape that is running. The series of closed label sets (enums and
            /// `bool`s only) are not retired.
            pub fn retire(&self, labels: L::Borrowed<'_>) -> bool {
                self.0.end(labels, false)
            }

            /// Removes every series and drops its total. The series of closed label sets stay.
            ///
            /// ```
            /// let registry = tallies::Registry::new();
            #[doc = concat!("let jobs = tallies::", $example, "::builder(\"jobs\", \"Jobs.\")")]
            ///     .labels(["queue"])
            ///     .register(&registry)?;
            /// jobs.with(["mail"]);
            /// jobs.clear();
            /// assert!(jobs.is_empty());
            /// # Ok::<(), tallies::Error>(())
            /// ```
            ///
            /// Updates through handles of the series make them again, as after
            /// [`remove`](Self::remove). The overflow series is removed as well. If it is used
            /// again, a summary's has the quantiles of before, an infinite sum is infinite again,
            /// and an up-down counter's has what was in flight.
            pub fn clear(&self) {
                self.0.declaration.family().clear();
            }

            /// Copies a label set to `texts`, for attributes.
            #[doc(hidden)]
            #[inline]
            pub fn __defer<'a>(
                &'a self,
                labels: L::Borrowed<'_>,
                texts: &'a mut $crate::declare::TextCopies,
            ) -> $crate::declare::Deferred<'a, $plain> {
                self.0.defer(labels, texts)
            }
        }

        impl<const LABELS: usize, $($rest)*> $named {
            /// Returns the series of a label set that is given by name, in any order. Makes it as
            /// [`with`](Self::with) does.
            ///
            /// ```
            /// let registry = tallies::Registry::new();
            #[doc = concat!("let jobs = tallies::", $example, "::builder(\"jobs\", \"Jobs.\").labels([\"queue\", \"kind\"]).register(&registry)?;")]
            /// jobs.named(&[("kind", "retry"), ("queue", "mail")])?;
            /// assert!(jobs.find(["mail", "retry"]).is_some());
            /// assert!(jobs.named(&[("queue", "mail")]).is_err());
            /// # Ok::<(), tallies::Error>(())
            /// ```
            ///
            /// # Errors
            ///
            /// Returns an error if the names are not exactly those of the family.
            pub fn named(
                &self,
                labels: &[(&str, &str)],
            ) -> Result<$crate::Series<'_, $plain>, $crate::Error> {
                self.0.named(labels)
            }
        }

        impl<$($generics)*> $metric<$($names),*> {
            tallies_names::setters! {
                /// For `#[tallies::metric]`, which knows the module, and makes the notes about
                /// names at compile time.
                #[doc(hidden)]
                const fn __declared_in(self, module: &'static str) = {
                    self.0.declaration.desc.module = module;
                    self.0.declaration.desc.lint = None;
                };

                /// Sets the help text. `#[tallies::metric]` takes it from the doc comment.
                const fn help(self, help: &'static str) = self.0.declaration.desc.help.set(help);

                /// Sets labels that every series has. For labels that are known only at start-up,
                /// use [`Registry::add_constant`](crate::Registry::add_constant).
                ///
                /// ```
                /// static JOBS: tallies::Counter =
                ///     tallies::Counter::new("jobs_total").constant(&[("shard", "7")]);
                /// tallies::register_all!(JOBS);
                /// assert!(tallies::encode::text(&tallies::snapshot()).contains(r#"shard="7""#));
                /// ```
                const fn constant(self, labels: &'static [(&'static str, &'static str)]) =
                    self.0.declaration.desc.constant.set(labels);

                /// Limits the number of series. Further label sets count in one overflow series.
                /// The default is [`DEFAULT_LIMIT`](crate::label::DEFAULT_LIMIT).
                const fn limit(self, series: usize) = self.0.declaration.desc.limit = series;
            }
        }

        $crate::in_both::debug!(
            [$($generics)*] $metric<$($names),*> = stringify!($metric), "name": |this| this.name()
        );

        impl<$($generics)*> $crate::declare::Declare for $metric<$($names),*> {
            #[track_caller]
            fn declare(
                name: &str,
                help: &str,
                options: $crate::family::desc::FieldOptions<'_>,
                registry: &$crate::Registry,
            ) -> Result<Self, $crate::Error> {
                let mut builder = $crate::Builder::<Self>::new(name, help).of_set::<L, Self>();
                builder.desc.apply(options, L::FROM_DATA)?;
                builder.register(registry)
            }
        }

        $crate::declare::metric!(
            @traits [$($generics)*] $metric<$($names),*>,
            labelled: $labelled, cells: $cells, value: $value = $read, {$($constants)*}
        );
    };
    // The traits of all metrics and of events.
    (@traits [$($generics:tt)*] $metric:ty, labelled: $labelled:ty, cells: $cells:ty,
     value: $value:ty = $read:expr, {$($constants:tt)*}) => {
        impl<$($generics)*> Clone for $metric {
            /// Returns another handle to the same family.
            fn clone(&self) -> Self {
                Self($crate::declare::MetricFamily::new(self.0.declaration.another()))
            }
        }

        impl<$($generics)*> $crate::registry::Listed for $metric {
            fn enlist(&self) {
                self.0.enlist();
            }
        }

        impl<$($generics)*> $crate::Metric for $metric {
            type Labelled<X: LabelSet> = $labelled;
            type Value = $value;
        }

        impl<$($generics)*> $crate::declare::builder::MetricParts for $metric {
            type Cells = $cells;
            type Read = $value;
            $($constants)*

            fn declared(declaration: $crate::declare::declaration::Declaration<$cells>) -> Self {
                let family = $crate::declare::MetricFamily::new(declaration);
                family.enlist();
                Self(family)
            }

            fn value(
                desc: &$crate::family::desc::Desc,
                total: <$cells as $crate::observe::Cells>::Total,
            ) -> $value {
                ($read)(desc, total)
            }
        }
    };
}
pub(crate) use metric;

/// Implements the declaration in a `static` by the type of the label sets, and the setters that a
/// state set does not have.
macro_rules! with_static {
    ($metric:ident, [$($generics:tt)*], [$($names:ident),*]) => {
        impl<$($generics)*> $metric<$($names),*> {
            /// Declares the metric in a `static`. An invalid name is a compile error there.
            ///
            /// A `const` or a local variable declares the metric again at each use. Its counts are
            /// right, but an update takes a microsecond instead of a nanosecond, which is logged
            /// once.
            ///
            /// At run time an invalid name panics. Use a registry or [`builder`](Self::builder)
            /// there, which return errors.
            ///
            /// # Panics
            ///
            /// If the name or a label name is invalid, or if a label name is reserved or given
            /// twice.
            #[track_caller]
            #[must_use]
            pub const fn new(name: &'static str) -> Self
            where
                L: $crate::family::label::NamedLabels,
            {
                Self($crate::declare::MetricFamily::declare(name, L::NAMES, false))
            }

            /// Declares a metric like [`new`](Self::new) does, and allows any characters except
            /// `"`, `\` and control characters in its name: `http.requests`. (A setter would come
            /// too late: `new` has checked the name by then.)
            ///
            /// ```
            #[doc = concat!("static REQUESTS: tallies::", stringify!($metric), " = tallies::", stringify!($metric), "::new_utf8(\"http.requests\");")]
            /// assert_eq!(REQUESTS.name(), "http.requests");
            /// ```
            ///
            /// A scraper that does not ask for such names gets them escaped. A name whose escaped
            /// form is the same as another name is rejected.
            ///
            /// # Panics
            ///
            /// If the name is empty or has one of those characters, or if a label name is reserved
            /// or given twice.
            #[track_caller]
            #[must_use]
            pub const fn new_utf8(name: &'static str) -> Self
            where
                L: $crate::family::label::NamedLabels,
            {
                Self($crate::declare::MetricFamily::declare(name, L::NAMES, true))
            }

            tallies_names::setters! {
                /// Gives every series cells of its own in every thread from its first update on.
                /// Without this, a series counts in one cold cell until it has had 1 024 updates in
                /// a minute. The price is the memory of the cells.
                const fn hot(self) = self.0.declaration.desc.hot = true;

                /// Sets the unit, such as `seconds`. By convention the name ends in it.
                const fn unit(self, unit: &'static str) = self.0.declaration.desc.unit.set(unit);
            }
        }
    };
}
pub(crate) use with_static;

/// Implements `builder` for a kind of metric. Apart from [`metric`], because it comes after the
/// setters of the kind on the documentation page.
macro_rules! with_builder {
    ($metric:ident) => {
        impl $metric {
            /// Starts to declare the metric at run time. [`register`](crate::Builder::register)
            /// checks everything.
            ///
            /// ```
            /// let registry = tallies::Registry::new();
            #[doc = concat!("let jobs = tallies::", stringify!($metric), "::builder(\"jobs\", \"Jobs.\").register(&registry)?;")]
            /// assert_eq!(jobs.name(), "jobs");
            /// # Ok::<(), tallies::Error>(())
            /// ```
            #[track_caller]
            pub fn builder(name: &str, help: &str) -> $crate::Builder<Self> {
                $crate::Builder::new(name, help)
            }
        }
    };
}
pub(crate) use with_builder;

/// Implements methods by the same methods of `$target`. In front stands the `where` clause of all
/// of them.
macro_rules! forward {
    ($where:tt $this:ident => $target:expr;
     $($(#[$doc:meta])* fn $name:ident($($arg:ident: $ty:ty),*) $(-> $out:ty)?;)*) => {$(
        $crate::declare::forward!(
            @method $where $this => $target; $(#[$doc])* fn $name($($arg: $ty),*) $(-> $out)?
        );
    )*};
    (@method [$($where:tt)*] $this:ident => $target:expr;
     $(#[$doc:meta])* fn $name:ident($($arg:ident: $ty:ty),*) $(-> $out:ty)?) => {
        $(#[$doc])*
        #[inline]
        pub fn $name(&self, $($arg: $ty),*) $(-> $out)? $($where)* {
            let $this = self;
            $target.$name($($arg),*)
        }
    };
}
pub(crate) use forward;

/// Implements the methods that histograms and summaries share. `$constructor` is the method of a
/// registry that makes the metric.
macro_rules! observe_methods {
    ($constructor:ident) => {
        /// Observes `value`, or returns why it cannot.
        ///
        /// ```
        /// let registry = tallies::Registry::new();
        #[doc = concat!("let wait = registry.", stringify!($constructor), "(\"wait_seconds\", \"Time waited.\")?;")]
        /// wait.try_observe(0.25)?;
        /// assert!(wait.try_observe(f64::NAN).is_err());
        /// assert_eq!(wait.get().count(), 1);
        /// # Ok::<(), tallies::Error>(())
        /// ```
        ///
        /// # Errors
        ///
        /// Returns an error for NaN, and for an infinity if one of the other sign was observed
        /// before ([`Error::is_rejected_update`]). Nothing is observed then.
        pub fn try_observe(&self, value: f64) -> Result<(), Error>
        where
            L: Unlabelled,
        {
            if !value.is_finite() {
                self.0.declaration.family().check_observed(value)?;
            }
            self.observe(value);
            Ok(())
        }

        /// Observes a duration, in seconds.
        #[inline]
        pub fn observe_duration(&self, duration: Duration)
        where
            L: Unlabelled,
        {
            self.observe(duration.as_secs_f64());
        }
    };
}
pub(crate) use observe_methods;

/// Implements the column of values of a kind of cells.
macro_rules! column {
    ($column:ty, $pattern:pat => $values:ident) => {
        type Column = $column;

        fn column(values: &mut Values) -> Option<&mut $column> {
            match values {
                $pattern => Some($values),
                _ => None,
            }
        }
    };
}
pub(crate) use column;

/// Implements the declaration in a `static` by label names, and the setters of metrics whose series
/// expire.
macro_rules! with_labels {
    ($metric:ident, [$($generics:tt)*], [$($names:ident),*], [$($rest:ident),*], [$($rest_generics:tt)*]) => {
        impl<const LABELS: usize, $($rest_generics)*> $metric<[&'static str; LABELS], $($rest),*> {
            /// Declares a metric with labels in a `static`, by label names instead of a type.
            ///
            /// ```
            #[doc = concat!("static JOBS: tallies::", stringify!($metric), "<[&str; 2]> = tallies::", stringify!($metric), "::labelled(\"jobs\", &[\"queue\", \"kind\"]);")]
            ///
            /// let mail = JOBS.with(["mail", "retry"]);
            /// # let _ = mail;
            /// ```
            ///
            /// # Panics
            ///
            /// The same as [`new`](Self::new): a compile error in a `static`.
            #[track_caller]
            #[must_use]
            pub const fn labelled(name: &'static str, labels: &'static [&'static str; LABELS]) -> Self {
                let labels = $crate::family::desc::Names::Fixed(labels);
                Self($crate::declare::MetricFamily::declare(name, labels, false))
            }
        }

        impl<$($generics)*> $metric<$($names),*> {
            tallies_names::setters! {
                /// Retires every series whose value stays the same for this long. See
                /// [`Builder::expire_after`](crate::Builder::expire_after).
                ///
                /// ```
                /// use std::time::Duration;
                ///
                #[doc = concat!("static JOBS: tallies::", stringify!($metric), "<[&str; 1]> =")]
                #[doc = concat!("    tallies::", stringify!($metric), "::labelled(\"jobs\", &[\"queue\"]).expire_after(Duration::from_secs(600));")]
                /// # JOBS.with(["mail"]);
                /// ```
                const fn expire_after(self, idle: std::time::Duration) =
                    self.0.declaration.desc.expire_after = Some(idle);
            }
        }
    };
}
pub(crate) use with_labels;
