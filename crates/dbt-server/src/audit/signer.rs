//! The key that signs checkpoints of the record, in the state directory. Who has its public half
//! can tell that a checkpoint is this server's.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::rand::SystemRandom;
use ring::signature::{Ed25519KeyPair, KeyPair as _};

use super::checkpoint::PublicKey;

/// The name of the file.
pub const FILE: &str = "audit.key";

const BEGIN: &str = "-----BEGIN PRIVATE KEY-----\n";
const END: &str = "-----END PRIVATE KEY-----\n";

/// The longest file that could be a key.
const LIMIT: u64 = 4096;

/// The key.
pub struct Signer {
    pair: Ed25519KeyPair,
    public: PublicKey,
}

impl Signer {
    /// Reads the key of a state directory; nothing if there is none.
    pub fn read(directory: &Path, name: &str) -> io::Result<Option<Self>> {
        let file = match File::open(directory.join(FILE)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut text = String::new();
        file.take(LIMIT).read_to_string(&mut text)?;
        let invalid = || io::Error::other(format!("`{FILE}` is not a key"));
        let body = text.strip_prefix(BEGIN).and_then(|rest| rest.strip_suffix(END));
        let body: String = body.ok_or_else(invalid)?.split_whitespace().collect();
        let document = STANDARD.decode(body).map_err(|_error| invalid())?;
        Self::of(&document, name).map(Some).map_err(|_rejected| invalid())
    }

    /// Makes a key where there is none.
    pub fn make(directory: &Path, name: &str) -> io::Result<Self> {
        let failed = || io::Error::other("no key can be made");
        let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new());
        let document = document.map_err(|_unspecified| failed())?;
        let new = directory.join(format!("{FILE}.new"));
        let mut file =
            File::options().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        let body = STANDARD.encode(document.as_ref());
        file.write_all(format!("{BEGIN}{body}\n{END}").as_bytes())?;
        file.sync_all()?;
        super::segments::rename(&new, &directory.join(FILE))?;
        Self::of(document.as_ref(), name).map_err(|_rejected| failed())
    }

    /// Returns the public half.
    pub const fn public(&self) -> &PublicKey {
        &self.public
    }

    /// Returns the signature of a text.
    pub fn sign(&self, text: &[u8]) -> [u8; 64] {
        let mut signature = [0; 64];
        let made = self.pair.sign(text);
        for (to, from) in signature.iter_mut().zip(made.as_ref()) {
            *to = *from;
        }
        signature
    }

    fn of(document: &[u8], name: &str) -> Result<Self, ring::error::KeyRejected> {
        // `openssl genpkey` leaves the public half out of the file.
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(document)?;
        let mut bytes = [0; 32];
        for (to, from) in bytes.iter_mut().zip(pair.public_key().as_ref()) {
            *to = *from;
        }
        Ok(Self { pair, public: PublicKey::new(name, bytes) })
    }
}
