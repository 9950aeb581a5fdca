//! What this machine and this process are like, looked at once, before anything is decided.

use std::path::{Path, PathBuf};

use crate::env::{Environment, Variable};

/// Facts that settings depend on.
#[derive(Debug, Clone, Default)]
pub struct Host {
    /// The home directory that is this process's own, if there is one.
    pub home: Option<PathBuf>,
    /// The home directory of another user that root was started with, as `sudo` leaves it.
    pub foreign_home: Option<PathBuf>,
    /// The file that runs.
    pub executable: Option<PathBuf>,
    /// The directory we were started in.
    pub directory: Option<PathBuf>,
    /// Whether the directory of the executable can be written.
    pub can_replace_itself: bool,
    /// Whether the process is in a container.
    pub in_container: bool,
}

impl Host {
    /// Looks at the machine.
    pub fn look(env: &Environment) -> Self {
        let executable = std::env::current_exe().ok();
        let beside = executable.as_deref().and_then(Path::parent);
        let foreign_home = foreign_home(env);
        Self {
            home: home(env, foreign_home.is_some()),
            foreign_home,
            can_replace_itself: beside.is_some_and(can_write),
            in_container: in_container(env),
            directory: std::env::current_dir().ok(),
            executable,
        }
    }
}

fn in_container(env: &Environment) -> bool {
    env.is_set(Variable::Container)
        || env.is_set(Variable::Kubernetes)
        || ["/.dockerenv", "/run/.containerenv"].iter().any(|mark| Path::new(mark).exists())
}

/// Says whether files can be made in a directory that exists.
#[cfg(unix)]
pub(crate) fn can_write(directory: &Path) -> bool {
    use rustix::fs::{Access, access};
    // Only a directory has an entry for itself.
    access(directory.join("."), Access::WRITE_OK | Access::EXEC_OK).is_ok()
}

/// Says whether files can be made in a directory that exists.
#[cfg(not(unix))]
pub(crate) fn can_write(directory: &Path) -> bool {
    std::fs::metadata(directory).is_ok_and(|it| it.is_dir() && !it.permissions().readonly())
}

/// Returns the home directory of the environment, or the one the system knows.
///
/// Root with another user's home (as `sudo` leaves it) has its own: files of root in a user's
/// home would lock the user out, and the user's files must not decide what root runs.
#[cfg(unix)]
fn home(env: &Environment, is_foreign: bool) -> Option<PathBuf> {
    let given = env.path(Variable::UserHome).filter(|home| home.is_absolute());
    if is_foreign {
        let own = entry_of(&std::fs::read_to_string("/etc/passwd").unwrap_or_default(), 0);
        return Some(own.unwrap_or_else(|| PathBuf::from("/root")));
    }
    given.or_else(|| {
        let user = rustix::process::geteuid().as_raw();
        entry_of(&std::fs::read_to_string("/etc/passwd").ok()?, user)
    })
}

/// Returns the home directory that root was given and that is another user's.
#[cfg(unix)]
fn foreign_home(env: &Environment) -> Option<PathBuf> {
    let given = env.path(Variable::UserHome).filter(|home| home.is_absolute())?;
    let is_foreign = rustix::process::geteuid().is_root() && belongs_to_another(&given, 0);
    is_foreign.then_some(given)
}

#[cfg(not(unix))]
fn foreign_home(_env: &Environment) -> Option<PathBuf> {
    None
}

#[cfg(not(unix))]
fn home(env: &Environment, _is_foreign: bool) -> Option<PathBuf> {
    env.path(Variable::UserHome).filter(|home| home.is_absolute())
}

#[cfg(unix)]
fn belongs_to_another(directory: &Path, user: u32) -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(directory).is_ok_and(|metadata| metadata.uid() != user)
}

/// Returns a user's home from the text of `/etc/passwd`.
#[cfg(unix)]
fn entry_of(passwd: &str, user: u32) -> Option<PathBuf> {
    let entry = passwd.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let mut own = entry.filter(|fields| fields.get(2).is_some_and(|id| id.parse() == Ok(user)));
    let home = own.next()?.get(5).map(PathBuf::from)?;
    home.is_absolute().then_some(home)
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn a_users_home_is_the_systems_when_the_environment_has_none() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\nbroken\nalice:x:1000:1000::/home/alice:/bin/sh\nbob:x:1001:1::x:\n";
        assert_eq!(entry_of(passwd, 1000), Some("/home/alice".into()));
        assert_eq!(entry_of(passwd, 0), Some("/root".into()));
        assert_eq!(entry_of(passwd, 1001), None);
        assert_eq!(entry_of(passwd, 7), None);
    }

    #[test]
    fn a_directory_that_is_not_there_cannot_be_written() {
        let directory = tempfile::tempdir().unwrap();
        assert!(can_write(directory.path()));
        assert!(!can_write(&directory.path().join("missing")));
    }

    #[test]
    fn a_container_is_known_by_its_variable() {
        assert!(in_container(&Environment::of([("container", "podman")])));
        assert!(in_container(&Environment::of([("KUBERNETES_SERVICE_HOST", "10.0.0.1")])));
    }
}
