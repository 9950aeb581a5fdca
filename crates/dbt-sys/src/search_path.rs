//! The user's own part of the search path for programs, where the system keeps one beside the
//! environment of processes: on Windows. What is there counts for every program that is started from
//! then on.

use std::io;

#[cfg(windows)]
mod registry;

/// Returns it as it is written there, variables of the environment and all; nothing where nobody has
/// written one.
///
/// Fails where the system keeps none, and where it is not Unicode text.
#[cfg(windows)]
pub fn of_user() -> io::Result<Option<String>> {
    registry::read()
}

/// Fails: the system keeps none.
#[cfg(not(windows))]
pub fn of_user() -> io::Result<Option<String>> {
    Err(there_is_none())
}

/// Replaces it, and tells the programs that show a desktop. Fails where the system keeps none.
#[cfg(windows)]
pub fn set_of_user(text: &str) -> io::Result<()> {
    registry::write(text)
}

/// Fails: the system keeps none.
#[cfg(not(windows))]
pub fn set_of_user(_text: &str) -> io::Result<()> {
    Err(there_is_none())
}

#[cfg(not(windows))]
fn there_is_none() -> io::Error {
    let words = "this system keeps no search path of a user";
    io::Error::new(io::ErrorKind::Unsupported, words)
}

#[cfg(all(test, not(windows)))]
mod tests {
    use super::*;

    #[test]
    fn where_there_is_none_nobody_is_told_otherwise() {
        assert_eq!(of_user().unwrap_err().kind(), io::ErrorKind::Unsupported);
        assert_eq!(set_of_user("x").unwrap_err().kind(), io::ErrorKind::Unsupported);
    }
}
