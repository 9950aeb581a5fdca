//! What dbt is measured against, where nothing existing fits: it does one thing and checks nothing
//! else.
//!
//! * `get HOST:PORT PATH [ETAG]`: one request on a new connection.
//!
//! With `--ca FILE` before that, connections are secure.

use std::net::{IpAddr, TcpStream};
use std::path::Path;

use dbt_bench::Fault;
use dbt_bench::authority::{self, Stream};
use dbt_bench::http::Connection;

fn main() -> Result<(), Fault> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let (authority, words) = match words.as_slice() {
        ["--ca", file, rest @ ..] => (Some(Path::new(file)), rest),
        rest => (None, rest),
    };
    match words {
        ["get", server, path] => get(authority, server, path, ""),
        ["get", server, path, etag] => {
            get(authority, server, path, &format!("If-None-Match: {etag}\r\n"))
        }
        _ => Err("unknown words".into()),
    }
}

fn connect(authority: Option<&Path>, server: &str) -> Result<Connection<Stream>, Fault> {
    let tcp = TcpStream::connect(server)?;
    tcp.set_nodelay(true)?;
    let stream = match authority {
        None => Stream::Plain(tcp),
        Some(authority) => {
            let host = server.rsplit_once(':').map_or(server, |(host, _port)| host);
            let address: IpAddr = host.parse()?;
            let config = authority::client(authority)?;
            Stream::Secure(Box::new(authority::connect(config, address, tcp)?))
        }
    };
    Ok(Connection::new(stream, server))
}

fn get(authority: Option<&Path>, server: &str, path: &str, headers: &str) -> Result<(), Fault> {
    let answer = connect(authority, server)?.get(path, headers)?;
    let is_expected = answer.status == if headers.is_empty() { 200 } else { 304 };
    if is_expected { Ok(()) } else { Err(format!("{path}: {}", answer.status).into()) }
}
