//! Process metrics from `sysinfo`, on systems without `/proc`.

use std::sync::{Mutex, PoisonError};

use sysinfo::{ProcessRefreshKind, ProcessesToUpdate, System};

use crate::registry::Collected;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// The `sysinfo` state. It is large, so it is kept between scrapes.
static SYSTEM: Mutex<Option<System>> = Mutex::new(None);

pub(super) fn collect(out: &mut Collected) -> Result<()> {
    let me = sysinfo::get_current_pid()?;
    let mut system = SYSTEM.lock().unwrap_or_else(PoisonError::into_inner);
    if system.is_none() {
        *system = Some(System::new()?);
    }
    let system = system
        .as_mut()
        .ok_or("the system provides no information about processes")?;
    let wanted = ProcessRefreshKind::nothing()
        .with_cpu()
        .with_memory()
        .with_disk_usage();
    system.refresh_processes_specifics(ProcessesToUpdate::Some(&[me]), true, wanted);
    let process = system
        .process(me)
        .ok_or("the system does not know this process")?;
    out.counter(
        "process_cpu_seconds_total",
        "User and system CPU time of the process.",
        &[],
        process.accumulated_cpu_time() as f64 / 1e3,
    )?;
    out.gauge(
        "process_resident_memory_bytes",
        "Resident memory: in use and not swapped out.",
        &[],
        process.memory() as f64,
    )?;
    out.gauge(
        "process_virtual_memory_bytes",
        "Virtual memory: reserved address space.",
        &[],
        process.virtual_memory() as f64,
    )?;
    out.gauge(
        "process_start_time_seconds",
        "Start time of the process, in seconds since 1970.",
        &[],
        process.start_time() as f64,
    )?;
    if let Some(open) = process.open_files() {
        out.gauge(
            "process_open_fds",
            "Open file descriptors.",
            &[],
            open as f64,
        )?;
    }
    if let Some(most) = process.open_files_limit() {
        out.gauge(
            "process_max_fds",
            "Maximum number of open file descriptors.",
            &[],
            most as f64,
        )?;
    }
    let disk = process.disk_usage();
    for (direction, bytes) in [
        ("read", disk.total_read_bytes),
        ("written", disk.total_written_bytes),
    ] {
        out.counter(
            "process_disk_bytes_total",
            "Bytes that storage read or wrote for the process.",
            &[("direction", direction)],
            bytes as f64,
        )?;
    }
    Ok(())
}
