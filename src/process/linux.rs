//! Process metrics on Linux and Android, from `/proc/self`.

use std::sync::OnceLock;

use procfs::process::{LimitValue, Process};

use crate::registry::samples::{Fallible, Samples};

pub(super) fn collect(out: &mut Samples<'_>) -> Fallible<()> {
    let process = Process::myself()?;
    let stat = process.stat()?;
    let tick = procfs::ticks_per_second() as f64;
    let cpu = (stat.utime + stat.stime) as f64 / tick;
    let resident = stat.rss * procfs::page_size();
    out.write("cpu_seconds_total", &[], cpu)?;
    out.write("resident_memory_bytes", &[], resident as f64)?;
    out.write("virtual_memory_bytes", &[], stat.vsize as f64)?;
    out.write("threads", &[], stat.num_threads as f64)?;
    for (kind, faults) in [("minor", stat.minflt), ("major", stat.majflt)] {
        out.write("page_faults_total", &[("kind", kind)], faults as f64)?;
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
    out.write("start_time_seconds", &[], booted as f64 + after_boot)
}

fn open(process: &Process, out: &mut Samples<'_>) -> Fallible<()> {
    out.write("open_fds", &[], process.fd_count()? as f64)
}

fn limits(process: &Process, out: &mut Samples<'_>) -> Fallible<()> {
    let limits = process.limits()?;
    for (name, limit) in [
        ("max_fds", limits.max_open_files),
        ("virtual_memory_max_bytes", limits.max_address_space),
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
            out.write("context_switches_total", &labels, switches as f64)?;
        }
    }
    Ok(())
}

fn disk(process: &Process, out: &mut Samples<'_>) -> Fallible<()> {
    let io = process.io()?;
    for (direction, bytes) in [("read", io.read_bytes), ("written", io.write_bytes)] {
        let labels = [("direction", direction)];
        out.write("disk_bytes_total", &labels, bytes as f64)?;
    }
    Ok(())
}
