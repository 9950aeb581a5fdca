//! docs/signing-in-ci.md: its commands are typed as they stand there, at services that are played by
//! scripts: they take nothing but the words of the page, and hold the key.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use super::http::TOKEN;
use super::world::{Run, SCRIPT, World, artifact};

const PAGE: &str = include_str!("../../../../docs/signing-in-ci.md");

/// Signs the digest in a file `digest`, as ECDSA does.
const ECDSA: &str = "openssl pkeyutl -sign -inkey PLACE/key.pem -in PLACE/digest";

/// Signs it as RSA does that knows what it signs.
const RSA: &str =
    "openssl pkeyutl -sign -inkey PLACE/key.pem -in PLACE/digest -pkeyopt digest:sha256";

/// The services. Each refuses whatever is not on the page.
const SERVICES: [(&str, &str); 5] = [
    (
        "aws",
        r#"case "$*" in
"kms get-public-key --key-id alias/releases --query PublicKey --output text")
  openssl pkey -in PLACE/key.pem -pubout -outform DER | base64 -w0; echo ;;
"kms sign --key-id alias/releases --message fileb:///dev/stdin --message-type DIGEST --signing-algorithm ECDSA_SHA_256 --query Signature --output text")
  cat > PLACE/digest; ECDSA | base64 -w0; echo ;;
"kms sign --key-id alias/releases --message fileb:///dev/stdin --message-type DIGEST --signing-algorithm RSASSA_PKCS1_V1_5_SHA_256 --query Signature --output text")
  cat > PLACE/digest; RSA | base64 -w0; echo ;;
*) echo "aws: $*" >&2; exit 2 ;;
esac"#,
    ),
    (
        "gcloud",
        r#"case "$*" in
"kms keys versions get-public-key 1 --key releases --keyring R --location global --output-file public.pem")
  openssl pkey -in PLACE/key.pem -pubout -out public.pem ;;
"auth print-access-token") cat PLACE/access-token ;;
*) echo "gcloud: $*" >&2; exit 2 ;;
esac"#,
    ),
    (
        "curl",
        r#"test "$*" = "-sf -H Authorization: Bearer $(cat PLACE/access-token) -H Content-Type: application/json --data-binary @- https://cloudkms.googleapis.com/v1/projects/P/locations/global/keyRings/R/cryptoKeys/releases/cryptoKeyVersions/1:asymmetricSign" || exit 22
jq -er .digest.sha256 | base64 -d > PLACE/digest
ECDSA | base64 -w0 | jq -R '{name: "x", signature: .}'"#,
    ),
    (
        "vault",
        r#"case "$*" in
"read -format=json transit/keys/releases")
  openssl pkey -in PLACE/key.pem -pubout | jq -Rs '{data: {keys: {"1": {public_key: .}}}}' ;;
"write -field=signature transit/sign/releases/sha2-256 prehashed=true input="*)
  for last; do :; done
  printf %s "${last#input=}" | base64 -d > PLACE/digest; echo "vault:v1:$(ECDSA | base64 -w0)" ;;
*) echo "vault: $*" >&2; exit 2 ;;
esac"#,
    ),
    (
        "pkcs11-tool",
        r#"case "$*" in
"--module /usr/lib/opensc-pkcs11.so --read-object --type pubkey --id 02")
  openssl pkey -in PLACE/key.pem -pubout -outform DER ;;
"--module /usr/lib/opensc-pkcs11.so --sign --mechanism ECDSA --id 02 --pin env:PIN")
  cat > PLACE/digest; ECDSA | python3 -c '
import sys
der = sys.stdin.buffer.read()
r, rest = der[4:4 + der[3]], der[4 + der[3]:]
for number in r, rest[2:2 + rest[1]]:
    sys.stdout.buffer.write(int.from_bytes(number, "big").to_bytes(32, "big"))' ;;
"--module /usr/lib/opensc-pkcs11.so --sign --mechanism RSA-PKCS --id 02 --pin env:PIN")
  cat > PLACE/digest; openssl pkeyutl -sign -inkey PLACE/key.pem -in PLACE/digest ;;
*) echo "pkcs11-tool: $*" >&2; exit 2 ;;
esac"#,
    ),
];

const P256: [&str; 4] = ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"];
const RSA_3072: [&str; 4] = ["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:3072"];

/// A job: a key that nobody but the services reads, a build, and a server in the configuration.
fn job(algorithm: [&str; 4]) -> World {
    let world = World::with_alice();
    let place = world.path("").to_str().unwrap().trim_end_matches('/').to_owned();
    make_key(&world, algorithm);
    world.write_secret("access-token", TOKEN);
    for (name, script) in SERVICES {
        let script = script.replace("ECDSA |", &format!("{ECDSA} |"));
        let script = script.replace("RSA |", &format!("{RSA} |")).replace("PLACE", &place);
        let path = world.write(&format!("bin/{name}"), format!("#!/bin/sh\n{script}\n").as_bytes());
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    world.write("dist/linux/amd64/deploy", SCRIPT);
    let config = serde_json::json!({"servers": {"acme": {
        "repository": format!("{place}/repo/dbt"),
        "truststore": format!("{place}/repo/dbt/truststore"),
        "toolsRepository": format!("{place}/repo/dbt-tools"),
    }}});
    world.write("home/.dbt/conf/dbt.json", config.to_string().as_bytes());
    world
}

fn make_key(world: &World, algorithm: [&str; 4]) {
    let mut openssl = Command::new("openssl");
    openssl.args(["genpkey", "-out"]).arg(world.path("key.pem")).args(algorithm);
    let output = openssl.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Types lines into a shell.
fn types(world: &World, lines: &str) -> Run {
    let programs = Path::new(env!("CARGO_BIN_EXE_publisher")).parent().unwrap();
    let path = format!("PATH={}:{}:$PATH", world.path("bin").display(), programs.display());
    world.write("typed", format!("{path}\n{lines}\n").as_bytes());
    world.run_through(&["sh", "-eu", "typed"].map(OsString::from), "")
}

/// Returns the block of a section, without prompts.
fn block(title: &str, language: &str) -> String {
    let section = PAGE.split(&format!("\n## {title}\n")).nth(1);
    let section = section.unwrap_or_else(|| panic!("the page has lost `{title}`"));
    block_of(section.split("\n## ").next().unwrap(), language)
}

fn block_of(text: &str, language: &str) -> String {
    let block = text.split(&format!("```{language}\n")).nth(1).unwrap();
    let lines = block.split("```").next().unwrap().lines();
    lines.map(|line| line.strip_prefix("$ ").unwrap_or(line)).collect::<Vec<_>>().join("\n")
}

/// Types what a section says, changed by the reader, and what the page says to do with it: then a client
/// accepts what is published.
#[track_caller]
fn signs(title: &str, algorithm: [&str; 4], change: impl Fn(String) -> String) {
    let world = job(algorithm);
    let commands = block_of(PAGE, "console");
    assert_eq!(commands.matches("publisher ").count(), 3, "{commands}");
    let typed = types(&world, &format!("{}\n{commands}", change(block(title, "sh"))));
    assert_eq!(typed.code, Some(0), "{}", typed.talk);
    assert!(!typed.talk.contains("not in the truststore"), "{}", typed.talk);
    assert!(world.client_accepts(&artifact("deploy", "1.4.0", "linux/amd64")).unwrap());
    assert_eq!(world.truststore().certificates.len(), 2);
}

#[test]
fn the_commands_for_aws_sign() {
    signs("AWS KMS", P256, |block| block);
    assert!(PAGE.contains("For an RSA key: `RSASSA_PKCS1_V1_5_SHA_256`."));
    let rsa = |block: String| block.replace("ECDSA_SHA_256", "RSASSA_PKCS1_V1_5_SHA_256");
    signs("AWS KMS", RSA_3072, rsa);
}

#[test]
fn the_commands_for_google_sign() {
    signs("Google Cloud KMS", P256, |block| block);
}

#[test]
fn the_commands_for_vault_sign() {
    signs("HashiCorp Vault, transit engine", P256, |block| block);
}

#[test]
fn the_commands_for_a_card_sign() {
    const TITLE: &str = "PKCS#11: cards, tokens, hardware modules";
    signs(TITLE, P256, |block| block);
    // The page says what stands in front for a key of RSA, and which mechanism it wants.
    let front = PAGE.split("`(printf ").nth(1).unwrap().split("` in front").next().unwrap();
    let front = format!("(printf {front} pkcs11-tool").replace('\'', "\"");
    let rsa = |block: String| {
        let (before, command) = block.split_once("COMMAND='pkcs11-tool").unwrap();
        format!("{before}COMMAND='{front}{}", command.replace("ECDSA", "RSA-PKCS"))
    };
    signs(TITLE, RSA_3072, rsa);
}

/// What the page says before it begins: whoever signs with another key publishes nothing.
#[test]
fn a_service_that_signs_with_another_key_publishes_nothing() {
    let world = job(P256);
    let (certificate, publish) = {
        let commands = block_of(PAGE, "console");
        let (certificate, rest) = commands.split_once("\npublisher truststore").unwrap();
        let publish = rest.split_once("\npublisher publish").unwrap().1;
        (certificate.to_owned(), format!("publisher publish{publish}"))
    };
    let aws = block("AWS KMS", "sh");
    types(&world, &format!("{aws}\n{certificate}")).succeeds();
    let before = world.served();
    make_key(&world, P256);
    let run = types(&world, &format!("{aws}\n{publish}"));
    run.fails(86, "clients would refuse a signature by");
    assert_eq!(world.served(), before);
}
