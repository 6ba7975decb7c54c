//! The response of a receiver: `ExportMetricsServiceResponse`, in either encoding. Any bytes may
//! come; those that are not such a message are `None`.
//!
//! Source: `collector/metrics/v1/metrics_service.proto` of opentelemetry-proto 1.x.

/// The data points that a receiver rejected, and why. A message without rejected points is a
/// warning.
#[derive(Debug, Default, PartialEq)]
pub(super) struct PartialSuccess {
    pub(super) rejected: i64,
    pub(super) message: String,
}

/// Reads protocol buffers.
pub(super) fn from_protobuf(bytes: &[u8]) -> Option<PartialSuccess> {
    let mut found = PartialSuccess::default();
    let mut response = Fields(bytes);
    while let Some(field) = response.next()? {
        let (1, Content::Bytes(bytes)) = field else {
            continue;
        };
        let mut partial = Fields(bytes);
        while let Some(field) = partial.next()? {
            match field {
                // An int64 is the varint of its bits.
                (1, Content::Integer(n)) => found.rejected = n as i64,
                (2, Content::Bytes(text)) => {
                    found.message = String::from_utf8_lossy(text).into_owned();
                }
                _ => {}
            }
        }
    }
    Some(found)
}

/// The rest of a message in protocol buffers.
struct Fields<'a>(&'a [u8]);

/// The content of a field, as far as it is needed.
enum Content<'a> {
    Integer(u64),
    Bytes(&'a [u8]),
    Other,
}

impl<'a> Fields<'a> {
    /// Returns number and content of the next field, or `Some(None)` at the end of the message.
    fn next(&mut self) -> Option<Option<(u64, Content<'a>)>> {
        if self.0.is_empty() {
            return Some(None);
        }
        let tag = self.varint()?;
        let content = match tag & 7 {
            0 => Content::Integer(self.varint()?),
            1 => self.take(8).map(|_| Content::Other)?,
            2 => {
                let len = usize::try_from(self.varint()?).ok()?;
                Content::Bytes(self.take(len)?)
            }
            5 => self.take(4).map(|_| Content::Other)?,
            // Groups are of the time before proto3.
            _ => return None,
        };
        Some(Some((tag >> 3, content)))
    }

    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    fn varint(&mut self) -> Option<u64> {
        let mut n = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1)?[0];
            n |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(n);
            }
        }
        None
    }
}

/// Reads JSON.
pub(super) fn from_json(bytes: &[u8]) -> Option<PartialSuccess> {
    let mut found = PartialSuccess::default();
    JsonReader(bytes).object(&mut |json, key| {
        if key != "partialSuccess" || json.peek() != Some(b'{') {
            return json.skip();
        }
        json.object(&mut |json, key| match key {
            "rejectedDataPoints" => {
                let number = match json.peek()? {
                    b'"' => json.string()?,
                    _ => json.word()?.to_owned(),
                };
                found.rejected = number.parse().unwrap_or(0);
                Some(())
            }
            "errorMessage" if json.peek() == Some(b'"') => {
                found.message = json.string()?;
                Some(())
            }
            _ => json.skip(),
        })
    })?;
    Some(found)
}

/// The rest of a JSON text.
struct JsonReader<'a>(&'a [u8]);

impl<'a> JsonReader<'a> {
    /// Returns the next byte that is not white space.
    fn peek(&mut self) -> Option<u8> {
        self.0 = self.0.trim_ascii_start();
        self.0.first().copied()
    }

    fn eat(&mut self, byte: u8) -> Option<()> {
        let is_next = self.peek()? == byte;
        is_next.then(|| self.0 = &self.0[1..])
    }

    /// Reads an object. `value` reads the value of each key.
    fn object(&mut self, value: &mut dyn FnMut(&mut Self, &str) -> Option<()>) -> Option<()> {
        self.eat(b'{')?;
        if self.peek()? == b'}' {
            return self.eat(b'}');
        }
        loop {
            let key = self.string()?;
            self.eat(b':')?;
            value(self, &key)?;
            match self.peek()? {
                b',' => self.eat(b',')?,
                _ => return self.eat(b'}'),
            }
        }
    }

    /// Reads a string. Surrogates that are no pair become U+FFFD.
    fn string(&mut self) -> Option<String> {
        self.eat(b'"')?;
        let mut units = Vec::new();
        let mut text = Vec::new();
        loop {
            let (byte, rest) = self.0.split_first()?;
            self.0 = rest;
            if *byte == b'\\' && self.0.first() == Some(&b'u') {
                let digits = std::str::from_utf8(self.0.get(1..5)?).ok()?;
                units.push(u16::from_str_radix(digits, 16).ok()?);
                self.0 = &self.0[5..];
                continue;
            }
            // Units of UTF-16 follow each other in a pair of surrogates.
            text.extend(String::from_utf16_lossy(&units).bytes());
            units.clear();
            match byte {
                b'"' => return Some(String::from_utf8_lossy(&text).into_owned()),
                b'\\' => {
                    let (escaped, rest) = self.0.split_first()?;
                    self.0 = rest;
                    text.push(match escaped {
                        b'n' => b'\n',
                        b't' => b'\t',
                        b'r' => b'\r',
                        b'b' => 8,
                        b'f' => 12,
                        other => *other,
                    });
                }
                byte => text.push(*byte),
            }
        }
    }

    /// Reads a number, `true`, `false` or `null`.
    fn word(&mut self) -> Option<&'a str> {
        self.peek()?;
        let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || b"+-.".contains(byte);
        let len = self.0.iter().take_while(|byte| is_part(byte)).count();
        let (word, rest) = self.0.split_at(len);
        self.0 = rest;
        let word = std::str::from_utf8(word).ok();
        word.filter(|word| !word.is_empty())
    }

    /// Skips a value, however deep it is nested.
    fn skip(&mut self) -> Option<()> {
        let mut depth = 0_usize;
        loop {
            match self.peek()? {
                b'"' => _ = self.string()?,
                open @ (b'{' | b'[') => {
                    self.eat(open)?;
                    depth += 1;
                }
                close @ (b'}' | b']') => {
                    self.eat(close)?;
                    depth = depth.checked_sub(1)?;
                }
                separator @ (b',' | b':') if depth > 0 => self.eat(separator)?,
                _ => _ = self.word()?,
            }
            if depth == 0 {
                return Some(());
            }
        }
    }
}
