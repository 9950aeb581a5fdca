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

fn found(state: &State, identity: u8, now: SystemTime) -> Option<Exchanged> {
    state.exchanged(&[identity; 32], &[identity; 32], now).unwrap().exchanged
}

/// Ends a token.
async fn revoke(state: &State, id: &str, now: SystemTime) {
    let revoking = Revoking { which: Which::One(id.to_owned()), keep_made: false, with: None };
    let end = move |it: &Transaction<'_>| crate::state::end_tokens(it, &revoking, now);
    assert!(matches!(
        state.write(Claim::Reserved, end).await.unwrap(),
        crate::state::Revoked::Done { .. }
    ));
}

fn exchange(identity: u8, until: SystemTime) -> Exchange {
    let (identity, salt) = ([identity; 32], [7; 32]);
    Exchange { identity, source: identity, salt, until, writes: true }
}

#[tokio::test]
async fn an_identity_is_remembered_until_it_may_not_be_shown_any_more() {
    let (_directory, state) = open();
    let keep = |id: &str, instead: Option<&str>, now: SystemTime| {
        let row = row(id, "ci:i#s", now + Duration::from_mins(1));
        state.exchange(exchange(1, at(100)), row, instead.map(ToOwned::to_owned), now)
    };
    assert_eq!(found(&state, 1, at(0)), None);
    assert_eq!(keep("a", None, at(0)).await.unwrap(), Exchanging::Kept);
    let there = found(&state, 1, at(0)).unwrap();
    assert_eq!((there.token.as_str(), there.salt), ("a", [7; 32]));
    assert_eq!(there.row.unwrap().id, "a");
    assert_eq!(found(&state, 2, at(0)), None, "another identity");
    // Who does not know what came of it keeps nothing.
    assert_eq!(keep("b", None, at(1)).await.unwrap(), Exchanging::Moved);
    assert_eq!(keep("b", Some("x"), at(1)).await.unwrap(), Exchanging::Moved);
    assert_eq!(state.token("b").unwrap(), None);
    assert_eq!(keep("b", Some("a"), at(1)).await.unwrap(), Exchanging::Kept);
    assert_eq!(found(&state, 1, at(1)).unwrap().token, "b");
    // The second in which it may be shown for the last time is not cut short.
    assert!(found(&state, 1, at(100)).is_some());
    assert_eq!(found(&state, 1, at(101)), None);
    assert_eq!(keep("c", None, at(101)).await.unwrap(), Exchanging::Kept);
}

#[tokio::test]
async fn once_one_token_of_an_identity_is_ended_it_gets_no_other_in_any_way() {
    let (_directory, state) = open();
    let (read, write) = (1, 2);
    let keep = |way: u8, id: &str, instead: Option<&str>, now: SystemTime| {
        let exchange = Exchange { source: [9; 32], ..exchange(way, at(9999)) };
        let row = row(id, "ci:i#s", now + Duration::from_mins(1));
        state.exchange(exchange, row, instead.map(ToOwned::to_owned), now)
    };
    let ended = |way: u8| state.exchanged(&[way; 32], &[9; 32], at(200)).unwrap().ended;
    assert_eq!(keep(read, "a", None, at(0)).await.unwrap(), Exchanging::Kept);
    assert_eq!(keep(read, "b", Some("a"), at(100)).await.unwrap(), Exchanging::Kept);
    assert_eq!((ended(read), ended(write)), (None, None));
    // Also where it is an earlier one, whose time was over.
    revoke(&state, "a", at(150)).await;
    let revoked = Some(Ending::Revoked);
    assert_eq!((ended(read), ended(write)), (revoked, revoked));
    assert_eq!(state.exchanged(&[8; 32], &[8; 32], at(200)).unwrap(), Known::default());
    // Who had looked before that keeps nothing.
    assert_eq!(keep(read, "c", Some("b"), at(200)).await.unwrap(), Exchanging::Moved);
    assert_eq!(keep(write, "d", None, at(200)).await.unwrap(), Exchanging::Moved);
    assert_eq!((state.token("c").unwrap(), state.token("d").unwrap()), (None, None));
}

#[tokio::test]
async fn tokens_of_jobs_go_soon_after_they_end_but_the_last_one_and_revoked_ones_with_their_identity()
 {
    let (_directory, state) = open();
    let day = 24 * 3600;
    let keep = |identity: u8, until: u64, id: &str, instead: Option<&str>, now: SystemTime| {
        let row = row(id, "ci:i#s", now + Duration::from_mins(1));
        let exchange = exchange(identity, at(until));
        state.exchange(exchange, row, instead.map(ToOwned::to_owned), now)
    };
    for (identity, until, id, instead) in [
        (0, 100, "short", None),
        (1, day, "revoked", None),
        (2, day, "replaced", None),
        (2, day, "last", Some("replaced")),
    ] {
        let kept = keep(identity, until, id, instead, at(0)).await.unwrap();
        assert_eq!(kept, Exchanging::Kept, "{id}");
    }
    revoke(&state, "revoked", at(1)).await;
    let there = || {
        let ids = ["short", "revoked", "replaced", "last"].into_iter();
        ids.filter(|id| state.token(id).unwrap().is_some()).collect::<Vec<_>>()
    };
    let soon = limits::ENDED_JOB_TOKEN_TIME.as_secs();
    let later = 3 * day;
    keep(10, later, "x", None, at(soon)).await.unwrap();
    assert_eq!(there(), ["short", "revoked", "replaced", "last"], "{soon} s after");
    keep(11, later, "y", None, at(soon + 61)).await.unwrap();
    assert_eq!(there(), ["revoked", "replaced", "last"]);
    // Each can be revoked for as long as the identity can be shown, and then that is known: also one
    // that has ended, and that another has taken the place of.
    revoke(&state, "replaced", at(day - 2)).await;
    let known = state.exchanged(&[2; 32], &[2; 32], at(day - 1)).unwrap();
    assert_eq!(known.ended, Some(Ending::Revoked));
    // A clock that is put back by less than a day makes nothing fresh.
    keep(12, later, "z", None, at(2 * day)).await.unwrap();
    assert_eq!(found(&state, 1, at(day)).unwrap().token, "revoked");
    keep(13, later, "w", None, at(2 * day + 2)).await.unwrap();
    assert_eq!(there(), [""; 0]);
    assert_eq!(found(&state, 1, at(day)), None);
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
    let full = |subject, time| state.is_full_for(subject, true, time).unwrap();
    assert_eq!(full("ci:i#s", at(0)), Some(Exchanging::TooMany));
    assert_eq!(full("ci:i#other", at(0)), None);
    assert_eq!(keep("a", "ci:i#s", 1, at(0)).await.unwrap(), Exchanging::TooMany);
    assert_eq!(keep("b", "ci:i#other", 2, at(0)).await.unwrap(), Exchanging::Kept);
    // Those that have expired count until they go.
    assert_eq!(keep("c", "ci:i#s", 3, at(61)).await.unwrap(), Exchanging::TooMany);
    let rest = move |it: &Transaction<'_>| {
        for number in each + 1..limits::TOKENS_OF_JOBS {
            api_tokens::insert(it, &row(&format!("k{number}"), &format!("ci:i#{number}"), at(60)))?;
        }
        Ok(())
    };
    state.write(Claim::Reserved, rest).await.unwrap();
    assert_eq!(state.is_full_for("ci:i#u", true, at(61)).unwrap(), Some(Exchanging::Full));
    assert_eq!(keep("d", "ci:i#u", 4, at(61)).await.unwrap(), Exchanging::Full);
    assert_eq!(state.token("d").unwrap(), None);
    // People still have theirs, and nothing of jobs has pushed out what is kept of them.
    let making = Making { each: 50, with: None, spending: false, alone: false };
    let person = row("person", "agent:x", at(9999));
    let add = move |it: &Transaction<'_>| crate::state::add_token(it, &person, &making, at(61));
    let added = state.write(Claim::Reserved, add).await.unwrap();
    assert_eq!(added, crate::state::Added::Kept { ended: 0 });
    let soon = limits::ENDED_JOB_TOKEN_TIME.as_secs() + 61;
    // What goes when somebody writes next counts no more for who looks, either.
    assert_eq!(state.is_full_for("ci:i#s", true, at(soon)).unwrap(), None);
    assert_eq!(keep("e", "ci:i#s", 5, at(soon)).await.unwrap(), Exchanging::Kept);
}

#[tokio::test]
async fn who_only_reads_leaves_places_to_those_who_publish() {
    let (_directory, state) = open();
    let keep = |id: &'static str, subject: &str, number: u8, writes: bool| {
        let exchange = Exchange { writes, ..exchange(number, at(9999)) };
        state.exchange(exchange, row(id, subject, at(60)), None, at(0))
    };
    let add = |from: u32, to: u32, subject: &'static str| {
        let work = move |it: &Transaction<'_>| {
            for number in from..to {
                api_tokens::insert(it, &row(&format!("j{number}"), subject, at(60)))?;
            }
            Ok(())
        };
        state.write(Claim::Reserved, work)
    };
    let (each, all) = (limits::TOKENS_OF_JOB / 4 * 3, limits::TOKENS_OF_JOBS / 4 * 3);
    add(0, each, "ci:i#s").await.unwrap();
    assert_eq!(keep("a", "ci:i#s", 1, false).await.unwrap(), Exchanging::TooMany);
    assert_eq!(keep("b", "ci:i#s", 2, true).await.unwrap(), Exchanging::Kept);
    add(each + 1, all, "ci:i#t").await.unwrap();
    assert_eq!(keep("c", "ci:i#u", 3, false).await.unwrap(), Exchanging::Full);
    assert_eq!(keep("d", "ci:i#u", 4, true).await.unwrap(), Exchanging::Kept);
}
