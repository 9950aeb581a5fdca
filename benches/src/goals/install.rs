//! The first run of a tool, from a server on this machine: downloaded, verified, kept.

use dbt_bench::Fault;
use dbt_bench::measure::{Program, turns_after};
use dbt_bench::report::{Goal, Row};
use dbt_bench::world::{ED25519, LARGE, TINY, script};

use crate::bench::{Bench, Turns};

/// What somebody would write who has no dbt.
const PIPELINE: &str = "#!/bin/sh
set -e
cd '[PLACE]'
curl -sf -o large '[URL]' -o large.asc '[URL].asc' -o large.sha256 '[URL].sha256'
[ \"$(sha256sum < large | cut -d' ' -f1)\" = \"$(cat large.sha256)\" ]
gpgv --quiet --keyring '[KEYRING]' large.asc large 2>/dev/null
install -m 755 large installed
exec ./installed
";

pub(crate) fn cold(bench: &Bench) -> Result<Vec<Row>, Fault> {
    bench.world.publish(ED25519, LARGE)?;
    let known = bench.warm_home("P9", ED25519, TINY)?;
    let home = known.copy("P9-cold")?;
    let place = bench.world.directory().join("P9-others");
    std::fs::create_dir(&place)?;
    let url = bench.url(ED25519, LARGE)?;
    let [curl, pipeline] = ["curl", "pipeline"].map(|name| place.join(name));
    let fetched = place.join("fetched");
    let lines = format!("curl -sf -o '{0}' '{url}' && sync '{0}'", fetched.display());
    script(&curl, &format!("#!/bin/sh\n{lines}\n"))?;
    let marks = [
        ("[PLACE]", place.display().to_string()),
        ("[URL]", url),
        ("[KEYRING]", bench.world.keyring(ED25519).display().to_string()),
    ];
    let text =
        marks.iter().fold(PIPELINE.to_owned(), |text, (mark, value)| text.replace(mark, value));
    script(&pipeline, &text)?;
    let without = |names: &'static [&'static str]| {
        let place = place.clone();
        move || {
            for name in names {
                let file = place.join(name);
                if file.exists() {
                    std::fs::remove_file(file)?;
                }
            }
            Ok(())
        }
    };
    let who = vec![
        turns_after(|| home.become_again(&known), home.dbt([LARGE.name])),
        turns_after(without(&["fetched"]), Program::new(curl)),
        turns_after(without(&["large", "installed"]), Program::new(pipeline)),
    ];
    let medians = bench.compare_waiting(Turns::Few, &[1], who)?;
    let curl = Row::begin("P9", "cold, loopback, 100 MiB", "curl, then sync of the file");
    let pipeline = Row::begin("P9", "the same", "curl, sha256sum, gpgv, install; over it");
    std::fs::remove_dir_all(&place)?;
    Ok(vec![
        curl.goal(Goal::at_most(2.0, 1.6)).ratio(medians.of(0) / medians.of(1), &medians),
        pipeline.goal(Goal::at_least(2.5, 3.8)).ratio(medians.of(2) / medians.of(0), &medians),
    ])
}
