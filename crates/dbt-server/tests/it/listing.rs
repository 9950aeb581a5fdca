//! Directories, in the form that deployed clients read, and the lists in JSON.

use dbt_core::listing::Listing;

use crate::world::Server;

#[test]
fn a_listing_links_to_its_entries_alone_with_size_and_date_and_shows_nothing_hidden() {
    let server = Server::start();
    for path in
        ["dbt/truststore", "dbt/1.0.0/x", "dbt/a&b?c#d.txt", "dbt/.htpasswd", "dbt/index.html"]
    {
        server.put_on_disk(path, b"x");
    }
    let reply = server.get("/dbt/");
    assert_eq!(
        (reply.status, reply.header("content-type")),
        (200, Some("text/html; charset=utf-8"))
    );
    let page = reply.text();
    let links: Vec<&str> = page.split("<a href=\"").skip(1).collect();
    let hrefs: Vec<&str> = links.iter().map(|rest| rest.split('"').next().unwrap()).collect();
    assert_eq!(hrefs, ["1.0.0/", "a&b%3Fc%23d.txt", "truststore"]);
    assert!(links[2].starts_with("truststore\">truststore</a></td><td>1 B</td><td>2"), "{page}");
    let parsed = Listing::parse(&reply.body, "http://server.example/dbt/").unwrap();
    let names: Vec<&str> = parsed.names().collect();
    assert_eq!(names, ["1.0.0", "a&b?c#d.txt", "truststore"]);
    assert_eq!(parsed.directories().collect::<Vec<_>>(), ["1.0.0"]);
    std::fs::create_dir(server.root().join("empty")).unwrap();
    let empty = server.get("/empty/").body;
    let parsed = Listing::parse(&empty, "http://server.example/empty/").unwrap();
    assert_eq!(parsed.names().count(), 0, "a directory of nothing is a listing too");
    assert!(!server.get("/").text().contains("reposerver"));
    assert!(!page.contains("<script") && page.contains("<style>"), "{page}");
    // The style is the only thing that a browser takes from the page.
    let style = page.split("<style>").nth(1).unwrap().split("</style>").next().unwrap();
    let digest = dbt_core::digest::Digest::of(style.as_bytes());
    let policy = reply.header("content-security-policy").unwrap();
    let hash =
        base64::Engine::encode(&base64::engine::general_purpose::STANDARD, digest.as_bytes());
    assert_eq!(
        policy,
        format!("default-src 'none'; style-src 'sha256-{hash}'; frame-ancestors 'none'")
    );
}

#[test]
fn a_listing_is_json_for_who_asks_for_it() {
    let server = Server::start();
    server.put_on_disk("dbt/truststore", b"keys");
    server.put_on_disk("dbt/1.0.0/x", b"x");
    let json = |accept: &str| server.send("GET", "/dbt/", &[&format!("Accept: {accept}")], b"");
    for accept in ["application/json", "text/html;q=0.5, application/json"] {
        let reply = json(accept);
        assert_eq!(reply.header("content-type"), Some("application/json"), "{accept}");
        assert_eq!(reply.header("vary"), Some("Accept"));
        let list = reply.json();
        assert_eq!(list[0]["name"], "1.0.0");
        assert_eq!((&list[0]["type"], &list[0]["size"]), (&"directory".into(), &().into()));
        assert_eq!((&list[1]["type"], &list[1]["size"]), (&"file".into(), &4.into()));
        let parsed = Listing::parse(&reply.body, "http://server.example/dbt/").unwrap();
        assert_eq!(parsed.directories().collect::<Vec<_>>(), ["1.0.0"]);
    }
    for accept in ["*/*", "text/html,application/xhtml+xml,*/*;q=0.8", "application/json;q=0"] {
        assert_eq!(json(accept).header("content-type"), Some("text/html; charset=utf-8"));
    }
    let page = server.get("/dbt/");
    assert_eq!(page.header("vary"), Some("Accept"));
    assert_ne!(page.header("etag"), json("application/json").header("etag"));
}

#[test]
fn hostile_names_in_an_imported_tree_stay_harmless_and_reachable() {
    let server = Server::start();
    server.put_on_disk("dbt/\"><script>alert(1)<", b"found");
    std::os::unix::fs::symlink("/etc", server.root().join("dbt/link")).unwrap();
    std::fs::write(server.root().join("dbt/back\\slash"), "x").unwrap();
    std::fs::write(server.root().join("dbt/new\nline"), "x").unwrap();
    let page = server.get("/dbt/").text();
    assert_eq!(page.matches("<a ").count(), 1, "{page}");
    assert!(!page.contains("<script"), "{page}");
    let link = page.split("<a href=\"").nth(1).unwrap().split('"').next().unwrap();
    assert_eq!(server.get(&format!("/dbt/{link}")).text(), "found");
}

#[test]
fn directories_and_files_are_sent_to_the_right_side_of_a_slash() {
    let server = Server::start();
    server.put_on_disk("dbt/1.0.0/a:b/file", b"x");
    for (path, location) in [
        ("/dbt", "dbt/"),
        ("/dbt/1.0.0", "1.0.0/"),
        ("/dbt/1.0.0/a:b", "./a:b/"),
        ("/dbt/1.0.0/a:b/file/", "../file"),
        ("/dbt/index.html", "./"),
        ("/dbt/../dbt/1.0.0/", "/dbt/1.0.0/"),
        ("//dbt//", "/dbt/"),
    ] {
        let reply = server.get(path);
        assert_eq!((reply.status, reply.header("location")), (301, Some(location)), "{path}");
    }
}

#[test]
fn a_listing_that_did_not_change_is_not_sent_again() {
    let server = Server::start();
    server.put_on_disk("dbt/truststore", b"x");
    let tag = server.get("/dbt/").header("etag").unwrap().to_owned();
    let line = format!("If-None-Match: {tag}");
    assert_eq!(server.send("GET", "/dbt/", &[&line], b"").status, 304);
    server.put_on_disk("dbt/latest", b"1.0.0");
    assert_eq!(server.send("GET", "/dbt/", &[&line], b"").status, 200);
}

#[test]
fn a_date_is_given_only_when_it_can_tell_a_change() {
    let server = Server::start();
    server.put_on_disk("dbt/truststore", b"x");
    assert_eq!(server.get("/dbt/").header("last-modified"), None, "changed in this second");
    let long_ago = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
    for path in ["dbt/truststore", "dbt"] {
        let old = std::fs::File::open(server.root().join(path)).unwrap();
        old.set_modified(long_ago).unwrap();
    }
    let reply = server.get("/dbt/");
    let date = "Sun, 09 Sep 2001 01:46:40 GMT";
    assert_eq!(reply.header("last-modified"), Some(date));
    let line = format!("If-Modified-Since: {date}");
    assert_eq!(server.send("GET", "/dbt/", &[&line], b"").status, 304);
}

#[test]
fn tools_and_versions_are_listed_as_json_the_versions_by_number() {
    let server = Server::start();
    assert_eq!(server.get("/-/api/tools").text(), "[]");
    for path in ["b/10.0.0/x", "b/2.0.0/x", "b/1.0.0-rc.1/x", "b/notes", "a/x", "file", ".git/x"] {
        server.put_on_disk(&format!("dbt-tools/{path}"), b"x");
    }
    let tools = server.root().join("dbt-tools");
    std::os::unix::fs::symlink(tools.join("b"), tools.join("linked")).unwrap();
    std::os::unix::fs::symlink(tools.join("b/2.0.0"), tools.join("b/3.0.0")).unwrap();
    let reply = server.get("/-/api/tools");
    assert_eq!(reply.header("content-type"), Some("application/json"));
    assert_eq!(reply.text(), "[{\"name\":\"a\"},{\"name\":\"b\"}]\n");

    let versions = server.get("/-/api/tools/b/versions");
    let list = versions.json();
    let names: Vec<&str> =
        list.as_array().unwrap().iter().map(|one| one["version"].as_str().unwrap()).collect();
    assert_eq!(names, ["2.0.0", "10.0.0"]);
    assert!(versions.text().starts_with("[{\"version\":\"2.0.0\",\"modifiedAt\":\"2"));
    assert_eq!(server.get("/-/api/tools/a/versions").text(), "[]\n");
    for path in ["c", "file", "linked", ".git", "..", "a%2fb", ""] {
        let reply = server.get(&format!("/-/api/tools/{path}/versions"));
        assert_ne!(reply.status, 200, "{path}: {reply:?}");
    }
    let head = server.send("HEAD", "/-/api/tools/b/versions", &[], b"");
    assert_eq!(head.stable_headers(), versions.stable_headers());
}

#[test]
fn a_version_has_the_date_of_its_first_artifact_whatever_comes_later() {
    let server = Server::start();
    let (old, older) = (1_600_000_000, 1_500_000_000);
    let dated = |path: &str, seconds: u64| {
        server.put_on_disk(path, b"x");
        let file = std::fs::File::options().write(true).open(server.root().join(path)).unwrap();
        let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
        file.set_modified(time).unwrap();
    };
    for (version, seconds) in [("1.0.0", old), ("10.0.0", older), ("2.0.0", old)] {
        for ending in ["", ".asc", ".sha256"] {
            dated(&format!("dbt-tools/x/{version}/linux/amd64/x{ending}"), seconds);
        }
    }
    // Not of the version: nobody publishes by that.
    dated("dbt-tools/x/2.0.0/description.txt", older);
    std::fs::create_dir(server.root().join("dbt-tools/x/3.0.0")).unwrap();
    let versions_of = |path: &str| -> Vec<(String, String)> {
        let json = server.get(path).json();
        let list = if json.is_array() { json } else { json["versions"].clone() };
        let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
        let versions = list.as_array().unwrap().iter();
        versions.map(|it| (text(&it["version"]), text(&it["modifiedAt"]))).collect()
    };
    let paths = ["/-/api/tools/x/versions", "/-/api/v1/tools/x"];
    let before = paths.map(&versions_of);
    let shown = |version: &str, date: &str| (version.to_owned(), date.to_owned());
    for list in &before {
        assert_eq!(
            list[..2],
            [shown("1.0.0", "2020-09-13T12:26:40Z"), shown("2.0.0", "2020-09-13T12:26:40Z"),]
        );
        assert_eq!(list[3], shown("10.0.0", "2017-07-14T02:40:00Z"));
        assert_eq!(list[2].0, "3.0.0");
    }
    // A description, another platform, and something that somebody copied there.
    server.put("/dbt-tools/x/1.0.0/description.txt", b"what it is for");
    let darwin = "/dbt-tools/x/1.0.0/darwin/arm64/x";
    server.put(darwin, b"binary");
    server.put(&format!("{darwin}.asc"), b"sig");
    let sum = crate::world::sha256(b"binary");
    assert_eq!(server.put(&format!("{darwin}.sha256"), sum.as_bytes()).status, 201);
    assert_eq!(server.get(darwin).status, 200);
    server.put_on_disk("dbt-tools/x/2.0.0/copied", b"x");
    assert_eq!(paths.map(versions_of), before);
}
