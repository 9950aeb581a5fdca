//! docs/providers/errors.md: what is said when somebody has to sign in.

use dbt_testkit::errors_page::Section;
use dbt_testkit::exits;
use dbt_testkit::invocation::Run;
use dbt_testkit::token_endpoint::{TOKEN as TOKENS, TokenEndpoint};

use crate::pinned;

const TOKEN: &str = "dbt_0123456789abcdef";

/// Returns the error line of a run that failed so.
fn error(run: &Run, code: i32) -> String {
    let said = run.exits_with(code).stderr();
    let line = said.lines().find_map(|line| line.strip_prefix("error: ").map(str::to_owned));
    line.unwrap_or_else(|| panic!("no error is said: {said}"))
}

#[test]
fn every_message_of_somebody_who_has_to_sign_in_is_on_the_page_about_errors() {
    let mut section = Section::of("What dbt says when somebody has to sign in");
    let world = pinned();
    world.repository().publish("deploy", "1.4.0").now();
    world.server().require_token(TOKEN);
    section.has(&error(&world.dbt(["deploy"]), exits::REFUSED));

    let given = world.invoke(["login", "--token"]).stdin(b"dbt_another_old_token\n").run();
    section.has(&error(&given, exits::REFUSED));

    world.set("username", "alice");
    world.set("passwordfunc", "exit 1");
    section.has(&error(&world.dbt(["deploy"]), exits::REFUSED));
    world.configure(|config| {
        let server = config["servers"]["acme"].as_object_mut().unwrap();
        server.retain(|key, _value| !["username", "passwordfunc"].contains(&key.as_str()));
    });

    let provider = TokenEndpoint::start();
    world.set("authType", "oidc");
    world.set("issuerUrl", provider.url());
    section.has(&error(&world.dbt(["login", "--device"]), exits::CONFIGURATION));
    world.set("oidcClientId", "app");
    section.has(&error(&world.dbt(["whoami"]), exits::REFUSED));
    provider.confirm_at_once();
    provider.refuse_next(TOKENS, 400, "access_denied", "The user said no.");
    section.has(&error(&world.dbt(["login", "--device"]), exits::REFUSED));
    section.was_all_said();
    world.nothing_happened();
}
