//! Results as a page of HTML that needs nothing else: no script, no font, no file.

pub(crate) mod plot;

use std::fmt;
use std::fmt::Write as _;

use crate::compare::Report;
use crate::load::LoadReport;
use crate::machine::Machine;

use plot::Plot;

/// The colors are those of the live page of `tallies`.
const STYLE: &str = include_str!("style.css");

/// A page of HTML with the charts and the numbers of measurements.
///
/// The page is one file. It has no script and loads nothing, it is light or dark as the reader's
/// system is, and it can be printed.
///
/// ```
/// use std::time::Duration;
/// use tallies_bench::{Load, Page};
///
/// let load = Load::new().poisson(5000.0).warm_up(Duration::ZERO).stop_after(500);
/// let report = load.run(|_| std::fs::metadata("."))?;
/// let page = Page::new("File metadata").load("metadata", &report);
/// assert!(page.to_html().starts_with("<!doctype html>"));
/// # Ok::<(), tallies_bench::Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "a page is not written until `to_html` is called"]
pub struct Page {
    title: String,
    sections: Vec<Section>,
}

impl Page {
    /// Creates a page without measurements.
    ///
    /// ```
    /// let page = tallies_bench::Page::new("Requests & answers");
    /// assert!(page.to_html().contains("Requests &amp; answers"));
    /// ```
    pub fn new(title: impl Into<String>) -> Self {
        Self {
            title: title.into(),
            sections: Vec::new(),
        }
    }

    /// Adds a load: the distribution of its latencies, with the band of their intervals; their
    /// quantiles over time; its schedule lag; and the numbers of its text.
    ///
    /// ```
    /// use tallies_bench::{Load, Page};
    ///
    /// let load = Load::new().warm_up(std::time::Duration::ZERO).stop_after(100);
    /// let report = load.run(|_| std::hint::black_box(()))?;
    /// let page = Page::new("Loads").load("closed", &report).load("the same", &report);
    /// # let _ = page;
    /// # Ok::<(), tallies_bench::Error>(())
    /// ```
    pub fn load(self, name: &str, report: &LoadReport) -> Self {
        self.section(report.section(name))
    }

    /// Adds comparisons, as rows of one chart: the interval of each effect beside that of its
    /// control, the band within which the candidates count as the same, and the limit.
    ///
    /// ```no_run
    /// use tallies_bench::{Page, compare::Compare};
    ///
    /// let (old, new) = ("target/old/parse".as_ref(), "target/new/parse".as_ref());
    /// let reports = Compare::new().programs(old, new, None)?;
    /// std::fs::write("parse.html", Page::new("parse").comparisons(&reports).to_html())?;
    /// # Ok::<(), tallies_bench::Error>(())
    /// ```
    pub fn comparisons(self, reports: &[Report]) -> Self {
        self.section(crate::compare::section(reports))
    }

    pub(crate) fn section(mut self, section: Section) -> Self {
        self.sections.push(section);
        self
    }

    /// Returns the text of the page.
    ///
    /// ```
    /// let page = tallies_bench::Page::new("Nothing yet");
    /// assert!(page.to_html().ends_with("</html>\n"));
    /// ```
    #[must_use]
    pub fn to_html(&self) -> String {
        let title = Escaped(&self.title);
        let section = |section: &Section| format!("<section>\n{}</section>\n", section.html);
        let sections: String = self.sections.iter().map(section).collect();
        // The policy keeps the promise that nothing is loaded, whatever a name contains.
        format!(
            "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <meta http-equiv=\"Content-Security-Policy\" \
             content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
             <title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n\
             <h1>{title}</h1>\n{sections}</body>\n</html>\n"
        )
    }
}

/// The HTML of one measurement. Each method escapes the text that it adds.
#[derive(Clone, Debug)]
pub(crate) struct Section {
    html: String,
}

impl Section {
    pub(crate) fn new(title: &str) -> Self {
        Self {
            html: format!("<h2>{}</h2>\n", Escaped(title)),
        }
    }

    pub(crate) fn line(mut self, text: &str) -> Self {
        let _ = writeln!(self.html, "<p>{}</p>", Escaped(text));
        self
    }

    /// Adds what the reader must not miss.
    pub(crate) fn notes(mut self, notes: &[String]) -> Self {
        for note in notes {
            let _ = writeln!(self.html, "<p class=\"note\">{}</p>", Escaped(note));
        }
        self
    }

    /// Adds a chart. The legend has the class of each line, and its name.
    pub(crate) fn chart(mut self, title: &str, legend: &[(&str, &str)], plot: Plot) -> Self {
        let legend = legend.iter();
        let legend: String = legend
            .map(|(class, name)| format!("<li><i class=\"{class}\"></i>{}</li>", Escaped(name)))
            .collect();
        let (shown, svg) = (Escaped(title), plot.svg(title));
        let _ = writeln!(
            self.html,
            "<figure>\n<figcaption>{shown}<ul>{legend}</ul></figcaption>\n{svg}\n</figure>"
        );
        self
    }

    /// Adds a table whose rows begin with a name.
    pub(crate) fn table(mut self, head: &[&str], rows: impl Iterator<Item = Vec<String>>) -> Self {
        let head = row("th", head.iter().copied());
        let rows = rows.map(|cells| row("td", cells.iter().map(String::as_str)));
        let rows: String = rows.collect();
        let _ = write!(
            self.html,
            "<div><table>\n<thead>{head}</thead>\n<tbody>\n{rows}</tbody>\n</table></div>\n"
        );
        self
    }

    /// Adds facts of the measurement, and those of the machine.
    pub(crate) fn facts(
        mut self,
        facts: &[(&'static str, String)],
        machine: Option<&Machine>,
    ) -> Self {
        let facts = facts.iter().cloned();
        let facts: String = facts
            .chain(machine.into_iter().flat_map(Machine::facts))
            .map(|(name, value)| format!("<dt>{name}</dt><dd>{}</dd>\n", Escaped(&value)))
            .collect();
        let _ = write!(self.html, "<dl>\n{facts}</dl>\n");
        self
    }
}

fn row<'a>(tag: &str, cells: impl Iterator<Item = &'a str>) -> String {
    let cells = cells.map(|cell| format!("<{tag}>{}</{tag}>", Escaped(cell)));
    format!("<tr>{}</tr>\n", cells.collect::<String>())
}

/// Text of which nothing is markup, neither between tags nor in a quoted attribute.
struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|character| match character {
            '&' => f.write_str("&amp;"),
            '<' => f.write_str("&lt;"),
            '>' => f.write_str("&gt;"),
            '"' => f.write_str("&quot;"),
            '\'' => f.write_str("&#39;"),
            other => f.write_char(other),
        })
    }
}

#[cfg(test)]
mod tests;
