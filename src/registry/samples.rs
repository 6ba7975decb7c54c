//! Samples that this crate reads at scrape time. Each name stands beside its help text.

use super::Collected;

/// The name of a family without its prefix, and its help text.
pub(crate) type NameAndHelp = (&'static str, &'static str);

pub(crate) type Fallible<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// The samples of a collector, whose names begin with `prefix` and an underscore.
pub(crate) struct Samples<'a> {
    pub(crate) out: &'a mut Collected,
    pub(crate) prefix: &'a str,
}

impl Samples<'_> {
    /// Writes a sample of a counter if the name ends in `_total`, otherwise of a gauge.
    pub(crate) fn write(
        &mut self,
        (name, help): NameAndHelp,
        labels: &[(&str, &str)],
        value: f64,
    ) -> Fallible<()> {
        let full = format!("{}_{name}", self.prefix);
        match name.ends_with("_total") {
            true => self.out.counter(&full, help, labels, value)?,
            false => self.out.gauge(&full, help, labels, value)?,
        }
        Ok(())
    }
}
