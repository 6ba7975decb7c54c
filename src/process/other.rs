//! Process metrics from `sysinfo`, on systems without `/proc`.

use std::sync::{Mutex, PoisonError};

use sysinfo::{ProcessRefreshKind, ProcessesToUpdate, System};

use crate::registry::samples::{Fallible, Samples};

use super::common::{
    CPU_SECONDS, DISK_BYTES, MAX_FDS, OPEN_FDS, RESIDENT_BYTES, START_TIME, VIRTUAL_BYTES,
};

/// The `sysinfo` state. It is large, so it is kept between scrapes.
static SYSTEM: Mutex<Option<System>> = Mutex::new(None);

pub(super) fn collect(out: &mut Samples<'_>) -> Fallible<()> {
    let me = sysinfo::get_current_pid()?;
    let mut system = SYSTEM.lock().unwrap_or_else(PoisonError::into_inner);
    let system = match &mut *system {
        Some(system) => system,
        none => none.insert(System::new()?),
    };
    let wanted = ProcessRefreshKind::nothing()
        .with_cpu()
        .with_memory()
        .with_disk_usage();
    system.refresh_processes_specifics(ProcessesToUpdate::Some(&[me]), true, wanted);
    let process = system
        .process(me)
        .ok_or("the system does not know this process")?;
    let cpu = process.accumulated_cpu_time() as f64 / 1e3;
    out.write(CPU_SECONDS, &[], cpu)?;
    out.write(RESIDENT_BYTES, &[], process.memory() as f64)?;
    out.write(VIRTUAL_BYTES, &[], process.virtual_memory() as f64)?;
    out.write(START_TIME, &[], process.start_time() as f64)?;
    for (name, files) in [
        (OPEN_FDS, process.open_files()),
        (MAX_FDS, process.open_files_limit()),
    ] {
        if let Some(files) = files {
            out.write(name, &[], files as f64)?;
        }
    }
    let disk = process.disk_usage();
    for (direction, bytes) in [
        ("read", disk.total_read_bytes),
        ("written", disk.total_written_bytes),
    ] {
        let labels = [("direction", direction)];
        out.write(DISK_BYTES, &labels, bytes as f64)?;
    }
    Ok(())
}
