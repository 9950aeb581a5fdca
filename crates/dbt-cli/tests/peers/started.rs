//! The same tool, started directly and through dbt.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use dbt_testkit::invocation::{Invocation, Run};
use dbt_testkit::people::ALICE;
use dbt_testkit::world::{SERVER, World};

/// A world in which a tool is published, and lies in a directory of the search path too.
pub(crate) struct Both {
    world: World,
    name: String,
    directory: PathBuf,
}

impl Both {
    /// Makes such a world for a program.
    pub(crate) fn of(name: &str, program: &Path) -> Self {
        let world = World::new(env!("CARGO_BIN_EXE_dbt"));
        world.pin(&[&ALICE]);
        let bytes = fs::read(program).unwrap();
        let directory = world.directory().join("direct");
        fs::create_dir(&directory).unwrap();
        fs::write(directory.join(name), &bytes).unwrap();
        fs::set_permissions(directory.join(name), Permissions::from_mode(0o500)).unwrap();
        world.repository().publish(name, "1.0.0").content(bytes).now();
        world.dbt(["fetch", name]).prints("").says_nothing();
        Self { world, name: name.to_owned(), directory }
    }

    /// Runs it both ways, after `prefix`, and expects the same: the same exit code, the same words
    /// and the same output, but for the path of its own file. Returns the output.
    #[track_caller]
    pub(crate) fn behave_alike(&self, prefix: &[&str], arguments: &[&str], code: i32) -> String {
        let words = [&[self.name.as_str()], arguments].concat();
        let through_dbt = self.prepared(self.world.invoke(words), prefix).run();
        let url = self.world.server().url();
        let directly = self
            .prepared(self.world.invoke(arguments).program(&self.name), prefix)
            .env("DBT_REPO", format!("{url}/dbt"))
            .env("DBT_TOOLS_REPO", format!("{url}/dbt-tools"))
            .env("DBT_TRUSTSTORE", format!("{url}/dbt/truststore"))
            .env("DBT_SERVER", SERVER)
            .run();
        directly.exits_with(code);
        through_dbt.exits_with(code).says(&directly.stderr());
        let own = self.directory.join(&self.name).display().to_string();
        let directly = without_path(&directly, &own);
        assert_eq!(without_path(&through_dbt, &self.path_in_store()), directly);
        directly
    }

    /// Runs it from sealed memory.
    pub(crate) fn run_sealed(&self, arguments: &[&str]) -> Run {
        let words = [&["--sealed", self.name.as_str()], arguments].concat();
        self.prepared(self.world.invoke(words), &[]).run()
    }

    /// Both get the same variables, the search path with the tool among them, and input.
    fn prepared<'a>(&self, invocation: Invocation<'a>, prefix: &[&str]) -> Invocation<'a> {
        let path = format!("{}:/usr/bin:/bin", self.directory.display());
        let through = [&["/usr/bin/env"], prefix].concat();
        invocation.env("PATH", path).stdin(b"some input").through(&through)
    }

    /// The only executable file in the home is the tool.
    fn path_in_store(&self) -> String {
        let executables = self.world.executables();
        assert_eq!(executables.len(), 1, "{executables:?}");
        executables[0].display().to_string()
    }
}

#[track_caller]
fn without_path(run: &Run, path: &str) -> String {
    let printed = run.stdout();
    assert!(printed.contains(path), "`{path}` is not in:\n{printed}");
    let lines = printed.replace(path, "[SELF]");
    lines.lines().map(|line| line_without_internals(line) + "\n").collect()
}

/// The C library keeps two signals for its threads and shows them to nobody: whoever has had a
/// thread has caught the second one. Only who was started with them ignored could see that.
const INTERNAL_SIGNALS: u64 = 0b11 << 31;

fn line_without_internals(line: &str) -> String {
    let Some((name, digits)) = line.split_once("SigIgn:\t") else {
        return line.to_owned();
    };
    let signals = u64::from_str_radix(digits, 16).unwrap() & !INTERNAL_SIGNALS;
    format!("{name}SigIgn:\t{signals:016x}")
}
