//! A text that is set and cleared while other threads read it without waiting, and that others can
//! own beyond that.
//!
//! - S1: a [`TextHead`] is only created by `TextHead::make`: one allocation with the head, and the
//!   text's bytes behind it. It never changes, but for the number of its owners (O1). These are the
//!   [`AtomicText`] where it is set, which leaves through [`AtomicBox`] (P1, P2), and every
//!   [`TextRef`].

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::ptr::NonNull;

use super::atomic_box::{AtomicBox, Free};
use super::epoch::pin;
use super::owners::Owners;

/// A text with a number (its *stamp*), behind one pointer.
pub struct AtomicText(AtomicBox<TextHead>);

impl Default for AtomicText {
    /// Returns an empty value: no text yet.
    fn default() -> Self {
        Self(AtomicBox::empty())
    }
}

impl AtomicText {
    /// Returns whether a text is set.
    #[inline]
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.0.is_set()
    }

    /// Runs `f` on the current text and its stamp, or on `None` if no text is set.
    pub fn get<R>(&self, f: impl FnOnce(Option<(&str, u64)>) -> R) -> R {
        let pinned = pin();
        // SAFETY: created by `TextHead::make` (S1), and not freed while the epoch is pinned (P2).
        f(self
            .0
            .get(&pinned)
            .map(|head| unsafe { TextHead::parts(head) }))
    }

    /// Like [`get`](Self::get), but `f` gets an empty text if none is set. For callers that know
    /// that no other thread clears the text during the call.
    pub fn with<R>(&self, f: impl FnOnce(&str) -> R) -> R {
        self.get(|text| f(text.map_or("", |(text, _)| text)))
    }

    /// Sets the text and its stamp. No text may be set, and no other thread may call this at the
    /// same time; otherwise all texts but the last would leak.
    pub fn set(&self, text: &str, stamp: u64) {
        self.0.set(TextHead::make(text, stamp));
    }

    /// Clears the text.
    pub fn clear(&self) {
        self.0.replace(None);
    }

    /// Returns a text that is equal to `text`: the text that is set, if it is.
    pub fn own(&self, text: &str) -> TextRef {
        let pinned = pin();
        let same = self.0.get(&pinned).filter(|head| {
            // SAFETY: created by `make` (S1), and not freed while the epoch is pinned (P2).
            let (set, _) = unsafe { TextHead::parts(*head) };
            set == text
        });
        // SAFETY: as above. While the epoch is pinned, this `AtomicText` has not left.
        let owned = same.filter(|head| unsafe { head.as_ref() }.owners.add());
        owned.map_or_else(|| TextRef::new(text), TextRef)
    }
}

/// A text that does not change. It shares its memory with the [`AtomicText`] that it comes from.
pub struct TextRef(NonNull<TextHead>);

impl TextRef {
    /// Creates a text of its own.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(TextHead::make(text, 0))
    }
}

// SAFETY: the text does not change (S1), and the number of its owners is an atomic.
unsafe impl Send for TextRef {}
// SAFETY: as above.
unsafe impl Sync for TextRef {}

impl std::ops::Deref for TextRef {
    type Target = str;

    fn deref(&self) -> &str {
        // SAFETY: created by `TextHead::make` (S1), and this owner has not left (O1).
        unsafe { TextHead::parts(self.0) }.0
    }
}

impl Clone for TextRef {
    fn clone(&self) -> Self {
        // SAFETY: this owner has not left (O1).
        if unsafe { self.0.as_ref() }.owners.add() {
            Self(self.0)
        } else {
            Self::new(self)
        }
    }
}

impl Drop for TextRef {
    fn drop(&mut self) {
        // SAFETY: this owner leaves once, and does not use the text afterwards.
        unsafe { TextHead::leave(self.0) };
    }
}

/// The longest text, in bytes.
pub const LONGEST_TEXT: usize = u32::MAX as usize;

/// The header of a text: its stamp, its length, and the number of its owners. The text's bytes
/// follow in the same allocation (S1).
struct TextHead {
    stamp: u64,
    /// The length is the constant.
    owners: Owners,
}

impl TextHead {
    /// Allocates a text, which has one owner. A text longer than [`LONGEST_TEXT`] becomes empty;
    /// callers refuse it.
    fn make(text: &str, stamp: u64) -> NonNull<Self> {
        let text = if text.len() > LONGEST_TEXT { "" } else { text };
        let layout = Self::layout(text.len());
        // SAFETY: the layout is not empty: it contains the head.
        let Some(head) = NonNull::new(unsafe { alloc(layout) }.cast::<Self>()) else {
            handle_alloc_error(layout)
        };
        // SAFETY: the allocation is fresh, and large enough for a head and `text.len()` bytes (S1).
        unsafe {
            head.write(Self {
                stamp,
                owners: Owners::one(text.len() as u32),
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
        // SAFETY: `make` wrote the head and the bytes of a valid `str` behind it (S1).
        unsafe {
            let head = this.as_ref();
            let len = head.owners.constant() as usize;
            let bytes = std::slice::from_raw_parts(this.add(1).cast::<u8>().as_ptr(), len);
            (std::str::from_utf8_unchecked(bytes), head.stamp)
        }
    }

    /// Removes an owner, and frees the text if it was the last one.
    ///
    /// # Safety
    ///
    /// `make` created the value. The caller is an owner, and does not use the value afterwards.
    unsafe fn leave(this: NonNull<Self>) {
        // SAFETY: the caller's contract. The last owner frees the value with the layout of `make`
        // (O1).
        unsafe {
            let owners = &this.as_ref().owners;
            let layout = Self::layout(owners.constant() as usize);
            if owners.leave() {
                dealloc(this.as_ptr().cast(), layout);
            }
        }
    }

    fn layout(len: usize) -> Layout {
        Layout::new::<Self>()
            .extend(Layout::array::<u8>(len).expect("a text has at most isize::MAX bytes"))
            .expect("and so has it with its length")
            .0
    }
}

impl Free for TextHead {
    unsafe fn free(this: NonNull<Self>) {
        // SAFETY: created by `make` (S1). The caller guarantees that no thread can reach it any
        // more through the `AtomicText`, which leaves here.
        unsafe { Self::leave(this) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_lives_until_its_last_owner_leaves() {
        let text = AtomicText::default();
        assert_eq!(&*text.own("none"), "none");
        text.set("one", 1);
        let (same, other) = (text.own("one"), text.own("other"));
        assert_eq!((same.0, &*other), (text.own("one").0, "other"));
        std::thread::scope(|scope| {
            for _ in 0..2 {
                let mine = same.clone();
                scope.spawn(move || assert_eq!(&*mine, "one"));
            }
            text.clear();
            drop(same);
        });
        text.set("two", 2);
        assert_eq!(&*text.own("two"), "two");
    }

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
        let text = AtomicText::default();
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
