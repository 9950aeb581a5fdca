//! The least of HTTP that an anchor needs: requests after one another over a connection.

use std::io::{self, BufRead as _, BufReader, Read, Write};

/// What an answer may hold, so that a broken server ends an anchor and not the machine.
const LIMIT: u64 = 1 << 30;

/// A connection that is kept.
pub struct Connection<S> {
    stream: BufReader<S>,
    host: String,
}

/// An answer.
pub struct Answer {
    /// The number of its first line.
    pub status: u16,
    /// What came after its headers.
    pub body: Vec<u8>,
}

impl<S: Read + Write> Connection<S> {
    /// Begins to talk to a host.
    pub fn new(stream: S, host: &str) -> Self {
        Self { stream: BufReader::with_capacity(64 * 1024, stream), host: host.to_owned() }
    }

    /// Asks for something, and reads the whole answer.
    pub fn get(&mut self, path: &str, headers: &str) -> io::Result<Answer> {
        let host = &self.host;
        let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n{headers}\r\n");
        let stream = self.stream.get_mut();
        stream.write_all(request.as_bytes())?;
        stream.flush()?;
        let line = self.line()?;
        let status = line.split(' ').nth(1).and_then(|status| status.parse().ok());
        let status = status.ok_or_else(|| io::Error::other(format!("`{line}` is no answer")))?;
        let (mut length, mut is_chunked) = (0, false);
        loop {
            let line = self.line()?.to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse().map_err(io::Error::other)?;
            }
            is_chunked |= line.starts_with("transfer-encoding:") && line.contains("chunked");
        }
        let has_body = status != 304;
        let body = match (has_body, is_chunked) {
            (false, _) => Vec::new(),
            (true, false) => self.exactly(length)?,
            (true, true) => self.chunks()?,
        };
        Ok(Answer { status, body })
    }

    fn chunks(&mut self) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let length = u64::from_str_radix(self.line()?.trim(), 16).map_err(io::Error::other)?;
            body.append(&mut self.exactly(length)?);
            self.line()?;
            if length == 0 {
                return Ok(body);
            }
        }
    }

    fn exactly(&mut self, length: u64) -> io::Result<Vec<u8>> {
        if length > LIMIT {
            return Err(io::Error::other("an answer without end"));
        }
        let mut body = Vec::new();
        let count = (&mut self.stream).take(length).read_to_end(&mut body)?;
        if count as u64 == length { Ok(body) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        self.stream.read_line(&mut line)?;
        if line.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        line.truncate(line.trim_end().len());
        Ok(line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that has said it all already.
    struct Said(&'static [u8]);

    impl Read for Said {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.0.read(buffer)
        }
    }

    impl Write for Said {
        fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
            Ok(buffer.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn answers_after_one_another_are_kept_apart() {
        let said = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc\
                    HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nde\r\n0\r\n\r\n\
                    HTTP/1.1 304 Not Modified\r\n\r\n\
                    HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n";
        let mut connection = Connection::new(Said(said.as_bytes()), "host");
        for (status, body) in [(200, "abc"), (200, "de"), (304, ""), (404, "")] {
            let answer = connection.get("/", "").unwrap();
            assert_eq!((answer.status, answer.body.as_slice()), (status, body.as_bytes()));
        }
        assert!(connection.get("/", "").is_err());
    }
}
