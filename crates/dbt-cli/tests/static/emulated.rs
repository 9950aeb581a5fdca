//! The program for another processor, run by QEMU, which executes one program and hands its system
//! calls to this machine's kernel.

use std::fs;
use std::path::Path;
use std::process::Command;

use dbt_testkit::exits;
use dbt_testkit::invocation::Run;
use dbt_testkit::people::ALICE;
use dbt_testkit::world::World;

use crate::built::{released, target};

const QEMU: &str = "qemu-aarch64-static";
const PLATFORM: &str = "linux/arm64";

/// What a compiled tool is here.
const TOOL: &str = r#"#include <stdio.h>
#include <sys/utsname.h>
int main(int count, char **words) {
    struct utsname host;
    uname(&host);
    printf("%s %s %s\n", words[0], count > 1 ? words[1] : "", host.machine);
    return 7;
}
"#;

/// A world whose dbt, and whose tools, are for the other processor.
fn world() -> World {
    let world = World::new(released("linux-arm64", "dbt"));
    world.pin(&[&ALICE]);
    let repository = world.repository();
    repository.publish("script", "1.0.0").platform(PLATFORM).now();
    repository.publish("foreign", "1.0.0").now();
    world
}

/// Compiles a tool for the other processor with the compiler that `make static` uses.
fn compiled(directory: &Path) -> Vec<u8> {
    let (source, program) = (directory.join("tool.c"), directory.join("tool"));
    fs::write(&source, TOOL).unwrap();
    let zig = target("cross/python/bin/python");
    let mut compile = Command::new(zig);
    compile.args(["-m", "ziglang", "cc", "-target", "aarch64-linux-musl", "-static", "-o"]);
    compile.args([&program, &source]).env("ZIG_GLOBAL_CACHE_DIR", target("cross/cache/zig"));
    let output = compile.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    fs::read(program).unwrap()
}

fn dbt(world: &World, words: &[&str]) -> Run {
    world.invoke(words).through(&[QEMU]).run()
}

/// Says whether this machine's kernel starts programs for the other processor by itself.
fn kernel_knows_the_processor() -> bool {
    Path::new("/proc/sys/fs/binfmt_misc/qemu-aarch64").exists()
}

#[test]
fn scripts_run_on_the_other_processor() {
    let world = world();
    dbt(&world, &["script", "a b"]).prints("script 1.0.0\n[a b]\n").says_nothing();
    dbt(&world, &["-o", "script"]).prints("script 1.0.0\n").says_nothing();
    assert_eq!(world.tools_started(), ["script 1.0.0", "script 1.0.0"]);
}

#[test]
fn programs_for_the_other_processor_are_fetched_verified_and_handed_to_the_kernel() {
    let world = world();
    let program = compiled(world.directory());
    world.repository().publish("compiled", "2.0.0").platform(PLATFORM).content(&*program).now();
    dbt(&world, &["fetch", "compiled"]).exits_with(0);
    let installed = world.executables().pop().unwrap();
    assert_eq!(fs::read(&installed).unwrap(), program);
    let alone = world.invoke(["x"]).through(&[QEMU, "-0", "it"]).program(&installed).run();
    alone.exits_with(7);
    assert_eq!(alone.stdout(), "it x aarch64\n");

    // QEMU does not start programs: the kernel does, and it is this machine's.
    let run = dbt(&world, &["compiled", "x"]);
    if kernel_knows_the_processor() {
        run.exits_with(7).says_nothing();
    } else {
        run.exits_with(exits::CANNOT_EXECUTE).mentions("compiled");
    }
}

#[test]
fn what_is_only_for_this_processor_is_not_for_the_other() {
    let world = world();
    dbt(&world, &["foreign"]).exits_with(exits::NOT_FOUND).mentions("for this platform");
    world.nothing_happened();
}

#[test]
fn false_bytes_are_refused_on_the_other_processor() {
    let world = world();
    let artifact = "/dbt-tools/script/1.0.0/linux/arm64/script";
    let mut bytes = world.repository().read(artifact);
    bytes[20] ^= 1;
    world.repository().write(artifact, &bytes);
    dbt(&world, &["script"]).exits_with(exits::VERIFICATION_REFUSED).mentions("checksum");
    world.nothing_happened();
}
