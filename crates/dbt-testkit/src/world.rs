//! A world: a home directory, a repository behind a file server, and the program in it.

use std::ffi::{OsStr, OsString};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use dbt_core::brand;
use dbt_core::digest::Digest;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::bucket_server::{self, BucketServer};
use crate::invocation::{Invocation, Run};
use crate::people::{ALICE, Person};
use crate::planted::{self, Secrets};
use crate::repository::{REPOSITORY, TOOLS, TestRepository};
use crate::server::FileServer;

/// The name of the server in the configuration.
pub const SERVER: &str = "acme";

/// A home directory, a repository behind a file server, and the program in it.
#[derive(Debug)]
pub struct World {
    repository: TestRepository,
    server: FileServer,
    secrets: Arc<Secrets>,
    /// The store that has everything as a bucket, once somebody wants it.
    bucket: OnceLock<BucketServer>,
    directory: TempDir,
}

/// How the client of a world reads its repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// From the file server.
    Http,
    /// As a directory.
    Directory,
    /// From a bucket, with a key that is in the environment.
    Bucket,
}

impl Reading {
    /// The variable that says how the worlds of a process read: the same suite runs in every way.
    pub const VARIABLE: &str = "DBT_TEST_READING";

    /// Returns its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Directory => "directory",
            Self::Bucket => "bucket",
        }
    }

    /// Returns how the worlds of this process read.
    #[expect(clippy::disallowed_methods, reason = "a suite is told so by whoever starts it")]
    fn of_this_process() -> Self {
        let said = std::env::var(Self::VARIABLE).unwrap_or_default();
        let all = [Self::Directory, Self::Bucket];
        all.into_iter().find(|reading| reading.name() == said).unwrap_or(Self::Http)
    }
}

impl World {
    /// Makes a world in which `program` is installed, and a server is configured whose truststore
    /// holds Alice's certificate and which has nothing else yet.
    pub fn new(program: impl AsRef<Path>) -> Self {
        // Short, because sockets and `#!` lines have room for few bytes; readable by other users,
        // because some tests run as one.
        let directory = tempfile::Builder::new().prefix("w").tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).unwrap();
        for name in ["h", "b", "s", "t"] {
            fs::create_dir(at(name)).unwrap();
        }
        fs::set_permissions(at("t"), Permissions::from_mode(0o1777)).unwrap();
        fs::write(at("started"), "").unwrap();
        fs::set_permissions(at("started"), Permissions::from_mode(0o666)).unwrap();
        let repository = TestRepository::create(&at("s"), &at("started"));
        repository.trust(&[&ALICE]);
        let server = FileServer::start(&at("s"));
        let (secrets, bucket) = (Arc::default(), OnceLock::new());
        let world = Self { repository, server, secrets, bucket, directory };
        // Where the user has written them, and the copy of that which a test keeps.
        let config = world.config_file();
        let copy =
            world.directory().join("was").join(config.strip_prefix(world.directory()).unwrap());
        world.secrets.are_put_in(config);
        world.secrets.are_put_in(copy);
        world.install(program.as_ref());
        world.write_config(
            &json!({ "servers": { SERVER: world.server_entry() }, "defaultServer": SERVER }),
        );
        world.read_by(Reading::of_this_process());
        world
    }

    /// Puts a program into the place of the installed one.
    pub fn install(&self, program: &Path) {
        let installed = self.program();
        drop(fs::remove_file(&installed));
        if fs::hard_link(program, &installed).is_err() {
            fs::copy(program, &installed).unwrap();
        }
    }

    /// Returns what the configuration says of the server at first.
    pub fn server_entry(&self) -> Value {
        let url = self.server.url();
        json!({
            "repository": format!("{url}{REPOSITORY}"),
            "truststore": format!("{url}{REPOSITORY}/truststore"),
            "toolsRepository": format!("{url}{TOOLS}"),
            // Said because the tests themselves may run in a container.
            "selfUpdate": "auto",
            // A busy machine is no outage; tests of outages say less.
            "timeout": 4,
        })
    }

    /// Returns the repository.
    pub fn repository(&self) -> &TestRepository {
        &self.repository
    }

    /// Returns the file server.
    pub fn server(&self) -> &FileServer {
        &self.server
    }

    /// Returns the directory of everything.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Returns the user's home directory.
    pub fn home(&self) -> PathBuf {
        self.directory.path().join("h")
    }

    /// Returns the directory of temporary files, where every user may write.
    pub fn temporary(&self) -> PathBuf {
        self.directory.path().join("t")
    }

    /// Returns the directory of dbt's files in it.
    pub fn dbt_home(&self) -> PathBuf {
        self.home().join(format!(".{}", brand::PROGRAM))
    }

    /// Returns the installed program: a name of its own for the file that was built.
    pub fn program(&self) -> PathBuf {
        self.directory.path().join("b").join(brand::PROGRAM)
    }

    /// Returns the configuration file.
    pub fn config_file(&self) -> PathBuf {
        self.dbt_home().join("conf").join(format!("{}.json", brand::PROGRAM))
    }

    /// Writes the configuration file.
    pub fn write_config(&self, config: &Value) {
        planted::are_listed_in_settings(config);
        let file = self.config_file();
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, serde_json::to_vec_pretty(config).unwrap()).unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
    }

    /// Changes the configuration file.
    pub fn configure(&self, change: impl FnOnce(&mut Value)) {
        let mut config = serde_json::from_slice(&fs::read(self.config_file()).unwrap()).unwrap();
        change(&mut config);
        self.write_config(&config);
    }

    /// Sets a key of the server in the configuration file.
    pub fn set(&self, key: &str, value: impl Into<Value>) {
        self.configure(|config| config["servers"][SERVER][key] = value.into());
    }

    /// Gives the server another address in the configuration, and lets the machine remember it as
    /// the same one.
    #[expect(clippy::disallowed_methods, reason = "a test that cannot set up its world has failed")]
    pub fn move_server(&self, url: &str) {
        let state = |repository: &str| {
            let digest = Digest::of(repository.as_bytes()).to_string();
            self.dbt_home().join("state").join(format!("{SERVER}-{}", &digest[..16]))
        };
        self.configure(|config| {
            let server = &mut config["servers"][SERVER];
            let before = state(server["repository"].as_str().unwrap());
            server["repository"] = format!("{url}{REPOSITORY}").into();
            server["truststore"] = format!("{url}{REPOSITORY}/truststore").into();
            server["toolsRepository"] = format!("{url}{TOOLS}").into();
            if before.exists() {
                fs::rename(before, state(&format!("{url}{REPOSITORY}"))).unwrap();
            }
        });
    }

    /// Lets the client read the repository in this way.
    pub fn read_by(&self, reading: Reading) {
        let root = self.repository.file("");
        let place = |path: &str| match reading {
            Reading::Http => format!("{}{path}", self.server.url()),
            Reading::Directory => {
                format!("{}{path}", root.display().to_string().trim_end_matches('/'))
            }
            Reading::Bucket => self.bucket().url(path),
        };
        self.set("repository", place(REPOSITORY));
        self.set("truststore", place(&format!("{REPOSITORY}/truststore")));
        self.set("toolsRepository", place(TOOLS));
    }

    /// Returns the store that has the repository as a bucket. Whoever runs from now on has a key
    /// for it.
    pub fn bucket(&self) -> &BucketServer {
        self.bucket.get_or_init(|| BucketServer::start(&self.repository.file("")))
    }

    /// Returns the variables that every run has because of where the repository is.
    pub(crate) fn variables(&self) -> Vec<(&'static str, &'static str)> {
        let (id, secret) = bucket_server::KEY;
        let key = [("AWS_ACCESS_KEY_ID", id), ("AWS_SECRET_ACCESS_KEY", secret)];
        self.bucket.get().map(|_bucket| key.to_vec()).unwrap_or_default()
    }

    /// Names people in the configuration's `trust`, for dbt and for all tools.
    pub fn pin(&self, people: &[&Person]) {
        let list: Vec<String> =
            people.iter().map(|person| person.fingerprint().to_string()).collect();
        self.set("trust", json!({ "dbt": list, "tools": list }));
    }

    /// Runs dbt with these words.
    pub fn dbt<W: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = W>) -> Run {
        self.invoke(words).run()
    }

    /// Prepares to run dbt with these words.
    pub fn invoke<W: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = W>) -> Invocation<'_> {
        let words: Vec<OsString> = words.into_iter().map(|word| word.as_ref().to_owned()).collect();
        Invocation::new(self, words)
    }

    /// Returns the name and version of each tool that has run, in order.
    pub fn tools_started(&self) -> Vec<String> {
        let started = fs::read_to_string(self.directory.path().join("started")).unwrap();
        started.lines().map(str::to_owned).collect()
    }

    /// Returns every file that can be executed in the user's home.
    pub fn executables(&self) -> Vec<PathBuf> {
        let is_executable =
            |file: &PathBuf| file.metadata().unwrap().permissions().mode() & 0o111 != 0;
        files_below(&self.home()).into_iter().filter(is_executable).collect()
    }

    /// Returns every file of what is remembered.
    pub fn state_files(&self) -> Vec<PathBuf> {
        files_below(&self.dbt_home().join("state"))
    }

    /// Returns the only file of this name in what is remembered of the server.
    #[track_caller]
    pub fn state_file(&self, name: &str) -> PathBuf {
        let found: Vec<PathBuf> =
            self.state_files().into_iter().filter(|file| file.ends_with(name)).collect();
        assert_eq!(found.len(), 1, "{name} in {:?}", self.state_files());
        found.into_iter().next().unwrap()
    }

    /// Expects that no tool has run and that nothing of one could.
    #[track_caller]
    pub fn nothing_happened(&self) {
        assert_eq!(self.tools_started(), [""; 0]);
        assert_eq!(self.executables(), [""; 0].map(PathBuf::from));
    }

    /// Takes a copy of the user's home and of the program, to be [`restore`](Self::restore)d.
    pub fn backup(&self) {
        drop(fs::remove_dir_all(self.directory.path().join("was")));
        for name in ["h", "b"] {
            copy_home(
                &self.directory.path().join(name),
                &self.directory.path().join("was").join(name),
            );
        }
    }

    /// Puts the home and the program back as they were.
    pub fn restore(&self) {
        for name in ["h", "b"] {
            let place = self.directory.path().join(name);
            fs::remove_dir_all(&place).unwrap();
            copy_home(&self.directory.path().join("was").join(name), &place);
        }
    }

    /// Returns every file beside the program, and it.
    pub fn program_files(&self) -> Vec<PathBuf> {
        files_below(&self.directory.path().join("b"))
    }

    /// Returns every file that the server serves.
    pub fn served_files(&self) -> Vec<PathBuf> {
        files_below(&self.directory.path().join("s"))
    }

    /// Returns every file in the user's home.
    pub fn home_files(&self) -> Vec<PathBuf> {
        files_below(&self.home())
    }

    /// Puts a file with a secret there, as a user does.
    pub fn write_secret(&self, file: impl AsRef<Path>, secret: &str) {
        planted::is_listed(secret.trim_end());
        fs::write(&file, secret).unwrap();
        self.secrets.are_put_in(file.as_ref());
    }

    /// Lets the program keep the tokens that somebody signs in with, in the one place for them.
    pub fn may_keep_tokens(&self) -> PathBuf {
        let file = self.dbt_home().join("state").join("tokens.json");
        self.secrets.are_put_in(&file);
        file
    }

    /// Expects that no secret is in any file but where the user has written it: not in what is
    /// remembered, nor in a temporary file, a status file or a core beside it. When a world ends
    /// this is looked at too.
    #[track_caller]
    pub fn no_secret_is_remembered(&self) {
        self.secrets.are_not_below(self.directory());
    }

    pub(crate) fn secrets(&self) -> Arc<Secrets> {
        Arc::clone(&self.secrets)
    }

    /// What is replaced in everything that is said.
    pub(crate) fn hidden(&self) -> Vec<(String, &'static str)> {
        let url = self.server.url();
        let address = url.trim_start_matches("http://").to_owned();
        // However it is read, the repository is called the same.
        let store = self.bucket.get().map(|bucket| {
            let (place, more) = bucket.url_parts();
            [(more, ""), (place, "[SERVER]")]
        });
        let directory = format!("file://{}", self.repository.file("").display());
        let directory = directory.trim_end_matches('/').to_owned();
        let known = vec![
            (directory, "[SERVER]"),
            (url, "[SERVER]"),
            (address, "[ADDRESS]"),
            (self.directory.path().display().to_string(), "[WORLD]"),
        ];
        store.into_iter().flatten().chain(known).collect()
    }
}

/// Whatever was planted, by this test or by another, is in nothing that was written but where the
/// user has put it; and what was shown to the server is listed.
impl Drop for World {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.server.take_requests();
            self.no_secret_is_remembered();
        }
    }
}

/// Copies a tree with its modes and links. Programs, which are replaced and never written to, are
/// copied as further names of the same file.
fn copy_home(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let (path, target, kind) =
            (entry.path(), to.join(entry.file_name()), entry.file_type().unwrap());
        if kind.is_dir() {
            copy_home(&path, &target);
        } else if kind.is_symlink() {
            std::os::unix::fs::symlink(fs::read_link(&path).unwrap(), &target).unwrap();
        } else if entry.metadata().unwrap().len() > LARGE {
            fs::hard_link(&path, &target).unwrap();
        } else {
            fs::copy(&path, &target).unwrap();
        }
    }
    fs::set_permissions(to, fs::metadata(from).unwrap().permissions()).unwrap();
}

/// No tool of a test is as large; every program is.
const LARGE: u64 = 1024 * 1024;

/// Returns every regular file below a directory.
fn files_below(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut directories = vec![directory.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory).into_iter().flatten().map(Result::unwrap) {
            let kind = entry.file_type().unwrap();
            if kind.is_dir() {
                directories.push(entry.path());
            } else if kind.is_file() {
                files.push(entry.path());
            }
        }
    }
    files.sort();
    files
}
