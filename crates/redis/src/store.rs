//! The handle of a store.

use std::fmt;
use std::io;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tallies::share::Totalled;
use tallies::snapshot::{Source, Value};
use tallies::{Error, snapshot::Snapshot};
use tokio::sync::mpsc::{self, error::TrySendError};
use tokio::sync::oneshot;

use super::admin::Overview;
use super::builder::{RedisBuilder, StoreSettings};
#[cfg(unix)]
use super::signals;
use super::worker::{self, Command, LastView, Reply};
use super::{failed, thread};

/// A store in Redis that has started: a handle, which can be cloned.
///
/// It is a source of snapshots, so a
/// [`Server`](https://docs.rs/tallies/latest/tallies/struct.Server.html), a
/// [`MetricsService`](https://docs.rs/tallies/latest/tallies/struct.MetricsService.html) or a
/// [`Pusher`](https://docs.rs/tallies/latest/tallies/struct.Pusher.html) takes it in place of a
/// registry. [`builder`](Self::builder) has an example.
///
/// Dropping the last handle closes the store without waiting for it, and logs a warning: what the
/// process counts from then on is not shared. So keep a handle as long as the program counts, and
/// then [close](Self::close) the store.
#[derive(Clone)]
#[must_use = "the sharing ends when the last handle is dropped: keep it, and `close` it at the end"]
pub struct Redis {
    pub(super) inner: Arc<Inner>,
}

pub(super) struct Inner {
    pub(super) commands: mpsc::Sender<Command>,
    pub(super) last_view: LastView,
    /// The process that has the thread.
    pub(super) process: u32,
    pub(super) settings: Arc<StoreSettings>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        let is_own = self.process == std::process::id();
        if is_own && !self.settings.observes && !self.commands.is_closed() {
            let store = &self.settings.store;
            Error::new(format!(
                "the Redis store at {store} is closed because its last handle was dropped: what \
                 this process counts from now on is not shared; keep the handle, and call `close` \
                 at the end"
            ))
            .log();
        }
    }
}

impl Redis {
    /// Returns a builder of a store at `url`, for the default registry.
    ///
    /// ```no_run
    /// let store = tallies_redis::Redis::builder("redis://127.0.0.1/")?.namespace("shop").start()?;
    /// # Ok::<(), tallies::Error>(())
    /// ```
    ///
    /// The URL is `redis://[user[:password]@]host[:port][/database]`, `rediss://` for TLS (with the
    /// feature `tls`), or `unix:///path/to/socket?db=0&user=…&pass=…`. Names and passwords in a
    /// URL are percent-encoded.
    ///
    /// # Errors
    ///
    /// Returns an error if the URL is invalid. The message does not show it, because it can contain
    /// a password.
    pub fn builder(url: &str) -> Result<RedisBuilder, Error> {
        RedisBuilder::at(url)
    }

    /// Sends what has changed, and returns when Redis has acknowledged it. Every update that
    /// returned before this call is then part of every scrape, of any process.
    ///
    /// ```no_run
    /// # async fn run(store: tallies_redis::Redis) -> Result<(), tallies::Error> {
    /// tallies::registry().counter("jobs_total", "Jobs done.")?.inc();
    /// store.flush().await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Returns an error if Redis cannot be reached or refuses to write. Nothing is lost then: the
    /// next flush sends it.
    pub async fn flush(&self) -> Result<(), Error> {
        self.ask(Command::Flush).await
    }

    /// Blocks until Redis has acknowledged what has changed.
    ///
    /// # Errors
    ///
    /// The errors of [`flush`](Self::flush).
    pub fn flush_blocking(&self) -> Result<(), Error> {
        self.ask_blocking(Command::Flush)
    }

    /// Returns what all processes have counted. This flushes first, so updates of this process that
    /// returned before the call are included.
    ///
    /// # Errors
    ///
    /// Returns an error if Redis has not been reached for longer than
    /// [`serve_stale_for`](RedisBuilder::serve_stale_for).
    pub async fn snapshot(&self) -> Result<Snapshot, Error> {
        Ok(Arc::unwrap_or_clone(self.ask(Command::Scrape).await?))
    }

    /// Returns what [`snapshot`](Self::snapshot) returns, and blocks until it is read.
    ///
    /// # Errors
    ///
    /// The errors of [`snapshot`](Self::snapshot).
    pub fn snapshot_blocking(&self) -> Result<Snapshot, Error> {
        Ok(Arc::unwrap_or_clone(self.ask_blocking(Command::Scrape)?))
    }

    /// Returns the total of a metric over all processes, ended ones included; with labels, that of
    /// all its series. This flushes first, as [`snapshot`](Self::snapshot) does. The store keeps
    /// integers up to 2⁶⁴; the result is a float, which is exact up to 2⁵³.
    ///
    /// ```no_run
    /// # async fn run(store: tallies_redis::Redis) -> Result<(), tallies::Error> {
    /// static PARCELS: tallies::Counter = tallies::Counter::new("parcels_total").help("Parcels sent.");
    ///
    /// PARCELS.inc();
    /// let all: f64 = store.total(&PARCELS).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// The errors of [`snapshot`](Self::snapshot), and a metric that is not in the registry of the
    /// store.
    pub async fn total(&self, metric: &impl Totalled) -> Result<f64, Error> {
        // Before the flush: a static that was not used yet is registered now, and its total is 0.
        let name = metric.name_in(self.inner.settings.registry.as_ref());
        let view = self.ask(Command::Scrape).await?;
        self.sum(&view, &name)
    }

    /// Returns what [`total`](Self::total) returns, and blocks until it is read.
    ///
    /// # Errors
    ///
    /// The errors of [`total`](Self::total).
    pub fn total_blocking(&self, metric: &impl Totalled) -> Result<f64, Error> {
        let name = metric.name_in(self.inner.settings.registry.as_ref());
        let view = self.ask_blocking(Command::Scrape)?;
        self.sum(&view, &name)
    }

    /// Adds up all series of a family.
    fn sum(&self, page: &Snapshot, name: &str) -> Result<f64, Error> {
        let Some(family) = page.family(name) else {
            let cause = format!(
                "no process shares `{name}`; the metric is not in the registry of the store, or a \
                 view switched it off"
            );
            return Err(self.failed("there is no total in", &cause));
        };
        let values = family.series().map(|(_, value)| match value {
            Value::Counter(n) => n.as_f64(),
            Value::Gauge(x) => x,
            _ => 0.0,
        });
        Ok(values.sum())
    }

    /// Returns one number over all processes, addressed as by [`Snapshot::get`]. This flushes
    /// first, as [`snapshot`](Self::snapshot) does.
    ///
    /// ```no_run
    /// # async fn run(store: tallies_redis::Redis) -> Result<(), tallies::Error> {
    /// let mail = store.get("jobs_total", &[("queue", "mail")]).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// The errors of [`snapshot`](Self::snapshot).
    pub async fn get(&self, name: &str, labels: &[(&str, &str)]) -> Result<Option<f64>, Error> {
        Ok(self.ask(Command::Scrape).await?.get(name, labels))
    }

    /// Returns what [`get`](Self::get) returns, and blocks until it is read.
    ///
    /// # Errors
    ///
    /// The errors of [`snapshot`](Self::snapshot).
    pub fn get_blocking(&self, name: &str, labels: &[(&str, &str)]) -> Result<Option<f64>, Error> {
        Ok(self.ask_blocking(Command::Scrape)?.get(name, labels))
    }

    /// Returns the processes of the namespace, with what each of them has counted.
    ///
    /// # Errors
    ///
    /// Returns an error if Redis cannot be reached.
    pub async fn overview(&self) -> Result<Overview, Error> {
        self.ask(Command::Overview).await
    }

    /// Returns what [`overview`](Self::overview) returns, and blocks until it is read.
    ///
    /// # Errors
    ///
    /// The errors of [`overview`](Self::overview).
    pub fn overview_blocking(&self) -> Result<Overview, Error> {
        self.ask_blocking(Command::Overview)
    }

    /// Folds the processes that have been silent for this long, and returns their number. The store
    /// does this by itself; this is for tools.
    ///
    /// # Errors
    ///
    /// Returns an error if Redis cannot be reached.
    pub async fn fold(&self, silence: Duration) -> Result<usize, Error> {
        self.ask(|reply| Command::Fold(silence, reply)).await
    }

    /// Folds like [`fold`](Self::fold), and blocks until that is done.
    ///
    /// # Errors
    ///
    /// The errors of [`fold`](Self::fold).
    pub fn fold_blocking(&self, silence: Duration) -> Result<usize, Error> {
        self.ask_blocking(|reply| Command::Fold(silence, reply))
    }

    /// Ends the sharing: sends the last changes, removes the gauges of this process, and folds its
    /// totals into those of ended processes (if many processes end at once, others do that). Waits
    /// for what is under way, up to [`close_timeout`](RedisBuilder::close_timeout).
    ///
    /// Closing twice is fine. After that, flushes and scrapes fail.
    ///
    /// # Errors
    ///
    /// Returns an error if Redis cannot be reached in time. The gauges then expire, and another
    /// process folds the totals that were flushed last.
    pub async fn close(&self) -> Result<(), Error> {
        if self.inner.commands.is_closed() {
            return Ok(());
        }
        // The limit holds even if the thread of the store waits for a collector, and no timer of
        // whatever runtime this is polled by is needed.
        let (sender, receiver) = oneshot::channel();
        let store = self.clone();
        let close = move || {
            let _ = sender.send(store.close_blocking());
        };
        let spawned = thread("tallies-close").spawn(close);
        let store = &self.inner.settings.store;
        spawned.map_err(|error| failed("cannot close", store, error))?;
        receiver.await.unwrap_or_else(|_| Err(self.closed()))
    }

    /// Closes like [`close`](Self::close), and blocks until that is done.
    ///
    /// # Errors
    ///
    /// The errors of [`close`](Self::close).
    pub fn close_blocking(&self) -> Result<(), Error> {
        if self.inner.commands.is_closed() {
            return Ok(());
        }
        // The thread keeps the limit itself, and can say more about the reason.
        let limit = self.inner.settings.close;
        let wait = limit.saturating_add(Duration::from_millis(200));
        self.ask_within(wait, Command::Close)
    }

    /// Closes the store when the program gets SIGINT or SIGTERM, and then ends the program as the
    /// signal does by default. For programs that do not handle these signals themselves.
    ///
    /// The program ends after [`close_timeout`](RedisBuilder::close_timeout) in any case, and if
    /// the store is closed already, at once. Several stores close at the same time.
    #[cfg(unix)]
    pub fn close_on_signals(&self) {
        if !self.inner.commands.is_closed() {
            signals::close_on_signals(&self.inner);
        }
    }

    /// Returns the longest wait for an answer of the thread.
    fn wait(&self) -> Duration {
        self.inner.settings.timeout.saturating_mul(12)
    }

    /// Asks the thread, and blocks until it answers.
    fn ask_blocking<T: Send + 'static>(
        &self,
        command: impl FnOnce(Reply<T>) -> Command,
    ) -> Result<T, Error> {
        self.ask_within(self.wait(), command)
    }

    /// Asks the thread, and blocks until it answers, at most for `wait`.
    fn ask_within<T: Send + 'static>(
        &self,
        wait: Duration,
        command: impl FnOnce(Reply<T>) -> Command,
    ) -> Result<T, Error> {
        let (sender, receiver) = sync_channel(1);
        self.send(command(Box::new(move |result| {
            // An error means that the caller has stopped waiting.
            let _ = sender.send(result);
        })))?;
        receiver.recv_timeout(wait).unwrap_or_else(|error| {
            Err(match error {
                RecvTimeoutError::Disconnected => self.closed(),
                RecvTimeoutError::Timeout => {
                    let why = format!("no answer within {wait:?}; a collector may be hanging");
                    self.unusable(&why)
                }
            })
        })
    }

    async fn ask<T: Send + 'static>(
        &self,
        command: impl FnOnce(Reply<T>) -> Command,
    ) -> Result<T, Error> {
        let (sender, receiver) = oneshot::channel();
        self.send(command(Box::new(move |result| {
            let _ = sender.send(result);
        })))?;
        receiver.await.unwrap_or_else(|_| Err(self.closed()))
    }

    fn send(&self, command: Command) -> Result<(), Error> {
        if self.inner.process != std::process::id() {
            let why = "it was started before a fork; start one in each process";
            return Err(self.unusable(why));
        }
        let sent = self.inner.commands.try_send(command);
        sent.map_err(|error| match error {
            TrySendError::Full(_) => self.unusable("too many requests wait for it"),
            TrySendError::Closed(_) => self.closed(),
        })
    }

    fn closed(&self) -> Error {
        self.unusable("it is closed")
    }

    fn unusable(&self, why: &str) -> Error {
        self.failed("cannot use", why)
    }

    fn failed(&self, action: &str, why: &str) -> Error {
        failed(action, &self.inner.settings.store, io::Error::other(why))
    }
}

impl Source for Redis {
    /// Takes a snapshot of all processes. It is empty if there is none.
    fn snapshot_into(&self, snapshot: &mut Snapshot) {
        if self.try_snapshot_into(snapshot).is_err() {
            *snapshot = Snapshot::default();
        }
    }

    fn try_snapshot_into(&self, snapshot: &mut Snapshot) -> Result<(), Error> {
        // A server that is scraped has seconds. The thread may be busy, or wait for a collector.
        let asked = self.ask_within(self.wait() / 4, Command::Scrape);
        let Err(error) = asked.map(|view| snapshot.clone_from(&view)) else {
            return Ok(());
        };
        // The last view of the parent says nothing of a child, and its lock may be held for ever.
        if self.inner.process != std::process::id() || self.inner.commands.is_closed() {
            return Err(error);
        }
        // The thread is late. What it has read before is still good for a while.
        let last = self.inner.last_view.lock();
        let last = last.unwrap_or_else(PoisonError::into_inner).clone();
        let last = last.filter(|(_, read)| read.elapsed() <= self.inner.settings.stale);
        let (view, _) = last.ok_or(error)?;
        snapshot.clone_from(&view);
        worker::insert_up(snapshot, false);
        Ok(())
    }
}

impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redis")
            .field("store", &self.inner.settings.store)
            .finish_non_exhaustive()
    }
}
