//! promtool: what real servers in trouble tell of themselves makes the alert about it fire, and no
//! other, so that the rules and the names that the server counts by cannot part.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::UNIX_EPOCH;

use dbt_core::clock::Clock;
use dbt_testkit::identity_provider::{IdentityProvider, SigningKey};
use dbt_testkit::invocation::mounts_work;
use dbt_testkit::tls::Authority;
use serde_json::{Value, json};

use crate::world::{AUTHORIZED, Place, Server, WRITABLE};

const METRICS: &str = r#""listen": {"metrics": "127.0.0.1:0"}"#;

/// What happens between two looks goes on like that for as long as any alert waits: so many seconds
/// for each time, so often.
const INTERVAL: u32 = 15;
const TIMES: u32 = 8 * 60;

const CERTIFICATE: &str = "reposerver_tls_certificate_expiry_timestamp_seconds";

/// A server in some trouble, and which alerts are to fire.
struct Case {
    name: &'static str,
    server: Server,
    /// What goes on all the time.
    goes_on: Box<dyn Fn(&Server)>,
    alerts: &'static [&'static str],
}

/// What a server tells, by series.
fn told(server: &Server) -> (BTreeMap<String, f64>, BTreeMap<String, String>) {
    let text = server.get_beside("/-/metrics").text();
    let (mut values, mut kinds) = (BTreeMap::new(), BTreeMap::new());
    for line in text.lines() {
        if let Some(about) = line.strip_prefix("# TYPE ") {
            let (name, kind) = about.split_once(' ').unwrap();
            kinds.insert(name.to_owned(), kind.to_owned());
        } else if !line.starts_with('#') {
            let (series, value) = line.rsplit_once(' ').unwrap();
            values.insert(series.to_owned(), value.parse().unwrap());
        }
    }
    (values, kinds)
}

/// Returns what Prometheus would have gathered if what goes on did so for ever.
fn series(case: &Case) -> Vec<Value> {
    let (before, _kinds) = told(&case.server);
    (case.goes_on)(&case.server);
    let (after, kinds) = told(&case.server);
    let own = format!(r#"job="reposerver", instance="{}""#, case.name);
    let mut all = vec![json!({"series": format!("up{{{own}}}"), "values": format!("1x{TIMES}")})];
    for (series, value) in &after {
        // How full and how slow the disk of this machine is, is nobody's business.
        let is_of_the_machine = series.starts_with("reposerver_storage_op_")
            || (series.starts_with("reposerver_disk_") && case.name != "full");
        if is_of_the_machine {
            continue;
        }
        let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
        let comma = if labels == "}" { "" } else { ", " };
        let values = match kinds.get(name).map(String::as_str) {
            // The clock of promtool begins in 1970.
            Some("gauge") if name == CERTIFICATE => format!("{}x{TIMES}", value - now()),
            Some("gauge") => format!("{value}x{TIMES}"),
            _counted => {
                let more = value - before.get(series).unwrap_or(&0.0);
                format!("{value}+{more}x{TIMES}")
            }
        };
        all.push(json!({"series": format!("{name}{{{own}{comma}{labels}"), "values": values}));
    }
    all
}

fn now() -> f64 {
    Clock::System.now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64()
}

fn with(more: &str) -> Server {
    Server::with(&format!("{WRITABLE}, {METRICS}{more}"))
}

fn with_a_full_disk() -> Server {
    let members = format!("{WRITABLE}, {METRICS}");
    let server = Server::on(Place::new().on_a_disk_of("size=2m"), &members);
    let mut size = 1 << 20;
    for number in 0..200 {
        if server.put(&format!("/dbt/file-{number}"), &vec![1; size]).status == 507 {
            size /= 2;
        }
        if size < 4096 {
            break;
        }
    }
    let full = r#"reposerver_writes_refused{reason="disk-full"}"#;
    server.eventually("full", |server| server.metric(full).as_deref() == Some("1"));
    server
}

fn without_its_state() -> Server {
    let members = format!("{WRITABLE}, {METRICS}");
    let server = Server::on(Place::new(), &members);
    assert_eq!(server.put("/dbt/latest", b"1.0.0").status, 201);
    let place = server.stop();
    fs::remove_dir_all(place.state()).unwrap();
    Server::on(place, &members)
}

fn with_bad_settings() -> Server {
    let server = with("");
    server.configure(&format!(r#"{WRITABLE}, {METRICS}, "limits": {{"maxListing": -1}}"#));
    assert!(!server.try_command_beside(&["reload"]).status.success());
    server
}

fn with_a_certificate_until(day: &str) -> Server {
    let day = Command::new("date").args(["-u", "-d", day, "+%Y %m %d"]).output().unwrap();
    let day = String::from_utf8(day.stdout).unwrap();
    let day: Vec<i32> = day.split_whitespace().map(|number| number.parse().unwrap()).collect();
    let [year, month, day] = day[..] else { panic!("{day:?}") };
    let [month, day] = [month, day].map(|it| u8::try_from(it).unwrap());
    let place = Place::new();
    let (certificate, key) =
        Authority::new("ours").server_files_until("localhost", year, month, day);
    place.put_beside("cert.pem", certificate.as_bytes());
    place.put_beside("key.pem", key.as_bytes());
    let tls = r#""tls": {"certFile": "cert.pem", "keyFile": "key.pem"}"#;
    Server::on(place, &format!(r#"{WRITABLE}, "listen": {{{tls}, "metrics": "127.0.0.1:0"}}"#))
}

/// One whose identity provider answers nobody, and a token of that.
fn with_a_provider_that_is_away() -> (Server, IdentityProvider, String) {
    let key = SigningKey::p256("key");
    let idp = IdentityProvider::start(&[&key]);
    let (url, now) = (idp.url(), now().round());
    idp.be_away(true);
    let server = Server::with(&format!(
        r#""authTypePut": "oidc", {METRICS},
        "authOptsPut": {{"oidc": {{"issuerUrl": "{url}", "audiences": ["a"]}}}}"#
    ));
    let claims = json!({"iss": url, "aud": "a", "sub": "alice", "iat": now, "exp": now + 300.0});
    (server, idp, key.token(&claims))
}

/// Uploads, and goes away in the midst of it.
fn cut(server: &Server) {
    let count = || server.metric(r#"reposerver_uploads_aborted_total{reason="cut"}"#);
    let before = count();
    let mut stream = server.connect();
    let head =
        format!("PUT /dbt/x HTTP/1.1\r\nHost: t\r\n{AUTHORIZED}\r\nContent-Length: 9\r\n\r\nx");
    stream.write_all(head.as_bytes()).unwrap();
    server.eventually("begun", |server| server.unfinished().len() == 1);
    drop(stream);
    server.eventually("counted", |_server| count() != before);
}

fn shows(server: &Server, token: &str) {
    for _ in 0..5 {
        let line = format!("Authorization: Bearer {token}");
        assert_eq!(server.send("PUT", "/dbt/x", &[&line], b"x").status, 401);
    }
}

fn reads(server: &Server, times: u32) {
    for _ in 0..times {
        server.get("/dbt/");
    }
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let mut add = |name, server, goes_on: Box<dyn Fn(&Server)>, alerts| {
        cases.push(Case { name, server, goes_on, alerts });
    };
    let quiet = || Box::new(|_server: &Server| {});
    add("well", with(""), Box::new(|server| reads(server, 10)), &[][..]);
    add("lost", without_its_state(), quiet(), &["ReposerverStateLost"]);
    add("old", with_bad_settings(), quiet(), &["ReposerverSettingsRefused"]);
    let ends = with_a_certificate_until("10 days");
    add("ends", ends, quiet(), &["ReposerverCertificateEnds"]);
    let ends = with_a_certificate_until("1 day");
    let both = &["ReposerverCertificateEnds", "ReposerverCertificateEndsSoon"];
    add("tomorrow", ends, quiet(), both);
    let broken = with("");
    fs::remove_dir_all(broken.root().join(".reposerver/tmp")).unwrap();
    let disk = r#"reposerver_writes_refused{reason="disk"}"#;
    broken.eventually("broken", |server| server.metric(disk).as_deref() == Some("1"));
    add("broken", broken, quiet(), &["ReposerverDiskBroken"]);
    let gone = with("");
    fs::remove_dir_all(gone.root()).unwrap();
    gone.eventually("gone", |server| server.metric("reposerver_ready").as_deref() == Some("0"));
    add("gone", gone, quiet(), &["ReposerverCannotRead"]);
    let guesses = Box::new(|server: &Server| shows(server, "wrong"));
    add("guessed", with(""), guesses, &["ReposerverCredentialsRefused"]);
    let (away, _idp, token) = with_a_provider_that_is_away();
    let tokens = Box::new(move |server: &Server| shows(server, &token));
    add("away", away, tokens, &["ReposerverCredentialsRefused"]);
    add("cut", with(""), Box::new(cut), &["ReposerverUploadsFail"]);
    let busy = with(r#", "limits": {"requestsPerMinute": 10}"#);
    add("busy", busy, Box::new(|server| reads(server, 40)), &["ReposerverTurnsAway"]);
    if mounts_work() {
        let refused = Box::new(|server: &Server| {
            server.put("/dbt/x", &vec![1; 1 << 20]).is_refused(507, "out-of-space");
        });
        let all = &["ReposerverDiskFillsUp", "ReposerverDiskFull", "ReposerverErrors"];
        add("full", with_a_full_disk(), refused, all);
    }
    cases
}

#[test]
fn what_a_server_in_trouble_tells_fires_the_alert_about_it_and_no_other() {
    let cases = cases();
    let gathered: Vec<Value> = cases.iter().flat_map(series).collect();
    let fired = cases.iter().flat_map(|case| {
        case.alerts.iter().map(|alert| {
            let labels = format!(r#"{{alertname="{alert}", instance="{}"}}"#, case.name);
            json!({"labels": labels, "value": 1})
        })
    });
    let rules = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/monitoring/alerts.yaml");
    let test = json!({
        "rule_files": [rules.canonicalize().unwrap()],
        "evaluation_interval": "1m",
        "tests": [{
            "interval": format!("{INTERVAL}s"),
            "input_series": gathered,
            "promql_expr_test": [{
                "expr": r#"group by (alertname, instance) (ALERTS{alertstate="firing"})"#,
                "eval_time": "115m",
                "exp_samples": fired.collect::<Vec<_>>(),
            }],
        }],
    });
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("test.yaml"), test.to_string()).unwrap();
    let output = Command::new("promtool")
        .args(["test", "rules", "test.yaml"])
        .current_dir(directory.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}
