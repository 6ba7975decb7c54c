//! The settings of TLS, and the configuration that is made of them.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tallies_names::read_file;
use tokio_rustls::rustls::client::danger::HandshakeSignatureValid;
use tokio_rustls::rustls::client::verify_server_name;
use tokio_rustls::rustls::crypto::{
    CryptoProvider, SupportedKxGroup, ring, verify_tls12_signature, verify_tls13_signature,
};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio_rustls::rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use tokio_rustls::rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{
    DigitallySignedStruct, DistinguishedName, Error as TlsError, RootCertStore, ServerConfig,
    SignatureScheme, SupportedCipherSuite, SupportedProtocolVersion,
};

use crate::error::Error;

use super::unusable;

/// A configuration of TLS, which was checked. A clone is the same one.
#[derive(Clone)]
pub struct Config(pub(super) Arc<ServerConfig>);

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config").finish_non_exhaustive()
    }
}

/// Certificates or a key in PEM.
#[derive(Clone)]
#[non_exhaustive]
pub enum Pem {
    /// In a file.
    File(PathBuf),
    /// As text.
    Inline {
        /// The text.
        text: String,
        /// Where it is from, for errors.
        place: PathBuf,
    },
}

// The text may be a key.
impl fmt::Debug for Pem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Pem").field(&self.place()).finish()
    }
}

/// Whether clients present a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClientAuth {
    /// They are not asked for one.
    None,
    /// Any certificate, of whose key the client is the owner.
    Any,
    /// None, or one of the client CA.
    VerifyIfGiven,
    /// One of the client CA.
    Verify,
}

/// The versions of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Version {
    /// TLS 1.2.
    Tls12,
    /// TLS 1.3.
    Tls13,
}

/// The settings of TLS. See [`Server::tls_source`](crate::serve::Server::tls_source).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Settings {
    /// The certificate chain, the server's own certificate first.
    pub certificate: Option<Pem>,
    /// Its private key.
    pub key: Option<Pem>,
    /// The certificates of CAs, for [`ClientAuth`].
    pub client_ca: Option<Pem>,
    /// Whether clients present a certificate.
    pub auth: ClientAuth,
    /// The oldest version that is spoken.
    pub min: Version,
    /// The newest version that is spoken.
    pub max: Version,
    /// The names of which a client certificate needs one. Empty: no certificate is asked for names.
    sans: Vec<ServerName<'static>>,
    /// The cipher suites that were named. Empty: all.
    suites: Vec<SupportedCipherSuite>,
    /// The curves that were named. Empty: all.
    curves: Vec<&'static dyn SupportedKxGroup>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            certificate: None,
            key: None,
            client_ca: None,
            auth: ClientAuth::None,
            min: Version::Tls12,
            max: Version::Tls13,
            sans: Vec::new(),
            suites: Vec::new(),
            curves: Vec::new(),
        }
    }
}

impl Pem {
    /// Returns the place that errors name.
    pub(super) fn place(&self) -> &Path {
        match self {
            Self::File(path) | Self::Inline { place: path, .. } => path,
        }
    }

    fn bytes(&self, what: &'static str) -> Result<Vec<u8>, Error> {
        match self {
            // Certificates and keys take kilobytes.
            Self::File(path) => read_file(path, 1).map_err(|e| unusable(what, path, e)),
            Self::Inline { text, .. } => Ok(text.as_bytes().to_vec()),
        }
    }

    fn certificates(&self, what: &'static str) -> Result<Vec<CertificateDer<'static>>, Error> {
        let bytes = self.bytes(what)?;
        let all = CertificateDer::pem_slice_iter(&bytes).collect::<Result<Vec<_>, _>>();
        let all = all.map_err(|e| unusable(what, self.place(), e))?;
        if all.is_empty() {
            let none = std::io::Error::other("there is no certificate in PEM format");
            return Err(unusable(what, self.place(), none));
        }
        Ok(all)
    }
}

impl Settings {
    /// Returns the files that the configuration is read from.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        let all = [&self.certificate, &self.key, &self.client_ca];
        all.into_iter().flatten().filter_map(|pem| match pem {
            Pem::File(path) => Some(path.as_path()),
            Pem::Inline { .. } => None,
        })
    }

    /// Returns the certificate and the key.
    pub(super) fn pair(&self) -> Result<(&Pem, &Pem), Error> {
        let why = match (&self.certificate, &self.key, &self.client_ca) {
            (Some(certificate), Some(key), _) => return Ok((certificate, key)),
            (Some(_), None, _) => "TLS has a certificate but no key; set both",
            (None, Some(_), _) => "TLS has a key but no certificate; set both",
            (None, None, Some(_)) => {
                "TLS has a client CA but no certificate and key; set all three"
            }
            (None, None, None) => "TLS needs a certificate and a key",
        };
        Err(Error::new(why))
    }

    /// Admits client certificates with this name. Returns `false` if it is neither a host name nor
    /// an IP address. Without a call, the names of certificates do not matter.
    #[must_use]
    pub fn allow_name(&mut self, name: &str) -> bool {
        let Ok(name) = ServerName::try_from(name.to_owned()) else {
            return false;
        };
        self.sans.push(name);
        true
    }

    /// Returns whether client certificates need one of some names.
    #[must_use]
    pub fn has_names(&self) -> bool {
        !self.sans.is_empty()
    }

    /// Admits a cipher suite of TLS 1.2, by its name in Go. Those of TLS 1.3 are always admitted,
    /// as they are in Go. Returns `false` if it is not supported.
    #[must_use]
    pub fn allow_suite(&mut self, name: &str) -> bool {
        // Go has two names for these.
        let full = if name.ends_with("_CHACHA20_POLY1305") {
            format!("{name}_SHA256")
        } else {
            name.to_owned()
        };
        let tls13 = full.replacen("TLS_", "TLS13_", 1);
        let all = ring::default_provider().cipher_suites;
        let named = all.into_iter().find(|suite| {
            let own = format!("{:?}", suite.suite());
            own == full || own == tls13
        });
        self.suites.extend(named);
        named.is_some()
    }

    /// Admits a curve, by its name in Go. The first one is preferred. Returns `false` if it is not
    /// supported.
    #[must_use]
    pub fn prefer_curve(&mut self, name: &str) -> bool {
        let own = match name {
            "CurveP256" => "secp256r1",
            "CurveP384" => "secp384r1",
            "X25519" => "X25519",
            _ => return false,
        };
        let mut all = ring::default_provider().kx_groups.into_iter();
        let named = all.find(|group| format!("{:?}", group.name()) == own);
        self.curves.extend(named);
        named.is_some()
    }

    fn provider(&self) -> CryptoProvider {
        let mut provider = ring::default_provider();
        if !self.suites.is_empty() {
            let is_used = |suite: &SupportedCipherSuite| self.suites.contains(suite);
            let suites = &mut provider.cipher_suites;
            suites.retain(|suite| suite.tls13().is_some() || is_used(suite));
        }
        if !self.curves.is_empty() {
            provider.kx_groups.clone_from(&self.curves);
        }
        provider
    }

    fn versions(&self) -> Vec<&'static SupportedProtocolVersion> {
        let all = [(Version::Tls12, &TLS12), (Version::Tls13, &TLS13)].into_iter();
        let used = all.filter(|(own, _)| (self.min..=self.max).contains(own));
        used.map(|(_, version)| version).collect()
    }

    /// Reads the certificates and returns the configuration.
    ///
    /// # Errors
    ///
    /// A certificate or key that is not set, a file that cannot be read, certificates or a key that
    /// cannot be used, and settings of which one would have no effect: a client CA or names without
    /// a way to ask clients for certificates, a way that needs a client CA, without one, and
    /// versions of which none is left.
    pub fn config(&self) -> Result<Config, Error> {
        self.check()?;
        let (certificate, key_pem) = self.pair()?;
        let what = "the TLS certificate";
        let chain = certificate.certificates(what)?;
        let failed = |e: TlsError| unusable(what, certificate.place(), e);
        let key = key_pem.bytes("the TLS key")?;
        let key = PrivateKeyDer::from_pem_slice(&key)
            .map_err(|e| unusable("the TLS key", key_pem.place(), e))?;
        let provider = Arc::new(self.provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&self.versions())
            .map_err(failed)?;
        let builder = match self.verifier(provider)? {
            None => builder.with_no_client_auth(),
            Some(verifier) => builder.with_client_cert_verifier(verifier),
        };
        let mut config = builder.with_single_cert(chain, key).map_err(failed)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Config(Arc::new(config)))
    }

    /// Checks that each setting has an effect: one without would admit whom it should not.
    fn check(&self) -> Result<(), Error> {
        let verifies = matches!(self.auth, ClientAuth::Verify | ClientAuth::VerifyIfGiven);
        let why = if verifies && self.client_ca.is_none() {
            "TLS verifies the certificates of clients, and needs a client CA for that"
        } else if !verifies && self.client_ca.is_some() {
            "TLS has a client CA and does not verify the certificates of clients; set `auth`"
        } else if self.auth == ClientAuth::None && self.has_names() {
            "TLS has names of clients and does not ask them for certificates; set `auth`"
        } else if self.min > self.max {
            "the oldest version of TLS is above the newest one"
        } else {
            return Ok(());
        };
        Err(Error::new(why))
    }

    fn verifier(
        &self,
        provider: Arc<CryptoProvider>,
    ) -> Result<Option<Arc<dyn ClientCertVerifier>>, Error> {
        let chain = match (&self.client_ca, self.auth) {
            (_, ClientAuth::None) => return Ok(None),
            (_, ClientAuth::Any) | (None, _) => None,
            (Some(ca), auth) => {
                let what = "the client CA";
                let mut roots = RootCertStore::empty();
                for certificate in ca.certificates(what)? {
                    let added = roots.add(certificate);
                    added.map_err(|e| unusable(what, ca.place(), e))?;
                }
                let (roots, own) = (Arc::new(roots), Arc::clone(&provider));
                let builder = WebPkiClientVerifier::builder_with_provider(roots, own);
                let builder = match auth {
                    ClientAuth::VerifyIfGiven => builder.allow_unauthenticated(),
                    _ => builder,
                };
                let verifier = builder.build();
                Some(verifier.map_err(|e| unusable(what, ca.place(), e))?)
            }
        };
        Ok(Some(Arc::new(Verifier {
            chain,
            sans: self.sans.clone(),
            provider,
        })))
    }
}

/// Checks the certificates of clients.
#[derive(Debug)]
struct Verifier {
    /// Checks who signed a certificate. `None`: anyone may.
    chain: Option<Arc<dyn ClientCertVerifier>>,
    sans: Vec<ServerName<'static>>,
    provider: Arc<CryptoProvider>,
}

impl ClientCertVerifier for Verifier {
    fn client_auth_mandatory(&self) -> bool {
        let chain = self.chain.as_ref();
        chain.is_none_or(|chain| chain.client_auth_mandatory())
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        let chain = self.chain.as_ref();
        chain.map_or(&[], |chain| chain.root_hint_subjects())
    }

    fn verify_client_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, TlsError> {
        if let Some(chain) = &self.chain {
            chain.verify_client_cert(certificate, intermediates, now)?;
        }
        if !self.sans.is_empty() {
            let parsed = ParsedCertificate::try_from(certificate)?;
            let is_allowed = |name: &ServerName<'_>| verify_server_name(&parsed, name).is_ok();
            if !self.sans.iter().any(is_allowed) {
                let why = "the client certificate has none of the allowed names";
                return Err(TlsError::General(why.to_owned()));
            }
        }
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let algorithms = &self.provider.signature_verification_algorithms;
        algorithms.supported_schemes()
    }
}
