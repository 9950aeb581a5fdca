//! Identity providers where anybody in the world can have a token, and the claims that say whose
//! it is. Without one of these required, "has a token" means nothing.

/// A provider for everybody.
#[derive(Debug, PartialEq, Eq)]
pub struct Shared {
    host: &'static str,
    /// Parts of the path that make it one for everybody; none: it always is.
    paths: &'static [&'static str],
    /// The claims of which one must be required.
    pub owners: &'static [&'static str],
}

/// Where the tenants of Entra ID sign in.
const ENTRA: &str = "login.microsoftonline.com";

const SHARED: [Shared; 14] = [
    Shared {
        host: "token.actions.githubusercontent.com",
        paths: &[],
        owners: &[
            "repository_owner_id",
            "repository_owner",
            "repository_id",
            "repository",
            "enterprise_id",
            "enterprise",
            "sub",
        ],
    },
    Shared {
        host: "gitlab.com",
        paths: &[],
        owners: &["namespace_id", "namespace_path", "project_id", "project_path", "user_id", "sub"],
    },
    Shared { host: "accounts.google.com", paths: &[], owners: &["hd", "email", "sub"] },
    Shared {
        host: ENTRA,
        // The last is where personal accounts are.
        paths: &["common", "organizations", "consumers", "9188040d-6c67-4c5b-b112-36a304b66dad"],
        owners: &["oid", "sub"],
    },
    Shared {
        host: "agent.buildkite.com",
        paths: &[],
        owners: &["organization_id", "organization_slug", "pipeline_id"],
    },
    Shared {
        host: "app.terraform.io",
        paths: &[],
        owners: &["terraform_organization_id", "terraform_organization_name"],
    },
    Shared { host: "oauth2.sigstore.dev", paths: &[], owners: &["email", "sub"] },
    Shared { host: "appleid.apple.com", paths: &[], owners: &["email", "sub"] },
    Shared { host: "codeberg.org", paths: &[], owners: &["sub"] },
    Shared { host: "gitea.com", paths: &[], owners: &["sub"] },
    Shared { host: "oidc.codefresh.io", paths: &[], owners: &["account_id", "sub"] },
    Shared {
        host: "oidc.cirrus-ci.com",
        paths: &[],
        owners: &["owner_id", "repository_id", "sub"],
    },
    Shared { host: "oidc.vercel.com", paths: &[], owners: &["owner_id", "project_id", "sub"] },
    Shared { host: "slack.com", paths: &[], owners: &["https://slack.com/team_id", "sub"] },
];

/// Paths of Entra ID that name no tenant: no token is ever of this issuer.
const NO_TENANT: [&str; 3] = ["common", "organizations", "consumers"];

/// Says whether anybody can have a token of an issuer.
pub fn of(issuer: &str) -> Option<&'static Shared> {
    let (host, path) = parts(issuer);
    let in_path = |one: &str| path.split('/').any(|part| part.eq_ignore_ascii_case(one));
    SHARED.iter().find(|shared| {
        shared.host.eq_ignore_ascii_case(host)
            && (shared.paths.is_empty() || shared.paths.iter().any(|one| in_path(one)))
    })
}

/// Says whether an issuer stands for all tenants of Entra ID.
pub fn names_no_tenant(issuer: &str) -> bool {
    let (host, path) = parts(issuer);
    let is_none = |part: &str| NO_TENANT.iter().any(|one| one.eq_ignore_ascii_case(part));
    host.eq_ignore_ascii_case(ENTRA) && path.split('/').any(is_none)
}

fn parts(issuer: &str) -> (&str, &str) {
    // Google also leaves out the scheme.
    let rest = issuer.split_once("://").map_or(issuer, |(_scheme, rest)| rest);
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let host = authority.split_once(':').map_or(authority, |(host, _port)| host);
    (host.trim_end_matches('.'), path)
}
