//! Metrics about the process, its allocator, its build and its Tokio runtimes, read at scrape time.
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
//! `examples/daemon.rs` is a complete program.

#[cfg(feature = "process")]
mod allocator;
mod build;
#[cfg(feature = "process")]
mod common;
#[cfg(feature = "process")]
#[cfg_attr(any(target_os = "linux", target_os = "android"), path = "linux.rs")]
#[cfg_attr(
    not(any(target_os = "linux", target_os = "android")),
    path = "other.rs"
)]
mod os;
#[cfg(feature = "page")]
mod runtime;

#[cfg(feature = "process")]
pub use crate::observe::{Allocated, Allocator};
#[doc(hidden)]
pub use build::info as __build_info;
#[cfg(feature = "page")]
pub use runtime::{register_runtime, register_runtime_as};

#[cfg(feature = "process")]
use crate::error::Error;
#[cfg(feature = "process")]
use crate::registry::samples::Samples;
#[cfg(feature = "process")]
use crate::registry::{Collected, Registry};

/// Adds the standard process metrics to a registry.
///
/// ```
/// let registry = tallies::Registry::new();
/// tallies::process::register(&registry)?;
/// # #[cfg(target_os = "linux")]
/// assert!(registry.snapshot().get("process_cpu_seconds_total", &[]).is_some());
/// # Ok::<(), tallies::Error>(())
/// ```
///
/// | name | meaning |
/// |---|---|
/// | `process_cpu_seconds_total` | processor time, in user and system mode |
/// | `process_resident_memory_bytes`, `process_virtual_memory_bytes` | memory |
/// | `process_start_time_seconds` | start time, in seconds since 1970 |
/// | `process_open_fds`, `process_max_fds` | open file descriptors, and their limit |
/// | `process_virtual_memory_max_bytes` | limit of the address space, if there is one; Linux |
/// | `process_threads` | threads; Linux |
/// | `process_page_faults_total{kind}` | `minor`, and `major` if a disk was read; Linux |
/// | `process_context_switches_total{kind}` | `voluntary` and `involuntary`, of the main thread; Linux |
/// | `process_disk_bytes_total{direction}` | `read` and `written`, if the system counts them |
///
/// A scrape then takes about 80 µs longer. Metrics that the system does not provide are left out,
/// for example if it hides `/proc/self/io`. Processor time advances in steps of the system's clock
/// tick, 10 ms.
///
/// # Errors
///
/// Returns an error if the registry already has these metrics.
#[cfg(feature = "process")]
#[track_caller]
pub fn register(registry: &Registry) -> Result<(), Error> {
    let prefix = "process";
    registry.collect_unprefixed(prefix, move |out: &mut Collected| {
        os::collect(&mut Samples { out, prefix })
    })
}
