//! The room in a prebuilt installer for an organisation's settings, which are put there without a
//! compiler.
//!
//! It is found by a mark that stands in the program once. Behind the mark is the length of the
//! settings (four bytes, little-endian; zero where there are none), then they, then zeros.

/// What the room begins with. The program that has the room never compares it with anything, so
/// that it stands there once.
const MARK: [u8; 32] = *b"\x7froom for an offer of a server\x7f\n";

/// The most that fits, in bytes: an organisation's name, three URLs, a provider and some tens of keys.
pub(crate) const LIMIT: usize = 8 * 1024;

/// Where the settings begin, behind the mark and the length.
const BEGIN: usize = MARK.len() + 4;

/// The size of the room, in bytes.
pub const ROOM: usize = BEGIN + LIMIT;

/// Returns the room with nothing in it.
pub const fn empty() -> [u8; ROOM] {
    let mut room = [0; ROOM];
    let mut index = 0;
    while index < MARK.len() {
        room[index] = MARK[index];
        index += 1;
    }
    room
}

/// Returns what was put into the room, if anything.
pub fn read(room: &[u8; ROOM]) -> Option<&[u8]> {
    let (_mark, rest) = room.split_first_chunk::<{ MARK.len() }>()?;
    let (length, settings) = rest.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_le_bytes(*length)).unwrap_or(LIMIT).min(LIMIT);
    settings.get(..length).filter(|settings| !settings.is_empty())
}

/// Returns what is in a program's room, if it has one and there is anything.
pub fn settings_in(program: &[u8]) -> Option<&[u8]> {
    let begin = find(program).ok()?;
    read(program.get(begin..)?.first_chunk::<ROOM>()?)
}

/// Puts settings into a program's room, over what was there, and returns where that is in the file.
pub fn fill(program: &mut [u8], settings: &[u8]) -> Result<std::ops::Range<usize>, ReservedError> {
    let length = u32::try_from(settings.len()).ok().filter(|_length| settings.len() <= LIMIT);
    let length = length.ok_or(ReservedError::TooLong { length: settings.len() })?;
    let begin = find(program)?;
    let room = begin..begin + ROOM;
    let inside = program.get_mut(room.clone()).ok_or(ReservedError::NoRoom)?;
    let (head, body) = inside.split_at_mut(BEGIN);
    for (to, from) in head.iter_mut().skip(MARK.len()).zip(length.to_le_bytes()) {
        *to = from;
    }
    body.fill(0);
    for (to, from) in body.iter_mut().zip(settings) {
        *to = *from;
    }
    Ok(room)
}

/// Returns where the room begins.
fn find(program: &[u8]) -> Result<usize, ReservedError> {
    let mut found = None;
    let mut at = 0;
    // The first byte of the mark is rare in programs, so this is as fast as reading them.
    while let Some(next) =
        program.get(at..).and_then(|rest| rest.iter().position(|it| *it == MARK[0]))
    {
        at += next;
        if program.get(at..).is_some_and(|rest| rest.starts_with(&MARK))
            && found.replace(at).is_some()
        {
            return Err(ReservedError::Several);
        }
        at += 1;
    }
    found.ok_or(ReservedError::NoRoom)
}

/// Why settings could not be put into a program.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReservedError {
    /// It is not an installer, or not one of ours.
    #[error("it has no room for settings: it is no installer of this product")]
    NoRoom,
    /// It has the mark more than once.
    #[error("it has room for settings in several places, and is no installer as it was built")]
    Several,
    /// The settings do not fit.
    #[error("the settings have {length} bytes, and there is room for {LIMIT}")]
    TooLong {
        /// How many they have.
        length: usize,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program() -> Vec<u8> {
        [b"\x7fELF before".as_slice(), &empty(), b"after"].concat()
    }

    #[test]
    fn what_is_put_into_the_room_is_read_there_and_nothing_else_changes() {
        let (mut program, before) = (program(), program());
        for settings in [b"{\"first\": 1, \"longer\": 2}".as_slice(), b"{}"] {
            let place = fill(&mut program, settings).unwrap();
            assert_eq!(settings_in(&program), Some(settings));
            assert_eq!(program[..place.start], before[..place.start]);
            assert_eq!(program[place.end..], before[place.end..]);
        }
        assert_eq!(read(&empty()), None);
    }

    #[test]
    fn what_has_no_room_two_rooms_or_too_little_is_refused() {
        let settings = b"{}";
        assert!(matches!(fill(&mut b"\x7fELF".to_vec(), settings), Err(ReservedError::NoRoom)));
        assert!(matches!(fill(&mut MARK.to_vec(), settings), Err(ReservedError::NoRoom)));
        let mut twice = [program(), program()].concat();
        assert!(matches!(fill(&mut twice, settings), Err(ReservedError::Several)));
        let long = vec![b' '; LIMIT + 1];
        assert!(matches!(fill(&mut program(), &long), Err(ReservedError::TooLong { .. })));
        assert!(fill(&mut program(), &long[1..]).is_ok());
    }

    #[test]
    fn a_length_that_cannot_be_is_not_believed() {
        let mut room = empty();
        room[MARK.len()..BEGIN].fill(0xff);
        assert_eq!(read(&room).map(<[u8]>::len), Some(LIMIT));
    }
}
