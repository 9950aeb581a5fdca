//! What can be wrong with a machine: the program itself, the directories of our files, the store,
//! the clock, and what a process may do.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use dbt_client::prune;
use dbt_client::self_update;
use dbt_client::store::{Oddity, Store, WritablePlace};
use dbt_core::brand;
use dbt_core::clock::Clock;
use dbt_core::timestamp;

use super::findings::Findings;
use super::kind::Kind;
use crate::env::Variable;
use crate::process::Process;
use crate::version::{self, ImpossibleTime};

/// Looks at the running program: where it is, who can write it, and whether it is found.
pub(super) fn program(process: &Process, findings: &mut Findings) {
    let version = &process.program.version;
    let Some(path) = process.host.executable.as_deref() else {
        let found = format!("{} {version} does not know where it is", brand::PROGRAM);
        return findings.wrong(Kind::PROGRAM_UNKNOWN, found, "mount `/proc`");
    };
    findings.good("program", format!("{} {version} at `{}`", brand::PROGRAM, path.display()));
    for exposed in [Some(path), path.parent()].into_iter().flatten() {
        if is_open_to_everybody(exposed) {
            let exposed = exposed.display();
            let found = format!("other users can write `{exposed}`");
            findings.wrong(Kind::PROGRAM_EXPOSED, found, format!("`chmod o-w '{exposed}'`"));
        }
    }
    search_path(process, path, findings);
}

/// Looks for programs of our name on `PATH`.
fn search_path(process: &Process, ours: &Path, findings: &mut Findings) {
    let mut others: Vec<PathBuf> = Vec::new();
    let mut found_ours = false;
    for directory in process.env.search_path() {
        let candidate = directory.join(brand::PROGRAM);
        if is_same_file(&candidate, ours) {
            found_ours = true;
        } else if is_program(&candidate) && !others.iter().any(|it| is_same_file(it, &candidate)) {
            others.push(candidate);
        }
    }
    let directory = ours.parent().unwrap_or(ours).display().to_string();
    if !found_ours {
        let found = format!("`{directory}` is not on `PATH`");
        findings.wrong(Kind::PROGRAM_NOT_ON_PATH, found, export_path(&directory));
    }
    for other in others {
        let other = other.display();
        let found = format!("`{other}` is another `{}` than `{}`", brand::PROGRAM, ours.display());
        let fix = format!("remove one of them: `rm '{other}'` or `rm '{}'`", ours.display());
        findings.wrong(Kind::PROGRAM_TWICE, found, fix);
    }
}

fn export_path(directory: &str) -> String {
    if cfg!(windows) {
        return format!(
            "put `{directory}` into your `Path`: \"environment variables\" in the settings"
        );
    }
    format!("`export PATH=\"{directory}:$PATH\"` in the start-up file of your shell")
}

/// Looks at the clock, the current directory and the limits of the process.
pub(super) fn process(process: &Process, findings: &mut Findings) {
    const SMALL: u64 = 256 * 1024 * 1024;
    const FEW: u64 = 64;

    let now = Clock::System.now();
    let fix = "set the clock: `timedatectl set-ntp true`, or `date -s ...`";
    let found = format!("it is {}", timestamp::format(now));
    match version::impossible(now) {
        Some(ImpossibleTime::Early) => findings.wrong(Kind::CLOCK_EARLY, found, fix),
        Some(ImpossibleTime::Late) => findings.wrong(Kind::CLOCK_LATE, found, fix),
        None => findings.good("clock", found),
    }
    if process.host.directory.is_none() {
        let found = "the current directory does not exist any more";
        findings.wrong(Kind::DIRECTORY_GONE, found, "`cd`");
    }
    if let Some(limit) = limit(Limit::FileSize).filter(|limit| *limit < SMALL) {
        let found = format!("files may have {limit} bytes");
        findings.wrong(Kind::FILE_SIZE_LIMIT, found, "`ulimit -f unlimited`");
    }
    if let Some(limit) = limit(Limit::OpenFiles).filter(|limit| *limit < FEW) {
        let found = format!("{limit} files may be open");
        findings.wrong(Kind::OPEN_FILES_LIMIT, found, "`ulimit -n 256`");
    }
}

/// What a process may have.
#[derive(Debug, Clone, Copy)]
enum Limit {
    FileSize,
    OpenFiles,
}

#[cfg(unix)]
fn limit(of: Limit) -> Option<u64> {
    use rustix::process::{Resource, getrlimit};
    let resource = match of {
        Limit::FileSize => Resource::Fsize,
        Limit::OpenFiles => Resource::Nofile,
    };
    getrlimit(resource).current
}

#[cfg(not(unix))]
fn limit(_of: Limit) -> Option<u64> {
    None
}

/// Looks at the directory of our files.
pub(super) fn home(process: &Process, findings: &mut Findings) {
    if let Some(foreign) = process.host.foreign_home.as_deref() {
        let found = format!(
            "`HOME` is `{}`, another user's; root uses `{}`",
            foreign.display(),
            wanted_home(process).unwrap_or_default().display()
        );
        let fix = format!(
            "`{program} ...` without `sudo`, or `sudo -H {program} ...`",
            program = brand::PROGRAM
        );
        findings.wrong(Kind::HOME_SUDO, found, fix);
    }
    let move_it = format!("`export {}=DIRECTORY`", Variable::Home.name());
    let Some(wanted) = wanted_home(process) else {
        let found = "neither `HOME` nor the system names a home directory";
        return findings.wrong(Kind::HOME_NONE, found, move_it);
    };
    let path = wanted.display();
    if process.found.places.home.is_some() && !is_link_to_nowhere(&wanted) {
        return owned_home(&wanted, findings);
    }
    if !process.env.is_set(Variable::Home) {
        let user_home = process.host.home.as_deref().unwrap_or(Path::new("/"));
        let shown = user_home.display();
        let problem = match fs::metadata(user_home) {
            _ if user_home.parent().is_none() => Some("is nobody's home".to_owned()),
            Ok(metadata) if !metadata.is_dir() => Some("is not a directory".to_owned()),
            Ok(_) => None,
            Err(error) => Some(format!("cannot be used ({error})")),
        };
        if let Some(problem) = problem {
            let found = format!("the home directory `{shown}` {problem}");
            return findings.wrong(Kind::HOME_NONE, found, move_it);
        }
    }
    let existing = wanted.ancestors().find(|it| fs::symlink_metadata(it).is_ok());
    let existing = existing.unwrap_or(&wanted);
    let (found, fix) = if is_link_to_nowhere(existing) {
        (
            format!("`{}` is a link to nowhere", existing.display()),
            format!("`rm '{}'`", existing.display()),
        )
    } else if !existing.is_dir() {
        let shown = existing.display();
        (format!("`{shown}` is not a directory"), format!("`mv '{shown}' '{shown}.old'`"))
    } else {
        let fix = format!("`chmod u+w '{}'`, or {move_it}", existing.display());
        (format!("nothing can be written to `{path}`"), fix)
    };
    findings.wrong(Kind::HOME_READ_ONLY, found, fix);
}

/// Returns where our files are meant to be.
fn wanted_home(process: &Process) -> Option<PathBuf> {
    let moved = process.env.path(Variable::Home);
    let moved = moved.map(|moved| match &process.host.directory {
        Some(directory) => directory.join(moved),
        None => moved,
    });
    moved.or_else(|| process.host.home.as_ref().map(|home| home.join(brand::HOME_DIRECTORY)))
}

/// Looks who else could exchange what is in the directory of our files.
fn owned_home(home: &Path, findings: &mut Findings) {
    let path = home.display();
    let owner = owner_of(home).filter(|owner| *owner != our_user());
    if let Some(owner) = owner {
        let found = format!("`{path}` belongs to user {owner}, and this is user {}", our_user());
        let fix = format!("`sudo chown -R {} '{path}'`", our_user());
        findings.wrong(Kind::HOME_FOREIGN, found, fix);
    }
    if is_open_to_others(home) {
        let found = format!("others can write to `{path}`");
        findings.wrong(Kind::HOME_EXPOSED, found, format!("`chmod go-w '{path}'`"));
    } else if owner.is_none() {
        findings.good("home", format!("`{path}`"));
    }
}

/// Looks at the store: where it is, what can be written and executed there, and what lies in it.
pub(super) fn store(process: &Process, findings: &mut Findings) {
    let places = &process.found.places;
    let store = Store::open(places);
    let move_it = format!("`export {}=DIRECTORY`", Variable::CacheDir.name());
    let place = match store.writable_place() {
        WritablePlace::Own(path) => {
            findings.good("store", format!("`{}`", path.display()));
            Some(path)
        }
        WritablePlace::Temporary(path) => {
            let found = format!("tools are kept in `{}`", path.display());
            findings.wrong(Kind::STORE_TEMPORARY, found, &move_it);
            Some(path)
        }
        WritablePlace::Memory if Store::can_use_memory() => {
            findings.wrong(Kind::STORE_MEMORY, "no directory can be written", &move_it);
            None
        }
        WritablePlace::Memory => {
            let found = "no directory can be written, and there is no executable memory";
            findings.wrong(Kind::STORE_NO_EXECUTION, found, &move_it);
            None
        }
    };
    if let Some(place) = place {
        file_system(&store, place, &move_it, findings);
    }
    read_only_stores(process, findings);
    let home = wanted_home(process);
    for concern in store.inspect() {
        let way = if let Oddity::Way(distrust) = &concern.oddity { Some(distrust) } else { None };
        // The home was looked at; and that a directory could not be made is why the store is
        // elsewhere.
        let is_said = way.map_or(!concern.path.exists(), |it| home.as_deref() == Some(it.path()));
        if is_said {
            continue;
        }
        let fix = if let Some(distrust) = way {
            format!("{}, or {move_it}", distrust.hint())
        } else if places.store.as_ref() == Some(&concern.path) {
            // What else is there is not ours.
            format!("put its owner and mode right, or {move_it}")
        } else {
            format!("put its owner and mode right, or `rm -r '{}'`", concern.path.display())
        };
        findings.wrong(Kind::STORE_CONCERN, concern.to_string(), fix);
    }
    left_behind(process, &store, findings);
    links(process, findings);
}

/// Looks at what the file system with the store can do.
fn file_system(store: &Store, place: &Path, move_it: &str, findings: &mut Findings) {
    let path = place.display();
    if store.forbids_execution() {
        let found = format!("the file system of `{path}` is mounted `noexec`");
        let kind =
            if Store::can_use_memory() { Kind::STORE_NOEXEC } else { Kind::STORE_NO_EXECUTION };
        findings.wrong(kind, found, move_it);
    }
    let free_it = format!("`{} cache prune`, or {move_it}", brand::PROGRAM);
    match store.try_writing() {
        Ok(()) => {
            if let Some(left) = nearly_full(place) {
                let found = format!("{left} left on the file system of `{path}`");
                findings.wrong(Kind::STORE_NEARLY_FULL, found, free_it);
            }
        }
        Err(error) => {
            let found = dbt_client::anchor::in_one_line(&error);
            findings.wrong(Kind::STORE_FULL, found, free_it);
        }
    }
    let lock = store.reserve(brand::PROGRAM, Duration::ZERO);
    if !lock.is_held() && !lock.has_waited() {
        let found = format!("files cannot be locked in `{path}`");
        findings.wrong(Kind::STORE_NO_LOCKS, found, move_it);
    }
}

/// Says how little is left, if it is little.
#[cfg(unix)]
fn nearly_full(place: &Path) -> Option<String> {
    const LITTLE: u64 = 64 * 1024 * 1024;
    let system = rustix::fs::statvfs(place).ok()?;
    let bytes = system.f_bavail.saturating_mul(system.f_frsize);
    // File systems that do not count files say that there are none at all.
    if system.f_files > 0 && system.f_favail == 0 {
        return Some("no file is".to_owned());
    }
    (bytes < LITTLE).then(|| format!("{} KiB are", bytes / 1024))
}

#[cfg(not(unix))]
fn nearly_full(_place: &Path) -> Option<String> {
    None
}

fn read_only_stores(process: &Process, findings: &mut Findings) {
    let name = Variable::StorePath.name();
    let Some(written) = process.env.path(Variable::StorePath) else { return };
    for path in std::env::split_paths(&written).filter(|path| !path.as_os_str().is_empty()) {
        let problem = match fs::metadata(&path) {
            _ if !path.is_absolute() => "is not absolute".to_owned(),
            Ok(metadata) if !metadata.is_dir() => "is not a directory".to_owned(),
            Ok(_) => continue,
            Err(error) => format!("cannot be used ({error})"),
        };
        let found = format!("`{}` in `{name}` {problem}", path.display());
        findings.wrong(Kind::STORE_MISSING, found, format!("correct or unset `{name}`"));
    }
}

/// Looks for files of runs that did not come to their end.
fn left_behind(process: &Process, store: &Store, findings: &mut Findings) {
    let now = Clock::System.now();
    let mut files = store.left_behind(now);
    if let Some(home) = process.found.places.home.as_deref() {
        files.extend(prune::left_behind(home, now));
    }
    if let Some(program) = process.host.executable.as_deref() {
        files.extend(self_update::left_behind(store, program, now));
    }
    if let Some(first) = files.first() {
        let found = match files.len() {
            1 => format!("`{}`", first.display()),
            count => format!("{count} files, such as `{}`", first.display()),
        };
        let fix = format!("`{} cache prune`", brand::PROGRAM);
        findings.wrong(Kind::STORE_LEFT_BEHIND, found, fix);
    }
}

/// Looks whether the links that lead to us are found.
fn links(process: &Process, findings: &mut Findings) {
    let Some(directory) = process.found.places.links.as_deref() else { return };
    let Some(program) = process.host.executable.as_deref() else { return };
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let mut links = entries.filter(|it| fs::read_link(it.path()).is_ok_and(|to| to == program));
    let Some(link) = links.next() else { return };
    let on_path = process.env.search_path().iter().any(|it| is_same_file(it, directory));
    if !on_path {
        let found =
            format!("`{}` is not found: its directory is not on `PATH`", link.path().display());
        let fix = export_path(&directory.display().to_string());
        findings.wrong(Kind::LINKS_NOT_ON_PATH, found, fix);
    }
}

fn is_link_to_nowhere(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|it| it.is_symlink()) && fs::metadata(path).is_err()
}

#[cfg(unix)]
fn mode_of(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt as _;
    fs::metadata(path).map_or(0, |metadata| metadata.permissions().mode())
}

#[cfg(not(unix))]
fn mode_of(_path: &Path) -> u32 {
    0
}

/// Says whether somebody else could exchange what is in a directory.
fn is_open_to_others(directory: &Path) -> bool {
    const WRITE_FOR_GROUP_OR_OTHERS: u32 = 0o022;
    mode_of(directory) & WRITE_FOR_GROUP_OR_OTHERS != 0
}

/// Says whether everybody can write. A group may: administrators share machines so. Where
/// everybody may make files, but touch only his own, nobody can exchange ours.
fn is_open_to_everybody(path: &Path) -> bool {
    const WRITE_FOR_ALL: u32 = 0o002;
    const ONLY_ONES_OWN: u32 = 0o1000;
    mode_of(path) & (WRITE_FOR_ALL | ONLY_ONES_OWN) == WRITE_FOR_ALL
}

pub(super) fn is_program(path: &Path) -> bool {
    path.is_file() && (cfg!(not(unix)) || mode_of(path) & 0o111 != 0)
}

#[cfg(unix)]
fn is_same_file(one: &Path, other: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let identity = |path| fs::metadata(path).map(|it| (it.dev(), it.ino())).ok();
    identity(one).is_some_and(|one| identity(other) == Some(one))
}

#[cfg(not(unix))]
fn is_same_file(one: &Path, other: &Path) -> bool {
    one == other
}

#[cfg(unix)]
fn owner_of(path: &Path) -> Option<u32> {
    use std::os::unix::fs::MetadataExt as _;
    fs::metadata(path).map(|metadata| metadata.uid()).ok()
}

#[cfg(not(unix))]
fn owner_of(_path: &Path) -> Option<u32> {
    None
}

#[cfg(unix)]
fn our_user() -> u32 {
    rustix::process::geteuid().as_raw()
}

#[cfg(not(unix))]
fn our_user() -> u32 {
    0
}
