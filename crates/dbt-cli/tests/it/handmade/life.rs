//! What a repository does for its users from the first day on, whoever serves it.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;

use dbt_testkit::world::{SERVER, World};
use serde_json::json;

use super::recipe::{Handmade, Notations};

/// A server that says what it was asked for.
pub(crate) trait Served {
    /// Returns the address of the directory with both repositories.
    fn root(&self) -> String;

    /// Returns the lines of the requests since the last call, as `GET /path`.
    fn take_requests(&self) -> Vec<String>;
}

/// Asks a server for a path, and reads the answer to its end.
pub(crate) fn ask(root: &str, path: &str) {
    let address = root.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    stream.read_to_end(&mut Vec::new()).unwrap();
}

/// Makes a home in which nothing of a repository is known yet, and a repository by hand.
pub(crate) fn begin(notations: Notations) -> (World, Handmade) {
    let world = World::new(env!("CARGO_BIN_EXE_dbt"));
    let handmade = Handmade::make(world.directory(), notations);
    (world, handmade)
}

/// Goes through it all: first run, next run, update, pin, no network, self-update.
pub(crate) fn is_lived(world: &World, handmade: &Handmade, served: &dyn Served) {
    configure(world, &served.root());
    the_first_run_says_whom_it_trusts(world, handmade);
    pin_the_signer(world, handmade);
    the_next_run_costs_four_small_requests(world, served, "hello, world\n");
    an_update_arrives_by_itself(world, handmade);
    every_version_can_be_asked_for(world);
    without_the_network_it_runs_what_is_there(world, served);
    the_catalog_lists_it(world);
    a_newer_dbt_takes_over_once(world, handmade, served);
}

/// The server is gone: the tool runs all the same, with one line about it.
pub(crate) fn goes_on_without_its_server(world: &World) {
    world.dbt(["hello", "world"]).prints("hello again, world\n").mentions("warning: ");
    world.dbt(["-o", "hello", "world"]).prints("hello again, world\n").says_nothing();
}

/// Names the repository below an address in the configuration, and nobody to trust.
pub(crate) fn configure(world: &World, root: &str) {
    let entry = json!({
        "repository": format!("{root}/dbt"),
        "truststore": format!("{root}/dbt/truststore"),
        "toolsRepository": format!("{root}/dbt-tools"),
        "selfUpdate": "auto",
        "timeout": "1m",
    });
    world.write_config(&json!({ "servers": { SERVER: entry } }));
}

fn the_first_run_says_whom_it_trusts(world: &World, handmade: &Handmade) {
    let run = world.dbt(["hello", "world"]);
    run.prints("hello, world\n").mentions("trusting 1 signing key from now on");
    run.mentions("Tools <tools@example.com>");
    world.dbt(["trust", "show"]).exits_with(0);
    let known = world.state_files().iter().any(|file| {
        let text = fs::read_to_string(file).unwrap_or_default();
        text.contains(&handmade.fingerprint())
    });
    assert!(known, "nothing remembers {}", handmade.fingerprint());
}

fn pin_the_signer(world: &World, handmade: &Handmade) {
    let signers = [handmade.fingerprint()];
    world.set("trust", json!({ "dbt": signers, "tools": signers }));
}

fn the_next_run_costs_four_small_requests(world: &World, served: &dyn Served, prints: &str) {
    drop(served.take_requests());
    world.dbt(["hello", "world"]).prints(prints).says_nothing();
    let requests = served.take_requests();
    assert!(requests.len() <= 4, "{requests:?}");
    let whole = requests.iter().filter(|line| line.ends_with("/hello") || line.ends_with("/dbt"));
    assert_eq!(whole.count(), 0, "{requests:?}");
}

fn an_update_arrives_by_itself(world: &World, handmade: &Handmade) {
    handmade.publish("1.9.0", "echo 'not the newest'");
    handmade.publish("1.10.0", "echo \"hello again, $*\"");
    world.dbt(["hello", "world"]).prints("hello again, world\n").says_nothing();
    assert_eq!(world.executables().len(), 2, "1.9.0 was fetched for nothing");
}

fn every_version_can_be_asked_for(world: &World) {
    world.dbt(["hello@1.0.0", "world"]).prints("hello, world\n").says_nothing();
    world.dbt(["-v", "1.9", "hello"]).prints("not the newest\n").says_nothing();
    world.set("pins", json!({ "hello": "1.0" }));
    world.dbt(["hello", "world"]).prints("hello, world\n").says_nothing();
    world.set("pins", json!({}));
    world.dbt(["hello", "world"]).prints("hello again, world\n").says_nothing();
}

fn without_the_network_it_runs_what_is_there(world: &World, served: &dyn Served) {
    drop(served.take_requests());
    world.dbt(["-o", "hello", "world"]).prints("hello again, world\n").says_nothing();
    world.dbt(["-o", "hello@1.0.0", "world"]).prints("hello, world\n").says_nothing();
    assert_eq!(served.take_requests(), [""; 0]);
}

fn the_catalog_lists_it(world: &World) {
    let run = world.dbt(["catalog", "list", "--json"]);
    let list: serde_json::Value = serde_json::from_str(&run.exits_with(0).stdout()).unwrap();
    let text = list.to_string();
    assert!(text.contains("\"hello\"") && text.contains("\"1.10.0\""), "{text}");
}

/// The checksum beside it ends with a line end, of which the reference's client starts itself
/// again without end.
fn a_newer_dbt_takes_over_once(world: &World, handmade: &Handmade, served: &dyn Served) {
    let next = Path::new(env!("CARGO_BIN_EXE_dbt")).with_file_name("examples").join("dbt_next");
    let next = fs::read(&next)
        .unwrap_or_else(|error| panic!("{}: {error}; `make test` builds it", next.display()));
    handmade.publish_program("99.0.0", &next);
    drop(served.take_requests());
    world.dbt(["hello", "world"]).prints("hello again, world\n").says_nothing();
    let requests = served.take_requests();
    assert!(requests.len() <= 16, "{requests:?}");
    world.dbt(["--version"]).prints("dbt version 99.0.0\n");
    assert!(fs::read(world.program()).unwrap() == next, "another program took over");
    the_next_run_costs_four_small_requests(world, served, "hello again, world\n");
}
