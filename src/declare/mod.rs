//! What a user types: metrics in statics, from a registry at run time, or as a derived struct; and their label sets.
//!
//! One type per kind: [`Counter`], `Counter<Request>`, `Counter<Request, f64>`. What stands in a `static` is checked by
//! the compiler; what is built at run time returns an error that says what would be right.

pub(crate) mod buckets;
mod builder;
pub(crate) mod counter;
mod declaration;
mod exemplar;
pub(crate) mod gauge;
mod handle;
pub(crate) mod histogram;
mod in_flight;
pub(crate) mod info;
mod registry;
mod series;
pub(crate) mod summary;
mod timer;

pub use builder::{Builder, Metric};
pub use counter::Counter;
pub use exemplar::trace_ids;
pub use gauge::{Gauge, UpDownCounter};
pub use histogram::Histogram;
pub use in_flight::{InFlight, Track};
pub use info::{Info, StateSet};
pub use series::{Bound, Series};
pub use summary::Summary;
pub use timer::{Observe, Sampled, SampledTimer, Timer};

/// What can be a field of a `#[derive(Metrics)]` struct: every kind of metric.
///
/// Its name is that of the field, unless `#[metric(name = "..")]` says another. Whether it will do is said by `register`.
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
    /// Whatever its builder's `register` would say.
    fn declare(
        name: &str,
        help: &str,
        options: crate::family::desc::Options<'_>,
        registry: &crate::Registry,
    ) -> Result<Self, crate::Error>;
}

/// The setters that every kind of metric has, on its `const` form and on its builder; and what both do with a family.
macro_rules! metric {
    ($metric:ident, [$($generics:tt)*], [$($names:ident),*], [$($rest:ident),*], $cells:ty, $kind:expr) => {
        impl<$($generics)*> $metric<$($names),*> {
            /// Declares the metric in a `static`; a bad name is a compile error there.
            ///
            /// In a `let` this is not the way, as it panics on a bad name: use a registry, or the builder.
            ///
            /// # Panics
            ///
            /// On a name or label name outside the grammar, and on reserved or doubled label names.
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

            /// As [`new`](Self::new), with a name of any characters but `"`, `\\` and line feed: `http.requests`.
            ///
            /// A reader that does not ask for such names gets them escaped; what would then be the same as another
            /// name is refused.
            ///
            /// # Panics
            ///
            /// On an empty name, on those characters, and on reserved or doubled label names.
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

            /// The help text. With `#[tallies::metric]` the doc comment is it.
            #[must_use]
            pub const fn help(mut self, help: &'static str) -> Self {
                self.inner.desc.help.set(help);
                self
            }

            /// The unit, such as `seconds`; by convention the name ends in it.
            #[must_use]
            pub const fn unit(mut self, unit: &'static str) -> Self {
                self.inner.desc.unit.set(unit);
                self
            }

            /// Labels that every series has. Those that are known only at start-up are given to the registry.
            #[must_use]
            pub const fn constant(mut self, labels: &'static [(&'static str, &'static str)]) -> Self {
                self.inner.desc.constant.set(labels);
                self
            }

            /// The most series; further label sets count in one overflow series. The default is
            /// [`DEFAULT_LIMIT`](crate::label::DEFAULT_LIMIT).
            #[must_use]
            pub const fn limit(mut self, series: usize) -> Self {
                self.inner.desc.limit = series;
                self
            }

            /// Every series is hot from its first update on, at the price of a cell in every thread.
            #[must_use]
            pub const fn hot(mut self) -> Self {
                self.inner.desc.hot = true;
                self
            }

            /// The name, as declared.
            #[must_use]
            pub fn name(&self) -> &str {
                &self.inner.desc.name
            }
        }

        impl<$($generics)*> Clone for $metric<$($names),*> {
            /// Returns another handle to the same family.
            fn clone(&self) -> Self {
                Self {
                    inner: self.inner.share(),
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
                builder.desc.apply(options, L::FROM_DATA)?;
                builder.register(registry)
            }
        }

        impl<$($generics)*> $crate::declare::builder::Metric for $metric<$($names),*> {
            type Labelled<S: LabelSet> = $metric<S, $($rest),*>;
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

        impl $metric {
            /// Starts to declare the metric at run time. [`register`](crate::Builder::register) checks it.
            #[track_caller]
            pub fn builder(name: &str, help: &str) -> $crate::Builder<Self> {
                let location = std::panic::Location::caller();
                let names = $crate::family::desc::Names::Fixed(&[]);
                $crate::Builder::new(name, help, $kind, names, location)
            }
        }
    };
}
pub(crate) use metric;

/// What a series does, by way of one that is kept: it is found once for each update.
macro_rules! by_series {
    ($($(#[$doc:meta])* fn $name:ident($($arg:ident: $ty:ty),*) $(-> $out:ty)?;)*) => {$(
        $(#[$doc])*
        #[inline]
        pub fn $name(&self, $($arg: $ty),*) $(-> $out)? {
            self.series().$name($($arg),*)
        }
    )*};
}
pub(crate) use by_series;

/// What every labelled family can do: find a series, keep one, look at them, and end them. An info cannot.
macro_rules! labelled {
    ($metric:ident, $plain:ty, [$($generics:tt)*], [$($names:ident),*],
     [$($rest:ident),*], [$($rest_generics:tt)*], $cells:ty, $value:ty, $read:expr) => {
        impl<$($generics)*> $crate::Builder<$metric<$($names),*>> {
            #[doc = concat!("Retires a series whose value was the same in every scrape for so long: see [`", stringify!($metric), "::expire_after`].")]
            pub fn expire_after(mut self, idle: std::time::Duration) -> Self {
                self.desc.expire_after = Some(idle);
                self
            }
        }

        impl<$($generics)*> $metric<$($names),*> {
            /// Retires a series whose value was the same in every scrape for so long. Looked at when somebody scrapes.
            ///
            /// What it counted stays in the family's sum; a gauge is forgotten. To be set to the value that it has is no
            /// change of a gauge. An up-down counter stays while it is not 0, and goes where every scrape finds it at 0,
            /// whatever happens between them. A series that went comes back with its next update.
            #[must_use]
            pub const fn expire_after(mut self, idle: std::time::Duration) -> Self {
                self.inner.desc.expire_after = Some(idle);
                self
            }

            /// The series of a label set, made if there is none; beyond the limit the overflow series.
            ///
            /// For now, not for keeps: it counts into the overflow series once this one is removed. A thread finds a
            /// label set that it has used before in a table of its own: no lock, no allocation, no shared line.
            #[inline]
            pub fn with(&self, labels: L::Borrowed<'_>) -> $crate::Series<'_, $plain> {
                $crate::Series {
                    handle: self.inner.with::<L>(&labels),
                }
            }

            /// The series of a label set for keeps: owns its labels, outlives the metric, and makes the series anew
            /// when it was removed meanwhile.
            pub fn bind(&self, labels: L::Borrowed<'_>) -> $crate::Bound<$plain> {
                $crate::Bound {
                    bound: $crate::declare::declaration::BoundSeries::new::<L>(&self.inner, &labels),
                }
            }

            /// Returns the series of a label set if it exists.
            #[must_use]
            pub fn find(&self, labels: L::Borrowed<'_>) -> Option<$crate::Series<'_, $plain>> {
                let found = self.inner.find::<L>(&labels)?;
                Some($crate::Series { handle: found.into() })
            }

            /// Every series: its labels, and what it has counted.
            #[must_use]
            pub fn get_all(&self) -> Vec<(Vec<(String, String)>, $value)> {
                self.inner.enlist::<L>();
                self.inner
                    .family()
                    .totals()
                    .into_iter()
                    .map(|(labels, total)| (labels, ($read)(total)))
                    .collect()
            }

            /// Retires the series of a label set; false where there is none. What it counted moves to the overflow
            /// series, so the family's sum never drops; gauges are forgotten.
            ///
            /// Waits for a scrape that is running. The series of closed label sets stay.
            pub fn remove(&self, labels: L::Borrowed<'_>) -> bool {
                L::DENSE == 0 && L::with_texts(&labels, |texts| self.inner.family().remove(texts))
            }

            /// Retires every series that `keep` does not want, and says how many; see [`remove`](Self::remove).
            pub fn retain(
                &self,
                mut keep: impl FnMut(&[(&str, std::borrow::Cow<'_, str>)]) -> bool,
            ) -> usize {
                self.inner.family().retain(false, |text| {
                    keep(&$crate::snapshot::labels::pairs(text).collect::<Vec<_>>())
                })
            }

            /// Forgets every series and what it counted. The series of closed label sets stay.
            ///
            /// Of counters, histograms and summaries the overflow series stays as well, from zero on. But of a summary its
            /// quantiles are those of all that it ever observed, or of the window; a sum that was infinite is so again
            /// with the next observation, and a counter that was infinite stays so. What is in flight is not forgotten:
            /// what an up-down counter's series held moves to its overflow series, as in [`remove`](Self::remove).
            pub fn clear(&self) {
                self.inner.family().retain(true, |_| false);
            }

            /// The number of series, without the overflow series.
            #[must_use]
            pub fn len(&self) -> usize {
                self.inner.family().len()
            }

            /// Whether there is no series yet.
            #[must_use]
            pub fn is_empty(&self) -> bool {
                self.len() == 0
            }

            /// Checks a label set that brings its own names; `with` counts a bad one in the overflow series.
            ///
            /// # Errors
            ///
            /// A label name outside the grammar, reserved or doubled.
            pub fn check(&self, labels: L::Borrowed<'_>) -> Result<(), $crate::Error> {
                L::with_texts(&labels, |texts| self.inner.family().check_any(texts))
            }
        }

        impl<const LABELS: usize, $($rest_generics)*> $metric<[&'static str; LABELS], $($rest),*> {
            /// Declares a labelled metric in a `static`, by label names instead of a type.
            ///
            /// # Panics
            ///
            /// As [`new`](Self::new): a compile error in a `static`.
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

            /// The series of a label set given by name, in any order.
            ///
            /// # Errors
            ///
            /// Names that are not exactly the family's.
            pub fn named(&self, labels: &[(&str, &str)]) -> Result<$crate::Series<'_, $plain>, $crate::Error> {
                let texts = $crate::family::desc::in_order(&self.inner.desc, labels)?;
                Ok($crate::Series {
                    handle: self.inner.family().with(&texts).into(),
                })
            }
        }

        impl<$($rest_generics)*> $crate::Series<'_, $plain> {
            /// Returns what the series has counted so far, by all threads. Waits for a scrape that is running.
            #[must_use]
            pub fn get(&self) -> $value {
                self.handle.cold(|series| ($read)(series.family.total(series.cells)))
            }
        }

        impl<$($rest_generics)*> $crate::Bound<$plain> {
            /// Returns what the series has counted so far, by all threads. Waits for a scrape that is running.
            #[must_use]
            pub fn get(&self) -> $value {
                self.series().get()
            }
        }
    };
}
pub(crate) use labelled;
