//! A client that sends exactly the given bytes.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use tallies::serve::Serving;

/// A response: the head as text, the body as bytes.
#[derive(Debug)]
pub struct Answer {
    pub head: String,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn read(bytes: &[u8]) -> Self {
        let end = bytes.windows(4).position(|w| w == b"\r\n\r\n");
        let (head, body) = match end {
            Some(end) => (&bytes[..end], &bytes[end + 4..]),
            None => (bytes, &[][..]),
        };
        let head = String::from_utf8_lossy(head).into_owned();
        let body = body.to_vec();
        let mut answer = Self { head, body };
        if answer.header("transfer-encoding") == Some("chunked") {
            answer.body = joined(&answer.body);
        }
        answer
    }

    pub fn status(&self) -> u16 {
        let mut words = self.head.split(' ');
        assert_eq!(words.next(), Some("HTTP/1.1"), "{}", self.head);
        words.next().unwrap().parse().unwrap()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (key, value) = line.split_once(": ")?;
            key.eq_ignore_ascii_case(name).then_some(value)
        })
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

/// Joins the chunks of a body. A body that was cut off ends where the server ended it.
fn joined(mut chunks: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    while let Some(end) = chunks.windows(2).position(|w| w == b"\r\n") {
        let len = std::str::from_utf8(&chunks[..end]).unwrap();
        let len = usize::from_str_radix(len, 16).unwrap();
        let rest = &chunks[end + 2..];
        body.extend_from_slice(&rest[..len.min(rest.len())]);
        chunks = rest.get(len + 2..).unwrap_or_default();
    }
    body
}

pub fn connect(serving: &Serving) -> TcpStream {
    let stream = TcpStream::connect(serving.address()).unwrap();
    // Bounds the test, should the service never reply.
    stream
        .set_read_timeout(Some(Duration::from_secs(30)))
        .unwrap();
    stream
}

/// Sends `request` on any stream and reads until the server closes it.
pub fn exchange(mut stream: impl Read + Write, request: &[u8]) -> std::io::Result<Answer> {
    stream.write_all(request)?;
    stream.flush()?;
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer) {
        // A server that closes with unread input resets the connection; bytes that arrived before
        // still count.
        Err(e) if answer.is_empty() => Err(e),
        _ => Ok(Answer::read(&answer)),
    }
}

/// Builds a request for `path` with further header lines.
pub fn request(method: &str, path: &str, headers: &[&str]) -> Vec<u8> {
    let mut request =
        format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n");
    for header in headers {
        request.push_str(header);
        request.push_str("\r\n");
    }
    request.push_str("\r\n");
    request.into_bytes()
}

pub fn get(serving: &Serving, path: &str, headers: &[&str]) -> Answer {
    exchange(connect(serving), &request("GET", path, headers)).unwrap()
}

/// Waits, for a bounded time, until `holds` returns true.
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..3000 {
        if holds() {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("it never came: {what}");
}
