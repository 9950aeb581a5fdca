//! What each command line means.

use super::*;

/// Splits a line at spaces, reads it and describes what it means in one line.
fn meaning(line: &str) -> String {
    let words = line.split(' ').filter(|word| !word.is_empty()).map(OsString::from).collect();
    describe(words, &[])
}

fn describe(words: Vec<OsString>, given_back: &[&str]) -> String {
    let given_back = given_back.iter().map(|word| word.parse().unwrap()).collect();
    let decided = read(words).and_then(|words| words.decide(&given_back));
    let (flags, invocation) = match decided {
        Ok(decided) => decided,
        Err(error) => return error.report().to_string().lines().next().unwrap().to_owned(),
    };
    let what = match invocation {
        Invocation::Help(path) => format!("help {}", path.join(" ")),
        Invocation::Version => "version".to_owned(),
        Invocation::AuthCheck(Whoami { json }) => {
            format!("auth-check{}", if json { " json" } else { "" })
        }
        Invocation::SelfTest { expected } => format!("self-test {}", expected.is_some()),
        Invocation::Tool(call) => {
            let arguments: Vec<_> =
                call.arguments.iter().map(|word| word.to_string_lossy()).collect();
            format!("{} {} [{}]", call.name, call.wanted, arguments.join(" "))
        }
        Invocation::BuiltIn(command) => format!("built-in {command:?}"),
    };
    let mut parts = vec![what.trim_end().to_owned()];
    let set = [(flags.offline, "offline"), (flags.verbose, "verbose"), (flags.sealed, "sealed")];
    parts.extend(set.into_iter().filter(|(set, _word)| *set).map(|(_set, word)| word.to_owned()));
    parts.extend(flags.server.map(|server| format!("on {server}")));
    parts.join(" ")
}

#[track_caller]
fn check(cases: &[(&str, &str)]) {
    for (line, expected) in cases {
        assert_eq!(meaning(line), *expected, "{line}");
    }
}

#[test]
fn flags_before_the_name_are_ours_and_everything_after_is_the_tools() {
    check(&[
        ("deploy", "deploy newest []"),
        ("deploy -v 1 --offline -- x --help", "deploy newest [-v 1 --offline -- x --help]"),
        ("-v 1.4.2 deploy -v", "deploy 1.4.2 [-v]"),
        ("-v1.4 deploy", "deploy 1.4 []"),
        ("-v=v1.4.2 deploy", "deploy 1.4.2 []"),
        ("--toolversion=1 deploy", "deploy 1 []"),
        ("--toolversion 1 deploy", "deploy 1 []"),
        ("-oV deploy -V", "deploy newest [-V] offline verbose"),
        ("-oVsprod deploy", "deploy newest [] offline verbose on prod"),
        ("-s prod --sealed deploy", "deploy newest [] sealed on prod"),
        ("--server=prod --offline=false deploy", "deploy newest [] on prod"),
        ("-- deploy -o", "deploy newest [-o]"),
        ("-o -- deploy", "deploy newest [] offline"),
        ("-v 9.9.9 -- deploy", "deploy 9.9.9 []"),
        ("deploy@1.4.2 x@2", "deploy 1.4.2 [x@2]"),
        ("deploy@2.0.0-rc.1", "deploy 2.0.0-rc.1 []"),
        ("-- deploy@1", "deploy 1 []"),
        ("g++ -o a.out", "g++ newest [-o a.out]"),
    ]);
}

#[test]
fn a_second_pair_of_dashes_is_skipped() {
    check(&[("-- -- deploy", "deploy newest []"), ("-- -- deploy --", "deploy newest [--]")]);
}

#[test]
fn nothing_typed_is_a_question_for_help_and_nothing_after_flags_is_a_mistake() {
    let mistake = "error: no tool is named";
    check(&[("", "help"), ("--", mistake), ("-- --", mistake), ("-o", mistake), ("-v 1", mistake)]);
    check(&[("run", mistake), ("run --", mistake), ("run -o", mistake)]);
}

#[test]
fn what_the_program_is_asked_itself() {
    check(&[
        ("-h", "help"),
        ("-o --help deploy", "help offline"),
        ("--version", "version"),
        ("--auth-check", "auth-check"),
        ("-s prod --auth-check", "auth-check on prod"),
        ("--auth-check -s prod --json -o", "auth-check json offline on prod"),
        ("--auth-check --json --help", "help"),
        ("run --auth-check --json", "auth-check json"),
        ("--auth-check=false deploy --json", "deploy newest [--json]"),
        ("--auth-check deploy", "error: `--auth-check` runs no tool, and does not expect `deploy`"),
        ("--auth-check --", "error: `--auth-check` runs no tool, and does not expect `--`"),
        ("--auth-check --more", "error: unknown flag `--more`"),
        ("--json --auth-check", "error: unknown flag `--json`"),
        ("--self-test", "self-test false"),
        (&format!("--self-test --expect-sha256 {}", "a".repeat(64)), "self-test true"),
        ("run --help", "help run"),
        ("help", "help"),
        ("help catalog list", "help catalog list"),
        ("catalog list --help", "help catalog list"),
        ("fetch -h", "help fetch"),
        ("catalog", "help catalog"),
        ("self", "help self"),
    ]);
}

#[test]
fn after_dashes_and_after_run_a_name_always_means_a_tool() {
    check(&[
        ("-- login", "login newest []"),
        ("-- run x", "run newest [x]"),
        ("run login --ssh", "login newest [--ssh]"),
        ("run -o -s prod login@2 -o", "login 2 [-o] offline on prod"),
        ("-o run -- catalog list", "catalog newest [list] offline"),
        ("run run run", "run newest [run]"),
    ]);
}

#[test]
fn a_built_in_word_is_a_command_and_its_flags_may_stand_on_either_side() {
    check(&[
        (
            "login",
            "built-in Login(Login { ssh: false, device: false, browser: false, token: false })",
        ),
        ("-s prod logout", "built-in Logout on prod"),
        ("logout -s prod -o", "built-in Logout offline on prod"),
        ("-s a logout -s b", "built-in Logout on b"),
        (
            "-v 1 fetch a b",
            "built-in Fetch(Fetch { tools: [ToolRequest { name: ToolName(\"a\"), wanted: Some(Under { major: 1, minor: None }) }, ToolRequest { name: ToolName(\"b\"), wanted: Some(Under { major: 1, minor: None }) }] })",
        ),
        ("-v 1 which a@1", "error: the version of `a` is given twice"),
        ("-v 1 logout", "error: `-v` names the version of a tool, and this command runs none"),
    ]);
}

#[test]
fn a_word_that_the_configuration_gives_back_means_the_organisations_tool() {
    let words = |line: &str| line.split(' ').map(OsString::from).collect();
    assert_eq!(describe(words("doctor --now"), &["doctor"]), "doctor newest [--now]");
    assert_eq!(describe(words("run doctor"), &["run"]), "run newest [doctor]");
    assert_eq!(describe(words("logout"), &["doctor"]), "built-in Logout");
}

#[test]
fn a_reserved_word_is_tried_as_a_tool_today() {
    check(&[("list", "list newest []"), ("install x", "install newest [x]")]);
}

#[test]
fn hostile_names_are_refused_before_anything_is_done() {
    for name in [
        "../x",
        "..",
        ".",
        "a/b",
        "a\\b",
        "a%2fb",
        "CON",
        "x.asc",
        "a\u{200B}",
        "\u{1F600}",
        "a.",
        "_a",
        "-",
    ] {
        let told = describe(vec!["--".into(), name.into()], &[]);
        assert!(
            told.starts_with("error: `") && told.contains("cannot be the name of a tool"),
            "{told}"
        );
    }
    for name in ["", " ", "a ", "a\n", "a\0"] {
        let told = describe(vec![name.into()], &[]);
        assert!(told.contains("cannot be the name of a tool"), "{told}");
        assert!(!told.contains('\0'), "{told}");
    }
    let told = describe(vec!["--".into(), "-h".into()], &[]);
    assert!(told.contains("cannot be the name of a tool"), "{told}");
}

#[test]
fn hostile_versions_are_refused_before_anything_is_done() {
    for version in ["../../..", "latest", "1.2.3/../4.5.6", " 1.2.3", "1.2.3 ", "01.2.3"] {
        let told = describe(vec!["-v".into(), version.into(), "deploy".into()], &[]);
        assert!(told.starts_with("error: `") && told.contains("is not a version"), "{told}");
        let told = describe(vec![format!("deploy@{version}").into()], &[]);
        assert!(told.contains("is not a version"), "{told}");
    }
    check(&[
        (
            "deploy@",
            "error: `` is not a version: expected `1.2.3`, `1.2.3-rc.1`, or its beginning (`1`, `1.2`)",
        ),
        ("-v 1 deploy@1", "error: the version of `deploy` is given twice"),
        ("-v", "error: the flag `-v` needs a value"),
        ("--server= deploy", "error: the value of the flag `--server` is empty"),
        ("--offline=x deploy", "error: the flag `--offline` takes no value"),
        ("-x deploy", "error: unknown flag `-x`"),
        ("--frobnicate", "error: unknown flag `--frobnicate`"),
        ("run --select x", "error: unknown flag `--select`"),
    ]);
}

#[cfg(unix)]
#[test]
fn arguments_that_are_no_text_reach_the_tool_and_names_that_are_none_do_not() {
    use std::os::unix::ffi::OsStringExt;
    let bytes = OsString::from_vec(vec![0xff, b'-', 0xfe]);
    let words = read(vec!["deploy".into(), bytes.clone()]).unwrap();
    let (_flags, invocation) = words.decide(&BTreeSet::new()).unwrap();
    let Invocation::Tool(call) = invocation else { panic!("{invocation:?}") };
    assert_eq!(call.arguments, std::slice::from_ref(&bytes));

    for words in [vec![bytes.clone()], vec!["-s".into(), bytes]] {
        assert!(describe(words, &[]).contains("is not UTF-8 text"));
    }
}

#[test]
fn a_link_is_the_tool_of_its_name_and_a_renamed_program_is_ourselves() {
    let tool = |started_as: &str, executable: Option<&str>| {
        let tool = tool_of_link(OsStr::new(started_as), executable.map(Path::new));
        tool.map(|name| name.into_string().unwrap())
    };
    assert_eq!(tool("dbt", Some("/usr/bin/dbt")), None);
    assert_eq!(tool("/home/a/.local/bin/deploy", Some("/usr/bin/dbt")), Some("deploy".into()));
    assert_eq!(tool("deploy", Some("/opt/dbt-4.0.0/dbt")), Some("deploy".into()));
    assert_eq!(tool("./dbt_linux_amd64", Some("/tmp/dbt_linux_amd64")), None);
    assert_eq!(tool("dbt", Some("/usr/lib/dbt-4")), None);
    assert_eq!(tool("dbt-next", None), None);
    assert_eq!(tool("deploy", None), Some("deploy".into()));
}

#[test]
fn everything_typed_after_a_link_is_the_tools() {
    let words = linked("deploy".into(), vec!["-o".into(), "--".into(), "--help".into()]);
    assert_eq!(words.built_in_word(), None);
    let (flags, invocation) = words.decide(&BTreeSet::new()).unwrap();
    assert_eq!(flags, Flags::default());
    let Invocation::Tool(call) = invocation else { panic!("{invocation:?}") };
    assert_eq!(call.arguments, ["-o", "--", "--help"]);
}

#[test]
fn a_flag_of_ours_after_the_name_is_noticed_and_what_all_tools_have_is_not() {
    let first = |line: &str| {
        let words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
        flag_for_the_tool(&words).map(str::to_owned)
    };
    assert_eq!(first("x -o"), Some("-o".into()));
    assert_eq!(first("--server=prod"), Some("--server=prod".into()));
    assert_eq!(first("--help --version -x"), None);
    assert_eq!(first("x -- -o"), None);
}
