//! A future that knows how it ended: done, in a panic, or dropped halfway.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

use super::outcome::Failure;

/// Where a future or a stream is. A panic is told from a cancellation by where it is when it is dropped, and not by whether
/// the thread panics: a future may be dropped because another one panicked, or long after its own panic was caught.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum At {
    Start,
    /// In a call of `poll`; so it stays if that does not return.
    Poll,
    Between,
    End,
}

impl At {
    pub(super) fn after(ended: bool) -> Self {
        if ended { Self::End } else { Self::Between }
    }

    /// How it failed, if it is dropped now.
    pub(super) fn dropped(self) -> Option<Failure> {
        match self {
            Self::Start | Self::End => None,
            Self::Poll => Some(Failure::Panic),
            Self::Between => Some(Failure::Cancel),
        }
    }
}

pin_project! {
    /// Runs `dropped` if the future panics or is cancelled.
    #[allow(missing_debug_implementations, reason = "written by attributes only")]
    pub struct Watch<F, D>
    where
        D: FnMut(Failure),
    {
        #[pin]
        future: F,
        at: At,
        dropped: D,
    }

    impl<F, D> PinnedDrop for Watch<F, D>
    where
        D: FnMut(Failure),
    {
        fn drop(this: Pin<&mut Self>) {
            let this = this.project();
            if let Some(failure) = this.at.dropped() {
                (this.dropped)(failure);
            }
        }
    }
}

/// A future that runs `dropped` if it panics or is cancelled.
#[inline]
pub fn watch<F: Future, D: FnMut(Failure)>(future: F, dropped: D) -> Watch<F, D> {
    Watch {
        future,
        at: At::Start,
        dropped,
    }
}

impl<F: Future, D: FnMut(Failure)> Future for Watch<F, D> {
    type Output = F::Output;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        *this.at = At::Poll;
        let output = this.future.poll(cx);
        *this.at = At::after(output.is_ready());
        output
    }
}
