//! The pages of the catalog in a real browser: with script and without, on a phone and in the dark, for
//! people who see badly, and for those who sign in at a real identity provider.

use dbt_testkit::browser::{PASSWORD, visit};
use dbt_testkit::oidc_provider::OidcProvider;
use serde_json::{Value, json};

use crate::world::Server;

/// Puts a tool into a tree, as publishers do.
fn put_tool(server: &Server, name: &str, versions: &[&str], description: &str) {
    let signature = include_bytes!("../../../dbt-fuzz/fixtures/alice.asc");
    for version in versions {
        for platform in ["linux/amd64", "linux/arm64", "darwin/arm64"] {
            let file = format!("dbt-tools/{name}/{version}/{platform}/{name}");
            server.put_on_disk(&file, &vec![7; 3_500_000]);
            server.put_on_disk(&format!("{file}.sha256"), b"0");
            server.put_on_disk(&format!("{file}.asc"), signature);
        }
        let description = description.as_bytes();
        server.put_on_disk(&format!("dbt-tools/{name}/{version}/description.txt"), description);
    }
}

fn put_tools(server: &Server) {
    let words = "Brings releases to production.\n\nIt asks before it does anything, and waits until the new \
                 release answers.";
    put_tool(server, "deploy", &["1.2.0", "1.10.0", "2.0.0-rc.1"], words);
    put_tool(server, "report", &["2.0.0"], "Counts what was sold, by month and by shop");
    let hostile =
        "<script>document.title = 'taken over'</script><img src=x onerror=\"document.title='x'\">";
    put_tool(
        server,
        "a-tool-with-a-name-that-is-longer-than-the-screen-of-any-phone",
        &["0.1.0"],
        hostile,
    );
    let reason = json!({"schema": "dbt.withdrawn/1", "tool": "deploy", "serial": 1, "issued": "",
        "versions": [{"version": "1.2.0", "reason": "it lost data"}]});
    server.put_on_disk("dbt-tools/deploy/withdrawn.json", reason.to_string().as_bytes());
}

/// Where a picture of a page is kept.
fn picture(server: &Server, name: &str) -> String {
    let place = server.outside().join(name);
    place.with_extension("png").to_str().unwrap().to_owned()
}

const SHOWN: &str = "[...document.querySelectorAll('#tools li')].filter((it) => it.checkVisibility())\
                     .map((it) => it.querySelector('a').innerText)";
const COUNT: &str = "document.getElementById('count').innerText";
/// What is wider than the screen.
const TOO_WIDE: &str =
    "document.documentElement.scrollWidth - document.documentElement.clientWidth";
const BACKGROUND: &str = "getComputedStyle(document.body).backgroundColor";

#[test]
fn a_search_shows_as_it_is_typed_and_leads_to_a_tool() {
    let server = Server::start();
    put_tools(&server);
    let root = format!("http://{}", server.address);
    let seen = visit(&json!([
        {"go": format!("{root}/")},
        {"see": "location.pathname"},
        {"see": COUNT},
        {"type": ["#q", "prod"]},
        {"see": SHOWN},
        {"see": COUNT},
        {"see": "location.search"},
        {"type": ["#q", " no-such-word"]},
        {"see": SHOWN},
        {"go": format!("{root}/-/ui/?q=sold")},
        {"see": SHOWN},
        {"click": "#tools li:not([hidden]) a"},
        {"arrive": "/-/ui/tools/report"},
        {"see": "document.querySelector('pre').innerText"},
        {"see": "document.title"},
        {"go": format!("{root}/-/ui/tools/deploy")},
        {"see": "document.querySelectorAll('details[open]').length"},
        {"see": "document.querySelector('p.warning').textContent"},
        {"complaints": null},
    ]));
    let expected = json!([
        "/-/ui/",
        "3 of 3 tools",
        ["deploy"],
        "1 of 3 tools",
        "?q=prod",
        [],
        ["report"],
        "dbt report",
        "report - dbt catalog",
        1,
        "Withdrawn, it does not run any more: it lost data",
        [],
    ]);
    assert_eq!(Value::from(seen), expected);
}

#[test]
fn without_script_the_form_asks_the_server() {
    let server = Server::start();
    put_tools(&server);
    let seen = visit(&json!([
        {"script": false},
        {"go": format!("http://{}/-/ui/", server.address)},
        {"type": ["#q", "sold"]},
        {"see": SHOWN},
        {"press": "Enter"},
        {"arrive": "?q=sold"},
        {"see": SHOWN},
        {"see": COUNT},
    ]));
    let all = json!([
        "a-tool-with-a-name-that-is-longer-than-the-screen-of-any-phone",
        "deploy",
        "report"
    ]);
    assert_eq!(Value::from(seen), json!([all, ["report"], "1 of 3 tools"]));
}

#[test]
fn pages_fit_a_phone_and_the_dark_and_stop_nobody() {
    let server = Server::start();
    put_tools(&server);
    let root = format!("http://{}", server.address);
    for (name, path) in [
        ("catalog", "/-/ui/"),
        ("tool", "/-/ui/tools/deploy"),
        ("nothing", "/-/ui/tools/no-such-tool"),
    ] {
        for (width, scheme, dark) in [
            (1280, "light", false),
            (1280, "dark", true),
            (360, "light", false),
            (360, "dark", true),
        ] {
            let seen = visit(&json!([
                {"width": width},
                {"scheme": scheme},
                {"go": format!("{root}{path}")},
                {"see": TOO_WIDE},
                {"see": BACKGROUND},
                {"see": "document.title.includes('taken over')"},
                {"axe": null},
                {"complaints": null},
                {"picture": picture(&server, &format!("{name}-{width}-{scheme}"))},
            ]));
            let which = format!("{name} {width} {scheme}: {seen:?}");
            assert_eq!(seen[0], 0, "{which}");
            let back = if dark { "rgb(13, 17, 23)" } else { "rgb(255, 255, 255)" };
            assert_eq!(seen[1], back, "{which}");
            assert_eq!(seen[2], false, "{which}");
            assert_eq!(seen[3]["violations"], json!([]), "{which}");
            assert!(seen[3]["passes"].as_u64().unwrap() > 10, "{which}");
            let said = seen[4].as_array().unwrap().iter().filter(|it| {
                // The browser says of the page that is not there that it is not there.
                !it.as_str().unwrap().contains("status of 404")
            });
            assert_eq!(said.count(), 0, "{which}");
        }
    }
}

#[test]
fn somebody_signs_in_at_a_real_provider_and_out_again() {
    let provider = OidcProvider::start();
    let members = |public: &str| {
        format!(
            r#""authGets": true, "authTypeGet": "oidc", "publicUrls": ["{public}"],
            "authOptsGet": {{"oidc": {{"issuerUrl": "{}", "audiences": ["https://dbt.example.com"],
                "allowedGroups": ["publishers"]}}}},
            "authTypePut": "oidc",
            "authOptsPut": {{"oidc": {{"issuerUrl": "{}", "audiences": ["https://dbt.example.com"]}}}},
            "web": {{"signIn": {{"clientId": "catalog", "scopes": ["profile", "groups"]}}}}"#,
            provider.url(),
            provider.url()
        )
    };
    let server = Server::with(&members("http://127.0.0.1:1"));
    put_tools(&server);
    let root = format!("http://{}", server.address);
    server.reload(&members(&root));
    let seen = visit(&json!([
        {"go": format!("{root}/-/ui/tools/deploy")},
        {"see": "document.querySelector('h1').innerText"},
        {"axe": null},
        {"click": "a.button"},
        {"signIn": ["alice", PASSWORD, "/-/ui/tools/deploy"]},
        {"see": "document.querySelector('h1').innerText"},
        {"see": "document.querySelector('header').innerText.includes('Signed in as alice')"},
        {"see": "document.cookie"},
        {"axe": null},
        {"go": format!("{root}/-/ui/")},
        {"see": SHOWN.to_owned() + ".length"},
        {"picture": picture(&server, "signed-in")},
        {"click": ".visitor button"},
        {"arrive": "/-/ui/signed-out"},
        {"go": format!("{root}/-/ui/")},
        {"see": "document.querySelector('h1').innerText"},
        {"see": "document.body.innerText.includes('deploy')"},
    ]));
    assert_eq!(seen[0], "Sign in");
    assert_eq!(seen[1]["violations"], json!([]));
    assert_eq!(seen[2], "deploy");
    assert_eq!((&seen[3], &seen[4]), (&json!(true), &json!("")), "a script sees no cookie");
    assert_eq!(seen[5]["violations"], json!([]));
    assert_eq!(seen[6], 3);
    assert_eq!((&seen[7], &seen[8]), (&json!("Sign in"), &json!(false)));
    // Who is in another group is let in by the provider and not by the server.
    let seen = visit(&json!([
        {"go": format!("{root}/-/ui/")},
        {"click": "a.button"},
        {"signIn": ["bob", PASSWORD, "/-/ui/callback"]},
        {"see": "document.querySelector('h1').innerText"},
        {"go": format!("{root}/-/ui/")},
        {"see": "document.body.innerText.includes('deploy')"},
    ]));
    assert_eq!(Value::from(seen), json!(["Not signed in", false]));
}
