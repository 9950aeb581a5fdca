//! What an upload costs does not depend on how much lies below the path with a quota.

use crate::world::{Place, Server, WRITABLE};

/// How many versions lie there already; each is four directories.
const VERSIONS: u32 = 500;

/// How often the server looks at its tree by itself meanwhile, at most, in reads of directories.
const OTHERS: usize = 10;

/// Returns how many reads of directories there are while an artifact is uploaded.
fn reads_of_directories(versions: u32) -> usize {
    let place = Place::new();
    for version in 0..versions {
        place.put_on_disk(&format!("dbt-tools/x/{version}.0.0/linux/amd64/x"), b"x");
    }
    let server = Server::on(
        place,
        &format!(
            r#"{WRITABLE}, "listen": {{"metrics": "127.0.0.1:0"}},
            "limits": {{"quotas": [{{"path": "/dbt-tools", "bytes": 1000000}}]}}"#
        ),
    );
    let stored = versions.to_string();
    server.eventually("counted", |server| {
        server.metric("reposerver_files_stored").as_ref() == Some(&stored)
    });
    let calls = server.outside().join("calls");
    let mut tracer = server.trace("getdents64,fsync", &calls, &[]);
    assert_eq!(server.put("/dbt-tools/x/1000.0.0/linux/amd64/x", b"new").status, 201);
    let place = server.kill();
    tracer.wait().unwrap();
    let calls = std::fs::read_to_string(place.beside("calls")).unwrap();
    assert!(calls.contains("fsync("), "nothing was traced: {calls}");
    calls.lines().filter(|line| line.contains("getdents64(")).count()
}

#[test]
fn an_upload_reads_no_more_directories_where_thousands_are() {
    let (few, many) = (reads_of_directories(1), reads_of_directories(VERSIONS));
    assert!(many <= few + OTHERS, "{few} reads of directories, and {many}");
}
