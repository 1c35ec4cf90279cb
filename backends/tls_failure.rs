//! Failed handshakes in plain words: rustls describes most of them by the names of its own types.

use std::fmt::Debug;

use rustls::pki_types::UnixTime;
use rustls::{AlertDescription, CertificateError, Error};

use time::OffsetDateTime;

/// What failed. It contains no names of types.
pub fn text(error: &Error) -> String {
    match error {
        Error::AlertReceived(alert) => {
            format!("the other side ended the handshake with the TLS alert '{}'", alert_name(*alert))
        }
        Error::InvalidCertificate(problem) => certificate_text(problem),
        Error::InvalidMessage(why) => format!("the other side sent a message that is not TLS ({})", words(why)),
        Error::InappropriateMessage { .. } | Error::InappropriateHandshakeMessage { .. } => {
            "the other side sent an unexpected TLS message".to_owned()
        }
        Error::PeerIncompatible(why) => format!("the other side does not support what TLS needs here ({})", words(why)),
        Error::PeerMisbehaved(why) => format!("the other side violated the TLS protocol ({})", words(why)),
        Error::InconsistentKeys(_) => "the private key does not belong to the certificate".to_owned(),
        Error::InvalidCertRevocationList(why) => format!("the revocation list is not valid ({})", words(why)),
        Error::InvalidEncryptedClientHello(why) => format!("the encrypted client hello is not valid ({})", words(why)),
        other => other.to_string(),
    }
}

/// What is wrong with a certificate, as in `the certificate has expired`.
pub fn certificate_text(problem: &CertificateError) -> String {
    match problem {
        CertificateError::ExpiredContext { not_after, .. } => {
            format!("the certificate has expired (valid until {})", seconds(*not_after))
        }
        CertificateError::NotValidYetContext { not_before, .. } => {
            format!("the certificate is not valid yet (valid from {})", seconds(*not_before))
        }
        CertificateError::NotValidForNameContext { expected, presented } => {
            format!("the certificate is for {}, not for {}", names(presented), expected.to_str())
        }
        CertificateError::InvalidPurposeContext { .. } => format!("the {problem}"), // in words already
        CertificateError::Other(other) => format!("the certificate is not valid ({})", words(&other.0)),
        other => format!("the certificate is not valid ({})", words(other)),
    }
}

/// A time of rustls, as messages show it.
pub fn seconds(time: UnixTime) -> String {
    utc(i64::try_from(time.as_secs()).unwrap_or(i64::MAX))
}

/// A time in seconds since 1970, as in `2026-11-28 17:04 UTC`.
pub fn utc(seconds: i64) -> String {
    OffsetDateTime::from_unix_timestamp(seconds).map_or_else(
        |_| "an unknown time".to_owned(),
        |time| format!("{} {:02}:{:02} UTC", time.date(), time.hour(), time.minute()),
    )
}

/// The TLS error that this error is, or that is inside of it: that of an I/O error, which its `source` skips.
pub fn find<'e>(error: &'e (dyn std::error::Error + 'static)) -> Option<&'e Error> {
    if let Some(error) = error.downcast_ref::<std::io::Error>() {
        return find(error.get_ref()?);
    }
    error.downcast_ref()
}

/// The names in a certificate; webpki writes them as `DnsName("kes.example.com")` and `IpAddress(127.0.0.1)`.
pub fn names(presented: &[String]) -> String {
    let bare = |name: &String| {
        let inner = name.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')'));
        inner.unwrap_or(name).trim_matches('"').to_owned()
    };
    match presented {
        [] => "no name (no subjectAltName)".to_owned(),
        names => names.iter().map(bare).collect::<Vec<_>>().join(", "),
    }
}

/// The name of an alert, as in RFC 8446 section 6, with spaces.
pub fn alert_name(alert: AlertDescription) -> String {
    words(&alert)
}

/// The words in the name of a variant: `NoCipherSuitesInCommon` is "no cipher suites in common".
fn words(variant: &impl Debug) -> String {
    let name = format!("{variant:?}");
    let name: Vec<char> = name.chars().take_while(char::is_ascii_alphanumeric).collect();
    let mut text = String::with_capacity(name.len() + 8);
    for (at, char) in name.iter().enumerate() {
        let before = at.checked_sub(1).and_then(|at| name.get(at));
        let after = name.get(at + 1);
        let begins = char.is_ascii_uppercase()
            && before.is_some_and(|before| !before.is_ascii_uppercase() || after.is_some_and(char::is_ascii_lowercase));
        if begins {
            text.push(' ');
        }
        text.push(char.to_ascii_lowercase());
    }
    text
}

#[cfg(test)]
mod tests {
    use rustls::PeerIncompatible;
    use rustls::pki_types::ServerName;

    use super::*;

    #[test]
    fn a_time_is_shown_to_the_minute() {
        assert_eq!(utc(1_580_688_000), "2020-02-03 00:00 UTC");
        assert_eq!(utc(i64::MAX), "an unknown time");
    }

    #[test]
    fn variants_become_words() {
        assert_eq!(alert_name(AlertDescription::UnknownCA), "unknown ca");
        assert_eq!(alert_name(AlertDescription::UnknownPSKIdentity), "unknown psk identity");
        assert_eq!(words(&CertificateError::BadEncoding), "bad encoding");
    }

    #[test]
    fn no_text_contains_the_name_of_a_type() {
        let (now, other) = (UnixTime::now(), UnixTime::since_unix_epoch(std::time::Duration::from_hours(439_080)));
        let expected = ServerName::try_from("127.0.0.1").unwrap();
        let presented = vec!["DnsName(\"kes.test\")".to_owned(), "IpAddress(10.0.0.1)".to_owned()];
        for (error, expected) in [
            (
                CertificateError::NotValidForNameContext { expected, presented }.into(),
                "kes.test, 10.0.0.1, not for 127.0.0.1",
            ),
            (
                CertificateError::ExpiredContext { time: now, not_after: other }.into(),
                "valid until 2020-02-03 00:00 UTC",
            ),
            (
                CertificateError::NotValidYetContext { time: other, not_before: now }.into(),
                "not valid yet (valid from 2",
            ),
            (CertificateError::NotValidYet.into(), "not valid yet"),
            (CertificateError::UnknownIssuer.into(), "unknown issuer"),
            (Error::PeerIncompatible(PeerIncompatible::NoCipherSuitesInCommon), "no cipher suites in common"),
            (Error::AlertReceived(AlertDescription::BadCertificate), "'bad certificate'"),
        ] {
            let text = text(&error);
            assert!(text.contains(expected), "{text}");
            let has_type = text.split(|char: char| !char.is_ascii_alphanumeric()).any(|word| {
                let humps = word.chars().zip(word.chars().skip(1));
                humps.filter(|(one, next)| one.is_ascii_lowercase() && next.is_ascii_uppercase()).count() > 0
            });
            assert!(!has_type && !text.contains('"'), "{text}");
        }
    }
}
