//! Chores of this repository: `cargo xtask mutate` and `count`, and `words` for `tests/run.sh`.

mod count;
mod mutate;
mod patch;
mod plan;
mod run;
mod switch;
mod tree;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const USAGE: &str = "\
cargo xtask mutate [OPTION] [WORD]...
    Weakens every ordering of the lock-free code to Relaxed, and applies every patch of tests/mutations, one at a time.
    A model, or a test with real threads, has to fail for each. With words, only those whose name or file has one.
    --check     Only finds the place of every mutation: compiles nothing
    --refresh   As --check, and writes again what no longer agrees with the code word by word
    --again     Also those that were caught before, with the same sources
    --accept    Writes down which test caught each
    --list      Prints their names
    --new SENTENCE [TEST]...
                Makes a patch of the uncommitted changes of src and crates/redis/src, and of the tests that catch it
                (`share/kills::NAME` if the program `share` below tests has it, `tallies_redis/writer::tests::NAME`
                if the tests of that crate have it)
cargo xtask count
    Prints the size of each crate: lines of code, features, cfgs, the longest function, names at the root
cargo xtask words
    Writes the files that standard input names, each after a 0 byte: of Rust sources the words alone, without comments
    and formatting";

fn main() -> ExitCode {
    let package = std::env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from);
    let root = package.parent().expect("the package is in a folder");
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let result = match arguments.split_first() {
        Some((command, rest)) if command == "mutate" => mutate::main(root, rest),
        Some((command, [])) if command == "count" => count::main(root),
        Some((command, [])) if command == "words" => words(root).map(|()| true),
        _ => Err(USAGE.to_owned()),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::from(2)
        }
    }
}

fn words(root: &Path) -> tree::Result<()> {
    let problem = |error| format!("words: {error}");
    let names = std::io::read_to_string(std::io::stdin()).map_err(problem)?;
    let mut out = std::io::stdout().lock();
    for name in names.split_terminator('\0') {
        let bytes = std::fs::read(root.join(name)).map_err(|error| format!("{name}: {error}"))?;
        let text = std::str::from_utf8(&bytes)
            .ok()
            .filter(|_| name.ends_with(".rs"));
        let bytes = text.map_or(bytes.clone(), |text| {
            let tokens = patch::tokens(text);
            tokens
                .iter()
                .flat_map(|token| [token.text.as_bytes(), b" "])
                .flatten()
                .copied()
                .collect()
        });
        writeln!(out, "== {name} {}", bytes.len()).map_err(problem)?;
        out.write_all(&bytes).map_err(problem)?;
    }
    Ok(())
}
