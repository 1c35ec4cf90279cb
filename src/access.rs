//! The gate before a handler: who is the client, and may it ask?

use std::net::IpAddr;

use axum::http::HeaderMap;

use crate::error::ApiError;
use crate::identity::Identity;
use crate::policy::Refusal;
use crate::router::{Access, Route};
use crate::state::State;
use crate::tls::peer::{Peer, PeerError, identity_in_header};

/// The client of one request: the peer of the connection, or whom a proxy speaks for.
#[derive(Clone, Debug)]
pub struct Client {
    /// The client's address.
    pub ip: IpAddr,
    /// The client's identity, or why it has none.
    pub identity: Result<Identity, PeerError>,
}

impl Client {
    /// The client of a request with these headers. Headers count only when they come from a configured proxy.
    pub fn of(state: &State, peer: &Peer, headers: &HeaderMap) -> Self {
        let direct = Self { ip: peer.address.ip(), identity: peer.identity.clone() };
        match (&state.config.tls.proxy, &direct.identity) {
            (Some(proxy), Ok(identity)) if state.is_proxy(identity) => Self {
                ip: forwarded_for(headers).unwrap_or(direct.ip),
                identity: identity_in_header(headers, &proxy.header),
            },
            _ => direct,
        }
    }
}

/// Lets a request pass or says why not. The answer is the client's identity, which only an open API may lack.
///
/// # Errors
/// [`ApiError::Certificate`] when the API needs an identity and there is none; [`ApiError::NotAuthorized`].
pub fn check(state: &State, route: &Route, client: &Client, path: &str) -> Result<Option<Identity>, ApiError> {
    let open = match route.access {
        Access::Open => true,
        Access::Skippable => state.skips_auth(route),
        Access::Certificate | Access::Policy => false,
    };
    if open {
        return Ok(client.identity.as_ref().ok().cloned());
    }
    let identity = client.identity.clone()?;
    match route.access {
        Access::Certificate => {}
        _ if route.path == route.options_path() => state.policies.check(&identity, path)?,
        _ => check_alias(state, &identity, path, route.options_path())?,
    }
    Ok(Some(identity))
}

/// Rules for an API hold for its alias too, and the other way round: what either name denies is denied, and what
/// either allows is allowed.
fn check_alias(state: &State, identity: &Identity, alias: &str, original: &str) -> Result<(), Refusal> {
    match (state.policies.check(identity, alias), state.policies.check(identity, original)) {
        (Err(refusal @ Refusal::Denied { .. }), _) | (_, Err(refusal @ Refusal::Denied { .. })) => Err(refusal),
        (Ok(()), _) | (_, Ok(())) => Ok(()),
        (refused, _) => refused,
    }
}

/// The client that the nearest proxy names: the last address of the last `X-Forwarded-For`. What stands before it
/// may come from the client itself.
fn forwarded_for(headers: &HeaderMap) -> Option<IpAddr> {
    let value = headers.get_all("x-forwarded-for").iter().next_back()?;
    value.to_str().ok()?.rsplit(',').next()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_forwarded_address_counts() {
        let mut headers = HeaderMap::new();
        assert_eq!(forwarded_for(&headers), None);
        headers.append("x-forwarded-for", "10.0.0.1".parse().unwrap());
        headers.append("x-forwarded-for", "10.0.0.2, 10.0.0.3".parse().unwrap());
        assert_eq!(forwarded_for(&headers), Some([10, 0, 0, 3].into()));
        headers.append("x-forwarded-for", "nonsense".parse().unwrap());
        assert_eq!(forwarded_for(&headers), None);
    }
}
