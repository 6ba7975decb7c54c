//! A text that comes and goes, and that a reader never waits for.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::ptr::{NonNull, null_mut};
use std::sync::atomic::AtomicPtr;

use crossbeam_epoch::pin;

use crate::sync::{Acquire, Relaxed, Release};

/// A shared text and a number that belongs to it: one pointer to both, with the bytes behind them. Readers pin the epoch;
/// what was taken away is freed
/// an epoch later.
#[derive(Debug)]
pub struct SharedText(AtomicPtr<Head>);

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

    /// Runs `f` on the text and its number as they are now, if there is one.
    pub fn get<R>(&self, f: impl FnOnce(Option<(&str, u64)>) -> R) -> R {
        let _pinned = pin();
        // Acquire: pairs with the Release in `set`; the text is seen whole.
        let text = NonNull::new(self.0.load(Acquire)).map(Text);
        // SAFETY: made in `set`, and not freed while the epoch is pinned.
        f(text
            .as_ref()
            .map(|text| unsafe { (text.as_str(), text.stamp()) }))
    }

    /// As [`get`](Self::get), or on an empty text: for who knows that nobody takes it away meanwhile.
    pub fn with<R>(&self, f: impl FnOnce(&str) -> R) -> R {
        self.with_stamp(|text, _| f(text))
    }

    /// As [`with`](Self::with), and with its number; 0 where there is none.
    pub fn with_stamp<R>(&self, f: impl FnOnce(&str, u64) -> R) -> R {
        self.get(|text| {
            let (text, stamp) = text.unwrap_or_default();
            f(text, stamp)
        })
    }

    /// Puts a text and its number where none is. Were one there, or did two threads do it at once, all but the last would
    /// be leaked.
    pub fn set(&self, text: &str, stamp: u64) {
        debug_assert!(!self.is_set(), "it is cleared first");
        // Release: pairs with the Acquire in `with_stamp` and in `clear`. Not an exchange, which costs as much as the rest.
        self.0.store(Text::new(text, stamp).0.as_ptr(), Release);
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

#[derive(Debug)]
struct Head {
    stamp: u64,
    len: usize,
}

/// A length, and as many bytes of a text behind it.
struct Text(NonNull<Head>);

// SAFETY: it is immutable once made, and freed once.
unsafe impl Send for Text {}

impl Text {
    fn new(text: &str, stamp: u64) -> Self {
        let layout = Self::layout(text.len());
        // SAFETY: the layout is not empty: it holds the head.
        let Some(at) = NonNull::new(unsafe { alloc(layout) }.cast::<Head>()) else {
            handle_alloc_error(layout)
        };
        // SAFETY: fresh memory for a head and the bytes behind it.
        unsafe {
            at.write(Head {
                stamp,
                len: text.len(),
            });
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
            let len = self.0.as_ref().len;
            let bytes = std::slice::from_raw_parts(self.0.add(1).cast::<u8>().as_ptr(), len);
            std::str::from_utf8_unchecked(bytes)
        }
    }

    /// # Safety
    ///
    /// It is not freed yet.
    unsafe fn stamp(&self) -> u64 {
        // SAFETY: as `new` wrote it.
        unsafe { self.0.as_ref().stamp }
    }

    /// # Safety
    ///
    /// Nobody can reach it any more.
    unsafe fn free(self) {
        // SAFETY: allocated in `new` with this layout.
        unsafe { dealloc(self.0.as_ptr().cast(), Self::layout(self.0.as_ref().len)) };
    }

    fn layout(len: usize) -> Layout {
        Layout::new::<Head>()
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
                    text.set(&"ab".repeat(i % 7), (i % 7) as u64);
                    assert!(text.is_set());
                    text.clear();
                }
            });
            for _ in 0..200 {
                text.with_stamp(|text, n| assert_eq!(text, "ab".repeat(n as usize)));
            }
        });
    }
}
