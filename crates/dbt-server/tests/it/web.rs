//! The pages of the catalog, as a browser gets them, with script and without.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dbt_core::digest::Digest;
use serde_json::json;

use crate::world::{Reply, Server, WRITABLE, sha256};

const TOOL: &str = "dbt-tools/deploy/1.2.0/linux/amd64/deploy";

/// What a browser says when somebody types an address.
const NAVIGATION: [&str; 2] = [
    "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
    "Sec-Fetch-Mode: navigate",
];

/// Puts a tool into a tree, as publishers do, with its description.
fn put_tool(server: &Server, name: &str, version: &str, description: &str) {
    let place = format!("dbt-tools/{name}/{version}");
    for ending in ["", ".sha256", ".asc"] {
        server.put_on_disk(&format!("{place}/linux/amd64/{name}{ending}"), b"binary");
    }
    server.put_on_disk(&format!("{place}/description.txt"), description.as_bytes());
}

fn with_tools() -> Server {
    let server = Server::start();
    put_tool(&server, "deploy", "1.2.0", "Brings releases to production");
    put_tool(&server, "deploy", "1.10.0", "Brings releases to production");
    put_tool(&server, "report", "2.0.0", "Counts what was sold");
    server
}

/// Returns what stands in a page between two texts.
fn between<'a>(page: &'a str, start: &str, end: &str) -> &'a str {
    page.split_once(start).unwrap().1.split_once(end).unwrap().0
}

/// Returns the items of the list of tools.
fn items(page: &str) -> Vec<&str> {
    between(page, "id=\"tools\"", "</ul>").split("<li ").skip(1).collect()
}

#[test]
fn the_catalog_lists_the_tools_with_what_they_are_for() {
    let server = with_tools();
    let reply = server.get("/-/ui/");
    assert_eq!(reply.status, 200);
    assert_eq!(reply.header("content-type"), Some("text/html; charset=utf-8"));
    let page = reply.text();
    let items = items(&page);
    assert_eq!(items.len(), 2, "{page}");
    for words in ["href=\"/-/ui/tools/deploy\"", "1.10.0", "Brings releases", "linux/amd64"] {
        assert!(items[0].contains(words), "{words}: {}", items[0]);
    }
    assert!(items[1].contains("Counts what was sold"), "{}", items[1]);
    assert!(page.contains("2 of 2 tools"), "{page}");
}

#[test]
fn a_search_works_without_script() {
    let server = with_tools();
    for (query, shown) in
        [("deploy", 1), ("SOLD", 1), ("production+deploy", 1), ("x+y", 0), ("", 2)]
    {
        let page = server.get(&format!("/-/ui/?q={query}")).text();
        let hidden = items(&page).iter().filter(|item| item.contains("\" hidden>")).count();
        assert_eq!(2 - hidden, shown, "{query}: {page}");
        assert!(page.contains(&format!("{shown} of 2 tools")), "{query}: {page}");
    }
    let page = server.get("/-/ui/").text();
    assert!(
        page.contains("<form class=\"search\" role=\"search\" action=\"/-/ui/\" method=\"get\">")
    );
}

#[test]
fn a_tool_has_a_page_with_its_versions_and_how_to_run_it() {
    let server = with_tools();
    server.put_on_disk(
        "dbt-tools/deploy/withdrawn.json",
        json!({"schema": "dbt.withdrawn/1", "tool": "deploy", "serial": 1, "issued": "",
            "versions": [{"version": "1.2.0", "reason": "loses <data>"}]})
        .to_string()
        .as_bytes(),
    );
    let page = server.get("/-/ui/tools/deploy").text();
    for words in [
        "<h1>deploy</h1>",
        "<code>dbt deploy</code>",
        "<code>dbt deploy@1.10.0</code>",
        "Brings releases to production",
        "linux/amd64",
        "6 B",
        "href=\"/dbt-tools/deploy/1.10.0/linux/amd64/deploy\"",
        "Withdrawn, it does not run any more: loses &#60;data&#62;",
    ] {
        assert!(page.contains(words), "{words}: {page}");
    }
    let newer = page.find("<span class=\"version\">1.10.0</span>").unwrap();
    assert!(newer < page.find("<span class=\"version\">1.2.0</span>").unwrap(), "newest first");
    assert_eq!(page.matches("<details open>").count(), 1);
    assert_eq!(server.get(&format!("/{TOOL}")).status, 200, "the link leads to the file");
}

#[test]
fn who_signed_is_shown_as_the_signature_says_it() {
    let server = with_tools();
    assert!(server.get("/-/ui/tools/report").text().contains("not signed"));
    let signed = include_bytes!("../../../dbt-fuzz/fixtures/alice.asc");
    server.put_on_disk("dbt-tools/report/2.0.0/linux/amd64/report.asc", signed);
    let page = server.get("/-/ui/tools/report").text();
    let signers = between(&page, "signed by ", "<");
    assert!(signers.len() >= 16 && signers.bytes().all(|it| it.is_ascii_hexdigit()), "{signers}");
}

/// Texts that would be something else than text if they were not escaped.
const HOSTILE: [&str; 4] = [
    "<script>alert(1)</script>",
    "\"><img src=x onerror=alert(2)>",
    "' onmouseover='alert(3)",
    "</style></title><svg/onload=alert(4)>",
];

#[test]
fn hostile_text_stays_text() {
    let server = Server::start();
    let description = HOSTILE.join(" ");
    put_tool(&server, "evil", "1.0.0", &description);
    let reason = json!({"schema": "dbt.withdrawn/1", "tool": "evil", "serial": 1, "issued": "",
        "versions": [{"version": "1.0.0", "reason": description}]});
    server.put_on_disk("dbt-tools/evil/withdrawn.json", reason.to_string().as_bytes());
    // What cannot be a tool's name is none, whatever lies there.
    server.put_on_disk("dbt-tools/<b>x/1.0.0/linux/amd64/x", b"binary");
    for query in HOSTILE.iter().chain(&[""]) {
        let query: Vec<String> = query.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let query = query.concat();
        let page = server.get(&format!("/-/ui/?q={query}")).text();
        assert_eq!(page.matches("<script").count(), 1, "{page}");
        is_harmless(&page);
    }
    let page = server.get("/-/ui/tools/evil").text();
    assert_eq!(page.matches("<script").count(), 0, "{page}");
    is_harmless(&page);
    assert!(page.contains("&#60;script&#62;alert(1)&#60;/script&#62;"), "{page}");
    for path in ["/-/ui/tools/%3Cscript%3E", "/-/ui/%3Cimg%3E", "/-/ui/tools/x%22onx="] {
        let reply = server.get(path);
        assert_eq!(reply.status, 404, "{path}");
        is_harmless(&reply.text());
    }
}

fn is_harmless(page: &str) {
    for words in ["<img", "<svg", "<b>", "<script>alert", "'alert(3)", "onmouseover='", "\"><"] {
        let words = if words == "\"><" { "\"><img" } else { words };
        assert!(!page.contains(words), "{words}: {page}");
    }
}

#[test]
fn a_page_keeps_others_out() {
    let server = with_tools();
    for (path, status) in
        [("/-/ui/", 200), ("/-/ui/tools/deploy", 200), ("/-/ui/tools/none", 404), ("/-/ui/x", 404)]
    {
        let reply = server.get(path);
        assert_eq!(reply.status, status, "{path}");
        assert_eq!(reply.header("x-content-type-options"), Some("nosniff"), "{path}");
        assert_eq!(reply.header("referrer-policy"), Some("same-origin"), "{path}");
        assert_eq!(reply.header("x-frame-options"), Some("DENY"), "{path}");
        assert_eq!(reply.header("cross-origin-resource-policy"), Some("same-origin"), "{path}");
        assert_eq!(reply.all("content-security-policy").len(), 1, "{path}");
        let policy = reply.header("content-security-policy").unwrap();
        for words in ["default-src 'none'", "frame-ancestors 'none'", "base-uri 'none'"] {
            assert!(policy.contains(words), "{path}: {policy}");
        }
        assert!(!policy.contains("unsafe"), "{policy}");
        let page = reply.text();
        let hash = |text: &str| STANDARD.encode(Digest::of(text.as_bytes()).as_bytes());
        let style = hash(between(&page, "<style>", "</style>"));
        assert!(policy.contains(&format!("style-src 'sha256-{style}'")), "{path}: {policy}");
        if let Some((_before, script)) = page.split_once("<script>") {
            let script = hash(script.split_once("</script>").unwrap().0);
            assert!(policy.contains(&format!("script-src 'sha256-{script}'")), "{path}: {policy}");
        }
        // Nothing comes from elsewhere, and nothing runs beside the one script.
        for words in ["http://", "https://", " style=", " onclick", "javascript:", "<iframe"] {
            assert!(!page.contains(words), "{path}: {words}");
        }
    }
}

#[test]
fn a_page_is_asked_for_again_only_if_it_changed() {
    let server = with_tools();
    for path in ["/-/ui/", "/-/ui/tools/deploy"] {
        let reply = server.get(path);
        assert_eq!(reply.header("cache-control"), Some("no-cache"), "{path}");
        let tag = reply.header("etag").unwrap().to_owned();
        let head = server.send("HEAD", path, &[], b"");
        assert_eq!((head.status, head.body.len()), (200, 0), "{path}");
        assert_eq!(head.stable_headers(), reply.stable_headers(), "{path}");
        let again = server.send("GET", path, &[&format!("If-None-Match: {tag}")], b"");
        assert_eq!((again.status, again.body.len()), (304, 0), "{path}");
        assert_eq!(again.header("etag"), Some(tag.as_str()), "{path}");
        assert_eq!(server.put("/dbt-tools/deploy/1.11.0/description.txt", b"new").status, 201);
        for ending in ["", ".sha256", ".asc"] {
            let file = format!("/dbt-tools/deploy/1.11.0/linux/amd64/deploy{ending}");
            let digest = sha256(b"new");
            let body: &[u8] = if ending == ".sha256" { digest.as_bytes() } else { b"new" };
            let status = server.put(&file, body).status;
            assert!(status == 201 || status == 200, "{file}: {status}");
        }
        let changed = server.send("GET", path, &[&format!("If-None-Match: {tag}")], b"");
        assert_eq!(changed.status, 200, "{path}");
        assert!(changed.text().contains("1.11.0"), "{path}");
        assert_eq!(server.delete("/dbt-tools/deploy/1.11.0/").status, 204);
    }
}

#[test]
fn pages_are_read_and_nothing_else() {
    let server = with_tools();
    for path in ["/-/ui/", "/-/ui/tools/deploy", "/-/ui/icon.svg", "/-/ui/x", "/-/ui/sign-out"] {
        for method in ["PUT", "DELETE", "PATCH"] {
            let reply = server.send(method, path, &[crate::world::AUTHORIZED], b"x");
            assert_eq!(reply.status, 405, "{method} {path}");
        }
        let options = server.send("OPTIONS", path, &[], b"");
        let allow = if path.ends_with("sign-out") { "POST, OPTIONS" } else { "GET, HEAD, OPTIONS" };
        assert_eq!((options.status, options.header("allow")), (204, Some(allow)), "{path}");
    }
    let reply = server.get("/-/ui");
    assert_eq!((reply.status, reply.header("location")), (301, Some("/-/ui/")));
    let icon = server.get("/-/ui/icon.svg");
    assert_eq!(icon.header("content-type"), Some("image/svg+xml"));
    // Without a provider nobody signs in at the pages.
    for path in ["/-/ui/sign-in", "/-/ui/callback?code=x&state=y"] {
        assert_eq!(server.get(path).status, 404, "{path}");
    }
}

#[test]
fn only_somebody_at_a_browser_is_led_from_the_root_to_the_pages() {
    let server = with_tools();
    let reply = server.send("GET", "/", &NAVIGATION, b"");
    assert_eq!((reply.status, reply.header("location")), (302, Some("/-/ui/")));
    assert_eq!(reply.header("cache-control"), Some("no-store"));
    let listing = server.get("/");
    assert!(listing.text().contains("<title>Index of /</title>"), "{}", listing.text());
    // Programs, and browsers that look at a directory, see what they always saw.
    for lines in [&["Accept: text/html"][..], &["Accept: */*"], &["User-Agent: Go-http-client/1.1"]]
    {
        let reply = server.send("GET", "/", lines, b"");
        assert_eq!(reply.text(), listing.text(), "{lines:?}");
        assert_eq!(reply.stable_headers(), listing.stable_headers(), "{lines:?}");
    }
    for path in ["/dbt-tools/", "/dbt-tools/deploy/"] {
        let reply = server.send("GET", path, &NAVIGATION, b"");
        assert!(reply.text().contains(&format!("<title>Index of {path}</title>")), "{path}");
    }
}

#[test]
fn the_pages_can_be_left_out() {
    let server = Server::with(&format!(r#"{WRITABLE}, "web": {{"catalog": false}}"#));
    put_tool(&server, "deploy", "1.0.0", "x");
    assert_eq!(server.get("/-/ui/").status, 404);
    assert_eq!(server.get("/-/ui/tools/deploy").status, 404);
    let reply = server.send("GET", "/", &NAVIGATION, b"");
    assert!(reply.text().contains("<title>Index of /</title>"));
}

fn is_a_page_of_refusal(reply: &Reply, status: u16) {
    assert_eq!(reply.status, status, "{reply:?}");
    assert_eq!(reply.header("content-type"), Some("text/html; charset=utf-8"));
    assert_eq!(reply.header("cache-control"), Some("no-store"));
    assert!(reply.header("content-security-policy").unwrap().contains("default-src 'none'"));
    let page = reply.text();
    assert!(page.contains(reply.header("x-request-id").unwrap()), "{page}");
    for secret in ["deploy", "report", "Brings"] {
        assert!(!page.contains(secret), "{secret}: {page}");
    }
}

#[test]
fn who_may_not_read_sees_nothing() {
    let server = Server::with(
        r#""authGets": true, "authTypeGet": "static-token", "authOptsGet": {"staticToken": "read-token"}"#,
    );
    put_tool(&server, "deploy", "1.0.0", "Brings releases to production");
    for path in ["/-/ui/", "/-/ui/?q=deploy", "/-/ui/tools/none", "/-/ui/x"] {
        is_a_page_of_refusal(&server.get(path), 401);
        let wrong = server.send("GET", path, &["Authorization: Bearer planted-bearer"], b"");
        is_a_page_of_refusal(&wrong, 401);
    }
    let page = server.get("/-/ui/").text();
    assert!(page.contains("no browser can do that"), "{page}");
    assert!(page.contains("`dbt catalog list`"), "{page}");
    // What is there and what is not look the same.
    assert_eq!(server.get("/-/ui/tools/deploy").status, 401);
    let reply = server.send("GET", "/-/ui/", &["Authorization: Bearer read-token"], b"");
    assert_eq!(reply.status, 200);
    assert_eq!(reply.header("cache-control"), Some("private, no-cache"));
    assert!(reply.text().contains("deploy"));
}

#[test]
fn a_browser_asks_for_a_password_where_there_are_passwords() {
    let place = crate::world::Place::new();
    let hash = STANDARD
        .encode(ring::digest::digest(&ring::digest::SHA1_FOR_LEGACY_USE_ONLY, b"correct-horse"));
    place.put_beside("htpasswd", format!("alice:{{SHA}}{hash}\n").as_bytes());
    let server = Server::on(
        place,
        r#""authGets": true, "authTypeGet": "basic-htpasswd", "htpasswdFile": "htpasswd""#,
    );
    put_tool(&server, "deploy", "1.0.0", "Brings releases to production");
    let reply = server.get("/-/ui/");
    is_a_page_of_refusal(&reply, 401);
    assert!(reply.all("www-authenticate").iter().any(|it| it.starts_with("Basic ")), "{reply:?}");
    let proof = |password: &str| {
        format!("Authorization: Basic {}", STANDARD.encode(format!("alice:{password}")))
    };
    let wrong = server.send("GET", "/-/ui/", &[&proof("wrong-horse")], b"");
    is_a_page_of_refusal(&wrong, 401);
    let reply = server.send("GET", "/-/ui/", &[&proof("correct-horse")], b"");
    assert!(reply.status == 200 && reply.text().contains("deploy"), "{reply:?}");
}

#[test]
fn everybody_sees_the_tools_that_they_may_list() {
    let token = |name: &str, secret: &str| {
        format!(r#"{{"name": "{name}", "sha256": "{}"}}"#, sha256(secret.as_bytes()))
    };
    let server = Server::with(&format!(
        r#""authTypePut": "static-token", "tokens": [{}, {}], "policies": [
        {{"name": "all", "subjects": ["root"], "paths": ["/**"], "actions": ["read", "list"]}},
        {{"name": "some", "subjects": ["reader"], "paths": ["/dbt-tools", "/dbt-tools/report/**"],
          "actions": ["read", "list"]}}]"#,
        token("root", "root-token"),
        token("reader", "read-token")
    ));
    put_tool(&server, "deploy", "1.0.0", "Brings releases to production");
    put_tool(&server, "report", "1.0.0", "Counts what was sold");
    let ask = |path: &str, who: &str| {
        server.send("GET", path, &[&format!("Authorization: Bearer {who}")], b"")
    };
    let page = ask("/-/ui/", "root-token").text();
    assert_eq!(items(&page).len(), 2, "{page}");
    let page = ask("/-/ui/", "read-token").text();
    assert_eq!(items(&page).len(), 1, "{page}");
    assert!(page.contains("report") && !page.contains("deploy"), "{page}");
    assert_eq!(ask("/-/ui/tools/report", "read-token").status, 200);
    is_a_page_of_refusal(&ask("/-/ui/tools/deploy", "read-token"), 403);
    is_a_page_of_refusal(&server.get("/-/ui/"), 401);
}
