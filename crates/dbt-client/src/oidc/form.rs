//! Forms as token endpoints take them, and what of them may be shown: nothing that is a secret.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dbt_core::secret::Secret;

use super::Client;

/// What forms are.
pub(super) const FORM: &str = "application/x-www-form-urlencoded";

/// The fields of one question, in the order of their names, as the reference sends them.
#[derive(Debug, Default)]
pub(super) struct Form {
    fields: BTreeMap<&'static str, Secret<String>>,
    /// What nobody may see, of the fields and beside them.
    secrets: Vec<Secret<String>>,
}

impl Form {
    /// Adds a field.
    pub(super) fn with(mut self, name: &'static str, value: &str) -> Self {
        self.fields.insert(name, Secret::new(value.to_owned()));
        self
    }

    /// Adds a field, if there is something to say.
    pub(super) fn with_if_any(self, name: &'static str, value: Option<&str>) -> Self {
        match value.filter(|value| !value.is_empty()) {
            Some(value) => self.with(name, value),
            None => self,
        }
    }

    /// Adds a secret.
    pub(super) fn with_secret(mut self, name: &'static str, value: &Secret<String>) -> Self {
        self.fields.insert(name, value.clone());
        self.hiding(value)
    }

    /// Hides a secret that is told in another place.
    fn hiding(mut self, value: &Secret<String>) -> Self {
        self.secrets.push(value.clone());
        self
    }

    /// Adds who asks. The secret joins it where that is how this provider wants it.
    pub(super) fn by(self, client: &Client, place: SecretPlace) -> Self {
        match (&client.secret, place) {
            // Said twice, some providers refuse it.
            (Some(secret), SecretPlace::Header) => self.hiding(secret),
            (None, _) => self.with("client_id", &client.id),
            (Some(secret), SecretPlace::Form) => {
                self.with("client_id", &client.id).with_secret("client_secret", secret)
            }
        }
    }

    /// Returns all fields as they are sent.
    pub(super) fn encoded(&self) -> Secret<String> {
        let pairs = self.fields.iter().map(|(name, value)| (*name, value.expose().as_str()));
        Secret::new(encode(pairs))
    }

    /// Returns what a provider says, without the secrets it may repeat: as they are, or as they
    /// were sent.
    pub(super) fn hide_in(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for value in self.secrets.iter().map(Secret::expose).filter(|value| !value.is_empty()) {
            text = text.replace(value, "***").replace(&escape(value), "***");
        }
        text
    }
}

/// Where a client's secret stands (RFC 6749, 2.3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SecretPlace {
    /// With the other fields: `client_secret_post`.
    Form,
    /// In `Authorization`: `client_secret_basic`.
    Header,
}

impl SecretPlace {
    /// Returns the header that says who asks, where that is its place.
    pub(super) fn header(self, client: &Client) -> Option<Secret<String>> {
        let secret = client.secret.as_ref().filter(|_secret| self == Self::Header)?;
        // Both are encoded as in a form first.
        let pair = format!("{}:{}", escape(&client.id), escape(secret.expose()));
        Some(Secret::new(format!("Basic {}", STANDARD.encode(Secret::new(pair).expose()))))
    }
}

/// Writes pairs as forms and queries have them.
pub(super) fn encode<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let mut text = String::new();
    for (name, value) in pairs {
        if !text.is_empty() {
            text.push('&');
        }
        text.push_str(&escape(name));
        text.push('=');
        text.push_str(&escape(value));
    }
    text
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b' ' => escaped.push('+'),
            b'-' | b'_' | b'.' | b'~' => escaped.push(char::from(byte)),
            _ if byte.is_ascii_alphanumeric() => escaped.push(char::from(byte)),
            _ => {
                escaped.push('%');
                for half in [byte >> 4, byte & 15] {
                    let digit = char::from_digit(u32::from(half), 16).unwrap_or_default();
                    escaped.push(digit.to_ascii_uppercase());
                }
            }
        }
    }
    escaped
}

/// Reads pairs as they stand in a query; nothing where an escape is malformed or text is not UTF-8.
pub(super) fn decode(text: &str) -> Option<Vec<(String, String)>> {
    let pairs = text.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Some((unescape(name)?, unescape(value)?))
        })
        .collect()
}

fn unescape(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let mut digit = || rest.next().and_then(|byte| char::from(byte).to_digit(16));
                u8::try_from(digit()? * 16 + digit()?).ok()?
            }
            _ => byte,
        });
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_sent_in_order_and_escaped_as_in_a_form() {
        let form = Form::default()
            .with("scope", "openid email")
            .with("audience", "https://h/?a=b&c")
            .with_if_any("connector_id", None)
            .with_secret("client_secret", &Secret::new("s3cr3t+~\u{e9}".to_owned()));
        assert_eq!(
            form.encoded().expose(),
            "audience=https%3A%2F%2Fh%2F%3Fa%3Db%26c&client_secret=s3cr3t%2B~%C3%A9&scope=openid+email"
        );
        assert!(!format!("{form:?}").contains("s3cr3t"));
    }

    #[test]
    fn what_is_encoded_is_read_again() {
        let pairs = [("a b", "c&d=e%"), ("", "\u{e9}+"), ("x", "")];
        let read = decode(&encode(pairs)).unwrap();
        let pairs = pairs.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(read, pairs);
        assert_eq!(decode("a&&b=1").unwrap().len(), 2);
        for text in ["%", "%4", "%zz", "a=%FF"] {
            assert_eq!(decode(text), None, "{text}");
        }
    }

    #[test]
    fn a_providers_words_lose_the_secrets_they_repeat() {
        let secret = Secret::new("s3cr3t".to_owned());
        let form = Form::default().with("client_id", "app").with_secret("refresh_token", &secret);
        assert_eq!(form.hide_in("app: bad token s3cr3t"), "app: bad token ***");

        let secret = Some(Secret::new("s3cr3t:/".to_owned()));
        let client = Client { id: "app".to_owned(), secret, audience: None };
        for place in [SecretPlace::Form, SecretPlace::Header] {
            let form = Form::default().by(&client, place);
            let said = form.hide_in("app: bad secret s3cr3t:/ (client_secret=s3cr3t%3A%2F)");
            assert_eq!(said, "app: bad secret *** (client_secret=***)", "{place:?}");
            assert!(!format!("{form:?}").contains("s3cr3t"));
        }
    }

    #[test]
    fn a_clients_secret_stands_where_the_provider_wants_it() {
        let secret = Some(Secret::new("s3cr3t:/".to_owned()));
        let client = Client { id: "a b".to_owned(), secret, audience: None };
        let form = |place| Form::default().by(&client, place).encoded().expose().clone();
        assert_eq!(form(SecretPlace::Form), "client_id=a+b&client_secret=s3cr3t%3A%2F");
        assert_eq!(form(SecretPlace::Header), "");
        assert_eq!(SecretPlace::Form.header(&client), None);
        let expected = format!("Basic {}", STANDARD.encode("a+b:s3cr3t%3A%2F"));
        assert_eq!(SecretPlace::Header.header(&client).unwrap().expose(), &expected);
        let public = Client { secret: None, ..client };
        let form = Form::default().by(&public, SecretPlace::Header);
        assert_eq!(form.encoded().expose(), "client_id=a+b");
        assert_eq!(SecretPlace::Header.header(&public), None);
    }
}
