//! Certificates and signatures made by `gpg` (`fixtures/make`), whose secret keys are gone.

use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dbt_core::trust::keys::Keyring;
use dbt_core::trust::memory::{Demands, TrustMemory};
use dbt_core::trust::{Confirmation, TrustRules, TrustStore};

/// The bytes that were signed.
pub const CONTENT: &[u8] = include_bytes!("../fixtures/content");

/// Certificates in force: of four algorithms and a signing subkey, one that expired, and one that
/// alice stands behind.
pub const TRUSTED: [&[u8]; 6] = [
    include_bytes!("../fixtures/alice.cert"),
    include_bytes!("../fixtures/rita.cert"),
    include_bytes!("../fixtures/nina.cert"),
    include_bytes!("../fixtures/carol.cert"),
    include_bytes!("../fixtures/bob.cert"),
    include_bytes!("../fixtures/edith.cert"),
];

/// Bob's certificate, revoked.
pub const REVOKED: &[u8] = include_bytes!("../fixtures/bob-revoked.cert");

/// The certificate of somebody who is not in the truststore.
pub const STRANGER: &[u8] = include_bytes!("../fixtures/mallory.cert");

/// Signatures over [`CONTENT`] by those in the truststore.
pub const SIGNATURES: [&[u8]; 7] = [
    include_bytes!("../fixtures/alice.asc"),
    include_bytes!("../fixtures/rita.asc"),
    include_bytes!("../fixtures/nina.asc"),
    include_bytes!("../fixtures/carol.asc"),
    include_bytes!("../fixtures/unbound.asc"),
    include_bytes!("../fixtures/other.asc"),
    include_bytes!("../fixtures/two.asc"),
];

/// The stranger's signature over [`CONTENT`].
pub const STRANGERS: &[u8] = include_bytes!("../fixtures/mallory.asc");

/// When everything in here was signed.
pub fn signed() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_hours(485_772)
}

/// The time at which targets look.
pub fn now() -> SystemTime {
    signed() + Duration::from_hours(100 * 24)
}

/// Returns the trusted certificates as a truststore file.
pub fn truststore() -> Vec<u8> {
    TRUSTED.concat()
}

/// Returns the trusted certificates, read.
pub fn keyring() -> &'static Keyring {
    static KEYRING: OnceLock<Keyring> = OnceLock::new();
    KEYRING.get_or_init(|| Keyring::parse(&truststore()).expect("GnuPG wrote it"))
}

/// Returns the trusted certificates, in force.
pub fn store() -> &'static TrustStore {
    static STORE: OnceLock<TrustStore> = OnceLock::new();
    STORE.get_or_init(|| {
        let rules = TrustRules::default();
        let demands = Demands { rules: &rules, strict: false };
        let memory = TrustMemory::default();
        let confirmed = Confirmation::Confirmed;
        let assembly = memory.assemble(keyring().clone(), None, demands, confirmed, now());
        assembly.expect("they are established at first sight").store
    })
}

/// Returns the bytes in an armored block.
pub fn dearmored(block: &[u8]) -> Vec<u8> {
    let text = std::str::from_utf8(block).expect("armor is text");
    let lines = text.lines().skip_while(|line| !line.is_empty());
    let digits = lines.take_while(|line| !line.starts_with(['=', '-']));
    STANDARD.decode(digits.collect::<String>()).expect("GnuPG wrote it")
}

/// Returns an armored block with these bytes, without a checksum.
pub fn armored(kind: &str, bytes: &[u8]) -> Vec<u8> {
    let digits = STANDARD.encode(bytes);
    let lines = digits.as_bytes().chunks(64).map(|line| String::from_utf8_lossy(line) + "\n");
    let body: String = lines.collect();
    format!("-----BEGIN PGP {kind}-----\n\n{body}-----END PGP {kind}-----\n").into_bytes()
}

/// Returns the base64 of some bytes.
pub fn base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}
