//! Repositories with signed tools, and homes of their users, in a directory that goes with them.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use serde_json::json;
use sha2::Sha256;
use tempfile::TempDir;

use crate::measure::Program;
use crate::{Fault, hash};

/// The platform of everything.
pub const PLATFORM: &str =
    if cfg!(target_arch = "aarch64") { "linux/arm64" } else { "linux/amd64" };

/// When a file has not changed for so long, what is remembered of it is believed.
const SETTLED: Duration = Duration::from_millis(2100);

/// A key, and the part of the server's tree with what it signs.
#[derive(Clone, Copy, Debug)]
pub struct Signer {
    /// The directory, and the name of the key.
    pub name: &'static str,
    algorithm: &'static str,
}

/// Ed25519, as `GnuPG` makes it by default nowadays.
pub const ED25519: Signer = Signer { name: "ed25519", algorithm: "ed25519" };

/// RSA of 4096 bits, as many organisations have it.
pub const RSA4096: Signer = Signer { name: "rsa4096", algorithm: "rsa4096" };

/// A tool. Most do nothing, and are made longer by zeros behind their end.
#[derive(Clone, Copy, Debug)]
pub struct Tool {
    /// Its name.
    pub name: &'static str,
    content: Content,
    digest: &'static str,
}

#[derive(Clone, Copy, Debug)]
enum Content {
    Nothing { zeros: u64 },
    Text(&'static str),
}

const fn tool(name: &'static str, mebibytes: u64, digest: &'static str) -> Tool {
    Tool { name, content: Content::Nothing { zeros: mebibytes << 20 }, digest }
}

/// Text, which no kernel can execute: all is done for it but the last step, which fails.
pub const LAST_STEP_FAILS: Tool = Tool {
    name: "fails",
    content: Content::Text("neither a program nor a script\n"),
    digest: "SHA256",
};

/// So little that hashing it is not felt.
pub const TINY: Tool = tool("tiny", 0, "SHA256");
/// 1 MiB.
pub const SMALL: Tool = tool("small", 1, "SHA256");
/// 20 MiB.
pub const MIDDLE: Tool = tool("middle", 20, "SHA256");
/// 100 MiB.
pub const LARGE: Tool = tool("large", 100, "SHA256");
/// 1 GiB.
pub const HUGE: Tool = tool("huge", 1024, "SHA256");
/// 20 MiB, signed over SHA-512.
pub const MIDDLE_512: Tool = tool("middle-sha512", 20, "SHA512");
/// 60 MiB, just below what is remembered between runs, signed over SHA-512.
pub const LARGE_512: Tool = tool("large-sha512", 60, "SHA512");

/// A program that ends, and has not even a C library: what is measured beside it is not its own.
const NOTHING: &str = r#"
void _start(void) {
#if defined(__x86_64__)
  __asm__ volatile("syscall" : : "a"(60), "D"(0));
#elif defined(__aarch64__)
  register long status __asm__("x0") = 0;
  register long call __asm__("x8") = 93;
  __asm__ volatile("svc 0" : : "r"(call), "r"(status));
#endif
  __builtin_unreachable();
}
"#;

/// A world.
pub struct World {
    directory: TempDir,
    /// The version of everything: what the program says of itself.
    pub version: String,
}

impl World {
    /// Makes a world in which a program is installed and published.
    pub fn create(program: &Path) -> Result<Self, Fault> {
        // Short, because the agent's socket has room for few bytes.
        let directory = tempfile::Builder::new().prefix("b").tempdir()?;
        let said = Program::new(program).arg("--version").output()?;
        let version = said.split_whitespace().last().ok_or("a program has a version")?.to_owned();
        let world = Self { directory, version };
        fs::create_dir(world.gnupg())?;
        fs::set_permissions(world.gnupg(), Permissions::from_mode(0o700))?;
        fs::create_dir_all(world.program().with_file_name(""))?;
        fs::copy(program, world.program())?;
        world.compile()?;
        for signer in [ED25519, RSA4096] {
            world.found(signer)?;
        }
        Ok(world)
    }

    /// Returns the directory of everything.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Returns the directory that is served.
    pub fn served(&self) -> PathBuf {
        self.directory().join("served")
    }

    /// Returns the installed program.
    pub fn program(&self) -> PathBuf {
        self.directory().join("bin/dbt")
    }

    /// Returns the file of a published tool.
    pub fn artifact(&self, signer: Signer, tool: Tool) -> PathBuf {
        let (name, version) = (tool.name, &self.version);
        self.served()
            .join(signer.name)
            .join(format!("dbt-tools/{name}/{version}/{PLATFORM}/{name}"))
    }

    /// Publishes a tool, unless it is published already.
    pub fn publish(&self, signer: Signer, tool: Tool) -> Result<PathBuf, Fault> {
        let file = self.artifact(signer, tool);
        if !file.exists() {
            fs::create_dir_all(file.with_file_name(""))?;
            match tool.content {
                Content::Nothing { zeros } => {
                    fs::copy(self.nothing(), &file)?;
                    let length = file.metadata()?.len();
                    OpenOptions::new().write(true).open(&file)?.set_len(length + zeros)?;
                }
                Content::Text(text) => fs::write(&file, text)?,
            }
            let binding = format!("tool/{}/{}/{PLATFORM}", tool.name, self.version);
            self.sign(signer, &file, tool.digest, &binding)?;
        }
        Ok(file)
    }

    /// Makes a home whose user has a server at this root and has run nothing yet.
    pub fn home(&self, name: &str, root: &str, signer: Signer) -> Result<Home, Fault> {
        self.home_with(name, root, signer, &json!({}))
    }

    /// The same, with more settings of the server.
    pub fn home_with(
        &self,
        name: &str,
        root: &str,
        signer: Signer,
        settings: &serde_json::Value,
    ) -> Result<Home, Fault> {
        let path = self.directory().join("homes").join(name);
        let root = format!("{root}/{}", signer.name);
        let key = self.fingerprint(signer)?;
        let mut server = json!({
            // Whoever uses plain http has to say whom to trust.
            "trust": { "dbt": [key], "tools": [key] },
            "repository": format!("{root}/dbt"),
            "truststore": format!("{root}/dbt/truststore"),
            "toolsRepository": format!("{root}/dbt-tools"),
        });
        if root.starts_with("https:") {
            server["caFile"] = self.directory().join(crate::authority::FILES[0]).to_str().into();
        }
        if let (Some(server), Some(settings)) = (server.as_object_mut(), settings.as_object()) {
            server.extend(settings.clone());
        }
        let config = json!({ "servers": { "bench": server }, "defaultServer": "bench" });
        let conf = path.join(".dbt/conf");
        fs::create_dir_all(&conf)?;
        fs::write(conf.join("dbt.json"), config.to_string())?;
        fs::set_permissions(conf.join("dbt.json"), Permissions::from_mode(0o600))?;
        Ok(Home { path, program: self.program() })
    }

    fn compile(&self) -> Result<(), Fault> {
        let source = self.directory().join("nothing.c");
        fs::write(&source, NOTHING)?;
        Program::new("cc")
            .args(["-O2", "-static", "-nostdlib", "-s", "-o"])
            .args([self.nothing(), source])
            .output()?;
        Ok(())
    }

    fn nothing(&self) -> PathBuf {
        self.directory().join("nothing")
    }

    fn gnupg(&self) -> PathBuf {
        self.directory().join("gnupg")
    }

    fn gpg(&self) -> Program {
        Program::new("gpg").env("GNUPGHOME", self.gnupg()).args(["--batch", "--quiet"])
    }

    /// Begins an organisation: its key, its truststore, and our program in its repository.
    fn found(&self, signer: Signer) -> Result<(), Fault> {
        let Signer { name, algorithm } = signer;
        let make = self.gpg().args(["--passphrase", "", "--quick-generate-key"]);
        make.args([name, algorithm, "sign", "never"]).output()?;
        let repository = self.served().join(name).join("dbt");
        let place = repository.join(&self.version).join(PLATFORM);
        fs::create_dir_all(&place)?;
        fs::create_dir_all(self.served().join(name).join("dbt-tools"))?;
        let certificate = self.gpg().args(["--armor", "--export", name]).output()?;
        fs::write(repository.join("truststore"), certificate)?;
        let binary = self.gpg().args(["--export", "--output"]);
        binary.arg(self.keyring(signer)).arg(name).output()?;
        let program = place.join("dbt");
        fs::copy(self.program(), &program)?;
        self.sign(signer, &program, "SHA256", &format!("self/dbt/{}/{PLATFORM}", self.version))
    }

    /// Returns the certificate as `gpgv` wants it.
    pub fn keyring(&self, signer: Signer) -> PathBuf {
        self.directory().join(format!("{}.gpg", signer.name))
    }

    fn fingerprint(&self, signer: Signer) -> Result<String, Fault> {
        let listed = self.gpg().args(["--with-colons", "--list-keys", signer.name]).output()?;
        let line = listed.lines().find(|line| line.starts_with("fpr:"));
        let field = line.and_then(|line| line.split(':').nth(9));
        Ok(field.ok_or("a key has a fingerprint")?.to_owned())
    }

    fn sign(&self, signer: Signer, file: &Path, digest: &str, binding: &str) -> Result<(), Fault> {
        let name = file.display();
        fs::write(format!("{name}.sha256"), hash::file::<Sha256>(file)?)?;
        let sign = self.gpg().args(["--armor", "--detach-sign", "--digest-algo", digest]);
        let sign = sign.args(["--local-user", signer.name]);
        sign.args(["--sig-notation", &format!("artifact@dbt={binding}")]).arg(file).output()?;
        Ok(())
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let stop = Program::new("gpgconf").env("GNUPGHOME", self.gnupg());
        drop(stop.args(["--kill", "all"]).output());
    }
}

/// A user's home directory.
#[derive(Clone, Debug)]
pub struct Home {
    path: PathBuf,
    program: PathBuf,
}

impl Home {
    /// Returns a run of dbt in it.
    pub fn dbt<'a>(&self, words: impl IntoIterator<Item = &'a str>) -> Program {
        Program::new(&self.program).args(words).env("HOME", &self.path)
    }

    /// Runs a tool until nothing is new any more, neither of the tool nor of dbt, and what is
    /// remembered of a large file is believed.
    pub fn warm(&self, tool: Tool) -> Result<(), Fault> {
        self.dbt([tool.name]).output()?;
        thread::sleep(SETTLED);
        self.dbt([tool.name]).output()?;
        self.dbt(["-o", tool.name]).output()?;
        Ok(())
    }

    /// Returns where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes a home that is as this one is now.
    pub fn copy(&self, name: &str) -> Result<Self, Fault> {
        let copy = Self { path: self.path.with_file_name(name), program: self.program.clone() };
        copy.become_again(self)?;
        Ok(copy)
    }

    /// Forgets all that has happened in it since it was copied.
    pub fn become_again(&self, original: &Self) -> Result<(), Fault> {
        if self.path.exists() {
            remove(&self.path)?;
        }
        copy_tree(&original.path, &self.path)
    }

    /// Lets dbt remember so many tools more, by copies of what it remembers of one.
    pub fn know_more_tools(&self, count: usize) -> Result<(), Fault> {
        for server in fs::read_dir(self.path.join(".dbt/state"))? {
            let tools = server?.path().join("tools");
            let known = fs::read_dir(&tools)?.next().ok_or("nothing is remembered yet")??.path();
            for number in 0..count {
                fs::copy(&known, tools.join(format!("tool{number:04}.json")))?;
            }
        }
        Ok(())
    }

    /// Returns where the store of this home has a tool.
    pub fn stored(&self, tool: Tool) -> Result<PathBuf, Fault> {
        let mut directories = vec![self.path.join(".dbt/tools/sha256")];
        while let Some(directory) = directories.pop() {
            for entry in fs::read_dir(&directory)? {
                let entry = entry?;
                if entry.file_type()?.is_dir() {
                    directories.push(entry.path());
                } else if entry.file_name() == tool.name {
                    return Ok(entry.path());
                }
            }
        }
        Err(format!("`{}` is not in the store", tool.name).into())
    }
}

/// Removes a tree whose directories need not be writable.
fn remove(path: &Path) -> Result<(), Fault> {
    Program::new("rm").args(["-rf".as_ref(), path.as_os_str()]).output()?;
    Ok(())
}

fn copy_tree(from: &Path, to: &Path) -> Result<(), Fault> {
    Program::new("cp").args(["-a".as_ref(), from.as_os_str(), to.as_os_str()]).output()?;
    Ok(())
}

/// Writes an executable script.
pub fn script(path: &Path, text: &str) -> Result<(), Fault> {
    File::create(path)?.write_all(text.as_bytes())?;
    Ok(fs::set_permissions(path, Permissions::from_mode(0o755))?)
}
