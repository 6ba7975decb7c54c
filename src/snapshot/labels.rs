//! Label texts: label sets as an exposition writes them, such as `method="GET",route="/a\"b"`. A
//! label text is escaped once, when its series is created.
//!
//! The escaping is that of the Prometheus text format 0.0.4 and of OpenMetrics 1.0, which agree on
//! label values: `\`, `"` and line feed are escaped, nothing else.

use std::borrow::Cow;
use std::cell::Cell;

use super::names::is_label_name;
use super::names::is_utf8_name;

/// The value that all labels of most overflow series have.
pub(crate) const OVERFLOW: &str = "__overflow__";

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
    let len = |(name, value): (&str, &str)| name.len() + value.len() + 4;
    let len: usize = labels.clone().map(len).sum();
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
pub(crate) fn pairs(text: &str) -> Pairs<'_> {
    Pairs(Parts::new(text, &[]))
}

/// Iterates over the names and escaped values of a label text.
pub(crate) fn parts(text: &str) -> Parts<'_> {
    Parts::new(text, &[])
}

/// The names and escaped values of a label text.
pub(crate) struct Parts<'a> {
    rest: &'a str,
    /// The [cuts](super::texts::LabelEntry::cuts) of the rest, or empty.
    cuts: &'a [u8],
}

impl<'a> Parts<'a> {
    /// Iterates over a label text with these [cuts](super::texts::LabelEntry::cuts), which may be
    /// empty.
    pub(super) fn new(text: &'a str, cuts: &'a [u8]) -> Self {
        Self { rest: text, cuts }
    }

    /// Returns the next label if there are no cuts.
    fn search(&mut self) -> Option<(&'a str, &'a str)> {
        let (name, value) = match self.rest.strip_prefix('"') {
            Some(quoted) => quoted.split_once("\"=\"")?,
            None => {
                // Names are short, so this is faster than `split_once`, which prepares its search.
                let mut pairs = self.rest.as_bytes().windows(2);
                let end = pairs.position(|two| two == b"=\"")?;
                (&self.rest[..end], &self.rest[end + 2..])
            }
        };
        let end = closing_quote(value)?;
        let after = &value[end + 1..];
        self.rest = after.strip_prefix(',').unwrap_or(after);
        Some((name, &value[..end]))
    }
}

impl<'a> Iterator for Parts<'a> {
    type Item = (&'a str, &'a str);

    #[inline]
    fn next(&mut self) -> Option<(&'a str, &'a str)> {
        let [name, value, cuts @ ..] = self.cuts else {
            return self.search();
        };
        let (name, rest) = self.rest.split_at(usize::from(*name));
        let (value, rest) = rest[2..].split_at(usize::from(*value));
        // The closing quote, and a comma if another label follows.
        self.rest = rest.get(2..).unwrap_or_default();
        self.cuts = cuts;
        Some((name, value))
    }
}

/// The names and unescaped values of a label text.
pub(crate) struct Pairs<'a>(pub(super) Parts<'a>);

impl<'a> Iterator for Pairs<'a> {
    type Item = (&'a str, Cow<'a, str>);

    #[inline]
    fn next(&mut self) -> Option<(&'a str, Cow<'a, str>)> {
        // Texts with cuts have no escapes.
        let is_plain = !self.0.cuts.is_empty();
        let (name, value) = self.0.next()?;
        let value = if is_plain {
            Cow::Borrowed(value)
        } else {
            unescape(value)
        };
        Some((name, value))
    }
}

/// Returns the label text of both, of which either may be empty.
pub(crate) fn joined(constant: &str, own: &str) -> String {
    let is_one_empty = constant.is_empty() || own.is_empty();
    let comma = if is_one_empty { "" } else { "," };
    format!("{constant}{comma}{own}")
}

/// Returns the label text with its labels sorted by name, so that equal label sets have equal
/// texts.
pub(crate) fn ordered(text: &str) -> Cow<'_, str> {
    if parts(text).map(|(name, _)| name).is_sorted() {
        return Cow::Borrowed(text);
    }
    let mut all: Vec<_> = pairs(text).collect();
    all.sort_unstable();
    Cow::Owned(text_of(all.iter().map(|(name, value)| (*name, &**value))))
}

/// The order of the labels in a label text.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Order {
    /// Any, as where a program declares them.
    Any,
    /// By name, and no name twice.
    Sorted,
}

/// Returns whether [`push`] could have written `text`. Text that it could not have written would
/// break a page. A reader checks every series, so this allocates nothing.
pub(crate) fn is_text(text: &str, order: Order) -> bool {
    let (mut rest, mut before) = (Some(text), None);
    for (name, value) in parts(text) {
        let comma = if before.is_some() { "," } else { "" };
        // Names outside the legacy character set are quoted, and only those.
        let is_legacy = is_label_name(name.as_bytes());
        let quote = if is_legacy { "" } else { "\"" };
        let mut written = [comma, quote, name, quote, "=\"", value, "\""].into_iter();
        rest = rest.and_then(|rest| written.try_fold(rest, |rest, part| rest.strip_prefix(part)));
        let is_next = order == Order::Any || before.is_none_or(|before| before < name);
        if !is_next || !is_utf8_name(name.as_bytes()) || !is_escaped(value) {
            return false;
        }
        before = Some(name);
    }
    rest == Some("")
}

/// Returns whether [`push`] could have written this escaped value.
fn is_escaped(value: &str) -> bool {
    let mut bytes = value.bytes();
    while let Some(byte) = bytes.next() {
        let is_escape = byte == b'\\' && matches!(bytes.next(), Some(b'\\' | b'"' | b'n'));
        if matches!(byte, b'\\' | b'\n') && !is_escape {
            return false;
        }
    }
    true
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
            '\\' => plain.extend(chars.next().map(|c| if c == 'n' { '\n' } else { c })),
            c => plain.push(c),
        }
    }
    Cow::Owned(plain)
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
    fn a_set_of_labels_has_one_ordered_text() {
        let sets = [r#"a="2",b="x\"y""#, r#"b="x\"y",a="2""#];
        assert_eq!(sets.map(ordered), [sets[0]; 2]);
        assert!(matches!(ordered(sets[0]), Cow::Borrowed(_)));
        assert_eq!(ordered(""), "");
    }

    #[test]
    fn the_capacity_of_a_text_is_exact() {
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
