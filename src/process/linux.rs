//! Process metrics on Linux and Android, from `/proc/self`.

use std::sync::OnceLock;

use procfs::process::{LimitValue, Process};

use crate::registry::samples::{Fallible, Samples};

use super::common::{
    CPU_SECONDS, DISK_BYTES, MAX_FDS, OPEN_FDS, RESIDENT_BYTES, START_TIME, VIRTUAL_BYTES,
};

pub(super) fn collect(out: &mut Samples<'_>) -> Fallible<()> {
    let process = Process::myself()?;
    let stat = process.stat()?;
    let tick = procfs::ticks_per_second() as f64;
    let cpu = (stat.utime + stat.stime) as f64 / tick;
    let resident = stat.rss * procfs::page_size();
    out.write(CPU_SECONDS, &[], cpu)?;
    out.write(RESIDENT_BYTES, &[], resident as f64)?;
    out.write(VIRTUAL_BYTES, &[], stat.vsize as f64)?;
    out.write(
        ("threads", "Threads of the process."),
        &[],
        stat.num_threads as f64,
    )?;
    for (kind, faults) in [("minor", stat.minflt), ("major", stat.majflt)] {
        out.write(
            (
                "page_faults_total",
                "Page faults. Major ones had to read from a disk.",
            ),
            &[("kind", kind)],
            faults as f64,
        )?;
    }
    // Files that the process may not be allowed to read come last. An error there only skips their
    // own metrics.
    let _ = started(stat.starttime as f64 / tick, out);
    let _ = open(&process, out);
    let _ = limits(&process, out);
    let _ = switches(&process, out);
    let _ = disk(&process, out);
    Ok(())
}

/// Writes the start time of the process, which began `after_boot` seconds after the machine. The
/// boot time is in `/proc/stat`, which not every process may read. It does not change, so it is
/// read once.
fn started(after_boot: f64, out: &mut Samples<'_>) -> Fallible<()> {
    static BOOTED: OnceLock<u64> = OnceLock::new();
    let booted = match BOOTED.get() {
        Some(seconds) => *seconds,
        None => procfs::boot_time_secs()?,
    };
    let booted = *BOOTED.get_or_init(|| booted);
    out.write(START_TIME, &[], booted as f64 + after_boot)
}

fn open(process: &Process, out: &mut Samples<'_>) -> Fallible<()> {
    out.write(OPEN_FDS, &[], process.fd_count()? as f64)
}

fn limits(process: &Process, out: &mut Samples<'_>) -> Fallible<()> {
    let limits = process.limits()?;
    for (name, limit) in [
        (MAX_FDS, limits.max_open_files),
        (
            (
                "virtual_memory_max_bytes",
                "Maximum amount of virtual memory.",
            ),
            limits.max_address_space,
        ),
    ] {
        if let LimitValue::Value(most) = limit.soft_limit {
            out.write(name, &[], most as f64)?;
        }
    }
    Ok(())
}

fn switches(process: &Process, out: &mut Samples<'_>) -> Fallible<()> {
    let status = process.status()?;
    for (kind, switches) in [
        ("voluntary", status.voluntary_ctxt_switches),
        ("involuntary", status.nonvoluntary_ctxt_switches),
    ] {
        if let Some(switches) = switches {
            let labels = [("kind", kind)];
            out.write(
                (
                    "context_switches_total",
                    "Context switches of the main thread: voluntary when it waits, involuntary \
                     when it is preempted.",
                ),
                &labels,
                switches as f64,
            )?;
        }
    }
    Ok(())
}

fn disk(process: &Process, out: &mut Samples<'_>) -> Fallible<()> {
    let io = process.io()?;
    for (direction, bytes) in [("read", io.read_bytes), ("written", io.write_bytes)] {
        let labels = [("direction", direction)];
        out.write(DISK_BYTES, &labels, bytes as f64)?;
    }
    Ok(())
}
