//! `publisher trust ...`: signed metadata of The Update Framework, for people who have never heard of it.
//!
//! Read `book` for what is signed and how it is written, `published` for what is listed, `keys` for what signs.

pub(crate) mod args;
mod beginning;
mod book;
mod error;
mod init;
mod keys;
mod pin;
mod published;
mod status;

use std::path::PathBuf;

use dbt_core::clock::Clock;
use dbt_core::digest::Digest;
use dbt_core::layout::Tree;
use dbt_core::release::Subject;
use dbt_core::trust::keys::TRUSTSTORE_LIMIT;
use dbt_core::version::Version;
use dbt_ui::printer::Printer;
use dbt_ui::prompt::{self, Answer};
use serde_json::json;

use self::args::{Adopt, Enforce, Renew, Trust, WithKeys};
use self::book::Book;
use self::keys::Keys;
use self::pin::Pin;
use self::published::Look;
use crate::args::{Delivery, Signing};
use crate::env::Environment;
use crate::exchange::{Exchange, Spot};
use crate::key::passphrase::PassphraseSource;
use crate::place::Place;
use crate::publish::plan::{Reserved, subject_of};
use crate::signer;
use crate::stop::Stop;

/// Does what a `trust` command says.
pub(crate) fn run(
    command: Trust,
    environment: &Environment,
    printer: &Printer,
) -> Result<(), Stop> {
    match command {
        Trust::Init(typed) => init::run(typed, environment, printer),
        Trust::Adopt(typed) => adopt(typed, environment, printer),
        Trust::Enforce(typed) => enforce(typed, environment, printer),
        Trust::Renew(typed) => renew(typed, environment, printer),
        Trust::Status(typed) => status::run(typed, environment, printer),
    }
}

/// Where a command works, and with which keys.
struct Desk<'a> {
    place: Place,
    exchange: Exchange,
    keys: Keys<'a>,
    environment: &'a Environment,
    printer: &'a Printer,
}

impl<'a> Desk<'a> {
    fn of(
        typed: &WithKeys,
        environment: &'a Environment,
        printer: &'a Printer,
    ) -> Result<Self, Stop> {
        let WithKeys { trust_key, passphrase_file, place, uploading } = typed;
        let place = Place::resolve(place, uploading, environment, printer)?;
        let exchange = Exchange::open(&place, environment)?;
        let passphrase = PassphraseSource { file: passphrase_file.clone(), environment };
        let keys = Keys::of_user(passphrase, trust_key.as_deref())?;
        Ok(Self { place, exchange, keys, environment, printer })
    }

    /// Does so where a key of the truststore signs too.
    fn of_signer(
        delivery: Delivery,
        trust_key: Option<PathBuf>,
        environment: &'a Environment,
        printer: &'a Printer,
    ) -> Result<(Self, Signing), Stop> {
        let Delivery { place, signing, uploading } = delivery;
        let passphrase_file = signing.passphrase_file.clone();
        let typed = WithKeys { trust_key, passphrase_file, place, uploading };
        Ok((Self::of(&typed, environment, printer)?, signing))
    }

    /// Opens the metadata of the repository, which must have some.
    fn book(&self) -> Result<Book<'_>, Stop> {
        let pin = Pin::of(&self.place, self.environment)?;
        let now = Clock::System.now();
        let book = Book::open(&self.place, &self.exchange, pin, now, self.printer)?;
        book.ok_or_else(|| {
            Stop::usage("this repository has no signed metadata")
                .hint("`publisher trust init` gives it some")
        })
    }

    fn look(&self) -> Result<Look<'_>, Stop> {
        Look::at(&self.place, &self.exchange, Clock::System, self.printer)
    }
}

/// Gives tools roles of their own, and lists what is published of them.
fn adopt(typed: Adopt, environment: &Environment, printer: &Printer) -> Result<(), Stop> {
    let desk = Desk::of(&typed.keys, environment, printer)?;
    let mut book = desk.book()?;
    let look = desk.look()?;
    let mut shown = Vec::new();
    for name in &typed.tools {
        let subject = subject_of(name, Reserved::Accepted)?;
        if let Subject::Tool(tool) = &subject {
            let key = match &typed.key {
                Some(name) => Some(desk.keys.called(name)?.clone()),
                None if book.has_own_role(tool) => None,
                None => Some(book.admin_of(&desk.keys)?),
            };
            if let Some(key) = key {
                book.delegate(tool, &key)?;
            }
        }
        let entries = look.artifacts(&subject, None)?;
        book.list(&subject, &entries)?;
        let role = book.role_of(&subject)?;
        shown.push(json!({"name": subject.name(), "role": role, "artifacts": entries.len()}));
    }
    book.publish(&desk.keys, None)?;
    if typed.json {
        printer.json(json!({ "adopted": shown }))?;
    }
    Ok(())
}

/// Lets clients decide by metadata alone.
fn enforce(typed: Enforce, environment: &Environment, printer: &Printer) -> Result<(), Stop> {
    let Enforce { yes, trust_key, delivery } = typed;
    let (desk, signing) = Desk::of_signer(delivery, trust_key, environment, printer)?;
    let mut book = desk.book()?;
    if book.is_enforced() {
        printer.note("signed metadata is enforced already");
        return Ok(());
    }
    printer.talk(
        "from now on clients run what signed metadata lists, and nothing else; they never go back.\n\
         what has expired then stops updates, and only `publisher trust renew` helps\n",
    );
    if !yes {
        match prompt::ask("enforce signed metadata?") {
            Answer::Yes => {}
            Answer::No => return Ok(()),
            Answer::NobodyThere => {
                return Err(Stop::usage("nothing was changed: there is no terminal to ask on")
                    .hint("`--yes` answers"));
            }
        }
    }
    let signer = signer::of(&signing, environment, Clock::System)?;
    book.change("root")?["x-dbt"]["enforce"] = true.into();
    book.publish(&desk.keys, Some(signer.as_ref())).map(drop)
}

/// Signs again what expires.
fn renew(typed: Renew, environment: &Environment, printer: &Printer) -> Result<(), Stop> {
    let (desk, signing) = Desk::of_signer(typed.delivery, typed.trust_key, environment, printer)?;
    let mut book = desk.book()?;
    for role in book.all_roles() {
        book.read(&role)?;
    }
    let (here, elsewhere): (Vec<String>, Vec<String>) =
        book.that_end_soon().into_iter().partition(|role| book.has_keys_of(role, &desk.keys));
    for role in elsewhere {
        printer.warning(format!("the `{role}` metadata ends soon, and its keys are not here"));
        printer.hint(
            "whoever has them runs `publisher trust renew`, or names them with `--trust-key`",
        );
    }
    // A root is signed by a key of the truststore as well, and nothing else of this is.
    let is_root = here.iter().any(|role| role == "root");
    let signer = is_root.then(|| signer::of(&signing, environment, Clock::System)).transpose()?;
    if book.has_keys_of("targets", &desk.keys) {
        book.list_truststore(truststore(&desk.place, &desk.exchange)?)?;
    }
    for role in here {
        book.change(&role)?;
    }
    book.publish(&desk.keys, signer.as_deref()).map(drop)
}

/// Reads the truststore, which there must be.
fn truststore(place: &Place, exchange: &Exchange) -> Result<Vec<u8>, Stop> {
    let url = place
        .truststore()
        .ok_or_else(|| Stop::usage("`--repository` is missing: the truststore is there"))?;
    exchange.get(&Spot::at(url)?, TRUSTSTORE_LIMIT)?.ok_or_else(|| {
        Stop::usage(format!("there is no truststore at `{url}`"))
            .hint("`publisher truststore add KEY` begins one")
    })
}

/// Metadata that follows what another command publishes, where a repository has some.
pub(crate) struct Following<'a>(Option<Follower<'a>>);

struct Follower<'a> {
    place: &'a Place,
    exchange: &'a Exchange,
    keys: Keys<'a>,
    environment: &'a Environment,
    printer: &'a Printer,
}

impl<'a> Following<'a> {
    /// Looks whether the repository has metadata, and whether it could be signed here for these subjects, before
    /// anything is published. Without any, nothing will be.
    pub(crate) fn of(
        (place, exchange): (&'a Place, &'a Exchange),
        passphrase_file: Option<PathBuf>,
        subjects: &[&Subject],
        environment: &'a Environment,
        printer: &'a Printer,
    ) -> Result<Self, Stop> {
        let is_there = !subjects.is_empty() && place.tree(Tree::Repository).is_ok();
        if !is_there || !book::exists(exchange, place)? {
            return Ok(Self(None));
        }
        let passphrase = PassphraseSource { file: passphrase_file, environment };
        let keys = Keys::of_user(passphrase, None)?;
        let follower = Follower { place, exchange, keys, environment, printer };
        if let Some(mut book) = follower.book()? {
            for subject in subjects {
                let role = book.role_of(subject)?;
                book.can_sign(&role, &follower.keys)?;
            }
        }
        Ok(Self(Some(follower)))
    }

    /// Lists the versions that were published.
    pub(crate) fn list(&self, published: &[(&Subject, &Version)]) -> Result<(), Stop> {
        let Some(follower) = &self.0 else { return Ok(()) };
        let Some(mut book) = follower.book()? else { return Ok(()) };
        let Follower { place, exchange, printer, .. } = follower;
        let look = Look::at(place, exchange, Clock::System, printer)?;
        let mut is_new = false;
        for (subject, version) in published {
            is_new |= book.list(subject, &look.artifacts(subject, Some(version))?)?;
        }
        if is_new { book.publish(&follower.keys, None).map(drop) } else { Ok(()) }
    }

    /// Lists the truststore that was published.
    pub(crate) fn list_truststore(&self) -> Result<(), Stop> {
        let Some(follower) = &self.0 else { return Ok(()) };
        let Some(mut book) = follower.book()? else { return Ok(()) };
        let is_new = book.list_truststore(truststore(follower.place, follower.exchange)?)?;
        if is_new { book.publish(&follower.keys, None).map(drop) } else { Ok(()) }
    }
}

impl Follower<'_> {
    fn book(&self) -> Result<Option<Book<'_>>, Stop> {
        let pin = Pin::of(self.place, self.environment)?;
        Book::open(self.place, self.exchange, pin, Clock::System.now(), self.printer)
    }
}

/// Shows a digest so that two people can compare it: in six groups.
fn in_groups(digest: &str) -> String {
    let mut shown = String::new();
    for (index, digit) in digest.chars().enumerate() {
        if index > 0 && index % 11 == 0 {
            shown.push(' ');
        }
        shown.push(digit);
    }
    shown
}

/// Reads `sha256:...`.
fn root_of(text: &str) -> Result<Digest, Stop> {
    let digest = text.strip_prefix("sha256:").and_then(|digits| digits.parse().ok());
    digest.ok_or_else(|| Stop::usage(format!("`{text}` is not `sha256:` and 64 digits")))
}
