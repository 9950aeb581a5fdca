//! The programs under other names (`scripts/branded` with `nx.brand`): nothing that they say, write,
//! serve or are made with names the product.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use dbt_core::platform::Platform;

use crate::built::target;

/// The program's name in the brand of these tests, and what its variables begin with.
const PROGRAM: &str = "nx";
const INSTALLER: &str = "nx-installer";
const PREFIX: &str = "NIMBUS_";

/// Names that nobody may see.
const NAMES: [&str; 2] = ["dbt", "dynamic binary toolkit"];

/// The identifiers of the wire, which are the same for every brand: those that `cargo xtask tidy`
/// lets stand.
fn wire() -> Vec<String> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../xtask/src/tidy/names.rs");
    let text = fs::read_to_string(file).unwrap();
    let (_before, list) = text.split_once("const WIRE: &[&str] = &[").unwrap();
    let (list, _after) = list.split_once("];").unwrap();
    let lines = list.lines().filter_map(|line| line.trim().strip_prefix('"'));
    let wire: Vec<String> = lines
        .map(|line| line.rsplit_once("\",").unwrap().0.replace("\\\\", "\\").replace("\\\"", "\""))
        // As it stands in a program, and as it is when it is written.
        .flat_map(|identifier| [identifier.replace('\\', ""), identifier])
        .collect();
    assert!(wire.contains(&"artifact@dbt".to_owned()), "{wire:?}");
    wire
}

/// Fails if a text names the product.
#[track_caller]
fn names_nobody_else(what: &str, text: &str) {
    for line in text.lines() {
        let bare = wire().iter().fold(line.to_owned(), |bare, it| bare.replace(it.as_str(), ""));
        let bare = bare.to_lowercase();
        let found = NAMES.iter().find(|name| bare.contains(*name));
        assert!(found.is_none(), "{what} says: {line}");
    }
}

fn program(name: &str) -> PathBuf {
    target(&format!("brand/{PROGRAM}/{name}"))
}

/// A home of somebody who has the programs and nothing else.
struct Home(tempfile::TempDir);

impl Home {
    fn new() -> Self {
        let home = Self(tempfile::Builder::new().prefix("n").tempdir_in("/tmp").unwrap());
        fs::create_dir(home.path("home")).unwrap();
        home
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn command(&self, name: &str, words: &[&str]) -> Command {
        self.command_of(&program(name), words)
    }

    /// Prepares to run a program that was made here.
    fn command_of(&self, program: &Path, words: &[&str]) -> Command {
        let path = format!("{}:/usr/bin:/bin", target("brand/nx").display());
        let mut command = Command::new(program);
        command.args(words).env_clear().env("PATH", path).env("HOME", self.path("home"));
        command.current_dir(self.0.path()).stdin(Stdio::null());
        command
    }

    /// Runs a program, and looks at all that it says.
    #[track_caller]
    fn run(&self, name: &str, words: &[&str]) -> Output {
        self.run_file(&program(name), words)
    }

    /// The same with a program that was made here.
    #[track_caller]
    fn run_file(&self, program: &Path, words: &[&str]) -> Output {
        let output = self.command_of(program, words).output().unwrap();
        let what = format!("`{} {}`", program.file_name().unwrap().display(), words.join(" "));
        for said in [&output.stdout, &output.stderr] {
            names_nobody_else(&what, &String::from_utf8_lossy(said));
        }
        output
    }

    #[track_caller]
    fn prints(&self, name: &str, words: &[&str]) -> String {
        let output = self.run(name, words);
        assert!(output.status.success(), "{name} {words:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Looks at the help of a command and of every command that it lists.
    fn look_at_help(&self, name: &str, path: &[&str], seen: &mut usize) {
        let help = self.prints(name, &[path, &["--help"]].concat());
        *seen += 1;
        let listed = commands_in(&help);
        for command in listed.iter().filter(|command| *command != "help") {
            self.look_at_help(name, &[path, &[command]].concat(), seen);
        }
    }

    /// Looks at every file below a directory, its name and what is in it.
    fn look_at_files(&self, directory: &Path) -> usize {
        let mut seen = 0;
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let shown = path.strip_prefix(self.0.path()).unwrap().display().to_string();
            names_nobody_else("the name of a file", &shown);
            if path.is_symlink() {
                continue;
            }
            if path.is_dir() {
                seen += self.look_at_files(&path);
            } else if path.is_file() {
                names_nobody_else(&shown, &String::from_utf8_lossy(&fs::read(&path).unwrap()));
                seen += 1;
            }
        }
        seen
    }
}

/// Returns the commands that a help lists: words that stand in by two blanks, below a title.
fn commands_in(help: &str) -> Vec<String> {
    let mut commands = Vec::new();
    let mut in_list = false;
    for line in help.lines() {
        if !line.starts_with(' ') {
            let titles = ["Tools:", "Repositories:", "This machine:", "Help:", "Commands:"];
            in_list = titles.contains(&line.trim_end());
        } else if let Some(rest) = line.strip_prefix("  ").filter(|rest| !rest.starts_with(' ')) {
            let word = rest.split(' ').next().unwrap_or_default();
            let is_word =
                !word.is_empty() && word.bytes().all(|it| it.is_ascii_lowercase() || it == b'-');
            if in_list && is_word && !word.starts_with('-') {
                commands.push(word.to_owned());
            }
        }
    }
    commands
}

#[test]
fn no_help_names_the_product() {
    let home = Home::new();
    // So many commands there are at least; otherwise the lists would not have been read.
    let programs =
        [(PROGRAM, 30), (INSTALLER, 2), ("catalog", 4), ("publisher", 15), ("reposerver", 20)];
    for (name, least) in programs {
        let mut seen = 0;
        home.look_at_help(name, &[], &mut seen);
        assert!(seen >= least, "{name}: {seen}");
        names_nobody_else(name, &home.prints(name, &["--version"]));
    }
    assert!(home.prints(PROGRAM, &[]).starts_with("Nimbus Exchange: "));
}

#[test]
fn no_error_names_the_product() {
    let home = Home::new();
    let refused: [(&str, &[&str], &str); 17] = [
        (PROGRAM, &["deploy"], "nx server add"),
        (PROGRAM, &["--frob", "deploy"], "nx --help"),
        (PROGRAM, &["run"], "nx run --help"),
        (PROGRAM, &["catalog", "frob"], "nx catalog --help"),
        (PROGRAM, &["catalog", "list"], "nx server add"),
        (PROGRAM, &["login"], "nx"),
        (PROGRAM, &["which", "deploy"], "nx"),
        (PROGRAM, &["self", "update"], "nx"),
        (PROGRAM, &["server", "add", "http://127.0.0.1:1"], "127.0.0.1"),
        (INSTALLER, &[], "nx-installer.json"),
        (INSTALLER, &["--frob"], "nx-installer --help"),
        (INSTALLER, &["--from", "http://127.0.0.1:1", "--yes"], "127.0.0.1"),
        ("catalog", &["frob"], "catalog"),
        ("publisher", &["publish", "nx"], "publisher"),
        ("publisher", &["release", "nothing"], "nothing"),
        ("publisher", &["publish", "a", "1.0.0", "linux/amd64=x", "--to", "repo"], "x"),
        ("reposerver", &["check-config", "-f", "nothing.json"], "nothing.json"),
    ];
    for (name, words, mentions) in refused {
        let output = home.run(name, words);
        assert!(!output.status.success(), "{name} {words:?}");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains(mentions), "{name} {words:?}: {said}");
    }
    let conf = home.path("home/.nx/conf");
    fs::create_dir_all(&conf).unwrap();
    let servers = r#"{"servers": {"a": {"repository": "http://127.0.0.1:1/nx-self", "truststore": "http://127.0.0.1:1/nx-self/truststore", "toolsRepository": "http://127.0.0.1:1/nx-tools"}}}"#;
    fs::write(conf.join("nx.json"), servers).unwrap();
    let offline = format!("{PREFIX}OFFLINE");
    let output = home.command(PROGRAM, &["deploy"]).env(&offline, "maybe").output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains(&format!("the environment variable `{offline}` is `maybe`")), "{said}");
    // The product's own variable means nothing here.
    let output = home.command(PROGRAM, &["deploy"]).env("DBT_OFFLINE", "maybe").output().unwrap();
    assert!(!String::from_utf8_lossy(&output.stderr).contains("maybe"), "{output:?}");
    assert!(!home.path("home/.dbt").exists());
}

#[test]
fn no_completion_and_no_manual_page_names_the_product() {
    let home = Home::new();
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = home.prints(PROGRAM, &["completions", shell]);
        let made = fs::read_to_string(program(&format!("completions/{shell}"))).unwrap();
        assert!(script.contains(PROGRAM), "{shell}");
        // What was made under the product's name and is given the brand's is what is made so.
        assert_eq!(script, made, "{shell}");
    }
    let bash = "eval \"$(nx completions bash)\"; complete -p nx";
    let path = format!("{}:/usr/bin:/bin", program("").display());
    let mut shell = Command::new("bash");
    let output = shell.args(["-uc", bash]).env_clear().env("PATH", path).output().unwrap();
    assert!(String::from_utf8_lossy(&output.stdout).contains("_nx_and_tools"), "{output:?}");

    let pages = program("man/man1");
    let mut names: Vec<String> = Vec::new();
    for entry in fs::read_dir(pages).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        names_nobody_else("the name of a page", &name);
        names_nobody_else(&name, &fs::read_to_string(path).unwrap());
        names.push(name);
    }
    let pages = ["nx.1", "nx-catalog-list.1", "nx-installer-uninstall.1", "catalog.1"];
    for page in pages.into_iter().chain(["publisher-publish.1", "reposerver.1"]) {
        assert!(names.iter().any(|name| name == page), "{page}: {names:?}");
    }
}

/// A server, ended when this goes.
struct Served {
    child: Child,
    port: u16,
}

impl Drop for Served {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Served {
    /// Starts `reposerver quickstart`, and returns what it prints once it answers.
    fn start(home: &Home) -> (Self, String) {
        let mut command = home.command("reposerver", &["quickstart", "try", "-p", "0"]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut printed = child.stdout.take().unwrap();
        let log = BufReader::new(child.stderr.take().unwrap());
        let mut served = Self { child, port: 0 };
        let mut lines = log.lines().map_while(Result::ok);
        let first = lines.next().unwrap_or_default();
        names_nobody_else("the server's log", &first);
        std::thread::spawn(move || lines.for_each(drop));
        let (mut text, mut part) = (String::new(), [0; 4096]);
        while !text.contains("--passphrase-file") {
            let length = printed.read(&mut part).unwrap();
            assert!(length > 0, "{first} {text}");
            text.push_str(std::str::from_utf8(&part[..length]).unwrap());
        }
        let (_before, url) = text.split_once("http://127.0.0.1:").unwrap();
        let digits: String = url.chars().take_while(char::is_ascii_digit).collect();
        served.port = digits.parse().unwrap();
        (served, text)
    }

    /// Asks for a page and returns the whole answer.
    fn answer(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        let request = format!(
            "GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\naccept: text/html\r\nconnection: close\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    }
}

#[test]
fn nothing_that_is_served_written_or_said_on_the_way_to_a_tool_names_the_product() {
    let home = Home::new();
    let (served, printed) = Served::start(&home);
    names_nobody_else("`reposerver quickstart`", &printed);
    let url = format!("http://127.0.0.1:{}", served.port);

    let statuses: BTreeMap<&str, &str> = [
        ("/", "200"),
        ("/-/ui/", "200"),
        ("/-/ui/tools/hello", "200"),
        ("/-/ui/tools/nothing", "404"),
        ("/nx-tools/", "200"),
        ("/nx-tools/hello/", "200"),
        ("/nx-self/truststore", "200"),
        ("/dbt-tools/", "404"),
        ("/-/api/v1/openapi.json", "200"),
        ("/-/api/v1/tools", "200"),
        ("/-/metrics", "401"),
        ("/-/nothing", "404"),
    ]
    .into();
    for (path, status) in statuses {
        let answer = served.answer(path);
        assert_eq!(answer.split(' ').nth(1), Some(status), "{path}: {answer}");
        if path != "/dbt-tools/" {
            names_nobody_else(path, &answer);
        }
    }

    home.prints(PROGRAM, &["server", "add", "try", &url, "--yes"]);
    assert_eq!(home.prints(PROGRAM, &["hello"]), "hello, world\n");
    for words in [
        &["which", "hello"][..],
        &["catalog", "list"],
        &["catalog", "show", "hello"],
        &["-V", "hello"],
        &["trust", "show"],
        &["cache", "list"],
        &["doctor"],
        &["doctor", "--report"],
        &["link", "hello"],
        &["whoami"],
        &["update"],
        &["nothing"],
        &["list"],
        &["debug"],
    ] {
        home.run(PROGRAM, words);
    }
    fs::write(home.path("mine"), "#!/bin/sh\nenv\n").unwrap();
    let artifact = format!("{}=mine", Platform::CURRENT);
    let signing = ["--signer", "file:try/publisher/keys/quickstart.asc"];
    let passphrase = ["--passphrase-file", "try/signing-passphrase"];
    let to = ["--to", &url, "--token-file", "try/publisher-token"];
    let publish = ["publish", "mine", "1.0.0", &artifact, "--description", "what I need"];
    home.prints("publisher", &[&publish[..], &signing, &passphrase, &to].concat());
    home.prints("publisher", &["verify", &url]);
    home.run("publisher", &["init", "mine", "--to", &url, "--ci", "github", "--print"]);
    // A tool is told by the brand's variables where it comes from.
    let told = home.prints(PROGRAM, &["mine"]);
    assert!(told.contains(&format!("{PREFIX}TOOLS_REPO={url}/nx-tools\n")), "{told}");

    let config = fs::read_to_string(home.path("home/.nx/conf/nx.json")).unwrap();
    assert!(config.contains(&format!("{url}/nx-self")), "{config}");
    assert!(home.look_at_files(&home.path("home")) > 3);
    assert!(home.look_at_files(&home.path("try/tree")) > 5);
    names_nobody_else(
        "the settings",
        &fs::read_to_string(home.path("try/reposerver.json")).unwrap(),
    );
}

#[test]
fn nothing_that_the_installer_says_or_writes_names_the_product() {
    let home = Home::new();
    let (served, _printed) = Served::start(&home);
    let url = format!("http://127.0.0.1:{}", served.port);
    let artifact = format!("{}={}", Platform::CURRENT, program(PROGRAM).display());
    let signing = ["--signer", "file:try/publisher/keys/quickstart.asc"];
    let passphrase = ["--passphrase-file", "try/signing-passphrase"];
    let publish = ["publish", PROGRAM, env!("CARGO_PKG_VERSION"), &artifact, "--to", "try/tree"];
    home.prints("publisher", &[&publish[..], &signing, &passphrase].concat());

    let listed = home.prints("publisher", &["truststore", "list", "--to", &url, "--json"]);
    let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
    let keys = [&listed["certificates"][0]["fingerprint"]];
    let settings = serde_json::json!({
        "organisation": "Nimbus", "url": url, "trust": {"dbt": keys, "tools": keys},
    });
    fs::write(home.path("nx-installer.json"), settings.to_string()).unwrap();
    let prebuilt = program(INSTALLER);
    let bake = ["installer", prebuilt.to_str().unwrap(), "--settings", "nx-installer.json"];
    home.prints("publisher", &[&bake[..], &["--output", "made", "--package", "deb"]].concat());

    let installer = home.path(&format!("made/{}/{INSTALLER}", Platform::CURRENT));
    let output = home.run_file(&installer, &["--yes", "--modify-profile"]);
    assert!(output.status.success(), "{output:?}");
    let there = home.path(&format!("home/.local/bin/{PROGRAM}"));
    assert!(home.run_file(&there, &["hello"]).status.success());
    assert!(home.look_at_files(&home.path("home/.nx/conf")) > 0);
    assert!(home.look_at_files(&home.path("home/.nx/state")) > 0);
    names_nobody_else("the profile", &fs::read_to_string(home.path("home/.profile")).unwrap());
    let output = home.run_file(&installer, &["uninstall", "--yes"]);
    assert!(output.status.success(), "{output:?}");
    assert!(!there.exists());
}
