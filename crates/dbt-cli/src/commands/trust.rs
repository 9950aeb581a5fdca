//! `dbt trust`: whose signatures count on this machine, and what each server could do to it.

use dbt_client::session::Session;
use dbt_core::brand;
use dbt_core::timestamp;
use dbt_core::trust::Fingerprint;
use dbt_core::trust::{Signer, Standing};
use dbt_ui::exit_code::ExitCode;
use dbt_ui::report::Report;
use serde_json::json;

use crate::cli::{Anchor, ToolRequest, Trust, Which};
use crate::commands::failure;
use crate::commands::which::{self, SIGNED_INDEX};
use crate::commands::world::{Configured, World, every_server};
use crate::process::Process;

/// Shows, explains, approves or resets.
pub(crate) fn trust(process: &Process, asked: Trust) -> Result<(), Report> {
    let world = &World::open(process)?;
    match asked {
        Trust::Show { json } => show(world, every_server(process)?, json),
        Trust::Explain { tool, json } => explain(world, tool, json),
        Trust::Approve { fingerprint } => approve(world, &fingerprint),
        Trust::Reset { anchor } => reset(world, &anchor),
    }
}

/// What is known of one server's trust.
struct View {
    server: String,
    repository: String,
    level: &'static str,
    signers: Vec<Signer>,
    pinned: bool,
    strict: bool,
    plain_http: bool,
    confirmed: Option<String>,
    root: Option<String>,
}

impl View {
    fn of(session: &Session<'_>) -> Result<Self, Report> {
        let server = &session.settings.server;
        let record = session.state.server().map_err(failure::remembering)?;
        let store = session.anchor().last_good("not asked").map_err(failure::anchoring)?;
        Ok(Self {
            server: server.name.to_string(),
            repository: server.repository.to_string(),
            level: which::level(session)?,
            signers: store.map(|store| store.signers().to_vec()).unwrap_or_default(),
            pinned: server.rules.names_signers(),
            strict: server.strict,
            plain_http: server.repository.is_plain_http() && !server.repository.is_loopback(),
            confirmed: record.confirmed.map(|at| timestamp::format(at.0)),
            root: server.rules.root().map(|root| format!("sha256:{root}")),
        })
    }

    /// Says in words what whoever writes to the repository, without a key, could do.
    fn sentences(&self) -> Vec<String> {
        let program = brand::PROGRAM;
        if self.level == SIGNED_INDEX {
            return sentences_of_an_index();
        }
        let mut said = vec![format!(
            "nobody without one of these keys can make this machine run other bytes, or another {program}"
        )];
        said.push(if self.strict {
            "it cannot bring older versions back, or other bytes under a known version (`strict`)".to_owned()
        } else {
            "whoever can write to it can offer older signed versions again; that is said once, and refused with `strict`".to_owned()
        });
        said.push("whoever can write to it can hide new versions from this machine".to_owned());
        if self.level == "unsigned index" && !self.pinned && !self.strict {
            said.push(format!(
                "whoever can write to it can add a signing key; that is said once, and the key may sign tools but never {program}"
            ));
        }
        if self.plain_http {
            said.push("so can everyone on the way, because it is plain http".to_owned());
        }
        said
    }

    fn json(&self) -> serde_json::Value {
        let signers: Vec<_> = self
            .signers
            .iter()
            .map(|signer| {
                let certificate = &signer.certificate;
                json!({
                    "fingerprint": certificate.fingerprint(),
                    "name": certificate.name(),
                    "standing": signer.standing.as_str(),
                    "in_manifest": signer.in_manifest,
                    "revoked": certificate.is_revoked(),
                    "expires": certificate.expires().map(timestamp::format),
                })
            })
            .collect();
        json!({
            "server": self.server, "repository": self.repository, "level": self.level,
            "pinned_by_configuration": self.pinned, "strict": self.strict, "root": self.root,
            "last_confirmed": self.confirmed, "signers": signers, "could": self.sentences(),
        })
    }

    fn text(&self) -> String {
        let mut lines = vec![format!("{} ({})", self.server, self.repository)];
        lines.push(format!("  level: {}", self.level));
        if self.signers.is_empty() {
            lines.push(
                "  this machine has not met it yet: its first answer will be trusted".to_owned(),
            );
        }
        for signer in &self.signers {
            let certificate = &signer.certificate;
            let end = match certificate.expires() {
                Some(expires) => format!("expires {}", timestamp::format_date(expires)),
                None => "never expires".to_owned(),
            };
            let revoked = if certificate.is_revoked() { ", revoked" } else { "" };
            lines.push(format!(
                "  {}  {}  {}, {end}{revoked}",
                certificate.fingerprint(),
                certificate.name().replace(char::is_control, "\u{FFFD}"),
                signer.standing.as_str(),
            ));
        }
        lines.extend(self.sentences().into_iter().map(|sentence| format!("  - {sentence}")));
        lines.join("\n") + "\n"
    }
}

/// Says what whoever has the server can do where its signed index counts.
fn sentences_of_an_index() -> Vec<String> {
    [
        "nothing runs that its signed index does not list and one of these keys has not signed",
        "whoever has the server and its online key can withhold what is new, until the index ends",
        "whoever has them can list versions of tools that have no key of their own; it takes one of these keys to run them",
        "it cannot bring older versions back, and this machine does not go back to a server without an index",
    ]
    .map(str::to_owned)
    .to_vec()
}

fn show(world: &World<'_>, servers: Vec<Configured>, as_json: bool) -> Result<(), Report> {
    let mut views = Vec::new();
    for Configured { name, settings } in servers {
        match settings.and_then(|settings| View::of(&world.session_of(&settings))) {
            Ok(view) => views.push(view),
            Err(report) => {
                world.printer.report(&report.while_doing(format!("failed to look at `{name}`")));
            }
        }
    }
    if as_json {
        return world.printer.json(json!(views.iter().map(View::json).collect::<Vec<_>>()));
    }
    let texts: Vec<String> = views.iter().map(View::text).collect();
    world.printer.data(texts.join("\n"))
}

/// A tool is trusted because its cached copy passes every check, which is what `which` shows.
fn explain(world: &World<'_>, tool: ToolRequest, json: bool) -> Result<(), Report> {
    which::which(world, Which { tool, json })
}

/// Lets a key count. It is the answer to "no key that this machine knows is left".
fn approve(world: &World<'_>, fingerprint: &Fingerprint) -> Result<(), Report> {
    let session = world.session();
    let record = session.state.server().map_err(failure::remembering)?;
    if record.trust.is_first_contact() {
        let message = format!("this machine has never met server `{}`", world.settings.server.name);
        return Err(Report::new(ExitCode::NOT_FOUND, message)
            .hint("name the key under `trust` in its configuration instead"));
    }
    session
        .state
        .change_server(|record| record.trust.approve(fingerprint))
        .map_err(failure::remembering)?;
    world.printer.note(format!(
        "{fingerprint} counts for server `{}` from now on",
        world.settings.server.name
    ));
    Ok(())
}

/// Forgets a server's keys and begins with one that a person names, instead of with whatever the
/// server shows next.
fn reset(world: &World<'_>, anchor: &Anchor) -> Result<(), Report> {
    let Anchor::Key(fingerprint) = anchor else {
        let message = "this version takes no root of signed metadata as an anchor";
        return Err(Report::new(ExitCode::CONFIGURATION, message.to_owned())
            .hint("name a signing key's fingerprint"));
    };
    let session = world.session();
    session.state.reset_trust(fingerprint).map_err(failure::remembering)?;
    world.printer.note(format!(
        "what was remembered of the keys of server `{}` is forgotten; {fingerprint} counts from now on",
        world.settings.server.name
    ));
    Ok(())
}

/// Says whether a signer counts for everything. Used by `doctor`.
pub(crate) fn counts(signer: &Signer) -> bool {
    signer.standing > Standing::Newcomer && !signer.certificate.is_revoked()
}
