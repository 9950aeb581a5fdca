//! A publisher, somebody who can write to the repository and has no key, and a client that runs
//! tools, in any order (trust design, 2.7, the table of attacks).
//!
//! The model knows who signed which bytes and what the client has seen. Whatever the client would
//! start was signed for this place by somebody it trusted at that moment, and under `strict` it is
//! nothing older than what it knew. `PROPTEST_CASES` tries more.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::Duration;

use dbt_client::auth::Credentials;
use dbt_client::notice::{Listener, Notice};
use dbt_client::prepare::{Eagerness, Outcome, Prepared, Request, prepare};
use dbt_client::progress::Silent;
use dbt_client::session::Session;
use dbt_client::settings::{Network, Places, Program, SelfUpdate, Server, Settings, Updates};
use dbt_client::source::Connector;
use dbt_client::url::RepositoryUrl;
use dbt_core::clock::Clock;
use dbt_core::digest::Digest;
use dbt_core::platform::Platform;
use dbt_core::trust::TrustRules;
use dbt_core::version::{Version, Wanted};
use dbt_testkit::people::{ALICE, BOB, CAROL, MALLORY, Person, just_now};
use dbt_testkit::repository::{TestRepository, artifact};
use proptest::prelude::*;

/// Everybody, by number.
static PEOPLE: [&Person; 4] = [&ALICE, &BOB, &CAROL, &MALLORY];
const ALICES: usize = 0;
const BOBS: usize = 1;
const CAROLS: usize = 2;
const MALLORYS: usize = 3;

const TOOLS: [&str; 2] = ["deploy", "other"];

/// A tool, by number, and a version `1.N.0`.
type Place = (usize, u8);

#[derive(Debug, Clone)]
enum Step {
    /// Somebody of the organisation publishes.
    Publish {
        at: Place,
        by: usize,
        bound: bool,
    },
    /// Alice withdraws a version.
    Withdraw {
        version: u8,
    },
    /// Carol's key was stolen.
    Revoke,
    /// Bob comes, and Alice stands behind him.
    Vouch,
    /// Other bytes: signed by Mallory, or beside the signature of what was there.
    Plant {
        at: Place,
        signed: bool,
    },
    /// What was signed for one place is put at another.
    Relabel {
        from: Place,
        to: Place,
    },
    /// The signature, or the whole version, is taken away.
    Unsign {
        at: Place,
    },
    Remove {
        at: Place,
    },
    /// Mallory's key beside the others, or in their place; the first truststore again; a page.
    AddKey,
    ReplaceKeys,
    FirstTruststore,
    Page,
    /// Somebody runs a tool.
    Run {
        tool: usize,
        wanted: Option<u8>,
        offline: bool,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let place = || (0..TOOLS.len(), 0_u8..4);
    prop_oneof![
        4 => (place(), 0..3_usize, prop::bool::weighted(0.8))
            .prop_map(|(at, by, bound)| Step::Publish { at, by, bound }),
        1 => (0_u8..4).prop_map(|version| Step::Withdraw { version }),
        1 => Just(Step::Revoke),
        1 => Just(Step::Vouch),
        2 => (place(), any::<bool>()).prop_map(|(at, signed)| Step::Plant { at, signed }),
        2 => (place(), place()).prop_map(|(from, to)| Step::Relabel { from, to }),
        1 => place().prop_map(|at| Step::Unsign { at }),
        1 => place().prop_map(|at| Step::Remove { at }),
        1 => Just(Step::AddKey),
        1 => Just(Step::ReplaceKeys),
        1 => Just(Step::FirstTruststore),
        1 => Just(Step::Page),
        8 => (0..TOOLS.len(), prop::option::weighted(0.3, 0_u8..4), prop::bool::weighted(0.2))
            .prop_map(|(tool, wanted, offline)| Step::Run { tool, wanted, offline }),
    ]
}

/// Some bytes that somebody signed.
#[derive(Debug)]
struct Signed {
    digest: Digest,
    by: usize,
    binding: Option<String>,
}

/// How somebody's certificate stands in the truststore.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Form {
    Plain,
    Vouched,
    Revoked,
}

struct World {
    _directory: tempfile::TempDir,
    repository: TestRepository,
    home: PathBuf,
    strict: bool,
    runs: u32,
    /// How many of them started something.
    started: u32,
    /// What was signed, ever, by anybody.
    signed: Vec<Signed>,
    made: u32,
    serial: u64,
    /// The truststore as it lies there; nothing when it is a page.
    served: Option<BTreeMap<usize, Form>>,
    /// The truststore as its owner has it.
    owned: BTreeMap<usize, Form>,
    /// Only whole, new, bound versions were published so far, and nobody attacked.
    peaceful: bool,
    published: BTreeSet<Place>,
    client: Client,
}

/// What the client must have learnt.
#[derive(Default)]
struct Client {
    /// Whom it met first.
    established: Option<BTreeSet<usize>>,
    /// Who of those was in every truststore that it has accepted since.
    counting: BTreeSet<usize>,
    /// Everybody who was in a truststore that it has accepted.
    known: BTreeSet<usize>,
    vouched: BTreeSet<usize>,
    /// Whose revocation it has seen: anybody's in a truststore that it has accepted, and in one
    /// that it has refused that of those whom it knew, since a stranger's must not fill its disk.
    revoked: BTreeSet<usize>,
    /// It has accepted the truststore that was served in its last run.
    confirmed: bool,
    newest: BTreeMap<usize, u8>,
    bytes: BTreeMap<Place, Digest>,
    withdrawn: BTreeSet<u8>,
    bound: BTreeSet<usize>,
}

struct Deaf;

impl Listener for Deaf {
    fn hear(&self, _notice: &Notice) {}
    fn is_watched(&self) -> bool {
        false
    }
}

fn spelt(version: u8) -> String {
    format!("1.{version}.0")
}

fn binding((tool, version): Place) -> String {
    format!("tool/{}/{}/{}", TOOLS[tool], spelt(version), Platform::CURRENT)
}

impl World {
    fn new(strict: bool) -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let started = directory.path().join("started");
        let repository = TestRepository::create(&directory.path().join("server"), &started);
        let owned = BTreeMap::from([(ALICES, Form::Plain), (CAROLS, Form::Plain)]);
        let mut world = Self {
            home: directory.path().join("home"),
            _directory: directory,
            repository,
            strict,
            runs: 0,
            started: 0,
            signed: Vec::new(),
            made: 0,
            serial: 0,
            served: None,
            owned: owned.clone(),
            peaceful: true,
            published: BTreeSet::new(),
            client: Client::default(),
        };
        world.serve(owned);
        world
    }

    fn take(&mut self, step: &Step) {
        match *step {
            Step::Publish { at, by, bound } => self.publish(at, by, bound),
            Step::Withdraw { version } => {
                self.serial += 1;
                self.repository.withdraw(TOOLS[0], self.serial, &[&spelt(version)], &ALICE);
                self.peaceful = false;
            }
            Step::Revoke => self.own(CAROLS, Form::Revoked),
            Step::Vouch => self.own(BOBS, Form::Vouched),
            Step::Run { tool, wanted, offline } => self.run(tool, wanted, offline),
            Step::Plant { .. }
            | Step::Relabel { .. }
            | Step::Unsign { .. }
            | Step::Remove { .. }
            | Step::AddKey
            | Step::ReplaceKeys
            | Step::FirstTruststore
            | Step::Page => {
                self.peaceful = false;
                self.attack(step);
            }
        }
    }

    fn own(&mut self, who: usize, form: Form) {
        self.peaceful = false;
        self.owned.insert(who, form);
        self.serve(self.owned.clone());
    }

    fn publish(&mut self, at: Place, by: usize, bound: bool) {
        let digest = self.write(at, by, bound);
        let binding = bound.then(|| binding(at));
        self.signed.push(Signed { digest, by, binding });
        self.peaceful &= bound && by != BOBS && self.published.insert(at);
    }

    /// Writes new bytes with somebody's signature to a place.
    fn write(&mut self, (tool, version): Place, by: usize, bound: bool) -> Digest {
        self.made += 1;
        let content = format!("#!/bin/sh\n# {}\n", self.made).into_bytes();
        let digest = Digest::of(&content);
        let publication = self.repository.publish(TOOLS[tool], &spelt(version));
        let publication = publication.content(content).signed_by(PEOPLE[by]).at(just_now());
        let publication = if bound { publication } else { publication.unbound() };
        publication.now();
        digest
    }

    fn attack(&mut self, step: &Step) {
        let path = |(tool, version): Place| artifact(TOOLS[tool], &spelt(version));
        let exists = |place: Place| self.repository.file(&path(place)).exists();
        match *step {
            Step::Plant { at, signed: true } => {
                let digest = self.write(at, MALLORYS, true);
                self.signed.push(Signed { digest, by: MALLORYS, binding: Some(binding(at)) });
            }
            Step::Plant { at, signed: false } if exists(at) => {
                let content = format!("#!/bin/sh\n# nobody signed {}\n", self.made).into_bytes();
                self.made += 1;
                self.repository.write(&path(at), &content);
                let checksum = Digest::of(&content).to_string();
                self.repository.write(&format!("{}.sha256", path(at)), checksum.as_bytes());
            }
            Step::Relabel { from, to } if exists(from) => {
                for ending in ["", ".asc", ".sha256"] {
                    let file = format!("{}{ending}", path(from));
                    if self.repository.file(&file).exists() {
                        let bytes = self.repository.read(&file);
                        self.repository.write(&format!("{}{ending}", path(to)), &bytes);
                    }
                }
            }
            Step::Unsign { at } => {
                let file = format!("{}.asc", path(at));
                if self.repository.file(&file).exists() {
                    self.repository.delete(&file);
                }
            }
            Step::Remove { at } if exists(at) => {
                self.repository.remove(TOOLS[at.0], &spelt(at.1));
            }
            Step::AddKey => {
                let mut served = self.served.clone().unwrap_or_else(|| self.owned.clone());
                served.insert(MALLORYS, Form::Plain);
                self.serve(served);
            }
            Step::ReplaceKeys => self.serve(BTreeMap::from([(MALLORYS, Form::Plain)])),
            Step::FirstTruststore => {
                self.serve(BTreeMap::from([(ALICES, Form::Plain), (CAROLS, Form::Plain)]));
            }
            Step::Page => {
                self.repository.write("/dbt/truststore", b"<html>sign in to the hotel</html>");
                self.served = None;
            }
            // What is not there cannot be harmed.
            Step::Plant { .. } | Step::Relabel { .. } | Step::Remove { .. } => {}
            Step::Publish { .. }
            | Step::Withdraw { .. }
            | Step::Revoke
            | Step::Vouch
            | Step::Run { .. } => unreachable!("no attack"),
        }
    }

    fn serve(&mut self, people: BTreeMap<usize, Form>) {
        let certificates = people.iter().map(|(who, form)| match form {
            Form::Plain => PEOPLE[*who].certificate(),
            Form::Vouched => PEOPLE[*who].certified_by(&ALICE),
            Form::Revoked => PEOPLE[*who].revoked(),
        });
        self.repository.truststore(&certificates.collect::<Vec<_>>());
        self.served = Some(people);
    }

    fn run(&mut self, tool: usize, wanted: Option<u8>, offline: bool) {
        self.runs += 1;
        let settings = self.settings(offline);
        let connector = Connector::new(&Network::default(), None, "dbt/4.0.0");
        let session = Session::open(&settings, connector, &Deaf, &Silent);
        let request = Request {
            tool: TOOLS[tool].parse().unwrap(),
            wanted: wanted.map(|version| Wanted::Exactly(spelt(version).parse().unwrap())),
            eagerness: Eagerness::Now,
        };
        let outcome = prepare(&session, &request);
        let met = !session.state.server().unwrap().trust.is_first_contact();
        self.client.confirmed = false;
        if !offline && met {
            self.learn();
        }
        match outcome {
            Ok(Outcome::Ready(prepared)) => self.started(tool, wanted, offline, &prepared),
            Ok(Outcome::Replaced(_)) => panic!("nobody updates dbt here"),
            Err(error) => {
                let published = self.published.iter().any(|(other, _version)| *other == tool);
                let peace = self.peaceful && !offline && wanted.is_none() && published;
                assert!(!peace, "{error:?}");
            }
        }
    }

    /// Takes note of what the client was shown in this run.
    fn learn(&mut self) {
        let Some(served) = &self.served else { return };
        let client = &mut self.client;
        let with = |wanted: Form| {
            served.iter().filter(move |(_who, form)| **form == wanted).map(|(who, _form)| *who)
        };
        let is_first = client.established.is_none();
        if is_first {
            client.counting = served.keys().copied().collect();
            client.established = Some(client.counting.clone());
        }
        let revoked: Vec<usize> =
            with(Form::Revoked).filter(|who| is_first || client.known.contains(who)).collect();
        client.revoked.extend(revoked);
        let mut counting = client.counting.difference(&client.revoked);
        client.confirmed = is_first || counting.any(|who| served.contains_key(who));
        if client.confirmed {
            client.counting.retain(|who| served.contains_key(who));
            client.known.extend(served.keys());
            client.vouched.extend(with(Form::Vouched));
            client.revoked.extend(with(Form::Revoked));
        }
    }

    /// Checks what the client would start now.
    fn started(&mut self, tool: usize, wanted: Option<u8>, offline: bool, prepared: &Prepared) {
        self.started += 1;
        let Prepared { installed, id, endorsement, fresh, unconfirmed } = prepared;
        let version = (0..4).find(|version| spelt(*version) == id.version.spelling()).unwrap();
        let place = (tool, version);
        assert_eq!(id.binding(), binding(place));
        assert!(wanted.is_none_or(|wanted| wanted == version), "{id} was not asked for");
        let path = installed.path().unwrap();
        let digest = Digest::of(&fs::read(path).unwrap());
        assert_eq!(digest, installed.digest(), "{}", path.display());
        self.was_signed(place, digest, prepared);

        let asked = !offline && unconfirmed.is_none();
        // Also a run that ends with a copy may have read the list.
        let perhaps_read = if offline { Vec::new() } else { self.withdrawn_now() };
        if tool == 0 && asked {
            self.learn_withdrawn();
        }
        let client = &mut self.client;
        assert!(!(offline && *fresh), "nothing new comes from nowhere");
        if *fresh && client.bound.contains(&tool) {
            assert!(endorsement.bound, "{id}: a signature that names nothing, after one that did");
        }
        let withdrawn = tool == 0 && client.withdrawn.contains(&version);
        assert!(!withdrawn, "{id} was withdrawn");
        if self.strict {
            let known = client.bytes.get(&place);
            assert!(known.is_none_or(|known| *known == digest), "{id} has other bytes");
            let newest = client.newest.get(&tool).copied().unwrap_or(0);
            let named = client.withdrawn.contains(&newest) || perhaps_read.contains(&newest);
            let left = tool == 0 && named;
            assert!(wanted.is_some() || left || version >= newest, "{id} after 1.{newest}.0");
        }
        client.bytes.insert(place, digest);
        if endorsement.bound {
            client.bound.insert(tool);
        }
        if wanted.is_none() && asked {
            let newest = client.newest.entry(tool).or_insert(version);
            *newest = version.max(*newest);
        }
        if self.peaceful && wanted.is_none() && !offline {
            let newest = self.published.iter().filter(|(other, _)| *other == tool).max();
            assert_eq!(newest, Some(&place), "the newest runs in peace");
        }
    }

    /// Somebody whom the client trusted signed these bytes for this place, or for none.
    fn was_signed(&self, place: Place, digest: Digest, prepared: &Prepared) {
        let client = &self.client;
        let mut allowed = client.known.clone();
        if self.strict {
            let established = client.established.clone().unwrap_or_default();
            let by_alice = established.contains(&ALICES).then_some(&client.vouched);
            let known: BTreeSet<usize> =
                established.iter().chain(by_alice.into_iter().flatten()).copied().collect();
            allowed = known;
        }
        if prepared.fresh {
            assert!(client.confirmed, "{} is new, under a truststore it refused", prepared.id);
            let served = self.served.clone().unwrap_or_default();
            allowed.retain(|who| served.contains_key(who));
        }
        allowed.retain(|who| !client.revoked.contains(who));
        let counts = |signed: &&Signed| {
            signed.digest == digest
                && allowed.contains(&signed.by)
                && signed.binding.as_ref().is_none_or(|it| *it == binding(place))
                && PEOPLE[signed.by].fingerprint() == prepared.endorsement.signer
        };
        assert!(
            self.signed.iter().any(|signed| counts(&signed)),
            "{} was signed by none of {allowed:?}: {:?}",
            prepared.id,
            prepared.endorsement
        );
    }

    /// Takes note of what is withdrawn, once the client must know it.
    fn learn_withdrawn(&mut self) {
        let now = self.withdrawn_now();
        self.client.withdrawn.extend(now);
    }

    /// Returns what is withdrawn by a list that the client would believe.
    fn withdrawn_now(&self) -> Vec<u8> {
        let file = self.repository.file("/dbt-tools/deploy/withdrawn.json");
        let Ok(bytes) = fs::read(file) else { return Vec::new() };
        if !self.client.counting.contains(&ALICES) {
            return Vec::new();
        }
        let text = String::from_utf8(bytes).unwrap();
        (0..4).filter(|version| text.contains(&format!("\"{}\"", spelt(*version)))).collect()
    }

    fn settings(&self, offline: bool) -> Settings {
        let url = |path: &str| RepositoryUrl::of_directory(&self.repository.file(path)).unwrap();
        let now = just_now() + Duration::from_mins(20) * self.runs;
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
                strict: self.strict,
                ca_file: None,
                updates: Updates::Always,
                self_update: SelfUpdate::Off,
                time_scale: 1.0,
                pins: BTreeMap::new(),
            },
            home_server: None,
            places: Places {
                read_only_home: None,
                home: Some(self.home.clone()),
                store: Some(self.home.join("tools")),
                read_only_stores: Vec::new(),
                temporary: self.home.clone(),
                links: None,
            },
            offline,
            platform: Platform::CURRENT,
            clock: Clock::Fixed(now),
            network: Network::default(),
            sealed: false,
            program: Program {
                version: "4.0.0".parse::<Version>().unwrap(),
                executable: None,
                restarted: false,
            },
        }
    }
}

/// A second's worth of cases unless more are asked for.
fn cases() -> ProptestConfig {
    let asked = ProptestConfig::default();
    let cases = if asked.cases == 256 { 40 } else { asked.cases };
    ProptestConfig { cases, failure_persistence: None, max_shrink_iters: 2000, ..asked }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn the_client_starts_nothing_that_nobody_it_trusts_has_signed(
        strict: bool,
        steps in prop::collection::vec(step(), 1..40),
    ) {
        let mut world = World::new(strict);
        for step in &steps {
            world.take(step);
        }
    }
}

/// A model in which nothing is ever started holds whatever the client does.
#[test]
fn the_model_starts_tools_and_sees_what_is_refused() {
    let run = |wanted| Step::Run { tool: 0, wanted, offline: false };
    let publish = |version| Step::Publish { at: (0, version), by: ALICES, bound: true };
    let plant = |version, signed| Step::Plant { at: (0, version), signed };
    for (strict, steps, started) in [
        (true, vec![publish(0), run(None), publish(1), run(None)], 2),
        (false, vec![publish(0), run(None), Step::Remove { at: (0, 0) }, publish(1), run(None)], 2),
        // A newcomer's key verifies tools, but not under `strict`.
        (false, vec![publish(0), run(None), Step::AddKey, plant(1, true), run(None)], 2),
        (true, vec![publish(0), run(None), Step::AddKey, plant(1, true), run(None)], 1),
        (false, vec![publish(0), run(None), Step::ReplaceKeys, plant(1, true), run(Some(1))], 1),
        // Nobody's bytes, in the place of somebody's.
        (false, vec![publish(0), plant(0, false), run(None)], 0),
        // What was signed for another version, or withdrawn.
        (false, vec![publish(0), Step::Relabel { from: (0, 0), to: (0, 1) }, run(Some(1))], 0),
        (
            false,
            vec![publish(0), publish(1), Step::Withdraw { version: 1 }, run(None), run(Some(1))],
            1,
        ),
        // Older than what was known.
        (true, vec![publish(0), publish(1), run(None), Step::Remove { at: (0, 1) }, run(None)], 1),
        // Stolen keys.
        (
            false,
            vec![
                Step::Publish { at: (0, 0), by: CAROLS, bound: true },
                run(None),
                Step::Revoke,
                Step::FirstTruststore,
                run(None),
            ],
            2,
        ),
        (
            false,
            vec![
                Step::Publish { at: (0, 0), by: CAROLS, bound: true },
                run(None),
                Step::Revoke,
                run(None),
                Step::FirstTruststore,
                run(None),
            ],
            1,
        ),
        // What is revoked in a truststore that is refused is remembered of those that count here,
        // and not of strangers.
        (
            false,
            vec![
                Step::ReplaceKeys,
                run(None),
                Step::Revoke,
                run(None),
                Step::FirstTruststore,
                Step::AddKey,
                Step::Publish { at: (0, 0), by: CAROLS, bound: true },
                run(None),
            ],
            1,
        ),
    ] {
        let mut world = World::new(strict);
        for step in &steps {
            world.take(step);
        }
        assert_eq!(world.started, started, "strict: {strict}, {steps:?}");
    }
}
