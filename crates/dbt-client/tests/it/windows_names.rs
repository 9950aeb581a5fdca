//! What a machine with Windows takes for a tool: `TOOL.exe`, else `TOOL`, and scripts by their names.
//!
//! Choosing, verifying and keeping is the same code everywhere; only starting is not tried here.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use dbt_client::auth::Credentials;
use dbt_client::fsx;
use dbt_client::notice::{Listener, Notice};
use dbt_client::prepare::{Eagerness, Outcome, PrepareError, Prepared, Request, prepare};
use dbt_client::progress::Silent;
use dbt_client::session::Session;
use dbt_client::settings::{Network, Places, Program, SelfUpdate, Server, Settings, Updates};
use dbt_client::source::Connector;
use dbt_client::url::RepositoryUrl;
use dbt_core::clock::Clock;
use dbt_core::trust::TrustRules;
use dbt_core::version::Version;
use dbt_testkit::people::{ALICE, MALLORY, just_now};
use dbt_testkit::repository::TestRepository;

const WINDOWS: &str = "windows/amd64";

struct Quiet;

impl Listener for Quiet {
    fn hear(&self, _notice: &Notice) {}

    fn is_watched(&self) -> bool {
        false
    }
}

struct Machine {
    directory: tempfile::TempDir,
    repository: TestRepository,
}

impl Machine {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let started = directory.path().join("started");
        let repository = TestRepository::create(&directory.path().join("server"), &started);
        repository.trust(&[&ALICE]);
        Self { directory, repository }
    }

    fn home(&self) -> PathBuf {
        self.directory.path().join("home")
    }

    /// Publishes a tool for Windows under the usual name.
    fn publish(&self, tool: &str, content: &str) {
        let publish = self.repository.publish(tool, "1.4.0").platform(WINDOWS);
        publish.content(content).now();
    }

    fn at(&self, tool: &str, file: &str) -> PathBuf {
        self.repository.file(&format!("/dbt-tools/{tool}/1.4.0/{WINDOWS}/{file}"))
    }

    /// Takes `.exe` out of the names of what was published.
    fn leave_exe_out(&self, tool: &str) {
        for ending in ["", ".asc", ".sha256"] {
            let from = self.at(tool, &format!("{tool}.exe{ending}"));
            fsx::rename(&from, &self.at(tool, &format!("{tool}{ending}"))).unwrap();
        }
    }

    fn settings(&self) -> Settings {
        let url = |path: &str| RepositoryUrl::of_directory(&self.repository.file(path)).unwrap();
        Settings {
            server: Server {
                name: "acme".parse().unwrap(),
                repository: url("/dbt"),
                tools: url("/dbt-tools"),
                truststore: url("/dbt/truststore"),
                credentials: Credentials::none(),
                sign_in_hint: None,
                secret_variables: BTreeSet::new(),
                rules: TrustRules::default(),
                strict: false,
                ca_file: None,
                updates: Updates::Always,
                self_update: SelfUpdate::Off,
                time_scale: 1.0,
                pins: BTreeMap::new(),
            },
            home_server: None,
            places: Places {
                read_only_home: None,
                home: Some(self.home()),
                store: Some(self.home().join("tools")),
                read_only_stores: Vec::new(),
                temporary: self.home(),
                links: None,
            },
            offline: false,
            platform: WINDOWS.parse().unwrap(),
            clock: Clock::Fixed(just_now()),
            network: Network::default(),
            sealed: false,
            program: Program {
                version: "4.0.0".parse::<Version>().unwrap(),
                executable: None,
                restarted: false,
            },
        }
    }

    fn prepare(&self, tool: &str) -> Result<Prepared, PrepareError> {
        let settings = self.settings();
        let connector = Connector::new(&settings.network, None, "dbt/4.0.0");
        let session = Session::open(&settings, connector, &Quiet, &Silent);
        let request = Request {
            tool: tool.parse().unwrap(),
            wanted: None,
            eagerness: Eagerness::AsConfigured,
        };
        match prepare(&session, &request)? {
            Outcome::Ready(prepared) => Ok(*prepared),
            Outcome::Replaced(_) => panic!("no program is published"),
        }
    }

    /// Returns the name and the content of what would be started.
    fn started(&self, tool: &str) -> (String, String) {
        let prepared = self.prepare(tool).unwrap();
        assert_eq!(prepared.id.platform.to_string(), WINDOWS);
        let path = prepared.installed.path().unwrap();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        (name, fs::read_to_string(path).unwrap())
    }
}

fn both(name: &str, content: &str) -> (String, String) {
    (name.to_owned(), content.to_owned())
}

#[test]
fn a_tool_without_exe_is_taken_second_and_kept_with_it() {
    let machine = Machine::new();
    machine.publish("deploy", "plain");
    machine.leave_exe_out("deploy");
    for _again in 0..2 {
        assert_eq!(machine.started("deploy"), both("deploy.exe", "plain"));
    }
    machine.publish("deploy", "usual");
    assert_eq!(machine.started("deploy"), both("deploy.exe", "usual"));
}

#[test]
fn scripts_are_taken_by_their_names() {
    let machine = Machine::new();
    for tool in ["clean.cmd", "clean.ps1"] {
        machine.publish(tool, tool);
        assert!(machine.at(tool, tool).is_file());
        assert_eq!(machine.started(tool), both(tool, tool));
    }
}

#[test]
fn what_has_another_name_is_verified_like_everything() {
    let machine = Machine::new();
    machine.publish("deploy", "plain");
    machine.leave_exe_out("deploy");
    fs::write(machine.at("deploy", "deploy"), "other").unwrap();
    let error = machine.prepare("deploy").unwrap_err();
    assert!(matches!(error, PrepareError::Obtain { .. }), "{error}");

    let by_mallory = machine.repository.publish("other", "1.4.0").platform(WINDOWS);
    by_mallory.content("forged").signed_by(&MALLORY).now();
    machine.leave_exe_out("other");
    let error = machine.prepare("other").unwrap_err();
    assert!(matches!(error, PrepareError::Obtain { .. }), "{error}");

    // What lies beside one name says nothing of the other.
    machine.publish("half", "half");
    fsx::rename(&machine.at("half", "half.exe"), &machine.at("half", "half")).unwrap();
    let error = machine.prepare("half").unwrap_err();
    assert!(matches!(error, PrepareError::NoVersion { .. }), "{error}");
    let store = machine.home().join("tools/sha256");
    let kept = fs::read_dir(&store).map_or(0, Iterator::count);
    assert_eq!(kept, 0, "nothing was kept");
}
