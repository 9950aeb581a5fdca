use super::*;

use proptest::prelude::*;

fn url(text: &str) -> RepositoryUrl {
    text.parse().unwrap()
}

#[track_caller]
fn check(text: &str, expected: Result<&str, Reason>) {
    let read = text.parse::<RepositoryUrl>();
    let read = read.map(|url| url.to_string()).map_err(|error| error.reason());
    assert_eq!(read, expected.map(str::to_owned), "{text}");
}

#[test]
fn equal_places_have_one_spelling() {
    check("https://dbt.example.com/dbt", Ok("https://dbt.example.com/dbt"));
    check(" HTTPS://DBT.Example.com:443/dbt// ", Ok("https://dbt.example.com/dbt"));
    check("http://localhost:9999/", Ok("http://localhost:9999"));
    check("http://[::1]:9999/dbt", Ok("http://[::1]:9999/dbt"));
    check("https://h:80/%7euser/a%20b", Ok("https://h:80/~user/a%20b"));
    check("https://h/d\u{e9}p\u{f4}t", Ok("https://h/d%C3%A9p%C3%B4t"));
    check("https://my_repo.example.com./x", Ok("https://my_repo.example.com./x"));
}

#[test]
#[cfg(unix)]
fn directories_are_urls_too() {
    check("/srv/dbt/", Ok("file:///srv/dbt"));
    check("/srv/./x/../dbt", Ok("file:///srv/dbt"));
    check("file:///srv/my%20dbt", Ok("file:///srv/my%20dbt"));
    check("file://localhost/srv", Ok("file:///srv"));
    check("file:/srv", Ok("file:///srv"));
    check("file://elsewhere/srv", Err(Reason::FileHost));
    check("file:srv", Err(Reason::RelativeFile));
    check("./dbt", Err(Reason::RelativePath));
    let near = RepositoryUrl::parse_relative_to("../dbt", Path::new("/home/alice")).unwrap();
    assert_eq!(near.to_string(), "file:///home/dbt");
    assert_eq!(near.directory(), Some(Path::new("/home/dbt")));
}

#[test]
fn urls_that_could_mislead_are_refused() {
    check("https://good.example.com@evil.example.com/dbt", Err(Reason::UserInfo));
    check("https://user:password@h/dbt", Err(Reason::UserInfo));
    check("http://h:0/dbt", Err(Reason::PortZero));
    check("http://h:65536/dbt", Err(Reason::BadPort));
    check("http://h:/dbt", Err(Reason::BadPort));
    check("http://h:+80/dbt", Err(Reason::BadPort));
    check("http:///dbt", Err(Reason::NoHost));
    check("http:dbt", Err(Reason::NoHost));
    check("https://h/dbt?token=x", Err(Reason::Query));
    check("https://h/dbt#x", Err(Reason::Fragment));
    check("https://d\u{431}t.example.com/", Err(Reason::ForeignHost));
    check("https://h\\evil/dbt", Err(Reason::BadCharacter));
    check("https://h/a b", Err(Reason::BadCharacter));
    check("https://h/a%2fb", Err(Reason::BadCharacter));
    check("https://h/a%00b", Err(Reason::BadCharacter));
    check("/srv/a\0b", Err(Reason::BadCharacter));
    check("file:///srv/a%00b", Err(Reason::BadCharacter));
    check("https://h/a/../b", Err(Reason::Dots));
    check("https://h/a/%2e%2E/b", Err(Reason::Dots));
    check("https://h/a%zz", Err(Reason::BadEscape));
    check("https://h/a%2", Err(Reason::BadEscape));
    check("https://a..b/", Err(Reason::BadHost));
    check("https://[::1/", Err(Reason::BadHost));
    check("https://[::1]x/", Err(Reason::BadHost));
    check("ftp://h/dbt", Err(Reason::UnknownScheme));
    check("dbt.example.com/dbt", Err(Reason::NoScheme));
    // The beginning of a name is no scheme (wire formats, D30).
    check("httpd.example.com/dbt", Err(Reason::NoScheme));
    check("https.example.com", Err(Reason::NoScheme));
    check("dbt.example.com:8443", Err(Reason::NoScheme));
    check("", Err(Reason::Empty));
}

#[test]
fn addresses_that_resolvers_read_differently_are_refused() {
    for host in ["127.1", "2130706433", "0x7f000001", "127.0.0.0x1", "0177.0.0.1", "1.2.3.4.5"] {
        check(&format!("http://{host}/"), Err(Reason::BadHost));
    }
    check("http://127.0.0.1/", Ok("http://127.0.0.1"));
    check("http://1.example.com/", Ok("http://1.example.com"));
}

#[test]
fn s3_buckets_are_refused_in_words() {
    check("s3://bucket/dbt", Err(Reason::S3));
    check("https://bucket.s3.us-east-1.amazonaws.com/dbt", Err(Reason::S3));
    check("https://s3.us-east-1.amazonaws.com/bucket", Err(Reason::S3));
    check("https://b.s3.cn-north-1.amazonaws.com.cn/", Err(Reason::S3));
    check("https://s3.example.com/dbt", Ok("https://s3.example.com/dbt"));
    let error = "s3://bucket/dbt".parse::<RepositoryUrl>().unwrap_err();
    let words = "S3 repositories are not read by this version";
    assert!(error.to_string().ends_with(words), "{error}");
}

#[test]
fn refusals_do_not_repeat_secrets() {
    for text in [
        "https://alice:hunter2@h/dbt",
        "https://alice:hun/hunter2@h/dbt",
        "https://alice:?hunter2@h/dbt",
        "https://alice:x#hunter2@h/dbt",
        "https://h/dbt?X-Amz-Signature=hunter2",
        "https://h/dbt#hunter2",
        "alice:hunter2@h/dbt",
    ] {
        let error = text.parse::<RepositoryUrl>().unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
    }
}

#[test]
fn this_machine_is_recognised() {
    for text in ["http://localhost/", "http://127.0.0.1:1/", "http://127.9.9.9/", "http://[::1]/"] {
        assert!(url(text).is_loopback(), "{text}");
    }
    for text in ["http://localhost.example.com/", "http://10.0.0.1/", "http://x.localhost/"] {
        assert!(!url(text).is_loopback(), "{text}");
    }
    assert!(url("http://localhost").is_plain_http());
    assert!(!url("https://localhost").is_plain_http());
}

#[test]
fn the_truststore_can_be_read_as_a_file_of_a_directory() {
    let truststore = url("https://h/dbt/trust%20store");
    let (base, name) = truststore.split_last().unwrap();
    assert_eq!(base.to_string(), "https://h/dbt");
    assert_eq!(name.as_str(), "trust store");
    assert_eq!(base.join(&name), truststore);
    let manifest = truststore.with_ending(".manifest.json");
    assert_eq!(manifest.to_string(), "https://h/dbt/trust%20store.manifest.json");
    assert_eq!(url("https://h").split_last(), None);
}

#[test]
fn a_neighbour_with_the_same_beginning_is_not_within() {
    assert!(url("https://h/dbt/truststore").is_within(&url("https://h/dbt/")));
    assert!(url("https://h/dbt").is_within(&url("https://h")));
    assert!(!url("https://h/dbt-tools").is_within(&url("https://h/dbt")));
    assert!(!url("http://h/dbt/x").is_within(&url("https://h/dbt")));
    assert!(!url("https://h:444/dbt/x").is_within(&url("https://h/dbt")));
    assert!(!url("file:///dbt/x").is_within(&url("https://h/dbt")));
    assert!(url("file:///dbt/x").is_within(&url("file:///dbt")));
}

#[test]
fn what_is_printed_reads_back_as_the_same_place() {
    for text in ["https://h/%25/%C3%A9/a+b", "http://[2001:db8::1]:8080/x", "file:///a%20%25/%FF"] {
        let first = url(text);
        assert_eq!(url(&first.to_string()), first);
    }
}

proptest! {
    #[test]
    fn an_origin_is_one_however_it_is_spelt(
        scheme in "https?",
        host in "[a-z]([a-z0-9-]{0,6}[a-z0-9])?(\\.[a-z]{2,4}){0,2}",
        port in prop::option::of(1_u16..),
        path in "(/[A-Za-z0-9._~-]{1,6}){0,3}",
    ) {
        let usual = if scheme == "https" { 443 } else { 80 };
        let shown = port.map(|port| format!(":{port}")).unwrap_or_default();
        let plain = url(&format!("{scheme}://{host}{shown}/x"));
        let shouted = format!("{}://{}{shown}/x//", scheme.to_uppercase(), host.to_uppercase());
        prop_assert_eq!(&url(&shouted), &plain);
        let origin = plain.origin().unwrap();
        prop_assert_eq!((origin.host(), origin.port()), (host.as_str(), port.unwrap_or(usual)));

        let other_port = if origin.port() == 1 { 2 } else { 1 };
        let other = url(&format!("{scheme}://{host}:{other_port}/x"));
        prop_assert_ne!(other.origin(), plain.origin());
        prop_assert!(!other.is_within(&plain));
        if let Ok(below) = format!("{scheme}://{host}{shown}/x{path}").parse::<RepositoryUrl>() {
            prop_assert_eq!(&url(&below.to_string()), &below);
            prop_assert_eq!(below.origin(), plain.origin());
        }
    }

    #[test]
    fn whatever_is_joined_stays_below(text in "[^\\pC]{1,30}", base in "(/[a-z%20]{1,5}){0,2}") {
        let bases = [format!("https://h{base}"), format!("/srv{base}")];
        for base in bases.iter().filter_map(|text| text.parse::<RepositoryUrl>().ok()) {
            if let Ok(path) = text.parse::<RepoPath>() {
                let joined = base.join(&path);
                prop_assert!(joined.is_within(&base) && joined != base);
                prop_assert_eq!(&url(&joined.to_string()), &joined);
            }
        }
    }
}
