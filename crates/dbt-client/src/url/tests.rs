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
fn buckets_are_read_however_they_are_written_and_shown_in_one_way() {
    let usual = "https://tools.s3.eu-west-1.amazonaws.com/dbt";
    for written in [
        usual,
        "http://tools.s3.eu-west-1.amazonaws.com/dbt/",
        "HTTPS://Tools.S3.EU-West-1.amazonaws.com/dbt",
        "https://s3.eu-west-1.amazonaws.com/tools/dbt",
        "https://tools.s3-eu-west-1.amazonaws.com/dbt",
        "s3://tools/dbt?region=eu-west-1",
        "S3://tools/dbt/?region=eu-west-1",
    ] {
        check(written, Ok(usual));
    }
    let china = "https://b.s3.cn-north-1.amazonaws.com.cn";
    check(&format!("{china}/"), Ok(china));
    check("s3://tools", Ok("s3://tools"));
    check("s3://tools/a%20b", Ok("s3://tools/a%20b"));
    check("https://tools.s3.amazonaws.com/dbt", Ok("s3://tools/dbt"));
    // No certificate of Amazon's is for such a host.
    check("https://a.b.s3.eu-west-1.amazonaws.com/", Ok("s3://a.b?region=eu-west-1"));
    let here = "s3://tools/dbt?endpoint=http://127.0.0.1:9000";
    check(here, Ok(here));
    check("s3://tools/dbt?endpoint=http%3A%2F%2F127.0.0.1:9000/", Ok(here));
    let all = "s3://t/d?region=garage&endpoint=https://s3.example.com&style=host&profile=a%20b";
    check(all, Ok(all));
    check(
        "https://tools.s3.dualstack.eu-west-1.amazonaws.com/",
        Ok(
            "s3://tools?region=eu-west-1&endpoint=https://s3.dualstack.eu-west-1.amazonaws.com&style=host",
        ),
    );
    // Servers of pages, and of others.
    for page in [
        "http://tools.s3-website-us-east-1.amazonaws.com/dbt",
        "https://s3.example.com/dbt",
        "https://x.execute-api.eu-west-1.amazonaws.com/dbt",
    ] {
        check(page, Ok(page));
    }
}

#[test]
fn what_is_no_bucket_is_refused_in_words() {
    for (written, reason) in [
        ("s3:bucket", Reason::NoBucket),
        ("s3:///dbt", Reason::NoBucket),
        ("s3://-x", Reason::NoBucket),
        ("s3://a..b", Reason::NoBucket),
        ("https://s3.us-east-1.amazonaws.com", Reason::NoBucket),
        ("s3://key:hunter2@b", Reason::UserInfo),
        ("s3://b/../c", Reason::Dots),
        ("s3://b/a b", Reason::BadCharacter),
        ("s3://b/a%2fb", Reason::BadCharacter),
        ("s3://b?acl=public", Reason::BucketOption),
        ("s3://b?region", Reason::BucketOption),
        ("s3://b?style=odd", Reason::BucketOption),
        ("s3://b?region=a/b", Reason::BucketRegion),
        ("s3://b?region=evil.example.com", Reason::BucketRegion),
        ("s3://b?endpoint=s3.example.com", Reason::BucketEndpoint),
        ("s3://b?endpoint=https://h/path", Reason::BucketEndpoint),
        ("s3://b?endpoint=https://hunter2@h", Reason::UserInfo),
        ("s3://b#x", Reason::Fragment),
        ("https://b.s3.vpce.us-east-1.odd.amazonaws.com/", Reason::BucketHost),
    ] {
        check(written, Err(reason));
        let error = written.parse::<RepositoryUrl>().unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
    }
}

#[test]
fn places_in_buckets_are_joined_and_taken_apart() {
    let place = url("s3://b/x?endpoint=http://127.0.0.1:1");
    let file = place.join(&"tool/1.0.0+x/a".parse().unwrap());
    assert_eq!(file.to_string(), "s3://b/x/tool/1.0.0+x/a?endpoint=http://127.0.0.1:1");
    let (bucket, key) = file.bucket().unwrap();
    assert_eq!((bucket.name(), key.as_str()), ("b", "x/tool/1.0.0+x/a"));
    assert_eq!(file.split_last().unwrap().0, place.join(&"tool/1.0.0+x".parse().unwrap()));
    assert!(file.is_within(&place) && !url("s3://b/xy").is_within(&url("s3://b/x")));
    assert!(!file.is_within(&url("s3://b/x")), "another store");
    assert!(file.is_plain_http() && file.is_loopback());
    assert_eq!((file.origin(), file.directory()), (None, None));
    assert_eq!(url("s3://b").parent(), None);
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
    fn a_bucket_is_one_however_it_is_shown(
        name in "[a-z0-9]([a-z0-9-]{1,8})(\\.[a-z0-9]{1,4})?",
        region in prop::option::of("[a-z]{2}-[a-z]{4,9}-[1-9]"),
        endpoint in prop::option::of("https?://[a-z]{1,6}\\.[a-z]{2,4}(:[1-9][0-9]{3})?"),
        style in prop::option::of("path|host"),
        profile in prop::option::of("[a-zA-Z0-9 &%+=#?/_-]{1,12}"),
        path in "(/[A-Za-z0-9._~+-]{1,6}){0,3}",
    ) {
        let encoded = |text: &String| {
            text.bytes().fold(String::new(), |text, byte| format!("{text}%{byte:02X}"))
        };
        let options = [
            ("region", region.clone()),
            ("endpoint", endpoint),
            ("style", style),
            ("profile", profile.as_ref().map(encoded)),
        ];
        let options: Vec<String> = options
            .into_iter()
            .filter_map(|(key, value)| Some(format!("{key}={}", value?)))
            .collect();
        let written = format!("s3://{name}{path}?{}", options.join("&"));
        if let Ok(read) = written.parse::<RepositoryUrl>() {
            prop_assert_eq!(&url(&read.to_string()), &read);
            let (bucket, _key) = read.bucket().unwrap();
            prop_assert_eq!(bucket.name(), name.as_str());
            prop_assert_eq!(bucket.profile(), profile.as_deref());
            prop_assert_eq!(bucket.region().map(bucket::Region::as_str), region.as_deref());
        } else {
            prop_assert!(path.contains("/."), "{}", written);
        }
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
