//! Stored passwords: the forms of an htpasswd file, and comparing with them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use md5::Md5;
use sha_crypt::{PasswordHashRef, PasswordVerifier as _, ShaCrypt};
use sha1::Sha1;
use sha2::Digest as _;
use subtle::ConstantTimeEq as _;

/// A stored password, of a form that is accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Stored {
    /// `$2a$`, `$2b$`, `$2x$`, `$2y$`: they are all read as `$2b$`.
    Bcrypt(String),
    /// `$5$` and `$6$`.
    ShaCrypt(String),
    /// `$apr1$` and `$1$`.
    Md5Crypt {
        /// The text before the salt.
        magic: &'static str,
        /// The salt.
        salt: String,
        /// What the password and the salt make.
        hash: String,
    },
    /// `{SHA}`.
    Sha1([u8; 20]),
}

/// The longest password. Some forms take a time that grows with it.
const LENGTH_LIMIT: usize = 256;

/// What bcrypt looks at; the rest would be ignored.
const BCRYPT_LIMIT: usize = 72;

/// The most work that one comparison may be: about a second.
const BCRYPT_COST_LIMIT: u32 = 14;
const ROUNDS_LIMIT: u32 = 1_000_000;

impl Stored {
    /// Reads a stored password, or says why its form is not accepted.
    pub(super) fn parse(text: &str) -> Result<Self, &'static str> {
        if let Some(encoded) = text.strip_prefix("{SHA}") {
            let digest = STANDARD.decode(encoded).ok().and_then(|bytes| bytes.try_into().ok());
            return digest.map(Self::Sha1).ok_or("it is no `{SHA}`");
        }
        let mut fields = text.split('$');
        match (fields.next(), fields.next()) {
            (Some(""), Some("2a" | "2b" | "2x" | "2y")) => bcrypt_of(text),
            (Some(""), Some("5" | "6")) => sha_crypt_of(text),
            (Some(""), Some("apr1")) => md5_crypt_of("$apr1$", fields),
            (Some(""), Some("1")) => md5_crypt_of("$1$", fields),
            (Some(""), Some("2")) => Err("the first bcrypt (`$2$`) is not accepted"),
            (Some(""), Some("y" | "gy" | "7")) => Err("yescrypt and scrypt are not accepted"),
            (Some(""), _) => Err("its form is unknown"),
            _ => Err("DES crypt and plain text are not accepted"),
        }
    }

    /// Compares with a password. It takes a while, by intent.
    pub(super) fn accepts(&self, password: &str) -> bool {
        // Programs in C take a NUL for the end, and would compare the rest with nothing.
        if password.len() > LENGTH_LIMIT || password.contains('\0') {
            return false;
        }
        match self {
            Self::Bcrypt(hash) => {
                password.len() <= BCRYPT_LIMIT && bcrypt::verify(password, hash).unwrap_or(false)
            }
            Self::ShaCrypt(hash) => PasswordHashRef::new(hash).is_ok_and(|hash| {
                ShaCrypt::default().verify_password(password.as_bytes(), hash).is_ok()
            }),
            Self::Md5Crypt { magic, salt, hash } => {
                let made = md5_crypt(password.as_bytes(), salt.as_bytes(), magic.as_bytes());
                made.as_bytes().ct_eq(hash.as_bytes()).into()
            }
            Self::Sha1(digest) => Sha1::digest(password).as_slice().ct_eq(digest).into(),
        }
    }

    /// Returns how much work a comparison is.
    pub(super) fn effort(&self) -> Effort {
        match self {
            Self::Bcrypt(hash) => Effort::Bcrypt { cost: cost(hash).unwrap_or_default() },
            Self::ShaCrypt(hash) => {
                Effort::ShaCrypt { long: hash.starts_with("$6$"), rounds: rounds(hash) }
            }
            Self::Md5Crypt { .. } => Effort::Md5Crypt,
            Self::Sha1(_digest) => Effort::Sha1,
        }
    }
}

/// How much work a comparison is: two of the same effort take the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Effort {
    /// One hash.
    Sha1,
    /// A thousand hashes.
    Md5Crypt,
    /// So many rounds of SHA-256, or of SHA-512.
    ShaCrypt {
        /// Whether it is SHA-512.
        long: bool,
        /// How many.
        rounds: Option<u32>,
    },
    /// Two to the power of the cost.
    Bcrypt {
        /// The cost.
        cost: u32,
    },
}

fn bcrypt_of(text: &str) -> Result<Stored, &'static str> {
    let rest = text.get(3..).unwrap_or_default();
    let hash = format!("$2b{}", rest.strip_prefix(['a', 'b', 'x', 'y']).unwrap_or(rest));
    if cost(&hash).is_none_or(|cost| cost > BCRYPT_COST_LIMIT) {
        return Err("its bcrypt cost is above 14");
    }
    match hash.parse::<bcrypt::HashParts>() {
        Ok(_parts) => Ok(Stored::Bcrypt(hash)),
        Err(_error) => Err("it is no bcrypt"),
    }
}

fn cost(hash: &str) -> Option<u32> {
    hash.split('$').nth(2)?.parse().ok()
}

fn sha_crypt_of(text: &str) -> Result<Stored, &'static str> {
    if rounds(text).is_some_and(|rounds| rounds > ROUNDS_LIMIT) {
        return Err("it has more than a million rounds");
    }
    let length = if text.starts_with("$5$") { 43 } else { 86 };
    let is_whole = text.rsplit('$').next().is_some_and(|hash| hash.len() == length);
    match PasswordHashRef::new(text) {
        Ok(_hash) if is_whole => Ok(Stored::ShaCrypt(text.to_owned())),
        _ => Err("it is no SHA-crypt"),
    }
}

fn rounds(text: &str) -> Option<u32> {
    text.split('$').nth(2)?.strip_prefix("rounds=")?.parse().ok()
}

fn md5_crypt_of<'a>(
    magic: &'static str,
    mut fields: impl Iterator<Item = &'a str>,
) -> Result<Stored, &'static str> {
    match (fields.next(), fields.next(), fields.next()) {
        (Some(salt), Some(hash), None) if hash.len() == 22 => {
            // No program makes longer ones, and the rest would be ignored.
            let salt = salt.chars().take(8).collect();
            Ok(Stored::Md5Crypt { magic, salt, hash: hash.to_owned() })
        }
        _ => Err("it is no MD5-crypt"),
    }
}

/// MD5-crypt, as FreeBSD made it and Apache took it over with another magic.
fn md5_crypt(password: &[u8], salt: &[u8], magic: &[u8]) -> String {
    let inner: [u8; 16] = Md5::new()
        .chain_update(password)
        .chain_update(salt)
        .chain_update(password)
        .finalize()
        .into();
    let mut outer = Md5::new().chain_update(password).chain_update(magic).chain_update(salt);
    for piece in password.chunks(inner.len()) {
        outer.update(inner.get(..piece.len()).unwrap_or_default());
    }
    let mut bits = password.len();
    while bits > 0 {
        let first = password.get(..1).unwrap_or_default();
        outer.update(if bits & 1 == 1 { &[0] } else { first });
        bits >>= 1;
    }
    let mut digest: [u8; 16] = outer.finalize().into();
    for round in 0..1000_u32 {
        let odd = round % 2 == 1;
        let mut next = Md5::new();
        next.update(if odd { password } else { &digest });
        if round % 3 != 0 {
            next.update(salt);
        }
        if round % 7 != 0 {
            next.update(password);
        }
        next.update(if odd { digest.as_slice() } else { password });
        digest = next.finalize().into();
    }
    encoded(&digest)
}

/// Writes a digest of MD5-crypt, in the order and with the letters of `crypt`.
fn encoded(digest: &[u8; 16]) -> String {
    const LETTERS: &[u8; 64] = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let mut text = String::with_capacity(22);
    let mut add = |mut value: u32, count: usize| {
        for _letter in 0..count {
            text.push(char::from(LETTERS[(value & 63) as usize]));
            value >>= 6;
        }
    };
    let byte = |at: usize| u32::from(digest[at]);
    for (high, middle, low) in [(0, 6, 12), (1, 7, 13), (2, 8, 14), (3, 9, 15), (4, 10, 5)] {
        add(byte(high) << 16 | byte(middle) << 8 | byte(low), 4);
    }
    add(byte(11), 2);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every form that is accepted, of the password `pw`. Made by openssl, Apache and mkpasswd.
    const PW: [&str; 9] = [
        "$apr1$abcdefgh$5VEbMkemELfbhC5ck.U.z1",
        "$1$abcdefgh$IQtUouv7y7Q9dRWkQEPCc.",
        "{SHA}GpHWL3ymc5liWkNopqtdSjuqYHM=",
        "$2y$04$85ky.r11cMonBFtQcHMF5.9EnMTcAJ6bNdJbszYtARtJRuCATf77K",
        "$2a$04$85ky.r11cMonBFtQcHMF5.9EnMTcAJ6bNdJbszYtARtJRuCATf77K",
        "$2b$04$85ky.r11cMonBFtQcHMF5.9EnMTcAJ6bNdJbszYtARtJRuCATf77K",
        "$2x$04$85ky.r11cMonBFtQcHMF5.9EnMTcAJ6bNdJbszYtARtJRuCATf77K",
        SHA256,
        SHA512,
    ];
    const SHA256: &str = "$5$saltsalt$0rl.MZtoLLPP3X0Rdl8riRnphIcAXJY27/aOAyK2hB5";
    const SHA512: &str = "$6$saltsalt$pauPrmdmG4BTE9h2HPmywiw152IFch6BJCEsaY6D.PLTfpV8sqvXwWdyfsgVgozkYH9B80bAip/08R2BPH2xk/";

    #[test]
    fn every_form_accepts_its_password_and_no_other() {
        for stored in PW {
            let parsed = Stored::parse(stored).unwrap();
            assert!(parsed.accepts("pw"), "{stored}");
            for wrong in ["", "p", "PW", "pw ", "pw\0", "pwpw", stored] {
                assert!(!parsed.accepts(wrong), "{stored} {wrong:?}");
            }
        }
    }

    #[test]
    fn other_forms_are_refused_in_words_and_nothing_panics() {
        for stored in [
            "",
            "pw",
            "$",
            "$$",
            "$2$04$85ky.r11cMonBFtQcHMF5.9EnMTcAJ6bNdJbszYtARtJRuCATf77K",
            "$2b$31$85ky.r11cMonBFtQcHMF5.9EnMTcAJ6bNdJbszYtARtJRuCATf77K",
            "$2b$04$85ky",
            "$2b$",
            "$2b",
            "$y$j9T$x$y",
            "rqXexS6ZhobKA",
            "{SHA}",
            "{SHA}AAAA",
            "{SHA}!",
            "{SSHA}GpHWL3ymc5liWkNopqtdSjuqYHM=",
            "$apr1$",
            "$apr1$abcdefgh$",
            "$1$abcdefgh",
            "$5$",
            "$5$salt$",
            "$6$rounds=999999999$salt$x",
            "$6$\u{e9}$x",
        ] {
            assert!(Stored::parse(stored).is_err(), "{stored}");
        }
    }

    #[test]
    fn a_password_that_bcrypt_would_cut_is_refused() {
        let long = "x".repeat(80);
        let hash = bcrypt::hash(long.get(..72).unwrap(), 4).unwrap();
        let stored = Stored::parse(&hash).unwrap();
        assert!(stored.accepts(long.get(..72).unwrap()));
        assert!(!stored.accepts(&long));
    }

    #[test]
    fn long_and_empty_passwords_are_hashed_as_openssl_does() {
        for (password, stored) in [
            ("", "$apr1$abcd$xc0GS6mcK/RPjawIVUTD1/"),
            (
                "a password of more than sixteen letters, and then some more",
                "$1$abcdefgh$VDiStwNfxAdaOTqkpSV/00",
            ),
        ] {
            assert!(Stored::parse(stored).unwrap().accepts(password), "{stored}");
        }
    }
}
