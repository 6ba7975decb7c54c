//! A git revision that is built beside the working tree.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use super::hold::Hold;
use crate::Error;

/// A worktree of a revision. It is removed when dropped.
pub(super) struct Revision {
    /// The folder of the new worktree that has the same place as the current folder in its own.
    folder: PathBuf,
    tree: PathBuf,
    /// Shared by all revisions, so that dependencies are built once.
    target: PathBuf,
    /// The revision as the user named it, and its commit.
    name: String,
    /// Has the tree as its text.
    _hold: Hold,
}

impl Revision {
    /// Checks out a revision below the target folder of the package in the current folder. If the
    /// package depends on folders outside of the repository, checks it out beside the repository,
    /// where their relative paths lead to the same folders.
    pub(super) fn check_out(revision: &str) -> Result<Self, Error> {
        let top = output(Command::new("git").args(["rev-parse", "--show-toplevel"]))?;
        let top = PathBuf::from(top.trim());
        let commit = commit(revision)?;
        let within = output(Command::new("git").args(["rev-parse", "--show-prefix"]))?;
        let metadata = output(cargo().args(["metadata", "--no-deps", "--format-version", "1"]))?;
        let metadata: Value = serde_json::from_str(&metadata).map_err(io::Error::from)?;
        let Some(target) = metadata["target_directory"].as_str() else {
            return Err(Error::data("`cargo metadata` names no target folder"));
        };
        let ours = Path::new(target).join("tallies-bench");
        fs::create_dir_all(&ours)?;
        remove_abandoned(&ours);
        let process = std::process::id();
        let outside = outside(&metadata, &top);
        let beside = top.parent().filter(|_| outside.is_some());
        let tree = match beside {
            Some(beside) => beside.join(format!(".tallies-bench-tree-{process}")),
            None => ours.join(format!("tree-{process}")),
        };
        let hold = Hold::new(
            &ours.join(format!("tree-{process}.lock")),
            &tree.to_string_lossy(),
        )?;
        let mut add = Command::new("git");
        add.args(["worktree", "add", "--detach", "--quiet"])
            .arg(&tree)
            .arg(&commit);
        output(&mut add).map_err(|error| match &outside {
            Some(path) => Error::setting(format!(
                "the package depends on {path}, outside of the repository, so the worktree of \
                 {revision} must be beside the repository, in {}: {error}. Build the old version \
                 where its paths are right, and use `--old`",
                tree.display()
            )),
            None => error,
        })?;
        Ok(Self {
            folder: tree.join(within.trim()),
            tree,
            target: ours.join("target"),
            name: format!("{revision}, commit {}", short(&commit)),
            _hold: hold,
        })
    }

    /// The revision and its commit.
    pub(super) fn name(&self) -> &str {
        &self.name
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
        remove(&self.tree);
    }
}

/// The commit of a revision.
fn commit(revision: &str) -> Result<String, Error> {
    let name = format!("{revision}^{{commit}}");
    let verify = ["rev-parse", "--verify", "--end-of-options", &name];
    let commit = output(Command::new("git").args(verify));
    commit
        .map(|commit| commit.trim().to_owned())
        .map_err(|error| {
            Error::setting(format!(
                "git knows no revision `{revision}` in this repository; a branch, a tag or a \
                 commit is right, and a shallow clone has few of them ({error})"
            ))
        })
}

/// Ten digits of a commit.
fn short(commit: &str) -> &str {
    commit.get(..10).unwrap_or(commit)
}

/// The name of the working tree: its commit, and whether files differ from it.
pub(super) fn working_tree() -> String {
    let status = ["status", "--porcelain", "--untracked-files=no"];
    let changes = output(Command::new("git").args(status));
    match (commit("HEAD"), changes) {
        (Ok(commit), Ok(changes)) if changes.trim().is_empty() => {
            format!("working tree, commit {}", short(&commit))
        }
        (Ok(commit), _) => format!("working tree, commit {} with changes", short(&commit)),
        (Err(_), _) => "working tree".to_owned(),
    }
}

/// The first folder outside of the repository that a package of the workspace depends on.
fn outside(metadata: &Value, top: &Path) -> Option<String> {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let dependencies = list(&metadata["packages"]).into_iter();
    let dependencies = dependencies.flat_map(|package| list(&package["dependencies"]));
    let mut paths = dependencies.filter_map(|one| one["path"].as_str().map(str::to_owned));
    // Git follows links, and cargo does not.
    let real = |path: &Path| fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let top = real(top);
    paths.find(|path| !real(Path::new(path)).starts_with(&top))
}

/// Removes the worktrees of comparisons that were killed.
fn remove_abandoned(ours: &Path) {
    let entries = fs::read_dir(ours).into_iter().flatten().flatten();
    let locks = entries.filter(|entry| entry.path().extension().is_some_and(|it| it == "lock"));
    for lock in locks {
        if let Some((_hold, tree)) = Hold::abandoned(&lock.path()) {
            remove(Path::new(&tree));
        }
    }
}

/// Removes a worktree of ours, also one whose folder is gone, and, by the second `--force`, one
/// that git still holds locked because it was killed in the middle of `git worktree add`. `prune`
/// is not for this: it forgets every worktree of the user whose disk is not mounted now.
fn remove(tree: &Path) {
    let remove = ["worktree", "remove", "--force", "--force"];
    let _ = output(Command::new("git").args(remove).arg(tree));
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_paths_outside_of_the_repository_move_the_worktree() {
        let with = |paths: &[Option<&str>]| {
            let dependencies = paths
                .iter()
                .map(|path| json!({ "name": "a", "path": path }));
            let dependencies: Vec<Value> = dependencies.collect();
            json!({ "packages": [{ "dependencies": [] }, { "dependencies": dependencies }] })
        };
        let top = Path::new("/home/words");
        let found = |paths: &[Option<&str>]| outside(&with(paths), top);
        assert_eq!(found(&[None, Some("/home/words/crates/a")]), None);
        let outside = Some("/home/words-2/a");
        assert_eq!(found(&[None, outside]).as_deref(), outside);
    }

    #[test]
    fn an_unknown_revision_is_named() {
        let error = commit("no-such-revision").unwrap_err();
        assert!(error.is_setting(), "{error}");
        assert!(error.to_string().contains("`no-such-revision`"), "{error}");
    }
}
