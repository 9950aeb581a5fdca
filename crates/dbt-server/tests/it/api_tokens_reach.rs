//! How far somebody reaches with one of the server's own tokens, and with what settings: which others
//! it shows and ends, who may make one, and that a token in the wrong place is shown nowhere.

use serde_json::{Value, json};

use crate::oidc::Issuer;
use crate::world::{AS_ADMIN, AUTHORIZED, Place, Reply, Server, sha256, with_roles};

const TOKENS: &str = "/-/api/v1/tokens";

fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {}", token.trim())
}

fn ask(server: &Server, who: &str, method: &str, rest: &str) -> Reply {
    server.send(method, &format!("{TOKENS}{rest}"), &[who], b"")
}

fn make(server: &Server, who: &str, wanted: &Value) -> Reply {
    server.send("POST", TOKENS, &[who], wanted.to_string().as_bytes())
}

/// Makes a token by showing something; returns its id and its text.
fn made(server: &Server, who: &str, wanted: &Value) -> (String, String) {
    let reply = make(server, who, wanted);
    assert_eq!(reply.status, 201, "{wanted}: {reply:?}");
    let text = |name: &str| reply.json()[name].as_str().unwrap().to_owned();
    server.keep_secret(&text("token"));
    (text("id"), text("token"))
}

/// Returns the ids that somebody is shown, page by page.
fn ids(server: &Server, who: &str) -> Vec<String> {
    let (mut ids, mut after) = (Vec::new(), String::new());
    loop {
        let listed = ask(server, who, "GET", &format!("?limit=1&after={after}")).json();
        let tokens = listed["tokens"].as_array().unwrap().iter();
        ids.extend(tokens.map(|token| token["id"].as_str().unwrap().to_owned()));
        match listed["next"].as_str() {
            Some(next) => {
                assert!(ids.iter().any(|id| id == next), "{next} was not shown");
                next.clone_into(&mut after);
            }
            None => return ids,
        }
    }
}

fn states(server: &Server) -> Vec<Value> {
    let text = server.command_beside(&["token", "list", "--all", "--json"]);
    let listed: Value = serde_json::from_str(&text).unwrap();
    listed["tokens"].as_array().unwrap().iter().map(|token| token["state"].clone()).collect()
}

/// It is given to a job that needs little; whoever gets hold of it there must not end what its owner
/// needs, or learn what they have.
#[test]
fn a_narrowed_token_sees_and_revokes_itself_what_it_made_and_what_is_good_for_no_more() {
    let server = Server::with_roles();
    let within = |name: &str, path: &str| json!({"name": name, "paths": [path]});
    let (wide, wide_text) = made(&server, AUTHORIZED, &json!({"name": "wide"}));
    let foo = within("narrow", "/dbt-tools/foo/**");
    let (narrow, text) = made(&server, &bearer(&wide_text), &foo);
    let (child, child_text) = made(&server, &bearer(&text), &json!({"name": "made with it"}));
    let (less, _text) = made(&server, AUTHORIZED, &within("less", "/dbt-tools/foo/1.0.0/**"));
    let (other, _text) = made(&server, AUTHORIZED, &within("other", "/dbt-tools/bar/**"));
    let (all, _text) = made(&server, AUTHORIZED, &json!({"name": "all", "roles": ["publisher"]}));
    let sorted = |ids: &[&String]| {
        let mut ids: Vec<String> = ids.iter().map(|id| (*id).clone()).collect();
        ids.sort();
        ids
    };
    let shown = bearer(&text);
    assert_eq!(ids(&server, &shown), sorted(&[&narrow, &child, &less]));
    for id in [&wide, &other, &all] {
        for method in ["GET", "DELETE"] {
            ask(&server, &shown, method, &format!("/{id}")).is_refused(404, "not-found");
        }
    }
    assert_eq!(states(&server), ["active"; 6]);
    let everything = sorted(&[&wide, &narrow, &child, &less, &other, &all]);
    for who in [AUTHORIZED, AS_ADMIN, &bearer(&wide_text)] {
        assert_eq!(ids(&server, who), everything, "{who}");
    }
    for id in [&less, &narrow] {
        assert_eq!(ask(&server, &shown, "DELETE", &format!("/{id}")).status, 204);
    }
    for token in [&text, &child_text] {
        ask(&server, &bearer(token), "GET", "").is_refused(401, "unauthorised");
    }
    assert_eq!(ask(&server, &bearer(&wide_text), "GET", "").status, 200);
    // And what it was made with ends it.
    let (_id, again) = made(&server, &bearer(&wide_text), &foo);
    assert_eq!(ask(&server, AUTHORIZED, "DELETE", &format!("/{wide}")).status, 204);
    ask(&server, &bearer(&again), "GET", "").is_refused(401, "unauthorised");
}

#[test]
fn uploads_are_counted_for_a_subject_whatever_narrows_its_tokens() {
    let members = with_roles() + r#", "limits": {"maxUploadsPerCaller": 2}"#;
    let server = Server::with(&members);
    let token = |path: &str| {
        let wanted = json!({"name": "x", "subject": "agent:ci", "roles": ["publisher"],
            "paths": [path]});
        bearer(&made(&server, AS_ADMIN, &wanted).1)
    };
    let begin = |who: &str| server.send("POST", "/-/api/v1/uploads", &[who], b"");
    let (foo, bar, new) =
        (token("/dbt-tools/foo/**"), token("/dbt-tools/bar/**"), token("/dbt/**"));
    let first = begin(&foo);
    assert_eq!((first.status, begin(&bar).status), (201, 201));
    for who in [&foo, &bar, &new] {
        begin(who).is_refused(429, "too-many-uploads");
    }
    assert_eq!(begin(AUTHORIZED).status, 201, "others have their own");
    // Each is theirs alone who began it, and when it is gone another may begin one.
    let upload = format!("/-/api/v1/uploads/{}", first.json()["id"].as_str().unwrap());
    assert_eq!(server.send("DELETE", &upload, &[&bar], b"").status, 404);
    assert_eq!(server.send("DELETE", &upload, &[&foo], b"").status, 204);
    assert_eq!(begin(&new).status, 201);
}

/// The log goes to many who may not have it.
#[test]
fn a_token_in_the_place_of_an_id_or_a_path_is_refused_and_not_written_down() {
    let server = Server::with_roles();
    let wanted = json!({"name": "x", "subject": "agent:ci", "roles": ["publisher"]});
    let (_id, token) = made(&server, AS_ADMIN, &wanted);
    let escaped: Vec<String> = token.bytes().map(|byte| format!("%{byte:02x}")).collect();
    let escaped = escaped.concat();
    for place in [&token, &escaped, &token[..30].to_owned()] {
        for method in ["DELETE", "GET", "PUT"] {
            let reply = ask(&server, AS_ADMIN, method, &format!("/{place}"));
            reply.is_refused(400, "bad-path");
            assert_eq!(reply.json()["detail"], "give the id of the token, and not the token");
        }
        let query = format!("?subject={place}");
        ask(&server, AS_ADMIN, "DELETE", &query).is_refused(400, "bad-query");
        let path = format!("/dbt/{place}");
        assert_eq!(server.send("PUT", &path, &["Authorization: Bearer wrong"], b"").status, 401);
        assert_eq!(server.send("DELETE", &path, &[&bearer(&token)], b"").status, 404);
    }
    assert_eq!(states(&server), ["active"]);
    assert_eq!(server.tree(), [""; 0]);
    assert_eq!(ask(&server, &bearer(&token), "GET", "").status, 200, "it counts");
    let beginning = &token[..10];
    server.eventually("logged", |server| {
        let log = server.log();
        let lines = log.lines().filter(|line| line.contains(&format!("/tokens/{beginning}…")));
        lines.count() == 9
    });
    let record = server.command_beside(&["audit", "export"]);
    let said = server.log() + &record;
    for hidden in [&token[10..30], &escaped[30..]] {
        assert!(!said.contains(hidden), "{said}");
    }
    assert!(said.contains(&format!("/dbt/{beginning}…")), "{said}");
}

#[test]
fn whose_tokens_are_revoked_must_be_said_so_that_it_is_one_and_somebodys() {
    let place = Place::new();
    place.put_beside("htpasswd", b"alice:{SHA}qUqP5cyxm6YcTAhz05Hph5gvu9M=\n");
    let members = with_roles()
        .replace(r#""static-token""#, r#""static-token, basic-htpasswd""#)
        .replace(r#"["admin"]"#, r#"["static-token:admin"]"#)
        .replace(r#"["ci"]"#, r#"["static-token:ci"]"#);
    let server = Server::on(place, &(members + r#", "htpasswdFile": "htpasswd""#));
    made(&server, AS_ADMIN, &json!({"name": "x", "subject": "htpasswd:alice"}));
    made(&server, AUTHORIZED, &json!({"name": "x"}));
    for name in ["subject", "createdBy"] {
        for bare in ["alice", "nobody", "ssl:alice", "oidc:alice"] {
            let refused = ask(&server, AS_ADMIN, "DELETE", &format!("?{name}={bare}"));
            refused.is_refused(400, "bad-query");
            let words = "begin with one of `static-token:`, `htpasswd:`";
            assert!(refused.text().contains(words), "{}", refused.text());
        }
        for unknown in ["htpasswd:bob", "ssh:alice", "oidc:https://a.example%23alice", "host:77777"]
        {
            let refused = ask(&server, AS_ADMIN, "DELETE", &format!("?{name}={unknown}"));
            refused.is_refused(404, "not-found");
        }
    }
    for (words, said) in [
        (["--subject", "alice"], "begin with one of `static-token:`, `htpasswd:`"),
        (["--created-by", "alice"], "begin with one of"),
        (["--subject", "htpasswd:bob"], "there is no token that counts"),
        (["--subject", "dbt_x"], "somebody's name, and no token"),
    ] {
        let refused = server.refused_beside(&["token", "revoke", words[0], words[1]]);
        assert!(refused.contains(said), "{words:?}: {refused}");
    }
    assert_eq!(states(&server), ["active"; 2]);
    let reply = ask(&server, AS_ADMIN, "DELETE", "?subject=htpasswd:alice");
    assert_eq!((reply.status, reply.json()), (200, json!({"revoked": 1})));
    let reply = ask(&server, AS_ADMIN, "DELETE", "?subject=htpasswd:alice");
    assert_eq!((reply.status, reply.json()), (200, json!({"revoked": 0})), "once more");
}

/// Whoever types several ids wants them all ended, whatever is wrong with one.
#[test]
fn a_command_that_revokes_several_goes_on_after_one_that_is_unknown_and_fails_in_the_end() {
    let server = Server::with_roles();
    let make = |name: &str| {
        made(&server, AS_ADMIN, &json!({"name": name, "subject": format!("agent:{name}")}))
    };
    let (first, text) = make("a");
    let (second, _text) = make("b");
    let words = ["token", "revoke", "typo", &first, &text, &second, "another"];
    let output = server.try_command_beside(&words);
    assert_eq!(output.status.code(), Some(1));
    let printed = String::from_utf8(output.stdout).unwrap();
    let revoked: Vec<&str> =
        printed.lines().map(|line| line.split([' ', ',']).nth(1).unwrap()).collect();
    assert_eq!(revoked, [&first, &second]);
    let said = String::from_utf8(output.stderr).unwrap();
    for words in [
        "there is no token `typo`",
        "give the id of the token",
        "there is no token `another`",
        "3 of 5 tokens were not revoked",
    ] {
        assert_eq!(said.matches(words).count(), 1, "{words}: {said}");
    }
    assert!(!said.contains(&text), "{said}");
    assert_eq!(states(&server), ["revoked"; 2]);
    let output = server.try_command_beside(&["token", "revoke", &first, &second]);
    assert!(output.status.success(), "{output:?}");
}

/// A job has another identity in an hour; a token of it would be for good.
#[test]
fn only_those_make_tokens_whose_provider_is_said_to_be_for_people() {
    let issuer = Issuer::new();
    let members = |people: &str| {
        let options = issuer.options().replace('}', &format!("{people}}}"));
        format!(
            r#""authTypePut": "oidc", "authOptsPut": {{"oidc": {options}}},
            "auth": {{"roles": {{"admin": ["alice"], "publisher": ["job"]}}}}, "policies": []"#
        )
    };
    let server = Server::with(&members(""));
    let own = json!({"name": "mine"});
    let alice = bearer(&issuer.token("alice", &json!({})));
    let job = bearer(&issuer.token("job", &json!({})));
    let of_job = json!({"repository": "acme/x", "run_id": "1"});
    let said_job = bearer(&issuer.token("alice", &of_job));
    for people in ["", r#", "forPeople": false"#] {
        server.reload(&members(people));
        for who in [&alice, &job, &said_job] {
            let refused = make(&server, who, &own);
            refused.is_refused(403, "forbidden");
            let detail = refused.json()["detail"].as_str().unwrap().to_owned();
            let words = "makes no tokens";
            assert!(detail.contains(words), "{detail}");
        }
        let detail = make(&server, &alice, &own).json()["detail"].clone();
        let url = issuer.url();
        assert_eq!(
            detail,
            format!("whom `{url}` vouches for makes no tokens: it is not marked with `forPeople`")
        );
    }
    assert_eq!(states(&server), [""; 0]);
    let is_recorded = |line: &&str| line.contains("forPeople") && line.contains("\"refused\"");
    let record = server.command_beside(&["audit", "export"]);
    assert!(record.lines().any(|line| is_recorded(&line)), "{record}");
    server.reload(&members(r#", "forPeople": true"#));
    made(&server, &alice, &own);
    let refused = make(&server, &said_job, &own);
    refused.is_refused(403, "forbidden");
    assert!(refused.text().contains("a job has its own identity"), "{}", refused.text());
    assert_eq!(states(&server), ["active"]);
}

#[test]
fn a_provider_where_anybody_can_have_a_token_cannot_be_said_to_be_for_people() {
    for issuer in ["https://gitlab.com", "https://accounts.google.com"] {
        let said = Place::new().refusal(&format!(
            r#""authTypePut": "oidc", "policies": [], "auth": {{"issuers": [
                {{"issuerUrl": "{issuer}", "audiences": ["x"], "forPeople": true,
                  "requiredClaims": {{"sub": "x"}}}}]}}"#
        ));
        let words =
            "`auth.issuers[0].forPeople` cannot be true: anybody and any job can have a token";
        assert!(said.contains(words), "{said}");
    }
}

#[test]
fn a_token_that_a_token_of_the_settings_made_writes_no_more_when_that_only_reads() {
    let members = |writers: &str| {
        format!(
            r#""authGets": true, "authTypeGet": "static-token", "authTypePut": "{writers}",
            "htpasswdFile": "htpasswd", "tokens": [{{"name": "boss", "sha256": "{}"}}],
            "auth": {{"roles": {{"admin": ["static-token:boss"]}}}}, "policies": [
                {{"name": "reading", "subjects": ["authenticated"], "paths": ["/**"],
                  "actions": ["read"]}}]"#,
            sha256(b"only-for-admins")
        )
    };
    let place = Place::new();
    place.put_beside("htpasswd", b"alice:{SHA}qUqP5cyxm6YcTAhz05Hph5gvu9M=\n");
    let server = Server::on(place, &members("static-token, basic-htpasswd"));
    let wanted = json!({"name": "x", "subject": "agent:ci", "roles": ["publisher"]});
    let (_id, token) = made(&server, AS_ADMIN, &wanted);
    let put = || server.send("PUT", "/dbt/latest", &[&bearer(&token)], b"1.0.0");
    let get = || server.send("GET", "/dbt/latest", &[&bearer(&token)], b"").status;
    assert_eq!((put().status, get()), (201, 200));
    server.reload(&members("basic-htpasswd"));
    put().is_refused(403, "forbidden");
    make(&server, &bearer(&token), &json!({"name": "y"})).is_refused(403, "forbidden");
    assert_eq!((get(), states(&server)), (200, vec![json!("active")]));
    server.reload(&members("static-token, basic-htpasswd"));
    assert_eq!(put().status, 200);
}
