//! Which server is asked, and where it may send us.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// A server: `https://images.linuxcontainers.org`, with or without a port and a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    is_https: bool,
    /// The host, with or without a port.
    host: String,
    /// Where on it, without a `/` at either end.
    dir: String,
}

/// Why a text is no server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum BadServer {
    #[error("a server is a host name, as in images.example.org, or https:// and more")]
    Form,
    #[error("without TLS anybody on the way could alter an index; http:// is for this machine itself alone")]
    Plain,
}

/// Whom a request may be sent on to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SendOn {
    /// What is asked for is believed because this server says it.
    Nobody,
    /// What is asked for is believed by its digest.
    AnybodyByTls,
}

impl Server {
    /// Returns the URL of a path on the server.
    pub(super) fn url(&self, path: &str) -> String {
        let dir = if self.dir.is_empty() { String::new() } else { format!("{}/", self.dir) };
        format!("{}/{dir}{path}", self.origin())
    }

    /// Tells whether a URL is this server's own.
    pub(super) fn is_own(&self, url: &str) -> bool {
        url.strip_prefix(&self.origin()).is_some_and(|rest| rest.starts_with('/'))
    }

    fn origin(&self) -> String {
        format!("http{}://{}", if self.is_https { "s" } else { "" }, self.host)
    }

    /// Returns the URL to ask next, where an answer to `asked` may send us to it. A credential, a scheme of another kind or a plain
    /// connection is nothing to be sent to.
    pub(super) fn sent_on(&self, asked: &str, location: &str, send_on: SendOn) -> Option<String> {
        let plain = location.bytes().all(|byte| byte.is_ascii_graphic());
        // A path is one of whoever answered.
        let url = match location.strip_prefix('/') {
            Some(path) if !path.starts_with('/') => format!("{}/{path}", origin_of(asked)?),
            _ => location.to_owned(),
        };
        let is_own = self.is_own(&url);
        let authority = url.strip_prefix("https://").and_then(|rest| rest.split(['/', '?', '#']).next());
        let by_tls = authority.is_some_and(|host| !host.is_empty() && !host.contains('@'));
        (plain && (is_own || send_on == SendOn::AnybodyByTls && by_tls)).then_some(url)
    }
}

impl FromStr for Server {
    type Err = BadServer;

    fn from_str(text: &str) -> Result<Self, BadServer> {
        let (is_https, rest) = match text.split_once("://") {
            None => (true, text),
            Some(("https", rest)) => (true, rest),
            Some(("http", rest)) => (false, rest),
            Some(_) => return Err(BadServer::Form),
        };
        let (host, dir) = rest.split_once('/').unwrap_or((rest, ""));
        let (host, dir) = (host.to_ascii_lowercase(), dir.trim_end_matches('/'));
        let is_dir = dir.is_empty() || dir.parse::<image::index::UrlPath>().is_ok();
        let is_plain =
            |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b':' | b'[' | b']');
        let begins = host.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '[');
        if !begins || !host.bytes().all(is_plain) || !is_dir {
            return Err(BadServer::Form);
        }
        if !is_https && !is_this_machine(&host) {
            return Err(BadServer::Plain);
        }
        Ok(Self { is_https, host, dir: dir.to_owned() })
    }
}

/// Returns scheme and authority of a URL.
fn origin_of(url: &str) -> Option<&str> {
    let (scheme, rest) = url.split_once("://")?;
    let host = rest.split(['/', '?', '#']).next()?;
    url.get(..scheme.len() + 3 + host.len())
}

fn is_this_machine(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    name == "localhost" || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.url("").trim_end_matches('/'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(text: &str) -> Result<Server, BadServer> {
        text.parse()
    }

    #[test]
    fn a_server_is_asked_by_tls() {
        for (text, url) in [
            ("images.example.org", "https://images.example.org/a"),
            ("https://images.example.org/", "https://images.example.org/a"),
            ("https://EXAMPLE.org:8443/mirror/lxc/", "https://example.org:8443/mirror/lxc/a"),
            ("http://127.0.0.1:80", "http://127.0.0.1:80/a"),
            ("http://[::1]:80", "http://[::1]:80/a"),
            ("http://localhost", "http://localhost/a"),
        ] {
            assert_eq!(server(text).map(|server| server.url("a")).as_deref(), Ok(url));
            let recorded = config::images::server_in_records(text);
            assert_eq!(server(text).map(|server| server.to_string()), Ok(recorded));
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for plain in ["http://example.org", "http://127.0.0.1.example.org", "http://localhost.example.org"] {
            assert_eq!(server(plain), Err(BadServer::Plain), "{plain}");
        }
        for form in [
            "",
            "-x",
            "file:///etc",
            "ftp://a",
            "https://",
            "https://a@b",
            "a b",
            "a/../b",
            "a\n",
            "a?b",
            "a//b",
        ] {
            assert_eq!(server(form), Err(BadServer::Form), "{form:?}");
        }
    }

    #[test]
    fn an_answer_sends_us_on_only_where_nothing_is_lost() {
        let server = server("https://a.org/dir").unwrap();
        let sent_on = |to: &str, send_on| server.sent_on("https://a.org/dir/y", to, send_on);
        for own in ["/x", "https://a.org/x"] {
            assert_eq!(sent_on(own, SendOn::Nobody).as_deref(), Some("https://a.org/x"));
        }
        for elsewhere in ["https://b.org/x", "https://a.org.b.org/x", "https://a.org:444/x"] {
            assert_eq!(sent_on(elsewhere, SendOn::Nobody), None, "{elsewhere}");
            assert_eq!(sent_on(elsewhere, SendOn::AnybodyByTls).as_deref(), Some(elsewhere));
        }
        for never in [
            "http://a.org/x",
            "http://127.0.0.1/x",
            "//b.org/x",
            "file:///etc/passwd",
            "x",
            "",
            "https://",
            "https://u@b/",
        ] {
            assert_eq!(sent_on(never, SendOn::AnybodyByTls), None, "{never}");
        }
        // A second one's path is its own.
        let second = |asked: &str, send_on| server.sent_on(asked, "/x?y", send_on);
        assert_eq!(
            second("https://b.org:444/a/b", SendOn::AnybodyByTls).as_deref(),
            Some("https://b.org:444/x?y")
        );
        assert_eq!(second("https://b.org?/a", SendOn::AnybodyByTls).as_deref(), Some("https://b.org/x?y"));
        assert_eq!(second("https://b.org/a", SendOn::Nobody), None);
        assert_eq!(sent_on("https://b/\nx", SendOn::AnybodyByTls), None);
    }
}
