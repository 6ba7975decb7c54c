//! One picture from many processes: each process writes its absolute totals to a store, and
//! whoever is scraped merges those of all.

pub(crate) mod record;
