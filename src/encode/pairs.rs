//! The text of labels as messages of protobuf: `LabelPair`s with a name and a value.

use crate::snapshot::labels;

use super::wire::{Message, push_bytes, tag_of_bytes};

/// Writes the label pairs of a family's series. Their names are mostly the same in all of them: what stands before a
/// value is kept.
#[derive(Default)]
pub(super) struct Pairs {
    /// By the place of the label in the text.
    known: Vec<Known>,
}

/// What stands before the value of a label.
#[derive(Default)]
struct Known {
    /// In the text: `name="`.
    text: Vec<u8>,
    /// In the message up to the length of the value, in a place of a fixed size: copied without a call.
    head: [u8; 32],
    len: usize,
}

impl Known {
    /// The longest name with a place for it.
    const LONGEST: usize = 32 - 5;

    fn learn(&mut self, name: &[u8], text: &[u8]) {
        self.text.clear();
        self.text.extend_from_slice(text);
        self.len = name.len() + 5;
        self.head[..4].copy_from_slice(&[tag_of_bytes(1), 0, tag_of_bytes(1), name.len() as u8]);
        self.head[4..4 + name.len()].copy_from_slice(name);
        self.head[4 + name.len()] = tag_of_bytes(2);
    }
}

impl Pairs {
    /// Appends the pairs of a text of labels, each a message in field 1.
    #[inline(always)]
    pub(super) fn push(&mut self, out: &mut Vec<u8>, text: &[u8]) {
        let mut rest = text;
        let mut place = 0;
        while !rest.is_empty() {
            let known = match self.known.get(place) {
                Some(known) if rest.starts_with(&known.text) => known,
                _ => match self.learn(place, rest) {
                    Some(known) => known,
                    None => return push_slowly(out, rest),
                },
            };
            let value = &rest[known.text.len()..];
            let end = match find(value) {
                // Lengths of one byte.
                Some(end) if value[end] == b'"' && known.len + end < 0x80 => end,
                _ => return push_slowly(out, rest),
            };
            let at = out.len();
            out.extend_from_slice(&known.head);
            out.truncate(at + known.len);
            out[at + 1] = (known.len - 1 + end) as u8;
            out.push(end as u8);
            out.extend_from_slice(&value[..end]);
            // Behind the quote and the comma.
            rest = value.get(end + 2..).unwrap_or_default();
            place += 1;
        }
    }

    /// The label at the beginning of `text` stands at `place`.
    #[cold]
    fn learn(&mut self, place: usize, text: &[u8]) -> Option<&Known> {
        let (name, before) = match text {
            [b'"', quoted @ ..] => {
                let end = quoted.iter().position(|byte| *byte == b'"')?;
                (&quoted[..end], &text[..end + 4])
            }
            _ => {
                let end = text.iter().position(|byte| *byte == b'=')?;
                (&text[..end], &text[..end + 2])
            }
        };
        if name.len() > Known::LONGEST {
            return None;
        }
        if self.known.len() <= place {
            self.known.resize_with(place + 1, Known::default);
        }
        self.known[place].learn(name, before);
        self.known.get(place)
    }
}

/// As [`Pairs::push`]: of long names and values, and of what has to be unescaped.
#[cold]
pub(super) fn push_slowly(out: &mut Vec<u8>, text: &[u8]) {
    // It is text: it comes from one.
    for (name, value) in labels::pairs(std::str::from_utf8(text).unwrap_or_default()) {
        let pair = Message::field(out, 1, name.len() + value.len() + 4);
        push_bytes(out, 1, name.as_bytes());
        push_bytes(out, 2, value.as_bytes());
        pair.end(out);
    }
}

/// Where the first quote or backslash is: eight bytes at a time.
#[inline(always)]
fn find(text: &[u8]) -> Option<usize> {
    let Some(last) = text.len().checked_sub(8) else {
        return text.iter().position(|byte| matches!(byte, b'"' | b'\\'));
    };
    let mut at = 0;
    loop {
        let found = hits(text[at..at + 8].try_into().unwrap_or_default());
        if found != 0 {
            return Some(at + found.trailing_zeros() as usize / 8);
        }
        if at == last {
            return None;
        }
        at = (at + 8).min(last);
    }
}

/// The lowest bit that is set is the highest of the first quote or backslash (Mycroft's zero byte test).
#[inline(always)]
fn hits(eight: [u8; 8]) -> u64 {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    let eight = u64::from_le_bytes(eight);
    let zero = |x: u64| x.wrapping_sub(ONES) & !x;
    (zero(eight ^ (ONES * b'"' as u64)) | zero(eight ^ (ONES * b'\\' as u64))) & (ONES << 7)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn found_where_it_is(text in proptest::collection::vec(prop_oneof![any::<u8>(), Just(b'a'), Just(b'"')], 0..40)) {
            let plain = text.iter().position(|byte| *byte == b'"' || *byte == b'\\');
            prop_assert_eq!(find(&text), plain);
        }

        /// Known or not, escaped or not, long or not: the same messages.
        #[test]
        fn the_fast_way_writes_what_the_slow_way_does(
            sets in proptest::collection::vec(
                proptest::collection::vec(("[a-c]{1,2}|[a.]{1,30}", "[a-z\"\\\\\n日]{0,12}|x{100,300}"), 0..4),
                0..6,
            ),
        ) {
            let (mut pairs, mut fast, mut slow) = (Pairs::default(), Vec::new(), Vec::new());
            for set in &sets {
                let set: Vec<_> = set.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
                let text = labels::text(&set);
                pairs.push(&mut fast, text.as_bytes());
                push_slowly(&mut slow, text.as_bytes());
            }
            prop_assert_eq!(fast, slow);
        }
    }
}
