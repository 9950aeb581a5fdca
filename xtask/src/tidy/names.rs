//! The product can be renamed at build time, so its name stands in `brand.rs` alone.

use super::rust::{Source, is_test_file};
use crate::tree::Tree;

/// The file that may name the product.
const BRAND: &str = "crates/dbt-core/src/brand.rs";

/// Names that a renamed build must not find in a text of its own.
const NAMES: &[&str] = &["dbt", "dynamic binary toolkit"];

/// Identifiers of the wire: the same for every brand, so they may stand anywhere.
const WIRE: &[&str] = &[
    "artifact@dbt",          // the notation of signatures
    "x-dbt",                 // extensions of signed metadata
    "dbt.truststore/",       // schemas
    "dbt.withdrawn/",        //
    "dbt.policy/",           //
    "dbt.verify/",           //
    "dbt_",                  // what our tokens begin with
    "urn:dbt:",              // the kinds of refusals in answers
    "DBT-SSH-JWT",           // the scheme of tokens that ssh-agents sign
    "DBT_BUILD_VERSION",     // for who compiles it
    "/.well-known/dbt.json", // what a server says about itself
    "crates/dbt-",           // files of this project, in what it generates
    "\\\"dbt\\\"",           // words of JSON: who decided an exit code, and configuration keys
];

/// Literals that are not wire identifiers and may stand all the same: the file, the literal as
/// written, and why. One that is no longer there is reported, so that the list stays true.
const EXCEPTIONS: &[Exception] = &[
    ("crates/dbt-core/src/trust/rules.rs", "dbt", "a key of configuration files"),
    (
        "crates/dbt-core/src/trust/rules.rs",
        "`{}` is not a scope of trust: expected `dbt`, `tools`, `tool:NAME`, `tool:PREFIX*` or `root`",
        "the same key",
    ),
    ("crates/dbt-core/src/trust/metadata/artifact.rs", "dbt", "a member of signed metadata"),
    ("crates/dbt-client/src/config/mod.rs", "dbt", "a key of the older format"),
    ("crates/dbt-client/src/config/edit.rs", "dbt", "the same key"),
];

/// A file, a literal in it, and why it may stand.
type Exception = (&'static str, &'static str, &'static str);

/// Checks that no string a person could see names the product outside `brand.rs`.
///
/// Where clap derives a command line, documentation counts too: it is what `--help` prints.
pub(crate) fn the_product_is_named_in_one_file(tree: &Tree) -> Vec<String> {
    named(tree, EXCEPTIONS)
}

fn named(tree: &Tree, exceptions: &[Exception]) -> Vec<String> {
    let mut problems = Vec::new();
    let mut used = vec![false; exceptions.len()];
    for (path, text) in tree.rust().filter(|(path, _text)| is_shipped(path)) {
        let source = Source::parse(text);
        let help = if derives_help(&source) { source.docs.as_slice() } else { &[] };
        for (line, literal) in source.literals.iter().chain(help) {
            if source.is_test(*line) || !names_the_product(literal) {
                continue;
            }
            let exception =
                exceptions.iter().position(|(file, text, _why)| *file == path && text == literal);
            match exception {
                Some(exception) => used[exception] = true,
                None => problems.push(format!(
                    "{path}:{line}: `{}` names the product; use `brand`",
                    literal.escape_debug()
                )),
            }
        }
    }
    let stale = exceptions.iter().zip(used).filter(|(_exception, used)| !used);
    problems.extend(stale.map(|((file, literal, _why), _used)| {
        format!("xtask/src/tidy/names.rs: `{literal}` is no longer in {file}; drop the exception")
    }));
    problems
}

fn is_shipped(path: &str) -> bool {
    path.starts_with("crates/") && path != BRAND && !is_test_file(path)
}

fn derives_help(source: &Source) -> bool {
    let derives = ["Parser", "Subcommand", "Args"];
    source.lines.iter().any(|line| {
        line.trim_start().starts_with("#[derive(")
            && line
                .split(|letter: char| !letter.is_alphanumeric())
                .any(|word| derives.contains(&word))
    })
}

fn names_the_product(literal: &str) -> bool {
    let text = literal.to_owned();
    let bare = WIRE.iter().fold(text, |text, identifier| text.replace(identifier, ""));
    let bare = bare.to_lowercase();
    NAMES.iter().any(|name| bare.contains(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wire_identifiers_are_not_the_products_name() {
        for fine in ["artifact@dbt=", "dbt.truststore/1", "x-dbt", "run `{program} doctor`"] {
            assert!(!names_the_product(fine), "{fine}");
        }
        for wrong in ["run `dbt doctor`", "~/.dbt", "DBT_HOME", "the Dynamic Binary Toolkit"] {
            assert!(names_the_product(wrong), "{wrong}");
        }
    }

    #[test]
    fn help_is_text_and_tests_are_not() {
        let docs = "//! Of dbt.\n/// Runs a tool with dbt.\n/// Lists tools.\nstruct Args;\n";
        let help = docs.replace("struct", "#[derive(clap::Args)]\nstruct");
        let tree = Tree::of(&[
            (BRAND, "const A: &str = \"dbt\";\n"),
            ("crates/dbt-core/src/trust/rules.rs", "const DBT: &str = \"dbt\";\n"),
            ("crates/a/src/cli.rs", &help),
            ("crates/a/src/other.rs", docs),
            ("crates/a/src/run.rs", "#[cfg(test)]\nmod tests { fn f() { run(\"dbt\"); } }\n"),
            ("crates/a/tests/it/run.rs", "fn f() { run(\"dbt\"); }\n"),
        ]);
        let rules = "crates/dbt-core/src/trust/rules.rs";
        let problems = named(&tree, &[(rules, "dbt", "a key"), (rules, "~/.dbt", "gone")]);
        assert_eq!(problems.len(), 2, "{problems:?}");
        assert!(problems[0].starts_with("crates/a/src/cli.rs:2:"), "{problems:?}");
        assert!(problems[1].contains("`~/.dbt` is no longer in"), "{problems:?}");
    }
}
