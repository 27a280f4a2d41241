//! Who vouches for a server, and who stands between because the environment says so.

use std::io::{Write, copy};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::run::{Ended, Scratch};
use crate::server::{Image, Server, head};

/// An authority, and the certificate that it gave to `localhost`.
struct Authority(tempfile::TempDir);

impl Authority {
    /// `None` without openssl(1), after saying that the test is skipped.
    #[expect(clippy::explicit_write, reason = "eprintln would be captured and never be seen")]
    fn new() -> Option<Self> {
        if Command::new("openssl").arg("version").output().is_err() {
            let test = thread::current().name().unwrap_or("?").to_owned();
            writeln!(std::io::stderr(), "SKIP: image::{test}: it takes openssl").unwrap();
            return None;
        }
        let authority = Self(tempfile::tempdir().unwrap());
        let new =
            ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-x509"];
        authority.openssl(
            &[&["req"], &new[..], &["-subj", "/CN=authority", "-keyout", "ca.key", "-out", "ca.pem"]]
                .concat(),
        );
        let name = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"];
        let by = ["-addext", "basicConstraints=critical,CA:FALSE", "-CA", "ca.pem", "-CAkey", "ca.key"];
        let out = ["-keyout", "own.key", "-out", "own.pem"];
        authority.openssl(&[&["req"], &new[..], &name, &by, &out].concat());
        Some(authority)
    }

    fn openssl(&self, arguments: &[&str]) {
        let done = Command::new("openssl").args(arguments).current_dir(self.0.path()).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }

    fn file(&self) -> PathBuf {
        self.0.path().join("ca.pem")
    }

    /// A server with the certificate, and with an image.
    fn server(&self) -> (Server, Image) {
        let certificates = vec![CertificateDer::from_pem_file(self.0.path().join("own.pem")).unwrap()];
        let key = PrivateKeyDer::from_pem_file(self.0.path().join("own.key")).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config =
            ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let config = config.with_no_client_auth().with_single_cert(certificates, key).unwrap();
        let (server, image) = (Server::with_tls(Arc::new(config)), Image::new());
        image.on_streams(&server);
        (server, image)
    }
}

/// A pull from `localhost` by TLS.
fn pulling(scratch: &Scratch, server: &Server) -> Command {
    scratch.pulling(&format!("localhost:{}", server.port()), "debian/13/amd64")
}

fn run(command: &mut Command) -> Ended {
    command.stdout(Stdio::piped()).output().unwrap().into()
}

#[test]
fn a_server_is_asked_that_the_given_authority_vouches_for() {
    let Some(authority) = Authority::new() else { return };
    let ((server, image), scratch) = (authority.server(), Scratch::new());
    run(pulling(&scratch, &server).arg("--ca-file").arg(authority.file())).report();
    scratch.assert_has(&image.rootfs);
}

#[test]
fn a_server_is_asked_that_the_machines_authorities_vouch_for() {
    let Some(authority) = Authority::new() else { return };
    let ((server, image), scratch) = (authority.server(), Scratch::new());
    run(pulling(&scratch, &server).env("SSL_CERT_FILE", authority.file())).report();
    scratch.assert_has(&image.rootfs);
}

#[test]
fn a_server_that_nobody_vouches_for_is_refused() {
    let (Some(authority), Some(other)) = (Authority::new(), Authority::new()) else { return };
    let ((server, image), scratch) = (authority.server(), Scratch::new());
    run(&mut pulling(&scratch, &server)).assert_refused(&["certificate"]);
    run(pulling(&scratch, &server).arg("--ca-file").arg(other.file())).assert_refused(&["certificate"]);
    // The certificate is that of a name, not of the address.
    let mut by_address = scratch.pulling(&format!("127.0.0.1:{}", server.port()), "debian/13/amd64");
    run(by_address.arg("--ca-file").arg(authority.file())).assert_refused(&["certificate"]);
    assert_eq!(server.asked(), []);
    scratch.assert_nothing_of(&image.rootfs);
}

#[test]
fn a_file_without_certificates_is_named() {
    let scratch = Scratch::new();
    let empty = tempfile::NamedTempFile::new().unwrap();
    let mut pull = scratch.pulling("localhost:1", "debian/13");
    run(pull.arg("--ca-file").arg(empty.path())).assert_refused(&["holds no certificate in PEM form"]);
    assert!(!scratch.store().exists());
}

/// A proxy, and whom it was asked to connect to.
fn proxy() -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let asked = Arc::<Mutex<Vec<String>>>::default();
    let shared = asked.clone();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let asked = shared.clone();
            thread::spawn(move || drop(connect(stream, &asked)));
        }
    });
    (url, asked)
}

fn connect(mut client: TcpStream, asked: &Mutex<Vec<String>>) -> std::io::Result<()> {
    let head = head(&mut client)?;
    let to = head.split(' ').nth(1).unwrap_or_default().to_owned();
    asked.lock().unwrap().push(to.clone());
    let mut server = TcpStream::connect(to)?;
    client.write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
    let (mut from_client, mut to_server) = (client.try_clone()?, server.try_clone()?);
    thread::spawn(move || drop(copy(&mut from_client, &mut to_server)));
    copy(&mut server, &mut client).map(drop)
}

#[test]
fn a_proxy_of_the_environment_is_used() {
    let Some(authority) = Authority::new() else { return };
    for variable in ["https_proxy", "HTTPS_PROXY", "ALL_PROXY"] {
        let ((server, image), scratch, (proxy, asked)) = (authority.server(), Scratch::new(), proxy());
        run(pulling(&scratch, &server).arg("--ca-file").arg(authority.file()).env(variable, &proxy)).report();
        scratch.assert_has(&image.rootfs);
        let to = format!("localhost:{}", server.port());
        let asked = asked.lock().unwrap();
        assert!(!asked.is_empty() && asked.iter().all(|asked| *asked == to), "{variable}: {asked:?}");
    }
}

#[test]
fn a_server_that_the_environment_excepts_is_asked_without_the_proxy() {
    let Some(authority) = Authority::new() else { return };
    let ((server, _), scratch, (proxy, asked)) = (authority.server(), Scratch::new(), proxy());
    let mut pull = pulling(&scratch, &server);
    pull.env("https_proxy", &proxy).env("no_proxy", "localhost");
    run(pull.arg("--ca-file").arg(authority.file())).report();
    assert!(asked.lock().unwrap().is_empty());
}
