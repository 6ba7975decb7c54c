//! A git revision that is built beside the working tree.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::Error;

/// A worktree of a revision. It is removed when dropped.
pub(super) struct Revision {
    /// The folder of the new worktree that has the same place as the current folder in its own.
    folder: PathBuf,
    tree: PathBuf,
    /// Shared by all revisions, so that dependencies are built once.
    target: PathBuf,
}

impl Revision {
    /// Checks out a revision below the target folder of the package in the current folder.
    pub(super) fn check_out(revision: &str) -> Result<Self, Error> {
        let verify = [
            "rev-parse",
            "--verify",
            "--end-of-options",
            &format!("{revision}^{{commit}}"),
        ];
        let commit = output(Command::new("git").args(verify))?;
        let within = output(Command::new("git").args(["rev-parse", "--show-prefix"]))?;
        let metadata = output(cargo().args(["metadata", "--no-deps", "--format-version", "1"]))?;
        let metadata: Value = serde_json::from_str(&metadata).map_err(io::Error::from)?;
        let Some(target) = metadata["target_directory"].as_str() else {
            return Err(Error::data("`cargo metadata` names no target folder"));
        };
        let ours = Path::new(target).join("tallies-bench");
        let tree = ours.join(format!("tree-{}", std::process::id()));
        // What killed comparisons left behind.
        output(Command::new("git").args(["worktree", "prune"]))?;
        let mut add = Command::new("git");
        add.args(["worktree", "add", "--detach", "--quiet"])
            .arg(&tree)
            .arg(commit.trim());
        output(&mut add)?;
        Ok(Self {
            folder: tree.join(within.trim()),
            tree,
            target: ours.join("target"),
        })
    }

    /// Builds a bench target of this revision, and returns its executable.
    pub(super) fn build(&self, bench: &str, package: Option<&str>) -> Result<PathBuf, Error> {
        if !self.folder.is_dir() {
            let why = format!("the revision has no folder {}", self.folder.display());
            return Err(Error::setting(why));
        }
        let mut command = cargo();
        let target = Value::from(self.target.to_string_lossy().into_owned());
        command.args(["--config", &format!("build.target-dir={target}")]);
        command.current_dir(&self.folder);
        build(command.env_remove("CARGO_TARGET_DIR"), bench, package)
    }
}

impl Drop for Revision {
    fn drop(&mut self) {
        let remove = ["worktree", "remove", "--force"];
        let _ = output(Command::new("git").args(remove).arg(&self.tree));
    }
}

/// Builds a bench target of the working tree, and returns its executable.
pub(super) fn build_here(bench: &str, package: Option<&str>) -> Result<PathBuf, Error> {
    build(&mut cargo(), bench, package)
}

fn build(cargo: &mut Command, bench: &str, package: Option<&str>) -> Result<PathBuf, Error> {
    cargo.args([
        "bench",
        "--no-run",
        "--message-format=json-render-diagnostics",
    ]);
    // Cargo calls the executable of `my-bench` `my_bench`, so a bench program does not know which.
    let same = |name: &str| name.replace('-', "_") == bench.replace('-', "_");
    cargo.arg("--bench").arg(bench.replace(['-', '_'], "?"));
    package.map(|package| cargo.args(["--package", package]));
    let messages = output(cargo.stderr(Stdio::inherit()))?;
    let message = |line| serde_json::from_str::<Value>(line).ok();
    let messages = messages.lines().filter_map(message);
    let mut built = messages.filter(|message| {
        let target = &message["target"];
        let kinds = target["kind"].as_array();
        kinds.is_some_and(|kinds| kinds.iter().any(|kind| kind == "bench"))
            && target["name"].as_str().is_some_and(same)
    });
    let executable = built.find_map(|message| Some(message["executable"].as_str()?.into()));
    executable.ok_or_else(|| Error::target(format!("cargo built no bench `{bench}`")))
}

/// The cargo that runs this program, or the one of the path.
fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// Runs a command to its end and returns what it prints.
fn output(command: &mut Command) -> Result<String, Error> {
    let name = command.get_program().to_string_lossy().into_owned();
    let failed = |why: String| Error::target(format!("`{name}` failed: {why}"));
    let output = command.output();
    let output = output.map_err(|error| failed(error.to_string()))?;
    if !output.status.success() {
        let why = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(failed(match why.as_str() {
            "" => output.status.to_string(),
            _ => why,
        }));
    }
    String::from_utf8(output.stdout).map_err(|_| failed("it printed no UTF-8".to_owned()))
}
