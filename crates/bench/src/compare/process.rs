//! Executables as lanes: processes that answer requests for batches over pipes.

use std::fs;
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use tempfile::TempDir;

use super::hold::Hold;
use super::measure::{self, Batch, LANES, Lane, Lanes, Measurement, Unit};
use super::protocol::{self, Reply, Task};
use super::{Candidate, Compare, Report};
use crate::{Build, Error};

/// The time of the rounds of a restart, or the time to start the processes if that is longer.
const RESTART: Duration = Duration::from_millis(250);

/// A bench that does not answer for so long is stuck.
const PATIENCE: Duration = Duration::from_secs(if cfg!(test) { 3 } else { 60 });

/// Compares all benches that both executables have and whose name contains the filter.
pub(super) fn compare(
    compare: &Compare,
    [old, new]: [&Path; 2],
    [old_name, new_name]: [String; 2],
    filter: &str,
    mut show: impl FnMut(Report),
) -> Result<(), Error> {
    let programs = Programs::copy(old, new)?;
    let start = |lane| Bench::start(programs.path(lane)).map(Bench::end);
    let (mut old_names, old_build) = start(Lane::Old)?;
    let (new_names, new_build) = start(Lane::New)?;
    let candidates = [
        Candidate::new(old_name, old_build),
        Candidate::new(new_name, new_build),
    ];
    old_names.retain(|name| name.contains(filter) && new_names.contains(name));
    if old_names.is_empty() {
        let (old, new) = (old.display(), new.display());
        return Err(Error::setting(format!(
            "no bench of both {old} and {new} has `{filter}` in its name"
        )));
    }
    for name in &old_names {
        show(compare_bench(compare, &programs, name, candidates.clone())?);
    }
    Ok(())
}

fn compare_bench(
    compare: &Compare,
    programs: &Programs,
    name: &str,
    candidates: [Candidate; 2],
) -> Result<Report, Error> {
    let mut measurement = Measurement::new(compare, name, true, candidates);
    let mut iterations = None;
    loop {
        let start = Instant::now();
        let mut benches = programs.start(name, &mut measurement.rng)?;
        let started = start.elapsed();
        let iterations = match iterations {
            Some(iterations) => iterations,
            None => *iterations.insert(measure::calibrate(&mut benches, compare.batch)?),
        };
        measure::warm_up(&mut benches, iterations)?;
        let time = RESTART.max(started);
        let unit = Unit::run(&mut benches, iterations, time, &mut measurement.rng)?;
        if let Some(report) = measurement.push(unit, iterations) {
            return Ok(report);
        }
    }
}

/// Copies of the executables, one for each lane, with paths of the same length: the old one and the
/// control do not differ in more than a digit.
struct Programs {
    folder: TempDir,
    /// Tells the next comparison that this one lives.
    _hold: Hold,
}

/// The begin of the names of their folders.
const FOLDER: &str = ".tallies-bench-";
/// The lock in such a folder.
const LOCK: &str = "lock";

impl Programs {
    fn copy(old: &Path, new: &Path) -> Result<Self, Error> {
        // Beside the old executable, since programs may not run from every temporary folder.
        let beside = old.parent().filter(|parent| !parent.as_os_str().is_empty());
        let beside = beside.unwrap_or_else(|| Path::new("."));
        let mut builder = tempfile::Builder::new();
        builder.prefix(FOLDER);
        remove_abandoned(beside);
        let folder = match builder.tempdir_in(beside) {
            Ok(folder) => folder,
            Err(_) => {
                remove_abandoned(&std::env::temp_dir());
                builder.tempdir()?
            }
        };
        let programs = Self {
            _hold: Hold::new(&folder.path().join(LOCK), "")?,
            folder,
        };
        for lane in LANES {
            let from = if lane == Lane::New { new } else { old };
            fs::copy(from, programs.path(lane)).map_err(|error| at(from, &error))?;
        }
        Ok(programs)
    }

    fn path(&self, lane: Lane) -> PathBuf {
        self.folder.path().join(format!(
            "lane-{}{}",
            lane as u8,
            std::env::consts::EXE_SUFFIX
        ))
    }

    /// Starts one process for each lane, in random order.
    fn start(&self, name: &str, rng: &mut StdRng) -> Result<Benches, Error> {
        let mut order = LANES;
        order.shuffle(rng);
        let mut benches = [None, None, None];
        for lane in order {
            let bench = Bench::start(self.path(lane))?;
            let index = bench.names.iter().position(|other| other == name);
            let Some(index) = index else {
                return Err(Error::target(format!(
                    "`{name}` was there, and is not after a restart"
                )));
            };
            benches[lane as usize] = Some((bench, index));
        }
        Ok(Benches(
            benches.map(|bench| bench.expect("every lane was started")),
        ))
    }
}

/// Removes the copies of comparisons that were killed.
fn remove_abandoned(beside: &Path) {
    let entries = fs::read_dir(beside).into_iter().flatten().flatten();
    for entry in entries {
        let is_ours = entry.file_name().to_string_lossy().starts_with(FOLDER);
        // In a folder that others write, a link or a pipe may have such a name.
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        let lock = entry.path().join(LOCK);
        let is_lock = fs::symlink_metadata(&lock).is_ok_and(|lock| lock.is_file());
        if is_ours && is_folder && is_lock && Hold::abandoned(&lock).is_some() {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// A process of each lane, and the place of the measured bench in its names.
struct Benches([(Bench, usize); 3]);

impl Lanes for Benches {
    fn run(&mut self, lane: Lane, iterations: u64) -> Result<Batch, Error> {
        let (bench, index) = &mut self.0[lane as usize];
        let bench_run = Task::Run {
            bench: *index,
            iterations,
        };
        match bench.ask(bench_run)? {
            Reply::Took(batch) => Ok(batch),
            other => Err(bench.confused(&other)),
        }
    }
}

/// A process that answers.
struct Bench {
    path: PathBuf,
    process: Child,
    requests: ChildStdin,
    answers: Receiver<io::Result<Reply>>,
    /// Of the benches. Empty until the process has answered.
    names: Vec<String>,
    build: Option<Build>,
}

impl Bench {
    fn start(path: PathBuf) -> Result<Self, Error> {
        let mut process = spawn(&path).map_err(|error| at(&path, &error))?;
        let requests = process.stdin.take().expect("standard input is a pipe");
        let output = process.stdout.take().expect("standard output is a pipe");
        let answers = read(output)?;
        let mut bench = Self {
            path,
            process,
            requests,
            answers,
            names: Vec::new(),
            build: None,
        };
        match bench.ask(Task::Names)? {
            Reply::Names {
                version: protocol::VERSION,
                names,
                build,
            } => (bench.names, bench.build) = (names, build),
            Reply::Names { version, .. } => {
                return Err(Error::target(format!(
                    "an executable has version {version} of the messages of a comparison, and this \
                     one has {}: build both with versions of tallies-bench that agree",
                    protocol::VERSION
                )));
            }
            other => return Err(bench.confused(&other)),
        }
        Ok(bench)
    }

    /// Ends the process, and returns what it told.
    fn end(mut self) -> (Vec<String>, Option<Build>) {
        (std::mem::take(&mut self.names), self.build.take())
    }

    fn ask(&mut self, request: Task) -> Result<Reply, Error> {
        // A process that is gone is seen below, with its exit status.
        let _ = protocol::send_request(&mut self.requests, request);
        match self.answers.recv_timeout(PATIENCE) {
            Ok(answer) => Ok(answer?),
            Err(RecvTimeoutError::Timeout) => Err(self.late(request)),
            Err(RecvTimeoutError::Disconnected) => {
                let _ = self.process.kill();
                let status = self.process.wait()?;
                Err(self.error(&format!("ended before it answered ({status})")))
            }
        }
    }

    /// The error of a process that does not answer in time.
    fn late(&self, request: Task) -> Error {
        let (path, seconds) = (self.path.display(), PATIENCE.as_secs());
        let process = self.process.id();
        let why = match request {
            _ if is_stopped(process) => {
                format!("process {process} is stopped; `kill -CONT {process}` lets it go on")
            }
            Task::Names => "is it a bench that ends in `Suite::main`?".to_owned(),
            Task::Run { bench, iterations } => format!(
                "does `{}` take so long for {iterations} iterations, or does it wait for something?",
                self.names.get(bench).map_or("the bench", String::as_str)
            ),
        };
        Error::target(format!("{path} gave no answer for {seconds} s: {why}"))
    }

    fn confused(&self, answer: &Reply) -> Error {
        match answer {
            Reply::Refused(why) => self.error(&format!("refused: {why}")),
            Reply::Names { .. } | Reply::Took(_) => self.error("answered something else"),
        }
    }

    fn error(&self, what: &str) -> Error {
        let path = self.path.display();
        Error::target(format!(
            "{path} {what}: is it a bench that ends in `Suite::main`?"
        ))
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        // Also if it does not read its input; errors mean that it is gone.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Whether a signal or a debugger has stopped the process, where the system tells it.
fn is_stopped(process: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    // After the name, which is in parentheses and may contain some.
    let state = status.rsplit_once(") ").map(|(_, state)| state);
    state.is_some_and(|state| state.starts_with(['T', 't']))
}

fn spawn(path: &Path) -> io::Result<Child> {
    let mut command = Command::new(path);
    command.env(protocol::VARIABLE, protocol::VERSION.to_string());
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    // Another thread that starts a process just now may hold the copy open for writing, until that
    // process runs its own program.
    for _ in 0..100 {
        match command.spawn() {
            Err(error) if error.kind() == io::ErrorKind::ExecutableFileBusy => {
                thread::sleep(Duration::from_millis(10));
            }
            result => return result,
        }
    }
    command.spawn()
}

/// Reads answers on a thread of its own, because a pipe cannot be read with a time limit.
fn read(output: ChildStdout) -> io::Result<Receiver<io::Result<Reply>>> {
    let (sender, answers) = mpsc::channel();
    let mut output = BufReader::new(output);
    thread::Builder::new()
        .name("tallies-bench-lane".to_owned())
        .spawn(move || {
            while let Some(answer) = protocol::read_answer(&mut output).transpose() {
                let failed = answer.is_err();
                if sender.send(answer).is_err() || failed {
                    break;
                }
            }
        })?;
    Ok(answers)
}

/// The error with the path that it is about.
pub(super) fn at(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(unix)]
    fn a_bench_that_is_stopped_or_waits_is_named_so() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let bench = |name: &str, then: &str| {
            let path = folder.path().join(name);
            let names = r#"@tallies-bench {"names":{"version":1,"names":["join"]}}"#;
            let text = format!("#!/bin/sh\nread line\necho '{names}'\nread line\n{then}\n");
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
            Bench::start(path).unwrap()
        };
        let run = Task::Run {
            bench: 0,
            iterations: 7,
        };
        let late = |mut bench: Bench| bench.ask(run).unwrap_err().to_string();
        let waits = late(bench("waits", "exec sleep 600"));
        assert!(waits.contains("`join` take so long for 7"), "{waits}");
        assert!(!waits.contains("Suite::main"), "{waits}");
        if cfg!(target_os = "linux") {
            let stopped = late(bench("stopped", "kill -STOP $$"));
            assert!(stopped.contains("is stopped; `kill -CONT"), "{stopped}");
        }
    }

    #[test]
    fn copies_of_a_comparison_that_was_killed_are_removed_by_the_next_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("words");
        fs::write(&path, "").unwrap();
        let folders = || {
            let entries = fs::read_dir(folder.path()).unwrap().flatten();
            entries.filter(|entry| entry.path().is_dir()).count()
        };
        let living = Programs::copy(&path, &path).unwrap();
        // What a comparison that was killed leaves: a folder whose lock nobody has.
        let dead = folder.path().join(format!("{FOLDER}dead"));
        fs::create_dir(&dead).unwrap();
        fs::write(dead.join(LOCK), "").unwrap();
        fs::create_dir(folder.path().join("other")).unwrap();
        assert_eq!(folders(), 3);
        let next = Programs::copy(&path, &path).unwrap();
        assert!(!dead.exists() && living.path(Lane::Old).exists());
        assert_eq!(folders(), 3);
        drop((living, next));
        assert_eq!(folders(), 1);
    }
}
