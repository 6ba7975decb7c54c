//! A text that comes and goes, and that a reader never waits for.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::ptr::NonNull;

use super::epoch::pin;
use super::published::{Free, Published};

/// A shared text and a number that belongs to it: one pointer to both, with the bytes behind them.
#[derive(Debug)]
pub struct SharedText(Published<Head>);

impl SharedText {
    /// No text yet.
    #[must_use]
    pub fn empty() -> Self {
        Self(Published::nothing())
    }

    /// Whether there is one.
    #[inline]
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.0.is_there()
    }

    /// Runs `f` on the text and its number as they are now, if there is one.
    pub fn get<R>(&self, f: impl FnOnce(Option<(&str, u64)>) -> R) -> R {
        let pinned = pin();
        // SAFETY: made by `Head::make`, and not freed while the epoch is pinned.
        f(self.0.get(&pinned).map(|head| unsafe { Head::parts(head) }))
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
        self.0.put(Head::make(text, stamp));
    }

    /// Takes the text away.
    pub fn clear(&self) {
        self.0.replace(None);
    }
}

/// What a text begins with: its number and its length; as many bytes follow.
#[derive(Debug)]
struct Head {
    stamp: u64,
    len: usize,
}

impl Head {
    fn make(text: &str, stamp: u64) -> NonNull<Self> {
        let layout = Self::layout(text.len());
        // SAFETY: the layout is not empty: it holds the head.
        let Some(at) = NonNull::new(unsafe { alloc(layout) }.cast::<Self>()) else {
            handle_alloc_error(layout)
        };
        // SAFETY: fresh memory for a head and the bytes behind it.
        unsafe {
            at.write(Self {
                stamp,
                len: text.len(),
            });
            at.add(1)
                .cast::<u8>()
                .copy_from_nonoverlapping(NonNull::from_ref(text).cast(), text.len());
        }
        at
    }

    /// # Safety
    ///
    /// It is of `make`, and not freed while the result is used.
    unsafe fn parts<'a>(this: NonNull<Self>) -> (&'a str, u64) {
        // SAFETY: as `make` wrote it, from a text.
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
        // SAFETY: allocated in `make` with this layout; by the caller's word nobody else has it.
        unsafe { dealloc(this.as_ptr().cast(), Self::layout(this.as_ref().len)) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readers_see_a_whole_text_or_none() {
        // Each ends in a letter of its own: memory that is used again has the last one.
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
