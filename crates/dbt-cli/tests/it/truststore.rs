//! Whose signatures count: what happens to the truststore over a machine's life.

use dbt_testkit::exits;
use dbt_testkit::http::Answer;
use dbt_testkit::people::{ALICE, BOB, CAROL, ERIN, MALLORY, OLGA};
use dbt_testkit::server::Fault;
use dbt_testkit::times::days_ago;
use dbt_testkit::world::World;

use crate::{pinned, world};

const TRUSTSTORE: &str = "/dbt/truststore";

/// A machine that has known Alice since its first run of `deploy` 1.4.0.
fn acquainted() -> World {
    let world = world();
    world.repository().publish("deploy", "1.4.0").now();
    world.dbt(["deploy"]).prints("deploy 1.4.0\n").mentions("first use");
    world
}

#[test]
fn a_colleague_that_a_known_signer_stands_behind_may_sign_at_once() {
    let world = acquainted();
    world.repository().truststore(&[ALICE.certificate(), BOB.certified_by(&ALICE)]);
    world.repository().publish("deploy", "1.5.0").signed_by(&BOB).now();
    let run = world.dbt(["deploy"]);
    run.prints("deploy 1.5.0\n").says(
        "warning: server `acme` has a new signing key, vouched: [FINGERPRINT] (Bob <bob@example.org>)\n",
    );
    world.dbt(["deploy"]).prints("deploy 1.5.0\n").says_nothing();
}

#[test]
fn a_key_that_nobody_stands_behind_is_named_once_and_may_sign_tools() {
    let world = acquainted();
    world.repository().trust(&[&ALICE, &MALLORY]);
    world.repository().publish("deploy", "1.5.0").signed_by(&MALLORY).now();
    let run = world.dbt(["deploy"]);
    run.prints("deploy 1.5.0\n").says(
        "warning: server `acme` has a new signing key that no known key stands behind: \
         [FINGERPRINT] (Mallory <mallory@example.org>); it may sign tools, and never dbt\n",
    );
    world.dbt(["deploy"]).prints("deploy 1.5.0\n").says_nothing();
}

#[test]
fn a_key_that_nobody_stands_behind_signs_nothing_for_a_strict_server() {
    let world = acquainted();
    world.set("strict", true);
    world.repository().trust(&[&ALICE, &MALLORY]);
    world.repository().publish("deploy", "1.5.0").signed_by(&MALLORY).now();
    let run = world.dbt(["deploy"]);
    run.exits_with(exits::VERIFICATION_REFUSED).mentions("`strict`");
    assert_eq!(world.tools_started(), ["deploy 1.4.0"]);
    assert_eq!(world.executables().len(), 1);
    world.dbt(["-o", "deploy"]).prints("deploy 1.4.0\n");
}

#[test]
fn a_truststore_without_any_known_signer_installs_nothing_new() {
    for strict in [false, true] {
        let world = acquainted();
        world.set("strict", strict);
        world.repository().trust(&[&MALLORY]);
        world.repository().publish("deploy", "1.5.0").signed_by(&MALLORY).now();
        let run = world.dbt(["deploy"]);
        run.prints("deploy 1.4.0\n").mentions("no key that this machine knows is left");
        assert_eq!(world.executables().len(), 1);
    }
}

#[test]
fn a_truststore_that_is_refused_is_said_once_a_day() {
    for strict in [false, true] {
        let world = acquainted();
        world.set("strict", strict);
        let stranger = MALLORY.certificate();
        for (served, words) in [
            (stranger.as_str(), "no key that this machine knows is left"),
            ("nothing of the kind", "no `BEGIN PGP PUBLIC KEY BLOCK`"),
        ] {
            world.repository().write(TRUSTSTORE, served.as_bytes());
            let is_said = || {
                let run = world.dbt(["deploy"]);
                run.prints("deploy 1.4.0\n").mentions("offers is refused").mentions(words);
            };
            is_said();
            world.dbt(["deploy"]).prints("deploy 1.4.0\n").says_nothing();
            let file = world.state_file("state.json");
            let text = std::fs::read_to_string(&file).unwrap();
            let mut state: serde_json::Value = serde_json::from_str(&text).unwrap();
            for said in state["said"].as_object_mut().unwrap().values_mut() {
                *said = dbt_core::timestamp::format(days_ago(1)).into();
            }
            std::fs::write(&file, state.to_string()).unwrap();
            is_said();
        }
    }
}

#[test]
fn the_only_signer_that_is_left_is_enough() {
    let world = world();
    world.repository().trust(&[&ALICE, &CAROL]);
    world.repository().publish("deploy", "1.4.0").now();
    world.dbt(["deploy"]).prints("deploy 1.4.0\n").mentions("trusting 2 signing keys");
    world.repository().trust(&[&CAROL]);
    world.repository().publish("deploy", "1.5.0").signed_by(&CAROL).now();
    world.dbt(["deploy"]).prints("deploy 1.5.0\n").says(
        "warning: server `acme` no longer trusts the signing key [FINGERPRINT] (Alice <alice@example.org>)\n",
    );
}

#[test]
fn what_a_removed_signer_signed_runs_no_more() {
    let world = world();
    world.repository().trust(&[&ALICE, &CAROL]);
    world.repository().publish("deploy", "1.4.0").now();
    world.dbt(["deploy"]).prints("deploy 1.4.0\n");
    world.repository().trust(&[&CAROL]);
    world.dbt(["deploy"]).exits_with(exits::VERIFICATION_REFUSED).mentions("not in the truststore");
    world.dbt(["-o", "deploy"]).exits_with(exits::VERIFICATION_REFUSED);
    assert_eq!(world.tools_started(), ["deploy 1.4.0"]);
}

#[test]
fn a_removed_signer_who_returns_is_a_stranger() {
    let world = world();
    world.repository().trust(&[&ALICE, &CAROL]);
    world.repository().publish("deploy", "1.4.0").signed_by(&CAROL).now();
    world.dbt(["deploy"]).prints("deploy 1.4.0\n");
    world.repository().trust(&[&CAROL]);
    world.dbt(["deploy"]).prints("deploy 1.4.0\n").mentions("no longer trusts");
    world.repository().trust(&[&ALICE, &CAROL]);
    let run = world.dbt(["deploy"]);
    run.prints("deploy 1.4.0\n").mentions("no known key stands behind").mentions("Alice");
    world.set("strict", true);
    world.repository().publish("deploy", "1.5.0").now();
    world.dbt(["deploy"]).exits_with(exits::VERIFICATION_REFUSED);
}

#[test]
fn an_older_truststore_does_not_take_a_revocation_back() {
    for strict in [false, true] {
        let world = world();
        world.set("strict", strict);
        world.repository().trust(&[&ALICE, &CAROL]);
        world.repository().publish("deploy", "1.4.0").signed_by(&CAROL).now();
        world.dbt(["deploy"]).prints("deploy 1.4.0\n");
        world.repository().truststore(&[ALICE.revoked(), CAROL.certificate()]);
        world.dbt(["deploy"]).prints("deploy 1.4.0\n");
        world.repository().trust(&[&ALICE, &CAROL]);
        world.repository().publish("deploy", "1.5.0").signed_by(&ALICE).now();
        let run = world.dbt(["deploy"]);
        run.exits_with(exits::VERIFICATION_REFUSED).mentions("revoked");
        assert_eq!(world.executables().len(), 1);
    }
}

#[test]
fn a_truststore_whose_only_key_is_revoked_installs_nothing_new() {
    let world = acquainted();
    world.repository().truststore(&[ALICE.revoked()]);
    world.repository().publish("deploy", "1.5.0").now();
    let run = world.dbt(["deploy"]);
    assert!(!run.stdout().contains("1.5.0"), "{run:?}");
    assert_eq!(world.executables().len(), 1);
}

#[test]
fn an_error_page_never_replaces_the_truststore() {
    let page = |status| Answer::of(status, "text/html", vec![b' '; 1700]);
    for fault in [404, 500, 403].map(|status| Fault::Answer(page(status))) {
        let world = acquainted();
        let before = std::fs::read(world.state_file("truststore")).unwrap();
        world.server().fault(TRUSTSTORE, fault);
        // 403 for the truststore alone is an answer too: nobody may read it any more.
        drop(world.dbt(["deploy"]));
        assert_eq!(std::fs::read(world.state_file("truststore")).unwrap(), before);
        world.dbt(["-o", "deploy"]).prints("deploy 1.4.0\n").says_nothing();
    }
}

#[test]
fn a_blocked_truststore_installs_nothing_new_and_tools_run() {
    for (strict, fault) in
        [(false, Fault::Status(404)), (true, Fault::Status(500)), (false, Fault::Portal)]
    {
        let world = acquainted();
        world.set("strict", strict);
        world.repository().publish("deploy", "1.5.0").now();
        world.server().fault(TRUSTSTORE, fault);
        let run = world.dbt(["deploy"]);
        run.prints("deploy 1.4.0\n").mentions("the truststore could not be confirmed");
        assert_eq!(world.executables().len(), 1);
        world.server().repair();
        world.dbt(["update", "deploy"]).exits_with(0);
        world.dbt(["deploy"]).prints("deploy 1.5.0\n");
    }
}

#[test]
fn a_truststore_that_is_none_is_refused_and_the_old_one_stays() {
    let private =
        "-----BEGIN PGP PRIVATE KEY BLOCK-----\n\nlQ==\n-----END PGP PRIVATE KEY BLOCK-----\n";
    for text in [
        "",
        " \n\t\n",
        "hello",
        private,
        "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nmQ==\n-----END PGP PUBLIC KEY BLOCK-----\n",
    ] {
        let world = acquainted();
        let before = std::fs::read(world.state_file("truststore")).unwrap();
        world.repository().write(TRUSTSTORE, text.as_bytes());
        world.repository().publish("deploy", "1.5.0").now();
        let run = world.dbt(["deploy"]);
        run.prints("deploy 1.4.0\n").mentions("truststore");
        assert_eq!(std::fs::read(world.state_file("truststore")).unwrap(), before, "{text:?}");
    }
}

#[test]
fn an_endless_truststore_is_read_no_further_than_its_limit() {
    let world = acquainted();
    world.server().fault(TRUSTSTORE, Fault::Endless);
    world.dbt(["deploy"]).prints("deploy 1.4.0\n").mentions("truststore");
}

#[test]
fn one_certificate_that_cannot_be_used_does_not_harm_the_others() {
    let world = world();
    let broken =
        "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nmQ==\n-----END PGP PUBLIC KEY BLOCK-----\n";
    world.repository().truststore(&[broken.to_owned(), ALICE.certificate()]);
    world.repository().publish("deploy", "1.4.0").now();
    world.dbt(["deploy"]).prints("deploy 1.4.0\n").mentions("is not used");
    world.dbt(["deploy"]).prints("deploy 1.4.0\n").says_nothing();
}

#[test]
fn a_pinned_client_ignores_a_key_that_an_attacker_adds() {
    let world = pinned();
    world.repository().publish("deploy", "1.4.0").now();
    world.dbt(["deploy"]).prints("deploy 1.4.0\n").says_nothing();
    world.repository().trust(&[&ALICE, &MALLORY]);
    world.dbt(["deploy"]).prints("deploy 1.4.0\n");
    world.repository().publish("deploy", "1.5.0").signed_by(&MALLORY).now();
    let run = world.dbt(["deploy"]);
    run.exits_with(exits::VERIFICATION_REFUSED)
        .mentions("`trust` in the configuration names other signers");
    assert_eq!(world.tools_started(), ["deploy 1.4.0", "deploy 1.4.0"]);
    assert_eq!(world.executables().len(), 1);
}

#[test]
fn a_truststore_without_the_pinned_signer_is_refused_on_a_fresh_machine() {
    let world = pinned();
    world.repository().trust(&[&MALLORY]);
    world.repository().publish("deploy", "1.4.0").signed_by(&MALLORY).now();
    let run = world.dbt(["deploy"]);
    run.exits_with(exits::VERIFICATION_REFUSED)
        .mentions("none of the keys that the configuration's `trust` names");
    world.nothing_happened();
}

#[test]
fn a_signer_can_be_trusted_with_one_tool_only() {
    let world = world();
    let (alice, bob) = (ALICE.fingerprint().to_string(), BOB.fingerprint().to_string());
    world.set("trust", serde_json::json!({ "tools": [alice], "tool:payments-*": [bob] }));
    world.repository().trust(&[&ALICE, &BOB]);
    world.repository().publish("payments-api", "1.0.0").signed_by(&BOB).now();
    world.repository().publish("deploy", "1.0.0").signed_by(&BOB).now();
    world.repository().publish("payments-web", "1.0.0").signed_by(&ALICE).now();
    world.dbt(["payments-api"]).prints("payments-api 1.0.0\n");
    world.dbt(["deploy"]).exits_with(exits::VERIFICATION_REFUSED);
    world.dbt(["payments-web"]).exits_with(exits::VERIFICATION_REFUSED);
    assert_eq!(world.tools_started(), ["payments-api 1.0.0"]);
}

#[test]
fn what_a_key_signed_before_it_expired_still_runs() {
    let world = world();
    world.repository().trust(&[&OLGA, &ALICE]);
    world.repository().publish("deploy", "1.4.0").signed_by(&OLGA).at(days_ago(200)).now();
    let run = world.dbt(["deploy"]);
    run.prints("deploy 1.4.0\n").mentions("expired on [DATE]; what it signed before still runs");
    world.dbt(["deploy"]).prints("deploy 1.4.0\n").says_nothing();
}

#[test]
fn what_a_key_signed_before_it_expired_is_refused_by_a_strict_server() {
    let world = world();
    world.set("strict", true);
    world.repository().trust(&[&OLGA, &ALICE]);
    world.repository().publish("deploy", "1.4.0").signed_by(&OLGA).at(days_ago(200)).now();
    world.dbt(["deploy"]).exits_with(exits::VERIFICATION_REFUSED).mentions("has expired");
    world.nothing_happened();
}

#[test]
fn what_a_key_signs_after_it_expired_is_refused() {
    let world = world();
    world.repository().trust(&[&OLGA, &ALICE]);
    world.repository().publish("deploy", "1.4.0").signed_by(&OLGA).at(days_ago(10)).now();
    world.dbt(["deploy"]).exits_with(exits::VERIFICATION_REFUSED).mentions("expired");
    world.nothing_happened();
}

#[test]
fn a_key_that_will_expire_is_said_once_a_day() {
    let world = world();
    world.repository().trust(&[&ERIN]);
    world.repository().publish("deploy", "1.4.0").signed_by(&ERIN).now();
    world.dbt(["deploy"]).prints("deploy 1.4.0\n").mentions("expires on [DATE]");
    world.dbt(["deploy"]).prints("deploy 1.4.0\n").says_nothing();
}

#[test]
fn a_second_server_has_its_own_trust() {
    for strict in [false, true] {
        let (world, other) = (acquainted(), world());
        world.set("strict", strict);
        other.repository().trust(&[&MALLORY]);
        other.repository().publish("deploy", "9.0.0").signed_by(&MALLORY).now();
        world.configure(|config| config["servers"]["other"] = other.server_entry());
        let run = world.dbt(["-s", "other", "deploy"]);
        run.exits_with(0).mentions("first use").mentions("Mallory");
        world.repository().publish("deploy", "1.5.0").signed_by(&MALLORY).now();
        world.dbt(["deploy"]).exits_with(exits::VERIFICATION_REFUSED);
        world.dbt(["-o", "deploy"]).prints("deploy 1.4.0\n").says_nothing();
    }
}

#[test]
fn a_new_signer_counts_once_a_person_has_approved_the_full_fingerprint() {
    let world = acquainted();
    world.repository().trust(&[&MALLORY]);
    world.repository().publish("deploy", "1.5.0").signed_by(&MALLORY).now();
    let run = world.dbt(["deploy"]);
    run.prints("deploy 1.4.0\n").mentions("is refused").does_not_mention("cannot be used");
    let fingerprint = MALLORY.fingerprint().to_string();
    world.dbt(["trust", "approve", &fingerprint[24..]]).exits_with(exits::USAGE);
    world.dbt(["trust", "approve", &fingerprint]).exits_with(0);
    // The server was there all the time, so it is asked at once.
    world.dbt(["deploy"]).prints("deploy 1.5.0\n");
}

#[test]
fn what_would_be_new_is_refused_while_the_truststore_is_and_nothing_is_cached() {
    let world = acquainted();
    world.repository().trust(&[&MALLORY]);
    world.repository().publish("other", "1.0.0").signed_by(&MALLORY).now();
    let run = world.dbt(["other"]);
    run.exits_with(exits::VERIFICATION_REFUSED).mentions("nothing new is installed");
    assert!(!world.tools_started().iter().any(|started| started.contains("other")));
    assert_eq!(world.executables().len(), 1, "only what was there before");
}

#[test]
fn no_refusal_prints_a_command_that_would_approve_what_it_refused() {
    let world = acquainted();
    world.repository().trust(&[&MALLORY]);
    world.repository().publish("deploy", "1.5.0").signed_by(&MALLORY).now();
    let first = world.dbt(["deploy"]);
    world.set("strict", true);
    for run in [first, world.dbt(["update", "deploy"]), world.dbt(["-V", "deploy"])] {
        run.does_not_mention("trust approve").does_not_mention("trust reset");
    }
}

#[test]
fn a_server_that_is_configured_wrongly_does_not_hide_the_trust_in_the_others() {
    let world = acquainted();
    world.dbt(["deploy"]).exits_with(0);
    world.configure(|config| {
        config["servers"]["broken"] = serde_json::json!({"repository": "http://user@host/"});
    });
    let run = world.dbt(["trust", "show"]);
    run.mentions("failed to look at `broken`");
    assert!(run.stdout().contains("established"), "{}", run.stdout());
}
