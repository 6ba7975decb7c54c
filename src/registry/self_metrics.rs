//! Self-metrics: families about the engine itself, under names that begin with `tallies_`.

use std::sync::atomic::Ordering::Relaxed;

use crate::error::Error;
use crate::observe::{self, Pass};
use crate::snapshot::{Family, Snapshot};

use super::collected::Collected;
use super::families::REFUSED;

/// The duration and the size of the last snapshot of a registry.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct LastScrape {
    pub(super) seconds: f64,
    pub(super) bytes: usize,
}

/// Writes the self-metrics.
pub(super) fn collect(
    pass: &Pass<'_>,
    last: LastScrape,
    snapshot: &Snapshot,
    collected: &[&Family],
    out: &mut Collected,
) -> Result<(), Error> {
    let stats = &observe::engine().stats;
    // Those of collectors are inserted into the snapshot later.
    let series = |families: &[Family]| families.iter().map(Family::len).sum::<usize>();
    let families = snapshot.families.len() + collected.len();
    let series =
        series(&snapshot.families) + collected.iter().map(|family| family.len()).sum::<usize>();
    let (shards, cells) = pass.shards();
    let mut gauge = |name, help, value: f64| out.gauge(name, help, &[], value);
    gauge(
        "tallies_families",
        "Families in this registry: those of callbacks and collectors included, these self-metrics not.",
        families as f64,
    )?;
    gauge(
        "tallies_series",
        "Series in this registry: those of callbacks and collectors included, these self-metrics not.",
        series as f64,
    )?;
    gauge(
        "tallies_shards",
        "Threads' cells in this process; those of ended threads wait for the next.",
        shards as f64,
    )?;
    gauge(
        "tallies_shard_bytes",
        "Memory set aside for cells; the system commits what was touched.",
        cells as f64 * 8.0,
    )?;
    gauge(
        "tallies_snapshot_bytes",
        "Memory that the last snapshot held.",
        last.bytes.max(snapshot.bytes()) as f64,
    )?;
    gauge(
        "tallies_scrape_duration_seconds",
        "How long the last snapshot took.",
        last.seconds,
    )?;
    let (used, limit) = observe::stream_budget().bytes();
    gauge(
        "tallies_stream_bytes",
        "Memory of all summaries' streams.",
        used as f64,
    )?;
    gauge(
        "tallies_stream_limit_bytes",
        "From half of this on their buffers are small; beyond it threads share streams.",
        limit as f64,
    )?;
    gauge(
        "tallies_stream_mode",
        "What the limit asks of streams now: 0 nothing, 1 small buffers, 2 no more streams, so that new threads share.",
        f64::from(observe::stream_budget().mode()),
    )?;
    gauge(
        "tallies_degraded_series",
        "Series of summaries whose sketch was forced under its cap: an error may be more than promised, not than certified.",
        snapshot.degraded() as f64,
    )?;
    let mut counter = |name, help, value: u64| out.counter(name, help, &[], value as f64);
    counter(
        "tallies_refused_updates_total",
        "Updates that were dropped: NaN, negative adds, infinities that would make a sum NaN.",
        stats.rejected.load(Relaxed),
    )?;
    counter(
        "tallies_overflowed_updates_total",
        "Updates that counted in an overflow series.",
        stats.overflowed.load(Relaxed),
    )?;
    counter(
        "tallies_refused_families_total",
        "Families that are not exported, as their name was taken.",
        REFUSED.load(Relaxed),
    )?;
    counter(
        "tallies_asked_copies_total",
        "Times a scrape asked a thread for a copy of a histogram it could not read.",
        stats.copy_requests.load(Relaxed),
    )?;
    #[cfg(feature = "push")]
    pushes(out)?;
    Ok(())
}

/// Writes the metrics of pushes, after the first push.
#[cfg(feature = "push")]
fn pushes(out: &mut Collected) -> Result<(), Error> {
    let (tried, failed, last) = crate::sync::pushes::totals();
    if tried == 0 {
        return Ok(());
    }
    out.counter(
        "tallies_pushes_total",
        "Pushes to gateways, those that failed as well.",
        &[],
        tried as f64,
    )?;
    out.counter(
        "tallies_push_failures_total",
        "Pushes that no gateway took.",
        &[],
        failed as f64,
    )?;
    out.gauge(
        "tallies_last_push_timestamp_seconds",
        "When a gateway last took a push; 0: never.",
        &[],
        last.as_secs_f64(),
    )
}
