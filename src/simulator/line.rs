//! A connection that can be cut or slowed down on the wire, below anything that HTTP would notice.
//!
//! The frame sets the [`Mode`] of the one answer that is about to be written; HTTP/1 has no second one at the
//! same time on a connection.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Sleep, sleep};

/// What happens to the bytes of an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// They are sent.
    #[default]
    Whole,
    /// None is sent; the connection closes.
    Closed,
    /// The head and half of the body are sent, then the connection closes.
    Truncated,
    /// The body goes at so many bytes a second.
    Slow(u32),
}

/// The handle by which the frame sets the mode of its connection.
#[derive(Clone, Debug, Default)]
pub struct Wire(Arc<Mutex<(Mode, Part)>>);

/// Which part of the answer comes next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Part {
    #[default]
    Head,
    Body,
}

impl Wire {
    pub fn set(&self, mode: Mode) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = (mode, Part::Head);
    }

    /// How many of these bytes may be sent now, and how long to wait after them.
    fn allow(&self, bytes: &[u8]) -> io::Result<(usize, Option<Duration>)> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (mode, part) = *state;
        let head = match part {
            Part::Head => {
                bytes.windows(4).position(|four| four == b"\r\n\r\n").map_or(bytes.len(), |at| at + 4)
            }
            Part::Body => 0,
        };
        let body = bytes.len() - head;
        match mode {
            Mode::Whole => Ok((bytes.len(), None)),
            Mode::Closed => Err(io::ErrorKind::ConnectionReset.into()),
            _ if body == 0 => Ok((bytes.len(), None)),
            Mode::Truncated => {
                state.0 = Mode::Closed;
                // Not a byte more than half; at least one, because writing none means "never again".
                Ok(((head + body / 2).max(1), None))
            }
            Mode::Slow(_) if head > 0 => {
                state.1 = Part::Body;
                Ok((head, None))
            }
            Mode::Slow(rate) => {
                let step = (rate / 20).max(1);
                Ok((body.min(step as usize), Some(Duration::from_secs(1) * step / rate.max(1))))
            }
        }
    }
}

impl Connected<IncomingStream<'_, Lines>> for Wire {
    fn connect_info(stream: IncomingStream<'_, Lines>) -> Self {
        stream.io().wire.clone()
    }
}

/// A listener whose connections are [`Line`]s.
pub struct Lines(pub TcpListener);

impl Listener for Lines {
    type Io = Line;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Line, SocketAddr) {
        let (stream, address) = Listener::accept(&mut self.0).await;
        // Only a matter of speed.
        let _ = stream.set_nodelay(true);
        (Line { stream, wire: Wire::default(), pause: None }, address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

/// One connection.
pub struct Line {
    stream: TcpStream,
    wire: Wire,
    pause: Option<Pin<Box<Sleep>>>,
}

impl AsyncRead for Line {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Line {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if let Some(pause) = &mut self.pause {
            ready!(pause.as_mut().poll(cx));
            self.pause = None;
        }
        // Asked first, so that what `allow` hands out is sent.
        ready!(self.stream.poll_write_ready(cx))?;
        let (length, pause) = self.wire.allow(bytes)?;
        let allowed = bytes.get(..length).unwrap_or(bytes);
        let sent = ready!(Pin::new(&mut self.stream).poll_write(cx, allowed))?;
        self.pause = pause.map(|time| Box::pin(sleep(time)));
        Poll::Ready(Ok(sent))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;

    const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\n\r\n0123456789";

    #[test]
    fn a_whole_answer_passes() {
        assert_eq!(Wire::default().allow(ANSWER).unwrap(), (ANSWER.len(), None));
    }

    #[test]
    fn a_truncated_answer_ends_in_the_middle_of_its_body() {
        let wire = Wire::default();
        wire.set(Mode::Truncated);
        assert_eq!(wire.allow(ANSWER).unwrap(), (ANSWER.len() - 5, None));
        assert!(wire.allow(&ANSWER[ANSWER.len() - 5..]).is_err());
    }

    #[test]
    fn a_slow_answer_has_its_head_at_once_and_its_body_in_steps() {
        let wire = Wire::default();
        wire.set(Mode::Slow(40));
        assert_eq!(wire.allow(ANSWER).unwrap(), (ANSWER.len() - 10, None));
        assert_eq!(wire.allow(b"0123456789").unwrap(), (2, Some(Duration::from_millis(50))));
    }
}
