//! promtool: the alert rules are ones that Prometheus takes, and each fires when it should and not
//! when all is well.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/monitoring")
}

fn promtool(words: &[&str], directory: &Path) -> Output {
    Command::new("promtool").args(words).current_dir(directory).output().unwrap()
}

#[test]
fn prometheus_takes_the_rules_and_each_alert_fires_when_it_should() {
    for words in [["check", "rules", "alerts.yaml"], ["test", "rules", "alerts.test.yaml"]] {
        let output = promtool(&words, &directory());
        assert!(output.status.success(), "{words:?}: {output:?}");
    }
    let alerts = fs::read_to_string(directory().join("alerts.yaml")).unwrap();
    let tests = fs::read_to_string(directory().join("alerts.test.yaml")).unwrap();
    for rule in alerts.split("- alert: ").skip(1) {
        let name = rule.lines().next().unwrap();
        assert!(tests.contains(&format!("alertname: {name}\n")), "{name} is fired by nothing");
    }
}

#[test]
fn an_alert_that_does_not_fire_would_be_noticed() {
    let copy = tempfile::tempdir().unwrap();
    fs::copy(directory().join("alerts.test.yaml"), copy.path().join("alerts.test.yaml")).unwrap();
    let alerts = fs::read_to_string(directory().join("alerts.yaml")).unwrap();
    for (was, is) in [
        (r#"{reason="disk-full"} == 1"#, r#"{reason="disk-full"} == 2"#),
        // This one would fire where all is well.
        ("reposerver_ready == 0", "reposerver_ready == 1"),
    ] {
        assert!(alerts.contains(was), "{was}");
        fs::write(copy.path().join("alerts.yaml"), alerts.replace(was, is)).unwrap();
        let output = promtool(&["test", "rules", "alerts.test.yaml"], copy.path());
        assert_eq!(output.status.code(), Some(1), "{is}: {output:?}");
    }
}
