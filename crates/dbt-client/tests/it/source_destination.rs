//! Writing to repositories.

use std::fs;
use std::path::Path;

use dbt_client::auth::{Credentials, SecretValue};
use dbt_client::source::{
    Class, Content, Destination, Failure, FetchError, Patience, Replace, open_destination,
};
use dbt_client::url::RepositoryUrl;
use dbt_core::digest::Digest;
use dbt_core::repo_path::RepoPath;
use dbt_core::secret::Secret;

use crate::server::{TestServer, redirect, reply};
use crate::source_http::{connector, path, said};

fn to_server(server: &TestServer) -> Box<dyn Destination> {
    let token = SecretValue::fixed("token", Secret::new("t0ken".to_owned()));
    let credentials = Credentials::bearer([server.origin()], token);
    open_destination(&server.repository(), &connector(), &credentials)
}

fn to_directory(directory: &Path) -> Box<dyn Destination> {
    let url = RepositoryUrl::of_directory(directory).unwrap();
    open_destination(&url, &connector(), &Credentials::none())
}

fn put(
    destination: &dyn Destination,
    name: &str,
    body: &[u8],
    replace: Replace,
) -> Result<(), FetchError> {
    let content = Content { length: body.len() as u64, sha256: Digest::of(body) };
    let patience = Patience::for_upload(1.0);
    destination.put(&path(name), &mut &*body, &content, replace, &patience)
}

#[test]
fn an_upload_says_its_length_and_digest() {
    let server = TestServer::start(|_request| reply(201, &[], ""));
    let destination = to_server(&server);
    put(&*destination, "tool/1.0.0/x", b"hello", Replace::CreateOnly).unwrap();
    let large = vec![b'x'; 300_000];
    put(&*destination, "large", &large, Replace::Allowed).unwrap();
    put(&*destination, "empty", b"", Replace::Allowed).unwrap();

    let requests = server.requests();
    let first = &requests[0];
    assert_eq!((first.method.as_str(), first.path.as_str()), ("PUT", "/repo/tool/1.0.0/x"));
    assert_eq!(first.body, b"hello");
    assert_eq!(first.header("x-checksum-sha256"), Some(&*Digest::of(b"hello").to_string()));
    assert_eq!(first.header("if-none-match"), Some("*"));
    assert_eq!(first.header("authorization"), Some("Bearer t0ken"));
    assert_eq!(first.header("transfer-encoding"), None);
    assert_eq!(requests[1].body, large);
    assert_eq!(requests[1].header("if-none-match"), None);
    assert_eq!(requests[1].header("expect"), Some("100-continue"));
    assert_eq!(requests[2].body, b"");
}

#[test]
fn a_refused_upload_is_not_repeated_or_redirected() {
    for (status, class, words) in [
        (401, Class::SignIn, "the server wants to know who asks (401)"),
        (403, Class::Forbidden, "access is denied (403)"),
        (409, Class::Refused, "it exists already"),
        (412, Class::Refused, "it exists already"),
        (500, Class::Outage, "the server failed (500)"),
        (307, Class::Outage, "the server redirects what is to be written"),
    ] {
        let server = TestServer::start(move |_request| redirect(status, "/elsewhere"));
        let error = put(&*to_server(&server), "x", b"hello", Replace::CreateOnly).unwrap_err();
        assert_eq!(said(&error), format!("failed to write `URL`: {words}"));
        assert_eq!(error.class(), class);
        assert_eq!(server.requests().len(), 1);
    }
}

#[test]
fn content_that_is_shorter_than_announced_is_an_error() {
    let server = TestServer::start(|_request| reply(201, &[], ""));
    let content = Content { length: 10, sha256: Digest::of(b"hello") };
    let patience = Patience::for_upload(1.0);
    let error = to_server(&server)
        .put(&path("x"), &mut &b"hello"[..], &content, Replace::Allowed, &patience)
        .unwrap_err();
    assert!(matches!(error.failure(), Failure::Content { .. }), "{error:?}");
}

#[test]
fn a_server_deletes_what_it_is_told_and_never_everything() {
    let server = TestServer::start(|_request| reply(204, &[], ""));
    let destination = to_server(&server);
    destination.delete(&path("tool/1.0.0"), &Patience::for_upload(1.0)).unwrap();
    destination.delete(&RepoPath::root(), &Patience::for_upload(1.0)).unwrap_err();
    assert_eq!(server.paths(), ["/repo/tool/1.0.0"]);
    assert_eq!(server.requests()[0].method, "DELETE");
}

#[test]
fn a_directory_gets_whole_files_and_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let destination = to_directory(&directory.path().join("repo"));
    put(&*destination, "tool/1.0.0/x", b"one", Replace::CreateOnly).unwrap();
    let file = directory.path().join("repo/tool/1.0.0/x");
    assert_eq!(fs::read(&file).unwrap(), b"one");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o644);
    }

    let error = put(&*destination, "tool/1.0.0/x", b"two", Replace::CreateOnly).unwrap_err();
    assert!(matches!(error.failure(), Failure::Exists), "{error:?}");
    assert_eq!(fs::read(&file).unwrap(), b"one");
    put(&*destination, "tool/1.0.0/x", b"two", Replace::Allowed).unwrap();
    assert_eq!(fs::read(&file).unwrap(), b"two");

    let wrong = Content { length: 5, sha256: Digest::of(b"other") };
    let patience = Patience::for_upload(1.0);
    let body = &mut &b"hello"[..];
    let put = destination.put(&path("tool/1.0.0/x"), body, &wrong, Replace::Allowed, &patience);
    assert!(matches!(put.unwrap_err().failure(), Failure::Content { .. }));
    assert_eq!(fs::read(&file).unwrap(), b"two");
    let left: Vec<_> = fs::read_dir(file.parent().unwrap()).unwrap().collect();
    assert_eq!(left.len(), 1, "{left:?}");
}

#[test]
fn a_directory_deletes_files_and_directories_and_never_itself() {
    let directory = tempfile::tempdir().unwrap();
    let destination = to_directory(directory.path());
    let patience = Patience::for_upload(1.0);
    put(&*destination, "tool/1.0.0/x", b"one", Replace::Allowed).unwrap();
    put(&*destination, "tool/2.0.0/x", b"one", Replace::Allowed).unwrap();
    destination.delete(&path("tool/1.0.0"), &patience).unwrap();
    destination.delete(&path("tool/2.0.0/x"), &patience).unwrap();
    let error = destination.delete(&path("tool/1.0.0"), &patience).unwrap_err();
    assert_eq!(error.class(), Class::NotFound);
    destination.delete(&RepoPath::root(), &patience).unwrap_err();
    assert!(directory.path().join("tool/2.0.0").is_dir());
}

#[test]
#[cfg(unix)]
fn nothing_is_written_or_deleted_through_a_link_that_leads_out() {
    use std::os::unix::fs::symlink;

    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("kept"), "kept").unwrap();
    let directory = tempfile::tempdir().unwrap();
    symlink(outside.path(), directory.path().join("out")).unwrap();
    let destination = to_directory(directory.path());
    for name in ["out/x", "out/deep/x"] {
        let error = put(&*destination, name, b"one", Replace::Allowed).unwrap_err();
        assert!(matches!(error.failure(), Failure::LeavesRoot { .. }), "{error:?}");
    }
    let patience = Patience::for_upload(1.0);
    destination.delete(&path("out/kept"), &patience).unwrap_err();
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 1);
    // The link itself may go.
    destination.delete(&path("out"), &patience).unwrap();
    assert!(outside.path().join("kept").is_file());
}
