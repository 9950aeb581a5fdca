//! A directory as a repository.

use std::fs;
use std::io::Read as _;
use std::path::Path;

use dbt_client::auth::Credentials;
use dbt_client::source::{self, Ask, Class, Failure, Source};
use dbt_client::url::RepositoryUrl;
use dbt_core::repo_path::RepoPath;
use tempfile::TempDir;

use crate::source_http::{connector, path, patience, said, text};

fn repository() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir_all(directory.path().join("tool/1.0.0/linux/amd64")).unwrap();
    fs::write(directory.path().join("tool/1.0.0/linux/amd64/tool"), "#!/bin/sh\n").unwrap();
    fs::write(directory.path().join("truststore"), "keys").unwrap();
    directory
}

fn open(directory: &Path) -> Box<dyn Source> {
    let url = RepositoryUrl::of_directory(directory).unwrap();
    source::open(&url, &connector(), &Credentials::none())
}

#[test]
fn a_directory_is_read_like_a_server() {
    let directory = repository();
    let source = open(directory.path());
    let answer = source.get(&path("truststore"), &Ask::document(10, &patience())).unwrap();
    assert_eq!(text(answer), "keys");
    let listing = source.list(&RepoPath::root(), &patience()).unwrap();
    let entries: Vec<String> = listing.entries().iter().map(ToString::to_string).collect();
    assert_eq!(entries, ["tool/", "truststore"]);

    let tool = path("tool/1.0.0/linux/amd64/tool");
    let mut opened = source.open(&tool, 2, None, &patience()).unwrap();
    let mut rest = String::new();
    opened.reader.read_to_string(&mut rest).unwrap();
    assert_eq!((opened.length, opened.offset, rest.as_str()), (Some(10), 2, "/bin/sh\n"));
}

#[test]
fn what_is_missing_is_told_apart() {
    let directory = repository();
    let source = open(directory.path());
    for absent in ["none", "truststore/x", "tool/1.0.0"] {
        let error = source.get(&path(absent), &Ask::document(10, &patience())).unwrap_err();
        assert_eq!(error.class(), Class::NotFound, "{absent}: {error:?}");
    }
    assert_eq!(source.list(&path("none"), &patience()).unwrap_err().class(), Class::NotFound);
    assert_eq!(source.list(&path("truststore"), &patience()).unwrap_err().class(), Class::NotFound);

    // A network drive that is not mounted says nothing about what is on it.
    let gone = open(&directory.path().join("gone"));
    let error = gone.get(&path("truststore"), &Ask::document(10, &patience())).unwrap_err();
    assert_eq!(error.class(), Class::Outage);
    assert!(said(&error).ends_with("there is no repository here (404)"), "{}", said(&error));
}

#[test]
fn documents_of_a_directory_have_the_same_limits() {
    let directory = repository();
    let source = open(directory.path());
    let error = source.get(&path("truststore"), &Ask::document(3, &patience())).unwrap_err();
    assert!(matches!(error.failure(), Failure::TooLarge { limit: 3 }));
    fs::write(directory.path().join("page"), "<html>").unwrap();
    let error = source.get(&path("page"), &Ask::document(10, &patience())).unwrap_err();
    assert!(matches!(error.failure(), Failure::Html { .. }));
}

#[test]
#[cfg(unix)]
fn links_lead_anywhere_within_the_repository_and_nowhere_else() {
    use std::os::unix::fs::symlink;

    let outside = repository();
    let directory = repository();
    let at = |name: &str| directory.path().join(name);
    symlink("1.0.0", at("tool/latest")).unwrap();
    symlink("../truststore", at("tool/keys")).unwrap();
    symlink(outside.path().join("truststore"), at("stolen")).unwrap();
    symlink(outside.path(), at("elsewhere")).unwrap();
    symlink("/nowhere", at("dangling")).unwrap();

    let source = open(directory.path());
    let get = |name: &str| source.get(&path(name), &Ask::document(10, &patience()));
    assert_eq!(text(get("tool/keys").unwrap()), "keys");
    assert!(source.open(&path("tool/latest/linux/amd64/tool"), 0, None, &patience()).is_ok());
    for name in ["stolen", "elsewhere/truststore"] {
        let error = get(name).unwrap_err();
        assert!(matches!(error.failure(), Failure::LeavesRoot { .. }), "{name}: {error:?}");
        assert_eq!(error.class(), Class::Refused);
    }
    assert!(source.list(&path("elsewhere"), &patience()).is_err());
    assert_eq!(get("dangling").unwrap_err().class(), Class::NotFound);

    // The repository itself may be a link.
    let link = tempfile::tempdir().unwrap();
    symlink(directory.path(), link.path().join("repo")).unwrap();
    open(&link.path().join("repo")).list(&RepoPath::root(), &patience()).unwrap();
}

#[test]
#[cfg(unix)]
fn a_pipe_is_not_waited_for() {
    let directory = repository();
    let pipe = directory.path().join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
    assert!(made.success());
    let source = open(directory.path());
    let error = source.get(&path("pipe"), &Ask::document(10, &patience())).unwrap_err();
    assert_eq!(error.class(), Class::NotFound);
}
