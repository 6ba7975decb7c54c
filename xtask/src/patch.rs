//! The patches of `tests/mutations`: how one is read, and how its changes find their place in a
//! file that has moved on.
//!
//! A change is located by its tokens, not by its lines: line numbers, line breaks, indentation and
//! comments do not matter. The tokens that it replaces must be there. Of several such places it
//! takes the one whose surroundings are most like the context in the patch, and at least half of
//! all tokens must agree. A name that no longer occurs in the file matches any other name,
//! consistently: a rename is followed, in the replacement too.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Range;

/// One mutation: a step left out or done wrong.
#[derive(Debug)]
pub(crate) struct Patch {
    /// The file name without its extension.
    pub(crate) slug: String,
    /// The fault that it makes, in one sentence: its name in reports.
    pub(crate) breaks: String,
    /// Tests that catch it, tried first. With threads they are the only ones tried.
    pub(crate) caught_by: Vec<String>,
    pub(crate) with: With,
    /// The changes of each file, in order.
    pub(crate) files: BTreeMap<String, Vec<Change>>,
}

/// The kinds of test programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum With {
    /// The models of the library.
    Loom,
    /// The tests of the library, with real threads.
    Threads,
    /// The programs below `tests`, with every feature: such a test is named `PROGRAM/TEST`.
    Tests,
}

impl With {
    pub(crate) const ALL: [Self; 3] = [Self::Loom, Self::Threads, Self::Tests];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Loom => "loom",
            Self::Threads => "threads",
            Self::Tests => "tests",
        }
    }

    /// Returns the kind of the program that has all these tests.
    pub(crate) fn of(tests: &[impl AsRef<str>]) -> Self {
        let all = |is: fn(&str) -> bool| tests.iter().all(|test| is(test.as_ref()));
        if all(|test| test.starts_with("observe::models::")) {
            Self::Loom
        } else if all(|test| test.contains('/')) {
            Self::Tests
        } else {
            Self::Threads
        }
    }
}

/// Adjacent lines that one hunk replaces, and the lines around them before the change.
#[derive(Debug, Default)]
pub(crate) struct Change {
    before: String,
    old: String,
    new: String,
    after: String,
}

impl Patch {
    pub(crate) fn parse(slug: &str, text: &str) -> Result<Self, String> {
        let (head, diff) = text
            .split_once("\n\n")
            .ok_or("no empty line between its header and its diff")?;
        let (mut breaks, mut caught_by, mut with) = (None, Vec::new(), None);
        for line in head.lines() {
            match line.split_once(": ") {
                Some(("breaks", name)) => breaks = Some(name.to_owned()),
                Some(("caught-by", test)) => caught_by.push(test.to_owned()),
                Some(("with", name)) if With::ALL.iter().any(|kind| kind.name() == name) => {
                    with = With::ALL.into_iter().find(|kind| kind.name() == name);
                }
                _ => {
                    return Err(format!(
                        "its header has the line `{line}`: `breaks: SENTENCE`, `caught-by: TEST` and \
                         `with: loom`, `with: threads` or `with: tests` are known"
                    ));
                }
            }
        }
        let files = changes(diff)?;
        if files.is_empty() {
            return Err("no diff".to_owned());
        }
        Ok(Self {
            slug: slug.to_owned(),
            breaks: breaks.ok_or("no line `breaks: SENTENCE`")?,
            caught_by,
            with: with.ok_or("no line `with: loom`, `with: threads` or `with: tests`")?,
            files,
        })
    }

    /// The header with these tests.
    pub(crate) fn header(&self, tests: &[String]) -> String {
        let mut header = format!("breaks: {}\n", self.breaks);
        for test in tests {
            header += &format!("caught-by: {test}\n");
        }
        header + &format!("with: {}\n", self.with.name())
    }
}

/// The changes of a unified diff by file.
fn changes(diff: &str) -> Result<BTreeMap<String, Vec<Change>>, String> {
    let mut files = BTreeMap::<_, Vec<Change>>::new();
    let mut path = None;
    // The lines of a hunk: whether each is added, removed or context.
    let mut hunk: Vec<(char, &str)> = Vec::new();
    for line in diff.lines().chain(["@@"]) {
        let mut chars = line.chars();
        match chars.next() {
            _ if line.starts_with("@@") || line.starts_with("--- ") || line.starts_with("+++ ") => {
                if !hunk.is_empty() {
                    let path: &String =
                        path.as_ref().ok_or("a hunk before the line `+++ b/FILE`")?;
                    files.entry(path.clone()).or_default().extend(split(&hunk));
                    hunk.clear();
                }
                if let Some(file) = line.strip_prefix("+++ b/") {
                    path = Some(file.to_owned());
                }
            }
            Some(kind @ ('+' | '-' | ' ')) => hunk.push((kind, chars.as_str())),
            None => hunk.push((' ', "")),
            // `diff`, `index`, `\ No newline at end of file`.
            _ => {}
        }
    }
    Ok(files)
}

/// The runs of changed lines of a hunk.
fn split(hunk: &[(char, &str)]) -> Vec<Change> {
    let text = |lines: &[(char, &str)], without: char| -> String {
        let kept = lines.iter().filter(|(kind, _)| *kind != without);
        kept.map(|(_, line)| format!("{line}\n")).collect()
    };
    let mut changes = Vec::new();
    let mut begin = 0;
    while let Some(first) = (begin..hunk.len()).find(|&i| hunk[i].0 != ' ') {
        let end = (first..hunk.len())
            .find(|&i| hunk[i].0 == ' ')
            .unwrap_or(hunk.len());
        changes.push(Change {
            before: text(&hunk[..first], '+'),
            old: text(&hunk[first..end], '+'),
            new: text(&hunk[first..end], '-'),
            after: text(&hunk[end..], '+'),
        });
        begin = end;
    }
    changes
}

/// A file with a patch's changes.
#[derive(Debug)]
pub(crate) struct Applied {
    pub(crate) text: String,
    /// Whether the patch no longer agrees with the file token by token.
    pub(crate) drifted: bool,
}

/// Applies changes to a file. Names are followed only in the file that the patch names.
pub(crate) fn apply(changes: &[Change], file: &str, follow: bool) -> Result<Applied, String> {
    let tokens = tokens(file);
    let known: HashSet<_> = tokens.iter().map(|token| token.text).collect();
    let mut renamed = HashMap::new();
    let mut drifted = false;
    let mut places = Vec::new();
    for change in changes {
        let gone = |name: &str| follow && is_name(name) && !known.contains(name);
        let found = locate(change, &tokens, &renamed, &gone)?;
        drifted |= !found.exact;
        renamed = found.renamed;
        places.push(found.place);
    }
    if !places.is_sorted_by_key(|place| place.start) {
        return Err("its changes are found in another order".to_owned());
    }
    let mut text = file.to_owned();
    for (change, place) in changes.iter().zip(places).rev() {
        let new = rename(&change.new, &renamed);
        replace(&mut text, &tokens, place, &new);
    }
    Ok(Applied { text, drifted })
}

/// Replaces some tokens of a file: as whole lines, if they are.
fn replace(text: &mut String, tokens: &[Token<'_>], place: Range<usize>, new: &str) {
    let end = |i: usize| tokens[i].start + tokens[i].text.len();
    let line_end = |from: usize| text[from..].find('\n').map_or(text.len(), |i| from + i + 1);
    let previous = place.start.checked_sub(1).map_or(0, end);
    let next = tokens
        .get(place.end)
        .map_or(text.len(), |token| token.start);
    let (range, is_whole) = if place.is_empty() {
        let line = line_end(previous);
        if line <= next {
            (line..line, true)
        } else {
            (previous..previous, false)
        }
    } else {
        let (first, last) = (tokens[place.start].start, end(place.end - 1));
        let line = text[..first].rfind('\n').map_or(0, |i| i + 1);
        let is_whole = line >= previous && line_end(last) <= next;
        if is_whole {
            (line..line_end(last), true)
        } else {
            (first..last, false)
        }
    };
    let new = if is_whole {
        new.to_owned()
    } else {
        format!(" {} ", new.trim())
    };
    text.replace_range(range, &new);
}

type Renamed<'a> = HashMap<&'a str, &'a str>;

struct Found<'a> {
    /// The tokens that a change replaces.
    place: Range<usize>,
    /// Whether the context agrees, too, and no name is another one.
    exact: bool,
    renamed: Renamed<'a>,
}

/// Finds the place of a change among the tokens of a file.
fn locate<'a>(
    change: &'a Change,
    file: &[Token<'a>],
    renamed: &Renamed<'a>,
    gone: &dyn Fn(&str) -> bool,
) -> Result<Found<'a>, String> {
    let [before, old, after] =
        [&change.before, &change.old, &change.after].map(|text| tokens(text));
    let most = 4 * (before.len() + old.len() + after.len());
    let mut best: Option<(usize, Found<'a>)> = None;
    let mut is_tied = false;
    for start in 0..(file.len() + 1).saturating_sub(old.len()) {
        let (above, rest) = file.split_at(start);
        let (place, below) = rest.split_at(old.len());
        if old.is_empty()
            && !is_one(above.last(), before.last())
            && !is_one(below.first(), after.first())
        {
            continue;
        }
        let mut names = Names {
            renamed: renamed.clone(),
            gone,
        };
        let replaced = names.prefix(old.iter(), place.iter());
        if replaced.0 < old.len() {
            continue;
        }
        let above = &above[above.len().saturating_sub(2 * before.len())..];
        let below = &below[..below.len().min(2 * after.len())];
        let score = 2 * replaced.1
            + names.prefix(before.iter().rev(), above.iter().rev()).1
            + names.prefix(after.iter(), below.iter()).1
            + names.in_common(&before, above)
            + names.in_common(&after, below);
        match &best {
            Some((least, _)) if score < *least => {}
            Some((least, _)) if score == *least => is_tied = true,
            _ => {
                is_tied = false;
                let place = start..start + old.len();
                best = Some((
                    score,
                    Found {
                        place,
                        exact: score == most,
                        renamed: names.renamed,
                    },
                ));
            }
        }
    }
    let line = change
        .old
        .lines()
        .chain(change.after.lines())
        .find(|line| !line.trim().is_empty());
    let line = line.unwrap_or("the end of the file").trim();
    match best {
        Some((score, found)) if 2 * score >= most && !is_tied => Ok(found),
        Some(_) if is_tied => Err(format!(
            "`{line}` is there more than once: more context would help"
        )),
        Some((score, _)) => Err(format!(
            "`{line}`: only {} % of its context is there",
            100 * score / most
        )),
        None => Err(format!("`{line}` is not there")),
    }
}

fn is_one(file: Option<&Token<'_>>, patch: Option<&Token<'_>>) -> bool {
    file.zip(patch).is_some_and(|(x, y)| x.text == y.text)
}

/// Compares tokens of a patch with those of a file.
struct Names<'a, 'b> {
    renamed: Renamed<'a>,
    /// Whether a name is no longer in the file.
    gone: &'b dyn Fn(&str) -> bool,
}

impl<'a> Names<'a, '_> {
    /// Returns 2 for the same token, 1 for a name that may be the new one.
    fn points(&self, patch: &str, file: &str) -> usize {
        if patch == file {
            return 2;
        }
        let may = (self.gone)(patch) && is_name(file);
        match self.renamed.get(patch) {
            Some(new) => usize::from(*new == file),
            None => usize::from(may && !self.renamed.values().any(|new| *new == file)),
        }
    }

    /// Returns how many tokens agree from the start, and their points. Learns new names.
    fn prefix<'t>(
        &mut self,
        patch: impl Iterator<Item = &'t Token<'a>>,
        file: impl Iterator<Item = &'t Token<'a>>,
    ) -> (usize, usize)
    where
        'a: 't,
    {
        let (mut count, mut sum) = (0, 0);
        for (patch, file) in patch.zip(file) {
            let points = self.points(patch.text, file.text);
            if points == 0 {
                break;
            } else if points == 1 {
                self.renamed.insert(patch.text, file.text);
            }
            count += 1;
            sum += points;
        }
        (count, sum)
    }

    /// Returns the points of the longest subsequence that is in both.
    fn in_common(&self, patch: &[Token<'_>], file: &[Token<'_>]) -> usize {
        let mut row = vec![0; file.len() + 1];
        for x in patch {
            let mut diagonal = 0;
            for (i, y) in file.iter().enumerate() {
                let best = row[i]
                    .max(row[i + 1])
                    .max(diagonal + self.points(x.text, y.text));
                diagonal = std::mem::replace(&mut row[i + 1], best);
            }
        }
        row[file.len()]
    }
}

/// A text with new names in place of old ones.
fn rename(text: &str, renamed: &Renamed<'_>) -> String {
    let mut new = text.to_owned();
    for token in tokens(text).iter().rev() {
        if let Some(name) = renamed.get(token.text) {
            new.replace_range(token.start..token.start + token.text.len(), name);
        }
    }
    new
}

#[derive(Debug)]
pub(crate) struct Token<'a> {
    pub(crate) text: &'a str,
    start: usize,
}

pub(crate) fn is_name(token: &str) -> bool {
    token.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// The tokens of a piece of Rust, without its comments. The piece need not be whole.
pub(crate) fn tokens(text: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    let mut start = 0;
    while let Some(c) = text[start..].chars().next() {
        let rest = &text[start..];
        let word = |c: char| c.is_alphanumeric() || c == '_';
        let len = if c.is_whitespace() {
            start += c.len_utf8();
            continue;
        } else if rest.starts_with("//") {
            start += rest.find('\n').unwrap_or(rest.len());
            continue;
        } else if let Some(end) = rest.strip_prefix("r\"").and_then(|inside| inside.find('"')) {
            // A script has lines of its own.
            tokens.extend(
                self::tokens(&rest[2..end + 2])
                    .into_iter()
                    .map(|inside| Token {
                        start: start + 2 + inside.start,
                        ..inside
                    }),
            );
            start += end + 3;
            continue;
        } else if word(c) {
            rest.find(|c| !word(c)).unwrap_or(rest.len())
        } else if c == '"' {
            string(rest)
        } else if c == '\'' {
            character(rest)
        } else {
            c.len_utf8()
        };
        tokens.push(Token {
            text: &rest[..len],
            start,
        });
        start += len;
    }
    tokens
}

/// The length of a string literal.
fn string(text: &str) -> usize {
    let mut is_escaped = true;
    let end = text.find(|c| {
        let ends = c == '"' && !is_escaped;
        is_escaped = c == '\\' && !is_escaped;
        ends
    });
    end.map_or(text.len(), |end| end + 1)
}

/// The length of a character literal, or 1 for the quote of a lifetime.
fn character(text: &str) -> usize {
    let mut chars = text.char_indices().skip(1);
    match chars.next() {
        Some((_, '\\')) => text[3..].find('\'').map_or(1, |end| end + 4),
        Some(_) => chars
            .next()
            .filter(|(_, c)| *c == '\'')
            .map_or(1, |(end, _)| end + 1),
        None => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::{Patch, apply, tokens};

    const PATCH: &str = "breaks: a slot is not cleared\nwith: threads\n\n--- a/f.rs\n+++ b/f.rs\n@@ -1,5 +1,5 @@\n \
        fn clear(&self) {\n     let own = self.slot();\n-    own.zero();\n+    own.keep(own);\n     self.free(own);\n }\n";

    fn patched(file: &str) -> Result<(String, bool), String> {
        let patch = Patch::parse("a-slot", PATCH)?;
        let applied = apply(&patch.files["f.rs"], file, true)?;
        let words: Vec<_> = tokens(&applied.text)
            .iter()
            .map(|token| token.text)
            .collect();
        Ok((words.join(" "), applied.drifted))
    }

    #[test]
    fn lines_that_are_moved_and_formatted_are_found() {
        let file = "// new\nfn other() {}\nfn clear(&self) {\n let own =\n self.slot(); // why\n own.zero();\n\n self.free(own); }\n";
        let (text, drifted) = patched(file).unwrap();
        assert!(
            text.contains("own . keep ( own ) ; self . free ( own )"),
            "{text}"
        );
        assert!(!drifted && !text.contains("zero"), "{text}");
    }

    #[test]
    fn a_line_of_a_script_is_found() {
        let change = "breaks: a\nwith: tests\n\n+++ b/f.rs\n x = 'a'\n-if x then return end\n+if y then return end\n z()\n";
        let file =
            "fn f() {\n    run(\n        r\"\nx = 'a'\nif x then return end\nz()\n\",\n    )\n}\n";
        let patch = Patch::parse("a", change).unwrap();
        let applied = apply(&patch.files["f.rs"], file, true).unwrap();
        assert_eq!(applied.text, file.replace("if x", "if y"));
        assert!(!applied.drifted);
        let longer = patch.files["f.rs"].as_slice();
        assert!(apply(longer, "fn f() {}", true).is_err());
    }

    #[test]
    fn a_rename_is_followed() {
        let file = "fn clear(&self) {\n    let place = self.slot();\n    place.zero();\n    self.free(place);\n}\n";
        let (text, drifted) = patched(file).unwrap();
        assert!(
            text.contains("place . keep ( place ) ; self . free ( place )"),
            "{text}"
        );
        assert!(drifted);
    }

    #[test]
    fn a_line_that_is_gone_or_there_twice_is_not_guessed() {
        assert!(patched("fn clear(&self) { self.slot().zero_all() }").is_err());
        let one = "fn clear(&self) {\n    let own = self.slot();\n    own.zero();\n    self.free(own);\n}\n";
        let error = patched(&one.repeat(2)).unwrap_err();
        assert!(error.contains("more than once"), "{error}");
    }
}
