//! What is computed at scrape time: a pool's size, a total kept elsewhere, the process's memory.

use crate::declare::{check_label, check_name};
use crate::error::Error;
use crate::snapshot::{Family, GaugeMerge, Kind, Meta, Number, Numbers, Values, labels};

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
        let family = self.family(name, help, Kind::Gauge, labels)?;
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
        let family = self.family(name, help, Kind::Counter, labels)?;
        if let Values::Counter(values) = &mut family.values {
            values.push(Number::Float(total));
        }
        Ok(())
    }

    fn family(
        &mut self,
        name: &str,
        help: &str,
        kind: Kind,
        labels: &[(&str, &str)],
    ) -> Result<&mut Family, Error> {
        check_name(name.as_bytes()).map_err(|why| Error::name(name, why))?;
        for (label, _) in labels {
            check_label(label.as_bytes(), kind)
                .map_err(|why| Error::label_name(name, label, why))?;
        }
        let at = match self
            .families
            .iter()
            .position(|family| family.name() == name)
        {
            Some(at) if self.families[at].kind() == kind => at,
            Some(_) => return Err(Error::other_type(name, None)),
            None => {
                let meta = Meta {
                    name: name.to_owned().into(),
                    help: help.to_owned().into(),
                    unit: "".into(),
                    kind,
                    merge: GaugeMerge::Sum,
                    utf8: false,
                    constant: String::new(),
                };
                let values = if kind == Kind::Counter {
                    Values::Counter(Numbers::default())
                } else {
                    Values::Gauge(Vec::new())
                };
                self.families.push(Family::new(meta, values));
                self.families.len() - 1
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
        if (0..family.len()).any(|i| family.texts.get(i) == text) {
            return Err(Error::collect(
                name,
                &format!("has the series {{{text}}} twice"),
            ));
        }
        family.texts.push(&text, 0);
        Ok(family)
    }
}
