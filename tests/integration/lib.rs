//! The tests are in the folders beside this file. Here are the programs of the page on migration,
//! since only this package has the crates that the page leads away from.

#[cfg(doctest)]
#[doc = include_str!("../../docs/migration.md")]
mod migration {}
