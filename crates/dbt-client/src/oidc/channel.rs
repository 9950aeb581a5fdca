//! How providers are reached: one question at a time, each with limits of its own.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use dbt_core::clock::Clock;
use dbt_core::secret::Secret;

use crate::source::{
    Cancel, Connector, EndpointCall, EndpointReply, EndpointUrl, FetchError, Patience,
};

/// The most bytes of an answer. Groups make tokens long; discovery documents have some KiB.
const ANSWER_LIMIT: u64 = 512 * 1024;

/// What every way of signing in works with.
#[derive(Debug, Clone)]
pub struct Channel {
    connector: Arc<Connector>,
    clock: Clock,
    time_scale: f64,
    deadline: Option<Instant>,
    cancel: Cancel,
}

impl Channel {
    /// Returns a channel on which each question may take as long as metadata may that a run cannot
    /// do without. `time_scale` scales all limits, as `timeout` of the server says.
    pub fn new(connector: &Arc<Connector>, clock: Clock, time_scale: f64) -> Self {
        let (connector, cancel) = (Arc::clone(connector), Cancel::default());
        Self { connector, clock, time_scale, deadline: None, cancel }
    }

    /// Returns the same with an end for all questions, where a run has no more time.
    #[must_use]
    pub fn until(mut self, deadline: Option<Instant>) -> Self {
        self.deadline = deadline;
        self
    }

    /// Returns the same, ended by `cancel`.
    #[must_use]
    pub fn cancelled_by(mut self, cancel: Cancel) -> Self {
        self.cancel = cancel;
        self
    }

    /// Returns the time.
    pub fn now(&self) -> SystemTime {
        self.clock.now()
    }

    /// Asks for a document.
    pub(super) fn get(
        &self,
        url: &EndpointUrl,
        authorization: Option<Secret<String>>,
    ) -> Result<EndpointReply, FetchError> {
        self.ask(url, None, authorization, Vec::new())
    }

    /// Posts a form, or another small body.
    pub(super) fn post(
        &self,
        url: &EndpointUrl,
        body: (&'static str, Secret<String>),
        authorization: Option<Secret<String>>,
        headers: Vec<(&'static str, String)>,
    ) -> Result<EndpointReply, FetchError> {
        self.ask(url, Some(body), authorization, headers)
    }

    fn ask(
        &self,
        url: &EndpointUrl,
        body: Option<(&'static str, Secret<String>)>,
        authorization: Option<Secret<String>>,
        headers: Vec<(&'static str, String)>,
    ) -> Result<EndpointReply, FetchError> {
        let patience = self.patience();
        let (limit, patience) = (ANSWER_LIMIT, &patience);
        EndpointCall { url, body, authorization, headers, limit, patience }.send(&self.connector)
    }

    fn patience(&self) -> Patience {
        let mut patience =
            Patience::without_cached_copy(self.time_scale).cancelled_by(self.cancel.clone());
        // Providers ask others in turn before they say anything.
        if let Some(deadline) = patience.deadline {
            patience.first_byte = deadline.saturating_duration_since(Instant::now());
        }
        patience.deadline = patience.deadline.into_iter().chain(self.deadline).min();
        patience
    }
}
