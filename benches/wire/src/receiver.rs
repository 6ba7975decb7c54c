//! The receiver: a thread per connection that reads requests into a buffer of fixed size, counts,
//! and answers as a receiver of OTLP or remote write.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::ops::Sub;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::meter;

static PROCESSOR_NANOS: AtomicU64 = AtomicU64::new(0);
static REQUESTS: AtomicU64 = AtomicU64::new(0);
static CONTENT: AtomicU64 = AtomicU64::new(0);
static WIRE: AtomicU64 = AtomicU64::new(0);

/// The requests of one interval, as a receiver counts them.
#[derive(Clone, Copy, Default)]
pub struct Traffic {
    pub requests: u64,
    /// The bytes of all bodies before compression.
    pub content: u64,
    /// The bytes of heads and bodies as they came.
    pub wire: u64,
}

impl Traffic {
    /// Returns what the receiver has received up to now.
    pub fn now() -> Self {
        Self {
            requests: REQUESTS.load(Relaxed),
            content: CONTENT.load(Relaxed),
            wire: WIRE.load(Relaxed),
        }
    }
}

impl Sub for Traffic {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        Self {
            requests: self.requests - before.requests,
            content: self.content - before.content,
            wire: self.wire - before.wire,
        }
    }
}

/// Returns the processor time of the receiver's threads up to the last request.
pub fn processor() -> Duration {
    Duration::from_nanos(PROCESSOR_NANOS.load(Relaxed))
}

/// A receiver that runs until the process ends.
pub struct Receiver {
    address: String,
}

impl Receiver {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let stream = stream.expect("a connection");
                std::thread::spawn(move || receive(stream));
            }
        });
        Self { address }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

/// Answers the requests of a connection.
fn receive(mut stream: TcpStream) {
    let mut buffer = [0; 64 << 10];
    let mut counted = Duration::ZERO;
    while let Some(head) = Head::read(&mut stream, &mut buffer) {
        let body = Ends::read(&mut stream, &mut buffer, &head);
        CONTENT.fetch_add(body.content(&head), Relaxed);
        WIRE.fetch_add((head.len + head.body) as u64, Relaxed);
        REQUESTS.fetch_add(1, Relaxed);
        let now = meter::thread();
        PROCESSOR_NANOS.fetch_add((now - counted).as_nanos() as u64, Relaxed);
        counted = now;
        let answer = head.answer();
        if stream.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

/// The head of a request.
struct Head {
    /// In lower case, with the empty line.
    text: String,
    /// The length of the head.
    len: usize,
    /// The length of the body.
    body: usize,
    /// The bytes of the body that came with the head. They begin at `len` in the buffer.
    early: usize,
}

impl Head {
    /// Reads the head of a request. Returns `None` at the end of the connection.
    fn read(stream: &mut TcpStream, buffer: &mut [u8]) -> Option<Self> {
        let mut filled = 0;
        loop {
            match stream.read(&mut buffer[filled..]) {
                Ok(0) | Err(_) => return None,
                Ok(n) => filled += n,
            }
            let end = buffer[..filled]
                .windows(4)
                .position(|four| four == b"\r\n\r\n");
            if let Some(end) = end {
                let len = end + 4;
                let text = String::from_utf8_lossy(&buffer[..len]).to_lowercase();
                let mut head = Self {
                    text,
                    len,
                    body: 0,
                    early: filled - len,
                };
                let length = head.header("content-length").expect("a length");
                head.body = length.parse().expect("a number");
                return Some(head);
            }
        }
    }

    fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.text.lines().filter_map(|line| line.split_once(':'));
        lines
            .find(|(found, _)| *found == name)
            .map(|(_, value)| value.trim())
    }

    fn answer(&self) -> &'static str {
        match self.header("content-type") {
            Some("application/json") => {
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
            }
            _ if self.header("x-prometheus-remote-write-version").is_some() => {
                "HTTP/1.1 204 No Content\r\n\
                 X-Prometheus-Remote-Write-Samples-Written: 1000000000\r\n\
                 X-Prometheus-Remote-Write-Histograms-Written: 1000000000\r\n\r\n"
            }
            _ => {
                "HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\n\
                 Content-Length: 0\r\n\r\n"
            }
        }
    }
}

/// The ends of a body, which say how long it was before compression.
#[derive(Default)]
pub struct Ends {
    first: Vec<u8>,
    last: [u8; 4],
}

impl Ends {
    /// Reads a body. Its first bytes are in the buffer, behind the head.
    fn read(stream: &mut TcpStream, buffer: &mut [u8], head: &Head) -> Self {
        let mut ends = Self::default();
        ends.push(&buffer[head.len..][..head.early]);
        let mut read = head.early;
        while read < head.body {
            let n = stream.read(buffer).expect("a body");
            assert!(n > 0, "a whole body");
            ends.push(&buffer[..n]);
            read += n;
        }
        ends
    }

    pub fn push(&mut self, bytes: &[u8]) {
        let missing = 10_usize.saturating_sub(self.first.len()).min(bytes.len());
        self.first.extend(&bytes[..missing]);
        let all = [&self.last[..], &bytes[bytes.len().saturating_sub(4)..]].concat();
        self.last.copy_from_slice(&all[all.len() - 4..]);
    }

    /// Returns the length that a body of gzip had before compression, which is at its end.
    pub fn of_gzip(&self) -> u64 {
        u64::from(u32::from_le_bytes(self.last))
    }

    fn content(&self, head: &Head) -> u64 {
        match head.header("content-encoding") {
            Some("gzip") => self.of_gzip(),
            // Snappy has the length in a varint at the beginning.
            Some("snappy") => {
                let mut bytes = self.first.iter().zip((0..64).step_by(7));
                let mut length = 0;
                let _ = bytes.find(|(byte, shift)| {
                    length |= u64::from(*byte & 0x7f) << shift;
                    **byte < 0x80
                });
                length
            }
            Some(other) => panic!("{other}"),
            None => head.body as u64,
        }
    }
}
