//! What every goal works with: the programs, the world, the server on this machine.

use std::cell::OnceCell;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

use dbt_bench::measure::{Comparison, Medians, Program, Turn, is_static};
use dbt_bench::web::Web;
use dbt_bench::world::{ED25519, Home, PLATFORM, Signer, Tool, World};
use dbt_bench::{Fault, authority};

use crate::args::Args;

/// Where everything listens that needs no other network.
pub(crate) const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Where the server is in the network with a delay.
pub(crate) const FAR: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 77, 0, 2));

/// What every goal works with.
pub(crate) struct Bench {
    pub(crate) world: World,
    pub(crate) web: Web,
    /// The directory of the programs that were built with this one.
    programs: PathBuf,
    dotslash: OnceCell<Program>,
    quick: bool,
}

/// How much there is to do in one turn, which says how many there are.
#[derive(Clone, Copy)]
pub(crate) enum Turns {
    /// Below two milliseconds.
    Short,
    /// Longer.
    Long,
    /// So long that nobody waits for more of them.
    Few,
    /// For people, who round.
    Felt,
}

impl Bench {
    pub(crate) fn prepare(args: &Args) -> Result<Self, Fault> {
        let this = std::env::current_exe()?;
        let programs = this.parent().ok_or("a program is in a directory")?.to_owned();
        let program = match &args.program {
            Some(program) => program.clone(),
            None => dbt_bench::built(&programs, "dbt")?,
        };
        let world = World::create(&program)?;
        authority::create(world.directory(), &[LOOPBACK, FAR])?;
        let web = Web::serve(&world.served(), world.directory(), LOOPBACK)?;
        Ok(Self { world, web, programs, dotslash: OnceCell::new(), quick: args.quick })
    }

    /// Says what was measured where.
    pub(crate) fn describe(&self) -> Result<String, Fault> {
        let cores = std::thread::available_parallelism()?;
        let features = std::fs::read_to_string("/proc/cpuinfo")?;
        let has = |feature: &str| features.split_whitespace().any(|word| word == feature);
        let hashing = if has("sha_ni") || has("sha2") { "with" } else { "without" };
        let sha512 = if has("sha512") { ", and for SHA-512" } else { "" };
        let program = self.world.program();
        let linked = if is_static(&program)? { "static" } else { "dynamic" };
        let size = program.metadata()?.len();
        let quick = if self.quick { "; --quick, so the numbers mean little" } else { "" };
        Ok(format!(
            "{} {}, {cores} cores {hashing} instructions for SHA-256{sha512}; dbt is a {linked} build of {:.1} MB{quick}",
            std::env::consts::OS,
            std::env::consts::ARCH,
            megabytes(size),
        ))
    }

    /// Returns how many turns each has.
    pub(crate) fn rounds(&self, turns: Turns) -> usize {
        match (self.quick, turns) {
            (true, Turns::Short) => 33,
            (true, Turns::Long) => 7,
            (true, Turns::Few | Turns::Felt) => 3,
            (false, Turns::Short) => 301,
            (false, Turns::Long) => 41,
            (false, Turns::Few) => 31,
            (false, Turns::Felt) => 11,
        }
    }

    /// Compares, where processor time can stand in for the clock.
    pub(crate) fn compare(
        &self,
        turns: Turns,
        anchors: &[usize],
        who: Vec<Turn<'_>>,
    ) -> Result<Medians, Fault> {
        Comparison { turns: who, anchors, rounds: self.rounds(turns), cpu_counts: true }.run()
    }

    /// Compares by the clock alone, because what takes time is a network or a disk.
    pub(crate) fn compare_waiting(
        &self,
        turns: Turns,
        anchors: &[usize],
        who: Vec<Turn<'_>>,
    ) -> Result<Medians, Fault> {
        Comparison { turns: who, anchors, rounds: self.rounds(turns), cpu_counts: false }.run()
    }

    /// Returns an anchor of ours.
    pub(crate) fn anchor<'a>(&self, words: impl IntoIterator<Item = &'a str>) -> Program {
        Program::new(self.programs.join("bench-anchor")).args(words)
    }

    /// Returns an anchor of ours over TLS.
    pub(crate) fn secure_anchor<'a>(&self, words: impl IntoIterator<Item = &'a str>) -> Program {
        let authority = self.world.directory().join(authority::FILES[0]);
        Program::new(self.programs.join("bench-anchor")).arg("--ca").arg(authority).args(words)
    }

    /// Returns a run of a tool by mise, which has installed it already; nothing where there is no
    /// mise.
    pub(crate) fn mise(&self, signer: Signer, tool: Tool) -> Result<Option<Program>, Fault> {
        let program = self.programs.join("../anchors/bin/mise");
        if !program.exists() {
            return Ok(None);
        }
        let file = self.world.publish(signer, tool)?;
        let checksum = std::fs::read_to_string(format!("{}.sha256", file.display()))?;
        let (name, version, url) = (tool.name, &self.world.version, self.url(signer, tool)?);
        let place = self.world.directory().join("mise");
        std::fs::create_dir_all(&place)?;
        let described = format!(
            "[tools]\n\"http:{name}\" = {{ version = \"{version}\", url = \"{url}\", \
             checksum = \"sha256:{checksum}\", bin = \"{name}\" }}\n"
        );
        std::fs::write(place.join("mise.toml"), described)?;
        let mise = Program::new(program).env("HOME", &place).env("MISE_YES", "1");
        let mise = mise.env("MISE_TRUSTED_CONFIG_PATHS", &place).arg("-C").arg(&place);
        mise.clone().arg("install").output()?;
        let run = mise.args(["x", "--", name]);
        run.output()?;
        Ok(Some(run))
    }

    /// Returns one pass over a file.
    pub(crate) fn hash(&self, algorithm: &str, file: &Path) -> Program {
        Program::new(self.programs.join("bench-hash")).arg(algorithm).arg(file)
    }

    /// Returns a run of the older client against a server: `warm` with the file it has, `cold` with
    /// a directory for it.
    pub(crate) fn older(
        &self,
        way: &str,
        root: &str,
        tool: Tool,
        place: &Path,
    ) -> Result<Program, Fault> {
        let program = self.programs.join("../anchors/bin/older");
        if !program.exists() {
            return Err("the older client is not built: scripts/install-bench".into());
        }
        let root = format!("{root}/{}", ED25519.name);
        let older =
            Program::new(program).args([way, &root, tool.name, &self.world.version, PLATFORM]);
        let authority = self.world.directory().join(authority::FILES[0]);
        Ok(older.arg(place).env("SSL_CERT_FILE", authority))
    }

    /// Returns the older client's list of so many tools of a repository, each with this version.
    pub(crate) fn older_catalog(
        &self,
        root: &str,
        tools: usize,
        version: &str,
    ) -> Result<Program, Fault> {
        let program = self.programs.join("../anchors/bin/older");
        if !program.exists() {
            return Err("the older client is not built: scripts/install-bench".into());
        }
        Ok(Program::new(program).args(["catalog", root, &tools.to_string(), version]))
    }

    /// Returns the path of a published tool below a server's root.
    pub(crate) fn url_path(&self, signer: Signer, tool: Tool) -> Result<String, Fault> {
        let file = self.world.artifact(signer, tool);
        Ok(file.strip_prefix(self.world.served())?.display().to_string())
    }

    /// Returns where the server here has a published tool.
    pub(crate) fn url(&self, signer: Signer, tool: Tool) -> Result<String, Fault> {
        Ok(format!("{}/{}", self.root(), self.url_path(signer, tool)?))
    }

    /// Returns the least program in Rust.
    pub(crate) fn hello(&self) -> Program {
        Program::new(self.programs.join("bench-hello"))
    }

    /// Returns the root of what the server here serves.
    pub(crate) fn root(&self) -> String {
        format!("http://{}", self.web.plain)
    }

    /// Returns a home in which a tool has been run from the server here.
    pub(crate) fn warm_home(&self, name: &str, signer: Signer, tool: Tool) -> Result<Home, Fault> {
        self.world.publish(signer, tool)?;
        let home = self.world.home(name, &self.root(), signer)?;
        home.warm(tool)?;
        Ok(home)
    }

    /// Returns a run of a tool by `DotSlash`, which has fetched it already.
    pub(crate) fn dotslash(&self, signer: Signer, tool: Tool) -> Result<Program, Fault> {
        if let Some(program) = self.dotslash.get() {
            return Ok(program.clone());
        }
        let program = self.programs.join("../anchors/bin/dotslash");
        if !program.exists() {
            return Err("DotSlash is not installed: scripts/install-bench".into());
        }
        let program = prepare_dotslash(&program, &self.world, &self.root(), signer, tool)?;
        Ok(self.dotslash.get_or_init(|| program).clone())
    }
}

fn prepare_dotslash(
    program: &Path,
    world: &World,
    root: &str,
    signer: Signer,
    tool: Tool,
) -> Result<Program, Fault> {
    let file = world.publish(signer, tool)?;
    let path = file.strip_prefix(world.served())?.display().to_string();
    let arch = std::env::consts::ARCH;
    let described = serde_json::json!({
        "name": tool.name,
        "platforms": { format!("linux-{arch}"): {
            "size": file.metadata()?.len(),
            "hash": "sha256",
            "digest": std::fs::read_to_string(format!("{}.sha256", file.display()))?,
            "path": tool.name,
            "providers": [{ "url": format!("{root}/{path}") }],
        }},
    });
    let description = world.directory().join("dotslash-file");
    std::fs::write(&description, format!("#!/usr/bin/env dotslash\n{described:#}\n"))?;
    let cache = world.directory().join("dotslash-cache");
    let run = Program::new(program).arg(description).env("DOTSLASH_CACHE", cache);
    run.output()?;
    Ok(run)
}

/// Returns millions of bytes.
pub(crate) fn megabytes(bytes: u64) -> f64 {
    // Nothing here is so large that the last digits would be lost.
    let kilobytes = u32::try_from(bytes / 1000).unwrap_or(u32::MAX);
    f64::from(kilobytes) / 1000.0
}
