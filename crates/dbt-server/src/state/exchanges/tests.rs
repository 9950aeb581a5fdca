use std::time::UNIX_EPOCH;

use super::*;
use crate::state::{Making, Revoking, Which};

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_000_000 + seconds)
}

fn row(id: &str, subject: &str, expires: SystemTime) -> Row {
    let mut digest = [0; 32];
    digest[..id.len()].copy_from_slice(id.as_bytes());
    Row {
        id: id.to_owned(),
        digest,
        subject: subject.to_owned(),
        created_by: subject.to_owned(),
        origin: subject.to_owned(),
        made_with: None,
        about: "{}".to_owned(),
        created: at(0),
        expires: Some(expires),
        used: None,
        ended: None,
    }
}

fn open() -> (tempfile::TempDir, State) {
    let directory = tempfile::tempdir().unwrap();
    let state = State::open(directory.path(), None).unwrap();
    (directory, state)
}

fn exchange(identity: u8, until: SystemTime) -> Exchange {
    Exchange { identity: [identity; 32], salt: [7; 32], until }
}

#[tokio::test]
async fn an_identity_is_remembered_until_it_may_not_be_shown_any_more() {
    let (_directory, state) = open();
    let keep = |id: &str, instead: Option<&str>, now: SystemTime| {
        let row = row(id, "ci:i#s", now + Duration::from_mins(1));
        state.exchange(exchange(1, at(100)), row, instead.map(ToOwned::to_owned), now)
    };
    assert_eq!(state.exchanged(&[1; 32], at(0)).unwrap(), None);
    assert_eq!(keep("a", None, at(0)).await.unwrap(), Exchanging::Kept);
    let found = state.exchanged(&[1; 32], at(0)).unwrap().unwrap();
    assert_eq!((found.token.as_str(), found.salt), ("a", [7; 32]));
    assert_eq!(found.row.unwrap().id, "a");
    assert_eq!(state.exchanged(&[2; 32], at(0)).unwrap(), None, "another identity");
    // Who does not know what came of it keeps nothing.
    assert_eq!(keep("b", None, at(1)).await.unwrap(), Exchanging::Moved);
    assert_eq!(keep("b", Some("x"), at(1)).await.unwrap(), Exchanging::Moved);
    assert_eq!(state.token("b").unwrap(), None);
    assert_eq!(keep("b", Some("a"), at(1)).await.unwrap(), Exchanging::Kept);
    assert_eq!(state.exchanged(&[1; 32], at(1)).unwrap().unwrap().token, "b");
    // The second in which it may be shown for the last time is not cut short.
    assert!(state.exchanged(&[1; 32], at(100)).unwrap().is_some());
    assert_eq!(state.exchanged(&[1; 32], at(101)).unwrap(), None);
    assert_eq!(keep("c", None, at(101)).await.unwrap(), Exchanging::Kept);
}

#[tokio::test]
async fn tokens_of_jobs_go_soon_after_they_end_and_those_that_were_revoked_when_their_identity_does()
 {
    let (_directory, state) = open();
    let day = 24 * 3600;
    for (index, id) in ["expires", "revoked"].into_iter().enumerate() {
        let identity = u8::try_from(index).unwrap();
        let row = row(id, "ci:i#s", at(60));
        let kept = state.exchange(exchange(identity, at(day)), row, None, at(0)).await.unwrap();
        assert_eq!(kept, Exchanging::Kept);
    }
    let revoking =
        Revoking { which: Which::One("revoked".to_owned()), keep_made: false, with: None };
    let end = move |it: &Transaction<'_>| crate::state::end_tokens(it, &revoking, at(1));
    state.write(Claim::Reserved, end).await.unwrap();
    let is_there = |id: &str| state.token(id).unwrap().is_some();
    let another = |id: &'static str, number: u8, now: SystemTime| {
        let row = row(id, "ci:i#s", now + Duration::from_mins(1));
        state.exchange(exchange(number, now + Duration::from_mins(1)), row, None, now)
    };
    let soon = limits::ENDED_JOB_TOKEN_TIME.as_secs();
    another("x", 10, at(soon)).await.unwrap();
    assert!(is_there("expires") && is_there("revoked"), "{soon} s after");
    another("y", 11, at(soon + 61)).await.unwrap();
    assert!(!is_there("expires") && is_there("revoked"));
    let found = state.exchanged(&[0; 32], at(soon + 61)).unwrap().unwrap();
    assert_eq!((found.token.as_str(), found.row), ("expires", None), "what is left is that it was");
    another("z", 12, at(day + 2)).await.unwrap();
    assert!(!is_there("revoked"));
}

#[tokio::test]
async fn jobs_take_no_places_of_people_nor_more_than_their_own() {
    let (_directory, state) = open();
    let each = limits::TOKENS_OF_JOB;
    let many = move |it: &Transaction<'_>| {
        for number in 0..each {
            api_tokens::insert(it, &row(&format!("j{number}"), "ci:i#s", at(60)))?;
        }
        Ok(())
    };
    state.write(Claim::Reserved, many).await.unwrap();
    let keep = |id: &'static str, subject: &str, number: u8, now: SystemTime| {
        let row = row(id, subject, now + Duration::from_mins(1));
        state.exchange(exchange(number, at(9999)), row, None, now)
    };
    assert_eq!(keep("a", "ci:i#s", 1, at(0)).await.unwrap(), Exchanging::TooMany);
    assert_eq!(keep("b", "ci:i#other", 2, at(0)).await.unwrap(), Exchanging::Kept);
    assert_eq!(
        keep("c", "ci:i#s", 3, at(61)).await.unwrap(),
        Exchanging::Kept,
        "when they have expired"
    );
    let rest = move |it: &Transaction<'_>| {
        for number in each + 2..limits::TOKENS_OF_JOBS {
            api_tokens::insert(it, &row(&format!("k{number}"), "ci:i#t", at(60)))?;
        }
        Ok(())
    };
    state.write(Claim::Reserved, rest).await.unwrap();
    assert_eq!(keep("d", "ci:i#u", 4, at(61)).await.unwrap(), Exchanging::Full);
    assert_eq!(state.token("d").unwrap(), None);
    // People still have theirs, and nothing of jobs has pushed out what is kept of them.
    let making = Making { each: 50, with: None, spending: false, alone: false };
    let person = row("person", "agent:x", at(9999));
    let add = move |it: &Transaction<'_>| crate::state::add_token(it, &person, &making, at(61));
    let added = state.write(Claim::Reserved, add).await.unwrap();
    assert_eq!(added, crate::state::Added::Kept { ended: 0 });
}
