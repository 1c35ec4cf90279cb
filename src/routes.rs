//! Every API as data: which path reaches it, what it takes, what is needed to call it. Nothing here calls a handler, so
//! every room may ask this table; `server/router.rs` joins it to the handlers.

use std::time::Duration;

use axum::http::Method;
use backends::{Name, Operation, is_valid_prefix};
use percent_encoding::percent_decode_str;

/// The APIs, each by the words of its path.
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

/// One API.
#[derive(Debug)]
pub struct Route {
    /// Which one.
    pub api: Api,
    /// The method; `POST` is accepted wherever this is `PUT`.
    pub method: Method,
    /// The path. One that ends in `/` takes an [`Argument`] after it.
    pub path: &'static str,
    /// A second path of the same API. The config's options and policy rules for [`Route::path`] hold for it too.
    pub alias: Option<&'static str>,
    /// What follows the path.
    pub argument: Argument,
    /// Bytes of the body that are read at most. Where this is 0 a body is ignored.
    pub max_body: usize,
    /// How long body, queue and store may take together, unless the config says otherwise; zero: no limit.
    pub timeout: Duration,
    /// What a client needs to call it.
    pub access: Access,
    /// What it does in the store, where it calls it for a client.
    pub operation: Option<Operation>,
}

/// What a client needs to call an API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Nothing: it is open to everyone.
    Open,
    /// A client certificate.
    Certificate,
    /// A policy that allows it, or the admin's identity.
    Policy,
    /// As [`Access::Policy`], or nothing when the config says `skip_auth` (only APIs without key material).
    Skippable,
}

/// What follows the path of an API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Argument {
    /// Nothing.
    None,
    /// The name of a key.
    Key,
    /// The name of a policy.
    Policy,
    /// An identity.
    Identity,
    /// The beginning of names, possibly empty, possibly followed by a `*`.
    Listing,
}

/// The body limit of APIs that take one (HTTP API documentation of KES).
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

/// Every API, with the figures of KES's HTTP API documentation. `/v1/api` answers with this table.
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

/// The route that a path reaches, as it stands in the request line: an escape in its fixed part makes it another path.
pub fn of(path: &str) -> Option<&'static Route> {
    ROUTES.iter().find(|route| route.fits(path))
}

/// The path that rules, names and the audit log see: percent-decoded once. A list without its slash is the list of all
/// names, as with KES, which redirects from the one to the other. `None` when an escape is broken or the result is not
/// UTF-8.
pub fn decode(path: &str) -> Option<String> {
    let mut escapes = path.split('%').skip(1);
    let complete =
        escapes.all(|rest| rest.as_bytes().get(..2).is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit)));
    let mut path = complete.then(|| percent_decode_str(path).decode_utf8().ok())?.map(Into::<String>::into)?;
    if path.ends_with("/list") && ROUTES.iter().any(|route| route.without_slash() == Some(&path)) {
        path.push('/');
    }
    Some(path)
}

/// The route whose path is most like `path`, for a hint to a typing error.
pub fn nearest(path: &str) -> Option<&'static Route> {
    let likeness = |route: &&Route| strsim::normalized_damerau_levenshtein(path, route.path);
    ROUTES.iter().max_by(|a, b| likeness(a).total_cmp(&likeness(b)))
}

impl Route {
    /// The paths of the API: its own, then its alias.
    pub fn paths(&self) -> impl Iterator<Item = &'static str> {
        [Some(self.path), self.alias].into_iter().flatten()
    }

    /// Whether a request with this method may be made; `POST` is accepted for `PUT`.
    pub fn takes(&self, method: &Method) -> bool {
        *method == self.method || (self.method == Method::PUT && *method == Method::POST)
    }

    /// What follows the fixed part in a decoded path of this API.
    pub fn argument_in<'a>(&self, path: &'a str) -> &'a str {
        path.strip_prefix(self.path).unwrap_or_default()
    }

    /// Whether it changes the store: then it runs to its end even when the client has left or the time is up.
    pub fn mutates(&self) -> bool {
        matches!(self.operation, Some(Operation::Create | Operation::Delete))
    }

    /// Whether a request for the decoded `path` reaches this API with a valid argument.
    pub fn can_be(&self, path: &str) -> bool {
        self.paths().any(|own| path.strip_prefix(own).is_some_and(|argument| self.argument.is_valid(argument)))
    }

    /// Whether some request that begins with `prefix` reaches this API with a valid argument.
    pub fn can_begin(&self, prefix: &str) -> bool {
        self.paths().any(|path| path.starts_with(prefix))
            || prefix.strip_prefix(self.path).is_some_and(|argument| self.argument.can_begin(argument))
    }

    fn fits(&self, path: &str) -> bool {
        match self.argument {
            Argument::None => path == self.path || self.alias == Some(path),
            _ => path.starts_with(self.path) || self.without_slash() == Some(path),
        }
    }

    /// The path of a list without its slash: this is how the official SDK, and MinIO with it, asks for all names.
    fn without_slash(&self) -> Option<&'static str> {
        if self.argument == Argument::Listing { self.path.strip_suffix('/') } else { None }
    }
}

impl Argument {
    /// Whether an API answers this argument with anything but 400.
    pub fn is_valid(self, text: &str) -> bool {
        match self {
            Self::None => text.is_empty(),
            Self::Key | Self::Policy | Self::Identity => Name::is_valid(text),
            Self::Listing => is_valid_prefix(text.strip_suffix('*').unwrap_or(text)),
        }
    }

    /// Whether some valid argument begins with this text.
    pub fn can_begin(self, text: &str) -> bool {
        match self {
            Self::None => text.is_empty(),
            Self::Key | Self::Policy | Self::Identity => is_valid_prefix(text),
            Self::Listing => self.is_valid(text),
        }
    }

    /// The word for it in messages.
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
    fn only_paths_that_end_in_a_slash_take_an_argument() {
        for route in ROUTES {
            assert_eq!(route.path.ends_with('/'), route.argument != Argument::None, "{}", route.path);
        }
    }

    #[test]
    fn authentication_can_be_skipped_only_where_no_key_is_at_stake() {
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
