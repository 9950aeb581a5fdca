//! What is known about one certificate, and the truststore that holds them.
//!
//! Nothing here decides whether a certificate is
//! trusted; it decides what the certificate *is*.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use pgp::packet::{PacketHeader, PublicKey, PublicSubkey, Signature, SignatureType, UserId};
use pgp::types::{KeyDetails as _, Tag};

use super::fingerprint::Fingerprint;
use super::openpgp::arithmetic::Statement;
use super::openpgp::packets::{self, Packet, tag};
use super::openpgp::standing::{self, Budget, OutOfBudget, Revoked, Standing, SubkeyStanding};
use super::openpgp::{armor, policy};

pub use super::openpgp::arithmetic::KnownGood;
pub use super::openpgp::keyring::{
    Keyring, KeyringError, SkipReason, SkippedCertificate, TRUSTSTORE_LIMIT,
};

/// The most packets one certificate may have; keys that were flooded with foreign certifications
/// on public key servers have a hundred thousand.
const MAX_PACKETS: usize = 4096;

/// The most user ids and the most subkeys one certificate may have.
const MAX_COMPONENTS: usize = 128;

/// How many self-signatures of one certificate are verified at most. A key of ten years with five
/// names has about fifty.
const CERTIFICATE_BUDGET: usize = 512;

/// How many third-party certifications are verified at most to answer one question.
const CERTIFICATION_BUDGET: usize = 64;

/// How many signatures are verified at most to learn what a certificate says of one subkey.
const SUBKEY_BUDGET: usize = 64;

/// One `OpenPGP` certificate ("public key"), parsed, with its self-signatures verified.
///
/// It may be expired or revoked: signatures made in time may still count, and a revocation must
/// be remembered.
#[derive(Clone, PartialEq, Eq)]
pub struct Certificate {
    fingerprint: Fingerprint,
    primary: PublicKey,
    primary_body: Vec<u8>,
    /// Direct key signatures and revocations.
    direct: Vec<KeptSignature>,
    users: Vec<User>,
    subkeys: Vec<Subkey>,
    standing: Standing,
    known: KnownGood,
}

/// A signature packet, and the bytes it was read from: what we write is what we read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct KeptSignature {
    pub(super) packet: Signature,
    body: Vec<u8>,
}

/// A user id with the signatures over it, our own and others'.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct User {
    pub(super) id: UserId,
    pub(super) signatures: Vec<KeptSignature>,
}

/// A subkey with the signatures over it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Subkey {
    pub(super) key: PublicSubkey,
    body: Vec<u8>,
    pub(super) signatures: Vec<KeptSignature>,
}

impl Certificate {
    /// Returns the fingerprint of the primary key.
    pub fn fingerprint(&self) -> &Fingerprint {
        &self.fingerprint
    }

    /// Returns the primary user id, or an empty text if the certificate names nobody.
    ///
    /// The owner chose this text. It is lossy UTF-8 and not escaped: it may contain control
    /// characters, and it may claim to be anybody.
    pub fn name(&self) -> String {
        let newest = self.standing.user_at(self.standing.last_word(), u64::MAX);
        let user = newest.and_then(|(index, _claim)| self.users.get(index));
        user.map(|user| String::from_utf8_lossy(user.id.id()).into_owned()).unwrap_or_default()
    }

    /// Returns when the primary key was made, as it says.
    pub fn created(&self) -> SystemTime {
        time(self.created_seconds())
    }

    /// Returns when the certificate expires or expired, or `None` if it never does.
    ///
    /// The newest self-signature decides. Signatures made before that time stay good.
    pub fn expires(&self) -> Option<SystemTime> {
        self.standing.primary_at(self.standing.last_word(), u64::MAX)?.key_until.map(time)
    }

    /// Returns whether the primary key is revoked, for whatever reason and since whenever.
    pub fn is_revoked(&self) -> bool {
        !self.standing.revocations.is_empty()
    }

    /// Returns whether the primary key or any subkey is revoked: a fact worth remembering.
    pub fn has_revocation(&self) -> bool {
        self.is_revoked()
            || self.subkeys.iter().any(|subkey| !self.revocations_of(subkey).is_empty())
    }

    /// Adds the revocations in `remembered`, an earlier state of the same certificate: a
    /// revocation once seen is kept for ever, also when the server no longer shows it.
    ///
    /// Does nothing if the fingerprints differ.
    pub fn merge_revocations(&mut self, remembered: &Self) {
        if self.fingerprint != remembered.fingerprint {
            return;
        }
        let revokes = |signature: &&KeptSignature| {
            signature.packet.typ() == Some(SignatureType::KeyRevocation)
                && self.known.admits(&Statement::Key(&remembered.primary), &signature.packet)
        };
        if remembered.is_revoked() {
            union_first(
                &mut self.direct,
                remembered.direct.iter().filter(revokes).take(CERTIFICATE_BUDGET),
            );
            for revocation in &remembered.standing.revocations {
                self.standing.add_revocation(revocation.clone());
            }
        }
        for subkey in &remembered.subkeys {
            let revocations = remembered.revocations_of(subkey);
            if revocations.is_empty() {
                continue;
            }
            if let Some(ours) = self.subkeys.iter_mut().find(|ours| ours.body == subkey.body) {
                union_first(&mut ours.signatures, revocations);
                continue;
            }
            // The server no longer shows the subkey. It comes back without its binding, so that
            // it signs nothing, but its revocation is there if the subkey ever returns.
            let signatures = revocations.into_iter().cloned().collect();
            self.subkeys.push(Subkey { signatures, ..subkey.clone() });
        }
    }

    /// Returns the certificate as an armored block, to be remembered: [`Keyring::parse`] gives
    /// the same certificate back.
    ///
    /// Photographs and packets that mean nothing to us are left out.
    pub fn armored(&self) -> String {
        let mut bytes = Vec::new();
        packets::write(&mut bytes, tag::PUBLIC_KEY, &self.primary_body);
        write_signatures(&mut bytes, &self.direct);
        for user in &self.users {
            packets::write(&mut bytes, tag::USER_ID, user.id.id());
            write_signatures(&mut bytes, &user.signatures);
        }
        for subkey in &self.subkeys {
            packets::write(&mut bytes, tag::PUBLIC_SUBKEY, &subkey.body);
            write_signatures(&mut bytes, &subkey.signatures);
        }
        armor::encode("PUBLIC KEY BLOCK", &bytes)
    }

    /// Returns the key and its revocations as an armored block, to be remembered for ever; nothing
    /// if none is known. [`Keyring::parse`] gives a certificate with the same revocations back.
    ///
    /// It is small, whatever else somebody has put into the certificate: revocations that do not
    /// fit into `limit` bytes are left out, those of the primary key last.
    pub fn armored_revocations(&self, limit: usize) -> Option<String> {
        if !self.has_revocation() {
            return None;
        }
        let mut kept = Vec::new();
        packets::write(&mut kept, tag::PUBLIC_KEY, &self.primary_body);
        let direct = self.direct.iter().filter(|signature| {
            let kind = signature.packet.typ();
            let wanted = if self.is_revoked() {
                SignatureType::KeyRevocation
            } else {
                // A block without any word of its owner would not be read as a certificate.
                SignatureType::Key
            };
            kind == Some(wanted)
                && self.known.admits(&Statement::Key(&self.primary), &signature.packet)
        });
        add_if_it_fits(&mut kept, limit, direct, |_bytes| {});
        if !self.is_revoked()
            && let Some((user, signature)) = self.shortest_own_name()
        {
            add_if_it_fits(&mut kept, limit, [signature], |bytes| {
                packets::write(bytes, tag::USER_ID, user.id.id());
            });
        }
        for subkey in &self.subkeys {
            add_if_it_fits(&mut kept, limit, self.revocations_of(subkey), |bytes| {
                packets::write(bytes, tag::PUBLIC_SUBKEY, &subkey.body);
            });
        }
        Some(armor::encode("PUBLIC KEY BLOCK", &kept))
    }

    /// Finds the shortest user id that the owner has signed, with that signature.
    fn shortest_own_name(&self) -> Option<(&User, &KeptSignature)> {
        let now = u64::MAX;
        let own = |user: &User, signature: &KeptSignature| {
            let packet = &signature.packet;
            packet.is_certification()
                && packet.typ() != Some(SignatureType::CertRevocation)
                && standing::may_be_by(packet, &self.primary)
                && self.known.admits(&self.says_of(&user.id, self), packet)
        };
        self.users
            .iter()
            .enumerate()
            .filter(|(index, _user)| self.standing.has_user_at(*index, now, now))
            .map(|(_index, user)| user)
            .min_by_key(|user| user.id.id().len())
            .and_then(|user| Some((user, user.signatures.iter().find(|it| own(user, it))?)))
    }

    /// Returns whether `voucher` has certified one of this certificate's user ids, in the way
    /// that `gpg --sign-key` does (types 0x10 to 0x13, RFC 9580, section 5.2.1).
    ///
    /// The certification counts if the voucher's primary key was valid when it was made, if it is
    /// neither expired nor withdrawn nor dated in the future (`now`), if it is meant for others
    /// (not `--lsign-key`), and if its hash algorithm is one we accept for files. A certificate
    /// does not vouch for itself. Whether the voucher is trusted is the caller's question.
    pub fn is_certified_by(&self, voucher: &Self, now: SystemTime) -> bool {
        let now = seconds(now);
        let mut budget = CERTIFICATION_BUDGET;
        self.fingerprint != voucher.fingerprint
            && self.users.iter().enumerate().any(|(index, user)| {
                self.standing.has_user_at(index, now, now)
                    && self.user_is_certified(user, voucher, now, &mut budget)
            })
    }

    fn user_is_certified(&self, user: &User, voucher: &Self, now: u64, budget: &mut usize) -> bool {
        let mut certified = None;
        let mut withdrawn = None;
        for signature in user.signatures.iter().map(|signature| &signature.packet) {
            let ours =
                signature.is_certification() && standing::may_be_by(signature, &voucher.primary);
            if !ours || *budget == 0 {
                continue;
            }
            *budget -= 1;
            if !self.known.admits(&self.says_of(&user.id, voucher), signature) {
                continue;
            }
            let made = policy::made(signature);
            if signature.typ() == Some(SignatureType::CertRevocation) {
                withdrawn = withdrawn.max(Some(made.unwrap_or(u64::MAX)));
            } else if made
                .is_some_and(|made| self.certification_counts(signature, voucher, made, now))
            {
                certified = certified.max(made);
            }
        }
        certified.is_some() && certified > withdrawn
    }

    /// The statement that a user id belongs to this certificate.
    fn says_of<'a>(&'a self, id: &'a UserId, by: &'a Self) -> Statement<'a> {
        Statement::User { key: &self.primary, id, by: &by.primary }
    }

    fn certification_counts(
        &self,
        signature: &Signature,
        voucher: &Self,
        made: u64,
        now: u64,
    ) -> bool {
        let may_certify =
            voucher.primary_at(made, now).is_ok_and(|claim| claim.may_certify != Some(false));
        may_certify
            && made <= now.saturating_add(policy::CLOCK_SKEW)
            && made >= self.created_seconds()
            && policy::until(signature, made).is_none_or(|until| now < until)
            && signature.hash_alg().is_some_and(policy::accepts_hash)
            && signature.exportable_certification()
            && policy::unknown_critical(signature).is_none()
    }

    /// Decides whether the primary key was valid at `at`, and what it was allowed to do then.
    pub(super) fn primary_at(&self, at: u64, now: u64) -> Result<standing::Claim, KeyProblem> {
        match standing::revoked_at(&self.standing.revocations, at) {
            Revoked::Entirely => return Err(KeyProblem::Revoked),
            Revoked::Since(since) => return Err(KeyProblem::RevokedSince(since)),
            Revoked::No => {}
        }
        if at < self.created_seconds() {
            return Err(KeyProblem::NotYetMade);
        }
        let claim = self.standing.primary_at(at, now).ok_or(KeyProblem::NotBound)?;
        match claim.key_until {
            Some(until) if until <= at => Err(KeyProblem::Expired(until)),
            _ => Ok(claim),
        }
    }

    /// Decides whether a key of this certificate was allowed to sign files at `at`. Returns when
    /// that key or the certificate expires, whichever is earlier, as known at `now`.
    pub(super) fn may_sign_at(
        &self,
        key: SigningKey<'_>,
        at: u64,
        now: u64,
    ) -> Result<Option<u64>, KeyProblem> {
        let primary = self.primary_at(at, now)?;
        let primary_until = self.standing.primary_at(now, now).and_then(|claim| claim.key_until);
        let SigningKey::Subkey(subkey) = key else {
            return if primary.may_sign == Some(true) {
                Ok(primary_until)
            } else {
                Err(KeyProblem::MayNotSign)
            };
        };
        let mut budget = Budget::new(SUBKEY_BUDGET, &self.known);
        let standing = SubkeyStanding::of(&self.primary, subkey, &mut budget);
        match standing::revoked_at(&standing.revocations, at) {
            Revoked::Entirely => return Err(KeyProblem::Revoked),
            Revoked::Since(since) => return Err(KeyProblem::RevokedSince(since)),
            Revoked::No => {}
        }
        let created = u64::from(subkey.key.created_at().as_secs());
        if at < created {
            return Err(KeyProblem::NotYetMade);
        }
        let claim = standing.at(at, now).ok_or(KeyProblem::NotBound)?;
        if let Some(until) = claim.key_until.filter(|until| *until <= at) {
            return Err(KeyProblem::Expired(until));
        }
        if claim.may_sign != Some(true) {
            return Err(KeyProblem::MayNotSign);
        }
        if !claim.confirmed {
            return Err(KeyProblem::NotConfirmed);
        }
        let subkey_until = standing.at(now, now).and_then(|claim| claim.key_until);
        Ok(primary_until.into_iter().chain(subkey_until).min())
    }

    /// The keys of this certificate that a signature names as its maker.
    pub(super) fn keys_named_by(
        &self,
        signature: &Signature,
    ) -> impl Iterator<Item = SigningKey<'_>> {
        let primary = standing::may_be_by(signature, &self.primary)
            .then_some(SigningKey::Primary(&self.primary));
        let subkeys =
            self.subkeys.iter().filter(|subkey| standing::may_be_by(signature, &subkey.key));
        primary.into_iter().chain(subkeys.map(SigningKey::Subkey))
    }

    /// What is known to be good of this certificate's signatures.
    pub(super) const fn known(&self) -> &KnownGood {
        &self.known
    }

    fn created_seconds(&self) -> u64 {
        u64::from(self.primary.created_at().as_secs())
    }

    fn revocations_of<'a>(&self, subkey: &'a Subkey) -> Vec<&'a KeptSignature> {
        let mut budget = Budget::new(SUBKEY_BUDGET, &self.known);
        let positions = standing::subkey_revocations(&self.primary, subkey, &mut budget);
        positions.into_iter().filter_map(|position| subkey.signatures.get(position)).collect()
    }

    fn verify_standing(&mut self, keyring_budget: &mut Budget) -> Result<(), OutOfBudget> {
        let direct = self.direct.iter().map(|signature| &signature.packet);
        self.standing = keyring_budget.within(CERTIFICATE_BUDGET, |budget| {
            Standing::of(&self.primary, direct, &self.users, budget)
        })?;
        Ok(())
    }

    /// Adds everything of another copy of the same certificate.
    pub(super) fn absorb(&mut self, other: Self, budget: &mut Budget) -> Result<(), OutOfBudget> {
        let Self {
            fingerprint: _,
            primary: _,
            primary_body: _,
            direct,
            users,
            subkeys,
            standing: _,
            known: _,
        } = other;
        union(&mut self.direct, &direct);
        for user in users {
            match self.users.iter_mut().find(|ours| ours.id.id() == user.id.id()) {
                Some(ours) => union(&mut ours.signatures, &user.signatures),
                None => self.users.push(user),
            }
        }
        for subkey in subkeys {
            match self.subkeys.iter_mut().find(|ours| ours.body == subkey.body) {
                Some(ours) => union(&mut ours.signatures, &subkey.signatures),
                None => self.subkeys.push(subkey),
            }
        }
        self.verify_standing(budget)
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Certificate({})", self.fingerprint)
    }
}

/// A key of a certificate that a signature may be by.
#[derive(Debug, Clone, Copy)]
pub(super) enum SigningKey<'a> {
    Primary(&'a PublicKey),
    Subkey(&'a Subkey),
}

/// Why a key did not count at some time. Times are seconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KeyProblem {
    Revoked,
    RevokedSince(u64),
    Expired(u64),
    NotYetMade,
    NotBound,
    MayNotSign,
    NotConfirmed,
}

fn union<'a>(ours: &mut Vec<KeptSignature>, theirs: impl IntoIterator<Item = &'a KeptSignature>) {
    for signature in theirs {
        if !ours.iter().any(|known| known.body == signature.body) {
            ours.push(signature.clone());
        }
    }
}

/// Adds what was remembered before what is there, so that no flood of worthless signatures uses up
/// what we are willing to verify before it is reached.
fn union_first<'a>(
    ours: &mut Vec<KeptSignature>,
    remembered: impl IntoIterator<Item = &'a KeptSignature>,
) {
    let mut all: Vec<KeptSignature> = remembered.into_iter().cloned().collect();
    union(&mut all, ours.iter());
    *ours = all;
}

/// Writes a component and as many of its signatures as `limit` has room for; without a signature
/// the component is left out too.
fn add_if_it_fits<'a>(
    out: &mut Vec<u8>,
    limit: usize,
    signatures: impl IntoIterator<Item = &'a KeptSignature>,
    component: impl FnOnce(&mut Vec<u8>),
) {
    let before = out.len();
    component(out);
    let mut fits = out.len();
    let start = fits;
    for signature in signatures {
        packets::write(out, tag::SIGNATURE, &signature.body);
        if out.len() > limit {
            break;
        }
        fits = out.len();
    }
    out.truncate(if fits > start { fits } else { before });
}

fn write_signatures(out: &mut Vec<u8>, signatures: &[KeptSignature]) {
    for signature in signatures {
        packets::write(out, tag::SIGNATURE, &signature.body);
    }
}

/// Seconds since 1970; a clock before that counts as 1970.
pub(super) fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// The time that is so many seconds after 1970. `OpenPGP`'s times are sums of two 32-bit numbers,
/// which every clock can show.
pub(super) fn time(seconds: u64) -> SystemTime {
    UNIX_EPOCH.checked_add(Duration::from_secs(seconds)).unwrap_or(UNIX_EPOCH)
}

/// The fingerprint of the primary key among some packets, as far as it can be known.
pub(super) fn fingerprint_of(packets: &[Packet<'_>]) -> Option<Fingerprint> {
    let first = packets.first().filter(|packet| packet.tag == tag::PUBLIC_KEY)?;
    Some(Fingerprint::of_key(&primary_key(first).ok()?))
}

fn primary_key(packet: &Packet<'_>) -> Result<PublicKey, SkipReason> {
    match packet.body.first() {
        Some(4 | 6) => {}
        Some(version) => return Err(SkipReason::Version(*version)),
        None => return Err(SkipReason::Malformed),
    }
    let mut body = packet.body;
    let key = PublicKey::try_from_reader(header(Tag::PublicKey, body), &mut body);
    key.ok().filter(|_key| body.is_empty()).ok_or(SkipReason::Malformed)
}

fn header(tag: Tag, body: &[u8]) -> PacketHeader {
    PacketHeader::new_fixed(tag, u32::try_from(body.len()).unwrap_or(u32::MAX))
}

/// Where the signatures that follow a packet belong.
enum Place {
    Direct,
    User,
    Subkey,
    Nowhere,
}

/// Builds a certificate from its packets (RFC 9580, section 10.1). What cannot be read within it
/// is left out, so that a future kind of subkey does not disable the certificate.
pub(super) fn assemble(
    packets: &[Packet<'_>],
    keyring_budget: &mut Budget,
) -> Result<Certificate, SkipReason> {
    let (first, rest) = packets.split_first().ok_or(SkipReason::NoCertificate)?;
    match first.tag {
        tag::PUBLIC_KEY => {}
        tag::SECRET_KEY => return Err(SkipReason::PrivateKey),
        _ => return Err(SkipReason::NoCertificate),
    }
    if packets.len() > MAX_PACKETS {
        return Err(SkipReason::TooLarge);
    }
    let primary = primary_key(first)?;
    policy::check_key(&primary)?;
    let mut certificate = Certificate {
        fingerprint: Fingerprint::of_key(&primary),
        primary,
        primary_body: first.body.to_vec(),
        direct: Vec::new(),
        users: Vec::new(),
        subkeys: Vec::new(),
        standing: Standing::default(),
        known: keyring_budget.known().clone(),
    };
    let mut place = Place::Direct;
    for packet in rest {
        place = certificate.add_packet(packet, place)?;
    }
    if certificate.users.len() > MAX_COMPONENTS || certificate.subkeys.len() > MAX_COMPONENTS {
        return Err(SkipReason::TooLarge);
    }
    certificate.verify_standing(keyring_budget).map_err(|OutOfBudget| SkipReason::TooLarge)?;
    if certificate.standing.is_empty() {
        return Err(SkipReason::NoSelfSignature);
    }
    Ok(certificate)
}

impl Certificate {
    fn add_packet(&mut self, packet: &Packet<'_>, place: Place) -> Result<Place, SkipReason> {
        match packet.tag {
            tag::SIGNATURE => {
                let signature = KeptSignature::read(packet.body);
                let signatures = match place {
                    Place::Direct => Some(&mut self.direct),
                    Place::User => self.users.last_mut().map(|user| &mut user.signatures),
                    Place::Subkey => self.subkeys.last_mut().map(|subkey| &mut subkey.signatures),
                    Place::Nowhere => None,
                };
                if let Some(signatures) = signatures {
                    signatures.extend(signature);
                }
                Ok(place)
            }
            tag::USER_ID => {
                let Ok(id) = UserId::try_from_reader(header(Tag::UserId, packet.body), packet.body)
                else {
                    return Ok(Place::Nowhere);
                };
                self.users.push(User { id, signatures: Vec::new() });
                Ok(Place::User)
            }
            tag::PUBLIC_SUBKEY => {
                let mut body = packet.body;
                let key = PublicSubkey::try_from_reader(header(Tag::PublicSubkey, body), &mut body);
                let Some(key) = key.ok().filter(|_key| body.is_empty()) else {
                    return Ok(Place::Nowhere);
                };
                self.subkeys.push(Subkey {
                    key,
                    body: packet.body.to_vec(),
                    signatures: Vec::new(),
                });
                Ok(Place::Subkey)
            }
            tag::SECRET_SUBKEY => Err(SkipReason::PrivateKey),
            tag::MARKER | tag::TRUST | tag::PADDING => Ok(place),
            tag::USER_ATTRIBUTE | tag::FIRST_NON_CRITICAL.. => Ok(Place::Nowhere),
            other => Err(SkipReason::ForeignPacket(other)),
        }
    }
}

impl KeptSignature {
    fn read(body: &[u8]) -> Option<Self> {
        let mut rest = body;
        let packet = Signature::try_from_reader(header(Tag::Signature, body), &mut rest).ok()?;
        rest.is_empty().then(|| Self { packet, body: body.to_vec() })
    }
}
