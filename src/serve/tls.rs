//! HTTPS: certificates from files, read again when these change.

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

/// The files that were named; half of them is an error.
#[derive(Clone, Debug, Default)]
pub(super) struct Files {
    pub(super) certificate: Option<PathBuf>,
    pub(super) key: Option<PathBuf>,
    pub(super) client_ca: Option<PathBuf>,
}

/// All that HTTPS needs.
#[derive(Clone, Debug)]
struct Whole {
    certificate: PathBuf,
    key: PathBuf,
    client_ca: Option<PathBuf>,
}

/// When each file was written last, its length, and which file it is.
type Stamp = Vec<Option<(SystemTime, u64, Option<(u64, u64)>)>>;

/// What new connections are accepted with.
pub(super) struct Tls {
    shared: Arc<Shared>,
}

struct Shared {
    files: Whole,
    current: Mutex<Current>,
    /// Whether a thread is looking at the files just now. One that hangs there keeps the others from doing so, too.
    looking: AtomicBool,
}

struct Current {
    stamp: Stamp,
    config: Arc<ServerConfig>,
    /// How often the files have changed: connections of before are let go.
    made: u64,
    /// When somebody looked last.
    looked: Instant,
}

/// For the requests of a connection files are looked at no more often than this; for a new connection always.
const LOOK: Duration = Duration::from_millis(200);

/// The largest file that is read: certificates and keys take kilobytes.
const MOST_BYTES: u64 = 1 << 20;

/// How long a start waits for its files.
const PATIENCE: Duration = Duration::from_secs(10);

impl Files {
    /// Reads the files; `None` where none was named.
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
        // On a thread that may hang: what is behind a path may be a pipe, or a file system that does not answer.
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
        // Named, since a program may have several: the default one would be a panic then.
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

/// The device and the number of a file, where there are such things.
fn id(metadata: &Metadata) -> Option<(u64, u64)> {
    #[cfg(unix)]
    return Some((metadata.dev(), metadata.ino()));
    #[cfg(not(unix))]
    return (metadata, None).1;
}

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

/// A regular file, and not too large a one: opening a pipe would wait for its other end, and a device never ends.
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
    /// For the next connection, and how often the files had changed by then.
    pub(super) fn acceptor(&self) -> (TlsAcceptor, u64) {
        self.look(Duration::ZERO);
        let current = self.shared.lock();
        (TlsAcceptor::from(Arc::clone(&current.config)), current.made)
    }

    /// Whether the files are still those of a connection; else another client CA may be in force.
    pub(super) fn is_current(&self, made: u64) -> bool {
        self.look(LOOK);
        self.shared.lock().made == made
    }

    /// Sees to it that changed files are read, on a thread that may hang; until then, and where they cannot be used, the
    /// last good ones serve. A look waits for a short while, so that a connection that comes after a change has it.
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
            // Ready as soon as the thread ends.
            Ok(_) => _ = told.recv_timeout(Duration::from_millis(20)),
            // No thread to be had: the next connection tries again.
            Err(_) => shared.looking.store(false, Relaxed),
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

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
                Err(error) => crate::error::warn(&error),
            }
            // Whatever they were: they are tried again when they change again.
            current.stamp = stamp;
        }
        self.lock().looked = Instant::now();
        self.looking.store(false, Relaxed);
    }
}
