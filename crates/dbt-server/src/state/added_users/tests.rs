use std::time::Duration;

use super::super::{Claim, Difference};
use super::*;

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000 + seconds)
}

fn state() -> (tempfile::TempDir, State) {
    let directory = tempfile::tempdir().unwrap();
    let state = State::open(directory.path(), None).unwrap();
    (directory, state)
}

fn change(
    state: &State,
    work: impl Fn(&Transaction<'_>) -> rusqlite::Result<Changed> + Send + 'static,
) -> Changed {
    state.write_and_wait(Claim::Reserved, work).unwrap()
}

fn roles(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn done() -> Changed {
    Changed::Done { revoked: Vec::new() }
}

#[test]
fn roles_are_kept_with_who_gave_them_and_change_only_from_what_was_seen() {
    let (_directory, state) = state();
    assert_eq!(change(&state, |it| add(it, "ssh:bob", "root", &roles(&["a"]), at(1))), done());
    let twice = change(&state, |it| add(it, "ssh:bob", "root", &roles(&["b"]), at(1)));
    assert_eq!(twice, Changed::Known);
    let held = state.addition("ssh:bob").unwrap().unwrap();
    assert_eq!(held, Addition { by: "root".to_owned(), roles: roles(&["a"]) });
    let give = |before: &'static [&str], new: &'static [&str]| {
        change(&state, move |it| give(it, "ssh:bob", &roles(before), &roles(new)))
    };
    assert_eq!(give(&[], &["b"]), Changed::Moved);
    assert_eq!(give(&["a"], &["a"]), Changed::Unchanged);
    assert_eq!(give(&["a"], &["b", "c"]), done());
    assert_eq!(state.given_roles().unwrap()["ssh:bob"], roles(&["b", "c"]));
    assert_eq!(give(&["b", "c"], &[]), done());
    assert!(state.given_roles().unwrap().is_empty());
    assert_eq!(change(&state, |it| delete(it, "ssh:bob", at(2))), done());
    assert_eq!(state.addition("ssh:bob").unwrap(), None);
    assert_eq!(change(&state, |it| delete(it, "ssh:bob", at(2))), Changed::Unknown);
    assert_eq!(give(&[], &["a"]), Changed::Unknown);
}

#[test]
fn whom_the_settings_name_is_theirs() {
    let (_directory, state) = state();
    change(&state, |it| add(it, "ssh:bob", "root", &roles(&["a"]), at(1)));
    let named = vec![("ssh:bob".to_owned(), false)];
    let work = move |it: &Transaction<'_>| users::reconcile(it, &named, at(2));
    let changes = state.write_and_wait(Claim::Reserved, work).unwrap();
    let what: Vec<Difference> = changes.iter().map(|change| change.what).collect();
    assert_eq!(what, [Difference::Claimed]);
    assert!(state.given_roles().unwrap().is_empty());
    let again = change(&state, |it| add(it, "ssh:bob", "root", &[], at(3)));
    assert_eq!(again, Changed::Managed);
    assert_eq!(change(&state, |it| give(it, "ssh:bob", &[], &[])), Changed::Managed);
    assert_eq!(change(&state, |it| delete(it, "ssh:bob", at(3))), Changed::Managed);
}

#[test]
fn so_many_are_added_and_no_more() {
    let (_directory, state) = state();
    let fill = |transaction: &Transaction<'_>| {
        let query = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1) \
                     INSERT INTO added_users SELECT 'ssh:' || i, 'root', '[]' FROM n";
        transaction.execute(query, [limits::ADDED_USERS])
    };
    state.write_and_wait(Claim::Reserved, fill).unwrap();
    let one_more = change(&state, |it| add(it, "ssh:bob", "root", &[], at(1)));
    assert_eq!(one_more, Changed::Full);
    assert_eq!(state.addition("ssh:bob").unwrap(), None);
}
