//! Passwords in the user's netrc file: for the very host, over TLS, and where nobody else reads them.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;

use dbt_testkit::exits;
use dbt_testkit::tls::{Authority, TlsServer};
use dbt_testkit::world::World;

use crate::pinned;

const ENTRY: &str = "machine 127.0.0.1 login alice password correct-horse-battery\n";

/// A server with TLS that wants a password, and a client without configured credentials.
fn world() -> (World, TlsServer) {
    let world = pinned();
    world.repository().publish("deploy", "1.4.0").now();
    world.server().require_basic("alice", "correct-horse-battery");
    let authority = Authority::new("Acme Authority");
    authority.write_to(&world.directory().join("ca.pem"));
    world.set("caFile", world.directory().join("ca.pem").to_str().unwrap());
    let server = TlsServer::start(authority.server("127.0.0.1"), world.server().address());
    crate::certificates::move_to(&world, &server.url());
    (world, server)
}

fn write_netrc(world: &World, text: &str, mode: u32) {
    let file = world.home().join(".netrc");
    world.write_secret(&file, text);
    fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();
}

fn told(world: &World) -> usize {
    let requests = world.server().take_requests();
    requests.iter().filter(|it| it.request.header("authorization").is_some()).count()
}

#[test]
fn the_entry_of_the_host_opens_the_server() {
    let (world, server) = world();
    write_netrc(&world, ENTRY, 0o600);
    world.dbt(["deploy"]).prints("deploy 1.4.0\n").says_nothing();
    assert_ne!(told(&world), 0);
    world.dbt(["whoami"]).prints(&format!(
        "server: acme\nsigns in with: the password in `{}`\nuser: alice\nsent to: {}\n",
        world.home().join(".netrc").display(),
        server.url()
    ));
    world.dbt(["logout"]).mentions(".netrc` says stays");
    // What is configured comes first.
    world.set("token", "open-sesame");
    world.dbt(["deploy"]).prints("deploy 1.4.0\n").mentions("wants you to sign in");
    world.no_secret_is_remembered();
}

#[test]
fn a_file_that_others_can_read_is_not_used_and_the_hint_says_why() {
    let (world, _server) = world();
    write_netrc(&world, ENTRY, 0o644);
    let why = "the password in `[WORLD]/h/.netrc` is not used: others can read that file (mode \
               0644); `chmod 600 '[WORLD]/h/.netrc'`";
    world.dbt(["deploy"]).exits_with(exits::REFUSED).mentions(&format!("hint: {why}\n"));
    world.dbt(["login"]).exits_with(exits::CONFIGURATION).mentions(&format!("hint: {why}\n"));
    assert_eq!(told(&world), 0);
    world.nothing_happened();
}

#[test]
fn where_a_password_was_forgotten_no_other_hosts_is_sent_and_the_hint_says_the_line() {
    let (world, _server) = world();
    let other = "machine b.example login alice password correct-horse-battery\n";
    write_netrc(&world, &format!("machine 127.0.0.1 login alice password \n{other}"), 0o600);
    let why = "`[WORLD]/h/.netrc` is not used from line 1 on: a word has no value behind it";
    world.dbt(["deploy"]).exits_with(exits::REFUSED).mentions(&format!("hint: {why}\n"));
    assert_eq!(told(&world), 0);
    world.nothing_happened();
    // What was read before it counts.
    write_netrc(&world, &format!("{ENTRY}machine c.example login\n{other}"), 0o600);
    world.dbt(["deploy"]).prints("deploy 1.4.0\n").says_nothing();
}

#[test]
fn other_hosts_and_servers_without_tls_are_told_nothing() {
    let (secure, _server) = world();
    let other = "machine localhost login alice password correct-horse-battery\n\
                 default login alice password correct-horse-battery\n";
    write_netrc(&secure, other, 0o600);
    secure.dbt(["deploy"]).exits_with(exits::REFUSED).mentions("`dbt login` signs you in");
    assert_eq!(told(&secure), 0);

    let plain = pinned();
    plain.repository().publish("deploy", "1.4.0").now();
    write_netrc(&plain, ENTRY, 0o600);
    plain.dbt(["deploy"]).prints("deploy 1.4.0\n").says_nothing();
    assert_eq!(told(&plain), 0);
}
