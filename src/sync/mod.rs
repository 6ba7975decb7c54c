//! Atomics from std, or from loom in a model, and wrappers for the few things that differ between
//! the two.
//!
//! All code that models drive takes its atomics from this module. Under `cfg(loom)` constructors
//! are not `const`, so nothing that a model touches is a `static`; [`const_fn!`] declares such a
//! constructor once for both.

#[cfg(not(loom))]
pub(crate) use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, fence};

#[cfg(loom)]
pub(crate) use loom::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, fence};

#[cfg(not(loom))]
pub(crate) use std::sync::{Mutex, MutexGuard};

#[cfg(loom)]
pub(crate) use loom::sync::{Mutex, MutexGuard};

/// Locks a mutex and ignores poison: a panic in an earlier holder is no reason for this thread to
/// panic.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

pub(crate) use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};

/// Returns the time since the Unix epoch at the kernel's last tick. Models have no clock.
#[cfg(all(any(target_os = "linux", target_os = "android"), not(any(loom, miri))))]
pub(crate) fn last_tick() -> std::time::Duration {
    let mut now = std::mem::MaybeUninit::<libc::timespec>::zeroed();
    #[expect(unsafe_code, reason = "std reads the precise clock only")]
    // SAFETY: `now` is valid for writes, and zeroed: it is a valid `timespec` even after an error.
    let now = unsafe {
        libc::clock_gettime(libc::CLOCK_REALTIME_COARSE, now.as_mut_ptr());
        now.assume_init()
    };
    std::time::Duration::new(
        u64::try_from(now.tv_sec).unwrap_or(0),
        u32::try_from(now.tv_nsec).unwrap_or(0),
    )
}

/// Opens a file for what its descriptor tells, without following a link at the end of its path.
/// With musl, std leaves out the flag for that.
#[cfg(all(feature = "serve", any(target_os = "linux", target_os = "android")))]
pub(crate) fn open_path(path: &std::path::Path) -> std::io::Result<std::fs::File> {
    use std::os::{fd::FromRawFd, unix::ffi::OsStrExt};
    let path = std::ffi::CString::new(path.as_os_str().as_bytes())?;
    let flags = libc::O_PATH | libc::O_NOFOLLOW | libc::O_CLOEXEC;
    #[expect(unsafe_code, reason = "std does not open every file")]
    // SAFETY: `path` ends in a zero byte.
    let file = unsafe { libc::open(path.as_ptr(), flags) };
    if file < 0 {
        return Err(std::io::Error::last_os_error());
    }
    #[expect(unsafe_code, reason = "std does not open every file")]
    // SAFETY: the descriptor was opened above, and nothing else owns it.
    Ok(unsafe { std::fs::File::from_raw_fd(file) })
}

/// Reads a cell that only the calling thread writes.
///
/// With std this is a relaxed load. In a model it also checks the single-writer contract: loom
/// panics if another thread's write is not ordered before the load. (After a plain load, loom may
/// stop exploring.)
#[inline(always)]
pub(crate) fn owner_load(cell: &AtomicU64) -> u64 {
    #[cfg(not(loom))]
    return cell.load(Relaxed);
    #[cfg(loom)]
    #[expect(unsafe_code, reason = "loom's own check of the single-writer contract")]
    // SAFETY: no other thread writes at the same time. The model checks exactly this: loom panics
    // if it is violated.
    return unsafe { cell.unsync_load() };
}

/// Reads a pointer that only the calling thread writes, like [`owner_load`].
#[inline(always)]
pub(crate) fn owner_load_ptr<T>(pointer: &AtomicPtr<T>) -> *mut T {
    #[cfg(not(loom))]
    return pointer.load(Relaxed);
    #[cfg(loom)]
    #[expect(unsafe_code, reason = "loom's own check of the single-writer contract")]
    // SAFETY: no other thread writes at the same time, which the model checks, as in `owner_load`.
    return unsafe { pointer.unsync_load() };
}

/// A word that threads swap, and that one of them then stores to.
#[cfg(not(loom))]
pub(crate) type SwappedWord = AtomicU64;

/// Loom does not know that a swap which returns a thread's word comes before that thread's next
/// store: it may let the swap be the last one. So in a model the store is a swap.
#[cfg(loom)]
pub(crate) struct SwappedWord(AtomicU64);

#[cfg(loom)]
impl SwappedWord {
    pub(crate) fn new(word: u64) -> Self {
        Self(AtomicU64::new(word))
    }

    pub(crate) fn swap(&self, word: u64, order: std::sync::atomic::Ordering) -> u64 {
        self.0.swap(word, order)
    }

    pub(crate) fn store(&self, word: u64, order: std::sync::atomic::Ordering) {
        self.swap(word, order);
    }
}

/// Declares a function that is `const` with std's atomics but not with loom's.
macro_rules! const_fn {
    ($(#[$meta:meta])* $vis:vis fn $name:ident($($arg:ident: $ty:ty),*) -> $ret:ty $body:block) => {
        #[cfg(not(loom))] $(#[$meta])* $vis const fn $name($($arg: $ty),*) -> $ret $body
        #[cfg(loom)] $(#[$meta])* $vis fn $name($($arg: $ty),*) -> $ret $body
    };
}
pub(crate) use const_fn;

#[cfg(not(loom))]
pub(crate) use atomic_float::AtomicF64;

/// The methods of `atomic_float::AtomicF64` that this crate uses, over loom's atomics.
#[cfg(loom)]
#[allow(unreachable_pub, reason = "std's twin is public")]
pub struct AtomicF64(AtomicU64);

#[cfg(loom)]
#[allow(dead_code, reason = "the models use some of them")]
impl AtomicF64 {
    pub(crate) fn new(value: f64) -> Self {
        Self(AtomicU64::new(value.to_bits()))
    }

    pub(crate) fn load(&self, order: std::sync::atomic::Ordering) -> f64 {
        f64::from_bits(self.0.load(order))
    }

    pub(crate) fn store(&self, value: f64, order: std::sync::atomic::Ordering) {
        self.0.store(value.to_bits(), order);
    }

    pub(crate) fn fetch_update(
        &self,
        set_order: std::sync::atomic::Ordering,
        fetch_order: std::sync::atomic::Ordering,
        new: impl Fn(f64) -> Option<f64>,
    ) -> Result<f64, f64> {
        let new = |bits| new(f64::from_bits(bits)).map(f64::to_bits);
        let old = self.0.fetch_update(set_order, fetch_order, new);
        old.map(f64::from_bits).map_err(f64::from_bits)
    }
}

mod allocating;
mod hash_keys;
mod passes;
#[cfg(all(feature = "push", not(loom)))]
pub(crate) mod pushes;

#[cfg_attr(
    not(feature = "serve"),
    allow(unused_imports, reason = "who serves shares passes")
)]
pub(crate) use passes::CoalescedPasses;

pub(crate) use hash_keys::RandomState;

pub(crate) use allocating::{AllocatingGuard, AllocatingMutex, leaf};

/// Prefetches `len` items from `from` on. A hint: nothing is read, and any address is allowed.
#[inline]
pub(crate) fn prefetch<S>(from: *const S, len: usize) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    for offset in (0..len * size_of::<S>()).step_by(64) {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        #[expect(unsafe_code, reason = "std has no safe prefetch")]
        // SAFETY: SSE is part of x86-64, and a prefetch of any address is harmless.
        unsafe {
            _mm_prefetch::<_MM_HINT_T0>(from.cast::<i8>().wrapping_add(offset))
        };
    }
    let _ = (from, len);
}
