//! The goals of the server, one after another.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant, UNIX_EPOCH};

use dbt_bench::measure::{Basis, Medians, Sample, Turn, interleave, is_static, median};
use dbt_bench::report::{Goal, Row};
use dbt_bench::{Fault, hash};
use dbt_testkit::identity_provider::{IdentityProvider, SigningKey};
use serde_json::{Value, json};
use sha2::Sha256;
use tempfile::TempDir;

use crate::load::{self, CLIENTS, Client, Request};
use crate::servers::Server;

/// Measures a goal.
type Measure = fn(&Bench) -> Result<Vec<Row>, Fault>;

/// Every goal that is measured here.
pub(crate) const ALL: &[(&str, Measure)] = &[
    ("S1", small),
    ("S2", small_with_credentials),
    ("S3", large),
    ("S4", upload),
    ("S5", memory),
    ("S6", latency),
];

const SMALL: &str = "/dbt-tools/small/1.0.0/linux/amd64/small";
const LARGE: &str = "/dbt-tools/large/1.0.0/linux/amd64/large";
const HUGE: &str = "/dbt-tools/huge/1.0.0/linux/amd64/huge";
const MIB: u64 = 1 << 20;
pub(crate) const TOKEN: &str = "a-token-of-somebody";
const AUDIENCE: &str = "https://dbt.example.com";

/// Where everybody may read, and who has the token may write.
fn open() -> Value {
    json!({"authTypePut": "static-token", "authOptsPut": {"staticToken": TOKEN}})
}

/// What every goal works with: a directory with files, and the programs.
pub(crate) struct Bench {
    directory: TempDir,
    reposerver: PathBuf,
    dufs: PathBuf,
    is_quick: bool,
}

impl Bench {
    pub(crate) fn prepare(program: Option<&Path>, is_quick: bool) -> Result<Self, Fault> {
        let this = std::env::current_exe()?;
        let programs = this.parent().ok_or("a program is in a directory")?;
        let reposerver = match program {
            Some(program) => program.to_owned(),
            None => dbt_bench::built(programs, "reposerver")?,
        };
        let directory = tempfile::Builder::new().prefix("s").tempdir()?;
        let dufs = programs.join("../anchors/bin/dufs");
        let bench = Self { directory, reposerver, dufs, is_quick };
        for (path, size) in [(SMALL, 1024), (LARGE, MIB)] {
            fill(&bench.root(), path, size)?;
        }
        Ok(bench)
    }

    /// Says what was measured where.
    pub(crate) fn describe(&self) -> Result<String, Fault> {
        let cores = thread::available_parallelism()?;
        let quick = if self.is_quick { "; --quick, so the numbers mean little" } else { "" };
        let linked = if is_static(&self.reposerver)? { "static" } else { "dynamic" };
        Ok(format!(
            "{} {}, {cores} cores; reposerver is a {linked} build{quick}",
            std::env::consts::OS,
            std::env::consts::ARCH
        ))
    }

    /// The tree that is only read.
    fn root(&self) -> PathBuf {
        self.directory.path().join("root")
    }

    /// Makes a tree of its own for a goal that writes: a tree that has taken writes knows whose state
    /// has the record of them, and takes none beside another.
    fn root_of(&self, goal: &str) -> Result<PathBuf, Fault> {
        let root = self.directory.path().join(format!("root-{goal}"));
        fs::create_dir_all(&root)?;
        Ok(root)
    }

    fn nginx(&self, root: &Path) -> Result<Server, Fault> {
        Server::nginx(&self.directory.path().join("nginx"), root)
    }

    fn ours(&self, name: &str, root: &Path, settings: &Value) -> Result<Server, Fault> {
        Server::ours(&self.reposerver, &self.directory.path().join(name), root, settings)
    }

    fn rounds(&self) -> usize {
        if self.is_quick { 3 } else { 21 }
    }

    fn requests(&self) -> u32 {
        if self.is_quick { 200 } else { 2000 }
    }
}

/// Puts a file with nothing but zeros into a tree, with the checksum and signature without which it
/// would not be served.
fn fill(root: &Path, path: &str, size: u64) -> Result<(), Fault> {
    let file = root.join(path.trim_start_matches('/'));
    fs::create_dir_all(file.with_file_name(""))?;
    fs::File::create(&file)?.set_len(size)?;
    let beside = |ending: &str| PathBuf::from(format!("{}.{ending}", file.display()));
    fs::write(beside("sha256"), hash::file::<Sha256>(&file)?)?;
    // Only that it is there matters to a server that is not told to look at signatures.
    Ok(fs::write(beside("asc"), "a signature")?)
}

/// Compares what two servers' processors do for the same requests.
fn cpu(turns: Vec<Turn<'_>>, rounds: usize) -> Result<Medians, Fault> {
    let mut turns = turns;
    let taken = interleave(&mut turns, rounds)?;
    let seconds = taken.iter().map(|samples| median(samples, |sample| sample.cpu)).collect();
    Ok(Medians { seconds, basis: Basis::Cpu })
}

fn asking(server: &Server, request: Request, each: u32) -> Turn<'_> {
    Box::new(move || load::closed(server, &request, CLIENTS, each))
}

fn small(bench: &Bench) -> Result<Vec<Row>, Fault> {
    let (ours, nginx) = (bench.ours("S1", &bench.root(), &open())?, bench.nginx(&bench.root())?);
    let request = Request::get(SMALL, "");
    let each = bench.requests();
    let who = vec![asking(&ours, request.clone(), each), asking(&nginx, request, each)];
    let medians = cpu(who, bench.rounds())?;
    let row = Row::begin("S1", "GET 1 KiB, no credential", "nginx").goal(Goal::at_most(2.4, 1.2));
    Ok(vec![row.ratio(medians.of(0) / medians.of(1), &medians)])
}

fn small_with_credentials(bench: &Bench) -> Result<Vec<Row>, Fault> {
    let key = SigningKey::p256("key");
    let idp = IdentityProvider::start(&[&key]);
    let now = UNIX_EPOCH.elapsed()?.as_secs();
    let claims = json!({
        "iss": idp.url(), "sub": "ci", "aud": AUDIENCE, "iat": now, "exp": now + 3000,
    });
    let token = bench.ours(
        "S2-token",
        &bench.root(),
        &json!({"authGets": true, "authTypeGet": "static-token",
            "authOptsGet": {"staticToken": TOKEN}}),
    )?;
    let jwt = bench.ours(
        "S2-jwt",
        &bench.root(),
        &json!({"authGets": true, "authTypeGet": "oidc",
            "authOptsGet": {"oidc": {"issuerUrl": idp.url(), "audiences": [AUDIENCE]}}}),
    )?;
    let nginx = bench.nginx(&bench.root())?;
    let bearer = |secret: &str| Request::get(SMALL, &format!("Authorization: Bearer {secret}\r\n"));
    let each = bench.requests();
    let who = vec![
        asking(&token, bearer(TOKEN), each),
        asking(&jwt, bearer(&key.token(&claims)), each),
        asking(&nginx, Request::get(SMALL, ""), each),
    ];
    let medians = cpu(who, bench.rounds())?;
    let row = |subject: &str, who, goal| {
        let row = Row::begin("S2", subject, "nginx without credentials").goal(goal);
        row.ratio(medians.of(who) / medians.of(2), &medians)
    };
    Ok(vec![
        row("GET 1 KiB with a static token", 0, Goal::at_most(3.0, 1.5)),
        row("GET 1 KiB with a JWT seen before", 1, Goal::at_most(4.0, 2.0)),
    ])
}

fn large(bench: &Bench) -> Result<Vec<Row>, Fault> {
    let (ours, nginx) = (bench.ours("S3", &bench.root(), &open())?, bench.nginx(&bench.root())?);
    let request = Request::get(LARGE, "");
    let each = bench.requests() / 50;
    let who = vec![asking(&ours, request.clone(), each), asking(&nginx, request, each)];
    let medians = cpu(who, bench.rounds())?;
    let row = Row::begin("S3", "GET 1 MiB, per byte", "nginx").goal(Goal::at_most(2.5, 1.3));
    Ok(vec![row.ratio(medians.of(0) / medians.of(1), &medians)])
}

/// Has one client upload so much to a place where nothing is yet, and takes it away again. It is no
/// file of a version, which would wait for its checksum and signature before it is in the tree.
fn uploading(server: &Server, bytes: u64) -> Turn<'_> {
    let mut turn = 0;
    Box::new(move || {
        turn += 1;
        let path = format!("/dbt/up-{}-{turn}", server.address.port());
        let mut client = Client::connect(server)?;
        let (used, began) = (server.used()?, Instant::now());
        client.put(&path, bytes)?;
        let taken = Sample { wall: began.elapsed(), cpu: server.used_since(used)? };
        let file = server.root.join(path.trim_start_matches('/'));
        if file.metadata()?.len() != bytes {
            return Err(format!("`{}` is not what was sent", file.display()).into());
        }
        fs::remove_file(file)?;
        Ok(taken)
    })
}

fn upload(bench: &Bench) -> Result<Vec<Row>, Fault> {
    let bytes = if bench.is_quick { 16 * MIB } else { 256 * MIB };
    let root = bench.root_of("S4")?;
    let (ours, nginx) = (bench.ours("S4", &root, &open())?, bench.nginx(&root)?);
    let place = bench.directory.path().join("dufs");
    let dufs = Server::dufs(&bench.dufs, &place, &root)?;
    let mut who = vec![uploading(&ours, bytes), uploading(&nginx, bytes)];
    who.extend(dufs.iter().map(|dufs| uploading(dufs, bytes)));
    let taken = interleave(&mut who, if bench.is_quick { 2 } else { 9 })?;
    let medians = |of: fn(&Sample) -> Duration, basis| Medians {
        seconds: taken.iter().map(|samples| median(samples, of)).collect(),
        basis,
    };
    let spent = medians(|sample| sample.cpu, Basis::Cpu);
    let row = Row::begin("S4", "PUT 256 MiB, hashed and durable", "nginx, which does neither");
    let row = row.goal(Goal::at_most(6.0, 4.0)).ratio(spent.of(0) / spent.of(1), &spent);
    let clock = medians(|sample| sample.wall, Basis::Wall);
    let beside = Row::begin("S4", "the same, by the clock", "dufs, which does neither");
    let beside = beside.goal(Goal::at_most(1.0, 1.0).without_stretch());
    let beside = if dufs.is_some() {
        beside.ratio(clock.of(0) / clock.of(2), &clock)
    } else {
        beside.not_measured("dufs is not installed: scripts/install-bench")
    };
    Ok(vec![row, beside])
}

fn memory(bench: &Bench) -> Result<Vec<Row>, Fault> {
    let bytes = if bench.is_quick { 64 * MIB } else { 1024 * MIB };
    let root = bench.root_of("S5")?;
    fill(&root, HUGE, bytes)?;
    let ours = bench.ours("S5", &root, &open())?;
    let (request, is_over) = (Request::get(HUGE, ""), AtomicBool::new(false));
    let clients = |count: usize| {
        (0..count).map(|_| Client::connect(&ours)).collect::<Result<Vec<_>, Fault>>()
    };
    let (readers, writers) = (clients(32)?, clients(4)?);
    let (read, written) = thread::scope(|scope| {
        let reading = scope.spawn(|| {
            let read = load::in_threads(readers, |_number, client| {
                while !is_over.load(Ordering::Relaxed) {
                    client.get(&request)?;
                }
                Ok(())
            });
            read.map_err(|fault| fault.to_string())
        });
        let written = load::in_threads(writers, |number, client| {
            client.put(&format!("/dbt/huge-{number}"), bytes)
        });
        is_over.store(true, Ordering::Relaxed);
        (reading.join(), written)
    });
    written?;
    read.map_err(|_panic| "a reader panicked")??;
    let peak = u32::try_from(ours.peak_memory()?)?;
    let row = Row::begin("S5", "peak memory, 32 readers and 4 uploads of 1 GiB", "");
    let goal = Goal::at_most(64.0, 30.0).in_unit(" MiB");
    Ok(vec![row.goal(goal).count(f64::from(peak) / 1024.0)])
}

fn latency(bench: &Bench) -> Result<Vec<Row>, Fault> {
    let (ours, nginx) = (bench.ours("S6", &bench.root(), &open())?, bench.nginx(&bench.root())?);
    let (request, each) = (Request::get(SMALL, ""), bench.requests());
    let full = load::closed(&ours, &request, CLIENTS, each)?;
    let rate = f64::from(CLIENTS * each) / full.wall.as_secs_f64() / 2.0;
    let turn = |server| -> Turn<'_> {
        let request = &request;
        Box::new(move || {
            let wall = Duration::from_secs_f64(load::paced(server, request, rate, each)?);
            Ok(Sample { wall, cpu: wall })
        })
    };
    // One slice of another thread on its processor is more than an answer takes, so that rounds differ
    // by far more than the servers.
    let taken = interleave(&mut [turn(&ours), turn(&nginx)], 3 * bench.rounds())?;
    let seconds = taken.iter().map(|samples| median(samples, |sample| sample.wall)).collect();
    let medians = Medians { seconds, basis: Basis::Wall };
    let row = Row::begin("S6", "99th of 100 answers of 1 KiB, at half of what it can", "nginx");
    let row = row.goal(Goal::at_most(2.0, 1.2));
    Ok(vec![row.ratio(medians.of(0) / medians.of(1), &medians)])
}
