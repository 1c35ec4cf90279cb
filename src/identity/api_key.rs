//! API keys: the key pair of a client as one line of text, `kes:v1:` followed by 33 bytes in base64.
//!
//! The bytes are a zero, which means Ed25519, and a seed of 32 bytes (RFC 8032 section 5.1.5). An API key contains no
//! certificate: the client creates a self-signed one, and the server uses only its public key, see [`Identity`]. Here
//! the same API key always gives the same certificate.
//!
//! Not here: identities of certificates from elsewhere (`identity.rs`), and private keys in files
//! (`tls/private_key.rs`).

use std::fmt;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use rcgen::{
    CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose, PKCS_ED25519, PublicKeyData,
};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use zeroize::Zeroizing;

use crate::crypto::key::RandomError;
use crate::identity::Identity;

/// The prefix of every API key: the program that it is for, and the version of the format.
const PREFIX: &str = "kes:v1:";

/// The first of the 33 bytes: the type of the key pair, Ed25519. There is no other type.
const ED25519: u8 = 0;

/// Length in bytes of an Ed25519 seed (RFC 8032 section 5.1.5).
const SEED_LEN: usize = 32;

/// The bytes before the seed in PKCS#8 (RFC 8410 section 7): version 0, the OID 1.3.101.112, two OCTET STRINGs.
const PKCS8_PREFIX: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];

/// The key pair of a client, with its identity and its certificate. The seed is wiped on drop.
pub struct ApiKey {
    seed: Box<Zeroizing<[u8; SEED_LEN]>>, // boxed, so that a move leaves no copies
    identity: Identity,
    certificate: CertificateDer<'static>,
}

/// Why a text is not an API key, or none could be generated. Contains nothing of the text.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ApiKeyError {
    /// The prefix is missing.
    #[error("not an API key: it must begin with {PREFIX}")]
    Prefix,
    /// Not base64, usually because it was copied incompletely.
    #[error("the API key is not valid base64 after {PREFIX}; check that it was copied completely")]
    Encoding,
    /// The wrong number of bytes.
    #[error("the API key has {0} bytes instead of {len}; check that it was copied completely", len = 1 + SEED_LEN)]
    Length(usize),
    /// An unknown type.
    #[error("the type of the API key is not supported; only Ed25519 is")]
    Type,
    /// The cryptographic library rejected the seed or could not sign, which does not happen in practice.
    #[error("the cryptographic library cannot create a certificate from the API key")]
    Unusable,
    /// No random bytes were available for a new API key.
    #[error("{RandomError}")]
    Random,
}

impl ApiKey {
    /// Generates a random API key.
    ///
    /// # Errors
    /// [`ApiKeyError::Random`]; [`ApiKeyError::Unusable`].
    pub fn generate() -> Result<Self, ApiKeyError> {
        let mut seed = Box::new(Zeroizing::new([0; SEED_LEN]));
        aws_lc_rs::rand::fill(seed.as_mut_slice()).map_err(|_| ApiKeyError::Random)?;
        Self::of_seed(seed)
    }

    /// Parses an API key. Surrounding white space is ignored.
    ///
    /// # Errors
    /// [`ApiKeyError`] says what is wrong with the text.
    pub fn parse(text: &str) -> Result<Self, ApiKeyError> {
        let base64 = text.trim().strip_prefix(PREFIX).ok_or(ApiKeyError::Prefix)?;
        let mut bytes = Zeroizing::new(vec![0; base64::decoded_len_estimate(base64.len())]);
        let len = BASE64_STANDARD.decode_slice(base64, &mut bytes).map_err(|_| ApiKeyError::Encoding)?;
        bytes.truncate(len);
        match bytes.as_slice() {
            [ED25519, bytes @ ..] if bytes.len() == SEED_LEN => {
                let mut seed = Box::new(Zeroizing::new([0; SEED_LEN]));
                seed.copy_from_slice(bytes);
                Self::of_seed(seed)
            }
            bytes if bytes.len() == 1 + SEED_LEN => Err(ApiKeyError::Type),
            bytes => Err(ApiKeyError::Length(bytes.len())),
        }
    }

    fn of_seed(seed: Box<Zeroizing<[u8; SEED_LEN]>>) -> Result<Self, ApiKeyError> {
        let pkcs8 = pkcs8(&seed);
        let key_pair =
            KeyPair::from_pkcs8_der_and_sign_algo(&PrivatePkcs8KeyDer::from(pkcs8.as_slice()), &PKCS_ED25519)
                .map_err(|_| ApiKeyError::Unusable)?;
        let identity = Identity::of_public_key(&key_pair.subject_public_key_info());
        let certificate = certificate(&identity, &key_pair).map_err(|_| ApiKeyError::Unusable)?;
        Ok(Self { seed, identity, certificate })
    }

    /// The API key as text, in the form that clients use: 51 characters.
    pub fn to_text(&self) -> Zeroizing<String> {
        let mut bytes = Zeroizing::new(vec![ED25519; 1 + SEED_LEN]);
        for (byte, seed) in bytes.iter_mut().skip(1).zip(self.seed.iter()) {
            *byte = *seed;
        }
        let mut text = Zeroizing::new(String::with_capacity(PREFIX.len() + 4 * SEED_LEN));
        text.push_str(PREFIX);
        BASE64_STANDARD.encode_string(&*bytes, &mut text);
        text
    }

    /// The identity that a client with this API key has on a server.
    pub fn identity(&self) -> Identity {
        self.identity.clone()
    }

    /// A certificate for TLS with its private key: self-signed, only for client authentication, not a CA, without an
    /// expiry. Every call returns the same certificate.
    pub fn client_certificate(&self) -> (CertificateDer<'static>, PrivatePkcs8KeyDer<'static>) {
        (self.certificate.clone(), PrivatePkcs8KeyDer::from(pkcs8(&self.seed).to_vec()))
    }

    /// The certificate of [`Self::client_certificate`] as PEM (RFC 7468 section 5).
    pub fn certificate_pem(&self) -> String {
        let section = pem::Pem::new("CERTIFICATE", self.certificate.as_ref());
        pem::encode_config(&section, pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF))
    }

    /// The private key of [`Self::client_certificate`] as PEM, unencrypted PKCS#8 (RFC 7468 section 10).
    pub fn key_pem(&self) -> Zeroizing<String> {
        // 48 bytes are 64 characters of base64: exactly one line.
        let mut text = Zeroizing::new(String::with_capacity(256));
        text.push_str("-----BEGIN PRIVATE KEY-----\n");
        BASE64_STANDARD.encode_string(&*pkcs8(&self.seed), &mut text);
        text.push_str("\n-----END PRIVATE KEY-----\n");
        text
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiKey").field("identity", &self.identity).finish_non_exhaustive()
    }
}

/// The private key in PKCS#8 version 1: 48 bytes of DER.
fn pkcs8(seed: &[u8; SEED_LEN]) -> Zeroizing<Vec<u8>> {
    let mut der = Zeroizing::new(Vec::with_capacity(PKCS8_PREFIX.len() + SEED_LEN));
    der.extend_from_slice(&PKCS8_PREFIX);
    der.extend_from_slice(seed);
    der
}

fn certificate(identity: &Identity, key_pair: &KeyPair) -> Result<CertificateDer<'static>, rcgen::Error> {
    let mut parameters = CertificateParams::default();
    // For display by tools such as openssl; servers ignore it.
    parameters.distinguished_name.push(DnType::CommonName, identity.as_str());
    // Valid at any time: 99991231 means that there is no expiry (RFC 5280 section 4.1.2.5).
    parameters.not_before = rcgen::date_time_ymd(2000, 1, 1);
    parameters.not_after = rcgen::date_time_ymd(9999, 12, 31);
    // An explicit CA:FALSE: servers ignore CA certificates when they determine the certificate of a client.
    parameters.is_ca = IsCa::ExplicitNoCa;
    parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    Ok(parameters.self_signed(key_pair)?.der().clone())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::tls::private_key::openssl::openssl;

    /// The seed is the bytes 0, 1, 2 ... 31.
    const TEXT: &str = "kes:v1:AAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f";
    /// From `openssl pkey -pubout -outform DER | openssl sha256`, see the test below.
    const IDENTITY: &str = "a050837d85070582ccf7394b0988847cc312cb88259b894899f6f239cf1791a5";

    fn key() -> ApiKey {
        ApiKey::parse(TEXT).unwrap()
    }

    #[test]
    fn a_fixed_seed_has_a_fixed_identity() {
        assert_eq!(key().identity().as_str(), IDENTITY);
        assert_eq!(*key().to_text(), TEXT);
    }

    #[test]
    fn openssl_computes_the_same_public_key_and_identity() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("key.pem"), key().key_pem()).unwrap();
        openssl(directory.path(), "pkey -in key.pem -pubout -outform DER -out public.der");
        let digest = openssl(directory.path(), "dgst -sha256 -r public.der");
        assert!(String::from_utf8(digest).unwrap().starts_with(IDENTITY));
        let public_key = fs::read(directory.path().join("public.der")).unwrap();
        assert_eq!(Identity::of_public_key(&public_key), key().identity());
        assert_eq!(Identity::of_certificate(&key().client_certificate().0).unwrap(), key().identity());
    }

    #[test]
    fn openssl_accepts_the_certificate_as_a_self_signed_client_certificate() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("client.crt"), key().certificate_pem()).unwrap();
        openssl(directory.path(), "verify -check_ss_sig -purpose sslclient -CAfile client.crt client.crt");
        let text = String::from_utf8(openssl(directory.path(), "x509 -in client.crt -noout -text")).unwrap();
        for line in [
            "Version: 3",
            "Signature Algorithm: ED25519",
            "CA:FALSE",
            "Digital Signature",
            "TLS Web Client Authentication",
            "Not Before: Jan  1 00:00:00 2000 GMT",
            "Not After : Dec 31 00:00:00 9999 GMT",
            IDENTITY,
        ] {
            assert!(text.contains(line), "{line} is not in {text}");
        }
    }

    #[test]
    fn every_call_returns_the_same_certificate() {
        assert_eq!(key().client_certificate(), key().client_certificate());
    }

    #[test]
    fn rustls_accepts_the_certificate_with_its_key() {
        let (certificate, private_key) = key().client_certificate();
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let certified = rustls::sign::CertifiedKey::from_der(vec![certificate], private_key.into(), &provider);
        assert!(certified.unwrap().keys_match().is_ok());
    }

    #[test]
    fn a_generated_key_can_be_parsed_again_and_is_unique() {
        let (one, other) = (ApiKey::generate().unwrap(), ApiKey::generate().unwrap());
        assert_eq!(one.to_text().len(), 51);
        let again = ApiKey::parse(&format!(" {}\n", *one.to_text())).unwrap();
        assert_eq!(again.identity(), one.identity());
        assert_ne!(one.identity(), other.identity());
    }

    #[test]
    fn other_texts_are_rejected_with_the_reason() {
        let of = |bytes: &[u8]| format!("{PREFIX}{}", BASE64_STANDARD.encode(bytes));
        let [short, long, other] = [of(&[0; 32]), of(&[0; 34]), of(&[1; 33])];
        for (text, expected) in [
            ("", ApiKeyError::Prefix),
            ("kes:v2:AAAA", ApiKeyError::Prefix),
            (TEXT.strip_prefix("kes:").unwrap(), ApiKeyError::Prefix),
            ("kes:v1:", ApiKeyError::Length(0)),
            ("kes:v1:AAAA", ApiKeyError::Length(3)),
            (&short, ApiKeyError::Length(32)),
            (&long, ApiKeyError::Length(34)),
            (&other, ApiKeyError::Type),
            (TEXT.strip_suffix('f').unwrap(), ApiKeyError::Encoding),
            ("kes:v1:!", ApiKeyError::Encoding),
            ("kes:v1:AAAB AgM", ApiKeyError::Encoding),
        ] {
            assert_eq!(ApiKey::parse(text).unwrap_err(), expected, "{text}");
        }
    }

    #[test]
    fn debug_output_does_not_contain_the_seed() {
        let text = format!("{:?}", key());
        assert_eq!(text, format!("ApiKey {{ identity: {IDENTITY:?}, .. }}"));
    }
}
