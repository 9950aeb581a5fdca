//! Signing in with a browser, here or elsewhere.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use dbt_testkit::exits;
use dbt_testkit::invocation::{Invocation, Run, Running};
use dbt_testkit::token_endpoint::{AUTHORIZE, DEVICE_CODE, TOKEN, of_json};
use dbt_testkit::world::World;
use serde_json::{Value, json};

use super::{asked, world};

const DISCOVERY: &str = "/.well-known/openid-configuration";

/// A browser that tells a test what it was started with, and nothing else.
pub(crate) struct Browser {
    pub(crate) program: PathBuf,
    pages: PathBuf,
    environment: PathBuf,
}

impl Browser {
    pub(crate) fn of(world: &World) -> Self {
        let [program, pages, environment] =
            ["browser", "page", "environment"].map(|name| world.directory().join(name));
        assert!(Command::new("mkfifo").arg(&pages).status().unwrap().success());
        let (told, env) = (pages.display(), environment.display());
        let script = format!("#!/bin/sh\nenv > {env}\nprintf %s \"$*\" > {told}\n");
        fs::write(&program, script).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        Self { program, pages, environment }
    }

    /// Waits for what it is started with: a file, which all users may see.
    fn started_with(&self) -> PathBuf {
        let url = fs::read_to_string(&self.pages).unwrap();
        PathBuf::from(url.strip_prefix("file://").unwrap_or_else(|| panic!("{url}")))
    }

    /// Waits for a page, and returns where that leads.
    pub(crate) fn page(&self) -> String {
        leads_to(&self.started_with())
    }
}

/// Returns where a page leads at once.
fn leads_to(file: &Path) -> String {
    let text = fs::read_to_string(file).unwrap();
    let refresh = text.split("http-equiv=\"refresh\" content=\"0; url=").nth(1).unwrap();
    refresh.split('"').next().unwrap().replace("&amp;", "&")
}

/// Asks for a page, and returns the whole answer.
pub(crate) fn visit(url: &str) -> String {
    let (address, path) = url.strip_prefix("http://").unwrap().split_once('/').unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    let question = format!("GET /{path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(question.as_bytes()).unwrap();
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    // A provider keeps the connection open; its redirects have no body.
    while !answer.windows(4).any(|end| end == b"\r\n\r\n") {
        let count = stream.read(&mut buffer).unwrap();
        assert!(count > 0);
        answer.extend_from_slice(&buffer[..count]);
    }
    String::from_utf8(answer).unwrap()
}

/// Signs in at the provider, and returns where the browser is sent then.
pub(crate) fn signed_in_at(page: &str) -> String {
    let answer = visit(page);
    assert!(answer.starts_with("HTTP/1.1 302 "), "{answer}");
    let location = answer.lines().find_map(|line| line.strip_prefix("Location: ")).unwrap();
    location.trim().to_owned()
}

/// Runs a sign-in that shows a page, goes there elsewhere, and pastes the address at which that ends.
/// Returns how it ended, and what was said after the page.
pub(crate) fn pasted(world: &World, login: Invocation<'_>) -> (Run, String) {
    let [typed, said] = ["typed", "said"].map(|name| world.directory().join(name));
    for pipe in [&typed, &said] {
        assert!(Command::new("mkfifo").arg(pipe).status().unwrap().success());
    }
    let line = format!("exec \"$@\" 2> {}", said.display());
    let run = login.through(&["sh", "-c", &line, "sh"]).stdin_from(&typed).start();
    let mut said = BufReader::new(fs::File::open(&said).unwrap()).lines();
    let page = said.find_map(|line| Some(line.unwrap().split_once(", open ")?.1.to_owned()));
    let back = signed_in_at(&page.unwrap());
    let mut keyboard = fs::OpenOptions::new().write(true).open(&typed).unwrap();
    writeln!(keyboard, "{back}").unwrap();
    let said: String = said.map(|line| line.unwrap() + "\n").collect();
    (run.finish(), said)
}

fn start(world: &World, browser: &Path, words: &[&str]) -> Running {
    world.invoke(words).env("BROWSER", browser).start()
}

#[test]
fn a_browser_is_opened_and_brings_back_the_sign_in() {
    let (provider, world) = world();
    let browser = Browser::of(&world);
    let run = start(&world, &browser.program, &["login"]);
    let page = browser.page();
    assert!(page.starts_with(&format!("{}{AUTHORIZE}?", provider.url())), "{page}");
    for part in ["response_type=code", "client_id=app", "code_challenge_method=S256", "nonce="] {
        assert!(page.contains(part), "{part} in {page}");
    }
    assert!(visit(&signed_in_at(&page)).starts_with("HTTP/1.1 200 "));
    run.finish().exits_with(0).mentions("signed in to the server `acme` as alice");
    assert_eq!(asked(&provider), [DISCOVERY, AUTHORIZE, TOKEN]);
    world.dbt(["deploy"]).prints("deploy 1.4.0\n").says_nothing();
}

#[test]
fn nobody_else_sees_the_page_that_a_browser_opens() {
    let (provider, world) = world();
    provider.demand_secret("hunter2hunter2");
    world.set("oidcClientSecret", "${MYTOK}");
    let browser = Browser::of(&world);
    let run = world
        .invoke(["login", "--browser"])
        .env("BROWSER", &browser.program)
        .env("DBT_PUBLISH_TOKEN", "a-token-of-the-publisher")
        .env("MYTOK", "hunter2hunter2")
        .start();
    // The arguments of a program, as all users may read them.
    let file = browser.started_with();
    assert_eq!(file.parent().unwrap(), world.dbt_home().join("state"));
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&file), 0o600);
    let page = leads_to(&file);
    let state = page.split("state=").nth(1).unwrap().split('&').next().unwrap();
    assert!(state.len() >= 43 && !file.to_str().unwrap().contains(state), "{page}");
    let environment = fs::read_to_string(&browser.environment).unwrap();
    assert!(environment.contains("\nHOME=") || environment.starts_with("HOME="), "{environment}");
    for name in ["DBT_PUBLISH_TOKEN", "MYTOK", "hunter2"] {
        assert!(!environment.contains(name), "{name} in {environment}");
    }

    visit(&signed_in_at(&page));
    let run = run.finish();
    run.exits_with(0).mentions(&format!("state={state}"));
    assert!(!file.exists());
}

#[test]
fn where_there_is_no_place_for_a_page_no_browser_starts_and_the_address_is_shown() {
    let (_provider, world) = world();
    let browser = Browser::of(&world);
    let state = world.dbt_home().join("state");
    fs::create_dir_all(&state).unwrap();
    fs::set_permissions(&state, fs::Permissions::from_mode(0o777)).unwrap();
    let login = world.invoke(["login", "--browser"]).env("BROWSER", &browser.program);
    let (run, said) = pasted(&world, login);
    run.exits_with(exits::CONFIGURATION);
    let words = "warning: no browser is started here: others could exchange a page of ours: ";
    assert!(said.contains(words), "{said}");
    assert!(said.contains("error: the token is not kept: there is nowhere to keep it"), "{said}");
    assert!(!browser.environment.exists());
}

#[test]
fn where_the_browser_is_elsewhere_its_last_address_is_pasted() {
    let (_provider, world) = world();
    let browser = Browser::of(&world);
    let typed = world.directory().join("typed");
    assert!(Command::new("mkfifo").arg(&typed).status().unwrap().success());
    let run = world
        .invoke(["login", "--browser"])
        .env("BROWSER", &browser.program)
        .stdin_from(&typed)
        .start();
    let back = signed_in_at(&browser.page());
    let mut keyboard = fs::OpenOptions::new().write(true).open(&typed).unwrap();
    let foreign = back.replace("state=", "state=x");
    writeln!(keyboard, "\n{foreign}\n{back}").unwrap();
    run.finish()
        .exits_with(0)
        .mentions("what was pasted is not the address that this sign-in leads to")
        .mentions("signed in to the server `acme` as alice");
}

#[test]
fn a_browser_that_does_not_start_is_a_warning_and_the_page_is_shown() {
    let (provider, world) = world();
    let browser = Browser::of(&world);
    // The first does not exist, the second tells the page.
    let both = format!("/no/such/browser %s:{}", browser.program.display());
    let run = start(&world, Path::new(&both), &["login", "--browser"]);
    assert!(visit(&signed_in_at(&browser.page())).contains("You can close this page"));
    let run = run.finish();
    run.exits_with(0).mentions("to sign in to the server `acme`, open http://127.0.0.1:");
    run.does_not_mention("no browser could be started");
    drop(provider);
}

#[test]
fn somebody_who_says_no_is_signed_in_as_nobody() {
    let (_provider, world) = world();
    let browser = Browser::of(&world);
    let run = start(&world, &browser.program, &["login", "--browser"]);
    let back = signed_in_at(&browser.page());
    let (address, query) = back.split_once('?').unwrap();
    let state = query.split('&').find(|pair| pair.starts_with("state=")).unwrap();
    let issuer = query.split('&').find(|pair| pair.starts_with("iss=")).unwrap();
    visit(&format!("{address}?error=access_denied&{state}&{issuer}"));
    run.finish()
        .exits_with(exits::REFUSED)
        .mentions("refuses to sign you in: somebody, or a rule, has said no (access_denied)");
    assert!(!world.dbt_home().join("state/tokens.json").exists());
}

/// What is in the environment of somebody who signs in; `BROWSER` and the system's own browser are
/// told pages by the same program.
type Surroundings = &'static [(&'static str, &'static str)];

/// Prepares a sign-in for which nobody has said how, where the system's browser is the test's.
fn login<'a>(world: &'a World, browser: &Browser, around: Surroundings) -> Invocation<'a> {
    let programs = world.directory().join("programs");
    fs::create_dir(&programs).unwrap();
    for name in ["xdg-open", "open"] {
        std::os::unix::fs::symlink(&browser.program, programs.join(name)).unwrap();
    }
    let login =
        world.invoke(["login"]).env("PATH", format!("{}:/usr/bin:/bin", programs.display()));
    around.iter().fold(login, |login, (name, value)| match *value {
        "the test's" => login.env(name, &browser.program),
        value => login.env(name, value),
    })
}

#[test]
fn where_there_is_a_screen_a_browser_opens_and_one_that_is_named_opens_everywhere() {
    const HERE: [Surroundings; 4] = [
        &[("DISPLAY", ":0")],
        &[("WAYLAND_DISPLAY", "wayland-0")],
        &[("BROWSER", "the test's")],
        &[("BROWSER", "the test's"), ("SSH_CONNECTION", "192.0.2.1 5000 192.0.2.2 22")],
    ];
    for around in HERE {
        let (provider, world) = world();
        let browser = Browser::of(&world);
        let run = login(&world, &browser, around).start();
        assert!(visit(&signed_in_at(&browser.page())).starts_with("HTTP/1.1 200 "), "{around:?}");
        run.finish().exits_with(0).mentions("signed in to the server `acme` as alice");
        assert_eq!(asked(&provider), [DISCOVERY, AUTHORIZE, TOKEN], "{around:?}");
    }
}

#[test]
#[cfg(target_os = "linux")]
fn where_there_is_no_screen_or_the_person_is_elsewhere_a_code_is_shown() {
    const ELSEWHERE: [Surroundings; 4] = [
        &[],
        &[("DISPLAY", "")],
        &[("DISPLAY", ":0"), ("SSH_CONNECTION", "192.0.2.1 5000 192.0.2.2 22")],
        &[("WAYLAND_DISPLAY", "wayland-0"), ("SSH_CONNECTION", "192.0.2.1 5000 192.0.2.2 22")],
    ];
    for around in ELSEWHERE {
        let (provider, world) = world();
        provider.confirm_at_once();
        let browser = Browser::of(&world);
        login(&world, &browser, around).run().exits_with(0).mentions("enter the code WDJB-MJHT");
        assert_eq!(asked(&provider), [DISCOVERY, DEVICE_CODE, TOKEN], "{around:?}");
        assert!(!browser.environment.exists(), "{around:?}");
    }
    // Nor is there a browser where the provider takes none.
    let (provider, world) = world();
    provider.confirm_at_once();
    provider.offer("authorization_endpoint", Value::Null);
    let browser = Browser::of(&world);
    let run = login(&world, &browser, &[("DISPLAY", ":0")]).run();
    run.exits_with(0).mentions("enter the code WDJB-MJHT");
}

#[test]
#[cfg(target_os = "linux")]
fn where_there_is_neither_a_screen_nor_a_code_the_page_is_shown_and_its_end_is_pasted() {
    const ELSEWHERE: [Surroundings; 2] =
        [&[], &[("DISPLAY", ":0"), ("SSH_CONNECTION", "192.0.2.1 5000 192.0.2.2 22")]];
    for around in ELSEWHERE {
        let (provider, world) = world();
        provider.offer("device_authorization_endpoint", Value::Null);
        let browser = Browser::of(&world);
        let (run, said) = pasted(&world, login(&world, &browser, around));
        run.exits_with(0);
        assert!(said.contains("paste the address that it ends at:\n"), "{said}");
        assert!(said.contains("signed in to the server `acme` as alice\n"), "{said}");
        assert_eq!(asked(&provider), [DISCOVERY, AUTHORIZE, TOKEN], "{around:?}");
        assert!(!browser.environment.exists(), "{around:?}");
    }
}

#[test]
fn programs_and_browsers_reach_a_provider_where_the_configuration_says() {
    const ISSUER: &str = "https://id.example.com/realm";
    const PEOPLE: &str = "https://sso.example.com/people";
    let (provider, world) = world();
    provider.offer("issuer", json!(ISSUER));
    for (name, path) in [
        ("authorization_endpoint", AUTHORIZE),
        ("token_endpoint", TOKEN),
        ("device_authorization_endpoint", DEVICE_CODE),
        ("jwks_uri", "/keys"),
    ] {
        provider.offer(name, json!(format!("{ISSUER}{path}")));
    }
    let url = provider.url();
    for (key, value) in [
        ("issuerUrl", ISSUER.to_owned()),
        ("discoveryUrl", format!("{url}/offers/all")),
        ("backchannelUrl", url.clone()),
        ("browserUrl", PEOPLE.to_owned()),
        ("jwksUri", format!("{url}/keys/nobody-here-reads")),
    ] {
        world.set(key, value);
    }
    let offers = || provider.next("/offers/all", of_json(200, &provider.metadata()));

    offers();
    let browser = Browser::of(&world);
    let run = start(&world, &browser.program, &["login", "--browser"]);
    let page = browser.page();
    assert!(page.starts_with(&format!("{PEOPLE}{AUTHORIZE}?")), "{page}");
    visit(&signed_in_at(&page.replace(PEOPLE, &url)));
    let run = run.finish();
    run.exits_with(0)
        .mentions(&format!("to sign in to the server `acme`, open {page}\n"))
        .mentions("signed in to the server `acme` as alice");
    assert_eq!(asked(&provider), ["/offers/all", AUTHORIZE, TOKEN]);
    world.dbt(["deploy"]).prints("deploy 1.4.0\n").says_nothing();
    assert!(asked(&provider).is_empty());

    offers();
    provider.confirm_at_once();
    world
        .dbt(["login", "--device"])
        .exits_with(0)
        .mentions(&format!("open {PEOPLE}/device on any device"))
        .mentions(&format!("or open {PEOPLE}/device?user_code=WDJB-MJHT"));
    assert_eq!(asked(&provider), ["/offers/all", DEVICE_CODE, TOKEN]);
}
