//! The description of a family in a writer's file.

use crate::share::bytes::{Bytes, Malformed, Read};
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
    pub(super) metrics: Vec<(Option<usize>, Family)>,
}

impl FileDescription {
    /// Reads the description at an address.
    pub(super) fn read(memory: &WriterMemory<'_>, address: u64, cells: CellKind) -> Try<Self> {
        let Some(address) = memory.range(address, description::CONTENT as u64)? else {
            return Err(Failed::Damaged("a family has no description"));
        };
        let len = memory.word(address + description::LEN as u64);
        let sum = memory.word(address + description::CHECKSUM as u64);
        if len > LONGEST_TEXT as u64 {
            return Err(Failed::Damaged("a description is too long"));
        }
        let content = memory.range(
            address + description::CONTENT as u64,
            len.next_multiple_of(8),
        )?;
        let content = content.ok_or(Failed::Damaged("a description is cut off"))?;
        let bytes = memory.bytes(content, len);
        // A fuzzer would not find a sum.
        if checksum(&bytes) != sum && !cfg!(fuzzing) {
            return Err(Failed::Damaged("a description is damaged"));
        }
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
            if counters > MOST_METRICS {
                return Err(Malformed("an event has too many counters"));
            }
            for _ in 0..bytes.count(3)? {
                metrics.push(read_metric(bytes, counters)?);
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
        if !fits || !is_text(constant) || !is_text(overflow) {
            return Err(Malformed("it does not fit the cells"));
        }
        if cells == CellKind::FloatCounter {
            empty.values = Values::Counter(Numbers::Float(Vec::new()));
        }
        buckets += usize::from(cells == CellKind::Event);
        constant.clone_into(&mut empty.meta.constant);
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

/// Reads a metric of an event with this many counters.
fn read_metric(bytes: &mut Bytes<'_>, counters: usize) -> Read<(Option<usize>, Family)> {
    let counter = bytes.varint()?.checked_sub(1);
    let counter = counter.map(|counter| usize::try_from(counter).unwrap_or(usize::MAX));
    let mut metric = read_description(bytes.sized()?)?;
    let constant = bytes.text()?;
    let fits = match (counter, &metric.values) {
        (Some(counter), Values::Counter(_)) => counter < counters,
        (None, Values::Histogram(all)) => all.natives.is_none(),
        _ => false,
    };
    if !fits || !is_text(constant) {
        return Err(Malformed("a metric does not fit the event"));
    }
    constant.clone_into(&mut metric.meta.constant);
    Ok((counter, metric))
}

/// Returns whether this is a label text as the crate writes it. One that is not would break the
/// page.
pub(super) fn is_text(text: &str) -> bool {
    labels::is_text(text, Order::Any)
}
