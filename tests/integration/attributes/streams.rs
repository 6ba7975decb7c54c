//! The wrappers of streams.

use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use futures_util::stream::{self, Stream, StreamExt};
use tallies::{Counter, Gauge, Histogram, instrument::Failure};
use tallies_stream::MeasureStream;

use super::{panics, poll_once, run};

#[test]
fn streams() {
    static T: Histogram = Histogram::new("streams_seconds");
    static G: Gauge = Gauge::new("streams_in_flight");
    static E: Counter = Counter::new("streams_errors_total");
    static N: Counter = Counter::new("streams_none_total");

    let source = || stream::iter([Ok(1), Err(2), Ok(3), Err(4)]);
    let measured = || source().timed(&T).in_progress(&G).count_errors(&E);
    let now = || (T.get().count(), G.get(), E.get());
    assert_eq!(measured().size_hint(), source().size_hint());
    assert_eq!(run(measured().collect::<Vec<_>>()).len(), 4);
    assert_eq!(now(), (1, 0.0, 2));

    // Dropped in the middle.
    let mut left = measured();
    assert_eq!(run(left.next()), Some(Ok(1)));
    assert_eq!(now(), (1, 1.0, 2));
    drop(left);
    assert_eq!(now(), (2, 0.0, 2));

    let options = stream::iter([Some(1), None, None])
        .count_errors(&N)
        .on(&[Failure::None]);
    assert_eq!(run(options.count()), 3);
    assert_eq!(N.get(), 2);

    // A stream that panics, and a stream that is dropped while it is pending.
    struct Broken;
    impl Stream for Broken {
        type Item = Option<u8>;
        fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Option<u8>>> {
            panic!("as it must")
        }
    }
    assert!(panics(|| run(pin!(Broken.count_errors(&N)).next())));
    assert_eq!(N.get(), 3);
    let mut waiting = stream::pending::<Option<u8>>()
        .count_errors(&N)
        .on(&[Failure::Cancel]);
    assert!(poll_once(waiting.next()).is_none());
    drop(waiting);
    assert_eq!(N.get(), 4);
}
