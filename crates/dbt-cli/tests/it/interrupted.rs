//! Runs that were ended between two of their writes: what belongs together is taken over whole, or
//! not at all.

use dbt_testkit::exits;
use dbt_testkit::people::{ALICE, BOB, CAROL, MALLORY};
use dbt_testkit::world::World;

use crate::world;

/// Lets a run take over what the server has now, and leaves of it what was written when it was
/// ended right after the truststore, before what is remembered of it.
#[track_caller]
fn end_after_the_truststore(world: &World) {
    let remembered = [world.state_file("state.json"), world.state_file("tools/deploy.json")];
    let before = remembered.each_ref().map(|file| std::fs::read(file).unwrap());
    world.dbt(["deploy"]).prints("deploy 1.4.0\n");
    for (file, bytes) in remembered.iter().zip(before) {
        std::fs::write(file, bytes).unwrap();
    }
}

/// A machine that knows Alice, whose server rotates to Bob while a run is ended.
fn rotated() -> World {
    let world = world();
    world.repository().publish("deploy", "1.4.0").now();
    world.dbt(["deploy"]).prints("deploy 1.4.0\n").mentions("first use");
    world.repository().truststore(&[ALICE.certificate(), BOB.certified_by(&ALICE)]);
    world.repository().publish("deploy", "1.4.0").signed_by(&BOB).now();
    world.dbt(["deploy"]).prints("deploy 1.4.0\n").mentions("vouched");
    world.repository().truststore(&[BOB.certified_by(&ALICE)]);
    world
}

#[test]
fn a_rotation_of_keys_goes_on_where_a_run_was_ended() {
    let world = world();
    world.repository().publish("deploy", "1.4.0").now();
    world.dbt(["deploy"]).prints("deploy 1.4.0\n").mentions("first use");
    // Bob alone, whom Alice stands behind: without her, he is a stranger.
    world.repository().truststore(&[BOB.certified_by(&ALICE)]);
    world.repository().publish("deploy", "1.4.0").signed_by(&BOB).now();
    end_after_the_truststore(&world);
    world
        .dbt(["deploy"])
        .prints("deploy 1.4.0\n")
        .mentions("new signing key, vouched: [FINGERPRINT] (Bob")
        .mentions("no longer trusts the signing key [FINGERPRINT] (Alice");
    world.dbt(["deploy"]).prints("deploy 1.4.0\n").says_nothing();
    world.repository().publish("deploy", "1.5.0").signed_by(&BOB).now();
    world.dbt(["deploy"]).prints("deploy 1.5.0\n").says_nothing();
}

#[test]
fn what_was_trusted_before_counts_until_a_truststore_is_taken_over() {
    let world = rotated();
    end_after_the_truststore(&world);
    world.dbt(["-o", "deploy"]).prints("deploy 1.4.0\n").says_nothing();
    // The server has gone back meanwhile: nothing has happened.
    world.repository().truststore(&[ALICE.certificate(), BOB.certified_by(&ALICE)]);
    world.dbt(["deploy"]).prints("deploy 1.4.0\n").says_nothing();
    // Or on to a third one.
    world.repository().truststore(&[BOB.certified_by(&ALICE), CAROL.certified_by(&BOB)]);
    end_after_the_truststore(&world);
    world.repository().truststore(&[CAROL.certified_by(&BOB)]);
    world.repository().publish("deploy", "1.5.0").signed_by(&CAROL).now();
    world
        .dbt(["deploy"])
        .prints("deploy 1.5.0\n")
        .mentions("new signing key, vouched: [FINGERPRINT] (Carol")
        .mentions("no longer trusts the signing key [FINGERPRINT] (Bob");
}

#[test]
fn a_stranger_does_not_come_in_where_a_run_was_ended() {
    let world = rotated();
    end_after_the_truststore(&world);
    world.repository().trust(&[&MALLORY]);
    world.repository().publish("deploy", "1.5.0").signed_by(&MALLORY).now();
    let run = world.dbt(["deploy"]);
    run.prints("deploy 1.4.0\n").mentions("no key that this machine knows is left");
    assert_eq!(world.executables().len(), 1);
}

#[test]
fn the_next_manifest_is_followed_where_a_run_was_ended() {
    let world = world();
    world.repository().publish("deploy", "1.4.0").now();
    world.repository().manifest(1).publish(&[&ALICE]);
    world.dbt(["deploy"]).prints("deploy 1.4.0\n");
    world.repository().trust(&[&ALICE, &BOB]);
    world.repository().manifest(2).publish(&[&ALICE, &BOB]);
    end_after_the_truststore(&world);
    world.dbt(["-o", "deploy"]).prints("deploy 1.4.0\n").says_nothing();
    world.dbt(["deploy"]).prints("deploy 1.4.0\n").mentions("vouched: [FINGERPRINT] (Bob");
    // Who still held on to the first would not have learnt who vouches for the third.
    world.repository().trust(&[&ALICE, &BOB, &CAROL]);
    world.repository().manifest(3).publish(&[&ALICE, &BOB, &CAROL]);
    world.dbt(["deploy"]).prints("deploy 1.4.0\n").mentions("vouched: [FINGERPRINT] (Carol");
}

#[test]
fn a_revocation_counts_where_a_run_was_ended() {
    let world = world();
    world.repository().trust(&[&ALICE, &CAROL]);
    world.repository().publish("deploy", "1.4.0").signed_by(&CAROL).now();
    world.dbt(["deploy"]).prints("deploy 1.4.0\n");
    world.repository().truststore(&[ALICE.revoked(), CAROL.certificate()]);
    end_after_the_truststore(&world);
    world.dbt(["deploy"]).prints("deploy 1.4.0\n").says_nothing();
    world.repository().trust(&[&ALICE, &CAROL]);
    world.repository().publish("deploy", "1.5.0").signed_by(&ALICE).now();
    world.dbt(["deploy"]).exits_with(exits::VERIFICATION_REFUSED).mentions("revoked");
    assert_eq!(world.executables().len(), 1);
}
