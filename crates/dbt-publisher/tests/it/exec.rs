//! Signing with keys that the publisher never sees: `openssl` holds them, as a key service does.

use std::process::Command;

use super::world::{SCRIPT, World, artifact};

/// What stands for the service: it gets a digest and gives a signature.
const RSA: &str = "openssl%20pkeyutl%20-sign%20-inkey%20key.pem%20-pkeyopt%20digest:sha256";
const P256: &str = "openssl%20pkeyutl%20-sign%20-inkey%20key.pem|base64";

const PUBLISH: &str = "publish deploy 1.4.0 linux/amd64=deploy --description x --to REPO \
                       --certificate cert.asc --signer exec:";

fn openssl(world: &World, words: &[&str]) {
    let output = Command::new("openssl").args(words).current_dir(world.path("")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// A world with a key that only `openssl` uses, and a script `deploy`.
fn with_key(algorithm: &[&str]) -> World {
    let world = World::new();
    world.write("deploy", SCRIPT);
    openssl(&world, &[&["genpkey", "-out", "key.pem"], algorithm].concat());
    openssl(&world, &["pkey", "-in", "key.pem", "-pubout", "-out", "public.pem"]);
    world
}

fn certified(world: &World, command: &str) {
    let line = format!(
        "key certificate releases --email ci@example.org --public-key public.pem --signer exec:{command}"
    );
    let certificate = world.run(&line).succeeds().data;
    world.write("cert.asc", certificate.as_bytes());
}

/// Makes a certificate, puts it into a truststore that it signs itself, and publishes.
fn publishes(algorithm: &[&str], command: &str) {
    let world = with_key(algorithm);
    certified(&world, command);
    world
        .run(&format!(
            "truststore add cert.asc --to REPO --certificate cert.asc --signer exec:{command}"
        ))
        .succeeds();
    world.run(&format!("{PUBLISH}{command}")).says_nothing();
    assert!(world.client_accepts(&artifact("deploy", "1.4.0", "linux/amd64")).unwrap());
}

#[test]
fn a_key_of_rsa_behind_a_command_signs() {
    publishes(&["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:3072"], RSA);
}

#[test]
fn a_key_of_p256_behind_a_command_signs_and_may_give_base64() {
    publishes(&["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"], P256);
}

#[test]
fn a_key_of_ed25519_behind_a_command_signs() {
    let command = "cat>digest;openssl%20pkeyutl%20-sign%20-rawin%20-inkey%20key.pem%20-in%20digest";
    publishes(&["-algorithm", "ED25519"], command);
}

#[test]
fn gpg_reads_the_certificate_and_the_signature() {
    let world = with_key(&["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"]);
    certified(&world, P256);
    world.run(&format!("{PUBLISH}{P256}")).succeeds();
    let gpg = super::gpg::Gpg::new();
    gpg.run(&["--import"], &world.read("cert.asc"));
    let artifact = world.path("repo/dbt-tools/deploy/1.4.0/linux/amd64/deploy");
    let signature = artifact.with_extension("asc");
    gpg.run(&["--verify", signature.to_str().unwrap(), artifact.to_str().unwrap()], b"");
}

#[test]
fn others_are_certified_by_a_key_behind_a_command() {
    let world = with_key(&["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"]);
    certified(&world, P256);
    let signer = format!("--to REPO --certificate cert.asc --signer exec:{P256}");
    world.run(&format!("truststore add cert.asc --admin {signer}")).succeeds();
    let alice = world.key("alice");
    world.run(&format!("truststore add alice {signer}")).succeeds();
    let certificates = world.truststore().certificates;
    let service = certificates.iter().find(|one| one.fingerprint() != alice.fingerprint()).unwrap();
    let alices = certificates.iter().find(|one| one.fingerprint() == alice.fingerprint()).unwrap();
    assert!(alices.is_certified_by(service, dbt_core::clock::Clock::System.now()));
}

/// Publishes in vain and says that nothing was written.
#[track_caller]
fn refuses(world: &World, line: &str, code: i32, words: &str) {
    world.run(line).fails(code, words);
    assert!(!world.path("repo/dbt-tools").exists());
}

#[test]
fn a_command_that_does_not_sign_is_named_and_nothing_is_published() {
    let world = with_key(&["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"]);
    certified(&world, P256);
    for (command, code, words) in [
        ("exit%203", 81, "the command of `--signer exec:` failed (exit status: 3)"),
        ("true", 81, "(0 bytes) is no signature by a key of this kind"),
        ("cat", 81, "(32 bytes) is no signature by a key of this kind"),
        ("cat%20/dev/zero", 81, "is no signature by a key of this kind"),
        ("head%20-c%2064%20/dev/zero", 86, "clients would refuse a signature by"),
        (
            "openssl%20genpkey%20-algorithm%20EC%20-pkeyopt%20ec_paramgen_curve:P-256%20-out%20other.pem;openssl%20pkeyutl%20-sign%20-inkey%20other.pem",
            86,
            "clients would refuse a signature by",
        ),
    ] {
        refuses(&world, &format!("{PUBLISH}{command}"), code, words);
    }
    refuses(
        &world,
        &format!("{PUBLISH}{P256}").replace("--certificate cert.asc", ""),
        80,
        "needs `--certificate FILE`",
    );
    refuses(
        &world,
        &format!("{PUBLISH}{P256}").replace("cert.asc", "deploy"),
        81,
        "`deploy` is not a certificate that can be used",
    );
}

#[test]
fn a_certificate_is_made_only_for_the_key_that_the_command_has() {
    let world = with_key(&["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"]);
    openssl(
        &world,
        &[
            "genpkey",
            "-algorithm",
            "EC",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-out",
            "other.pem",
        ],
    );
    let line = format!("key certificate x --public-key public.pem --signer exec:{P256}");
    world
        .run(&line.replace("key.pem", "other.pem"))
        .fails(86, "does not sign with the key that `--public-key` names");
    world
        .run(&line.replace("public.pem", "deploy"))
        .fails(80, "`deploy` holds no public key of RSA");
    world
        .run(&line.replace(&format!("exec:{P256}"), "file:x"))
        .fails(80, "`--signer exec:COMMAND`");
    openssl(
        &world,
        &[
            "genpkey",
            "-algorithm",
            "EC",
            "-pkeyopt",
            "ec_paramgen_curve:secp256k1",
            "-out",
            "key.pem",
        ],
    );
    openssl(&world, &["pkey", "-in", "key.pem", "-pubout", "-out", "public.pem"]);
    world.run(&line).fails(80, "holds no public key of RSA, NIST P-256 or Ed25519");
}

#[test]
fn the_command_sees_the_digest_and_no_secrets_of_ours() {
    let mut world = with_key(&["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"]);
    certified(&world, P256);
    world.set("DBT_PUBLISH_TOKEN", "hunter2");
    world.run(&format!("{PUBLISH}env>seen;wc%20-c>length;exit%201")).fails(81, "failed");
    let seen = String::from_utf8(world.read("seen")).unwrap();
    assert!(!seen.contains("hunter2") && !seen.contains("DBT_SIGNING_PASSPHRASE"), "{seen}");
    assert_eq!(String::from_utf8(world.read("length")).unwrap().trim(), "32");
}
