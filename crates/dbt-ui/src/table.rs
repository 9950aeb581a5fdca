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
    /// others are what was asked for, and stay whole.
    pub fn within(&self, width: usize) -> String {
        let widths = self.widths();
        let others = widths.iter().rev().skip(1).map(|width| width + GAP).sum::<usize>();
        let room = width.saturating_sub(others).max(LEAST);
        let mut fitted = self.clone();
        for row in &mut fitted.rows {
            if let Some(last) = row.get_mut(widths.len().saturating_sub(1)) {
                *last = shortened(last, room);
            }
        }
        fitted.to_string()
    }

    fn widths(&self) -> Vec<usize> {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        (0..columns).map(width).collect()
    }
}

/// Returns as much of a text as fits, and says so if that is not all.
fn shortened(text: &str, room: usize) -> String {
    if text.chars().count() <= room {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(room.saturating_sub(1)).collect();
    short.truncate(short.trim_end().len());
    short.push('…');
    short
}

impl fmt::Display for Table {
    /// Writes the lines, each ended by a line end.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let widths = self.widths();
        for row in &self.rows {
            let mut text = String::new();
            for (cell, width) in row.iter().zip(&widths) {
                text.push_str(cell);
                let padding = (width + GAP).saturating_sub(cell.chars().count());
                text.extend(std::iter::repeat_n(' ', padding));
            }
            writeln!(f, "{}", text.trim_end())?;
        }
        Ok(())
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
        assert_eq!(table.within(0), "TOOL    DESCRIPTION\ndeploy  ships it to…\nx       short\n");
    }

    #[test]
    fn a_hostile_cell_stays_in_its_cell() {
        let mut table = Table::new(["tool"]);
        table.row(["a\nevil\u{1b}[31m"]);
        assert_eq!(table.to_string(), "TOOL\na\\u{a}evil\\u{1b}[31m\n");
    }
}
