//! The meaning of a receiver's answer.
//!
//! | answer | to 1.0 | to 2.0 |
//! |---|---|---|
//! | 2xx | all was written | the headers say how much was written; without them, nothing was |
//! | 415 | unsupported | unsupported |
//! | 400 without these headers, before any was accepted | refused | unsupported |
//! | 429, 5xx | retry | the same |
//! | any other | refused | refused, except for the samples that the headers count |
//!
//! The body of a 400 names only some of the samples that were rejected. Nothing is retried for it:
//! the rest was written (2.0), or would be rejected again (1.0).
//!
//! Source: Remote-Write 2.0, sections "Required `Written` Response Headers", "Unsupported Request
//! Content", "Invalid Samples" and "Retries & Backoff".

use crate::protocol::Answer;

use super::batch::SampleCounts;

/// The headers that count what was written.
const SAMPLES: &str = "x-prometheus-remote-write-samples-written";
const HISTOGRAMS: &str = "x-prometheus-remote-write-histograms-written";
const EXEMPLARS: &str = "x-prometheus-remote-write-exemplars-written";

/// The meaning of an answer.
#[derive(Debug, PartialEq)]
pub(super) enum Meaning {
    /// The receiver wrote the samples, except for some.
    Written {
        rejected: u64,
        why: String,
    },
    /// The receiver does not know this version of the protocol.
    Unsupported,
    Retry,
    Refused,
}

/// Returns the meaning of an answer to a request in version 1.0.
pub(super) fn to_v1(answer: &Answer) -> Meaning {
    match answer.status {
        // Version 1.0 does not have the headers. Prometheus sends them with zeros.
        200..=299 => Meaning::Written {
            rejected: 0,
            why: String::new(),
        },
        415 => Meaning::Unsupported,
        429 | 500..=599 => Meaning::Retry,
        _ => Meaning::Refused,
    }
}

/// Returns the meaning of an answer to a request with these samples in version 2.0. `is_known` says
/// whether the receiver has accepted one in this version before.
pub(super) fn to_v2(answer: &Answer, sent: SampleCounts, is_known: bool) -> Meaning {
    let written = written(answer, sent);
    match (answer.status, written) {
        (200..=299, Some(written)) => {
            let rejected = sent.total().saturating_sub(written);
            let why = match rejected {
                0 => String::new(),
                _ => format!("the receiver wrote {written} of {} samples", sent.total()),
            };
            Meaning::Written { rejected, why }
        }
        (200..=299, None) | (415, _) => Meaning::Unsupported,
        (400, None) if !is_known => Meaning::Unsupported,
        (429 | 500..=599, _) => Meaning::Retry,
        (400..=499, Some(written)) if written > 0 => Meaning::Written {
            rejected: sent.total().saturating_sub(written),
            why: String::from_utf8_lossy(&answer.body).into_owned(),
        },
        _ => Meaning::Refused,
    }
}

/// Returns whether the receiver of a request in version 1.0 is a VictoriaMetrics that drops native
/// histograms. It answers 204 all the same. Its name is in no header, but only VictoriaMetrics has
/// `X-Server-Hostname`. Versions that store native histograms have `Vary` as well: 1.145 does, and
/// 1.79 does not.
pub(super) fn drops_histograms(answer: &Answer) -> bool {
    answer.header("x-server-hostname").is_some() && answer.header("vary").is_none()
}

/// Returns the number of samples that were written, or `None` if no header says it.
///
/// A header that is missing means 0, and one that is no number means all. Exemplars do not count:
/// many receivers do not store them.
fn written(answer: &Answer, sent: SampleCounts) -> Option<u64> {
    let mut headers = [SAMPLES, HISTOGRAMS, EXEMPLARS].iter();
    headers.find_map(|name| answer.header(name))?;
    let count = |name, sent: u64| match answer.header(name) {
        None => 0,
        Some(text) => text
            .trim()
            .parse::<u64>()
            .map_or(sent, |count| count.min(sent)),
    };
    Some(count(SAMPLES, sent.floats) + count(HISTOGRAMS, sent.histograms))
}
