//! The HTTP client with which tallies sends metrics, for its own crates: the pushes of `tallies`
//! and the protocols of `tallies-send`. It has what they need, and is no client for anything else.
//!
//! - [`base_url`] and [`full_url`] check an address that a user gives, and [`check_header`] a
//!   header. No error shows a password: [`shown_url`] is the one rule about what of an address is
//!   shown.
//! - [`ClientBuilder`] collects credentials, headers, the timeout and root certificates.
//! - [`Client::send`] sends a request and reads a bounded [`Response`].
//! - [`Background`] calls a [`Task`] on a thread of its own, with the pauses of [`Backoff`], until
//!   it is stopped.
//!
//! ```no_run
//! use tallies_client::{ClientBuilder, base_url};
//!
//! let url = base_url("gateway", "http://127.0.0.1:9091")? + "/metrics/job/backup";
//! let client = ClientBuilder::new("gateway", "backup/1.0").build(&url)?;
//! let response = client.send("PUT", &[("content-type", "text/plain")], Some(b"x 1\n"), 4096)?;
//! if !response.is_success() {
//!     return Err(client.rejected("PUT", &response));
//! }
//! # Ok::<(), tallies_client::ClientError>(())
//! ```

#![cfg_attr(docsrs, feature(doc_cfg))]
#![deny(missing_docs, missing_debug_implementations, unreachable_pub)]

mod background;
mod backoff;
mod builder;
mod client;
mod error;
mod response;
mod url;

use std::time::Duration;

pub use background::{Background, StopError, Task};
pub use backoff::Backoff;
pub use builder::{ClientBuilder, check_header};
pub use client::Client;
pub use error::ClientError;
pub use response::{Response, one_line};
pub use url::{base_url, full_url, shown_url};

/// The longest duration that a setting may have. Longer ones could overflow a clock.
const MAX_DURATION: Duration = Duration::from_secs(365 * 24 * 3600);
