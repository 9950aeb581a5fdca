//! Files that the kernel keeps as they are (fs-verity), in a machine that has it: an emulated one
//! with a kernel of Debian's, the released program, a repository as a directory, and two file
//! systems, of which one can keep files and one cannot.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use std::time::UNIX_EPOCH;

use dbt_testkit::people::{ALICE, just_now};
use dbt_testkit::world::World;

use crate::built::{released, target};
use crate::hosts::BUSYBOX;

/// How long the tool is: well below what is remembered without the kernel's help.
const LENGTH: usize = 4 * 1024 * 1024;

/// What dbt reads at most of the tool when it does not read it as a whole, and all else it reads.
const LITTLE: usize = 512 * 1024;

/// Prints its name, and how many bytes this process has read, before and after it became this.
const TOOL: &str = r#"#!/bin/busybox sh
while read -r what count; do
  [ "$what" = rchar: ] && echo "${0##*/} $count"
done </proc/self/io
exit
"#;

/// What the machine does. Each step ends with a line that names it.
const INIT: &str = r#"#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t devtmpfs devtmpfs /dev
date -s @NOW >/dev/null
insmod /loop.ko
echo user:x:1000:1000:user:/:/bin/sh >/etc/passwd
step() { echo "= $1"; }
as_user() { su user -c "HOME=$home $*" 2>&1; }

for home in /kept /plain; do
  mount -t ext4 -o loop "$home.img" "$home"
  mkdir -p "$home/.dbt/conf"
  cp /dbt.json "$home/.dbt/conf/"
  chown -R user "$home"
  as_user dbt large; step "$home first"
  as_user dbt large; step "$home second"
  as_user dbt -o large; step "$home offline"
done

home=/kept
as_user dbt other >/dev/null
file() { echo /kept/.dbt/tools/sha256/*/*/"$1"; }
large=$(file large)
chmod 700 "$large"
(echo more >>"$large") 2>&1; step write
as_user dbt -o large; step touched
date -s @LATER >/dev/null
as_user dbt -o large; step later
as_user cp "$large" /kept/copy
as_user mv -f /kept/copy "$large"
as_user dbt -o large; step copied
as_user mv -f "$(file other)" "$large"
as_user dbt large; step exchanged
as_user dbt large; step again
as_user dbt large; step settled
reboot -f
"#;

fn done(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text = String::from_utf8_lossy(&output.stdout).replace('\r', "");
    assert!(output.status.success(), "{command:?}: {text}{output:?}");
    text
}

/// What a step of the machine said.
struct Said(Vec<(String, String)>);

impl Said {
    fn at(&self, step: &str) -> &str {
        let said = self.0.iter().find(|(name, _)| name == step);
        &said.unwrap_or_else(|| panic!("the machine did not come to {step}: {:?}", self.0)).1
    }

    /// Returns how many bytes were read in a step in which nothing but the tool said something.
    fn read(&self, step: &str) -> usize {
        let said = self.at(step);
        let count = said.strip_prefix("large ").and_then(|count| count.trim_end().parse().ok());
        count.unwrap_or_else(|| panic!("{step}: {said}"))
    }
}

/// Starts the machine and waits for its end.
fn machine() -> Said {
    let world = World::new(released("linux-amd64", "dbt"));
    world.pin(&[&ALICE]);
    for tool in ["large", "other"] {
        // The two differ, and both are scripts whatever follows their last line.
        let mut content = TOOL.as_bytes().to_vec();
        content.extend(tool.as_bytes().iter().cycle().take(LENGTH));
        world.repository().publish(tool, "1.0.0").content(content).now();
    }
    let root = world.directory().join("root");
    for directory in ["bin", "etc", "proc", "dev", "kept", "plain", "tmp"] {
        fs::create_dir_all(root.join(directory)).unwrap();
    }
    fs::copy(BUSYBOX, root.join("bin/busybox")).unwrap();
    fs::copy(world.program(), root.join("bin/dbt")).unwrap();
    fs::copy(target("kernel/loop.ko"), root.join("loop.ko")).unwrap();
    done(
        Command::new("cp").arg("-r").arg(world.directory().join("s")).arg(root.join("repository")),
    );
    let config = fs::read_to_string(world.config_file()).unwrap();
    let config = config.replace(&world.server().url(), "file:///repository");
    fs::write(root.join("dbt.json"), config).unwrap();
    let now = just_now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let later = now + 3 * 24 * 3600;
    let init = INIT.replace("NOW", &now.to_string()).replace("LATER", &later.to_string());
    fs::write(root.join("init"), init).unwrap();
    fs::set_permissions(root.join("init"), Permissions::from_mode(0o755)).unwrap();
    for (name, features) in [("kept.img", "verity"), ("plain.img", "^verity")] {
        let image = root.join(name);
        fs::File::create(&image).unwrap().set_len(48 << 20).unwrap();
        let mut make = Command::new("/sbin/mkfs.ext4");
        done(make.args(["-q", "-b", "4096", "-O", features]).arg(image));
    }
    let disk = world.directory().join("disk");
    let pack = "find . | /bin/busybox cpio -o -H newc >\"$0\"";
    done(Command::new("sh").args(["-c", pack]).arg(&disk).current_dir(&root));
    let console = done(
        Command::new("timeout")
            .args(["-k", "5", "240", "qemu-system-x86_64", "-M", "microvm,acpi=off"])
            .args(["-accel", "tcg", "-cpu", "max", "-m", "768", "-nographic", "-no-reboot"])
            .args(["-net", "none", "-append", "console=ttyS0 quiet panic=-1 reboot=t"])
            .arg("-kernel")
            .arg(target("kernel/vmlinuz"))
            .arg("-initrd")
            .arg(&disk),
    );
    let mut steps = Vec::new();
    let mut said = String::new();
    for line in console.lines() {
        match line.strip_prefix("= ") {
            Some(step) => steps.push((step.to_owned(), std::mem::take(&mut said))),
            // What the kernel says has a time in front of it.
            None if line.starts_with('[') => {}
            None => said.extend([line, "\n"]),
        }
    }
    Said(steps)
}

// One machine for all of it, because starting one takes longer than the rest.
#[test]
fn what_the_kernel_keeps_is_not_read_again_and_nothing_else_is_believed_for_it() {
    let said = machine();

    // Without the kernel's help a file of this size is read on every run.
    for step in ["/plain first", "/plain second", "/plain offline"] {
        assert!(said.read(step) > LENGTH, "{step}: {}", said.at(step));
    }
    // With it, once it is installed and nobody can write to it, it is read a last time. Nothing
    // about its age or times matters after that.
    assert!(said.read("/kept second") > LENGTH);
    for step in ["/kept offline", "touched", "later"] {
        assert!(said.read(step) < LITTLE, "{step}: {}", said.at(step));
    }
    assert!(said.at("write").contains("Operation not permitted"), "{}", said.at("write"));

    // The same bytes in another file, which the kernel does not keep.
    assert!(said.read("copied") > LENGTH);
    // Another file that the kernel keeps is not this one: it is removed, and fetched again.
    let exchanged = said.at("exchanged");
    assert!(exchanged.contains("is damaged") && exchanged.contains("\nlarge "), "{exchanged}");
    assert!(said.read("again") > LENGTH);
    assert!(said.read("settled") < LITTLE);
}
