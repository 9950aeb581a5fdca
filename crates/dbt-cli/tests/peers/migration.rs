//! docs/migration.md: a fleet of the older program moves to ours by the commands of the page, and
//! comes back.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Command, Output};

use dbt_core::platform::Platform;
use dbt_core::trust::keys::Keyring;

use crate::desk::Desk;
use crate::older_client;
use crate::page::Page;
use crate::reposerver::{PASSPHRASE, Reposerver, TOKEN};

const PAGE: &str = include_str!("../../../../docs/migration.md");

/// Where `make dist` leaves a release.
const RELEASE: &str = "target/releases/4.0.0";

/// What stands for the older program where ours starts it.
const OLDER: &str = "[ \"$1\" != --version ] || exec echo dbt version 3.7.5\n\
                     [ \"$1\" != --self-test ] || exit 1\n\
                     echo \"3.7.5 runs $*\"";

/// Machines with the older program, a server, and whoever publishes.
struct Fleet {
    server: Reposerver,
    desk: Desk,
}

impl Fleet {
    fn new() -> Self {
        let (server, desk) = (Reposerver::start(), Desk::new());
        server.publish("dbt", "3.7.5", OLDER);
        server.publish("hello", "1.0.0", "echo \"hello, $*\"");
        desk.set("DBT_PUBLISH_TOKEN", TOKEN);
        desk.set("DBT_SIGNING_PASSPHRASE", PASSPHRASE);
        let release = format!("{RELEASE}/{}", Platform::CURRENT);
        for name in ["catalog", "publisher", "reposerver"] {
            desk.write(&format!("{release}/{name}"), "#!/bin/sh\n");
        }
        desk.write(&format!("{RELEASE}/VERSION"), "4.0.0\n");
        desk.release(&release);
        Self { server, desk }
    }

    fn page(&self) -> Page {
        let instead = [
            ("https://dbt.example.com", self.server.root()),
            ("file:releases", &self.server.key()),
        ];
        Page::of(PAGE, &instead)
    }

    /// The release that moves the fleet.
    fn release(&self) -> Vec<u8> {
        fs::read(self.desk.path(&format!("{RELEASE}/{}/dbt", Platform::CURRENT))).unwrap()
    }

    /// A machine on which 3.7.5 is installed.
    fn machine(&self, name: &str) -> Machine<'_> {
        let machine = Machine { fleet: self, place: self.desk.path(name) };
        fs::create_dir_all(machine.place.join("older-home/.dbt/trust")).unwrap();
        let published = format!("dbt/3.7.5/{}/dbt", Platform::CURRENT);
        fs::copy(self.server.served().join(published), machine.program()).unwrap();
        fs::set_permissions(machine.program(), Permissions::from_mode(0o755)).unwrap();
        machine
    }
}

struct Machine<'a> {
    fleet: &'a Fleet,
    place: PathBuf,
}

impl Machine<'_> {
    fn program(&self) -> PathBuf {
        self.place.join("dbt")
    }

    fn installed(&self) -> Vec<u8> {
        fs::read(self.program()).unwrap()
    }

    /// Runs `hello` as 3.x does, with this repository.
    fn runs_as_older(&self, repository: &str) {
        let (root, words) = (self.fleet.server.root(), ["run", "hello", "world"]);
        let (output, requests) =
            older_client::run_of(root, repository, &self.program(), &self.place, &words);
        assert_eq!(output.stdout, b"hello, world\n", "{output:?} {requests:?}");
        assert!(requests.iter().all(|line| line.ends_with(" 200")), "{requests:?}");
    }

    /// Starts what is installed.
    fn starts(&self, words: &[&str]) -> Output {
        Command::new(self.program())
            .args(words)
            .env_clear()
            .env("HOME", self.place.join("older-home"))
            .env("PATH", "/usr/bin:/bin")
            // Where these tests run in a container, too.
            .env("DBT_SELF_UPDATE", "auto")
            .output()
            .unwrap()
    }

    #[track_caller]
    fn runs(&self, expected: &str) {
        assert_eq!(self.says(expected), "");
    }

    /// Runs `hello`, and returns what dbt says beside.
    #[track_caller]
    fn says(&self, expected: &str) -> String {
        let output = self.starts(&["hello", "world"]);
        assert_eq!(String::from_utf8_lossy(&output.stdout), expected, "{output:?}");
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    }

    /// The first run of ours on a machine names the keys, once.
    #[track_caller]
    fn runs_for_the_first_time(&self) {
        let said = self.says("hello, world\n");
        assert!(said.contains("trusting 1 signing key from now on"), "{said}");
        self.runs("hello, world\n");
    }

    fn configure(&self, config: &str) {
        let file = self.place.join("older-home/.dbt/conf/dbt.json");
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, config).unwrap();
    }
}

#[test]
fn a_fleet_of_3_x_moves_first_a_few_then_everybody_and_comes_back() {
    let fleet = Fleet::new();
    let (desk, mut page) = (&fleet.desk, fleet.page());
    let (few, many) = (fleet.machine("few"), fleet.machine("many"));
    for machine in [&few, &many] {
        machine.runs_as_older("dbt");
    }
    let older = many.installed();

    // Look first.
    assert_eq!(desk.types(&page.next("publisher verify")), "");
    let listed = desk.types(&page.next("publisher truststore list"));
    assert!(listed.contains("demo"), "{listed}");
    desk.write("reposerver.json", settings_of_3_x(desk));
    desk.write("htpasswd", "");
    fs::create_dir(desk.path("srv")).unwrap();
    let said = desk.types(&page.next("reposerver -f reposerver.json check-config"));
    assert!(said.contains("basic-htpasswd"), "{said}");

    // A few.
    let would = desk.types(&page.next("publisher release target/releases/4.0.0"));
    assert!(would.contains("/dbt/4.0.0/"), "{would}");
    let config = page.block("json", "canary");
    desk.write("home/.dbt/conf/dbt.json", &config);
    desk.types(&page.next("publisher publish dbt 4.0.0 target/releases/4.0.0 -s canary"));
    few.runs_as_older("dbt/canary");
    assert!(few.installed() == fleet.release(), "it has not replaced itself");
    few.configure(&config);
    few.runs_for_the_first_time();
    many.runs_as_older("dbt");
    assert!(many.installed() == older, "it has taken what is for the few");

    // Everybody. What 3.x has cached is not fetched again: there is nothing to fetch.
    desk.types(&page.next("publisher release target/releases/4.0.0"));
    many.runs_as_older("dbt");
    assert!(many.installed() == fleet.release(), "it has not replaced itself");
    let config = config.replace("/dbt/canary", "/dbt").replace("canary", "work");
    many.configure(&config.replace("\"work\": {", "\"work\": { \"ofSomebodyElse\": 1,"));
    many.runs_for_the_first_time();
    let line = page.next("DBT_COMPAT_WARN=1 dbt hello -V");
    assert_eq!(line, "DBT_COMPAT_WARN=1 dbt hello -V");
    let warned = Command::new(many.program())
        .args(["hello", "-V"])
        .env_clear()
        .env("HOME", many.place.join("older-home"))
        .env("DBT_COMPAT_WARN", "1")
        .output()
        .unwrap();
    assert_eq!(warned.stdout, b"hello, -V\n", "{warned:?}");
    assert!(String::from_utf8_lossy(&warned.stderr).contains("`-V`"), "{warned:?}");

    a_new_machine(&fleet, &mut page);

    // And back: machines with our program, and one that has slept all the while.
    let late = fleet.machine("late");
    let would = desk.types(&page.next("publisher dbt-rollback 3.7.5"));
    assert!(would.contains("/dbt/4.0.1/"), "{would}");
    many.runs("hello, world\n");
    desk.types(&page.next("publisher dbt-rollback 3.7.5"));
    many.runs("3.7.5 runs hello world\n");
    assert!(many.installed() == older, "it has not gone back");
    many.runs_as_older("dbt");
    late.runs_as_older("dbt");
    assert!(late.installed() == older && many.installed() == older);
    page.ends();
}

/// A machine that never had 3.x, set up by the line that its handbook has.
fn a_new_machine(fleet: &Fleet, page: &mut Page) {
    let desk = &fleet.desk;
    let root = fleet.server.root();
    let exported = fleet.server.publisher_as(&["key", "export", "demo"], ("LANG", "C".as_ref()));
    let keyring = Keyring::parse(&exported.stdout).unwrap();
    let keys = [keyring.certificates[0].fingerprint().to_string()];
    let settings =
        serde_json::json!({"url": root, "name": "work", "trust": {"dbt": keys, "tools": keys}});
    desk.write("dbt-installer.json", settings.to_string());
    desk.types(&page.next("publisher installer target/releases/4.0.0"));
    desk.types(&page.next("publisher release target/releases/4.0.0 --include installer"));
    let home = desk.path("new");
    fs::create_dir(&home).unwrap();
    let line = format!("export HOME={}; {}", home.display(), page.next("curl -fsSL"));
    let run = desk.tries(&line);
    let said = String::from_utf8_lossy(&run.stderr).into_owned();
    assert!(run.status.success() && said.contains("settings:     in this installer"), "{said}");
    assert!(fs::read(home.join(".local/bin/dbt")).unwrap() == fleet.release());
    let line = format!("export HOME={}; $HOME/.local/bin/dbt hello world", home.display());
    assert_eq!(desk.types(&line), "hello, world\n");

    // Somebody changes what is fetched.
    let file = format!("dbt/installer/{}/dbt-installer", Platform::CURRENT);
    fs::write(fleet.server.served().join(file), "#!/bin/sh\ntouch \"$HOME/evil\"\n").unwrap();
    let home = desk.path("newer");
    fs::create_dir(&home).unwrap();
    let line = "curl -fsSL https://dbt.example.com/dbt/install_dbt.sh | sh -s -- --yes";
    let line = line.replace("https://dbt.example.com", root);
    let run = desk.tries(&format!("export HOME={}; {line}", home.display()));
    let said = String::from_utf8_lossy(&run.stderr).into_owned();
    assert_eq!(run.status.code(), Some(86), "{said}");
    assert!(said.contains("is not what was published with this script"), "{said}");
    assert_eq!(fs::read_dir(home).unwrap().count(), 0, "nothing is installed");
}

/// What the page says of the findings is what the program says.
#[test]
fn every_finding_on_the_page_is_one_that_verify_knows() {
    let known = include_str!("../../../../docs/verifying.md");
    let rows = PAGE.lines().filter_map(|line| line.strip_prefix("| `"));
    let ids: Vec<&str> = rows.filter_map(|row| row.split('`').next()).collect();
    assert!(ids.len() > 5, "{ids:?}");
    for id in ids {
        assert!(known.contains(&format!("| `{id}` | ")), "{id}");
    }
}

fn settings_of_3_x(desk: &Desk) -> String {
    serde_json::json!({
        "address": "127.0.0.1", "port": 9999, "serverRoot": desk.path("srv"),
        "authTypePut": "basic-htpasswd", "authOptsPut": {"idpFile": desk.path("htpasswd")},
    })
    .to_string()
}
