//! Re-exports of the attribute and the derives that declare metrics and labels, with their
//! documentation. It is written here rather than in the macro crate because examples run here.

/// Registers a metric's static at link time, so that it is exported, at zero, from program start.
/// The doc comment of the static becomes the help text.
///
/// Without this attribute, a static is exported from its first use on, or once
/// [`register_all!`](crate::register_all) names it.
///
/// ```
/// use tallies::Counter;
///
/// /// Files accepted.
/// #[tallies::metric]
/// static UPLOADS: Counter = Counter::new("file_uploads_total");
///
/// # let _ = &UPLOADS;
/// # #[cfg(feature = "link-time")]
/// assert_eq!(tallies::snapshot().get("file_uploads_total", &[]), Some(0.0));
/// ```
///
/// Two statics of the same name share their series if their declarations are equal; one of them may
/// lack the help text. If they differ, the second one is not exported, which is logged once and
/// counted in `tallies_rejected_families_total`.
///
/// # Names
///
/// The compiler warns about names that Prometheus users would not expect: a counter without
/// `_total`, a name with `minutes` or `ms`, a name that does not end in its unit, a family without
/// help text. `#[allow(deprecated)]` on the static switches the warning off.
///
/// # Limitations
///
/// The attribute has no effect in these cases; use `tallies::register_all!` at start-up there:
///
/// - without the feature `link-time`;
/// - in a static library that the linker of another language links, because such a linker takes
///   only the object files that it needs;
/// - in a crate that the rest of the program never names, because the compiler leaves it out.
///
/// `#[tallies::metric(crate = my::path)]` sets the path of this crate, if it is not `::tallies`.
pub use tallies_macros::metric;

/// Implements `LabelSet` for a struct with named fields. The fields are the labels, in their order.
///
/// `#[label("name")]` on a field changes the name of its label. `#[label(crate = my::path)]` on the
/// struct sets the path of the `tallies` crate, if it is not `::tallies`. The struct may have one
/// lifetime parameter, and no other parameters.
///
/// The types of the fields implement [`LabelValue`](trait@crate::LabelValue): enums with
/// `#[derive(LabelValue)]`, texts, integers, `bool`, `char`, IP addresses, and `Option`s of them. A
/// struct of enums and `bool`s with at most 4 096 combinations is a *closed* label set: all of them
/// are exported from the start, at zero, their series stay, and a look-up is arithmetic.
///
/// ```
/// use tallies::{Counter, Labels};
///
/// #[derive(Labels)]
/// struct Request<'a> {
///     route: &'a str,
///     #[label("code")]
///     status: u16,
/// }
///
/// static REQUESTS: Counter<Request> = Counter::new("requests_total");
///
/// REQUESTS.with(Request { route: "/", status: 200 }).inc();
///
/// // In a field of a struct, the lifetime is `'static`. `with` takes any lifetime all the same.
/// struct App {
///     requests: Counter<Request<'static>>,
/// }
///
/// let app = App { requests: REQUESTS.clone() };
/// let route = String::from("/");
/// app.requests.with(Request { route: &route, status: 200 }).inc();
/// assert_eq!(REQUESTS.with(Request { route: "/", status: 200 }).get(), 2);
/// ```
pub use tallies_macros::Labels;

/// Implements [`Event`](trait@crate::event::Event) for a struct with named fields. The fields are
/// the metrics, and their doc comments the help texts.
///
/// A `u64` is a counter, and a field of any other type that is an
/// [`EventValue`](crate::event::EventValue) a histogram, of which there is at most one. A metric
/// has the name of its field, unless `#[metric(name = "..")]` changes it. The attribute also
/// accepts `unit = ".."` and `buckets = [..]`. `#[metric(crate = my::path)]` on the struct sets the
/// path of the `tallies` crate, if it is not `::tallies`.
///
/// ```
/// use tallies::event::{Event, Events};
///
/// #[derive(Event)]
/// struct Mail {
///     /// Messages sent.
///     mail_sent_total: u64,
///     /// Time to send one.
///     #[metric(name = "mail_send_duration_seconds", buckets = [0.1, 1.0, 10.0])]
///     took: Option<f64>,
/// }
///
/// static MAIL: Events<Mail> = Events::new();
///
/// MAIL.record(Mail { mail_sent_total: 1, took: Some(0.5) });
/// MAIL.record(Mail { mail_sent_total: 2, took: None });
/// assert_eq!(MAIL.get().counts, [3]);
/// ```
pub use tallies_macros::Event;

/// Implements `LabelValue` for an enum without fields. The values form a closed set: the variants
/// in snake case, or the texts given with `#[label("text")]`.
///
/// `#[label(crate = my::path)]` on the enum sets the path of the `tallies` crate, if it is not
/// `::tallies`.
///
/// ```
/// use tallies::{Counter, LabelValue, Labels};
///
/// #[derive(LabelValue, Clone, Copy)]
/// enum Method {
///     Get,
///     #[label("other")]
///     Unknown,
/// }
///
/// #[derive(Labels)]
/// struct Request {
///     method: Method,
/// }
///
/// static REQUESTS: Counter<Request> = Counter::new("requests_total");
///
/// REQUESTS.with(Request { method: Method::Unknown }).inc();
/// let now = tallies::snapshot();
/// assert_eq!(now.get("requests_total", &[("method", "other")]), Some(1.0));
/// assert_eq!(now.get("requests_total", &[("method", "get")]), Some(0.0));
/// # let _ = Method::Get;
/// ```
pub use tallies_macros::LabelValue;

/// Adds a function `register(&registry)` to a struct of metrics, which registers all of them. The
/// doc comments of the fields become help texts.
///
/// A metric has the name of its field, unless `#[metric(name = "..")]` changes it. The attribute
/// also accepts `unit = ".."`, `labels = [".."]`, `buckets = [..]`, `limit = ..`, `hot` and `utf8`.
/// `#[metric(crate = my::path)]` on the struct sets the path of the `tallies` crate, if it is not
/// `::tallies`.
///
/// ```
/// use tallies::{Counter, Labels, Metrics, Registry, UpDownCounter};
///
/// #[derive(Labels)]
/// struct Job<'a> {
///     queue: &'a str,
/// }
///
/// #[derive(Metrics)]
/// struct Jobs {
///     /// Jobs started.
///     #[metric(name = "jobs_started_total")]
///     started: Counter<Job<'static>>, // `with` takes any lifetime
///     /// Jobs in flight.
///     jobs_in_flight: UpDownCounter,
/// }
///
/// let jobs = Jobs::register(&Registry::new())?;
/// let queue = String::from("mail");
/// jobs.started.with(Job { queue: &queue }).inc();
/// let _job = jobs.jobs_in_flight.track();
/// # Ok::<(), tallies::Error>(())
/// ```
pub use tallies_macros::Metrics;
