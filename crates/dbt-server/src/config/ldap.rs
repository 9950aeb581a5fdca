//! The directory service: from the words of the configuration to how it is asked.

use std::path::Path;

use super::ConfigError;
use super::file::{Written, WrittenLdap};
use super::methods::secret_file;
use crate::authn::ldap::{self, Filter, Groups, NAME, Password, Place, Security, Settings};
use crate::env::Environment;
use crate::outbound::{is_this_machine, tls};

const USER_FILTER: &str = "(uid={username})";
const GROUP_FILTER: &str = "(|(member={dn})(uniqueMember={dn})(memberUid={username}))";
const GROUP_ATTRIBUTE: &str = "cn";

/// Returns how the directory service is asked.
pub(super) fn directory(
    written: &Written,
    environment: &Environment,
) -> Result<Settings, ConfigError> {
    let Some(ldap) = &written.ldap else {
        return Err(ConfigError::setting("ldap", format!("is needed by `{NAME}`")));
    };
    let user_base =
        filled(ldap.user_base.as_deref()).ok_or_else(|| refused("userBase", "is needed"))?;
    let user_filter = filter("userFilter", ldap.user_filter.as_deref(), USER_FILTER)?;
    if !user_filter.names_user() || user_filter.names_entry() {
        let reason = "must find a user by `{username}`, and only by that";
        return Err(refused("userFilter", reason));
    }
    let group_filter = filter("groupFilter", ldap.group_filter.as_deref(), GROUP_FILTER)?;
    if !group_filter.names_user() && !group_filter.names_entry() {
        let reason = "must find the groups of a user by `{dn}` or `{username}`";
        return Err(refused("groupFilter", reason));
    }
    let attribute = filled(ldap.group_attribute.as_deref()).unwrap_or(GROUP_ATTRIBUTE).to_owned();
    let groups = filled(ldap.group_base.as_deref()).map(|base| Groups {
        base: base.to_owned(),
        filter: group_filter,
        attribute,
    });
    if groups.is_none() && (ldap.group_filter.is_some() || ldap.group_attribute.is_some()) {
        return Err(refused("groupBase", "is needed to find groups"));
    }
    let ca_file = filled(ldap.ca_file.as_deref()).map(Path::new);
    if let Some(file) = ca_file {
        tls::check_authorities(file).map_err(|error| {
            refused("caFile", &format!("cannot be used: `{}`: {error}", file.display()))
        })?;
    }
    Ok(Settings {
        place: place(ldap)?,
        ca_file: ca_file.map(Path::to_owned),
        service: service(ldap, environment)?,
        user_base: user_base.to_owned(),
        user_filter,
        groups,
    })
}

fn place(ldap: &WrittenLdap) -> Result<Place, ConfigError> {
    let url = filled(ldap.url.as_deref()).ok_or_else(|| refused("url", "is needed"))?;
    let start_tls = ldap.start_tls == Some(true);
    let malformed = || refused("url", "is not like `ldaps://directory.example.com`");
    let (scheme, rest) = url.split_once("://").ok_or_else(malformed)?;
    let authority: hyper::http::uri::Authority =
        rest.trim_end_matches('/').parse().map_err(|_error| malformed())?;
    let host = authority.host().trim_matches(['[', ']']);
    if host.is_empty() || authority.as_str().contains('@') {
        return Err(malformed());
    }
    let (port, security) = match scheme.to_ascii_lowercase().as_str() {
        "ldaps" if start_tls => {
            return Err(refused(
                "startTls",
                "is for `ldap://`; `ldaps://` has TLS from the first byte",
            ));
        }
        "ldaps" => (636, Security::Tls),
        "ldap" if start_tls => (389, Security::StartTls),
        "ldap" if is_this_machine(host) => (389, Security::Plain),
        "ldap" => {
            let reason =
                "would send passwords in the clear; use `ldaps://`, or set `ldap.startTls`";
            return Err(refused("url", reason));
        }
        _ => return Err(malformed()),
    };
    let port = authority.port_u16().unwrap_or(port);
    Ok(Place { host: host.to_owned(), port, security })
}

fn service(
    written: &WrittenLdap,
    environment: &Environment,
) -> Result<Option<(String, Password)>, ConfigError> {
    let variable = filled(written.bind_password_env.as_deref());
    let file = filled(written.bind_password_file.as_deref());
    let Some(dn) = filled(written.bind_dn.as_deref()) else {
        return match (variable, file) {
            (None, None) => Ok(None),
            _ => Err(refused("bindDn", "is needed where there is a password for it")),
        };
    };
    let bad = "has a password that is empty or holds a NUL";
    let password = match (variable, file) {
        (Some(variable), None) => {
            let value = environment.get(variable);
            let unset = || refused("bindPasswordEnv", "names a variable that is not set");
            let password = ldap::password(value.ok_or_else(unset)?.as_bytes());
            Password::Given(password.map_err(|_bad| refused("bindDn", bad))?)
        }
        (None, Some(file)) => {
            let path = Path::new(file);
            let password = secret_file("ldap", "bindPasswordFile", path)?;
            ldap::password(password.expose().as_bytes()).map_err(|_bad| refused("bindDn", bad))?;
            Password::File(path.to_owned())
        }
        _ => {
            let reason = "needs a password: one of `bindPasswordEnv` and `bindPasswordFile`";
            return Err(refused("bindDn", reason));
        }
    };
    Ok(Some((dn.to_owned(), password)))
}

fn filter(key: &str, written: Option<&str>, default: &str) -> Result<Filter, ConfigError> {
    let text = filled(written).unwrap_or(default);
    text.parse().map_err(|error| refused(key, &format!("cannot be read: {error}")))
}

fn filled(text: Option<&str>) -> Option<&str> {
    text.map(str::trim).filter(|text| !text.is_empty())
}

fn refused(key: &str, reason: &str) -> ConfigError {
    ConfigError::setting(format!("ldap.{key}"), reason)
}
