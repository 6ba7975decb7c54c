//! The queries of a dashboard or of rules in JSON.

use crate::error::Error;

use super::queries::Query;

/// The deepest nesting that is read. Dashboards have about ten levels.
const DEEPEST: usize = 100;

/// A JSON value, as far as queries need it.
enum Value {
    Text(String),
    List(Vec<Value>),
    Object(Vec<(String, Value)>),
    /// A number, a boolean or null.
    Other,
}

impl Value {
    fn get(&self, name: &str) -> Option<&Self> {
        match self {
            Self::Object(fields) => {
                let field = fields.iter().find(|(field, _)| field == name);
                field.map(|(_, value)| value)
            }
            _ => None,
        }
    }

    fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }
}

/// Returns the queries in a JSON text.
pub(super) fn queries(text: &str) -> Result<Vec<Query>, Error> {
    let mut parser = Parser { text, at: 0 };
    let value = parser.value(0)?;
    parser.skip_space();
    if parser.at < text.len() {
        return Err(parser.error("nothing may follow the JSON value"));
    }
    let mut found = Vec::new();
    collect(&value, "the text", &mut found);
    Ok(found)
}

/// Appends the queries in a value. `place` is the name of the panel or rule around it.
fn collect(value: &Value, place: &str, found: &mut Vec<Query>) {
    match value {
        Value::List(items) => items.iter().for_each(|item| collect(item, place, found)),
        Value::Object(fields) => {
            if !is_prometheus(value) {
                return;
            }
            let own = place_of(value);
            let place = own.as_deref().unwrap_or(place);
            let mut push = |text: &str, place: &str| {
                found.push(Query {
                    place: place.to_owned(),
                    text: text.to_owned(),
                    record: value.get("record").and_then(Value::text).map(str::to_owned),
                });
            };
            if let Some(query) = value.get("expr").and_then(Value::text) {
                push(query, place);
            }
            // A variable of a dashboard.
            let is_variable = value.get("type").and_then(Value::text) == Some("query");
            if let (true, Some(name)) = (is_variable, value.get("name").and_then(Value::text)) {
                let query = value.get("query");
                let query = query.and_then(|query| query.get("query").or(Some(query)));
                if let Some(query) = query.and_then(Value::text) {
                    push(query, &format!("variable `{name}`"));
                }
            }
            fields
                .iter()
                .for_each(|(_, value)| collect(value, place, found));
        }
        _ => {}
    }
}

/// Returns the name of a panel or rule.
fn place_of(value: &Value) -> Option<String> {
    let name = |field| {
        value
            .get(field)
            .and_then(Value::text)
            .filter(|name| !name.is_empty())
    };
    if let Some(alert) = name("alert") {
        return Some(format!("alert `{alert}`"));
    }
    if let Some(record) = name("record") {
        return Some(format!("record `{record}`"));
    }
    let what = if value.get("panels").is_some() {
        "dashboard"
    } else {
        "panel"
    };
    name("title").map(|title| format!("{what} `{title}`"))
}

/// Returns whether a panel or target can be one of Prometheus: it names no other kind of data
/// source.
fn is_prometheus(value: &Value) -> bool {
    let kind = value
        .get("datasource")
        .and_then(|source| source.get("type"));
    kind.and_then(Value::text).is_none_or(|kind| {
        kind.contains("prometheus") || kind == "datasource" || kind.contains('$')
    })
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
}

impl Parser<'_> {
    fn value(&mut self, depth: usize) -> Result<Value, Error> {
        self.skip_space();
        if depth > DEEPEST {
            return Err(self.error("the JSON is nested too deeply"));
        }
        match self.peek() {
            Some(b'"') => self.string().map(Value::Text),
            Some(b'[') => {
                let mut items = Vec::new();
                self.sequence(b']', |parser| {
                    items.push(parser.value(depth + 1)?);
                    Ok(())
                })?;
                Ok(Value::List(items))
            }
            Some(b'{') => {
                let mut fields = Vec::new();
                self.sequence(b'}', |parser| {
                    let name = parser.string()?;
                    parser.skip_space();
                    parser.expect(b':')?;
                    fields.push((name, parser.value(depth + 1)?));
                    Ok(())
                })?;
                Ok(Value::Object(fields))
            }
            Some(c) if c.is_ascii_alphanumeric() || c == b'-' => {
                let is_part = |c: u8| c.is_ascii_alphanumeric() || b"+-.".contains(&c);
                while self.peek().is_some_and(is_part) {
                    self.at += 1;
                }
                Ok(Value::Other)
            }
            _ => Err(self.error("a JSON value should be here")),
        }
    }

    /// Reads items between brackets, with commas between them.
    fn sequence(
        &mut self,
        end: u8,
        mut item: impl FnMut(&mut Self) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.at += 1;
        self.skip_space();
        if self.peek() == Some(end) {
            self.at += 1;
            return Ok(());
        }
        loop {
            self.skip_space();
            item(self)?;
            self.skip_space();
            if self.peek() == Some(end) {
                self.at += 1;
                return Ok(());
            }
            self.expect(b',')?;
        }
    }

    fn string(&mut self) -> Result<String, Error> {
        self.expect(b'"')?;
        let mut out = String::new();
        loop {
            let rest = &self.text[self.at..];
            let Some(end) = rest.find(['"', '\\']) else {
                return Err(self.error("the string has no end"));
            };
            out.push_str(&rest[..end]);
            self.at += end + 1;
            if rest.as_bytes()[end] == b'"' {
                return Ok(out);
            }
            let escape = self.peek();
            self.at += 1;
            match escape {
                Some(c @ (b'"' | b'\\' | b'/')) => out.push(char::from(c)),
                Some(b'n') => out.push('\n'),
                Some(b't') => out.push('\t'),
                Some(b'r') => out.push('\r'),
                Some(b'b' | b'f') => out.push(' '),
                Some(b'u') => {
                    let hex = self.text.get(self.at..self.at + 4);
                    let Some(code) = hex.and_then(|hex| u32::from_str_radix(hex, 16).ok()) else {
                        return Err(self.error("the escape needs four hexadecimal digits"));
                    };
                    self.at += 4;
                    // Halves of surrogate pairs: no metric has such characters.
                    out.push(char::from_u32(code).unwrap_or('\u{fffd}'));
                }
                _ => {
                    self.at -= 1;
                    return Err(self.error("no such escape"));
                }
            }
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn expect(&mut self, c: u8) -> Result<(), Error> {
        if self.peek() == Some(c) {
            self.at += 1;
            return Ok(());
        }
        Err(self.error(&format!("`{}` should be here", char::from(c))))
    }

    fn skip_space(&mut self) {
        while self.peek().is_some_and(|c| c.is_ascii_whitespace()) {
            self.at += 1;
        }
    }

    fn error(&self, what: &str) -> Error {
        let before = self.text.get(..self.at).unwrap_or(self.text);
        let line = before.matches('\n').count() + 1;
        let column = before
            .rsplit('\n')
            .next()
            .map_or(0, |line| line.chars().count())
            + 1;
        Error::read(line, column, what)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_panel_and_variable_has_its_name() {
        let text = r#"{
            "title": "Service", "panels": [
                {"title": "A", "targets": [{"expr": "a", "refId": "A"}, {"refId": "B"}]},
                {"title": "Row", "panels": [{"title": "B \u00e4\n", "targets": [{"expr": "b"}]}]},
                {"title": "Logs", "datasource": {"type": "loki"}, "targets": [{"expr": "{x}"}]}
            ],
            "templating": {"list": [
                {"name": "job", "type": "query", "query": {"query": "label_values(c, job)"}},
                {"name": "old", "type": "query", "query": "label_values(d, job)"},
                {"name": "fixed", "type": "custom", "query": "1,2"}
            ]},
            "version": -1.5e3, "editable": true, "x": null, "y": [], "z": {}
        }"#;
        let found = queries(text).unwrap();
        let found: Vec<_> = found.iter().map(|q| (&*q.place, &*q.text)).collect();
        let expected = [
            ("panel `A`", "a"),
            ("panel `B ä\n`", "b"),
            ("variable `job`", "label_values(c, job)"),
            ("variable `old`", "label_values(d, job)"),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn mistakes_have_a_line_and_a_column() {
        for (text, place) in [
            ("{\n  \"a\" 1}", "line 2, column 7"),
            ("[1, ]", "line 1, column 5"),
            ("\"a", "line 1, column 2"),
            ("[\"\\u12\"]", "line 1, column 5"),
            ("[\"\\x\"]", "line 1, column 4"),
            ("[] []", "line 1, column 4"),
            ("", "line 1, column 1"),
        ] {
            let error = queries(text).err().unwrap().to_string();
            assert!(error.starts_with(place), "{text}: {error}");
        }
        assert!(
            queries(&"[".repeat(100_000)).is_err(),
            "no overflow of the stack"
        );
    }
}
