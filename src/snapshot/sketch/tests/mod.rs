//! The promise of the sketch, law by law and order by order.

mod laws;
mod orders;
mod support;
