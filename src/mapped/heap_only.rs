//! The region where there are no mapped files: it gives out nothing.

use std::ptr::NonNull;

use crate::sync::AtomicU64;

pub(crate) fn is_published() -> bool {
    false
}

pub(crate) fn forks() -> usize {
    0
}

pub(crate) fn contains(_: *const u8) -> bool {
    false
}

pub(crate) fn allocate(_: usize) -> Option<NonNull<u8>> {
    None
}

pub(crate) fn allocate_series(_: usize, _: impl FnOnce(NonNull<u8>)) -> Option<NonNull<u8>> {
    None
}

pub(crate) unsafe fn free(_: NonNull<u8>, _: usize) {}

pub(crate) fn count_unpublished(_: usize) {}

pub(crate) fn unpublished() -> u64 {
    0
}

pub(crate) fn monotonic_nanos() -> u64 {
    0
}

pub(crate) fn header_word(_: usize) -> Option<&'static AtomicU64> {
    None
}

pub(crate) fn journal() -> Option<&'static super::journal::Journal> {
    None
}

/// The result of `steady`.
pub(crate) struct Steady;

pub(crate) fn steady() -> Option<Steady> {
    Some(Steady)
}
