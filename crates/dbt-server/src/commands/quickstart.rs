//! `reposerver quickstart`: a repository on this machine with a key, a tool and a server, to try.
//!
//! `publisher`, which lies beside this program or on the path, makes the key and signs with it:
//! secret keys are nothing for a server.

use std::fs;
use std::io::{self, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use dbt_core::brand;
use serde_json::{Value, json};

use super::{Outcome, serve};
use crate::args::Flags;
use crate::env::Environment;

/// The name of the key, of the server for clients, and of the directory without another.
const NAME: &str = "quickstart";

/// The port that is tried first.
const PORT: u16 = 9999;

/// The sample tool, which runs on every platform that has a shell.
const TOOL: &str = "hello";
const VERSION: &str = "1.0.0";
const SCRIPT: &str = "#!/bin/sh\necho \"hello, ${1:-world}\"\n";
const PLATFORMS: [&str; 4] = ["linux/amd64", "linux/arm64", "darwin/amd64", "darwin/arm64"];

/// Why there is nothing to try.
#[derive(Debug, thiserror::Error)]
enum QuickstartError {
    #[error("`{}` is not empty and was not made by `quickstart`; name another directory", .0.display())]
    Occupied(PathBuf),
    #[error("failed to make `{}`", path.display())]
    Make { path: PathBuf, source: io::Error },
    #[error(
        "`publisher` is neither beside this program nor on the path; it makes the key and signs the \
         sample tool"
    )]
    NoPublisher(#[source] io::Error),
    #[error("`publisher {command}` failed: {said}")]
    Publisher { command: String, said: String },
}

/// Makes what is missing, says how a client uses it, and serves until told to stop.
pub(super) fn run(
    directory: Option<&Path>,
    flags: &Flags,
    environment: &Environment,
    out: &mut dyn Write,
) -> Outcome {
    let usual = PathBuf::from(format!("{}-{NAME}", brand::PROGRAM));
    let place = Place { directory: std::path::absolute(directory.unwrap_or(&usual))? };
    if !place.config().exists() {
        place.begin(flags.port, environment)?;
    }
    let config: Value = serde_json::from_slice(&fs::read(place.config())?)?;
    place.introduce(&config, out)?;
    let flags =
        Flags { file: Some(place.config()), read_only: flags.read_only, ..Flags::default() };
    serve::run(&flags, environment)
}

/// The directory of everything.
struct Place {
    directory: PathBuf,
}

impl Place {
    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    fn config(&self) -> PathBuf {
        self.path("reposerver.json")
    }

    fn token(&self) -> PathBuf {
        self.path("publisher-token")
    }

    fn passphrase(&self) -> PathBuf {
        self.path("signing-passphrase")
    }

    fn key(&self) -> PathBuf {
        self.path("publisher").join("keys").join(format!("{NAME}.asc"))
    }

    /// Makes all of it beside the directory and gives it its name at the end, so that an attempt
    /// that fails leaves nothing that looks finished.
    fn begin(&self, port: Option<u16>, environment: &Environment) -> Result<(), QuickstartError> {
        if fs::read_dir(&self.directory).is_ok_and(|mut entries| entries.next().is_some()) {
            return Err(QuickstartError::Occupied(self.directory.clone()));
        }
        let mut name = self.directory.file_name().unwrap_or_default().to_owned();
        name.push(format!(".unfinished-{}", random()?));
        let unfinished = Self { directory: self.directory.with_file_name(name) };
        // A name that nobody has, so that what is removed after a failure is our own.
        if let Some(parent) = unfinished.directory.parent() {
            fs::create_dir_all(parent).map_err(failed(parent))?;
        }
        let new = fs::DirBuilder::new().mode(0o700).create(&unfinished.directory);
        new.map_err(failed(&unfinished.directory))?;
        let made = unfinished.fill(self, port, environment);
        let made = made.and_then(|()| {
            rustix::fs::rename(&unfinished.directory, &self.directory)
                .map_err(|error| failed(&self.directory)(error.into()))
        });
        if made.is_err() {
            let _nothing_is_left = fs::remove_dir_all(&unfinished.directory);
        }
        made
    }

    /// Makes everything here, for the place where it will be.
    fn fill(
        &self,
        later: &Self,
        port: Option<u16>,
        environment: &Environment,
    ) -> Result<(), QuickstartError> {
        for directory in [self.path("tree"), self.path("home")] {
            private_directory(&directory)?;
        }
        private_file(&self.token(), &random()?)?;
        private_file(&self.passphrase(), &random()?)?;
        private_file(&self.path(TOOL), SCRIPT)?;
        let publisher = Publisher { place: self, environment };
        publisher.run(&["key", "generate", NAME])?;
        publisher.run_signing(&["truststore", "add", NAME])?;
        let script = self.path(TOOL);
        let artifacts = PLATFORMS.map(|platform| format!("{platform}={}", script.display()));
        let mut words = vec!["publish", TOOL, VERSION, "--description", "says hello"];
        words.extend(artifacts.iter().map(String::as_str));
        publisher.run_signing(&words)?;
        let home = self.path("home");
        fs::remove_dir_all(&home).map_err(failed(&home))?;
        let port = free_port(port).map_err(failed(&self.config()))?;
        private_file(&self.config(), &format!("{:#}\n", later.settings(port)))
    }

    /// Returns what people are advised to write, on this machine alone.
    fn settings(&self, port: u16) -> Value {
        json!({
            "address": Ipv4Addr::LOCALHOST.to_string(),
            "port": port,
            "serverRoot": self.path("tree"),
            "stateDir": self.path("state"),
            "publicUrls": [format!("http://{}:{port}", Ipv4Addr::LOCALHOST)],
            "authTypePut": "static-token",
            "tokens": [{"name": "publisher", "file": self.token()}],
            "auth": {"roles": {"publisher": ["static-token:publisher"]}},
            "policies": [{
                "name": "everybody reads", "subjects": ["anonymous"], "paths": ["/**"],
                "actions": ["read", "list"],
            }],
            "immutable": true,
            "drainDelay": 0,
            "log": {"format": "text"},
        })
    }

    /// Says how a client uses it, and how more is published.
    fn introduce(&self, config: &Value, out: &mut dyn Write) -> io::Result<()> {
        let url = config.pointer("/publicUrls/0").and_then(Value::as_str).unwrap_or_default();
        let program = brand::PROGRAM;
        write!(
            out,
            "A repository to try is in `{}`. In another terminal:\n\n  \
             {program} server add {NAME} {url}\n  {program} {TOOL}\n\n\
             To publish a tool of your own:\n\n  \
             publisher publish TOOL 1.0.0 OS/ARCH=FILE --description TEXT --to {url} \\\n    \
             --token-file {} \\\n    --signer file:{} \\\n    --passphrase-file {}\n\n",
            self.directory.display(),
            self.token().display(),
            self.key().display(),
            self.passphrase().display(),
        )?;
        out.flush()
    }
}

/// The program that signs, in an environment of its own.
struct Publisher<'a> {
    place: &'a Place,
    environment: &'a Environment,
}

impl Publisher<'_> {
    fn run_signing(&self, words: &[&str]) -> Result<(), QuickstartError> {
        let tree = self.place.path("tree").display().to_string();
        let signer = format!("file:{}", self.place.key().display());
        self.run(&[words, &["--to", &tree, "--signer", &signer]].concat())
    }

    fn run(&self, words: &[&str]) -> Result<(), QuickstartError> {
        let beside = std::env::current_exe().ok().map(|own| own.with_file_name("publisher"));
        let program = beside.filter(|it| it.exists()).unwrap_or_else(|| "publisher".into());
        let mut command = Command::new(program);
        command.args(words).arg("--passphrase-file").arg(self.place.passphrase());
        // Nothing of the user's own is read or changed.
        command.env_clear().env("HOME", self.place.path("home"));
        command.env(format!("{}HOME", brand::ENV_PREFIX), self.place.path("publisher"));
        if let Some(path) = self.environment.get("PATH") {
            command.env("PATH", path);
        }
        let output = command.stdin(Stdio::null()).output().map_err(QuickstartError::NoPublisher)?;
        if output.status.success() {
            return Ok(());
        }
        let command = words.iter().take(2).copied().collect::<Vec<_>>().join(" ");
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        Err(QuickstartError::Publisher { command, said })
    }
}

/// Returns the port that is wanted, or the usual one, or one that is free.
fn free_port(wanted: Option<u16>) -> io::Result<u16> {
    let free = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port))?.local_addr();
    let address = match wanted {
        Some(port) => free(port),
        None => free(PORT).or_else(|_taken| free(0)),
    };
    Ok(address?.port())
}

/// Returns a secret that nobody guesses.
fn random() -> Result<String, QuickstartError> {
    let mut bytes = [0; 24];
    let source = Path::new("/dev/urandom");
    getrandom::fill(&mut bytes).map_err(|error| failed(source)(error.into()))?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

fn private_directory(path: &Path) -> Result<(), QuickstartError> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed(path))
}

fn private_file(path: &Path, text: &str) -> Result<(), QuickstartError> {
    let file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    file.and_then(|mut file| file.write_all(text.as_bytes())).map_err(failed(path))
}

fn failed(path: &Path) -> impl Fn(io::Error) -> QuickstartError {
    move |source| QuickstartError::Make { path: path.to_owned(), source }
}
