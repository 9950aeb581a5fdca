//! What the server counts, who sees it, and that nobody makes it grow.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use crate::world::{AUTHORIZED, Server, WRITABLE, sha256};

fn with_metrics() -> Server {
    Server::with(&format!(r#"{WRITABLE}, "listen": {{"metrics": "127.0.0.1:0"}}"#))
}

#[test]
fn requests_uploads_and_sign_ins_are_counted_by_what_they_are() {
    let server = with_metrics();
    assert_eq!(server.put("/dbt/latest", b"1.0.0").status, 201);
    for _ in 0..3 {
        server.get("/dbt/latest");
    }
    server.get("/dbt/missing");
    server.send("PUT", "/dbt/x", &["Authorization: Bearer wrong"], b"x");
    server.put_with("/dbt/x", &[&format!("X-Checksum-Sha256: {}", sha256(b"y"))], b"x");
    let begun = |server: &Server, name: &str| server.metric(name);
    for (name, value) in [
        (r#"reposerver_http_requests_total{method="GET",route="file",status="200"}"#, "3"),
        (r#"reposerver_http_requests_total{method="GET",route="file",status="404"}"#, "1"),
        (r#"reposerver_http_requests_total{method="PUT",route="upload",status="201"}"#, "1"),
        (r#"reposerver_http_requests_total{method="PUT",route="upload",status="401"}"#, "1"),
        (r#"reposerver_http_request_duration_seconds_count{route="file"}"#, "4"),
        (r#"reposerver_auth_attempts_total{method="static-token",result="accepted"}"#, "2"),
        (r#"reposerver_auth_attempts_total{method="bearer",result="refused",reason="wrong"}"#, "1"),
        (r#"reposerver_uploads_aborted_total{reason="digest"}"#, "1"),
        ("reposerver_upload_bytes_total", "5"),
        ("reposerver_uploads_in_flight", "0"),
        ("reposerver_ready", "1"),
        ("reposerver_ready_for_writes", "1"),
        (r#"reposerver_writes_refused{reason="disk-full"}"#, "0"),
        (r#"reposerver_fsync_seconds_count{of="bytes"}"#, "2"),
        (r#"reposerver_fsync_seconds_count{of="name"}"#, "1"),
        (r#"reposerver_fsync_seconds_count{of="record"}"#, "2"),
        ("reposerver_files_stored", "1"),
        ("reposerver_bytes_stored", "5"),
        ("reposerver_audit_lag_seconds", "0"),
        ("reposerver_config_last_reload_success", "1"),
    ] {
        // Counted when the last byte of an answer was given away, which is later than it is read.
        server.eventually(name, |server| begun(server, name).as_deref() == Some(value));
    }
    for name in [
        r#"reposerver_build_info{version="4.0.0"}"#,
        "reposerver_config_reload_timestamp_seconds",
        "reposerver_network_receive_bytes_total",
        "reposerver_network_transmit_bytes_total",
        "reposerver_disk_free_bytes",
        "process_resident_memory_bytes",
        r#"reposerver_storage_op_seconds_count{op="write"}"#,
    ] {
        let value = server.metric(name).unwrap_or_else(|| panic!("{name}"));
        assert!(value.parse::<f64>().unwrap() > 0.0, "{name} {value}");
    }
}

#[test]
fn whatever_is_sent_no_label_is_made_of_it() {
    let server = with_metrics();
    let ask = |number: u32| {
        server.get(&format!("/dbt/planted-path-{number}"));
        server.send(&format!("PLANTED{number}"), "/dbt/", &[], b"");
        let line =
            format!("Authorization: Basic {}", STANDARD.encode(format!("planted{number}:x")));
        server.send(
            "PUT",
            &format!("/dbt-tools/planted{number}/1.0.0/linux/amd64/x"),
            &[&line],
            b"x",
        );
        server.send("PUT", "/dbt/x", &[&format!("Authorization: Planted{number} x")], b"x");
        server.get(&format!("/-/api/v1/tools/planted-{number}"));
    };
    let text = |server: &Server| server.get_beside("/-/metrics").text();
    ask(0);
    server.eventually("counted", |server| text(server).contains("v1-tools"));
    let before = text(&server).lines().count();
    (1..50).for_each(ask);
    let requests = r#"reposerver_http_requests_total{method="GET",route="v1-tools",status="404"}"#;
    server.eventually("counted", |server| server.metric(requests).as_deref() == Some("50"));
    let after = text(&server);
    assert_eq!(after.lines().count(), before, "{after}");
    assert!(!after.to_lowercase().contains("planted"), "{after}");
}

#[test]
fn a_rule_says_who_sees_metrics_and_an_address_of_their_own_shows_nothing_else() {
    let server = with_metrics();
    server.put("/dbt/latest", b"1.0.0");
    // Without rules, nobody does.
    server.get("/-/metrics").is_refused(401, "unauthorised");
    server.get_as_writer("/-/metrics").is_refused(403, "forbidden");
    for path in ["/dbt/latest", "/dbt/", "/", "/-/api/tools", "/-/api/v1/openapi.json"] {
        assert_eq!(server.get_beside(path).status, 404, "{path}");
    }
    assert_eq!(server.get_beside("/-/readyz").status, 200);
    let reply = server.get_beside("/-/metrics");
    assert_eq!(reply.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));

    let token = |name: &str| json!({"name": name, "sha256": sha256(name.as_bytes())});
    let rules = json!([{
        "name": "the monitor", "subjects": ["static-token:monitor"], "paths": ["/**"],
        "actions": ["metrics.read"],
    }]);
    let server = Server::with(&format!(
        r#""authTypePut": "static-token", "tokens": {}, "policies": {rules}"#,
        json!([token("monitor"), token("other")])
    ));
    let ask = |name: &str| {
        let line = format!("Authorization: Bearer {name}");
        server.send("GET", "/-/metrics", &[&line], b"")
    };
    assert_eq!(ask("monitor").status, 200);
    ask("other").is_refused(403, "forbidden");
    ask("wrong").is_refused(401, "unauthorised");
    assert_eq!(server.send("PUT", "/dbt/x", &[AUTHORIZED], b"x").status, 401);
}
