//! What the process, its allocator and its runtimes say of themselves, asked when somebody scrapes.
//!
//! ```
//! # #[cfg(feature = "process")]
//! tallies::process::register(tallies::registry())?;
//! tallies::build_info!(tallies::registry())?;
//! let now = tallies::snapshot();
//! # #[cfg(all(feature = "process", target_os = "linux"))]
//! assert!(now.get("process_resident_memory_bytes", &[]).unwrap() > 0.0);
//! assert!(now.family("tallies_build_info").is_some());
//! # Ok::<(), tallies::Error>(())
//! ```
//!
//! `examples/daemon.rs` is a whole program.

#[cfg(feature = "process")]
mod allocator;
mod build;
#[cfg(feature = "process")]
#[cfg_attr(any(target_os = "linux", target_os = "android"), path = "linux.rs")]
#[cfg_attr(
    not(any(target_os = "linux", target_os = "android")),
    path = "other.rs"
)]
mod os;
#[cfg(feature = "tokio-metrics")]
mod runtime;

#[cfg(feature = "process")]
pub use crate::observe::{Allocated, Allocator};
#[doc(hidden)]
pub use build::info as __build_info;
#[cfg(feature = "tokio-metrics")]
pub use runtime::{register_runtime, register_runtime_as};

#[cfg(feature = "process")]
use crate::{error::Error, registry::Collected, registry::Registry};

/// Adds the standard metrics of a process to a registry.
///
/// | name | what |
/// |---|---|
/// | `process_cpu_seconds_total` | processor time, of the system for it as well |
/// | `process_resident_memory_bytes`, `process_virtual_memory_bytes` | memory |
/// | `process_start_time_seconds` | seconds from 1970 to its start |
/// | `process_open_fds`, `process_max_fds` | file descriptors, and their limit |
/// | `process_virtual_memory_max_bytes` | the limit of memory, where there is one; Linux |
/// | `process_threads` | threads; Linux |
/// | `process_page_faults_total{kind}` | `minor`, and `major` where a disk was asked; Linux |
/// | `process_context_switches_total{kind}` | `voluntary` and `involuntary`, of the main thread; Linux |
/// | `process_disk_bytes_total{direction}` | `read` and `written`; where the system tells |
///
/// A scrape then costs some 80 µs more. What the system does not tell, as when it hides `/proc/self/io`, is left out. Processor
/// time is in steps of the system's clock tick, 10 ms.
///
/// # Errors
///
/// A registry that has it already.
#[cfg(feature = "process")]
pub fn register(registry: &Registry) -> Result<(), Error> {
    registry.collect("process", |out: &mut Collected| os::collect(out))
}
