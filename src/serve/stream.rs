//! A stream whose reader must keep up: what is written to it has to be taken within a time.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

/// Fails a write when the other side has not taken everything within the limit, however slowly it reads on.
pub(super) struct Timed<S> {
    stream: S,
    limit: Duration,
    sleep: Pin<Box<Sleep>>,
    /// Whether something waits to be taken, and the time runs.
    waiting: bool,
}

impl<S> Timed<S> {
    pub(super) fn new(stream: S, limit: Duration) -> Self {
        Self {
            stream,
            limit,
            sleep: Box::pin(sleep(limit)),
            waiting: false,
        }
    }

    /// What a write came to, or the end of its time.
    fn timed<T>(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_pending() && !self.waiting {
            self.waiting = true;
            self.sleep.as_mut().reset(Instant::now() + self.limit);
        }
        // Some of it having been taken does not stop the time: only all of it does.
        if self.waiting && self.sleep.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        written
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Timed<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Timed<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.timed(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bytes);
        self.timed(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// Comes when everything has been written: the time stops.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        ready!(self.timed(cx, flushed))?;
        self.waiting = false;
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.timed(cx, shut)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    fn paused() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap()
    }

    #[test]
    fn who_takes_nothing_or_too_little_is_given_up() {
        paused().block_on(async {
            for pace in [None, Some(Duration::from_secs(1))] {
                let (ours, mut theirs) = duplex(16);
                let mut ours = Timed::new(ours, Duration::from_secs(30));
                let reader = tokio::spawn(async move {
                    while let Some(pace) = pace {
                        tokio::time::sleep(pace).await;
                        if theirs.read_u8().await.is_err() {
                            return;
                        }
                    }
                    tokio::time::sleep(Duration::from_secs(3600)).await;
                });
                let began = Instant::now();
                let error = ours.write_all(&[0; 1000]).await.unwrap_err();
                assert_eq!(error.kind(), io::ErrorKind::TimedOut);
                // The clock is the test's: it moves only when everybody sleeps.
                assert_eq!(began.elapsed().as_secs(), 30);
                reader.abort();
            }
        });
    }

    #[test]
    fn each_answer_has_its_own_time() {
        paused().block_on(async {
            let (ours, mut theirs) = duplex(16);
            let mut ours = Timed::new(ours, Duration::from_secs(30));
            let reader = tokio::spawn(async move {
                for _ in 0..100 {
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    theirs.read_u8().await.unwrap();
                }
            });
            for _ in 0..4 {
                ours.write_all(&[0; 20]).await.unwrap();
                ours.flush().await.unwrap();
            }
            reader.abort();
        });
    }
}
