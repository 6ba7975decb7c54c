//! Self-metrics: families about the engine itself, under names that begin with `tallies_`.

use std::sync::atomic::Ordering::Relaxed;

use crate::error::Error;
use crate::observe::{self, Pass};
use crate::snapshot::{Family, Snapshot};

use super::collected::Collected;
use super::families::{REJECTED, UnusualUpdates};

/// The duration and the size of the last snapshot of a registry.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct LastScrape {
    pub(super) seconds: f64,
    pub(super) bytes: usize,
}

/// Returns whether a family of a registry is about the engine itself.
#[cfg(feature = "store")]
pub(crate) fn is_self_metric(name: &str) -> bool {
    name.starts_with("tallies_")
}

/// Writes the self-metrics.
pub(super) fn collect(
    pass: &Pass<'_>,
    last: LastScrape,
    snapshot: &Snapshot,
    collected: &[&Family],
    unusual: &[UnusualUpdates],
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
        "Series in this registry, those of callbacks and collectors included, self-metrics excluded.",
        series as f64,
    )?;
    gauge(
        "tallies_shards",
        "Shards in this process: one for each thread that updates metrics. New threads reuse \
         those of ended threads.",
        shards as f64,
    )?;
    gauge(
        "tallies_shard_bytes",
        "Address space reserved for cells. The system commits only the pages in use.",
        cells as f64 * 8.0,
    )?;
    gauge(
        "tallies_shard_limit_bytes",
        "Limit of tallies_shard_bytes. At the limit, further series count in one cold cell each.",
        observe::engine().cell_limit() as f64,
    )?;
    gauge(
        "tallies_snapshot_bytes",
        "Memory of the last snapshot, with label texts that other snapshots share.",
        last.bytes.max(snapshot.bytes()) as f64,
    )?;
    gauge(
        "tallies_scrape_duration_seconds",
        "Duration of the last snapshot.",
        last.seconds,
    )?;
    let (used, limit) = observe::stream_budget().bytes();
    gauge(
        "tallies_stream_bytes",
        "Memory of the quantile streams of all summaries.",
        used as f64,
    )?;
    gauge(
        "tallies_stream_limit_bytes",
        "Limit of tallies_stream_bytes. From half of it, streams have small buffers; above it, \
         threads share streams.",
        limit as f64,
    )?;
    gauge(
        "tallies_stream_mode",
        "Current effect of the limit: 0 none, 1 small buffers, 2 no new streams, so that threads \
         share them.",
        f64::from(observe::stream_budget().mode()),
    )?;
    gauge(
        "tallies_degraded_series",
        "Series of summaries whose sketch reached its maximum size: quantile errors may exceed \
         the objectives, but not the certified bounds.",
        snapshot.degraded() as f64,
    )?;
    for family in unusual.iter().filter(|family| family.rejected > 0) {
        out.counter(
            "tallies_rejected_updates_total",
            "Rejected updates: NaN, negative increments of counters, infinities that would make a \
             sum NaN, invalid labels. Families without any have no series.",
            &[("family", &family.name)],
            family.rejected as f64,
        )?;
    }
    for family in unusual.iter().filter(|family| family.overflowed > 0) {
        out.counter(
            "tallies_overflowed_updates_total",
            "Updates counted in an overflow series instead of a series of their own. Families \
             without any have no series.",
            &[("family", &family.name)],
            family.overflowed as f64,
        )?;
    }
    if let Some(words) = observe::unpublished_cells() {
        out.counter(
            "tallies_cells_not_shared_total",
            "Words of 8 bytes that are not in this process' mapped file, because the file was full.",
            &[],
            words as f64,
        )?;
    }
    let mut counter = |name, help, value: u64| out.counter(name, help, &[], value as f64);
    counter(
        "tallies_rejected_families_total",
        "Families that are not exported, because their name was taken.",
        REJECTED.load(Relaxed),
    )?;
    counter(
        "tallies_requested_copies_total",
        "Copies of histograms that scrapes requested from threads, because they could not read them directly.",
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
        "Pushes to gateways, including failed ones.",
        &[],
        tried as f64,
    )?;
    out.counter(
        "tallies_push_failures_total",
        "Failed pushes.",
        &[],
        failed as f64,
    )?;
    out.gauge(
        "tallies_last_push_timestamp_seconds",
        "Time of the last successful push, in seconds since 1970. 0: none.",
        &[],
        last.as_secs_f64(),
    )
}
