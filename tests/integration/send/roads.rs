//! The ways to a receiver: HTTPS, credentials, a proxy.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tallies_send::Otlp;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tokio_rustls::rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::gateway::{Gateway, fine};
use crate::support::alone;
use crate::{LONG, Program, stop};

#[test]
fn credentials_are_headers() {
    let receiver = Gateway::of(fine());
    let program = Program::new();
    let sender = || program.sender(&receiver.url, Otlp::new()).interval(LONG);
    for (sender, expected) in [
        (
            sender().basic_auth("Aladdin", "open sesame"),
            "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==",
        ),
        (sender().bearer_token("sesame"), "Bearer sesame"),
    ] {
        assert_eq!(stop(sender.start().unwrap()), "arrived");
        let request = receiver.next_request();
        assert_eq!(request.header("authorization"), Some(expected));
        // The first snapshot was another request, unless it was the last one, too.
        while !receiver.is_quiet() {}
    }
    let error = sender().bearer_token("secret\n").start().unwrap_err();
    assert!(!error.to_string().contains("secret"), "{error}");
}

/// Answers requests over TLS as `localhost`. Returns the port, and the certificate of the authority
/// as PEM.
pub fn receiver_with_tls() -> (u16, String) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let authority = params.self_signed(&key).unwrap().pem();
    let issuer = Issuer::new(params, key);
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let certificate = params.signed_by(&key, &issuer).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
        );
    let config = Arc::new(config.unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let connection = ServerConnection::new(Arc::clone(&config)).unwrap();
            let mut stream = BufReader::new(StreamOwned::new(connection, stream.unwrap()));
            while answer(&mut stream).is_some() {}
        }
    });
    (port, authority)
}

/// Answers a request.
fn answer(stream: &mut BufReader<impl Read + Write>) -> Option<()> {
    let mut length = 0;
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).ok().filter(|n| *n > 0)?;
        let line = line.trim().to_lowercase();
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        if line.is_empty() {
            break;
        }
    }
    stream.read_exact(&mut vec![0; length]).ok()?;
    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    stream.get_mut().write_all(answer).ok()
}

#[test]
fn https_needs_a_certificate_that_is_trusted() {
    let (port, authority) = receiver_with_tls();
    let url = format!("https://localhost:{port}/v1/metrics");
    let program = Program::new();
    let sender = || program.sender(&url, Otlp::new()).interval(LONG);
    let trusting = sender().root_certificates(authority.as_bytes());
    assert_eq!(stop(trusting.start().unwrap()), "arrived");
    let error = stop(sender().start().unwrap());
    assert!(error.to_lowercase().contains("certificate"), "{error}");
    let error = sender().root_certificates(b"nonsense").start().unwrap_err();
    assert!(error.to_string().contains("root certificates"), "{error}");
}

/// Sends to a name that nobody can look up.
fn by_proxy() {
    let program = Program::new();
    let url = "http://collector.invalid:4318/v1/metrics";
    let sender = program.sender(url, Otlp::new()).interval(LONG);
    println!("result: {}", stop(sender.start().unwrap()));
}

#[test]
fn the_proxy_of_the_environment_is_used() {
    let proxy = Gateway::of(fine());
    let output = alone(
        "roads::the_proxy_of_the_environment_is_used",
        by_proxy,
        |command| {
            let login = proxy.url.replace("://", "://me:secret@");
            command.args(["--nocapture"]);
            command
                .env_remove("REQUEST_METHOD")
                .env("HTTP_PROXY", login);
        },
    );
    let request = proxy.next_request();
    let target = format!("{} {}", request.method, request.target);
    assert!(target.contains("collector.invalid:4318"), "{target}");
    assert!(
        request.header("proxy-authorization").is_some(),
        "{request:?}"
    );
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(!said.contains("secret"), "{said}");
}

/// The `Proxy` header of a request is `HTTP_PROXY` in a CGI program (httpoxy): whoever sends the
/// request would get the metrics, and the login.
#[test]
fn a_cgi_program_uses_no_proxy_of_the_environment() {
    let proxy = Gateway::of(fine());
    let output = alone(
        "roads::a_cgi_program_uses_no_proxy_of_the_environment",
        by_proxy,
        |command| {
            command.args(["--nocapture"]);
            command
                .env("REQUEST_METHOD", "GET")
                .env("HTTP_PROXY", &proxy.url)
                .env("http_proxy", &proxy.url)
                .env("ALL_PROXY", &proxy.url);
        },
    );
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        said.contains("result: ") && !said.contains("arrived"),
        "{said}"
    );
    assert!(proxy.is_quiet());
}

#[test]
fn a_receiver_on_this_machine_needs_no_proxy() {
    let receiver = Gateway::of(fine());
    let port = receiver.url.rsplit(':').next().unwrap();
    for host in ["127.0.0.1", "localhost", "127.1"] {
        let url = format!("http://{host}:{port}");
        let output = alone(
            "roads::a_receiver_on_this_machine_needs_no_proxy",
            to_the_endpoint,
            |command| {
                command.args(["--nocapture"]).env_remove("REQUEST_METHOD");
                command
                    .env("OTEL_EXPORTER_OTLP_ENDPOINT", &url)
                    .env("HTTP_PROXY", "http://127.0.0.1:9");
            },
        );
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(said.contains("result: arrived"), "{url}: {said}");
    }
}

/// Sends to the endpoint of the environment.
fn to_the_endpoint() {
    let program = Program::new();
    let sender = tallies_send::Sender::from_env().unwrap().unwrap();
    let sender = sender.registry(&program.registry).interval(LONG);
    println!("result: {}", stop(sender.start().unwrap()));
}
