//! Everything that `doctor` can find wrong, as one table: programs read the ids, people the words.

use std::fmt::Write as _;

use dbt_core::brand;
use dbt_ui::exit_code::ExitCode;

/// How bad something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Severity {
    /// It works, and somebody should know.
    Warning,
    /// Tools do not run, or not safely, or nothing new can come.
    Error,
}

impl Severity {
    /// Returns its name.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// One thing that can be wrong. The id is published and never changes its meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Kind {
    pub(crate) id: &'static str,
    pub(crate) severity: Severity,
    /// What is the case, for the document.
    what: &'static str,
    /// Why it matters, in one clause.
    pub(crate) why: &'static str,
    /// What helps, for the document; a finding says it with its own names.
    fix: &'static str,
}

impl Kind {
    /// Returns a text of the table with the names that a build may change.
    fn named(text: &str) -> String {
        text.replace("{program}", brand::PROGRAM).replace("{prefix}", brand::ENV_PREFIX)
    }
}

/// Makes the constants and the table of them, so that none is forgotten in it.
macro_rules! kinds {
    ($($name:ident = $id:literal, $severity:ident, $what:literal, $why:literal, $fix:literal;)+) => {
        impl Kind {
            $(pub(crate) const $name: Self = Self {
                id: $id,
                severity: Severity::$severity,
                what: $what,
                why: $why,
                fix: $fix,
            };)+

            /// Every kind, in the order in which things are looked at.
            pub(crate) const TABLE: &[Self] = &[$(Self::$name),+];
        }
    };
}

kinds! {
    PROGRAM_UNKNOWN = "program-path-unknown", Warning,
        "the system does not say where the running program is (`/proc` is not mounted)",
        "it cannot update itself, link tools or be found by them",
        "mount `/proc`";
    PROGRAM_EXPOSED = "program-writable-by-others", Error,
        "other users can write the running program or its directory",
        "they decide what runs under your name",
        "`chmod go-w FILE`";
    PROGRAM_NOT_ON_PATH = "program-not-on-path", Warning,
        "no directory of `PATH` has this program",
        "shells and scripts do not find it",
        "add its directory to `PATH`";
    PROGRAM_TWICE = "program-twice-on-path", Warning,
        "`PATH` has another program of the same name",
        "which of them runs depends on the order of `PATH`",
        "remove one of them";
    SELF_UPDATE_DIRECTORY = "self-update-directory", Warning,
        "the directory of this program cannot be written",
        "this program cannot update itself",
        "move the program to a directory of your own, or set `selfUpdate` to `off`";
    SELF_UPDATE_NO_SERVER = "self-update-no-server", Warning,
        "no configured server is the one that this program updates itself from",
        "this program stays as old as it is",
        "name a configured server as `selfUpdateFrom`";
    SELF_UPDATE_REFUSED = "self-update-refused", Warning,
        "a newer version of this program was refused",
        "this program stays as it is until another version is published",
        "tell whoever publishes it";
    DIRECTORY_GONE = "current-directory-gone", Warning,
        "the directory it was started in does not exist any more",
        "tools are started there too, and relative paths lead nowhere",
        "`cd` to another directory";
    CLOCK_EARLY = "clock-before-release", Error,
        "the clock shows a time before this program was written",
        "signatures and certificates are taken for made in the future, and are refused",
        "set the clock";
    CLOCK_LATE = "clock-far-ahead", Error,
        "the clock shows a time decades after this program was written",
        "keys and certificates are taken for expired",
        "set the clock";
    CLOCK_DIFFERS = "clock-differs-from-server", Warning,
        "the clocks of this machine and of the server differ by more than five minutes",
        "fresh signatures may be refused as made in the future",
        "set the clock of the one that is wrong";
    FILE_SIZE_LIMIT = "file-size-limit", Warning,
        "a process may write only small files (`ulimit -f`)",
        "larger tools cannot be installed",
        "`ulimit -f unlimited`";
    OPEN_FILES_LIMIT = "open-files-limit", Warning,
        "a process may open only a few files (`ulimit -n`)",
        "a run needs about twenty",
        "`ulimit -n 256`";
    VARIABLE_WRONG = "variable-wrong", Error,
        "an environment variable has a value that means nothing",
        "nothing runs until it is right",
        "correct or unset the variable";
    CONFIG_NONE = "no-server", Error,
        "no server is configured",
        "there is nowhere to get tools from",
        "`{program} server add URL`";
    CONFIG_WRONG = "config-unusable", Error,
        "the configuration file cannot be read, or is wrong",
        "nothing runs until it is right",
        "correct the file";
    CONFIG_EXPOSED = "config-writable-by-others", Error,
        "other users can write the configuration file, or to its directory",
        "they could decide whom this machine trusts, so it is not read",
        "`chmod o-w FILE`, after looking at what is there";
    CONFIG_FOREIGN = "config-owned-by-another", Error,
        "the configuration file, or its directory, belongs to another user",
        "its owner could decide whom this machine trusts, so it is not read",
        "`chown` it, after looking at what is there";
    CONFIG_READABLE = "config-readable-by-others", Warning,
        "the configuration file holds secrets and other users can read it",
        "they can sign in under your name",
        "`chmod 600 FILE`";
    CONFIG_UNKNOWN_KEY = "config-unknown-key", Warning,
        "nothing reads a key of the configuration",
        "what it is meant to set is not set",
        "write the nearest known key, or remove it";
    KEYCHAIN_UNUSABLE = "keychain-unusable", Warning,
        "`tokenStore` is `keychain`, and the keychain of this session takes nothing",
        "nobody can sign in, and sign-ins end with their tokens",
        "unlock it, or set `tokenStore` to `file`";
    SHELL_MISSING = "shell-missing", Warning,
        "`updates` is `after`, and there is no shell (`sh`) on `PATH`",
        "nothing looks for newer versions in the background",
        "install a shell, or set `updates` to an interval";
    CONFIG_SERVER = "config-server-unusable", Error,
        "what the configuration says of a server is wrong",
        "no tool of this server runs",
        "correct it";
    HOME_NONE = "home-none", Warning,
        "there is no home directory",
        "nothing is remembered, so that every run is a first contact",
        "set `{prefix}HOME` to a directory of your own";
    HOME_READ_ONLY = "home-not-writable", Warning,
        "the directory of our files cannot be written",
        "nothing is remembered, so that every run is a first contact",
        "make it writable, or set `{prefix}HOME` to another directory";
    HOME_EXPOSED = "home-writable-by-others", Error,
        "others can write to the directory of our files",
        "they decide what runs under your name",
        "`chmod go-w DIRECTORY`";
    HOME_FOREIGN = "home-owned-by-another", Error,
        "the directory of our files belongs to another user",
        "its owner decides what runs under your name",
        "`chown` it, or set `{prefix}HOME` to a directory of your own";
    HOME_SUDO = "home-of-another-user", Warning,
        "root was started with another user's `HOME`, as `sudo` does",
        "root uses its own files, so that neither user can disturb the other",
        "run it without `sudo`, or as `sudo -H`";
    STORE_TEMPORARY = "store-temporary", Warning,
        "the store cannot be written, and tools are kept in a temporary directory",
        "they are fetched again after every restart of the machine",
        "set `{prefix}CACHE_DIR` to a directory that can be written";
    STORE_MEMORY = "store-in-memory", Warning,
        "no directory can be written, and tools run from memory",
        "they are fetched again for every run",
        "set `{prefix}CACHE_DIR` to a directory that can be written";
    STORE_NOEXEC = "store-noexec", Warning,
        "the file system with the store forbids executing (`noexec`)",
        "tools run from memory, where a few do not find themselves",
        "set `{prefix}CACHE_DIR` to a directory on another file system";
    STORE_NO_EXECUTION = "store-no-execution", Error,
        "tools could only run from memory, and the kernel does not allow that",
        "no tool can run",
        "set `{prefix}CACHE_DIR` to a directory on a file system that allows executing";
    STORE_FULL = "store-full", Error,
        "nothing can be written to the file system with the store: it or a quota is full",
        "nothing new can be installed; what is cached still runs",
        "`{program} cache prune`, or set `{prefix}CACHE_DIR` to a directory elsewhere";
    STORE_NEARLY_FULL = "store-nearly-full", Warning,
        "less than 64 MiB, or no file, is left on the file system with the store",
        "the next tool may not fit; what is cached still runs",
        "`{program} cache prune`, or set `{prefix}CACHE_DIR` to a directory elsewhere";
    STORE_NO_LOCKS = "store-without-locks", Warning,
        "files cannot be locked on the file system with the store",
        "several first runs at once download the same tool several times",
        "set `{prefix}CACHE_DIR` to a directory on a local file system";
    STORE_CONCERN = "store-not-in-order", Warning,
        "a file or directory of a store is not as it must be",
        "it is not used, and is fetched again where that is possible",
        "put its owner and mode right, or remove it";
    STORE_LEFT_BEHIND = "files-left-behind", Warning,
        "runs that were killed have left files behind",
        "they take space",
        "`{program} cache prune`";
    STORE_MISSING = "read-only-store-missing", Warning,
        "`{prefix}STORE_PATH` names a directory that is not there, or not absolute",
        "the tools in it are fetched instead",
        "correct `{prefix}STORE_PATH`";
    STATE_MEMORY = "state-in-memory", Warning,
        "what is remembered of a server cannot be written",
        "every run is a first contact",
        "make the directory writable";
    STATE_DAMAGED = "state-unusable", Error,
        "what is remembered of a server is damaged, or of a newer version",
        "whom to trust is not known",
        "restore the file, or `{program} trust reset`";
    LINKS_NOT_ON_PATH = "links-not-on-path", Warning,
        "the directory with the links of `{program} link` is not on `PATH`",
        "tools cannot be started by their own names",
        "add the directory to `PATH`";
    CERTIFICATES_MOZILLA = "certificates-not-the-systems", Warning,
        "this host has no certificate authorities, and Mozilla's are used",
        "your organisation's own authority is not known",
        "install the package `ca-certificates`, or name a file as `caFile`";
    CERTIFICATES_FILE = "certificates-file", Error,
        "the file with certificate authorities cannot be used",
        "there is no secure connection to this server",
        "correct `caFile` or `SSL_CERT_FILE`";
    CERTIFICATES_UNUSED = "certificates-unused", Warning,
        "certificate authorities that the environment names cannot be used",
        "servers that only they know are not believed",
        "correct `SSL_CERT_FILE` or `SSL_CERT_DIR`, or unset it";
    SERVER_UNREACHABLE = "server-unreachable", Error,
        "the server cannot be reached",
        "nothing new can be installed; what is cached still runs",
        "look at the network, or correct the URL in the configuration";
    SERVER_PROXY = "server-proxy", Error,
        "the proxy cannot be used",
        "nothing new can be installed; what is cached still runs",
        "correct `HTTPS_PROXY`, or add the host to `NO_PROXY`";
    SERVER_PAGE = "server-page", Error,
        "something answers with a page where data is due: a proxy, or a network that wants a sign-in",
        "nothing new can be installed; what is cached still runs",
        "sign in to the network, or add the host to `NO_PROXY`";
    SERVER_TLS = "server-tls", Error,
        "there is no secure connection to the server",
        "nothing new can be installed; what is cached still runs",
        "name your organisation's certificate authority as `caFile`";
    SERVER_SIGN_IN = "server-sign-in", Error,
        "the server does not know who asks (401)",
        "nothing new can be installed; what is cached still runs",
        "`{program} login`, or configure `username` and `password`, or `token`";
    CREDENTIALS_UNUSABLE = "credentials-unusable", Error,
        "the password or token that is configured cannot be had: its command or file fails, or takes too long",
        "nothing new can be installed; what is cached still runs",
        "run the command in a shell to see what it does, or correct the file";
    SERVER_FORBIDDEN = "server-forbidden", Error,
        "the server does not allow this user to read (403)",
        "no tool of this server runs",
        "ask the server's administrator";
    SERVER_BROKEN = "server-failing", Error,
        "the server answers, and not with a repository",
        "nothing new can be installed; what is cached still runs",
        "tell the server's administrator";
    SERVER_NO_LISTING = "server-no-listing", Error,
        "the server does not list the tools",
        "the newest version of a tool cannot be found",
        "turn listings on, or correct `toolsRepository`";
    SERVER_HTTP = "server-without-tls", Warning,
        "the server is reached by plain http",
        "everybody on the way can hide new versions and see what is fetched",
        "write `https://` in the configuration, where the server speaks it";
    CREDENTIALS_HTTP = "credentials-without-tls", Error,
        "a password or token is configured for a server that is reached by plain http",
        "everybody on the way could read it, so it is not sent, and nothing is fetched",
        "write `https://` in the configuration";
    TRUSTSTORE_MISSING = "truststore-missing", Error,
        "the server has no truststore where the configuration says",
        "nothing new can be installed; what is cached still runs",
        "correct `truststore`, or publish one with `publisher truststore`";
    TRUSTSTORE_UNUSABLE = "truststore-unusable", Error,
        "the truststore has no key that can be used, or is refused",
        "nothing new can be installed; what is cached still runs",
        "tell the server's administrator";
    TRUSTSTORE_SKIPPED = "truststore-key-skipped", Warning,
        "a key of the truststore cannot be used",
        "what it has signed does not run",
        "tell the server's administrator";
    KEY_EXPIRES = "key-expires-soon", Warning,
        "a key expires within 60 days",
        "what it signs after that is refused",
        "tell the server's administrator";
    TRUSTSTORE_EXPIRED = "truststore-expired", Error,
        "every key of the truststore has expired or is revoked",
        "nothing that is published now is accepted",
        "tell the server's administrator";
    KEY_EXPIRED = "key-expired", Warning,
        "a key has expired",
        "what it signed since then is refused",
        "tell the server's administrator";
    KEY_REVOKED = "key-revoked", Warning,
        "a key is revoked",
        "nothing that it signed runs",
        "tell the server's administrator, unless that is known";
    KEY_NEWCOMER = "key-unvouched", Warning,
        "no known key stands behind a key of the truststore",
        "it may sign tools, and never this program",
        "ask the server's administrator for its fingerprint";
}

/// Returns `docs/doctor.md`.
pub(crate) fn doctor_md() -> String {
    let program = brand::PROGRAM;
    let wrong = ExitCode::CONFIGURATION.code();
    let mut text = format!(
        "\
<!-- Made from the code by `cargo xtask generate`. -->

# What `{program} doctor` finds

`{program} doctor` looks at this machine and asks every configured server what a run asks first. It
changes nothing but what a run would make anyway: the directories of its own files. For each thing
that is wrong it says what was found, why that matters, and what helps.

The exit code is 0 when nothing is an error, warnings included, and {wrong} otherwise, whatever the
errors are.

`--json` prints one array of objects. Each has `id`, `severity` (`ok`, `warning` or `error`),
`server` (a name, or `null` for this machine), `found`, `why` and `fix` (`null` where `severity` is
`ok`). Ids keep their meaning; new ones are added. `--report` prints one block to paste into a
ticket: the same findings with the names of the variables that are set, and without secrets.

| id | severity | what is found | why it matters | what helps |
|---|---|---|---|---|
"
    );
    for kind in Kind::TABLE {
        let severity = kind.severity.as_str();
        // Writing to a string cannot fail.
        let _infallible = writeln!(
            text,
            "| `{}` | {severity} | {} | {} | {} |",
            kind.id,
            Kind::named(kind.what),
            kind.why,
            Kind::named(kind.fix)
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn ids_are_different_and_made_of_plain_words() {
        let ids: BTreeSet<_> = Kind::TABLE.iter().map(|kind| kind.id).collect();
        assert_eq!(ids.len(), Kind::TABLE.len());
        for id in ids {
            assert!(id.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-'), "{id}");
        }
    }
}
