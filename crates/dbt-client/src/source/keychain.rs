//! The certificate authorities of macOS, asked of `/usr/bin/security`.
//!
//! For builds without the system's framework (decision 3). A question to that program takes a good
//! part of a second, so the answer is kept for a day. Everything here but the paths is the same on
//! every system, and tested there.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dbt_core::clock::Clock;
use rustls::pki_types::CertificateDer;

use super::system_store::{LIMIT, certificates};
use crate::fsx;

/// How long an answer counts.
const KEPT_FOR: Duration = Duration::from_hours(24);

/// How long one question may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// The most certificates of the administrator's keychain that are asked about one by one.
const MOST_ASKED: usize = 50;

/// Asks about keychains, and remembers.
#[derive(Debug, Clone)]
pub(super) struct Keychain {
    program: PathBuf,
    /// All of it is believed: only the system's maker can change it.
    makers: PathBuf,
    /// The administrator's. Also certificates of networks and of single servers are kept there, so
    /// each is believed only if the system would believe it for servers.
    administrators: PathBuf,
    /// A file of ours with the last answer.
    remembered: Option<PathBuf>,
    clock: Clock,
}

impl Keychain {
    /// The keychains of this machine.
    #[cfg(target_vendor = "apple")]
    pub(super) fn of_this_host(remembered: Option<&Path>) -> Self {
        Self {
            program: "/usr/bin/security".into(),
            makers: "/System/Library/Keychains/SystemRootCertificates.keychain".into(),
            administrators: "/Library/Keychains/System.keychain".into(),
            remembered: remembered.map(Path::to_owned),
            clock: Clock::System,
        }
    }

    /// Returns the authorities that this machine believes.
    pub(super) fn authorities(&self) -> io::Result<Vec<CertificateDer<'static>>> {
        if let Some(remembered) = self.remembered() {
            return Ok(remembered);
        }
        let mut found = self.list(&self.makers)?;
        if found.is_empty() {
            return Err(io::Error::other("there is no certificate in them"));
        }
        // A machine without such a keychain is a machine without authorities of its own.
        let own = self.list(&self.administrators).unwrap_or_default();
        for certificate in own.into_iter().take(MOST_ASKED) {
            if !found.contains(&certificate) && self.is_trusted(&certificate)? {
                found.push(certificate);
            }
        }
        if let Some(path) = &self.remembered {
            let text: String = found.iter().map(pem).collect();
            // Not to remember costs time and nothing else.
            let _not_kept = fsx::write_atomic(path, text.as_bytes(), 0o600);
        }
        Ok(found)
    }

    /// Returns the last answer, unless it is old, or from the future.
    fn remembered(&self) -> Option<Vec<CertificateDer<'static>>> {
        let path = self.remembered.as_ref()?;
        let written = fs::metadata(path).and_then(|metadata| metadata.modified()).ok()?;
        let age = self.clock.now().duration_since(written).ok()?;
        let text = (age < KEPT_FOR).then(|| fsx::read_own(path, LIMIT).ok()).flatten()?;
        certificates(&text).ok().filter(|found| !found.is_empty())
    }

    fn list(&self, keychain: &Path) -> io::Result<Vec<CertificateDer<'static>>> {
        let mut command = Command::new(&self.program);
        command.args(["find-certificate", "-a", "-p"]).arg(keychain);
        match said(&mut command)? {
            Some(text) => certificates(&text),
            None => Err(io::Error::other("`security` could not list them")),
        }
    }

    /// Asks whether the system believes an authority for servers, without asking the network.
    fn is_trusted(&self, certificate: &CertificateDer<'_>) -> io::Result<bool> {
        let mut file = tempfile::NamedTempFile::new()?;
        file.write_all(pem(certificate).as_bytes())?;
        let mut command = Command::new(&self.program);
        command.args(["verify-cert", "-l", "-L", "-p", "ssl", "-c"]).arg(file.path());
        Ok(said(&mut command)?.is_some())
    }
}

fn pem(certificate: &CertificateDer<'_>) -> String {
    let text = STANDARD.encode(certificate);
    format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n")
}

/// Runs a command; returns what it printed, or nothing if it failed.
fn said(command: &mut Command) -> io::Result<Option<Vec<u8>>> {
    let (input, errors) = (Stdio::null(), Stdio::null());
    let mut child = command.stdin(input).stdout(Stdio::piped()).stderr(errors).spawn()?;
    // Beside, because a pipe cannot be read with a limit of time.
    let (give, take) = mpsc::channel();
    if let Some(output) = child.stdout.take() {
        let reading = thread::Builder::new().spawn(move || {
            let mut text = Vec::new();
            let read = output.take(LIMIT).read_to_end(&mut text);
            // Nobody takes it when time is over.
            let _taken = give.send(read.map(|_count| text));
        });
        if let Err(no_thread) = reading {
            child.kill()?;
            child.wait()?;
            return Err(no_thread);
        }
    }
    let Ok(text) = take.recv_timeout(PATIENCE) else {
        child.kill()?;
        child.wait()?;
        return Err(io::ErrorKind::TimedOut.into());
    };
    let (text, status) = (text?, child.wait()?);
    Ok(status.success().then_some(text))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use rcgen::{CertificateParams, KeyPair};
    use tempfile::TempDir;

    use super::*;

    /// A program like `security` that writes down what it is asked. Its keychains are PEM files;
    /// trusted is what is in a file `trusted` too.
    const SECURITY: &str = r#"#!/bin/sh
here=$(dirname "$0")
echo "$*" | sed "s|$here/||g; s|-c .*|-c FILE|" >> "$here/asked"
case $1 in
  find-certificate) cat "$4" ;;
  verify-cert) grep -qF "$(sed -n 2p "$7")" "$here/trusted" ;;
esac
"#;

    struct Mac {
        directory: TempDir,
        keychain: Keychain,
    }

    impl Mac {
        fn new() -> Self {
            let directory = tempfile::tempdir().unwrap();
            let at = |name: &str| directory.path().join(name);
            // By a name in its place, so that no other thread's child holds it open for writing.
            let written = fsx::write_atomic(&at("security"), SECURITY.as_bytes(), 0o700);
            written.unwrap();
            fs::set_permissions(at("security"), fs::Permissions::from_mode(0o700)).unwrap();
            fs::write(at("trusted"), "").unwrap();
            let keychain = Keychain {
                program: at("security"),
                makers: at("makers"),
                administrators: at("administrators"),
                remembered: Some(at("remembered")),
                clock: Clock::System,
            };
            Self { directory, keychain }
        }

        fn write(&self, name: &str, certificates: &[&CertificateDer<'_>]) {
            let text: String = certificates.iter().map(|one| pem(one)).collect();
            fs::write(self.directory.path().join(name), text).unwrap();
        }

        fn asked(&self) -> String {
            let asked = self.directory.path().join("asked");
            let text = fs::read_to_string(&asked).unwrap_or_default();
            drop(fs::remove_file(asked));
            text
        }

        /// A shell script that was just written may be busy for a moment: another thread's child
        /// has it open until it executes something else.
        fn authorities(&self) -> io::Result<Vec<CertificateDer<'static>>> {
            loop {
                match self.keychain.authorities() {
                    Err(error) if error.kind() == io::ErrorKind::ExecutableFileBusy => {}
                    done => return done,
                }
            }
        }
    }

    fn certificate() -> CertificateDer<'static> {
        let key = KeyPair::generate().unwrap();
        CertificateParams::new(Vec::new()).unwrap().self_signed(&key).unwrap().der().clone()
    }

    #[test]
    fn the_makers_authorities_are_believed_and_the_administrators_if_they_are_trusted() {
        let (maker, trusted, other) = (certificate(), certificate(), certificate());
        let mac = Mac::new();
        mac.write("makers", &[&maker]);
        mac.write("administrators", &[&other, &trusted, &maker]);
        mac.write("trusted", &[&trusted]);
        assert_eq!(mac.authorities().unwrap(), [maker, trusted]);
        assert_eq!(
            mac.asked(),
            "find-certificate -a -p makers\n\
             find-certificate -a -p administrators\n\
             verify-cert -l -L -p ssl -c FILE\n\
             verify-cert -l -L -p ssl -c FILE\n"
        );
    }

    #[test]
    fn the_answer_is_kept_for_a_day_and_for_nobody_else_to_write() {
        let maker = certificate();
        let mut mac = Mac::new();
        mac.write("makers", &[&maker]);
        for _ in 0..2 {
            assert_eq!(mac.authorities().unwrap(), std::slice::from_ref(&maker));
        }
        assert_eq!(mac.asked().lines().count(), 2);
        let remembered = mac.directory.path().join("remembered");
        assert_eq!(fs::metadata(&remembered).unwrap().permissions().mode() & 0o777, 0o600);

        // Tomorrow, and after the clock was put back.
        let now = Clock::System.now();
        for clock in [now + Duration::from_hours(25), now - Duration::from_hours(1)] {
            mac.keychain.clock = Clock::Fixed(clock);
            mac.authorities().unwrap();
            assert_eq!(mac.asked().lines().count(), 2, "{clock:?}");
        }
        mac.keychain.clock = Clock::System;
        for text in ["", "no certificate"] {
            fs::write(&remembered, text).unwrap();
            assert_eq!(mac.authorities().unwrap(), std::slice::from_ref(&maker), "{text}");
            assert_eq!(mac.asked().lines().count(), 2, "{text}");
        }
    }

    #[test]
    fn a_program_that_fails_or_says_nothing_is_an_error_and_is_not_remembered() {
        let mut mac = Mac::new();
        assert!(mac.authorities().unwrap_err().to_string().contains("could not list"));
        mac.write("makers", &[]);
        assert!(mac.authorities().unwrap_err().to_string().contains("no certificate"));
        mac.keychain.program = mac.directory.path().join("missing");
        assert_eq!(mac.authorities().unwrap_err().kind(), io::ErrorKind::NotFound);
        assert!(!mac.directory.path().join("remembered").exists());
    }
}
