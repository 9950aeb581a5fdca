//! Directories, in the form that deployed clients read, and the lists in JSON.

use crate::world::Server;

#[test]
fn a_listing_has_the_bytes_of_the_reference_and_shows_nothing_hidden() {
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
    assert_eq!(
        reply.text(),
        "<!doctype html>\n<meta name=\"viewport\" content=\"width=device-width\">\n<pre>\n\
         <a href=\"1.0.0/\">1.0.0/</a>\n\
         <a href=\"a&b%3Fc%23d.txt\">a&amp;b?c#d.txt</a>\n\
         <a href=\"truststore\">truststore</a>\n\
         </pre>\n"
    );
    assert!(!server.get("/").text().contains("reposerver"));
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
    let link = page.split('"').nth(5).unwrap();
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
    let old = std::fs::File::open(server.root().join("dbt")).unwrap();
    let long_ago = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
    old.set_modified(long_ago).unwrap();
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
    for path in ["c", "file", ".git", "..", "a%2fb", ""] {
        let reply = server.get(&format!("/-/api/tools/{path}/versions"));
        assert_ne!(reply.status, 200, "{path}: {reply:?}");
    }
    let head = server.send("HEAD", "/-/api/tools/b/versions", &[], b"");
    assert_eq!(head.stable_headers(), versions.stable_headers());
}
