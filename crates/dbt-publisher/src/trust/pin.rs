//! What this machine knows of a repository's metadata: where signing begins.

use dbt_client::tuf::Kept;
use dbt_core::digest::Digest;
use dbt_core::layout::Tree;
use dbt_ui::exit_code::ExitCode;
use dbt_ui::report::Report;

use crate::env::Environment;
use crate::place::Place;
use crate::stop::Stop;

/// The directory of it in our home; the client's own memory is another one.
const DIRECTORY: &str = "publisher";

/// How many digits of the digest of a URL are a name.
const DIGITS: usize = 16;

/// The metadata that this machine has verified, from a root on that a person brought here. One process at a time has it.
pub(crate) struct Pin(Kept);

impl Pin {
    /// Opens what is known of the repository at this place.
    pub(crate) fn of(place: &Place, environment: &Environment) -> Result<Self, Stop> {
        let home = environment.our_home().ok_or_else(|| {
            Report::new(ExitCode::CONFIGURATION, "the home directory is not known")
                .hint("set `HOME`: what is known of signed metadata is kept there")
        })?;
        let url = place.tree(Tree::Repository)?.to_string();
        let name = Digest::of(url.as_bytes()).to_string();
        let name = name.get(..DIGITS).unwrap_or(&name);
        Ok(Self(Kept::open(&home.join(DIRECTORY).join(name))?))
    }

    /// Returns where it is kept.
    pub(crate) const fn kept(&self) -> &Kept {
        &self.0
    }
}
