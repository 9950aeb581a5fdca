//! The settings that an organisation has put into this very program, without a compiler.

use std::hint::black_box;

use dbt_client::reserved::{self, ROOM};

/// The room for them. What is put there afterwards is not what the compiler sees here.
static RESERVED: [u8; ROOM] = reserved::empty();

/// Returns the settings, if there are any.
pub(super) fn settings() -> Option<Vec<u8>> {
    // Otherwise the compiler would answer for what it has seen.
    let room = black_box(&RESERVED);
    reserved::read(room).map(<[u8]>::to_vec)
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_program_as_it_was_built_has_none() {
        assert_eq!(super::settings(), None);
    }
}
