//! Libraries that are loaded late and unloaded early. In a program of its own, since a library that
//! the crate has found stays.

#![cfg(all(target_os = "linux", not(target_feature = "crt-static")))]

mod support;

use support::{Record, SPAN, TRACE, Tracer, compile, is_loaded};
use tallies_trace_context::current;

#[test]
fn a_tracer_that_is_loaded_late_is_found_and_stays() {
    // With descriptors, which the specification prefers. They are what compilers for other
    // processors make anyway.
    let library = compile(match cfg!(target_arch = "x86_64") {
        true => "-mtls-dialect=gnu2",
        false => "",
    });
    for _ in 0..100 {
        assert_eq!(current(), None);
    }
    let tracer = Tracer::load(&library);
    tracer.attach(Box::leak(Record::new(TRACE, SPAN, 1)));
    // The thread looks again after 1, 2, 4, 8, 16, 32 and 64 calls.
    let calls = (1..).find(|_| current().is_some()).unwrap();
    assert!(calls <= 64, "{calls}");
    tracer.close();
    assert!(is_loaded(&library), "another thread may read its variables");
    assert_eq!(current().map(|ids| ids.trace()), Some(TRACE));
    std::fs::remove_file(library).unwrap();
}
