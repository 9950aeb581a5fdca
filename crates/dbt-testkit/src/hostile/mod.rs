//! What a hostile server does, each case under a name: for tests, for fuzzers, and for a person
//! who wants to see it (`evilrepo`).
//!
//! An attacker here writes to the repository and answers requests as he likes. He has no secret
//! key but Mallory's. Each case begins from the same honest repository, whose next version,
//! `deploy` 1.5.0, is where most of them strike.

mod answers;
mod bytes;
mod checksums;
mod listings;
mod program;
mod signatures;
mod truststores;
mod versions;

use crate::people::{ALICE, CAROL, OLGA, Person};
use crate::repository::{TestRepository, artifact};
use crate::server::FileServer;

/// Whom the configuration of a careful client names. Olga's key has expired, and the honest
/// truststore no longer shows it.
pub static PINNED: [&Person; 3] = [&ALICE, &CAROL, &OLGA];

/// One attack.
#[derive(Debug)]
pub struct Case {
    /// Its name: the kind it belongs to, and what is particular about it.
    pub name: &'static str,
    /// What the attacker does, in one line.
    pub what: &'static str,
    play: fn(&Stage<'_>),
}

const fn case(name: &'static str, what: &'static str, play: fn(&Stage<'_>)) -> Case {
    Case { name, what, play }
}

impl Case {
    /// Returns the kind it belongs to: `C36` of `C36-zeros`.
    pub fn kind(&self) -> &'static str {
        self.name.split('-').next().unwrap_or_default()
    }

    /// Makes it so.
    pub fn play(&self, stage: &Stage<'_>) {
        (self.play)(stage);
    }
}

/// Returns every case there is, in the order of their names.
pub fn cases() -> Vec<&'static Case> {
    let parts: [&'static [Case]; 8] = [
        truststores::CASES,
        bytes::CASES,
        signatures::CASES,
        checksums::CASES,
        answers::CASES,
        listings::CASES,
        versions::CASES,
        program::CASES,
    ];
    let mut cases: Vec<&Case> = parts.into_iter().flatten().collect();
    cases.sort_by_key(|case| case.name);
    cases
}

/// Returns the case of a name.
pub fn find(name: &str) -> Option<&'static Case> {
    cases().into_iter().find(|case| case.name.eq_ignore_ascii_case(name))
}

/// Where a case is played.
#[derive(Debug)]
pub struct Stage<'a> {
    /// The repository's files.
    pub repository: &'a TestRepository,
    /// Who serves them.
    pub server: &'a FileServer,
    /// Another server of the attacker, with the same files.
    pub elsewhere: &'a FileServer,
}

impl Stage<'_> {
    /// Publishes the next version as its author would, to be spoilt afterwards.
    fn publish_next(&self) {
        self.repository.publish("deploy", "1.5.0").now();
    }

    /// Replaces the next version's file by something else, and nothing beside it.
    fn exchange(&self, change: impl FnOnce(&mut Vec<u8>)) {
        self.publish_next();
        let mut bytes = self.repository.read(&next());
        change(&mut bytes);
        self.repository.write(&next(), &bytes);
    }
}

/// Makes the honest repository: Alice and Carol sign, and `deploy` 1.4.0 is Carol's.
pub fn honest(repository: &TestRepository) {
    repository.trust(&[&ALICE, &CAROL]);
    repository.publish("deploy", "1.4.0").signed_by(&CAROL).now();
}

/// The path of the next version's file.
fn next() -> String {
    artifact("deploy", "1.5.0")
}

/// A page, as servers and hotels show it, as long as a small truststore.
fn page() -> Vec<u8> {
    let mut page = b"<!DOCTYPE html>\n<html><body>Not here.</body></html>\n".to_vec();
    page.resize(1700, b' ');
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_case_has_a_name_of_its_own_with_its_kind_and_a_line_about_it() {
        let cases = cases();
        assert!(cases.windows(2).all(|pair| pair[0].name < pair[1].name), "{cases:?}");
        for case in cases {
            let (kind, rest) = case.name.split_at(3);
            assert!(kind.starts_with(['C', 'L']), "{}", case.name);
            assert!(kind[1..].bytes().all(|byte| byte.is_ascii_digit()), "{}", case.name);
            assert!(rest.starts_with('-'), "{}", case.name);
            assert!(!case.what.contains('\n') && case.what.len() < 100, "{}", case.what);
            assert!(std::ptr::eq(find(case.name).unwrap(), case));
        }
    }
}
