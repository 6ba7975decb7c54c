//! The seam between the sender, which knows time, retries and connections, and the protocols, which
//! know bytes: what a protocol does with snapshots and with answers.

use tallies::snapshot::Snapshot;

/// A protocol, with its state between snapshots. Its memory is bounded by the number of series.
///
/// The sender calls [`take`](Self::take) with each snapshot, then [`next`](Self::next) and
/// [`answered`](Self::answered) in turns until nothing is left. A request that has to be retried
/// comes from `next` again, byte for byte. If the next snapshot comes before that, `take` decides
/// what becomes of the rest.
pub(crate) trait Protocol: Send {
    /// Takes in a snapshot, in the place of what is not sent yet. What only the rest knows (deltas,
    /// the ends of series) is kept and merged.
    fn take(&mut self, snapshot: &Snapshot);

    /// Ends all series, at a clean shutdown, with what the protocol has for that. A last snapshot
    /// was taken in and sent before.
    fn end(&mut self) {}

    /// Returns the samples that were not sent before a newer snapshot replaced them, in all.
    fn superseded(&self) -> u64;

    /// Writes the body of the next request into `body`, which is empty, and returns its headers
    /// besides those of every request (host, length, authorization, user agent). Returns `None` if
    /// nothing is left.
    fn next(&mut self, body: &mut Vec<u8>) -> Option<Headers>;

    /// Takes in the answer to the last request. Without an answer (`None`: no connection, or none
    /// in time), a receiver may have taken the request or not.
    fn answered(&mut self, answer: Option<&Answer>) -> Verdict;
}

/// The headers of a request: names in lower case and values.
pub(crate) type Headers = Vec<(&'static str, String)>;

/// The answer of a receiver.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Names in lower case, values as text.
    pub(crate) headers: Vec<(String, String)>,
    /// At most [`MOST_BODY_BYTES`] of the body.
    pub(crate) body: Vec<u8>,
}

/// The most bytes of an answer that are read.
pub(crate) const MOST_BODY_BYTES: usize = 64 << 10;

/// The meaning of an answer.
#[derive(Debug, PartialEq)]
pub(crate) enum Verdict {
    /// The receiver has it. It may have rejected some samples, and may say why.
    Accepted { rejected: u64, why: String },
    /// The same request again, when the receiver wants it or after a pause.
    Retry,
    /// Another form of the same data at once: `next` has it.
    Again,
    /// The receiver will never take this request. It is lost, and `next` goes on after it.
    Refused,
}

impl Answer {
    /// Returns the value of the first header of this name, which is in lower case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }
}
