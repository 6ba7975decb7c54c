//! Process metrics on Linux and Android, from `/proc/self`.

use std::sync::OnceLock;

use procfs::process::{LimitValue, Process};

use crate::registry::Collected;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

pub(super) fn collect(out: &mut Collected) -> Result<()> {
    let process = Process::myself()?;
    let stat = process.stat()?;
    let tick = procfs::ticks_per_second() as f64;
    out.counter(
        "process_cpu_seconds_total",
        "User and system CPU time of the process.",
        &[],
        (stat.utime + stat.stime) as f64 / tick,
    )?;
    out.gauge(
        "process_resident_memory_bytes",
        "Resident memory: in use and not swapped out.",
        &[],
        (stat.rss * procfs::page_size()) as f64,
    )?;
    out.gauge(
        "process_virtual_memory_bytes",
        "Virtual memory: reserved address space.",
        &[],
        stat.vsize as f64,
    )?;
    out.gauge(
        "process_threads",
        "Threads of the process.",
        &[],
        stat.num_threads as f64,
    )?;
    for (kind, faults) in [("minor", stat.minflt), ("major", stat.majflt)] {
        out.counter(
            "process_page_faults_total",
            "Page faults. Major ones had to read from a disk.",
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
/// boot time is in `/proc/stat`, which not every process may read.
fn started(after_boot: f64, out: &mut Collected) -> Result<()> {
    Ok(out.gauge(
        "process_start_time_seconds",
        "Start time of the process, in seconds since 1970.",
        &[],
        booted()? as f64 + after_boot,
    )?)
}

/// Returns the boot time in seconds since 1970. It does not change, so it is read once.
fn booted() -> Result<u64> {
    static BOOTED: OnceLock<u64> = OnceLock::new();
    if let Some(seconds) = BOOTED.get() {
        return Ok(*seconds);
    }
    Ok(*BOOTED.get_or_init({
        let seconds = procfs::boot_time_secs()?;
        move || seconds
    }))
}

fn open(process: &Process, out: &mut Collected) -> Result<()> {
    Ok(out.gauge(
        "process_open_fds",
        "Open file descriptors.",
        &[],
        process.fd_count()? as f64,
    )?)
}

fn limits(process: &Process, out: &mut Collected) -> Result<()> {
    let limits = process.limits()?;
    if let LimitValue::Value(most) = limits.max_open_files.soft_limit {
        out.gauge(
            "process_max_fds",
            "Maximum number of open file descriptors.",
            &[],
            most as f64,
        )?;
    }
    if let LimitValue::Value(most) = limits.max_address_space.soft_limit {
        out.gauge(
            "process_virtual_memory_max_bytes",
            "Maximum amount of virtual memory.",
            &[],
            most as f64,
        )?;
    }
    Ok(())
}

fn switches(process: &Process, out: &mut Collected) -> Result<()> {
    let status = process.status()?;
    for (kind, switches) in [
        ("voluntary", status.voluntary_ctxt_switches),
        ("involuntary", status.nonvoluntary_ctxt_switches),
    ] {
        if let Some(switches) = switches {
            out.counter(
                "process_context_switches_total",
                "Context switches of the main thread: voluntary when it waits, involuntary when \
                 it is preempted.",
                &[("kind", kind)],
                switches as f64,
            )?;
        }
    }
    Ok(())
}

fn disk(process: &Process, out: &mut Collected) -> Result<()> {
    let io = process.io()?;
    for (direction, bytes) in [("read", io.read_bytes), ("written", io.write_bytes)] {
        out.counter(
            "process_disk_bytes_total",
            "Bytes that storage read or wrote for the process.",
            &[("direction", direction)],
            bytes as f64,
        )?;
    }
    Ok(())
}
