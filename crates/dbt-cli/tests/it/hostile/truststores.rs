//! Attacks on the truststore: the last good one stays, tools run, and nothing new is installed.

use dbt_testkit::exits;
use dbt_testkit::hostile::Stage;
use dbt_testkit::people::{ALICE, CAROL};
use dbt_testkit::server::FileServer;

use super::{Outcome, Row, careful, case, deploy, outage, play, refused};

/// What is said when only the truststore cannot be had.
const UNCONFIRMED: &str = "the truststore could not be confirmed: ";

/// What is said when metadata of somebody else appears, and everything goes on as before.
const IGNORED: &str = "the truststore's manifest on server `acme` is ignored: ";

/// Only the truststore cannot be had, because of this.
const fn blocked(case: &'static str, words: &'static str) -> Row {
    outage(case, words)
}

/// The server answers with something else than a truststore, and works: the tool runs under the
/// last good one.
const fn unreadable(case: &'static str, words: &'static str) -> Row {
    outage(case, words)
}

/// The server answers with a truststore of which nothing is accepted: a machine that has had another
/// one goes on under that, and no other machine begins.
const fn unacceptable(case: &'static str, words: &'static str) -> Row {
    Row { fresh: Outcome(exits::VERIFICATION_REFUSED, words), ..outage(case, words) }
}

pub(super) const ROWS: &[Row] = &[
    blocked("C01-204", "unexpected answer (204)"),
    blocked("C01-206", "unexpected answer (206)"),
    blocked("C01-304", "unexpected answer (304)"),
    blocked("C01-400", "unexpected answer (400)"),
    blocked("C01-404", "/dbt/truststore`: there is no such file or directory (404)"),
    blocked("C01-410", "/dbt/truststore`: there is no such file or directory (404)"),
    blocked("C01-500", "/dbt/truststore`: the server failed (500)").tried_again(),
    blocked("C01-page", "/dbt/truststore`: `127.0.0.1` answered with a page"),
    blocked("C01-elsewhere", "/dbt/truststore`: the server redirects to another server"),
    Row {
        known: Outcome(0, "wants you to sign in (`dbt login`)"),
        fresh: Outcome(exits::REFUSED, "wants you to sign in: `dbt login` signs you in"),
        ..blocked("C01-401", "")
    },
    Row {
        known: Outcome(exits::REFUSED, "/dbt/truststore`"),
        fresh: Outcome(exits::REFUSED, "/dbt/truststore`"),
        ..blocked("C01-403", "")
    },
    outage("C02-portal", "cannot be used"),
    outage("C02-redirect", "redirects to another server"),
    outage("C02-511", "the server failed (511)").tried_again(),
    unreadable("C03-empty", "the truststore is empty"),
    unreadable("C03-blank", "the truststore is empty"),
    unreadable("C03-nul", "no `BEGIN PGP PUBLIC KEY BLOCK`"),
    unreadable("C03-text", "no `BEGIN PGP PUBLIC KEY BLOCK`"),
    unacceptable("C03-private", "a private key does not belong in a truststore"),
    unreadable("C03-binary", "binary form"),
    unacceptable("C03-half", "no matching END line"),
    unacceptable("C03-dsa", "key algorithm DSA is not accepted"),
    unacceptable("C03-rsa1024", "an RSA key of 1024 bits is too small"),
    unacceptable("C03-small-order", "anybody can make signatures that this key accepts"),
    refused("C04-added-key", "`trust` in the configuration names other signers").learning(),
    refused("C04-vouched-for-himself", "no signature of").learning(),
    Row {
        known: Outcome(0, "no key that this machine knows is left"),
        ..refused("C04-only-key", "none of the keys that the configuration's `trust` names")
    },
    blocked("C07-endless", "has more than 1048576 bytes"),
    blocked("C07-ten-gibibytes", "has more than 1048576 bytes"),
    outage("C07-drip", "cannot be used").impatient(),
    outage("C07-stall", "cannot be used").impatient(),
    refused("C23-forged", "which is not in the truststore").learning(),
    blocked("L06-reset", "the connection broke"),
    blocked("L06-429", "the server is asked too often (429)").tried_again(),
    Row { fresh: Outcome(0, IGNORED), ..outage("L02-foreign-metadata", IGNORED) },
    refused("L04-revocation", "is revoked").learning(),
];

fn play_kinds(kinds: &[&str]) {
    play(ROWS.iter().filter(|row| kinds.iter().any(|kind| row.case.starts_with(kind))));
}

#[test]
fn no_attack_on_the_truststore_installs_anything() {
    play_kinds(&["C01", "C02", "C03", "C04", "C07", "C23", "L04", "L06"]);
}

#[test]
fn foreign_metadata_changes_nothing_on_any_machine() {
    play_kinds(&["L02"]);
}

#[test]
fn a_truststore_that_cannot_be_had_is_said_with_its_reason() {
    let world = careful(false);
    deploy(&world, &[]).prints("deploy 1.4.0\n");
    let elsewhere = FileServer::start(&world.directory().join("s"));
    let (repository, server) = (world.repository(), world.server());
    case("C01-404").play(&Stage { repository, server, elsewhere: &elsewhere });
    let run = deploy(&world, &[]);
    run.prints("deploy 1.4.0\n").mentions("`deploy` 1.5.0 would be new here").mentions(UNCONFIRMED);
}

#[test]
fn a_revocation_that_is_taken_back_counts_all_the_same() {
    for strict in [false, true] {
        let world = careful(strict);
        deploy(&world, &[]).prints("deploy 1.4.0\n");
        let elsewhere = FileServer::start(&world.directory().join("s"));
        let (repository, server) = (world.repository(), world.server());
        case("L04-revocation").play(&Stage { repository, server, elsewhere: &elsewhere });
        drop(deploy(&world, &[]));
        repository.trust(&[&ALICE, &CAROL]);
        let run = deploy(&world, &[]);
        run.exits_with(exits::VERIFICATION_REFUSED).mentions("is revoked");
        deploy(&world, &["-o"]).prints("deploy 1.4.0\n");
        assert_eq!(world.tools_started(), ["deploy 1.4.0", "deploy 1.4.0"]);
    }
}

#[test]
fn a_new_key_is_said_to_sign_what_it_may_and_no_more() {
    for (pinned, strict, words) in [
        (false, false, "it may sign tools, and never dbt"),
        (true, false, "it may sign nothing for which the configuration's `trust` names signers"),
        (false, true, "it may sign nothing, because this server is `strict`"),
        (true, true, "it may sign nothing, because this server is `strict`"),
    ] {
        let world = careful(strict);
        if !pinned {
            world.configure(|config| {
                drop(config["servers"]["acme"].as_object_mut().unwrap().remove("trust"));
            });
        }
        assert_eq!(deploy(&world, &[]).stdout(), "deploy 1.4.0\n");
        let elsewhere = FileServer::start(&world.directory().join("s"));
        let (repository, server) = (world.repository(), world.server());
        case("C04-added-key").play(&Stage { repository, server, elsewhere: &elsewhere });
        let run = deploy(&world, &[]);
        run.mentions("no known key stands behind").mentions(words);
        let may_sign = !pinned && !strict;
        assert_eq!(run.stdout() == "deploy 1.5.0\n", may_sign, "{}", run.stderr());
    }
}
