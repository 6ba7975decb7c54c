//! HTTPS: reads certificates from files, and reads them again when the files change.

mod settings;

use std::fs::Metadata;
#[cfg(unix)]
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use tokio_rustls::TlsAcceptor;

use crate::error::{self, Error};

pub use settings::{ClientAuth, Config, Pem, Settings, Version};

/// The files that the user named. A certificate without a key, or the reverse, is an error.
#[derive(Clone, Default)]
pub(super) struct Files {
    pub(super) certificate: Option<PathBuf>,
    pub(super) key: Option<PathBuf>,
    pub(super) client_ca: Option<PathBuf>,
    /// Where configurations come from instead.
    pub(super) given: Option<GivenSource>,
}

/// Returns the configuration for new connections. The program replaces it when it wants to.
type GivenSource = Arc<dyn Fn() -> Config + Send + Sync>;

/// The state of a file, which another one replaces when the file changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamp(Option<FileState>);

/// The state of a file that can be read.
#[derive(Clone, Debug, PartialEq, Eq)]
struct FileState {
    modified: SystemTime,
    length: u64,
    /// The device and the inode.
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
        let state = || {
            let metadata = std::fs::metadata(path).ok()?;
            Some(FileState {
                modified: metadata.modified().ok()?,
                length: metadata.len(),
                id: file_id(&metadata),
            })
        };
        Self(state())
    }
}

/// The TLS configuration for new connections.
pub(super) enum Tls {
    Files(Arc<Reloader>),
    Given(GivenSource),
}

/// The state that connections and the checking thread share.
pub(super) struct Reloader {
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

impl Files {
    /// Reads the files. Returns `None` if the user named no files.
    pub(super) fn load(&self) -> Result<Option<Tls>, Error> {
        if let Some(given) = &self.given {
            if self.certificate.is_some() || self.key.is_some() || self.client_ca.is_some() {
                return Err(Error::new(
                    "TLS has a source of configurations, and files beside it; leave one of them out",
                ));
            }
            return Ok(Some(Tls::Given(Arc::clone(given))));
        }
        let (path, settings) = match (&self.certificate, &self.key, &self.client_ca) {
            (None, None, None) => return Ok(None),
            (Some(certificate), Some(key), client_ca) => {
                let mut settings = Settings::default();
                settings.certificate = Pem::File(certificate.clone());
                settings.key = Pem::File(key.clone());
                if let Some(path) = client_ca {
                    settings.client_ca = Some(Pem::File(path.clone()));
                    settings.auth = ClientAuth::Verify;
                }
                (certificate.clone(), settings)
            }
            (Some(_), None, _) => {
                return Err(Error::new("TLS has a certificate but no key; set both"));
            }
            (None, Some(_), _) => {
                return Err(Error::new("TLS has a key but no certificate; set both"));
            }
            (None, None, Some(_)) => {
                return Err(Error::new(
                    "TLS has a client CA but no certificate and key; set all three",
                ));
            }
        };
        // Reads on another thread, because reading may hang: a path may lead to a pipe, or to a
        // file system that does not respond.
        let (sender, receiver) = std::sync::mpsc::channel();
        let read = move || {
            let stamps = stamps(&settings);
            let config = settings.config();
            let _ = sender.send((settings, stamps, config));
        };
        let spawned = std::thread::Builder::new()
            .name("tallies-tls".to_owned())
            .spawn(read);
        spawned.map_err(|e| unusable("the TLS certificate", &path, e))?;
        let (settings, stamps, config) = receiver.recv_timeout(LOAD_TIMEOUT).map_err(|_| {
            let late = std::io::Error::from(std::io::ErrorKind::TimedOut);
            unusable(
                "the TLS certificate, its key and the client CA",
                &path,
                late,
            )
        })?;
        let current = Current {
            stamps,
            config: config?,
            last_check: Instant::now(),
        };
        Ok(Some(Tls::Files(Arc::new(Reloader {
            settings,
            current: Mutex::new(current),
            checking: AtomicBool::new(false),
        }))))
    }
}

fn stamps(settings: &Settings) -> Vec<Stamp> {
    settings.files().map(Stamp::of).collect()
}

/// Returns the device and inode of a file, on systems that have them.
fn file_id(metadata: &Metadata) -> Option<(u64, u64)> {
    #[cfg(unix)]
    return Some((metadata.dev(), metadata.ino()));
    #[cfg(not(unix))]
    return (metadata, None).1;
}

impl Tls {
    /// Returns the acceptor for a new connection, and its configuration.
    pub(super) fn acceptor(&self) -> (TlsAcceptor, Config) {
        let config = match self {
            Self::Files(reloader) => {
                reloader.check_after(Duration::ZERO);
                reloader.lock().config.clone()
            }
            Self::Given(source) => source(),
        };
        (TlsAcceptor::from(Arc::clone(&config.0)), config)
    }

    /// Returns whether the configuration is still the one that a connection was accepted with.
    /// After a change, another client CA may apply.
    pub(super) fn is_current(&self, config: &Config) -> bool {
        let current = match self {
            Self::Files(reloader) => {
                reloader.check_after(CHECK_INTERVAL);
                reloader.lock().config.clone()
            }
            Self::Given(source) => source(),
        };
        Arc::ptr_eq(&current.0, &config.0)
    }
}

impl Reloader {
    fn lock(&self) -> MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Checks the files, unless the last check is less than `after` ago, and reads them again if
    /// they have changed.
    ///
    /// The check runs on another thread, because it may hang. Until it ends, and if the new files
    /// are unusable, the last good configuration stays. This function waits up to 20 ms for the
    /// check, so that a connection after a change usually gets the new configuration.
    fn check_after(self: &Arc<Self>, after: Duration) {
        if self.lock().last_check.elapsed() < after || self.checking.swap(true, Relaxed) {
            return;
        }
        let (sender, receiver) = std::sync::mpsc::channel::<()>();
        let background = Arc::clone(self);
        let check = move || {
            background.check();
            drop(sender);
        };
        let thread = std::thread::Builder::new().name("tallies-tls".to_owned());
        match thread.spawn(check) {
            // The thread drops `sender` when it is done, which ends the wait at once.
            Ok(_) => _ = receiver.recv_timeout(Duration::from_millis(20)),
            // No thread could be created. The next connection retries.
            Err(_) => self.checking.store(false, Relaxed),
        }
    }

    /// Checks the files, on the checking thread.
    fn check(&self) {
        let stamps = stamps(&self.settings);
        if self.lock().stamps != stamps {
            let config = self.settings.config();
            let mut current = self.lock();
            match config {
                Ok(config) => current.config = config,
                Err(error) => crate::error::warn(&error),
            }
            // Records the stamps even if the files are unusable, so that they are read again only
            // after the next change.
            current.stamps = stamps;
        }
        self.lock().last_check = Instant::now();
        self.checking.store(false, Relaxed);
    }
}

/// Returns the error of a file that cannot be used.
fn unusable(what: &str, path: &Path, cause: impl Into<error::Cause>) -> Error {
    Error::of_file(&format!("cannot use {what} in"), path, cause)
}
