//! The thread of a store: it flushes, reads, folds, and answers the handles. Updates and handles
//! never touch the network themselves.

use std::cmp::Reverse;
use std::collections::HashSet;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use redis::{ErrorKind, RedisError, RedisResult};
use tallies::share::store::Merger;
use tallies::snapshot::Family;
use tallies::{Error, snapshot::Snapshot};
use tokio::sync::mpsc::Receiver;

use super::admin::{self, Overview};
use super::builder::StoreSettings;
use super::connection::{Connection, late};
use super::fold::fold;
use super::reader::ShardView;
use super::scripts::{Keys, LEAVE, list_writers};
use super::writer::{OwnWriter, Sent, random_name};
use super::{WAITING, failed, millis, one_line, pause};

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
    settings: Arc<StoreSettings>,
    pub(super) connection: Connection,
    /// The writer of this process. It counts nothing if the process only reads.
    writer: OwnWriter,
    /// The index of the writer's shard.
    shard: usize,
    pub(super) shards: Vec<ShardView>,
    last_view: LastView,
    /// The failures since the last success.
    failures: Option<Failures>,
    /// The number of failures since the start.
    all_failures: u64,
    /// The number of processes that have to send again what Redis has lost, at the last read.
    awaited: usize,
    /// The last time that all shards were read.
    read: Option<Instant>,
    /// The [`OwnWriter::epoch`] at that time.
    epoch: u64,
}

/// Failures in a row.
struct Failures {
    count: u32,
    last: RedisError,
    /// The next try comes no sooner.
    not_before: Instant,
}

impl Worker {
    /// Returns the worker of shards with these keys. On the thread of the store, because random
    /// numbers are a thread's own.
    pub(super) fn new(
        settings: Arc<StoreSettings>,
        connection: Connection,
        keys: Vec<Keys>,
        last_view: LastView,
    ) -> Self {
        let shard = usize::from_str_radix(&random_name()[..8], 16).unwrap_or(0) % keys.len();
        let own = OwnWriter::new(keys[shard].clone(), Arc::clone(&settings));
        let ttl = settings.ttl;
        let shards = keys.into_iter().map(|keys| ShardView::new(keys, ttl));
        Self {
            writer: own,
            settings,
            connection,
            shard,
            shards: shards.collect(),
            last_view,
            failures: None,
            all_failures: 0,
            awaited: 0,
            read: None,
            epoch: 0,
        }
    }

    /// Runs until the store is closed or all handles are dropped.
    pub(super) async fn run(mut self, mut commands: Receiver<Command>) {
        let mut next_flush = Instant::now();
        let mut next_fold = Instant::now() + self.fold_interval();
        loop {
            let mut all = Vec::new();
            let next = self.next_beat().unwrap_or(next_flush).min(next_flush);
            tokio::select! {
                // Requests that came in the meantime share one pass.
                count = commands.recv_many(&mut all, WAITING) => {
                    // Before it closes: afterwards, a flush would begin a new writer.
                    let closes = self.serve(all).await;
                    // Without handles, nobody can ask for a result.
                    if count == 0 || !closes.is_empty() {
                        let result = self.close_in_time().await;
                        // Before the replies: a handle that is dropped after one has nothing to
                        // warn of.
                        commands.close();
                        for reply in closes {
                            reply(result.clone().map_err(|e| self.error("cannot close", e)));
                        }
                        while let Ok(command) = commands.try_recv() {
                            // A reply that is dropped says that the store is closed.
                            if let Command::Close(reply) = command {
                                reply(Ok(()));
                            }
                        }
                        return;
                    }
                }
                () = tokio::time::sleep_until(next.into()) => {
                    if Instant::now() < next_flush {
                        self.beat().await;
                        continue;
                    }
                    let before = Instant::now();
                    if !self.is_early() {
                        // A failure is recorded where scrapes find it.
                        let _ = self.flush(false).await;
                    }
                    // A pass over very many series leaves most of the processor to the program.
                    let pause = self.settings.flush.max(before.elapsed() * 4);
                    // A process that only reads tries again when it is asked.
                    let failed = self.failures.as_ref().filter(|_| !self.settings.observes);
                    let next = Instant::now() + pause;
                    next_flush = failed.map_or(next, |failed| failed.not_before);
                }
                () = tokio::time::sleep_until(next_fold.into()) => {
                    let mut pause = self.fold_interval();
                    if self.failures.is_none() {
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

    /// Answers all requests but those to close, which it returns.
    async fn serve(&mut self, mut all: Vec<Command>) -> Vec<Reply<()>> {
        // A scrape flushes.
        all.sort_by_key(|command| !matches!(command, Command::Scrape(_)));
        let (mut view, mut flushed, mut closes) = (None, None, Vec::new());
        for command in all {
            match command {
                Command::Scrape(reply) => {
                    if view.is_none() {
                        view = Some(self.scrape().await);
                        flushed = self.failures.is_none().then_some(Ok(()));
                    }
                    let view = view.clone().unwrap_or(Err(None));
                    reply(view.map_err(|age| self.stale(age)));
                }
                Command::Flush(reply) => {
                    if flushed.is_none() {
                        flushed = Some(self.flush(true).await);
                    }
                    let flushed = flushed.clone().unwrap_or(Ok(()));
                    reply(flushed.map_err(|e| self.error("cannot flush to", e)));
                }
                Command::Overview(reply) => {
                    let result = admin::overview(self).await;
                    reply(result.map_err(|e| self.error("cannot read from", e)));
                }
                Command::Fold(silence, reply) => {
                    let result = self.fold_silent(silence, Duration::MAX).await;
                    let count = result.map(|(count, _)| count);
                    reply(count.map_err(|e| self.error("cannot fold in", e)));
                }
                Command::Close(reply) => closes.push(reply),
            }
        }
        closes
    }

    pub(super) fn error(&self, action: &str, cause: RedisError) -> Error {
        let cause = io::Error::other(one_line(&cause));
        failed(action, &self.settings.store, cause)
    }

    /// Returns the error that the last view is too old, or that there is none.
    fn stale(&self, age: Option<Duration>) -> Error {
        let cause = self.failures.as_ref().map(|failed| one_line(&failed.last));
        let cause = cause.unwrap_or_else(|| match self.awaited {
            0 => "it was not tried yet".to_owned(),
            n => lost(n),
        });
        let (store, limit) = (&self.settings.store, self.settings.stale.as_secs());
        Error::new(match age.map(|age| age.as_secs()) {
            None => format!("the Redis store at {store} was never read: {cause}"),
            Some(age) => format!(
                "the Redis store at {store} was last read {age} s ago, and its last view is served \
                 for {limit} s: {cause}"
            ),
        })
    }

    fn fold_interval(&self) -> Duration {
        let interval = self.settings.fold_after / 4;
        let interval = interval.clamp(Duration::from_millis(50), Duration::from_secs(60));
        // Processes that started together do not fold together.
        pause::vary(interval)
    }

    /// Sends what has changed, or, with `beat`, at least a sign of life.
    async fn flush(&mut self, beat: bool) -> RedisResult<()> {
        if self.settings.observes {
            return Ok(());
        }
        let beat = beat || self.is_due();
        let sent = self.writer.tick(&mut self.connection, beat).await;
        match &sent {
            Ok(()) => self.succeeded(),
            Err(error) => self.failed(error.clone()),
        }
        sent
    }

    /// Returns when the next sign of life is due. `None`: now. After a failure, it tells whether
    /// Redis is there again.
    fn next_beat(&self) -> Option<Instant> {
        let heard = self.writer.heard_at.filter(|_| self.failures.is_none())?;
        Some(heard + self.settings.refresh_of(&self.writer.current))
    }

    /// Returns whether a sign of life is due.
    fn is_due(&self) -> bool {
        self.next_beat().is_none_or(|beat| beat <= Instant::now())
    }

    /// Sends a sign of life between two flushes, so that no gauge expires in between. Takes no
    /// snapshot: collectors run at flushes and scrapes only.
    async fn beat(&mut self) {
        match self.writer.beat(&mut self.connection).await {
            Ok(Sent::Done) => {}
            // A flush finds out what else there is to do.
            Ok(Sent::Again) => _ = self.flush(true).await,
            Err(error) => self.failed(error),
        }
    }

    /// Returns whether a failure is so recent that another try would fail again.
    fn is_early(&self) -> bool {
        let failed = self.failures.as_ref();
        failed.is_some_and(|failed| Instant::now() < failed.not_before)
    }

    fn succeeded(&mut self) {
        if let Some(Failures { count, .. }) = self.failures.take() {
            let store = &self.settings.store;
            let message =
                format!("the Redis store at {store} is reached again; {count} tries failed");
            Error::new(message).log();
        }
    }

    fn failed(&mut self, error: RedisError) {
        let before = self.failures.as_ref().map_or(0, |failed| failed.count);
        if before == 0 {
            let (store, error) = (&self.settings.store, one_line(&error));
            Error::new(format!(
                "the Redis store at {store} cannot be reached: {error}; nothing is lost while this \
                 process runs, and further failures are not logged until it is reached"
            ))
            .log();
        }
        let count = before.saturating_add(1);
        self.all_failures += 1;
        self.failures = Some(Failures {
            count,
            last: error,
            not_before: Instant::now() + pause::after(count),
        });
    }

    /// Flushes and reads. Serves the last view, with what this process counts now, if Redis cannot
    /// be reached. Fails with the age of the last view if that is too old.
    async fn scrape(&mut self) -> Result<Arc<Snapshot>, Option<Duration>> {
        if self.is_early() {
            if !self.settings.observes {
                self.writer.take();
            }
        } else {
            match self.flush_and_read().await {
                Ok(()) => {
                    self.succeeded();
                    self.note_awaited();
                    if self.awaited == 0 {
                        (self.read, self.epoch) = (Some(Instant::now()), self.writer.epoch);
                    }
                }
                Err(error) => self.failed(error),
            }
        }
        self.view()
    }

    /// Notes how many processes have to send again what Redis has lost.
    fn note_awaited(&mut self) {
        let awaited = self.shards.iter().map(|shard| shard.awaited).sum();
        if awaited > 0 && self.awaited == 0 {
            let (store, lost) = (&self.settings.store, lost(awaited));
            let message = format!("the store at {store}: {lost}; pages show what was read before");
            Error::new(message).log();
        }
        self.awaited = awaited;
    }

    /// Returns whether the last try to read found everything.
    fn is_up(&self) -> bool {
        self.failures.is_none() && self.awaited == 0
    }

    /// Returns the view after a try to read. Only a try that failed makes it too old.
    fn view(&mut self) -> Result<Arc<Snapshot>, Option<Duration>> {
        let age = self.read.map(|read| read.elapsed());
        if !self.is_up() && age.is_none_or(|age| age > self.settings.stale) {
            return Err(age);
        }
        let last_view = Arc::clone(&self.last_view);
        let mut last = last_view.lock().unwrap_or_else(PoisonError::into_inner);
        if let (Some((view, _)), true) = (&*last, self.epoch != self.writer.epoch) {
            // This process knows that its counts were folded, or that folded ones are gone, and has
            // not read the result yet. What it knew before belongs together.
            let mut view = (**view).clone();
            insert_up(&mut view, false);
            return Ok(Arc::new(view));
        }
        let view = Arc::new(self.merged());
        *last = self.read.map(|read| (Arc::clone(&view), read));
        Ok(view)
    }

    /// Flushes this process and reads the others, until both belong together.
    async fn flush_and_read(&mut self) -> RedisResult<()> {
        let mut beat = self.is_due();
        for _ in 0..20 {
            if !self.settings.observes {
                self.writer.flush(&mut self.connection, beat).await?;
            }
            if self.read_all().await? {
                return Ok(());
            }
            // This process was folded after it had flushed. Another flush finds out.
            beat = true;
        }
        Err((ErrorKind::Client, "this process is folded all the time").into())
    }

    /// Reads all shards. Returns `false` if this process has been folded.
    async fn read_all(&mut self) -> RedisResult<bool> {
        for (at, shard) in self.shards.iter_mut().enumerate() {
            let is_own = at == self.shard && !self.settings.observes;
            let own = is_own.then_some(&*self.writer.name);
            if !shard.refresh(&mut self.connection, own).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Returns the time to live of gauges, in milliseconds.
    pub(super) fn ttl(&self) -> u64 {
        millis(self.settings.ttl)
    }

    /// Merges what is known of all writers.
    fn merged(&mut self) -> Snapshot {
        let ttl = self.ttl();
        let (mut writers, mut malformed) = (Vec::new(), 0);
        if !self.settings.observes {
            writers.push(Shown {
                began: (self.writer.started, &self.writer.name),
                // Its number is its own.
                heard: u64::MAX,
                index: self.index(self.writer.slot, self.shard),
                totals: &[],
                live: self.writer.current.iter().collect(),
            });
        }
        for (at, shard) in self.shards.iter().enumerate() {
            let is_own = |name: &String| at == self.shard && *name == self.writer.name;
            for (name, known) in shard.writers.iter().filter(|(name, _)| !is_own(name)) {
                malformed += known.malformed();
                writers.push(Shown {
                    began: (known.started(), name),
                    heard: known.heard,
                    index: self.index(known.slot, at),
                    totals: &known.hashes[0].families,
                    live: known.live_gauges(shard.now, ttl),
                });
            }
        }
        // If Redis has lost `slots`, one number can have been given twice. The writer that was
        // heard last has it, until the other one flushes and gets a new number: no page has a
        // series twice.
        writers.sort_by_key(|writer| (writer.live.is_empty(), Reverse(writer.heard)));
        let claimed: HashSet<u32> = writers.iter().filter_map(|writer| writer.index).collect();
        let mut free = (0..).filter(|number| !claimed.contains(number));
        let mut used = HashSet::new();
        for writer in &mut writers {
            let is_its_own = writer.index.is_some_and(|index| used.insert(index));
            if !writer.live.is_empty() && !is_its_own {
                writer.index = free.next();
            }
        }
        // The newest first: its buckets are shown during a rolling deployment.
        writers.sort_by_key(|writer| Reverse(writer.began));
        let mut merger = Merger::new();
        for writer in &writers {
            merger.ended(writer.totals);
            merger.live(writer.index.unwrap_or(0), writer.live.iter().copied());
        }
        for shard in &self.shards {
            merger.ended(&shard.acc.families);
            malformed += shard.acc.malformed;
        }
        let writers = writers.len();
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

    /// Returns the value of the label `gauge_index` for a slot of a shard.
    pub(super) fn index(&self, slot: Option<u32>, shard: usize) -> Option<u32> {
        let count = self.shards.len() as u32;
        slot.map(|slot| slot.saturating_mul(count).saturating_add(shard as u32))
    }

    fn insert_self_metrics(
        &self,
        merged: &mut Snapshot,
        writers: usize,
        conflicts: usize,
        malformed: usize,
    ) {
        insert_up(merged, self.is_up());
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
            self.all_failures,
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
        let silence = millis(silence);
        let mut count = 0;
        for shard in 0..self.shards.len() {
            let keys = self.shards[shard].keys.clone();
            let list = list_writers(&mut self.connection, &keys).await?;
            for (name, heard) in list.writers {
                let is_own = shard == self.shard && name == self.writer.name;
                if is_own || heard.saturating_add(silence) >= list.now {
                    continue;
                }
                if begin.elapsed() > limit {
                    return Ok((count, false));
                }
                let folded = fold(&mut self.connection, &keys, &name, Some(silence)).await?;
                count += usize::from(folded);
            }
        }
        Ok((count, true))
    }

    async fn close_in_time(&mut self) -> RedisResult<()> {
        if self.settings.observes {
            return Ok(());
        }
        let limit = self.settings.close;
        let begin = Instant::now();
        let left = tokio::time::timeout(limit, self.leave()).await;
        left.unwrap_or_else(|_| {
            let why = "another process folds this one later";
            Err(late(format!("not done within {limit:?}; {why}")))
        })?;
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
        let mut script = LEAVE.key(self.writer.keys.of(&self.writer.name));
        script.arg(&self.writer.name);
        self.connection.script::<()>(&script, 1).await
    }
}

/// A writer on a page.
struct Shown<'a> {
    /// When it began, and its name: two writers may begin at the same time.
    began: (u64, &'a String),
    /// The time of its last flush by the clock of Redis, in milliseconds.
    heard: u64,
    /// Its number on the page.
    index: Option<u32>,
    totals: &'a [Family],
    /// Its gauges that have not expired; of this process, all families.
    live: Vec<&'a Family>,
}

/// Returns what the store waits for.
pub(super) fn lost(awaited: usize) -> String {
    format!("counts are lost there, and {awaited} processes have not sent theirs again yet")
}

/// Says in a view whether the store was reached.
pub(super) fn insert_up(view: &mut Snapshot, is_up: bool) {
    view.insert_gauge(
        "tallies_share_up",
        "Whether the store was reached at the last try.",
        if is_up { 1.0 } else { 0.0 },
    );
}

#[cfg(test)]
mod tests {
    use redis::Client;

    use super::super::builder::RedisBuilder;
    use super::super::connection::RedisServer;
    use super::*;

    /// With a limit of zero, the view of a moment ago was too old: every scrape failed.
    #[test]
    fn a_view_that_was_read_now_is_not_stale() {
        let url = "redis://localhost/";
        let builder = RedisBuilder::at(url).unwrap();
        let builder = builder.registry(&tallies::Registry::new());
        let settings = Arc::new(builder.serve_stale_for(Duration::ZERO).settings);
        let server = RedisServer::Single(Client::open(url).unwrap());
        let connection = Connection::new(server, settings.timeout);
        let keys = vec![Keys::new("test", 0, 1)];
        let mut worker = Worker::new(settings, connection, keys, LastView::default());
        worker.read = Some(Instant::now() - Duration::from_millis(1));
        assert!(worker.view().is_ok());
        worker.failed((ErrorKind::Client, "a test").into());
        assert!(worker.view().unwrap_err().is_some());
    }
}
