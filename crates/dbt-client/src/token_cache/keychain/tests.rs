use std::path::Path;
use std::time::Instant;

use super::*;

fn secret(text: &str) -> Secret<String> {
    Secret::new(format!("s3cr3t-{text}"))
}

fn item() -> Item {
    Item::new("0123".to_owned(), &"https://dbt.example.com")
}

/// A keychain that a line of shell stands for; it has the words of its command line as `$*`.
struct Fake {
    directory: tempfile::TempDir,
}

impl Fake {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    fn program(&self, lines: &str) -> PathBuf {
        use std::os::unix::fs::PermissionsExt as _;
        let path = self.directory.path().join("program");
        let text = format!("#!/bin/sh\ncd '{}'\n{lines}\n", self.directory.path().display());
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    fn secret_tool(&self, lines: &str) -> Keychain {
        Keychain::at(self.program(lines), PATIENCE)
    }

    fn security(&self, lines: &str) -> Keychain {
        Keychain { program: Program::Security(self.program(lines)), limit: PATIENCE }
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.directory.path().join(name)).unwrap_or_default()
    }
}

/// Keeps one secret as `security` does: commands on standard input, the rest as arguments. What it
/// ends with then says nothing.
const SECURITY: &str = r#"
echo "$*" >> asked
case $1 in
  -i) read -r line; echo "$line" >> lines; case $line in *s3cr3t*) exit 0;; esac
      case $line in *"-a 0123 "*) if [ ! -e refuses ]; then echo "${line##* }" > item; fi;; esac
      exit 0 ;;
  find-generic-password) [ "$5" = 0123 ] && cat item 2> /dev/null || exit 44 ;;
  delete-generic-password) [ "$5" = 0123 ] && rm item 2> /dev/null || exit 44 ;;
esac
"#;

#[test]
fn security_gets_a_secret_in_a_command_on_standard_input_and_is_asked_whether_it_has_it() {
    let fake = Fake::new();
    let keychain = fake.security(SECURITY);
    keychain.store(&item(), &secret("one")).unwrap();
    assert_eq!(keychain.lookup(&item()).unwrap(), secret("one"));
    let written = URL_SAFE_NO_PAD.encode("s3cr3t-one");
    let line = format!(
        "add-generic-password -U -s dbt -a 0123 -l dbt:https://dbt.example.com -w {written}\n"
    );
    assert_eq!(fake.read("lines"), line);
    let asked = fake.read("asked");
    assert_eq!(
        asked,
        "-i\nfind-generic-password -s dbt -a 0123 -w\nfind-generic-password -s dbt -a 0123 -w\n"
    );

    keychain.clear(&item()).unwrap();
    assert!(matches!(keychain.lookup(&item()), Err(KeychainError::Missing)));
    keychain.clear(&item()).unwrap();
    std::fs::write(fake.directory.path().join("refuses"), "").unwrap();
    let error = keychain.store(&item(), &secret("two")).unwrap_err();
    assert_eq!(error.to_string(), "the keychain has not kept what was written");
}

#[test]
fn what_does_not_fit_is_refused_before_the_program_is_started() {
    let fake = Fake::new();
    for (keychain, length) in
        [(fake.security("touch started"), 3100), (fake.secret_tool("touch started"), 6200)]
    {
        let error =
            keychain.store(&item(), &Secret::new("s3cr3t".repeat(length / 6 + 1))).unwrap_err();
        assert!(matches!(error, KeychainError::TooLong), "{error}");
        assert!(!fake.directory.path().join("started").exists());
    }
}

#[test]
fn a_program_that_does_not_end_is_ended_with_what_it_has_started() {
    let fake = Fake::new();
    let limit = Duration::from_secs(2);
    let keychain = Keychain::at(fake.program("sleep 600 & echo $! > child; wait"), limit);
    let began = Instant::now();
    let error = keychain.store(&item(), &secret("one")).unwrap_err();
    assert!(began.elapsed() < Duration::from_secs(20));
    assert!(
        error.to_string().ends_with("which asks the keychain, did not end within 2 s"),
        "{error}"
    );
    let child = format!("/proc/{}/stat", fake.read("child").trim());
    let is_over = || {
        let state = std::fs::read_to_string(&child).unwrap_or_default();
        state.is_empty() || state.contains(") Z ")
    };
    // The system ends it in its own time.
    while !is_over() {
        assert!(began.elapsed() < Duration::from_mins(1), "{child}");
        std::thread::yield_now();
    }
}

#[test]
fn what_a_program_says_is_said_but_for_a_secret_and_what_moves_a_terminal() {
    let fake = Fake::new();
    let failed = |lines: &str| {
        let error = fake.secret_tool(lines).store(&item(), &secret("one")).unwrap_err();
        let program = fake.directory.path().join("program").display().to_string();
        error.to_string().replace(&program, "PROGRAM")
    };
    let begins = "`PROGRAM`, which asks the keychain, failed (exit status: ";
    let words = "printf '\\nsecret-tool: a\\033[2Jb\\nmore' >&2; exit 3";
    assert_eq!(failed(words), format!("{begins}3): a[2Jb"));
    assert_eq!(failed("cat >&2; exit 4"), format!("{begins}4)"));
    assert_eq!(failed("exit 5"), format!("{begins}5)"));
}

#[test]
fn a_keychain_that_is_locked_is_told_from_one_that_has_nothing() {
    let fake = Fake::new();
    let empty = fake.secret_tool(r#"case "$*" in lookup*) exit 1;; *) exit 0;; esac"#);
    assert!(matches!(empty.lookup(&item()), Err(KeychainError::Missing)));
    let lines = "case $1 in store) echo secret-tool: locked >&2;; esac; exit 1";
    let locked = fake.secret_tool(lines);
    for error in [locked.lookup(&item()).map(drop), locked.clear(&item())] {
        assert!(error.unwrap_err().to_string().ends_with("failed (exit status: 1): locked"));
    }
}

#[test]
fn what_is_no_token_is_not_taken_for_one() {
    let fake = Fake::new();
    for lines in ["echo not-of-ours!", "echo cyBzIHM", "printf '\\377'", "yes"] {
        let error = fake.secret_tool(lines).lookup(&item()).unwrap_err();
        assert!(matches!(error, KeychainError::NotAToken), "{lines}: {error}");
    }
}

#[test]
fn without_its_program_the_hint_names_what_brings_it() {
    let missing = Keychain::at(Path::new("/nowhere/secret-tool").to_owned(), PATIENCE);
    let error = missing.check().unwrap_err();
    assert_eq!(error.to_string(), "failed to run `/nowhere/secret-tool`, which asks the keychain");
    assert!(error.hint().contains("`libsecret-tools`"), "{}", error.hint());
    assert!(error.hint().contains("`\"tokenStore\": \"file\"`"), "{}", error.hint());
}

#[test]
fn a_system_without_a_keychain_refuses_to_be_configured_with_one() {
    let none = Keychain { program: Program::None, limit: PATIENCE };
    assert_eq!(none.store_named("file"), Ok(TokenStore::File));
    assert_eq!(
        none.store_named("keychain").unwrap_err().to_string(),
        "`keychain` is possible on Linux and macOS, and not on this system: write `file`"
    );
    assert!(matches!(none.check(), Err(KeychainError::Unsupported)));
    assert!(matches!(none.lookup(&item()), Err(KeychainError::Unsupported)));
    assert_eq!("keychain".parse(), Ok(TokenStore::Keychain));
    assert_eq!(
        "Keychain".parse::<TokenStore>().unwrap_err().to_string(),
        "expected `file` or `keychain`, and it is `Keychain`"
    );
}
