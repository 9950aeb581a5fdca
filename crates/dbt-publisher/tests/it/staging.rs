//! What cannot be staged, and what a `metadata.json` says.

use super::http::Server;
use super::world::{SCRIPT, World, artifact};

#[test]
fn nothing_is_staged_where_nothing_can_be_held_back() {
    let world = World::with_alice();
    world.write("deploy", SCRIPT);
    let before = world.published();
    let stage = "stage deploy 1.4.0 linux/amd64=deploy --description x";
    let run = world.run(&format!("{stage} --to REPO")).fails(80, "it is a directory");
    assert!(run.talk.contains("`publisher publish TOOL VERSION DIR`"), "{}", run.talk);
    assert_eq!(world.published(), before);

    let server = Server::start();
    let root = server.url();
    world.write_secret("token", super::http::TOKEN);
    let line = format!("{stage} --to {root} --token-file PLACE/token");
    let run = world.run(&line).fails(80, "cannot hold a version back");
    assert!(run.talk.contains("publish from where the key is"), "{}", run.talk);
    let line = format!("{stage} --tools-repository {root}/elsewhere --token-file PLACE/token");
    world.run(&line).fails(80, "not one of the repositories of a server");
    assert!(server.writes().is_empty());
}

const METADATA: &str = r#"{
  "name": "deploy", "version": "1.4.0", "package": "example.com/deploy", "language": "golang",
  "description": "ships it", "repository": "http://127.0.0.1:1/dbt-tools/",
  "building": {"targets": [{"name": "linux/amd64"}, {"name": "darwin/arm64"}]},
  "publishing": {"targets": [
    {"src": "deploy_linux_amd64", "dst": "{{.Repository}}/{{.Name}}/{{ .Version }}/linux/amd64/{{.Name}}", "sig": true, "checksums": true},
    {"src": "deploy_darwin_arm64", "dst": "{{.Repository}}/{{.Name}}/{{.Version}}/darwin/arm64/{{.Name}}", "sig": false},
    {"src": "description.txt", "dst": "{{.Repository}}/{{.Name}}/{{.Version}}/description.txt"}
  ]}
}"#;

#[test]
fn a_project_of_gomason_is_published_as_its_metadata_says() {
    let world = World::with_alice();
    world.write("metadata.json", METADATA.as_bytes());
    for name in ["deploy_linux_amd64", "deploy_darwin_arm64", "deploy_linux_386"] {
        world.write(&format!("dist/{name}"), SCRIPT);
    }
    let publish = "publish --metadata metadata.json --to REPO --signer file:alice";
    // Nothing is published of a project that is built in part.
    let before = world.published();
    let run = world.run(publish).fails(80, "`deploy_linux_amd64`, a target of `metadata.json`");
    assert!(run.talk.contains("name the directory"), "{}", run.talk);
    assert_eq!(world.published(), before);

    world.run(&publish.replace(" --to", " dist --to")).says_nothing();
    for platform in ["linux/amd64", "darwin/arm64"] {
        assert!(world.client_accepts(&artifact("deploy", "1.4.0", platform)).unwrap());
    }
    assert_eq!(world.read("repo/dbt-tools/deploy/1.4.0/description.txt"), b"ships it");
    assert_eq!(world.published().iter().filter(|path| path.contains("386")).count(), 0);
}

#[test]
fn without_another_place_it_goes_where_the_metadata_says() {
    let world = World::with_alice();
    let server = Server::start();
    world.write_secret("token", super::http::TOKEN);
    let metadata = METADATA.replace("http://127.0.0.1:1", server.url());
    world.write("metadata.json", metadata.as_bytes());
    for name in ["deploy_linux_amd64", "deploy_darwin_arm64"] {
        world.write(name, SCRIPT);
    }
    world
        .run("publish --metadata metadata.json --signer file:alice --token-file PLACE/token")
        .succeeds();
    for file in ["linux/amd64/deploy.sha256", "darwin/arm64/deploy", "description.txt.asc"] {
        let path = format!("/dbt-tools/deploy/1.4.0/{file}");
        assert!(server.file(&path).is_some(), "{:?}", server.writes());
    }
}

#[test]
fn a_metadata_that_says_something_else_publishes_nothing() {
    let world = World::with_alice();
    for name in ["deploy_linux_amd64", "deploy_darwin_arm64"] {
        world.write(name, SCRIPT);
    }
    let before = world.published();
    for (from, to, words) in [
        (r#""name": "deploy""#, r#""nam": "deploy""#, "has no `name`"),
        (r#""version": "1.4.0""#, r#""version": "1""#, "`1`"),
        (r#""publishing""#, r#""publish""#, "has no `publishing.targets`"),
        (
            "{{.Name}}\", \"sig\": true",
            "../../x\", \"sig\": true",
            "no file of this version of `deploy`",
        ),
        ("{{ .Version }}", "{{ .Version | printf }}", "which is not understood"),
        ("{{ .Version }}", "1.3.9", "no file of this version of `deploy`"),
        (r#""src": "deploy_linux"#, r#""src": "../deploy_linux"#, "is not in `.`"),
        ("\"repository\": \"http://127.0.0.1:1/dbt-tools/\",", "", "has no `repository`"),
        ("darwin/arm64/", "plan9/arm64/", "plan9"),
        ("{\n", "[\n", "cannot be read as JSON"),
    ] {
        assert!(METADATA.contains(from), "{from}");
        world.write("metadata.json", METADATA.replacen(from, to, 1).as_bytes());
        let run = world.run("publish --metadata metadata.json --to REPO --signer file:alice");
        run.fails(80, words);
        assert_eq!(world.published(), before, "{words}");
    }
}
