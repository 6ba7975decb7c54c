//! Exporters as processes.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, LazyLock, Mutex};

use serde_json::Value;

use crate::support::eventually;
use crate::support::http::{Answer, get};

static PROGRAMS: LazyLock<PathBuf> = LazyLock::new(|| {
    crate::support::examples::build(&["exporter", "redis_exporter", "troubled_exporter"])
});

/// Returns the path of an example.
pub fn program(name: &str) -> PathBuf {
    PROGRAMS.join(name)
}

/// Creates an empty directory for one test's files.
pub fn folder(name: &str) -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let dir = dir.join(format!("exporter-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    dir
}

/// A running exporter, which is killed when the test ends.
pub struct Running {
    pub child: Child,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        // The process may have exited already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Returns a command that runs an example in an empty environment.
pub fn command<I: AsRef<OsStr>>(name: &str, args: impl IntoIterator<Item = I>) -> Command {
    let mut command = Command::new(program(name));
    command
        .args(args)
        .env_clear()
        .current_dir(env!("CARGO_TARGET_TMPDIR"));
    command
}

/// Starts an exporter whose log is JSON.
pub fn start(mut command: Command) -> Running {
    command.stderr(Stdio::piped()).stdout(Stdio::null());
    let mut child = command.spawn().unwrap();
    let lines = Arc::new(Mutex::new(Vec::new()));
    let stderr = BufReader::new(child.stderr.take().unwrap());
    let log = Arc::clone(&lines);
    std::thread::spawn(move || {
        for line in stderr.lines().map_while(Result::ok) {
            log.lock().unwrap().push(line);
        }
    });
    Running { child, lines }
}

/// The arguments of an exporter at a free port, with a log that tests can read.
pub const HERE: [&str; 8] = [
    "-H",
    "127.0.0.1",
    "-p",
    "0",
    "-L",
    "debug",
    "--log-format",
    "json",
];

/// Starts an example at a free port.
pub fn serve(name: &str, args: &[&str]) -> Running {
    start(command(name, HERE.iter().chain(args)))
}

impl Running {
    /// Returns what the log has so far.
    pub fn log(&self) -> Vec<String> {
        self.lines.lock().unwrap().clone()
    }

    /// Returns the records with this event, in the order of the log.
    pub fn events(&self, event: &str) -> Vec<Value> {
        let records = self
            .log()
            .into_iter()
            .filter_map(|line| serde_json::from_str(&line).ok());
        records
            .filter(|record: &Value| record["event"] == event)
            .collect()
    }

    /// Waits until the log has so many records of this event, and returns them.
    pub fn wait_for(&mut self, event: &str, count: usize) -> Vec<Value> {
        eventually(&format!("{count} records of `{event}`"), || {
            let (ended, events) = (self.child.try_wait().unwrap(), self.events(event));
            let (are_there, log) = (events.len() >= count, self.log());
            assert!(are_there || ended.is_none(), "{ended:?}: {log:#?}");
            are_there.then_some(events).ok_or(format!("{log:#?}"))
        })
    }

    /// Returns the address of its first socket.
    pub fn address(&mut self) -> SocketAddr {
        let listening = self.wait_for("listening", 1);
        address_of(&listening[0])
    }

    pub fn get(&mut self, path: &str) -> Answer {
        get(self.address(), path, &[])
    }

    /// Returns the value of a sample on the metrics page.
    pub fn value(&mut self, sample: &str) -> Option<f64> {
        value(self.get("/metrics").text(), sample)
    }

    pub fn signal(&self, signal: &str) {
        let id = self.child.id().to_string();
        let status = Command::new("kill").args([signal, &id]).status().unwrap();
        assert!(status.success());
    }

    /// Waits for the end, and returns the exit code.
    pub fn end(&mut self) -> Option<i32> {
        eventually("the end", || self.child.try_wait().unwrap()).code()
    }
}

/// Returns the address in a record of the event `listening`.
pub fn address_of(listening: &Value) -> SocketAddr {
    let url = listening["url"].as_str().unwrap();
    let (_, address) = url.split_once("://").unwrap();
    address.trim_end_matches('/').parse().unwrap()
}

/// Returns the value of a sample, such as `up{job="a"}`, on a page.
pub fn value(page: &str, sample: &str) -> Option<f64> {
    page.lines().find_map(|line| {
        let (own, value) = line.rsplit_once(' ')?;
        (own == sample).then(|| value.parse().unwrap())
    })
}

/// Runs a program to its end, for a bounded time.
pub fn run(mut command: Command) -> Output {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // Reads while it runs, because completions are longer than a pipe.
    let (mut stdout, mut stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    let read = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        stdout.read_to_end(&mut bytes).unwrap();
        bytes
    });
    let mut running = Running {
        child,
        lines: Arc::default(),
    };
    let status = eventually("the end", || running.child.try_wait().unwrap());
    let mut bytes = Vec::new();
    stderr.read_to_end(&mut bytes).unwrap();
    Output {
        status,
        stdout: read.join().unwrap(),
        stderr: bytes,
    }
}

pub fn said(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
