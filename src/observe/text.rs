//! A text that is replaced now and then, and that a reader never waits for.

use std::mem::MaybeUninit;

use crossbeam_epoch::{Atomic, Guard, Owned, Shared, pin};

use crate::sync::{AcqRel, Acquire};

/// The bytes behind their length, in one allocation and behind a thin pointer.
type Bytes = [MaybeUninit<u8>];

/// A shared text. Readers pin the epoch; what was replaced is freed an epoch later.
#[derive(Debug)]
pub struct SharedText(Atomic<Bytes>);

impl SharedText {
    /// No text yet.
    #[must_use]
    pub fn empty() -> Self {
        Self(Atomic::null())
    }

    /// Runs `f` on the text as it is now.
    pub fn with<R>(&self, f: impl FnOnce(&str) -> R) -> R {
        let pinned = pin();
        // Acquire: pairs with the exchange in `set`; the text is seen whole.
        f(text(self.0.load(Acquire, &pinned)))
    }

    /// Replaces the text.
    pub fn set(&self, text: &str) {
        let mut owned = Owned::<Bytes>::init(text.len());
        for (to, byte) in owned.iter_mut().zip(text.bytes()) {
            to.write(byte);
        }
        let pinned = pin();
        // AcqRel: pairs with the Acquire in `with`, and takes over what another thread set.
        let old = self.0.swap(owned, AcqRel, &pinned);
        if !old.is_null() {
            // SAFETY: no longer reachable for who pins from now on.
            unsafe { pinned.defer_destroy(old) };
        }
    }
}

/// The text behind a pointer that `set` made.
fn text<'g>(shared: Shared<'g, Bytes>) -> &'g str {
    // SAFETY: null, or made in `set` and not freed while the epoch is pinned.
    let bytes = unsafe { shared.as_ref() }.unwrap_or(&[]);
    // SAFETY: `set` wrote every byte of a text before it published the pointer.
    unsafe {
        std::str::from_utf8_unchecked(std::slice::from_raw_parts(
            bytes.as_ptr().cast(),
            bytes.len(),
        ))
    }
}

impl Drop for SharedText {
    fn drop(&mut self) {
        // SAFETY: nobody else has it any more.
        let unprotected: &Guard = unsafe { crossbeam_epoch::unprotected() };
        let last = self.0.swap(Shared::null(), AcqRel, unprotected);
        if !last.is_null() {
            // SAFETY: as above.
            drop(unsafe { last.into_owned() });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readers_see_one_text_or_the_other() {
        let text = SharedText::empty();
        assert_eq!(text.with(str::len), 0);
        std::thread::scope(|scope| {
            scope.spawn(|| (0..200).for_each(|i| text.set(&"ab".repeat(i % 7))));
            for _ in 0..200 {
                text.with(|text| assert_eq!(text, "ab".repeat(text.len() / 2)));
            }
        });
    }
}
