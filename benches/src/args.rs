//! What was typed.

use std::path::PathBuf;

use dbt_bench::Fault;

pub(crate) const HELP: &str = "\
dbt-bench: what dbt costs, in ratios to what a machine does anyway

  --dbt PATH       the program (default: the static one, else the one built beside this one)
  --only P1,P3     these goals only; FELT is the table of what is felt
  --quick          few repetitions: to see whether it works, not what it says
  --json           everything, for a program
  --write FILE     rewrites the marked part of a page
  --check FILE     counts only: more than the file allows is an error
  --renew FILE     counts only: writes them into the file";

/// How the result is given.
pub(crate) enum Form {
    Table,
    Json,
    Page(PathBuf),
    /// Compared with what is allowed.
    Check(PathBuf),
    /// What is allowed from now on.
    Renew(PathBuf),
}

/// What is to be done.
pub(crate) struct Args {
    pub(crate) help: bool,
    pub(crate) program: Option<PathBuf>,
    pub(crate) quick: bool,
    pub(crate) form: Form,
    only: Vec<String>,
}

impl Args {
    pub(crate) fn parse(words: impl Iterator<Item = String>) -> Result<Self, Fault> {
        let mut args =
            Self { help: false, program: None, quick: false, form: Form::Table, only: Vec::new() };
        let mut words = words;
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or(format!("`{word}` needs a value"));
            match word.as_str() {
                "-h" | "--help" => args.help = true,
                "--quick" => args.quick = true,
                "--json" => args.form = Form::Json,
                "--dbt" => args.program = Some(value()?.into()),
                "--write" => args.form = Form::Page(value()?.into()),
                "--check" => args.form = Form::Check(value()?.into()),
                "--renew" => args.form = Form::Renew(value()?.into()),
                "--only" => {
                    args.only = value()?.to_uppercase().split(',').map(String::from).collect();
                }
                _ => return Err(format!("`{word}` is unknown\n{HELP}").into()),
            }
        }
        Ok(args)
    }

    /// Says whether a goal is to be measured.
    pub(crate) fn wants(&self, id: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| only == id)
    }
}
