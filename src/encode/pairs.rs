//! Label texts as protobuf messages: one `LabelPair` with a name and a value per label.

use crate::snapshot::labels;

use super::walk::PaddedText;
use super::wire::{Message, push_bytes, tag_of_bytes};

/// The size of a fixed copy: most names fit together with their values. A multiple of a vector
/// register.
const PAIR: usize = 64;

/// Appends the label pairs of a text, each as a message in field 1, given the lengths of names and
/// values; see [`LabelEntry::cuts`](crate::snapshot::LabelEntry::cuts).
///
/// The text has two bytes between a name and its value (`="`), and the message has two (a tag and a
/// length). So one copy appends both name and value, and the two bytes between them are
/// overwritten.
#[inline(always)]
pub(super) fn push_cut(out: &mut Vec<u8>, text: PaddedText<'_>, cuts: &[u8]) {
    let mut rest = text.text;
    for cut in cuts.chunks_exact(2) {
        let (name, value) = (usize::from(cut[0]), usize::from(cut[1]));
        let len = name + 2 + value;
        let pair = PaddedText { text: rest, len };
        let head = [tag_of_bytes(1), len as u8 + 2, tag_of_bytes(1), cut[0]];
        out.extend_from_slice(&head);
        let between = out.len() + name;
        pair.push::<PAIR>(out);
        if let Some(between) = out.get_mut(between..between + 2) {
            between.copy_from_slice(&[tag_of_bytes(2), cut[1]]);
        }
        // Skip the quote and the comma.
        rest = rest.get(len + 2..).unwrap_or_default();
    }
}

/// Returns the number of bytes that [`push_cut`] appends for a text of `len` bytes.
#[inline(always)]
pub(super) fn len_of_cut(len: usize, cuts: &[u8]) -> usize {
    // Besides name and value, each label has four bytes in the text (the last one three, without a
    // comma) and six in the message.
    len + 1 + cuts.len()
}

/// Appends the label pairs of any text, like [`push_cut`].
pub(super) fn push_pairs(out: &mut Vec<u8>, text: &[u8]) {
    // The bytes are valid UTF-8: they were a `str`.
    for (name, value) in labels::pairs(std::str::from_utf8(text).unwrap_or_default()) {
        let pair = Message::field(out, 1, name.len() + value.len() + 4);
        push_bytes(out, 1, name.as_bytes());
        push_bytes(out, 2, value.as_bytes());
        pair.end(out);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::snapshot::Page;

    proptest! {
        #[test]
        fn the_fast_way_writes_what_the_slow_way_does(
            sets in proptest::collection::vec(
                proptest::collection::vec(("[a-c]{1,2}|[a.]{1,30}", "[a-z\"\\\\\n日]{0,12}|x{80,300}"), 0..4),
                0..6,
            ),
        ) {
            let mut page = Page::default();
            for set in &sets {
                let set: Vec<_> = set.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
                page.push(&labels::text(&set), 0);
            }
            for (entry, set) in page.entries_from(0).zip(&sets) {
                let (mut fast, mut slow) = (Vec::new(), Vec::new());
                let text = PaddedText { text: entry.text, len: entry.len };
                push_cut(&mut fast, text, entry.cuts);
                push_pairs(&mut slow, text.bytes());
                prop_assert!(fast == slow || entry.cuts.is_empty());
                prop_assert!(entry.cuts.is_empty() || slow.len() == len_of_cut(entry.len, entry.cuts));
                let escaped = |value: &str| value.contains(['"', '\\', '\n']);
                let plain = set.iter().all(|(n, v)| !n.contains('.') && !escaped(v) && v.len() < 40);
                prop_assert!(!plain || fast == slow);
            }
        }
    }
}
