//! What `/-/metrics` says of the keys of identity providers.
//!
//! The label is the issuer as the configuration has it: nothing that a caller sends becomes one.

use super::metrics::{head, line};
use crate::authn::ProviderStanding;

/// Writes how it stands with each.
pub(super) fn render(text: &mut String, providers: &[ProviderStanding]) {
    if providers.is_empty() {
        return;
    }
    let providers = by_issuer(providers);
    let name = "reposerver_jwks_age_seconds";
    head(text, name, "gauge", "How old the keys of an identity provider are.");
    for provider in &providers {
        if let Some(age) = provider.keys_age {
            line(text, name, &[("issuer", &escaped(&provider.issuer))], age.as_secs());
        }
    }
    let name = "reposerver_jwks_refresh_total";
    head(text, name, "counter", "How often an identity provider was asked for its keys.");
    for provider in &providers {
        let issuer = escaped(&provider.issuer);
        for (result, count) in [("answered", provider.answers), ("failed", provider.failures)] {
            line(text, name, &[("issuer", &issuer), ("result", result)], count);
        }
    }
}

/// Takes together what is known by an issuer: several methods may ask the same one, and a line must
/// not be there twice. The oldest keys are the ones to worry about.
fn by_issuer(providers: &[ProviderStanding]) -> Vec<ProviderStanding> {
    let mut known: Vec<ProviderStanding> = Vec::new();
    for provider in providers {
        match known.iter_mut().find(|it| it.issuer == provider.issuer) {
            Some(same) => {
                same.keys_age = same.keys_age.max(provider.keys_age);
                same.answers += provider.answers;
                same.failures += provider.failures;
            }
            None => known.push(provider.clone()),
        }
    }
    known
}

/// Writes a text as Prometheus reads it between quotes.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn each_provider_has_lines_and_an_odd_name_breaks_none() {
        let standing = |issuer: &str, age: Option<u64>| ProviderStanding {
            issuer: issuer.to_owned(),
            keys_age: age.map(Duration::from_secs),
            answers: 2,
            failures: 3,
        };
        let mut text = String::new();
        render(&mut text, &[]);
        assert_eq!(text, "");
        let (young, old) = (standing("https://a", Some(5)), standing("https://a", Some(7)));
        render(&mut text, &[young, standing("b\"\\\n}", None), old]);
        let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(
            lines,
            [
                r#"reposerver_jwks_age_seconds{issuer="https://a"} 7"#,
                r#"reposerver_jwks_refresh_total{issuer="https://a",result="answered"} 4"#,
                r#"reposerver_jwks_refresh_total{issuer="https://a",result="failed"} 6"#,
                r#"reposerver_jwks_refresh_total{issuer="b\"\\\n}",result="answered"} 2"#,
                r#"reposerver_jwks_refresh_total{issuer="b\"\\\n}",result="failed"} 3"#,
            ]
        );
    }
}
