//! The catalogue as Markdown, JSON and a page.

use std::fmt::Write;

use serde::{Serialize, Serializer};
use serde_json::{Value, json};
use tallies::snapshot::catalogue::{Catalogue, Declared, Label};

/// Returns the catalogue as a Markdown document, with a section for each family.
///
/// The document has no line numbers, so it changes only if a family does.
///
/// ```
/// let registry = tallies::Registry::new();
/// registry.counter("jobs_total", "Jobs done.")?;
/// let document = tallies_check::to_markdown(&registry.catalogue());
/// assert!(document.contains("\n## `jobs_total`\n\nCounter. Jobs done.\n"));
/// # Ok::<(), tallies::Error>(())
/// ```
#[must_use]
pub fn to_markdown(catalogue: &Catalogue) -> String {
    let mut out = "# Metrics\n".to_owned();
    for family in catalogue.families() {
        section(&mut out, family);
    }
    out
}

/// Returns the catalogue as JSON: a list of objects with the fields of [`Declared`]. Empty fields
/// are left out.
///
/// ```
/// let registry = tallies::Registry::new();
/// registry.counter("jobs_total", "Jobs done.")?;
/// let json = tallies_check::to_json(&registry.catalogue());
/// assert!(json.starts_with("[{\"name\":\"jobs_total\",\"kind\":\"counter\""));
/// # Ok::<(), tallies::Error>(())
/// ```
#[must_use]
pub fn to_json(catalogue: &Catalogue) -> String {
    let objects: Vec<_> = catalogue.families().iter().map(Object).collect();
    // Texts and finite numbers: this cannot fail.
    serde_json::to_string(&objects).unwrap_or_default() + "\n"
}

/// Returns the catalogue as an HTML page without scripts and styles.
///
/// ```
/// let page = tallies_check::to_html(&tallies::catalogue());
/// assert!(page.starts_with("<!DOCTYPE html>"));
/// ```
#[must_use]
pub fn to_html(catalogue: &Catalogue) -> String {
    let mut out = "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
                   <title>Metrics</title></head><body>\n<h1>Metrics</h1>\n<table>\n<tr>\
                   <th>Name</th><th>Kind</th><th>Labels</th><th>Help</th><th>Details</th>\
                   <th>Declared in</th></tr>\n"
        .to_owned();
    for family in catalogue.families() {
        let cells = [
            format!("<code>{}</code>", escaped(&family.name)),
            escaped(&family.kind.to_string()),
            escaped(&labels(family)),
            escaped(&family.help),
            escaped(&details(family).join("; ")),
            escaped(&place(family)),
        ];
        let cells = cells.map(|cell| format!("<td>{cell}</td>")).concat();
        let _ = writeln!(out, "<tr id=\"{}\">{cells}</tr>", escaped(&family.name));
    }
    out.push_str("</table>\n</body></html>\n");
    out
}

fn section(out: &mut String, family: &Declared) {
    let mut kind = family.kind.to_string();
    kind[..1].make_ascii_uppercase();
    let help = markdown(&family.help);
    let space = if help.is_empty() { "" } else { " " };
    let name = code(&family.name);
    let _ = write!(out, "\n## {name}\n\n{kind}.{space}{help}\n\n");
    if !family.labels.is_empty() {
        let _ = writeln!(out, "- Labels: {}", labels(family));
    } else if family.any_labels {
        out.push_str("- Labels: any\n");
    }
    for line in details(family) {
        let _ = writeln!(out, "- {line}");
    }
    let _ = writeln!(out, "- Declared in {}", place(family));
}

/// Returns texts of items, separated by commas.
fn joined<T>(items: &[T], text: impl Fn(&T) -> String) -> String {
    items.iter().map(text).collect::<Vec<_>>().join(", ")
}

/// Returns the labels with their values, in code quotes.
fn labels(family: &Declared) -> String {
    joined(&family.labels, |label| match &label.values[..] {
        [] => code(&label.name),
        values => {
            let values = joined(values, |value| code(value));
            format!("{} ({values})", code(&label.name))
        }
    })
}

/// Returns what only some families have, as phrases.
fn details(family: &Declared) -> Vec<String> {
    let constant = |(name, value): &(String, String)| code(&format!("{name}=\"{value}\""));
    let objective = |(phi, error): &(f64, f64)| format!("{} ± {}", number(*phi), number(*error));
    let bounds = joined(&family.bounds, |bound| number(*bound));
    let dropped = joined(&family.dropped, |name| code(name));
    let schema = family.schema.map(|schema| schema.to_string());
    let seconds = family.window.map(|window| number(window.as_secs_f64()));
    let window = seconds.map(|seconds| format!("{seconds} seconds"));
    let limit = family.limit.map(|limit| format!("{limit} series"));
    let phrases = [
        ("Unit:", family.unit.clone()),
        ("Constant labels:", joined(&family.constant, constant)),
        ("Buckets:", bounds),
        ("Exponential buckets: schema", schema.unwrap_or_default()),
        ("Objectives:", joined(&family.objectives, objective)),
        ("Window:", window.unwrap_or_default()),
        ("At most", limit.unwrap_or_default()),
        ("Labels dropped by a view:", dropped),
    ];
    let known = phrases.iter().filter(|(_, text)| !text.is_empty());
    let known = known.map(|(what, text)| format!("{what} {text}"));
    let off = family.off.then(|| "Switched off by a view".to_owned());
    known.chain(off).collect()
}

/// Returns where the family is declared, without the line.
fn place(family: &Declared) -> String {
    let mut place = format!("`{}`", family.file);
    for (what, name) in [("crate", &family.krate), ("collector", &family.collector)] {
        place.extend(name.iter().map(|name| format!(", {what} `{name}`")));
    }
    place
}

/// A family as [`to_json`] writes it.
struct Object<'a>(&'a Declared);

impl Serialize for Object<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let family = self.0;
        let label = |Label { name, values, .. }: &Label| match values.is_empty() {
            true => json!({ "name": name }),
            false => json!({ "name": name, "values": values }),
        };
        let labels: Vec<Value> = family.labels.iter().map(label).collect();
        let seconds = family.window.map(|window| window.as_secs_f64());
        let fields = [
            ("name", json!(family.name)),
            ("kind", json!(family.kind.to_string())),
            ("help", json!(family.help)),
            ("unit", json!(family.unit)),
            ("labels", json!(labels)),
            ("any_labels", json!(family.any_labels)),
            ("constant", json!(family.constant)),
            ("dropped", json!(family.dropped)),
            ("bounds", json!(family.bounds)),
            ("schema", json!(family.schema)),
            ("objectives", json!(family.objectives)),
            ("window", json!(seconds)),
            ("limit", json!(family.limit)),
            ("off", json!(family.off)),
            ("collector", json!(family.collector)),
            ("crate", json!(family.krate)),
            ("file", json!(family.file)),
            ("line", json!(family.line)),
        ];
        let empty = [Value::Null, json!(false), json!(""), json!([])];
        let is_written = |(name, value): &(&str, Value)| {
            ["labels", "file"].contains(name) || !empty.contains(value)
        };
        serializer.collect_map(fields.into_iter().filter(is_written))
    }
}

/// Formats a finite number as people do: 10, 0.005, 1e-9.
fn number(x: f64) -> String {
    let text = format!("{x:?}");
    text.strip_suffix(".0").map_or(text.clone(), str::to_owned)
}

/// Escapes a help text for Markdown, as one line.
fn markdown(text: &str) -> String {
    let text = text.replace("\r\n", " ").replace(['\n', '\r'], " ");
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' | '*' | '_' | '[' | ']' | '`' => out.extend(['\\', c]),
            '<' => out.push_str("&lt;"),
            '&' => out.push_str("&amp;"),
            c => out.push(c),
        }
    }
    out
}

/// Returns a text in code quotes for Markdown, as one line. Nothing can be escaped there, so a text
/// with backticks has longer quotes.
fn code(text: &str) -> String {
    let text = text.replace('\n', "\\n").replace('\r', "\\r");
    let backticks = text.split(|c| c != '`').map(str::len).max();
    match backticks.unwrap_or(0) {
        0 => format!("`{text}`"),
        n => {
            let quotes = "`".repeat(n + 1);
            format!("{quotes} {text} {quotes}")
        }
    }
}

/// Escapes a text for HTML, also in an attribute.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_from_outside_stay_on_one_line_and_in_their_quotes() {
        assert_eq!(markdown("one\r\ntwo\rthree\nfour\r"), "one two three four ");
        assert_eq!(code("a"), "`a`");
        assert_eq!(code("a\r\nb"), r"`a\r\nb`");
        assert_eq!(code("a``b`c"), "``` a``b`c ```");
    }
}
