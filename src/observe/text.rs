//! A text that is replaced now and then, and that a reader never waits for.

use crossbeam_epoch::{Atomic, Owned, pin};

use crate::sync::{AcqRel, Acquire};

/// A shared text. Readers pin the epoch; what was replaced is freed an epoch later.
#[derive(Debug)]
pub struct SharedText(Atomic<Box<str>>);

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
        let text = self.0.load(Acquire, &pinned);
        // SAFETY: null, or made in `set` and not freed while the epoch is pinned.
        f(unsafe { text.as_ref() }.map_or("", |text| text))
    }

    /// Replaces the text.
    pub fn set(&self, text: String) {
        let pinned = pin();
        // AcqRel: pairs with the Acquire in `with`, and takes over what another thread set.
        let old = self.0.swap(Owned::new(text.into()), AcqRel, &pinned);
        if !old.is_null() {
            // SAFETY: no longer reachable for who pins from now on.
            unsafe { pinned.defer_destroy(old) };
        }
    }
}

impl Drop for SharedText {
    fn drop(&mut self) {
        // SAFETY: nobody else has it any more.
        drop(unsafe { std::mem::replace(&mut self.0, Atomic::null()).try_into_owned() });
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
            scope.spawn(|| (0..200).for_each(|i| text.set("ab".repeat(i % 7))));
            for _ in 0..200 {
                text.with(|text| assert_eq!(text, "ab".repeat(text.len() / 2)));
            }
        });
    }
}
