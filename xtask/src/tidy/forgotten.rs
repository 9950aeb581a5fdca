//! Test files that nobody compiles look green for ever.

use super::rust::Source;
use crate::tree::Tree;

/// Checks that every file below `tests/NAME/` is a module of its `main.rs` (or of the `mod.rs`
/// beside it), and that no loose file makes a second test binary.
pub(crate) fn every_test_file_is_compiled(tree: &Tree) -> Vec<String> {
    let tests = tree.rust().filter(|(path, _text)| path.starts_with("crates/"));
    tests.filter_map(|(path, _text)| problem(tree, path)).collect()
}

fn problem(tree: &Tree, path: &str) -> Option<String> {
    let (above, inside) = path.split_once("/tests/")?;
    if above.contains("/src/") {
        return None;
    }
    let Some((directory, file)) = inside.rsplit_once('/') else {
        return Some(format!("{path}: a test binary of its own; put it into tests/it/"));
    };
    let module = file.strip_suffix(".rs")?;
    if module == "main" {
        return None;
    }
    // `a/mod.rs` is declared as `a`, one directory up.
    let (directory, module) = match (module, directory.rsplit_once('/')) {
        ("mod", Some((up, name))) => (up, name),
        _ => (directory, module),
    };
    let owner = ["main.rs", "mod.rs"]
        .iter()
        .find_map(|owner| tree.texts.get(&format!("{above}/tests/{directory}/{owner}")))
        .or_else(|| tree.texts.get(&format!("{above}/tests/{directory}.rs")));
    let declared = owner.is_some_and(|owner| {
        Source::parse(owner).lines.iter().any(|line| {
            let line = line.trim().trim_start_matches("pub(crate) ").trim_start_matches("pub ");
            line.strip_prefix("mod ").and_then(|rest| rest.strip_suffix(';')) == Some(module)
        })
    });
    (!declared).then(|| format!("{path}: no `mod {module};` compiles it"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forgotten_file_is_named() {
        let tree = Tree::of(&[
            ("crates/a/tests/it/main.rs", "mod run;\n// mod lost;\nmod faults;\n"),
            ("crates/a/tests/it/run.rs", ""),
            ("crates/a/tests/it/lost.rs", ""),
            ("crates/a/tests/it/faults/mod.rs", "mod slow;\n"),
            ("crates/a/tests/it/faults/slow.rs", ""),
            ("crates/a/tests/it/faults/gone.rs", ""),
            ("crates/a/tests/loose.rs", ""),
        ]);
        let problems = every_test_file_is_compiled(&tree);
        let places: Vec<_> =
            problems.iter().filter_map(|problem| problem.split(": ").next()).collect();
        assert_eq!(
            places,
            [
                "crates/a/tests/it/faults/gone.rs",
                "crates/a/tests/it/lost.rs",
                "crates/a/tests/loose.rs"
            ]
        );
    }
}
