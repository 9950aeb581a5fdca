//! Names, versions, paths, URLs, times: what both sides of the wire take for one.

use std::path::{Component, Path};

use dbt_client::config::duration::Interval;
use dbt_client::url::{Reason, RepositoryUrl};
use dbt_core::digest::Digest;
use dbt_core::name::{ServerName, ToolName};
use dbt_core::platform::Platform;
use dbt_core::repo_path::RepoPath;
use dbt_core::timestamp;
use dbt_core::trust::Fingerprint;
use dbt_core::version::{Version, Wanted};
use dbt_server::target::Target;

/// Reads a text as everything that it could be.
pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    tool_name(text);
    versions(text);
    path(text);
    url(text);
    target(text);
    if let Ok(name) = text.parse::<ServerName>() {
        let slug = name.slug();
        assert!(RepoPath::root().join(&slug).is_ok() && !slug.starts_with('.'), "{slug:?}");
    }
    if let Ok(Interval(duration)) = text.parse() {
        assert!(!duration.is_zero(), "{text:?} is no time at all");
    }
    spelt_back::<Fingerprint>(text, str::to_uppercase);
    spelt_back::<Digest>(text, str::to_lowercase);
    spelt_back::<Platform>(text, str::to_owned);
    if let Some(time) = timestamp::parse(text) {
        assert_eq!(timestamp::parse(&timestamp::format(time)), Some(time), "{text:?}");
    }
}

fn spelt_back<T: std::str::FromStr + ToString + PartialEq>(
    text: &str,
    spelling: fn(&str) -> String,
) {
    let Ok(value) = text.parse::<T>() else { return };
    let shown = value.to_string();
    assert!(shown.parse::<T>().is_ok_and(|again| again == value), "{text:?} {shown:?}");
    let bare = |text: &str| spelling(&text.replace([' ', ':'], ""));
    assert!(bare(text).ends_with(&bare(&shown)), "{text:?} became {shown:?}");
}

fn tool_name(text: &str) {
    let Ok(name) = text.parse::<ToolName>() else { return };
    assert_eq!(name.as_str(), text);
    // It is one segment everywhere, as it stands, and no flag of any program.
    let path = RepoPath::root().join(text).expect("a name is a segment");
    assert_eq!(path.url_encoded().replace("%2B", "+"), text);
    let mut components = Path::new(text).components();
    assert!(matches!(components.next(), Some(Component::Normal(_))) && components.next().is_none());
    assert!(!text.starts_with(['-', '.']) && text.is_ascii());
}

fn versions(text: &str) {
    let parsed = text.parse::<Version>();
    if let Ok(version) = &parsed {
        assert_eq!(version.spelling(), text);
        assert!(RepoPath::root().join(text).is_ok());
        let written = serde_json::to_string(version).unwrap();
        assert_eq!(&serde_json::from_str::<Version>(&written).unwrap(), version);
        let wanted: Wanted = text.parse().expect("whoever names a version gets it");
        assert!(wanted.admits(version), "{text:?}");
    }
    if let Ok(wanted) = text.parse::<Wanted>() {
        let exact = matches!(wanted, Wanted::Exactly(_));
        // The longest version, and what is often written before one.
        let bare = text.strip_prefix('v').unwrap_or(text).parse::<Version>();
        assert_eq!(exact, parsed.is_ok() || bare.is_ok(), "{text:?} is {wanted:?}");
        let shown = wanted.to_string();
        assert_eq!(shown.parse::<Wanted>().as_ref(), Ok(&wanted), "{text:?} {shown:?}");
    }
}

fn path(text: &str) {
    let Ok(path) = text.parse::<RepoPath>() else { return };
    assert_eq!(path.to_string(), text);
    let below = Path::new("/root").join(path.as_str());
    let mut components = below.components().skip(2);
    assert!(below.starts_with("/root"));
    assert!(components.all(|part| matches!(part, Component::Normal(_))), "{}", below.display());

    // What the client asks for is what the server sees.
    let encoded = format!("/{}", path.url_encoded());
    let uri: hyper::Uri = encoded.parse().expect("an escaped path is one");
    let target = Target::of(&uri).expect("a server of ours reads it");
    assert_eq!((&target.path, target.unclean), (&path, None), "{encoded}");

    for base in ["https://dbt.example.com/dbt", "https://dbt.example.com", "file:///srv/dbt"] {
        let base: RepositoryUrl = base.parse().unwrap();
        let joined = base.join(&path);
        assert!(joined.is_within(&base) && joined.origin() == base.origin(), "{joined}");
        match joined.to_string().parse::<RepositoryUrl>() {
            Ok(again) => assert_eq!(again, joined),
            // Escaped it is longer than a configuration may name; that it is there is no matter.
            Err(error) => assert_eq!(error.reason(), Reason::TooLong, "{joined}"),
        }
    }
}

fn url(text: &str) {
    let Ok(url) = text.parse::<RepositoryUrl>() else { return };
    let shown = url.to_string();
    let again = shown.parse::<RepositoryUrl>();
    // A path is shown as a URL, which is longer than it and may be too long for one.
    if shown.len() <= text.len().max(8 * 1024) {
        assert_eq!(again.as_ref(), Ok(&url), "{text:?} is shown as {shown:?}");
    }
    assert!(!shown.contains(char::is_control), "{shown:?}");
    if let Some(origin) = url.origin() {
        // The library that makes the request sees the same host.
        let uri: hyper::Uri = shown.parse().expect("other programs read it");
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
        assert_eq!(host, origin.host(), "{text:?}");
        let default = if url.is_plain_http() { 80 } else { 443 };
        assert_eq!(uri.port_u16().unwrap_or(default), origin.port(), "{text:?}");
        let path = url.http_path().unwrap_or_default();
        assert!(path.is_empty() || path.starts_with('/') && !path.ends_with('/'), "{path:?}");
        let target = Target::of(&uri);
        assert!(target.is_err() || target.is_ok_and(|it| it.unclean != Some(DOTS)), "{shown}");
    }
    if let Some((above, name)) = url.split_last() {
        assert_eq!(above.join(&name), url);
    }
}

const DOTS: dbt_server::target::Unclean = dbt_server::target::Unclean::Dots;

fn target(text: &str) {
    let Ok(uri) = text.parse::<hyper::Uri>() else { return };
    let Ok(target) = Target::of(&uri) else { return };
    let clean = target.clean_location();
    assert!(clean.starts_with('/') && !clean.starts_with("//"), "{clean:?}");
    let again = Target::of(&clean.parse().expect("a clean path is one")).expect("and is read");
    assert_eq!((&again.path, again.unclean), (&target.path, None), "{text:?} {clean:?}");
    assert_eq!(again.directory, target.directory, "{text:?} {clean:?}");
}
