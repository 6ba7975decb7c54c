//! The attributes, with their documentation: here examples can be run.

/// Observes the seconds that every call takes, in a `Histogram` or a `Summary`.
///
/// On functions, methods, `async` ones, with `async_trait` or without, and on whole `impl` blocks. Every call is timed, be
/// its end a `return`, an error, a panic, or that its future is dropped. A future's time begins with its first poll.
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
/// // Labels are an expression of the arguments: what the metric's `with` takes.
/// #[tallies::timed(JOBS, labels = Job { queue: &name })]
/// async fn job(name: String) {
///     drop(name);
/// }
///
/// upload(b"hello")?;
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(
/// job("mail".to_owned())
/// # );
/// assert_eq!(LATENCY.total().count(), 1);
/// assert_eq!(JOBS.get(Job { queue: "mail" }).unwrap().count(), 1);
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// Of an `impl` each method; `#[timed(skip)]` on one leaves it out. `function!()` in the labels is the method's name:
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
/// assert_eq!(CALLS.get(["push"]).unwrap().count(), 1);
/// assert_eq!(CALLS.len(), 2);
/// ```
///
/// # Cost
///
/// 59 ns, as much as one would pay by hand: two readings of the clock, and one observation of a histogram or a
/// summary; with the feature `tsc` 36 ns. With labels 2 ns more, for one look-up. No allocation. (`cargo bench --bench
/// attributes`)
///
/// # What it takes
///
/// - The metric: the path of a static, or an expression such as `self.metrics.latency` or `*LAZY`, which is borrowed for the
///   call: the body may change other fields of `self`. Where it gives `self` away, or calls a method that takes all of it by
///   `&mut`, the compiler says so; there, `self.metrics.latency.clone()` is kept for the call.
/// - `labels = ..`: evaluated before the body.
/// - `crate = ..`: where this crate is found, if not at `::tallies`.
///
/// # What is measured
///
/// Of an `async fn`, the future. Of a function that says `-> impl Future`, too; and of one that returns a boxed future, the
/// block of the `Box::pin(async move { .. })` in which it has to end. What such a function does before it makes its
/// future is not measured. Labels are evaluated when the future is first polled: where a function says `-> impl Future` and
/// does not end in an `async` block, they are of what its body left of the arguments. Of one that returns an iterator, only
/// the making. A function that returns a stream is refused, as is a `const fn`: see [`Measure`](crate::Measure) for streams.
///
/// Attributes may be stacked in any order, also with those of other crates. Only one that moves `&mut self` into a future of its
/// own, as `tracing::instrument` does in an `async fn`, has to stand below those with a metric in a field of it, or these take
/// a clone.
pub use tallies_macros::timed;

/// Counts the calls that are running, in an `UpDownCounter` or a `Gauge`.
///
/// Goes on all that [`timed`](macro@crate::timed) goes on, and takes the same arguments. It comes down again
/// whether the call returns, panics, or is a future that is dropped.
///
/// ```
/// use tallies::UpDownCounter;
///
/// static IN_FLIGHT: UpDownCounter = UpDownCounter::new("requests_in_flight");
///
/// #[tallies::in_progress(IN_FLIGHT)]
/// fn answer() {
///     assert_eq!(IN_FLIGHT.total(), 1);
/// }
///
/// answer();
/// assert_eq!(IN_FLIGHT.total(), 0);
/// ```
///
/// # Cost
///
/// Two updates: of an `UpDownCounter` less than a nanosecond together, of a `Gauge` two atomic additions to a line that all
/// threads share.
pub use tallies_macros::in_progress;

/// Counts the calls, in a `Counter`, as they begin.
///
/// Goes on all that [`timed`](macro@crate::timed) goes on, and takes the same arguments. A histogram counts, too: where there
/// is one, its `_count` is this.
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
/// assert_eq!(LOGINS.get(["password"]), Some(1));
/// ```
///
/// # Cost
///
/// One update: half a nanosecond without labels.
pub use tallies_macros::count;

/// Counts the calls that fail, in a `Counter`.
///
/// Goes on all that [`timed`](macro@crate::timed) goes on. What failed is told by the type of the result, whatever
/// name that goes by: a `Result`, an `Option` if asked for, or a type that implements [`Outcome`](crate::Outcome).
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
/// assert_eq!(ERRORS.total(), 1);
/// ```
///
/// Errors and panics count, unless `on(..)` says what does: `error`, `none` (of an `Option`), `panic`, and `cancel` (a
/// future that was polled and is dropped before it is done). To tell them apart, stack some:
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
/// # assert_eq!(FAILED.get(["error"]), Some(1));
/// ```
///
/// Labels of the error are a closure of it. A panic has no error, and so does not count there:
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
/// assert_eq!(ERRORS.get(["/none", "entity not found"]), Some(1));
/// ```
///
/// Where the kind of the error is the only label, `error_label` is a closure that gives its value: anything that is a
/// [`LabelValue`](crate::LabelValue). What fails without an error counts beside it as `panic`, `cancelled` or `none`, if
/// `on(..)` says so:
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
/// assert_eq!(ERRORS.get(["not_found"]), Some(1));
/// ```
///
/// Give it kinds, and not messages: every text is a series.
///
/// # Cost
///
/// Of a call that is good, a look at the result: less than a nanosecond, of an `async` one 5. With labels from arguments, or
/// from what they call, also their look-up, before the call; constant labels and those of the error are looked up only when it
/// failed. `error_label` costs a good call nothing more; a failed one a look-up, and what it takes to have the text. An
/// `async fn` keeps its arguments once more in its future.
///
/// # Limits
///
/// The body becomes a closure, or an `async` block. So it does not go with `#[track_caller]`. Labels of the error are evaluated
/// after it: an argument that the body gave away is gone, and does not compile there. In a function whose result is of a type
/// parameter nothing is known of it, and no errors are counted. With `panic = "abort"` nobody counts panics.
pub use tallies_macros::count_errors;
