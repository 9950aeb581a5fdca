//! Where our files are, and what happens where nothing can be written.

use std::path::{Path, PathBuf};

use dbt_client::settings::Places;
use dbt_core::brand;

use crate::env::{Environment, Variable};
use crate::host::Host;

/// The directories of this run, and where its configuration may be.
#[derive(Debug, Clone)]
pub struct Found {
    /// Where our files are.
    pub places: Places,
    /// The file that was named, which must exist.
    pub named_config: Option<PathBuf>,
    /// The files that count when none was named; the first that exists is read.
    pub usual_configs: Vec<PathBuf>,
}

impl Found {
    /// Returns where a configuration is written when there is none yet.
    pub fn new_config(&self) -> Option<&Path> {
        self.named_config.as_deref().or_else(|| self.usual_configs.first().map(PathBuf::as_path))
    }
}

/// Finds the places. `can_write` says whether files can be made in a directory that exists.
pub fn find(env: &Environment, host: &Host, can_write: impl Fn(&Path) -> bool) -> Found {
    // What does not exist yet can be made where what is above it can be written.
    let writable = |path: &Path| {
        let mut decided = path.ancestors().filter_map(|ancestor| {
            let writable = can_write(ancestor);
            (writable || ancestor.exists()).then_some(writable)
        });
        decided.next().unwrap_or(false)
    };
    let moved = env.path(Variable::Home).map(|path| absolute(&path, host));
    // A home that is the root of the file system is the mark of a container's nameless user.
    let user_home = host.home.as_deref();
    let usable_home = user_home.filter(|home| home.parent().is_some() && home.is_dir());
    let ours = moved.clone().or_else(|| user_home.map(|home| home.join(brand::HOME_DIRECTORY)));
    let home = match moved {
        Some(moved) => Some(moved),
        None => usable_home.map(|home| home.join(brand::HOME_DIRECTORY)),
    };
    let (home, read_only_home) = match home {
        Some(home) if writable(&home) => (Some(home), None),
        home => (None, home.filter(|home| home.is_dir())),
    };

    let wanted = env.path(Variable::CacheDir).map(|path| absolute(&path, host));
    let wanted = wanted.or_else(|| ours.as_ref().map(|ours| ours.join("tools")));
    let store = wanted.clone().filter(|store| {
        let in_home = home.as_ref().is_some_and(|home| store.starts_with(home));
        (in_home || env.is_set(Variable::CacheDir)) && writable(store)
    });
    let mut read_only_stores: Vec<PathBuf> = env
        .path(Variable::StorePath)
        .map(|paths| std::env::split_paths(&paths).filter(|path| path.is_absolute()).collect())
        .unwrap_or_default();
    read_only_stores.extend(brand::SYSTEM_STORE.map(PathBuf::from));
    // What was put there when it could be written is still good.
    if store.is_none() {
        read_only_stores.extend(wanted.filter(|wanted| wanted.is_dir()));
    }
    let temporary = env.path(Variable::Temporary).filter(|path| path.is_absolute());
    let usual_configs = ours.map(|ours| ours.join("conf").join(brand::CONFIG_FILE));
    let system_config = brand::SYSTEM_CONFIG_DIRECTORY
        .map(|directory| Path::new(directory).join(brand::CONFIG_FILE));
    Found {
        places: Places {
            home,
            read_only_home,
            store,
            read_only_stores,
            temporary: temporary.unwrap_or_else(|| usual_temporary(usable_home)),
            links: usable_home.map(|home| home.join(".local").join("bin")),
        },
        named_config: env.path(Variable::Config).map(|path| absolute(&path, host)),
        usual_configs: usual_configs.into_iter().chain(system_config).collect(),
    }
}

/// Returns where temporary files are when nobody says it.
fn usual_temporary(home: Option<&Path>) -> PathBuf {
    match home.filter(|_home| cfg!(windows)) {
        Some(home) => home.join("AppData").join("Local").join("Temp"),
        None => PathBuf::from("/tmp"),
    }
}

/// Returns a path that a person gave, from where we were started.
fn absolute(path: &Path, host: &Host) -> PathBuf {
    match &host.directory {
        Some(directory) => directory.join(path),
        None => path.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct World {
        directory: tempfile::TempDir,
        read_only: Vec<PathBuf>,
    }

    impl World {
        fn new() -> Self {
            let directory = tempfile::tempdir().unwrap();
            std::fs::create_dir_all(directory.path().join("home")).unwrap();
            Self { directory, read_only: Vec::new() }
        }

        fn path(&self, path: &str) -> PathBuf {
            self.directory.path().join(path)
        }

        fn find(&self, variables: &[(&str, &Path)], home: Option<&Path>) -> Found {
            let host = Host {
                home: home.map(Path::to_owned),
                directory: Some(self.directory.path().to_owned()),
                ..Host::default()
            };
            let can_write =
                |path: &Path| !self.read_only.iter().any(|locked| path.starts_with(locked));
            find(&Environment::of(variables.iter().copied()), &host, can_write)
        }
    }

    #[test]
    fn everything_is_in_the_users_home() {
        let world = World::new();
        let home = world.path("home");
        let Found { places, usual_configs, named_config } = world.find(&[], Some(&home));
        assert_eq!(places.home, Some(home.join(".dbt")));
        assert_eq!(places.store, Some(home.join(".dbt/tools")));
        assert_eq!(places.links, Some(home.join(".local/bin")));
        assert_eq!(places.read_only_stores, [PathBuf::from("/var/lib/dbt/store")]);
        let usual = [home.join(".dbt/conf/dbt.json"), PathBuf::from("/etc/dbt/dbt.json")];
        if cfg!(target_os = "linux") {
            assert_eq!(usual_configs, usual);
        }
        assert_eq!(named_config, None);
    }

    #[test]
    fn variables_move_the_places() {
        let world = World::new();
        let stores =
            std::env::join_paths([Path::new("/a"), Path::new("relative"), Path::new("/b")])
                .unwrap();
        let found = world.find(
            &[
                ("DBT_HOME", Path::new("elsewhere")),
                ("DBT_CACHE_DIR", &world.path("cache")),
                ("DBT_STORE_PATH", Path::new(&stores)),
                ("DBT_CONFIG", Path::new("my.json")),
                (if cfg!(windows) { "TEMP" } else { "TMPDIR" }, &world.path("tmp")),
            ],
            Some(&world.path("home")),
        );
        assert_eq!(found.places.home, Some(world.path("elsewhere")));
        assert_eq!(found.places.store, Some(world.path("cache")));
        let stores: Vec<PathBuf> = ["/a", "/b", "/var/lib/dbt/store"].map(PathBuf::from).into();
        assert_eq!(found.places.read_only_stores, stores);
        assert_eq!(found.places.temporary, world.path("tmp"));
        assert_eq!(found.new_config(), Some(world.path("my.json").as_path()));
        assert_eq!(found.usual_configs[0], world.path("elsewhere/conf/dbt.json"));
    }

    #[test]
    fn a_home_that_cannot_be_used_leaves_places_out_and_nothing_fails() {
        let world = World::new();
        for home in [None, Some(PathBuf::from("/")), Some(world.path("missing"))] {
            let found = world.find(&[], home.as_deref());
            assert_eq!(
                (found.places.home, found.places.store, found.places.links),
                (None, None, None),
                "{home:?}"
            );
        }
    }

    #[test]
    fn what_a_home_that_became_read_only_holds_is_still_used() {
        let mut world = World::new();
        let tools = world.path("home/.dbt/tools");
        std::fs::create_dir_all(&tools).unwrap();
        world.read_only.push(world.path("home"));
        let found = world.find(&[], Some(&world.path("home")));
        assert_eq!((found.places.home, found.places.store), (None, None));
        assert_eq!(found.places.read_only_stores.last(), Some(&tools));
        assert_eq!(found.usual_configs[0], world.path("home/.dbt/conf/dbt.json"));
    }

    #[test]
    fn a_store_that_can_be_written_is_used_though_the_home_cannot() {
        let mut world = World::new();
        world.read_only.push(world.path("home"));
        let found =
            world.find(&[("DBT_CACHE_DIR", &world.path("cache"))], Some(&world.path("home")));
        assert_eq!((found.places.home, found.places.store), (None, Some(world.path("cache"))));
    }
}
