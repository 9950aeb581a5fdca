//! The commands of pages that lead through what a repository has: each is typed as it stands there.

use std::fs;

use dbt_core::platform::Platform;
use serde_json::json;

use crate::place::Place;
use crate::reposerver::TOKEN;

const CATALOG: &str = include_str!("../../../../docs/catalog.md");
const PUBLISHING: &str = include_str!("../../../../docs/publishing.md");
const VERIFYING: &str = include_str!("../../../../docs/verifying.md");

/// Types the next command on a terminal, and says yes.
#[track_caller]
fn agrees(place: &mut Place, begin: &str) -> String {
    let line = place.page.next(begin);
    let output = place.desk.agrees_to(&line);
    let shown = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{line}: {shown}");
    shown
}

#[test]
fn the_commands_about_the_catalog_show_and_delete_what_they_say() {
    let mut place = Place::of(CATALOG, "");
    for version in ["1.1.0", "1.2.0", "1.3.0", "1.4.0"] {
        place.publish(version, "alice");
    }
    for (begin, words) in [
        ("dbt catalog list  ", "1.4.0"),
        ("dbt catalog list --all-platforms", "1.4.0"),
        ("dbt catalog list --versions", "1.1.0"),
        ("dbt catalog search backup", ""),
        ("dbt catalog show deploy", "1.4.0"),
    ] {
        let shown = place.types(begin);
        assert!(shown.contains(words), "{begin}: {shown}");
    }
    let left = |place: &Place| {
        let versions = fs::read_dir(place.server.served().join("dbt-tools/deploy"));
        let names = versions.into_iter().flatten().map(|it| it.unwrap().file_name());
        let mut names: Vec<String> = names.map(|name| name.into_string().unwrap()).collect();
        names.sort();
        names
    };
    for (begin, stay) in [
        ("publisher delete deploy 1.2.0 1.3.0", &["1.1.0", "1.4.0"][..]),
        ("publisher delete deploy --older-than 90d", &["1.1.0", "1.4.0"]),
        ("publisher delete deploy --keep 5  ", &["1.1.0", "1.4.0"]),
        ("publisher delete deploy --keep 5 --older-than 90d", &["1.1.0", "1.4.0"]),
        ("publisher delete deploy --keep-latest", &["1.4.0"]),
        ("publisher delete deploy --all", &[]),
    ] {
        agrees(&mut place, begin);
        assert_eq!(left(&place), stay, "{begin}");
    }
    place.page.is_done();
}

#[test]
fn the_commands_about_publishing_publish_stage_and_release() {
    let mut place = Place::of(PUBLISHING, "");
    let platform = Platform::CURRENT;
    let (root, served) = (place.server.root().to_owned(), place.server.served());
    place.desk.write("token", TOKEN);
    place.desk.write(&format!("dist/{platform}/deploy"), "#!/bin/sh\necho deploys\n");
    place.desk.write("dist/description.txt", "ships it\n");
    let artifact = served.join(format!("dbt-tools/deploy/1.4.0/{platform}/deploy.asc"));
    assert_eq!(place.types("publisher publish deploy 1.4.0 dist"), "");
    assert!(artifact.is_file());

    // It is staged as if it had never been there.
    place.desk.types(&format!("publisher delete deploy --all --yes --to {root}"));
    place.types("publisher stage deploy 1.4.0 dist");
    assert!(!artifact.exists());
    let shown = agrees(&mut place, "publisher sign deploy 1.4.0");
    assert!(shown.contains("staged by") && artifact.is_file(), "{shown}");

    let targets = [json!({
        "src": "greet", "dst": format!("{{{{.Repository}}}}/{{{{.Name}}}}/{{{{.Version}}}}/{platform}/{{{{.Name}}}}"),
    })];
    let metadata = json!({
        "name": "greet", "version": "1.0.0", "description": "greets",
        "repository": format!("{root}/dbt-tools"), "publishing": {"targets": targets},
    });
    place.desk.write("metadata.json", metadata.to_string());
    place.desk.write("dist/greet", "#!/bin/sh\necho hello\n");
    let with_our_key = |line: String| line.replace("gpg:releases@example.com", "file:alice");
    let line = with_our_key(place.page.next("publisher publish --metadata metadata.json"));
    place.desk.types(&line);
    assert_eq!(place.desk.types("dbt greet"), "hello\n");

    for name in ["dbt", "catalog", "publisher", "reposerver"] {
        place.desk.write(&format!("dist/{platform}/{name}"), "#!/bin/sh\n");
    }
    place.desk.write("dist/VERSION", "4.0.1\n");
    let line = with_our_key(place.page.next("publisher release dist"));
    let released = place.desk.agrees_to(&line);
    assert!(released.status.success(), "{released:?}");
    assert_eq!(fs::read(served.join("dbt/latest")).unwrap(), b"4.0.1");
    place.desk.types("publisher key export alice > upstream.asc");
    fs::create_dir(place.desk.path("mirror")).unwrap();
    let line = place.page.next("publisher release --from").replace("DIR", "mirror");
    let line = line.replace("https://upstream.example.com", &root);
    place.desk.types(&format!("{line} --signer file:alice"));
    assert_eq!(fs::read(place.desk.path("mirror/dbt/latest")).unwrap(), b"4.0.1");
    place.page.is_done();
}

#[test]
fn the_command_about_verifying_finds_what_was_changed() {
    let mut place = Place::of(VERIFYING, "");
    place.publish("1.4.0", "alice");
    let line = place.page.next("publisher verify");
    place.desk.types(&line);
    let file = format!("dbt-tools/deploy/1.4.0/{}/deploy", Platform::CURRENT);
    fs::write(place.server.served().join(file), "#!/bin/sh\necho evil\n").unwrap();
    let found = place.desk.tries(&line);
    let printed = String::from_utf8_lossy(&found.stdout).into_owned();
    assert_eq!(found.status.code(), Some(86), "{found:?}");
    assert!(printed.starts_with("error: artifact-changed: "), "{printed}");
    place.page.is_done();
}
