//! JSON, as much of it as a frame needs. The text has no line feed, so it is one line of an event.

use std::fmt::Write;

/// The largest integer below which a float, and so a number in a browser, has every integer.
const EXACT: u64 = 1 << 53;

/// A JSON text that grows. Commas are added between the values of an array or object.
#[derive(Default)]
pub(super) struct Json(pub(super) String);

impl Json {
    /// Adds a comma if a value precedes.
    fn separate(&mut self) {
        if !matches!(self.0.as_bytes().last(), None | Some(b'[' | b'{' | b':')) {
            self.0.push(',');
        }
    }

    pub(super) fn array(&mut self, write: impl FnOnce(&mut Self)) {
        self.nested('[', ']', write);
    }

    pub(super) fn object(&mut self, write: impl FnOnce(&mut Self)) {
        self.nested('{', '}', write);
    }

    fn nested(&mut self, open: char, close: char, write: impl FnOnce(&mut Self)) {
        self.separate();
        self.0.push(open);
        write(self);
        self.0.push(close);
    }

    pub(super) fn key(&mut self, key: &str) {
        self.text(key);
        self.0.push(':');
    }

    pub(super) fn text(&mut self, text: &str) {
        self.separate();
        self.0.push('"');
        for c in text.chars() {
            match c {
                '"' => self.0.push_str("\\\""),
                '\\' => self.0.push_str("\\\\"),
                // Other separators of lines, which some readers of events might take for one.
                c if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') => {
                    _ = write!(self.0, "\\u{:04x}", c as u32);
                }
                c => self.0.push(c),
            }
        }
        self.0.push('"');
    }

    pub(super) fn null(&mut self) {
        self.separate();
        self.0.push_str("null");
    }

    pub(super) fn bool(&mut self, value: bool) {
        self.separate();
        self.0.push_str(if value { "true" } else { "false" });
    }

    /// Adds an integer. One that a float cannot hold becomes a string.
    pub(super) fn integer(&mut self, n: u64) {
        let mut digits = itoa::Buffer::new();
        if n > EXACT {
            return self.text(digits.format(n));
        }
        self.separate();
        self.0.push_str(digits.format(n));
    }

    /// Adds a float. JSON has no infinities and no NaN, so they become strings that `Number` in a
    /// browser understands.
    pub(super) fn float(&mut self, x: f64) {
        if x.is_nan() {
            return self.text("NaN");
        }
        if x.is_infinite() {
            return self.text(if x > 0.0 { "Infinity" } else { "-Infinity" });
        }
        self.separate();
        let mut digits = zmij::Buffer::new();
        let text = digits.format_finite(x);
        self.0.push_str(text.strip_suffix(".0").unwrap_or(text));
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
                    json.integer(1);
                    json.array(|_| {});
                    json.object(|_| {});
                    json.null();
                });
                json.key("b");
                json.bool(true);
            });
        });
        assert_eq!(json, r#"{"a":[1,[],{},null],"b":true}"#);
    }

    #[test]
    fn a_text_stays_on_one_line() {
        let json = written(|json| json.text("a\"b\\c\n\r\0\u{7f}\u{85}\u{2028}é</script>"));
        assert_eq!(
            json,
            r#""a\"b\\c\u000a\u000d\u0000\u007f\u0085\u2028é</script>""#
        );
    }

    #[test]
    fn numbers_that_json_or_a_browser_lacks_are_strings() {
        let json = written(|json| {
            json.array(|json| {
                json.integer(EXACT);
                json.integer(u64::MAX);
                json.float(0.1);
                json.float(-3.0);
                json.float(1e300);
                json.float(f64::NAN);
                json.float(f64::INFINITY);
                json.float(f64::NEG_INFINITY);
            });
        });
        assert_eq!(
            json,
            r#"[9007199254740992,"18446744073709551615",0.1,-3,1e+300,"NaN","Infinity","-Infinity"]"#
        );
    }
}
