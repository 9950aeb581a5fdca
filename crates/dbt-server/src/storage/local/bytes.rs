//! The bytes of opened files, read without moving the position that others share.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use dbt_core::digest::Digest;
use hyper::body::Bytes;

use super::at_once;
use super::buffers::Buffer;
use crate::content::{BoxFuture, Content};

/// Hashes a whole file without moving its position, which others share.
pub(super) fn hash(file: &File) -> io::Result<Digest> {
    struct FromStart<'a>(&'a File, u64);

    impl io::Read for FromStart<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let count = self.0.read_at(buffer, self.1)?;
            self.1 += count as u64;
            Ok(count)
        }
    }

    Digest::of_reader(&mut FromStart(file, 0)).map(|(digest, _length)| digest)
}

/// The bytes of an opened file.
pub(super) struct LocalContent(pub(super) Arc<File>);

impl Content for LocalContent {
    fn read_at(
        self: Arc<Self>,
        offset: u64,
        length: usize,
    ) -> BoxFuture<'static, io::Result<Bytes>> {
        let mut chunk = Buffer::of(length);
        // What is in memory is copied in less time than a thread would need to wake up.
        let done = at_once::read(&self.0, chunk.as_mut(), offset);
        if done == length {
            return Box::pin(std::future::ready(Ok(chunk.full())));
        }
        // Begins now, not when it is first waited for: the next chunk is read while the last
        // one is sent.
        let reading = tokio::task::spawn_blocking(move || {
            let rest = chunk.as_mut().get_mut(done..).unwrap_or_default();
            self.0.read_exact_at(rest, offset + done as u64)?;
            Ok(chunk.full())
        });
        Box::pin(async move { reading.await.map_err(io::Error::other)? })
    }
}
