//! The tests of the library, with the engine and without.

use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tallies::event::Events;
use tallies::instrument::{
    Errors, Failure, InFlight, InProgress, Sampled, SampledTimer, Start, Timed, Timer,
};
use tallies::{
    Bound, Builder, Counter, Error, Gauge, Histogram, Info, LabelValue, Registry, Series, StateSet,
    Summary, UpDownCounter, label::Scratch,
};
use tallies_library::{
    ANSWERS, Answered, BY_TABLE, BYTES, Client, FAILURES, Pool, Query, Shard, Side, Verb, Verbs,
    boxed, build, connect, generic, list, query, reply, update, wrap,
};

/// Whether nothing is counted.
const OFF: bool = size_of::<Counter>() == 0;

/// Returns a count, or 0 without the engine.
fn count<N: Default>(on: N) -> N {
    if OFF { N::default() } else { on }
}

fn block_on<R>(future: impl Future<Output = R>) -> R {
    let mut context = Context::from_waker(Waker::noop());
    match pin!(future).poll(&mut context) {
        Poll::Ready(result) => result,
        Poll::Pending => panic!("nothing here waits"),
    }
}

#[test]
fn the_library_runs_with_the_engine_and_without() {
    assert_eq!(BYTES.is_off(), OFF);
    list();
    let (sent, spent, in_flight, queue, connects, rows) = update();
    assert_eq!((sent, spent, in_flight), (count(11), count(1.5), count(2)));
    assert_eq!((queue, connects, rows), (count(8.0), count(4), count(2)));
    assert_eq!(connect("80"), Ok(80));
    assert!(connect("").is_err());
    assert_eq!(FAILURES.with(["empty"]).get(), count(1));
    assert_eq!(
        block_on(query("t".to_owned(), Verb::Read)).map(|reply| reply.0),
        Ok(200)
    );
    assert!(block_on(query(String::new(), Verb::WriteAll)).is_err());
    assert_eq!(FAILURES.with(["w"]).get(), count(1));
    assert_eq!(block_on(reply(404)).0, 404);
    assert_eq!(FAILURES.with(["reply"]).get(), count(1));
    assert_eq!(block_on(boxed("boxed", 404)).0, 404);
    assert_eq!(FAILURES.with(["boxed"]).get(), count(1));
    assert_eq!(block_on(wrap()), None);
    assert_eq!(BYTES.get(), count(13));
}

#[test]
fn events_count_with_the_engine_and_nothing_without() {
    let answered = |rows| Answered {
        sample_answers_total: 1,
        rows,
        took: Some(Duration::from_millis(50)),
    };
    let verb = Verb::Read;
    ANSWERS
        .with(Verbs { verb, first: true })
        .record(answered(3));
    BY_TABLE.bind(["t"]).record(answered(4));
    BY_TABLE.with(["t"]).record(Answered {
        took: None,
        ..answered(5)
    });
    let counts = BY_TABLE.with(["t"]).get().counts;
    assert_eq!(counts.iter().sum::<u64>(), count(11));
    assert_eq!(ANSWERS.get_all().len(), if OFF { 0 } else { 4 });
    assert_eq!(BY_TABLE.len(), if OFF { 0 } else { 1 });
    let events = Events::<Answered>::builder()
        .register(&Registry::new())
        .unwrap();
    events.record(answered(1));
    assert_eq!(
        events.get().observed.map_or(0, |seen| seen.count()),
        count(1)
    );
    assert_eq!(BY_TABLE.remove(["t"]), !OFF);
}

#[test]
fn metrics_of_a_registry_run_with_the_engine_and_without() -> Result<(), Error> {
    let registry = Registry::new();
    let built = build(&registry)?;
    built.sent.with(["a"]).inc();
    built.one.inc();
    built.took.observe(0.1);
    built.sizes.with(&["sda"]).set(5);
    assert_eq!(
        (built.one.get(), built.sizes.with(&["sda"]).get()),
        (count(2), count(5.0))
    );
    let pool = Pool::<Verb>::register(&registry)?;
    pool.opened.with(["a"]).inc();
    pool.queries
        .with(Query {
            table: &String::from("t"),
            verb: Verb::Read,
            status: None,
        })
        .add(0.5);
    pool.wait.time(|| pool.state.set(Verb::WriteAll));
    let _in_use = pool.sample_pool_in_use.track();
    assert_eq!(pool.wait.get().count(), count(1));
    assert_eq!(pool.state.get(), count("w"));
    assert_eq!(registry.contains("built_sent_total"), !OFF);
    let mut client = Client::new(built.took.clone(), Shard(3));
    assert_eq!(client.get(|shard| [shard, 1]), [3, 1]);
    assert_eq!(block_on(client.put(4)), 4);
    assert_eq!(built.took.get().count(), count(3));
    let builder = Histogram::builder("generic", "");
    let builder = generic::<_, Query>(builder, built.took.with(()), &GENERIC, &tracked());
    assert_eq!(builder.register(&registry)?.len(), 0);
    Ok(())
}

static GENERIC: Counter = Counter::new("both_generic_total");

fn tracked() -> UpDownCounter {
    Registry::new().up_down_counter("tracked", "").unwrap()
}

#[test]
fn label_values_have_texts_with_the_engine_and_without() {
    let mut scratch = Scratch::default();
    assert_eq!(Verb::VALUES, ["read", "w"]);
    assert_eq!(Side::VALUES, ["client", "srv", "other"]);
    assert_eq!(Side::Other.index(), 2);
    assert_eq!(
        (Verb::WriteAll.text(&mut scratch), Verb::WriteAll.index()),
        ("w", 1)
    );
    assert_eq!(Some(404_u16).text(&mut scratch), "404");
}

async fn bare(table: String) -> usize {
    std::future::ready(()).await;
    table.len()
}

#[tallies::timed(BYTES_OF_CALL)]
#[tallies::count_errors(BYTES, on(panic, cancel))]
async fn measured(table: String) -> usize {
    std::future::ready(()).await;
    table.len()
}

static BYTES_OF_CALL: Histogram = Histogram::new("both_call_bytes");

#[test]
fn the_future_of_a_measured_function_has_no_byte_more_without_the_engine() {
    let (bare, measured) = (bare("ab".to_owned()), measured("ab".to_owned()));
    assert_eq!(size_of_val(&bare) == size_of_val(&measured), OFF);
    assert_eq!(block_on(bare), block_on(measured));
}

/// A program that compiles without the engine compiles with it: these traits are those of both.
#[test]
fn the_types_have_the_same_automatic_traits() {
    fn has<T: Send + Sync + Unpin>() {}
    has::<(
        Counter,
        Counter<Query, f64>,
        UpDownCounter,
        Gauge,
        Histogram,
    )>();
    has::<(Summary, Info<[&str; 1]>, StateSet<Verb>, Registry)>();
    has::<(
        Series<'_, Counter>,
        Series<'_, Histogram>,
        Series<'_, Gauge>,
    )>();
    has::<(
        Bound<Counter>,
        Bound<Histogram>,
        Bound<Summary>,
        Builder<Counter>,
    )>();
    has::<(
        Timer<&Histogram>,
        Timer<&Summary>,
        InFlight<&Gauge>,
        InFlight<&UpDownCounter>,
    )>();
    has::<(Sampled<'_>, SampledTimer<'_>, Start, Failure, Error)>();
    has::<(
        Timed<u8, &Histogram>,
        InProgress<u8, &Gauge>,
        Errors<u8, &Counter>,
    )>();
}
