//! The corpus: what fuzzing has found to be interesting, and every input that was ever a bug.

use std::path::{Path, PathBuf};

use dbt_fuzz::{TARGETS, Target, fixtures};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz")
}

fn run(name: &str) {
    let target = TARGETS.iter().find(|target| target.name == name).unwrap();
    (target.run)(b"");
    let mut inputs = 0;
    for entry in std::fs::read_dir(root().join("corpus").join(name)).unwrap() {
        let path = entry.unwrap().path();
        let bytes = std::fs::read(&path).unwrap();
        let outcome = std::panic::catch_unwind(|| (target.run)(&bytes));
        assert!(outcome.is_ok(), "{}", path.display());
        inputs += 1;
    }
    assert!(inputs > 0, "{name} has a corpus");
}

macro_rules! targets {
    ($($name:ident)+) => {
        $(#[test]
        fn $name() {
            run(stringify!($name));
        })+

        #[test]
        fn every_target_has_its_test_its_program_and_its_corpus() {
            let tested = [$(stringify!($name)),+];
            let mut known: Vec<&str> = TARGETS.iter().map(|target: &Target| target.name).collect();
            known.sort_unstable();
            assert_eq!(known, tested);
            let manifest = std::fs::read_to_string(root().join("Cargo.toml")).unwrap();
            for name in tested {
                let program = root().join(format!("fuzz_targets/{name}.rs"));
                let program = std::fs::read_to_string(program).unwrap();
                assert!(program.contains(&format!("dbt_fuzz::{name}::run")), "{name}");
                assert!(manifest.contains(&format!("name = \"{name}\"")), "{name}");
            }
        }
    };
}

targets! {
    announcement answer archive callback catalog checksum claims client_config command_line
    credential directory directory_filter documents function_output gomason grammar job listing
    metadata netrc provider request server_config sign_in signature signed_token state token_cache
    truststore users web
}

/// Were the fixtures not good to begin with, nothing that refuses them would mean anything.
#[test]
fn the_fixtures_are_good_until_they_are_changed() {
    use dbt_core::trust::keys::Certificate;
    use dbt_core::trust::openpgp::SignatureBlock;

    let certificates: Vec<&Certificate> = fixtures::keyring().certificates.iter().collect();
    assert_eq!(certificates.len(), fixtures::TRUSTED.len());
    for (file, signers) in fixtures::SIGNATURES.iter().zip([1, 1, 1, 1, 1, 1, 2]) {
        let again = fixtures::armored("SIGNATURE", &fixtures::dearmored(file));
        let block = SignatureBlock::parse(&again).unwrap();
        let mut content = fixtures::CONTENT;
        let digests = block.hash(&mut content, 1 << 20).unwrap();
        let judgement = block.judge(&digests, &certificates, fixtures::now());
        assert_eq!(judgement.good.len(), signers, "{judgement:?}");
        assert!(judgement.good.iter().all(|good| good.made == fixtures::signed()));
    }
    let revoked = dbt_core::trust::keys::Keyring::parse(fixtures::REVOKED).unwrap();
    assert!(revoked.certificates[0].is_revoked());
    assert!(certificates[4].is_certified_by(certificates[0], fixtures::now()));
}

/// A corpus that ends at the armor would try nothing of what protects anybody.
#[test]
fn the_corpus_of_signatures_reaches_verdicts_good_and_bad() {
    use std::collections::BTreeSet;

    use dbt_core::trust::keys::Certificate;
    use dbt_core::trust::openpgp::SignatureBlock;

    let certificates: Vec<&Certificate> = fixtures::keyring().certificates.iter().collect();
    let (mut good, mut refusals) = (0, BTreeSet::new());
    for entry in std::fs::read_dir(root().join("corpus/signature")).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        let Ok(block) = SignatureBlock::parse(&dbt_fuzz::signature::file_of(&bytes)) else {
            continue;
        };
        let mut content = fixtures::CONTENT;
        let digests = block.hash(&mut content, 1 << 20).unwrap();
        let judgement = block.judge(&digests, &certificates, fixtures::now());
        good += judgement.good.len();
        let kind =
            |refusal| format!("{refusal:?}").split([' ', '(', '{']).next().map(str::to_owned);
        refusals.extend(judgement.refused.iter().filter_map(kind));
    }
    assert!(good >= 10, "{good} good signatures");
    assert!(refusals.len() >= 6, "{refusals:?}");
}

/// A corpus of what is refused would try nothing of what lets anybody in.
#[test]
fn the_corpora_of_proofs_reach_what_is_accepted() {
    use dbt_fuzz::signer;
    use dbt_server::authn::jwt::Jwt;
    use dbt_server::authn::keys::Algorithm;
    use dbt_server::authn::oidc::keys::{KeySet, Signed};
    use dbt_server::authn::verified::Verified;

    let token = signer::token(br#"{"alg":"EdDSA"}"#, b"{}");
    let jwt = Jwt::parse(&token, &Algorithm::ALL).unwrap();
    let set = format!(r#"{{"keys":[{}]}}"#, signer::jwk());
    assert_eq!(KeySet::parse(set.as_bytes()).unwrap().judge(&jwt, &Verified::new()), Signed::Yes);
    let inputs = |name: &str| {
        let files = std::fs::read_dir(root().join("corpus").join(name)).unwrap();
        files.map(|entry| std::fs::read(entry.unwrap().path()).unwrap()).collect::<Vec<_>>()
    };
    let knows_the_key = |input: &Vec<u8>| {
        let set = KeySet::parse(input.get(1..).unwrap_or_default());
        set.is_some_and(|set| set.judge(&jwt, &Verified::new()) == Signed::Yes)
    };
    assert!(inputs("provider").iter().any(knows_the_key));
    let accepted = inputs("signed_token");
    let accepted = accepted.iter().filter(|input| dbt_fuzz::signed_token::is_accepted(input));
    assert!(accepted.count() >= 10);
    let answered = inputs("sign_in");
    for question in 0..7 {
        let mut of_it =
            answered.iter().filter(|input| input.first().is_some_and(|it| it % 7 == question));
        assert!(of_it.any(|input| dbt_fuzz::sign_in::is_answered(input)), "{question}");
    }
}
