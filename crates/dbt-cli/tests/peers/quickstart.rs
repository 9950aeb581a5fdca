//! `reposerver quickstart`: the lines that it prints are typed as they are, and work.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Output;

use dbt_core::platform::Platform;

use crate::desk::Desk;
use crate::reposerver::built;

impl Desk {
    /// Says whether an attempt to begin is still there.
    fn has_unfinished(&self) -> bool {
        let names = fs::read_dir(self.path("")).unwrap().map(|entry| entry.unwrap().file_name());
        names.into_iter().any(|name| name.to_str().unwrap().contains(".unfinished-"))
    }

    fn refused(&self, program: &Path, words: &[&str]) -> String {
        let output: Output = self.command(program.to_str().unwrap()).args(words).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    }
}

/// Returns the commands of what was printed, as they are typed: those that stand further in.
fn commands(printed: &str) -> Vec<String> {
    let mut commands: Vec<String> = Vec::new();
    for line in printed.lines().filter(|line| line.starts_with("  ")) {
        match commands.last_mut() {
            Some(before) if before.ends_with('\\') => {
                before.pop();
                before.push_str(line.trim());
            }
            _ => commands.push(line.trim().to_owned()),
        }
    }
    commands
}

#[test]
fn the_lines_that_it_prints_lead_from_nothing_to_a_tool_of_ones_own() {
    let desk = Desk::new();
    let (server, printed) = desk.start(&["try", "-p", "0"]);
    let commands = commands(&printed);
    let [add, run, publish] = commands.as_slice() else { panic!("{printed}") };
    // Without a terminal somebody else must say yes.
    desk.types(&format!("{add} --yes"));
    assert_eq!(desk.types(run), "hello, world\n");
    fs::write(desk.path("mine"), "#!/bin/sh\necho mine\n").unwrap();
    let artifact = format!("{}=mine", Platform::CURRENT);
    let publish = publish.replace("TOOL", "mine").replace("OS/ARCH=FILE", &artifact);
    desk.types(&publish.replace("TEXT", "'what I need'"));
    assert_eq!(desk.types("dbt mine"), "mine\n");

    // Nobody else reads the key, or what opens it; nothing is in the home of whoever tries it.
    for name in ["", "publisher-token", "signing-passphrase", "publisher/keys/quickstart.asc"] {
        let mode = fs::metadata(desk.path("try").join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{name}");
    }
    let token = fs::read_to_string(desk.path("try/publisher-token")).unwrap();
    assert!(token.len() >= 32 && !printed.contains(&token));
    let settings = fs::read_to_string(desk.path("try/reposerver.json")).unwrap();
    assert!(!settings.contains(&token), "{settings}");
    assert!(settings.contains("\"immutable\": true"), "{settings}");

    // The next time everything is as it was left.
    drop(server);
    let before = fs::read(desk.path("try/tree/dbt/truststore")).unwrap();
    let (_server, again) = desk.start(&["try"]);
    assert_eq!(again, printed);
    assert_eq!(desk.types("dbt mine"), "mine\n");
    assert_eq!(fs::read(desk.path("try/tree/dbt/truststore")).unwrap(), before);
}

#[test]
fn what_somebody_else_has_made_is_left_alone() {
    let desk = Desk::new();
    fs::create_dir(desk.path("own")).unwrap();
    fs::write(desk.path("own/file"), "x").unwrap();
    let said = desk.refused(&built("reposerver"), &["quickstart", "own"]);
    assert!(said.contains("is not empty"), "{said}");
    let entries: Vec<_> = fs::read_dir(desk.path("own")).unwrap().collect();
    assert_eq!(entries.len(), 1);
    assert!(!desk.has_unfinished());
}

#[test]
fn without_the_program_that_signs_it_says_so_and_leaves_nothing() {
    let desk = Desk::new();
    let alone = desk.path("alone");
    fs::create_dir(&alone).unwrap();
    fs::copy(built("reposerver"), alone.join("reposerver")).unwrap();
    fs::remove_file(desk.path("bin/publisher")).unwrap();
    fs::create_dir(desk.path("try.unfinished")).unwrap();
    fs::write(desk.path("try.unfinished/novel"), "x").unwrap();
    let said = desk.refused(&alone.join("reposerver"), &["quickstart", "try"]);
    assert!(said.contains("`publisher` is neither beside this program nor on the path"), "{said}");
    assert!(!desk.path("try").exists() && !desk.has_unfinished());
    assert!(desk.path("try.unfinished/novel").exists(), "it is somebody else's");
}
