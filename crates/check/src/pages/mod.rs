//! The reader of expositions: parses a page into a snapshot. It is strict or lenient: what the
//! format forbids is an error that names the position, or a remark.
//!
//! The reader goes through a page line by line. A family is complete when a line of another family
//! follows, and only then it enters the snapshot. A lenient reader sorts the lines by family first,
//! if they are not. Time and memory are proportional to the size of the page.
//!
//! A strict reader is a lenient one that returns its first remark as an error: both are the same
//! code, except that it lets [`Notes`] decide whether to go on.

mod composite;
mod family;
mod line;
mod number;
mod order;
mod remark;
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
use remark::{Notes, Remarks};
pub use remark::{Remark, Scraped};
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
    read_as(page, Dialect::of(page), false).map(Scraped::into_snapshot)
}

/// Parses a page as a scraper does: takes what Prometheus takes, leaves out the lines that cannot
/// be read, and remarks on everything that [`read`] rejects.
///
/// ```
/// let page = "# TYPE a gauge\na{x=\"1\"} nan\nb 1 # no\na{x=\"2\"} 7";
/// let read = tallies_check::read_as_scraped(page, Some("text/plain; version=0.0.4"))?;
/// assert_eq!(read.snapshot().get("a", &[("x", "2")]), Some(7.0));
/// let remarks: Vec<_> = read.remarks().iter().map(|r| (r.position(), r.is_refused())).collect();
/// assert_eq!(
///     remarks,
///     [
///         (Some((2, 10)), false), // The word for NaN.
///         (Some((3, 5)), true),   // A comment after a value.
///         (Some((4, 1)), false),  // Lines of another family are before it.
///         (Some((4, 11)), false), // No line feed.
///     ]
/// );
/// # Ok::<(), tallies::Error>(())
/// ```
///
/// The content type says which format the page has: pass an empty one where an endpoint sends none.
/// Prometheus 3 refuses a page without one that it knows. With `None`, the end of the page says
/// which format it is, as in [`read`].
///
/// The snapshot has:
///
/// - The lines of a family, wherever they are. The first TYPE and HELP hold.
/// - The first of several samples of one series, or the one with the latest timestamp.
/// - Values as they are, also counters below 0. Counts of observations are rounded and, in the
///   buckets of a histogram, made cumulative. Buckets and quantiles are sorted.
/// - The bounds that all series of a histogram have in common, if they differ. A histogram without
///   `+Inf` gets this bucket from its count.
///
/// Use [`read`] in tests: there, a remark is an error. Three things are remarks, and no errors of
/// `read_text`, since the format allows them but Prometheus does not: blanks before a name, further
/// blanks around a type, and timestamps before 1970.
///
/// # Errors
///
/// Returns an error if the page is HTML.
pub fn read_as_scraped(
    page: impl AsRef<[u8]>,
    content_type: Option<&str>,
) -> Result<Scraped, Error> {
    let page = page.as_ref();
    let Some(content_type) = content_type else {
        return read_as(page, Dialect::of(page), true);
    };
    let mut parts = content_type
        .split(';')
        .map(|part| part.trim().to_ascii_lowercase());
    match parts.next().as_deref() {
        Some("text/plain") => read_as(page, Dialect::Text, true),
        Some("application/openmetrics-text") => {
            let is_newer = parts.any(|part| part.starts_with("version=2."));
            let dialect = match is_newer {
                true => Dialect::OpenMetrics2,
                false => Dialect::OpenMetrics,
            };
            read_as(page, dialect, true)
        }
        _ => {
            let mut read = read_as(page, Dialect::of(page), true)?;
            let content_type = match content_type {
                "" => "there is no Content-Type".to_owned(),
                other => format!("the Content-Type is {}", show(other)),
            };
            let what = "it has to be `text/plain; version=0.0.4` or `application/openmetrics-text; \
                        version=1.0.0`, or Prometheus 3 needs a `fallback_scrape_protocol`";
            read.refuse(format!("{content_type}; {what}"));
            Ok(read)
        }
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
        let mut line = Line::new(line, Dialect::OpenMetrics2, Notes::default());
        let sample = Sample::read(&mut line);
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
    read_as(page.as_ref(), Dialect::Text, false).map(Scraped::into_snapshot)
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
    read_as(page.as_ref(), Dialect::OpenMetrics, false).map(Scraped::into_snapshot)
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
    read_as(page.as_ref(), Dialect::OpenMetrics2, false).map(Scraped::into_snapshot)
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

impl Dialect {
    /// Returns the format that the end of a page shows.
    fn of(page: &[u8]) -> Self {
        let body = page.strip_suffix(b"\n").unwrap_or(page);
        match body.rsplit(|b| *b == b'\n').next() {
            Some(b"# EOF") if is_open_metrics_2(page) => Self::OpenMetrics2,
            Some(b"# EOF") => Self::OpenMetrics,
            _ => Self::Text,
        }
    }
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
    /// Whether Prometheus refuses the page because of it.
    is_refused: bool,
    /// Whether a quote is open at the end of the line.
    is_open: bool,
}

impl Fault {
    fn new(offset: usize, what: impl Into<String>) -> Self {
        Self {
            line: None,
            offset,
            what: what.into(),
            is_refused: true,
            is_open: false,
        }
    }

    fn in_line(line: usize, what: impl Into<String>) -> Self {
        Self {
            line: Some(line),
            ..Self::new(0, what)
        }
    }

    /// Says that Prometheus takes it.
    fn taken(self) -> Self {
        Self {
            is_refused: false,
            ..self
        }
    }

    /// Returns the line and the column. `number` and `line` are the current line.
    fn position(&self, number: usize, line: &str) -> (usize, usize) {
        match self.line {
            Some(line) => (line, 1),
            None => (number, line[..self.offset].chars().count() + 1),
        }
    }

    /// Converts to an [`Error`]. `number` and `line` are the current line.
    fn error(&self, number: usize, line: &str) -> Error {
        let (line, column) = self.position(number, line);
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

/// The most line feeds in a sample whose label values have them, against pages that consist of open
/// quotes.
const MOST_LINE_FEEDS: usize = 8;

/// The most open quotes of a page after which further lines are looked at.
const MOST_OPEN_QUOTES: usize = 1000;

fn read_as(page: &[u8], dialect: Dialect, is_lenient: bool) -> Result<Scraped, Error> {
    if page.trim_ascii_start().starts_with(b"<") {
        let what = "this is HTML, not a page of metrics; did you mean the path `/metrics`?";
        return Err(Error::new(format!("line 1, column 1: {what}")));
    }
    let mut remarks = Remarks::default();
    let mut reader = PageReader {
        dialect,
        ..PageReader::default()
    };
    let sorted = match is_lenient {
        true => order::by_family(page, dialect, &mut remarks),
        false => None,
    };
    let lines: &mut dyn Iterator<Item = order::Numbered> = match sorted {
        Some(sorted) => &mut sorted.into_iter(),
        None => &mut order::lines(page),
    };
    let mut count = 1;
    // The last sample, if it has several lines.
    let mut read_already = 0..0;
    let mut open_quotes = 0;
    for at in lines {
        count = count.max(at.number);
        if read_already.contains(&at.start) {
            continue;
        }
        let bytes = &page[at.start..at.end];
        let text = match std::str::from_utf8(bytes) {
            Ok(text) => text.strip_suffix('\n').unwrap_or(text),
            Err(error) => {
                let (valid, invalid) = bytes.split_at(error.valid_up_to());
                let valid = std::str::from_utf8(valid).unwrap_or_default();
                let fault = not_utf8(valid, invalid[0], dialect);
                if !is_lenient {
                    return Err(fault.error(at.number, valid));
                }
                remarks.add(fault, at.number, valid);
                continue;
            }
        };
        let mut line = Line::new(text, dialect, Notes::new(is_lenient));
        let mut read = reader.line(at.number, &mut line);
        if let Err(fault) = &read
            && fault.is_open
            && is_lenient
            && dialect == Dialect::Text
            && open_quotes < MOST_OPEN_QUOTES
        {
            open_quotes += 1;
            if let Some(longer) = with_line_feeds(page, &at) {
                let what = "a line feed in a label value has to be written as `\\n`";
                remarks.add(Fault::new(fault.offset, what).taken(), at.number, text);
                read_already = at.start + 1..at.start + longer.len();
                line = Line::new(longer, dialect, Notes::new(true));
                read = reader.line(at.number, &mut line);
            }
        }
        let text = line.text();
        remarks.drain(&mut line.notes, at.number, text);
        match read {
            Ok(()) => {}
            Err(fault) if is_lenient => remarks.add(fault, at.number, text),
            Err(fault) => return Err(fault.error(at.number, text)),
        }
    }
    let body = page.strip_suffix(b"\n").unwrap_or(page);
    let last = body.rsplit(|b| *b == b'\n').next().unwrap_or_default();
    // A strict reader has returned an error for another one.
    let last = std::str::from_utf8(last).unwrap_or_default();
    let has_end = body.len() < page.len();
    let mut notes = Notes::new(is_lenient);
    let snapshot = reader.finish(last, has_end, &mut notes);
    remarks.drain(&mut notes, count, last);
    let snapshot = snapshot.map_err(|fault| fault.error(count, last))?;
    Ok(remarks.with(snapshot))
}

/// Returns the fault of a byte after `valid`. Comments may have such bytes.
fn not_utf8(valid: &str, byte: u8, dialect: Dialect) -> Fault {
    let what = format!("found the byte {byte:#04x}, which is not valid UTF-8 here");
    let fault = Fault::new(valid.len(), what);
    let comment = valid.trim_start().strip_prefix('#').map(str::trim_start);
    let is_comment = |text: &str| !text.starts_with("HELP") && !text.starts_with("TYPE");
    match dialect == Dialect::Text && comment.is_some_and(is_comment) {
        true => fault.taken(),
        false => fault,
    }
}

/// Returns a sample that begins in this line, and has line feeds in its label values.
fn with_line_feeds<'a>(page: &'a [u8], at: &order::Numbered) -> Option<&'a str> {
    let mut end = at.end;
    for _ in 0..MOST_LINE_FEEDS {
        let rest = &page[end..];
        let len = rest.iter().position(|b| *b == b'\n');
        end += len.map_or(rest.len(), |len| len + 1);
        let text = std::str::from_utf8(&page[at.start..end]).ok()?;
        let text = text.strip_suffix('\n').unwrap_or(text);
        let mut line = Line::new(text, Dialect::Text, Notes::new(true));
        line.blanks();
        match Sample::read(&mut line) {
            Ok(_) => return Some(text),
            Err(fault) if fault.is_open && end < page.len() => {}
            Err(_) => return None,
        }
    }
    None
}

/// The state of the reader within a page.
#[derive(Default)]
struct PageReader<'a> {
    dialect: Dialect,
    /// The complete families.
    families: Vec<Family>,
    /// The names of all families and of their samples.
    reserved_names: HashMap<Cow<'a, str>, Reserved>,
    /// The current family.
    current: Option<PartialFamily<'a>>,
    /// The latest timestamp of a sample.
    taken: Option<SystemTime>,
    /// Whether `# EOF` was read.
    ended: bool,
}

/// The use of a name.
struct Reserved {
    /// The line in which its family began.
    line: usize,
    /// Whether it is the name of a family, not only that of samples.
    is_family: bool,
}

impl<'a> PageReader<'a> {
    /// Reads a line.
    fn line(&mut self, number: usize, line: &mut Line<'a>) -> Result<(), Fault> {
        if self.ended {
            let what = "nothing may follow `# EOF`";
            line.notes.refuse(Fault::new(line.offset, what))?;
        }
        line.blanks();
        line.carriage_return()?;
        let is_text = self.dialect == Dialect::Text;
        match (is_text, line.rest()) {
            (true, "") => Ok(()),
            (true, rest) if rest.starts_with('\0') => {
                let what = "Prometheus takes a NUL byte for the end of the page";
                Err(Fault::new(line.offset, what).taken())
            }
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
    fn sample(&mut self, number: usize, line: &mut Line<'a>) -> Result<(), Fault> {
        let sample = Sample::read(line)?;
        self.taken = self.taken.max(sample.time);
        let part = self.current.as_ref();
        let part = part.and_then(|current| current.part(&sample.name));
        let notes = &mut line.notes;
        let family = match &mut self.current {
            Some(current) if part.is_some() => current,
            Some(current) if current.name == sample.name => {
                let fault = Fault::new(sample.offset, current.suffix_message()).taken();
                if !notes.is_lenient || !current.be_bare() {
                    return Err(fault);
                }
                notes.odd(fault)?;
                current
            }
            _ => self.begin(sample.name.clone(), number, sample.offset, notes)?,
        };
        // What a family rejects is no syntax, and Prometheus does not look at it.
        let added = family.sample(number, sample, part.unwrap_or(Part::Value), notes);
        added.map_err(Fault::taken)
    }

    /// Reads the rest of a line that starts with `#`.
    fn comment(&mut self, number: usize, line: &mut Line<'a>) -> Result<(), Fault> {
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
        // Without a name, it is a comment for Prometheus.
        let is_comment = is_text && line.rest().is_empty();
        let taken_if = |is_taken, fault: Fault| if is_taken { fault.taken() } else { fault };
        let gap = line.gap("the family's name");
        gap.map_err(|fault| taken_if(is_comment, fault))?;
        let offset = line.offset;
        let name = line.name("a family's name", true)?;
        match word {
            // In text, an empty help may be left out together with the blank. All blanks but the
            // first belong to the help.
            "HELP" if is_text && line.rest().is_empty() => {}
            "HELP" => {
                let gap = line.blank("the help");
                gap.map_err(|fault| taken_if(is_text, fault))?;
            }
            "TYPE" => {
                let is_blank = |c| c == ' ' || c == '\t';
                let rest = line.rest();
                if is_text
                    && (rest.ends_with(is_blank) || rest.chars().nth(1).is_some_and(is_blank))
                {
                    let what = "Prometheus takes further blanks around a type for a part of it";
                    line.notes.warn(Fault::new(line.offset, what));
                }
                line.gap("the type")?;
            }
            _ => line.gap("the unit")?,
        }
        let family = match &mut self.current {
            Some(current) if current.name == name => current,
            _ => self.begin(name, number, offset, &mut line.notes)?,
        };
        if family.has_samples() {
            return Err(family.late(offset, word));
        }
        family.describe(word, line)
    }

    /// Completes the current family and begins another.
    fn begin(
        &mut self,
        name: Cow<'a, str>,
        number: usize,
        offset: usize,
        notes: &mut Notes,
    ) -> Result<&mut PartialFamily<'a>, Fault> {
        self.close(notes)?;
        if let Some(first) = self.reserved_names.get(&name) {
            let what = format!(
                "{} belongs to the family that began in line {}: the lines of a family have to be \
                 adjacent, and no other family may use its sample names",
                show(&name),
                first.line
            );
            let fault = Fault::new(offset, what).taken();
            if first.is_family {
                return Err(fault);
            }
            notes.odd(fault)?;
        }
        let reserved = Reserved {
            line: number,
            is_family: true,
        };
        self.reserved_names.insert(name.clone(), reserved);
        let family = PartialFamily::new(name, number, self.dialect);
        Ok(self.current.insert(family))
    }

    /// Completes the current family, and reserves the names of its samples.
    fn close(&mut self, notes: &mut Notes) -> Result<(), Fault> {
        let Some(current) = self.current.take() else {
            return Ok(());
        };
        for name in current.sample_names().filter(|name| *name != current.name) {
            if let Some(first) = self.reserved_names.get(&*name) {
                let (family, name, line) = (show(&current.name), show(&name), first.line);
                let what = format!(
                    "family {family} has samples {name}, and so has the family that began in line {line}"
                );
                notes.odd(Fault::in_line(current.line, what))?;
                continue;
            }
            let reserved = Reserved {
                line: current.line,
                is_family: false,
            };
            self.reserved_names.insert(name.into(), reserved);
        }
        match current.into_family(notes) {
            Ok(family) => self.families.push(family),
            Err(fault) => notes.odd(fault)?,
        }
        Ok(())
    }

    /// Checks the end of the page, which is its last line and whether this has a line feed, and
    /// returns the snapshot.
    fn finish(mut self, last: &str, has_end: bool, notes: &mut Notes) -> Result<Snapshot, Fault> {
        match self.dialect {
            Dialect::Text if !last.is_empty() && !has_end => {
                let what = "the last line has to end in a line feed";
                notes.odd(Fault::new(last.len(), what))?;
            }
            Dialect::OpenMetrics | Dialect::OpenMetrics2 if !self.ended => {
                let what = "the page is cut off: its last line has to be `# EOF`";
                notes.refuse(Fault::new(last.len(), what))?;
            }
            _ => {}
        }
        self.close(notes)?;
        if notes.is_lenient {
            // A counter `a` of OpenMetrics is `a_total`, which another family may be.
            self.families.sort_by(|a, b| a.name().cmp(b.name()));
            self.families.dedup_by(|later, first| {
                let is_same = later.name() == first.name();
                if is_same {
                    if first.is_empty() {
                        std::mem::swap(first, later);
                    }
                    let what = format!("two families are called {}", show(later.name()));
                    notes.warn(Fault::in_line(1, what).taken());
                }
                is_same
            });
        }
        let taken = self.taken.unwrap_or(SystemTime::UNIX_EPOCH);
        Snapshot::new(self.families, taken).map_err(|error| Fault::in_line(1, error.to_string()))
    }
}
