//! Listening sockets.

use std::io;
use std::net::{Ipv6Addr, SocketAddr};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;

/// Connections that wait to be accepted, as in Go's servers and KES; the system may allow fewer (`net.core.somaxconn`).
/// Connections that exceed it wait for a second until TCP retries.
const BACKLOG: i32 = 4096;

/// The address cannot be used for listening.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {source}; {}", remedy(.source.kind(), .address.port()))]
pub struct ListenError {
    address: SocketAddr,
    source: io::Error,
}

/// The first port that every user may listen on, by default. Source: ip(7), `ip_unprivileged_port_start`.
const UNPRIVILEGED: u16 = 1024;

/// What to do about an error of the system.
fn remedy(error: io::ErrorKind, port: u16) -> &'static str {
    match error {
        io::ErrorKind::AddrInUse => {
            "another process is using it, such as another server: stop that process, or choose another port"
        }
        io::ErrorKind::AddrNotAvailable => {
            "this machine does not have this address: use one that it has, or 0.0.0.0 for all of them"
        }
        io::ErrorKind::PermissionDenied if port < UNPRIVILEGED => {
            "ports below 1024 need the capability CAP_NET_BIND_SERVICE: grant it, or choose a port from 1024 on"
        }
        io::ErrorKind::PermissionDenied => {
            "the system does not permit it: check its security policy (SELinux, AppArmor, seccomp), or choose another port"
        }
        io::ErrorKind::Unsupported => "this machine does not support this kind of address: choose another one",
        _ => "check the address and the network settings of this machine",
    }
}

/// Listens on an address. The unspecified addresses `0.0.0.0` and `[::]` both accept IPv4 and IPv6, if the system
/// supports both. Must be called within a tokio runtime.
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
    socket.set_reuse_address(true)?; // a restart must not wait for connections of the previous process
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
    async fn an_unspecified_address_accepts_ipv4_and_ipv6() {
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
    async fn an_error_says_whether_the_address_is_in_use() {
        let first = listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let error = listen(first.local_addr().unwrap()).unwrap_err().to_string();
        assert!(error.contains("another process is using it"), "{error}");
        let error = listen("192.0.2.1:0".parse().unwrap()).unwrap_err().to_string();
        assert!(error.contains("does not have this address") && !error.contains("another process"), "{error}");
    }

    #[test]
    fn a_port_that_only_root_may_use_and_one_that_is_forbidden_have_their_own_remedies() {
        let denied = |port| remedy(io::ErrorKind::PermissionDenied, port);
        assert!(denied(443).contains("CAP_NET_BIND_SERVICE") && !denied(7373).contains("CAP_NET_BIND_SERVICE"));
        assert!(denied(7373).contains("SELinux"));
        for kind in [io::ErrorKind::PermissionDenied, io::ErrorKind::AddrNotAvailable, io::ErrorKind::OutOfMemory] {
            assert!(!remedy(kind, 443).contains("another server"), "{kind}");
        }
    }
}
