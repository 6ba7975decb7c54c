//! The stream behind the live page.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;

use serde_json::Value;

use crate::support::http::request;

/// A stream of events that is being read.
pub struct Events {
    pub head: String,
    lines: BufReader<TcpStream>,
}

impl Events {
    /// Asks for a stream with this query.
    pub fn begin(mut stream: TcpStream, query: &str, headers: &[&str]) -> Self {
        let path = format!("/live/stream?{query}");
        stream.write_all(&request("GET", &path, headers)).unwrap();
        let mut lines = BufReader::new(stream);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert_ne!(lines.read_line(&mut head).unwrap(), 0, "{head}");
        }
        Self { head, lines }
    }

    /// Waits for the next frame. Returns `None` at the end of the stream, which has to be complete.
    pub fn next(&mut self) -> Option<Value> {
        loop {
            let mut line = String::new();
            self.lines.read_line(&mut line).unwrap();
            if line == "0\r\n" {
                return None;
            }
            assert_ne!(line, "", "the stream was cut off");
            if let Some(data) = line.strip_prefix("data: {") {
                return Some(serde_json::from_str(&format!("{{{data}")).unwrap());
            }
        }
    }
}
