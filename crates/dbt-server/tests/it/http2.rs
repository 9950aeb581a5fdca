//! HTTP/2 by hand: what its frames allow to ask of a server with little effort. Whatever it does
//! about the attacker, it goes on serving others, in bounded memory.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use crate::world::Server;

const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;
pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

/// `GET http /` for the authority `t`, in the compression of headers.
pub(crate) const GET_ROOT: &[u8] = &[0x82, 0x86, 0x84, 0x41, 0x01, b't'];

/// More memory than any of this may cost.
const MEMORY: u64 = 64 * 1024 * 1024;

/// Returns one frame.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut bytes = vec![length[1], length[2], length[3], kind, flags];
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// Opens a connection with these settings.
pub(crate) fn connect(server: &Server, settings: &[(u16, u32)]) -> TcpStream {
    try_to_connect(server, settings).unwrap()
}

/// The same with a server that may turn it away.
fn try_to_connect(server: &Server, settings: &[(u16, u32)]) -> std::io::Result<TcpStream> {
    let mut payload = Vec::new();
    for (id, value) in settings {
        payload.extend(id.to_be_bytes());
        payload.extend(value.to_be_bytes());
    }
    let mut stream = server.connect();
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")?;
    stream.write_all(&frame(SETTINGS, 0, 0, &payload))?;
    Ok(stream)
}

/// Returns the frame that asks for a path.
pub(crate) fn get(stream: u32, path: &[u8]) -> Vec<u8> {
    let mut block = vec![0x82, 0x86, 0x04, u8::try_from(path.len()).unwrap()];
    block.extend(path);
    block.extend([0x41, 0x01, b't']);
    frame(HEADERS, END_HEADERS | END_STREAM, stream, &block)
}

/// Reads one frame, and returns its kind and how long it is.
fn read_frame(stream: &mut TcpStream) -> (u8, usize) {
    let (kind, _flags, payload) = next_frame(stream).unwrap();
    (kind, payload.len())
}

/// Reads one frame: its kind, its flags, and what it carries.
pub(crate) fn next_frame(stream: &mut TcpStream) -> std::io::Result<(u8, u8, Vec<u8>)> {
    let mut head = [0; 9];
    stream.read_exact(&mut head)?;
    let [a, b, c, kind, flags, ..] = head;
    let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
    stream.read_exact(&mut payload)?;
    Ok((kind, flags, payload))
}

/// Sends frames until the server has had enough of them or there are no more; returns how many
/// bytes it took.
fn send(stream: &mut TcpStream, frames: impl Iterator<Item = Vec<u8>>) -> usize {
    // The server's own frames must be read, or it could not say what it thinks.
    let mut reading = stream.try_clone().unwrap();
    let reader = std::thread::spawn(move || {
        let mut sink = vec![0; 64 * 1024];
        while reading.read(&mut sink).is_ok_and(|count| count > 0) {}
    });
    let mut sent = 0;
    for bytes in frames {
        if stream.write_all(&bytes).is_err() {
            break;
        }
        sent += bytes.len();
    }
    let _already_closed = stream.shutdown(std::net::Shutdown::Write);
    reader.join().unwrap();
    sent
}

fn goes_on(server: &Server, before: u64) {
    assert_eq!(server.get("/healthz").text(), "ok");
    let grown = server.peak_memory().saturating_sub(before);
    assert!(grown < MEMORY, "{grown} bytes more");
}

#[test]
fn requests_that_are_taken_back_at_once_cost_nobody_anything() {
    let server = Server::start();
    let before = server.peak_memory();
    let mut stream = connect(&server, &[]);
    let requests = (0..50_000_u32).map(|number| {
        let id = 2 * number + 1;
        let mut both = frame(HEADERS, END_HEADERS | END_STREAM, id, GET_ROOT);
        both.extend(frame(RST_STREAM, 0, id, &8_u32.to_be_bytes()));
        both
    });
    send(&mut stream, requests);
    goes_on(&server, before);
}

#[test]
fn headers_that_never_end_are_cut_off() {
    let server = Server::start();
    let before = server.peak_memory();
    let mut stream = connect(&server, &[]);
    // A literal header without a name in the table, over and over.
    let filler: Vec<u8> = [0x00, 0x01, b'a', 0x01, b'b'].repeat(3000);
    let first = std::iter::once(frame(HEADERS, END_STREAM, 1, GET_ROOT));
    let flood = std::iter::repeat_with(|| frame(CONTINUATION, 0, 1, &filler)).take(20_000);
    let sent = send(&mut stream, first.chain(flood));
    assert!(sent < 200 * 1024 * 1024, "all of {sent} bytes were taken");
    goes_on(&server, before);
}

#[test]
fn headers_that_grow_when_they_are_unpacked_are_refused() {
    let server = Server::start();
    let before = server.peak_memory();
    let mut stream = connect(&server, &[]);
    let bombs = (0..200_u32).map(|number| {
        let mut block = GET_ROOT.to_vec();
        // A header of almost 4 KiB enters the table, and is then named 10,000 times.
        block.extend([0x40, 0x01, b'x', 0x7f, 0x81, 0x1e]);
        block.extend([b'y'; 4000]);
        block.extend([0xbe; 10_000]);
        frame(HEADERS, END_HEADERS | END_STREAM, 2 * number + 1, &block)
    });
    send(&mut stream, bombs);
    goes_on(&server, before);
}

/// How many connections have as many answers as one may have.
const CONNECTIONS: u32 = 20;
const STREAMS: u32 = 100;

/// What all answers together may hold that their clients do not take, and each of them besides:
/// what was read of the file, and what is known of the request.
const TOGETHER: u64 = 64 * 1024 * 1024;
const EACH: u64 = 64 * 1024;

#[test]
fn a_client_that_takes_a_byte_at_a_time_holds_little() {
    let server = Server::with(r#""listen": {"metrics": "127.0.0.1:0"}"#);
    server.put_on_disk("index", &vec![7; 8 * 1024 * 1024]);
    assert_eq!(server.get("/index").status, 200);
    let before = server.peak_memory();
    for window in [1, 0] {
        let mut streams = Vec::new();
        for _ in 0..CONNECTIONS {
            // SETTINGS_INITIAL_WINDOW_SIZE: so many bytes of each answer may be sent.
            let mut stream = connect(&server, &[(4, window)]);
            for number in 0..STREAMS {
                stream.write_all(&get(2 * number + 1, b"/index")).unwrap();
            }
            streams.push(stream);
        }
        for stream in &mut streams {
            let mut begun = 0;
            while begun < STREAMS {
                let (kind, length) = read_frame(stream);
                // The heads of all answers come, and a byte of each.
                begun += u32::from(kind == if window == 0 { HEADERS } else { DATA });
                assert!(kind != DATA || length == 1, "{length} bytes");
            }
        }
        assert_eq!(server.get("/healthz").text(), "ok");
        let grown = server.peak_memory().saturating_sub(before);
        let answers = u64::from(CONNECTIONS * STREAMS);
        assert!(
            grown < TOGETHER + answers * EACH,
            "{} bytes for each of {answers} answers",
            grown / answers
        );
        drop(streams);
        wait_until_nobody_is_there(&server);
    }
}

/// Waits until connections that their clients have left count no longer.
fn wait_until_nobody_is_there(server: &Server) {
    server.eventually("nobody there", |server| {
        server.metric("reposerver_connections").as_deref() == Some("0")
    });
}

/// Each answer under way may hold a file open: so many connections with so many answers would have
/// every descriptor there is.
#[test]
fn answers_beside_others_count_like_connections() {
    const ROOM: u32 = 5;
    let server = Server::with(&format!(
        r#""limits": {{"maxConnectionsPerClient": {ROOM}}}, "listen": {{"metrics": "127.0.0.1:0"}}"#
    ));
    server.put_on_disk("index", &vec![7; 1024 * 1024]);
    assert_eq!(server.get("/index").status, 200);
    wait_until_nobody_is_there(&server);
    let turned_away = r#"reposerver_turned_away_total{reason="answers"}"#;
    // Nothing of a body may be sent, so that whatever is answered with a file stays under way.
    let mut stream = connect(&server, &[(4, 0)]);
    for number in 0..ROOM + 3 {
        stream.write_all(&get(2 * number + 1, b"/index")).unwrap();
    }
    let mut begun = 0;
    while begun < ROOM + 3 {
        begun += u32::from(next_frame(&mut stream).unwrap().0 == HEADERS);
    }
    // One of them goes with the connection itself.
    assert_eq!(server.metric(turned_away).as_deref(), Some("3"));
    drop(stream);
    server.eventually("room again", |server| {
        // Until the first connection is gone, this one may be turned away.
        let Ok(mut stream) = try_to_connect(server, &[(4, 0)]) else { return false };
        let before = server.metric(turned_away);
        let mut begun = 0;
        for number in 0..ROOM {
            let _perhaps = stream.write_all(&get(2 * number + 1, b"/index"));
        }
        while begun < ROOM {
            let Ok((kind, ..)) = next_frame(&mut stream) else { return false };
            begun += u32::from(kind == HEADERS);
        }
        server.metric(turned_away) == before
    });
}
