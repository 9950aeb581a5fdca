//! The real keychain of a Linux desktop: GNOME's, which `secret-tool` speaks to over the session's bus.

use std::ffi::OsString;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use dbt_core::platform::Platform;
use dbt_testkit::exits;
use dbt_testkit::invocation::{Invocation, Run};
use dbt_testkit::people::ALICE;
use dbt_testkit::token_endpoint::{DEVICE_CODE, TOKEN, TokenEndpoint};
use dbt_testkit::world::World;
use serde_json::json;

use crate::reposerver::Reposerver;

/// What a keychain that is open opens with. It locks nothing else.
const PASSWORD: &[u8] = b"any word";

/// A session as a desktop has it: a bus, and a keychain that was opened at the sign-in. There is no
/// screen on which somebody could be asked to open it again.
struct Session {
    bus: Child,
    home: tempfile::TempDir,
    address: String,
}

impl Session {
    fn begin() -> Self {
        let home = tempfile::tempdir().unwrap();
        let socket = format!("--address=unix:path={}", home.path().join("bus").display());
        let mut bus = Command::new("dbus-daemon")
            .args(["--session", "--nofork", "--print-address=1", &socket])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .env("XDG_RUNTIME_DIR", home.path())
            .env("HOME", home.path())
            .env_remove("DISPLAY")
            .spawn()
            .unwrap();
        let mut address = String::new();
        BufReader::new(bus.stdout.take().unwrap()).read_line(&mut address).unwrap();
        let session = Self { bus, home, address: address.trim().to_owned() };
        // It goes into the background when it is ready, and ends with the bus.
        let mut daemon = session.program("gnome-keyring-daemon");
        daemon.args(["--unlock", "--components=secrets"]);
        let mut daemon = daemon.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        daemon.stdin.take().unwrap().write_all(PASSWORD).unwrap();
        assert!(daemon.wait().unwrap().success());
        session
    }

    /// A program of this session.
    fn program(&self, name: &str) -> Command {
        let mut command = Command::new(name);
        command
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("HOME", self.home.path())
            .env("XDG_RUNTIME_DIR", self.home.path())
            .env("DBUS_SESSION_BUS_ADDRESS", &self.address)
            .stderr(Stdio::null());
        command
    }

    /// Locks the keychain, as a screen saver may.
    fn lock(&self) {
        let status = self
            .program("dbus-send")
            .args(["--session", "--print-reply", "--dest=org.freedesktop.secrets"])
            .args(["/org/freedesktop/secrets", "org.freedesktop.Secret.Service.Lock"])
            .arg("array:objpath:/org/freedesktop/secrets/collection/login")
            .stdout(Stdio::null())
            .status();
        assert!(status.unwrap().success());
    }

    /// Returns what the keychain shows of what is ours.
    fn shown(&self) -> String {
        let mut search = self.program("secret-tool");
        let output = search.args(["search", "--all", "application", "dbt"]).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    }

    /// The one secret of ours, as it is written there.
    fn secret(&self) -> String {
        let shown = self.shown();
        let mut secrets = shown.lines().filter_map(|line| line.strip_prefix("secret = "));
        let secret = secrets.next().unwrap_or_else(|| panic!("{shown}")).to_owned();
        assert_eq!(secrets.next(), None);
        secret
    }

    fn dbt<'a>(&self, world: &'a World, words: &[&str]) -> Invocation<'a> {
        let at: OsString = self.address.clone().into();
        world.invoke(words).env("DBUS_SESSION_BUS_ADDRESS", at)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let _already_dead = self.bus.kill();
        let _already_waited = self.bus.wait();
    }
}

/// A world whose tokens belong in the keychain.
fn world() -> World {
    let world = World::new(env!("CARGO_BIN_EXE_dbt"));
    world.pin(&[&ALICE]);
    world.repository().publish("deploy", "1.4.0").now();
    world.configure(|config| config["tokenStore"] = "keychain".into());
    world.may_keep_tokens();
    world
}

fn with_provider() -> (TokenEndpoint, World) {
    let (provider, world) = (TokenEndpoint::start(), world());
    world.server().require_token_of(&provider);
    world.set("authType", "oidc");
    world.set("issuerUrl", provider.url());
    world.set("oidcClientId", "app");
    provider.confirm_at_once();
    (provider, world)
}

fn text(world: &World) -> String {
    fs::read_to_string(world.dbt_home().join("state/tokens.json")).unwrap_or_default()
}

/// Expects that nobody could sign in, for this reason.
#[track_caller]
fn refused(run: &Run, words: &str) {
    run.exits_with(exits::CONFIGURATION)
        .mentions("a sign-in to the server `acme` could not be kept")
        .mentions(words)
        .mentions("`\"tokenStore\": \"file\"`");
}

#[test]
fn what_renews_a_sign_in_is_in_the_real_keychain_until_somebody_signs_out() {
    let (session, (provider, world)) = (Session::begin(), with_provider());
    session.dbt(&world, &["login", "--device"]).run().exits_with(0);
    let first = session.secret();
    assert!(session.shown().contains(&format!("label = dbt:{}\n", world.server().url())));
    assert!(!text(&world).contains("\"refresh_token\""), "{}", text(&world));
    session.dbt(&world, &["deploy"]).run().prints("deploy 1.4.0\n").says_nothing();
    let trace = world.directory().join("trace");
    let strace =
        ["strace", "-f", "-qq", "-e", "trace=execve,execveat", "-o", trace.to_str().unwrap()];
    session.dbt(&world, &["deploy"]).through(&strace).run().prints("deploy 1.4.0\n");
    let started = fs::read_to_string(&trace).unwrap();
    let files: Vec<&str> = started.lines().filter_map(|call| call.split('"').nth(1)).collect();
    let tool = world.executables()[0].display().to_string();
    assert_eq!(files, [world.program().display().to_string(), tool], "{started}");

    // The server knows it no more, and it is renewed.
    provider.take_asked();
    provider.disown();
    session.dbt(&world, &["deploy"]).run().prints("deploy 1.4.0\n").says_nothing();
    let asked = provider.take_asked();
    assert_eq!(asked.last().map(|asked| asked.path().to_owned()).as_deref(), Some(TOKEN));
    assert_ne!(session.secret(), first);
    assert!(!text(&world).contains("\"refresh_token\""), "{}", text(&world));

    session.dbt(&world, &["logout"]).run().exits_with(0);
    assert_eq!(session.shown(), "");
}

#[test]
fn a_token_that_is_given_is_in_the_real_keychain_alone() {
    const GIVEN: &str = "dbt_0123456789abcdef";
    let (session, world) = (Session::begin(), world());
    world.server().require_token(GIVEN);
    let dbt = |words: &[&str]| session.dbt(&world, words);
    dbt(&["login", "--token"]).stdin(GIVEN.as_bytes()).run().exits_with(0);
    assert!(!text(&world).contains(GIVEN));
    dbt(&["deploy"]).run().prints("deploy 1.4.0\n").says_nothing();
    dbt(&["logout"]).run().exits_with(0);
    assert_eq!(session.shown(), "");
}

#[test]
fn a_real_keychain_that_is_locked_or_absent_is_said_with_what_helps() {
    let (session, (provider, world)) = (Session::begin(), with_provider());
    session.dbt(&world, &["login", "--device"]).run().exits_with(0);
    provider.take_asked();
    session.lock();
    let locked = "Cannot create an item in a locked collection";
    refused(&session.dbt(&world, &["login", "--device"]).run(), locked);
    provider.disown();
    session
        .dbt(&world, &["deploy"])
        .run()
        .mentions("cannot be read from the keychain: ")
        .mentions(locked);
    session
        .dbt(&world, &["logout"])
        .run()
        .exits_with(exits::CONFIGURATION)
        .mentions("is left in the keychain: ");
    refused(&world.dbt(["login", "--device"]), "Cannot autolaunch D-Bus without X11 $DISPLAY");
    let asked = provider.take_asked();
    assert!(asked.iter().all(|asked| ![TOKEN, DEVICE_CODE].contains(&asked.path())), "{asked:?}");
}

#[test]
fn publisher_sends_the_token_that_is_in_the_real_keychain_and_says_why_it_cannot() {
    const GIVEN: &str = "a-token-for-this-test-alone";
    let (session, server) = (Session::begin(), Reposerver::start());
    let root = server.root();
    let entry = json!({
        "repository": format!("{root}/dbt"), "toolsRepository": format!("{root}/dbt-tools"),
    });
    let config = json!({"tokenStore": "keychain", "servers": {"acme": entry}}).to_string();
    fs::create_dir_all(server.home().join(".dbt/conf")).unwrap();
    fs::write(server.home().join(".dbt/conf/dbt.json"), config).unwrap();
    let mut login = session.program(env!("CARGO_BIN_EXE_dbt"));
    let mut login = login
        .args(["login", "--token"])
        .env("HOME", server.home())
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    login.stdin.take().unwrap().write_all(GIVEN.as_bytes()).unwrap();
    assert!(login.wait().unwrap().success());
    let kept = fs::read_to_string(server.home().join(".dbt/state/tokens.json")).unwrap();
    assert!(kept.contains("\"in_keychain\":true") && !kept.contains(GIVEN), "{kept}");

    let script = server.place().join("hello");
    fs::write(&script, "#!/bin/sh\necho hello\n").unwrap();
    let (artifact, signer) = (format!("{}={}", Platform::CURRENT, script.display()), server.key());
    let publish = |version: &str| {
        let words = ["publish", "hello", version, &artifact, "--description", "says hello"];
        let words = [&words[..], &["-s", "acme", "--signer", &signer]].concat();
        let address = Path::new(&session.address);
        server.publisher_as(&words, ("DBUS_SESSION_BUS_ADDRESS", address))
    };
    let output = publish("1.0.0");
    assert!(output.status.success(), "{output:?}");
    session.lock();
    let output = publish("1.1.0");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && !said.contains(GIVEN), "{said}");
    assert!(said.contains("cannot be read from the keychain: "), "{said}");
    assert!(!server.served().join("dbt-tools/hello/1.1.0").exists());
}
