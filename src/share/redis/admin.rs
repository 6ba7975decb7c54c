//! What a person wants to know of a namespace: its writers, and whether all of it can be read.

use std::fmt;

use redis::RedisResult;

use crate::snapshot::Snapshot;

use super::worker::Worker;

/// A namespace at one time, as [`Redis::overview_blocking`](super::Redis::overview_blocking)
/// returns it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Overview {
    /// The writers that are not folded, the newest first.
    pub writers: Vec<WriterInfo>,
    /// The totals of the writers that were folded.
    pub folded: Vec<Snapshot>,
    /// The number of folds that are remembered.
    pub folds: usize,
    /// The number of fields that could not be read.
    pub malformed: usize,
}

/// A writer of a namespace.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct WriterInfo {
    /// The random name of the writer.
    pub name: String,
    /// Its number among the live writers: the value of the label `gauge_index`.
    pub index: Option<u32>,
    /// When it began, in milliseconds since 1970 by its clock, its process id and its host.
    pub info: String,
    /// The milliseconds since its last flush, by the clock of Redis.
    pub silent_millis: u64,
    /// Its totals, and then its live gauges.
    pub series: Vec<Snapshot>,
}

impl fmt::Display for WriterInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let index = self.index.map_or("-".to_owned(), |index| index.to_string());
        let seconds = self.silent_millis as f64 / 1000.0;
        let mut info = self.info.split(' ');
        let (_, pid, host) = (info.next(), info.next(), info.next());
        write!(
            f,
            "writer {} index {index} pid {} host {} last flush {seconds:.1} s ago",
            self.name.escape_debug(),
            pid.unwrap_or("-").escape_debug(),
            host.unwrap_or("-").escape_debug(),
        )
    }
}

/// Reads all shards.
pub(super) async fn overview(worker: &mut Worker) -> RedisResult<Overview> {
    let mut all = Overview {
        writers: Vec::new(),
        folded: Vec::new(),
        folds: 0,
        malformed: 0,
    };
    let count = worker.shards.len() as u32;
    for (at, shard) in worker.shards.iter_mut().enumerate() {
        shard.refresh(&mut worker.connection, None).await?;
        for (name, known) in &shard.writers {
            let series = known.totals.snapshots.iter().cloned();
            all.writers.push(WriterInfo {
                name: name.clone(),
                index: known.slot.map(|slot| slot * count + at as u32),
                info: known.totals.word("#info").unwrap_or_default().to_owned(),
                silent_millis: shard.now.saturating_sub(known.heard),
                series: series
                    .chain(known.gauges.snapshots.iter().cloned())
                    .collect(),
            });
            all.malformed += known.totals.malformed + known.gauges.malformed;
        }
        all.folded.extend(shard.acc.snapshots.iter().cloned());
        all.folds += shard.acc.folds.len();
        all.malformed += shard.acc.malformed;
    }
    let started = |writer: &WriterInfo| -> u64 {
        let first = writer.info.split(' ').next().unwrap_or_default();
        first.parse().unwrap_or(0)
    };
    all.writers
        .sort_by_key(|writer| std::cmp::Reverse(started(writer)));
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_writer_that_lies_about_itself_writes_one_line() {
        let writer = WriterInfo {
            name: "w\u{1b}[2J".to_owned(),
            index: None,
            info: "1 2\u{7} host\r\nwriter\u{9b}\u{202e}\u{2028}".to_owned(),
            silent_millis: 1500,
            series: Vec::new(),
        };
        assert_eq!(
            writer.to_string(),
            "writer w\\u{1b}[2J index - pid 2\\u{7} host \
             host\\r\\nwriter\\u{9b}\\u{202e}\\u{2028} last flush 1.5 s ago"
        );
    }
}
