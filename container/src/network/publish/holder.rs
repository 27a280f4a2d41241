//! Who has a port of the host.

use std::net::SocketAddr;
use std::path::Path;

use types::Protocol;

/// A socket as /proc/net shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    uid: u32,
    inode: u64,
}

/// Says who has the port of an address: the container, the process, or whose it is where the caller may not look.
pub(super) fn of(address: &SocketAddr, protocol: Protocol) -> Option<String> {
    let families: &[&str] = if address.is_ipv4() { &["", "6"] } else { &["6"] };
    let read = |family: &&str| std::fs::read_to_string(format!("/proc/net/{protocol}{family}")).ok();
    let entry = families.iter().filter_map(read).find_map(|text| find(&text, address.port(), protocol))?;
    Some(process_with(entry.inode).map_or_else(|| user(entry.uid), shown))
}

/// Finds the socket that has a port in the text of /proc/net/tcp or its kin. Source: proc_net(5).
fn find(text: &str, port: u16, protocol: Protocol) -> Option<Entry> {
    const LISTENING: &str = "0A";
    text.lines().skip(1).find_map(|line| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let (local, state) = (fields.get(1)?, fields.get(3)?);
        let has_port = u16::from_str_radix(local.rsplit_once(':')?.1, 16) == Ok(port);
        let takes = protocol == Protocol::Udp || *state == LISTENING;
        let entry = Entry { uid: fields.get(7)?.parse().ok()?, inode: fields.get(9)?.parse().ok()? };
        (has_port && takes).then_some(entry)
    })
}

fn user(uid: u32) -> String {
    let name = uzers::get_user_by_uid(uid).map(|user| user.name().to_string_lossy().into_owned());
    format!("a process of {}", name.unwrap_or_else(|| format!("user {uid}")))
}

/// Finds a process that has a socket, among those that the caller may look into.
fn process_with(inode: u64) -> Option<i32> {
    let socket = format!("socket:[{inode}]");
    let has = |pid: &i32| {
        let fds = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        fds.into_iter().any(|fd| std::fs::read_link(fd.path()).is_ok_and(|link| link == Path::new(&socket)))
    };
    sys::process::pids().ok()?.into_iter().find(has)
}

/// Says what a process is: a container, where it is the monitor of one that publishes ports.
fn shown(pid: i32) -> String {
    let container =
        sys::process::pids().ok().into_iter().flatten().find_map(|child| forwarder_of(child, pid));
    container.map_or_else(
        || format!("process {pid} ({})", words(pid).join(" ")),
        |name| format!("the container {name}"),
    )
}

/// Returns the container's name where `child` is the process for the published ports of monitor `parent`.
fn forwarder_of(child: i32, parent: i32) -> Option<String> {
    let words = words(child);
    let is_forwarder = words.first().is_some_and(|word| word == "/proc/self/exe");
    let is_its = || sys::process::parent_of(child) == Some(parent);
    let is_forwarder = is_forwarder && words.get(1).is_some_and(|word| word == "forward");
    // Anybody may call himself so, with fewer words.
    words.get(2).filter(|_| is_forwarder && is_its()).cloned()
}

/// Returns the first words of a process's command line, fit to be printed.
fn words(pid: i32) -> Vec<String> {
    const SHOWN: usize = 60;
    let bytes = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let mut left = SHOWN;
    let word = |word: &[u8]| {
        let text = String::from_utf8_lossy(word).into_owned();
        let text: String = text.chars().filter(|c| !c.is_control()).take(left).collect();
        left -= text.chars().count();
        text
    };
    bytes.split(|byte| *byte == 0).map(word).filter(|word| !word.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1001        0 4711 1 0 100 0 0 10 0
   1: 0100007F:1F91 0100007F:1F90 01 00000000:00000000 00:00000000 00000000  1002        0 4712 1 0 100 0 0 10 0
broken
";

    #[test]
    fn the_socket_that_listens_is_found() {
        assert_eq!(find(TEXT, 8080, Protocol::Tcp), Some(Entry { uid: 1001, inode: 4711 }));
        assert_eq!(find(TEXT, 8081, Protocol::Tcp), None);
        assert_eq!(find(TEXT, 8081, Protocol::Udp).map(|entry| entry.inode), Some(4712));
        assert_eq!(find("", 8080, Protocol::Tcp), None);
    }

    #[test]
    fn a_process_of_ones_own_is_named() {
        let listener = sys::inet::listen(&"127.0.0.1:0".parse().unwrap()).unwrap();
        let who = of(&listener.local_addr().unwrap(), Protocol::Tcp).unwrap();
        assert!(who.starts_with(&format!("process {} (", std::process::id())), "{who}");
    }
}
