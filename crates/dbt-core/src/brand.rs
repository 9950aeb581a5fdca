//! Names that a rebranded build changes.
//!
//! No string outside this file contains the product's name where a person would see it. Wire
//! identifiers (the notation, `REPOSERVER_*`, schema names) are the same for every brand.

/// The program's name, as users type it, and the name of its own artifact in a repository.
pub const PROGRAM: &str = "dbt";

/// The product's long name.
pub const LONG_NAME: &str = "Dynamic Binary Toolkit";

/// The directory below the user's home that holds everything of ours.
pub const HOME_DIRECTORY: &str = ".dbt";

/// The configuration file's name.
pub const CONFIG_FILE: &str = "dbt.json";

/// The path of the repository of dbt itself, below a server's root.
pub const REPOSITORY_PATH: &str = "dbt";

/// The path of the tools' repository, below a server's root.
pub const TOOLS_PATH: &str = "dbt-tools";

/// The program that users run once.
pub const INSTALLER: &str = "dbt-installer";

/// The scripts that users run once: an older form of the installer, at the addresses that it had.
pub const INSTALL_SCRIPTS: [&str; 2] = ["install_dbt.sh", "install_dbt_mac_keychain.sh"];

/// The command of the publisher that puts an older version of the program back.
pub const ROLLBACK_COMMAND: &str = "dbt-rollback";

/// What every environment variable of the client begins with.
pub const ENV_PREFIX: &str = "DBT_";

/// The system-wide configuration directory.
pub const SYSTEM_CONFIG_DIRECTORY: &str =
    if cfg!(target_os = "macos") { "/Library/Application Support/dbt" } else { "/etc/dbt" };

/// The read-only store that an image or a package may bring, looked up before the user's own.
pub const SYSTEM_STORE: &str = "/var/lib/dbt/store";
