//! JSON, as much of it as reports and the live page need. The text has no line feed, so it is one
//! line of an event.

use std::fmt::Write;

use super::number::Number;

/// The largest integer below which a float, and so a number in a browser, has every integer.
const EXACT: u64 = 1 << 53;

/// A JSON text that grows. Commas are added between the values of an array or object.
#[derive(Default)]
pub(crate) struct Json(pub(crate) String);

/// A value that is no object.
pub(crate) trait ToJson {
    fn write(self, json: &mut Json);
}

impl Json {
    /// Adds a comma if a value precedes.
    fn separate(&mut self) {
        if !matches!(self.0.as_bytes().last(), None | Some(b'[' | b'{' | b':')) {
            self.0.push(',');
        }
    }

    pub(crate) fn array(&mut self, write: impl FnOnce(&mut Self)) {
        self.nested('[', ']', write);
    }

    pub(crate) fn object(&mut self, write: impl FnOnce(&mut Self)) {
        self.nested('{', '}', write);
    }

    fn nested(&mut self, open: char, close: char, write: impl FnOnce(&mut Self)) {
        self.separate();
        self.0.push(open);
        write(self);
        self.0.push(close);
    }

    /// Adds a key, whose value is written next.
    pub(crate) fn key(&mut self, key: &str) {
        self.value(key);
        self.0.push(':');
    }

    pub(crate) fn value(&mut self, value: impl ToJson) {
        value.write(self);
    }

    pub(crate) fn field(&mut self, key: &str, value: impl ToJson) {
        self.key(key);
        self.value(value);
    }

    /// Adds a key and an array, to which `write` adds each item.
    pub(crate) fn list<T>(
        &mut self,
        key: &str,
        items: impl IntoIterator<Item = T>,
        mut write: impl FnMut(&mut Self, T),
    ) {
        self.key(key);
        self.array(|json| items.into_iter().for_each(|item| write(json, item)));
    }

    /// Adds a text that is JSON.
    fn plain(&mut self, text: &str) {
        self.separate();
        self.0.push_str(text);
    }
}

impl ToJson for &str {
    fn write(self, json: &mut Json) {
        json.plain("\"");
        for c in self.chars() {
            match c {
                '"' => json.0.push_str("\\\""),
                '\\' => json.0.push_str("\\\\"),
                '\n' => json.0.push_str("\\n"),
                // Other separators of lines, which some readers of events might take for one, and
                // tags, so that the text can stand in a page.
                c if c.is_control() || matches!(c, '<' | '>' | '\u{2028}' | '\u{2029}') => {
                    _ = write!(json.0, "\\u{:04x}", c as u32);
                }
                c => json.0.push(c),
            }
        }
        json.0.push('"');
    }
}

impl ToJson for bool {
    fn write(self, json: &mut Json) {
        json.plain(if self { "true" } else { "false" });
    }
}

impl ToJson for usize {
    fn write(self, json: &mut Json) {
        json.plain(itoa::Buffer::new().format(self));
    }
}

/// An integer that a float cannot hold becomes a string.
impl ToJson for u64 {
    fn write(self, json: &mut Json) {
        let mut digits = itoa::Buffer::new();
        let digits = digits.format(self);
        if self > EXACT {
            json.value(digits);
        } else {
            json.plain(digits);
        }
    }
}

/// JSON has no infinities and no NaN, so they become strings that `Number` in a browser
/// understands.
impl ToJson for f64 {
    fn write(self, json: &mut Json) {
        if self.is_finite() {
            let mut digits = zmij::Buffer::new();
            let text = digits.format_finite(self);
            json.plain(text.strip_suffix(".0").unwrap_or(text));
        } else if self.is_nan() {
            json.value("NaN");
        } else {
            json.value(if self > 0.0 { "Infinity" } else { "-Infinity" });
        }
    }
}

impl ToJson for Number {
    fn write(self, json: &mut Json) {
        match self {
            Self::Int(n) => json.value(n),
            Self::Float(x) => json.value(x),
        }
    }
}

impl<T: ToJson> ToJson for Option<T> {
    fn write(self, json: &mut Json) {
        match self {
            Some(value) => json.value(value),
            None => json.plain("null"),
        }
    }
}

impl<T: ToJson, const N: usize> ToJson for [T; N] {
    fn write(self, json: &mut Json) {
        json.array(|json| self.into_iter().for_each(|value| json.value(value)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl FnOnce(&mut Json)) -> String {
        let mut json = Json::default();
        write(&mut json);
        json.0
    }

    #[test]
    fn values_are_separated_and_nested() {
        let json = written(|json| {
            json.object(|json| {
                json.key("a");
                json.array(|json| {
                    json.value(1_u64);
                    json.array(|_| {});
                    json.object(|_| {});
                    json.value(None::<u64>);
                });
                json.field("b", true);
            });
        });
        assert_eq!(json, r#"{"a":[1,[],{},null],"b":true}"#);
    }

    #[test]
    fn a_text_stays_on_one_line() {
        let json = written(|json| json.value("a\"b\\c\n\r\0\u{7f}\u{85}\u{2028}é</script>"));
        assert_eq!(
            json,
            r#""a\"b\\c\n\u000d\u0000\u007f\u0085\u2028é\u003c/script\u003e""#
        );
    }

    #[test]
    fn numbers_that_json_or_a_browser_lacks_are_strings() {
        let json = written(|json| {
            json.array(|json| {
                json.value(EXACT);
                json.value(u64::MAX);
                json.value(0.1);
                json.value(-3.0);
                json.value(1e300);
                json.value(f64::NAN);
                json.value(f64::INFINITY);
                json.value(f64::NEG_INFINITY);
            });
        });
        assert_eq!(
            json,
            r#"[9007199254740992,"18446744073709551615",0.1,-3,1e+300,"NaN","Infinity","-Infinity"]"#
        );
    }
}
