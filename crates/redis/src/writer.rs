//! The writer's half: what a process has counted, and what Redis has acknowledged of it.
//!
//! A writer sends absolute totals, and only series that differ from the last acknowledged copy. One
//! batch is under way at a time. Until its answer comes, its series count as unknown, and they are
//! sent again with the next batch if the answer never comes.
//!
//! A writer that was folded while it could not reach Redis comes back with a new name. What was
//! folded is its *baseline*: from then on it sends what it has counted beyond that.
//!
//! # States
//!
//! A writer has a name, a baseline, the `#born` of the namespace, the number of the last
//! acknowledged batch, a slot, and an idea of what Redis has of it. Empty cells do not change.
//!
//! | the script answers | name | baseline | born | acked | slot | Redis has |
//! |---|---|---|---|---|---|---|
//! | `OK` | | | learned | this batch | given | this batch |
//! | `OK`, its `#born` is another one | | none | learned | this batch | given | this batch |
//! | `OK`, the gauges have expired | | | learned | this batch | given | this batch; of gauges, unknown |
//! | `FENCED`: the writer was folded | new | plus what was folded | | 0 | none | nothing |
//! | `FENCED`, and nobody knows what was folded | new | plus what was acknowledged | | 0 | none | nothing |
//! | `STALE`: it has this batch or a later one | | | | | | unknown |
//! | `LOST` or `GONE`, `#born` is another one | | none | unknown | 0 | none | nothing |
//! | `GONE` after `fold_after`; `LOST` or `GONE` after [`REMEMBERED`] | new | plus what was acknowledged | | 0 | none | nothing |
//! | `LOST` or `GONE` otherwise: a failover | | | | 0 | none | unknown |
//! | nothing, or nothing that can be read | | | | | | unknown for this batch |
//!
//! *Unknown* series are sent again. If Redis has *nothing*, what was acknowledged is forgotten, and
//! everything is sent. In all lines but the first and the last, the writer sends again at once.
//! Where the baseline grows by what was acknowledged, a batch may count twice:
//! `tallies_share_uncertain_total` counts it.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;
use std::time::Instant;

use redis::{ErrorKind, RedisError, RedisResult, Value as Reply};
use tallies::share::store;
use tallies::snapshot::{Family, Source};
use tallies::{Error, snapshot::Snapshot};

use super::builder::StoreSettings;
use super::connection::Connection;
use super::content::{Content, description_field, family_id, series_field};
use super::flush::{FlushAnswer, Lists, Status, malformed};
use super::scripts::{FLUSH, Keys};
use super::tracked::{Batch, Batches, Change, TrackedFamily};

/// The longest silence after which this writer believes that it would be told of a fold, in
/// milliseconds: a day less than that is remembered, because clocks differ.
const REMEMBERED: u64 = super::REMEMBER_FOLD.as_millis() as u64 - 24 * 3600 * 1000;

/// The writer of this process.
pub(super) struct OwnWriter {
    /// The random name of this writer: 32 hexadecimal digits.
    pub(super) name: String,
    pub(super) keys: Keys,
    /// When the process began to write, in milliseconds.
    pub(super) started: u64,
    /// `started`, the id of the process and its host, for people.
    info: String,
    source: Arc<dyn Source>,
    /// The memory of the next snapshot.
    snapshot: Snapshot,
    /// The counts of earlier names of this writer that were folded, and are therefore not sent any
    /// more.
    baseline: Vec<Family>,
    /// This writer's counts beyond the baseline, as of the last flush.
    pub(super) current: Vec<Family>,
    families: HashMap<[u8; 8], TrackedFamily>,
    /// The number of the last batch, answered or not.
    seq: u64,
    /// The number of the last batch that was acknowledged.
    acked: u64,
    /// The slot of this writer, once it is known: its number among the live ones.
    pub(super) slot: Option<u32>,
    /// When the last search for a slot found none.
    searched: Option<Instant>,
    /// The `#born` of the namespace, once it is known.
    born: Option<String>,
    /// The time of the last acknowledgement by the clock of Redis, in milliseconds.
    heard: u64,
    /// The time of the last acknowledgement by the clock of this process, which does not jump.
    heard_at: Option<Instant>,
    /// Whether the hash of live gauges should exist.
    has_gauges: bool,
    /// The number of times that this writer came back and could not know exactly what was folded.
    pub(super) uncertain: u64,
    /// The number of times that the baseline has changed.
    pub(super) epoch: u64,
    /// The number of the current pass over all series.
    pass: u64,
}

/// The result of sending a batch.
enum Sent {
    /// All is acknowledged. Whether anything was sent.
    Done(bool),
    /// Something has to be sent again.
    Again,
}

impl OwnWriter {
    pub(super) fn new(source: Arc<dyn Source>, keys: Keys, started: u64) -> Self {
        Self {
            name: random_name(),
            keys,
            started,
            info: format!("{started} {} {}", std::process::id(), host()),
            source,
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
            uncertain: 0,
            epoch: 0,
            pass: 0,
        }
    }

    /// Takes a snapshot of the source: what this process has counted beyond its baseline.
    pub(super) fn take(&mut self) {
        let mut snapshot = std::mem::take(&mut self.snapshot);
        self.source.snapshot_into(&mut snapshot);
        self.current = self.beyond_baseline(&snapshot);
        self.snapshot = snapshot;
    }

    /// Returns the part of `snapshot` beyond the baseline. Moves the baseline along: the part of a
    /// series that was retired goes to the overflow series, that of a removed one is dropped.
    fn beyond_baseline(&mut self, snapshot: &Snapshot) -> Vec<Family> {
        let mut rest = store::normalized(snapshot);
        for baseline in &mut self.baseline {
            let ours = rest
                .iter_mut()
                .find(|family| family.name() == baseline.name());
            if let Some(ours) = ours {
                *ours = ours.beyond(baseline);
            }
        }
        rest
    }

    /// Takes a snapshot and sends what has changed, or, with `beat`, at least a sign of life.
    /// Returns when all of it is acknowledged, and whether anything was sent.
    pub(super) async fn flush(
        &mut self,
        connection: &mut Connection,
        settings: &StoreSettings,
        beat: bool,
    ) -> RedisResult<bool> {
        self.take();
        // Each of these tells something new: that the writer was folded, that Redis was wiped, that
        // gauges have expired. More than a few in one flush means that something else is wrong.
        for _ in 0..6 {
            match self.send(connection, settings, beat).await? {
                Sent::Done(sent) => return Ok(sent),
                Sent::Again => {
                    let snapshot = std::mem::take(&mut self.snapshot);
                    self.current = self.beyond_baseline(&snapshot);
                    self.snapshot = snapshot;
                }
            }
        }
        Err(RedisError::from((
            ErrorKind::Client,
            "the namespace keeps changing while it is written",
        )))
    }

    /// Sends a sign of life. Returns `false` if a flush has to send something again.
    pub(super) async fn beat(
        &mut self,
        connection: &mut Connection,
        settings: &StoreSettings,
    ) -> RedisResult<bool> {
        let sent = self.send_batch(Batch::default(), connection, settings);
        Ok(matches!(sent.await?, Sent::Done(_)))
    }

    async fn send(
        &mut self,
        connection: &mut Connection,
        settings: &StoreSettings,
        beat: bool,
    ) -> RedisResult<Sent> {
        let mut batches = self.changes();
        if batches.is_empty() {
            if !beat {
                return Ok(Sent::Done(false));
            }
            batches.push(Batch::default());
        }
        for batch in batches {
            if let Sent::Again = self.send_batch(batch, connection, settings).await? {
                return Ok(Sent::Again);
            }
        }
        Ok(Sent::Done(true))
    }

    /// Sends one batch, and does what the table of the module says for the answer.
    async fn send_batch(
        &mut self,
        batch: Batch,
        connection: &mut Connection,
        settings: &StoreSettings,
    ) -> RedisResult<Sent> {
        self.seq += 1;
        let ttl = settings.longest_ttl(&self.current);
        let lists = self.lists(&batch);
        let mut script = FLUSH.key(self.keys.acc());
        script
            .key(self.keys.writers())
            .key(self.keys.slots())
            .key(self.keys.totals(&self.name))
            .key(self.keys.gauges(&self.name))
            .arg(&self.name)
            .arg(self.seq)
            .arg(self.acked)
            .arg(match self.slot {
                Some(slot) => i64::from(slot),
                None if self.is_search_early() => -2,
                None => -1,
            })
            .arg(ttl)
            .arg(super::KEEP.as_millis() as u64)
            .arg(random_name())
            .arg(u8::from(self.has_gauges))
            .arg(&self.info);
        let sets_gauges = !lists.set_gauges.is_empty();
        lists.add_to(&mut script);
        let answer: Reply = connection.script(&script, 1).await?;
        let Some(answer) = FlushAnswer::read(&answer) else {
            return Err(malformed());
        };
        match answer.status {
            Status::Applied => {}
            Status::Fenced => return self.come_back(connection).await,
            // Nobody else writes with this name. So this batch was applied and its answer was lost,
            // or a failover brought another number.
            Status::Stale => {
                self.find_old_series(connection).await?;
                self.forget_acks();
                self.seq = self.seq.max(answer.have);
                return Ok(Sent::Again);
            }
            Status::Lost => {
                if answer.have > 0 {
                    self.find_old_series(connection).await?;
                }
                return Ok(self.find_loss(&answer, false));
            }
            // Only a fold removes a writer from the list. Others wait for `fold_after` before they
            // fold it, unless a clock jumps; a failover loses only what was written just before.
            Status::Gone => {
                let silence = self.heard_at.map(|heard| heard.elapsed());
                let was_folded = silence.is_some_and(|silence| silence >= settings.fold_after);
                return Ok(self.find_loss(&answer, was_folded));
            }
        }
        self.acked = self.seq;
        (self.heard, self.heard_at) = (answer.now, Some(Instant::now()));
        self.slot = u32::try_from(answer.slot).ok();
        if self.slot.is_none() && !self.is_search_early() {
            self.searched = Some(Instant::now());
        }
        self.has_gauges |= sets_gauges;
        self.acknowledge(batch);
        if answer.lost_gauges {
            // They expired while this process could not refresh them.
            self.has_gauges = false;
            for tracked in self.families.values_mut().filter(|tracked| tracked.live) {
                tracked.forget_acks();
            }
            return Ok(Sent::Again);
        }
        let same = self.born.as_ref().is_none_or(|born| *born == answer.born);
        self.born = Some(answer.born);
        if !same {
            // The folded totals are gone, and with them what was folded of this writer.
            self.set_baseline(None);
            return Ok(Sent::Again);
        }
        Ok(Sent::Done(true))
    }

    /// Returns the fields that a batch changes.
    fn lists<'a>(&'a self, batch: &'a Batch) -> Lists<'a> {
        let mut lists = Lists::default();
        for id in &batch.families {
            if let Some(tracked) = self.families.get(id) {
                let (set, _) = lists.of(tracked.live);
                set.push((description_field(*id), &tracked.description));
            }
        }
        for change in &batch.changes {
            if let Some(tracked) = self.families.get(&change.family) {
                let text = &tracked.entries[change.entry as usize].text;
                let field = series_field(change.family, text);
                let (set, delete) = lists.of(tracked.live);
                match &change.record {
                    Some(record) => set.push((field, record)),
                    None => delete.push(field),
                }
            }
        }
        lists
    }

    /// Returns whether all numbers were taken a short time ago: Redis looks at thousands of them.
    fn is_search_early(&self) -> bool {
        let pause = std::time::Duration::from_secs(5);
        self.searched.is_some_and(|at| at.elapsed() < pause)
    }

    /// Records that a batch was acknowledged.
    fn acknowledge(&mut self, batch: Batch) {
        for id in &batch.families {
            if let Some(tracked) = self.families.get_mut(id) {
                tracked.described = true;
            }
        }
        for change in batch.changes {
            let Some(tracked) = self.families.get_mut(&change.family) else {
                continue;
            };
            match change.record {
                Some(record) => {
                    let entry = &mut tracked.entries[change.entry as usize];
                    (entry.acked, entry.is_known) = (Some(record), true);
                    entry.created = change.created;
                }
                None => tracked.remove(change.entry),
            }
        }
        let pass = self.pass;
        self.families
            .retain(|_, tracked| tracked.seen == pass || !tracked.index.is_empty());
    }

    /// Records that Redis does not have what it has acknowledged. `was_folded`: a fold is the only
    /// explanation, and Redis has forgotten it.
    fn find_loss(&mut self, answer: &FlushAnswer, was_folded: bool) -> Sent {
        let same_life = self.born.as_ref().is_some_and(|born| *born == answer.born);
        let is_recent = answer.now.saturating_sub(self.heard) < REMEMBERED;
        if !same_life {
            // Redis was wiped or restarted without its data: the folded totals are gone, too.
            self.set_baseline(None);
            self.born = None;
            self.forget_totals();
        } else if was_folded || !is_recent {
            // Nobody remembers what was folded of this writer.
            self.uncertain += 1;
            let acked = self.acknowledged();
            self.set_baseline(Some(acked));
            self.name = random_name();
            self.forget_totals();
        }
        // Otherwise only the hash of this writer was lost, or a failover lost the last writes.
        self.forget_acks();
        self.acked = 0;
        self.slot = None;
        Sent::Again
    }

    /// After a failover, or a restart from an older dump, Redis can have series that this writer
    /// has removed since. They become known, so that the next pass removes them: the counts of a
    /// retired one are in the overflow series, too.
    async fn find_old_series(&mut self, connection: &mut Connection) -> RedisResult<()> {
        for key in [self.keys.totals(&self.name), self.keys.gauges(&self.name)] {
            let mut command = redis::cmd("HGETALL");
            command.arg(key);
            let reply: Reply = connection.command(&command, 5).await?;
            let content = Content::read(&reply);
            for family in &content.families {
                let mut description = Vec::new();
                store::write_description(family, &mut description);
                let id = family_id(&description);
                let tracked = self.families.entry(id);
                let tracked = tracked.or_insert_with(|| TrackedFamily::new(description, family));
                for i in 0..family.len() {
                    let at = tracked.entry(family.label_text(i));
                    tracked.entries[at as usize].created = family.created(i);
                }
            }
        }
        Ok(())
    }

    /// This writer was folded while it was away. What was folded becomes its baseline, and it goes
    /// on with another name.
    async fn come_back(&mut self, connection: &mut Connection) -> RedisResult<Sent> {
        let mut command = redis::cmd("HGETALL");
        command.arg(self.keys.folded(&self.name));
        let reply: Reply = connection.command(&command, 5).await?;
        let folded = Content::read(&reply);
        if folded.word("#seq").is_some() {
            self.set_baseline(Some(folded.families));
        } else {
            // Too long ago: the last acknowledged totals are close to what was folded.
            self.uncertain += 1;
            let acked = self.acknowledged();
            self.set_baseline(Some(acked));
        }
        self.name = random_name();
        self.forget_totals();
        (self.acked, self.slot, self.has_gauges) = (0, None, false);
        Ok(Sent::Again)
    }

    /// Returns the totals that Redis has acknowledged, as far as they are known. Live gauges, which
    /// are never folded, are not among them.
    fn acknowledged(&self) -> Vec<Family> {
        let families = self.families.values().filter(|tracked| !tracked.live);
        let families = families.filter_map(|tracked| {
            let mut family = store::read_description(&tracked.description).ok()?;
            for entry in &tracked.entries {
                if let Some(record) = &entry.acked {
                    let _ = store::read_series(&mut family, &entry.text, record);
                }
            }
            Some(family)
        });
        families.collect()
    }

    /// Adds to the baseline what was folded, or clears it if what was folded is gone.
    fn set_baseline(&mut self, folded: Option<Vec<Family>>) {
        self.epoch += 1;
        let Some(folded) = folded else {
            self.baseline.clear();
            return;
        };
        // A family has one baseline after any number of folds, unless its shape has changed.
        for family in folded {
            let mut all = self.baseline.iter_mut();
            let is_in =
                all.any(|before| before.name() == family.name() && before.merge(&family).is_ok());
            if !is_in {
                self.baseline.push(family);
            }
        }
    }

    /// From now on, it is unknown what Redis has of this writer.
    fn forget_acks(&mut self) {
        self.families
            .values_mut()
            .for_each(TrackedFamily::forget_acks);
    }

    /// From now on, Redis has nothing of this writer.
    fn forget_totals(&mut self) {
        self.families
            .values_mut()
            .for_each(TrackedFamily::forget_totals);
    }

    /// Compares the current totals with what was acknowledged.
    fn changes(&mut self) -> Vec<Batch> {
        self.pass += 1;
        let mut batches = Batches::default();
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
            tracked.compare(id, family, self.pass, &mut batches);
        }
        for (id, tracked) in &mut self.families {
            if tracked.seen != self.pass {
                let gone = tracked.index.values().copied();
                let gone = gone.map(|entry| Change {
                    family: *id,
                    entry,
                    record: None,
                    created: None,
                });
                batches.add(gone.collect(), None);
            }
        }
        // What is sent may or may not arrive.
        for batch in &batches.all {
            for change in &batch.changes {
                if let Some(tracked) = self.families.get_mut(&change.family) {
                    tracked.entries[change.entry as usize].is_known = false;
                }
            }
        }
        batches.all
    }
}

/// Returns 32 random hexadecimal digits. The thread of the store was started by this process, so
/// its random state is its own even after a fork.
pub(super) fn random_name() -> String {
    let word = || RandomState::new().build_hasher().finish();
    format!(
        "{:016x}{:016x}",
        word() ^ u64::from(std::process::id()),
        word()
    )
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

    use super::*;

    /// Returns the number of the batch that has a series of the family.
    fn batch_of(writer: &OwnWriter, batches: &[Batch], queue: &str) -> Option<usize> {
        let text = format!("queue=\"{queue}\"");
        let is_it = |change: &Change| {
            let tracked = &writer.families[&change.family];
            *tracked.entries[change.entry as usize].text == *text
        };
        batches
            .iter()
            .position(|batch| batch.changes.iter().any(is_it))
    }

    /// If the connection broke between two batches, the counts of a series would be in Redis twice,
    /// or not at all.
    #[test]
    fn counts_that_move_to_the_overflow_series_do_so_in_one_batch() {
        let registry = Registry::new();
        let jobs = Counter::builder("jobs_total", "").labels(["queue"]);
        let jobs = jobs.limit(5000).register(&registry).unwrap();
        let source = Arc::new(registry.clone());
        let mut writer = OwnWriter::new(source, Keys::new("test", 0, 1), 0);
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
