//! The choice of a stream: the families and series that a search finds, and those that the page has
//! in sight.

use crate::serve::query;
use crate::snapshot::Family;

/// The most characters of a search.
const SEARCH: usize = 200;

/// The most words of a search. Further ones are left out.
const WORDS: usize = 8;

/// The bytes of label texts that one frame compares with words. Series beyond that are not found.
const COMPARED: usize = 64 << 20;

/// The most families whose series one stream gets.
const SEEN: usize = 60;

/// The most series of the family that is open.
const OPEN_ROWS: usize = 1000;

/// The choice of one stream. It does not change: a page that wants something else begins another
/// stream.
#[derive(Debug, Default)]
pub(super) struct Choice {
    /// The different words of the search, in lower case.
    words: Vec<String>,
    /// The families that the page wants, by name.
    seen: Vec<String>,
    /// Whether it wants the first ones, whatever they are.
    all: bool,
    /// The family that is open, if one is.
    open: String,
    /// The label text of the series that is selected in it, if one is.
    series: Option<String>,
    /// The label by whose values the series of the open family are added up, if they are.
    by: Option<String>,
    /// The most series of the open family.
    limit: usize,
    /// The time from which the page lacks the past, in milliseconds since the Unix epoch.
    pub(super) past: Option<u64>,
}

/// The series of a family that a search finds.
#[derive(Clone, Debug)]
pub(super) enum FoundSeries {
    /// So many, which are all.
    All(usize),
    /// Those with these indices.
    Some(Vec<usize>),
}

impl Choice {
    /// Reads the query of a request. What it does not understand is left out.
    pub(super) fn read(query: &str) -> Self {
        let mut choice = Self::default();
        for (key, value) in query::pairs(query) {
            match &*key {
                "match" => {
                    let search: String = value.chars().take(SEARCH).collect();
                    choice.words.clear();
                    for word in search.split_whitespace().map(str::to_ascii_lowercase) {
                        if choice.words.len() < WORDS && !choice.words.contains(&word) {
                            choice.words.push(word);
                        }
                    }
                }
                "seen" if choice.seen.len() < SEEN => choice.seen.push(value),
                "all" => choice.all = true,
                "open" => choice.open = value,
                "series" => choice.series = Some(value),
                "by" => choice.by = Some(value),
                "past" => choice.past = value.parse().ok(),
                "limit" => choice.limit = value.parse().unwrap_or(0),
                _ => {}
            }
        }
        choice
    }

    /// Begins a search through the families of a moment.
    pub(super) fn search(&self) -> Search<'_> {
        Search {
            words: &self.words,
            left: COMPARED,
        }
    }

    /// Returns how many series the page gets of this family, which is one of the first if it is at
    /// `at`. Returns `None` if the page does not want it. One that is not open has at most
    /// `closed`.
    pub(super) fn rows(&self, at: usize, family: &str, closed: usize) -> Option<usize> {
        if self.open == family {
            return Some(self.limit.clamp(closed, OPEN_ROWS));
        }
        let is_seen = self.all && at < SEEN || self.seen.iter().any(|seen| seen == family);
        is_seen.then_some(closed)
    }

    /// Returns whether the page searches for something.
    pub(super) fn is_search(&self) -> bool {
        !self.words.is_empty()
    }

    /// Returns the label by whose values the series of this family are added up.
    pub(super) fn by(&self, family: &str) -> Option<&str> {
        self.by.as_deref().filter(|_| self.open == family)
    }

    /// Returns the label text of the series of this family that is selected.
    pub(super) fn selected(&self, family: &str) -> Option<&str> {
        self.series.as_deref().filter(|_| self.open == family)
    }
}

/// A search through families, which compares a bounded number of bytes.
pub(super) struct Search<'a> {
    words: &'a [String],
    /// The bytes of label texts that may yet be compared.
    left: usize,
}

impl Search<'_> {
    /// Returns the series that have all words, each in the name or the help of their family or in
    /// their labels. Returns `None` if there are none.
    pub(super) fn find(&mut self, family: &Family) -> Option<FoundSeries> {
        let (name, help) = (family.name(), family.help());
        let elsewhere = |word: &&String| {
            !(has(name, word) || has(help, word) || has(&family.meta.constant, word))
        };
        let words: Vec<_> = self.words.iter().filter(elsewhere).collect();
        if words.is_empty() {
            return Some(FoundSeries::All(family.len()));
        }
        let mut found = Vec::new();
        for (i, text) in family.texts.iter().enumerate() {
            if self.is_partial() {
                break;
            }
            let has_all = words.iter().all(|word| {
                self.left = self.left.saturating_sub(text.len());
                has(text, word)
            });
            if has_all {
                found.push(i);
            }
        }
        (!found.is_empty()).then_some(FoundSeries::Some(found))
    }

    /// Returns whether the search ended early, so that it perhaps found too little.
    pub(super) fn is_partial(&self) -> bool {
        self.left == 0
    }
}

impl FoundSeries {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::All(len) => *len,
            Self::Some(found) => found.len(),
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = usize> + Clone + '_ {
        let (all, some) = match self {
            Self::All(len) => (*len, &[][..]),
            Self::Some(found) => (0, &found[..]),
        };
        (0..all).chain(some.iter().copied())
    }
}

/// Returns whether `text` contains `word`, which is in lower case. Only ASCII letters of the text
/// are compared in both cases.
fn has(text: &str, word: &str) -> bool {
    let (text, word) = (text.as_bytes(), word.as_bytes());
    // The first byte rules out most parts.
    let is_word =
        |part: &[u8]| part[0].to_ascii_lowercase() == word[0] && part.eq_ignore_ascii_case(word);
    word.is_empty() || text.windows(word.len()).any(is_word)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::{Counter, Registry};

    fn found(search: &str) -> Option<Vec<usize>> {
        let registry = Registry::new();
        let jobs = Counter::builder("jobs_total", "Work that is Done.")
            .labels(["queue", "kind"])
            .register(&registry)
            .unwrap();
        jobs.with(["mail", "NEW"]).inc();
        jobs.with(["mail", "old"]).inc();
        jobs.with(["bulk", "<b>\"x\""]).inc();
        let query = form_urlencoded::Serializer::new(String::new())
            .append_pair("match", search)
            .finish();
        let snapshot = registry.snapshot();
        let choice = Choice::read(&query);
        let found = choice.search().find(snapshot.family("jobs_total").unwrap());
        found.map(|found| {
            assert_eq!(found.len(), found.iter().count());
            found.iter().collect()
        })
    }

    #[test]
    fn every_word_is_in_the_name_the_help_or_the_labels() {
        assert_eq!(found(""), Some(vec![0, 1, 2]));
        assert_eq!(found("JOBS done"), Some(vec![0, 1, 2]));
        assert_eq!(found("mail"), Some(vec![0, 1]));
        assert_eq!(found("jobs queue=\"mail\" new"), Some(vec![0]));
        assert_eq!(found("<B>"), Some(vec![2]));
        assert_eq!(found("bulk old"), None);
        assert_eq!(found("errors"), None);
    }

    #[test]
    fn what_a_query_asks_for_is_bounded() {
        let mut query = format!("match={}&limit=9999999&open=a&series=", "x".repeat(5000));
        (0..1000).for_each(|i| query.push_str(&format!("&seen=f{i}")));
        let choice = Choice::read(&query);
        assert_eq!(choice.words[0].len(), SEARCH);
        assert_eq!(choice.seen.len(), SEEN);
        assert_eq!(choice.rows(0, "a", 7), Some(OPEN_ROWS));
        assert_eq!(choice.rows(0, "f7", 7), Some(7));
        assert_eq!(choice.rows(0, "f999", 7), None);
        let all = Choice::read("all=1");
        assert_eq!(
            (all.rows(SEEN - 1, "f", 7), all.rows(SEEN, "f", 7)),
            (Some(7), None)
        );
        assert_eq!(
            (choice.selected("a"), choice.selected("f7")),
            (Some(""), None)
        );
        assert_eq!(
            Choice::read("limit=-1&open=a&nonsense").rows(0, "a", 7),
            Some(7)
        );
    }

    /// A search of 100 words, all equal, was compared 100 times with each series.
    #[test]
    fn equal_words_count_once_and_there_are_eight() {
        let words = |query: &str| Choice::read(query).words;
        assert_eq!(words("match=a+A+b+a"), ["a", "b"]);
        let many: Vec<_> = (0..99).map(|i| i.to_string()).collect();
        assert_eq!(words(&format!("match={}", many.join("+"))).len(), WORDS);
    }

    #[test]
    fn a_search_ends_after_so_many_bytes() {
        let registry = Registry::new();
        let jobs = Counter::builder("jobs_total", "")
            .labels(["queue"])
            .register(&registry)
            .unwrap();
        (0..5).for_each(|i| jobs.with([&*format!("q{i}")]).inc());
        let snapshot = registry.snapshot();
        let family = snapshot.family("jobs_total").unwrap();
        let choice = Choice::read("match=queue+q");
        let mut search = choice.search();
        assert_eq!(search.find(family).map(|found| found.len()), Some(5));
        assert!(!search.is_partial());
        // Each of two words is compared with `queue="q0"`.
        search.left = 2 * 10 * 3;
        assert_eq!(search.find(family).map(|found| found.len()), Some(3));
        assert!(search.is_partial());
        assert!(search.find(family).is_none());
    }
}
