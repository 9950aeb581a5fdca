//! Where requests come from when proxies stand before the server, and who is believed about it.

use crate::world::{Server, WRITABLE};

const FORWARDED: &str = "X-Forwarded-For: 6.6.6.6, 192.0.2.7";

fn with(networks: &str) -> Server {
    Server::with(&format!(r#"{WRITABLE}, "trustedProxies": {networks}"#))
}

#[test]
fn a_trusted_proxy_says_where_a_request_comes_from_and_what_it_is_called() {
    let server = with(r#"["127.0.0.0/8"]"#);
    let reply = server.put_with("/dbt/latest", &[FORWARDED, "X-Request-Id: from-proxy-1"], b"1");
    assert_eq!((reply.status, reply.header("x-request-id")), (201, Some("from-proxy-1")));
    server.eventually("logged", |server| server.log().contains(r#""target":"access""#));
    let log = server.log();
    let ours = log.lines().filter(|line| line.contains("from-proxy-1"));
    // The record before, the record after, and the line of the request.
    let peers: Vec<bool> = ours.map(|line| line.contains(r#""peer":"192.0.2.7""#)).collect();
    assert!(peers.len() >= 3 && peers.iter().all(|known| *known), "{log}");
    assert!(!log.contains("6.6.6.6"), "{log}");
}

#[test]
fn nobody_else_is_believed_which_is_said_once() {
    let server = with(r#"["10.0.0.0/8"]"#);
    for _ in 0..3 {
        let reply = server.put_with("/dbt/latest", &[FORWARDED, "X-Request-Id: mine"], b"1");
        assert_eq!(reply.header("x-request-id").map(str::len), Some(26));
    }
    server.eventually("logged", |server| server.log().matches(r#""target":"access""#).count() == 3);
    let log = server.log();
    assert!(!log.contains("192.0.2.7") && !log.contains("mine"), "{log}");
    assert_eq!(log.matches("is not one of `trustedProxies`").count(), 1, "{log}");
}

#[test]
fn what_a_client_may_do_is_counted_by_the_client_and_not_by_its_proxy() {
    let server = Server::with(&format!(
        r#"{WRITABLE}, "trustedProxies": ["127.0.0.1"], "limits": {{"requestsPerMinute": 5}}"#
    ));
    let ask = |client: &str| {
        server.send("GET", "/dbt/", &[&format!("X-Forwarded-For: {client}")], b"").status
    };
    for _ in 0..5 {
        assert_eq!(ask("192.0.2.1"), 404);
    }
    assert_eq!(ask("192.0.2.1"), 429);
    assert_eq!(ask("192.0.2.2"), 404);
}

#[test]
fn a_network_that_is_none_stops_the_start() {
    for network in ["example.com", "10.0.0.1/8", "10.0.0.0/40", ""] {
        let place = crate::world::Place::new();
        let said = place.refusal(&format!(r#""trustedProxies": ["{network}"]"#));
        assert!(said.contains("is no address and no network"), "{network}: {said}");
    }
}
