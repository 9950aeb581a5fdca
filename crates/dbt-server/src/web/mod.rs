//! The catalog for people with a browser, at `/-/ui/`: which tools there are, and what of each.
//!
//! It shows what its visitor may list, and nothing else opens anything here: a session of the pages counts
//! for the pages alone, never for the API, the files or a write. Everything that is shown came from
//! somebody else, so every value goes through a template, which escapes it.

use std::sync::Arc;

use dbt_core::name::ToolName;
use hyper::header::{
    CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, LOCATION, SET_COOKIE,
};
use hyper::http::request::Parts;
use hyper::{Method, Response, StatusCode};

use crate::action::Read;
use crate::app::App;
use crate::config;
use crate::content::{self, Body};
use crate::error::ApiError;
use crate::outbound::tls::TlsError;
use crate::pipeline::{self, Asked, admit};
use crate::respond;
use crate::router::Route;

mod cookies;
mod pages;
mod published;
mod query;
mod safety;
pub mod sign_in;
mod visitor;

use self::sign_in::SignIn;

/// What browsers see, and how people sign in there.
#[derive(Default)]
pub struct Web {
    /// Whether there are pages.
    pub catalog: bool,
    /// How people sign in there, if they do by an identity provider.
    pub sign_in: Option<Arc<SignIn>>,
}

impl Web {
    /// Prepares the pages. What one before knows of the same provider stays known.
    pub fn new(settings: &config::Web, before: Option<&Self>) -> Result<Self, TlsError> {
        let known = before.and_then(|before| before.sign_in.as_ref());
        let sign_in = match &settings.sign_in {
            None => None,
            Some(settings) => Some(match known.filter(|known| known.settings() == settings) {
                Some(known) => Arc::clone(known),
                None => Arc::new(SignIn::new(settings.clone())?),
            }),
        };
        Ok(Self { catalog: settings.catalog, sign_in })
    }
}

/// What is asked of the pages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// To be led from the root of the server to the first page.
    FrontDoor,
    /// The tools.
    Catalog,
    /// One tool.
    Tool(ToolName),
    /// The picture in the browser's tab.
    Icon,
    /// To sign in at the identity provider.
    SignIn,
    /// To be let in with what that has given.
    Return,
    /// To end the session.
    SignOut,
    /// To be told that it has ended.
    SignedOut,
    /// A page that there is not.
    Nothing,
}

const READ: &str = "GET, HEAD, OPTIONS";
const GET: &str = "GET, OPTIONS";
const POST: &str = "POST, OPTIONS";

impl Ask {
    /// Says what a method and the segments after `/-/ui/` ask for.
    pub fn of(method: &Method, segments: &[&str], directory: bool) -> Result<Self, ApiError> {
        let is_read = matches!(*method, Method::GET | Method::HEAD);
        let is_get = *method == Method::GET;
        let (asked, allow) = match (segments, directory) {
            ([], true) => (is_read.then_some(Self::Catalog), READ),
            (["tools", name], false) => {
                let tool = name.parse().map_or(Self::Nothing, Self::Tool);
                (is_read.then_some(tool), READ)
            }
            (["icon.svg"], false) => (is_read.then_some(Self::Icon), READ),
            // Both do something, which a look at their heads must not.
            (["sign-in"], false) => (is_get.then_some(Self::SignIn), GET),
            (["callback"], false) => (is_get.then_some(Self::Return), GET),
            (["sign-out"], false) => ((*method == Method::POST).then_some(Self::SignOut), POST),
            (["signed-out"], false) => (is_read.then_some(Self::SignedOut), READ),
            _ => (is_read.then_some(Self::Nothing), READ),
        };
        asked.ok_or(ApiError::MethodNotAllowed { allow })
    }

    /// Returns the word for it in the log and in what is counted.
    pub const fn label(&self) -> &'static str {
        match self {
            Self::FrontDoor | Self::Catalog | Self::Nothing => "web-catalog",
            Self::Tool(_) => "web-tool",
            Self::Icon => "web-icon",
            Self::SignIn | Self::Return | Self::SignOut | Self::SignedOut => "web-sign-in",
        }
    }
}

/// Leads a person at a browser who opens the root of the server to the first page. Whoever lists it
/// otherwise gets the listing.
pub(crate) fn for_browsers(app: &App, parts: &Parts, route: Route) -> Route {
    let is_root =
        matches!(&route, Route::Files { action, directory: true } if action == &Read::root());
    if matches!(route, Route::Ui(_)) && !app.web.catalog {
        Route::Nothing
    } else if is_root && app.web.catalog && is_navigation(parts) {
        Route::Ui(Ask::FrontDoor)
    } else {
        route
    }
}

/// Says whether somebody at a browser typed the address or followed a link. Programs say neither that they
/// navigate (Fetch Metadata) nor that they would rather have TLS, and few say that they read HTML.
fn is_navigation(parts: &Parts) -> bool {
    let is = |name: &str, word: &str| parts.headers.get(name).is_some_and(|value| value == word);
    let accept = parts.headers.get(hyper::header::ACCEPT).and_then(|value| value.to_str().ok());
    let reads_html = accept.is_some_and(|accept| accept.contains("text/html"));
    reads_html && (is("sec-fetch-mode", "navigate") || is("upgrade-insecure-requests", "1"))
}

/// Answers a request for a page. Refusals are pages too.
pub(crate) async fn answer(
    app: &Arc<App>,
    asked: &Asked,
    ask: Ask,
) -> Result<Response<Body>, ApiError> {
    let tool = if let Ask::Tool(name) = &ask { Some(name.clone()) } else { None };
    let answered = match dispatch(app, asked, ask).await {
        Ok(answer) => Ok(answer),
        Err(error) => {
            let error = pipeline::failed(app, asked, error);
            pages::refusal(app, asked, error, tool.as_ref())
        }
    };
    answered.map(safety::kept)
}

async fn dispatch(app: &Arc<App>, asked: &Asked, ask: Ask) -> Result<Response<Body>, ApiError> {
    match ask {
        Ask::FrontDoor => elsewhere(StatusCode::FOUND, FIRST_PAGE, []),
        Ask::Catalog => pages::catalog(app, asked).await,
        Ask::Tool(name) => pages::tool(app, asked, &name).await,
        Ask::Icon => icon(),
        Ask::SignIn => sign_in::begin(app, asked).await,
        Ask::Return => sign_in::finish(app, asked).await,
        Ask::SignOut => sign_in::end(app, asked),
        Ask::SignedOut => pages::signed_out(app),
        Ask::Nothing => {
            // Strangers must not learn from a 404 what they may not list.
            let _grant = admit(app, asked, Read::root()).await?;
            Err(ApiError::NotFound)
        }
    }
}

const FIRST_PAGE: &str = "/-/ui/";

/// Returns the page of a tool, or the first one.
fn page_of(tool: Option<&ToolName>) -> String {
    // Nothing in the name of a tool means something in a URL.
    tool.map_or_else(|| FIRST_PAGE.to_owned(), |tool| format!("{FIRST_PAGE}tools/{tool}"))
}

fn icon() -> Result<Response<Body>, ApiError> {
    let picture = include_str!("../../templates/icon.svg");
    let answer = Response::builder()
        .header(CONTENT_TYPE, "image/svg+xml")
        .header(CACHE_CONTROL, "public, max-age=86400")
        .header(CONTENT_LENGTH, picture.len());
    respond::finish(answer, content::bytes(picture))
}

/// Sends a browser to another place, with cookies.
fn elsewhere<const COOKIES: usize>(
    status: StatusCode,
    location: &str,
    cookies: [Option<HeaderValue>; COOKIES],
) -> Result<Response<Body>, ApiError> {
    let mut answer = Response::builder()
        .status(status)
        .header(LOCATION, location)
        .header(CACHE_CONTROL, "no-store")
        .header(CONTENT_LENGTH, 0);
    for cookie in cookies {
        let cookie = cookie.ok_or_else(|| ApiError::Internal("a cookie is none".to_owned()))?;
        answer = answer.header(SET_COOKIE, cookie);
    }
    respond::finish(answer, content::empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(method: &str, path: &str) -> Result<Ask, ApiError> {
        let directory = path.is_empty() || path.ends_with('/');
        let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
        Ask::of(&method.parse().unwrap(), &segments, directory)
    }

    #[test]
    fn each_page_knows_its_methods() {
        for (method, path, ask) in [
            ("GET", "", Ask::Catalog),
            ("HEAD", "", Ask::Catalog),
            ("GET", "tools/x", Ask::Tool("x".parse().unwrap())),
            ("GET", "tools/x.asc", Ask::Nothing),
            ("GET", "tools/x/", Ask::Nothing),
            ("GET", "tools", Ask::Nothing),
            ("GET", "sign-in", Ask::SignIn),
            ("GET", "callback", Ask::Return),
            ("POST", "sign-out", Ask::SignOut),
            ("HEAD", "signed-out", Ask::SignedOut),
            ("GET", "unknown", Ask::Nothing),
        ] {
            assert_eq!(asked(method, path).unwrap(), ask, "{method} {path}");
        }
        for (method, path) in [
            ("POST", ""),
            ("PUT", "tools/x"),
            ("DELETE", "unknown"),
            ("HEAD", "sign-in"),
            ("POST", "callback"),
            ("GET", "sign-out"),
            ("HEAD", "sign-out"),
        ] {
            let refused = asked(method, path);
            assert!(matches!(refused, Err(ApiError::MethodNotAllowed { .. })), "{method} {path}");
        }
    }

    fn navigates(lines: &[(&str, &str)]) -> bool {
        let mut request = hyper::Request::get("/");
        for (name, value) in lines {
            request = request.header(*name, *value);
        }
        is_navigation(&request.body(()).unwrap().into_parts().0)
    }

    #[test]
    fn only_somebody_at_a_browser_is_led_to_the_pages() {
        let html = ("accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8");
        assert!(navigates(&[html, ("sec-fetch-mode", "navigate")]));
        assert!(navigates(&[html, ("upgrade-insecure-requests", "1")]));
        for lines in [
            &[][..],
            &[html],
            &[("accept", "*/*"), ("sec-fetch-mode", "navigate")],
            &[("accept", "application/json"), ("upgrade-insecure-requests", "1")],
            &[html, ("sec-fetch-mode", "cors")],
        ] {
            assert!(!navigates(lines), "{lines:?}");
        }
    }
}
