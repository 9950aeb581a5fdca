//! gomason's `metadata.json`: what it has published, and from where.

use std::path::Path;

use dbt_core::platform::Platform;
use dbt_publisher::publish::metadata::{Metadata, Named, Repositories};
use dbt_ui::printer::Colour;
use serde_json::{Value, json};

use crate::input::Input;

/// What is in no file that is to be published.
const SECRET: &[u8] = b"bytes that nobody publishes";

/// The files that were built.
const BUILT: [&str; 4] = ["deploy", "deploy.exe", "dbt", "description.txt"];

/// Reads a file: any bytes, or one made of what such files say.
pub fn run(data: &[u8]) {
    let mut input = Input(data);
    let bytes = if input.byte() & 1 == 0 { input.0.to_vec() } else { made(&mut input) };
    let world = tempfile::tempdir().unwrap();
    let (file, dist) = (world.path().join("metadata.json"), world.path().join("dist"));
    std::fs::create_dir(&dist).unwrap();
    std::fs::write(&file, &bytes).unwrap();
    std::fs::write(world.path().join("secret"), SECRET).unwrap();
    std::os::unix::fs::symlink("../secret", dist.join("link")).unwrap();
    for name in BUILT {
        std::fs::write(dist.join(name), b"built").unwrap();
    }
    let metadata = match Metadata::read(&file) {
        Ok(metadata) => metadata,
        Err(stop) => return refused(stop.report(), bytes.len()),
    };
    match metadata.repositories() {
        Ok(places) => go(&bytes, &places),
        Err(stop) => refused(stop.report(), bytes.len()),
    }
    match metadata.named_in(vec![dist.clone()]) {
        Ok(named) => accepted(&bytes, &named, &dist),
        Err(stop) => refused(stop.report(), bytes.len()),
    }
}

fn refused(report: &dbt_ui::report::Report, length: usize) {
    let words = report.render(Colour::Never);
    assert!(!words.contains(std::str::from_utf8(SECRET).unwrap()), "{words}");
    assert!(words.chars().all(|it| it == '\n' || !it.is_control()), "{words:?}");
    // What is wrong is shown, a few times, and perhaps escaped.
    assert!(words.len() <= 64 * length + 4096, "{} bytes of words", words.len());
}

/// Whatever is published is a built file, for a platform, as one of the targets says.
fn accepted(bytes: &[u8], named: &Named, dist: &Path) {
    let document: Value = serde_json::from_slice(bytes).expect("it was read");
    assert_eq!(document["name"].as_str(), Some(named.tool.as_str()));
    assert_eq!(document["version"].as_str(), Some(named.version.as_str()));
    let targets = document["publishing"]["targets"].as_array().expect("there are targets");
    assert!(!targets.is_empty() && named.artifacts.len() <= targets.len());
    for word in &named.artifacts {
        // As the command line's words are read.
        let (platform, path) = word.split_once('=').expect("it says what runs where");
        let platform: Platform = platform.parse().expect("only what runs somewhere is published");
        let path = Path::new(path);
        assert_eq!(path.parent(), Some(dist), "{word:?}");
        assert_eq!(path.canonicalize().unwrap().parent(), Some(&*dist.canonicalize().unwrap()));
        let source = path.file_name().and_then(|name| name.to_str()).unwrap();
        assert!(BUILT.contains(&source), "{word:?}");
        let says = |target: &Value| {
            let destination = target["dst"].as_str().unwrap_or_default();
            target["src"] == source && destination.contains(platform.os.as_str())
        };
        let by_template = |target: &Value| {
            target["dst"].as_str().is_some_and(|destination| destination.contains("{{"))
        };
        assert!(targets.iter().any(|target| says(target) || by_template(target)), "{word:?}");
    }
    let description = named.description.as_deref().unwrap_or_default();
    assert!(!description.as_bytes().windows(SECRET.len()).any(|it| it == SECRET));
}

/// The tools are where the file says, and the truststore beside them or where it says.
fn go(bytes: &[u8], places: &Repositories) {
    let document: Value = serde_json::from_slice(bytes).expect("it was read");
    let said = |key: &str| document[key].as_str().map(|it| it.trim_end_matches('/'));
    let said = |key: &str| said(key).filter(|_it| document[key] != "").map(str::to_owned);
    let Repositories { repository, tools } = places;
    if document["name"] == "dbt" {
        assert_eq!((repository, tools), (&said("repository"), &said("tool-repository")));
        return;
    }
    assert_eq!(*tools, said("tool-repository").or(said("repository")));
    if let Some(repository) = repository {
        let beside = format!("{repository}-tools");
        assert_eq!(Some(beside), *tools);
        assert!(repository.ends_with("/dbt"), "{repository}");
    }
}

fn made(input: &mut Input<'_>) -> Vec<u8> {
    const NAMES: [&str; 6] = ["deploy", "dbt", "../deploy", "deploy.exe", "", "a=b"];
    const VERSIONS: [&str; 5] = ["1.4.0", "v1.4.0", "..", "1.4.0=x", "1"];
    const PLACES: [&str; 6] = [
        "https://dbt.example.com/dbt-tools",
        "https://dbt.example.com/dbt/",
        "https://dbt.example.com",
        "/",
        "https://alice:hunter2@dbt.example.com/dbt-tools",
        "{{.Name}}",
    ];
    const SOURCES: [&str; 9] = [
        "deploy",
        "deploy.exe",
        "dbt",
        "description.txt",
        "link",
        "../secret",
        "..",
        "/etc/passwd",
        "..\\secret",
    ];
    const PARTS: [&str; 20] = [
        "{{.Repository}}",
        "{{.ToolRepository}}",
        "{{ .Name }}",
        "{{.Version}}",
        "{{.Package}}",
        "{{.Description}}",
        "{{.Other}}",
        "{{",
        "https://dbt.example.com/dbt-tools",
        "deploy",
        "1.4.0",
        "linux",
        "windows",
        "amd64",
        "amd64=",
        "arm64=dist",
        "plan9",
        "..",
        "description.txt",
        "deploy.exe",
    ];
    let mut targets = Vec::new();
    for _target in 0..input.below(4) {
        let destination = match input.byte() % 4 {
            0 => (0..input.below(8)).map(|_| input.one_of(&PARTS)).collect::<Vec<_>>().join("/"),
            1 => "{{.Repository}}/{{.Name}}/{{.Version}}/description.txt".to_owned(),
            _ => {
                let (os, arch) = (input.one_of(&PARTS), input.one_of(&PARTS));
                let (base, file) =
                    (input.one_of(&PARTS[..2]), input.one_of(&["{{.Name}}", "deploy"]));
                let ending = input.one_of(&["", "", ".exe"]);
                format!("{base}/{{{{.Name}}}}/{{{{.Version}}}}/{os}/{arch}/{file}{ending}")
            }
        };
        targets.push(json!({"src": input.one_of(&SOURCES), "dst": destination, "sig": true}));
    }
    let mut document = json!({
        "name": input.one_of(&NAMES),
        "version": input.one_of(&VERSIONS),
        "repository": input.one_of(&PLACES),
        "publishing": {"targets": targets},
    });
    if input.byte() & 1 == 1 {
        document["tool-repository"] = json!(input.one_of(&PLACES));
    }
    if !input.is_empty() {
        document["description"] = json!(String::from_utf8_lossy(input.0));
    }
    document.to_string().into_bytes()
}
