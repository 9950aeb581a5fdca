//! Buckets at `moto`, an emulator of AWS in Python, and the command line of AWS itself: what the page
//! about buckets says, typed as it stands there, under the policies that it gives.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use dbt_core::platform::Platform;
use dbt_testkit::http;
use serde_json::Value;
use tempfile::TempDir;

use crate::daemon::Daemon;
use crate::pages::commands;
use crate::reposerver::{PASSPHRASE, built};

const PAGE: &str = include_str!("../../../../docs/s3.md");

/// The bucket of the page.
const BUCKET: &str = "acme-tools";

/// Returns a program that `scripts/install-peers` has installed.
fn peer(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/peers/bin").join(name)
}

/// The emulator, and somebody's machine.
struct Cloud {
    place: TempDir,
    endpoint: String,
    /// Who types: a key and its secret.
    who: (String, String),
    _daemon: Daemon,
}

impl Cloud {
    /// Starts it with the bucket of the page, in which everybody may do everything for now.
    fn start() -> Self {
        let mut child = Command::new(peer("moto_server"))
            .args(["-H", "127.0.0.1", "-p", "0"])
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("PYTHONUNBUFFERED", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("scripts/install-peers installs moto: {error}"));
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let daemon = Daemon(child);
        let endpoint = lines
            .by_ref()
            .map_while(Result::ok)
            .find_map(|line| Some(line.split("Running on ").nth(1)?.trim().to_owned()))
            .unwrap_or_else(|| panic!("it did not say where it listens"));
        // It ends when it cannot say what it wants to.
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
        let place = tempfile::Builder::new().prefix("m").tempdir_in("/tmp").unwrap();
        for name in ["bin", "home", "desk"] {
            fs::create_dir(place.path().join(name)).unwrap();
        }
        for name in ["dbt", "publisher"] {
            symlink(built(name), place.path().join("bin").join(name)).unwrap();
        }
        // A shell script of its own, so that nothing else of that directory is found.
        let aws = format!(
            "#!/bin/sh\nexec '{}' '{}' \"$@\"\n",
            peer("python").display(),
            peer("aws").display()
        );
        let file = place.path().join("bin/aws");
        fs::write(&file, aws).unwrap();
        fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let who = ("AKFIRST".to_owned(), "aws-secret-of-the-first".to_owned());
        let cloud = Self { place, endpoint, who, _daemon: daemon };
        cloud.succeeds(&format!("aws s3api create-bucket --bucket {BUCKET} --create-bucket-configuration LocationConstraint=eu-west-1"));
        cloud
    }

    fn path(&self, name: &str) -> PathBuf {
        self.place.path().join("desk").join(name)
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Builds a version of `deploy`, and makes a key.
    fn build(&self, text: &str) {
        let script = format!("#!/bin/sh\necho {text} \"$@\"\n");
        self.write(&format!("dist/{}/deploy", Platform::CURRENT), &script);
    }

    fn types(&self, lines: &str) -> Output {
        let bin = self.place.path().join("bin");
        let (key, secret) = &self.who;
        Command::new("sh")
            .args(["-euc", lines])
            .current_dir(self.place.path().join("desk"))
            .env_clear()
            .env("PATH", format!("{}:/usr/bin:/bin", bin.display()))
            .env("HOME", self.place.path().join("home"))
            .env("DBT_SIGNING_PASSPHRASE", PASSPHRASE)
            .env("AWS_ACCESS_KEY_ID", key)
            .env("AWS_SECRET_ACCESS_KEY", secret)
            .env("AWS_DEFAULT_REGION", "eu-west-1")
            .env("AWS_ENDPOINT_URL", &self.endpoint)
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    #[track_caller]
    fn succeeds(&self, lines: &str) -> String {
        let output = self.types(lines);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{lines}\n{said}");
        String::from_utf8(output.stdout).unwrap()
    }

    #[track_caller]
    fn fails(&self, lines: &str, code: i32, words: &str) {
        let output = self.types(lines);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{said}");
        assert!(said.contains(words), "`{words}` is not in: {said}");
    }

    /// Returns the keys of all objects.
    fn keys(&self) -> Vec<String> {
        let text = self.succeeds(&format!("aws s3api list-objects-v2 --bucket {BUCKET}"));
        let read: Value = serde_json::from_str(&text).unwrap();
        let objects = read["Contents"].as_array().unwrap();
        objects.iter().map(|object| object["Key"].as_str().unwrap().to_owned()).collect()
    }

    /// Makes a user with a policy of the page; whoever types from now on is that one.
    fn become_one_with(&mut self, policy: &str) {
        let policies: Vec<&str> = PAGE.split("<!-- policy: ").skip(1).collect();
        let text = policies.iter().find(|text| text.starts_with(policy)).unwrap();
        let text = text.split("```json\n").nth(1).unwrap().split("```").next().unwrap();
        self.write("policy.json", text);
        self.succeeds(&format!("aws iam create-user --user-name {policy}"));
        self.succeeds(&format!("aws iam put-user-policy --user-name {policy} --policy-name p --policy-document file://policy.json"));
        let made = self.succeeds(&format!("aws iam create-access-key --user-name {policy}"));
        let made: Value = serde_json::from_str(&made).unwrap();
        let of = |name: &str| made["AccessKey"][name].as_str().unwrap().to_owned();
        self.who = (of("AccessKeyId"), of("SecretAccessKey"));
    }

    /// Lets the emulator judge signatures and policies from the next request on.
    fn judges_from_now_on(&self) {
        let url = format!("{}/moto-api/reset-auth", self.endpoint);
        let answer = http::ask("POST", &url, &[], Some(("text/plain", "0"))).unwrap();
        assert_eq!(answer.status, 200);
    }
}

/// A desk with a key, and a version that was built.
fn cloud() -> Cloud {
    let cloud = Cloud::start();
    cloud.build("deploy");
    cloud.succeeds("publisher key generate alice --email alice@example.org");
    cloud
}

#[test]
fn what_the_page_about_buckets_says_is_done_by_typing_it() {
    let cloud = cloud();
    let typed = commands(PAGE);
    let of = |beginning: &str| -> Vec<String> {
        typed.iter().filter(|line| line.starts_with(beginning)).cloned().collect()
    };
    assert_eq!(of("publisher ").len() + of("dbt ").len() + of("aws ").len(), typed.len());
    let [truststore, first, verify, second] = &of("publisher ")[..] else { panic!("{typed:?}") };
    let [add, run] = &of("dbt ")[..] else { panic!("{typed:?}") };

    cloud.succeeds(truststore);
    cloud.succeeds(first);
    cloud.succeeds(verify);
    cloud.succeeds(add);
    assert_eq!(cloud.succeeds(run), "deploy\n");
    assert_eq!(cloud.succeeds(&format!("{run} again")), "deploy again\n");
    assert!(!cloud.keys().iter().any(|key| key.ends_with("index.html")));

    for line in of("aws ") {
        cloud.succeeds(&line);
    }
    cloud.build("deploy 1.5.0");
    cloud.succeeds(second);
    assert_eq!(cloud.succeeds(run), "deploy 1.5.0\n");
    let page = cloud.succeeds(&format!("aws s3 cp s3://{BUCKET}/dbt-tools/deploy/index.html -"));
    assert!(page.contains("1.4.0/") && page.contains("1.5.0/"), "{page}");
    let head = cloud.succeeds(&format!(
        "aws s3api head-object --bucket {BUCKET} --key dbt-tools/deploy/1.5.0/{}/deploy",
        Platform::CURRENT
    ));
    assert!(head.contains("public, max-age=31536000, immutable"), "{head}");

    cloud.succeeds(
        "publisher withdraw deploy 1.5.0 --reason broken --to s3://acme-tools --signer file:alice",
    );
    assert_eq!(cloud.succeeds(run), "deploy\n");
    cloud.succeeds("publisher delete deploy 1.5.0 --yes --to s3://acme-tools");
    assert!(!cloud.keys().iter().any(|key| key.contains("deploy/1.5.0")), "{:?}", cloud.keys());
}

#[test]
fn what_is_read_only_reads_and_who_publishes_one_tool_publishes_no_other() {
    let mut cloud = cloud();
    let typed = commands(PAGE);
    cloud.succeeds(
        &typed.iter().find(|line| line.starts_with("publisher truststore")).unwrap().clone(),
    );
    let publish = typed.iter().find(|line| line.starts_with("publisher publish")).unwrap().clone();
    cloud.become_one_with("publishers");
    let publisher = cloud.who.clone();
    cloud.become_one_with("readers");
    let reader = cloud.who.clone();
    cloud.judges_from_now_on();

    cloud.fails(&publish, 83, "has no permission `s3:PutObject` in the bucket `acme-tools`");
    cloud.who = publisher;
    cloud.succeeds(&publish);
    let other = publish.replace("deploy 1.4.0 dist", "other 1.4.0 dist2");
    cloud.write(&format!("dist2/{}/other", Platform::CURRENT), "#!/bin/sh\n");
    cloud.fails(&other, 83, "has no permission `s3:PutObject` in the bucket `acme-tools`");

    cloud.who = reader;
    cloud.succeeds("dbt server add acme s3://acme-tools --yes");
    assert_eq!(cloud.succeeds("dbt deploy"), "deploy\n");
    cloud.who.1 = "aws-secret-of-nobody".to_owned();
    cloud.fails("dbt fetch other", 83, "does not accept the AWS key");
}

#[test]
fn of_eight_who_publish_the_same_version_one_wins() {
    let cloud = cloud();
    let typed = commands(PAGE);
    cloud.succeeds(
        &typed.iter().find(|line| line.starts_with("publisher truststore")).unwrap().clone(),
    );
    let publish = typed.iter().find(|line| line.starts_with("publisher publish")).unwrap().clone();
    for number in 0..8 {
        let file = format!("dist-{number}/{}/deploy", Platform::CURRENT);
        cloud.write(&file, &format!("#!/bin/sh\necho {number}\n"));
    }
    let codes: Vec<Option<i32>> = std::thread::scope(|scope| {
        let begin = |number: usize| {
            let line = publish.replace(" dist ", &format!(" dist-{number} "));
            let cloud = &cloud;
            scope.spawn(move || cloud.types(&line).status.code())
        };
        let started: Vec<_> = (0..8).map(begin).collect();
        started.into_iter().map(|run| run.join().unwrap()).collect()
    });
    let winners: Vec<usize> = (0..8).filter(|number| codes[*number] == Some(0)).collect();
    assert!(winners.len() <= 1, "{codes:?}");
    let bytes = cloud.succeeds(&format!(
        "aws s3 cp s3://{BUCKET}/dbt-tools/deploy/1.4.0/{}/deploy -",
        Platform::CURRENT
    ));
    if let [winner] = winners.as_slice() {
        assert_eq!(bytes, format!("#!/bin/sh\necho {winner}\n"));
        cloud.succeeds("publisher verify --to s3://acme-tools");
    }
}

#[test]
fn a_large_file_goes_there_in_parts_and_comes_back_whole() {
    let cloud = cloud();
    let typed = commands(PAGE);
    let of =
        |beginning: &str| typed.iter().find(|line| line.starts_with(beginning)).unwrap().clone();
    cloud.succeeds(&of("publisher truststore"));
    // Three parts: a script that ends before what makes it large.
    let padding = "# 0123456789abcdef\n".repeat(1_000_000);
    cloud.build(&format!("large; exit\n{padding}#"));
    cloud.succeeds(&of("publisher publish"));
    let key = format!("dbt-tools/deploy/1.4.0/{}/deploy", Platform::CURRENT);
    let head = cloud.succeeds(&format!("aws s3api head-object --bucket {BUCKET} --key {key}"));
    let head: Value = serde_json::from_str(&head).unwrap();
    assert!(head["ETag"].as_str().unwrap().ends_with("-3\""), "{head}");
    assert_eq!(head["CacheControl"], "public, max-age=31536000, immutable");
    let uploads = cloud
        .succeeds(&format!("aws s3api list-multipart-uploads --bucket {BUCKET} --query Uploads"));
    assert!(["", "null", "[]"].contains(&uploads.trim()), "{uploads}");

    cloud.succeeds(&of("publisher verify"));
    cloud.succeeds(&of("dbt server add"));
    assert_eq!(cloud.succeeds("dbt deploy"), "large\n");
    cloud.build("other");
    cloud.fails(&of("publisher publish"), 86, "is published with other content");
}
