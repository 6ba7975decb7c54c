//! Dashboards and rules, checked against a catalogue.

use std::fmt;

use serde_json::Value;
use tallies::Error;
use tallies_names::capture;

use crate::Check;
use crate::promql::{Selector, selectors};

/// Series that Prometheus makes itself.
const OWN: &[&str] = &["up", "ALERTS", "ALERTS_FOR_STATE", "scrape_*", "tallies_*"];

/// A query of a dashboard or a rule.
struct Query {
    /// The panel or rule: ``panel `Requests` ``.
    place: String,
    text: String,
    /// The name of the series that a recording rule makes.
    record: Option<String>,
}

/// A panel or a rule that asks for what no family exports. `Display` writes a sentence about it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Missing {
    /// The panel, variable, alert or record, such as ``panel `Requests` ``.
    pub place: String,
    /// The query.
    pub query: String,
    /// The name in the query.
    pub name: String,
    /// The mistake, and what may be meant.
    pub why: String,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} asks for `{}`: {}", self.place, self.name, self.why)
    }
}

impl Check {
    /// Checks the queries of a dashboard (JSON, as Grafana exports it) or of alerting and recording
    /// rules (YAML or JSON).
    ///
    /// It reports names that no family exports, labels that a view drops, and values that a label
    /// of enums does not have. Names with dashboard variables in them are not checked. Known are
    /// also the names of recording rules in the same text, those of [`also`](Self::also), and those
    /// that Prometheus and tallies make themselves. It does not read all of PromQL, but what rules
    /// and dashboards are written in, and it does not check the grammar: `[[[[` asks for nothing,
    /// so it is fine. `promtool check rules` finds that.
    ///
    /// ```
    /// let registry = tallies::Registry::new();
    /// registry.counter("jobs_total", "Jobs done.")?;
    /// let check = tallies_check::Check::new(registry.catalogue());
    /// check.queries("{\"title\": \"Jobs\", \"expr\": \"rate(jobs_total[5m])\"}")?;
    /// # Ok::<(), tallies::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// - Queries that ask for what is missing: one line for each panel or rule, and name.
    /// - A text without queries, and one that is neither JSON nor YAML.
    pub fn queries(&self, text: &str) -> Result<(), Error> {
        let missing = self.missing(text)?;
        if missing.is_empty() {
            return Ok(());
        }
        let lines: Vec<_> = missing.iter().map(Missing::to_string).collect();
        Err(Error::new(lines.join("\n")))
    }

    /// Returns what [`queries`](Self::queries) reports, as data.
    ///
    /// ```
    /// let check = tallies_check::Check::new(tallies::catalogue());
    /// let missing = check.missing("groups:\n- rules:\n  - alert: Gone\n    expr: gone == 0\n")?;
    /// assert_eq!((&*missing[0].place, &*missing[0].name), ("alert `Gone`", "gone"));
    /// # Ok::<(), tallies::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// A text without queries, and one that is neither JSON nor YAML.
    pub fn missing(&self, text: &str) -> Result<Vec<Missing>, Error> {
        let mut queries = Vec::new();
        collect(&parse(text)?, "the text", &mut queries);
        if queries.is_empty() {
            let why = "the text has no queries; a dashboard or rules have fields `expr`";
            return Err(Error::new(why));
        }
        let records = queries.iter().filter_map(|query| query.record.as_deref());
        let records: Vec<_> = records.collect();
        let mut all: Vec<Missing> = Vec::new();
        for query in &queries {
            let selectors = selectors(&query.text).into_iter();
            for selector in selectors.filter(|asked| !records.contains(&&*asked.name)) {
                for why in self.why_missing(&selector) {
                    let missing = Missing {
                        place: query.place.clone(),
                        query: query.text.clone(),
                        name: selector.name.clone(),
                        why,
                    };
                    if !all.contains(&missing) {
                        all.push(missing);
                    }
                }
            }
        }
        Ok(all)
    }

    fn why_missing(&self, selector: &Selector) -> Vec<String> {
        let name = &*selector.name;
        let Some(family) = self.catalogue.with_sample(name) else {
            let others = self.others.iter().map(|other| &**other);
            let mut others = others.chain(OWN.iter().copied());
            if others.any(|other| capture(other, name).is_some()) {
                return Vec::new();
            }
            let similar = self.catalogue.similar(name);
            let hint = similar.map(|other| format!("; `{other}` is similar"));
            return vec![format!("no family exports it{}", hint.unwrap_or_default())];
        };
        if family.off {
            return vec!["a view switches the family off".to_owned()];
        }
        let mut why = Vec::new();
        for (label, operator, value) in &selector.matchers {
            if family.dropped.contains(label) {
                why.push(format!("a view drops its label `{label}`"));
            }
            let is_plain = operator == "=" && !value.is_empty() && !value.contains(['$', '[']);
            why.extend(family.why_never(label, value).filter(|_| is_plain));
        }
        why
    }
}

/// Reads JSON or YAML.
fn parse(text: &str) -> Result<Value, Error> {
    if text.trim_start().starts_with(['{', '[']) {
        return serde_json::from_str(text).map_err(|error| Error::new(error.to_string()));
    }
    serde_saphyr::from_str(text).map_err(|error| Error::new(error.to_string()))
}

/// Appends the queries in a value. `place` is the name of the panel or rule around it.
fn collect(value: &Value, place: &str, found: &mut Vec<Query>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| collect(item, place, found)),
        Value::Object(fields) if is_prometheus(value) => {
            let place = place_of(value).unwrap_or_else(|| place.to_owned());
            let variable = format!("variable `{}`", text_of(value, "name"));
            let is_variable = text_of(value, "type") == "query" && value["name"].is_string();
            let query = &value["query"];
            let of_variable = query["query"].as_str().or(query.as_str());
            let of_variable = of_variable.filter(|_| is_variable);
            for (place, text) in [(&place, value["expr"].as_str()), (&variable, of_variable)] {
                found.extend(text.map(|text| Query {
                    place: place.clone(),
                    text: text.to_owned(),
                    record: value["record"].as_str().map(str::to_owned),
                }));
            }
            let inner = fields.values();
            inner.for_each(|value| collect(value, &place, found));
        }
        _ => {}
    }
}

/// Returns a field of an object, or an empty text if it is missing or no text.
fn text_of<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_default()
}

/// Returns the name of a panel or rule.
fn place_of(value: &Value) -> Option<String> {
    let title = match value.get("panels") {
        Some(_) => "dashboard",
        None => "panel",
    };
    let kinds = [("alert", "alert"), ("record", "record"), ("title", title)];
    let named = kinds.map(|(field, what)| (what, text_of(value, field)));
    let (what, name) = named.into_iter().find(|(_, name)| !name.is_empty())?;
    Some(format!("{what} `{name}`"))
}

/// Returns whether a panel or target can be one of Prometheus: it names no other kind of data
/// source.
fn is_prometheus(value: &Value) -> bool {
    let kind = text_of(&value["datasource"], "type");
    kind.is_empty() || kind.contains("prometheus") || kind == "datasource" || kind.contains('$')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queries(text: &str) -> Vec<(String, String, Option<String>)> {
        let mut found = Vec::new();
        collect(&parse(text).unwrap(), "the text", &mut found);
        let parts = |query: Query| (query.place, query.text, query.record);
        found.into_iter().map(parts).collect()
    }

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
        let mut found = queries(text);
        found.sort();
        let expected = [
            ("panel `A`", "a"),
            ("panel `B ä\n`", "b"),
            ("variable `job`", "label_values(c, job)"),
            ("variable `old`", "label_values(d, job)"),
        ];
        let expected = expected.map(|(place, text)| (place.to_owned(), text.to_owned(), None));
        assert_eq!(found, expected);
    }

    #[test]
    fn mistakes_have_a_line_and_a_column() {
        for text in ["{\n  \"a\" 1}", "[1, ]", "\"a", "a: [\n"] {
            let error = parse(text).unwrap_err().to_string();
            assert!(
                error.contains("line ") && error.contains("column "),
                "{error}"
            );
        }
        assert!(
            parse(&"[".repeat(100_000)).is_err(),
            "no overflow of the stack"
        );
    }

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
  - {alert: Flow, expr: f}
  - alert: Continued
    expr:
      g
      + h
  - alert: Single
    expr: 'i{x="it''s"}'
"#;
        let alert = |name: &str, text: &str| (format!("alert `{name}`"), text.to_owned(), None);
        let expected = [
            alert("Plain", "a > 1"),
            alert("Block", "b\n  / c\n"),
            (
                "record `job:d:rate5m`".to_owned(),
                "rate(\n  d[5m])".to_owned(),
                Some("job:d:rate5m".to_owned()),
            ),
            alert("Flow", "f"),
            alert("Continued", "g + h"),
            alert("Single", "i{x=\"it's\"}"),
        ];
        assert_eq!(queries(text), expected);
    }
}
