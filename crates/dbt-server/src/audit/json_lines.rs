//! Records as lines of JSON.

use std::io::{self, Write};
use std::sync::{Mutex, PoisonError};

use serde_json::{Map, Value, json};

use super::{Audit, Outcome, Record};
use crate::time;

/// Writes each record as one line of JSON.
pub struct JsonLines {
    output: Mutex<Box<dyn Write + Send>>,
}

impl JsonLines {
    /// Writes to `output`.
    pub fn new(output: Box<dyn Write + Send>) -> Self {
        Self { output: Mutex::new(output) }
    }
}

impl Audit for JsonLines {
    fn record(&self, record: &Record) -> io::Result<()> {
        let mut line = serde_json::to_vec(&json(record))?;
        line.push(b'\n');
        // A panic while the lock was held can at worst have left half a line.
        let mut output = self.output.lock().unwrap_or_else(PoisonError::into_inner);
        output.write_all(&line)?;
        output.flush()
    }
}

fn json(record: &Record) -> Value {
    let Record { time, request, peer, subject, action, path, outcome } = record;
    let mut line = Map::new();
    line.insert("timestamp".to_owned(), json!(time::rfc_3339(*time)));
    line.insert("target".to_owned(), json!("audit"));
    line.insert("request".to_owned(), json!(request.as_str()));
    line.insert("peer".to_owned(), json!(peer));
    line.insert("subject".to_owned(), json!(subject));
    line.insert("action".to_owned(), json!(action));
    line.insert("path".to_owned(), json!(format!("/{path}")));
    match outcome {
        Outcome::Attempted => {
            line.insert("outcome".to_owned(), json!("attempted"));
        }
        Outcome::Done { effect, sha256, before, size } => {
            line.insert("outcome".to_owned(), json!(effect));
            line.insert("sha256".to_owned(), json!(sha256));
            line.insert("before".to_owned(), json!(before));
            line.insert("size".to_owned(), json!(size));
        }
        Outcome::Failed { reason } => {
            line.insert("outcome".to_owned(), json!("failed"));
            line.insert("reason".to_owned(), json!(reason));
        }
        Outcome::Refused { reason } => {
            line.insert("outcome".to_owned(), json!("refused"));
            line.insert("reason".to_owned(), json!(reason));
        }
    }
    line.retain(|_name, value| !value.is_null());
    Value::Object(line)
}
