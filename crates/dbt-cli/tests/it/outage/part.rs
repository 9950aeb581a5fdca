//! What can be wrong with a part of what a server has: one version, one file, one directory.

use std::fmt::Write as _;

use dbt_core::platform::Platform;
use dbt_testkit::exits;
use dbt_testkit::http::Answer;
use dbt_testkit::people::{ALICE, MALLORY, OLGA};
use dbt_testkit::repository::{artifact, program};
use dbt_testkit::server::Fault;
use dbt_testkit::times::days_ago;
use dbt_testkit::world::{SERVER, World};

use super::{Wrong, is_late, is_said, page, published};

/// One thing that can be wrong.
struct Row {
    /// What it is, for people.
    what: &'static str,
    /// Does it, to a world with `deploy` 1.4.0 published.
    arrange: fn(&World),
    /// What a run does that has 1.4.0 cached.
    cached: Expected,
    /// What a run does that has nothing.
    missing: Expected,
}

/// What a run does, and every word it says.
enum Expected {
    /// It runs a version.
    Runs(&'static str, &'static str),
    /// It ends with a code.
    Stops(i32, &'static str),
}
use Expected::{Runs, Stops};

/// What is said of a truststore that cannot be had, where there was a good one.
macro_rules! unread {
    ($reason:literal) => {
        concat!(
            "warning: the truststore of `[SERVER]/dbt` cannot be read (",
            $reason,
            "); tools run under the last good one, and nothing new is installed\n"
        )
    };
}

/// What is said of a server that cannot be used, where 1.4.0 is cached.
macro_rules! outage {
    ($reason:literal) => {
        concat!(
            "warning: `[SERVER]/dbt` cannot be used (",
            $reason,
            "); running `deploy` 1.4.0, confirmed [AGE] ago\n"
        )
    };
}

/// What is said where nothing is.
macro_rules! unreachable {
    ($reason:literal) => {
        Stops(
            exits::UNREACHABLE,
            concat!(
                "error: `deploy` is not cached, and `[SERVER]/dbt` cannot be used: ",
                $reason,
                "\nhint: `dbt doctor` checks the connection and the configuration\n"
            ),
        )
    };
}

/// What is said of a version of dbt that is not taken over; the tool runs.
macro_rules! not_taken {
    ($reason:literal) => {
        Runs(
            "1.4.0",
            concat!("warning: version 99.0.0 of dbt was offered and refused: ", $reason, "\n"),
        )
    };
}

const NO_VERSION: Expected = Stops(
    exits::NOT_FOUND,
    "error: no version of `deploy` is completely published for this platform\n\
     hint: `dbt catalog show deploy` shows what is published\n",
);

const NO_VERSION_BUT_THE_COPY: Expected = Stops(
    exits::NOT_FOUND,
    "error: no version of `deploy` is completely published for this platform\n\
     hint: `dbt -o deploy` runs the cached copy; \
     `dbt catalog show deploy` shows what is published\n",
);

const OLDER: Expected = Runs("1.4.0", "");

static VERSIONS: [Row; 13] = [
    Row {
        what: "the newest version was deleted",
        arrange: |world| {
            world.repository().publish("deploy", "1.3.0").now();
            world.repository().remove("deploy", "1.4.0");
        },
        cached: Runs("1.3.0", "warning: `deploy` 1.4.0 is not published any more; running 1.3.0\n"),
        missing: Runs("1.3.0", ""),
    },
    Row {
        what: "the newest version was deleted, and the server is `strict`",
        arrange: |world| {
            world.set("strict", true);
            world.repository().publish("deploy", "1.3.0").now();
            world.repository().remove("deploy", "1.4.0");
        },
        cached: Stops(
            exits::VERIFICATION_REFUSED,
            "error: the newest published `deploy` is 1.3.0, older than 1.4.0 which was seen before, \
             and this server is `strict`\n\
             hint: ask its publisher; `dbt -o deploy` runs the newest cached copy\n",
        ),
        missing: Runs("1.3.0", ""),
    },
    Row {
        what: "a version was published again with other bytes",
        arrange: |world| world.repository().publish("deploy", "1.4.0").script("exit 0").now(),
        cached: Runs(
            "1.4.0",
            "warning: `deploy` 1.4.0 was published again with other contents; its signature is good\n",
        ),
        missing: Runs("1.4.0", ""),
    },
    Row {
        what: "a version was published again with other bytes, and the server is `strict`",
        arrange: |world| {
            world.set("strict", true);
            world.repository().publish("deploy", "1.4.0").script("exit 0").now();
        },
        cached: Stops(
            exits::VERIFICATION_REFUSED,
            "error: refusing to run `deploy`\n\
             \x20 caused by: version 1.4.0 was [DIGEST] before and is [DIGEST] now, \
             and this server is `strict`\n\
             hint: `dbt -o deploy` runs the newest cached copy, if there is one\n",
        ),
        missing: Runs("1.4.0", ""),
    },
    Row {
        what: "the newest version was signed before its key expired",
        arrange: |world| {
            world.repository().publish("deploy", "1.5.0").signed_by(&OLGA).at(days_ago(150)).now();
        },
        cached: Runs("1.5.0", EXPIRED),
        missing: Runs("1.5.0", EXPIRED),
    },
    Row {
        what: "the newest version was signed after its key expired",
        arrange: |world| {
            world.repository().publish("deploy", "1.5.0").signed_by(&OLGA).now();
        },
        cached: SIGNED_TOO_LATE,
        missing: SIGNED_TOO_LATE,
    },
    Row {
        what: "the newest version is for other platforms only",
        arrange: |world| {
            world.repository().publish("deploy", "1.5.0").platform("windows/arm64").now();
        },
        cached: OLDER,
        missing: OLDER,
    },
    Row {
        what: "no version is for this platform",
        arrange: |world| {
            world.repository().remove("deploy", "1.4.0");
            world.repository().publish("deploy", "1.4.0").platform("windows/arm64").now();
        },
        cached: NO_VERSION_BUT_THE_COPY,
        missing: NO_VERSION,
    },
    Row {
        what: "the only version has lost its `.sha256`",
        arrange: |world| world.repository().delete(&(artifact("deploy", "1.4.0") + ".sha256")),
        cached: NO_VERSION_BUT_THE_COPY,
        missing: NO_VERSION,
    },
    Row {
        what: "the only version has lost its `.asc`",
        arrange: |world| world.repository().delete(&(artifact("deploy", "1.4.0") + ".asc")),
        cached: OLDER,
        missing: NO_VERSION,
    },
    Row {
        what: "the newest version is signed by a stranger",
        arrange: |world| {
            world.repository().publish("deploy", "1.5.0").signed_by(&MALLORY).now();
        },
        cached: STRANGE,
        missing: STRANGE,
    },
    Row {
        what: "the newest version is not what its `.sha256` says",
        arrange: |world| {
            world.repository().publish("deploy", "1.5.0").now();
            world.repository().flip_a_bit("deploy", "1.5.0");
        },
        cached: ALTERED,
        missing: ALTERED,
    },
    Row {
        what: "the tool is gone, and the repository answers",
        arrange: |world| {
            std::fs::remove_dir_all(world.repository().file("/dbt-tools/deploy")).unwrap();
        },
        cached: Stops(
            exits::NOT_FOUND,
            "error: there is no tool `deploy` in the repository\n\
             hint: `dbt -o deploy` runs the cached copy\n",
        ),
        missing: Stops(
            exits::NOT_FOUND,
            "error: there is no tool `deploy` in the repository\n\
             hint: `dbt catalog list` shows what there is\n",
        ),
    },
];

/// Versions that are not there yet: under `strict` too they change nothing.
static HALF: [Row; 4] = [
    Row {
        what: "the newest version has no `.asc` yet",
        arrange: |world| world.repository().publish("deploy", "1.5.0").without_signature().now(),
        cached: OLDER,
        missing: OLDER,
    },
    Row {
        what: "the newest version has no `.sha256` yet",
        arrange: |world| world.repository().publish("deploy", "1.5.0").without_checksum().now(),
        cached: OLDER,
        missing: OLDER,
    },
    Row {
        what: "the newest version's file is missing",
        arrange: |world| {
            world.repository().publish("deploy", "1.5.0").now();
            world.repository().delete(&artifact("deploy", "1.5.0"));
        },
        cached: OLDER,
        missing: OLDER,
    },
    Row {
        what: "the newest version has nothing but its `description.txt`",
        arrange: |world| {
            world.repository().write("/dbt-tools/deploy/1.5.0/description.txt", b"Soon.\n");
        },
        cached: OLDER,
        missing: OLDER,
    },
];

const EXPIRED: &str = "warning: the signing key [FINGERPRINT] expired on [DATE]; \
                       what it signed before still runs, and nothing newer will\n";
const SIGNED_TOO_LATE: Expected = Stops(
    exits::VERIFICATION_REFUSED,
    "error: refusing to run `deploy`\n\
     \x20 caused by: no signature of `deploy 1.5.0 ([PLATFORM])` counts\n\
     \x20 caused by: made after key [FINGERPRINT] expired on [DATE]\n\
     hint: do not work around this; tell the repository's administrator; \
     `dbt -o deploy` runs the newest cached copy, if there is one\n",
);
const STRANGE: Expected = Stops(
    exits::VERIFICATION_REFUSED,
    "error: refusing to run `deploy`\n\
     \x20 caused by: no signature of `deploy 1.5.0 ([PLATFORM])` counts\n\
     \x20 caused by: signed by [FINGERPRINT], which is not in the truststore\n\
     hint: do not work around this; tell the repository's administrator; \
     `dbt -o deploy` runs the newest cached copy, if there is one\n",
);
const ALTERED: Expected = Stops(
    exits::VERIFICATION_REFUSED,
    "error: refusing to run `deploy`\n\
     \x20 caused by: checksum of `deploy 1.5.0 ([PLATFORM])` does not match: \
     expected [DIGEST], got [DIGEST]\n\
     hint: the repository may be damaged; tell its administrator; \
     `dbt -o deploy` runs the newest cached copy, if there is one\n",
);

static PROGRAMS: [Row; 7] = [
    Row {
        what: "the newest dbt is signed by a stranger",
        arrange: |world| {
            world.repository().publish_program("99.0.0", failing()).signed_by(&MALLORY).now();
        },
        cached: not_taken!(
            "no signature of `dbt 99.0.0 ([PLATFORM])` counts: signed by [FINGERPRINT], which is not in the truststore"
        ),
        missing: not_taken!(
            "no signature of `dbt 99.0.0 ([PLATFORM])` counts: signed by [FINGERPRINT], which is not in the truststore"
        ),
    },
    Row {
        what: "the newest dbt is not what its `.sha256` says",
        arrange: |world| {
            let other = "0".repeat(64);
            world.repository().publish_program("99.0.0", failing()).checksum(&other).now();
        },
        cached: not_taken!(
            "checksum of `dbt 99.0.0 ([PLATFORM])` does not match: expected [DIGEST], got [DIGEST]"
        ),
        missing: not_taken!(
            "checksum of `dbt 99.0.0 ([PLATFORM])` does not match: expected [DIGEST], got [DIGEST]"
        ),
    },
    Row {
        what: "the newest dbt does not run here",
        arrange: |world| world.repository().publish_program("99.0.0", failing()).now(),
        cached: not_taken!("its self-test failed: it ended with exit status: 1"),
        missing: not_taken!("its self-test failed: it ended with exit status: 1"),
    },
    Row {
        what: "the newest dbt says that it is another version",
        arrange: |world| {
            let report = b"#!/bin/sh\necho '{\"program\":\"dbt\",\"version\":\"1.0.0\",\"sha256\":\"'$3'\"}'\n";
            world.repository().publish_program("99.0.0", report.to_vec()).now();
        },
        cached: not_taken!("its self-test failed: it says that it is version `1.0.0`"),
        missing: not_taken!("its self-test failed: it says that it is version `1.0.0`"),
    },
    Row {
        what: "the newest dbt was signed as something else",
        arrange: |world| {
            let program = world.repository().publish_program("99.0.0", failing());
            program.bound_to(&format!("tool/dbt/99.0.0/{}", Platform::CURRENT)).now();
        },
        cached: not_taken!(
            "the signature of `dbt 99.0.0 ([PLATFORM])` was made for `tool/dbt/99.0.0/[PLATFORM]`, not for `self/dbt/99.0.0/[PLATFORM]`"
        ),
        missing: not_taken!(
            "the signature of `dbt 99.0.0 ([PLATFORM])` was made for `tool/dbt/99.0.0/[PLATFORM]`, not for `self/dbt/99.0.0/[PLATFORM]`"
        ),
    },
    Row {
        what: "the newest dbt cannot be downloaded",
        arrange: |world| {
            world.set("timeout", 1);
            world.repository().publish_program("99.0.0", failing()).now();
            world.server().fault(&program("99.0.0"), Fault::Status(500));
        },
        cached: not_taken!(
            "failed to download `[SERVER]/dbt/99.0.0/[PLATFORM]/dbt`: the server failed (500)"
        ),
        missing: not_taken!(
            "failed to download `[SERVER]/dbt/99.0.0/[PLATFORM]/dbt`: the server failed (500)"
        ),
    },
    Row {
        what: "the newest dbt is half published",
        arrange: |world| {
            world.repository().publish_program("99.0.0", failing()).without_signature().now();
        },
        cached: OLDER,
        missing: OLDER,
    },
];

fn failing() -> Vec<u8> {
    b"#!/bin/sh\nexit 1\n".to_vec()
}

/// Lets one path of the server fail, impatiently.
fn fails(world: &World, path: &str, fault: Fault) {
    world.set("timeout", 0.7);
    world.server().fault(path, fault);
}

const DENIED: Expected = Stops(
    exits::REFUSED,
    "error: the server does not allow it\n\
     \x20 caused by: failed to read `[SERVER]/dbt/truststore`\n\
     \x20 caused by: access is denied (403)\n\
     hint: ask an administrator of the repository for the right to read it\n",
);

const TRUSTSTORE: &str = "/dbt/truststore";

static DIRECTORIES: [Row; 19] = [
    Row {
        what: "the download of a newer version begins and does not go on",
        arrange: |world| {
            world.repository().publish("deploy", "1.5.0").now();
            fails(world, &artifact("deploy", "1.5.0"), Fault::StallAfter(20));
        },
        cached: Runs("1.4.0", outage!("less than 1 KiB/s came for …")),
        missing: unreachable!("less than 1 KiB/s came for …"),
    },
    Row {
        what: "the truststore's server has no address",
        arrange: |world| world.set("truststore", "http://dbt.invalid/dbt/truststore"),
        cached: Runs("1.4.0", unread!("the name `dbt.invalid` cannot be resolved: …")),
        missing: unreachable!("the name `dbt.invalid` cannot be resolved: …"),
    },
    Row {
        what: "the truststore alone: the connection is reset",
        arrange: |world| fails(world, TRUSTSTORE, Fault::Reset),
        cached: Runs("1.4.0", unread!("the connection broke: …")),
        missing: unreachable!("the connection broke: …"),
    },
    Row {
        what: "the truststore alone: no answer",
        arrange: |world| fails(world, TRUSTSTORE, Fault::Stall),
        cached: Runs("1.4.0", unread!("there was no complete answer in time")),
        missing: unreachable!("there was no complete answer in time"),
    },
    Row {
        what: "the truststore alone: 500",
        arrange: |world| fails(world, TRUSTSTORE, Fault::Status(500)),
        cached: Runs("1.4.0", unread!("the server failed (500)")),
        missing: unreachable!("the server failed (500)"),
    },
    Row {
        what: "the truststore alone: 429",
        arrange: |world| fails(world, TRUSTSTORE, Fault::Status(429)),
        cached: Runs("1.4.0", unread!("the server is asked too often (429)")),
        missing: unreachable!("the server is asked too often (429)"),
    },
    Row {
        what: "the truststore alone: 404",
        arrange: |world| fails(world, TRUSTSTORE, Fault::Status(404)),
        cached: Runs("1.4.0", unread!("there is no such file or directory (404)")),
        missing: unreachable!("there is no such file or directory (404)"),
    },
    Row {
        what: "the truststore alone: 404 with a page",
        arrange: |world| {
            let page = Answer::of(404, "text/html", b"<!doctype html><p>no".to_vec());
            fails(world, TRUSTSTORE, Fault::Answer(page));
        },
        cached: Runs("1.4.0", unread!("there is no such file or directory (404)")),
        missing: unreachable!("there is no such file or directory (404)"),
    },
    Row {
        what: "the truststore alone: a page with 200",
        arrange: |world| fails(world, TRUSTSTORE, Fault::Portal),
        cached: Runs(
            "1.4.0",
            unread!("`127.0.0.1` answered with a page (text/html; charset=utf-8) instead of data"),
        ),
        missing: unreachable!(
            "`127.0.0.1` answered with a page (text/html; charset=utf-8) instead of data"
        ),
    },
    Row {
        what: "the truststore alone: 302 to a sign-in page of this server",
        arrange: |world| {
            fails(world, "/login*", Fault::Portal);
            fails(world, TRUSTSTORE, Fault::RedirectTo("/login?to=dbt".to_owned()));
        },
        cached: Runs(
            "1.4.0",
            unread!("`127.0.0.1` answered with a page (text/html; charset=utf-8) instead of data"),
        ),
        missing: unreachable!(
            "`127.0.0.1` answered with a page (text/html; charset=utf-8) instead of data"
        ),
    },
    Row {
        what: "the truststore alone: garbage",
        arrange: |world| world.repository().write(TRUSTSTORE, b"nothing of the kind"),
        cached: Runs(
            "1.4.0",
            concat!(
                "warning: the truststore that server `acme` offers is refused: ",
                "failed to read the truststore: the truststore has no `BEGIN PGP PUBLIC KEY BLOCK`; ",
                "tools run under the last good one, and nothing new is installed\n"
            ),
        ),
        missing: unreachable!(
            "failed to read the truststore: the truststore has no `BEGIN PGP PUBLIC KEY BLOCK`"
        ),
    },
    Row {
        what: "the truststore alone: empty",
        arrange: |world| world.repository().write(TRUSTSTORE, b""),
        cached: Runs(
            "1.4.0",
            concat!(
                "warning: the truststore that server `acme` offers is refused: ",
                "failed to read the truststore: the truststore is empty; ",
                "tools run under the last good one, and nothing new is installed\n"
            ),
        ),
        missing: unreachable!("failed to read the truststore: the truststore is empty"),
    },
    Row {
        what: "the truststore cannot be had, and there is a newer version",
        arrange: |world| {
            world.repository().publish("deploy", "1.5.0").now();
            fails(world, TRUSTSTORE, Fault::Status(500));
        },
        cached: Runs(
            "1.4.0",
            outage!(
                "`deploy` 1.5.0 would be new here, and the truststore could not be confirmed: the server failed (500)"
            ),
        ),
        missing: unreachable!("the server failed (500)"),
    },
    Row {
        what: "the truststore alone: 401",
        arrange: |world| fails(world, TRUSTSTORE, Fault::Status(401)),
        cached: Runs(
            "1.4.0",
            "warning: server `acme` wants you to sign in (`dbt login`); running `deploy` 1.4.0 from the cache\n",
        ),
        missing: Stops(
            exits::REFUSED,
            "error: server `acme` wants you to sign in: `dbt login` signs you in\n",
        ),
    },
    Row {
        what: "the truststore alone: 403",
        arrange: |world| fails(world, TRUSTSTORE, Fault::Status(403)),
        cached: DENIED,
        missing: DENIED,
    },
    Row {
        what: "the tools alone: 500",
        arrange: |world| fails(world, "/dbt-tools/*", Fault::Status(500)),
        cached: Runs("1.4.0", outage!("the server failed (500)")),
        missing: unreachable!("the server failed (500)"),
    },
    Row {
        what: "the tools alone: 404, for their root too",
        arrange: |world| fails(world, "/dbt-tools/*", Fault::Status(404)),
        cached: Runs("1.4.0", outage!("there is no such file or directory (404)")),
        missing: unreachable!("there is no such file or directory (404)"),
    },
    Row {
        what: "the tools alone: a page with 200",
        arrange: |world| fails(world, "/dbt-tools/*", Fault::Portal),
        cached: Runs(
            "1.4.0",
            outage!("`127.0.0.1` answered with a page (text/html; charset=utf-8) instead of data"),
        ),
        missing: unreachable!(
            "`127.0.0.1` answered with a page (text/html; charset=utf-8) instead of data"
        ),
    },
    Row {
        what: "the versions of dbt itself alone: 500",
        arrange: |world| fails(world, "/dbt/", Fault::Status(500)),
        cached: OLDER,
        missing: OLDER,
    },
];

impl Expected {
    fn on_the_page(&self) -> String {
        match self {
            Runs(version, "") => format!("runs {version}"),
            Runs(version, _) => format!("runs {version}, with a warning"),
            Stops(code, _) => code.to_string(),
        }
    }

    /// Returns what is said, without what can be done.
    fn words(&self) -> String {
        let (Runs(_, says) | Stops(_, says)) = self;
        let words = says.lines().filter(|line| !line.starts_with("hint: "));
        let words = words.filter_map(|line| line.split_once(": ")).map(|(_kind, words)| words);
        words.collect::<Vec<_>>().join(": ")
    }
}

impl Row {
    fn on_the_page(&self) -> String {
        let (cached, missing) = (self.cached.on_the_page(), self.missing.on_the_page());
        format!("| {} | {} | {cached} | {missing} |", self.what, self.cached.words())
    }

    /// Tries one cell; says what was wrong. Where a limit of time ended what was to end otherwise, it
    /// is tried once more with longer ones: these tables say what happens, not how soon.
    fn check(&self, is_cached: bool, is_strict: bool) -> Result<(), String> {
        let outcome = match self.try_once(is_cached, is_strict, 1.0) {
            Err(Wrong::Late(_)) => self.try_once(is_cached, is_strict, LONGER),
            outcome => outcome,
        };
        outcome.map_err(|(Wrong::Late(words) | Wrong::Otherwise(words))| words)
    }

    /// Tries one cell with limits that are so much longer than the table has them.
    fn try_once(&self, is_cached: bool, is_strict: bool, longer: f64) -> Result<(), Wrong> {
        let world = published();
        world.set("strict", is_strict);
        // One of the people has a key that has expired.
        world.pin(&[&ALICE, &OLGA]);
        world.repository().trust(&[&ALICE, &OLGA]);
        if is_cached {
            world.dbt(["deploy"]).prints("deploy 1.4.0\n").says_nothing();
        }
        let (ran_before, program) = (world.tools_started().len(), world.program());
        let program_before = std::fs::read(&program).unwrap();
        (self.arrange)(&world);
        world.configure(|config| {
            let timeout = &mut config["servers"][SERVER]["timeout"];
            *timeout = (timeout.as_f64().unwrap() * longer).into();
        });
        let run = world.dbt(["deploy"]);
        let expected = if is_cached { &self.cached } else { &self.missing };
        let (code, version, says) = match expected {
            Runs(version, says) => (0, Some(version), says),
            Stops(code, says) => (*code, None, says),
        };
        let ran: Vec<String> = world.tools_started().split_off(ran_before);
        let is_right = run.code() == Some(code)
            && is_said(says, &run.stderr())
            && ran == version.map(|version| format!("deploy {version}")).as_slice()
            && std::fs::read(&program).unwrap() == program_before;
        let mut words = String::new();
        write!(
            words,
            "{}, cached: {is_cached}: code {:?} instead of {code}, ran {ran:?}, said:\n{}expected:\n{says}",
            self.what,
            run.code(),
            run.stderr(),
        )
        .unwrap();
        if is_right {
            return Ok(());
        }
        let is_late = is_late(says, &run.stderr());
        Err(if is_late { Wrong::Late(words) } else { Wrong::Otherwise(words) })
    }
}

/// How much longer the limits are when a cell is tried again. The longest that a row waits for, a
/// download that does not go on, stays below what any run may take in a test.
const LONGER: f64 = 4.0;

#[track_caller]
fn check(rows: &'static [Row]) {
    check_where(rows, false);
}

#[track_caller]
fn check_where(rows: &'static [Row], is_strict: bool) {
    let cells: Vec<(&Row, bool)> =
        rows.iter().flat_map(|row| [(row, true), (row, false)]).collect();
    let wrong: Vec<String> =
        super::at_once(&cells, |(row, is_cached)| row.check(*is_cached, is_strict));
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), cells.len(), wrong.join("\n"));
}

#[test]
fn whatever_is_wrong_with_a_version_a_run_does_as_the_table_says() {
    check(&VERSIONS);
}

#[test]
fn a_version_that_is_not_there_yet_leaves_the_one_before() {
    check(&HALF);
    check_where(&HALF, true);
}

#[test]
fn whatever_is_wrong_with_the_newest_dbt_tools_run() {
    check(&PROGRAMS);
}

#[test]
fn whatever_part_of_a_server_fails_a_run_does_as_the_table_says() {
    check(&DIRECTORIES);
}

#[test]
fn the_page_about_outages_says_what_the_tables_of_parts_say() {
    for (name, rows) in [
        ("versions", &VERSIONS[..]),
        ("versions on their way", &HALF),
        ("dbt itself", &PROGRAMS),
        ("parts", &DIRECTORIES),
    ] {
        page::has(name, rows.iter().map(Row::on_the_page));
    }
}
