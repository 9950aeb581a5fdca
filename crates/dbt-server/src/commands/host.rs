//! Asking the server that runs on this machine, by the socket beside its state.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use crate::config::Config;
use crate::operate::socket;
use crate::storage::local;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_mins(1);

/// The longest answer.
const ANSWER_BYTES: u64 = 16 * 1024 * 1024;

/// The server of a configuration, on this machine.
pub(super) struct Host {
    state: PathBuf,
}

impl Host {
    /// Finds where the server of a configuration has its socket.
    pub(super) fn of(config: &Config) -> Result<Self, String> {
        let state = local::state_of(&config.root, config.state_dir.as_deref());
        let state = state.ok_or("no server of this configuration has ever run on this machine")?;
        Ok(Self { state })
    }

    /// Sends a request without a body, and returns the answer, or what is wrong.
    pub(super) fn ask(&self, method: &str, path: &str) -> Result<Value, String> {
        let place = self.state.join(socket::NAME);
        let failed = |error: std::io::Error| {
            format!("failed to reach the server by `{}`: {error}", place.display())
        };
        let mut stream = socket::connect(&self.state).map_err(failed)?;
        stream.set_read_timeout(Some(PATIENCE)).map_err(failed)?;
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
             Accept: application/json\r\nContent-Length: 0\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).map_err(failed)?;
        let (status, answer) = read(stream).map_err(failed)?;
        if (200..300).contains(&status) {
            return Ok(answer);
        }
        let detail = answer.get("detail").and_then(Value::as_str);
        Err(detail.map_or_else(|| format!("the server answered {status}"), ToOwned::to_owned))
    }
}

fn read(stream: UnixStream) -> std::io::Result<(u16, Value)> {
    let mut reader = BufReader::new(stream.take(ANSWER_BYTES));
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let status = line.split(' ').nth(1).and_then(|text| text.parse().ok());
    let status = status.ok_or(std::io::ErrorKind::InvalidData)?;
    while !line.trim_end().is_empty() {
        line.clear();
        reader.read_line(&mut line)?;
    }
    let mut body = Vec::new();
    reader.read_to_end(&mut body)?;
    Ok((status, serde_json::from_slice(&body).unwrap_or_default()))
}
