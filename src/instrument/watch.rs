//! A future wrapper that knows how its future ended: completed, panicked, or dropped early.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

use super::outcome::Failure;

/// How far a future or a stream has come.
///
/// A drop during `Polling` is a panic, and a drop during `Pending` is a cancellation.
/// `thread::panicking` cannot tell the two apart: a future may be dropped because another one
/// panicked, or long after its own panic was caught.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// Not polled yet.
    NotPolled,
    /// Inside a call of `poll`. Stays in this state if `poll` panics.
    Polling,
    /// Polled, and pending.
    Pending,
    /// Completed.
    Done,
}

impl Progress {
    pub(super) fn after(ended: bool) -> Self {
        if ended { Self::Done } else { Self::Pending }
    }

    /// Returns the failure that dropping it in this state means.
    pub(super) fn failure_on_drop(self) -> Option<Failure> {
        match self {
            Self::NotPolled | Self::Done => None,
            Self::Polling => Some(Failure::Panic),
            Self::Pending => Some(Failure::Cancel),
        }
    }
}

pin_project! {
    /// A future that runs `dropped` if it panics or is cancelled.
    #[allow(missing_debug_implementations, reason = "written by attributes only")]
    pub struct Watch<F, D>
    where
        D: FnMut(Failure),
    {
        #[pin]
        future: F,
        progress: Progress,
        dropped: D,
    }

    impl<F, D> PinnedDrop for Watch<F, D>
    where
        D: FnMut(Failure),
    {
        fn drop(this: Pin<&mut Self>) {
            let this = this.project();
            if let Some(failure) = this.progress.failure_on_drop() {
                (this.dropped)(failure);
            }
        }
    }
}

/// Wraps `future` so that `dropped` runs if it panics or is cancelled.
#[inline]
pub fn watch<F: Future, D: FnMut(Failure)>(future: F, dropped: D) -> Watch<F, D> {
    Watch {
        future,
        progress: Progress::NotPolled,
        dropped,
    }
}

impl<F: Future, D: FnMut(Failure)> Future for Watch<F, D> {
    type Output = F::Output;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        *this.progress = Progress::Polling;
        let output = this.future.poll(cx);
        *this.progress = Progress::after(output.is_ready());
        output
    }
}
