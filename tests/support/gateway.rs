//! A fake gateway that records requests and replies as a test wants: also wrongly, or never.

#![allow(dead_code, reason = "each test uses some of it")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// One reply.
#[derive(Clone)]
pub enum Answer {
    /// A status line, headers beside the length, and a body.
    Status(&'static str, String),
    /// Writes these bytes and closes the connection.
    Bytes(&'static str),
    /// Writes nothing and keeps the connection open.
    Hang,
}

/// Replies 200 with an empty body.
pub fn fine() -> Answer {
    Answer::Status("200 OK\r\n", String::new())
}

/// A received request.
#[derive(Debug)]
pub struct Request {
    /// The number of its connection, from 0.
    pub connection: usize,
    pub method: String,
    pub target: String,
    /// Header names are in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(have, _)| have == name);
        found.map(|(_, value)| &**value)
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

/// A gateway that runs until the test process ends.
pub struct Gateway {
    pub url: String,
    requests: Receiver<Request>,
}

impl Gateway {
    /// Starts a gateway that replies `answer(n)` to the nth request.
    pub fn new(answer: impl Fn(usize) -> Answer + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (tell, requests) = channel();
        let answer = Arc::new(Mutex::new((0, answer)));
        std::thread::spawn(move || {
            for (connection, stream) in listener.incoming().enumerate() {
                let (stream, tell, answer) = (stream.unwrap(), tell.clone(), Arc::clone(&answer));
                std::thread::spawn(move || {
                    let mut reader = BufReader::new(stream.try_clone().unwrap());
                    while let Some(request) = read(connection, &mut reader) {
                        let answer = {
                            let (requests, answer) = &mut *answer.lock().unwrap();
                            *requests += 1;
                            answer(*requests - 1)
                        };
                        let _ = tell.send(request);
                        if !give(&stream, &answer) {
                            break;
                        }
                    }
                });
            }
        });
        Self { url, requests }
    }

    pub fn of(answer: Answer) -> Self {
        Self::new(move |_| answer.clone())
    }

    /// Returns the next request; waits for it.
    pub fn next_request(&self) -> Request {
        self.requests
            .recv_timeout(Duration::from_secs(60))
            .expect("a request within a minute")
    }

    /// Returns the requests that were answered, or are being answered, since the last call.
    pub fn received(&self) -> Vec<Request> {
        self.requests.try_iter().collect()
    }

    /// Returns whether `next_request` has returned all requests.
    pub fn is_quiet(&self) -> bool {
        self.requests.try_recv().is_err()
    }
}

fn read(connection: usize, reader: &mut BufReader<TcpStream>) -> Option<Request> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|n| *n > 0)?;
        match line.trim_end() {
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    let mut first = lines.first()?.split(' ');
    let (method, target) = (first.next()?.to_owned(), first.next()?.to_owned());
    let headers: Vec<_> = lines[1..]
        .iter()
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
        .collect();
    let length = headers.iter().find(|(name, _)| name == "content-length");
    let mut body = vec![0; length.map_or(0, |(_, n)| n.parse().unwrap())];
    reader.read_exact(&mut body).ok()?;
    Some(Request {
        connection,
        method,
        target,
        headers,
        body,
    })
}

/// Writes a reply and returns whether the connection stays open.
fn give(mut stream: &TcpStream, answer: &Answer) -> bool {
    match answer {
        Answer::Status(head, body) => {
            let length = body.len();
            // In one piece: the second of two would wait for the client's delayed acknowledgement.
            let answer = format!("HTTP/1.1 {head}Content-Length: {length}\r\n\r\n{body}");
            stream.write_all(answer.as_bytes()).is_ok()
        }
        Answer::Bytes(bytes) => {
            let _ = stream.write_all(bytes.as_bytes());
            false
        }
        Answer::Hang => {
            // Waits until the client gives up.
            let _ = stream.read(&mut [0; 1]);
            false
        }
    }
}
