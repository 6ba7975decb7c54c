//! Re-exports of the measuring attributes, with their documentation. It is written here rather than
//! in the macro crate because examples run here.

/// Observes the duration of every call, in seconds, in a `Histogram` or a `Summary`.
///
/// Works on functions, methods, `async` functions (with or without `async_trait`) and whole `impl`
/// blocks. Every call is timed, whether it returns, returns an error, panics, or is a future that
/// is dropped. The time of a future starts with its first poll.
///
/// ```
/// use tallies::{Histogram, Labels, Summary};
///
/// static LATENCY: Histogram = Histogram::new("upload_duration_seconds");
///
/// #[tallies::timed(LATENCY)]
/// fn upload(file: &[u8]) -> Result<usize, std::io::Error> {
///     Ok(file.len())
/// }
///
/// #[derive(Labels)]
/// struct Job<'a> {
///     queue: &'a str,
/// }
/// static JOBS: Summary<Job> = Summary::new("job_duration_seconds");
///
/// // `labels` is an expression over the arguments, of the type that `with` takes.
/// #[tallies::timed(JOBS, labels = Job { queue: &name })]
/// async fn job(name: String) {
///     drop(name);
/// }
///
/// upload(b"hello")?;
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(
/// job("mail".to_owned())
/// # );
/// assert_eq!(LATENCY.get().count(), 1);
/// assert_eq!(JOBS.with(Job { queue: "mail" }).get().count(), 1);
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// On an `impl` block, the attribute measures every method; `#[timed(skip)]` on a method leaves it
/// out. `function!()` in the labels stands for the name of the method:
///
/// ```
/// use tallies::Histogram;
///
/// static CALLS: Histogram<[&str; 1]> = Histogram::labelled("store_duration_seconds", &["method"]);
///
/// struct Store(Vec<u8>);
///
/// #[tallies::timed(CALLS, labels = [function!()])]
/// impl Store {
///     #[timed(skip)]
///     const fn new() -> Self {
///         Self(Vec::new())
///     }
///
///     fn push(&mut self, value: u8) {
///         self.0.push(value);
///     }
///
///     fn clear(&mut self) {
///         self.0.clear();
///     }
/// }
///
/// let mut store = Store::new();
/// store.push(1);
/// store.clear();
/// assert_eq!(CALLS.with(["push"]).get().count(), 1);
/// assert_eq!(CALLS.len(), 2);
/// ```
///
/// # Cost
///
/// 55 ns, the same as code written by hand: two clock reads and one observation of a histogram or a
/// summary. With the feature `tsc`, 31 ns. Labels add 2 ns for one look-up. No allocation.
/// (`cargo bench attributes`)
///
/// # Arguments
///
/// - The metric: the path of a static, or an expression such as `self.metrics.latency` or `*LAZY`.
///   The attribute borrows it for the duration of the call, so the body may change other fields of
///   `self`. If the body moves `self` or calls a method that takes `&mut self`, the borrow checker
///   rejects it; pass `self.metrics.latency.clone()` instead, which the attribute keeps for the
///   duration of the call.
/// - `labels = ..`: evaluated before the body.
/// - `crate = ..`: the path of this crate, if it is not `::tallies`.
///
/// # What is measured
///
/// - In an `async fn`, the future.
/// - In a function that returns `impl Future`, the future. Code that runs before the function
///   creates its future is not measured.
/// - In a function that returns a boxed future, the block of the `Box::pin(async move { .. })` that
///   the function must end in. Code before it is not measured.
/// - In a function that returns an iterator, only the creation of the iterator.
///
/// In functions that return a future, labels are evaluated at the first poll. If a function returns
/// `impl Future` and does not end in an `async` block, its labels can only use arguments that the
/// body has not moved.
///
/// A function that returns a stream is rejected (use [`Measure`](crate::instrument::Measure) for
/// streams), and so is a `const fn`.
///
/// Attributes can be stacked in any order, including with those of other crates. The one exception
/// is an attribute that moves `&mut self` into its own future, as `tracing::instrument` does in an
/// `async fn`: place it below the attributes whose metric is a field of `self`, or give those a
/// clone of the metric.
pub use tallies_macros::timed;

/// Tracks the number of calls that are in flight, in an `UpDownCounter` or a `Gauge`.
///
/// Works on the same items as [`timed`](macro@crate::timed), with the same arguments. The count
/// goes down again when the call returns, when it panics, and when its future is dropped.
///
/// ```
/// use tallies::UpDownCounter;
///
/// static IN_FLIGHT: UpDownCounter = UpDownCounter::new("requests_in_flight");
///
/// #[tallies::in_progress(IN_FLIGHT)]
/// fn answer() {
///     assert_eq!(IN_FLIGHT.get(), 1);
/// }
///
/// answer();
/// assert_eq!(IN_FLIGHT.get(), 0);
/// ```
///
/// # Cost
///
/// Two updates. For an `UpDownCounter` they take less than a nanosecond together; for a `Gauge`
/// they are two atomic additions to a cache line that all threads share.
pub use tallies_macros::in_progress;

/// Counts calls in a `Counter`, as they begin.
///
/// Works on the same items as [`timed`](macro@crate::timed), with the same arguments. A function
/// that already has a histogram does not need this: the `_count` of the histogram is the same
/// number.
///
/// ```
/// use tallies::Counter;
///
/// static LOGINS: Counter<[&str; 1]> = Counter::labelled("logins_total", &["method"]);
///
/// #[tallies::count(LOGINS, labels = [method])]
/// async fn login(method: &str) {}
///
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(
/// login("password")
/// # );
/// assert_eq!(LOGINS.with(["password"]).get(), 1);
/// ```
///
/// # Cost
///
/// One update: half a nanosecond without labels.
pub use tallies_macros::count;

/// Counts failed calls in a `Counter`.
///
/// Works on the same items as [`timed`](macro@crate::timed). The type of the result decides whether
/// a call failed, not the name of the type: it can be a `Result`, an `Option` (with `on(none)`), or
/// any type that implements [`Outcome`](crate::instrument::Outcome).
///
/// ```
/// use tallies::Counter;
///
/// static ERRORS: Counter = Counter::new("parse_errors_total");
///
/// #[tallies::count_errors(ERRORS)]
/// fn parse(text: &str) -> Result<u16, std::num::ParseIntError> {
///     Ok(text.parse::<u16>()? + 1)
/// }
///
/// assert_eq!(parse("17"), Ok(18));
/// assert!(parse("x").is_err());
/// assert_eq!(ERRORS.get(), 1);
/// ```
///
/// A function whose result cannot be an error does not compile with this attribute, unless `on(..)`
/// leaves errors out, as in `on(panic)`. On an `impl` block, methods that cannot fail count their
/// panics.
///
/// By default, errors and panics count. `on(..)` selects the failures to count: `error`, `none` (an
/// `Option` that is `None`), `panic`, and `cancel` (a future that was polled and is dropped before
/// it completes). To count them separately, stack several attributes:
///
/// ```
/// use tallies::Counter;
///
/// static FAILED: Counter<[&str; 1]> = Counter::labelled("fetch_failures_total", &["how"]);
///
/// #[tallies::count_errors(FAILED, on(error), labels = ["error"])]
/// #[tallies::count_errors(FAILED, on(panic), labels = ["panic"])]
/// #[tallies::count_errors(FAILED, on(cancel), labels = ["cancelled"])]
/// async fn fetch() -> std::io::Result<()> {
///     Err(std::io::ErrorKind::NotFound.into())
/// }
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(fetch()).unwrap_err();
/// # assert_eq!(FAILED.with(["error"]).get(), 1);
/// ```
///
/// To take labels from the error, pass a closure over it. A panic has no error, so panics do not
/// count here:
///
/// ```
/// use tallies::Counter;
///
/// static ERRORS: Counter<[&str; 2]> = Counter::labelled("open_errors_total", &["dir", "kind"]);
///
/// #[tallies::count_errors(ERRORS, labels = |error| [dir, &error.kind().to_string()])]
/// fn open(dir: &str, name: &str) -> std::io::Result<std::fs::File> {
///     std::fs::File::open(std::path::Path::new(dir).join(name))
/// }
///
/// assert!(open("/none", "x").is_err());
/// assert_eq!(ERRORS.with(["/none", "entity not found"]).get(), 1);
/// ```
///
/// If the kind of the error is the only label, use `error_label`: a closure that returns the label
/// value, which can be any [`LabelValue`](crate::LabelValue). Failures without an error that
/// `on(..)` selects count in the same family, as `panic`, `cancelled` or `none`:
///
/// ```
/// use tallies::Counter;
///
/// #[derive(tallies::LabelValue, Clone, Copy)]
/// enum Why {
///     NotFound,
///     Refused,
/// }
///
/// static ERRORS: Counter<[&str; 1]> = Counter::labelled("ask_errors_total", &["error"]);
///
/// #[tallies::count_errors(ERRORS, on(error, panic, cancel), error_label = |why| *why)]
/// async fn ask(name: &str) -> Result<(), Why> {
///     Err(if name.is_empty() { Why::Refused } else { Why::NotFound })
/// }
///
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// assert!(ask("x").await.is_err());
/// # assert!(ask("").await.is_err());
/// # });
/// assert_eq!(ERRORS.with(["not_found"]).get(), 1);
/// ```
///
/// Use kinds of errors as label values, not messages: every distinct text creates a series.
///
/// # Cost
///
/// - A successful call pays for one check of the result: less than 1 ns, or 5 ns in an `async fn`.
/// - Labels that depend on arguments, or that call a function, are evaluated and copied before
///   every call. More than 112 bytes or 8 texts of them allocate (with
///   [`AnyLabels`](crate::label::AnyLabels), names are texts, too). Constant labels and labels of
///   the error are evaluated only after a failure.
/// - A series is looked up, and made, only after a failure.
/// - `error_label` adds nothing to a successful call. A failed call pays for one look-up and for
///   rendering the label value.
/// - The future of an `async fn` stores its arguments a second time.
///
/// # Limits
///
/// - The body becomes a closure or an `async` block, so the attribute rejects functions with
///   `#[track_caller]`.
/// - Labels of the error are evaluated after the body, so they cannot use an argument that the body
///   moves.
/// - If the result type is a type parameter, the attribute cannot inspect it and counts no errors.
/// - With `panic = "abort"`, panics are not counted.
pub use tallies_macros::count_errors;
