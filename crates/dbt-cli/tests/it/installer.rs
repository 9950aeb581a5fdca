//! The installer: what it shows, what it puts where, what it refuses, and that all of it is taken
//! back.

mod known;
mod refusals;
mod shells;
mod sign_in;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use dbt_testkit::bucket_server::KEY;
use dbt_testkit::exits;
use dbt_testkit::invocation::{Invocation, Run};
use dbt_testkit::people::ALICE;
use dbt_testkit::world::World;
use serde_json::{Value, json};

use crate::programs::{programs, stripped};

/// A machine without the program and without any file of it, and a repository that has both the
/// program and a tool.
pub(crate) fn world() -> World {
    let world = World::new(&programs().now);
    fs::remove_dir_all(world.dbt_home()).unwrap();
    let program = fs::read(&programs().now).unwrap();
    world.repository().publish_program("4.0.0", program).now();
    world.repository().publish("deploy", "1.4.0").now();
    fs::create_dir(directory(&world)).unwrap();
    fs::hard_link(installer(), at(&world)).unwrap();
    world
}

/// The installer that was built for this test run.
fn installer() -> &'static Path {
    static INSTALLER: OnceLock<PathBuf> = OnceLock::new();
    INSTALLER.get_or_init(|| {
        let built = Path::new(env!("CARGO_BIN_EXE_dbt-installer"));
        stripped(built, Path::new(env!("CARGO_TARGET_TMPDIR")))
    })
}

/// Where somebody has downloaded the installer to.
fn directory(world: &World) -> PathBuf {
    world.directory().join("downloads")
}

fn at(world: &World) -> PathBuf {
    directory(world).join("dbt-installer")
}

/// What an organisation says of its server.
pub(crate) fn settings(world: &World) -> Value {
    let keys = [ALICE.fingerprint().to_string()];
    json!({
        "organisation": "Acme Ltd", "name": "acme", "url": world.server().url(),
        "trust": {"dbt": keys, "tools": keys},
    })
}

/// Puts settings beside the installer.
pub(crate) fn put_beside(world: &World, settings: &Value) {
    let file = directory(world).join("dbt-installer.json");
    fs::write(file, serde_json::to_vec(settings).unwrap()).unwrap();
}

/// The same machine, with usual settings beside the installer.
fn ready() -> World {
    let world = world();
    put_beside(&world, &settings(&world));
    world
}

/// Prepares to run the installer where nobody can be asked.
pub(crate) fn invoke<'a>(world: &'a World, words: &[&str]) -> Invocation<'a> {
    world.invoke(words.iter().copied()).program(at(world)).through(&["setsid", "-w"])
}

pub(crate) fn install(world: &World, words: &[&str]) -> Run {
    invoke(world, words).run()
}

pub(crate) fn installed(world: &World) -> PathBuf {
    world.home().join(".local/bin/dbt")
}

/// Runs the program that was installed.
pub(crate) fn run(world: &World, words: &[&str]) -> Run {
    world.invoke(words.iter().copied()).program(installed(world)).run()
}

pub(crate) fn config(world: &World) -> Value {
    serde_json::from_slice(&fs::read(world.config_file()).unwrap()).unwrap()
}

/// Expects that there is nothing in the home.
#[track_caller]
pub(crate) fn nothing_is_there(world: &World) {
    assert_eq!(world.home_files(), [""; 0].map(PathBuf::from));
    let entries: Vec<_> =
        fs::read_dir(world.home()).unwrap().map(|it| it.unwrap().path()).collect();
    assert_eq!(entries, [""; 0].map(PathBuf::from));
    let left = fs::read_dir(world.temporary()).unwrap().count();
    assert_eq!(left, 0, "files are left in the directory of temporary ones");
}

#[test]
fn who_has_nothing_gets_the_program_its_server_and_a_command_to_try() {
    let world = ready();
    let said = install(&world, &["--yes"]);
    said.exits_with(0).says(
        "\
organisation: Acme Ltd
server:       acme
repository:   [SERVER]/dbt
tools:        [SERVER]/dbt-tools
truststore:   [SERVER]/dbt/truststore
trust `dbt`: [FINGERPRINT]
trust `tools`: [FINGERPRINT]
anchor:       [FINGERPRINT]
settings:     `[WORLD]/downloads/dbt-installer.json`
program:      [WORLD]/h/.local/bin/dbt
dbt: dbt 4.0.0 is installed as `[WORLD]/h/.local/bin/dbt`; it is signed by [FINGERPRINT]
dbt: the server `acme` is in `[WORLD]/h/.dbt/conf/dbt.json`
dbt: `[WORLD]/h/.local/bin` is not in `PATH`; this line adds it:
  case \":$PATH:\" in *:\"$HOME/.local/bin\":*) ;; *) export PATH=\"$HOME/.local/bin\":\"$PATH\" ;; esac
dbt: to try it: `[WORLD]/h/.local/bin/dbt catalog list`
",
    );
    assert_eq!(said.stdout(), "");
    assert!(fs::read(installed(&world)).unwrap() == fs::read(&programs().now).unwrap());
    assert_eq!(mode(&installed(&world)), 0o755);
    assert_eq!(mode(&world.config_file()), 0o600);

    let (url, keys) = (world.server().url(), json!([ALICE.fingerprint().to_string()]));
    let server = json!({
        "repository": format!("{url}/dbt"), "toolsRepository": format!("{url}/dbt-tools"),
        "truststore": format!("{url}/dbt/truststore"), "trust": {"dbt": keys, "tools": keys},
    });
    let expected =
        json!({"servers": {"acme": server}, "defaultServer": "acme", "selfUpdateFrom": "acme"});
    assert_eq!(config(&world), expected);

    run(&world, &["deploy", "x"]).prints("deploy 1.4.0\n[x]\n").says_nothing();
    assert!(run(&world, &["catalog", "list"]).exits_with(0).stdout().contains("deploy"));
}

fn mode(file: &Path) -> u32 {
    fs::metadata(file).unwrap().permissions().mode() & 0o7777
}

#[test]
fn everything_is_taken_back_and_what_was_made_since_stays() {
    let world = ready();
    install(&world, &["--yes"]).exits_with(0);
    install(&world, &["uninstall"])
        .exits_with(exits::USAGE)
        .mentions("nobody is there to say whether these are removed");
    assert!(installed(&world).exists());
    install(&world, &["uninstall", "--yes"]).exits_with(0).mentions("dbt is uninstalled");
    nothing_is_there(&world);
    install(&world, &["uninstall", "--yes"])
        .exits_with(exits::NOT_FOUND)
        .mentions("no installer has noted that it has installed anything here");

    install(&world, &["--yes"]).exits_with(0);
    run(&world, &["deploy"]).prints("deploy 1.4.0\n");
    let mut theirs = config(&world);
    theirs["servers"]["other"] = world.server_entry();
    world.write_config(&theirs);
    fs::write(world.home().join(".local/bin/theirs"), "").unwrap();
    install(&world, &["uninstall", "--yes"]).exits_with(0).mentions("stay in `[WORLD]/h/.dbt`");
    assert!(!installed(&world).exists());
    assert!(world.home().join(".local/bin/theirs").exists());
    let servers =
        config(&world)["servers"].as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(servers, ["other"]);
}

#[test]
fn a_second_installation_changes_nothing_and_is_taken_back_like_one() {
    let world = ready();
    install(&world, &["--yes"]).exits_with(0);
    let before = (fs::read(world.config_file()).unwrap(), mtime(&installed(&world)));
    install(&world, &["--yes"])
        .exits_with(0)
        .mentions("`[WORLD]/h/.local/bin/dbt` is the newest dbt already")
        .mentions("the server `acme` was in `[WORLD]/h/.dbt/conf/dbt.json` already");
    assert!(before == (fs::read(world.config_file()).unwrap(), mtime(&installed(&world))));
    install(&world, &["uninstall", "--yes"]).exits_with(0);
    assert!(!installed(&world).exists() && !world.config_file().exists());
}

fn mtime(file: &Path) -> std::time::SystemTime {
    fs::metadata(file).unwrap().modified().unwrap()
}

#[test]
fn nobody_is_installed_to_who_has_not_agreed() {
    let world = ready();
    install(&world, &[])
        .exits_with(exits::USAGE)
        .mentions("organisation: Acme Ltd\n")
        .mentions("nobody is there to say whether this server is trusted");
    nothing_is_there(&world);
    assert_eq!(world.server().take_lines(), [""; 0]);
}

#[test]
fn a_server_that_is_only_named_shows_its_keys_which_count_from_then_on() {
    let world = world();
    let url = world.server().url();
    install(&world, &["--from", &url, "--name", "work", "--yes"])
        .exits_with(0)
        .mentions("signing keys:\n  [FINGERPRINT]  Alice <alice@example.org>")
        .mentions("settings:     of `[SERVER]` itself\n");
    let keys = json!([ALICE.fingerprint().to_string()]);
    assert_eq!(config(&world)["servers"]["work"]["trust"]["dbt"], keys);
    run(&world, &["deploy"]).prints("deploy 1.4.0\n").says_nothing();
}

#[test]
fn settings_are_found_where_a_flag_says() {
    let world = world();
    let bytes = serde_json::to_vec(&settings(&world)).unwrap();
    world.repository().write("/dbt/acme.json", &bytes);
    let url = format!("{}/dbt/acme.json", world.server().url());
    let file = world.directory().join("acme.json");
    fs::write(&file, &bytes).unwrap();
    for from in [url.as_str(), "acme.json"] {
        install(&world, &["--from", from, "--yes"])
            .exits_with(0)
            .mentions("organisation: Acme Ltd\n");
        install(&world, &["uninstall", "--yes"]).exits_with(0);
        nothing_is_there(&world);
    }
}

#[test]
fn the_installers_own_name_says_the_server() {
    let world = world();
    let named = directory(&world).join("dbt-installer-dbt.invalid");
    fs::hard_link(at(&world), &named).unwrap();
    // Nothing there answers, and nothing else is asked.
    world
        .invoke(["--yes"])
        .program(named)
        .run()
        .exits_with(exits::UNREACHABLE)
        .mentions("https://dbt.invalid");
    nothing_is_there(&world);
}

#[test]
fn an_installer_that_is_told_nothing_says_what_it_wants() {
    let world = world();
    install(&world, &["--yes"])
        .exits_with(exits::USAGE)
        .mentions("nothing says which server this is for")
        .mentions("`dbt-installer --from https://…` names the server of your organisation")
        .mentions("`dbt-installer --help` shows how it is used");
    nothing_is_there(&world);
}

#[test]
fn settings_in_the_installer_itself_count_before_a_file_beside_it() {
    let world = world();
    let mut program = fs::read(installer()).unwrap();
    dbt_client::reserved::fill(&mut program, &serde_json::to_vec(&settings(&world)).unwrap())
        .unwrap();
    let baked = directory(&world).join("dbt-installer-baked");
    fs::write(&baked, program).unwrap();
    fs::set_permissions(&baked, fs::Permissions::from_mode(0o755)).unwrap();
    put_beside(&world, &json!({"organisation": "Mallory", "url": "https://dbt.invalid"}));
    world
        .invoke(["--yes"])
        .program(&baked)
        .run()
        .exits_with(0)
        .mentions("organisation: Acme Ltd\n")
        .mentions("settings:     in this installer\n");
    run(&world, &["deploy"]).prints("deploy 1.4.0\n").says_nothing();
}

#[test]
fn a_bucket_is_a_server_like_any_other() {
    let world = world();
    let url = world.bucket().url("");
    let mut settings = settings(&world);
    settings["url"] = json!(url);
    put_beside(&world, &settings);
    install(&world, &["--yes", "--no-modify-profile"]).exits_with(0);
    let (place, _more) = world.bucket().url_parts();
    let config = config(&world);
    let said = config["servers"]["acme"]["repository"].as_str().unwrap();
    assert!(said.starts_with(&format!("{place}/dbt?region=")), "{said}");
    run(&world, &["deploy", "x"]).exits_with(0).prints("deploy 1.4.0\n[x]\n");
    let asked = world.bucket().take_requests();
    assert!(asked.iter().all(|asked| asked.key.as_deref() == Some(KEY.0)), "{asked:?}");
    assert!(world.server().take_lines().is_empty());
    install(&world, &["uninstall", "--yes"]).exits_with(0);
    assert!(!installed(&world).exists());
}

#[test]
fn a_bucket_that_is_named_alone_shows_whose_keys_it_has() {
    let world = world();
    let url = world.bucket().url("");
    let words = ["--from", &url, "--yes", "--no-modify-profile"];
    install(&world, &words).exits_with(0).mentions("server:       acme-tools\n");
    run(&world, &["deploy", "x"]).exits_with(0).prints("deploy 1.4.0\n[x]\n");
}

#[test]
fn of_a_bucket_that_may_not_be_read_nothing_is_installed() {
    let world = world();
    world.bucket().deny("GetObject");
    let mut settings = settings(&world);
    settings["url"] = json!(world.bucket().url(""));
    put_beside(&world, &settings);
    let words = "has no permission `s3:GetObject` in the bucket `acme-tools` (AccessDenied)";
    install(&world, &["--yes"]).exits_with(83).mentions(words);
    nothing_is_there(&world);
}
