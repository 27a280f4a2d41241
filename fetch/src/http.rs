//! HTTP and TLS, by ureq and rustls.

use std::cell::{Cell, RefCell};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ureq::http::{Response, StatusCode, header};
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::typestate::WithoutBody;
use ureq::{Agent, Body, RequestBuilder};

use super::proxy;
use super::registry;
use super::request::{Request, What};
use super::server::{SendOn, Server};
use super::signed::{BadSignature, Keys};
use super::{FetchError, Result, TRIES, WAIT};
use image::index::{MAX_FILE, MAX_INDEX, UrlPath};
use image::store::{Partial, StoreError};

/// How long a server may be silent.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long an index, or the head of an answer, may take in all.
const WHOLE: Duration = Duration::from_secs(300);
/// How many bytes a second a file has to come by, once it has taken that long.
const SLOWEST: u64 = 1000;
/// The longest answer with a token.
const MAX_TOKEN: u64 = 1 << 20;
/// How often it is told how far a file is.
const TOLD: Duration = Duration::from_millis(100);
/// How often an answer may send us on.
const SENT_ON: usize = 5;

/// Where distributions have the certificates that they trust, in one file: Debian and Alpine, Fedora, openSUSE, and some more.
const BUNDLES: [&str; 5] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
    "/etc/ssl/certs/ca-bundle.crt",
];
/// Where people say that theirs are elsewhere.
const NAMED: [&str; 2] = ["SSL_CERT_FILE", "SSL_CERT_DIR"];

/// Reads the machine's certificates while every file can be read yet: links lead anywhere (openSUSE, NixOS). Where there is no such file,
/// or another is named, they are looked for when the first server answers.
fn of_this_machine(bundles: &[&str], is_set: impl Fn(&str) -> bool) -> RootCerts {
    let read = |path: &&str| certificates(Path::new(path)).ok();
    let bundle = bundles.iter().filter(|_| !NAMED.iter().any(|name| is_set(name))).find_map(read);
    bundle.map_or(RootCerts::PlatformVerifier, RootCerts::from)
}

/// Asks one server.
#[derive(Debug)]
pub struct Client {
    agent: Agent,
    server: Server,
    /// What is shown to who issues tokens, in place of a name and a password.
    credentials: Option<String>,
    /// What the server wants to see.
    authorization: RefCell<Option<String>>,
    /// Who has to have signed an index.
    keys: Option<Keys>,
    /// When it was told last how far a file is, where that is wished.
    told: Option<Cell<Instant>>,
}

/// Why a server gave nothing.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// No answer, or one that broke off.
    #[error("{url}: {error}")]
    Broken {
        /// What was asked.
        url: String,
        /// What happened.
        error: String,
        /// Whether it was never reached.
        unreachable: bool,
    },
    /// An answer of another kind.
    #[error("{url}: the server answers {status}")]
    Status {
        /// What was asked.
        url: String,
        /// The answer.
        status: u16,
    },
    /// An answer that sends us where we do not go.
    #[error("{url}: the server sends us on to {to:?}, which is refused")]
    SentOn {
        /// What was asked.
        url: String,
        /// Where to.
        to: String,
    },
    /// Bytes come, but so few that there is no end to be seen.
    #[error(
        "{url}: less than {SLOWEST} bytes a second come; what has come of a file is kept, and gone on with the next time"
    )]
    Slow {
        /// What was asked.
        url: String,
    },
    /// More than an index can be.
    #[error("{url}: more than {limit} bytes came")]
    TooLong {
        /// What was asked.
        url: String,
        /// The limit.
        limit: u64,
    },
    /// A proxy that cannot be asked: to ask the server directly instead could be what the user wants least.
    #[error(
        "the variable {0} names no proxy that can be asked: an http:// or https:// one can; set it to that, or no_proxy to '*'"
    )]
    Proxy(&'static str),
    /// The keys of those who sign indexes.
    #[error("{0}")]
    Keys(BadSignature),
    /// The file of certificates.
    #[error("{path}: {error}", path = .path.display())]
    Certificates {
        /// Which.
        path: PathBuf,
        /// Why not.
        error: String,
    },
}

impl HttpError {
    /// Tells whether the same might work a little later.
    pub(super) fn may_pass(&self) -> bool {
        match self {
            Self::Broken { .. } => true,
            Self::Status { status, .. } => *status >= 500 || *status == 429,
            _ => false,
        }
    }

    /// Tells whether no server was there to answer.
    pub(super) fn is_unreachable(&self) -> bool {
        matches!(self, Self::Broken { unreachable: true, .. })
    }

    pub(super) fn into_error(self) -> FetchError {
        FetchError::Http(self)
    }
}

impl Client {
    /// Makes a client, with the proxy of the environment.
    ///
    /// # Errors
    /// The file of certificates cannot be read, or has none; or the proxy is of another kind than HTTP.
    pub fn new(request: &Request) -> Result<Self, HttpError> {
        let keys = request.keyring.as_deref().map(Keys::prepare).transpose().map_err(HttpError::Keys)?;
        let roots = match &request.ca_file {
            Some(path) => RootCerts::from(certificates(path)?),
            None => of_this_machine(&BUNDLES, |name| std::env::var_os(name).is_some()),
        };
        let tls = TlsConfig::builder()
            .root_certs(roots)
            .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .build();
        let config = Agent::config_builder()
            .tls_config(tls)
            .user_agent(concat!("bryo/", env!("CARGO_PKG_VERSION")))
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .proxy(proxy::of_environment(|name| std::env::var(name).ok())?)
            .timeout_connect(Some(PATIENCE))
            .timeout_per_read(Some(PATIENCE))
            .timeout_recv_response(Some(WHOLE))
            .build();
        let told = request.progress.then(|| Cell::new(Instant::now()));
        let credentials = match &request.what {
            What::PullOfRegistry(reference) => registry::credentials(reference.host()),
            _ => None,
        };
        let (server, authorization) = (request.server.clone(), RefCell::default());
        Ok(Self { agent: config.into(), server, credentials, authorization, keys, told })
    }

    /// Returns the server that is asked.
    pub fn server(&self) -> &Server {
        &self.server
    }

    pub(super) fn keys(&self) -> Option<&Keys> {
        self.keys.as_ref()
    }

    /// Returns an index; `None` where the server has no such thing.
    pub(super) fn text(&self, path: &str) -> Result<Option<Vec<u8>>> {
        self.manifest(path, "*/*", MAX_INDEX)
    }

    /// Returns what is small and can be had in several forms; `None` where the server has no such thing.
    pub(super) fn manifest(&self, path: &str, accept: &str, limit: u64) -> Result<Option<Vec<u8>>> {
        let (mut tries, mut wait) = (TRIES, WAIT);
        loop {
            tries -= 1;
            match self.text_once(path, accept, limit) {
                Err(error) if error.may_pass() && tries > 0 => std::thread::sleep(wait),
                answer => return Ok(answer?),
            }
            wait *= 4;
        }
    }

    fn text_once(&self, path: &str, accept: &str, limit: u64) -> Result<Option<Vec<u8>>, HttpError> {
        let url = self.server.url(path);
        let answer = self.ask(&url, &[(header::ACCEPT, accept)], SendOn::Nobody)?;
        match answer.status() {
            StatusCode::NOT_FOUND => return Ok(None),
            StatusCode::OK => {}
            status => return Err(HttpError::Status { url, status: status.as_u16() }),
        }
        body_of(answer, url, limit).map(Some)
    }

    /// Fetches what is missing of a file, in one answer.
    pub(super) fn rest(
        &self,
        path: &UrlPath,
        size: Option<u64>,
        partial: &mut Partial,
        failed: &impl Fn(StoreError) -> FetchError,
    ) -> Result<()> {
        let url = self.server.url(path.as_str());
        let limit = size.unwrap_or(MAX_FILE);
        if partial.length() > limit {
            partial.restart().map_err(failed)?;
        }
        let range = format!("bytes={}-", partial.length());
        let range = (partial.length() > 0).then_some((header::RANGE, range.as_str()));
        let answer = self.ask(&url, range.as_slice(), SendOn::AnybodyByTls)?;
        match answer.status() {
            StatusCode::PARTIAL_CONTENT if goes_on(&answer, partial.length()) => {}
            // All that there is may be here already; the digest tells.
            StatusCode::RANGE_NOT_SATISFIABLE if partial.length() > 0 && size.is_none() => return Ok(()),
            StatusCode::OK => partial.restart().map_err(failed)?,
            // Some servers refuse parts, or give others: asked for the whole file, they have it.
            status
                if partial.length() > 0
                    && status.as_u16() < 500
                    && status != StatusCode::TOO_MANY_REQUESTS
                    || status == StatusCode::NOT_IMPLEMENTED && partial.length() > 0 =>
            {
                partial.restart().map_err(failed)?;
                return self.rest(path, size, partial, failed);
            }
            status => return Err(HttpError::Status { url, status: status.as_u16() }.into()),
        }
        let whole = answer.body().content_length().map(|rest| partial.length().saturating_add(rest));
        let mut body = answer.into_body().into_reader();
        let mut buffer = vec![0; 1 << 16];
        let (begun, had) = (Instant::now(), partial.length());
        loop {
            if is_slow(partial.length().saturating_sub(had), begun.elapsed()) {
                return Err(HttpError::Slow { url }.into());
            }
            match body.read(&mut buffer).map_err(|error| broken(&url, error.into()))? {
                0 => break,
                read => partial.append(&buffer[..read], limit).map_err(failed)?,
            }
            self.tell(partial.length(), size.or(whole));
        }
        match size {
            Some(size) if partial.length() < size => {
                let error = format!("it ends after {} of {size} bytes", partial.length());
                Err(HttpError::Broken { url, error, unreachable: false }.into())
            }
            _ => Ok(()),
        }
    }

    /// Prints how far a file is, a line now and then. Who does not read it any more has ended.
    fn tell(&self, came: u64, of: Option<u64>) {
        if let Some(told) = self.told.as_ref().filter(|told| told.get().elapsed() >= TOLD) {
            told.set(Instant::now());
            let _unheard = writeln!(std::io::stdout(), "{}", serde_json::json!({"came": came, "of": of}));
        }
    }

    /// Prints that somebody else fetches a file, where it is told how far files are.
    pub(super) fn waits(&self, path: &str) {
        if self.told.is_some() {
            let waits_for = format!("another command fetches {path}; this one waits for it");
            let _unheard = writeln!(std::io::stdout(), "{}", serde_json::json!({"note": waits_for}));
        }
    }

    /// Asks, and follows an answer that may send us on.
    fn ask(
        &self,
        url: &str,
        headers: &[(header::HeaderName, &str)],
        send_on: SendOn,
    ) -> Result<Response<Body>, HttpError> {
        let mut at = url.to_owned();
        for _ in 0..=SENT_ON {
            let answer = self.get(&at, headers)?;
            if answer.status() == StatusCode::UNAUTHORIZED
                && self.server.is_own(&at)
                && self.authorize(&answer)?
            {
                continue;
            }
            if !answer.status().is_redirection() {
                return Ok(answer);
            }
            let to =
                answer.headers().get(header::LOCATION).and_then(|to| to.to_str().ok()).unwrap_or_default();
            let next = self.server.sent_on(&at, to, send_on);
            at = next.ok_or_else(|| HttpError::SentOn { url: at.clone(), to: to.to_owned() })?;
        }
        Err(HttpError::SentOn { url: url.to_owned(), to: at })
    }
}

impl Client {
    /// A proxy's own machine is not this one, which alone is asked without TLS.
    fn request(&self, url: &str) -> RequestBuilder<WithoutBody> {
        let request = self.agent.get(url);
        match url.starts_with("http://") {
            true => request.config().proxy(None).build(),
            false => request,
        }
    }

    /// Nobody but the server itself is shown what it wants to see.
    fn get(&self, at: &str, headers: &[(header::HeaderName, &str)]) -> Result<Response<Body>, HttpError> {
        let mut request = self.request(at);
        for (name, value) in headers {
            request = request.header(name, *value);
        }
        if let Some(shown) = self.authorization.borrow().as_deref().filter(|_| self.server.is_own(at)) {
            request = request.header(header::AUTHORIZATION, shown);
        }
        request.call().map_err(|error| broken(at, error))
    }

    /// Gets what the server wants to see. Tells whether it is something new.
    fn authorize(&self, answer: &Response<Body>) -> Result<bool, HttpError> {
        let wanted = answer.headers().get(header::WWW_AUTHENTICATE).and_then(|wanted| wanted.to_str().ok());
        let Some(wanted) = wanted.filter(|_| self.authorization.borrow().is_none()) else { return Ok(false) };
        let shown = match Challenge::parse(wanted) {
            Some(challenge) => Some(self.token(&challenge)?),
            None if wanted.starts_with("Basic") => self.credentials.clone(),
            None => None,
        };
        let is_new = shown.is_some();
        self.authorization.replace(shown);
        Ok(is_new)
    }

    /// Asks for a token whom the registry names, over TLS or on this very machine.
    fn token(&self, challenge: &Challenge) -> Result<String, HttpError> {
        let refused = || HttpError::SentOn { url: self.server.to_string(), to: challenge.realm.clone() };
        let url = self
            .server
            .sent_on(&self.server.url(""), &challenge.realm, SendOn::AnybodyByTls)
            .ok_or_else(refused)?;
        let join = if url.contains('?') { '&' } else { '?' };
        let url =
            format!("{url}{join}service={}&scope={}", escape(&challenge.service), escape(&challenge.scope));
        let mut request = self.request(&url);
        if let Some(shown) = &self.credentials {
            request = request.header(header::AUTHORIZATION, shown);
        }
        let answer = request.call().map_err(|error| broken(&url, error))?;
        if answer.status() != StatusCode::OK {
            return Err(HttpError::Status { url, status: answer.status().as_u16() });
        }
        let bytes = body_of(answer, url.clone(), MAX_TOKEN)?;
        let read: serde_json::Value = serde_json::from_slice(&bytes).unwrap_or_default();
        let token = ["token", "access_token"].iter().find_map(|name| read[name].as_str());
        let token = token.filter(|token| token.bytes().all(|byte| byte.is_ascii_graphic()));
        let none = || HttpError::Broken { url, error: "it gives no token".to_owned(), unreachable: false };
        token.map(|token| format!("Bearer {token}")).ok_or_else(none)
    }
}

/// What a registry wants to see a token for. Source: RFC 6750, and the token authentication of the distribution project.
#[derive(Debug, Default, PartialEq, Eq)]
struct Challenge {
    realm: String,
    service: String,
    scope: String,
}

impl Challenge {
    fn parse(text: &str) -> Option<Self> {
        let mut rest = text.strip_prefix("Bearer ")?;
        let mut challenge = Self::default();
        while let Some((name, after)) = rest.split_once("=\"") {
            let (value, after) = after.split_once('"')?;
            match name.trim_matches([',', ' ']) {
                "realm" => challenge.realm = value.to_owned(),
                "service" => challenge.service = value.to_owned(),
                "scope" => challenge.scope = value.to_owned(),
                _ => {}
            }
            rest = after;
        }
        (!challenge.realm.is_empty()).then_some(challenge)
    }
}

/// Writes what means nothing in a query.
fn escape(text: &str) -> String {
    let one = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'_' | b'-' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(one).collect()
}

fn body_of(answer: Response<Body>, url: String, limit: u64) -> Result<Vec<u8>, HttpError> {
    let mut bytes = Vec::new();
    let (mut body, begun) = (answer.into_body().into_reader().take(limit + 1), Instant::now());
    let mut buffer = vec![0; 1 << 16];
    loop {
        match body.read(&mut buffer).map_err(|error| broken(&url, error.into()))? {
            0 => break,
            read => bytes.extend_from_slice(&buffer[..read]),
        }
        if begun.elapsed() > WHOLE {
            return Err(HttpError::Slow { url });
        }
    }
    match bytes.len() as u64 > limit {
        true => Err(HttpError::TooLong { url, limit }),
        false => Ok(bytes),
    }
}

fn is_slow(came: u64, taken: Duration) -> bool {
    taken > WHOLE && came / taken.as_secs().max(1) < SLOWEST
}

/// A part that begins elsewhere would make another file.
fn goes_on(answer: &Response<Body>, from: u64) -> bool {
    let range = answer.headers().get(header::CONTENT_RANGE).and_then(|range| range.to_str().ok());
    range.is_some_and(|range| range.starts_with(&format!("bytes {from}-")))
}

fn broken(url: &str, error: ureq::Error) -> HttpError {
    use ureq::Timeout;
    let unreachable = match &error {
        ureq::Error::HostNotFound | ureq::Error::ConnectionFailed => true,
        // What a proxy answers whose other side is not there. RFC 9110.
        ureq::Error::ConnectProxyFailed(said) => {
            ["/502", "/503", "/504"].iter().any(|status| said.ends_with(status))
        }
        ureq::Error::Timeout(timeout) => matches!(timeout, Timeout::Resolve | Timeout::Connect),
        ureq::Error::Io(error) => matches!(
            error.kind(),
            std::io::ErrorKind::ConnectionRefused
                | std::io::ErrorKind::HostUnreachable
                | std::io::ErrorKind::NetworkUnreachable
        ),
        _ => false,
    };
    HttpError::Broken { url: url.to_owned(), error: error.to_string(), unreachable }
}

fn certificates(path: &Path) -> Result<Vec<Certificate<'static>>, HttpError> {
    let failed = |error: String| HttpError::Certificates { path: path.to_owned(), error };
    let pem = std::fs::read(path).map_err(|error| failed(error.to_string()))?;
    let items = parse_pem(&pem).collect::<Result<Vec<_>, _>>().map_err(|error| failed(error.to_string()))?;
    let only = |item| if let PemItem::Certificate(certificate) = item { Some(certificate) } else { None };
    let found: Vec<_> = items.into_iter().filter_map(only).collect();
    if found.is_empty() { Err(failed("it holds no certificate in PEM form".to_owned())) } else { Ok(found) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By a link, as everything is on NixOS.
    #[test]
    fn the_machines_certificates_are_read_at_once_unless_others_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let [file, link, text] =
            ["a.pem", "link.pem", "text"].map(|name| dir.path().join(name).display().to_string());
        let pem = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";
        std::fs::write(&file, pem).unwrap();
        std::fs::write(&text, "none").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        let bundles = ["/no/such/file", &text, &link];
        let of = |bundles: &[&str], named: &str| of_this_machine(bundles, |name| name == named);
        assert!(matches!(of(&bundles, "HOME"), RootCerts::Specific(found) if found.len() == 1));
        assert!(matches!(of(&bundles, "SSL_CERT_DIR"), RootCerts::PlatformVerifier));
        assert!(matches!(of(&bundles[..2], "HOME"), RootCerts::PlatformVerifier));
    }

    #[test]
    fn what_comes_byte_by_byte_has_an_end() {
        let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
        assert!(!is_slow(0, minutes(5)) && is_slow(12 * 6, minutes(6)));
        assert!(!is_slow(100 << 20, minutes(600)) && is_slow(10 << 20, minutes(600)));
    }

    #[test]
    fn a_proxy_whose_other_side_is_not_there_is_no_answer_of_a_server() {
        let said = |status: u16| {
            let said = format!("proxy server responded {status}/{status}");
            broken("https://a.org", ureq::Error::ConnectProxyFailed(said)).is_unreachable()
        };
        assert!([502, 503, 504].into_iter().all(said));
        assert!(![403, 407, 500].into_iter().any(said));
    }

    #[test]
    fn a_challenge_says_who_gives_tokens_for_what() {
        let text = r#"Bearer realm="https://auth.example.org/token",service="registry",scope="repository:a/b:pull,push""#;
        let read = Challenge::parse(text).unwrap();
        assert_eq!(
            (read.realm.as_str(), read.service.as_str()),
            ("https://auth.example.org/token", "registry")
        );
        assert_eq!(escape(&read.scope), "repository%3Aa%2Fb%3Apull%2Cpush");
        for none in
            ["", "Basic realm=\"x\"", "Bearer", "Bearer realm=x", "Bearer realm=\"x", "Bearer service=\"x\""]
        {
            assert_eq!(Challenge::parse(none), None, "{none}");
        }
    }
}
