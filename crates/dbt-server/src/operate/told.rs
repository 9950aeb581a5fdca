//! `/-/metrics`: what the server counts, and how it is now.

use std::path::Path;

use hyper::Response;
use hyper::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE};

use super::health::Trouble;
use super::metrics::{self, Gauge};
use super::providers;
use crate::app::App;
use crate::content::{self, Body};
use crate::error::ApiError;
use crate::respond;
use crate::storage::local::Amount;

/// Answers with everything.
pub async fn answer(app: &App) -> Result<Response<Body>, ApiError> {
    let storage = std::sync::Arc::clone(&app.storage);
    let looked = tokio::task::spawn_blocking(move || (storage.space(), process())).await;
    let (space, process) = looked.map_err(|error| ApiError::Internal(error.to_string()))?;
    let mut now = of_app(app);
    now.extend(process);
    if let Some((free, all)) = space {
        now.push(one("reposerver_disk_free_bytes", "Free bytes of the disk of the tree.", free));
        now.push(one("reposerver_disk_size_bytes", "Size of the disk of the tree.", all));
    }
    let mut text = app.running.metrics.render(&now);
    providers::render(&mut text, &app.providers());
    let answer = Response::builder()
        .header(CONTENT_TYPE, metrics::CONTENT_TYPE)
        .header(CACHE_CONTROL, "no-store")
        .header(CONTENT_LENGTH, text.len());
    respond::finish(answer, content::bytes(text))
}

fn of_app(app: &App) -> Vec<Gauge> {
    let running = &app.running;
    let (reads, writes) = (running.health.reads(), running.health.writes());
    let mut now = vec![
        Gauge {
            name: "reposerver_build_info",
            label: Some(("version", env!("CARGO_PKG_VERSION"))),
            help: "The version that runs.",
            value: 1.0,
        },
        one(
            "reposerver_config_last_reload_success",
            "Whether the settings that were last read are in force.",
            u64::from(running.settings.are_good()),
        ),
        one(
            "reposerver_config_reload_timestamp_seconds",
            "When settings last came into force.",
            running.settings.taken_at(),
        ),
        one("reposerver_ready", "Whether reads can be answered.", u64::from(reads.is_none())),
        one(
            "reposerver_ready_for_writes",
            "Whether writes can be taken.",
            u64::from(writes.is_none()),
        ),
    ];
    for trouble in Trouble::ALL {
        now.push(Gauge {
            name: "reposerver_writes_refused",
            label: Some(("reason", trouble.as_str())),
            help: "Whether this keeps writes from being taken.",
            value: f64::from(u8::from(writes == Some(trouble))),
        });
    }
    if let Some(end) = app.edge.tls_end {
        let help = "When the certificate of this server ends.";
        let end = crate::time::since_epoch(end).as_secs();
        now.push(one("reposerver_tls_certificate_expiry_timestamp_seconds", help, end));
    }
    let connections = running.connections.inside();
    now.push(one(
        "reposerver_connections",
        "Open connections, and answers beside others of theirs.",
        connections as u64,
    ));
    if let Some(Amount { files, bytes }) = app.storage.amount() {
        let help = "Files that lie in the tree, unfinished ones too.";
        now.push(one("reposerver_files_stored", help, files));
        now.push(one("reposerver_bytes_stored", "Bytes of those files.", bytes));
    }
    now.push(Gauge {
        name: "reposerver_audit_lag_seconds",
        label: None,
        help: "How old the oldest record is that is not on the disk yet.",
        value: app.audit.lag().as_secs_f64(),
    });
    if let Some(suspended) = app.users.suspended() {
        let help = "People to whom nothing is permitted that is not everybody's.";
        now.push(one("reposerver_users_suspended", help, suspended as u64));
    }
    let uploads = app.writes.inside();
    now.push(one("reposerver_uploads_in_flight", "Uploads that are under way.", uploads as u64));
    now
}

/// Returns what the system says of this process.
fn process() -> Vec<Gauge> {
    let mut now = Vec::new();
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let resident = resident.and_then(|text| text.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    if let Some(kibibytes) = resident {
        let help = "Memory of the process.";
        now.push(one("process_resident_memory_bytes", help, kibibytes * 1024));
    }
    if let Ok(open) = std::fs::read_dir(Path::new("/proc/self/fd")) {
        now.push(one("process_open_fds", "Open descriptors.", open.count() as u64));
    }
    if let Some(started) = started() {
        let help = "When the process was started.";
        now.push(one("process_start_time_seconds", help, started));
    }
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    if let Some(limit) = limit {
        now.push(one("process_max_fds", "Descriptors that may be open.", limit));
    }
    now
}

/// Returns when this process was started, in seconds since 1970 (proc(5): the 22nd field of
/// `/proc/self/stat`, counted from the start of the system).
fn started() -> Option<u64> {
    let own = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The name of the program, in parentheses, may have spaces in it.
    let (_name, fields) = own.rsplit_once(')')?;
    let ticks: u64 = fields.split_whitespace().nth(19)?.parse().ok()?;
    let system = std::fs::read_to_string("/proc/stat").ok()?;
    let system = system.lines().find_map(|line| line.strip_prefix("btime "))?;
    Some(system.trim().parse::<u64>().ok()? + ticks / rustix::param::clock_ticks_per_second())
}

#[expect(clippy::cast_precision_loss, reason = "Prometheus has no other numbers")]
const fn one(name: &'static str, help: &'static str, value: u64) -> Gauge {
    Gauge { name, label: None, help, value: value as f64 }
}
