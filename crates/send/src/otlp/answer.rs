//! The meaning of answers.
//!
//! Source: OTLP 1.x, section "OTLP/HTTP Response".

use crate::protocol::{Answer, Verdict};

use super::protocol::Encoding;
use super::response::{self, PartialSuccess};

/// The most bytes of a receiver's message that are passed on.
const MOST_MESSAGE_BYTES: usize = 1000;

/// Returns the meaning of the answer to a request of `points` data points.
pub(super) fn verdict(answer: Option<&Answer>, encoding: Encoding, points: u64) -> Verdict {
    // The receiver may have it. If so, it gets it twice, which OTLP prefers to never.
    let Some(answer) = answer else {
        return Verdict::Retry;
    };
    match answer.status {
        200..=299 => accepted(answer, encoding, points),
        429 | 502 | 503 | 504 => Verdict::Retry,
        _ => Verdict::Refused,
    }
}

/// Returns the number of data points that the receiver rejected, and its message. An answer that
/// cannot be read rejects nothing.
fn accepted(answer: &Answer, encoding: Encoding, points: u64) -> Verdict {
    let is_json = match answer.header("content-type") {
        Some(content_type) => content_type
            .get(..16)
            .is_some_and(|start| start.eq_ignore_ascii_case("application/json")),
        None => encoding == Encoding::Json,
    };
    let found = if is_json {
        response::from_json(&answer.body)
    } else {
        response::from_protobuf(&answer.body)
    };
    let PartialSuccess {
        rejected,
        mut message,
    } = found.unwrap_or_default();
    let most = MOST_MESSAGE_BYTES;
    if message.len() > most {
        let end = (0..=most).rev().find(|end| message.is_char_boundary(*end));
        message.truncate(end.unwrap_or_default());
    }
    Verdict::Accepted {
        rejected: u64::try_from(rejected).unwrap_or(0).min(points),
        why: message,
    }
}
