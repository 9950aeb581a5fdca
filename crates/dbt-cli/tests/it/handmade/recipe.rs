//! A repository made by hand: by the words of README.md, with `gpg` and coreutils.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use dbt_core::platform::Platform;

/// The section of README.md that says how.
const SECTION: &str = "## A repository by hand";

/// The platform for which README.md writes its example.
const PLATFORM_OF_EXAMPLE: &str = "linux/amd64";

/// Whether signatures say what they are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Notations {
    /// As README.md does it.
    Written,
    /// As the reference's README does it.
    Absent,
}

/// A repository made by hand, with the tool `hello` in it.
#[derive(Debug)]
pub(crate) struct Handmade {
    directory: PathBuf,
    gnupg: PathBuf,
    notations: Notations,
}

impl Handmade {
    /// Does what README.md says, to the letter, in a directory. The keys are kept beside it.
    pub(crate) fn make(directory: &Path, notations: Notations) -> Self {
        let gnupg = directory.join("g");
        fs::create_dir(&gnupg).unwrap();
        let handmade = Self { directory: directory.to_owned(), gnupg, notations };
        handmade.answer_for_the_person();
        handmade.shell(&commands_of_readme().replace(PLATFORM_OF_EXAMPLE, &platform()));
        handmade
    }

    /// Returns the directory with both repositories.
    pub(crate) fn root(&self) -> PathBuf {
        self.directory.join("repo")
    }

    /// Returns the fingerprint of the key.
    pub(crate) fn fingerprint(&self) -> String {
        let keys = self.shell("gpg --with-colons --fingerprint tools@example.com");
        let line = keys.lines().find(|line| line.starts_with("fpr:")).unwrap();
        line.trim_matches(|c: char| !c.is_ascii_hexdigit() || c.is_ascii_lowercase()).to_owned()
    }

    /// Publishes a further version of `hello`: a script that does this.
    pub(crate) fn publish(&self, version: &str, script: &str) {
        let place = format!("dbt-tools/hello/{version}/{}", platform());
        let binding = format!("tool/hello/{version}/{}", platform());
        self.put(&place, "hello", &binding, format!("#!/bin/sh\n{script}\n").as_bytes());
    }

    /// Publishes the program itself.
    pub(crate) fn publish_program(&self, version: &str, program: &[u8]) {
        let place = format!("dbt/{version}/{}", platform());
        self.put(&place, "dbt", &format!("self/dbt/{version}/{}", platform()), program);
    }

    /// Writes a file and what belongs beside it. The checksum is spelled as the reference's README
    /// does it: nothing but the digest, and a line end that its own client cannot bear.
    fn put(&self, place: &str, name: &str, binding: &str, bytes: &[u8]) {
        let directory = self.root().join(place);
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join(name), bytes).unwrap();
        self.shell(&format!(
            "cd 'repo/{place}'\n\
             sha256sum {name} | cut -d' ' -f1 > {name}.sha256\n\
             gpg --armor --detach-sign --local-user tools@example.com \
             --sig-notation artifact@dbt={binding} {name}\n"
        ));
        let checksum = fs::read(directory.join(format!("{name}.sha256"))).unwrap();
        assert_eq!((checksum.len(), checksum.last()), (65, Some(&b'\n')));
    }

    /// Runs lines of shell as the person would, who has answered its questions beforehand.
    fn shell(&self, lines: &str) -> String {
        let lines = match self.notations {
            Notations::Written => lines.to_owned(),
            Notations::Absent => without_notations(lines),
        };
        let output = Command::new("sh")
            .args(["-euc", &lines])
            .current_dir(&self.directory)
            .env("GNUPGHOME", &self.gnupg)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{lines}\n{said}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// `gpg` asks a person for a passphrase. This one wants none.
    fn answer_for_the_person(&self) {
        let nothing = self.gnupg.join("nothing");
        fs::write(&nothing, "\n").unwrap();
        let answers =
            format!("batch\npinentry-mode loopback\npassphrase-file {}\n", nothing.display());
        fs::write(self.gnupg.join("gpg.conf"), answers).unwrap();
        self.shell("chmod 700 \"$GNUPGHOME\"");
    }
}

impl Drop for Handmade {
    fn drop(&mut self) {
        // GnuPG leaves its agent behind; this ends the one of this directory.
        let mut end = Command::new("gpgconf");
        drop(end.args(["--kill", "all"]).env("GNUPGHOME", &self.gnupg).output());
    }
}

/// Returns the commands of the section, without their prompts.
fn commands_of_readme() -> String {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../README.md");
    let readme = fs::read_to_string(readme).unwrap();
    let section = readme.split(SECTION).nth(1).unwrap_or_default();
    let block = section.split("```console\n").nth(1).unwrap_or_default();
    let block = block.split("```").next().unwrap_or_default();
    let lines: Vec<&str> =
        block.lines().map(|line| line.strip_prefix("$ ").unwrap_or(line)).collect();
    assert!(lines.len() > 5, "README.md has lost its recipe: {lines:?}");
    lines.join("\n") + "\n"
}

fn without_notations(lines: &str) -> String {
    let mut words = lines.split(' ').collect::<Vec<_>>();
    while let Some(at) = words.iter().position(|word| *word == "--sig-notation") {
        drop(words.drain(at..at + 2));
    }
    words.join(" ")
}

fn platform() -> String {
    Platform::CURRENT.to_string()
}
