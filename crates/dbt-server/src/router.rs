//! From method and path to what is asked. Nothing is done here.

use dbt_core::name::ToolName;
use dbt_core::repo_path::RepoPath;
use dbt_core::{announcement, brand};
use hyper::{Method, Uri};

use crate::action::{Delete, Read, Write};
use crate::error::ApiError;
use crate::operate::probes::Probe;
use crate::target::{Target, Unclean};
use crate::{v1, web};

/// What a request asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// How the server is.
    Health(Probe),
    /// What it counts.
    Metrics,
    /// What clients are told before they are configured.
    Announcement,
    /// Which methods the path knows.
    Options {
        /// They.
        allow: &'static str,
    },
    /// The same, under its clean path.
    Redirect {
        /// Where that is.
        location: String,
    },
    /// A file or a listing.
    Files {
        /// The action.
        action: Read,
        /// Whether the path ended in a slash.
        directory: bool,
    },
    /// The names of the tools, as JSON.
    Tools(Read),
    /// The versions of a tool, as JSON.
    Versions(Read),
    /// Something of the API under `/-/api/v1/`.
    V1(v1::Ask),
    /// A page for browsers, under `/-/ui/`.
    Ui(web::Ask),
    /// Something that does not exist for readers, whoever they are.
    Nothing,
    /// Writing a file.
    Put(Write),
    /// Deleting a file or a directory.
    Remove(Delete),
}

impl Route {
    /// Returns the word for it in the log and in what is counted.
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Health(_probe) => "health",
            Self::Metrics => "metrics",
            Self::Announcement => "announcement",
            Self::Options { .. } => "options",
            Self::Redirect { .. } => "redirect",
            Self::Files { directory: false, .. } => "file",
            Self::Files { directory: true, .. } => "listing",
            Self::Tools(_action) => "tools",
            Self::Versions(_action) => "versions",
            Self::V1(ask) => ask.label(),
            Self::Ui(ask) => ask.label(),
            Self::Nothing => "nothing",
            Self::Put(_action) => "upload",
            Self::Remove(_action) => "delete",
        }
    }
}

const READ_METHODS: &str = "GET, HEAD, OPTIONS";
const ALL_METHODS: &str = "GET, HEAD, PUT, DELETE, OPTIONS";

/// Below this first segment lives the API, and nothing else.
const API: &str = "-";

/// Says what a request asks for. `writable` is whether any caller could write at all.
pub fn route(method: &Method, uri: &Uri, writable: bool) -> Result<Route, ApiError> {
    if *method == Method::OPTIONS && uri.path() == "*" {
        return Ok(Route::Options { allow: if writable { ALL_METHODS } else { READ_METHODS } });
    }
    let target = Target::of(uri).map_err(|error| bad_path(error.to_string()))?;
    let first = target.path.segments().next();
    let is_answer = target.path.as_str() == "healthz" || is_announcement(&target.path);
    let is_file = !matches!(first, Some(API)) && !is_answer;
    let allow = if is_file && writable { ALL_METHODS } else { READ_METHODS };
    if let Some(route) = api_v1(method, &target, writable)? {
        return Ok(route);
    }
    if let Some(route) = ui(method, &target)? {
        return Ok(route);
    }
    match *method {
        Method::OPTIONS => Ok(Route::Options { allow }),
        Method::GET | Method::HEAD => Ok(read(target, uri)),
        Method::PUT if is_file && writable => write(target),
        Method::DELETE if is_file && writable => delete(target),
        _ => Err(ApiError::MethodNotAllowed { allow }),
    }
}

/// Says what of the newer API is asked for; nothing for what is none of its paths.
fn api_v1(method: &Method, target: &Target, writable: bool) -> Result<Option<Route>, ApiError> {
    let segments: Vec<&str> = target.path.segments().collect();
    let [API, "api", "v1", rest @ ..] = segments.as_slice() else { return Ok(None) };
    if target.directory || target.unclean.is_some() {
        return Ok(None);
    }
    if *method == Method::OPTIONS {
        // An unknown method is told what there is.
        let allow = match v1::Ask::of(&Method::TRACE, rest, writable) {
            Err(ApiError::MethodNotAllowed { allow }) => allow,
            _ => READ_METHODS,
        };
        return Ok(Some(Route::Options { allow }));
    }
    Ok(v1::Ask::of(method, rest, writable)?.map(Route::V1))
}

/// Says which page is asked for; nothing for what is no path of the pages.
fn ui(method: &Method, target: &Target) -> Result<Option<Route>, ApiError> {
    let segments: Vec<&str> = target.path.segments().collect();
    let [API, "ui", rest @ ..] = segments.as_slice() else { return Ok(None) };
    if target.unclean.is_some() {
        return Ok(None);
    }
    let is_read = matches!(*method, Method::GET | Method::HEAD);
    if rest.is_empty() && !target.directory && is_read {
        return Ok(Some(Route::Redirect { location: "/-/ui/".to_owned() }));
    }
    if *method == Method::OPTIONS {
        // An unknown method is told what there is.
        let allow = match web::Ask::of(&Method::TRACE, rest, target.directory) {
            Err(ApiError::MethodNotAllowed { allow }) => allow,
            _ => READ_METHODS,
        };
        return Ok(Some(Route::Options { allow }));
    }
    web::Ask::of(method, rest, target.directory).map(|ask| Some(Route::Ui(ask)))
}

fn read(target: Target, uri: &Uri) -> Route {
    if target.unclean.is_some() {
        let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
        return Route::Redirect { location: target.clean_location() + &query };
    }
    if is_announcement(&target.path) && !target.directory {
        return Route::Announcement;
    }
    let segments: Vec<&str> = target.path.segments().collect();
    match (segments.as_slice(), target.directory) {
        (["healthz"], false) => Route::Health(Probe::Compatible),
        ([API, "livez"], false) => Route::Health(Probe::Live),
        ([API, "readyz"], false) => Route::Health(Probe::Ready),
        ([API, "metrics"], false) => Route::Metrics,
        ([API, "api", "tools"], false) => tools().map_or(Route::Nothing, Route::Tools),
        ([API, "api", "tools", name, "versions"], false) => {
            versions(name).map_or(Route::Nothing, Route::Versions)
        }
        ([API, ..], _) => Route::Nothing,
        _ => {
            let directory = target.directory;
            Read::of(target.path)
                .map_or(Route::Nothing, |action| Route::Files { action, directory })
        }
    }
}

fn is_announcement(path: &RepoPath) -> bool {
    announcement::PATH.strip_prefix('/') == Some(path.as_str())
}

fn tools() -> Option<Read> {
    Read::of(RepoPath::root().join(brand::TOOLS_PATH).ok()?)
}

fn versions(name: &str) -> Option<Read> {
    let name: ToolName = name.parse().ok()?;
    Read::of(tools_path()?.join(name.as_str()).ok()?)
}

fn tools_path() -> Option<RepoPath> {
    RepoPath::root().join(brand::TOOLS_PATH).ok()
}

/// A write is never redirected: clients repeat a redirected PUT as a GET and report success.
fn write(target: Target) -> Result<Route, ApiError> {
    refuse_dots(&target)?;
    if target.directory {
        return Err(bad_path("a file's path does not end with a slash".to_owned()));
    }
    Write::of(target.path).map(Route::Put).map_err(|error| bad_path(error.to_string()))
}

fn delete(target: Target) -> Result<Route, ApiError> {
    refuse_dots(&target)?;
    let hidden = || bad_path("names that begin with a dot cannot be deleted".to_owned());
    let action = Delete::of(target.path).ok_or_else(hidden)?;
    Ok(Route::Remove(action.of_directory(target.directory)))
}

fn refuse_dots(target: &Target) -> Result<(), ApiError> {
    if target.unclean == Some(Unclean::Dots) {
        return Err(bad_path("`.` and `..` are not allowed in the path of a write".to_owned()));
    }
    Ok(())
}

fn bad_path(detail: String) -> ApiError {
    ApiError::BadRequest { code: "bad-path", detail }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn routed(method: &str, uri: &str) -> Result<Route, ApiError> {
        route(&method.parse().unwrap(), &uri.parse().unwrap(), true)
    }

    fn status(method: &str, uri: &str) -> u16 {
        routed(method, uri).map_or_else(|error| error.status().as_u16(), |_route| 0)
    }

    #[test]
    fn a_write_to_an_unclean_path_is_refused_or_means_the_clean_one_but_never_redirected() {
        let clean = routed("PUT", "/dbt/latest").unwrap();
        assert_eq!(routed("PUT", "//dbt///latest").unwrap(), clean);
        for uri in ["/dbt/../x", "/dbt/./x", "/dbt/%2e%2e/x", "/dbt/x/..", "/dbt/x/"] {
            assert_eq!(status("PUT", uri), 400, "{uri}");
        }
        assert_eq!(status("DELETE", "/dbt/../x"), 400);
        assert_eq!(status("DELETE", "/.reposerver"), 400);
        assert_eq!(status("DELETE", "/dbt/.git"), 400);
    }

    #[test]
    fn a_read_of_an_unclean_path_is_sent_to_the_clean_one_with_its_query() {
        let redirect = |uri| {
            let Route::Redirect { location } = routed("GET", uri).unwrap() else { panic!("{uri}") };
            location
        };
        assert_eq!(redirect("//dbt//x?a=b"), "/dbt/x?a=b");
        assert_eq!(redirect("/dbt/%2e%2e/x/"), "/x/");
    }

    #[test]
    fn the_api_and_the_health_page_cannot_be_written() {
        for uri in ["/healthz", "/-/api/tools", "/-/x", "/-"] {
            assert_eq!(status("PUT", uri), 405, "{uri}");
            assert_eq!(status("DELETE", uri), 405, "{uri}");
        }
    }

    #[test]
    fn what_clients_are_told_is_read_and_never_written() {
        let path = announcement::PATH;
        for method in ["GET", "HEAD"] {
            assert_eq!(routed(method, path).unwrap(), Route::Announcement);
        }
        for method in ["PUT", "DELETE", "POST"] {
            let error = routed(method, path).unwrap_err();
            assert!(
                matches!(error, ApiError::MethodNotAllowed { allow: READ_METHODS }),
                "{method}"
            );
        }
    }

    #[test]
    fn unknown_methods_are_named_what_the_path_knows() {
        for method in ["POST", "PATCH", "TRACE", "CONNECT", "MOVE", "PROPFIND"] {
            let error = routed(method, "/dbt/x").unwrap_err();
            assert!(matches!(error, ApiError::MethodNotAllowed { allow: ALL_METHODS }), "{method}");
        }
        let closed = route(&Method::PUT, &"/dbt/x".parse().unwrap(), false).unwrap_err();
        assert!(matches!(closed, ApiError::MethodNotAllowed { allow: READ_METHODS }));
    }

    #[test]
    fn hidden_files_and_unknown_api_paths_are_nothing() {
        for uri in [
            "/.reposerver/lock",
            "/dbt/.git/config",
            "/-/api/tools/",
            "/-/api/x",
            "/-/",
            "/-/api/tools/a%20b/versions",
            "/-/api/tools/x.asc/versions",
            "/.well-known/dbt.json/",
            "/.well-known/other.json",
            "/x/.well-known/dbt.json",
        ] {
            assert_eq!(routed("GET", uri).unwrap(), Route::Nothing, "{uri}");
        }
    }
}
