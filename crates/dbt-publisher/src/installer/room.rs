//! The room for settings in the bytes of a program.

use std::ops::Range;

use dbt_client::reserved::{self, ReservedError};

/// A program whose room is about to be filled.
pub(super) struct Room<'a> {
    program: &'a mut [u8],
}

impl<'a> Room<'a> {
    pub(super) fn new(program: &'a mut [u8]) -> Self {
        Self { program }
    }

    /// Fills it, and returns where it is.
    pub(super) fn fill(&mut self, settings: &[u8]) -> Result<Range<usize>, BakeError> {
        Ok(reserved::fill(self.program, settings)?)
    }
}

/// Returns the settings in a program, if it has any.
pub(super) fn settings_in(program: &[u8]) -> Option<&[u8]> {
    reserved::settings_in(program)
}

/// Why settings were not baked into a program.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(super) enum BakeError {
    /// There is no room for them.
    #[error(transparent)]
    Room(#[from] ReservedError),
    /// The file does not keep to its format.
    #[error("it is damaged: {0}")]
    Damaged(&'static str),
    /// Somebody's signature would not hold any more.
    #[error(
        "it is signed already, by somebody whose signature would not hold any more; bake first, and sign by `--sign-command`"
    )]
    Signed,
    /// A hash that we do not make.
    #[error("its pages are hashed in a way that is not known here (type {0})")]
    HashType(u8),
}
