//! The reader's half: what all writers of a shard have counted, as of one moment between two folds.
//!
//! A reader first lists the writers, then asks each for the number of its last change, and loads
//! only those that changed since the reader's last visit. `#ver` counts folds: if it moved while
//! the reader loaded, a writer may have been counted twice or not at all, and the reader starts
//! again.
//!
//! If Redis has lost what a live writer had sent, as after a wipe, a restart from an older dump or
//! a failover, the reader keeps what it read before until that writer has sent it again, which it
//! does within a flush interval. A writer says in `#whole` under which `#born` it has sent all that
//! it has. So no page goes back and then forth again. A writer that does not come within the time
//! to live of gauges has ended.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use redis::{ErrorKind, RedisResult, Value as Reply};
use tallies::snapshot::Family;

use super::connection::Connection;
use super::content::Content;
use super::scripts::{Keys, list_writers};
use super::{MOST_WRITERS, REMEMBER_FOLD, millis};

/// The number of tries to read between two folds before the reader asks for all at once.
const TRIES: usize = 4;

/// A reader's knowledge of a shard.
pub(super) struct ShardView {
    pub(super) keys: Keys,
    /// The time of the last visit by the clock of Redis, in milliseconds.
    pub(super) now: u64,
    pub(super) acc: Content,
    pub(super) writers: HashMap<String, KnownWriter>,
    /// How long a writer may be silent until it counts as ended.
    ttl: Duration,
    /// When the reader saw that Redis has lost something, until all of it is there again.
    lost: Option<Lost>,
    /// The number of writers that have to send again what Redis has lost. While there are any,
    /// everything else is as it was read before.
    pub(super) awaited: usize,
}

/// A reader's knowledge of a writer.
#[derive(Default)]
pub(super) struct KnownWriter {
    /// The time of the last flush by the clock of Redis, in milliseconds.
    pub(super) heard: u64,
    pub(super) slot: Option<u32>,
    /// The `#born` under which it has sent all that it has.
    whole: Option<String>,
    /// Its totals, and its live gauges.
    pub(super) hashes: [Content; 2],
}

/// A loss of what live writers had sent.
struct Lost {
    /// When the reader saw it.
    since: Instant,
    /// The `#born` of Redis after it.
    born: Option<String>,
}

/// The fields `#v`, `#slot` and `#whole` of a hash.
type Head = (Option<String>, Option<String>, Option<String>);

impl ShardView {
    pub(super) fn new(keys: Keys, ttl: Duration) -> Self {
        Self {
            keys,
            now: 0,
            acc: Content::default(),
            writers: HashMap::new(),
            ttl,
            lost: None,
            awaited: 0,
        }
    }

    /// Reads what has changed, unless writers are [awaited](Self::awaited). `own` is the writer of
    /// this process, which knows itself. Returns `false` if it is not among the writers: then it
    /// has been folded, or Redis was wiped, and what it knows of itself does not fit what was read.
    pub(super) async fn refresh(
        &mut self,
        connection: &mut Connection,
        own: Option<&str>,
    ) -> RedisResult<bool> {
        for attempt in 0..2 * TRIES {
            let at_once = attempt >= TRIES;
            if let Some(has_own) = self.try_refresh(connection, own, at_once).await? {
                return Ok(has_own);
            }
        }
        Err((ErrorKind::Client, "writers are folded all the time").into())
    }

    /// Returns `None` if a writer was folded while the reader loaded.
    async fn try_refresh(
        &mut self,
        connection: &mut Connection,
        own: Option<&str>,
        at_once: bool,
    ) -> RedisResult<Option<bool>> {
        let list = list_writers(connection, &self.keys).await?;
        if list.count > list.writers.len() {
            // A page without some of them would go back.
            let what = "the namespace has too many writers";
            let count = list.count;
            let why =
                format!("{count} in one shard, of at most {MOST_WRITERS}; silent ones are folded");
            return Err((ErrorKind::Client, what, why).into());
        }
        let heard: HashMap<_, _> = list.writers.into_iter().collect();
        if own.is_some_and(|own| !heard.contains_key(own)) {
            return Ok(Some(false));
        }
        let others: Vec<_> = heard.keys().filter(|name| Some(&***name) != own).collect();
        let heads = self.heads(connection, &others).await?;

        let mut pipeline = redis::pipe();
        if at_once {
            pipeline.atomic();
        }
        // The hashes that the reader loads: those that it has differ.
        let mut loaded = Vec::new();
        for (name, heads) in others.iter().zip(heads.chunks_exact(2)) {
            let known = self.writers.get(*name);
            for (i, key) in self.keys.hashes(name).into_iter().enumerate() {
                let number = known.and_then(|known| known.hashes[i].word("#v"));
                if at_once || number != heads[i].0.as_deref() {
                    pipeline.cmd("HGETALL").arg(key);
                    loaded.push((*name, i));
                }
            }
        }
        let acc = (self.acc.word("#ver"), self.acc.word("#born"));
        if at_once || acc != (list.version.as_deref(), list.born.as_deref()) {
            pipeline.cmd("HGETALL").arg(self.keys.acc());
        }
        let last = pipeline.cmd("HMGET").arg(self.keys.acc());
        last.arg("#ver").arg("#born");
        let mut replies: Vec<Reply> = connection.pipeline(&pipeline, 10).await?;
        let last = replies.pop().unwrap_or(Reply::Nil);
        let last: (Option<String>, Option<String>) = redis::from_redis_value(last)?;
        if last != (list.version, list.born) {
            return Ok(None);
        }
        let contents = replies.into_iter().map(redis::from_redis_value);
        let mut contents: Vec<Content> = contents.collect::<Result<_, _>>()?;
        let has_acc = contents.len() > loaded.len();
        let acc = has_acc.then(|| contents.pop()).flatten();
        let heads: HashMap<_, _> = others.into_iter().zip(heads.chunks_exact(2)).collect();
        let folds = &acc.as_ref().unwrap_or(&self.acc).folds;
        let born = last.1.as_deref();
        let mut missing = self.missing(own, &heads, born, folds);
        // They do not know yet that what was folded of them is gone.
        missing.extend(heads.iter().filter_map(|(name, heads)| {
            let is_live = list.now.saturating_sub(heard[&**name]) <= millis(self.ttl);
            let whole = heads[0].2.as_deref();
            (is_live && whole.is_some() && whole != born).then_some(&***name)
        }));
        let missing = missing.len();
        if missing > 0 {
            // Another wipe has another patience.
            let known = self.lost.take().filter(|lost| lost.born.as_deref() == born);
            let lost = known.unwrap_or_else(|| Lost {
                since: Instant::now(),
                born: born.map(str::to_owned),
            });
            if lost.since.elapsed() < self.ttl {
                (self.lost, self.awaited) = (Some(lost), missing);
                return Ok(Some(true));
            }
        }
        (self.lost, self.awaited) = (None, 0);
        // In the order of the commands.
        let mut contents = contents.into_iter();
        // Nothing is replaced or removed before all of it is known to belong together: after a
        // failure, the pages go on showing what was read before.
        self.now = list.now;
        self.writers.retain(|name, _| heard.contains_key(name));
        for (name, heads) in heads {
            let known = self.writers.entry(name.clone()).or_default();
            let (_, slot, whole) = &heads[0];
            known.heard = heard[name];
            known.slot = slot.as_ref().and_then(|slot| slot.parse().ok());
            known.whole.clone_from(whole);
        }
        for (name, i) in loaded {
            let known = self.writers.entry(name.clone()).or_default();
            known.hashes[i] = contents.next().unwrap_or_default();
        }
        if let Some(acc) = acc {
            self.forget_old_folds(connection, &acc).await;
            self.acc = acc;
        }
        Ok(Some(true))
    }

    /// Returns the writers that were alive at the last visit, and of which Redis has less now than
    /// then.
    fn missing<'a>(
        &'a self,
        own: Option<&str>,
        heads: &HashMap<&String, &[Head]>,
        born: Option<&str>,
        folds: &[(String, u64)],
    ) -> HashSet<&'a str> {
        let number = |v: Option<&str>| v.and_then(|v| v.parse::<u64>().ok());
        let is_there = |(name, known): &(&String, &KnownWriter)| {
            heads.get(name).is_some_and(|heads| {
                let (v, _, whole) = &heads[0];
                let is_back = number(v.as_deref()) < number(known.hashes[0].word("#v"));
                whole.as_deref() == born && !is_back
            })
        };
        let others = self
            .writers
            .iter()
            .filter(|(name, _)| Some(&***name) != own);
        let live = others.filter(|(_, known)| {
            let silence = self.now.saturating_sub(known.heard);
            let was_whole =
                known.whole.is_some() && known.whole.as_deref() == self.acc.word("#born");
            was_whole && silence <= millis(self.ttl)
        });
        let missing = live.filter(|writer| !is_there(writer));
        let mut missing: HashSet<&str> = missing.map(|(name, _)| &**name).collect();
        folds
            .iter()
            .for_each(|(name, _)| _ = missing.remove(&**name));
        missing
    }

    /// Asks each of these writers for the numbers of its last changes, and for its slot. Returns
    /// two heads for each.
    async fn heads(
        &self,
        connection: &mut Connection,
        writers: &[&String],
    ) -> RedisResult<Vec<Head>> {
        if writers.is_empty() {
            return Ok(Vec::new());
        }
        let mut pipeline = redis::pipe();
        for key in writers.iter().flat_map(|name| self.keys.hashes(name)) {
            let command = pipeline.cmd("HMGET").arg(key);
            command.arg("#v").arg("#slot").arg("#whole");
        }
        connection.pipeline(&pipeline, 2).await
    }

    /// Removes what is remembered of folds for longer than a writer can be away. It is not needed,
    /// so errors are ignored.
    async fn forget_old_folds(&self, connection: &mut Connection, acc: &Content) {
        let old = |time: &u64| time.saturating_add(millis(REMEMBER_FOLD)) < self.now;
        let folds = acc.folds.iter().filter(|(_, time)| old(time)).take(1000);
        let fields: Vec<_> = folds.map(|(name, _)| format!("t{name}")).collect();
        if !fields.is_empty() {
            let mut command = redis::cmd("HDEL");
            command.arg(self.keys.acc()).arg(fields);
            let _: RedisResult<u64> = connection.command(&command, 1).await;
        }
    }
}

impl KnownWriter {
    /// Returns what the process says of itself, in `#info`: when it began to write, in milliseconds
    /// since 1970 by its clock, its process id and its host.
    pub(super) fn info(&self) -> impl Iterator<Item = &str> {
        self.hashes[0].word("#info").unwrap_or_default().split(' ')
    }

    /// Returns the time at which the process began to write, in milliseconds.
    pub(super) fn started(&self) -> u64 {
        let first = self.info().next().unwrap_or_default();
        first.parse().unwrap_or(0)
    }

    /// Returns the number of fields that could not be read.
    pub(super) fn malformed(&self) -> usize {
        self.hashes.iter().map(|hash| hash.malformed).sum()
    }

    /// Returns the gauges that have not expired at `now`.
    pub(super) fn live_gauges(&self, now: u64, default_ttl: u64) -> Vec<&Family> {
        let age = now.saturating_sub(self.heard);
        let is_live = |family: &&Family| age <= family.shared_ttl().map_or(default_ttl, millis);
        self.hashes[1].families.iter().filter(is_live).collect()
    }
}
