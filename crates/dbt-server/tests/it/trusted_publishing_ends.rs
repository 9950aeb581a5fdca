//! Trusted publishing: how what a job got ends, what the record has of it, and what strangers cost.

use dbt_testkit::identity_provider::SigningKey;
use serde_json::{Value, json};

use crate::oidc::Issuer;
use crate::trusted_publishing::{
    EXCHANGE, SUB, TOOL, bearer, exchange, exchange_to_read, exchange_with, exchanged, github,
    github_claims, github_rule, gitlab, gitlab_rule, put, settings, status,
};
use crate::world::{AS_ADMIN, Place, Reply, Server};

/// Returns the record from its lines.
fn records(server: &Server) -> Vec<Value> {
    let text = server.command_beside(&["audit", "export"]);
    text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["record"].take()).collect()
}

#[test]
fn a_rule_that_was_changed_or_taken_away_gives_nothing_from_the_next_request_on() {
    let issuer = Issuer::new();
    let (mut deploy, mut reads) = (github_rule(), github_rule());
    reads["name"] = "reading".into();
    reads["permits"] = json!(["read"]);
    reads["tools"] = json!(["*"]);
    let with = |rules: &[&Value]| settings(&issuer, &json!(rules));
    let server = Server::with(&with(&[&deploy, &reads]));
    server.put_on_disk("dbt-tools/other/1.0.0/linux/amd64/other", b"other");
    let other = "/dbt-tools/other/1.0.0/linux/amd64/other";
    let identity = github(&issuer, &json!({}));
    let body = json!({"token": identity});
    let reply = exchange_with(&server, &["Idempotency-Key: k"], &body);
    assert_eq!(reply.json()["rules"], json!(["release deploy", "reading"]), "all that match count");
    let job = bearer(&reply);
    assert_eq!(status(&server, "GET", other, &job), 200);
    assert_eq!(status(&server, "GET", "/dbt-tools/", &job), 200);
    assert_eq!(put(&server, &job, TOOL).status, 201);
    // The same settings in another order are the same rules.
    server.reload(&with(&[&reads, &deploy]));
    assert_eq!(put(&server, &job, TOOL).status, 200);
    // One of them says something else: what came by the other still counts.
    deploy["minutes"] = 10.into();
    server.reload(&with(&[&deploy, &reads]));
    assert_eq!(put(&server, &job, TOOL).status, 403);
    assert_eq!(status(&server, "GET", other, &job), 200);
    exchange_with(&server, &["Idempotency-Key: k"], &body).is_refused(409, "identity-used");
    let fresh = exchanged(&server, &github(&issuer, &json!({})));
    assert_eq!(put(&server, &fresh, TOOL).status, 200);
    // An upload that is under way when its rule goes publishes nothing.
    let path = "/dbt-tools/deploy/2.0.0/linux/amd64/deploy";
    let drafts = server.drafts();
    let mut stream = server.connect();
    let head = format!("PUT {path} HTTP/1.1\r\nHost: t\r\n{fresh}\r\nContent-Length: 5\r\n\r\nby");
    std::io::Write::write_all(&mut stream, head.as_bytes()).unwrap();
    server.eventually("under way", |server| !server.unfinished().is_empty());
    reads["tools"] = json!(["deploy"]);
    server.reload(&with(&[&reads]));
    std::io::Write::write_all(&mut stream, b"tes").unwrap();
    let reply = Reply::read(&mut stream, false);
    reply.is_refused(401, "unauthorised");
    assert!(!server.root().join(&path[1..]).exists());
    assert_eq!(server.drafts(), drafts);
    for token in [&job, &fresh] {
        let reply = put(&server, token, TOOL);
        reply.is_refused(401, "unauthorised");
        let detail = reply.json()["detail"].as_str().unwrap().to_owned();
        assert_eq!(detail, "the rule by which the job got the token was changed or taken away");
    }
    // Nor does a restart with other settings revive anything.
    let place = server.kill();
    let server = Server::on(place, &with(&[&reads]));
    assert_eq!(status(&server, "GET", "/dbt-tools/deploy/", &fresh), 401);
}

/// The next request by the other rule would be permitted, so that this one is, too.
#[test]
fn an_upload_under_way_goes_on_when_only_a_rule_changes_that_does_not_permit_it() {
    let issuer = Issuer::new();
    let (deploy, mut reads) = (github_rule(), github_rule());
    reads["name"] = "reading".into();
    reads["permits"] = json!(["read"]);
    let with = |rules: &[&Value]| settings(&issuer, &json!(rules));
    let server = Server::with(&with(&[&deploy, &reads]));
    let job = exchanged(&server, &github(&issuer, &json!({})));
    let mut stream = server.connect();
    let head = format!("PUT {TOOL} HTTP/1.1\r\nHost: t\r\n{job}\r\nContent-Length: 5\r\n\r\nby");
    std::io::Write::write_all(&mut stream, head.as_bytes()).unwrap();
    server.eventually("under way", |server| !server.unfinished().is_empty());
    reads["minutes"] = 10.into();
    server.reload(&with(&[&deploy, &reads]));
    std::io::Write::write_all(&mut stream, b"tes").unwrap();
    assert_eq!(Reply::read(&mut stream, false).status, 201);
    assert!(!server.drafts().is_empty(), "it is there, of a version that is not whole");
}

#[test]
fn what_a_job_has_under_way_is_nobodys_who_got_in_by_another_rule() {
    let issuer = Issuer::new();
    let (release, mut nightly) = (github_rule(), github_rule());
    nightly["name"] = "nightly".into();
    nightly["workflow"] = "nightly.yml".into();
    let server = Server::with(&settings(&issuer, &json!([release, nightly])));
    let other = "acme/deploy/.github/workflows/nightly.yml@refs/heads/main";
    let job = exchanged(&server, &github(&issuer, &json!({})));
    let reply = exchange(&server, &github(&issuer, &json!({"job_workflow_ref": other})));
    assert_eq!(reply.json()["rules"], json!(["nightly"]));
    assert!(reply.json()["subject"].as_str().unwrap().ends_with(SUB), "one name");
    let stranger = bearer(&reply);

    let ask = |header: &str, method: &str, path: &str, body: &str| {
        let lines = [header, "Upload-Offset: 0"];
        server.send(method, &format!("/-/api/v1{path}"), &lines, body.as_bytes())
    };
    let upload = ask(&job, "POST", "/uploads", "");
    let upload = format!("/uploads/{}", upload.json()["id"].as_str().unwrap());
    let wanted = r#"{"tool": "deploy", "version": "3.0.0"}"#;
    let begun = ask(&job, "POST", "/releases", wanted);
    assert_eq!(begun.status, 201, "{begun:?}");
    let release = format!("/releases/{}", begun.json()["id"].as_str().unwrap());
    let drafts = server.drafts();
    for (method, path) in
        [("GET", &upload), ("PATCH", &upload), ("DELETE", &upload), ("GET", &release)]
    {
        assert_eq!(ask(&stranger, method, path, "").status, 404, "{method} {path}");
    }
    for (method, path) in [("POST", format!("{release}/commit")), ("DELETE", release.clone())] {
        let status = ask(&stranger, method, &path, "").status;
        assert!([403, 404].contains(&status), "{method} {path}: {status}");
    }
    assert_eq!(server.drafts(), drafts);
    // The same job once more, as when it is run again, goes on with it.
    let again = exchanged(&server, &github(&issuer, &json!({})));
    assert_eq!(ask(&again, "GET", &release, "").status, 200);
    assert_eq!(ask(&again, "PATCH", &upload, "bytes").status, 204);
    assert_eq!(ask(&again, "DELETE", &upload, "").status, 204);
}

#[test]
fn what_is_said_of_an_issuer_that_changes_ends_what_came_of_it() {
    let issuer = Issuer::new();
    let before = settings(&issuer, &json!([github_rule()]));
    let server = Server::with(&before);
    let job = exchanged(&server, &github(&issuer, &json!({})));
    assert_eq!(put(&server, &job, TOOL).status, 201);
    server.reload(&before.replace("https://dbt.example.com/", "https://new.example.com/"));
    put(&server, &job, TOOL).is_refused(401, "unauthorised");
}

#[test]
fn a_token_that_is_revoked_counts_no_more_and_its_identity_gets_no_other() {
    let issuer = Issuer::new();
    let rules = json!([gitlab_rule()]);
    let server = Server::with(&settings(&issuer, &rules));
    let identity = gitlab(&issuer, &json!({}));
    let reply = exchange(&server, &identity);
    let (job, id) = (bearer(&reply), reply.json()["id"].as_str().unwrap().to_owned());
    let shown = server.send("GET", &format!("/-/api/v1/tokens/{id}"), &[AS_ADMIN], b"").json();
    assert_eq!(shown["rules"], json!(["release from GitLab"]));
    assert_eq!((&shown["subjectType"], &shown["state"]), (&json!("agent"), &json!("active")));
    let explained = server.command_beside(&["explain", &format!("token:{id}"), "PUT", TOOL]);
    assert!(
        explained.contains("\u{201c}trusted publishing: release from GitLab\u{201d}"),
        "{explained}"
    );
    assert!(explained.contains("to `replace`"), "{explained}");
    let explained = server.command_beside(&["explain", "rule:release from GitLab", "PUT", TOOL]);
    assert!(explained.contains("may `create`"), "{explained}");
    let unknown = server.refused_beside(&["explain", "rule:other", "PUT", TOOL]);
    assert!(unknown.contains("there is no rule `other`, but `release from GitLab`"), "{unknown}");
    assert_eq!(put(&server, &job, TOOL).status, 201);
    let subject = shown["subject"].as_str().unwrap().replace('#', "%23");
    let all = format!("/-/api/v1/tokens?subject={subject}");
    assert_eq!(server.send("DELETE", &all, &[AS_ADMIN], b"").json()["revoked"], 1);
    put(&server, &job, TOOL).is_refused(401, "unauthorised");
    exchange(&server, &identity).is_refused(409, "identity-used");
    exchange_to_read(&server, &identity).is_refused(409, "identity-used");
}

#[test]
fn whichever_token_of_an_identity_is_revoked_it_gets_no_other_for_anything() {
    let issuer = Issuer::new();
    let (mut once, often) = (github_rule(), gitlab_rule());
    let server = Server::with(&settings(&issuer, &json!([once, often])));
    let revoke = |id: &Value| {
        let path = format!("/-/api/v1/tokens/{}", id.as_str().unwrap());
        assert_eq!(server.send("DELETE", &path, &[AS_ADMIN], b"").status, 204);
    };
    let refused = |reply: Reply| {
        reply.is_refused(409, "identity-used");
        let detail = reply.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains("was revoked"), "{detail}");
    };
    for identity in [github(&issuer, &json!({})), gitlab(&issuer, &json!({}))] {
        let reads = exchange_to_read(&server, &identity);
        revoke(&reads.json()["id"]);
        refused(exchange(&server, &identity));
        refused(exchange_to_read(&server, &identity));
    }
    for identity in [github(&issuer, &json!({})), gitlab(&issuer, &json!({}))] {
        let writes = exchange(&server, &identity);
        revoke(&writes.json()["id"]);
        refused(exchange_to_read(&server, &identity));
        refused(exchange(&server, &identity));
    }
    // Nor does a rule that says something else since then make it fresh.
    let identity = github(&issuer, &json!({}));
    revoke(&exchange(&server, &identity).json()["id"]);
    once["replay"] = "until-expiry".into();
    once["job"] = json!(["run_id"]);
    server.reload(&settings(&issuer, &json!([once])));
    refused(exchange(&server, &identity));
    refused(exchange_to_read(&server, &identity));
    assert_eq!(exchange(&server, &github(&issuer, &json!({}))).status, 200);
}

/// The state could be that of a backup, and what the identity was exchanged for could have been revoked.
#[test]
fn an_identity_older_than_what_the_server_remembers_writes_nothing_however_often_it_counts() {
    let issuer = Issuer::new();
    let server = Server::with(&settings(&issuer, &json!([github_rule(), gitlab_rule()])));
    let before = issuer.claims(SUB, &json!({}))["iat"].as_u64().unwrap() - 100;
    for identity in
        [github(&issuer, &json!({"iat": before})), gitlab(&issuer, &json!({"iat": before}))]
    {
        let reply = exchange(&server, &identity);
        reply.is_refused(409, "identity-used");
        let detail = reply.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains("before the server began to remember"), "{detail}");
        assert_eq!(exchange_to_read(&server, &identity).status, 200);
    }
}

#[test]
fn the_record_has_the_job_and_the_token_in_everything_that_was_done_with_it() {
    let issuer = Issuer::new();
    let server = Server::with(&settings(&issuer, &json!([github_rule()])));
    let reply = exchange(&server, &github(&issuer, &json!({})));
    assert_eq!(put(&server, &bearer(&reply), TOOL).status, 201);
    put(&server, &bearer(&reply), "/dbt/latest").is_refused(403, "forbidden");
    exchange(&server, &github(&issuer, &json!({"environment": "staging"})))
        .is_refused(403, "forbidden");
    server.eventually("recorded", |server| {
        records(server).iter().filter(|record| record["outcome"] == "refused").count() == 2
    });
    let records = records(&server);
    let of =
        |path: &str| -> Vec<&Value> { records.iter().filter(|it| it["path"] == path).collect() };
    let exchange = of(EXCHANGE);
    let outcomes: Vec<&str> = exchange.iter().map(|it| it["outcome"].as_str().unwrap()).collect();
    assert_eq!(outcomes, ["attempted", "exchanged", "refused"], "{exchange:?}");
    let job =
        json!({"repository": "acme/deploy", "run": "77", "ref": "refs/tags/v1", "sha": "abc123"});
    for record in exchange[..2].iter().chain(&of(TOOL)).chain(&of("/dbt/latest")) {
        assert_eq!(record["subject"], format!("ci:{}#{SUB}", issuer.url()), "{record}");
        assert_eq!(record["issuer"], issuer.url(), "{record}");
        assert_eq!((&record["method"], &record["subjectType"]), (&json!("ci"), &json!("agent")));
        assert_eq!(record["token"], reply.json()["id"], "{record}");
        assert_eq!(record["job"], job, "{record}");
    }
    for record in exchange[..2].iter().chain(&of(TOOL)) {
        assert_eq!(record["rule"], "trusted publishing: release deploy", "{record}");
    }
    let detail = exchange[1]["detail"].as_str().unwrap();
    assert!(detail.contains("by the rules `release deploy`, until "), "{detail}");
    let reason = exchange[2]["reason"].as_str().unwrap();
    assert!(reason.contains(&format!("no rule is about the job `{SUB}`")), "{reason}");
}

#[test]
fn the_record_has_each_time_that_a_token_is_fetched_again() {
    let issuer = Issuer::new();
    let server = Server::with(&settings(&issuer, &json!([gitlab_rule()])));
    let identity = gitlab(&issuer, &json!({}));
    let id = exchange(&server, &identity).json()["id"].clone();
    for _time in 0..2 {
        assert_eq!(exchange(&server, &identity).json()["id"], id);
    }
    let outcomes = |server: &Server| -> Vec<String> {
        let records = records(server).into_iter().filter(|it| it["path"] == EXCHANGE);
        let outcomes = records.inspect(|record| {
            assert_eq!(record["token"], id, "{record}");
            assert!(record["peer"].is_string(), "{record}");
        });
        outcomes.map(|record| record["outcome"].as_str().unwrap().to_owned()).collect()
    };
    server.eventually("recorded", |server| {
        outcomes(server) == ["attempted", "exchanged", "exchanged again", "exchanged again"]
    });
}

#[test]
fn strangers_are_looked_at_so_often_and_then_told_when_to_come_again() {
    let issuer = Issuer::new();
    let server = Server::with(&settings(&issuer, &json!([github_rule()])));
    let right = github(&issuer, &json!({}));
    let wrong = SigningKey::p256("key").token(&issuer.claims(SUB, &github_claims()));
    let statuses: Vec<u16> = (0..70).map(|_try| exchange(&server, &wrong).status).collect();
    assert_eq!(statuses[..60], [401; 60]);
    let refused = statuses.iter().filter(|status| **status == 429).count();
    assert!(
        refused > 0 && statuses.iter().all(|status| [401, 429].contains(status)),
        "{statuses:?}"
    );
    let reply = exchange(&server, &wrong);
    reply.is_refused(429, "too-many-guesses");
    assert!(reply.header("retry-after").is_some());
    // Others behind the same address are not stopped by that, here as in other ways.
    assert_eq!(put(&server, AS_ADMIN, TOOL).status, 201);
    assert_eq!(exchange(&server, &right).status, 200);
}

#[test]
fn what_costs_no_verification_is_refused_as_often_as_it_is_shown() {
    let issuer = Issuer::new();
    let server = Server::with(&settings(&issuer, &json!([github_rule()])));
    let other = Issuer::new();
    let foreign = github(&other, &json!({}));
    let elsewhere = github(&issuer, &json!({"aud": "https://other.example.com"}));
    for identity in ["a.b.c", &foreign, &elsewhere] {
        for _try in 0..70 {
            exchange(&server, identity).is_refused(401, "unauthorised");
        }
    }
    // Nor do those that are right, and many.
    for _job in 0..70 {
        assert_eq!(exchange(&server, &github(&issuer, &json!({}))).status, 200);
    }
    let unknown = SigningKey::p256("key").token(&issuer.claims(SUB, &github_claims()));
    exchange(&server, &unknown).is_refused(401, "unauthorised");
}

#[test]
fn a_job_that_has_all_its_tokens_has_nothing_more_written_for_it() {
    /// Three quarters of what the jobs of one subject may have: who reads leaves the rest.
    const MOST: usize = 750;
    let issuer = Issuer::new();
    let server = Server::with(&settings(&issuer, &json!([github_rule()])));
    for _identity in 0..MOST {
        assert_eq!(exchange_to_read(&server, &github(&issuer, &json!({}))).status, 200);
    }
    for _identity in 0..20 {
        let reply = exchange_to_read(&server, &github(&issuer, &json!({})));
        reply.is_refused(409, "token-limit");
    }
    // What is opened in the record before something is done has no limit of its own.
    let of = |server: &Server, outcome: &str| {
        let records = records(server).into_iter().filter(|it| it["path"] == EXCHANGE);
        records.filter(|it| it["outcome"] == outcome).count()
    };
    server.eventually("recorded", |server| of(server, "exchanged") == MOST);
    server.eventually("refusals are recorded", |server| of(server, "refused") > 0);
    assert_eq!((of(&server, "attempted"), of(&server, "failed")), (MOST, 0));
    // Who publishes is not kept from it.
    assert_eq!(exchange(&server, &github(&issuer, &json!({}))).status, 200);
}

/// Each time is a record, also where the answer is the one of before.
#[test]
fn a_job_that_exchanges_without_end_is_told_to_wait_and_others_are_not() {
    let issuer = Issuer::new();
    let server = Server::with(&settings(&issuer, &json!([github_rule(), gitlab_rule()])));
    let identity = github(&issuer, &json!({}));
    let statuses: Vec<u16> =
        (0..1100).map(|_try| exchange_to_read(&server, &identity).status).collect();
    assert_eq!(statuses[..1000], [200; 1000]);
    assert!(statuses[1000..].iter().filter(|status| **status == 429).count() > 20, "{statuses:?}");
    server.eventually("refused", |server| {
        let reply = exchange_to_read(server, &identity);
        reply.status == 429 && {
            reply.is_refused(429, "too-many-exchanges");
            reply.header("retry-after").is_some()
        }
    });
    // Neither who publishes is kept from it, nor jobs of another name.
    assert_eq!(exchange(&server, &identity).status, 200);
    assert_eq!(exchange_to_read(&server, &gitlab(&issuer, &json!({}))).status, 200);
}

#[test]
fn a_server_that_only_reads_makes_no_tokens_for_jobs() {
    let issuer = Issuer::new();
    let rules = settings(&issuer, &json!([github_rule()]));
    let place = Server::with(&rules).stop();
    let server = Server::on(place.argument("--read-only"), &rules);
    exchange(&server, &github(&issuer, &json!({}))).is_refused(503, "read-only");
}

#[test]
fn what_jobs_get_is_shown_by_the_check_and_what_would_let_in_others_stops_the_start() {
    let issuer = Issuer::new();
    let server = Server::with(&settings(&issuer, &json!([github_rule()])));
    let shown = server.command_beside(&["check-config"]);
    for line in [
        "audience of jobs = https://dbt.example.com  (`publicUrls`)",
        "auth.federation.rules[0].name = release deploy",
        "auth.federation.rules[0].claims.repository_owner_id = 1234",
        "auth.federation.rules[0].workflow = release.yml",
        "auth.federation.rules[0].permits = [\"publish\",\"withdraw\"]",
    ] {
        assert!(shown.contains(line), "{line}: {shown}");
    }
    let place = Place::new();
    let mut rule = github_rule();
    rule["claims"].as_object_mut().unwrap().remove("repository_owner_id");
    let said = place.refusal(&settings(&issuer, &json!([rule])));
    let why =
        "`auth.federation.rules.release deploy.claims` must say by its number whose jobs are meant";
    assert!(said.contains(why), "{said}");
}
