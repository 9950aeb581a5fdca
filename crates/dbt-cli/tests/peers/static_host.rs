//! A directory that `publisher` wrote, on hosts that know nothing of repositories: one that lists
//! nothing itself, as GitHub Pages and content delivery networks do, and the usual web servers.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use dbt_core::platform::Platform;
use dbt_testkit::server::FileServer;
use tempfile::TempDir;

use crate::apache::apache;
use crate::daemon::Daemon;
use crate::life::Served as _;
use crate::nginx::nginx;
use crate::older_client;
use crate::reposerver::{PASSPHRASE, built};

/// Somebody who publishes to a directory, and a machine that uses what a host serves of it.
struct Site(TempDir);

impl Site {
    fn new() -> Self {
        let site = Self(tempfile::Builder::new().prefix("s").tempdir_in("/tmp").unwrap());
        // Apache runs as another user.
        fs::set_permissions(site.path(""), Permissions::from_mode(0o755)).unwrap();
        fs::create_dir(site.path("served")).unwrap();
        site.publisher("key generate demo --email demo@example.org");
        site.publisher("truststore add demo --to served --signer file:demo");
        site.publish("dbt", "4.0.0", "echo the first dbt");
        site.publish("hello", "1.9.0", "echo \"hello, $*\"; exit 7");
        let published = site.path(&format!("served/dbt/4.0.0/{}/dbt", Platform::CURRENT));
        fs::copy(published, site.path("dbt")).unwrap();
        fs::set_permissions(site.path("dbt"), Permissions::from_mode(0o755)).unwrap();
        site
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn publish(&self, tool: &str, version: &str, script: &str) {
        fs::write(self.path("script"), format!("#!/bin/sh\n{script}\n")).unwrap();
        let rest = if tool == "dbt" { "--force" } else { "--description says" };
        let platform = Platform::CURRENT;
        self.publisher(&format!(
            "publish {tool} {version} {platform}=script --to served --signer file:demo {rest}"
        ));
    }

    #[track_caller]
    fn publisher(&self, line: &str) {
        let output = self.run(&built("publisher"), line);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "publisher {line}: {said}");
    }

    fn run(&self, program: &Path, line: &str) -> Output {
        Command::new(program)
            .args(line.split(' '))
            .env_clear()
            .env("HOME", self.path("home"))
            .env("PATH", "/usr/bin:/bin")
            .env("DBT_SIGNING_PASSPHRASE", PASSPHRASE)
            .current_dir(self.path(""))
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    /// Lets our client and the older one use what is served, while more is published.
    #[track_caller]
    fn is_used_at(&self, root: &str) {
        let config = serde_json::json!({ "selfUpdate": "off", "servers": { "site": {
            "repository": format!("{root}/dbt"), "truststore": format!("{root}/dbt/truststore"),
            "toolsRepository": format!("{root}/dbt-tools"), "selfUpdate": "off",
        } } });
        let file = self.path("home/.dbt/conf/dbt.json");
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, config.to_string()).unwrap();

        self.both_say(root, 7, "hello, world\n");
        self.publish("hello", "1.10.0", "echo \"hello again, $*\"");
        self.both_say(root, 0, "hello again, world\n");
        self.publish("deploy", "2.0.0", "echo");
        let (output, _requests) = self.older(root, &["catalog"]);
        let listed = String::from_utf8(output.stdout).unwrap();
        assert_eq!(listed, "deploy 2.0.0 says\nhello 1.10.0 says\n");
        let output = self.run(Path::new(env!("CARGO_BIN_EXE_dbt")), "catalog list --json");
        let listed: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let listed = listed.to_string();
        assert!(listed.contains("deploy") && listed.contains("1.10.0"), "{listed}");
        assert!(!listed.contains("index.html"), "{listed}");

        self.publisher(
            "withdraw hello 1.10.0 --reason broken --to served --signer file:demo --yes",
        );
        let output = self.run(Path::new(env!("CARGO_BIN_EXE_dbt")), "hello world");
        assert_eq!(output.status.code(), Some(7), "{output:?}");
    }

    #[track_caller]
    fn both_say(&self, root: &str, code: i32, expected: &str) {
        let output = self.run(Path::new(env!("CARGO_BIN_EXE_dbt")), "hello world");
        assert_eq!(String::from_utf8_lossy(&output.stdout), expected, "{output:?}");
        assert_eq!(output.status.code(), Some(code), "{output:?}");
        let (output, requests) = self.older(root, &["run", "hello", "world"]);
        assert_eq!(String::from_utf8_lossy(&output.stdout), expected, "{output:?} {requests:?}");
        assert_eq!(output.status.code(), Some(code), "{output:?}");
        let refused = requests.iter().filter(|line| !line.ends_with(" 200"));
        assert_eq!(refused.count(), 0, "{requests:?}");
    }

    fn older(&self, root: &str, words: &[&str]) -> (Output, Vec<String>) {
        older_client::run(root, &self.path("dbt"), &self.path(""), words)
    }
}

#[test]
fn a_host_that_lists_nothing_serves_what_the_publisher_wrote() {
    let site = Site::new();
    let server = FileServer::start(&site.path("served"));
    server.show_pages_only();
    site.is_used_at(&server.url());
    let asked = server.take_requests();
    assert!(asked.iter().any(|received| received.line() == "GET /dbt-tools/hello/"), "{asked:?}");
}

#[test]
fn nginx_serves_what_the_publisher_wrote_with_and_without_its_own_listings() {
    for index in ["autoindex off;", "autoindex on;", "autoindex on; index none;"] {
        let site = Site::new();
        let server = nginx(&site.path("served"), site.0.path(), index);
        site.is_used_at(&server.root());
    }
}

/// Without the pages its own listings would be shown, and the older client takes the links by which
/// they are sorted for tools.
#[test]
fn apache_serves_what_the_publisher_wrote_whether_it_may_list_or_not() {
    for index in ["Options -Indexes", "Options Indexes"] {
        let site = Site::new();
        let server = apache(&site.path("served"), site.0.path(), index);
        site.is_used_at(&server.root());
    }
}

#[test]
fn python_serves_what_the_publisher_wrote() {
    use std::io::{BufRead as _, BufReader};

    let site = Site::new();
    let mut child = Command::new("python3")
        .args(["-u", "-m", "http.server", "0", "--bind", "127.0.0.1"])
        .current_dir(site.path("served"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut said = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut said).unwrap();
    let _daemon = Daemon(child);
    let port = said.split("port ").nth(1).and_then(|rest| rest.split(' ').next()).unwrap();
    site.is_used_at(&format!("http://127.0.0.1:{port}"));
}
