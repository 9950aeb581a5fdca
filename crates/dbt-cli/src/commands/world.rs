//! What every command works with.

use std::path::Path;
use std::sync::Arc;

use dbt_client::notice::{Listener, Notice};
use dbt_client::progress::Progress;
use dbt_client::session::Session;
use dbt_client::settings::{Network, Settings};
use dbt_client::source::Connector;
use dbt_core::brand;
use dbt_ui::bar::Bar;
use dbt_ui::printer::Printer;
use dbt_ui::report::Report;

use crate::args::Flags;
use crate::process::Process;
use crate::settings::{self, Inputs};

/// What a command that works with a server needs: what was decided, and who listens.
pub(crate) struct World<'a> {
    /// What was decided.
    pub(crate) settings: Settings,
    /// How to speak.
    pub(crate) printer: &'a Printer,
    speaker: Speaker<'a>,
    progress: Drawn,
}

impl<'a> World<'a> {
    /// Decides the settings of this run.
    pub(crate) fn open(process: &'a Process) -> Result<Self, Report> {
        Ok(Self::of(process, process.settings()?))
    }

    /// Takes settings that were decided elsewhere.
    pub(crate) fn of(process: &'a Process, settings: Settings) -> Self {
        let watched = process.is_watched();
        Self {
            settings,
            printer: &process.printer,
            speaker: Speaker { printer: &process.printer, watched },
            progress: Drawn { bar: Bar::new(watched) },
        }
    }

    /// Opens the session with the selected server. Nothing is sent yet.
    pub(crate) fn session(&self) -> Session<'_> {
        self.session_of(&self.settings)
    }

    /// Opens a session under other settings.
    pub(crate) fn session_of<'b>(&'b self, settings: &'b Settings) -> Session<'b> {
        self.session_by(Connector::new, settings)
    }

    /// Opens a session for very many small requests.
    pub(crate) fn wide_session(&self) -> Session<'_> {
        self.session_by(Connector::wide, &self.settings)
    }

    fn session_by<'b>(
        &'b self,
        connector: impl FnOnce(&Network, Option<&Path>, &str) -> Arc<Connector>,
        settings: &'b Settings,
    ) -> Session<'b> {
        let user_agent = format!("{}/{}", brand::PROGRAM, settings.program.version);
        let ca_file = settings.server.ca_file.as_deref();
        let connector = connector(&settings.network, ca_file, &user_agent);
        Session::open(settings, connector, &self.speaker, &self.progress)
    }
}

/// A configured server, and what was decided about it as if it had been selected.
pub(crate) struct Configured {
    /// Its name.
    pub(crate) name: String,
    /// The settings, or what is wrong with them: one broken server does not hide the others.
    pub(crate) settings: Result<Settings, Report>,
}

/// Decides the settings once for each configured server.
pub(crate) fn every_server(process: &Process) -> Result<Vec<Configured>, Report> {
    let inputs = process.inputs()?;
    let servers = inputs.file.iter().flat_map(|file| &file.config.servers);
    let mut configured: Vec<Configured> = servers
        .map(|server| {
            let name = server.name.to_string();
            let flags = Flags { server: Some(name.clone()), ..process.flags.clone() };
            let settings = settings::resolve(Inputs { flags: &flags, ..inputs });
            Configured { name, settings: settings.map_err(Report::from) }
        })
        .collect();
    if configured.is_empty() {
        let settings = process.settings()?;
        configured
            .push(Configured { name: settings.server.name.to_string(), settings: Ok(settings) });
    }
    Ok(configured)
}

/// Says what a run has to tell, on stderr.
struct Speaker<'a> {
    printer: &'a Printer,
    watched: bool,
}

impl Listener for Speaker<'_> {
    fn hear(&self, notice: &Notice) {
        // The printer keeps each of them on its line, so that text from outside, which may be in
        // any of them, cannot write lines of its own.
        let mut lines = notice.lines().into_iter();
        let first = lines.next().unwrap_or_default();
        if notice.is_detail() {
            self.printer.verbose(first);
        } else if notice.is_warning() {
            self.printer.warning(first);
        } else {
            self.printer.note(first);
        }
        lines.for_each(|line| self.printer.further(line));
    }

    fn is_watched(&self) -> bool {
        self.watched
    }
}

/// Draws long work.
struct Drawn {
    bar: Bar,
}

impl Progress for Drawn {
    fn begin(&self, what: &str, total: Option<u64>) {
        self.bar.begin(what, total);
    }

    fn advance(&self, bytes: u64) {
        self.bar.advance(bytes);
    }

    fn end(&self) {
        self.bar.end();
    }
}

#[cfg(test)]
mod tests {
    use dbt_ui::printer::Verbosity;

    use super::*;

    #[test]
    fn text_from_outside_writes_no_lines_of_its_own_in_any_notice() {
        let hostile = || "x\nerror: the program was revoked\r\u{1b}[2J".to_owned();
        let (tool, version) = ("deploy".parse().unwrap(), "1.4.0".parse().unwrap());
        let notices = [
            Notice::Outage { server: hostile(), reason: hostile(), tool, version, age: None },
            Notice::TruststoreRefused { server: hostile(), reason: hostile() },
            Notice::TruststoreUnconfirmed { server: hostile(), reason: hostile() },
            Notice::SelfUpdateRefused { version: "5.0.0".parse().unwrap(), reason: hostile() },
            Notice::NotRemembered { reason: hostile() },
            Notice::Housekeeping(hostile()),
            Notice::Detail(hostile()),
        ];
        for notice in notices {
            let (printer, captured) = Printer::captured(Verbosity::Verbose);
            Speaker { printer: &printer, watched: false }.hear(&notice);
            let said = captured.talk();
            assert_eq!(said.lines().count(), 1, "{said}");
            assert!(said.contains("x\\u{a}error") && !said.contains('\u{1b}'), "{said}");
        }
        let keys = Vec::new();
        let (printer, captured) = Printer::captured(Verbosity::Normal);
        Speaker { printer: &printer, watched: false }
            .hear(&Notice::FirstUse { server: hostile(), keys });
        assert_eq!(captured.talk().lines().count(), 2, "{}", captured.talk());
    }
}
