//! The reader's half: what all writers of a shard have counted, as of one moment between two folds.
//!
//! A reader first lists the writers, then asks each for the number of its last change, and loads
//! only those that changed since the reader's last visit. `#ver` counts folds: if it moved while
//! the reader loaded, a writer may have been counted twice or not at all, and the reader starts
//! again.

use std::collections::HashMap;

use redis::{ErrorKind, FromRedisValue, RedisError, RedisResult, Value as Reply};
use tallies::snapshot::Family;

use super::MOST_WRITERS;
use super::connection::Connection;
use super::content::Content;
use super::scripts::{Keys, LIST, WriterList};

/// The number of tries to read between two folds before the reader asks for all at once.
const TRIES: usize = 4;

/// The time for which folds are remembered, in milliseconds.
const TOMBSTONE: u64 = 7 * 24 * 3600 * 1000;

/// What a reader knows of a shard.
pub(super) struct ShardView {
    pub(super) keys: Keys,
    /// The time of the last visit by the clock of Redis, in milliseconds.
    pub(super) now: u64,
    version: String,
    born: String,
    pub(super) acc: Content,
    pub(super) writers: HashMap<String, KnownWriter>,
}

/// What a reader knows of a writer.
pub(super) struct KnownWriter {
    /// The time of the last flush by the clock of Redis, in milliseconds.
    pub(super) heard: u64,
    pub(super) slot: Option<u32>,
    pub(super) totals: Content,
    pub(super) gauges: Content,
}

/// The result of one visit.
enum Visit {
    Done,
    /// A writer was folded while the reader loaded.
    Folded,
    /// The writer of this process is not there.
    OwnIsGone,
}

impl ShardView {
    pub(super) fn new(keys: Keys) -> Self {
        Self {
            keys,
            now: 0,
            version: String::new(),
            born: String::new(),
            acc: Content::default(),
            writers: HashMap::new(),
        }
    }

    /// Reads what has changed. `own` is the writer of this process, which knows itself. Returns
    /// `false` if it is not among the writers: then it has been folded, or Redis was wiped, and
    /// what it knows of itself does not fit what was read.
    pub(super) async fn refresh(
        &mut self,
        connection: &mut Connection,
        own: Option<&str>,
    ) -> RedisResult<bool> {
        for attempt in 0..2 * TRIES {
            let at_once = attempt >= TRIES;
            match self.try_refresh(connection, own, at_once).await? {
                Visit::Done => return Ok(true),
                Visit::OwnIsGone => return Ok(false),
                Visit::Folded => {}
            }
        }
        Err(RedisError::from((
            ErrorKind::Client,
            "writers are folded all the time",
        )))
    }

    async fn try_refresh(
        &mut self,
        connection: &mut Connection,
        own: Option<&str>,
        at_once: bool,
    ) -> RedisResult<Visit> {
        let mut script = LIST.key(self.keys.acc());
        script.key(self.keys.writers()).arg(MOST_WRITERS);
        let list: WriterList = connection.script(&script, 1).await?;
        let (now, version, born, count, list) = list;
        if count > list.len() {
            // A page without some of them would go back.
            return Err(RedisError::from((
                ErrorKind::Client,
                "the namespace has too many writers",
                format!("{count} in one shard, of at most {MOST_WRITERS}; silent ones are folded"),
            )));
        }
        let list: HashMap<_, _> = list.into_iter().collect();
        if own.is_some_and(|own| !list.contains_key(own)) {
            return Ok(Visit::OwnIsGone);
        }
        let others: Vec<&String> = list.keys().filter(|name| Some(&***name) != own).collect();

        let mut changed: Vec<(&String, bool, bool)> = Vec::new();
        let mut slots = HashMap::new();
        if !others.is_empty() {
            let mut pipeline = redis::pipe();
            for name in &others {
                pipeline
                    .cmd("HMGET")
                    .arg(self.keys.totals(name))
                    .arg("#v")
                    .arg("#slot");
                pipeline.cmd("HGET").arg(self.keys.gauges(name)).arg("#v");
            }
            let heads: Vec<Reply> = connection.pipeline(&pipeline, 2).await?;
            for (name, head) in others.iter().zip(heads.chunks_exact(2)) {
                let totals: (Option<String>, Option<String>) =
                    FromRedisValue::from_redis_value(head[0].clone())?;
                let gauges: Option<String> = FromRedisValue::from_redis_value(head[1].clone())?;
                let known = self.writers.get(*name);
                let differs = |content: fn(&KnownWriter) -> &Content, v: &Option<String>| {
                    known.is_none_or(|known| content(known).word("#v") != v.as_deref())
                };
                let totals_differ = differs(|known| &known.totals, &totals.0);
                let gauges_differ = differs(|known| &known.gauges, &gauges);
                slots.insert(*name, totals.1.and_then(|slot| slot.parse().ok()));
                if totals_differ || gauges_differ || at_once {
                    changed.push((name, totals_differ || at_once, gauges_differ || at_once));
                }
            }
        }
        let acc_differs = self.version != version || self.born != born || at_once;

        let mut pipeline = redis::pipe();
        if at_once {
            pipeline.atomic();
        }
        for (name, totals, gauges) in &changed {
            if *totals {
                pipeline.cmd("HGETALL").arg(self.keys.totals(name));
            }
            if *gauges {
                pipeline.cmd("HGETALL").arg(self.keys.gauges(name));
            }
        }
        if acc_differs {
            pipeline.cmd("HGETALL").arg(self.keys.acc());
        }
        pipeline
            .cmd("HMGET")
            .arg(self.keys.acc())
            .arg("#ver")
            .arg("#born");
        let replies: Vec<Reply> = connection.pipeline(&pipeline, 10).await?;
        let mut replies = replies.iter();
        let mut loaded = Vec::new();
        for (name, totals, gauges) in changed {
            let mut load = |wanted: bool| {
                let reply = wanted.then(|| replies.next()).flatten();
                reply.map(Content::read)
            };
            loaded.push((name.clone(), load(totals), load(gauges)));
        }
        let acc = acc_differs
            .then(|| replies.next().map(Content::read))
            .flatten();
        let after: (Option<String>, Option<String>) = match replies.next() {
            Some(reply) => FromRedisValue::from_redis_value(reply.clone())?,
            None => (None, None),
        };
        let after = (
            after.0.unwrap_or_else(|| "0".to_owned()),
            after.1.unwrap_or_default(),
        );
        if after != (version.clone(), born.clone()) {
            return Ok(Visit::Folded);
        }
        // Nothing is replaced or removed before all of it is known to belong together: after a
        // failure, the pages go on showing what was read before.
        self.now = now;
        self.writers.retain(|name, _| list.contains_key(name));
        for (name, totals, gauges) in loaded {
            let known = self.writers.entry(name).or_insert_with(|| KnownWriter {
                heard: 0,
                slot: None,
                totals: Content::default(),
                gauges: Content::default(),
            });
            if let Some(totals) = totals {
                known.totals = totals;
            }
            if let Some(gauges) = gauges {
                known.gauges = gauges;
            }
        }
        for (name, heard) in &list {
            if let Some(known) = self.writers.get_mut(name) {
                known.heard = *heard as u64;
                known.slot = slots.get(name).copied().flatten();
            }
        }
        if let Some(acc) = acc {
            self.forget_old_folds(connection, &acc).await;
            self.acc = acc;
        }
        (self.version, self.born) = (version, born);
        Ok(Visit::Done)
    }

    /// Removes what is remembered of folds for longer than a writer can be away. It is not needed,
    /// so errors are ignored.
    async fn forget_old_folds(&self, connection: &mut Connection, acc: &Content) {
        let old = |time: &u64| time.saturating_add(TOMBSTONE) < self.now;
        let folds = acc.folds.iter().filter(|(_, time)| old(time)).take(1000);
        let mut command = redis::cmd("HDEL");
        command.arg(self.keys.acc());
        let mut count = 0;
        for (name, _) in folds {
            command.arg(format!("t{name}"));
            count += 1;
        }
        if count > 0 {
            let _: RedisResult<u64> = connection.command(&command, 1).await;
        }
    }
}

impl KnownWriter {
    /// Returns the time at which the process began to write, from `#info`.
    pub(super) fn started(&self) -> u64 {
        let info = self.totals.word("#info").unwrap_or_default();
        let first = info.split(' ').next().unwrap_or_default();
        first.parse().unwrap_or(0)
    }

    /// Returns the gauges that have not expired at `now`.
    pub(super) fn live_gauges(&self, now: u64, default_ttl: u64) -> Vec<&Family> {
        let age = now.saturating_sub(self.heard);
        let is_live = |family: &&Family| {
            let ttl = family.shared_ttl().map(|ttl| ttl.as_millis() as u64);
            age <= ttl.unwrap_or(default_ttl)
        };
        self.gauges.families.iter().filter(is_live).collect()
    }
}
