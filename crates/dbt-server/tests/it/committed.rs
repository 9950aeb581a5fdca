//! How many committed uploads are remembered, so that a commit whose answer was lost can be repeated.

use crate::resume::{append, begin, commit};
use crate::world::{Server, WRITABLE, sha256};

/// What the server remembers, as `limits::COMMITTED_UPLOADS` has it.
const REMEMBERED: usize = dbt_server::limits::COMMITTED_UPLOADS;

const PATH: &str = "/dbt/whole";

#[test]
fn of_so_many_committed_uploads_the_one_that_was_begun_first_is_forgotten() {
    let server = Server::start();
    let right = sha256(b"bytes");
    let again = |server: &Server, upload: &str| commit(server, upload, &[], PATH, &right);
    let upload = |server: &Server| {
        let upload = begin(server);
        assert_eq!(append(server, &upload, 0, b"bytes").status, 204);
        let reply = again(server, &upload);
        assert!(matches!(reply.status, 200 | 201), "{reply:?}");
        upload
    };
    let first = upload(&server);
    let place = server.stop();
    let directory = ".reposerver/committed";
    let about = std::fs::read(place.root().join(format!("{directory}{first}"))).unwrap();
    // As if all of these had been committed before; ids sort by when they were made.
    let earlier = |number: usize| format!("/{number:026}");
    for number in 0..REMEMBERED - 1 {
        place.put_on_disk(&format!("{directory}{}", earlier(number)), &about);
    }

    let server = Server::on(place, WRITABLE);
    let kept = || std::fs::read_dir(server.root().join(directory)).unwrap().count();
    assert_eq!((kept(), again(&server, &earlier(0)).status), (REMEMBERED, 200));
    let second = upload(&server);
    assert_eq!(kept(), REMEMBERED);
    again(&server, &earlier(0)).is_refused(404, "not-found");
    for known in [&earlier(1), &earlier(REMEMBERED - 2), &first, &second] {
        assert_eq!(again(&server, known).status, 200, "{known}");
    }
    let third = upload(&server);
    again(&server, &earlier(1)).is_refused(404, "not-found");
    for known in [&earlier(2), &first, &second, &third] {
        assert_eq!(again(&server, known).status, 200, "{known}");
    }
    assert_eq!((kept(), server.get(PATH).text()), (REMEMBERED, "bytes".to_owned()));
}
