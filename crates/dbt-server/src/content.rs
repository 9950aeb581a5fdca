//! Bodies of answers, whose length is always known before the first byte.

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use dbt_core::digest::Digest;
use http_body_util::BodyExt as _;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::Version;
use hyper::body::{Body as HttpBody, Bytes, Frame, SizeHint};
use sha2::{Digest as _, Sha256};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

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

/// Returns how long some pieces are together.
pub fn length_of(pieces: &[Piece]) -> u64 {
    let length = |piece: &Piece| match piece {
        Piece::Bytes(bytes) => bytes.len() as u64,
        Piece::Part(part) => part.length,
    };
    pieces.iter().map(length).sum()
}

/// Returns the digest of some pieces of a file, which are read for it.
pub async fn digest_of(content: &Arc<dyn Content>, pieces: &[Piece]) -> io::Result<Digest> {
    let mut hasher = Sha256::new();
    for piece in pieces {
        match piece {
            Piece::Bytes(bytes) => hasher.update(bytes),
            Piece::Part(part) => {
                let mut done = 0;
                while done < part.length {
                    let rest = usize::try_from(part.length - done).unwrap_or(usize::MAX);
                    let chunk = Arc::clone(content)
                        .read_at(part.start + done, rest.min(limits::CHUNK))
                        .await?;
                    hasher.update(&chunk);
                    done += chunk.len() as u64;
                    // What is in memory is there at once, and others want to be answered too.
                    tokio::task::yield_now().await;
                }
            }
        }
    }
    Ok(Digest::from_bytes(hasher.finalize().into()))
}

/// How much of a file is in memory on its way.
#[derive(Clone, Debug)]
pub enum Pace {
    /// Large chunks, one ahead of whoever takes them: nothing else goes the same way.
    Alone,
    /// Chunks that are read when they are wanted: a hundred others may go the same way, and their
    /// client may take none of them. They are large while there are some to lend, and small when
    /// all are held by those who do not take them.
    Shared(LargeChunks),
}

impl Pace {
    /// Returns the pace of an answer over a connection of this version.
    pub fn over(version: Version, large: &LargeChunks) -> Self {
        if version < Version::HTTP_2 { Self::Alone } else { Self::Shared(large.clone()) }
    }

    /// Returns how much of so many bytes is read at once, and the loan of it if it needs one.
    fn chunk(&self, length: u64) -> (usize, Option<OwnedSemaphorePermit>) {
        match self {
            Self::Alone => (limits::CHUNK, None),
            Self::Shared(_) if length <= limits::SHARED_CHUNK as u64 => {
                (limits::SHARED_CHUNK, None)
            }
            Self::Shared(large) => match Arc::clone(&large.0).try_acquire_owned() {
                Ok(loan) => (limits::CHUNK, Some(loan)),
                Err(_none_left) => (limits::SHARED_CHUNK, None),
            },
        }
    }
}

/// The large chunks that all answers of shared connections may hold together.
#[derive(Clone, Debug)]
pub struct LargeChunks(Arc<Semaphore>);

impl Default for LargeChunks {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(limits::LENT_CHUNKS)))
    }
}

/// A chunk that is given back when its last byte was sent.
struct Lent(Bytes, #[expect(dead_code, reason = "held, and never looked at")] OwnedSemaphorePermit);

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// A body that reads a file piece by piece.
///
/// A file that turns out shorter than it was ends in an error, which cuts the connection: a
/// client must never take a short answer for a whole one.
pub struct Stream {
    content: Arc<dyn Content>,
    pieces: VecDeque<Piece>,
    remaining: u64,
    pace: Pace,
    next: Option<BoxFuture<'static, io::Result<Bytes>>>,
}

impl Stream {
    /// Returns a body of these pieces.
    pub fn new(
        content: Arc<dyn Content>,
        pieces: impl IntoIterator<Item = Piece>,
        pace: Pace,
    ) -> Self {
        let pieces: Vec<Piece> = pieces.into_iter().collect();
        let remaining = length_of(&pieces);
        let pieces = VecDeque::from(pieces);
        let mut stream = Self { content, pieces, remaining, pace, next: None };
        stream.read_ahead();
        stream
    }

    /// Returns how many bytes are still to come.
    pub const fn remaining(&self) -> u64 {
        self.remaining
    }

    fn read_ahead(&mut self) {
        if matches!(self.pace, Pace::Alone) {
            self.read_next();
        }
    }

    fn read_next(&mut self) {
        let Some(piece) = self.pieces.front_mut() else { return };
        match piece {
            Piece::Bytes(bytes) => {
                let bytes = std::mem::take(bytes);
                self.pieces.pop_front();
                self.next = Some(Box::pin(std::future::ready(Ok(bytes))));
            }
            Piece::Part(part) => {
                let length = usize::try_from(part.length).unwrap_or(usize::MAX);
                let (most, loan) = self.pace.chunk(part.length);
                let length = length.min(most);
                let reading = Arc::clone(&self.content).read_at(part.start, length);
                let reading = match loan {
                    None => reading,
                    Some(loan) => Box::pin(async move {
                        reading.await.map(|bytes| Bytes::from_owner(Lent(bytes, loan)))
                    }),
                };
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
        if self.next.is_none() {
            self.read_next();
        }
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
        self.next.is_none() && self.pieces.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.remaining)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    async fn collected(stream: Stream) -> io::Result<Bytes> {
        stream.collect().await.map(http_body_util::Collected::to_bytes)
    }

    fn none() -> LargeChunks {
        LargeChunks(Arc::new(Semaphore::new(0)))
    }

    #[tokio::test]
    async fn a_large_chunk_is_lent_until_its_bytes_are_gone() {
        let content: Arc<dyn Content> = Arc::new(Bytes::from(vec![7; 3 * limits::CHUNK]));
        let large = LargeChunks(Arc::new(Semaphore::new(1)));
        let next =
            async |stream: &mut Stream| stream.frame().await.unwrap().unwrap().into_data().unwrap();
        let part = Part { start: 0, length: 3 * limits::CHUNK as u64 };
        let start = || {
            let pace = Pace::Shared(large.clone());
            Stream::new(Arc::clone(&content), [Piece::Part(part)], pace)
        };
        let (mut one, mut other) = (start(), start());
        let first = next(&mut one).await;
        let rest = first.slice(first.len() - 1..);
        assert_eq!(first.len(), limits::CHUNK);
        drop(first);
        for stream in [&mut one, &mut other] {
            assert_eq!(next(stream).await.len(), limits::SHARED_CHUNK, "the last byte is held");
        }
        drop(rest);
        assert_eq!(next(&mut other).await.len(), limits::CHUNK);
    }

    #[tokio::test]
    async fn what_is_small_borrows_nothing() {
        let content: Arc<dyn Content> = Arc::new(Bytes::from_static(b"small"));
        let large = LargeChunks(Arc::new(Semaphore::new(1)));
        let part = Part { start: 0, length: 5 };
        let mut small = Stream::new(content, [Piece::Part(part)], Pace::Shared(large.clone()));
        let held = small.frame().await.unwrap().unwrap().into_data().unwrap();
        assert_eq!((held.len(), large.0.available_permits()), (5, 1));
    }

    /// Bytes that know how much of them was asked for.
    struct Counted(Bytes, AtomicUsize);

    impl Content for Counted {
        fn read_at(
            self: Arc<Self>,
            offset: u64,
            length: usize,
        ) -> BoxFuture<'static, io::Result<Bytes>> {
            self.1.fetch_add(length, Ordering::SeqCst);
            Arc::new(self.0.clone()).read_at(offset, length)
        }
    }

    #[tokio::test]
    async fn pieces_arrive_in_order_and_in_full() {
        for pace in [Pace::Alone, Pace::Shared(LargeChunks::default()), Pace::Shared(none())] {
            let bytes: Bytes = (0..600_000_u32).map(|n| n.to_le_bytes()[0]).collect();
            let content: Arc<dyn Content> = Arc::new(bytes.clone());
            let part = Part { start: 1, length: 599_998 };
            let pieces = [Piece::Bytes("<".into()), Piece::Part(part), Piece::Bytes(">".into())];
            let stream = Stream::new(content, pieces, pace);
            assert_eq!(stream.size_hint().exact(), Some(600_000));
            let all = collected(stream).await.unwrap();
            assert_eq!(all.first(), Some(&b'<'));
            assert_eq!(all.slice(1..599_999), bytes.slice(1..599_999));
            assert_eq!(all.last(), Some(&b'>'));
        }
    }

    #[tokio::test]
    async fn where_many_share_a_connection_nothing_is_read_before_it_is_wanted() {
        let content = Arc::new(Counted(vec![7; 100_000].into(), AtomicUsize::new(0)));
        let read = || content.1.load(Ordering::SeqCst);
        let all = [Piece::Part(Part { start: 0, length: 100_000 })];
        let pace = Pace::Shared(none());
        let mut stream = Stream::new(Arc::clone(&content) as Arc<dyn Content>, all, pace);
        assert_eq!(read(), 0);
        for count in 1..=2 {
            let frame = stream.frame().await.unwrap().unwrap();
            assert_eq!(frame.data_ref().map(Bytes::len), Some(limits::SHARED_CHUNK));
            assert_eq!(read(), count * limits::SHARED_CHUNK);
            assert!(!stream.is_end_stream());
        }
        let last = collected(stream).await.unwrap();
        assert_eq!((last.len(), read()), (100_000 - 2 * limits::SHARED_CHUNK, 100_000));
    }

    #[tokio::test]
    async fn a_file_that_became_shorter_ends_in_an_error() {
        let content: Arc<dyn Content> = Arc::new(Bytes::from_static(b"short"));
        for pace in [Pace::Alone, Pace::Shared(LargeChunks::default()), Pace::Shared(none())] {
            let pieces = [Piece::Part(Part { start: 0, length: 6 })];
            let stream = Stream::new(Arc::clone(&content), pieces, pace);
            assert_eq!(collected(stream).await.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        }
    }
}
