//! How work ends early: a typed error becomes what a person reads, once, at the edge.

use std::error::Error;

use dbt_client::source::{Class, FetchError};
use dbt_ui::exit_code::ExitCode;
use dbt_ui::report::Report;

/// An error of ours that knows how the program ends because of it.
pub trait Explained: Error + Send + Sync + Sized + 'static {
    /// Returns how the program ends.
    fn code(&self) -> ExitCode;

    /// Returns what the user can do about it, if anything.
    fn hints(&self) -> Vec<String> {
        Vec::new()
    }
}

/// The end of the work, ready to be shown.
#[derive(Debug)]
pub struct Stop(pub(crate) Report);

impl Stop {
    /// Returns what is shown.
    pub const fn report(&self) -> &Report {
        &self.0
    }

    /// Ends the work because the command line is wrong.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self(Report::new(ExitCode::USAGE, message.into()))
    }

    /// Ends the work because something is not what it claims to be.
    pub(crate) fn refused(message: impl Into<String>) -> Self {
        Self(Report::new(ExitCode::VERIFICATION_REFUSED, message.into()))
    }

    /// Adds something the user can do.
    pub(crate) fn hint(self, hint: impl Into<String>) -> Self {
        Self(self.0.hint(hint))
    }

    /// Puts what was being done in front.
    pub(crate) fn while_doing(self, message: impl Into<String>) -> Self {
        Self(self.0.while_doing(message))
    }
}

impl From<Report> for Stop {
    fn from(report: Report) -> Self {
        Self(report)
    }
}

impl<E: Explained> From<E> for Stop {
    fn from(error: E) -> Self {
        let (code, hints) = (error.code(), error.hints());
        Self(Report::new(code, error).hints(hints))
    }
}

impl Explained for FetchError {
    fn code(&self) -> ExitCode {
        match self.class() {
            Class::Outage => ExitCode::UNREACHABLE,
            Class::SignIn | Class::Forbidden => ExitCode::REFUSED,
            Class::NotFound => ExitCode::NOT_FOUND,
            Class::Refused => ExitCode::VERIFICATION_REFUSED,
        }
    }

    fn hints(&self) -> Vec<String> {
        let ours = match self.class() {
            Class::SignIn => Some(
                "say who publishes: `--token-file FILE`, or `--username NAME --password-file FILE`",
            ),
            Class::Forbidden => Some(
                "whoever publishes here has no right to that: `reposerver explain` says by which \
                 rule, and an administrator gives it",
            ),
            Class::Outage | Class::NotFound | Class::Refused => None,
        };
        let hint = self.hint().or_else(|| ours.map(str::to_owned));
        hint.into_iter().collect()
    }
}

impl Explained for dbt_client::fsx::FsxError {
    fn code(&self) -> ExitCode {
        ExitCode::INTERNAL
    }
}

impl Explained for dbt_client::url::InvalidUrl {
    fn code(&self) -> ExitCode {
        ExitCode::USAGE
    }

    fn hints(&self) -> Vec<String> {
        self.hint().map(str::to_owned).into_iter().collect()
    }
}

/// Makes the errors of parsing what was typed into errors of usage.
macro_rules! usage_errors {
    ($($error:ty),+ $(,)?) => {
        $(impl Explained for $error {
            fn code(&self) -> ExitCode {
                ExitCode::USAGE
            }
        })+
    };
}

usage_errors!(
    dbt_core::name::InvalidToolName,
    dbt_core::version::InvalidVersion,
    crate::installer::package::InvalidPackageVersion,
    dbt_core::platform::InvalidPlatform,
    dbt_core::trust::fingerprint::InvalidFingerprint,
    crate::signer::UnknownSigner,
);
