//! Runs that ask a server far away.

use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;

use dbt_bench::Fault;
use dbt_bench::measure::{Program, turns, turns_after};
use dbt_bench::network::Network;
use dbt_bench::report::{Goal, Row};
use dbt_bench::web::Web;
use dbt_bench::world::{ED25519, Home, MIDDLE, TINY};
use serde_json::json;

use crate::bench::{Bench, FAR, Turns};

const NEAR: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 77, 0, 1));

/// The delay at which the goals are set.
pub(crate) const ROUND_TRIP: Duration = Duration::from_millis(50);

/// Where this user may have no networks.
pub(crate) const NOT_ALLOWED: &str = "needs CAP_NET_ADMIN and /dev/net/tun";

/// A server far away.
pub(crate) struct Far {
    pub(crate) network: Network,
    pub(crate) web: Web,
}

impl Far {
    /// Makes one; nothing where this user may not.
    pub(crate) fn create(bench: &Bench) -> Result<Option<Self>, Fault> {
        let Ok(network) = Network::create(NEAR, FAR) else { return Ok(None) };
        let world = &bench.world;
        let serve = || Web::serve(&world.served(), world.directory(), FAR);
        let web = network.at_the_far_end(serve)?;
        Ok(Some(Self { network, web }))
    }

    /// Returns the server's name and the root of what it serves.
    pub(crate) fn server(&self, scheme: Scheme) -> (String, String) {
        match scheme {
            Scheme::Http => (self.web.plain.to_string(), format!("http://{}", self.web.plain)),
            Scheme::Https => (self.web.secure.to_string(), format!("https://{}", self.web.secure)),
        }
    }

    /// Makes a home in which a tool of 20 MiB has been run from it, without waiting.
    pub(crate) fn warm_home(
        &self,
        bench: &Bench,
        name: &str,
        scheme: Scheme,
        settings: &serde_json::Value,
    ) -> Result<Home, Fault> {
        bench.world.publish(ED25519, MIDDLE)?;
        let (_server, root) = self.server(scheme);
        let home = bench.world.home_with(name, &root, ED25519, settings)?;
        self.network.set_round_trip(Duration::ZERO);
        self.network.at_the_near_end(|| home.warm(MIDDLE))?;
        Ok(home)
    }
}

/// With or without TLS.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scheme {
    Http,
    Https,
}

pub(crate) fn warm(bench: &Bench) -> Result<Vec<Row>, Fault> {
    let rows = [
        (Scheme::Http, "warm, 50 ms away, 20 MiB", "a conditional GET: 2 round trips"),
        (Scheme::Https, "the same over HTTPS", "a conditional GET: 3 round trips"),
    ];
    let goal = Goal::at_most(1.15, 1.05);
    let Some(far) = Far::create(bench)? else {
        let rows = rows.map(|(_, subject, anchor)| Row::begin("P6", subject, anchor).goal(goal));
        return Ok(rows.map(|row| row.not_measured(NOT_ALLOWED)).into());
    };
    let mut measured = Vec::new();
    for (scheme, subject, anchor) in rows {
        let name = if scheme == Scheme::Http { "P6-http" } else { "P6-https" };
        let home = far.warm_home(bench, name, scheme, &json!({}))?;
        let (server, root) = far.server(scheme);
        let truststore = bench.world.served().join(ED25519.name).join("dbt/truststore");
        let path = format!("/{}/dbt/truststore", ED25519.name);
        let tag = entity_tag(&truststore)?;
        let words = ["get", &server, &path, &tag];
        let get = match scheme {
            Scheme::Http => bench.anchor(words),
            Scheme::Https => bench.secure_anchor(words),
        };
        let older = bench.older("warm", &root, MIDDLE, &home.stored(MIDDLE)?)?;
        let who = vec![turns(home.dbt([MIDDLE.name])), turns(get), turns(older)];
        far.network.set_round_trip(ROUND_TRIP);
        let compare = || bench.compare_waiting(Turns::Few, &[1], who);
        let medians = far.network.at_the_near_end(compare)?;
        let row = Row::begin("P6", subject, anchor).goal(goal);
        measured.push(row.ratio(medians.of(0) / medians.of(1), &medians));
        let row = Row::begin("P6", "the older client, the same", anchor);
        measured.push(row.ratio(medians.of(2) / medians.of(1), &medians));
    }
    Ok(measured)
}

/// Returns nginx's tag of a file.
fn entity_tag(file: &Path) -> Result<String, Fault> {
    let metadata = file.metadata()?;
    Ok(format!("\"{:x}-{:x}\"", metadata.mtime(), metadata.len()))
}

pub(crate) fn cold(bench: &Bench) -> Result<Vec<Row>, Fault> {
    let goal = Goal::at_most(1.25, 1.05);
    let row = |subject| Row::begin("P8", subject, "curl of the one file");
    let known = "cold, 50 ms away, 20 MiB, server known";
    let unknown = "cold, 50 ms away, 20 MiB, empty home";
    let Some(far) = Far::create(bench)? else {
        let rows = [known, unknown].map(|subject| row(subject).goal(goal));
        return Ok(rows.map(|row| row.not_measured(NOT_ALLOWED)).into());
    };
    let (_server, root) = far.server(Scheme::Http);
    bench.world.publish(ED25519, MIDDLE)?;
    bench.world.publish(ED25519, TINY)?;
    let empty = bench.world.home("P8-empty", &root, ED25519)?;
    let warmed = empty.copy("P8-known")?;
    far.network.at_the_near_end(|| warmed.warm(TINY))?;
    let [first, second] = [empty.copy("P8-first")?, warmed.copy("P8-cold")?];

    let place = bench.world.directory().join("P8-others");
    std::fs::create_dir(&place)?;
    let path = bench.url_path(ED25519, MIDDLE)?;
    let curl = Program::new("curl").args(["-sf", "-o"]).arg(place.join("fetched"));
    let curl = curl.arg(format!("{root}/{path}"));
    let older = bench.older("cold", &root, MIDDLE, &place)?;
    let nothing = || {
        for file in std::fs::read_dir(&place)? {
            std::fs::remove_file(file?.path())?;
        }
        Ok(())
    };
    let who = vec![
        turns_after(|| second.become_again(&warmed), second.dbt([MIDDLE.name])),
        turns_after(|| first.become_again(&empty), first.dbt([MIDDLE.name])),
        turns_after(nothing, curl),
        turns_after(nothing, older),
    ];
    far.network.set_round_trip(ROUND_TRIP);
    let compare = || bench.compare_waiting(Turns::Few, &[2], who);
    let medians = far.network.at_the_near_end(compare)?;
    let ratio = |who| medians.of(who) / medians.of(2);
    Ok(vec![
        row(known).goal(goal).ratio(ratio(0), &medians),
        row(unknown).ratio(ratio(1), &medians),
        row("the older client, the same").ratio(ratio(3), &medians),
    ])
}
