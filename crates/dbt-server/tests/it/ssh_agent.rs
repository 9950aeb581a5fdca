//! A real ssh-agent signs tokens, as clients have it done.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use dbt_testkit::ssh_agent::{Agent, fields, framed};

use crate::tokens::{claims, key_file};
use crate::world::{Place, Reply, Server};

/// How an RSA key signs: the flags of the agent's protocol.
const SHA1: u32 = 0;
const SHA256: u32 = 2;
const SHA512: u32 = 4;

/// Has bytes signed, and returns what a token takes of the answer.
fn sign(agent: &Agent, line: &str, bytes: &[u8], flags: u32) -> Vec<u8> {
    let key = STANDARD.decode(line.split(' ').nth(1).unwrap()).unwrap();
    let mut request = vec![13];
    request.extend(framed(&key));
    request.extend(framed(bytes));
    request.extend(flags.to_be_bytes());
    let answer = agent.ask(&request);
    assert_eq!(answer.first(), Some(&14), "the agent refuses");
    let parts = fields(fields(&answer[1..])[0]);
    match line.split(' ').next().unwrap() {
        "ecdsa-sha2-nistp256" => fixed(parts[1], 32),
        "ecdsa-sha2-nistp384" => fixed(parts[1], 48),
        "ecdsa-sha2-nistp521" => fixed(parts[1], 66),
        _ => parts[1].to_vec(),
    }
}

/// Returns a header line that is good once.
fn header(agent: &Agent, user: &str, line: &str, algorithm: &str, flags: u32) -> String {
    let header = format!(r#"{{"alg":"{algorithm}","typ":"JWT"}}"#);
    let claims = claims(user).to_string();
    let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let signature = URL_SAFE_NO_PAD.encode(sign(agent, line, signed.as_bytes(), flags));
    format!("Token: {signed}.{signature}")
}

/// Puts the two numbers of an ECDSA signature beside each other, each of the same length.
fn fixed(blob: &[u8], length: usize) -> Vec<u8> {
    let number = |number: &&[u8]| {
        let digits: Vec<u8> = number.iter().copied().skip_while(|byte| *byte == 0).collect();
        [vec![0; length - digits.len()], digits].concat()
    };
    fields(blob).iter().flat_map(number).collect()
}

fn put(server: &Server, header: &str) -> Reply {
    server.send("PUT", "/dbt/new", &[header], b"body")
}

#[test]
fn what_a_real_agent_signs_publishes_and_weak_signatures_do_not() {
    let agent = Agent::start();
    let ed25519 = agent.key("ed25519", &["-t", "ed25519"]);
    let rsa = agent.key("rsa", &["-t", "rsa", "-b", "2048"]);
    let small = agent.key("small", &["-t", "rsa", "-b", "1024"]);
    let p256 = agent.key("p256", &["-t", "ecdsa", "-b", "256"]);
    let p384 = agent.key("p384", &["-t", "ecdsa", "-b", "384"]);
    let p521 = agent.key("p521", &["-t", "ecdsa", "-b", "521"]);
    let lines = [
        ("ed25519", ed25519.clone()),
        ("rsa", rsa.clone()),
        ("small", small.clone()),
        ("p256", p256.clone()),
        ("p384", p384.clone()),
        ("p521", p521.clone()),
    ];
    let place = Place::new();
    place.put_beside("keys.json", key_file(&lines).as_bytes());
    let members = r#""authTypePut": "ssh-agent-file", "pubkeysFile": "keys.json",
        "publicUrls": ["https://dbt.example.com"]"#;
    let server = Server::on(place, members);
    server.eventually("named", |server| server.log().contains("P-521 is not accepted"));
    server.eventually("named", |server| server.log().contains("RSA keys have 2048 to 8192 bits"));

    for (user, line, algorithm, flags) in [
        ("rsa", &rsa, "RS256", SHA1),
        ("rsa", &rsa, "RS256", SHA512),
        ("rsa", &rsa, "RS512", SHA256),
        ("rsa", &rsa, "EdDSA", SHA256),
        ("small", &small, "RS256", SHA256),
        ("p256", &p256, "ES384", 0),
        ("p521", &p521, "ES512", 0),
        ("p521", &p521, "ES384", 0),
        ("p256", &ed25519, "EdDSA", 0),
    ] {
        let refused = put(&server, &header(&agent, user, line, algorithm, flags));
        refused.is_refused(401, "unauthorised");
        assert!(server.tree().is_empty(), "{user} {algorithm} {flags}");
    }
    for (user, line, algorithm, flags) in [
        ("ed25519", &ed25519, "EdDSA", 0),
        // The reference's client sends this flag to every key.
        ("ed25519", &ed25519, "EdDSA", SHA256),
        ("rsa", &rsa, "RS256", SHA256),
        ("rsa", &rsa, "RS512", SHA512),
        ("p256", &p256, "ES256", 0),
        ("p384", &p384, "ES384", 0),
    ] {
        let status = put(&server, &header(&agent, user, line, algorithm, flags)).status;
        assert!(matches!(status, 200 | 201), "{user} {algorithm} {flags}: {status}");
    }
}

/// A certificate says for whom and until when a key counts, which nobody here checks: it stands
/// for no key.
#[test]
fn real_certificates_are_refused_with_the_reason_and_their_keys_count_by_themselves() {
    let agent = Agent::start();
    agent.key("authority", &["-t", "ed25519"]);
    let mut users = Vec::new();
    for (name, kind, algorithm) in [
        ("ed25519", &["-t", "ed25519"][..], "EdDSA"),
        ("rsa", &["-t", "rsa", "-b", "2048"], "RS256"),
        ("p256", &["-t", "ecdsa", "-b", "256"], "ES256"),
        ("p384", &["-t", "ecdsa", "-b", "384"], "ES384"),
    ] {
        let key = agent.key(name, kind);
        let certificate = agent.certificate("authority", name);
        assert!(certificate.contains("-cert-v01@openssh.com "), "{certificate}");
        users.push((name, key, certificate, algorithm));
    }
    let reason = "certificates are not accepted; name the key itself";
    let certified: Vec<_> = users.iter().map(|(name, _, line, _)| (*name, line.clone())).collect();
    // Under the name of a plain key, so that only what is inside tells.
    let (_, key, certificate, _) = &users[0];
    let blob = certificate.split(' ').nth(1).unwrap();
    let disguised = vec![("ed25519", format!("{} {blob}", key.split(' ').next().unwrap()))];
    for (lines, words) in [(&certified, reason), (&disguised, "it is no public key of OpenSSH")] {
        for is_command in [false, true] {
            let server = if is_command { asking(lines) } else { reading(lines) };
            for (name, key, _, algorithm) in &users {
                let refused = put(&server, &header(&agent, name, key, algorithm, SHA256));
                refused.is_refused(401, "unauthorised");
                assert!(server.tree().is_empty(), "{name}");
            }
            server.eventually(words, |server| server.log().matches(words).count() >= lines.len());
            server.eventually("recorded", |server| server.log().contains("has no keys"));
        }
    }
    let keys: Vec<_> = users.iter().map(|(name, key, ..)| (*name, key.clone())).collect();
    for server in [reading(&keys), asking(&keys)] {
        for (name, key, _, algorithm) in &users {
            let status = put(&server, &header(&agent, name, key, algorithm, SHA256)).status;
            assert!(matches!(status, 200 | 201), "{name}: {status}");
        }
    }
}

/// A server that finds these keys in a file.
fn reading(lines: &[(&str, String)]) -> Server {
    let place = Place::new();
    place.put_beside("keys.json", key_file(lines).as_bytes());
    let members = r#""authTypePut": "ssh-agent-file", "pubkeysFile": "keys.json",
        "publicUrls": ["https://dbt.example.com"]"#;
    Server::on(place, members)
}

/// A server that asks a command for these keys.
fn asking(lines: &[(&str, String)]) -> Server {
    let place = Place::new();
    let case = |(name, line): &(&str, String)| format!("{name}) echo '{}';;\n", line.trim());
    let cases: String = lines.iter().map(case).collect();
    place.put_beside("lookup", format!("case \"$1\" in\n{cases}esac\n").as_bytes());
    let members = r#""authTypePut": "ssh-agent-func", "authOptsPut": {"idpFunc": "sh lookup"},
        "publicUrls": ["https://dbt.example.com"]"#;
    Server::on(place, members)
}
