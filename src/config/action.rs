//! What a `[[route]]` does with a request.

use http::{HeaderValue, StatusCode};

use super::{
    PathPattern,
    address::parse_authority,
    header::parse_header_value,
    problem::Wrong,
    reader::{Table, Value},
    route::parse_path,
    template::{TemplatePart, check_template, template_parts},
    upgrade::{default_upgrade, read_upgrade},
    write::Entries,
};

#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    Forward(Forward),
    Redirect(Redirect),
    Respond(Respond),
}

/// Send the request on to a cluster.
#[derive(Debug, Clone, PartialEq)]
pub struct Forward {
    pub cluster: String,
    /// What stands in the place of the route's path prefix: begins with a slash and ends with one only if it is all
    /// there is, which is `strip_prefix = true`.
    pub replace_prefix: Option<String>,
    pub host_header: HostHeader,
    /// Protocols that clients may change to, in lower case, each once; never one that carries HTTP.
    pub upgrade: Vec<String>,
    /// Whether CONNECT is let through.
    pub connect: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostHeader {
    /// As the client sent it.
    Keep,
    /// The endpoint's own address as configured.
    Endpoint,
    Fixed(HeaderValue),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redirect {
    /// Target; `{host}` (with its port), `{path}` and `{query}` (with its `?`) stand for the request's.
    pub to: String,
    pub status: StatusCode,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Respond {
    pub status: StatusCode,
    pub body: String,
    pub content_type: HeaderValue,
}

/// The fields of [`Redirect::to`].
pub const REDIRECT_FIELDS: [&str; 3] = ["host", "path", "query"];

/// The request's method and body are kept (RFC 9110 15.4.9).
const DEFAULT_REDIRECT_STATUS: StatusCode = StatusCode::PERMANENT_REDIRECT;
const DEFAULT_RESPOND_STATUS: StatusCode = StatusCode::OK;
const DEFAULT_CONTENT_TYPE: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

impl Action {
    pub(super) fn forward(cluster: String) -> Self {
        Self::Forward(Forward {
            cluster,
            replace_prefix: None,
            host_header: HostHeader::Keep,
            upgrade: default_upgrade(),
            connect: false,
        })
    }

    pub(super) fn write(&self, entries: &mut Entries) {
        match self {
            Self::Forward(forward) => forward.write(entries),
            Self::Redirect(redirect) => entries.put_table("redirect", &redirect.entries()),
            Self::Respond(respond) => entries.put_raw("respond", respond.entries().inline()),
        }
    }
}

/// What reading an action has to know.
pub(super) struct ActionReader<'r> {
    pub(super) path: &'r PathPattern,
    pub(super) clusters: &'r [String],
}

impl ActionReader<'_> {
    pub(super) fn read(&self, table: &mut Table<'_>) -> Option<Action> {
        let written: Vec<_> = ["cluster", "redirect", "respond"]
            .into_iter()
            .filter(|key| table.has(key))
            .collect();
        match written.as_slice() {
            [_] => {}
            [] => {
                let wrong = Wrong::new("this route leads nowhere");
                let help =
                    "write one of `cluster = \"api\"`, `redirect = { to = \"/new\" }` and `respond = { status = 404 }`";
                table.report_absence(wrong.help(help));
            }
            [first, others @ ..] => {
                for other in others {
                    let wrong = Wrong::new(format!("a route with `{first}` cannot have `{other}` too"));
                    table.report(other, wrong.help("leave out one of them"));
                }
            }
        }
        // All are read even so: each of them has its own problems, and none of them is an unknown key.
        let forward = self.read_forward(table);
        let redirect = table.section("redirect", None, Redirect::read);
        let respond = table.section("respond", None, |table| Some(Respond::read(table)));
        forward
            .map(Action::Forward)
            .or(redirect.map(Action::Redirect))
            .or(respond.map(Action::Respond))
    }

    fn read_forward(&self, table: &mut Table<'_>) -> Option<Forward> {
        let cluster = table.value("cluster").and_then(|value| self.read_cluster(value));
        let replace_prefix = self.read_replace_prefix(table);
        let host_header = table.or("host_header", HostHeader::Keep, |value| {
            value.parse("\"keep\", \"endpoint\" or a host", parse_host_header)
        });
        let upgrade = read_upgrade(table);
        let connect = table.boolean("connect", false);
        if !table.has("cluster") && (table.has("redirect") || table.has("respond")) {
            for key in ["strip_prefix", "replace_prefix", "host_header", "upgrade", "connect"]
                .into_iter()
                .filter(|key| table.has(key))
            {
                let wrong = Wrong::new(format!(
                    "`{key}` changes what is forwarded, and this route forwards nothing"
                ));
                table.report(key, wrong.help("leave it out"));
            }
        }
        Some(Forward {
            cluster: cluster?,
            replace_prefix,
            host_header,
            upgrade,
            connect,
        })
    }

    fn read_cluster(&self, value: Value<'_>) -> Option<String> {
        let name = value.text("the name of a cluster, such as \"api\"")?;
        if self.clusters.iter().any(|cluster| cluster == name) {
            return Some(name.to_owned());
        }
        let wrong = Wrong::new(format!("there is no cluster {name:?}"));
        if self.clusters.is_empty() {
            let key = super::write::key(name);
            value.report_absence(wrong.help(format!("add\n[cluster.{key}]\nendpoints = [\"127.0.0.1:9000\"]")));
        } else {
            value.report_absence(wrong.suggest(name, self.clusters.iter().map(String::as_str)));
        }
        None
    }

    fn read_replace_prefix(&self, table: &mut Table<'_>) -> Option<String> {
        let strip = table.boolean("strip_prefix", false);
        let replacement = table
            .value("replace_prefix")
            .and_then(|value| value.parse("a path, such as \"/v2\"", parse_path));
        for key in ["strip_prefix", "replace_prefix"]
            .into_iter()
            .filter(|key| table.has(key))
        {
            if matches!(self.path, PathPattern::Exact(_)) {
                let wrong = Wrong::new(format!("`{key}` needs a prefix, and `path_exact` is none"));
                table.report(key, wrong.help("leave it out, or write `path` instead of `path_exact`"));
            }
        }
        if strip && table.has("replace_prefix") {
            let wrong = Wrong::new("`strip_prefix` and `replace_prefix` exclude each other");
            table.report("strip_prefix", wrong.help("leave out one of the two"));
        }
        let trimmed = replacement.map(|path| match path.trim_end_matches('/') {
            "" => "/".to_owned(),
            path => path.to_owned(),
        });
        trimmed.or_else(|| strip.then(|| "/".to_owned()))
    }
}

fn parse_host_header(text: &str) -> Result<HostHeader, Wrong> {
    match text {
        "keep" => Ok(HostHeader::Keep),
        "endpoint" => Ok(HostHeader::Endpoint),
        _ if ["keep", "endpoint"].contains(&text.to_lowercase().as_str()) => {
            Err(Wrong::new(format!("{text:?} is in upper case")).help(format!("write {:?}", text.to_lowercase())))
        }
        _ => parse_authority(text)
            .and_then(|host| parse_header_value(&host))
            .map(HostHeader::Fixed),
    }
}

impl Forward {
    fn write(&self, entries: &mut Entries) {
        entries.put("cluster", &self.cluster);
        match self.replace_prefix.as_deref() {
            None => {}
            Some("/") => entries.put("strip_prefix", &true),
            Some(prefix) => entries.put("replace_prefix", prefix),
        }
        match &self.host_header {
            HostHeader::Keep => {}
            HostHeader::Endpoint => entries.put("host_header", "endpoint"),
            HostHeader::Fixed(host) => entries.put("host_header", host),
        }
        entries.changed("upgrade", &self.upgrade, &default_upgrade());
        entries.changed("connect", &self.connect, &false);
    }
}

impl Redirect {
    fn read(table: &mut Table<'_>) -> Option<Self> {
        let example = "\"https://{host}{path}{query}\"";
        let to = table.value("to");
        if to.is_none() {
            table.report_absence(Wrong::new("the redirect has no target").help(format!("write `to = {example}`")));
        }
        let to = to.and_then(|value| value.parse(example, parse_redirect_target));
        let status = table.or("status", DEFAULT_REDIRECT_STATUS, |value| {
            let status = value.integer::<u16>(301..=308)?;
            let wrong = || Wrong::new(format!("{status} is no redirect")).help("write 301, 302, 303, 307 or 308");
            let known = [301, 302, 303, 307, 308].contains(&status);
            value.accept(StatusCode::from_u16(status).ok().filter(|_| known).ok_or_else(wrong))
        });
        Some(Self { to: to?, status })
    }

    fn entries(&self) -> Entries {
        let mut entries = Entries::default();
        entries.put("to", &self.to);
        entries.changed("status", &self.status.as_u16(), &DEFAULT_REDIRECT_STATUS.as_u16());
        entries
    }
}

fn parse_redirect_target(text: &str) -> Result<String, Wrong> {
    check_template(text, &REDIRECT_FIELDS)?;
    // What a request puts in is a host, a path and a query, so the target is good if it is so with one of each.
    let filled: String = template_parts(text)
        .into_iter()
        .map(|part| match part {
            TemplatePart::Text(text) => text,
            TemplatePart::Field("host") => "a.example",
            TemplatePart::Field("path") => "/a",
            TemplatePart::Field(_) => "?a",
        })
        .collect();
    let leads_somewhere = ["/", "http://", "https://"]
        .iter()
        .any(|start| filled.starts_with(start));
    if !leads_somewhere || filled.parse::<http::Uri>().is_err() || HeaderValue::from_str(&filled).is_err() {
        let wrong = Wrong::new(format!("{text:?} is no target for a redirect"));
        return Err(wrong.help("write a URL such as \"https://{host}{path}{query}\", or a path such as \"/new\""));
    }
    Ok(text.to_owned())
}

impl Respond {
    fn read(table: &mut Table<'_>) -> Self {
        let status = table.or("status", DEFAULT_RESPOND_STATUS, |value| {
            let status = value.integer::<u16>(200..=599)?;
            StatusCode::from_u16(status).ok()
        });
        let body = table.or("body", String::new(), |value| value.text("a text").map(str::to_owned));
        if [204, 205, 304].contains(&status.as_u16()) && !body.is_empty() {
            let wrong = Wrong::new(format!("an answer with status {} has no body", status.as_u16()));
            table.report("body", wrong.help("leave the body out, or write another status"));
        }
        let content_type = table.or("content_type", DEFAULT_CONTENT_TYPE, |value| {
            value.parse("a media type, such as \"text/html; charset=utf-8\"", parse_content_type)
        });
        Self {
            status,
            body,
            content_type,
        }
    }

    fn entries(&self) -> Entries {
        let mut entries = Entries::default();
        entries.changed("status", &self.status.as_u16(), &DEFAULT_RESPOND_STATUS.as_u16());
        entries.changed("body", &self.body, &String::new());
        entries.changed("content_type", &self.content_type, &DEFAULT_CONTENT_TYPE);
        entries
    }
}

/// A media type (RFC 9110 8.3.1), of which the slash is checked.
fn parse_content_type(text: &str) -> Result<HeaderValue, Wrong> {
    if text
        .split_once('/')
        .is_none_or(|(kind, subtype)| kind.is_empty() || subtype.is_empty())
    {
        let wrong = Wrong::new(format!("{text:?} is not a media type"));
        return Err(wrong.help("write for example \"text/html; charset=utf-8\" or \"application/json\""));
    }
    parse_header_value(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redirect_leads_to_a_url_or_a_path() {
        for text in [
            "https://{host}{path}{query}",
            "http://shop.example/",
            "/new{query}",
            "{path}/",
        ] {
            assert_eq!(parse_redirect_target(text).as_deref(), Ok(text));
        }
        for text in [
            "",
            "shop.example",
            "{host}/a",
            "https://{hots}/",
            "https://",
            "/a b",
            "ftp://a/",
            "/{",
            "/a\n",
        ] {
            assert!(
                parse_redirect_target(text).unwrap_err().what_to_write().is_some(),
                "{text}"
            );
        }
    }

    #[test]
    fn a_host_header_is_a_word_or_a_host() {
        assert_eq!(parse_host_header("keep"), Ok(HostHeader::Keep));
        assert_eq!(parse_host_header("endpoint"), Ok(HostHeader::Endpoint));
        let fixed = HostHeader::Fixed(HeaderValue::from_static("api.example:8443"));
        assert_eq!(parse_host_header("api.example:8443"), Ok(fixed));
        for text in ["Keep", "", "a b", "user@host", "http://a/"] {
            assert!(parse_host_header(text).is_err(), "{text}");
        }
    }
}
