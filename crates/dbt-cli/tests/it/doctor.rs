//! `doctor` names every fault of a machine and of a server, in text and as JSON, and nothing where
//! there is none.

mod connections;
mod credentials;

use std::fs::{self, Permissions};
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::path::Path;
use std::time::Duration;

use dbt_testkit::exits;
use dbt_testkit::http::Answer;
use dbt_testkit::invocation::{Invocation, READ_ONLY, Run, mounts_work};
use dbt_testkit::people::{ALICE, BOB, ERIN, MALLORY, OLGA};
use dbt_testkit::server::Fault;
use dbt_testkit::world::World;
use serde_json::Value;

use crate::{is_root, pinned};

/// A world in which nothing is wrong, and a tool has been run.
fn healthy() -> World {
    let world = pinned();
    world.repository().publish("deploy", "1.4.0").now();
    world.dbt(["deploy"]).prints("deploy 1.4.0\n");
    world
}

/// `doctor`, for somebody who has this program on his `PATH`.
fn doctor<'a>(world: &'a World, words: &[&str]) -> Invocation<'a> {
    let beside = world.program().parent().unwrap().display().to_string();
    world.invoke(words).env("PATH", format!("{beside}:/usr/bin:/bin"))
}

/// Returns the rows that are not in order.
fn wrong(run: &Run) -> Vec<Value> {
    let rows: Vec<Value> = serde_json::from_str(&run.stdout())
        .unwrap_or_else(|_| panic!("{}{}", run.stdout(), run.stderr()));
    rows.into_iter().filter(|row| row["severity"] != "ok").collect()
}

fn ids(rows: &[Value]) -> Vec<&str> {
    rows.iter().filter_map(|row| row["id"].as_str()).collect()
}

/// One fault, and what is said of it.
struct Case<'a> {
    id: &'static str,
    severity: &'static str,
    found: &'static str,
    fix: &'static str,
    /// What else follows from the fault.
    also: &'a [&'static str],
}

impl Case<'_> {
    /// Expects that the fault is named, alike in both forms, and nothing else is.
    #[track_caller]
    fn is_named<'w>(&self, world: &'w World, change: impl Fn(Invocation<'w>) -> Invocation<'w>) {
        let run = change(doctor(world, &["doctor", "--json"])).run();
        let rows = wrong(&run);
        let mut expected = vec![self.id];
        expected.extend(self.also);
        let mut found = ids(&rows);
        found.sort_unstable();
        expected.sort_unstable();
        assert_eq!(found, expected, "{}{}", run.stdout(), run.stderr());
        let row = rows.iter().find(|row| row["id"] == self.id).unwrap();
        assert_eq!(row["severity"], self.severity);
        let text = |key: &str| row[key].as_str().unwrap().to_owned();
        assert!(text("found").contains(self.found), "{row}");
        assert!(text("fix").contains(self.fix), "{row}");
        assert!(!text("why").is_empty(), "{row}");

        let run = change(doctor(world, &["doctor"])).run();
        let is_error = rows.iter().any(|row| row["severity"] == "error");
        run.exits_with(if is_error { exits::CONFIGURATION } else { 0 });
        let said = run.stdout();
        assert!(said.contains(&format!("{:<8} {}:", self.severity, self.id)), "{said}");
        assert!(said.contains(&format!("fix: {}", text("fix"))), "{said}");
    }
}

const fn warning(id: &'static str, found: &'static str, fix: &'static str) -> Case<'static> {
    Case { id, severity: "warning", found, fix, also: &[] }
}

const fn error(id: &'static str, found: &'static str, fix: &'static str) -> Case<'static> {
    Case { id, severity: "error", found, fix, also: &[] }
}

fn mode(path: impl AsRef<Path>, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

fn in_place_of_home<'a>(run: Invocation<'a>, config: &Path, temporary: &Path) -> Invocation<'a> {
    run.env("DBT_CONFIG", config).env("TMPDIR", temporary)
}

#[test]
fn a_healthy_machine_has_no_finding() {
    let world = healthy();
    let run = doctor(&world, &["doctor"]).run();
    run.exits_with(0).says_nothing();
    let said = run.stdout();
    let is_good =
        |line: &str| ["ok ", "server ", "    "].iter().any(|start| line.starts_with(start));
    assert!(said.lines().all(|line| line.is_empty() || is_good(line)), "{said}");
    let run = doctor(&world, &["doctor", "--json"]).run();
    run.exits_with(0).says_nothing();
    assert_eq!(wrong(&run), [Value::Null; 0]);
    let world = pinned();
    world.repository().publish("deploy", "1.4.0").now();
    let run = doctor(&world, &["doctor", "--json"]).run();
    assert_eq!(wrong(&run), [Value::Null; 0], "before anything has run");
}

#[test]
fn faults_of_the_program_and_of_its_surroundings() {
    let world = healthy();
    warning("program-not-on-path", "/b` is not on `PATH`", "export PATH=")
        .is_named(&world, |run| run.env("PATH", "/usr/bin:/bin"));

    let other = world.directory().join("other");
    fs::create_dir(&other).unwrap();
    fs::write(other.join("dbt"), "#!/bin/sh\n").unwrap();
    mode(other.join("dbt"), 0o755);
    let beside = world.program().parent().unwrap().to_owned();
    let path = format!("{}:{}:/usr/bin:/bin", other.display(), beside.display());
    warning("program-twice-on-path", "other/dbt` is another `dbt`", "remove one of them: `rm")
        .is_named(&world, |run| run.env("PATH", &path));

    mode(&beside, 0o777);
    error("program-writable-by-others", "other users can write", "chmod o-w")
        .is_named(&world, |run| run);
    mode(&beside, 0o755);

    world.dbt(["link", "deploy"]).exits_with(0);
    warning("links-not-on-path", "/.local/bin/deploy` is not found", "export PATH=")
        .is_named(&world, |run| run);
    let path =
        format!("{}:{}:/usr/bin", beside.display(), world.home().join(".local/bin").display());
    let run = doctor(&world, &["doctor", "--json"]).env("PATH", path).run();
    assert_eq!(wrong(&run), [Value::Null; 0]);
    world.dbt(["unlink", "deploy"]).exits_with(0);

    let small = ["sh", "-c", "ulimit -n 40; ulimit -f 1000; exec \"$@\"", "sh"];
    let case = warning("open-files-limit", "40 files may be open", "ulimit -n 256");
    Case { also: &["file-size-limit"], ..case }.is_named(&world, |run| run.through(&small));

    let gone = ["sh", "-c", "mkdir gone && cd gone && rmdir ../gone && exec \"$@\"", "sh"];
    warning("current-directory-gone", "does not exist any more", "`cd`")
        .is_named(&world, |run| run.through(&gone));
}

#[test]
fn faults_of_the_configuration() {
    let world = healthy();
    let written = fs::read(world.config_file()).unwrap();
    let again = || {
        fs::write(world.config_file(), &written).unwrap();
        mode(world.config_file(), 0o600);
    };

    world.set("selfupdate_", "off");
    warning(
        "config-unknown-key",
        "nothing reads the key `servers.acme.selfupdate_`",
        "`selfUpdate`",
    )
    .is_named(&world, |run| run);
    again();
    world.configure(|config| config["colour"] = "mauve".into());
    warning("config-unknown-key", "nothing reads the key `colour`", "remove it")
        .is_named(&world, |run| run);
    again();
    world.set("password", "hunter-22");
    mode(world.config_file(), 0o644);
    warning("config-readable-by-others", "other users can read it", "chmod 600")
        .is_named(&world, |run| run);
    again();
    mode(world.config_file(), 0o666);
    error("config-writable-by-others", "other users can write to `", "chmod o-w")
        .is_named(&world, |run| run);
    again();
    fs::write(world.config_file(), "{").unwrap();
    error("config-unusable", "not JSON", "correct the file").is_named(&world, |run| run);
    again();
    error("config-unusable", "there is no configuration file", "unset `DBT_CONFIG`")
        .is_named(&world, |run| run.env("DBT_CONFIG", "/nonexistent.json"));
    world.set("updates", "sometimes");
    error("config-server-unusable", "`sometimes`", "correct").is_named(&world, |run| run);
    again();
    world.configure(|config| config["selfUpdateFrom"] = "nobody".into());
    warning("self-update-no-server", "there is no server `nobody`", "\"selfUpdateFrom\": \"acme\"")
        .is_named(&world, |run| run);
    again();
    error("variable-wrong", "DBT_OFFLINE", "unset")
        .is_named(&world, |run| run.env("DBT_OFFLINE", "maybe"));
    error("config-server-unusable", "no server `nobody`", "it has `acme`")
        .is_named(&world, |run| run.env("DBT_SERVER", "nobody"));
    fs::remove_file(world.config_file()).unwrap();
    error("no-server", "no configuration file", "dbt server add URL").is_named(&world, |run| run);
}

#[test]
fn faults_of_the_home_directory() {
    let world = healthy();
    let home = world.dbt_home();
    let config = world.directory().join("config.json");
    fs::copy(world.config_file(), &config).unwrap();

    mode(&home, 0o775);
    error("home-writable-by-others", "others can write to", "chmod go-w")
        .is_named(&world, |run| run);
    mode(&home, 0o700);

    let nowhere = ["store-temporary", "state-in-memory"];
    let temporary = world.directory().join("tmp");
    fs::create_dir(&temporary).unwrap();
    let elsewhere = |run| in_place_of_home(run, &config, &temporary);
    for (value, found) in [("/", "`/` is nobody's home"), ("/nonexistent", "cannot be used")] {
        let case = warning("home-none", found, "export DBT_HOME=");
        Case { also: &nowhere, ..case }.is_named(&world, |run| elsewhere(run).env("HOME", value));
    }
    let file = config.display().to_string();
    let case = warning("home-none", "is not a directory", "export DBT_HOME=");
    Case { also: &nowhere, ..case }.is_named(&world, |run| elsewhere(run).env("HOME", &file));
    let case = warning("home-not-writable", "config.json` is not a directory", "mv ");
    Case { also: &nowhere, ..case }.is_named(&world, |run| elsewhere(run).env("DBT_HOME", &file));

    let link = world.directory().join("link");
    symlink(world.directory().join("missing/there"), &link).unwrap();
    let case = warning("home-not-writable", "is a link to nowhere", "rm ");
    Case { also: &nowhere, ..case }.is_named(&world, |run| elsewhere(run).env("DBT_HOME", &link));

    if is_root() {
        let foreign = world.directory().join("foreign");
        fs::create_dir(&foreign).unwrap();
        chown(&foreign, Some(12345), None).unwrap();
        let run = elsewhere(doctor(&world, &["doctor", "--json"]))
            .env("HOME", &foreign)
            .env("DBT_HOME", &home)
            .run();
        let rows = wrong(&run);
        assert_eq!(ids(&rows), ["home-of-another-user"], "{run:?}");
        assert!(rows[0]["fix"].as_str().unwrap().contains("sudo -H"), "{rows:?}");

        chown(&home, Some(12345), None).unwrap();
        let case = error("home-owned-by-another", "belongs to user 12345", "chown -R 0 ");
        let also: &[&str] = &["config-owned-by-another"];
        Case { also, ..case }.is_named(&world, |run| run);
    }
}

#[test]
fn a_home_that_cannot_be_written() {
    if !mounts_work() {
        return;
    }
    let world = healthy();
    let case = warning("home-not-writable", "nothing can be written", "export DBT_HOME=");
    let home = world.home();
    Case { also: &["store-temporary", "state-in-memory"], ..case }
        .is_named(&world, |run| run.mounting(READ_ONLY, &home));
}

#[test]
fn a_program_that_cannot_replace_itself() {
    if !mounts_work() {
        return;
    }
    let world = healthy();
    let beside = world.program().parent().unwrap().to_owned();
    warning("self-update-directory", "/b` cannot be written", "\"selfUpdate\": \"off\"")
        .is_named(&world, |run| run.mounting(READ_ONLY, &beside));
    world.set("selfUpdate", "off");
    let run = doctor(&world, &["doctor", "--json"]).mounting(READ_ONLY, &beside).run();
    assert_eq!(wrong(&run), [Value::Null; 0]);
}

#[test]
fn a_machine_without_proc() {
    if !mounts_work() {
        return;
    }
    let world = healthy();
    let case = warning("program-path-unknown", "does not know where it is", "mount `/proc`");
    Case { also: &["self-update-directory"], ..case }
        .is_named(&world, |run| run.mounting("mount -t tmpfs none /proc", Path::new("/")));
}

#[test]
fn faults_of_the_store() {
    let world = healthy();
    let tools = world.dbt_home().join("tools");
    let installed = world.executables()[0].clone();
    mode(&installed, 0o777);
    warning("store-not-in-order", "its mode is 0777", "rm -r").is_named(&world, |run| run);
    mode(&installed, 0o500);

    let left = tools.join("staging").join("0123456789abcdef0123456789abcdef");
    fs::create_dir_all(left.parent().unwrap()).unwrap();
    mode(left.parent().unwrap(), 0o700);
    fs::write(&left, "half").unwrap();
    let staged = world.state_file("state.json").with_file_name(".new-0011223344556677");
    fs::write(&staged, "half").unwrap();
    let old = dbt_testkit::people::just_now() - Duration::from_hours(48);
    for file in [&left, &staged] {
        fs::File::options().write(true).open(file).unwrap().set_modified(old).unwrap();
    }
    warning("files-left-behind", "2 files, such as", "dbt cache prune").is_named(&world, |run| run);
    world.dbt(["cache", "prune"]).exits_with(0);
    assert!(!left.exists() && !staged.exists());

    for (value, found) in [("relative", "is not absolute"), ("/nonexistent", "cannot be used")] {
        warning("read-only-store-missing", found, "DBT_STORE_PATH")
            .is_named(&world, |run| run.env("DBT_STORE_PATH", value));
    }
    let run = doctor(&world, &["doctor", "--json"]).run();
    assert_eq!(wrong(&run), [Value::Null; 0]);
}

#[test]
fn faults_of_the_file_system_with_the_store() {
    if !mounts_work() {
        return;
    }
    let world = healthy();
    let store = world.directory().join("store");
    fs::create_dir(&store).unwrap();
    let cases = [
        ("noexec", "", warning("store-noexec", "mounted `noexec`", "DBT_CACHE_DIR")),
        ("size=1m", "", warning("store-nearly-full", "KiB are left", "dbt cache prune")),
        ("size=1m", FILL, error("store-full", "No space left", "dbt cache prune")),
    ];
    for (options, more, case) in cases {
        let line = format!("mount -t tmpfs -o {options} none \"$0\"{more}");
        case.is_named(&world, |run| run.mounting(&line, &store).env("DBT_CACHE_DIR", &store));
    }
}

/// Fills a disk.
const FILL: &str = " && mkdir -m 700 \"$0/staging\" \"$0/locks\" && \
                    { cat /dev/zero > \"$0/staging/filled\" 2>/dev/null; true; }";

#[test]
fn faults_of_a_server() {
    let world = healthy();
    let server = world.server();
    let cases = [
        (Fault::Status(401), error("server-sign-in", "401", "`username` and `password`")),
        (Fault::Status(403), error("server-forbidden", "403", "leave to read")),
        (Fault::Status(500), error("server-failing", "500", "administrator")),
        (Fault::Portal, error("server-page", "a page", "in a browser")),
        (Fault::Reset, error("server-unreachable", "the connection broke", "can be reached")),
        (Fault::Status(404), error("truststore-missing", "404", "correct `truststore`")),
    ];
    for (fault, case) in cases {
        server.fault("*", fault);
        let also: &[&str] = match case.id {
            "server-forbidden" | "truststore-missing" => &["server-no-listing"],
            _ => &[],
        };
        Case { also, ..case }.is_named(&world, |run| run);
        server.repair();
    }
    server.fault("/dbt-tools/", Fault::Status(403));
    error("server-no-listing", "403", "turn listings of directories on")
        .is_named(&world, |run| run);
    server.repair();

    world.repository().write("/dbt/truststore", b"not a truststore");
    error("truststore-unusable", "", "administrator").is_named(&world, |run| run);
    world.repository().trust(&[&MALLORY]);
    error(
        "truststore-unusable",
        "none of the keys that the configuration's `trust` names",
        "ask an administrator",
    )
    .is_named(&world, |run| run);
}

#[test]
fn keys_and_clocks_that_are_not_right() {
    let world = healthy();
    world.pin(&[&ALICE, &OLGA, &ERIN]);
    world.repository().trust(&[&ALICE, &ERIN]);
    warning("key-expires-soon", "Erin", "administrator").is_named(&world, |run| run);
    world.repository().trust(&[&ALICE, &OLGA]);
    warning("key-expired", "Olga", "administrator").is_named(&world, |run| run);
    world.repository().trust(&[&ALICE]);
    let away = Answer::text(200, "").with("Date", "Fri, 02 Jan 2026 03:04:05 GMT");
    world.server().fault("/dbt/", Fault::Answer(away));
    warning("clock-differs-from-server", "2026-01-02T03:04:05Z there", "timedatectl")
        .is_named(&world, |run| run);
    world.server().repair();

    let world = crate::world();
    world.repository().trust(&[&OLGA]);
    let case = error("truststore-expired", "no key is left that can sign", "administrator");
    Case { also: &["key-expired"], ..case }.is_named(&world, |run| run);
}

#[test]
fn a_server_that_is_not_there_and_pages_in_its_place() {
    let world = healthy();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let free = listener.local_addr().unwrap();
    drop(listener);
    let proxy = format!("http://user:hunter-44@{free}");
    world.configure(|config| {
        for key in ["repository", "toolsRepository", "truststore"] {
            config["servers"]["acme"][key] = format!("https://{free}/{key}").into();
        }
    });
    let case =
        error("server-unreachable", "cannot connect", "look whether `127.0.0.1` can be reached");
    case.is_named(&world, |run| run);
    for key in ["repository", "toolsRepository", "truststore"] {
        world.set(key, format!("https://dbt.invalid/{key}"));
    }
    error("server-proxy", "proxy", "NO_PROXY=dbt.invalid")
        .is_named(&world, |run| run.env("HTTPS_PROXY", &proxy));
    error("server-unreachable", "cannot be resolved", "dbt.invalid").is_named(&world, |run| run);
}

#[test]
fn a_server_without_tls() {
    let world = healthy();
    for key in ["repository", "toolsRepository", "truststore"] {
        world.set(key, format!("http://dbt.invalid/{key}"));
    }
    warning(
        "server-without-tls",
        "http://dbt.invalid/repository",
        "`https://dbt.invalid/repository`",
    )
    .is_named(&world, |run| run.env("DBT_OFFLINE", "1"));
    world.set("token", "hunter-33");
    error(
        "credentials-without-tls",
        "http://dbt.invalid/repository",
        "`https://dbt.invalid/repository`",
    )
    .is_named(&world, |run| run.env("DBT_OFFLINE", "1"));
}

#[test]
fn what_is_remembered_and_cannot_be_used() {
    let world = healthy();
    fs::write(world.state_file("state.json"), "{\"schema\":99}").unwrap();
    error("state-unusable", "written by a newer version", "trust reset")
        .is_named(&world, |run| run);
}

#[test]
fn a_report_has_no_secret_and_no_home_directory() {
    let world = healthy();
    world.set("token", "hunter-55");
    let run = doctor(&world, &["doctor", "--report"])
        .env("HTTPS_PROXY", "http://alice:hunter-66@127.0.0.1:1")
        .run();
    run.exits_with(0);
    let said = run.stdout();
    assert!(said.starts_with("```text\ndbt report, ") && said.ends_with("```\n"), "{said}");
    assert!(said.contains("variables set: TMPDIR, HTTPS_PROXY\n"), "{said}");
    assert!(
        said.contains("`~/.dbt") && !said.contains(&world.home().display().to_string()),
        "{said}"
    );
}

/// Points the server of the configuration elsewhere.
fn point_at(world: &World, root: &str) {
    for key in ["repository", "toolsRepository", "truststore"] {
        world.set(key, format!("{root}/{key}"));
    }
}

#[test]
fn faults_of_secure_connections() {
    let world = healthy();
    let plain = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    point_at(&world, &format!("https://{}", plain.local_addr().unwrap()));
    std::thread::spawn(move || {
        for stream in plain.incoming() {
            drop(stream.unwrap().write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n"));
        }
    });
    error("server-tls", "does not speak TLS", "look at the port").is_named(&world, |run| run);

    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap();
    point_at(&world, &format!("https://{address}"));
    world.set("caFile", "/nonexistent/authority.pem");
    error("certificates-file", "/nonexistent/authority.pem", "correct `caFile`")
        .is_named(&world, |run| run);
    drop(silent);
    if !mounts_work() {
        return;
    }
    world.set("caFile", "");
    let hide = "for d in /etc/ssl /etc/pki /usr/share/ca-certificates /usr/local/share/ca-certificates \
                /usr/lib/ssl /var/lib/ca-certificates /usr/local/ssl /etc/openssl; do \
                [ ! -d $d ] || mount -t tmpfs none $d || exit 1; done";
    let case =
        warning("certificates-not-the-systems", "no certificate authorities", "ca-certificates");
    Case { also: &["server-unreachable"], ..case }
        .is_named(&world, |run| run.mounting(hide, Path::new("/")));
}

#[test]
fn keys_that_do_not_count() {
    let world = crate::world();
    world.repository().publish("deploy", "1.4.0").now();
    world.dbt(["deploy"]).prints("deploy 1.4.0\n");
    world.repository().trust(&[&ALICE, &MALLORY]);
    world.dbt(["deploy"]).prints("deploy 1.4.0\n");
    warning("key-unvouched", "Mallory", "once an administrator has told it")
        .is_named(&world, |run| run);

    let world = healthy();
    world.repository().truststore(&[ALICE.certificate(), MALLORY.certificate().replace('=', "!")]);
    warning("truststore-key-skipped", "", "administrator").is_named(&world, |run| run);
    world.repository().truststore(&[ALICE.certificate(), BOB.revoked()]);
    warning("key-revoked", "Bob", "administrator").is_named(&world, |run| run);
}

#[test]
fn a_version_of_this_program_that_was_refused() {
    let world = healthy();
    world.repository().publish_program("99.0.0", b"#!/bin/sh\nexit 3\n".to_vec()).now();
    world.dbt(["deploy"]).exits_with(0);
    warning("self-update-refused", "version 99.0.0 was refused", "tell whoever publishes it")
        .is_named(&world, |run| run);
}

#[test]
fn a_machine_on_which_nothing_can_be_written() {
    let world = healthy();
    let config = world.directory().join("config.json");
    fs::copy(world.config_file(), &config).unwrap();
    let nowhere = Path::new("/nonexistent");
    let case = warning("store-in-memory", "no directory can be written", "export DBT_CACHE_DIR=");
    Case { also: &["home-none", "state-in-memory"], ..case }
        .is_named(&world, |run| in_place_of_home(run, &config, nowhere).env("HOME", nowhere));
}

#[test]
fn a_clock_that_is_years_off() {
    let world = healthy();
    let early = crate::other_time(&world, 1000);
    error("clock-before-release", "it is 1970-01-01T00:16:40Z", "timedatectl")
        .is_named(&world, |run| run.env("LD_PRELOAD", &early));
    let late = crate::other_time(&world, 3_000_000_000);
    error("clock-far-ahead", "it is 2065-01-24T05:20:00Z", "timedatectl")
        .is_named(&world, |run| run.env("LD_PRELOAD", &late));
}

#[test]
fn every_finding_is_provoked_by_some_test() {
    let page = dbt_cli::docs::doctor_md();
    let tests = [
        include_str!("doctor.rs"),
        include_str!("doctor/credentials.rs"),
        include_str!("certificates.rs"),
        include_str!("provider/keychain.rs"),
        include_str!("../peers/disks.rs"),
    ]
    .concat();
    let ids = page.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    let missing: Vec<&str> = ids.filter(|id| !tests.contains(&format!("\"{id}\""))).collect();
    assert_eq!(missing, [""; 0]);
}
