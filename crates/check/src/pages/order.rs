//! The order of lines: a lenient reader reads a page family by family, also if the lines of a
//! family are not adjacent, or if a type follows its samples.

use std::borrow::Cow;
use std::collections::HashMap;

use tallies::snapshot::Kind;

use super::family::{kind_of, parts};
use super::line::Line;
use super::remark::{Notes, Remarks};
use super::{Dialect, Fault, show};

/// The place of a line, with its line feed, in a page.
pub(super) struct Numbered {
    pub(super) number: usize,
    pub(super) start: usize,
    pub(super) end: usize,
}

/// Returns the lines of a page.
pub(super) fn lines(page: &[u8]) -> impl Iterator<Item = Numbered> {
    let mut end = 0;
    let lines = page.split_inclusive(|b| *b == b'\n').enumerate();
    lines.map(move |(i, line)| {
        let start = end;
        end += line.len();
        Numbered {
            number: i + 1,
            start,
            end,
        }
    })
}

/// A line in the new order.
struct Sorted {
    /// Twice the number of its family, in the order of their first lines, and 1 more for samples.
    key: u32,
    number: u32,
    start: u32,
    end: u32,
}

/// The lines of a family so far.
struct Known {
    group: u32,
    /// Its first line.
    line: usize,
    has_samples: bool,
    /// Which of HELP, TYPE and UNIT it has.
    words: [bool; 3],
}

/// The sort of a line.
enum Scan<'a> {
    /// HELP, TYPE or UNIT, by index, and the family's name. A valid TYPE has a kind.
    About(usize, Cow<'a, str>, Option<Kind>),
    Sample(Cow<'a, str>),
    End,
    /// A comment, or a line that is broken.
    Other,
}

const WORDS: [&str; 3] = ["HELP", "TYPE", "UNIT"];

/// Returns the lines of a page family by family: HELP, TYPE and UNIT, then the samples. Remarks on
/// each family that is in pieces. Returns `None` if the lines are in this order already.
///
/// Takes 16 bytes for each line, besides the names.
pub(super) fn by_family(
    page: &[u8],
    dialect: Dialect,
    remarks: &mut Remarks,
) -> Option<impl Iterator<Item = Numbered> + use<>> {
    if u32::try_from(page.len()).is_err() {
        return None;
    }
    let mut kinds = HashMap::new();
    for at in lines(page) {
        if let Scan::About(_, name, Some(kind)) = scan(&page[at.start..at.end], dialect) {
            kinds.entry(name).or_insert(kind);
        }
    }
    // The family of each sample name that is not the family's own.
    let mut owners = HashMap::new();
    for (name, kind) in &kinds {
        for (suffix, _) in parts(*kind, dialect) {
            let sample = format!("{name}{suffix}");
            if !kinds.contains_key(&*sample) {
                owners.insert(sample, name.clone());
            }
        }
    }
    let mut families: HashMap<Cow<'_, str>, Known> = HashMap::new();
    let (mut current, mut ended) = (0, false);
    let mut is_ordered = true;
    let mut sorted = Vec::new();
    for at in lines(page) {
        let (name, word) = match scan(&page[at.start..at.end], dialect) {
            _ if ended => (None, None),
            Scan::About(word, name, _) => (Some(name), Some(word)),
            Scan::Sample(name) => (Some(owners.get(&*name).cloned().unwrap_or(name)), None),
            Scan::End => {
                ended = true;
                (None, None)
            }
            Scan::Other => (None, None),
        };
        if let Some(name) = name {
            let group = families.len() as u32;
            let family = families.entry(name.clone()).or_insert(Known {
                group,
                line: at.number,
                has_samples: false,
                words: [false; 3],
            });
            let is_again = word.is_some_and(|word| family.words[word]);
            let what = match word {
                Some(_) if family.has_samples && is_again => Some(None),
                Some(word) if family.has_samples => {
                    let name = show(&name);
                    let what = format!("{} of {name} has to come before its samples", WORDS[word]);
                    Some(Some(what))
                }
                _ if family.group != current && family.group != group => {
                    let first = family.line;
                    let what = "the lines of a family have to be adjacent";
                    let what = format!(
                        "family {} began in line {first}, and other families are between; {what}",
                        show(&name)
                    );
                    Some(Some(what))
                }
                _ => None,
            };
            if let Some(what) = what {
                is_ordered = false;
                if let Some(what) = what {
                    let fault = Fault::in_line(at.number, what).taken();
                    remarks.add(fault, at.number, "");
                }
            }
            match word {
                Some(word) => family.words[word] = true,
                None => family.has_samples = true,
            }
            current = family.group;
        }
        sorted.push(Sorted {
            key: match ended {
                true => u32::MAX,
                false => 2 * current + u32::from(word.is_none()),
            },
            number: at.number as u32,
            start: at.start as u32,
            end: at.end as u32,
        });
    }
    if is_ordered {
        return None;
    }
    sorted.sort_by_key(|line| line.key);
    let sorted = sorted.into_iter();
    Some(sorted.map(|line| Numbered {
        number: line.number as usize,
        start: line.start as usize,
        end: line.end as usize,
    }))
}

/// Says what a line is.
fn scan(line: &[u8], dialect: Dialect) -> Scan<'_> {
    let text = std::str::from_utf8(line).unwrap_or_default();
    let text = text.trim_end_matches(['\r', '\n']);
    let mut line = Line::new(text, dialect, Notes::new(true));
    line.blanks();
    if dialect != Dialect::Text && line.rest() == "# EOF" {
        return Scan::End;
    }
    if line.skip("#") {
        return about(&mut line).unwrap_or(Scan::Other);
    }
    if line.skip("{") {
        line.blanks();
        if !line.rest().starts_with('"') {
            return Scan::Other;
        }
    }
    line.name("", true).map_or(Scan::Other, Scan::Sample)
}

/// Says what a comment is.
fn about<'a>(line: &mut Line<'a>) -> Option<Scan<'a>> {
    if !line.skip(" ") {
        line.blanks();
    }
    line.blanks();
    let word = line.token();
    let words = if line.dialect == Dialect::Text { 2 } else { 3 };
    let word = WORDS[..words].iter().position(|known| *known == word)?;
    line.gap("").ok()?;
    let name = line.name("", true).ok()?;
    let mut kind = None;
    if WORDS[word] == "TYPE" {
        line.gap("").ok()?;
        kind = kind_of(line.token(), line.dialect);
        line.end().ok()?;
    }
    Some(Scan::About(word, name, kind))
}
