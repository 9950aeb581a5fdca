//! What the server counts, and how Prometheus reads it.
//!
//! Labels are words of the program's own or numbers of a few hundred, by their type: a path or a
//! name that somebody sends can become none, so that nobody makes the list grow.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The media type of what is rendered.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A value of a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Label {
    /// A word of ours.
    Word(&'static str),
    /// A small number, such as a status.
    Number(u16),
}

impl From<&'static str> for Label {
    fn from(word: &'static str) -> Self {
        Self::Word(word)
    }
}

impl From<u16> for Label {
    fn from(number: u16) -> Self {
        Self::Number(number)
    }
}

/// Something that is counted, and never less.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Counter {
    /// Requests by method, route and status.
    Requests,
    /// Credentials by kind and what came of them.
    SignIns,
    /// Uploads that did not end well, by reason.
    UploadsAborted,
    /// Bytes of files that were uploaded.
    UploadBytes,
    /// Connections that were cut, by reason.
    ConnectionsCut,
    /// Connections and requests that were turned away, by reason.
    TurnedAway,
    /// Attempts to read the settings again, by result.
    Reloads,
}

impl Counter {
    const ALL: [Self; 7] = [
        Self::Requests,
        Self::SignIns,
        Self::UploadsAborted,
        Self::UploadBytes,
        Self::ConnectionsCut,
        Self::TurnedAway,
        Self::Reloads,
    ];

    const fn about(self) -> (&'static str, &'static [&'static str], &'static str) {
        match self {
            Self::Requests => (
                "reposerver_http_requests_total",
                &["method", "route", "status"],
                "Requests that were answered.",
            ),
            Self::SignIns => (
                "reposerver_auth_attempts_total",
                &["method", "result", "reason"],
                "Credentials that were shown.",
            ),
            Self::UploadsAborted => (
                "reposerver_uploads_aborted_total",
                &["reason"],
                "Uploads that were not published.",
            ),
            Self::UploadBytes => {
                ("reposerver_upload_bytes_total", &[], "Bytes of files that were published.")
            }
            Self::ConnectionsCut => (
                "reposerver_connections_cut_total",
                &["reason"],
                "Connections that were cut because they took too long.",
            ),
            Self::TurnedAway => (
                "reposerver_turned_away_total",
                &["reason"],
                "Connections and requests that were turned away because of a limit.",
            ),
            Self::Reloads => (
                "reposerver_config_reloads_total",
                &["result"],
                "Attempts to read the settings again.",
            ),
        }
    }
}

/// Something that takes time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Timer {
    /// A request, from its head to the last byte of its answer, by route.
    Request,
    /// Work of the storage, by kind.
    Storage,
    /// Until something is on the disk, by what it is.
    Flush,
}

impl Timer {
    const ALL: [Self; 3] = [Self::Request, Self::Storage, Self::Flush];

    const fn about(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Request => (
                "reposerver_http_request_duration_seconds",
                "route",
                "From the head of a request to the last byte of its answer.",
            ),
            Self::Storage => {
                ("reposerver_storage_op_seconds", "op", "What the storage took for its work.")
            }
            Self::Flush => {
                ("reposerver_fsync_seconds", "of", "What it took until something was on the disk.")
            }
        }
    }
}

/// Where the classes of times end, in microseconds.
const CLASSES: [u64; 9] =
    [1_000, 5_000, 25_000, 100_000, 500_000, 2_500_000, 10_000_000, 60_000_000, 600_000_000];

#[derive(Clone, Debug, Default)]
struct Times {
    classes: [u64; CLASSES.len()],
    count: u64,
    microseconds: u64,
}

/// Something that is so now.
#[derive(Clone, Debug)]
pub struct Gauge {
    /// Its name.
    pub name: &'static str,
    /// A label and its value.
    pub label: Option<(&'static str, &'static str)>,
    /// What it means.
    pub help: &'static str,
    /// How much.
    pub value: f64,
}

/// Everything that is counted.
#[derive(Debug, Default)]
pub struct Metrics {
    counts: Mutex<BTreeMap<(Counter, Vec<Label>), u64>>,
    times: Mutex<BTreeMap<(Timer, &'static str), Times>>,
    /// Bytes that arrived over connections.
    pub received: AtomicU64,
    /// Bytes that were sent over connections.
    pub sent: AtomicU64,
}

impl Metrics {
    /// Counts one.
    pub fn count(&self, counter: Counter, labels: &[Label]) {
        self.add(counter, labels, 1);
    }

    /// Counts several.
    pub fn add(&self, counter: Counter, labels: &[Label], amount: u64) {
        let mut counts = locked(&self.counts);
        *counts.entry((counter, labels.to_vec())).or_default() += amount;
    }

    /// Notes how long something took.
    pub fn observe(&self, timer: Timer, label: &'static str, taken: Duration) {
        let microseconds = u64::try_from(taken.as_micros()).unwrap_or(u64::MAX);
        let mut all = locked(&self.times);
        let known = all.entry((timer, label)).or_default();
        known.count += 1;
        known.microseconds = known.microseconds.saturating_add(microseconds);
        for (class, end) in known.classes.iter_mut().zip(CLASSES) {
            *class += u64::from(microseconds <= end);
        }
    }

    /// Does something and notes how long it took.
    pub async fn timed<T>(
        &self,
        timer: Timer,
        label: &'static str,
        work: impl Future<Output = T>,
    ) -> T {
        let began = std::time::Instant::now();
        let done = work.await;
        self.observe(timer, label, began.elapsed());
        done
    }

    /// Returns all of it as text, with what is so now.
    pub fn render(&self, now: &[Gauge]) -> String {
        let mut text = String::new();
        for counter in Counter::ALL {
            self.render_counter(&mut text, counter);
        }
        for timer in Timer::ALL {
            self.render_timer(&mut text, timer);
        }
        for (name, help, value) in [
            (
                "reposerver_network_receive_bytes_total",
                "Bytes that arrived over connections.",
                &self.received,
            ),
            (
                "reposerver_network_transmit_bytes_total",
                "Bytes that were sent over connections.",
                &self.sent,
            ),
        ] {
            head(&mut text, name, "counter", help);
            line(&mut text, name, &[], value.load(Ordering::Relaxed));
        }
        let mut before = "";
        for Gauge { name, label, help, value } in now {
            if before != *name {
                head(&mut text, name, "gauge", help);
            }
            before = name;
            let labels: Vec<_> = label.iter().map(|(name, value)| (*name, *value)).collect();
            line(&mut text, name, &labels, value);
        }
        text
    }

    fn render_counter(&self, text: &mut String, counter: Counter) {
        let (name, labels, help) = counter.about();
        head(text, name, "counter", help);
        let counts = locked(&self.counts);
        for ((_counter, values), count) in counts.iter().filter(|((it, _), _)| *it == counter) {
            let values: Vec<String> = values
                .iter()
                .map(|value| match value {
                    Label::Word(word) => (*word).to_owned(),
                    Label::Number(number) => number.to_string(),
                })
                .collect();
            let pairs: Vec<(&str, &str)> =
                labels.iter().copied().zip(values.iter().map(String::as_str)).collect();
            line(text, name, &pairs, count);
        }
        if labels.is_empty() && !counts.contains_key(&(counter, Vec::new())) {
            line(text, name, &[], 0);
        }
    }

    fn render_timer(&self, text: &mut String, timer: Timer) {
        let (name, label, help) = timer.about();
        head(text, name, "histogram", help);
        let all = locked(&self.times);
        for ((_timer, value), known) in all.iter().filter(|((it, _), _)| *it == timer) {
            let bucket = format!("{name}_bucket");
            for (count, end) in known.classes.iter().zip(CLASSES) {
                let end = Duration::from_micros(end).as_secs_f64().to_string();
                line(text, &bucket, &[(label, value), ("le", &end)], count);
            }
            line(text, &bucket, &[(label, value), ("le", "+Inf")], known.count);
            let sum = Duration::from_micros(known.microseconds).as_secs_f64();
            line(text, &format!("{name}_sum"), &[(label, value)], sum);
            line(text, &format!("{name}_count"), &[(label, value)], known.count);
        }
    }
}

pub(super) fn head(text: &mut String, name: &str, kind: &str, help: &str) {
    // Writing to a String cannot fail.
    let _always_ok = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

/// Writes a value with its labels; one that is empty is as none.
pub(super) fn line(
    text: &mut String,
    name: &str,
    labels: &[(&str, &str)],
    value: impl std::fmt::Display,
) {
    let labels = labels.iter().filter(|(_name, value)| !value.is_empty());
    let labels: Vec<String> = labels.map(|(name, value)| format!("{name}=\"{value}\"")).collect();
    let labels =
        if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
    let _always_ok = writeln!(text, "{name}{labels} {value}");
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every change is a single addition, so a panic elsewhere left nothing half done.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_and_times_are_written_as_prometheus_reads_them() {
        let metrics = Metrics::default();
        let labels = ["GET".into(), "file".into(), Label::Number(200)];
        metrics.count(Counter::Requests, &labels);
        metrics.count(Counter::Requests, &labels);
        metrics.observe(Timer::Request, "file", Duration::from_millis(2));
        metrics.observe(Timer::Request, "file", Duration::from_secs(2000));
        let up = Gauge { name: "up", label: Some(("version", "1")), help: "Is.", value: 1.0 };
        let text = metrics.render(&[up]);
        for line in [
            "# TYPE reposerver_http_requests_total counter",
            "reposerver_http_requests_total{method=\"GET\",route=\"file\",status=\"200\"} 2",
            "reposerver_http_request_duration_seconds_bucket{route=\"file\",le=\"0.001\"} 0",
            "reposerver_http_request_duration_seconds_bucket{route=\"file\",le=\"0.005\"} 1",
            "reposerver_http_request_duration_seconds_bucket{route=\"file\",le=\"600\"} 1",
            "reposerver_http_request_duration_seconds_bucket{route=\"file\",le=\"+Inf\"} 2",
            "reposerver_http_request_duration_seconds_sum{route=\"file\"} 2000.002",
            "reposerver_upload_bytes_total 0",
            "up{version=\"1\"} 1",
        ] {
            assert!(text.lines().any(|it| it == line), "{line}\n{text}");
        }
    }
}
