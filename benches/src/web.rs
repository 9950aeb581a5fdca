//! nginx as the server of everything, with and without TLS.

use std::fs;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Stdio};
use std::thread;
use std::time::Duration;

use crate::Fault;
use crate::authority::FILES;
use crate::measure::Program;

/// How long it may take to listen.
const PATIENCE: u32 = 500;

const CONFIG: &str = "
daemon off; master_process off; pid pid;
events { worker_connections 256; }
http {
  access_log off; sendfile on; tcp_nopush on; tcp_nodelay on;
  keepalive_timeout 600s; keepalive_requests 1000000;
  default_type application/octet-stream;
  client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi;
  uwsgi_temp_path uwsgi; scgi_temp_path scgi;
  ssl_certificate [CERTIFICATE]; ssl_certificate_key [KEY]; ssl_session_tickets off;
  ssl_protocols TLSv1.2 TLSv1.3;
  server {
    listen [ADDRESS]:[PLAIN]; listen [ADDRESS]:[SECURE] ssl;
    root [ROOT]; autoindex on;
  }
}
";

/// A web server. It is stopped when this goes.
pub struct Web {
    daemon: Child,
    /// Where it listens without TLS.
    pub plain: SocketAddr,
    /// Where it listens with TLS.
    pub secure: SocketAddr,
}

impl Web {
    /// Serves a directory at an address of the calling thread's network, with the certificates of
    /// `place` and its own files below it.
    pub fn serve(root: &Path, place: &Path, address: IpAddr) -> Result<Self, Fault> {
        let own = tempfile::Builder::new().prefix("nginx").tempdir_in(place)?.keep();
        let [plain, secure] = free_ports(address)?;
        let [_authority, certificate, key] = FILES.map(|file| place.join(file));
        let config = [
            ("[ADDRESS]", address.to_string()),
            ("[PLAIN]", plain.port().to_string()),
            ("[SECURE]", secure.port().to_string()),
            ("[ROOT]", root.display().to_string()),
            ("[CERTIFICATE]", certificate.display().to_string()),
            ("[KEY]", key.display().to_string()),
        ];
        let config =
            config.iter().fold(CONFIG.to_owned(), |text, (mark, value)| text.replace(mark, value));
        fs::write(own.join("server.conf"), config)?;
        let words = fs::File::create(own.join("words"))?;
        let daemon = Program::new("nginx")
            .args(["-p".as_ref(), own.as_os_str()])
            .args(["-e", "words", "-c", "server.conf"])
            .command()
            .current_dir(&own)
            .stdout(Stdio::null())
            .stderr(words)
            .spawn()?;
        let server = Self { daemon, plain, secure };
        for _ in 0..PATIENCE {
            if [plain, secure].iter().all(|address| TcpStream::connect(address).is_ok()) {
                return Ok(server);
            }
            thread::sleep(Duration::from_millis(10));
        }
        Err(format!("nginx: {}", fs::read_to_string(own.join("words"))?).into())
    }
}

impl Drop for Web {
    fn drop(&mut self) {
        drop(self.daemon.kill());
        drop(self.daemon.wait());
    }
}

fn free_ports(address: IpAddr) -> Result<[SocketAddr; 2], Fault> {
    let listeners = [TcpListener::bind((address, 0))?, TcpListener::bind((address, 0))?];
    Ok([listeners[0].local_addr()?, listeners[1].local_addr()?])
}
