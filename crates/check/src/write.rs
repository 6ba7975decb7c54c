//! The catalogue as Markdown, JSON and a page.

use std::fmt::Write;

use serde::Serialize;
use tallies::snapshot::catalogue::Catalogue;
use tallies::snapshot::catalogue::{Declared, Label};

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
    let objects: Vec<_> = catalogue.families().iter().map(Object::of).collect();
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
        let _ = write!(out, "<tr id=\"{}\">", escaped(&family.name));
        cells
            .iter()
            .for_each(|cell| _ = write!(out, "<td>{cell}</td>"));
        out.push_str("</tr>\n");
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

/// Returns the labels with their values, in code quotes.
fn labels(family: &Declared) -> String {
    let label = |label: &Label| {
        let values: Vec<_> = label.values.iter().map(|value| code(value)).collect();
        let values = match &values[..] {
            [] => String::new(),
            values => format!(" ({})", values.join(", ")),
        };
        format!("{}{values}", code(&label.name))
    };
    family
        .labels
        .iter()
        .map(label)
        .collect::<Vec<_>>()
        .join(", ")
}

/// Returns what only some families have, as phrases.
fn details(family: &Declared) -> Vec<String> {
    let mut all = Vec::new();
    if !family.unit.is_empty() {
        all.push(format!("Unit: {}", family.unit));
    }
    if !family.constant.is_empty() {
        let pair = |(name, value): &(String, String)| code(&format!("{name}=\"{value}\""));
        let pairs: Vec<_> = family.constant.iter().map(pair).collect();
        all.push(format!("Constant labels: {}", pairs.join(", ")));
    }
    if !family.bounds.is_empty() {
        let bounds: Vec<_> = family.bounds.iter().map(|bound| number(*bound)).collect();
        all.push(format!("Buckets: {}", bounds.join(", ")));
    }
    if let Some(schema) = family.schema {
        all.push(format!("Exponential buckets: schema {schema}"));
    }
    if !family.objectives.is_empty() {
        let one = |(phi, error): &(f64, f64)| format!("{} ± {}", number(*phi), number(*error));
        let objectives: Vec<_> = family.objectives.iter().map(one).collect();
        all.push(format!("Objectives: {}", objectives.join(", ")));
    }
    if let Some(window) = family.window {
        all.push(format!("Window: {} seconds", number(window.as_secs_f64())));
    }
    if let Some(limit) = family.limit {
        all.push(format!("At most {limit} series"));
    }
    if !family.dropped.is_empty() {
        let dropped: Vec<_> = family.dropped.iter().map(|name| code(name)).collect();
        all.push(format!("Labels dropped by a view: {}", dropped.join(", ")));
    }
    if family.off {
        all.push("Switched off by a view".to_owned());
    }
    all
}

/// Returns where the family is declared, without the line.
fn place(family: &Declared) -> String {
    let mut place = format!("`{}`", family.file);
    if let Some(krate) = &family.krate {
        let _ = write!(place, ", crate `{krate}`");
    }
    if let Some(collector) = &family.collector {
        let _ = write!(place, ", collector `{collector}`");
    }
    place
}

/// A family as [`to_json`] writes it.
#[derive(Serialize)]
struct Object<'a> {
    name: &'a str,
    kind: String,
    #[serde(skip_serializing_if = "str::is_empty")]
    help: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    unit: &'a str,
    labels: Vec<ObjectLabel<'a>>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    any_labels: bool,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    constant: &'a [(String, String)],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    dropped: &'a [String],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    bounds: &'a [f64],
    #[serde(skip_serializing_if = "Option::is_none")]
    schema: Option<i8>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    objectives: &'a [(f64, f64)],
    /// Seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    window: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<usize>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    off: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    collector: Option<&'a str>,
    #[serde(rename = "crate", skip_serializing_if = "Option::is_none")]
    krate: Option<&'a str>,
    file: &'a str,
    line: u32,
}

#[derive(Serialize)]
struct ObjectLabel<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    values: &'a [String],
}

impl<'a> Object<'a> {
    fn of(family: &'a Declared) -> Self {
        let label = |label: &'a Label| ObjectLabel {
            name: &label.name,
            values: &label.values,
        };
        Self {
            name: &family.name,
            kind: family.kind.to_string(),
            help: &family.help,
            unit: &family.unit,
            labels: family.labels.iter().map(label).collect(),
            any_labels: family.any_labels,
            constant: &family.constant,
            dropped: &family.dropped,
            bounds: &family.bounds,
            schema: family.schema,
            objectives: &family.objectives,
            window: family.window.map(|window| window.as_secs_f64()),
            limit: family.limit,
            off: family.off,
            collector: family.collector.as_deref(),
            krate: family.krate.as_deref(),
            file: &family.file,
            line: family.line,
        }
    }
}

/// Formats a finite number as people do: 10, 0.005, 1e-9.
fn number(x: f64) -> String {
    let text = format!("{x:?}");
    text.strip_suffix(".0").map_or(text.clone(), str::to_owned)
}

/// Escapes a help text for Markdown, as one line.
fn markdown(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        match c {
            '\r' if rest.as_str().starts_with('\n') => {}
            '\n' | '\r' => out.push(' '),
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
