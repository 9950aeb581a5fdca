//! A directory service in the configuration. What it answers is in the tests beside the code, and
//! with a real one in `tests/peers`.

use crate::world::{Place, Server, looked_through};

fn members(ldap: &str) -> String {
    format!(r#""authTypePut": "basic-ldap", "ldap": {{{ldap}}}"#)
}

#[test]
fn what_cannot_be_asked_safely_stops_the_start() {
    let place = Place::new().variable("EMPTY", "").variable("SECRET", "canary-password");
    let base = r#""url": "ldaps://d.example", "userBase": "dc=x""#;
    for (ldap, why) in [
        (r#""userBase": "dc=x""#.to_owned(), "`ldap.url` is needed"),
        (r#""url": "ldaps://d.example""#.to_owned(), "`ldap.userBase` is needed"),
        (
            r#""userBase": "dc=x", "url": "ldap://d.example""#.to_owned(),
            "`ldap.url` would send passwords in the clear",
        ),
        (
            r#""userBase": "dc=x", "url": "ldap://localhost.example""#.to_owned(),
            "`ldap.url` would send passwords in the clear",
        ),
        (r#""userBase": "dc=x", "url": "https://d.example""#.to_owned(), "`ldap.url` is not like"),
        (
            r#""userBase": "dc=x", "url": "ldaps://u:p@d.example""#.to_owned(),
            "`ldap.url` is not like",
        ),
        (r#""userBase": "dc=x", "url": "d.example""#.to_owned(), "`ldap.url` is not like"),
        (format!(r#"{base}, "startTls": true"#), "`ldap.startTls` is for `ldap://`"),
        (
            format!(r#"{base}, "userFilter": "(uid=x)""#),
            "`ldap.userFilter` must find a user by `{username}`",
        ),
        (
            format!(r#"{base}, "userFilter": "uid={{username}}""#),
            "`ldap.userFilter` cannot be read",
        ),
        (
            format!(r#"{base}, "userFilter": "(|(uid={{username}})(x={{dn}}))""#),
            "`ldap.userFilter` must find a user",
        ),
        (
            format!(r#"{base}, "groupBase": "dc=x", "groupFilter": "(cn=*)""#),
            "`ldap.groupFilter` must find the groups",
        ),
        (format!(r#"{base}, "groupAttribute": "cn""#), "`ldap.groupBase` is needed to find groups"),
        (format!(r#"{base}, "bindDn": "cn=s""#), "`ldap.bindDn` needs a password"),
        (
            format!(r#"{base}, "bindDn": "cn=s", "bindPasswordEnv": "UNSET""#),
            "`ldap.bindPasswordEnv` names a variable that is not set",
        ),
        (
            format!(r#"{base}, "bindDn": "cn=s", "bindPasswordEnv": "EMPTY""#),
            "`ldap.bindDn` has a password that is empty",
        ),
        (
            format!(r#"{base}, "bindPasswordEnv": "SECRET""#),
            "`ldap.bindDn` is needed where there is a password",
        ),
        (
            format!(r#"{base}, "bindDn": "cn=s", "bindPasswordFile": "/nonexistent""#),
            "`ldap.bindPasswordFile`",
        ),
        (format!(r#"{base}, "caFile": "/nonexistent""#), "`ldap.caFile` cannot be used"),
    ] {
        let said = place.refusal(&members(&ldap));
        assert!(said.contains(why), "{ldap}: {said}");
    }
    let said = place.refusal(r#""authTypePut": "basic-ldap""#);
    assert!(said.contains("`ldap` is needed by `basic-ldap`"), "{said}");
}

#[test]
fn what_is_safe_starts_without_asking_the_directory_and_shows_no_password() {
    let place = Place::new().argument("check-config").variable("SECRET", "canary-password");
    for url in
        ["\"ldaps://d.example\"", "\"ldap://d.example\", \"startTls\": true", "\"ldap://[::1]:1\""]
    {
        let ldap = format!(
            r#""url": {url}, "userBase": "dc=x", "groupBase": "dc=x", "bindDn": "cn=s",
            "bindPasswordEnv": "SECRET""#
        );
        let output = looked_through(&mut place.command(&members(&ldap)));
        assert!(output.status.success(), "{url}: {output:?}");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(said.contains("ldap.bindDn = cn=s"), "{said}");
    }
}

#[test]
fn a_directory_that_is_down_stops_neither_the_start_nor_other_methods() {
    let gone = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = gone.local_addr().unwrap().port();
    drop(gone);
    let server = Server::with(&format!(
        r#""authTypePut": "basic-ldap, static-token", "authOptsPut": {{"staticToken": "open-sesame"}},
        "ldap": {{"url": "ldap://127.0.0.1:{port}", "userBase": "dc=x"}}"#
    ));
    assert_eq!(server.put("/dbt/new", b"body").status, 201);
    // `ci:open-sesame` is for the static token, and the directory is not asked about it.
    let static_token = "Authorization: Basic Y2k6b3Blbi1zZXNhbWU=";
    assert_eq!(server.send("PUT", "/dbt/second", &[static_token], b"body").status, 201);
    assert!(!server.log().contains("directory"), "{}", server.log());
    // `canary-user:canary-password`.
    let line = "Authorization: Basic Y2FuYXJ5LXVzZXI6Y2FuYXJ5LXBhc3N3b3Jk";
    let reply = server.send("PUT", "/dbt/third", &[line], b"body");
    reply.is_refused(401, "unauthorised");
    let told = "the credential cannot be checked now; try again in a minute";
    assert_eq!(reply.json()["detail"], told);
    let challenges = reply.header("www-authenticate").unwrap();
    assert!(challenges.contains("realm=\"dbt\""), "{challenges}");
    server.eventually("logged", |server| server.log().contains("the directory could not be asked"));
}
