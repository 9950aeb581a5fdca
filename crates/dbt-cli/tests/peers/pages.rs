//! The pages for who publishes: each of their commands is typed as it stands there, into a
//! shell that finds our own programs, at our own server. Only where the server is differs.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use dbt_core::platform::Platform;
use dbt_testkit::planted::is_listed;
use serde_json::{Value, json};

use crate::reposerver::{PASSPHRASE, Reposerver, TOKEN, built};

const PUBLISHING: &str = include_str!("../../../../docs/publishing.md");
const VERIFYING: &str = include_str!("../../../../docs/verifying.md");
const CATALOG: &str = include_str!("../../../../docs/catalog.md");
const CATALOG_WEB: &str = include_str!("../../../../docs/catalog-web.md");

/// Where the pages have their server.
const ROOT: &str = "https://dbt.example.com";

/// A directory with what was built, and a home with the keys `demo`, `alice` and one of `gpg`.
struct Desk(Reposerver);

impl Desk {
    fn new() -> Self {
        let desk = Self(Reposerver::start());
        for name in ["bin", "desk", "g"] {
            fs::create_dir(desk.0.place().join(name)).unwrap();
        }
        for name in ["dbt", "catalog", "publisher", "reposerver"] {
            symlink(built(name), desk.0.place().join("bin").join(name)).unwrap();
        }
        is_listed(TOKEN);
        desk.write("token", TOKEN);
        desk.write(
            &format!("dist/{}/deploy", Platform::CURRENT),
            "#!/bin/sh\necho deploy \"$@\"\n",
        );
        desk.write("dist/description.txt", "ships it\n");
        let lines = [
            "chmod 700 \"$GNUPGHOME\"",
            "publisher key generate alice --email alice@example.org",
            "publisher truststore add alice --to https://dbt.example.com --signer file:demo",
            "dbt server add work https://dbt.example.com --yes",
        ];
        succeeds(&desk.types(&lines.join("\n")));
        desk
    }

    /// Gives the user a key of `gpg`'s that the truststore has.
    fn with_gpg(self) -> Self {
        let lines = [
            "gpg --quiet --batch --passphrase '' --quick-generate-key \
             'Releases <releases@example.com>' ed25519 sign never",
            "gpg --armor --export releases@example.com > upstream.asc",
            "publisher truststore add upstream.asc --signer file:demo",
            // The keys that it is shown are those that it trusts.
            "rm \"$HOME/.dbt/conf/dbt.json\"; dbt server add work https://dbt.example.com --yes",
        ];
        succeeds(&self.types(&lines.join("\n")));
        self
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.place().join("desk").join(name)
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn served(&self, path: &str) -> PathBuf {
        self.0.served().join(path)
    }

    /// Returns the artifact of a version of `deploy` on the server's disk.
    fn published(&self, version: &str) -> PathBuf {
        self.served(&format!("dbt-tools/deploy/{version}/{}/deploy", Platform::CURRENT))
    }

    /// Types lines into a shell.
    fn types(&self, lines: &str) -> Output {
        let bin = self.0.place().join("bin");
        Command::new("sh")
            .args(["-euc", &lines.replace(ROOT, self.0.root())])
            .current_dir(self.0.place().join("desk"))
            .env_clear()
            .env("PATH", format!("{}:/usr/bin:/bin", bin.display()))
            .env("HOME", self.0.home())
            .env("GNUPGHOME", self.0.place().join("g"))
            .env("DBT_SIGNING_PASSPHRASE", PASSPHRASE)
            .env("DBT_PUBLISH_TOKEN", TOKEN)
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        // GnuPG leaves its agent behind; this ends the one of this directory.
        let home = self.0.place().join("g");
        drop(Command::new("gpgconf").args(["--kill", "all"]).env("GNUPGHOME", home).output());
    }
}

fn said(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[track_caller]
fn succeeds(output: &Output) -> String {
    assert!(output.status.success(), "{}", said(output));
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// Returns the commands of a page, without prompts and remarks.
pub(crate) fn commands(page: &str) -> Vec<String> {
    let blocks = page.split("```console\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let mut commands: Vec<String> = Vec::new();
    for line in blocks.flat_map(str::lines) {
        let line = line.split("  #").next().unwrap().split(" # ").next().unwrap().trim_end();
        match commands.last_mut() {
            Some(before) if before.ends_with('\\') => {
                before.push('\n');
                before.push_str(line);
            }
            _ => commands.extend(line.strip_prefix("$ ").map(str::to_owned)),
        }
    }
    commands
}

/// Returns the first block of JSON on a page.
fn document(page: &str) -> Value {
    let text = page.split("```json\n").nth(1).unwrap().split("```").next().unwrap();
    serde_json::from_str(text).unwrap()
}

#[test]
fn what_the_page_about_publishing_types_publishes() {
    let all = commands(PUBLISHING);
    let [publish, stage, sign, gomason, release, from, withdraw] = all.as_slice() else {
        panic!("{all:#?}")
    };
    let desk = Desk::new().with_gpg();
    succeeds(&desk.types(publish));
    assert!(desk.published("1.4.0").exists());
    assert_eq!(succeeds(&desk.types("dbt deploy now")), "deploy now\n");

    let metadata = json!({
        "name": "deploy", "version": "1.6.0", "description": "ships it",
        "repository": format!("{}/dbt-tools", desk.0.root()),
        "publishing": {"targets": [{
            "src": "deploy_built", "sig": true,
            "dst": format!("{{{{.Repository}}}}/{{{{.Name}}}}/{{{{.Version}}}}/{}/{{{{.Name}}}}", Platform::CURRENT),
        }]},
    });
    desk.write("metadata.json", &metadata.to_string());
    desk.write("dist/deploy_built", "#!/bin/sh\necho of gomason\n");
    succeeds(&desk.types(gomason));
    assert_eq!(succeeds(&desk.types("dbt deploy")), "of gomason\n");

    fs::remove_dir_all(desk.path("dist")).unwrap();
    for name in ["dbt", "catalog", "publisher", "reposerver"] {
        desk.write(&format!("dist/{}/{name}", Platform::CURRENT), "#!/bin/sh\necho released\n");
    }
    desk.write("dist/VERSION", "0.0.1\n");
    // Without a terminal somebody else must say yes, as the page has it.
    let unasked = desk.types(release);
    assert_eq!(unasked.status.code(), Some(80), "{}", said(&unasked));
    assert!(!desk.served("dbt/latest").exists());
    succeeds(&desk.types(&format!("{release} --yes")));
    assert_eq!(fs::read_to_string(desk.served("dbt/latest")).unwrap(), "0.0.1");

    fs::create_dir(desk.path("mine")).unwrap();
    let from = from.replace("https://upstream.example.com", ROOT).replace("--to DIR", "--to mine");
    succeeds(&desk.types(&from));
    assert_eq!(fs::read_to_string(desk.path("mine/dbt/latest")).unwrap(), "0.0.1");

    // A version that waits for a key, on a server that does not have it yet.
    let desk = Desk::new();
    succeeds(&desk.types(stage));
    assert!(!desk.published("1.4.0").exists());
    let asked = desk.types(sign);
    assert_eq!(asked.status.code(), Some(80), "{}", said(&asked));
    let shown = format!("{}{}", String::from_utf8_lossy(&asked.stdout), said(&asked));
    for words in ["`deploy` 1.4.0, ", &format!("{}  ", Platform::CURRENT), " bytes (new)"] {
        assert!(shown.contains(words), "{words}: {shown}");
    }
    assert!(!desk.published("1.4.0").exists());
    succeeds(&desk.types(&format!("{sign} --yes")));
    assert!(desk.published("1.4.0").exists());

    let withdrawn = desk.types(withdraw);
    succeeds(&withdrawn);
    let words = format!("never runs again: deploy 1.4.0 ({})", Platform::CURRENT);
    assert!(said(&withdrawn).contains(&words), "{}", said(&withdrawn));
    // There is no other version, so that there is none that runs.
    let run = desk.types("dbt deploy");
    assert_eq!(run.status.code(), Some(86), "{}", said(&run));
    let words = "every release of `deploy` is withdrawn: it deletes what it should keep";
    assert!(said(&run).contains(words), "{}", said(&run));
}

#[test]
fn what_the_page_about_verifying_types_finds_what_it_shows() {
    let all = commands(VERIFYING);
    let [verify] = all.as_slice() else { panic!("{all:#?}") };
    let desk = Desk::new();
    succeeds(&desk.types("publisher publish deploy 1.4.0 dist --signer file:alice"));
    let in_order = desk.types(verify);
    assert_eq!((succeeds(&in_order), said(&in_order)), (String::new(), String::new()));

    fs::write(desk.published("1.4.0"), "#!/bin/sh\necho evil\n").unwrap();
    let found = desk.types(verify);
    assert_eq!(found.status.code(), Some(86), "{}", said(&found));
    let printed = String::from_utf8_lossy(&found.stdout).into_owned();
    let shown = VERIFYING.split("error: artifact-changed: `").nth(1).unwrap();
    let (place, shown) = shown.split_once("`: ").unwrap();
    let place = place.replace("linux/amd64", &Platform::CURRENT.to_string());
    let words = shown.split("expected ").next().unwrap();
    let words = words.replace("linux/amd64", &Platform::CURRENT.to_string());
    let line =
        format!("error: artifact-changed: `{}`: {words}", place.replace(ROOT, desk.0.root()));
    assert!(printed.contains(&line), "{line}\n{printed}");
    for line in VERIFYING.lines().filter(|line| line.starts_with("artifact-changed: ")) {
        assert!(printed.contains(line), "{line}\n{printed}");
    }
    let end = "error: the repository is not in order: errors: 1, warnings: 0";
    assert!(said(&found).contains(end), "{}", said(&found));

    let found = desk.types(&format!("{verify} --json"));
    let printed: Value = serde_json::from_slice(&found.stdout).unwrap();
    let shown = document(VERIFYING);
    let names = |of: &Value| of.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&printed), names(&shown));
    assert_eq!(names(&printed["lookedAt"]), names(&shown["lookedAt"]));
    assert_eq!(names(&printed["findings"][0]), names(&shown["findings"][0]));
    assert_eq!(printed["schema"], shown["schema"]);
}

#[test]
fn what_the_page_about_the_catalog_types_shows_and_deletes() {
    let all = commands(CATALOG);
    let (looks, deletes): (Vec<_>, Vec<_>) =
        all.iter().partition(|command| command.starts_with("dbt catalog "));
    assert_eq!((looks.len(), deletes.len()), (5, 6), "{all:#?}");
    let desk = Desk::new();
    for version in ["1.2.0", "1.3.0", "1.4.0"] {
        let line = format!("publisher publish deploy {version} dist --signer file:alice");
        succeeds(&desk.types(&line));
    }
    let backup = format!(
        "publisher publish keep 1.0.0 {}=keep --description 'makes a Backup' --signer file:alice",
        Platform::CURRENT
    );
    desk.write("keep", "#!/bin/sh\necho kept\n");
    succeeds(&desk.types(&backup));
    for look in looks {
        let shown = succeeds(&desk.types(look));
        let tool = if look.contains("search backup") { "keep" } else { "deploy" };
        assert!(shown.contains(tool), "{look}: {shown}");
    }
    let there = || ["1.2.0", "1.3.0", "1.4.0"].map(|version| desk.published(version).exists());
    for delete in &deletes {
        succeeds(&desk.types(&format!("{delete} --dry-run")));
        assert_eq!(there(), [true; 3], "{delete}");
    }
    let unasked = desk.types(deletes[0]);
    assert_eq!(unasked.status.code(), Some(80), "{}", said(&unasked));
    assert_eq!(there(), [true; 3]);
    succeeds(&desk.types(&format!("{} --yes", deletes[0])));
    assert_eq!(there(), [false, false, true]);
}

#[test]
fn the_settings_of_the_page_about_the_pages_are_taken_as_they_are() {
    let desk = Desk::new();
    let secret = "/etc/reposerver/catalog-secret";
    let mut settings = document(CATALOG_WEB);
    assert_eq!(settings["web"]["signIn"]["clientSecretFile"], secret);
    settings["web"]["signIn"]["clientSecretFile"] = json!(desk.path("token"));
    settings["serverRoot"] = json!(desk.path("dist"));
    desk.write("reposerver.json", &settings.to_string());
    succeeds(&desk.types("chmod 600 token; reposerver -f reposerver.json check-config"));
    settings["web"]["signIn"]["clientId"] = json!("");
    desk.write("reposerver.json", &settings.to_string());
    let refused = desk.types("reposerver -f reposerver.json check-config");
    assert!(!refused.status.success(), "the provider has to know the pages");
    let words = "`web.signIn.clientId` is needed";
    assert!(said(&refused).contains(words), "{}", said(&refused));
}
