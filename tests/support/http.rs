//! A client that sends exactly the given bytes.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use tallies::serve::Serving;

/// A response: the head as text, the body as bytes.
#[derive(Debug)]
pub struct Answer {
    pub head: String,
    pub body: Vec<u8>,
    /// Whether a body in chunks has its end.
    pub whole: bool,
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
        let mut answer = Self {
            head,
            body,
            whole: bytes.ends_with(b"\r\n0\r\n\r\n"),
        };
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

/// Where a client connects to: a service, or an address.
pub trait Target {
    fn open(self) -> io::Result<TcpStream>;
}

impl Target for &Serving {
    fn open(self) -> io::Result<TcpStream> {
        self.address().open()
    }
}

impl Target for SocketAddr {
    fn open(self) -> io::Result<TcpStream> {
        let stream = TcpStream::connect(self)?;
        // Bounds the test, should the service never reply.
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        Ok(stream)
    }
}

impl Target for &str {
    fn open(self) -> io::Result<TcpStream> {
        self.parse::<SocketAddr>().unwrap().open()
    }
}

pub fn connect(to: impl Target) -> TcpStream {
    to.open().unwrap()
}

/// Sends exactly these bytes on any stream and reads until the server closes it.
pub fn exchange(mut stream: impl Read + Write, request: &[u8]) -> io::Result<Answer> {
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

/// Sends exactly these bytes to a server and reads until it closes the connection.
pub fn send(to: impl Target, request: &[u8]) -> Answer {
    exchange(connect(to), request).unwrap()
}

pub fn ask(to: impl Target, method: &str, path: &str, headers: &[&str]) -> Answer {
    send(to, &request(method, path, headers))
}

pub fn get(to: impl Target, path: &str, headers: &[&str]) -> Answer {
    ask(to, "GET", path, headers)
}

/// Like [`get`], from a server that may not listen yet.
pub fn try_get(to: impl Target, path: &str) -> io::Result<Answer> {
    exchange(to.open()?, &request("GET", path, &[]))
}
