//! Listening sockets.

use std::io;
use std::net::{Ipv6Addr, SocketAddr};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;

/// Connections that wait to be accepted; the system may allow fewer (`net.core.somaxconn`). As Go's servers, and KES:
/// a burst of connections that does not fit waits a second, for TCP to try again.
const BACKLOG: i32 = 4096;

/// An address cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {source}{}", hint(.source))]
pub struct ListenError {
    address: SocketAddr,
    source: io::Error,
}

fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => "; another server is running there",
        io::ErrorKind::AddrNotAvailable => "; this machine does not have that address",
        io::ErrorKind::PermissionDenied => "; ports below 1024 need the capability CAP_NET_BIND_SERVICE",
        _ => "",
    }
}

/// Listens. An address of all interfaces, `0.0.0.0` or `[::]`, is listened on for IPv4 and IPv6 alike, where the system
/// has both. Must be called within a tokio runtime.
///
/// # Errors
/// [`ListenError`]
pub fn listen(address: SocketAddr) -> Result<TcpListener, ListenError> {
    let both = SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), address.port());
    let listener = if address.ip().is_unspecified() {
        socket(both).or_else(|error| match error.kind() {
            io::ErrorKind::AddrInUse | io::ErrorKind::PermissionDenied => Err(error),
            _ => socket(address), // a system without IPv6
        })
    } else {
        socket(address)
    };
    listener.map_err(|source| ListenError { address, source })
}

fn socket(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(!address.ip().is_unspecified())?;
    }
    socket.set_reuse_address(true)?; // a restart need not wait for connections of the server before
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;

    #[tokio::test]
    async fn an_address_of_all_interfaces_takes_both_families() {
        for address in [IpAddr::from(Ipv4Addr::UNSPECIFIED), Ipv6Addr::UNSPECIFIED.into()] {
            let listener = listen(SocketAddr::new(address, 0)).unwrap();
            let port = listener.local_addr().unwrap().port();
            for host in [IpAddr::from(Ipv4Addr::LOCALHOST), Ipv6Addr::LOCALHOST.into()] {
                let connected = tokio::net::TcpStream::connect((host, port)).await;
                assert!(connected.is_ok(), "{address}: {host}: {connected:?}");
                listener.accept().await.unwrap();
            }
        }
    }

    #[tokio::test]
    async fn an_address_in_use_is_named_as_such_and_another_problem_is_not() {
        let first = listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let error = listen(first.local_addr().unwrap()).unwrap_err().to_string();
        assert!(error.contains("another server is running there"), "{error}");
        let error = listen("192.0.2.1:0".parse().unwrap()).unwrap_err().to_string();
        assert!(error.contains("does not have that address") && !error.contains("another server"), "{error}");
    }
}
