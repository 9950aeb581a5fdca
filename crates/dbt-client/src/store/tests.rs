use std::collections::BTreeSet;
use std::fs;
use std::io::{Read as _, Seek as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::time::SystemTime;

use dbt_sys::cause::Cause;

use super::*;

/// Puts something at a path.
type Plant = Box<dyn FnOnce(&Path)>;

/// A store of its own, and the ways in which things go wrong in it.
struct World {
    top: tempfile::TempDir,
    store: Store,
}

const NAME: &str = "tool";

impl World {
    fn new() -> Self {
        let top = tempfile::tempdir().unwrap();
        let store = Store::open(&places(top.path()));
        Self { top, store }
    }

    fn path_of(&self, content: &[u8]) -> PathBuf {
        let hex = Digest::of(content).to_string();
        self.top.path().join("store/sha256").join(&hex[..2]).join(&hex).join(NAME)
    }

    /// Another run on the same machine.
    fn again(&self) -> Store {
        Store::open(&places(self.top.path()))
    }

    fn install(&self, content: &[u8]) -> PathBuf {
        install(&self.store, content).unwrap().path().unwrap().to_owned()
    }

    /// Puts something in the artifact's place, with everything around it in order.
    fn plant(&self, content: &[u8], plant: impl FnOnce(&Path)) -> PathBuf {
        let path = self.install(content);
        fs::remove_file(&path).unwrap();
        plant(&path);
        path
    }

    fn refusal(&self, content: &[u8]) -> String {
        let store = self.again();
        assert!(store.find(Digest::of(content), NAME).is_none());
        store.concerns().iter().map(ToString::to_string).collect()
    }
}

fn places(top: &Path) -> Places {
    let temporary = top.join("tmp");
    fs::create_dir_all(&temporary).unwrap();
    Places {
        read_only_home: None,
        home: Some(top.join("home")),
        store: Some(top.join("store")),
        read_only_stores: vec![top.join("image")],
        temporary,
        links: None,
    }
}

fn staged(store: &Store, content: &[u8]) -> StoreFile {
    let mut file = store.staging().unwrap();
    file.write_all(content).unwrap();
    file
}

/// What verification does: reads everything.
fn verified(mut file: StoreFile) -> (StoreFile, Digest) {
    file.rewind().unwrap();
    let (digest, _length) = Digest::of_reader(&mut file).unwrap();
    (file, digest)
}

fn keep(store: &Store, file: StoreFile) -> Result<Installed, StoreError> {
    let (file, digest) = verified(file);
    install::keep(&store.inner, file, digest, &FileName::new(NAME).unwrap())
}

fn install(store: &Store, content: &[u8]) -> Result<Installed, StoreError> {
    keep(store, staged(store, content))
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().mode() & 0o7777
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn what_is_installed_is_found_again_and_nobody_else_can_touch_it() {
    let world = World::new();
    let path = world.install(b"content");
    assert_eq!(path, world.path_of(b"content"));
    assert_eq!(mode(&path), 0o500);
    for directory in path.ancestors().skip(1).take(4) {
        assert_eq!(mode(directory), 0o700, "{}", directory.display());
    }

    let store = world.again();
    let mut found = store.find(Digest::of(b"content"), NAME).unwrap();
    let mut text = String::new();
    found.read_to_string(&mut text).unwrap();
    assert_eq!((text.as_str(), found.is_installed()), ("content", true));
    assert!(found.write_all(b"other").is_err() && found.restart().is_err());
    assert_eq!(keep(&store, found).unwrap().path(), Some(path.as_path()));
    assert!(store.concerns().is_empty(), "{:?}", store.concerns());
}

#[test]
fn opening_and_looking_creates_nothing() {
    let world = World::new();
    assert!(world.store.find(Digest::of(b"content"), NAME).is_none());
    assert!(world.store.entries().is_empty());
    let names: Vec<_> = fs::read_dir(world.top.path()).unwrap().collect();
    assert_eq!(names.len(), 1, "only the directory for temporary files: {names:?}");
}

#[test]
fn while_it_is_staged_a_file_is_neither_executable_nor_named() {
    let world = World::new();
    let file = staged(&world.store, b"content");
    assert_eq!(file.file.metadata().unwrap().mode() & 0o7777, 0o600);
    let staging = world.top.path().join("store/staging");
    assert_eq!(fs::read_dir(&staging).unwrap().count(), 0);

    let root = world.store.inner.writable().unwrap();
    let named = staging::named(&world.store.inner, root, root.make_room(staging::STAGING).unwrap());
    let named = named.unwrap();
    assert_eq!(mode(named.path()), 0o600);
    drop(named);
    assert_eq!(fs::read_dir(&staging).unwrap().count(), 0, "it is removed when it is not needed");
}

#[test]
fn a_staging_file_with_a_name_is_installed_by_moving_it() {
    let world = World::new();
    let root = world.store.inner.writable().unwrap();
    let directory = || root.make_room(staging::STAGING).unwrap();
    for round in 0..2 {
        let mut file = staging::named(&world.store.inner, root, directory()).unwrap();
        file.write_all(b"content").unwrap();
        let installed = keep(&world.store, file).unwrap();
        assert_eq!(installed.path().unwrap(), world.path_of(b"content"), "round {round}");
        assert_eq!(installed.file().metadata().unwrap().nlink(), 1);
    }
    assert_eq!(fs::read_dir(world.top.path().join("store/staging")).unwrap().count(), 0);
}

#[test]
fn where_moving_could_replace_something_a_link_is_made_and_readers_wait_for_the_rest() {
    let world = World::new();
    let root = world.store.inner.writable().unwrap();
    let name = FileName::new(NAME).unwrap();
    let directory = root.make_directory_of(Digest::of(b"content")).unwrap().unwrap();
    let staged = || {
        let place = root.make_room(staging::STAGING).unwrap();
        let mut file = staging::named(&world.store.inner, root, place).unwrap();
        file.write_all(b"content").unwrap();
        set_mode(file.path(), 0o500);
        let Form::Named(_, staged) = file.form else { unreachable!() };
        staged
    };
    install::link_and_remove(&mut staged(), &directory, &name).unwrap();
    assert_eq!(fs::metadata(world.path_of(b"content")).unwrap().nlink(), 1);
    let exists = install::link_and_remove(&mut staged(), &directory, &name);
    assert!(Cause::Exists.explains(&exists.unwrap_err()));
    assert_eq!(fs::read_dir(world.top.path().join("store/staging")).unwrap().count(), 0);

    let second = world.top.path().join("second");
    fs::hard_link(world.path_of(b"content"), &second).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(3));
            fs::remove_file(&second).unwrap();
        });
        assert!(world.again().find(Digest::of(b"content"), NAME).is_some());
    });
}

#[test]
fn of_many_who_install_the_same_at_once_all_get_the_same() {
    const MANY: usize = 16;

    let world = World::new();
    let barrier = std::sync::Barrier::new(MANY);
    let install = &|named: bool| {
        let store = world.again();
        let root = store.inner.writable().unwrap();
        let mut file = if named {
            let directory = root.make_room(staging::STAGING).unwrap();
            staging::named(&store.inner, root, directory).unwrap()
        } else {
            store.staging().unwrap()
        };
        file.write_all(b"content").unwrap();
        let (file, digest) = verified(file);
        barrier.wait();
        let name = FileName::new(NAME).unwrap();
        let installed = install::keep(&store.inner, file, digest, &name).unwrap();
        installed.check_identity().unwrap();
        installed.file().metadata().unwrap().ino()
    };
    let mut inodes: Vec<_> = std::thread::scope(|scope| {
        let start = |index| scope.spawn(move || install(index % 2 == 0));
        let threads: Vec<_> = (0..MANY).map(start).collect();
        threads.into_iter().map(|it| it.join().unwrap()).collect()
    });
    inodes.dedup();
    assert_eq!(inodes.len(), 1);
    assert_eq!(fs::read_dir(world.top.path().join("store/staging")).unwrap().count(), 0);
}

#[test]
fn what_changed_while_it_was_verified_is_not_installed() {
    let world = World::new();
    let (file, digest) = verified(staged(&world.store, b"content"));
    let mut other = fs::OpenOptions::new()
        .write(true)
        .open(format!("/proc/self/fd/{}", file.file.as_raw_fd()))
        .unwrap();
    std::thread::sleep(Duration::from_millis(20));
    other.write_all(b"C").unwrap();
    let name = FileName::new(NAME).unwrap();
    let error = install::keep(&world.store.inner, file, digest, &name).unwrap_err();
    assert!(matches!(error, StoreError::Changed { .. }), "{error}");
    assert!(!world.path_of(b"content").exists());
}

#[test]
fn what_nobody_has_read_is_not_installed() {
    let world = World::new();
    let file = staged(&world.store, b"content");
    let name = FileName::new(NAME).unwrap();
    let outcome = install::keep(&world.store.inner, file, Digest::of(b"content"), &name);
    assert!(matches!(outcome, Err(StoreError::Changed { .. })));
}

#[test]
fn a_file_of_another_store_is_refused() {
    let (one, other) = (World::new(), World::new());
    let file = staged(&one.store, b"content");
    assert!(matches!(keep(&other.store, file), Err(StoreError::Stranger { .. })));
    let path = one.install(b"content");
    let found = one.again().find(Digest::of(b"content"), NAME).unwrap();
    assert!(matches!(keep(&one.store, found), Err(StoreError::Stranger { .. })));
    assert!(path.exists());
}

#[test]
fn an_installed_file_that_is_exchanged_while_it_is_verified_is_refused() {
    let world = World::new();
    let path = world.install(b"content");
    let exchange: [(&str, &dyn Fn()); 4] = [
        ("another file", &|| {
            let other = path.with_file_name("other");
            fs::write(&other, b"content").unwrap();
            set_mode(&other, 0o500);
            fsx::rename(&other, &path).unwrap();
        }),
        ("written to", &|| {
            set_mode(&path, 0o700);
            std::thread::sleep(Duration::from_millis(20));
            fs::write(&path, b"CONTENT").unwrap();
            set_mode(&path, 0o500);
        }),
        ("gone", &|| fs::remove_file(&path).unwrap()),
        ("a link", &|| {
            fs::remove_file(&path).unwrap();
            symlink("/bin/sh", &path).unwrap();
        }),
    ];
    for (words, exchange) in exchange {
        let _in_order = install(&world.store, b"content").unwrap();
        let found = world.store.find(Digest::of(b"content"), NAME).unwrap();
        let (found, digest) = verified(found);
        exchange();
        let name = FileName::new(NAME).unwrap();
        let outcome = install::keep(&world.store.inner, found, digest, &name);
        assert!(matches!(outcome, Err(StoreError::Changed { .. })), "{words}: {outcome:?}");
        let _any = fs::remove_file(&path);
    }
}

#[test]
fn an_exchange_after_installing_is_found_at_the_last_look() {
    let world = World::new();
    let installed = install(&world.store, b"content").unwrap();
    installed.check_identity().unwrap();
    let path = world.path_of(b"content");
    fsx::rename(&path, &path.with_file_name("aside")).unwrap();
    assert!(matches!(installed.check_identity(), Err(StoreError::Changed { .. })));
}

#[test]
fn what_is_planted_in_the_store_is_refused_with_its_reason() {
    let world = World::new();
    let fifo = |path: &Path| {
        let made = std::process::Command::new("mkfifo").args(["-m", "500"]).arg(path).status();
        assert!(made.unwrap().success());
    };
    let with_mode = |wanted: u32| {
        move |path: &Path| {
            fs::write(path, b"content").unwrap();
            set_mode(path, wanted);
        }
    };
    let cases: [(&str, Plant); 7] = [
        ("it is a symbolic link", Box::new(|path| symlink("/bin/sh", path).unwrap())),
        ("it is not a regular file", Box::new(fifo)),
        ("it is not a regular file", Box::new(|path| fs::create_dir(path).unwrap())),
        ("its mode is 0777", Box::new(with_mode(0o777))),
        ("its mode is 0520", Box::new(with_mode(0o520))),
        ("its mode is 4500", Box::new(with_mode(0o4500))),
        (
            "it has 2 names",
            Box::new(move |path: &Path| {
                with_mode(0o500)(path);
                fs::hard_link(path, path.with_file_name("second")).unwrap();
            }),
        ),
    ];
    for (words, plant) in cases {
        let path = world.plant(b"content", plant);
        let refusal = world.refusal(b"content");
        assert_eq!(refusal, format!("`{}` is not used: {words}", path.display()));
        let installed = install(&world.again(), b"content").unwrap();
        assert_eq!(installed.path(), Some(path.as_path()), "{words}: replaced by a good one");
        assert!(world.again().find(Digest::of(b"content"), NAME).is_some());
        let _any = fs::remove_file(path.with_file_name("second"));
    }
}

#[test]
fn a_mode_that_endangers_nobody_is_put_right() {
    let world = World::new();
    let path = world.install(b"content");
    set_mode(&path, 0o755);
    for directory in path.ancestors().skip(1).take(3) {
        set_mode(directory, 0o775);
    }
    set_mode(&world.top.path().join("store"), 0o777);
    let store = world.again();
    assert!(keep(&store, store.find(Digest::of(b"content"), NAME).unwrap()).is_ok());
    assert_eq!(mode(&path), 0o500);
    assert_eq!(mode(path.parent().unwrap()), 0o700);
    assert_eq!(mode(&world.top.path().join("store")), 0o755, "the reference lists it, too");
}

#[test]
fn a_directory_that_leads_elsewhere_is_refused() {
    for level in 0..3 {
        let world = World::new();
        let path = world.install(b"content");
        let directory = path.ancestors().nth(level + 1).unwrap();
        let elsewhere = world.top.path().join("elsewhere");
        fsx::rename(directory, &elsewhere).unwrap();
        symlink(&elsewhere, directory).unwrap();
        let words = format!("`{}` is not used: it is not a directory", directory.display());
        assert_eq!(world.refusal(b"content"), words);
    }
}

#[test]
fn a_store_that_is_itself_behind_a_link_is_used() {
    let world = World::new();
    fs::create_dir(world.top.path().join("disk")).unwrap();
    symlink(world.top.path().join("disk"), world.top.path().join("store")).unwrap();
    let store = world.again();
    assert!(install(&store, b"content").is_ok());
    assert!(store.find(Digest::of(b"content"), NAME).is_some());
}

#[test]
fn bytes_that_are_not_what_the_directory_says_are_not_taken_for_others() {
    let world = World::new();
    let path = world.plant(b"content", |path| {
        fs::write(path, b"rotten!").unwrap();
        set_mode(path, 0o500);
    });
    // Somebody else was first, but with something else.
    let installed = install(&world.store, b"content").unwrap();
    assert_eq!(installed.digest(), Digest::of(b"content"));
    assert_eq!(fs::read(&path).unwrap(), b"content");

    // Good bytes under the wrong name are refused, and the name goes.
    let path = world.plant(b"content", |path| {
        fs::write(path, b"another tool").unwrap();
        set_mode(path, 0o500);
    });
    let found = world.store.find(Digest::of(b"content"), NAME).unwrap();
    assert!(matches!(keep(&world.store, found), Err(StoreError::Refused(_))));
    assert!(!path.exists());
}

#[test]
fn what_did_not_verify_is_discarded() {
    let world = World::new();
    let path = world.install(b"content");
    assert!(world.store.discard(Digest::of(b"content"), NAME).unwrap());
    assert!(!path.exists() && !path.parent().unwrap().exists());
    assert!(!world.store.discard(Digest::of(b"content"), NAME).unwrap());
    world.install(b"content");
}

#[test]
fn a_read_only_store_comes_first_and_is_never_written() {
    let world = World::new();
    let path = world.install(b"content");
    let image = world.top.path().join("image");
    fsx::rename(&world.top.path().join("store"), &image).unwrap();
    let placed = image.join(path.strip_prefix(world.top.path().join("store")).unwrap());
    set_mode(&placed, 0o555);
    for directory in placed.ancestors().skip(1).take(4) {
        set_mode(directory, 0o755);
    }
    let store = world.again();
    let installed = keep(&store, store.find(Digest::of(b"content"), NAME).unwrap()).unwrap();
    assert_eq!(installed.path(), Some(placed.as_path()));
    assert!(store.entries()[0].read_only);
    assert_eq!(store.remove(Digest::of(b"content")).unwrap(), Removal::Missing);
    store.clear(&BTreeSet::new(), SystemTime::UNIX_EPOCH).unwrap();
    assert!(placed.exists());

    set_mode(placed.parent().unwrap(), 0o775);
    assert!(world.refusal(b"content").contains("its mode is 0775"));
}

#[test]
fn where_the_store_cannot_be_written_a_temporary_one_is_used() {
    let world = World::new();
    fs::write(world.top.path().join("store"), b"in the way").unwrap();
    let store = world.again();
    let owner = rustix::process::geteuid().as_raw();
    let temporary = world.top.path().join(format!("tmp/{}-{owner}", brand::PROGRAM));
    assert_eq!(store.writable_place(), WritablePlace::Temporary(&temporary));
    let installed = install(&store, b"content").unwrap();
    assert!(installed.path().unwrap().starts_with(&temporary));
    assert_eq!(mode(&temporary), 0o700);
    assert!(world.again().find(Digest::of(b"content"), NAME).is_some(), "the next run finds it");
    let concerns = world.again().concerns();
    assert!(concerns[0].to_string().contains("store` is not used"), "{concerns:?}");
}

#[test]
fn a_shared_directory_in_which_others_can_rename_is_not_used() {
    let world = World::new();
    fs::write(world.top.path().join("store"), b"in the way").unwrap();
    let shared = world.top.path().join("tmp");
    set_mode(&shared, 0o777);
    let store = world.again();
    assert_eq!(store.writable_place(), WritablePlace::Memory);
    let words = store.concerns().iter().map(ToString::to_string).collect::<String>();
    assert!(words.contains("other users may rename what is in it"), "{words}");
    set_mode(&shared, 0o1777);
    assert!(matches!(world.again().writable_place(), WritablePlace::Temporary(_)));
}

#[cfg(target_os = "linux")]
#[test]
fn where_nothing_can_be_written_the_artifact_stays_in_memory() {
    let world = World::new();
    for name in ["store", "tmp"] {
        let _any = fs::remove_dir(world.top.path().join(name));
    }
    let nowhere = Path::new("/proc/nowhere");
    let places = Places {
        read_only_home: None,
        home: None,
        store: Some(nowhere.join("store")),
        read_only_stores: Vec::new(),
        temporary: nowhere.to_owned(),
        links: None,
    };
    let store = Store::open(&places);
    let installed = install(&store, b"content").unwrap();
    assert_eq!((installed.path(), store.writable_place()), (None, WritablePlace::Memory));
    let mut file = installed.file();
    assert!(file.write_all(b"other").is_err(), "it is sealed");
    assert!(store.concerns().len() >= 2);
    assert!(!store.reserve("key", Duration::ZERO).is_held());
}

#[test]
fn what_the_reference_has_cached_is_copied_and_stays() {
    let world = World::new();
    let tools = world.top.path().join("home/tools");
    fs::create_dir_all(tools.join("prod")).unwrap();
    fs::write(tools.join("prod/tool"), b"content").unwrap();
    fs::write(tools.join("prod/tool.asc"), b"signature").unwrap();
    set_mode(&tools.join("prod/tool"), 0o755);
    let (prod, default) = ("prod".parse().unwrap(), "default".parse().unwrap());
    let tool: ToolName = NAME.parse().unwrap();

    assert!(world.store.find_reference_copy(&default, &tool).is_none());
    assert!(
        world.store.find_reference_copy(&"../home/tools/prod".parse().unwrap(), &tool).is_none()
    );
    let companion = world.store.reference_companion(&prod, &tool, ".asc").unwrap();
    assert_eq!(companion, b"signature");
    let found = world.store.find_reference_copy(&prod, &tool).unwrap();
    let installed = keep(&world.store, found).unwrap();
    assert_eq!(installed.path().unwrap(), world.path_of(b"content"));
    assert_eq!(mode(&tools.join("prod/tool")), 0o755);

    let (found, digest) = verified(world.store.find_reference_copy(&prod, &tool).unwrap());
    fs::write(tools.join("prod/tool"), b"CONTENT").unwrap();
    let name = FileName::new(NAME).unwrap();
    let outcome = install::keep(&world.store.inner, found, digest, &name);
    assert!(matches!(outcome, Err(StoreError::Changed { .. })));
}

#[test]
fn listing_and_removing_touch_only_what_is_ours() {
    let world = World::new();
    let (one, two) = (world.install(b"one"), world.install(b"two"));
    let store = world.top.path().join("store");
    let foreign =
        [store.join("tool"), store.join("sha256/notes.txt"), store.join("staging/mine.txt")];
    for path in &foreign {
        fs::write(path, b"not ours").unwrap();
    }
    let entries = world.store.entries();
    let mut paths: Vec<_> = entries.iter().map(|entry| entry.path.clone()).collect();
    let mut expected = [one.clone(), two.clone()];
    paths.sort();
    expected.sort();
    assert_eq!(paths, expected);
    assert!(entries.iter().all(|entry| entry.length == 3 && entry.last_used.is_some()));

    let removal = world.store.remove(Digest::of(b"one")).unwrap();
    assert_eq!(removal, Removal::Removed { bytes: 3 });
    assert!(!one.exists() && two.exists());
    assert_eq!(world.store.remove(Digest::of(b"one")).unwrap(), Removal::Missing);
    let cleared = world.store.clear(&BTreeSet::new(), SystemTime::UNIX_EPOCH).unwrap();
    assert_eq!((cleared.removed, cleared.bytes), (1, 3));
    assert!(foreign.iter().all(|path| path.exists()));
}

#[test]
fn sweeping_removes_what_the_dead_left_and_nothing_else() {
    let world = World::new();
    let root = world.store.inner.writable().unwrap();
    let directory = || root.make_room(staging::STAGING).unwrap();
    let alive = staging::named(&world.store.inner, root, directory()).unwrap();
    let staging = directory().path;
    let dead = staging.join("0123456789abcdef0123456789abcdef");
    fs::write(&dead, b"half").unwrap();
    let foreign = staging.join("README");
    fs::write(&foreign, b"").unwrap();
    let held = world.store.reserve("held", Duration::ZERO);
    drop(world.store.reserve("free", Duration::ZERO));
    let locks = world.top.path().join("store/locks");
    assert_eq!(fs::read_dir(&locks).unwrap().count(), 2);

    let later = SystemTime::UNIX_EPOCH + Duration::from_hours(24 * 365 * 200);
    world.again().sweep(SystemTime::UNIX_EPOCH);
    assert_eq!(fs::read_dir(&locks).unwrap().count(), 1, "a lock that nobody holds goes");
    world.again().sweep(later);
    assert!(alive.path().exists() && foreign.exists() && !dead.exists());
    assert_eq!(fs::read_dir(&locks).unwrap().count(), 1);
    assert!(held.is_held());
}

#[test]
fn one_at_a_time_has_a_reservation_and_the_next_knows_that_it_waited() {
    let world = World::new();
    let first = world.store.reserve("key", Duration::ZERO);
    assert!(first.is_held() && !first.has_waited());
    let impatient = world.store.reserve("key", Duration::from_millis(2));
    assert!(!impatient.is_held() && impatient.has_waited());
    assert!(world.store.reserve("other", Duration::ZERO).is_held());
    std::thread::scope(|scope| {
        let second = scope.spawn(|| world.store.reserve("key", Duration::from_secs(10)));
        std::thread::sleep(Duration::from_millis(20));
        drop(first);
        let second = second.join().unwrap();
        assert!(second.is_held() && second.has_waited());
    });
}
