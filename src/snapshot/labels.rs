//! Label texts: label sets as an exposition writes them, such as `method="GET",route="/a\"b"`. A
//! label text is escaped once, when its series is created.
//!
//! The escaping is that of the Prometheus text format 0.0.4 and of OpenMetrics 1.0, which agree on
//! label values: `\`, `"` and line feed are escaped, nothing else.

use std::borrow::Cow;
use std::cell::Cell;

use super::names::is_label_name;

/// Appends `name="value"` to `text`, after a comma if `text` is not empty. The name is quoted if it
/// is outside the legacy character set.
pub(crate) fn push(text: &mut String, name: &str, value: &str) {
    if !text.is_empty() {
        text.push(',');
    }
    if is_label_name(name.as_bytes()) {
        text.push_str(name);
    } else {
        // Names contain nothing to escape.
        text.push('"');
        text.push_str(name);
        text.push('"');
    }
    text.push_str("=\"");
    escape_into(text, value);
    text.push('"');
}

/// Returns whether escaping changes `value`.
pub(crate) fn needs_escape(value: &str) -> bool {
    // No early exit, so that the compiler can compare several bytes at once.
    value
        .bytes()
        .fold(false, |found, b| found | matches!(b, b'\\' | b'"' | b'\n'))
}

/// Returns the text of these labels.
pub(crate) fn text(labels: &[(&str, &str)]) -> String {
    text_of(labels.iter().copied())
}

/// Returns the text of these labels. Its capacity is exact if nothing is escaped.
pub(crate) fn text_of<'a>(labels: impl Iterator<Item = (&'a str, &'a str)> + Clone) -> String {
    let len: usize = labels
        .clone()
        .map(|(name, value)| name.len() + value.len() + 4)
        .sum();
    let mut text = String::with_capacity(len.saturating_sub(1));
    for (name, value) in labels {
        push(&mut text, name, value);
    }
    text
}

/// Calls `f` with the text of these labels, in a buffer that the thread reuses.
pub(crate) fn with_text<'a, R>(
    labels: impl Iterator<Item = (&'a str, &'a str)>,
    f: impl FnOnce(&str) -> R,
) -> R {
    /// The largest buffer that a thread retains, in bytes.
    const MAX_RETAINED: usize = 4096;
    thread_local! {
        static TEXT: Cell<String> = const { Cell::new(String::new()) };
    }
    // While the thread exits, there is no buffer to reuse.
    let mut text = TEXT.try_with(Cell::take).unwrap_or_default();
    text.clear();
    for (name, value) in labels {
        push(&mut text, name, value);
    }
    let result = f(&text);
    if text.capacity() <= MAX_RETAINED {
        let _ = TEXT.try_with(|cell| cell.set(text));
    }
    result
}

fn escape_into(text: &mut String, value: &str) {
    if !needs_escape(value) {
        text.push_str(value);
        return;
    }
    for c in value.chars() {
        match c {
            '\\' => text.push_str("\\\\"),
            '"' => text.push_str("\\\""),
            '\n' => text.push_str("\\n"),
            c => text.push(c),
        }
    }
}

/// Iterates over the names and unescaped values of a label text. Stops early if [`push`] did not
/// write the text.
pub(crate) fn pairs(text: &str) -> impl Iterator<Item = (&str, Cow<'_, str>)> {
    parts(text).map(|(name, value)| (name, unescape(value)))
}

/// Iterates over the names and escaped values of a label text.
pub(crate) fn parts(text: &str) -> impl Iterator<Item = (&str, &str)> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let (name, value) = match rest.strip_prefix('"') {
            Some(quoted) => quoted.split_once("\"=\"")?,
            None => rest.split_once("=\"")?,
        };
        let end = closing_quote(value)?;
        let after = &value[end + 1..];
        rest = after.strip_prefix(',').unwrap_or(after);
        Some((name, &value[..end]))
    })
}

/// Returns the label text with its labels sorted by name, so that equal label sets have equal
/// texts.
pub(crate) fn ordered(text: &str) -> Cow<'_, str> {
    if parts(text).map(|(name, _)| name).is_sorted() {
        return Cow::Borrowed(text);
    }
    let mut all: Vec<_> = pairs(text).collect();
    all.sort_unstable();
    let all: Vec<_> = all.iter().map(|(name, value)| (*name, &**value)).collect();
    Cow::Owned(self::text(&all))
}

fn closing_quote(value: &str) -> Option<usize> {
    let mut escaped = false;
    value.bytes().position(|b| {
        let closes = b == b'"' && !escaped;
        escaped = b == b'\\' && !escaped;
        closes
    })
}

fn unescape(value: &str) -> Cow<'_, str> {
    if !value.contains('\\') {
        return Cow::Borrowed(value);
    }
    let mut plain = String::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some('n') => plain.push('\n'),
                Some(c) => plain.push(c),
                None => {}
            },
            c => plain.push(c),
        }
    }
    Cow::Owned(plain)
}

/// Appends the [`Entry::cuts`] of a label text.
fn cut(text: &str, cuts: &mut Vec<u8>) {
    let from = cuts.len();
    for (name, value) in parts(text) {
        let len = name.len() + value.len() + 4;
        if len > 127 || value.contains('\\') || !is_label_name(name.as_bytes()) {
            cuts.truncate(from);
            return;
        }
        cuts.extend([name.len() as u8, value.len() as u8]);
    }
}

/// The label texts of one family, concatenated in one string.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Texts {
    text: String,
    /// The end of each text in `text`.
    ends: Vec<usize>,
    /// The time since when each series counts, in milliseconds since the Unix epoch; 0 if unknown.
    created: Vec<u64>,
    /// See [`Entry::cuts`]. They are computed once, so that a format with another syntax need not
    /// search each label text for quotes in every scrape.
    cuts: Vec<u8>,
    /// The end of the cuts of each series in `cuts`.
    cut_ends: Vec<u32>,
    /// The writer's key for each text. The next snapshot copies only texts whose key has changed.
    keys: Vec<u32>,
}

/// The data of one series in [`Texts`].
pub(crate) struct Entry<'a> {
    /// The label text, followed by the texts of later series. A reader may thus copy blocks of a
    /// fixed size.
    pub(crate) text: &'a [u8],
    /// The length of the label text in bytes.
    pub(crate) len: usize,
    /// For each label, the lengths of its name and of its value in the text. Empty if any label has
    /// a quoted name or an escaped value, or is long. Name, value and four more bytes together take
    /// less than 128 bytes.
    pub(crate) cuts: &'a [u8],
    /// The time since when the series counts, in milliseconds since the Unix epoch; 0 if unknown.
    pub(crate) created: u64,
}

impl Texts {
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(crate) fn get(&self, i: usize) -> &str {
        let start = if i == 0 { 0 } else { self.ends[i - 1] };
        &self.text[start..self.ends[i]]
    }

    /// Iterates over the entries of all series.
    #[cfg(test)]
    pub(crate) fn iter(&self) -> impl Iterator<Item = Entry<'_>> {
        self.iter_from(0)
    }

    /// Iterates over the entries of the series from index `from` on.
    #[inline(always)]
    pub(crate) fn iter_from(&self, from: usize) -> impl Iterator<Item = Entry<'_>> {
        let (mut start, mut cut) = match from.checked_sub(1) {
            Some(last) => (self.ends[last], self.cut_ends[last] as usize),
            None => (0, 0),
        };
        let ends = self.ends[from..].iter().zip(&self.cut_ends[from..]);
        let ends = ends.zip(&self.created[from..]);
        ends.map(move |((&end, &cut_end), &created)| {
            let entry = Entry {
                text: &self.text.as_bytes()[start..],
                len: end - start,
                // This cannot panic, so the compiler removes it where the cuts are not used.
                cuts: self.cuts.get(cut..cut_end as usize).unwrap_or_default(),
                created,
            };
            (start, cut) = (end, cut_end as usize);
            entry
        })
    }

    /// Returns whether the texts of the `len` series from index `at` on have consecutive keys that
    /// start with `first`.
    #[inline]
    pub(crate) fn has(&self, at: usize, first: u32, len: usize) -> bool {
        // No early exit, so that the compiler can compare several keys at once.
        self.keys.get(at..at + len).is_some_and(|keys| {
            keys.iter()
                .zip(first..)
                .fold(true, |same, (key, wanted)| same & (*key == wanted))
        })
    }

    /// Sets the text of series `i`. Does nothing if the text there has the same `key`. Otherwise
    /// drops the texts from `i` on and calls `text`, which appends the new text and returns
    /// [`Entry::created`].
    pub(crate) fn put(&mut self, i: usize, key: u32, text: impl FnOnce(&mut String) -> u64) {
        if self.keys.get(i) == Some(&key) {
            return;
        }
        self.truncate(i);
        let created = text(&mut self.text);
        self.created.push(created);
        let start = self.ends.last().map_or(0, |end| *end);
        cut(&self.text[start..], &mut self.cuts);
        self.cut_ends.push(self.cuts.len() as u32);
        self.ends.push(self.text.len());
        self.keys.push(key);
    }

    pub(crate) fn push(&mut self, text: &str, created: u64) {
        self.put(self.len(), u32::MAX, |all| {
            all.push_str(text);
            created
        });
    }

    /// Returns [`Entry::created`] of series `i`.
    pub(crate) fn created(&self, i: usize) -> u64 {
        self.created[i]
    }

    /// Sets [`Entry::created`] of series `i`.
    pub(super) fn set_created(&mut self, i: usize, created: u64) {
        self.created[i] = created;
    }

    pub(crate) fn truncate(&mut self, len: usize) {
        if len < self.len() {
            self.text
                .truncate(if len == 0 { 0 } else { self.ends[len - 1] });
            self.ends.truncate(len);
            self.created.truncate(len);
            self.cuts.truncate(if len == 0 {
                0
            } else {
                self.cut_ends[len - 1] as usize
            });
            self.cut_ends.truncate(len);
            self.keys.truncate(len);
        }
    }

    /// Returns the length of all texts together, in bytes.
    pub(crate) fn len_of_text(&self) -> usize {
        self.text.len()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.text.capacity()
            + self.cuts.capacity()
            + 4 * self.cut_ends.capacity()
            + 8 * (self.ends.capacity() + self.created.capacity())
            + 4 * self.keys.capacity()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escaped_and_back() {
        let mut text = String::new();
        let set = [
            ("a", "x\"y"),
            ("b", "\\\n"),
            ("c", ""),
            ("d", "},{=\""),
            ("e.=,}", "ä"),
        ];
        for (name, value) in set {
            push(&mut text, name, value);
        }
        assert_eq!(text, r#"a="x\"y",b="\\\n",c="",d="},{=\"","e.=,}"="ä""#);
        let back: Vec<_> = pairs(&text).collect();
        assert_eq!(back.len(), set.len());
        for ((name, value), (n, v)) in back.iter().zip(set) {
            assert_eq!((*name, &**value), (n, v));
        }
    }

    #[test]
    fn texts_keep_what_is_there() {
        let mut texts = Texts::default();
        let made = |text: &mut String, c: char| {
            text.push(c);
            u64::from(c)
        };
        texts.put(0, 7, |t| made(t, 'a'));
        texts.put(1, 8, |t| made(t, 'b'));
        texts.put(0, 7, |_| unreachable!("it is there"));
        assert_eq!((texts.get(0), texts.get(1)), ("a", "b"));
        texts.put(0, 9, |t| made(t, 'c'));
        assert_eq!((texts.len(), texts.get(0)), (1, "c"));
        assert_eq!(texts.created(0), u64::from('c'));
        texts.push(r#"ab="c",d="""#, 0);
        texts.push(r#"ab="\\",d="""#, 0);
        texts.push(r#"ab="x""#, 0);
        let cuts = |texts: &Texts| texts.iter().map(|e| e.cuts.to_vec()).collect::<Vec<_>>();
        assert_eq!(cuts(&texts), [&[][..], &[2, 1, 1, 0], &[], &[2, 1]]);
        texts.truncate(2);
        assert_eq!(cuts(&texts), [&[][..], &[2, 1, 1, 0]]);
        assert_eq!(texts.len_of_text(), "c".len() + r#"ab="c",d="""#.len());
        texts.push(r#"x="yz""#, 3);
        assert_eq!(texts.get(2), r#"x="yz""#);
        assert_eq!(cuts(&texts), [&[][..], &[2, 1, 1, 0], &[1, 2]]);
        texts.set_created(2, 5);
        assert_eq!(texts.created(2), 5);
        texts.truncate(1);
        texts.push(r#"y="""#, 0);
        assert_eq!(cuts(&texts), [&[][..], &[1, 0]]);
    }

    #[test]
    fn keys_that_follow_each_other_are_found() {
        let mut texts = Texts::default();
        for (i, key) in [3, 4, 5, 7].into_iter().enumerate() {
            texts.put(i, key, |_| 0);
        }
        for (at, first, len, there) in [
            (0, 3, 0, true),
            (0, 3, 1, true),
            (0, 3, 2, true),
            (1, 4, 2, true),
            (3, 7, 1, true),
            (0, 4, 1, false),
            (0, 4, 2, false),
            (0, 3, 4, false),
            (2, 6, 2, false),
            (3, 7, 2, false),
            (5, 7, 0, false),
        ] {
            assert_eq!(
                texts.has(at, first, len),
                there,
                "{len} from {first} at {at}"
            );
        }
    }

    /// Name, value and four more bytes take at most 127 bytes.
    #[test]
    fn long_labels_have_no_cuts() {
        for (name, value, cut) in [
            (1, 122, true),
            (1, 123, false),
            (61, 62, true),
            (62, 62, false),
        ] {
            let mut texts = Texts::default();
            let label = ("n".repeat(name), "v".repeat(value));
            texts.push(&text(&[(&label.0, &label.1)]), 0);
            let lengths = [name as u8, value as u8];
            let wanted = if cut { &lengths[..] } else { &[] };
            assert_eq!(
                texts.iter().next().unwrap().cuts,
                wanted,
                "{name} and {value}"
            );
        }
    }

    #[test]
    fn a_set_of_labels_has_one_ordered_text() {
        let sets = [r#"a="2",b="x\"y""#, r#"b="x\"y",a="2""#];
        assert_eq!(sets.map(ordered), [sets[0]; 2]);
        assert!(matches!(ordered(sets[0]), Cow::Borrowed(_)));
        assert_eq!(ordered(""), "");
    }

    /// A clone has no spare capacity.
    #[test]
    fn memory_is_counted() {
        let mut texts = Texts::default();
        for _ in 0..3 {
            texts.push(r#"a="b""#, 0);
        }
        let each = r#"a="b""#.len() + 2 + size_of::<(usize, u64, u32, u32)>();
        assert_eq!(texts.clone().bytes(), 3 * each);
        let text = text(&[("name", "value"), ("a", "")]);
        assert_eq!(text.capacity(), text.len());
    }

    /// The buffer is not freed in between, or one of the other allocations could get its memory.
    #[test]
    fn a_thread_uses_the_memory_of_a_text_again() {
        let place = || with_text([("name", "value")].into_iter(), str::as_ptr);
        let first = place();
        let _others: Vec<_> = (1..256).map(Vec::<u8>::with_capacity).collect();
        assert_eq!(place(), first);
    }
}
