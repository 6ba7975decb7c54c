//! The region: its addresses, its extents, and the allocator of its memory. Below it is what else
//! exists only where files are mapped.

pub(crate) mod fork;
pub(crate) mod image;

use std::collections::BTreeMap;
use std::ffi::c_void;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::ptr::{NonNull, null_mut};
use std::sync::atomic::{AtomicBool, AtomicUsize, fence};
use std::time::{Duration, Instant};

use rustix::mm::{MapFlags, ProtFlags, mmap, mmap_anonymous};

use crate::sync::{Acquire, AllocatingGuard, AllocatingMutex, AtomicU64, Relaxed, Release};

use super::format::{EXTENT, MOST_EXTENTS, header};
use super::journal::Journal;

/// The first address, or 0 before the region is reserved. Set once (X2).
static BASE: AtomicUsize = AtomicUsize::new(0);
/// The number of bytes that are reserved. Set before `BASE`.
static RESERVED: AtomicUsize = AtomicUsize::new(0);
/// Whether the region is a file, so that other processes can read it.
static PUBLISHED: AtomicBool = AtomicBool::new(false);
/// The words that had to be allocated on the heap since the process shares its metrics.
static UNPUBLISHED: AtomicU64 = AtomicU64::new(0);

/// The number of forks between the first process and this one, since it shares its metrics.
static FORKS: AtomicUsize = AtomicUsize::new(0);

/// The lists of free memory grow under the lock.
static MEMORY: AllocatingMutex<RegionMemory> = AllocatingMutex::new(RegionMemory {
    mapped: 0,
    next: 0,
    free: BTreeMap::new(),
    series: BTreeMap::new(),
    file: None,
    spare: 0,
    full_since: None,
});

/// How long nothing is tried after the disk was full.
const PAUSE: Duration = Duration::from_secs(1);

/// The mapped and the free memory.
pub(crate) struct RegionMemory {
    /// The number of bytes that are mapped.
    mapped: usize,
    /// The offset of the first byte that was never given out.
    next: usize,
    /// The offsets of free memory, by size.
    free: BTreeMap<usize, Vec<usize>>,
    /// The offsets and sizes of what `allocate_series` returned.
    series: BTreeMap<usize, usize>,
    /// The file, if the region is one.
    file: Option<File>,
    /// The bytes that the file leaves free on its disk, beside as many as it has.
    spare: u64,
    /// When the disk was full for the last time.
    full_since: Option<Instant>,
}

/// Returns whether other processes can read what is allocated from now on.
#[inline]
pub(crate) fn is_published() -> bool {
    // Relaxed: a thread that is late allocates on the heap, as it did before.
    PUBLISHED.load(Relaxed)
}

/// Returns a number that is another one in the child of a `fork`: memory of the region that its
/// parent was about to free has lost its content.
pub(crate) fn forks() -> usize {
    FORKS.load(Relaxed)
}

/// Returns whether the region has this address.
#[inline]
pub(crate) fn contains(address: *const u8) -> bool {
    // Relaxed: a thread that has an address of the region got it from one that had reserved it.
    let base = BASE.load(Relaxed);
    base != 0 && address.addr().wrapping_sub(base) < RESERVED.load(Relaxed)
}

/// Allocates zeroed memory, aligned to 16, or to 128 if it has 128 bytes or more. Returns `None` if
/// there is no region or it is full, or if the calling thread has the region's lock.
pub(crate) fn allocate(bytes: usize) -> Option<NonNull<u8>> {
    MEMORY.lock_unless_held()?.allocate(bytes)
}

/// Allocates memory that is in the file as soon as there is one, and runs `init` on it. Returns
/// `None` as [`allocate`] does.
pub(crate) fn allocate_series(bytes: usize, init: impl FnOnce(NonNull<u8>)) -> Option<NonNull<u8>> {
    let mut memory = MEMORY.lock_unless_held()?;
    memory.reserve();
    let allocated = memory.allocate(bytes)?;
    // Under the lock, so that a file that replaces the region has the result.
    init(allocated);
    let offset = allocated.addr().get() - BASE.load(Relaxed);
    memory.series.insert(offset, bytes);
    Some(allocated)
}

/// Frees memory.
///
/// # Safety
///
/// It was allocated here with this size, and no thread can reach it any more.
pub(crate) unsafe fn free(memory: NonNull<u8>, bytes: usize) {
    if let Some(replaced) = header_word(header::REPLACED).filter(|_| is_published()) {
        // Release: pairs with the fence in `RegionMemory::allocate`, through the lock.
        replaced.fetch_add(1, Release);
    }
    let offset = memory.addr().get() - BASE.load(Relaxed);
    // Without the lock, the memory stays allocated: that is rare.
    let Some(mut memory) = MEMORY.lock_unless_held() else {
        return;
    };
    memory.series.remove(&offset);
    memory.free.entry(rounded(bytes)).or_default().push(offset);
}

/// Counts words that had to be allocated on the heap.
pub(crate) fn count_unpublished(words: usize) {
    if !is_published() {
        return;
    }
    UNPUBLISHED.fetch_add(words as u64, Relaxed);
    if let Some(count) = header_word(header::UNPUBLISHED) {
        count.fetch_add(words as u64, Relaxed);
    }
}

/// Returns nanoseconds of the clock that all processes of the machine share, from a start that only
/// they know.
pub(crate) fn monotonic_nanos() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    Duration::try_from(now).map_or(0, |since| since.as_nanos() as u64)
}

/// Returns the number of words that had to be allocated on the heap.
pub(crate) fn unpublished() -> u64 {
    UNPUBLISHED.load(Relaxed)
}

/// Returns a word of the header, if there is a region.
pub(crate) fn header_word(offset: usize) -> Option<&'static AtomicU64> {
    debug_assert!(offset % 8 == 0 && offset < header::BYTES);
    // Acquire: pairs with the Release in `reserve`, after which the header is mapped.
    let base = BASE.load(Acquire);
    let word = std::ptr::with_exposed_provenance::<AtomicU64>(base + offset);
    // SAFETY: the header is mapped, and stays so (X2).
    (base != 0).then(|| unsafe { &*word })
}

/// Returns the journal, if other processes can read the region.
pub(crate) fn journal() -> Option<&'static Journal> {
    let word = header_word(header::JOURNAL).filter(|_| is_published())?;
    let journal = std::ptr::from_ref(word).addr();
    // SAFETY: the header is mapped, and stays so (X2). The journal has atomics only, and fits
    // between its offset and the end of the header.
    Some(unsafe { &*std::ptr::with_exposed_provenance::<Journal>(journal) })
}

const _: () = assert!(header::JOURNAL + size_of::<Journal>() <= header::BYTES);

/// Keeps the process from beginning to share its metrics while the result lives: what a thread
/// stores in the region meanwhile is not lost. Returns `None` if the calling thread has the
/// region's lock: its allocator updates a metric, possibly while the process begins to share.
pub(crate) fn steady() -> Option<Locked> {
    MEMORY.lock_unless_held()
}

/// The region's lock. While it is held, nothing is allocated or freed.
pub(crate) type Locked = AllocatingGuard<'static, RegionMemory>;

/// Takes the region's lock.
pub(crate) fn lock() -> Locked {
    MEMORY.lock()
}

/// Rounds a size up, so that freed memory fits what is allocated later: at most a quarter more.
fn rounded(bytes: usize) -> usize {
    let bytes = bytes.max(16);
    let step = (bytes.next_power_of_two() / 8).max(16);
    let step = if bytes >= 128 { step.max(128) } else { step };
    bytes.next_multiple_of(step)
}

impl RegionMemory {
    /// Reserves the addresses, if that was not done yet.
    pub(crate) fn reserve(&mut self) {
        if BASE.load(Relaxed) != 0 {
            return;
        }
        let mut bytes = MOST_EXTENTS * EXTENT;
        let base = loop {
            // SAFETY: a new mapping, at an address that the system chooses, that nobody can access.
            let reserved = unsafe {
                mmap_anonymous(
                    null_mut(),
                    bytes,
                    ProtFlags::empty(),
                    MapFlags::PRIVATE | MapFlags::NORESERVE,
                )
            };
            match reserved {
                Ok(base) => break base,
                // A limit of the address space.
                Err(_) if bytes > 64 * EXTENT => bytes /= 2,
                Err(_) => return,
            }
        };
        RESERVED.store(bytes, Relaxed);
        self.mapped = 0;
        if self.map(base.expose_provenance(), 1).is_err() {
            return;
        }
        self.next = header::BYTES;
        // Release: pairs with the Acquire in `header_word`.
        BASE.store(base.addr(), Release);
    }

    /// Allocates zeroed memory.
    fn allocate(&mut self, bytes: usize) -> Option<NonNull<u8>> {
        let base = BASE.load(Relaxed);
        if base == 0 {
            return None;
        }
        // Release: pairs with the Acquire fence of a reader in another process, which then loads
        // `replaced`. It sees what the thread that freed this memory stored there, which the lock
        // carries to this thread, if it sees any of the next stores: the zeroes below, or what the
        // caller stores.
        fence(Release);
        let size = rounded(bytes);
        let offset = match self.free.get_mut(&size).and_then(Vec::pop) {
            Some(offset) => {
                let memory = std::ptr::with_exposed_provenance_mut::<u8>(base + offset);
                // SAFETY: free memory of this size, which is mapped (X2).
                unsafe { memory.write_bytes(0, size) };
                offset
            }
            None => self.extend(size)?,
        };
        NonNull::new(std::ptr::with_exposed_provenance_mut(base + offset))
    }

    /// Gives out memory that was never used. Returns its offset.
    fn extend(&mut self, size: usize) -> Option<usize> {
        let step = if size >= 128 { 128 } else { 16 };
        let start = self.next.next_multiple_of(step);
        let end = start.checked_add(size)?;
        if end > self.mapped {
            if self.full_since.is_some_and(|since| since.elapsed() < PAUSE) {
                return None;
            }
            let extents = (end - self.mapped).div_ceil(EXTENT);
            if self.map(BASE.load(Relaxed), extents).is_err() {
                self.full_since = Some(Instant::now());
                return None;
            }
            self.full_since = None;
        }
        self.next = end;
        Some(start)
    }

    /// Maps more extents: zeroed memory, or a part of the file.
    fn map(&mut self, base: usize, extents: usize) -> io::Result<()> {
        let (start, bytes) = (self.mapped, extents * EXTENT);
        let end = start + bytes;
        if end > RESERVED.load(Relaxed) {
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        let address = std::ptr::with_exposed_provenance_mut::<c_void>(base + start);
        match &self.file {
            None => anonymous(address, bytes)?,
            Some(file) => {
                allocate_file(file, start, bytes, self.spare)?;
                map_file(file, address, start, bytes)?;
            }
        }
        self.mapped = end;
        if self.file.is_some() {
            if let Some(extents) = header_word(header::EXTENTS) {
                // Release: a reader that sees the number can read the extents.
                extents.store((end / EXTENT) as u64, Release);
            }
        }
        Ok(())
    }
}

/// Maps private zeroed memory to addresses of the region.
fn anonymous(address: *mut c_void, bytes: usize) -> io::Result<()> {
    // SAFETY: the addresses are reserved, and nothing but this is mapped to them that is still in
    // use.
    unsafe {
        mmap_anonymous(
            address,
            bytes,
            ProtFlags::READ | ProtFlags::WRITE,
            MapFlags::PRIVATE | MapFlags::FIXED,
        )?;
    }
    Ok(())
}

/// Maps a part of the file to addresses of the region.
fn map_file(file: &File, address: *mut c_void, offset: usize, bytes: usize) -> io::Result<()> {
    // SAFETY: the addresses are reserved, and hold nothing or the same content as the file.
    unsafe {
        mmap(
            address,
            bytes,
            ProtFlags::READ | ProtFlags::WRITE,
            MapFlags::SHARED | MapFlags::FIXED,
            file.as_fd(),
            offset as u64,
        )?;
    }
    Ok(())
}

/// Returns an error if this process may not write files of this length.
pub(crate) fn check_file_limit(bytes: u64) -> io::Result<()> {
    use rustix::process::{Resource, getrlimit};
    match getrlimit(Resource::Fsize).current {
        Some(limit) if bytes > limit => Err(io::ErrorKind::FileTooLarge.into()),
        _ => Ok(()),
    }
}

/// Returns an error if the disk of `file` has fewer free bytes.
pub(crate) fn check_space(file: &impl std::os::fd::AsFd, bytes: u64) -> io::Result<()> {
    let disk = rustix::fs::fstatvfs(file)?;
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    // A tmpfs without a limit has no blocks.
    if disk.f_blocks > 0 && free < bytes {
        return Err(io::ErrorKind::StorageFull.into());
    }
    Ok(())
}

/// Makes the file larger, with memory or a disk behind it, so that no store to it can fail. Leaves
/// `spare` and as many bytes free as the file then has: when the process has ended, a fold writes
/// totals before it removes the file.
fn allocate_file(file: &File, offset: usize, bytes: usize, spare: u64) -> io::Result<()> {
    // A file beyond the limit would be a signal that ends the process.
    check_file_limit((offset + bytes) as u64)?;
    check_space(file, spare.saturating_add((offset + 2 * bytes) as u64))?;
    let flags = rustix::fs::FallocateFlags::empty();
    match rustix::fs::fallocate(file, flags, offset as u64, bytes as u64) {
        Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => {
            use std::os::unix::fs::FileExt;
            file.write_all_at(&vec![0; bytes], offset as u64)
        }
        result => Ok(result?),
    }
}

/// Replaces the memory of the region by a file of the same content, in which all that is allocated
/// from now on is, too.
///
/// `file` is empty. `spare` bytes stay free on its disk, beside as many as the file has. `fill`
/// stores the words of the header; `publish` runs once the file is complete. Nothing may write to
/// the region meanwhile: what a thread stores is lost.
pub(crate) fn publish(
    memory: &mut RegionMemory,
    file: File,
    spare: u64,
    fill: impl FnOnce(),
    publish: impl FnOnce() -> io::Result<()>,
) -> io::Result<()> {
    use std::os::unix::fs::FileExt;
    memory.reserve();
    let base = BASE.load(Relaxed);
    if base == 0 {
        return Err(io::ErrorKind::OutOfMemory.into());
    }
    allocate_file(&file, 0, memory.mapped, spare)?;
    fill();
    if let (Some(word), Some(extents)) = (header_word(header::BASE), header_word(header::EXTENTS)) {
        word.store(base as u64, Relaxed);
        extents.store((memory.mapped / EXTENT) as u64, Relaxed);
    }
    let content = std::ptr::with_exposed_provenance::<u8>(base);
    // SAFETY: as many bytes are mapped (X2). The caller keeps others from writing.
    let content = unsafe { std::slice::from_raw_parts(content, memory.next) };
    file.write_all_at(content, 0)?;
    publish()?;
    let address = std::ptr::with_exposed_provenance_mut(base);
    map_file(&file, address, 0, memory.mapped)?;
    (memory.file, memory.spare) = (Some(file), spare);
    // Relaxed: see `is_published`.
    PUBLISHED.store(true, Relaxed);
    Ok(())
}

/// The content of the series at the time of a `fork`: the offset of each run, and its words.
pub(crate) type SeriesCopy = Vec<(usize, Vec<u64>)>;

impl RegionMemory {
    /// Copies all series. Before a `fork`: the child cannot read them in the file, because its
    /// parent goes on.
    pub(crate) fn copy_series(&self) -> SeriesCopy {
        let base = BASE.load(Relaxed);
        let copy = |(&offset, &bytes): (&usize, &usize)| {
            let run = std::ptr::with_exposed_provenance::<AtomicU64>(base + offset);
            // SAFETY: given out (X1), and mapped (X2). Series consist of words that threads access
            // as atomics, or that do not change.
            let words = unsafe { std::slice::from_raw_parts(run, bytes / 8) };
            (
                offset,
                words.iter().map(|word| word.load(Relaxed)).collect(),
            )
        };
        self.series.iter().map(copy).collect()
    }

    /// Replaces the file by private memory, in the child of a `fork`, which must not write to the
    /// file of its parent. All is zero but the series. The process has only the calling thread.
    pub(crate) fn detach(&mut self, series: &SeriesCopy) -> io::Result<()> {
        PUBLISHED.store(false, Relaxed);
        FORKS.fetch_add(1, Relaxed);
        // Closes the file. Its lock stays that of the parent.
        self.file = None;
        let base = BASE.load(Relaxed);
        anonymous(std::ptr::with_exposed_provenance_mut(base), self.mapped)?;
        for (offset, words) in series {
            let run = std::ptr::with_exposed_provenance_mut::<u64>(base + offset);
            // SAFETY: as in `copy_series`, and no other thread exists.
            unsafe { run.copy_from_nonoverlapping(words.as_ptr(), words.len()) };
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An allocator that updates metrics comes here while a list of free memory grows. Without the
    /// check, this thread waits for itself.
    #[test]
    fn a_thread_that_has_the_lock_allocates_elsewhere() {
        let given = allocate_series(64, |_| ()).unwrap();
        let locked = lock();
        assert_eq!(allocate(64), None);
        assert_eq!(allocate_series(64, |_| ()), None);
        assert!(steady().is_none());
        // SAFETY: allocated above, and used nowhere.
        unsafe { free(given, 64) };
        drop(locked);
        let other = allocate(64).unwrap();
        assert_ne!(
            other, given,
            "what could not be freed is not given out again"
        );
        // SAFETY: allocated above, and used nowhere.
        unsafe { free(other, 64) };
    }
}
