//! `reposerver token` and `reposerver admin bootstrap`: the server's own tokens, on its machine,
//! beside a running server or without one.

use std::error::Error;
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr};
use std::time::SystemTime;

use dbt_core::clock::Clock;
use dbt_core::secret::Secret;
use serde_json::{Value, json};

use super::Outcome;
use crate::action::tokens::place;
use crate::app;
use crate::args::{self, Flags};
use crate::audit;
use crate::audit::chain;
use crate::audit::kept::draft_on_host;
use crate::authn::{Caller, api_tokens};
use crate::config::{Config, Names};
use crate::env::Environment;
use crate::request_id::RequestId;
use crate::state::{self, Added, Claim, Revoked, Revoking, State, StateError, Which};
use crate::storage::local::{self, OnHost};
use crate::time;
use crate::tokens::mint::{self, Minter, Wanted, subject_of_tokens};
use crate::tokens::{ApiToken, NewToken, text, told_revoked};
use crate::users::own_name;

/// What `--expires` takes.
const UNITS: [(char, u64); 4] = [('s', 1), ('m', 60), ('h', 60 * 60), ('d', 24 * 60 * 60)];

/// What a server keeps of tokens and people, for commands on its machine.
pub(super) struct Host {
    pub(super) config: Config,
    pub(super) state: State,
    pub(super) caller: Caller,
    now: SystemTime,
}

/// How many tokens are read at once.
const PAGE: u32 = 1000;

/// Makes, lists or revokes.
pub(super) fn run(
    flags: &Flags,
    environment: &Environment,
    action: args::Token,
    out: &mut dyn Write,
) -> Outcome {
    match action {
        args::Token::Create(asked) => Host::open(flags, environment)?.create(&asked, out),
        args::Token::List { subject, all, json } => {
            list(&Config::resolve(flags, environment)?, subject.as_deref(), all, json, out)
        }
        args::Token::Revoke { ids, subject, created_by, keep_made } => {
            let host = Host::open(flags, environment)?;
            let named = |text: &str| subject_of_tokens(&host.config.names, text);
            let which = match (subject, created_by) {
                (Some(subject), _) => vec![Which::Of(named(&subject)?)],
                (None, Some(subject)) => vec![Which::CreatedBy(named(&subject)?)],
                (None, None) => ids.into_iter().map(Which::One).collect(),
            };
            host.revoke_each(which, keep_made, out)
        }
        args::Token::Own { ids } => {
            let host = Host::open(flags, environment)?;
            ids.iter().try_for_each(|id| host.own(id, out))
        }
    }
}

/// Prints a token with which an administrator makes their first one.
pub(super) fn bootstrap(
    flags: &Flags,
    environment: &Environment,
    json: bool,
    out: &mut dyn Write,
) -> Outcome {
    let host = Host::open(flags, environment)?;
    let new = mint::bootstrap(host.id(), &host.caller, host.now);
    let (text, new, ended) = host.keep("admin.bootstrap", new)?;
    let mut talk = String::new();
    if ended > 0 {
        talk.push_str("the one before it, which was not used, counts no more\n");
    }
    talk.push_str(
        "it makes one token, which ends it, and does nothing else; it is not shown again\n",
    );
    host.print(&text, &new, json, &talk, out)
}

/// Prints which tokens there are. Nothing is changed for it, also where the server that runs is an
/// earlier version.
fn list(
    config: &Config,
    subject: Option<&str>,
    all: bool,
    json: bool,
    out: &mut dyn Write,
) -> Outcome {
    let now = Clock::System.now();
    let subject = subject.map(|text| subject_of_tokens(&config.names, text)).transpose()?;
    let connection = look(config)?;
    let mut shown: Vec<Value> = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let page = if state::are_tokens_known(&connection)? {
            state::page_of_tokens(&connection, subject.as_deref(), after.as_deref(), PAGE)?
        } else {
            state::Page { rows: Vec::new(), next: None }
        };
        after = page.next;
        let tokens = page.rows.into_iter().map(ApiToken::from);
        for token in tokens.filter(|it| all || matches!(it.standing(now), "active" | "unreadable"))
        {
            if json {
                shown.push(token.shown(now));
            } else {
                writeln!(out, "{}", line(&token, now))?;
            }
        }
        if after.is_none() {
            break;
        }
    }
    if json {
        writeln!(out, "{}", json!({ "tokens": shown }))?;
    }
    Ok(())
}

/// Opens the state only to look at it.
pub(super) fn look(config: &Config) -> Result<rusqlite::Connection, Box<dyn Error>> {
    let directory = local::state_directory(&config.root, &config.rules())?;
    State::look_at(&directory).map_err(|unusable| {
        let hint = unusable.hint();
        format!("{unusable}; {hint}").into()
    })
}

/// Says that there is no token with an id, without repeating what may be a token.
pub(super) fn unknown(id: &str) -> String {
    if text::form(id) == text::Form::Other {
        return format!("there is no token `{}`", id.escape_debug());
    }
    "give the id of the token, which `token list` shows, and not the token".to_owned()
}

fn line(token: &ApiToken, now: SystemTime) -> String {
    let or = |time: Option<SystemTime>| time.map_or_else(|| "never".to_owned(), time::rfc_3339);
    let (name, beginning) = token
        .about
        .as_ref()
        .map_or(("", ""), |about| (about.name.as_str(), about.beginning.as_str()));
    let (id, subject, standing) = (&token.id, token.subject.escape_debug(), token.standing(now));
    let (expires, used, name) = (or(token.expires), or(token.used), name.escape_debug());
    format!("{id}  {beginning}…  {subject}  {standing}  expires {expires}  used {used}  {name}")
}

impl Host {
    /// Opens the state of a server's configuration.
    pub(super) fn open(flags: &Flags, environment: &Environment) -> Result<Self, Box<dyn Error>> {
        let config = Config::resolve(flags, environment)?;
        let state = OnHost::open(&config.root, config.rules())?.records();
        let state = state.map_err(|unusable| {
            let hint = unusable.hint();
            format!("{unusable}; {hint}")
        })?;
        let caller = Caller::on_the_host(rustix::process::getuid().as_raw());
        Ok(Self { config, state, caller, now: Clock::System.now() })
    }

    fn id(&self) -> String {
        RequestId::new(self.now).to_string()
    }

    fn create(&self, asked: &args::NewToken, out: &mut dyn Write) -> Outcome {
        let args::NewToken { subject, name, roles, paths, groups, expires, no_expiry, json } =
            asked;
        let wanted = Wanted {
            name: name.clone().unwrap_or_else(|| subject.clone()),
            subject: Some(subject.clone()),
            roles: roles.clone(),
            paths: paths.clone(),
            groups: groups.clone(),
            expires_in: expires.as_deref().map(seconds).transpose()?,
            no_expiry: *no_expiry,
        };
        let names = self.names(subject)?;
        let minter = Minter {
            caller: &self.caller,
            manages: true,
            policy: &self.config.policy,
            names: &names,
            settings: self.config.tokens,
            now: self.now,
        };
        let new = minter.decide(self.id(), &wanted)?;
        self.proves_somebody(&new)?;
        let (text, new, _ended) = self.keep("token.create", new)?;
        self.print(&text, &new, *json, "it is not shown again\n", out)
    }

    /// Returns who can be named, with whoever a text names whom somebody has added.
    fn names(&self, text: &str) -> Result<Names, StateError> {
        let names = self.config.names.clone();
        Ok(match own_name(text) {
            Some(name) if self.state.addition(text)?.is_some() => names.and_user(name),
            Some(_) | None => names,
        })
    }

    /// Refuses a token that would prove nobody: a name that no file has, say.
    fn proves_somebody(&self, new: &NewToken) -> Result<(), Box<dyn Error>> {
        let subject = &new.token.subject;
        let is_added = self.state.addition(subject)?.is_some();
        let added = own_name(subject).filter(|_name| is_added).map(ToOwned::to_owned);
        let methods = app::signing_in(&self.config, added.into_iter().collect())?;
        let here = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let proven = api_tokens::judge(&new.token, self.config.tokens.longest, self.now).and_then(
            |identity| {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                let failed = |error: io::Error| crate::authn::away(error.to_string());
                runtime.map_err(failed)?.block_on(methods.bearer(identity, here, self.now))
            },
        );
        proven.map(drop).map_err(|_bad| new.in_vain().into())
    }

    /// Revokes each; one that cannot be does not stop the others.
    fn revoke_each(&self, which: Vec<Which>, keep_made: bool, out: &mut dyn Write) -> Outcome {
        let (count, mut failed) = (which.len(), Vec::new());
        for which in which {
            if let Err(error) = self.revoke(which, keep_made, out) {
                failed.push(error);
            }
        }
        if count == 1 {
            return failed.pop().map_or(Ok(()), Err);
        }
        for error in &failed {
            writeln!(io::stderr(), "error: {error}")?;
        }
        if failed.is_empty() {
            return Ok(());
        }
        Err(format!("{} of {count} tokens were not revoked", failed.len()).into())
    }

    fn revoke(&self, which: Which, keep_made: bool, out: &mut dyn Write) -> Outcome {
        let (id, what, was) = match &which {
            Which::One(id) => {
                let token = self.state.token(id)?.ok_or_else(|| unknown(id))?;
                let token = ApiToken::from(token);
                (Some(id.clone()), token.told(), token.standing(self.now))
            }
            Which::Of(subject) => (None, format!("all of `{}`", subject.escape_debug()), ""),
            Which::CreatedBy(subject) => {
                (None, format!("all that `{}` made", subject.escape_debug()), "")
            }
        };
        let revoking = Revoking { which, keep_made, with: None };
        let (now, path) = (Clock::System.now(), place(id.as_deref()).to_string());
        let (is_one, named_so) = (id.is_some(), what.clone());
        let detail = self.state.write_and_wait(Claim::Reserved, move |transaction| {
            let (named, made) = match state::end_tokens(transaction, &revoking, now)? {
                Revoked::Done { named, made } if !named.is_empty() || !made.is_empty() => {
                    (named, made)
                }
                Revoked::Done { .. } | Revoked::Unknown | Revoked::Gone(_) | Revoked::Within => {
                    return Ok(None);
                }
            };
            let listed = if is_one { &[] } else { named.as_slice() };
            let detail = told_revoked(&named_so, listed, &made, keep_made);
            let outcome = audit::Outcome::Noted { effect: "revoked", detail: detail.clone() };
            let draft = draft_on_host(now, "token.revoke", Some(path.clone()), outcome);
            chain::append(transaction, &[draft])?;
            Ok(Some(detail))
        })?;
        match (id, detail) {
            (Some(id), Some(detail)) => writeln!(out, "revoked {id}, {detail}")?,
            (None, Some(detail)) => writeln!(out, "revoked {detail}")?,
            (Some(id), None) => writeln!(out, "{id} counted no more: it is {was}")?,
            (None, None) => return Err(format!("{what}: there is no token that counts").into()),
        }
        Ok(())
    }

    /// Takes a token over from whoever owns it, recorded in the same step.
    fn own(&self, id: &str, out: &mut dyn Write) -> Outcome {
        let token = ApiToken::from(self.state.token(id)?.ok_or_else(|| unknown(id))?);
        let owner = self.caller.subject().map(ToString::to_string).unwrap_or_default();
        let (now, path) = (Clock::System.now(), place(Some(id)).to_string());
        let (id, detail) = (id.to_owned(), format!("by `{owner}`: {}", token.told()));
        let (told, named) = (detail.clone(), id.clone());
        let is_owned = self.state.write_and_wait(Claim::Reserved, move |transaction| {
            let is_owned = state::own_token(transaction, &named, &owner, now)?;
            if is_owned {
                let outcome = audit::Outcome::Noted { effect: "taken over", detail: told.clone() };
                let draft = draft_on_host(now, "token.own", Some(path.clone()), outcome);
                chain::append(transaction, &[draft])?;
            }
            Ok(is_owned)
        })?;
        if !is_owned {
            return Err(format!("{id} counts no more: it is {}", token.standing(self.now)).into());
        }
        writeln!(out, "{id} is owned {detail}")?;
        Ok(())
    }

    /// Keeps a token and the record of it in one step, or neither.
    fn keep(
        &self,
        action: &'static str,
        new: NewToken,
    ) -> Result<(Secret<String>, NewToken, usize), Box<dyn Error>> {
        let (text, new) = new.with_text()?;
        let (row, making, now) = (new.row(&text), new.making.clone(), Clock::System.now());
        let path = Some(place(Some(&new.token.id)).to_string());
        let outcome = audit::Outcome::Noted { effect: "created", detail: new.told() };
        let draft = draft_on_host(now, action, path, outcome);
        let added = self.state.write_and_wait(Claim::Reserved, move |transaction| {
            let added = state::add_token(transaction, &row, &making, now)?;
            if matches!(added, Added::Kept { .. }) {
                chain::append(transaction, std::slice::from_ref(&draft))?;
            }
            Ok(added)
        })?;
        match added {
            Added::Kept { ended } => Ok((text, new, ended)),
            Added::Full => Err("the server has as many tokens that count as there may be".into()),
            // It is made with no other token.
            Added::TooMany | Added::Gone(_) => {
                let (subject, each) = (&new.token.subject, new.making.each);
                let more = "tokens that count, the most there may be; revoke one";
                Err(format!("`{subject}` has {each} {more}").into())
            }
        }
    }

    /// Prints the token alone, for whoever puts it somewhere, and beside it what a person should know.
    fn print(
        &self,
        text: &Secret<String>,
        new: &NewToken,
        json: bool,
        talk: &str,
        out: &mut dyn Write,
    ) -> Outcome {
        if json {
            let mut shown = new.token.shown(self.now);
            shown["token"] = Value::from(text.expose().as_str());
            writeln!(out, "{shown}")?;
        } else {
            writeln!(out, "{}", text.expose())?;
        }
        write!(io::stderr(), "{}, {}\n{talk}", new.token.id, new.told())?;
        Ok(())
    }
}

/// Reads a time as `30d`.
fn seconds(text: &str) -> Result<u64, String> {
    let found = UNITS.iter().find_map(|(unit, seconds)| {
        text.strip_suffix(*unit)?.parse::<u64>().ok()?.checked_mul(*seconds)
    });
    let found = found.filter(|seconds| *seconds > 0);
    found.ok_or_else(|| format!("`{}` is no time like `12h` or `30d`", text.escape_debug()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_a_number_and_a_unit() {
        for (text, expected) in [
            ("30d", Some(2_592_000)),
            ("12h", Some(43_200)),
            ("15m", Some(900)),
            ("1s", Some(1)),
            ("0d", None),
            ("d", None),
            ("-1d", None),
            ("30", None),
            ("1w", None),
            ("99999999999999999d", None),
        ] {
            assert_eq!(seconds(text).ok(), expected, "{text}");
        }
    }
}
