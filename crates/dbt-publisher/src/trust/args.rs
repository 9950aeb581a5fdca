//! What may be typed after `trust`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::args::{Delivery, SignIn, Where};

/// `trust ...`
#[derive(Debug, Subcommand)]
pub(crate) enum Trust {
    /// Give a repository signed metadata: keys, a root, and a list of everything that is published. Clients look at it on
    /// trial until `trust enforce`
    Init(Init),
    /// Give tools roles of their own, so that what signs new tools cannot sign theirs, and list what is published of them
    Adopt(Adopt),
    /// Let clients decide by signed metadata alone, from now on and for ever
    Enforce(Enforce),
    /// Sign again what expires, and list the truststore if it has changed
    Renew(Renew),
    /// Show what is signed, until when, by whom, and which of the keys are here
    Status(Status),
}

/// `trust init`
#[derive(Debug, Args)]
pub(crate) struct Init {
    /// Where the second administrator's key goes: a file on a stick that is locked away
    #[arg(long, value_name = "FILE")]
    pub(crate) spare: PathBuf,
    /// What the new keys in your directory of keys are called: NAME-admin and NAME-online
    #[arg(long, value_name = "NAME", default_value = "trust")]
    pub(crate) name: String,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) delivery: Delivery,
}

/// `trust adopt`
#[derive(Debug, Args)]
pub(crate) struct Adopt {
    /// The tools
    #[arg(required = true, value_name = "TOOL")]
    pub(crate) tools: Vec<String>,
    /// The key that signs their lists from now on: the name of one of your ed25519 keys. Without it, they stay with the
    /// key they have, and new ones with the administrator's
    #[arg(long, value_name = "NAME")]
    pub(crate) key: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) keys: WithKeys,
}

/// `trust enforce`
#[derive(Debug, Args)]
pub(crate) struct Enforce {
    /// Do not ask
    #[arg(short, long)]
    pub(crate) yes: bool,
    /// An administrator's key that is elsewhere
    #[arg(long, value_name = "FILE")]
    pub(crate) trust_key: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) delivery: Delivery,
}

/// `trust renew`
#[derive(Debug, Args)]
pub(crate) struct Renew {
    /// A key that is elsewhere than in your directory of keys
    #[arg(long, value_name = "FILE", help_heading = "Who signs")]
    pub(crate) trust_key: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) delivery: Delivery,
}

/// `trust status`
#[derive(Debug, Args)]
pub(crate) struct Status {
    /// Begin to trust this root on this machine: `sha256:` and the digest that `trust init` has shown
    #[arg(long, value_name = "sha256:DIGEST")]
    pub(crate) root: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) place: Where,
    #[command(flatten)]
    pub(crate) uploading: SignIn,
}

/// Where metadata goes, and the keys that sign it.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct WithKeys {
    /// A key that is elsewhere than in your directory of keys
    #[arg(long, value_name = "FILE", help_heading = "Who signs")]
    pub(crate) trust_key: Option<PathBuf>,
    /// A file that holds the passphrase of the keys
    #[arg(long, value_name = "FILE", help_heading = "Who signs")]
    pub(crate) passphrase_file: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) place: Where,
    #[command(flatten)]
    pub(crate) uploading: SignIn,
}
