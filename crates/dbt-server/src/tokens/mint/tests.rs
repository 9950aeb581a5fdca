use std::net::{IpAddr, Ipv4Addr};

use dbt_core::repo_path::RepoPath;
use serde_json::json;

use super::*;
use crate::action::Write;
use crate::args::Flags;
use crate::authn::{Job, Scope, api_tokens};
use crate::authz::rules::Wish;
use crate::authz::{Access, Reach};
use crate::config::Config;
use crate::env::Environment;

const ISSUER: &str = "https://id.example.com";

/// A server with an administrator, a lead who manages tokens, and a publisher.
struct World {
    config: Config,
    _root: tempfile::TempDir,
}

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000 + seconds)
}

impl World {
    fn new(more: &str) -> Self {
        Self::with(more, &json!([{"issuerUrl": ISSUER, "audiences": ["x"]}]))
    }

    fn with(more: &str, issuers: &serde_json::Value) -> Self {
        let root = tempfile::tempdir().unwrap();
        let place = root.path().to_str().unwrap().to_owned();
        let digest = |name: &str| dbt_core::digest::Digest::of(name.as_bytes()).to_string();
        let token = |name: &str| json!({"name": name, "sha256": digest(name)});
        let names = ["root", "lead", "alice", "narrow"];
        let auth = json!({
            "roles": {
                "admin": ["static-token:root"], "publisher": ["static-token:lead", "static-token:alice"],
                "deploy": ["static-token:lead"],
            },
            "issuers": issuers,
            "apiTokens": serde_json::from_str::<serde_json::Value>(more).unwrap(),
        });
        let policies = json!([
            {"name": "managing", "subjects": ["static-token:lead"], "paths": ["/**"],
             "actions": ["token.manage"]},
            {"name": "deploying", "subjects": ["role:deploy"], "paths": ["/dbt/**"],
             "actions": ["create", "read"]},
            {"name": "narrow", "subjects": ["static-token:narrow"], "paths": ["/dbt-tools/foo/**"],
             "actions": ["create", "token.create_own"]},
            {"name": "reading", "subjects": ["authenticated"], "paths": ["/**"], "actions": ["read"]},
            {"name": "agents", "subjects": ["agent:ci"], "paths": ["/dbt/**"], "actions": ["delete"]},
        ]);
        let environment: Environment = [
            ("ROOT", place),
            ("AUTH_TYPE_PUT", "static-token, oidc".to_owned()),
            ("TOKENS", json!(names.map(token)).to_string()),
            ("AUTH", auth.to_string()),
            ("POLICIES", policies.to_string()),
        ]
        .into_iter()
        .map(|(name, value)| (format!("REPOSERVER_{name}"), value))
        .collect();
        let config = Config::resolve(&Flags::default(), &environment).unwrap();
        Self { config, _root: root }
    }

    fn caller(&self, name: &str) -> Caller {
        let subject = self.config.names.subject(&format!("static-token:{name}")).unwrap();
        let groups = if name == "lead" { vec![group("leads")] } else { Vec::new() };
        Caller::assumed(subject, groups, vec![Scope::Reads, Scope::Writes])
    }

    fn decide(&self, caller: &Caller, wanted: &Wanted) -> Result<NewToken, Refusal> {
        let manages = self.manages(caller);
        let minter = Minter {
            caller,
            manages,
            policy: &self.config.policy,
            names: &self.config.names,
            settings: self.config.tokens,
            now: at(0),
        };
        minter.decide("ID".to_owned(), wanted)
    }

    fn made(&self, by: &Caller, wanted: &Wanted) -> NewToken {
        self.decide(by, wanted).unwrap_or_else(|error| panic!("{wanted:?}: {error}"))
    }

    fn refused(&self, by: &Caller, wanted: &Wanted, words: &str) {
        let error = self.decide(by, wanted).unwrap_err();
        assert!(error.to_string().contains(words), "{wanted:?}: {error}");
    }

    /// Returns whoever shows a token.
    fn bearer(&self, new: &NewToken) -> Caller {
        let methods = crate::app::signing_in(&self.config, Vec::new()).unwrap();
        let identity = api_tokens::judge(&new.token, None, at(1)).unwrap();
        let here = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(methods.bearer(identity, here, at(1))).unwrap()
    }

    /// Says whether somebody may manage tokens everywhere, as it is asked for a request.
    fn manages(&self, caller: &Caller) -> bool {
        let (permission, path) = (Permission::TokenManage, RepoPath::root());
        let wish = Wish { permission, path: &path, reach: Reach::Below, conditional: true };
        self.config.policy.would_permit(caller, &wish)
    }

    fn may(&self, caller: &Caller, permission: Permission, path: &str) -> bool {
        let path = path.parse().unwrap();
        let wish = Wish { permission, path: &path, reach: Reach::Path, conditional: true };
        self.config.policy.would_permit(caller, &wish)
    }
}

fn group(name: &str) -> Group {
    Group { issuer: ISSUER.to_owned(), name: name.to_owned() }
}

fn wanted(subject: &str, roles: &[&str], paths: &[&str]) -> Wanted {
    let owned = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect();
    Wanted {
        name: "x".to_owned(),
        subject: (!subject.is_empty()).then(|| subject.to_owned()),
        roles: owned(roles),
        paths: owned(paths),
        ..Wanted::default()
    }
}

const X: &str = "dbt-tools/foo/1.0.0/linux/amd64/foo";
const Y: &str = "dbt-tools/bar/1.0.0/linux/amd64/bar";

#[test]
fn an_agent_holds_the_roles_of_its_token_where_its_paths_say() {
    let world = World::new("{}");
    let root = world.caller("root");
    let wanted = wanted("agent:ci", &["publisher"], &["/dbt-tools/foo/**"]);
    let agent = world.bearer(&world.made(&root, &wanted));
    assert!(world.may(&agent, Permission::Create, X));
    assert!(!world.may(&agent, Permission::Create, Y), "outside its paths");
    // A rule names it, and its token does not say that it counts there.
    assert!(!world.may(&agent, Permission::Delete, "dbt/x"));
    assert!(!world.manages(&agent));
    assert!(!world.config.policy.is_administrator(&agent));
}

#[test]
fn an_agent_without_roles_has_what_rules_say_of_it_and_reads() {
    let world = World::new("{}");
    let agent = world.bearer(&world.made(&world.caller("root"), &wanted("agent:ci", &[], &[])));
    assert!(world.may(&agent, Permission::Delete, "dbt/x"));
    assert!(world.may(&agent, Permission::List, "dbt"), "by `agent-default`");
    assert!(!world.may(&agent, Permission::Create, X));
}

#[test]
fn what_the_reference_s_settings_give_to_everybody_is_no_agent_s() {
    let world = World::new("{}");
    let agent = world.bearer(&world.made(&world.caller("root"), &wanted("agent:x", &[], &[])));
    let policy = Policy::of_access(Access::Proven, Access::Proven, false);
    let path = X.parse().unwrap();
    let may = |permission| {
        let wish = Wish { permission, path: &path, reach: Reach::Path, conditional: true };
        policy.would_permit(&agent, &wish)
    };
    assert!(may(Permission::Read) && !may(Permission::Create));
}

#[test]
fn the_rights_of_a_user_s_token_are_the_user_s_under_its_ceiling() {
    let world = World::new("{}");
    let alice = world.caller("alice");
    for (roles, paths, create_x, create_y, delete_x) in [
        (&[][..], &[][..], true, true, true),
        (&["publisher"], &[], true, true, true),
        (&["readonly"], &[], false, false, false),
        (&[], &["/dbt-tools/foo/**"], true, false, true),
        // A role that she does not hold gives her nothing, and takes the rest.
        (&["deploy"], &[], false, false, false),
        (&["admin"], &[], true, true, true),
    ] {
        let wanted = wanted("", roles, paths);
        let bearer = world.bearer(&world.made(&alice, &wanted));
        let may = |permission, path| world.may(&bearer, permission, path);
        assert_eq!(may(Permission::Create, X), create_x, "{wanted:?}");
        assert_eq!(may(Permission::Create, Y), create_y, "{wanted:?}");
        assert_eq!(may(Permission::Delete, X), delete_x, "{wanted:?}");
        assert!(!may(Permission::ToolBlock, X), "{wanted:?}");
        assert!(!world.config.policy.is_administrator(&bearer), "{wanted:?}");
    }
}

/// What a ceiling leaves of a truststore is what is left of both.
#[test]
fn a_ceiling_narrows_also_how_far_a_permission_goes() {
    use crate::authz::rules::Extent;

    let world = World::new("{}");
    let root = world.caller("root");
    let path = "dbt/truststore".parse().unwrap();
    let wish =
        Wish { permission: Permission::Create, path: &path, reach: Reach::Path, conditional: true };
    for (roles, extent) in [(&[][..], Extent::Full), (&["publisher"], Extent::Following)] {
        let bearer = world.bearer(&world.made(&root, &wanted("", roles, &[])));
        let permitted = world.config.policy.rules.permit(&bearer, &wish).unwrap();
        assert_eq!(permitted.extent, extent, "{roles:?}");
    }
}

/// Whoever may not replace a truststore by just any may not create one by just any either, also where
/// the right to replace is what a token takes away.
#[test]
fn a_narrower_token_does_not_write_what_its_subject_may_not() {
    let world = World::new("{}");
    let lead = world.caller("lead");
    let write = || Write::of("dbt/truststore".parse().unwrap()).unwrap();
    for bearer in [
        lead.clone(),
        world.bearer(&world.made(&lead, &wanted("", &["deploy"], &[]))),
        world.bearer(&world.made(&lead, &wanted("", &["publisher"], &[]))),
    ] {
        assert!(world.config.policy.authorise(bearer, write()).unwrap().must_follow());
    }
}

#[test]
fn nobody_but_an_administrator_hands_on_more_than_they_have() {
    let world = World::new("{}");
    let (lead, alice) = (world.caller("lead"), world.caller("alice"));
    // Who may manage tokens makes them for anybody, with roles of their own.
    world.made(&lead, &wanted("agent:ci", &["deploy"], &[]));
    world.made(&lead, &wanted("static-token:alice", &["publisher"], &[]));
    world.refused(&lead, &wanted("agent:ci", &["admin"], &[]), "do not hold the role `admin`");
    world.refused(&lead, &wanted("agent:ci", &["readonly"], &[]), "do not hold the role");
    world.refused(&lead, &wanted("agent:ci", &[], &[]), "only an administrator");
    world.refused(&lead, &wanted("static-token:root", &[], &[]), "only an administrator");
    // And a token for an administrator is one for no more than that.
    let made = world.made(&lead, &wanted("static-token:root", &["publisher"], &[]));
    let bearer = world.bearer(&made);
    assert!(world.may(&bearer, Permission::Create, X));
    assert!(!world.manages(&bearer));
    assert!(!world.config.policy.is_administrator(&bearer));
    world.refused(
        &alice,
        &wanted("agent:ci", &["publisher"], &[]),
        "takes the permission `token.manage`",
    );
    world.refused(
        &alice,
        &wanted("static-token:lead", &["publisher"], &[]),
        "takes the permission",
    );
}

/// What a token says of somebody who signs in otherwise would be true for longer than they are.
#[test]
fn only_an_administrator_puts_an_agent_into_a_group_and_nobody_a_person() {
    let world = World::new("{}");
    let (root, lead) = (world.caller("root"), world.caller("lead"));
    let in_group = |subject: &str, name: &str| Wanted {
        groups: vec![format!("{ISSUER}#{name}")],
        ..wanted(subject, &["deploy"], &[])
    };
    let made = world.made(&root, &in_group("agent:ci", "board"));
    assert_eq!(world.bearer(&made).groups(), [group("board")]);
    world.refused(&lead, &in_group("agent:ci", "leads"), "only an administrator");
    world.refused(&root, &in_group("static-token:alice", "leads"), "only an agent's token");
}

#[test]
fn what_is_made_with_a_token_is_within_it_and_ends_with_it() {
    let world = World::new("{}");
    let root = world.caller("root");
    let first = Wanted {
        expires_in: Some(1000),
        ..wanted("agent:ci", &["publisher"], &["/dbt-tools/foo/**"])
    };
    let agent = world.bearer(&world.made(&root, &first));
    // Its own role, though none is named; where it is, and no longer.
    let second = world.made(&agent, &wanted("", &[], &["/dbt-tools/**"]));
    assert_eq!(second.token.subject, "agent:ci");
    assert_eq!(second.token.about.as_ref().unwrap().roles, ["publisher"]);
    assert_eq!(second.token.created_by, "agent:ci");
    assert_eq!(second.token.origin, "static-token:root");
    assert_eq!(second.token.made_with.as_deref(), Some("ID"));
    assert_eq!(second.making.with.as_deref(), Some("ID"));
    assert_eq!(second.token.expires, Some(at(1000)));
    let bearer = world.bearer(&second);
    assert!(
        world.may(&bearer, Permission::Create, X) && !world.may(&bearer, Permission::Create, Y)
    );

    let asked = wanted("", &[], &[]);
    let longer = [
        Wanted { expires_in: Some(1001), ..asked.clone() },
        Wanted { expires_in: Some(360 * 86_400), ..asked.clone() },
    ];
    for wanted in &longer {
        world.refused(&agent, wanted, "would outlive");
    }
    world.refused(&agent, &wanted("", &["admin"], &[]), "do not hold the role `admin`");
    world.refused(&agent, &wanted("agent:other", &["publisher"], &[]), "takes the permission");
    // Tokens of tokens of tokens are narrowed by each, and there is an end to it.
    let mut bearer = agent;
    for depth in 0..DEPTH - 1 {
        bearer =
            world.bearer(&world.made(&bearer, &wanted("", &[], &[&format!("/{depth}/**"), "/**"])));
    }
    world.refused(&bearer, &wanted("", &[], &["/once-more/**", "/**"]), "narrowed by more than");
}

#[test]
fn an_administrator_s_token_makes_any_other_unless_it_is_narrowed() {
    let world = World::new("{}");
    let root = world.caller("root");
    let admin = world.bearer(&world.made(&root, &wanted("agent:boss", &["admin"], &[])));
    assert!(world.config.policy.is_administrator(&admin));
    let made =
        world.made(&admin, &Wanted { no_expiry: true, ..wanted("agent:ci", &["publisher"], &[]) });
    assert_eq!(made.token.expires, None);
    // It is revoked with it all the same.
    assert_eq!(made.token.made_with.as_deref(), Some("ID"));
    assert_eq!(made.making.with.as_deref(), Some("ID"));
    assert!(!made.making.spending);
    for (roles, paths) in [(&["admin"][..], &["/dbt-tools/**"][..]), (&["publisher"], &[])] {
        let narrow = world.bearer(&world.made(&root, &wanted("", roles, paths)));
        assert!(!world.config.policy.is_administrator(&narrow), "{roles:?} {paths:?}");
        assert!(!world.manages(&narrow));
    }
}

#[test]
fn a_bootstrap_token_makes_a_token_and_is_spent_by_that() {
    let world = World::new("{}");
    let new = bootstrap("ONCE".to_owned(), &Caller::on_the_host(0), at(0));
    assert_eq!(new.token.expires, Some(at(15 * 60)));
    let bearer = world.bearer(&new);
    assert!(world.manages(&bearer));
    for permission in Permission::ALL {
        let is_more = permission != Permission::TokenManage && permission != Permission::Read;
        assert!(!is_more || !world.may(&bearer, permission, X), "{permission}");
    }
    let made = world.made(&bearer, &wanted("agent:me", &["admin"], &[]));
    assert_eq!(made.making.with.as_deref(), Some("ONCE"));
    assert!(made.making.spending);
    // It stands on its own.
    assert_eq!(
        (made.token.made_with.as_deref(), made.token.origin.as_str()),
        (None, "agent:bootstrap")
    );
    let about = made.token.about.as_ref().unwrap();
    assert!(about.ceilings.len() == 1 && !about.once);
    let admin = world.bearer(&made);
    assert!(world.config.policy.is_administrator(&admin), "what narrowed it is not handed on");
    let name = format!("agent:{BOOTSTRAP}");
    world.refused(&bearer, &wanted(&name, &["admin"], &[]), "tokens of `admin bootstrap` alone");
}

#[test]
fn a_token_ends_in_ninety_days_or_when_it_says_and_never_later_than_the_settings_allow() {
    let days = |count: u64| Some(at(count * 86_400));
    let free = World::new("{}");
    let bounded = World::new(r#"{"maxDays": 30}"#);
    let (root, lead, alice) = (free.caller("root"), free.caller("lead"), free.caller("alice"));
    let own = |expires_in: Option<u64>, no_expiry| Wanted {
        expires_in: expires_in.map(|days| days * 86_400),
        no_expiry,
        ..wanted("", &[], &[])
    };
    let too_long = Err("days at most");
    for (world, by, asked, expected) in [
        (&free, &root, own(None, false), Ok(days(90))),
        (&free, &root, own(Some(3650), false), Ok(days(3650))),
        (&free, &root, own(None, true), Ok(None)),
        // Who manages tokens everywhere decides for how long they count.
        (&free, &lead, own(None, true), Ok(None)),
        // Nobody else makes of a sign-in of minutes one for good.
        (&free, &alice, own(None, false), Ok(days(90))),
        (&free, &alice, own(Some(366), false), Ok(days(366))),
        (&free, &alice, own(Some(367), false), too_long),
        (&free, &alice, own(None, true), too_long),
        (&bounded, &root, own(None, false), Ok(days(30))),
        (&bounded, &root, own(Some(30), false), Ok(days(30))),
        (&bounded, &root, own(Some(31), false), too_long),
        (&bounded, &root, own(None, true), too_long),
        (&bounded, &alice, own(Some(31), false), too_long),
        (&free, &root, own(Some(1), true), Err("contradict")),
        (&free, &root, own(Some(0), false), Err("no number of seconds")),
        (&free, &root, Wanted { expires_in: Some(u64::MAX), ..own(None, false) }, Err("no number")),
    ] {
        match expected {
            Ok(end) => assert_eq!(world.made(by, &asked).token.expires, end, "{asked:?}"),
            Err(words) => world.refused(by, &asked, words),
        }
    }
}

/// Its identity is good for minutes, and it gets another whenever it runs.
#[test]
fn a_job_makes_no_token_whatever_rules_say_of_it() {
    let world = World::new("{}");
    let job = Job { repository: "acme/x".to_owned(), run: "1".to_owned(), ..Job::default() };
    for name in ["root", "lead", "alice"] {
        let caller = world.caller(name).being_a_job(job.clone());
        world.refused(&caller, &wanted("", &["publisher"], &[]), "a job has its own identity");
        world.refused(&caller, &wanted("agent:x", &["publisher"], &[]), "a job has its own");
    }
}

/// Most jobs do not say that they are some, so that it is the providers of people that are named.
#[test]
fn whom_a_provider_vouches_for_that_is_not_said_to_be_for_people_makes_no_token() {
    const OTHER: &str = "https://jobs.example.com";
    let issuer = |url: &str, people: &serde_json::Value| json!({"issuerUrl": url, "audiences": ["x"], "forPeople": people});
    for (people, refused) in [(json!(true), false), (json!(false), true), (json!(null), true)] {
        let issuers = json!([issuer(ISSUER, &people), issuer(OTHER, &json!(true))]);
        let world = World::with("{}", &issuers);
        let subject = world.config.names.subject(&format!("oidc:{ISSUER}#alice")).unwrap();
        let direct = Caller::assumed(subject, Vec::new(), Scope::ALL.to_vec());
        // An administrator makes one for them; with it they make none either.
        let root = world.caller("root");
        let given = world.made(&root, &wanted(&format!("oidc:{ISSUER}#alice"), &[], &[]));
        for caller in [&direct, &world.bearer(&given)] {
            for wanted in [wanted("", &[], &[]), wanted("agent:x", &["publisher"], &[])] {
                if refused {
                    let refusal = world.decide(caller, &wanted).unwrap_err();
                    assert!(matches!(refusal, Refusal::Beyond(_)), "{refusal:?}");
                    let words = format!(
                        "whom `{ISSUER}` vouches for makes no tokens: it is not marked with `forPeople`"
                    );
                    assert_eq!(refusal.to_string(), words);
                } else if wanted.subject.is_none() {
                    world.made(caller, &wanted);
                }
            }
        }
    }
}

/// What is made with a token is narrowed by all that narrows it, and each may be long.
#[test]
fn what_would_take_too_many_bytes_is_not_made() {
    let world = World::new("{}");
    let paths = |number: usize, count: usize| -> Vec<String> {
        (0..count).map(|it| format!("/dbt-tools/{number}/{it}-{}/**", "p".repeat(60))).collect()
    };
    let asked = |number, count| Wanted {
        paths: paths(number, count),
        expires_in: None,
        ..wanted("agent:ci", &["publisher"], &[])
    };
    let mut bearer = world.caller("root");
    let mut made = 0;
    let refusal = loop {
        match world.decide(&bearer, &asked(made, 8)) {
            Ok(new) => {
                assert!(new.row(&text::new().unwrap()).about.len() <= ABOUT_BYTES);
                bearer = world.bearer(&new);
                made += 1;
            }
            Err(refusal) => break refusal,
        }
    };
    assert!((2..DEPTH).contains(&made), "{made}");
    assert!(matches!(refusal, Refusal::Wrong(_)), "{refusal:?}");
    let words = format!("would take more than {ABOUT_BYTES} bytes");
    assert!(refusal.to_string().ends_with(&words), "{refusal}");
    let long = Wanted { paths: vec![format!("/{0}/{0}", "p".repeat(200)); 16], ..asked(0, 0) };
    world.refused(&world.caller("root"), &long, &words);
}

/// The record and a terminal show them.
#[test]
fn what_is_told_of_a_token_is_one_short_line_without_control_characters() {
    let world = World::new("{}");
    let asked = Wanted {
        paths: (0..16).map(|it| format!("/dbt-tools/{it}-{}/**", "p".repeat(100))).collect(),
        ..wanted("agent:ci", &["publisher"], &[])
    };
    let new = world.made(&world.caller("root"), &asked);
    let told = new.told();
    assert!(told.starts_with("`x` for `agent:ci`, roles `publisher`, within `/dbt-tools/0-ppp"));
    assert!(told.contains("…, until 20") && told.len() < 1200, "{}", told.len());

    let mut token = new.token;
    token.subject = "oidc:x#a\u{1b}[2J\u{202e}".to_owned();
    let about = token.about.as_mut().unwrap();
    about.name = "n\n".to_owned();
    about.roles = vec!["r\u{9b}".to_owned()];
    about.groups = vec![("i\r".to_owned(), "g\u{7}".to_owned())];
    about.ceilings = vec![KeptCeiling { roles: Vec::new(), paths: vec!["/\u{85}".to_owned()] }];
    let told = token.told();
    let words = "`n\\n` for `oidc:x#a\\u{1b}[2J\\u{202e}`, roles `r\\u{9b}`, groups `i\\r#g\\u{7}`, \
                 within `/\\u{85}`, until 20";
    assert!(told.starts_with(words), "{told}");
    let in_vain = NewToken { token, making: new.making }.in_vain();
    assert!(!in_vain.contains(char::is_control) && in_vain.contains("\\u{1b}"), "{in_vain}");
}

#[test]
fn a_token_reaches_itself_what_it_made_and_what_is_good_for_no_more() {
    let world = World::new("{}");
    let root = world.caller("root");
    let made = |subject: &str, roles: &[&str], paths: &[&str]| {
        world.made(&root, &wanted(subject, roles, paths)).token
    };
    let reaches = |own: (&[&str], &[&str]), other: (&[&str], &[&str]), subject: &str| {
        let mut own = made(subject, own.0, own.1);
        own.id = "OWN".to_owned();
        let new = NewToken {
            token: own,
            making: world.made(&root, &wanted(subject, &["readonly"], &[])).making,
        };
        world.bearer(&new).reaches(&made(subject, other.0, other.1))
    };
    let (foo, foo_1, bar) = ("/dbt-tools/foo/**", "/dbt-tools/foo/1.*/**", "/dbt-tools/bar/**");
    for (own, other, expected) in [
        ((&["publisher"][..], &[foo][..]), (&["publisher"][..], &[foo][..]), true),
        ((&["publisher"], &[foo]), (&["publisher"], &[foo_1]), true),
        ((&["publisher"], &[foo, bar]), (&["publisher"], &[bar, foo_1]), true),
        ((&["publisher"], &[]), (&["publisher"], &[foo]), true),
        ((&["publisher", "readonly"], &[foo]), (&["readonly"], &[foo]), true),
        // Those are good for more.
        ((&["publisher"], &[foo_1]), (&["publisher"], &[foo]), false),
        ((&["publisher"], &[foo]), (&["publisher"], &[]), false),
        ((&["publisher"], &[foo]), (&["publisher"], &[foo, bar]), false),
        ((&["publisher"], &[foo]), (&["publisher"], &[bar]), false),
        ((&["readonly"], &[]), (&["publisher"], &[]), false),
        ((&["publisher"], &[]), (&["publisher", "admin"], &[]), false),
    ] {
        for subject in ["agent:ci", "static-token:alice"] {
            assert_eq!(reaches(own, other, subject), expected, "{own:?} {other:?} {subject}");
        }
    }
    // Without roles, a user's is not narrowed, and an agent's has the fewest.
    let (none, all, some): (&[&str], _, _) =
        (&[], (&[][..], &[][..]), (&["publisher"][..], &[][..]));
    assert!(none.is_empty());
    assert!(reaches(all, some, "static-token:alice") && !reaches(some, all, "static-token:alice"));
    assert!(!reaches(all, some, "agent:ci") && !reaches(some, all, "agent:ci"));
    assert!(reaches(all, all, "agent:ci"));

    let narrow = made("agent:ci", &["readonly"], &[]);
    let making = world.made(&root, &wanted("agent:ci", &[], &[])).making;
    let caller =
        world.bearer(&NewToken { token: ApiToken { id: "OWN".to_owned(), ..narrow }, making });
    let wide = made("agent:ci", &["admin"], &[]);
    for (other, expected) in [
        (ApiToken { id: "OWN".to_owned(), ..wide.clone() }, true),
        (ApiToken { made_with: Some("OWN".to_owned()), ..wide.clone() }, true),
        (ApiToken { made_with: Some("ID".to_owned()), ..wide.clone() }, false),
        (ApiToken { about: None, ..wide.clone() }, false),
    ] {
        assert_eq!(caller.reaches(&other), expected, "{other:?}");
    }
    let grouped = Wanted {
        groups: vec![format!("{ISSUER}#board")],
        ..wanted("agent:ci", &["readonly"], &[])
    };
    assert!(!caller.reaches(&world.made(&root, &grouped).token), "it is in a group");
    assert!(world.caller("alice").reaches(&wide), "who shows no token reaches all of theirs");
}

#[test]
fn what_makes_no_sense_is_refused_in_words() {
    let world = World::new("{}");
    let root = world.caller("root");
    let good = || wanted("agent:ci", &["publisher"], &["/dbt/**"]);
    for (wanted, words) in [
        (Wanted { name: " ".to_owned(), ..good() }, "`name` must have"),
        (Wanted { subject: Some("agent:a\u{7}".to_owned()), ..good() }, "no control characters"),
        (Wanted { subject: Some("s".repeat(513)), ..good() }, "a subject must have 1 to 512 bytes"),
        (Wanted { roles: vec!["a\u{1b}[2J".to_owned()], ..good() }, "a role must have"),
        (Wanted { paths: vec![format!("/{}", "p".repeat(512))], ..good() }, "a path must have"),
        (Wanted { groups: vec!["a\nb".to_owned()], ..good() }, "a group must have"),
        (Wanted { name: "a\nb".to_owned(), ..good() }, "`name` must have"),
        (Wanted { name: "n".repeat(101), ..good() }, "`name` must have"),
        (
            Wanted { name: format!("of dbt_{}", "x".repeat(32)), ..good() },
            "`name` is a name that everybody may see, and no token",
        ),
        (Wanted { subject: Some("agent:".to_owned()), ..good() }, "no name of an agent"),
        (Wanted { subject: Some("agent:a b".to_owned()), ..good() }, "no name of an agent"),
        (Wanted { subject: Some("ssh:alice".to_owned()), ..good() }, "no configured method"),
        (Wanted { subject: Some("host:0".to_owned()), ..good() }, "no configured method"),
        (Wanted { subject: Some("dbt_x".to_owned()), ..good() }, "somebody's name, and no token"),
        (Wanted { roles: vec!["boss".to_owned()], ..good() }, "no role `boss`"),
        (Wanted { paths: vec!["dbt".to_owned()], ..good() }, "no pattern of paths"),
        (Wanted { groups: vec![String::new()], ..good() }, "a group must have"),
        (Wanted { paths: vec!["/dbt/**".to_owned(); 17], ..good() }, "more than 16"),
    ] {
        let refusal = world.decide(&root, &wanted).unwrap_err();
        assert!(matches!(refusal, Refusal::Wrong(_)), "{wanted:?}: {refusal:?}");
        world.refused(&root, &wanted, words);
    }
    world.refused(&Caller::on_the_host(0), &wanted("", &[], &[]), "`subject` must say");
}

/// A rule that is about one tool lets its team make tokens for themselves, for no more than that.
#[test]
fn a_token_of_one_s_own_takes_the_right_to_it_anywhere() {
    let world = World::new("{}");
    let narrow = world.caller("narrow");
    let bearer = world.bearer(&world.made(&narrow, &wanted("", &[], &[])));
    assert!(
        world.may(&bearer, Permission::Create, X) && !world.may(&bearer, Permission::Create, Y)
    );
}
