//! Yes or no, and secrets, asked of the person and never of a pipe.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Write};

use dbt_core::secret::Secret;
#[cfg(unix)]
use rustix::termios::{self, LocalModes, OptionalActions, Termios};

use crate::printable;

/// What came back. Only [`Answer::Yes`] permits anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// The person said yes.
    Yes,
    /// The person said no, or nothing.
    No,
    /// There is nobody to ask; say which flag answers the question.
    NobodyThere,
}

/// Asks a question that is answered by yes or no; no is what Enter means.
///
/// It speaks with the terminal itself, because stdin may be data for somebody else.
pub fn ask(question: &str) -> Answer {
    let Ok((reader, mut writer)) = open_terminal() else {
        return Answer::NobodyThere;
    };
    // The terminal can go away while it is asked; then nobody answered.
    ask_on(reader, &mut writer, question).unwrap_or(Answer::NobodyThere)
}

/// Asks for a line, where Enter means what is `usual`. Nothing, if nobody is there or nothing was
/// said and nothing is usual.
pub fn line(question: &str, usual: Option<&str>) -> Option<String> {
    let (reader, mut writer) = open_terminal().ok()?;
    line_on(reader, &mut writer, question, usual).ok().flatten()
}

fn line_on(
    reader: impl Read,
    writer: &mut impl Write,
    question: &str,
    usual: Option<&str>,
) -> io::Result<Option<String>> {
    let shown = usual.map(|usual| format!(" [{}]", printable::line(usual))).unwrap_or_default();
    write!(writer, "{}{shown}: ", printable::line(question))?;
    writer.flush()?;
    let mut line = String::new();
    BufReader::new(reader.take(ANSWER_LIMIT)).read_line(&mut line)?;
    let said = Some(line.trim()).filter(|said| !said.is_empty());
    Ok(said.or(usual).map(str::to_owned))
}

/// Asks for something that nobody should see, on the terminal itself, which does not show it.
pub fn secret(question: &str) -> io::Result<Secret<String>> {
    let (reader, mut writer) = open_terminal()?;
    let _unseen = ask_unseen(&reader, &mut writer, question)?;
    rpassword::read_password().map(Secret::new)
}

/// Writes a question whose answer is not shown, from its first letter on: who answers as soon as the
/// question is there, as a password manager does, must not be faster than we are.
fn ask_unseen(terminal: &File, writer: &mut impl Write, question: &str) -> io::Result<Unseen> {
    let unseen = Unseen::on(terminal)?;
    write!(writer, "{}", printable::line(question))?;
    writer.flush()?;
    Ok(unseen)
}

/// A terminal that does not show what is typed, until this goes.
#[cfg(unix)]
struct Unseen {
    terminal: File,
    before: Termios,
}

#[cfg(unix)]
impl Unseen {
    fn on(terminal: &File) -> io::Result<Self> {
        let terminal = terminal.try_clone()?;
        let before = termios::tcgetattr(&terminal)?;
        let mut unseen = before.clone();
        // What is read with is set in the same way; what was typed before then is not lost, and Ctrl-C
        // is left to whoever reads.
        let shown = LocalModes::ECHO | LocalModes::ECHONL;
        unseen.local_modes.remove(shown | LocalModes::ICANON | LocalModes::ISIG);
        termios::tcsetattr(&terminal, OptionalActions::Now, &unseen)?;
        Ok(Self { terminal, before })
    }
}

#[cfg(unix)]
impl Drop for Unseen {
    fn drop(&mut self) {
        // A terminal that is gone shows nothing any more.
        let _may_be_gone = termios::tcsetattr(&self.terminal, OptionalActions::Now, &self.before);
    }
}

/// On a console it is whoever reads that hides what is typed.
#[cfg(windows)]
struct Unseen;

#[cfg(windows)]
impl Unseen {
    #[expect(clippy::unnecessary_wraps, reason = "a terminal can go away")]
    const fn on(_console: &File) -> io::Result<Self> {
        Ok(Self)
    }
}

#[cfg(not(windows))]
fn open_terminal() -> io::Result<(File, File)> {
    let terminal = OpenOptions::new().read(true).write(true).open("/dev/tty")?;
    Ok((terminal.try_clone()?, terminal))
}

#[cfg(windows)]
fn open_terminal() -> io::Result<(File, File)> {
    let reader = OpenOptions::new().read(true).write(true).open("CONIN$")?;
    Ok((reader, OpenOptions::new().read(true).write(true).open("CONOUT$")?))
}

/// How often an answer that is neither is asked again.
const ATTEMPTS: usize = 3;

/// The longest answer that is read, in bytes.
const ANSWER_LIMIT: u64 = 1024;

fn ask_on(reader: impl Read, writer: &mut impl Write, question: &str) -> io::Result<Answer> {
    let mut reader = BufReader::new(reader.take(ANSWER_LIMIT));
    for _attempt in 0..ATTEMPTS {
        write!(writer, "{} [y/N] ", printable::line(question))?;
        writer.flush()?;
        let mut line = String::new();
        let length = reader.read_line(&mut line)?;
        match line.trim().to_ascii_lowercase().as_str() {
            "y" | "yes" => return Ok(Answer::Yes),
            "" | "n" | "no" => return Ok(Answer::No),
            _ if length == 0 => return Ok(Answer::No),
            _ => writeln!(writer, "please answer `y` or `n`")?,
        }
    }
    Ok(Answer::No)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(typed: &str) -> (Answer, String) {
        let mut shown = Vec::new();
        let answer = ask_on(typed.as_bytes(), &mut shown, "trust these keys?").unwrap();
        (answer, String::from_utf8(shown).unwrap())
    }

    #[test]
    fn only_a_clear_yes_is_a_yes() {
        for typed in ["y\n", "Y\r\n", " yes \n", "YES"] {
            assert_eq!(answer(typed).0, Answer::Yes, "{typed:?}");
        }
        for typed in ["n\n", "no\n", "\n", "", "maybe\nperhaps\ndunno\ny\n"] {
            assert_eq!(answer(typed).0, Answer::No, "{typed:?}");
        }
    }

    #[test]
    fn an_unclear_answer_is_asked_again() {
        let (answer, shown) = answer("si\ny\n");
        assert_eq!(answer, Answer::Yes);
        assert_eq!(shown.matches("trust these keys? [y/N] ").count(), 2);
    }

    #[test]
    fn enter_means_what_is_usual() {
        let line = |typed: &str, usual| {
            let mut shown = Vec::new();
            let line = line_on(typed.as_bytes(), &mut shown, "user name", usual).unwrap();
            (line, String::from_utf8(shown).unwrap())
        };
        let (said, shown) = line("\n", Some("alice"));
        assert_eq!((said.as_deref(), shown.as_str()), (Some("alice"), "user name [alice]: "));
        assert_eq!(line(" bob \n", Some("alice")).0.as_deref(), Some("bob"));
        assert_eq!(line("", None), (None, "user name: ".to_owned()));
    }

    /// Notes, whenever something is written, whether the terminal would show what is typed now.
    #[cfg(unix)]
    struct Watching<'a>(&'a File, Vec<bool>);

    #[cfg(unix)]
    fn shows_what_is_typed(terminal: &File) -> bool {
        termios::tcgetattr(terminal).unwrap().local_modes.contains(LocalModes::ECHO)
    }

    #[cfg(unix)]
    impl Write for Watching<'_> {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.1.push(shows_what_is_typed(self.0));
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_secret_is_hidden_before_it_is_asked_for_and_until_it_is_there() {
        use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        let mut options = OpenOptions::new();
        let terminal = options.read(true).write(true).open(name.to_str().unwrap()).unwrap();
        assert!(shows_what_is_typed(&terminal));
        let mut watching = Watching(&terminal, Vec::new());
        let unseen = ask_unseen(&terminal, &mut watching, "passphrase: ").unwrap();
        assert!(!watching.1.is_empty() && !watching.1.contains(&true), "{:?}", watching.1);
        assert!(!shows_what_is_typed(&terminal));
        drop(unseen);
        assert!(shows_what_is_typed(&terminal));
    }

    #[test]
    fn an_endless_answer_ends_as_no() {
        let endless = io::repeat(b'y');
        assert_eq!(ask_on(endless, &mut io::sink(), "?").unwrap(), Answer::No);
    }
}
