//! The metric names in a PromQL query. Not a parser of the whole language: it finds selectors, and
//! skips what cannot be one.

use Token::{Sign, Text, Word};

/// A vector selector: a metric name, and matchers of labels.
#[derive(Debug, PartialEq)]
pub(crate) struct Selector {
    pub(crate) name: String,
    pub(crate) matchers: Vec<Matcher>,
}

/// Label, operator and value.
type Matcher = (String, String, String);

/// Words before the labels of an aggregation, in parentheses.
const GROUPING: &[&str] = &["by", "without"];

/// Words before the labels by which two operands match, in parentheses.
const MATCHING: &[&str] = &["on", "ignoring", "group_left", "group_right"];

/// Other words that are no metrics, although no parenthesis follows them.
const KEYWORDS: &[&str] = &[
    "and", "or", "unless", "atan2", "bool", "offset", "inf", "nan", "smoothed", "anchored",
];

/// Functions of dashboards whose arguments are labels or patterns.
const NOT_QUERIES: &[&str] = &["label_names", "metrics"];

/// Returns the selectors of a query. Names and values with variables of a dashboard, such as
/// `$job`, are left out, because their text is unknown.
pub(crate) fn selectors(query: &str) -> Vec<Selector> {
    let mut found = Vec::new();
    find(&tokens(query), &mut found);
    found
}

#[derive(Debug, PartialEq)]
enum Token<'a> {
    /// A name, a keyword or a number, maybe with variables of a dashboard in it.
    Word(&'a str),
    /// A text in quotes, without them.
    Text(String),
    /// An operator of a matcher, or any other character.
    Sign(&'a str),
}

fn tokens(mut rest: &str) -> Vec<Token<'_>> {
    let mut all = Vec::new();
    loop {
        rest = rest.trim_start();
        let Some(c) = rest.chars().next() else {
            return all;
        };
        let (token, length) = match (c, word_length(rest)) {
            ('#', _) => (None, rest.find('\n').unwrap_or(rest.len())),
            ('"' | '\'' | '`', _) => {
                let (text, length) = string(rest, c);
                (Some(Text(text)), length)
            }
            (_, 0) => {
                let operator = rest.len() - rest.trim_start_matches(['=', '!', '~']).len();
                let length = operator.max(c.len_utf8());
                (Some(Sign(&rest[..length])), length)
            }
            (_, length) => (Some(Word(&rest[..length])), length),
        };
        all.extend(token);
        rest = &rest[length..];
    }
}

/// Returns the length of the word that a text begins with, with the variables that are part of it:
/// `$name`, `${name}` and `[[name]]`.
fn word_length(text: &str) -> usize {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let after = |rest: &str, end: &str| rest.find(end).map_or(rest.len(), |at| at + end.len());
    let mut length = 0;
    loop {
        let rest = &text[length..];
        length += match rest {
            _ if rest.starts_with("${") => after(rest, "}"),
            _ if rest.starts_with("[[") => after(rest, "]]"),
            _ if rest.starts_with('$') => 1,
            _ => match rest.find(|c| !is_part(c)).unwrap_or(rest.len()) {
                0 => return length,
                part => part,
            },
        };
    }
}

/// Reads a text in quotes. Returns it, and its length with the quotes.
fn string(text: &str, quote: char) -> (String, usize) {
    let mut read = String::new();
    let mut chars = text.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        match c {
            c if c == quote => return (read, at + 1),
            '\\' if quote != '`' => match chars.next() {
                Some((_, 'n')) => read.push('\n'),
                Some((_, 't')) => read.push('\t'),
                other => read.extend(other.map(|(_, c)| c)),
            },
            c => read.push(c),
        }
    }
    (read, text.len())
}

/// Appends the selectors in these tokens.
fn find(mut tokens: &[Token<'_>], found: &mut Vec<Selector>) {
    loop {
        tokens = match tokens {
            [] => return,
            // The length of a range.
            [Sign("["), rest @ ..] => {
                let end = rest.iter().position(|token| *token == Sign("]"));
                &rest[end.unwrap_or(rest.len())..]
            }
            [Sign("{"), ..] => {
                let (name, matchers, rest) = matchers(tokens);
                found.extend(name.map(|name| Selector { name, matchers }));
                rest
            }
            [Word("label_values"), Sign("("), ..] => {
                let (last_comma, after) = parentheses(&tokens[1..]);
                // The last argument is a label; before it there may be a query.
                find(&tokens[1..][..last_comma.unwrap_or(0)], found);
                after
            }
            [Word(word), Sign("("), ..] if has_labels(word) || NOT_QUERIES.contains(word) => {
                parentheses(&tokens[1..]).1
            }
            // The arguments of any other function are expressions.
            [Word(_), Sign("("), ..] => &tokens[1..],
            // An aggregation.
            [Word(_), Word(by), ..] if is_one(by, GROUPING) => &tokens[1..],
            [Word(word), rest @ ..] => {
                let (_, matchers, rest) = matchers(rest);
                let is_number = word.starts_with(|c: char| c.is_ascii_digit());
                let is_keyword = is_one(word, KEYWORDS) || has_labels(word);
                if is_known(word) && !is_number && !is_keyword {
                    let name = (*word).to_owned();
                    found.push(Selector { name, matchers });
                }
                rest
            }
            [_, rest @ ..] => rest,
        };
    }
}

/// Returns whether a list of labels may follow a word.
fn has_labels(word: &str) -> bool {
    is_one(word, GROUPING) || is_one(word, MATCHING)
}

fn is_one(word: &str, words: &[&str]) -> bool {
    words.iter().any(|known| known.eq_ignore_ascii_case(word))
}

/// Returns whether a name has no variable of a dashboard in it.
fn is_known(name: &str) -> bool {
    !name.contains('$') && !name.contains("[[")
}

/// Reads matchers in braces, if there are any. Returns the metric name among them, the others, and
/// what follows.
fn matchers<'t, 'a>(
    mut tokens: &'t [Token<'a>],
) -> (Option<String>, Vec<Matcher>, &'t [Token<'a>]) {
    let (mut name, mut matchers) = (None, Vec::new());
    if tokens.first() != Some(&Sign("{")) {
        return (name, matchers, tokens);
    }
    loop {
        tokens = match tokens {
            [] | [Sign("}"), ..] => {
                let name = name.filter(|name: &String| is_known(name));
                return (name, matchers, tokens.get(1..).unwrap_or_default());
            }
            [
                label @ (Word(_) | Text(_)),
                Sign(operator @ ("=" | "!=" | "=~" | "!~")),
                Text(value),
                rest @ ..,
            ] => {
                let label = match label {
                    Text(label) => label.clone(),
                    Word(label) | Sign(label) => (*label).to_owned(),
                };
                if label == "__name__" {
                    name = (*operator == "=").then(|| value.clone());
                } else {
                    matchers.push((label, (*operator).to_owned(), value.clone()));
                }
                rest
            }
            // `{"a.metric"}`.
            [Text(text), rest @ ..] if matches!(rest, [] | [Sign("," | "}"), ..]) => {
                name = Some(text.clone());
                rest
            }
            // The opening brace, a comma, or the variable of a dashboard.
            [_, rest @ ..] => rest,
        };
    }
}

/// Reads parentheses, beginning with the opening one. Returns where the comma before their last
/// part is, and what follows.
fn parentheses<'t, 'a>(tokens: &'t [Token<'a>]) -> (Option<usize>, &'t [Token<'a>]) {
    let (mut depth, mut comma) = (0, None);
    for (at, token) in tokens.iter().enumerate() {
        match token {
            Sign("(" | "{" | "[") => depth += 1,
            Sign(")" | "}" | "]") => depth -= 1,
            Sign(",") if depth == 1 => comma = Some(at),
            _ => {}
        }
        if depth == 0 {
            return (comma, &tokens[at + 1..]);
        }
    }
    (comma, &[])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(query: &str) -> Vec<String> {
        selectors(query)
            .into_iter()
            .map(|found| found.name)
            .collect()
    }

    #[test]
    fn only_selectors_are_metrics() {
        for (query, expected) in [
            ("up", &["up"][..]),
            ("sum by (job) (rate(a_total{x=\"y\"}[5m]))", &["a_total"]),
            (
                "sum(rate(a[5m])) without (b) / on(c) group_left(d) e",
                &["a", "e"],
            ),
            (
                "histogram_quantile(0.9, sum by (le) (rate(a_bucket[$__rate_interval])))",
                &["a_bucket"],
            ),
            (
                "a offset 5m and b @ start() or c unless d > bool 1e9",
                &["a", "b", "c", "d"],
            ),
            ("SUM BY (x) (a) + Inf - NaN * 0x1F", &["a"]),
            (
                "label_replace(a, \"dst\", \"$1\", \"src\", \"(.*)\")",
                &["a"],
            ),
            (
                "{__name__=\"a\", b=\"c\"} + {\"d.e\"} + {__name__=~\"f.*\"}",
                &["a", "d.e"],
            ),
            (
                "$metric + ${metric}_total{a=\"b\"} + x_${y}_z + [[old]]_total",
                &[],
            ),
            ("a{job=~\"$job\"} # b\n + c", &["a", "c"]),
            ("label_values(a{x=\"(\"}, instance)", &["a"]),
            ("label_values(instance)", &[]),
            ("job:a:rate5m > 0.5", &["job:a:rate5m"]),
            ("topk(5, a) == count_values(\"v\", b)", &["a", "b"]),
            ("max_over_time(a[1h:5m] offset 1d)[2h:]", &["a"]),
            ("a{b=\"un}closed", &["a"]),
            ("sum(a", &["a"]),
            ("ä + \"b\" + `c`", &[]),
            (
                "{__name__=\"a\", $filter} + b{$filter, c=\"d\"}",
                &["a", "b"],
            ),
            ("{\"__name__\"=\"a\"} + {\"b\"=$value}", &["a"]),
            ("sum(a) by (b) == bool min without (c) (d)", &["a", "d"]),
        ] {
            assert_eq!(names(query), expected, "{query}");
        }
    }

    #[test]
    fn matchers_belong_to_their_metric() {
        let found = selectors("a{b=\"c\\\"\", d!~'e', \"f g\"=`h`} + x");
        let matcher = |l: &str, o: &str, v: &str| (l.to_owned(), o.to_owned(), v.to_owned());
        let expected = [
            matcher("b", "=", "c\""),
            matcher("d", "!~", "e"),
            matcher("f g", "=", "h"),
        ];
        assert_eq!(found[0].matchers, expected);
        assert!(found[1].matchers.is_empty());
    }
}
