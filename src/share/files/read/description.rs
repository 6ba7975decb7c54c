//! The description of a family in a writer's file.

use crate::share::bytes::{Bytes, Read, ensure};
use crate::share::record::{LONGEST_TEXT, read_description};
use crate::snapshot::labels::{self, Order};
use crate::snapshot::{Family, Kind, MOST_METRICS, Numbers, Resolution, Values};

use super::super::format::{CellKind, checksum, description};
use super::memory::{Failed, Try, WriterMemory};

/// A family, as its writer describes it.
pub(super) struct FileDescription {
    /// The family, without series.
    pub(super) empty: Family,
    /// Whether series have labels.
    pub(super) is_labelled: bool,
    /// The label text of the overflow series.
    pub(super) overflow: String,
    /// The number of fixed buckets, including `+Inf`, of a histogram; of an event one more; 1 for
    /// other kinds.
    pub(super) buckets: usize,
    /// The settings of a native histogram.
    pub(super) native: Option<Resolution>,
    /// Whether each series may have other label names. One that is a constant label, too, then
    /// replaces it.
    pub(super) has_any_labels: bool,
    /// The label texts of the states of a state set.
    pub(super) states: Vec<String>,
    /// The number of counters of an event.
    pub(super) counters: usize,
    /// The metrics of an event: of each the number of its counter, if it is one, and the family
    /// without series.
    pub(super) metrics: Vec<FileMetric>,
}

impl FileDescription {
    /// Reads the description at an address.
    pub(super) fn read(memory: &WriterMemory<'_>, address: u64, cells: CellKind) -> Try<Self> {
        let Some(address) = memory.range(address, description::CONTENT as u64)? else {
            return Err(Failed::Damaged("a family has no description"));
        };
        let len = memory.word(address + description::LEN as u64);
        let sum = memory.word(address + description::CHECKSUM as u64);
        ensure(len <= LONGEST_TEXT as u64, "a description is too long")?;
        let content = address + description::CONTENT as u64;
        let content = memory.range(content, len.next_multiple_of(8))?;
        let content = content.ok_or(Failed::Damaged("a description is cut off"))?;
        let bytes = memory.bytes(content, len);
        // A fuzzer would not find a sum.
        let is_whole = checksum(&bytes) == sum || cfg!(fuzzing);
        ensure(is_whole, "a description is damaged")?;
        Self::parse(&bytes, cells).map_err(|_| Failed::Damaged("a description is invalid"))
    }

    fn parse(bytes: &[u8], cells: CellKind) -> Read<Self> {
        let bytes = &mut Bytes(bytes);
        let mut empty = read_description(bytes.sized()?)?;
        let (constant, overflow) = (bytes.text()?, bytes.text()?);
        let (is_labelled, has_any_labels) = (bytes.flag()?, bytes.flag()?);
        let resolution = Resolution {
            schema: bytes.byte()? as i8,
            limit: bytes.short()?,
            zero_threshold: bytes.float()?,
        };
        let states: Vec<String> = (0..bytes.count(1)?)
            .map(|_| Ok(labels::text(&[(empty.name(), bytes.text()?)])))
            .collect::<Read<_>>()?;
        let (mut counters, mut metrics) = (0, Vec::new());
        if cells == CellKind::Event {
            counters = usize::try_from(bytes.varint()?).unwrap_or(usize::MAX);
            ensure(counters <= MOST_METRICS, "an event has too many counters")?;
            let count = bytes.count(3)?;
            ensure(count <= MOST_METRICS, "an event has too many metrics")?;
            for _ in 0..count {
                metrics.push(read_metric(bytes, counters, &empty)?);
            }
        }
        // A later version of the crate may add more.
        let kind = empty.kind();
        let (mut buckets, is_native) = match &empty.values {
            Values::Histogram(all) => (all.bounds.len() + 1, all.natives.is_some()),
            _ => (1, false),
        };
        let fits = match cells {
            CellKind::Counter | CellKind::FloatCounter => kind == Kind::Counter,
            CellKind::UpDown => kind == Kind::Gauge,
            CellKind::Gauge => matches!(kind, Kind::Gauge | Kind::Info),
            CellKind::StateSet => kind == Kind::StateSet,
            CellKind::Histogram | CellKind::Event => kind == Kind::Histogram && !is_native,
            CellKind::Native => kind == Kind::Histogram && is_native && resolution.check().is_ok(),
            CellKind::Summary => matches!(empty.values, Values::Summary(..)),
        };
        let fits = fits && is_text(constant) && is_text(overflow);
        ensure(fits, "it does not fit the cells")?;
        if cells == CellKind::FloatCounter {
            empty.values = Values::Counter(Numbers::Float(Vec::new()));
        }
        buckets += usize::from(cells == CellKind::Event);
        empty.meta.constant = constant.into();
        Ok(Self {
            empty,
            is_labelled,
            overflow: overflow.to_owned(),
            buckets,
            native: (cells == CellKind::Native).then_some(resolution),
            has_any_labels,
            states,
            counters,
            metrics,
        })
    }
}

/// A metric of an event: the number of its counter, if it is one, the family without series, and
/// the labels that its series lose.
pub(super) type FileMetric = (Option<usize>, Family, Vec<String>);

/// Reads a metric of an event with this many counters.
fn read_metric(bytes: &mut Bytes<'_>, counters: usize, event: &Family) -> Read<FileMetric> {
    let counter = bytes.varint()?.checked_sub(1);
    let counter = counter.map(|counter| usize::try_from(counter).unwrap_or(usize::MAX));
    let mut metric = read_description(bytes.sized()?)?;
    let constant = bytes.text()?;
    let dropped = (0..bytes.count(1)?).map(|_| Ok(bytes.text()?.to_owned()));
    let dropped = dropped.collect::<Read<Vec<_>>>()?;
    let fits = match (counter, &metric.values) {
        (Some(counter), Values::Counter(_)) => counter < counters,
        (None, Values::Histogram(_)) => {
            metric.kind() == Kind::Histogram && metric.values == event.values
        }
        _ => false,
    };
    ensure(fits && is_text(constant), "a metric does not fit the event")?;
    metric.meta.constant = constant.into();
    Ok((counter, metric, dropped))
}

/// Returns whether this is a label text as the crate writes it. One that is not would break the
/// page.
pub(super) fn is_text(text: &str) -> bool {
    labels::is_text(text, Order::Any)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::description::{self, write_float, write_sized, write_varint};
    use crate::snapshot::{GaugeMode, Meta};

    /// Returns the description of an event with one counter, and no bounds, whose metrics these
    /// are.
    fn event(metrics: usize, values: &Values) -> Vec<u8> {
        let describe = |name: &str, kind, values: &Values| {
            let mut bytes = Vec::new();
            let meta = Meta::new(name, "", kind, GaugeMode::of(kind));
            description::write(&meta, values, &mut bytes);
            bytes
        };
        let none = Values::histogram([].into(), false);
        let mut out = Vec::new();
        for part in [&*describe("e", Kind::Histogram, &none), b"", b""] {
            write_sized(part, &mut out);
        }
        out.extend([0; 3]);
        write_varint(0, &mut out);
        write_float(0.0, &mut out);
        for number in [0, 1, metrics as u64] {
            write_varint(number, &mut out);
        }
        let (kind, counter) = match values {
            Values::Counter(_) => (Kind::Counter, 1),
            _ => (Kind::Histogram, 0),
        };
        for i in 0..metrics {
            write_varint(counter, &mut out);
            write_sized(&describe(&format!("m{i}"), kind, values), &mut out);
            write_sized(b"", &mut out);
            write_varint(0, &mut out);
        }
        out
    }

    /// Regression: each metric got a copy of all series.
    #[test]
    fn an_event_has_not_more_metrics_than_a_program_can_declare() {
        let parse =
            |n| FileDescription::parse(&event(n, &Values::of(Kind::Counter)), CellKind::Event);
        assert!(parse(MOST_METRICS).is_ok());
        assert!(parse(MOST_METRICS + 1).is_err());
    }

    /// Regression: a reader took as many counts as the metric has bounds, which were not there.
    #[test]
    fn a_histogram_has_the_bounds_of_its_event() {
        let parse = |bounds: &[f64]| {
            let values = Values::histogram(bounds.into(), false);
            FileDescription::parse(&event(1, &values), CellKind::Event)
        };
        assert!(parse(&[]).is_ok());
        assert!(parse(&[1.0, 2.0]).is_err());
    }
}
