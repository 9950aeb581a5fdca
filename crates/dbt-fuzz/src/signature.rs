//! Signature files, from the armor to the verdict: nothing is good that nobody signed.

use std::io::Cursor;

use dbt_core::digest::Digest;
use dbt_core::release::{ArtifactId, Subject};
use dbt_core::trust::keys::Certificate;
use dbt_core::trust::openpgp::{ContentDigests, SignatureBlock};
use dbt_core::trust::{Companions, Expectation, Fetched};

use crate::fixtures::{self, CONTENT, armored, dearmored};
use crate::input::{Input, mutated};

/// Bytes that nobody signed.
const OTHER: &[u8] = b"the bytes that nobody signed\n";

/// Every binding that somebody in the truststore has signed.
const BINDINGS: [&str; 2] = ["tool/deploy/1.2.3/linux/amd64", "tool/other/1.2.3/linux/amd64"];

/// Reads a signature file as it is, or good packets that were changed, or any packets.
pub fn run(data: &[u8]) {
    let file = file_of(data);
    let Ok(block) = SignatureBlock::parse(&file) else {
        assert!(!is_endorsed(&file, CONTENT, &artifact(BINDINGS[0]), false));
        return;
    };
    judged(&block);
    for (content, binding, bound) in [
        (CONTENT, "tool/third/1.2.3/linux/amd64", true),
        (OTHER, BINDINGS[0], false),
        (OTHER, BINDINGS[1], true),
    ] {
        assert!(!is_endorsed(&file, content, &artifact(binding), bound), "{binding}");
    }
}

/// Returns the signature file that an input means.
pub fn file_of(data: &[u8]) -> Vec<u8> {
    let mut input = Input(data);
    match input.byte() % 4 {
        0 => input.0.to_vec(),
        1 => {
            let base = dearmored(input.one_of(&fixtures::SIGNATURES));
            armored("SIGNATURE", &mutated(&base, input))
        }
        2 => armored("SIGNATURE", input.0),
        _ => {
            let base = dearmored(fixtures::STRANGERS);
            armored("SIGNATURE", &mutated(&base, input))
        }
    }
}

fn judged(block: &SignatureBlock) {
    let certificates: Vec<&Certificate> = fixtures::keyring().certificates.iter().collect();
    let hash = |content: &[u8]| -> ContentDigests {
        block.hash(&mut Cursor::new(content), 1 << 20).expect("memory can be read")
    };
    let (right, wrong) = (hash(CONTENT), hash(OTHER));
    assert_eq!(right.sha256(), Digest::of(CONTENT));
    assert_eq!(right.length(), CONTENT.len() as u64);

    let nothing = block.judge(&wrong, &certificates, fixtures::now());
    assert!(nothing.good.is_empty(), "nobody signed this: {nothing:?}");
    let nobody = block.judge(&right, &[], fixtures::now());
    assert!(nobody.good.is_empty(), "nobody could have: {nobody:?}");
    let early = block.judge(&right, &certificates, fixtures::signed() - YEAR);
    assert!(early.good.is_empty(), "signed in the future: {early:?}");

    let judgement = block.judge(&right, &certificates, fixtures::now());
    for good in &judgement.good {
        let signer = certificates.iter().position(|it| it.fingerprint() == &good.signer);
        assert!(signer.is_some_and(|signer| signer < 4), "bob and edith signed nothing: {good:?}");
        assert_eq!(good.made, fixtures::signed());
        let known = |notation: &String| BINDINGS.contains(&notation.as_str());
        assert!(good.notations.iter().all(known), "{good:?}");
    }
}

const YEAR: std::time::Duration = std::time::Duration::from_hours(365 * 24);

/// Says whether the one verifier takes these bytes for this artifact.
fn is_endorsed(signature: &[u8], content: &[u8], id: &ArtifactId, must_be_bound: bool) -> bool {
    let checksum = Digest::of(content).to_string().into_bytes();
    let companions = Companions { checksum, signature: signature.to_vec() };
    let fetched = Fetched::from_network(id.clone(), Cursor::new(content), companions);
    let expectation = Expectation { must_be_bound, ..Expectation::default() };
    fixtures::store().verify(fetched, &expectation, fixtures::now()).is_ok()
}

fn artifact(binding: &str) -> ArtifactId {
    let parts: Vec<&str> = binding.split('/').collect();
    let [_tool, name, version, os, arch] = parts.as_slice() else { panic!("{binding}") };
    let id = ArtifactId {
        subject: Subject::Tool(name.parse().unwrap()),
        version: version.parse().unwrap(),
        platform: format!("{os}/{arch}").parse().unwrap(),
    };
    assert_eq!(id.binding(), binding);
    id
}
