//! Access control: TLS with certificates that change, client certificates, passwords and tokens.

use std::io;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::support::eventually;
use crate::support::http::{Answer, connect, exchange, get, request, try_get};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tallies::{
    Registry,
    serve::{Server, Serving},
};
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

fn server() -> Server {
    let registry = Registry::new();
    registry.counter("served_total", "Served.").unwrap();
    Server::new().registry(&registry)
}

/// Creates a directory for one test's files.
fn folder(name: &str) -> PathBuf {
    let dir =
        PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    dir
}

/// A certificate authority, and the file with its certificate.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    file: PathBuf,
}

impl Authority {
    fn new(dir: &Path, name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let file = dir.join(name);
        std::fs::write(&file, params.self_signed(&key).unwrap().pem()).unwrap();
        Self {
            issuer: Issuer::new(params, key),
            file,
        }
    }

    /// A new certificate and its key, as PEM.
    fn pair(&self) -> (String, String) {
        let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        (certificate.pem(), key.serialize_pem())
    }
}

/// Replaces a file atomically, as a deployment of certificates should, and moves its modification
/// time forward.
fn replace(path: &Path, text: &str) {
    replace_after(path, text, Duration::from_secs(2));
}

/// Like `replace`, with a modification time that is `later` than the old file's.
fn replace_after(path: &Path, text: &str, later: Duration) {
    let before = std::fs::metadata(path).and_then(|m| m.modified()).ok();
    let new = path.with_extension("new");
    std::fs::write(&new, text).unwrap();
    if let Some(before) = before {
        let file = std::fs::File::options().write(true).open(&new).unwrap();
        file.set_modified(before + later).unwrap();
    }
    std::fs::rename(new, path).unwrap();
}

/// Scrapes over TLS. Trusts the authority in `trusted` and presents the client certificate, if
/// there is one.
fn ask(serving: &Serving, trusted: &Path, own: Option<&(String, String)>) -> io::Result<Answer> {
    let request = request("GET", "/metrics", &[]);
    exchange(session(serving, trusted, own), &request)
}

/// Opens a TLS session like [`ask`].
fn session(
    serving: &Serving,
    trusted: &Path,
    own: Option<&(String, String)>,
) -> StreamOwned<ClientConnection, TcpStream> {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_file(trusted).unwrap())
        .unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let config = match own {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => builder
            .with_client_auth_cert(
                vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()],
                PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap(),
            )
            .unwrap(),
    };
    let name = "localhost".try_into().unwrap();
    let client = ClientConnection::new(Arc::new(config), name).unwrap();
    StreamOwned::new(client, connect(serving))
}

#[test]
fn https_with_certificates_that_change() {
    let dir = folder("reload");
    let (old, new) = (
        Authority::new(&dir, "old.pem"),
        Authority::new(&dir, "new.pem"),
    );
    let (certificate, key) = (dir.join("tls.crt"), dir.join("tls.key"));
    let write = |(c, k): (String, String)| {
        replace(&certificate, &c);
        replace(&key, &k);
    };
    write(old.pair());
    let serving = server()
        .certificate(&certificate)
        .private_key(&key)
        .listen("127.0.0.1:0")
        .unwrap();
    assert_eq!(
        serving.metrics_url(),
        format!("https://{}/metrics", serving.address())
    );
    let works = |authority: &Authority| {
        ask(&serving, &authority.file, None).is_ok_and(|a| a.status() == 200)
    };
    assert!(works(&old) && !works(&new));
    // A client that does not speak TLS fails, without an effect on others.
    let plain = try_get(&serving, "/metrics");
    assert!(plain.map_or(true, |answer| !answer.head.starts_with("HTTP")));
    assert!(works(&old));
    // With only one of the two files replaced, or with an invalid file, the old pair remains in
    // use.
    let pair = new.pair();
    replace(&certificate, &pair.0);
    assert!(works(&old) && !works(&new));
    replace(&key, "nonsense");
    assert!(works(&old));
    replace(&key, &pair.1);
    assert!(works(&new) && !works(&old));
    std::fs::remove_file(&certificate).unwrap();
    assert!(works(&new), "the last good one stays");
    write(old.pair());
    assert!(works(&old));
    // A changed file is detected even if its length and modification time are the same, as they may
    // be when it comes from an archive.
    let len = |path: &Path| std::fs::metadata(path).unwrap().len();
    let same = |(c, k): &(String, String)| {
        (c.len() as u64, k.len() as u64) == (len(&certificate), len(&key))
    };
    let pair = std::iter::repeat_with(|| new.pair()).find(same).unwrap();
    replace_after(&certificate, &pair.0, Duration::ZERO);
    replace_after(&key, &pair.1, Duration::ZERO);
    assert!(works(&new) && !works(&old));
    serving.stop();
}

#[test]
fn client_certificates() {
    let dir = folder("clients");
    let (ours, theirs) = (
        Authority::new(&dir, "ours.pem"),
        Authority::new(&dir, "theirs.pem"),
    );
    let (certificate, key) = (dir.join("tls.crt"), dir.join("tls.key"));
    let pair = ours.pair();
    std::fs::write(&certificate, &pair.0).unwrap();
    std::fs::write(&key, &pair.1).unwrap();
    let serving = server()
        .certificate(&certificate)
        .private_key(&key)
        .client_ca(&ours.file)
        .listen("127.0.0.1:0")
        .unwrap();
    let served = |own: Option<&(String, String)>| {
        ask(&serving, &ours.file, own).is_ok_and(|answer| answer.head.starts_with("HTTP/1.1 200"))
    };
    assert!(served(Some(&ours.pair())));
    assert!(!served(None), "without a certificate");
    assert!(!served(Some(&theirs.pair())), "with somebody else's");
    assert!(served(Some(&ours.pair())));
    serving.stop();
}

/// An open connection used to be served for as long as it lasted, even after its client's CA was
/// withdrawn.
#[test]
fn a_client_whose_ca_is_withdrawn_is_disconnected() {
    let dir = folder("withdrawn");
    let (ours, others) = (
        Authority::new(&dir, "ours.pem"),
        Authority::new(&dir, "others.pem"),
    );
    let (certificate, key, ca) = (dir.join("tls.crt"), dir.join("tls.key"), dir.join("ca.crt"));
    let pair = ours.pair();
    replace(&certificate, &pair.0);
    replace(&key, &pair.1);
    replace(&ca, &std::fs::read_to_string(&ours.file).unwrap());
    let serving = server()
        .certificate(&certificate)
        .private_key(&key)
        .client_ca(&ca)
        .listen("127.0.0.1:0")
        .unwrap();
    let mut session = session(&serving, &ours.file, Some(&ours.pair()));
    let mut ask = || -> std::io::Result<String> {
        use std::io::{Read, Write};
        session.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")?;
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            let mut byte = [0];
            session.read_exact(&mut byte)?;
            head.push(char::from(byte[0]));
        }
        let length = head.to_ascii_lowercase();
        let length = length.split("content-length: ").nth(1).unwrap();
        let length: usize = length.lines().next().unwrap().parse().unwrap();
        session.read_exact(&mut vec![0; length])?;
        Ok(head)
    };
    assert!(!ask().unwrap().contains("connection: close"));
    replace(&ca, &std::fs::read_to_string(&others.file).unwrap());
    let is_last = |head: String| head.contains("connection: close");
    eventually("the end of the connection", || ask().map_or(true, is_last));
    assert!(ask().is_err());
    serving.stop();
}

/// With a named pipe for a certificate, the next connection used to wait forever for a writer, and
/// all other connections with it.
#[cfg(target_os = "linux")]
#[test]
fn a_certificate_that_is_a_pipe_does_not_block() {
    let dir = folder("pipe");
    let ours = Authority::new(&dir, "ours.pem");
    let (certificate, key) = (dir.join("tls.crt"), dir.join("tls.key"));
    let pair = ours.pair();
    std::fs::write(&certificate, &pair.0).unwrap();
    std::fs::write(&key, &pair.1).unwrap();
    let serving = server()
        .certificate(&certificate)
        .private_key(&key)
        .listen("127.0.0.1:0")
        .unwrap();
    let works = || ask(&serving, &ours.file, None).is_ok_and(|answer| answer.status() == 200);
    assert!(works());
    for odd in ["pipe", "device", "large"] {
        let other = dir.join(odd);
        match odd {
            "pipe" => {
                let made = std::process::Command::new("mkfifo").arg(&other).status();
                assert!(made.unwrap().success());
            }
            "device" => std::os::unix::fs::symlink("/dev/zero", &other).unwrap(),
            _ => std::fs::File::create(&other)
                .unwrap()
                .set_len(20 << 30)
                .unwrap(),
        }
        std::fs::rename(&other, &certificate).unwrap();
        assert!(works() && works(), "{odd}: the last good one serves");
        // The service does not start with such a file, either.
        let error = server()
            .certificate(&certificate)
            .private_key(&key)
            .listen("127.0.0.1:0");
        let error = error.unwrap_err().to_string();
        assert!(error.contains("tls.crt"), "{error}");
    }
    serving.stop();
}

#[test]
fn half_a_configuration_is_an_error() {
    let dir = folder("half");
    let authority = Authority::new(&dir, "ca.pem");
    let (certificate, key, other) = (dir.join("a.crt"), dir.join("a.key"), dir.join("b.key"));
    let pair = authority.pair();
    std::fs::write(&certificate, &pair.0).unwrap();
    std::fs::write(&key, &pair.1).unwrap();
    std::fs::write(&other, authority.pair().1).unwrap();
    let nothing = dir.join("nothing");
    let empty = dir.join("empty");
    std::fs::write(&empty, "").unwrap();
    for (server, says) in [
        (server().certificate(&certificate), "no key"),
        (server().private_key(&key), "no certificate"),
        (server().client_ca(&authority.file), "no certificate"),
        (
            server()
                .certificate(&certificate)
                .client_ca(&authority.file),
            "no key",
        ),
        (server().certificate(&nothing).private_key(&key), "nothing"),
        (server().certificate(&empty).private_key(&key), "empty"),
        (
            server().certificate(&certificate).private_key(&nothing),
            "nothing",
        ),
        (
            server().certificate(&certificate).private_key(&certificate),
            "a.crt",
        ),
        (
            server().certificate(&certificate).private_key(&other),
            "a.crt",
        ),
        (
            server()
                .certificate(&certificate)
                .private_key(&key)
                .client_ca(&key),
            "a.key",
        ),
        (
            server().basic_auth("ann", ""),
            "password for basic authentication is empty",
        ),
        (server().bearer_token(""), "bearer token is empty"),
        (server().basic_auth("a:b", ""), "must not contain a colon"),
        (server().basic_auth("a:b", "c"), "must not contain a colon"),
        (server().bearer_token("t0ken\n"), "ends with white space"),
        (server().bearer_token(" t0ken"), "ends with white space"),
        (server().bearer_token("t0\u{7}ken"), "control character"),
    ] {
        let error = server.listen("127.0.0.1:0").unwrap_err().to_string();
        assert!(error.contains(says), "{error}: {says}");
    }
}

#[test]
fn passwords_and_tokens() {
    let serving = server()
        .basic_auth("ann", "sesame")
        .bearer_token("t0ken")
        .listen("127.0.0.1:0")
        .unwrap();
    // The credentials are ann:sesame, ann:wrong, and :sesame.
    for (header, status) in [
        ("Authorization: Basic YW5uOnNlc2FtZQ==", 200),
        ("authorization: basic YW5uOnNlc2FtZQ==", 200),
        ("Authorization: Bearer t0ken", 200),
        ("Authorization: Basic YW5uOndyb25n", 401),
        ("Authorization: Basic OnNlc2FtZQ==", 401),
        ("Authorization: Basic", 401),
        ("Authorization: Basic !", 401),
        ("Authorization: Bearer t0ke", 401),
        ("Authorization: t0ken", 401),
        ("X: y", 401),
    ] {
        for path in ["/metrics", "/", "/nowhere"] {
            let answer = get(&serving, path, &[header]);
            let expected = match (status, path) {
                (200, "/nowhere") => 404,
                (status, _) => status,
            };
            assert_eq!(answer.status(), expected, "{header} {path}");
            if status == 401 {
                let text = answer.head.to_ascii_lowercase();
                assert!(text.contains("www-authenticate: basic realm="), "{text}");
                assert!(text.contains("www-authenticate: bearer realm="), "{text}");
                assert!(!answer.text().contains("served_total"));
            }
        }
    }
    for path in ["/-/healthy", "/-/ready"] {
        assert_eq!(get(&serving, path, &[]).text(), "ok\n", "{path}");
    }
    // `Debug` output shows no secret.
    let shown = format!(
        "{:?}",
        server().basic_auth("ann", "sesame").bearer_token("t0ken")
    );
    assert!(
        !shown.contains("sesame") && !shown.contains("t0ken"),
        "{shown}"
    );
    serving.stop();
}
