//! The scripts at the addresses that installers of 3.x had, as `release` writes them: run by the shells
//! and fetchers that people have, at a server, with an installer that writes down how it was started.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use dbt_core::digest::Digest;
use dbt_testkit::server::{Fault, FileServer};

use super::world::World;

const SCRIPT: &str = "install_dbt.sh";
const KEYCHAIN: &str = "install_dbt_mac_keychain.sh";

/// Where the installer of this machine is, whatever the tests run on: `uname` says so.
const AT: &str = "/dbt/installer/linux/amd64/dbt-installer";

/// What is on the machine besides shells and fetchers.
const PROGRAMS: [&str; 6] = ["chmod", "mktemp", "rm", "sha256sum", "openssl", "cat"];

/// A repository with installers and scripts behind a server, and a machine that has nothing of ours.
struct Place {
    world: World,
    server: FileServer,
}

impl Place {
    fn new() -> Self {
        let world = World::with_alice();
        let server = FileServer::start(&world.path("repo"));
        let place = Self { world, server };
        for platform in ["linux/amd64", "linux/arm64", "darwin/amd64"] {
            let text = format!(
                "#!/bin/sh\nprintf '%s\\n' {platform} \"$@\" > '{}'\nexit 7\n",
                place.started().display()
            );
            let file = format!("dist/installer/{platform}/dbt-installer");
            place.world.write(&file, text.as_bytes());
        }
        place.release("");
        fs::create_dir(place.world.path("tmp")).unwrap();
        place.has(&PROGRAMS);
        place.is("Linux", "x86_64");
        place
    }

    /// Publishes the installers.
    fn release(&self, further: &str) {
        let url = self.server.url();
        let line =
            format!("release dist -v 4.1.0 --to REPO --signer file:alice --yes --public-url {url}");
        self.world.run(&format!("{line} {further}")).succeeds();
    }

    /// Puts programs of this machine onto the other one.
    fn has(&self, programs: &[&str]) {
        fs::create_dir_all(self.world.path("bin")).unwrap();
        for program in programs {
            let found = ["/usr/bin", "/bin"].map(|place| PathBuf::from(place).join(program));
            let found = found.into_iter().find(|file| file.exists()).unwrap();
            symlink(found, self.world.path("bin").join(program)).unwrap();
        }
    }

    /// Says which machine it is.
    fn is(&self, system: &str, machine: &str) {
        let text =
            format!("#!/bin/sh\ncase $1 in -s) echo {system} ;; -m) echo {machine} ;; esac\n");
        let uname = self.world.write("bin/uname", text.as_bytes());
        fs::set_permissions(uname, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn started(&self) -> PathBuf {
        self.world.path("started")
    }

    /// How the installer was started, if it was.
    fn words(&self) -> Option<Vec<String>> {
        let text = fs::read_to_string(self.started()).ok()?;
        fs::remove_file(self.started()).unwrap();
        Some(text.lines().map(str::to_owned).collect())
    }

    fn run(&self, shell: &[&str], script: &str, words: &[&str]) -> Output {
        let output = Command::new(shell[0])
            .args(&shell[1..])
            .arg(self.world.path(&format!("repo/dbt/{script}")))
            .args(words)
            .env_clear()
            .env("PATH", self.world.path("bin"))
            .env("HOME", self.world.path("home"))
            .env("TMPDIR", self.world.path("tmp"))
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let left = fs::read_dir(self.world.path("tmp")).unwrap().count();
        assert_eq!(left, 0, "files are left in the directory of temporary ones: {output:?}");
        output
    }

    /// Expects that the installer is started so, and that its exit code is the script's.
    #[track_caller]
    fn installs(&self, words: &[&str], expected: &[&str]) {
        let output = self.run(&["/bin/dash"], SCRIPT, words);
        assert_eq!(output.status.code(), Some(7), "{output:?}");
        assert_eq!(self.words().unwrap(), expected, "{words:?}");
    }

    /// Expects that nothing is started, and these words.
    #[track_caller]
    fn refuses(&self, script: &str, words: &[&str], code: i32, said: &str) {
        let output = self.run(&["/bin/dash"], script, words);
        let talk = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!((output.status.code(), self.words()), (Some(code), None), "{talk}");
        assert!(talk.contains(said), "{talk}");
        assert!(talk.contains(&format!("{script}: ")), "{talk}");
        assert_eq!(String::from_utf8_lossy(&output.stdout), "");
    }
}

#[test]
fn the_installer_that_was_published_is_started_by_every_shell_and_fetcher() {
    let place = Place::new();
    let root = place.server.url();
    let expected = ["linux/amd64", "--from", &root, "--yes"];
    for fetcher in ["curl", "wget"] {
        place.has(&[fetcher]);
        for shell in [
            &["/bin/dash"][..],
            &["/bin/bash"],
            &["/bin/bash", "--posix"],
            &["/usr/bin/busybox", "sh"],
        ] {
            let output = place.run(shell, SCRIPT, &["--yes"]);
            assert_eq!(output.status.code(), Some(7), "{shell:?} {fetcher}: {output:?}");
            assert_eq!(place.words().unwrap(), expected, "{shell:?} {fetcher}");
            assert_eq!((output.stdout.len(), output.stderr.len()), (0, 0), "{output:?}");
        }
        fs::remove_file(place.world.path("bin").join(fetcher)).unwrap();
    }
    let asked = place.server.take_lines();
    assert!(asked.iter().all(|line| *line == format!("GET {AT}")), "{asked:?}");
}

/// As people run what a page tells them to: `curl ... | sh -s -- --yes`.
#[test]
fn a_script_that_is_read_from_a_pipe_does_the_same_and_half_of_it_does_nothing() {
    let place = Place::new();
    place.has(&["curl"]);
    let text = place.world.read(&format!("repo/dbt/{SCRIPT}"));
    let piped = |length: usize| {
        place.world.write("half", &text[..length]);
        Command::new("/bin/dash")
            .args(["-s", "--", "--yes"])
            .env_clear()
            .env("PATH", place.world.path("bin"))
            .env("TMPDIR", place.world.path("tmp"))
            .stdin(fs::File::open(place.world.path("half")).unwrap())
            .output()
            .unwrap()
    };
    assert_eq!(piped(text.len()).status.code(), Some(7));
    assert!(place.words().is_some());
    place.server.take_lines();
    for length in (0..text.len() - "main \"$@\"\n".len()).step_by(97) {
        drop(piped(length));
        assert_eq!(place.words(), None, "the first {length} bytes have started it");
    }
    assert_eq!(place.server.take_lines(), [""; 0]);
}

#[test]
fn what_is_not_what_was_published_is_not_started() {
    let place = Place::new();
    place.has(&["curl"]);
    let file = format!("repo{AT}");
    let right = place.world.read(&file);
    let evil = [&right[..], b"echo evil\n"].concat();
    place.world.write(&file, &evil);
    // Whoever can change the installer can change the checksum beside it, too.
    let beside = Digest::of(&evil).to_string();
    place.world.write(&format!("{file}.sha256"), beside.as_bytes());
    let should = format!("its SHA-256 is {beside} and should be {}", Digest::of(&right));
    place.refuses(SCRIPT, &["--yes"], 86, &should);

    // Whole answers that are short, and connections that end early, with either fetcher.
    place.world.write(&file, &right[..right.len() / 2]);
    place.refuses(SCRIPT, &["--yes"], 86, "is not what was published with this script");
    place.world.write(&file, &right);
    for fetcher in ["curl", "wget"] {
        fs::remove_file(place.world.path("bin/curl")).ok();
        place.has(&[fetcher]);
        for fault in [Fault::Status(404), Fault::Status(500), Fault::Length(40)] {
            place.server.fault(AT, fault);
            place.refuses(SCRIPT, &["--yes"], 82, "could not be fetched");
        }
        place.server.repair();
    }
    place.server.fault(AT, Fault::Portal);
    let output = place.run(&["/bin/dash"], SCRIPT, &["--yes"]);
    assert!(matches!(output.status.code(), Some(82 | 86)), "{output:?}");
    assert_eq!(place.words(), None);
    place.server.repair();
    place.installs(&["--yes"], &["linux/amd64", "--from", &place.server.url(), "--yes"]);
}

#[test]
fn nothing_is_started_where_nothing_can_be_compared_or_fetched() {
    let place = Place::new();
    place.refuses(SCRIPT, &[], 82, "neither curl nor wget is there");
    place.has(&["curl"]);
    for program in ["sha256sum", "openssl"] {
        fs::remove_file(place.world.path("bin").join(program)).unwrap();
        if program == "sha256sum" {
            place.installs(&[], &["linux/amd64", "--from", &place.server.url()]);
        }
    }
    place.refuses(SCRIPT, &[], 86, "none of sha256sum, shasum and openssl is there");
}

#[test]
fn each_machine_gets_its_own_installer_and_others_are_told() {
    let place = Place::new();
    place.has(&["curl"]);
    let root = place.server.url();
    for (system, machine, platform) in [
        ("Linux", "aarch64", "linux/arm64"),
        ("Darwin", "x86_64", "darwin/amd64"),
        // There is none for it; the system runs the other one.
        ("Darwin", "arm64", "darwin/amd64"),
    ] {
        place.is(system, machine);
        place.installs(&[], &[platform, "--from", &root]);
    }
    place.is("Linux", "riscv64");
    place.refuses(SCRIPT, &[], 84, "machines of the kind riscv64");
    place.is("FreeBSD", "amd64");
    place.refuses(SCRIPT, &[], 84, "this script is for linux darwin, and this is FreeBSD");

    // The other script is for macOS, and says where sign-ins are kept.
    place.is("Linux", "x86_64");
    place.refuses(KEYCHAIN, &["--use-keychain"], 84, "this script is for darwin");
    place.is("Darwin", "x86_64");
    let output = place.run(&["/bin/dash"], KEYCHAIN, &["--use-keychain"]);
    assert_eq!(output.status.code(), Some(7), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("\"tokenStore\" of the configuration is \"keychain\""), "{said}");
    assert_eq!(place.words().unwrap(), ["darwin/amd64", "--from", &root]);
}

#[test]
fn the_flags_of_the_older_script_mean_what_they_meant_or_are_refused() {
    let place = Place::new();
    place.has(&["curl"]);
    let root = place.server.url();
    // Both forms of its address; the installer wants the root.
    for url in [root.clone(), format!("{root}/"), format!("{root}/dbt")] {
        let older =
            ["--url", &url, "--name", "my server", "--add", "--install-dir", "/opt/d", "-y"];
        let expected =
            ["linux/amd64", "--from", &root, "--name", "my server", "--directory", "/opt/d", "-y"];
        place.installs(&older, &expected);
    }
    place.installs(
        &["--oidc-username", "alice", "--no-modify-profile", "--device"],
        &["linux/amd64", "--from", &root, "--user", "alice", "--no-modify-profile", "--device"],
    );
    place.installs(&["uninstall", "--yes"], &["linux/amd64", "uninstall", "--yes"]);
    place.server.take_lines();
    for (words, said) in [
        (&["--oidc-client-secret", "hidden"][..], "--oidc-client-secret is not known any more"),
        (&["--replace"], "--replace is not known any more"),
        (&["--s3-region", "eu"], "puts it into the settings of the installer"),
        (&["--url"], "--url needs a value"),
        (&["--url", "s3://bucket"], "and not an address with https://"),
    ] {
        place.refuses(SCRIPT, words, 80, said);
    }
    assert_eq!(place.server.take_lines(), [""; 0]);
}

#[test]
fn a_release_brings_its_own_script_or_none_and_those_of_others_are_made_anew() {
    let place = Place::new();
    let world = &place.world;
    let upstream = world.run("key export alice").succeeds().data;
    world.write("upstream.asc", upstream.as_bytes());
    fs::create_dir(world.path("mine")).unwrap();
    let line = "release --from REPO --upstream-key upstream.asc -v 4.1.0 --signer file:alice --yes";
    world.run(&format!("{line} --to PLACE/mine --force")).succeeds();
    let text = |path: &str| String::from_utf8(world.read(path)).unwrap();
    let theirs = text(&format!("repo/dbt/{SCRIPT}"));
    assert!(theirs.contains(&format!("repository='{}/dbt'", place.server.url())), "{theirs}");
    // Nobody has said where this directory will be served.
    let mine = text(&format!("mine/dbt/{SCRIPT}"));
    assert!(mine.contains("repository=''"), "{mine}");
    assert!(world.path(&format!("mine/dbt/{KEYCHAIN}.asc")).exists());
    let output = Command::new("/bin/sh").arg(world.path(&format!("mine/dbt/{SCRIPT}"))).output();
    let output = output.unwrap();
    assert_eq!(output.status.code(), Some(80), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("--url URL says where"), "{output:?}");

    world.write(&format!("dist/{SCRIPT}"), b"#!/bin/sh\necho our own\n");
    place.release("");
    assert_eq!(world.read(&format!("repo/dbt/{SCRIPT}")), b"#!/bin/sh\necho our own\n");
}
