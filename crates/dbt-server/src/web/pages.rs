//! The pages themselves: what their templates show, and how each is answered.

use askama::Template;
use dbt_core::brand;
use dbt_core::name::ToolName;
use hyper::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, WWW_AUTHENTICATE};
use hyper::{Response, StatusCode};

use super::published::{self, Catalog, ListedTool, ShownTool};
use super::query::{escaped, part};
use super::visitor::{Visitor, visitor};
use crate::app::App;
use crate::content::{self, Body};
use crate::error::ApiError;
use crate::pipeline::{Asked, permit};
use crate::respond::{self, Caching};
use crate::v1::listing;

const HTML: &str = "text/html; charset=utf-8";

/// The most letters of a search that are looked for.
const QUERY_LETTERS: usize = 200;

/// What is around every page.
struct Frame {
    program: &'static str,
    /// The directory of all tools.
    tools: &'static str,
    title: String,
    /// What people call whoever is signed in.
    name: Option<String>,
    /// Where somebody can sign in.
    sign_in: Option<String>,
}

impl Frame {
    fn of(
        app: &App,
        title: impl Into<String>,
        name: Option<String>,
        tool: Option<&ToolName>,
    ) -> Self {
        let title = format!("{} - {} catalog", title.into(), brand::PROGRAM);
        let sign_in = place_to_sign_in(app, tool);
        Self { program: brand::PROGRAM, tools: brand::TOOLS_PATH, title, name, sign_in }
    }
}

/// Returns where a browser begins to sign in: at the address to which it comes back, because what it keeps
/// meanwhile is for that address alone.
fn place_to_sign_in(app: &App, tool: Option<&ToolName>) -> Option<String> {
    let settings = app.web.sign_in.as_ref()?.settings();
    let tool = tool.map(|tool| format!("?tool={}", escaped(tool.as_str()))).unwrap_or_default();
    Some(format!("{}/-/ui/sign-in{tool}", settings.origin))
}

#[derive(Template)]
#[template(path = "catalog.html")]
struct CatalogPage {
    frame: Frame,
    query: String,
    tools: Vec<ListedTool>,
    goes_on: bool,
}

impl CatalogPage {
    fn shown(&self) -> usize {
        self.tools.iter().filter(|tool| tool.fits(&self.query)).count()
    }
}

#[derive(Template)]
#[template(path = "tool.html")]
struct ToolPage {
    frame: Frame,
    tool: ShownTool,
}

#[derive(Template)]
#[template(path = "message.html")]
struct MessagePage {
    frame: Frame,
    heading: &'static str,
    lines: Vec<String>,
    /// A link, and what it says.
    action: Option<(String, &'static str)>,
    /// The id of the request, for whoever is told of a failure.
    request: Option<String>,
}

/// Shows the tools, or those that have all words of a search.
pub(super) async fn catalog(app: &App, asked: &Asked) -> Result<Response<Body>, ApiError> {
    let action = listing(&[])?;
    let Visitor { caller, name } = visitor(app, asked, &action).await?;
    let is_known = !caller.is_anonymous();
    let grant = permit(app, asked, caller, action)?;
    let query = part(asked.parts.uri.query(), "q").unwrap_or_default();
    let query = query.chars().take(QUERY_LETTERS).collect();
    let Catalog { tools, goes_on } = published::tools(app, &grant).await?;
    let frame = Frame::of(app, "Tools", name, None);
    let shared = grant.is_open() && !is_known;
    page(app, asked, &CatalogPage { frame, query, tools, goes_on }, shared)
}

/// Shows a tool.
pub(super) async fn tool(
    app: &App,
    asked: &Asked,
    tool: &ToolName,
) -> Result<Response<Body>, ApiError> {
    let action = listing(&[tool.as_str()])?;
    let Visitor { caller, name } = visitor(app, asked, &action).await?;
    let is_known = !caller.is_anonymous();
    let grant = permit(app, asked, caller, action)?;
    let shared = grant.is_open() && !is_known;
    let shown = published::tool(app, &grant, tool).await?;
    let frame = Frame::of(app, tool.as_str(), name, Some(tool));
    page(app, asked, &ToolPage { frame, tool: shown }, shared)
}

/// Says that a session has ended.
pub(super) fn signed_out(app: &App) -> Result<Response<Body>, ApiError> {
    let lines = ["You are signed out here. The identity provider may know you for longer."];
    message(app, StatusCode::OK, ("Signed out", &lines), Offer::SignIn(None))
}

/// Says that somebody is not let in who wanted to sign in.
pub(super) fn not_signed_in(
    app: &App,
    status: StatusCode,
    line: &str,
) -> Result<Response<Body>, ApiError> {
    message(app, status, ("Not signed in", &[line]), Offer::SignIn(None))
}

/// Says why somebody does not see the page that they asked for.
pub(super) fn refusal(
    app: &App,
    asked: &Asked,
    error: ApiError,
    tool: Option<&ToolName>,
) -> Result<Response<Body>, ApiError> {
    let signs_in = app.web.sign_in.is_some();
    let said = error.to_string();
    // What a browser is to do about it is in the head.
    let bare = error.into_response(&asked.parts.headers, asked.origin.request);
    let (status, head) = (bare.status(), bare.headers());
    let asks_password = head.get_all(WWW_AUTHENTICATE).iter().any(is_of_passwords) && !signs_in;
    let (heading, line) = match status {
        StatusCode::UNAUTHORIZED if signs_in => {
            ("Sign in", "The catalog is for people who have signed in.")
        }
        StatusCode::UNAUTHORIZED if asks_password => {
            ("Sign in", "The catalog is for people with a name and a password here.")
        }
        StatusCode::UNAUTHORIZED => (
            "Sign in",
            "The catalog is for people who have signed in, and no browser can do that at this server.",
        ),
        StatusCode::FORBIDDEN => ("Not for you", "You may not see this."),
        StatusCode::NOT_FOUND => ("Nothing is here", "There is no such page, or no such tool."),
        StatusCode::TOO_MANY_REQUESTS => ("Too often", "Try again later."),
        _ => (
            "This did not work",
            "The server could not answer. Try again, or ask its administrator.",
        ),
    };
    let mut lines = vec![line.to_owned()];
    // Of other failures, only the log says more.
    match status {
        StatusCode::FORBIDDEN | StatusCode::TOO_MANY_REQUESTS => lines.push(said),
        StatusCode::UNAUTHORIZED if !signs_in && !asks_password => lines.push(format!(
            "`{0} catalog list` shows it on a machine where {0} is set up.",
            brand::PROGRAM
        )),
        _ => {}
    }
    let offer = match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN if signs_in => Offer::SignIn(tool),
        StatusCode::UNAUTHORIZED => Offer::Nothing,
        _ => Offer::FirstPage,
    };
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let request = Some(asked.origin.request.to_string());
    let mut answer = message_of(app, status, (heading, &lines), offer, request)?;
    for (name, value) in head {
        // The browser's own question for a password would hide the page that leads to the provider.
        let is_asked = *name != WWW_AUTHENTICATE || !signs_in || !is_of_passwords(value);
        if is_asked && ![CONTENT_TYPE, CONTENT_LENGTH].contains(name) {
            if *name == WWW_AUTHENTICATE {
                answer.headers_mut().append(name, value.clone());
            } else {
                answer.headers_mut().insert(name, value.clone());
            }
        }
    }
    Ok(answer)
}

fn is_of_passwords(challenge: &HeaderValue) -> bool {
    challenge.as_bytes().get(..6).is_some_and(|word| word.eq_ignore_ascii_case(b"basic "))
}

/// What a message leads to.
#[derive(Clone, Copy)]
enum Offer<'a> {
    Nothing,
    FirstPage,
    /// Signing in, and the page of a tool after that.
    SignIn(Option<&'a ToolName>),
}

fn message(
    app: &App,
    status: StatusCode,
    words: (&'static str, &[&str]),
    offer: Offer<'_>,
) -> Result<Response<Body>, ApiError> {
    message_of(app, status, words, offer, None)
}

fn message_of(
    app: &App,
    status: StatusCode,
    (heading, lines): (&'static str, &[&str]),
    offer: Offer<'_>,
    request: Option<String>,
) -> Result<Response<Body>, ApiError> {
    let action = match offer {
        Offer::Nothing => None,
        Offer::FirstPage => Some((super::FIRST_PAGE.to_owned(), "All tools")),
        Offer::SignIn(tool) => place_to_sign_in(app, tool).map(|place| (place, "Sign in")),
    };
    let frame = Frame { sign_in: None, ..Frame::of(app, heading, None, None) };
    let lines = lines.iter().map(|line| (*line).to_owned()).collect();
    let text = rendered(&MessagePage { frame, heading, lines, action, request })?;
    let answer = Response::builder()
        .status(status)
        .header(CONTENT_TYPE, HTML)
        .header(CACHE_CONTROL, "no-store")
        .header(CONTENT_LENGTH, text.len());
    respond::finish(answer, content::bytes(text))
}

/// Answers with a page that a browser keeps, and asks again whether it is still true. `shared` is whether
/// everybody sees it so.
fn page(
    app: &App,
    asked: &Asked,
    page: &impl Template,
    shared: bool,
) -> Result<Response<Body>, ApiError> {
    // Where people sign in, the same address shows different people different things.
    let caching = Caching { shared: shared && app.web.sign_in.is_none(), immutable: false };
    respond::page(&asked.parts.headers, HTML, rendered(page)?, None, caching)
}

fn rendered(page: &impl Template) -> Result<String, ApiError> {
    page.render().map_err(|error| ApiError::Internal(error.to_string()))
}

#[cfg(test)]
mod tests {
    /// Every value of a template is escaped unless it says otherwise.
    #[test]
    fn no_template_leaves_a_value_as_it_is() {
        let page = include_str!("../../templates/page.html");
        let catalog = include_str!("../../templates/catalog.html");
        let tool = include_str!("../../templates/tool.html");
        let message = include_str!("../../templates/message.html");
        for template in [page, catalog, tool, message] {
            for way_around in ["safe", "escape(", "|e(", "autoescape"] {
                assert!(!template.contains(way_around), "{way_around}");
            }
            // Escaping does not help where there are no quotes around.
            assert!(!template.contains("={{"), "{template}");
        }
    }
}
