//! Whom installers let sign where the settings do not say it: the keys of the server's truststore, as
//! they are at this moment, once a person has agreed to each of them.

use std::path::PathBuf;

use dbt_client::config::NewServer;
use dbt_core::clock::Clock;
use dbt_core::trust::keys::{Certificate, Keyring, TRUSTSTORE_LIMIT};
use dbt_ui::exit_code::ExitCode;
use dbt_ui::printable;
use dbt_ui::printer::Printer;
use dbt_ui::prompt::{self, Answer};
use dbt_ui::report::Report;

use crate::env::Environment;
use crate::exchange::{Exchange, Spot};
use crate::key::commands::expiry;
use crate::place::Place;
use crate::stop::Stop;
use crate::truststore::manifest::{self, can_sign};

/// Fetches the truststore of a server, shows whose keys it holds, and asks. Returns the server with
/// these keys as those that may sign, or nothing if the person does not agree.
pub(super) fn agreed(
    mut server: NewServer,
    ca_file: Option<PathBuf>,
    environment: &Environment,
    printer: &Printer,
) -> Result<Option<NewServer>, Stop> {
    let keys = keys(&server, ca_file, environment)?;
    let line = |key: &Certificate| {
        let (fingerprint, name) = (key.fingerprint(), printable::line(&key.name()).to_string());
        format!("  {fingerprint}  {name} (expires: {})\n", expiry(key))
    };
    let lines: String = keys.iter().map(line).collect();
    printer.talk(format!(
        "`{}` has these keys:\n{lines}compare each fingerprint with what its owner says\n",
        server.truststore
    ));
    match prompt::ask("let them, and nobody else, sign what these installers accept?") {
        Answer::Yes => {
            server.trust_for_everything(keys.iter().map(|key| key.fingerprint().to_string()));
            Ok(Some(server))
        }
        Answer::No => Ok(None),
        Answer::NobodyThere => {
            Err(Stop::usage("nobody is there to say whether these keys are the right ones")
                .hint("compare the fingerprints, and write them into `trust`"))
        }
    }
}

/// Returns the keys that can sign something new and that an administrator has listed, where the
/// truststore has administrators.
fn keys(
    server: &NewServer,
    ca_file: Option<PathBuf>,
    environment: &Environment,
) -> Result<Vec<Certificate>, Stop> {
    let url = &server.truststore;
    let exchange = Exchange::open(&Place::of_a_server(server, ca_file), environment)?;
    let bytes = exchange.get(&Spot::at(url)?, TRUSTSTORE_LIMIT);
    let bytes = bytes.map_err(|stop| stop.while_doing(format!("failed to fetch `{url}`")))?;
    let bytes = bytes.ok_or_else(|| {
        Stop::from(Report::new(ExitCode::NOT_FOUND, format!("there is no truststore at `{url}`")))
            .hint("`publisher truststore add` makes one")
    })?;
    let refused =
        |error| Report::because(ExitCode::VERIFICATION_REFUSED, format!("refusing `{url}`"), error);
    let mut keys = Keyring::parse(&bytes).map_err(refused)?.certificates;
    let now = Clock::System.now();
    let listed = manifest::current(url, &keys, &exchange, now)?.map(|it| it.manifest.certs);
    keys.retain(|key| {
        let is_listed = listed.as_ref().is_none_or(|listed| listed.contains(key.fingerprint()));
        is_listed && can_sign(key, now)
    });
    if keys.is_empty() {
        return Err(Stop::refused(format!("no key of `{url}` can sign anything")));
    }
    Ok(keys)
}
