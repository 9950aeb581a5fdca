//! Publishing from a directory, and from release archives.

use std::os::unix::fs::symlink;
use std::process::Command;

use super::world::{SCRIPT, World, artifact};

const LINE: &str = "publish deploy 1.4.0 INPUT --description x --to REPO --signer file:alice";

/// Says how archives are made for the tests: by Python's writers, which are none of ours.
const PRELUDE: &str = r##"
import io, tarfile, zipfile, stat
S = b"#!/bin/sh\necho hello\n"
def tar(name, *members):
    with tarfile.open(name, "w:gz") as archive:
        for path, content in members:
            info = tarfile.TarInfo(path)
            if isinstance(content, str):
                info.type, info.linkname = tarfile.SYMTYPE, content
                archive.addfile(info)
            else:
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
def zip(name, *members, method=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(name, "w", method) as archive:
        for path, content in members:
            info = zipfile.ZipInfo(path)
            info.compress_type = method
            if isinstance(content, str):
                info.create_system, info.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
            archive.writestr(info, content)
"##;

/// Makes archives below `dist`.
#[track_caller]
fn make(world: &World, script: &str) {
    std::fs::create_dir_all(world.path("dist")).unwrap();
    let mut python = Command::new("python3");
    python.args(["-W", "ignore", "-c", &format!("{PRELUDE}{script}")]);
    let output = python.current_dir(world.path("dist")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[track_caller]
fn is_published(world: &World, platforms: &[&str]) {
    let mut published: Vec<String> = world
        .published()
        .iter()
        .filter_map(|path| {
            let below = path.strip_prefix("dbt-tools/deploy/1.4.0/")?;
            below.strip_suffix(".sha256")?.rsplit_once('/').map(|(platform, _)| platform.to_owned())
        })
        .collect();
    published.sort();
    assert_eq!(published, platforms);
    for platform in platforms {
        assert!(world.client_accepts(&artifact("deploy", "1.4.0", platform)).unwrap());
    }
}

fn elf(machine: u8) -> Vec<u8> {
    let mut bytes = b"\x7fELF\x02\x01\x01".to_vec();
    bytes.resize(18, 0);
    bytes.extend([machine, 0]);
    bytes
}

fn pe() -> Vec<u8> {
    let mut bytes = b"MZ".to_vec();
    bytes.resize(0x3c, 0);
    bytes.extend(0x40_u32.to_le_bytes());
    bytes.extend(b"PE\0\0\x64\x86");
    bytes
}

#[test]
fn a_directory_in_the_layout_of_a_repository_is_published() {
    let world = World::with_alice();
    world.write("dist/linux/amd64/deploy", &elf(0x3e));
    world.write("dist/linux/arm64/deploy", &elf(0xb7));
    world.write("dist/windows/amd64/deploy.exe", &pe());
    world.write("dist/linux/amd64/other", b"another tool");
    world.write("dist/completions/bash", b"not a platform");
    world.write("dist/description.txt", b"ships it\n");
    world.run(&LINE.replace("INPUT --description x", "dist")).says_nothing();
    is_published(&world, &["linux/amd64", "linux/arm64", "windows/amd64"]);
    assert_eq!(world.read("repo/dbt-tools/deploy/1.4.0/description.txt"), b"ships it");
}

#[test]
fn what_was_published_is_published_elsewhere_as_it_is() {
    let world = World::with_alice();
    world.write("deploy", SCRIPT);
    world.run(&LINE.replace("INPUT", "linux/amd64=deploy darwin/arm64=deploy")).says_nothing();
    let (from, to) = (world.path("repo/dbt-tools/deploy/1.4.0"), world.path("copy"));
    dbt_client::fsx::rename(&from, &to).unwrap();
    world.run(&LINE.replace("INPUT --description x", "copy")).says_nothing();
    is_published(&world, &["darwin/arm64", "linux/amd64"]);
}

#[test]
fn a_directory_with_release_archives_is_published() {
    let world = World::with_alice();
    make(
        &world,
        r#"
tar("deploy_1.4.0_linux_amd64.tar.gz", ("deploy-1.4.0/README", b"x"), ("deploy-1.4.0/deploy", S))
tar("deploy-aarch64-unknown-linux-musl.tgz", ("deploy", S), ("x" * 200 + "/README", b"x"))
zip("deploy_macOS_arm64.zip", ("README", b"x"), ("bin/deploy", S))
zip("deploy_darwin_amd64.zip", ("deploy", S), method=zipfile.ZIP_STORED)
tar("deploy_1.3.0_linux_amd64.tar.gz", ("deploy", b"another version"))
tar("deploy-plugin_linux_amd64.tar.gz", ("deploy", b"another tool"))
tar("deploy_linux_386.tar.gz", ("deploy", b"another processor"))
"#,
    );
    world.run(&LINE.replace("INPUT", "dist")).says_nothing();
    is_published(&world, &["darwin/amd64", "darwin/arm64", "linux/amd64", "linux/arm64"]);
    assert_eq!(world.read("repo/dbt-tools/deploy/1.4.0/linux/amd64/deploy"), SCRIPT);
}

#[test]
fn archives_are_named_one_by_one_too() {
    let world = World::with_alice();
    make(
        &world,
        r#"tar("deploy_linux_amd64.tar.gz", ("deploy", S)); zip("any.zip", ("deploy", S))"#,
    );
    let words = "dist/deploy_linux_amd64.tar.gz linux/arm64=dist/any.zip";
    world.run(&LINE.replace("INPUT", words)).says_nothing();
    is_published(&world, &["linux/amd64", "linux/arm64"]);
    world
        .run(&LINE.replace("INPUT", "dist/any.zip"))
        .fails(80, "`dist/any.zip` is neither a directory nor a file whose name says");
}

/// Publishes what does not go through; says that nothing is there.
#[track_caller]
fn refuses(world: &World, input: &str, code: i32, words: &str) {
    let run = world.run(&LINE.replace("INPUT", input)).fails(code, words);
    assert!(!world.path("repo/dbt-tools").exists(), "{}", run.talk);
}

#[test]
fn hostile_archives_are_refused_and_write_nothing_anywhere() {
    let world = World::with_alice();
    make(
        &world,
        r#"
tar("none.tar.gz", ("../../../evil", S), ("/tmp/evil", S), ("deploy/", b""))
tar("link.tar.gz", ("deploy", "/etc/passwd"))
zip("link.zip", ("deploy", "/etc/passwd"))
tar("two.tar.gz", ("a/deploy", S), ("b/deploy", S))
zip("two.zip", ("a/deploy", S), ("b\\deploy", S))
tar("whole.tar.gz", ("deploy", S * 1000))
whole = open("whole.tar.gz", "rb").read()
open("cut.tar.gz", "wb").write(whole[:len(whole) // 2])
open("sum.tar.gz", "wb").write(whole[:-8] + b"\0\0\0\0" + whole[-4:])
zip("whole.zip", ("deploy", S * 1000))
whole = open("whole.zip", "rb").read()
open("cut.zip", "wb").write(whole[:len(whole) // 2])
open("renamed.zip", "wb").write(b"".join([whole[:30], b"harmls", whole[36:]]))
end = whole.rindex(b"PK\1\2")
open("sum.zip", "wb").write(whole[:end + 16] + b"\0\0\0\0" + whole[end + 20:])
open("huge.zip", "wb").write(whole[:end + 24] + b"\xff\xff\xff\xff" + whole[end + 28:])
open("short.zip", "wb").write(whole[:end + 24] + b"\1\0\0\0" + whole[end + 28:])
open("secret.zip", "wb").write(whole[:end + 8] + b"\1\0" + whole[end + 10:])
open("method.zip", "wb").write(whole[:8] + b"\x63\0" + whole[10:end + 10] + b"\x63\0" + whole[end + 12:])
open("text.zip", "wb").write(b"hello")
open("text.tar.gz", "wb").write(b"hello")
zip("many.zip", *[("%d" % n, b"") for n in range(65530)])
"#,
    );
    for (archive, words) in [
        ("none.tar.gz", "it has no file `deploy`; it has `evil`, `evil`"),
        ("link.tar.gz", "`deploy` in it is a link"),
        ("link.zip", "`deploy` in it is a link"),
        ("two.tar.gz", "it has several files `deploy`"),
        ("two.zip", "it has several files `deploy`"),
        ("cut.tar.gz", "cannot take the program out of `dist/cut.tar.gz`"),
        ("sum.tar.gz", "it cannot be read"),
        ("cut.zip", "it is not a zip archive, or a damaged one"),
        ("renamed.zip", "its directory and its entries say different things"),
        ("sum.zip", "its content is damaged"),
        ("huge.zip", "cannot take the program out of `dist/huge.zip`"),
        ("short.zip", "its content is damaged"),
        ("secret.zip", "it is encrypted"),
        ("method.zip", "it is compressed by a method that is not read"),
        ("text.zip", "it is not a zip archive, or a damaged one"),
        ("text.tar.gz", "it cannot be read"),
        ("many.zip", "it has no file `deploy`"),
    ] {
        refuses(&world, &format!("linux/amd64=dist/{archive}"), 80, words);
        let left = std::fs::read_dir(world.path("")).unwrap().count();
        assert_eq!(left, 3, "{archive}: `dist`, `home` and `repo` alone");
    }
}

#[test]
fn a_directory_that_is_not_as_it_should_be_is_refused() {
    let world = World::with_alice();
    let dist = |name: &str| world.write(&format!("dist/{name}"), SCRIPT);
    dist("README");
    refuses(&world, "dist", 80, "`dist` holds nothing of `deploy` to publish");
    dist("linux/x86_64/deploy");
    refuses(&world, "dist", 80, "`dist/linux/x86_64` is not named as platforms are");
    std::fs::remove_dir_all(world.path("dist/linux")).unwrap();
    dist("macos/arm64/deploy");
    refuses(&world, "dist", 80, "is not named as platforms are");
    std::fs::remove_dir_all(world.path("dist/macos")).unwrap();
    dist("linux/amd64/deploy");
    dist("linux/arm64/other");
    refuses(&world, "dist", 80, "`dist/linux/arm64` has no `deploy`");
    std::fs::remove_dir_all(world.path("dist/linux/arm64")).unwrap();
    dist("deploy_linux_amd64");
    refuses(&world, "dist", 80, "`linux/amd64` is named twice: `dist/deploy_linux_amd64` and");
    std::fs::remove_file(world.path("dist/deploy_linux_amd64")).unwrap();
    world.write("dist/linux/amd64/deploy.sha256", &[b'0'; 64]);
    refuses(
        &world,
        "dist",
        86,
        "`dist/linux/amd64/deploy` is not what `dist/linux/amd64/deploy.sha256` says",
    );
    std::fs::remove_file(world.path("dist/linux/amd64/deploy.sha256")).unwrap();
    world.write("elsewhere", SCRIPT);
    std::fs::remove_file(world.path("dist/linux/amd64/deploy")).unwrap();
    symlink(world.path("elsewhere"), world.path("dist/linux/amd64/deploy")).unwrap();
    refuses(&world, "dist", 80, "leads out of the directory that is published");
    refuses(&world, "nowhere", 80, "`nowhere` is neither a directory nor a file");
}
