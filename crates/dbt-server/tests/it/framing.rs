//! Where a request ends: what two programs could read differently, and what is not HTTP at all.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};

use crate::world::{AUTHORIZED, Reply, Server};

/// Sends bytes and reads everything until the server closes the connection.
fn all_answers(server: &Server, bytes: &str) -> String {
    let mut stream = server.connect();
    // It may answer and close before it has read everything.
    let _cut = stream.write_all(bytes.replace("AUTH", AUTHORIZED).as_bytes());
    to_end(&mut stream)
}

fn to_end(stream: &mut TcpStream) -> String {
    let mut all = Vec::new();
    if let Err(error) = stream.read_to_end(&mut all) {
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "never closed");
    }
    String::from_utf8(all).unwrap()
}

/// Returns the statuses of some answers.
fn statuses(answers: &str) -> Vec<&str> {
    let lines = answers.split("HTTP/1.1 ").skip(1);
    lines.map(|answer| answer.split(' ').next().unwrap()).collect()
}

#[test]
fn of_a_length_and_chunks_the_chunks_count_and_nothing_follows() {
    let server = Server::start();
    let smuggled = "PUT /dbt/smuggled HTTP/1.1\r\nHost: t\r\nAUTH\r\nContent-Length: 1\r\n\r\nx";
    for (number, framing) in [
        "Content-Length: 4\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 4",
        "Content-Length: 1000\r\nTransfer-Encoding: chunked",
        // Alone they cannot be told from the others.
        "Transfer-Encoding: chunked",
    ]
    .into_iter()
    .enumerate()
    {
        let path = format!("/dbt/x{number}");
        let head = format!("PUT {path} HTTP/1.1\r\nHost: t\r\nAUTH\r\n{framing}\r\n\r\n");
        let answers = all_answers(&server, &format!("{head}5\r\nhello\r\n0\r\n\r\n{smuggled}"));
        assert_eq!(statuses(&answers), ["201"], "{framing}\n{answers}");
        assert!(answers.contains("connection: close\r\n"), "{answers}");
        assert_eq!(server.get(&path).text(), "hello");
    }
    assert!(server.tree().iter().all(|it| it != "dbt/smuggled"), "{:?}", server.tree());
}

#[test]
fn what_follows_a_body_is_a_request_of_its_own_with_no_more_rights_than_it_shows() {
    let server = Server::start();
    let first = "PUT /dbt/x HTTP/1.1\r\nHost: t\r\nAUTH\r\nContent-Length: 3\r\n\r\nabc";
    let second =
        "PUT /dbt/y HTTP/1.1\r\nHost: t\r\nConnection: close\r\nContent-Length: 1\r\n\r\ny";
    for (rest, expected) in [
        (second, ["201", "401"]),
        ("defghi\r\n\r\n", ["200", "400"]),
        ("GET /dbt/x HTTP/1.1\r\nConnection: close\r\nHost: t\r\n\r\n", ["200", "200"]),
    ] {
        let answers = all_answers(&server, &format!("{first}{rest}"));
        assert_eq!(statuses(&answers), expected, "{rest}\n{answers}");
        assert_eq!(server.get("/dbt/x").text(), "abc");
        assert_eq!(server.tree(), ["dbt", "dbt/x"]);
    }
}

#[test]
fn a_body_that_ends_before_its_length_is_no_file_and_has_no_answer() {
    let server = Server::start();
    for (framing, body) in [
        ("Content-Length: 10", "abc"),
        ("Transfer-Encoding: chunked", "3\r\nabc\r\n"),
        ("Transfer-Encoding: chunked", "a\r\nabc"),
    ] {
        let mut stream = server.connect();
        let head = format!("PUT /dbt/x HTTP/1.1\r\nHost: t\r\n{AUTHORIZED}\r\n{framing}\r\n\r\n");
        stream.write_all(format!("{head}{body}").as_bytes()).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let answers = to_end(&mut stream);
        assert!(!answers.contains("201 Created"), "{framing} {body:?}: {answers}");
        server.eventually("discarded", |server| server.unfinished().is_empty());
        assert_eq!(server.tree(), [""; 0]);
    }
}

#[test]
fn what_is_not_http_is_refused_without_a_word_by_a_connection_that_ends() {
    let server = Server::start();
    let put = |framing: &str| {
        format!("PUT /dbt/x HTTP/1.1\r\nHost: t\r\nAUTH\r\n{framing}\r\n\r\n3\r\nabc\r\n0\r\n\r\n")
    };
    let many = "X: y\r\n".repeat(1000);
    let large = format!("X: {}", "y".repeat(128 * 1024));
    for (request, status) in [
        ("HELLO\r\n\r\n".to_owned(), 400),
        ("\0\x01\x02\r\n\r\n".to_owned(), 400),
        ("PUT /dbt/x HTTP/3.0\r\nHost: t\r\n\r\n".to_owned(), 400),
        ("PUT  /dbt/x HTTP/1.1\r\nHost: t\r\n\r\n".to_owned(), 400),
        ("PUT /dbt/x y HTTP/1.1\r\nHost: t\r\n\r\n".to_owned(), 400),
        (put("no colon"), 400),
        (put("Content-Length: 3\r\nContent-Length: 4"), 400),
        (put("Content-Length: -1"), 400),
        (put("Content-Length: 3, 4"), 400),
        (put("Content-Length: 0x3"), 400),
        (put("Transfer-Encoding: chunked, identity"), 400),
        (put("Transfer-Encoding : chunked"), 400),
        (put("Content-Length: 3\r\n X: folded"), 400),
        (put("Transfer-Encoding: chunked").replace("HTTP/1.1", "HTTP/1.0"), 400),
        (put(&many), 431),
        (put(&large), 431),
        (format!("PUT /{} HTTP/1.1\r\nHost: t\r\n\r\n", "x".repeat(128 * 1024)), 431),
    ] {
        let shown = request.chars().take(60).collect::<String>();
        let mut stream = server.connect();
        let _cut = stream.write_all(request.replace("AUTH", AUTHORIZED).as_bytes());
        let reply = Reply::read(&mut stream, false);
        assert_eq!(reply.status, status, "{shown:?} {reply:?}");
        assert_eq!(reply.header("content-length"), Some("0"), "{shown:?}");
        assert_eq!(reply.header("connection"), Some("close"), "{shown:?}");
        assert_eq!(reply.header("x-request-id"), None, "{shown:?}");
        assert_eq!(to_end(&mut stream), "", "{shown:?}");
        assert_eq!((server.tree(), server.unfinished()), (Vec::new(), Vec::new()), "{shown:?}");
    }
    assert_eq!(server.get("/healthz").text(), "ok");
    assert!(!server.log().contains(r#""target":"access","#), "{}", server.log());
}
