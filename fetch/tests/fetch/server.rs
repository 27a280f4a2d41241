//! An image server that answers as a test says.

use std::collections::{BTreeMap, VecDeque};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use image::store::digest_of;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};

/// How one request for a path is answered.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    /// The file, or the rest of it.
    File(Vec<u8>),
    /// The whole file, whatever part of it is asked for.
    Whole(Vec<u8>),
    /// The first part of the file, whatever part of it is asked for.
    Beginning(Vec<u8>),
    /// The file in many pieces, so that others come meanwhile.
    Slowly(Vec<u8>),
    /// The length of the file, and so many bytes of it.
    BreaksOff(Vec<u8>, usize),
    /// The length of the file, so many bytes of it, and silence.
    Stalls(Vec<u8>, usize),
    /// Bytes without end.
    Endless,
    Status(u16),
    SentOn(String),
}

/// What was asked: the path, and the range.
pub(crate) type Asked = (String, Option<String>);

type Answers = Arc<Mutex<BTreeMap<String, VecDeque<Answer>>>>;

/// What is to be shown for paths that begin so, and who tells of it.
#[derive(Clone)]
struct Wanted {
    start: String,
    challenge: String,
    shown: String,
}

pub(crate) struct Server {
    address: SocketAddr,
    answers: Answers,
    wants: Arc<Mutex<Option<Wanted>>>,
    pub(crate) asked: Arc<Mutex<Vec<Asked>>>,
}

impl Server {
    /// Starts a server that has nothing. It ends with the test's process.
    pub(crate) fn new() -> Self {
        Self::start(Ok)
    }

    /// Starts one that speaks TLS.
    pub(crate) fn with_tls(config: Arc<ServerConfig>) -> Self {
        Self::start(move |stream| {
            let connection = ServerConnection::new(config.clone()).map_err(std::io::Error::other)?;
            Ok(StreamOwned::new(connection, stream))
        })
    }

    fn start<S: Read + Write + Send + 'static>(
        speak: impl Fn(TcpStream) -> std::io::Result<S> + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (answers, asked) = (Answers::default(), Arc::<Mutex<Vec<Asked>>>::default());
        let wants = Arc::<Mutex<Option<Wanted>>>::default();
        let shared = (answers.clone(), asked.clone(), wants.clone());
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (answers, asked, wants) = shared.clone();
                let stream = speak(stream).unwrap();
                // Who goes away in the middle is no failure of the server's.
                thread::spawn(move || drop(serve(stream, &answers, &asked, &wants)));
            }
        });
        Self { address, answers, wants, asked }
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Says how a path is answered from now on.
    pub(crate) fn has(&self, path: &str, answer: Answer) {
        self.answers_in_turn(path, [answer]);
    }

    /// Says how a path is answered one time after the other; the last answer stays.
    pub(crate) fn answers_in_turn(&self, path: &str, answers: impl IntoIterator<Item = Answer>) {
        self.answers.lock().unwrap().insert(path.to_owned(), answers.into_iter().collect());
    }

    pub(crate) fn has_text(&self, path: &str, text: &str) {
        self.has(path, Answer::File(text.into()));
    }

    /// Returns the file that a path is answered by.
    pub(crate) fn text(&self, path: &str) -> Vec<u8> {
        match &self.answers.lock().unwrap()[path][0] {
            Answer::File(bytes) => bytes.clone(),
            other => panic!("{path} is {other:?}"),
        }
    }

    /// Says what is to be shown in `Authorization` for paths that begin so.
    pub(crate) fn wants(&self, start: &str, challenge: &str, shown: &str) {
        let [start, challenge, shown] = [start, challenge, shown].map(str::to_owned);
        *self.wants.lock().unwrap() = Some(Wanted { start, challenge, shown });
    }

    /// Returns what was asked since the last time.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }

    /// Returns which ranges of a path were asked for, and forgets all that was asked.
    pub(crate) fn asked_for(&self, path: &str) -> Vec<Option<String>> {
        self.asked().into_iter().filter(|(asked, _)| asked == path).map(|(_, range)| range).collect()
    }
}

fn serve(
    mut stream: impl Read + Write,
    answers: &Answers,
    asked: &Mutex<Vec<Asked>>,
    wants: &Mutex<Option<Wanted>>,
) -> std::io::Result<()> {
    let head = head(&mut stream)?;
    let path = head.split(' ').nth(1).unwrap_or_default().trim_start_matches('/').to_owned();
    let headers: Vec<_> = head.lines().skip(1).filter_map(|line| line.split_once(": ")).collect();
    let header = |wanted: &str| {
        let found = headers.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted));
        found.map(|(_, value)| (*value).to_owned())
    };
    let range = header("range");
    let wanted = wants.lock().unwrap().clone().filter(|wanted| path.starts_with(&wanted.start));
    if let Some(wanted) = wanted.filter(|wanted| header("authorization").as_ref() != Some(&wanted.shown)) {
        let challenge = wanted.challenge;
        return write!(
            stream,
            "HTTP/1.1 401 X\r\nWWW-Authenticate: {challenge}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        );
    }
    asked.lock().unwrap().push((path.clone(), range.clone()));
    let answer = match answers.lock().unwrap().get_mut(&path) {
        Some(turns) if turns.len() > 1 => turns.pop_front(),
        Some(turns) => turns.front().cloned(),
        None => None,
    };
    match answer.unwrap_or(Answer::Status(404)) {
        Answer::File(bytes) => file(&mut stream, &bytes, range.as_deref()),
        Answer::Whole(bytes) => file(&mut stream, &bytes, None),
        Answer::Beginning(bytes) => file(&mut stream, &bytes, Some("bytes=0-")),
        Answer::Slowly(bytes) => slowly(&mut stream, &bytes),
        Answer::BreaksOff(bytes, until) => begin(&mut stream, &bytes, until),
        Answer::Stalls(bytes, until) => {
            begin(&mut stream, &bytes, until)?;
            // Until the other end is closed.
            stream.read_to_end(&mut Vec::new()).map(drop)
        }
        Answer::Endless => endless(&mut stream),
        Answer::Status(status) => {
            write!(stream, "HTTP/1.1 {status} X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        }
        Answer::SentOn(to) => write!(
            stream,
            "HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        ),
    }
}

/// Reads a request to the empty line that ends it.
pub(crate) fn head(stream: &mut impl Read) -> std::io::Result<String> {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte)? == 1 {
        head.push(byte[0]);
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}

fn file(stream: &mut impl Write, bytes: &[u8], range: Option<&str>) -> std::io::Result<()> {
    let from = range.and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse::<usize>().ok());
    let rest = &bytes[from.unwrap_or(0).min(bytes.len())..];
    match from {
        None => write!(stream, "HTTP/1.1 200 OK\r\n")?,
        Some(from) if from < bytes.len() => {
            let (last, all) = (bytes.len() - 1, bytes.len());
            write!(stream, "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes {from}-{last}/{all}\r\n")?;
        }
        Some(_) => write!(stream, "HTTP/1.1 416 Range Not Satisfiable\r\n")?,
    }
    write!(stream, "Content-Length: {}\r\nConnection: close\r\n\r\n", rest.len())?;
    stream.write_all(rest)
}

fn begin(stream: &mut impl Write, bytes: &[u8], until: usize) -> std::io::Result<()> {
    write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", bytes.len())?;
    stream.write_all(&bytes[..until])
}

fn slowly(stream: &mut impl Write, bytes: &[u8]) -> std::io::Result<()> {
    begin(stream, bytes, 0)?;
    for piece in bytes.chunks(bytes.len().div_ceil(20)) {
        thread::sleep(Duration::from_millis(50));
        stream.write_all(piece)?;
    }
    Ok(())
}

fn endless(stream: &mut impl Write) -> std::io::Result<()> {
    write!(stream, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")?;
    loop {
        stream.write_all(&[b' '; 1 << 16])?;
    }
}

/// An image as servers offer it.
#[derive(Clone)]
pub(crate) struct Image {
    pub(crate) build: &'static str,
    pub(crate) metadata: Vec<u8>,
    pub(crate) rootfs: Vec<u8>,
}

pub(crate) const NAME: &str = "debian/trixie/amd64/default";
pub(crate) const ROOTFS: &str = "images/debian/rootfs.tar.xz";
pub(crate) const METADATA: &str = "images/debian/incus.tar.xz";
pub(crate) const LXC_DIR: &str = "images/debian/trixie/amd64/default/20261125_05:24";

impl Image {
    pub(crate) fn new() -> Self {
        let rootfs = (0..200_000_u32).flat_map(u32::to_le_bytes).collect();
        Self { build: "20261125_05:24", metadata: b"metadata".to_vec(), rootfs }
    }

    /// The list of images of simplestreams.
    pub(crate) fn list(&self) -> Value {
        let both = [&self.metadata[..], &self.rootfs].concat();
        let item = |ftype: &str, path: &str, bytes: &[u8]| json!({"ftype": ftype, "path": path, "size": bytes.len(), "sha256": digest_of(bytes).hex()});
        let mut metadata = item("incus.tar.xz", METADATA, &self.metadata);
        metadata["combined_rootxz_sha256"] = json!(digest_of(&both).hex());
        let items =
            json!({"incus.tar.xz": metadata, "root.tar.xz": item("root.tar.xz", ROOTFS, &self.rootfs)});
        json!({"products": {"debian:trixie:amd64:default": {
            "aliases": "debian/13/default,debian/13", "arch": "amd64", "os": "Debian", "release": "trixie",
            "release_title": "trixie", "variant": "default", "versions": {self.build: {"items": items}},
        }}})
    }

    /// Puts the image on a server with simplestreams.
    pub(crate) fn on_streams(&self, server: &Server) {
        let index =
            json!({"index": {"images": {"datatype": "image-downloads", "path": "streams/v1/images.json"}}});
        server.has_text("streams/v1/index.json", &index.to_string());
        server.has_text("streams/v1/images.json", &self.list().to_string());
        server.has(METADATA, Answer::File(self.metadata.clone()));
        server.has(ROOTFS, Answer::File(self.rootfs.clone()));
    }

    /// Puts the image on a server with LXC's index.
    pub(crate) fn on_lxc(&self, server: &Server) {
        server.has_text(
            "meta/1.0/index-user",
            &format!("debian;trixie;amd64;default;{};/{LXC_DIR}/\n", self.build),
        );
        let sum = |bytes: &[u8], name: &str| format!("{}  {name}\n", digest_of(bytes).hex());
        let sums = sum(&self.metadata, "meta.tar.xz") + &sum(&self.rootfs, "rootfs.tar.xz");
        server.has_text(&format!("{LXC_DIR}/SHA256SUMS"), &sums);
        server.has(&format!("{LXC_DIR}/meta.tar.xz"), Answer::File(self.metadata.clone()));
        server.has(&format!("{LXC_DIR}/rootfs.tar.xz"), Answer::File(self.rootfs.clone()));
    }
}
