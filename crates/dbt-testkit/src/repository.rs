//! A repository on disk, in the layout of the contract, written by a publisher who can also make
//! every mistake and commit every crime.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use dbt_core::brand;
use dbt_core::digest::Digest;
use dbt_core::layout::{Location, Tree};
use dbt_core::platform::Platform;
use dbt_core::release::{ArtifactId, Subject};
use dbt_core::timestamp;
use dbt_core::trust::manifest::{MANIFEST_SCHEMA, Manifest};
use dbt_core::trust::withdrawn::{Withdrawn, WithdrawnVersion};

use crate::people::{ALICE, Person, just_now};
use crate::times::in_days;

/// Where the server's tree has dbt itself and the truststore.
pub const REPOSITORY: &str = "/dbt";

/// Where the server's tree has the tools.
pub const TOOLS: &str = "/dbt-tools";

/// A repository on disk.
#[derive(Debug)]
pub struct TestRepository {
    root: PathBuf,
    started: PathBuf,
}

impl TestRepository {
    /// Makes an empty repository. The tools that are published note in the file `started` that
    /// they ran.
    pub fn create(root: &Path, started: &Path) -> Self {
        for directory in [REPOSITORY, TOOLS] {
            fs::create_dir_all(root.join(directory.trim_start_matches('/'))).unwrap();
        }
        Self { root: root.to_owned(), started: started.to_owned() }
    }

    /// Returns the file behind a path of the server.
    pub fn file(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// Publishes a tool at the end of the statement: a script that notes that it ran, prints its
    /// name and version, and each argument in brackets on a line.
    pub fn publish(&self, tool: &str, version: &str) -> Publication<'_> {
        let subject = Subject::Tool(tool.parse().expect("a tool's name"));
        let content =
            self.script(tool, version, "for a in \"$@\"; do printf '[%s]\\n' \"$a\"; done");
        Publication::new(self, subject, version, content)
    }

    /// Publishes dbt itself at the end of the statement.
    pub fn publish_program(&self, version: &str, program: Vec<u8>) -> Publication<'_> {
        Publication::new(self, Subject::Program, version, program)
    }

    /// Returns a script that notes that it ran, says who it is, and does something.
    fn script(&self, tool: &str, version: &str, lines: &str) -> Vec<u8> {
        let started = self.started.display();
        format!(
            "#!/bin/sh\necho '{tool} {version}' >> '{started}'\necho '{tool} {version}'\n{lines}\n"
        )
        .into_bytes()
    }

    /// Writes a truststore of these armored certificates.
    pub fn truststore(&self, certificates: &[String]) {
        self.write(&format!("{REPOSITORY}/truststore"), certificates.concat().as_bytes());
    }

    /// Writes a truststore of these people.
    pub fn trust(&self, people: &[&Person]) {
        let certificates: Vec<String> = people.iter().map(|person| person.certificate()).collect();
        self.truststore(&certificates);
    }

    /// Begins the truststore's manifest of a version, about the truststore as it is now.
    pub fn manifest(&self, version: u64) -> ManifestDraft<'_> {
        ManifestDraft {
            repository: self,
            version,
            admins: vec![&ALICE],
            signers: vec![&ALICE],
            id: "acme",
        }
    }

    /// Withdraws versions of a tool: the signed list that says so.
    pub fn withdraw(&self, tool: &str, serial: u64, versions: &[&str], signer: &Person) {
        let binding = format!("withdrawn/{tool}");
        self.withdraw_bound_to(tool, serial, versions, signer, Some(&binding));
    }

    /// Withdraws with a signature that names something else, or nothing.
    pub fn withdraw_bound_to(
        &self,
        tool: &str,
        serial: u64,
        versions: &[&str],
        signer: &Person,
        binding: Option<&str>,
    ) {
        let numbers = versions.iter().map(|version| withdrawn(version, Vec::new())).collect();
        self.write_withdrawn(tool, serial, numbers, (signer, binding));
    }

    /// Withdraws a version with its bytes, as publishers do: under no number they run any more.
    pub fn withdraw_with_bytes(&self, tool: &str, serial: u64, version: &str, signer: &Person) {
        let bytes = Digest::of(&self.read(&artifact(tool, version)));
        let versions = vec![withdrawn(version, vec![bytes])];
        let binding = format!("withdrawn/{tool}");
        self.write_withdrawn(tool, serial, versions, (signer, Some(&binding)));
    }

    fn write_withdrawn(
        &self,
        tool: &str,
        serial: u64,
        versions: Vec<WithdrawnVersion>,
        (signer, binding): (&Person, Option<&str>),
    ) {
        let withdrawn = Withdrawn {
            serial,
            issued: timestamp::format(just_now()),
            versions,
            ..Withdrawn::new(&tool.parse().expect("a tool's name"))
        };
        let bytes = serde_json::to_vec(&withdrawn).unwrap();
        self.write(&format!("{TOOLS}/{tool}/withdrawn.json"), &bytes);
        let signature = signer.sign(&bytes, binding, just_now());
        self.write(&format!("{TOOLS}/{tool}/withdrawn.json.asc"), signature.as_bytes());
    }

    /// Removes a version of a tool.
    pub fn remove(&self, tool: &str, version: &str) {
        fs::remove_dir_all(self.file(&format!("{TOOLS}/{tool}/{version}"))).unwrap();
    }

    /// Changes one bit in the middle of a published artifact, and nothing beside it.
    pub fn flip_a_bit(&self, tool: &str, version: &str) {
        let path = artifact(tool, version);
        let mut bytes = fs::read(self.file(&path)).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        self.write(&path, &bytes);
    }

    /// Writes any file.
    pub fn write(&self, path: &str, bytes: &[u8]) {
        let file = self.file(path);
        fs::create_dir_all(file.parent().expect("a file has a directory")).unwrap();
        fs::write(&file, bytes).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    }

    /// Writes a file so that whoever reads at the same time sees none or all of it. With the
    /// checksum, which comes last, a version is published.
    #[expect(clippy::disallowed_methods, reason = "a test that cannot set up its world has failed")]
    fn write_at_once(&self, path: &str, bytes: &[u8]) {
        let new = self.root.with_extension(Digest::of(path.as_bytes()).to_string());
        let file = self.file(path);
        fs::create_dir_all(file.parent().expect("a file has a directory")).unwrap();
        fs::write(&new, bytes).unwrap();
        fs::rename(new, file).unwrap();
    }

    /// Deletes any file.
    pub fn delete(&self, path: &str) {
        fs::remove_file(self.file(path)).unwrap();
    }

    /// Reads any file.
    pub fn read(&self, path: &str) -> Vec<u8> {
        fs::read(self.file(path)).unwrap()
    }

    /// Copies everything that lies beside one artifact, and the artifact, to another's place.
    pub fn copy(&self, from: &str, to: &str) {
        for ending in ["", ".asc", ".sha256"] {
            self.write(&format!("{to}{ending}"), &self.read(&format!("{from}{ending}")));
        }
    }

    /// Takes a copy of the whole tree, to be [`restore`](Self::restore)d.
    pub fn backup(&self) -> PathBuf {
        let backup = self.root.with_extension("backup");
        copy_tree(&self.root, &backup);
        backup
    }

    /// Puts a backup in the place of everything.
    pub fn restore(&self, backup: &Path) {
        fs::remove_dir_all(&self.root).unwrap();
        copy_tree(backup, &self.root);
    }
}

fn withdrawn(version: &str, sha256: Vec<Digest>) -> WithdrawnVersion {
    let version = version.parse().expect("a version");
    WithdrawnVersion { version, sha256, reason: "deletes the database".to_owned() }
}

fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_tree(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// Returns the server's path of a tool's artifact for this platform.
pub fn artifact(tool: &str, version: &str) -> String {
    format!("{TOOLS}/{tool}/{version}/{}/{tool}", Platform::CURRENT)
}

/// Returns the server's path of dbt itself for this platform.
pub fn program(version: &str) -> String {
    format!("{REPOSITORY}/{version}/{}/{}", Platform::CURRENT, brand::PROGRAM)
}

/// An artifact on its way into the repository. It is written when this value goes.
#[derive(Debug)]
pub struct Publication<'a> {
    repository: &'a TestRepository,
    subject: Subject,
    version: String,
    platform: Platform,
    content: Vec<u8>,
    signer: &'a Person,
    at: SystemTime,
    binding: Binding,
    checksum: Checksum,
    signature: Option<Vec<u8>>,
    is_signed: bool,
}

#[derive(Debug)]
enum Binding {
    Right,
    Missing,
    Other(String),
}

#[derive(Debug)]
enum Checksum {
    Right,
    Missing,
    Text(Vec<u8>),
}

impl<'a> Publication<'a> {
    fn new(
        repository: &'a TestRepository,
        subject: Subject,
        version: &str,
        content: Vec<u8>,
    ) -> Self {
        Self {
            repository,
            subject,
            version: version.to_owned(),
            platform: Platform::CURRENT,
            content,
            signer: &ALICE,
            at: just_now(),
            binding: Binding::Right,
            checksum: Checksum::Right,
            signature: None,
            is_signed: true,
        }
    }

    /// For another platform than this one.
    #[must_use = "it is published where the value goes"]
    pub fn platform(mut self, platform: &str) -> Self {
        self.platform = platform.parse().expect("a platform");
        self
    }

    /// Signed by somebody else than Alice.
    #[must_use = "it is published where the value goes"]
    pub fn signed_by(mut self, signer: &'a Person) -> Self {
        self.signer = signer;
        self
    }

    /// Signed at another time than a minute ago.
    #[must_use = "it is published where the value goes"]
    pub fn at(mut self, at: SystemTime) -> Self {
        self.at = at;
        self
    }

    /// Signed as the reference does: nothing says what was signed.
    #[must_use = "it is published where the value goes"]
    pub fn unbound(mut self) -> Self {
        self.binding = Binding::Missing;
        self
    }

    /// Signed as something else.
    #[must_use = "it is published where the value goes"]
    pub fn bound_to(mut self, binding: &str) -> Self {
        self.binding = Binding::Other(binding.to_owned());
        self
    }

    /// With other bytes.
    #[must_use = "it is published where the value goes"]
    pub fn content(mut self, content: impl Into<Vec<u8>>) -> Self {
        self.content = content.into();
        self
    }

    /// As a script that does this, after it has noted that it ran and has said who it is.
    #[must_use = "it is published where the value goes"]
    pub fn script(mut self, lines: &str) -> Self {
        self.content = self.repository.script(self.subject.name(), &self.version, lines);
        self
    }

    /// With this text as its `.sha256`; `[DIGEST]` in it is the right one.
    #[must_use = "it is published where the value goes"]
    pub fn checksum(mut self, text: &str) -> Self {
        self.checksum = Checksum::Text(text.as_bytes().to_vec());
        self
    }

    /// Without `.sha256`.
    #[must_use = "it is published where the value goes"]
    pub fn without_checksum(mut self) -> Self {
        self.checksum = Checksum::Missing;
        self
    }

    /// Without `.asc`.
    #[must_use = "it is published where the value goes"]
    pub fn without_signature(mut self) -> Self {
        self.is_signed = false;
        self
    }

    /// With this as its `.asc`.
    #[must_use = "it is published where the value goes"]
    pub fn signature(mut self, signature: impl Into<Vec<u8>>) -> Self {
        self.signature = Some(signature.into());
        self
    }

    /// Publishes it now.
    pub fn now(self) {
        drop(self);
    }

    fn id(&self) -> ArtifactId {
        let version = self.version.parse().expect("a version");
        ArtifactId { subject: self.subject.clone(), version, platform: self.platform }
    }

    fn write(&self) {
        let id = self.id();
        let at = served_at(&Location::artifact(&id));
        let digest = Digest::of(&self.content).to_string();
        self.repository.write_at_once(&at, &self.content);
        let binding = match &self.binding {
            Binding::Right => Some(id.binding()),
            Binding::Missing => None,
            Binding::Other(other) => Some(other.clone()),
        };
        if self.is_signed {
            let signature = self.signature.clone().unwrap_or_else(|| {
                self.signer.sign(&self.content, binding.as_deref(), self.at).into_bytes()
            });
            // Asked for together with the checksum, and perhaps answered before it.
            self.repository.write_at_once(&format!("{at}.asc"), &signature);
        }
        let checksum = match &self.checksum {
            Checksum::Right => Some(digest),
            Checksum::Missing => None,
            Checksum::Text(text) => {
                Some(String::from_utf8_lossy(text).replace("[DIGEST]", &digest))
            }
        };
        if let Some(checksum) = checksum {
            self.repository.write_at_once(&format!("{at}.sha256"), checksum.as_bytes());
        }
        if let Subject::Tool(tool) = &self.subject {
            let description = served_at(&Location::description(tool, &id.version));
            let text = format!("What {tool} is for.\n");
            self.repository.write(&description, text.as_bytes());
        }
    }
}

impl Drop for Publication<'_> {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.write();
        }
    }
}

fn served_at(location: &Location) -> String {
    let tree = match location.tree {
        Tree::Repository => REPOSITORY,
        Tree::Tools => TOOLS,
    };
    format!("{tree}/{}", location.path)
}

/// A manifest of the truststore, to be signed and written.
#[derive(Debug)]
pub struct ManifestDraft<'a> {
    repository: &'a TestRepository,
    version: u64,
    admins: Vec<&'a Person>,
    signers: Vec<&'a Person>,
    id: &'a str,
}

impl<'a> ManifestDraft<'a> {
    /// Names who may sign the next one, instead of Alice.
    #[must_use = "it is written by `publish`"]
    pub fn admins(mut self, admins: &[&'a Person]) -> Self {
        self.admins = admins.to_vec();
        self
    }

    /// Says who signs this one, instead of Alice.
    #[must_use = "it is written by `publish`"]
    pub fn signed_by(mut self, signers: &[&'a Person]) -> Self {
        self.signers = signers.to_vec();
        self
    }

    /// Names another repository.
    #[must_use = "it is written by `publish`"]
    pub fn of(mut self, id: &'a str) -> Self {
        self.id = id;
        self
    }

    /// Writes it, listing these people, as the current one and as the kept one of its version.
    pub fn publish(self, listed: &[&Person]) {
        let repository = self.repository;
        let at = |ending: &str| format!("{REPOSITORY}/truststore.manifest.{ending}");
        let prev = (self.version > 1)
            .then(|| Digest::of(&repository.read(&at(&format!("{}.json", self.version - 1)))));
        let manifest = Manifest {
            schema: MANIFEST_SCHEMA.to_owned(),
            repository_id: self.id.to_owned(),
            version: self.version,
            issued: timestamp::format(just_now()),
            expires: timestamp::format(in_days(365)),
            sha256: Digest::of(&repository.read(&format!("{REPOSITORY}/truststore"))),
            admins: self.admins.iter().map(|admin| admin.fingerprint()).collect(),
            admin_threshold: 1,
            certs: listed.iter().map(|person| person.fingerprint()).collect(),
            prev,
        };
        let bytes = serde_json::to_vec(&manifest).unwrap();
        let signatures: String =
            self.signers.iter().map(|signer| signer.sign(&bytes, None, just_now())).collect();
        for name in ["json".to_owned(), format!("{}.json", self.version)] {
            repository.write(&at(&name), &bytes);
            repository.write(&at(&format!("{name}.asc")), signatures.as_bytes());
        }
    }
}
