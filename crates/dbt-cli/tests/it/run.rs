//! Running a tool: what the tool sees, and what whoever started it sees.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt as _;

use dbt_testkit::exits;

use crate::{pinned, world};

#[test]
fn the_first_run_on_a_fresh_machine_says_whom_it_trusts_from_now_on() {
    let world = world();
    world.repository().publish("deploy", "1.4.0").now();
    world.dbt(["deploy"]).prints("deploy 1.4.0\n").says(
        "\
dbt: first use of [SERVER]/dbt: trusting 1 signing key from now on:
  [FINGERPRINT]  Alice <alice@example.org>  never expires
  to pin them elsewhere, put this into the server's configuration: \"trust\": {\"dbt\": [\"[FINGERPRINT]\"], \"tools\": [\"[FINGERPRINT]\"]}
",
    );
    world.dbt(["deploy"]).prints("deploy 1.4.0\n").says_nothing();
}

#[test]
fn a_run_that_succeeds_says_nothing_when_the_signers_are_configured() {
    let world = pinned();
    world.repository().publish("deploy", "1.4.0").now();
    world.dbt(["deploy"]).prints("deploy 1.4.0\n").says_nothing();
    world.dbt(["deploy"]).prints("deploy 1.4.0\n").says_nothing();
    assert_eq!(world.tools_started(), ["deploy 1.4.0", "deploy 1.4.0"]);
}

#[test]
fn signers_named_in_the_environment_make_the_first_run_silent() {
    let world = world();
    world.repository().publish("deploy", "1.4.0").now();
    let alice = dbt_testkit::people::ALICE.fingerprint().to_string();
    let run = world.invoke(["deploy"]).env("DBT_TRUST", alice).run();
    run.prints("deploy 1.4.0\n").says_nothing();
}

#[test]
fn every_word_after_the_tools_name_is_the_tools() {
    let world = pinned();
    world.repository().publish("deploy", "1.4.0").now();
    let words = ["deploy", "-v", "--offline", "--", "-o", "--help", "--version", "a b", "", "-"];
    let expected =
        "deploy 1.4.0\n[-v]\n[--offline]\n[--]\n[-o]\n[--help]\n[--version]\n[a b]\n[]\n[-]\n";
    world.dbt(words).prints(expected).says_nothing();
    world.dbt(["--"].into_iter().chain(words)).prints(expected).says_nothing();
    world.dbt(["run"].into_iter().chain(words)).prints(expected).says_nothing();
}

#[test]
fn an_argument_that_is_no_text_reaches_the_tool_byte_for_byte() {
    let world = pinned();
    world.repository().publish("deploy", "1.4.0").now();
    let run = world.dbt([OsString::from("deploy"), OsString::from_vec(b"\xff\xfe\x01".to_vec())]);
    run.exits_with(0);
    assert_eq!(run.stdout_bytes(), b"deploy 1.4.0\n[\xff\xfe\x01]\n");
}

#[test]
fn the_tools_exit_code_is_passed_through() {
    let world = pinned();
    world.repository().publish("deploy", "1.4.0").script("exit $1").now();
    for code in [0, 1, 2, 86, 255] {
        world.dbt(["deploy", &code.to_string()]).exits_with(code).says_nothing();
    }
}

#[test]
fn a_tool_that_dies_of_a_signal_is_seen_to_have_died_of_it() {
    let world = pinned();
    world.repository().publish("deploy", "1.4.0").script("kill -s \"$1\" $$").now();
    world.dbt(["deploy", "TERM"]).ends_by_signal(15);
    world.dbt(["deploy", "PIPE"]).ends_by_signal(13);
}

#[test]
fn the_tool_reads_the_standard_input() {
    let world = pinned();
    world.repository().publish("deploy", "1.4.0").script("cat").now();
    let run = world.invoke(["deploy"]).stdin(b"two\nlines\n").run();
    run.prints("deploy 1.4.0\ntwo\nlines\n");
}

#[test]
fn the_tool_is_the_same_process_under_its_own_name() {
    let world = pinned();
    let script = "echo $$ > \"$1\"; cat /proc/$$/comm; tr '\\0' ' ' < /proc/$$/cmdline";
    world.repository().publish("deploy", "1.4.0").script(script).now();
    let id_file = world.directory().join("id");
    let running = world.invoke(["deploy".as_ref(), id_file.as_os_str()]).start();
    let id = running.id();
    let run = running.finish();
    run.exits_with(0);
    assert_eq!(fs::read_to_string(id_file).unwrap().trim(), id.to_string());
    assert_eq!(run.stdout().lines().nth(1), Some("deploy"));
}

#[test]
fn the_tool_sees_where_it_came_from_and_no_value_from_before() {
    let world = pinned();
    world
        .repository()
        .publish("deploy", "1.4.0")
        .script("env | grep ^DBT_ | sort; echo $OTHER")
        .now();
    let run = world
        .invoke(["deploy"])
        .env("DBT_REPO", "https://evil.example.com/dbt")
        .env("DBT_TOOLS_REPO", "https://evil.example.com/dbt-tools")
        .env("DBT_TRUSTSTORE", "https://evil.example.com/dbt/truststore")
        .env("DBT_SERVER", "acme")
        .env("OTHER", "kept")
        .run();
    let url = world.server().url();
    run.prints(&format!(
        "deploy 1.4.0\nDBT_REPO={url}/dbt\nDBT_SERVER=acme\nDBT_TOOLS_REPO={url}/dbt-tools\n\
         DBT_TRUSTSTORE={url}/dbt/truststore\nkept\n"
    ));
}

#[test]
fn credentials_and_our_own_variables_never_reach_a_tool() {
    let world = pinned();
    world.repository().publish("deploy", "1.4.0").script("env").now();
    let status = world.directory().join("status");
    let run = world
        .invoke(["deploy"])
        .env("DBT_REPO_TOKEN", "hunter2hunter2")
        .env("DBT_ID_TOKEN", "hunter2hunter2")
        .env("DBT_ID_TOKEN_FILE", &status)
        .env("DBT_PUBLISH_TOKEN", "hunter2hunter2")
        .env("DBT_PUBLISH_PASSWORD", "hunter2hunter2")
        .env("DBT_SIGNING_PASSPHRASE", "hunter2hunter2")
        .env("DBT_STATUS_FILE", &status)
        .run();
    let seen = run.exits_with(0).stdout();
    for name in [
        "DBT_REPO_TOKEN",
        "DBT_ID_TOKEN",
        "DBT_PUBLISH_",
        "DBT_SIGNING_",
        "DBT_STATUS_FILE",
        "DBT_REEXEC",
    ] {
        assert!(!seen.contains(name), "{name} in {seen}");
    }
}

#[test]
fn a_command_that_prints_a_password_sees_no_other_secret_of_ours() {
    let world = pinned();
    world.repository().publish("deploy", "1.4.0").now();
    world.server().require_basic("alice", "correct-horse-battery");
    let seen = world.directory().join("seen");
    world.set("username", "alice");
    let command = format!("env > '{}'; echo correct-horse-battery", seen.display());
    world.set("passwordfunc", command.as_str());
    let run = world
        .invoke(["deploy"])
        .env("DBT_ID_TOKEN", "hunter2hunter2")
        .env("DBT_ID_TOKEN_FILE", &seen)
        .env("DBT_PUBLISH_TOKEN", "hunter2hunter2")
        .env("DBT_PUBLISH_PASSWORD", "hunter2hunter2")
        .env("DBT_SIGNING_PASSPHRASE", "hunter2hunter2")
        .env("OTHER", "kept")
        .run();
    run.prints("deploy 1.4.0\n").says_nothing();
    let seen = fs::read_to_string(&seen).unwrap();
    assert!(seen.contains("OTHER=kept\n"), "{seen}");
    for name in ["DBT_ID_TOKEN", "DBT_PUBLISH_", "DBT_SIGNING_", "hunter2"] {
        assert!(!seen.contains(name), "{name} in {seen}");
    }
}

#[test]
fn a_variable_in_which_a_secret_of_the_server_stands_reaches_neither_tools_nor_commands() {
    let world = pinned();
    world.repository().publish("deploy", "1.4.0").script("env").now();
    let run = || {
        let run = world.invoke(["deploy"]).env("MYTOK", "correct-horse-battery");
        run.env("OTHER", "kept").env("ACTIONS_ID_TOKEN_REQUEST_URL", "https://github.test").run()
    };
    let hides_it = |seen: &str| {
        assert!(seen.contains("OTHER=kept\n"), "{seen}");
        assert!(!seen.contains("MYTOK") && !seen.contains("correct-horse"), "{seen}");
    };
    world.server().require_token("correct-horse-battery");
    world.set("token", "${MYTOK}");
    let tool = run().exits_with(0).stdout();
    hides_it(&tool);
    // What GitHub gives a job is the job's own.
    assert!(tool.contains("ACTIONS_ID_TOKEN_REQUEST_URL=https://github.test\n"), "{tool}");
    // So it is where something else is sent in its place.
    let sent = world.invoke(["deploy"]).env("DBT_REPO_TOKEN", "correct-horse-battery");
    hides_it(&sent.env("MYTOK", "dbt_another_old_token").env("OTHER", "kept").run().stdout());

    let seen = world.directory().join("seen");
    world.configure(|config| {
        config["servers"]["acme"].as_object_mut().unwrap().remove("token");
    });
    world.server().require_basic("alice", "correct-horse-battery");
    world.set("usernamefunc", format!("env > '{}'; echo alice", seen.display()));
    world.set("password", "${MYTOK}");
    hides_it(&run().exits_with(0).stdout());
    hides_it(&fs::read_to_string(&seen).unwrap());

    // It is the tool's where no secret of this server stands in it.
    world.configure(|config| {
        let server = config["servers"]["acme"].as_object_mut().unwrap();
        server.remove("usernamefunc");
        server.insert("username".to_owned(), "alice".into());
        server.insert("passwordfunc".to_owned(), "echo \"$MYTOK\"".into());
    });
    world.repository().publish("deploy", "1.5.0").script("echo ${MYTOK:+there}").now();
    run().prints("deploy 1.5.0\nthere\n");
}

#[test]
fn whoever_started_it_can_tell_dbts_exit_code_from_the_tools() {
    let world = pinned();
    world.repository().publish("deploy", "1.4.0").script("exit 84").now();
    let file = world.directory().join("status");
    let status =
        || -> serde_json::Value { serde_json::from_slice(&fs::read(&file).unwrap()).unwrap() };
    world.invoke(["deploy"]).env("DBT_STATUS_FILE", &file).run().exits_with(84);
    assert_eq!(status()["phase"], "tool");
    let run = world.invoke(["missing"]).env("DBT_STATUS_FILE", &file).run();
    run.exits_with(exits::NOT_FOUND);
    assert_eq!(status(), serde_json::json!({ "phase": "dbt", "code": 84 }));
}

#[test]
fn verbose_words_never_mix_with_the_tools_output() {
    let world = pinned();
    world.repository().publish("deploy", "1.4.0").now();
    world.dbt(["-V", "deploy"]).prints("deploy 1.4.0\n").mentions("deploy 1.4.0");
    world.dbt(["-V", "-o", "deploy"]).prints("deploy 1.4.0\n");
}

#[test]
fn a_tool_that_no_interpreter_exists_for_is_named_as_such() {
    let world = pinned();
    world.repository().publish("deploy", "1.4.0").content("#!/no/such/shell\n").now();
    world.dbt(["deploy"]).exits_with(exits::CANNOT_EXECUTE).mentions("/no/such/shell");
}

#[test]
fn a_compiled_tool_runs_and_knows_its_own_path() {
    let world = pinned();
    let program = fs::read("/bin/readlink").unwrap();
    world.repository().publish("whoami-path", "1.0.0").content(program).now();
    let run = world.dbt(["whoami-path", "/proc/self/exe"]);
    let path = run.exits_with(0).says_nothing().stdout();
    assert!(path.trim().ends_with("/whoami-path"), "{path}");
    assert!(path.starts_with(world.dbt_home().to_str().unwrap()), "{path}");
}

#[test]
fn a_tool_run_from_sealed_memory_does_the_same() {
    let world = pinned();
    world.repository().publish("deploy", "1.4.0").now();
    world.dbt(["--sealed", "deploy", "x"]).prints("deploy 1.4.0\n[x]\n").says_nothing();
}

#[test]
fn fetching_a_tool_downloads_it_and_runs_nothing() {
    let world = pinned();
    world.repository().publish("deploy", "1.4.0").now();
    world.dbt(["fetch", "deploy"]).prints("").says_nothing();
    assert_eq!(world.tools_started(), [""; 0]);
    world.dbt(["-o", "deploy"]).prints("deploy 1.4.0\n").says_nothing();
}

#[test]
fn a_fetch_of_what_does_not_exist_names_it() {
    let world = pinned();
    world.repository().publish("deploy", "1.4.0").now();
    world.dbt(["fetch", "depoly"]).exits_with(exits::NOT_FOUND).says(
        "\
error: there is no tool `depoly` in the repository
hint: did you mean `deploy`? `dbt catalog list` shows what there is
",
    );
    world.nothing_happened();
}
