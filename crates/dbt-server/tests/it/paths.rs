//! Attacks on paths. None may reach, change or name anything outside the tree and its grammar.

use crate::world::{AS_ADMIN, AUTHORIZED, Reply, Server, sha256};

/// Paths that try to leave the tree or to mean two things.
const ATTACKS: [&str; 29] = [
    "/../secret",
    "/dbt/../../secret",
    "/dbt/..",
    "/%2e%2e/secret",
    "/dbt/%2e%2e/%2e%2e/secret",
    "/..%2fsecret",
    "/dbt/..%2f..%2fsecret",
    "/dbt%2f..%2f..%2fsecret",
    "/%252e%252e/secret",
    "/dbt/..;/secret",
    "/..%5csecret",
    "/dbt\\..\\..\\secret",
    "/dbt/%5c%2e%2e%5csecret",
    "//secret",
    "///../secret",
    "/./secret",
    "/dbt/./../../secret",
    "/dbt/x%00.txt",
    "/dbt/%0d%0aSet-Cookie:x",
    "/dbt/C:secret",
    "/c:/secret",
    "/%c0%ae%c0%ae/secret",
    "/%e0%80%ae%e0%80%ae/secret",
    "/%ff%fe",
    "/dbt/%",
    "/dbt/%2",
    "/dbt/%zz",
    "/dbt/.git/config",
    "/.reposerver/../secret",
];

fn with_a_secret() -> Server {
    let server = Server::start();
    std::fs::write(server.outside().join("secret"), "the secret").unwrap();
    server.put_on_disk("dbt/latest", b"1.0.0");
    server
}

fn is_unharmed(server: &Server, attack: &str) {
    assert_eq!(server.tree(), ["dbt", "dbt/latest"], "{attack}");
    assert_eq!(std::fs::read(server.outside().join("secret")).unwrap(), b"the secret", "{attack}");
    let outside = std::fs::read_dir(server.outside()).unwrap().count();
    assert_eq!(outside, 4, "{attack}: the configuration, the root, the state and the secret");
}

fn requests(path: &str) -> [Vec<u8>; 3] {
    let head = |method: &str, target: &str, rest: &str| {
        format!(
            "{method} {target} HTTP/1.1\r\nHost: t\r\nConnection: close\r\n{AUTHORIZED}\r\n{rest}"
        )
        .into_bytes()
    };
    [
        head("GET", path, "\r\n"),
        head("PUT", path, "Content-Length: 3\r\n\r\nbad"),
        head("DELETE", path, "\r\n"),
    ]
}

#[test]
fn no_path_leaves_the_tree_whatever_the_method() {
    let server = with_a_secret();
    for attack in ATTACKS {
        for request in requests(attack) {
            let reply = server.raw(&request);
            let is_read = request.starts_with(b"GET");
            let harmless =
                matches!(reply.status, 301 if is_read) || (400..=405).contains(&reply.status);
            assert!(harmless, "{attack}: {reply:?}");
            assert!(!String::from_utf8_lossy(&reply.body).contains("the secret"), "{attack}");
            assert!(reply.header("set-cookie").is_none(), "{attack}");
        }
    }
    is_unharmed(&server, "all");
}

#[test]
fn a_write_is_never_redirected() {
    let server = with_a_secret();
    for attack in ATTACKS {
        for request in &requests(attack)[1..] {
            let status = server.raw(request).status;
            assert!((400..=405).contains(&status), "{attack}: {status}");
        }
    }
    is_unharmed(&server, "writes");
}

#[test]
fn a_redirect_stays_on_the_server() {
    let server = with_a_secret();
    for path in
        ["//evil.example/", "//evil.example/..//", "/dbt/..//evil.example", "/%2e%2e//evil.example"]
    {
        let reply = server.get(path);
        let location = reply.header("location").unwrap();
        assert!(location.starts_with('/') && !location.starts_with("//"), "{path}: {location}");
    }
}

#[test]
fn the_absolute_form_and_the_asterisk_mean_nothing_special() {
    let server = with_a_secret();
    let line = |target: &str| {
        server.raw(
            format!("GET {target} HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n").as_bytes(),
        )
    };
    assert_eq!(line("http://evil.example/dbt/latest").text(), "1.0.0");
    let reply = line("http://evil.example/../secret");
    assert_eq!((reply.status, reply.header("location")), (301, Some("/secret")));
    assert_eq!(line("*").status, 400);
    assert_eq!(line("dbt/latest").status, 400);
    let connect =
        server.raw(b"CONNECT evil.example:443 HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n");
    assert!((400..=405).contains(&connect.status), "{connect:?}");
}

#[test]
fn a_path_that_is_too_long_is_refused() {
    let server = with_a_secret();
    let segment = format!("/dbt/{}", "a".repeat(256));
    let path = format!("/dbt/{}", "a/".repeat(3000));
    let huge = format!("/dbt/{}", "a".repeat(64 * 1024));
    for long in [&segment, &path, &huge] {
        for method in ["GET", "PUT"] {
            let status = server.send(method, long, &[AUTHORIZED], b"").status;
            assert!(matches!(status, 400 | 404 | 414 | 431), "{method}: {status}");
        }
    }
    is_unharmed(&server, "long");
}

#[test]
fn places_that_are_not_for_files_are_refused_with_the_reason() {
    let server = with_a_secret();
    let says = |path: &str, status: u16, code: &str, words: &str| {
        let reply: Reply = server.put(path, b"bad");
        reply.is_refused(status, code);
        let detail = reply.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains(words), "{path}: {detail}");
    };
    says("/", 400, "bad-path", "does not end with a slash");
    says("/dbt", 400, "bad-path", "root of a repository");
    says("/dbt/", 400, "bad-path", "does not end with a slash");
    says("/dbt/truststore/", 400, "bad-path", "does not end with a slash");
    says("/file", 400, "bad-path", "not below one of the two repositories");
    says("/dbtEVIL/file", 400, "bad-path", "not below one of the two repositories");
    says("/dbt/index.html", 400, "bad-path", "hide the listing");
    says("/dbt/a%20b", 400, "bad-path", "only letters, digits");
    says("/dbt-tools/x/1.0.0/readme", 400, "bad-path", "only artifacts");
    says("/dbt-tools/x/1.0.0/linux/amd64/y", 400, "bad-path", "named as its tool");
    says("/dbt-tools/x/1.0.0", 400, "bad-path", "a version is a directory");
    says("/dbt-tools/nul/1.0.0/linux/amd64/nul", 400, "bad-path", "no tool can have that name");
    says("/dbt/latest/below", 409, "path-conflict", "a part of the path is a file");
    says("/healthz", 405, "method-not-allowed", "GET, HEAD, OPTIONS");
    says("/-/api/tools", 405, "method-not-allowed", "GET, HEAD, OPTIONS");
    is_unharmed(&server, "places");

    server.put_on_disk("dbt-tools/x/1.0.0/linux/amd64/x/y", b"x");
    says("/dbt-tools/x/1.0.0/linux/amd64/x", 409, "path-conflict", "a directory is there");
}

#[test]
fn no_link_in_the_tree_is_followed_by_any_method() {
    let server = with_a_secret();
    let link = |target: &str, name: &str| {
        std::os::unix::fs::symlink(target, server.root().join(name)).unwrap();
    };
    link("../../secret", "dbt/file-out");
    link("../..", "dbt/directory-out");
    link("latest", "dbt/inside");
    for path in [
        "/dbt/file-out",
        "/dbt/directory-out",
        "/dbt/directory-out/",
        "/dbt/directory-out/secret",
        "/dbt/inside",
    ] {
        assert_eq!(server.get(path).status, 404, "{path}");
        assert_eq!(server.delete(path).status, 404, "{path}");
    }
    for path in
        ["/dbt/file-out", "/dbt/directory-out/secret", "/dbt/directory-out/new/file", "/dbt/inside"]
    {
        server.put(path, b"bad").is_refused(409, "path-conflict");
    }
    assert_eq!(std::fs::read(server.outside().join("secret")).unwrap(), b"the secret");
    assert!(!server.outside().join("new").exists());
    assert_eq!(server.get("/dbt/latest").text(), "1.0.0");
}

#[test]
fn nothing_of_ours_is_served_or_written() {
    let server = with_a_secret();
    for path in ["/.reposerver", "/.reposerver/", "/.reposerver/lock", "/%2ereposerver/lock"] {
        assert_eq!(server.get(path).status, 404, "{path}");
        server.put(path, b"bad").is_refused(400, "bad-path");
    }
    let mode = std::fs::metadata(server.root().join(".reposerver")).unwrap();
    assert_eq!(std::os::unix::fs::MetadataExt::mode(&mode) & 0o777, 0o700);
}

#[test]
fn methods_that_do_not_exist_are_refused_and_named() {
    let server = with_a_secret();
    for method in ["POST", "PATCH", "TRACE", "MOVE", "COPY", "PROPFIND", "MKCOL"] {
        let lines = [AUTHORIZED, "X-HTTP-Method-Override: DELETE", "Destination: /dbt/moved"];
        let reply = server.send(method, "/dbt/latest", &lines, b"");
        reply.is_refused(405, "method-not-allowed");
        assert_eq!(reply.header("allow"), Some("GET, HEAD, PUT, DELETE, OPTIONS"));
    }
    let options = server.send("OPTIONS", "/dbt/latest", &[], b"");
    assert_eq!(
        (options.status, options.header("allow")),
        (204, Some("GET, HEAD, PUT, DELETE, OPTIONS"))
    );
    let all = server.send("OPTIONS", "*", &[], b"");
    assert_eq!(all.header("allow"), Some("GET, HEAD, PUT, DELETE, OPTIONS"));
    let health = server.send("OPTIONS", "/healthz", &[], b"");
    assert_eq!(health.header("allow"), Some("GET, HEAD, OPTIONS"));
    is_unharmed(&server, "methods");
}

#[test]
fn nothing_can_be_put_where_the_name_of_signed_things_would_become_a_directory() {
    let server = Server::with_roles();
    let as_admin =
        |method: &str, path: &str, body: &[u8]| server.send(method, path, &[AS_ADMIN], body);
    for path in [
        "/dbt/truststore/x",
        "/dbt/truststore/1.0.0/linux/amd64/x",
        "/dbt/truststore.manifest.json/x",
        "/dbt/truststore.manifest.1.json.asc/x",
        "/dbt/withdrawn.json/x",
        "/dbt-tools/x/withdrawn.json/x",
        "/dbt-tools/x/withdrawn.json.asc/a/b",
    ] {
        server.put(path, b"x").is_refused(400, "bad-path");
        as_admin("PUT", path, b"x").is_refused(400, "bad-path");
    }
    assert_eq!(server.tree(), [""; 0]);
    assert_eq!(server.put("/dbt-tools/truststore/readme", b"x").status, 201, "a tool's name");

    // Who has such a directory from before can be rid of it without the host.
    server.put_on_disk("dbt/truststore/x", b"x");
    server.delete("/dbt/truststore/").is_refused(403, "forbidden");
    as_admin("DELETE", "/dbt/truststore", b"").is_refused(403, "forbidden");
    assert_eq!(as_admin("DELETE", "/dbt/truststore/", b"").status, 204);
    assert_eq!(as_admin("PUT", "/dbt/truststore", b"keys").status, 201);
    assert_eq!(as_admin("DELETE", "/dbt/truststore/", b"").status, 404);
    assert!(server.root().join("dbt/truststore").is_file());
}

#[test]
fn a_name_that_differs_only_in_case_is_refused_where_that_is_configured() {
    let x = "/dbt-tools/Tool/1.0.0/linux/amd64/Tool";
    let variants = [
        "/dbt-tools/tool/1.0.0/linux/amd64/tool",
        "/dbt-tools/TOOL/2.0.0/linux/amd64/TOOL",
        "/dbt-tools/tool/readme",
        "/dbt/Latest",
        "/dbt/scripts/INSTALL.sh",
        "/dbt/Scripts/other.sh",
    ];
    let begun = |members: &str| {
        let server = Server::with(&format!("{}{members}", crate::world::WRITABLE));
        server.put_on_disk(&x[1..], b"binary");
        assert_eq!(server.put("/dbt/latest", b"1").status, 201);
        assert_eq!(server.put("/dbt/scripts/install.sh", b"1").status, 201);
        server
    };
    let server = begun("");
    for path in variants {
        assert_eq!(server.put(path, b"x").status, 201, "{path}");
    }
    let server = begun(r#", "refuseCaseVariants": true"#);
    let before = server.tree();
    for path in variants {
        server.put(path, b"x").is_refused(409, "case-conflict");
    }
    assert_eq!(server.tree(), before);
    assert!(server.drafts().is_empty() && server.unfinished().is_empty());
    // What is there can be written on.
    assert_eq!(server.put("/dbt/latest", b"2").status, 200);
    assert_eq!(server.put("/dbt/scripts/other.sh", b"2").status, 201);
    assert_eq!(server.put(&format!("{x}.asc"), b"sig").status, 201);

    // Of two that begin together, the one that is whole first stays.
    let publish_all_but_one = |tool: &str| {
        let path = format!("/dbt-tools/{tool}/1.0.0/linux/amd64/{tool}");
        assert_eq!(server.put(&path, b"binary").status, 201);
        assert_eq!(server.put(&format!("{path}.asc"), b"sig").status, 201);
        format!("{path}.sha256")
    };
    let (first, second) = (publish_all_but_one("new"), publish_all_but_one("New"));
    let sum = sha256(b"binary");
    assert_eq!(server.put(&first, sum.as_bytes()).json()["published"], true);
    server.put(&second, sum.as_bytes()).is_refused(409, "case-conflict");
    assert!(!server.root().join("dbt-tools/New").exists());
    // Neither can one come back from the trash.
    assert_eq!(server.delete("/dbt/scripts").status, 204);
    assert_eq!(server.put("/dbt/Scripts", b"x").status, 201);
    let trash = server.send("GET", "/-/api/v1/trash", &[AUTHORIZED], b"").json();
    let id = trash["deleted"][0]["id"].as_str().unwrap().to_owned();
    let restore = format!("/-/api/v1/trash/{id}/restore");
    server.send("POST", &restore, &[AUTHORIZED], b"").is_refused(409, "case-conflict");
    assert!(!server.root().join("dbt/scripts").exists());
}

#[test]
fn of_many_that_make_a_name_at_once_in_two_spellings_one_spelling_is_made() {
    let members = format!(r#"{}, "refuseCaseVariants": true"#, crate::world::WRITABLE);
    let server = Server::with(&members);
    let sum = sha256(b"binary");
    for round in 0..6_u32 {
        let put = |spelling: &str| {
            let tool = format!("{spelling}{round}");
            let artifact = format!("/dbt-tools/{tool}/1.0.0/linux/amd64/{tool}");
            let files = [
                (format!("/dbt/{tool}/file-{tool}"), "x"),
                (artifact.clone(), "binary"),
                (format!("{artifact}.asc"), "sig"),
                (format!("{artifact}.sha256"), sum.as_str()),
            ];
            files.map(|(path, bytes)| server.put(&path, bytes.as_bytes()).status)
        };
        let statuses: Vec<[u16; 4]> = std::thread::scope(|scope| {
            let workers = ["name", "Name", "NAME", "namE"].map(|it| scope.spawn(|| put(it)));
            workers.into_iter().map(|worker| worker.join().unwrap()).collect()
        });
        let known = |status: &u16| matches!(status, 200 | 201 | 409);
        assert!(statuses.iter().flatten().all(known), "{statuses:?}");
        for directory in ["dbt", "dbt-tools"] {
            let entries = std::fs::read_dir(server.root().join(directory)).unwrap();
            let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
            let made: Vec<String> =
                names.filter(|name| name.ends_with(&round.to_string())).collect();
            assert_eq!(made.len(), 1, "{directory}: {made:?} {statuses:?}");
        }
    }
}
