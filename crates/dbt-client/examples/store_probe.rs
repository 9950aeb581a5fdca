//! Runs one tool the way the client does, without a server or a configuration, for the tests:
//! `store_probe STORE TEMPORARY REPOSITORY COMMAND TOOL [ARGUMENT...]`.
//!
//! The repository is a directory with `truststore`, and for each tool `TOOL`, `TOOL.sha256` and
//! `TOOL.asc`; each download adds a line to `downloads`. The commands are `install` (and say
//! where), `run`, `run-sealed`, and `pause` and `pause-sealed`, which say `ready` when the tool is
//! verified and installed and then wait for a line before they become it.

use std::error::Error;
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use dbt_client::exec::{ExecError, become_sealed_tool, become_tool};
use dbt_client::settings::Places;
use dbt_client::store::{Installed, Store, StoreError, StoreFile};
use dbt_core::clock::Clock;
use dbt_core::digest::Digest;
use dbt_core::release::{ArtifactId, Subject};
use dbt_core::trust::keys::Keyring;
use dbt_core::trust::memory::{Demands, TrustMemory};
use dbt_core::trust::{Companions, Confirmation, Expectation, Fetched, TrustRules, TrustStore};

type Outcome<T> = Result<T, Box<dyn Error>>;

#[expect(clippy::print_stderr, reason = "a program for tests has no other way to complain")]
fn main() -> ExitCode {
    let Err(error) = run() else { return ExitCode::SUCCESS };
    let exec = error.downcast_ref::<ExecError>();
    let store = error.downcast_ref::<StoreError>();
    eprintln!("error: {error}");
    let mut cause = error.source();
    while let Some(error) = cause {
        eprintln!("  caused by: {error}");
        cause = error.source();
    }
    let hint = exec.and_then(ExecError::hint).or_else(|| store.and_then(StoreError::hint));
    if let Some(hint) = hint {
        eprintln!("hint: {hint}");
    }
    ExitCode::from(if exec.is_some() { 126 } else { 87 })
}

#[expect(clippy::print_stdout, reason = "the tests read it")]
#[expect(clippy::disallowed_methods, reason = "it hands its own environment on")]
fn run() -> Outcome<()> {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let [store, temporary, repository, command, tool, rest @ ..] = arguments.as_slice() else {
        return Err("usage: store_probe STORE TEMPORARY REPOSITORY COMMAND TOOL".into());
    };
    let store = Store::open(&Places {
        home: None,
        read_only_home: None,
        store: Some(PathBuf::from(store)),
        read_only_stores: Vec::new(),
        temporary: PathBuf::from(temporary),
        links: None,
    });
    let probe = Probe { store, repository: PathBuf::from(repository), now: Clock::System.now() };
    let tool = tool.to_str().ok_or("the tool's name is not text")?;
    let installed = probe.obtain(tool)?;

    let command = command.to_str().unwrap_or_default();
    if command == "install" {
        let path = installed.path().unwrap_or_else(|| Path::new("memory"));
        println!("{}", path.display());
        return Ok(());
    }
    if command.starts_with("pause") {
        println!("ready");
        std::io::stdin().lock().read_line(&mut String::new())?;
    }
    let environment: Vec<_> = std::env::vars_os().collect();
    Err(if command.ends_with("sealed") {
        become_sealed_tool(installed, tool, rest, &environment).into()
    } else {
        become_tool(installed, tool, rest, &environment).into()
    })
}

struct Probe {
    store: Store,
    repository: PathBuf,
    now: SystemTime,
}

impl Probe {
    fn obtain(&self, tool: &str) -> Outcome<Installed> {
        let companion = |ending: &str| fs::read(self.repository.join(format!("{tool}{ending}")));
        let companions =
            Companions { checksum: companion(".sha256")?, signature: companion(".asc")? };
        let digest = Digest::from_checksum_file(&companions.checksum)?;
        let id = ArtifactId {
            subject: Subject::Tool(tool.parse()?),
            version: "1.0.0".parse()?,
            platform: "linux/amd64".parse()?,
        };
        let _reservation = self.store.reserve(tool, Duration::from_secs(30));
        if let Some(found) = self.store.find(digest, tool) {
            let remembered = self.store.remembered(&found, self.now);
            let fetched = Fetched::from_store(id.clone(), found, companions.clone(), remembered);
            match self.install(fetched) {
                Ok(installed) => return Ok(installed),
                Err(_no_longer_good) => self.store.discard(digest, tool)?,
            };
        }
        self.install(Fetched::from_network(id, self.download(tool)?, companions))
    }

    fn install(&self, fetched: Fetched<StoreFile>) -> Outcome<Installed> {
        let verified = self.trust()?.verify(fetched, &Expectation::default(), self.now)?;
        Ok(self.store.install(verified)?)
    }

    fn download(&self, tool: &str) -> Outcome<StoreFile> {
        let mut log =
            OpenOptions::new().append(true).create(true).open(self.repository.join("downloads"))?;
        writeln!(log, "{tool}")?;
        let mut staged = self.store.staging()?;
        std::io::copy(&mut File::open(self.repository.join(tool))?, &mut staged)?;
        Ok(staged)
    }

    fn trust(&self) -> Outcome<TrustStore> {
        let served = Keyring::parse(&fs::read(self.repository.join("truststore"))?)?;
        let demands = Demands { rules: &TrustRules::default(), strict: false };
        let confirmed = Confirmation::Confirmed;
        let memory = TrustMemory::default();
        Ok(memory.assemble(served, None, demands, confirmed, self.now)?.store)
    }
}
