//! The messages between systemd and an exporter.

use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::process::{HERE, command, folder, program, run, said, start};
use crate::support::http::{connect, exchange, get, request};

/// Returns a command that runs the exporter with a socket as systemd passes it: as file descriptor
/// 3, for the process of this id.
fn activated(socket: OwnedFd) -> Command {
    let mut command = Command::new("sh");
    command
        .args([
            "-c",
            "exec 3<&0 </dev/null; export LISTEN_PID=$$; exec \"$@\"",
            "sh",
        ])
        .arg(program("troubled_exporter"))
        .args(["--web.systemd-socket", "-L", "info", "--log-format", "json"])
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("LISTEN_FDS", "1")
        .stdin(Stdio::from(socket));
    command
}

#[test]
fn systemd_passes_a_tcp_socket() {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    // A client that comes before the exporter waits.
    let early = connect(address);
    let mut running = start(activated(socket.into()));
    assert_eq!(running.address(), address);
    let answer = exchange(early, &request("GET", "/metrics", &[])).unwrap();
    assert_eq!(answer.status(), 200);
    assert!(
        get(address, "/metrics", &[])
            .text()
            .contains("last_good 2\n")
    );
}

#[test]
fn systemd_passes_a_unix_socket() {
    let path = folder("systemd").join("socket");
    let _ = std::fs::remove_file(&path);
    let socket = UnixListener::bind(&path).unwrap();
    let mut running = start(activated(socket.into()));
    running.wait_for("listening", 1);
    let stream = UnixStream::connect(&path).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(30)))
        .unwrap();
    assert_eq!(
        exchange(stream, &request("GET", "/metrics", &[]))
            .unwrap()
            .status(),
        200
    );
}

#[test]
fn without_a_socket_of_systemd_it_cannot_start() {
    let output = run(command("troubled_exporter", ["--web.systemd-socket"]));
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(
        said(&output.stderr).contains("systemd passed no socket"),
        "{output:?}"
    );
}

#[test]
fn systemd_is_told_of_the_start_the_life_and_the_end() {
    let path = folder("notify").join("notify");
    let _ = std::fs::remove_file(&path);
    let socket = UnixDatagram::bind(&path).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(30)))
        .unwrap();
    let mut command = command("troubled_exporter", HERE);
    command
        .env("NOTIFY_SOCKET", &path)
        .env("WATCHDOG_USEC", "200000");
    let mut running = start(command);
    let received = || {
        let mut buffer = [0; 1024];
        let length = socket.recv(&mut buffer).unwrap();
        said(&buffer[..length]).trim().to_owned()
    };
    assert_eq!(received(), "READY=1");
    // It answers from now on.
    assert_eq!(running.get("/metrics").status(), 200);
    for _ in 0..3 {
        assert_eq!(received(), "WATCHDOG=1");
    }
    running.signal("-TERM");
    loop {
        match &*received() {
            "WATCHDOG=1" => {}
            other => break assert_eq!(other, "STOPPING=1"),
        }
    }
    assert_eq!(running.end(), Some(0));
}
