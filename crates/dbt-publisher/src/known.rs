//! What the truststore of a repository says about something that is published there.

use dbt_core::clock::Clock;
use dbt_core::layout::Location;
use dbt_core::release::Subject;
use dbt_core::trust::keys::{Certificate, Keyring, TRUSTSTORE_LIMIT};
use dbt_core::trust::memory::{Demands, TrustMemory};
use dbt_core::trust::{Confirmation, TrustRules, TrustStore};
use dbt_core::version::Version;
use dbt_ui::exit_code::ExitCode;
use dbt_ui::report::Report;

use crate::exchange::{Exchange, Spot};
use crate::place::Place;
use crate::stop::Stop;

/// Reads the certificates of the truststore; none when there is no truststore.
///
/// What they stand behind is what a client that comes here for the first time would believe.
pub(crate) fn certificates(place: &Place, exchange: &Exchange) -> Result<Vec<Certificate>, Stop> {
    let Some(url) = place.truststore() else {
        return Err(Stop::usage("`--repository` is missing: the truststore is there"));
    };
    let Some(bytes) = exchange.get(&Spot::at(url)?, TRUSTSTORE_LIMIT)? else {
        return Ok(Vec::new());
    };
    let keyring = Keyring::parse(&bytes).map_err(|error| {
        Report::because(ExitCode::VERIFICATION_REFUSED, format!("refusing `{url}`"), error)
    })?;
    Ok(keyring.certificates)
}

/// Returns a version as its directory is spelt: with a `v` in front, perhaps.
pub(crate) fn as_published(
    subject: &Subject,
    version: Version,
    place: &Place,
    exchange: &Exchange,
) -> Result<Version, Stop> {
    let listing = exchange.list(&Spot::of(place, &Location::versions_of(subject))?)?;
    let published = listing.map(|listing| listing.versions()).unwrap_or_default();
    // Beside each other, the one without `v` counts: it is the greater one.
    Ok(published.into_iter().filter(|one| one.same_number(&version)).max().unwrap_or(version))
}

/// Turns certificates into the verifier that clients use.
pub(crate) fn truststore(certificates: Vec<Certificate>, clock: Clock) -> Result<TrustStore, Stop> {
    let keyring = Keyring { certificates, skipped: Vec::new() };
    let demands = Demands { rules: &TrustRules::default(), strict: false };
    let assembly = TrustMemory::default().assemble(
        keyring,
        None,
        demands,
        Confirmation::Confirmed,
        clock.now(),
    );
    let assembly = assembly.map_err(|error| {
        let message = "no certificate of the truststore can be used";
        Report::because(ExitCode::VERIFICATION_REFUSED, message, error)
    })?;
    Ok(assembly.store)
}
