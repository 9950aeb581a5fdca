//! What the server does for whoever starts it, and the files that it is deployed with, as far as
//! they can be checked without the programs that read them.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::Duration;

use clap::Parser as _;
use dbt_server::args::Arguments;
use dbt_server::operate::health::Trouble;
use dbt_testkit::tls::Authority;
use serde_json::Value;

use crate::world::{Place, Server, WRITABLE, looked_through};

const TLS: &str = r#""listen": {"tls": {"certFile": "cert.pem", "keyFile": "key.pem"},
    "metrics": "127.0.0.1:0"}"#;

fn file(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)).unwrap()
}

fn with_tls() -> Server {
    let place = Place::new();
    let (certificate, key) = Authority::new("ours").server_files("localhost");
    place.put_beside("cert.pem", certificate.as_bytes());
    place.put_beside("key.pem", key.as_bytes());
    Server::on(place, &format!("{WRITABLE}, {TLS}"))
}

#[test]
fn whoever_starts_the_server_is_told_when_it_takes_requests() {
    let place = Place::new();
    let at = place.beside("notify");
    let socket = UnixDatagram::bind(&at).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let server = Server::on(place.variable("NOTIFY_SOCKET", at.to_str().unwrap()), WRITABLE);
    let mut message = [0; 64];
    let length = socket.recv(&mut message).unwrap();
    assert_eq!(&message[..length], b"READY=1");
    assert_eq!(server.get("/-/readyz").status, 200);
}

/// Returns the names of everything that the server counts, as a monitor sees them.
fn counted() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let server = with_tls();
    // What lies in the tree is counted soon after the start.
    server.eventually("counted", |server| server.metric("reposerver_bytes_stored").is_some());
    for line in server.get_beside("/-/metrics").text().lines() {
        let Some(rest) = line.strip_prefix("# TYPE ") else { continue };
        let (name, kind) = rest.split_once(' ').unwrap();
        if kind == "histogram" {
            names.extend(["bucket", "sum", "count"].map(|part| format!("{name}_{part}")));
        } else {
            names.insert(name.to_owned());
        }
    }
    names
}

/// Returns every name of a metric of the server in a text.
fn named(text: &str) -> BTreeSet<String> {
    let words = text.split(|letter: char| !letter.is_ascii_lowercase() && letter != '_');
    let ours = |word: &&str| word.starts_with("reposerver_") || word.starts_with("process_");
    words.filter(ours).map(ToOwned::to_owned).collect()
}

#[test]
fn alerts_and_dashboard_speak_of_what_the_server_counts() {
    let counted = counted();
    let alerts = named(&file("deploy/monitoring/alerts.yaml"));
    let dashboard: Value = serde_json::from_str(&file("deploy/monitoring/dashboard.json")).unwrap();
    let mut shown = BTreeSet::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        let targets = panel["targets"].as_array().unwrap();
        assert!(!targets.is_empty(), "{panel}");
        for target in targets {
            let names = named(target["expr"].as_str().unwrap());
            assert!(!names.is_empty(), "{target}");
            shown.extend(names);
        }
    }
    for (what, names) in [("alerts", &alerts), ("dashboard", &shown)] {
        assert!(names.len() >= 10, "{what}: {names:?}");
        let unknown: Vec<_> = names.difference(&counted).collect();
        assert!(unknown.is_empty(), "{what}: {unknown:?}");
    }
    // What is counted is also looked at.
    let family = |name: &String| {
        let parts = ["_bucket", "_sum", "_count"];
        parts.iter().find_map(|part| name.strip_suffix(part)).unwrap_or(name).to_owned()
    };
    let seen: BTreeSet<String> = alerts.union(&shown).map(family).collect();
    let unseen: Vec<_> = counted.iter().filter(|name| !seen.contains(&family(name))).collect();
    assert!(unseen.is_empty(), "no panel and no alert: {unseen:?}");
}

#[test]
fn alerts_know_the_reasons_that_there_are() {
    let alerts = file("deploy/monitoring/alerts.yaml");
    let mut spoken_of = 0;
    for rest in alerts.split("reposerver_writes_refused{reason=").skip(1) {
        let value = rest.trim_start_matches('~').split('"').nth(1).unwrap();
        for word in value.split('|') {
            assert!(Trouble::ALL.iter().any(|it| it.as_str() == word), "{word}");
            spoken_of += 1;
        }
    }
    // All but those that an administrator asked for, and those that reads have too.
    let wanted = ["stopping", "read-only", "no-writers", "unreadable"];
    let others = Trouble::ALL.iter().filter(|it| !wanted.contains(&it.as_str())).count();
    assert_eq!(spoken_of, others);
}

#[test]
fn the_page_about_setting_up_names_what_there_is() {
    let page = file("docs/deploying.md");
    let installed = page.lines().filter_map(|line| line.strip_prefix("# install -m "));
    let installed: Vec<&str> = installed.filter_map(|line| line.split(' ').nth(1)).collect();
    let (built, ours): (Vec<&str>, Vec<&str>) =
        installed.into_iter().partition(|path| path.starts_with("target/"));
    assert_eq!((built.len(), ours.len()), (1, 5), "{built:?} {ours:?}");
    for path in ours {
        assert!(!file(path).is_empty(), "{path}");
    }
}

#[test]
fn the_settings_of_the_page_about_setting_up_are_ones_that_the_server_takes() {
    let page = file("docs/deploying.md");
    let settings = page.split("```json\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let settings: Vec<&str> = settings.collect();
    // The words after the image's name are given beside the file.
    let shown = page.split("reposerver:4.0.0 -a ").nth(1).unwrap().lines().next().unwrap();
    let image: Vec<&str> = ["-a"].into_iter().chain(shown.split(' ')).collect();
    let typed = ["reposerver"].into_iter().chain(image.iter().copied());
    assert!(Arguments::try_parse_from(typed).is_ok(), "{shown}");
    let service = ["-f", "/etc/reposerver/reposerver.json"];
    for (settings, directory, tree, words) in [
        (settings[0], "/etc/reposerver/", "/srv/dbt", &service[..]),
        (settings[1], "/etc/dbt/", "/var/dbt", &image),
    ] {
        let place = Place::new();
        let (certificate, key) = Authority::new("ours").server_files("localhost");
        place.put_beside("tls.crt", certificate.as_bytes());
        place.put_beside("tls.key", key.as_bytes());
        place.put_beside("htpasswd", b"# nobody yet\n");
        let moved = |text: &str| {
            text.replace(directory, &format!("{}/", place.beside("").display()))
                .replace(tree, place.root().to_str().unwrap())
        };
        place.put_beside("reposerver.json", moved(settings).as_bytes());
        let mut check = place.bare_command();
        check.args(words.iter().map(|word| moved(word))).arg("check-config");
        let output = looked_through(&mut check);
        assert!(output.status.success(), "{output:?}");
        // The tree is where the page says, and not where the other way has it.
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(said.contains(&format!("serverRoot = {} ", place.root().display())), "{said}");
    }
    assert_eq!(settings.len(), 2, "{settings:?}");
}

/// Returns the last stage of an image, without where its files come from.
fn last_stage(path: &str) -> Vec<String> {
    let text = file(path);
    let stage = text.split("\nFROM scratch\n").nth(1).unwrap_or_else(|| panic!("{path}"));
    assert!(!stage.contains("\nFROM "), "{path}");
    let lines = stage.lines().map(str::trim).filter(|line| !line.starts_with('#'));
    lines.map(|line| line.replace("--from=build ", "").replace("/image/", "")).collect()
}

#[test]
fn the_image_from_source_is_the_one_that_is_tested() {
    let built = last_stage("deploy/container/Containerfile");
    assert_eq!(last_stage("Dockerfile"), built);
    for line in [
        "USER 65532:65532",
        r#"ENTRYPOINT ["/reposerver"]"#,
        r#"CMD ["-a", "0.0.0.0", "-p", "9999", "-r", "/var/dbt"]"#,
    ] {
        assert!(built.iter().any(|it| it == line), "{line}");
    }
    // Compiled where it is fast, for the platform that is asked for.
    let dockerfile = file("Dockerfile");
    for words in ["FROM --platform=$BUILDPLATFORM ", "scripts/static \"$TARGETPLATFORM\""] {
        assert!(dockerfile.contains(words), "{words}");
    }
    let version = concat!("reposerver:", env!("CARGO_PKG_VERSION"), " ");
    assert!(dockerfile.contains(version), "{version}");
}
