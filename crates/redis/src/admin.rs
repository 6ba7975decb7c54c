//! The state of a namespace, for people: its processes, and whether all of it can be read.

use std::fmt;
use std::time::{Duration, SystemTime};

use redis::RedisResult;
use tallies::snapshot::Family;

use super::worker::Worker;

/// A namespace at one time, as [`Redis::overview`](super::Redis::overview) returns it.
#[derive(Clone, Debug, Default)]
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
    /// The process ID that it had, if it is known.
    pub pid: Option<u32>,
    /// Its host, if it is known.
    pub host: Option<String>,
    /// Its number among the live processes: the value of the label `gauge_index`.
    pub index: Option<u32>,
    /// The time at which it began to take part, by its own clock.
    pub started: SystemTime,
    /// The time since its last flush, by the clock of Redis.
    pub silence: Duration,
    /// Its totals, and then its live gauges.
    pub families: Vec<Family>,
}

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = |n: Option<u32>| n.map_or("-".to_owned(), |n| n.to_string());
        write!(
            f,
            "process {} index {} pid {} host {} last flush {:.1} s ago",
            self.name.escape_debug(),
            number(self.index),
            number(self.pid),
            self.host.as_deref().unwrap_or("-").escape_debug(),
            self.silence.as_secs_f64(),
        )
    }
}

/// Reads all shards.
pub(super) async fn overview(worker: &mut Worker) -> RedisResult<Overview> {
    let mut all = Overview::default();
    for shard in &mut worker.shards {
        shard.refresh(&mut worker.connection, None).await?;
    }
    for (at, shard) in worker.shards.iter().enumerate() {
        for (name, known) in &shard.writers {
            let started = Duration::from_millis(known.started());
            let mut info = known.info().skip(1);
            let families = known.hashes.iter().flat_map(|hash| &hash.families);
            all.processes.push(Process {
                name: name.clone(),
                pid: info.next().and_then(|pid| pid.parse().ok()),
                host: info.next().map(str::to_owned),
                index: worker.index(known.slot, at),
                started: (SystemTime::UNIX_EPOCH.checked_add(started))
                    .unwrap_or(SystemTime::UNIX_EPOCH),
                silence: Duration::from_millis(shard.now.saturating_sub(known.heard)),
                families: families.cloned().collect(),
            });
            all.skipped += known.malformed();
        }
        all.folded.extend(shard.acc.families.iter().cloned());
        all.folds += shard.acc.folds.len();
        all.skipped += shard.acc.malformed;
    }
    all.processes
        .sort_by_key(|process| std::cmp::Reverse(process.started));
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_lies_about_itself_writes_one_line() {
        let process = Process {
            name: "w\u{1b}[2J".to_owned(),
            pid: None,
            host: Some("host\r\nwriter\u{9b}\u{202e}\u{2028}".to_owned()),
            index: None,
            started: SystemTime::UNIX_EPOCH,
            silence: Duration::from_millis(1500),
            families: Vec::new(),
        };
        assert_eq!(
            process.to_string(),
            "process w\\u{1b}[2J index - pid - host \
             host\\r\\nwriter\\u{9b}\\u{202e}\\u{2028} last flush 1.5 s ago"
        );
    }
}
