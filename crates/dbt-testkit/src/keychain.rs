//! A keychain for tests: a program like `secret-tool`, which keeps what it gets outside of every
//! world, and can be absent, locked or slow.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// What it does, in words of `sh`. What it was asked and with what variables is written down. It has
/// the words and the statuses of the real one, version 0.20.
const PROGRAM: &str = r#"#!/bin/sh
place=PLACE
echo "$*" >> "$place/asked"
export -p >> "$place/variables"
if [ -e "$place/hangs" ]; then exec sleep 600; fi
if [ -e "$place/fails" ]; then
  echo 'secret-tool: Cannot autolaunch D-Bus without X11 $DISPLAY' >&2
  exit 1
fi
command=$1
for item in "$@"; do :; done
if [ -e "$place/locked" ]; then
  if [ "$command" = store ]; then
    echo 'secret-tool: Cannot create an item in a locked collection' >&2
  fi
  exit 1
fi
case $command in
  store)
    if [ -e "$place/full-after-trials" ] && [ "$item" != trial ]; then
      echo 'secret-tool: No space left on device' >&2
      exit 1
    fi
    cat > "$place/items/$item" ;;
  lookup) cat "$place/items/$item" 2> /dev/null || exit 1 ;;
  clear) rm "$place/items/$item" 2> /dev/null || exit 1 ;;
esac
"#;

/// The keychain of one test.
#[derive(Debug)]
pub struct Keychain {
    place: tempfile::TempDir,
}

impl Default for Keychain {
    fn default() -> Self {
        Self::new()
    }
}

impl Keychain {
    /// Makes one that is empty and open.
    pub fn new() -> Self {
        let place = tempfile::tempdir().unwrap();
        for directory in ["bin", "items"] {
            fs::create_dir(place.path().join(directory)).unwrap();
        }
        let keychain = Self { place };
        let text = PROGRAM.replace("PLACE", &keychain.place.path().display().to_string());
        fs::write(keychain.program(), text).unwrap();
        fs::set_permissions(keychain.program(), fs::Permissions::from_mode(0o755)).unwrap();
        keychain
    }

    /// Returns the program.
    pub fn program(&self) -> PathBuf {
        self.place.path().join("bin/secret-tool")
    }

    /// Returns a `PATH` on which it is found first.
    pub fn path(&self) -> OsString {
        let mut path = self.place.path().join("bin").into_os_string();
        path.push(":/usr/local/bin:/usr/bin:/bin");
        path
    }

    /// Returns the secrets in it.
    pub fn secrets(&self) -> Vec<String> {
        let items = fs::read_dir(self.place.path().join("items")).unwrap();
        let read = |item: fs::DirEntry| {
            let bytes = URL_SAFE_NO_PAD.decode(fs::read(item.path()).unwrap()).unwrap();
            String::from_utf8(bytes).unwrap()
        };
        let mut secrets: Vec<String> = items.map(|item| read(item.unwrap())).collect();
        secrets.sort();
        secrets
    }

    /// Returns what it was asked since this was asked last: the words of its command line.
    pub fn take_asked(&self) -> Vec<String> {
        let file = self.place.path().join("asked");
        let asked = fs::read_to_string(&file).unwrap_or_default();
        let _nobody_asked = fs::remove_file(file);
        asked.lines().map(str::to_owned).collect()
    }

    /// Returns the commands of [`take_asked`](Self::take_asked), without those that only try whether
    /// something can be written.
    pub fn take_commands(&self) -> Vec<String> {
        let asked = self.take_asked();
        let meant = asked.iter().filter(|line| !line.ends_with(" item trial"));
        meant.filter_map(|line| line.split(' ').next().map(str::to_owned)).collect()
    }

    /// Returns every variable that it was ever started with.
    pub fn variables(&self) -> String {
        fs::read_to_string(self.place.path().join("variables")).unwrap_or_default()
    }

    /// Says what is wrong with it from now on: nothing any more, or one of `hangs`, `fails`, `locked`
    /// and `full-after-trials`.
    pub fn now(&self, wrong: Option<&str>) {
        let all = ["hangs", "fails", "locked", "full-after-trials"];
        for name in all {
            let _was_not = fs::remove_file(self.place.path().join(name));
        }
        if let Some(name) = wrong {
            assert!(all.contains(&name), "a keychain does not know `{name}`");
            fs::write(self.place.path().join(name), "").unwrap();
        }
    }

    /// Puts something else in the place of everything that it has.
    pub fn replace_by(&self, text: &str) {
        for item in fs::read_dir(self.place.path().join("items")).unwrap() {
            fs::write(item.unwrap().path(), text).unwrap();
        }
    }

    /// Loses everything that it has.
    pub fn lose(&self) {
        for item in fs::read_dir(self.place.path().join("items")).unwrap() {
            fs::remove_file(item.unwrap().path()).unwrap();
        }
    }
}
