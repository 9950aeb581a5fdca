//! `server`: the servers of the configuration.

use std::borrow::Cow;
use std::path::Path;

use dbt_client::auth::Credentials;
use dbt_client::config::{ConfigFile, Document, NewServer, ServerEntry, Urls, announcement};
use dbt_client::source::{self, Answer, Ask, Class, Connector, FetchError, Patience};
use dbt_client::url::RepositoryUrl;
use dbt_core::brand;
use dbt_core::name::{InvalidServerName, ServerName};
use dbt_core::repo_path::RepoPath;
use dbt_core::timestamp;
use dbt_core::trust::keys::{Certificate, Keyring, TRUSTSTORE_LIMIT};
use dbt_core::trust::rules;
use dbt_ui::exit_code::ExitCode;
use dbt_ui::printable::Printable;
use dbt_ui::prompt::{self, Answer as Said};
use dbt_ui::report::Report;
use dbt_ui::table::Table;
use serde_json::json;

use crate::cli::Server;
use crate::commands::failure;
use crate::process::Process;
use crate::settings::network;
use crate::usage::UsageError;

/// Adds, lists, chooses or removes.
pub(crate) fn server(process: &Process, asked: Server) -> Result<(), Report> {
    match asked {
        Server::List { json } => list(process, json),
        Server::Use { name } => {
            let mut document = open(process)?;
            document
                .use_server(&name)
                .and_then(|()| document.save())
                .map_err(failure::configuring)?;
            process.printer.note(format!("the server `{name}` is the default now"));
            Ok(())
        }
        Server::Remove { name } => {
            let mut document = open(process)?;
            document.remove(&name).and_then(|()| document.save()).map_err(failure::configuring)?;
            process.printer.note(format!("the server `{name}` is no longer configured"));
            Ok(())
        }
        Server::Add { name_and_url, yes } => add(process, &name_and_url, yes),
    }
}

/// Opens the configuration file in use, or the one that a new configuration has.
pub(crate) fn open(process: &Process) -> Result<Document, Report> {
    let in_use = process.file()?.map(|file| file.path.as_path());
    let path: Option<&Path> = in_use.or(process.found.new_config());
    let path = path.ok_or_else(|| {
        Report::new(ExitCode::CONFIGURATION, "there is no place for a configuration file")
    })?;
    Document::open(path).map_err(failure::configuring)
}

/// One line of the list.
struct Row {
    name: ServerName,
    /// The three places, or what is wrong with them.
    urls: Result<Urls, String>,
    chosen: bool,
    is_default: bool,
}

fn list(process: &Process, as_json: bool) -> Result<(), Report> {
    let rows = rows(process)?;
    if as_json {
        let rows: Vec<_> = rows.iter().map(Row::to_json).collect();
        return process.printer.json(json!(rows));
    }
    if rows.is_empty() {
        process
            .printer
            .note(format!("no server is configured; `{} server add URL` adds one", brand::PROGRAM));
        return Ok(());
    }
    let mut table = Table::new(["", "server", "repository", "tools"]);
    for row in &rows {
        let mark = if row.chosen { "*" } else { "" };
        let (repository, tools) = match &row.urls {
            Ok(urls) => (urls.repository.to_string(), urls.tools.to_string()),
            Err(problem) => (format!("({problem})"), String::new()),
        };
        table.row([mark, row.name.as_str(), &repository, &tools]);
    }
    process.printer.data(table)
}

fn rows(process: &Process) -> Result<Vec<Row>, Report> {
    let inputs = process.inputs()?;
    let Some(file) = inputs.file else {
        return Ok(Vec::new());
    };
    // A wrong choice is an error of runs; the list is what one needs to correct it.
    let chosen = inputs.chosen_name().ok();
    let row = |server: &ServerEntry| Row {
        name: server.name.clone(),
        urls: inputs.urls(server).map_err(|error| error.to_string()),
        chosen: chosen.as_ref() == Some(&server.name),
        is_default: is_default(&file.config, &server.name),
    };
    Ok(file.config.servers.iter().map(row).collect())
}

/// Says whether a server is the one that is asked where nobody names another.
pub(crate) fn is_default(config: &ConfigFile, name: &ServerName) -> bool {
    match &config.default_server {
        Some(default) => default == name.as_str(),
        None => config.servers.first().is_some_and(|first| first.name == *name),
    }
}

impl Row {
    fn to_json(&self) -> serde_json::Value {
        let urls = self.urls.as_ref().ok();
        let problem = self.urls.as_ref().err();
        json!({
            "name": self.name.as_str(),
            "inUse": self.chosen,
            "default": self.is_default,
            "repository": urls.map(|urls| urls.repository.to_string()),
            "toolsRepository": urls.map(|urls| urls.tools.to_string()),
            "truststore": urls.map(|urls| urls.truststore.to_string()),
            "problem": problem,
        })
    }
}

/// Asks the server what it is, shows whose signatures would count, asks the person, and writes
/// the configuration.
fn add(process: &Process, name_and_url: &[String], yes: bool) -> Result<(), Report> {
    let (root, name) = parse(process, name_and_url)?;
    let mut document = open(process)?;
    document.may_add(&name).map_err(failure::configuring)?;
    let mut new = show_keys(process, announced(process, name, &root)?)?;
    let mut tried = open(process)?;
    tried.add(&new.server).map_err(failure::configuring)?;
    refuse_sign_in_of_another(process, &tried, &new.server.name)?;

    process.printer.talk(new.introduction());
    if !yes && !is_wanted(process, &new)? {
        return Ok(());
    }
    if !new.server.sign_in.is_empty() && !is_sign_in_wanted(process, &new.server) {
        new.server.sign_in.clear();
    }
    document.add(&new.server).and_then(|()| document.save()).map_err(failure::configuring)?;
    process.printer.note(format!(
        "the server `{}` is in `{}`",
        new.server.name,
        document.path().display()
    ));
    if new.keys.is_none() {
        say_what_is_next(process, &new.server);
    }
    Ok(())
}

/// Asks whether the server is added. Nobody there is an error: a script must not take it for done.
fn is_wanted(process: &Process, new: &Introduced) -> Result<bool, Report> {
    let question = match new.keys {
        Some(_) => "trust these keys and add the server?",
        None => "add the server, and trust the keys that it shows once you have signed in?",
    };
    match prompt::ask(question) {
        Said::Yes => Ok(true),
        Said::No => {
            process.printer.note("nothing was changed");
            Ok(false)
        }
        Said::NobodyThere => {
            let message = "nobody is there to say whether these keys are trusted";
            Err(Report::new(ExitCode::USAGE, message)
                .hint("compare the fingerprints with what the administrator says, and add `--yes`"))
        }
    }
}

/// Says how one comes to the keys that the server shows to nobody it does not know.
fn say_what_is_next(process: &Process, server: &NewServer) {
    let (program, name) = (brand::PROGRAM, &server.name);
    if server.trust.is_empty() {
        process.printer.warning(format!(
            "nobody has seen the keys of the server `{name}`: those that it shows first will count"
        ));
    }
    process.printer.hint(format!(
        "sign in with `{program} -s {name} login`, then run a tool; `{program} trust show` lists the \
         fingerprints that count, to be compared with what the administrator says"
    ));
}

/// Refuses a server that announces the sign-in of another one: what it would be sent counts there.
/// The configuration is taken as it would be with it.
pub(crate) fn refuse_sign_in_of_another(
    process: &Process,
    tried: &Document,
    name: &ServerName,
) -> Result<(), Report> {
    let config = tried.config().map_err(failure::configuring)?;
    let Some(entry) = config.server(name.as_str()) else { return Ok(()) };
    match process.inputs()?.shared_client(&config, entry) {
        None => Ok(()),
        Some(shared) => {
            let message = format!(
                "refusing to add the server `{}`, which announces the sign-in of the server `{}`",
                shared.server, shared.other
            );
            Err(Report::new(ExitCode::CONFIGURATION, message).hint(shared.words()))
        }
    }
}

/// Asks whether one signs in as the server says. Whoever trusts its keys has not said that, and
/// nobody else does.
pub(crate) fn is_sign_in_wanted(process: &Process, server: &NewServer) -> bool {
    let of = |name| server.sign_in.iter().find(|(key, _value)| key == name);
    let of = |name| of(name).map(|(_key, value)| Printable::new(value).to_string());
    let issuer = of("issuerUrl").unwrap_or_else(|| "an identity provider".to_owned());
    let client = of("oidcClientId").map(|client| format!(", made for the client `{client}`"));
    let audience = of("oidcAudience").map(|audience| format!(", to count at `{audience}`"));
    process.printer.note(format!(
        "the server `{}` ({}) wants to be sent tokens of {issuer}{}{}",
        server.name,
        server.repository,
        client.unwrap_or_default(),
        audience.unwrap_or_default()
    ));
    match prompt::ask("may it have them, wherever else they count?") {
        Said::Yes => true,
        Said::No => {
            process.printer.note("what it says of signing in is left out");
            false
        }
        Said::NobodyThere => {
            let keys: Vec<&str> = server.sign_in.iter().map(|(key, _value)| key.as_str()).collect();
            process.printer.warning(format!(
                "what it says of signing in is left out, since nobody is there to be asked: `{}`",
                keys.join("`, `")
            ));
            process.printer.hint(format!(
                "ask the administrator of the server, and write them into `servers.{}` of the configuration",
                server.name
            ));
            false
        }
    }
}

/// Reads `[NAME] URL`. Without a name the server is called like its host or directory.
fn parse(process: &Process, words: &[String]) -> Result<(RepositoryUrl, ServerName), Report> {
    let (name, url) = match words {
        [name, url] => (Some(name.as_str()), url),
        [url] => (None, url),
        _ => return Err(UsageError::new("a server has a name and a URL").report()),
    };
    root_and_name(process, name, url)
}

/// Reads the root of a server, which is called like its host, bucket or directory if nobody says otherwise.
pub(crate) fn root_and_name(
    process: &Process,
    name: Option<&str>,
    url: &str,
) -> Result<(RepositoryUrl, ServerName), Report> {
    let here = process.host.directory.clone().unwrap_or_default();
    let root = RepositoryUrl::parse_relative_to(url, &here)
        .map_err(|error| UsageError::caused_by(error).report())?;
    let name = name.map(Cow::from).or_else(|| root.usual_name()).unwrap_or_default();
    let name =
        name.parse().map_err(|error: InvalidServerName| UsageError::caused_by(error).report())?;
    Ok((root, name))
}

/// A server that was asked, and the keys it showed.
pub(crate) struct Introduced {
    pub(crate) server: NewServer,
    /// Nothing, if it shows them to nobody who has not signed in.
    keys: Option<Vec<Certificate>>,
    /// It was said who may sign what; otherwise all its keys may sign everything.
    announced: bool,
}

impl Introduced {
    /// Takes a server of which it was said who signs for it. It is asked for nothing.
    pub(crate) fn pinned(server: NewServer) -> Self {
        Self { server, keys: Some(Vec::new()), announced: true }
    }

    /// Says whether it is known who signs.
    pub(crate) const fn is_known_who_signs(&self) -> bool {
        self.keys.is_some()
    }

    /// Returns what a person compares before saying yes.
    pub(crate) fn introduction(&self) -> String {
        let server = &self.server;
        let mut lines = vec![
            format!("server:       {}", server.name),
            format!("repository:   {}", server.repository),
            format!("tools:        {}", server.tools),
            format!("truststore:   {}", server.truststore),
        ];
        for (key, value) in &server.sign_in {
            lines.push(format!("{key}: {}", Printable::new(value)));
        }
        match self.keys.as_deref() {
            Some([]) => {}
            Some(_) => lines.push("signing keys:".to_owned()),
            None => lines.push("signing keys: (shown once you have signed in)".to_owned()),
        }
        for key in self.keys.iter().flatten() {
            let expiry = key.expires().map_or_else(
                || "does not expire".to_owned(),
                |at| format!("expires {}", timestamp::format_date(at)),
            );
            let name = key.name();
            let (fingerprint, name) = (key.fingerprint(), Printable::new(&name));
            lines.push(format!("  {fingerprint}  {name}, {expiry}"));
        }
        for (scope, signers) in server.trust.iter().filter(|_entry| self.announced) {
            lines.push(format!("trust `{}`: {}", rules::shown(scope), signers.join(", ")));
        }
        lines.push(String::new());
        lines.join("\n")
    }
}

/// Fetches a small document at a place that nobody is signed in to yet.
pub(crate) fn read(
    process: &Process,
    directory: &RepositoryUrl,
    path: &RepoPath,
    limit: u64,
) -> Result<Result<Answer, FetchError>, Report> {
    if directory.is_plain_http() && !directory.is_loopback() {
        let message =
            format!("`{directory}` is not protected on the way: its keys could be anybody's");
        return Err(Report::new(ExitCode::VERIFICATION_REFUSED, message).hint(
            "use `https://`, or write the server and its `trust` into the configuration by hand",
        ));
    }
    let agent = format!("{}/{}", brand::PROGRAM, process.program.version);
    let inputs = process.inputs()?;
    let network = network(&process.env, inputs.places, inputs.host).map_err(Report::from)?;
    let connector = Connector::new(&network, None, &agent);
    let source = source::open(directory, &connector, &Credentials::none());
    Ok(source.get(path, &Ask::document(limit, &Patience::without_cached_copy(1.0))))
}

/// Asks a server what it says about itself.
pub(crate) fn announced(
    process: &Process,
    name: ServerName,
    root: &RepositoryUrl,
) -> Result<NewServer, Report> {
    let mut server = NewServer::at(name, Urls::below(root));
    // A directory or a bucket is where it is, whatever it says of where others find what is in it.
    if root.origin().is_some() {
        match read(process, root, &announcement::path(), announcement::LIMIT)? {
            Ok(Answer::Document { bytes, .. }) => {
                announcement::read(&bytes, &mut server).map_err(failure::configuring)?;
            }
            Ok(Answer::NotModified) => {}
            // Many servers announce nothing: files lie where they usually lie. Some say nothing at
            // all to somebody they do not know.
            Err(error) if matches!(error.class(), Class::NotFound | Class::SignIn) => {}
            Err(error) => return Err(failure::fetching(error)),
        }
    }
    Ok(server)
}

/// Asks a server for its keys. Where it has not said who may sign what, all of them may sign
/// everything, once a person has seen them.
pub(crate) fn show_keys(process: &Process, mut server: NewServer) -> Result<Introduced, Report> {
    let (directory, file) = server.truststore.split_last().ok_or_else(|| {
        Report::new(ExitCode::CONFIGURATION, format!("`{}` names no file", server.truststore))
    })?;
    let keys = match read(process, &directory, &file, TRUSTSTORE_LIMIT)? {
        Ok(Answer::Document { bytes, .. }) => Some(keys_in(&bytes, &server)?),
        Ok(Answer::NotModified) => Some(keys_in(&[], &server)?),
        Err(error) if error.class() == Class::SignIn => None,
        Err(error) => return Err(failure::fetching(error)),
    };
    let announced = !server.trust.is_empty();
    if let (Some(keys), false) = (&keys, announced) {
        server.trust_for_everything(keys.iter().map(|key| key.fingerprint().to_string()));
    }
    Ok(Introduced { server, keys, announced })
}

/// Returns the keys of a truststore that are not revoked.
fn keys_in(bytes: &[u8], server: &NewServer) -> Result<Vec<Certificate>, Report> {
    let keyring = Keyring::parse(bytes).map_err(|error| {
        let message = format!("the truststore `{}` cannot be used", server.truststore);
        Report::because(ExitCode::VERIFICATION_REFUSED, message, error)
    })?;
    Ok(keyring.certificates.into_iter().filter(|key| !key.is_revoked()).collect())
}
