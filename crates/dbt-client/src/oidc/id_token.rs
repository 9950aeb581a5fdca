//! Whether an ID token is for us (OIDC Core, 3.1.3.7).
//!
//! That it is the provider's follows from where it came from; its time is the server's concern,
//! whose clock is better looked after.

use dbt_core::secret::Secret;

use super::{Client, Issuer, OidcError, UnverifiedClaims};

/// Checks that a token of this provider is for this client, and the answer to this question.
pub(super) fn check(
    token: &Secret<String>,
    issuer: &Issuer,
    client: &Client,
    nonce: Option<&str>,
) -> Result<(), OidcError> {
    let refuse = |problem| OidcError::IdToken { issuer: issuer.as_str().to_owned(), problem };
    let claims = UnverifiedClaims::of(token).ok_or_else(|| refuse("it is no JWT"))?;
    if claims.text("iss") != Some(issuer.as_str()) {
        return Err(refuse("another provider made it"));
    }
    if !claims.texts("aud").contains(&client.id.as_str()) {
        return Err(refuse("it is for another client"));
    }
    if claims.text("azp").is_some_and(|party| party != client.id) {
        return Err(refuse("it was given to another client"));
    }
    if nonce.is_some() && claims.text("nonce") != nonce {
        return Err(refuse("it belongs to another sign-in"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use serde_json::{Value, json};

    use super::*;

    fn checked(claims: &Value) -> Result<(), String> {
        let token = format!("e30.{}.eA", URL_SAFE_NO_PAD.encode(claims.to_string()));
        let issuer = "https://dex.example.com".parse().unwrap();
        let client = Client { id: "app".to_owned(), secret: None, audience: None };
        check(&Secret::new(token), &issuer, &client, Some("n")).map_err(|error| error.to_string())
    }

    #[test]
    fn an_id_token_is_for_this_client_and_this_sign_in_or_refused() {
        let good = json!({"iss": "https://dex.example.com", "aud": "app", "nonce": "n"});
        let with = |name: &str, value: Value| {
            let mut claims = good.clone();
            claims[name] = value;
            checked(&claims)
        };
        assert_eq!(checked(&good), Ok(()));
        assert_eq!(with("aud", json!(["other", "app"])), Ok(()));
        assert_eq!(with("azp", json!("app")), Ok(()));
        for (name, value, problem) in [
            ("iss", json!("https://dex.example.com/"), "another provider made it"),
            ("iss", json!(7), "another provider made it"),
            ("aud", json!("other"), "it is for another client"),
            ("aud", json!([]), "it is for another client"),
            ("azp", json!("other"), "it was given to another client"),
            ("nonce", json!("m"), "it belongs to another sign-in"),
            ("nonce", Value::Null, "it belongs to another sign-in"),
        ] {
            let words =
                format!("the ID token of `https://dex.example.com` cannot be used: {problem}");
            assert_eq!(with(name, value), Err(words));
        }
    }
}
