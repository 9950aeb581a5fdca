use super::*;
use proptest::prelude::*;

const URL: &str = "https://dbt.example.com/dbt-tools/my%20tool/";

/// Reads a body as the listing of [`URL`] and compares the entries.
#[track_caller]
fn check(body: &str, expected: &[&str]) {
    let listing = Listing::parse(body.as_bytes(), URL).unwrap();
    let entries: Vec<String> = listing.entries().iter().map(ToString::to_string).collect();
    assert_eq!(entries, expected);
}

#[test]
fn the_reference_server_is_read() {
    check(
        "<!doctype html>\n<meta name=\"viewport\" content=\"width=device-width\">\n<pre>\n\
         <a href=\"1.0.0/\">1.0.0/</a>\n\
         <a href=\"a&b%3Fc%23d.txt\">a&amp;b?c#d.txt</a>\n\
         <a href=\"./10:30\">10:30</a>\n\
         <a href=\"truststore\">truststore</a>\n</pre>\n",
        &["1.0.0/", "10:30", "a&b?c#d.txt", "truststore"],
    );
}

#[test]
fn nginx_is_read() {
    check(
        "<html>\r\n<head><title>Index of /dbt-tools/my tool/</title></head>\r\n<body>\r\n\
         <h1>Index of /dbt-tools/my tool/</h1><hr><pre><a href=\"../\">../</a>\r\n\
         <a href=\"1.0.0/\">1.0.0/</a>                22-Nov-2026 00:07            -\r\n\
         <a href=\"d%C3%A9p%C3%B4t.txt\">d\u{e9}p\u{f4}t.txt</a>     22-Nov-2026 00:07         12\r\n\
         </pre><hr></body>\r\n</html>\r\n",
        &["1.0.0/", "d\u{e9}p\u{f4}t.txt"],
    );
    check(
        r#"[
{ "name":"1.0.0", "type":"directory", "mtime":"Sun, 22 Nov 2026 00:07:13 GMT" },
{ "name":"truststore", "type":"file", "mtime":"Sun, 22 Nov 2026 00:07:13 GMT", "size":12 }
]"#,
        &["1.0.0/", "truststore"],
    );
}

#[test]
fn apache_is_read() {
    check(
        "<!DOCTYPE HTML PUBLIC \"-//W3C//DTD HTML 3.2 Final//EN\">\n<html>\n <head>\n\
         \x20 <title>Index of /dbt-tools/my tool</title>\n </head>\n <body>\n\
         <h1>Index of /dbt-tools/my tool</h1>\n  <table>\n\
         \x20  <tr><th valign=\"top\"><img src=\"/icons/blank.gif\" alt=\"[ICO]\"></th>\
         <th><a href=\"?C=N;O=D\">Name</a></th><th><a href=\"?C=M;O=A\">Last modified</a></th></tr>\n\
         <tr><td><a href=\"/dbt-tools/\">Parent Directory</a></td><td>&nbsp;</td></tr>\n\
         <tr><td><a href=\"1.0.0/\">1.0.0/</a></td><td align=\"right\">2026-11-22 00:07</td></tr>\n\
         <tr><td><a href=\"/dbt-tools/my%20tool/2.0.0/\">2.0.0/</a></td></tr>\n\
         <tr><td><A HREF='withdrawn.json'>withdrawn.json</A></td></tr>\n  </table>\n\
         <address>Apache/2.4.71 (Debian) Server</address>\n</body></html>\n",
        &["1.0.0/", "2.0.0/", "withdrawn.json"],
    );
}

#[test]
fn python_is_read() {
    check(
        "<!DOCTYPE HTML>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <title>Directory listing for /dbt-tools/my%20tool/</title>\n</head>\n<body>\n\
         <h1>Directory listing for /dbt-tools/my%20tool/</h1>\n<hr>\n<ul>\n\
         <li><a href=\"1.0.0/\">1.0.0/</a></li>\n\
         <li><a href=\"latest/\">latest@</a></li>\n</ul>\n<hr>\n</body>\n</html>\n",
        &["1.0.0/", "latest/"],
    );
}

#[test]
fn artifactory_is_read() {
    check(
        "<html>\n<head><meta name=\"robots\" content=\"noindex\" />\n\
         <title>Index of generic-local/dbt-tools/my tool</title>\n</head>\n<body>\n\
         <h1>Index of generic-local/dbt-tools/my tool</h1>\n<pre>Name   Last modified      Size</pre>\
         <hr/>\n<pre><a href=\"../\">../</a>\n<a href=\"1.0.0/\">1.0.0/</a>  22-Nov-2026 00:07    -\n\
         </pre>\n<hr/><address style=\"font-size:small;\">Artifactory/7.90</address></body></html>",
        &["1.0.0/"],
    );
    check(
        r#"{"repo":"generic-local","path":"/dbt-tools","children":[
            {"uri":"/1.0.0","folder":true},{"uri":"/readme.txt","folder":false}]}"#,
        &["1.0.0/", "readme.txt"],
    );
}

#[test]
fn the_reference_servers_api_is_read() {
    check("[{\"name\":\"foo\"}]\n", &["foo/"]);
    check(
        r#"[{"version":"1.0.0","modifiedAt":"2026-11-22T00:07:13.091152182Z"},
            {"version":"10.0.0","modifiedAt":"2026-11-22T00:07:13Z"}]"#,
        &["1.0.0/", "10.0.0/"],
    );
    check("[]", &[]);
}

#[test]
fn absolute_links_count_when_they_are_directly_below_the_directory() {
    let page = |href: &str| format!("<pre><a href=\"{href}\">x</a></pre>");
    for (href, entry) in [
        ("https://dbt.example.com/dbt-tools/my%20tool/1.0.0/", Some("1.0.0/")),
        ("HTTPS://DBT.example.com:443/dbt-tools/my tool/1.0.0/", Some("1.0.0/")),
        ("//dbt.example.com/dbt-tools/my%20tool/1.0.0", Some("1.0.0")),
        ("/dbt-tools/my%20tool/1.0.0/", Some("1.0.0/")),
        ("/dbt-tools/my%20tool/1.0.0/linux/", None),
        ("/dbt-tools/my%20tool/", None),
        ("/dbt-tools/my%20toolEVIL/1.0.0/", None),
        ("http://dbt.example.com/dbt-tools/my%20tool/1.0.0/", None),
        ("https://evil.example.com/dbt-tools/my%20tool/1.0.0/", None),
        ("https://dbt.example.com@evil.example.com/dbt-tools/my%20tool/1.0.0/", None),
        ("//evil.example.com/dbt-tools/my%20tool/1.0.0/", None),
    ] {
        let expected: Vec<&str> = entry.into_iter().collect();
        check(&page(href), &expected);
    }
}

#[test]
fn hostile_links_are_passed_over() {
    let hostile = [
        "../../99.0.0/",
        "..",
        ".",
        "./",
        "/",
        "",
        "%2e%2e/",
        "..%2f99.0.0/",
        "a/../99.0.0/",
        "99.0.0%2F..%2Fx",
        "99.0.0\\",
        "99.0.0%5Cx",
        "99.0.0%00",
        "9%0a9.0.0/",
        "&#46;&#46;/",
        "javascript:alert(1)",
        "JaVaScRiPt:99.0.0",
        "data:text/html,99.0.0",
        "mailto:x@y",
        "file:///99.0.0",
        "ftp://dbt.example.com/dbt-tools/my%20tool/99.0.0/",
        "?C=99.0.0",
        "99.0.0?x",
        "99.0.0#x",
        "linux/amd64/",
    ];
    for href in hostile {
        check(&format!("<pre><a href=\"{href}\">99.0.0/</a></pre>"), &[]);
    }
    check("<pre><a href=\"99.0.0\" onx=\"1\">x</a></pre>", &["99.0.0"]);
    check("<pre><a title='<a href=\"9.9.9/\">' href=1.0.0/>x</a></pre>", &["1.0.0/"]);
}

#[test]
fn comments_scripts_and_text_hold_no_entries() {
    check(
        "<!-- <a href=\"9.0.0/\"> --><title><a href=\"9.0.1/\"></title>\
         <script>'<a href=\"9.0.2/\">'</script><SCRIPT>a</SCRIPT ><pre>&lt;a href=\"9.0.3/\">\
         <abbr href=\"9.0.4/\"></abbr><a name=x>no link</a><a href>none</a><a href=\"1.0.0/\">x</a>",
        &["1.0.0/"],
    );
    check("<pre><a href=\"1.0.0/\"></a><!-- <a href=\"9.0.0/\">", &["1.0.0/"]);
    check("<pre><a href=\"1.0.0/\"></a><a href=\"9.0.0/", &["1.0.0/"]);
}

#[test]
fn only_versions_are_versions() {
    let names = [
        "0001.2.3",
        "1.2.99999999999999999999",
        "1.10.0",
        "1.9.0",
        "v2.0.0",
        "9.9.9-rc1",
        "latest",
        "1.2",
        "index.html",
    ];
    let listing = Listing::of_names(names.map(|name| (name, true))).unwrap();
    let versions = listing.versions();
    let spelt: Vec<&str> = versions.iter().map(Version::spelling).collect();
    assert_eq!(spelt, ["1.9.0", "1.10.0", "v2.0.0", "9.9.9-rc1"]);
    assert!(listing.contains("latest") && !listing.contains("late"));
}

#[test]
fn entries_that_are_listed_twice_are_one() {
    check(
        "<pre><a href=\"1.0.0\">x</a><a href=\"1.0.0/\">x</a><a href=\"./1.0.0\">x</a>",
        &["1.0.0/"],
    );
}

#[test]
fn what_is_no_listing_is_refused() {
    let portal = "<html><head><title>Hotel Wi-Fi</title></head><body><form action=\"/login\">\
                  <input name=\"room\"></form></body></html>";
    let refresh = "<html><head><meta http-equiv=\"refresh\" content=\"0;url=http://portal/\"></head>\
                   <body><pre></pre></body></html>";
    let sign_in = "<html><a href=\"help/\">help</a><input type=\"password\"></html>";
    for body in ["", "  ", "404 page not found\n", portal, refresh, sign_in, "<html></html>"] {
        let error = Listing::parse(body.as_bytes(), URL).unwrap_err();
        assert!(matches!(error, ListingError::NotAListing), "{body}");
    }
    for body in ["[1]", "[{\"name\":1}]", "{\"errors\":[]}", "[", "[[[[[["] {
        assert!(Listing::parse(body.as_bytes(), URL).is_err(), "{body}");
    }
}

#[test]
fn a_file_may_be_named_like_a_field_of_a_sign_in_page() {
    check("<pre>\n<a href=\"type=password\">type=password</a>\n</pre>\n", &["type=password"]);
}

#[test]
fn a_directory_with_nothing_in_it_is_a_listing() {
    check(
        "<!doctype html>\n<meta name=\"viewport\" content=\"width=device-width\">\n<pre>\n</pre>\n",
        &[],
    );
    check("<html><head><title>Index of /x/</title></head><body></body></html>", &[]);
}

#[test]
fn endless_listings_are_refused() {
    let large = vec![b'<'; usize::try_from(LISTING_LIMIT).unwrap() + 1];
    assert!(matches!(Listing::parse(&large, URL), Err(ListingError::TooLarge)));
    let ampersands = format!("<pre><a href=\"{}\">", "&".repeat(1_000_000));
    assert!(Listing::parse(ampersands.as_bytes(), URL).is_ok_and(|it| it.entries().is_empty()));
    let many =
        (0..200_000).fold(String::from("<pre>"), |page, n| page + &format!("<a href=\"{n}/\">"));
    assert!(matches!(Listing::parse(many.as_bytes(), URL), Err(ListingError::TooMany)));
}

proptest! {
    #[test]
    fn any_answer_is_read_without_panic_and_names_are_single_segments(
        parts in proptest::collection::vec(
            prop_oneof![
                Just("<a href=\"".to_owned()), Just("\"".to_owned()), Just(">".to_owned()),
                Just("<".to_owned()), Just("<!--".to_owned()), Just("&#x2e;".to_owned()),
                Just("../".to_owned()), Just("%2e".to_owned()), Just("href='".to_owned()),
                Just("<script".to_owned()), Just("</".to_owned()), Just("1.0.0/".to_owned()),
                Just("[{\"name\":".to_owned()), Just("//".to_owned()), "\\PC{0,6}",
            ],
            0..40,
        ),
        url in "\\PC{0,20}",
    ) {
        if let Ok(listing) = Listing::parse(parts.concat().as_bytes(), &url) {
            for name in listing.names() {
                prop_assert!(RepoPath::root().join(name).is_ok());
            }
        }
    }

    #[test]
    fn any_bytes_are_read_without_panic(body in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _read = Listing::parse(&body, URL);
    }
}
