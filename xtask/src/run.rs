//! The test programs, and how one test runs with one mutation.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::patch::{self, With};
use crate::plan::Plan;
use crate::switch;
use crate::tree::{self, Result};

/// How long one test may take, on a machine that does other work as well. Then it says nothing of
/// the code.
const LIMIT: Duration = Duration::from_secs(600);
const SIGKILL: i32 = 9;

/// A test program with all mutations; of [`With::Tests`], several.
#[derive(Debug)]
pub(crate) struct Program {
    /// By the name of the program; that of the library has none.
    paths: BTreeMap<String, PathBuf>,
    tree: PathBuf,
    /// A hash of all that it was built from, without the mutations and without comments.
    sources: u64,
}

/// A build that failed: what the compiler said, by file and line.
#[derive(Debug)]
pub(crate) struct Broken {
    pub(crate) errors: Vec<(String, usize, String)>,
    pub(crate) log: String,
}

/// Builds a program from the copy of the package, or those that the patches name from a copy of the
/// workspace.
pub(crate) fn build(
    root: &Path,
    tree: &Path,
    with: With,
    plan: &Plan,
) -> Result<std::result::Result<Program, Broken>> {
    let mut arguments: Vec<&str> = vec!["test", "--no-run", "--message-format=short"];
    let mut flags = None;
    // The workspace has the dependencies of the other steps, which are built.
    let mut target = root.join("target");
    if with == With::Tests {
        arguments.extend(["--workspace", "--all-features"]);
        let tests = plan.mutations.iter().filter(|m| m.with == with);
        let programs: BTreeSet<_> = tests
            .flat_map(|mutation| &mutation.tests)
            .filter_map(|test| Some(test.split_once('/')?.0))
            .collect();
        // The program of a library has the name of its crate.
        let (libraries, programs): (Vec<_>, Vec<_>) = programs
            .into_iter()
            .partition(|name| name.starts_with("tallies_"));
        arguments.extend((!libraries.is_empty()).then_some("--lib"));
        arguments.extend(programs.into_iter().flat_map(|name| ["--test", name]));
    } else {
        arguments.extend(["--package", "tallies", "--release", "--lib"]);
        target = tree.with_file_name(with.name());
        flags = Some("--cfg loom --cap-lints allow");
        if with == With::Threads {
            arguments.extend(["--features", "process,mmap"]);
            flags = Some("--cap-lints allow -C debug-assertions");
        }
    }
    let output = Command::new(std::env::var("CARGO").unwrap_or_else(|_| "cargo".into()))
        .args(&arguments)
        .current_dir(tree)
        .env("CARGO_TARGET_DIR", &target)
        .envs(flags.map(|flags| ("RUSTFLAGS", flags)))
        .env(
            "CARGO_INCREMENTAL",
            std::env::var("CARGO_INCREMENTAL").unwrap_or_else(|_| "1".to_owned()),
        )
        .env("CARGO_TERM_COLOR", "never")
        .output()
        .map_err(|error| format!("cargo: {error}"))?;
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    let mut paths = BTreeMap::new();
    let mut errors = Vec::new();
    for line in log.lines() {
        if let Some((_, path)) = line
            .trim()
            .strip_prefix("Executable ")
            .and_then(|line| line.split_once('('))
        {
            let path = tree.join(path.trim_end_matches(')'));
            let stem = path.file_stem().unwrap_or_default().to_string_lossy();
            let name = match with {
                With::Tests => stem.rsplit_once('-').map_or("", |(name, _)| name),
                With::Loom | With::Threads => "",
            };
            paths.insert(name.to_owned(), path.clone());
        }
        if let Some((place, message)) = line.split_once(": error") {
            let mut place = place.split(':');
            if let (Some(path), Some(Ok(number))) = (place.next(), place.next().map(str::parse)) {
                errors.push((path.to_owned(), number, message.to_owned()));
            }
        }
    }
    if !output.status.success() || paths.is_empty() {
        return Ok(Err(Broken { errors, log }));
    }
    let mut built_from = format!("{arguments:?} {flags:?} {}\n", rustc());
    // The compiler lists the files that it read.
    let mut files = BTreeSet::new();
    for path in paths.values() {
        let listed = tree::read(&path.with_extension("d"))?;
        let listed = listed.lines().next().unwrap_or_default();
        files.extend(listed.split_whitespace().skip(1).map(str::to_owned));
    }
    if with == With::Tests {
        // The library is a package of its own there.
        files.extend(plan.sources.keys().cloned());
    }
    for file in files {
        let text = match plan.sources.get(&file) {
            Some(text) => text.clone(),
            None if file.starts_with("tests/") => tree::read(&tree.join(&file))?,
            None => continue,
        };
        built_from += &file;
        patch::tokens(&text)
            .iter()
            .for_each(|token| built_from.extend([" ", token.text]));
    }
    for file in tree::files(tree, "macros")?
        .iter()
        .map(String::as_str)
        .chain(["Cargo.lock", "Cargo.toml", "build.rs"])
    {
        built_from += &tree::read(&tree.join(file))?;
    }
    for file in tree::files(root, "xtask/src")? {
        built_from += &tree::read(&root.join(file))?;
    }
    Ok(Ok(Program {
        paths,
        tree: tree.to_owned(),
        sources: switch::number(&built_from),
    }))
}

fn rustc() -> String {
    let version = Command::new("rustc").arg("-vV").output();
    version.map_or_else(
        |_| String::new(),
        |output| String::from_utf8_lossy(&output.stdout).into_owned(),
    )
}

/// The verdict of a test on a mutation.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Passes,
    Fails,
    OutOfTime,
    NoSuchTest,
}

impl Program {
    /// Runs one test, or all below a module, with one mutation or, for 0, none.
    pub(crate) fn run(&self, test: &str, mutation: u64, log: &Path) -> Result<Verdict> {
        let (name, test) = test.split_once('/').unwrap_or(("", test));
        let Some(path) = self.paths.get(name) else {
            return Ok(Verdict::NoSuchTest);
        };
        let problem = |error| format!("{}: {error}", path.display());
        let output = File::create(log).map_err(problem)?;
        let mut command = Command::new(path);
        if !test.ends_with("::") {
            command.arg("--exact");
        }
        let mut child = command
            .arg(test)
            .current_dir(&self.tree)
            .env("MUTATION", mutation.to_string())
            .env("RUST_BACKTRACE", "0")
            .env("PROPTEST_MAX_SHRINK_ITERS", "0")
            .env("PROPTEST_DISABLE_FAILURE_PERSISTENCE", "true")
            .stdin(Stdio::null())
            .stderr(output.try_clone().map_err(problem)?)
            .stdout(output)
            .spawn()
            .map_err(problem)?;
        let begin = Instant::now();
        let status = loop {
            if let Some(status) = child.try_wait().map_err(problem)? {
                break status;
            }
            if begin.elapsed() > LIMIT {
                let _ = child.kill();
                let _ = child.wait();
                return Ok(Verdict::OutOfTime);
            }
            std::thread::sleep(Duration::from_millis(10));
        };
        let ran = fs::read(log)
            .is_ok_and(|log| !String::from_utf8_lossy(&log).contains("running 0 tests"));
        // A killed process is no verdict: memory may have been short.
        let is_killed = status.signal().is_some_and(|signal| signal == SIGKILL);
        Ok(match (status.success(), ran) {
            (false, _) if is_killed => Verdict::OutOfTime,
            (false, _) => Verdict::Fails,
            (true, true) => Verdict::Passes,
            (true, false) => Verdict::NoSuchTest,
        })
    }

    /// A number for one mutation of this program.
    pub(crate) fn key(&self, name: &str, change: &str) -> u64 {
        switch::number(&format!("{:x} {name}\n{change}", self.sources))
    }
}

/// The test that caught each mutation in an earlier run, or an interrupted one.
#[derive(Debug)]
pub(crate) struct Memory {
    known: HashMap<u64, String>,
    file: Mutex<File>,
}

impl Memory {
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).unwrap_or_default();
        let parse = |line: &str| {
            let (key, test) = line.split_once('\t')?;
            Some((u64::from_str_radix(key, 16).ok()?, test.to_owned()))
        };
        let file = File::options().create(true).append(true).open(path);
        let file = file.map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(Self {
            known: text.lines().filter_map(parse).collect(),
            file: Mutex::new(file),
        })
    }

    pub(crate) fn get(&self, key: u64) -> Option<&str> {
        self.known.get(&key).map(String::as_str)
    }

    pub(crate) fn add(&self, key: u64, test: &str) {
        let mut file = self.file.lock().expect("no panic here");
        // Only time is lost.
        let _ = writeln!(file, "{key:x}\t{test}");
    }
}
