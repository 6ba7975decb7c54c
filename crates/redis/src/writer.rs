//! The writer's half: what a process has counted, and what Redis has acknowledged of it.
//!
//! A writer sends absolute totals, and only series that differ from the last acknowledged copy.
//! When a pass makes batches, it marks their series as unknown. Only an acknowledgement makes them
//! known again, so they are sent again if the answer never comes. Batches are sent one at a time.
//!
//! A writer that was folded while it could not reach Redis comes back with a new name. What was
//! folded is its *baseline*: from then on it sends what it has counted beyond that.
//!
//! # States
//!
//! A writer has a name, a baseline, the `#born` of the namespace, the number of the last
//! acknowledged batch, a slot, and an idea of what Redis has of it. Empty cells do not change.
//!
//! - `FENCED`: a mark says that the writer was folded.
//! - `STALE`: Redis has this batch of the writer, or a later one.
//! - `LOST`: Redis has an older batch of the writer than the last acknowledged one, or none.
//! - `GONE`: Redis has none, and the writer is not in the list of writers, either.
//!
//! | the script answers | name | baseline | born | acked | slot | Redis has |
//! |---|---|---|---|---|---|---|
//! | `OK` | | | learned | this batch | given | this batch |
//! | `OK`, its `#born` is another one | | none | learned | this batch | given | this batch |
//! | `OK`, the gauges have expired | | | | this batch | given | this batch; of gauges, unknown |
//! | `FENCED` | new | plus what was folded | | 0 | none | nothing |
//! | `FENCED`, and nobody knows what was folded | new | plus what was acknowledged | | 0 | none | nothing |
//! | `STALE` | | | | | | unknown |
//! | `LOST` or `GONE`, `#born` is another one | | none | unknown | 0 | none | nothing |
//! | `GONE` after `fold_after` of silence; `LOST` or `GONE` after [`REMEMBERED`] | new | plus what was acknowledged | | 0 | none | nothing |
//! | `LOST` or `GONE` otherwise: a failover | | | | 0 | none | unknown |
//! | nothing, or nothing that can be read | | | | | | unknown for this batch |
//!
//! *Unknown* series are sent again. If Redis has *nothing*, what was acknowledged is forgotten, and
//! everything is sent. In all lines but the first and the last, the writer sends again at once. If
//! gauges have expired, it learns `#born` from the next answer. Where the baseline grows by what
//! was acknowledged, a batch may count twice. `tallies_share_uncertain_total` counts these returns.
//!
//! `send_batch` branches on the answer. The steps of the table are `take_new_name` (with what was
//! folded, or without), `clear_baseline`, `start_over` (Redis has nothing) and `mark_unknown` (it
//! is unknown what Redis has). After `STALE`, or `LOST` with a batch of this writer in Redis,
//! `find_old_series` comes first. After `STALE`, the next batch gets a number above that of Redis.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use redis::{ErrorKind, RedisResult};
use tallies::share::store;
use tallies::snapshot::Family;
use tallies::{Error, snapshot::Snapshot};

use super::builder::StoreSettings;
use super::connection::Connection;
use super::content::{Content, description_field, family_id, series_field};
use super::scripts::{FLUSH, Keys};
use super::tracked::{Batch, Change, FamilyId, TrackedFamily, add_to};
use super::{KEEP, REMEMBER_FOLD, millis};

/// The longest silence, in milliseconds, after which Redis still tells a writer that it was folded:
/// a day less than [`REMEMBER_FOLD`], because clocks differ.
const REMEMBERED: u64 = millis(REMEMBER_FOLD) - 24 * 3600 * 1000;

/// The time after a search for a slot that found none before the next one.
const SEARCH_PAUSE: Duration = Duration::from_secs(5);

/// The writer of this process.
pub(super) struct OwnWriter {
    /// The random name of this writer: 32 hexadecimal digits.
    pub(super) name: String,
    pub(super) keys: Keys,
    /// When the process began to write, in milliseconds.
    pub(super) started: u64,
    /// The value of `#info`: `started`, by which readers order the processes of a page, then the
    /// process id and the host, for people.
    info: String,
    settings: Arc<StoreSettings>,
    /// The memory of the next snapshot.
    snapshot: Snapshot,
    /// The counts of earlier names of this writer that were folded, and are therefore not sent any
    /// more.
    baseline: Vec<Family>,
    /// This writer's counts beyond the baseline, as of the last flush.
    pub(super) current: Vec<Family>,
    families: HashMap<FamilyId, TrackedFamily>,
    /// The number of the last batch, answered or not.
    seq: u64,
    /// The number of the last batch that was acknowledged.
    acked: u64,
    /// The slot of this writer, once it is known: its number among the live ones.
    pub(super) slot: Option<u32>,
    /// The time of the last search that found no free slot.
    searched: Option<Instant>,
    /// The `#born` of the namespace, once it is known.
    born: Option<String>,
    /// The time of the last acknowledgement by the clock of Redis, in milliseconds.
    heard: u64,
    /// The time of the last acknowledgement by the clock of this process, which does not jump.
    pub(super) heard_at: Option<Instant>,
    /// Whether live gauges were sent, so that their hash should exist.
    has_gauges: bool,
    /// Whether Redis has all that this writer has counted up to some flush. If not, readers that
    /// had it go on showing what they read before.
    is_whole: bool,
    /// The number of times that this writer came back and could not know exactly what was folded.
    pub(super) uncertain: u64,
    /// The number of times that the baseline has changed.
    pub(super) epoch: u64,
    /// The number of the current pass over all series.
    pass: u64,
}

/// The changes of a batch to one hash.
#[derive(Default)]
struct HashChanges {
    /// The fields that are set, each with its value behind it.
    set: Vec<Vec<u8>>,
    /// The fields that are deleted.
    delete: Vec<Vec<u8>>,
}

/// The result of sending a batch.
pub(super) enum Sent {
    /// All is acknowledged.
    Done,
    /// Something has to be sent again.
    Again,
}

impl OwnWriter {
    pub(super) fn new(keys: Keys, settings: Arc<StoreSettings>) -> Self {
        let started = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let started = started.map_or(0, millis);
        Self {
            name: random_name(),
            keys,
            started,
            info: format!("{started} {} {}", std::process::id(), host()),
            settings,
            snapshot: Snapshot::default(),
            baseline: Vec::new(),
            current: Vec::new(),
            families: HashMap::new(),
            seq: 0,
            acked: 0,
            slot: None,
            searched: None,
            born: None,
            heard: 0,
            heard_at: None,
            has_gauges: false,
            is_whole: false,
            uncertain: 0,
            epoch: 0,
            pass: 0,
        }
    }

    /// Takes a snapshot of the source: what this process has counted beyond its baseline.
    pub(super) fn take(&mut self) {
        self.settings.source.snapshot_into(&mut self.snapshot);
        self.subtract_baseline();
    }

    /// Finds out what the snapshot has beyond the baseline. [`Family::beyond`] also changes the
    /// baseline: the total of a series that was retired since moves to the overflow series, and
    /// that of a removed one is dropped.
    fn subtract_baseline(&mut self) {
        self.current = store::normalized(&self.snapshot);
        for baseline in &mut self.baseline {
            let mut families = self.current.iter_mut();
            if let Some(ours) = families.find(|family| family.name() == baseline.name()) {
                *ours = ours.beyond(baseline);
            }
        }
    }

    /// Takes a snapshot and sends what has changed, or, with `beat`, at least a sign of life.
    /// Returns when all of it is acknowledged.
    pub(super) async fn flush(
        &mut self,
        connection: &mut Connection,
        beat: bool,
    ) -> RedisResult<()> {
        self.take();
        // Each `Again` tells something new: that the writer was folded, that Redis was wiped, that
        // gauges have expired. More than a few in one flush means that something else is wrong.
        for _ in 0..6 {
            match self.send(connection, beat).await? {
                Sent::Done => return Ok(()),
                Sent::Again => self.subtract_baseline(),
            }
        }
        let why = "the namespace keeps changing while it is written";
        Err((ErrorKind::Client, why).into())
    }

    /// Flushes as [`flush`](Self::flush) does. If there is nothing to send, looks whether Redis
    /// still has what it has acknowledged, and sends it again if not: readers wait for that.
    pub(super) async fn tick(
        &mut self,
        connection: &mut Connection,
        beat: bool,
    ) -> RedisResult<()> {
        self.flush(connection, beat).await?;
        let is_new = |heard: Instant| heard.elapsed() < self.settings.flush;
        if self.heard_at.is_some_and(is_new) || self.is_kept(connection).await? {
            return Ok(());
        }
        self.flush(connection, true).await
    }

    /// Returns whether Redis has the last acknowledged batch, and the folded totals.
    async fn is_kept(&self, connection: &mut Connection) -> RedisResult<bool> {
        let mut pipeline = redis::pipe();
        pipeline.cmd("HGET").arg(self.keys.acc()).arg("#born");
        let totals = self.keys.totals(&self.name);
        pipeline.cmd("HGET").arg(totals).arg("#seq");
        let (born, seq): (Option<String>, Option<String>) =
            connection.pipeline(&pipeline, 1).await?;
        Ok(born == self.born && seq == Some(self.acked.to_string()))
    }

    /// Sends a sign of life.
    pub(super) async fn beat(&mut self, connection: &mut Connection) -> RedisResult<Sent> {
        self.send_batch(Batch::default(), connection, false).await
    }

    async fn send(&mut self, connection: &mut Connection, beat: bool) -> RedisResult<Sent> {
        let mut batches = self.changes();
        if batches.is_empty() && (beat || !self.is_whole) {
            batches.push(Batch::default());
        }
        let count = batches.len();
        for (number, batch) in (1..).zip(batches) {
            let is_last = number == count;
            if let Sent::Again = self.send_batch(batch, connection, is_last).await? {
                return Ok(Sent::Again);
            }
        }
        Ok(Sent::Done)
    }

    /// Sends one batch, and does what the table of the module says for the answer. After the last
    /// batch of a pass, Redis has all that this writer has.
    async fn send_batch(
        &mut self,
        batch: Batch,
        connection: &mut Connection,
        is_last: bool,
    ) -> RedisResult<Sent> {
        self.seq += 1;
        let ttl = self.settings.longest_ttl(&self.current);
        // Redis looks at thousands of numbers: not again a short time after all were taken.
        let is_early = self.searched.is_some_and(|at| at.elapsed() < SEARCH_PAUSE);
        let hashes = self.hash_changes(&batch);
        // As the script takes it: -1 asks for a slot, -2 does not.
        let slot = match self.slot {
            Some(slot) => i64::from(slot),
            None if is_early => -2,
            None => -1,
        };
        let mut script = FLUSH.key(self.keys.of(&self.name));
        script.arg((&self.name, self.seq, self.acked, slot));
        // The random name becomes `#born` if the namespace has none.
        script.arg((ttl, millis(KEEP), random_name()));
        script.arg((u8::from(self.has_gauges), &self.info));
        for changes in &hashes {
            script.arg(changes.set.len()).arg(changes.delete.len());
        }
        script.arg(match (self.is_whole, is_last) {
            (true, _) => "",
            (false, true) => "1",
            (false, false) => "0",
        });
        for changes in &hashes {
            script.arg(&changes.set).arg(&changes.delete);
        }
        let (status, have, born, slot, now, lost_gauges): (String, i64, String, i64, u64, bool) =
            connection.script(&script, 1).await?;
        match &*status {
            "OK" => {}
            "FENCED" => return self.come_back(connection).await,
            // Nobody else writes with this name. So this batch was applied and its answer was lost,
            // or a failover brought another number.
            "STALE" => {
                self.find_old_series(connection).await?;
                self.mark_unknown();
                self.seq = self.seq.max(u64::try_from(have).unwrap_or(0));
                return Ok(Sent::Again);
            }
            "LOST" => {
                if have > 0 {
                    self.find_old_series(connection).await?;
                }
                return Ok(self.after_loss(&born, now, false));
            }
            // The list does not have this writer, and no mark says that it was folded. There are
            // two explanations:
            //
            // - A failover lost what the writer had sent. It loses only the last moments, so the
            //   writer was heard a moment ago.
            // - The writer was folded, after a silence of `fold_after`, and the mark was forgotten:
            //   after a week by the clock of Redis, which may jump.
            "GONE" => {
                let silence = self.heard_at.map(|heard| heard.elapsed());
                let was_folded = silence.is_some_and(|silence| silence >= self.settings.fold_after);
                return Ok(self.after_loss(&born, now, was_folded));
            }
            // The batch may or may not have been applied, as after a lost reply.
            _ => {
                connection.forget();
                let what = "the answer to a flush is malformed";
                return Err((ErrorKind::Parse, what).into());
            }
        }
        self.acked = self.seq;
        self.is_whole |= is_last;
        (self.heard, self.heard_at) = (now, Some(Instant::now()));
        self.slot = u32::try_from(slot).ok();
        if self.slot.is_none() && !is_early {
            self.searched = Some(Instant::now());
        }
        self.has_gauges |= !hashes[1].set.is_empty();
        self.acknowledge(batch);
        if lost_gauges {
            // They expired while this process could not refresh them.
            self.has_gauges = false;
            for tracked in self.families.values_mut().filter(|tracked| tracked.live) {
                tracked.mark_unknown();
            }
            return Ok(Sent::Again);
        }
        let same = self.born.as_ref().is_none_or(|known| *known == born);
        self.born = Some(born);
        if !same {
            // The folded totals are gone, and with them what was folded of this writer.
            self.clear_baseline();
            self.is_whole = false;
            return Ok(Sent::Again);
        }
        Ok(Sent::Done)
    }

    /// Returns the changes of a batch to the hash of totals, and to that of live gauges.
    fn hash_changes(&self, batch: &[Change]) -> [HashChanges; 2] {
        let mut hashes = [HashChanges::default(), HashChanges::default()];
        let mut described = HashSet::new();
        for change in batch {
            let tracked = &self.families[&change.family];
            let hash = &mut hashes[usize::from(tracked.live)];
            let field = series_field(change.family, &tracked.series[change.series].text);
            let Some(record) = &change.record else {
                hash.delete.push(field);
                continue;
            };
            if !tracked.described && described.insert(change.family) {
                let field = description_field(change.family);
                hash.set.extend([field, tracked.description.clone()]);
            }
            hash.set.extend([field, record.to_vec()]);
        }
        hashes
    }

    /// Records that a batch was acknowledged.
    fn acknowledge(&mut self, batch: Batch) {
        for change in batch {
            if let Some(tracked) = self.families.get_mut(&change.family) {
                tracked.described |= change.record.is_some();
                let series = &mut tracked.series[change.series];
                (series.acked, series.is_known) = (change.record, true);
                series.created = change.created;
            }
        }
        let pass = self.pass;
        self.families
            .retain(|_, tracked| tracked.seen == pass || tracked.has_series());
    }

    /// Handles the answer that Redis does not have what it has acknowledged. `was_folded`: only a
    /// fold explains that, and its mark is gone.
    fn after_loss(&mut self, born: &str, now: u64, was_folded: bool) -> Sent {
        let same_life = self.born.as_deref() == Some(born);
        let is_recent = now.saturating_sub(self.heard) < REMEMBERED;
        self.is_whole = false;
        if !same_life {
            // Redis was wiped or restarted without its data: the folded totals are gone, too.
            self.clear_baseline();
            self.born = None;
            self.start_over();
        } else if was_folded || !is_recent {
            self.take_new_name(None);
        } else {
            // Only the hash of this writer was lost, or a failover lost the last writes.
            self.mark_unknown();
            (self.acked, self.slot) = (0, None);
        }
        Sent::Again
    }

    /// Tracks the series that Redis has although this writer has removed them, as after a failover
    /// or a restart from an older dump. They count as unknown, so the next pass removes those that
    /// it does not find: the counts of a retired one are in the overflow series, too.
    async fn find_old_series(&mut self, connection: &mut Connection) -> RedisResult<()> {
        for key in self.keys.hashes(&self.name) {
            let content: Content = connection
                .command(redis::cmd("HGETALL").arg(key), 5)
                .await?;
            for family in &content.families {
                let mut description = Vec::new();
                store::write_description(family, &mut description);
                let tracked = self.families.entry(family_id(&description));
                let tracked = tracked.or_insert_with(|| TrackedFamily::new(description, family));
                tracked.find_old(family);
            }
        }
        Ok(())
    }

    /// This writer was folded while it was away. It goes on with another name.
    async fn come_back(&mut self, connection: &mut Connection) -> RedisResult<Sent> {
        let mut command = redis::cmd("HGETALL");
        command.arg(self.keys.folded(&self.name));
        let folded: Content = connection.command(&command, 5).await?;
        let is_remembered = folded.word("#seq").is_some();
        self.take_new_name(is_remembered.then_some(folded.families));
        Ok(Sent::Again)
    }

    /// Takes a new name after a fold. What was folded becomes the baseline: without `folded` nobody
    /// remembers that, and what was acknowledged last is close to it.
    fn take_new_name(&mut self, folded: Option<Vec<Family>>) {
        let folded = folded.unwrap_or_else(|| {
            self.uncertain += 1;
            self.acknowledged()
        });
        self.epoch += 1;
        // A family has one baseline after any number of folds, unless its shape has changed.
        for family in folded {
            let mut all = self.baseline.iter_mut();
            let is_in =
                all.any(|before| before.name() == family.name() && before.merge(&family).is_ok());
            if !is_in {
                self.baseline.push(family);
            }
        }
        self.name = random_name();
        self.start_over();
    }

    /// Returns the totals that Redis has acknowledged, as far as they are known. Live gauges, which
    /// are never folded, are not among them.
    fn acknowledged(&self) -> Vec<Family> {
        let families = self.families.values().filter(|tracked| !tracked.live);
        let families = families.filter_map(|tracked| {
            let mut family = store::read_description(&tracked.description).ok()?;
            for entry in &tracked.series {
                if let Some(record) = &entry.acked {
                    let _ = store::read_series(&mut family, &entry.text, record);
                }
            }
            Some(family)
        });
        families.collect()
    }

    /// Forgets what was folded, which is gone.
    fn clear_baseline(&mut self) {
        self.epoch += u64::from(!self.baseline.is_empty());
        self.baseline.clear();
    }

    /// From now on, it is unknown what Redis has of this writer.
    fn mark_unknown(&mut self) {
        self.families
            .values_mut()
            .for_each(TrackedFamily::mark_unknown);
    }

    /// From now on, Redis has nothing of this writer.
    fn start_over(&mut self) {
        self.families
            .values_mut()
            .for_each(TrackedFamily::forget_acked);
        (self.acked, self.slot, self.has_gauges) = (0, None, false);
        self.is_whole = false;
    }

    /// Compares the current totals with what was acknowledged.
    fn changes(&mut self) -> Vec<Batch> {
        self.pass += 1;
        let mut batches = Vec::new();
        let mut description = Vec::new();
        for family in &self.current {
            description.clear();
            store::write_description(family, &mut description);
            let id = family_id(&description);
            let tracked = self.families.entry(id);
            let tracked =
                tracked.or_insert_with(|| TrackedFamily::new(description.clone(), family));
            if tracked.description != description {
                let name = family.name();
                Error::new(format!(
                    "family `{name}` cannot be shared: its number is that of another family"
                ))
                .log_once();
                continue;
            }
            tracked.seen = self.pass;
            tracked.compare(id, family, &mut batches);
        }
        for (id, tracked) in &mut self.families {
            if tracked.seen != self.pass {
                add_to(&mut batches, tracked.removals(*id, 0).collect());
            }
        }
        batches
    }
}

/// Returns 32 random hexadecimal digits. The thread of the store was started by this process, so
/// its random state is its own even after a fork.
pub(super) fn random_name() -> String {
    let word = || RandomState::new().build_hasher().finish();
    let (one, other) = (word() ^ u64::from(std::process::id()), word());
    format!("{one:016x}{other:016x}")
}

fn host() -> String {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname");
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    let name = std::env::var("HOSTNAME").or_else(|_| std::env::var("COMPUTERNAME"));
    let name = name.unwrap_or_default();
    let name = name.split_whitespace().next().unwrap_or("-");
    name.chars().take(64).collect()
}

#[cfg(test)]
mod tests {
    use tallies::{Counter, Registry};

    use super::super::builder::RedisBuilder;
    use super::*;

    /// Returns the number of the batch that has a series of the family.
    fn batch_of(writer: &OwnWriter, batches: &[Batch], queue: &str) -> Option<usize> {
        let text = format!("queue=\"{queue}\"");
        let is_it = |change: &Change| {
            let tracked = &writer.families[&change.family];
            *tracked.series[change.series].text == *text
        };
        batches.iter().position(|batch| batch.iter().any(is_it))
    }

    /// If the connection broke between two batches, the counts of a series would be in Redis twice,
    /// or not at all.
    #[test]
    fn counts_that_move_to_the_overflow_series_do_so_in_one_batch() {
        let registry = Registry::new();
        let jobs = Counter::builder("jobs_total", "").labels(["queue"]);
        let jobs = jobs.limit(5000).register(&registry).unwrap();
        let builder = RedisBuilder::at("redis://localhost/").unwrap();
        let settings = Arc::new(builder.registry(&registry).settings);
        let mut writer = OwnWriter::new(Keys::new("test", 0, 1), settings);
        let count_all = || (0..2500).for_each(|i| jobs.with([&*i.to_string()]).inc());
        count_all();
        writer.take();
        for batch in writer.changes() {
            writer.acknowledge(batch);
        }
        assert!(writer.changes().is_empty());
        let created = || {
            let now = registry.snapshot();
            let family = now.family("jobs_total").unwrap();
            let is_last = |i: &usize| family.label_text(*i) == "queue=\"2499\"";
            (0..family.len())
                .find(is_last)
                .and_then(|i| family.created(i))
        };
        let before = created();
        // Both begin again, until the clock shows it.
        while created() == before {
            jobs.retire(["2498"]);
            jobs.retire(["2499"]);
            count_all();
        }
        jobs.retire(["2498"]);
        // The first batches may never arrive.
        for _ in 0..2 {
            writer.take();
            let batches = writer.changes();
            assert_eq!(batches.len(), 4);
            let of = |queue: &str| batch_of(&writer, &batches, queue);
            assert_eq!(of("2498"), of("__overflow__"));
            assert_eq!(of("2499"), of("__overflow__"));
            assert!(of("__overflow__").is_some());
        }
    }
}
