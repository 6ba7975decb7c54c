//! Packages outside of this repository that use the crate, as cargo builds them.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

/// Creates a package with this manifest, whose dependencies are those of the lock file here.
fn package(manifest: &str) -> TempDir {
    let package = tempfile::tempdir().unwrap();
    fs::write(package.path().join("Cargo.toml"), manifest).unwrap();
    fs::copy(
        format!("{ROOT}/Cargo.lock"),
        package.path().join("Cargo.lock"),
    )
    .unwrap();
    fs::create_dir(package.path().join("src")).unwrap();
    fs::write(package.path().join("src/lib.rs"), "").unwrap();
    package
}

/// Runs cargo in a package, without a network.
fn cargo(package: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO"))
        .current_dir(package)
        .env("CARGO_NET_OFFLINE", "true")
        .env("CARGO_TARGET_DIR", package.join("target"))
        .args(arguments)
        .output()
        .unwrap()
}

/// Returns the text between two others.
fn between<'a>(text: &'a str, open: &str, close: &str) -> &'a str {
    let (_, rest) = text.split_once(open).unwrap();
    rest.split_once(close).unwrap().0
}

#[test]
fn cargo_refuses_two_versions_of_tallies_with_the_words_of_the_readme() {
    let text = |path: &str| fs::read_to_string(format!("{ROOT}/{path}")).unwrap();
    let (readme, manifest) = (text("crates/bench/README.md"), text("Cargo.toml"));
    let links = between(&manifest, "\nlinks = \"", "\"");
    assert!(readme.contains(&format!("`{links}`")), "{links}");
    let own = text("crates/bench/Cargo.toml");
    let accepted = between(&own, "\ntallies = { version = \"", "\"");
    assert!(readme.contains(&format!("now {accepted},")), "{accepted}");

    let package = package(&format!(
        r#"
        [package]
        name = "words"
        edition = "2024"

        [workspace]

        [dependencies]
        tallies = {{ path = "another" }}

        [dev-dependencies]
        tallies-bench = {{ path = "{ROOT}/crates/bench" }}
        "#
    ));
    let another = package.path().join("another");
    fs::create_dir_all(another.join("src")).unwrap();
    fs::write(another.join("src/lib.rs"), "").unwrap();
    fs::write(another.join("build.rs"), "fn main() {}").unwrap();
    let manifest =
        format!("[package]\nname = \"tallies\"\nversion = \"0.999.0\"\nlinks = \"{links}\"\n");
    fs::write(another.join("Cargo.toml"), manifest).unwrap();
    let refused = cargo(package.path(), &["metadata", "--format-version", "1"]);
    let why = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success(), "{why}");
    assert!(why.contains("0.999.0") && why.contains(links), "{why}");
}

/// Writes a bench that repeats its work so often, and commits it.
#[cfg(unix)]
fn commit(package: &Path, times: u32) {
    let bench = format!(
        r#"
        fn main() -> std::process::ExitCode {{
            let work = || (0..{times}_u64).fold(1, |sum, i| std::hint::black_box(sum ^ i));
            tallies_bench::compare::Suite::new().bench("fold", work).main()
        }}
        "#
    );
    fs::create_dir_all(package.join("benches")).unwrap();
    fs::write(package.join("benches/words.rs"), bench).unwrap();
    git(package, &["add", "."]);
    git(package, &["commit", "--quiet", "--message", "words"]);
}

#[cfg(unix)]
fn git(package: &Path, arguments: &[&str]) -> String {
    let output = Command::new("git")
        .current_dir(package)
        .args(["-c", "user.name=tests", "-c", "user.email=tests@localhost"])
        .args(["-c", "commit.gpgsign=false"])
        .args(arguments)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// The work of the second commit is a hundred times that of the first one. The package depends on a
/// folder beside its repository, by a relative path.
#[test]
#[cfg(unix)]
#[ignore = "builds the crate twice, in minutes; `tests/run.sh ignored` runs it"]
fn a_bench_is_compared_with_that_of_the_revision_before() {
    let folder = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(ROOT, folder.path().join("tallies")).unwrap();
    let package = package(
        r#"
        [package]
        name = "words"
        edition = "2024"

        [workspace]

        [dev-dependencies]
        tallies-bench = { path = "../tallies/crates/bench" }

        [lib]
        bench = false

        [[bench]]
        name = "words"
        harness = false

        [profile.bench]
        opt-level = 0
        "#,
    );
    let words = folder.path().join("words");
    fs::rename(package.keep(), &words).unwrap();
    let package = words.as_path();
    fs::write(package.join(".gitignore"), "/target\n").unwrap();
    git(package, &["init", "--quiet"]);
    commit(package, 100);
    commit(package, 10_000);
    // What a comparison that was killed leaves: a worktree, and a lock that nobody has.
    let (ours, dead) = (
        package.join("target/tallies-bench"),
        folder.path().join("dead"),
    );
    git(
        package,
        &[
            "worktree",
            "add",
            "--detach",
            "--quiet",
            dead.to_str().unwrap(),
        ],
    );
    fs::create_dir_all(&ours).unwrap();
    fs::write(ours.join("tree-1.lock"), dead.to_str().unwrap()).unwrap();
    // Without `--bench words`, since the library has no benches.
    let bench = "bench -- --against HEAD~1 --time 100ms --json --fail-above 50%";
    let arguments: Vec<&str> = bench.split(' ').collect();
    let output = cargo(package, &arguments);
    let errors = String::from_utf8_lossy(&output.stderr);
    let report: serde_json::Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {errors}"));
    assert_eq!(report["name"], "fold");
    assert!(report["effect"].as_f64().unwrap() > 10.0, "{report}");
    assert!(report["restarts"].as_u64().unwrap() >= 10, "{report}");
    // On a machine that is disturbed, the control may move: nothing fails then.
    let fails = report["fails"].as_bool().unwrap();
    assert_eq!(fails, report["verdict"] == "slower", "{report}");
    assert_eq!(output.status.code(), Some(i32::from(fails)), "{errors}");
    let short = git(package, &["rev-parse", "--short=10", "HEAD~1"]);
    assert_eq!(
        report["old"]["name"],
        format!("HEAD~1, commit {}", short.trim())
    );
    assert!(
        report["new"]["name"]
            .as_str()
            .unwrap()
            .starts_with("working tree, commit ")
    );
    assert_eq!(report["old"]["build"]["opt_level"], "0", "{report}");
    // The worktrees of the revision and of the comparison that was killed are gone.
    assert!(!dead.exists() && fs::read_dir(folder.path()).unwrap().count() == 2);
    assert_eq!(git(package, &["worktree", "list"]).lines().count(), 1);
}
