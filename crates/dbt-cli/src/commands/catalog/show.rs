//! `dbt catalog show`: one tool, as far as a list can tell.

use std::collections::BTreeMap;

use dbt_client::catalog::description::{self, Description};
use dbt_client::catalog::published::{self, PublishedArtifact};
use dbt_client::catalog::withdrawals::{self, Withdrawals};
use dbt_client::session::Session;
use dbt_client::source::{Class, FetchError};
use dbt_core::brand;
use dbt_core::layout::{Location, WITHDRAWN_FILE};
use dbt_core::name::ToolName;
use dbt_core::platform::Platform;
use dbt_core::release::Subject;
use dbt_core::select;
use dbt_core::timestamp;
use dbt_core::trust::TrustStore;
use dbt_core::trust::keys::Certificate;
use dbt_core::version::Version;
use dbt_ui::exit_code::ExitCode;
use dbt_ui::printable;
use dbt_ui::report::Report;
use dbt_ui::table::Table;
use serde_json::json;

use super::{REFUSED_LIST, by_platform, refuse_offline};
use crate::commands::cache::size;
use crate::commands::failure;
use crate::commands::world::World;

/// How many of the newest versions are looked at file by file.
const LOOKED_AT: usize = 10;

/// What is known of one tool.
struct View {
    tool: ToolName,
    here: Platform,
    /// Newest first.
    versions: Vec<Version>,
    artifacts: Vec<PublishedArtifact>,
    description: Option<Description>,
    withdrawals: Option<Withdrawals>,
    trust: Option<TrustStore>,
}

/// Shows versions, platforms, sizes, and when and by whom they say that they were signed.
pub(super) fn show(world: &World<'_>, tool: &ToolName, as_json: bool) -> Result<(), Report> {
    refuse_offline(world)?;
    let view = View::of(&world.wide_session(), tool)?;
    for artifact in &view.artifacts {
        if let Some(problem) = &artifact.problem {
            world.printer.warning(format!("`{}` could not be looked at: {problem}", artifact.id));
        }
    }
    if let Some(Description::Refused(error)) = &view.description {
        world.printer.warning(format!("the description is not shown: {error}"));
    }
    if let Some(Withdrawals::Refused(error)) = &view.withdrawals {
        let why = REFUSED_LIST;
        world.printer.warning(format!("the list of withdrawn versions is refused: {error}; {why}"));
    }
    if as_json { world.printer.json(view.document()) } else { view.print(world) }
}

impl View {
    fn of(session: &Session<'_>, tool: &ToolName) -> Result<Self, Report> {
        let at = Location::versions_of(&Subject::Tool(tool.clone()));
        let source = session.repository().tree(at.tree);
        let patience = || session.patience(false);
        let listing =
            session.repository().list(&at, &patience()).map_err(|error| unlisted(tool, error))?;
        let mut versions = listing.versions();
        versions.sort_by(|a, b| b.cmp(a));
        // What this machine believes already: a look changes nothing about that.
        let trust = session.anchor().last_good("not asked").map_err(failure::anchoring)?;
        let signers = trust.as_ref().map(TrustStore::signers).unwrap_or_default();
        let certificates: Vec<&Certificate> =
            signers.iter().map(|signer| &signer.certificate).collect();
        let looked_at = versions.get(..LOOKED_AT.min(versions.len())).unwrap_or_default();
        let artifacts = published::of_versions(source, tool, looked_at, &certificates, &patience)
            .map_err(failure::fetching)?;
        let judge = (trust.as_ref(), session.now());
        let withdrawals = if listing.contains(WITHDRAWN_FILE) {
            withdrawals::read(source, tool, judge, &patience()).map_err(failure::fetching)?
        } else {
            None
        };
        let (tool, here) = (tool.clone(), session.settings.platform);
        let mut view =
            Self { tool, here, versions, artifacts, description: None, withdrawals, trust };
        let described = view.newest_for(here).or_else(|| select::newest(&view.versions));
        if let Some(version) = described.or_else(|| view.versions.first().cloned()) {
            let judge = (view.trust.as_ref(), session.now());
            view.description = description::read(source, &view.tool, &version, judge, &patience())
                .map_err(failure::fetching)?;
        }
        Ok(view)
    }

    /// Returns why a version is withdrawn, if it is.
    fn withdrawn(&self, version: &Version) -> Option<&str> {
        self.withdrawals.as_ref()?.list()?.reason_against(version, None)
    }

    /// Returns the newest release of each platform, among the versions that were looked at and may run.
    fn platforms(&self) -> BTreeMap<Platform, Version> {
        let mut newest: BTreeMap<Platform, Vec<Version>> = BTreeMap::new();
        let may_run = |it: &&PublishedArtifact| self.withdrawn(&it.id.version).is_none();
        for artifact in self.artifacts.iter().filter(may_run) {
            newest.entry(artifact.id.platform).or_default().push(artifact.id.version.clone());
        }
        let newest = newest.into_iter();
        newest.filter_map(|(platform, them)| Some((platform, select::newest(&them)?))).collect()
    }

    /// Returns the newest release that may run, whatever it is for.
    fn newest(&self) -> Option<Version> {
        let may_run = self.versions.iter().filter(|version| self.withdrawn(version).is_none());
        select::newest(&may_run.cloned().collect::<Vec<_>>())
    }

    fn newest_for(&self, platform: Platform) -> Option<Version> {
        let newest = self.platforms();
        let of = |platform| newest.get(&platform).cloned();
        of(platform).or_else(|| platform.fallback().and_then(of))
    }

    fn print(&self, world: &World<'_>) -> Result<(), Report> {
        world.printer.data(self.head())?;
        let mut table =
            Table::new(["VERSION", "PLATFORM", "SIZE", "SIGNED", "SIGNER (AS IT SAYS)"]);
        for artifact in &self.artifacts {
            let claim = artifact.claims.first();
            let made = claim.and_then(|claim| claim.made).map(timestamp::format_date);
            table.row([
                artifact.id.version.spelling(),
                &artifact.id.platform.to_string(),
                &artifact.length.map(size).unwrap_or_default(),
                &made.unwrap_or_else(|| "-".to_owned()),
                &self.signers(artifact).join(", "),
            ]);
        }
        world.printer.table(&table)?;
        for version in &self.versions {
            if let Some(reason) = self.withdrawn(version) {
                let reason = printable::line(reason);
                world.printer.data(format!("{version} is withdrawn: {reason}\n"))?;
            }
        }
        let older: Vec<&str> =
            self.versions.iter().skip(LOOKED_AT).map(Version::spelling).collect();
        if older.is_empty() {
            return Ok(());
        }
        world.printer.data(format!("older versions: {}\n", older.join(", ")))
    }

    /// Returns the tool's name, its description, and what runs here.
    fn head(&self) -> String {
        let description = match &self.description {
            Some(Description::Signed { text, signer }) => {
                format!("{text}\n(description signed by {signer})\n")
            }
            Some(Description::Unsigned(text)) => format!("{text}\n(description not signed)\n"),
            Some(Description::NotVerified(text)) => format!(
                "{text}\n(description not verified: this machine knows no keys of this server yet)\n"
            ),
            Some(Description::Refused(_)) | None => String::new(),
        };
        let (here, newest) = (self.here, self.newest());
        let runs = match (self.newest_for(here), newest) {
            (Some(ours), Some(newest)) if !ours.same_number(&newest) => {
                format!("newest for {here}: {ours} ({newest} is not published for it)\n")
            }
            (Some(ours), _) => format!("newest for {here}: {ours}\n"),
            (None, _) => format!("not published for {here}\n"),
        };
        format!("{}\n{description}{runs}\n", self.tool)
    }

    /// Returns who says to have signed an artifact: by name, where the key is one this machine
    /// trusts.
    fn signers(&self, artifact: &PublishedArtifact) -> Vec<String> {
        let known = |fingerprint| {
            let signers = self.trust.as_ref().map(TrustStore::signers).unwrap_or_default();
            let signer = signers.iter().find(|it| it.certificate.fingerprint() == fingerprint);
            signer.map(|it| it.certificate.name())
        };
        let claims = artifact.claims.iter();
        let words = claims.filter_map(|claim| {
            let name = claim.certificate.as_ref().and_then(known);
            name.or_else(|| claim.issuer.as_ref().map(|issuer| format!("unknown key {issuer}")))
        });
        words.collect()
    }

    /// The shape is documented in `docs/catalog.md`: members are added, and never change.
    fn document(&self) -> serde_json::Value {
        let (state, description, signer) = match &self.description {
            Some(Description::Signed { text, signer }) => ("verified", Some(text), Some(signer)),
            Some(Description::Unsigned(text)) => ("unsigned", Some(text), None),
            Some(Description::NotVerified(text)) => ("not-verified", Some(text), None),
            Some(Description::Refused(_)) => ("refused", None, None),
            None => ("none", None, None),
        };
        let artifacts: Vec<_> = self.artifacts.iter().map(artifact_document).collect();
        let withdrawn = self.versions.iter().filter_map(|version| {
            let reason = self.withdrawn(version)?;
            Some(json!({ "version": version, "reason": reason }))
        });
        let withdrawn: Vec<_> = withdrawn.collect();
        let withdrawn_state = match &self.withdrawals {
            Some(Withdrawals::Verified(_)) => "verified",
            Some(Withdrawals::NotVerified(_)) => "not-verified",
            Some(Withdrawals::Refused(_)) => "refused",
            None => "none",
        };
        json!({
            "tool": self.tool,
            "version": self.newest_for(self.here),
            "newest": self.newest(),
            "versions": self.versions,
            "platforms": by_platform(&self.platforms()),
            "description": description,
            "description_state": state,
            "description_signer": signer,
            "artifacts": artifacts,
            "withdrawn": withdrawn,
            "withdrawn_state": withdrawn_state,
        })
    }
}

/// Reports that a tool could not be listed.
fn unlisted(tool: &ToolName, error: FetchError) -> Report {
    if error.class() != Class::NotFound {
        return failure::fetching(error);
    }
    Report::because(ExitCode::NOT_FOUND, format!("`{tool}` is not published"), error)
        .hint(format!("`{} catalog list` shows what is", brand::PROGRAM))
}

fn artifact_document(artifact: &PublishedArtifact) -> serde_json::Value {
    let signatures: Vec<_> = artifact
        .claims
        .iter()
        .map(|claim| {
            json!({
                "issuer": claim.issuer,
                "signer": claim.certificate,
                "made": claim.made.map(timestamp::format),
            })
        })
        .collect();
    json!({
        "version": artifact.id.version,
        "platform": artifact.id.platform.to_string(),
        "bytes": artifact.length,
        "claimed_signatures": signatures,
        "problem": artifact.problem.as_ref().map(ToString::to_string),
    })
}
