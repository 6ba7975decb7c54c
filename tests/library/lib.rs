//! A library with metrics, as other people write it: every kind, attribute, derive and setter. It
//! has no `cfg`, and no warning in either form.
#![deny(warnings)]

use std::borrow::Cow;
use std::pin::Pin;
use std::time::Duration;

use tallies::collect::{Collect, Collected};
use tallies::event::{Event, Events};
use tallies::instrument::{
    self, Count, Failure, InFlight, Measure, Observe, Outcome, Start, Timer, Track,
};
use tallies::label::{AnyLabels, DynLabels, NamedLabels, Scratch};
use tallies::snapshot::GaugeMode;
use tallies::{
    Bound, Builder, Counter, Error, Gauge, Histogram, Info, LabelValue, Labels, Metric, Metrics,
    Registry, Series, StateSet, Summary, UpDownCounter, buckets, register_all,
};

/// A label set with borrowed and owned values.
#[derive(Labels)]
pub struct Query<'a> {
    /// The table.
    pub table: &'a str,
    /// The operation on it.
    pub verb: Verb,
    /// A label of another name.
    #[label("code")]
    pub status: Option<u16>,
}

/// A closed label set.
#[derive(Labels)]
pub struct Verbs {
    /// The operation.
    pub verb: Verb,
    /// Whether it is the first attempt.
    pub first: bool,
}

/// A label value.
#[derive(LabelValue, Clone, Copy, Debug, PartialEq)]
pub enum Verb {
    /// Reads.
    Read,
    /// Writes.
    #[label("w")]
    WriteAll = 7,
}

/// A label value whose variants have numbers.
#[derive(LabelValue, Clone, Copy, Debug, PartialEq)]
pub enum Side {
    /// The client.
    Client = 1,
    /// The server.
    #[label("srv")]
    Server = 1 << 1,
    /// Neither.
    Other,
}

/// A label value that is implemented by hand.
#[derive(Clone, Copy)]
pub struct Shard(pub u8);

impl LabelValue for Shard {
    fn text<'a>(&'a self, scratch: &'a mut Scratch) -> &'a str {
        scratch.integer(self.0)
    }
}

/// An outcome of the library's own.
pub struct Reply(pub u16);

impl Outcome for Reply {
    type Error = u16;

    fn error(&self) -> Option<&u16> {
        (self.0 >= 400).then_some(&self.0)
    }
}

/// A query that was answered.
#[derive(Event)]
pub struct Answered {
    /// Queries answered.
    pub sample_answers_total: u64,
    /// Rows sent.
    #[metric(name = "sample_sent_rows_total")]
    pub rows: u64,
    /// Time to answer.
    #[metric(name = "sample_answer_seconds", unit = "seconds", buckets = [0.1, 1.0])]
    pub took: Option<Duration>,
}

/// Answers, by operation.
#[tallies::metric]
pub static ANSWERS: Events<Answered, Verbs> = Events::new().hot();
/// Answers, by table.
pub static BY_TABLE: Events<Answered, [&str; 1]> = Events::labelled(&["table"])
    .limit(10)
    .constant(&[("by", "table")]);

/// Queries.
#[tallies::metric]
pub static QUERIES: Counter<Query> = Counter::new("sample_queries_total")
    .limit(100)
    .expire_after(Duration::from_secs(600));
/// Bytes sent.
#[tallies::metric]
pub static BYTES: Counter = Counter::new("sample_sent_bytes_total").unit("bytes").hot();
/// Seconds spent.
#[tallies::metric]
pub static SPENT: Counter<(), f64> = Counter::new("sample_spent_seconds_total");
/// Failures, by the error.
#[tallies::metric]
pub static FAILURES: Counter<[&str; 1]> =
    Counter::labelled("sample_failures_total", &["error"]).constant(&[("library", "sample")]);
/// A metric that only its attribute uses.
#[tallies::metric]
static CALLS: Counter<[&str; 2]> = Counter::labelled("sample_calls_total", &["method", "shard"]);
/// Queries in flight.
#[tallies::metric]
pub static IN_FLIGHT: UpDownCounter = UpDownCounter::new("sample_queries_in_flight");
/// Length of a queue.
#[tallies::metric]
pub static QUEUE: Gauge = Gauge::new("sample_queue_length")
    .mode(GaugeMode::Max)
    .shared_ttl(Duration::from_secs(1));
/// Latency of queries.
#[tallies::metric]
pub static LATENCY: Histogram<Verbs> = Histogram::new("sample_query_duration_seconds")
    .buckets(&const { buckets::exponential_array::<4>(0.001, 10.0) })
    .native(3)
    .native_limit(100)
    .zero_threshold(1e-6);
/// Time to connect.
#[tallies::metric]
pub static CONNECT: Histogram = Histogram::new("sample_connect_duration_seconds");
/// Sizes of rows.
#[tallies::metric]
pub static ROWS: Summary = Summary::new("sample_row_bytes")
    .unit("bytes")
    .no_objectives()
    .objective(0.5, 0.01)
    .max_age(Duration::from_secs(60))
    .ages(3);
/// The host in use.
#[tallies::metric]
pub static HOST: Info<[&str; 1]> = Info::labelled("sample_host_info", &["host"]);
/// The state of the connection.
#[tallies::metric]
pub static STATE: StateSet<Verb> = StateSet::new("sample_state");
/// Events with any labels.
#[tallies::metric]
pub static EVENTS: Counter<AnyLabels> = Counter::new("sample_events_total");
#[allow(deprecated)]
#[tallies::metric]
pub static DOTTED: Counter = Counter::new_utf8("sample.dots_total").help("Dots.");

const BOUNDS: [f64; 2] = [0.1, 1.0];

/// Metrics of one pool, in a struct.
#[derive(Metrics)]
pub struct Pool<T: LabelValue + 'static = Verb> {
    /// Connections opened.
    #[metric(name = "sample_pool_opened_total", labels = ["host"], limit = 10, hot)]
    pub opened: Counter<[&'static str; 1]>,
    /// Connections in use.
    pub sample_pool_in_use: UpDownCounter,
    /// Time to wait for one.
    #[metric(name = "sample_pool_wait_seconds", unit = "seconds", buckets = BOUNDS)]
    pub wait: Histogram,
    /// Queries of this pool.
    #[metric(name = "sample_pool_queries_total")]
    pub queries: Counter<Query<'static>, f64>,
    /// The state of the pool.
    #[metric(name = "sample_pool_state")]
    pub state: StateSet<T>,
}

/// Metrics that are built at run time.
pub struct Built {
    /// A counter with labels.
    pub sent: Counter<[&'static str; 1]>,
    /// One series of it.
    pub one: Bound<Counter>,
    /// A histogram.
    pub took: Histogram,
    /// A gauge whose label names come from data.
    pub sizes: Gauge<DynLabels>,
}

/// Builds metrics with every setter.
pub fn build(registry: &Registry) -> Result<Built, Error> {
    let sent = Counter::builder("built_sent_total", "Messages sent.")
        .labels(["peer"])
        .constant("zone", "b")
        .limit(10)
        .lint(true)
        .hot()
        .expire_after(Duration::from_secs(9))
        .register(registry)?;
    let took = Histogram::builder("built_seconds", "Time to send.")
        .unit("seconds")
        .prefix("sample_")
        .buckets(&buckets::linear(0.1, 0.1, 3)?)
        .native(2)
        .native_limit(99)
        .zero_threshold(1e-9)
        .get_or_register(registry)?;
    let names = ["disk".to_owned()];
    let sizes = Gauge::builder("built.size_bytes", "Sizes.")
        .utf8()
        .labels(&names[..])
        .mode(GaugeMode::Sum)
        .shared_ttl(Duration::from_secs(1))
        .register(registry)?;
    let _: Counter<(), f64> = Counter::builder("built_spent_seconds_total", "")
        .float()
        .register(registry)?;
    let _: Counter<AnyLabels> = Counter::builder("built_any_total", "")
        .label_set::<AnyLabels>()
        .register(registry)?;
    let _ = Summary::builder("built_sizes", "Sizes.")
        .objectives(&[(0.9, 0.01)])?
        .objective(0.5, 0.05)
        .max_age(Duration::from_secs(9))
        .ages(2)
        .register(registry)?;
    let states: StateSet<String> = StateSet::<String>::builder("built_pump", "")
        .states(&["off", "on"])
        .register(registry)?;
    states.set("on".to_owned());
    let _: Result<Info, _> = registry.info("built_info", "", &[("version", "1")]);
    let _ = (
        registry.counter("built_a_total", "")?,
        registry.gauge("built_b", "")?,
    );
    let _ = (
        registry.histogram("built_c", "")?,
        registry.summary("built_d", "")?,
    );
    registry.up_down_counter("built_e", "")?.inc();
    registry.gauge_fn("built_f", "", || 1.0)?;
    registry.counter_fn("built_g_total", "", || 2.0)?;
    registry.add_constant("library", "sample")?;
    registry.add_collector("disks", |out: &mut Collected| {
        out.gauge("built_free_bytes", "", &[("disk", "a")], 1.0)?;
        out.counter("built_faults_total", "", &[], 2.0)?;
        Ok(())
    })?;
    registry.add_collector("rows", Rows(4))?;
    let one = sent.bind(["a"]);
    Ok(Built {
        sent,
        one,
        took,
        sizes,
    })
}

struct Rows(usize);

impl Collect for Rows {
    fn collect(&self, out: &mut Collected) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        Ok(out.gauge("built_rows", "Rows.", &[], self.0 as f64)?)
    }
}

/// Lists the metrics of this library, for programs without link-time lists.
pub fn list() {
    register_all!(BYTES, QUERIES, LATENCY);
}

/// Code that is generic over metrics.
pub fn generic<M: Metric, L: NamedLabels>(
    builder: Builder<M>,
    series: Series<'_, M>,
    metric: impl Count + Clone,
    guard: &impl Track,
) -> Builder<M::Labelled<L>>
where
    for<'a> Series<'a, M>: Observe,
{
    metric.count();
    let _guard = InFlight::enter(guard);
    series.start_timer().discard();
    series.observe_duration(Duration::from_millis(1));
    let _ = (series.try_observe(0.5), series.time(|| 1));
    let _ = L::with_texts as fn(&L::Borrowed<'_>, fn(&[&str])) -> ();
    builder.label_set()
}

/// Every update of every kind. Returns what `get` says.
pub fn update() -> (u64, f64, i64, f64, u64, u64) {
    let query = || Query {
        table: "t",
        verb: Verb::Read,
        status: Some(200),
    };
    QUERIES.with(query()).inc();
    QUERIES.bind(query()).add(2);
    let _ = (
        QUERIES.find(query()).is_some(),
        QUERIES.shares(query()),
        QUERIES.is_full(),
    );
    let _ = (
        QUERIES.len(),
        QUERIES.is_empty(),
        QUERIES.get_all().len(),
        QUERIES.name().len(),
    );
    QUERIES.with(query()).add_exemplar(1, &[("trace_id", "1f")]);
    QUERIES.with(query()).add_traced(1);
    let _ = QUERIES.bind(query()).series().try_add(1);
    BYTES.add(10);
    BYTES.inc_traced();
    SPENT.add(0.5);
    let _ = (SPENT.try_add(0.5), SPENT.try_add_exemplar(0.5, &[]));
    FAILURES.with(["x"]).inc();
    let _ = FAILURES.named(&[("error", "y")]).map(|series| series.inc());
    let _ = FAILURES.retain(|labels: &[(&str, Cow<'_, str>)]| labels[0].1 != "y");
    let _ = (
        FAILURES.remove(["x"]),
        FAILURES.retire(["z"]),
        FAILURES.check(["a"]),
    );
    IN_FLIGHT.add(2);
    IN_FLIGHT.sub(1);
    let guard = IN_FLIGHT.track();
    let in_flight = IN_FLIGHT.get();
    drop(guard);
    IN_FLIGHT.dec();
    QUEUE.set(7_usize);
    QUEUE.add(1.5_f32);
    QUEUE.sub(1);
    QUEUE.raise(9);
    QUEUE.lower(8);
    drop(QUEUE.track());
    LATENCY
        .with(Verbs {
            verb: Verb::WriteAll,
            first: true,
        })
        .observe(0.25);
    LATENCY
        .with(Verbs {
            verb: Verb::Read,
            first: false,
        })
        .sample(2)
        .start_timer()
        .discard();
    let bound = LATENCY.bind(Verbs {
        verb: Verb::Read,
        first: false,
    });
    bound.time(|| bound.observe_many(0.1, 2));
    let timer = bound.start_timer();
    let _took: Duration = timer.stop();
    CONNECT.observe(Start::now().seconds());
    CONNECT.observe_exemplar(0.1, &[("trace_id", "2f")]);
    CONNECT.observe_traced(0.1);
    CONNECT.sample(1).time(|| ());
    let _timer = CONNECT.start_timer();
    let _ = CONNECT.try_observe(f64::NAN).is_err();
    ROWS.observe(100.0);
    ROWS.observe_duration(Duration::from_secs(1));
    HOST.set(["a"]);
    let _ = HOST.get();
    STATE.set(Verb::WriteAll);
    let _ = (STATE.try_set(Verb::Read).is_ok(), STATE.get());
    EVENTS
        .with(&[("kind", "a"), ("shard", &Shard(3).0.to_string())])
        .inc();
    DOTTED.inc();
    let counts = (BYTES.get(), SPENT.get(), in_flight, QUEUE.get());
    (
        counts.0,
        counts.1,
        counts.2,
        counts.3,
        CONNECT.get().count(),
        ROWS.get().count(),
    )
}

/// A function with every attribute. No `impl Future` is in it.
#[tallies::timed(CONNECT)]
#[tallies::in_progress(IN_FLIGHT)]
#[tallies::count(QUERIES, labels = Query { table: name, verb: Verb::Read, status: None })]
#[tallies::count_errors(FAILURES, labels = |error| [kind(error)])]
pub fn connect(name: &str) -> Result<u16, std::num::ParseIntError> {
    #![allow(clippy::let_and_return)]
    let port = name.parse::<u16>()?;
    Ok(port)
}

/// A function that only the closure of an attribute calls.
fn kind(error: &std::num::ParseIntError) -> &'static str {
    match error.kind() {
        std::num::IntErrorKind::Empty => "empty",
        _ => "other",
    }
}

/// An asynchronous function with every attribute.
#[tallies::timed(LATENCY, labels = Verbs { verb, first: true })]
#[tallies::in_progress(IN_FLIGHT)]
#[tallies::count(EVENTS, labels = &[("table", &table)])]
#[tallies::count_errors(FAILURES, on(error, panic, cancel), error_label = |error| *error)]
pub async fn query(table: String, verb: Verb) -> Result<Reply, Verb>
where
    Reply: Outcome,
{
    if table.is_empty() {
        Err(verb)
    } else {
        Ok(Reply(200))
    }
}

/// Returns a future.
#[tallies::count_errors(FAILURES, labels = ["reply"])]
pub fn reply(code: u16) -> impl Future<Output = Reply> {
    std::future::ready(Reply(code))
}

/// Returns a boxed future. Only the attribute uses `name`.
#[tallies::count_errors(FAILURES, labels = |code| [if *code == 404 { name } else { "" }])]
pub fn boxed<'a>(name: &'a str, code: u16) -> Pin<Box<dyn Future<Output = Reply> + Send + 'a>> {
    Box::pin(async move { Reply(code) })
}

/// Methods with attributes.
pub struct Client {
    timer: Histogram,
    shard: Shard,
}

#[tallies::timed(self.timer.clone())]
#[tallies::count(CALLS, labels = [function!(), &self.shard.0.to_string()])]
impl Client {
    /// Not measured.
    #[timed(skip)]
    #[count(skip)]
    #[must_use]
    pub const fn new(timer: Histogram, shard: Shard) -> Self {
        Self { timer, shard }
    }

    /// Measured.
    pub fn get<F: Fn(u8) -> [u8; 2]>(&self, f: F) -> Vec<u8> {
        f(self.shard.0).to_vec()
    }

    /// Measured.
    pub async fn put(&mut self, r#where: u8) -> u8 {
        self.shard = Shard(r#where);
        self.shard.0
    }
}

/// Wrappers of closures and futures.
pub async fn wrap() -> Option<u8> {
    let _ = instrument::count_errors(&BYTES, || "x".parse::<u8>());
    let _timer = Timer::start(&ROWS);
    let future = async { None };
    let future = future
        .timed(CONNECT.clone())
        .in_progress(&IN_FLIGHT)
        .count_errors(&BYTES);
    let future = future.on(&[Failure::None, Failure::Cancel]);
    let _ = future.get_ref();
    future.await
}
