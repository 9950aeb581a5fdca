//! What may not stand in a source file, or only in some.

use super::rust::{Source, is_test_file};
use crate::tree::Tree;

/// The most lines a file may have. The goal is 600; a file that reaches this has two subjects.
const LINES: usize = 700;

/// Checks that no file is longer than a person reads.
pub(crate) fn files_are_short(tree: &Tree) -> Vec<String> {
    tree.rust()
        .map(|(path, text)| (path, text.lines().count()))
        .filter(|(_path, lines)| *lines > LINES)
        .map(|(path, lines)| format!("{path}: {lines} lines; {LINES} at most, so split it"))
        .collect()
}

/// What is refused everywhere, tests included.
const NOWHERE: &[(&str, &str)] = &[
    ("#[ignore", "an ignored test proves nothing: assert today's behaviour and say why"),
    ("todo!(", "nothing unfinished is merged"),
    ("unimplemented!(", "nothing unfinished is merged"),
    ("#[allow(", "use #[expect(…, reason = …)]"),
    ("#![allow(", "use #![expect(…, reason = …)]"),
];

/// Checks that nothing is ignored, silenced or unfinished.
pub(crate) fn nothing_is_silenced_or_left_for_later(tree: &Tree) -> Vec<String> {
    let mut problems = Vec::new();
    for (path, text) in tree.rust() {
        let source = Source::parse(text);
        for (line, code) in source.numbered() {
            let conditional = code.contains("cfg_attr(") && code.contains(" allow(");
            for (pattern, why) in NOWHERE {
                if code.contains(pattern) || (conditional && *pattern == "#[allow(") {
                    problems.push(format!("{path}:{line}: `{pattern}`: {why}"));
                }
            }
        }
    }
    problems
}

/// A way to touch the world, and where it may stand.
struct Touch {
    /// What it looks like.
    pattern: &'static str,
    /// Where the rule holds: what the path begins with.
    room: &'static str,
    /// The files that may: what the path ends with.
    only_in: &'static [&'static str],
    /// Why.
    why: &'static str,
}

const ENVIRONMENT: &str = "the environment is read once, in `env.rs`";
const PURE: &str = "the core opens nothing and asks nobody";
const SILENT: &str = "the client's library neither prints nor asks";

const TOUCHES: &[Touch] = &[
    Touch { pattern: "env::var", room: "", only_in: &["/env.rs"], why: ENVIRONMENT },
    Touch { pattern: "env::temp_dir", room: "", only_in: &["/env.rs"], why: ENVIRONMENT },
    Touch { pattern: "env::home_dir", room: "", only_in: &["/env.rs"], why: ENVIRONMENT },
    Touch { pattern: "env::set_var", room: "", only_in: &[], why: "it is not safe with threads" },
    Touch {
        pattern: "SystemTime::now",
        room: "",
        only_in: &["crates/dbt-core/src/clock.rs"],
        why: "take a `Clock`",
    },
    Touch {
        pattern: "process::exit",
        room: "",
        only_in: &[],
        why: "return an `ExitCode` from `main`",
    },
    Touch {
        pattern: "disallowed_methods",
        room: "",
        only_in: &["/env.rs", "/clock.rs", "/fsx.rs"],
        why: "each ban of clippy.toml has its one exception already",
    },
    Touch { pattern: "process::abort", room: "", only_in: &[], why: "return an error" },
    Touch { pattern: "std::fs", room: "crates/dbt-core/", only_in: &[], why: PURE },
    Touch { pattern: "std::net", room: "crates/dbt-core/", only_in: &[], why: PURE },
    Touch { pattern: "std::env", room: "crates/dbt-core/", only_in: &[], why: PURE },
    Touch { pattern: "std::process", room: "crates/dbt-core/", only_in: &[], why: PURE },
    Touch { pattern: "std::thread", room: "crates/dbt-core/", only_in: &[], why: PURE },
    Touch { pattern: "io::stdout", room: "crates/dbt-client/", only_in: &[], why: SILENT },
    Touch { pattern: "io::stderr", room: "crates/dbt-client/", only_in: &[], why: SILENT },
    Touch { pattern: "io::stdin", room: "crates/dbt-client/", only_in: &[], why: SILENT },
];

/// Checks that the environment, the clock, the process and the terminal are touched only where
/// they should be. Tests are outside: what they touch is theirs. So are build scripts, whose world is
/// the machine that compiles.
pub(crate) fn the_world_is_touched_where_it_should_be(tree: &Tree) -> Vec<String> {
    let mut problems = Vec::new();
    let outside = |path: &str| is_test_file(path) || path.ends_with("/build.rs");
    for (path, text) in tree.rust().filter(|(path, _text)| !outside(path)) {
        let source = Source::parse(text);
        let here = TOUCHES.iter().filter(|touch| {
            path.starts_with(touch.room) && !touch.only_in.iter().any(|file| path.ends_with(file))
        });
        for touch in here {
            for (line, _code) in source.shipped().filter(|(_, code)| code.contains(touch.pattern)) {
                problems.push(format!("{path}:{line}: `{}`: {}", touch.pattern, touch.why));
            }
        }
    }
    problems
}

/// Where `unsafe` may stand: one crate of what is shipped, and one file of what is not.
const UNSAFE: &[&str] = &["crates/dbt-sys/", "benches/src/kernel.rs"];

/// Checks that `unsafe` stands nowhere else. (The compiler refuses it too, as long as nobody changes
/// a manifest.)
pub(crate) fn unsafe_stays_in_its_room(tree: &Tree) -> Vec<String> {
    let mut problems = Vec::new();
    let may = |path: &str| UNSAFE.iter().any(|place| path.starts_with(place));
    for (path, text) in tree.rust().filter(|(path, _text)| !may(path)) {
        let source = Source::parse(text);
        for (line, code) in source.numbered() {
            let mut words = code.split(|letter: char| !letter.is_alphanumeric() && letter != '_');
            if words.any(|word| word == "unsafe") {
                problems.push(format!("{path}:{line}: `unsafe` belongs in dbt-sys"));
            }
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_thing_refused_is_found() {
        let tree = Tree::of(&[
            (
                "crates/a/src/lib.rs",
                "#[allow(dead_code)]\nfn a() { todo!() }\n#[cfg_attr(x, allow(y))]\n",
            ),
            ("crates/a/tests/it/main.rs", "#[ignore = \"slow\"]\n// #[ignore]\n"),
        ]);
        let problems = nothing_is_silenced_or_left_for_later(&tree);
        assert_eq!(problems.len(), 4, "{problems:?}");
    }

    #[test]
    fn the_world_may_be_touched_in_its_file_and_in_tests() {
        let env = "fn f() { std::env::var(\"X\"); }\n";
        let tested = "#[cfg(test)]\nmod tests { fn f() { std::env::var(\"X\"); } }\n";
        let tree = Tree::of(&[
            ("crates/a/src/env.rs", env),
            ("crates/a/src/tested.rs", tested),
            ("crates/a/tests/it/main.rs", env),
            ("crates/a/src/lib.rs", env),
            ("crates/dbt-core/src/lib.rs", "use std::fs;\n"),
            ("crates/dbt-client/src/lib.rs", "use std::fs;\nstd::process::exit(1);\n"),
        ]);
        let problems = the_world_is_touched_where_it_should_be(&tree);
        let places: Vec<_> =
            problems.iter().filter_map(|problem| problem.split(": ").next()).collect();
        assert_eq!(
            places,
            [
                "crates/a/src/lib.rs:1",
                "crates/dbt-client/src/lib.rs:2",
                "crates/dbt-core/src/lib.rs:1"
            ]
        );
    }

    #[test]
    fn unsafe_is_found_outside_its_room_alone() {
        let tree = Tree::of(&[
            ("crates/dbt-sys/src/lib.rs", "unsafe { f() }\n"),
            (
                "crates/a/src/lib.rs",
                "// unsafe\nconst UNSAFE: &str = \"unsafe\";\nfn unsafely() {}\n",
            ),
            ("crates/b/src/lib.rs", "unsafe { f() }\n"),
            ("benches/src/kernel.rs", "unsafe { f() }\n"),
            ("benches/src/main.rs", "unsafe { f() }\n"),
        ]);
        assert_eq!(unsafe_stays_in_its_room(&tree).len(), 2);
    }

    #[test]
    fn a_long_file_is_named() {
        let tree = Tree::of(&[("a.rs", &"\n".repeat(LINES)), ("b.rs", &"\n".repeat(LINES + 1))]);
        assert_eq!(files_are_short(&tree), ["b.rs: 701 lines; 700 at most, so split it"]);
    }
}
