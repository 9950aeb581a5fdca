//! Every hostile case has a test, or says with what it will get one.

use crate::tree::Tree;

/// The page that maps cases to tests.
const PAGE: &str = "docs/hostile-cases.md";

/// Every case against clients and the server. One that is added here needs a row, and a row needs a test.
const CASES: &[&str] = &[
    "C01", "C02", "C03", "C04", "C07", "C09", "C10", "C13", "C14", "C15", "C16", "C17", "C19",
    "C23", "C24", "C25", "C27", "C28", "C30", "C32", "C33", "C36", "C37", "C38", "C40", "C41",
    "C43", "C44", "C45", "C48", "C49", "C50", "C51", "C52", "C54", "C57", "C58", "C59", "C61",
    "L01", "L02", "L03", "L04", "L05", "L06", "L07", "L08", "L09", "S01", "S04", "S05", "S06",
    "S08", "S09", "S10", "S11", "S13", "S14", "S15", "S16", "S18", "S20", "S21", "S22", "S23",
    "S24", "S25", "S26", "S27", "S28", "S32", "S33", "S34", "S36", "S38", "S39",
];

/// What a row may say instead of naming a test: what the case is about does not exist yet.
const LATER: &[&str] = &[
    "with signed metadata",
    "with the transparency log",
    "with sign-in to servers",
    "with the kept record",
];

/// Checks that each case has one row, and each row a test or a reason.
pub(crate) fn every_hostile_case_has_its_test(tree: &Tree) -> Vec<String> {
    let Some(text) = tree.texts.get(PAGE) else { return vec![format!("{PAGE}: is missing")] };
    let rows: Vec<(usize, &str, &str)> = text.lines().enumerate().filter_map(row).collect();
    let mut problems = Vec::new();
    for case in CASES {
        let times = rows.iter().filter(|(_line, id, _test)| id == case).count();
        if times != 1 {
            problems.push(format!("{PAGE}: {case} has {times} rows, not one"));
        }
    }
    for (line, case, test) in rows {
        if !CASES.contains(&case) {
            problems.push(format!("{PAGE}:{line}: {case} is no case that is known"));
        }
        let has_test = test.contains('`');
        if !has_test && !LATER.contains(&test) {
            problems.push(format!("{PAGE}:{line}: {case} names no test and not what it waits for"));
        }
    }
    problems
}

/// Reads a line of the table: its number, the case and the cell with the tests.
fn row((index, line): (usize, &str)) -> Option<(usize, &str, &str)> {
    let mut cells = line.strip_prefix('|')?.trim_end().strip_suffix('|')?.split('|').map(str::trim);
    let (case, test) = (cells.next()?, cells.next_back()?);
    let is_case = case.strip_prefix(['C', 'L', 'S'])?.bytes().all(|byte| byte.is_ascii_digit());
    (is_case && case.len() == 3).then_some((index + 1, case, test))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_case_without_a_test_or_a_row_is_named() {
        let rows = CASES[3..].iter().map(|case| ["| ", case, " | x | `it_holds` |\n"].concat());
        let mut page = "| Case | Attack | Test |\n|---|---|---|\n".to_owned();
        page.extend(rows);
        page += "| C01 | x | with signed metadata |\n| C02 | x | some day |\n| C99 | x | `y` |\n";
        page += "| C04 | x | `again` |\n";
        let problems = every_hostile_case_has_its_test(&Tree::of(&[(PAGE, &page)]));
        let line = CASES.len();
        assert_eq!(
            problems,
            [
                format!("{PAGE}: C03 has 0 rows, not one"),
                format!("{PAGE}: C04 has 2 rows, not one"),
                format!("{PAGE}:{}: C02 names no test and not what it waits for", line + 1),
                format!("{PAGE}:{}: C99 is no case that is known", line + 2),
            ]
        );
    }

    #[test]
    fn a_page_that_is_gone_is_named() {
        assert_eq!(every_hostile_case_has_its_test(&Tree::of(&[])).len(), 1);
    }
}
