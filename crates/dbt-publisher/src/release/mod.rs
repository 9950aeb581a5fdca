//! `publisher release`: publishes the files of the program itself, its companions as tools, the
//! installers, and last the file that names the newest version.
//!
//! Everything is read, checked, signed and compared with what is there before the first file is
//! uploaded. What stops in the middle leaves `latest` as it was, and is an error.
//!
//! (Contract: wire formats, 7.1.)

mod script;
mod source;
mod upstream;

use dbt_core::brand;
use dbt_core::clock::Clock;
use dbt_core::layout::{CHECKSUM_ENDING, Location, SIGNATURE_ENDING, Tree};
use dbt_core::release::Subject;
use dbt_core::version::Version;
use dbt_ui::printer::Printer;
use dbt_ui::prompt::{self, Answer};
use serde_json::json;

pub(crate) use self::source::{INSTALLER_LIMIT, candidate};

use self::source::{Choice, Extra, Found};
use crate::announcement::Announcement;
use crate::args::Release;
use crate::env::Environment;
use crate::exchange::{Exchange, content_of};
use crate::place::Place;
use crate::publish::plan::Plan;
use crate::publish::upload::{Item, Role, Uploaded, Uploader};
use crate::publish::{Untrusted, files_json, items, mark_latest, show_dry_run};
use crate::signer::{self, Signer};
use crate::stop::Stop;
use crate::trust::Following;

/// Publishes a release.
pub(crate) fn run(
    typed: Release,
    environment: &Environment,
    printer: &Printer,
) -> Result<(), Stop> {
    let (typed, environment) = script::translated(typed, environment)?;
    let choice = Choice { include: &typed.include, exclude: &typed.exclude };
    let Found { version, plans, extras } = match (&typed.directory, &typed.from) {
        (Some(directory), _) => source::find(directory, &typed, &choice, printer)?,
        (None, Some(from)) => upstream::fetch(from, &typed, &choice, &environment, printer)?,
        (None, None) => return Err(Stop::usage("`DIR` is missing")),
    };
    let place = Place::of(&typed.delivery, &environment, printer)?;
    let announcement = Announcement::of(typed.public_url.as_deref(), &place)?;
    let exchange = Exchange::open(&place, &environment)?;
    let clock = Clock::System;

    printer.talk(told(&version, &plans, &extras, &place)?);
    if !typed.yes && !typed.dry_run && !is_confirmed(&version, printer)? {
        return Ok(());
    }
    let signer = signer::of(&typed.delivery.signing, &environment, clock)?;
    let untrusted = Untrusted::refused_unless(typed.force);
    untrusted.judge(signer.as_ref(), &place, &exchange, printer)?;
    let has_program = plans.iter().any(|plan| plan.subject == Subject::Program);
    let mut parts = Vec::new();
    for plan in plans {
        let subject = plan.subject.clone();
        parts.push((Some(subject), items(plan, Some(signer.as_ref()), clock, typed.replace)?));
    }
    // Installers have one place, whatever version they are of.
    parts.push((None, items_of(extras, signer.as_ref(), clock)?));

    let subjects: Vec<&Subject> =
        parts.iter().filter_map(|(subject, _items)| subject.as_ref()).collect();
    let subjects = if typed.dry_run { &[][..] } else { &subjects };
    let passphrase_file = typed.delivery.signing.passphrase_file.clone();
    let following =
        Following::of((&place, &exchange), passphrase_file, subjects, &environment, printer)?;

    let publish = |dry_run: bool, parts: &mut [(Option<Subject>, Vec<Item>)]| {
        let mut files = Vec::new();
        for (subject, items) in parts {
            let uploader = Uploader {
                exchange: &exchange,
                place: &place,
                signer: Some(signer.certificate()),
                clock,
                replace: typed.replace || subject.is_none(),
                dry_run,
                printer,
            };
            files.extend(match subject {
                Some(subject) => uploader.upload(items, subject, &version)?,
                None => uploader.upload_loose(items)?,
            });
        }
        Ok::<_, Stop>(files)
    };
    let doing = || format!("failed to publish the release {version}");
    // What is refused is refused before anything is there.
    let mut files = publish(true, &mut parts).map_err(|stop| stop.while_doing(doing()))?;
    if !typed.dry_run {
        files = publish(false, &mut parts).map_err(|stop| {
            stop.while_doing(doing()).hint("`latest` is as it was; the same command goes on")
        })?;
    }
    let published: Vec<(&Subject, &Version)> =
        parts.iter().filter_map(|(subject, _items)| Some((subject.as_ref()?, &version))).collect();
    following.list(&published).map_err(|stop| stop.while_doing(doing()))?;
    if has_program && !version.is_pre_release() {
        let marked = mark_latest(&place, &exchange, &version, typed.dry_run);
        files.extend(marked.map_err(|stop| stop.while_doing(doing()))?);
    }
    let announced = announcement.write(typed.dry_run);
    files.extend(announced.map_err(|stop| stop.while_doing(doing()))?);
    show(&typed, &version, &files, printer)
}

/// Signs the installers.
fn items_of(extras: Vec<Extra>, signer: &dyn Signer, clock: Clock) -> Result<Vec<Item>, Stop> {
    let mut items = Vec::new();
    for Extra { path, bytes } in extras {
        let at = Location { tree: Tree::Repository, path };
        let binding = source::binding_of(&at.path);
        let content = &mut std::io::Cursor::new(bytes.clone());
        let signature = signer::sign(signer, content, &binding, clock.now())?;
        let checksum = content_of(&bytes).sha256.to_string().into_bytes();
        let signature = signature.armored().to_vec();
        items.push(Item::in_memory(at.clone(), bytes, Role::Content));
        let role = Role::Signature { binding };
        items.push(Item::in_memory(at.with_ending(SIGNATURE_ENDING), signature, role));
        items.push(Item::in_memory(at.with_ending(CHECKSUM_ENDING), checksum, Role::Checksum));
    }
    Ok(items)
}

/// Says what will be published, and where.
fn told(
    version: &Version,
    plans: &[Plan],
    extras: &[Extra],
    place: &Place,
) -> Result<String, Stop> {
    let mut lines = Vec::new();
    for plan in plans {
        let base = place.tree(Location::versions_of(&plan.subject).tree)?;
        for artifact in &plan.artifacts {
            let path = Location::artifact(&artifact.id).path;
            lines.push((artifact.content.length, base.join(&path)));
        }
    }
    for Extra { path, bytes } in extras {
        let base = place.tree(Tree::Repository)?;
        lines.push((bytes.len() as u64, base.join(path)));
    }
    let lines = lines.iter().map(|(length, url)| format!("{length} bytes  {url}\n"));
    let lines: String = lines.collect();
    Ok(format!("release {version}, each file with its signature and checksum:\n{lines}"))
}

/// Asks the person. Without one nothing is published, and that is an error.
fn is_confirmed(version: &Version, printer: &Printer) -> Result<bool, Stop> {
    match prompt::ask(&format!("Publish the release {version}?")) {
        Answer::Yes => Ok(true),
        Answer::No => {
            printer.note("nothing was published");
            Ok(false)
        }
        Answer::NobodyThere => {
            Err(Stop::usage("nothing was published: there is no terminal to ask on")
                .hint("`--yes` answers, and `--dry-run` shows what would be written"))
        }
    }
}

fn show(
    typed: &Release,
    version: &Version,
    files: &[Uploaded],
    printer: &Printer,
) -> Result<(), Stop> {
    if typed.json {
        let document = json!({
            "name": brand::PROGRAM,
            "version": version,
            "dryRun": typed.dry_run,
            "files": files_json(files),
        });
        return Ok(printer.json(document)?);
    }
    if typed.dry_run { show_dry_run(files, printer) } else { Ok(()) }
}
