//! The pages of the catalog: what is asked of them, and what they show that is somebody else's.

use std::collections::BTreeMap;
use std::sync::Arc;

use dbt_core::clock::Clock;
use dbt_core::name::ToolName;
use dbt_server::action::{Delete, Read, Write};
use dbt_server::app::App;
use dbt_server::audit::{self, AuditLog};
use dbt_server::authn::AnyOf;
use dbt_server::authz::{Access, Grant, Policy};
use dbt_server::conditions::Conditions;
use dbt_server::content::BoxFuture;
use dbt_server::storage::memory::Memory;
use dbt_server::storage::{
    Detail, Found, Removed, Shelf, Shelved, Standing, Storage, StorageError, Written,
};
use dbt_server::upload::Upload;
use dbt_server::web::Web;

use crate::fixtures;
use crate::input::{Input, parts};
use crate::request::{Behind, asked};

/// The most letters of a search that a page shows.
const QUERY_LETTERS: usize = 200;

/// What the only tool is called.
const TOOL: &str = "deploy";

/// Asks for a page of a catalog whose texts the input says too.
pub fn run(data: &[u8]) {
    let mut input = Input(data);
    let question = input.byte() % 5;
    let parts = parts(input.0);
    let part = |at: usize| parts.get(at).copied().unwrap_or_default();
    let (asks, description, reason) = (part(0), String::from_utf8_lossy(part(1)), part(2));
    let app = app(&description, &String::from_utf8_lossy(reason));
    match question {
        0 => anything(&app, &format!("/-/ui/?{}", visible(asks))),
        1 => anything(&app, &format!("/-/ui/tools/{}", visible(asks))),
        2 => anything(&app, &format!("/-/ui/{}", visible(asks))),
        3 => searched(&app, &String::from_utf8_lossy(asks), &description),
        _ => the_tool(&app),
    }
}

/// Returns what can stand in the first line of a request.
fn visible(bytes: &[u8]) -> String {
    bytes.iter().filter(|byte| byte.is_ascii_graphic()).map(|byte| char::from(*byte)).collect()
}

/// Whatever is asked for, what comes is a page of ours, or leads to one.
fn anything(app: &Arc<App>, target: &str) {
    let (head, body) = get(app, target);
    let status = head.get(9..12).unwrap_or_default();
    assert!(["200", "301", "302", "308", "400", "404", "405", "414"].contains(&status), "{head}");
    if let Some(place) = header(&head, "location") {
        assert!(place.starts_with('/') && !place.starts_with("//"), "{head}");
    }
    if header(&head, "content-type").is_some_and(|it| it.starts_with("text/html")) && is_ui(target)
    {
        is_ours(&head, &body);
    }
}

/// The server may see another path in it, which is then no page.
fn is_ui(target: &str) -> bool {
    let path = target.split('?').next().unwrap_or_default();
    !path.contains("..") && !path.contains('%') && !path.contains("//")
}

/// A search is shown as it was typed, and finds what has all its words.
fn searched(app: &Arc<App>, text: &str, description: &str) {
    let text: String = text.chars().take(QUERY_LETTERS).collect();
    let escaped: Vec<String> = text.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let escaped = escaped.concat();
    let (head, page) = get(app, &format!("/-/ui/?q={escaped}"));
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    is_ours(&head, &page);
    let value = page.split_once(" value=\"").expect("it shows the search").1;
    let value = value.split_once('"').expect("a value ends").0;
    assert_eq!(unescaped(value), text);
    let item = page.split_once("<li ").expect("it has the tool").1.split_once('>').unwrap().0;
    let words = item.split_once("data-words=\"").expect("it has words").1;
    let words = unescaped(words.split_once('"').unwrap().0);
    assert!(words.starts_with(TOOL), "{words:?}");
    let is_found = text.to_lowercase().split_whitespace().all(|word| words.contains(word));
    assert_eq!(item.ends_with(" hidden"), !is_found, "{text:?} in {words:?}");
    assert!(page.contains(&format!(">{} of 1 tools<", u8::from(is_found))), "{text:?}");
    nothing_turns(&words);
    if description.trim().is_empty() {
        assert_eq!(words.trim(), TOOL);
    }
}

fn the_tool(app: &Arc<App>) {
    let (head, page) = get(app, &format!("/-/ui/tools/{TOOL}"));
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    is_ours(&head, &page);
    nothing_turns(&page);
}

/// Nothing shows a text as another: it is the same for terminals, line ends aside.
fn nothing_turns(text: &str) {
    let turns = |it: char| {
        (it.is_control() && it != '\n')
            || matches!(it, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    assert!(!text.contains(turns), "{:?}", text.chars().find(|it| turns(*it)));
}

/// Every tag is one of the templates', with their attributes, and nothing leads or loads from elsewhere.
fn is_ours(head: &str, page: &str) {
    const TAGS: [&str; 34] = [
        "!doctype", "html", "head", "meta", "title", "link", "style", "body", "a", "header",
        "span", "div", "strong", "form", "button", "main", "h1", "h2", "label", "input", "p", "ul",
        "li", "script", "pre", "code", "details", "summary", "time", "svg", "path", "nav",
        "footer", "small",
    ];
    const ATTRIBUTES: [&str; 28] = [
        "html",
        "lang",
        "charset",
        "name",
        "content",
        "rel",
        "href",
        "type",
        "class",
        "id",
        "action",
        "method",
        "role",
        "for",
        "value",
        "autocomplete",
        "autocapitalize",
        "spellcheck",
        "data-words",
        "hidden",
        "open",
        "datetime",
        "download",
        "aria-label",
        "aria-live",
        "title",
        "width",
        "height",
    ];
    for name in ["content-security-policy", "x-frame-options", "referrer-policy"] {
        assert!(header(head, name).is_some(), "{name}: {head}");
    }
    let mut rest = page;
    while let Some((_text, tag)) = rest.split_once('<') {
        let (inside, after) = tag_of(tag);
        let name_end = inside.find(char::is_whitespace).unwrap_or(inside.len());
        let name = inside[..name_end].trim_start_matches('/').to_ascii_lowercase();
        assert!(TAGS.contains(&name.as_str()), "<{inside}>");
        for (attribute, value) in attributes(&inside[name_end..]) {
            assert!(ATTRIBUTES.contains(&attribute), "{attribute} in <{inside}>");
            let leads = ["href", "action", "src"].contains(&attribute);
            let is_here =
                value.starts_with('#') || value.starts_with('/') && !value.starts_with("//");
            assert!(!leads || is_here, "<{inside}>");
        }
        rest = after;
        // What is in these is the same on all pages, which the policy's digests say.
        if ["style", "script"].contains(&name.as_str()) && !inside.starts_with('/') {
            let end = format!("</{name}>");
            rest = rest.split_once(end.as_str()).expect("it ends").1;
        }
    }
}

/// Returns a tag up to its end, and what follows.
fn tag_of(text: &str) -> (&str, &str) {
    let mut quoted = false;
    for (at, letter) in text.char_indices() {
        match letter {
            '"' => quoted = !quoted,
            '>' if !quoted => return (&text[..at], &text[at + 1..]),
            _ => {}
        }
    }
    panic!("a tag has no end: {text:.100}");
}

fn attributes(mut text: &str) -> Vec<(&str, &str)> {
    let mut found = Vec::new();
    loop {
        text = text.trim_start();
        if text.is_empty() {
            return found;
        }
        let end = text.find(|it: char| it == '=' || it.is_whitespace()).unwrap_or(text.len());
        let name = &text[..end];
        text = &text[end..];
        let Some(value) = text.strip_prefix('=') else {
            found.push((name, ""));
            continue;
        };
        let value = value.strip_prefix('"').expect("values are in quotes");
        let (value, after) = value.split_once('"').expect("quotes end");
        found.push((name, value));
        text = after;
    }
}

fn unescaped(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("&#") {
        let (number, after) = after.split_once(';').expect("an escape ends");
        plain.push_str(before);
        plain.push(char::from_u32(number.parse().expect("it is a number")).expect("of a letter"));
        rest = after;
    }
    assert!(!rest.contains('&') || rest.contains(';'), "{rest}");
    plain + rest
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| {
        let (known, value) = line.split_once(": ")?;
        known.eq_ignore_ascii_case(name).then_some(value)
    })
}

fn get(app: &Arc<App>, target: &str) -> (String, String) {
    let request = format!("GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    let answer = asked(app, request.as_bytes(), Behind::Waiting);
    let answer = String::from_utf8(answer).expect("pages are text");
    let (head, body) = answer.split_once("\r\n\r\n").expect("an answer has a head");
    assert!(!head.starts_with("HTTP/1.1 5"), "{target}: {head}");
    (head.to_owned(), body.to_owned())
}

fn app(description: &str, reason: &str) -> Arc<App> {
    let clock = Clock::Fixed(fixtures::now());
    let files = Memory::new(clock);
    let withdrawn = serde_json::json!({
        "schema": "dbt.withdrawn/1", "tool": TOOL, "serial": 1, "issued": "2026-01-01T00:00:00Z",
        "versions": [{"version": "0.9.0", "reason": reason}],
    });
    for (path, text) in [
        ("1.0.0/linux/amd64/deploy", "artifact"),
        ("1.0.0/linux/amd64/deploy.asc", reason),
        ("1.0.0/description.txt", description),
        ("0.9.0/linux/amd64/deploy", "artifact"),
        ("withdrawn.json", &withdrawn.to_string()),
    ] {
        files.seed(format!("dbt-tools/{TOOL}/{path}").parse().unwrap(), text.to_owned());
    }
    let standing = Standing { version: "1.0.0".to_owned(), size: 8, modified: None };
    let tool = Shelved {
        name: TOOL.parse().unwrap(),
        versions: vec!["1.0.0".to_owned(), "0.9.0".to_owned()],
        withdrawn: vec!["0.9.0".to_owned()],
        platforms: BTreeMap::from([("linux/amd64".to_owned(), standing)]),
        description: Some(("1.0.0".to_owned(), description.to_owned())),
    };
    let shop = Shop { files, shelf: Shelf { tools: vec![tool], goes_on: false } };
    let mut app = App::of_parts(
        AnyOf::new(clock),
        Policy::of_access(Access::Anyone, Access::Proven, true),
        Arc::new(shop),
        AuditLog::new(Box::new(audit::memory::Memory::default()), clock),
        clock,
    );
    app.web = Web { catalog: true, sign_in: None };
    // As if somebody had looked at the disk.
    app.running.health.note(None, None);
    Arc::new(app)
}

/// Files in memory, and what a look at the tree would say of them.
struct Shop {
    files: Memory,
    shelf: Shelf,
}

impl Storage for Shop {
    fn look<'a>(
        &'a self,
        grant: &'a Grant<Read>,
        detail: Detail,
    ) -> BoxFuture<'a, Result<Found, StorageError>> {
        self.files.look(grant, detail)
    }

    fn shelf<'a>(
        &'a self,
        _grant: &'a Grant<Read>,
        _after: Option<ToolName>,
    ) -> BoxFuture<'a, Result<Shelf, StorageError>> {
        Box::pin(std::future::ready(Ok(self.shelf.clone())))
    }

    fn write<'a>(
        &'a self,
        grant: &'a Grant<Write>,
        upload: Upload,
    ) -> BoxFuture<'a, Result<Written, StorageError>> {
        self.files.write(grant, upload)
    }

    fn delete<'a>(
        &'a self,
        grant: &'a Grant<Delete>,
        conditions: &'a Conditions,
    ) -> BoxFuture<'a, Result<Removed, StorageError>> {
        self.files.delete(grant, conditions)
    }
}
