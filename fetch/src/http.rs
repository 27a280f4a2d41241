//! HTTP and TLS, by ureq and rustls.

use std::cell::Cell;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ureq::http::{Response, StatusCode, header};
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::{Agent, Body};

use super::server::{SendOn, Server};
use super::{FetchError, Result, TRIES, WAIT};
use image::index::{MAX_FILE, MAX_INDEX, UrlPath};
use image::store::{Partial, StoreError};

/// How long a server may be silent.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long an index, or the head of an answer, may take in all.
const WHOLE: Duration = Duration::from_secs(300);
/// How often it is told how far a file is.
const TOLD: Duration = Duration::from_millis(100);
/// How often an answer may send us on.
const SENT_ON: usize = 5;

/// Asks one server.
#[derive(Debug)]
pub struct Client {
    agent: Agent,
    server: Server,
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
    /// More than an index can be.
    #[error("{url}: more than {limit} bytes came")]
    TooLong {
        /// What was asked.
        url: String,
        /// The limit.
        limit: u64,
    },
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
    /// Makes a client. Proxies are those of the environment: `https_proxy`, `all_proxy`, `no_proxy` and their capitals.
    ///
    /// # Errors
    /// The file of certificates cannot be read, or has none.
    pub fn new(server: Server, ca_file: Option<&Path>, progress: bool) -> Result<Self, HttpError> {
        let roots = match ca_file {
            Some(path) => RootCerts::from(certificates(path)?),
            None => RootCerts::PlatformVerifier,
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
            .timeout_connect(Some(PATIENCE))
            .timeout_per_read(Some(PATIENCE))
            .timeout_recv_response(Some(WHOLE))
            .build();
        let told = progress.then(|| Cell::new(Instant::now()));
        Ok(Self { agent: config.into(), server, told })
    }

    /// Returns the server that is asked.
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// Returns an index; `None` where the server has no such thing.
    pub(super) fn text(&self, path: &str) -> Result<Option<Vec<u8>>> {
        let (mut tries, mut wait) = (TRIES, WAIT);
        loop {
            tries -= 1;
            match self.text_once(path) {
                Err(error) if error.may_pass() && tries > 0 => std::thread::sleep(wait),
                answer => return Ok(answer?),
            }
            wait *= 4;
        }
    }

    fn text_once(&self, path: &str) -> Result<Option<Vec<u8>>, HttpError> {
        let url = self.server.url(path);
        let answer = self.ask(&url, 0, SendOn::Nobody)?;
        match answer.status() {
            StatusCode::NOT_FOUND => return Ok(None),
            StatusCode::OK => {}
            status => return Err(HttpError::Status { url, status: status.as_u16() }),
        }
        let mut bytes = Vec::new();
        let mut body = answer.into_body().into_reader().take(MAX_INDEX + 1);
        body.read_to_end(&mut bytes).map_err(|error| broken(&url, error.into()))?;
        match bytes.len() as u64 > MAX_INDEX {
            true => Err(HttpError::TooLong { url, limit: MAX_INDEX }),
            false => Ok(Some(bytes)),
        }
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
        let answer = self.ask(&url, partial.length(), SendOn::AnybodyByTls)?;
        match answer.status() {
            StatusCode::PARTIAL_CONTENT if goes_on(&answer, partial.length()) => {}
            // All that there is may be here already; the digest tells.
            StatusCode::RANGE_NOT_SATISFIABLE if partial.length() > 0 && size.is_none() => return Ok(()),
            StatusCode::OK => partial.restart().map_err(failed)?,
            status => return Err(HttpError::Status { url, status: status.as_u16() }.into()),
        }
        let whole = answer.body().content_length().map(|rest| partial.length().saturating_add(rest));
        let mut body = answer.into_body().into_reader();
        let mut buffer = vec![0; 1 << 16];
        loop {
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

    /// Asks, and follows an answer that may send us on.
    fn ask(&self, url: &str, from: u64, send_on: SendOn) -> Result<Response<Body>, HttpError> {
        let mut at = url.to_owned();
        for _ in 0..=SENT_ON {
            let mut request = self.agent.get(&at);
            if from > 0 {
                request = request.header(header::RANGE, format!("bytes={from}-"));
            }
            let answer = request.call().map_err(|error| broken(&at, error))?;
            if !answer.status().is_redirection() {
                return Ok(answer);
            }
            let to =
                answer.headers().get(header::LOCATION).and_then(|to| to.to_str().ok()).unwrap_or_default();
            let next = self.server.sent_on(to, send_on);
            at = next.ok_or_else(|| HttpError::SentOn { url: at.clone(), to: to.to_owned() })?;
        }
        Err(HttpError::SentOn { url: url.to_owned(), to: at })
    }
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
