//! Bodies of answers, whose length is always known before the first byte.

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http_body_util::BodyExt as _;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::{Body as HttpBody, Bytes, Frame, SizeHint};

use crate::limits;
use crate::ranges::Part;

/// The body of an answer.
pub type Body = UnsyncBoxBody<Bytes, io::Error>;

/// A future that is given to whoever waits for it.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The bytes of a stored file that was opened for one answer.
///
/// It stays the same file however the path changes meanwhile.
pub trait Content: Send + Sync {
    /// Starts reading exactly `length` bytes at `offset`. Fewer are an error.
    fn read_at(
        self: Arc<Self>,
        offset: u64,
        length: usize,
    ) -> BoxFuture<'static, io::Result<Bytes>>;
}

impl Content for Bytes {
    fn read_at(
        self: Arc<Self>,
        offset: u64,
        length: usize,
    ) -> BoxFuture<'static, io::Result<Bytes>> {
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let end = start.saturating_add(length);
        let piece = if end <= self.len() {
            Ok(self.slice(start..end))
        } else {
            Err(io::ErrorKind::UnexpectedEof.into())
        };
        Box::pin(std::future::ready(piece))
    }
}

/// Returns a body of bytes in memory.
pub fn bytes(bytes: impl Into<Bytes>) -> Body {
    http_body_util::Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// Returns a body without bytes.
pub fn empty() -> Body {
    bytes(Bytes::new())
}

/// One piece of a [`Stream`].
pub enum Piece {
    /// Text between parts.
    Bytes(Bytes),
    /// A part of the file.
    Part(Part),
}

/// A body that reads a file piece by piece, one chunk ahead of the connection.
///
/// A file that turns out shorter than it was ends in an error, which cuts the connection: a
/// client must never take a short answer for a whole one.
pub struct Stream {
    content: Arc<dyn Content>,
    pieces: VecDeque<Piece>,
    remaining: u64,
    next: Option<BoxFuture<'static, io::Result<Bytes>>>,
}

impl Stream {
    /// Returns a body of these pieces.
    pub fn new(content: Arc<dyn Content>, pieces: impl IntoIterator<Item = Piece>) -> Self {
        let pieces: VecDeque<Piece> = pieces.into_iter().collect();
        let length = |piece: &Piece| match piece {
            Piece::Bytes(bytes) => bytes.len() as u64,
            Piece::Part(part) => part.length,
        };
        let remaining = pieces.iter().map(length).sum();
        let mut stream = Self { content, pieces, remaining, next: None };
        stream.read_ahead();
        stream
    }

    /// Returns how many bytes are still to come.
    pub const fn remaining(&self) -> u64 {
        self.remaining
    }

    fn read_ahead(&mut self) {
        let Some(piece) = self.pieces.front_mut() else { return };
        match piece {
            Piece::Bytes(bytes) => {
                let bytes = std::mem::take(bytes);
                self.pieces.pop_front();
                self.next = Some(Box::pin(std::future::ready(Ok(bytes))));
            }
            Piece::Part(part) => {
                let length = usize::try_from(part.length).unwrap_or(usize::MAX).min(limits::CHUNK);
                let reading = Arc::clone(&self.content).read_at(part.start, length);
                part.start += length as u64;
                part.length -= length as u64;
                if part.length == 0 {
                    self.pieces.pop_front();
                }
                self.next = Some(reading);
            }
        }
    }
}

impl HttpBody for Stream {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let Some(reading) = &mut self.next else { return Poll::Ready(None) };
        let chunk = ready!(reading.as_mut().poll(context));
        self.next = None;
        Poll::Ready(Some(chunk.map(|chunk| {
            self.remaining = self.remaining.saturating_sub(chunk.len() as u64);
            self.read_ahead();
            Frame::data(chunk)
        })))
    }

    fn is_end_stream(&self) -> bool {
        self.next.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.remaining)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn collected(stream: Stream) -> io::Result<Bytes> {
        stream.collect().await.map(http_body_util::Collected::to_bytes)
    }

    #[tokio::test]
    async fn pieces_arrive_in_order_and_in_full() {
        let bytes: Bytes = (0..600_000_u32).map(|n| n.to_le_bytes()[0]).collect();
        let content: Arc<dyn Content> = Arc::new(bytes.clone());
        let part = Part { start: 1, length: 599_998 };
        let pieces = [Piece::Bytes("<".into()), Piece::Part(part), Piece::Bytes(">".into())];
        let stream = Stream::new(content, pieces);
        assert_eq!(stream.size_hint().exact(), Some(600_000));
        let all = collected(stream).await.unwrap();
        assert_eq!(all.first(), Some(&b'<'));
        assert_eq!(all.slice(1..599_999), bytes.slice(1..599_999));
        assert_eq!(all.last(), Some(&b'>'));
    }

    #[tokio::test]
    async fn a_file_that_became_shorter_ends_in_an_error() {
        let content: Arc<dyn Content> = Arc::new(Bytes::from_static(b"short"));
        let stream = Stream::new(content, [Piece::Part(Part { start: 0, length: 6 })]);
        assert_eq!(collected(stream).await.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}
