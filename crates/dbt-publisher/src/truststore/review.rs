//! What a change of the truststore does, and to whom, before it is made: which keys stop counting,
//! and which published versions nobody could run any more.
//!
//! Who signed a version is taken from what its signatures say of themselves: reading every
//! artifact for a question would take hours. A signature that lies about it counts for nobody
//! before the change either.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::SystemTime;

use dbt_client::catalog::published;
use dbt_client::source::Patience;
use dbt_client::url::RepositoryUrl;
use dbt_core::layout::Location;
use dbt_core::name::ToolName;
use dbt_core::release::Subject;
use dbt_core::trust::fingerprint::Fingerprint;
use dbt_core::trust::keys::Certificate;
use dbt_core::trust::openpgp::SignatureBlock;
use dbt_core::version::Version;
use dbt_ui::printable;
use dbt_ui::printer::Printer;
use dbt_ui::prompt::{self, Answer};
use serde_json::json;

use super::manifest::{able_admins, can_sign};
use crate::args::Change;
use crate::exchange::{Exchange, Spot, present};
use crate::place::Place;
use crate::stop::Stop;

/// What a change does.
pub(super) struct Review<'a> {
    after: &'a [Certificate],
    /// Whose signatures count and would not: taken out, or revoked.
    lost: Vec<&'a Certificate>,
    /// The versions that this concerns.
    pub(super) stopped: Stopped,
}

/// The versions that verify, and would not.
#[derive(Debug, Default)]
pub(super) struct Stopped {
    by_tool: BTreeMap<String, Vec<Version>>,
    /// How many versions go on verifying, at least on one platform.
    going_on: usize,
}

/// How many tools are named to a person; JSON has all.
const TOOLS_SHOWN: usize = 20;

impl<'a> Review<'a> {
    /// Compares the certificates before and after. Only where some stop counting, what is
    /// published is looked at.
    pub(super) fn of(
        before: &'a [Certificate],
        after: &'a [Certificate],
        place: &Place,
        exchange: &Exchange,
    ) -> Result<Self, Stop> {
        let counted = before.iter().filter(|one| !one.is_revoked());
        let lost: Vec<_> = counted.filter(|one| !counts(one.fingerprint(), after)).collect();
        let stopped = if lost.is_empty() {
            Stopped::default()
        } else {
            Survey { before, after, place, exchange, stopped: Stopped::default() }.run()?
        };
        Ok(Self { after, lost, stopped })
    }

    /// Refuses a change after which nothing could be published or changed any more, or nothing
    /// that is published could be run.
    pub(super) fn refuse_lock_out(
        &self,
        (admins, threshold): (&[Fingerprint], u32),
        change: &Change,
        now: SystemTime,
    ) -> Result<(), Stop> {
        if !self.after.iter().any(|one| can_sign(one, now)) {
            return Err(Stop::refused("no key would be left whose signatures count")
                .hint("add another one first: `publisher truststore add`"));
        }
        let able = able_admins(admins, self.after, now);
        let needed = usize::try_from(threshold).unwrap_or(usize::MAX);
        if able < needed {
            let message = format!(
                "{needed} administrators would have to sign the next change, and {able} could"
            );
            return Err(Stop::refused(message).hint(
                "`publisher truststore add --admin` lets another key sign, `--admin-threshold` says how many must",
            ));
        }
        let nothing_left = !self.stopped.by_tool.is_empty() && self.stopped.going_on == 0;
        if nothing_left && !change.even_if_nothing_verifies {
            let words = self.stopped.lines();
            return Err(Stop::refused(format!(
                "nothing that is published would verify any more:\n{}",
                words.trim_end()
            ))
            .hint("sign it by another key first: `publisher sign TOOL VERSION`")
            .hint("`--even-if-nothing-verifies` changes it all the same"));
        }
        Ok(())
    }

    /// Asks the person, where something is taken away. Without one, nothing is changed, and that
    /// is an error: a script must not take it for done.
    pub(super) fn is_confirmed(
        &self,
        truststore: &RepositoryUrl,
        printer: &Printer,
    ) -> Result<bool, Stop> {
        if self.lost.is_empty() {
            return Ok(true);
        }
        let mut text = String::new();
        for lost in &self.lost {
            let (key, name) = (lost.fingerprint(), lost.name());
            // Writing to a string cannot fail.
            let _infallible =
                writeln!(text, "would no longer count: {key}  {}", printable::line(&name));
        }
        text.push_str(&self.stopped.lines());
        if self.stopped.by_tool.is_empty() {
            text.push_str("everything that is published goes on verifying\n");
        }
        printer.talk(text);
        match prompt::ask(&format!("change the truststore `{truststore}` for everybody?")) {
            Answer::Yes => Ok(true),
            Answer::No => {
                printer.note("nothing was changed");
                Ok(false)
            }
            Answer::NobodyThere => {
                Err(Stop::usage("nothing was changed: there is no terminal to ask on")
                    .hint("`--yes` answers, and `--dry-run` shows what would change"))
            }
        }
    }
}

impl Stopped {
    /// Returns the lines for people; none where nothing stops.
    pub(super) fn lines(&self) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail.
        for (tool, versions) in self.by_tool.iter().take(TOOLS_SHOWN) {
            let versions: Vec<&str> = versions.iter().map(Version::spelling).collect();
            let _infallible = writeln!(text, "no longer verifies: {tool} {}", versions.join(" "));
        }
        let left = self.by_tool.len().saturating_sub(TOOLS_SHOWN);
        if left > 0 {
            let _infallible = writeln!(text, "and versions of {left} more tools");
        }
        text
    }

    /// Returns the same for programs.
    pub(super) fn json(&self) -> serde_json::Value {
        let rows = self.by_tool.iter();
        rows.map(|(tool, versions)| json!({ "tool": tool, "versions": versions })).collect()
    }
}

/// Whether signatures of a key count under some certificates.
fn counts(key: &Fingerprint, certificates: &[Certificate]) -> bool {
    certificates.iter().any(|one| one.fingerprint() == key && !one.is_revoked())
}

/// A look at everything that is published.
struct Survey<'a> {
    before: &'a [Certificate],
    after: &'a [Certificate],
    place: &'a Place,
    exchange: &'a Exchange,
    stopped: Stopped,
}

fn patience() -> Patience {
    Patience::without_cached_copy(1.0)
}

impl Survey<'_> {
    fn run(mut self) -> Result<Stopped, Stop> {
        self.look_at(&Subject::Program)?;
        let tools =
            self.exchange.list(&Spot::of(self.place, &Location::tools()).map_err(|stop| {
                stop.hint("it is where the versions are that would no longer verify")
            })?)?;
        let tools = tools.unwrap_or_default();
        for tool in tools.names().filter_map(|name| name.parse::<ToolName>().ok()) {
            self.look_at(&Subject::Tool(tool))?;
        }
        Ok(self.stopped)
    }

    fn look_at(&mut self, subject: &Subject) -> Result<(), Stop> {
        let at = Location::versions_of(subject);
        let source = self.exchange.reading(self.place.tree(at.tree)?);
        let Some(listing) = present(source.list(&at.path, &patience()))? else {
            return Ok(());
        };
        let versions = listing.versions();
        let found = published::signatures_of(source.as_ref(), subject, &versions, &patience)?;
        for version in &versions {
            let blocks = found.iter().filter(|(id, _block)| id.version == *version);
            let blocks: Vec<&SignatureBlock> =
                blocks.filter_map(|(_id, block)| block.as_ref()).collect();
            let verified =
                |certificates| blocks.iter().filter(|block| is_signed(block, certificates)).count();
            let (before, after) = (verified(self.before), verified(self.after));
            if after < before {
                let stopped = self.stopped.by_tool.entry(subject.name().to_owned()).or_default();
                stopped.push(version.clone());
            }
            if after > 0 {
                self.stopped.going_on += 1;
            }
        }
        Ok(())
    }
}

/// Whether a signature says that it is by a key that counts.
fn is_signed(block: &SignatureBlock, certificates: &[Certificate]) -> bool {
    let known: Vec<&Certificate> = certificates.iter().filter(|one| !one.is_revoked()).collect();
    block.unverified_claims(&known).iter().any(|claim| claim.certificate.is_some())
}
