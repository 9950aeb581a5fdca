//! Large files: the server holds a few buffers of them, whatever their size.

use std::io::{Read as _, Write as _};

use crate::world::{AUTHORIZED, Place, Reply, Server, WRITABLE};

/// What one transfer may cost beside the program itself.
const MEMORY: u64 = 32 * 1024 * 1024;

/// Sends so many zeros.
fn upload(server: &Server, path: &str, size: u64) -> Reply {
    let mut stream = server.connect_patiently();
    let head =
        format!("PUT {path} HTTP/1.1\r\nHost: t\r\n{AUTHORIZED}\r\nContent-Length: {size}\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    let zeros = vec![0; 1024 * 1024];
    let mut left = size;
    while left > 0 {
        let count = usize::try_from(left.min(zeros.len() as u64)).unwrap();
        stream.write_all(&zeros[..count]).unwrap();
        left -= count as u64;
    }
    Reply::read(&mut stream, false)
}

/// Reads a file and returns how many bytes it has.
fn download(server: &Server, path: &str) -> u64 {
    let mut stream = server.connect_patiently();
    let head = format!("GET {path} HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    let mut buffer = vec![0; 1024 * 1024];
    let mut read = 0;
    loop {
        let count = stream.read(&mut buffer).unwrap();
        if count == 0 {
            return read;
        }
        read += count as u64;
    }
}

pub(crate) fn costs_little(size: u64, members: &str) {
    let server = Server::on(Place::new(), &format!("{WRITABLE}{members}"));
    server.put_on_disk("dbt/sparse", b"");
    let sparse = std::fs::OpenOptions::new().write(true).open(server.root().join("dbt/sparse"));
    sparse.unwrap().set_len(size).unwrap();
    let before = server.peak_memory();

    let read = download(&server, "/dbt/sparse");
    assert!(read > size && read < size + 2000, "{read}");
    let grown = server.peak_memory() - before;
    assert!(grown < MEMORY, "{grown} bytes for a download of {size}");

    let reply = upload(&server, "/dbt/zeros", size);
    assert_eq!((reply.status, &reply.json()["size"]), (201, &size.into()));
    let grown = server.peak_memory() - before;
    assert!(grown < MEMORY, "{grown} bytes for an upload of {size}");
    assert_eq!(std::fs::metadata(server.root().join("dbt/zeros")).unwrap().len(), size);
}

#[test]
fn two_gibibytes_up_and_down_cost_a_few_buffers() {
    costs_little(2 << 30, "");
}
