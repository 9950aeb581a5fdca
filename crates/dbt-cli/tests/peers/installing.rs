//! docs/installing.md: an organisation's installers are made, published, run, and taken back, by the
//! commands of the page.

use std::fs;

use dbt_core::platform::Platform;
use dbt_core::trust::keys::Keyring;
use serde_json::{Value, json};

use crate::desk::Desk;
use crate::page::Page;
use crate::reposerver::{PASSPHRASE, Reposerver, TOKEN};

const PAGE: &str = include_str!("../../../../docs/installing.md");

/// The settings of the page, for a server at which nobody has to sign in.
fn settings(page: &Page, server: &Reposerver) -> String {
    let exported = server.publisher_as(&["key", "export", "demo"], ("LANG", "C".as_ref()));
    let keyring = Keyring::parse(&exported.stdout).unwrap();
    let key = keyring.certificates[0].fingerprint().to_string();
    let text = page.block("json", "organisation").replace("FINGERPRINT", &key);
    let mut settings: Value = serde_json::from_str(&text).unwrap();
    for name in ["authType", "issuerUrl", "oidcClientId"] {
        settings.as_object_mut().unwrap().remove(name).unwrap();
    }
    assert_eq!(settings["url"], json!(server.root()));
    settings.to_string()
}

#[test]
fn what_the_page_about_installing_types_installs_and_takes_back() {
    let server = Reposerver::start();
    server.publish("hello", "1.0.0", "echo \"hello, $*\"");
    let desk = Desk::new();
    desk.set("DBT_PUBLISH_TOKEN", TOKEN);
    desk.set("DBT_SIGNING_PASSPHRASE", PASSPHRASE);
    let key = server.key();
    let instead = [("https://dbt.example.com", server.root()), ("file:releases", key.as_str())];
    let mut page = Page::of(PAGE, &instead);
    let users = ["./dbt-installer", "./dbt-installer uninstall", "./dbt-installer --yes"];
    let [install, uninstall, unattended] = users.map(|begin| page.next(begin));

    // Whoever administers the server.
    let platform = Platform::CURRENT;
    let release = format!("dist/{platform}");
    desk.release(&release);
    for name in ["catalog", "publisher", "reposerver"] {
        desk.write(&format!("{release}/{name}"), "#!/bin/sh\n");
    }
    desk.write("dist/VERSION", "4.0.0\n");
    desk.write("dbt-installer.json", settings(&page, &server));
    let printed = desk.types(&page.next("publisher installer dist"));
    let made = format!("dist/installer/{platform}/dbt-installer");
    assert!(printed.contains(&made), "{printed}");
    let published = desk.agrees_to(&page.next("publisher release dist"));
    assert!(published.status.success(), "{published:?}");
    let at = format!("dbt/installer/{platform}/dbt-installer");
    let baked = fs::read(server.served().join(at)).unwrap();
    assert!(baked == fs::read(desk.path(&made)).unwrap(), "another one was published");

    let script = server.served().join("dbt/install_dbt.sh");
    let checked = desk.command("shellcheck").args(["-s", "sh"]).arg(&script).output();
    let checked =
        checked.unwrap_or_else(|error| panic!("shellcheck: {error}; run scripts/install-peers"));
    assert!(checked.status.success(), "{checked:?}");

    // Whoever has downloaded it. The settings are in it.
    fs::remove_file(desk.path("dbt-installer.json")).unwrap();
    fs::copy(desk.path(&made), desk.path("dbt-installer")).unwrap();
    let installed = desk.path("home/.local/bin/dbt");
    let run = desk.agrees_to(&install);
    let said = String::from_utf8_lossy(&run.stdout).into_owned();
    assert!(run.status.success() && said.contains("organisation: Example Ltd"), "{said}");
    assert!(installed.exists());
    let run = desk.agrees_to(&uninstall);
    assert!(run.status.success() && !installed.exists(), "{run:?}");
    assert!(!desk.path("home/.dbt/conf/dbt.json").exists());

    desk.types(&unattended);
    assert_eq!(desk.types("$HOME/.local/bin/dbt hello world"), "hello, world\n");
    assert!(desk.path("home/.profile").exists());
    desk.types("./dbt-installer uninstall --yes");
    assert!(!installed.exists() && !desk.path("home/.profile").exists());

    // What variables become is tried in `build_installer`.
    for _ in 0..2 {
        page.next("make build-installer SERVER_URL=");
    }

    // The line of handbooks.
    desk.types(&page.next("curl -fsSL"));
    assert_eq!(desk.types("$HOME/.local/bin/dbt hello world"), "hello, world\n");
    page.ends();
}
