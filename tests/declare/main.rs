//! Metrics as users declare them: statics, builders, structs, label sets, and their errors.

mod errors;
mod events;
mod families;
mod macros;
mod series;
#[path = "../support/mod.rs"]
mod support;

use std::sync::Mutex;
use tallies::{LabelValue, Labels};

/// Held by tests of families that the global registry refuses, since it counts them.
static REFUSALS: Mutex<()> = Mutex::new(());

#[derive(LabelValue, Clone, Copy, Debug)]
enum Method {
    #[label("GET")]
    Get,
    DeleteAll,
}

#[derive(Labels)]
struct Request<'a> {
    method: Method,
    route: &'a str,
    #[label("code")]
    status: u16,
}

#[derive(Labels)]
struct Closed {
    method: Method,
    ok: bool,
}
