//! What a browser brings back to the page on this machine, or a person pastes.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use dbt_client::oidc::browser::{self, Invitation, Paste};
use dbt_client::oidc::{OidcError, Provider};
use dbt_client::source::Cancel;
use dbt_core::secret::Secret;
use serde_json::json;

use crate::endpoint::Endpoint;
use crate::input::Input;
use crate::sign_in::{ISSUER, channel, client, offering};

/// What stands for the state of the sign-in, in an input.
const STATE: &str = "STATE";

/// What stands for the page's host.
const HOST: &str = "HOST";

/// How long a sign-in may take that nothing ends.
const LIMIT: Duration = Duration::from_secs(9);

thread_local! {
    static ENDPOINT: Endpoint = Endpoint::start();
    static PROVIDERS: [Provider; 2] = ENDPOINT.with(|endpoint| {
        [false, true].map(|says_who_it_is| {
            let name = "authorization_response_iss_parameter_supported";
            offering(endpoint, &json!({name: says_who_it_is}))
        })
    });
}

/// The first byte chooses what comes, and whether the provider says who it is.
pub fn run(data: &[u8]) {
    let mut input = Input(data);
    let choice = usize::from(input.byte());
    let (is_pasted, says_who_it_is) = (choice.is_multiple_of(2), choice / 2 % 2);
    let Ok(text) = std::str::from_utf8(input.0) else { return };
    ENDPOINT.with(|endpoint| {
        PROVIDERS.with(|providers| {
            // Whatever is redeemed is refused.
            endpoint.say([]);
            let signing_in = SigningIn {
                endpoint,
                provider: &providers[says_who_it_is],
                says_who_it_is: says_who_it_is == 1,
            };
            if is_pasted { signing_in.with_a_paste(text) } else { signing_in.with_a_request(text) }
        });
    });
}

/// A sign-in that something comes back to.
struct SigningIn<'a> {
    endpoint: &'a Endpoint,
    provider: &'a Provider,
    says_who_it_is: bool,
}

/// What is known of a sign-in by the page that begins it.
struct Begun {
    state: String,
    address: SocketAddr,
}

/// What ends a sign-in.
#[derive(Debug, PartialEq, Eq)]
enum Ends {
    Code(String),
    Refusal,
}

impl SigningIn<'_> {
    fn signed_in(&self, invite: &mut dyn FnMut(&Invitation<'_>)) -> OidcError {
        let within = (LIMIT, &Cancel::default());
        let outcome = browser::sign_in(&channel(), self.provider, &client(), within, invite);
        outcome.expect_err("no token is ever given here")
    }

    /// What is pasted counts if it is this sign-in's, and then all of it does.
    fn with_a_paste(&self, text: &str) {
        let mut expected = None;
        let error = self.signed_in(&mut |invitation| {
            let begun = Begun::by(invitation.page);
            let text = text.replace(STATE, &begun.state);
            expected = self.ends(query_of(text.trim()), &begun.state);
            let taken = invitation.paste.address(&Secret::new(text.clone()));
            assert_eq!(taken.is_ok(), expected.is_some(), "{text:?}");
            if taken.is_err() {
                refuse(&invitation.paste, &begun.state);
            }
        });
        let asked = self.endpoint.asked();
        match expected {
            Some(Ends::Code(code)) => {
                assert_eq!(asked.len(), 1, "it is shown once");
                assert_eq!(field(&asked[0].body, "code"), Some(code));
                assert_eq!(field(&asked[0].body, "code_verifier").map(|it| it.len()), Some(43));
            }
            Some(Ends::Refusal) | None => assert!(asked.is_empty(), "{asked:?}"),
        }
        assert!(matches!(error, OidcError::Refused(_)), "{error}");
    }

    /// A request ends the sign-in only if it is this one's; the page repeats nothing of it.
    fn with_a_request(&self, text: &str) {
        std::thread::scope(|scope| {
            self.signed_in(&mut |invitation| {
                let begun = Begun::by(invitation.page);
                let host = begun.address.to_string();
                let head = text.replace(STATE, &begun.state).replace(HOST, &host);
                let head = format!("{head}\r\n\r\n");
                let is_ours = self.is_ours(&head, &begun);
                let mut stream = TcpStream::connect(begun.address).expect("the page is there");
                let _set = stream.set_read_timeout(Some(LIMIT));
                // It may have heard enough.
                let _cut = stream.write_all(head.as_bytes());
                let _closed = stream.shutdown(Shutdown::Write);
                let paste = invitation.paste.clone();
                scope.spawn(move || {
                    let mut answer = Vec::new();
                    let _reset = stream.read_to_end(&mut answer);
                    let answer = String::from_utf8(answer).expect("it is a page");
                    answered(&answer, is_ours, &begun.state);
                    refuse(&paste, &begun.state);
                });
            });
        });
    }

    /// Says whether a request is what the browser comes back with.
    fn is_ours(&self, head: &str, begun: &Begun) -> bool {
        let (head, _body) = head.split_once("\r\n\r\n").expect("it ends");
        let mut lines = head.split("\r\n");
        let words: Vec<&str> = lines.next().unwrap_or_default().split(' ').collect();
        let ["GET", target, ..] = words.as_slice() else { return false };
        let Some(("/callback", query)) = target.split_once('?') else { return false };
        let host = begun.address.to_string();
        let is_host = |line: &str| {
            let header = line.split_once(':');
            header.is_some_and(|(name, value)| {
                name.eq_ignore_ascii_case("host") && value.trim() == host
            })
        };
        lines.any(is_host) && self.ends(query, &begun.state).is_some()
    }

    /// Says how a query ends this sign-in, if it does, by another way.
    fn ends(&self, query: &str, state: &str) -> Option<Ends> {
        let pairs = pairs(query)?;
        let only = |name: &str| -> Option<Option<&String>> {
            let values: Vec<&String> =
                pairs.iter().filter(|(other, _)| other == name).map(|(_, value)| value).collect();
            (values.len() < 2).then(|| values.first().copied())
        };
        let is_its = only("state")?.is_some_and(|said| said == state);
        let is_from_there = match only("iss")? {
            Some(issuer) => issuer == ISSUER,
            None => !self.says_who_it_is,
        };
        if !is_its || !is_from_there {
            return None;
        }
        if only("error")?.is_some() {
            only("error_description")?;
            return Some(Ends::Refusal);
        }
        only("code")?.filter(|code| !code.is_empty()).cloned().map(Ends::Code)
    }
}

impl Begun {
    /// Reads the page that a browser is sent to.
    fn by(page: &str) -> Self {
        assert!(page.starts_with("https://id.example.com/auth?"), "{page}");
        let (_place, query) = page.split_once('?').unwrap();
        let get = |name: &str| field(query, name).expect("it is there");
        assert_eq!(get("code_challenge_method"), "S256");
        let redirect = get("redirect_uri");
        let place = redirect.strip_prefix("http://").and_then(|it| it.strip_suffix("/callback"));
        let address: SocketAddr = place.expect("a page here").parse().expect("by its address");
        assert!(address.ip().is_loopback(), "{address}");
        Self { state: get("state"), address }
    }
}

/// Returns what of an address, or of a query that stands alone, is the query.
fn query_of(address: &str) -> &str {
    let query = address.split_once('?').map_or(address, |(_place, query)| query);
    query.split('#').next().unwrap_or_default()
}

/// Ends a sign-in, as somebody does who says no.
fn refuse(paste: &Paste, state: &str) {
    let address = format!("error=access_denied&state={state}&iss={ISSUER}");
    paste.address(&Secret::new(address)).expect("it is this sign-in's");
}

/// Expects the page that is due, which says nothing that came.
fn answered(answer: &str, is_ours: bool, state: &str) {
    if answer.is_empty() {
        // What is longer than a head may be is not read to its end.
        return;
    }
    let status = answer.split(' ').nth(1).unwrap_or_default();
    assert_eq!(status == "200", is_ours, "{answer}");
    assert!(["200", "400", "404"].contains(&status), "{answer}");
    assert!(!answer.contains(state) && !answer.contains("<script"), "{answer}");
    let (head, body) = answer.split_once("\r\n\r\n").expect("it has a head");
    assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())), "{head}");
}

fn field(query: &str, name: &str) -> Option<String> {
    let pairs = pairs(query).expect("it is ours");
    pairs.into_iter().find(|(other, _)| other == name).map(|(_, value)| value)
}

/// Reads the pairs of a query; nothing where an escape is none.
fn pairs(query: &str) -> Option<Vec<(String, String)>> {
    let mut pairs = Vec::new();
    for pair in query.split('&') {
        if pair.is_empty() {
            continue;
        }
        let mut halves = pair.splitn(2, '=');
        let mut half = || unescaped(halves.next().unwrap_or_default());
        pairs.push((half()?, half()?));
    }
    Some(pairs)
}

fn unescaped(text: &str) -> Option<String> {
    let mut pieces = text.split('%');
    let mut bytes = pieces.next()?.replace('+', " ").into_bytes();
    for piece in pieces {
        let (digits, rest) = piece.split_at_checked(2)?;
        if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return None;
        }
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        bytes.extend(rest.replace('+', " ").bytes());
    }
    String::from_utf8(bytes).ok()
}
