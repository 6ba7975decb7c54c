//! The state of a namespace, for people: its processes, and whether all of it can be read.

use std::fmt;
use std::time::{Duration, SystemTime};

use redis::{ErrorKind, RedisResult};
use tallies::snapshot::{Family, Snapshot};

use super::worker::{Worker, lost};

/// A namespace at one time, as [`Redis::overview`](super::Redis::overview) returns it.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Overview {
    /// The processes that are not folded, the newest first.
    pub processes: Vec<Process>,
    /// The totals of the processes that have ended and were folded.
    pub folded: Snapshot,
    /// The number of folds that are remembered.
    pub folds: usize,
    /// The keys of which a part is skipped, each with the reason.
    pub skipped: Vec<(String, String)>,
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
    /// Whether it was heard within the time to live of gauges.
    pub is_alive: bool,
    /// Its counts, or those that it sent last.
    pub snapshot: Snapshot,
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
    let mut folded = Vec::new();
    for shard in &mut worker.shards {
        shard.refresh(&mut worker.connection, None).await?;
        if shard.awaited > 0 {
            let what = "the namespace is not whole";
            return Err((ErrorKind::Client, what, lost(shard.awaited)).into());
        }
    }
    let ttl = worker.ttl();
    for (at, shard) in worker.shards.iter().enumerate() {
        for (name, known) in &shard.writers {
            let started = Duration::from_millis(known.started());
            let mut info = known.info().skip(1);
            let silence = shard.now.saturating_sub(known.heard);
            let keys = shard.keys.hashes(name);
            for (key, hash) in keys.iter().zip(&known.hashes) {
                all.skip_malformed(key, hash.malformed);
            }
            let families = known.hashes.iter().flat_map(|hash| &hash.families);
            let snapshot = all.snapshot_of(families, &keys[0]);
            all.processes.push(Process {
                name: name.clone(),
                pid: info.next().and_then(|pid| pid.parse().ok()),
                host: info.next().map(str::to_owned),
                index: worker.index(known.slot, at),
                started: (SystemTime::UNIX_EPOCH.checked_add(started))
                    .unwrap_or(SystemTime::UNIX_EPOCH),
                silence: Duration::from_millis(silence),
                is_alive: silence <= ttl,
                snapshot,
            });
        }
        folded.extend(&shard.acc.families);
        all.folds += shard.acc.folds.len();
        all.skip_malformed(&shard.keys.acc(), shard.acc.malformed);
    }
    all.folded = all.snapshot_of(folded, "the folded totals");
    all.processes
        .sort_by_key(|process| std::cmp::Reverse(process.started));
    Ok(all)
}

impl Overview {
    fn skip_malformed(&mut self, key: &str, count: usize) {
        if count > 0 {
            self.skipped
                .push((key.to_owned(), format!("{count} malformed fields")));
        }
    }

    /// Returns a snapshot of families, of which several have one name if it was described
    /// differently. Those that do not fit are skipped.
    fn snapshot_of<'a>(
        &mut self,
        families: impl IntoIterator<Item = &'a Family>,
        key: &str,
    ) -> Snapshot {
        let mut all: Vec<Family> = Vec::new();
        for family in families {
            match all.iter_mut().find(|other| other.name() == family.name()) {
                None => all.push(family.clone()),
                Some(other) => {
                    if let Err(error) = other.merge(family) {
                        self.skipped.push((key.to_owned(), error.to_string()));
                    }
                }
            }
        }
        // Each name is there once, so there is no error.
        Snapshot::new(all, SystemTime::now()).unwrap_or_default()
    }
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
            is_alive: true,
            snapshot: Snapshot::default(),
        };
        assert_eq!(
            process.to_string(),
            "process w\\u{1b}[2J index - pid - host \
             host\\r\\nwriter\\u{9b}\\u{202e}\\u{2028} last flush 1.5 s ago"
        );
    }
}
