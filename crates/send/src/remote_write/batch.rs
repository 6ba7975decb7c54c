//! One request: stale markers first, then samples of the snapshot, until it is full.

use std::ops::Range;

use tallies::snapshot::{Exemplar, Kind, SeriesLabels};

use super::HistogramForm;
use super::held::{Cursor, Held, families_of};
use super::labels::LabelSet;
use super::series::{
    Description, FullSample, Part, PartNames, RequestWriter, SampleValue, Shape, millis, samples_of,
};
use super::stale::Ended;

/// The most bytes of a request before compression, except that its last series may exceed them.
pub(super) const MOST_BYTES: usize = 1 << 20;

/// The numbers of samples that a receiver counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct SampleCounts {
    /// Samples with a float.
    pub(super) floats: u64,
    /// Samples with a native histogram.
    pub(super) histograms: u64,
}

impl SampleCounts {
    pub(super) fn total(self) -> u64 {
        self.floats + self.histograms
    }
}

/// The content of a request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Batch {
    /// The number of series whose ends were queued and are in the request.
    pub(super) ended: usize,
    /// The series of the snapshot after the last one in the request.
    pub(super) to: Cursor,
    pub(super) counts: SampleCounts,
}

/// The settings of requests.
pub(super) struct Limits<'a> {
    /// The labels of all series that do not have them.
    pub(super) external: &'a [(String, String)],
    pub(super) form: HistogramForm,
    /// The most samples of a request, except that all samples of one series are in one request.
    pub(super) most_samples: u64,
}

/// Writes one request: the ends of series, and samples of the snapshot from `from` on.
pub(super) fn fill<W: RequestWriter>(
    writer: &mut W,
    limits: &Limits<'_>,
    ended: &Ended,
    held: &Held,
    from: Cursor,
) -> Batch {
    let counts = SampleCounts::default();
    let mut filler = Filler {
        writer,
        limits,
        counts,
    };
    let markers = filler.ended(ended);
    let to = match markers == ended.len() {
        true => filler.held(held, from),
        false => from,
    };
    Batch {
        ended: markers,
        to,
        counts: filler.counts,
    }
}

struct Filler<'w, W> {
    writer: &'w mut W,
    limits: &'w Limits<'w>,
    counts: SampleCounts,
}

impl<W: RequestWriter> Filler<'_, W> {
    /// Returns whether a series with this many samples fits.
    fn has_room(&self, samples: usize) -> bool {
        let count = self.counts.total();
        let fits = count + samples as u64 <= self.limits.most_samples;
        count == 0 || fits && self.writer.bytes() < MOST_BYTES
    }

    fn push(&mut self, sample: &FullSample<'_>) {
        match sample.value {
            SampleValue::Float(_) => self.counts.floats += 1,
            _ => self.counts.histograms += 1,
        }
        self.writer.sample(sample);
    }

    /// Writes the stale markers of one series.
    fn markers<'a>(
        &mut self,
        labels: &mut LabelSet<'a>,
        names: &'a PartNames<'a>,
        shape: &Shape,
        time: u64,
    ) {
        for (k, part) in shape.parts.iter().enumerate() {
            let (name, added) = names.of(k, *part);
            self.push(&FullSample {
                labels: labels.of(name, added),
                value: shape.end_of(*part),
                time,
                start: 0,
                exemplars: &[],
            });
        }
    }

    /// Writes the queued ends of series until the request is full, and returns the number of
    /// series.
    fn ended(&mut self, ended: &Ended) -> usize {
        let mut series = 0;
        for group in ended.groups() {
            let names = PartNames::new(&group.name, &group.shape.parts);
            let mut labels = LabelSet::default();
            for (i, text) in group.texts.iter().enumerate() {
                if !self.has_room(group.shape.parts.len()) {
                    return series;
                }
                if i == 0 {
                    self.writer.family(&group.description(), false);
                }
                let all = [&group.constant, text].map(|text| SeriesLabels::of_text(text));
                let all = all.iter().flat_map(SeriesLabels::iter);
                labels.fill(all, self.limits.external, names.label());
                self.markers(&mut labels, &names, &group.shape, group.time);
                series += 1;
            }
        }
        series
    }

    /// Writes the snapshot until the request is full, and returns the next series.
    fn held(&mut self, held: &Held, from: Cursor) -> Cursor {
        let mut at = from;
        while let Some((family, range)) = held.segment(at.segment) {
            let series = at.series.max(range.start);
            if series < range.end {
                let is_start = series == range.start;
                let next = self.family(held, family, series..range.end, is_start);
                if next < range.end {
                    at.series = next;
                    break;
                }
            }
            at = Cursor {
                segment: at.segment + 1,
                series: 0,
            };
        }
        at
    }

    /// Writes series of a family until the request is full, and returns the index of the next
    /// series.
    fn family(&mut self, held: &Held, at: usize, range: Range<usize>, is_start: bool) -> usize {
        let family = &families_of(&held.snapshot)[at];
        let own = &held.families[at];
        if !self.has_room(own.shape.parts.len()) {
            return range.start;
        }
        let with_metadata = held.with_metadata && is_start;
        self.writer.family(&Description::of(family), with_metadata);
        let names = PartNames::new(family.name(), &own.shape.parts);
        let mut labels = LabelSet::default();
        let external = self.limits.external;
        let mut samples = Vec::new();
        if held.is_ending {
            for i in range.clone().filter(|i| own.known[*i]) {
                if !self.has_room(own.shape.parts.len()) {
                    return i;
                }
                labels.fill(family.labels(i).iter(), external, names.label());
                self.markers(&mut labels, &names, &own.shape, held.time);
            }
            return range.end;
        }
        for i in range.clone() {
            samples_of(family.value(i), self.limits.form, &mut samples);
            if !self.has_room(samples.len()) {
                return i;
            }
            labels.fill(family.labels(i).iter(), external, names.label());
            let exemplars = own.exemplars(family, i);
            let start = match family.kind() {
                Kind::Counter | Kind::Histogram | Kind::Summary => family.created(i).map(millis),
                _ => None,
            };
            // A start after the sample comes from a clock that was set.
            let start = start.filter(|start| *start <= held.time).unwrap_or(0);
            for (k, (part, value)) in samples.iter().enumerate() {
                let (name, added) = names.of(k, *part);
                let is_float = matches!(value, SampleValue::Float(_));
                let of_part = exemplars.iter();
                let of_part = of_part.filter(|(bucket, _)| !is_float || *bucket == k);
                let of_part: Vec<&Exemplar> = of_part.map(|(_, exemplar)| *exemplar).collect();
                self.push(&FullSample {
                    labels: labels.of(name, added),
                    value: *value,
                    time: held.time,
                    // Quantiles do not count.
                    start: match part {
                        Part::Quantile(_) => 0,
                        _ => start,
                    },
                    exemplars: &of_part,
                });
            }
        }
        range.end
    }
}
