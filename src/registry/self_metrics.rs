//! Self-metrics: families about the engine itself, under names that begin with `tallies_`.

use std::sync::atomic::Ordering::Relaxed;

use crate::observe::{self, Pass};
use crate::snapshot::{Family, Snapshot};

use super::collected::Collected;
use super::families::{REJECTED, UnusualUpdates};
use super::samples::{Fallible, Samples};

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
pub(super) fn collect<'a>(
    pass: &Pass<'_>,
    last: LastScrape,
    snapshot: &'a Snapshot,
    collected: impl Iterator<Item = &'a Family>,
    unusual: &[UnusualUpdates],
    out: &mut Collected,
) -> Fallible<()> {
    let prefix = "tallies";
    let mut out = Samples { out, prefix };
    // Those of collectors are inserted into the snapshot later.
    let lengths = snapshot.families.iter().chain(collected).map(Family::len);
    let (families, series) = lengths.fold((0, 0), |(count, sum), len| (count + 1, sum + len));
    let (shards, cells) = pass.shards();
    out.write("families", &[], families as f64)?;
    out.write("series", &[], series as f64)?;
    out.write("shards", &[], shards as f64)?;
    out.write("shard_bytes", &[], cells as f64 * 8.0)?;
    let engine = observe::engine();
    out.write("shard_limit_bytes", &[], engine.cell_limit() as f64)?;
    let bytes = last.bytes.max(snapshot.bytes());
    out.write("snapshot_bytes", &[], bytes as f64)?;
    out.write("scrape_duration_seconds", &[], last.seconds)?;
    let budget = observe::stream_budget();
    let (used, limit) = budget.bytes();
    out.write("stream_bytes", &[], used as f64)?;
    out.write("stream_limit_bytes", &[], limit as f64)?;
    out.write("stream_mode", &[], f64::from(budget.mode()))?;
    out.write("degraded_series", &[], snapshot.degraded() as f64)?;
    for family in unusual {
        let labels = [("family", &*family.name)];
        for (name, updates) in [
            ("rejected_updates_total", family.rejected),
            ("overflowed_updates_total", family.overflowed),
        ] {
            if updates > 0 {
                out.write(name, &labels, updates as f64)?;
            }
        }
    }
    if let Some(words) = observe::unpublished_cells() {
        out.write("cells_not_shared_total", &[], words as f64)?;
    }
    let rejected = REJECTED.load(Relaxed);
    out.write("rejected_families_total", &[], rejected as f64)?;
    let copies = engine.copy_requests.load(Relaxed);
    out.write("requested_copies_total", &[], copies as f64)?;
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
    out.write("pushes_total", &[], tried as f64)?;
    out.write("push_failures_total", &[], failed as f64)?;
    out.write("last_push_timestamp_seconds", &[], last.as_secs_f64())
}
