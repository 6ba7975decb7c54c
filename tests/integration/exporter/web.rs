//! Row E8, and the web configuration: TLS, passwords, headers, and changes while running.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::process::{HERE, Running, command, folder, run, said, serve, value};
use crate::support::eventually;
use crate::support::http::{Answer, connect, exchange, get, request};

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

    /// Returns a new certificate for this name and its key, as PEM.
    fn pair(&self, name: &str) -> (String, String) {
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        (certificate.pem(), key.serialize_pem())
    }

    /// Writes a new certificate and its key for localhost, and returns the files.
    fn write(&self, dir: &Path) -> (PathBuf, PathBuf) {
        let (certificate, key) = self.pair("localhost");
        let files = (dir.join("tls.crt"), dir.join("tls.key"));
        std::fs::write(&files.0, certificate).unwrap();
        std::fs::write(&files.1, key).unwrap();
        files
    }
}

/// Scrapes over TLS. Trusts `authority` and presents the certificate, if there is one.
fn ask(
    address: SocketAddr,
    authority: &Authority,
    own: Option<&(String, String)>,
    headers: &[&str],
) -> io::Result<Answer> {
    ask_with(address, authority, own, headers, &[&TLS12, &TLS13])
}

fn ask_with(
    address: SocketAddr,
    authority: &Authority,
    own: Option<&(String, String)>,
    headers: &[&str],
    versions: &[&'static tokio_rustls::rustls::SupportedProtocolVersion],
) -> io::Result<Answer> {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_file(&authority.file).unwrap())
        .unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(versions)
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
    let client = ClientConnection::new(Arc::new(config), "localhost".try_into().unwrap()).unwrap();
    let stream = StreamOwned::new(client, connect(address));
    exchange(stream, &request("GET", "/metrics", headers))
}

fn is_200(answer: io::Result<Answer>) -> bool {
    answer.is_ok_and(|answer| answer.head.starts_with("HTTP/1.1 200"))
}

#[test]
fn e8_https_with_key_and_certificate() {
    let dir = folder("https");
    let authority = Authority::new(&dir, "ca.pem");
    let (certificate, key) = authority.write(&dir);
    let (certificate, key) = (certificate.display().to_string(), key.display().to_string());
    let pair = ["--ssl-public-key", &certificate, "--ssl-private-key", &key];
    let mut running = serve("troubled_exporter", &pair);
    let address = running.address();
    assert_eq!(
        running.events("listening")[0]["url"],
        format!("https://{address}/")
    );
    assert!(is_200(ask(address, &authority, None, &[])));
    // With a CA, clients need a certificate.
    let ca = authority.file.display().to_string();
    let mut running = serve(
        "troubled_exporter",
        &[&pair[..], &["--ssl-ca", &ca]].concat(),
    );
    let address = running.address();
    assert!(!is_200(ask(address, &authority, None, &[])));
    assert!(is_200(ask(
        address,
        &authority,
        Some(&authority.pair("client")),
        &[]
    )));
    let stranger = Authority::new(&dir, "stranger.pem").pair("client");
    assert!(!is_200(ask(address, &authority, Some(&stranger), &[])));
}

#[test]
fn e8_half_of_tls_is_a_wrong_command_line() {
    let dir = folder("half");
    let authority = Authority::new(&dir, "ca.pem");
    let (certificate, key) = authority.write(&dir);
    for (option, file, why) in [
        (
            "--ssl-private-key",
            &key,
            "--ssl-private-key needs --ssl-public-key",
        ),
        (
            "--ssl-public-key",
            &certificate,
            "--ssl-public-key needs --ssl-private-key",
        ),
        (
            "--ssl-ca",
            &authority.file,
            "--ssl-ca needs --ssl-public-key and --ssl-private-key",
        ),
    ] {
        let file = file.display().to_string();
        let args = HERE.iter().copied().chain([option, &file]);
        let output = run(command("troubled_exporter", args));
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        assert!(said(&output.stderr).contains(why), "{why}: {output:?}");
    }
}

/// Starts an exporter with a web configuration.
fn with_config(path: &Path) -> Running {
    let path = path.display().to_string();
    serve("troubled_exporter", &["--web.config.file", &path])
}

/// Replaces a file atomically.
fn replace(path: &Path, text: &str) {
    let new = path.with_extension("new");
    std::fs::write(&new, text).unwrap();
    std::fs::rename(new, path).unwrap();
}

pub fn basic(both: &str) -> String {
    // Base64, by hand: the tests have no crate for it.
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::from("Authorization: Basic ");
    for three in both.as_bytes().chunks(3) {
        let mut n = 0_u32;
        for i in 0..3 {
            n = n << 8 | u32::from(three.get(i).copied().unwrap_or(0));
        }
        for i in 0..4 {
            let digit = DIGITS[(n >> (18 - 6 * i)) as usize & 63];
            text.push(if i <= three.len() {
                char::from(digit)
            } else {
                '='
            });
        }
    }
    text
}

pub fn hash(password: &str) -> String {
    bcrypt::hash(password, 4).unwrap()
}

#[test]
fn passwords_are_bcrypt_hashes() {
    let config = folder("passwords").join("web.yml");
    let (ann, bob) = (hash("a:b"), hash("bees"));
    std::fs::write(
        &config,
        format!("basic_auth_users:\n  ann: {ann}\n  bob: '{bob}'\n"),
    )
    .unwrap();
    let mut running = with_config(&config);
    let address = running.address();
    for (credentials, status) in [
        (Some("ann:a:b"), 200),
        (Some("ann:a:b"), 200),
        (Some("bob:bees"), 200),
        (Some("bob:a:b"), 401),
        (Some("carl:bees"), 401),
        (Some("ann:"), 401),
        (Some("ann"), 401),
        (None, 401),
        (Some("bob:bees"), 200),
    ] {
        let header = credentials.map(basic);
        let headers: Vec<&str> = header.iter().map(String::as_str).collect();
        for path in ["/metrics", "/", "/probe?target=x"] {
            let answer = get(address, path, &headers);
            assert_eq!(answer.status(), status, "{path}: {credentials:?}");
            if status == 401 {
                assert!(
                    answer
                        .header("www-authenticate")
                        .unwrap()
                        .starts_with("Basic")
                );
                assert!(!answer.text().contains("last_good"));
            }
        }
    }
    // Health checks have no password.
    assert_eq!(get(address, "/-/healthy", &[]).status(), 200);
    let log = running.log().concat();
    assert!(!log.contains("bees") && !log.contains(&ann), "{log}");
}

#[test]
fn a_configuration_that_changes_or_breaks_while_running() {
    let config = folder("reload").join("web.yml");
    let users = |password: &str| format!("basic_auth_users: {{ann: '{}'}}\n", hash(password));
    std::fs::write(&config, users("first")).unwrap();
    let mut running = with_config(&config);
    let address = running.address();
    let status =
        |password: &str| get(address, "/metrics", &[&basic(&format!("ann:{password}"))]).status();
    const SUCCESS: &str = "exporter_web_config_last_reload_successful";
    let success = |password: &str| {
        let page = get(address, "/metrics", &[&basic(&format!("ann:{password}"))]);
        value(page.text(), SUCCESS)
    };
    assert_eq!((status("first"), status("second")), (200, 401));
    assert_eq!(success("first"), Some(1.0));
    replace(&config, &users("second"));
    eventually("the change", || status("second") == 200);
    assert_eq!(status("first"), 401);
    // It breaks: the one before stays.
    replace(&config, "basic_auth_users: {ann: not a hash}\n");
    eventually("the failure", || success("second") == Some(0.0));
    let record = &running.log().concat();
    assert!(
        record.contains("stays as it was") && record.contains("line 1, column 25"),
        "{record}"
    );
    // TLS cannot be turned on.
    replace(
        &config,
        &format!("tls_server_config: {{}}\n{}", users("third")),
    );
    eventually("the change", || status("third") == 200);
    assert_eq!(success("third"), Some(1.0));
    // A signal reads it, too.
    let before = running.events("web configuration").len();
    running.signal("-HUP");
    running.wait_for("web configuration", before + 1);
    std::fs::remove_file(&config).unwrap();
    eventually("the failure", || success("third") == Some(0.0));
    assert_eq!(status("third"), 200);
    // A disk that was full left an empty file, and the pages were open to everyone.
    let failures = || running.log().concat().matches("stays as it was").count();
    for (text, why) in [
        ("", "no users any more, which needs a restart"),
        ("# later\n", "no users any more, which needs a restart"),
        (
            "rate_limit: {}\n",
            "no users any more, which needs a restart",
        ),
    ] {
        let before = failures();
        replace(&config, text);
        running.signal("-HUP");
        eventually("the refusal", || failures() > before);
        assert!(running.log().concat().contains(why), "{text:?}");
        assert_eq!(get(address, "/metrics", &[]).status(), 401);
        assert_eq!(success("third"), Some(0.0));
    }
    replace(&config, &users("fourth"));
    eventually("the change", || status("fourth") == 200);
    assert!(running.log().concat().contains("chmod o-r"));
}

#[test]
fn an_empty_configuration_is_taken_at_the_start_only() {
    let config = folder("empty").join("web.yml");
    std::fs::write(&config, "").unwrap();
    let mut running = with_config(&config);
    let success =
        |running: &mut Running| running.value("exporter_web_config_last_reload_successful");
    assert_eq!(success(&mut running), Some(1.0));
    running.signal("-HUP");
    eventually("the refusal", || success(&mut running) == Some(0.0));
    assert!(running.log().concat().contains("is empty"));
}

/// A pipe was opened by a thread that never came back, so no later file was read.
#[test]
fn a_configuration_that_is_a_pipe_for_a_while_is_read_again() {
    let config = folder("pipe").join("web.yml");
    let users = |password: &str| format!("basic_auth_users: {{ann: '{}'}}\n", hash(password));
    std::fs::write(&config, users("first")).unwrap();
    let mut running = with_config(&config);
    let address = running.address();
    std::fs::remove_file(&config).unwrap();
    let made = std::process::Command::new("mkfifo").arg(&config).status();
    assert!(made.unwrap().success());
    running.signal("-HUP");
    eventually("the refusal", || {
        running.log().concat().contains("it is not a regular file")
    });
    replace(&config, &users("second"));
    let second = basic("ann:second");
    eventually("the change", || {
        get(address, "/metrics", &[&second]).status() == 200
    });
}

#[test]
fn tls_of_the_web_configuration_and_its_change() {
    let dir = folder("web-tls");
    let (old, new) = (
        Authority::new(&dir, "old.pem"),
        Authority::new(&dir, "new.pem"),
    );
    old.write(&dir);
    let config = dir.join("web.yml");
    // Relative paths begin at the file.
    let text = "tls_server_config:
  cert_file: tls.crt
  key_file: tls.key
  client_auth_type: RequireAndVerifyClientCert
  client_ca_file: old.pem
  client_allowed_sans: [scraper, 127.0.0.1]
  min_version: TLS12
  cipher_suites: [TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, TLS_AES_128_GCM_SHA256]
  curve_preferences: [X25519, CurveP256]
  prefer_server_cipher_suites: true
http_server_config:
  http2: true
  headers:
    X-Frame-Options: deny
    Strict-Transport-Security: max-age=60
";
    std::fs::write(&config, text).unwrap();
    let mut running = with_config(&config);
    let address = running.address();
    let (scraper, other) = (old.pair("scraper"), old.pair("other"));
    let answer = ask(address, &old, Some(&scraper), &[]).unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.header("x-frame-options"), Some("deny"));
    assert_eq!(
        answer.header("strict-transport-security"),
        Some("max-age=60")
    );
    assert!(is_200(ask(
        address,
        &old,
        Some(&old.pair("127.0.0.1")),
        &[]
    )));
    for version in [&TLS12, &TLS13] {
        assert!(is_200(ask_with(
            address,
            &old,
            Some(&scraper),
            &[],
            &[version]
        )));
    }
    assert!(
        !is_200(ask(address, &old, Some(&other), &[])),
        "another name"
    );
    assert!(!is_200(ask(address, &old, None, &[])), "no certificate");
    assert!(
        !is_200(ask(address, &old, Some(&new.pair("scraper")), &[])),
        "another authority"
    );
    // New certificates, and TLS 1.3 only.
    let (certificate, key) = new.pair("localhost");
    replace(&dir.join("tls.key"), &key);
    replace(&dir.join("tls.crt"), &certificate);
    replace(
        &config,
        &text.replace("min_version: TLS12", "min_version: TLS13"),
    );
    eventually("the new certificate", || {
        is_200(ask(address, &new, Some(&scraper), &[]))
    });
    assert!(!is_200(ask_with(
        address,
        &new,
        Some(&scraper),
        &[],
        &[&TLS12]
    )));
    // Anyone could come in without the CA.
    let open = text.split("  client_auth_type").next().unwrap();
    replace(&config, open);
    eventually("the refusal", || {
        running.log().concat().contains("no client CA any more")
    });
    assert!(!is_200(ask(address, &new, None, &[])));
    let nameless = text.replace("  client_allowed_sans: [scraper, 127.0.0.1]\n", "");
    replace(&config, &nameless);
    eventually("the refusal", || {
        running
            .log()
            .concat()
            .contains("no `client_allowed_sans` any more")
    });
    assert!(!is_200(ask(address, &new, Some(&other), &[])));
    // Turning TLS off needs a restart.
    replace(&config, "{}\n");
    eventually("the refusal", || {
        running
            .log()
            .concat()
            .contains("TLS on or off, which needs a restart")
    });
    assert!(is_200(ask(address, &new, Some(&scraper), &[])));
}

#[test]
fn the_kinds_of_client_authentication() {
    let dir = folder("auth");
    let authority = Authority::new(&dir, "ca.pem");
    let (certificate, key) = authority.pair("localhost");
    let indented = |pem: &str| {
        pem.lines()
            .map(|line| format!("    {line}\n"))
            .collect::<String>()
    };
    let (own, stranger) = (
        authority.pair("a"),
        Authority::new(&dir, "other.pem").pair("a"),
    );
    for (kind, needs_ca, none, any) in [
        ("NoClientCert", false, true, true),
        ("RequestClientCert", false, true, true),
        ("RequireAnyClientCert", false, false, true),
        ("VerifyClientCertIfGiven", true, true, false),
        ("RequireAndVerifyClientCert", true, false, false),
    ] {
        let config = dir.join(format!("{kind}.yml"));
        let mut text = format!(
            "tls_server_config:\n  cert: |\n{}  key: |\n{}  client_auth_type: {kind}\n",
            indented(&certificate),
            indented(&key)
        );
        if needs_ca {
            text.push_str("  client_ca_file: ca.pem\n");
        }
        std::fs::write(&config, text).unwrap();
        let mut running = with_config(&config);
        let address = running.address();
        assert!(is_200(ask(address, &authority, Some(&own), &[])), "{kind}");
        assert_eq!(is_200(ask(address, &authority, None, &[])), none, "{kind}");
        assert_eq!(
            is_200(ask(address, &authority, Some(&stranger), &[])),
            any,
            "{kind}"
        );
    }
}

/// The files of a configuration that cannot be used were not watched.
#[test]
fn a_certificate_that_appears_after_the_file_that_names_it() {
    let dir = folder("web-later");
    let (old, new) = (
        Authority::new(&dir, "old.pem"),
        Authority::new(&dir, "new.pem"),
    );
    old.write(&dir);
    let config = dir.join("web.yml");
    let text = "tls_server_config: {cert_file: tls.crt, key_file: tls.key}\n";
    std::fs::write(&config, text).unwrap();
    let mut running = with_config(&config);
    let address = running.address();
    replace(&config, &text.replace("tls.", "later."));
    let stays = "the web configuration stays as it was: cannot use";
    eventually("the change", || running.log().concat().contains(stays));
    assert!(is_200(ask(address, &old, None, &[])));
    let (certificate, key) = new.pair("localhost");
    std::fs::write(dir.join("later.key"), key).unwrap();
    replace(&dir.join("later.crt"), &certificate);
    eventually("the certificate", || is_200(ask(address, &new, None, &[])));
}

/// SIGHUP waited for the file, and SIGTERM for that.
#[test]
fn a_configuration_that_cannot_be_read_holds_up_no_signal() {
    let config = folder("web-hangs").join("web.yml");
    std::fs::write(&config, "rate_limit: {}\n").unwrap();
    let mut running = with_config(&config);
    running.address();
    std::fs::remove_file(&config).unwrap();
    let made = std::process::Command::new("mkfifo").arg(&config).status();
    assert!(made.unwrap().success());
    running.signal("-HUP");
    running.signal("-TERM");
    assert_eq!(running.end(), Some(0));
}

#[test]
fn a_mistake_in_the_web_configuration_is_shown_with_its_place() {
    let dir = folder("mistakes");
    let authority = Authority::new(&dir, "ca.pem");
    authority.write(&dir);
    let config = dir.join("web.yml");
    for (text, place, why) in [
        (
            "tls_server_confg: {}\n",
            "line 1, column 1",
            "unknown key `tls_server_confg`",
        ),
        (
            "tls_server_config:\n  cert_flie: x\n",
            "line 2, column 3",
            "unknown key `cert_flie`",
        ),
        (
            "tls_server_config:\n  cert_file: tls.crt\n",
            "line 2, column 3",
            "both `cert_file` and",
        ),
        (
            "tls_server_config: {cert_file: tls.crt, key_file: tls.key, min_version: TLS14}\n",
            "line 1, column 73",
            "min_version `TLS14` is not supported",
        ),
        (
            "tls_server_config: {cert_file: tls.crt, key_file: tls.key, cipher_suites: [RC4]}\n",
            "line 1, column 76",
            "cipher suite `RC4` is not supported",
        ),
        (
            "tls_server_config: {cert_file: tls.crt, key_file: tls.key, client_ca_file: ca.pem}\n",
            "line 1, column ",
            "needs a `client_auth_type`",
        ),
        (
            "tls_server_config: {cert_file: tls.crt, key_file: tls.key, client_allowed_sans: [a]}\n",
            "line 1, column ",
            "`client_allowed_sans` needs a `client_auth_type`",
        ),
        (
            "tls_server_config: {cert_file: no.crt, key_file: tls.key}\n",
            "no.crt",
            "No such file",
        ),
        (
            "basic_auth_users: {ann: secret}\n",
            "line 1, column 25",
            "not a bcrypt hash",
        ),
        (
            "http_server_config: {headers: {X-Frame-Options: allow}}\n",
            "line 1, column 49",
            "`X-Frame-Options` has to be one of",
        ),
        (
            "http_server_config: {headers: {Server: x}}\n",
            "line 1, column 32",
            "unknown key `Server`",
        ),
        (
            "rate_limit: {interval: often}\n",
            "line 1, column 24",
            "has to be a duration",
        ),
        ("basic_auth_users: [\n", "line ", ""),
    ] {
        std::fs::write(&config, text).unwrap();
        let path = config.display().to_string();
        let args = HERE.iter().copied().chain(["--web.config.file", &path]);
        let output = run(command("troubled_exporter", args));
        assert_eq!(output.status.code(), Some(1), "{text}{output:?}");
        let log = said(&output.stderr);
        assert!(
            log.contains(place) && log.contains(why),
            "{text}{why}: {log}"
        );
        assert!(!log.contains("secret"), "{log}");
    }
}

#[test]
fn requests_beyond_the_rate_limit_are_answered_with_429() {
    let config = folder("rate").join("web.yml");
    std::fs::write(&config, "rate_limit: {interval: 1h, burst: 3}\n").unwrap();
    let mut running = with_config(&config);
    let address = running.address();
    let statuses: Vec<u16> = (0..5)
        .map(|_| get(address, "/metrics", &[]).status())
        .collect();
    assert_eq!(statuses, [200, 200, 200, 429, 429]);
    assert_eq!(get(address, "/-/healthy", &[]).status(), 200);
}

/// An honest scraper waited behind the guesses of a stranger, until it timed out; and a limit of
/// requests was spent by the stranger.
#[cfg(target_os = "linux")]
#[test]
fn a_stranger_who_guesses_passwords_locks_nobody_out() {
    use std::io::{Read, Write};

    let config = folder("guesses").join("web.yml");
    let hash = bcrypt::hash("right", 8).unwrap();
    let users =
        format!("basic_auth_users: {{ann: '{hash}'}}\nrate_limit: {{interval: 1h, burst: 50}}\n");
    std::fs::write(&config, users).unwrap();
    let mut running = with_config(&config);
    let address = running.address();
    let mut guesses: Vec<_> = (0..60)
        .map(|i| {
            let guess = basic(&format!("ann:guess {i}"));
            let mut stream = crate::peers::connect_from(2, address);
            stream
                .write_all(&request("GET", "/metrics", &[&guess]))
                .unwrap();
            stream
        })
        .collect();
    // While they wait.
    let begun = Instant::now();
    let honest = get(address, "/metrics", &[&basic("ann:right")]);
    assert_eq!(honest.status(), 200);
    println!("the honest scrape took {:.2?}", begun.elapsed());
    // Some guesses were checked before it, but not all of the 32 that wait at once.
    let checked = guesses.iter().filter(|guess| {
        let mut first = [0; 12];
        guess.set_nonblocking(true).unwrap();
        let is_there = guess.peek(&mut first).is_ok_and(|length| length == 12);
        guess.set_nonblocking(false).unwrap();
        is_there && first == *b"HTTP/1.1 401"
    });
    assert!(checked.count() < 16);
    assert_eq!(get(address, "/-/healthy", &[]).status(), 200);
    let mut answers = String::new();
    for guess in &mut guesses {
        let _ = guess.read_to_string(&mut answers);
    }
    assert!(answers.contains("HTTP/1.1 429 "), "{answers}");
    assert!(!answers.contains("HTTP/1.1 200 "), "{answers}");
}
