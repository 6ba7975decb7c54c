//! Tokens: reads one line of a page, token by token.

use std::borrow::Cow;

use tallies::snapshot::Number;

use super::number;
use super::{Dialect, Fault, show};

/// A line and the position of the reader in it.
pub(super) struct Line<'a> {
    pub(super) dialect: Dialect,
    text: &'a str,
    /// The offset in bytes, always at a character boundary.
    pub(super) offset: usize,
}

/// A label.
pub(super) struct Label<'a> {
    pub(super) name: Cow<'a, str>,
    pub(super) value: Cow<'a, str>,
    /// The offset of its name in the line.
    pub(super) offset: usize,
}

impl<'a> Line<'a> {
    pub(super) fn new(text: &'a str, dialect: Dialect) -> Self {
        Self {
            dialect,
            text,
            offset: 0,
        }
    }

    /// Returns the rest of the line.
    pub(super) fn rest(&self) -> &'a str {
        &self.text[self.offset..]
    }

    /// Returns an error at the current position.
    pub(super) fn fault<T>(&self, what: impl Into<String>) -> Result<T, Fault> {
        Err(Fault::new(self.offset, what))
    }

    /// Returns an error that shows the rest of the line, and says what was `wanted` instead.
    fn expected<T>(&self, wanted: &str) -> Result<T, Fault> {
        self.fault(match self.rest() {
            "" => format!("the line ends; {wanted}"),
            rest => format!("found {}; {wanted}", show(rest)),
        })
    }

    /// Skips `token` if it is next. Returns whether it was.
    pub(super) fn skip(&mut self, token: &str) -> bool {
        let is_next = self.rest().starts_with(token);
        if is_next {
            self.offset += token.len();
        }
        is_next
    }

    /// Skips blanks and tabs, in text. OpenMetrics allows none, so this does nothing there.
    pub(super) fn blanks(&mut self) {
        if self.dialect == Dialect::Text {
            let rest = self.rest();
            self.offset += rest.len() - rest.trim_start_matches([' ', '\t']).len();
        }
    }

    /// Skips the separator of two tokens: one blank, or in text any number of blanks and tabs.
    pub(super) fn gap(&mut self, before: &str) -> Result<(), Fault> {
        self.blank(before)?;
        self.blanks();
        Ok(())
    }

    /// Skips one blank, which may be a tab in text.
    pub(super) fn blank(&mut self, before: &str) -> Result<(), Fault> {
        if self.skip(" ") || (self.dialect == Dialect::Text && self.skip("\t")) {
            return Ok(());
        }
        self.expected(&format!("a space is expected before {before}"))
    }

    /// Returns an error unless the line ends here.
    pub(super) fn end(&mut self) -> Result<(), Fault> {
        self.blanks();
        match self.rest() {
            "" => Ok(()),
            _ => self.expected("the end of the line is expected"),
        }
    }

    /// Reads the next token, up to a blank.
    pub(super) fn token(&mut self) -> &'a str {
        let rest = self.rest();
        let blank = match self.dialect {
            Dialect::Text => &[' ', '\t'][..],
            Dialect::OpenMetrics => &[' '],
        };
        let token = &rest[..rest.find(blank).unwrap_or(rest.len())];
        self.offset += token.len();
        token
    }

    /// Reads a name of the old character set, or any name in quotes. `colons` allows colons.
    pub(super) fn name(&mut self, what: &str, colons: bool) -> Result<Cow<'a, str>, Fault> {
        let from = self.offset;
        if !self.rest().starts_with('"') {
            let is_in = |b: &u8| b.is_ascii_alphanumeric() || *b == b'_' || (colons && *b == b':');
            let name = self.rest();
            let name = &name[..name.bytes().take_while(is_in).count()];
            if name.is_empty() || name.as_bytes()[0].is_ascii_digit() {
                let set = if colons {
                    "a-z, A-Z, _, :"
                } else {
                    "a-z, A-Z, _"
                };
                return self.expected(&format!("{what} begins with one of {set}, or is in quotes"));
            }
            self.offset += name.len();
            return Ok(Cow::Borrowed(name));
        }
        let name = self.quoted()?;
        if name.is_empty() || name.contains(['"', '\\', '\n']) {
            return Err(Fault::new(
                from,
                format!(
                    "{what} {} must not be empty or contain a quote, a backslash or a line feed",
                    show(&name)
                ),
            ));
        }
        Ok(name)
    }

    /// Reads a string in quotes and unescapes it.
    pub(super) fn quoted(&mut self) -> Result<Cow<'a, str>, Fault> {
        if !self.skip("\"") {
            return self.expected("a value in quotes is expected");
        }
        let from = self.offset;
        let mut escaped = false;
        let end = self.rest().bytes().position(|b| {
            let closes = b == b'"' && !escaped;
            escaped = b == b'\\' && !escaped;
            closes
        });
        let Some(end) = end else {
            return Err(Fault::new(from - 1, "this quote is never closed"));
        };
        let plain = self.unescape(end, true)?;
        self.offset += 1;
        Ok(plain)
    }

    /// Reads the next `len` bytes and unescapes them. `quotes` allows `\"`.
    pub(super) fn unescape(&mut self, len: usize, quotes: bool) -> Result<Cow<'a, str>, Fault> {
        let raw = &self.rest()[..len];
        if !raw.contains('\\') {
            self.offset += len;
            return Ok(Cow::Borrowed(raw));
        }
        let mut plain = String::with_capacity(len);
        let mut rest = raw;
        while let Some(next) = rest.find('\\') {
            plain.push_str(&rest[..next]);
            plain.push(match rest[next + 1..].chars().next() {
                Some('\\') => '\\',
                Some('n') => '\n',
                Some('"') if quotes => '"',
                _ => {
                    self.offset += raw.len() - rest.len() + next;
                    return self.fault(format!(
                        "{} is not an escape sequence; the sequences are {}",
                        show(rest[next..].get(..2).unwrap_or("\\")),
                        if quotes {
                            "`\\\\`, `\\n` and `\\\"`"
                        } else {
                            "`\\\\` and `\\n`"
                        }
                    ));
                }
            });
            rest = &rest[next + 2..];
        }
        plain.push_str(rest);
        self.offset += len;
        Ok(Cow::Owned(plain))
    }

    /// Reads labels up to and including the closing brace. The opening brace is already read. If
    /// `name` is given and holds no name, the first element in braces may be the metric's name in
    /// quotes.
    pub(super) fn labels(
        &mut self,
        mut name: Option<&mut Option<Cow<'a, str>>>,
    ) -> Result<Vec<Label<'a>>, Fault> {
        let mut labels = Vec::new();
        let mut after_comma = false;
        loop {
            self.blanks();
            // Empty braces, or a comma after the last label, which only text allows.
            if (!after_comma || self.dialect == Dialect::Text) && self.skip("}") {
                return Ok(labels);
            }
            let offset = self.offset;
            let is_quoted = self.rest().starts_with('"');
            let label = self.name("a name in braces", false)?;
            self.blanks();
            match name.take() {
                Some(name @ None) if is_quoted && !self.rest().starts_with('=') => {
                    *name = Some(label)
                }
                _ => {
                    if label == "__name__" {
                        let what = "`__name__` is the name of the sample, not a label";
                        return Err(Fault::new(offset, what));
                    }
                    if !self.skip("=") {
                        return self.expected("`=` is expected after a label name");
                    }
                    self.blanks();
                    labels.push(Label {
                        name: label,
                        value: self.quoted()?,
                        offset,
                    });
                }
            }
            self.blanks();
            if self.skip("}") {
                return Ok(labels);
            }
            after_comma = self.skip(",");
            if !after_comma {
                return self.expected("`,` or `}` is expected after a label");
            }
        }
    }

    /// Reads the value of a sample.
    pub(super) fn value(&mut self) -> Result<Number, Fault> {
        let from = self.offset;
        let token = self.token();
        number::value(token, self.dialect)
            .ok_or_else(|| Fault::new(from, number::describe_invalid(token, "number")))
    }
}
