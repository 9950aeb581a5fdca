//! The program on a terminal: its questions, the passphrase that is typed, and the progress that is drawn.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::process::{Child, ChildStdin, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use super::http::{Server, publishing_to};
use super::world::{PASSPHRASE, SCRIPT, World, artifact};

const LINE: &str = "publish deploy 1.4.0 linux/amd64=deploy --description x --to REPO \
                    --signer file:alice";

/// How long something may take to be shown.
const PATIENCE: Duration = Duration::from_secs(30);

/// The program on a terminal of its own, where somebody types. Nothing else says what the keys are
/// locked with.
struct Terminal<'a> {
    world: &'a World,
    child: Child,
    typed: Option<ChildStdin>,
    pieces: Receiver<Vec<u8>>,
    shown: Vec<u8>,
}

impl<'a> Terminal<'a> {
    fn start(world: &'a World, line: &str) -> Self {
        let line = format!("{} {}", env!("CARGO_BIN_EXE_publisher"), world.words(line).join(" "));
        // `script` is of util-linux; what is on its terminal comes out of its standard output. As on
        // any terminal what is typed is shown, unless a program forbids it.
        let mut command = world.command("script");
        command.args(["--quiet", "--return", "--echo", "always", "--command", &line, "/dev/null"]);
        command.env_remove("DBT_SIGNING_PASSPHRASE").env("SHELL", "/bin/sh").env("TERM", "xterm");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut child = command.spawn().unwrap();
        let (typed, mut output) = (child.stdin.take(), child.stdout.take().unwrap());
        let (found, pieces) = mpsc::channel();
        std::thread::spawn(move || {
            let mut piece = [0; 4096];
            while let Ok(length @ 1..) = output.read(&mut piece) {
                if found.send(piece[..length].to_vec()).is_err() {
                    return;
                }
            }
        });
        Self { world, child, typed, pieces, shown: Vec::new() }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.shown).replace('\r', "")
    }

    /// Waits until this is on it.
    #[track_caller]
    fn shows(&mut self, words: &str) -> &mut Self {
        while !self.text().contains(words) {
            match self.pieces.recv_timeout(PATIENCE) {
                Ok(piece) => self.shown.extend(piece),
                Err(error) => panic!("`{words}` is not on it ({error}): {}", self.text()),
            }
        }
        self
    }

    fn types(&mut self, line: &str) -> &mut Self {
        self.typed.as_mut().unwrap().write_all(format!("{line}\n").as_bytes()).unwrap();
        self
    }

    /// Waits until the program ends; returns what was on it.
    #[track_caller]
    fn ends_with(mut self, code: i32) -> String {
        while let Ok(piece) = self.pieces.recv_timeout(PATIENCE) {
            self.shown.extend(piece);
        }
        // Before it is shown by anything that fails.
        self.world.no_secret_is_in("what is on the terminal", &self.shown);
        self.typed = None;
        let status = self.child.wait().unwrap();
        assert_eq!(status.code(), Some(code), "{}", self.text());
        self.text()
    }
}

/// Nobody sits there any more.
impl Drop for Terminal<'_> {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _gone = self.child.wait();
    }
}

/// A world in which a version can be published, or one is.
fn world() -> World {
    let world = World::with_alice();
    world.write("deploy", SCRIPT);
    world
}

/// Every file of the repository.
fn repository(world: &World) -> BTreeMap<String, Vec<u8>> {
    let read = |path: String| (path.clone(), world.read(&format!("repo/{path}")));
    world.served().into_iter().map(read).collect()
}

#[test]
fn a_passphrase_that_is_typed_unlocks_the_key_and_is_not_shown() {
    let world = world();
    let mut terminal = Terminal::start(&world, LINE);
    terminal.shows("passphrase of ").types(PASSPHRASE);
    terminal.ends_with(0);
    assert!(world.client_accepts(&artifact("deploy", "1.4.0", "linux/amd64")).unwrap());
}

#[test]
fn with_a_wrong_passphrase_nothing_is_published() {
    let world = world();
    let before = repository(&world);
    let mut terminal = Terminal::start(&world, LINE);
    terminal.shows("passphrase of ").types("jabberwocky");
    let shown = terminal.ends_with(81);
    assert!(shown.contains("the passphrase does not unlock it"), "{shown}");
    assert_eq!(repository(&world), before);
}

#[test]
fn without_a_terminal_no_passphrase_is_waited_for() {
    let world = world();
    let before = repository(&world);
    let mut command = world.command("setsid");
    command.arg("--wait").arg(env!("CARGO_BIN_EXE_publisher")).args(world.words(LINE));
    command.env_remove("DBT_SIGNING_PASSPHRASE");
    let output = command.stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(80), &b""[..]), "{said}");
    assert!(said.contains("there is no terminal to ask for the passphrase"), "{said}");
    assert!(said.contains("hint: `--passphrase-file FILE` or `DBT_SIGNING_PASSPHRASE`"), "{said}");
    assert_eq!(repository(&world), before);
}

#[test]
fn what_a_person_says_no_to_does_not_happen_and_what_he_says_yes_to_does() {
    for line in [
        "delete deploy 1.4.0 --to REPO",
        "withdraw deploy 1.4.0 --reason bad --to REPO --signer file:alice \
         --passphrase-file PLACE/passphrase",
        "truststore remove BOB --to REPO --signer file:alice --passphrase-file PLACE/passphrase",
    ] {
        let world = world();
        let line = line.replace("BOB", &world.key("bob").fingerprint().to_string());
        world.run("truststore add bob --to REPO --signer file:alice").succeeds();
        world.write_secret("passphrase", &format!("{PASSPHRASE}\n"));
        world.run(LINE).says_nothing();
        let before = repository(&world);

        for answer in ["n", ""] {
            let mut terminal = Terminal::start(&world, &line);
            terminal.shows("? [y/N] ").types(answer);
            let shown = terminal.ends_with(0);
            assert!(shown.contains(&format!("? [y/N] {answer}\n")), "it is shown: {shown}");
            assert_eq!(repository(&world), before, "{line}: {shown}");
        }

        let mut terminal = Terminal::start(&world, &line);
        terminal.shows("? [y/N] ").types("y");
        terminal.ends_with(0);
        assert_ne!(repository(&world), before, "{line}");
    }
}

#[test]
fn how_far_an_upload_is_is_drawn_on_a_terminal_and_nowhere_else() {
    let server = Server::start();
    let world = publishing_to(&server);
    world.write_secret("passphrase", &format!("{PASSPHRASE}\n"));
    world.write("deploy", &[SCRIPT, &vec![b'#'; 3 << 20]].concat());
    server.hold_writes();
    let line = |version: &str| {
        LINE.replace("REPO", server.url()).replace("1.4.0", version)
            + " --token-file PLACE/token --passphrase-file PLACE/passphrase"
    };
    // It begins before the other one, and takes longer.
    let mut piped = world.command(env!("CARGO_BIN_EXE_publisher"));
    piped.args(world.words(&line("1.4.0"))).env("TERM", "xterm");
    let piped = piped.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    server.has_a_write_held();

    let mut terminal = Terminal::start(&world, &line("1.5.0"));
    terminal.shows("writing 6 files [").shows(" MiB/3.00 MiB ");
    server.answer_writes();
    terminal.ends_with(0);
    let piped = piped.unwrap().wait_with_output().unwrap();
    let said = [piped.stdout, piped.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    assert_eq!((piped.status.code(), said.concat().as_str()), (Some(0), ""));
    for version in ["1.4.0", "1.5.0"] {
        let at = format!("/dbt-tools/deploy/{version}/linux/amd64/deploy");
        assert!(server.file(&format!("{at}.sha256")).is_some() && server.file(&at).is_some());
    }
}
