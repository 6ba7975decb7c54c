//! The memory that processes share: extents of a file that is mapped.
//!
//! This module knows no threads, cells or metrics. `docs/sharing.md` describes the file.

#[allow(dead_code, reason = "the reader of files has the other half")]
pub(crate) mod format;
#[cfg(all(feature = "mmap", not(loom)))]
#[allow(unsafe_code, reason = "maps files")]
pub(crate) mod image;
