//! Profiles of shells: asked for, written once, and taken back. In a new shell the program is found.

use std::fs;
use std::process::Command;

use dbt_testkit::world::World;

use super::{install, invoke, nothing_is_there, ready};

/// Runs a line in a new shell of a person who has just logged in or opened a terminal, with the
/// search path that everybody begins with; returns what it printed.
fn in_a_new_shell(world: &World, shell: &[&str], line: &str) -> String {
    let output = Command::new(shell[0])
        .args(&shell[1..])
        .arg(line)
        .env_clear()
        .env("HOME", world.home())
        .env("PATH", "/usr/bin:/bin")
        .current_dir(world.home())
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_new_shell_finds_the_program_and_none_does_afterwards() {
    for (shell, ways) in [
        ("/bin/bash", [["bash", "-ic"], ["bash", "-lc"]].as_slice()),
        ("/bin/sh", [["dash", "-lc"]].as_slice()),
    ] {
        let world = ready();
        invoke(&world, &["--yes", "--modify-profile"])
            .env("SHELL", shell)
            .run()
            .exits_with(0)
            .mentions("to try it: in a new shell, `dbt catalog list`");
        for way in ways {
            let listed = in_a_new_shell(&world, way, "dbt catalog list");
            assert!(listed.contains("deploy"), "{way:?}: {listed}");
        }
        fs::remove_dir_all(world.dbt_home().join("tools")).ok();
        install(&world, &["uninstall", "--yes"]).exits_with(0);
        for way in ways {
            assert_eq!(in_a_new_shell(&world, way, "command -v dbt"), "", "{way:?}");
        }
        for profile in [".bashrc", ".profile"] {
            assert!(!world.home().join(profile).exists(), "{profile}");
        }
    }
}

#[test]
fn a_profile_that_is_there_keeps_what_it_has_and_is_changed_once() {
    let world = ready();
    let theirs = "alias l=ls\nPATH=\"$PATH:/theirs\"";
    let (rc, login) = (world.home().join(".bashrc"), world.home().join(".bash_login"));
    let dotfiles = world.home().join("dotfiles");
    fs::write(&dotfiles, theirs).unwrap();
    std::os::unix::fs::symlink(&dotfiles, &rc).unwrap();
    fs::write(&login, theirs).unwrap();
    for _again in 0..2 {
        let run =
            invoke(&world, &["--yes", "--modify-profile"]).env("SHELL", "/usr/bin/bash").run();
        run.exits_with(0);
    }
    assert!(rc.is_symlink());
    for profile in [&rc, &login] {
        let text = fs::read_to_string(profile).unwrap();
        assert!(text.starts_with(&format!("{theirs}\n# >>> dbt-installer >>>\n")), "{text}");
        assert_eq!(text.matches("export PATH=").count(), 1, "{text}");
    }
    assert!(!world.home().join(".profile").exists());
    install(&world, &["uninstall", "--yes"]).exits_with(0);
    for profile in [&rc, &login] {
        assert_eq!(fs::read_to_string(profile).unwrap(), format!("{theirs}\n"));
    }
}

#[test]
fn each_shell_has_a_profile_of_its_own() {
    for (shell, variable, profile, line) in [
        ("/bin/zsh", "ZDOTDIR", "z/.zshrc", "export PATH=\"$HOME/.local/bin\""),
        ("/usr/bin/fish", "XDG_CONFIG_HOME", "z/fish/conf.d/dbt.fish", "set -gx PATH '"),
        ("/usr/bin/pwsh", "XDG_CONFIG_HOME", "z/powershell/profile.ps1", "$env:PATH = '"),
        ("/bin/zsh", "UNUSED", ".zshrc", "export PATH=\"$HOME/.local/bin\""),
        ("/usr/bin/fish", "UNUSED", ".config/fish/conf.d/dbt.fish", "set -gx PATH '"),
    ] {
        let world = ready();
        invoke(&world, &["--yes", "--modify-profile"])
            .env("SHELL", shell)
            .env(variable, world.home().join("z"))
            .run()
            .exits_with(0);
        let text = fs::read_to_string(world.home().join(profile)).unwrap();
        assert!(text.contains(line), "{text}");
        install(&world, &["uninstall", "--yes"]).exits_with(0);
        nothing_is_there(&world);
    }
}

#[test]
fn no_profile_is_touched_unless_somebody_says_so() {
    let world = ready();
    for words in [["--yes", "--no-modify-profile"].as_slice(), ["--yes"].as_slice()] {
        invoke(&world, words)
            .env("SHELL", "/bin/bash")
            .run()
            .exits_with(0)
            .mentions("is not in `PATH`; this line adds it:\n  case ");
        assert!(!world.home().join(".bashrc").exists());
    }
}

#[test]
fn a_shell_whose_profile_is_not_changed_is_told_what_to_do() {
    for words in [["--yes", "--modify-profile"].as_slice(), ["--yes"].as_slice()] {
        for (shell, own, said) in [
            (
                "/bin/csh",
                ".tcshrc",
                "`[WORLD]/h/.local/bin` is not in `PATH`; this line in `[WORLD]/h/.cshrc`, which is left to you, adds it:\n  set path = (\"$HOME/.local/bin\" $path)\n",
            ),
            (
                "/usr/bin/tcsh",
                ".tcshrc",
                "this line in `[WORLD]/h/.tcshrc`, which is left to you, adds it:\n  set path = (",
            ),
            (
                "/usr/bin/nu",
                ".theirs",
                "the profile of `nu` is none that is known here; where it has its settings, add `[WORLD]/h/.local/bin` to `PATH`\n",
            ),
        ] {
            let world = ready();
            fs::write(world.home().join(own), "theirs\n").unwrap();
            let run = invoke(&world, words).env("SHELL", shell).run();
            run.exits_with(0).mentions(said);
            run.mentions("to try it: `[WORLD]/h/.local/bin/dbt catalog list`\n");
            assert_eq!(fs::read_to_string(world.home().join(own)).unwrap(), "theirs\n");
            for profile in [".profile", ".cshrc", ".bashrc"] {
                assert!(!world.home().join(profile).exists(), "{shell}: {profile}");
            }
        }
    }
    // Who comes from the reference is told the other line, too.
    let world = ready();
    world.write_config(&super::known::of_the_reference(&world));
    let run = invoke(&world, &["--yes"]).env("SHELL", "/bin/tcsh").run();
    run.exits_with(0).mentions(
        "this line in `[WORLD]/h/.cshrc`, which is left to you, has dbt say where that matters:\n  setenv DBT_COMPAT_WARN 1\n",
    );
}

#[test]
fn nothing_is_added_where_the_directory_is_on_the_search_path() {
    let world = ready();
    let path = format!("{}:/usr/bin:/bin", world.home().join(".local/bin").display());
    invoke(&world, &["--yes", "--modify-profile"])
        .env("SHELL", "/bin/bash")
        .env("PATH", path)
        .run()
        .exits_with(0)
        .mentions("to try it: `dbt catalog list`\n");
    assert!(!world.home().join(".bashrc").exists());
}

#[test]
fn another_program_that_is_found_first_is_named() {
    let world = ready();
    let first = world.directory().join("b");
    let path = format!("{}:/usr/bin:/bin", first.display());
    invoke(&world, &["--yes"])
        .env("PATH", path)
        .run()
        .exits_with(0)
        .mentions("`[WORLD]/b/dbt` comes first in `PATH`, so `dbt` starts that");
}

/// Flags behind a tool's name were the older program's, and scripts of people may rely on that.
#[test]
fn who_comes_from_the_reference_is_told_of_flags_that_go_to_tools_now() {
    for (shell, profile, line) in [
        ("/bin/bash", ".bashrc", "export DBT_COMPAT_WARN=1\n"),
        ("/usr/bin/fish", ".config/fish/conf.d/dbt.fish", "set -gx DBT_COMPAT_WARN 1\n"),
        ("/usr/bin/pwsh", ".config/powershell/profile.ps1", "$env:DBT_COMPAT_WARN = '1'\n"),
    ] {
        let world = ready();
        world.write_config(&super::known::of_the_reference(&world));
        invoke(&world, &["--yes", "--no-modify-profile"])
            .env("SHELL", shell)
            .run()
            .exits_with(0)
            .mentions(&format!("say where that matters:\n  {line}"));
        assert!(!world.home().join(profile).exists());

        // Also where the directory is on the search path, and never twice.
        let path = format!("{}:/usr/bin:/bin", world.home().join(".local/bin").display());
        for words in [&["--yes", "--modify-profile"][..], &["--yes", "--modify-profile"]] {
            let run = invoke(&world, words).env("SHELL", shell).env("PATH", &path).run();
            run.exits_with(0).mentions("to try it: `dbt -s here catalog list`\n");
        }
        let text = fs::read_to_string(world.home().join(profile)).unwrap();
        assert_eq!(text.matches(line).count(), 1, "{text}");
        assert!(text.contains(".local/bin"), "{text}");
        if shell == "/bin/bash" {
            let line = "dbt -s here deploy x -o 2>&1 >/dev/null";
            let said = in_a_new_shell(&world, &["bash", "-ic"], line);
            assert!(said.contains("`-o` stands after `deploy` and goes to it"), "{said}");
        }
        install(&world, &["uninstall", "--yes"]).exits_with(0);
        assert!(!world.home().join(profile).exists());
    }
    // Who does not come from there is told nothing.
    let world = ready();
    let run = invoke(&world, &["--yes", "--modify-profile"]).env("SHELL", "/bin/bash").run();
    assert!(!run.exits_with(0).stderr().contains("COMPAT_WARN"));
    let text = fs::read_to_string(world.home().join(".bashrc")).unwrap();
    assert!(!text.contains("COMPAT_WARN"), "{text}");
}
