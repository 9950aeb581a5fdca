//! A server that does not answer at all.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use dbt_bench::Fault;
use dbt_bench::measure::{turns, turns_after};
use dbt_bench::report::{Goal, Row};
use dbt_bench::web::Web;
use dbt_bench::world::{ED25519, TINY};

use crate::bench::{Bench, LOOPBACK, Turns};

/// How long a first run may wait, in seconds.
const FIRST: f64 = 1.0;

/// What a run may take longer than an offline one, for a while after.
const LATER: f64 = 0.005;

pub(crate) fn black_hole(bench: &Bench) -> Result<Vec<Row>, Fault> {
    bench.world.publish(ED25519, TINY)?;
    let web = Web::serve(&bench.world.served(), bench.world.directory(), LOOPBACK)?;
    let address = web.plain;
    let home = bench.world.home("P17", &format!("http://{address}"), ED25519)?;
    home.warm(TINY)?;
    drop(web);
    let _hole = BlackHole::dig(address)?;

    let fresh = home.copy("P17-first")?;
    let first = turns_after(|| fresh.become_again(&home), fresh.dbt([TINY.name]));
    let medians = bench.compare_waiting(Turns::Few, &[], vec![first])?;
    let at_most_all = Goal::at_most(1.0, 1.0).without_stretch();
    let first = Row::begin("P17", "server silent, first run", "1 second").goal(at_most_all);
    let first = first.ratio(medians.of(0) / FIRST, &medians);

    let who = vec![turns(fresh.dbt([TINY.name])), turns(fresh.dbt(["-o", TINY.name]))];
    let medians = bench.compare(Turns::Short, &[1], who)?;
    let later = Row::begin("P17", "the next runs, above offline", "5 ms").goal(at_most_all);
    let later = later.ratio(medians.above(0, 1) / LATER, &medians);
    Ok(vec![first, later])
}

/// A port at which nobody answers: its queue of new connections is full, so that further ones are
/// dropped, as by a firewall.
struct BlackHole {
    _listener: TcpListener,
    _queue: Vec<TcpStream>,
}

impl BlackHole {
    fn dig(address: SocketAddr) -> Result<Self, Fault> {
        let listener = TcpListener::bind(address)?;
        rustix::net::listen(&listener, 0)?;
        let mut queue = Vec::new();
        while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(200)) {
            queue.push(stream);
        }
        Ok(Self { _listener: listener, _queue: queue })
    }
}
