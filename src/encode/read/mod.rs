//! Pages back into snapshots, strictly: what a format does not allow is an error that names the place.
//!
//! A page is read line by line; a family is whole when a line of another one comes, and only then becomes one of the
//! snapshot's. Time and memory are in proportion to the page.

mod family;
mod line;
mod number;
mod sample;
mod series;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::time::SystemTime;

use crate::error::Error;
use crate::snapshot::{Family, Kind, Snapshot};

use family::{Open, Part};
use line::Line;
use sample::Sample;

/// A page in OpenMetrics, if its last line is `# EOF`, else in text: as [`read_open_metrics`] or [`read_text`].
///
/// # Errors
///
/// As theirs.
///
/// ```
/// let registry = tallies::Registry::new();
/// registry.counter("jobs_total", "Jobs done.")?.add(3);
/// let page = tallies::encode::text(&registry.snapshot());
/// let mut read = tallies::encode::read(&page)?;
/// assert_eq!(read.get("jobs_total", &[]), Some(3.0));
/// read.merge(&registry.snapshot())?;
/// assert_eq!(read.get("jobs_total", &[]), Some(6.0));
///
/// let error = tallies::encode::read("jobs_total 3\njobs_total{a=b} 4\n").unwrap_err();
/// assert!(error.to_string().starts_with("line 2, column 14: found `b} 4`"));
/// # Ok::<(), tallies::Error>(())
/// ```
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

/// A page in the Prometheus text format 0.0.4, or 1.0.0 with names in quotes, as a snapshot.
///
/// What text does not tell, the snapshot cannot: info and state sets are gauges, samples without a type are
/// [`Kind::Unknown`]. [`Snapshot::taken`] is the latest timestamp of a sample, or the epoch of Unix where none has one.
/// A summary keeps the quantiles it was written with; it gives no others, and does not merge. A sum of NaN stands where
/// it is not known. Series that have different buckets in one family have no place in a snapshot, nor have fractions of
/// observations.
///
/// Source: the exposition formats page of the Prometheus documentation.
///
/// # Errors
///
/// Whatever the format does not allow, with line and column (in characters, from 1), what was found and what would be
/// right. Stricter than Prometheus: families in pieces, series twice, histograms without all of their lines or with
/// counts that fall, counters below 0, infinities spelled otherwise than `+Inf`.
///
/// ```
/// let page = "# TYPE up gauge\nup{job=\"a\"} 1 1500\n";
/// let read = tallies::encode::read_text(page)?;
/// assert_eq!(read.get("up", &[("job", "a")]), Some(1.0));
/// # Ok::<(), tallies::Error>(())
/// ```
pub fn read_text(page: impl AsRef<[u8]>) -> Result<Snapshot, Error> {
    read_as(page.as_ref(), Dialect::Text)
}

/// A page in OpenMetrics 1.0 as a snapshot.
///
/// As [`read_text`], and with units, exemplars, and all kinds. Families are called as their samples are: a counter `jobs`
/// with `jobs_total` is `jobs_total`, an info `build` is `build_info`; so they merge with those of a registry, and with
/// those read from text. A snapshot holds one point of a series, so a second one is an error.
///
/// Source: the OpenMetrics specification, version 1.0.0.
///
/// # Errors
///
/// As [`read_text`]: also a page that does not end in `# EOF`, which is cut off.
///
/// ```
/// let page = "# TYPE jobs counter\njobs_total 3 # {trace_id=\"1f\"} 1\n# EOF\n";
/// let read = tallies::encode::read_open_metrics(page)?;
/// assert_eq!(read.get("jobs_total", &[]), Some(3.0));
/// let jobs = read.family("jobs_total").unwrap();
/// assert_eq!(jobs.exemplars(0).next().unwrap().1.value(), 1.0);
/// # Ok::<(), tallies::Error>(())
/// ```
pub fn read_open_metrics(page: impl AsRef<[u8]>) -> Result<Snapshot, Error> {
    read_as(page.as_ref(), Dialect::OpenMetrics)
}

/// Which format a page is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dialect {
    /// 0.0.4 and 1.0.0.
    Text,
    OpenMetrics,
}

/// What is wrong, and where.
#[derive(Debug)]
struct Fault {
    /// If it is not the line that is being read: one that began what turned out to be wrong.
    line: Option<usize>,
    /// In bytes, from 0.
    at: usize,
    what: String,
}

impl Fault {
    fn new(at: usize, what: impl Into<String>) -> Self {
        Self {
            line: None,
            at,
            what: what.into(),
        }
    }

    fn in_line(line: usize, what: impl Into<String>) -> Self {
        Self {
            line: Some(line),
            at: 0,
            what: what.into(),
        }
    }

    fn error(&self, number: usize, line: &str) -> Error {
        match self.line {
            Some(line) => Error::read(line, 1, &self.what),
            None => Error::read(number, line[..self.at].chars().count() + 1, &self.what),
        }
    }
}

/// What was found, as an error shows it: the beginning of it, what cannot be seen spelled out.
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
            // Everything before is valid.
            (std::str::from_utf8(text).unwrap_or_default(), rest.first())
        }
    };
    if let Some(byte) = rest {
        let line = text.rsplit('\n').next().unwrap_or_default();
        let number = text.bytes().filter(|b| *b == b'\n').count() + 1;
        let what = format!("found the byte {byte:#04x}, which is no UTF-8 here");
        return Err(Fault::new(line.len(), what).error(number, line));
    }
    let mut page = Page {
        dialect,
        families: Vec::new(),
        claims: HashMap::new(),
        open: None,
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

/// A page that is being read.
struct Page<'a> {
    dialect: Dialect,
    families: Vec<Family>,
    /// The names of families and of their samples, and the line in which the family began.
    claims: HashMap<Cow<'a, str>, usize>,
    open: Option<Open<'a>>,
    /// The latest timestamp.
    taken: Option<SystemTime>,
    /// Whether `# EOF` was there.
    ended: bool,
}

impl<'a> Page<'a> {
    fn line(&mut self, number: usize, text: &'a str) -> Result<(), Fault> {
        let mut line = Line::new(text, self.dialect);
        if self.ended {
            return line.fault("nothing may stand behind `# EOF`");
        }
        line.blanks();
        match self.dialect {
            Dialect::Text if line.rest().is_empty() => return Ok(()),
            Dialect::OpenMetrics if text.is_empty() => {
                return line.fault("OpenMetrics has no empty lines");
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
        let mut part = self.open.as_ref().and_then(|open| open.part(&sample.name));
        if part.is_none() {
            if let Some(open) = &self.open
                && open.name == sample.name
            {
                return Err(Fault::new(sample.at, open.suffixed()));
            }
            self.begin(sample.name.clone(), number, sample.at)?;
            part = Some(Part::Value);
        }
        self.settle()?;
        match (&mut self.open, part) {
            (Some(open), Some(part)) => open.sample(number, sample, part),
            _ => Ok(()),
        }
    }

    /// Whatever follows `#`.
    fn comment(&mut self, number: usize, mut line: Line<'a>) -> Result<(), Fault> {
        let is_text = self.dialect == Dialect::Text;
        match self.dialect {
            Dialect::Text => line.blanks(),
            Dialect::OpenMetrics => line.gap("HELP, TYPE or UNIT")?,
        }
        let at = line.at;
        let word = line.token();
        match word {
            "HELP" | "TYPE" => {}
            "UNIT" if !is_text => {}
            _ if is_text => return Ok(()),
            _ => {
                return Err(Fault::new(
                    at,
                    format!(
                        "found {}; OpenMetrics has HELP, TYPE, UNIT and one EOF, no comments",
                        show(word)
                    ),
                ));
            }
        }
        line.gap("the family's name")?;
        let at = line.at;
        let name = line.name("a family's name", true)?;
        let same = self.open.as_ref().is_some_and(|open| open.name == name);
        if !same {
            self.begin(name, number, at)?;
        }
        let Some(open) = &mut self.open else {
            return Ok(());
        };
        if open.is_settled() {
            return Err(Fault::new(
                at,
                format!("{word} of {} belongs before its samples", show(&open.name)),
            ));
        }
        match word {
            // In text an empty help may end with the name. All blanks but the first are the help's.
            "HELP" if is_text && line.rest().is_empty() => {}
            "HELP" => line.blank("the help")?,
            _ => line.gap("what it is")?,
        }
        open.describe(word, line)
    }

    /// Begins a family; the one before is whole.
    fn begin(&mut self, name: Cow<'a, str>, number: usize, at: usize) -> Result<(), Fault> {
        self.close()?;
        match self.claims.entry(name.clone()) {
            Entry::Occupied(first) => Err(Fault::new(
                at,
                format!(
                    "{} is of the family that began in line {}: its lines stand together, and its samples' names are its own",
                    show(&name),
                    first.get()
                ),
            )),
            Entry::Vacant(place) => {
                place.insert(number);
                self.open = Some(Open::new(name, number, self.dialect));
                Ok(())
            }
        }
    }

    /// The family's kind is known from here on: nobody else may have the names of its samples.
    fn settle(&mut self) -> Result<(), Fault> {
        let Some(open) = &mut self.open else {
            return Ok(());
        };
        if open.is_settled() {
            return Ok(());
        }
        open.settle()?;
        for name in open.sample_names() {
            match self.claims.entry(name.into()) {
                Entry::Occupied(first) => {
                    return Err(Fault::in_line(
                        open.line,
                        format!(
                            "family {} has samples {}, and so has the family that began in line {}",
                            show(&open.name),
                            show(first.key()),
                            first.get()
                        ),
                    ));
                }
                Entry::Vacant(place) => _ = place.insert(open.line),
            }
        }
        Ok(())
    }

    fn close(&mut self) -> Result<(), Fault> {
        self.settle()?;
        if let Some(open) = self.open.take() {
            self.families.push(open.into_family()?);
        }
        Ok(())
    }

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
        self.families
            .sort_unstable_by(|a, b| a.name().cmp(b.name()));
        Ok(Snapshot {
            families: self.families,
            taken: self.taken.unwrap_or(SystemTime::UNIX_EPOCH),
        })
    }
}

/// What a page calls a kind.
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
