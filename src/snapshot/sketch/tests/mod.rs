//! Tests of the sketch's error bounds, by single laws and over many orders.

mod laws;
mod orders;
mod support;
