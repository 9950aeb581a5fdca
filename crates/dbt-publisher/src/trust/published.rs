//! What is published, as metadata lists it: nothing that a client would refuse.

use dbt_client::anchor::in_one_line;
use dbt_core::clock::Clock;
use dbt_core::digest::{CHECKSUM_FILE_LIMIT, Digest};
use dbt_core::layout::Location;
use dbt_core::listing::Listing;
use dbt_core::name::ToolName;
use dbt_core::platform::Platform;
use dbt_core::release::{ArtifactId, Subject};
use dbt_core::trust::metadata::CUSTOM;
use dbt_core::trust::openpgp::SIGNATURE_LIMIT;
use dbt_core::trust::{Companions, Expectation, Fetched, Fingerprint, TrustStore};
use dbt_core::version::Version;
use dbt_ui::printer::Printer;
use serde_json::{Value, json};

use crate::exchange::Exchange;
use crate::known;
use crate::place::Place;
use crate::stop::Stop;
use crate::verify::reader::{Passing, Reader};

/// An artifact that is published, and that clients run.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    /// Where it is: its path in metadata.
    pub(crate) path: String,
    id: ArtifactId,
    pub(crate) sha256: Digest,
    length: u64,
    signer: Fingerprint,
}

impl Entry {
    /// Returns what metadata says of it. (Trust design, 2.5.)
    pub(crate) fn listed(&self, released: &str) -> Value {
        let ArtifactId { subject, version, platform } = &self.id;
        let kind = match subject {
            Subject::Program => CUSTOM,
            Subject::Tool(_) => "tool",
        };
        json!({
            "length": self.length, "hashes": {"sha256": self.sha256},
            "custom": {CUSTOM: {
                "schema": 1, "kind": kind, "tool": subject.name(), "version": version.spelling(),
                "os": platform.os.as_str(), "arch": platform.arch.as_str(),
                "status": "active", "released": released,
                "pgp": {"signers": [self.signer], "threshold": 1},
            }},
        })
    }
}

/// Looks at what is published.
pub(crate) struct Look<'a> {
    reader: Reader,
    exchange: &'a Exchange,
    trust: TrustStore,
    clock: Clock,
    printer: &'a Printer,
}

impl<'a> Look<'a> {
    /// Prepares to look, under the truststore that is published there.
    pub(crate) fn at(
        place: &Place,
        exchange: &'a Exchange,
        clock: Clock,
        printer: &'a Printer,
    ) -> Result<Self, Stop> {
        let trust = known::truststore(known::certificates(place, exchange)?, clock)?;
        Ok(Self { reader: Reader::of(place, exchange)?, exchange, trust, clock, printer })
    }

    /// Returns the tools that are published.
    pub(crate) fn tools(&self) -> Result<Vec<ToolName>, Stop> {
        let listing = self.reader.list(&Location::tools())?.unwrap_or_default();
        Ok(listing.directories().filter_map(|name| name.parse().ok()).collect())
    }

    /// Returns the artifacts of a subject, or of one version of it. What a client would refuse is named and left out.
    pub(crate) fn artifacts(
        &self,
        subject: &Subject,
        only: Option<&Version>,
    ) -> Result<Vec<Entry>, Stop> {
        let listing = self.reader.list(&Location::versions_of(subject))?;
        let versions = listing.as_ref().map(Listing::versions).unwrap_or_default();
        let wanted = |version: &&Version| only.is_none_or(|only| only.same_number(version));
        let mut entries = Vec::new();
        for version in versions.iter().filter(wanted) {
            for platform in Platform::ALL {
                let (subject, version) = (subject.clone(), version.clone());
                entries.extend(self.artifact(ArtifactId { subject, version, platform })?);
            }
        }
        Ok(entries)
    }

    fn artifact(&self, id: ArtifactId) -> Result<Option<Entry>, Stop> {
        let at = Location::artifact(&id);
        let checksum = self.reader.document(&Location::checksum(&id), CHECKSUM_FILE_LIMIT)?;
        let Some(checksum) = checksum else { return Ok(None) };
        let signature = self.reader.document(&Location::signature(&id), SIGNATURE_LIMIT)?;
        let (Some(signature), Some(opened)) = (signature, self.reader.open(&at)?) else {
            return Ok(None);
        };
        let companions = Companions { checksum, signature };
        let bar = self.exchange.bar();
        bar.begin(&format!("reading {}", self.reader.shown(&at)), opened.length);
        let mut passing = Passing::new(opened, bar);
        let fetched = Fetched::from_network(id.clone(), &mut passing, companions);
        let verified = self.trust.verify(fetched, &Expectation::default(), self.clock.now());
        bar.end();
        let verified = match verified {
            Ok(verified) => verified,
            Err(error) => {
                let reason = in_one_line(&error);
                self.printer.warning(format!("{id} is not listed: {reason}"));
                return Ok(None);
            }
        };
        Ok(Some(Entry {
            path: at.target_path(),
            sha256: verified.digest(),
            length: verified.length(),
            signer: verified.endorsement().signer.clone(),
            id,
        }))
    }
}
