//! Plain columns, aligned.

use std::fmt;

use crate::printable;

/// Rows under headings. Cells are escaped; the last column is not padded.
#[derive(Debug, Clone)]
pub struct Table {
    rows: Vec<Vec<String>>,
}

/// The space between two columns.
const GAP: usize = 2;

/// How much is shown of the last column, however narrow the terminal is.
const LEAST: usize = 12;

impl Table {
    /// Begins a table with its headings, which are shown in upper case.
    pub fn new<const N: usize>(headings: [&str; N]) -> Self {
        Self { rows: vec![headings.iter().map(|heading| heading.to_uppercase()).collect()] }
    }

    /// Begins a table whose first column says what the others are.
    pub const fn without_headings() -> Self {
        Self { rows: Vec::new() }
    }

    /// Adds a row.
    pub fn row<const N: usize>(&mut self, cells: [&str; N]) -> &mut Self {
        self.rows.push(cells.iter().map(|cell| printable::line(cell).into_owned()).collect());
        self
    }

    /// Says whether there is nothing but the headings.
    pub fn is_empty(&self) -> bool {
        self.rows.len() <= 1
    }

    /// Returns the lines for a terminal of this width: of the last column as much as fits. The
    /// others are what was asked for, and stay whole; where they leave no room, the first one gets a
    /// line of its own, and the others stand below it.
    pub fn within(&self, width: usize) -> String {
        let rows: Vec<&[String]> = self.rows.iter().map(Vec::as_slice).collect();
        fitted(&rows, width).into_iter().flatten().map(|line| line + "\n").collect()
    }
}

/// Returns the lines of each row.
fn fitted(rows: &[&[String]], width: usize) -> Vec<Vec<String>> {
    let widths = widths(rows);
    let Some((last, others)) = widths.split_last() else { return Vec::new() };
    let others = others.iter().map(|width| width + GAP).sum::<usize>();
    if others == 0 || others + last.min(&LEAST) <= width {
        let room = width.saturating_sub(others).max(LEAST);
        return rows.iter().map(|row| vec![aligned(row, &widths, room)]).collect();
    }
    let rests: Vec<&[String]> = rows.iter().map(|row| row.get(1..).unwrap_or_default()).collect();
    let below = fitted(&rests, width.saturating_sub(GAP));
    let indent = " ".repeat(GAP);
    let stacked = rows.iter().zip(below).map(|(row, below)| {
        let below = below.into_iter().map(|line| format!("{indent}{line}"));
        let lines = row.first().cloned().into_iter().chain(below);
        lines.filter(|line| !line.trim().is_empty()).collect()
    });
    stacked.collect()
}

/// Returns how wide each column is.
fn widths(rows: &[&[String]]) -> Vec<usize> {
    let columns = rows.iter().map(|row| row.len()).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| printable::width(cell)).max().unwrap_or(0)
    };
    (0..columns).map(width).collect()
}

/// Returns a row as one line, with so much room for its last column.
fn aligned(row: &[String], widths: &[usize], room: usize) -> String {
    let mut text = String::new();
    for (column, (cell, width)) in row.iter().zip(widths).enumerate() {
        if column + 1 == widths.len() {
            text.push_str(&shortened(cell, room));
        } else {
            text.push_str(cell);
            let padding = (width + GAP).saturating_sub(printable::width(cell));
            text.extend(std::iter::repeat_n(' ', padding));
        }
    }
    text.truncate(text.trim_end().len());
    text
}

/// Returns as much of a text as fits, and says so if that is not all.
fn shortened(text: &str, room: usize) -> String {
    if printable::width(text) <= room {
        return text.to_owned();
    }
    let mut short = String::new();
    let mut taken = 1;
    for c in text.chars() {
        taken += printable::columns(c);
        if taken > room {
            break;
        }
        short.push(c);
    }
    short.truncate(short.trim_end().len());
    short.push('…');
    short
}

impl fmt::Display for Table {
    /// Writes the lines, each ended by a line end.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.within(usize::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_lines_have_no_trailing_space() {
        let mut table = Table::new(["tool", "version", "description"]);
        table.row(["deploy", "1.10.0", "ships it"]).row(["g++", "2.0.0", ""]);
        assert_eq!(
            table.to_string(),
            "TOOL    VERSION  DESCRIPTION\ndeploy  1.10.0   ships it\ng++     2.0.0\n"
        );
    }

    #[test]
    fn the_last_column_gives_way_to_a_narrow_terminal_and_the_others_stay_whole() {
        let mut table = Table::new(["tool", "description"]);
        table.row(["deploy", "ships it to wherever it has to go"]).row(["x", "short"]);
        assert_eq!(
            table.within(24),
            "TOOL    DESCRIPTION\ndeploy  ships it to whe…\nx       short\n"
        );
        assert_eq!(table.within(80), table.to_string());
    }

    #[test]
    fn where_the_columns_do_not_fit_beside_each_other_they_stand_below_each_other() {
        let mut table = Table::new(["tool", "version", "description"]);
        table.row(["a-tool-with-a-long-name", "1.10.0", "ships it to wherever it has to go"]);
        table.row(["x", "2.0.0", "short"]).row(["", "1.0.0", ""]);
        let lines = "TOOL\n  VERSION  DESCRIPTION\na-tool-with-a-long-name\n  1.10.0   ships it to wh…\n\
            x\n  2.0.0    short\n  1.0.0\n";
        assert_eq!(table.within(26), lines);
        assert!(table.within(26).lines().all(|line| printable::width(line) <= 26));
        let narrow = "TOOL\n  VERSION\n    DESCRIPTION\n";
        assert!(table.within(0).starts_with(narrow), "{}", table.within(0));
    }

    #[test]
    fn a_character_of_two_columns_takes_two() {
        let mut table = Table::new(["tool", "description"]);
        table.row(["展開", "本番環境に展開します"]).row(["x", "short"]);
        assert_eq!(table.within(20), "TOOL  DESCRIPTION\n展開  本番環境に展…\nx     short\n");
    }

    #[test]
    fn a_hostile_cell_stays_in_its_cell() {
        let mut table = Table::new(["tool"]);
        table.row(["a\nevil\u{1b}[31m"]);
        assert_eq!(table.to_string(), "TOOL\na\\u{a}evil\\u{1b}[31m\n");
    }
}
