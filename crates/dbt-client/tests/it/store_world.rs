//! A directory with a signed repository and a store, and the program that runs tools from it.

use std::fs;
use std::io::Read as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use dbt_core::digest::Digest;
use pgp::composed::{ArmorOptions, Deserializable as _, DetachedSignature, SignedSecretKey};
use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{SignatureConfig, SignatureType, Subpacket, SubpacketData};
use pgp::types::{KeyDetails as _, Password, Timestamp};

/// A key made for these tests. It protects nothing.
const ALICE: &str = "-----BEGIN PGP PRIVATE KEY BLOCK-----

lFgEZZIAgBYJKwYBBAHaRw8BAQdAUXy/YyaawLTdBrQYrMZBiiozXYGxVu/le741
aKBBi6IAAQDqk3fcB1xwvj+yT4+O9u1V0mIQqamEnieEcDVLGa/fGxAMtCZBbGlj
ZSBvZiB0aGUgdGVzdHMgPGFsaWNlQGV4YW1wbGUuY29tPoiQBBMWCAA4FiEEtKdX
ng3cOq8eTxpeEvfu2blURAUFAmWSAIACGwMFCwkIBwIGFQoJCAsCBBYCAwECHgEC
F4AACgkQEvfu2blURAVuQAD/aABBWdnVpR2fiK5XXv05maQpPNwB5nfMaRgA+T0T
m40BAOhB+UFIq1pp28fYUeFdzxFKI47pzlaXwzGNwg67eTUH
=LZ1d
-----END PGP PRIVATE KEY BLOCK-----
";

fn alice() -> &'static SignedSecretKey {
    static KEY: OnceLock<SignedSecretKey> = OnceLock::new();
    KEY.get_or_init(|| SignedSecretKey::from_armor_single(ALICE.as_bytes()).unwrap().0)
}

fn signature_over(content: &[u8]) -> Vec<u8> {
    /// Some time in 2024.
    const MADE: u32 = 1_717_200_000;

    let key = &alice().primary_key;
    let mut config =
        SignatureConfig::v4(SignatureType::Binary, key.algorithm(), HashAlgorithm::Sha256);
    config.hashed_subpackets = vec![
        Subpacket::critical(SubpacketData::SignatureCreationTime(Timestamp::from_secs(MADE)))
            .unwrap(),
        Subpacket::regular(SubpacketData::IssuerFingerprint(key.fingerprint())).unwrap(),
    ];
    let signature = config.sign(key, &Password::empty(), content).unwrap();
    DetachedSignature::new(signature).to_armored_bytes(ArmorOptions::default()).unwrap()
}

/// A repository and a store, thrown away at the end.
pub(crate) struct World {
    top: tempfile::TempDir,
}

impl World {
    pub(crate) fn new() -> Self {
        let top = tempfile::tempdir().unwrap();
        fs::set_permissions(top.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let world = Self { top };
        for directory in ["repository", "tmp"] {
            fs::create_dir(world.path(directory)).unwrap();
        }
        let public = alice().to_public_key();
        let truststore = public.to_armored_bytes(ArmorOptions::default()).unwrap();
        fs::write(world.path("repository/truststore"), truststore).unwrap();
        world
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.top.path().join(name)
    }

    pub(crate) fn publish(&self, tool: &str, content: &[u8]) {
        let file = |ending: &str| self.path(&format!("repository/{tool}{ending}"));
        fs::write(file(""), content).unwrap();
        fs::write(file(".sha256"), Digest::of(content).to_string()).unwrap();
        fs::write(file(".asc"), signature_over(content)).unwrap();
    }

    /// Publishes a shell script that prints this word.
    pub(crate) fn publish_word(&self, tool: &str, word: &str) {
        self.publish(tool, script(word).as_bytes());
    }

    /// The arguments with which the probe works in this world.
    pub(crate) fn arguments(&self, command: &str, tool: &str) -> Vec<PathBuf> {
        let places = ["store", "tmp", "repository"].map(|name| self.path(name));
        places.into_iter().chain([command.into(), tool.into()]).collect()
    }

    pub(crate) fn probe(&self, command: &str, tool: &str) -> Command {
        let mut probe = Command::new(probe());
        probe.args(self.arguments(command, tool));
        probe
    }

    /// Installs a tool and returns its path.
    pub(crate) fn install(&self, tool: &str) -> PathBuf {
        let output = self.probe("install", tool).output().unwrap();
        PathBuf::from(said(&output).trim_end())
    }

    pub(crate) fn downloads(&self) -> usize {
        fs::read_to_string(self.path("repository/downloads")).unwrap_or_default().lines().count()
    }

    /// Checks what must hold at any moment: whatever has a name among the artifacts, or may be
    /// executed, is exactly what was published. Returns how many there are.
    pub(crate) fn check_nothing_unverified(&self) -> usize {
        let mut count = 0;
        for path in files_below(&self.path("store")) {
            let metadata = fs::symlink_metadata(&path).unwrap();
            let named = path.starts_with(self.path("store/sha256"));
            if !named && metadata.mode() & 0o111 == 0 {
                continue;
            }
            let mut content = Vec::new();
            fs::File::open(&path).unwrap().read_to_end(&mut content).unwrap();
            let expected = path.parent().and_then(Path::file_name).unwrap().to_string_lossy();
            assert_eq!(Digest::of(&content).to_string(), expected, "{}", path.display());
            count += 1;
        }
        count
    }
}

/// A shell script that prints one word.
pub(crate) fn script(word: &str) -> String {
    format!("#!/bin/sh\necho {word}\n")
}

pub(crate) fn files_below(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().map(|entry| entry.unwrap().path());
    let below = |path: PathBuf| if path.is_dir() { files_below(&path) } else { vec![path] };
    entries.flat_map(below).collect()
}

/// The example that cargo builds beside the tests.
pub(crate) fn probe() -> PathBuf {
    let tests = std::env::current_exe().unwrap();
    let probe = tests.parent().unwrap().with_file_name("examples").join("store_probe");
    assert!(probe.exists(), "run `cargo test -p dbt-client`: it builds {}", probe.display());
    probe
}

/// Returns what a program that ended well has printed.
pub(crate) fn said(output: &Output) -> String {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {errors}", output.status);
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// Returns the code and the complaint of a program that has refused and said nothing else.
pub(crate) fn refused(output: &Output) -> (i32, String) {
    assert_eq!(String::from_utf8_lossy(&output.stdout), "");
    let errors = String::from_utf8(output.stderr.clone()).unwrap();
    (output.status.code().unwrap_or(-1), errors)
}

/// Says whether these tests may mount file systems and become another user, for themselves.
pub(crate) fn is_root() -> bool {
    let may = || Command::new("unshare").args(["-m", "true"]).status().is_ok_and(|it| it.success());
    rustix::process::geteuid().is_root() && may()
}
