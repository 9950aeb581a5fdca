//! The image, built from what `make static` has made, and run as its documentation says: as nobody,
//! with nothing that can be written but its volume, and without any right. The one for another
//! processor is built too; its program is run by QEMU, which hands its system calls to this kernel.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use dbt_testkit::people::ALICE;
use dbt_testkit::world::World;
use serde_json::{Value, json};

use crate::world::{Place, Server, WRITABLE, sha256};

/// The user of the image.
const NOBODY: u32 = 65532;

/// The platform of this machine, and the other one for which there is an image.
const HERE: &str = "linux/amd64";
const ELSEWHERE: &str = "linux/arm64";
const QEMU: &str = "qemu-aarch64-static";

/// What a machine that may not raise limits can give a container, and which parts run it.
const CONTAINERS: &str = "
[containers]
default_ulimits = [\"nofile=1024:20000\", \"nproc=1024:1024\"]
netns = \"host\"
[engine]
runtime = \"runc\"
cgroup_manager = \"cgroupfs\"
events_logger = \"file\"
";

fn target() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap().to_owned()
}

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// A store of images and containers of its own, with the image in it.
struct Store {
    directory: tempfile::TempDir,
    platform: &'static str,
}

impl Store {
    fn new() -> Self {
        Self::of(HERE)
    }

    /// Makes one for the image of a platform.
    fn of(platform: &'static str) -> Self {
        // Files of the image belong to several users, and its volume to another than whoever runs this.
        let is_root = rustix::process::geteuid().is_root();
        assert!(is_root, "the image is built and run as root: run `make test-static` as root");
        let store = Self { directory: tempfile::tempdir().unwrap(), platform };
        fs::write(store.path("containers.conf"), CONTAINERS).unwrap();
        let storage = format!(
            "[storage]\ndriver = \"vfs\"\ngraphroot = \"{}\"\nrunroot = \"{}\"\n",
            store.path("store").display(),
            store.path("run").display()
        );
        fs::write(store.path("storage.conf"), storage).unwrap();
        laid_out(platform, &store.path("image"));
        store
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .env("CONTAINERS_CONF", self.path("containers.conf"))
            .env("CONTAINERS_STORAGE_CONF", self.path("storage.conf"))
            .stdin(Stdio::null());
        command
    }

    fn run(&self, program: &str, words: &[&str]) -> Output {
        let output = self.command(program).args(words).output().unwrap();
        assert!(output.status.success(), "{program} {words:?}: {output:?}");
        output
    }

    /// Builds the image and returns its id.
    fn built(&self) -> String {
        let file = workspace().join("deploy/container/Containerfile");
        let (file, context) =
            (file.display().to_string(), self.path("image").display().to_string());
        // The same input gives the same image, whoever builds it and when.
        let words = ["bud", "-q", "--isolation", "chroot", "--timestamp", "0"];
        let of = ["--platform", self.platform, "-f", &file, &context];
        let output = self.run("buildah", &[&words[..], &of].concat());
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    fn inspected(&self, image: &str) -> Value {
        let output = self.run("podman", &["image", "inspect", image]);
        serde_json::from_slice::<Value>(&output.stdout).unwrap()[0].clone()
    }

    /// Takes a file out of an image and returns where it is.
    fn taken_out(&self, image: &str, file: &str) -> PathBuf {
        let words = ["create", "--pull=never", "--platform", self.platform, image];
        let output = self.run("podman", &words);
        let container = String::from_utf8(output.stdout).unwrap();
        let container = container.trim();
        let copy = self.path("file");
        self.run("podman", &["cp", &format!("{container}:{file}"), copy.to_str().unwrap()]);
        self.run("podman", &["rm", container]);
        copy
    }

    /// Starts the image, with these words of podman's and these arguments, on a place.
    fn start(&self, place: Place, words: &[&str], arguments: &[&str]) -> Container<'_> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("reposerver-{}-{number}", std::process::id());
        let image = self.built();
        std::os::unix::fs::chown(place.root(), Some(NOBODY), Some(NOBODY)).unwrap();
        let volume = format!("{}:/var/dbt", place.root().display());
        let confined = [
            "run",
            "--rm",
            "--pull=never",
            "--name",
            &name,
            "--read-only",
            "--tmpfs",
            "/tmp",
            "--cap-drop",
            "all",
            "--security-opt",
            "no-new-privileges",
            "-v",
            &volume,
        ];
        let mut podman = self.command("podman");
        podman.args(confined).args(words).arg(image).args(arguments);
        let process = podman.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        Container { store: self, name, server: Server::started(place, process) }
    }
}

/// Lays out what the image consists of.
fn laid_out(platform: &str, directory: &Path) {
    let script = workspace().join("scripts/image-root");
    let output = Command::new(script).arg(platform).arg(directory).output().unwrap();
    assert!(output.status.success(), "{output:?}; see `make test-static`");
}

/// A running container, removed when this goes.
struct Container<'a> {
    store: &'a Store,
    name: String,
    server: Server,
}

impl Container<'_> {
    /// Returns what the kernel says of its first process.
    fn status(&self) -> String {
        let words = ["inspect", "--format", "{{.State.Pid}}", &self.name];
        let output = self.store.run("podman", &words);
        let pid = String::from_utf8(output.stdout).unwrap();
        fs::read_to_string(format!("/proc/{}/status", pid.trim())).unwrap()
    }

    /// Stops it as an orchestrator does, and returns the exit code of the server.
    fn stop(&mut self) -> Option<i32> {
        self.store.run("podman", &["stop", "-t", "30", &self.name]);
        self.server.wait().code()
    }
}

impl Drop for Container<'_> {
    fn drop(&mut self) {
        let words = ["rm", "-f", "-i", "-t", "0", &self.name];
        let _gone = self.store.command("podman").args(words).output();
    }
}

/// Puts a configuration beside the tree and returns the words that bring it into the container.
fn configured(place: &Place, members: &str) -> [String; 2] {
    let directory = place.beside("etc");
    fs::create_dir(&directory).unwrap();
    let text = format!(r#"{{"address": "127.0.0.1", "port": 0, "drainDelay": 0, {members}}}"#);
    place.put_beside("etc/reposerver.json", text.as_bytes());
    ["-v".to_owned(), format!("{}:/etc/dbt:ro", directory.display())]
}

/// The arguments of the manifests for Kubernetes; the port is in the file.
const ARGUMENTS: [&str; 4] = ["-r", "/var/dbt", "-f", "/etc/dbt/reposerver.json"];

/// Checks what an image says of itself.
fn check_settings(about: &Value, architecture: &str) {
    assert_eq!((&about["Os"], &about["Architecture"]), (&json!("linux"), &json!(architecture)));
    let config = &about["Config"];
    assert_eq!(config["User"], "65532:65532");
    assert_eq!(config["Entrypoint"], json!(["/reposerver"]));
    assert_eq!(config["Cmd"], json!(["-a", "0.0.0.0", "-p", "9999", "-r", "/var/dbt"]));
    assert_eq!(config["ExposedPorts"], json!({"9999/tcp": {}}));
    // Whoever starts it chooses where the tree is kept; nothing is kept where it would be lost.
    assert!(config.get("Volumes").is_none_or(Value::is_null), "{config}");
}

#[test]
fn the_image_is_the_same_whoever_builds_it_and_holds_nothing_else() {
    let store = Store::new();
    let image = store.built();
    assert_eq!(store.built(), image);
    check_settings(&store.inspected(&image), "amd64");

    let archive = store.path("image.tar");
    let destination = format!("docker-archive:{}", archive.display());
    store.run("buildah", &["push", "-q", &image, &destination]);
    let unpacked = tempfile::tempdir().unwrap();
    let tar = |words: &[&str]| {
        let output = Command::new("tar").args(words).current_dir(unpacked.path()).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    tar(&["-xf", archive.to_str().unwrap()]);
    let manifest = fs::read(unpacked.path().join("manifest.json")).unwrap();
    let manifest: Value = serde_json::from_slice(&manifest).unwrap();
    let mut files: Vec<String> = Vec::new();
    for layer in manifest[0]["Layers"].as_array().unwrap() {
        let list = tar(&["--numeric-owner", "-tvf", layer.as_str().unwrap()]);
        files.extend(list.lines().map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            format!("{} {} {}", words[0], words[1], words[5].trim_matches('/'))
        }));
    }
    files.sort();
    files.dedup();
    let expected = [
        "-rw-r--r-- 0/0 etc/group",
        "-rw-r--r-- 0/0 etc/passwd",
        "-rwxr-xr-x 0/0 reposerver",
        "drwxr-xr-x 0/0 etc",
        "drwxr-xr-x 0/0 var",
        "drwxr-xr-x 65532/65532 var/dbt",
        "drwxrwxrwt 0/0 tmp",
    ];
    assert_eq!(files, expected);
}

#[test]
fn a_tool_is_published_to_the_image_and_run_from_there() {
    let world = World::new(target().join("static/linux-amd64/dbt"));
    world.pin(&[&ALICE]);
    world.repository().publish("deploy", "1.0.0").now();
    let place = Place::new();
    let etc = configured(&place, &format!("{WRITABLE}, \"immutable\": true"));
    let store = Store::new();
    let mut container = store.start(place, &["--network", "host", &etc[0], &etc[1]], &ARGUMENTS);
    let server = &container.server;

    // The truststore first: what comes after it must be signed by somebody in it.
    let mut paths: Vec<String> =
        world.served_files().iter().map(|file| served(&world, file)).collect();
    paths.sort_by_key(|path| (!path.ends_with("/truststore"), path.ends_with(".sha256")));
    assert!(paths.len() >= 4, "{paths:?}");
    for path in paths {
        let reply = server.put(&path, &world.repository().read(&path));
        assert_eq!(reply.status, 201, "{path}: {reply:?}");
    }
    world.move_server(&format!("http://{}", server.address));
    world.dbt(["deploy", "a b"]).prints("deploy 1.0.0\n[a b]\n").says_nothing();
    assert_eq!(world.tools_started(), ["deploy 1.0.0"]);

    let status = container.status();
    let line = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.split_whitespace().map(ToOwned::to_owned).collect::<Vec<_>>()
    };
    let nobody = NOBODY.to_string();
    assert_eq!(line("Uid:"), [&*nobody; 4]);
    assert_eq!(line("Gid:"), [&*nobody; 4]);
    for capabilities in ["CapPrm:", "CapEff:", "CapBnd:"] {
        assert_eq!(line(capabilities), ["0000000000000000"], "{capabilities}");
    }
    assert_eq!(
        (line("NoNewPrivs:"), line("Seccomp:")),
        (vec!["1".to_owned()], vec!["2".to_owned()])
    );
    // It is the first process, which no signal ends that it does not take.
    assert_eq!(line("NSpid:").last().map(String::as_str), Some("1"));
    assert_eq!(container.stop(), Some(0), "{}", container.server.log());
    let log = container.server.log();
    assert!(log.contains("stopping") && !log.contains("cut off"), "{log}");
}

/// Returns the path by which a file of the world's repository is served.
fn served(world: &World, file: &Path) -> String {
    let root = world.repository().file("/");
    format!("/{}", file.strip_prefix(&root).unwrap().display())
}

#[test]
fn what_the_image_must_not_forget_is_in_its_volume() {
    let store = Store::new();
    let place = Place::new();
    let etc = configured(&place, WRITABLE);
    let words = ["--network", "host", &etc[0], &etc[1]];
    let mut first = store.start(place, &words, &ARGUMENTS);
    assert_eq!(first.server.put("/dbt/latest", b"1.0.0").status, 201);
    assert_eq!(first.stop(), Some(0), "{}", first.server.log());
    assert!(first.server.root().join(".reposerver/state/state.db").exists());
    let directory = std::mem::replace(&mut first.server.directory, tempfile::tempdir().unwrap());
    drop(first);

    // Another container with the same volume goes on where that one ended.
    let place = Place::around(directory);
    place
        .put_beside("etc/reposerver.json", &fs::read(place.beside("etc/reposerver.json")).unwrap());
    let mut second = store.start(place, &words, &ARGUMENTS);
    assert_eq!(second.server.get("/dbt/latest").text(), "1.0.0");
    assert_eq!(second.server.put("/dbt/latest", b"1.0.1").status, 200);
    let exec = ["exec", &second.name, "/reposerver", "-r", "/var/dbt", "audit", "tail"];
    let said = String::from_utf8(store.run("podman", &exec).stdout).unwrap();
    assert!(said.contains("/dbt/latest  created") && said.contains("replaced"), "{said}");
    assert_eq!(second.stop(), Some(0), "{}", second.server.log());
}

#[test]
fn without_arguments_it_serves_as_the_older_image_does_with_its_variables() {
    let store = Store::new();
    let words = [
        // A network of its own, where the port is free.
        "--network",
        "none",
        "-e",
        "REPOSERVER_AUTH_TYPE_PUT=static-token",
        "-e",
        "REPOSERVER_STATIC_TOKEN_PUT=open-sesame",
    ];
    let mut container = store.start(Place::new(), &words, &[]);
    assert_eq!(container.server.address.to_string(), "0.0.0.0:9999");
    let exec = ["exec", &container.name, "/reposerver", "-r", "/var/dbt", "check-config"];
    let settings = String::from_utf8(store.run("podman", &exec).stdout).unwrap();
    for words in ["serverRoot = /var/dbt ", "authTypePut = static-token  (environment)"] {
        assert!(settings.contains(words), "{settings}");
    }
    assert!(!settings.contains("open-sesame"), "{settings}");
    assert_eq!(container.stop(), Some(0), "{}", container.server.log());
}

#[test]
fn the_image_for_the_other_processor_serves_what_is_published_to_it() {
    let store = Store::of(ELSEWHERE);
    let image = store.built();
    check_settings(&store.inspected(&image), "arm64");
    let program = store.taken_out(&image, "/reposerver");

    let place = Place::new();
    let [_, etc] = configured(&place, WRITABLE);
    let etc = etc.split(':').next().unwrap();
    let mut emulator = Command::new(QEMU);
    emulator
        .arg(program)
        .arg("-r")
        .arg(place.root())
        .arg("-f")
        .arg(format!("{etc}/reposerver.json"));
    let process = emulator.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let server = Server::started(place, process);
    let (path, tool) = ("/dbt-tools/deploy/1.0.0/linux/arm64/deploy", b"#!/bin/sh\n".repeat(1000));
    assert_eq!(server.put(path, &tool).status, 201, "{}", server.log());
    assert_eq!(server.put(&format!("{path}.asc"), b"sig").status, 201);
    assert_eq!(server.put(&format!("{path}.sha256"), sha256(&tool).as_bytes()).status, 201);
    assert_eq!(server.get(path).body, tool);
    server.stop();
}
