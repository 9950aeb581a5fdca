//! The client's configuration file, in both formats: read, changed, and written again.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::Path;

use dbt_client::config::{self, ConfigFile, Document, NewServer, Surroundings, Urls};
use dbt_client::url::RepositoryUrl;
use dbt_core::name::ServerName;

/// The longest file that is written to a disk here.
const LIMIT: usize = 64 * 1024;

/// Reads a file, and changes it as `server add` and `server remove` do.
pub fn run(data: &[u8]) {
    let parsed = ConfigFile::parse(data);
    if let Ok(config) = &parsed {
        read(config);
    }
    if data.len() > LIMIT {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("dbt.json");
    std::fs::write(&path, data).unwrap();
    let opened = Document::open(&path);
    assert_eq!(opened.is_ok(), parsed.is_ok(), "{opened:?} {parsed:?}");
    let loaded = config::load(Some(&path), &[]);
    assert_eq!(loaded.is_ok(), parsed.is_ok(), "{parsed:?}");
    if let Ok(document) = opened {
        changed(document, &path);
    }
}

fn read(config: &ConfigFile) {
    let variables = BTreeMap::from([("HOME".to_owned(), OsString::from("/home/x"))]);
    let around = Surroundings {
        variables: &variables,
        directory: Path::new("/conf"),
        home: Some(Path::new("/home/x")),
    };
    let stranger = "https://nobody.invalid".parse::<RepositoryUrl>().unwrap();
    let stranger = BTreeSet::from([stranger.origin().unwrap().clone()]);
    let named = config.default_server.as_deref();
    for entry in &config.servers {
        let Ok(urls) = Urls::of(entry, around) else { continue };
        let _any = config.withheld(entry);
        // The shared credentials stay with their owner, whose name is another one.
        let is_owner = named
            .map_or(config.servers.len() == 1 || entry.legacy, |name| name == entry.name.as_str());
        let own = config.keys_of(entry, &urls.origins(), around).own_the_shared();
        assert!(own || !is_owner, "an owner has what is its own");
        let elsewhere = config.keys_of(entry, &stranger, around).own_the_shared();
        assert!(!elsewhere || is_owner, "{entry:?} would get another server's credentials");
    }
    let servers = config.servers.iter().map(|entry| &entry.sign_in);
    for sign_in in servers.chain([&config.shared]) {
        for text in [&sign_in.password, &sign_in.token].into_iter().flatten() {
            let written = text.as_written().expose();
            let shown = format!("{text:?}");
            // A short text may stand in the name of the type, and any in its key's path.
            let telling = written.len() >= 32 && !text.path().contains(written);
            assert!(!telling || !shown.contains(written), "a secret is shown: {shown}");
        }
    }
}

fn changed(mut document: Document, path: &Path) {
    let before = document.config().expect("it was opened");
    let names = |config: &ConfigFile| -> Vec<String> {
        let mut names: Vec<String> =
            config.servers.iter().map(|server| server.name.to_string()).collect();
        names.sort();
        names
    };
    document.save().expect("it can be written");
    let written = std::fs::read(path).unwrap();
    let again = Document::open(path).expect("what was written can be read");
    again.save().unwrap();
    assert_eq!(std::fs::read(path).unwrap(), written, "written in one way");
    let config = again.config().unwrap();
    assert_eq!(format!("{config:?}"), format!("{before:?}"), "nobody has changed anything");

    let name: ServerName = "a name that nobody uses".parse().unwrap();
    let urls = Urls::below(&"https://dbt.example.com".parse().unwrap());
    if document.may_add(&name).is_err() {
        return;
    }
    document.add(&NewServer::at(name.clone(), urls)).expect("it may be added");
    document.save().unwrap();
    let mut after = Document::open(path).expect("it can be read with one more");
    let config = after.config().unwrap();
    let mut expected = names(&before);
    expected.push(name.to_string());
    expected.sort();
    assert_eq!(names(&config), expected);
    assert_eq!(config.unknown, before.unknown, "what is not ours stays");
    assert_eq!(config.self_update_from, before.self_update_from);

    after.remove(&name).expect("it is there");
    assert_eq!(names(&after.config().unwrap()), names(&before));
}
