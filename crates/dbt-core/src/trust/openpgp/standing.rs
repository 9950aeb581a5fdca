//! What a certificate says of itself, checked: for how long a key is valid, what it may be used
//! for, and since when it is revoked.
//!
//! `rpgpie`'s `Checked` answers the same questions and is not used. Its choice of the self
//! signature in force asks the system's clock; it ignores revocations made with old hash
//! algorithms or dated before the key; it believes a back signature in the unhashed area (where
//! `gpg` puts it) without verifying it; and it adds 32-bit times without looking for overflow.

use pgp::packet::{PublicKey, RevocationCode, Signature, SignatureType, SubpacketData};
use pgp::types::KeyDetails;

use super::arithmetic::{KnownGood, Statement};
use super::policy;
use crate::trust::keys::{Subkey, User};

/// How many embedded signatures of one binding are tried as its back signature.
const BACK_SIGNATURES_TRIED: usize = 4;

/// How many signatures may be verified before we give up: verification is slow, and a certificate
/// is written by whoever serves the file. What is known to be good counts too, so that nothing
/// depends on what is remembered.
#[derive(Debug)]
pub(in crate::trust) struct Budget {
    left: usize,
    known: KnownGood,
}

impl Budget {
    pub(in crate::trust) fn new(limit: usize, known: &KnownGood) -> Self {
        Self { left: limit, known: known.clone() }
    }

    /// Runs `check` with at most `limit` of what is left.
    pub(in crate::trust) fn within<T>(
        &mut self,
        limit: usize,
        check: impl FnOnce(&mut Self) -> T,
    ) -> T {
        let allowed = limit.min(self.left);
        let mut part = Self::new(allowed, &self.known);
        let result = check(&mut part);
        self.left -= allowed - part.left;
        result
    }

    /// Checks that a signature is good for a statement, if that may still be found out.
    pub(in crate::trust) fn admits(
        &mut self,
        statement: &Statement<'_>,
        signature: &Signature,
    ) -> Result<bool, OutOfBudget> {
        self.left = self.left.checked_sub(1).ok_or(OutOfBudget)?;
        Ok(self.known.admits(statement, signature))
    }

    /// What is known to be good, for the certificates that are read with this budget.
    pub(in crate::trust) const fn known(&self) -> &KnownGood {
        &self.known
    }
}

/// One verified self or binding signature. Times are seconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::trust) struct Claim {
    made: u64,
    /// When the claim itself stops counting.
    until: Option<u64>,
    /// When the key it is about expires.
    pub(in crate::trust) key_until: Option<u64>,
    /// What the key may be used for; `None` if the claim does not say.
    pub(in crate::trust) may_certify: Option<bool>,
    pub(in crate::trust) may_sign: Option<bool>,
    names_primary_user: bool,
    /// Whether a subkey that may sign has confirmed, with its own signature, whose it is.
    pub(in crate::trust) confirmed: bool,
}

impl Claim {
    fn of(signature: &Signature, key_created: u64) -> Option<Self> {
        let made = policy::made(signature)?;
        let acceptable = made >= key_created
            && policy::accepts_self_signature_hash(signature.hash_alg()?, made)
            && policy::unknown_critical(signature).is_none();
        if !acceptable {
            return None;
        }
        let flags = signature.config()?.hashed_subpackets().find_map(|subpacket| {
            let SubpacketData::KeyFlags(flags) = &subpacket.data else {
                return None;
            };
            Some(flags)
        });
        let lifetime =
            signature.key_expiration_time().map_or(0, |lifetime| u64::from(lifetime.as_secs()));
        Some(Self {
            made,
            until: policy::until(signature, made),
            key_until: (lifetime != 0).then(|| key_created + lifetime),
            may_certify: flags.map(pgp::packet::KeyFlags::certify),
            may_sign: flags.map(pgp::packet::KeyFlags::sign),
            names_primary_user: signature.is_primary(),
            confirmed: false,
        })
    }
}

/// One verified revocation. It counts whatever its hash algorithm and its date: refusing one
/// would help only whoever holds the key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::trust) struct Revocation {
    made: u64,
    hard: bool,
}

impl Revocation {
    fn of(signature: &Signature) -> Self {
        let soft = matches!(
            signature.revocation_reason_code(),
            Some(
                RevocationCode::KeySuperseded
                    | RevocationCode::KeyRetired
                    | RevocationCode::CertUserIdInvalid
            )
        );
        let made = policy::made(signature);
        // A soft revocation that does not say since when revokes from the beginning.
        Self { made: made.unwrap_or(0), hard: !soft || made.is_none() }
    }
}

/// Whether some revocation concerns something signed at a certain time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::trust) enum Revoked {
    /// Not revoked, or not yet.
    No,
    /// The key was given up before that time; what it signed earlier stays good.
    Since(u64),
    /// The key may be in wrong hands: nothing it signed counts, whenever.
    Entirely,
}

/// Decides what the revocations mean for something signed at `time`.
pub(in crate::trust) fn revoked_at(revocations: &[Revocation], time: u64) -> Revoked {
    if revocations.iter().any(|revocation| revocation.hard) {
        return Revoked::Entirely;
    }
    match revocations.iter().map(|revocation| revocation.made).min() {
        Some(made) if made <= time => Revoked::Since(made),
        _ => Revoked::No,
    }
}

/// The claim in force at `time`: the newest made by then, or, if the certificate was cleaned of
/// its old ones, the newest that exists. Claims from our future are not believed.
fn in_force<'a>(
    claims: impl IntoIterator<Item = &'a Claim>,
    time: u64,
    now: u64,
) -> Option<&'a Claim> {
    claims
        .into_iter()
        .filter(|claim| claim.made <= now.saturating_add(policy::CLOCK_SKEW))
        .filter(|claim| claim.until.is_none_or(|until| until > time))
        .max_by_key(|claim| (claim.made <= time, claim.made))
}

/// What the primary key says of itself and of its user ids.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(in crate::trust) struct Standing {
    is_version_6: bool,
    pub(in crate::trust) revocations: Vec<Revocation>,
    direct: Vec<Claim>,
    /// In the order of the certificate's user ids.
    users: Vec<UserStanding>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct UserStanding {
    claims: Vec<Claim>,
    revocations: Vec<Revocation>,
}

/// The certificate has more self-signatures than we are willing to verify.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::trust) struct OutOfBudget;

impl Standing {
    /// Verifies everything the primary key says of itself.
    pub(in crate::trust) fn of<'a>(
        primary: &PublicKey,
        direct: impl Iterator<Item = &'a Signature>,
        users: &[User],
        budget: &mut Budget,
    ) -> Result<Self, OutOfBudget> {
        let created = u64::from(primary.created_at().as_secs());
        let mut standing = Self {
            is_version_6: primary.version() == pgp::types::KeyVersion::V6,
            ..Self::default()
        };
        for signature in direct.filter(|signature| may_be_by(signature, primary)) {
            let kind = signature.typ();
            if !matches!(kind, Some(SignatureType::Key | SignatureType::KeyRevocation)) {
                continue;
            }
            if !budget.admits(&Statement::Key(primary), signature)? {
                continue;
            }
            if kind == Some(SignatureType::KeyRevocation) {
                standing.add_revocation(Revocation::of(signature));
            } else {
                standing.direct.extend(Claim::of(signature, created));
            }
        }
        for user in users {
            let mut result = UserStanding::default();
            for signature in user.signatures.iter().map(|signature| &signature.packet) {
                if !signature.is_certification() || !may_be_by(signature, primary) {
                    continue;
                }
                let statement = Statement::User { key: primary, id: &user.id, by: primary };
                if !budget.admits(&statement, signature)? {
                    continue;
                }
                if signature.typ() == Some(SignatureType::CertRevocation) {
                    result.revocations.push(Revocation::of(signature));
                } else {
                    result.claims.extend(Claim::of(signature, created));
                }
            }
            standing.users.push(result);
        }
        Ok(standing)
    }

    /// Adds a revocation that was verified before.
    pub(in crate::trust) fn add_revocation(&mut self, revocation: Revocation) {
        if !self.revocations.contains(&revocation) {
            self.revocations.push(revocation);
        }
    }

    /// Whether the certificate says anything of itself that counts.
    pub(in crate::trust) fn is_empty(&self) -> bool {
        self.revocations.is_empty()
            && self.direct.is_empty()
            && self.users.iter().all(|user| user.claims.is_empty())
    }

    /// When the certificate last said something of itself; the latest state is the one then.
    pub(in crate::trust) fn last_word(&self) -> u64 {
        let claims = self.users.iter().flat_map(|user| &user.claims).chain(&self.direct);
        let revocations = self.users.iter().flat_map(|user| &user.revocations);
        let times =
            claims.map(|claim| claim.made).chain(revocations.map(|revocation| revocation.made));
        times.max().unwrap_or(0)
    }

    /// The user id that names the certificate, as an index, and the claim that binds it: the one
    /// marked as primary, else the one bound last.
    pub(in crate::trust) fn user_at(&self, time: u64, now: u64) -> Option<(usize, &Claim)> {
        let users = self.users.iter().enumerate();
        users.filter_map(|(index, user)| Some((index, user.in_force(time, now)?))).max_by_key(
            |(index, claim)| (claim.names_primary_user, claim.made, std::cmp::Reverse(*index)),
        )
    }

    /// Whether the user id at `index` is bound to the certificate and not revoked.
    pub(in crate::trust) fn has_user_at(&self, index: usize, time: u64, now: u64) -> bool {
        self.users.get(index).is_some_and(|user| user.in_force(time, now).is_some())
    }

    /// What is true of the primary key at `time` (RFC 9580, section 5.2.3.10): for version 6 the
    /// direct key signature says so, before that also the signature over the primary user id,
    /// whichever is newer.
    pub(in crate::trust) fn primary_at(&self, time: u64, now: u64) -> Option<Claim> {
        // `gpg` writes direct key signatures that only name a designated revoker.
        let says_something = |claim: &&Claim| {
            self.is_version_6 || claim.may_sign.is_some() || claim.key_until.is_some()
        };
        let direct = in_force(self.direct.iter().filter(says_something), time, now);
        if self.is_version_6 {
            return direct.cloned();
        }
        let user = self.user_at(time, now).map(|(_index, claim)| claim);
        let (newer, older) = match (direct, user) {
            (Some(direct), Some(user)) if user.made > direct.made => (user, Some(direct)),
            (Some(direct), user) => (direct, user),
            (None, Some(user)) => (user, None),
            (None, None) => return None,
        };
        let mut claim = newer.clone();
        claim.may_sign = newer.may_sign.or(older.and_then(|older| older.may_sign));
        claim.may_certify = newer.may_certify.or(older.and_then(|older| older.may_certify));
        Some(claim)
    }
}

impl UserStanding {
    fn in_force(&self, time: u64, now: u64) -> Option<&Claim> {
        let claim = in_force(&self.claims, time, now)?;
        // Unlike a key, a name may be taken back and given again.
        let revoked = self.revocations.iter().any(|revocation| {
            revocation.made >= claim.made && (revocation.hard || revocation.made <= time)
        });
        (!revoked).then_some(claim)
    }
}

/// What the primary key says of one of its subkeys.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(in crate::trust) struct SubkeyStanding {
    claims: Vec<Claim>,
    pub(in crate::trust) revocations: Vec<Revocation>,
}

impl SubkeyStanding {
    /// Verifies the bindings, the revocations and the back signatures of one subkey. When the
    /// budget is spent before the end, the subkey is not bound: a revocation could be in the rest.
    pub(in crate::trust) fn of(primary: &PublicKey, subkey: &Subkey, budget: &mut Budget) -> Self {
        let created = u64::from(subkey.key.created_at().as_secs());
        let mut standing = Self::default();
        for signature in subkey.signatures.iter().map(|signature| &signature.packet) {
            if !may_be_by(signature, primary) {
                continue;
            }
            match budget.admits(&Statement::Subkey { primary, subkey: &subkey.key }, signature) {
                Ok(true) => {}
                Ok(false) => continue,
                Err(OutOfBudget) => {
                    standing.claims.clear();
                    break;
                }
            }
            if signature.typ() == Some(SignatureType::SubkeyRevocation) {
                standing.revocations.push(Revocation::of(signature));
                continue;
            }
            standing.claims.extend(Claim::of(signature, created).map(|claim| Claim {
                confirmed: claim.may_sign == Some(true)
                    && is_confirmed(signature, primary, subkey, budget),
                ..claim
            }));
        }
        standing
    }

    /// What is true of the subkey at `time`.
    pub(in crate::trust) fn at(&self, time: u64, now: u64) -> Option<&Claim> {
        in_force(&self.claims, time, now)
    }
}

/// Whether the subkey has signed the primary key back (RFC 9580, section 5.2.1.10).
///
/// Without this, anyone could bind somebody else's signing subkey to his own certificate and
/// appear as the maker of what the other one signed. The embedded signature may stand in either
/// area, because it is verified here.
fn is_confirmed(
    binding: &Signature,
    primary: &PublicKey,
    subkey: &Subkey,
    budget: &mut Budget,
) -> bool {
    let Some(config) = binding.config() else {
        return false;
    };
    let embedded = config.hashed_subpackets().chain(config.unhashed_subpackets());
    let embedded = embedded.filter_map(|subpacket| {
        let SubpacketData::EmbeddedSignature(signature) = &subpacket.data else {
            return None;
        };
        Some(signature)
    });
    let created = u64::from(subkey.key.created_at().as_secs());
    embedded.take(BACK_SIGNATURES_TRIED).any(|signature| {
        Claim::of(signature, created).is_some_and(|claim| claim.until.is_none())
            && budget
                .admits(&Statement::Back { subkey: &subkey.key, primary }, signature)
                .unwrap_or(false)
    })
}

/// Whether the signature names `key` as its maker, or nobody: a cheap test before the slow one.
pub(in crate::trust) fn may_be_by(signature: &Signature, key: &impl KeyDetails) -> bool {
    let fingerprints = signature.issuer_fingerprint();
    let key_ids = signature.issuer_key_id();
    if fingerprints.is_empty() {
        return key_ids.is_empty() || key_ids.contains(&&key.legacy_key_id());
    }
    fingerprints.contains(&&key.fingerprint())
}

/// Verifies the revocations among a subkey's signatures and returns their positions.
pub(in crate::trust) fn subkey_revocations(
    primary: &PublicKey,
    subkey: &Subkey,
    budget: &mut Budget,
) -> Vec<usize> {
    let signatures = subkey.signatures.iter().enumerate();
    signatures
        .filter(|(_index, signature)| {
            signature.packet.typ() == Some(SignatureType::SubkeyRevocation)
        })
        .filter(|(_index, signature)| {
            may_be_by(&signature.packet, primary)
                && budget
                    .admits(&Statement::Subkey { primary, subkey: &subkey.key }, &signature.packet)
                    .unwrap_or(false)
        })
        .map(|(index, _signature)| index)
        .collect()
}
