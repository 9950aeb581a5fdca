//! Writing to repositories.

use std::fs;
use std::path::Path;

use dbt_client::auth::{Credentials, SecretValue};
use dbt_client::source::{
    Class, Content, Destination, Failure, FetchError, PART, Patience, Replace, open_destination,
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
fn what_a_server_of_ours_does_not_write_is_said_in_its_words() {
    for (status, code, class, words) in [
        (409, "upload-in-progress", Class::Refused, "the server refuses it: not now (409)"),
        (422, "not-publishable", Class::Refused, "the server refuses it: not now (422)"),
        (
            422,
            "digest-mismatch",
            Class::Refused,
            "what arrived at the server is not what was sent (422)",
        ),
        (409, "immutable-conflict", Class::Refused, "it exists already"),
        (403, "forbidden", Class::Forbidden, "access is denied (403)"),
        (404, "not-found", Class::NotFound, "there is no such file or directory (404)"),
        (507, "out-of-space", Class::Outage, "the server has no room left for it (507)"),
    ] {
        let problem = format!(r#"{{"type": "urn:dbt:problem:{code}", "detail": "not now"}}"#);
        let server = TestServer::start(move |_request| reply(status, &[], &problem));
        let error = put(&*to_server(&server), "x", b"hello", Replace::CreateOnly).unwrap_err();
        assert_eq!(said(&error), format!("failed to write `URL`: {words}"));
        assert_eq!(error.class(), class);
    }
}

/// Writes a file that is larger than a part to a repository with a usual name.
fn put_large(server: &TestServer) -> Result<(), FetchError> {
    let token = SecretValue::fixed("token", Secret::new("t0ken".to_owned()));
    let credentials = Credentials::bearer([server.origin()], token);
    let root: RepositoryUrl = server.origin().to_string().parse().unwrap();
    let destination = open_destination(&root.join(&path("dbt-tools")), &connector(), &credentials);
    let large = vec![b'x'; usize::try_from(PART).unwrap() + 1];
    put(&*destination, "x", &large, Replace::CreateOnly)
}

#[test]
fn a_large_file_is_put_whole_where_nobody_takes_parts_and_not_sent_where_that_is_not_known() {
    for (status, is_put) in [
        (404, true),
        (405, true),
        (501, true),
        (401, true),
        (403, true),
        (503, false),
        (507, false),
    ] {
        let server = TestServer::start(move |request| {
            reply(if request.method == "PUT" { 201 } else { status }, &[], "")
        });
        let outcome = put_large(&server);
        assert_eq!(outcome.is_ok(), is_put, "{status}: {outcome:?}");
        let methods: Vec<_> = server.requests().iter().map(|it| it.method.clone()).collect();
        let expected = if is_put { &["POST", "PUT"][..] } else { &["POST"] };
        assert_eq!(methods, expected, "{status}");
    }
}

#[test]
fn an_upload_in_parts_begins_where_it_ended_and_says_why_it_does_not_go_on() {
    let gone = r#"{"type": "urn:dbt:problem:not-found", "detail": "gone"}"#;
    let other = r#"{"type": "urn:dbt:problem:offset-mismatch", "detail": "elsewhere"}"#;
    let changed = "what was sent before is not at the server any more as it was";
    for (status, answer, words) in [
        (204, "", Ok(())),
        (404, gone, Err(changed)),
        (409, other, Err(changed)),
        (404, "<html>", Err("there is no such file or directory (404)")),
        (401, "", Err("the server wants to know who asks (401)")),
        (503, "", Err("the server failed (503)")),
        (507, "", Err("the server has no room left for it (507)")),
    ] {
        let server = TestServer::start(move |request| match request.method.as_str() {
            "POST" => reply(201, &[], r#"{"id": "01ABC", "offset": 8388600}"#),
            _ => reply(status, &[], answer),
        });
        let outcome = put_large(&server);
        let told = |words| format!("failed to write `URL`: {words}");
        assert_eq!(outcome.as_ref().map_err(said).copied(), words.map_err(told), "{status}");
        let requests = server.requests();
        let part = &requests[1];
        assert_eq!(
            (part.method.as_str(), part.header("upload-offset")),
            ("PATCH", Some("8388600"))
        );
        assert_eq!(part.path, "/-/api/v1/uploads/01ABC");
        assert_eq!(part.header("content-length"), Some("9"), "what is missing");
        let last = requests.last().unwrap();
        assert_eq!(last.path.ends_with("/commit"), status == 204);
        if status == 204 {
            let said: serde_json::Value = serde_json::from_slice(&last.body).unwrap();
            assert_eq!(said["path"], "/dbt-tools/x");
            assert_eq!(last.header("if-none-match"), Some("*"));
        }
    }
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
