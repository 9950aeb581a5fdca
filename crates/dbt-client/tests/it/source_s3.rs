//! A bucket as a repository: signed, paged, moved, refused.

use std::fs;
use std::io::Read as _;
use std::sync::Arc;

use dbt_client::auth::Credentials;
use dbt_client::settings::Network;
use dbt_client::source::{self, Answer, Ask, BucketProblem, Class, Connector, Failure, Source};
use dbt_client::url::RepositoryUrl;
use dbt_core::repo_path::RepoPath;
use dbt_testkit::bucket_server::{BUCKET, BucketServer, KEY, REGION, refusal};
use tempfile::TempDir;

use crate::aws::network;
use crate::source_http::{path, patience, said, text};

/// A bucket with one tool.
pub(crate) struct Bucket {
    pub(crate) directory: TempDir,
    pub(crate) server: BucketServer,
}

impl Bucket {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir_all(directory.path().join("dbt-tools/tool/1.0.0+b/linux/amd64")).unwrap();
        let bucket = Self { server: BucketServer::start(directory.path()), directory };
        bucket
            .write("dbt-tools/tool/1.0.0+b/linux/amd64/tool", "#!/bin/sh\nexit 0\nand some more\n");
        bucket.write("dbt/truststore", "keys");
        bucket
    }

    pub(crate) fn write(&self, key: &str, text: &str) {
        let file = self.directory.path().join(key);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
    }

    fn open(&self, path: &str) -> Box<dyn Source> {
        open(&self.server.url(path), &signed())
    }
}

/// Connects as whoever has the key of the bucket, in the environment.
pub(crate) fn signed() -> Arc<Connector> {
    let (id, secret) = KEY;
    with(&[("AWS_ACCESS_KEY_ID", id), ("AWS_SECRET_ACCESS_KEY", secret)])
}

pub(crate) fn with(variables: &[(&str, &str)]) -> Arc<Connector> {
    Connector::new(&network(variables), None, "dbt/4.0.0")
}

pub(crate) fn open(url: &str, connector: &Arc<Connector>) -> Box<dyn Source> {
    let url: RepositoryUrl = url.parse().unwrap();
    source::open(&url, connector, &Credentials::none())
}

const TOOL: &str = "tool/1.0.0+b/linux/amd64/tool";

fn names(source: &dyn Source, directory: &str) -> Vec<String> {
    let directory = if directory.is_empty() { RepoPath::root() } else { path(directory) };
    let listing = source.list(&directory, &patience()).unwrap();
    listing.entries().iter().map(ToString::to_string).collect()
}

#[test]
fn a_bucket_is_read_like_a_server() {
    let bucket = Bucket::new();
    let (own, tools) = (bucket.open("/dbt"), bucket.open("/dbt-tools"));
    let Answer::Document { bytes, etag } =
        own.get(&path("truststore"), &Ask::document(10, &patience())).unwrap()
    else {
        panic!("there was no earlier answer");
    };
    assert_eq!(bytes, b"keys");
    let again = own.get(&path("truststore"), &Ask::document(10, &patience()).unless(etag));
    assert_eq!(again.unwrap(), Answer::NotModified);
    assert_eq!(names(&*tools, ""), ["tool/"]);
    assert_eq!(names(&*tools, "tool"), ["1.0.0+b/"]);
    let mut opened = tools.open(&path(TOOL), 0, None, &patience()).unwrap();
    let mut content = String::new();
    opened.reader.read_to_string(&mut content).unwrap();
    assert_eq!((opened.length, content.lines().next()), (Some(31), Some("#!/bin/sh")));

    // Everything was signed, and nothing was asked that is not needed.
    let asked = bucket.server.take_requests();
    assert!(asked.iter().all(|asked| asked.key.as_deref() == Some(KEY.0)), "{asked:?}");
    let statuses: Vec<u16> = asked.iter().map(|asked| asked.status).collect();
    assert_eq!(statuses, [200, 304, 200, 200, 200]);
    // A plus is a space to S3 where it is not escaped.
    assert!(asked[4].request.path.contains("/1.0.0%2Bb/linux/"), "{}", asked[4].request.path);
}

#[test]
fn the_whole_bucket_can_be_a_repository() {
    let bucket = Bucket::new();
    bucket.write("1.2.3/linux/amd64/dbt", "x");
    let source = bucket.open("");
    assert_eq!(names(&*source, ""), ["1.2.3/", "dbt/", "dbt-tools/"]);
    assert_eq!(names(&*source, "1.2.3/linux"), ["amd64/"]);
}

#[test]
fn a_directory_is_there_if_anything_is_in_it_and_a_mark_is_nothing() {
    let bucket = Bucket::new();
    // What the reference needs and others do not make, alone and beside something.
    bucket.write("dbt-tools/marked/.mark", "");
    bucket.write("dbt-tools/tool/.mark", "");
    let source = bucket.open("/dbt-tools");
    for absent in ["none", "marked", "too", "tool/1.0.0"] {
        let error = source.list(&path(absent), &patience()).unwrap_err();
        assert_eq!(error.class(), Class::NotFound, "{absent}: {error:?}");
    }
    assert_eq!(names(&*source, "tool"), ["1.0.0+b/"]);
    let error = source.get(&path("none"), &Ask::document(10, &patience())).unwrap_err();
    assert_eq!(error.class(), Class::NotFound);
    // Nothing can be said about what is in a repository that is not there.
    let error = bucket.open("/elsewhere").list(&RepoPath::root(), &patience()).unwrap_err();
    assert!(matches!(error.failure(), Failure::RootMissing), "{error:?}");
}

#[test]
fn listings_are_read_page_by_page() {
    let bucket = Bucket::new();
    for number in 0..25 {
        bucket.write(&format!("dbt-tools/tool/2.{number}.0/a&b"), "x");
    }
    bucket.server.list_in_pages_of(4);
    let source = bucket.open("/dbt-tools");
    assert_eq!(names(&*source, "tool").len(), 26);
    assert_eq!(bucket.server.take_requests().len(), 7);
}

#[test]
fn what_was_cut_is_gone_on_with_unless_it_has_changed() {
    let bucket = Bucket::new();
    let content = "some bytes\n".repeat(1000);
    bucket.write(&format!("dbt-tools/{TOOL}"), &content);
    let source = bucket.open("/dbt-tools");
    bucket.server.cut_next_after(2000);
    let mut opened = source.open(&path(TOOL), 0, None, &patience()).unwrap();
    let mut begun = Vec::new();
    assert!(opened.reader.read_to_end(&mut begun).is_err());
    assert_eq!(begun.len(), 2000);
    let etag = opened.etag.unwrap();
    let mut rest = source.open(&path(TOOL), 2000, Some(&etag), &patience()).unwrap();
    assert_eq!((rest.offset, rest.length), (2000, Some(11_000)));
    rest.reader.read_to_end(&mut begun).unwrap();
    assert_eq!(begun, content.as_bytes());

    bucket.write(&format!("dbt-tools/{TOOL}"), &"other bytes".repeat(1000));
    let opened = source.open(&path(TOOL), 2000, Some(&etag), &patience()).unwrap();
    assert_eq!(opened.offset, 0, "from the beginning");
}

#[test]
fn a_bucket_is_found_in_its_region_once() {
    let bucket = Bucket::new();
    bucket.server.be_in("ap-south-2");
    let connector = signed();
    let url = format!("s3://{BUCKET}/dbt?endpoint={}", bucket.server.endpoint());
    for _time in 0..2 {
        let source = open(&url, &connector);
        let answer = source.get(&path("truststore"), &Ask::document(10, &patience())).unwrap();
        assert_eq!(text(answer), "keys");
    }
    let statuses: Vec<u16> = bucket.server.take_requests().iter().map(|it| it.status).collect();
    assert_eq!(statuses, [400, 200, 200]);

    // What a URL says is not guessed about.
    let error = bucket.open("/dbt").get(&path("truststore"), &Ask::document(10, &patience()));
    let error = error.unwrap_err();
    assert_eq!(
        said(&error),
        format!(
            "failed to read `URL`: the bucket `{BUCKET}` is in the region `ap-south-2`, not in `{REGION}`"
        )
    );
    assert_eq!(error.hint().unwrap(), "write `ap-south-2` into the URL in the configuration");
}

#[test]
fn the_environment_says_the_region_and_the_store_where_the_url_does_not() {
    let bucket = Bucket::new();
    let (id, secret) = KEY;
    let connector = with(&[
        ("AWS_ACCESS_KEY_ID", id),
        ("AWS_SECRET_ACCESS_KEY", secret),
        ("AWS_REGION", REGION),
        ("AWS_ENDPOINT_URL_S3", &bucket.server.endpoint()),
    ]);
    let source = open(&format!("s3://{BUCKET}/dbt"), &connector);
    let answer = source.get(&path("truststore"), &Ask::document(10, &patience())).unwrap();
    assert_eq!(text(answer), "keys");
    assert_eq!(bucket.server.take_requests().len(), 1);
}

#[test]
fn credentials_permission_and_absence_are_told_apart() {
    let bucket = Bucket::new();
    let get = |connector: &Arc<Connector>, url: &str| {
        let error = open(url, connector).get(&path("truststore"), &Ask::document(10, &patience()));
        error.unwrap_err()
    };
    let url = bucket.server.url("/dbt");
    let nobody = with(&[("AWS_EC2_METADATA_DISABLED", "true")]);
    let error = get(&nobody, &url);
    assert_eq!(error.class(), Class::SignIn);
    assert!(said(&error).contains("no AWS credentials were found"), "{}", said(&error));
    assert!(error.hint().unwrap().contains("AWS_PROFILE"));

    let stranger = with(&[
        ("AWS_ACCESS_KEY_ID", "AKSTRANGER"),
        ("AWS_SECRET_ACCESS_KEY", "aws-secret-of-a-stranger"),
    ]);
    let error = get(&stranger, &url);
    assert_eq!(error.class(), Class::SignIn);
    assert!(
        said(&error)
            .ends_with("the store does not accept the AWS key `AKSTRANGER` (InvalidAccessKeyId)"),
        "{}",
        said(&error)
    );
    assert_eq!(error.request_id(), Some("4442587FB7D0A2F9"));

    let wrong = with(&[
        ("AWS_ACCESS_KEY_ID", KEY.0),
        ("AWS_SECRET_ACCESS_KEY", "aws-secret-of-a-stranger"),
    ]);
    let error = get(&wrong, &url);
    assert!(said(&error).ends_with("(SignatureDoesNotMatch)"), "{}", said(&error));
    assert!(!format!("{error:?}").contains("aws-secret"));

    bucket.server.deny("GetObject");
    let error = get(&signed(), &url);
    assert_eq!(error.class(), Class::Forbidden);
    assert!(said(&error).ends_with(&format!("the AWS key `{}` has no permission `s3:GetObject` in the bucket `{BUCKET}` (AccessDenied)", KEY.0)), "{}", said(&error));
    assert!(error.hint().unwrap().contains("`s3:ListBucket`"));

    let other = format!("s3://other/dbt?region={REGION}&endpoint={}", bucket.server.endpoint());
    let error = get(&signed(), &other);
    assert!(
        matches!(error.failure(), Failure::Bucket(BucketProblem::NoBucket { .. })),
        "{error:?}"
    );
    assert_eq!(error.class(), Class::Outage);
}

#[test]
fn a_public_bucket_is_read_by_everybody_and_nothing_is_signed() {
    let bucket = Bucket::new();
    bucket.server.be_public();
    let nobody = with(&[("AWS_EC2_METADATA_DISABLED", "true")]);
    let source = open(&bucket.server.url("/dbt"), &nobody);
    let answer = source.get(&path("truststore"), &Ask::document(10, &patience())).unwrap();
    assert_eq!(text(answer), "keys");
    let asked = bucket.server.take_requests().remove(0);
    assert_eq!((asked.key, asked.request.header("authorization")), (None, None));
}

#[test]
fn a_store_that_is_busy_or_fails_is_asked_again() {
    let bucket = Bucket::new();
    bucket.server.answer_next([refusal(503, "SlowDown"), refusal(500, "InternalError")]);
    let source = bucket.open("/dbt");
    let answer = source.get(&path("truststore"), &Ask::document(10, &patience())).unwrap();
    assert_eq!(text(answer), "keys");
    assert_eq!(bucket.server.take_requests().len(), 3);
}

#[test]
fn documents_of_a_bucket_have_the_same_limits() {
    let bucket = Bucket::new();
    let source = bucket.open("/dbt");
    let error = source.get(&path("truststore"), &Ask::document(3, &patience())).unwrap_err();
    assert!(matches!(error.failure(), Failure::TooLarge { limit: 3 }));
    bucket.write("dbt/page", "<html>");
    let error = source.get(&path("page"), &Ask::document(10, &patience())).unwrap_err();
    assert!(matches!(error.failure(), Failure::Html { .. }));
}

#[test]
fn nothing_of_a_connector_shows_a_secret() {
    let shown = format!("{:?} {:?}", signed(), Network::default());
    assert!(!shown.contains("aws-secret"), "{shown}");
}
