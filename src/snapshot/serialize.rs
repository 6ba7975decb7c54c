//! Serialization of snapshots with serde. The output follows the public methods, not the private
//! fields.
//!
//! The bounds of buckets and the quantiles are keys of maps, as in the text formats, because JSON
//! has no number for `+Inf`. Times are seconds since 1970. The data format decides how to write
//! numbers that JSON lacks (NaN, infinities); JSON writes `null`.

use std::borrow::Cow;
use std::time::SystemTime;

use serde::ser::{Serialize, SerializeMap, SerializeStruct, Serializer};

use super::{Exemplar, Family, Histogram, SeriesLabels, Snapshot, Summary};

impl Serialize for Snapshot {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("Snapshot", 2)?;
        fields.serialize_field("taken", &seconds(self.taken))?;
        fields.serialize_field("families", &self.families)?;
        fields.end()
    }
}

impl Serialize for Family {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let series = List(|| (0..self.len()).map(|i| SeriesFields(self, i)));
        let mut fields = serializer.serialize_struct("Family", 5)?;
        fields.serialize_field("name", self.name())?;
        fields.serialize_field("help", self.help())?;
        fields.serialize_field("unit", self.unit())?;
        fields.serialize_field("kind", &self.kind())?;
        fields.serialize_field("series", &series)?;
        fields.end()
    }
}

struct SeriesFields<'a>(&'a Family, usize);

impl Serialize for SeriesFields<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(family, i) = *self;
        let exemplars = || family.exemplars(i).map(|(_, exemplar)| exemplar);
        let mut fields = serializer.serialize_map(None)?;
        fields.serialize_entry("labels", &family.labels(i))?;
        fields.serialize_entry("value", &family.value(i))?;
        if let Some(created) = family.created(i) {
            fields.serialize_entry("created", &seconds(created))?;
        }
        if exemplars().next().is_some() {
            fields.serialize_entry("exemplars", &List(exemplars))?;
        }
        fields.end()
    }
}

impl Serialize for SeriesLabels<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

impl Serialize for Exemplar {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let labels = Map(|| self.labels());
        let mut fields = serializer.serialize_struct("Exemplar", 3)?;
        fields.serialize_field("labels", &labels)?;
        fields.serialize_field("value", &self.value())?;
        fields.serialize_field("time", &self.time().map(seconds))?;
        fields.end()
    }
}

impl Serialize for Histogram<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let buckets = Map(|| self.buckets().map(|(bound, count)| (name(bound), count)));
        let mut fields = serializer.serialize_map(None)?;
        fields.serialize_entry("count", &self.count())?;
        fields.serialize_entry("sum", &self.sum())?;
        fields.serialize_entry("buckets", &buckets)?;
        if let Some(native) = self.native() {
            fields.serialize_entry("native", native)?;
        }
        fields.end()
    }
}

impl Serialize for Summary<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let quantiles = Map(|| self.exported().map(|(phi, value)| (name(phi), value)));
        let mut fields = serializer.serialize_struct("Summary", 3)?;
        fields.serialize_field("count", &self.known_count())?;
        fields.serialize_field("sum", &self.sum())?;
        fields.serialize_field("quantiles", &quantiles)?;
        fields.end()
    }
}

/// A sequence. It holds a closure because each serialization needs a new iterator.
struct List<F>(F);

impl<F: Fn() -> I, I: Iterator<Item: Serialize>> Serialize for List<F> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0())
    }
}

struct Map<F>(F);

impl<F: Fn() -> I, I: Iterator<Item = (K, V)>, K: Serialize, V: Serialize> Serialize for Map<F> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0())
    }
}

/// Formats a bound or a quantile as a label value of the text format.
fn name(number: f64) -> Cow<'static, str> {
    if number == f64::INFINITY {
        return "+Inf".into();
    }
    format!("{number:?}").into()
}

fn seconds(time: SystemTime) -> f64 {
    super::millis(time) as f64 / 1000.0
}
