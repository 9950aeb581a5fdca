//! What a machine remembers: files that a crash, a disk or a newer program may have changed.

use std::path::Path;

use dbt_client::self_update::Identity;
use dbt_client::settings::Places;
use dbt_client::state::{ServerState, StateError};
use dbt_core::release::Subject;

use crate::input::Input;

/// Reads a file of the state; what cannot be read is said, and never taken for nothing.
pub fn run(data: &[u8]) {
    let mut input = Input(data);
    let kind = input.byte() % 3;
    let bytes = input.0;
    if bytes.len() > 64 * 1024 {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let repository = "https://dbt.example.com/dbt".parse().unwrap();
    let places = Places {
        home: Some(home.path().to_owned()),
        read_only_home: None,
        store: None,
        read_only_stores: Vec::new(),
        temporary: home.path().to_owned(),
        links: None,
    };
    let open = || ServerState::open(&places, &"acme".parse().unwrap(), &repository);
    let directory = open().directory().expect("a new directory can be used").to_owned();
    std::fs::create_dir_all(directory.join("tools")).unwrap();
    match kind {
        0 => server(&open(), &directory.join("state.json"), bytes),
        1 => tool(&open(), &directory.join("tools/deploy.json"), bytes),
        _ => identity(bytes),
    }
}

fn server(state: &ServerState, path: &Path, bytes: &[u8]) {
    std::fs::write(path, bytes).unwrap();
    match state.server() {
        Ok(record) => {
            let failures = record.failures.wrapping_add(1);
            let changed = state.change_server(|record| record.failures = failures).unwrap();
            assert_eq!(state.server().unwrap(), changed, "it is read as it was written");
            assert_eq!(changed.failures, failures);
            assert_eq!(changed.trust, record.trust, "and nothing else has changed");
            assert_eq!(changed.said, record.said);
        }
        Err(StateError::Damaged { .. } | StateError::Newer { .. }) => {
            assert!(state.change_server(|record| record.failures = 1).is_err());
            assert_eq!(std::fs::read(path).unwrap(), bytes, "a person can still look at it");
        }
        Err(error) => panic!("{error}"),
    }
}

fn tool(state: &ServerState, path: &Path, bytes: &[u8]) {
    std::fs::write(path, bytes).unwrap();
    let subject = Subject::Tool("deploy".parse().unwrap());
    let mut damaged = false;
    match state.tool(&subject, &mut |_path| damaged = true) {
        Ok(record) => {
            assert_eq!(path.exists(), !damaged);
            if damaged {
                let aside = std::fs::read(path.with_extension("json.damaged")).unwrap();
                assert_eq!(aside, bytes, "a person can still look at it");
            }
            let changed = state.change_tool(&subject, |record| record.newer_elsewhere = None);
            let changed = changed.unwrap();
            assert_eq!(state.tool(&subject, &mut |_path| panic!("written")).unwrap(), changed);
            assert_eq!(changed.history, record.history);
            assert_eq!(changed.installed, record.installed);
            for installed in &changed.installed {
                // It may be nonsense, but an artifact's name is one.
                let id = installed.id(&subject);
                assert!(id.is_none_or(|id| id.version.spelling() == installed.version.spelling()));
            }
        }
        Err(StateError::Newer { .. }) => assert_eq!(std::fs::read(path).unwrap(), bytes),
        Err(error) => panic!("{error}"),
    }
}

fn identity(bytes: &[u8]) {
    let Ok(identity) = serde_json::from_slice::<Identity>(bytes) else { return };
    let written = serde_json::to_vec(&identity).expect("it was read");
    let again: Identity = serde_json::from_slice(&written).expect("it was written");
    assert_eq!(format!("{again:?}"), format!("{identity:?}"));
}
