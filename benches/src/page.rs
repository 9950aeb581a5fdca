//! The marked part of a page of documentation, written from what was measured.

use std::fs;
use std::path::Path;

use crate::Fault;

const END: &str = "<!-- The end of what it writes. -->\n";

/// Rewrites the part of a page that is marked as a program's.
pub fn rewrite(file: &Path, program: &str, tables: &str) -> Result<(), Fault> {
    let page = fs::read_to_string(file)?;
    let begin = format!("<!-- `{program} --write` writes what follows. -->\n");
    let marked = page
        .split_once(&begin)
        .and_then(|(before, rest)| rest.split_once(END).map(|(_old, after)| (before, after)));
    let Some((before, after)) = marked else {
        return Err(format!("`{}` has no place for it", file.display()).into());
    };
    Ok(fs::write(file, format!("{before}{begin}\n{tables}\n{END}{after}"))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_program_rewrites_its_own_part() {
        let directory = tempfile::tempdir().unwrap();
        let page = directory.path().join("page.md");
        let mark = |program: &str| format!("<!-- `{program} --write` writes what follows. -->\n");
        let (one, two) = (mark("one"), mark("two"));
        fs::write(&page, format!("a\n{one}old\n{END}b\n{two}other\n{END}c\n")).unwrap();
        rewrite(&page, "two", "new").unwrap();
        let expected = format!("a\n{one}old\n{END}b\n{two}\nnew\n{END}c\n");
        assert_eq!(fs::read_to_string(&page).unwrap(), expected);
        let problem = rewrite(&page, "three", "new").unwrap_err();
        assert!(problem.to_string().ends_with("has no place for it"), "{problem}");
        assert_eq!(fs::read_to_string(&page).unwrap(), expected);
    }
}
