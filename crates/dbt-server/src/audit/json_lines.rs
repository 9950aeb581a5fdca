//! Records as lines of JSON, for the log.

use std::io::{self, Write};
use std::sync::{Mutex, PoisonError};

use serde_json::{Value, json};

use super::{Audit, Record};
use crate::content::BoxFuture;
use crate::state::{Claim, StateError};
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

    /// Writes some records.
    pub fn write(&self, records: &[Record]) -> io::Result<()> {
        let mut lines = Vec::new();
        for record in records {
            serde_json::to_writer(&mut lines, &line(record))?;
            lines.push(b'\n');
        }
        // A panic while the lock was held can at worst have left half a line.
        let mut output = self.output.lock().unwrap_or_else(PoisonError::into_inner);
        output.write_all(&lines)?;
        output.flush()
    }
}

impl Audit for JsonLines {
    fn record(
        &self,
        records: Vec<Record>,
        _claim: Claim,
    ) -> BoxFuture<'_, Result<u64, StateError>> {
        let written = self.write(&records);
        let failed = |error: io::Error| StateError::Failed { reason: error.to_string() };
        Box::pin(std::future::ready(written.map(|()| 0).map_err(failed)))
    }
}

/// As all lines of the log begin.
fn line(record: &Record) -> Value {
    let mut line = record.members();
    line.remove("time");
    line.insert("timestamp".to_owned(), json!(time::rfc_3339(record.time)));
    line.insert("target".to_owned(), json!("audit"));
    Value::Object(line)
}
