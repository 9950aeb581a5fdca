//! A platform appears when it is whole: artifact, checksum and signature, together.

use std::os::unix::fs::MetadataExt as _;

use dbt_core::repo_path::RepoPath;
use dbt_testkit::people::{ALICE, MALLORY, just_now};

use crate::world::{Place, Server, WRITABLE, sha256};

const X: &str = "/dbt-tools/x/1.0.0/linux/amd64/x";

/// Uploads a file with the writer's token, which must succeed, and returns the answer.
fn put(server: &Server, path: &str, bytes: &[u8]) -> serde_json::Value {
    let reply = server.put(path, bytes);
    assert!((200..300).contains(&reply.status), "{path}: {reply:?}");
    reply.json()
}

/// Uploads a whole platform in the order of old publishers.
fn publish(server: &Server, artifact: &str, bytes: &[u8]) {
    put(server, artifact, bytes);
    put(server, &format!("{artifact}.asc"), b"signature");
    let last = put(server, &format!("{artifact}.sha256"), sha256(bytes).as_bytes());
    assert_eq!(last["published"], true, "{last}");
}

/// Returns the names that a listing shows to everybody.
fn listed(server: &Server, directory: &str) -> Vec<String> {
    let reply = server.get(directory);
    if reply.status == 404 {
        return Vec::new();
    }
    let listing = dbt_core::listing::Listing::parse(&reply.body, directory).unwrap();
    listing.names().map(str::to_owned).collect()
}

#[test]
fn a_platform_appears_when_its_last_file_is_there_whichever_that_is() {
    let files = [
        ("", b"binary".to_vec()),
        (".asc", b"sig".to_vec()),
        (".sha256", sha256(b"binary").into_bytes()),
    ];
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        let server = Server::start();
        put(&server, "/dbt-tools/x/1.0.0/description.txt", b"what it is for");
        for (index, file) in order.into_iter().enumerate() {
            assert_eq!(listed(&server, "/dbt-tools/"), [""; 0], "{order:?} {index}");
            assert_eq!(server.get("/dbt-tools/x/1.0.0/").status, 404, "{order:?} {index}");
            let (ending, bytes) = &files[file];
            let about = put(&server, &format!("{X}{ending}"), bytes);
            assert_eq!(about["published"], index == 2, "{order:?} {index}: {about}");
            let waits: usize = about["waitingFor"].as_array().map_or(0, Vec::len);
            assert_eq!(waits, 2 - index, "{order:?} {index}: {about}");
        }
        assert_eq!(listed(&server, "/dbt-tools/x/"), ["1.0.0"]);
        assert_eq!(listed(&server, "/dbt-tools/x/1.0.0/"), ["description.txt", "linux"]);
        for (ending, bytes) in &files {
            assert_eq!(server.get(&format!("{X}{ending}")).body, *bytes);
        }
        assert_eq!(server.drafts(), [""; 0]);
        let made = std::fs::metadata(server.root().join("dbt-tools/x/1.0.0/linux/amd64")).unwrap();
        assert_eq!(
            made.mode() & 0o555,
            0o555,
            "other servers of this tree must be able to read it"
        );
    }
}

#[test]
fn files_of_a_platform_that_is_not_whole_are_there_for_their_uploader_alone() {
    let server = Server::start();
    put(&server, X, b"binary");
    for path in [X, "/dbt-tools/x/1.0.0/", "/dbt-tools/x/1.0.0/linux/amd64/", "/dbt-tools/x/"] {
        assert_eq!(server.get(path).status, 404, "{path}");
        let wrong = server.send("GET", path, &["Authorization: Bearer wrong"], b"");
        assert_eq!(wrong.status, 404, "{path}");
        assert_eq!(server.send("HEAD", path, &[], b"").status, 404, "{path}");
    }
    let own = server.get_as_writer(X);
    assert_eq!((own.status, own.body.as_slice()), (200, b"binary".as_slice()));
    assert_eq!(own.header("cache-control"), Some("private, no-store"));
    assert_eq!(own.header("etag"), Some(format!("\"{}\"", sha256(b"binary")).as_str()));
    let listing = server.get_as_writer("/dbt-tools/x/1.0.0/linux/amd64/").text();
    assert!(listing.contains("<a href=\"x\">"), "{listing}");
    assert_eq!(server.tree(), [""; 0], "nothing of it is in the tree, whatever else serves that");
}

#[test]
fn a_version_that_is_there_stays_there_while_other_platforms_come() {
    let server = Server::start();
    publish(&server, X, b"linux");
    for path in ["darwin/arm64/x", "windows/amd64/x.exe", "linux/arm64/x"] {
        put(&server, &format!("/dbt-tools/x/1.0.0/{path}"), b"binary");
        put(&server, &format!("/dbt-tools/x/1.0.0/{path}.asc"), b"sig");
        assert_eq!(server.get(&format!("/dbt-tools/x/1.0.0/{path}")).status, 404);
        assert_eq!(server.get(X).text(), "linux");
        assert_eq!(listed(&server, "/dbt-tools/x/1.0.0/"), ["linux"]);
        assert_eq!(listed(&server, "/dbt-tools/x/1.0.0/linux/"), ["amd64"]);
    }
    let sum = sha256(b"binary");
    put(&server, "/dbt-tools/x/1.0.0/windows/amd64/x.exe.sha256", sum.as_bytes());
    assert_eq!(listed(&server, "/dbt-tools/x/1.0.0/"), ["linux", "windows"]);
    assert_eq!(server.get("/dbt-tools/x/1.0.0/windows/amd64/x.exe").text(), "binary");
}

#[test]
fn what_replaces_a_platform_is_seen_when_it_is_whole_and_not_before() {
    let server = Server::start();
    publish(&server, X, b"old");
    put(&server, X, b"new");
    put(&server, &format!("{X}.md5"), b"an old publisher's");
    put(&server, &format!("{X}.asc"), b"new signature");
    assert_eq!(server.get(X).text(), "old");
    assert_eq!(server.get(&format!("{X}.asc")).text(), "signature");
    assert_eq!(server.get(&format!("{X}.md5")).status, 404);
    assert_eq!(server.get_as_writer(X).text(), "new");
    let last = put(&server, &format!("{X}.sha256"), sha256(b"new").as_bytes());
    assert_eq!(last["published"], true);
    assert_eq!(server.get(X).text(), "new");
    assert_eq!(server.get(&format!("{X}.asc")).text(), "new signature");
    assert_eq!(server.get(&format!("{X}.md5")).text(), "an old publisher's");
    assert_eq!(server.drafts(), [""; 0]);

    // What belongs to a whole platform and leaves it whole is seen at once.
    assert_eq!(put(&server, &format!("{X}.asc"), b"newer signature")["published"], true);
    assert_eq!(server.get(&format!("{X}.asc")).text(), "newer signature");
    assert_eq!(put(&server, "/dbt-tools/x/1.0.0/description.txt", b"now")["published"], true);
}

#[test]
fn who_reads_while_a_platform_is_replaced_sees_one_publication_or_the_other() {
    let server = Server::start();
    let ended = std::sync::atomic::AtomicBool::new(false);
    let content = |round: u8| vec![round; 20_000];
    publish(&server, X, &content(0));
    let compared = std::thread::scope(|scope| {
        let readers = [(); 3].map(|()| {
            scope.spawn(|| {
                let (sum, mut compared) = (format!("{X}.sha256"), 0);
                while !ended.load(std::sync::atomic::Ordering::Relaxed) {
                    let before = server.get(&sum);
                    let artifact = server.get(X);
                    let after = server.get(&sum);
                    assert_eq!([before.status, artifact.status, after.status], [200; 3]);
                    // No content comes twice, so that nothing was replaced between the two.
                    if before.body == after.body {
                        assert_eq!(before.text(), sha256(&artifact.body));
                        compared += 1;
                    }
                    let names = listed(&server, "/dbt-tools/x/1.0.0/linux/amd64/");
                    assert_eq!(names, ["x", "x.asc", "x.sha256"]);
                }
                compared
            })
        });
        let writer =
            scope.spawn(|| (1..=40).for_each(|round| publish(&server, X, &content(round))));
        let written = writer.join();
        ended.store(true, std::sync::atomic::Ordering::Relaxed);
        written.unwrap();
        readers.map(|reader| reader.join().unwrap())
    });
    assert!(compared.iter().sum::<u32>() > 0, "{compared:?}");
}

#[test]
fn what_is_not_whole_is_in_no_list_of_the_api() {
    let server = Server::start();
    publish(&server, X, b"linux");
    put(&server, "/dbt-tools/x/1.0.0/darwin/arm64/x", b"binary");
    put(&server, "/dbt-tools/x/2.0.0/linux/amd64/x", b"binary");
    put(&server, "/dbt-tools/y/1.0.0/linux/amd64/y", b"binary");
    let (strangers, uploaders) = (Server::get as fn(&Server, &str) -> _, Server::get_as_writer);
    for get in [strangers, uploaders] {
        let tools = get(&server, "/-/api/v1/tools").json();
        assert_eq!(tools, serde_json::json!({ "tools": [{ "name": "x" }] }));
        let x = get(&server, "/-/api/v1/tools/x").json();
        let versions = x["versions"].as_array().unwrap();
        assert_eq!(versions.len(), 1, "{x}");
        assert_eq!(versions[0]["version"], "1.0.0");
        assert_eq!(versions[0]["platforms"], serde_json::json!(["linux/amd64"]));
        assert_eq!(get(&server, "/-/api/v1/tools/y").status, 404);
        let versions = get(&server, "/-/api/tools/x/versions").json();
        assert_eq!(versions.as_array().unwrap().len(), 1, "{versions}");
    }
}

#[test]
fn a_checksum_of_something_else_is_refused_and_the_platform_stays_unseen() {
    let server = Server::start();
    put(&server, X, b"binary");
    put(&server, &format!("{X}.asc"), b"sig");
    let reply = server.put(&format!("{X}.sha256"), sha256(b"other").as_bytes());
    reply.is_refused(422, "not-publishable");
    let detail = reply.json()["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains("does not match") && detail.contains(&sha256(b"other")), "{detail}");
    assert_eq!(server.get(X).status, 404);
    assert_eq!(server.tree(), [""; 0]);
    assert!(server.unfinished().is_empty());
    let right = sha256(b"binary");
    assert_eq!(put(&server, &format!("{X}.sha256"), right.as_bytes())["published"], true);
}

#[test]
fn a_checksum_that_came_before_waits_for_its_successor() {
    let server = Server::start();
    put(&server, &format!("{X}.sha256"), sha256(b"other").as_bytes());
    put(&server, &format!("{X}.asc"), b"sig");
    let about = put(&server, X, b"binary");
    assert_eq!(about["waitingFor"], serde_json::json!(["linux/amd64/x.sha256"]));
    assert_eq!(server.get(X).status, 404);
    let right = sha256(b"binary");
    assert_eq!(put(&server, &format!("{X}.sha256"), right.as_bytes())["published"], true);
}

#[test]
fn an_upload_that_was_given_up_can_be_begun_anew_with_other_bytes() {
    let server = Server::start();
    put(&server, X, b"first build");
    put(&server, &format!("{X}.sha256"), sha256(b"first build").as_bytes());
    assert_eq!(put(&server, X, b"second build")["waitingFor"][0], "linux/amd64/x.sha256");
    put(&server, &format!("{X}.asc"), b"sig");
    assert_eq!(server.get(X).status, 404);
    let last = put(&server, &format!("{X}.sha256"), sha256(b"second build").as_bytes());
    assert_eq!(last["published"], true);
    assert_eq!(server.get(X).text(), "second build");

    let server = verifying("");
    let sign = |bytes: &[u8]| ALICE.sign(bytes, Some("tool/x/1.0.0/linux/amd64"), just_now());
    put(&server, X, b"first build");
    put(&server, &format!("{X}.asc"), sign(b"first build").as_bytes());
    put(&server, X, b"second build");
    put(&server, &format!("{X}.asc"), sign(b"second build").as_bytes());
    let last = put(&server, &format!("{X}.sha256"), sha256(b"second build").as_bytes());
    assert_eq!(last["published"], true);
}

#[test]
fn what_is_sent_last_came_last_whatever_the_dates_say() {
    let server = Server::start();
    put(&server, X, b"first build");
    put(&server, &format!("{X}.sha256"), sha256(b"first build").as_bytes());
    let ahead = dbt_core::clock::Clock::System.now() + std::time::Duration::from_hours(1);
    for path in server.drafts() {
        let place = server.root().join(".reposerver/drafts").join(&path);
        if place.is_file() {
            std::fs::File::options().write(true).open(place).unwrap().set_modified(ahead).unwrap();
        }
    }
    assert_eq!(put(&server, X, b"second build")["waitingFor"][0], "linux/amd64/x.sha256");
    let other = server.put(&format!("{X}.sha256"), sha256(b"other").as_bytes());
    other.is_refused(422, "not-publishable");
    put(&server, &format!("{X}.sha256"), sha256(b"second build").as_bytes());
    assert_eq!(put(&server, &format!("{X}.asc"), b"sig")["published"], true);
    assert_eq!(server.get(X).text(), "second build");
}

#[test]
fn a_file_that_holds_no_checksum_is_refused() {
    let server = Server::start();
    put(&server, X, b"binary");
    put(&server, &format!("{X}.asc"), b"sig");
    let reply = server.put(&format!("{X}.sha256"), b"<html>not a checksum</html>");
    reply.is_refused(422, "not-publishable");
    assert_eq!(server.tree(), [""; 0]);
}

#[test]
fn trees_that_were_filled_before_are_served_as_they_are() {
    let server = Server::start();
    // No signature; a checksum of something else; a lone artifact.
    server.put_on_disk("dbt-tools/a/1.0.0/linux/amd64/a", b"a");
    server.put_on_disk("dbt-tools/a/1.0.0/linux/amd64/a.sha256", sha256(b"other").as_bytes());
    server.put_on_disk("dbt-tools/b/1.0.0/linux/amd64/b", b"b");
    assert_eq!(listed(&server, "/dbt-tools/"), ["a", "b"]);
    assert_eq!(server.get("/dbt-tools/a/1.0.0/linux/amd64/a").text(), "a");
    assert_eq!(server.get("/dbt-tools/b/1.0.0/linux/amd64/b").text(), "b");
    // They can be completed; what is there stays there meanwhile.
    let b = "/dbt-tools/b/1.0.0/linux/amd64/b";
    assert_eq!(put(&server, &format!("{b}.sha256"), sha256(b"b").as_bytes())["published"], false);
    assert_eq!(server.get(b).text(), "b");
    assert_eq!(put(&server, &format!("{b}.asc"), b"sig")["published"], true);
    assert_eq!(server.get(&format!("{b}.sha256")).text(), sha256(b"b"));
}

#[test]
fn what_was_uploaded_survives_a_restart_and_belongs_to_the_same_uploader() {
    let server = Server::start();
    put(&server, X, b"binary");
    put(&server, &format!("{X}.asc"), b"sig");
    let server = Server::on(server.kill(), WRITABLE);
    assert_eq!(server.get(X).status, 404);
    assert_eq!(server.get_as_writer(X).text(), "binary");
    let last = put(&server, &format!("{X}.sha256"), sha256(b"binary").as_bytes());
    assert_eq!(last["published"], true);
    assert_eq!(server.get(X).text(), "binary");
}

#[test]
fn an_unfinished_version_is_gone_after_a_day() {
    let server = Server::start();
    put(&server, X, b"binary");
    put(&server, "/dbt-tools/y/1.0.0/linux/amd64/y", b"binary");
    let place = server.kill();
    let about = |path: &str| {
        let key = &sha256(path.as_bytes())[..32];
        place.root().join(format!(".reposerver/drafts/{key}/about.json"))
    };
    let file = std::fs::File::options().write(true).open(about("dbt-tools/x/1.0.0")).unwrap();
    let day = std::time::Duration::from_secs(24 * 60 * 60 + 1);
    file.set_modified(dbt_core::clock::Clock::System.now() - day).unwrap();
    assert!(about("dbt-tools/y/1.0.0").exists());
    let server = Server::on(place, WRITABLE);
    server.eventually("expired", |server| server.drafts().iter().all(|path| !path.ends_with("/x")));
    assert_eq!(server.get_as_writer(X).status, 404);
    assert_eq!(server.get_as_writer("/dbt-tools/y/1.0.0/linux/amd64/y").status, 200);
}

#[test]
fn an_unfinished_upload_can_be_deleted_and_begun_again() {
    let server = Server::with(&format!(r#"{WRITABLE}, "immutable": true"#));
    put(&server, X, b"wrong");
    server.put(X, b"right").is_refused(409, "immutable-conflict");
    assert_eq!(server.delete("/dbt-tools/x/1.0.0").status, 204);
    assert_eq!(server.get_as_writer(X).status, 404);
    publish(&server, X, b"right");
    put(&server, "/dbt-tools/x/1.0.0/darwin/arm64/x", b"wrong");
    assert_eq!(server.delete("/dbt-tools/x/1.0.0/darwin/arm64/x").status, 204);
    assert_eq!(server.drafts(), [""; 0]);
    assert_eq!(server.get(X).text(), "right");
}

/// What a program that was killed while it published can have left, and what the next one makes
/// of it.
#[test]
fn whatever_a_kill_left_of_a_publication_is_completed_or_taken_back() {
    let files = [
        ("x", b"binary".to_vec()),
        ("x.asc", b"sig".to_vec()),
        ("x.sha256", sha256(b"binary").into_bytes()),
    ];
    let key = sha256(b"dbt-tools/x/1.0.0")[..32].to_owned();
    let about = br#"{"version":"dbt-tools/x/1.0.0","owner":"static-token:static-token"}"#;
    let platform = "dbt-tools/x/1.0.0/linux/amd64";
    let begun = |where_: &str| {
        let place = Place::new();
        place.put_on_disk(&format!(".reposerver/drafts/{key}/about.json"), about);
        for (name, bytes) in &files {
            place.put_on_disk(&format!("{where_}/{name}"), bytes);
        }
        Server::on(place, WRITABLE)
    };

    let server = begun(&format!(".reposerver/publishing/01-{key}.incomplete/{platform}"));
    assert_eq!(server.tree(), [""; 0], "the moment of publication had not come");
    assert_eq!(server.get_as_writer(X).text(), "binary");
    assert_eq!(put(&server, X, b"binary")["published"], true, "sent again, it is published");
    assert_eq!(server.get(X).text(), "binary");

    let server = begun(&format!(".reposerver/publishing/01-{key}/{platform}"));
    assert_eq!(server.get(X).text(), "binary", "the moment of publication had come");
    assert_eq!(server.drafts(), [""; 0]);
    assert!(!server.root().join(format!(".reposerver/publishing/01-{key}")).exists());
}

/// A server with Alice's truststore.
fn verifying(members: &str) -> Server {
    let server = Server::with(&format!("{WRITABLE}{members}"));
    server.put_on_disk("dbt/truststore", ALICE.certificate().as_bytes());
    server
}

#[test]
fn with_a_truststore_only_what_it_vouches_for_is_published() {
    let server = verifying("");
    let sign = |signer: &dbt_testkit::people::Person, binding: &str| {
        signer.sign(b"binary", Some(binding), just_now()).into_bytes()
    };
    let right = "tool/x/1.0.0/linux/amd64";
    for (why, signature, words) in [
        ("no signature", b"nonsense".to_vec(), "failed to read the signature"),
        ("a stranger's", sign(&MALLORY, right), "no signature of"),
        ("of something else", sign(&ALICE, "tool/y/1.0.0/linux/amd64"), "was made for"),
        (
            "of other bytes",
            ALICE.sign(b"other", Some(right), just_now()).into_bytes(),
            "no signature of",
        ),
    ] {
        put(&server, X, b"binary");
        put(&server, &format!("{X}.sha256"), sha256(b"binary").as_bytes());
        let reply = server.put(&format!("{X}.asc"), &signature);
        reply.is_refused(422, "not-publishable");
        let detail = reply.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains(words), "{why}: {detail}");
        assert_eq!(server.get(X).status, 404, "{why}");
        assert_eq!(server.tree(), ["dbt", "dbt/truststore"], "{why}");
    }
    assert_eq!(put(&server, &format!("{X}.asc"), &sign(&ALICE, right))["published"], true);
    assert_eq!(server.get(X).text(), "binary");

    // A signature that does not count cannot take the place of one that does.
    server.put(&format!("{X}.asc"), &sign(&MALLORY, right)).is_refused(422, "not-publishable");
    assert_eq!(server.get(&format!("{X}.asc")).body, sign(&ALICE, right));
    // Neither can other bytes, signed by nobody.
    put(&server, X, b"evil");
    put(&server, &format!("{X}.sha256"), sha256(b"evil").as_bytes());
    assert_eq!(server.get(X).text(), "binary");
}

#[test]
fn verification_is_switched_off_and_on_by_the_word() {
    let server = verifying(r#", "verifyUploads": "off""#);
    publish(&server, X, b"unsigned");
    assert_eq!(server.get(X).text(), "unsigned");

    let server = Server::with(&format!(r#"{WRITABLE}, "verifyUploads": true"#));
    let reply = server.put(X, b"binary");
    reply.is_refused(422, "not-publishable");
    assert!(reply.text().contains("no usable truststore"), "{}", reply.text());
    server.put_on_disk("dbt/truststore", b"<html>not a truststore</html>");
    server.put(X, b"binary").is_refused(422, "not-publishable");
    assert_eq!(server.tree(), ["dbt", "dbt/truststore"]);
}

#[test]
fn a_truststore_that_cannot_be_used_lets_nothing_pass_unverified() {
    type Prepare = fn(&Server);
    let broken: [(&str, Prepare); 5] = [
        ("no certificates", |server| {
            server.put_on_disk("dbt/truststore", b"<html>not a truststore</html>");
        }),
        ("empty", |server| server.put_on_disk("dbt/truststore", b"")),
        ("only revoked ones", |server| {
            server.put_on_disk("dbt/truststore", ALICE.revoked().as_bytes());
        }),
        ("a directory", |server| {
            std::fs::create_dir_all(server.root().join("dbt/truststore")).unwrap();
        }),
        ("a link", |server| {
            server.put_on_disk("dbt/elsewhere", ALICE.certificate().as_bytes());
            let link = server.root().join("dbt/truststore");
            std::os::unix::fs::symlink("elsewhere", link).unwrap();
        }),
    ];
    for (what, prepare) in broken {
        let server = Server::start();
        prepare(&server);
        put_unverified(&server, what);
        let off = Server::with(&format!(r#"{WRITABLE}, "verifyUploads": "off""#));
        prepare(&off);
        publish(&off, X, b"unsigned");
    }
}

/// Uploads a platform that is signed by nobody, of which nothing may be published.
fn put_unverified(server: &Server, what: &str) {
    let files = [
        (X.to_owned(), b"binary".to_vec()),
        (format!("{X}.sha256"), sha256(b"binary").into_bytes()),
        (format!("{X}.asc"), b"sig".to_vec()),
    ];
    let replies = files.map(|(path, bytes)| server.put(&path, &bytes));
    let last = &replies[2];
    last.is_refused(422, "not-publishable");
    let detail = last.json()["detail"].as_str().unwrap().to_owned();
    assert!(
        detail.contains("truststore") && detail.contains("`verifyUploads`"),
        "{what}: {detail}"
    );
    assert_eq!(server.get(X).status, 404, "{what}");
    assert!(!server.tree().contains(&X[1..].to_owned()), "{what}");
}

#[test]
fn dbt_itself_is_published_by_the_same_rules() {
    let server = verifying("");
    let dbt = "/dbt/4.0.0/linux/amd64/dbt";
    let signature = ALICE.sign(b"binary", Some("self/dbt/4.0.0/linux/amd64"), just_now());
    put(&server, dbt, b"binary");
    put(&server, &format!("{dbt}.asc"), signature.as_bytes());
    assert_eq!(listed(&server, "/dbt/"), ["truststore"]);
    put(&server, &format!("{dbt}.sha256"), sha256(b"binary").as_bytes());
    assert_eq!(listed(&server, "/dbt/"), ["4.0.0", "truststore"]);
    let path: RepoPath = dbt[1..].parse().unwrap();
    assert!(server.root().join(path.as_str()).exists());
}

#[test]
fn a_kill_after_a_platform_was_exchanged_does_not_bring_the_old_one_back() {
    let key = sha256(b"dbt-tools/x/1.0.0")[..32].to_owned();
    let platform = "dbt-tools/x/1.0.0/linux/amd64";
    let publishing = format!(".reposerver/publishing/01-{key}/{platform}");
    let place = Place::new();
    let whole = |directory: &str, bytes: &[u8]| {
        place.put_on_disk(&format!("{directory}/x"), bytes);
        place.put_on_disk(&format!("{directory}/x.asc"), b"sig");
        place.put_on_disk(&format!("{directory}/x.sha256"), sha256(bytes).as_bytes());
    };
    whole(platform, b"new");
    whole(&publishing, b"old");
    place.put_on_disk(&format!("{platform}/.reposerver-01-{key}"), b"");
    let server = Server::on(place, WRITABLE);
    assert_eq!(server.get(X).text(), "new");
    assert_eq!(server.get(&format!("{X}.sha256")).text(), sha256(b"new"));
    assert!(server.tree().iter().all(|path| !path.contains(".reposerver-")), "{:?}", server.tree());

    // A mark of another publication means nothing to this one.
    server.put_on_disk(&format!("{platform}/.reposerver-02-other"), b"");
    publish(&server, X, b"newest");
    assert_eq!(server.get(X).text(), "newest");
    assert!(server.tree().iter().all(|path| !path.contains(".reposerver-")), "{:?}", server.tree());
}

#[test]
fn whoever_uploads_finds_what_was_taken_at_every_moment_until_all_is_published() {
    use std::sync::atomic::{AtomicU32, Ordering};
    const LAST: u32 = 80;
    let server = Server::start();
    let artifact = |number: u32| format!("/dbt-tools/x/1.0.{number}/linux/amd64/x");
    // The newest version whose artifact was taken; the server is told the rest meanwhile.
    let taken = AtomicU32::new(0);
    put(&server, &artifact(0), b"binary");
    let looked = std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut looked = 0;
            while taken.load(Ordering::Relaxed) < LAST {
                let there = artifact(taken.load(Ordering::Relaxed));
                let reply = server.get_as_writer(&there);
                assert_eq!(reply.status, 200, "{there} is away for a moment");
                looked += 1;
            }
            looked
        });
        for number in 0..LAST {
            let there = artifact(number);
            put(&server, &format!("{there}.asc"), b"signature");
            let last = put(&server, &format!("{there}.sha256"), sha256(b"binary").as_bytes());
            assert_eq!(last["published"], true, "{last}");
            put(&server, &artifact(number + 1), b"binary");
            taken.store(number + 1, Ordering::Relaxed);
        }
        reader.join().unwrap()
    });
    assert!(looked > 0, "nobody looked");
}
