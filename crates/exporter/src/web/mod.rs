//! The web configuration: TLS, passwords, headers and a limit of requests, in the format of
//! Prometheus' exporter toolkit. It is read again when its files change.

mod file;
mod users;

use std::collections::HashMap;
use std::future::Future;
#[cfg(unix)]
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use http::{HeaderMap, HeaderName, HeaderValue};
use tallies::serve::tls::{self, Stamp};
use tallies::serve::{Admission, Peer};
use tallies::{Error, Gauge, Metrics, Registry};

use file::Settings;
use users::Users;

/// The time between checks of the files.
pub(super) const CHECK: Duration = Duration::from_secs(1);

/// The time after which a check that goes on is shown as a failure.
const LATE: Duration = Duration::from_secs(10);

/// The web configuration in use, and the file that it is from.
pub(super) struct Web {
    path: PathBuf,
    /// Replaced when the files have changed. Read by connections and requests.
    current: Mutex<Arc<Loaded>>,
    /// Locked by checks.
    stamps: tokio::sync::Mutex<Stamps>,
    /// Set once, before the service begins, unless the exporter has no metrics about itself.
    metrics: OnceLock<WebMetrics>,
}

/// A web configuration that is in use, or was.
struct Loaded {
    tls: Option<tls::Config>,
    settings: Settings,
}

/// Buckets of tokens: `burst` requests at once, and one more after each `interval`.
#[derive(Default)]
struct Rate {
    interval: Duration,
    burst: f64,
    /// The tokens of each client, and the time at which they were counted. Clients that are not
    /// here have all.
    buckets: Mutex<HashMap<Bucket, (f64, Instant)>>,
}

/// A peer, and whether its password is known to be right: a stranger must not spend the tokens of a
/// scraper at the same address.
type Bucket = (Option<Peer>, bool);

/// The most buckets. The clients beyond it share one.
const BUCKETS: usize = 1000;

/// The state of each file.
type Files = Vec<(PathBuf, Stamp)>;

#[derive(Clone)]
struct Stamps {
    /// The files that were read last, good or bad.
    read: Files,
    /// The same at the last check.
    seen: Files,
    /// Whether the files that were read last are used.
    is_good: bool,
}

#[derive(Metrics)]
struct WebMetrics {
    /// Whether the web configuration in the file is the one in use.
    #[metric(name = "exporter_web_config_last_reload_successful")]
    successful: Gauge,
    /// Time of the last reading of the web configuration that succeeded.
    #[metric(name = "exporter_web_config_last_reload_success_timestamp_seconds")]
    time: Gauge,
}

impl Web {
    /// Reads the configuration.
    pub(super) fn load(path: &Path) -> Result<Self, Error> {
        let (stamp, loaded) = Loaded::read(path);
        let loaded = loaded?;
        #[cfg(unix)]
        if !loaded.settings.users.is_empty()
            && std::fs::metadata(path).is_ok_and(|file| file.mode() & 0o004 != 0)
        {
            let path = path.display();
            let what = "all users of this machine can read the hashes in";
            Error::new(format!("{what} {path}; `chmod o-r` it")).log_once();
        }
        Ok(Self {
            path: path.to_owned(),
            stamps: tokio::sync::Mutex::new(Stamps {
                seen: stamp.clone(),
                read: stamp,
                is_good: true,
            }),
            current: Mutex::new(Arc::new(loaded)),
            metrics: OnceLock::new(),
        })
    }

    /// Registers the metrics about the configuration.
    #[track_caller]
    pub(super) fn register(&self, registry: &Registry) -> Result<(), Error> {
        // Called once.
        let _ = self.metrics.set(WebMetrics::register(registry)?);
        self.record(true);
        Ok(())
    }

    fn current(&self) -> Arc<Loaded> {
        Arc::clone(&self.current.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Returns the source of TLS configurations, if there is TLS.
    pub(super) fn tls(
        self: &Arc<Self>,
    ) -> Option<impl Fn() -> tls::Config + Send + Sync + 'static> {
        let first = self.current().tls.clone()?;
        let web = Arc::clone(self);
        // A change that turns TLS off is rejected, so the current one has TLS.
        Some(move || web.current().tls.clone().unwrap_or_else(|| first.clone()))
    }

    pub(super) fn headers(&self) -> Vec<(HeaderName, HeaderValue)> {
        self.current().settings.headers.clone()
    }

    pub(super) fn admit(&self, headers: &HeaderMap, client: Peer) -> Admission {
        let current = self.current();
        let Settings { users, rate, .. } = &current.settings;
        let login = Users::login(headers);
        if let Some(rate) = rate {
            let known = login.as_ref().and_then(|login| users.known(login));
            if !rate.take((Some(client), known == Some(true))) {
                return Admission::TooMany;
            }
        }
        users.admit(login)
    }

    /// Reads the configuration if its files have changed.
    pub(super) async fn watch(self: Arc<Self>) {
        self.check(false).await;
    }

    /// Reads the configuration if its files have changed, or anyway. A configuration that cannot be
    /// used changes nothing.
    ///
    /// A file that changed since the last check is perhaps not complete, and half a file may be one
    /// without passwords. So it is read when it has stayed the same from one check to the next.
    pub(super) async fn check(&self, anyway: bool) {
        let mut stamps = self.stamps.lock().await;
        let current = self.current();
        let (path, last) = (self.path.clone(), stamps.clone());
        let check = move || {
            let files: Vec<_> = last.read.iter().map(|(path, _)| path.clone()).collect();
            let now = stamp(&files);
            if !anyway && (now == last.read || now != last.seen) {
                return (now, None);
            }
            let (stamp, loaded) = Loaded::read(&path);
            let loaded = loaded.and_then(|loaded| loaded.replacing(&current));
            (now, Some((stamp, loaded)))
        };
        // On another thread, because a file system may hang.
        let late = || {
            log::error!("the web configuration stays as it was: its files take long to read");
            self.record(false);
        };
        let Ok((seen, read)) = or_late(tokio::task::spawn_blocking(check), late).await else {
            return;
        };
        stamps.seen = seen;
        let Some((stamp, loaded)) = read else {
            // If the check was late, the gauge says so until now.
            if let Some(metrics) = self.metrics.get() {
                metrics.successful.set(u8::from(stamps.is_good));
            }
            return;
        };
        let successful = loaded.is_ok();
        (stamps.read, stamps.is_good) = (stamp, successful);
        match loaded {
            Ok(mut loaded) => {
                let users = &mut loaded.settings.users;
                users.remember(&self.current().settings.users);
                *self.current.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(loaded);
                log::info!(file = self.path.display().to_string().as_str(); "web configuration");
            }
            Err(error) => log::error!("the web configuration stays as it was: {error}"),
        }
        self.record(successful);
    }

    fn record(&self, successful: bool) {
        let Some(metrics) = self.metrics.get() else {
            return;
        };
        metrics.successful.set(u8::from(successful));
        if successful {
            metrics.time.set_to_current_time();
        }
    }
}

/// Waits for the end of a check. Calls `late` if it takes longer than [`LATE`].
async fn or_late<T>(check: impl Future<Output = T>, late: impl FnOnce()) -> T {
    let mut check = std::pin::pin!(check);
    if let Ok(done) = tokio::time::timeout(LATE, &mut check).await {
        return done;
    }
    late();
    check.await
}

impl Loaded {
    /// Checks that this configuration can replace `current` while the exporter runs: a file that
    /// was cut off, or that is not yet written, must not open the pages to everyone.
    fn replacing(self, current: &Self) -> Result<Self, Error> {
        let (new, old) = (&self.settings, &current.settings);
        let has_ca = |tls: &tls::Settings| tls.client_ca.is_some();
        let loses = |has: fn(&tls::Settings) -> bool| {
            let has_it = |settings: &Settings| settings.tls.as_ref().is_some_and(has);
            has_it(old) && !has_it(new)
        };
        let what = if self.tls.is_some() != current.tls.is_some() {
            "turns TLS on or off, which needs a restart"
        } else if new.users.is_empty() && !old.users.is_empty() {
            "has no users any more, which needs a restart"
        } else if loses(has_ca) {
            "has no client CA any more, which needs a restart"
        } else if loses(tls::Settings::has_names) {
            "has no `client_allowed_sans` any more, which needs a restart"
        } else if new.is_empty {
            "is empty; to do without one needs a restart"
        } else {
            return Ok(self);
        };
        Err(Error::new(format!("the web configuration {what}")))
    }

    /// Reads a configuration. The stamp is of all files that it names, even if it cannot be used.
    fn read(path: &Path) -> (Files, Result<Self, Error>) {
        // Each stamp is taken before its file is read, so a change in between is seen later.
        let mut files = stamp(&[path.to_owned()]);
        let loaded = Settings::read(path).and_then(|settings| {
            if let Some(tls) = &settings.tls {
                let named: Vec<_> = tls.files().map(Path::to_owned).collect();
                files.extend(stamp(&named));
            }
            let tls = settings.tls.as_ref().map(tls::Settings::config);
            Ok(Self {
                tls: tls.transpose()?,
                settings,
            })
        });
        (files, loaded)
    }
}

impl Rate {
    /// Takes a token of this client. Returns `false` if it has none.
    fn take(&self, mut client: Bucket) -> bool {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let tokens = |(tokens, since): (f64, Instant)| {
            let elapsed = now.duration_since(since).as_secs_f64();
            (tokens + elapsed / self.interval.as_secs_f64()).min(self.burst)
        };
        if buckets.len() >= BUCKETS && !buckets.contains_key(&client) {
            buckets.retain(|_, bucket| tokens(*bucket) < self.burst);
            if buckets.len() >= BUCKETS {
                client.0 = None;
            }
        }
        let bucket = buckets.get(&client);
        let left = bucket.map_or(self.burst, |bucket| tokens(*bucket));
        let has_one = left >= 1.0;
        buckets.insert(client, (if has_one { left - 1.0 } else { left }, now));
        has_one
    }
}

fn stamp(files: &[PathBuf]) -> Files {
    let stamped = |path: &PathBuf| (path.clone(), Stamp::of(path));
    files.iter().map(stamped).collect()
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_check_that_hangs_is_shown_and_its_result_is_used_all_the_same() {
        for (seconds, is_late) in [(9, false), (11, true)] {
            let late = Cell::new(false);
            let check = async {
                tokio::time::sleep(Duration::from_secs(seconds)).await;
                seconds
            };
            assert_eq!(or_late(check, || late.set(true)).await, seconds);
            assert_eq!(late.get(), is_late);
        }
    }

    /// Half a file may be one without passwords.
    #[tokio::test]
    async fn a_file_that_is_written_in_place_is_read_when_it_stays_the_same() {
        let name = format!("tallies-web-{}.yml", std::process::id());
        let path = std::env::temp_dir().join(name);
        let mut text = "rate_limit: {interval: 1h, burst: 3}\n".to_owned();
        let mut write = || {
            text.push_str("# A file that is being written.\n");
            std::fs::write(&path, &text).unwrap();
        };
        write();
        let web = Web::load(&path).unwrap();
        let first = web.current();
        for _ in 0..3 {
            write();
            web.check(false).await;
            assert!(Arc::ptr_eq(&web.current(), &first), "it may grow");
        }
        web.check(false).await;
        assert!(!Arc::ptr_eq(&web.current(), &first));
        std::fs::remove_file(&path).unwrap();
    }
}
