//! Which roles a token's claims give.

use super::*;

fn mapping(claim: &str, values: &[&str], role: &str) -> Mapping {
    let values = values.iter().map(|value| (*value).to_owned()).collect();
    Mapping { claim: claim.to_owned(), values, role: role.to_owned() }
}

#[tokio::test]
async fn every_mapping_that_matches_gives_its_role_and_no_other_does() {
    let world = World::with(|settings| {
        settings.groups_claim = "https://example.com/groups".to_owned();
        settings.role_mappings = vec![
            mapping("team", &["infra", "7"], "admin"),
            mapping("https://example.com/groups", &["writers"], "publisher"),
            mapping("realm_access.roles", &["writers"], "publisher"),
            mapping("realm_access.roles", &["reader"], "readonly"),
            mapping("email", &["root@example.com"], "admin"),
            mapping("contractor", &["true"], "guest"),
        ];
    });
    for (claims, roles) in [
        (json!({}), vec![]),
        (json!({"team": "infra"}), vec!["admin"]),
        (json!({"team": ["x", "infra"]}), vec!["admin"]),
        (json!({"team": 7}), vec!["admin"]),
        (json!({"team": "7"}), vec!["admin"]),
        (json!({"team": "infrastructure"}), vec![]),
        (json!({"team": "Infra"}), vec![]),
        (json!({"team": "x infra"}), vec![]),
        (json!({"team": {"infra": true}}), vec![]),
        (json!({"team": null}), vec![]),
        // Of groups a slash before the name may be left out; of other claims nothing may.
        (json!({"https://example.com/groups": ["/writers"]}), vec!["publisher"]),
        (json!({"https://example.com/groups": "writers"}), vec!["publisher"]),
        (json!({"groups": ["writers"]}), vec![]),
        (json!({"realm_access": {"roles": ["/writers"]}}), vec![]),
        // All count, and each role once.
        (
            json!({"https://example.com/groups": ["writers"],
                "realm_access": {"roles": ["reader", "writers"]}, "team": "infra"}),
            vec!["admin", "publisher", "readonly"],
        ),
        (json!({"email": "root@example.com"}), vec![]),
        (json!({"email": "root@example.com", "email_verified": false}), vec![]),
        (json!({"email": "root@example.com", "email_verified": true}), vec!["admin"]),
        (json!({"contractor": true}), vec!["guest"]),
        (json!({"contractor": false}), vec![]),
    ] {
        let identity = world.judge(&claims).await.unwrap();
        assert_eq!(identity.roles, roles, "{claims}");
    }
}

#[tokio::test]
async fn a_mapping_that_matches_nobody_refuses_nobody() {
    let world = World::with(|settings| {
        settings.role_mappings = vec![mapping("email", &["root@example.com"], "admin")];
    });
    let identity = world.judge(&json!({"email": "root@example.com"})).await.unwrap();
    assert_eq!((identity.roles, identity.groups_left_out), (Vec::new(), false));
    let identity = world.judge(&json!({"hasgroups": true})).await.unwrap();
    assert!(identity.groups_left_out);
}
