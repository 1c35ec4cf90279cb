//! The table of APIs: the path, the limits and the required access of each. It contains no handlers, so that every
//! module can use it; `server/router.rs` maps APIs to handlers.

use std::time::Duration;

use axum::http::Method;
use backends::{Name, Operation, is_valid_prefix};
use percent_encoding::percent_decode_str;

/// The APIs, named after their paths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Api {
    /// `GET /version`
    Version,
    /// `GET /v1/ready`, also under `/ready`
    Ready,
    /// `GET /v1/status`
    Status,
    /// `GET /v1/metrics`
    Metrics,
    /// `GET /v1/api`
    ApiList,
    /// `PUT /v1/key/create/NAME`
    KeyCreate,
    /// `PUT /v1/key/import/NAME`
    KeyImport,
    /// `GET /v1/key/describe/NAME`
    KeyDescribe,
    /// `DELETE /v1/key/delete/NAME`
    KeyDelete,
    /// `GET /v1/key/list/PREFIX`
    KeyList,
    /// `PUT /v1/key/generate/NAME`
    KeyGenerate,
    /// `PUT /v1/key/encrypt/NAME`
    KeyEncrypt,
    /// `PUT /v1/key/decrypt/NAME`
    KeyDecrypt,
    /// `PUT /v1/key/hmac/NAME`
    KeyHmac,
    /// `GET /v1/policy/describe/NAME`
    PolicyDescribe,
    /// `GET /v1/policy/read/NAME`
    PolicyRead,
    /// `GET /v1/policy/list/PREFIX`
    PolicyList,
    /// `GET /v1/identity/describe/IDENTITY`
    IdentityDescribe,
    /// `GET /v1/identity/self/describe`
    IdentitySelfDescribe,
    /// `GET /v1/identity/list/PREFIX`
    IdentityList,
    /// `GET /v1/log/error`
    LogError,
    /// `GET /v1/log/audit`
    LogAudit,
}

/// The properties of an API.
#[derive(Debug)]
pub struct Route {
    /// The API.
    pub api: Api,
    /// The method; `POST` is also accepted wherever this is `PUT`.
    pub method: Method,
    /// The path. If it ends in `/`, an [`Argument`] follows.
    pub path: &'static str,
    /// A second path. Options and policy rules for [`Route::path`] also apply to it.
    pub alias: Option<&'static str>,
    /// The argument after the path.
    pub argument: Argument,
    /// The maximum size of the body in bytes. If it is 0, a body is ignored.
    pub max_body: usize,
    /// The default timeout for the whole request; zero: no limit.
    pub timeout: Duration,
    /// The required access.
    pub access: Access,
    /// The keystore operation that it performs for the client.
    pub operation: Option<Operation>,
}

/// The access that an API requires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// None: it is open to everyone.
    Open,
    /// Any client certificate.
    Certificate,
    /// A policy that allows it, or the identity of the admin.
    Policy,
    /// As [`Access::Policy`], or none if the config sets `skip_auth` (only APIs without key material).
    Skippable,
}

/// The argument after the path of an API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Argument {
    /// None.
    None,
    /// A key name.
    Key,
    /// A policy name.
    Policy,
    /// An identity.
    Identity,
    /// A prefix of names, which may be empty and may be followed by a `*`.
    Listing,
}

/// The maximum body size of APIs that accept a body (HTTP API documentation of KES).
const MIB: usize = 1 << 20;

macro_rules! route {
    ($api:ident, $method:ident $path:literal $(| $alias:literal)?, $argument:ident, $max_body:expr, $timeout:literal s, $access:ident $(, $operation:ident)?) => {
        Route {
            api: Api::$api,
            method: Method::$method,
            path: $path,
            alias: route!(@option $($alias)?),
            argument: Argument::$argument,
            max_body: $max_body,
            timeout: Duration::from_secs($timeout),
            access: Access::$access,
            operation: route!(@option $(Operation::$operation)?),
        }
    };
    (@option) => { None };
    (@option $value:expr) => { Some($value) };
}

/// All APIs, with the limits from KES's HTTP API documentation. `/v1/api` returns this table.
#[rustfmt::skip]
pub const ROUTES: &[Route] = &[
    route!(Version,              GET    "/version",                   None,     0,   10 s, Open),
    route!(Ready,                GET    "/v1/ready" | "/ready",       None,     0,   15 s, Skippable),
    route!(Status,               GET    "/v1/status",                 None,     0,   15 s, Skippable),
    route!(Metrics,              GET    "/v1/metrics",                None,     0,   15 s, Skippable),
    route!(ApiList,              GET    "/v1/api",                    None,     0,   10 s, Skippable),
    route!(KeyCreate,            PUT    "/v1/key/create/",            Key,      0,   15 s, Policy, Create),
    route!(KeyImport,            PUT    "/v1/key/import/",            Key,      MIB, 15 s, Policy, Create),
    route!(KeyDescribe,          GET    "/v1/key/describe/",          Key,      0,   15 s, Policy, Read),
    route!(KeyDelete,            DELETE "/v1/key/delete/",            Key,      0,   15 s, Policy, Delete),
    route!(KeyList,              GET    "/v1/key/list/",              Listing,  0,   15 s, Policy, List),
    route!(KeyGenerate,          PUT    "/v1/key/generate/",          Key,      MIB, 15 s, Policy, Read),
    route!(KeyEncrypt,           PUT    "/v1/key/encrypt/",           Key,      MIB, 15 s, Policy, Read),
    route!(KeyDecrypt,           PUT    "/v1/key/decrypt/",           Key,      MIB, 15 s, Policy, Read),
    route!(KeyHmac,              PUT    "/v1/key/hmac/",              Key,      MIB, 15 s, Policy, Read),
    route!(PolicyDescribe,       GET    "/v1/policy/describe/",       Policy,   0,   15 s, Policy),
    route!(PolicyRead,           GET    "/v1/policy/read/",           Policy,   0,   15 s, Policy),
    route!(PolicyList,           GET    "/v1/policy/list/",           Listing,  0,   15 s, Policy),
    route!(IdentityDescribe,     GET    "/v1/identity/describe/",     Identity, 0,   15 s, Policy),
    route!(IdentitySelfDescribe, GET    "/v1/identity/self/describe", None,     0,   15 s, Certificate),
    route!(IdentityList,         GET    "/v1/identity/list/",         Listing,  0,   15 s, Policy),
    route!(LogError,             GET    "/v1/log/error",              None,     0,    0 s, Policy),
    route!(LogAudit,             GET    "/v1/log/audit",              None,     0,    0 s, Policy),
];

/// The route for a path as it is in the request line: an escape in the fixed part makes it a different path.
pub fn of(path: &str) -> Option<&'static Route> {
    ROUTES.iter().find(|route| route.matches(path))
}

/// The path for rules, names and the audit log: percent-decoded once. A list without the trailing slash lists all
/// names, as in KES, which redirects. `None` if an escape is invalid or the result is not UTF-8.
pub fn decode(path: &str) -> Option<String> {
    let mut escapes = path.split('%').skip(1);
    let is_valid =
        escapes.all(|rest| rest.as_bytes().get(..2).is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit)));
    let mut path = is_valid.then(|| percent_decode_str(path).decode_utf8().ok())?.map(Into::<String>::into)?;
    if path.ends_with("/list") && ROUTES.iter().any(|route| route.without_slash() == Some(&path)) {
        path.push('/');
    }
    Some(path)
}

/// The route with the most similar path, as a suggestion after a typing error.
pub fn nearest(path: &str) -> Option<&'static Route> {
    let similarity = |route: &&Route| strsim::normalized_damerau_levenshtein(path, route.path);
    ROUTES.iter().max_by(|a, b| similarity(a).total_cmp(&similarity(b)))
}

impl Route {
    /// The path, and the alias if there is one.
    pub fn paths(&self) -> impl Iterator<Item = &'static str> {
        [Some(self.path), self.alias].into_iter().flatten()
    }

    /// Whether requests with this method are accepted; `POST` is accepted for `PUT`.
    pub fn takes(&self, method: &Method) -> bool {
        *method == self.method || (self.method == Method::PUT && *method == Method::POST)
    }

    /// The argument in a decoded path of this API.
    pub fn argument_in<'a>(&self, path: &'a str) -> &'a str {
        path.strip_prefix(self.path).unwrap_or_default()
    }

    /// Whether it changes the keystore. It is then completed even if the client disconnects or the request times out.
    pub fn mutates(&self) -> bool {
        matches!(self.operation, Some(Operation::Create | Operation::Delete))
    }

    /// Whether the decoded `path` is a path of this API with a valid argument.
    pub fn has_path(&self, path: &str) -> bool {
        self.paths().any(|own| path.strip_prefix(own).is_some_and(|argument| self.argument.is_valid(argument)))
    }

    /// Whether a path of this API with a valid argument begins with `prefix`.
    pub fn has_path_with_prefix(&self, prefix: &str) -> bool {
        self.paths().any(|path| path.starts_with(prefix))
            || prefix.strip_prefix(self.path).is_some_and(|argument| self.argument.is_valid_prefix(argument))
    }

    fn matches(&self, path: &str) -> bool {
        match self.argument {
            Argument::None => path == self.path || self.alias == Some(path),
            _ => path.starts_with(self.path) || self.without_slash() == Some(path),
        }
    }

    /// The path of a list without its slash, which the official SDK, and thus MinIO, uses to list all names.
    fn without_slash(&self) -> Option<&'static str> {
        if self.argument == Argument::Listing { self.path.strip_suffix('/') } else { None }
    }
}

impl Argument {
    /// Whether the argument is valid; an API responds with 400 if it is not.
    pub fn is_valid(self, text: &str) -> bool {
        match self {
            Self::None => text.is_empty(),
            Self::Key | Self::Policy | Self::Identity => Name::is_valid(text),
            Self::Listing => is_valid_prefix(text.strip_suffix('*').unwrap_or(text)),
        }
    }

    /// Whether a valid argument begins with this text.
    pub fn is_valid_prefix(self, text: &str) -> bool {
        match self {
            Self::None => text.is_empty(),
            Self::Key | Self::Policy | Self::Identity => is_valid_prefix(text),
            Self::Listing => self.is_valid(text),
        }
    }

    /// Its name in messages.
    pub fn word(self) -> &'static str {
        match self {
            Self::None => "argument",
            Self::Key => "key name",
            Self::Policy => "policy name",
            Self::Identity => "identity",
            Self::Listing => "listing pattern",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_22_apis_and_one_alias() {
        assert_eq!(ROUTES.len(), 22);
        assert_eq!(ROUTES.iter().flat_map(Route::paths).count(), 23);
    }

    #[test]
    fn only_paths_that_end_in_a_slash_have_an_argument() {
        for route in ROUTES {
            assert_eq!(route.path.ends_with('/'), route.argument != Argument::None, "{}", route.path);
        }
    }

    #[test]
    fn authentication_can_be_skipped_only_for_apis_without_key_material() {
        let skippable = ROUTES.iter().filter(|route| route.access == Access::Skippable).map(|route| route.path);
        assert!(skippable.eq(["/v1/ready", "/v1/status", "/v1/metrics", "/v1/api"]));
    }

    #[test]
    fn a_path_is_matched_before_it_is_decoded() {
        let api = |path: &str| of(path).map(|route| route.api);
        assert_eq!(api("/v1/key/create/%63"), Some(Api::KeyCreate));
        assert_eq!(api("/v1/key/%63reate/x"), None);
        assert_eq!(api("/ready"), Some(Api::Ready));
        assert_eq!(api("/v1/key/list"), Some(Api::KeyList));
        assert_eq!(api("/v1/key/create"), None);
        assert_eq!(api("/v1/status/"), None);
    }

    #[test]
    fn a_path_is_decoded_once_and_strictly() {
        assert_eq!(decode("/v1/key/create/a%2Fb").as_deref(), Some("/v1/key/create/a/b"));
        assert_eq!(decode("/%252F").as_deref(), Some("/%2F"));
        assert_eq!(decode("/v1/policy/list").as_deref(), Some("/v1/policy/list/"));
        for bad in ["/%", "/%2", "/%zz", "/%ff", "/a%2"] {
            assert_eq!(decode(bad), None, "{bad}");
        }
    }
}
