//! Tokens: reads one line of a page, token by token.

use std::borrow::Cow;
use std::collections::HashSet;
use std::time::SystemTime;

use tallies::snapshot::Number;

use super::number;
use super::remark::Notes;
use super::{Dialect, Fault, show};

/// A line and the position of the reader in it.
pub(super) struct Line<'a> {
    pub(super) dialect: Dialect,
    /// Notes about the line.
    pub(super) notes: Notes,
    text: &'a str,
    /// The offset in bytes, always at a character boundary.
    pub(super) offset: usize,
}

/// A parser of a token.
pub(super) type Parse<T> = fn(&str, Dialect) -> Option<T>;

/// A label.
#[derive(Clone)]
pub(super) struct Label<'a> {
    pub(super) name: Cow<'a, str>,
    pub(super) value: Cow<'a, str>,
    /// The offset of its name in the line.
    pub(super) offset: usize,
}

impl<'a> Line<'a> {
    pub(super) fn new(text: &'a str, dialect: Dialect, notes: Notes) -> Self {
        Self {
            dialect,
            notes,
            text,
            offset: 0,
        }
    }

    /// Returns the whole line.
    pub(super) fn text(&self) -> &'a str {
        self.text
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
    pub(super) fn expected<T>(&self, wanted: &str) -> Result<T, Fault> {
        Err(self.unexpected(wanted))
    }

    fn unexpected(&self, wanted: &str) -> Fault {
        let what = match self.rest() {
            "" => format!("the line ends; {wanted}"),
            rest => format!("found {}; {wanted}", show(rest)),
        };
        Fault::new(self.offset, what)
    }

    /// Skips `token` if it is next. Returns whether it was.
    pub(super) fn skip(&mut self, token: &str) -> bool {
        let is_next = self.rest().starts_with(token);
        if is_next {
            self.offset += token.len();
        }
        is_next
    }

    /// Skips `token`, or returns an error if something else is next.
    pub(super) fn expect(&mut self, token: &str) -> Result<(), Fault> {
        match self.skip(token) {
            true => Ok(()),
            false => self.expected(&format!("`{token}` is expected")),
        }
    }

    /// Skips blanks and tabs, in text. OpenMetrics allows none, so this does nothing there.
    pub(super) fn blanks(&mut self) {
        if self.dialect == Dialect::Text {
            let rest = self.rest();
            self.offset += rest.len() - rest.trim_start_matches([' ', '\t']).len();
        }
    }

    /// Removes a carriage return from the end of the line. Prometheus refuses it; only comments and
    /// help texts may have one.
    pub(super) fn carriage_return(&mut self) -> Result<(), Fault> {
        let Some(before) = self.text.strip_suffix('\r') else {
            return Ok(());
        };
        let comment = self.rest().strip_prefix('#').map(str::trim_start);
        let is_comment = comment.is_some_and(|comment| !comment.starts_with("TYPE"));
        let what = match self.dialect {
            // A strict reader finds it where it is part of something else.
            Dialect::Text if is_comment || !self.notes.is_lenient => return Ok(()),
            Dialect::Text => "a line must not end in a carriage return",
            _ => "OpenMetrics allows no carriage return at the end of a line",
        };
        self.notes.refuse(Fault::new(before.len(), what))?;
        self.text = before;
        Ok(())
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
        let is_blank = |c: char| c == ' ' || (c == '\t' && self.dialect == Dialect::Text);
        let token = &rest[..rest.find(is_blank).unwrap_or(rest.len())];
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
                let colon = if colons { ", :" } else { "" };
                let begin = format!("one of a-z, A-Z, _{colon}, or is in quotes");
                return self.expected(&format!("{what} begins with {begin}"));
            }
            self.offset += name.len();
            return Ok(Cow::Borrowed(name));
        }
        let name = self.quoted()?;
        if name.is_empty() || name.contains(['"', '\\', '\n']) {
            let not = "must not be empty or contain a quote, a backslash or a line feed";
            let fault = Fault::new(from, format!("{what} {} {not}", show(&name)));
            // Prometheus takes them, and a snapshot cannot hold them.
            return Err(if name.is_empty() {
                fault
            } else {
                fault.taken()
            });
        }
        Ok(name)
    }

    /// Reads a string in quotes and unescapes it.
    pub(super) fn quoted(&mut self) -> Result<Cow<'a, str>, Fault> {
        let from = self.offset;
        if !self.skip("\"") {
            return self.expected("a value in quotes is expected");
        }
        let plain = self.unescape(true)?;
        let closed = self.skip("\"").then_some(plain);
        closed.ok_or_else(|| Fault {
            is_open: true,
            ..Fault::new(from, "this quote is never closed")
        })
    }

    /// Reads and unescapes characters up to the end of the line, or with `quotes` up to the first
    /// quote that is not escaped.
    pub(super) fn unescape(&mut self, quotes: bool) -> Result<Cow<'a, str>, Fault> {
        let mut plain = Cow::Borrowed("");
        loop {
            let rest = self.rest();
            let end = rest.find(|c| c == '\\' || (quotes && c == '"'));
            let end = end.unwrap_or(rest.len());
            plain += &rest[..end];
            self.offset += end;
            if !self.skip("\\") {
                return Ok(plain);
            }
            plain.to_mut().push(match self.rest().chars().next() {
                Some('\\') => '\\',
                Some('n') => '\n',
                Some('"') if quotes => '"',
                // A backslash without a meaning is a character like any other.
                _ => {
                    self.offset -= 1;
                    let found = show(self.rest().get(..2).unwrap_or("\\"));
                    let sequences = match quotes {
                        true => "`\\\\`, `\\n` and `\\\"`",
                        false => "`\\\\` and `\\n`",
                    };
                    let what = "is not an escape sequence; the sequences are";
                    let fault = Fault::new(self.offset, format!("{found} {what} {sequences}"));
                    self.notes.odd(fault)?;
                    '\\'
                }
            });
            self.offset += 1;
        }
    }

    /// Reads labels up to and including the closing brace. The opening brace is already read. If
    /// `name` is given and holds no name, the first element in braces may be the metric's name in
    /// quotes.
    pub(super) fn labels(
        &mut self,
        mut name: Option<&mut Option<Cow<'a, str>>>,
    ) -> Result<Vec<Label<'a>>, Fault> {
        let mut labels = Vec::new();
        let mut names = HashSet::new();
        let mut after_comma = false;
        loop {
            self.blanks();
            // Only text allows a comma after the last label.
            if self.rest().starts_with('}') {
                if after_comma && self.dialect != Dialect::Text {
                    let what = "OpenMetrics allows no comma after the last label";
                    self.notes.odd(Fault::new(self.offset, what))?;
                }
                self.offset += 1;
                return Ok(labels);
            }
            let offset = self.offset;
            let is_quoted = self.rest().starts_with('"');
            let label = self.name("a name in braces", false)?;
            self.blanks();
            match &mut name {
                Some(name @ None) if is_quoted && !self.rest().starts_with('=') => {
                    if !labels.is_empty() {
                        let what = "the name of a sample has to be the first in the braces";
                        self.notes.odd(Fault::new(offset, what))?;
                    }
                    **name = Some(label);
                }
                _ => {
                    if label == "__name__" {
                        let what = "`__name__` is the name of the sample, not a label";
                        return Err(Fault::new(offset, what));
                    }
                    if !names.insert(label.clone()) {
                        let what = format!("label {} is given twice", show(&label));
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
            after_comma = self.skip(",");
            if !after_comma && !self.rest().starts_with('}') {
                let fault = self.unexpected("`,` or `}` is expected after a label");
                // Prometheus needs no comma in text.
                let is_name = |c: char| c.is_ascii_alphabetic() || c == '_' || c == '"';
                if self.dialect != Dialect::Text || !self.rest().starts_with(is_name) {
                    return Err(fault);
                }
                self.notes.odd(fault)?;
            }
        }
    }

    /// Reads the value of a sample.
    pub(super) fn value(&mut self) -> Result<Number, Fault> {
        let (from, token) = (self.offset, self.token());
        let value = self.convert(from, token, "number", number::value);
        match (number::word(token), value) {
            (Some(x), Err(fault)) => {
                self.notes.odd(fault)?;
                Ok(Number::Float(x))
            }
            (_, value) => value,
        }
    }

    /// Reads a timestamp.
    pub(super) fn time(&mut self) -> Result<SystemTime, Fault> {
        let what = match self.dialect {
            Dialect::Text => "timestamp in milliseconds",
            _ => "timestamp in seconds",
        };
        let (from, token) = (self.offset, self.token());
        let time = self.convert(from, token, what, number::time)?;
        if self.dialect == Dialect::Text && token.starts_with('-') {
            let what = format!(
                "{} is before 1970, and Prometheus takes no sign",
                show(token)
            );
            self.notes.warn(Fault::new(from, what));
        }
        Ok(time)
    }

    /// Reads a number in a composite value, up to a comma, a colon or a closing bracket.
    pub(super) fn item<T>(&mut self, what: &str, parse: Parse<T>) -> Result<T, Fault> {
        let (from, rest) = (self.offset, self.rest());
        let token = &rest[..rest.find([',', ':', ']', '}', ' ']).unwrap_or(rest.len())];
        self.offset += token.len();
        self.convert(from, token, what, parse)
    }

    fn convert<T>(
        &self,
        from: usize,
        token: &str,
        what: &str,
        parse: Parse<T>,
    ) -> Result<T, Fault> {
        let invalid = || Fault::new(from, number::describe_invalid(token, what));
        parse(token, self.dialect).ok_or_else(invalid)
    }
}
