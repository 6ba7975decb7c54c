//! The queries of alerting and recording rules in YAML. Not a parser of the whole language: it knows
//! the forms in which people and tools write rules.

use super::queries::Query;

/// A rule, as far as it was read.
#[derive(Default)]
struct Rule {
    alert: Option<String>,
    record: Option<String>,
    query: Option<String>,
}

impl Rule {
    fn set(&mut self, key: &str, value: String) {
        match key.trim_matches(['"', '\'']) {
            "alert" => self.alert = Some(value),
            "record" => self.record = Some(value),
            "expr" => self.query = Some(value),
            _ => {}
        }
    }

    fn finish(&mut self, found: &mut Vec<Query>) {
        let rule = std::mem::take(self);
        let Some(text) = rule.query else { return };
        let place = match (&rule.alert, &rule.record) {
            (Some(alert), _) => format!("alert `{alert}`"),
            (None, Some(record)) => format!("record `{record}`"),
            (None, None) => "a rule".to_owned(),
        };
        let record = rule.record;
        found.push(Query {
            place,
            text,
            record,
        });
    }
}

/// Returns the queries in the YAML text of rules.
pub(super) fn queries(text: &str) -> Vec<Query> {
    let mut found = Vec::new();
    let mut rule = Rule::default();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        let content = line.trim_start();
        if content.is_empty() || content.starts_with('#') {
            continue;
        }
        let mut column = line.len() - content.len();
        let mut entry = content;
        while let Some(item) = entry.strip_prefix("- ") {
            rule.finish(&mut found);
            column += entry.len() - item.trim_start().len();
            entry = item.trim_start();
        }
        let flow = entry.strip_prefix('{');
        if let Some(fields) = flow.and_then(|flow| flow.trim_end().strip_suffix('}')) {
            for field in fields_of(fields) {
                if let Some((key, value)) = field.split_once(':') {
                    rule.set(key.trim(), scalar(value.trim(), &[]));
                }
            }
            continue;
        }
        let Some((key, value)) = entry.split_once(':') else {
            continue;
        };
        if !value.is_empty() && !value.starts_with([' ', '\t']) {
            continue;
        }
        // The lines of a value are indented more than its key.
        let mut more = Vec::new();
        let takes_more = !value.trim().is_empty() || key == "expr";
        if takes_more {
            let is_more = |line: &&str| {
                line.trim().is_empty() || line.len() - line.trim_start().len() > column
            };
            while let Some(line) = lines.next_if(is_more) {
                more.push(line);
            }
        }
        let value = scalar(value.trim(), &more);
        rule.set(key, value);
    }
    rule.finish(&mut found);
    found
}

/// Splits the inside of braces at the commas that are not in quotes.
fn fields_of(inside: &str) -> Vec<&str> {
    let (mut fields, mut start, mut quote) = (Vec::new(), 0, None);
    for (at, c) in inside.char_indices() {
        match (quote, c) {
            (Some(open), c) if open == c => quote = None,
            (None, '"' | '\'') => quote = Some(c),
            (None, ',') => {
                fields.push(&inside[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    fields.push(&inside[start..]);
    fields
}

/// Returns the text of a scalar from its first line and the lines after it.
fn scalar(first: &str, more: &[&str]) -> String {
    let join = |first: &str| {
        let lines = std::iter::once(first).chain(more.iter().map(|line| line.trim()));
        lines
            .filter(|line| !line.is_empty())
            .collect::<Vec<_>>()
            .join("\n")
    };
    if first.starts_with(['|', '>']) {
        return join("");
    }
    let whole = join(first);
    let quoted = |quote: char| {
        let inner = whole.strip_prefix(quote)?;
        let end = inner.rfind(quote)?;
        Some(&inner[..end])
    };
    if let Some(inner) = quoted('\'') {
        return inner.replace("''", "'");
    }
    if let Some(inner) = quoted('"') {
        return inner
            .replace("\\\"", "\"")
            .replace("\\n", "\n")
            .replace("\\\\", "\\");
    }
    // A comment ends a plain scalar.
    let without_comment = |line: &str| line.split(" #").next().unwrap_or_default().to_owned();
    whole
        .lines()
        .map(without_comment)
        .collect::<Vec<_>>()
        .join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_forms_in_which_rules_are_written() {
        let text = r#"
# rules
groups:
- name: a
  rules:
  - alert: Plain
    expr: a > 1 # too many
    for: 5m
    labels: {severity: page}
    annotations:
      description: |
        expr: not_a_query
        alert: Nor a name
      summary: "{{ $value }}"
  - expr: |
      b
        / c

    alert: Block
  - record: job:d:rate5m
    expr: >-
      rate(
        d[5m])
  - alert: "Quoted"
    expr: "e{x=\"y\"} > 0"
  - {alert: Flow, expr: f}
  - alert: Continued
    expr:
      g
      + h
  - alert: Single
    expr: 'i{x="it''s"}'
- name: b
"#;
        let found: Vec<_> = queries(text)
            .into_iter()
            .map(|q| (q.place, q.text, q.record))
            .collect();
        let alert = |name: &str, text: &str| (format!("alert `{name}`"), text.to_owned(), None);
        let expected = [
            alert("Plain", "a > 1"),
            alert("Block", "b\n/ c"),
            (
                "record `job:d:rate5m`".to_owned(),
                "rate(\nd[5m])".to_owned(),
                Some("job:d:rate5m".to_owned()),
            ),
            alert("Quoted", "e{x=\"y\"} > 0"),
            alert("Flow", "f"),
            alert("Continued", "g\n+ h"),
            alert("Single", "i{x=\"it's\"}"),
        ];
        assert_eq!(found, expected);
    }
}
