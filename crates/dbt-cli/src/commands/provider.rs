//! Signing in with an identity provider: which way is gone, and what a person sees of it.

use std::io::{self, BufRead as _, IsTerminal as _};
use std::thread;
use std::time::Duration;

use dbt_client::anchor::in_one_line;
use dbt_client::auth::By;
use dbt_client::oidc::browser::LocalPage;
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
use super::screen;
use super::sign_in::connector_of;
use crate::cli::Login;
use crate::process::Process;

/// How long somebody at a browser is waited for.
const AT_BROWSER: Duration = Duration::from_mins(10);

/// How long a key may take for a signature: it may want to be found and touched.
const FOR_SIGNATURE: Duration = Duration::from_secs(30);

/// A way to sign in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// A key of the SSH agent signs.
    Keys,
    /// A code is confirmed elsewhere.
    Device,
    /// A browser is sent to the provider.
    Browser,
}

impl Way {
    /// Returns the way that somebody has asked for, if they have.
    pub(crate) const fn asked_for(asked: &Login) -> Option<Self> {
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
pub(crate) enum Asked {
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

/// Signs somebody in, in the way that was asked for, or in the one that asks least of them; says in
/// which.
pub(super) fn sign_in(
    process: &Process,
    settings: &Settings,
    provider: &ProviderSettings,
    asked: Asked,
) -> Result<(Tokens, By), Report> {
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
            Ok(tokens) => return Ok((tokens, By::Agent)),
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
    Ok((by_person(person.sign_in(way))?, By::Person))
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
        let at_hand = provider.offers_browsers() && screen::is_there(self.process);
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
        // What the browser was handed stays until somebody is back.
        let mut opened = None;
        browser::sign_in(self.channel, provider, client, limit, &mut |invitation| {
            opened = self.show_page(invitation);
        })
    }

    /// Shows the page, and opens it where a browser can; returns what that was handed.
    fn show_page(&self, invitation: &browser::Invitation<'_>) -> Option<LocalPage> {
        let printer = &self.process.printer;
        printer.note(format!(
            "to sign in to the server `{}`, open {}",
            self.settings.server.name, invitation.page
        ));
        printer.further(
            "  if that browser cannot reach this machine, paste the address that it ends at:",
        );
        // The page can be opened by hand, so that no browser is no failure.
        let opened = if screen::is_there(self.process) {
            let secrets = &self.settings.server.secret_variables;
            let now = self.configured.clock.now();
            let opened = screen::open(self.process, invitation.page, now, secrets);
            opened.map_err(|error| printer.warning(in_one_line(&error))).ok()
        } else {
            None
        };
        // What comes through a pipe is for the tool that a run starts.
        if self.asked != Asked::InARun || io::stdin().is_terminal() {
            take_what_is_pasted(self.process, invitation.paste.clone());
        }
        opened
    }
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
