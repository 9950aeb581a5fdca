use super::*;
use crate::authn::testing::{after, start, verdict};

mod pretender;

use self::pretender::{Mood, Pretender};

fn settings(directory: &Pretender) -> Settings {
    Settings {
        place: Place {
            host: "127.0.0.1".to_owned(),
            port: directory.port(),
            security: Security::Plain,
        },
        authorities: Vec::new(),
        service: Some(("cn=search,dc=x".to_owned(), Secret::new("search".to_owned()))),
        user_base: "ou=people,dc=x".to_owned(),
        user_filter: "(uid={username})".parse().unwrap(),
        groups: Some(Groups {
            base: "ou=groups,dc=x".to_owned(),
            filter: "(member={dn})".parse().unwrap(),
            attribute: "cn".to_owned(),
        }),
    }
}

/// Returns who somebody is with their groups, or why not as the record says it.
async fn judge(ldap: &Ldap, user: &str, password: &str, now: SystemTime) -> Result<String, String> {
    let password = Secret::new(password.to_owned());
    let credential = Credential::Basic { user: user.to_owned(), password };
    match verdict(ldap, &credential, now).await {
        Verdict::NotMine => Err("(not mine)".to_owned()),
        Verdict::Refused(bad) => Err(bad.noted().to_owned()),
        Verdict::Proven(identity) => {
            let groups: Vec<String> = identity.groups.iter().map(ToString::to_string).collect();
            Ok(format!("{} {}", identity.subject, groups.join(" ")))
        }
    }
}

#[tokio::test]
async fn a_password_proves_the_entry_with_its_groups() {
    let directory = Pretender::start();
    let ldap = Ldap::new(settings(&directory)).unwrap();
    let alice = "ldap:uid=alice,ou=people,dc=x ldap#admins ldap#staff";
    assert_eq!(judge(&ldap, "alice", "wonderland", start()).await, Ok(alice.to_owned()));
    assert_eq!(
        directory.take_binds(),
        ["cn=search,dc=x", "uid=alice,ou=people,dc=x", "cn=search,dc=x"]
    );
    let bob = "ldap:uid=bob,ou=people,dc=x ".to_owned();
    assert_eq!(judge(&ldap, "bob", "builder", start()).await, Ok(bob.clone()));
    let anonymous = Ldap::new(Settings { service: None, ..settings(&directory) }).unwrap();
    directory.take_binds();
    assert_eq!(judge(&anonymous, "bob", "builder", start()).await, Ok(bob));
    assert_eq!(directory.take_binds(), ["uid=bob,ou=people,dc=x"]);
    let groupless = Ldap::new(Settings { groups: None, ..settings(&directory) }).unwrap();
    let alice = "ldap:uid=alice,ou=people,dc=x ".to_owned();
    assert_eq!(judge(&groupless, "alice", "wonderland", start()).await, Ok(alice));
}

/// The directory says yes to every sign-in without a password, as many do.
#[tokio::test]
async fn what_cannot_be_a_password_is_refused_before_the_directory_hears_of_it() {
    let directory = Pretender::start();
    let ldap = Ldap::new(settings(&directory)).unwrap();
    let long = "x".repeat(limits::PASSWORD_BYTES + 1);
    for (user, password, why) in [
        ("alice", "", "the password is empty"),
        ("alice", "\0", "the name or the password holds a NUL"),
        ("alice", "wonderland\0", "the name or the password holds a NUL"),
        ("alice\0", "wonderland", "the name or the password holds a NUL"),
        ("alice", &long, "the name or the password is too long"),
        (&long, "wonderland", "the name or the password is too long"),
        ("", "wonderland", "(not mine)"),
        ("", "", "(not mine)"),
        // A token, which is for others to judge.
        ("alice", "eyJhbGciOiJFUzI1NiJ9.e30.AAAA", "(not mine)"),
    ] {
        let said = judge(&ldap, user, password, start()).await;
        assert_eq!(said, Err(why.to_owned()), "{user:?}");
    }
    let bearer = Credential::Bearer(Secret::new("wonderland".to_owned()));
    assert_eq!(verdict(&ldap, &bearer, start()).await, Verdict::NotMine);
    assert_eq!(directory.connections(), 0);
}

#[tokio::test]
async fn wrong_passwords_and_strange_names_prove_nobody() {
    let directory = Pretender::start();
    let ldap = Ldap::new(settings(&directory)).unwrap();
    let wrong = Err("the password of `uid=alice,ou=people,dc=x` is wrong".to_owned());
    for password in ["wonder", "wonderland ", "Wonderland", " ", "builder"] {
        assert_eq!(judge(&ldap, "alice", password, start()).await, wrong, "{password}");
    }
    let nobody = Err("the directory has no such user".to_owned());
    for user in
        ["mallory", "*", "a*", "alice)(uid=*", "*)(uid=*))(|(uid=*", "alice,ou=people", "\\61lice"]
    {
        assert_eq!(judge(&ldap, user, "wonderland", start()).await, nobody, "{user}");
    }
    let several = Err("the directory has several entries for this user".to_owned());
    assert_eq!(judge(&ldap, "twin", "twin", start()).await, several);
    let crowd = Err("the directory has several entries for this user".to_owned());
    assert_eq!(judge(&ldap, "crowd", "crowd", start()).await, crowd);
    let nameless = Err("the entry of the user has no name".to_owned());
    assert_eq!(judge(&ldap, "nameless", "x", start()).await, nameless);
    let locked = judge(&ldap, "locked", "locked", start()).await.unwrap_err();
    assert!(locked.ends_with("sign in: result 53, `locked`"), "{locked}");
}

#[tokio::test]
async fn verdicts_are_remembered_for_a_minute_and_refusals_for_ten_seconds() {
    let directory = Pretender::start();
    let ldap = Ldap::new(settings(&directory)).unwrap();
    let asked = |seconds, user, password| {
        let (ldap, directory) = (&ldap, &directory);
        async move {
            let before = directory.connections();
            let is_right = judge(ldap, user, password, after(seconds)).await.is_ok();
            (is_right, directory.connections() - before)
        }
    };
    assert_eq!(asked(0, "alice", "wonderland").await, (true, 1));
    assert_eq!(asked(59, "alice", "wonderland").await, (true, 0));
    // Neither another password nor another cut between name and password is the same.
    assert_eq!(asked(59, "alice", "wonderlan").await, (false, 1));
    assert_eq!(asked(59, "alic", "ewonderland").await, (false, 1));
    assert_eq!(asked(61, "alice", "wonderland").await, (true, 1));
    assert_eq!(asked(100, "alice", "wrong").await, (false, 1));
    assert_eq!(asked(109, "alice", "wrong").await, (false, 0));
    assert_eq!(asked(111, "alice", "wrong").await, (false, 1));
    // A right password is not kept waiting by wrong ones.
    assert_eq!(asked(111, "alice", "wonderland").await, (true, 0));
    // A clock that is set back keeps nothing for ever.
    assert_eq!(asked(90_000, "bob", "builder").await, (true, 1));
    assert_eq!(asked(0, "bob", "builder").await, (true, 1));
}

#[tokio::test]
async fn memory_is_bounded() {
    let directory = Pretender::start();
    let ldap = Ldap::new(settings(&directory)).unwrap();
    let verdict = Err(BadCredential::default());
    for number in 0..=limits::REMEMBERED_PASSWORDS {
        let key = ldap.key_of(&number.to_string(), &Secret::new("x".to_owned()));
        ldap.remember(key, &verdict, start());
    }
    assert!(ldap.memory().len() <= limits::REMEMBERED_PASSWORDS);
}

#[tokio::test]
async fn a_directory_that_cannot_answer_proves_nobody_and_is_left_alone_for_a_moment() {
    for mood in [
        Mood::Gone,
        Mood::Garbage(b"HTTP/1.1 400 Bad Request\r\n\r\n"),
        Mood::Garbage(b"\x30\x84\x7f\xff\xff\xff\x02\x01\x01"),
        Mood::Garbage(b"\x30\x80\x02\x01\x01\x61\x07\x0a\x01\x00\x04\x00\x04\x00\x00\x00"),
        Mood::Garbage(b"\x30\x03\x02\x01\x01"),
        // Success, in answer to another request, and to one of another kind.
        Mood::Garbage(b"\x30\x0c\x02\x01\x63\x61\x07\x0a\x01\x00\x04\x00\x04\x00"),
        Mood::Garbage(b"\x30\x0c\x02\x01\x01\x65\x07\x0a\x01\x00\x04\x00\x04\x00"),
        // The notice of disconnection.
        Mood::Garbage(b"\x30\x0c\x02\x01\x00\x78\x07\x0a\x01\x34\x04\x00\x04\x00"),
        Mood::BindResult(51),
        Mood::BindResult(49),
        Mood::SearchResult(10),
        Mood::SearchResult(32),
        Mood::SearchResult(51),
    ] {
        let directory = Pretender::start();
        let ldap = Ldap::new(settings(&directory)).unwrap();
        directory.be(mood);
        let password = Secret::new("wonderland".to_owned());
        let credential = Credential::Basic { user: "alice".to_owned(), password };
        let Verdict::Refused(bad) = verdict(&ldap, &credential, start()).await else {
            panic!("{mood:?}")
        };
        let told = "the credential cannot be checked now; try again in a minute";
        assert_eq!(bad.to_string(), told, "{mood:?}");
        assert_ne!(bad.noted(), told, "{mood:?}");
        directory.be(Mood::Honest);
        judge(&ldap, "alice", "wonderland", after(4)).await.unwrap_err();
        assert_eq!(directory.connections(), 1, "{mood:?}");
        judge(&ldap, "alice", "wonderland", after(6)).await.unwrap();
    }
}

#[tokio::test]
async fn references_to_other_directories_are_not_followed() {
    let elsewhere = Pretender::start();
    let directory = Pretender::start();
    directory.refer_to(elsewhere.port());
    let ldap = Ldap::new(settings(&directory)).unwrap();
    let alice = "ldap:uid=alice,ou=people,dc=x ldap#admins ldap#staff".to_owned();
    assert_eq!(judge(&ldap, "alice", "wonderland", start()).await, Ok(alice));
    assert_eq!(
        judge(&ldap, "mallory", "x", start()).await,
        Err("the directory has no such user".to_owned())
    );
    assert_eq!(elsewhere.connections(), 0);
}

/// The time is the runtime's own: it runs ahead as soon as nobody has anything else to do.
#[tokio::test(start_paused = true)]
async fn a_directory_that_never_answers_is_not_waited_for_long() {
    let directory = Pretender::start();
    directory.be(Mood::Silent);
    let ldap = Ldap::new(settings(&directory)).unwrap();
    let began = tokio::time::Instant::now();
    judge(&ldap, "alice", "wonderland", start()).await.unwrap_err();
    assert_eq!(began.elapsed(), limits::ASKING_TIME);
}

#[tokio::test]
async fn no_password_is_sent_before_tls_has_begun() {
    let directory = Pretender::start();
    for security in [Security::Tls, Security::StartTls] {
        let mut settings = settings(&directory);
        settings.place.security = security;
        let ldap = Ldap::new(settings).unwrap();
        let why = judge(&ldap, "alice", "wonderland", start()).await.unwrap_err();
        assert!(
            why.contains("secure") || why.contains("TLS") || why.contains("connection"),
            "{why}"
        );
    }
    assert_eq!(directory.take_binds(), [""; 0]);
}
