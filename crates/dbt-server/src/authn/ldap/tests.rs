use super::*;
use crate::authn::testing::{after, start, verdict};
use dbt_testkit::directory_service::{DirectoryService, Mood};

fn given(password: &str) -> Password {
    Password::Given(Secret::new(password.to_owned()))
}

fn settings(directory: &DirectoryService) -> Settings {
    Settings {
        place: Place {
            host: "127.0.0.1".to_owned(),
            port: directory.port(),
            security: Security::Plain,
        },
        ca_file: None,
        service: Some(("cn=search,dc=x".to_owned(), given("search"))),
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
    let directory = DirectoryService::start();
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
    let directory = DirectoryService::start();
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
    let directory = DirectoryService::start();
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
    // Also by a directory that goes on and on; and others are asked about at once.
    directory.be(Mood::Boundless);
    let boundless = Ldap::new(settings(&directory)).unwrap();
    let crowd = Err("the directory has several entries for this user".to_owned());
    assert_eq!(judge(&boundless, "crowd", "crowd", start()).await, crowd);
    assert!(judge(&boundless, "alice", "wonderland", start()).await.is_ok());
    directory.be(Mood::Honest);
    let nameless = Err("the entry of the user has no name".to_owned());
    assert_eq!(judge(&ldap, "nameless", "x", start()).await, nameless);
    let locked = judge(&ldap, "locked", "locked", start()).await.unwrap_err();
    assert!(locked.ends_with("sign in: result 53, `locked`"), "{locked}");
}

/// How many questions it takes must not tell who is in the directory.
#[tokio::test]
async fn a_name_that_nobody_has_costs_as_many_questions_as_a_wrong_password() {
    let directory = DirectoryService::start();
    let anonymous = Settings { service: None, ..settings(&directory) };
    for settings in [settings(&directory), anonymous] {
        let ldap = Ldap::new(settings).unwrap();
        let mut asked = Vec::new();
        for user in ["alice", "mallory", "twin", "crowd", "nameless", "*"] {
            directory.take_questions();
            directory.take_binds();
            judge(&ldap, user, "guessed", start()).await.unwrap_err();
            asked.push(directory.take_questions());
            let last = directory.take_binds().pop().unwrap();
            let is_nobody = last.starts_with("cn=nobody-") && last.ends_with(",ou=people,dc=x");
            assert_eq!(is_nobody, user != "alice", "{user}: {last}");
        }
        assert!(asked.iter().all(|count| *count == asked[0]), "{asked:?}");
    }
}

/// A directory that cannot answer says so of everybody.
#[tokio::test]
async fn trouble_at_the_sign_in_of_nobody_is_trouble() {
    let directory = DirectoryService::start();
    let ldap = || Ldap::new(Settings { service: None, ..settings(&directory) }).unwrap();
    directory.be(Mood::BindResult(51));
    for user in ["alice", "mallory"] {
        let said = judge(&ldap(), user, "x", start()).await;
        assert_eq!(said, Err("the directory cannot answer now: result 51".to_owned()), "{user}");
    }
    // Whatever is said to nobody, there is none.
    directory.be(Mood::BindResult(0));
    let said = judge(&ldap(), "mallory", "x", start()).await;
    assert_eq!(said, Err("the directory has no such user".to_owned()));
}

#[tokio::test]
async fn somebody_in_too_many_groups_is_refused_and_nobody_else() {
    for (mood, why) in [
        (Mood::Honest, "is in more than 1000 groups, which is the limit"),
        (Mood::Boundless, "is in more than 1000 groups, which is the limit"),
        (
            Mood::Sparing(500),
            "is in more groups than the 500 that the directory names at most: result 4",
        ),
    ] {
        let directory = DirectoryService::start();
        let ldap = Ldap::new(settings(&directory)).unwrap();
        directory.be(mood);
        let refused = judge(&ldap, "joiner", "joiner", start()).await.unwrap_err();
        assert_eq!(refused, format!("`uid=joiner,ou=people,dc=x` {why}"), "{mood:?}");
        // It is remembered as a refusal; and the directory is asked about others at once.
        assert_eq!(judge(&ldap, "joiner", "joiner", after(1)).await, Err(refused));
        assert_eq!(directory.connections(), 1, "{mood:?}");
        let alice = "ldap:uid=alice,ou=people,dc=x ldap#admins ldap#staff".to_owned();
        assert_eq!(judge(&ldap, "alice", "wonderland", after(1)).await, Ok(alice), "{mood:?}");
    }
    // As many as the limit are not too many.
    let directory = DirectoryService::start();
    let ldap = Ldap::new(settings(&directory)).unwrap();
    let said = judge(&ldap, "thousand", "thousand", start()).await.unwrap();
    assert_eq!(said.matches("ldap#").count(), 1000);
}

#[tokio::test]
async fn verdicts_are_remembered_for_a_minute_and_refusals_for_ten_seconds() {
    let directory = DirectoryService::start();
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
    let directory = DirectoryService::start();
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
        let directory = DirectoryService::start();
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
    let elsewhere = DirectoryService::start();
    let directory = DirectoryService::start();
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
    let directory = DirectoryService::start();
    directory.be(Mood::Silent);
    let ldap = Ldap::new(settings(&directory)).unwrap();
    let began = tokio::time::Instant::now();
    judge(&ldap, "alice", "wonderland", start()).await.unwrap_err();
    assert_eq!(began.elapsed(), limits::ASKING_TIME);
}

#[tokio::test]
async fn no_password_is_sent_before_tls_has_begun() {
    let directory = DirectoryService::start();
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

/// As it is done with a mounted secret: a link is made to lead elsewhere.
#[tokio::test]
async fn the_password_that_searches_is_read_again_when_its_file_changes() {
    use std::os::unix::fs::symlink;

    let directory = DirectoryService::start();
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("password");
    for (name, text) in [("old", "old"), ("empty", " \n"), ("new", "search\n")] {
        std::fs::write(place.path().join(name), text).unwrap();
    }
    let lead_to = |name: &str| {
        let _none_at_first = std::fs::remove_file(&file);
        symlink(name, &file).unwrap();
    };
    lead_to("old");
    let from_file = ("cn=search,dc=x".to_owned(), Password::File(file.clone()));
    let settings = Settings { service: Some(from_file), ..settings(&directory) };
    let ldap = Ldap::new(settings.clone()).unwrap();
    let refusal = judge(&ldap, "alice", "wonderland", start()).await.unwrap_err();
    assert!(refusal.contains("does not accept `ldap.bindDn`"), "{refusal}");
    lead_to("new");
    judge(&ldap, "alice", "wonderland", after(10)).await.unwrap();
    // What cannot be one leaves what was there, and stops a start.
    lead_to("empty");
    judge(&ldap, "bob", "builder", after(20)).await.unwrap();
    let refused = Ldap::new(settings).err().unwrap().to_string();
    assert!(refused.ends_with("the password in it is empty or holds a NUL"), "{refused}");
}
