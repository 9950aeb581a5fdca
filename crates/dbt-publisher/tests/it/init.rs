//! Making a project ready.

use super::world::{SCRIPT, World};

const INIT: &str =
    "init deploy PLACE/project --description it's%20deployed --to https://dbt.example.com/";

#[test]
fn a_project_gets_a_pipeline_that_stages_a_key_and_the_lines_to_type_next() {
    let world = World::new();
    world.write(
        "project/.git/config",
        b"[remote \"origin\"]\n\turl = git@github.com:a/deploy.git\n",
    );
    let run = world.run(&format!("{INIT} --key ada --build go%20build")).succeeds();
    let pipeline = String::from_utf8(world.read("project/.github/workflows/release.yml")).unwrap();
    let stage = r#"          publisher stage deploy "$GITHUB_REF_NAME" dist --description 'it'\''s deployed' --to https://dbt.example.com"#;
    assert!(pipeline.lines().any(|line| line == stage), "{pipeline}");
    for line in ["  id-token: write", "          go build"] {
        assert!(pipeline.lines().any(|one| one == line), "{line}: {pipeline}");
    }
    assert!(!pipeline.contains("secrets"), "{pipeline}");
    assert!(world.path("home/.dbt/keys/ada.asc").exists());
    for words in
        ["publisher truststore add ada", "publisher sign deploy 0.1.0", "\"tools\": [\"deploy\"]"]
    {
        assert!(run.data.contains(words), "{words}: {}", run.data);
    }

    // What is there stays.
    world.write("project/.github/workflows/release.yml", b"mine");
    let key = world.read("home/.dbt/keys/ada.asc");
    let run = world.run(&format!("{INIT} --key ada")).fails(80, "release.yml` is there already");
    assert!(run.talk.contains("`--print`"), "{}", run.talk);
    assert_eq!(world.read("project/.github/workflows/release.yml"), b"mine");
    assert_eq!(world.read("home/.dbt/keys/ada.asc"), key);
    let run = world.run(&format!("{INIT} --print")).succeeds();
    assert!(run.data.contains("publisher stage deploy"), "{}", run.data);
}

#[test]
fn the_line_to_publish_from_here_works_as_it_is_printed() {
    let world = World::with_alice();
    world.write("project/dist/linux/amd64/deploy", SCRIPT);
    let init = INIT.replace("it's%20deployed", "ships");
    let run = world.run(&format!("{init} --ci gitlab --key alice")).succeeds();
    let pipeline = String::from_utf8(world.read("project/.gitlab-ci.yml")).unwrap();
    assert!(pipeline.contains("      aud: https://dbt.example.com\n"), "{pipeline}");
    assert!(pipeline.contains("publisher stage deploy \"$CI_COMMIT_TAG\" dist"), "{pipeline}");
    let line = run.data.lines().find_map(|line| line.trim().strip_prefix("publisher publish "));
    let line = line.unwrap().replace("https://dbt.example.com", "REPO");
    world
        .run(&format!("publish {}", line.replace(" dist ", " PLACE/project/dist ")))
        .says_nothing();
    assert!(world.path("repo/dbt-tools/deploy/0.1.0/linux/amd64/deploy.asc").exists());
}

#[test]
fn what_is_no_project_or_cannot_stand_in_a_pipeline_writes_nothing() {
    let world = World::new();
    std::fs::create_dir(world.path("project")).unwrap();
    for (line, words) in [
        (INIT.to_owned(), "not clear where"),
        (
            format!("{} --ci github", INIT.replace("init deploy", "init dbt")),
            "publisher release DIR",
        ),
        (
            format!("{} --ci github", INIT.replace("init deploy", "init login")),
            "would hide the tool",
        ),
        (format!("{} --ci github", INIT.replace("https://", "")), "is not the URL of a server"),
        (
            format!("{} --ci github", INIT.replace("it's", "${{github.token}}")),
            "cannot stand in a pipeline",
        ),
    ] {
        world.run(&line).fails(80, words);
        assert_eq!(std::fs::read_dir(world.path("project")).unwrap().count(), 0, "{words}");
    }
}
