//! Writing to a bucket: large objects in parts, races, and sessions that end in the middle.

use std::fs;
use std::io::Cursor;
use std::sync::Arc;

use dbt_client::auth::Credentials;
use dbt_client::source::{
    BucketProblem, Connector, Content, Destination, Failure, FetchError, PART, Patience, Replace,
    open_destination,
};
use dbt_core::digest::Digest;
use dbt_testkit::bucket_server::{Asked, refusal};
use tempfile::TempDir;

use crate::source_http::path;
use crate::source_s3::{Bucket, signed, with};

const ARTIFACT: &str = "tool/2.0.0/linux/amd64/tool";

fn content_of(bytes: &[u8]) -> Content {
    Content { length: bytes.len() as u64, sha256: Digest::of(bytes) }
}

/// So many bytes that three parts hold them, no part like another.
fn large() -> Vec<u8> {
    let length = usize::try_from(PART).unwrap() * 2 + 5;
    (0..length).map(|at| u8::try_from(at / 1000 % 251).unwrap()).collect()
}

fn put(
    connector: &Arc<Connector>,
    url: &str,
    bytes: &[u8],
    replace: Replace,
) -> Result<(), FetchError> {
    let destination = open_destination(&url.parse().unwrap(), connector, &Credentials::none());
    put_in(&*destination, bytes, &content_of(bytes), replace)
}

fn put_in(
    destination: &dyn Destination,
    bytes: &[u8],
    content: &Content,
    replace: Replace,
) -> Result<(), FetchError> {
    let (mut body, patience) = (Cursor::new(bytes), Patience::for_upload(0.1));
    destination.put(&path(ARTIFACT), &mut body, content, replace, &patience)
}

fn written(bucket: &Bucket) -> Option<Vec<u8>> {
    fs::read(bucket.directory.path().join("dbt-tools").join(ARTIFACT)).ok()
}

/// Methods, and what of the query is not the name of an upload.
fn lines(asked: &[Asked]) -> Vec<String> {
    let line = |asked: &Asked| {
        let query = asked.request.path.split_once('?').map_or("", |(_path, query)| query);
        let query = query.split('&').find(|pair| !pair.starts_with("uploadId="));
        format!("{} {} {}", asked.request.method, query.unwrap_or_default(), asked.status)
    };
    asked.iter().map(line).collect()
}

#[test]
fn a_large_object_comes_in_parts_and_is_created_and_not_replaced() {
    let bucket = Bucket::new();
    let (large, url) = (large(), bucket.server.url("/dbt-tools"));
    put(&signed(), &url, &large, Replace::CreateOnly).unwrap();
    assert!(written(&bucket).unwrap() == large);
    let asked = bucket.server.take_requests();
    assert_eq!(
        lines(&asked),
        [
            "POST uploads= 200",
            "PUT partNumber=1 200",
            "PUT partNumber=2 200",
            "PUT partNumber=3 200",
            "POST  200"
        ]
    );
    assert!(asked.iter().all(|asked| asked.key.is_some()), "everything is signed");
    let kind = asked[0].request.header("content-type");
    assert_eq!(kind, Some("application/octet-stream"));

    let error = put(&signed(), &url, &large[1..], Replace::CreateOnly).unwrap_err();
    assert!(matches!(error.failure(), Failure::Exists), "{error:?}");
    assert!(written(&bucket).unwrap() == large, "it stays as it was");
    assert_eq!(bucket.server.unfinished_uploads(), 0);
    put(&signed(), &url, &large[1..], Replace::Allowed).unwrap();
    assert!(written(&bucket).unwrap() == large[1..]);
}

#[test]
fn a_part_that_fails_is_sent_again_and_no_other() {
    let bucket = Bucket::new();
    let url = bucket.server.url("/dbt-tools");
    let large = large();
    // Only a part can be so large: the beginning is over when it fails.
    bucket.server.fail_next_part();
    put(&signed(), &url, &large, Replace::CreateOnly).unwrap();
    assert!(written(&bucket).unwrap() == large);
    let lines = lines(&bucket.server.take_requests());
    assert_eq!(
        lines[1..4],
        ["PUT partNumber=1 503", "PUT partNumber=1 200", "PUT partNumber=2 200"]
    );
}

#[test]
fn what_is_not_finished_is_given_up() {
    let bucket = Bucket::new();
    let url = bucket.server.url("/dbt-tools");
    let (large, connector) = (large(), signed());
    let destination = open_destination(&url.parse().unwrap(), &connector, &Credentials::none());
    let mut content = content_of(&large);

    // It is something else than it was when it was looked at; and shorter.
    content.sha256 = Digest::of(b"something else");
    let error = put_in(&*destination, &large, &content, Replace::CreateOnly).unwrap_err();
    assert!(matches!(error.failure(), Failure::Content { .. }), "{error:?}");
    content = Content { length: content.length + 1, ..content_of(&large) };
    let error = put_in(&*destination, &large, &content, Replace::CreateOnly).unwrap_err();
    assert!(matches!(error.failure(), Failure::Content { .. }), "{error:?}");
    assert_eq!((bucket.server.unfinished_uploads(), written(&bucket)), (0, None));
    let asked = bucket.server.take_requests();
    assert_eq!(asked.iter().filter(|asked| asked.request.method == "DELETE").count(), 2);
}

#[test]
fn an_answer_that_begins_well_and_ends_badly_is_no_success() {
    let bucket = Bucket::new();
    let url = bucket.server.url("/dbt-tools");
    bucket.server.fail_next_completion("InternalError");
    let error = put(&signed(), &url, &large(), Replace::CreateOnly).unwrap_err();
    assert!(matches!(error.failure(), Failure::Server { status: 500, .. }), "{error:?}");
    assert_eq!((bucket.server.unfinished_uploads(), written(&bucket)), (0, None));
}

#[test]
fn a_store_without_parts_or_conditions_gets_the_whole() {
    let bucket = Bucket::new();
    let url = bucket.server.url("/dbt-tools");
    bucket.server.know_no_parts();
    let large = large();
    put(&signed(), &url, &large, Replace::CreateOnly).unwrap();
    assert!(written(&bucket).unwrap() == large);
    assert_eq!(lines(&bucket.server.take_requests()), ["POST uploads= 501", "PUT  200"]);

    let bucket = Bucket::new();
    let (url, connector) = (bucket.server.url("/dbt-tools"), signed());
    bucket.server.know_no_conditions();
    let error = put(&connector, &url, &large, Replace::CreateOnly).unwrap_err();
    let is_to_be_tried_again =
        |failure: &Failure| matches!(failure, Failure::Bucket(BucketProblem::Conflict { .. }));
    assert!(is_to_be_tried_again(error.failure()), "{error:?}");
    put(&connector, &url, &large, Replace::CreateOnly).unwrap();
    let error = put(&connector, &url, &large, Replace::CreateOnly).unwrap_err();
    assert!(matches!(error.failure(), Failure::Exists), "{error:?}");
}

#[test]
fn of_eight_who_create_an_object_exactly_one_does() {
    let large = large();
    for (round, length) in [10, 10, 10, 10, large.len()].into_iter().enumerate() {
        let bucket = Bucket::new();
        let url = bucket.server.url("/dbt-tools");
        let outcomes: Vec<_> = std::thread::scope(|scope| {
            let begin = |number: u8| {
                let (url, mut bytes) = (&url, large[..length].to_vec());
                bytes[0] = number;
                scope.spawn(move || put(&signed(), url, &bytes, Replace::CreateOnly))
            };
            let started: Vec<_> = (0..8).map(begin).collect();
            started.into_iter().map(|one| one.join().unwrap()).collect()
        });
        let winners: Vec<usize> = (0..8).filter(|number| outcomes[*number].is_ok()).collect();
        let [winner] = winners[..] else { panic!("round {round}: {outcomes:?}") };
        assert_eq!(usize::from(written(&bucket).unwrap()[0]), winner);
        let lost = outcomes.iter().filter_map(|outcome| outcome.as_ref().err());
        assert!(lost.into_iter().all(|error| matches!(error.failure(), Failure::Exists)));
        assert_eq!(bucket.server.unfinished_uploads(), 0);
    }
}

/// A program that gives one key after the other, each once it is asked again.
fn sessions(bucket: &Bucket) -> (TempDir, Arc<Connector>) {
    let machine = tempfile::tempdir().unwrap();
    let place = machine.path().display();
    for number in [1, 2] {
        let answer = format!(
            r#"{{"Version": 1, "AccessKeyId": "AKSESSION{number}", "SecretAccessKey": "{SECRET}", "SessionToken": "{TOKEN}"}}"#
        );
        fs::write(machine.path().join(format!("session-{number}")), answer).unwrap();
        bucket.server.know(&format!("AKSESSION{number}"), SECRET, Some(TOKEN));
    }
    let program = format!(
        "[default]\ncredential_process = sh -c 'if [ -e {place}/asked ]; then cat {place}/session-2; else touch {place}/asked; cat {place}/session-1; fi'\n"
    );
    fs::write(machine.path().join("config"), program).unwrap();
    let config = machine.path().join("config").display().to_string();
    (machine, with(&[("AWS_CONFIG_FILE", &config)]))
}

const SECRET: &str = "aws-secret-of-a-session";
const TOKEN: &str = "aws-session-of-the-test";

#[test]
fn a_session_that_ends_while_it_is_written_is_renewed() {
    let bucket = Bucket::new();
    let (_machine, connector) = sessions(&bucket);
    let url = bucket.server.url("/dbt-tools");
    put(&connector, &url, b"first", Replace::Allowed).unwrap();
    bucket.server.expire("AKSESSION1");
    // A stream cannot be sent again from here: whoever has the file can.
    let error = put(&connector, &url, b"second", Replace::Allowed).unwrap_err();
    let words = "the AWS key `AKSESSION1` expired while it was used; there is another one";
    assert_eq!(error.failure().to_string(), words);
    assert_eq!(written(&bucket).unwrap(), b"first");
    put(&connector, &url, b"second", Replace::Allowed).unwrap();
    assert_eq!(written(&bucket).unwrap(), b"second");
}

#[test]
fn a_session_that_has_ended_is_renewed_before_a_large_object_is_sent() {
    let bucket = Bucket::new();
    let (_machine, connector) = sessions(&bucket);
    let url = bucket.server.url("/dbt-tools");
    bucket.server.expire("AKSESSION1");
    let large = large();
    put(&connector, &url, &large, Replace::CreateOnly).unwrap();
    assert!(written(&bucket).unwrap() == large);
}

#[test]
fn whoever_may_not_write_is_told_so_before_anything_is_sent() {
    let bucket = Bucket::new();
    bucket.server.deny("PutObject");
    let url = bucket.server.url("/dbt-tools");
    let error = put(&signed(), &url, &large(), Replace::CreateOnly).unwrap_err();
    let words = error.failure().to_string();
    assert!(words.contains("has no permission `s3:PutObject`"), "{words}");
    assert_eq!(lines(&bucket.server.take_requests()), ["POST uploads= 403"]);
    assert_eq!(written(&bucket), None);
}

#[test]
fn a_clock_that_differs_is_named() {
    let bucket = Bucket::new();
    bucket.server.answer_next([refusal(403, "RequestTimeTooSkewed")]);
    let url = bucket.server.url("/dbt-tools");
    let error = put(&signed(), &url, b"x", Replace::Allowed).unwrap_err();
    let words = "the store's clock and this machine's differ too much (RequestTimeTooSkewed)";
    assert_eq!(error.failure().to_string(), words);
    assert_eq!(error.hint().unwrap(), "check this machine's clock");
    assert_eq!(written(&bucket), None);
}
