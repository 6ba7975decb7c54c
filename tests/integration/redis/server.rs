//! Real servers: `redis-server` on a free port, with a directory of its own.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use crate::support::{eventually, free_port};

/// A server that ends with this value.
pub struct Server {
    child: Option<Child>,
    pub port: u16,
    dir: PathBuf,
    arguments: Vec<String>,
}

impl Server {
    /// Starts a server without persistence.
    pub fn start() -> Self {
        Self::with(&[])
    }

    /// Starts a server with more arguments.
    pub fn with(arguments: &[&str]) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Relaxed);
        let name = format!("tallies-redis-{}-{count}", std::process::id());
        let dir = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&dir).unwrap();
        let mut server = Self {
            child: None,
            port: 0,
            dir,
            arguments: arguments.iter().map(|&a| a.to_owned()).collect(),
        };
        // Another process may take the port between the look and the start.
        for _ in 0..5 {
            server.port = free_port();
            if server.run() {
                return server;
            }
        }
        panic!("redis-server does not start: is it installed?");
    }

    /// Runs the server on its port. Returns whether it answers.
    fn run(&mut self) -> bool {
        let log = std::fs::File::create(self.dir.join("log")).unwrap();
        let mut command = Command::new("redis-server");
        command
            .args(["--port", &self.port.to_string(), "--bind", "127.0.0.1"])
            .args(["--save", "", "--appendonly", "no"])
            .args(["--dir", self.dir.to_str().unwrap()])
            .args(["--unixsocket", self.socket().to_str().unwrap()])
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(Stdio::null());
        let child = command.spawn();
        let mut child = child.expect("redis-server has to be installed");
        let started = eventually("redis-server answers", || {
            if child.try_wait().unwrap().is_some() {
                return Some(false);
            }
            let mut connection = self.connect().ok()?;
            let answer: Result<String, _> = redis::cmd("PING").query(&mut connection);
            let no_auth = |e: &redis::RedisError| e.code() == Some("NOAUTH");
            match answer {
                Ok(_) => Some(true),
                Err(e) if no_auth(&e) => Some(true),
                Err(_) => None,
            }
        });
        self.child = Some(child);
        started
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port)
    }

    pub fn socket(&self) -> PathBuf {
        self.dir.join("socket")
    }

    fn connect(&self) -> redis::RedisResult<redis::Connection> {
        // A replica that loads its first copy beside other tests answered after more than 2 s.
        let client = redis::Client::open(self.url())?;
        client.get_connection_with_timeout(Duration::from_secs(20))
    }

    /// Runs a command.
    pub fn run_command<T: redis::FromRedisValue>(&self, words: &[&str]) -> T {
        let mut command = redis::cmd(words[0]);
        command.arg(&words[1..]);
        command.query(&mut self.connect().unwrap()).unwrap()
    }

    /// Returns how often a command was called.
    pub fn calls(&self, command: &str) -> u64 {
        let stats: String = self.run_command(&["INFO", "commandstats"]);
        let prefix = format!("cmdstat_{command}:calls=");
        let line = stats.lines().find_map(|line| line.strip_prefix(&prefix));
        line.map_or(0, |line| line.split(',').next().unwrap().parse().unwrap())
    }

    /// Returns the fields of a hash.
    pub fn fields(&self, key: &str) -> Vec<(Vec<u8>, Vec<u8>)> {
        self.run_command(&["HGETALL", key])
    }

    /// Sets a field of a hash.
    pub fn set_field(&self, key: &str, field: &[u8], value: &[u8]) {
        let mut command = redis::cmd("HSET");
        command.arg(key).arg(field).arg(value);
        let () = command.query(&mut self.connect().unwrap()).unwrap();
    }

    /// Returns the keys that match, for tests only: nothing in the library needs this command.
    pub fn keys(&self, pattern: &str) -> Vec<String> {
        let mut keys: Vec<String> = self.run_command(&["KEYS", pattern]);
        keys.sort();
        keys
    }

    /// Ends the server as a crash would.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Starts it again on the same port, without its data.
    pub fn restart(&mut self) {
        self.kill();
        assert!(self.run(), "the port was taken in the meantime");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}
