//! The reader of expositions: parses a page into a snapshot. It is strict: anything that the format
//! forbids is an error that names the position.
//!
//! The reader goes through a page line by line. A family is complete when a line of another family
//! follows, and only then it enters the snapshot. Time and memory are proportional to the size of
//! the page.

mod family;
mod line;
mod number;
mod sample;
mod series;

use std::borrow::Cow;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::time::SystemTime;

use tallies::Error;
use tallies::snapshot::{Family, Kind, Snapshot};

use family::{Part, PartialFamily};
use line::Line;
use sample::Sample;

/// Parses a page as OpenMetrics if its last line is `# EOF`, and as text otherwise.
///
/// ```
/// let registry = tallies::Registry::new();
/// registry.counter("jobs_total", "Jobs done.")?.add(3);
/// let page = tallies::encode::text(&registry.snapshot());
/// let mut read = tallies_check::read(&page)?;
/// assert_eq!(read.get("jobs_total", &[]), Some(3.0));
/// read.merge(&registry.snapshot())?;
/// assert_eq!(read.get("jobs_total", &[]), Some(6.0));
///
/// let error = tallies_check::read("jobs_total 3\njobs_total{a=b} 4\n").unwrap_err();
/// assert!(error.to_string().starts_with("line 2, column 14: found `b} 4`"));
/// # Ok::<(), tallies::Error>(())
/// ```
///
/// See [`read_open_metrics`] and [`read_text`].
///
/// # Errors
///
/// Returns the errors of the function for the format of the page.
pub fn read(page: impl AsRef<[u8]>) -> Result<Snapshot, Error> {
    let page = page.as_ref();
    let body = page.strip_suffix(b"\n").unwrap_or(page);
    let last = body.rsplit(|b| *b == b'\n').next();
    read_as(
        page,
        if last == Some(b"# EOF") {
            Dialect::OpenMetrics
        } else {
            Dialect::Text
        },
    )
}

/// Parses a page in the Prometheus text format 0.0.4, or 1.0.0 with names in quotes, into a
/// snapshot.
///
/// ```
/// let page = "# TYPE up gauge\nup{job=\"a\"} 1 1500\n";
/// let read = tallies_check::read_text(page)?;
/// assert_eq!(read.get("up", &[("job", "a")]), Some(1.0));
/// # Ok::<(), tallies::Error>(())
/// ```
///
/// The snapshot contains what the text contains:
///
/// - Info and state sets are gauges. Samples without a type are [`Kind::Unknown`].
/// - [`Snapshot::taken`] is the latest timestamp of a sample, or the Unix epoch if no sample has
///   one.
/// - A summary keeps the quantiles of the page. It cannot compute others, and it does not merge.
/// - An unknown sum is NaN.
///
/// # Errors
///
/// Returns an error for anything that the format forbids. The message has the line and the column
/// (in characters, from 1), what was found and what would be right.
///
/// A snapshot can hold neither series with different buckets in one family nor fractions of
/// observations, so both are errors.
///
/// The reader is stricter than Prometheus: it rejects families in pieces, duplicate series,
/// histograms that lack lines or whose counts decrease, counters below 0, and infinities in any
/// other spelling than `+Inf` and `-Inf`.
///
/// Source: the exposition formats page of the Prometheus documentation.
pub fn read_text(page: impl AsRef<[u8]>) -> Result<Snapshot, Error> {
    read_as(page.as_ref(), Dialect::Text)
}

/// Parses a page in OpenMetrics 1.0 into a snapshot.
///
/// ```
/// let page = "# TYPE jobs counter\njobs_total 3 # {trace_id=\"1f\"} 1\n# EOF\n";
/// let read = tallies_check::read_open_metrics(page)?;
/// assert_eq!(read.get("jobs_total", &[]), Some(3.0));
/// let jobs = read.family("jobs_total").unwrap();
/// assert_eq!(jobs.exemplars(0).next().unwrap().1.value(), 1.0);
/// # Ok::<(), tallies::Error>(())
/// ```
///
/// Like [`read_text`], with units, exemplars and all kinds. The name of a family is that of its
/// samples: a counter `jobs` with samples `jobs_total` becomes `jobs_total`, and an info `build`
/// becomes `build_info`. So these families merge with those of a registry and with those of a text
/// page.
///
/// # Errors
///
/// Returns an error in the cases of [`read_text`], if the page does not end in `# EOF` because it
/// was cut off, and if a series has a second point: a snapshot holds one point per series.
///
/// Source: the OpenMetrics specification, version 1.0.0.
pub fn read_open_metrics(page: impl AsRef<[u8]>) -> Result<Snapshot, Error> {
    read_as(page.as_ref(), Dialect::OpenMetrics)
}

/// The format of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dialect {
    /// The text formats 0.0.4 and 1.0.0.
    Text,
    /// OpenMetrics 1.0.
    OpenMetrics,
}

/// An error at a position of the page.
#[derive(Debug)]
struct Fault {
    /// The line of the error, if it is not the current line but an earlier one that began the
    /// faulty part.
    line: Option<usize>,
    /// The offset in the line, in bytes.
    offset: usize,
    /// The message.
    what: String,
}

impl Fault {
    fn new(offset: usize, what: impl Into<String>) -> Self {
        Self {
            line: None,
            offset,
            what: what.into(),
        }
    }

    fn in_line(line: usize, what: impl Into<String>) -> Self {
        Self {
            line: Some(line),
            offset: 0,
            what: what.into(),
        }
    }

    /// Converts to an [`Error`]. `number` and `line` are the current line.
    fn error(&self, number: usize, line: &str) -> Error {
        let (line, column) = match self.line {
            Some(line) => (line, 1),
            None => (number, line[..self.offset].chars().count() + 1),
        };
        Error::new(format!("line {line}, column {column}: {}", self.what))
    }
}

/// Quotes input for an error message: at most its first 40 characters, with invisible ones escaped.
fn show(text: &str) -> String {
    const SHOWN: usize = 40;
    let mut shown = String::from("`");
    let mut chars = text.chars();
    for c in chars.by_ref().take(SHOWN) {
        match c {
            '"' | '\'' | '\\' => shown.push(c),
            c => shown.extend(c.escape_debug()),
        }
    }
    shown.push_str(if chars.next().is_some() { "…`" } else { "`" });
    shown
}

fn read_as(page: &[u8], dialect: Dialect) -> Result<Snapshot, Error> {
    let (text, rest) = match std::str::from_utf8(page) {
        Ok(text) => (text, None),
        Err(e) => {
            let (text, rest) = page.split_at(e.valid_up_to());
            // The text before this offset is valid UTF-8.
            (std::str::from_utf8(text).unwrap_or_default(), rest.first())
        }
    };
    if let Some(byte) = rest {
        let line = text.rsplit('\n').next().unwrap_or_default();
        let number = text.bytes().filter(|b| *b == b'\n').count() + 1;
        let what = format!("found the byte {byte:#04x}, which is not valid UTF-8 here");
        return Err(Fault::new(line.len(), what).error(number, line));
    }
    let mut page = PageReader {
        dialect,
        families: Vec::new(),
        reserved_names: HashMap::new(),
        current: None,
        taken: None,
        ended: false,
    };
    let (mut number, mut last) = (0, "");
    for line in text.split_inclusive('\n') {
        number += 1;
        last = line;
        let line = line.strip_suffix('\n').unwrap_or(line);
        page.line(number, line)
            .map_err(|fault| fault.error(number, line))?;
    }
    page.finish(last)
        .map_err(|fault| fault.error(number.max(1), last))
}

/// The state of the reader within a page.
struct PageReader<'a> {
    dialect: Dialect,
    /// The complete families.
    families: Vec<Family>,
    /// The names of all families and of their samples, each with the line in which its family
    /// began.
    reserved_names: HashMap<Cow<'a, str>, usize>,
    /// The current family.
    current: Option<PartialFamily<'a>>,
    /// The latest timestamp of a sample.
    taken: Option<SystemTime>,
    /// Whether `# EOF` was read.
    ended: bool,
}

impl<'a> PageReader<'a> {
    /// Reads a line.
    fn line(&mut self, number: usize, text: &'a str) -> Result<(), Fault> {
        let mut line = Line::new(text, self.dialect);
        if self.ended {
            return line.fault("nothing may follow `# EOF`");
        }
        line.blanks();
        match self.dialect {
            Dialect::Text if line.rest().is_empty() => return Ok(()),
            Dialect::OpenMetrics if text.is_empty() => {
                return line.fault("OpenMetrics allows no empty lines");
            }
            Dialect::OpenMetrics if text == "# EOF" => {
                self.ended = true;
                return Ok(());
            }
            _ => {}
        }
        if line.skip("#") {
            return self.comment(number, line);
        }
        let sample = Sample::read(&mut line)?;
        self.taken = self.taken.max(sample.time);
        let mut part = self
            .current
            .as_ref()
            .and_then(|current| current.part(&sample.name));
        if part.is_none() {
            match &self.current {
                Some(current) if current.name == sample.name => {
                    return Err(Fault::new(sample.offset, current.suffix_message()));
                }
                _ => {}
            }
            self.begin(sample.name.clone(), number, sample.offset)?;
            part = Some(Part::Value);
        }
        self.reserve_names()?;
        match (&mut self.current, part) {
            (Some(current), Some(part)) => current.sample(number, sample, part),
            _ => Ok(()),
        }
    }

    /// Reads the rest of a line that starts with `#`.
    fn comment(&mut self, number: usize, mut line: Line<'a>) -> Result<(), Fault> {
        let is_text = self.dialect == Dialect::Text;
        match self.dialect {
            Dialect::Text => line.blanks(),
            Dialect::OpenMetrics => line.gap("HELP, TYPE or UNIT")?,
        }
        let offset = line.offset;
        let word = line.token();
        match word {
            "HELP" | "TYPE" => {}
            "UNIT" if !is_text => {}
            _ if is_text => return Ok(()),
            _ => {
                return Err(Fault::new(
                    offset,
                    format!(
                        "found {}; OpenMetrics allows only HELP, TYPE, UNIT and EOF after `#`, \
                         and no comments",
                        show(word)
                    ),
                ));
            }
        }
        line.gap("the family's name")?;
        let offset = line.offset;
        let name = line.name("a family's name", true)?;
        let same = self
            .current
            .as_ref()
            .is_some_and(|current| current.name == name);
        if !same {
            self.begin(name, number, offset)?;
        }
        let Some(current) = &mut self.current else {
            return Ok(());
        };
        if current.is_described() {
            return Err(Fault::new(
                offset,
                format!(
                    "{word} of {} has to come before its samples",
                    show(&current.name)
                ),
            ));
        }
        match word {
            // In text, an empty help may be left out together with the blank. All blanks but the
            // first belong to the help.
            "HELP" if is_text && line.rest().is_empty() => {}
            "HELP" => line.blank("the help")?,
            "TYPE" => line.gap("the type")?,
            _ => line.gap("the unit")?,
        }
        current.describe(word, line)
    }

    /// Completes the current family and begins another.
    fn begin(&mut self, name: Cow<'a, str>, number: usize, offset: usize) -> Result<(), Fault> {
        self.close()?;
        match self.reserved_names.entry(name.clone()) {
            Entry::Occupied(first) => Err(Fault::new(
                offset,
                format!(
                    "{} belongs to the family that began in line {}: the lines of a family have \
                     to be adjacent, and no other family may use its sample names",
                    show(&name),
                    first.get()
                ),
            )),
            Entry::Vacant(entry) => {
                entry.insert(number);
                self.current = Some(PartialFamily::new(name, number, self.dialect));
                Ok(())
            }
        }
    }

    /// Fixes the kind of the current family, at its first sample or its end, and reserves the names
    /// of its samples. Does nothing if they are already reserved.
    fn reserve_names(&mut self) -> Result<(), Fault> {
        let Some(current) = &mut self.current else {
            return Ok(());
        };
        if current.is_described() {
            return Ok(());
        }
        current.end_description()?;
        for name in current.sample_names() {
            match self.reserved_names.entry(name.into()) {
                Entry::Occupied(first) => {
                    return Err(Fault::in_line(
                        current.line,
                        format!(
                            "family {} has samples {}, and so has the family that began in line {}",
                            show(&current.name),
                            show(first.key()),
                            first.get()
                        ),
                    ));
                }
                Entry::Vacant(entry) => _ = entry.insert(current.line),
            }
        }
        Ok(())
    }

    /// Completes the current family.
    fn close(&mut self) -> Result<(), Fault> {
        self.reserve_names()?;
        if let Some(current) = self.current.take() {
            self.families.push(current.into_family()?);
        }
        Ok(())
    }

    /// Checks the end of the page, and returns the snapshot.
    fn finish(mut self, last: &str) -> Result<Snapshot, Fault> {
        match self.dialect {
            Dialect::Text if !last.is_empty() && !last.ends_with('\n') => {
                return Err(Fault::new(
                    last.len(),
                    "the last line has to end in a line feed",
                ));
            }
            Dialect::OpenMetrics if !self.ended => {
                let end = last.trim_end_matches('\n').len();
                return Err(Fault::new(
                    end,
                    "the page is cut off: its last line has to be `# EOF`",
                ));
            }
            _ => {}
        }
        self.close()?;
        let taken = self.taken.unwrap_or(SystemTime::UNIX_EPOCH);
        Snapshot::new(self.families, taken).map_err(|error| Fault::in_line(1, error.to_string()))
    }
}

/// Returns the kind that a TYPE line names.
fn kind(word: &str, dialect: Dialect) -> Option<Kind> {
    Some(match (word, dialect) {
        ("counter", _) => Kind::Counter,
        ("gauge", _) => Kind::Gauge,
        ("histogram", _) => Kind::Histogram,
        ("summary", _) => Kind::Summary,
        ("untyped", Dialect::Text) | ("unknown", Dialect::OpenMetrics) => Kind::Unknown,
        ("info", Dialect::OpenMetrics) => Kind::Info,
        ("stateset", Dialect::OpenMetrics) => Kind::StateSet,
        ("gaugehistogram", Dialect::OpenMetrics) => Kind::GaugeHistogram,
        _ => return None,
    })
}
