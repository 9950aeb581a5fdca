//! Files of users: passwords as Apache stores them, and public keys.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use dbt_core::secret::Secret;
use dbt_server::authn::htpasswd::Htpasswd;
use dbt_server::authn::keys::PublicKey;
use dbt_server::authn::ssh_keys::{KeyFile, KeySource};
use dbt_server::authn::{Attempt, Authenticator as _, Credential, Presented, Scope, Verdict};
use hyper::{HeaderMap, Method, Uri};
use serde_json::Value;
use tokio::runtime::Runtime;

use crate::input::Input;
use crate::{fixtures, signer};

/// A line that lets in one user, with the password `pw`.
const LINE: &str = "alice:{SHA}GpHWL3ymc5liWkNopqtdSjuqYHM=\n";

/// The first byte chooses the kind of file.
pub fn run(data: &[u8]) {
    let mut input = Input(data);
    if input.byte() % 2 == 0 { passwords(input.0) } else { keys(input.0) }
}

thread_local! {
    static RUNTIME: Runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
}

/// Whatever else is in a file, a good line lets its user in, and the last one of a name counts.
fn passwords(text: &[u8]) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("htpasswd");
    std::fs::write(&file, [text, b"\n", LINE.as_bytes()].concat()).unwrap();
    let is_text = std::str::from_utf8(text).is_ok();
    let users = Htpasswd::open(&file);
    assert_eq!(users.is_ok(), is_text, "a file is refused for what it is and not for its lines");
    let Ok(users) = users else { return };
    assert!(lets_in(&users, "pw"), "a line of another harms her");
    for complaint in users.complaints() {
        assert!(complaint.starts_with("line ") && complaint.len() < 120, "{complaint}");
    }

    std::fs::write(&file, [LINE.as_bytes(), text].concat()).unwrap();
    let users = Htpasswd::open(&file).unwrap();
    let text = std::str::from_utf8(text).unwrap();
    let is_hers = |line: &str| line.trim_start().starts_with("alice:");
    if !text.lines().any(is_hers) {
        assert!(lets_in(&users, "pw"), "a line of another harms her");
    }
}

fn lets_in(users: &Htpasswd, password: &str) -> bool {
    let password = Secret::new(password.to_owned());
    let credential = Credential::Basic { user: signer::NAME.to_owned(), password };
    let headers = HeaderMap::new();
    let presented = Presented {
        headers: &headers,
        method: &Method::PUT,
        uri: &Uri::from_static("/"),
        peer: IpAddr::V4(Ipv4Addr::LOCALHOST),
        scope: Scope::Writes,
        client: None,
    };
    let attempt = Attempt { credential: &credential, presented: &presented, now: fixtures::now() };
    let verdict = RUNTIME.with(|runtime| runtime.block_on(users.identify(&attempt)));
    match verdict {
        Verdict::Proven(identity) => {
            assert_eq!(identity.subject.to_string(), "htpasswd:alice");
            true
        }
        Verdict::NotMine | Verdict::Refused(_) => false,
    }
}

/// The keys of a user are those that stand beside the name, in the list that is asked.
fn keys(text: &[u8]) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("keys.json");
    std::fs::write(&path, text).unwrap();
    let Ok(file) = KeyFile::open(&path) else { return };
    let file = Arc::new(file);
    let written: Value = serde_json::from_slice(text).expect("it is JSON");
    let members = written.as_object().expect("it is an object");
    for (list, name) in [(Scope::Reads, "getUsers"), (Scope::Writes, "putUsers")] {
        let entries = members.iter().find(|(key, _list)| key.eq_ignore_ascii_case(name));
        let entries = entries.and_then(|(_key, list)| list.as_array()).into_iter().flatten();
        let mut expected = Vec::new();
        for entry in entries {
            let text = |wanted: &str| {
                let mut members = entry.as_object()?.iter();
                members.find(|(key, _)| key.eq_ignore_ascii_case(wanted))?.1.as_str()
            };
            let (Some(user), Some(line)) = (text("username"), text("publickey")) else { continue };
            if user.trim() == signer::NAME {
                expected.extend(PublicKey::of_openssh(line.trim()).ok());
            }
        }
        let source = KeySource::File { file: Arc::clone(&file), list };
        let peer = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let found = RUNTIME
            .with(|it| it.block_on(source.of_user(signer::NAME, peer, fixtures::now())))
            .expect("a file always answers");
        assert_eq!(found, expected);
    }
}
