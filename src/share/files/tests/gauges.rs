//! Gauges that several processes, registries or label sets set: pages of every mode, store and
//! order, compared with a plain model.

use std::array::from_fn;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::TestCaseResult;
use rustix::fs::FlockOperation;

use crate::share::store::{self, Merger};
use crate::snapshot::{Family, GaugeMode, Gauges, LastSet, Merged, Snapshot, Source, Values};
use crate::{Gauge, LabelValue, Labels, Registry, StateSet, View};

use super::super::format::{CellKind, series};
use super::image::{Describe, Image};
use super::kinds::TestDirectory;

/// The number of processes, registries and label sets.
const MEMBERS: usize = 4;
const STATES: [&str; 3] = ["idle", "busy", "broken"];

/// An update of a gauge, with the index of its process.
type Update = (usize, Op);

#[derive(Clone, Copy, Debug)]
enum Op {
    Set(f64),
    Add(f64),
    Raise(f64),
    Lower(f64),
}

/// The value of a gauge, and the number of its last update. `None` if there was no update.
type Model = Option<(f64, usize)>;

/// Returns the gauge of each process after these updates.
fn models(updates: &[Update]) -> [Model; MEMBERS] {
    let mut all: [Model; MEMBERS] = [None; MEMBERS];
    for (number, (who, op)) in updates.iter().enumerate() {
        let before = all[*who].map(|(value, _)| value);
        let value = match (op, before) {
            (Op::Set(x), _) | (Op::Add(x) | Op::Raise(x) | Op::Lower(x), None) => *x,
            (Op::Add(x), Some(before)) => before + x,
            (Op::Raise(x), Some(before)) => before.max(*x),
            (Op::Lower(x), Some(before)) => before.min(*x),
        };
        all[*who] = Some((value, number));
    }
    all
}

/// Returns the one value of these gauges.
fn expected(mode: GaugeMode, gauges: &[Model]) -> f64 {
    let set = || gauges.iter().flatten().copied();
    let values = || set().map(|(value, _)| value);
    let found = match mode {
        GaugeMode::LiveSum | GaugeMode::LiveAll | GaugeMode::Sum => Some(values().sum()),
        GaugeMode::LiveMin | GaugeMode::Min => values().reduce(f64::min),
        GaugeMode::LiveMax | GaugeMode::Max => values().reduce(f64::max),
        GaugeMode::LiveRecent | GaugeMode::Recent => set().max_by_key(|x| x.1).map(|x| x.0),
    };
    found.unwrap_or(0.0)
}

fn apply(gauge: &Gauge, op: Op) {
    match op {
        Op::Set(x) => gauge.set(x),
        Op::Add(x) => gauge.add(x),
        Op::Raise(x) => gauge.raise(x),
        Op::Lower(x) => gauge.lower(x),
    }
}

/// The state that an update sets.
fn state(op: Op) -> usize {
    match op {
        Op::Set(_) => 0,
        Op::Add(_) => 1,
        Op::Raise(_) | Op::Lower(_) => 2,
    }
}

/// Runs the updates in a registry for each process, with a gauge of each mode and a state set.
fn registries(updates: &[Update]) -> [Registry; MEMBERS] {
    let registries: [_; MEMBERS] = from_fn(|_| Registry::new());
    let families = registries.each_ref().map(|registry| {
        registry.set_self_metrics(false);
        let gauges = GaugeMode::NAMES.map(|(mode, name)| {
            let gauge = Gauge::builder(name, "Help.").mode(mode);
            gauge.register(registry).unwrap()
        });
        let states = StateSet::<String>::builder("state", "").states(&STATES);
        (gauges, states.register(registry).unwrap())
    });
    for (who, op) in updates {
        let (gauges, states) = &families[*who];
        gauges.iter().for_each(|gauge| apply(gauge, *op));
        states.set(STATES[state(*op)].to_owned());
    }
    registries
}

fn check(what: &str, mode: GaugeMode, found: Option<f64>, gauges: &[Model]) -> TestCaseResult {
    let wanted = expected(mode, gauges);
    let is_same = found.is_some_and(|x| x == wanted || x.is_nan() && wanted.is_nan());
    prop_assert!(is_same, "{what}, {mode:?}: {found:?}, not {wanted}");
    Ok(())
}

/// Checks the page of gauges that are all alive, without numbers of processes.
fn check_all(what: &str, page: &Snapshot, gauges: &[Model], updates: &[Update]) -> TestCaseResult {
    for (mode, name) in GaugeMode::NAMES {
        check(what, mode, page.get(name, &[]), gauges)?;
    }
    check_state(what, page, updates)
}

/// Checks that the state of a page is that of the last of these updates, or else the first state.
fn check_state(what: &str, page: &Snapshot, updates: &[Update]) -> TestCaseResult {
    let current = updates.last().map_or(0, |(_, op)| state(*op));
    for (i, name) in STATES.iter().enumerate() {
        let found = page.get("state", &[("state", name)]);
        let wanted = Some(f64::from(u8::from(i == current)));
        prop_assert_eq!(found, wanted, "{}, state {}", what, name);
    }
    Ok(())
}

/// Checks the page of a store.
fn check_store(
    what: &str,
    page: &Snapshot,
    gauges: &[Model; MEMBERS],
    is_dead: &[bool; MEMBERS],
) -> TestCaseResult {
    let live = (0..MEMBERS).filter(|who| !is_dead[*who]);
    let of_live: Vec<_> = live.clone().map(|who| gauges[who]).collect();
    for (mode, name) in GaugeMode::NAMES {
        let takes_part = if mode.is_live() {
            &of_live
        } else {
            &gauges[..]
        };
        if takes_part.is_empty() {
            prop_assert!(page.family(name).is_none(), "{}", name);
        } else if mode != GaugeMode::LiveAll {
            check(what, mode, page.get(name, &[]), takes_part)?;
        } else {
            prop_assert_eq!(page.family(name).unwrap().len(), of_live.len());
            for who in live.clone() {
                let index = who.to_string();
                let found = page.get(name, &[("gauge_index", &index)]);
                check(what, mode, found, &[gauges[who]])?;
            }
        }
    }
    Ok(())
}

/// Returns families as a store writes and reads them again.
fn stored(snapshot: &Snapshot) -> Vec<Family> {
    let families = store::normalized(snapshot).into_iter().map(|family| {
        let mut bytes = Vec::new();
        store::write_description(&family, &mut bytes);
        let mut back = store::read_description(&bytes).unwrap();
        for i in 0..family.len() {
            bytes.clear();
            store::write_series(&family, i, &mut bytes);
            store::read_series(&mut back, family.label_text(i), &bytes).unwrap();
        }
        back
    });
    families.collect()
}

/// Folds those who are dead one after the other, and merges what is left, all by records.
fn by_records(all: &[Snapshot; MEMBERS], order: &[usize], is_dead: &[bool; MEMBERS]) -> Snapshot {
    let mut folded = Vec::new();
    for who in order.iter().filter(|who| is_dead[**who]) {
        let ended = stored(&all[*who]);
        let mut merger = Merger::new();
        merger.ended(&folded).ended(&ended);
        folded = stored(&merger.fold(|error| panic!("{error}")));
    }
    let live = order.iter().filter(|who| !is_dead[**who]);
    let live: Vec<_> = live.map(|who| (*who as u32, stored(&all[*who]))).collect();
    let mut merger = Merger::new();
    for (index, families) in &live {
        merger.live(*index, families);
    }
    merger.ended(&folded).page(|error| panic!("{error}"))
}

/// Returns the page of a directory with a mapped file for each process, before and after the dead
/// ones are folded.
fn by_files(all: &[Snapshot; MEMBERS], is_dead: &[bool; MEMBERS]) -> [Snapshot; 2] {
    let directory = TestDirectory::new("gauges");
    let mut files = Vec::new();
    for (who, snapshot) in all.iter().enumerate() {
        let mut image = Image::new(who as u8);
        for (i, (mode, name)) in GaugeMode::NAMES.into_iter().enumerate() {
            let describe = Describe {
                kinds: (1, CellKind::Gauge),
                mode: i as u8,
                ..Describe::counter(name)
            };
            let Values::Gauge(gauges) = &snapshot.family(name).unwrap().values else {
                panic!("not a gauge");
            };
            image.family(describe, words(mode, gauges));
        }
        let file = image.write(&directory.0);
        if !is_dead[who] {
            rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).unwrap();
        }
        files.push(file);
    }
    let dir = directory.reader();
    let before = dir.snapshot().unwrap();
    dir.fold().unwrap();
    [before, dir.snapshot().unwrap()]
}

/// Returns the words of a gauge in a mapped file.
fn words(mode: GaugeMode, gauges: &Gauges) -> [u64; 3] {
    let LastSet { value, at } = gauges.get(0);
    let value = match at {
        LastSet::NEVER => series::UNSET,
        _ => value.to_bits(),
    };
    let at = if mode.is_recent() {
        at
    } else {
        series::UNTIMED
    };
    [value, at, 0]
}

#[derive(LabelValue, Clone, Copy)]
enum Member {
    A,
    B,
    C,
    D,
}

#[derive(Labels)]
struct Of {
    member: Member,
}

/// Runs the updates in the series of one family for each mode, whose only label a view drops.
fn by_view(updates: &[Update]) -> [Snapshot; 2] {
    let (closed, open) = (Registry::new(), Registry::new());
    let members = [Member::A, Member::B, Member::C, Member::D];
    for (mode, name) in GaugeMode::NAMES {
        for registry in [&closed, &open] {
            let view = View::new(name).drop_label("member").gauge_mode(mode);
            registry.add_view(view).unwrap();
        }
        let by_enum = Gauge::builder(name, "").label_set::<Of>();
        let by_enum = by_enum.mode(mode).register(&closed).unwrap();
        let by_text = Gauge::builder(name, "").labels(["member"]).mode(mode);
        let by_text = by_text.register(&open).unwrap();
        for (who, op) in updates {
            let member = members[*who];
            let (one, text) = (by_enum.with(Of { member }), who.to_string());
            let two = by_text.with([&*text]);
            match *op {
                Op::Set(x) => [one.set(x), two.set(x)],
                Op::Add(x) => [one.add(x), two.add(x)],
                Op::Raise(x) => [one.raise(x), two.raise(x)],
                Op::Lower(x) => [one.lower(x), two.lower(x)],
            };
        }
    }
    [closed.snapshot(), open.snapshot()]
}

fn value() -> impl Strategy<Value = f64> {
    prop_oneof![
        8 => (-3..=3).prop_map(f64::from),
        1 => Just(-0.0),
        1 => Just(f64::NAN),
        1 => Just(f64::INFINITY),
    ]
}

fn update() -> impl Strategy<Value = Update> {
    let op = prop_oneof![
        value().prop_map(Op::Set),
        value().prop_map(Op::Add),
        value().prop_map(Op::Raise),
        value().prop_map(Op::Lower),
    ];
    (0..MEMBERS, op)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn a_page_shows_what_was_set(
        updates in vec(update(), 0..8),
        order in Just(Vec::from_iter(0..MEMBERS)).prop_shuffle(),
        is_dead in any::<[bool; MEMBERS]>(),
    ) {
        let gauges = models(&updates);
        let registries = registries(&updates);
        let all = registries.each_ref().map(Registry::snapshot);

        let mut merged = all[order[0]].clone();
        order[1..].iter().for_each(|who| merged.merge(&all[*who]).unwrap());
        check_all("merged", &merged, &gauges, &updates)?;

        let sources = order.iter().map(|who| std::sync::Arc::new(registries[*who].clone()) as _);
        let sources: Merged = sources.collect();
        let mut page = Snapshot::default();
        sources.try_snapshot_into(&mut page).unwrap();
        check_all("by name", &page, &gauges, &updates)?;

        let page = by_records(&all, &order, &is_dead);
        check_store("records", &page, &gauges, &is_dead)?;
        let live: Vec<_> = updates.iter().filter(|(who, _)| !is_dead[*who]).copied().collect();
        if is_dead.contains(&false) {
            check_state("records", &page, &live)?;
        }

        for page in by_files(&all, &is_dead) {
            check_store("files", &page, &gauges, &is_dead)?;
        }

        let one: Vec<_> = updates.iter().map(|(_, op)| (0, *op)).collect();
        for page in by_view(&updates) {
            for (mode, name) in GaugeMode::NAMES {
                // With the last value, the label sets share one series.
                let gauges = if mode.is_recent() { models(&one) } else { gauges };
                let found = page.get(name, &[]);
                // An open label set has no series before the first update.
                if !updates.is_empty() || found.is_some() {
                    check("a view", mode, found, &gauges)?;
                }
            }
        }
    }
}
