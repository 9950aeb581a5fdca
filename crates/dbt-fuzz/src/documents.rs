//! Signed documents: lists of withdrawn versions, and manifests of truststores.

use dbt_core::digest::Digest;
use dbt_core::name::ToolName;
use dbt_core::trust::history::History;
use dbt_core::trust::keys::Certificate;
use dbt_core::trust::manifest::{Manifest, PinnedManifest};
use dbt_core::trust::withdrawn::Withdrawn;

use crate::fixtures;

/// Reads two documents, divided by a zero byte: what is known, and what comes next.
pub fn run(data: &[u8]) {
    let mut parts = data.splitn(2, |byte| *byte == 0);
    let known = parts.next().unwrap_or_default();
    let next = parts.next().unwrap_or_default();
    withdrawn(known, next);
    manifests(known, next);
}

fn withdrawn(known: &[u8], next: &[u8]) {
    let tool: ToolName = "deploy".parse().unwrap();
    let other: ToolName = "other".parse().unwrap();
    let Ok(list) = Withdrawn::parse(known, &tool) else { return };
    assert!(Withdrawn::parse(known, &other).is_err(), "it is about one tool");
    let written = serde_json::to_vec(&list).expect("it was read");
    assert_eq!(Withdrawn::parse(&written, &tool).expect("it was written"), list);

    let mut history = History::default();
    history.withdraw(list.clone()).expect("there was none");
    let Ok(next) = Withdrawn::parse(next, &tool) else { return };
    let taken = history.withdraw(next.clone());
    assert_eq!(taken.is_ok(), next.serial >= list.serial, "the serial only rises");
    let now = history.withdrawn().expect("there is one");
    assert!(now.serial >= list.serial);
    // What was withdrawn once stays withdrawn, by number and by bytes.
    for entry in &list.versions {
        assert!(now.reason_against(&entry.version, None).is_some(), "{entry:?}");
        let elsewhere = "999.999.999".parse().unwrap();
        for digest in &entry.sha256 {
            assert!(now.reason_against(&elsewhere, Some(*digest)).is_some(), "{entry:?}");
        }
    }
}

fn manifests(known: &[u8], next: &[u8]) {
    let Ok(manifest) = Manifest::parse(known) else { return };
    let written = serde_json::to_vec(&manifest).expect("it was read");
    assert_eq!(Manifest::parse(&written).expect("it was written"), manifest);
    let admins = manifest.admins.len();
    assert!((1..=admins).contains(&(manifest.admin_threshold as usize)), "{manifest:?}");

    // Nobody has signed a manifest: none begins, and none follows.
    let trusted: Vec<&Certificate> = fixtures::keyring().certificates.iter().collect();
    for signature in fixtures::SIGNATURES {
        assert!(PinnedManifest::first(known, signature, &trusted, fixtures::now()).is_err());
        let pinned = PinnedManifest {
            manifest: manifest.clone(),
            sha256: Digest::of(known),
            earlier_admins: [].into(),
        };
        let followed = pinned.follow(next, signature, &trusted, fixtures::now());
        if let Ok(followed) = followed {
            assert_eq!((followed, next), (pinned, known), "only itself");
        }
    }
}
