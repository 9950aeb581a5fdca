//! `publisher truststore ...`: decides whose signatures count, for everybody.
//!
//! Every change is signed: the truststore's manifest names its bytes, its certificates and who may
//! sign the next change, and follows from the one before. What is added is certified by whoever
//! adds it, so that machines which know him need not ask anybody.

mod add;
mod file;
pub(crate) mod manifest;
mod review;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::Cursor;
use std::time::SystemTime;

use dbt_client::source::Replace;
use dbt_client::url::RepositoryUrl;
use dbt_core::clock::Clock;
use dbt_core::layout::{MANIFEST_ENDING, SIGNATURE_ENDING};
use dbt_core::release::Subject;
use dbt_core::trust::fingerprint::Fingerprint;
use dbt_core::trust::keys::{Certificate, TRUSTSTORE_LIMIT};
use dbt_core::trust::manifest::PinnedManifest;
use dbt_ui::exit_code::ExitCode;
use dbt_ui::printable;
use dbt_ui::printer::Printer;
use dbt_ui::report::Report;
use dbt_ui::table::Table;
use serde_json::json;

use self::file::TruststoreFile;
use self::manifest::{Next, SignedManifest};
use self::review::{Review, Stopped};
use crate::args::{Change, SignIn, Truststore, Where};
use crate::env::Environment;
use crate::exchange::{Exchange, Spot, content_of};
use crate::key::commands::{described, expiry};
use crate::key::passphrase::PassphraseSource;
use crate::place::Place;
use crate::signer::{self, Beside, Signer};
use crate::stop::Stop;
use crate::trust::Following;
use crate::verify;

/// Does what a `truststore` command says.
pub(crate) fn run(
    command: Truststore,
    environment: &Environment,
    printer: &Printer,
) -> Result<(), Stop> {
    match command {
        Truststore::Add { keys, admin, change } => {
            let opened = Opened::of(&change.place, &change.uploading, environment, printer)?;
            let signers = signers(&change, environment)?;
            let added = add::certificates(&keys, environment, printer)?;
            opened.add(added, admin, &signers, &change, printer)
        }
        Truststore::Remove { keys, change } => {
            let keys: Result<Vec<Fingerprint>, _> = keys.iter().map(|key| key.parse()).collect();
            let keys = keys.map_err(|error| {
                Stop::from(error)
                    .hint("`publisher truststore list` shows them; a short id is not enough")
            })?;
            let opened = Opened::of(&change.place, &change.uploading, environment, printer)?;
            let signers = signers(&change, environment)?;
            opened.remove(&keys, &signers, &change, printer)
        }
        Truststore::List { place, uploading, json } => {
            Opened::of(&place, &uploading, environment, printer)?.list(json, printer)
        }
    }
}

fn signers(change: &Change, environment: &Environment) -> Result<Vec<Box<dyn Signer>>, Stop> {
    let passphrase = PassphraseSource { file: change.passphrase_file.clone(), environment };
    let beside = Beside { passphrase, certificate: change.certificate.clone() };
    let open = |typed: Option<&str>| signer::open_typed(typed, &beside, Clock::System);
    if change.signer.is_empty() {
        return Ok(vec![open(None)?]);
    }
    change.signer.iter().map(|typed| open(Some(typed))).collect()
}

/// A truststore as it is published.
struct Opened<'a> {
    environment: &'a Environment,
    place: Place,
    exchange: Exchange,
    url: RepositoryUrl,
    file: TruststoreFile,
    /// Its usable certificates.
    certificates: Vec<Certificate>,
    clock: Clock,
}

impl<'a> Opened<'a> {
    fn of(
        place: &Where,
        sign_in: &SignIn,
        environment: &'a Environment,
        printer: &Printer,
    ) -> Result<Self, Stop> {
        let place = Place::resolve(place, sign_in, environment, printer)?;
        let url = place
            .truststore()
            .cloned()
            .ok_or_else(|| Stop::usage("`--repository` is missing: the truststore is there"))?;
        let exchange = Exchange::wide(&place, environment)?;
        let bytes = exchange.get(&Spot::at(&url)?, TRUSTSTORE_LIMIT)?.unwrap_or_default();
        let file = TruststoreFile::parse(&bytes).map_err(|error| {
            let message = format!("refusing to change `{url}`");
            Report::because(ExitCode::VERIFICATION_REFUSED, message, error)
        })?;
        let certificates = file.certificates();
        Ok(Self { environment, place, exchange, url, file, certificates, clock: Clock::System })
    }

    fn add(
        mut self,
        added: Vec<Certificate>,
        as_admins: bool,
        signers: &[Box<dyn Signer>],
        change: &Change,
        printer: &Printer,
    ) -> Result<(), Stop> {
        let named: BTreeSet<Fingerprint> =
            added.iter().map(|certificate| certificate.fingerprint().clone()).collect();
        let before = self.manifest(signers)?;
        self.refuse_strangers(before.as_ref(), &named)?;
        let mut by = signers.iter();
        let certifier = by.next().ok_or_else(|| Stop::usage("`--signer` is missing"))?;
        for certificate in added {
            let own = certificate.fingerprint() == certifier.certificate().fingerprint();
            let certificate =
                if own { add::minimal(&certificate)? } else { certifier.certify(&certificate)? };
            if !own && !certificate.is_certified_by(certifier.certificate(), self.clock.now()) {
                return Err(Stop::refused(format!(
                    "clients would not accept the certification of {}",
                    certificate.fingerprint()
                )));
            }
            self.file.put(certificate);
        }
        let mut admins = match &before {
            Some(before) => before.manifest.admins.clone(),
            None => signers.iter().map(|one| one.certificate().fingerprint().clone()).collect(),
        };
        if as_admins {
            admins.extend(
                named.iter().filter(|key| !admins.contains(key)).cloned().collect::<Vec<_>>(),
            );
        }
        let changes = named.iter().map(|key| ('+', key.clone())).collect();
        self.publish(before.as_ref(), admins, signers, change, changes, printer)
    }

    fn remove(
        mut self,
        keys: &[Fingerprint],
        signers: &[Box<dyn Signer>],
        change: &Change,
        printer: &Printer,
    ) -> Result<(), Stop> {
        let before = self.manifest(signers)?;
        let named: BTreeSet<Fingerprint> = keys.iter().cloned().collect();
        self.refuse_strangers(before.as_ref(), &named)?;
        for key in &named {
            if signers.iter().any(|signer| signer.certificate().fingerprint() == key) {
                return Err(Stop::usage(format!("{key} cannot remove itself"))
                    .hint("sign with another administrator's key"));
            }
            if !self.file.remove(key) {
                let message = format!("{key} is not in `{}`", self.url);
                return Err(Report::new(ExitCode::NOT_FOUND, message).into());
            }
        }
        let mut admins = match &before {
            Some(before) => before.manifest.admins.clone(),
            None => signers.iter().map(|one| one.certificate().fingerprint().clone()).collect(),
        };
        admins.retain(|admin| !named.contains(admin));
        let changes = named.iter().map(|key| ('-', key.clone())).collect();
        self.publish(before.as_ref(), admins, signers, change, changes, printer)
    }

    /// Reads the manifest and checks that the signers may sign the next one.
    fn manifest(&self, signers: &[Box<dyn Signer>]) -> Result<Option<PinnedManifest>, Stop> {
        let mut known = self.certificates.clone();
        known.extend(signers.iter().map(|signer| signer.certificate().clone()));
        let now = self.clock.now();
        let before = manifest::current(&self.url, &known, &self.exchange, now)?;
        if let Some(before) = &before {
            let admins = &before.manifest.admins;
            for signer in signers {
                let fingerprint = signer.certificate().fingerprint();
                if !admins.contains(fingerprint) {
                    let message = format!("{fingerprint} may not change this truststore");
                    let names: Vec<String> = admins.iter().map(ToString::to_string).collect();
                    return Err(Stop(
                        Report::new(ExitCode::REFUSED, message)
                            .hint(format!("its administrators are {}", names.join(", "))),
                    ));
                }
            }
        }
        Ok(before)
    }

    /// Refuses to sign certificates that no administrator has listed: whoever can write to the
    /// server may have put them there, and a signature of ours would make them count.
    fn refuse_strangers(
        &self,
        before: Option<&PinnedManifest>,
        named: &BTreeSet<Fingerprint>,
    ) -> Result<(), Stop> {
        let Some(before) = before else {
            return Ok(());
        };
        let stranger = self.certificates.iter().find(|certificate| {
            let key = certificate.fingerprint();
            !before.manifest.certs.contains(key) && !named.contains(key)
        });
        let Some(stranger) = stranger else {
            return Ok(());
        };
        let (key, name) = (stranger.fingerprint(), stranger.name());
        Err(Stop::refused(format!(
            "`{}` holds {key} (`{name}`), which no administrator has signed",
            self.url
        ))
        .hint(format!("`publisher truststore remove {key}` takes it out"))
        .hint("if it is right, name it together with what you add"))
    }

    fn publish(
        &self,
        before: Option<&PinnedManifest>,
        admins: Vec<Fingerprint>,
        signers: &[Box<dyn Signer>],
        change: &Change,
        changes: Vec<(char, Fingerprint)>,
        printer: &Printer,
    ) -> Result<(), Stop> {
        let bytes = self.file.bytes();
        let certificates = self.file.certificates();
        for signer in signers {
            let key = signer.certificate().fingerprint();
            if !certificates.iter().any(|certificate| certificate.fingerprint() == key) {
                return Err(Stop::usage(format!(
                    "{key} signs, and is not in the truststore itself"
                ))
                .hint("add it too: clients believe administrators whose keys they have"));
            }
        }
        let threshold =
            change.admin_threshold.or(before.map(|before| before.manifest.admin_threshold));
        let threshold = threshold.unwrap_or(1);
        warn_of_ends(&certificates, self.clock.now(), printer);
        let review = Review::of(&self.certificates, &certificates, &self.place, &self.exchange)?;
        review.refuse_lock_out((&admins, threshold), change, self.clock.now())?;
        if !change.dry_run && !change.yes && !review.is_confirmed(&self.url, printer)? {
            return Ok(());
        }
        let subjects = if change.dry_run { &[][..] } else { &[&Subject::Program][..] };
        let passphrase_file = change.passphrase_file.clone();
        let following = Following::of(
            (&self.place, &self.exchange),
            passphrase_file,
            subjects,
            self.environment,
            printer,
        )?;
        let next =
            Next { before, truststore: &bytes, certificates: &certificates, admins, threshold };
        let signed = next.sign(signers, self.clock)?;
        if !change.dry_run {
            self.write(&signed, &bytes).map_err(|stop| {
                stop.while_doing("failed to publish the truststore")
                    .hint("the same command again completes it; until then the old one counts")
            })?;
            following.list_truststore()?;
        }
        show(&signed, &certificates, &changes, (change, &review.stopped), printer)
    }

    /// Writes the manifest first and the truststore last.
    ///
    /// Clients ask for the manifest when the truststore has changed: those that come in between
    /// see the old truststore and ask for nothing. The other way round they would find a
    /// truststore that no manifest names, and refuse it.
    fn write(&self, signed: &SignedManifest, truststore: &[u8]) -> Result<(), Stop> {
        let kept = format!(".manifest.{}.json", signed.manifest.version);
        for ending in [kept.as_str(), MANIFEST_ENDING] {
            let at = self.url.with_ending(ending);
            self.put(&at.with_ending(SIGNATURE_ENDING), &signed.signature)?;
            self.put(&at, &signed.bytes)?;
        }
        self.put(&self.url, truststore)
    }

    fn put(&self, at: &RepositoryUrl, bytes: &[u8]) -> Result<(), Stop> {
        let mut body = Cursor::new(bytes.to_vec());
        self.exchange.put(&Spot::at(at)?, &mut body, &content_of(bytes), Replace::Allowed)
    }

    fn list(&self, as_json: bool, printer: &Printer) -> Result<(), Stop> {
        let now = self.clock.now();
        warn_of_ends(&self.certificates, now, printer);
        let manifest = manifest::current(&self.url, &self.certificates, &self.exchange, now)?;
        let manifest = manifest.map(|pinned| pinned.manifest);
        let standing = |certificate: &Certificate| match &manifest {
            _ if certificate.is_revoked() => "revoked",
            Some(manifest) if manifest.admins.contains(certificate.fingerprint()) => {
                "administrator"
            }
            Some(manifest) if manifest.certs.contains(certificate.fingerprint()) => "listed",
            Some(_) => "not signed by an administrator",
            None => "no manifest",
        };
        if as_json {
            let certificates = self.certificates.iter().map(|certificate| {
                let mut described = described(certificate);
                if let Some(members) = described.as_object_mut() {
                    members.insert("standing".to_owned(), json!(standing(certificate)));
                }
                described
            });
            let certificates: Vec<_> = certificates.collect();
            let document = json!({ "truststore": self.url, "manifest": manifest, "certificates": certificates });
            return Ok(printer.json(document)?);
        }
        if self.certificates.is_empty() {
            printer.note(format!("there is no truststore at `{}` yet", self.url));
            return Ok(());
        }
        let mut table = Table::new(["fingerprint", "expires", "standing", "user"]);
        for certificate in &self.certificates {
            table.row([
                &certificate.fingerprint().to_string(),
                &expiry(certificate),
                standing(certificate),
                &certificate.name(),
            ]);
        }
        Ok(printer.data(table)?)
    }
}

/// Warns of keys that have ended or end soon.
fn warn_of_ends(certificates: &[Certificate], now: SystemTime, printer: &Printer) {
    for (kind, words) in certificates.iter().filter_map(|one| verify::end_of(one, now)) {
        printer.warning(words);
        printer.hint(kind.fix);
    }
}

/// The line of the configuration that makes machines trust these keys and no other.
fn trust_line(certificates: &[Certificate]) -> String {
    let keys = certificates.iter().filter(|certificate| !certificate.is_revoked());
    let keys: Vec<String> = keys.map(|key| format!("\"{}\"", key.fingerprint())).collect();
    let keys = keys.join(", ");
    format!("{{\"dbt\": [{keys}], \"tools\": [{keys}]}}")
}

fn show(
    signed: &SignedManifest,
    certificates: &[Certificate],
    changes: &[(char, Fingerprint)],
    (change, stopped): (&Change, &Stopped),
    printer: &Printer,
) -> Result<(), Stop> {
    let trust = trust_line(certificates);
    if change.json {
        let trust: serde_json::Value = serde_json::from_str(&trust).map_err(Report::internal)?;
        let of =
            |sign| changes.iter().filter(move |(one, _key)| *one == sign).map(|(_sign, key)| key);
        let document = json!({
            "added": of('+').collect::<Vec<_>>(),
            "removed": of('-').collect::<Vec<_>>(),
            "stopsVerifying": stopped.json(),
            "manifest": signed.manifest,
            "trust": trust,
            "dryRun": change.dry_run,
        });
        return Ok(printer.json(document)?);
    }
    let mut text = String::new();
    for (sign, key) in changes {
        let known = certificates.iter().find(|certificate| certificate.fingerprint() == key);
        let name = known.map(|certificate| {
            format!("  {} (expires: {})", printable::line(&certificate.name()), expiry(certificate))
        });
        // Writing to a string cannot fail.
        let _infallible = writeln!(text, "{sign} {key}{}", name.unwrap_or_default());
    }
    text.push_str(&stopped.lines());
    let manifest = &signed.manifest;
    let _infallible = writeln!(
        text,
        "version {} of the truststore: certificates: {}, administrators: {}, of whom {} must sign",
        manifest.version,
        manifest.certs.len(),
        manifest.admins.len(),
        manifest.admin_threshold,
    );
    let _infallible = writeln!(text, "\"trust\": {trust}");
    Ok(printer.data(text)?)
}
