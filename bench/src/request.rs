//! The requests, and their encoding in HTTP/1.1.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;

/// One request, or many that differ only in a number at the end of the path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    /// The method.
    pub(crate) method: &'static str,
    /// The path, without the number.
    pub(crate) path: String,
    /// The body. A GET without one has no headers about it.
    pub(crate) body: Bytes,
    /// The number of names, if there is more than one.
    pub(crate) names: Option<u64>,
    /// The distance from one number to the next.
    stride: u64,
}

/// A stride that visits every name once, in an order with poor locality: a prime that does not divide a round number.
const SCATTERED: u64 = 7_919;

/// The context of data keys and ciphertexts: 32 bytes.
const CONTEXT: [u8; 32] = [7; 32];

impl Request {
    /// A request without a body.
    pub(crate) fn get(path: impl Into<String>) -> Self {
        Self { method: "GET", path: path.into(), body: Bytes::new(), names: None, stride: 1 }
    }

    /// A request with a JSON body or none.
    pub(crate) fn put(path: impl Into<String>, body: impl Into<Bytes>) -> Self {
        Self { method: "PUT", path: path.into(), body: body.into(), names: None, stride: 1 }
    }

    /// Creates a key.
    pub(crate) fn create(name: &str) -> Self {
        Self::put(format!("/v1/key/create/{name}"), "")
    }

    /// Generates a data key.
    pub(crate) fn generate(name: &str) -> Self {
        Self::put(format!("/v1/key/generate/{name}"), format!(r#"{{"context":"{}"}}"#, STANDARD.encode(CONTEXT)))
    }

    /// Encrypts `length` bytes.
    pub(crate) fn encrypt(name: &str, length: usize) -> Self {
        let plaintext: Vec<u8> = (0..=255).cycle().take(length).collect();
        let (plaintext, context) = (STANDARD.encode(plaintext), STANDARD.encode(CONTEXT));
        Self::put(format!("/v1/key/encrypt/{name}"), format!(r#"{{"plaintext":"{plaintext}","context":"{context}"}}"#))
    }

    /// Decrypts a ciphertext in base64.
    pub(crate) fn decrypt(name: &str, ciphertext: &str) -> Self {
        let context = STANDARD.encode(CONTEXT);
        Self::put(
            format!("/v1/key/decrypt/{name}"),
            format!(r#"{{"ciphertext":"{ciphertext}","context":"{context}"}}"#),
        )
    }

    /// Computes the HMAC of 32 bytes.
    pub(crate) fn hmac(name: &str) -> Self {
        Self::put(format!("/v1/key/hmac/{name}"), format!(r#"{{"message":"{}"}}"#, STANDARD.encode(CONTEXT)))
    }

    /// The same for `names` names, each ending in a number.
    pub(crate) fn numbered(self, names: u64) -> Self {
        Self { names: Some(names), ..self }
    }

    /// The same in an order in which consecutive names are far apart.
    pub(crate) fn scattered(self) -> Self {
        Self { stride: SCATTERED, ..self }
    }

    /// The path of the `n`-th request.
    pub(crate) fn path(&self, n: u64) -> Cow<'_, str> {
        match self.names {
            Some(names) => format!("{}{:07}", self.path, n.wrapping_mul(self.stride) % names.max(1)).into(),
            None => self.path.as_str().into(),
        }
    }

    /// The `n`-th request, encoded for the wire.
    pub(crate) fn http1(&self, n: u64) -> Vec<u8> {
        let (method, path, length) = (self.method, self.path(n), self.body.len());
        let body_headers = match (method, length) {
            ("GET", 0) => String::new(),
            (_, 0) => "Content-Length: 0\r\n".to_owned(),
            _ => format!("Content-Type: application/json\r\nContent-Length: {length}\r\n"),
        };
        let mut bytes = format!("{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{body_headers}\r\n").into_bytes();
        bytes.extend_from_slice(&self.body);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_encoded_as_http_1() {
        let request = Request::put("/a", "{}");
        let text =
            "PUT /a HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}";
        assert_eq!(String::from_utf8(request.http1(0)).unwrap(), text);
        assert_eq!(
            String::from_utf8(Request::get("/a").http1(0)).unwrap(),
            "GET /a HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
        );
    }

    #[test]
    fn numbers_wrap_around_after_the_last_name() {
        let request = Request::create("k-").numbered(10);
        assert_eq!(request.path(3), "/v1/key/create/k-0000003");
        assert_eq!(request.path(13), request.path(3));
    }

    #[test]
    fn scattered_names_are_each_visited_once() {
        let request = Request::create("k-").numbered(1000).scattered();
        let visited: std::collections::BTreeSet<_> = (0..1000).map(|n| request.path(n).into_owned()).collect();
        assert_eq!(visited.len(), 1000);
    }

    #[test]
    fn the_plaintext_of_an_encrypt_has_the_requested_length() {
        let body: serde_json::Value = serde_json::from_slice(&Request::encrypt("k", 4096).body).unwrap();
        assert_eq!(STANDARD.decode(body["plaintext"].as_str().unwrap()).unwrap().len(), 4096);
    }
}
