//! A record in a state, and everything that can be done to it behind the server's back.

use std::fs;
use std::path::PathBuf;

use super::*;
use crate::audit::chain::Line;
use crate::audit::verify::{Outside, Report, verify};

/// A state directory with a record.
struct World {
    directory: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    fn state(&self) -> State {
        State::open(self.directory.path(), None).unwrap()
    }

    fn kept(&self, retain: Retain) -> Kept {
        let copy = JsonLines::new(Box::new(std::io::sink()));
        let closing = Closing { records: 10, age: Duration::from_hours(24) };
        Kept::open(self.state(), Clock::System, retain, None, copy).unwrap().closing(closing)
    }

    /// Lets a server record so many reads, one by one, signing the last of each ten.
    async fn record(&self, count: usize) {
        self.record_keeping(count, Retain { age: None, bytes: None }).await;
    }

    async fn record_keeping(&self, count: usize, retain: Retain) {
        let kept = self.kept(retain);
        for number in 0..count {
            kept.record(vec![read(number)], Claim::Ordinary).await.unwrap();
            kept.keeper.maintain(Clock::System.now());
        }
    }

    fn verify(&self, outside: &Outside) -> Report {
        let id = self.state().id().clone();
        let connection = State::look_at(self.directory.path()).unwrap();
        verify(&connection, self.directory.path(), &id, outside).unwrap()
    }

    /// Returns what is found, as `first-last: what`.
    fn findings(&self, outside: &Outside) -> Vec<String> {
        let findings = self.verify(outside).findings;
        let line =
            |it: crate::audit::verify::Finding| format!("{}-{}: {}", it.first, it.last, it.what);
        findings.into_iter().map(line).collect()
    }

    fn tamper(&self, sql: &str) {
        let connection =
            rusqlite::Connection::open(self.directory.path().join("state.db")).unwrap();
        connection.execute_batch(sql).unwrap();
    }

    /// Returns the files of closed parts, the oldest first.
    fn files(&self) -> Vec<PathBuf> {
        let place = segments::place(self.directory.path(), self.state().id());
        let entries = fs::read_dir(place).map(|entries| entries.map(|it| it.unwrap().path()));
        let mut files: Vec<PathBuf> = entries.map(Iterator::collect).unwrap_or_default();
        files.sort();
        files
    }

    fn note_of(&self, seq: u64) -> UnverifiedNote {
        let query = "SELECT note FROM checkpoints WHERE seq = ?1";
        let state = self.state();
        let note: String =
            state.look(|it| it.query_row(query, [seq.cast_signed()], |row| row.get(0))).unwrap();
        note.parse().unwrap()
    }

    /// Makes the open part of the record anew from some number on, hashes and all.
    fn rehash_from(&self, from: u64) {
        let connection =
            rusqlite::Connection::open(self.directory.path().join("state.db")).unwrap();
        let lines = segments::open_lines(&connection, 0).unwrap();
        let mut before = chain::BEGINNING;
        for (seq, line) in lines {
            let mut hash = unhex(&line.hash).unwrap();
            if seq >= from {
                hash = chain::next(&before, &line.record);
                let query = "UPDATE audit SET hash = ?1 WHERE seq = ?2";
                connection.execute(query, params![hash, seq.cast_signed()]).unwrap();
            }
            before = hash;
        }
        connection.execute("UPDATE head SET hash = ?1", [before]).unwrap();
    }
}

use crate::audit::checkpoint::UnverifiedNote;

fn read(number: usize) -> Record {
    let actor = Actor { subject: format!("ssh:user-{number}"), ..Actor::on_host() };
    Record {
        time: Clock::System.now(),
        origin: None,
        actor: Some(actor),
        rule: None,
        action: "read",
        path: Some(format!("dbt/file-{number}")),
        attempt: None,
        outcome: Outcome::done("read"),
    }
}

fn nothing() -> Outside {
    Outside::default()
}

#[tokio::test]
async fn a_record_that_nobody_touched_holds_also_over_closed_parts_and_restarts() {
    let world = World::new();
    world.record(25).await;
    world.record(5).await;
    let report = world.verify(&nothing());
    // A key, two starts, thirty reads.
    assert_eq!((report.findings.clone(), report.first, report.last), (vec![], 1, 33));
    assert_eq!((report.signed, report.anchored), (33, None));
    assert_eq!(world.files().len(), 3);
    let outside = Outside { checkpoint: Some(world.note_of(33)), key: None };
    assert_eq!(world.verify(&outside).anchored, Some(33));
}

#[tokio::test]
async fn a_record_that_was_changed_is_named() {
    let world = World::new();
    world.record(6).await;
    world.tamper("UPDATE audit SET record = replace(record, 'user-2', 'user-9') WHERE seq = 5");
    let changed = "its hash is not that of its bytes after the record before: it was changed";
    assert_eq!(world.findings(&nothing()), [format!("5-5: {changed}")]);
    // With a new hash for the changed one, the next does not follow.
    let world = World::new();
    world.record(6).await;
    world.tamper("UPDATE audit SET hash = zeroblob(32) WHERE seq = 5");
    assert_eq!(world.findings(&nothing())[0], format!("5-6: {changed}"));
}

#[tokio::test]
async fn a_record_that_was_removed_is_named() {
    let world = World::new();
    world.record(6).await;
    world.tamper("DELETE FROM audit WHERE seq IN (4, 5)");
    assert_eq!(world.findings(&nothing()), ["4-5: missing"]);
}

#[tokio::test]
async fn records_that_changed_places_are_named() {
    let world = World::new();
    world.record(6).await;
    world.tamper(
        "UPDATE audit SET seq = 99 WHERE seq = 4; UPDATE audit SET seq = 4 WHERE seq = 5;
         UPDATE audit SET seq = 5 WHERE seq = 99;",
    );
    let found = world.findings(&nothing());
    assert_eq!(found[0], "4-4: it stands at this number and says it is 5");
    assert!(
        found.contains(&"5-5: it stands at this number and says it is 4".to_owned()),
        "{found:?}"
    );
}

#[tokio::test]
async fn a_record_that_was_put_in_is_named() {
    let world = World::new();
    world.record(6).await;
    world.tamper(
        "UPDATE audit SET seq = seq + 100 WHERE seq >= 5; UPDATE audit SET seq = seq - 99 WHERE seq > 100;
         INSERT INTO audit SELECT 5, hash, replace(record, '\"seq\":4,', '\"seq\":5,') FROM audit WHERE seq = 4;",
    );
    let found = world.findings(&nothing());
    assert!(found[0].starts_with("5-5: its hash is not that of its bytes"), "{found:?}");
    assert!(
        found.contains(&"6-6: it stands at this number and says it is 5".to_owned()),
        "{found:?}"
    );
    assert!(found.iter().any(|it| it.starts_with("9-9: added behind the end")), "{found:?}");
}

#[tokio::test]
async fn records_that_were_cut_off_are_named() {
    let world = World::new();
    world.record(6).await;
    let outside = Outside { checkpoint: Some(world.note_of(8)), key: None };
    world.tamper("DELETE FROM audit WHERE seq > 6");
    let found = world.findings(&nothing());
    assert_eq!(found[0], "7-7: missing from the end; a checkpoint has seen them", "{found:?}");
    assert_eq!(found[2], "7-8: missing from the end; `state.db` remembers them", "{found:?}");
    // Whoever cuts off the checkpoints and the end that is remembered too is only found from
    // outside.
    world.tamper(
        "DELETE FROM checkpoints WHERE seq > 6;
         UPDATE head SET seq = 6, hash = (SELECT hash FROM audit WHERE seq = 6);",
    );
    assert_eq!(world.findings(&nothing()), [""; 0]);
    assert_eq!(
        world.findings(&outside),
        ["7-8: missing from the end; the checkpoint from outside has seen them"]
    );
}

#[tokio::test]
async fn a_record_that_was_emptied_is_not_taken_for_one_that_begins() {
    let world = World::new();
    world.record(6).await;
    world.tamper(
        "DELETE FROM audit; DELETE FROM checkpoints; DELETE FROM signers; DELETE FROM segments;
         DELETE FROM attempts; UPDATE head SET seq = 0, hash = zeroblob(32);",
    );
    assert_eq!(
        world.findings(&nothing()),
        ["0-0: the key in `audit.key` is not the one that signs this record"]
    );
}

#[tokio::test]
async fn a_record_that_was_made_anew_is_found_by_its_checkpoints_and_with_another_key_from_outside()
{
    let world = World::new();
    world.record(6).await;
    let outside = Outside { checkpoint: Some(world.note_of(8)), key: None };
    let key = public_key(world.directory.path(), world.state().id()).unwrap().unwrap();
    world.tamper("UPDATE audit SET record = replace(record, 'user-2', 'user-9') WHERE seq = 5");
    world.rehash_from(5);
    let found = world.findings(&nothing());
    assert!(found[0].starts_with("5-5: made anew: a checkpoint signed the hash"), "{found:?}");
    // Signed again, with a key of their own.
    fs::remove_file(world.directory.path().join("audit.key")).unwrap();
    world.tamper("DELETE FROM checkpoints");
    let name = checkpoint::origin(world.state().id());
    let other = Signer::make(world.directory.path(), &name).unwrap().public().to_string();
    assert_eq!(
        world.findings(&nothing()),
        ["0-0: the key in `audit.key` is not the one that signs this record"]
    );
    world.tamper(&format!("UPDATE signers SET key = '{other}'"));
    assert_eq!(world.findings(&nothing()), [""; 0], "whoever has the machine can do so");
    assert!(world.findings(&outside)[0].contains("another key was put in its place"));
    let of_old = Outside { checkpoint: None, key: Some(key.parse().unwrap()) };
    assert_eq!(
        world.findings(&of_old),
        ["0-0: the record is not signed with the key that was given"]
    );
}

#[tokio::test]
async fn a_file_of_a_closed_part_that_was_touched_is_named() {
    type Tampering = fn(&mut Vec<String>);
    let swap: Tampering = |lines| lines.swap(3, 4);
    let remove: Tampering = |lines| drop(lines.remove(4));
    let again: Tampering = |lines| lines.insert(5, lines[4].clone());
    let change: Tampering = |lines| lines[4] = lines[4].replace("user-2", "user-9");
    let cut: Tampering = |lines| lines.truncate(8);
    let garbage: Tampering = |lines| lines[4] = "what is this".to_owned();
    for (what, tampering, expected) in [
        ("swap", swap, "4-4: missing"),
        ("remove", remove, "5-5: missing"),
        ("again", again, "5-5: it stands again, or in the wrong order, after 5"),
        (
            "change",
            change,
            "5-5: its hash is not that of its bytes after the record before: it was changed",
        ),
        ("cut", cut, "9-10: missing from the end of their file"),
        ("garbage", garbage, "5-5: a line of `[FILE]` is not a record"),
    ] {
        let world = World::new();
        world.record(12).await;
        let file = world.files()[0].clone();
        let mut lines: Vec<String> =
            fs::read_to_string(&file).unwrap().lines().map(ToOwned::to_owned).collect();
        tampering(&mut lines);
        fs::write(&file, lines.join("\n")).unwrap();
        let found = world.findings(&nothing()).remove(0);
        assert_eq!(found.replace(file.to_str().unwrap(), "[FILE]"), expected, "{what}");
    }
    let world = World::new();
    world.record(12).await;
    fs::remove_file(&world.files()[0]).unwrap();
    assert!(world.findings(&nothing())[0].starts_with("1-10: their file"));
}

#[tokio::test]
async fn old_parts_are_dropped_and_the_chain_goes_on() {
    let world = World::new();
    world.record(40).await;
    assert_eq!(world.files().len(), 4);
    let outside = Outside { checkpoint: Some(world.note_of(42)), key: None };
    world.record_keeping(1, Retain { age: None, bytes: Some(5000) }).await;
    let left = world.files().len();
    assert!((1..4).contains(&left), "{left}");
    let report = world.verify(&outside);
    assert_eq!((report.findings, report.anchored), (vec![], Some(42)));
    assert_eq!(report.dropped.1, report.first - 1);
    // By age, all that are closed go.
    world.record_keeping(1, Retain { age: Some(Duration::ZERO), bytes: None }).await;
    assert_eq!(world.files().len(), 0);
    let report = world.verify(&outside);
    assert_eq!((report.findings, report.first), (vec![], 41));
    // What was dropped cannot be given out as something else.
    world.tamper("UPDATE segments SET note = upper(note) WHERE first = 31");
    assert!(world.findings(&outside)[0].contains("its checkpoint cannot be believed"));
}

#[tokio::test]
async fn a_write_without_an_outcome_is_closed_by_the_next_start() {
    let world = World::new();
    let kept = world.kept(Retain { age: None, bytes: None });
    let attempt = Record { outcome: Outcome::Attempted, ..read(1) };
    let done = kept.record(vec![attempt.clone()], Claim::Reserved).await.unwrap();
    let closing = Record { attempt: Some(done), ..read(1) };
    kept.record(vec![closing], Claim::Reserved).await.unwrap();
    let open = kept.record(vec![attempt], Claim::Reserved).await.unwrap();
    drop(kept);
    for _start in 0..2 {
        drop(world.kept(Retain { age: None, bytes: None }));
    }
    let connection = State::look_at(world.directory.path()).unwrap();
    let lines = segments::open_lines(&connection, 0).unwrap();
    let interrupted: Vec<&(u64, Line)> =
        lines.iter().filter(|(_seq, line)| line.record.contains("interrupted")).collect();
    assert_eq!(interrupted.len(), 1, "{interrupted:?}");
    let record: serde_json::Value = serde_json::from_str(&interrupted[0].1.record).unwrap();
    assert_eq!((&record["attempt"], &record["path"]), (&open.into(), &"/dbt/file-1".into()));
    assert_eq!(world.findings(&nothing()), [""; 0]);
}

#[test]
fn a_clock_that_goes_back_does_not_keep_the_record_from_being_signed() {
    let world = World::new();
    let kept = world.kept(Retain { age: None, bytes: None });
    let due =
        |seconds: u64| kept.keeper.is_due(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
    let day = 24 * 60 * 60;
    let asked = [2 * day, 2 * day + 59, 2 * day + 60, day, day + 59, day + 60];
    assert_eq!(asked.map(due), [true, false, true, true, false, true]);
}
