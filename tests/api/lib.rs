//! The test is in `list.rs`.
