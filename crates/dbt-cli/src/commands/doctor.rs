//! `dbt doctor`: everything that can be wrong on a machine and with a server.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use dbt_client::anchor::in_one_line;
use dbt_client::session::Session;
use dbt_client::settings::SelfUpdate;
use dbt_client::source::{self, Answer};
use dbt_client::store::WritablePlace;
use dbt_client::url::Scheme;
use dbt_core::brand;
use dbt_core::timestamp;
use dbt_core::trust::keys::Keyring;
use dbt_ui::exit_code::ExitCode;
use dbt_ui::report::Report;
use serde_json::json;

use crate::cli::Doctor;
use crate::commands::world::{Configured, World, every_server};
use crate::commands::{trust, which};
use crate::process::Process;

/// How one check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Good,
    Notable,
    Bad,
}

/// One thing that was looked at.
struct Finding {
    outcome: Outcome,
    about: String,
    words: String,
}

/// What `doctor` gathers.
#[derive(Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn good(&mut self, about: &str, words: impl Into<String>) {
        self.add(Outcome::Good, about, words);
    }

    fn notable(&mut self, about: &str, words: impl Into<String>) {
        self.add(Outcome::Notable, about, words);
    }

    fn bad(&mut self, about: &str, words: impl Into<String>) {
        self.add(Outcome::Bad, about, words);
    }

    fn add(&mut self, outcome: Outcome, about: &str, words: impl Into<String>) {
        self.0.push(Finding { outcome, about: about.to_owned(), words: words.into() });
    }
}

/// Looks at everything and says what was found. Fails when something is bad.
pub(crate) fn doctor(process: &Process, asked: &Doctor) -> Result<(), Report> {
    let world = &World::open(process)?;
    let mut findings = Findings::default();
    program(world, &mut findings);
    configuration(process, &mut findings)?;
    store(&world.session(), &mut findings);
    for Configured { name, settings } in &every_server(process)? {
        match settings {
            Ok(settings) => server(&world.session_of(settings), &mut findings),
            Err(report) => {
                findings.bad(&format!("server {name}"), in_one_line(report.error()));
            }
        }
    }
    show(world, asked, &findings)
}

fn configuration(process: &Process, findings: &mut Findings) -> Result<(), Report> {
    let Some(file) = process.file()? else {
        findings.notable("configuration", "there is no file");
        return Ok(());
    };
    findings.good("configuration", format!("`{}`", file.path.display()));
    for notice in &file.notices {
        findings.notable("configuration", notice);
    }
    for key in &file.config.unknown {
        findings.notable("configuration", format!("nothing reads the key `{key}`"));
    }
    Ok(())
}

fn program(world: &World<'_>, findings: &mut Findings) {
    let settings = &world.settings;
    let version = &settings.program.version;
    match &settings.program.executable {
        Some(path) => findings
            .good("program", format!("{} {version} at `{}`", brand::PROGRAM, path.display())),
        None => findings.notable("program", "the system does not say where this program is"),
    }
    let home = settings.home_server.as_ref().map_or("no server", |name| name.as_str());
    match settings.server.self_update {
        SelfUpdate::Auto => findings.good("self-update", format!("from {home}")),
        SelfUpdate::Notify => findings.good("self-update", format!("only told, from {home}")),
        SelfUpdate::Off => findings.notable(
            "self-update",
            "off: configured so, or this program's directory cannot be written, or this is a container",
        ),
    }
}

fn store(session: &Session<'_>, findings: &mut Findings) {
    match session.settings.places.home.as_deref() {
        Some(home) if is_open_to_others(home) => findings.bad(
            "home",
            format!(
                "others can write to `{path}`, and so decide what runs: `chmod go-w {path}`",
                path = home.display()
            ),
        ),
        Some(home) => findings.good("home", format!("`{}`", home.display())),
        None => {
            findings.notable("home", "there is no directory for our files; nothing is remembered");
        }
    }
    match session.store.writable_place() {
        WritablePlace::Own(path) => findings.good("store", format!("`{}`", path.display())),
        WritablePlace::Temporary(path) => findings.notable(
            "store",
            format!("the store cannot be written; tools are kept in `{}`", path.display()),
        ),
        WritablePlace::Memory => {
            findings.notable("store", "nothing can be written; tools run from memory");
        }
    }
    if session.store.forbids_execution() {
        findings.bad("store", "its file system forbids executing anything (noexec)");
    }
    for concern in session.store.concerns() {
        findings.notable("store", concern.to_string());
    }
    if session.state.directory().is_none() {
        findings
            .notable("state", "it cannot be kept on this machine: every run is a first contact");
    }
}

/// Says whether somebody else could exchange what is in a directory.
#[cfg(unix)]
fn is_open_to_others(directory: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    const WRITE_FOR_GROUP_OR_OTHERS: u32 = 0o022;
    std::fs::metadata(directory)
        .is_ok_and(|metadata| metadata.permissions().mode() & WRITE_FOR_GROUP_OR_OTHERS != 0)
}

#[cfg(not(unix))]
fn is_open_to_others(_directory: &Path) -> bool {
    false
}

fn server(session: &Session<'_>, findings: &mut Findings) {
    let server = &session.settings.server;
    let about = format!("server {}", server.name);
    match which::level(session) {
        Ok(level) => findings.good(&about, format!("{} (level: {level})", server.repository)),
        Err(report) => findings.bad(&about, report.error().to_string()),
    }
    signers(session, &about, findings);
    connections(session, &about, findings);
    if session.settings.offline {
        return;
    }
    reach(session, &about, findings);
}

fn signers(session: &Session<'_>, about: &str, findings: &mut Findings) {
    const SOON: Duration = Duration::from_hours(60 * 24);
    let store = match session.anchor().last_good("not asked") {
        Ok(Some(store)) => store,
        Ok(None) => return findings.notable(about, "this machine has not met it yet"),
        Err(error) => return findings.bad(about, error.to_string()),
    };
    for signer in store.signers() {
        let certificate = &signer.certificate;
        let fingerprint = certificate.fingerprint();
        if certificate.is_revoked() {
            findings.notable(about, format!("the key {fingerprint} is revoked"));
        } else if !trust::counts(signer) {
            findings.notable(about, format!("no known key stands behind the key {fingerprint}"));
        }
        let Some(expires) = certificate.expires() else { continue };
        let date = timestamp::format_date(expires);
        match expires.duration_since(session.now()) {
            Err(_past) => findings.bad(about, format!("the key {fingerprint} expired on {date}")),
            Ok(left) if left < SOON => {
                findings.notable(about, format!("the key {fingerprint} expires on {date}"));
            }
            Ok(_) => {}
        }
    }
}

/// Asks for what a run asks for first.
fn reach(session: &Session<'_>, about: &str, findings: &mut Findings) {
    let patience = session.patience(false);
    let repository = session.repository();
    match repository.truststore(None, &patience) {
        Ok(Answer::Document { bytes, etag: _ }) => match Keyring::parse(&bytes) {
            Ok(keyring) => {
                findings.good(
                    about,
                    format!("the truststore has {} usable keys", keyring.certificates.len()),
                );
                for skipped in &keyring.skipped {
                    findings.notable(about, skipped.to_string());
                }
            }
            Err(error) => findings.bad(about, format!("the truststore cannot be used: {error}")),
        },
        Ok(Answer::NotModified) => {}
        Err(error) => findings.bad(about, in_one_line(&error)),
    }
    match repository.list(&dbt_core::layout::Location::tools(), &patience) {
        Ok(listing) => {
            findings.good(about, format!("it lists {} tools", listing.directories().count()));
        }
        Err(error) => findings.bad(about, in_one_line(&error)),
    }
}

/// Says how the server's places are reached: proxies, and whose certificates are believed.
fn connections(session: &Session<'_>, about: &str, findings: &mut Findings) {
    let server = &session.settings.server;
    let places = [&server.repository, &server.tools, &server.truststore];
    let origins: BTreeSet<_> = places.into_iter().filter_map(|place| place.origin()).collect();
    for origin in &origins {
        match source::proxy_for(&session.settings.network, origin) {
            Ok(None) => {}
            Ok(Some(proxy)) => {
                findings.good(about, format!("`{origin}` is reached through the proxy `{proxy}`"));
            }
            Err(failure) => findings.bad(about, failure.to_string()),
        }
    }
    if !origins.iter().any(|origin| origin.scheme() == Scheme::Https) {
        return;
    }
    let roots = match session.certificate_roots() {
        Ok(roots) => roots,
        Err(error) => return findings.bad(about, in_one_line(&error)),
    };
    if !roots.places.is_empty() {
        findings.good(about, format!("certificate authorities: {}", roots.places.join(", ")));
    }
    if roots.is_mozilla {
        findings.notable(about, "this host has no certificate authorities; Mozilla's are used");
    }
    for unused in roots.unused {
        findings.notable(about, unused);
    }
}

fn show(world: &World<'_>, asked: &Doctor, findings: &Findings) -> Result<(), Report> {
    let label = |outcome| match outcome {
        Outcome::Good => "ok",
        Outcome::Notable => "note",
        Outcome::Bad => "bad",
    };
    if asked.json {
        let rows: Vec<_> = findings
            .0
            .iter()
            .map(|it| json!({ "outcome": label(it.outcome), "about": it.about, "words": it.words }))
            .collect();
        world.printer.json(json!(rows))?;
    } else {
        let lines = findings
            .0
            .iter()
            .map(|it| format!("{:<5} {}: {}\n", label(it.outcome), it.about, it.words));
        let text: String = lines.collect();
        if asked.report {
            let platform = world.settings.platform;
            let time = timestamp::format(world.settings.clock.now());
            world.printer.data(format!(
                "```text\n{} report, {platform}, {time}\n{text}```\n",
                brand::PROGRAM
            ))?;
        } else {
            world.printer.data(text)?;
        }
    }
    let bad = findings.0.iter().filter(|it| it.outcome == Outcome::Bad).count();
    if bad == 0 {
        return Ok(());
    }
    let noun = if bad == 1 { "thing is" } else { "things are" };
    Err(Report::new(ExitCode::CONFIGURATION, format!("{bad} {noun} wrong")))
}
