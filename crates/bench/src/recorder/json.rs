//! Recordings as JSON, with a version.

use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize, Serializer};

use crate::Error;

use super::{Distribution, Recording};

const FORMAT: &str = "tallies-bench recording";
const VERSION: u32 = 1;

/// The fields of a recording in JSON, in their order.
#[derive(Serialize, Deserialize)]
struct Fields {
    format: String,
    version: u32,
    name: String,
    unit: String,
    begin: f64,
    elapsed: f64,
    count: u64,
    sum: f64,
    schema: i8,
    zero_threshold: f64,
    zero_count: u64,
    buckets: Vec<(i32, u64)>,
}

/// The fields that tell whether [`Fields`] can be read.
#[derive(Deserialize)]
struct Header {
    format: String,
    version: u32,
}

impl Fields {
    fn of(recording: &Recording) -> Self {
        let since_1970 = recording.begin.duration_since(SystemTime::UNIX_EPOCH);
        let counts = &recording.distribution;
        Self {
            format: FORMAT.to_owned(),
            version: VERSION,
            name: recording.name.clone(),
            unit: "seconds".to_owned(),
            begin: since_1970.unwrap_or_default().as_secs_f64(),
            elapsed: recording.elapsed.as_secs_f64(),
            count: counts.count(),
            sum: counts.sum,
            schema: counts.schema,
            zero_threshold: counts.zero_threshold,
            zero_count: counts.zero_count,
            buckets: counts.buckets.clone(),
        }
    }
}

impl Serialize for Recording {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Fields::of(self).serialize(serializer)
    }
}

pub(super) fn write(recording: &Recording) -> String {
    serde_json::to_string(recording).expect("plain fields have a form in JSON")
}

pub(super) fn read(text: &str) -> Result<Recording, Error> {
    let wrong = |why: String| Error::data(format!("this is not a recording in JSON: {why}"));
    let header: Header = serde_json::from_str(text).map_err(|error| wrong(error.to_string()))?;
    if header.format != FORMAT {
        return Err(wrong(format!("its format is {:?}", header.format)));
    }
    if header.version > VERSION {
        return Err(Error::data(format!(
            "the recording has version {} of the format; this program reads up to {VERSION}",
            header.version
        )));
    }
    let fields: Fields = serde_json::from_str(text).map_err(|error| wrong(error.to_string()))?;
    let seconds = |name: &str, seconds: f64| {
        let duration = Duration::try_from_secs_f64(seconds);
        duration.map_err(|error| wrong(format!("{name} is {seconds:?}: {error}")))
    };
    let begin = SystemTime::UNIX_EPOCH.checked_add(seconds("begin", fields.begin)?);
    let begin = begin.ok_or_else(|| wrong(format!("begin is {:?}", fields.begin)))?;
    let elapsed = seconds("elapsed", fields.elapsed)?;
    if begin.checked_add(elapsed).is_none() {
        return Err(wrong(format!("elapsed is {:?}", fields.elapsed)));
    }
    let distribution = Distribution {
        schema: fields.schema,
        zero_threshold: fields.zero_threshold,
        zero_count: fields.zero_count,
        buckets: fields.buckets,
        sum: fields.sum,
    };
    distribution.check().map_err(wrong)?;
    if distribution.count() != fields.count {
        return Err(wrong(format!(
            "count is {}, but the buckets have {}",
            fields.count,
            distribution.count()
        )));
    }
    Ok(Recording {
        name: fields.name,
        begin,
        elapsed,
        distribution,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recorder::Recorder;

    #[test]
    fn a_recording_that_is_read_back_is_the_same() {
        let recorder = Recorder::new("query_seconds").unwrap();
        for i in 0..500 {
            recorder.record_seconds(f64::from(i) * 1.7e-5);
        }
        let written = recorder.read();
        let read = Recording::from_json(&written.to_json()).unwrap();
        assert_eq!(read.distribution, written.distribution);
        assert_eq!(read.name, written.name);
        assert_eq!(read.elapsed, written.elapsed);
        let apart = read.begin.duration_since(written.begin);
        let apart = apart.unwrap_or_else(|error| error.duration());
        assert!(apart < Duration::from_micros(1), "{apart:?}");
    }

    #[test]
    fn what_is_not_a_recording_is_an_error_that_says_why() {
        let recorder = Recorder::new("query_seconds").unwrap();
        recorder.record_seconds(1.0);
        let good = recorder.read().to_json();
        for (part, wrong, why) in [
            ("tallies-bench", "another", "its format is"),
            ("\"version\":1", "\"version\":2", "version 2"),
            ("\"schema\":8", "\"schema\":9", "schema 9"),
            ("[[0,1]]", "[[0,2]]", "count is 1"),
            ("[[0,1]]", "[[0,1],[0,1]]", "do not ascend"),
            ("[[0,1]]", "[[400000,1]]", "beyond"),
            ("\"elapsed\":", "\"elapsed\":-", "elapsed is -"),
            ("\"begin\":", "\"begin\":1e300,\"x\":", "begin is 1e300"),
            ("\"sum\":", "\"total\":", "missing field `sum`"),
        ] {
            assert!(good.contains(part), "{part}");
            let text = good.replacen(part, wrong, 1);
            let error = Recording::from_json(&text).unwrap_err();
            assert!(
                error.is_data() && error.to_string().contains(why),
                "{error}"
            );
        }
        assert!(Recording::from_json("").unwrap_err().is_data());
    }
}
