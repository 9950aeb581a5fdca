//! The client on Windows, as Wine shows it: the released programs, against a server on this machine.

use std::fs;
use std::io::Read as _;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use dbt_testkit::exits;
use dbt_testkit::people::{ALICE, MALLORY};
use dbt_testkit::world::World;
use serde_json::json;

use crate::built::target;
use crate::windows::{Place, WINE, said};

/// The platform of everything that is published here.
const PLATFORM: &str = "windows/amd64";

/// A user of Windows with the program in `~\.local\bin`, and a repository that has a tool.
struct Client {
    place: Place,
    world: World,
    /// The user's directory, as it is seen from outside.
    home: PathBuf,
}

impl Client {
    /// Makes a user who has the program and whose configuration names the server.
    fn new() -> Self {
        let client = Self::without_the_program();
        let directory = client.home.join(".local/bin");
        fs::create_dir_all(&directory).unwrap();
        fs::copy(released("dbt.exe"), directory.join("dbt.exe")).unwrap();
        fs::create_dir_all(client.home.join(".dbt/conf")).unwrap();
        fs::copy(client.world.config_file(), client.home.join(".dbt/conf/dbt.json")).unwrap();
        client
    }

    /// Makes a user who has nothing.
    fn without_the_program() -> Self {
        let place = Place::new();
        let world = World::new(released("dbt.exe"));
        let tool = fs::read(place.path("told.exe")).unwrap();
        world.repository().publish("told", "1.0.0").platform(PLATFORM).content(tool).now();
        // Wine makes its Windows when it is started for the first time.
        let (code, said) = place.run(&["cmd.exe", "/c", "exit 0"]);
        assert_eq!(code, Some(0), "{said}");
        let system = place.path(".wine/drive_c/windows/system32/bcryptprimitives.dll");
        fs::copy(place.path("bcryptprimitives.dll"), system).unwrap();
        let users = fs::read_dir(place.path(".wine/drive_c/users")).unwrap();
        let mut users = users.map(|it| it.unwrap().path()).filter(|it| !it.ends_with("Public"));
        let home = users.next().unwrap();
        Self { place, world, home }
    }

    /// Returns a path of the user, as Windows has it.
    fn there(&self, path: &str) -> String {
        let user = self.home.file_name().unwrap().to_str().unwrap();
        format!(r"C:\users\{user}\{}", path.replace('/', r"\"))
    }

    fn wine(&self, program: &str, words: &[&str]) -> Command {
        let mut command = self.place.command(WINE);
        command.arg(program).args(words);
        command
    }

    /// Runs the program with these words.
    fn dbt(&self, words: &[&str]) -> Output {
        self.wine(&self.there(".local/bin/dbt.exe"), words).output().unwrap()
    }

    /// Runs lines of a batch file, in which `dbt` is the program.
    fn batch(&self, lines: &str) -> (Option<i32>, String) {
        let lines = lines.replace("dbt ", &format!("{} ", self.there(".local/bin/dbt.exe")));
        fs::write(self.place.path("run.cmd"), lines.replace('\n', "\r\n")).unwrap();
        self.place.run(&["cmd.exe", "/c", "run.cmd"])
    }

    /// Returns every installed tool.
    fn store(&self) -> Vec<PathBuf> {
        let store = self.home.join(".dbt/tools/sha256");
        let below = |directory: PathBuf| {
            fs::read_dir(directory).into_iter().flatten().map(|it| it.unwrap().path())
        };
        below(store).flat_map(below).flat_map(below).collect()
    }

    /// Publishes the client as a later version.
    fn publish_next(&self) {
        let next = fs::read(target("static/windows-amd64/dbt_next.exe")).unwrap();
        self.world.repository().publish_program("99.0.0", next).platform(PLATFORM).now();
    }

    fn beside_the_program(&self) -> Vec<String> {
        let entries = fs::read_dir(self.home.join(".local/bin")).unwrap();
        let mut names: Vec<String> =
            entries.map(|it| it.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

fn released(program: &str) -> PathBuf {
    target(&format!("static/windows-amd64/{program}"))
}

#[track_caller]
fn exits_with(output: &Output, code: i32) -> (String, String) {
    let words = String::from_utf8_lossy(&output.stderr).replace('\r', "");
    let (actual, printed) = said(output);
    assert_eq!(actual, Some(code), "{printed}{words}");
    (printed, words)
}

#[test]
fn on_windows_every_program_says_its_version() {
    let client = Client::new();
    for (program, name) in [
        ("dbt.exe", "dbt"),
        ("catalog.exe", "catalog"),
        ("publisher.exe", "publisher"),
        ("dbt-installer.exe", "dbt-installer"),
    ] {
        fs::copy(released(program), client.place.path(program)).unwrap();
        let output = client.wine(program, &["--version"]).output().unwrap();
        let (printed, _) = exits_with(&output, 0);
        assert_eq!(printed, format!("{name} version {}\n", env!("CARGO_PKG_VERSION")));
    }
}

#[test]
fn on_windows_a_tool_is_installed_and_gets_its_words_and_its_exit_code() {
    let client = Client::new();
    let received = r#""a  b" c\"d "" e\\ last"#;
    for line in ["@dbt told", "@dbt -o told", "@dbt told@1.0.0"] {
        let (code, said) = client.batch(&format!("{line} {received}\n@exit /b %ERRORLEVEL%\n"));
        assert_eq!(code, Some(7), "{said}");
        let mut lines = said.lines();
        let first = lines.next().unwrap();
        assert!(first.ends_with(&format!(" {received}")), "{said}");
        let words: Vec<&str> = lines.take(5).collect();
        assert_eq!(words, ["[a  b]", "[c\"d]", "[]", r"[e\\]", "[last]"]);
    }
    let (_code, said) = client.batch("@dbt told exit 70000\n@echo code %ERRORLEVEL%\n");
    assert_eq!(said, "code 70000\n");

    let store = client.store();
    assert_eq!(store.len(), 1, "{store:?}");
    assert!(store[0].ends_with("told.exe"));
    assert!(fs::read(&store[0]).unwrap() == fs::read(client.place.path("told.exe")).unwrap());
    let staging = fs::read_dir(client.home.join(".dbt/tools/staging")).unwrap().count();
    assert_eq!(staging, 0, "something is left where downloads are written");
}

#[test]
fn on_windows_a_tool_without_exe_runs_and_so_does_a_batch_file_by_its_name() {
    let client = Client::new();
    let repository = client.world.repository();
    let tool = fs::read(client.place.path("told.exe")).unwrap();
    repository.publish("plain", "1.0.0").platform(PLATFORM).content(tool).now();
    for ending in ["", ".asc", ".sha256"] {
        let at = |name: &str| {
            repository.file(&format!("/dbt-tools/plain/1.0.0/{PLATFORM}/{name}{ending}"))
        };
        dbt_client::fsx::rename(&at("plain.exe"), &at("plain")).unwrap();
    }
    let (printed, _) = exits_with(&client.dbt(&["plain", "x"]), 7);
    assert!(printed.contains("[x]"), "{printed}");
    let (printed, _) = exits_with(&client.dbt(&["-o", "plain", "y"]), 7);
    assert!(printed.contains("[y]"), "{printed}");

    let script = "@echo ran %1\r\n@exit /b 5\r\n";
    repository.publish("clean.cmd", "1.0.0").platform(PLATFORM).content(script).now();
    let (printed, _) = exits_with(&client.dbt(&["clean.cmd", "a b"]), 5);
    assert_eq!(printed, "ran \"a b\"\n");
    let mut names: Vec<_> =
        client.store().iter().map(|it| it.file_name().unwrap().to_owned()).collect();
    names.sort();
    assert_eq!(names, ["clean.cmd", "plain.exe"]);
}

#[test]
fn on_windows_what_there_is_none_of_is_refused_with_words() {
    let client = Client::new();
    exits_with(&client.dbt(&["fetch", "told"]), 0);
    let (printed, words) = exits_with(&client.dbt(&["--sealed", "told"]), exits::CANNOT_EXECUTE);
    assert!(printed.is_empty() && words.contains("no sealed memory"), "{printed}{words}");
    let (_, words) = exits_with(&client.dbt(&["link", "told"]), exits::CONFIGURATION);
    assert!(words.contains("links are not made on this system"), "{words}");
    assert_eq!(client.beside_the_program(), ["dbt.exe"]);
}

#[test]
fn on_windows_a_tool_that_runs_is_not_removed() {
    let client = Client::new();
    exits_with(&client.dbt(&["fetch", "told"]), 0);
    let program = client.there(".local/bin/dbt.exe");
    let mut waiting = client.wine(&program, &["told", "wait"]);
    let mut running = waiting.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = [0_u8; 7];
    running.stdout.as_mut().unwrap().read_exact(&mut line).unwrap();
    assert_eq!(&line, b"waiting");
    exits_with(&client.dbt(&["cache", "clear", "--yes"]), 0);
    assert_eq!(client.store().len(), 1);
    drop(running.stdin.take());
    assert_eq!(running.wait().unwrap().code(), Some(9));
    exits_with(&client.dbt(&["cache", "clear", "--yes"]), 0);
    assert_eq!(client.store(), [""; 0].map(PathBuf::from));
}

#[test]
fn on_windows_ctrl_c_is_the_tools_and_not_the_clients() {
    let client = Client::new();
    exits_with(&client.dbt(&["fetch", "told"]), 0);
    let program = client.there(".local/bin/dbt.exe").replace('\\', r"\\");
    let (code, said) = client.place.run_at_a_console(&format!("{program} told interrupt"));
    // What the console shows is drawn letter by letter.
    assert_eq!(code, Some(42), "{said}");
}

#[test]
fn on_windows_what_the_wrong_person_has_signed_or_somebody_has_changed_is_not_run() {
    let client = Client::new();
    let tool = fs::read(client.place.path("told.exe")).unwrap();
    let publish = client.world.repository().publish("forged", "1.0.0").platform(PLATFORM);
    publish.content(tool).signed_by(&MALLORY).now();
    let (printed, words) = exits_with(&client.dbt(&["forged"]), exits::VERIFICATION_REFUSED);
    assert!(printed.is_empty() && words.contains("forged"), "{printed}{words}");
    assert_eq!(client.store(), [""; 0].map(PathBuf::from));

    // What was changed in the store is found out, and fetched again; offline it is refused.
    exits_with(&client.dbt(&["told"]), 7);
    let placed = client.store().remove(0);
    let mut bytes = fs::read(&placed).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(&placed, &bytes).unwrap();
    let (printed, words) = exits_with(&client.dbt(&["told"]), 7);
    assert!(printed.contains("told.exe") && words.contains("damaged"), "{printed}{words}");
    assert!(fs::read(&placed).unwrap() != bytes);
}

#[test]
fn on_windows_a_newer_version_takes_the_place_of_the_one_that_runs() {
    let client = Client::new();
    let now = fs::read(released("dbt.exe")).unwrap();
    client.publish_next();
    // The older one is still running while the newer one runs the tool.
    let (printed, words) = exits_with(&client.dbt(&["told", "x"]), 7);
    assert!(printed.contains("[x]"), "{printed}{words}");
    let (printed, _) = exits_with(&client.dbt(&["--version"]), 0);
    assert_eq!(printed, "dbt version 99.0.0\n");
    let previous = client.home.join(".local/bin/.dbt.exe.prev");
    assert!(fs::read(&previous).unwrap() == now);

    let (_, words) = exits_with(&client.dbt(&["self", "rollback"]), 0);
    let (printed, _) = exits_with(&client.dbt(&["--version"]), 0);
    assert_eq!(printed, format!("dbt version {}\n", env!("CARGO_PKG_VERSION")), "{words}");
    // It was left, so it is not taken over again.
    exits_with(&client.dbt(&["told"]), 7);
    assert!(fs::read(client.home.join(".local/bin/dbt.exe")).unwrap() == now);
    let names = client.beside_the_program();
    assert!(names.contains(&"dbt.exe".to_owned()), "{names:?}");
    assert!(names.iter().all(|it| it == "dbt.exe" || it.starts_with(".dbt.exe.")), "{names:?}");
}

#[test]
fn on_windows_a_candidate_that_is_refused_leaves_the_program_where_it_is() {
    let client = Client::new();
    let next = fs::read(target("static/windows-amd64/dbt_next.exe")).unwrap();
    let publish = client.world.repository().publish_program("99.0.0", next);
    publish.platform(PLATFORM).signed_by(&MALLORY).now();
    let (_, words) = exits_with(&client.dbt(&["told"]), 7);
    assert!(words.contains("99.0.0"), "{words}");
    assert_eq!(client.beside_the_program(), ["dbt.exe"]);
    let (printed, _) = exits_with(&client.dbt(&["--version"]), 0);
    assert_eq!(printed, format!("dbt version {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn on_windows_the_installer_puts_the_program_on_the_users_path_and_takes_it_back() {
    let client = Client::without_the_program();
    let program = fs::read(released("dbt.exe")).unwrap();
    client.world.repository().publish_program("4.0.0", program).platform(PLATFORM).now();
    let keys = [ALICE.fingerprint().to_string()];
    let settings = json!({
        "organisation": "Acme Ltd", "name": "acme", "url": client.world.server().url(),
        "trust": {"dbt": keys, "tools": keys},
    });
    let downloads = client.home.join("Downloads");
    fs::create_dir_all(&downloads).unwrap();
    fs::copy(released("dbt-installer.exe"), downloads.join("dbt-installer.exe")).unwrap();
    let beside = downloads.join("dbt-installer.json");
    fs::write(beside, serde_json::to_vec(&settings).unwrap()).unwrap();
    let installer = client.there("Downloads/dbt-installer.exe");
    let run = |words: &[&str]| client.wine(&installer, words).output().unwrap();
    let path = || {
        let words = ["query", r"HKCU\Environment", "/v", "Path"];
        let (_code, said) = said(&client.wine("reg.exe", &words).output().unwrap());
        said
    };

    let (_, words) = exits_with(&run(&["--yes", "--modify-profile"]), 0);
    let directory = client.there(".local/bin");
    assert!(words.contains(&format!("`{directory}` is in your `Path`")), "{words}");
    assert!(path().contains(&directory), "{}", path());
    assert_eq!(client.beside_the_program(), ["dbt.exe"]);
    // Found by its name by whatever is started from then on.
    let output = client.wine("cmd.exe", &["/c", "dbt told x"]).output().unwrap();
    let (printed, _) = exits_with(&output, 7);
    assert!(printed.contains("[x]"), "{printed}");
    // Again: nothing is there twice.
    exits_with(&run(&["--yes", "--modify-profile"]), 0);
    assert_eq!(path().matches(&directory).count(), 1, "{}", path());

    exits_with(&run(&["uninstall", "--yes"]), 0);
    assert!(!path().contains(&directory), "{}", path());
    assert!(!client.home.join(".local/bin").exists());
}
