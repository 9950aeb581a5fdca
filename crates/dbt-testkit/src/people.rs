//! People with signing keys. The keys are the same in every run up to their dates, and good for
//! nothing else: their secrets are written here.

use std::fmt;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dbt_core::trust::fingerprint::Fingerprint;
use dbt_core::trust::openpgp::ARTIFACT_NOTATION;
use pgp::composed::{ArmorOptions, DetachedSignature, SignedKeyDetails, SignedPublicKey};
use pgp::crypto::ed25519;
use pgp::crypto::eddsa_legacy;
use pgp::crypto::hash::HashAlgorithm;
use pgp::crypto::public_key::PublicKeyAlgorithm;
use pgp::packet::{
    KeyFlags, Notation, PubKeyInner, PublicKey, RevocationCode, SecretKey, Signature,
    SignatureConfig, SignatureType, Subpacket, SubpacketData, UserId,
};
use pgp::types::{
    KeyDetails as _, KeyVersion, PacketHeaderVersion, Password, PlainSecretParams, PublicParams,
    SecretParams, SignedUser, Tag, Timestamp,
};

use crate::times::{DAY, days_ago};

/// Signs what everybody runs.
pub static ALICE: Person = Person::new("Alice", 1, 400, None);
/// Comes later; Alice stands behind him where a test says so.
pub static BOB: Person = Person::new("Bob", 2, 300, None);
/// Has been there from the beginning, beside Alice.
pub static CAROL: Person = Person::new("Carol", 3, 400, None);
/// Can write to the repository and should not.
pub static MALLORY: Person = Person::new("Mallory", 4, 200, None);
/// Her key expired 100 days ago.
pub static OLGA: Person = Person::new("Olga", 5, 400, Some(300));
/// Her key expires in 30 days.
pub static ERIN: Person = Person::new("Erin", 6, 400, Some(430));

/// Somebody with a signing key.
pub struct Person {
    name: &'static str,
    seed: u8,
    /// How many days ago the key was made.
    born: u32,
    /// For how many days it counts.
    life: Option<u32>,
    key: OnceLock<Key>,
}

struct Key {
    secret: SecretKey,
    user: SignedUser,
}

impl Person {
    const fn new(name: &'static str, seed: u8, born: u32, life: Option<u32>) -> Self {
        Self { name, seed, born, life, key: OnceLock::new() }
    }

    /// Returns the name as it stands in the certificate.
    pub fn user_id(&self) -> String {
        format!("{} <{}@example.org>", self.name, self.name.to_lowercase())
    }

    /// Returns the fingerprint of the key.
    pub fn fingerprint(&self) -> Fingerprint {
        let fingerprint = self.key().secret.fingerprint();
        format!("{fingerprint:X}").parse().expect("a fingerprint is one")
    }

    /// Returns the armored certificate.
    pub fn certificate(&self) -> String {
        armored(&self.public(Vec::new(), Vec::new()))
    }

    /// Returns the armored certificate with somebody else's certification on it.
    pub fn certified_by(&self, voucher: &Person) -> String {
        let mut draft = voucher.draft(SignatureType::CertGeneric, days_ago(1));
        draft.hashed_subpackets.push(regular(SubpacketData::ExportableCertification(true)));
        let certification = draft
            .sign_certification_third_party(
                &voucher.key().secret,
                &Password::empty(),
                self.key().secret.public_key(),
                Tag::UserId,
                &self.key().user.id,
            )
            .expect("a certification can be made");
        armored(&self.public(Vec::new(), vec![certification]))
    }

    /// Returns the armored certificate with its owner's revocation: the key was stolen.
    pub fn revoked(&self) -> String {
        let mut draft = self.draft(SignatureType::KeyRevocation, days_ago(1));
        let reason =
            SubpacketData::RevocationReason(RevocationCode::KeyCompromised, b"stolen"[..].into());
        draft.hashed_subpackets.push(regular(reason));
        let key = &self.key().secret;
        let revocation = draft
            .sign_key(key, &Password::empty(), key.public_key())
            .expect("a revocation can be made");
        armored(&self.public(vec![revocation], Vec::new()))
    }

    /// Signs some bytes at a time, naming what they are unless `binding` is nothing.
    pub fn sign(&self, bytes: &[u8], binding: Option<&str>, at: SystemTime) -> String {
        self.sign_otherwise(bytes, binding, at, |_draft| {})
    }

    /// Signs as [`sign`](Self::sign) does, after `change` to what kind of signature it is.
    pub(crate) fn sign_otherwise(
        &self,
        bytes: &[u8],
        binding: Option<&str>,
        at: SystemTime,
        change: impl FnOnce(&mut SignatureConfig),
    ) -> String {
        let mut draft = self.draft(SignatureType::Binary, at);
        change(&mut draft);
        if let Some(binding) = binding {
            draft.hashed_subpackets.push(regular(SubpacketData::Notation(Notation {
                readable: true,
                name: ARTIFACT_NOTATION.into(),
                value: binding.to_owned().into(),
            })));
        }
        let signature =
            draft.sign(&self.key().secret, &Password::empty(), bytes).expect("bytes can be signed");
        DetachedSignature::new(signature)
            .to_armored_string(ArmorOptions::default())
            .expect("a signature can be armored")
    }

    fn key(&self) -> &Key {
        self.key.get_or_init(|| {
            let secret = self.secret_key();
            let user = self.user(&secret);
            Key { secret, user }
        })
    }

    fn secret_key(&self) -> SecretKey {
        let secret =
            ed25519::SecretKey::try_from_bytes([self.seed; 32], ed25519::Mode::EdDSALegacy)
                .expect("any 32 bytes are a secret");
        let inner = PubKeyInner::new(
            KeyVersion::V4,
            PublicKeyAlgorithm::EdDSALegacy,
            timestamp(days_ago(self.born)),
            None,
            PublicParams::EdDSALegacy((&secret).into()),
        );
        let public = PublicKey::from_inner(inner.expect("a key fits its algorithm"));
        let secret = PlainSecretParams::EdDSALegacy(eddsa_legacy::SecretKey::Ed25519(secret));
        SecretKey::new(public.expect("a key can be written"), SecretParams::Plain(secret))
            .expect("a key can be written")
    }

    /// Says to whom the key belongs, for how long, and that it signs.
    fn user(&self, secret: &SecretKey) -> SignedUser {
        let id = UserId::from_str(PacketHeaderVersion::New, self.user_id())
            .expect("a name can be written");
        let mut flags = KeyFlags::default();
        flags.set_certify(true);
        flags.set_sign(true);
        let mut draft = drafted(secret, SignatureType::CertPositive, days_ago(self.born));
        draft.hashed_subpackets.push(regular(SubpacketData::KeyFlags(flags)));
        if let Some(days) = self.life {
            let life = u32::try_from(DAY.as_secs()).expect("a day is short") * days;
            let life = pgp::types::Duration::from_secs(life);
            draft.hashed_subpackets.push(regular(SubpacketData::KeyExpirationTime(life)));
        }
        let binding = draft
            .sign_certification(secret, secret.public_key(), &Password::empty(), Tag::UserId, &id)
            .expect("a name can be signed");
        SignedUser::new(id, vec![binding])
    }

    fn public(
        &self,
        revocations: Vec<Signature>,
        certifications: Vec<Signature>,
    ) -> SignedPublicKey {
        let Key { secret, user } = self.key();
        let mut user = user.clone();
        user.signatures.extend(certifications);
        let details = SignedKeyDetails::new(revocations, Vec::new(), vec![user], Vec::new());
        SignedPublicKey::new(secret.public_key().clone(), details, Vec::new())
    }

    fn draft(&self, kind: SignatureType, at: SystemTime) -> SignatureConfig {
        drafted(&self.key().secret, kind, at)
    }
}

impl fmt::Debug for Person {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// Begins a signature by a key at a time, with nothing more said in it.
fn drafted(key: &SecretKey, kind: SignatureType, at: SystemTime) -> SignatureConfig {
    let mut config = SignatureConfig::v4(kind, key.algorithm(), HashAlgorithm::Sha256);
    config.hashed_subpackets = vec![
        Subpacket::critical(SubpacketData::SignatureCreationTime(timestamp(at)))
            .expect("a time can be written"),
        regular(SubpacketData::IssuerFingerprint(key.fingerprint())),
    ];
    config
}

fn regular(data: SubpacketData) -> Subpacket {
    Subpacket::regular(data).expect("what a test says can be written")
}

fn timestamp(at: SystemTime) -> Timestamp {
    Timestamp::try_from(at).expect("tests happen between 1970 and 2106")
}

fn armored(key: &SignedPublicKey) -> String {
    key.to_armored_string(ArmorOptions::default()).expect("a certificate can be armored")
}

/// Puts several signatures into one block, in which a file has them.
pub fn together(signatures: &[String]) -> String {
    block_of(&signatures.iter().flat_map(|armored| packets_of(armored)).collect::<Vec<_>>())
}

/// Returns what is in the armor of a signature.
pub(crate) fn packets_of(armored: &str) -> Vec<u8> {
    let body = armored.split_once("\n\n").map_or("", |(_head, body)| body);
    let base64: String = body.lines().take_while(|line| !line.starts_with(['=', '-'])).collect();
    STANDARD.decode(base64).expect("what was armored is base64")
}

/// Puts packets into the armor of signatures.
pub(crate) fn block_of(packets: &[u8]) -> String {
    let body = STANDARD.encode(packets);
    format!("-----BEGIN PGP SIGNATURE-----\n\n{body}\n-----END PGP SIGNATURE-----\n")
}

/// Returns a time a little before now, at which an ordinary signature is made.
pub fn just_now() -> SystemTime {
    crate::times::now() - Duration::from_mins(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::times::now;
    use dbt_core::trust::keys::{Certificate, Keyring};
    use dbt_core::trust::openpgp::SignatureBlock;

    fn read(certificate: &str) -> Certificate {
        let keyring = Keyring::parse(certificate.as_bytes()).unwrap();
        assert_eq!(keyring.skipped, []);
        keyring.certificates.into_iter().next().unwrap()
    }

    #[test]
    fn certificates_are_what_they_are_said_to_be() {
        let (alice, olga) = (read(&ALICE.certificate()), read(&OLGA.certificate()));
        assert_eq!(alice.fingerprint(), &ALICE.fingerprint());
        assert_eq!((alice.expires(), alice.is_revoked()), (None, false));
        assert!(olga.expires().is_some_and(|expires| expires < now()));
        assert!(read(&ALICE.revoked()).is_revoked());
        assert!(read(&BOB.certified_by(&ALICE)).is_certified_by(&alice, now()));
        assert!(!read(&BOB.certificate()).is_certified_by(&alice, now()));
    }

    #[test]
    fn signatures_count_and_say_what_they_are_for() {
        let signature = ALICE.sign(b"content", Some("tool/a/1.0.0/linux/amd64"), just_now());
        let block = SignatureBlock::parse(signature.as_bytes()).unwrap();
        let digests = block.hash(&mut &b"content"[..], u64::MAX).unwrap();
        let judgement = block.judge(&digests, &[&read(&ALICE.certificate())], now());
        assert_eq!(judgement.refused, []);
        assert_eq!(judgement.good[0].notations, ["tool/a/1.0.0/linux/amd64"]);
    }
}
