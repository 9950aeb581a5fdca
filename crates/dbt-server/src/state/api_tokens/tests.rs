use super::*;

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000 + seconds)
}

fn id(number: u32) -> String {
    format!("token-{number:05}")
}

/// A token of `a` until the second 900, made by an administrator.
fn token(number: u32) -> Row {
    let mut digest = [0; 32];
    digest[..4].copy_from_slice(&number.to_be_bytes());
    Row {
        id: id(number),
        digest,
        subject: "a".to_owned(),
        created_by: "root".to_owned(),
        origin: "root".to_owned(),
        made_with: None,
        about: "{}".to_owned(),
        created: at(100),
        expires: Some(at(900)),
        used: None,
        ended: None,
    }
}

fn made_with(number: u32, parent: u32) -> Row {
    Row { made_with: Some(id(parent)), created_by: "a".to_owned(), ..token(number) }
}

fn state() -> (tempfile::TempDir, State) {
    let directory = tempfile::tempdir().unwrap();
    let state = State::open(directory.path(), None).unwrap();
    (directory, state)
}

const KEPT: Added = Added::Kept { ended: 0 };

/// Adds a token with the one that it says it is made with.
fn added_at(state: &State, new: Row, each: u32, now: u64) -> Added {
    let with = new.made_with.clone();
    let making = Making { each, with, spending: false, alone: false };
    state.write_and_wait(Claim::Reserved, move |it| add(it, &new, &making, at(now))).unwrap()
}

fn added(state: &State, new: Row) -> Added {
    added_at(state, new, 99, 100)
}

fn revoked(state: &State, revoking: Revoking, now: u64) -> Revoked {
    state.write_and_wait(Claim::Reserved, move |it| end(it, &revoking, at(now))).unwrap()
}

fn one(number: u32) -> Revoking {
    Revoking { which: Which::One(id(number)), keep_made: false, with: None }
}

fn done(named: &[u32], made: &[u32]) -> Revoked {
    let ids = |numbers: &[u32]| numbers.iter().map(|number| id(*number)).collect();
    Revoked::Done { named: ids(named), made: ids(made) }
}

fn all(state: &State) -> Vec<Row> {
    let mut rows = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let page = state.tokens(None, after.as_deref(), 1000).unwrap();
        rows.extend(page.rows);
        after = page.next;
        if after.is_none() {
            return rows;
        }
    }
}

fn counting(state: &State, now: u64) -> Vec<String> {
    let counts =
        |row: &Row| row.ended.is_none() && row.expires.is_none_or(|expires| expires > at(now));
    all(state).into_iter().filter(counts).map(|row| row.id).collect()
}

#[test]
fn a_token_is_found_by_its_digest_and_its_id_as_it_was_kept() {
    let (_directory, state) = state();
    let new = Row { made_with: None, created_by: "b".to_owned(), ..token(1) };
    assert_eq!(added(&state, new.clone()), KEPT);
    assert_eq!(state.token_of_digest(&new.digest).unwrap(), Some(new.clone()));
    assert_eq!(state.token(&id(1)).unwrap(), Some(new.clone()));
    assert_eq!(state.token_of_digest(&[2; 32]).unwrap(), None);
    assert_eq!(state.token_digests().unwrap(), [new.digest]);
    assert!(state.tokens(Some("other"), None, 9).unwrap().rows.is_empty());
    assert_eq!(state.tokens(Some("a"), None, 9).unwrap(), Page { rows: vec![new], next: None });
}

#[test]
fn tokens_are_listed_by_the_page() {
    let (_directory, state) = state();
    for number in 0..5 {
        let subject = if number == 2 { "b" } else { "a" }.to_owned();
        added(&state, Row { subject, ..token(number) });
    }
    let page = |subject, after: Option<u32>| -> (Vec<String>, Option<String>) {
        let after = after.map(id);
        let Page { rows, next } = state.tokens(subject, after.as_deref(), 2).unwrap();
        (rows.into_iter().map(|row| row.id).collect(), next)
    };
    let ids = |numbers: [u32; 2]| numbers.map(id).to_vec();
    assert_eq!(page(None, None), (ids([0, 1]), Some(id(1))));
    assert_eq!(page(None, Some(1)), (ids([2, 3]), Some(id(3))));
    assert_eq!(page(Some("a"), Some(1)), (ids([3, 4]), None));
    assert_eq!(page(None, Some(4)), (Vec::new(), None));
}

/// Long ones must not make the memory that a list takes as much as all of them.
#[test]
fn a_page_of_long_tokens_has_fewer() {
    let (_directory, state) = state();
    let about = "x".repeat(limits::PAGE_OF_TOKENS_BYTES / 4);
    for number in 0..9 {
        added(&state, Row { about: about.clone(), ..token(number) });
    }
    let first = state.tokens(None, None, 1000).unwrap();
    assert_eq!((first.rows.len(), first.next.as_deref()), (4, Some(&*id(3))));
    let longest = Row { about: about.repeat(5), ..token(9) };
    added(&state, longest.clone());
    let last = state.tokens(None, Some(&id(8)), 1000).unwrap();
    assert_eq!(last, Page { rows: vec![longest], next: None }, "one at least");
    assert_eq!(all(&state).len(), 10);
}

#[test]
fn only_tokens_that_count_are_counted_and_ended_and_each_ends_once() {
    let (_directory, state) = state();
    let short = Row { expires: Some(at(150)), ..token(1) };
    assert_eq!(added_at(&state, short, 2, 100), KEPT);
    assert_eq!(added_at(&state, token(2), 2, 100), KEPT);
    assert_eq!(added_at(&state, token(3), 2, 149), Added::TooMany);
    assert_eq!(added_at(&state, Row { subject: "b".to_owned(), ..token(4) }, 2, 100), KEPT);
    // The first has expired.
    assert_eq!(added_at(&state, token(3), 2, 150), KEPT);
    assert_eq!(revoked(&state, one(1), 150), done(&[], &[]));
    assert_eq!(revoked(&state, one(2), 200), done(&[2], &[]));
    assert_eq!(revoked(&state, one(2), 201), done(&[], &[]));
    let kept = state.token(&id(2)).unwrap().unwrap();
    assert_eq!(kept.ended, Some((at(200), Ending::Revoked)));
    assert_eq!(revoked(&state, one(99), 200), Revoked::Unknown);
}

/// Also one that an administrator made: who had it cannot go on with what it made.
#[test]
fn with_a_token_that_does_not_count_any_more_nothing_is_made_or_revoked() {
    for (what, expected) in [
        ("revoked", Some(Ending::Revoked)),
        ("spent", Some(Ending::Spent)),
        ("expired", None),
        ("unknown", None),
    ] {
        let (_directory, state) = state();
        if what != "unknown" {
            added(&state, token(1));
        }
        let now = if what == "expired" { 900 } else { 200 };
        let spend = |number| {
            let (new, with) = (token(number), Some(id(1)));
            let making = Making { each: 9, with, spending: true, alone: false };
            let work = move |it: &Transaction<'_>| add(it, &new, &making, at(now));
            state.write_and_wait(Claim::Reserved, work).unwrap()
        };
        match what {
            "revoked" => assert_eq!(revoked(&state, one(1), 150), done(&[1], &[])),
            "spent" => assert_eq!(spend(3), KEPT),
            _ => {}
        }
        let before = all(&state);
        assert_eq!(added_at(&state, made_with(2, 1), 9, now), Added::Gone(expected), "{what}");
        assert_eq!(spend(2), Added::Gone(expected), "{what}");
        let revoking = Revoking { with: Some(id(1)), ..one(3) };
        assert_eq!(revoked(&state, revoking, now), Revoked::Gone(expected), "{what}");
        assert_eq!(all(&state), before, "{what}");
    }
}

#[test]
fn a_token_for_one_use_makes_one_and_none_where_there_is_no_room() {
    let (_directory, state) = state();
    let spend = |new: Row, each| {
        let making = Making { each, with: Some(id(1)), spending: true, alone: false };
        let work = move |it: &Transaction<'_>| add(it, &new, &making, at(200));
        state.write_and_wait(Claim::Reserved, work).unwrap()
    };
    added(&state, token(1));
    assert_eq!(spend(Row { subject: "b".to_owned(), ..token(2) }, 0), Added::TooMany);
    assert_eq!(state.token(&id(1)).unwrap().unwrap().ended, None);
    assert_eq!(spend(Row { subject: "b".to_owned(), ..token(3) }, 9), KEPT);
    let ended = state.token(&id(1)).unwrap().unwrap().ended;
    assert_eq!(ended, Some((at(200), Ending::Spent)));
    assert_eq!(spend(token(4), 9), Added::Gone(Some(Ending::Spent)));
    assert_eq!(counting(&state, 200), [id(3)]);
}

#[test]
fn a_token_that_is_alone_ends_the_others_of_its_subject() {
    let (_directory, state) = state();
    let alone = |number| {
        let new = token(number);
        let making = Making { each: 1, with: None, spending: false, alone: true };
        let work = move |it: &Transaction<'_>| add(it, &new, &making, at(200));
        state.write_and_wait(Claim::Reserved, work).unwrap()
    };
    added(&state, Row { subject: "b".to_owned(), ..token(0) });
    assert_eq!(alone(1), KEPT);
    assert_eq!(alone(2), Added::Kept { ended: 1 });
    assert_eq!(counting(&state, 200), [id(0), id(2)]);
    // One that has expired ends, too: the clock may be put back.
    added(&state, Row { expires: Some(at(150)), ..token(3) });
    assert_eq!(alone(4), Added::Kept { ended: 1 });
    assert_eq!(counting(&state, 120), [id(0), id(4)]);
}

/// 1 made 2, which made 3; 4 stands on its own, and 5 was made with it.
fn family() -> (tempfile::TempDir, State) {
    let (directory, state) = state();
    for new in [token(1), made_with(2, 1), made_with(3, 2), token(4), made_with(5, 4)] {
        assert_eq!(added(&state, new), KEPT);
    }
    (directory, state)
}

#[test]
fn what_was_made_with_a_token_is_revoked_with_it_down_to_the_last() {
    let (_directory, state) = family();
    assert_eq!(revoked(&state, one(1), 200), done(&[1], &[2, 3]));
    assert_eq!(counting(&state, 200), [id(4), id(5)]);
}

/// Whoever made them with it may have had it from others.
#[test]
fn what_was_made_with_a_token_that_has_expired_or_was_revoked_before_is_revoked_with_it_too() {
    let (_directory, state) = state();
    added(&state, Row { expires: Some(at(150)), ..token(1) });
    added(&state, made_with(2, 1));
    assert_eq!(revoked(&state, one(1), 200), done(&[], &[2]));
    let (_directory, state) = family();
    let kept = Revoking { keep_made: true, ..one(1) };
    assert_eq!(revoked(&state, kept, 200), done(&[1], &[]));
    assert_eq!(counting(&state, 200), [id(2), id(3), id(4), id(5)]);
    assert_eq!(revoked(&state, one(1), 201), done(&[], &[2, 3]));
}

#[test]
fn nobody_keeps_what_they_have_by_revoking_what_it_was_made_with() {
    for with in [1, 2, 3] {
        let (_directory, state) = family();
        let revoking = Revoking { keep_made: true, with: Some(id(with)), ..one(1) };
        assert_eq!(revoked(&state, revoking, 200), Revoked::Within);
        assert_eq!(counting(&state, 200).len(), 5);
    }
    let (_directory, state) = family();
    let revoking = Revoking { keep_made: true, with: Some(id(4)), ..one(1) };
    assert_eq!(revoked(&state, revoking, 200), done(&[1], &[]));
    // Without that, everybody may revoke where they come from, and ends with it.
    let revoking = Revoking { with: Some(id(5)), ..one(4) };
    assert_eq!(revoked(&state, revoking, 200), done(&[4], &[5]));
}

#[test]
fn all_of_a_subject_or_all_that_somebody_made_is_revoked_at_once() {
    let of = |which| Revoking { which, keep_made: false, with: None };
    let (_directory, state) = family();
    added(&state, Row { subject: "b".to_owned(), made_with: Some(id(3)), ..token(6) });
    added(&state, Row { subject: "b".to_owned(), origin: "x".to_owned(), ..token(7) });
    let expected = done(&[1, 2, 3, 4, 5], &[6]);
    assert_eq!(revoked(&state, of(Which::Of("a".to_owned())), 200), expected);
    let before = all(&state);
    assert_eq!(revoked(&state, of(Which::Of("a".to_owned())), 201), done(&[], &[]), "once more");
    for which in [Which::Of("nobody".to_owned()), Which::CreatedBy("nobody".to_owned())] {
        assert_eq!(revoked(&state, of(which), 200), Revoked::Unknown);
    }
    assert_eq!(all(&state), before);

    let (_directory, state) = family();
    added(&state, Row { created_by: "x".to_owned(), origin: "x".to_owned(), ..token(6) });
    added(&state, Row { origin: "x".to_owned(), ..made_with(7, 6) });
    assert_eq!(revoked(&state, of(Which::CreatedBy("x".to_owned())), 200), done(&[6, 7], &[]));
    assert_eq!(counting(&state, 200).len(), 5);
}

/// A clock that is put back must not revive what was revoked.
#[test]
fn a_token_that_is_revoked_after_its_end_stays_revoked_whatever_the_clock_says() {
    let (_directory, state) = state();
    added(&state, token(1));
    assert_eq!(revoked(&state, one(1), 1000), done(&[], &[]));
    assert!(counting(&state, 200).is_empty());
}

#[test]
fn what_ended_long_ago_is_dropped_once_nothing_is_left_that_was_made_with_it() {
    let (_directory, state) = state();
    added(&state, token(1));
    added(&state, made_with(2, 1));
    added(&state, Row { expires: None, ..made_with(3, 2) });
    added(&state, token(4));
    let after_days = |days: u64| 900 + days * 86_400;
    let other = |number| Row { expires: None, subject: "b".to_owned(), ..token(number) };
    let ids = || all(&state).into_iter().map(|row| row.id).collect::<Vec<_>>();
    assert_eq!(added_at(&state, other(5), 9, after_days(91)), KEPT);
    assert_eq!(ids(), [1, 2, 3, 5].map(id));
    // Who finds out now that the first had leaked revokes it, and what came of it.
    assert_eq!(revoked(&state, one(1), after_days(92)), done(&[], &[3]));
    // From then on they are as old as their revocation.
    assert_eq!(added_at(&state, other(6), 9, after_days(92 + 89)), KEPT);
    assert_eq!(ids(), [1, 2, 3, 5, 6].map(id));
    for (number, left) in [(7, [1, 2, 5, 6, 7].as_slice()), (8, &[1, 5, 6, 7, 8])] {
        assert_eq!(added_at(&state, other(number), 9, after_days(92 + 91)), KEPT);
        assert_eq!(ids(), left.iter().map(|it| id(*it)).collect::<Vec<_>>());
    }
}

/// However many end after it.
#[test]
fn what_ended_is_never_dropped_while_something_counts_that_was_made_with_it() {
    let (_directory, state) = state();
    added(&state, token(1));
    added(&state, made_with(2, 1));
    added(&state, made_with(3, 2));
    for number in [1, 2] {
        let kept = Revoking { keep_made: true, ..one(number) };
        assert_eq!(revoked(&state, kept, 110), done(&[number], &[]));
    }
    let fill = |it: &Transaction<'_>| {
        let query = format!(
            "INSERT INTO api_tokens ({COLUMNS}) VALUES \
             (?1, ?2, ?1, 'x', 'x', NULL, '{{}}', 0, NULL, NULL, ?3, 'revoked')"
        );
        let mut statement = it.prepare(&query)?;
        for number in 10..10 + limits::ENDED_TOKENS {
            statement.execute(params![id(number), token(number).digest, seconds(at(120))])?;
        }
        Ok(())
    };
    state.write_and_wait(Claim::Reserved, fill).unwrap();
    let other = |number| Row { subject: "b".to_owned(), ..token(number) };
    assert_eq!(added_at(&state, other(4), 9, 130), KEPT);
    assert_eq!(all(&state).len(), limits::ENDED_TOKENS as usize + 2);
    assert_eq!(revoked(&state, one(1), 140), done(&[], &[3]));

    // Where that alone is more than may be, none is made until it ends.
    let chain = |it: &Transaction<'_>| {
        it.execute("UPDATE api_tokens SET made_with = NULL, ended = ?1", [seconds(at(120))])?;
        it.execute(
            "UPDATE api_tokens SET made_with = (SELECT max(id) FROM api_tokens before \
             WHERE before.id < api_tokens.id)",
            [],
        )?;
        it.execute(
            "UPDATE api_tokens SET ended = NULL, ending = NULL, expires = NULL \
             WHERE id = (SELECT max(id) FROM api_tokens)",
            [],
        )
    };
    state.write_and_wait(Claim::Reserved, chain).unwrap();
    let before = all(&state);
    assert_eq!(added_at(&state, other(5), 9, 150), Added::Full);
    assert_eq!(all(&state), before);
    let last = before.last().unwrap().id.clone();
    let revoking = Revoking { which: Which::One(last), keep_made: false, with: None };
    assert!(matches!(revoked(&state, revoking, 160), Revoked::Done { .. }));
    assert_eq!(added_at(&state, other(5), 9, 170), KEPT);
}

#[test]
fn there_are_only_so_many_rows_in_all() {
    let (_directory, state) = state();
    let most = limits::TOKENS.max(limits::ENDED_TOKENS);
    let fill = move |it: &Transaction<'_>| {
        let query = format!(
            "INSERT INTO api_tokens ({COLUMNS}) VALUES \
             (?1, ?2, ?1, 'x', 'x', NULL, '{{}}', 0, ?3, NULL, NULL, NULL)"
        );
        let mut statement = it.prepare(&query)?;
        for number in 1..=most + 10 {
            let expires = (number <= limits::ENDED_TOKENS + 10).then(|| seconds(at(50)));
            statement.execute(params![id(number), token(number).digest, expires])?;
        }
        Ok(())
    };
    state.write_and_wait(Claim::Reserved, fill).unwrap();
    assert_eq!(added(&state, token(0)), KEPT);
    assert_eq!(all(&state).len(), limits::ENDED_TOKENS as usize + 1);
    let counted = |it: &Transaction<'_>| it.execute("UPDATE api_tokens SET expires = NULL", []);
    state.write_and_wait(Claim::Reserved, counted).unwrap();
    assert_eq!(added(&state, Row { subject: "b".to_owned(), ..token(90_000) }), Added::Full);
}

#[test]
fn all_that_count_can_be_ended_at_once() {
    let (_directory, state) = state();
    for (number, expires) in [(1, 200), (2, 400), (3, 600)] {
        added(&state, Row { expires: Some(at(expires)), ..token(number) });
    }
    revoked(&state, one(3), 150);
    let work = |it: &Transaction<'_>| end_all(it, at(300), Ending::Restored);
    assert_eq!(state.write_and_wait(Claim::Reserved, work).unwrap(), 1);
    let endings: Vec<_> = all(&state).into_iter().map(|it| it.ended).collect();
    let restored = Some((at(300), Ending::Restored));
    // The first had expired, and does not count again if the clock is put back.
    assert_eq!(endings, [restored, restored, Some((at(150), Ending::Revoked))]);
    assert!(counting(&state, 100).is_empty());
}

#[tokio::test]
async fn the_time_of_the_last_use_is_kept() {
    let (_directory, state) = state();
    added(&state, token(1));
    let used = vec![(id(1), at(170)), ("nobody's".to_owned(), at(1))];
    state.tokens_used(used).await.unwrap();
    assert_eq!(state.token(&id(1)).unwrap().unwrap().used, Some(at(170)));
}
