//! A client that sends any bytes gets a response or none, the service frees what the client
//! held, and the next client is served.

#![cfg_attr(fuzzing, no_main)]

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::{Duration, Instant};

use libfuzzer_sys::fuzz_target;
use tallies::{
    Registry,
    serve::{Server, Serving},
};

static SOCKET: LazyLock<PathBuf> = LazyLock::new(|| {
    std::env::temp_dir().join(format!("tallies-fuzz-{}.sock", std::process::id()))
});

static SERVING: LazyLock<Serving> = LazyLock::new(|| {
    let registry = Registry::new();
    registry.counter("jobs_total", "Jobs.").unwrap();
    Server::new()
        .registry(&registry)
        .basic_auth("u", "p")
        .head_timeout(Duration::from_millis(50))
        .unix_socket(&*SOCKET)
        .start()
        .unwrap()
});

fn exchange(request: &[u8]) -> Vec<u8> {
    let mut stream = UnixStream::connect(&*SOCKET).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    // The service may disconnect while the client still sends.
    let _ = stream.write_all(request);
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer) {
        Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => panic!("no end to its answer"),
        _ => answer,
    }
}

fuzz_target!(|request: &[u8]| {
    let serving = &*SERVING;
    // Completes any request that the input began. Closing one direction of the connection instead
    // would count as disconnecting.
    let end = b"\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let answer = exchange(&[request, end].concat());
    if let Some(status) = answer.get(9..12) {
        assert!(answer.starts_with(b"HTTP/1."));
        let known: [&[u8; 3]; 8] = [
            b"200", b"400", b"401", b"404", b"405", b"414", b"431", b"503",
        ];
        assert!(
            known.iter().any(|k| *k == status),
            "{}",
            answer.escape_ascii()
        );
    } else {
        assert!(answer.is_empty());
    }
    static ASKED: AtomicU32 = AtomicU32::new(0);
    if ASKED.fetch_add(1, Relaxed).is_multiple_of(64) {
        let good = b"GET /metrics HTTP/1.1\r\nHost: x\r\nAuthorization: Basic dTpw\r\nConnection: close\r\n\r\n";
        let answer = exchange(good);
        assert!(
            answer.ends_with(b"\njobs_total 0\n"),
            "{}",
            answer.escape_ascii()
        );
        let began = Instant::now();
        while serving.connections() > 0 {
            assert!(
                began.elapsed() < Duration::from_secs(20),
                "a connection stays"
            );
            std::thread::yield_now();
        }
    }
});
