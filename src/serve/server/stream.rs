//! A stream with a time limit for its reader. If the client does not take everything within the
//! limit, the connection is reset.
//!
//! The limit also covers data in the kernel:
//!
//! - The socket's send buffer has a fixed size, so the rest of a page stays in this process, where
//!   the limit applies.
//! - The kernel drops its data if the peer acknowledges nothing for as long as the limit, even
//!   after the connection was closed.
//!
//! (Earlier versions counted a response as taken once the kernel had it. The kernel took up to 4 MB
//! of each response and kept it for minutes.)

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

use super::seats::Seat;

/// The most of a response that the kernel buffers, in bytes.
const SEND_BUFFER: usize = 256 * 1024;

/// Limits how much the kernel buffers for a client that does not read, and for how long. If a call
/// fails, the system's own limits apply.
pub(super) fn limit_kernel_buffers(stream: &tokio::net::TcpStream, limit: Duration) {
    let socket = socket2::SockRef::from(stream);
    let _ = socket.set_send_buffer_size(SEND_BUFFER);
    // The kernel takes milliseconds in 31 bits, and 0 means its default.
    let limit = limit.clamp(Duration::from_secs(1), Duration::from_secs(24 * 3600));
    #[cfg(any(target_os = "linux", target_os = "android"))]
    let _ = socket.set_tcp_user_timeout(Some(limit));
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    let _ = limit;
}

/// A stream that can be reset, which also drops the data that the kernel still holds.
pub(super) trait Reset {
    /// Makes the next close drop all unacknowledged data.
    fn reset(&self) {}
}

impl Reset for tokio::net::TcpStream {
    fn reset(&self) {
        let _ = self.set_zero_linger();
    }
}

#[cfg(unix)]
impl Reset for tokio::net::UnixStream {}

#[cfg(feature = "tls")]
impl Reset for tokio_rustls::server::TlsStream<tokio::net::TcpStream> {
    fn reset(&self) {
        self.get_ref().0.reset();
    }
}

/// A stream whose writes fail if the client has not taken everything within the limit, even if the
/// client reads steadily.
pub(super) struct TimedStream<S: Reset> {
    stream: S,
    seat: Arc<Seat>,
    limit: Duration,
    /// Runs out when the limit has passed since the first write that had to wait.
    sleep: Pin<Box<Sleep>>,
    /// Whether a write had to wait since the last flush, so that `sleep` is running.
    waiting: bool,
}

impl<S: Reset> TimedStream<S> {
    pub(super) fn new(stream: S, limit: Duration, seat: Arc<Seat>) -> Self {
        Self {
            stream,
            seat,
            limit,
            sleep: Box::pin(sleep(limit)),
            waiting: false,
        }
    }

    /// Returns the result of a write, or an error if the time has run out.
    fn check_time<T>(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_pending() && !self.waiting {
            self.waiting = true;
            self.sleep.as_mut().reset(Instant::now() + self.limit);
        }
        // Partial progress does not stop the timer. Only a complete flush of the last block does.
        if self.waiting && self.sleep.as_mut().poll(cx).is_ready() {
            self.stream.reset();
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        written
    }
}

impl<S: Reset> Drop for TimedStream<S> {
    fn drop(&mut self) {
        if self.seat.is_evicted() {
            self.stream.reset();
        }
    }
}

impl<S: AsyncRead + Reset + Unpin> AsyncRead for TimedStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Reset + Unpin> AsyncWrite for TimedStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.check_time(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bytes);
        self.check_time(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// Stops the timer after the last block, because a flush completes only after everything was
    /// written.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        ready!(self.check_time(cx, flushed))?;
        if !self.seat.has_more() {
            self.waiting = false;
            self.seat.finish_writing();
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.check_time(cx, shut)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::super::seats::Seats;
    use super::*;
    use crate::serve::peer::Peer;

    impl Reset for tokio::io::DuplexStream {}

    async fn timed(stream: tokio::io::DuplexStream) -> TimedStream<tokio::io::DuplexStream> {
        let guard = Seats::new(1, 1).take(Peer::Unix).await.unwrap();
        TimedStream::new(stream, Duration::from_secs(30), Arc::clone(&guard.seat))
    }

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
                let mut ours = timed(ours).await;
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
                // The test's clock is paused: it only advances while all tasks sleep.
                assert_eq!(began.elapsed().as_secs(), 30);
                reader.abort();
            }
        });
    }

    /// A client that took each block in time could have read one page for ever.
    #[test]
    fn all_blocks_of_an_answer_have_one_time() {
        paused().block_on(async {
            let (ours, mut theirs) = duplex(16);
            let mut ours = timed(ours).await;
            ours.seat.set_more(true);
            let reader = tokio::spawn(async move {
                for _ in 0..100 {
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    theirs.read_u8().await.unwrap();
                }
            });
            let began = Instant::now();
            let error = loop {
                if let Err(error) = ours.write_all(&[0; 20]).await {
                    break error;
                }
                ours.flush().await.unwrap();
            };
            assert_eq!(error.kind(), io::ErrorKind::TimedOut);
            assert_eq!(began.elapsed().as_secs(), 30);
            reader.abort();
        });
    }

    #[test]
    fn each_answer_has_its_own_time() {
        paused().block_on(async {
            let (ours, mut theirs) = duplex(16);
            let mut ours = timed(ours).await;
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
