//! `publisher trust init`: signed metadata for an organisation of a few people.
//!
//! Three keys: an administrator's, which is here; a spare one of his, which is locked away; and one for what changes
//! every day. (Trust design, 2.4: the small set-up.)

use dbt_core::clock::Clock;
use dbt_core::digest::Digest;
use dbt_core::release::Subject;
use dbt_ui::printer::Printer;
use serde_json::json;

use super::args::Init;
use super::beginning::Beginning;
use super::book::Book;
use super::keys::{Keys, NewKeyFile};
use super::pin::Pin;
use super::{Desk, in_groups, truststore};
use crate::env::Environment;
use crate::key::passphrase::PassphraseSource;
use crate::known;
use crate::publish::Untrusted;
use crate::signer;
use crate::stop::Stop;
use crate::truststore::manifest;

/// Gives a repository signed metadata.
pub(crate) fn run(typed: Init, environment: &Environment, printer: &Printer) -> Result<(), Stop> {
    let (desk, signing) = Desk::of_signer(typed.delivery.clone(), None, environment, printer)?;
    let (clock, now) = (Clock::System, Clock::System.now());
    let signer = signer::of(&signing, environment, clock)?;
    Untrusted::Refused.judge(signer.as_ref(), &desk.place, &desk.exchange, printer)?;
    let bytes = truststore(&desk.place, &desk.exchange)?;

    let passphrase = PassphraseSource { file: signing.passphrase_file.clone(), environment };
    let chosen = passphrase.new_one()?;
    let own = |role: &str| {
        NewKeyFile::of_user(&format!("{}-{role}", typed.name), (&chosen, environment), now)
    };
    let (admin, online) = (own("admin")?, own("online")?);
    let spare =
        NewKeyFile::at(typed.spare.clone(), &format!("{}-spare", typed.name), &chosen, now)?;

    let beginning = Beginning {
        repository_id: repository_id(&desk)?,
        admins: [&admin.public, &spare.public],
        online: &online.public,
    };
    let pin = Pin::of(&desk.place, environment)?;
    let mut book = Book::begin(&desk.place, &desk.exchange, pin, now, &beginning)?;
    let look = desk.look()?;
    let mut count = 0;
    let tools = look.tools()?.into_iter().map(Subject::Tool);
    for subject in std::iter::once(Subject::Program).chain(tools) {
        let entries = look.artifacts(&subject, None)?;
        count += entries.len();
        book.list(&subject, &entries)?;
    }
    book.list_truststore(bytes)?;

    for key in [&admin, &spare, &online] {
        key.write(&passphrase)?;
    }
    let keys = Keys::of_user(passphrase, None)?;
    let root = book.publish(&keys, Some(signer.as_ref()))?;
    show(&typed, &beginning, Digest::of(&root), count, printer)
}

/// Returns the name that the repository has for ever: the one in the truststore's manifest, if it has one.
fn repository_id(desk: &Desk<'_>) -> Result<String, Stop> {
    let Some(url) = desk.place.truststore() else { return manifest::random_uuid() };
    let certificates = known::certificates(&desk.place, &desk.exchange)?;
    let known = manifest::current(url, &certificates, &desk.exchange, Clock::System.now())?;
    known.map_or_else(manifest::random_uuid, |pinned| Ok(pinned.manifest.repository_id))
}

fn show(
    typed: &Init,
    beginning: &Beginning<'_>,
    root: Digest,
    count: usize,
    printer: &Printer,
) -> Result<(), Stop> {
    let root = root.to_string();
    if typed.json {
        let document = json!({
            "repositoryId": beginning.repository_id, "root": format!("sha256:{root}"),
            "artifacts": count, "enforced": false,
        });
        return Ok(printer.json(document)?);
    }
    let name = &typed.name;
    let text = format!(
        "root: {}\n\"trust\": {{\"root\": \"sha256:{root}\"}}\n\
         artifacts that are listed: {count}\n\
         whoever steals the key `{name}-admin` with its passphrase can sign everything, until the spare key names \
         other ones; it takes a key of the truststore besides to make machines run other bytes\n\
         lock `{}` away: it is needed when `{name}-admin` is lost\n\
         clients compare from now on and decide as before; `publisher trust enforce` ends the trial\n",
        in_groups(&root),
        typed.spare.display(),
    );
    Ok(printer.data(text)?)
}
