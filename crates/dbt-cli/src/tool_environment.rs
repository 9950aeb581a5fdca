//! The environment that a tool is started with.
//!
//! (Contract: wire formats, section 5.7. The reference appends; a value that was there before
//! then reached some tools and not others. Ours replace.)

use std::ffi::{OsStr, OsString};

use dbt_client::settings::Settings;
use dbt_core::brand;
use dbt_core::secret::withheld_variables;

use crate::env::{Variable, same_name};

/// The variables that say where a tool came from, without their prefix.
pub(crate) const GIVEN: [&str; 4] = ["REPO", "TOOLS_REPO", "TRUSTSTORE", "SERVER"];

/// Variables that are ours alone beside those that hold secrets: what one run tells the next.
const WITHHELD: [Variable; 2] = [Variable::ReExec, Variable::StatusFile];

/// Returns the environment of a tool of this server: what was inherited, in its order and each
/// name once, without ours and those in which the server's secrets stand, and then where the tool
/// came from.
pub fn tool_environment(
    inherited: &[(OsString, OsString)],
    settings: &Settings,
) -> Vec<(OsString, OsString)> {
    let server = &settings.server;
    let values = [
        server.repository.to_string(),
        server.tools.to_string(),
        server.truststore.to_string(),
        server.name.to_string(),
    ];
    let given = GIVEN.iter().zip(values);
    let given: Vec<(OsString, OsString)> = given
        .map(|(name, value)| (format!("{}{name}", brand::ENV_PREFIX).into(), value.into()))
        .collect();
    let ours = WITHHELD.iter().map(|variable| variable.name());
    let its = server.secret_variables.iter().cloned();
    let withheld: Vec<OsString> =
        ours.chain(withheld_variables()).chain(its).map(OsString::from).collect();

    let mut environment: Vec<(OsString, OsString)> =
        Vec::with_capacity(inherited.len() + given.len());
    for (name, value) in inherited {
        let is = |other: &OsStr| same_name(name, other);
        let replaced = given.iter().any(|(other, _value)| is(other));
        let ours = withheld.iter().any(|other| is(other));
        // The first of two is the one that other programs see.
        let again = environment.iter().any(|(other, _value)| is(other));
        if !replaced && !ours && !again {
            environment.push((name.clone(), value.clone()));
        }
    }
    environment.extend(given);
    environment
}
