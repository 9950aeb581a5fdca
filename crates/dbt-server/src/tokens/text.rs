//! How the server's own tokens are written: a beginning that scanners of secrets know, letters and
//! digits by chance, and one that tells a mistyped token from an unknown one.

use std::convert::Infallible;

use dbt_core::secret::Secret;
use ring::hmac;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroize as _;

/// What every token begins with.
pub const PREFIX: &str = "dbt_";

/// What those begin with that jobs get for their identity.
const OF_JOB: &str = "dbt_tp_";

/// How many characters are by chance: 184 bits, so that nobody finds one by trying.
const RANDOM: usize = 31;

/// How many such characters in a row make a text likely to be a token, of which some may be missing; the
/// names of files and tools have other characters between them.
const LIKELY: usize = 20;

/// How much of a token is shown to tell it from others.
const SHOWN: usize = PREFIX.len() + 6;

/// The characters, in the order of their values.
const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// Makes a token that nobody has.
pub fn new() -> Result<Secret<String>, getrandom::Error> {
    written(PREFIX, |supply| getrandom::fill(supply))
}

/// Makes the token that belongs to a secret, for a job: the same for the same texts, so that an answer that
/// was lost can be given again. Who has only what is kept of it, which is the salt, cannot make it, nor can
/// who has only the secret.
pub fn of_secret(salt: &[u8; 32], secret: &Secret<String>, texts: &[&str]) -> Secret<String> {
    let key = hmac::Key::new(hmac::HMAC_SHA256, salt);
    let mut seed = hmac::Context::with_key(&key);
    for text in [secret.expose().as_str()].iter().chain(texts) {
        // The length keeps apart what only together has the same letters.
        seed.update(&(text.len() as u64).to_be_bytes());
        seed.update(text.as_bytes());
    }
    let seed = hmac::Key::new(hmac::HMAC_SHA256, seed.sign().as_ref());
    let mut count = 0_u64;
    let made: Result<_, Infallible> = written(OF_JOB, |supply| {
        for part in supply.chunks_mut(32) {
            let block = hmac::sign(&seed, &count.to_be_bytes());
            part.iter_mut().zip(block.as_ref()).for_each(|(to, from)| *to = *from);
            count += 1;
        }
        Ok(())
    });
    match made {
        Ok(text) => text,
    }
}

/// Writes a token of the bytes of a supply that is filled as often as it takes.
fn written<E>(
    prefix: &str,
    mut fill: impl FnMut(&mut [u8; 64]) -> Result<(), E>,
) -> Result<Secret<String>, E> {
    let mut text = String::with_capacity(prefix.len() + RANDOM + 1);
    text.push_str(prefix);
    let mut supply = [0; 64];
    while text.len() < prefix.len() + RANDOM {
        fill(&mut supply)?;
        // Larger ones would make the first characters likelier than the others.
        let fair = supply.iter().filter(|byte| usize::from(**byte) < 4 * ALPHABET.len());
        let missing = prefix.len() + RANDOM - text.len();
        text.extend(fair.take(missing).map(|byte| character(usize::from(*byte))));
    }
    supply.zeroize();
    let check = check(text.get(prefix.len()..).unwrap_or_default().as_bytes());
    text.push(character(check.unwrap_or_default()));
    Ok(Secret::new(text))
}

/// What a text looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Something else.
    Other,
    /// It begins as one, and is none: something is missing, or one character does not fit the others.
    Mistyped,
    /// A token.
    Token,
}

/// Says what a text looks like. Whatever begins as a token was meant as one: nobody else gets to see it.
pub fn form(text: &str) -> Form {
    let of_job = text.strip_prefix(OF_JOB);
    let Some(rest) = of_job.or_else(|| text.strip_prefix(PREFIX)) else { return Form::Other };
    match rest.as_bytes().split_last() {
        Some((last, body))
            if body.len() == RANDOM && check(body).is_some_and(|it| value(*last) == Some(it)) =>
        {
            Form::Token
        }
        _ => Form::Mistyped,
    }
}

/// Says whether a text has something in it that may be a token, whatever it begins with: a space, or
/// the word before it.
pub fn has_token(text: &str) -> bool {
    found(text).is_some()
}

/// Returns a text as it may be logged: of what may be a token, how it begins.
pub fn masked(text: &str) -> String {
    let (mut masked, mut rest) = (String::new(), text);
    while let Some((shown, hidden)) = found(rest) {
        masked.extend([rest.get(..shown).unwrap_or_default(), "…"]);
        rest = rest.get(hidden..).unwrap_or_default();
    }
    masked + rest
}

/// Returns where in a text the part of a token that is not shown begins, and where it ends.
fn found(text: &str) -> Option<(usize, usize)> {
    text.match_indices(PREFIX).find_map(|(start, _prefix)| {
        let of_job = text.get(start..).is_some_and(|text| text.starts_with(OF_JOB));
        let prefix = if of_job { OF_JOB } else { PREFIX };
        let body = text.get(start + prefix.len()..)?;
        // Everything that is asked for is looked at, so that a long text must cost little: how long one is
        // matters only where one is.
        let likely = body.bytes().take(LIKELY).filter(u8::is_ascii_alphanumeric).count() == LIKELY;
        likely.then(|| {
            let is_of_it = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
            let length = body.bytes().take_while(is_of_it).count();
            (start + SHOWN, start + prefix.len() + length)
        })
    })
}

/// Returns what stands for a token where it is kept.
pub fn digest(text: &Secret<String>) -> [u8; 32] {
    Sha256::digest(text.expose()).into()
}

/// Returns the beginning of a token, by which its owner knows it again.
pub fn beginning(text: &Secret<String>) -> String {
    text.expose().chars().take(SHOWN).collect()
}

/// Returns what makes the sum of all characters a multiple of their number, every second one taken
/// twice (the algorithm of Luhn): no single wrong character and hardly any two that changed places
/// leave it as it was.
fn check(body: &[u8]) -> Option<usize> {
    let count = ALPHABET.len();
    let mut sum = 0;
    for (place, byte) in body.iter().rev().enumerate() {
        let value = value(*byte)?;
        let taken = if place % 2 == 0 { 2 * value } else { value };
        sum += taken / count + taken % count;
    }
    Some((count - sum % count) % count)
}

fn character(value: usize) -> char {
    ALPHABET.get(value % ALPHABET.len()).map_or('0', |byte| char::from(*byte))
}

fn value(byte: u8) -> Option<usize> {
    ALPHABET.iter().position(|known| *known == byte)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn each_token_is_another_of_the_same_form() {
        let tokens: HashSet<String> = (0..1000).map(|_| new().unwrap().expose().clone()).collect();
        assert_eq!(tokens.len(), 1000);
        let mut characters = HashSet::new();
        for token in &tokens {
            assert_eq!(token.len(), 36, "{token}");
            assert_eq!(form(token), Form::Token, "{token}");
            characters.extend(token[PREFIX.len()..].chars());
        }
        assert_eq!(characters.len(), ALPHABET.len(), "each character is one of them");
    }

    #[test]
    fn a_wrong_character_is_noticed_wherever_it_is_and_two_that_changed_places() {
        let token = new().unwrap().expose().clone();
        for place in PREFIX.len()..token.len() {
            for other in ALPHABET.iter().map(|byte| char::from(*byte)) {
                let mut wrong: Vec<char> = token.chars().collect();
                if wrong[place] == other {
                    continue;
                }
                wrong[place] = other;
                let wrong: String = wrong.into_iter().collect();
                assert_eq!(form(&wrong), Form::Mistyped, "{token} {wrong}");
            }
            let mut swapped = token.clone().into_bytes();
            swapped.swap(place, (place + 1).min(token.len() - 1));
            let swapped = String::from_utf8(swapped).unwrap();
            let pair = [token.as_bytes()[place], token.as_bytes()[(place + 1).min(35)]];
            if swapped != token && pair != *b"0z" && pair != *b"z0" {
                assert_eq!(form(&swapped), Form::Mistyped, "{token} {swapped}");
            }
        }
    }

    #[test]
    fn what_only_begins_as_a_token_is_mistyped_and_nothing_else_is_meant_as_one() {
        let token = new().unwrap().expose().clone();
        for (text, expected) in [
            (String::new(), Form::Other),
            ("open-sesame".to_owned(), Form::Other),
            (token.replace("dbt_", "DBT_"), Form::Other),
            (format!(" {token}"), Form::Other),
            ("dbt_".to_owned(), Form::Mistyped),
            ("dbt_rocks".to_owned(), Form::Mistyped),
            (token[..35].to_owned(), Form::Mistyped),
            (format!("{token}0"), Form::Mistyped),
            (format!("dbt_tp_{}", &token[7..]), Form::Mistyped),
            (format!("dbt_{}-", &token[4..35]), Form::Mistyped),
            (format!("dbt_{}ä", &token[4..34]), Form::Mistyped),
        ] {
            assert_eq!(form(&text), expected, "{text}");
        }
    }

    #[test]
    fn a_token_is_found_whatever_stands_before_it_and_is_masked() {
        let token = new().unwrap().expose().clone();
        for before in ["", " ", "\t", "\u{a0}", "Bearer ", "bearer:", "\"", "token=", "dbt_"] {
            for after in ["", "\n", "\"", " x"] {
                let text = format!("{before}{token}{after}");
                assert!(has_token(&text), "{text}");
                assert_eq!(masked(&text), format!("{before}{}…{after}", &token[..SHOWN]));
            }
        }
        assert!(has_token(&format!(" {}", &token[..30])));
        for text in [
            "",
            "dbt_",
            "dbt_x",
            "open-sesame",
            "x dbt_",
            "my_dbt_password",
            "/dbt-tools/dbt_helper/1.0.0",
        ] {
            assert!(!has_token(text), "{text}");
            assert_eq!(masked(text), text);
        }
    }

    #[test]
    fn a_long_text_of_beginnings_costs_no_more_than_its_length() {
        // Each of 16,000 beginnings has the rest of the text after it: to read that each time would be
        // half a billion steps.
        let text = PREFIX.repeat(16_000);
        let began = std::time::Instant::now();
        for _round in 0..100 {
            assert!(!has_token(&text));
        }
        assert!(began.elapsed() < std::time::Duration::from_secs(20), "{:?}", began.elapsed());
        let token = new().unwrap().expose().clone();
        assert_eq!(masked(&format!("{text}{token}")), format!("{text}{}…", &token[..SHOWN]));
    }

    #[test]
    fn the_token_of_a_job_is_the_same_for_the_same_secret_salt_and_texts_and_for_nothing_else() {
        let secret = |text: &str| Secret::new(text.to_owned());
        let made = |salt: u8, text: &str, texts: &[&str]| {
            of_secret(&[salt; 32], &secret(text), texts).expose().clone()
        };
        let token = made(1, "a.b.c", &["write", "x"]);
        assert_eq!(token, made(1, "a.b.c", &["write", "x"]));
        for other in [
            made(2, "a.b.c", &["write", "x"]),
            made(1, "a.b.d", &["write", "x"]),
            made(1, "a.b.c", &["writex", ""]),
            made(1, "a.b.c", &["write"]),
            made(1, "a.b.cwrite", &["x"]),
        ] {
            assert_ne!(other, token);
            assert_eq!(form(&other), Form::Token, "{other}");
        }
        assert!(token.starts_with(OF_JOB) && token.len() == OF_JOB.len() + RANDOM + 1, "{token}");
        assert_eq!(form(&token.replace(OF_JOB, PREFIX)), Form::Token, "only another beginning");
        assert_eq!(form(&token[..token.len() - 1]), Form::Mistyped);
        for text in [token.clone(), format!("/x/{token}/y"), format!("Bearer {token}")] {
            assert!(has_token(&text) && !masked(&text).contains(&token[12..]), "{text}");
        }
    }

    #[test]
    fn what_is_shown_of_a_token_is_too_little_to_use_it() {
        let token = new().unwrap();
        let shown = beginning(&token);
        assert!(token.expose().starts_with(&shown));
        assert_eq!(shown.len(), 10);
    }
}
