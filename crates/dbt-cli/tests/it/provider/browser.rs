//! Signing in with a browser, here or elsewhere.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use dbt_testkit::exits;
use dbt_testkit::invocation::Running;
use dbt_testkit::token_endpoint::{AUTHORIZE, TOKEN};
use dbt_testkit::world::World;

use super::{asked, world};

/// A browser that tells a test what it was started with, and nothing else.
struct Browser {
    program: PathBuf,
    pages: PathBuf,
    environment: PathBuf,
}

impl Browser {
    fn of(world: &World) -> Self {
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
    fn page(&self) -> String {
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
fn visit(url: &str) -> String {
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
fn signed_in_at(page: &str) -> String {
    let answer = visit(page);
    assert!(answer.starts_with("HTTP/1.1 302 "), "{answer}");
    let location = answer.lines().find_map(|line| line.strip_prefix("Location: ")).unwrap();
    location.trim().to_owned()
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
    assert_eq!(asked(&provider), ["/.well-known/openid-configuration", AUTHORIZE, TOKEN]);
    world.dbt(["deploy"]).prints("deploy 1.4.0\n").says_nothing();
}

#[test]
fn nobody_else_sees_the_page_that_a_browser_opens() {
    let (_provider, world) = world();
    let browser = Browser::of(&world);
    let run = world
        .invoke(["login", "--browser"])
        .env("BROWSER", &browser.program)
        .env("DBT_PUBLISH_TOKEN", "a-token-of-the-publisher")
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
    assert!(!environment.contains("DBT_PUBLISH_TOKEN"), "{environment}");

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
    let [typed, said] = ["typed", "said"].map(|name| world.directory().join(name));
    for pipe in [&typed, &said] {
        assert!(Command::new("mkfifo").arg(pipe).status().unwrap().success());
    }
    let line = format!("exec \"$@\" 2> {}", said.display());
    let run = world
        .invoke(["login", "--browser"])
        .through(&["sh", "-c", &line, "sh"])
        .env("BROWSER", &browser.program)
        .stdin_from(&typed)
        .start();
    let mut said = BufReader::new(fs::File::open(&said).unwrap()).lines();
    let page = said.find_map(|line| Some(line.unwrap().split_once(", open ")?.1.to_owned()));
    let back = signed_in_at(&page.unwrap());
    let mut keyboard = fs::OpenOptions::new().write(true).open(&typed).unwrap();
    writeln!(keyboard, "{back}").unwrap();
    let said: String = said.map(|line| line.unwrap() + "\n").collect();
    run.finish().exits_with(exits::CONFIGURATION);
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
