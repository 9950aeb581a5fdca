//! The code map of ARCHITECTURE.md, made from what each file says of itself.

use std::fmt::Write;

use crate::tree::Tree;

/// The page that holds the map.
pub(crate) const PAGE: &str = "ARCHITECTURE.md";

/// What stands before the map in the page, on a line of its own.
const BEGIN: &str = "<!-- The code map: `cargo xtask map` writes it. -->\n";

/// What stands behind it.
const END: &str = "<!-- The end of the code map. -->\n";

/// A page with the map as it should be, and what is wrong with the files on it.
pub(crate) struct Mapped {
    /// The whole page.
    pub(crate) page: String,
    /// Files that do not say what they are for.
    pub(crate) mute: Vec<String>,
}

/// Returns the page with its map made anew, or nothing when it has no place for one.
pub(crate) fn mapped(tree: &Tree) -> Option<Mapped> {
    let page = tree.texts.get(PAGE)?;
    let (before, rest) = page.split_once(BEGIN)?;
    let (_old, after) = rest.split_once(END)?;
    let (map, mute) = code_map(tree);
    Some(Mapped { page: format!("{before}{BEGIN}{map}{END}{after}"), mute })
}

/// Returns the map, and the files that say nothing of themselves.
fn code_map(tree: &Tree) -> (String, Vec<String>) {
    let mut map = String::new();
    let mut mute = Vec::new();
    for room in rooms(tree) {
        let mut files: Vec<(&str, &str)> = tree
            .rust()
            .filter_map(|(path, text)| Some((path.strip_prefix(&room)?, text)))
            .collect();
        files.retain(|(file, _text)| *file != "tests.rs" && !file.ends_with("/tests.rs"));
        files.sort_by_key(|(file, _text)| (!matches!(*file, "lib.rs" | "main.rs"), *file));
        let width = files.iter().map(|(file, _text)| file.len()).max().unwrap_or_default();

        // Writing to a string cannot fail.
        let _infallible = writeln!(map, "\n```text\n{room}");
        for (file, text) in files {
            let purpose = purpose(text);
            if purpose.is_empty() {
                mute.push(format!("{room}{file}: no `//!` says what it is for"));
            }
            let line = format!("  {file:width$}  {purpose}");
            let _infallible = writeln!(map, "{}", line.trim_end());
        }
        map.push_str("```\n");
    }
    map.push('\n');
    (map, mute)
}

/// Returns the directories of sources, in the order of the manifest.
fn rooms(tree: &Tree) -> Vec<String> {
    let sources = |path: &String| path.ends_with("/src") && tree.paths.contains(path);
    tree.paths.iter().filter(|path| sources(path)).map(|path| format!("{path}/")).collect()
}

/// Returns the first sentence of a file's own documentation.
fn purpose(text: &str) -> String {
    let lines = text.lines().skip_while(|line| !line.starts_with("//!"));
    let lines = lines.map_while(|line| line.strip_prefix("//!")).map(str::trim);
    let paragraph: Vec<&str> = lines.take_while(|line| !line.is_empty()).collect();
    let paragraph = paragraph.join(" ");
    let sentence = paragraph.split_once(". ").map_or(paragraph.as_str(), |(first, _rest)| first);
    sentence.trim_end_matches('.').replace("[`", "`").replace("`]", "`")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_map_says_what_the_files_say() {
        let tree = Tree::of(&[
            (PAGE, &format!("above\n{BEGIN}old\n{END}below\n")),
            ("crates/a/src/lib.rs", "//! What [`a`] is\n//! for. And more.\n//!\n//! Much more.\n"),
            ("crates/a/src/b/mod.rs", "//! B: in one line.\nuse c;\n"),
            ("crates/a/src/b/tests.rs", "use super::*;\n"),
            ("crates/a/src/mute.rs", "use c;\n"),
            ("crates/a/tests/it/main.rs", "mod b;\n"),
        ]);
        let mapped = mapped(&tree).unwrap();
        let map = "\n```text\ncrates/a/src/\n  lib.rs    What `a` is for\n  b/mod.rs  B: in one line\n  mute.rs\n```\n\n";
        assert_eq!(mapped.page, format!("above\n{BEGIN}{map}{END}below\n"));
        assert_eq!(mapped.mute, ["crates/a/src/mute.rs: no `//!` says what it is for"]);
    }
}
