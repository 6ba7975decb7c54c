//! The state of a namespace, for people: its processes, and whether all of it can be read.

use std::fmt;

use redis::RedisResult;

use tallies::snapshot::Family;

use super::worker::Worker;

/// A namespace at one time, as [`Redis::overview`](super::Redis::overview) returns it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Overview {
    /// The processes that are not folded, the newest first.
    pub processes: Vec<Process>,
    /// The totals of the processes that were folded. Several families can have one name, if
    /// processes described it differently.
    pub folded: Vec<Family>,
    /// The number of folds that are remembered.
    pub folds: usize,
    /// The number of fields that are skipped, because they could not be read.
    pub skipped: usize,
}

/// A process that shares its metrics, or shared them and has not been folded yet.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Process {
    /// Its random name.
    pub name: String,
    /// Its number among the live writers: the value of the label `gauge_index`.
    pub index: Option<u32>,
    /// When it began, in milliseconds since 1970 by its clock, its process id and its host.
    pub info: String,
    /// The milliseconds since its last flush, by the clock of Redis.
    pub silent_millis: u64,
    /// Its totals, and then its live gauges.
    pub families: Vec<Family>,
}

impl fmt::Display for Process {
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
        processes: Vec::new(),
        folded: Vec::new(),
        folds: 0,
        skipped: 0,
    };
    let count = worker.shards.len() as u32;
    for (at, shard) in worker.shards.iter_mut().enumerate() {
        shard.refresh(&mut worker.connection, None).await?;
        for (name, known) in &shard.writers {
            let totals = known.totals.families.iter();
            all.processes.push(Process {
                name: name.clone(),
                index: known.slot.map(|slot| slot * count + at as u32),
                info: known.totals.word("#info").unwrap_or_default().to_owned(),
                silent_millis: shard.now.saturating_sub(known.heard),
                families: totals.chain(&known.gauges.families).cloned().collect(),
            });
            all.skipped += known.totals.malformed + known.gauges.malformed;
        }
        all.folded.extend(shard.acc.families.iter().cloned());
        all.folds += shard.acc.folds.len();
        all.skipped += shard.acc.malformed;
    }
    let started = |process: &Process| -> u64 {
        let first = process.info.split(' ').next().unwrap_or_default();
        first.parse().unwrap_or(0)
    };
    all.processes
        .sort_by_key(|process| std::cmp::Reverse(started(process)));
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_lies_about_itself_writes_one_line() {
        let process = Process {
            name: "w\u{1b}[2J".to_owned(),
            index: None,
            info: "1 2\u{7} host\r\nwriter\u{9b}\u{202e}\u{2028}".to_owned(),
            silent_millis: 1500,
            families: Vec::new(),
        };
        assert_eq!(
            process.to_string(),
            "writer w\\u{1b}[2J index - pid 2\\u{7} host \
             host\\r\\nwriter\\u{9b}\\u{202e}\\u{2028} last flush 1.5 s ago"
        );
    }
}
