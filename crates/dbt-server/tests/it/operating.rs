//! The commands of docs/operating.md, run as they stand there.

use std::path::Path;

use crate::world::{Server, WRITABLE};

/// Where the page says that the configuration and the server are.
const FILE: &str = "/etc/reposerver/reposerver.json";
const URL: &str = "http://127.0.0.1:9999";

#[test]
fn the_commands_of_the_page_do_what_it_says() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/operating.md");
    let page = std::fs::read_to_string(page).unwrap();
    let blocks = page.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let commands: Vec<&str> = blocks.flat_map(str::lines).collect();
    assert!(commands.len() >= 4, "{commands:?}");
    let server = Server::start();
    for command in commands {
        let words: Vec<&str> = command.split_whitespace().collect();
        match words.as_slice() {
            ["reposerver", "-f", FILE, rest @ ..] => {
                assert!(!server.command_beside(rest).is_empty(), "{command}");
            }
            ["curl", "-fsS", url] => {
                let path = url.trim_matches('\'').strip_prefix(URL).unwrap();
                assert_eq!(server.get(path).status, 200, "{command}");
            }
            _ => panic!("the page has a command that is not run: {command}"),
        }
    }
    assert!(server.log().contains("are in force"));
}

#[test]
fn the_page_names_every_limit_and_every_number() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/operating.md");
    let page = std::fs::read_to_string(page).unwrap();
    let schema = dbt_server::config::Config::schema();
    let limits = schema.pointer("/properties/limits/properties").unwrap().as_object().unwrap();
    for name in limits.keys().filter(|name| *name != "trashDays") {
        assert!(page.contains(&format!("`{name}`")), "{name}");
    }
    let server = Server::with(&format!(r#"{WRITABLE}, "listen": {{"metrics": "127.0.0.1:0"}}"#));
    for line in server.get_beside("/-/metrics").text().lines() {
        let Some(rest) = line.strip_prefix("# TYPE ") else { continue };
        let name = rest.split(' ').next().unwrap();
        let is_named = page.contains(name)
            || name.starts_with("process_")
            || name == "reposerver_network_transmit_bytes_total";
        assert!(is_named, "{name}");
    }
}
