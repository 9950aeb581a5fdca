//! Goals, what was measured, and the table of both.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::measure::{Basis, Medians};

/// Which way is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Better {
    /// The less the better.
    Less,
    /// The more the better.
    More,
}

/// What is to be reached.
#[derive(Clone, Copy, Debug)]
pub struct Goal {
    /// What must be.
    pub must: f64,
    /// What would be good.
    pub stretch: Option<f64>,
    /// Which way is better.
    pub better: Better,
    /// What the numbers are of.
    pub unit: &'static str,
}

impl Goal {
    /// At most so many times the anchor.
    pub const fn at_most(must: f64, stretch: f64) -> Self {
        Self { must, stretch: Some(stretch), better: Better::Less, unit: "x" }
    }

    /// At least so many times faster than the anchor.
    pub const fn at_least(must: f64, stretch: f64) -> Self {
        Self { must, stretch: Some(stretch), better: Better::More, unit: "x" }
    }

    /// With no more than what must be.
    #[must_use]
    pub const fn without_stretch(self) -> Self {
        Self { stretch: None, ..self }
    }

    /// In something else than times.
    #[must_use]
    pub const fn in_unit(self, unit: &'static str) -> Self {
        Self { unit, ..self }
    }

    fn is_met(self, value: f64) -> bool {
        match self.better {
            Better::Less => value <= self.must,
            Better::More => value >= self.must,
        }
    }

    fn is_stretched(self, value: f64) -> bool {
        self.stretch.is_some_and(|must| Self { must, ..self }.is_met(value))
    }

    fn words(self) -> String {
        let sign = match self.better {
            Better::Less => "<=",
            Better::More => ">=",
        };
        let stretch = self.stretch.map(|stretch| format!(" ({stretch})")).unwrap_or_default();
        format!("{sign} {}{}{stretch}", self.must, self.unit)
    }
}

/// What came out.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// A number.
    Measured {
        /// The number that is compared with the goal.
        value: f64,
        /// What decided it, where time did.
        basis: Option<Basis>,
        /// What it was computed from, in seconds.
        medians: Vec<f64>,
    },
    /// Why there is none.
    NotMeasured(String),
}

/// One line of the table.
#[derive(Clone, Debug)]
pub struct Row {
    /// Which goal.
    pub id: &'static str,
    /// What is measured.
    pub subject: String,
    /// What it is measured against.
    pub anchor: &'static str,
    /// What is to be reached; nothing for what is only told.
    pub goal: Option<Goal>,
    /// What came out.
    pub outcome: Outcome,
}

impl Row {
    /// Begins a line.
    pub fn begin(id: &'static str, subject: impl Into<String>, anchor: &'static str) -> RowDraft {
        RowDraft { id, subject: subject.into(), anchor, goal: None }
    }

    fn value(&self) -> String {
        let unit = self.goal.map_or("x", |goal| goal.unit);
        match &self.outcome {
            Outcome::Measured { value, basis, medians: _ } => {
                let digits = if unit == "x" && value.abs() < 100.0 { 2 } else { 1 };
                let digits = if unit.is_empty() { 0 } else { digits };
                let note = if *basis == Some(Basis::Cpu) { " CPU" } else { "" };
                format!("{value:.digits$}{unit}{note}")
            }
            Outcome::NotMeasured(_why) => "-".to_owned(),
        }
    }

    fn verdict(&self) -> String {
        match (&self.outcome, self.goal) {
            (Outcome::NotMeasured(why), _) => format!("not measured: {why}"),
            (Outcome::Measured { .. }, None) => String::new(),
            (Outcome::Measured { value, .. }, Some(goal)) => {
                let verdict = match (goal.is_met(*value), goal.is_stretched(*value)) {
                    (_, true) => "met, and the stretch",
                    (true, false) => "met",
                    (false, false) => "MISSED",
                };
                verdict.to_owned()
            }
        }
    }

    fn cells(&self) -> [String; 6] {
        [
            self.id.to_owned(),
            self.subject.clone(),
            self.anchor.to_owned(),
            self.goal.map(Goal::words).unwrap_or_default(),
            self.value(),
            self.verdict(),
        ]
    }

    fn json(&self) -> Value {
        let (value, basis, medians, why) = match &self.outcome {
            Outcome::Measured { value, basis, medians } => {
                let basis = basis.map(|basis| match basis {
                    Basis::Wall => "wall",
                    Basis::Cpu => "cpu",
                });
                (Some(*value), basis, Some(medians), None)
            }
            Outcome::NotMeasured(why) => (None, None, None, Some(why)),
        };
        json!({
            "id": self.id,
            "subject": self.subject,
            "anchor": self.anchor,
            "must": self.goal.map(|goal| goal.must),
            "stretch": self.goal.and_then(|goal| goal.stretch),
            "value": value,
            "basis": basis,
            "seconds": medians,
            "notMeasured": why,
            "verdict": self.verdict(),
        })
    }
}

/// A line whose outcome is not known yet.
pub struct RowDraft {
    id: &'static str,
    subject: String,
    anchor: &'static str,
    goal: Option<Goal>,
}

impl RowDraft {
    /// Says what is to be reached.
    #[must_use]
    pub fn goal(self, goal: Goal) -> Self {
        Self { goal: Some(goal), ..self }
    }

    /// Ends it with a ratio of times.
    pub fn ratio(self, value: f64, medians: &Medians) -> Row {
        let Medians { seconds, basis } = medians.clone();
        self.end(Outcome::Measured { value, basis: Some(basis), medians: seconds })
    }

    /// Ends it with a number that is no time.
    pub fn count(self, value: f64) -> Row {
        self.end(Outcome::Measured { value, basis: None, medians: Vec::new() })
    }

    /// Ends it without a number.
    pub fn not_measured(self, why: impl Into<String>) -> Row {
        self.end(Outcome::NotMeasured(why.into()))
    }

    fn end(self, outcome: Outcome) -> Row {
        let Self { id, subject, anchor, goal } = self;
        Row { id, subject, anchor, goal, outcome }
    }
}

const HEADINGS: [&str; 6] = ["", "what", "against", "goal (stretch)", "is", ""];

/// Returns the table for a terminal.
pub fn table(rows: &[Row]) -> String {
    let mut lines = vec![HEADINGS.map(str::to_owned)];
    lines.extend(rows.iter().map(Row::cells));
    let mut widths = [0; 6];
    for line in &lines {
        for (width, cell) in widths.iter_mut().zip(line) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut table = String::new();
    for line in &lines {
        let mut text = String::new();
        for (cell, width) in line.iter().zip(widths) {
            // Writing to a string cannot fail.
            let _infallible = write!(text, "{cell:width$}  ");
        }
        table.push_str(text.trim_end());
        table.push('\n');
    }
    table
}

/// Returns the table for a page.
pub fn markdown(rows: &[Row]) -> String {
    let mut page = format!("| {} |\n|{}\n", HEADINGS.join(" | "), "---|".repeat(HEADINGS.len()));
    for row in rows {
        let _infallible = writeln!(page, "| {} |", row.cells().join(" | "));
    }
    page
}

/// Returns the lines for a program.
pub fn json(rows: &[Row]) -> Value {
    rows.iter().map(Row::json).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_goal_is_met_missed_or_passed() {
        let verdict =
            |goal, value| Row::begin("P", "ours", "theirs").goal(goal).count(value).verdict();
        let less = Goal::at_most(2.0, 1.0);
        assert_eq!(verdict(less, 0.9), "met, and the stretch");
        assert_eq!(verdict(less, 1.5), "met");
        assert_eq!(verdict(less, 2.1), "MISSED");
        assert_eq!(verdict(less, f64::NAN), "MISSED");
        let more = Goal::at_least(8.0, 15.0).without_stretch();
        assert_eq!(verdict(more, 20.0), "met");
        assert_eq!(verdict(more, 7.9), "MISSED");
    }

    #[test]
    fn what_was_not_measured_says_why() {
        let row = Row::begin("P", "ours", "theirs").not_measured("needs CAP_NET_ADMIN");
        assert!(table(&[row]).ends_with("not measured: needs CAP_NET_ADMIN\n"));
    }
}
