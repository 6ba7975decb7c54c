//! A process of the program that is measured: this test binary again, told what to do line by line.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use tallies::{Counter, Gauge, Histogram, Registry, UpDownCounter};
use tallies_redis::Redis;

const URL: &str = "TALLIES_TEST_REDIS";
const NAMESPACE: &str = "TALLIES_TEST_NAMESPACE";

pub struct Process {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Process {
    pub fn start(url: &str, namespace: &str) -> Self {
        Self::start_with(url, namespace, Stdio::null())
    }

    pub fn start_with(url: &str, namespace: &str, errors: Stdio) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "process::a_process_obeys_and_ends",
                "--exact",
                "--nocapture",
                "--test-threads=1",
            ])
            .env(URL, url)
            .env(NAMESPACE, namespace)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(errors)
            .spawn()
            .unwrap();
        let input = child.stdin.take().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        Self {
            child,
            input,
            output,
        }
    }

    /// Tells the process what to do, and returns its answer.
    pub fn tell(&mut self, line: &str) -> String {
        self.send(line);
        self.answer()
    }

    pub fn send(&mut self, line: &str) {
        writeln!(self.input, "{line}").unwrap();
        self.input.flush().unwrap();
    }

    pub fn answer(&mut self) -> String {
        loop {
            let mut line = String::new();
            let n = self.output.read_line(&mut line).unwrap();
            assert!(n > 0, "the process has ended");
            if let Some(answer) = line.trim_end().split("> ").nth(1) {
                return answer.to_owned();
            }
        }
    }

    /// Returns the numbers that the process said before it ended.
    pub fn rest(&mut self) -> Vec<u64> {
        let lines = (&mut self.output).lines().map_while(Result::ok);
        let answers = lines.filter_map(|line| line.split("> ").nth(1)?.parse().ok());
        answers.collect()
    }

    pub fn id(&self) -> i32 {
        self.child.id() as i32
    }

    pub fn signal(&self, signal: i32) {
        // SAFETY: a system call with the id of a child that has not been waited for.
        #[allow(unsafe_code)]
        let result = unsafe { libc::kill(self.id(), signal) };
        assert_eq!(result, 0);
    }

    /// Ends the process without a chance to say anything.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits until the process ends by itself.
    pub fn wait_for_end(mut self) -> std::process::ExitStatus {
        self.child.wait().unwrap()
    }

    /// Tells the process to end, and returns what it wrote to standard error.
    pub fn errors(mut self) -> String {
        drop(self.input);
        let mut errors = String::new();
        let mut pipe = self.child.stderr.take().unwrap();
        std::io::Read::read_to_string(&mut pipe, &mut errors).unwrap();
        self.child.wait().unwrap();
        errors
    }

    /// Tells the process to end, and waits for that.
    pub fn wait(mut self) -> std::process::ExitStatus {
        drop(self.input);
        self.child.wait().unwrap()
    }
}

/// The test that a process runs: there, it obeys.
#[test]
fn a_process_obeys_and_ends() {
    if let (Ok(url), Ok(namespace)) = (std::env::var(URL), std::env::var(NAMESPACE)) {
        return obey(&url, &namespace);
    }
    let server = crate::server::Server::start();
    let mut process = Process::start(&server.url(), "test");
    assert_eq!(process.tell("count 8"), "ok");
    assert_eq!(process.tell("get jobs_total"), "Some(8.0)");
    assert!(process.wait().success());
}

/// Does what the lines of standard input say, until it ends.
fn obey(url: &str, namespace: &str) {
    let registry = Registry::new();
    let jobs = registry.counter("jobs_total", "Jobs.").unwrap();
    let seconds = Counter::builder("busy_seconds_total", "Time.").float();
    let seconds = seconds.register(&registry).unwrap();
    let latency = Histogram::builder("latency_seconds", "Latency.").buckets(&[0.5, 1.0]);
    let latency = latency.register(&registry).unwrap();
    let load = Gauge::builder("load", "Load.").register(&registry).unwrap();
    let active = UpDownCounter::builder("active", "Active.")
        .register(&registry)
        .unwrap();
    let store = Redis::builder(url)
        .unwrap()
        .registry(&registry)
        .namespace(namespace)
        .flush_every(Duration::from_millis(20))
        .start()
        .unwrap();
    let done = |result: Result<(), tallies::Error>| match result {
        Ok(()) => println!("> ok"),
        Err(error) => println!("> {error}"),
    };
    for line in std::io::stdin().lines() {
        let line = line.unwrap();
        let words: Vec<_> = line.split(' ').collect();
        let number = || words[1].parse::<u64>().unwrap();
        match words[0] {
            // All kinds at once, from several threads.
            "count" => {
                std::thread::scope(|scope| {
                    for _ in 0..4 {
                        scope.spawn(|| {
                            for _ in 0..number() / 4 {
                                jobs.inc();
                                seconds.add(0.5);
                                latency.observe(0.75);
                            }
                        });
                    }
                });
                println!("> ok");
            }
            // Counts until the process is killed, and says what was acknowledged.
            "forever" => loop {
                jobs.add(7);
                let result = store.flush_blocking();
                result.unwrap();
                println!("> {}", jobs.get());
            },
            "load" => {
                load.set(number() as f64);
                active.inc();
                println!("> ok");
            }
            "flush" => done(store.flush_blocking()),
            "get" => {
                let mut snapshot = tallies::snapshot::Snapshot::default();
                use tallies::snapshot::Source;
                match store.try_snapshot_into(&mut snapshot) {
                    Ok(()) => println!("> {:?}", snapshot.get(words[1], &[])),
                    Err(error) => println!("> {error}"),
                }
            }
            // What a child of a fork gets, which has no thread of the store.
            "fork" => {
                // SAFETY: the child calls nothing that another thread of the parent could have
                // locked, except the allocator, which is usable in a child.
                #[allow(unsafe_code)]
                let child = unsafe { libc::fork() };
                if child == 0 {
                    let refused = store
                        .flush_blocking()
                        .is_err_and(|error| error.to_string().contains("started before a fork"));
                    use tallies::snapshot::Source;
                    let mut page = tallies::snapshot::Snapshot::default();
                    let refused = refused && store.try_snapshot_into(&mut page).is_err();
                    // SAFETY: ends this process only.
                    #[allow(unsafe_code)]
                    unsafe {
                        libc::_exit(i32::from(!refused))
                    }
                }
                let mut status = -1;
                // SAFETY: a child of this process, and a place for its status.
                #[allow(unsafe_code)]
                unsafe {
                    libc::waitpid(child, &mut status, 0);
                }
                println!("> {status}");
            }
            // From now on, no snapshot of the registry ends.
            "hang" => {
                let collect = |_: &mut tallies::collect::Collected| {
                    loop {
                        std::thread::park();
                    }
                };
                registry.add_collector("hanging", collect).unwrap();
                println!("> ok");
            }
            "close" => done(store.close_blocking()),
            "signals" => {
                store.close_on_signals();
                // The request has arrived once a later one is answered.
                done(store.flush_blocking());
            }
            other => println!("> unknown: {other}"),
        }
    }
}
