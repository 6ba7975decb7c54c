//! The process metrics that every system has. Others stand where they are read.

use crate::registry::samples::NameAndHelp;

pub(super) const CPU_SECONDS: NameAndHelp = (
    "cpu_seconds_total",
    "User and system CPU time of the process.",
);
pub(super) const RESIDENT_BYTES: NameAndHelp = (
    "resident_memory_bytes",
    "Resident memory: in use and not swapped out.",
);
pub(super) const VIRTUAL_BYTES: NameAndHelp = (
    "virtual_memory_bytes",
    "Virtual memory: reserved address space.",
);
pub(super) const START_TIME: NameAndHelp = (
    "start_time_seconds",
    "Start time of the process, in seconds since 1970.",
);
pub(super) const OPEN_FDS: NameAndHelp = ("open_fds", "Open file descriptors.");
pub(super) const MAX_FDS: NameAndHelp = ("max_fds", "Maximum number of open file descriptors.");
pub(super) const DISK_BYTES: NameAndHelp = (
    "disk_bytes_total",
    "Bytes that storage read or wrote for the process.",
);
