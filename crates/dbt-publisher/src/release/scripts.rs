//! The scripts that users of the Go implementation ran once, at the addresses that they had: each fetches
//! an installer of this release, compares it with the checksum that is written into the script, and
//! runs it.
//!
//! (Contract: wire formats, 7.2 and 7.3.)

use dbt_client::reserved;
use dbt_core::brand;
use dbt_core::digest::Digest;
use dbt_core::platform::{Os, Platform};
use dbt_ui::report::Report;

use super::source::{Choice, Extra, installer_path};
use crate::stop::Stop;

/// What both scripts are, with the names of what differs between marks.
const TEMPLATE: &str = include_str!("install.sh");

/// The systems that each script is for.
const SCRIPTS: [(&str, &[Os]); 2] = [
    (brand::INSTALL_SCRIPTS[0], &[Os::Linux, Os::Darwin]),
    (brand::INSTALL_SCRIPTS[1], &[Os::Darwin]),
];

/// Adds the scripts for the installers of a release, as far as they are wanted and the release brings
/// none itself. `repository` is the address at which they fetch; without one they have to be told.
pub(super) fn add(
    extras: &mut Vec<Extra>,
    choice: &Choice<'_>,
    repository: Option<String>,
) -> Result<(), Stop> {
    let repository = repository.unwrap_or_default();
    for (name, systems) in SCRIPTS {
        let is_there = extras.iter().any(|extra| extra.path.to_string() == name);
        if is_there || !choice.wants(&format!("installer {}/{name}", brand::REPOSITORY_PATH)) {
            continue;
        }
        if let Some(text) = script(name, systems, extras, &repository) {
            let path = name.parse().map_err(Report::internal)?;
            // Behind the installers, which are there before the script that names them.
            extras.push(Extra { path, bytes: text.into_bytes() });
        }
    }
    Ok(())
}

/// Writes a script; nothing, where the release has no installer for its systems.
fn script(name: &str, systems: &[Os], extras: &[Extra], repository: &str) -> Option<String> {
    let (mut checksums, mut has_settings) = (Vec::new(), false);
    for platform in Platform::ALL.into_iter().filter(|platform| systems.contains(&platform.os)) {
        let path = installer_path(platform);
        if let Some(extra) = extras.iter().find(|extra| extra.path.to_string() == path) {
            checksums.push(format!("{} {platform}", Digest::of(&extra.bytes)));
            has_settings |= reserved::settings_in(&extra.bytes).is_some();
        }
    }
    if checksums.is_empty() {
        return None;
    }
    let systems: Vec<&str> = systems.iter().map(|os| os.as_str()).collect();
    let text = [
        ("@INSTALLER@", brand::INSTALLER),
        ("@SCRIPT@", name),
        ("@REPOSITORY_PATH@", brand::REPOSITORY_PATH),
        ("@SYSTEMS@", systems.join(" ").as_str()),
        ("@CHECKSUMS@", checksums.join("\n").as_str()),
        ("@HAS_SETTINGS@", if has_settings { "yes" } else { "no" }),
        // What somebody has typed comes last, so that nothing is looked for in it.
        ("@REPOSITORY@", repository.replace('\'', r"'\''").as_str()),
    ]
    .into_iter()
    .fold(TEMPLATE.to_owned(), |text, (mark, word)| text.replace(mark, word));
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn installer(platform: &str, bytes: &[u8]) -> Extra {
        let path = installer_path(platform.parse().unwrap()).parse().unwrap();
        Extra { path, bytes: bytes.to_vec() }
    }

    fn texts(mut extras: Vec<Extra>, exclude: &[&str]) -> Vec<(String, String)> {
        let exclude: Vec<String> = exclude.iter().map(|it| (*it).to_owned()).collect();
        let choice = Choice { include: &[], exclude: &exclude };
        let known = extras.len();
        add(&mut extras, &choice, Some("https://it's.example.com/dbt".to_owned())).unwrap();
        let made = extras.drain(known..);
        made.map(|it| (it.path.to_string(), String::from_utf8(it.bytes).unwrap())).collect()
    }

    #[test]
    fn a_script_names_the_installers_of_its_systems_and_where_they_are() {
        let (linux, mac, windows) = (
            installer("linux/amd64", b"a"),
            installer("darwin/arm64", b"b"),
            installer("windows/amd64", b"c"),
        );
        let made = texts(vec![linux, mac, windows], &[]);
        let [(all, text), (keychain, mac_text)] = made.as_slice() else { panic!("{made:?}") };
        assert_eq!(
            (all.as_str(), keychain.as_str()),
            (brand::INSTALL_SCRIPTS[0], brand::INSTALL_SCRIPTS[1])
        );
        let line = |bytes: &[u8], platform: &str| format!("{} {platform}", Digest::of(bytes));
        for line in [line(b"a", "linux/amd64"), line(b"b", "darwin/arm64")] {
            assert_eq!(text.matches(&line).count(), 1, "{line} in {text}");
        }
        assert!(mac_text.contains(&format!("'{}'\n", line(b"b", "darwin/arm64"))), "{mac_text}");
        assert!(text.contains(r"repository='https://it'\''s.example.com/dbt'"), "{text}");
        assert!(!text.contains('@') || text.matches('@').count() == text.matches("\"$@\"").count());
        assert!(text.contains("has_settings='no'"), "{text}");
    }

    #[test]
    fn a_release_without_an_installer_for_a_script_has_no_such_script() {
        assert!(texts(vec![installer("windows/amd64", b"c")], &[]).is_empty());
        assert_eq!(texts(vec![installer("linux/arm64", b"a")], &[]).len(), 1);
        assert!(texts(vec![installer("darwin/arm64", b"a")], &["install_"]).is_empty());
        let own =
            Extra { path: brand::INSTALL_SCRIPTS[0].parse().unwrap(), bytes: b"own".to_vec() };
        assert!(texts(vec![installer("linux/arm64", b"a"), own], &[]).is_empty());
    }
}
