//! Who may sign what on this machine, and what is refused: the rules of level 0 and 1.

use std::io::Cursor;
use std::sync::OnceLock;

use dbt_core::digest::Digest;
use dbt_core::platform::Platform;
use dbt_core::release::{ArtifactId, Subject};
use dbt_core::trust::keys::Keyring;
use dbt_core::trust::manifest::{MANIFEST_SCHEMA, Manifest, PinnedManifest};
use dbt_core::trust::memory::{AssembleError, Assembly, Demands, TrustChange, TrustMemory};
use dbt_core::trust::{
    Companions, Confirmation, Document, Expectation, Fetched, Fingerprint, Standing, TrustRules,
    TrustStore, Verified, VerifyError,
};

use crate::openpgp_gpg::{
    BIRTH, CONTENT, Gpg, SIGNING, TODAY, armor, at, certificates, dearmor, join, packets,
};

/// Alice and Bob, whom Alice certifies; Mallory, whom nobody knows.
struct People {
    gpg: Gpg,
    alice: Vec<u8>,
    bob: Vec<u8>,
    bob_certified: Vec<u8>,
    mallory: Vec<u8>,
}

fn people() -> &'static People {
    static PEOPLE: OnceLock<People> = OnceLock::new();
    PEOPLE.get_or_init(|| {
        let gpg = Gpg::new();
        for name in ["alice", "bob", "mallory"] {
            gpg.run(BIRTH, &["--quick-gen-key", name, "ed25519", "default", "never"], b"");
        }
        let bob = gpg.export(&["bob"]);
        let fingerprint = &gpg.fingerprints("bob")[0];
        gpg.run(SIGNING, &["--local-user", "alice", "--quick-sign-key", fingerprint], b"");
        let bob_certified = gpg.export(&["bob"]);
        let (alice, mallory) = (gpg.export(&["alice"]), gpg.export(&["mallory"]));
        People { gpg, alice, bob, bob_certified, mallory }
    })
}

impl People {
    fn fingerprint(&self, name: &str) -> Fingerprint {
        self.gpg.fingerprints(name)[0].parse().unwrap()
    }
}

fn keyring(blocks: &[&Vec<u8>]) -> Keyring {
    Keyring::parse(&blocks.iter().flat_map(|block| block.iter().copied()).collect::<Vec<u8>>())
        .unwrap()
}

fn try_assemble(
    memory: &TrustMemory,
    served: &[&Vec<u8>],
    rules: &TrustRules,
    strict: bool,
) -> Result<Assembly, AssembleError> {
    let previous = keyring(&[&people().alice]);
    let demands = Demands { rules, strict };
    memory.assemble(keyring(served), Some(&previous), demands, Confirmation::Confirmed, at(TODAY))
}

fn assemble(memory: &TrustMemory, served: &[&Vec<u8>]) -> Assembly {
    try_assemble(memory, served, &TrustRules::default(), false).unwrap()
}

/// A machine that has met Alice.
fn knows_alice() -> TrustMemory {
    assemble(&TrustMemory::default(), &[&people().alice]).memory
}

fn tool(name: &str, version: &str) -> ArtifactId {
    let (subject, platform) = (Subject::Tool(name.parse().unwrap()), Platform::CURRENT);
    ArtifactId { subject, version: version.parse().unwrap(), platform }
}

fn program(version: &str) -> ArtifactId {
    ArtifactId { subject: Subject::Program, ..tool("x", version) }
}

/// Signs the content for an artifact, or for nothing in particular.
fn companions(signer: &str, binding: Option<&str>) -> Companions {
    let notation = binding.map(|binding| format!("artifact@dbt={binding}"));
    let mut options = vec!["--digest-algo", "SHA256"];
    if let Some(notation) = &notation {
        options.extend(["--sig-notation", notation]);
    }
    let signature = people().gpg.sign_with(signer, SIGNING, &options);
    Companions { checksum: Digest::of(CONTENT).to_string().into_bytes(), signature }
}

fn verify(
    store: &TrustStore,
    id: &ArtifactId,
    companions: Companions,
    expectation: &Expectation,
) -> Result<Verified<Cursor<&'static [u8]>>, VerifyError> {
    let fetched = Fetched::from_network(id.clone(), Cursor::new(CONTENT), companions);
    store.verify(fetched, expectation, at(TODAY))
}

/// Verifies something signed by `signer` for exactly what is asked.
fn verify_bound(
    store: &TrustStore,
    id: &ArtifactId,
    signer: &str,
) -> Result<Verified<Cursor<&'static [u8]>>, VerifyError> {
    verify(store, id, companions(signer, Some(&id.binding())), &Expectation::default())
}

fn says<T: std::fmt::Debug>(outcome: Result<T, VerifyError>, words: &str) {
    let error = outcome.unwrap_err();
    assert!(error.to_string().contains(words), "{error}");
}

#[test]
fn everyone_in_the_first_truststore_is_established() {
    let Assembly { store, memory: _, changes } =
        assemble(&TrustMemory::default(), &[&people().alice, &people().mallory]);
    assert!(store.signers().iter().all(|signer| signer.standing == Standing::Established));
    let [TrustChange::FirstUse(keys)] = changes.as_slice() else { panic!("{changes:?}") };
    assert_eq!(keys.len(), 2);

    let verified = verify_bound(&store, &tool("deploy", "1.0.0"), "alice").unwrap();
    assert_eq!(verified.digest(), Digest::of(CONTENT));
    assert_eq!(verified.endorsement().signer, people().fingerprint("alice"));
    assert!(verified.endorsement().bound);
    verify_bound(&store, &program("4.0.1"), "mallory").unwrap();
}

#[test]
fn a_newcomer_signs_tools_but_never_dbt_and_nothing_at_all_under_strict() {
    let served = [&people().alice, &people().mallory];
    let Assembly { store, changes, .. } = assemble(&knows_alice(), &served);
    let [TrustChange::Added(added)] = changes.as_slice() else { panic!("{changes:?}") };
    assert_eq!(
        (&added.fingerprint, added.standing),
        (&people().fingerprint("mallory"), Standing::Newcomer)
    );

    verify_bound(&store, &tool("deploy", "1.0.0"), "mallory").unwrap();
    says(verify_bound(&store, &program("4.0.1"), "mallory"), "may not sign it");

    let strict = try_assemble(&knows_alice(), &served, &TrustRules::default(), true).unwrap().store;
    says(verify_bound(&strict, &tool("deploy", "1.0.0"), "mallory"), "`strict`");
    verify_bound(&strict, &tool("deploy", "1.0.0"), "alice").unwrap();
}

#[test]
fn a_key_that_a_known_one_certified_is_vouched_and_may_sign_dbt() {
    let Assembly { store, memory, .. } =
        assemble(&knows_alice(), &[&people().alice, &people().bob_certified]);
    verify_bound(&store, &program("4.0.1"), "bob").unwrap();
    // It is established from then on, so that keys can be changed one after the other.
    let alone = assemble(&memory, &[&people().bob]).store;
    verify_bound(&alone, &program("4.0.2"), "bob").unwrap();
}

#[test]
fn a_known_key_vouches_even_when_it_leaves_in_the_same_moment() {
    let store = assemble(&knows_alice(), &[&people().bob_certified]).store;
    verify_bound(&store, &program("4.0.1"), "bob").unwrap();
}

#[test]
fn an_uncertified_stranger_in_place_of_everyone_known_is_refused() {
    let error = try_assemble(&knows_alice(), &[&people().mallory], &TrustRules::default(), false);
    assert!(matches!(error, Err(AssembleError::NoneEstablished { .. })));

    let mut approved = knows_alice();
    approved.approve(&people().fingerprint("mallory"));
    let store = assemble(&approved, &[&people().mallory]).store;
    verify_bound(&store, &program("4.0.1"), "mallory").unwrap();
}

#[test]
fn a_removed_key_returns_only_as_a_newcomer() {
    let both = [&people().alice, &people().bob_certified];
    let with_bob = assemble(&knows_alice(), &both).memory;
    let Assembly { store, memory: without_bob, changes } = assemble(&with_bob, &[&people().alice]);
    assert!(matches!(changes.as_slice(), [TrustChange::Removed { .. }]), "{changes:?}");
    says(verify_bound(&store, &tool("deploy", "1.0.0"), "bob"), "no signature");

    let Assembly { store, memory, .. } = assemble(&without_bob, &both);
    says(verify_bound(&store, &program("4.0.1"), "bob"), "may not sign it");
    verify_bound(&store, &tool("deploy", "1.0.0"), "bob").unwrap();
    // And it stays one.
    let store = assemble(&memory, &both).store;
    says(verify_bound(&store, &program("4.0.1"), "bob"), "may not sign it");
}

#[test]
fn a_revocation_seen_once_counts_even_when_it_is_stripped() {
    let gpg = Gpg::new();
    for name in ["carol", "dave"] {
        gpg.run(BIRTH, &["--quick-gen-key", name, "ed25519", "default", "never"], b"");
    }
    let (carol, dave) = (gpg.export(&["carol"]), gpg.export(&["dave"]));
    let id = tool("deploy", "1.0.0");
    let signature = gpg.sign_with("carol", SIGNING, &["--digest-algo", "SHA256"]);
    let companions =
        Companions { checksum: Digest::of(CONTENT).to_string().into_bytes(), signature };
    gpg.revoke("carol", SIGNING, "1", &[]);
    let revoked = gpg.export(&["carol"]);

    let seen = assemble(&TrustMemory::default(), &[&revoked, &dave]).memory;
    let store = assemble(&seen, &[&carol, &dave]).store;
    let error = verify(&store, &id, companions, &Expectation::default()).unwrap_err();
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(cause.contains("revoked"), "{cause}");
}

/// Carol with a subkey that signs, before and after one of her keys is revoked; Erin, whom she
/// certified before that; and Dave, whom nobody knows.
struct Stolen {
    before: Vec<u8>,
    after: Vec<u8>,
    erin: Vec<u8>,
    dave: Vec<u8>,
    /// Holds Carol's secret key from before.
    thief: Gpg,
    /// Made by the key that is revoked.
    companions: Companions,
}

/// When Carol's key is revoked.
const REVOKED: &str = "2025-06-01T00:00:00Z";

impl Stolen {
    /// `reason` is what `gpg` asks for: `1` the key was stolen, `3` it is retired.
    fn primary(reason: &str) -> Self {
        Self::new(|gpg| gpg.revoke("carol", REVOKED, reason, &[]), |primary, _| primary.to_owned())
    }

    fn subkey() -> Self {
        Self::new(|gpg| gpg.revoke_subkey("carol", REVOKED, "1"), |_, subkey| subkey.to_owned())
    }

    fn new(revoke: impl FnOnce(&Gpg), signer: impl FnOnce(&str, &str) -> String) -> Self {
        let gpg = Gpg::new();
        for name in ["carol", "dave", "erin"] {
            gpg.run(BIRTH, &["--quick-gen-key", name, "ed25519", "sign", "never"], b"");
        }
        let carol = &gpg.fingerprints("carol")[0];
        let subkey = gpg.add_signing_subkey(carol, "ed25519");
        let erin = &gpg.fingerprints("erin")[0];
        gpg.run(SIGNING, &["--local-user", "carol", "--quick-sign-key", erin], b"");
        let thief = Gpg::new();
        let secret = gpg.run(TODAY, &["--export-secret-keys", carol], b"");
        thief.run(TODAY, &["--import"], &secret);
        let erin = gpg.export(&["erin"]);
        let (before, dave) = (gpg.export(&["carol"]), gpg.export(&["dave"]));
        let signature = gpg.sign_with(
            &format!("{}!", signer(carol, &subkey)),
            SIGNING,
            &["--digest-algo", "SHA256"],
        );
        let checksum = Digest::of(CONTENT).to_string().into_bytes();
        revoke(&gpg);
        let after = gpg.export(&["carol"]);
        let companions = Companions { checksum, signature };
        Self { before, after, erin, dave, thief, companions }
    }

    /// A machine that knew Carol and no one else, and was shown the revocation.
    fn seen(&self) -> TrustMemory {
        let mut memory = assemble(&TrustMemory::default(), &[&self.before]).memory;
        memory.remember_revocations(&keyring(&[&self.after, &self.dave]));
        memory
    }

    #[track_caller]
    fn signs_nothing(&self, store: &TrustStore) {
        let id = tool("deploy", "1.0.0");
        let fetched = Fetched::from_store(id, Cursor::new(CONTENT), self.companions.clone(), None);
        let error = store.verify(fetched, &Expectation::default(), at(TODAY)).unwrap_err();
        let cause = std::error::Error::source(&error).unwrap().to_string();
        assert!(cause.contains("revoked") || cause.contains("not bound"), "{cause}");
    }
}

#[test]
fn a_revocation_in_a_refused_truststore_is_remembered() {
    let stolen = Stolen::primary("1");
    let knew = assemble(&TrustMemory::default(), &[&stolen.before]).memory;
    let served = [&stolen.after, &stolen.dave];
    assert!(try_assemble(&knew, &served, &TrustRules::default(), false).is_err());

    // Without the revocation, the truststore of before is not accepted any more.
    let seen = stolen.seen();
    assert!(try_assemble(&seen, &[&stolen.before], &TrustRules::default(), false).is_err());
    // What was installed under it is judged with the revocation.
    let (rules, confirmation) =
        (TrustRules::default(), Confirmation::Unconfirmed("refused".to_owned()));
    let demands = Demands { rules: &rules, strict: false };
    let last_good = keyring(&[&stolen.before]);
    let assembly = seen.assemble(last_good, None, demands, confirmation, at(TODAY)).unwrap();
    stolen.signs_nothing(&assembly.store);
}

#[test]
fn a_stranger_revokes_nothing_and_is_not_remembered() {
    let mut memory = knows_alice();
    memory.remember_revocations(&keyring(&[&Stolen::primary("1").after]));
    assert_eq!(memory, knows_alice());
}

#[test]
fn a_flood_of_worthless_signatures_hides_no_revocation() {
    for stolen in [Stolen::primary("1"), Stolen::subkey()] {
        let seen = assemble(&TrustMemory::default(), &[&stolen.after, &stolen.dave]).memory;
        let Assembly { store, memory, .. } =
            assemble(&seen, &[&flooded(&stolen.before), &stolen.dave]);
        stolen.signs_nothing(&store);
        // Neither then nor ever after.
        stolen.signs_nothing(&assemble(&memory, &[&stolen.before, &stolen.dave]).store);
        // Nor where it is in the same file, behind the flood.
        let both = [flooded(&stolen.after), stolen.dave.clone()].concat();
        stolen.signs_nothing(&assemble(&TrustMemory::default(), &[&both]).store);
    }
}

/// Puts a hundred damaged copies after each binding, and before each revocation.
fn flooded(certificate: &[u8]) -> Vec<u8> {
    let mut all = Vec::new();
    for (kind, packet) in packets(&dearmor(certificate)) {
        // After the header: the version, and what kind of signature it is.
        let header = 1 + (1 << (packet[0] & 3));
        let (binds, revokes) = (packet[header + 1] == 0x18, packet[header + 1] & !0x08 == 0x20);
        let mut damaged = packet.clone();
        *damaged.last_mut().unwrap() ^= 1;
        let flood = std::iter::repeat_n((kind, damaged), 100);
        if kind == 2 && revokes {
            all.extend(flood.clone());
        }
        all.push((kind, packet));
        if kind == 2 && binds {
            all.extend(flood);
        }
    }
    armor("PUBLIC KEY BLOCK", &join(&all))
}

#[test]
fn a_stolen_key_leaves_no_successor_and_a_retired_one_does() {
    for (reason, standing) in [("1", Standing::Newcomer), ("3", Standing::Vouched)] {
        let stolen = Stolen::primary(reason);
        let memory = assemble(&TrustMemory::default(), &[&stolen.before, &stolen.dave]).memory;
        let previous = keyring(&[&stolen.before, &stolen.dave]);
        let served = keyring(&[&stolen.after, &stolen.dave, &stolen.erin]);
        let rules = TrustRules::default();
        let demands = Demands { rules: &rules, strict: false };
        let assembly = memory
            .assemble(served, Some(&previous), demands, Confirmation::Confirmed, at(TODAY))
            .unwrap();
        let erin = assembly.store.signers().iter().find(|it| it.certificate.name() == "erin");
        assert_eq!(erin.unwrap().standing, standing, "reason {reason}");
    }
}

#[test]
fn names_that_whoever_serves_the_truststore_chose_are_remembered_in_part() {
    let gpg = Gpg::new();
    let name = "n".repeat(2000);
    gpg.run(BIRTH, &["--quick-gen-key", &name, "ed25519", "sign", "never"], b"");
    let long = gpg.export(&[&gpg.fingerprints(&name)[0]]);
    let Assembly { memory, changes, .. } = assemble(&TrustMemory::default(), &[&long]);
    assert!(serde_json::to_string(&memory).unwrap().len() < 600);
    let [TrustChange::FirstUse(keys)] = changes.as_slice() else { panic!("{changes:?}") };
    assert_eq!(keys[0].name.len(), 200);
}

#[test]
fn an_admin_whose_key_was_revoked_signs_no_manifest() {
    let stolen = Stolen::primary("1");
    let memory = assemble(&TrustMemory::default(), &[&stolen.after, &stolen.dave]).memory;
    let carol: Fingerprint = stolen.thief.fingerprints("carol")[0].parse().unwrap();
    let by_carol = |prev: Option<Digest>, version| Manifest {
        schema: MANIFEST_SCHEMA.to_owned(),
        repository_id: "r".to_owned(),
        version,
        issued: TODAY.to_owned(),
        expires: "2027-01-01T00:00:00Z".to_owned(),
        sha256: Digest::of(b"truststore"),
        admins: vec![carol.clone()],
        admin_threshold: 1,
        certs: Vec::new(),
        prev,
    };
    let pinned = PinnedManifest { manifest: by_carol(None, 1), sha256: Digest::of(b"first") };
    let bytes = serde_json::to_vec(&by_carol(Some(pinned.sha256), 2)).unwrap();
    let options = ["--armor", "--local-user", &format!("{carol}!"), "--detach-sign"];
    let signature = stolen.thief.run(SIGNING, &options, &bytes);
    let stripped = keyring(&[&stolen.before, &stolen.dave]);
    let follow = |memory: &TrustMemory, previous: Option<&Keyring>| {
        let known = memory.with_revocations(&stripped, previous);
        let known: Vec<_> = known.iter().collect();
        pinned.follow(&bytes, &signature, &known, at(TODAY)).map_err(|error| error.to_string())
    };
    follow(&TrustMemory::default(), None).unwrap();
    let previous = keyring(&[&stolen.after, &stolen.dave]);
    for (memory, previous) in [(&memory, None), (&TrustMemory::default(), Some(&previous))] {
        let error = follow(memory, previous).unwrap_err();
        assert!(error.contains("0 of the 1"), "{error}");
    }
}

#[test]
fn the_configuration_names_who_signs_what() {
    let mut rules = TrustRules::default();
    rules.allow("tools", [people().fingerprint("alice")]).unwrap();
    rules.allow("tool:pay-*", [people().fingerprint("mallory")]).unwrap();
    let served = [&people().alice, &people().bob_certified, &people().mallory];
    let Assembly { store, changes, .. } =
        try_assemble(&TrustMemory::default(), &served, &rules, false).unwrap();
    assert!(changes.is_empty(), "a pinned first run says nothing: {changes:?}");

    verify_bound(&store, &tool("deploy", "1.0.0"), "alice").unwrap();
    verify_bound(&store, &tool("deploy", "1.0.0"), "bob").unwrap();
    verify_bound(&store, &tool("pay-out", "1.0.0"), "mallory").unwrap();
    says(verify_bound(&store, &tool("deploy", "1.0.0"), "mallory"), "names other signers");
    says(verify_bound(&store, &tool("pay-out", "1.0.0"), "alice"), "names other signers");
}

#[test]
fn a_pinned_machine_ignores_a_truststore_without_its_keys() {
    let mut rules = TrustRules::default();
    rules.allow("tools", [people().fingerprint("alice")]).unwrap();
    let outcome = try_assemble(&TrustMemory::default(), &[&people().mallory], &rules, false);
    assert!(matches!(outcome, Err(AssembleError::NoneEstablished { pinned: true, .. })));
}

#[test]
fn bytes_signed_for_another_tool_version_or_platform_are_refused() {
    let store = assemble(&TrustMemory::default(), &[&people().alice]).store;
    let asked = tool("deploy", "1.4.0");
    let mut elsewhere = asked.clone();
    elsewhere.platform = if Platform::CURRENT.to_string() == "darwin/arm64" {
        "linux/amd64"
    } else {
        "darwin/arm64"
    }
    .parse()
    .unwrap();
    for other in [tool("destroy", "1.4.0"), tool("deploy", "1.3.0"), elsewhere, program("1.4.0")] {
        let signed = companions("alice", Some(&other.binding()));
        says(verify(&store, &asked, signed, &Expectation::default()), "was made for");
    }
}

#[test]
fn a_signature_without_a_name_counts_until_one_with_a_name_was_seen() {
    let store = assemble(&TrustMemory::default(), &[&people().alice]).store;
    let id = tool("deploy", "1.4.0");
    let verified = verify(&store, &id, companions("alice", None), &Expectation::default()).unwrap();
    assert!(!verified.endorsement().bound);

    let seen = Expectation { must_be_bound: true, ..Expectation::default() };
    let error = verify(&store, &id, companions("alice", None), &seen).unwrap_err();
    assert!(matches!(error, VerifyError::Unbound { .. }), "{error}");
    assert!(error.hint().unwrap().contains("publisher sign"));
}

#[test]
fn a_dbt_that_was_signed_before_the_running_one_is_refused() {
    let store = assemble(&TrustMemory::default(), &[&people().alice]).store;
    let later = Expectation { signed_since: Some(at(TODAY)), ..Expectation::default() };
    let id = program("4.0.1");
    let signed = companions("alice", Some(&id.binding()));
    says(verify(&store, &id, signed, &later), "older than");
}

#[test]
fn nothing_new_is_installed_while_the_truststore_is_unconfirmed() {
    let memory = knows_alice();
    let rules = TrustRules::default();
    let demands = Demands { rules: &rules, strict: false };
    let unconfirmed = Confirmation::Unconfirmed("the server is down".to_owned());
    let served = keyring(&[&people().alice]);
    let store = memory.assemble(served, None, demands, unconfirmed, at(TODAY)).unwrap().store;

    let id = tool("deploy", "1.0.0");
    says(verify_bound(&store, &id, "alice"), "would be new here");
    let known = companions("alice", Some(&id.binding()));
    let fetched = Fetched::from_store(id, Cursor::new(CONTENT), known, None);
    store.verify(fetched, &Expectation::default(), at(TODAY)).unwrap();
}

#[test]
fn bytes_that_differ_from_their_checksum_are_refused() {
    let store = assemble(&TrustMemory::default(), &[&people().alice]).store;
    let id = tool("deploy", "1.0.0");
    let mut signed = companions("alice", Some(&id.binding()));
    signed.checksum = Digest::of(b"something else").to_string().into_bytes();
    let error = verify(&store, &id, signed, &Expectation::default()).unwrap_err();
    assert!(matches!(error, VerifyError::Checksum { .. }), "{error}");
}

#[test]
fn a_document_counts_only_with_a_signature_that_names_it() {
    let store = assemble(&TrustMemory::default(), &[&people().alice]).store;
    let document = Document::Withdrawn("deploy".parse().unwrap());
    let check = |binding: Option<&str>| {
        let signature = companions("alice", binding).signature;
        store.verify_document(&document, CONTENT, &signature, at(TODAY))
    };
    check(Some("withdrawn/deploy")).unwrap();
    says(check(Some("withdrawn/other")), "was made for");
    says(check(None), "does not say what it was made for");
}

#[test]
fn a_newcomer_withdraws_nothing_because_that_would_be_for_ever() {
    let store = assemble(&knows_alice(), &[&people().alice, &people().mallory]).store;
    let check = |document: Document| {
        let binding = document.binding();
        let signature = companions("mallory", Some(&binding)).signature;
        store.verify_document(&document, CONTENT, &signature, at(TODAY))
    };
    let deploy = || "deploy".parse().unwrap();
    check(Document::Description(deploy(), "1.0.0".parse().unwrap())).unwrap();
    says(check(Document::Withdrawn(deploy())), "may not sign it");
    says(check(Document::Root(1)), "may not sign it");
}

/// Writes and signs a manifest.
fn manifest(
    version: u64,
    prev: Option<Digest>,
    admins: &[&str],
    signers: &[&str],
) -> (Vec<u8>, Vec<u8>) {
    let manifest = Manifest {
        schema: MANIFEST_SCHEMA.to_owned(),
        repository_id: "6f0c".to_owned(),
        version,
        issued: SIGNING.to_owned(),
        expires: "2030-01-01T00:00:00Z".to_owned(),
        sha256: Digest::of(b"truststore"),
        admins: admins.iter().map(|name| people().fingerprint(name)).collect(),
        admin_threshold: u32::try_from(admins.len()).unwrap(),
        certs: vec![people().fingerprint("alice")],
        prev,
    };
    let bytes = serde_json::to_vec(&manifest).unwrap();
    let mut arguments: Vec<&str> = signers.iter().flat_map(|name| ["--local-user", name]).collect();
    arguments.extend(["--armor", "--digest-algo", "SHA256", "--detach-sign"]);
    let signature = people().gpg.run(SIGNING, &arguments, &bytes);
    (bytes, signature)
}

#[test]
fn the_first_manifest_needs_enough_admins_who_are_trusted_already() {
    let trusted = certificates(&people().alice);
    let trusted: Vec<_> = trusted.iter().collect();
    let first = |admins: &[&str], signers: &[&str]| {
        let (bytes, signature) = manifest(1, None, admins, signers);
        PinnedManifest::first(&bytes, &signature, &trusted, at(TODAY))
            .map_err(|error| error.to_string())
    };
    first(&["alice"], &["alice"]).unwrap();
    let error = first(&["mallory"], &["mallory"]).unwrap_err();
    assert!(error.contains("0 of the 1"), "{error}");
    let error = first(&["alice", "mallory"], &["alice", "mallory"]).unwrap_err();
    assert!(error.contains("1 of the 2"), "{error}");
}

#[test]
fn a_manifest_follows_only_the_one_before_it() {
    let known = [people().alice.clone(), people().mallory.clone()].concat();
    let known = certificates(&known);
    let known: Vec<_> = known.iter().collect();
    let (bytes, signature) = manifest(1, None, &["alice"], &["alice"]);
    let pinned = PinnedManifest::first(&bytes, &signature, &known, at(TODAY)).unwrap();
    let follow = |version, prev, signer: &str| {
        let (bytes, signature) = manifest(version, prev, &["alice"], &[signer]);
        pinned.follow(&bytes, &signature, &known, at(TODAY)).map_err(|error| error.to_string())
    };
    assert_eq!(follow(2, Some(pinned.sha256), "alice").unwrap().manifest.version, 2);
    for (outcome, words) in [
        (follow(2, Some(pinned.sha256), "mallory"), "0 of the 1"),
        (follow(2, Some(Digest::of(b"x")), "alice"), "does not follow"),
        (follow(3, Some(pinned.sha256), "alice"), "does not follow"),
    ] {
        let error = outcome.unwrap_err();
        assert!(error.contains(words), "{error}");
    }
    let (bytes, signature) = manifest(2, Some(pinned.sha256), &["alice"], &["alice"]);
    let second = pinned.follow(&bytes, &signature, &known, at(TODAY)).unwrap();
    let (bytes, signature) = manifest(1, None, &["alice"], &["alice"]);
    let error = second.follow(&bytes, &signature, &known, at(TODAY)).unwrap_err();
    assert!(error.to_string().contains("went back from version 2 to 1"), "{error}");
}
