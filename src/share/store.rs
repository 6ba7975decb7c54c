//! Parts of a store, for crates that write one: families as bytes, and their merger.
//!
//! A store holds the absolute totals of each process. Readers merge them, and somebody folds the
//! totals of processes that have ended into one. The mapped files of [`dir`](super::dir()) and the
//! crate `tallies-redis` do so with what is here. This is a store in a `Vec`:
//!
//! ```
//! use tallies::share::store::{self, Malformed, Merger};
//! use tallies::snapshot::{Family, Snapshot};
//!
//! /// A family: its description, and the labels and the bytes of each series.
//! type Stored = (Vec<u8>, Vec<(String, Vec<u8>)>);
//!
//! fn write(snapshot: &Snapshot) -> Vec<Stored> {
//!     let families = store::normalized(snapshot);
//!     let stored = families.iter().map(|family| {
//!         let (mut description, mut series) = (Vec::new(), Vec::new());
//!         store::write_description(family, &mut description);
//!         for i in 0..family.len() {
//!             let mut bytes = Vec::new();
//!             store::write_series(family, i, &mut bytes);
//!             series.push((family.label_text(i).to_owned(), bytes));
//!         }
//!         (description, series)
//!     });
//!     stored.collect()
//! }
//!
//! fn read(stored: &[Stored]) -> Result<Vec<Family>, Malformed> {
//!     let families = stored.iter().map(|(description, series)| {
//!         let mut family = store::read_description(description)?;
//!         for (labels, bytes) in series {
//!             store::read_series(&mut family, labels, bytes)?;
//!         }
//!         Ok(family)
//!     });
//!     families.collect()
//! }
//!
//! let registry = tallies::Registry::new();
//! registry.counter("jobs_total", "Jobs done.")?.add(3);
//! let other = read(&write(&registry.snapshot())).unwrap();
//! let mut merger = Merger::new();
//! merger.live(0, &registry.snapshot()).live(1, &other);
//! # Ok::<(), tallies::Error>(())
//! ```
//!
//! Bytes may come from another version of the program, or from somebody else. Reading them never
//! panics, and never allocates more than a small multiple of their length. A family that was read
//! can be merged and encoded like any other.

use std::borrow::Cow;

use crate::registry::is_self_metric;
use crate::snapshot::{Family, Snapshot, labels};

pub use super::bytes::Malformed;
pub use super::merge::Merger;
pub use super::record::{read_description, read_series, write_description, write_series};

/// Returns the families of a snapshot as a process puts them into a store: every series has all its
/// labels, sorted by name, and the self-metrics, which tell about one process, are left out.
///
/// ```
/// use tallies::share::store;
///
/// let registry = tallies::Registry::new();
/// registry.add_constant("zone", "b")?;
/// registry.counter("jobs_total", "Jobs done.")?.inc();
/// let families = store::normalized(&registry.snapshot());
/// assert_eq!((families.len(), families[0].label_text(0)), (1, "zone=\"b\""));
/// # Ok::<(), tallies::Error>(())
/// ```
#[must_use]
pub fn normalized(snapshot: &Snapshot) -> Vec<Family> {
    let families = snapshot.families();
    let families = families.filter(|family| !is_self_metric(family.name()));
    let mut families: Vec<_> = families.cloned().collect();
    families.iter_mut().for_each(inline);
    families
}

/// Makes the constant labels of a family labels of its series, and sorts the labels of each series.
pub(in crate::share) fn inline(family: &mut Family) {
    let is_ordered = |text| matches!(labels::ordered(text), Cow::Borrowed(_));
    if family.meta.constant.is_empty() && family.texts.iter().all(is_ordered) {
        return;
    }
    let constant = std::mem::take(&mut family.meta.constant);
    family.rename_series(&|own| labels::ordered(&labels::joined(&constant, own)).into_owned());
}
