//! When a provider is asked, when it is not, and what counts meanwhile.

use super::*;

const AWAY: &str = "are not known";

#[tokio::test]
async fn a_provider_is_asked_once_and_only_when_there_is_a_token() {
    let world = World::new();
    assert_eq!(world.idp.take_requests(), [""; 0]);
    let token = world.key.token(&world.claims());
    let all = (0..20).map(|_| judge(&world.oidc, &token, start()));
    for outcome in join_all(all).await {
        assert!(outcome.is_ok());
    }
    assert_eq!(world.idp.take_requests(), [DISCOVERY, KEYS]);
    for seconds in [1, 600] {
        judge(&world.oidc, &token, after(seconds)).await.unwrap();
    }
    // Expired, for somebody else, and of no algorithm: nobody is asked about such.
    let fresh = World::new();
    for others in [json!({"exp": 1}), json!({"aud": "other"}), json!({"events": {}})] {
        fresh.judge(&others).await.unwrap_err();
    }
    assert_eq!((world.idp.take_requests().len(), fresh.idp.take_requests().len()), (0, 0));
}

/// Waits for several at once.
async fn join_all<T>(futures: impl Iterator<Item = impl Future<Output = T>>) -> Vec<T> {
    let mut waiting: Vec<_> = futures.map(Box::pin).collect();
    let mut done = Vec::new();
    std::future::poll_fn(move |context| {
        waiting.retain_mut(|future| match future.as_mut().poll(context) {
            std::task::Poll::Ready(outcome) => {
                done.push(outcome);
                false
            }
            std::task::Poll::Pending => true,
        });
        if waiting.is_empty() {
            std::task::Poll::Ready(std::mem::take(&mut done))
        } else {
            std::task::Poll::Pending
        }
    })
    .await
}

fn at(world: &World, key: &SigningKey, seconds: u64) -> String {
    let times = json!({"iat": 1_800_000_000 + seconds, "exp": 1_800_000_600 + seconds});
    key.token(&world.claims_with(&times))
}

#[tokio::test]
async fn a_new_key_counts_at_once_and_strangers_cannot_make_us_ask() {
    let world = World::new();
    judge(&world.oidc, &at(&world, &world.key, 0), after(0)).await.unwrap();
    world.idp.take_requests();
    let second = SigningKey::ed25519("second");
    world.idp.publish(&[&world.key, &second]);
    let token = at(&world, &second, 1);
    for outcome in join_all((0..5).map(|_| judge(&world.oidc, &token, after(1)))).await {
        assert!(outcome.is_ok());
    }
    assert_eq!(world.idp.take_requests(), [DISCOVERY, KEYS], "five tokens, one question");
    judge(&world.oidc, &at(&world, &world.key, 2), after(2)).await.unwrap();
    // Keys that nobody has, over and over.
    for number in 0..50 {
        let unknown = SigningKey::ed25519(&format!("unknown-{number}"));
        let refusal = judge(&world.oidc, &at(&world, &unknown, 3), after(3)).await.unwrap_err();
        let named =
            format!("no key of the provider signed it; it names the key `unknown-{number}`");
        assert_eq!(refusal, named);
    }
    assert_eq!(world.idp.take_requests(), [""; 0]);
    let third = SigningKey::ed25519("third");
    world.idp.publish(&[&third]);
    judge(&world.oidc, &at(&world, &third, 60), after(60)).await.unwrap_err();
    judge(&world.oidc, &at(&world, &third, 61), after(61)).await.unwrap();
    judge(&world.oidc, &at(&world, &world.key, 61), after(61)).await.unwrap_err();
    assert_eq!(world.idp.take_requests(), [DISCOVERY, KEYS]);
}

#[tokio::test]
async fn a_wrong_signature_of_a_known_key_asks_nobody() {
    let world = World::new();
    judge(&world.oidc, &at(&world, &world.key, 0), after(0)).await.unwrap();
    world.idp.take_requests();
    let stranger = SigningKey::ed25519("first");
    let refusal = judge(&world.oidc, &at(&world, &stranger, 0), after(0)).await.unwrap_err();
    assert_eq!(refusal, "the signature is not that of the key it names");
    assert_eq!(world.idp.take_requests(), [""; 0]);
}

#[tokio::test]
async fn a_key_that_was_taken_back_counts_no_longer_than_the_cache() {
    let world = World::new();
    judge(&world.oidc, &at(&world, &world.key, 0), after(0)).await.unwrap();
    let second = SigningKey::ed25519("second");
    world.idp.publish(&[&second]);
    judge(&world.oidc, &at(&world, &world.key, 3599), after(3599)).await.unwrap();
    judge(&world.oidc, &at(&world, &world.key, 3600), after(3600)).await.unwrap_err();
    judge(&world.oidc, &at(&world, &second, 3600), after(3600)).await.unwrap();
}

#[tokio::test]
async fn the_last_keys_count_for_a_day_while_the_provider_is_away() {
    let world = World::new();
    judge(&world.oidc, &at(&world, &world.key, 0), after(0)).await.unwrap();
    world.idp.take_requests();
    world.idp.be_away(true);
    let day = 3600 + 24 * 3600;
    for seconds in [3600, 3601, 3609, 40_000, day - 1] {
        judge(&world.oidc, &at(&world, &world.key, seconds), after(seconds)).await.unwrap();
    }
    assert_eq!(world.idp.take_requests().len(), 3, "at 3600, 40000 and the last");
    let refusal = judge(&world.oidc, &at(&world, &world.key, day), after(day)).await.unwrap_err();
    assert!(refusal.contains(AWAY), "{refusal}");
    world.idp.be_away(false);
    let later = day + 60;
    judge(&world.oidc, &at(&world, &world.key, later), after(later)).await.unwrap();
}

#[tokio::test]
async fn a_provider_that_is_down_at_the_start_is_asked_less_and_less_until_it_answers() {
    let world = World::new();
    world.idp.be_away(true);
    // Pauses of 10, 20, 40 and then 60 seconds.
    let mut asked = Vec::new();
    for seconds in 0..200 {
        let refusal = judge(&world.oidc, &at(&world, &world.key, seconds), after(seconds)).await;
        assert!(refusal.unwrap_err().contains(AWAY));
        if !world.idp.take_requests().is_empty() {
            asked.push(seconds);
        }
    }
    assert_eq!(asked, [0, 11, 32, 73, 134, 195]);
    world.idp.be_away(false);
    judge(&world.oidc, &at(&world, &world.key, 256), after(256)).await.unwrap();
    // What a key that is not there costs is no failure of the provider.
    world.idp.be_away(true);
    judge(&world.oidc, &at(&world, &world.key, 257), after(257)).await.unwrap();
}

#[tokio::test]
async fn a_clock_that_is_set_back_stops_nothing() {
    let world = World::new();
    judge(&world.oidc, &at(&world, &world.key, 90_000), after(90_000)).await.unwrap();
    judge(&world.oidc, &at(&world, &world.key, 0), after(0)).await.unwrap();
    let down = World::new();
    down.idp.be_away(true);
    judge(&down.oidc, &at(&down, &down.key, 90_000), after(90_000)).await.unwrap_err();
    down.idp.be_away(false);
    judge(&down.oidc, &at(&down, &down.key, 0), after(0)).await.unwrap();
}

#[tokio::test]
async fn no_answer_of_a_hostile_provider_leads_anywhere_or_is_believed() {
    let target = IdentityProvider::start(&[]);
    let elsewhere = format!("{}{KEYS}", target.url());
    let redirect = |to: &str| Answer::text(302, "").with("Location", to);
    let json = |text: &str| Answer::of(200, "application/json", text.as_bytes().to_vec());
    let long = vec![b' '; limits::ANSWER_BYTES + 1];
    let discovery = |world: &World, issuer: &str, keys: &str| {
        let issuer = issuer.replace("SELF", &world.idp.url());
        json(&json!({"issuer": issuer, "jwks_uri": keys}).to_string())
    };
    let none = Answer::text(200, "");
    for (path, answer) in [
        (DISCOVERY, redirect(&elsewhere)),
        (DISCOVERY, redirect("http://169.254.169.254/latest/meta-data")),
        (DISCOVERY, redirect("file:///etc/passwd")),
        (DISCOVERY, Answer::text(404, "not found")),
        (DISCOVERY, Answer::text(500, "")),
        (DISCOVERY, none.clone()),
        (DISCOVERY, json("<html>")),
        (DISCOVERY, json("[]")),
        (DISCOVERY, json(r#"{"issuer":"a","issuer":"b"}"#)),
        (DISCOVERY, Answer::of(200, "application/json", long.clone())),
        (KEYS, redirect(&elsewhere)),
        (KEYS, none),
        (KEYS, json(r#"{"keys":[]}"#)),
        (KEYS, json(r#"{"keys":[{"kty":"oct","k":"AAAA"}]}"#)),
        (KEYS, Answer::of(200, "application/json", long)),
    ] {
        let world = World::new();
        world.idp.answer(path, answer.clone());
        let refusal = world.judge(&json!({})).await.unwrap_err();
        assert!(refusal.contains(AWAY), "{answer:?}: {refusal}");
    }
    for (issuer, keys) in [
        ("https://other.example", elsewhere.as_str()),
        ("SELF/", &elsewhere),
        ("", &elsewhere),
        ("SELF", "http://169.254.169.254/keys"),
        ("SELF", "http://id.example.com/keys"),
        ("SELF", "file:///etc/passwd"),
        ("SELF", "/keys"),
        ("SELF", ""),
    ] {
        let world = World::new();
        world.idp.answer(DISCOVERY, discovery(&world, issuer, keys));
        let refusal = world.judge(&json!({})).await.unwrap_err();
        assert!(refusal.contains(AWAY), "{issuer} {keys}: {refusal}");
    }
    assert_eq!(target.take_requests(), [""; 0]);
}

/// The time is the runtime's own: it runs ahead as soon as nobody has anything else to do.
#[tokio::test(start_paused = true)]
async fn a_provider_that_never_answers_is_not_waited_for_long() {
    let world = World::new();
    world.idp.be_silent();
    let began = tokio::time::Instant::now();
    let refusal = world.judge(&json!({})).await.unwrap_err();
    assert!(refusal.contains(AWAY), "{refusal}");
    assert_eq!(began.elapsed().as_secs(), limits::ASKING_TIME.as_secs());
}

#[tokio::test]
async fn half_an_answer_of_a_provider_is_none() {
    let world = World::new();
    world.idp.break_off(true);
    let refusal = world.judge(&json!({})).await.unwrap_err();
    assert!(refusal.contains(AWAY), "{refusal}");
    assert_eq!(world.idp.take_requests(), [DISCOVERY], "half a document leads nowhere");
    world.idp.break_off(false);
    judge(&world.oidc, &at(&world, &world.key, 11), after(11)).await.unwrap();
    // And half of new keys takes none of the old ones away.
    world.idp.break_off(true);
    judge(&world.oidc, &at(&world, &world.key, 4000), after(4000)).await.unwrap();
}

#[tokio::test]
async fn keys_and_documents_can_be_where_the_configuration_says() {
    let key = SigningKey::ed25519("first");
    let idp = IdentityProvider::start(&[&key]);
    idp.call_itself("https://public.example.com");
    let claims = json!({
        "iss": "https://public.example.com", "sub": "alice", "aud": AUDIENCE,
        "iat": 1_800_000_000, "exp": 1_800_000_600,
    });
    let keys = format!("{}{KEYS}", idp.url());
    idp.say("/inside", &json!({"issuer": "https://public.example.com", "jwks_uri": keys}));
    let by_document = believing(&idp, |settings| {
        settings.issuer = "https://public.example.com".to_owned();
        settings.discovery = Some(format!("{}/inside", idp.url()).parse().unwrap());
    });
    judge(&by_document, &key.token(&claims), start()).await.unwrap();
    assert_eq!(idp.take_requests(), ["/inside", KEYS]);
    let by_keys = believing(&idp, |settings| {
        settings.issuer = "https://public.example.com".to_owned();
        settings.discovery = None;
        settings.keys_at = Some(keys.parse().unwrap());
    });
    judge(&by_keys, &key.token(&claims), start()).await.unwrap();
    assert_eq!(idp.take_requests(), [KEYS]);
}

/// What happens to the keys of a provider, who signs then, and whether that counts.
struct Change<'a> {
    what: &'a str,
    /// What is published from the first second on.
    published: Value,
    signer: &'a SigningKey,
    /// Without a `kid`.
    is_nameless: bool,
    seconds: u64,
    counts: bool,
}

#[tokio::test]
async fn each_change_of_keys_counts_when_it_must_and_nothing_else_does() {
    let (first, second) = (SigningKey::ed25519("first"), SigningKey::p256("second"));
    let another_first = SigningKey::ed25519("first");
    let set = |keys: &[&SigningKey]| json!({"keys": keys.iter().map(|key| key.public()).collect::<Vec<_>>()});
    let without_names = |keys: &[&SigningKey]| {
        let mut set = set(keys);
        for key in set["keys"].as_array_mut().unwrap() {
            key.as_object_mut().unwrap().remove("kid");
        }
        set
    };
    let for_encryption = |key: &SigningKey| {
        let mut set = set(&[key]);
        set["keys"][0]["use"] = "enc".into();
        set
    };
    let (both, one) = (set(&[&first, &second]), set(&[&second]));
    let change = |what, published: &Value, signer, seconds, counts| Change {
        what,
        published: published.clone(),
        signer,
        is_nameless: false,
        seconds,
        counts,
    };
    let nameless = |change| Change { is_nameless: true, ..change };
    let day = 24 * 3600;
    for change in [
        change("nothing", &set(&[&first]), &first, 5000, true),
        change("another key beside it", &both, &second, 1, true),
        change("another key beside it, and the old one signs", &both, &first, 5000, true),
        change("another key in its place", &one, &second, 1, true),
        change("another key in its place, and the old one signs", &one, &first, 3599, true),
        change("the same, when the keys are asked for again", &one, &first, 3600, false),
        change("another key of its name", &set(&[&another_first]), &another_first, 1, false),
        change(
            "the same, when they are asked for",
            &set(&[&another_first]),
            &another_first,
            3600,
            true,
        ),
        change("the same, and the old one signs", &set(&[&another_first]), &first, 3600, false),
        change("two keys of one name", &set(&[&first, &another_first]), &another_first, 3600, true),
        change("keys without names", &without_names(&[&second]), &second, 1, true),
        change("the same, and the old one signs", &without_names(&[&second]), &first, 3600, false),
        change("a key that is for something else", &for_encryption(&second), &second, 1, false),
        // A set without keys is an accident: the last ones count, for a day.
        change("no keys", &json!({"keys": []}), &first, 3600, true),
        change("no keys, for a day", &json!({"keys": []}), &first, 3600 + day, false),
        change("no set at all", &json!([]), &first, 3600, true),
        nameless(change("a token that names none of two", &both, &second, 1, true)),
        nameless(change("a token that names none, of an old key", &one, &first, 3600, false)),
    ] {
        let idp = IdentityProvider::start(&[&first]);
        let oidc = believing(&idp, |_settings| ());
        let token = |key: &SigningKey, seconds: u64| {
            let claims = json!({
                "iss": idp.url(), "sub": "alice", "aud": AUDIENCE,
                "iat": 1_800_000_000 + seconds, "exp": 1_800_000_600 + seconds,
            });
            let header = json!({"alg": key.algorithm()});
            if change.is_nameless { key.token_with(&header, &claims) } else { key.token(&claims) }
        };
        judge(&oidc, &token(&first, 0), after(0)).await.unwrap();
        idp.say(KEYS, &change.published);
        let judged =
            judge(&oidc, &token(change.signer, change.seconds), after(change.seconds)).await;
        let Change { what, is_nameless, seconds, counts, .. } = change;
        assert_eq!(judged.is_ok(), counts, "{what}, {seconds} s ({is_nameless}): {judged:?}");
    }
}

#[tokio::test]
async fn keys_are_asked_for_again_as_often_as_the_settings_say() {
    for fresh in [60, 300, 86_400] {
        let key = SigningKey::ed25519("first");
        let idp = IdentityProvider::start(&[&key]);
        let oidc = believing(&idp, |settings| settings.keys_fresh = Duration::from_secs(fresh));
        let token = |seconds: u64| {
            key.token(&json!({
                "iss": idp.url(), "sub": "alice", "aud": AUDIENCE,
                "iat": 1_800_000_000 + seconds, "exp": 1_800_000_600 + seconds,
            }))
        };
        for (seconds, asked) in [(0, 2), (fresh - 1, 0), (fresh, 2), (2 * fresh - 1, 0)] {
            judge(&oidc, &token(seconds), after(seconds)).await.unwrap();
            assert_eq!(idp.take_requests().len(), asked, "{fresh}: at {seconds}");
        }
        idp.publish(&[&SigningKey::ed25519("second")]);
        judge(&oidc, &token(2 * fresh), after(2 * fresh)).await.unwrap_err();
    }
}
