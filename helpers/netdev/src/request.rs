//! The arguments: a bridge, and the name of the end in the namespace.

use std::fmt;

use types::{IfName, IfNameError};

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The bridge that gets the end on the host.
    pub bridge: IfName,
    /// The name of the other end.
    pub peer: IfName,
}

/// Why the arguments are no request. What they say is the caller's text and not repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestError {
    /// There are not two arguments.
    Count,
    /// The first is not the name of an interface.
    Bridge(IfNameError),
    /// The second is not the name of an interface.
    Peer(IfNameError),
}

/// Reads the arguments. There is no option and no abbreviation.
///
/// # Errors
/// They are not two names of interfaces.
pub fn parse(arguments: &[String]) -> Result<Request, RequestError> {
    let [bridge, peer] = arguments else { return Err(RequestError::Count) };
    Ok(Request {
        bridge: bridge.parse().map_err(RequestError::Bridge)?,
        peer: peer.parse().map_err(RequestError::Peer)?,
    })
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count => f.write_str("expected a bridge and a name"),
            Self::Bridge(error) => write!(f, "the bridge: {error}"),
            Self::Peer(error) => write!(f, "the name: {error}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(arguments: &[&str]) -> Result<Request, RequestError> {
        parse(&arguments.iter().map(|argument| argument.to_string()).collect::<Vec<_>>())
    }

    #[test]
    fn two_names_are_a_request() {
        let request = read(&["lxcbr0", "eth0"]).unwrap();
        assert_eq!((request.bridge.as_str(), request.peer.as_str()), ("lxcbr0", "eth0"));
    }

    #[test]
    fn anything_else_is_refused() {
        assert_eq!(read(&[]), Err(RequestError::Count));
        assert_eq!(read(&["br0"]), Err(RequestError::Count));
        assert_eq!(read(&["br0", "eth0", "eth1"]), Err(RequestError::Count));
        let said = |arguments: &[&str]| read(arguments).unwrap_err().to_string();
        assert_eq!(said(&["br0"]), "expected a bridge and a name");
        assert_eq!(said(&["17", "eth0"]), "the bridge: this name of an interface means something else");
        assert_eq!(said(&["br0", ""]), "the name: the name of an interface has 1 to 15 bytes");
        for name in ["", "-h", "--help", "../br0", "br0/x", "eth%d", "lo", "17", "br0 ", "0123456789abcdef"] {
            assert!(matches!(read(&[name, "eth0"]), Err(RequestError::Bridge(_))), "{name:?}");
            assert!(matches!(read(&["br0", name]), Err(RequestError::Peer(_))), "{name:?}");
        }
    }
}
