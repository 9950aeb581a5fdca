//! Every token that is accepted, and every one that is not.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;

use super::*;

#[tokio::test]
async fn each_algorithm_counts_with_its_own_kind_of_key_and_with_no_other() {
    let keys = [
        SigningKey::rsa("rsa"),
        SigningKey::p256("p256"),
        SigningKey::p384("p384"),
        SigningKey::ed25519("ed25519"),
    ];
    let published: Vec<&SigningKey> = keys.iter().collect();
    let idp = IdentityProvider::start(&published);
    let oidc = believing(&idp, |_settings| ());
    let claims = json!({
        "iss": idp.url(), "sub": "alice", "aud": AUDIENCE,
        "iat": 1_800_000_000, "exp": 1_800_000_600,
    });
    let rsa = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"];
    let table: [(&str, &[&str]); 4] =
        [("rsa", &rsa), ("p256", &["ES256"]), ("p384", &["ES384"]), ("ed25519", &["EdDSA"])];
    let all = table.iter().flat_map(|(_key, algorithms)| *algorithms);
    for algorithm in all {
        for (key, (id, own)) in keys.iter().zip(table) {
            let header = json!({"alg": algorithm, "kid": id});
            let named = judge(&oidc, &key.token_with(&header, &claims), start()).await;
            let nameless = json!({"alg": algorithm});
            let unnamed = judge(&oidc, &key.token_with(&nameless, &claims), start()).await;
            let right = own.contains(algorithm);
            assert_eq!((named.is_ok(), unnamed.is_ok()), (right, right), "{algorithm} {id}");
        }
    }
    // The signature of one key does not count under the name of another.
    let header = json!({"alg": "RS256", "kid": "rsa"});
    for key in &keys[1..] {
        let refusal = judge(&oidc, &key.token_with(&header, &claims), start()).await.unwrap_err();
        assert_eq!(refusal, "the signature is not that of the key it names");
    }
    // Nor does another padding or digest than the header says.
    for (said, meant) in [("RS256", "PS256"), ("PS256", "RS256"), ("RS512", "RS256")] {
        let token = keys[0].token_with(&json!({"alg": meant, "kid": "rsa"}), &claims);
        let (signed, signature) = token.rsplit_once('.').unwrap();
        let claims = signed.split_once('.').unwrap().1;
        let header = URL_SAFE_NO_PAD.encode(json!({"alg": said, "kid": "rsa"}).to_string());
        let token = format!("{header}.{claims}.{signature}");
        assert!(judge(&oidc, &token, start()).await.is_err(), "{said} {meant}");
    }
}

/// Returns a token that anybody can make: the public key taken for a shared secret.
fn mac(header: &Value, claims: &Value, secret: &[u8]) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", part(header), part(claims));
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), signed.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(tag.as_ref()))
}

#[tokio::test]
async fn forged_tokens_are_refused_whatever_their_header_says() {
    let world = World::new();
    let claims = world.claims();
    let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
    let attacker = SigningKey::ed25519("first");
    let lure = IdentityProvider::start(&[&attacker]);
    let place = format!("{}{KEYS}", lure.url());
    let body = part(&claims.to_string());
    let unsigned = |alg: &str| format!("{}.{body}.", part(&json!({"alg": alg}).to_string()));
    let public = world.key.public();
    let raw = URL_SAFE_NO_PAD.decode(public["x"].as_str().unwrap()).unwrap();
    let header = json!({"alg": "HS256", "kid": "first"});
    let mut forged = vec![
        unsigned("none"),
        unsigned("None"),
        unsigned("EdDSA"),
        mac(&header, &claims, public.to_string().as_bytes()),
        mac(&header, &claims, public["x"].as_str().unwrap().as_bytes()),
        mac(&header, &claims, &raw),
        mac(&header, &claims, b""),
        mac(&json!({"alg": "EdDSA", "kid": "first"}), &claims, &raw),
    ];
    for header in [
        json!({"alg": "EdDSA"}),
        json!({"alg": "EdDSA", "kid": "first"}),
        json!({"alg": "EdDSA", "jwk": attacker.public()}),
        json!({"alg": "EdDSA", "kid": "first", "jwk": attacker.public()}),
        json!({"alg": "EdDSA", "jku": place}),
        json!({"alg": "EdDSA", "kid": "first", "jku": place, "x5u": place}),
        json!({"alg": "EdDSA", "kid": place}),
        json!({"alg": "EdDSA", "kid": "../../../../dev/null"}),
        json!({"alg": "EdDSA", "kid": "' UNION SELECT 'x"}),
        json!({"alg": "EdDSA", "kid": 7}),
        json!({"alg": "EdDSA", "kid": ["first"]}),
        json!({"alg": "EdDSA", "kid": ""}),
        json!({"alg": "EdDSA", "x5c": ["MIIB"]}),
    ] {
        forged.push(attacker.token_with(&header, &claims));
    }
    for member in ["crit", "zip", "enc", "b64"] {
        let mut header = json!({"alg": "EdDSA", "kid": "first"});
        header[member] = json!(["exp"]);
        forged.push(world.key.token_with(&header, &claims));
    }
    for typ in ["logout+jwt", "dpop+jwt", "secevent+jwt", "JWE", ""] {
        let header = json!({"alg": "EdDSA", "kid": "first", "typ": typ});
        forged.push(world.key.token_with(&header, &claims));
    }
    // The honest token with another body, a shorter signature, and one of nothing but zeros.
    let honest = world.key.token(&claims);
    let (signed, signature) = honest.rsplit_once('.').unwrap();
    let other = part(&world.claims_with(&json!({"sub": "root"})).to_string());
    let (head, _body) = signed.split_once('.').unwrap();
    forged.push(format!("{head}.{other}.{signature}"));
    forged.push(format!("{signed}.{}", &signature[..signature.len() - 4]));
    forged.push(format!("{signed}.{}", URL_SAFE_NO_PAD.encode([0; 64])));
    for token in &forged {
        assert!(judge(&world.oidc, token, start()).await.is_err(), "{token}");
    }
    // Five parts are encrypted, and nothing is unpacked.
    let encrypted = format!("{}.a.b.c.d", part(r#"{"alg":"dir","enc":"A128GCM"}"#));
    assert_eq!(judge(&world.oidc, &encrypted, start()).await, Err("(not mine)".to_owned()));
    assert_eq!(lure.take_requests(), [""; 0], "no token sends us anywhere");
    assert!(judge(&world.oidc, &honest, start()).await.is_ok());
}

#[tokio::test]
async fn times_are_checked_with_a_minute_to_spare() {
    let world = World::new();
    for (others, now) in [
        (json!({}), after(0)),
        (json!({}), after(659)),
        (json!({"nbf": 1_800_000_060}), after(0)),
        (json!({"iat": 1_800_000_060}), after(0)),
        (json!({"exp": 1_800_000_600.5}), after(0)),
        (json!({"exp": 1_800_086_400}), after(0)),
    ] {
        assert!(world.judge_at(&others, now).await.is_ok(), "{others}");
    }
    for (others, now, why) in [
        (json!({}), after(660), "it expired 60 s ago"),
        (json!({"exp": "(none)"}), after(0), "it has no `exp`"),
        (json!({"exp": null}), after(0), "its `exp` is no time"),
        (json!({"exp": "1800000600"}), after(0), "its `exp` is no time"),
        (json!({"exp": [1_800_000_600]}), after(0), "its `exp` is no time"),
        (json!({"exp": true}), after(0), "its `exp` is no time"),
        (json!({"exp": 1e308}), after(0), "its `exp` is no time"),
        (json!({"exp": -1}), after(0), "its `exp` is no time"),
        (json!({"exp": u64::MAX}), after(0), "its `exp` is no time"),
        (json!({"exp": 0}), after(0), "it expired 1800000000 s ago"),
        (json!({"iat": "(none)"}), after(0), "it has no `iat`"),
        (json!({"iat": "x"}), after(0), "its `iat` is no time"),
        (
            json!({"iat": 1_800_000_061}),
            after(0),
            "its `iat` is 61 s in the future; are the clocks right?",
        ),
        (
            json!({"nbf": 1_800_000_061}),
            after(0),
            "its `nbf` is 61 s in the future; are the clocks right?",
        ),
        (json!({"nbf": null}), after(0), "its `nbf` is no time"),
        (json!({"exp": 1_800_086_401}), after(0), "it is valid for more than 24 hours"),
        (json!({"iat": 0}), after(0), "it is valid for more than 24 hours"),
    ] {
        assert_eq!(world.judge_at(&others, now).await, Err(why.to_owned()), "{others}");
    }
}

#[tokio::test]
async fn only_tokens_of_the_very_issuer_for_this_server_count() {
    let world = World::with(|settings| settings.audiences.push("dbt-ci".to_owned()));
    for others in [
        json!({"aud": [AUDIENCE]}),
        json!({"aud": "dbt-ci"}),
        json!({"aud": ["other", "dbt-ci"], "azp": "client"}),
        json!({"aud": ["other", "dbt-ci"], "client_id": "client"}),
        json!({"aud": AUDIENCE, "azp": "client"}),
    ] {
        assert!(world.judge(&others).await.is_ok(), "{others}");
    }
    let elsewhere = |aud: &str| format!("it is for `{aud}`, not for this server");
    let nameless = "it is for several audiences and does not say (`azp`) who asked for it";
    for (others, why) in [
        (json!({"aud": "(none)"}), "it has no `aud`".to_owned()),
        (json!({"aud": "https://other.example.com"}), elsewhere("https://other.example.com")),
        (json!({"aud": "https://dbt.example.com/"}), elsewhere("https://dbt.example.com/")),
        (json!({"aud": "HTTPS://dbt.example.com"}), elsewhere("HTTPS://dbt.example.com")),
        (
            json!({"aud": "https://dbt.example.com.evil.example"}),
            elsewhere("https://dbt.example.com.evil.example"),
        ),
        (json!({"aud": ""}), elsewhere("")),
        (json!({"aud": []}), elsewhere("")),
        (json!({"aud": ["a", "b"]}), elsewhere("a`, `b")),
        (json!({"aud": null}), "its `aud` is neither a text nor a list".to_owned()),
        (json!({"aud": 7}), "its `aud` is neither a text nor a list".to_owned()),
        (json!({"aud": {"a": AUDIENCE}}), "its `aud` is neither a text nor a list".to_owned()),
        (json!({"aud": [AUDIENCE, 7]}), "its `aud` holds something else than texts".to_owned()),
        (json!({"aud": [AUDIENCE, "other"]}), nameless.to_owned()),
        (json!({"azp": 7}), "its `azp` or `client_id` is not the name of a client".to_owned()),
        (json!({"azp": ""}), "its `azp` or `client_id` is not the name of a client".to_owned()),
    ] {
        assert_eq!(world.judge(&others).await, Err(why), "{others}");
    }
    let url = world.idp.url();
    for issuer in [
        format!("{url}/"),
        url.replace("http", "HTTP"),
        format!("{url}.evil.example"),
        String::new(),
    ] {
        let not_mine = Err("(not mine)".to_owned());
        assert_eq!(world.judge(&json!({"iss": issuer})).await, not_mine, "{issuer}");
    }
    for issuer in [json!(null), json!("(none)"), json!([url]), json!(7)] {
        assert_eq!(world.judge(&json!({"iss": issuer})).await, Err("(not mine)".to_owned()));
    }
}

#[tokio::test]
async fn a_token_for_something_else_is_none_to_sign_in_with() {
    let world = World::new();
    let event = json!({"events": {"http://schemas.openid.net/event/backchannel-logout": {}}});
    assert_eq!(
        world.judge(&event).await,
        Err("it reports an event and proves no sign-in".to_owned())
    );
    let bound = json!({"cnf": {"jkt": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"}});
    let why = "it counts only together with a key, and that cannot be checked here";
    assert_eq!(world.judge(&bound).await, Err(why.to_owned()));
    // An access token in the form of RFC 9068 is one.
    let header = json!({"alg": "EdDSA", "kid": "first", "typ": "at+JWT"});
    let token = world.key.token_with(&header, &world.claims());
    assert!(judge(&world.oidc, &token, start()).await.is_ok());
}

#[tokio::test]
async fn the_name_is_sub_or_the_claim_that_was_chosen() {
    let name = |claim: Option<&'static str>| {
        World::with(move |settings| settings.username_claim = claim.map(ToOwned::to_owned))
    };
    let verified = json!({"email": "a@example.com", "email_verified": true});
    for (claim, others, id) in [
        (None, json!({}), "alice"),
        (None, verified.clone(), "alice"),
        (Some("sub"), json!({}), "alice"),
        (Some("preferred_username"), json!({"preferred_username": "al"}), "al"),
        (Some("preferred_username"), json!({}), "alice"),
        (Some("https://example.com/name"), json!({"https://example.com/name": "al"}), "al"),
        (Some("kubernetes.io.pod.name"), json!({"kubernetes.io": {"pod": {"name": "al"}}}), "al"),
        (Some("email"), verified, "a@example.com"),
        (
            Some("email"),
            json!({"email": "a@example.com", "email_verified": "true"}),
            "a@example.com",
        ),
        (Some("email"), json!({}), "alice"),
    ] {
        let identity = name(claim).judge(&others).await.unwrap();
        assert_eq!(identity.subject.id, id, "{claim:?} {others}");
    }
    let unverified = "its `email` is not verified (`email_verified`)";
    let long = "x".repeat(256);
    for (claim, others, why) in [
        (Some("email"), json!({"email": "a@example.com"}), unverified),
        (Some("email"), json!({"email": "a@example.com", "email_verified": false}), unverified),
        (Some("email"), json!({"email": "a@example.com", "email_verified": 1}), unverified),
        (Some("name"), json!({"name": ["a"]}), "its `name` is not a name"),
        (Some("name"), json!({"name": ""}), "its `name` is not a name"),
        (Some("name"), json!({"name": null}), "its `name` is not a name"),
        (Some("name"), json!({"name": "al", "sub": "(none)"}), "it has no `sub`"),
        (None, json!({"sub": "(none)"}), "it has no `sub`"),
        (None, json!({"sub": 7}), "its `sub` is not a name"),
        (None, json!({"sub": ["alice"]}), "its `sub` is not a name"),
        (None, json!({"sub": null}), "its `sub` is not a name"),
        (None, json!({"sub": ""}), "its `sub` is not a name"),
        (None, json!({"sub": " alice"}), "its `sub` is not a name"),
        (None, json!({"sub": "ali\nce"}), "its `sub` is not a name"),
        (None, json!({"sub": "ali\u{0}ce"}), "its `sub` is not a name"),
        (None, json!({"sub": long}), "its `sub` is not a name"),
    ] {
        assert_eq!(name(claim).judge(&others).await, Err(why.to_owned()), "{claim:?} {others}");
    }
    let twice = r#"{"sub":"alice","sub":"root"}"#;
    let world = World::new();
    let token = world.key.token_of_texts(r#"{"alg":"EdDSA","kid":"first"}"#, twice);
    assert_eq!(judge(&world.oidc, &token, start()).await, Err("the token is malformed".to_owned()));
}

#[tokio::test]
async fn required_claims_must_all_be_as_written() {
    let world = World::with(|settings| {
        settings.required_claims = [
            ("repository_owner_id", &["7"][..]),
            ("ref.type", &["branch", "tag"]),
            ("email", &["a@b"]),
        ]
        .map(|(claim, values)| (claim.to_owned(), values.iter().map(ToString::to_string).collect()))
        .into();
    });
    let right = json!({
        "repository_owner_id": "7", "ref": {"type": "tag"}, "email": "a@b", "email_verified": true,
    });
    let with = |claim: &str, value: Value| {
        let mut claims = right.clone();
        claims[claim] = value;
        claims
    };
    for others in [
        right.clone(),
        with("repository_owner_id", json!(7)),
        with("repository_owner_id", json!(["6", "7"])),
        with("ref", json!({"type": "branch"})),
    ] {
        assert!(world.judge(&others).await.is_ok(), "{others}");
    }
    for (others, why) in [
        (
            with("repository_owner_id", json!("70")),
            "its `repository_owner_id` is \"70\", which is none that is required",
        ),
        (
            with("repository_owner_id", json!("(none)")),
            "it has no `repository_owner_id`, which is required",
        ),
        (
            with("repository_owner_id", json!(null)),
            "its `repository_owner_id` is null, which is none that is required",
        ),
        (
            with("repository_owner_id", json!({"7": "7"})),
            "its `repository_owner_id` is {\"7\":\"7\"}, which is none that is required",
        ),
        (
            with("repository_owner_id", json!([])),
            "its `repository_owner_id` is [], which is none that is required",
        ),
        (
            with("ref", json!({"type": "Tag"})),
            "its `ref.type` is \"Tag\", which is none that is required",
        ),
        (with("ref", json!("tag")), "it has no `ref.type`, which is required"),
        (with("email_verified", json!(false)), "its `email` is not verified (`email_verified`)"),
    ] {
        assert_eq!(world.judge(&others).await, Err(why.to_owned()), "{others}");
    }
}

fn names(identity: &Identity) -> Vec<&str> {
    identity.groups.iter().map(|group| group.name.as_str()).collect()
}

#[tokio::test]
async fn groups_are_found_flat_nested_and_namespaced() {
    for (claim, others, expected) in [
        ("groups", json!({"groups": ["a", "/b"]}), &["a", "/b"][..]),
        ("groups", json!({"groups": "a"}), &["a"]),
        ("groups", json!({"groups": ["a", 7, null, "", "x\ny", {"n": "b"}]}), &["a"]),
        ("groups", json!({"groups": {"a": true}}), &[]),
        ("groups", json!({"groups": null}), &[]),
        ("groups", json!({}), &[]),
        ("realm_access.roles", json!({"realm_access": {"roles": ["a"]}}), &["a"]),
        (
            "realm_access.roles",
            json!({"realm_access.roles": ["b"], "realm_access": {"roles": ["a"]}}),
            &["b"],
        ),
        ("https://example.com/groups", json!({"https://example.com/groups": ["a"]}), &["a"]),
        (
            "resource_access.my.app.roles",
            json!({"resource_access": {"my.app": {"roles": ["a"]}}}),
            &["a"],
        ),
        ("a.b", json!({"a": "b"}), &[]),
    ] {
        let world = World::with(|settings| settings.groups_claim = claim.to_owned());
        let identity = world.judge(&others).await.unwrap();
        assert_eq!(names(&identity), expected, "{claim} {others}");
        assert!(identity.groups.iter().all(|group| group.issuer == world.idp.url()));
    }
}

#[tokio::test]
async fn allowed_groups_keep_out_everybody_else_and_say_why_groups_are_missing() {
    let world = World::with(|settings| {
        settings.allowed_groups = vec!["admins".to_owned(), "/teams/ops".to_owned()];
    });
    for groups in
        [json!(["admins"]), json!(["x", "/admins"]), json!(["teams/ops"]), json!("admins")]
    {
        assert!(world.judge(&json!({"groups": groups})).await.is_ok(), "{groups}");
    }
    let none = |count| format!("none of its {count} groups in `groups` is allowed");
    for (others, why) in [
        (json!({}), none(0)),
        (json!({"groups": []}), none(0)),
        (json!({"groups": ["Admins", "admins2", "//admins", "ops"]}), none(4)),
        (json!({"roles": ["admins"]}), none(0)),
        (json!({"_claim_names": {"groups": "src1"}}), claims::OVERAGE.to_owned()),
        (json!({"hasgroups": true}), claims::OVERAGE.to_owned()),
        (json!({"hasgroups": true, "groups": ["x"]}), none(1)),
    ] {
        assert_eq!(world.judge(&others).await, Err(why), "{others}");
    }
}

#[tokio::test]
async fn whatever_a_provider_for_everybody_vouches_for_gets_no_rights_that_name_nobody() {
    let world = World::with(|settings| settings.is_for_all = true);
    assert!(!world.judge(&json!({})).await.unwrap().default_rights);
}

#[tokio::test]
async fn any_issuer_counts_only_where_the_configuration_says_so() {
    let world = World::with(|settings| settings.any_issuer = true);
    let identity = world.judge(&json!({"iss": "https://elsewhere.example"})).await.unwrap();
    assert_eq!(identity.subject.issuer, Some(world.idp.url()), "it is never the token's own word");
    let stranger = SigningKey::ed25519("first");
    let token = stranger.token(&world.claims());
    assert!(judge(&world.oidc, &token, start()).await.is_err());
}

#[tokio::test]
async fn algorithms_that_are_not_listed_count_in_no_spelling() {
    let world = World::new();
    for name in [
        "none", "None", "NONE", "HS256", "HS384", "HS512", "ES512", "ES256K", "RS1", "rs256",
        "eddsa", "RSA1_5", "dir", "", "EdDSA ", "SSH", "A128KW",
    ] {
        let token = world.key.token_with(&json!({"alg": name, "kid": "first"}), &world.claims());
        let refused = Err("the token's algorithm is not accepted".to_owned());
        assert_eq!(judge(&world.oidc, &token, start()).await, refused, "{name}");
    }
    for header in
        [json!({}), json!({"alg": null}), json!({"alg": ["EdDSA"]}), json!({"ALG": "EdDSA"})]
    {
        let token = world.key.token_with(&header, &world.claims());
        assert!(judge(&world.oidc, &token, start()).await.is_err(), "{header}");
    }
    assert_eq!(world.idp.take_requests(), [""; 0]);
}

#[tokio::test]
async fn a_key_counts_for_no_other_algorithm_than_its_set_says() {
    let algorithms = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"];
    let key = SigningKey::rsa("rsa");
    let idp = IdentityProvider::start(&[&key]);
    let claims = json!({
        "iss": idp.url(), "sub": "alice", "aud": AUDIENCE,
        "iat": 1_800_000_000, "exp": 1_800_000_600,
    });
    for only in algorithms {
        let mut published = key.public();
        published["alg"] = only.into();
        idp.say(KEYS, &json!({"keys": [published]}));
        let oidc = believing(&idp, |_settings| ());
        for algorithm in algorithms {
            for header in [json!({"alg": algorithm, "kid": "rsa"}), json!({"alg": algorithm})] {
                let judged = judge(&oidc, &key.token_with(&header, &claims), start()).await;
                assert_eq!(judged.is_ok(), algorithm == only, "{only}: {header}");
            }
        }
    }
}
