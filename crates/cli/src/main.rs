//! Command-line tools for Prometheus endpoints and for the stores of tallies.

mod fetch;
mod lint;
mod printable;
mod shared;
mod top;

use std::process::ExitCode;

use clap::Parser;

/// Watches and checks Prometheus endpoints, and looks into shared stores of tallies.
#[derive(Parser)]
#[command(name = "tallies", version)]
enum Tool {
    Top(top::Options),
    Lint(lint::Options),
    Shared(shared::Options),
}

fn main() -> ExitCode {
    match Tool::parse() {
        Tool::Top(options) => top::run(options),
        Tool::Lint(options) => lint::run(&options),
        Tool::Shared(options) => shared::run(&options),
    }
}
