//! Where words go: stdout is data, stderr is talk.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::sync::{Arc, Mutex, PoisonError};

use anstyle::{AnsiColor, Style};
use dbt_core::brand;

use crate::exit_code::ExitCode;
use crate::printable;
use crate::report::Report;
use crate::table::Table;

/// How much is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verbosity {
    /// Errors only.
    Quiet,
    /// Errors and warnings.
    Normal,
    /// Also what is being done.
    Verbose,
}

/// Whether labels are coloured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colour {
    /// Yes.
    Always,
    /// No.
    Never,
}

impl Colour {
    /// Decides for stderr: only on a terminal, and not when `NO_COLOR` is set to anything or the
    /// terminal calls itself dumb.
    pub fn for_talk(no_colour: bool) -> Self {
        Self::of(no_colour, io::stderr().is_terminal())
    }

    /// Decides where it is known already whether stderr is a terminal.
    pub const fn of(no_colour: bool, is_terminal: bool) -> Self {
        if no_colour || !is_terminal { Self::Never } else { Self::Always }
    }
}

/// The word a line of talk begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Label {
    /// Something failed.
    Error,
    /// Something is not as it should be, and the work goes on.
    Warning,
    /// What the user can do.
    Hint,
}

impl Label {
    /// Returns the word with its colon.
    pub fn paint(self, colour: Colour) -> String {
        let (word, shade) = match self {
            Self::Error => ("error:", AnsiColor::Red),
            Self::Warning => ("warning:", AnsiColor::Yellow),
            Self::Hint => ("hint:", AnsiColor::Cyan),
        };
        match colour {
            Colour::Never => word.to_owned(),
            Colour::Always => {
                let style = Style::new().bold().fg_color(Some(shade.into()));
                format!("{style}{word}{style:#}")
            }
        }
    }
}

type Stream = Mutex<Box<dyn Write + Send>>;

/// Writes to the two streams.
pub struct Printer {
    data: Stream,
    talk: Stream,
    verbosity: Verbosity,
    colour: Colour,
    /// Data goes to a terminal.
    data_is_seen: bool,
}

impl Printer {
    /// Writes to the process's own stdout and stderr.
    pub fn standard(verbosity: Verbosity, colour: Colour) -> Self {
        let choice = match colour {
            Colour::Always => anstream::ColorChoice::Always,
            Colour::Never => anstream::ColorChoice::Never,
        };
        let talk = anstream::AutoStream::new(io::stderr(), choice);
        let data_is_seen = io::stdout().is_terminal();
        let printer = Self::on(Box::new(io::stdout()), Box::new(talk), verbosity, colour);
        Self { data_is_seen, ..printer }
    }

    /// Returns another one that writes to the process's own stdout and stderr as this one does, for
    /// what speaks in another thread.
    #[must_use]
    pub fn second(&self) -> Self {
        Self::standard(self.verbosity, self.colour)
    }

    /// Writes into memory, for tests.
    pub fn captured(verbosity: Verbosity) -> (Self, Captured) {
        let captured = Captured::default();
        let data = Box::new(captured.data.clone());
        let talk = Box::new(captured.talk.clone());
        (Self::on(data, talk, verbosity, Colour::Never), captured)
    }

    fn on(
        data: Box<dyn Write + Send>,
        talk: Box<dyn Write + Send>,
        verbosity: Verbosity,
        colour: Colour,
    ) -> Self {
        let (data, talk, data_is_seen) = (Mutex::new(data), Mutex::new(talk), false);
        Self { data, talk, verbosity, colour, data_is_seen }
    }

    /// Says whether [`Printer::verbose`] says anything, where finding out what to say costs.
    pub fn is_verbose(&self) -> bool {
        self.verbosity >= Verbosity::Verbose
    }

    /// Writes what was asked for to stdout, escaped; the text brings its own line ends.
    ///
    /// A reader that has gone away (`| head`) is no error: it has seen what it wanted.
    pub fn data(&self, text: impl Display) -> Result<(), Report> {
        self.write_data(printable::lines(&text.to_string()).as_bytes())
    }

    /// Writes a table to stdout: on a terminal as wide as that is, elsewhere whole.
    pub fn table(&self, table: &Table) -> Result<(), Report> {
        match self.data_width() {
            Some(width) => self.data(table.within(width)),
            None => self.data(table),
        }
    }

    /// Returns how wide the terminal is that data goes to, if it goes to one.
    fn data_width(&self) -> Option<usize> {
        if self.data_is_seen { terminal_width() } else { None }
    }

    /// Writes a JSON document to stdout and ends its line. Characters that a terminal would obey
    /// are spelt `\uXXXX`, so it stays the same document.
    pub fn json(&self, document: impl Display) -> Result<(), Report> {
        let mut text = printable::json(&document.to_string());
        text.push('\n');
        self.write_data(text.as_bytes())
    }

    fn write_data(&self, bytes: &[u8]) -> Result<(), Report> {
        let mut stream = self.data.lock().unwrap_or_else(PoisonError::into_inner);
        match stream.write_all(bytes).and_then(|()| stream.flush()) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                Err(Report::because(ExitCode::INTERNAL, "failed to write to stdout", error))
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Shows a failure; in short where that is enough, unless with `-V`.
    pub fn report(&self, report: &Report) {
        let text = if self.is_verbose() {
            report.render(self.colour)
        } else {
            report.render_in_short(self.colour)
        };
        self.say(&text);
    }

    /// Says that something is not as it should be, and that the work goes on.
    pub fn warning(&self, text: impl Display) {
        self.labelled(Verbosity::Normal, &Label::Warning.paint(self.colour), text);
    }

    /// Says what can be done about the line before.
    pub fn hint(&self, text: impl Display) {
        self.labelled(Verbosity::Normal, &Label::Hint.paint(self.colour), text);
    }

    /// Says something once that a person should know and that is nothing wrong.
    pub fn note(&self, text: impl Display) {
        self.labelled(Verbosity::Normal, &format!("{}:", brand::PROGRAM), text);
    }

    /// Says what is being done, with `-V`.
    pub fn verbose(&self, text: impl Display) {
        self.labelled(Verbosity::Verbose, &format!("{}:", brand::PROGRAM), text);
    }

    /// Says one line more of what was said before, without a label.
    pub fn further(&self, line: impl Display) {
        if self.verbosity >= Verbosity::Normal {
            self.say(&format!("{}\n", printable::line(&line.to_string())));
        }
    }

    /// Writes several lines to stderr, escaped, without a label; they bring their line ends.
    pub fn talk(&self, text: impl Display) {
        if self.verbosity >= Verbosity::Normal {
            self.say(&printable::lines(&text.to_string()));
        }
    }

    fn labelled(&self, needed: Verbosity, label: &str, text: impl Display) {
        if self.verbosity >= needed {
            self.say(&format!("{label} {}\n", printable::line(&text.to_string())));
        }
    }

    /// Writes to stderr in one piece. Nobody can be told when that fails.
    fn say(&self, text: &str) {
        let mut stream = self.talk.lock().unwrap_or_else(PoisonError::into_inner);
        let _nobody_to_tell = stream.write_all(text.as_bytes()).and_then(|()| stream.flush());
    }
}

/// Returns how wide the terminal of stdout is; nothing where it does not say.
#[cfg(unix)]
fn terminal_width() -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(io::stdout()).ok()?;
    Some(usize::from(size.ws_col)).filter(|width| *width > 0)
}

#[cfg(not(unix))]
const fn terminal_width() -> Option<usize> {
    None
}

/// What a [`Printer::captured`] wrote.
#[derive(Debug, Clone, Default)]
pub struct Captured {
    data: SharedBytes,
    talk: SharedBytes,
}

impl Captured {
    /// Returns what went to stdout.
    pub fn data(&self) -> String {
        self.data.text()
    }

    /// Returns what went to stderr.
    pub fn talk(&self) -> String {
        self.talk.text()
    }
}

#[derive(Debug, Clone, Default)]
struct SharedBytes(Arc<Mutex<Vec<u8>>>);

impl SharedBytes {
    fn text(&self) -> String {
        let bytes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl Write for SharedBytes {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Broken(io::ErrorKind);

    impl Write for Broken {
        fn write(&mut self, _bytes: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn broken(kind: io::ErrorKind) -> Printer {
        let stream = || Box::new(Broken(kind));
        Printer::on(stream(), stream(), Verbosity::Normal, Colour::Never)
    }

    #[test]
    fn data_goes_to_stdout_and_talk_to_stderr() {
        let (printer, captured) = Printer::captured(Verbosity::Verbose);
        printer.data("deploy\n").unwrap();
        printer.warning("`x` is old");
        printer.hint("update it");
        printer.verbose("asking the server");
        assert_eq!(captured.data(), "deploy\n");
        let talk = "warning: `x` is old\nhint: update it\ndbt: asking the server\n";
        assert_eq!(captured.talk(), talk);
    }

    #[test]
    fn less_is_said_when_less_is_wanted() {
        for (verbosity, expected) in [
            (Verbosity::Quiet, "error: e\n"),
            (Verbosity::Normal, "error: e\nwarning: w\n"),
            (Verbosity::Verbose, "error: e\nwarning: w\ndbt: v\n"),
        ] {
            let (printer, captured) = Printer::captured(verbosity);
            printer.report(&Report::internal("e"));
            printer.warning("w");
            printer.verbose("v");
            assert_eq!(captured.talk(), expected);
        }
    }

    #[test]
    fn a_reader_that_has_gone_away_is_no_error_and_a_full_disk_is() {
        assert!(broken(io::ErrorKind::BrokenPipe).data("x").is_ok());
        let report = broken(io::ErrorKind::StorageFull).data("x").unwrap_err();
        assert_eq!(report.code(), ExitCode::INTERNAL);
        broken(io::ErrorKind::BrokenPipe).warning("nobody reads this");
    }

    #[test]
    fn hostile_text_is_escaped_in_data_talk_and_json() {
        let (printer, captured) = Printer::captured(Verbosity::Normal);
        printer.data("a\u{1b}[2J\n").unwrap();
        printer.json("{\"a\": \"\u{9b}\u{202e}\u{e0041}\"}").unwrap();
        printer.warning("b\r\nerror: no");
        printer.further("  c\nhint: no");
        let data = "a\\u{1b}[2J\n{\"a\": \"\\u009b\\u202e\\udb40\\udc41\"}\n";
        assert_eq!(captured.data(), data);
        assert_eq!(captured.talk(), "warning: b\\u{d}\\u{a}error: no\n  c\\u{a}hint: no\n");
    }
}
