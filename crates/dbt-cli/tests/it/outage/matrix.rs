//! Every way in which a server can fail, with a verified copy and without, asked for the newest,
//! offline, and with a version named: the words, the exit code, and that it ends in time.

use std::time::{Duration, Instant};

use dbt_testkit::exits;
use dbt_testkit::http::Answer;
use dbt_testkit::server::Fault;
use dbt_testkit::world::World;

use super::trouble::Trouble;
use super::{ALLOWANCE, Wrong, at_once, is_said, page};
use crate::pinned;

/// One way to fail.
struct Row {
    /// What happens, for people.
    what: &'static str,
    trouble: Trouble,
    waits: Waits,
    verdict: Verdict,
    /// What a user can do about it.
    advice: &'static str,
}

/// What it means for a run.
enum Verdict {
    /// The copy runs with a warning, which gives this reason; without a copy it is the error's.
    Outage(&'static str),
    /// The copy runs with a warning that names the way in.
    SignIn,
    /// Nothing runs.
    Forbidden,
}
use Verdict::{Forbidden, Outage, SignIn};

/// What a run waits for.
#[derive(Debug, Clone, Copy)]
enum Waits {
    /// Nothing: it is known at once.
    Not,
    /// The system's answer, which it may give at once: no longer than for a connection.
    ForName,
    /// A connection that does not come.
    ForConnection,
    /// An answer that does not begin.
    ForFirstByte,
    /// An answer that does not end.
    ForAnswer,
    /// Until it asks again, a few times.
    ToAskAgain,
}
use Waits::{ForAnswer, ForConnection, ForFirstByte, ForName, Not, ToAskAgain};

const WAIT: &str = "wait; tell the server's administrator";
const NETWORK: &str = "look at your network; `dbt doctor` tells more";

static ROWS: [Row; 17] = [
    Row {
        what: "the server's name cannot be resolved",
        trouble: Trouble::Name,
        waits: ForName,
        verdict: Outage("the name `dbt.invalid` cannot be resolved: …"),
        advice: "look at your network, and at the name in the configuration",
    },
    Row {
        what: "nothing listens there",
        trouble: Trouble::Gone,
        waits: Not,
        verdict: Outage("cannot connect: …"),
        advice: WAIT,
    },
    Row {
        what: "nobody answers there: a firewall, a VPN that is off",
        trouble: Trouble::BlackHole,
        waits: ForConnection,
        verdict: Outage("there was no connection within …"),
        advice: NETWORK,
    },
    Row {
        what: "there is no TLS where it is due",
        trouble: Trouble::NoTls,
        waits: Not,
        verdict: Outage("there is no secure connection: the server does not speak TLS"),
        advice: "look at the URL: is it `http`?",
    },
    Row {
        what: "the server's certificate is not accepted, as behind a proxy that looks into TLS",
        trouble: Trouble::Stranger,
        waits: Not,
        verdict: Outage(
            "there is no secure connection: \
             the server's certificate is signed by nobody but itself",
        ),
        advice: "name your organisation's certificate authority as `caFile`",
    },
    Row {
        what: "the connection is reset",
        trouble: Trouble::Answers(|| Fault::Reset),
        waits: ToAskAgain,
        verdict: Outage("the connection broke: …"),
        advice: NETWORK,
    },
    Row {
        what: "the answer does not begin",
        trouble: Trouble::Answers(|| Fault::Stall),
        waits: ForFirstByte,
        verdict: Outage("there was no complete answer in time"),
        advice: WAIT,
    },
    Row {
        what: "the answer begins and does not go on",
        trouble: Trouble::Answers(|| Fault::StallAfter(10)),
        waits: ForAnswer,
        verdict: Outage("there was no complete answer in time"),
        advice: WAIT,
    },
    Row {
        what: "the answer comes too slowly",
        trouble: Trouble::Answers(|| Fault::Trickle),
        waits: ForAnswer,
        verdict: Outage("there was no complete answer in time"),
        advice: WAIT,
    },
    Row {
        what: "the answer is cut off",
        trouble: Trouble::Answers(|| Fault::CutAfter(10)),
        waits: ToAskAgain,
        verdict: Outage("the answer ended after 10 of … bytes"),
        advice: NETWORK,
    },
    Row {
        what: "500, 502, 503 and the like",
        trouble: Trouble::Answers(|| Fault::Status(500)),
        waits: ToAskAgain,
        verdict: Outage("the server failed (500)"),
        advice: WAIT,
    },
    Row {
        what: "429",
        trouble: Trouble::Answers(|| {
            Fault::Answer(Answer::text(429, "").with("Retry-After", "9999"))
        }),
        waits: Not,
        verdict: Outage("the server is asked too often (429)"),
        advice: "wait; `\"updates\": \"10m\"` asks less often",
    },
    Row {
        what: "404 for everything",
        trouble: Trouble::Answers(|| Fault::Status(404)),
        waits: Not,
        verdict: Outage("there is no such file or directory (404)"),
        advice: "look at the URLs in the configuration",
    },
    Row {
        what: "a page instead of data, as hotels and error pages of proxies do",
        trouble: Trouble::Answers(|| Fault::Portal),
        waits: Not,
        verdict: Outage(
            "`127.0.0.1` answered with a page (text/html; charset=utf-8) instead of data",
        ),
        advice: "sign in to the network; `dbt doctor` tells more",
    },
    Row {
        what: "302 to the sign-in page of another server",
        trouble: Trouble::Answers(|| {
            Fault::RedirectTo("https://login.example.com/?dbt".to_owned())
        }),
        waits: Not,
        verdict: Outage("the server redirects to another server, `https://login.example.com`"),
        advice: "sign in to the network; or write the new address into the configuration",
    },
    Row {
        what: "401, also to a token that was good before",
        trouble: Trouble::Answers(|| Fault::Status(401)),
        waits: Not,
        verdict: SignIn,
        advice: "`dbt login`, or a new token",
    },
    Row {
        what: "403",
        trouble: Trouble::Answers(|| Fault::Status(403)),
        waits: Not,
        verdict: Forbidden,
        advice: "ask for the right to read; `dbt -o TOOL` runs the copy",
    },
];

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wish {
    /// The newest: 1.4.0.
    Newest,
    /// `-o`.
    Offline,
    /// `-v 1.3.0`.
    Named,
}

impl Wish {
    fn words(self) -> &'static [&'static str] {
        match self {
            Self::Newest => &["deploy"],
            Self::Offline => &["-o", "deploy"],
            Self::Named => &["-v", "1.3.0", "deploy"],
        }
    }

    fn version(self) -> &'static str {
        if self == Self::Named { "1.3.0" } else { "1.4.0" }
    }

    /// What it is called where it is missing.
    fn name(self) -> &'static str {
        if self == Self::Named { "`deploy` 1.3.0" } else { "`deploy`" }
    }
}

/// What a run does.
struct Expected {
    code: i32,
    runs: bool,
    says: String,
}

/// How much faster than usual everything is given up, so that the table is soon through.
const SCALE: f64 = 0.7;

impl Row {
    fn expected(&self, wish: Wish, is_cached: bool, base: &str) -> Expected {
        let runs = |says: String| Expected { code: 0, runs: true, says };
        let stops = |code, says| Expected { code, runs: false, says };
        let (name, version) = (wish.name(), wish.version());
        match (&self.verdict, wish, is_cached) {
            (_, Wish::Offline, true) => runs(String::new()),
            (_, Wish::Offline, false) => stops(
                exits::UNREACHABLE,
                "error: `deploy` is not cached, and this run makes no request: offline\n\
                 hint: `dbt fetch deploy` downloads it while the server can be reached\n"
                    .to_owned(),
            ),
            (Outage(reason), _, true) => runs(format!(
                "warning: `{base}/dbt` cannot be used ({reason}); \
                 running `deploy` {version}, confirmed [AGE] ago\n"
            )),
            (Outage(reason), _, false) => stops(
                exits::UNREACHABLE,
                format!(
                    "error: {name} is not cached, and `{base}/dbt` cannot be used: {reason}\n\
                     hint: `dbt doctor` checks the connection and the configuration\n"
                ),
            ),
            (SignIn, _, true) => runs(format!(
                "warning: server `acme` wants you to sign in (`dbt login`); \
                 running `deploy` {version} from the cache\n"
            )),
            (SignIn, _, false) => stops(
                exits::REFUSED,
                "error: server `acme` wants you to sign in: `dbt login` signs you in\n".to_owned(),
            ),
            (Forbidden, _, _) => stops(
                exits::REFUSED,
                format!(
                    "error: the server does not allow it\n\
                     \x20 caused by: failed to read `{base}/dbt/truststore`\n\
                     \x20 caused by: access is denied (403)\n\
                     hint: ask an administrator of the repository for the right to read it\n"
                ),
            ),
        }
    }

    /// Tries one cell; says what was wrong. A machine may stand still for a while, and not twice at
    /// the same place.
    fn try_cell(&self, wish: Wish, is_cached: bool) -> Result<(), String> {
        let outcome = match self.try_once(wish, is_cached) {
            Err(Wrong::Late(_)) => self.try_once(wish, is_cached),
            outcome => outcome,
        };
        outcome.map_err(|(Wrong::Late(words) | Wrong::Otherwise(words))| words)
    }

    fn try_once(&self, wish: Wish, is_cached: bool) -> Result<(), Wrong> {
        let world = arrange(wish, is_cached);
        let ran_before = world.tools_started();
        let executables = world.executables();
        world.set("timeout", SCALE);
        let befallen = self.trouble.befall(&world);
        let expected = self.expected(wish, is_cached, &befallen.base);

        let began = Instant::now();
        let run = world.dbt(wish.words());
        let took = began.elapsed();

        let said = run.stderr();
        let (code, ran) = (run.code(), world.tools_started().len() - ran_before.len());
        let printed =
            if expected.runs { format!("deploy {}\n", wish.version()) } else { String::new() };
        let (least, most) = self.waiting(wish, is_cached);
        let mut late = false;
        let wrong = if code != Some(expected.code) {
            format!("exit code {code:?} instead of {}", expected.code)
        } else if !is_said(&expected.says, &said) {
            format!("expected:\n{}", expected.says)
        } else if run.stdout() != printed || ran != usize::from(expected.runs) {
            format!("printed {:?}, and {ran} tools ran", run.stdout())
        } else if took < least || !self.tells_the_limit(wish, is_cached, &said) {
            format!("it took {took:?}, and was to wait for {least:?}")
        } else if took > most + ALLOWANCE {
            late = true;
            format!("it took {took:?}, and was to wait for no longer than {most:?}")
        } else if world.executables() != executables {
            "something was installed".to_owned()
        } else {
            return Ok(());
        };
        let words =
            format!("{}, {wish:?}, cached: {is_cached}: {wrong}\nit said:\n{said}", self.what);
        Err(if late { Wrong::Late(words) } else { Wrong::Otherwise(words) })
    }

    /// Returns for how long a run waits at least and at most, as the product promises it.
    fn waiting(&self, wish: Wish, is_cached: bool) -> (Duration, Duration) {
        let (connection, first_byte, in_all) =
            if is_cached { (1.0, 2.0, 2.0) } else { (3.0, 5.0, 15.0) };
        let (least, most) = match self.waits {
            _ if wish == Wish::Offline => (0.0, 0.0),
            Not => (0.0, 0.0),
            ForName => (0.0, connection),
            ForConnection => (connection, connection),
            ForFirstByte => (first_byte, first_byte),
            ForAnswer => (in_all, in_all),
            ToAskAgain => (0.0, in_all),
        };
        // What begins and ends a run is within the limit too.
        let least = Duration::from_secs_f64(least * SCALE * 0.9);
        (least, Duration::from_secs_f64(most * SCALE))
    }

    /// Says whether the words name the limit that has ended the waiting for a connection: which one
    /// it was could not be told from the time that a busy machine needs.
    fn tells_the_limit(&self, wish: Wish, is_cached: bool, said: &str) -> bool {
        // 1 s and 3 s, scaled, as dbt says it.
        let limit = if is_cached { "700 ms" } else { "2 s" };
        let is_due = matches!(self.waits, ForConnection) && wish != Wish::Offline;
        !is_due || said.contains(&format!("no connection within {limit}"))
    }
}

/// Makes a world with 1.3.0 and 1.4.0 published. Where the wanted version is not cached although
/// it was named, the other one is.
fn arrange(wish: Wish, is_cached: bool) -> World {
    let world = pinned();
    world.repository().publish("deploy", "1.3.0").now();
    world.repository().publish("deploy", "1.4.0").now();
    if is_cached || wish == Wish::Named {
        world.dbt(["deploy"]).prints("deploy 1.4.0\n").says_nothing();
    }
    if is_cached && wish == Wish::Named {
        world.dbt(wish.words()).prints("deploy 1.3.0\n").says_nothing();
    }
    world
}

#[test]
fn whatever_a_server_does_a_run_ends_in_time_as_the_table_says() {
    let wishes = [Wish::Newest, Wish::Offline, Wish::Named];
    let cells: Vec<(&Row, Wish, bool)> = ROWS
        .iter()
        .flat_map(|row| wishes.map(|wish| (row, wish)))
        .flat_map(|(row, wish)| [true, false].map(|is_cached| (row, wish, is_cached)))
        .collect();
    let wrong = at_once(&cells, |(row, wish, is_cached)| row.try_cell(*wish, *is_cached));
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), cells.len(), wrong.join("\n"));
}

#[test]
fn the_page_about_outages_says_what_the_table_says() {
    let lines = ROWS.iter().map(|row| {
        let (reason, cached, missing) = match &row.verdict {
            Outage(reason) => (*reason, "runs, with a warning", exits::UNREACHABLE),
            SignIn => {
                ("server `acme` wants you to sign in", "runs, with a warning", exits::REFUSED)
            }
            Forbidden => ("access is denied (403)", "exit code 83", exits::REFUSED),
        };
        format!("| {} | {reason} | {cached} | {missing} | {} |", row.what, row.advice)
    });
    page::has("the whole server", lines);
}
