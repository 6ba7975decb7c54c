//! HTTPS: reads certificates from files, and reads them again when the files change.

use std::fs::Metadata;
use std::io::Read;
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
#[derive(Clone, Debug, Default)]
pub(super) struct Files {
    pub(super) certificate: Option<PathBuf>,
    pub(super) key: Option<PathBuf>,
    pub(super) client_ca: Option<PathBuf>,
}

/// A complete set of files for HTTPS.
#[derive(Clone, Debug)]
struct Whole {
    certificate: PathBuf,
    key: PathBuf,
    client_ca: Option<PathBuf>,
}

/// The modification time, length and identity of each file.
type Stamp = Vec<Option<(SystemTime, u64, Option<(u64, u64)>)>>;

/// The TLS configuration for new connections.
pub(super) struct Tls {
    shared: Arc<Shared>,
}

/// The state that connections and the checking thread share.
struct Shared {
    /// The paths. Never change.
    files: Whole,
    /// The last good configuration. Written by the checking thread, read by connections.
    current: Mutex<Current>,
    /// Whether a thread is checking the files. Set by a connection, cleared by the checking thread.
    /// While a check hangs, no other one starts.
    looking: AtomicBool,
}

/// The configuration in use, and the result of the last check.
struct Current {
    stamp: Stamp,
    config: Arc<ServerConfig>,
    /// The number of changes so far. Connections from before a change close after their next
    /// request.
    made: u64,
    /// The end of the last check.
    looked: Instant,
}

/// The minimum time between checks of the files for requests on existing connections. A new
/// connection always checks.
const LOOK: Duration = Duration::from_millis(200);

/// The maximum size of a file. Certificates and keys take kilobytes.
const MOST_BYTES: u64 = 1 << 20;

/// The maximum time that a start waits for the files to be read.
const PATIENCE: Duration = Duration::from_secs(10);

impl Files {
    /// Reads the files. Returns `None` if the user named no files.
    pub(super) fn load(&self) -> Result<Option<Tls>, Error> {
        let missing = |what: &str, given: &str| {
            Err(Error::service(&format!(
                "TLS has a {given} and no {what}: give both, or neither"
            )))
        };
        let files = match (&self.certificate, &self.key, &self.client_ca) {
            (None, None, None) => return Ok(None),
            (Some(certificate), Some(key), client_ca) => Whole {
                certificate: certificate.clone(),
                key: key.clone(),
                client_ca: client_ca.clone(),
            },
            (Some(_), None, _) => return missing("key", "certificate"),
            (None, Some(_), _) => return missing("certificate", "key"),
            (None, None, Some(_)) => return missing("certificate", "client CA"),
        };
        // Reads on another thread, because reading may hang: a path may lead to a pipe, or to a
        // file system that does not respond.
        let (tell, told) = std::sync::mpsc::channel();
        let path = files.certificate.clone();
        let read = move || {
            let stamp = files.stamp();
            let config = files.config();
            let _ = tell.send((files, stamp, config));
        };
        let spawned = std::thread::Builder::new()
            .name("tallies-tls".to_owned())
            .spawn(read);
        spawned.map_err(|e| Error::file("the TLS certificate", &path, e))?;
        let (files, stamp, config) = told.recv_timeout(PATIENCE).map_err(|_| {
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
            made: 0,
            looked: Instant::now(),
        };
        Ok(Some(Tls {
            shared: Arc::new(Shared {
                files,
                current: Mutex::new(current),
                looking: AtomicBool::new(false),
            }),
        }))
    }
}

impl Whole {
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
            Some((metadata.modified().ok()?, metadata.len(), id(&metadata)))
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
fn id(metadata: &Metadata) -> Option<(u64, u64)> {
    #[cfg(unix)]
    return Some((metadata.dev(), metadata.ino()));
    #[cfg(not(unix))]
    return (metadata, None).1;
}

/// Reads a PEM file with at least one certificate.
fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let bytes = read(path).map_err(|e| Error::file("the certificate", path, e))?;
    let all = CertificateDer::pem_slice_iter(&bytes)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|e| Error::file("the certificate", path, e))?;
    if all.is_empty() {
        let none = std::io::Error::other("it holds no certificate in PEM form");
        return Err(Error::file("the certificate", path, none));
    }
    Ok(all)
}

/// Reads a regular file of at most 1 MiB. Opening a pipe would wait for its other end, and a device
/// may never end.
fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut options = std::fs::OpenOptions::new();
    options.read(true);
    #[cfg(any(target_os = "linux", target_os = "android"))]
    std::os::unix::fs::OpenOptionsExt::custom_flags(
        &mut options,
        rustix::fs::OFlags::NONBLOCK.bits().cast_signed(),
    );
    let file = options.open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(std::io::Error::other("it is no regular file"));
    }
    let mut bytes = Vec::new();
    file.take(MOST_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MOST_BYTES {
        return Err(std::io::Error::other("it is larger than 1 MiB"));
    }
    Ok(bytes)
}

impl Tls {
    /// Returns the acceptor for a new connection, and the number of changes so far.
    pub(super) fn acceptor(&self) -> (TlsAcceptor, u64) {
        self.look(Duration::ZERO);
        let current = self.shared.lock();
        (TlsAcceptor::from(Arc::clone(&current.config)), current.made)
    }

    /// Returns whether the configuration is still the one that a connection was accepted with.
    /// After a change, another client CA may apply.
    pub(super) fn is_current(&self, made: u64) -> bool {
        self.look(LOOK);
        self.shared.lock().made == made
    }

    /// Checks the files, unless the last check is less than `after` ago, and reads them again if
    /// they have changed.
    ///
    /// The check runs on another thread, because it may hang. Until it ends, and if the new files
    /// are unusable, the last good configuration stays. This function waits up to 20 ms for the
    /// check, so that a connection after a change usually gets the new configuration.
    fn look(&self, after: Duration) {
        let shared = &self.shared;
        if shared.lock().looked.elapsed() < after || shared.looking.swap(true, Relaxed) {
            return;
        }
        let (tell, told) = std::sync::mpsc::channel::<()>();
        let looking = Arc::clone(shared);
        let look = move || {
            looking.look();
            drop(tell);
        };
        let thread = std::thread::Builder::new().name("tallies-tls".to_owned());
        match thread.spawn(look) {
            // The thread drops `tell` when it is done, which ends the wait at once.
            Ok(_) => _ = told.recv_timeout(Duration::from_millis(20)),
            // No thread could be created. The next connection retries.
            Err(_) => shared.looking.store(false, Relaxed),
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Checks the files, on the checking thread.
    fn look(&self) {
        let stamp = self.files.stamp();
        if self.lock().stamp != stamp {
            let config = self.files.config();
            let mut current = self.lock();
            match config {
                Ok(config) => {
                    current.config = config;
                    current.made += 1;
                }
                Err(error) => crate::error::report(&error),
            }
            // Records the stamp even if the files are unusable, so that they are read again only
            // after the next change.
            current.stamp = stamp;
        }
        self.lock().looked = Instant::now();
        self.looking.store(false, Relaxed);
    }
}
