//! What an index that was not renewed stops, and what it does not: new versions, and never what is here.
//! (Trust design, 2.8.)

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::SystemTime;

use dbt_client::auth::Credentials;
use dbt_client::notice::{Listener, Notice};
use dbt_client::prepare::{Eagerness, Outcome, PrepareError, Request, prepare};
use dbt_client::progress::Silent;
use dbt_client::session::Session;
use dbt_client::settings::{Network, Places, Program, SelfUpdate, Server, Settings, Updates};
use dbt_client::source::Connector;
use dbt_client::url::RepositoryUrl;
use dbt_core::clock::Clock;
use dbt_core::platform::Platform;
use dbt_core::trust::TrustRules;
use dbt_testkit::people::just_now;
use dbt_testkit::repository::TestRepository;
use dbt_testkit::signed_index::Index;
use dbt_testkit::times::DAY;
use tempfile::TempDir;

/// A repository whose index is good for thirty days, and a machine at any day.
struct World {
    place: TempDir,
    repository: TestRepository,
    index: Index,
}

/// Keeps what is said.
#[derive(Default)]
struct Heard(Mutex<Vec<String>>);

impl Listener for Heard {
    fn hear(&self, notice: &Notice) {
        if !notice.is_detail() {
            self.0.lock().unwrap().push(notice.to_string());
        }
    }

    fn is_watched(&self) -> bool {
        true
    }
}

impl World {
    fn new() -> Self {
        let place = tempfile::tempdir().unwrap();
        let at = |name: &str| -> PathBuf { place.path().join(name) };
        fs::write(at("started"), "").unwrap();
        fs::create_dir(at("repository")).unwrap();
        let repository = TestRepository::create(&at("repository"), &at("started"));
        repository.trust(&[&dbt_testkit::people::ALICE]);
        repository.publish("deploy", "1.4.0").now();
        let mut index = Index::of(&repository, true);
        index.list(&repository, "1.4.0");
        index.publish(&repository);
        Self { place, repository, index }
    }

    /// Publishes and lists a version, without renewing the timestamp's end.
    fn publish(&mut self, version: &str) {
        self.repository.publish("deploy", version).now();
        self.index.list(&self.repository, version);
        self.index.publish(&self.repository);
    }

    /// Returns the version that a machine with this home runs so many days later, and what is said.
    fn run(&self, home: &str, days: u32) -> (Result<String, PrepareError>, Vec<String>) {
        let home = self.place.path().join(home);
        let settings = self.settings(&home, just_now() + DAY * days);
        let connector = Connector::new(&Network::default(), None, "test");
        let heard = Heard::default();
        let session = Session::open(&settings, connector, &heard, &Silent);
        let request = Request {
            tool: "deploy".parse().unwrap(),
            wanted: None,
            eagerness: Eagerness::AsConfigured,
        };
        let outcome = prepare(&session, &request).map(|outcome| match outcome {
            Outcome::Ready(prepared) => prepared.id.version.to_string(),
            Outcome::Replaced(_) => panic!("it does not replace itself"),
        });
        (outcome, heard.0.into_inner().unwrap())
    }

    fn settings(&self, home: &Path, now: SystemTime) -> Settings {
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
                home: Some(home.to_owned()),
                store: Some(home.join("tools")),
                read_only_stores: Vec::new(),
                temporary: self.place.path().to_owned(),
                links: None,
            },
            offline: false,
            platform: Platform::CURRENT,
            clock: Clock::Fixed(now),
            network: Network::default(),
            sealed: false,
            program: Program {
                version: "4.0.0".parse().unwrap(),
                executable: None,
                restarted: false,
            },
        }
    }
}

#[test]
fn an_index_that_was_not_renewed_stops_new_versions_after_three_days_and_never_what_is_here() {
    let mut world = World::new();
    let (ran, _said) = world.run("home", 0);
    assert_eq!(ran.unwrap(), "1.4.0");
    let (ran, said) = world.run("home", 29);
    assert_eq!((ran.unwrap().as_str(), said), ("1.4.0", vec![]));

    // Its end is the same, and the newer list was taken in while it was good.
    world.publish("1.5.0");
    let (ran, said) = world.run("late", 29);
    assert_eq!((ran.unwrap().as_str(), said.len()), ("1.5.0", 1), "the first use is said");
    let (ran, said) = world.run("late", 32);
    assert_eq!(ran.unwrap(), "1.5.0");
    assert!(said[0].contains("its timestamp ended 2 days ago"), "{said:?}");
    for days in [40, 400] {
        let (ran, said) = world.run("late", days);
        assert_eq!(ran.unwrap(), "1.5.0");
        assert!(said[0].contains("nothing new is installed"), "{said:?}");
        // The other machine has not seen the newer list in time, and goes on with what it has.
        let (ran, said) = world.run("home", days);
        assert_eq!(ran.unwrap(), "1.4.0");
        assert!(said[0].contains("nothing new is installed"), "{said:?}");
    }
}

#[test]
fn a_machine_that_has_adopted_an_index_and_lost_its_copies_installs_nothing_by_an_old_one() {
    let world = World::new();
    world.run("home", 0).0.unwrap();
    let tools = world.place.path().join("home/tools");
    fs::remove_dir_all(&tools).unwrap();
    let (refused, _said) = world.run("home", 40);
    let refused = refused.unwrap_err();
    assert!(matches!(refused, PrepareError::IndexTooOld { .. }), "{refused}");
    assert!(refused.hint().unwrap().contains("publisher trust renew"));
}
