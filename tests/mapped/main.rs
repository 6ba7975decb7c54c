//! The mapped file of a process, read by another one. Processes are this program again,
//! with an environment variable.

#![cfg(all(feature = "mmap", target_os = "linux"))]

mod floats;
mod forks;
mod full;
mod kinds;
mod moves;
mod runs;
mod support;
mod threads;
mod updates;
