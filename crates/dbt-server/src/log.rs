//! The log: lines of JSON on standard error.

use std::io;

use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;

use dbt_core::clock::Clock;

use crate::time;

/// Sends everything that is logged from now on to standard error.
pub fn start() {
    let subscriber = tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_current_span(false)
        .with_span_list(false)
        .with_timer(Now)
        .with_max_level(tracing::Level::INFO)
        .with_writer(io::stderr)
        .log_internal_errors(false)
        .finish();
    // Only tests start it twice, and the first is as good as the second.
    let _started_before = tracing::subscriber::set_global_default(subscriber);
}

struct Now;

impl FormatTime for Now {
    fn format_time(&self, writer: &mut Writer<'_>) -> std::fmt::Result {
        writer.write_str(&time::rfc_3339(Clock::System.now()))
    }
}
