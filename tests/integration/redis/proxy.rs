//! A network that can be told to fail, between a store and its server.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::support::eventually;

/// The fate of bytes on their way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    Forward,
    /// Connections are closed, and new ones are closed at once.
    Cut,
    /// Requests arrive, replies do not.
    DropReplies,
    /// The next reply arrives, further ones do not.
    OneReply,
    /// Nothing arrives, and nothing is closed.
    Swallow,
    /// Requests arrive after [`Proxy::release`], whatever the mode is by then.
    Hold,
}

struct State {
    mode: Mutex<Mode>,
    /// The port of the server.
    target: AtomicU16,
    /// Milliseconds by which each block is delayed.
    delay: AtomicU64,
    connections: Mutex<Vec<TcpStream>>,
    /// Blocks of replies that were dropped.
    dropped: AtomicU64,
    /// Whether requests that are held arrive.
    released: AtomicBool,
}

#[derive(Clone)]
pub struct Proxy {
    state: Arc<State>,
    port: u16,
}

impl Proxy {
    pub fn to(target: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(State {
            mode: Mutex::new(Mode::Forward),
            target: AtomicU16::new(target),
            delay: AtomicU64::new(0),
            connections: Mutex::default(),
            dropped: AtomicU64::new(0),
            released: AtomicBool::new(false),
        });
        let accepting = Arc::clone(&state);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if *accepting.mode.lock().unwrap() == Mode::Cut {
                    continue;
                }
                let target = accepting.target.load(SeqCst);
                let Ok(server) = TcpStream::connect(("127.0.0.1", target)) else {
                    continue;
                };
                let mut all = accepting.connections.lock().unwrap();
                all.extend([client.try_clone().unwrap(), server.try_clone().unwrap()]);
                drop(all);
                let (to, from) = (server.try_clone().unwrap(), client.try_clone().unwrap());
                let state = Arc::clone(&accepting);
                std::thread::spawn(move || state.copy(from, to, false));
                let state = Arc::clone(&accepting);
                std::thread::spawn(move || state.copy(server, client, true));
            }
        });
        Self { state, port }
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port)
    }

    pub fn set(&self, mode: Mode) {
        *self.state.mode.lock().unwrap() = mode;
        if mode == Mode::Cut {
            for connection in self.state.connections.lock().unwrap().drain(..) {
                let _ = connection.shutdown(Shutdown::Both);
            }
        }
    }

    /// Leads new connections to another server, and closes the old ones.
    pub fn lead_to(&self, port: u16) {
        self.state.target.store(port, SeqCst);
        self.set(Mode::Cut);
        self.set(Mode::Forward);
    }

    pub fn delay(&self, delay: Duration) {
        self.state.delay.store(delay.as_millis() as u64, SeqCst);
    }

    /// Lets the requests arrive that are held.
    pub fn release(&self) {
        self.state.released.store(true, SeqCst);
    }

    pub fn dropped(&self) -> u64 {
        self.state.dropped.load(SeqCst)
    }
}

impl State {
    fn copy(&self, mut from: TcpStream, mut to: TcpStream, replies: bool) {
        let mut block = vec![0; 1 << 16];
        loop {
            let n = from.read(&mut block).unwrap_or(0);
            if n == 0 {
                let _ = to.shutdown(Shutdown::Write);
                return;
            }
            // The delay that a test asks for.
            std::thread::sleep(Duration::from_millis(self.delay.load(SeqCst)));
            let mut mode = self.mode.lock().unwrap();
            let before = *mode;
            if before == Mode::OneReply && replies {
                *mode = Mode::DropReplies;
            }
            drop(mode);
            match before {
                Mode::DropReplies if replies => {
                    self.dropped.fetch_add(1, SeqCst);
                    continue;
                }
                Mode::Swallow => continue,
                Mode::Hold if !replies => {
                    eventually("the release", || self.released.load(SeqCst));
                }
                _ => {}
            }
            if to.write_all(&block[..n]).is_err() {
                return;
            }
        }
    }
}
