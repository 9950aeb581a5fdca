use super::*;

#[test]
fn a_failed_server_is_left_alone_for_a_minute_doubling_to_ten() {
    let minutes: Vec<u64> = (0..7).map(|failures| back_off(failures).as_secs() / 60).collect();
    assert_eq!(minutes, [0, 1, 2, 4, 8, 10, 10]);
}

#[test]
fn a_clock_that_went_back_does_not_keep_the_server_away() {
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
    let record = |seconds: i64| ServerRecord {
        failures: 1,
        failed: Some(Timestamp(if seconds < 0 {
            now - Duration::from_secs(seconds.unsigned_abs())
        } else {
            now + Duration::from_secs(seconds.unsigned_abs())
        })),
        ..ServerRecord::default()
    };
    assert!(record(-10).left_alone(now).is_some());
    assert!(record(-61).left_alone(now).is_none());
    assert!(record(3600).left_alone(now).is_none());
}

#[test]
fn runs_that_find_out_the_same_at_the_same_time_count_as_one_failure() {
    let second = |n: u64| SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000 + n);
    let mut record = ServerRecord::default();
    let known = record.failed;
    record.count_failure(known, second(5), "began later, and ended first");
    record.count_failure(known, second(0), "began earlier, and ended last");
    assert_eq!((record.failures, record.failed), (1, Some(Timestamp(second(5)))));

    let known = record.failed;
    record.count_failure(known, second(66), "after the pause");
    assert_eq!(record.failures, 2);

    let known = record.failed;
    record.count_failure(known, second(0), "after the clock was set back");
    assert_eq!((record.failures, record.failed), (3, Some(Timestamp(second(0)))));
}

fn state(home: &Path) -> ServerState {
    let places = Places {
        home: Some(home.to_owned()),
        read_only_home: None,
        store: None,
        read_only_stores: Vec::new(),
        temporary: home.to_owned(),
        links: None,
    };
    let repository = "https://dbt.example.com/dbt".parse().unwrap();
    ServerState::open(&places, &"acme".parse().unwrap(), &repository)
}

/// Accepts a truststore that was judged by what is remembered now.
fn accept(state: &ServerState, bytes: &[u8]) {
    let (record, known) = (state.server().unwrap(), state.truststore().unwrap());
    let judged = Judged { trust: &record.trust, truststore: known.as_deref() };
    let etag = |record: &mut ServerRecord| {
        record.truststore_etag = Some("\"1\"".to_owned());
        record.truststore_sha256 = Some(Digest::of(bytes));
    };
    assert!(state.accept_truststore(&judged, bytes, etag).unwrap());
}

#[test]
fn a_run_that_judged_by_less_does_not_undo_what_another_has_learnt() {
    let home = tempfile::tempdir().unwrap();
    let (early, late) = (state(home.path()), state(home.path()));
    accept(&early, b"first");
    let read = early.server().unwrap();
    let judged = Judged { trust: &read.trust, truststore: Some(b"first") };
    let forgets = |record: &mut ServerRecord| record.truststore_etag = None;

    accept(&late, b"second");
    let kept = state(home.path()).server().unwrap();
    assert!(!early.accept_truststore(&judged, b"first", forgets).unwrap());
    assert_eq!(early.truststore().unwrap().as_deref(), Some(&b"second"[..]));
    assert_eq!(state(home.path()).server().unwrap(), kept);

    let approve = |record: &mut ServerRecord| {
        record.trust.approve(&"A".repeat(40).parse().unwrap());
    };
    late.change_server(approve).unwrap();
    let judged = Judged { truststore: Some(b"second"), ..judged };
    assert!(!early.accept_truststore(&judged, b"third", forgets).unwrap());
    assert_eq!(early.truststore().unwrap().as_deref(), Some(&b"second"[..]));
    assert!(early.server().unwrap().truststore_etag.is_some());
}

#[test]
fn a_change_is_made_to_what_is_in_the_file_by_then() {
    let home = tempfile::tempdir().unwrap();
    let (early, late) = (state(home.path()), state(home.path()));
    assert_eq!(early.server().unwrap().failures, 0);
    late.change_server(|record| record.failures += 1).unwrap();
    let after = early.change_server(|record| record.failures += 1).unwrap();
    assert_eq!((after.failures, early.server().unwrap().failures), (2, 2));
}

#[test]
fn what_another_edition_has_computed_is_not_believed() {
    let digests = vec![Digest::of(b"a signature")];
    let ours = KnownSignatures::learnt(digests.clone());
    let theirs = KnownSignatures { edition: "0 4.0.0".to_owned(), digests };
    let believed = |it: &KnownSignatures| format!("{:?}", it.known()).contains("Digest(");
    assert!(believed(&ours) && !believed(&theirs));
}

#[test]
fn nothing_is_unchanged_where_the_truststore_is_lost_or_damaged() {
    let home = tempfile::tempdir().unwrap();
    let etag = || state(home.path()).truststore_etag().unwrap();
    accept(&state(home.path()), b"truststore");
    assert!(etag().is_some());
    let file = state(home.path()).directory().unwrap().join("truststore");
    std::fs::write(&file, b"trust").unwrap();
    assert_eq!(etag(), None);
    std::fs::remove_file(&file).unwrap();
    assert_eq!(etag(), None);
}

#[test]
fn whenever_a_run_is_ended_the_truststore_is_the_one_that_was_accepted() {
    let home = tempfile::tempdir().unwrap();
    let now = || state(home.path()).truststore().unwrap();
    accept(&state(home.path()), b"first");
    accept(&state(home.path()), b"second");
    let directory = state(home.path()).directory().unwrap().to_owned();
    let write = |name: &str, bytes: &[u8]| std::fs::write(directory.join(name), bytes).unwrap();
    // The steps of accepting a third one, each of which may be the last.
    write("truststore.previous", b"second");
    assert_eq!(now().as_deref(), Some(&b"second"[..]));
    write("truststore", b"third");
    assert_eq!(now().as_deref(), Some(&b"second"[..]));
    assert!(state(home.path()).is_truststore_accepted().unwrap());
    // Whoever comes next goes on from there, to that one or another.
    accept(&state(home.path()), b"fourth");
    assert_eq!(now().as_deref(), Some(&b"fourth"[..]));
    assert_eq!(std::fs::read(directory.join("truststore.previous")).unwrap(), b"second");
    // What is neither was accepted by nobody, and is not taken for unchanged.
    write("truststore", b"fifth");
    assert_eq!(now().as_deref(), Some(&b"fifth"[..]));
    assert!(!state(home.path()).is_truststore_accepted().unwrap());
}
