//! Both sides of published ports: a service inside, and who asks it from outside.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::thread;
use std::time::Duration;

/// How long an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// Answers each line of TCP and each datagram of UDP with the address that it comes from and its own text; at `address` alone,
/// or at all.
pub(crate) fn serve(port: &str, address: Option<&str>) -> io::Result<String> {
    let port = port.parse().map_err(io::Error::other)?;
    let address = match address {
        Some(address) => address.parse().map_err(io::Error::other)?,
        None => Ipv6Addr::UNSPECIFIED.into(),
    };
    let here = SocketAddr::new(address, port);
    let (listener, socket) = (TcpListener::bind(here)?, UdpSocket::bind(here)?);
    thread::spawn(move || answer_datagrams(&socket));
    for stream in listener.incoming() {
        let stream = stream?;
        thread::spawn(move || answer(&stream));
    }
    Ok(String::new())
}

fn answer(stream: &TcpStream) -> io::Result<()> {
    let from = stream.peer_addr()?.ip().to_canonical();
    for line in BufReader::new(stream).lines() {
        let mut to = stream;
        writeln!(to, "{from} {}", line?)?;
    }
    Ok(())
}

fn answer_datagrams(socket: &UdpSocket) -> io::Result<()> {
    let mut buffer = [0; 65_536];
    loop {
        let (length, from) = socket.recv_from(&mut buffer)?;
        let mut text = format!("{} ", from.ip().to_canonical()).into_bytes();
        text.extend_from_slice(&buffer[..length]);
        socket.send_to(&text, from)?;
    }
}

/// Asks a service, and returns what it answers.
pub(crate) fn ask(protocol: &str, address: &str, text: &str) -> io::Result<String> {
    let to: SocketAddr = address.parse().map_err(io::Error::other)?;
    if protocol == "tcp" {
        let mut stream = TcpStream::connect_timeout(&to, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        writeln!(stream, "{text}")?;
        // The service's end comes after all of its answer.
        stream.shutdown(std::net::Shutdown::Write)?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        return Ok(answer);
    }
    let here: SocketAddr = if to.is_ipv4() { ([0; 4], 0).into() } else { (Ipv6Addr::UNSPECIFIED, 0).into() };
    let socket = UdpSocket::bind(here)?;
    socket.connect(to)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.send(text.as_bytes())?;
    let mut buffer = [0; 65_536];
    let length = socket.recv(&mut buffer)?;
    Ok(format!("{}\n", String::from_utf8_lossy(&buffer[..length])))
}

/// Sends so many bytes through a service that gives them back, and returns how many came back as they were.
pub(crate) fn flood(address: &str, count: &str) -> io::Result<String> {
    let to: SocketAddr = address.parse().map_err(io::Error::other)?;
    let count: usize = count.parse().map_err(io::Error::other)?;
    let stream = TcpStream::connect_timeout(&to, PATIENCE)?;
    let line = "x".repeat(999);
    let sender = stream.try_clone()?;
    let sent = line.clone();
    let lines = count / 1000;
    let sending = thread::spawn(move || -> io::Result<()> {
        let mut sender = sender;
        (0..lines).try_for_each(|_| writeln!(sender, "{sent}"))?;
        sender.shutdown(std::net::Shutdown::Write)
    });
    let good =
        BufReader::new(&stream).lines().map_while(Result::ok).filter(|got| got.ends_with(&line)).count();
    sending.join().map_err(|_| io::Error::other("the sender died"))??;
    Ok(format!("{good}\n"))
}

/// Opens so many connections, and keeps them for two minutes.
pub(crate) fn hold(address: &str, count: &str) -> io::Result<String> {
    let to: SocketAddr = address.parse().map_err(io::Error::other)?;
    let count: usize = count.parse().map_err(io::Error::other)?;
    let held: Vec<TcpStream> =
        (0..count).map_while(|_| TcpStream::connect_timeout(&to, PATIENCE).ok()).collect();
    println!("{}", held.len());
    io::stdout().flush()?;
    thread::sleep(Duration::from_secs(120));
    Ok(String::new())
}

/// Asks once by TCP, says so, keeps the connection, and returns when and how it ends.
pub(crate) fn stay(address: &str) -> io::Result<String> {
    let to: SocketAddr = address.parse().map_err(io::Error::other)?;
    let stream = TcpStream::connect_timeout(&to, PATIENCE)?;
    writeln!(&stream, "moss")?;
    let mut lines = BufReader::new(&stream).lines();
    // Whoever serves may end before the first answer.
    let Some(Ok(answer)) = lines.next() else { return Ok("ended\n".to_owned()) };
    println!("{answer}");
    io::stdout().flush()?;
    Ok(match lines.next() {
        None | Some(Err(_)) => "ended\n".to_owned(),
        Some(Ok(line)) => format!("{line}\n"),
    })
}
