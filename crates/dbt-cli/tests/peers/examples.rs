//! The templates in `examples/`: what their pages say is typed, and the steps of their pipelines are
//! run, with a CI system that gives jobs their identity and a real server that takes it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use dbt_core::platform::Platform;
use serde_json::{Value, json};

use crate::desk::Desk;
use crate::page::Page;
use crate::pipelines::{World, variables_of};
use crate::reposerver::{PASSPHRASE, TOKEN, built};

const TOOL_REPO: &str = include_str!("../../../../examples/tool-repo/README.md");
const DOWNSTREAM_REPO: &str = include_str!("../../../../examples/downstream-repo/README.md");

/// The server in the templates.
const URL: &str = "https://dbt.example.com";

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples").join(name)
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Copies a template to where somebody works on it.
fn checked_out(name: &str, to: &Path) {
    fs::create_dir_all(to).unwrap();
    let copied = Command::new("cp").arg("-R").arg(example(name).join(".")).arg(to).status();
    assert!(copied.unwrap().success());
}

/// Returns the scripts of a pipeline, in order: what stands below `run: |` or `- |`.
fn steps(pipeline: &str) -> Vec<String> {
    let indent = |line: &str| line.len() - line.trim_start().len();
    let mut steps: Vec<String> = Vec::new();
    let mut below = None;
    for line in pipeline.lines().filter(|line| !line.trim().is_empty()) {
        if below.is_some_and(|key| indent(line) > key) {
            let step = steps.last_mut().unwrap();
            step.push_str(line.trim());
            step.push('\n');
            continue;
        }
        let is_item = line.trim_start().starts_with("- ") && line.trim() != "- |";
        let key = indent(line) + if is_item { 2 } else { 0 };
        let begins = line.trim() == "- |" || line.trim_start_matches([' ', '-']) == "run: |";
        below = begins.then_some(key);
        if begins {
            steps.push(String::new());
        }
    }
    steps
}

fn rule(page: &Page, words: &str) -> Value {
    serde_json::from_str(&page.block("json", words)).unwrap()
}

/// What GitHub says of a job of a repository of `acme`.
fn job_of_github(repository: &str, workflow: &str, environment: &str) -> Value {
    let file = format!("acme/{repository}/.github/workflows/{workflow}@refs/tags/v1.0.0");
    json!({
        "sub": format!("repo:acme/{repository}:environment:{environment}"),
        "jti": format!("{repository}-{environment}"), "repository": format!("acme/{repository}"),
        "repository_owner_id": "1234", "environment": environment, "event_name": "push",
        "run_id": "7", "workflow_ref": file, "job_workflow_ref": file,
    })
}

/// What GitLab says of such a job.
fn job_of_gitlab(project: &str, environment: &str) -> Value {
    json!({
        "sub": format!("project_path:acme/{project}:ref_type:tag:ref:v1.0.0"), "jti": project,
        "namespace_id": "72", "project_path": format!("acme/{project}"), "pipeline_id": "1",
        "job_id": "302", "ref_protected": "true", "pipeline_source": "push",
        "environment": environment,
        "ci_config_ref_uri": format!("gitlab.example.com/acme/{project}//.gitlab-ci.yml@refs/tags/v1.0.0"),
    })
}

/// Returns the variables of a job of GitHub with an identity of its own.
fn github(world: &World, claims: Value) -> String {
    world.asked_at(&world.identity(claims))
}

#[test]
fn the_pipelines_of_a_tool_are_those_that_init_writes() {
    for (system, file) in
        [("github", ".github/workflows/release.yml"), ("gitlab", ".gitlab-ci.yml")]
    {
        let mut command = Command::new(built("publisher"));
        let words = ["init", "greet", "--description", "says hello", "--print", "--ci", system];
        let printed = command.args(words).args(["--to", URL]).output().unwrap();
        let there = read(&example("tool-repo").join(file));
        assert_eq!(String::from_utf8_lossy(&printed.stdout), there, "{printed:?}");
    }
}

#[test]
fn the_template_of_a_tool_leads_from_a_key_to_a_tool_that_runs() {
    let page = Page::of(TOOL_REPO, &[]);
    let world = World::new(rule(&page, "\"github\""));
    let (desk, key) = (Desk::new(), world.server.key());
    let url = world.network.url();
    let instead = [(URL, url.as_str()), ("file:admin", key.as_str())];
    let mut page = Page::of(TOOL_REPO, &instead);
    desk.set("DBT_PUBLISH_TOKEN", TOKEN);
    desk.set("DBT_SIGNING_PASSPHRASE", PASSPHRASE);
    desk.set("DBT_SERVER", &url);
    let project = desk.path("project");
    checked_out("tool-repo", &project);
    let inside = |line: String| format!("cd {} && {line}", project.display());

    desk.types(&page.next("publisher key generate alice"));
    desk.types(&page.next("publisher truststore add alice"));
    desk.types(&inside(page.next("make test dist")));
    let built = fs::read(project.join("dist/linux/arm64/greet")).unwrap();
    assert_eq!(built, fs::read(project.join("greet")).unwrap());

    assert!(page.next("git tag v1.0.0").ends_with("git push origin v1.0.0"));
    let asked = github(&world, job_of_github("greet", "release.yml", "release"));
    let [token, at] = variables_of(&asked);
    for step in steps(&read(&project.join(".github/workflows/release.yml"))) {
        world.runs_in(&project, &step, &[token, at, ("GITHUB_REF_NAME", "v1.0.0")]);
    }
    let published = world.server.served().join("dbt-tools/greet");
    assert!(!published.exists(), "nobody sees it before it is signed");
    let signed = desk.agrees_to(&page.next("publisher sign greet 1.0.0"));
    let said = String::from_utf8_lossy(&signed.stdout).into_owned();
    assert!(signed.status.success() && said.contains("run 7 of `acme/greet`"), "{said}");
    assert_eq!(desk.types("dbt greet Ada"), "hello, Ada\n");

    let script = read(&project.join("greet")).replace("hello", "good day");
    fs::write(project.join("greet"), script).unwrap();
    desk.types(&inside("make dist".to_owned()));
    desk.types(&inside(page.next("publisher publish greet 1.0.1")));
    assert_eq!(desk.types("dbt greet Ada"), "good day, Ada\n");
    desk.types(&page.next("publisher withdraw greet 1.0.1"));
    assert_eq!(desk.types("dbt greet Ada"), "hello, Ada\n");
    page.ends();
}

#[test]
fn the_pipeline_of_a_tool_at_gitlab_and_the_component_stage_too() {
    for with_component in [false, true] {
        let page = Page::of(TOOL_REPO, &[]);
        let world = World::new(rule(&page, "\"gitlab\""));
        let project = world.server.place().join("project");
        checked_out("tool-repo", &project);
        let pipeline = if with_component {
            let component = read(&project.join("shared/templates/stage.yml"));
            let (spec, jobs) = component.split_once("---\n").unwrap();
            included(spec, jobs, &page.block("yaml", "component:"))
        } else {
            read(&project.join(".gitlab-ci.yml"))
        };
        assert!(pipeline.contains(&format!("aud: {URL}\n")), "{pipeline}");
        let identity = world.identity(job_of_gitlab("greet", "release"));
        let url = world.network.url();
        let named: Vec<(String, String)> = set_in(&pipeline, "variables:");
        let mut variables = vec![("DBT_ID_TOKEN", identity.as_str()), ("CI_COMMIT_TAG", "v1.0.0")];
        let named: Vec<(&str, String)> =
            named.iter().map(|(name, value)| (name.as_str(), value.replace(URL, &url))).collect();
        variables.extend(named.iter().map(|(name, value)| (*name, value.as_str())));
        for step in steps(&pipeline) {
            world.runs_in(&project, &step, &variables);
        }
        is_staged(&world);
    }
}

#[test]
fn the_action_of_a_tool_stages_too() {
    let page = Page::of(TOOL_REPO, &[]);
    let world = World::new(rule(&page, "\"github\""));
    let project = world.server.place().join("project");
    checked_out("tool-repo", &project);
    world.runs_in(&project, "make dist", &[]);
    let action = read(&project.join("shared/stage/action.yml"));
    let used = page.block("yaml", "stage@v1");
    let url = world.network.url();
    let value_of = |input: &str| {
        let given = used
            .split(&format!("{input}: "))
            .nth(1)
            .map(|it| it.split([',', ' ', '}']).next().unwrap());
        let given = if input == "description" { Some("says hello") } else { given };
        given.map_or_else(|| default_of(&action, input), str::to_owned)
    };
    assert!(used.contains("description: says hello"), "{used}");
    let mut values = Vec::new();
    for (name, value) in set_in(&action, "env:") {
        let input = value.strip_prefix("${{ inputs.").and_then(|it| it.strip_suffix(" }}"));
        let value = value_of(input.unwrap_or_else(|| panic!("{name}: {value}")));
        let value = value.replace("${{ github.ref_name }}", "v1.0.0").replace(URL, &url);
        values.push((name, value));
    }
    assert_eq!(values.len(), 5, "{values:?}");
    let asked = github(&world, job_of_github("greet", "release.yml", "release"));
    let mut variables = variables_of(&asked).to_vec();
    variables.extend(values.iter().map(|(name, value)| (name.as_str(), value.as_str())));
    let steps = steps(&action);
    assert!(!steps.concat().contains("${{"), "what others name must not stand in a script");
    for step in steps {
        world.runs_in(&project, &step, &variables);
    }
    is_staged(&world);
}

/// Expects that `greet` 1.0.0 waits to be signed.
fn is_staged(world: &World) {
    let (root, key) = (world.server.root().to_owned(), world.server.key());
    let published = world.server.served().join("dbt-tools/greet/1.0.0");
    assert!(!published.exists());
    let words = ["sign", "greet", "1.0.0", "--to", &root, "--signer", &key, "--yes"];
    let signed = world.server.publisher_as(&words, ("DBT_PUBLISH_TOKEN", Path::new(TOKEN)));
    assert!(signed.status.success(), "{signed:?}");
    let text = fs::read_to_string(published.join("description.txt")).unwrap();
    assert_eq!(text, "says hello");
    for platform in ["linux/amd64", "linux/arm64", "darwin/amd64", "darwin/arm64"] {
        assert!(published.join(platform).join("greet.asc").is_file(), "{platform}");
    }
}

/// Puts the inputs of a component into its jobs, as GitLab does: those that are given, and defaults.
fn included(spec: &str, jobs: &str, include: &str) -> String {
    let given = include.split("inputs: {").nth(1).and_then(|it| it.split('}').next()).unwrap();
    let given: Vec<(&str, &str)> =
        given.split(',').filter_map(|one| one.trim().split_once(": ")).collect();
    let mut jobs = jobs.to_owned();
    for name in ["tool", "description", "build", "output", "server"] {
        let value = given.iter().find(|(known, _value)| *known == name);
        let value =
            value.map_or_else(|| default_of(spec, name), |(_name, value)| (*value).to_owned());
        jobs = jobs.replace(&format!("$[[ inputs.{name} ]]"), value.trim());
    }
    assert!(!jobs.contains("$[["), "{jobs}");
    jobs
}

/// Returns the default of an input.
fn default_of(text: &str, input: &str) -> String {
    let after = text.split(&format!("  {input}:\n")).nth(1).unwrap_or_else(|| panic!("{input}"));
    let value = after.split("default: ").nth(1).unwrap_or_else(|| panic!("{input} has no default"));
    value.lines().next().unwrap().to_owned()
}

/// Returns what is set below a key: the lines that stand further in.
fn set_in(text: &str, key: &str) -> Vec<(String, String)> {
    let indent = |line: &str| line.len() - line.trim_start().len();
    let mut lines = text.lines().skip_while(|line| line.trim() != key);
    let Some(first) = lines.next() else { return Vec::new() };
    let inside = lines.take_while(|line| indent(line) > indent(first));
    let pairs = inside.filter_map(|line| line.trim().split_once(": "));
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// A release of somebody else in a directory, and its certificate.
fn upstream(desk: &Desk) {
    desk.small_release("upstream-dist");
    fs::create_dir(desk.path("upstream")).unwrap();
    desk.types("publisher key generate maker --email maker@example.org");
    desk.types("publisher release upstream-dist -v 4.0.0 --to upstream --signer file:maker --yes");
    desk.types("publisher key export maker > project/upstream.asc");
}

#[test]
fn the_template_of_an_organisation_publishes_what_others_have_released() {
    let page = Page::of(DOWNSTREAM_REPO, &[]);
    for (system, rule_of) in [("github", "\"github\""), ("gitlab", "\"gitlab\"")] {
        let world = World::new(rule(&page, rule_of));
        let desk = Desk::new();
        desk.set("DBT_SIGNING_PASSPHRASE", PASSPHRASE);
        let project = desk.path("project");
        checked_out("downstream-repo", &project);
        upstream(&desk);
        let (url, from) = (world.network.url(), desk.path("upstream").display().to_string());
        let own = read(&project.join("Makefile")).replace(URL, &url);
        fs::write(project.join("Makefile"), own.replace("https://upstream.example.com", &from))
            .unwrap();

        // The job: it has no token.
        let asked;
        let identity;
        let (file, mut variables) = if system == "github" {
            asked = github(&world, job_of_github("dbt-release", "publish.yml", "production"));
            (".github/workflows/publish.yml", variables_of(&asked).to_vec())
        } else {
            identity = world.identity(job_of_gitlab("dbt-release", "production"));
            (".gitlab-ci.yml", vec![("DBT_ID_TOKEN", identity.as_str())])
        };
        let pipeline = read(&project.join(file));
        assert!(pipeline.contains("SIGNER: env:SIGNING_KEY"), "{pipeline}");
        variables.push(("SIGNER", "env:SIGNING_KEY"));
        let steps = steps(&pipeline);
        assert_eq!(steps.len(), 2, "{steps:?}");
        for step in &steps {
            world.runs_in(&project, step, &variables);
        }
        let served = world.server.served();
        for name in ["catalog", "publisher", "reposerver"] {
            let file = format!("dbt-tools/{name}/4.0.0/{}/{name}.asc", Platform::CURRENT);
            assert!(served.join(file).is_file(), "{name}");
        }
        let tools = served.join("dbt-tools");
        assert!(tools.join("catalog/4.0.0/windows/amd64/catalog.exe.asc").is_file());
        assert!(!tools.join("reposerver/4.0.0/windows").exists());
        assert!(!served.join("dbt/4.0.0").exists() && !served.join("dbt/latest").exists());

        // The person.
        let mut page = Page::of(DOWNSTREAM_REPO, &[]);
        desk.set("DBT_PUBLISH_TOKEN", TOKEN);
        desk.set("SIGNER", &world.server.key());
        let inside = |line: String| format!("cd {} && {line}", project.display());
        let shown = desk.types(&inside(page.next("make dry-run")));
        assert!(shown.contains("/dbt/4.0.0/"), "{shown}");
        assert!(!served.join("dbt/4.0.0").exists());
        let published = desk.agrees_to(&inside(page.next("make publish")));
        assert!(published.status.success(), "{published:?}");
        assert_eq!(fs::read(served.join("dbt/latest")).unwrap(), b"4.0.0");
        assert!(served.join("dbt/4.0.0/darwin/arm64/dbt.asc").is_file());
        desk.types(&inside(page.next("make verify")));
        let help = desk.types(&inside("make help".to_owned()));
        assert!(help.contains("companions"), "{help}");
        page.ends();

        // What the upstream has not signed is not signed here.
        let program = format!("upstream/dbt/4.0.0/{}/dbt", Platform::CURRENT);
        desk.write(&program, "#!/bin/sh\necho evil\n");
        let refused = desk.tries(&inside("make dry-run".to_owned()));
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(!refused.status.success() && said.contains("refusing to sign"), "{said}");
    }
}
