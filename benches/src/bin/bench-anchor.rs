//! What dbt is measured against, where nothing existing fits: each does one thing and checks
//! nothing else.
//!
//! * `get HOST:PORT PATH [ETAG]`: one request on a new connection.
//! * `warm ...` and `cold ...`: the requests of the older client after one another over one kept
//!   connection, which is generous to it, and the hashing it does; then the tool.
//!
//! With `--ca FILE` before all of that, connections are secure.

use std::net::{IpAddr, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use dbt_bench::authority::{self, Stream};
use dbt_bench::http::Connection;
use dbt_bench::{Fault, hash};
use sha2::Sha256;

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
        ["warm", server, prefix, tool, version, platform, file, program] => {
            let older = Older { prefix, tool, version, platform, program: Path::new(program) };
            older.warm(&mut connect(authority, server)?, Path::new(file))
        }
        ["cold", server, prefix, tool, version, platform, directory, program] => {
            let older = Older { prefix, tool, version, platform, program: Path::new(program) };
            older.cold(&mut connect(authority, server)?, Path::new(directory))
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

/// One run of the older client.
struct Older<'a> {
    /// What is before `/dbt` and `/dbt-tools`.
    prefix: &'a str,
    tool: &'a str,
    version: &'a str,
    platform: &'a str,
    /// Its own file.
    program: &'a Path,
}

impl Older<'_> {
    fn warm(&self, server: &mut Connection<Stream>, file: &Path) -> Result<(), Fault> {
        self.survey(server)?;
        let published = server.get(&format!("{}.sha256", self.artifact()), "")?;
        let local = hash::file::<Sha256>(file)?;
        if published.body != local.as_bytes() {
            return Err("the tool is not current".into());
        }
        Self::verify(file, &local)?;
        Err(Command::new(file).exec().into())
    }

    fn cold(&self, server: &mut Connection<Stream>, directory: &Path) -> Result<(), Fault> {
        self.survey(server)?;
        let file = directory.join(self.tool);
        for suffix in ["", ".sha256", ".asc"] {
            let path = format!("{}{suffix}", self.artifact());
            server.head(&path)?;
            let target = PathBuf::from(format!("{}{suffix}", file.display()));
            std::fs::write(&target, server.get(&path, "")?.body)?;
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
            std::fs::set_permissions(&target, mode)?;
        }
        let checksum = std::fs::read_to_string(format!("{}.sha256", file.display()))?;
        Self::verify(&file, &checksum)?;
        Err(Command::new(file).exec().into())
    }

    /// What every run begins with: six requests, and a look at itself.
    fn survey(&self, server: &mut Connection<Stream>) -> Result<(), Fault> {
        let Self { prefix, tool, version, platform, program } = self;
        server.get(&format!("{prefix}/dbt/truststore"), "")?;
        server.get(&format!("{prefix}/dbt/"), "")?;
        server.get(&format!("{prefix}/dbt/"), "")?;
        server.get(&format!("{prefix}/dbt/{version}/{platform}/dbt.sha256"), "")?;
        hash::file::<Sha256>(program)?;
        server.get(&format!("{prefix}/dbt-tools/{tool}/"), "")?;
        server.get(&format!("{prefix}/dbt-tools/{tool}/"), "")?;
        Ok(())
    }

    /// The checksum, and one pass for the only certificate of the truststore (without the
    /// arithmetic of the signature).
    fn verify(file: &Path, checksum: &str) -> Result<(), Fault> {
        if hash::file::<Sha256>(file)? != checksum.trim() {
            return Err("the checksum is wrong".into());
        }
        hash::file::<Sha256>(file)?;
        Ok(())
    }

    fn artifact(&self) -> String {
        let Self { prefix, tool, version, platform, program: _ } = self;
        format!("{prefix}/dbt-tools/{tool}/{version}/{platform}/{tool}")
    }
}
