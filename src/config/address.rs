//! The address to listen on, as Go writes it: `HOST:PORT`, where the host may be left out.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// The address when the config names none.
pub(super) const DEFAULT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 7373);

/// A text that is no address, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{text}' {why}")]
pub struct InvalidAddress {
    text: String,
    why: Flaw,
}

/// What is wrong with an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Flaw {
    #[error("has no port; write it after a ':', such as 0.0.0.0:7373")]
    NoPort,
    #[error("has a port that is no number from 0 to 65535; write one, such as 0.0.0.0:7373")]
    InvalidPort,
    #[error("has an IPv6 address without brackets; write it as [::1]:7373")]
    NoBrackets,
    #[error("has a host that is no IP address; names are not looked up, but for localhost; write 0.0.0.0:7373 for all")]
    InvalidHost,
}

/// Reads an address as the config does: no host is all of IPv4, `localhost` is 127.0.0.1.
///
/// # Errors
/// [`InvalidAddress`] when it is not `HOST:PORT` with an IP address for a host.
pub fn parse_address(text: &str) -> Result<SocketAddr, InvalidAddress> {
    parse(text).map_err(|why| InvalidAddress { text: text.to_owned(), why })
}

/// Reads an address. No host is all of IPv4, `localhost` is 127.0.0.1; other names are not looked up.
pub(super) fn parse(text: &str) -> Result<SocketAddr, Flaw> {
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    match bare.unwrap_or(text).parse::<IpAddr>() {
        Ok(IpAddr::V6(_)) if bare.is_none() => return Err(Flaw::NoBrackets),
        Ok(_) => return Err(Flaw::NoPort),
        Err(_) => {}
    }
    let (host, port) = text.rsplit_once(':').ok_or(Flaw::NoPort)?;
    let number = !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
    let port = port.parse().ok().filter(|_| number).ok_or(Flaw::InvalidPort)?;
    let host = match host {
        "" => Ipv4Addr::UNSPECIFIED,
        "localhost" => Ipv4Addr::LOCALHOST,
        _ => return Err(Flaw::InvalidHost),
    };
    Ok(SocketAddr::new(host.into(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_in_go() {
        for (text, address) in [
            ("0.0.0.0:7373", "0.0.0.0:7373"),
            (":7373", "0.0.0.0:7373"),
            ("localhost:7373", "127.0.0.1:7373"),
            ("[::1]:7373", "[::1]:7373"),
            ("[::]:0", "[::]:0"),
            ("10.1.2.3:65535", "10.1.2.3:65535"),
        ] {
            assert_eq!(parse(text), Ok(address.parse().unwrap()), "{text}");
        }
    }

    #[test]
    fn what_is_missing_in_an_address_is_named() {
        use Flaw::{InvalidHost, InvalidPort, NoBrackets, NoPort};
        for (text, why) in [
            ("0.0.0.0", NoPort),
            ("7373", NoPort),
            ("localhost", NoPort),
            ("[::1]", NoPort),
            ("0.0.0.0:", InvalidPort),
            (":https", InvalidPort),
            (":+80", InvalidPort),
            (":65536", InvalidPort),
            ("::1", NoBrackets),
            ("::1:7373", NoBrackets),
            ("kes.example.com:7373", InvalidHost),
            ("https://0.0.0.0:7373", InvalidHost),
            ("[x]:7373", InvalidHost),
        ] {
            assert_eq!(parse(text), Err(why), "{text}");
        }
        let error = parse_address("7373").unwrap_err().to_string();
        assert_eq!(error, "'7373' has no port; write it after a ':', such as 0.0.0.0:7373");
    }
}
