//! HTTPS: reads certificates from files, and reads them again when the files change.

use std::fs::Metadata;
#[cfg(unix)]
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

use crate::error::Error;

/// The files that the user named. A certificate without a key, or the reverse, is an error.
#[derive(Clone, Default)]
pub(super) struct Files {
    pub(super) certificate: Option<PathBuf>,
    pub(super) key: Option<PathBuf>,
    pub(super) client_ca: Option<PathBuf>,
    /// Where configurations come from instead, in an exporter.
    pub(super) given: Option<Arc<dyn TlsSource>>,
}

/// Gives the TLS configuration for new connections. The program replaces it when it wants to.
pub(crate) trait TlsSource: Send + Sync {
    /// Returns the configuration in use and the number of changes so far.
    fn current(&self) -> (Arc<ServerConfig>, u64);
}

/// A complete set of files for HTTPS.
#[derive(Clone, Debug)]
struct CompleteFiles {
    certificate: PathBuf,
    key: PathBuf,
    client_ca: Option<PathBuf>,
}

/// The modification time, length and identity of each file.
type Stamp = Vec<Option<(SystemTime, u64, Option<(u64, u64)>)>>;

/// The TLS configuration for new connections.
pub(super) enum Tls {
    Files(Arc<Reloader>),
    Given(Arc<dyn TlsSource>),
}

/// The state that connections and the checking thread share.
pub(super) struct Reloader {
    /// The paths. Never change.
    files: CompleteFiles,
    /// The last good configuration. Written by the checking thread, read by connections.
    current: Mutex<Current>,
    /// Whether a thread is checking the files. Set by a connection, cleared by the checking thread.
    /// While a check hangs, no other one starts.
    checking: AtomicBool,
}

/// The configuration in use, and the result of the last check.
struct Current {
    stamp: Stamp,
    config: Arc<ServerConfig>,
    /// The number of changes so far. Connections from before a change close after their next
    /// request.
    version: u64,
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
            return Ok(Some(Tls::Given(Arc::clone(given))));
        }
        let files = match (&self.certificate, &self.key, &self.client_ca) {
            (None, None, None) => return Ok(None),
            (Some(certificate), Some(key), client_ca) => CompleteFiles {
                certificate: certificate.clone(),
                key: key.clone(),
                client_ca: client_ca.clone(),
            },
            (Some(_), None, _) => {
                return Err(Error::service("TLS has a certificate but no key; set both"));
            }
            (None, Some(_), _) => {
                return Err(Error::service("TLS has a key but no certificate; set both"));
            }
            (None, None, Some(_)) => {
                return Err(Error::service(
                    "TLS has a client CA but no certificate and key; set all three",
                ));
            }
        };
        // Reads on another thread, because reading may hang: a path may lead to a pipe, or to a
        // file system that does not respond.
        let (sender, receiver) = std::sync::mpsc::channel();
        let path = files.certificate.clone();
        let read = move || {
            let stamp = files.stamp();
            let config = files.config();
            let _ = sender.send((files, stamp, config));
        };
        let spawned = std::thread::Builder::new()
            .name("tallies-tls".to_owned())
            .spawn(read);
        spawned.map_err(|e| Error::file("the TLS certificate", &path, e))?;
        let (files, stamp, config) = receiver.recv_timeout(LOAD_TIMEOUT).map_err(|_| {
            let late = std::io::Error::from(std::io::ErrorKind::TimedOut);
            Error::file(
                "the TLS certificate, its key and the client CA",
                &path,
                late,
            )
        })?;
        let current = Current {
            stamp,
            config: config?,
            version: 0,
            last_check: Instant::now(),
        };
        Ok(Some(Tls::Files(Arc::new(Reloader {
            files,
            current: Mutex::new(current),
            checking: AtomicBool::new(false),
        }))))
    }
}

impl CompleteFiles {
    fn stamp(&self) -> Stamp {
        [
            Some(&self.certificate),
            Some(&self.key),
            self.client_ca.as_ref(),
        ]
        .into_iter()
        .flatten()
        .map(|path| {
            let metadata = std::fs::metadata(path).ok()?;
            Some((
                metadata.modified().ok()?,
                metadata.len(),
                file_id(&metadata),
            ))
        })
        .collect()
    }

    fn config(&self) -> Result<Arc<ServerConfig>, Error> {
        // Names the provider, because rustls panics when it has to pick a default among several.
        let provider = Arc::new(ring::default_provider());
        let chain = certificates(&self.certificate)?;
        let key = read(&self.key).map_err(|e| Error::file("the TLS key", &self.key, e))?;
        let key = PrivateKeyDer::from_pem_slice(&key)
            .map_err(|e| Error::file("the TLS key", &self.key, e))?;
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|e| Error::file("the TLS certificate", &self.certificate, e))?;
        let builder = match &self.client_ca {
            None => builder.with_no_client_auth(),
            Some(path) => {
                let mut roots = RootCertStore::empty();
                for certificate in certificates(path)? {
                    roots
                        .add(certificate)
                        .map_err(|e| Error::file("the client CA", path, e))?;
                }
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                        .build()
                        .map_err(|e| Error::file("the client CA", path, e))?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let mut config = builder
            .with_single_cert(chain, key)
            .map_err(|e| Error::file("the TLS certificate", &self.certificate, e))?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}

/// Returns the device and inode of a file, on systems that have them.
fn file_id(metadata: &Metadata) -> Option<(u64, u64)> {
    #[cfg(unix)]
    return Some((metadata.dev(), metadata.ino()));
    #[cfg(not(unix))]
    return (metadata, None).1;
}

/// Reads a PEM file with at least one certificate.
pub(crate) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let bytes = read(path).map_err(|e| Error::file("the certificate", path, e))?;
    let all = CertificateDer::pem_slice_iter(&bytes)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|e| Error::file("the certificate", path, e))?;
    if all.is_empty() {
        let none = std::io::Error::other("the file has no certificate in PEM format");
        return Err(Error::file("the certificate", path, none));
    }
    Ok(all)
}

/// Reads a file with certificates or a key, which take kilobytes.
pub(crate) fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    crate::file::read(path, 1)
}

impl Tls {
    /// Returns the acceptor for a new connection, and the number of changes so far.
    pub(super) fn acceptor(&self) -> (TlsAcceptor, u64) {
        let (config, version) = match self {
            Self::Files(reloader) => {
                reloader.check_after(Duration::ZERO);
                let current = reloader.lock();
                (Arc::clone(&current.config), current.version)
            }
            Self::Given(source) => source.current(),
        };
        (TlsAcceptor::from(config), version)
    }

    /// Returns whether the configuration is still the one that a connection was accepted with.
    /// After a change, another client CA may apply.
    pub(super) fn is_current(&self, version: u64) -> bool {
        match self {
            Self::Files(reloader) => {
                reloader.check_after(CHECK_INTERVAL);
                reloader.lock().version == version
            }
            Self::Given(source) => source.current().1 == version,
        }
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
        let stamp = self.files.stamp();
        if self.lock().stamp != stamp {
            let config = self.files.config();
            let mut current = self.lock();
            match config {
                Ok(config) => {
                    current.config = config;
                    current.version += 1;
                }
                Err(error) => crate::error::warn(&error),
            }
            // Records the stamp even if the files are unusable, so that they are read again only
            // after the next change.
            current.stamp = stamp;
        }
        self.lock().last_check = Instant::now();
        self.checking.store(false, Relaxed);
    }
}
