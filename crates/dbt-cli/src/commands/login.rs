//! `login` and `logout`: a token that a person gives, or that an identity provider gives for them,
//! kept for one server and forgotten again.
//!
//! Otherwise what the configuration or the environment says is sent, which is said instead of
//! pretending.

use std::io::{self, IsTerminal as _, Read as _};

use dbt_client::anchor::in_one_line;
use dbt_client::auth::{Credentials, CredentialsError, ProviderTokens, SecretValue};
use dbt_client::config::{Kind, WayIn};
use dbt_client::oidc::revoke::revoke;
use dbt_client::oidc::{Channel, Provider, Tokens, UnverifiedClaims};
use dbt_client::source::Failure;
use dbt_client::token_cache::{Key, Recipient, TokenCache};
use dbt_client::url::{Origin, Scheme};
use dbt_client::whoami::Identity;
use dbt_core::brand;
use dbt_core::clock::Clock;
use dbt_core::secret::Secret;
use dbt_ui::exit_code::ExitCode;
use dbt_ui::report::Report;
use dbt_ui::{printable, prompt};

use super::failure;
use super::provider::{self, Asked, Way};
use super::sign_in::{connector_of, identity_of, selected, supported};
use crate::cli::Login;
use crate::process::Process;

/// What can be done where a server does not accept what it was just shown.
pub(super) const NOT_ACCEPTED: &str =
    "whoever administers the server finds the request in its record, and why";

/// The most that is read of what should be a token.
const TOKEN_LIMIT: usize = 32 * 1024;

/// Signs in, where that means anything.
pub(crate) fn login(process: &Process, asked: &Login) -> Result<(), Report> {
    let (server, way_in) = selected(process)?;
    if asked.token {
        return with_token(process, &server, &way_in);
    }
    if let Some(provider) = &way_in.provider {
        let asked = Asked::Command(Way::asked_for(asked));
        return through_provider(process, &server, &way_in, provider, asked);
    }
    supported(&server, &way_in)?;
    if let Some(way) = Way::asked_for(asked) {
        let flag = way.flag();
        let message = format!(
            "`{flag}` signs in with an identity provider, and none is configured for the server `{server}`"
        );
        let hint = "`\"authType\": \"oidc\"`, `issuerUrl` and `oidcClientId` name one";
        return Err(Report::new(ExitCode::CONFIGURATION, message)
            .hints(way_in.hint)
            .hint(hint)
            .hint(how_to_sign_in(&server)));
    }
    let kind = way_in.found();
    // Who sits here can show a token, and it is all that they can show.
    let may_show_one = matches!(kind, Kind::Nothing | Kind::Login) && !way_in.origins.is_empty();
    if may_show_one && process.is_watched() && io::stdin().is_terminal() {
        return with_token(process, &server, &way_in);
    }
    if kind == Kind::Nothing {
        let message = format!("nothing is configured to sign in to the server `{server}` with");
        return Err(Report::new(ExitCode::CONFIGURATION, message)
            .hints(way_in.hint.or_else(|| way_in.credentials.unused()))
            .hint(how_to_sign_in(&server)));
    }
    let program = brand::PROGRAM;
    process.printer.note(if kind == Kind::Login {
        format!(
            "signed in to the server `{server}` with a token; `{program} login --token` takes another one"
        )
    } else {
        let are = if matches!(kind, Kind::Basic { .. }) { "are" } else { "is" };
        let words = kind.words();
        format!("nothing to do: {words} {are} sent to the server `{server}` with every request")
    });
    Ok(())
}

/// Signs in with the identity provider, asks the server as whom it knows us, and keeps the token.
pub(crate) fn through_provider(
    process: &Process,
    server: &str,
    way_in: &WayIn,
    provider: &ProviderTokens,
    asked: Asked,
) -> Result<(), Report> {
    may_be_kept(process, server, way_in)?;
    let settings = process.settings()?;
    let (tokens, by) = provider::sign_in(process, &settings, provider.settings(), asked)?;
    let value = SecretValue::fixed("token", tokens.token.clone());
    let origins = way_in.origins.iter().cloned();
    let issuer = provider.settings().addresses.issuer.as_str();
    let what = format!("the token of `{issuer}`");
    let identity = tried(process, server, &what, &Credentials::bearer(origins, value))?;
    // A run goes on with what this process has.
    if !provider.keep(&tokens, by) && asked != Asked::InARun {
        return Err(not_kept());
    }
    let subject = identity.map(|identity| identity.subject);
    let claims = UnverifiedClaims::of(&tokens.token);
    let subject = subject.or_else(|| Some(claims?.text("sub")?.to_owned()));
    // Somebody else may have brought their own sign-in here: that shows in the name.
    let who = subject.map_or_else(
        || "; neither it nor the token says as whom".to_owned(),
        |subject| format!(" as {}", printable::line(&subject)),
    );
    process.printer.note(format!("signed in to the server `{server}`{who}"));
    say_where_it_goes(process, server, way_in.origins.iter())
}

/// Says where a token is sent, where that is more than one place or another server is there, too.
fn say_where_it_goes<'a>(
    process: &Process,
    server: &str,
    origins: impl Iterator<Item = &'a Origin>,
) -> Result<(), Report> {
    let inputs = process.inputs()?;
    let mut is_elsewhere = false;
    let mut places = Vec::new();
    for origin in origins {
        let owner = inputs.owner_of(origin, server);
        is_elsewhere |= owner.is_some();
        places.push(match owner {
            Some(owner) => format!("{origin} (the server `{owner}`, whose own sign-in stays)"),
            None => origin.to_string(),
        });
    }
    if places.len() > 1 || is_elsewhere {
        process.printer.further(format!("  sent to: {}", places.join(", ")));
    }
    Ok(())
}

/// Asks the server whose some credentials are. One that cannot be reached may be there again when
/// they are needed.
fn tried(
    process: &Process,
    server: &str,
    what: &str,
    credentials: &Credentials,
) -> Result<Option<Identity>, Report> {
    match identity_of(&process.settings()?, credentials) {
        Ok(identity) => Ok(identity),
        Err(error) if matches!(error.failure(), Failure::Unauthorized) => {
            let words = format!("the server `{server}` does not accept {what}");
            Err(failure::fetching(error).while_doing(words).hint(NOT_ACCEPTED))
        }
        Err(error) => {
            process.printer.warning(format!("{what} was not tried: {error}"));
            Ok(None)
        }
    }
}

/// Takes a token, asks the server whose it is, and keeps it for that server.
fn with_token(process: &Process, server: &str, way_in: &WayIn) -> Result<(), Report> {
    may_be_kept(process, server, way_in)?;
    let token = read_token(server)?;
    let recipients = process.inputs()?.chosen_recipients()?;
    let origins = || recipients.iter().map(|recipient| recipient.origin.clone());
    let value = SecretValue::fixed("--token", token.clone());
    let identity = tried(process, server, "the token", &Credentials::bearer(origins(), value))?;
    keep(process, &recipients, &token)?;
    process.printer.note(match identity {
        Some(Identity { subject, .. }) => {
            format!("signed in to the server `{server}` as {}", printable::line(&subject))
        }
        None => format!(
            "the token is sent to the server `{server}` from now on, which does not say whose it is"
        ),
    });
    say_where_it_goes(process, server, recipients.iter().map(|recipient| &recipient.origin))
}

/// Refuses where a token would not be sent, or would be seen on the way, or where the keychain that
/// it belongs in does not take it.
fn may_be_kept(process: &Process, server: &str, way_in: &WayIn) -> Result<(), Report> {
    let may_come_before = matches!(
        way_in.kind,
        Kind::Nothing
            | Kind::Oidc { .. }
            | Kind::NamelessProvider { .. }
            | Kind::SharedProvider(_)
            | Kind::Job { .. }
    );
    if !may_come_before {
        let words = way_in.kind.words();
        let message =
            format!("the server `{server}` is sent {words}, which comes before any token");
        let hint = "remove that where it stands, and sign in again";
        return Err(Report::new(ExitCode::CONFIGURATION, message).hint(hint));
    }
    if way_in.origins.is_empty() {
        let message = format!("the server `{server}` is a directory, which nobody signs in to");
        return Err(Report::new(ExitCode::CONFIGURATION, message));
    }
    let is_open = |it: &&Origin| it.scheme() == Scheme::Http && !it.is_loopback();
    if let Some(origin) = way_in.origins.iter().find(is_open) {
        let error = CredentialsError::PlainHttp { origin: origin.clone() };
        let hint = error.hint();
        return Err(Report::new(ExitCode::CONFIGURATION, error).hints(hint));
    }
    process.tokens()?.check_keychain().map_err(|error| {
        let message = format!("a sign-in to the server `{server}` could not be kept");
        let hint = error.hint();
        Report::because(ExitCode::CONFIGURATION, message, error).hint(hint)
    })
}

/// Reads a token that a person types, unseen, or that another program writes.
fn read_token(server: &str) -> Result<Secret<String>, Report> {
    let unreadable = |error| Report::because(ExitCode::USAGE, "failed to read the token", error);
    let text = if io::stdin().is_terminal() {
        let question = format!("token for the server `{server}` (it is not shown): ");
        prompt::secret(&question).map_err(unreadable)?
    } else {
        let mut bytes = Vec::with_capacity(TOKEN_LIMIT + 2);
        let outcome = io::stdin().take(TOKEN_LIMIT as u64 + 1).read_to_end(&mut bytes);
        let bytes = Secret::new(bytes);
        outcome.map_err(unreadable)?;
        Secret::new(String::from_utf8_lossy(bytes.expose()).into_owned())
    };
    let token = Secret::new(text.expose().trim().to_owned());
    let bytes = token.expose().as_bytes();
    if bytes.is_empty() || bytes.len() > TOKEN_LIMIT || !bytes.iter().all(u8::is_ascii_graphic) {
        let report = Report::new(ExitCode::USAGE, "what was given is no token");
        return Err(report.hint("paste it, or let a program write it to standard input"));
    }
    Ok(token)
}

/// Keeps a token, and looks whether it was kept: what is wrong with the file has been said.
fn keep(process: &Process, recipients: &[Recipient], token: &Secret<String>) -> Result<(), Report> {
    let kept_now = TokenCache::open(&process.found.places, |_problem| {});
    for recipient in recipients {
        let key = Key::of_server(recipient.clone());
        process.tokens()?.store(&key, &Tokens::without_end(token.clone(), Clock::System.now()));
        if kept_now.peek(&key).is_none_or(|kept| kept.token != *token) {
            return Err(not_kept());
        }
    }
    Ok(())
}

fn not_kept() -> Report {
    let message = "the token is not kept: there is nowhere to keep it";
    Report::new(ExitCode::CONFIGURATION, message)
}

/// Forgets what was signed in with, and says what else is sent.
pub(crate) fn logout(process: &Process) -> Result<(), Report> {
    let (server, way_in) = selected(process)?;
    let recipients = process.inputs()?.chosen_recipients()?;
    let forgotten = process.tokens()?.forget(&recipients);
    let mut has_ended = false;
    if let Some(provider) = &way_in.provider {
        let is_its = |key: &Key| provider.key().is_same_but_for_agent(key);
        for (_key, tokens) in forgotten.iter().filter(|(key, _tokens)| is_its(key)) {
            has_ended |= ends(process, provider, tokens);
        }
    }
    really_forgotten(process, &server, &recipients)?;
    // Looked for anew: what was forgotten is not sent any more.
    let (_server, now) = selected(process)?;
    let stays = now.found().place();
    let stays = stays.map(|place| format!("; {place} in use until it is removed there"));
    let stays = stays.unwrap_or_default();
    process.printer.note(if forgotten.is_empty() {
        format!("no sign-in to the server `{server}` is kept here{stays}")
    } else if has_ended {
        format!(
            "the sign-in to the server `{server}` is forgotten here and ended at the identity provider; what the server was shown counts until it ends{stays}"
        )
    } else {
        format!(
            "the token for the server `{server}` is forgotten here, and counts until it ends or is revoked{stays}"
        )
    });
    Ok(())
}

/// Fails where a token is left: a disk that is full, a home that can only be read, or a file that
/// cannot be.
fn really_forgotten(
    process: &Process,
    server: &str,
    recipients: &[Recipient],
) -> Result<(), Report> {
    let message = format!("the sign-in to the server `{server}` is not forgotten");
    match TokenCache::is_left(&process.found.places, recipients) {
        Ok(false) => Ok(()),
        Ok(true) => {
            let hint = "make the file with the tokens writable, or unlock the keychain, and try again; or end the session where it began";
            Err(Report::new(ExitCode::CONFIGURATION, message).hint(hint))
        }
        Err(problem) => {
            let hint = problem.hint();
            Err(Report::because(ExitCode::CONFIGURATION, message, problem).hints(hint))
        }
    }
}

/// Has the provider end the session, where it does that; says what went wrong, and that it ended.
fn ends(process: &Process, provider: &ProviderTokens, tokens: &Tokens) -> bool {
    let configured = provider.settings();
    let Ok(settings) = process.settings() else { return false };
    if settings.offline {
        return false;
    }
    let connector = connector_of(&settings);
    let channel = Channel::new(&connector, configured.clock, configured.time_scale);
    let outcome = Provider::discover(&channel, &configured.addresses)
        .and_then(|provider| revoke(&channel, &provider, &configured.client, tokens));
    outcome.unwrap_or_else(|error| {
        let why = in_one_line(&error);
        let issuer = configured.addresses.issuer.as_str();
        process.printer.warning(format!("the session at `{issuer}` was not ended: {why}"));
        false
    })
}

/// Returns how one is known to a server that nobody signs in at.
pub(super) fn how_to_sign_in(server: &str) -> String {
    format!(
        "`{} login --token` keeps a token; `username` and `password`, `username` and `pubkeypath`, or `token`, in `servers.{server}` of the configuration are sent",
        brand::PROGRAM
    )
}
