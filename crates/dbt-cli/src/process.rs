//! One run of the program: what was typed and found, and who speaks.

use std::cell::OnceCell;
use std::ffi::OsString;
use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::sync::Arc;

use dbt_client::anchor::in_one_line;
use dbt_client::config::{self, LoadedFile};
use dbt_client::settings::{Program, Settings};
use dbt_client::token_cache::{CacheProblem, TokenCache, TokenStore};
use dbt_core::clock::Clock;
use dbt_core::platform::Platform;
use dbt_core::version::Version;
use dbt_ui::printer::{Colour, Printer, Verbosity};
use dbt_ui::report::Report;

use crate::args::Flags;
use crate::commands::failure;
use crate::env::{Environment, Variable};
use crate::host::{self, Host};
use crate::places::{self, Found};
use crate::settings::{self, Inputs};

/// One run. Files of ours are read when they are first needed, and once.
pub struct Process {
    /// The program that runs.
    pub program: Program,
    /// The whole command line, to be repeated when the program has replaced itself.
    pub line: Vec<OsString>,
    /// What was typed before the command or the tool.
    pub flags: Flags,
    /// The environment.
    pub env: Environment,
    /// The machine.
    pub host: Host,
    /// Where our files are.
    pub found: Found,
    /// Who speaks.
    pub printer: Printer,
    file: OnceCell<Option<LoadedFile>>,
    tokens: OnceCell<Arc<TokenCache>>,
    /// stderr is a terminal.
    on_terminal: bool,
}

impl Process {
    /// Looks at the machine. No file of ours is read yet.
    pub fn new(version: Version, env: Environment, line: Vec<OsString>) -> Self {
        let host = Host::look(&env);
        let found = places::find(&env, &host, host::can_write);
        let on_terminal = io::stderr().is_terminal();
        let printer = Printer::standard(Verbosity::Normal, colour(&env, on_terminal));
        let restarted = was_restarted(&env);
        let program = Program { version, executable: host.executable.clone(), restarted };
        let (flags, file, tokens) = (Flags::default(), OnceCell::new(), OnceCell::new());
        Self { program, line, flags, env, host, found, printer, file, tokens, on_terminal }
    }

    /// Takes the flags in.
    pub fn take_flags(&mut self, flags: Flags) {
        if flags.verbose {
            self.printer =
                Printer::standard(Verbosity::Verbose, colour(&self.env, self.on_terminal));
        }
        self.flags = flags;
    }

    /// Goes on as if this were the configuration file, before it is written.
    pub(crate) fn suppose(&mut self, file: LoadedFile) {
        self.file = OnceCell::from(Some(file));
        // Where they are kept may be said in the file.
        self.tokens = OnceCell::new();
    }

    /// Returns the configuration file, read on first use.
    pub fn file(&self) -> Result<Option<&LoadedFile>, Report> {
        if let Some(file) = self.file.get() {
            return Ok(file.as_ref());
        }
        let found = &self.found;
        let file = config::load(found.named_config.as_deref(), &found.usual_configs)
            .map_err(failure::configuring)?;
        if let Some(file) = &file {
            self.printer.verbose(format!("configuration `{}`", file.path.display()));
            file.notices.iter().for_each(|notice| self.printer.verbose(notice));
        }
        Ok(self.file.get_or_init(|| file).as_ref())
    }

    /// Returns everything that decides, for commands that look at more than one server.
    pub fn inputs(&self) -> Result<Inputs<'_>, Report> {
        Ok(Inputs {
            flags: &self.flags,
            env: &self.env,
            file: self.file()?,
            host: &self.host,
            places: &self.found.places,
            platform: Platform::CURRENT,
            clock: Clock::System,
            program: &self.program,
            tokens: self.tokens()?,
        })
    }

    /// Returns the tokens that somebody has signed in with. Nothing is read yet.
    pub fn tokens(&self) -> Result<&Arc<TokenCache>, Report> {
        let store = self.token_store()?;
        Ok(self.tokens.get_or_init(|| {
            let printer = self.second_printer();
            let say = move |problem: &CacheProblem| {
                printer.warning(in_one_line(problem));
                problem.hint().into_iter().for_each(|hint| printer.hint(hint));
            };
            Arc::new(TokenCache::open(&self.found.places, say).keeping_in(store))
        }))
    }

    /// Returns where tokens are kept.
    fn token_store(&self) -> Result<TokenStore, Report> {
        let Some(file) = self.file()? else { return Ok(TokenStore::default()) };
        file.config.token_store(&self.env).map_err(failure::configuring)
    }

    /// Returns another printer, for what speaks in another thread.
    pub fn second_printer(&self) -> Printer {
        self.printer.second()
    }

    /// Returns the settings of this run.
    pub fn settings(&self) -> Result<Settings, Report> {
        Ok(settings::resolve(self.inputs()?)?)
    }

    /// Says whether a person watches stderr on a terminal that can draw.
    pub fn is_watched(&self) -> bool {
        self.on_terminal && !is_dumb(&self.env)
    }

    /// Returns where the outcome is written, if anywhere.
    pub fn status_file(&self) -> Option<PathBuf> {
        self.env.path(Variable::StatusFile)
    }
}

/// Says whether an earlier version, in this very process, replaced itself by us; on Windows, in the
/// one that has started this one. The process id keeps a value that was left in somebody's
/// environment from meaning anything.
fn was_restarted(env: &Environment) -> bool {
    let value = env.text(Variable::ReExec).ok().flatten().unwrap_or_default();
    value.rsplit(':').next() == Some(&dbt_sys::exec::predecessor().to_string())
}

fn colour(env: &Environment, on_terminal: bool) -> Colour {
    Colour::of(env.is_set(Variable::NoColor) || is_dumb(env), on_terminal)
}

fn is_dumb(env: &Environment) -> bool {
    env.text(Variable::Term).is_ok_and(|term| term.as_deref() == Some("dumb"))
}
