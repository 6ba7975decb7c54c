//! The metric types that users declare, with or without labels: as statics, at run time in a
//! registry, or as fields of a derived struct.
//!
//! There is one type for each kind of metric: [`Counter`], `Counter<Request>`, `Counter<Request,
//! f64>`. The compiler checks a metric in a `static`. A metric that is built at run time returns an
//! error, which says what would be right.

// First, because a page of the documentation has methods in the order of modules.
mod registry;

pub(crate) mod buckets;
mod builder;
pub(crate) mod counter;
mod declaration;
mod deferred;
mod exemplar;
pub(crate) mod gauge;
pub(crate) mod histogram;
mod in_flight;
pub(crate) mod info;
mod lazy_ref;
pub(crate) mod macros;
mod series;
mod state_set;
pub(crate) mod summary;
mod timer;

pub use builder::{Builder, Metric};
pub use counter::Counter;
pub use deferred::{Deferred, Texts};
pub use exemplar::trace_ids;
pub use gauge::{Gauge, GaugeValue, UpDownCounter};
pub use histogram::Histogram;
pub use in_flight::{InFlight, Track};
pub use info::Info;
pub use series::{Bound, Series};
pub use state_set::StateSet;
pub use summary::Summary;
pub use timer::{Observe, Sampled, SampledTimer, Timer};

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
        options: crate::family::desc::Options<'_>,
        registry: &crate::Registry,
    ) -> Result<Self, crate::Error>;
}

/// Implements what every kind of metric has: the setters of its `const` form, its builder, and the
/// traits.
macro_rules! metric {
    ($metric:ident, [$($generics:tt)*], [$($names:ident),*], $labelled:ty, $cells:ty, $kind:expr) => {
        $crate::declare::declared!($metric, [$($generics)*], [$($names),*], $labelled, $cells, $kind, &[]);

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
                let mut desc = $crate::family::desc::Desc::new(name, $kind, L::NAMES);
                desc.closed = $crate::family::desc::ClosedSet::of::<L>();
                Self {
                    inner: $crate::declare::declaration::Declaration::new(desc),
                    labels: std::marker::PhantomData,
                }
            }

            /// Declares a metric like [`new`](Self::new) does, and allows any characters except
            /// `"`, `\` and control characters in its name: `http.requests`.
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
                let mut desc = $crate::family::desc::Desc::new_utf8(name, $kind, L::NAMES);
                desc.closed = $crate::family::desc::ClosedSet::of::<L>();
                Self {
                    inner: $crate::declare::declaration::Declaration::new(desc),
                    labels: std::marker::PhantomData,
                }
            }

            /// Gives every series cells of its own in every thread from its first update on.
            /// Without this, a series counts in one cold cell until it has had 1 024 updates in a
            /// minute. The price is the memory of the cells.
            #[must_use]
            pub const fn hot(mut self) -> Self {
                self.inner.desc.hot = true;
                self
            }

            /// Sets the unit, such as `seconds`. By convention the name ends in it.
            #[must_use]
            pub const fn unit(mut self, unit: &'static str) -> Self {
                self.inner.desc.unit.set(unit);
                self
            }
        }
    };
}
pub(crate) use metric;

/// Implements the part of [`metric`] that a state set has, too. `$labelled` is the type with the
/// label sets `X`.
macro_rules! declared {
    ($metric:ident, [$($generics:tt)*], [$($names:ident),*], $labelled:ty, $cells:ty, $kind:expr, $states:expr) => {
        impl<$($generics)*> $metric<$($names),*> {
            /// Returns the name as it was declared, without the registry's prefix.
            #[must_use]
            pub fn name(&self) -> &str {
                &self.inner.desc.name
            }

            /// Sets the help text. `#[tallies::metric]` takes it from the doc comment.
            #[must_use]
            pub const fn help(mut self, help: &'static str) -> Self {
                self.inner.desc.help.set(help);
                self
            }

            /// For `#[tallies::metric]`, which knows the module, and makes the notes about names at
            /// compile time.
            #[doc(hidden)]
            #[must_use]
            pub const fn __declared_in(mut self, module: &'static str) -> Self {
                self.inner.desc.module = module;
                self.inner.desc.lint = false;
                self
            }

            /// Sets labels that every series has. For labels that are known only at start-up, use
            /// [`Registry::add_constant`](crate::Registry::add_constant).
            ///
            /// ```
            /// static JOBS: tallies::Counter =
            ///     tallies::Counter::new("jobs_total").constant(&[("shard", "7")]);
            /// tallies::register_all!(JOBS);
            /// assert!(tallies::encode::text(&tallies::snapshot()).contains(r#"shard="7""#));
            /// ```
            #[must_use]
            pub const fn constant(mut self, labels: &'static [(&'static str, &'static str)]) -> Self {
                self.inner.desc.constant.set(labels);
                self
            }

            /// Limits the number of series. Further label sets count in one overflow series. The
            /// default is [`DEFAULT_LIMIT`](crate::label::DEFAULT_LIMIT).
            #[must_use]
            pub const fn limit(mut self, series: usize) -> Self {
                self.inner.desc.limit = series;
                self
            }
        }

        impl<$($generics)*> Clone for $metric<$($names),*> {
            /// Returns another handle to the same family.
            fn clone(&self) -> Self {
                Self {
                    inner: self.inner.another(),
                    labels: std::marker::PhantomData,
                }
            }
        }

        impl<$($generics)*> std::fmt::Debug for $metric<$($names),*> {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_struct(stringify!($metric))
                    .field("name", &self.inner.desc.name)
                    .finish_non_exhaustive()
            }
        }

        impl<$($generics)*> $crate::registry::Listed for $metric<$($names),*> {
            fn enlist(&self) {
                self.inner.enlist::<L>();
            }
        }

        impl<$($generics)*> $crate::declare::Declare for $metric<$($names),*> {
            #[track_caller]
            fn declare(
                name: &str,
                help: &str,
                options: $crate::family::desc::Options<'_>,
                registry: &$crate::Registry,
            ) -> Result<Self, $crate::Error> {
                let mut builder = $crate::declare::builder::Builder::<Self>::new(
                    name,
                    help,
                    $kind,
                    L::NAMES,
                    std::panic::Location::caller(),
                );
                builder.desc.closed = $crate::family::desc::ClosedSet::of::<L>();
                builder.desc.states = $states;
                builder.desc.apply(options, L::FROM_DATA)?;
                builder.register(registry)
            }
        }

        impl<$($generics)*> $crate::declare::builder::Metric for $metric<$($names),*> {
            type Labelled<X: LabelSet> = $labelled;
        }

        impl<$($generics)*> $crate::declare::builder::MetricParts for $metric<$($names),*> {
            type Cells = $cells;

            fn declared(inner: $crate::declare::declaration::Declaration<$cells>) -> Self {
                inner.enlist::<L>();
                Self {
                    inner,
                    labels: std::marker::PhantomData,
                }
            }
        }
    };
}
pub(crate) use declared;

/// Implements `builder` for a kind of metric. Apart from [`metric`], because it comes after the
/// setters of the kind on the documentation page.
macro_rules! with_builder {
    ($metric:ident, $kind:expr) => {
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
                let location = std::panic::Location::caller();
                let names = $crate::family::desc::Names::Fixed(&[]);
                $crate::Builder::new(name, help, $kind, names, location)
            }
        }
    };
}
pub(crate) use with_builder;

/// Implements methods of a bound series by the same methods of [`Series`].
macro_rules! forward_to_series {
    ($($(#[$doc:meta])* fn $name:ident($($arg:ident: $ty:ty),*) $(-> $out:ty)?;)*) => {$(
        $(#[$doc])*
        #[inline]
        pub fn $name(&self, $($arg: $ty),*) $(-> $out)? {
            self.last_found().$name($($arg),*)
        }
    )*};
}
pub(crate) use forward_to_series;

/// Implements what every kind of metric with labels has: look-ups, reading and removal. `$path` is
/// the type in examples, `$set` the label set of look-ups, and `$array` the type with an array of
/// `LABELS` texts as labels.
macro_rules! labelled {
    ($metric:ident, $path:literal, $plain:ty, [$($generics:tt)*], [$($names:ident),*],
     $set:ty, $array:ty, [$($rest_generics:tt)*], $value:ty, $read:expr) => {
        impl<$($generics)*> $metric<$($names),*> {
            /// Returns the labels and the value of every series.
            ///
            /// ```
            /// let registry = tallies::Registry::new();
            #[doc = concat!("let jobs = tallies::", $path, "::builder(\"jobs\", \"Jobs.\")")]
            ///     .labels(["queue"])
            ///     .register(&registry)?;
            /// jobs.with(["mail"]);
            /// let (labels, _) = &jobs.get_all()[0];
            /// assert_eq!(labels, &[("queue".to_owned(), "mail".to_owned())]);
            /// # Ok::<(), tallies::Error>(())
            /// ```
            #[must_use]
            pub fn get_all(&self) -> Vec<(Vec<(String, String)>, $value)> {
                self.inner.enlist::<$set>();
                let family = self.inner.family();
                family
                    .totals()
                    .into_iter()
                    .map(|(labels, total)| (labels, ($read)(&family.desc, total)))
                    .collect()
            }

            /// Returns the number of series, without the overflow series.
            ///
            /// ```
            /// let registry = tallies::Registry::new();
            #[doc = concat!("let jobs = tallies::", $path, "::builder(\"jobs\", \"Jobs.\")")]
            ///     .labels(["queue"])
            ///     .register(&registry)?;
            /// assert!(jobs.is_empty());
            /// jobs.with(["mail"]);
            /// assert_eq!(jobs.len(), 1);
            /// # Ok::<(), tallies::Error>(())
            /// ```
            #[must_use]
            pub fn len(&self) -> usize {
                self.inner.family().len()
            }

            /// Returns whether there are no series.
            #[must_use]
            pub fn is_empty(&self) -> bool {
                self.len() == 0
            }

            /// Returns whether the family has reached its limit of series. A further label set
            /// counts in the overflow series.
            ///
            /// ```
            /// let registry = tallies::Registry::new();
            #[doc = concat!("let jobs = tallies::", $path, "::builder(\"jobs\", \"Jobs.\")")]
            ///     .labels(["queue"])
            ///     .limit(1)
            ///     .register(&registry)?;
            /// assert!(!jobs.is_full());
            /// jobs.with(["mail"]);
            /// assert!(jobs.is_full());
            /// # Ok::<(), tallies::Error>(())
            /// ```
            #[must_use]
            pub fn is_full(&self) -> bool {
                self.inner.family().is_full()
            }

            /// Returns the series of a label set. Makes it if there is none; above the limit,
            /// returns the overflow series.
            ///
            /// ```
            /// let registry = tallies::Registry::new();
            #[doc = concat!("let jobs = tallies::", $path, "::builder(\"jobs\", \"Jobs.\")")]
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
                $crate::Series {
                    lazy_ref: self.inner.with::<$set>(&labels),
                }
            }

            /// Copies a label set to `texts`, for attributes.
            #[doc(hidden)]
            #[inline]
            pub fn __defer<'a>(
                &'a self,
                labels: L::Borrowed<'_>,
                texts: &'a mut $crate::declare::Texts,
            ) -> $crate::declare::Deferred<'a, $plain> {
                $crate::declare::Deferred::new::<$set>(&self.inner, &labels, texts)
            }

            /// Returns the series of a label set for later use, for example in a field of a struct.
            ///
            /// ```
            /// struct Queue {
            #[doc = concat!("    jobs: tallies::Bound<tallies::", $path, ">,")]
            /// }
            ///
            /// let registry = tallies::Registry::new();
            #[doc = concat!("let jobs = tallies::", $path, "::builder(\"jobs\", \"Jobs.\")")]
            ///     .labels(["queue"])
            ///     .register(&registry)?;
            /// let queue = Queue { jobs: jobs.bind(["mail"]) };
            /// # let _ = queue.jobs;
            /// # Ok::<(), tallies::Error>(())
            /// ```
            ///
            /// The result owns its label values and outlives the metric. If the series was removed,
            /// was retired or has expired, the next use of the result makes it again.
            pub fn bind(&self, labels: L::Borrowed<'_>) -> $crate::Bound<$plain> {
                $crate::Bound {
                    bound: $crate::declare::declaration::BoundSeries::new::<$set>(&self.inner, &labels),
                }
            }

            /// Returns the series of a label set if it exists.
            ///
            /// ```
            /// let registry = tallies::Registry::new();
            #[doc = concat!("let jobs = tallies::", $path, "::builder(\"jobs\", \"Jobs.\")")]
            ///     .labels(["queue"])
            ///     .register(&registry)?;
            /// assert!(jobs.find(["mail"]).is_none());
            /// jobs.with(["mail"]);
            /// assert!(jobs.find(["mail"]).is_some());
            /// # Ok::<(), tallies::Error>(())
            /// ```
            #[must_use]
            pub fn find(&self, labels: L::Borrowed<'_>) -> Option<$crate::Series<'_, $plain>> {
                let series = self.inner.find::<$set>(&labels)?;
                Some($crate::Series { lazy_ref: series.into() })
            }

            /// Returns whether other label sets count in the series of this one, too: because of a
            /// [`View`](crate::View) that drops or caps a label, or switches the family off.
            ///
            /// ```
            /// use tallies::{Registry, View};
            ///
            /// let registry = Registry::new();
            /// registry.add_view(View::new("jobs").cap("queue", 1))?;
            #[doc = concat!("let jobs = tallies::", $path, "::builder(\"jobs\", \"Jobs.\")")]
            ///     .labels(["queue"])
            ///     .register(&registry)?;
            /// jobs.with(["mail"]);
            /// assert!(!jobs.shares(["mail"]));
            /// assert!(jobs.shares(["news"]));
            /// # Ok::<(), tallies::Error>(())
            /// ```
            #[must_use]
            pub fn shares(&self, labels: L::Borrowed<'_>) -> bool {
                let view = self.inner.family().desc.changing_view();
                view.is_some_and(|view| <$set>::with_texts(&labels, |texts| view.shares(texts)))
            }

            /// Returns whether a [`View`](crate::View) switches the family off, so that values for
            /// it need not be computed.
            ///
            /// ```
            /// use tallies::{Registry, View};
            ///
            /// let registry = Registry::new();
            /// registry.add_view(View::new("debug_*").off())?;
            #[doc = concat!("let jobs = tallies::", $path, "::builder(\"debug_jobs\", \"Jobs.\").register(&registry)?;")]
            /// assert!(jobs.is_off());
            /// # Ok::<(), tallies::Error>(())
            /// ```
            #[must_use]
            pub fn is_off(&self) -> bool {
                let view = self.inner.family().desc.changing_view();
                view.is_some_and(|view| view.off)
            }

            /// Checks a label set that has its own label names, such as
            /// [`AnyLabels`](crate::label::AnyLabels). ([`with`](Self::with) counts an invalid one
            /// in the overflow series.)
            ///
            /// ```
            /// use tallies::label::AnyLabels;
            ///
            /// let registry = tallies::Registry::new();
            #[doc = concat!("let jobs = tallies::", $path, "::builder(\"jobs\", \"Jobs.\").label_set::<AnyLabels>().register(&registry)?;")]
            /// assert!(jobs.check(&[("queue", "mail")]).is_ok());
            /// assert!(jobs.check(&[("a queue", "mail")]).is_err());
            /// # Ok::<(), tallies::Error>(())
            /// ```
            ///
            /// # Errors
            ///
            /// Returns an error if a label name is invalid, reserved, or given twice.
            pub fn check(&self, labels: L::Borrowed<'_>) -> Result<(), $crate::Error> {
                <$set>::with_texts(&labels, |texts| self.inner.family().desc.own_text(texts).map(drop))
            }
        }

        impl<const LABELS: usize, $($rest_generics)*> $array {
            /// Returns the series of a label set that is given by name, in any order. Makes it as
            /// [`with`](Self::with) does.
            ///
            /// ```
            /// let registry = tallies::Registry::new();
            #[doc = concat!("let jobs = tallies::", $path, "::builder(\"jobs\", \"Jobs.\").labels([\"queue\", \"kind\"]).register(&registry)?;")]
            /// jobs.named(&[("kind", "retry"), ("queue", "mail")])?;
            /// assert!(jobs.find(["mail", "retry"]).is_some());
            /// assert!(jobs.named(&[("queue", "mail")]).is_err());
            /// # Ok::<(), tallies::Error>(())
            /// ```
            ///
            /// # Errors
            ///
            /// Returns an error if the names are not exactly those of the family.
            pub fn named(&self, labels: &[(&str, &str)]) -> Result<$crate::Series<'_, $plain>, $crate::Error> {
                let texts = $crate::family::desc::in_order(&self.inner.desc, labels)?;
                Ok($crate::Series {
                    lazy_ref: self.inner.family().with(&texts).into(),
                })
            }
        }

        impl<$($generics)*> $metric<$($names),*> {
            /// Removes the series of a label set. Returns `false` if there is none.
            ///
            /// ```
            /// let registry = tallies::Registry::new();
            #[doc = concat!("let jobs = tallies::", $path, "::builder(\"jobs\", \"Jobs.\")")]
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
                <$set>::DENSE == 0
                    && <$set>::with_texts(&labels, |texts| self.inner.family().retire(texts, true))
            }

            /// Retires the series of a label set: folds its total into the overflow series, so that
            /// the sum over the family does not drop. Returns `false` if there is none.
            ///
            /// ```
            /// let registry = tallies::Registry::new();
            #[doc = concat!("let jobs = tallies::", $path, "::builder(\"jobs\", \"Jobs.\")")]
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
                <$set>::DENSE == 0
                    && <$set>::with_texts(&labels, |texts| self.inner.family().retire(texts, false))
            }

            /// Removes every series for whose labels `keep` returns `false`, and returns their
            /// number. See [`remove`](Self::remove).
            ///
            /// ```
            /// let registry = tallies::Registry::new();
            #[doc = concat!("let jobs = tallies::", $path, "::builder(\"jobs\", \"Jobs.\")")]
            ///     .labels(["queue"])
            ///     .register(&registry)?;
            /// jobs.with(["mail"]);
            /// jobs.with(["news"]);
            /// assert_eq!(jobs.retain(|labels| labels[0].1 == "mail"), 1);
            /// assert!(jobs.find(["news"]).is_none());
            /// # Ok::<(), tallies::Error>(())
            /// ```
            pub fn retain(
                &self,
                mut keep: impl FnMut(&[(&str, std::borrow::Cow<'_, str>)]) -> bool,
            ) -> usize {
                self.inner.family().retain(|text| {
                    keep(&$crate::snapshot::labels::pairs(text).collect::<Vec<_>>())
                })
            }

            /// Removes every series and drops its total. The series of closed label sets stay.
            ///
            /// ```
            /// let registry = tallies::Registry::new();
            #[doc = concat!("let jobs = tallies::", $path, "::builder(\"jobs\", \"Jobs.\")")]
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
                self.inner.family().clear();
            }
        }

        impl<$($rest_generics)*> $crate::Series<'_, $plain> {
            /// Returns the value of the series, over all threads. Waits for a scrape that is
            /// running.
            #[must_use]
            pub fn get(&self) -> $value {
                self.lazy_ref.resolve(|series| ($read)(&series.family.desc, series.total()))
            }
        }

        impl<$($rest_generics)*> $crate::Bound<$plain> {
            /// Returns the value of the series, over all threads. Waits for a scrape that is
            /// running.
            #[must_use]
            pub fn get(&self) -> $value {
                ($read)(&self.bound.family().desc, self.bound.total())
            }
        }
    };
}
pub(crate) use labelled;

/// Implements the declaration methods of kinds of metrics with labels.
macro_rules! labelled_setters {
    ($metric:ident, [$($generics:tt)*], [$($names:ident),*],
     [$($rest:ident),*], [$($rest_generics:tt)*], $cells:ty) => {
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
                Self {
                    inner: $crate::declare::declaration::Declaration::new(
                        $crate::family::desc::Desc::new(
                            name,
                            <$cells as $crate::family::MetricCells>::KIND,
                            $crate::family::desc::Names::Fixed(labels),
                        ),
                    ),
                    labels: std::marker::PhantomData,
                }
            }
        }

        impl<$($generics)*> $metric<$($names),*> {
            /// Retires every series whose value stays the same for this long. Only a scrape checks
            /// it.
            ///
            /// ```
            /// use std::time::Duration;
            ///
            #[doc = concat!("static JOBS: tallies::", stringify!($metric), "<[&str; 1]> =")]
            #[doc = concat!("    tallies::", stringify!($metric), "::labelled(\"jobs\", &[\"queue\"]).expire_after(Duration::from_secs(600));")]
            /// # JOBS.with(["mail"]);
            /// ```
            ///
            /// - The total of a retired series is folded into the overflow series. The value of a
            ///   gauge is dropped.
            /// - A gauge that is set to the value that it has does not count as changed.
            /// - An up-down counter is not retired while it is not 0. It is retired if every scrape
            ///   finds it at 0, whatever it was between the scrapes.
            /// - The next update through `with` or a [`Bound`](crate::Bound) makes a retired series
            ///   again. An update through a [`Series`](crate::Series) that was looked up before
            ///   counts in the overflow series.
            #[must_use]
            pub const fn expire_after(mut self, idle: std::time::Duration) -> Self {
                self.inner.desc.expire_after = Some(idle);
                self
            }
        }

        impl<$($generics)*> $crate::Builder<$metric<$($names),*>> {
            #[doc = concat!("Retires every series whose value stays the same for this long. See [`", stringify!($metric), "::expire_after`].")]
            pub fn expire_after(mut self, idle: std::time::Duration) -> Self {
                self.desc.expire_after = Some(idle);
                self
            }
        }
    };
}
pub(crate) use labelled_setters;
