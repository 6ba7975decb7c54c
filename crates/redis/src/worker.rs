//! The thread of a store: it flushes, reads, folds, and answers the handles. Updates and handles
//! never touch the network themselves.

use std::cmp::Reverse;
use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use redis::{ErrorKind, RedisError, RedisResult};
use tallies::share::store::Merger;
use tallies::snapshot::Family;
use tallies::{Error, snapshot::Snapshot};
use tokio::sync::mpsc::Receiver;

use super::admin::{self, Overview};
use super::builder::StoreSettings;
use super::connection::Connection;
use super::fold::{Folded, fold};
use super::reader::{KnownWriter, ShardView};
use super::scripts::{Keys, LEAVE, list_writers};
use super::writer::OwnWriter;
use super::{failed, one_line, pause};

/// How a handle gets its answer.
pub(super) type Reply<T> = Box<dyn FnOnce(Result<T, Error>) + Send>;

/// A request of a handle.
pub(super) enum Command {
    Flush(Reply<()>),
    Scrape(Reply<Arc<Snapshot>>),
    Overview(Reply<Overview>),
    /// Folds all writers that have been silent for this long.
    Fold(Duration, Reply<usize>),
    Close(Reply<()>),
}

/// The last view, and when it was read.
pub(super) type LastView = Arc<Mutex<Option<(Arc<Snapshot>, Instant)>>>;

/// The time after which folding lets flushes and scrapes pass.
const FOLDING: Duration = Duration::from_millis(100);

pub(super) struct Worker {
    /// The name of the store in messages.
    pub(super) store: Arc<str>,
    pub(super) settings: StoreSettings,
    pub(super) connection: Connection,
    pub(super) writer: OwnWriter,
    /// Whether this process only reads. Its writer then counts nothing.
    pub(super) observes: bool,
    /// The index of the writer's shard.
    pub(super) shard: usize,
    pub(super) shards: Vec<ShardView>,
    pub(super) last_view: LastView,
    pub(super) health: Health,
}

/// The state of the worker's connection to Redis.
#[derive(Default)]
pub(super) struct Health {
    /// Failures in a row.
    failures: u32,
    /// Failures since the start.
    all_failures: u64,
    /// The last failure.
    error: Option<RedisError>,
    /// No try before this time, after a failure.
    not_before: Option<Instant>,
    /// The last time that all shards were read.
    read: Option<Instant>,
    /// The [`OwnWriter::epoch`] at that time.
    epoch: u64,
    /// The last acknowledgement.
    flushed: Option<Instant>,
}

impl Worker {
    /// Runs until the store is closed or all handles are dropped.
    pub(super) async fn run(mut self, mut commands: Receiver<Command>) {
        let mut next_flush = Instant::now();
        let mut next_fold = Instant::now() + self.fold_interval();
        loop {
            tokio::select! {
                command = commands.recv() => {
                    let Some(command) = command else {
                        // Nobody can ask for a result.
                        let _ = self.close_in_time().await;
                        return;
                    };
                    // Requests that came in the meantime share one pass.
                    let mut all = vec![command];
                    while let Ok(command) = commands.try_recv() {
                        all.push(command);
                    }
                    let mut all = Requests::sort(all);
                    // Before it closes: afterwards, a flush would begin a new writer.
                    self.serve(&mut all).await;
                    if !all.closes.is_empty() {
                        let result = self.close_in_time().await;
                        // Before the replies: a handle that is dropped after one has nothing to
                        // warn of.
                        commands.close();
                        for reply in all.closes {
                            reply(result.as_ref().copied().map_err(|e| self.error("cannot close", e.clone())));
                        }
                        while let Ok(command) = commands.try_recv() {
                            Requests::sort(vec![command]).refuse(&self);
                        }
                        return;
                    }
                }
                () = tokio::time::sleep_until(self.next_beat(next_flush).into()) => {
                    if Instant::now() < next_flush {
                        self.beat().await;
                        continue;
                    }
                    let before = Instant::now();
                    // A failure is recorded in `health`, where scrapes find it.
                    let _ = self.flush(false).await;
                    // A pass over very many series leaves most of the processor to the program.
                    let pause = self.settings.flush.max(before.elapsed() * 4);
                    next_flush = self.health.not_before.unwrap_or(Instant::now() + pause);
                }
                () = tokio::time::sleep_until(next_fold.into()) => {
                    let mut pause = self.fold_interval();
                    if self.health.failures == 0 {
                        let silence = self.settings.fold_after;
                        match self.fold_silent(silence, FOLDING).await {
                            Ok((_, true)) => {}
                            // Flushes and scrapes have waited for long enough.
                            Ok((_, false)) => pause = pause.min(FOLDING),
                            Err(error) => self.failed(error),
                        }
                    }
                    next_fold = Instant::now() + pause;
                }
            }
        }
    }

    /// Answers all requests but those to close.
    async fn serve(&mut self, all: &mut Requests) {
        if !all.scrapes.is_empty() {
            let result = self.scrape().await;
            let flushed = self.health.failures == 0;
            for reply in all.scrapes.drain(..) {
                reply(match &result {
                    Ok(view) => Ok(Arc::clone(view)),
                    Err(age) => Err(self.stale(*age)),
                });
            }
            if flushed {
                all.flushes.drain(..).for_each(|reply| reply(Ok(())));
            }
        }
        if !all.flushes.is_empty() {
            let result = self.flush(true).await;
            for reply in all.flushes.drain(..) {
                let result = result.as_ref().copied();
                reply(result.map_err(|e| self.error("cannot flush to", e.clone())));
            }
        }
        for reply in all.overviews.drain(..) {
            let result = admin::overview(self).await;
            reply(result.map_err(|e| self.error("cannot read from", e)));
        }
        for (silence, reply) in all.folds.drain(..) {
            let result = self.fold_silent(silence, Duration::MAX).await;
            reply(
                result
                    .map(|(count, _)| count)
                    .map_err(|e| self.error("cannot fold in", e)),
            );
        }
    }

    pub(super) fn error(&self, action: &str, cause: RedisError) -> Error {
        failed(action, &self.store, one_line(&cause))
    }

    /// Returns the error that the last view is too old, or that there is none.
    fn stale(&self, age: Option<Duration>) -> Error {
        let cause = self.health.error.as_ref().map(one_line);
        let cause = cause.unwrap_or_else(|| "it was not tried yet".to_owned());
        let (store, limit) = (&self.store, self.settings.stale.as_secs());
        Error::new(match age.map(|age| age.as_secs()) {
            None => format!("the store at {store} was never read: {cause}"),
            Some(age) => format!(
                "the store at {store} was last read {age} s ago, and its last view is served for \
                 {limit} s: {cause}"
            ),
        })
    }

    fn fold_interval(&self) -> Duration {
        let interval = self.settings.fold_after / 4;
        let interval = interval.clamp(Duration::from_millis(50), Duration::from_secs(60));
        // Processes that started together do not fold together.
        pause::vary(interval)
    }

    /// Sends what has changed. Unless `now`, only if no failure is so recent that it would fail
    /// again.
    async fn flush(&mut self, now: bool) -> RedisResult<()> {
        if let (false, Some(error)) = (now, self.recent_failure()) {
            return Err(error);
        }
        if self.observes {
            return Ok(());
        }
        let beat = now || self.is_due();
        match self.send(beat).await {
            Ok(()) => {
                self.succeeded();
                Ok(())
            }
            Err(error) => {
                self.failed(error.clone());
                Err(error)
            }
        }
    }

    /// Returns whether a sign of life is due.
    fn is_due(&self) -> bool {
        // After a failure, it tells whether Redis is there again.
        let idle = self.health.flushed.map(|flushed| flushed.elapsed());
        let refresh = self.settings.refresh_of(&self.writer.current);
        self.health.failures > 0 || idle.is_none_or(|idle| idle >= refresh)
    }

    /// Returns the time of the next sign of life if that is before the next flush.
    fn next_beat(&self, next_flush: Instant) -> Instant {
        let beat = match self.health.flushed {
            Some(flushed) if self.health.failures == 0 => {
                flushed + self.settings.refresh_of(&self.writer.current)
            }
            _ => next_flush,
        };
        beat.min(next_flush)
    }

    /// Sends a sign of life between two flushes, so that no gauge expires in between. Takes no
    /// snapshot: collectors run at flushes and scrapes only.
    async fn beat(&mut self) {
        match self.writer.beat(&mut self.connection, &self.settings).await {
            Ok(true) => self.health.flushed = Some(Instant::now()),
            // A flush finds out what else there is to do.
            Ok(false) => _ = self.flush(true).await,
            Err(error) => self.failed(error),
        }
    }

    /// Sends what has changed, or at least a sign of life if `beat`.
    async fn send(&mut self, beat: bool) -> RedisResult<()> {
        if self.observes {
            return Ok(());
        }
        let flushing = self
            .writer
            .flush(&mut self.connection, &self.settings, beat);
        if flushing.await? {
            self.health.flushed = Some(Instant::now());
        }
        Ok(())
    }

    /// Returns the last failure if it is too recent to try again.
    fn recent_failure(&self) -> Option<RedisError> {
        let is_recent = self
            .health
            .not_before
            .is_some_and(|time| Instant::now() < time);
        self.health.error.clone().filter(|_| is_recent)
    }

    fn succeeded(&mut self) {
        if self.health.failures > 0 {
            let (store, failures) = (&self.store, self.health.failures);
            Error::new(format!(
                "the store at {store} is reached again; {failures} tries failed"
            ))
            .log();
        }
        (
            self.health.failures,
            self.health.error,
            self.health.not_before,
        ) = (0, None, None);
    }

    fn failed(&mut self, error: RedisError) {
        if self.health.failures == 0 {
            let message = format!(
                "the store at {} cannot be reached: {}; nothing is lost while this process runs, \
                 and further failures are not logged until it is reached",
                self.store,
                one_line(&error)
            );
            Error::new(message).log();
        }
        self.health.failures = self.health.failures.saturating_add(1);
        self.health.all_failures += 1;
        self.health.error = Some(error);
        self.health.not_before = Some(Instant::now() + pause::after(self.health.failures));
    }

    /// Flushes and reads. Serves the last view, with what this process counts now, if Redis cannot
    /// be reached. Fails with the age of the last view if that is too old.
    async fn scrape(&mut self) -> Result<Arc<Snapshot>, Option<Duration>> {
        if self.recent_failure().is_some() {
            if !self.observes {
                self.writer.take();
            }
        } else {
            match self.flush_and_read().await {
                Ok(()) => {
                    self.health.read = Some(Instant::now());
                    self.health.epoch = self.writer.epoch;
                    self.succeeded();
                }
                Err(error) => self.failed(error),
            }
        }
        let age = self.health.read.map(|read| read.elapsed());
        if age.is_none_or(|age| age > self.settings.stale) {
            return Err(age);
        }
        let last_view = Arc::clone(&self.last_view);
        let mut last = last_view.lock().unwrap_or_else(PoisonError::into_inner);
        if let (Some((view, _)), true) = (&*last, self.health.epoch != self.writer.epoch) {
            // This process knows that its counts were folded, or that folded ones are gone, and has
            // not read the result yet. What it knew before belongs together.
            let mut view = (**view).clone();
            insert_up(&mut view, false);
            return Ok(Arc::new(view));
        }
        let view = Arc::new(self.merged());
        *last = self.health.read.map(|read| (Arc::clone(&view), read));
        Ok(view)
    }

    /// Flushes this process and reads the others, until both belong together.
    async fn flush_and_read(&mut self) -> RedisResult<()> {
        let mut beat = self.is_due();
        for _ in 0..20 {
            self.send(beat).await?;
            if self.read().await? {
                return Ok(());
            }
            // This process was folded after it had flushed. Another flush finds out.
            beat = true;
        }
        Err(RedisError::from((
            ErrorKind::Client,
            "this process is folded all the time",
        )))
    }

    /// Reads all shards. Returns `false` if this process has been folded.
    async fn read(&mut self) -> RedisResult<bool> {
        for (at, shard) in self.shards.iter_mut().enumerate() {
            let is_own = at == self.shard && !self.observes;
            let own = is_own.then_some(&*self.writer.name);
            if !shard.refresh(&mut self.connection, own).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Merges what is known of all writers.
    fn merged(&mut self) -> Snapshot {
        let ttl = self.settings.ttl.as_millis() as u64;
        let count = self.shards.len() as u32;
        let index = |slot: Option<u32>, shard: usize| {
            slot.map(|slot| slot.saturating_mul(count).saturating_add(shard as u32))
        };
        let own_index = index(self.writer.slot, self.shard).unwrap_or(0);
        let mut others = Vec::new();
        for (at, shard) in self.shards.iter().enumerate() {
            for (name, known) in &shard.writers {
                let is_own = at == self.shard && *name == self.writer.name;
                if !is_own {
                    others.push(OtherWriter {
                        began: (known.started(), name),
                        index: index(known.slot, at),
                        known,
                        gauges: known.live_gauges(shard.now, ttl),
                    });
                }
            }
        }
        // If Redis has lost `slots`, one number can have been given twice. The writer that was
        // heard last has it, until the other one flushes and gets a new number: no page has a
        // series twice.
        others.sort_by_key(|other| (other.gauges.is_empty(), Reverse(other.known.heard)));
        let claimed: HashSet<u32> = others.iter().filter_map(|other| other.index).collect();
        let mut free = (0..).filter(|number| !claimed.contains(number) && *number != own_index);
        let mut used = HashSet::from([own_index]);
        if self.observes {
            used.clear();
        }
        for other in &mut others {
            let is_its_own = other.index.is_some_and(|index| used.insert(index));
            if !other.gauges.is_empty() && !is_its_own {
                other.index = free.next();
            }
        }
        // The newest first: its buckets are shown during a rolling deployment.
        others.sort_by_key(|other| Reverse(other.began));
        let mut merger = Merger::new();
        let (mut malformed, mut own_is_in) = (0, self.observes);
        for other in &others {
            if !own_is_in && other.began < (self.writer.started, &self.writer.name) {
                own_is_in = true;
                merger.live(own_index, &self.writer.current);
            }
            merger.ended(&other.known.totals.families);
            merger.live(other.index.unwrap_or(0), other.gauges.iter().copied());
            malformed += other.known.totals.malformed + other.known.gauges.malformed;
        }
        if !own_is_in {
            merger.live(own_index, &self.writer.current);
        }
        for shard in &self.shards {
            merger.ended(&shard.acc.families);
            malformed += shard.acc.malformed;
        }
        let writers = others.len() + usize::from(!self.observes);
        let mut conflicts = HashSet::new();
        let mut merged = merger.page(|error| {
            let message = format!("{error}; the page shows one of the two");
            Error::new(&*message).log_once();
            conflicts.insert(message);
        });
        let conflicts = conflicts.len();
        // Each process knows its own series in the order in which they were made.
        merged.sort_series();
        self.insert_self_metrics(&mut merged, writers, conflicts, malformed);
        merged
    }

    fn insert_self_metrics(
        &self,
        merged: &mut Snapshot,
        writers: usize,
        conflicts: usize,
        malformed: usize,
    ) {
        insert_up(merged, self.health.failures == 0);
        merged.insert_gauge(
            "tallies_share_writers",
            "Writers of the store whose totals are not folded yet.",
            writers as f64,
        );
        merged.insert_gauge(
            "tallies_share_conflicts",
            "Families of other processes that could not be merged.",
            conflicts as f64,
        );
        merged.insert_gauge(
            "tallies_share_malformed",
            "Fields of the store that could not be read.",
            malformed as f64,
        );
        merged.insert_counter(
            "tallies_share_failures_total",
            "Flushes and reads of this process that failed.",
            self.health.all_failures,
        );
        merged.insert_counter(
            "tallies_share_uncertain_total",
            "Returns of this process after it was folded so long ago that the exact totals are gone.",
            self.writer.uncertain,
        );
    }

    /// Folds the writers that have been silent for longer than `silence`, and stops after `limit`.
    /// Returns the number of folds, and whether that was all that can be folded now.
    async fn fold_silent(
        &mut self,
        silence: Duration,
        limit: Duration,
    ) -> RedisResult<(usize, bool)> {
        let begin = Instant::now();
        let silence = silence.as_millis() as u64;
        let mut count = 0;
        for shard in 0..self.shards.len() {
            let keys = self.shards[shard].keys.clone();
            for name in silent(&mut self.connection, &keys, silence).await? {
                let is_own = shard == self.shard && name == self.writer.name;
                if !is_own {
                    if begin.elapsed() > limit {
                        return Ok((count, false));
                    }
                    let folded = fold(&mut self.connection, &keys, &name, Some(silence)).await?;
                    count += usize::from(folded == Folded::Yes);
                }
            }
        }
        Ok((count, true))
    }

    async fn close_in_time(&mut self) -> RedisResult<()> {
        if self.observes {
            return Ok(());
        }
        let limit = self.settings.close;
        let begin = Instant::now();
        match tokio::time::timeout(limit, self.leave()).await {
            Ok(result) => result?,
            Err(_) => {
                return Err(RedisError::from(std::io::Error::new(
                    std::io::ErrorKind::TimedOut,
                    format!("not done within {limit:?}; another process folds this one later"),
                )));
            }
        }
        // If many processes end at once, they get in each other's way. Nothing depends on who folds
        // this one: another process, or the next that starts.
        let rest = limit.saturating_sub(begin.elapsed());
        let keys = self.writer.keys.clone();
        let fold = fold(&mut self.connection, &keys, &self.writer.name, None);
        let _ = tokio::time::timeout(rest, fold).await;
        Ok(())
    }

    /// Sends the last changes, removes the gauges of this process, and lets everybody fold it.
    async fn leave(&mut self) -> RedisResult<()> {
        self.flush(true).await?;
        let keys = &self.writer.keys;
        let mut script = LEAVE.key(keys.writers());
        script
            .key(keys.slots())
            .key(keys.totals(&self.writer.name))
            .key(keys.gauges(&self.writer.name))
            .arg(&self.writer.name);
        self.connection.script::<()>(&script, 1).await
    }
}

/// Returns the writers that have been silent for longer than `silence`, in milliseconds.
async fn silent(
    connection: &mut Connection,
    keys: &Keys,
    silence: u64,
) -> RedisResult<Vec<String>> {
    let list = list_writers(connection, keys).await?;
    let writers = list.writers.into_iter();
    let silent = writers.filter(|(_, heard)| heard.saturating_add(silence) < list.now);
    Ok(silent.map(|(name, _)| name).collect())
}

/// A writer that is not this process.
struct OtherWriter<'a> {
    /// When it began, and its name: two writers may begin at the same time.
    began: (u64, &'a String),
    /// Its number on the page.
    index: Option<u32>,
    known: &'a KnownWriter,
    /// Its gauges that have not expired.
    gauges: Vec<&'a Family>,
}

/// Requests by kind.
#[derive(Default)]
struct Requests {
    flushes: Vec<Reply<()>>,
    scrapes: Vec<Reply<Arc<Snapshot>>>,
    overviews: Vec<Reply<Overview>>,
    folds: Vec<(Duration, Reply<usize>)>,
    closes: Vec<Reply<()>>,
}

impl Requests {
    fn sort(commands: Vec<Command>) -> Self {
        let mut all = Self::default();
        for command in commands {
            match command {
                Command::Flush(reply) => all.flushes.push(reply),
                Command::Scrape(reply) => all.scrapes.push(reply),
                Command::Overview(reply) => all.overviews.push(reply),
                Command::Fold(silence, reply) => all.folds.push((silence, reply)),
                Command::Close(reply) => all.closes.push(reply),
            }
        }
        all
    }

    /// Answers requests that came when the store was closed.
    fn refuse(self, worker: &Worker) {
        let closed = || failed("cannot use", &worker.store, "it is closed");
        self.flushes
            .into_iter()
            .for_each(|reply| reply(Err(closed())));
        self.scrapes
            .into_iter()
            .for_each(|reply| reply(Err(closed())));
        self.overviews
            .into_iter()
            .for_each(|reply| reply(Err(closed())));
        self.folds
            .into_iter()
            .for_each(|(_, reply)| reply(Err(closed())));
        self.closes.into_iter().for_each(|reply| reply(Ok(())));
    }
}

/// Says in a view whether the store was reached.
pub(super) fn insert_up(view: &mut Snapshot, is_up: bool) {
    view.insert_gauge(
        "tallies_share_up",
        "Whether the store was reached at the last try.",
        if is_up { 1.0 } else { 0.0 },
    );
}
