//! Records of a tracer in a shared library.

#![cfg(all(target_os = "linux", not(target_feature = "crt-static")))]

mod support;

use std::cell::Cell;
use std::sync::mpsc;
use std::thread;

use support::{Record, SPAN, TEXT, TRACE, Tracer};
use tallies_trace_context::{current, sampled_trace_id, trace_id};

#[test]
fn the_ids_of_the_record_are_current_while_it_is_attached() {
    let tracer = Tracer::get();
    assert_eq!(current(), None);
    let record = Record::new(TRACE, SPAN, 1);
    let ids = tracer.in_span(&record, current).unwrap();
    assert_eq!(
        (ids.trace(), ids.span(), ids.is_sampled()),
        (TRACE, SPAN, true)
    );
    assert_eq!(
        tracer.in_span(&record, sampled_trace_id).as_deref(),
        Some(TEXT)
    );
    assert_eq!(
        (current(), sampled_trace_id(), trace_id()),
        (None, None, None)
    );
}

#[test]
fn a_trace_that_no_sampler_took_has_an_id() {
    let record = Record::new(7, SPAN, 0);
    let (sampled, any) = Tracer::get().in_span(&record, || (sampled_trace_id(), trace_id()));
    assert_eq!(sampled, None);
    assert_eq!(any, Some(format!("{:0>32}", 7)));
}

/// Some tracers leave the pointer where it is, and mark the record.
#[test]
fn a_record_that_is_not_valid_is_not_read() {
    let mut record = Record::new(TRACE, SPAN, 1);
    for is_valid in [0, 2] {
        record.valid = is_valid;
        assert_eq!(Tracer::get().in_span(&record, current), None);
    }
    let record = Record::new(0, 0, 0);
    assert_eq!(Tracer::get().in_span(&record, current), None);
}

#[test]
fn every_thread_has_a_record_of_its_own() {
    let tracer = Tracer::get();
    let trace = || current().map(|ids| ids.trace());
    thread::scope(|scope| {
        for number in 1..9_u128 {
            scope.spawn(move || {
                assert_eq!(trace(), None);
                for i in 0..1000 {
                    let record = Record::new(number << 64 | i, SPAN, 1);
                    assert_eq!(tracer.in_span(&record, trace), Some(number << 64 | i));
                }
                assert_eq!(trace(), None);
            });
        }
    });
}

/// The tracer may have freed the record.
#[test]
fn a_thread_that_ends_has_no_ids() {
    struct Last(Cell<Option<mpsc::Sender<bool>>>);
    impl Drop for Last {
        fn drop(&mut self) {
            if let Some(result) = self.0.take() {
                result.send(current().is_some()).unwrap();
            }
        }
    }
    thread_local!(static LAST: Last = const { Last(Cell::new(None)) });
    let record: &'static Record = Box::leak(Record::new(TRACE, SPAN, 1));
    let (sender, results) = mpsc::channel();
    let work = || {
        // Used first, it is destroyed last.
        LAST.with(|last| last.0.set(Some(sender)));
        Tracer::get().attach(record);
        assert!(current().is_some());
    };
    thread::scope(|scope| scope.spawn(work).join()).unwrap();
    assert!(!results.recv().unwrap());
}
