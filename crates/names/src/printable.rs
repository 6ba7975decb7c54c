//! Texts from outside, for logs and terminals.

use std::fmt::{self, Write};

/// Writes a text in one line that a terminal shows and does not obey. Control characters,
/// separators of lines, marks of direction and characters without width are written as `\n` or
/// `\u{1b}`. Quotes and backslashes stay, so a text that is printable does not change.
///
/// ```
/// use tallies_names::Printable;
///
/// assert_eq!(Printable("`a`\u{1b}[2J").to_string(), "`a`\\u{1b}[2J");
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Printable<'a>(pub &'a str);

/// Returns whether a terminal shows a character as itself.
#[must_use]
pub fn is_printable(c: char) -> bool {
    matches!(c, '"' | '\'' | '\\') || c.escape_debug().len() == 1
}

impl fmt::Display for Printable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut chars = self.0.chars();
        chars.try_for_each(|c| match is_printable(c) {
            true => f.write_char(c),
            false => write!(f, "{}", c.escape_debug()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_shows_it_and_does_not_obey() {
        for (text, shown) in [
            ("name `a\"b\\c'`", "name `a\"b\\c'`"),
            ("\u{1b}]0;title\u{7}", "\\u{1b}]0;title\\u{7}"),
            ("\u{9b}2J\u{7f}", "\\u{9b}2J\\u{7f}"),
            ("one\r\ntwo\tthree", "one\\r\\ntwo\\tthree"),
            ("\u{202e}right\u{2028}", "\\u{202e}right\\u{2028}"),
            ("größe 東京 ✓", "größe 東京 ✓"),
        ] {
            let once = Printable(text).to_string();
            assert_eq!(once, shown);
            assert_eq!(Printable(&once).to_string(), shown);
        }
    }
}
