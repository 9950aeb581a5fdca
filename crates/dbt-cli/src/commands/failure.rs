//! From typed errors to what a person sees: the exit code and the hints.

use dbt_client::anchor::AnchorError;
use dbt_client::config::ConfigError;
use dbt_client::deletion::DeletionError;
use dbt_client::download::DownloadError;
use dbt_client::exec::ExecError;
use dbt_client::obtain::ObtainError;
use dbt_client::prepare::PrepareError;
use dbt_client::prune::PruneError;
use dbt_client::rollback::RollbackError;
use dbt_client::self_update::SelfUpdateError;
use dbt_client::source::{Class, Failure, FetchError};
use dbt_client::state::StateError;
use dbt_client::store::StoreError;
use dbt_core::brand;
use dbt_core::trust::VerifyError;
use dbt_ui::exit_code::ExitCode;
use dbt_ui::report::Report;

/// Reports that the configuration cannot be used.
pub(crate) fn configuring(error: ConfigError) -> Report {
    let hint = error.hint();
    Report::new(ExitCode::CONFIGURATION, error).hints(hint)
}

/// Reports that a tool could not be made ready.
pub(crate) fn preparing(error: PrepareError) -> Report {
    let (code, hint) = (code_of_preparing(&error), error.hint());
    let short = nobody_is_signed_in(&error);
    let report = Report::new(code, error).hints(hint);
    match short {
        Some(line) => report.in_short(line),
        None => report,
    }
}

/// Returns the one line that is enough where a login is all that is missing: the server has only asked
/// who it is, and nothing is known of the configuration that explains it.
fn nobody_is_signed_in(error: &PrepareError) -> Option<String> {
    let PrepareError::SignIn { source, hint: None, server: _ } = error else { return None };
    if !matches!(source.failure(), Failure::Unauthorized) {
        return None;
    }
    let request = source.request_id().map(|id| format!(" (request {id})"));
    let request = request.unwrap_or_default();
    Some(format!("{error}{request}: `{} login` signs you in", brand::PROGRAM))
}

fn code_of_preparing(error: &PrepareError) -> ExitCode {
    match error {
        PrepareError::Unreachable { .. } | PrepareError::NotCached { .. } => ExitCode::UNREACHABLE,
        PrepareError::SignIn { .. }
        | PrepareError::Credentials { .. }
        | PrepareError::Forbidden(_) => ExitCode::REFUSED,
        PrepareError::Fetch(error) => code_of_fetching(error),
        PrepareError::NoTool { .. } | PrepareError::NoVersion { .. } => ExitCode::NOT_FOUND,
        PrepareError::Trust(AnchorError::State(_) | AnchorError::BlindFirstUse { .. })
        | PrepareError::State(_) => ExitCode::CONFIGURATION,
        PrepareError::Obtain { tool: _, source } | PrepareError::CachedCopy { tool: _, source } => {
            code_of_obtaining(source)
        }
        PrepareError::Withdrawn { .. }
        | PrepareError::WithdrawnBytes { .. }
        | PrepareError::AllWithdrawn { .. }
        | PrepareError::Rollback { .. }
        | PrepareError::Trust(_)
        | PrepareError::Verify { .. }
        | PrepareError::WithdrawnList { .. } => ExitCode::VERIFICATION_REFUSED,
        _ => ExitCode::INTERNAL,
    }
}

fn code_of_obtaining(error: &ObtainError) -> ExitCode {
    match error {
        ObtainError::Fetch(error) => code_of_fetching(error),
        ObtainError::Download(error) => code_of_downloading(error),
        ObtainError::Unconfirmed(_) | ObtainError::Reserved { .. } => ExitCode::UNREACHABLE,
        ObtainError::Store(_) => ExitCode::CANNOT_EXECUTE,
        // The disk failed, and nothing was refused.
        ObtainError::Verify(VerifyError::Read { .. }) => ExitCode::INTERNAL,
        ObtainError::Verify(_) | ObtainError::Changed { .. } | ObtainError::Withdrawn { .. } => {
            ExitCode::VERIFICATION_REFUSED
        }
        _ => ExitCode::INTERNAL,
    }
}

/// A full disk is no outage.
fn code_of_downloading(error: &DownloadError) -> ExitCode {
    if let DownloadError::Fetch(error) = error {
        code_of_fetching(error)
    } else {
        ExitCode::INTERNAL
    }
}

/// Reports that something could not be fetched.
pub(crate) fn fetching(error: FetchError) -> Report {
    let (code, hint) = (code_of_fetching(&error), error.hint());
    Report::new(code, error).hints(hint)
}

fn code_of_fetching(error: &FetchError) -> ExitCode {
    code_of_class(error.class())
}

/// Returns the code of a row of the outage table.
pub(crate) fn code_of_class(class: Class) -> ExitCode {
    match class {
        Class::Outage => ExitCode::UNREACHABLE,
        Class::Refused => ExitCode::VERIFICATION_REFUSED,
        Class::SignIn | Class::Forbidden => ExitCode::REFUSED,
        Class::NotFound => ExitCode::NOT_FOUND,
    }
}

/// Reports that versions could not be deleted.
pub(crate) fn deleting(error: DeletionError) -> Report {
    let hint = error.hint();
    let code = match &error {
        DeletionError::Fetch(error) => code_of_fetching(error),
        DeletionError::NotPublished { .. } => ExitCode::NOT_FOUND,
        DeletionError::Unclear
        | DeletionError::Contradictory
        | DeletionError::KeepNothing
        | DeletionError::Program { .. } => ExitCode::USAGE,
        _ => ExitCode::INTERNAL,
    };
    Report::new(code, error).hints(hint)
}

/// Reports that a tool could not be executed.
pub(crate) fn executing(error: ExecError) -> Report {
    let hint = error.hint();
    Report::new(ExitCode::CANNOT_EXECUTE, error).hints(hint)
}

/// Reports that what is remembered could not be read or written.
pub(crate) fn remembering(error: StateError) -> Report {
    let hint = error.hint();
    Report::new(ExitCode::CONFIGURATION, error).hints([hint])
}

/// Reports that the store could not be changed.
pub(crate) fn storing(error: StoreError) -> Report {
    let hint = error.hint();
    Report::new(ExitCode::CANNOT_EXECUTE, error).hints(hint)
}

/// Reports that old versions could not be removed.
pub(crate) fn pruning(error: PruneError) -> Report {
    Report::new(ExitCode::CONFIGURATION, error)
}

/// Reports that this machine cannot be held on an earlier version.
pub(crate) fn holding(error: RollbackError) -> Report {
    let code = if matches!(error, RollbackError::State(_)) {
        ExitCode::CONFIGURATION
    } else {
        ExitCode::NOT_FOUND
    };
    let hint = error.hint();
    Report::new(code, error).hints(hint)
}

/// Reports that the truststore is not trusted.
pub(crate) fn anchoring(error: AnchorError) -> Report {
    let code = if matches!(error, AnchorError::State(_) | AnchorError::BlindFirstUse { .. }) {
        ExitCode::CONFIGURATION
    } else {
        ExitCode::VERIFICATION_REFUSED
    };
    let hint = error.hint();
    Report::new(code, error).hints(hint)
}

/// Reports that this program did not replace itself.
pub(crate) fn updating_itself(error: SelfUpdateError) -> Report {
    Report::new(code_of_updating_itself(&error), error)
}

/// Reports that this program was not installed.
pub(crate) fn installing(error: SelfUpdateError) -> Report {
    let (code, hint) = (code_of_updating_itself(&error), hint_of_installing(&error));
    let report = if matches!(error, SelfUpdateError::NotInstalled { .. }) {
        Report::new(code, error)
    } else {
        Report::because(code, format!("{} was not installed", brand::PROGRAM), cause_of(error))
    };
    report.hints(hint)
}

/// Says why in the words of an installer: the configuration of somebody who installs says nothing yet
/// of this server, the settings do.
fn cause_of(error: SelfUpdateError) -> Box<dyn std::error::Error + Send + Sync> {
    if matches!(error, SelfUpdateError::Trust(AnchorError::PinnedMissing)) {
        return "none of the keys that the settings of this installer trust is in the truststore"
            .into();
    }
    error.into()
}

fn hint_of_installing(error: &SelfUpdateError) -> Option<String> {
    if let SelfUpdateError::NotInstalled { version: _, source } = error {
        return hint_of_installing(source);
    }
    if let SelfUpdateError::Fetch(error) | SelfUpdateError::Download(DownloadError::Fetch(error)) =
        error
    {
        return error.hint();
    }
    if let SelfUpdateError::Trust(error) = error {
        return error.hint();
    }
    if let SelfUpdateError::Verify(error) = error { error.hint() } else { None }
}

fn code_of_updating_itself(error: &SelfUpdateError) -> ExitCode {
    match error {
        SelfUpdateError::Candidate { version: _, source }
        | SelfUpdateError::NotInstalled { version: _, source } => code_of_updating_itself(source),
        SelfUpdateError::Fetch(error) => code_of_fetching(error),
        SelfUpdateError::Download(error) => code_of_downloading(error),
        SelfUpdateError::Verify(VerifyError::Read { .. }) => ExitCode::INTERNAL,
        SelfUpdateError::NoPrevious { .. }
        | SelfUpdateError::NotPublished { .. }
        | SelfUpdateError::Incomplete => ExitCode::NOT_FOUND,
        SelfUpdateError::State(_)
        | SelfUpdateError::Write { .. }
        | SelfUpdateError::File(_)
        | SelfUpdateError::Unknown => ExitCode::CONFIGURATION,
        SelfUpdateError::Store(_) => ExitCode::CANNOT_EXECUTE,
        SelfUpdateError::Checksum(_)
        | SelfUpdateError::Trust(_)
        | SelfUpdateError::Verify(_)
        | SelfUpdateError::SelfTest(_)
        | SelfUpdateError::CopyDiffers { .. } => ExitCode::VERIFICATION_REFUSED,
        SelfUpdateError::Trial { .. } | _ => ExitCode::INTERNAL,
    }
}
