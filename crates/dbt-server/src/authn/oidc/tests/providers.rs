//! Tokens as each provider of docs/providers writes them: those that its page is about, and those that
//! it makes for others.

use super::*;

/// What a token proves: a name and groups; or why it proves nothing.
type Expected = Result<(&'static str, &'static [&'static str]), &'static str>;

/// Judges tokens of a provider that is believed as its page says.
async fn check(believed: fn(&mut Settings), rows: &[(&str, Value, Expected)]) {
    let world = World::with(believed);
    for (token, claims, expected) in rows {
        let judged = world.judge(claims).await;
        let names = |identity: Identity| {
            let groups = identity.groups.into_iter().map(|group| group.name);
            (identity.subject.id, groups.collect::<Vec<_>>())
        };
        let groups = |groups: &[&str]| groups.iter().map(ToString::to_string).collect();
        let expected = expected.map(|(id, names)| (id.to_owned(), groups(names)));
        assert_eq!(judged.map(names), expected.map_err(ToOwned::to_owned), "{token}");
    }
}

fn for_client(settings: &mut Settings, id: &str) {
    settings.audiences = vec![id.to_owned()];
}

#[tokio::test]
async fn dex_names_people_by_their_address_and_its_audience_is_the_client_or_what_was_asked_for() {
    let email = json!({"email": "alice@example.com", "email_verified": true});
    let with = |others: Value| {
        let mut claims = email.clone();
        claims["sub"] = "CgVhbGljZRIDc3No".into();
        claims["name"] = "Alice".into();
        claims.as_object_mut().unwrap().extend(others.as_object().unwrap().clone());
        claims
    };
    check(
        |settings| {
            for_client(settings, "dbt-example");
            settings.username_claim = Some("email".to_owned());
        },
        &[
            (
                "after a browser or a code",
                with(json!({"aud": "dbt-example", "groups": ["developers"], "at_hash": "x"})),
                Ok(("alice@example.com", &["developers"])),
            ),
            (
                "another client's, which may ask for us (`trustedPeers`)",
                with(json!({"aud": ["dbt-example", "portal"], "azp": "portal"})),
                Ok(("alice@example.com", &[])),
            ),
            (
                "another client's",
                with(json!({"aud": "portal"})),
                Err("it is for `portal`, not for this server"),
            ),
            (
                "of a connector that checks no addresses",
                with(json!({"aud": "dbt-example", "email_verified": false})),
                Err("its `email` is not verified (`email_verified`)"),
            ),
        ],
    )
    .await;
}

#[tokio::test]
async fn of_keycloak_the_id_token_counts_and_what_is_for_its_account_pages_does_not() {
    let session = |others: Value| {
        let mut claims = json!({
            "sub": "f1a6a0d0-0000-4000-8000-000000000001", "preferred_username": "alice",
            "azp": "dbt-example", "realm_access": {"roles": ["offline_access"]},
        });
        claims.as_object_mut().unwrap().extend(others.as_object().unwrap().clone());
        claims
    };
    check(
        |settings| {
            for_client(settings, "dbt-example");
            settings.username_claim = Some("preferred_username".to_owned());
        },
        &[
            (
                "an ID token, with full group paths",
                session(json!({"aud": "dbt-example", "typ": "ID", "groups": ["/developers"]})),
                Ok(("alice", &["/developers"])),
            ),
            (
                "an access token as it is by itself",
                session(json!({"aud": "account", "typ": "Bearer", "scope": "openid"})),
                Err("it is for `account`, not for this server"),
            ),
            (
                "an access token that an audience mapper made for us, too",
                session(json!({"aud": ["dbt-example", "account"], "typ": "Bearer"})),
                Ok(("alice", &[])),
            ),
            (
                "without a mapper of groups",
                session(json!({"aud": "dbt-example"})),
                Ok(("alice", &[])),
            ),
        ],
    )
    .await;
}

#[tokio::test]
async fn of_okta_the_id_token_counts_and_the_access_token_of_its_own_server_does_not() {
    check(
        |settings| {
            for_client(settings, "0oa1exampleclient");
            settings.username_claim = Some("preferred_username".to_owned());
        },
        &[
            (
                "an ID token with the groups that its filter lets through",
                json!({
                    "sub": "00u1exampleuser", "aud": "0oa1exampleclient", "ver": 1,
                    "preferred_username": "alice@example.com", "groups": ["dbt-publishers"],
                }),
                Ok(("alice@example.com", &["dbt-publishers"])),
            ),
            (
                "an access token of the org authorization server",
                json!({"sub": "alice@example.com", "aud": "https://example.okta.com",
                    "cid": "0oa1exampleclient", "scp": ["openid"]}),
                Err("it is for `https://example.okta.com`, not for this server"),
            ),
            (
                "an ID token without the scope `profile`",
                json!({"sub": "00u1exampleuser", "aud": "0oa1exampleclient"}),
                Ok(("00u1exampleuser", &[])),
            ),
        ],
    )
    .await;
}

#[tokio::test]
async fn of_google_only_the_organisation_counts_and_nobody_has_groups() {
    let account = |others: Value| {
        let mut claims = json!({
            "sub": "108000000000000000001", "azp": "1-x.apps.googleusercontent.com",
            "aud": "1-x.apps.googleusercontent.com", "email": "alice@example.com",
            "email_verified": true,
        });
        claims.as_object_mut().unwrap().extend(others.as_object().unwrap().clone());
        claims
    };
    check(
        |settings| {
            for_client(settings, "1-x.apps.googleusercontent.com");
            settings.username_claim = Some("email".to_owned());
            settings.required_claims = [("hd".to_owned(), vec!["example.com".to_owned()])].into();
            settings.is_for_all = true;
        },
        &[
            (
                "of the organisation",
                account(json!({"hd": "example.com"})),
                Ok(("alice@example.com", &[])),
            ),
            (
                "of another organisation",
                account(json!({"hd": "example.org"})),
                Err("its `hd` is \"example.org\", which is none that is required"),
            ),
            (
                "of a personal account, also with an address of the organisation",
                account(json!({})),
                Err("it has no `hd`, which is required"),
            ),
            (
                "of another client",
                account(json!({"hd": "example.com", "aud": "2-y.apps.googleusercontent.com"})),
                Err("it is for `2-y.apps.googleusercontent.com`, not for this server"),
            ),
        ],
    )
    .await;
}

#[tokio::test]
async fn of_entra_the_id_token_counts_and_too_many_groups_are_said_to_be_missing() {
    const CLIENT: &str = "11111111-2222-3333-4444-555555555555";
    let user = |others: Value| {
        let mut claims = json!({
            "sub": "AAAAAAAAAAAAAAAAAAAAAIkzqFVrSaSaFHy782bbtaQ", "aud": CLIENT, "ver": "2.0",
            "oid": "00000000-0000-0000-66f3-3332eca7ea81", "preferred_username": "alice@example.com",
        });
        claims.as_object_mut().unwrap().extend(others.as_object().unwrap().clone());
        claims
    };
    let oid = "00000000-0000-0000-66f3-3332eca7ea81";
    let publishers = "66666666-7777-8888-9999-000000000000";
    let elsewhere = json!({
        "_claim_names": {"groups": "src1"},
        "_claim_sources": {"src1": {"endpoint": "https://graph.microsoft.com/v1.0/users/x/getMemberObjects"}},
    });
    check(
        |settings| {
            for_client(settings, CLIENT);
            settings.username_claim = Some("oid".to_owned());
            settings.allowed_groups = vec!["66666666-7777-8888-9999-000000000000".to_owned()];
        },
        &[
            (
                "an ID token with the groups that are assigned",
                user(json!({"groups": [publishers]})),
                Ok((oid, &["66666666-7777-8888-9999-000000000000"])),
            ),
            ("of somebody in more than 200 groups", user(elsewhere), Err(claims::OVERAGE)),
            (
                "of somebody who signed in with too long a URL for groups",
                user(json!({"hasgroups": true})),
                Err(claims::OVERAGE),
            ),
            (
                "for Microsoft Graph",
                user(
                    json!({"aud": "00000003-0000-0000-c000-000000000000", "groups": [publishers]}),
                ),
                Err("it is for `00000003-0000-0000-c000-000000000000`, not for this server"),
            ),
            (
                "of a former version of its own",
                user(json!({"iss": "https://sts.windows.net/11111111/", "groups": [publishers]})),
                Err("(not mine)"),
            ),
        ],
    )
    .await;
    check(
        |settings| {
            for_client(settings, CLIENT);
            settings.groups_claim = "roles".to_owned();
        },
        &[(
            "with roles of the application, whatever became of the groups",
            user(json!({"roles": ["publisher"], "hasgroups": true})),
            Ok(("AAAAAAAAAAAAAAAAAAAAAIkzqFVrSaSaFHy782bbtaQ", &["publisher"])),
        )],
    )
    .await;
}

#[tokio::test]
async fn of_auth0_the_groups_are_where_an_action_puts_them_and_plain_ones_count_for_nothing() {
    let user = |others: Value| {
        let mut claims = json!({"sub": "auth0|64f000000000000000000001", "aud": "ExampleClientId"});
        claims.as_object_mut().unwrap().extend(others.as_object().unwrap().clone());
        claims
    };
    let action = "https://dbt.example.com/groups";
    check(
        |settings| {
            for_client(settings, "ExampleClientId");
            settings.groups_claim = "https://dbt.example.com/groups".to_owned();
        },
        &[
            (
                "an ID token",
                user(json!({action: ["publishers"]})),
                Ok(("auth0|64f000000000000000000001", &["publishers"])),
            ),
            (
                "groups that somebody else named",
                user(json!({"groups": ["publishers"], "https://other.example.com/groups": ["x"]})),
                Ok(("auth0|64f000000000000000000001", &[])),
            ),
            (
                "an access token for an API and the pages about oneself",
                user(json!({
                    "aud": ["https://api.example.com", "https://example.eu.auth0.com/userinfo"],
                    "azp": "ExampleClientId",
                })),
                Err(
                    "it is for `https://api.example.com`, `https://example.eu.auth0.com/userinfo`, \
                     not for this server",
                ),
            ),
        ],
    )
    .await;
}
