//! The servers that are compared, each over the same directory.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use dbt_bench::measure::Program;
use dbt_bench::{Fault, kernel};
use serde_json::{Value, json};

/// How often a server is tried, every ten milliseconds, before it counts as broken.
const PATIENCE: u32 = 1000;

/// What nginx is told: files as fast as it can, uploads taken without a check, no log.
const NGINX: &str = "
daemon off; master_process off; pid pid;
events { worker_connections 256; }
http {
  access_log off; sendfile on; tcp_nopush on; tcp_nodelay on;
  keepalive_timeout 600s; keepalive_requests 100000000;
  default_type application/octet-stream;
  client_max_body_size 0; client_body_temp_path body;
  proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;
  server {
    listen [ADDRESS]; root [ROOT];
    location / { dav_methods PUT; create_full_put_path on; }
  }
}
";

/// A running server. It is stopped when this goes.
pub(crate) struct Server {
    process: Child,
    pub(crate) address: SocketAddr,
    /// What it serves.
    pub(crate) root: PathBuf,
}

impl Server {
    /// Starts nginx with files of its own in `place`.
    pub(crate) fn nginx(place: &Path, root: &Path) -> Result<Self, Fault> {
        fs::create_dir_all(place)?;
        let address = free_address()?;
        let config = NGINX.replace("[ADDRESS]", &address.to_string());
        fs::write(place.join("conf"), config.replace("[ROOT]", &root.display().to_string()))?;
        let nginx = Program::new("nginx")
            .args(["-p".as_ref(), place.as_os_str()])
            .args(["-e", "words", "-c", "conf"]);
        Self::start(nginx.command(), place, root, address)
    }

    /// Starts dufs, where it is installed.
    pub(crate) fn dufs(program: &Path, place: &Path, root: &Path) -> Result<Option<Self>, Fault> {
        if !program.exists() {
            return Ok(None);
        }
        let address = free_address()?;
        let dufs = Program::new(program)
            .args(["--allow-all", "--bind", "127.0.0.1", "--log-format", "", "--port"])
            .arg(address.port().to_string())
            .arg(root);
        Self::start(dufs.command(), place, root, address).map(Some)
    }

    /// Starts ours with these settings besides. Its log goes to a file, as under a supervisor.
    pub(crate) fn ours(
        program: &Path,
        place: &Path,
        root: &Path,
        settings: &Value,
    ) -> Result<Self, Fault> {
        fs::create_dir_all(place)?;
        let address = free_address()?;
        let mut config = json!({
            "address": "127.0.0.1", "port": address.port(), "serverRoot": root,
            "stateDir": place.join("state"),
        });
        for (name, value) in settings.as_object().into_iter().flatten() {
            config[name] = value.clone();
        }
        let file = place.join("config.json");
        fs::write(&file, config.to_string())?;
        let command = Program::new(program).arg("-f").arg(file).command();
        Self::start(command, place, root, address)
    }

    fn start(
        mut command: Command,
        place: &Path,
        root: &Path,
        address: SocketAddr,
    ) -> Result<Self, Fault> {
        fs::create_dir_all(place)?;
        let words = File::create(place.join("words"))?;
        let process = command.current_dir(place).stdout(Stdio::null()).stderr(words).spawn()?;
        let mut server = Self { process, address, root: root.to_owned() };
        for _ in 0..PATIENCE {
            if TcpStream::connect(address).is_ok() {
                return Ok(server);
            }
            if let Some(status) = server.process.try_wait()? {
                let words = fs::read_to_string(place.join("words"))?;
                return Err(format!("{command:?}: {status}: {words}").into());
            }
            thread::sleep(Duration::from_millis(10));
        }
        Err(format!("{command:?} does not listen").into())
    }

    /// Returns the processor time that it has used.
    pub(crate) fn used(&self) -> Result<Duration, Fault> {
        Ok(kernel::used_by(self.process.id())?)
    }

    /// Returns what it has used since it had used so much.
    pub(crate) fn used_since(&self, earlier: Duration) -> Result<Duration, Fault> {
        Ok(self.used()?.saturating_sub(earlier))
    }

    /// Returns the most memory that it has had, in KiB.
    pub(crate) fn peak_memory(&self) -> Result<u64, Fault> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let words = line.ok_or("a process has a peak")?.split_whitespace().next();
        Ok(words.ok_or("a peak is a number")?.parse()?)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

fn free_address() -> Result<SocketAddr, Fault> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}
