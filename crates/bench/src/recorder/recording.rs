//! One recording: what was recorded between two times.

use std::io::{self, Write};
use std::time::{Duration, SystemTime};

use crate::Error;

use super::{Distribution, hdr, json};

/// All that a [`Recorder`](super::Recorder) recorded between two times.
///
/// ```
/// use tallies_bench::recorder::{Recorder, Recording};
///
/// let recorder = Recorder::new("query_seconds")?;
/// recorder.record_seconds(0.25);
/// let here = recorder.read();
/// let mut both = Recording::from_json(&here.to_json())?; // from another machine
/// both.merge(&here)?;
/// assert_eq!(both.distribution().count(), 2);
/// # Ok::<(), tallies_bench::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Recording {
    pub(super) name: String,
    pub(super) begin: SystemTime,
    pub(super) elapsed: Duration,
    pub(super) distribution: Distribution,
}

impl Recording {
    /// Returns the name of the recorder.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the time from which on values are counted.
    #[must_use]
    pub fn begin(&self) -> SystemTime {
        self.begin
    }

    /// Returns the time until which values are counted: those whose `record` had returned by then
    /// are in the recording. (Some that were recorded while it was read may be, too.)
    #[must_use]
    pub fn end(&self) -> SystemTime {
        self.begin + self.elapsed
    }

    /// Returns the time from begin to end, by the monotonic clock.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.elapsed
    }

    /// Returns the counts.
    #[must_use]
    pub fn distribution(&self) -> &Distribution {
        &self.distribution
    }

    /// Returns the values per second, or 0 if no time has passed.
    #[must_use]
    pub fn rate(&self) -> f64 {
        match self.elapsed.as_secs_f64() {
            0.0 => 0.0,
            seconds => self.distribution.count() as f64 / seconds,
        }
    }

    /// Adds the values of a recording of another process, machine or interval. The name stays; the
    /// times become those of the earlier begin and the later end.
    ///
    /// # Errors
    ///
    /// The errors of [`Distribution::merge`]. The recording is then unchanged.
    pub fn merge(&mut self, other: &Self) -> Result<(), Error> {
        self.distribution.merge(&other.distribution)?;
        let end = self.end().max(other.end());
        self.begin = self.begin.min(other.begin);
        self.elapsed = end.duration_since(self.begin).unwrap_or_default();
        Ok(())
    }

    /// Returns what was recorded since `earlier`, an earlier reading of the same recorder. If it is
    /// not one, everything is since then.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let since = self.distribution.since(&earlier.distribution);
        Self {
            name: self.name.clone(),
            begin: earlier.end(),
            elapsed: self.end().duration_since(earlier.end()).unwrap_or_default(),
            distribution: since.unwrap_or_else(|| self.distribution.clone()),
        }
    }

    /// Returns the recording as JSON, on one line.
    ///
    /// ```
    /// let recorder = tallies_bench::recorder::Recorder::new("query_seconds")?;
    /// recorder.record_seconds(1.0);
    /// let json = recorder.read().to_json();
    /// assert!(json.starts_with(r#"{"format":"tallies-bench recording","version":1,"#));
    /// assert!(json.contains(r#""schema":8,"#) && json.contains(r#""buckets":[[0,1]]"#));
    /// # Ok::<(), tallies_bench::Error>(())
    /// ```
    ///
    /// The fields: `format`; `version`, which changes if an older reader would misread a newer
    /// text; `name`; `unit`, always `seconds`; `begin`, in seconds since 1970; `elapsed`, in
    /// seconds; `count`; `sum`; `schema`, `zero_threshold`, `zero_count`, and `buckets` with pairs
    /// of index and count, as [`Distribution`] explains them. Readers ignore fields that they do
    /// not know.
    #[must_use]
    pub fn to_json(&self) -> String {
        json::write(self)
    }

    /// Reads a recording that [`to_json`](Self::to_json) wrote.
    ///
    /// # Errors
    ///
    /// Returns an error if the text is not such a recording, or one of a newer version
    /// ([`Error::is_data`]).
    pub fn from_json(text: &str) -> Result<Self, Error> {
        json::read(text)
    }

    /// Writes the distribution of percentiles as text that the plotters of HdrHistogram read: an
    /// `.hgrm` file. Values are milliseconds.
    ///
    /// ```
    /// let recorder = tallies_bench::recorder::Recorder::new("query_seconds")?;
    /// (1..=1000).for_each(|ms| recorder.record_seconds(f64::from(ms) / 1000.0));
    /// let mut file = Vec::new();
    /// recorder.read().write_hgrm(&mut file)?;
    /// assert!(String::from_utf8(file).unwrap().contains("Percentile TotalCount"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// A value is at least the recorded one, and at most 0.4 % larger, or a nanosecond if that is
    /// more: it is the upper bound of its bucket, in whole nanoseconds and three digits.
    ///
    /// # Errors
    ///
    /// Returns the errors of `out`.
    ///
    /// Source: the output of HdrHistogram's `outputPercentileDistribution`.
    pub fn write_hgrm(&self, out: &mut impl Write) -> io::Result<()> {
        hdr::Counts::of(&self.distribution).write_percentiles(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recording(begin: u64, elapsed: u64, values: &[f64]) -> Recording {
        Recording {
            name: "query_seconds".to_owned(),
            begin: SystemTime::UNIX_EPOCH + Duration::from_secs(begin),
            elapsed: Duration::from_secs(elapsed),
            distribution: Distribution::of_values(values),
        }
    }

    #[test]
    fn merged_recordings_span_both() {
        let mut both = recording(10, 5, &[1.0]);
        both.merge(&recording(12, 8, &[2.0, 3.0])).unwrap();
        assert_eq!(both, recording(10, 10, &[1.0, 2.0, 3.0]));
        assert_eq!(both.rate(), 0.3);
    }

    #[test]
    fn an_interval_begins_where_the_earlier_reading_ends() {
        let earlier = recording(10, 5, &[1.0]);
        let later = recording(10, 9, &[1.0, 4.0]);
        assert_eq!(later.since(&earlier), recording(15, 4, &[4.0]));
        // After a restart, everything is new.
        assert_eq!(earlier.since(&later).distribution().count(), 1);
    }
}
