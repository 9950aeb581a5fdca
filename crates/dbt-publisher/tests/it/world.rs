//! A home directory with keys, a repository, and the program.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};

use dbt_core::clock::Clock;
use dbt_core::listing::Listing;
use dbt_core::release::{ArtifactId, Subject};
use dbt_core::trust::keys::{Certificate, Keyring};
use dbt_core::trust::memory::{Demands, TrustMemory};
use dbt_core::trust::{
    Companions, Confirmation, Endorsement, Expectation, Fetched, TrustRules, TrustStore,
    VerifyError,
};
use dbt_testkit::bucket_server::{self, BucketServer};
use dbt_testkit::planted::{self, Secrets};
use dbt_testkit::relay::Doomed;
use tempfile::TempDir;

/// What every key of the tests is locked with.
pub(crate) const PASSPHRASE: &str = "through the looking-glass";

/// A script that is a fine tool for unix.
pub(crate) const SCRIPT: &[u8] = b"#!/bin/sh\necho hello\n";

/// The keys that were made, by name: the locked file, and the certificate.
static KEYS: Mutex<BTreeMap<String, (Vec<u8>, Certificate)>> = Mutex::new(BTreeMap::new());

/// Everything the program can touch.
pub(crate) struct World {
    place: TempDir,
    environment: Vec<(String, String)>,
    secrets: Secrets,
    /// What `STORE` means, once there is a store.
    store: String,
}

/// How the program ended.
#[derive(Debug)]
pub(crate) struct Run {
    /// Nothing when a signal ended it.
    pub(crate) code: Option<i32>,
    pub(crate) data: String,
    pub(crate) talk: String,
}

impl World {
    pub(crate) fn new() -> Self {
        let place = tempfile::tempdir().unwrap();
        for name in ["home", "repo"] {
            fs::create_dir(place.path().join(name)).unwrap();
        }
        let (secrets, store) = (Secrets::default(), String::new());
        Self { place, environment: Vec::new(), secrets, store }
    }

    /// A world with one key, which the truststore has.
    pub(crate) fn with_alice() -> Self {
        let world = Self::new();
        world.key("alice");
        world.run("truststore add alice --to REPO --signer file:alice").succeeds();
        world
    }

    /// Sets a variable for the program.
    pub(crate) fn set(&mut self, name: &str, value: impl AsRef<Path>) {
        let value = value.as_ref().to_str().unwrap().to_owned();
        planted::is_listed_in_variable(name, &value);
        self.environment.retain(|(known, _value)| known != name);
        self.environment.push((name.to_owned(), value));
    }

    /// Lets the directory of the repository be a bucket, too: `STORE` is its root, and the program has
    /// its key.
    pub(crate) fn open_store(&mut self) -> BucketServer {
        let server = BucketServer::start(&self.path("repo"));
        self.store = server.url("");
        let (id, secret) = bucket_server::KEY;
        self.set("AWS_ACCESS_KEY_ID", id);
        self.set("AWS_SECRET_ACCESS_KEY", secret);
        server
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    pub(crate) fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        path
    }

    /// Puts a file with a secret there, as a user does.
    pub(crate) fn write_secret(&self, name: &str, secret: &str) -> PathBuf {
        planted::is_listed(secret.trim_end());
        self.secrets.are_put_in(self.path(name));
        self.write(name, secret.as_bytes())
    }

    /// Gives the user a key file and returns its certificate. Keys of one name are one key in all
    /// tests: making one takes longer than anything else here.
    pub(crate) fn key(&self, name: &str) -> Certificate {
        let mut made = KEYS.lock().unwrap_or_else(PoisonError::into_inner);
        let path = format!("home/.dbt/keys/{name}.asc");
        let key = made.entry(name.to_owned()).or_insert_with(|| {
            self.run(&format!("key generate {name}")).succeeds();
            let exported = self.run(&format!("key export {name}")).succeeds();
            let certificate =
                Keyring::parse(exported.data.as_bytes()).unwrap().certificates.remove(0);
            (self.read(&path), certificate)
        });
        self.write(&path, &key.0);
        key.1.clone()
    }

    /// Runs the program with nothing of our own environment but where programs are. `REPO` is the
    /// directory of the repository, `PLACE` the one above, `STORE` the bucket.
    pub(crate) fn run(&self, line: &str) -> Run {
        let run = self.run_through(&[env!("CARGO_BIN_EXE_publisher").into()], line);
        assert!(run.code.is_some(), "it was ended: {}", run.talk);
        run
    }

    /// Runs the program by these words in front of its own.
    pub(crate) fn run_through(&self, program: &[OsString], line: &str) -> Run {
        self.run_until(program, line, |_started| {})
    }

    /// Runs the program, and tells which process it is.
    pub(crate) fn run_doomed(&self, line: &str, doomed: &Doomed) -> Run {
        // Whoever runs tests in the background may have them ignore Ctrl-C; a person does not.
        let env = ["/usr/bin/env", "--default-signal=INT", env!("CARGO_BIN_EXE_publisher")];
        self.run_until(&env.map(OsString::from), line, |child| doomed.is(child))
    }

    fn run_until(&self, program: &[OsString], line: &str, tell: impl FnOnce(&Child)) -> Run {
        let (program, before) = program.split_first().unwrap();
        let mut command = self.command(program);
        command.args(before).args(self.words(line));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = command.spawn().unwrap();
        tell(&child);
        let output = child.wait_with_output().unwrap();
        self.secrets.are_not_in("what the publisher says", &output.stderr);
        self.secrets.are_not_in("what the publisher prints", &output.stdout);
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Run { code: output.status.code(), data: text(output.stdout), talk: text(output.stderr) }
    }

    /// The words of a line, as [`Self::run`] takes them.
    pub(crate) fn words(&self, line: &str) -> Vec<String> {
        let words = line.split_whitespace().map(|word| {
            let word = word.replace("REPO", self.path("repo").to_str().unwrap());
            let word = word.replace("STORE", &self.store);
            word.replace("PLACE", self.place.path().to_str().unwrap()).replace("%20", " ")
        });
        words.collect()
    }

    /// Prepares to run a program in this world.
    #[expect(clippy::disallowed_methods, reason = "a test hands on where `gpg` is")]
    pub(crate) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command.env_clear().current_dir(self.place.path());
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("HOME", self.path("home")).env("TMPDIR", self.place.path());
        command.env("DBT_SIGNING_PASSPHRASE", PASSPHRASE);
        command.envs(self.environment.iter().cloned());
        command
    }

    /// Checks that nothing planted is in what a program has shown.
    pub(crate) fn no_secret_is_in(&self, what: &str, bytes: &[u8]) {
        self.secrets.are_not_in(what, bytes);
    }

    /// Every file of the repository but the pages that name them, in order.
    pub(crate) fn published(&self) -> Vec<String> {
        let mut found = self.served();
        found.retain(|path| !path.ends_with("index.html"));
        found
    }

    /// Every file of the repository, in order.
    pub(crate) fn served(&self) -> Vec<String> {
        let mut found = Vec::new();
        let root = self.path("repo");
        collect(&root, &root, &mut found);
        found.sort();
        found
    }

    /// What a page of the repository names, as a client reads it.
    pub(crate) fn page(&self, directory: &str) -> Vec<String> {
        let page = self.read(&format!("repo/{directory}/index.html"));
        let listing = Listing::parse(&page, &format!("http://host/{directory}/")).unwrap();
        listing.names().map(str::to_owned).collect()
    }

    /// The truststore as published.
    pub(crate) fn truststore(&self) -> Keyring {
        Keyring::parse(&self.read("repo/dbt/truststore")).unwrap()
    }

    /// Lets a client that comes here for the first time judge an artifact.
    pub(crate) fn client_accepts(&self, id: &ArtifactId) -> Result<bool, VerifyError> {
        self.judged(id).map(|endorsement| endorsement.bound)
    }

    /// Who stands behind an artifact, for such a client.
    pub(crate) fn endorsement(&self, id: &ArtifactId) -> Endorsement {
        self.judged(id).unwrap()
    }

    fn judged(&self, id: &ArtifactId) -> Result<Endorsement, VerifyError> {
        let location = dbt_core::layout::Location::artifact(id);
        let tree = match id.subject {
            Subject::Program => "dbt",
            Subject::Tool(_) => "dbt-tools",
        };
        let path = format!("repo/{tree}/{}", location.path);
        let companions = Companions {
            checksum: self.read(&format!("{path}.sha256")),
            signature: self.read(&format!("{path}.asc")),
        };
        let fetched =
            Fetched::from_network(id.clone(), File::open(self.path(&path)).unwrap(), companions);
        let store = first_use(self.truststore());
        let verified = store.verify(fetched, &Expectation::default(), Clock::System.now());
        verified.map(|verified| verified.endorsement().clone())
    }
}

/// Whatever was planted, by this test or by another, is in nothing that was written but where a
/// test has put it.
impl Drop for World {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.secrets.are_not_below(self.place.path());
        }
    }
}

/// The verifier of a client that sees this truststore for the first time.
pub(crate) fn first_use(keyring: Keyring) -> TrustStore {
    let demands = Demands { rules: &TrustRules::default(), strict: false };
    let now = Clock::System.now();
    let memory = TrustMemory::default();
    memory.assemble(keyring, None, demands, Confirmation::Confirmed, now).unwrap().store
}

/// Names an artifact: a tool's, or with `dbt` the program's.
pub(crate) fn artifact(name: &str, version: &str, platform: &str) -> ArtifactId {
    let subject =
        if name == "dbt" { Subject::Program } else { Subject::Tool(name.parse().unwrap()) };
    ArtifactId { subject, version: version.parse().unwrap(), platform: platform.parse().unwrap() }
}

fn collect(root: &Path, directory: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(root, &path, found);
        } else {
            found.push(path.strip_prefix(root).unwrap().to_str().unwrap().to_owned());
        }
    }
}

impl Run {
    #[track_caller]
    pub(crate) fn succeeds(self) -> Self {
        assert_eq!(self.code, Some(0), "{}", self.talk);
        self
    }

    #[track_caller]
    pub(crate) fn says_nothing(self) -> Self {
        assert_eq!((self.code, self.data.as_str(), self.talk.as_str()), (Some(0), "", ""));
        self
    }

    #[track_caller]
    pub(crate) fn fails(self, code: i32, words: &str) -> Self {
        assert_eq!(self.code, Some(code), "{}", self.talk);
        assert!(self.talk.contains(words), "`{words}` is not in: {}", self.talk);
        assert_eq!(self.data, "");
        self
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.data).unwrap_or_else(|error| panic!("{error}: {}", self.data))
    }
}
