//! Who may sign what, as the configuration's `trust` says.

use std::collections::{BTreeMap, BTreeSet};

use crate::brand;
use crate::digest::Digest;
use crate::name::ToolName;
use crate::release::Subject;

use super::fingerprint::Fingerprint;

/// The anchors of one server: `trust` in the configuration, and `DBT_TRUST`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TrustRules {
    dbt: Option<BTreeSet<Fingerprint>>,
    tools: Option<BTreeSet<Fingerprint>>,
    patterns: BTreeMap<String, BTreeSet<Fingerprint>>,
    root: Option<Digest>,
}

/// Returns a scope as people are shown it: the program itself by its own name, whatever the brand.
pub fn shown(scope: &str) -> &str {
    if scope == "dbt" { brand::PROGRAM } else { scope }
}

impl TrustRules {
    /// Adds one key of the configuration's `trust` object: `dbt`, `tools`, or `tool:PATTERN`
    /// where the pattern is a tool's name that may end in `*`.
    pub fn allow(
        &mut self,
        scope: &str,
        fingerprints: impl IntoIterator<Item = Fingerprint>,
    ) -> Result<(), UnknownScope> {
        let set = match scope {
            "dbt" => self.dbt.get_or_insert_default(),
            "tools" => self.tools.get_or_insert_default(),
            _ => {
                let unknown = || UnknownScope(scope.to_owned());
                let pattern = scope.strip_prefix("tool:").ok_or_else(unknown)?;
                let stem = pattern.strip_suffix('*').unwrap_or(pattern);
                if stem.contains('*')
                    || (!stem.is_empty() && format!("{stem}x").parse::<ToolName>().is_err())
                {
                    return Err(unknown());
                }
                self.patterns.entry(pattern.to_owned()).or_default()
            }
        };
        set.extend(fingerprints);
        Ok(())
    }

    /// Adds fingerprints that count for dbt and for every tool (`DBT_TRUST`): what is listed
    /// elsewhere stays.
    pub fn allow_everywhere(&mut self, fingerprints: &BTreeSet<Fingerprint>) {
        if fingerprints.is_empty() {
            return;
        }
        self.dbt.get_or_insert_default().extend(fingerprints.iter().cloned());
        self.tools.get_or_insert_default().extend(fingerprints.iter().cloned());
        for set in self.patterns.values_mut() {
            set.extend(fingerprints.iter().cloned());
        }
    }

    /// Names the root of signed metadata.
    pub fn set_root(&mut self, root: Digest) {
        self.root = Some(root);
    }

    /// Returns the root of signed metadata that the configuration names.
    pub fn root(&self) -> Option<Digest> {
        self.root
    }

    /// Says whether any signer is named at all.
    pub fn names_signers(&self) -> bool {
        self.dbt.is_some() || self.tools.is_some() || !self.patterns.is_empty()
    }

    /// Says whether signers are named for dbt, or for tools in general.
    pub fn names_general_signers(&self) -> bool {
        self.dbt.is_some() || self.tools.is_some()
    }

    /// Says whether this fingerprint is named anywhere.
    pub fn names(&self, fingerprint: &Fingerprint) -> bool {
        self.dbt
            .iter()
            .chain(&self.tools)
            .chain(self.patterns.values())
            .any(|set| set.contains(fingerprint))
    }

    /// Returns who may sign `subject`, or nothing where the configuration is silent. The most
    /// specific entry decides alone: an exact name, else the longest pattern, else `tools`.
    pub fn signers_of(&self, subject: &Subject) -> Option<Scope<'_>> {
        let name = match subject {
            Subject::Program => return self.dbt.as_ref().map(Scope::general),
            Subject::Tool(name) => name.as_str(),
        };
        let matching = |pattern: &str| match pattern.strip_suffix('*') {
            Some(stem) => name.starts_with(stem),
            None => pattern == name,
        };
        self.patterns
            .iter()
            .filter(|(pattern, _set)| matching(pattern))
            .max_by_key(|(pattern, _set)| (!pattern.ends_with('*'), pattern.len()))
            .map(|(_pattern, set)| Scope { listed: set, specific: true })
            .or_else(|| self.tools.as_ref().map(Scope::general))
    }
}

/// The signers that the configuration names for something.
#[derive(Debug, Clone, Copy)]
pub struct Scope<'a> {
    /// Their fingerprints.
    pub listed: &'a BTreeSet<Fingerprint>,
    /// The entry is for some tools only, so a manifest that lists everybody does not widen it.
    pub specific: bool,
}

impl<'a> Scope<'a> {
    fn general(listed: &'a BTreeSet<Fingerprint>) -> Self {
        Self { listed, specific: false }
    }
}

/// A key of `trust` that means nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is not a scope of trust: expected `dbt`, `tools`, `tool:NAME`, `tool:PREFIX*` or `root`", .0.escape_debug())]
pub struct UnknownScope(String);

#[cfg(test)]
mod tests {
    use super::*;

    fn fingerprint(digit: char) -> Fingerprint {
        digit.to_string().repeat(40).parse().unwrap()
    }

    #[test]
    fn the_most_specific_entry_decides_alone() {
        let mut rules = TrustRules::default();
        rules.allow("tools", [fingerprint('A')]).unwrap();
        rules.allow("tool:pay*", [fingerprint('B')]).unwrap();
        rules.allow("tool:payments-*", [fingerprint('C')]).unwrap();
        rules.allow("tool:payments-x", [fingerprint('D')]).unwrap();
        for (name, expected) in
            [("deploy", 'A'), ("payroll", 'B'), ("payments-y", 'C'), ("payments-x", 'D')]
        {
            let subject = Subject::Tool(name.parse().unwrap());
            let scope = rules.signers_of(&subject).unwrap();
            assert_eq!(scope.listed.iter().collect::<Vec<_>>(), [&fingerprint(expected)], "{name}");
        }
        assert!(rules.signers_of(&Subject::Program).is_none());
    }

    #[test]
    fn the_environment_only_adds() {
        let mut rules = TrustRules::default();
        rules.allow("tools", [fingerprint('A')]).unwrap();
        rules.allow_everywhere(&[fingerprint('E')].into());
        let scope = rules.signers_of(&Subject::Tool("x".parse().unwrap())).unwrap();
        assert_eq!(scope.listed.len(), 2);
        assert_eq!(rules.signers_of(&Subject::Program).unwrap().listed.len(), 1);
    }

    #[test]
    fn an_unknown_scope_is_refused() {
        for scope in ["tool", "tool:a/b", "tool:*x*", "roots", ""] {
            assert!(TrustRules::default().allow(scope, []).is_err(), "{scope}");
        }
    }
}
