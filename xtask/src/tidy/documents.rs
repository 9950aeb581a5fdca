//! Documents that point at something that is not there are worse than none.

use std::collections::BTreeSet;

use super::rust::Source;
use crate::map;
use crate::tree::Tree;

/// Where a reader begins.
const ENTRANCES: &[&str] = &["README.md", "ARCHITECTURE.md"];

/// How a block of what is typed begins.
const COMMANDS: &[&str] = &["\n```console\n", "\n```sh\n"];

/// A link in a page.
struct Link {
    line: usize,
    /// The page or file it names, from the root of the workspace.
    path: String,
    heading: Option<String>,
}

/// Checks that every relative link names a file that exists, and a heading in it.
pub(crate) fn links_resolve(tree: &Tree) -> Vec<String> {
    let mut problems = Vec::new();
    for (page, text) in tree.markdown() {
        for link in links(page, text) {
            let Link { line, path, heading } = link;
            if !tree.paths.contains(&path) {
                problems.push(format!("{page}:{line}: `{path}` does not exist"));
            } else if let Some(heading) = heading {
                let target = tree.texts.get(&path).map(String::as_str).unwrap_or_default();
                if !headings(target).contains(&heading) {
                    problems.push(format!("{page}:{line}: `{path}` has no heading `#{heading}`"));
                }
            }
        }
    }
    problems
}

/// Checks that somebody who begins at the entrances finds every page of `docs/`.
pub(crate) fn every_page_can_be_reached(tree: &Tree) -> Vec<String> {
    let mut reached: BTreeSet<String> = BTreeSet::new();
    let mut next: Vec<String> = ENTRANCES.iter().map(|page| (*page).to_owned()).collect();
    while let Some(page) = next.pop() {
        let Some(text) = tree.texts.get(&page) else { continue };
        if reached.insert(page.clone()) {
            next.extend(links(&page, text).into_iter().map(|link| link.path));
        }
    }
    tree.markdown()
        .map(|(page, _text)| page)
        .filter(|page| page.starts_with("docs/") && !reached.contains(*page))
        .map(|page| format!("{page}: no link leads here from {}", ENTRANCES.join(" or ")))
        .collect()
}

/// Checks that each page for users with something to type is read by a test, which types it.
pub(crate) fn every_page_with_commands_has_a_test(tree: &Tree) -> Vec<String> {
    let tests: Vec<&str> = tree
        .rust()
        .filter(|(path, _text)| path.contains("/tests/"))
        .map(|(_path, text)| text)
        .collect();
    let is_for_users = |page: &str| {
        page == "README.md" || page.starts_with("docs/") || page.starts_with("examples/")
    };
    let has_commands = |text: &str| COMMANDS.iter().any(|fence| text.contains(fence));
    tree.markdown()
        .filter(|(page, text)| is_for_users(page) && has_commands(text))
        .map(|(page, _text)| page)
        .filter(|page| {
            let read = format!("{page}\")");
            !tests.iter().any(|test| test.contains(&read))
        })
        .map(|page| format!("{page}: no test reads its commands"))
        .collect()
}

/// Checks that each page of `docs/design/` is in the list of decisions, under its own title.
pub(crate) fn every_decision_is_listed(tree: &Tree) -> Vec<String> {
    let list = tree.texts.get(map::PAGE).map(String::as_str).unwrap_or_default();
    let decisions = tree.markdown().filter(|(page, _text)| page.starts_with("docs/design/"));
    let unlisted = decisions.filter_map(|(page, text)| {
        let title = text.lines().next()?.strip_prefix("# ")?;
        let line = format!("* [{title}]({page})");
        (!list.lines().any(|it| it == line)).then(|| format!("{}: no `{line}`", map::PAGE))
    });
    unlisted.collect()
}

/// Checks that the code map is what `cargo xtask map` makes of the files as they are.
pub(crate) fn the_code_map_is_true(tree: &Tree) -> Vec<String> {
    match map::mapped(tree) {
        None => vec![format!("{}: no place for the code map", map::PAGE)],
        Some(mapped) if tree.texts.get(map::PAGE) != Some(&mapped.page) => {
            vec![format!("{}: the code map is old; `cargo xtask map` writes it", map::PAGE)]
        }
        Some(mapped) => mapped.mute,
    }
}

/// Checks that the tests that tables of promises name exist: every `` `name` `` in a column headed
/// "Test" is a function.
pub(crate) fn the_named_tests_exist(tree: &Tree) -> Vec<String> {
    let mut functions = BTreeSet::new();
    for (_path, text) in tree.rust() {
        for line in Source::parse(text).lines {
            if let Some((_before, rest)) = line.split_once("fn ") {
                let end = rest.find(|letter: char| !letter.is_alphanumeric() && letter != '_');
                functions.insert(rest[..end.unwrap_or(rest.len())].to_owned());
            }
        }
    }
    let mut problems = Vec::new();
    for (page, text) in tree.markdown() {
        for (line, name) in tests_named(text) {
            if !functions.contains(name) {
                problems.push(format!("{page}:{line}: there is no test `{name}`"));
            }
        }
    }
    problems
}

/// Finds what stands in backticks below "Test" in tables.
fn tests_named(text: &str) -> Vec<(usize, &str)> {
    let mut column = None;
    let mut named = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let cells: Vec<&str> = line.trim().trim_matches('|').split('|').map(str::trim).collect();
        if !line.trim_start().starts_with('|') {
            column = None;
        } else if let Some(cell) = column.and_then(|column: usize| cells.get(column)) {
            named.extend(cell.split('`').skip(1).step_by(2).map(|name| (index + 1, name)));
        } else {
            column = column.or_else(|| cells.iter().position(|cell| *cell == "Test"));
        }
    }
    named
}

/// Finds the relative links of a page, outside code.
fn links(page: &str, text: &str) -> Vec<Link> {
    let mut links = Vec::new();
    for (line, content) in prose(text) {
        let mut rest = content.as_str();
        while let Some((_before, after)) = rest.split_once("](") {
            let (target, behind) = after.split_once(')').unwrap_or((after, ""));
            rest = behind;
            if target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            let (file, heading) = match target.split_once('#') {
                Some((file, heading)) => (file, Some(heading.to_owned())),
                None => (target, None),
            };
            let path = if file.is_empty() { page.to_owned() } else { resolve(page, file) };
            links.push(Link { line, path, heading });
        }
    }
    links
}

/// Returns the path that `file`, as written in `page`, means.
fn resolve(page: &str, file: &str) -> String {
    let mut parts: Vec<&str> = page.split('/').collect();
    parts.pop();
    for part in file.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            name => parts.push(name),
        }
    }
    parts.join("/")
}

/// Returns the headings of a page as links spell them.
fn headings(text: &str) -> BTreeSet<String> {
    let mut headings = BTreeSet::new();
    for (_line, content) in prose(text) {
        let title = content.trim_start_matches('#');
        if title.len() < content.len() && title.starts_with(' ') {
            let kept =
                |letter: &char| letter.is_alphanumeric() || matches!(letter, ' ' | '-' | '_');
            let slug: String = title.trim().to_lowercase().chars().filter(kept).collect();
            headings.insert(slug.replace(' ', "-"));
        }
    }
    headings
}

/// Returns the numbered lines of a page outside fenced blocks, without what is in backticks.
/// (Headings keep the words, since links to them do.)
fn prose(text: &str) -> Vec<(usize, String)> {
    let mut fenced = false;
    let mut lines = Vec::new();
    for (index, content) in text.lines().enumerate() {
        if content.trim_start().starts_with("```") {
            fenced = !fenced;
        } else if content.starts_with('#') && !fenced {
            lines.push((index + 1, content.replace('`', "")));
        } else if !fenced {
            let outside: Vec<&str> = content.split('`').step_by(2).collect();
            lines.push((index + 1, outside.join(" ")));
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_to_nothing_is_named() {
        let tree = Tree::of(&[
            (
                "README.md",
                "[a](docs/a.md) [b](docs/b.md)\n[c](docs/a.md#the-second-part) [d](docs/a.md#third)\n`[e](f)` [g](https://example.com/)\n```\n[h](i)\n```\n[j](#k)\n",
            ),
            ("docs/a.md", "# A\n\n## The second `part`\n[up](../README.md)\n"),
        ]);
        assert_eq!(
            links_resolve(&tree),
            [
                "README.md:1: `docs/b.md` does not exist",
                "README.md:2: `docs/a.md` has no heading `#third`",
                "README.md:7: `README.md` has no heading `#k`",
            ]
        );
    }

    #[test]
    fn a_page_that_nobody_links_is_named() {
        let tree = Tree::of(&[
            ("README.md", "[a](docs/a.md)\n"),
            ("docs/a.md", "[b](b.md)\n"),
            ("docs/b.md", ""),
            ("docs/lost.md", ""),
        ]);
        let problems = every_page_can_be_reached(&tree);
        assert_eq!(
            problems,
            ["docs/lost.md: no link leads here from README.md or ARCHITECTURE.md"]
        );
    }

    #[test]
    fn a_decision_that_is_not_listed_or_under_another_title_is_named() {
        let tree = Tree::of(&[
            (map::PAGE, "* [1. One](docs/design/1.md)\n* [2. Too](docs/design/2.md)\n"),
            ("docs/design/1.md", "# 1. One\n"),
            ("docs/design/2.md", "# 2. Two\n"),
            ("docs/design/3.md", "# 3. Three\n"),
        ]);
        assert_eq!(
            every_decision_is_listed(&tree),
            [
                "ARCHITECTURE.md: no `* [2. Two](docs/design/2.md)`",
                "ARCHITECTURE.md: no `* [3. Three](docs/design/3.md)`",
            ]
        );
    }

    #[test]
    fn an_old_map_is_named() {
        let page = "<!-- The code map: `cargo xtask map` writes it. -->\n<!-- The end of the code map. -->\n";
        let tree = Tree::of(&[(map::PAGE, page), ("crates/a/src/lib.rs", "//! What it is.\n")]);
        let problems = the_code_map_is_true(&tree);
        assert_eq!(problems, ["ARCHITECTURE.md: the code map is old; `cargo xtask map` writes it"]);

        let tree = Tree::of(&[
            (map::PAGE, &map::mapped(&tree).unwrap().page),
            ("crates/a/src/lib.rs", "//! What it is.\n"),
        ]);
        assert!(the_code_map_is_true(&tree).is_empty());
    }

    #[test]
    fn a_promise_names_a_test_that_exists() {
        let table =
            "| Attack | Test |\n|---|---|\n| `x` | `it_holds`, `it_does_not` |\n\nno `table`\n";
        let tree =
            Tree::of(&[("docs/threats.md", table), ("crates/a/src/lib.rs", "fn it_holds() {}\n")]);
        let problems = the_named_tests_exist(&tree);
        assert_eq!(problems, ["docs/threats.md:3: there is no test `it_does_not`"]);
    }
}
