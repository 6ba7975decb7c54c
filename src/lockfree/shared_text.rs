//! A text that is set and cleared while other threads read it without waiting.
//!
//! - S1: a [`Head`] is only created by `Head::make`: one allocation with the head, and the text's
//!   `len` bytes behind it. It is freed through [`Published`] (P1, P2).

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::ptr::NonNull;

use super::epoch::pin;
use super::published::{Free, Published};

/// A shared text with a number (its *stamp*), behind one pointer.
#[derive(Debug)]
pub struct SharedText(Published<Head>);

impl SharedText {
    /// Creates an empty value: no text yet.
    #[must_use]
    pub fn empty() -> Self {
        Self(Published::empty())
    }

    /// Returns whether a text is set.
    #[inline]
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.0.is_set()
    }

    /// Runs `f` on the current text and its stamp, or on `None` if no text is set.
    pub fn get<R>(&self, f: impl FnOnce(Option<(&str, u64)>) -> R) -> R {
        let pinned = pin();
        // SAFETY: created by `Head::make` (S1), and not freed while the epoch is pinned (P2).
        f(self.0.get(&pinned).map(|head| unsafe { Head::parts(head) }))
    }

    /// Like [`get`](Self::get), but `f` gets an empty text if none is set. For callers that know
    /// that no other thread clears the text during the call.
    pub fn with<R>(&self, f: impl FnOnce(&str) -> R) -> R {
        self.get(|text| f(text.map_or("", |(text, _)| text)))
    }

    /// Sets the text and its stamp. No text may be set, and no other thread may call this at the
    /// same time; otherwise all texts but the last would leak.
    pub fn set(&self, text: &str, stamp: u64) {
        self.0.set(Head::make(text, stamp));
    }

    /// Clears the text.
    pub fn clear(&self) {
        self.0.replace(None);
    }
}

/// The header of a text: its stamp and its length. The text's bytes follow in the same allocation
/// (S1).
#[derive(Debug)]
struct Head {
    stamp: u64,
    len: usize,
}

impl Head {
    fn make(text: &str, stamp: u64) -> NonNull<Self> {
        let layout = Self::layout(text.len());
        // SAFETY: the layout is not empty: it contains the head.
        let Some(head) = NonNull::new(unsafe { alloc(layout) }.cast::<Self>()) else {
            handle_alloc_error(layout)
        };
        // SAFETY: the allocation is fresh, and large enough for a head and `text.len()` bytes (S1).
        unsafe {
            head.write(Self {
                stamp,
                len: text.len(),
            });
            head.add(1)
                .cast::<u8>()
                .copy_from_nonoverlapping(NonNull::from(text).cast(), text.len());
        }
        head
    }

    /// Returns the text and its stamp.
    ///
    /// # Safety
    ///
    /// `make` created the value, and it is not freed while the result is used.
    unsafe fn parts<'a>(this: NonNull<Self>) -> (&'a str, u64) {
        // SAFETY: `make` wrote the head and `len` bytes of a valid `str` behind it (S1).
        unsafe {
            let Self { stamp, len } = this.read();
            let bytes = std::slice::from_raw_parts(this.add(1).cast::<u8>().as_ptr(), len);
            (std::str::from_utf8_unchecked(bytes), stamp)
        }
    }

    fn layout(len: usize) -> Layout {
        Layout::new::<Self>()
            .extend(Layout::array::<u8>(len).expect("a text has at most isize::MAX bytes"))
            .expect("and so has it with its length")
            .0
    }
}

impl Free for Head {
    unsafe fn free(this: NonNull<Self>) {
        // SAFETY: allocated in `make` with this layout (S1). The caller guarantees that no thread
        // can reach it any more.
        unsafe { dealloc(this.as_ptr().cast(), Self::layout(this.as_ref().len)) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readers_see_a_whole_text_or_none() {
        // Each text ends in a letter of its own. If memory were freed too early and used again, a
        // reader would see another last letter.
        let of = |i: u64| {
            format!(
                "{}{}",
                "ab".repeat(i as usize % 7),
                (b'a' + (i % 26) as u8) as char
            )
        };
        let text = SharedText::empty();
        assert_eq!((text.with(str::len), text.is_set()), (0, false));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for i in 0..200 {
                    text.set(&of(i), i);
                    assert!(text.is_set());
                    text.with(|text| assert_eq!(text, of(i)));
                    text.clear();
                }
            });
            for _ in 0..200 {
                text.get(|text| {
                    if let Some((text, i)) = text {
                        assert_eq!(text, of(i));
                    }
                });
            }
        });
    }
}
