//! Sign-ins that are kept in the keychain of the system (`tokenStore`).

use std::fs;
use std::path::PathBuf;

use dbt_testkit::exits;
use dbt_testkit::invocation::Invocation;
use dbt_testkit::keychain::Keychain;
use dbt_testkit::token_endpoint::{DEVICE_CODE, REVOKE, TOKEN, TokenEndpoint};
use dbt_testkit::world::World;
use serde_json::Value;

use super::{asked, later};
use crate::pinned;

const DISCOVERY: &str = "/.well-known/openid-configuration";

/// A world whose configuration asks for a keychain.
struct Kept {
    provider: TokenEndpoint,
    world: World,
    keychain: Keychain,
}

impl Kept {
    fn new() -> Self {
        let (provider, world) = super::world();
        world.configure(|config| config["tokenStore"] = "keychain".into());
        provider.confirm_at_once();
        Self { provider, world, keychain: Keychain::new() }
    }

    fn dbt<'a>(&'a self, words: &[&str]) -> Invocation<'a> {
        self.world.invoke(words).env("PATH", self.keychain.path())
    }

    fn signed_in() -> Self {
        let kept = Self::new();
        kept.dbt(&["login", "--device"]).run().exits_with(0);
        kept.provider.take_asked();
        kept.keychain.take_asked();
        kept.world.server().take_requests();
        kept
    }

    /// A run at another time.
    fn deploy_after(&self, minutes: u64) -> Invocation<'_> {
        self.dbt(&["deploy"]).env("LD_PRELOAD", self.later(minutes))
    }

    fn later(&self, minutes: u64) -> PathBuf {
        later(&self.world, minutes)
    }

    /// Returns the one thing in the keychain, which is what renews the sign-in.
    fn secret(&self) -> String {
        let mut secrets = self.keychain.secrets();
        assert!(secrets.len() == 1 && secrets[0].starts_with("a-refresh-token"), "{secrets:?}");
        secrets.remove(0)
    }

    fn file(&self) -> PathBuf {
        self.world.dbt_home().join("state/tokens.json")
    }

    fn text(&self) -> String {
        fs::read_to_string(self.file()).unwrap_or_default()
    }
}

#[test]
fn one_sign_in_serves_later_runs_which_start_nothing_and_ask_the_keychain_nothing() {
    let kept = Kept::new();
    let run = kept.dbt(&["login", "--device"]).run();
    run.exits_with(0).mentions("signed in to the server `acme` as alice");
    assert_eq!(asked(&kept.provider), [DISCOVERY, DEVICE_CODE, TOKEN]);
    let secret = kept.secret();
    let words = kept.keychain.take_asked();
    assert!(words.iter().all(|line| !line.contains(&secret)), "{words:?}");
    assert!(!kept.text().contains("\"refresh_token\""), "{}", kept.text());
    assert!(!run.stderr().contains(&secret) && run.stdout().is_empty());

    // The tool itself is the first and the last program.
    kept.dbt(&["deploy"]).run().prints("deploy 1.4.0\n").says_nothing();
    let requests = crate::asked_in_a_warm_run(&kept.world, kept.dbt(&["deploy"]));
    assert!(requests.iter().all(|it| it.request.header("authorization").is_some()), "{requests:?}");
    assert_eq!(kept.keychain.take_asked(), [""; 0]);
    assert!(asked(&kept.provider).is_empty());
}

#[test]
fn a_renewal_takes_what_renews_from_the_keychain_and_leaves_the_next_there() {
    let kept = Kept::signed_in();
    let first = kept.secret();
    kept.deploy_after(57).run().prints("deploy 1.4.0\n").says_nothing();
    let requests = kept.provider.take_asked();
    assert_eq!(requests.len(), 2, "what it offers, and the renewal");
    assert_eq!(requests[1].field("refresh_token").as_ref(), Some(&first));
    assert_eq!(kept.keychain.take_commands(), ["lookup", "store", "store"]);
    assert_ne!(kept.secret(), first);
    assert!(!kept.text().contains("\"refresh_token\""), "{}", kept.text());
    kept.deploy_after(58).run().prints("deploy 1.4.0\n").says_nothing();
    assert_eq!(kept.keychain.take_asked(), [""; 0]);
}

#[test]
fn runs_at_once_renew_once() {
    let kept = Kept::signed_in();
    let later = kept.later(60 * 5);
    let start = || kept.dbt(&["deploy"]).env("LD_PRELOAD", &later).start();
    let runs: Vec<_> = (0..20).map(|_run| start()).collect();
    for run in runs {
        run.finish().prints("deploy 1.4.0\n").says_nothing();
    }
    assert_eq!(asked(&kept.provider), [DISCOVERY, TOKEN]);
    assert_eq!(kept.keychain.take_commands(), ["lookup", "store", "store"]);
}

#[test]
fn without_a_keychain_nobody_signs_in_and_the_words_name_the_way_out() {
    let kept = Kept::new();
    for (wrong, words) in [
        ("fails", "failed (exit status: 1): Cannot autolaunch D-Bus without X11 $DISPLAY"),
        ("locked", "failed (exit status: 1): Cannot create an item in a locked collection"),
    ] {
        kept.keychain.now(Some(wrong));
        let way_out =
            "unlock the keychain of this session; where there is none, `\"tokenStore\": \"file\"`";
        kept.dbt(&["login", "--device"])
            .run()
            .exits_with(exits::CONFIGURATION)
            .mentions("a sign-in to the server `acme` could not be kept")
            .mentions(words)
            .mentions(way_out)
            .mentions("a token in `DBT_REPO_TOKEN`");
    }
    let without = kept.world.invoke(["login", "--device"]).env("PATH", "/nowhere").run();
    without
        .exits_with(exits::CONFIGURATION)
        .mentions("failed to run `secret-tool`, which asks the keychain")
        .mentions("install it (`libsecret-tools` on Debian");
    assert!(asked(&kept.provider).is_empty(), "nobody was asked to sign in for nothing");
    assert!(!kept.file().exists() && kept.keychain.secrets().is_empty());
}

#[test]
fn a_keychain_that_is_locked_when_a_renewal_is_due_spends_nothing_and_leaves_nothing_in_the_file() {
    let kept = Kept::signed_in();
    kept.keychain.now(Some("locked"));
    kept.deploy_after(57)
        .run()
        .prints("deploy 1.4.0\n")
        .mentions(
            "cannot be read from the keychain: `secret-tool`, which asks the keychain, failed",
        )
        .mentions("unlock the keychain of this session");
    let run = kept.deploy_after(60 * 5).run();
    run.prints("deploy 1.4.0\n").mentions("server `acme` wants you to sign in (`dbt login`)");
    assert!(asked(&kept.provider).is_empty(), "what counts once was not spent");
    assert!(!kept.text().contains("\"refresh_token\""), "{}", kept.text());
    kept.keychain.now(None);
    kept.deploy_after(60 * 5).run().prints("deploy 1.4.0\n").says_nothing();
    assert_eq!(asked(&kept.provider), [DISCOVERY, TOKEN]);
}

#[test]
fn signing_out_takes_it_out_of_the_keychain_and_fails_where_that_does_not_work() {
    let kept = Kept::signed_in();
    let offered = format!("{}{REVOKE}", kept.provider.url());
    kept.provider.offer("revocation_endpoint", offered.into());
    let secret = kept.secret();
    kept.keychain.now(Some("locked"));
    kept.dbt(&["logout"])
        .run()
        .exits_with(exits::CONFIGURATION)
        .mentions("is left in the keychain: ")
        .mentions("the sign-in to the server `acme` is not forgotten");
    assert!(asked(&kept.provider).is_empty());
    kept.keychain.now(None);
    kept.dbt(&["logout"]).run().exits_with(0).mentions("ended at the identity provider");
    let requests = kept.provider.take_asked();
    assert_eq!(requests.last().unwrap().field("token"), Some(secret));
    assert_eq!(kept.keychain.secrets(), [""; 0]);
    let left: Value = serde_json::from_str(&kept.text()).unwrap();
    assert_eq!(left["tokens"], Value::Array(Vec::new()));
}

#[test]
fn a_switch_of_the_option_moves_what_is_kept_at_the_next_renewal() {
    let kept = Kept::new();
    let store = |name: &str| kept.world.configure(|config| config["tokenStore"] = name.into());
    store("file");
    kept.dbt(&["login", "--device"]).run().exits_with(0);
    assert_eq!(kept.keychain.take_asked(), [""; 0]);
    store("keychain");
    kept.dbt(&["deploy"]).run().prints("deploy 1.4.0\n").says_nothing();
    assert!(kept.text().contains("\"refresh_token\"") && kept.keychain.secrets().is_empty());
    kept.deploy_after(60 * 5).run().prints("deploy 1.4.0\n").says_nothing();
    assert!(!kept.text().contains("\"refresh_token\""), "{}", kept.text());
    kept.secret();
    store("file");
    kept.deploy_after(60 * 10).run().prints("deploy 1.4.0\n").says_nothing();
    assert!(kept.text().contains("\"refresh_token\"") && kept.keychain.secrets().is_empty());
}

#[test]
fn a_token_that_is_given_is_in_the_keychain_and_each_run_asks_for_it() {
    const GIVEN: &str = "dbt_0123456789abcdef";
    let (world, keychain) = (pinned(), Keychain::new());
    world.repository().publish("deploy", "1.4.0").now();
    world.server().require_token(GIVEN);
    world.may_keep_tokens();
    world.configure(|config| config["tokenStore"] = "keychain".into());
    let dbt = |words: &[&str]| world.invoke(words).env("PATH", keychain.path());
    dbt(&["login", "--token"]).stdin(GIVEN.as_bytes()).run().exits_with(0);
    assert_eq!(keychain.secrets(), [GIVEN]);
    let file = world.dbt_home().join("state/tokens.json");
    assert!(!fs::read_to_string(&file).unwrap().contains(GIVEN));
    keychain.take_asked();
    dbt(&["deploy"]).run().prints("deploy 1.4.0\n").says_nothing();
    assert_eq!(keychain.take_commands(), ["lookup"]);

    keychain.now(Some("locked"));
    let run = dbt(&["deploy"]).run();
    run.prints("deploy 1.4.0\n").mentions("cannot be read from the keychain: ");
    assert!(!run.stderr().contains(GIVEN));
    keychain.now(None);
    dbt(&["logout"]).run().exits_with(0);
    assert_eq!(keychain.secrets(), [""; 0]);
}

#[test]
fn the_keychains_program_gets_no_secret_of_ours_but_the_one() {
    let kept = Kept::new();
    let dbt = kept.dbt(&["login", "--device"]).env("DBT_PUBLISH_TOKEN", "open-sesame-open");
    dbt.env("DBT_SIGNING_PASSPHRASE", "looking-glass").run().exits_with(0);
    let variables = kept.keychain.variables();
    assert!(variables.contains("PATH="), "{variables}");
    for secret in ["open-sesame", "looking-glass", &kept.secret()] {
        assert!(!variables.contains(secret), "{variables}");
    }
}

#[test]
fn a_store_that_there_is_not_is_refused_with_those_that_there_are() {
    let kept = Kept::signed_in();
    kept.world.configure(|config| config["tokenStore"] = "keyring".into());
    for words in [&["deploy"][..], &["login", "--device"], &["doctor"]] {
        let run = kept.dbt(words).run();
        let said = format!("{}{}", run.stdout(), run.stderr());
        // `doctor` breaks lines.
        let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(said.contains("`tokenStore` in the configuration is wrong"), "{said}");
        assert!(said.contains("expected `file` or `keychain`, and it is `keyring`"), "{said}");
        run.exits_with(exits::CONFIGURATION);
    }
    assert!(kept.world.server().take_lines().is_empty(), "nothing was asked");
    assert_eq!(kept.keychain.take_asked(), [""; 0]);
}

#[test]
fn doctor_says_where_tokens_are_kept() {
    let kept = Kept::new();
    let rows = || -> Vec<Value> {
        serde_json::from_str(&kept.dbt(&["doctor", "--json"]).run().stdout()).unwrap()
    };
    let row = |id: &str| rows().into_iter().find(|row| row["id"] == id);
    let file = kept.file().display().to_string();
    let found = row("tokens").unwrap()["found"].as_str().unwrap().to_owned();
    assert_eq!(
        found,
        format!("in the keychain of the system, and those that end soon in `{file}`")
    );
    kept.keychain.now(Some("fails"));
    let wrong = row("keychain-unusable").unwrap();
    assert_eq!(wrong["severity"], "warning");
    assert!(wrong["found"].as_str().unwrap().contains("Cannot autolaunch D-Bus"), "{wrong}");
    assert!(wrong["fix"].as_str().unwrap().contains("\"tokenStore\": \"file\""), "{wrong}");
    kept.world.configure(|config| config["tokenStore"] = "file".into());
    assert_eq!(row("tokens").unwrap()["found"], format!("in `{file}`, which nobody else can read"));
}
