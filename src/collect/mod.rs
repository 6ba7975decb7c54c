//! Nothing is merged until somebody asks: registries, and what is computed at scrape time.

mod collected;
mod registry;
mod selves;
#[cfg(all(test, not(miri)))]
mod tests;

pub use collected::{Collect, Collected};
pub use registry::{Registry, registry};
