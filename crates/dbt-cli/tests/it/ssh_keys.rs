//! Signing in with a key in the SSH agent, a real one: who is told what, and what is said when the
//! agent cannot help.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::net::UnixListener;

use dbt_testkit::exits;
use dbt_testkit::http::Answer;
use dbt_testkit::invocation::Run;
use dbt_testkit::repository::artifact;
use dbt_testkit::server::{Fault, FileServer, Received};
use dbt_testkit::ssh_agent::{Agent, SignedToken};
use dbt_testkit::world::World;

use crate::{asked_in_a_warm_run, pinned};

const ED25519: [&str; 2] = ["-t", "ed25519"];

/// A server that wants tokens of a key, and a client that names it.
fn world_of(line: &str) -> World {
    let world = pinned();
    world.repository().publish("deploy", "1.4.0").now();
    world.server().require_ssh_key(line);
    world.set("username", "alice");
    world.set("pubkey", line);
    world
}

/// An agent with a key, and such a world.
fn signed_in() -> (Agent, World) {
    let agent = Agent::start();
    let world = world_of(&agent.key("mine", &ED25519));
    (agent, world)
}

fn run(world: &World, agent: &Agent, words: &[&str]) -> Run {
    world.invoke(words).env("SSH_AUTH_SOCK", agent.socket()).run()
}

fn tokens(requests: &[Received]) -> Vec<&str> {
    requests.iter().filter_map(|received| received.request.header("token")).collect()
}

/// Expects that a server was told by nobody who asks.
#[track_caller]
fn was_told_nothing(server: &FileServer) {
    for received in server.take_requests() {
        for name in ["token", "authorization"] {
            assert_eq!(received.request.header(name), None, "{}", received.line());
        }
    }
}

#[test]
fn a_key_of_each_kind_opens_the_server_and_one_signature_serves_the_run() {
    let agent = Agent::start();
    for (name, kind) in [
        ("ed25519", &ED25519[..]),
        ("rsa", &["-t", "rsa", "-b", "2048"]),
        ("p256", &["-t", "ecdsa", "-b", "256"]),
        ("p384", &["-t", "ecdsa", "-b", "384"]),
    ] {
        let line = agent.key(name, kind);
        let world = world_of(&line);
        run(&world, &agent, &["deploy"]).prints("deploy 1.4.0\n").says_nothing();
        let requests = world.server().take_requests();
        let tokens = tokens(&requests);
        assert_eq!(tokens.len(), requests.len(), "{name}: each request says who asks");
        let different: BTreeSet<&&str> = tokens.iter().collect();
        assert_eq!(different.len(), 1, "{name}");
        assert!(requests.iter().all(|it| it.request.header("authorization").is_none()));

        let token = SignedToken::parse(tokens[0]).unwrap();
        assert!(token.is_signed_by(&line));
        assert_eq!(
            (&token.claims["iss"], &token.claims["sub"]),
            (&"alice".into(), &"alice".into())
        );
        assert_eq!(token.claims["aud"], serde_json::json!(["127.0.0.1"]));
        let time = |claim: &str| token.claims[claim].as_u64().unwrap();
        assert_eq!(time("exp") - time("iat"), 300);
        // It writes nothing, wherever somebody shows it.
        assert_eq!((&token.claims["htm"], token.claims.get("htu")), (&"GET".into(), None));
        world.no_secret_is_remembered();
    }
}

#[test]
fn a_warm_run_makes_the_same_requests_as_one_that_needs_no_sign_in() {
    let (agent, world) = signed_in();
    run(&world, &agent, &["deploy"]).prints("deploy 1.4.0\n");
    let deploy = world.invoke(["deploy"]).env("SSH_AUTH_SOCK", agent.socket());
    let requests = asked_in_a_warm_run(&world, deploy);
    assert!(requests.iter().all(|it| it.request.header("token").is_some()), "{requests:?}");
}

#[test]
fn the_key_is_written_in_a_file_or_printed_by_a_command_that_runs_once() {
    let (agent, world) = signed_in();
    let asked = world.directory().join("asked");
    let file = agent.public_file("mine");
    for (key, value) in [
        ("pubkeypath", file.display().to_string()),
        ("pubkeyfunc", format!("echo x >> {}; cat {}", asked.display(), file.display())),
    ] {
        world.configure(|config| {
            let server = config["servers"]["acme"].as_object_mut().unwrap();
            // What stands before it counts for nothing.
            server.insert("pubkey".to_owned(), "ssh-dss x".into());
            server.insert(key.to_owned(), value.into());
        });
        run(&world, &agent, &["deploy"]).prints("deploy 1.4.0\n").says_nothing();
    }
    assert_eq!(fs::read_to_string(&asked).unwrap(), "x\n");
}

#[test]
fn a_tool_gets_the_agent_and_nothing_that_it_has_signed() {
    let agent = Agent::start();
    let world = world_of(&agent.key("mine", &ED25519));
    world.repository().publish("deploy", "1.5.0").script("env").now();
    let run = run(&world, &agent, &["deploy"]);
    let printed = run.exits_with(0).stdout();
    assert!(printed.contains(&format!("SSH_AUTH_SOCK={}\n", agent.socket().display())));
    let requests = world.server().take_requests();
    assert!(!printed.contains(tokens(&requests)[0].rsplit('.').next().unwrap()));
}

#[test]
fn a_password_beside_a_key_is_sent_beside_it_as_the_older_client_does() {
    let (agent, world) = signed_in();
    let asked = world.directory().join("asked");
    world.set("usernamefunc", format!("echo x >> {}; echo alice", asked.display()));
    world.set("password", "correct-horse-battery");
    run(&world, &agent, &["deploy"]).prints("deploy 1.4.0\n").says_nothing();
    for received in world.server().take_requests() {
        assert!(received.request.header("token").is_some());
        let basic = received.request.header("authorization").unwrap();
        assert!(basic.starts_with("Basic YWxpY2U6"), "{basic}");
    }
    assert_eq!(fs::read_to_string(&asked).unwrap(), "x\n");
}

#[test]
fn a_token_goes_to_its_own_server_and_follows_no_redirect() {
    let (agent, world) = signed_in();
    let other = pinned();
    other.repository().publish("deploy", "1.4.0").now();
    world.configure(|config| {
        let server = config["servers"]["acme"].as_object_mut().unwrap();
        let keys = ["username", "pubkey"].map(|key| (key, server.remove(key).unwrap()));
        for (key, value) in keys {
            config[key] = value;
        }
        config["servers"]["other"] = other.server_entry();
    });
    run(&world, &agent, &["-s", "other", "deploy"]).exits_with(0);
    was_told_nothing(other.server());
    run(&world, &agent, &["deploy"]).prints("deploy 1.4.0\n");

    world.repository().publish("deploy", "1.5.0").now();
    let there = format!("{}/x", other.server().url());
    world.server().fault(&artifact("deploy", "1.5.0"), Fault::RedirectTo(there));
    run(&world, &agent, &["-v", "1.5.0", "deploy"])
        .exits_with(exits::VERIFICATION_REFUSED)
        .mentions("the server redirects to `http://127.0.0.1:");
    was_told_nothing(other.server());
    assert_eq!(world.tools_started(), ["deploy 1.4.0"]);
}

/// A hostile server would like a token that another one accepts, and names that one where servers
/// say for whom a token must be.
#[test]
fn whatever_a_server_says_of_audiences_a_token_is_for_the_host_of_the_configuration() {
    let (agent, world) = signed_in();
    let other = "DBT-SSH-JWT realm=\"dbt\", aud=\"dbt.example.com\"";
    for path in ["/dbt-tools/deploy/", "/dbt/", "/dbt/truststore"] {
        let refusal = Answer::text(401, "not for me").with("WWW-Authenticate", other);
        world.server().fault(path, Fault::Answer(refusal));
    }
    run(&world, &agent, &["deploy"]).exits_with(exits::REFUSED);
    let requests = world.server().take_requests();
    let tokens = tokens(&requests);
    assert!(!tokens.is_empty());
    for token in tokens {
        let claims = SignedToken::parse(token).unwrap().claims;
        assert_eq!(claims["aud"], serde_json::json!(["127.0.0.1"]));
    }
    world.nothing_happened();
}

#[test]
fn a_token_is_not_sent_without_tls_to_another_machine() {
    let (agent, world) = signed_in();
    let proxy = world.server().url();
    world.move_server("http://repo.test");
    let run = world
        .invoke(["deploy"])
        .env("SSH_AUTH_SOCK", agent.socket())
        .env("HTTP_PROXY", proxy)
        .run();
    run.exits_with(exits::REFUSED)
        .mentions("refusing to send credentials to `http://repo.test` without TLS");
    assert_eq!(world.server().take_lines(), [""; 0]);
    world.nothing_happened();
}

/// Expects that a run ends with these words, and that nobody was asked anything.
#[track_caller]
fn cannot_sign(world: &World, run: &Run, words: &str, hint: &str) {
    run.exits_with(exits::REFUSED)
        .mentions("the credentials for server `acme` cannot be had")
        .mentions(words)
        .mentions(hint)
        .does_not_mention("sign in");
    assert_eq!(world.server().take_lines(), [""; 0]);
    world.nothing_happened();
}

#[test]
fn without_an_agent_it_is_said_how_to_have_one() {
    let (agent, world) = signed_in();
    let named = "`servers.acme.pubkey` names\n";
    for (run, words, hint) in [
        (world.dbt(["deploy"]), "`SSH_AUTH_SOCK` is not set", "hint: start one (`eval"),
        (
            world.invoke(["deploy"]).env("SSH_AUTH_SOCK", world.directory().join("none")).run(),
            "failed to reach the SSH agent at `[WORLD]/none`",
            "hint: is the agent that `SSH_AUTH_SOCK` names still running?",
        ),
    ] {
        run.mentions("failed to sign with the key SHA256:").mentions(named);
        cannot_sign(&world, &run, words, hint);
    }
    drop(agent);
}

#[test]
fn a_key_that_the_agent_does_not_hold_is_named_and_so_is_the_way_to_give_it() {
    let agent = Agent::start();
    let world = world_of(&agent.key_outside("mine", &ED25519));
    let add = "hint: `ssh-add FILE` gives it the key";
    let none = "the SSH agent holds no keys, or is locked; `servers.acme.pubkey` names SHA256:";
    cannot_sign(&world, &run(&world, &agent, &["deploy"]), none, add);
    agent.key("another", &ED25519);
    let missing = "the SSH agent does not hold the key SHA256:";
    cannot_sign(&world, &run(&world, &agent, &["deploy"]), missing, add);

    agent.add("mine", &[]);
    agent.lock();
    let unlock = "`ssh-add -X` unlocks it";
    cannot_sign(&world, &run(&world, &agent, &["deploy"]), none, unlock);
    agent.unlock();
    run(&world, &agent, &["deploy"]).prints("deploy 1.4.0\n").says_nothing();
}

#[test]
fn an_agent_that_refuses_or_does_not_answer_is_said_to_do_that() {
    let agent = Agent::start();
    let world = world_of(&agent.key_outside("mine", &ED25519));
    // It would ask a person, and there is none.
    agent.add("mine", &["-c"]);
    let refused = "the SSH agent refused";
    cannot_sign(&world, &run(&world, &agent, &["deploy"]), refused, "was a confirmation denied");

    let silent = UnixListener::bind(world.directory().join("silent")).unwrap();
    world.set("timeout", 0.02);
    let late = world.invoke(["deploy"]).env("SSH_AUTH_SOCK", world.directory().join("silent"));
    let words = "the SSH agent did not answer within ";
    cannot_sign(&world, &late.run(), words, "does it ask for a confirmation");
    drop(silent);
}

#[test]
fn keys_that_cannot_sign_are_refused_by_name() {
    let agent = Agent::start();
    agent.key("authority", &ED25519);
    agent.key("mine", &ED25519);
    for (line, words) in [
        (agent.key("p521", &["-t", "ecdsa", "-b", "521"]), "servers do not accept P-521"),
        (agent.certificate("authority", "mine"), "it is a certificate; name the key itself"),
        ("sk-ssh-ed25519@openssh.com AAAA".to_owned(), "keys of security tokens (`sk-…`)"),
        ("nothing".to_owned(), "it is no line of a public key"),
    ] {
        let world = world_of(&line);
        let named = "`servers.acme.pubkey` names no key that can sign in\n";
        run(&world, &agent, &["deploy"]).mentions(words).mentions(named);
        assert_eq!(world.server().take_lines(), [""; 0]);
        world.nothing_happened();
    }
}

#[test]
fn with_a_copy_an_agent_that_is_gone_is_named_and_the_copy_runs() {
    let (agent, world) = signed_in();
    run(&world, &agent, &["deploy"]).prints("deploy 1.4.0\n");
    world
        .dbt(["deploy"])
        .prints("deploy 1.4.0\n")
        .mentions("failed to sign with the key SHA256:")
        .mentions("`SSH_AUTH_SOCK` is not set")
        .mentions("running `deploy` 1.4.0");
    // A run that asks nobody needs no agent.
    world.dbt(["-o", "deploy"]).prints("deploy 1.4.0\n").says_nothing();
}

#[test]
fn who_signs_in_with_which_key_can_be_asked() {
    let (agent, world) = signed_in();
    run(&world, &agent, &["whoami"]).prints(&format!(
        "server: acme\nsigns in with: the key of `servers.acme.pubkey` in the SSH agent\nuser: alice\nsent to: {}\n",
        world.server().url()
    ));
    run(&world, &agent, &["login"]).exits_with(0).mentions("nothing to do: the key of");
    run(&world, &agent, &["logout"]).exits_with(0).mentions("stays in its agent");
    world.configure(|config| {
        config["servers"]["acme"].as_object_mut().unwrap().remove("username");
    });
    let nameless = run(&world, &agent, &["whoami"]);
    nameless.exits_with(81).mentions("nothing says in whose name it signs");
    run(&world, &agent, &["deploy"]).exits_with(exits::REFUSED).mentions("write `username`");
}
