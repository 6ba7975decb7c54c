//! The description of a family in a writer's file.

use std::time::Duration;

use crate::share::bytes::{Bytes, Malformed, Read, utf8};
use crate::snapshot::labels::{self, Order};
use crate::snapshot::sketch::Targets;
use crate::snapshot::{
    Family, GaugeMode, Kind, Meta, Numbers, Resolution, Values, is_metric_name, is_utf8_name,
};

use super::super::format::{CellKind, checksum, description};
use super::memory::{Failed, Memory, Try};

/// The longest description, in bytes.
const LONGEST: u64 = 16 << 20;

const INVALID: Malformed = Malformed("a description is invalid");

/// A family, as its writer describes it.
#[derive(Debug)]
pub(super) struct Description {
    /// The family, without series.
    pub(super) empty: Family,
    /// Whether series have labels.
    pub(super) is_labelled: bool,
    /// The label text of the overflow series.
    pub(super) overflow: String,
    /// The number of fixed buckets, including `+Inf`, of a histogram.
    pub(super) buckets: usize,
    /// The settings of a native histogram.
    pub(super) native: Option<Resolution>,
    /// Whether each series may have other label names. One that is a constant label, too, then
    /// replaces it.
    pub(super) has_any_labels: bool,
    /// The label texts of the states of a state set.
    pub(super) states: Vec<String>,
}

impl Description {
    /// Reads the description at an address.
    pub(super) fn read(memory: &Memory<'_>, address: u64, cells: CellKind) -> Try<Self> {
        let Some(address) = memory.record(address, description::CONTENT)? else {
            return Err(Failed::Damaged("a family has no description"));
        };
        let len = memory.word(address + description::LEN as u64);
        let sum = memory.word(address + description::CHECKSUM as u64);
        if len > LONGEST {
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
        let mut bytes = Bytes(bytes);
        let (name, help, unit) = (
            bytes.native_text()?,
            bytes.native_text()?,
            bytes.native_text()?,
        );
        let constant = bytes.native_text()?;
        let family_kind = match bytes.byte()? {
            0 => Kind::Counter,
            1 => Kind::Gauge,
            2 => Kind::Histogram,
            3 => Kind::Summary,
            4 => Kind::Info,
            5 => Kind::StateSet,
            _ => return Err(INVALID),
        };
        let mode = GaugeMode::NAMES.get(usize::from(bytes.byte()?));
        let mode = mode.ok_or(INVALID)?.0;
        let (utf8, is_labelled) = (bytes.flag()?, bytes.flag()?);
        let overflow = bytes.native_text()?;
        let bounds: Vec<f64> = (0..bytes.native_count(8)?)
            .map(|_| bytes.native_float())
            .collect::<Read<_>>()?;
        let targets: Vec<(f64, f64)> = (0..bytes.native_count(16)?)
            .map(|_| Ok((bytes.native_float()?, bytes.native_float()?)))
            .collect::<Read<_>>()?;
        let is_native = bytes.flag()?;
        let resolution = Resolution {
            schema: bytes.byte()? as i8,
            limit: bytes.native_u32()?,
            zero_threshold: bytes.native_float()?,
        };
        let (ttl, max_age) = (bytes.native_u64()?, bytes.native_u64()?);
        let has_any_labels = bytes.flag()?;
        let states: Vec<String> = (0..bytes.native_count(4)?)
            .map(|_| Ok(labels::text(&[(name, bytes.native_text()?)])))
            .collect::<Read<_>>()?;
        // A later version of the crate may add more.
        let fits = match cells {
            CellKind::Counter | CellKind::FloatCounter => family_kind == Kind::Counter,
            CellKind::UpDown => family_kind == Kind::Gauge,
            CellKind::Gauge => matches!(family_kind, Kind::Gauge | Kind::Info),
            CellKind::StateSet => family_kind == Kind::StateSet,
            CellKind::Histogram => family_kind == Kind::Histogram && !is_native,
            CellKind::Native => {
                family_kind == Kind::Histogram && is_native && resolution.check().is_ok()
            }
            CellKind::Summary => family_kind == Kind::Summary,
        };
        let ascends = bounds.is_sorted_by(|one, next| one < next)
            && bounds.iter().all(|bound| bound.is_finite());
        let is_name = if utf8 {
            is_utf8_name(name.as_bytes())
        } else {
            is_metric_name(name.as_bytes())
        };
        if !fits || !ascends || !is_name || !is_text(constant) || !is_text(overflow) {
            return Err(INVALID);
        }
        let buckets = bounds.len() + 1;
        let values = match family_kind {
            Kind::Counter if cells == CellKind::FloatCounter => {
                Values::Counter(Numbers::Float(Vec::new()))
            }
            Kind::Histogram => Values::histogram(bounds.into(), is_native),
            Kind::Summary => Values::Summary {
                targets: Targets::try_new(&targets).map_err(|_| INVALID)?,
                max_age: (max_age > 0).then(|| Duration::from_millis(max_age)),
                interval: false,
                values: Vec::new(),
            },
            kind => Values::of(kind),
        };
        let meta = Meta {
            unit: unit.into(),
            shared_ttl: (ttl != u64::MAX).then(|| Duration::from_millis(ttl)),
            utf8,
            constant: constant.to_owned(),
            ..Meta::new(name, help, family_kind, mode)
        };
        Ok(Self {
            empty: Family::new(meta, values),
            is_labelled,
            overflow: overflow.to_owned(),
            buckets,
            native: is_native.then_some(resolution),
            has_any_labels,
            states,
        })
    }
}

/// Returns whether this is a label text as the crate writes it. One that is not would break the
/// page.
pub(super) fn is_text(text: &str) -> bool {
    labels::is_text(text, Order::Any)
}

/// Numbers as the writer, a process of this machine, has them in memory.
impl<'a> Bytes<'a> {
    fn native_u32(&mut self) -> Read<u32> {
        Ok(u32::from_ne_bytes(self.array()?))
    }

    fn native_u64(&mut self) -> Read<u64> {
        Ok(u64::from_ne_bytes(self.array()?))
    }

    fn native_float(&mut self) -> Read<f64> {
        Ok(f64::from_bits(self.native_u64()?))
    }

    /// Reads the number of items that follow, each of at least `size` bytes.
    fn native_count(&mut self, size: usize) -> Read<usize> {
        let n = self.native_u32()?;
        self.checked_count(n.into(), size)
    }

    fn native_text(&mut self) -> Read<&'a str> {
        let n = self.native_count(1)?;
        utf8(self.take(n)?)
    }
}
