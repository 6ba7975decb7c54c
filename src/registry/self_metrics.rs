//! Self-metrics: families about the engine itself, under names that begin with `tallies_`.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering::Relaxed;

use crate::observe::{self, Pass};
use crate::snapshot::{Snapshot, left_out};
use crate::sync::lock;

use super::Registry;
use super::collected::Collected;
use super::collectors::Written;
use super::families::REJECTED;
use super::samples::{Fallible, Samples};

/// Returns whether a family of a registry is about the engine itself.
pub(crate) fn is_self_metric(name: &str) -> bool {
    name.starts_with("tallies_")
}

/// Writes the self-metrics.
pub(super) fn collect(
    registry: &Registry,
    pass: &Pass<'_>,
    snapshot: &Snapshot,
    collected: &[Written],
    out: &mut Collected,
) -> Fallible<()> {
    let prefix = "tallies";
    let mut out = Samples { out, prefix };
    let settings = *lock(&registry.0.settings);
    // Those of collectors are inserted into the snapshot later. Several may have one name.
    let collected = collected.iter().flat_map(|written| &written.families);
    let names = collected.clone().map(|family| family.name());
    let new = names.filter(|name| snapshot.position(name).is_err());
    let families = snapshot.families.len() + new.collect::<BTreeSet<_>>().len();
    let (mut series, mut bytes) = (0, 0);
    for family in snapshot.families.iter().chain(collected) {
        series += family.len();
        bytes += family.bytes();
    }
    let (shards, cells) = pass.shards();
    out.write(
        (
            "families",
            "Families in this registry, including those of callbacks and collectors, excluding \
             self-metrics.",
        ),
        &[],
        families as f64,
    )?;
    out.write(
        (
            "series",
            "Series in this registry, including those of callbacks and collectors, excluding \
             self-metrics.",
        ),
        &[],
        series as f64,
    )?;
    out.write(
        (
            "shards",
            "Shards in this process: one for each thread that updates metrics. New threads reuse \
             those of ended threads.",
        ),
        &[],
        shards as f64,
    )?;
    out.write(
        (
            "shard_bytes",
            "Address space reserved for cells. The system commits only the pages in use.",
        ),
        &[],
        cells as f64 * 8.0,
    )?;
    let engine = observe::engine();
    out.write(
        (
            "shard_limit_bytes",
            "Limit of tallies_shard_bytes. At the limit, further series count in one cold cell \
             each.",
        ),
        &[],
        engine.cell_limit() as f64,
    )?;
    out.write(
        (
            "snapshot_bytes",
            "Memory of the last snapshot, with label texts that other snapshots share.",
        ),
        &[],
        bytes as f64,
    )?;
    out.write(
        ("scrape_duration_seconds", "Duration of the last snapshot."),
        &[],
        settings.last_seconds,
    )?;
    let budget = observe::stream_budget();
    let (used, limit) = budget.bytes();
    out.write(
        (
            "stream_bytes",
            "Memory of the quantile streams of all summaries.",
        ),
        &[],
        used as f64,
    )?;
    out.write(
        (
            "stream_limit_bytes",
            "Limit of tallies_stream_bytes. From half of it, streams have small buffers; above \
             it, threads share streams.",
        ),
        &[],
        limit as f64,
    )?;
    out.write(
        (
            "stream_mode",
            "Current effect of the limit: 0 none, 1 small buffers, 2 no new streams, so that \
             threads share them.",
        ),
        &[],
        f64::from(budget.mode()),
    )?;
    out.write(
        (
            "degraded_series",
            "Series of summaries whose sketch reached its maximum size: quantile errors may \
             exceed the objectives, but not the certified bounds.",
        ),
        &[],
        snapshot.degraded() as f64,
    )?;
    registry.write_unusual_updates(&mut out)?;
    if let Some(words) = observe::unpublished_cells() {
        out.write(
            (
                "cells_not_shared_total",
                "Words of 8 bytes that are not in this process' mapped file, because the file was \
                 full.",
            ),
            &[],
            words as f64,
        )?;
    }
    let rejected = REJECTED.load(Relaxed);
    out.write(
        (
            "rejected_families_total",
            "Families that are not exported, because their name was taken.",
        ),
        &[],
        rejected as f64,
    )?;
    let copies = engine.copy_requests.load(Relaxed);
    out.write(
        (
            "requested_copies_total",
            "Copies of histograms that scrapes requested from threads, because they could not \
             read them directly.",
        ),
        &[],
        copies as f64,
    )?;
    let conflicts = left_out();
    if conflicts > 0 {
        out.write(
            (
                "merge_conflicts_total",
                "Families left out of pages, pushes and sends of several registries, because they \
                 conflict. Each page counts.",
            ),
            &[],
            conflicts as f64,
        )?;
    }
    #[cfg(feature = "push")]
    pushes(&mut out)?;
    Ok(())
}

/// Writes the metrics of pushes, after the first push.
#[cfg(feature = "push")]
fn pushes(out: &mut Samples<'_>) -> Fallible<()> {
    let (tried, failed, last) = crate::sync::pushes::totals();
    if tried == 0 {
        return Ok(());
    }
    out.write(
        ("pushes_total", "Pushes to gateways, including failed ones."),
        &[],
        tried as f64,
    )?;
    out.write(
        ("push_failures_total", "Failed pushes."),
        &[],
        failed as f64,
    )?;
    out.write(
        (
            "last_push_timestamp_seconds",
            "Time of the last successful push, in seconds since 1970. 0: none.",
        ),
        &[],
        last.as_secs_f64(),
    )
}
