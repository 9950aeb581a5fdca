//! What can befall a whole server, so that its client sees it from outside.

use dbt_testkit::black_hole::BlackHole;
use dbt_testkit::server::Fault;
use dbt_testkit::stranger::Stranger;
use dbt_testkit::world::World;

/// What befalls a server.
pub(super) enum Trouble {
    /// Its name has no address.
    Name,
    /// Nothing listens any more.
    Gone,
    /// It takes no connections: not refused, and not accepted.
    BlackHole,
    /// It speaks plain HTTP where TLS is due.
    NoTls,
    /// Its certificate is not known.
    Stranger,
    /// It answers, in this way.
    Answers(fn() -> Fault),
}

/// What came of it.
pub(super) struct Befallen {
    /// Where the server is from now on, as it is said.
    pub(super) base: String,
    /// What keeps it so.
    _place: Place,
}

enum Place {
    Same,
    Hole(#[expect(dead_code, reason = "it is held")] BlackHole),
    Stranger(#[expect(dead_code, reason = "it is held")] Stranger),
}

impl Trouble {
    pub(super) fn befall(&self, world: &World) -> Befallen {
        let (url, place) = match self {
            Self::Name => (Some("http://dbt.invalid".to_owned()), Place::Same),
            Self::Gone => {
                world.server().stop();
                (None, Place::Same)
            }
            Self::BlackHole => {
                let hole = BlackHole::open();
                (Some(hole.url()), Place::Hole(hole))
            }
            Self::NoTls => (Some(world.server().url().replace("http://", "https://")), Place::Same),
            Self::Stranger => {
                let stranger = Stranger::start();
                (Some(stranger.url()), Place::Stranger(stranger))
            }
            Self::Answers(fault) => {
                world.server().fault("*", fault());
                (None, Place::Same)
            }
        };
        let base = match url {
            None => "[SERVER]".to_owned(),
            Some(url) => {
                world.move_server(&url);
                let address = world.server().url().replace("http://", "");
                url.replace(&address, "[ADDRESS]")
            }
        };
        Befallen { base, _place: place }
    }
}
