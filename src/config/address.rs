//! The listen address, as Go writes it: `HOST:PORT`, where the host may be omitted.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// The default listen address.
pub(super) const DEFAULT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 7373);

/// An address that cannot be used, and the reason.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{text}' {problem}")]
pub struct InvalidAddress {
    text: String,
    problem: AddressProblem,
}

/// What is wrong with an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum AddressProblem {
    #[error("has no port; append one, as in 0.0.0.0:7373")]
    NoPort,
    #[error("has an invalid port; use a number from 0 to 65535, as in 0.0.0.0:7373")]
    InvalidPort,
    #[error("contains an IPv6 address without brackets; write it as [::1]:7373")]
    NoBrackets,
    #[error("has a host that is not an IP address or localhost; use an IP address, or 0.0.0.0 for all interfaces")]
    InvalidHost,
}

/// Parses an address as in the config: without a host it means all interfaces, and `localhost` is 127.0.0.1.
///
/// # Errors
/// [`InvalidAddress`] if it is not `HOST:PORT` with an IP address as the host.
pub fn parse_address(text: &str) -> Result<SocketAddr, InvalidAddress> {
    parse(text).map_err(|problem| InvalidAddress { text: text.to_owned(), problem })
}

/// Parses an address. Without a host it means all IPv4 interfaces, and `localhost` is 127.0.0.1; other names are not
/// resolved.
pub(super) fn parse(text: &str) -> Result<SocketAddr, AddressProblem> {
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    match bare.unwrap_or(text).parse::<IpAddr>() {
        Ok(IpAddr::V6(_)) if bare.is_none() => return Err(AddressProblem::NoBrackets),
        Ok(_) => return Err(AddressProblem::NoPort),
        Err(_) => {}
    }
    let (host, port) = text.rsplit_once(':').ok_or(AddressProblem::NoPort)?;
    let is_number = !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
    let port = port.parse().ok().filter(|_| is_number).ok_or(AddressProblem::InvalidPort)?;
    let host = match host {
        "" => Ipv4Addr::UNSPECIFIED,
        "localhost" => Ipv4Addr::LOCALHOST,
        _ => return Err(AddressProblem::InvalidHost),
    };
    Ok(SocketAddr::new(host.into(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_parsed_as_in_go() {
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
    fn an_invalid_address_has_a_specific_error() {
        use AddressProblem::{InvalidHost, InvalidPort, NoBrackets, NoPort};
        for (text, problem) in [
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
            assert_eq!(parse(text), Err(problem), "{text}");
        }
        let error = parse_address("7373").unwrap_err().to_string();
        assert_eq!(error, "'7373' has no port; append one, as in 0.0.0.0:7373");
    }
}
