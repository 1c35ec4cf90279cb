//! Access control in front of the handlers: which client sends the request, and may it call this API?
//!
//! [`decide`] is the single decision about access, pure and independent of a server; requests and `policy explain` use
//! it.

use std::net::IpAddr;
use std::sync::Arc;

use axum::http::HeaderMap;

use crate::api::error::ApiError;
use crate::identity::Identity;
use crate::policy::{Grant, PathPattern, Policies, Refusal};
use crate::routes::{Access, Route};
use crate::state::State;
use crate::tls::peer::{Peer, PeerError, identity_in_header};

/// The client of one request: the peer of the connection, or the client that a proxy forwards.
#[derive(Clone, Debug)]
pub struct Client {
    /// The client's address.
    pub ip: IpAddr,
    /// The client's identity, or why it has none.
    pub identity: Result<Identity, PeerError>,
}

impl Client {
    /// The client of a request with these headers, which count only if they come from a configured proxy.
    pub fn of(state: &State, peer: &Peer, headers: &HeaderMap) -> Self {
        let direct = Self { ip: peer.address.ip(), identity: peer.identity.clone() };
        match (&state.config.tls.proxy, &direct.identity) {
            (Some(proxy), Ok(identity)) if state.config.is_proxy(identity) => Self {
                ip: forwarded_for(headers).unwrap_or(direct.ip),
                identity: identity_in_header(headers, &proxy.header, state.verifier.as_deref()),
            },
            _ => direct,
        }
    }
}

/// Whether a client may call an API, and the reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision<'a> {
    /// Yes: the API is open to everyone.
    Open,
    /// Yes: the config opens the API to everyone (`skip_auth`).
    Skipped,
    /// Yes: any client certificate is sufficient.
    Certificate,
    /// Yes: it is the admin, which may do everything.
    Admin,
    /// Yes: this rule of its policy allows it.
    Allowed {
        /// The policy of the identity.
        policy: &'a Arc<str>,
        /// The rule that matched.
        rule: &'a PathPattern,
    },
    /// No: the API needs an identity, and there is none.
    NoIdentity,
    /// No: the policies do not allow it.
    Refused(Refusal),
}

impl Decision<'_> {
    /// Whether access is granted.
    pub fn is_allowed(&self) -> bool {
        match self {
            Self::Open | Self::Skipped | Self::Certificate | Self::Admin | Self::Allowed { .. } => true,
            Self::NoIdentity | Self::Refused(_) => false,
        }
    }
}

/// Decides whether a client with this identity may call `route` at the decoded `path`. `skips_auth` is whether the
/// config opens the API to everyone; it counts only for [`Access::Skippable`].
pub fn decide<'a>(
    route: &Route,
    identity: Option<&Identity>,
    path: &str,
    skips_auth: bool,
    policies: &'a Policies,
) -> Decision<'a> {
    match (route.access, identity) {
        (Access::Open, _) => Decision::Open,
        (Access::Skippable, _) if skips_auth => Decision::Skipped,
        (_, None) => Decision::NoIdentity,
        (Access::Certificate, Some(_)) => Decision::Certificate,
        (Access::Policy | Access::Skippable, Some(identity)) => {
            let checked = if route.alias == Some(path) {
                check_alias(policies, identity, path, route.path)
            } else {
                policies.check(identity, path)
            };
            match checked {
                Ok(Grant::Admin) => Decision::Admin,
                Ok(Grant::Rule { policy, rule }) => Decision::Allowed { policy, rule },
                Err(refusal) => Decision::Refused(refusal),
            }
        }
    }
}

/// Rules for an API also apply to its alias: a deny rule for either path denies, and an allow rule for either allows.
fn check_alias<'a>(
    policies: &'a Policies,
    identity: &Identity,
    alias: &str,
    original: &str,
) -> Result<Grant<'a>, Refusal> {
    match (policies.check(identity, alias), policies.check(identity, original)) {
        (Err(refusal @ Refusal::Denied { .. }), _) | (_, Err(refusal @ Refusal::Denied { .. })) => Err(refusal),
        (Ok(grant), _) | (_, Ok(grant)) => Ok(grant),
        (refused, _) => refused,
    }
}

/// Checks access. Returns the client's identity, which only an open API may lack.
///
/// # Errors
/// [`ApiError::Certificate`] if the API needs an identity and there is none; [`ApiError::NotAuthorized`].
pub fn check(state: &State, route: &Route, client: &Client, path: &str) -> Result<Option<Identity>, ApiError> {
    let identity = client.identity.as_ref();
    match decide(route, identity.ok(), path, state.config.skips_auth(route), &state.policies) {
        Decision::Open | Decision::Skipped => Ok(identity.ok().cloned()),
        Decision::Certificate | Decision::Admin | Decision::Allowed { .. } | Decision::NoIdentity => {
            Ok(Some(client.identity.clone()?))
        }
        Decision::Refused(refusal) => Err(refusal.into()),
    }
}

/// The client according to the nearest proxy: the last address in the last `X-Forwarded-For`. Addresses before it may
/// come from the client itself.
fn forwarded_for(headers: &HeaderMap) -> Option<IpAddr> {
    let value = headers.get_all("x-forwarded-for").iter().next_back()?;
    value.to_str().ok()?.rsplit(',').next()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_forwarded_address_counts() {
        let mut headers = HeaderMap::new();
        assert_eq!(forwarded_for(&headers), None);
        headers.append("x-forwarded-for", "10.0.0.1".parse().unwrap());
        headers.append("x-forwarded-for", "10.0.0.2, 10.0.0.3".parse().unwrap());
        assert_eq!(forwarded_for(&headers), Some([10, 0, 0, 3].into()));
        headers.append("x-forwarded-for", "nonsense".parse().unwrap());
        assert_eq!(forwarded_for(&headers), None);
    }
}
