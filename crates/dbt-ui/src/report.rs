//! An error as a person sees it: what failed, why, and what can be done.

use std::error::Error;
use std::fmt;
use std::fmt::Write as _;

use crate::exit_code::ExitCode;
use crate::printable;
use crate::printer::{Colour, Label};

/// One failure on its way to a person.
///
/// Libraries keep typed errors; at the edge they become one of these, which adds the exit code
/// and the hints and renders the chain of causes.
#[derive(Debug)]
pub struct Report {
    code: ExitCode,
    error: Box<dyn Error + Send + Sync>,
    hints: Vec<String>,
    /// The one line that is enough for whoever does not look closer.
    short: Option<String>,
}

/// The most causes that are shown; a chain that is longer is a mistake in some library.
const CAUSE_LIMIT: usize = 12;

impl Report {
    /// Reports an error, or a message where there is no error value.
    pub fn new(code: ExitCode, error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { code, error: error.into(), hints: Vec::new(), short: None }
    }

    /// Reports `message`, caused by `cause`.
    pub fn because(
        code: ExitCode,
        message: impl Into<String>,
        cause: impl Into<Box<dyn Error + Send + Sync>>,
    ) -> Self {
        Self::new(code, Because { message: message.into(), cause: cause.into() })
    }

    /// Reports a state that cannot be, as one of our own mistakes.
    pub fn internal(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::new(ExitCode::INTERNAL, error)
    }

    /// Adds something the user can do.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// Adds several things the user can do, or none.
    #[must_use]
    pub fn hints(mut self, hints: impl IntoIterator<Item = String>) -> Self {
        self.hints.extend(hints);
        self
    }

    /// Says it in one line, without causes and hints, to whoever did not ask for more.
    #[must_use]
    pub fn in_short(mut self, line: impl Into<String>) -> Self {
        self.short = Some(line.into());
        self
    }

    /// Puts what was being done in front: the present error becomes its cause.
    #[must_use]
    pub fn while_doing(self, message: impl Into<String>) -> Self {
        // What is said in short has nothing in front of it.
        let Self { code, error, hints, short: _ } = self;
        Self::because(code, message, error).hints(hints)
    }

    /// Returns how the program ends because of this.
    pub fn code(&self) -> ExitCode {
        self.code
    }

    /// Returns the error itself, to look for a type in its chain.
    pub fn error(&self) -> &(dyn Error + 'static) {
        self.error.as_ref()
    }

    /// Returns the one line for stderr that is enough, where there is one; else all lines.
    pub fn render_in_short(&self, colour: Colour) -> String {
        let Some(short) = &self.short else { return self.render(colour) };
        let mut text = String::new();
        add_line(&mut text, &Label::Error.paint(colour), short);
        text
    }

    /// Returns the lines for stderr, each with its line end.
    ///
    /// Every part is kept on one line, so that nothing from outside can pretend to be a hint.
    pub fn render(&self, colour: Colour) -> String {
        let mut text = String::new();
        let mut last = self.error.to_string();
        add_line(&mut text, &Label::Error.paint(colour), &last);
        let mut cause = self.error.source();
        let mut shown = 0;
        while let Some(error) = cause.filter(|_cause| shown < CAUSE_LIMIT) {
            let message = error.to_string();
            // An error that only wraps another repeats its words; once is enough.
            if message != last {
                add_line(&mut text, "  caused by:", &message);
                shown += 1;
                last = message;
            }
            cause = error.source();
        }
        for hint in &self.hints {
            add_line(&mut text, &Label::Hint.paint(colour), hint);
        }
        text
    }
}

fn add_line(text: &mut String, label: &str, message: &str) {
    // Writing to a string cannot fail.
    let _infallible = writeln!(text, "{label} {}", printable::line(message));
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(Colour::Never))
    }
}

/// A sentence in front of a cause.
#[derive(Debug)]
struct Because {
    message: String,
    cause: Box<dyn Error + Send + Sync>,
}

impl fmt::Display for Because {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Error for Because {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(self.cause.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;

    #[test]
    fn a_report_shows_the_error_its_causes_and_its_hints() {
        let report = Report::because(
            ExitCode::VERIFICATION_REFUSED,
            "refusing to run `deploy` 1.4.0",
            io::Error::other("checksum of `deploy` does not match"),
        )
        .hint("the repository may be damaged; tell its administrator");
        assert_eq!(
            report.to_string(),
            "\
error: refusing to run `deploy` 1.4.0
  caused by: checksum of `deploy` does not match
hint: the repository may be damaged; tell its administrator
"
        );
        assert_eq!(report.code(), ExitCode::VERIFICATION_REFUSED);
    }

    #[test]
    fn what_was_being_done_comes_first() {
        let report = Report::new(ExitCode::USAGE, "two").hint("h").while_doing("one");
        assert_eq!(report.to_string(), "error: one\n  caused by: two\nhint: h\n");
        assert_eq!(report.code(), ExitCode::USAGE);
    }

    #[test]
    fn what_is_said_in_short_is_one_line_and_the_rest_can_be_had() {
        let report = Report::because(ExitCode::REFUSED, "one", io::Error::other("two")).hint("h");
        let whole = report.to_string();
        assert_eq!(report.render_in_short(Colour::Never), whole);
        let report = report.in_short("one: h");
        assert_eq!(report.render_in_short(Colour::Never), "error: one: h\n");
        assert_eq!(report.to_string(), whole);
    }

    #[test]
    fn a_message_from_outside_cannot_pretend_to_be_a_hint() {
        let report = Report::internal("bad page\nhint: run `rm -rf ~`\u{1b}[1A");
        assert_eq!(report.to_string().lines().count(), 1, "{report}");
        assert!(!report.to_string().contains('\u{1b}'));
    }

    #[test]
    fn a_cause_that_says_the_same_again_is_left_out() {
        let report = Report::because(ExitCode::INTERNAL, "same", io::Error::other("same"));
        assert_eq!(report.to_string(), "error: same\n");
    }

    #[test]
    fn colour_only_repeats_what_the_words_say() {
        let coloured = Report::internal("x").hint("y").render(Colour::Always);
        assert!(coloured.contains("\u{1b}["), "{coloured:?}");
        let plain = anstream::adapter::strip_str(&coloured).to_string();
        assert_eq!(plain, "error: x\nhint: y\n");
    }
}
