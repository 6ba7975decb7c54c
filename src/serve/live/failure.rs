//! Which labels look as if something failed: a status of 400 or above, an outcome `error`,
//! `success="false"`. Such series come first, so that a page that shows few of them shows these.
//!
//! The names of labels are the user's, so this is a guess. A wrong one costs a place in a list.

use crate::snapshot::{Family, Value};

/// The longest word that is compared.
const LONGEST: usize = 16;

/// The most words of a value that is an outcome and not a text.
const WORDS: usize = 4;

/// The meaning of a label, by its name.
#[derive(Clone, Copy, Default)]
struct Name {
    /// They are statuses, as in `status_code`.
    status: bool,
    /// They are statuses of gRPC.
    grpc: bool,
    /// They are exit codes.
    exit: bool,
    /// They say whether something succeeded.
    success: bool,
    /// They name a failure, or say that there was none.
    cause: bool,
}

/// Returns the indices of the series that look as if something failed, and are not zero.
pub(super) fn failed_series(family: &Family) -> Vec<usize> {
    // Most series have the names of the one before.
    let mut known: Vec<(&str, Name)> = Vec::new();
    let mut has_failed = |i: &usize| {
        let pairs = crate::snapshot::labels::pairs(family.texts.get(*i));
        let mut pairs = pairs.enumerate();
        !is_zero(family.value(*i))
            && pairs.any(|(at, (name, value))| {
                if known.get(at).is_none_or(|(known, _)| *known != name) {
                    known.truncate(at);
                    known.push((name, Name::of(name)));
                }
                known[at].1.is_failure(&value)
            })
    };
    (0..family.len()).filter(|i| has_failed(i)).collect()
}

/// Returns whether a label looks as if something failed.
pub(super) fn is_failure(name: &str, value: &str) -> bool {
    Name::of(name).is_failure(value)
}

fn is_zero(value: Value<'_>) -> bool {
    match value {
        Value::Counter(n) => n.as_f64() == 0.0,
        Value::Gauge(x) => x == 0.0 || x.is_nan(),
        Value::Histogram(histogram) => histogram.count() == 0,
        Value::Summary(summary) => summary.count() == 0,
    }
}

impl Name {
    fn of(name: &str) -> Self {
        let mut all = Self::default();
        for word in words(name) {
            match word.as_bytes() {
                b"status" | b"code" => all.status = true,
                b"grpc" => all.grpc = true,
                b"exit" => all.exit = true,
                b"success" | b"succeeded" | b"successful" | b"ok" | b"healthy" => {
                    all.success = true;
                }
                b"err" | b"error" | b"exception" | b"failed" | b"failure" | b"panic"
                | b"panicked" => all.cause = true,
                _ => {}
            }
        }
        all
    }

    fn is_failure(self, value: &str) -> bool {
        if self.grpc && self.status {
            return !(matches!(value, "" | "0") || value.eq_ignore_ascii_case("ok"));
        }
        if value.starts_with(|c: char| c.is_ascii_digit()) {
            // Such as `503` and `5xx`.
            let is_status = matches!(value.as_bytes(), [b'4' | b'5', a, b]
                if [a, b].iter().all(|c| c.is_ascii_digit() || c.eq_ignore_ascii_case(&b'x')));
            return match value {
                "0" => self.success,
                _ => self.exit || self.cause || is_status && self.status,
            };
        }
        // A path is no outcome.
        let may_be_outcome = !value.as_bytes().contains(&b'/');
        let (mut number, mut has_failed) = (0, self.cause);
        for word in words(value) {
            let word = word.as_bytes();
            if number == 0 && is_none(word) {
                return self.success && matches!(word, b"false" | b"no");
            }
            number += 1;
            if number > WORDS {
                return self.cause;
            }
            has_failed |= may_be_outcome && tells_of_failure(word);
        }
        number > 0 && has_failed
    }
}

/// Returns whether a value that begins with this word denies a failure.
fn is_none(word: &[u8]) -> bool {
    matches!(
        word,
        b"false" | b"no" | b"non" | b"none" | b"not" | b"null" | b"ok" | b"without"
    )
}

/// Returns whether this word of a value tells of a failure, whatever the label.
#[rustfmt::skip]
fn tells_of_failure(word: &[u8]) -> bool {
    matches!(
        word,
        b"aborted" | b"bad" | b"broken" | b"corrupt" | b"crash" | b"crashed" | b"critical" | b"dead"
        | b"denied" | b"discarded" | b"dropped" | b"err" | b"error" | b"errors" | b"exceeded"
        | b"exception" | b"exhausted" | b"fail" | b"failed" | b"failure" | b"fatal" | b"forbidden"
        | b"invalid" | b"killed" | b"lost" | b"panic" | b"panicked" | b"refused" | b"rejected"
        | b"timed" | b"timeout" | b"unauthorized" | b"unavailable" | b"unhealthy" | b"unreachable"
    )
}

/// A word in lower case, as far as it is compared.
struct Word {
    bytes: [u8; LONGEST],
    len: usize,
}

impl Word {
    fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// Returns the words of a name or a value, such as `timed_out`, `timed-out` and `TimedOut`.
fn words(text: &str) -> impl Iterator<Item = Word> {
    let mut rest = text.as_bytes();
    std::iter::from_fn(move || {
        let begin = rest.iter().position(u8::is_ascii_alphanumeric)?;
        rest = &rest[begin..];
        let (mut bytes, mut len) = ([0; LONGEST], 0);
        let mut last = b'A';
        for (i, c) in rest.iter().enumerate() {
            // An upper case letter after a lower case one begins a word.
            if !c.is_ascii_alphanumeric() || last.is_ascii_lowercase() && c.is_ascii_uppercase() {
                break;
            }
            if let Some(byte) = bytes.get_mut(i) {
                *byte = c.to_ascii_lowercase();
            }
            (last, len) = (*c, i + 1);
        }
        rest = &rest[len..];
        // A longer word is none that is known.
        let len = if len > LONGEST { 0 } else { len };
        Some(Word { bytes, len })
    })
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn statuses_outcomes_and_causes_look_like_failures() {
        for (name, value) in [
            ("status", "402"),
            ("code", "503"),
            ("status_code", "5xx"),
            ("http.response.status_code", "404"),
            ("statusCode", "4XX"),
            ("grpc_code", "NotFound"),
            ("rpc_grpc_status_code", "14"),
            ("exit_code", "1"),
            ("outcome", "error"),
            ("outcome", "panicked"),
            ("result", "timed_out"),
            ("result", "TimedOut"),
            ("state", "DeadlineExceeded"),
            ("result", "payment-failed"),
            ("level", "ERROR"),
            ("error", "io"),
            ("error_type", "std::io::Error"),
            ("error", "true"),
            ("success", "false"),
            ("ok", "0"),
        ] {
            assert!(is_failure(name, value), "{name}={value}");
        }
    }

    #[test]
    fn successes_and_ordinary_labels_do_not() {
        for (name, value) in [
            ("status", "200"),
            ("code", "399"),
            ("status", "4000"),
            ("size", "500"),
            ("shelf", "00404"),
            ("grpc_code", "OK"),
            ("rpc_grpc_status_code", "0"),
            ("exit_code", "0"),
            ("outcome", "ok"),
            ("outcome", "no_error"),
            ("error", ""),
            ("error", "none"),
            ("error", "false"),
            ("error_code", "0"),
            ("failed", "0"),
            ("success", "true"),
            ("ok", "1"),
            ("express", "false"),
            ("route", "/errors/{id}"),
            ("help", "what to do when an error has been seen by users"),
            ("shop", "paris"),
            ("method", ""),
            ("ü", "ü"),
        ] {
            assert!(!is_failure(name, value), "{name}={value}");
        }
    }
}
