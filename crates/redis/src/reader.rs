//! The reader's half: what all writers of a shard have counted, as of one moment between two folds.
//!
//! A reader first lists the writers, then asks each for the number of its last change, and loads
//! only those that changed since the reader's last visit. `#ver` counts folds: if it moved while
//! the reader loaded, a writer may have been counted twice or not at all, and the reader starts
//! again.

use std::collections::HashMap;

use redis::{ErrorKind, FromRedisValue, RedisError, RedisResult, Value as Reply};
use tallies::snapshot::Family;

use super::connection::Connection;
use super::content::Content;
use super::scripts::{Keys, list_writers};
use super::{MOST_WRITERS, REMEMBER_FOLD};

/// The number of tries to read between two folds before the reader asks for all at once.
const TRIES: usize = 4;

/// A reader's knowledge of a shard.
pub(super) struct ShardView {
    pub(super) keys: Keys,
    /// The time of the last visit by the clock of Redis, in milliseconds.
    pub(super) now: u64,
    version: String,
    born: String,
    pub(super) acc: Content,
    pub(super) writers: HashMap<String, KnownWriter>,
}

/// A reader's knowledge of a writer.
#[derive(Default)]
pub(super) struct KnownWriter {
    /// The time of the last flush by the clock of Redis, in milliseconds.
    pub(super) heard: u64,
    pub(super) slot: Option<u32>,
    pub(super) totals: Content,
    pub(super) gauges: Content,
}

/// The last changes that a writer tells of.
struct Head<'a> {
    name: &'a String,
    slot: Option<u32>,
    /// Whether the reader has other totals or gauges.
    totals_differ: bool,
    gauges_differ: bool,
}

/// The fields that were loaded of a writer.
struct Loaded<'a> {
    head: Head<'a>,
    totals: Option<Content>,
    gauges: Option<Content>,
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
        let list = list_writers(connection, &self.keys).await?;
        if list.count > list.writers.len() {
            // A page without some of them would go back.
            let count = list.count;
            return Err(RedisError::from((
                ErrorKind::Client,
                "the namespace has too many writers",
                format!("{count} in one shard, of at most {MOST_WRITERS}; silent ones are folded"),
            )));
        }
        let heard: HashMap<_, _> = list.writers.into_iter().collect();
        if own.is_some_and(|own| !heard.contains_key(own)) {
            return Ok(Visit::OwnIsGone);
        }
        let others = heard.keys().filter(|name| Some(&***name) != own).collect();
        let heads = self.heads(connection, others).await?;
        let acc_differs = self.version != list.version || self.born != list.born || at_once;

        let mut pipeline = redis::pipe();
        if at_once {
            pipeline.atomic();
        }
        for head in &heads {
            if head.totals_differ || at_once {
                pipeline.cmd("HGETALL").arg(self.keys.totals(head.name));
            }
            if head.gauges_differ || at_once {
                pipeline.cmd("HGETALL").arg(self.keys.gauges(head.name));
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
        // In the order of the commands.
        let mut load = |wanted: bool| {
            let reply = wanted.then(|| replies.next()).flatten();
            reply.map(Content::read)
        };
        let mut loaded = Vec::with_capacity(heads.len());
        for head in heads {
            let totals = load(head.totals_differ || at_once);
            let gauges = load(head.gauges_differ || at_once);
            loaded.push(Loaded {
                head,
                totals,
                gauges,
            });
        }
        let acc = load(acc_differs);
        let (version, born): (Option<String>, Option<String>) = match replies.next() {
            Some(reply) => FromRedisValue::from_redis_value(reply.clone())?,
            None => (None, None),
        };
        let is_same = version.as_deref().unwrap_or("0") == list.version
            && born.as_deref().unwrap_or_default() == list.born;
        if !is_same {
            return Ok(Visit::Folded);
        }
        // Nothing is replaced or removed before all of it is known to belong together: after a
        // failure, the pages go on showing what was read before.
        self.now = list.now;
        self.writers.retain(|name, _| heard.contains_key(name));
        for Loaded {
            head,
            totals,
            gauges,
        } in loaded
        {
            let known = self.writers.entry(head.name.clone()).or_default();
            if let Some(totals) = totals {
                known.totals = totals;
            }
            if let Some(gauges) = gauges {
                known.gauges = gauges;
            }
            known.heard = heard[head.name];
            known.slot = head.slot;
        }
        if let Some(acc) = acc {
            self.forget_old_folds(connection, &acc).await;
            self.acc = acc;
        }
        (self.version, self.born) = (list.version, list.born);
        Ok(Visit::Done)
    }

    /// Asks each of these writers for the numbers of its last changes.
    async fn heads<'a>(
        &self,
        connection: &mut Connection,
        writers: Vec<&'a String>,
    ) -> RedisResult<Vec<Head<'a>>> {
        if writers.is_empty() {
            return Ok(Vec::new());
        }
        let mut pipeline = redis::pipe();
        for name in &writers {
            pipeline
                .cmd("HMGET")
                .arg(self.keys.totals(name))
                .arg("#v")
                .arg("#slot");
            pipeline.cmd("HGET").arg(self.keys.gauges(name)).arg("#v");
        }
        let replies: Vec<Reply> = connection.pipeline(&pipeline, 2).await?;
        let heads = writers.into_iter().zip(replies.chunks_exact(2));
        let heads = heads.map(|(name, replies)| {
            let (totals, slot): (Option<String>, Option<String>) =
                FromRedisValue::from_redis_value(replies[0].clone())?;
            let gauges: Option<String> = FromRedisValue::from_redis_value(replies[1].clone())?;
            let known = self.writers.get(name);
            Ok(Head {
                name,
                slot: slot.and_then(|slot| slot.parse().ok()),
                totals_differ: known
                    .is_none_or(|known| known.totals.word("#v") != totals.as_deref()),
                gauges_differ: known
                    .is_none_or(|known| known.gauges.word("#v") != gauges.as_deref()),
            })
        });
        heads.collect()
    }

    /// Removes what is remembered of folds for longer than a writer can be away. It is not needed,
    /// so errors are ignored.
    async fn forget_old_folds(&self, connection: &mut Connection, acc: &Content) {
        let remembered = REMEMBER_FOLD.as_millis() as u64;
        let old = |time: &u64| time.saturating_add(remembered) < self.now;
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
