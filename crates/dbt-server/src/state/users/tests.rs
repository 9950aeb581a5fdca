use std::time::Duration;

use super::super::{Added, Ending, Making, Row};
use super::*;

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000 + seconds)
}

fn state() -> (tempfile::TempDir, State) {
    let directory = tempfile::tempdir().unwrap();
    let state = State::open(directory.path(), None).unwrap();
    (directory, state)
}

/// Adds a token of a subject that somebody made, with another where that is named.
fn add(state: &State, id: &str, subject: &str, by: &str, with: Option<&str>) {
    let mut digest = [0; 32];
    digest[..id.len()].copy_from_slice(id.as_bytes());
    let new = Row {
        id: id.to_owned(),
        digest,
        subject: subject.to_owned(),
        created_by: by.to_owned(),
        origin: "root".to_owned(),
        made_with: with.map(ToOwned::to_owned),
        about: "{}".to_owned(),
        created: at(0),
        expires: Some(at(900)),
        used: None,
        ended: None,
    };
    let making = Making { each: 99, with: None, spending: false, alone: false };
    let work = move |it: &Transaction<'_>| api_tokens::add(it, &new, &making, at(1));
    let added = state.write_and_wait(Claim::Reserved, work).unwrap();
    assert_eq!(added, Added::Kept { ended: 0 });
}

fn suspended(state: &State, subject: &'static str, now: u64) -> Changed {
    let work = move |it: &Transaction<'_>| suspend(it, subject, "root", "why", at(now));
    state.write_and_wait(Claim::Reserved, work).unwrap()
}

fn reactivated(state: &State, subject: &'static str) -> Changed {
    reactivated_at(state, subject, 100)
}

fn reactivated_at(state: &State, subject: &'static str, now: u64) -> Changed {
    state.write_and_wait(Claim::Reserved, move |it| reactivate(it, subject, at(now))).unwrap()
}

fn reconciled(
    state: &State,
    managed: &[(&str, bool)],
    now: u64,
) -> Vec<(String, Difference, usize)> {
    let managed: Vec<(String, bool)> =
        managed.iter().map(|(subject, it)| ((*subject).to_owned(), *it)).collect();
    let work = move |it: &Transaction<'_>| reconcile(it, &managed, at(now));
    let changes = state.write_and_wait(Claim::Reserved, work).unwrap();
    changes.into_iter().map(|it| (it.subject, it.what, it.revoked.len())).collect()
}

fn is_suspended(state: &State, subject: &str, token: Option<&str>) -> Option<String> {
    state.bar(subject, token).unwrap().map(|it| match it {
        Bar::Suspended(Suspension { subject, .. }) | Bar::Disowned { subject, .. } => subject,
    })
}

fn done(revoked: &[&str]) -> Changed {
    Changed::Done { revoked: revoked.iter().map(|id| (*id).to_owned()).collect() }
}

#[test]
fn a_suspension_ends_the_tokens_of_one_and_keeps_when_by_whom_and_why() {
    let (_directory, state) = state();
    for (id, subject) in [("a1", "a"), ("a2", "a"), ("b1", "b")] {
        add(&state, id, subject, "root", None);
    }
    assert_eq!(suspended(&state, "a", 5), done(&["a1", "a2"]));
    let kept = state.user(&id("a")).unwrap().unwrap();
    let (by, reason) = ("root".to_owned(), "why".to_owned());
    let suspension = Suspension { subject: "a".to_owned(), since: at(5), by, reason };
    assert_eq!((kept.suspended, kept.managed), (Some(suspension), false));
    let barred = |suspended| [Barred { subject: "a".to_owned(), suspended }];
    assert_eq!(state.barred().unwrap(), barred(true));
    // Again, it changes nothing, and the first one stays; but no token is left behind.
    assert_eq!(suspended(&state, "a", 6), Changed::Unchanged);
    add(&state, "a3", "a", "root", None);
    assert_eq!(suspended(&state, "a", 7), done(&["a3"]));
    assert_eq!(state.user(&id("a")).unwrap().unwrap().suspended.unwrap().since, at(5));

    // What was made meanwhile is not revived either.
    add(&state, "a4", "a", "root", None);
    assert_eq!(reactivated(&state, "a"), done(&["a4"]));
    assert_eq!(state.barred().unwrap(), barred(false));
    assert_eq!(reactivated(&state, "a"), Changed::Unchanged);
    assert_eq!(reactivated(&state, "nobody"), Changed::Unchanged);
    let ended = |id| state.token(id).unwrap().unwrap().ended.map(|(_when, how)| how);
    assert_eq!(["a1", "a2", "a3", "a4"].map(ended), [Some(Ending::Revoked); 4]);
    assert_eq!(ended("b1"), None);
}

#[test]
fn a_token_is_as_its_owners_are_up_to_who_took_it_over() {
    let (_directory, state) = state();
    add(&state, "one", "agent:x", "a", None);
    add(&state, "two", "agent:y", "agent:x", Some("one"));
    add(&state, "three", "agent:z", "b", Some("two"));
    let own_it = |id: &'static str, owner: &'static str, now| {
        state.write_and_wait(Claim::Reserved, move |it| own(it, id, owner, at(now))).unwrap()
    };
    let clear = || {
        [("agent:x", "one"), ("agent:y", "two"), ("agent:z", "three")]
            .map(|(of, token)| is_suspended(&state, of, Some(token)).is_none())
    };
    // While one of them is suspended, and afterwards until somebody takes it over.
    let owners = |subject: &'static str, then: u64, left: [bool; 3]| {
        suspended(&state, subject, then);
        assert_eq!(clear(), left, "{subject}");
        reactivated_at(&state, subject, then + 1);
        assert_eq!(clear(), left, "{subject}, afterwards");
    };
    for (nobody, then) in [("c", 5), ("root", 6)] {
        owners(nobody, then, [true; 3]);
    }
    owners("b", 10, [true, true, false]);
    assert!(own_it("three", "b", 11), "taken over in the same second, by who was suspended");
    assert_eq!(clear(), [true; 3]);
    owners("a", 20, [false, false, true]);
    assert!(own_it("two", "c", 22));
    assert_eq!(clear(), [false, true, true]);
    owners("c", 30, [false, false, true]);
    assert!(own_it("two", "d", 32), "once more");
    assert!(own_it("one", "d", 32));
    assert_eq!(clear(), [true; 3]);
    owners("a", 40, [true; 3]);
    assert_eq!(state.owner("two").unwrap().as_deref(), Some("d"));
    assert!(!own_it("none", "c", 50));
    suspended(&state, "agent:z", 51);
    assert!(!own_it("three", "c", 52), "it ended");
}

#[test]
fn the_settings_are_made_true_and_what_they_changed_is_said_once() {
    use Difference::{Added as New, Reactivated, Released, Removed, Suspended};

    let (_directory, state) = state();
    let all = |changes: &[(&str, Difference, usize)]| -> Vec<(String, Difference, usize)> {
        changes.iter().map(|(who, what, count)| ((*who).to_owned(), *what, *count)).collect()
    };
    assert_eq!(
        reconciled(&state, &[("a", false), ("b", true)], 1),
        all(&[("a", New, 0), ("b", New, 0), ("b", Suspended, 0),])
    );
    assert_eq!(reconciled(&state, &[("a", false), ("b", true)], 2), []);
    add(&state, "a1", "a", "root", None);
    suspended(&state, "a", 3);
    reactivated(&state, "b");
    assert_eq!(
        reconciled(&state, &[("a", false), ("b", true)], 4),
        all(&[("a", Reactivated, 0), ("b", Suspended, 0),])
    );
    add(&state, "a2", "a", "root", None);
    suspended(&state, "a", 5);
    add(&state, "a3", "a", "root", None);
    add(&state, "mine", "agent:x", "b", None);
    assert_eq!(is_suspended(&state, "agent:x", Some("mine")).as_deref(), Some("b"));
    assert_eq!(reconciled(&state, &[], 6), all(&[("a", Released, 1), ("b", Removed, 0)]));
    // What belonged to who was deleted belongs to nobody, also when one of the name comes again.
    assert_eq!(is_suspended(&state, "agent:x", Some("mine")).as_deref(), Some("b"));
    assert_eq!(state.users(None, 9).unwrap().users.len(), 1);
    assert_eq!(is_suspended(&state, "a", None).as_deref(), Some("a"));
    assert_eq!((state.user(&id("b")).unwrap(), is_suspended(&state, "b", None)), (None, None));
    // Somebody who is there already, and is named later.
    assert_eq!(reconciled(&state, &[("a", true)], 7), all(&[("a", New, 0)]));
    let again = reconciled(&state, &[("a", true), ("b", false)], 8);
    assert_eq!(again, all(&[("b", New, 0)]));
    assert_eq!(is_suspended(&state, "agent:x", Some("mine")).as_deref(), Some("b"));
    assert_eq!(state.users(None, 9).unwrap().users.len(), 2);
}

#[tokio::test]
async fn who_was_seen_is_kept_and_listed_page_by_page() {
    let (_directory, state) = state();
    let names = ["a", "b", "c"];
    let seen = names.iter().map(|name| ((*name).to_owned(), at(1))).collect();
    state.users_seen(seen).await.unwrap();
    state.users_seen(vec![("b".to_owned(), at(9))]).await.unwrap();
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let page = state.users(after.as_deref(), 1).unwrap();
        assert!(page.users.len() <= 1);
        found.extend(page.users.into_iter().map(|user| (user.subject, user.created, user.seen)));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    found.sort();
    let kept = |name: &str, seen| (name.to_owned(), at(1), Some(at(seen)));
    assert_eq!(found, [kept("a", 1), kept("b", 9), kept("c", 1)]);
}

#[test]
fn an_id_can_stand_in_a_path_and_is_the_same_every_time() {
    let one = id("oidc:https://id.example.com#alice");
    assert!(one.len() == 32 && one.bytes().all(|byte| byte.is_ascii_hexdigit()));
    assert_eq!(one, id("oidc:https://id.example.com#alice"));
    assert_ne!(one, id("oidc:https://id.example.com#bob"));
}
