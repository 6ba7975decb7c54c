//! Requests as a receiver sees them, and receivers that misbehave.

#[path = "../../../tests/support/gateway.rs"]
mod gateway;

use std::io::{ErrorKind, Read, Write};
use std::net::TcpListener;
use std::time::Duration;

use gateway::{Answer, Gateway, fine};
use tallies_client::{Client, ClientBuilder};

fn builder() -> ClientBuilder {
    ClientBuilder::new("receiver", "test/1.0")
}

fn client(url: &str) -> Client {
    builder().build(url).unwrap()
}

#[test]
fn headers_and_bodies() {
    let receiver = Gateway::of(fine());
    let client = builder()
        .header("X-Scope-OrgID", "team-a")
        .header("X-Version", "1")
        .bearer_token("sesame")
        .build(&format!("{}/write", receiver.url))
        .unwrap();
    let headers = [("x-version", "2"), ("content-type", "text/plain")];
    let response = client.send("POST", &headers, Some(b"x 1\n"), 0).unwrap();
    assert_eq!((response.status(), response.is_success()), (200, true));
    assert_eq!(response.header("Content-Length"), Some(&b"0"[..]));
    let mut headers = response.headers();
    assert!(headers.any(|(name, value)| name == "content-length" && value == b"0"));
    let request = receiver.next_request();
    assert_eq!(
        (&*request.method, &*request.target, request.text()),
        ("POST", "/write", "x 1\n")
    );
    for (name, value) in [
        ("x-scope-orgid", Some("team-a")),
        ("x-version", Some("2")),
        ("content-type", Some("text/plain")),
        ("content-length", Some("4")),
        ("authorization", Some("Bearer sesame")),
        ("user-agent", Some("test/1.0")),
        // A response is as long as it arrives, whatever the features of ureq.
        ("accept-encoding", None),
    ] {
        assert_eq!(request.header(name), value, "{name}");
    }
    let versions = request.headers.iter();
    assert_eq!(versions.filter(|(name, _)| name == "x-version").count(), 1);
    client.send("DELETE", &[], None, 0).unwrap();
    let request = receiver.next_request();
    assert_eq!((&*request.method, request.connection), ("DELETE", 0));
    assert_eq!(request.header("content-length"), None);
    assert!(receiver.is_quiet());
}

#[test]
fn a_request_that_is_not_valid_is_not_sent() {
    let receiver = Gateway::of(fine());
    let client = client(&receiver.url);
    for (method, header) in [
        ("PU T", ("x", "y")),
        ("PUT", ("x y", "z")),
        ("PUT", ("x", "\n")),
    ] {
        let error = client.send(method, &[header], None, 0).unwrap_err();
        let expected = format!("{method} {}: ", receiver.url);
        assert!(error.to_string().starts_with(&expected), "{error}");
    }
    assert!(receiver.is_quiet());
}

#[test]
fn a_long_body_is_cut_and_a_short_one_leaves_the_connection_open() {
    let receiver = Gateway::new(|n| {
        let length = if n < 2 { 100 } else { 10 << 20 };
        Answer::Status("500 Internal Server Error\r\n", "x".repeat(length))
    });
    let client = client(&receiver.url);
    for (most_bytes, length, connection) in [
        (100, 100, 0),
        (4096, 100, 0),
        // The longer response is the last one of its connection.
        (4096, 4096, 0),
        (4096, 4096, 1),
        (0, 0, 2),
    ] {
        let response = client.send("PUT", &[], Some(&[]), most_bytes).unwrap();
        assert_eq!((response.status(), response.body().len()), (500, length));
        assert_eq!(receiver.next_request().connection, connection);
    }
}

#[test]
fn a_receiver_that_closes_or_babbles() {
    for (bytes, word) in [
        ("", "disconnected"),
        ("HTTP/1.1 20", "disconnected"),
        ("SSH-2.0-OpenSSH_9.2\r\n\r\n", "protocol"),
        ("\u{0}\u{1}\u{7f}\r\n\r\nä", "protocol"),
    ] {
        let receiver = Gateway::of(Answer::Bytes(bytes));
        let error = client(&receiver.url).send("PUT", &[], Some(b"x"), 4096);
        let error = error.unwrap_err().to_string();
        let start = format!("PUT {}: ", receiver.url);
        assert!(error.starts_with(&start), "{bytes:?}: {error}");
        assert!(error.to_lowercase().contains(word), "{bytes:?}: {error}");
    }
}

/// Starts a server that writes `bytes` to its first connection and then does nothing.
fn hangs_after(bytes: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(bytes.as_bytes()).unwrap();
        // Until the client gives up.
        let _ = stream.read_to_end(&mut Vec::new());
    });
    url
}

#[test]
fn a_receiver_that_hangs_ends_with_the_timeout() {
    let builder = builder().timeout(Duration::from_millis(200));
    let receiver = Gateway::of(Answer::Hang);
    let half = hangs_after("HTTP/1.1 200 OK\r\nContent-Le");
    for url in [&receiver.url, &half] {
        let error = builder
            .build(url)
            .unwrap()
            .send("PUT", &[], Some(b"x"), 4096);
        let error = error.unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("PUT {url}: no response within 200ms")
        );
        assert_eq!(error.io_kind(), Some(ErrorKind::TimedOut));
    }
    // The status matters most.
    let url = hangs_after("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 9\r\n\r\nbusy");
    let response = builder
        .build(&url)
        .unwrap()
        .send("PUT", &[], Some(b"x"), 4096);
    let response = response.unwrap();
    assert_eq!(
        (response.status(), response.text()),
        (503, "busy".to_owned())
    );
}

/// A redirect would take the credentials along.
#[test]
fn a_redirect_is_an_answer_and_not_followed() {
    let other = Gateway::of(fine());
    for status in [
        "301 Moved Permanently",
        "302 Found",
        "307 Temporary Redirect",
        "308 Permanent Redirect",
    ] {
        for to in [&other.url, "/elsewhere"] {
            let head = format!("{status}\r\nLocation: {to}\r\n");
            let receiver = Gateway::of(Answer::Status(head.leak(), String::new()));
            let client = builder().bearer_token("sesame").header("X-Key", "SECRET");
            let client = client.build(&receiver.url).unwrap();
            for (method, body) in [("POST", Some(&b"x 1\n"[..])), ("GET", None)] {
                let response = client.send(method, &[], body, 4096).unwrap();
                assert!(
                    status.starts_with(&response.status().to_string()),
                    "{response:?}"
                );
                assert_eq!(receiver.next_request().method, method);
            }
            assert!(receiver.is_quiet() && other.is_quiet(), "{status} to {to}");
        }
    }
}

#[test]
fn a_body_that_drips_takes_a_part_of_the_timeout() {
    let url = hangs_after("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf");
    let client = builder()
        .timeout(Duration::from_secs(20))
        .build(&url)
        .unwrap();
    let begin = std::time::Instant::now();
    let response = client.send("PUT", &[], Some(b"x"), 4096).unwrap();
    assert_eq!(
        (response.status(), response.text()),
        (200, "half".to_owned())
    );
    let took = begin.elapsed();
    assert!(
        took > Duration::from_secs(4) && took < Duration::from_secs(15),
        "{took:?}"
    );
}

#[test]
fn a_caller_that_stops_waiting_learns_for_whom() {
    let receiver = Gateway::of(Answer::Hang);
    let client = builder()
        .timeout(Duration::from_millis(300))
        .build(&receiver.url)
        .unwrap();
    let shown = |client: &Client| client.timed_out("PUT").to_string();
    assert!(shown(&client).contains("a collector or callback hangs"));
    std::thread::scope(|scope| {
        let clone = client.clone();
        let request = scope.spawn(move || clone.send("PUT", &[], Some(b"x"), 0).unwrap_err());
        receiver.next_request();
        assert!(
            shown(&client).contains("no response within 300ms"),
            "{}",
            shown(&client)
        );
        request.join().unwrap();
    });
    // Also after a request that failed.
    let error = client.timed_out("PUT");
    assert!(error.to_string().contains("a collector or callback hangs"));
    assert_eq!(error.io_kind(), Some(ErrorKind::TimedOut));
}

#[test]
fn nobody_listens() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let error = client(&url).send("PUT", &[], Some(b"x"), 0).unwrap_err();
    assert_eq!(error.io_kind(), Some(ErrorKind::ConnectionRefused));
}

#[test]
fn rejections_have_the_text_of_the_receiver() {
    for (head, body, expected) in [
        (
            "400 Bad Request\r\n",
            "out of order\nin \u{1b}[1m\n",
            "400 Bad Request: out of order in  [1m",
        ),
        (
            "503 Service Unavailable\r\n",
            "",
            "503 Service Unavailable: no reason given",
        ),
        (
            "301 Moved Permanently\r\nLocation: /elsewhere\r\n",
            "x",
            "301 Moved Permanently: the receiver has moved; push to the address that `/elsewhere` \
             leads to",
        ),
    ] {
        let receiver = Gateway::of(Answer::Status(head, body.to_owned()));
        let client = client(&receiver.url);
        let response = client.send("POST", &[], Some(&[]), 4096).unwrap();
        assert!(!response.is_success());
        let error = client.rejected("POST", &response);
        assert_eq!(
            error.to_string(),
            format!("POST {}: {expected}", receiver.url)
        );
        assert_eq!(error.io_kind(), None);
    }
}

#[test]
fn a_warning_of_credentials_that_anybody_can_read() {
    let warns = |builder: ClientBuilder, url: &str| builder.build(url).unwrap().warning("x");
    let secret = builder().basic_auth("ann", "sesame");
    let warning = warns(secret.clone(), "http://gw:9091").unwrap();
    assert!(
        warning.starts_with("x to `http://gw:9091` send"),
        "{warning}"
    );
    assert_eq!(warns(secret.clone(), "http://localhost:9091"), None);
    assert_eq!(warns(secret, "https://gw:9091"), None);
    assert_eq!(warns(builder(), "http://gw:9091"), None);
    let tenant = builder().header("X-Scope-OrgID", "team-a");
    assert_eq!(warns(tenant, "http://gw:9091"), None);
}

#[test]
fn clients_are_for_statics() {
    fn shared<T: Send + Sync + 'static>() {}
    shared::<Client>();
    shared::<ClientBuilder>();
}
