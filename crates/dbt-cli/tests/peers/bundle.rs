//! A tool as `PyInstaller` makes it: one file that unpacks itself and starts itself again.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use dbt_core::digest::Digest;

use crate::started::Both;

const SOURCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/peers/probe.py");
const PEERS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/peers");
const VERSIONS: &str = include_str!("../../../../scripts/install-peers");

/// Returns the bundle. It is built when its source, or what builds it, has changed.
fn bundle() -> &'static Path {
    static BUNDLE: OnceLock<PathBuf> = OnceLock::new();
    BUNDLE.get_or_init(|| {
        let made_of = [&fs::read(SOURCE).unwrap(), VERSIONS.as_bytes()].concat();
        let bundle = Path::new(PEERS).join(format!("probe-{}", Digest::of(&made_of)));
        if !bundle.exists() {
            build(&bundle);
        }
        bundle
    })
}

fn build(bundle: &Path) {
    let place = tempfile::Builder::new().prefix("building").tempdir_in(PEERS).unwrap();
    let at = |name: &str| place.path().join(name);
    let output = Command::new(Path::new(PEERS).join("bin/pyinstaller"))
        .args(["--onefile", "--noupx", "--log-level", "WARN", "--name", "probe"])
        .arg("--distpath")
        .arg(place.path())
        .arg("--workpath")
        .arg(at("work"))
        .arg("--specpath")
        .arg(place.path())
        .arg(SOURCE)
        .env("PYINSTALLER_CONFIG_DIR", at("config"))
        .output()
        .unwrap_or_else(|error| panic!("pyinstaller: {error}; run scripts/install-peers"));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    // It gets its name when it is whole.
    fs::hard_link(at("probe"), bundle).unwrap();
}

#[test]
fn a_python_bundle_sees_itself_started_directly() {
    let tool = Both::of("snake", bundle());
    let printed = tool.behave_alike(&[], &["--help", "a b"], 37);
    for words in [
        "first exe [SELF]",
        "first comm snake",
        "first cmdline snake --help a b",
        "arguments ['snake', '--help', 'a b']",
        "input some input",
    ] {
        assert!(printed.contains(words), "`{words}` is not in:\n{printed}");
    }
}

#[test]
fn a_python_bundle_finds_signals_as_they_were() {
    let tool = Both::of("snake", bundle());
    let plain = tool.behave_alike(&["--default-signal"], &[], 37);
    let prefix = ["--default-signal", "--ignore-signal=HUP", "--block-signal=USR1"];
    let changed = tool.behave_alike(&prefix, &[], 37);
    // What Python says of SIGHUP: 0 is what the system does, 1 is nothing.
    assert!(plain.contains("handlers ['0',"), "{plain}");
    assert!(changed.contains("handlers ['1',"), "{changed}");
    let blocked = |printed: &str| printed.contains("second SigBlk:\t0000000000000200");
    assert!(!blocked(&plain) && blocked(&changed), "{changed}");
}

#[test]
fn a_python_bundle_runs_from_sealed_memory_too() {
    let tool = Both::of("snake", bundle());
    let run = tool.run_sealed(&["a b"]);
    run.exits_with(37).says_nothing();
    assert!(run.stdout().contains("arguments ['snake', 'a b']\n"), "{}", run.stdout());
}
