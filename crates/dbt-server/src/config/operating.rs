//! Settings of how the server is run: connections, proxies, logs, limits, and which of them can
//! change while it runs.

use std::path::PathBuf;
use std::time::Duration;

use dbt_core::repo_path::RepoPath;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::file::Written;
use super::{Config, ConfigError, Decide};
use crate::limits::{Limits, Quota};
use crate::log::Format;
use crate::operate::proxies::Network;
use crate::operate::tls::Files;

/// Where and how connections are taken.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub(super) struct WrittenListen {
    /// The certificate of this server; without it, connections are not encrypted here.
    pub(super) tls: Option<WrittenTls>,
    /// An address and port of their own for metrics and health, without sign-in.
    pub(super) metrics: Option<String>,
}

/// A certificate and its key.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub(super) struct WrittenTls {
    /// PEM file of the certificate, followed by those that lead to a known authority.
    pub(super) cert_file: Option<String>,
    /// PEM file of its private key.
    pub(super) key_file: Option<String>,
}

/// The log.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub(super) struct WrittenLog {
    /// `json` or `text`.
    pub(super) format: Option<WrittenFormat>,
}

/// The form of the log.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum WrittenFormat {
    /// A line of JSON for each thing that happened.
    Json,
    /// A line for people.
    Text,
}

/// How much may lie at or below a path.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub(super) struct WrittenQuota {
    /// The path: `/dbt-tools/foo`.
    pub(super) path: Option<String>,
    /// How many bytes.
    pub(super) bytes: Option<u64>,
}

impl Decide<'_> {
    /// Decides whether connections are encrypted here.
    pub(super) fn tls(written: &Written) -> Result<Option<Files>, ConfigError> {
        let Some(WrittenTls { cert_file, key_file }) = &written.listen.tls else {
            return Ok(None);
        };
        let file = |key: &str, path: &Option<String>| {
            let path = path.as_deref().filter(|path| !path.trim().is_empty());
            let missing = || ConfigError::setting(format!("listen.tls.{key}"), "is needed for TLS");
            path.map(PathBuf::from).ok_or_else(missing)
        };
        let certificate = file("certFile", cert_file)?;
        Ok(Some(Files { certificate, key: file("keyFile", key_file)? }))
    }

    /// Decides whose word counts about where requests come from.
    pub(super) fn trusted_proxies(written: &Written) -> Result<Vec<Network>, ConfigError> {
        let texts = written.trusted_proxies.iter().flatten();
        texts
            .map(|text| {
                text.trim()
                    .parse()
                    .map_err(|error| ConfigError::setting("trustedProxies", format!("{error}")))
            })
            .collect()
    }

    /// Decides the form of the log.
    pub(super) fn log(&mut self, written: &Written) -> Format {
        let given = written.log.format.map(|format| match format {
            WrittenFormat::Json => Format::Json,
            WrittenFormat::Text => Format::Text,
        });
        self.or("log.format", self.sourced_if(given), Format::Json)
    }

    /// Decides the limits.
    pub(super) fn limits(&mut self, written: &Written) -> Result<Limits, ConfigError> {
        let defaults = Limits::default();
        let given = &written.limits;
        Ok(Limits {
            upload_bytes: self.limit(
                "maxUploadBytes",
                given.max_upload_bytes,
                defaults.upload_bytes,
            ),
            uploads: self.limit("maxUploads", given.max_uploads, defaults.uploads).max(1),
            uploads_each: self
                .limit("maxUploadsPerCaller", given.max_uploads_per_caller, defaults.uploads_each)
                .max(1),
            require_length: self.limit(
                "requireLength",
                given.require_length,
                defaults.require_length,
            ),
            connections: self
                .limit("maxConnections", given.max_connections, defaults.connections)
                .max(1),
            connections_per_client: self.limit(
                "maxConnectionsPerClient",
                given.max_connections_per_client,
                defaults.connections_per_client,
            ),
            requests_per_minute: self.limit(
                "requestsPerMinute",
                given.requests_per_minute,
                defaults.requests_per_minute,
            ),
            header_time: self.time("headerSeconds", given.header_seconds, defaults.header_time),
            header_bytes: self
                .limit("maxHeaderBytes", given.max_header_bytes, defaults.header_bytes)
                // The least that the connection can work with.
                .max(8 * 1024),
            header_lines: self.limit("maxHeaders", given.max_headers, defaults.header_lines).max(1),
            idle_time: self.time("idleSeconds", given.idle_seconds, defaults.idle_time),
            stall_time: self.time("stallSeconds", given.stall_seconds, defaults.stall_time),
            floor_bytes: self.limit("minBodyBytes", given.min_body_bytes, defaults.floor_bytes),
            floor_window: self.time("bodySeconds", given.body_seconds, defaults.floor_window),
            listing_entries: self.limit("maxListing", given.max_listing, defaults.listing_entries),
            quotas: quotas(written)?,
            keep_deleted: self.keep_deleted(written, defaults.keep_deleted),
            drain_delay: self.seconds("drainDelay", written.drain_delay, defaults.drain_delay),
            shutdown_grace: self.seconds(
                "shutdownGrace",
                written.shutdown_grace,
                defaults.shutdown_grace,
            ),
        })
    }

    fn limit<T: ToString>(&mut self, key: &str, given: Option<T>, default: T) -> T {
        self.or(&format!("limits.{key}"), self.sourced_if(given), default)
    }

    fn time(&mut self, key: &str, given: Option<u64>, default: Duration) -> Duration {
        self.seconds(&format!("limits.{key}"), given, default)
    }

    fn seconds(&mut self, key: &str, given: Option<u64>, default: Duration) -> Duration {
        Duration::from_secs(self.or(key, self.sourced_if(given), default.as_secs()))
    }
}

fn quotas(written: &Written) -> Result<Vec<Quota>, ConfigError> {
    let quota = |(index, quota): (usize, &WrittenQuota)| {
        let refuse = |reason: &str| ConfigError::setting(format!("limits.quotas[{index}]"), reason);
        let path = quota.path.as_deref().unwrap_or_default();
        let below =
            path.strip_prefix('/').ok_or_else(|| refuse("needs a `path` that begins with `/`"))?;
        let path: RepoPath = below
            .strip_suffix('/')
            .unwrap_or(below)
            .parse()
            .map_err(|error| refuse(&format!("has a bad `path`: {error}")))?;
        let bytes = quota.bytes.ok_or_else(|| refuse("needs `bytes`"))?;
        Ok(Quota { path, bytes })
    };
    written.limits.quotas.iter().flatten().enumerate().map(quota).collect()
}

impl Config {
    fn of_audit(&self) -> Vec<&str> {
        let settings = self.settings.iter().filter(|setting| setting.name.starts_with("audit."));
        settings.map(|setting| setting.value.as_str()).collect()
    }

    /// Keeps what cannot change while a server runs as it was, and returns the names of the
    /// settings that would have changed.
    pub fn keep(&mut self, before: &Self) -> Vec<String> {
        let mut kept = Vec::new();
        let mut keep = |name: &str, changed: bool| {
            if changed {
                kept.push(name.to_owned());
            }
        };
        keep("address", self.address != before.address);
        keep("port", self.port != before.port);
        keep("serverRoot", self.root != before.root);
        keep("stateDir", self.state_dir != before.state_dir);
        keep("listen.tls", self.tls.is_some() != before.tls.is_some());
        keep("listen.metrics", self.metrics != before.metrics);
        keep("audit", self.of_audit() != before.of_audit());
        keep("log.format", self.log != before.log);
        if self.tls.is_some() != before.tls.is_some() {
            self.tls.clone_from(&before.tls);
        }
        self.address.clone_from(&before.address);
        self.port = before.port;
        self.root.clone_from(&before.root);
        self.state_dir.clone_from(&before.state_dir);
        self.metrics.clone_from(&before.metrics);
        self.log = before.log;
        kept
    }
}
