//! Whose certificates are believed.
//!
//! In this order, each read only when those before do not vouch for a server: the configured
//! `caFile`, what `SSL_CERT_FILE` and `SSL_CERT_DIR` name, the operating system's store. All of
//! them count: none takes the place of another. Mozilla's list is used only where a host has no
//! store at all (an empty container). Nothing turns the checks off.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, DigitallySignedStruct, Error, OtherError, RootCertStore, SignatureScheme,
};

use super::certificate::{Unknown, missing_issuer};
use super::error::Failure;
use super::system_store::{self, SystemStore};

/// Which certificate authorities are believed, for `doctor`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateRoots {
    /// Where they were found, the configured ones first.
    pub places: Vec<String>,
    /// Whether this host has none of its own, so that Mozilla's are used.
    pub is_mozilla: bool,
    /// Places named by the environment that could not be used, and why.
    pub unused: Vec<String>,
}

/// Where authorities are looked for.
#[derive(Debug, Clone, Default)]
pub(super) struct Places {
    /// `caFile`: must be usable.
    pub(super) ca_file: Option<PathBuf>,
    /// `SSL_CERT_FILE`. It was set for all programs, and perhaps long ago: what cannot be used is
    /// named, and stops nothing.
    pub(super) file: Option<PathBuf>,
    /// `SSL_CERT_DIR`, the same.
    pub(super) directories: Vec<PathBuf>,
    /// The operating system's.
    pub(super) system: SystemStore,
}

/// Believes what a chain of authorities vouches for.
pub(super) struct Believed {
    provider: Arc<CryptoProvider>,
    configured: Option<Arc<dyn ServerCertVerifier>>,
    ca_file: Option<PathBuf>,
    layers: Vec<Layer>,
    mozilla: OnceLock<Result<Arc<dyn ServerCertVerifier>, Error>>,
}

/// Authorities that are read together, when they are needed.
struct Layer {
    origin: Origin,
    loaded: OnceLock<Result<Loaded, Error>>,
}

enum Origin {
    /// Named by the environment.
    File(PathBuf),
    Directories(Vec<PathBuf>),
    /// The operating system's.
    System(system_store::Part),
}

/// What was found.
#[derive(Default)]
pub(super) struct Loaded {
    pub(super) verifier: Option<Arc<dyn ServerCertVerifier>>,
    pub(super) places: Vec<String>,
    pub(super) unused: Vec<String>,
}

impl Believed {
    /// Reads the configured file, and nothing else yet.
    pub(super) fn new(places: &Places, provider: Arc<CryptoProvider>) -> Result<Self, Failure> {
        let configured = match &places.ca_file {
            None => None,
            Some(path) => {
                let fail = |source| Failure::CertificateFile { path: path.clone(), source };
                Some(of_file(path, &provider).map_err(fail)?)
            }
        };
        let mut origins = Vec::new();
        origins.extend(places.file.clone().map(Origin::File));
        if !places.directories.is_empty() {
            origins.push(Origin::Directories(places.directories.clone()));
        }
        origins.extend(places.system.parts().into_iter().map(Origin::System));
        let layer = |origin| Layer { origin, loaded: OnceLock::new() };
        let layers = origins.into_iter().map(layer).collect();
        let ca_file = places.ca_file.clone();
        Ok(Self { provider, configured, ca_file, layers, mozilla: OnceLock::new() })
    }

    /// Reads everything that there is, and says what it was.
    pub(super) fn describe(&self) -> Result<CertificateRoots, Error> {
        let mut places: Vec<String> = self.ca_file.iter().map(|path| shown(path)).collect();
        let mut unused = Vec::new();
        for layer in &self.layers {
            let loaded = layer.load(&self.provider)?;
            places.extend(loaded.places.iter().cloned());
            unused.extend(loaded.unused.iter().cloned());
        }
        Ok(CertificateRoots { places, unused, is_mozilla: self.mozilla()?.is_some() })
    }

    /// Returns Mozilla's authorities, if this host has no store. Reads what is left of it.
    fn mozilla(&self) -> Result<Option<&dyn ServerCertVerifier>, Error> {
        for layer in self.layers.iter().filter(|layer| matches!(layer.origin, Origin::System(_))) {
            if layer.load(&self.provider)?.verifier.is_some() {
                return Ok(None);
            }
        }
        let make = || {
            let roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
            webpki(roots, &self.provider)
        };
        let verifier = self.mozilla.get_or_init(make).as_ref().map_err(Clone::clone)?;
        Ok(Some(verifier.as_ref()))
    }

    /// Asks one after the other; the first that agrees decides.
    fn ask(
        &self,
        check: impl Fn(&dyn ServerCertVerifier) -> Result<ServerCertVerified, Error>,
    ) -> Result<ServerCertVerified, Error> {
        // Of several refusals, the one that knows the issuer says more.
        let mut refusal = UNKNOWN;
        let mut agrees = |verifier: &dyn ServerCertVerifier| match check(verifier) {
            Ok(verified) => Some(verified),
            Err(error) => {
                if is_unknown(&refusal) {
                    refusal = error;
                }
                None
            }
        };
        if let Some(verified) = self.configured.as_deref().and_then(&mut agrees) {
            return Ok(verified);
        }
        for layer in &self.layers {
            let verifier = layer.load(&self.provider)?.verifier.as_deref();
            if let Some(verified) = verifier.and_then(&mut agrees) {
                return Ok(verified);
            }
        }
        match self.mozilla()?.and_then(agrees) {
            Some(verified) => Ok(verified),
            None => Err(refusal),
        }
    }

    fn unused(&self) -> Vec<String> {
        let loaded = self.layers.iter().filter_map(|layer| layer.loaded.get()?.as_ref().ok());
        loaded.flat_map(|loaded| loaded.unused.iter().cloned()).collect()
    }

    /// Says whether the operating system's store has been read.
    #[cfg(test)]
    pub(super) fn has_asked_the_system(&self) -> bool {
        let is_read = |layer: &Layer| {
            matches!(layer.origin, Origin::System(_)) && layer.loaded.get().is_some()
        };
        self.layers.iter().any(is_read)
    }
}

impl Layer {
    fn load(&self, provider: &Arc<CryptoProvider>) -> Result<&Loaded, Error> {
        let load = || match &self.origin {
            Origin::System(part) => part.load(provider),
            Origin::File(path) => {
                let mut found = Loaded::default();
                match of_file(path, provider) {
                    Ok(verifier) => {
                        found.verifier = Some(verifier);
                        found.places.push(shown(path));
                    }
                    Err(error) => found.unused.push(unusable("SSL_CERT_FILE", path, &error)),
                }
                Ok(found)
            }
            Origin::Directories(directories) => {
                let (roots, mut found) = system_store::of_directories(directories, |path, why| {
                    Some(unusable("SSL_CERT_DIR", path, &why))
                });
                if !roots.is_empty() {
                    found.verifier = Some(webpki(roots, provider)?);
                }
                Ok(found)
            }
        };
        self.loaded.get_or_init(load).as_ref().map_err(Clone::clone)
    }
}

fn unusable(variable: &str, path: &Path, error: &io::Error) -> String {
    format!("`{variable}` names `{}`, which cannot be used: {error}", path.display())
}

pub(super) fn shown(path: &Path) -> String {
    format!("`{}`", path.display())
}

fn of_file(path: &Path, provider: &Arc<CryptoProvider>) -> io::Result<Arc<dyn ServerCertVerifier>> {
    let mut roots = RootCertStore::empty();
    let (usable, _ignored) = roots.add_parsable_certificates(system_store::read(path)?);
    if usable == 0 {
        return Err(io::Error::other("there is no usable certificate in it"));
    }
    webpki(roots, provider).map_err(|error| io::Error::other(error.to_string()))
}

pub(super) fn webpki(
    roots: RootCertStore,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ServerCertVerifier>, Error> {
    let builder =
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
    match builder.build() {
        Ok(verifier) => Ok(verifier),
        Err(error) => Err(Error::General(error.to_string())),
    }
}

const UNKNOWN: Error = Error::InvalidCertificate(CertificateError::UnknownIssuer);

/// The second is an issuer of a known name whose key did not sign this.
fn is_unknown(error: &Error) -> bool {
    matches!(
        error,
        Error::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature)
    )
}

impl fmt::Debug for Believed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Believed")
    }
}

impl ServerCertVerifier for Believed {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let checked = self.ask(|verifier| {
            verifier.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
        });
        checked.map_err(|error| {
            if !is_unknown(&error) {
                return error;
            }
            let issuer = missing_issuer(end_entity, intermediates);
            let unknown = Unknown { issuer, unused: self.unused() };
            Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(unknown))))
        })
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
