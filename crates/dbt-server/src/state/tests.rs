use std::time::{Duration, SystemTime};

use rusqlite::params;

use super::*;

fn tombs(state: &State) -> i64 {
    let count = "SELECT count(*) FROM tombstones";
    state.look(|connection| connection.query_row(count, [], |row| row.get(0))).unwrap()
}

fn bury(transaction: &Transaction<'_>, path: &str) -> rusqlite::Result<usize> {
    transaction.execute("INSERT INTO tombstones VALUES (?1, x'00')", params![path])
}

#[test]
fn what_was_written_is_there_after_a_restart_under_the_same_id() {
    let directory = tempfile::tempdir().unwrap();
    let state = State::open(directory.path(), None).unwrap();
    let id = state.id().clone();
    state.write_and_wait(Claim::Reserved, |transaction| bury(transaction, "a")).unwrap();
    drop(state);
    let state = State::open(directory.path(), Some(&id)).unwrap();
    assert_eq!((tombs(&state), state.id()), (1, &id));
}

#[test]
fn a_state_that_is_lost_damaged_or_of_another_tree_is_named_and_left_as_it_is() {
    let remembered: Id = "0123456789abcdef0123456789abcdef".parse().unwrap();
    let open = |directory: &tempfile::TempDir| {
        let error = State::open(directory.path(), Some(&remembered)).unwrap_err();
        error.to_string().replace(directory.path().to_str().unwrap(), "[DIR]")
    };
    let directory = tempfile::tempdir().unwrap();
    let said = open(&directory);
    assert!(said.starts_with("`[DIR]/state.db` is missing, and the tree remembers"), "{said}");
    assert!(!directory.path().join(FILE).exists());

    for (bytes, words) in [
        (&b""[..], "is damaged: it is empty"),
        (&[b'x'; 8192], "is damaged: file is not a database"),
    ] {
        std::fs::write(directory.path().join(FILE), bytes).unwrap();
        let said = open(&directory);
        assert!(said.contains(words), "{said}");
        assert_eq!(std::fs::read(directory.path().join(FILE)).unwrap(), bytes);
    }

    let directory = tempfile::tempdir().unwrap();
    drop(State::open(directory.path(), None).unwrap());
    let said = open(&directory);
    assert!(said.contains("and the tree remembers 0123456789abcdef"), "{said}");

    let path = directory.path().join(FILE);
    let connection = Connection::open(&path).unwrap();
    connection.pragma_update(None, "user_version", 1000).unwrap();
    drop(connection);
    assert!(open(&directory).contains("made by a newer version"));
}

#[test]
fn a_damaged_page_is_found_at_the_start() {
    let directory = tempfile::tempdir().unwrap();
    let state = State::open(directory.path(), None).unwrap();
    let id = state.id().clone();
    for number in 0..500 {
        let path = format!("dbt-tools/x/1.0.{number}/linux/amd64/x");
        state.write_and_wait(Claim::Reserved, move |transaction| bury(transaction, &path)).unwrap();
    }
    drop(state);
    let path = directory.path().join(FILE);
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() - 6000;
    bytes[middle..].fill(0x55);
    std::fs::write(&path, bytes).unwrap();
    let error = State::open(directory.path(), Some(&id)).unwrap_err();
    assert!(matches!(error, Unusable::Damaged { .. }), "{error}");
}

#[test]
fn one_change_that_fails_does_not_take_its_neighbours_with_it() {
    let directory = tempfile::tempdir().unwrap();
    let state = State::open(directory.path(), None).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let write = |path: &'static str| {
        let state = state.clone();
        async move { state.write(Claim::Reserved, move |it| bury(it, path)).await }
    };
    // The first keeps the thread busy, so that the others are in one transaction.
    let slow = state.write(Claim::Reserved, |_transaction| {
        std::thread::sleep(Duration::from_millis(50));
        Ok(())
    });
    let (slow, a, again, b) =
        runtime.block_on(async { tokio::join!(slow, write("a"), write("a"), write("b")) });
    assert!(slow.is_ok() && a.is_ok() && b.is_ok());
    assert!(matches!(again, Err(StateError::Failed { .. })), "{again:?}");
    assert_eq!(tombs(&state), 2);
}

#[test]
fn a_database_that_was_taken_away_takes_nothing_more() {
    let directory = tempfile::tempdir().unwrap();
    let state = State::open(directory.path(), None).unwrap();
    std::fs::remove_file(directory.path().join(FILE)).unwrap();
    let error = state.write_and_wait(Claim::Reserved, |it| bury(it, "a")).unwrap_err();
    assert!(error.to_string().contains("was taken away"), "{error}");
}

#[test]
fn two_programs_write_to_one_database() {
    let directory = tempfile::tempdir().unwrap();
    let one = State::open(directory.path(), None).unwrap();
    let other = State::open_existing(directory.path(), Some(one.id())).unwrap();
    for number in 0..20 {
        let state = if number % 2 == 0 { &one } else { &other };
        let path = number.to_string();
        state.write_and_wait(Claim::Reserved, move |it| bury(it, &path)).unwrap();
    }
    assert_eq!((tombs(&one), tombs(&other)), (20, 20));
}

#[test]
fn a_copy_is_made_while_the_database_is_written() {
    let directory = tempfile::tempdir().unwrap();
    let state = State::open(directory.path(), None).unwrap();
    state.write_and_wait(Claim::Reserved, |it| bury(it, "a")).unwrap();
    let copied = tempfile::tempdir().unwrap();
    copy(directory.path(), &copied.path().join(FILE)).unwrap();
    state.write_and_wait(Claim::Reserved, |it| bury(it, "b")).unwrap();
    let of_copy = State::open_existing(copied.path(), Some(state.id())).unwrap();
    assert_eq!((tombs(&state), tombs(&of_copy)), (2, 1));
    assert!(copy(directory.path(), &copied.path().join(FILE)).is_err(), "nothing is overwritten");
}

#[test]
fn tokens_are_known_until_they_expire() {
    let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    let directory = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let token = |key, seconds| UsedToken { key: [key; 32], writes: true, expires: at(seconds) };
    let state = State::open(directory.path(), None).unwrap();
    runtime.block_on(state.use_token(token(1, 200), at(100))).unwrap();
    runtime.block_on(state.use_token(token(2, 300), at(100))).unwrap();
    let known = |now| state.used_tokens(at(now)).unwrap().iter().map(|it| it.key[0]).collect();
    let known: [Vec<u8>; 3] = [known(150), known(250), known(301)];
    assert_eq!(known, [vec![1, 2], vec![2], vec![]]);
}
