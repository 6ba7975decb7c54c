//! The exchange with a receiver: requests and answers in turns.

use snap::raw::{Encoder, max_compress_len};
use tallies::snapshot::Snapshot;

use crate::protocol::{Answer, Headers, Protocol, Verdict};

use super::answer::{self, Meaning};
use super::batch::{Batch, Limits, fill};
use super::held::{Cursor, Held};
use super::series::millis;
use super::stale::Ended;
use super::v1::RequestV1;
use super::v2::RequestV2;
use super::{HistogramForm, RemoteWrite, Version};

/// The most samples of a request. Prometheus has the same default (`max_samples_per_send`).
const MOST_SAMPLES: u64 = 2_000;

/// The time after which the descriptions of families are sent again in version 1.0, in
/// milliseconds. Prometheus has the same default (`metadata_config.send_interval`).
const METADATA_MILLIS: u64 = 60_000;

/// The largest step back of the clock, in milliseconds, that the times of samples hide.
const HIDDEN_STEP_MILLIS: u64 = 60_000;

/// A message of the protocol.
#[derive(Clone, Copy, Debug, PartialEq)]
enum MessageVersion {
    V1,
    V2,
}

/// The protocol, with its state between snapshots.
pub(crate) struct Exchange {
    labels: Vec<(String, String)>,
    version: Version,
    form: HistogramForm,
    pub(super) most_samples: u64,
    /// The message in use.
    message: MessageVersion,
    /// Whether the receiver has accepted this message.
    is_accepted: bool,
    /// Whether the next request was sent in the other message before.
    is_again: bool,
    held: Held,
    ended: Ended,
    /// The first series of the next request.
    next: Cursor,
    /// The end of the last request of this snapshot.
    reached: Cursor,
    /// The last request, until it is answered.
    request: Option<Batch>,
    /// The time of the last snapshot, in milliseconds since the Unix epoch.
    time: Option<u64>,
    /// The same of the last snapshot with descriptions of families.
    metadata_time: Option<u64>,
    superseded: u64,
    v1: RequestV1,
    v2: RequestV2,
    encoder: Encoder,
}

impl Exchange {
    /// Returns a new exchange. The labels are valid.
    pub(super) fn new(settings: &RemoteWrite) -> Self {
        Self {
            labels: settings.labels.clone(),
            version: settings.version,
            form: settings.histograms,
            most_samples: MOST_SAMPLES,
            message: match settings.version {
                Version::V1 => MessageVersion::V1,
                Version::V2 | Version::Auto => MessageVersion::V2,
            },
            is_accepted: false,
            is_again: false,
            held: Held::default(),
            ended: Ended::default(),
            next: Cursor::default(),
            reached: Cursor::default(),
            request: None,
            time: None,
            metadata_time: None,
            superseded: 0,
            v1: RequestV1::new(),
            v2: RequestV2::new(),
            encoder: Encoder::new(),
        }
    }

    /// Returns the number of series whose ends are queued.
    #[cfg(test)]
    pub(super) fn queued(&self) -> usize {
        self.ended.len()
    }

    /// Returns the form of histograms in the message in use.
    fn form(&self) -> HistogramForm {
        match (self.message, self.form) {
            // Custom buckets are no part of version 1.0 (`custom_values` in `types.proto`).
            (MessageVersion::V1, HistogramForm::Native) => HistogramForm::AsDeclared,
            (_, form) => form,
        }
    }

    /// Returns the time of the samples of a snapshot: at least two milliseconds after the one
    /// before, so that stale markers fit between them, unless the clock was set back too far.
    fn next_time(&mut self, snapshot: &Snapshot) -> u64 {
        let taken = millis(snapshot.taken());
        let time = match self.time {
            Some(last) if taken < last + 2 => {
                let is_hidden = last - taken.min(last) <= HIDDEN_STEP_MILLIS;
                if is_hidden { last + 2 } else { taken }
            }
            _ => taken,
        };
        self.time = Some(time);
        time
    }

    /// Begins the walk over what is held now.
    fn restart(&mut self) {
        self.next = Cursor::default();
        self.reached = Cursor::default();
        self.request = None;
        self.is_again = false;
    }

    /// Goes on after a request that the receiver has answered for good.
    fn advance(&mut self, batch: &Batch) {
        self.ended.remove(batch.ended);
        self.next = batch.to;
        self.is_again = false;
    }

    /// Uses the other message from now on.
    fn switch(&mut self) {
        self.message = match self.message {
            MessageVersion::V1 => MessageVersion::V2,
            MessageVersion::V2 => MessageVersion::V1,
        };
        self.is_accepted = false;
        self.held.reshape(self.form());
    }

    /// Decides after an answer that says that the receiver does not know the message in use.
    fn unsupported(&mut self, batch: &Batch, status: u16) -> Verdict {
        if self.version == Version::Auto && !self.is_again {
            self.switch();
            self.is_again = true;
            return Verdict::Again;
        }
        let text = match self.version {
            Version::V1 => {
                "the receiver does not take version 1.0 of remote write; use `Version::Auto`"
            }
            Version::V2 => {
                "the receiver does not take version 2.0 of remote write, or does not say how many \
                 samples it wrote; use `Version::Auto`"
            }
            Version::Auto => {
                "the receiver takes neither version 2.0 nor version 1.0 of remote write; check its \
                 URL"
            }
        };
        tallies::Error::new(format!("{text} (it answered {status})")).log_once();
        self.refused(batch)
    }

    /// Goes on after a request that the receiver will never take. A switch to the other message
    /// that did not help is taken back.
    fn refused(&mut self, batch: &Batch) -> Verdict {
        if self.is_again {
            self.switch();
        }
        self.advance(batch);
        Verdict::Refused
    }
}

impl Protocol for Exchange {
    fn take(&mut self, snapshot: &Snapshot) {
        self.superseded += self.held.samples_from(self.next);
        let time = self.next_time(snapshot);
        let form = self.form();
        self.held
            .replace(snapshot, time, form, self.reached, &mut self.ended);
        let is_due = |last: u64| time < last || time - last >= METADATA_MILLIS;
        if self.metadata_time.is_none_or(is_due) {
            self.metadata_time = Some(time);
            self.held.with_metadata = true;
        }
        self.ended.remove_old(time);
        self.restart();
    }

    fn end(&mut self) {
        self.superseded += self.held.samples_from(self.next);
        let time = self.time.map_or(0, |last| last + 1);
        self.time = Some(time);
        self.held.end(self.reached, time);
        self.restart();
    }

    fn superseded(&self) -> u64 {
        self.superseded
    }

    fn next(&mut self, body: &mut Vec<u8>) -> Option<Headers> {
        let limits = Limits {
            external: &self.labels,
            form: self.form(),
            most_samples: self.most_samples,
        };
        let (ended, held, from) = (&self.ended, &self.held, self.next);
        let (batch, message) = match self.message {
            MessageVersion::V1 => {
                self.v1.clear();
                let batch = fill(&mut self.v1, &limits, ended, held, from);
                (batch, self.v1.message())
            }
            MessageVersion::V2 => {
                self.v2.clear();
                let batch = fill(&mut self.v2, &limits, ended, held, from);
                (batch, self.v2.message())
            }
        };
        if batch.counts.total() == 0 {
            self.next = batch.to;
            return None;
        }
        body.resize(max_compress_len(message.len()), 0);
        let len = self.encoder.compress(message, body);
        body.truncate(len.expect("a request has less than 4 GiB, and the buffer is large enough"));
        self.reached = self.reached.max(batch.to);
        self.request = Some(batch);
        let (content_type, version) = match self.message {
            MessageVersion::V1 => ("application/x-protobuf", "0.1.0"),
            MessageVersion::V2 => (
                "application/x-protobuf;proto=io.prometheus.write.v2.Request",
                "2.0.0",
            ),
        };
        Some(vec![
            ("content-encoding", "snappy".to_owned()),
            ("content-type", content_type.to_owned()),
            ("x-prometheus-remote-write-version", version.to_owned()),
        ])
    }

    fn answered(&mut self, answer: Option<&Answer>) -> Verdict {
        let (Some(batch), Some(answer)) = (self.request.take(), answer) else {
            return Verdict::Retry;
        };
        let meaning = match self.message {
            MessageVersion::V1 => answer::to_v1(answer),
            MessageVersion::V2 => answer::to_v2(answer, batch.counts, self.is_accepted),
        };
        match meaning {
            Meaning::Written { rejected, why } => {
                self.is_accepted = true;
                let has_histograms = batch.counts.histograms > 0;
                if self.message == MessageVersion::V1
                    && has_histograms
                    && answer::drops_histograms(answer)
                {
                    let text = "the receiver is an old VictoriaMetrics, which drops native \
                                histograms; `HistogramForm::Classic` sends their count and sum";
                    tallies::Error::new(text).log_once();
                }
                self.advance(&batch);
                Verdict::Accepted { rejected, why }
            }
            Meaning::Unsupported => self.unsupported(&batch, answer.status),
            Meaning::Retry => Verdict::Retry,
            Meaning::Refused => self.refused(&batch),
        }
    }
}
