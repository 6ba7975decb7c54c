//! The test is in `main.rs`.
