//! HTTPS: certificates from files, read again when these change.

use std::fs::Metadata;
#[cfg(unix)]
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

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
#[derive(Debug)]
struct Whole {
    certificate: PathBuf,
    key: PathBuf,
    client_ca: Option<PathBuf>,
}

/// When each file was written last, its length, and which file it is.
type Stamp = Vec<Option<(SystemTime, u64, Option<(u64, u64)>)>>;

/// What new connections are accepted with.
pub(super) struct Tls {
    files: Whole,
    current: Mutex<(Stamp, Arc<ServerConfig>)>,
}

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
        let stamp = files.stamp();
        let config = files.config()?;
        Ok(Some(Tls {
            files,
            current: Mutex::new((stamp, config)),
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
        let key = PrivateKeyDer::from_pem_file(&self.key)
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
    let read = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|e| Error::file("the certificate", path, e))?;
    if read.is_empty() {
        let none = std::io::Error::other("it holds no certificate in PEM form");
        return Err(Error::file("the certificate", path, none));
    }
    Ok(read)
}

impl Tls {
    /// For the next connection: with new files where they have changed, and can be used. Where they cannot, the last good
    /// ones stay, and it is said once for each change.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let stamp = self.files.stamp();
        if current.0 != stamp {
            match self.files.config() {
                Ok(config) => current.1 = config,
                Err(error) => crate::error::report(&error),
            }
            // Whatever they were: they are tried again when they change again.
            current.0 = stamp;
        }
        TlsAcceptor::from(Arc::clone(&current.1))
    }
}
