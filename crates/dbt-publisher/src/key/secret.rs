//! A secret `OpenPGP` key in memory: made, read, unlocked, and used to sign.
//!
//! The arithmetic is rPGP's. What is made here is deliberately plain: version 4, Ed25519 in the
//! form that `gpg` and the reference know, SHA-256, one key that certifies and signs.

use std::io::Read;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use dbt_core::secret::Secret;
use dbt_core::trust::keys::Certificate;
use dbt_core::trust::openpgp::ARTIFACT_NOTATION;
use pgp::composed::{
    ArmorOptions, Deserializable as _, DetachedSignature, KeyType, SignedKeyDetails,
    SignedPublicKey, SignedSecretKey,
};
use pgp::crypto::eddsa_legacy::SecretKey as EddsaSecretKey;
use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{
    KeyFlags, Notation, PubKeyInner, PublicKey, SecretKey as PrimaryKey, SignatureConfig,
    SignatureType, Subpacket, SubpacketData, UserId,
};
use pgp::types::{
    EddsaLegacyPublicParams, KeyDetails as _, KeyVersion, PacketHeaderVersion, Password,
    PlainSecretParams, PublicParams, SecretParams, SigningKey, Tag, Timestamp,
};
use rand_core::OsRng;

use super::certificate::{self, BadCertificate};

/// What a new key is made of.
pub(crate) struct NewKey<'a> {
    /// `Name <address>`, or the name alone.
    pub(crate) user: &'a str,
    /// How long it is valid; for ever when there is nothing.
    pub(crate) lifetime: Option<Duration>,
    /// When it is made.
    pub(crate) now: SystemTime,
}

impl NewKey<'_> {
    /// Returns what its certificate says of it: that it certifies and signs, and how long it is valid.
    pub(super) fn claims(&self) -> Result<Vec<SubpacketData>, KeyError> {
        let mut flags = KeyFlags::default();
        flags.set_certify(true);
        flags.set_sign(true);
        let mut said = vec![SubpacketData::KeyFlags(flags), SubpacketData::IsPrimary(true)];
        if let Some(lifetime) = self.lifetime {
            let seconds = u32::try_from(lifetime.as_secs()).map_err(KeyError::make)?;
            said.push(SubpacketData::KeyExpirationTime(pgp::types::Duration::from_secs(seconds)));
        }
        Ok(said)
    }

    /// Returns whose it is.
    pub(super) fn user(&self) -> Result<UserId, KeyError> {
        UserId::from_str(PacketHeaderVersion::New, self.user).map_err(KeyError::make)
    }
}

/// Makes a key and returns it, locked and armored, with its certificate.
pub(crate) fn generate(
    wanted: &NewKey<'_>,
    passphrase: &Secret<String>,
) -> Result<(Secret<String>, Certificate), KeyError> {
    let kind = KeyType::Ed25519Legacy;
    let created = timestamp(wanted.now);
    let (public, secret) = kind.generate(OsRng).map_err(KeyError::make)?;
    let public = PubKeyInner::new(KeyVersion::V4, kind.to_alg(), created, None, public)
        .and_then(PublicKey::from_inner)
        .map_err(KeyError::make)?;
    let mut primary = PrimaryKey::new(public.clone(), secret).map_err(KeyError::make)?;

    let user = wanted.user()?;
    let claim = configured(&primary, SignatureType::CertPositive, wanted.now, wanted.claims()?)?
        .sign_certification(&primary, &public, &Password::empty(), Tag::UserId, &user)
        .map_err(KeyError::make)?;
    primary.set_password(OsRng, &password(passphrase)).map_err(KeyError::make)?;

    let details = SignedKeyDetails::new(vec![], vec![], vec![user.into_signed(claim)], vec![]);
    let key = SignedSecretKey::new(primary, details, vec![], vec![]);
    let armored = key.to_armored_string(ArmorOptions::default()).map_err(KeyError::make)?;
    let certificate = certificate::read_back(&key.to_public_key())?;
    Ok((Secret::new(armored), certificate))
}

/// A secret key that was read and may still be locked.
pub(crate) struct KeyFile {
    key: SignedSecretKey,
}

impl KeyFile {
    /// Reads an armored secret key.
    pub(crate) fn read(armored: &Secret<String>) -> Result<Self, KeyError> {
        // What the library complains about may repeat what it has read, which is the key.
        let (key, _headers) =
            SignedSecretKey::from_string(armored.expose()).map_err(|_error| KeyError::NotAKey)?;
        if key.primary_key.version() != KeyVersion::V4 {
            return Err(KeyError::Version);
        }
        Ok(Self { key })
    }

    /// Returns the public half.
    pub(crate) fn certificate(&self) -> Result<Certificate, KeyError> {
        Ok(certificate::read_back(&self.key.to_public_key())?)
    }

    /// Returns the public point of the primary key, if that is an ed25519 key.
    pub(crate) fn ed25519(&self) -> Option<[u8; 32]> {
        let PublicParams::EdDSALegacy(EddsaLegacyPublicParams::Ed25519 { key }) =
            self.key.primary_key.public_params()
        else {
            return None;
        };
        Some(key.to_bytes())
    }

    /// Says whether a passphrase is needed.
    pub(crate) fn is_locked(&self) -> bool {
        let locked = |params: &SecretParams| matches!(params, SecretParams::Encrypted(_));
        let subkeys = self.key.secret_subkeys.iter();
        locked(self.key.primary_key.secret_params())
            || subkeys.map(|subkey| subkey.key.secret_params()).any(locked)
    }

    /// Unlocks what can be unlocked. At least one key that may sign must be.
    pub(crate) fn unlock(mut self, passphrase: &Secret<String>) -> Result<SecretKey, KeyError> {
        let password = password(passphrase);
        // The secret half of the primary key is often kept elsewhere; then that one stays locked.
        let mut unlocked = self.key.primary_key.remove_password(&password).is_ok();
        for subkey in &mut self.key.secret_subkeys {
            unlocked |= subkey.key.remove_password(&password).is_ok();
        }
        if unlocked { SecretKey::of(self.key) } else { Err(KeyError::Passphrase) }
    }
}

/// A secret key that can sign.
pub(crate) struct SecretKey {
    key: SignedSecretKey,
    certificate: Certificate,
    /// The subkey that signs files; nothing when the primary key does.
    signs: Option<usize>,
}

impl SecretKey {
    fn of(key: SignedSecretKey) -> Result<Self, KeyError> {
        let certificate = certificate::read_back(&key.to_public_key())?;
        let open = |params: &SecretParams| matches!(params, SecretParams::Plain(_));
        let subkeys = key.secret_subkeys.iter().enumerate().filter(|(_index, subkey)| {
            open(subkey.key.secret_params())
                && subkey.signatures.iter().any(|signature| signature.key_flags().sign())
        });
        let newest = subkeys.max_by_key(|(_index, subkey)| subkey.key.created_at().as_secs());
        let signs = newest.map(|(index, _subkey)| index);
        if signs.is_none() && !open(key.primary_key.secret_params()) {
            return Err(KeyError::Passphrase);
        }
        Ok(Self { key, certificate, signs })
    }

    /// Returns the public half.
    pub(crate) const fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// Returns what the primary key is made from, if that is an ed25519 key.
    pub(crate) fn ed25519_seed(&self) -> Option<Secret<[u8; 32]>> {
        let SecretParams::Plain(PlainSecretParams::EdDSALegacy(EddsaSecretKey::Ed25519(key))) =
            self.key.primary_key.secret_params()
        else {
            return None;
        };
        Some(Secret::new(*key.as_bytes()))
    }

    /// Makes a detached signature with SHA-256 that says what it is for.
    pub(crate) fn sign(
        &self,
        content: &mut dyn Read,
        binding: &str,
        now: SystemTime,
    ) -> Result<Vec<u8>, KeyError> {
        let signature = match self.signs.and_then(|index| self.key.secret_subkeys.get(index)) {
            Some(subkey) => detached(&subkey.key, content, binding, now)?,
            None => detached(&self.key.primary_key, content, binding, now)?,
        };
        certificate::armored_block(&[signature]).map_err(KeyError::from)
    }

    /// Certifies another certificate: see [`certified`].
    pub(crate) fn certify(
        &self,
        other: &Certificate,
        now: SystemTime,
    ) -> Result<SignedPublicKey, KeyError> {
        certified(&self.key.primary_key, other, now)
    }
}

/// Certifies every user id of another certificate, for everybody to see, and returns the other
/// certificate with that and without what further people have said of it.
pub(crate) fn certified(
    key: &impl SigningKey,
    other: &Certificate,
    now: SystemTime,
) -> Result<SignedPublicKey, KeyError> {
    let mut other = certificate::minimal(other)?;
    let primary = other.primary_key.clone();
    for user in &mut other.details.users {
        let config = configured(
            key,
            SignatureType::CertGeneric,
            now,
            vec![SubpacketData::ExportableCertification(true)],
        )?;
        let certification = config
            .sign_certification_third_party(
                key,
                &Password::empty(),
                &primary,
                Tag::UserId,
                &user.id,
            )
            .map_err(KeyError::sign)?;
        user.signatures.push(certification);
    }
    Ok(other)
}

/// Makes a detached signature with SHA-256 that says what it is for.
pub(crate) fn detached(
    key: &impl SigningKey,
    content: &mut dyn Read,
    binding: &str,
    now: SystemTime,
) -> Result<DetachedSignature, KeyError> {
    let notation = Notation {
        readable: true,
        name: ARTIFACT_NOTATION.into(),
        value: binding.to_owned().into(),
    };
    let config =
        configured(key, SignatureType::Binary, now, vec![SubpacketData::Notation(notation)])?;
    let signature = config.sign(key, &Password::empty(), content).map_err(KeyError::sign)?;
    Ok(DetachedSignature::new(signature))
}

/// Begins a signature of version 4 with SHA-256, dated and with its maker's name.
pub(super) fn configured(
    key: &impl SigningKey,
    kind: SignatureType,
    now: SystemTime,
    said: Vec<SubpacketData>,
) -> Result<SignatureConfig, KeyError> {
    let mut config = SignatureConfig::v4(kind, key.algorithm(), HashAlgorithm::Sha256);
    let first = [
        SubpacketData::SignatureCreationTime(timestamp(now)),
        SubpacketData::IssuerFingerprint(key.fingerprint()),
    ];
    let hashed = first.into_iter().chain(said).map(Subpacket::regular);
    config.hashed_subpackets = hashed.collect::<Result<_, _>>().map_err(KeyError::sign)?;
    let issuer = SubpacketData::IssuerKeyId(key.legacy_key_id());
    config.unhashed_subpackets = vec![Subpacket::regular(issuer).map_err(KeyError::sign)?];
    Ok(config)
}

pub(super) fn timestamp(time: SystemTime) -> Timestamp {
    let seconds = time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    Timestamp::from_secs(u32::try_from(seconds).unwrap_or(u32::MAX))
}

fn password(passphrase: &Secret<String>) -> Password {
    Password::from(passphrase.expose().as_str())
}

/// Why a secret key is of no use. No text of the key or the passphrase is ever in it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum KeyError {
    /// The text is something else.
    #[error("it is not an armored OpenPGP secret key (`-----BEGIN PGP PRIVATE KEY BLOCK-----`)")]
    NotAKey,
    /// A version that other clients do not read.
    #[error("it is not a key of version 4, and other clients cannot read its signatures")]
    Version,
    /// The passphrase is wrong, or the secret half is elsewhere.
    #[error("the passphrase does not unlock it")]
    Passphrase,
    /// The public half is not one that clients accept.
    #[error("its public half cannot be used")]
    Certificate(#[from] BadCertificate),
    /// The library refused to make a key.
    #[error("failed to make a key: {0}")]
    Make(String),
    /// The library refused to sign.
    #[error("failed to sign: {0}")]
    Sign(String),
}

impl crate::stop::Explained for KeyError {
    fn code(&self) -> dbt_ui::exit_code::ExitCode {
        dbt_ui::exit_code::ExitCode::CONFIGURATION
    }
}

impl KeyError {
    pub(super) fn make(error: impl std::fmt::Display) -> Self {
        Self::Make(error.to_string())
    }

    pub(super) fn sign(error: impl std::fmt::Display) -> Self {
        Self::Sign(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dbt_core::trust::openpgp::SignatureBlock;

    const NOW: SystemTime = UNIX_EPOCH;

    fn now() -> SystemTime {
        NOW + Duration::from_hours(500_000)
    }

    fn made(user: &str) -> (Secret<String>, Certificate) {
        let lifetime = Some(Duration::from_hours(24));
        let passphrase = Secret::new("wonderland".to_owned());
        generate(&NewKey { user, lifetime, now: now() }, &passphrase).unwrap()
    }

    fn unlocked(armored: &Secret<String>) -> SecretKey {
        let file = KeyFile::read(armored).unwrap();
        assert!(file.is_locked());
        file.unlock(&Secret::new("wonderland".to_owned())).unwrap()
    }

    #[test]
    fn a_new_key_is_locked_expires_and_signs_what_our_verifier_accepts() {
        let (armored, certificate) = made("Alice <alice@example.org>");
        assert_eq!(certificate.name(), "Alice <alice@example.org>");
        assert_eq!(certificate.expires(), Some(now() + Duration::from_hours(24)));
        let key = unlocked(&armored);
        let signature = key.sign(&mut &b"bytes"[..], "tool/x/1.0.0/linux/amd64", now()).unwrap();
        let block = SignatureBlock::parse(&signature).unwrap();
        let digests = block.hash(&mut &b"bytes"[..], 100).unwrap();
        let judgement = block.judge(&digests, &[&certificate], now());
        assert_eq!(judgement.good.len(), 1, "{judgement:?}");
        assert_eq!(judgement.good[0].notations, ["tool/x/1.0.0/linux/amd64"]);
    }

    #[test]
    fn a_wrong_passphrase_unlocks_nothing_and_no_error_repeats_it() {
        let (armored, _certificate) = made("Alice");
        let file = KeyFile::read(&armored).unwrap();
        let error = file.unlock(&Secret::new("looking-glass".to_owned())).err().unwrap();
        assert_eq!(error.to_string(), "the passphrase does not unlock it");
        let error = KeyFile::read(&Secret::new("hunter2".to_owned())).err().unwrap();
        assert!(!format!("{error} {error:?}").contains("hunter2"));
    }

    #[test]
    fn a_certified_certificate_is_vouched_for_by_its_certifier_alone() {
        let (alice, alices) = made("Alice");
        let (_bob, bobs) = made("Bob");
        let certified = unlocked(&alice).certify(&bobs, now()).unwrap();
        let certified = certificate::read_back(&certified).unwrap();
        assert!(certified.is_certified_by(&alices, now()));
        assert!(!bobs.is_certified_by(&alices, now()));
        let stripped = certificate::read_back(&certificate::minimal(&certified).unwrap()).unwrap();
        assert!(!stripped.is_certified_by(&alices, now()));
    }
}
