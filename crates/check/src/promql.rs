//! The metric names in a PromQL query. Not a parser of the whole language: it finds selectors, and
//! skips what cannot be one.

/// A vector selector: a metric name, and matchers of labels.
#[derive(Debug, PartialEq)]
pub(crate) struct Selector {
    pub(crate) name: String,
    /// Label, operator and value.
    pub(crate) matchers: Vec<(String, String, String)>,
}

/// Words that are no metrics wherever they stand without an opening parenthesis.
const WORDS: &[&str] = &[
    "and",
    "or",
    "unless",
    "atan2",
    "bool",
    "offset",
    "by",
    "without",
    "on",
    "ignoring",
    "group_left",
    "group_right",
    "inf",
    "nan",
    "sum",
    "min",
    "max",
    "avg",
    "group",
    "stddev",
    "stdvar",
    "count",
    "count_values",
    "bottomk",
    "topk",
    "quantile",
    "limitk",
    "limit_ratio",
    "fill",
    "fill_left",
    "fill_right",
    "smoothed",
    "anchored",
];

/// Words before a list of labels in parentheses.
const LABEL_LISTS: &[&str] = &[
    "by",
    "without",
    "on",
    "ignoring",
    "group_left",
    "group_right",
];

/// Functions of dashboards whose arguments are labels or patterns.
const NOT_QUERIES: &[&str] = &["label_names", "metrics"];

/// Returns the selectors of a query. Names and values with variables of a dashboard, such as
/// `$job`, are left out, because their text is unknown.
pub(crate) fn selectors(query: &str) -> Vec<Selector> {
    let mut found = Vec::new();
    let mut scan = Scan { rest: query };
    scan.expression(&mut found);
    found
}

struct Scan<'a> {
    rest: &'a str,
}

impl<'a> Scan<'a> {
    fn expression(&mut self, found: &mut Vec<Selector>) {
        loop {
            self.skip_space();
            let Some(c) = self.rest.chars().next() else {
                return;
            };
            match c {
                '"' | '\'' | '`' => _ = self.string(),
                '[' if self.rest.starts_with("[[") => self.word_with_variable(),
                '[' => self.skip_to(']'),
                '$' => self.word_with_variable(),
                '{' => {
                    let (name, matchers) = self.matchers();
                    found.extend(name.map(|name| Selector { name, matchers }));
                }
                c if is_start(c) => self.word(found),
                // Numbers and durations.
                c if c.is_ascii_digit() => {
                    _ = self.take(|c| is_start(c) || is_digit(c) || c == '.')
                }
                c => self.advance(c.len_utf8()),
            }
        }
    }

    /// Reads a word, which is a keyword, a function or a metric name.
    fn word(&mut self, found: &mut Vec<Selector>) {
        let word = self.take(|c| is_start(c) || is_digit(c));
        if self.rest.starts_with('$') || self.rest.starts_with("[[") {
            return self.word_with_variable();
        }
        self.skip_space();
        let lower = word.to_ascii_lowercase();
        if self.rest.starts_with('(') {
            if LABEL_LISTS.contains(&&*lower) || NOT_QUERIES.contains(&word) {
                _ = self.parentheses();
            } else if word == "label_values" {
                // The last argument is a label; before it there may be a query.
                let arguments = self.parentheses();
                if let Some((query, _)) = split_last(arguments) {
                    found.extend(selectors(query));
                }
            }
            // The arguments of any other function are expressions.
            return;
        }
        if WORDS.contains(&&*lower) {
            return;
        }
        let matchers = if self.rest.starts_with('{') {
            self.matchers().1
        } else {
            Vec::new()
        };
        let name = word.to_owned();
        found.push(Selector { name, matchers });
    }

    /// Skips a word that a variable is part of, with the matchers behind it.
    fn word_with_variable(&mut self) {
        loop {
            if self.rest.starts_with("${") {
                self.skip_to('}');
            } else if self.rest.starts_with("[[") {
                self.skip_to(']');
                self.advance(usize::from(self.rest.starts_with(']')));
            } else if self.rest.starts_with('$') {
                self.advance(1);
            } else if self.take(|c| is_start(c) || is_digit(c)).is_empty() {
                break;
            }
        }
        if self.rest.starts_with('{') {
            _ = self.matchers();
        }
    }

    /// Reads matchers in braces. Returns the metric name among them, and the others.
    fn matchers(&mut self) -> (Option<String>, Vec<(String, String, String)>) {
        self.advance(1);
        let (mut name, mut matchers) = (None, Vec::new());
        loop {
            self.skip_space();
            let Some(c) = self.rest.chars().next() else {
                break;
            };
            if c == '}' {
                self.advance(1);
                break;
            }
            let label = match c {
                '"' | '\'' | '`' => self.string(),
                c if is_start(c) => self.take(|c| is_start(c) || is_digit(c)).to_owned(),
                // A comma, or the variable of a dashboard.
                c => {
                    self.advance(c.len_utf8());
                    continue;
                }
            };
            self.skip_space();
            let operator = self.take(|c| matches!(c, '=' | '!' | '~')).to_owned();
            self.skip_space();
            let is_quoted = self.rest.starts_with(['"', '\'', '`']);
            if operator.is_empty() {
                // `{"a.metric"}`.
                name = Some(label);
            } else if is_quoted {
                let value = self.string();
                if label == "__name__" {
                    name = (operator == "=").then_some(value);
                } else {
                    matchers.push((label, operator, value));
                }
            }
        }
        let is_known = |name: &String| !name.contains('$') && !name.contains("[[");
        (name.filter(is_known), matchers)
    }

    /// Reads a string with its quotes, and returns its text.
    fn string(&mut self) -> String {
        let mut text = String::new();
        let mut chars = self.rest.char_indices();
        let quote = chars.next().map(|(_, quote)| quote);
        while let Some((at, c)) = chars.next() {
            if Some(c) == quote {
                self.advance(at + 1);
                return text;
            }
            match c {
                '\\' if quote != Some('`') => match chars.next() {
                    Some((_, 'n')) => text.push('\n'),
                    Some((_, 't')) => text.push('\t'),
                    Some((_, c)) => text.push(c),
                    None => {}
                },
                c => text.push(c),
            }
        }
        self.rest = "";
        text
    }

    /// Reads parentheses, and returns what is in them.
    fn parentheses(&mut self) -> &'a str {
        let start = &self.rest[1..];
        self.advance(1);
        let mut depth = 1;
        while let Some(c) = self.rest.chars().next() {
            match c {
                '"' | '\'' | '`' => {
                    _ = self.string();
                    continue;
                }
                '(' | '{' => depth += 1,
                ')' | '}' => depth -= 1,
                _ => {}
            }
            let inside = &start[..start.len() - self.rest.len()];
            self.advance(c.len_utf8());
            if depth == 0 {
                return inside;
            }
        }
        start
    }

    fn skip_space(&mut self) {
        loop {
            self.rest = self.rest.trim_start();
            if !self.rest.starts_with('#') {
                return;
            }
            self.rest = self.rest.split_once('\n').map_or("", |(_, rest)| rest);
        }
    }

    fn skip_to(&mut self, end: char) {
        self.rest = self.rest.split_once(end).map_or("", |(_, rest)| rest);
    }

    fn take(&mut self, is_part: impl Fn(char) -> bool) -> &'a str {
        let end = self.rest.find(|c| !is_part(c)).unwrap_or(self.rest.len());
        let (taken, rest) = self.rest.split_at(end);
        self.rest = rest;
        taken
    }

    fn advance(&mut self, bytes: usize) {
        self.rest = &self.rest[bytes..];
    }
}

fn is_start(c: char) -> bool {
    c.is_ascii_alphabetic() || c == '_' || c == ':'
}

fn is_digit(c: char) -> bool {
    c.is_ascii_digit()
}

/// Splits arguments at the last comma that is not in parentheses, braces or quotes.
fn split_last(arguments: &str) -> Option<(&str, &str)> {
    let (mut depth, mut quote, mut comma) = (0, None, None);
    for (at, c) in arguments.char_indices() {
        match (quote, c) {
            (Some(open), c) if open == c => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'' | '`') => quote = Some(c),
            (None, '(' | '{' | '[') => depth += 1,
            (None, ')' | '}' | ']') => depth -= 1,
            (None, ',') if depth == 0 => comma = Some(at),
            _ => {}
        }
    }
    comma.map(|at| (&arguments[..at], &arguments[at + 1..]))
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
