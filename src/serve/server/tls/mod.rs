//! HTTPS: reads certificates from files, and reads them again when the files change.

mod settings;

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use tokio_rustls::TlsAcceptor;

use crate::error::{self, Error};
use crate::sync::lock;

pub use settings::{ClientAuth, Config, Pem, Settings, Version};

/// The origin of configurations: files that the user named, or a source of the program.
#[derive(Clone, Default)]
pub(super) struct Origin {
    pub(super) files: Settings,
    pub(super) given: Option<GivenSource>,
}

/// Returns the configuration for new connections. The program replaces it when it wants to.
type GivenSource = Arc<dyn Fn() -> Config + Send + Sync>;

/// The state of a file, which another one replaces when the file changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamp {
    modified: Option<SystemTime>,
    length: Option<u64>,
    /// The device and the inode, on systems that have them.
    id: Option<(u64, u64)>,
}

impl Stamp {
    /// Returns the state of a file. Another one means that the file has changed.
    ///
    /// ```
    /// use tallies::serve::tls::Stamp;
    ///
    /// let path = std::env::temp_dir().join(format!("stamp-{}", std::process::id()));
    /// std::fs::write(&path, "one").unwrap();
    /// let before = Stamp::of(&path);
    /// assert_eq!(Stamp::of(&path), before);
    /// std::fs::write(&path, "three").unwrap();
    /// assert_ne!(Stamp::of(&path), before);
    /// # std::fs::remove_file(path).unwrap();
    /// ```
    #[must_use]
    pub fn of(path: &Path) -> Self {
        #[cfg(unix)]
        use std::os::unix::fs::MetadataExt;
        let metadata = std::fs::metadata(path).ok();
        let metadata = metadata.as_ref();
        Self {
            modified: metadata.and_then(|file| file.modified().ok()),
            length: metadata.map(|file| file.len()),
            #[cfg(unix)]
            id: metadata.map(|file| (file.dev(), file.ino())),
            #[cfg(not(unix))]
            id: None,
        }
    }
}

/// Returns the configuration for new connections. Looks for a newer one if the last look was at
/// least so long ago.
pub(super) struct Tls(Box<dyn Fn(Duration) -> Config + Send + Sync>);

/// The state that connections and the checking thread share.
struct Reloader {
    /// The paths. Never change.
    settings: Settings,
    /// The last good configuration. Written by the checking thread, read by connections.
    current: Mutex<Current>,
    /// Whether a thread is checking the files. Set by a connection, cleared by the checking thread.
    /// While a check hangs, no other one starts.
    checking: AtomicBool,
}

/// The configuration in use, and the result of the last check.
struct Current {
    stamps: Vec<Stamp>,
    /// Connections that have another one close after their next request.
    config: Config,
    /// The end of the last check.
    last_check: Instant,
}

/// The minimum time between checks of the files for requests on existing connections. A new
/// connection always checks.
const CHECK_INTERVAL: Duration = Duration::from_millis(200);

/// The maximum time that a start waits for the files to be read.
const LOAD_TIMEOUT: Duration = Duration::from_secs(10);

impl Origin {
    /// Reads the files. Returns `None` if the user named no files.
    pub(super) fn load(&self) -> Result<Option<Tls>, Error> {
        let has_files = self.files.files().next().is_some();
        match &self.given {
            None if !has_files => Ok(None),
            None => {
                let reloader = Reloader::load(self.files.clone())?;
                Ok(Some(Tls(Box::new(move |after| {
                    reloader.check_after(after);
                    lock(&reloader.current).config.clone()
                }))))
            }
            Some(_) if has_files => Err(Error::new(
                "TLS has a source of configurations, and files beside it; leave one of them out",
            )),
            Some(given) => {
                let given = Arc::clone(given);
                Ok(Some(Tls(Box::new(move |_| given()))))
            }
        }
    }
}

fn stamps(settings: &Settings) -> Vec<Stamp> {
    settings.files().map(Stamp::of).collect()
}

impl Tls {
    /// Returns the acceptor for a new connection, and its configuration.
    pub(super) fn acceptor(&self) -> (TlsAcceptor, Config) {
        let config = (self.0)(Duration::ZERO);
        (TlsAcceptor::from(Arc::clone(&config.0)), config)
    }

    /// Returns whether the configuration is still the one that a connection was accepted with.
    /// After a change, another client CA may apply.
    pub(super) fn is_current(&self, config: &Config) -> bool {
        Arc::ptr_eq(&(self.0)(CHECK_INTERVAL).0, &config.0)
    }
}

impl Reloader {
    /// Reads the files.
    fn load(settings: Settings) -> Result<Arc<Self>, Error> {
        let certificate = &settings.pair()?.0.place().to_owned();
        // Reads on another thread, because reading may hang: a path may lead to a pipe, or to a
        // file system that does not respond.
        let (sender, receiver) = std::sync::mpsc::channel();
        let read = move || {
            let stamps = stamps(&settings);
            let config = settings.config();
            let _ = sender.send((settings, stamps, config));
        };
        let spawned = thread().spawn(read);
        spawned.map_err(|e| unusable("the TLS certificate", certificate, e))?;
        let (settings, stamps, config) = receiver.recv_timeout(LOAD_TIMEOUT).map_err(|_| {
            let what = "the TLS certificate, its key and the client CA";
            let late = std::io::Error::from(std::io::ErrorKind::TimedOut);
            unusable(what, certificate, late)
        })?;
        Ok(Arc::new(Self {
            settings,
            current: Mutex::new(Current {
                stamps,
                config: config?,
                last_check: Instant::now(),
            }),
            checking: AtomicBool::new(false),
        }))
    }

    /// Checks the files, unless the last check is less than `after` ago, and reads them again if
    /// they have changed.
    ///
    /// The check runs on another thread, because it may hang. Until it ends, and if the new files
    /// are unusable, the last good configuration stays. This function waits up to 20 ms for the
    /// check, so that a connection after a change usually gets the new configuration.
    fn check_after(self: &Arc<Self>, after: Duration) {
        if lock(&self.current).last_check.elapsed() < after || self.checking.swap(true, Relaxed) {
            return;
        }
        let (sender, receiver) = std::sync::mpsc::channel::<()>();
        let background = Arc::clone(self);
        let check = move || {
            background.check();
            drop(sender);
        };
        match thread().spawn(check) {
            // The thread drops `sender` when it is done, which ends the wait at once.
            Ok(_) => _ = receiver.recv_timeout(Duration::from_millis(20)),
            // No thread could be created. The next connection retries.
            Err(_) => self.checking.store(false, Relaxed),
        }
    }

    /// Checks the files, on the checking thread.
    fn check(&self) {
        let stamps = stamps(&self.settings);
        if lock(&self.current).stamps != stamps {
            let config = self.settings.config();
            let mut current = lock(&self.current);
            match config {
                Ok(config) => current.config = config,
                Err(error) => crate::error::warn(&error),
            }
            // Records the stamps even if the files are unusable, so that they are read again only
            // after the next change.
            current.stamps = stamps;
        }
        lock(&self.current).last_check = Instant::now();
        self.checking.store(false, Relaxed);
    }
}

fn thread() -> std::thread::Builder {
    std::thread::Builder::new().name("tallies-tls".to_owned())
}

/// Returns the error of a file that cannot be used.
fn unusable(what: &str, path: &Path, cause: impl Into<error::Cause>) -> Error {
    Error::of_file(&format!("cannot use {what} in"), path, cause)
}
