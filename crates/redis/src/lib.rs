//! Processes of any number of machines share the metrics that they count with [`tallies`] in Redis
//! or Valkey.
//!
//! [`Redis::builder`] starts the store of a process. Updates do not notice it: a thread of its own
//! sends every second what has changed. A scrape of any process flushes that process, reads all
//! others, and shows the sum.
//!
//! ```no_run
//! use tallies_redis::Redis;
//!
//! let store = Redis::builder("redis://127.0.0.1/")?.namespace("shop").start()?;
//! let server = tallies::serve::Server::new().registry(&store).listen("0.0.0.0:9100")?;
//! // ... the program ...
//! store.close_blocking()?;
//! # Ok::<(), tallies::Error>(())
//! ```
//!
//! [One page](https://docs.rs/tallies/latest/tallies/docs/sharing/) has the promises,
//! [another one](https://docs.rs/tallies/latest/tallies/docs/redis_store/) the protocol and each
//! failure.

#![cfg_attr(docsrs, feature(doc_cfg))]
#![deny(missing_docs, missing_debug_implementations, unreachable_pub)]

mod admin;
mod builder;
mod connection;
mod content;
mod fold;
mod pause;
mod reader;
mod scripts;
#[cfg(unix)]
mod signals;
mod store;
mod tracked;
mod url;
mod worker;
mod writer;

use std::io;
use std::time::Duration;

use redis::RedisError;
use tallies::Error;

pub use admin::{Overview, Process};
pub use builder::RedisBuilder;
pub use store::Redis;

/// The time after which a namespace that nobody uses disappears.
const KEEP: Duration = Duration::from_secs(7 * 24 * 3600);
/// The time for which it is remembered that a writer was folded.
const REMEMBER_FOLD: Duration = KEEP;
/// The time for which the exact totals of a folded writer are kept, in case it comes back.
const REMEMBER: Duration = Duration::from_secs(24 * 3600);
/// The most writers of a shard that are read. With more, pages are errors until enough are folded.
const MOST_WRITERS: usize = 1 << 16;
/// The most requests of handles that wait. Further ones fail.
const WAITING: usize = 1024;

/// Returns a time as scripts and keys have it.
const fn millis(time: Duration) -> u64 {
    time.as_millis() as u64
}

/// Returns a builder of a thread with this name.
fn thread(name: &str) -> std::thread::Builder {
    std::thread::Builder::new().name(name.to_owned())
}

/// Returns an error of an operation on a store. Its `io_kind` says that the outside failed.
fn failed(action: &str, store: &str, cause: io::Error) -> Error {
    Error::with_cause(format!("{action} {store}"), cause)
}

/// Returns an error on one line, because its words may be those of a hostile server. What a
/// terminal would obey is escaped by [`Error`].
fn one_line(error: &RedisError) -> String {
    let line = error.to_string().replace(['\r', '\n'], " ");
    line.chars().take(500).collect()
}
