//! Families that are built from their parts, for a [`Source`](super::Source) that is no registry.

use std::time::SystemTime;

use crate::error::Error;

use super::exemplar::{Exemplar, MOST_CHARACTERS};
use super::values::{Value, Values};
use super::{Family, GaugeMode, Kind, Meta, Snapshot, is_label_name, labels, millis};

impl Snapshot {
    /// Returns a snapshot of these families.
    ///
    /// ```
    /// use std::time::SystemTime;
    /// use tallies::snapshot::{Family, Kind, Number, Snapshot, Value};
    ///
    /// let mut jobs = Family::empty("jobs_total", "Jobs done.", "", Kind::Counter)?;
    /// jobs.push(&[("queue", "mail")], Value::Counter(Number::Int(3)))?;
    /// let snapshot = Snapshot::new(vec![jobs], SystemTime::now())?;
    /// assert_eq!(snapshot.get("jobs_total", &[("queue", "mail")]), Some(3.0));
    /// # Ok::<(), tallies::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns an error if two families have the same name. Two that have samples of the same name
    /// are no error; see [`clashes`](Self::clashes).
    pub fn new(mut families: Vec<Family>, taken: SystemTime) -> Result<Self, Error> {
        families.sort_unstable_by(|a, b| a.name().cmp(b.name()));
        match families.windows(2).find(|w| w[0].name() == w[1].name()) {
            Some(same) => Err(Error::other(format_args!(
                "a snapshot has one family `{}`, got two",
                same[0].name()
            ))),
            None => Ok(Self {
                families,
                taken,
                pass: None,
            }),
        }
    }
}

impl Family {
    /// Returns a family without series. [`push`](Self::push) adds them.
    ///
    /// ```
    /// use tallies::snapshot::{Family, Kind};
    ///
    /// let family = Family::empty("wait_seconds", "Time in the queue.", "seconds", Kind::Gauge)?;
    /// assert!(family.is_empty());
    /// assert!(Family::empty("wait\n", "", "", Kind::Gauge).is_err());
    /// # Ok::<(), tallies::Error>(())
    /// ```
    ///
    /// OpenMetrics 1.0 leaves a unit out in which the name does not end.
    ///
    /// Where values of several processes are merged, those of gauges are added, and an info or a
    /// state is 1 if one of them is.
    ///
    /// # Errors
    ///
    /// Returns an error if the name is empty or has a quote, a backslash or a line feed.
    pub fn empty(name: &str, help: &str, unit: &str, kind: Kind) -> Result<Self, Error> {
        if !is_name(name) {
            return Err(Error::other(format_args!(
                "family `{name}` needs a name without quotes, backslashes and line feeds"
            )));
        }
        let mode = match kind {
            Kind::Info | Kind::StateSet => GaugeMode::LiveMax,
            _ => GaugeMode::of(kind),
        };
        let mut meta = Meta::new(name, help, kind, mode);
        meta.unit = unit.into();
        Ok(Self::new(meta, Values::of(kind)))
    }

    /// Adds a series: a value of its kind, or a value of another family. The caller adds each label
    /// set once.
    ///
    /// ```
    /// use tallies::snapshot::{Family, Histogram, Kind, Value};
    ///
    /// let mut sizes = Family::empty("sizes_bytes", "Sizes.", "bytes", Kind::Histogram)?;
    /// sizes.push(&[("part", "head")], Value::Histogram(Histogram::new(&[1.0], &[3, 0], 2.5)?))?;
    /// let other = Value::Histogram(Histogram::new(&[2.0], &[3, 0], 2.5)?);
    /// assert!(sizes.push(&[("part", "body")], other).is_err());
    /// # Ok::<(), tallies::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns an error, and adds nothing, if the value is of another kind, or has other buckets or
    /// objectives than the first series; and if a label name is invalid, reserved or given twice.
    pub fn push(&mut self, labels: &[(&str, &str)], value: Value<'_>) -> Result<(), Error> {
        let kind = self.meta.kind;
        self.check_labels(labels, kind.reserved_label())?;
        let is_of_kind = match value {
            Value::Counter(_) => kind == Kind::Counter,
            Value::Gauge(_) => matches!(Values::of(kind), Values::Gauge(_)),
            Value::Histogram(_) => matches!(kind, Kind::Histogram | Kind::GaugeHistogram),
            Value::Summary(_) => kind == Kind::Summary,
        };
        let empty = value.to_empty();
        if !is_of_kind || !(self.is_empty() || self.values.same_shape(&empty)) {
            return Err(Error::other(format_args!(
                "a series of family `{}` needs the value of {}, with the shape of its first series",
                self.meta.name,
                kind.with_article()
            )));
        }
        if self.is_empty() {
            self.values = empty;
        }
        let is_legacy = |(name, _): &(&str, &str)| is_label_name(name.as_bytes());
        self.meta.utf8 |= !labels.iter().all(is_legacy);
        self.texts.push(&labels::text(labels), 0);
        self.values.push(value);
        Ok(())
    }

    /// Sets the time since when series `i` counts, to the millisecond.
    ///
    /// ```
    /// use std::time::SystemTime;
    /// use tallies::snapshot::{Family, Kind, Number, Value};
    ///
    /// let mut jobs = Family::empty("jobs_total", "Jobs done.", "", Kind::Counter)?;
    /// jobs.push(&[], Value::Counter(Number::Int(3)))?;
    /// jobs.set_created(0, SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(9));
    /// assert!(jobs.created(0).is_some());
    /// # Ok::<(), tallies::Error>(())
    /// ```
    ///
    /// # Panics
    ///
    /// Panics if there is no series `i`.
    pub fn set_created(&mut self, i: usize, time: SystemTime) {
        self.texts.set_created(i, millis(time));
    }

    /// Adds an exemplar to the last series. Those of one series are added in the order of their
    /// buckets; that of a counter has the bucket 0.
    ///
    /// ```
    /// use tallies::snapshot::{Family, Kind, Number, Value};
    ///
    /// let mut jobs = Family::empty("jobs_total", "Jobs done.", "", Kind::Counter)?;
    /// jobs.push(&[], Value::Counter(Number::Int(3)))?;
    /// jobs.push_exemplar(0, &[("trace_id", "5ca1ab1e")], 1.0, None)?;
    /// assert_eq!(jobs.exemplars(0).next().unwrap().1.value(), 1.0);
    /// # Ok::<(), tallies::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns an error if there is no series yet, if a label name is invalid or given twice, or if
    /// the labels have more than 128 characters, names and values together.
    pub fn push_exemplar(
        &mut self,
        bucket: usize,
        labels: &[(&str, &str)],
        value: f64,
        time: Option<SystemTime>,
    ) -> Result<(), Error> {
        self.check_labels(labels, "")?;
        let chars = |(name, value): &(&str, &str)| name.chars().count() + value.chars().count();
        let series = self.len().checked_sub(1);
        let fits = labels.iter().map(chars).sum::<usize>() <= MOST_CHARACTERS;
        let Some(series) = series.filter(|_| fits) else {
            return Err(Error::other(format_args!(
                "an exemplar of family `{}` needs a series, and labels of at most {MOST_CHARACTERS} \
                 characters",
                self.meta.name
            )));
        };
        let exemplar = Exemplar {
            labels: labels::text(labels),
            value,
            time,
        };
        self.exemplars
            .push((series as u32, bucket as u32, exemplar));
        Ok(())
    }

    fn check_labels(&self, labels: &[(&str, &str)], reserved: &str) -> Result<(), Error> {
        let mut names: Vec<_> = labels.iter().map(|(name, _)| *name).collect();
        names.sort_unstable();
        let is_bad = |name: &&&str| !is_name(name) || **name == reserved || **name == "__name__";
        let twice = names.windows(2).find(|pair| pair[0] == pair[1]);
        match names.iter().find(is_bad).or(twice.map(|pair| &pair[0])) {
            None => Ok(()),
            Some(name) => Err(Error::other(format_args!(
                "label `{name}` of family `{}` is invalid, reserved or given twice",
                self.meta.name
            ))),
        }
    }
}

impl Meta {
    /// The description of a family with neither a unit nor constant labels.
    pub(crate) fn new(name: &str, help: &str, kind: Kind, mode: GaugeMode) -> Self {
        Self {
            name: name.into(),
            help: help.into(),
            unit: "".into(),
            kind,
            mode,
            shared_ttl: None,
            utf8: !super::is_metric_name(name.as_bytes()),
            constant: "".into(),
        }
    }
}

/// Returns whether a page can have this name in quotes. The rule for declarations is stricter.
fn is_name(name: &str) -> bool {
    !name.is_empty() && !name.contains(['"', '\\', '\n'])
}
