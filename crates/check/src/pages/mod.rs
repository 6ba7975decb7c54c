//! The reader of expositions: parses a page into a snapshot. It is strict: anything that the format
//! forbids is an error that names the position.
//!
//! The reader goes through a page line by line. A family is complete when a line of another family
//! follows, and only then it enters the snapshot. Time and memory are proportional to the size of
//! the page.

mod composite;
mod family;
mod line;
mod number;
mod sample;
mod series;

use std::borrow::Cow;
use std::collections::HashMap;
use std::time::SystemTime;

use tallies::Error;
use tallies::snapshot::{Family, Snapshot};
use tallies_names::Printable;

use family::{Part, PartialFamily};
use line::Line;
use sample::{Sample, SampleValue};

/// Parses a page as OpenMetrics if its last line is `# EOF`, and as text otherwise. A page of
/// OpenMetrics is version 2.0 if it has a composite value or a start time, and 1.0 otherwise.
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
/// See [`read_open_metrics`], [`read_open_metrics_2`] and [`read_text`]. Call one of them where the
/// format is known, from a Content-Type for example: a page of version 2.0 that has only numbers
/// looks like one of 1.0.
///
/// # Errors
///
/// Returns the errors of the function for the format of the page.
pub fn read(page: impl AsRef<[u8]>) -> Result<Snapshot, Error> {
    let page = page.as_ref();
    let body = page.strip_suffix(b"\n").unwrap_or(page);
    let last = body.rsplit(|b| *b == b'\n').next();
    match last {
        Some(b"# EOF") if is_open_metrics_2(page) => read_open_metrics_2(page),
        Some(b"# EOF") => read_open_metrics(page),
        _ => read_text(page),
    }
}

/// Returns whether a page has a sample that only OpenMetrics 2.0 has. A sample that looks like one,
/// but is broken, counts.
fn is_open_metrics_2(page: &[u8]) -> bool {
    let text = std::str::from_utf8(page).unwrap_or_default();
    text.lines().any(|line| {
        let has = |mark: &&str| line.contains(*mark);
        if line.starts_with('#') || !["{count:", "{gcount:", " st@"].iter().any(has) {
            return false;
        }
        let sample = Sample::read(&mut Line::new(line, Dialect::OpenMetrics2));
        sample.map_or(true, |sample| {
            sample.start.is_some() || matches!(sample.value, SampleValue::Composite(_))
        })
    })
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
/// - Info and state sets are gauges. Samples without a type are of an unknown [`Kind`].
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
///
/// [`Kind`]: tallies::snapshot::Kind
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

/// Parses a page in OpenMetrics 2.0 (release candidate 0) into a snapshot.
///
/// ```
/// use tallies::snapshot::Value;
///
/// let page = "# TYPE sizes histogram\n\
///     sizes {count:3,sum:9.5,schema:0,zero_threshold:0,zero_count:0,positive_spans:[1:2],\
///     positive_buckets:[1,2]} st@1520430000.123 # {trace_id=\"1f\"} 3.5 1520430000.5\n# EOF\n";
/// let read = tallies_check::read_open_metrics_2(page)?;
/// let sizes = read.family("sizes").unwrap();
/// let Value::Histogram(value) = sizes.value(0) else { panic!() };
/// assert_eq!(value.native().unwrap().positive(), [(1, 1), (2, 2)]);
/// assert!(sizes.created(0).is_some());
/// assert_eq!(sizes.exemplars(0).count(), 1);
/// # Ok::<(), tallies::Error>(())
/// ```
///
/// Like [`read_open_metrics`], with exponential buckets, and with every name and unit as it is on
/// the page:
///
/// - A series may have several samples, with ascending timestamps. The snapshot has the last one.
/// - A family without a type is of the kind that its values show: with fields, it is a histogram, a
///   gauge histogram or a summary.
/// - Each exemplar belongs to the bucket of its value. Exemplars whose labels have more than 128
///   characters are left out.
///
/// # Errors
///
/// Returns an error in the cases of [`read_open_metrics`], for fields that are missing, out of
/// order or contradict each other, and for exemplars without a timestamp.
///
/// Valid pages can have what a snapshot cannot hold, and this is an error, too: fractions of
/// observations, buckets that differ within a family, a label `le` of a histogram with exponential
/// buckets only, and names with a quote, a backslash or a line feed. So is a backslash that begins
/// none of the three escape sequences.
///
/// Source: the OpenMetrics specification, version 2.0.0-rc0.
pub fn read_open_metrics_2(page: impl AsRef<[u8]>) -> Result<Snapshot, Error> {
    read_as(page.as_ref(), Dialect::OpenMetrics2)
}

/// The format of a page.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Dialect {
    /// The text formats 0.0.4 and 1.0.0.
    #[default]
    Text,
    /// OpenMetrics 1.0.
    OpenMetrics,
    /// OpenMetrics 2.0.
    OpenMetrics2,
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
        let (line, what) = (None, what.into());
        Self { line, offset, what }
    }

    fn in_line(line: usize, what: impl Into<String>) -> Self {
        let (line, offset, what) = (Some(line), 0, what.into());
        Self { line, offset, what }
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
    let shown: String = text.chars().take(SHOWN).collect();
    let more = if shown.len() < text.len() { "…" } else { "" };
    format!("`{}{more}`", Printable(&shown))
}

fn read_as(page: &[u8], dialect: Dialect) -> Result<Snapshot, Error> {
    let beginning = page.utf8_chunks().next();
    let text = beginning.as_ref().map_or("", |chunk| chunk.valid());
    if let Some(byte) = beginning.and_then(|chunk| chunk.invalid().first()) {
        let line = text.rsplit('\n').next().unwrap_or_default();
        let number = text.bytes().filter(|b| *b == b'\n').count() + 1;
        let what = format!("found the byte {byte:#04x}, which is not valid UTF-8 here");
        return Err(Fault::new(line.len(), what).error(number, line));
    }
    let mut page = PageReader {
        dialect,
        ..PageReader::default()
    };
    let (mut number, mut last) = (0, "");
    for line in text.split_inclusive('\n') {
        number += 1;
        last = line;
        let line = line.strip_suffix('\n').unwrap_or(line);
        let read = page.line(number, line);
        read.map_err(|fault| fault.error(number, line))?;
    }
    let read = page.finish(last);
    read.map_err(|fault| fault.error(number.max(1), last))
}

/// The state of the reader within a page.
#[derive(Default)]
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
        let is_text = self.dialect == Dialect::Text;
        if let (false, Some(before)) = (is_text, text.strip_suffix('\r')) {
            let what = "OpenMetrics allows no carriage return at the end of a line";
            return Err(Fault::new(before.len(), what));
        }
        match (is_text, line.rest()) {
            (true, "") => Ok(()),
            (false, "") => line.fault("OpenMetrics allows no empty lines"),
            (false, "# EOF") => {
                self.ended = true;
                Ok(())
            }
            _ if line.skip("#") => self.comment(number, line),
            _ => self.sample(number, line),
        }
    }

    /// Reads a line with a sample.
    fn sample(&mut self, number: usize, mut line: Line<'a>) -> Result<(), Fault> {
        let sample = Sample::read(&mut line)?;
        self.taken = self.taken.max(sample.time);
        let part = self.current.as_ref();
        let part = part.and_then(|current| current.part(&sample.name));
        let family = match &mut self.current {
            Some(current) if part.is_some() => current,
            Some(current) if current.name == sample.name => {
                return Err(Fault::new(sample.offset, current.suffix_message()));
            }
            _ => self.begin(sample.name.clone(), number, sample.offset)?,
        };
        family.sample(number, sample, part.unwrap_or(Part::Value))
    }

    /// Reads the rest of a line that starts with `#`.
    fn comment(&mut self, number: usize, mut line: Line<'a>) -> Result<(), Fault> {
        let is_text = self.dialect == Dialect::Text;
        match self.dialect {
            Dialect::Text => line.blanks(),
            _ => line.gap("HELP, TYPE or UNIT")?,
        }
        let offset = line.offset;
        let word = line.token();
        match word {
            "HELP" | "TYPE" => {}
            "UNIT" if !is_text => {}
            _ if is_text => return Ok(()),
            _ => {
                let what =
                    "OpenMetrics allows only HELP, TYPE, UNIT and EOF after `#`, and no comments";
                return Err(Fault::new(offset, format!("found {}; {what}", show(word))));
            }
        }
        line.gap("the family's name")?;
        let offset = line.offset;
        let name = line.name("a family's name", true)?;
        let family = match &mut self.current {
            Some(current) if current.name == name => current,
            _ => self.begin(name, number, offset)?,
        };
        if family.has_samples() {
            let name = show(&family.name);
            let what = format!("{word} of {name} has to come before its samples");
            return Err(Fault::new(offset, what));
        }
        match word {
            // In text, an empty help may be left out together with the blank. All blanks but the
            // first belong to the help.
            "HELP" if is_text && line.rest().is_empty() => {}
            "HELP" => line.blank("the help")?,
            "TYPE" => line.gap("the type")?,
            _ => line.gap("the unit")?,
        }
        family.describe(word, line)
    }

    /// Completes the current family and begins another.
    fn begin(
        &mut self,
        name: Cow<'a, str>,
        number: usize,
        offset: usize,
    ) -> Result<&mut PartialFamily<'a>, Fault> {
        self.close()?;
        if let Some(first) = self.reserved_names.insert(name.clone(), number) {
            let what = format!(
                "{} belongs to the family that began in line {first}: the lines of a family have to \
                 be adjacent, and no other family may use its sample names",
                show(&name)
            );
            return Err(Fault::new(offset, what));
        }
        let family = PartialFamily::new(name, number, self.dialect);
        Ok(self.current.insert(family))
    }

    /// Completes the current family, and reserves the names of its samples.
    fn close(&mut self) -> Result<(), Fault> {
        let Some(current) = self.current.take() else {
            return Ok(());
        };
        for name in current.sample_names().filter(|name| *name != current.name) {
            if let Some(first) = self.reserved_names.get(&*name) {
                let (family, name) = (show(&current.name), show(&name));
                let what = format!(
                    "family {family} has samples {name}, and so has the family that began in line {first}"
                );
                return Err(Fault::in_line(current.line, what));
            }
            self.reserved_names.insert(name.into(), current.line);
        }
        self.families.push(current.into_family()?);
        Ok(())
    }

    /// Checks the end of the page, and returns the snapshot.
    fn finish(mut self, last: &str) -> Result<Snapshot, Fault> {
        match self.dialect {
            Dialect::Text if !last.is_empty() && !last.ends_with('\n') => {
                let what = "the last line has to end in a line feed";
                return Err(Fault::new(last.len(), what));
            }
            Dialect::OpenMetrics | Dialect::OpenMetrics2 if !self.ended => {
                let end = last.trim_end_matches('\n').len();
                let what = "the page is cut off: its last line has to be `# EOF`";
                return Err(Fault::new(end, what));
            }
            _ => {}
        }
        self.close()?;
        let taken = self.taken.unwrap_or(SystemTime::UNIX_EPOCH);
        Snapshot::new(self.families, taken).map_err(|error| Fault::in_line(1, error.to_string()))
    }
}
