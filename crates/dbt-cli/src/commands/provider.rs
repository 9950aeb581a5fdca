//! Signing in with an identity provider: which way is gone, and what a person sees of it.

use std::io::{self, BufRead as _, IsTerminal as _};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use dbt_client::anchor::in_one_line;
use dbt_client::oidc::{
    Channel, OidcError, Provider, ProviderSettings, RealPace, Tokens, WithoutKeys, browser, device,
};
use dbt_client::settings::Settings;
use dbt_client::source::{Cancel, Class};
use dbt_core::secret::Secret;
use dbt_core::timestamp::in_words;
use dbt_ui::qr;
use dbt_ui::report::Report;

use super::failure;
use super::sign_in::connector_of;
use crate::cli::Login;
use crate::env::Variable;
use crate::process::Process;

/// How long somebody at a browser is waited for.
const AT_BROWSER: Duration = Duration::from_mins(10);

/// How long a key may take for a signature: it may want to be found and touched.
const FOR_SIGNATURE: Duration = Duration::from_secs(30);

/// A way to sign in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// A key of the SSH agent signs.
    Keys,
    /// A code is confirmed elsewhere.
    Device,
    /// A browser is sent to the provider.
    Browser,
}

impl Way {
    /// Returns the way that somebody has asked for, if they have.
    pub(super) const fn asked_for(asked: &Login) -> Option<Self> {
        match asked {
            Login { ssh: true, .. } => Some(Self::Keys),
            Login { device: true, .. } => Some(Self::Device),
            Login { browser: true, .. } => Some(Self::Browser),
            Login { .. } => None,
        }
    }

    pub(super) const fn flag(self) -> &'static str {
        match self {
            Self::Keys => "--ssh",
            Self::Device => "--device",
            Self::Browser => "--browser",
        }
    }
}

/// Who has asked for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    /// The command for it, perhaps for one way.
    Command(Option<Way>),
    /// Somebody who has started a tool, and was asked.
    InARun,
}

impl Asked {
    const fn way(self) -> Option<Way> {
        match self {
            Self::Command(way) => way,
            Self::InARun => None,
        }
    }
}

/// Signs somebody in, in the way that was asked for, or in the one that asks least of them.
pub(super) fn sign_in(
    process: &Process,
    settings: &Settings,
    provider: &ProviderSettings,
    asked: Asked,
) -> Result<Tokens, Report> {
    let way = asked.way();
    let connector = connector_of(settings);
    let channel = Channel::new(&connector, provider.clock, provider.time_scale);
    let failed = |code, error: Box<dyn std::error::Error + Send + Sync>, hint: Option<String>| {
        let message = format!("failed to sign in to the server `{}`", settings.server.name);
        Report::because(failure::code_of_class(code), message, error).hints(hint)
    };
    let by_person = |outcome: Result<Tokens, OidcError>| {
        outcome.map_err(|error| {
            let hint = error.hint();
            failed(error.class(), error.into(), hint)
        })
    };
    if way == Some(Way::Keys) || (way.is_none() && provider.exchange.is_some()) {
        match provider.with_keys(&channel, FOR_SIGNATURE.mul_f64(provider.time_scale)) {
            Ok(tokens) => return Ok(tokens),
            Err(error) if way.is_none() && error.is_for_want_of_keys() => {
                process.printer.warning(in_one_line(&error));
            }
            Err(error) => {
                let (class, hint) = (class_of(&error), error.hint());
                return Err(failed(class, error.into(), hint));
            }
        }
    }
    let person = Person { process, settings, channel: &channel, configured: provider, asked };
    by_person(person.sign_in(way))
}

fn class_of(error: &WithoutKeys) -> Class {
    match error {
        WithoutKeys::Credentials(error) => error.class(),
        WithoutKeys::Provider(error) => error.class(),
    }
}

/// Somebody who signs in.
struct Person<'a> {
    process: &'a Process,
    settings: &'a Settings,
    channel: &'a Channel,
    configured: &'a ProviderSettings,
    asked: Asked,
}

impl Person<'_> {
    fn sign_in(&self, way: Option<Way>) -> Result<Tokens, OidcError> {
        let provider = Provider::discover(self.channel, &self.configured.addresses)?;
        let way = way.unwrap_or_else(|| self.usual_way(&provider));
        match way {
            Way::Device => self.by_code(&provider),
            Way::Browser | Way::Keys => self.by_browser(&provider),
        }
    }

    /// A browser on this machine, where there is one; else a code that is confirmed elsewhere, where
    /// the provider has that; else a browser elsewhere, whose last address is pasted.
    fn usual_way(&self, provider: &Provider) -> Way {
        let at_hand = provider.offers_browsers() && has_screen(self.process);
        if !at_hand && provider.offers_device_codes() { Way::Device } else { Way::Browser }
    }

    fn by_code(&self, provider: &Provider) -> Result<Tokens, OidcError> {
        let pace = RealPace::begin(Cancel::default());
        let client = &self.configured.client;
        device::sign_in(self.channel, provider, client, &pace, &mut |invitation| {
            self.show_code(invitation);
        })
    }

    fn show_code(&self, invitation: &device::Invitation) {
        let device::Invitation { page, code, complete_page, lasts } = invitation;
        let printer = &self.process.printer;
        printer.note(format!(
            "to sign in to the server `{}`, open {page} on any device and enter the code {code}",
            self.settings.server.name
        ));
        if let Some(complete) = complete_page {
            printer.further(format!("  or open {complete}, where the same code must be shown"));
        }
        printer.further(format!("  this is possible for {}", in_words(*lasts)));
        // What is read by a program is no picture, and neither is a file.
        if self.process.is_watched() && io::stdout().is_terminal() {
            let code = complete_page.as_deref().and_then(qr::drawn);
            if let Some(drawn) = code {
                printer.talk(drawn);
            }
        }
    }

    fn by_browser(&self, provider: &Provider) -> Result<Tokens, OidcError> {
        let limit = (AT_BROWSER, &Cancel::default());
        let client = &self.configured.client;
        browser::sign_in(self.channel, provider, client, limit, &mut |invitation| {
            self.show_page(invitation);
        })
    }

    fn show_page(&self, invitation: &browser::Invitation<'_>) {
        let printer = &self.process.printer;
        printer.note(format!(
            "to sign in to the server `{}`, open {}",
            self.settings.server.name, invitation.page
        ));
        printer.further(
            "  if that browser cannot reach this machine, paste the address that it ends at:",
        );
        // The page can be opened by hand, so that no browser is no failure.
        if has_screen(self.process) && !open_page(self.process, invitation.page) {
            printer.warning("no browser could be started here");
        }
        // What comes through a pipe is for the tool that a run starts.
        if self.asked != Asked::InARun || io::stdin().is_terminal() {
            take_what_is_pasted(self.process, invitation.paste.clone());
        }
    }
}

/// Says whether a page that is opened here can be seen.
fn has_screen(process: &Process) -> bool {
    let env = &process.env;
    if env.is_set(Variable::Browser) {
        return true;
    }
    let screens = [Variable::Display, Variable::WaylandDisplay];
    let has_own = cfg!(any(windows, target_vendor = "apple"));
    !env.is_set(Variable::SshConnection)
        && (has_own || screens.into_iter().any(|screen| env.is_set(screen)))
}

/// Opens a page with the first of the user's browsers that starts, or with the system's.
fn open_page(process: &Process, page: &str) -> bool {
    let named = process.env.text(Variable::Browser).ok().flatten().unwrap_or_default();
    let usual = if cfg!(windows) {
        "rundll32 url.dll,FileProtocolHandler"
    } else if cfg!(target_vendor = "apple") {
        "open"
    } else {
        "xdg-open"
    };
    let separator = if cfg!(windows) { ';' } else { ':' };
    let own = named.split(separator).filter(|line| !line.trim().is_empty());
    own.chain([usual]).any(|line| starts(line, page))
}

/// Starts a browser. Its name is not a line for a shell: what a provider says never is one.
fn starts(line: &str, page: &str) -> bool {
    let mut words: Vec<String> =
        line.split_whitespace().map(|word| word.replace("%s", page)).collect();
    if !line.contains("%s") {
        words.push(page.to_owned());
    }
    let Some((program, arguments)) = words.split_first() else { return false };
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    for secret in [Variable::RepoToken, Variable::IdToken] {
        command.env_remove(secret.name());
    }
    command.spawn().is_ok()
}

/// Reads addresses that somebody pastes, in a thread that ends with the process: a line cannot be
/// waited for with a limit of time.
fn take_what_is_pasted(process: &Process, paste: browser::Paste) {
    let printer = process.second_printer();
    let read = move || {
        let lines = io::stdin().lock().lines().map_while(Result::ok).map(Secret::new);
        for line in lines.filter(|line| !line.expose().trim().is_empty()) {
            match paste.address(&line) {
                Ok(()) => return,
                Err(error) => {
                    printer.warning(&error);
                    error.hint().into_iter().for_each(|hint| printer.hint(hint));
                }
            }
        }
    };
    // Without threads the browser has to come here.
    let _none = thread::Builder::new().spawn(read);
}
