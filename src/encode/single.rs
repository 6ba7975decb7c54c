//! Series with a single value (counters and gauges) as protobuf messages. Most series are of this
//! kind.
//!
//! Most of these messages are short, and their length is known in advance. So the buffer grows once
//! for the whole message, and the parts are copied into it in blocks of fixed sizes, without
//! function calls and without a capacity check for each part.

use super::pairs::len_of_cut;
use super::walk::PaddedText;
use super::wire::{Timestamp, double, tag_of_bytes};

/// The value field of a metric: a message with the value in field 1 and the creation time in field
/// 3.
#[derive(Default)]
pub(super) struct SingleValue {
    /// The field with 0 as its value, padded with zeros.
    bytes: [u8; LEN],
    /// The length of `bytes` without the padding.
    len: usize,
    /// The creation time that `bytes` contains, in milliseconds since the Unix epoch.
    pub(super) created: Option<u64>,
}

/// The maximum length of the field.
const LEN: usize = 27;
/// The position of the value in the field.
const VALUE: std::ops::Range<usize> = 3..11;

/// The size of a fixed copy of a name with its value, and of the constant labels. A multiple of a
/// vector register.
pub(super) const PAIR: usize = 64;
/// The bytes reserved for a metric: the longest one that [`SingleValue::push_metric`] writes, and
/// the padding that is copied after its last pair.
const RESERVED: usize = 256;

impl SingleValue {
    /// Creates the field with number `field`.
    pub(super) fn new(field: u32, created: Option<u64>) -> Self {
        let since = created.map(|millis| Timestamp::new(3, millis));
        let since = since.unwrap_or_default();
        let mut bytes = [0; LEN];
        bytes[..2].copy_from_slice(&[tag_of_bytes(field), 9 + since.len as u8]);
        bytes[2..11].copy_from_slice(&double(1, 0.0));
        bytes[11..].copy_from_slice(&since.bytes);
        Self {
            bytes,
            len: 11 + since.len,
            created,
        }
    }

    /// Appends the field with the value `x`.
    pub(super) fn push(&self, out: &mut Vec<u8>, x: f64) {
        let mut bytes = self.bytes;
        bytes[VALUE].copy_from_slice(&x.to_le_bytes());
        out.extend_from_slice(&bytes[..self.len]);
    }

    /// Appends a whole metric: the messages of the constant labels, the labels with the given
    /// lengths (see [`push_cut`]), and the value.
    ///
    /// Returns `false` and appends nothing if the lengths are unknown, the metric is too long, or
    /// too few bytes follow the label text for copies of a fixed size.
    ///
    /// [`push_cut`]: super::pairs::push_cut
    #[inline(always)]
    pub(super) fn push_metric(
        &self,
        out: &mut Vec<u8>,
        constant: PaddedText<'_>,
        labels: PaddedText<'_>,
        cuts: &[u8],
        x: f64,
    ) -> bool {
        let len = constant.len + len_of_cut(labels.len, cuts) + self.len;
        if cuts.is_empty() || constant.len > PAIR || len > RESERVED - PAIR - 7 {
            return false;
        }
        let start_len = out.len();
        out.extend_from_slice(&[0; RESERVED]);
        let Some(buffer) = out.last_chunk_mut::<RESERVED>() else {
            return false;
        };
        buffer[0] = tag_of_bytes(4);
        let mut end = 2;
        if len <= 0x7F {
            buffer[1] = len as u8;
        } else {
            buffer[1..3].copy_from_slice(&[len as u8 | 0x80, (len >> 7) as u8]);
            end = 3;
        }
        if let (false, Some(chunk)) = (constant.is_empty(), constant.text.first_chunk::<PAIR>()) {
            buffer[end..end + PAIR].copy_from_slice(chunk);
            end += constant.len;
        }
        let mut text_start = 0;
        for cut in cuts.chunks_exact(2) {
            let (name, value) = (usize::from(cut[0]), usize::from(cut[1]));
            let len = name + 2 + value;
            let target = buffer.get_mut(end..end + 4 + PAIR);
            let pair = labels.text.get(text_start..text_start + PAIR);
            let (Some(target), Some(pair), true) = (target, pair, len <= PAIR) else {
                out.truncate(start_len);
                return false;
            };
            target[..4].copy_from_slice(&[tag_of_bytes(1), len as u8 + 2, tag_of_bytes(1), cut[0]]);
            target[4..].copy_from_slice(pair);
            if let Some(between) = target.get_mut(4 + name..6 + name) {
                between.copy_from_slice(&[tag_of_bytes(2), cut[1]]);
            }
            end += 4 + len;
            // Skip the quote and the comma.
            text_start += len + 2;
        }
        if let Some(target) = buffer.get_mut(end..end + LEN) {
            target.copy_from_slice(&self.bytes);
            target[VALUE].copy_from_slice(&x.to_le_bytes());
        }
        out.truncate(start_len + end + self.len);
        true
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::encode::pairs::push_pairs;
    use crate::encode::wire::Message;
    use crate::snapshot::Page;
    use crate::snapshot::labels::text;

    proptest! {
        #[test]
        fn the_fast_way_writes_what_the_slow_way_does(
            sets in proptest::collection::vec(
                proptest::collection::vec(("[a-c]{1,2}|[a-z]{1,70}", "[a-z\"\\\\日]{0,12}|x{20,100}"), 0..6),
                0..6,
            ),
            constant in proptest::collection::vec(("[a-c]{1,2}", "[a-z\"日]{0,20}"), 0..4),
            x in any::<f64>(),
            created in proptest::option::of(0_u64..40_000_000_000_000),
        ) {
            fn refs(set: &[(String, String)]) -> Vec<(&str, &str)> {
                set.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
            }
            let mut page = Page::default();
            for set in &sets {
                page.push(&text(&refs(set)), 0);
            }
            // The last text of a family may have too few bytes after it for a copy of a fixed size,
            // so add one more text.
            page.push(&text(&[("behind", &"y".repeat(PAIR))]), 0);
            let mut fixed = Vec::new();
            push_pairs(&mut fixed, text(&refs(&constant)).as_bytes());
            let len = fixed.len();
            fixed.resize(len.max(PAIR), 0);
            let fixed = PaddedText { text: &fixed, len };
            let single = SingleValue::new(3, created);
            for (entry, set) in page.entries_from(0).zip(&sets) {
                let labels = PaddedText { text: entry.text, len: entry.len };
                let mut fast = b"before".to_vec();
                let mut slow = fast.clone();
                let done = single.push_metric(&mut fast, fixed, labels, entry.cuts, x);
                if done {
                    let metric = Message::field(&mut slow, 4, 0);
                    slow.extend_from_slice(fixed.bytes());
                    push_pairs(&mut slow, labels.bytes());
                    single.push(&mut slow, x);
                    metric.end(&mut slow);
                }
                prop_assert_eq!(fast, slow);
                let short = set.iter().all(|(name, value)| name.len() + value.len() < 63);
                let few = !entry.cuts.is_empty() && len < 40 && labels.len < 90;
                prop_assert!(done || !short || !few, "{labels:?}", labels = set);
            }
        }
    }
}
