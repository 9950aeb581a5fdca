//! What was found, and how it is shown: lines for people, objects for programs, one block for a
//! ticket.

use std::fmt::Write as _;

use dbt_ui::printable;
use serde_json::{Value, json};

use super::kind::{Kind, Severity};

/// The width of the lines, a terminal's.
const WIDTH: usize = 80;

/// One thing that was looked at.
#[derive(Debug)]
struct Finding {
    verdict: Verdict,
    /// The server it is about; none where it is about this machine.
    server: Option<String>,
    found: String,
}

/// How a look ended.
#[derive(Debug)]
enum Verdict {
    /// In order; this is what was looked at.
    Good(&'static str),
    /// Not in order, and this helps.
    Wrong(Kind, String),
}

/// Everything that was found so far, in the order in which it was looked at.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    all: Vec<Finding>,
    server: Option<String>,
}

impl Findings {
    /// From now on, everything is about this server.
    pub(crate) fn about_server(&mut self, name: &str) {
        self.server = Some(name.to_owned());
    }

    /// Adds something that is in order.
    pub(crate) fn good(&mut self, about: &'static str, found: impl Into<String>) {
        self.add(Verdict::Good(about), found.into());
    }

    /// Adds something that is not, and what helps: a command, or a line of the configuration.
    pub(crate) fn wrong(&mut self, kind: Kind, found: impl Into<String>, fix: impl Into<String>) {
        self.add(Verdict::Wrong(kind, fix.into()), found.into());
    }

    fn add(&mut self, verdict: Verdict, found: String) {
        self.all.push(Finding { verdict, server: self.server.clone(), found });
    }

    /// Returns how many findings are errors.
    pub(crate) fn errors(&self) -> usize {
        self.count(Severity::Error)
    }

    /// Returns how many findings are warnings.
    pub(crate) fn warnings(&self) -> usize {
        self.count(Severity::Warning)
    }

    fn count(&self, severity: Severity) -> usize {
        let is = |it: &&Finding| matches!(&it.verdict, Verdict::Wrong(kind, _) if kind.severity == severity);
        self.all.iter().filter(is).count()
    }

    /// Returns the array for programs.
    pub(crate) fn json(&self) -> Value {
        let rows = self.all.iter().map(|Finding { verdict, server, found }| match verdict {
            Verdict::Good(about) => json!({
                "id": about, "severity": "ok", "server": server, "found": found,
                "why": null, "fix": null,
            }),
            Verdict::Wrong(kind, fix) => json!({
                "id": kind.id, "severity": kind.severity.as_str(), "server": server,
                "found": found, "why": kind.why, "fix": fix,
            }),
        });
        Value::Array(rows.collect())
    }

    /// Returns the lines for people.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        let mut server = None;
        for finding in &self.all {
            if finding.server != server {
                server.clone_from(&finding.server);
                let name = server.as_deref().unwrap_or_default();
                let _infallible = writeln!(text, "\nserver {}", printable::line(name));
            }
            finding.write(&mut text);
        }
        text
    }
}

impl Finding {
    fn write(&self, text: &mut String) {
        match &self.verdict {
            Verdict::Good(about) => wrap(text, &format!("ok       {about}: "), &self.found),
            Verdict::Wrong(kind, fix) => {
                let severity = kind.severity.as_str();
                wrap(text, &format!("{severity:<8} {}: ", kind.id), &self.found);
                wrap(text, "         why: ", kind.why);
                // Not wrapped, so that it can be copied.
                let _infallible = writeln!(text, "         fix: {}", printable::line(fix));
            }
        }
    }
}

/// Writes words after a label, in lines of a terminal's width; what is longer than a line stays
/// whole.
fn wrap(text: &mut String, label: &str, words: &str) {
    const INDENT: &str = "         ";
    let mut line = label.trim_end().to_owned();
    for word in printable::line(words).split(' ') {
        let length = line.chars().count() + 1 + word.chars().count();
        if length > WIDTH && line.trim_end().len() > INDENT.len() {
            let _infallible = writeln!(text, "{line}");
            line = format!("{INDENT}{word}");
        } else {
            line.push(' ');
            line.push_str(word);
        }
    }
    let _infallible = writeln!(text, "{line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings() -> Findings {
        let mut findings = Findings::default();
        findings.good("program", "dbt 4.0.0 at `/usr/local/bin/dbt`");
        findings.wrong(Kind::HOME_NONE, "there is no home directory", "`export DBT_HOME=DIR`");
        findings.about_server("ac\u{1b}me");
        findings.wrong(Kind::SERVER_TLS, "words ".repeat(20).trim_end(), "a fix\nhint: of two");
        findings
    }

    #[test]
    fn lines_are_as_wide_as_a_terminal_and_nothing_from_outside_writes_its_own() {
        let text = findings().text();
        assert_eq!(
            text,
            "\
ok       program: dbt 4.0.0 at `/usr/local/bin/dbt`
warning  home-none: there is no home directory
         why: nothing is remembered, so that every run is a first contact
         fix: `export DBT_HOME=DIR`

server ac\\u{1b}me
error    server-tls: words words words words words words words words words words
         words words words words words words words words words words
         why: nothing new can be installed; what is cached still runs
         fix: a fix\\u{a}hint: of two
"
        );
        assert!(text.lines().all(|line| line.chars().count() <= WIDTH), "{text}");
    }

    #[test]
    fn programs_get_the_same_as_people() {
        let rows = findings().json();
        assert_eq!(rows[0]["severity"], "ok");
        assert_eq!(rows[1]["id"], "home-none");
        assert_eq!(rows[1]["server"], Value::Null);
        assert_eq!(
            (&rows[2]["severity"], &rows[2]["server"]),
            (&"error".into(), &"ac\u{1b}me".into())
        );
        assert_eq!((findings().errors(), findings().warnings()), (1, 1));
    }
}
