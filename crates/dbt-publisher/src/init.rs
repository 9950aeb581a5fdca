//! `publisher init`: makes the project of a tool ready: a pipeline that stages what it builds, a
//! key, and the lines that are typed next.
//!
//! Nothing that is there is changed, and nothing is asked of a server.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use dbt_client::fsx::{self, FsxError};
use dbt_core::release::Subject;
use dbt_ui::exit_code::ExitCode;
use dbt_ui::printer::Printer;

use crate::args::{Init, Key, System};
use crate::env::{Environment, Variable};
use crate::key;
use crate::publish::plan::{Reserved, description_of, subject_of};
use crate::stop::{Explained, Stop};

/// Makes a project ready.
pub(crate) fn run(typed: Init, environment: &Environment, printer: &Printer) -> Result<(), Stop> {
    let Subject::Tool(tool) = subject_of(&typed.tool, Reserved::Refused)? else {
        return Err(Stop::usage("`publisher release DIR` publishes the program itself"));
    };
    let project = Project {
        tool: tool.to_string(),
        description: shell_word(&description_of(&typed.description)?)?,
        destination: destination(&typed)?,
        build: typed.build.clone(),
        output: shell_word(&typed.output)?,
    };
    let system = match typed.ci {
        Some(system) => system,
        None => System::found_in(&typed.directory)?,
    };
    let text = project.pipeline(system);
    if typed.print {
        return Ok(printer.data(text)?);
    }
    let path = typed.directory.join(system.path());
    write_new(&path, &text)?;
    if let Some(name) = &typed.key {
        make_key(name, &typed, environment, printer)?;
    }
    printer.data(format!("wrote {}\n", path.display()))?;
    Ok(printer.data(project.next(&typed, system))?)
}

/// What the pipeline says. Words for the shell are quoted.
struct Project {
    tool: String,
    description: String,
    destination: String,
    build: String,
    output: String,
}

impl System {
    /// Looks whose project it is.
    fn found_in(directory: &Path) -> Result<Self, Stop> {
        let origin = fsx::read_limited(&directory.join(".git/config"), CONFIG_LIMIT);
        let origin = String::from_utf8_lossy(&origin.unwrap_or_default()).into_owned();
        let is_there = |name: &str| directory.join(name).exists();
        let github = is_there(".github") || origin.contains("github");
        let gitlab = is_there(".gitlab-ci.yml") || origin.contains("gitlab");
        match (github, gitlab) {
            (true, false) => Ok(Self::Github),
            (false, true) => Ok(Self::Gitlab),
            _ => Err(Stop::usage("it is not clear where the project's pipelines run")
                .hint("`--ci github` or `--ci gitlab` says it")),
        }
    }

    /// Returns where it looks for pipelines.
    const fn path(self) -> &'static str {
        match self {
            Self::Github => ".github/workflows/release.yml",
            Self::Gitlab => ".gitlab-ci.yml",
        }
    }

    const fn tag(self) -> &'static str {
        match self {
            Self::Github => "\"$GITHUB_REF_NAME\"",
            Self::Gitlab => "\"$CI_COMMIT_TAG\"",
        }
    }
}

/// The most that is read of the configuration of git.
const CONFIG_LIMIT: u64 = 64 * 1024;

impl Project {
    fn stage(&self, system: System) -> String {
        let Self { tool, description, destination, output, build: _ } = self;
        let tag = system.tag();
        format!(
            "publisher stage {tool} {tag} {output} --description {description} --to {destination}"
        )
    }

    fn pipeline(&self, system: System) -> String {
        let (build, stage) = (&self.build, self.stage(system));
        let audience = self.destination.trim_matches('\'');
        match system {
            System::Github => format!(
                "# A tag is built and staged: nobody sees it before somebody has signed it.\n\
                 # The runner needs `publisher` on its PATH, and no secret.\n\
                 name: release\n\
                 on:\n  push:\n    tags: [\"v*\"]\n\
                 permissions:\n  contents: read\n  id-token: write\n\
                 jobs:\n  release:\n    runs-on: ubuntu-latest\n    environment: release\n    steps:\n      \
                 - uses: actions/checkout@v4\n      - run: |\n          {build}\n      - run: |\n          {stage}\n"
            ),
            System::Gitlab => format!(
                "# A tag is built and staged: nobody sees it before somebody has signed it.\n\
                 # The image needs `publisher` on its PATH, and no secret.\n\
                 release:\n  rules:\n    - if: $CI_COMMIT_TAG\n  environment: release\n  id_tokens:\n    \
                 {identity}:\n      aud: {audience}\n  script:\n    - |\n      {build}\n    - |\n      {stage}\n",
                identity = Variable::IdToken.name()
            ),
        }
    }

    /// Returns what is typed next.
    fn next(&self, typed: &Init, system: System) -> String {
        let Self { tool, description, destination, output, .. } = self;
        let key = typed.key.as_deref().unwrap_or("KEY");
        let claims = match system {
            System::Github => {
                "\"repository_owner_id\": NUMBER, \"repository\": \"OWNER/REPOSITORY\", \
                 \"environment\": \"release\" },\n    \"issuer\": \"github\", \"workflow\": \"release.yml\""
            }
            System::Gitlab => {
                "\"namespace_id\": \"NUMBER\", \"project_path\": \"GROUP/PROJECT\", \
                 \"ref_protected\": true },\n    \"issuer\": \"gitlab\", \"workflow\": \".gitlab-ci.yml\", \
                 \"replay\": \"until-expiry\""
            }
        };
        format!(
            "once, an administrator of the server:\n  \
             publisher truststore add {key} --to {destination}\n  \
             and a rule of `auth.federation.rules` in its settings:\n  \
             {{ \"name\": \"stage {tool}\", \"tools\": [\"{tool}\"], \"permits\": [\"publish\"],\n    \
             \"claims\": {{ {claims} }}\n\
             the first version, by the pipeline:\n  \
             git tag v0.1.0 && git push origin v0.1.0\n  \
             publisher sign {tool} 0.1.0 --to {destination} --signer file:{key}\n\
             or from here:\n  \
             publisher publish {tool} 0.1.0 {output} --description {description} --to {destination} --signer file:{key}\n"
        )
    }
}

fn destination(typed: &Init) -> Result<String, Stop> {
    let url = typed.to.trim_end_matches('/');
    if !url.starts_with("https://") && !url.starts_with("http://") {
        return Err(Stop::usage(format!("`{url}` is not the URL of a server"))
            .hint("`--to URL` is the root of a `reposerver`, above its two repositories"));
    }
    url.parse::<dbt_client::url::RepositoryUrl>()?;
    shell_word(url)
}

/// Quotes a word for the shell of a pipeline. What the pipeline's own language would replace before
/// is refused.
fn shell_word(text: &str) -> Result<String, Stop> {
    if text.contains("${{") || text.contains(char::is_control) {
        return Err(Stop::usage(format!("`{}` cannot stand in a pipeline", text.escape_debug())));
    }
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-/:+@".contains(&byte);
    if !text.is_empty() && text.bytes().all(is_plain) {
        return Ok(text.to_owned());
    }
    Ok(format!("'{}'", text.replace('\'', r"'\''")))
}

/// Writes a file where there is none.
fn write_new(path: &Path, text: &str) -> Result<(), Stop> {
    if let Some(above) = path.parent() {
        std::fs::create_dir_all(above)
            .map_err(|error| FsxError::new("create a directory for", path, error))?;
    }
    let mut options = OpenOptions::new();
    match options.write(true).create_new(true).open(path) {
        Ok(mut file) => {
            let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
            Ok(written.map_err(|error| FsxError::new("write", path, error))?)
        }
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            Err(InitError::Exists { path: path.to_owned() }.into())
        }
        Err(error) => Err(FsxError::new("write", path, error).into()),
    }
}

/// Makes a key, unless there is one of that name.
fn make_key(
    name: &str,
    typed: &Init,
    environment: &Environment,
    printer: &Printer,
) -> Result<(), Stop> {
    if key::ring::certificate(name, environment)?.is_some() {
        return Ok(());
    }
    let generate = Key::Generate {
        name: name.to_owned(),
        email: None,
        gpg: false,
        expires: "2y".to_owned(),
        passphrase_file: typed.passphrase_file.clone(),
        json: false,
    };
    key::commands::run(generate, environment, printer)
}

/// Why a project is not made ready.
#[derive(Debug, thiserror::Error)]
enum InitError {
    #[error("`{}` is there already", path.display())]
    Exists { path: PathBuf },
}

impl Explained for InitError {
    fn code(&self) -> ExitCode {
        ExitCode::USAGE
    }

    fn hints(&self) -> Vec<String> {
        let Self::Exists { .. } = self;
        vec!["`--print` prints what would be written, to be put into it by hand".to_owned()]
    }
}
