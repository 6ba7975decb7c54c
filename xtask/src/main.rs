//! Chores of this repository: `cargo xtask mutate`.

mod mutate;
mod patch;
mod plan;
mod run;
mod switch;
mod tree;

use std::path::PathBuf;
use std::process::ExitCode;

const USAGE: &str = "\
cargo xtask mutate [OPTION] [WORD]...
    Weakens every ordering of the lock-free code to Relaxed, and applies every patch of tests/mutations, one at a time.
    A model, or a test with real threads, has to fail for each. With words, only those whose name or file has one.
    --check     Only finds the place of every mutation: compiles nothing
    --refresh   As --check, and makes the patches again that no longer agree with the code word by word
    --again     Also those that were caught before, with the same sources
    --accept    Writes down which test caught each
    --list      Prints their names
    --new SENTENCE [TEST]...
                Makes a patch of the uncommitted changes of src, and of the tests that catch it
                (`share/kills::NAME` if the program `share` below tests has it)";

fn main() -> ExitCode {
    let package = std::env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from);
    let root = package.parent().expect("the package is in a folder");
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let result = match arguments.split_first() {
        Some((command, rest)) if command == "mutate" => mutate::main(root, rest),
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
