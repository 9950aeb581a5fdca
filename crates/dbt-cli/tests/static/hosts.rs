//! A host with nothing on it: no C library, no `/proc`, no `/dev`, no certificates, and one shell.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::thread;

use dbt_testkit::exits;
use dbt_testkit::invocation::{Invocation, Run};
use dbt_testkit::people::ALICE;
use dbt_testkit::world::World;

use crate::built::released;

/// The name of the server on the host, which no name server knows.
const NAME: &str = "dbt.example.test";

/// What the tool says.
const SAID: &str = "echo it is $1\n";

/// Where Debian's static shell is.
pub(crate) const BUSYBOX: &str = "/bin/busybox";

/// An almost empty tree that programs take for all there is.
pub(crate) struct Host {
    world: World,
    root: PathBuf,
}

impl Host {
    /// Makes a host that knows the server by these lines of `/etc/hosts`.
    fn new(names: &str, port: Option<u16>) -> Self {
        let world = World::new(released("linux-amd64", "dbt"));
        world.pin(&[&ALICE]);
        let script = format!("#!{BUSYBOX} sh\n{SAID}");
        world.repository().publish("deploy", "1.4.0").content(script).now();
        let root = world.directory().join("root");
        for directory in ["bin", "etc", "home/.dbt/conf"] {
            fs::create_dir_all(root.join(directory)).unwrap();
        }
        fs::copy(BUSYBOX, root.join("bin/busybox")).unwrap();
        fs::copy(world.program(), root.join("bin/dbt")).unwrap();
        fs::write(root.join("etc/hosts"), names).unwrap();
        let served = world.server().url();
        let address = served.trim_start_matches("http://");
        let port = port.map_or_else(
            || address.rsplit_once(':').unwrap().1.to_owned(),
            |port| port.to_string(),
        );
        let config = fs::read_to_string(world.config_file()).unwrap();
        let config = config.replace(address, &format!("{NAME}:{port}"));
        fs::write(root.join("home/.dbt/conf/dbt.json"), config).unwrap();
        Self { world, root }
    }

    /// Makes a host that knows the server.
    pub(crate) fn reachable() -> Self {
        Self::new(&format!("127.0.0.1 {NAME}\n"), None)
    }

    /// Returns what is around the host.
    pub(crate) fn world(&self) -> &World {
        &self.world
    }

    /// Returns the directory that the host takes for all there is.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn dbt(&self, words: &[&str]) -> Run {
        self.invocation(words).run()
    }

    pub(crate) fn invocation(&self, words: &[&str]) -> Invocation<'_> {
        let root = self.root.to_str().unwrap();
        // A user of an own namespace may change the root without being root.
        let prefix = ["unshare", "-r", "/usr/sbin/chroot", root];
        self.world.invoke(words).through(&prefix).program("/bin/dbt").env("HOME", "/home")
    }

    fn has_installed(&self) -> bool {
        self.root.join("home/.dbt/tools/sha256").exists()
    }
}

#[test]
fn a_host_without_anything_runs_tools() {
    let host = Host::reachable();
    host.dbt(&["deploy", "good"]).prints("it is good\n").says_nothing();
    assert!(host.has_installed());
    host.dbt(&["deploy", "better"]).prints("it is better\n").says_nothing();
    host.dbt(&["-o", "deploy", "kept"]).prints("it is kept\n").says_nothing();
    host.dbt(&["--version"]).exits_with(0).says_nothing();
    host.dbt(&["which", "deploy"]).exits_with(0);
}

#[test]
fn a_host_without_anything_refuses_what_is_false() {
    let host = Host::reachable();
    host.world.repository().flip_a_bit("deploy", "1.4.0");
    let run = host.dbt(&["deploy"]);
    run.exits_with(exits::VERIFICATION_REFUSED).mentions("checksum");
    assert_eq!(run.stdout(), "");
    assert!(!host.has_installed());
}

#[test]
fn of_several_addresses_one_that_answers_is_enough() {
    // The server listens on the second only.
    let host = Host::new(&format!("::1 {NAME}\n127.0.0.1 {NAME}\n"), None);
    host.dbt(&["deploy", "good"]).prints("it is good\n").says_nothing();
}

#[test]
fn names_lead_to_addresses_of_the_sixth_version_too() {
    let Ok(listener) = TcpListener::bind("[::1]:0") else {
        // A machine without them resolves the name all the same, and then nobody answers.
        let host = Host::new(&format!("::1 {NAME}\n"), None);
        host.dbt(&["deploy"]).exits_with(exits::UNREACHABLE).mentions(NAME);
        return;
    };
    let port = listener.local_addr().unwrap().port();
    let host = Host::new(&format!("::1 {NAME}\n"), Some(port));
    let served = host.world.server().url();
    pass_on(listener, served.trim_start_matches("http://").to_owned());
    host.dbt(&["deploy", "good"]).prints("it is good\n").says_nothing();
    assert!(!host.world.server().take_requests().is_empty());
}

#[test]
fn a_name_that_nobody_knows_is_an_outage() {
    let host = Host::new("", None);
    host.dbt(&["deploy"]).exits_with(exits::UNREACHABLE).mentions(NAME);
    assert!(!host.has_installed());
    fs::write(host.root.join("etc/hosts"), format!("127.0.0.1 {NAME}\n")).unwrap();
    host.dbt(&["update", "deploy"]).exits_with(0);
    fs::write(host.root.join("etc/hosts"), "").unwrap();
    host.dbt(&["deploy", "kept"]).prints("it is kept\n").mentions(NAME);
}

/// Passes every connection on, until the test ends.
fn pass_on(listener: TcpListener, to: String) {
    thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let server = TcpStream::connect(&to).unwrap();
            join(client.try_clone().unwrap(), server.try_clone().unwrap());
            join(server, client);
        }
    });
}

fn join(mut from: TcpStream, mut to: TcpStream) {
    thread::spawn(move || {
        drop(std::io::copy(&mut from, &mut to));
        drop(to.shutdown(std::net::Shutdown::Write));
    });
}
