//! Command-line tools for Prometheus endpoints and for the stores of tallies.

mod fetch;
mod lint;
mod printable;
mod shared;
mod top;

use std::process::ExitCode;

use clap::Parser;
use tallies_names::Printable;

/// Watches and checks Prometheus endpoints, and looks into shared stores of tallies.
#[derive(Parser)]
#[command(name = "tallies", version)]
enum Tool {
    Top(top::TopOptions),
    Lint(lint::LintOptions),
    Shared(shared::SharedOptions),
}

fn main() -> ExitCode {
    let done = match Tool::parse() {
        Tool::Top(options) => top::run(options).map_err(|error| fail("top", 2, &error)),
        Tool::Lint(options) => Ok(lint::run(&options)),
        Tool::Shared(options) => {
            shared::run(&options).map_err(|error| fail("shared", 1, &error.to_string()))
        }
    };
    done.unwrap_or_else(|code| code)
}

/// Says why a command cannot do its task, and returns its exit code.
fn fail(command: &str, code: u8, error: &str) -> ExitCode {
    eprintln!("tallies {command}: {}", Printable(error));
    ExitCode::from(code)
}
