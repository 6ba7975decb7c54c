//! All that a program can do with metrics, in threads of a process that forks, and in its children.

#![allow(unsafe_code, reason = "fork is")]

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use tallies::event::{Event, Events};
use tallies::instrument::{Count, Track};
use tallies::snapshot::{Snapshot, Source};
use tallies::{
    Counter, Description, Error, Gauge, Histogram, Info, LabelValue, Registry, StateSet, Summary,
    UpDownCounter, View, registry,
};

use crate::support::{Directory, child, kill_self};

static COUNTER: Counter = Counter::new("a_total").help("A.");
static COUNTERS: Counter<[&str; 1]> = Counter::labelled("b_total", &["peer"]).help("B.");
static FLOAT: Counter<(), f64> = Counter::new("c_total").help("C.");
static GAUGE: Gauge = Gauge::new("d").help("D.");
static GAUGES: Gauge<[&str; 1]> = Gauge::labelled("e", &["peer"]).help("E.");
static UP_DOWN: UpDownCounter = UpDownCounter::new("f").help("F.");
static UP_DOWNS: UpDownCounter<[&str; 1]> = UpDownCounter::labelled("g", &["peer"]).help("G.");
static HISTOGRAM: Histogram = Histogram::new("h").help("H.");
static HISTOGRAMS: Histogram<[&str; 1]> = Histogram::labelled("i", &["peer"]).help("I.");
static NATIVE: Histogram<[&str; 1]> = Histogram::labelled("j", &["peer"]).help("J.").native(3);
static SUMMARY: Summary = Summary::new("k").help("K.");
static SUMMARIES: Summary<[&str; 1]> = Summary::labelled("l", &["peer"]).help("L.");
static STATE: StateSet<Pump> = StateSet::new("m").help("M.");
static STATES: StateSet<Pump, [&str; 1]> = StateSet::labelled("n", &["peer"]).help("N.");
static INFOS: Info<[&str; 1]> = Info::labelled("o_info", &["peer"]).help("O.");
static EVENT: Events<Deed> = Events::new();
static EVENTS: Events<OtherDeed, [&str; 1]> = Events::labelled(&["peer"]);

#[derive(LabelValue, Clone, Copy)]
enum Pump {
    Off,
    On,
}

#[derive(Event)]
struct Deed {
    p_total: u64,
    p_seconds: f64,
}

#[derive(Event)]
struct OtherDeed {
    q_total: u64,
    q_seconds: f64,
}

/// Calls the methods of all metrics with labels. `$on` gets the name of each method before that.
macro_rules! family {
    ($on:ident, $kind:literal, $family:expr, $labels:expr) => {
        family!($on, $kind, events $family, $labels);
        $on(concat!($kind, "::check"));
        $family.check($labels).unwrap();
        $on(concat!($kind, "::named"));
        let _ = $family.named(&[("peer", $labels[0])]).unwrap();
        $on(concat!($kind, "::is_full"));
        assert!(!$family.is_full());
        $on(concat!($kind, "::is_off"));
        assert!(!$family.is_off());
        $on(concat!($kind, "::name"));
        assert!(!$family.name().is_empty());
        $on(concat!($kind, "::shares"));
        let _ = $family.shares($labels);
    };
    ($on:ident, $kind:literal, events $family:expr, $labels:expr) => {
        $on(concat!($kind, "::with"));
        let _ = $family.with($labels).get();
        $on("Series::get");
        $on(concat!($kind, "::bind"));
        let bound = $family.bind($labels);
        $on("Bound::get");
        let _ = bound.get();
        $on("Bound::is_overflow");
        let _ = bound.is_overflow();
        $on("Bound::series");
        let _ = bound.series();
        drop(bound);
        $on(concat!($kind, "::find"));
        let _ = $family.find($labels);
        $on(concat!($kind, "::get_all"));
        let _ = $family.get_all();
        $on(concat!($kind, "::is_empty"));
        let _ = $family.is_empty();
        $on(concat!($kind, "::len"));
        let _ = $family.len();
    };
}

/// The ways in which series of a family end.
macro_rules! ends {
    ($on:ident, $kind:literal, $family:expr, $labels:expr, $round:expr) => {
        // Not all in each round, so that there are series in between.
        match $round % 8 {
            0 => {
                $on(concat!($kind, "::remove"));
                let _ = $family.remove($labels);
            }
            1 => {
                $on(concat!($kind, "::retire"));
                let _ = $family.retire($labels);
            }
            2 => {
                $on(concat!($kind, "::retain"));
                let _ = $family.retain(|labels| labels[0].1.len() % 2 == 0);
            }
            3 => {
                $on(concat!($kind, "::clear"));
                $family.clear();
            }
            _ => {}
        }
    };
}

/// Does all that a program can do, in so many rounds. `who` is a name that no other caller has.
fn do_everything(who: &str, rounds: std::ops::Range<usize>, on: &mut dyn FnMut(&'static str)) {
    for round in rounds {
        do_all(who, round, on);
    }
}

fn do_all(who: &str, round: usize, on: &mut dyn FnMut(&'static str)) {
    let peer = format!("{who} {}", round % 100);
    let labels = [&*peer];
    let exemplar: &[(&str, &str)] = &[("trace_id", "abc")];
    let deed = || Deed {
        p_total: 1,
        p_seconds: 0.5,
    };
    let other_deed = || OtherDeed {
        q_total: 1,
        q_seconds: 0.5,
    };

    on("Counter::inc");
    COUNTER.inc();
    on("Counter::add");
    COUNTER.add(2);
    on("Counter::count");
    Count::count(&COUNTER);
    on("Counter::try_add");
    FLOAT.try_add(0.5).unwrap();
    assert!(FLOAT.try_add(-1.0).is_err());
    on("Counter::add_exemplar");
    COUNTER.add_exemplar(1, exemplar);
    on("Counter::try_add_exemplar");
    COUNTER.try_add_exemplar(1, exemplar).unwrap();
    on("Counter::add_traced");
    COUNTER.add_traced(1);
    on("Counter::inc_traced");
    COUNTER.inc_traced();
    on("Counter::get");
    let _ = COUNTER.get();
    on("Counter::name_in");
    let _ = tallies::share::Totalled::name_in(&COUNTER, Some(registry()));
    let bound = COUNTERS.bind(labels);
    on("Bound::inc");
    bound.inc();
    on("Bound::add");
    bound.add(1);
    on("Bound::count");
    Count::count(&bound);
    on("Bound::try_add");
    bound.try_add(1).unwrap();
    on("Bound::add_exemplar");
    bound.add_exemplar(1, exemplar);
    on("Bound::try_add_exemplar");
    bound.try_add_exemplar(1, exemplar).unwrap();
    on("Bound::add_traced");
    bound.add_traced(1);
    on("Bound::inc_traced");
    bound.inc_traced();
    let series = COUNTERS.with(labels);
    on("Series::inc");
    series.inc();
    on("Series::add");
    series.add(1);
    on("Series::count");
    Count::count(&series);
    on("Series::try_add");
    series.try_add(1).unwrap();
    on("Series::add_exemplar");
    series.add_exemplar(1, exemplar);
    on("Series::try_add_exemplar");
    series.try_add_exemplar(1, exemplar).unwrap();
    on("Series::add_traced");
    series.add_traced(1);
    on("Series::inc_traced");
    series.inc_traced();
    family!(on, "Counter", COUNTERS, labels);

    on("Gauge::set");
    GAUGE.set(1.0);
    on("Gauge::add");
    GAUGE.add(1.0);
    on("Gauge::sub");
    GAUGE.sub(1.0);
    on("Gauge::inc");
    GAUGE.inc();
    on("Gauge::dec");
    GAUGE.dec();
    on("Gauge::up");
    Track::up(&GAUGE);
    on("Gauge::down");
    Track::down(&GAUGE);
    on("Gauge::raise");
    GAUGE.raise(3.0);
    on("Gauge::lower");
    GAUGE.lower(1.0);
    on("Gauge::set_to_current_time");
    GAUGE.set_to_current_time();
    on("Gauge::track");
    drop(GAUGE.track());
    on("Gauge::get");
    let _ = GAUGE.get();
    let bound = GAUGES.bind(labels);
    on("Bound::set");
    bound.set(1.0);
    on("Bound::sub");
    bound.sub(1.0);
    on("Bound::dec");
    bound.dec();
    on("Bound::up");
    Track::up(&bound);
    on("Bound::down");
    Track::down(&bound);
    on("Bound::raise");
    bound.raise(3.0);
    on("Bound::lower");
    bound.lower(1.0);
    on("Bound::set_to_current_time");
    bound.set_to_current_time();
    on("Bound::track");
    drop(bound.track());
    let series = GAUGES.with(labels);
    on("Series::set");
    series.set(1.0);
    on("Series::sub");
    series.sub(1.0);
    on("Series::dec");
    series.dec();
    on("Series::up");
    Track::up(&series);
    on("Series::down");
    Track::down(&series);
    on("Series::raise");
    series.raise(3.0);
    on("Series::lower");
    series.lower(1.0);
    on("Series::set_to_current_time");
    series.set_to_current_time();
    on("Series::track");
    drop(GAUGES.with(labels).track());
    family!(on, "Gauge", GAUGES, labels);

    on("UpDownCounter::inc");
    UP_DOWN.inc();
    on("UpDownCounter::dec");
    UP_DOWN.dec();
    on("UpDownCounter::add");
    UP_DOWN.add(2);
    on("UpDownCounter::sub");
    UP_DOWN.sub(2);
    on("UpDownCounter::up");
    Track::up(&UP_DOWN);
    on("UpDownCounter::down");
    Track::down(&UP_DOWN);
    on("UpDownCounter::track");
    drop(UP_DOWN.track());
    on("UpDownCounter::get");
    let _ = UP_DOWN.get();
    on("UpDownCounter::name_in");
    let _ = tallies::share::Totalled::name_in(&UP_DOWN, Some(registry()));
    let bound = UP_DOWNS.bind(labels);
    bound.inc();
    UP_DOWNS.with(labels).dec();
    drop(bound);
    family!(on, "UpDownCounter", UP_DOWNS, labels);

    for value in [0.001, 1e9, round as f64] {
        on("Histogram::observe");
        HISTOGRAM.observe(value);
        on("Summary::observe");
        SUMMARY.observe(value);
        on("Series::observe");
        NATIVE.with(labels).observe(value);
    }
    on("Histogram::observe_duration");
    HISTOGRAM.observe_duration(Duration::from_millis(1));
    on("Histogram::observe_many");
    HISTOGRAM.observe_many(0.1, 3);
    on("Histogram::observe_exemplar");
    HISTOGRAM.observe_exemplar(0.1, exemplar);
    on("Histogram::observe_traced");
    HISTOGRAM.observe_traced(0.1);
    on("Histogram::try_observe");
    HISTOGRAM.try_observe(0.1).unwrap();
    on("Histogram::try_observe_exemplar");
    HISTOGRAM.try_observe_exemplar(0.1, exemplar).unwrap();
    on("Histogram::sample");
    HISTOGRAM.sample(1).time(|| ());
    on("Histogram::start_timer");
    drop(HISTOGRAM.start_timer());
    on("Histogram::time");
    HISTOGRAM.time(|| ());
    on("Histogram::get");
    let _ = HISTOGRAM.get();
    let bound = HISTOGRAMS.bind(labels);
    on("Bound::observe");
    bound.observe(0.1);
    on("Bound::observe_duration");
    bound.observe_duration(Duration::from_millis(1));
    on("Bound::observe_many");
    bound.observe_many(0.1, 3);
    on("Bound::observe_exemplar");
    bound.observe_exemplar(0.1, exemplar);
    on("Bound::observe_traced");
    bound.observe_traced(0.1);
    on("Bound::try_observe");
    bound.try_observe(0.1).unwrap();
    on("Bound::try_observe_exemplar");
    bound.try_observe_exemplar(0.1, exemplar).unwrap();
    on("Bound::start_timer");
    drop(bound.start_timer());
    on("Bound::time");
    bound.time(|| ());
    let series = HISTOGRAMS.with(labels);
    on("Series::observe_duration");
    series.observe_duration(Duration::from_millis(1));
    on("Series::observe_many");
    series.observe_many(0.1, 3);
    on("Series::observe_exemplar");
    series.observe_exemplar(0.1, exemplar);
    on("Series::observe_traced");
    series.observe_traced(0.1);
    on("Series::try_observe");
    series.try_observe(0.1).unwrap();
    on("Series::try_observe_exemplar");
    series.try_observe_exemplar(0.1, exemplar).unwrap();
    on("Series::sample");
    series.sample(1).time(|| ());
    on("Series::time");
    series.time(|| ());
    on("Series::start_timer");
    drop(series.start_timer());
    family!(on, "Histogram", HISTOGRAMS, labels);
    family!(on, "Histogram", NATIVE, labels);

    on("Summary::observe_duration");
    SUMMARY.observe_duration(Duration::from_millis(1));
    on("Summary::try_observe");
    SUMMARY.try_observe(0.1).unwrap();
    on("Summary::start_timer");
    drop(SUMMARY.start_timer());
    on("Summary::time");
    SUMMARY.time(|| ());
    on("Summary::get");
    let _ = SUMMARY.get();
    SUMMARIES.with(labels).observe(0.1);
    family!(on, "Summary", SUMMARIES, labels);

    on("StateSet::set");
    STATE.set(Pump::On);
    on("StateSet::try_set");
    STATE.try_set(Pump::Off).unwrap();
    on("StateSet::get");
    let _ = STATE.get();
    let bound = STATES.bind(labels);
    bound.set(Pump::On);
    on("Bound::try_set");
    bound.try_set(Pump::On).unwrap();
    drop(bound);
    on("Series::try_set");
    STATES.with(labels).try_set(Pump::On).unwrap();
    family!(on, "StateSet", STATES, labels);

    on("Info::set");
    INFOS.set(labels);
    on("Info::get");
    let _ = INFOS.get();
    family!(on, "Info", INFOS, labels);

    on("Events::record");
    EVENT.record(deed());
    on("Events::get");
    let _ = EVENT.get();
    on("Bound::record");
    EVENTS.bind(labels).record(other_deed());
    on("Series::record");
    EVENTS.with(labels).record(other_deed());
    family!(on, "Events", events EVENTS, labels);

    let turn = round.wrapping_add(who.len());
    ends!(on, "Counter", COUNTERS, labels, turn);
    ends!(on, "Gauge", GAUGES, labels, turn + 1);
    ends!(on, "UpDownCounter", UP_DOWNS, labels, turn + 2);
    ends!(on, "Histogram", HISTOGRAMS, labels, turn + 3);
    ends!(on, "Histogram", NATIVE, labels, turn + 4);
    ends!(on, "Summary", SUMMARIES, labels, turn + 5);
    ends!(on, "StateSet", STATES, labels, turn + 6);
    ends!(on, "Info", INFOS, labels, turn + 7);
    ends!(on, "Events", EVENTS, labels, turn);
    do_all_with_the_registry(who, round, on);
}

/// Registers, changes, reads and removes families.
fn do_all_with_the_registry(who: &str, round: usize, on: &mut dyn FnMut(&'static str)) {
    let registry = registry();
    let name = |what: &str| format!("{}_{round}_{what}", who.replace(' ', "_"));
    on("Registry::add_views");
    let view = View::new(&name("viewed_total")).cap("peer", 3);
    let views = registry.add_views([view]).unwrap();
    let viewed = Counter::builder(&name("viewed_total"), "").labels(["peer"]);
    let viewed = viewed.register(registry).unwrap();
    for peer in ["a", "b", "c", "d"] {
        viewed.with([peer]).add_exemplar(1, &[("trace_id", "abc")]);
    }
    on("AddedViews::remove");
    views.remove();
    if round == 0 {
        on("Registry::add_view");
        let view = View::new(&name("other_total")).limit(5);
        registry.add_view(view).unwrap();
        on("Registry::add_constant");
        let _ = registry.add_constant(&name("constant"), "1");
    }
    on("Registry::attach");
    registry.attach(viewed.name(), round);
    on("Registry::attached");
    let _ = registry.attached::<usize>();
    on("Registry::counter");
    registry.counter(&name("a_total"), "").unwrap().inc();
    on("Registry::gauge");
    registry.gauge(&name("b"), "").unwrap().set(1.0);
    on("Registry::up_down_counter");
    registry.up_down_counter(&name("c"), "").unwrap().inc();
    on("Registry::histogram");
    let histogram = registry.histogram(&name("d"), "").unwrap();
    histogram.observe_exemplar(0.5, &[("trace_id", "abc")]);
    on("Registry::summary");
    registry.summary(&name("e"), "").unwrap().observe(0.5);
    on("Registry::info");
    registry.info(&name("f_info"), "", &[("a", "b")]).unwrap();
    on("Registry::counter_fn");
    registry.counter_fn(&name("g_total"), "", || 1.0).unwrap();
    on("Registry::gauge_fn");
    registry.gauge_fn(&name("h"), "", || 1.0).unwrap();
    on("Registry::add_collector");
    let collector = |_: &mut tallies::collect::Collected| Ok(());
    registry.add_collector(&name("i"), collector).unwrap();
    on("Registry::describe");
    let _ = registry.describe(
        &name("a_total"),
        Description {
            name: &name("a_total"),
            help: "",
            unit: "",
        },
    );
    on("Registry::contains");
    assert!(registry.contains(&name("a_total")));
    on("Registry::names");
    let _ = registry.names();
    on("Registry::catalogue");
    let _ = registry.catalogue();
    on("Registry::declared_at");
    _ = registry.declared_at(&name("viewed_total"));
    on("Registry::cardinality");
    let _ = registry.cardinality();
    on("Registry::count_rejected");
    registry.count_rejected();
    on("Registry::set_lint");
    registry.set_lint(false);
    on("Registry::set_self_metrics");
    registry.set_self_metrics(true);
    on("Registry::set_prefix");
    let _ = registry.set_prefix("");
    on("Registry::snapshot");
    let mut page = registry.snapshot();
    on("Registry::snapshot_into");
    registry.snapshot_into(&mut page);
    on("Registry::try_snapshot_into");
    registry.try_snapshot_into(&mut page).unwrap();
    on("Registry::remove");
    for what in ["viewed_total", "a_total", "b", "c", "d", "e", "f_info"] {
        registry.remove(&name(what)).unwrap();
    }
    for what in ["g_total", "h", "i"] {
        registry.remove(&name(what)).unwrap();
    }
    on("Registry::clear");
    let other = Registry::new();
    other.counter("a_total", "").unwrap().inc();
    let _: Snapshot = other.snapshot();
    other.clear();
    on("Error::log_once");
    Error::new("a test").log_once();
    on("the end of a thread");
    std::thread::spawn(|| COUNTERS.with(["of a thread"]).inc())
        .join()
        .unwrap();
}

/// Returns the methods of metrics and registries of which the public API has a list, as
/// `Type::method`.
fn methods() -> BTreeSet<String> {
    let list = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/public-api/tallies.txt");
    let list = std::fs::read_to_string(list).unwrap();
    let ident = |text: &str| text.find(|c: char| !c.is_alphanumeric() && c != '_');
    let method = |line: &str| {
        let path = line.strip_prefix("pub fn tallies::")?;
        let path = path.strip_prefix("event::").unwrap_or(path);
        let (kind, mut rest) = path.split_at(ident(path)?);
        let is_wanted = [
            "Counter",
            "Gauge",
            "UpDownCounter",
            "Histogram",
            "Summary",
            "StateSet",
            "Info",
            "Events",
            "Bound",
            "Series",
            "Registry",
            "AddedViews",
        ];
        // The types of the type.
        let mut depth = 0;
        while depth > 0 || rest.starts_with('<') {
            let (first, after) = rest.split_at(rest.find(['<', '>'])? + 1);
            depth += if first.ends_with('<') { 1 } else { -1 };
            rest = after;
        }
        let rest = rest.strip_prefix("::")?;
        let name = &rest[..ident(rest)?];
        let takes_self = ["(&self", "(self"].iter().any(|takes| rest.contains(takes));
        (is_wanted.contains(&kind) && takes_self).then(|| format!("{kind}::{name}"))
    };
    list.lines().filter_map(method).collect()
}

/// A method that is missing here is one whose locks nobody has thought of.
#[test]
fn each_method_of_the_public_list_is_called_in_threads_of_a_process_that_forks() {
    if let Some(path) = child() {
        tallies::share::dir(path).unwrap();
        let mut done = BTreeSet::new();
        do_everything("once", 0..8, &mut |method| _ = done.insert(method));
        // They copy, print, or are for the start of a process. The macros call `enlist`, as the
        // first update does.
        let others = [
            "clone",
            "fmt",
            "enlist",
            "start_over",
            "start_over_after_fork",
        ];
        let is_other = |method: &String| {
            others
                .iter()
                .any(|name| method.ends_with(&format!("::{name}")))
        };
        let missing: Vec<_> = methods()
            .into_iter()
            .filter(|method| !is_other(method))
            .collect();
        let missing: Vec<_> = missing
            .iter()
            .filter(|method| !done.contains(&***method))
            .collect();
        assert!(methods().len() > 150, "the list was read");
        assert_eq!(missing, [""; 0]);
        kill_self();
    }
    let directory = Directory::new();
    directory.run_until_killed(
        "updates::each_method_of_the_public_list_is_called_in_threads_of_a_process_that_forks",
    );
}

/// A word that the children share with their parent.
fn shared_word() -> &'static AtomicUsize {
    // SAFETY: new memory, which is zero and stays.
    unsafe {
        let (access, flags) = (
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED | libc::MAP_ANONYMOUS,
        );
        let memory = libc::mmap(std::ptr::null_mut(), 8, access, flags, -1, 0);
        assert_ne!(memory, libc::MAP_FAILED);
        &*memory.cast::<AtomicUsize>()
    }
}

/// `Info::set` took a lock that the fork did not know: a child waited for it for ever.
#[test]
fn a_child_does_all_that_threads_of_its_parent_were_doing() {
    if let Some(path) = child() {
        registry().set_lint(false);
        let dir = tallies::share::dir(path).unwrap();
        // Addresses of texts, which parent and child have in common.
        let (step, len) = (shared_word(), shared_word());
        let is_done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for thread in 0..3 {
                let is_done = &is_done;
                scope.spawn(move || {
                    let who = format!("thread {thread}");
                    let mut rounds = 0..;
                    while let (false, Some(round)) = (is_done.load(Relaxed), rounds.next()) {
                        do_everything(&who, round..round + 1, &mut |_| ());
                    }
                });
            }
            for number in 0..60 {
                // SAFETY: the child calls functions that allocate and lock, which the libraries of
                // this test allow. The alarm ends a child that waits for ever.
                let id = unsafe { libc::fork() };
                if id == 0 {
                    // SAFETY: no memory is involved.
                    unsafe { libc::alarm(20) };
                    do_everything("child", 0..8, &mut |method: &'static str| {
                        step.store(method.as_ptr().addr(), Relaxed);
                        len.store(method.len(), Relaxed);
                    });
                    let is_there = dir.snapshot().is_ok();
                    // SAFETY: ends the process.
                    unsafe { libc::_exit(i32::from(!is_there)) };
                }
                let mut status = 0;
                // SAFETY: a child of this process.
                assert_eq!(unsafe { libc::waitpid(id, &mut status, 0) }, id);
                if status != 0 {
                    let text = std::ptr::with_exposed_provenance(step.load(Relaxed));
                    // SAFETY: a text of the program, at the same address in the child.
                    let text = unsafe { std::slice::from_raw_parts(text, len.load(Relaxed)) };
                    let method = String::from_utf8_lossy(text);
                    println!("child {number} ended with {status} in {method}");
                    std::process::exit(1);
                }
            }
            is_done.store(true, Relaxed);
        });
        kill_self();
    }
    let directory = Directory::new();
    directory.run_until_killed("updates::a_child_does_all_that_threads_of_its_parent_were_doing");
}
