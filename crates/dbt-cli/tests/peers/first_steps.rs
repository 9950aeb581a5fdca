//! README.md from the programs to a tool that runs: its five steps, as they are typed.

use std::fs;

use dbt_core::platform::Platform;
use dbt_core::trust::keys::Keyring;
use serde_json::{Value, json};

use crate::desk::Desk;
use crate::page::Page;
use crate::reposerver::{PASSPHRASE, Reposerver};

const PAGE: &str = include_str!("../../../../README.md");

const TITLE: &str = "Your own repository, in five steps";

#[test]
fn the_five_steps_lead_from_an_empty_directory_to_a_tool_that_runs() {
    let desk = Desk::new();
    desk.set("DBT_SIGNING_PASSPHRASE", PASSPHRASE);
    let page = Page::section(PAGE, TITLE, &[]);
    let settings: Value = serde_json::from_str(&page.block("json", "serverRoot")).unwrap();
    assert_eq!(settings["tokens"][0]["file"], "/etc/reposerver/token");

    // 1. A repository. The server has a port of its own here.
    let etc = desk.path("etc");
    fs::create_dir(&etc).unwrap();
    fs::create_dir(desk.path("srv")).unwrap();
    let there = format!("{}/", etc.display());
    let instead = [("/etc/reposerver/", there.as_str())];
    let mut page = Page::section(PAGE, TITLE, &instead);
    desk.types(&page.next("openssl rand -hex 32"));
    let mut written = settings.clone();
    written["tokens"][0]["file"] = json!(etc.join("token"));
    written["serverRoot"] = json!(desk.path("srv"));
    desk.write("etc/reposerver.json", written.to_string());
    desk.types(&page.next("reposerver -f"));
    let mut started = settings;
    started["tokens"][0]["file"] = json!(etc.join("token"));
    started["authOptsPut"] = json!({});
    // It would tell clients to go there.
    for name in ["serverRoot", "publicUrls"] {
        started.as_object_mut().unwrap().remove(name).unwrap();
    }
    let server = Reposerver::empty(&started);
    fs::copy(etc.join("token"), desk.path("token")).unwrap();

    // What was built.
    desk.release("target/release");
    desk.write("deploy", "#!/bin/sh\necho \"deploys $*\"\n");
    let platform = Platform::CURRENT.to_string();
    let instead = [
        ("https://dbt.example.com", server.root()),
        ("linux/amd64", platform.as_str()),
        ("/etc/reposerver/", there.as_str()),
    ];
    let mut page = Page::section(PAGE, TITLE, &instead);
    for done in ["openssl rand -hex 32", "reposerver -f"] {
        page.next(done);
    }

    // 2. Keys. 3. dbt itself, and a tool.
    desk.types(&page.next("publisher key generate alice"));
    desk.types(&page.next("publisher truststore add alice"));
    for what in ["publisher publish dbt 4.0.0", "publisher publish deploy 1.0.0"] {
        assert_eq!(desk.types(&page.next(what)), "");
    }

    // 4. An installer, with the key that was made.
    let listed: Value = serde_json::from_str(&desk.types("publisher key list --json")).unwrap();
    let known = listed.to_string();
    let fingerprint = known.split('"').find(|word| word.len() == 40).unwrap().to_owned();
    let baked = page.block("json", "organisation").replace("FINGERPRINT", &fingerprint);
    desk.write("dbt-installer.json", baked);
    desk.types(&page.next("publisher installer"));
    desk.types(&page.next("publisher release dist"));
    let installed = desk.agrees_to(&page.next("curl -fsSL"));
    let said = String::from_utf8_lossy(&installed.stdout).into_owned();
    assert!(installed.status.success() && said.contains("Example Ltd"), "{said}");
    assert!(said.contains(&fingerprint), "{fingerprint}: {said}");
    let program = fs::read(desk.path("home/.local/bin/dbt")).unwrap();
    assert!(program == fs::read(desk.path("target/release/dbt")).unwrap());

    // Somebody who has the program.
    let line = page.next("dbt server add work");
    fs::create_dir(desk.path("other")).unwrap();
    let home = desk.path("other").display().to_string();
    let added = desk.agrees_to(&format!("export HOME={home}; {line}"));
    let said = String::from_utf8_lossy(&added.stdout).into_owned();
    assert!(added.status.success() && said.contains(&fingerprint), "{fingerprint}: {said}");

    // 5. Use.
    assert!(desk.types(&page.next("dbt catalog list")).contains("deploy"));
    assert_eq!(desk.types(&page.next("dbt deploy --help")), "deploys --help\n");
    assert_eq!(desk.types(&page.next("dbt deploy@1.0 status")), "deploys status\n");
    assert_eq!(desk.types(&page.next("dbt -o deploy status")), "deploys status\n");
    page.ends();
    assert_eq!(fs::read(server.served().join("dbt/latest")).unwrap(), b"4.0.0");
}

/// What `make` does was done for these tests, or is a step of its own.
#[test]
fn what_is_installed_from_source_is_what_make_builds() {
    let mut page = Page::section(PAGE, "From source", &[]);
    let makefile = include_str!("../../../../Makefile");
    for target in ["demo", "test", "build"] {
        let typed = page.next("make ");
        assert_eq!(typed.split('#').next().unwrap().trim(), format!("make {target}"));
        assert!(makefile.contains(&format!("\n{target}: ")), "{target}");
    }

    let desk = Desk::new();
    for name in ["dbt", "catalog", "publisher", "reposerver"] {
        desk.write(&format!("target/release/{name}"), "#!/bin/sh\n");
    }
    // The braces are of the shell that people have.
    let line = page.next("install -D -t ~/.local/bin");
    let installed = desk.command("bash").args(["-ec", &line]).output().unwrap();
    assert!(installed.status.success(), "{installed:?}");
    for name in ["dbt", "catalog", "publisher", "reposerver"] {
        assert!(desk.path("home/.local/bin").join(name).is_file(), "{name}");
    }
    page.ends();
}

#[test]
fn what_a_client_types_to_try_it_is_what_quickstart_prints() {
    let desk = Desk::new();
    let mut page = Page::section(PAGE, "Try it", &[]);
    assert_eq!(page.next("reposerver quickstart"), "reposerver quickstart");
    let (_server, printed) = desk.start(&["dbt-quickstart", "-p", "0"]);
    let address = printed.split("http://").nth(1).unwrap();
    let address = address.split(|it: char| it.is_whitespace()).next().unwrap();
    let add = page.next("dbt server add quickstart").replace("127.0.0.1:9999", address);
    assert!(printed.contains(&add), "{add}: {printed}");
    assert!(desk.agrees_to(&add).status.success());
    assert_eq!(desk.types(&page.next("dbt hello")), "hello, world\n");
    page.ends();
}

/// The form that people write by hand, and what is left of the page for other tests: its recipe.
#[test]
fn the_configuration_by_hand_is_read_as_it_stands_there() {
    let server = Reposerver::start();
    server.publish("hello", "1.0.0", "echo \"hello, $*\"");
    let desk = Desk::new();
    let page = Page::of(PAGE, &[("https://dbt.example.com", server.root())]);
    let config = page.block("json", "toolsRepository");
    let exported = server.publisher_as(&["key", "export", "demo"], ("LANG", "C".as_ref()));
    let keyring = Keyring::parse(&exported.stdout).unwrap();
    let key = keyring.certificates[0].fingerprint().to_string();
    let config = config.replace("0123456789ABCDEF0123456789ABCDEF01234567", &key);
    desk.write("home/.dbt/conf/dbt.json", &config);
    let run = desk.tries("dbt hello world");
    assert_eq!(run.stdout, b"hello, world\n", "{run:?}");
    assert!(run.stderr.is_empty(), "it names the key, so nothing is said: {run:?}");
    // Were the key not read, nothing would be refused.
    let new = Desk::new();
    new.write("home/.dbt/conf/dbt.json", config.replace(&key, &"F".repeat(40)));
    let run = new.tries("dbt hello world");
    assert!(run.status.code() == Some(86) && run.stdout.is_empty(), "{run:?}");
}

/// `handmade` follows the recipe at the end of the page.
#[test]
fn every_section_with_commands_is_typed_by_a_test() {
    let sections = PAGE.split("\n## ").skip(1);
    let typed = sections.filter(|section| section.contains("```console"));
    let titles: Vec<&str> = typed.filter_map(|section| section.lines().next()).collect();
    assert_eq!(titles, ["From source", "Try it", TITLE, "A repository by hand"]);
}
