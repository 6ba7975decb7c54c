//! Listeners of the service: several addresses, Unix sockets, the program's own runtime, and
//! cleanup after failures.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::support::http::{connect, exchange, get, request};
use tallies::{Registry, serve::Server};

fn server() -> Server {
    let registry = Registry::new();
    registry.counter("served_total", "Served.").unwrap();
    Server::new().registry(&registry)
}

/// Returns a free path for one test's socket.
fn socket(name: &str) -> PathBuf {
    let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let path = dir.join(format!("{name}-{}.sock", std::process::id()));
    let _ = std::fs::remove_file(&path);
    path
}

fn connect_unix(path: &Path) -> UnixStream {
    let stream = UnixStream::connect(path).unwrap();
    let limit = Some(Duration::from_secs(30));
    stream.set_read_timeout(limit).unwrap();
    stream
}

fn scraped(stream: impl Read + Write) -> u16 {
    let answer = exchange(stream, &request("GET", "/metrics", &[]));
    answer.unwrap().status()
}

#[test]
fn several_addresses_are_one_service() {
    let path = socket("several");
    let serving = server()
        .address("[::1]:0")
        .unix_socket(&path)
        .address("localhost:0")
        .listen("127.0.0.1:0")
        .unwrap();
    assert_eq!(serving.addresses().len(), 3);
    assert!(serving.addresses()[0].is_ipv4() && serving.addresses()[1].is_ipv6());
    assert_eq!(serving.address(), serving.addresses()[0]);
    for address in serving.addresses() {
        assert_eq!(get(*address, "/metrics", &[]).status(), 200, "{address}");
    }
    assert_eq!(scraped(connect_unix(&path)), 200);
    let addresses = serving.addresses().to_vec();
    serving.stop();
    assert!(addresses.iter().all(|a| TcpStream::connect(a).is_err()));
    assert!(!path.exists(), "the socket's file goes with the service");
}

#[test]
fn a_unix_socket_and_existing_files_at_its_path() {
    let path = socket("alone");
    // A stale socket, left by a program that has ended.
    drop(UnixListener::bind(&path).unwrap());
    let serving = server().unix_socket(&path).start().unwrap();
    assert_eq!(serving.metrics_url(), "http://localhost/metrics");
    assert_eq!(serving.address().port(), 0);
    assert_eq!(scraped(connect_unix(&path)), 200);
    // A socket that accepts connections is in use.
    let error = server().unix_socket(&path).start().unwrap_err().to_string();
    assert!(error.contains(&path.display().to_string()), "{error}");
    assert_eq!(scraped(connect_unix(&path)), 200);
    serving.stop();
    // A file that is not a socket is not replaced.
    std::fs::write(&path, "precious").unwrap();
    assert!(server().unix_socket(&path).start().is_err());
    assert_eq!(std::fs::read(&path).unwrap(), b"precious");
    std::fs::remove_file(&path).unwrap();
}

/// Listeners that another process has bound, such as a service manager, stay bound when the service
/// ends.
#[test]
fn sockets_that_are_handed_over() {
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = tcp.local_addr().unwrap();
    let path = socket("handed");
    let unix = UnixListener::bind(&path).unwrap();
    let handed = server()
        .listener(tcp.try_clone().unwrap())
        .unix_listener(unix.try_clone().unwrap());
    // Clients that connect before the service starts wait for it, also between one service and the
    // next.
    for _ in 0..2 {
        let waiting = [
            std::thread::spawn({
                let stream = connect_unix(&path);
                move || scraped(stream)
            }),
            std::thread::spawn({
                let stream = connect(address);
                move || scraped(stream)
            }),
        ];
        let serving = handed.start().unwrap();
        assert_eq!(serving.addresses(), [address]);
        for answer in waiting {
            assert_eq!(answer.join().unwrap(), 200);
        }
        serving.stop();
    }
    drop(handed);
    assert!(path.exists(), "the file is whose socket it is");
    drop((tcp, unix));
    assert!(TcpStream::connect(address).is_err());
    std::fs::remove_file(&path).unwrap();
}

#[test]
fn all_addresses_or_none() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let path = socket("none");
    let both = server()
        .address(address)
        .unix_socket(&path)
        .address(taken.local_addr().unwrap());
    for _ in 0..2 {
        let error = both.start().unwrap_err().to_string();
        let named = taken.local_addr().unwrap().to_string();
        assert!(error.contains(&named), "{error}");
        assert!(TcpStream::connect(address).is_err() && !path.exists());
    }
    drop(taken);
    let serving = both.start().unwrap();
    assert_eq!(get(&serving, "/metrics", &[]).status(), 200);
    serving.stop();
    let error = server().start().unwrap_err().to_string();
    assert!(error.contains("no address"), "{error}");
}

/// Bound listeners that are dropped unserved are closed.
#[test]
fn unserved_listeners_are_closed() {
    let bound = server().address("127.0.0.1:0").bind().unwrap();
    let address = bound.addresses()[0];
    assert_eq!(bound.metrics_url(), format!("http://{address}/metrics"));
    // The connection waits in the backlog until the service starts.
    let waiting = connect(address);
    let serving = bound.start().unwrap();
    assert_eq!(scraped(waiting), 200);
    serving.stop();
    drop(server().address(address).bind().unwrap());
    assert!(TcpStream::connect(address).is_err());
}

/// Limits of any size are accepted; none causes a panic.
#[test]
fn limits_of_any_size_are_accepted() {
    let serving = server()
        .connections(usize::MAX)
        .concurrent_scrapes(usize::MAX)
        .head_timeout(Duration::MAX)
        .answer_timeout(Duration::MAX)
        .listen("127.0.0.1:0")
        .unwrap();
    assert_eq!(get(&serving, "/metrics", &[]).status(), 200);
    serving.stop();
    let none = server().connections(0).concurrent_scrapes(0);
    let serving = none.listen("127.0.0.1:0").unwrap();
    assert_eq!(
        get(&serving, "/metrics", &[]).status(),
        200,
        "one at a time"
    );
    serving.stop();
}

#[test]
fn it_runs_in_the_programs_runtime_until_shutdown() {
    for threads in [None, Some(2)] {
        let mut builder = match threads {
            None => tokio::runtime::Builder::new_current_thread(),
            Some(_) => tokio::runtime::Builder::new_multi_thread(),
        };
        let runtime = builder.enable_all().build().unwrap();
        let bound = server().address("127.0.0.1:0").bind().unwrap();
        let address = bound.addresses()[0];
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let client = std::thread::spawn(move || {
            let status = get(address, "/metrics", &[]).status();
            stop.send(()).unwrap();
            status
        });
        runtime
            .block_on(bound.run(async { _ = stopped.await }))
            .unwrap();
        assert_eq!(client.join().unwrap(), 200);
        assert!(TcpStream::connect(address).is_err());
    }
}

/// Dropping the future ends the service: no task keeps running behind the program's back.
#[test]
fn dropping_the_run_future_ends_the_service() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let bound = server().address("127.0.0.1:0").bind().unwrap();
    let address = bound.addresses()[0];
    runtime.block_on(async {
        let run = bound.run(std::future::pending());
        let ended = tokio::time::timeout(Duration::from_millis(1), run).await;
        assert!(ended.is_err());
        // Lets the runtime drop the tasks that the service spawned.
        tokio::task::yield_now().await;
    });
    drop(runtime);
    assert!(TcpStream::connect(address).is_err());
}

/// `start` used to wait for the owner of the socket to accept its connection, which never happened.
#[test]
fn a_unix_socket_whose_owner_does_not_accept_is_in_use() {
    let path = socket("full");
    let owner = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).unwrap();
    owner
        .bind(&socket2::SockAddr::unix(&path).unwrap())
        .unwrap();
    owner.listen(0).unwrap();
    let waiting: Vec<_> = (0..8)
        .map_while(|_| {
            let socket =
                socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).unwrap();
            socket.set_nonblocking(true).unwrap();
            let connected = socket.connect(&socket2::SockAddr::unix(&path).unwrap());
            connected.is_ok().then_some(socket)
        })
        .collect();
    assert!(waiting.len() < 8, "its backlog is full");
    let error = server().unix_socket(&path).start().unwrap_err();
    assert!(error.to_string().contains("cannot listen"), "{error}");
    assert!(path.exists());
    drop(owner);
    server().unix_socket(&path).start().unwrap().stop();
}

/// Any user with access to the directory used to be able to connect.
#[test]
fn the_file_of_a_unix_socket_is_the_users_own() {
    use std::os::unix::fs::PermissionsExt;
    let path = socket("mode");
    let mode = || std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
    let serving = server().unix_socket(&path).start().unwrap();
    assert_eq!(mode(), 0o600);
    serving.stop();
    let serving = server()
        .unix_socket(&path)
        .socket_mode(0o660)
        .start()
        .unwrap();
    assert_eq!(mode(), 0o660);
    serving.stop();
}
