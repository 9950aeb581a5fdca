//! `server add|list|use|remove`: the configuration as the program changes it.

use std::fs;

use dbt_testkit::exits;
use dbt_testkit::http::Answer;
use dbt_testkit::invocation::Run;
use dbt_testkit::people::ALICE;
use dbt_testkit::server::Fault;
use dbt_testkit::world::World;
use serde_json::{Value, json};

use crate::provider::offer::on_terminal;
use crate::world;

fn config(world: &World) -> Value {
    serde_json::from_slice(&fs::read(world.config_file()).unwrap()).unwrap()
}

/// A world without a configuration.
fn bare() -> World {
    let world = world();
    fs::remove_file(world.config_file()).unwrap();
    world
}

#[test]
fn a_server_is_added_after_its_keys_were_shown_and_tools_run() {
    let world = bare();
    world.repository().publish("deploy", "1.4.0").now();
    let url = world.server().url();
    let run = world.dbt(["server", "add", "work", &url, "--yes"]);
    run.exits_with(0)
        .mentions("signing keys:\n  [FINGERPRINT]  Alice <alice@example.org>, does not expire\n");
    assert_eq!(run.stdout(), "");

    let written = config(&world);
    let server = &written["servers"]["work"];
    assert_eq!(server["repository"], json!(format!("{url}/dbt")));
    assert_eq!(server["toolsRepository"], json!(format!("{url}/dbt-tools")));
    assert_eq!(server["trust"]["tools"], json!([ALICE.fingerprint().to_string()]));
    assert_eq!(written["defaultServer"], json!("work"));
    world.dbt(["deploy"]).prints("deploy 1.4.0\n").says_nothing();
}

#[test]
fn everything_that_is_written_for_a_server_is_shown_before() {
    let world = bare();
    let url = world.server().url();
    let elsewhere = format!("{url}/dbt/truststore");
    let announced = json!({
        "truststore": elsewhere, "authType": "oidc\nhint: answer yes", "password": "taken-by-nobody",
    });
    let path = "/.well-known/dbt.json";
    world.repository().write(path, &serde_json::to_vec(&announced).unwrap());
    let run = without_anybody(&world, &["server", "add", "work", &url, "--yes"]);
    run.exits_with(0)
        .mentions("truststore:   [SERVER]/dbt/truststore\n")
        .mentions("authType: oidc\\u{a}hint: answer yes\n");
    let said = run.stderr();
    assert!(!said.lines().any(|line| line.starts_with("hint: answer")), "{said}");
    // And nothing else is.
    let written = config(&world);
    for key in written["servers"]["work"].as_object().unwrap().keys() {
        let shown = ["repository", "toolsRepository", "truststore", "trust"];
        assert!(shown.contains(&key.as_str()), "{key}");
    }
}

/// Runs the program where nobody can be asked.
fn without_anybody(world: &World, arguments: &[&str]) -> Run {
    world.invoke(arguments.iter().copied()).through(&["setsid", "-w"]).run()
}

/// Lets the server of a world announce how one signs in.
fn announces(world: &World, announced: &Value) {
    let path = "/.well-known/dbt.json";
    world.repository().write(path, &serde_json::to_vec(announced).unwrap());
}

#[test]
fn how_one_signs_in_is_taken_over_from_no_server_by_yes_alone() {
    let world = bare();
    let url = world.server().url();
    announces(
        &world,
        &json!({"authType": "oidc", "issuerUrl": "https://id.acme.com", "oidcClientId": "dbt"}),
    );
    without_anybody(&world, &["server", "add", "work", &url, "--yes"])
        .exits_with(0)
        .mentions("wants to be sent tokens of https://id.acme.com, made for the client `dbt`")
        .mentions("is left out, since nobody is there to be asked: `authType`, `issuerUrl`, `oidcClientId`");
    let written = config(&world);
    let keys: Vec<&String> = written["servers"]["work"].as_object().unwrap().keys().collect();
    assert_eq!(keys, ["repository", "toolsRepository", "trust", "truststore"]);
}

#[test]
fn a_server_that_announces_the_sign_in_of_another_one_is_not_added() {
    let world = world();
    let (issuer, client) = ("https://id.acme.com", "dbt");
    world.configure(|config| {
        config["servers"]["prod"] = json!({
            "repository": "https://dbt.acme.com/dbt", "toolsRepository": "https://dbt.acme.com/t",
            "authType": "oidc", "issuerUrl": issuer, "oidcClientId": client,
            "oidcAudience": "https://dbt.acme.com",
        });
    });
    let before = fs::read(world.config_file()).unwrap();
    let url = world.server().url();
    let own = json!({"authType": "oidc", "issuerUrl": issuer, "oidcClientId": client});
    announces(&world, &own);
    without_anybody(&world, &["server", "add", "evil", &url, "--yes"])
        .exits_with(exits::CONFIGURATION)
        .mentions(
            "refusing to add the server `evil`, which announces the sign-in of the server `prod`",
        )
        .mentions("the same client `dbt` at `https://id.acme.com`")
        .mentions("`oidcAudience` of their own");
    let mut others = own;
    others["oidcAudience"] = json!("https://dbt.acme.com");
    announces(&world, &others);
    without_anybody(&world, &["server", "add", "evil", &url, "--yes"])
        .exits_with(exits::CONFIGURATION)
        .mentions("a server cannot announce tokens for another host");
    assert_eq!(fs::read(world.config_file()).unwrap(), before);
}

/// A world without a configuration, whose server answers nobody without this token, but for what it
/// announces.
fn closed(announced: &Value) -> World {
    let world = bare();
    world.may_keep_tokens();
    world.repository().publish("deploy", "1.4.0").now();
    world.server().require_token(TOKEN);
    let answer = Answer::of(200, "application/json", serde_json::to_vec(announced).unwrap());
    world.server().fault("/.well-known/dbt.json", Fault::Answer(answer));
    world
}

const TOKEN: &str = "dbt_0123456789abcdef";

#[test]
fn a_server_that_shows_its_keys_to_nobody_it_does_not_know_is_added_with_what_is_next() {
    let world = closed(&json!({}));
    let url = world.server().url();
    without_anybody(&world, &["server", "add", "work", &url]).exits_with(exits::USAGE);
    assert!(!world.config_file().exists());

    without_anybody(&world, &["server", "add", "work", &url, "--yes"])
        .exits_with(0)
        .mentions("signing keys: (shown once you have signed in)\n")
        .mentions(
            "nobody has seen the keys of the server `work`: those that it shows first will count",
        )
        .mentions("sign in with `dbt -s work login`, then run a tool; `dbt trust show` lists");
    let written = config(&world);
    let keys: Vec<&String> = written["servers"]["work"].as_object().unwrap().keys().collect();
    assert_eq!(keys, ["repository", "toolsRepository", "truststore"]);

    // As it says.
    let login = world.dbt(["-s", "work", "login"]);
    login.exits_with(exits::CONFIGURATION).mentions("login --token");
    let line = format!("{TOKEN}\n");
    let login = world.invoke(["-s", "work", "login", "--token"]).stdin(line.as_bytes()).run();
    login.exits_with(0);
    world.dbt(["deploy"]).prints("deploy 1.4.0\n");
    let shown = world.dbt(["trust", "show"]);
    let shown = shown.exits_with(0).stdout();
    assert!(shown.contains(&ALICE.fingerprint().to_string()), "{shown}");
}

#[test]
fn how_one_signs_in_is_taken_over_where_a_person_says_so_also_before_the_keys_are_shown() {
    let announced =
        json!({"authType": "oidc", "issuerUrl": "https://id.acme.com", "oidcClientId": "dbt"});
    for (typed, is_taken) in [("y\ny\n", true), ("y\nn\n", false)] {
        let world = closed(&announced);
        let run = on_terminal(&world, &["server", "add", "work", &world.server().url()], typed);
        run.exits_with(0);
        let shown = run.stdout();
        for words in [
            "issuerUrl: https://id.acme.com",
            "add the server, and trust the keys that it shows once you have signed in? [y/N] ",
            "wants to be sent tokens of https://id.acme.com, made for the client `dbt`",
            "sign in with `dbt -s work login`",
        ] {
            assert!(shown.contains(words), "`{words}` is not in:\n{shown}");
        }
        let server = config(&world)["servers"]["work"].clone();
        for (key, value) in announced.as_object().unwrap() {
            let expected = if is_taken { value } else { &Value::Null };
            assert_eq!(&server[key], expected, "{key}");
        }
        assert_eq!(server["trust"], Value::Null);
    }
    let world = closed(&announced);
    on_terminal(&world, &["server", "add", "work", &world.server().url()], "n\n").exits_with(0);
    assert!(!world.config_file().exists());
}

#[test]
fn a_directory_is_where_it_is_whatever_it_says_of_where_others_find_it() {
    let world = bare();
    announces(&world, &json!({"repository": "https://dbt.example.com/dbt"}));
    let repository = world.repository().file("/dbt");
    let root = repository.parent().unwrap().to_str().unwrap();
    world.dbt(["server", "add", "here", root, "--yes"]).exits_with(0);
    let written = config(&world)["servers"]["here"]["repository"].clone();
    assert_eq!(written, json!(format!("file://{}", repository.display())));
}

#[test]
fn without_a_terminal_and_without_a_word_nothing_is_added() {
    let world = bare();
    let url = world.server().url();
    let run = world.invoke(["server", "add", &url]).through(&["setsid", "-w"]).stdin(b"y\n").run();
    run.exits_with(exits::USAGE).mentions("add `--yes`");
    assert!(!world.config_file().exists());
}

#[test]
fn a_server_without_a_usable_truststore_is_not_added() {
    let world = bare();
    world.repository().trust(&[]);
    let url = world.server().url();
    let run = world.dbt(["server", "add", &url, "--yes"]);
    run.exits_with(exits::VERIFICATION_REFUSED).mentions("cannot be used");
    world
        .dbt(["server", "add", "http://dbt.example.com", "--yes"])
        .exits_with(exits::VERIFICATION_REFUSED)
        .mentions("is not protected on the way");
    world.dbt(["server", "add", "a", "b", "c"]).exits_with(exits::USAGE);
    world.dbt(["server", "add", "nonsense"]).exits_with(exits::USAGE);
    assert!(!world.config_file().exists());
}

#[test]
fn servers_are_listed_chosen_and_removed_and_the_rest_stays() {
    let world = world();
    world.configure(|config| {
        config["colour"] = json!("red");
        config["servers"]["other"] =
            json!({"repository": "/srv/dbt", "toolsRepository": "/srv/dbt-tools"});
    });
    let url = world.server().url();
    let listed = world.dbt(["server", "list"]);
    listed.exits_with(0).says_nothing();
    let in_use = format!("*  acme    {url}/dbt");
    assert!(listed.stdout().contains(&in_use), "{}", listed.stdout());

    world.dbt(["server", "use", "other"]).exits_with(0);
    let listed = world.dbt(["server", "list", "--json"]);
    let rows: Value = serde_json::from_str(&listed.stdout()).unwrap();
    let of = |name: &str| {
        rows.as_array().unwrap().iter().find(|row| row["name"] == json!(name)).unwrap().clone()
    };
    assert_eq!((&of("other")["inUse"], &of("acme")["inUse"]), (&json!(true), &json!(false)));
    assert_eq!(of("other")["truststore"], json!("file:///srv/dbt/truststore"));

    world
        .dbt(["server", "use", "nobody"])
        .exits_with(exits::CONFIGURATION)
        .says("error: the configuration has no server `nobody`\nhint: it has `acme`, `other`\n");
    world.dbt(["server", "remove", "other"]).exits_with(0);
    let written = config(&world);
    assert_eq!(written["colour"], json!("red"));
    assert!(written["servers"]["other"].is_null() && written["defaultServer"].is_null());
}

#[test]
fn a_list_shows_also_what_cannot_be_used() {
    let world = world();
    world.configure(|config| config["servers"]["broken"] = json!({}));
    world.configure(|config| config["defaultServer"] = json!("gone"));
    let listed = world.dbt(["server", "list"]);
    listed.exits_with(0);
    assert!(listed.stdout().contains("has no `repository`"), "{}", listed.stdout());
}
