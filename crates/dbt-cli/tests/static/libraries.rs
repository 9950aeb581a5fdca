//! Hosts with another C library than the one that dynamic programs are built with: an older glibc,
//! and musl. The released program uses neither, and becomes tools that use what is there.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use dbt_testkit::exits;

use crate::hosts::Host;

/// The loaders that programs name, and glibc's libraries.
const GLIBC: &str = "/lib64/ld-linux-x86-64.so.2";
const MUSL: &str = "/lib/ld-musl-x86_64.so.1";
const LIBRARIES: &str = "lib/x86_64-linux-gnu";

/// What a compiled tool does.
const TOOL: &str = "#include <stdio.h>\n\
    int main(int count, char **words) { printf(\"compiled %s\\n\", words[count - 1]); return 0; }\n";

/// A C library from before the interfaces that today's programs are bound to.
const OLD: &str = "int libc_of_long_ago;\n";
const OLD_VERSIONS: &str = "GLIBC_2.2.5 { global: libc_of_long_ago; local: *; };\n\
    GLIBC_2.17 { } GLIBC_2.2.5;\n";

/// Compiles what is in a file of the directory beside a host.
fn compile(host: &Host, compiler: &str, source: &str, options: &[&str]) -> PathBuf {
    let directory = host.world().directory();
    let (file, program) = (directory.join("source.c"), directory.join("compiled"));
    fs::write(&file, source).unwrap();
    let mut compile = Command::new(compiler);
    compile.args(options).arg("-o").args([&program, &file]).current_dir(directory);
    let output = compile.output().unwrap();
    assert!(output.status.success(), "{compile:?}: {output:?}");
    program
}

/// Publishes a tool that was compiled so.
fn publish(host: &Host, tool: &str, compiler: &str) {
    let program = fs::read(compile(host, compiler, TOOL, &[])).unwrap();
    host.world().repository().publish(tool, "1.0.0").content(program).now();
}

/// Copies a file of this machine to the same place on the host.
fn copy(host: &Host, path: &str) {
    let to = host.root().join(path.trim_start_matches('/'));
    fs::create_dir_all(to.parent().unwrap()).unwrap();
    fs::copy(path, to).unwrap();
}

#[test]
fn a_host_with_an_older_glibc_runs_tools_where_a_dynamic_program_does_not_start() {
    let host = Host::reachable();
    copy(&host, GLIBC);
    fs::write(host.world().directory().join("versions"), OLD_VERSIONS).unwrap();
    let options = ["-shared", "-fPIC", "-nostdlib", "-Wl,-soname,libc.so.6"];
    let versions = "-Wl,--version-script=versions";
    let library = compile(&host, "cc", OLD, &[&options[..], &[versions]].concat());
    fs::create_dir_all(host.root().join(LIBRARIES)).unwrap();
    fs::copy(library, host.root().join(LIBRARIES).join("libc.so.6")).unwrap();
    // What dynamic programs need besides is as old as the rest.
    for library in ["libm.so.6", "libgcc_s.so.1"] {
        copy(&host, &format!("/{LIBRARIES}/{library}"));
    }

    let dynamic = Path::new(env!("CARGO_BIN_EXE_dbt"));
    fs::copy(dynamic, host.root().join("bin/dynamic")).unwrap();
    let run = host.invocation(&["--version"]).program("/bin/dynamic").run();
    run.exits_with(1).mentions("version `GLIBC_2.").mentions("not found");

    host.dbt(&["deploy", "good"]).prints("it is good\n").says_nothing();
    host.dbt(&["-o", "deploy", "kept"]).prints("it is kept\n").says_nothing();
}

#[test]
fn a_host_with_musl_runs_its_programs_and_names_what_those_of_glibc_need() {
    let host = Host::reachable();
    copy(&host, MUSL);
    publish(&host, "native", "musl-gcc");
    publish(&host, "foreign", "cc");
    host.dbt(&["deploy", "good"]).prints("it is good\n").says_nothing();
    host.dbt(&["native", "x"]).prints("compiled x\n").says_nothing();
    host.dbt(&["-o", "native", "kept"]).prints("compiled kept\n").says_nothing();

    let run = host.dbt(&["foreign"]);
    assert_eq!(run.stdout(), "", "{run:?}");
    run.exits_with(exits::CANNOT_EXECUTE).mentions(&format!("needs `{GLIBC}`, which does not"));
    run.mentions("hint: it was built for another system's C library; ask for a static build");
}
