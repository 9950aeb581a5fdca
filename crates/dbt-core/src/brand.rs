//! Names that a rebranded build changes.
//!
//! No string outside this file contains the product's name where a person would see it. Wire
//! identifiers (the notation, `REPOSERVER_*`, schema names) are the same for every brand.
//!
//! `BRAND`, set when this crate is compiled, names another brand: `build.rs` reads it, and what it
//! says stands here in place of the product's own names. A build without it has those.

use std::borrow::Cow;
use std::cmp::Reverse;

/// A name of the brand that this build is for, or the product's own.
macro_rules! named {
    ($variable:literal, $own:expr) => {
        match option_env!($variable) {
            Some(name) => name,
            None => $own,
        }
    };
}

/// The program's name, as users type it, and the name of its own artifact in a repository.
pub const PROGRAM: &str = named!("BRAND_PROGRAM", OWN_PROGRAM);

/// The product's long name.
pub const LONG_NAME: &str = named!("BRAND_NAME", OWN_LONG_NAME);

/// The directory below the user's home that holds everything of ours.
pub const HOME_DIRECTORY: &str = named!("BRAND_DIRECTORY", OWN_HOME_DIRECTORY);

/// The configuration file's name.
pub const CONFIG_FILE: &str = named!("BRAND_CONFIG_FILE", OWN_CONFIG_FILE);

/// The path of the repository of dbt itself, below a server's root.
pub const REPOSITORY_PATH: &str = named!("BRAND_REPOSITORY_PATH", "dbt");

/// The path of the tools' repository, below a server's root.
pub const TOOLS_PATH: &str = named!("BRAND_TOOLS_PATH", OWN_TOOLS_PATH);

/// The program that users run once.
pub const INSTALLER: &str = named!("BRAND_INSTALLER", OWN_INSTALLER);

/// The file beside it that says where everything is.
pub const INSTALLER_FILE: &str = named!("BRAND_INSTALLER_FILE", "dbt-installer.json");

/// The scripts that users run once: an older form of the installer, at the addresses that it had.
pub const INSTALL_SCRIPTS: [&str; 2] = [
    named!("BRAND_INSTALL_SCRIPT", "install_dbt.sh"),
    named!("BRAND_KEYCHAIN_INSTALL_SCRIPT", "install_dbt_mac_keychain.sh"),
];

/// The command of the publisher that puts an older version of the program back.
pub const ROLLBACK_COMMAND: &str = named!("BRAND_ROLLBACK_COMMAND", "dbt-rollback");

/// What every environment variable of the client begins with.
pub const ENV_PREFIX: &str = named!("BRAND_ENVIRONMENT_PREFIX", OWN_ENV_PREFIX);

/// The client that the program is at an identity provider where nothing else is configured.
pub const OIDC_CLIENT_ID: &str = named!("BRAND_OIDC_CLIENT_ID", "dbt");

/// The same where the identity provider takes what an ssh-agent has signed.
pub const OIDC_SSH_CLIENT_ID: &str = named!("BRAND_OIDC_SSH_CLIENT_ID", "dbt-ssh");

/// The system-wide configuration directory. None on Windows, where everybody can make directories at
/// the top of a disk and in `ProgramData`.
pub const SYSTEM_CONFIG_DIRECTORY: Option<&str> = if cfg!(windows) {
    None
} else if cfg!(target_os = "macos") {
    Some(named!("BRAND_MAC_CONFIG_DIRECTORY", "/Library/Application Support/dbt"))
} else {
    Some(named!("BRAND_SYSTEM_CONFIG_DIRECTORY", "/etc/dbt"))
};

/// The read-only store that an image or a package may bring, looked up before the user's own. None on
/// Windows, for the same reason.
pub const SYSTEM_STORE: Option<&str> =
    if cfg!(windows) { None } else { Some(named!("BRAND_SYSTEM_STORE", "/var/lib/dbt/store")) };

/// Whether this build has other names than the product's own.
pub const IS_REBRANDED: bool = option_env!("BRAND_PROGRAM").is_some();

/// Returns a text that was made with the product's own names, with the names of this build.
///
/// It is for what is made beforehand, by `cargo xtask generate`; what is made while the program
/// runs uses the names above.
pub fn in_our_names(text: &'static str) -> Cow<'static, str> {
    if IS_REBRANDED { Cow::Owned(replaced(text, RENAMED)) } else { Cow::Borrowed(text) }
}

const OWN_PROGRAM: &str = "dbt";
const OWN_LONG_NAME: &str = "Dynamic Binary Toolkit";
const OWN_HOME_DIRECTORY: &str = ".dbt";
const OWN_CONFIG_FILE: &str = "dbt.json";
const OWN_TOOLS_PATH: &str = "dbt-tools";
const OWN_INSTALLER: &str = "dbt-installer";
const OWN_ENV_PREFIX: &str = "DBT_";

/// What stands in the place of each of the product's own names, and the identifiers of the wire,
/// which stay.
const RENAMED: &[(&str, &str)] = &[
    (OWN_PROGRAM, PROGRAM),
    (OWN_LONG_NAME, LONG_NAME),
    (OWN_HOME_DIRECTORY, HOME_DIRECTORY),
    (OWN_CONFIG_FILE, CONFIG_FILE),
    ("/(dbt|", REPOSITORY_ALTERNATIVE),
    (OWN_TOOLS_PATH, TOOLS_PATH),
    (OWN_INSTALLER, INSTALLER),
    (OWN_ENV_PREFIX, ENV_PREFIX),
    ("urn:dbt:", "urn:dbt:"),
    ("^dbt_[", "^dbt_["),
    ("/.well-known/dbt.json", "/.well-known/dbt.json"),
];

/// How the description of the interface begins to say what may stand before a tool's path.
const REPOSITORY_ALTERNATIVE: &str = named!("BRAND_REPOSITORY_ALTERNATIVE", "/(dbt|");

/// Replaces in one pass, so that nothing is looked for in what was put in.
fn replaced(mut text: &str, names: &[(&str, &str)]) -> String {
    let mut replaced = String::with_capacity(text.len());
    let first = |text: &str| {
        let found = names.iter().filter_map(|(own, ours)| Some((text.find(own)?, *own, *ours)));
        found.min_by_key(|(at, own, _ours)| (*at, Reverse(own.len())))
    };
    while let Some((at, own, ours)) = first(text) {
        replaced.push_str(&text[..at]);
        replaced.push_str(ours);
        text = &text[at + own.len()..];
    }
    replaced.push_str(text);
    replaced
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_name_is_replaced_and_nothing_that_was_put_in() {
        let names = [("dbt", "mydbt"), ("dbt-tools", "tools"), ("urn:dbt:", "urn:dbt:")];
        let text = "run `dbt` or look at /dbt-tools/ (urn:dbt:problem:x)";
        let expected = "run `mydbt` or look at /tools/ (urn:dbt:problem:x)";
        assert_eq!(replaced(text, &names), expected);
    }
}
