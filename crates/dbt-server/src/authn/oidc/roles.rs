//! Roles that users of an identity provider hold by what their tokens claim. They are read of each token
//! anew and kept nowhere: who leaves a group has left its role with the next token.

use super::Settings;
use super::claims::{self, Claims};

/// A role that a claim gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// The claim; dots lead into objects.
    pub claim: String,
    /// The texts of which it must be one, or hold one.
    pub values: Vec<String>,
    /// The role that it gives then.
    pub role: String,
}

/// Returns the roles that verified claims give: of every mapping that matches, each once.
pub fn held(claims: &Claims, settings: &Settings) -> Vec<String> {
    let mut roles: Vec<String> = Vec::new();
    for mapping in &settings.role_mappings {
        if matches(claims, mapping, settings) && !roles.contains(&mapping.role) {
            roles.push(mapping.role.clone());
        }
    }
    roles
}

fn matches(claims: &Claims, mapping: &Mapping, settings: &Settings) -> bool {
    let Mapping { claim, values, role: _ } = mapping;
    if *claim == settings.groups_claim {
        let groups = claims::groups(claims, claim);
        let is_one =
            |group: &String| values.iter().any(|it| claims::bare(it) == claims::bare(group));
        return groups.iter().any(is_one);
    }
    claims::required(claims, claim, values).is_ok()
}
