//! TLS of the web configuration.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio_rustls::rustls::client::danger::HandshakeSignatureValid;
use tokio_rustls::rustls::client::verify_server_name;
use tokio_rustls::rustls::crypto::{
    CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature,
};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio_rustls::rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use tokio_rustls::rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{
    DigitallySignedStruct, DistinguishedName, Error as TlsError, RootCertStore, ServerConfig,
    SignatureScheme, SupportedProtocolVersion,
};

use crate::error::Error;
use crate::serve::tls::read;

/// PEM, in a file or in the configuration itself.
pub(super) enum Pem {
    File(PathBuf),
    Inline(String),
}

/// Whether clients present a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ClientAuth {
    None,
    /// Any certificate, of whose key the client is the owner.
    Any,
    VerifyIfGiven,
    Verify,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Version {
    Tls12,
    Tls13,
}

pub(super) struct TlsSettings {
    pub(super) certificate: Pem,
    pub(super) key: Pem,
    pub(super) client_ca: Option<Pem>,
    pub(super) auth: ClientAuth,
    pub(super) min: Version,
    pub(super) max: Version,
    /// The names of which a client certificate needs one. Empty: no certificate is asked for names.
    sans: Vec<ServerName<'static>>,
    provider: CryptoProvider,
    /// Whether `provider` has only the suites, or the curves, that the file names.
    own_suites: bool,
    own_curves: bool,
}

impl Default for TlsSettings {
    fn default() -> Self {
        Self {
            certificate: Pem::Inline(String::new()),
            key: Pem::Inline(String::new()),
            client_ca: None,
            auth: ClientAuth::None,
            min: Version::Tls12,
            max: Version::Tls13,
            sans: Vec::new(),
            provider: ring::default_provider(),
            own_suites: false,
            own_curves: false,
        }
    }
}

impl Pem {
    fn path(&self) -> Option<&Path> {
        match self {
            Self::File(path) => Some(path),
            Self::Inline(_) => None,
        }
    }

    /// Returns the place that errors name.
    fn place(&self) -> &Path {
        self.path().unwrap_or(Path::new("the web configuration"))
    }

    fn bytes(&self, what: &'static str) -> Result<Vec<u8>, Error> {
        match self {
            Self::File(path) => read(path).map_err(|e| Error::file(what, path, e)),
            Self::Inline(text) => Ok(text.as_bytes().to_vec()),
        }
    }

    fn certificates(&self, what: &'static str) -> Result<Vec<CertificateDer<'static>>, Error> {
        let bytes = self.bytes(what)?;
        let all = CertificateDer::pem_slice_iter(&bytes).collect::<Result<Vec<_>, _>>();
        let all = all.map_err(|e| Error::file(what, self.place(), e))?;
        if all.is_empty() {
            let none = std::io::Error::other("there is no certificate in PEM format");
            return Err(Error::file(what, self.place(), none));
        }
        Ok(all)
    }
}

impl TlsSettings {
    /// Returns the files that the configuration is read from.
    pub(super) fn files(&self) -> impl Iterator<Item = &Path> {
        [
            Some(&self.certificate),
            Some(&self.key),
            self.client_ca.as_ref(),
        ]
        .into_iter()
        .flatten()
        .filter_map(Pem::path)
    }

    /// Admits client certificates with this name.
    pub(super) fn allow(&mut self, name: &str) -> Result<(), ()> {
        let name = ServerName::try_from(name.to_owned()).map_err(|_| ())?;
        self.sans.push(name);
        Ok(())
    }

    /// Returns whether client certificates need one of some names.
    pub(super) fn has_names(&self) -> bool {
        !self.sans.is_empty()
    }

    /// Admits a cipher suite of TLS 1.2, by its name in Go. Those of TLS 1.3 are always admitted, as
    /// they are in Go.
    pub(super) fn allow_suite(&mut self, name: &str) -> Result<(), ()> {
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
        let named = named.ok_or(())?;
        if !self.own_suites {
            self.own_suites = true;
            self.provider
                .cipher_suites
                .retain(|suite| suite.tls13().is_some());
        }
        if !self.provider.cipher_suites.contains(&named) {
            self.provider.cipher_suites.push(named);
        }
        Ok(())
    }

    /// Admits a curve, by its name in Go. The first one is preferred.
    pub(super) fn prefer_curve(&mut self, name: &str) -> Result<(), ()> {
        let own = match name {
            "CurveP256" => "secp256r1",
            "CurveP384" => "secp384r1",
            "X25519" => "X25519",
            _ => return Err(()),
        };
        let all = ring::default_provider().kx_groups;
        let named = all
            .into_iter()
            .find(|group| format!("{:?}", group.name()) == own);
        let named = named.ok_or(())?;
        if !self.own_curves {
            self.own_curves = true;
            self.provider.kx_groups.clear();
        }
        self.provider.kx_groups.push(named);
        Ok(())
    }

    fn versions(&self) -> Vec<&'static SupportedProtocolVersion> {
        let all = [(Version::Tls12, &TLS12), (Version::Tls13, &TLS13)];
        let used = all
            .into_iter()
            .filter(|(own, _)| (self.min..=self.max).contains(own));
        used.map(|(_, version)| version).collect()
    }

    /// Reads the certificates and returns the configuration.
    pub(super) fn config(&self) -> Result<Arc<ServerConfig>, Error> {
        let what = "the TLS certificate";
        let chain = self.certificate.certificates(what)?;
        let failed = |e: TlsError| Error::file(what, self.certificate.place(), e);
        let key = self.key.bytes("the TLS key")?;
        let key = PrivateKeyDer::from_pem_slice(&key)
            .map_err(|e| Error::file("the TLS key", self.key.place(), e))?;
        let provider = Arc::new(self.provider.clone());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&self.versions())
            .map_err(failed)?;
        let builder = match self.verifier(provider)? {
            None => builder.with_no_client_auth(),
            Some(verifier) => builder.with_client_cert_verifier(verifier),
        };
        let mut config = builder.with_single_cert(chain, key).map_err(failed)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
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
                    roots
                        .add(certificate)
                        .map_err(|e| Error::file(what, ca.place(), e))?;
                }
                let builder = WebPkiClientVerifier::builder_with_provider(
                    Arc::new(roots),
                    Arc::clone(&provider),
                );
                let builder = match auth {
                    ClientAuth::VerifyIfGiven => builder.allow_unauthenticated(),
                    _ => builder,
                };
                let verifier = builder.build();
                Some(verifier.map_err(|e| Error::file(what, ca.place(), e))?)
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
        self.chain
            .as_ref()
            .map_or(&[], |chain| chain.root_hint_subjects())
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
                return Err(TlsError::General(
                    "the client certificate has none of the allowed names".to_owned(),
                ));
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
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}
