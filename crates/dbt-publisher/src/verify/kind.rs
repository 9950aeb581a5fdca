//! Everything that `verify` can find wrong, as one table: programs read the ids, people the words.

/// How bad something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Severity {
    /// Clients refuse it, do not get it, or cannot be told that it is right.
    Error,
    /// Clients get it, and somebody should look.
    Warning,
}

impl Severity {
    /// Returns its name.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

/// One thing that can be wrong. The id is published and never changes its meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Kind {
    pub(crate) id: &'static str,
    pub(crate) severity: Severity,
    /// What helps.
    pub(crate) fix: &'static str,
}

/// Makes the constants and the table of them, so that none is forgotten in it.
macro_rules! kinds {
    ($($name:ident = $id:literal, $severity:ident, $fix:literal;)+) => {
        impl Kind {
            $(pub(crate) const $name: Self = Self {
                id: $id,
                severity: Severity::$severity,
                fix: $fix,
            };)+

            /// Every kind, in the order of the documentation.
            #[cfg(test)]
            pub(crate) const TABLE: &[Self] = &[$(Self::$name),+];
        }
    };
}

kinds! {
    UNREACHABLE = "unreachable", Error,
        "run it again; what could not be read has not been checked";
    FORBIDDEN = "forbidden", Error,
        "say who reads: `--token-file FILE`, or `--username NAME --password-file FILE`";
    MALFORMED = "malformed", Error,
        "see what the server, or something in front of it, answers there";

    TRUSTSTORE_MISSING = "truststore-missing", Error,
        "`publisher truststore add` makes one";
    TRUSTSTORE_REFUSED = "truststore-refused", Error,
        "put the last good truststore back; clients keep the one they have";
    CERTIFICATE_SKIPPED = "certificate-skipped", Warning,
        "`publisher truststore` writes certificates that clients accept";
    CERTIFICATE_UNLISTED = "certificate-unlisted", Error,
        "find out who added it; `publisher truststore remove FINGERPRINT` takes it out";
    KEY_EXPIRED = "key-expired", Warning,
        "extend its life and add it again with `publisher truststore add`";
    KEY_EXPIRES = "key-expires", Warning,
        "extend its life and add it again with `publisher truststore add`";
    MANIFEST_REFUSED = "manifest-refused", Error,
        "look who has changed it before you sign another";
    MANIFEST_EXPIRES = "manifest-expires", Warning,
        "any change by `publisher truststore` renews it";
    ADMINISTRATORS = "administrators", Error,
        "nobody can sign the next change for machines that know this one; they need a new installer";

    ARTIFACT_MISSING = "artifact-missing", Error,
        "publish the version again, or delete what is left of it";
    SIGNATURE_MISSING = "signature-missing", Error,
        "publish the version again with `publisher publish`";
    CHECKSUM_MISSING = "checksum-missing", Error,
        "publish the version again with `publisher publish`";
    CHECKSUM_REFUSED = "checksum-refused", Error,
        "publish the version again with `publisher publish`";
    CHECKSUM_FORM = "checksum-form", Warning,
        "clients of the reference want 64 lower-case digits and nothing else";
    ARTIFACT_CHANGED = "artifact-changed", Error,
        "compare it with what was built; publish a new version, and withdraw this one";
    SIGNATURE_REFUSED = "signature-refused", Error,
        "compare it with what was built; `publisher sign` signs what a known key has signed before";
    SIGNER_UNKNOWN = "signer-unknown", Error,
        "`publisher truststore add` lets the key count, if it should";
    KEY_REVOKED = "key-revoked", Error,
        "compare it with what was built, and publish it signed by another key";
    SIGNED_AFTER_EXPIRY = "signed-after-expiry", Error,
        "extend the key's life, or publish it signed by another key";
    SIGNED_FOR_OTHER = "signed-for-other", Error,
        "somebody may have put another tool or version there; publish the right one";
    UNBOUND = "unbound", Warning,
        "`publisher sign` makes signatures that name what they are for";
    WRONG_PLATFORM = "wrong-platform", Error,
        "publish a build for that platform";
    NO_PROGRAM = "no-program", Warning,
        "see whether the right file was published";
    TOOL_EMPTY = "tool-empty", Warning,
        "publish a version, or delete what is left of the tool";
    VERSION_EMPTY = "version-empty", Error,
        "complete it by publishing it again, or delete it";
    VERSION_TWICE = "version-twice", Warning,
        "delete one; clients take the one without `v`";
    DESCRIPTION_UNSIGNED = "description-unsigned", Warning,
        "publish the version again, or sign it with `publisher sign`";
    DESCRIPTION_REFUSED = "description-refused", Error,
        "publish the version again with `--description`";
    WITHDRAWN_REFUSED = "withdrawn-refused", Error,
        "put the last good list back, then use `publisher withdraw`";
    BYTES_WITHDRAWN = "bytes-withdrawn", Error,
        "clients refuse it; publish another build under a new version, or delete this one";

    NAME_RESERVED = "name-reserved", Warning,
        "rename it, or give the word back in the clients' configuration (`tools`)";
    NAME_ILLEGAL = "name-illegal", Warning,
        "no client can ask for it; publish it under another name";
    NAME_CASE = "name-case", Warning,
        "rename one; systems that ignore case take one for the other";
    UNCLAIMED = "unclaimed", Warning,
        "no client reads it; delete it if nothing else does";
    LATEST_WRONG = "latest-wrong", Error,
        "write the newest version there; installers read it";
    LATEST_STALE = "latest-stale", Warning,
        "write the newest version there; installers read it";
    PAGE_STALE = "page-stale", Error,
        "publish to this directory with `publisher` alone: it writes the pages";

    VERSION_SPELT_V = "version-spelt-v", Warning,
        "clients of the reference do not see it; publish it without `v`";
    PLATFORM_MISSING = "platform-missing", Warning,
        "machines of that platform stay on the older version";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_its_own_id_and_is_documented_with_its_severity() {
        let documentation = include_str!("../../../../docs/verifying.md");
        let mut ids: Vec<&str> = Kind::TABLE.iter().map(|kind| kind.id).collect();
        for kind in Kind::TABLE {
            let row = format!("| `{}` | {} |", kind.id, kind.severity.as_str());
            assert!(documentation.contains(&row), "`{row}` is missing in docs/verifying.md");
        }
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), Kind::TABLE.len());
    }
}
