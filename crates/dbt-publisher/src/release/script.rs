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
    let place = &mut typed.delivery.place;
    let typed_places = [&place.server, &place.to, &place.repository, &place.tools_repository];
    let is_open = typed_places.iter().all(|typed| typed.is_none());
    match environment.text(Variable::UploadMethod)?.as_deref() {
        None | Some("http") if is_open => {
            place.to = environment.text(Variable::ReposerverUrl)?;
        }
        Some("s3") if is_open => {
            place.repository = Some(bucket(&environment, Variable::DbtBucket)?);
            place.tools_repository = Some(bucket(&environment, Variable::ToolsBucket)?);
        }
        None | Some("http" | "s3") => {}
        Some(method) => {
            let message = format!("`UPLOAD_METHOD` is `{method}`: only `http` and `s3` are known");
            return Err(Stop::usage(message));
        }
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

/// Returns the URL of a bucket that the script would write to.
fn bucket(environment: &Environment, variable: Variable) -> Result<String, Stop> {
    let name = environment.text(variable)?.ok_or_else(|| {
        Stop::usage(format!("`UPLOAD_METHOD=s3` needs `{}`", variable.name()))
            .hint("or name the places: `--repository s3://BUCKET --tools-repository s3://BUCKET`")
    })?;
    let region = environment.text(Variable::BucketRegion)?;
    let region = region.map(|region| format!("?region={region}")).unwrap_or_default();
    Ok(format!("s3://{name}{region}"))
}
