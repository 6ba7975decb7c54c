//! Models of the protocols under loom. Models run the code that ships, with tiny capacities: a
//! first slab has four cells, and a series is promoted after its first cold update. Each model
//! asserts the set of outcomes that it reached, so that a model that explores nothing fails.
//! `cargo xtask mutate` weakens every ordering and names the model that fails.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::sync::{Arc, Mutex};

use loom::thread;

use super::pass::Pass;
use super::shard::ShardRef;
use super::thread::Thread;
use super::{Cells, Engine, Generation, Outcome, Tally};
use crate::sync::lock;

mod atomic_box;
mod buckets;
mod cached_ref;
mod closing;
mod events;
mod mapped;
mod native;
mod passes;
mod slots;
mod streams;
mod summary;
mod totals;

/// Runs a model over all interleavings with at most `preemptions` preemptions (0: no bound).
/// Returns the set of the model's results.
fn reached<T: Ord + Debug + Send + 'static>(
    preemptions: usize,
    model: impl Fn() -> T + Send + Sync + 'static,
) -> BTreeSet<T> {
    let seen = Arc::new(Mutex::new(BTreeSet::new()));
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = (preemptions > 0).then_some(preemptions);
    builder.max_branches = 20_000;
    let notes = Arc::clone(&seen);
    builder.check(move || {
        let outcome = model();
        notes.lock().unwrap().insert(outcome);
    });
    std::mem::take(&mut *seen.lock().unwrap())
}

fn set<T: Ord + Clone>(items: &[T]) -> BTreeSet<T> {
    items.iter().cloned().collect()
}

/// Spawns a thread with its own side of the engine. It leaves its shard at the end.
fn spawn<T: 'static>(
    engine: &Arc<Engine>,
    f: impl FnOnce(&Engine, &Thread) -> T + 'static,
) -> thread::JoinHandle<T> {
    let engine = Arc::clone(engine);
    thread::spawn(move || f(&engine, &Thread::new()))
}

/// Runs an update as `declare` does: hot, or else cold.
fn inc(engine: &Engine, thread: &Thread, tally: &Tally<u64>, generation: Generation) -> Outcome {
    if Tally::add(thread, tally.slot_word().last(generation), 1_u64)
        || tally.add_if_cold(
            engine,
            (tally.slot_word().last(generation), generation),
            1,
            || false,
        )
    {
        return Outcome::Done;
    }
    tally.add_cold(engine, thread, generation, 1, false)
}

/// Returns the shards that passes know, including those that joined since the last pass.
fn shards(engine: &Engine) -> Vec<ShardRef> {
    lock(&engine.collector).shards(&engine.shards)
}

fn total<C: Cells>(pass: &mut Pass<'_>, cells: &C) -> C::Total {
    let mut total = C::Total::default();
    cells.read(pass, cells.slot_word().slot(), &mut total);
    total
}
