//! The text of labels as messages of protobuf: `LabelPair`s with a name and a value.

use crate::snapshot::labels;

use super::wire::{Message, push_bytes, tag_of_bytes};

/// Appends the pairs of a text of labels, each a message in field 1, where the lengths of names and values are known:
/// see [`Texts::cuts`](labels::Texts::cuts).
///
/// Between name and value a text has two bytes, and so has a message: name and value are one copy.
#[inline(always)]
pub(super) fn push_cut(out: &mut Vec<u8>, text: &[u8], cuts: &[u8]) {
    let mut rest = text;
    for cut in cuts.chunks_exact(2) {
        let (name, value) = (usize::from(cut[0]), usize::from(cut[1]));
        let Some((pair, after)) = rest.split_at_checked(name + 2 + value) else {
            return;
        };
        let len = pair.len() as u8 + 2;
        out.extend_from_slice(&[tag_of_bytes(1), len, tag_of_bytes(1), cut[0]]);
        let between = out.len() + name;
        out.extend_from_slice(pair);
        if let Some(between) = out.get_mut(between..between + 2) {
            between.copy_from_slice(&[tag_of_bytes(2), cut[1]]);
        }
        // The quote and the comma.
        rest = after.get(2..).unwrap_or_default();
    }
}

/// As [`push_cut`], of any text.
pub(super) fn push_pairs(out: &mut Vec<u8>, text: &[u8]) {
    // It is text: it comes from one.
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

    proptest! {
        #[test]
        fn the_fast_way_writes_what_the_slow_way_does(
            sets in proptest::collection::vec(
                proptest::collection::vec(("[a-c]{1,2}|[a.]{1,30}", "[a-z\"\\\\\n日]{0,12}|x{80,300}"), 0..4),
                0..6,
            ),
        ) {
            let mut texts = labels::Texts::default();
            for set in &sets {
                let set: Vec<_> = set.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
                texts.push(&labels::text(&set), 0);
            }
            for (i, set) in sets.iter().enumerate() {
                let (mut fast, mut slow) = (Vec::new(), Vec::new());
                push_cut(&mut fast, texts.get(i).as_bytes(), texts.cuts(i));
                push_pairs(&mut slow, texts.get(i).as_bytes());
                prop_assert!(fast == slow || texts.cuts(i).is_empty());
                let escaped = |value: &str| value.contains(['"', '\\', '\n']);
                let plain = set.iter().all(|(n, v)| !n.contains('.') && !escaped(v) && v.len() < 40);
                prop_assert!(!plain || fast == slow);
            }
        }
    }
}
