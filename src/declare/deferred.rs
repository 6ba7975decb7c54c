//! A series that is looked up at its first update, so that a call that never updates it makes no
//! series. Attributes use it, since they evaluate labels before the body takes the arguments.

use super::builder::Metric;
use super::declaration::Declaration;
use super::series::Series;

/// The bytes of label values that fit without an allocation.
const INLINE_BYTES: usize = 112;

/// The number of label values that fit without an allocation.
const INLINE_TEXTS: usize = 8;

/// A label set of a metric. Attributes update its series after a failure.
#[allow(missing_debug_implementations, reason = "written by attributes only")]
pub struct Deferred<'a, M: Metric>(pub(super) LabelsOf<'a, M>);

pub(super) enum LabelsOf<'a, M: Metric> {
    /// A series of a closed label set. All series of such a set exist from the start.
    Closed(Series<'a, M>),
    Open {
        declaration: &'a Declaration<M::Cells>,
        texts: &'a TextCopies,
    },
}

impl<M: Metric> Deferred<'_, M> {
    /// Returns the series. Makes it if there is none.
    #[cold]
    pub(crate) fn series(&self) -> Series<'_, M> {
        match &self.0 {
            LabelsOf::Closed(series) => *series,
            LabelsOf::Open { declaration, texts } => {
                texts.with(|texts| Series::of(declaration.family().with(texts)))
            }
        }
    }
}

/// Memory for copies of label values. Apart from [`Deferred`], so that it is written in place:
/// moving it costs more than the copies.
#[allow(missing_debug_implementations, reason = "written by attributes only")]
pub struct TextCopies {
    /// The values, one after the other.
    bytes: [u8; INLINE_BYTES],
    /// The end of each value in `bytes`.
    ends: [u8; INLINE_TEXTS],
    count: u8,
    /// The values, if they do not fit into `bytes`.
    heap: Option<Box<[Box<str>]>>,
}

impl Default for TextCopies {
    #[inline(always)]
    fn default() -> Self {
        Self {
            bytes: [0; INLINE_BYTES],
            ends: [0; INLINE_TEXTS],
            count: 0,
            heap: None,
        }
    }
}

impl TextCopies {
    /// Copies the values.
    #[inline]
    pub(super) fn set(&mut self, texts: &[&str]) {
        let length: usize = texts.iter().map(|text| text.len()).sum();
        if length > INLINE_BYTES || texts.len() > INLINE_TEXTS {
            self.heap = Some(texts.iter().map(|text| (*text).into()).collect());
            return;
        }
        let mut start = 0;
        for (text, own_end) in texts.iter().zip(&mut self.ends) {
            let end = start + text.len();
            self.bytes[start..end].copy_from_slice(text.as_bytes());
            *own_end = end as u8;
            start = end;
        }
        self.count = texts.len() as u8;
    }

    /// Calls `f` with the values.
    fn with<R>(&self, f: impl FnOnce(&[&str]) -> R) -> R {
        if let Some(texts) = &self.heap {
            return f(&texts.iter().map(|text| &**text).collect::<Vec<_>>());
        }
        let mut texts = [""; INLINE_TEXTS];
        let mut start = 0;
        let count = usize::from(self.count);
        for (text, end) in texts.iter_mut().zip(&self.ends[..count]) {
            let end = usize::from(*end);
            // The bytes are those of a text, so this does not fail.
            *text = std::str::from_utf8(&self.bytes[start..end]).unwrap_or_default();
            start = end;
        }
        f(&texts[..count])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_are_the_texts() {
        let most = "x".repeat(INLINE_BYTES);
        let more = "ä".repeat(INLINE_BYTES);
        for texts in [
            &[][..],
            &[""],
            &["a", "", "ü"],
            &[&most],
            &[&most, ""],
            &[&most, "a"],
            &[&more],
            &["a"; INLINE_TEXTS],
            &["a"; INLINE_TEXTS + 1],
        ] {
            let mut copies = TextCopies::default();
            copies.set(texts);
            copies.with(|copies| assert_eq!(copies, texts));
            let fits = texts.concat().len() <= INLINE_BYTES && texts.len() <= INLINE_TEXTS;
            assert_eq!(copies.heap.is_none(), fits);
        }
    }
}
