//! The words of another process' file: mapped for reading, or copied.
//!
//! The file of a live process is mapped, because its words have to be loaded in the order that the
//! protocols of the engine ask for. The file of a dead process does not change, so a copy has the
//! same words. A copy is safer: a file that somebody truncates ends the copy with an error, but a
//! mapping with a signal.
//!
//! - R1: A mapping covers whole words of a file that was as long when it was made. Nobody but the
//!   owner of the directory may write the file, and this crate never makes one shorter.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::ptr::NonNull;

use rustix::mm::{MapFlags, ProtFlags};

use crate::sync::AtomicU64;

/// The words of a file.
pub(crate) enum Image {
    /// Words that another process may be writing.
    Mapped(Mapping),
    /// Words that do not change.
    Copied(Vec<AtomicU64>),
}

impl Image {
    /// Maps the first `bytes` bytes of a file, for reading.
    pub(crate) fn map(file: &File, bytes: usize) -> io::Result<Self> {
        Mapping::new(file, bytes).map(Self::Mapped)
    }

    /// Copies the first `bytes` bytes of a file.
    pub(crate) fn copy(file: &File, bytes: usize) -> io::Result<Self> {
        let mut words = Vec::with_capacity(bytes / 8);
        let mut buffer = vec![0; bytes.min(1 << 20)];
        let mut at = 0;
        while at < bytes {
            let part = &mut buffer[..(bytes - at).min(1 << 20)];
            file.read_exact_at(part, at as u64)?;
            words.extend(Self::words_of(part));
            at += part.len();
        }
        Ok(Self::Copied(words))
    }

    /// Uses these bytes as a file.
    pub(crate) fn of(bytes: &[u8]) -> Self {
        Self::Copied(Self::words_of(bytes).collect())
    }

    fn words_of(bytes: &[u8]) -> impl Iterator<Item = AtomicU64> {
        let words = bytes.chunks_exact(8);
        words.map(|word| AtomicU64::new(u64::from_ne_bytes(word.try_into().unwrap_or_default())))
    }

    /// Returns the length in bytes.
    pub(crate) fn len(&self) -> u64 {
        8 * self.words().len() as u64
    }

    /// Returns the words.
    #[inline]
    pub(crate) fn words(&self) -> &[AtomicU64] {
        match self {
            Self::Mapped(mapping) => mapping.words(),
            Self::Copied(words) => words,
        }
    }
}

/// A mapping of a file, for reading.
pub(crate) struct Mapping {
    memory: NonNull<AtomicU64>,
    /// The number of words.
    len: usize,
}

// SAFETY: the memory is atomics, which any thread may load.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    fn new(file: &File, bytes: usize) -> io::Result<Self> {
        let bytes = bytes / 8 * 8;
        if bytes == 0 || file.metadata()?.len() < bytes as u64 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        // SAFETY: a new mapping, which replaces none.
        let memory = unsafe {
            rustix::mm::mmap(
                std::ptr::null_mut(),
                bytes,
                ProtFlags::READ,
                MapFlags::SHARED,
                file,
                0,
            )?
        };
        let memory = NonNull::new(memory.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        let len = bytes / 8;
        Ok(Self { memory, len })
    }

    #[inline]
    fn words(&self) -> &[AtomicU64] {
        // SAFETY: the mapping has `len` words and lives as long as `self` (R1). Loads of atomics
        // are all that is done with them, and loads of one word may be done in memory that is
        // read-only.
        unsafe { std::slice::from_raw_parts(self.memory.as_ptr(), self.len) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping that `new` made. No reference to it outlives `self`.
        let _ = unsafe { rustix::mm::munmap(self.memory.as_ptr().cast(), 8 * self.len) };
    }
}
