//! Proxies of companies and of attackers.

use std::io::{self, BufReader, Write as _};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::tls::{Authority, Ending, ask, converse, listen, read_head};

/// What a proxy does with requests.
#[derive(Debug)]
pub enum Manner {
    /// Opens tunnels, all to one place; knows nothing else.
    Tunnel(SocketAddr),
    /// Passes whole URLs on, all to one place; opens no tunnels.
    WholeUrls(SocketAddr),
    /// Opens tunnels and looks into them: signs with its own authority for every host.
    Inspect(Arc<Authority>, SocketAddr),
    /// Answers everything with this status.
    Refuse(u16),
    /// Answers everything with 200 and a page.
    Page,
    /// Closes every connection.
    Close,
}

/// A proxy that remembers what it was asked.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
}

/// Whom [`Proxy::wanting_a_password`] lets in.
const USER: &str = "alice";
/// Her password.
pub const PASSWORD: &str = "hunter2-of-the-proxy";

impl Proxy {
    /// Starts one on `127.0.0.1`.
    pub fn start(manner: Manner) -> Self {
        Self::start_at(Ipv4Addr::LOCALHOST.into(), manner, false)
    }

    /// Starts one that wants a user name and a password.
    pub fn wanting_a_password(manner: Manner) -> Self {
        Self::start_at(Ipv4Addr::LOCALHOST.into(), manner, true)
    }

    /// Starts one somewhere.
    pub fn start_at(at: IpAddr, manner: Manner, wants_password: bool) -> Self {
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let log = Arc::clone(&asked);
        let address = listen(at, move |stream| {
            drop(serve(stream, &manner, wants_password, &log));
        });
        Self { address, asked }
    }

    /// Returns `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The same, with the user name and [`PASSWORD`].
    pub fn url_with_password(&self) -> String {
        format!("http://{USER}:{PASSWORD}@{}", self.address)
    }

    /// Returns the first lines of all requests, without the version: `CONNECT repo.test:443`.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn serve(
    mut stream: TcpStream,
    manner: &Manner,
    wants_password: bool,
    log: &Mutex<Vec<String>>,
) -> io::Result<()> {
    if matches!(manner, Manner::Close) {
        return stream.shutdown(Shutdown::Both);
    }
    let mut reader = BufReader::new(stream.try_clone()?);
    while let Some(head) = read_head(&mut reader)? {
        let text = String::from_utf8_lossy(&head).into_owned();
        let line = text.lines().next().unwrap_or_default();
        let line = line.rsplit_once(' ').map_or(line, |(line, _version)| line);
        log.lock().unwrap_or_else(PoisonError::into_inner).push(line.to_owned());
        let (method, target) = line.split_once(' ').unwrap_or_default();
        if wants_password && !knows_password(&text) {
            stream.write_all(&page(407))?;
            continue;
        }
        match manner {
            Manner::Tunnel(there) if method == "CONNECT" => return tunnel(stream, *there),
            Manner::Inspect(authority, there) if method == "CONNECT" => {
                let host = target.rsplit_once(':').map_or(target, |(host, _port)| host);
                stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
                return converse(stream, authority.server(host).into(), *there, Ending::InOrder);
            }
            Manner::WholeUrls(there) if target.starts_with("http://") => {
                let path = target.splitn(4, '/').nth(3).unwrap_or_default();
                let passed = text.replacen(target, &format!("/{path}"), 1);
                stream.write_all(&ask(*there, passed.as_bytes())?)?;
            }
            Manner::Refuse(status) => stream.write_all(&page(*status))?,
            Manner::Page => stream.write_all(&page(200))?,
            Manner::Tunnel(_) | Manner::WholeUrls(_) | Manner::Inspect(..) | Manner::Close => {
                stream.write_all(&page(405))?;
            }
        }
    }
    Ok(())
}

fn knows_password(head: &str) -> bool {
    let value = STANDARD.encode(format!("{USER}:{PASSWORD}"));
    head.lines().any(|line| {
        let (name, said) = line.split_once(": ").unwrap_or_default();
        name.eq_ignore_ascii_case("proxy-authorization") && said == format!("Basic {value}")
    })
}

fn page(status: u16) -> Vec<u8> {
    let page = "<!DOCTYPE html><html><body>This is the proxy of Acme.</body></html>";
    let length = page.len();
    format!(
        "HTTP/1.1 {status} Because\r\nContent-Type: text/html\r\nContent-Length: {length}\r\n\r\n{page}"
    )
    .into_bytes()
}

fn tunnel(mut stream: TcpStream, there: SocketAddr) -> io::Result<()> {
    let mut there = TcpStream::connect(there)?;
    stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
    let (mut back, mut forth) = (there.try_clone()?, stream.try_clone()?);
    thread::spawn(move || {
        drop(io::copy(&mut back, &mut forth));
        forth.shutdown(Shutdown::Write)
    });
    io::copy(&mut stream, &mut there)?;
    there.shutdown(Shutdown::Write)
}
