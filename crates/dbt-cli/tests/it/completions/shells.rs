//! What every shell is asked in: a world that knows tools, and a `PATH` with the program.

use dbt_testkit::people::ALICE;
use dbt_testkit::world::World;

/// A world that knows `deploy` and `depict` of one server, and `report` of another.
pub(crate) fn knowing() -> World {
    let world = World::new(env!("CARGO_BIN_EXE_dbt"));
    world.pin(&[&ALICE]);
    for name in ["deploy", "depict", "report"] {
        world.repository().publish(name, "1.4.0").now();
    }
    world.configure(|config| {
        config["servers"]["other"] = config["servers"]["acme"].clone();
        config["defaultServer"] = "acme".into();
    });
    for name in ["deploy", "depict"] {
        world.dbt(["fetch", name]).exits_with(0);
    }
    world.dbt(["-s", "other", "fetch", "report"]).exits_with(0);
    world.server().take_requests();
    world
}

/// A `PATH` with the program and what the system has.
pub(crate) fn path_of(world: &World) -> String {
    format!("{}:/usr/bin:/bin", world.program().parent().unwrap().display())
}
