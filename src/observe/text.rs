//! A text that comes and goes, and that a reader never waits for.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::ptr::{NonNull, null_mut};
use std::sync::atomic::AtomicPtr;

use crossbeam_epoch::pin;

use crate::sync::{Acquire, Relaxed, Release};

/// A shared text: one pointer to its length, with the bytes behind it. Readers pin the epoch; what was taken away is freed
/// an epoch later.
#[derive(Debug)]
pub struct SharedText(AtomicPtr<usize>);

impl SharedText {
    /// No text yet.
    #[must_use]
    pub fn empty() -> Self {
        Self(AtomicPtr::new(null_mut()))
    }

    /// Whether there is one.
    #[inline]
    #[must_use]
    pub fn is_set(&self) -> bool {
        !self.0.load(Relaxed).is_null()
    }

    /// Runs `f` on the text as it is now, if there is one.
    pub fn get<R>(&self, f: impl FnOnce(Option<&str>) -> R) -> R {
        let _pinned = pin();
        // Acquire: pairs with the Release in `set`; the text is seen whole.
        let text = NonNull::new(self.0.load(Acquire)).map(Text);
        // SAFETY: made in `set`, and not freed while the epoch is pinned.
        f(text.as_ref().map(|text| unsafe { text.as_str() }))
    }

    /// As [`get`](Self::get), or on an empty text: for who knows that nobody takes it away meanwhile.
    pub fn with<R>(&self, f: impl FnOnce(&str) -> R) -> R {
        self.get(|text| f(text.unwrap_or_default()))
    }

    /// Puts a text where none is. Were one there, or did two threads do it at once, all but the last would be leaked.
    pub fn set(&self, text: &str) {
        debug_assert!(!self.is_set(), "it is cleared first");
        // Release: pairs with the Acquire in `with` and in `clear`. Not an exchange, which costs as much as the rest.
        self.0.store(Text::new(text).0.as_ptr(), Release);
    }

    /// Takes the text away.
    pub fn clear(&self) {
        // Acquire: pairs with the Release in `set`; who frees it sees it whole.
        if let Some(old) = NonNull::new(self.0.swap(null_mut(), Acquire)) {
            let old = Text(old);
            // SAFETY: no longer reachable for who pins from now on.
            unsafe {
                pin().defer_unchecked(move || {
                    let old = old;
                    old.free();
                });
            }
        }
    }
}

impl Drop for SharedText {
    fn drop(&mut self) {
        if let Some(last) = NonNull::new(*self.0.get_mut()) {
            // SAFETY: nobody else has it any more.
            unsafe { Text(last).free() };
        }
    }
}

/// A length, and as many bytes of a text behind it.
struct Text(NonNull<usize>);

// SAFETY: it is immutable once made, and freed once.
unsafe impl Send for Text {}

impl Text {
    fn new(text: &str) -> Self {
        let layout = Self::layout(text.len());
        // SAFETY: the layout is not empty: it holds the length.
        let Some(at) = NonNull::new(unsafe { alloc(layout) }.cast::<usize>()) else {
            handle_alloc_error(layout)
        };
        // SAFETY: fresh memory for a length and the bytes behind it.
        unsafe {
            at.write(text.len());
            at.add(1)
                .cast::<u8>()
                .copy_from_nonoverlapping(NonNull::from_ref(text).cast(), text.len());
        }
        Self(at)
    }

    /// # Safety
    ///
    /// It is not freed while the result is used.
    unsafe fn as_str<'a>(&self) -> &'a str {
        // SAFETY: as `new` wrote it, from a text.
        unsafe {
            let bytes =
                std::slice::from_raw_parts(self.0.add(1).cast::<u8>().as_ptr(), self.0.read());
            std::str::from_utf8_unchecked(bytes)
        }
    }

    /// # Safety
    ///
    /// Nobody can reach it any more.
    unsafe fn free(self) {
        // SAFETY: allocated in `new` with this layout.
        unsafe { dealloc(self.0.as_ptr().cast(), Self::layout(self.0.read())) };
    }

    fn layout(len: usize) -> Layout {
        Layout::new::<usize>()
            .extend(Layout::array::<u8>(len).expect("a text has at most isize::MAX bytes"))
            .expect("and so has it with its length")
            .0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readers_see_a_whole_text_or_none() {
        let text = SharedText::empty();
        assert_eq!((text.with(str::len), text.is_set()), (0, false));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for i in 0..200 {
                    text.set(&"ab".repeat(i % 7));
                    assert!(text.is_set());
                    text.clear();
                }
            });
            for _ in 0..200 {
                text.with(|text| assert_eq!(text, "ab".repeat(text.len() / 2)));
            }
        });
    }
}
