//! The socket for commands on the server's own machine. It lies beside the state, for the server's
//! own user and root alone; whoever reaches it could change every file anyway.

use std::fs::Permissions;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use tokio::net::{UnixListener, UnixStream};

/// The name of the socket in the state directory.
pub const NAME: &str = "admin.sock";

/// Where the socket is made before it gets its name, so that nobody else reaches it meanwhile.
const MAKING: &str = "admin.new";

/// The longest path of a socket that every system takes.
const LONGEST: usize = 100;

/// A socket, removed when this goes.
#[derive(Debug)]
pub struct Socket {
    listener: UnixListener,
    path: PathBuf,
}

impl Socket {
    /// Listens in a state directory that no other server has.
    pub fn open(state: &Path) -> io::Result<Self> {
        let (path, making) = (state.join(NAME), state.join(MAKING));
        // An earlier server that was killed left them.
        let _none = std::fs::remove_file(&path);
        let _none = std::fs::remove_dir_all(&making);
        std::fs::DirBuilder::new().mode(0o700).create(&making)?;
        let new = making.join(NAME);
        let listener = bind(&new);
        let named = listener.and_then(|listener| {
            std::fs::set_permissions(&new, Permissions::from_mode(0o600))?;
            rustix::fs::rename(&new, &path)?;
            Ok(listener)
        });
        let _empty = std::fs::remove_dir_all(&making);
        Ok(Self { listener: named?, path })
    }

    /// Waits for somebody who may use it, and returns which user of the machine it is.
    pub async fn accept(&self) -> io::Result<(UnixStream, u32)> {
        loop {
            let (stream, _nameless) = self.listener.accept().await?;
            let user = stream.peer_cred()?.uid();
            // Its mode says so already; somebody may have changed that.
            if user == 0 || user == rustix::process::geteuid().as_raw() {
                return Ok((stream, user));
            }
            tracing::warn!(user, "somebody else tried to use the socket for administration");
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // A later server removes it otherwise.
        let _gone = std::fs::remove_file(&self.path);
    }
}

/// Listens at a path, by a shorter one if it is too long for a socket.
fn bind(path: &Path) -> io::Result<UnixListener> {
    short(path, UnixListener::bind)
}

/// Connects to a server's socket.
pub fn connect(state: &Path) -> io::Result<std::os::unix::net::UnixStream> {
    short(&state.join(NAME), std::os::unix::net::UnixStream::connect)
}

/// Does something with a path of which the directory may be too long for a socket.
fn short<T>(path: &Path, work: impl FnOnce(PathBuf) -> io::Result<T>) -> io::Result<T> {
    if path.as_os_str().len() <= LONGEST {
        return work(path.to_owned());
    }
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidFilename.into());
    };
    let directory = std::fs::File::open(parent)?;
    let number = std::os::fd::AsRawFd::as_raw_fd(&directory);
    work(Path::new("/proc/self/fd").join(number.to_string()).join(name))
}
