//! The headers in which callers show who they are.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use dbt_server::authn::Credential;
use hyper::HeaderMap;
use hyper::header::{AUTHORIZATION, HeaderName, HeaderValue};

const TOKEN: HeaderName = HeaderName::from_static("token");

/// Reads some lines; the first byte of each chooses its header.
pub fn run(data: &[u8]) {
    let mut headers = HeaderMap::new();
    let mut lines = [Vec::new(), Vec::new()];
    for line in data.split(|byte| *byte == b'\n').take(4) {
        let Some((first, value)) = line.split_first() else { continue };
        let Ok(value) = HeaderValue::from_bytes(value) else { continue };
        let (which, name) = [(0, AUTHORIZATION), (1, TOKEN)][usize::from(first % 2)].clone();
        lines[which].push(value.clone());
        headers.append(name, value);
    }
    let Ok(offered) = Credential::all_of(&headers) else { return };
    assert!(lines.iter().all(|lines| lines.len() <= 1), "which of two would count?");
    let line = |which: usize| {
        let value = lines[which].first().map_or(b"".as_slice(), HeaderValue::as_bytes);
        std::str::from_utf8(value).expect("only text is read").trim()
    };
    let blank = lines.iter().filter(|lines| lines.is_empty()).count();
    assert!(offered.len() + blank <= 2);
    for credential in &offered {
        let secret = match credential {
            Credential::SshToken(token) => {
                assert_eq!(token.expose(), line(1));
                token
            }
            Credential::Bearer(token) => {
                let (scheme, rest) = line(0).split_once(' ').expect("it has a scheme");
                assert!(scheme.eq_ignore_ascii_case("bearer"));
                assert_eq!(token.expose(), rest.trim());
                token
            }
            Credential::Basic { user, password } => {
                let (scheme, rest) = line(0).split_once(' ').expect("it has a scheme");
                assert!(scheme.eq_ignore_ascii_case("basic") && !user.contains(':'));
                let both = format!("{user}:{}", password.expose());
                assert_eq!(STANDARD.encode(both), rest.trim(), "it can be read in one way");
                password
            }
        };
        // Word for word, since a secret may itself look like a part of what is shown.
        let shown = match credential {
            Credential::SshToken(_) => "SshToken(Secret(***))".to_owned(),
            Credential::Bearer(_) => "Bearer(Secret(***))".to_owned(),
            Credential::Basic { user, .. } => {
                format!("Basic {{ user: {user:?}, password: Secret(***) }}")
            }
        };
        assert_eq!(format!("{credential:?}"), shown);
        let secret = secret.expose();
        if credential.is_signed_token() && !matches!(credential, Credential::SshToken(_)) {
            let parts: Vec<&str> = secret.split('.').collect();
            assert_eq!(parts.len(), 3, "{secret}");
            assert!(parts.iter().all(|part| URL_SAFE_NO_PAD.decode(part).is_ok()), "{secret}");
        }
    }
}
