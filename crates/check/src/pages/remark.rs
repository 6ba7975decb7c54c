//! Remarks: what a page has that its format forbids or that Prometheus refuses, where a reader goes
//! on.

use std::collections::HashMap;
use std::fmt;

use tallies::snapshot::Snapshot;

use super::Fault;

/// The most remarks of each sort that are listed, so that a hostile page does not fill the memory.
const MOST: usize = 1000;

/// A remark about one line of a page, or about several lines with the same mistake.
///
/// ```
/// let page = "# TYPE a gauge\na{x=\"1\"} 1\n# TYPE a gauge\na{x=\"2\"} 1\nb one\n";
/// let read = tallies_check::read_as_scraped(page, None)?;
/// let [twice, refused] = read.remarks() else { panic!() };
/// assert_eq!(twice.to_string(), "line 3, column 10: TYPE of `a` is given twice");
/// assert!(!twice.is_refused() && refused.is_refused());
/// assert_eq!(refused.position(), Some((5, 3)));
/// # Ok::<(), tallies::Error>(())
/// ```
///
/// `Display` writes the position, a colon, and the text. The text has no invisible characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remark {
    position: Option<(usize, usize)>,
    text: String,
    is_refused: bool,
    times: u64,
}

impl Remark {
    /// Returns the line and the column, in characters, both from 1. Returns `None` if the remark is
    /// about the Content-Type.
    #[must_use]
    pub fn position(&self) -> Option<(usize, usize)> {
        self.position
    }

    /// Returns what was found, and what would be right.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Returns whether Prometheus refuses the whole page because of it. Otherwise Prometheus takes
    /// the page, although its format forbids this.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        self.is_refused
    }

    /// Returns how often the page has this mistake. The position is the first.
    #[must_use]
    pub fn times(&self) -> u64 {
        self.times
    }
}

impl fmt::Display for Remark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((line, column)) = self.position {
            write!(f, "line {line}, column {column}: ")?;
        }
        f.write_str(&self.text)
    }
}

/// A page as a scraper reads it: what it says, and what is wrong with it.
#[derive(Clone, Debug)]
pub struct Scraped {
    snapshot: Snapshot,
    remarks: Vec<Remark>,
    unlisted: u64,
}

impl Scraped {
    /// Returns what the page says.
    #[must_use]
    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// Returns what the page says, without the remarks.
    #[must_use]
    pub fn into_snapshot(self) -> Snapshot {
        self.snapshot
    }

    /// Returns the remarks in the order of the page: at most 1000 for which Prometheus refuses the
    /// page, and 1000 others. Remarks of the same text are one.
    #[must_use]
    pub fn remarks(&self) -> &[Remark] {
        &self.remarks
    }

    /// Returns the number of mistakes that no remark lists, because there are too many.
    #[must_use]
    pub fn unlisted(&self) -> u64 {
        self.unlisted
    }

    /// Returns the first remark for which Prometheus refuses the page.
    ///
    /// ```
    /// let read = tallies_check::read_as_scraped("a 1\nb 0x1f\nc 3\n", None)?;
    /// assert_eq!(read.snapshot().get("c", &[]), Some(3.0));
    /// assert_eq!(read.refused().unwrap().position(), Some((2, 3)));
    /// # Ok::<(), tallies::Error>(())
    /// ```
    #[must_use]
    pub fn refused(&self) -> Option<&Remark> {
        self.remarks.iter().find(|remark| remark.is_refused)
    }

    /// Adds a remark about the whole page, which Prometheus refuses for it.
    pub(super) fn refuse(&mut self, text: String) {
        let remark = Remark {
            position: None,
            text,
            is_refused: true,
            times: 1,
        };
        self.remarks.insert(0, remark);
    }
}

/// The remarks of a page.
#[derive(Default)]
pub(super) struct Remarks {
    list: Vec<Remark>,
    /// The index of each remark in the list, by `is_refused` and its text.
    indices: [HashMap<String, usize>; 2],
    /// How many remarks are in the list, by `is_refused`.
    listed: [usize; 2],
    unlisted: u64,
}

impl Remarks {
    /// Adds a fault of the current line, which is `number` and `line`.
    pub(super) fn add(&mut self, fault: Fault, number: usize, line: &str) {
        let position = Some(fault.position(number, line));
        self.insert(position, fault.what, fault.is_refused);
    }

    fn insert(&mut self, position: Option<(usize, usize)>, text: String, is_refused: bool) {
        let indices = &mut self.indices[usize::from(is_refused)];
        if let Some(i) = indices.get(&text) {
            let remark = &mut self.list[*i];
            remark.times += 1;
            remark.position = remark.position.min(position);
            return;
        }
        let listed = &mut self.listed[usize::from(is_refused)];
        if *listed == MOST {
            self.unlisted += 1;
            return;
        }
        *listed += 1;
        indices.insert(text.clone(), self.list.len());
        self.list.push(Remark {
            position,
            text,
            is_refused,
            times: 1,
        });
    }

    /// Adds the notes of the current line.
    pub(super) fn drain(&mut self, notes: &mut Notes, number: usize, line: &str) {
        for fault in notes.found.drain(..) {
            self.add(fault, number, line);
        }
        self.unlisted += std::mem::take(&mut notes.unlisted);
    }

    /// Ends the list.
    pub(super) fn with(mut self, snapshot: Snapshot) -> Scraped {
        self.list.sort_by_key(|remark| remark.position);
        Scraped {
            snapshot,
            remarks: self.list,
            unlisted: self.unlisted,
        }
    }
}

/// Faults that the parts of a reader find in the current line. A strict reader returns the first
/// as an error; a lenient one notes it and goes on.
#[derive(Default)]
pub(super) struct Notes {
    pub(super) is_lenient: bool,
    found: Vec<Fault>,
    unlisted: u64,
}

impl Notes {
    pub(super) fn new(is_lenient: bool) -> Self {
        Self {
            is_lenient,
            ..Self::default()
        }
    }

    /// Notes what the format forbids and Prometheus takes.
    pub(super) fn odd(&mut self, fault: Fault) -> Result<(), Fault> {
        self.refuse(fault.taken())
    }

    /// Notes what Prometheus refuses, where the rest of the line can still be read.
    pub(super) fn refuse(&mut self, fault: Fault) -> Result<(), Fault> {
        if !self.is_lenient {
            return Err(fault);
        }
        self.note(fault);
        Ok(())
    }

    /// Notes what the format allows and Prometheus refuses. No error of a strict reader.
    pub(super) fn warn(&mut self, fault: Fault) {
        if self.is_lenient {
            self.note(fault);
        }
    }

    fn note(&mut self, fault: Fault) {
        match self.found.len() < MOST {
            true => self.found.push(fault),
            false => self.unlisted += 1,
        }
    }
}
