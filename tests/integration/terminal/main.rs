//! The viewer in a real pseudo-terminal, against real endpoints; and the linter as a program.

mod lint;
mod picture;
mod scraped;
mod screen;
#[path = "../../support/mod.rs"]
mod support;
mod top;
