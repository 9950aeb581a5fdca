//! What `publish-downstream.sh` of the Go implementation read from the environment, so that a
//! pipeline that ran it needs another command and nothing else.

use dbt_core::brand;
use dbt_ui::exit_code::ExitCode;
use dbt_ui::report::Report;

use crate::args::{Auth, Release};
use crate::env::{Environment, Variable};
use crate::stop::Stop;

/// Reads the variables of the script. What is typed goes first.
pub(super) fn translated(
    mut typed: Release,
    environment: &Environment,
) -> Result<(Release, Environment), Stop> {
    let mut environment = environment.clone();
    if let Some(method) = environment.text(Variable::UploadMethod)?.filter(|it| it != "http") {
        return Err(Stop::usage(format!("`UPLOAD_METHOD` is `{method}`: only `http` is known"))
            .hint("for a bucket, write a directory (`--to DIR`) and copy it there"));
    }
    let place = &mut typed.delivery.place;
    let typed_places = [&place.server, &place.to, &place.repository, &place.tools_repository];
    if typed_places.iter().all(|typed| typed.is_none()) {
        place.to = environment.text(Variable::ReposerverUrl)?;
    }
    if typed.delivery.signing.signer.is_none() {
        let identity = environment.text(Variable::GpgIdentity)?;
        typed.delivery.signing.signer = identity.map(|identity| format!("gpg:{identity}"));
    }
    let auth = match (typed.auth, environment.text(Variable::ReposerverAuth)?) {
        (Some(auth), _) => auth,
        (None, None) => return Ok((typed, environment)),
        (None, Some(text)) => match text.as_str() {
            "none" => Auth::None,
            "basic" => Auth::Basic,
            "bearer" => Auth::Bearer,
            "oidc" => Auth::Oidc,
            _ => {
                return Err(Stop::usage(format!("`REPOSERVER_AUTH` is `{text}`"))
                    .hint("it is `none`, `basic`, `bearer` or `oidc`"));
            }
        },
    };
    let uploading = &mut typed.delivery.uploading;
    match auth {
        Auth::None => {}
        Auth::Basic => {
            if uploading.username.is_none() {
                uploading.username = environment.text(Variable::ReposerverUser)?;
            }
            if uploading.username.is_none() {
                return Err(Stop::usage("`--auth basic` needs a user name")
                    .hint("`--username NAME` or `REPOSERVER_USER` gives it"));
            }
            environment.replace(Variable::PublishPassword, Variable::ReposerverPass);
        }
        Auth::Bearer => {
            environment.replace(Variable::PublishToken, Variable::ReposerverToken);
            let is_typed = uploading.token.is_some() || uploading.token_file.is_some();
            if !is_typed && !environment.is_set(Variable::PublishToken) {
                return Err(Stop::usage("`--auth bearer` needs a token")
                    .hint("`--token-file FILE` or `REPOSERVER_TOKEN` gives it"));
            }
        }
        Auth::Oidc => {
            let is_job =
                environment.is_set(Variable::IdToken) || environment.is_set(Variable::IdTokenFile);
            if !is_job && typed.delivery.place.to.is_some() {
                let message = "`--auth oidc` knows nobody here";
                return Err(Report::new(ExitCode::REFUSED, message)
                    .hint(format!(
                        "sign in with `{} login` and name the server by `-s NAME`; a job gives its identity in `{}`",
                        brand::PROGRAM,
                        Variable::IdToken.name()
                    ))
                    .into());
            }
        }
    }
    Ok((typed, environment))
}
