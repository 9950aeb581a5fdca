//! The operating system's store of certificate authorities.
//!
//! Where it is files (Unix other than macOS) we read them ourselves: the usual library takes what
//! `SSL_CERT_FILE` names *instead of* the system's, and reads every file of a store that is one
//! bundle and its 140 parts. Elsewhere the system is asked by its own interface; on a macOS build
//! without that, by `/usr/bin/security` (see `keychain.rs`).

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{Error, RootCertStore};

use super::authorities::{Loaded, shown, webpki};
use crate::fsx::{self, FsxError};

/// Files that hold a whole store, the usual one of each system. The first that can be used counts.
const BUNDLES: [&str; 8] = [
    "/etc/ssl/certs/ca-certificates.crt", // Debian, Ubuntu, Arch, NixOS
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", // Fedora, RHEL
    "/etc/pki/tls/certs/ca-bundle.crt",   // RHEL 6
    "/etc/ssl/ca-bundle.pem",             // openSUSE
    "/etc/ssl/cert.pem",                  // Alpine, OpenBSD
    "/usr/local/etc/ssl/cert.pem",        // FreeBSD
    "/usr/local/share/certs/ca-root-nss.crt", // older FreeBSD, DragonFly
    "/etc/openssl/certs/ca-certificates.crt", // NetBSD
];

/// Directories with a file for each authority. An administrator's own is sometimes only there.
const DIRECTORIES: [&str; 4] =
    ["/etc/ssl/certs", "/etc/pki/tls/certs", "/usr/local/share/certs", "/etc/openssl/certs"];

/// The largest file that is read. The system's bundle has 220 KiB.
pub(super) const LIMIT: u64 = 16 * 1024 * 1024;

/// Where the system keeps its authorities.
#[derive(Debug, Clone)]
pub(super) struct SystemStore {
    parts: Vec<Part>,
}

/// What is read together.
#[derive(Debug, Clone)]
pub(super) enum Part {
    /// The first usable one of these files.
    Bundle(Vec<PathBuf>),
    /// All files of these directories.
    Directories(Vec<PathBuf>),
    /// The system's own interface.
    #[cfg(any(windows, all(target_vendor = "apple", feature = "system-framework")))]
    Platform,
    /// What `/usr/bin/security` says.
    #[cfg(all(target_vendor = "apple", not(feature = "system-framework")))]
    Keychain(super::keychain::Keychain),
}

impl SystemStore {
    /// A store in these places.
    pub(super) fn of_files(bundles: Vec<PathBuf>, directories: Vec<PathBuf>) -> Self {
        Self { parts: vec![Part::Bundle(bundles), Part::Directories(directories)] }
    }

    /// This system's store.
    #[cfg(all(unix, not(target_vendor = "apple")))]
    pub(super) fn of_this_host(_remembered: Option<&Path>) -> Self {
        Self::default()
    }

    /// This system's store.
    #[cfg(any(windows, all(target_vendor = "apple", feature = "system-framework")))]
    pub(super) fn of_this_host(_remembered: Option<&Path>) -> Self {
        Self { parts: vec![Part::Platform] }
    }

    /// This system's store. `remembered` is where the answer of `security` is kept.
    #[cfg(all(target_vendor = "apple", not(feature = "system-framework")))]
    pub(super) fn of_this_host(remembered: Option<&Path>) -> Self {
        let keychain = super::keychain::Keychain::of_this_host(remembered);
        Self { parts: vec![Part::Keychain(keychain)] }
    }

    pub(super) fn parts(&self) -> Vec<Part> {
        self.parts.clone()
    }
}

impl Default for SystemStore {
    /// The usual places.
    fn default() -> Self {
        Self::of_files(BUNDLES.map(PathBuf::from).to_vec(), DIRECTORIES.map(PathBuf::from).to_vec())
    }
}

impl Part {
    pub(super) fn load(&self, provider: &Arc<CryptoProvider>) -> Result<Loaded, Error> {
        let (roots, mut found) = match self {
            Self::Bundle(files) => of_bundle(files),
            Self::Directories(directories) => of_directories(directories, |_path, _why| None),
            #[cfg(any(windows, all(target_vendor = "apple", feature = "system-framework")))]
            Self::Platform => {
                let verifier = rustls_platform_verifier::Verifier::new(Arc::clone(provider))?;
                let places = vec!["this system's store".to_owned()];
                let verifier = Some(Arc::new(verifier) as Arc<_>);
                return Ok(Loaded { verifier, places, unused: Vec::new() });
            }
            #[cfg(all(target_vendor = "apple", not(feature = "system-framework")))]
            Self::Keychain(keychain) => {
                let mut roots = RootCertStore::empty();
                let mut found = Loaded::default();
                match keychain.authorities() {
                    Ok(certificates) => {
                        roots.add_parsable_certificates(certificates);
                        found.places.push("this system's keychains".to_owned());
                    }
                    Err(error) => found.unused.push(format!("the keychains: {error}")),
                }
                (roots, found)
            }
        };
        if !roots.is_empty() {
            found.verifier = Some(webpki(roots, provider)?);
        }
        Ok(found)
    }
}

/// Reads the certificates of a PEM file.
pub(super) fn read(path: &Path) -> io::Result<Vec<CertificateDer<'static>>> {
    certificates(&fsx::read_limited(path, LIMIT).map_err(FsxError::into_cause)?)
}

/// Reads the certificates of a PEM text, whatever else stands there.
pub(super) fn certificates(text: &[u8]) -> io::Result<Vec<CertificateDer<'static>>> {
    CertificateDer::pem_slice_iter(text)
        .collect::<Result<_, _>>()
        .map_err(|error| io::Error::other(error.to_string()))
}

fn of_bundle(files: &[PathBuf]) -> (RootCertStore, Loaded) {
    let mut roots = RootCertStore::empty();
    let mut found = Loaded::default();
    for file in files {
        let Ok(certificates) = read(file) else { continue };
        let (usable, _ignored) = roots.add_parsable_certificates(certificates);
        if usable > 0 {
            found.places.push(shown(file));
            break;
        }
    }
    (roots, found)
}

/// Reads all files of some directories, each once: most are there under two names. `complain`
/// says what is wrong with a directory that cannot be read.
pub(super) fn of_directories(
    directories: &[PathBuf],
    complain: impl Fn(&Path, io::Error) -> Option<String>,
) -> (RootCertStore, Loaded) {
    let mut roots = RootCertStore::empty();
    let mut found = Loaded::default();
    let mut certificates = Vec::new();
    let mut files = std::collections::BTreeSet::new();
    for directory in directories {
        let entries = match fs::read_dir(directory) {
            Ok(entries) => entries,
            Err(error) => {
                found.unused.extend(complain(directory, error));
                continue;
            }
        };
        let before = certificates.len();
        for path in entries.flatten().map(|entry| entry.path()) {
            if let Ok(file) = path.canonicalize()
                && files.insert(file)
            {
                certificates.extend(read(&path).unwrap_or_default());
            }
        }
        if certificates.len() > before {
            found.places.push(shown(directory));
        } else {
            let empty = io::Error::other("there is no certificate in it");
            found.unused.extend(complain(directory, empty));
        }
    }
    certificates.sort_unstable_by(|one, other| one.as_ref().cmp(other));
    certificates.dedup();
    roots.add_parsable_certificates(certificates);
    (roots, found)
}
