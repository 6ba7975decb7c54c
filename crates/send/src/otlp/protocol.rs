//! The running protocol: takes in snapshots, gives requests, and moves on when they are answered.

use std::time::SystemTime;

use tallies::snapshot::{Family, Kind, Snapshot};

use crate::protocol::{Answer, Headers, Protocol, Verdict};

use super::answer;
use super::binary::Binary;
use super::delta::{Totals, is_total};
use super::json::Json;
use super::point::nanos;
use super::walk::{self, FamilyPart, PointBatch, PointCursor, RequestLimits, Written};

/// OTLP, with its state between snapshots.
#[derive(Debug)]
pub(crate) struct OtlpProtocol {
    encoding: Encoding,
    /// The attributes of the resource.
    resource: Vec<(String, String)>,
    /// The totals of which deltas are sent; `None` if totals are sent.
    totals: Option<Totals>,
    /// The time of the first snapshot.
    start: Option<SystemTime>,
    batch: PointBatch,
    /// The first series of the batch that is still to be acknowledged.
    next: PointCursor,
    /// The last request, until it is answered.
    written: Option<Written>,
    limits: RequestLimits,
    /// Points that were not sent before a newer snapshot came.
    superseded: u64,
}

/// The encoding of requests.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) enum Encoding {
    #[default]
    Binary,
    Json,
}

impl Encoding {
    fn content_type(self) -> &'static str {
        match self {
            Self::Binary => "application/x-protobuf",
            Self::Json => "application/json",
        }
    }
}

impl OtlpProtocol {
    pub(super) fn new(
        encoding: Encoding,
        resource: Vec<(String, String)>,
        sends_deltas: bool,
    ) -> Self {
        Self {
            encoding,
            resource,
            totals: sends_deltas.then(Totals::default),
            start: None,
            batch: PointBatch::default(),
            next: PointCursor::default(),
            written: None,
            limits: RequestLimits::default(),
            superseded: 0,
        }
    }

    /// The same with other limits, for tests.
    #[cfg(test)]
    pub(super) fn limits(self, limits: RequestLimits) -> Self {
        Self { limits, ..self }
    }

    /// The number of series that are kept, for tests.
    #[cfg(test)]
    pub(super) fn kept(&self) -> usize {
        let parts = self.batch.parts.iter();
        parts.map(|part| part.family.len()).sum()
    }

    /// Returns the parts with totals that are not acknowledged, each with the place of its first.
    fn unsent_totals(&self) -> impl Iterator<Item = (&FamilyPart, usize)> {
        let parts = self.batch.parts.iter().skip(self.next.part);
        let first = std::iter::once(self.next.series);
        let parts = parts.zip(first.chain(std::iter::repeat(0)));
        parts.filter(|(part, first)| !part.is_delta && *first < part.family.len())
    }

    /// Removes the deltas that are not acknowledged from the batch.
    fn take_unsent(&mut self) -> Vec<Family> {
        let parts = std::mem::take(&mut self.batch.parts).into_iter();
        let mut from = self.next.series;
        let parts = parts.skip(self.next.part).filter_map(|part| {
            let (family, from) = (part.family, std::mem::take(&mut from));
            part.is_delta.then(|| match from {
                0 => family,
                from => family.part(from..family.len()),
            })
        });
        parts.collect()
    }

    /// Logs families that cannot be sent.
    fn log_unknown(&self, snapshot: &Snapshot) {
        for family in snapshot.families().filter(|family| !is_known(family)) {
            let (name, kind) = (family.name(), family.kind());
            let text = format!("family `{name}` is not sent: OTLP has no {kind}");
            tallies::Error::new(text).log_once();
        }
    }
}

/// Returns the totals of these families in the order in which they are sent. It begins with the
/// series that was next when the snapshot came, so that a receiver that is too slow for all of them
/// gets each in its turn.
fn in_turn<'a>(
    families: impl Iterator<Item = &'a Family>,
    next: Option<(String, usize)>,
) -> Vec<FamilyPart> {
    let part = |family, from| FamilyPart {
        family,
        from,
        is_delta: false,
    };
    let mut parts: Vec<_> = families.map(|family| part(family.clone(), 0)).collect();
    let Some((name, series)) = next else {
        return parts;
    };
    let first = parts.partition_point(|part| *part.family.name() < *name);
    parts.rotate_left(first);
    let is_inside = |family: &Family| family.name() == name && (1..family.len()).contains(&series);
    if let Some(first) = parts.first_mut().filter(|first| is_inside(&first.family)) {
        let before = first.family.part(0..series);
        first.family = first.family.part(series..first.family.len());
        first.from = series;
        parts.push(part(before, 0));
    }
    parts
}

/// Returns whether OTLP has the kind of the family.
fn is_known(family: &Family) -> bool {
    family.kind() != Kind::GaugeHistogram
}

impl Protocol for OtlpProtocol {
    fn take(&mut self, snapshot: &Snapshot) {
        self.log_unknown(snapshot);
        let start = *self.start.get_or_insert(snapshot.taken());
        let unsent = |(part, first): (&FamilyPart, usize)| (part.family.len() - first) as u64;
        self.superseded += self.unsent_totals().map(unsent).sum::<u64>();
        let next = self.unsent_totals().next();
        let next = next.map(|(part, first)| (part.family.name().to_owned(), part.from + first));
        let unsent = self.take_unsent();
        let mut parts = Vec::new();
        if let Some(totals) = &mut self.totals {
            let deltas = totals.take(snapshot, unsent).into_iter();
            parts.extend(deltas.map(|family| FamilyPart {
                family,
                from: 0,
                is_delta: true,
            }));
        }
        let has_deltas = self.totals.is_some();
        let others = snapshot.families().filter(|family| {
            let is_delta = has_deltas && is_total(family);
            is_known(family) && !is_delta
        });
        parts.extend(in_turn(others, next));
        parts.retain(|part| !part.family.is_empty());
        self.batch = PointBatch {
            parts,
            time: nanos(snapshot.taken()),
            start: nanos(start),
        };
        self.next = PointCursor::default();
        self.written = None;
    }

    fn superseded(&self) -> u64 {
        self.superseded
    }

    fn next(&mut self, body: &mut Vec<u8>) -> Option<Headers> {
        let (batch, resource) = (&self.batch, &self.resource[..]);
        let written = match self.encoding {
            Encoding::Binary => {
                walk::write(&mut Binary(body), batch, resource, self.next, self.limits)
            }
            Encoding::Json => walk::write(&mut Json(body), batch, resource, self.next, self.limits),
        };
        if written.points == 0 {
            body.clear();
            // All is acknowledged, and nobody needs it.
            self.batch.parts.clear();
            self.next = PointCursor::default();
            self.written = None;
            return None;
        }
        self.written = Some(written);
        Some(vec![(
            "content-type",
            self.encoding.content_type().to_owned(),
        )])
    }

    fn answered(&mut self, answer: Option<&Answer>) -> Verdict {
        let points = self.written.map_or(0, |written| written.points);
        let verdict = answer::verdict(answer, self.encoding, points);
        match verdict {
            // A receiver that refused a request would refuse it again.
            Verdict::Accepted { .. } | Verdict::Refused => {
                if let Some(written) = self.written.take() {
                    self.next = written.end;
                }
            }
            Verdict::Retry | Verdict::Again => {}
        }
        verdict
    }
}
