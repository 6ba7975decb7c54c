//! What is computed at scrape time: a pool's size, a total kept elsewhere, the process's memory.

use std::collections::{HashMap, HashSet};

use ahash::RandomState;

use crate::error::Error;
use crate::family::desc::{check_bounds, check_label, check_name};
use crate::snapshot::{Family, GaugeMerge, Kind, Meta, Number, Numbers, Text, Values, labels};

/// Computes families when somebody scrapes.
///
/// One that fails or panics costs its own families, not the page: that is counted in
/// `tallies_collect_errors_total{collector}`. It may update metrics; a snapshot taken inside it has no collectors.
/// Closures are collectors.
///
/// ```
/// use tallies::{Collected, Registry};
///
/// let registry = Registry::new();
/// registry.collect("pool", |out: &mut Collected| {
///     out.gauge("pool_idle_connections", "Connections not in use.", &[("pool", "main")], 7.0)?;
///     out.counter("pool_timeouts_total", "Waits that ended without one.", &[], 3.0)?;
///     Ok(())
/// })?;
/// assert_eq!(registry.snapshot().get("pool_idle_connections", &[("pool", "main")]), Some(7.0));
/// # Ok::<(), tallies::Error>(())
/// ```
pub trait Collect: Send + Sync {
    /// Writes families; called once per scrape, never twice at once for one registry's scrape.
    ///
    /// # Errors
    ///
    /// Whatever went wrong: nothing it wrote is exported then.
    fn collect(&self, out: &mut Collected) -> Result<(), Box<dyn std::error::Error + Send + Sync>>;
}

impl<F> Collect for F
where
    F: Fn(&mut Collected) -> Result<(), Box<dyn std::error::Error + Send + Sync>> + Send + Sync,
{
    fn collect(&self, out: &mut Collected) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        self(out)
    }
}

/// Where a [`Collect`] writes.
#[derive(Debug, Default)]
pub struct Collected {
    pub(super) families: Vec<Family>,
    /// Where the family of a name is.
    by_name: HashMap<Text, usize, RandomState>,
    /// Hashes of all series, each with its family. Only where a hash is there already are the texts compared.
    seen: HashSet<u64, RandomState>,
}

impl Collected {
    /// One value of a gauge; the first call of a name says what it means.
    ///
    /// # Errors
    ///
    /// A name or label name outside the grammar, the same series twice, a name that is of another kind.
    pub fn gauge(
        &mut self,
        name: &str,
        help: &str,
        labels: &[(&str, &str)],
        value: f64,
    ) -> Result<(), Error> {
        let family = self.family(
            name,
            help,
            Kind::Gauge,
            labels,
            || Values::Gauge(Vec::new()),
        )?;
        if let Values::Gauge(values) = &mut family.values {
            values.push(value);
        }
        Ok(())
    }

    /// One value of a counter: a total that is kept elsewhere and only grows.
    ///
    /// # Errors
    ///
    /// As [`gauge`](Self::gauge), and a value that is negative or NaN.
    pub fn counter(
        &mut self,
        name: &str,
        help: &str,
        labels: &[(&str, &str)],
        total: f64,
    ) -> Result<(), Error> {
        if total.is_nan() || total < 0.0 {
            return Err(Error::update(
                name,
                total,
                "is a counter, so its total is 0 or more",
            ));
        }
        let empty = || Values::Counter(Numbers::default());
        let family = self.family(name, help, Kind::Counter, labels, empty)?;
        if let Values::Counter(values) = &mut family.values {
            values.push(Number::Float(total));
        }
        Ok(())
    }

    /// One series of a gauge histogram: how what is there now is spread, such as the ages of waiting jobs. Its counts may go
    /// down as well as up, so it is of no use to `rate`; `histogram_quantile` takes it as it is.
    ///
    /// `counts` holds one number per bound, of what is at most that and above the bound before, and a last one of what is
    /// above them all; `sum` adds up the same things. OpenMetrics and protobuf have this kind, text says `histogram`.
    /// Prometheus 2.42 with native histograms on loses the names of these samples; newer ones do not.
    ///
    /// # Errors
    ///
    /// As [`gauge`](Self::gauge); bounds that do not ascend, are not finite, or are others than those of the family's
    /// first series; another number of counts; a sum that is NaN.
    ///
    /// ```
    /// use tallies::{Collected, Registry};
    ///
    /// const BOUNDS: [f64; 2] = [1.0, 60.0];
    /// let waiting = [0.2, 0.7, 90.0]; // seconds since each job was queued
    ///
    /// let registry = Registry::new();
    /// registry.collect("queue", move |out: &mut Collected| {
    ///     let mut counts = [0; BOUNDS.len() + 1];
    ///     for age in waiting {
    ///         counts[BOUNDS.partition_point(|bound| *bound < age)] += 1;
    ///     }
    ///     let sum = waiting.iter().sum();
    ///     out.gauge_histogram("queue_age_seconds", "Age of waiting jobs.", &[], &BOUNDS, &counts, sum)?;
    ///     Ok(())
    /// })?;
    /// let page = tallies::encode::open_metrics(&registry.snapshot());
    /// assert!(page.contains("# TYPE queue_age_seconds gaugehistogram\n"));
    /// assert!(page.contains("queue_age_seconds_bucket{le=\"60.0\"} 2\n"));
    /// assert!(page.contains("queue_age_seconds_gcount 3\n"));
    /// # Ok::<(), tallies::Error>(())
    /// ```
    pub fn gauge_histogram(
        &mut self,
        name: &str,
        help: &str,
        labels: &[(&str, &str)],
        bounds: &[f64],
        counts: &[u64],
        sum: f64,
    ) -> Result<(), Error> {
        check_bounds(bounds).map_err(|why| Error::buckets(name, why))?;
        if counts.len() != bounds.len() + 1 {
            let why = format!(
                "need {} counts, one for each bound and one for what is above them, got {}",
                bounds.len() + 1,
                counts.len()
            );
            return Err(Error::buckets(name, &why));
        }
        if sum.is_nan() {
            return Err(Error::update(
                name,
                sum,
                "is a gauge histogram, so its sum is a number",
            ));
        }
        let known = self.by_name.get(name).map(|at| &self.families[*at]);
        if let Some(Values::Histogram { bounds: first, .. }) = known.map(|family| &family.values)
            && **first != *bounds
        {
            let why = "are others than those of its first series; a family has one list of bounds";
            return Err(Error::buckets(name, why));
        }
        let empty = || Values::Histogram {
            bounds: bounds.into(),
            counts: Vec::new(),
            sums: Vec::new(),
            natives: None,
        };
        let family = self.family(name, help, Kind::GaugeHistogram, labels, empty)?;
        if let Values::Histogram {
            counts: all, sums, ..
        } = &mut family.values
        {
            all.extend_from_slice(counts);
            sums.push(sum);
        }
        Ok(())
    }

    fn family(
        &mut self,
        name: &str,
        help: &str,
        kind: Kind,
        labels: &[(&str, &str)],
        empty: impl FnOnce() -> Values,
    ) -> Result<&mut Family, Error> {
        check_name(name.as_bytes()).map_err(|why| Error::name(name, why))?;
        for (label, _) in labels {
            check_label(label.as_bytes(), kind)
                .map_err(|why| Error::label_name(name, label, why))?;
        }
        let at = match self.by_name.get(name).copied() {
            Some(at) if self.families[at].kind() == kind => at,
            Some(_) => return Err(Error::other_type(name, None)),
            None => {
                let meta = Meta {
                    name: name.into(),
                    help: help.into(),
                    unit: "".into(),
                    kind,
                    merge: GaugeMerge::Sum,
                    utf8: false,
                    constant: String::new(),
                };
                let at = self.families.len();
                self.by_name.insert(meta.name.clone(), at);
                self.families.push(Family::new(meta, empty()));
                at
            }
        };
        let family = &mut self.families[at];
        let mut labels = labels.to_vec();
        labels.retain(|(_, value)| !value.is_empty());
        labels.sort_unstable();
        if let Some(pair) = labels.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            return Err(Error::label_name(name, pair[0].0, "stands twice"));
        }
        let text = labels::text(&labels);
        let is_new = self
            .seen
            .insert(self.by_name.hasher().hash_one((at, &text)));
        if !is_new && (0..family.len()).any(|i| family.texts.get(i) == text) {
            return Err(Error::collect(
                name,
                &format!("has the series {{{text}}} twice"),
            ));
        }
        family.texts.push(&text, 0);
        Ok(family)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gauge_histogram_says_what_is_wrong() {
        let mut out = Collected::default();
        let mut add = |labels: &[(&str, &str)], bounds: &[f64], counts: &[u64], sum| {
            let added = out.gauge_histogram("h", "", labels, bounds, counts, sum);
            added.map_err(|e| e.to_string())
        };
        add(&[("x", "1")], &[1.0, 2.0], &[1, 2, 3], 9.0).unwrap();
        for (labels, bounds, counts, sum, why) in [
            (
                [("x", "2")],
                &[1.0, 2.0][..],
                &[1, 2][..],
                9.0,
                "need 3 counts",
            ),
            ([("x", "2")], &[2.0, 1.0], &[1, 2, 3], 9.0, "have to ascend"),
            ([("x", "2")], &[], &[1], 9.0, "at least one finite bound"),
            (
                [("x", "2")],
                &[1.0],
                &[1, 2],
                9.0,
                "others than those of its first series",
            ),
            (
                [("x", "2")],
                &[1.0, 2.0],
                &[1, 2, 3],
                f64::NAN,
                "its sum is a number",
            ),
            ([("x", "1")], &[1.0, 2.0], &[1, 2, 3], 9.0, "twice"),
            ([("le", "1")], &[1.0, 2.0], &[1, 2, 3], 9.0, "reserved"),
        ] {
            let error = add(&labels, bounds, counts, sum).unwrap_err();
            assert!(error.contains(why) && error.contains("`h`"), "{error}");
        }
        assert!(out.gauge("h", "", &[], 1.0).is_err());
    }
}
