//! The sockets that a server listens at.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, ToSocketAddrs as _};

use crate::serve::error::ServeError;

/// Connections that wait to be accepted.
const BACKLOG: i32 = 1024;

/// The addresses that texts like `0.0.0.0:5000` name.
pub fn listen_addresses(texts: &[String]) -> Result<Vec<SocketAddr>, ServeError> {
    let mut found = Vec::new();
    for text in texts {
        found.extend(resolve(text).map_err(|source| ServeError::Listen { address: text.clone(), source })?);
    }
    Ok(found)
}

/// Sockets that listen at these addresses. From here on clients can connect.
pub fn open_sockets(addresses: &[SocketAddr]) -> Result<Vec<TcpListener>, ServeError> {
    let open = |address: &SocketAddr| {
        let failed = |source| ServeError::Listen { address: address.to_string(), source };
        bind(*address, is_beside_ipv4(address, addresses)).map_err(failed)
    };
    addresses.iter().map(open).collect()
}

/// Whether an IPv4 address of the same port is listened on too. An IPv6 socket would take that one's clients.
pub(crate) fn is_beside_ipv4(address: &SocketAddr, all: &[SocketAddr]) -> bool {
    address.is_ipv6() && all.iter().any(|other| other.is_ipv4() && other.port() == address.port())
}

/// `ADDRESS:PORT`, `NAME:PORT`, or a port alone, which is one of this machine only.
fn resolve(text: &str) -> io::Result<Vec<SocketAddr>> {
    if let Ok(port) = text.parse::<u16>() {
        return Ok(vec![SocketAddr::new(IpAddr::from([127, 0, 0, 1]), port)]);
    }
    let found: Vec<SocketAddr> = text.to_socket_addrs()?.collect();
    if found.is_empty() { Err(io::ErrorKind::AddrNotAvailable.into()) } else { Ok(found) }
}

fn bind(address: SocketAddr, is_beside_ipv4: bool) -> io::Result<TcpListener> {
    let socket = socket2::Socket::new(socket2::Domain::for_address(address), socket2::Type::STREAM, None)?;
    if is_beside_ipv4 {
        socket.set_only_v6(true)?;
    }
    // A server that is started again finds its port though old connections still linger.
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ipv4_and_ipv6_are_listened_on_at_one_port() {
        // A machine without IPv6 has nothing to show here; another program may have the second socket's port.
        let both = || {
            let any4 = bind("0.0.0.0:0".parse().unwrap(), false).unwrap();
            bind(SocketAddr::new("::".parse().unwrap(), any4.local_addr().unwrap().port()), true).is_ok()
        };
        assert!(TcpListener::bind("[::1]:0").is_err() || (0..16).any(|_| both()));
    }
}
