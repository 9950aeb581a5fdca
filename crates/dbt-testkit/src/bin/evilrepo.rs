//! `evilrepo`: a hostile server to look at. `evilrepo list` names what it can do, and `evilrepo
//! serve CASE` does it, on loopback, to whoever tries.

#![expect(clippy::expect_used, reason = "a server that cannot be made is not worth a report")]
#![expect(clippy::print_stdout, reason = "what it does is said to who started it")]
#![expect(clippy::print_stderr, reason = "mistakes are said beside it")]

use std::io;
use std::path::Path;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use dbt_core::brand;
use dbt_testkit::hostile::{self, Case, PINNED, Stage};
use dbt_testkit::repository::TestRepository;
use dbt_testkit::server::FileServer;

const USAGE: &str = "\
usage: evilrepo list [KIND]                        every attack it knows, or those of a kind: C36
       evilrepo serve CASE [--port N] [--later]    plays one: C36-zeros

  --port N   listens on this port of 127.0.0.1; any that is free without it
  --later    is honest until Enter is pressed, so that the client has a copy by then
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match words.as_slice() {
        ["list"] => list(""),
        ["list", kind] => list(kind),
        ["serve", name, options @ ..] => plan(name, options).and_then(|plan| serve(&plan)),
        [] | ["-h" | "--help" | "help"] => {
            print!("{USAGE}");
            Ok(())
        }
        _ => Err(USAGE.to_owned()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(words) => {
            eprintln!("{}", words.trim_end());
            ExitCode::FAILURE
        }
    }
}

fn list(kind: &str) -> Result<(), String> {
    let cases: Vec<&Case> = hostile::cases()
        .into_iter()
        .filter(|case| kind.is_empty() || case.kind().eq_ignore_ascii_case(kind))
        .collect();
    let width = cases.iter().map(|case| case.name.len()).max();
    let width = width.ok_or_else(|| format!("no case is of the kind `{kind}`"))?;
    for case in cases {
        println!("{:width$}  {}", case.name, case.what);
    }
    Ok(())
}

/// What is to be served, and how.
struct Plan {
    case: &'static Case,
    port: u16,
    later: bool,
}

fn plan(name: &str, options: &[&str]) -> Result<Plan, String> {
    let case = hostile::find(name).ok_or_else(|| unknown(name))?;
    let mut plan = Plan { case, port: 0, later: false };
    let mut options = options.iter();
    while let Some(option) = options.next() {
        match *option {
            "--later" => plan.later = true,
            "--port" => {
                let port = options.next().and_then(|port| port.parse().ok());
                plan.port = port.ok_or("`--port` wants a number up to 65535")?;
            }
            other => return Err(format!("unknown option `{other}`\n{USAGE}")),
        }
    }
    Ok(plan)
}

fn unknown(name: &str) -> String {
    let cases = hostile::cases();
    let alike: Vec<&str> = cases
        .iter()
        .map(|case| case.name)
        .filter(|other| other.to_ascii_lowercase().starts_with(&name.to_ascii_lowercase()))
        .collect();
    if alike.is_empty() {
        return format!("there is no case `{name}`; `evilrepo list` names them all");
    }
    format!("`{name}` is not one case, but the beginning of: {}", alike.join(", "))
}

fn serve(plan: &Plan) -> Result<(), String> {
    let directory = tempfile::Builder::new().prefix("evilrepo").tempdir();
    let directory = directory.expect("there is room for a repository");
    let root = directory.path().join("server");
    let repository = TestRepository::create(&root, &directory.path().join("started"));
    hostile::honest(&repository);
    let server = FileServer::start_on(plan.port, &root)
        .map_err(|error| format!("port {} of 127.0.0.1 cannot be used: {error}", plan.port))?;
    let elsewhere = FileServer::start(&root);
    let stage = Stage { repository: &repository, server: &server, elsewhere: &elsewhere };

    println!("{}: {}", plan.case.name, plan.case.what);
    invite(directory.path(), &server);
    thread::scope(|scope| {
        let (done, is_done) = std::sync::mpsc::channel();
        let (shown, other) = (&server, &elsewhere);
        scope.spawn(move || {
            // Until the other end of the channel is gone.
            while is_done.try_recv() != Err(std::sync::mpsc::TryRecvError::Disconnected) {
                show("", shown.next_requests(Duration::from_millis(200)));
                show("elsewhere: ", other.take_requests());
            }
        });
        if plan.later {
            println!("honest until Enter is pressed");
            wait_for_enter();
        }
        plan.case.play(&stage);
        println!("hostile until Enter is pressed");
        wait_for_enter();
        drop::<std::sync::mpsc::Sender<()>>(done);
    });
    Ok(())
}

/// Says with which two lines a client tries it. Its home goes when the server does.
fn invite(directory: &Path, server: &FileServer) {
    let pins: Vec<String> = PINNED.iter().map(|it| it.fingerprint().to_string()).collect();
    let prefix = brand::PROGRAM.to_uppercase();
    println!(
        "  export {prefix}_HOME={}/home {prefix}_SERVER={} {prefix}_TRUST={}",
        directory.display(),
        server.url(),
        pins.join(",")
    );
    println!("  {} deploy", brand::PROGRAM);
}

fn show(where_: &str, requests: Vec<dbt_testkit::server::Received>) {
    for request in requests {
        println!("{where_}{}", request.line());
    }
}

/// Waits for the end of a line. Without a standard input there is nobody to press Enter: whoever
/// started it ends it.
fn wait_for_enter() {
    let mut line = String::new();
    if matches!(io::stdin().read_line(&mut line), Ok(0)) {
        loop {
            thread::park();
        }
    }
}
