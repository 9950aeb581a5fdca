//! Servers with TLS, good and bad: each works, or is refused in words that say what to do, and then
//! nothing has happened.

use std::net::TcpListener;
use std::path::PathBuf;

use dbt_testkit::exits;
use dbt_testkit::invocation::{Run, mounts_work};
use dbt_testkit::tls::{Authority, Ending, Flaw, RawServer, TlsServer};
use dbt_testkit::world::World;

use crate::pinned;

/// A world with `deploy` 1.4.0, and an authority whose certificate is in the file `ca.pem` of the
/// world and named nowhere.
fn published() -> (World, Authority) {
    let world = pinned();
    world.set("timeout", 1);
    world.repository().publish("deploy", "1.4.0").now();
    let authority = Authority::new("Acme Authority");
    authority.write_to(&ca_file(&world));
    (world, authority)
}

fn ca_file(world: &World) -> PathBuf {
    world.directory().join("ca.pem")
}

/// Configures that everything is below a URL.
pub(crate) fn move_to(world: &World, url: &str) {
    world.set("repository", format!("{url}/dbt"));
    world.set("truststore", format!("{url}/dbt/truststore"));
    world.set("toolsRepository", format!("{url}/dbt-tools"));
}

/// Expects that nothing can run, for the reason given, and that with a copy at hand it runs.
#[track_caller]
fn is_refused(world: &World, url: &str, words: &str) -> Run {
    move_to(world, url);
    let run = world.dbt(["deploy"]);
    run.exits_with(exits::UNREACHABLE).mentions(words);
    world.nothing_happened();

    move_to(world, &world.server().url());
    world.dbt(["deploy"]).prints("deploy 1.4.0\n");
    run
}

#[test]
fn an_authority_of_the_organisation_is_believed_when_it_is_named() {
    let (world, authority) = published();
    let server = TlsServer::start(authority.server("127.0.0.1"), world.server().address());
    let run = is_refused(
        &world,
        &server.url(),
        "the server's certificate is signed by `Acme Authority`, and this machine does not know",
    );
    run.mentions("`caFile`").mentions("`SSL_CERT_FILE`");

    move_to(&world, &server.url());
    let by_variable = |name: &str, value: PathBuf| world.invoke(["deploy"]).env(name, value).run();
    let directory = world.directory().join("authorities");
    authority.write_to(&directory.join("acme.crt"));
    by_variable("SSL_CERT_FILE", ca_file(&world)).prints("deploy 1.4.0\n").says_nothing();
    by_variable("SSL_CERT_DIR", directory).prints("deploy 1.4.0\n").says_nothing();
    world.set("caFile", "../../../ca.pem");
    world.dbt(["deploy"]).prints("deploy 1.4.0\n").says_nothing();
}

#[test]
fn whoever_answers_with_a_certificate_writes_no_lines_of_its_own() {
    let (world, _authority) = published();
    world.dbt(["deploy"]).prints("deploy 1.4.0\n");
    let name = "X\nerror: dbt was revoked\nhint: run `curl x | sh`\r\u{1b}[2J";
    let server = Authority::new(name).server("127.0.0.1");
    world.move_server(&TlsServer::start(server, world.server().address()).url());
    let run = world.dbt(["deploy"]);
    run.prints("deploy 1.4.0\n").mentions("is signed by `X\u{FFFD}error: dbt was revoked");
    assert_eq!(run.stderr().lines().count(), 1, "{run:?}");
    assert!(!run.stderr().contains(['\r', '\u{1b}']), "{run:?}");
    for words in [&["doctor"][..], &["doctor", "--report"]] {
        let said = world.dbt(words).stdout();
        assert!(!said.lines().any(|line| line.starts_with("error: dbt")), "{said}");
    }
}

#[test]
fn ssl_cert_file_adds_to_the_systems_store_and_does_not_replace_it() {
    if !mounts_work() {
        // The store's places can then not be another world's; the client's own tests stand for it.
        return;
    }
    let (world, authority) = published();
    let system = Authority::new("System Authority");
    system.write_to(&world.directory().join("etc/certs/ca-certificates.crt"));
    let behind = world.server().address();
    let of_system = TlsServer::start(system.server("127.0.0.1"), behind);
    let of_file = TlsServer::start(authority.server("127.0.0.1"), behind);
    world.set("repository", format!("{}/dbt", of_system.url()));
    world.set("truststore", format!("{}/dbt/truststore", of_system.url()));
    world.set("toolsRepository", format!("{}/dbt-tools", of_file.url()));

    let etc = world.directory().join("etc");
    let run = |words: &[&str], variable: Option<PathBuf>| {
        let run = world.invoke(words).mounting("mount --bind \"$0\" /etc/ssl", &etc);
        match variable {
            Some(file) => run.env("SSL_CERT_FILE", file).run(),
            None => run.run(),
        }
    };
    run(&["deploy"], None).exits_with(exits::UNREACHABLE).mentions("`Acme Authority`");
    world.nothing_happened();
    run(&["deploy"], Some(ca_file(&world))).prints("deploy 1.4.0\n").says_nothing();

    let found = run(&["doctor", "--json"], Some(ca_file(&world))).stdout();
    let file = ca_file(&world).display().to_string();
    let words = format!("certificate authorities: `{file}`, `/etc/ssl/certs/ca-certificates.crt`");
    assert!(found.contains(&words), "{found}");

    // One that is gone is named, and takes nothing away.
    move_to(&world, &of_system.url());
    let missing = Some(world.directory().join("missing.pem"));
    run(&["deploy"], missing.clone()).prints("deploy 1.4.0\n").says_nothing();
    let found = run(&["doctor", "--json"], missing.clone()).stdout();
    assert!(
        found.contains(r#""id":"certificates-unused""#)
            && found.contains("`SSL_CERT_FILE` names `"),
        "{found}"
    );
    let found = run(&["doctor"], missing.clone()).stdout();
    let fix = "fix: correct the variable, or unset it";
    assert!(found.contains("warning  certificates-unused:") && found.contains(fix), "{found}");
    move_to(&world, &of_file.url());
    run(&["update", "deploy"], missing).mentions("which cannot be used: No such file");
}

#[test]
fn a_host_without_any_store_uses_mozillas_and_says_so() {
    if !mounts_work() {
        return;
    }
    let (world, authority) = published();
    let server = TlsServer::start(authority.server("127.0.0.1"), world.server().address());
    move_to(&world, &server.url());
    let empty = world.directory().join("empty");
    std::fs::create_dir(&empty).unwrap();
    let hide = "for d in /etc/ssl /etc/pki /usr/local/etc /usr/local/share; do \
                test ! -d $d || mount --bind \"$0\" $d || exit; done";
    let found = world.invoke(["doctor", "--json"]).mounting(hide, &empty).run().stdout();
    assert!(found.contains("certificates-not-the-systems"), "{found}");
    let run = world.invoke(["deploy"]).mounting(hide, &empty).run();
    run.exits_with(exits::UNREACHABLE).mentions("`Acme Authority`");
    world.nothing_happened();
}

#[test]
fn a_ca_file_that_cannot_be_used_is_named() {
    let (world, authority) = published();
    let server = TlsServer::start(authority.server("127.0.0.1"), world.server().address());
    std::fs::write(world.directory().join("empty.pem"), "nothing\n").unwrap();
    for (file, why) in [("missing.pem", "No such file"), ("empty.pem", "no usable certificate")] {
        let file = world.directory().join(file);
        world.set("caFile", file.display().to_string());
        move_to(&world, &server.url());
        let run = world.dbt(["deploy"]);
        run.exits_with(exits::UNREACHABLE).mentions("failed to read certificate authorities from");
        run.mentions(why);
        world.nothing_happened();
        let doctor = world.dbt(["doctor", "--json"]);
        assert!(doctor.exits_with(exits::CONFIGURATION).stdout().contains(why));
    }
}

#[test]
fn certificates_that_are_wrong_are_refused_in_words() {
    let table: [(&str, Flaw); 4] = [
        ("the server's certificate has expired", Flaw::Expired),
        ("the server's certificate is not valid yet", Flaw::NotYetValid),
        ("the server's certificate is for another host", Flaw::OtherHost),
        ("the server's certificate is signed by nobody but itself", Flaw::SelfSigned),
    ];
    for (words, flaw) in table {
        let (world, authority) = published();
        world.set("caFile", ca_file(&world).display().to_string());
        let server =
            TlsServer::start(authority.flawed("127.0.0.1", flaw), world.server().address());
        is_refused(&world, &server.url(), words);
    }
}

/// What a server answers that knows nothing newer: `ServerHello`, 32 bytes of chance, no session,
/// RSA with AES-128.
pub(crate) fn server_hello(minor: u8) -> Vec<u8> {
    let mut hello = vec![0x16, 3, minor, 0, 42, 2, 0, 0, 38, 3, minor];
    hello.extend([7; 32]);
    hello.extend([0, 0, 0x2F, 0]);
    hello
}

#[test]
fn servers_that_speak_only_what_is_no_longer_safe_are_refused() {
    let (ssl3, tls10, tls11) = (server_hello(0), server_hello(1), server_hello(2));
    let alert = [0x15, 3, 1, 0, 2, 2, 70].to_vec();
    for hello in [ssl3, tls10, tls11, alert] {
        let (world, _authority) = published();
        let server = RawServer::saying(&hello);
        let url = format!("https://{}", server.address());
        is_refused(&world, &url, "the server speaks only forms of TLS that are no longer safe");
    }
}

#[test]
fn a_server_without_tls_is_told_from_one_with_a_bad_certificate() {
    let (world, _authority) = published();
    let server = RawServer::saying(b"HTTP/1.1 400 Bad Request\r\n\r\n<html>");
    let url = format!("https://{}", server.address());
    is_refused(&world, &url, "the server does not speak TLS");
    let (world, _authority) = published();
    let nobody = RawServer::saying(b"");
    is_refused(&world, &format!("https://{}", nobody.address()), "the connection broke");
}

#[test]
fn an_answer_that_ends_without_tls_saying_so_is_not_taken() {
    let (world, authority) = published();
    world.set("caFile", ca_file(&world).display().to_string());
    let behind = world.server().address();
    let server = |ending| TlsServer::ending(authority.server("127.0.0.1"), behind, ending);
    for ending in [Ending::CutAfter(200), Ending::NoLength { is_said: false }] {
        is_refused(&world, &server(ending).url(), "");
        std::fs::remove_dir_all(world.dbt_home().join("tools")).unwrap();
        std::fs::remove_dir_all(world.dbt_home().join("state")).unwrap();
        std::fs::write(world.directory().join("started"), "").unwrap();
    }
    let said = server(Ending::NoLength { is_said: true });
    move_to(&world, &said.url());
    world.dbt(["deploy"]).prints("deploy 1.4.0\n").says_nothing();
}

#[test]
fn a_server_that_is_not_there_is_no_matter_of_certificates() {
    let (world, _authority) = published();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    is_refused(&world, &format!("https://127.0.0.1:{port}"), "cannot connect");
}
