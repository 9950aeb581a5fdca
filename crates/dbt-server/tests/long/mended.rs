//! A disk that fails from one step of a publication on, whatever is tried, until it is mended: what is
//! published then is what is there, also for the next server.

use std::path::Path;

use crate::world::{Server, WRITABLE, sha256};

/// The steps by which files get their places, each kind of them counted alone. What is recorded goes
/// on.
const MOVES: [&str; 3] = ["renameat2", "renameat", "mkdirat"];

const X: &str = "/dbt-tools/x/1.0.0/linux/amd64/x";

fn files_of(bytes: &[u8]) -> [(String, Vec<u8>); 3] {
    let sum = sha256(bytes).into_bytes();
    [("", bytes.to_vec()), (".asc", b"sig".to_vec()), (".sha256", sum)]
        .map(|(ending, content)| (format!("{X}{ending}"), content))
}

/// Asks for everything in an order, and returns whether something was refused.
fn fails(server: &Server, files: &[(String, Vec<u8>)]) -> bool {
    let statuses: Vec<u16> =
        files.iter().map(|(path, bytes)| server.try_put(path, bytes)).collect();
    assert!(!statuses.contains(&0), "{statuses:?}");
    statuses.iter().any(|status| *status >= 300)
}

/// Looks whether everybody sees these files and nothing is on its way.
fn is_there(server: &Server, bytes: &[u8], what: &str) {
    for (path, content) in files_of(bytes) {
        let reply = server.get(&path);
        assert_eq!(reply.status, 200, "{what}: {path}");
        assert!(reply.body == content, "{what}: {path} has {} bytes", reply.body.len());
    }
    assert!(server.drafts().is_empty(), "{what}: {:?}", server.drafts());
}

/// Publishes while one kind of step fails from the `step`th one of a thread on, then once more on the
/// mended disk. Returns whether the first was refused.
fn story(kind: &str, step: usize) -> bool {
    let (older, newer) = (vec![1; 3000], vec![2; 2000]);
    let what = format!("{kind} from step {step} on");
    let server = Server::start();
    let inject = format!("inject={kind}:error=ENOSPC:when={step}+");
    let mut tracer = server.trace(kind, Path::new("/dev/null"), &["-e", &inject]);
    let is_refused = fails(&server, &files_of(&older));
    // It lets go of the server.
    let pid = rustix::process::Pid::from_child(&tracer);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    tracer.wait().unwrap();

    // What is there can be of the older one, to which a newer file does not belong.
    let _perhaps = fails(&server, &files_of(&newer));
    assert!(!fails(&server, &files_of(&newer)), "{what}");
    is_there(&server, &newer, &what);
    let server = Server::on(server.kill(), WRITABLE);
    is_there(&server, &newer, &format!("{what}, started again"));
    assert!(server.unfinished().is_empty(), "{what}: {:?}", server.unfinished());
    is_refused
}

#[test]
fn what_is_published_after_a_disk_was_mended_is_not_replaced_by_what_failed_before() {
    for kind in MOVES {
        let refused = (1..100).take_while(|step| story(kind, *step)).count();
        assert!((1..99).contains(&refused), "{kind}: {refused} publications failed");
    }
}
