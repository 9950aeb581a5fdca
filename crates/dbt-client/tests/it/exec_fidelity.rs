//! A tool sees the same process whether it was started directly or by us.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use dbt_core::digest::Digest;

use super::store_world::{World, probe, refused, said};

/// Starts a program in one of several states of the process, which are its first argument:
/// `launch STATE PATH NAME [ARGUMENT...]`. It touches nothing else.
const LAUNCH: &str = r#"
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
extern char **environ;
int main(int argc, char **argv) {
    const char *state = argv[1];
    sigset_t set;
    sigemptyset(&set);
    /* Whoever started the tests in the background may have had signals ignored. */
    for (int number = 1; number < 32; number++) signal(number, SIG_DFL);
    sigprocmask(SIG_SETMASK, &set, NULL);
    if (strstr(state, "pipe-ignored")) signal(SIGPIPE, SIG_IGN);
    if (strstr(state, "int-ignored")) { signal(SIGINT, SIG_IGN); signal(SIGHUP, SIG_IGN); }
    if (strstr(state, "blocked")) {
        sigaddset(&set, SIGTERM); sigaddset(&set, SIGPIPE); sigaddset(&set, SIGUSR1);
        sigprocmask(SIG_BLOCK, &set, NULL);
    }
    if (strstr(state, "umask")) { umask(0127); if (chdir("/usr")) return 99; }
    if (strstr(state, "descriptors")) { open("/dev/null", O_RDONLY); dup2(0, 9); dup2(1, 200); }
    if (strstr(state, "closed")) close(0);
    if (strstr(state, "limits")) {
        struct rlimit files = { 77, 99 };
        setrlimit(RLIMIT_NOFILE, &files);
        if (nice(3) == -1) return 98;
    }
    execve(argv[2], argv + 3, environ);
    perror(argv[2]);
    return 99;
}
"#;

/// Says everything about itself that a program can see.
const REPORT: &str = r#"
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/resource.h>
#include <unistd.h>
extern char **environ;
static void lines(const char *path, const char *prefix) {
    char line[4096];
    FILE *file = fopen(path, "re");
    while (file && fgets(line, sizeof line, file))
        if (!strncmp(line, prefix, strlen(prefix))) printf("%s", line);
    if (file) fclose(file);
}
static int compare(const void *a, const void *b) { return strcmp(*(char **)a, *(char **)b); }
int main(int argc, char **argv) {
    char text[4096];
    struct rlimit files;
    printf("pid %d, group is parent's %d, session %d\n", getpid(), getpgrp() == getpgid(getppid()),
        getsid(0) == getsid(getppid()));
    for (int i = 0; i < argc; i++) printf("argument [%s]\n", argv[i]);
    printf("AT_EXECFN %s\n", (char *)getauxval(AT_EXECFN));
    ssize_t length = readlink("/proc/self/exe", text, sizeof text - 1);
    printf("exe %.*s\n", (int)length, text);
    lines("/proc/self/comm", "");
    lines("/proc/self/status", "SigB");
    lines("/proc/self/status", "SigI");
    lines("/proc/self/status", "SigC");
    lines("/proc/self/status", "Umask");
    lines("/proc/self/status", "Threads");
    lines("/proc/self/status", "NoNewPrivs");
    lines("/proc/self/status", "TracerPid");
    printf("directory %s\n", getcwd(text, sizeof text));
    getrlimit(RLIMIT_NOFILE, &files);
    printf("limits %ld %ld nice %d dumpable\n", (long)files.rlim_cur, (long)files.rlim_max,
        getpriority(PRIO_PROCESS, 0));
    for (int fd = 0; fd < 1024; fd++) {
        char link[64];
        if (fcntl(fd, F_GETFD) == -1) continue;
        snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
        length = readlink(link, text, sizeof text - 1);
        for (ssize_t i = 0; i < length; i++) if (text[i] == '[') length = i;
        printf("descriptor %d %.*s flags %d\n", fd, (int)length, text, fcntl(fd, F_GETFL));
    }
    int count = 0;
    while (environ[count]) count++;
    qsort(environ, count, sizeof *environ, compare);
    for (int i = 0; i < count; i++) printf("environment %s\n", environ[i]);
    return 7;
}
"#;

/// Does what its name says, as busybox does.
const MULTI: &str = r#"
#include <stdio.h>
#include <string.h>
int main(int argc, char **argv) {
    const char *slash = strrchr(argv[0], '/');
    const char *name = slash ? slash + 1 : argv[0];
    if (!strcmp(name, "alpha")) { puts("this is alpha"); return 1; }
    if (!strcmp(name, "beta")) { puts("this is beta"); return 2; }
    printf("no such applet: %s\n", name);
    return 3;
}
"#;

const RUST: &str = r#"
fn main() {
    for argument in std::env::args_os() { println!("argument {argument:?}"); }
    println!("pid {} exe {:?}", std::process::id(), std::env::current_exe());
    println!("directory {:?}", std::env::current_dir());
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    for line in status.lines() {
        if ["SigB", "SigI", "SigC", "Name"].iter().any(|start| line.starts_with(start)) {
            println!("{line}");
        }
    }
    std::process::exit(11);
}
"#;

const SHELL: &str = r#"#!/bin/sh
echo "pid $$ name $0 count $#"
for argument; do echo "argument [$argument]"; done
read -r line < /proc/$$/comm && echo "$line"
readlink /proc/$$/exe
tr '\0' '\n' < /proc/$$/cmdline
# The shell itself reads: while it waits for a program, it blocks signals.
while read -r line; do
    case $line in Sig[BIC]*|Umask*) echo "$line";; esac
done < /proc/$$/status
ls /proc/$$/fd
pwd
exit 5
"#;

const PYTHON: &str = r#"
import os, sys
print("pid", os.getpid(), sys.argv, sys.executable)
print(open("/proc/self/comm").read(), open("/proc/self/cmdline").read().split("\0"))
print([line for line in open("/proc/self/status") if line.startswith(("SigB", "SigI", "SigC", "Umask"))])
print(sorted(os.listdir("/proc/self/fd")), os.getcwd())
sys.stdout.flush()
os._exit(6)
"#;

const STATES: [&str; 8] =
    ["plain", "pipe-ignored", "int-ignored", "blocked", "umask", "descriptors", "closed", "limits"];

/// What is compiled once for all tests.
struct Programs {
    launch: PathBuf,
    report: Vec<u8>,
    multi: Vec<u8>,
    rust: Vec<u8>,
}

fn programs() -> &'static Programs {
    static PROGRAMS: OnceLock<Programs> = OnceLock::new();
    PROGRAMS.get_or_init(|| {
        let read = |path: PathBuf| fs::read(path).unwrap();
        Programs {
            launch: compile("cc", "c", LAUNCH),
            report: read(compile("cc", "c", REPORT)),
            multi: read(compile("cc", "c", MULTI)),
            rust: read(compile("rustc", "rs", RUST)),
        }
    })
}

/// Compiles a program, unless an earlier run of the tests has.
fn compile(compiler: &str, ending: &str, text: &str) -> PathBuf {
    let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join(Digest::of(text.as_bytes()).to_string());
    if !kept.exists() {
        let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let (source, program) =
            (directory.path().join("tool").with_extension(ending), directory.path().join("tool"));
        fs::write(&source, text).unwrap();
        let output = Command::new(compiler).arg(&source).arg("-o").arg(&program).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        dbt_client::fsx::rename(&program, &kept).unwrap();
    }
    kept
}

/// What a tool has printed, with its own process number named, and how it ended.
fn outcome(mut command: Command) -> (Option<i32>, String) {
    let child = command
        .env_clear()
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .env("TOOLS", "a=b")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let pid = format!("pid {}", child.id());
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains(&pid) || text.starts_with("this is"), "{pid}: {text}{errors}");
    (output.status.code(), text.replace(&pid, "pid OURS"))
}

const ARGUMENTS: [&str; 5] = ["-x", "", "two words", "--version", "*"];

/// Checks one tool in one state.
fn check(world: &World, tool: &str, state: &str) -> String {
    let path = world.install(tool);
    let launched = |words: &[PathBuf]| {
        let mut command = Command::new(&programs().launch);
        command.arg(state).args(words).args(ARGUMENTS);
        outcome(command)
    };
    let direct = launched(&[path, tool.into()]);
    let mut words = vec![probe(), "store_probe".into()];
    words.extend(world.arguments("run", tool));
    let ours = launched(&words);
    assert_eq!(ours, direct, "{tool}, {state}");
    assert!(ours.0.is_some_and(|code| code != 126 && code != 99), "{ours:?}");
    ours.1
}

#[test]
fn a_c_program_sees_the_same_process_in_every_state() {
    let world = World::new();
    world.publish("report", &programs().report);
    let mut seen: Vec<_> = STATES.iter().map(|state| check(&world, "report", state)).collect();
    let path = world.install("report");
    let plain = &seen[0];
    assert!(plain.contains(&format!("AT_EXECFN {}\nexe {0}\n", path.display())), "{plain}");
    assert!(plain.contains("argument [report]\nargument [-x]\nargument []\n"), "{plain}");
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), STATES.len(), "every state can be told from the others");
}

#[test]
fn a_rust_program_sees_the_same_process() {
    let world = World::new();
    world.publish("tool", &programs().rust);
    for state in ["plain", "pipe-ignored", "blocked", "closed"] {
        check(&world, "tool", state);
    }
}

#[test]
fn one_program_with_many_names_does_what_it_is_called() {
    let world = World::new();
    for name in ["alpha", "beta"] {
        world.publish(name, &programs().multi);
        assert_eq!(check(&world, name, "plain"), format!("this is {name}\n"));
    }
    let (alpha, beta) = (world.install("alpha"), world.install("beta"));
    assert_eq!(alpha.parent(), beta.parent(), "the same bytes under two names");
}

#[test]
fn a_shell_script_sees_the_same_process() {
    let world = World::new();
    world.publish("script", SHELL.as_bytes());
    for state in ["plain", "pipe-ignored", "int-ignored", "blocked", "umask", "closed"] {
        check(&world, "script", state);
    }
}

#[test]
fn a_python_script_sees_the_same_process() {
    let find = ["-c", "import sys; print(sys.executable)"];
    let python = said(&Command::new("python3").args(find).output().unwrap());
    let world = World::new();
    world.publish("script.py", format!("#!{}{PYTHON}", python.trim_end()).as_bytes());
    for state in ["plain", "pipe-ignored", "blocked"] {
        check(&world, "script.py", state);
    }
}

#[test]
fn a_sealed_tool_gets_its_name_its_arguments_and_the_same_signals() {
    let world = World::new();
    world.publish("report", &programs().report);
    world.publish("script", SHELL.as_bytes());
    let path = world.install("report");
    let launched = |words: &[PathBuf]| {
        let mut command = Command::new(&programs().launch);
        command.arg("pipe-ignored").args(words).args(ARGUMENTS);
        outcome(command).1
    };
    let sealed = |tool: &str| {
        let mut words = vec![probe(), "store_probe".into()];
        words.extend(world.arguments("run-sealed", tool));
        launched(&words)
    };
    let direct = launched(&[path, "report".into()]);
    let differs = |line: &&str| {
        !["AT_EXECFN", "exe", "report"].iter().any(|start| line.starts_with(start))
            && !line.starts_with("memfd:")
    };
    let same = |text: &str| text.lines().filter(differs).map(str::to_owned).collect::<Vec<_>>();
    let ours = sealed("report");
    assert_eq!(same(&ours), same(&direct));
    assert!(ours.contains("exe /memfd:report (deleted)"), "{ours}");
    let script = sealed("script");
    assert!(script.contains("argument [two words]"), "{script}");
}

#[test]
fn a_tool_can_end_a_pipe_early() {
    let world = World::new();
    world.publish("yes", b"#!/bin/sh\nexec yes\n");
    let line = "trap - PIPE; \"$0\" \"$@\" | head -n 1; exit";
    let mut piped = Command::new("bash");
    piped.args(["-o", "pipefail", "-c", line]).arg(probe()).args(world.arguments("run", "yes"));
    let output = piped.output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "y\n");
    assert_eq!(output.status.code(), Some(141), "SIGPIPE ended it");
}

#[test]
fn what_cannot_be_executed_is_explained() {
    let foreign = {
        // The header of a program for a machine that nobody has here.
        let mut header = programs().report.clone();
        header[18] = 0x15;
        header
    };
    let cases: [(&str, &[u8], &str); 4] = [
        ("plain-text", b"echo hello\n", "text without a first line that names an interpreter"),
        ("no-ruby", b"#!/opt/none/ruby -w\n", "needs `/opt/none/ruby`, which does not exist here"),
        ("foreign", &foreign, "is a program for ppc64, which this machine is not"),
        ("empty", b"", "is not a program: it is empty"),
    ];
    let world = World::new();
    for (tool, content, words) in cases {
        world.publish(tool, content);
        let (code, said) = refused(&world.probe("run", tool).output().unwrap());
        assert!(code == 126 && said.contains(words), "{tool}: {code} {said}");
        assert!(said.contains("\nhint: "), "{tool}: {said}");
    }
}

#[test]
fn a_file_that_is_being_written_is_waited_for_but_not_for_ever() {
    let world = World::new();
    world.publish("report", &programs().report);
    let path = world.install("report");
    let held = |path: &Path| {
        fs::set_permissions(path, fs::Permissions::from_mode(0o700)).unwrap();
        fs::OpenOptions::new().append(true).open(path).unwrap()
    };
    let writer = held(&path);
    let (code, words) = refused(&world.probe("run", "report").output().unwrap());
    assert!(code == 126 && words.contains("Text file busy"), "{code} {words}");

    let run = world.probe("run", "report").stdout(Stdio::piped()).spawn().unwrap();
    std::thread::sleep(std::time::Duration::from_millis(200));
    drop(writer);
    let output = run.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(7));
}
