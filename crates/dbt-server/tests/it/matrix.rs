//! Every route with every method and every kind of credential, for every way to sign in.
//!
//! What is expected is computed from the route and the method, not written down: a new route or
//! way to sign in is a line here.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use dbt_testkit::directory_service::DirectoryService;
use dbt_testkit::identity_provider::SigningKey;

use crate::oidc::Issuer;
use crate::tokens::{Key, claims, key_file, now};
use crate::trusted_publishing::{exchange, unique};
use crate::world::{Place, Reply, Server, sha256};

/// What a request has to show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Holds {
    Nothing,
    Wrong,
    Expired,
    ReadOnly,
    Publisher,
    Administrator,
    /// What would be a publisher's, were they not suspended.
    Suspended,
    /// What a job got for its identity, by a rule that permits it to publish `x`.
    Job,
}

const ALL: [Holds; 8] = [
    Holds::Nothing,
    Holds::Wrong,
    Holds::Expired,
    Holds::ReadOnly,
    Holds::Publisher,
    Holds::Administrator,
    Holds::Suspended,
    Holds::Job,
];

/// What lies at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Health,
    /// A file that publishers may replace.
    File,
    /// A file that only administrators may write.
    Metadata,
    /// The truststore, which publishers may write if it follows.
    Truststore,
    /// A directory, which may not be deleted as a whole.
    Root,
    /// A directory of a tool.
    Directory,
    /// What the API answers.
    Api,
    /// What only administrators see.
    Secret,
    /// Where an upload in parts begins.
    Uploads,
    /// Where a release begins, which takes a body that says of what.
    Releases,
    /// What was deleted, for those who may delete everything.
    Trash,
    /// The server's own tokens, which take a body that says what one is to be.
    Tokens,
    /// Who is known, which only administrators see, and change with a body that says who.
    People,
    /// For whom the identities of jobs must be, which everybody may know.
    Audience,
    /// Where the server is and how one signs in, which everybody may know.
    Announcement,
    /// Where jobs exchange them, which takes a body with one.
    Exchange,
    /// What only administrators may have done.
    Order,
    /// One of what writers have under way or deleted, which nobody has: what may be asked of it.
    One(&'static [&'static str]),
    /// Something that only administrators may ask for, and that is not there: what may be asked of it.
    Administered(&'static [&'static str]),
    /// What is not there, and cannot be written.
    Nothing,
}

const ROUTES: [(&str, Kind); 48] = [
    ("/healthz", Kind::Health),
    ("/-/livez", Kind::Health),
    ("/-/readyz", Kind::Health),
    ("/-/metrics", Kind::Secret),
    ("/.well-known/dbt.json", Kind::Announcement),
    ("/-/api/v1/reload", Kind::Order),
    ("/", Kind::Root),
    ("/dbt/", Kind::Root),
    ("/dbt-tools/", Kind::Root),
    ("/dbt/latest", Kind::File),
    ("/dbt/1.0.0/linux/amd64/dbt", Kind::File),
    ("/dbt-tools/x/1.0.0/linux/amd64/x", Kind::File),
    ("/dbt/truststore", Kind::Truststore),
    ("/dbt/tuf/1.root.json", Kind::Metadata),
    ("/dbt-tools/x/", Kind::Directory),
    ("/-/api/tools", Kind::Api),
    ("/-/api/tools/x/versions", Kind::Api),
    ("/-/api/v1/tools", Kind::Api),
    ("/-/api/v1/catalog", Kind::Api),
    ("/-/api/v1/catalog/after/a", Kind::Api),
    ("/-/api/v1/openapi.json", Kind::Api),
    ("/-/api/v1/uploads", Kind::Uploads),
    ("/-/api/v1/releases", Kind::Releases),
    ("/-/api/v1/trash", Kind::Trash),
    ("/-/api/v1/tools/x", Kind::Api),
    ("/-/api/v1/whoami", Kind::Api),
    ("/-/api/v1/releases/01M81Z943VQVW0X8R1ESWY9315", Kind::One(&["GET", "HEAD", "DELETE"])),
    ("/-/api/v1/releases/01M81Z943VQVW0X8R1ESWY9315/commit", Kind::One(&["POST"])),
    (
        "/-/api/v1/uploads/01M81Z943VQVW0X8R1ESWY9315",
        Kind::One(&["GET", "HEAD", "PATCH", "DELETE"]),
    ),
    ("/-/api/v1/uploads/01M81Z943VQVW0X8R1ESWY9315/commit", Kind::One(&["POST"])),
    ("/-/api/v1/trash/01M81Z943VQVW0X8R1ESWY9315/restore", Kind::One(&["POST"])),
    ("/-/api/v1/tokens", Kind::Tokens),
    ("/-/api/v1/tokens/01M81Z943VQVW0X8R1ESWY9315", Kind::One(&["GET", "HEAD", "DELETE"])),
    ("/-/api/v1/tokens/01M81Z943VQVW0X8R1ESWY9315/own", Kind::Administered(&["POST"])),
    ("/-/api/v1/users", Kind::People),
    (
        "/-/api/v1/users/00000000000000000000000000000000",
        Kind::Administered(&["GET", "HEAD", "PATCH", "DELETE"]),
    ),
    ("/-/api/v1/users/00000000000000000000000000000000/suspend", Kind::Administered(&["POST"])),
    ("/-/api/v1/users/00000000000000000000000000000000/reactivate", Kind::Administered(&["POST"])),
    ("/-/api/v1/oidc/audience", Kind::Audience),
    ("/-/api/v1/oidc/exchange", Kind::Exchange),
    ("/-/ui/", Kind::Api),
    ("/-/ui/tools/x", Kind::Api),
    ("/-/ui/unknown", Kind::Nothing),
    ("/-/api/v1/unknown", Kind::Nothing),
    ("/-/api/unknown", Kind::Nothing),
    ("/.reposerver/lock", Kind::Nothing),
    ("/log/checkpoint", Kind::Nothing),
    ("/elsewhere", Kind::Nothing),
];

const METHODS: [&str; 8] = ["GET", "HEAD", "PUT", "DELETE", "OPTIONS", "POST", "PATCH", "MOVE"];

/// The status that a request must get.
fn expected(method: &str, path: &str, kind: Kind, holds: Holds) -> u16 {
    // Whoever is suspended is refused wherever what they show is looked at, and so is a job but where
    // its rule permits something.
    if [Holds::Suspended, Holds::Job].contains(&holds) {
        let status = expected(method, path, kind, Holds::Wrong);
        let is_permitted = holds == Holds::Job && is_permitted_to_job(method, path, kind);
        return match status {
            401 if is_permitted => expected(method, path, kind, Holds::Publisher),
            401 => 403,
            _ => status,
        };
    }
    let is_file_path = is_of_files(path, kind);
    match method {
        "OPTIONS" => return 204,
        "POST" if matches!(kind, Kind::Uploads | Kind::Releases | Kind::Tokens | Kind::People) => {
            return match (holds, kind) {
                (Holds::Nothing | Holds::Wrong | Holds::Expired, _) => 401,
                (Holds::ReadOnly | Holds::Suspended | Holds::Job, _)
                | (Holds::Publisher, Kind::People) => 403,
                (_, Kind::Uploads) => 201,
                _ => 400,
            };
        }
        // Whatever else is shown, the identity is missing.
        "POST" if kind == Kind::Exchange => return 400,
        _ if kind == Kind::Exchange => return 405,
        "GET" | "HEAD" if matches!(kind, Kind::Audience | Kind::Announcement) => return 200,
        // Of whom they are revoked is missing.
        "DELETE" if kind == Kind::Tokens => {
            return match holds {
                Holds::Nothing | Holds::Wrong | Holds::Expired => 401,
                Holds::ReadOnly | Holds::Publisher | Holds::Suspended | Holds::Job => 403,
                Holds::Administrator => 400,
            };
        }
        _ if matches!(kind, Kind::Uploads | Kind::Releases) => return 405,
        "GET" | "HEAD" if kind == Kind::Health => return 200,
        "POST" if kind == Kind::Order => {
            return match holds {
                Holds::Nothing | Holds::Wrong | Holds::Expired => 401,
                Holds::ReadOnly | Holds::Publisher | Holds::Suspended | Holds::Job => 403,
                Holds::Administrator => 200,
            };
        }
        _ if kind == Kind::Order => return 405,
        _ if let Kind::Administered(methods) = kind => {
            return match holds {
                _ if !methods.contains(&method) => 405,
                Holds::Nothing | Holds::Wrong | Holds::Expired => 401,
                Holds::ReadOnly | Holds::Publisher | Holds::Suspended | Holds::Job => 403,
                Holds::Administrator => 404,
            };
        }
        _ if let Kind::One(methods) = kind => {
            return match holds {
                _ if !methods.contains(&method) => 405,
                Holds::Nothing | Holds::Wrong | Holds::Expired => 401,
                // Whose a publication is says its id alone.
                Holds::ReadOnly if !path.contains("/releases/") => 403,
                // What of a body is missing is said before anything is looked for.
                _ if path.contains("/uploads/") && ["PATCH", "POST"].contains(&method) => 400,
                Holds::Suspended | Holds::Job => 403,
                Holds::ReadOnly | Holds::Publisher | Holds::Administrator => 404,
            };
        }
        "GET" | "HEAD" => {}
        "PUT" | "DELETE" if is_file_path => {}
        _ => return 405,
    }
    // The form of a path is no secret, so it is looked at first.
    let writes_nothing = matches!(kind, Kind::Root | Kind::Directory | Kind::Nothing);
    if method == "PUT" && writes_nothing || method == "DELETE" && path.starts_with("/.") {
        return 400;
    }
    match (holds, method, kind) {
        (Holds::Nothing | Holds::Wrong | Holds::Expired, _, _) => 401,
        (_, "GET" | "HEAD", Kind::Nothing) => 404,
        (Holds::ReadOnly, "GET" | "HEAD", Kind::Trash | Kind::Tokens)
        | (Holds::ReadOnly | Holds::Publisher, "GET" | "HEAD", Kind::Secret | Kind::People) => 403,
        (_, "GET" | "HEAD", _) => 200,
        (Holds::ReadOnly, _, _)
        | (_, "DELETE", Kind::Root | Kind::Truststore | Kind::Nothing)
        | (Holds::Publisher, _, Kind::Metadata | Kind::Truststore) => 403,
        (_, "PUT", _) => 200,
        (_, "DELETE", _) => 204,
        _ => unreachable!("{method} {path}"),
    }
}

/// Says whether files are at a path, and not an answer of the server's own.
fn is_of_files(path: &str, kind: Kind) -> bool {
    !matches!(kind, Kind::Health | Kind::Announcement) && !path.starts_with("/-/")
}

/// Says whether a job may do what publishers may: of its tool it reads all, creates versions and sees what
/// was deleted, and of dbt it reads all. What other tools there are it is not told, nor does it replace
/// what is there.
fn is_permitted_to_job(method: &str, path: &str, kind: Kind) -> bool {
    let reads = ["GET", "HEAD"].contains(&method);
    match kind {
        Kind::File | Kind::Metadata | Kind::Truststore | Kind::Root | Kind::Directory => {
            reads && (path.starts_with("/dbt/") || path.starts_with("/dbt-tools/x/"))
        }
        Kind::Api => path.contains("/tools/x") || path.ends_with("/whoami"),
        Kind::Uploads | Kind::Releases | Kind::Trash => true,
        Kind::One(_) => !path.contains("/tokens/"),
        Kind::Health
        | Kind::Secret
        | Kind::Tokens
        | Kind::People
        | Kind::Audience
        | Kind::Announcement
        | Kind::Exchange
        | Kind::Order
        | Kind::Administered(_)
        | Kind::Nothing => false,
    }
}

/// A way to sign in.
struct Way {
    name: &'static str,
    /// What is before and after the names it proves.
    around: (String, &'static str),
    settings: String,
    /// Puts files beside the server.
    files: Vec<(&'static str, String)>,
    /// The server's own tokens, by whose they are, where that is the way; made when it has started.
    made: Rc<RefCell<HashMap<&'static str, String>>>,
    /// Who vouches for jobs.
    jobs: Issuer,
    /// Makes a header line that is good once; nothing where this way has no such credential.
    header: Box<dyn Fn(Holds) -> Option<String>>,
}

/// Everybody who holds a credential.
const NAMES: [&str; 4] = ["reader", "publisher", "root", "suspended"];

/// Returns the name of somebody who holds a credential.
fn name(holds: Holds) -> &'static str {
    match holds {
        Holds::ReadOnly => "reader",
        Holds::Administrator => "root",
        Holds::Suspended => "suspended",
        Holds::Job => "job",
        Holds::Publisher | Holds::Nothing | Holds::Wrong | Holds::Expired => "publisher",
    }
}

fn ways() -> Vec<Way> {
    let mut ways = ways_by_files();
    ways.extend(ways_by_providers());
    ways.extend([way_by_own_tokens("agent:"), way_by_own_tokens(PERSON)]);
    ways
}

fn ways_by_files() -> Vec<Way> {
    let names = NAMES;
    let token = |name: &str| json!({"name": name, "sha256": sha256(name.as_bytes())});
    let user = |name: &str| {
        let hash = STANDARD
            .encode(ring::digest::digest(&ring::digest::SHA1_FOR_LEGACY_USE_ONLY, name.as_bytes()));
        format!("{name}:{{SHA}}{hash}\n")
    };
    let keys: Vec<_> = names.into_iter().map(|name| (name, key(name).line())).collect();
    vec![
        Way {
            name: "static-token",
            around: ("static-token:".to_owned(), ""),
            settings: format!(r#""tokens": {}"#, json!(names.map(token))),
            files: Vec::new(),
            made: Rc::default(),
            jobs: Issuer::new(),
            header: Box::new(|holds| bearer(holds, |name| format!("Bearer {name}"))),
        },
        Way {
            name: "static-token",
            around: ("static-token:".to_owned(), ""),
            settings: format!(r#""tokens": {}"#, json!(names.map(token))),
            files: Vec::new(),
            made: Rc::default(),
            jobs: Issuer::new(),
            header: Box::new(|holds| {
                bearer(holds, |name| format!("Basic {}", STANDARD.encode(format!("any:{name}"))))
            }),
        },
        Way {
            name: "basic-htpasswd",
            around: ("htpasswd:".to_owned(), ""),
            settings: r#""htpasswdFile": "htpasswd""#.to_owned(),
            files: vec![("htpasswd", names.map(user).concat())],
            made: Rc::default(),
            jobs: Issuer::new(),
            header: Box::new(password),
        },
        Way {
            name: "ssh-agent-file",
            around: ("ssh:".to_owned(), ""),
            settings: r#""pubkeysFile": "keys.json""#.to_owned(),
            files: vec![("keys.json", key_file(&keys))],
            made: Rc::default(),
            jobs: Issuer::new(),
            header: Box::new(signed),
        },
        Way {
            name: "ssh-agent-func",
            around: ("ssh:".to_owned(), ""),
            settings: r#""authOptsPut": {"idpFunc": "sh lookup"}"#.to_owned(),
            files: vec![("lookup", lookup(&keys))],
            made: Rc::default(),
            jobs: Issuer::new(),
            header: Box::new(signed),
        },
        Way {
            name: "basic-ldap",
            around: ("ldap:uid=".to_owned(), ",ou=people,dc=x"),
            settings: format!(
                r#""ldap": {{"url": "ldap://127.0.0.1:{}", "userBase": "ou=people,dc=x"}}"#,
                DirectoryService::start().port()
            ),
            files: Vec::new(),
            made: Rc::default(),
            jobs: Issuer::new(),
            header: Box::new(password),
        },
    ]
}

/// Returns the ways to sign in with a token of an identity provider.
fn ways_by_providers() -> [Way; 2] {
    let (issuer, other) = (Issuer::new(), Issuer::new());
    [
        Way {
            name: "oidc",
            around: (issuer.word(), ""),
            settings: format!(r#""authOptsPut": {{"oidc": {}}}"#, issuer.options()),
            files: Vec::new(),
            made: Rc::default(),
            jobs: Issuer::new(),
            header: Box::new(move |holds| {
                Some(format!("Authorization: Bearer {}", identity(&issuer, holds)?))
            }),
        },
        Way {
            name: "oidc",
            around: (other.word(), ""),
            settings: format!(r#""authOptsPut": {{"oidc": {}}}"#, other.options()),
            files: Vec::new(),
            made: Rc::default(),
            jobs: Issuer::new(),
            header: Box::new(move |holds| {
                let proof = STANDARD.encode(format!("any:{}", identity(&other, holds)?));
                Some(format!("Authorization: Basic {proof}"))
            }),
        },
    ]
}

/// The word before the names of people who have nothing but tokens of the server's own.
const PERSON: &str = "user:";

/// Returns the way to sign in with tokens that the server makes once it has started, for such subjects.
fn way_by_own_tokens(word: &str) -> Way {
    let made = Rc::<RefCell<HashMap<_, _>>>::default();
    let known = Rc::clone(&made);
    Way {
        name: "api-token",
        around: (word.to_owned(), ""),
        settings: r#""immutable": false"#.to_owned(),
        files: Vec::new(),
        made,
        jobs: Issuer::new(),
        header: Box::new(move |holds| {
            // Those of who is suspended are revoked.
            if holds == Holds::Suspended {
                return None;
            }
            if holds == Holds::Job {
                let token = known.borrow().get("job").cloned()?;
                return Some(format!("Authorization: Bearer {token}"));
            }
            bearer(holds, |name| {
                let unknown = "dbt_0000000000000000000000000000000z".to_owned();
                format!("Bearer {}", known.borrow().get(name).unwrap_or(&unknown))
            })
        }),
    }
}

/// Returns a header with what somebody knows, or with what nobody does.
fn bearer(holds: Holds, line: impl Fn(&str) -> String) -> Option<String> {
    let known = match holds {
        Holds::Nothing | Holds::Expired | Holds::Job => return None,
        Holds::Wrong => "wrong",
        Holds::ReadOnly | Holds::Publisher | Holds::Administrator | Holds::Suspended => name(holds),
    };
    Some(format!("Authorization: {}", line(known)))
}

/// Returns a header with the name and the password of somebody, who are the same word.
fn password(holds: Holds) -> Option<String> {
    bearer(holds, |password| {
        format!("Basic {}", STANDARD.encode(format!("{}:{password}", name(holds))))
    })
}

/// Returns a script that prints the key of the user it is asked for.
fn lookup(keys: &[(&str, String)]) -> String {
    let case = |(name, line): &(&str, String)| format!("{name}) echo '{line}';;\n");
    format!("case \"$1\" in\n{}esac\n", keys.iter().map(case).collect::<String>())
}

/// Returns a token of an identity provider.
fn identity(issuer: &Issuer, holds: Holds) -> Option<String> {
    let user = name(holds);
    let token = match holds {
        Holds::Nothing | Holds::Job => return None,
        Holds::Wrong => SigningKey::p256("key").token(&issuer.claims(user, &json!({}))),
        Holds::Expired => {
            let times = json!({"iat": now() - 400, "nbf": now() - 400, "exp": now() - 100});
            issuer.token(user, &times)
        }
        Holds::ReadOnly | Holds::Publisher | Holds::Administrator | Holds::Suspended => {
            issuer.token(user, &json!({}))
        }
    };
    Some(token)
}

fn key(name: &str) -> Key {
    Key::ed25519(name.bytes().next().unwrap())
}

fn signed(holds: Holds) -> Option<String> {
    let user = name(holds);
    let mut claims = claims(user);
    let key = match holds {
        Holds::Nothing | Holds::Job => return None,
        Holds::Wrong => key("mallory"),
        Holds::Expired => {
            let late = Duration::from_secs(400).as_secs();
            claims["iat"] = json!(now() - late);
            claims["nbf"] = json!(now() - late);
            claims["exp"] = json!(now() - 100);
            key(user)
        }
        Holds::ReadOnly | Holds::Publisher | Holds::Administrator | Holds::Suspended => key(user),
    };
    Some(format!("Token: {}", key.signed(&claims)))
}

fn start(way: &Way) -> Server {
    let place = Place::new();
    for (name, text) in &way.files {
        place.put_beside(name, text.as_bytes());
    }
    let (before, after) = &way.around;
    let subject = |name: &str| format!("{before}{name}{after}");
    let url = way.jobs.url();
    let people = NAMES.map(|name| json!({"name": name}));
    let people = if before == PERSON { people.to_vec() } else { Vec::new() };
    let roles = json!({"roles": {
        "readonly": [subject("reader")],
        "publisher": [subject("publisher"), subject("suspended")],
        "admin": [subject("root")],
    }, "users": people, "federation": {
        "issuers": [{"issuerUrl": url, "audience": "https://dbt.example.com"}],
        "rules": [{"name": "jobs", "issuer": url, "claims": {"sub": "x"}, "tools": ["x"],
            "permits": ["publish"]}],
    }});
    // A rule for administrators alone speaks of reading, so that reading is by rules.
    let policies = json!([{
        "name": "administrators read", "subjects": ["role:admin"], "paths": ["/**"],
        "actions": ["read", "list"],
    }]);
    let members = format!(
        r#""authTypePut": "{}", "auth": {roles}, "policies": {policies},
        "publicUrls": ["https://dbt.example.com"], "verifyUploads": "off", {}"#,
        way.name, way.settings
    );
    let server = Server::on(place, &members);
    if way.name == "api-token" {
        let identity = way.jobs.token("x", &json!({"jti": unique()}));
        let token = exchange(&server, &identity).json()["token"].as_str().unwrap().to_owned();
        way.made.borrow_mut().insert("job", token);
        for name in NAMES {
            let words = ["token", "create", &subject(name)].map(ToOwned::to_owned);
            let token = server.command_beside(&words.each_ref().map(String::as_str));
            way.made.borrow_mut().insert(name, token.trim().to_owned());
        }
    }
    if (way.header)(Holds::Suspended).is_some() {
        suspend(&server, way, &subject("suspended"));
    }
    server
}

/// Suspends somebody over HTTP, so that it counts at once.
fn suspend(server: &Server, way: &Way, subject: &str) {
    let post = |path: &str, body: &str| {
        let root = (way.header)(Holds::Administrator).unwrap();
        let reply = server.send("POST", path, &[&root], body.as_bytes());
        assert!(reply.status < 300, "{subject}: {reply:?}");
        reply
    };
    let users = "/-/api/v1/users";
    // Programs are not added, and are named in the path.
    let id = if way.name == "static-token" {
        subject.to_owned()
    } else {
        let added = post(users, &json!({"subject": subject}).to_string()).json();
        added["id"].as_str().unwrap().to_owned()
    };
    post(&format!("{users}/{id}/suspend"), "");
}

const FILES: [&str; 5] = [
    "dbt/latest",
    "dbt/1.0.0/linux/amd64/dbt",
    "dbt/truststore",
    "dbt/tuf/1.root.json",
    "dbt-tools/x/1.0.0/linux/amd64/x",
];

fn furnish(server: &Server) {
    for path in FILES {
        server.put_on_disk(path, b"secret bytes");
    }
}

fn ask(server: &Server, method: &str, path: &str, header: Option<&str>) -> Reply {
    let lines: Vec<&str> = header.into_iter().collect();
    server.send(method, path, &lines, if method == "PUT" { b"body" } else { b"" })
}

#[test]
fn every_request_with_every_credential_gets_what_the_rules_say_and_no_more() {
    let mut asked = 0;
    for way in ways() {
        let mut server = start(&way);
        furnish(&server);
        let before = server.tree();
        for (path, kind) in ROUTES {
            for method in METHODS {
                for holds in ALL {
                    let header = (way.header)(holds);
                    if header.is_none() && holds != Holds::Nothing {
                        continue;
                    }
                    let reply = ask(&server, method, path, header.as_deref());
                    let status = expected(method, path, kind, holds);
                    let case = format!("{} {holds:?} {method} {path}", way.around.0);
                    assert_eq!(reply.status, status, "{case}: {reply:?}");
                    asked += 1;
                    if status < 400 {
                        // What begins a publication keeps others from doing so.
                        if !server.drafts().is_empty() {
                            server = start(&way);
                        }
                        furnish(&server);
                        continue;
                    }
                    let challenges = reply.all("www-authenticate").len();
                    assert_eq!(challenges, usize::from(status == 401), "{case}");
                    assert_eq!(server.tree(), before, "{case}");
                    for path in FILES {
                        let bytes = std::fs::read(server.root().join(path)).unwrap();
                        assert_eq!(bytes, b"secret bytes", "{case}");
                    }
                    let is_page = reply.header("content-type") == Some("text/html; charset=utf-8");
                    assert!(!is_page || path.starts_with("/-/ui/"), "{case}");
                    if method != "HEAD" && status != 404 && !is_page {
                        let problem = reply.json();
                        assert_eq!(problem["status"], status, "{case}");
                        assert!(problem["type"].is_string() && problem["detail"].is_string());
                    }
                    assert!(!String::from_utf8_lossy(&reply.body).contains("secret"), "{case}");
                }
            }
        }
        let log = server.log();
        for secret in ["Bearer ", "Basic ", "eyJ", "{SHA}"] {
            assert!(!log.contains(secret), "{}: {secret}", way.name);
        }
    }
    assert!(asked > 20_000, "only {asked} were asked");
}

#[test]
fn every_path_of_the_description_is_a_row() {
    let described: serde_json::Value =
        serde_json::from_str(include_str!("../../src/v1/openapi.json")).unwrap();
    for path in described["paths"].as_object().unwrap().keys() {
        let fits = |route: &str| {
            let (one, other) = (path.split('/'), route.split('/'));
            one.clone().count() == other.clone().count()
                && one.zip(other).all(|(said, asked)| said == asked || said.starts_with('{'))
        };
        assert!(ROUTES.iter().any(|(route, _kind)| fits(route)), "{path} is asked by nobody");
    }
}
