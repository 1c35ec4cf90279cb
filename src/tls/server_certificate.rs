//! Why clients will reject the certificate of a server, now or soon. Their own errors rarely say so.

use rustls::pki_types::CertificateDer;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use backends::tls_failure::utc;

/// Seconds of a day.
const DAY: i64 = 24 * 60 * 60;

/// From how many days before its end a certificate is reported.
const SOON_DAYS: i64 = 30;

/// The problems of a chain, the server's certificate first, each with what to do. `now` is in seconds since 1970.
pub fn warnings(chain: &[CertificateDer<'_>], now: i64) -> Vec<String> {
    let parsed: Vec<_> = chain.iter().filter_map(|der| X509Certificate::from_der(der).ok()).collect();
    let dates = parsed.iter().filter_map(|(_, certificate)| date_problem(certificate, now));
    let uses = parsed.first().map(|(_, leaf)| [name_problem(leaf), purpose_problem(leaf)]);
    dates.chain(uses.into_iter().flatten().flatten()).collect()
}

/// The problem of the dates of a certificate.
fn date_problem(certificate: &X509Certificate<'_>, now: i64) -> Option<String> {
    let validity = certificate.validity();
    let (start, end) = (validity.not_before.timestamp(), validity.not_after.timestamp());
    let problem = if now > end {
        format!("has expired (valid until {}) and clients reject it; renew it", utc(end))
    } else if now < start {
        format!(
            "is not valid yet: valid from {}; clients reject it until then; check the clock of this machine",
            utc(start)
        )
    } else if end - now < SOON_DAYS * DAY {
        let days = match (end - now) / DAY {
            0 => "less than a day".to_owned(),
            1 => "1 day".to_owned(),
            days => format!("{days} days"),
        };
        format!("expires in {days} (valid until {}); renew it", utc(end))
    } else {
        return None;
    };
    Some(format!("the certificate {}{problem}", subject(certificate)))
}

/// The problem of the names: clients ignore the common name.
fn name_problem(certificate: &X509Certificate<'_>) -> Option<String> {
    let names = certificate.subject_alternative_name().ok().flatten();
    let is_address = |name: &GeneralName<'_>| matches!(name, GeneralName::DNSName(_) | GeneralName::IPAddress(_));
    if names.is_some_and(|names| names.value.general_names.iter().any(is_address)) {
        return None;
    }
    let subject = subject(certificate);
    Some(format!(
        "the certificate {subject}has no host name or IP address in subjectAltName, so that clients reject it; create \
         one with the names and addresses by which clients reach the server"
    ))
}

/// The problem of the purposes that the certificate is restricted to.
fn purpose_problem(certificate: &X509Certificate<'_>) -> Option<String> {
    let purposes = certificate.extended_key_usage().ok().flatten()?;
    if purposes.value.server_auth || purposes.value.any {
        return None;
    }
    let subject = subject(certificate);
    Some(format!(
        "the certificate {subject}is not for servers: its extendedKeyUsage lacks serverAuth, so that clients reject it; \
         create one with extendedKeyUsage=serverAuth"
    ))
}

/// `'CN=kes' `, or nothing.
fn subject(certificate: &X509Certificate<'_>) -> String {
    match certificate.subject().to_string() {
        subject if subject.is_empty() => subject,
        subject => format!("'{subject}' "),
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, KeyPair, SanType};

    use super::*;

    /// 2026-01-01 00:00 UTC.
    const NOW: i64 = 1_767_225_600;

    fn certificate(change: impl FnOnce(&mut CertificateParams)) -> CertificateDer<'static> {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        change(&mut params);
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().clone()
    }

    fn warning(change: impl FnOnce(&mut CertificateParams)) -> String {
        warnings(&[certificate(change)], NOW).join("\n")
    }

    #[test]
    fn a_good_certificate_has_no_warnings() {
        assert_eq!(warning(|_| {}), "");
        let server = |params: &mut CertificateParams| {
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
            params.subject_alt_names = vec![SanType::IpAddress([127, 0, 0, 1].into())];
            params.not_after = rcgen::date_time_ymd(2026, 2, 1);
        };
        assert_eq!(warning(server), "");
    }

    #[test]
    fn expired_not_yet_valid_and_about_to_expire_are_told_apart() {
        let expired = warning(|params| params.not_after = rcgen::date_time_ymd(2025, 12, 31));
        assert!(expired.contains("has expired (valid until 2025-12-31 00:00 UTC)"), "{expired}");
        let early = warning(|params| params.not_before = rcgen::date_time_ymd(2026, 1, 2));
        assert!(early.contains("is not valid yet: valid from 2026-01-02 00:00 UTC"), "{early}");
        let late = warning(|params| params.not_after = rcgen::date_time_ymd(2026, 1, 13));
        assert!(late.contains("expires in 12 days (valid until 2026-01-13 00:00 UTC)"), "{late}");
    }

    #[test]
    fn every_problem_of_every_certificate_is_reported() {
        let bad = certificate(|params| {
            params.subject_alt_names = vec![SanType::Rfc822Name("a@b.c".try_into().unwrap())];
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
            params.not_after = rcgen::date_time_ymd(2025, 1, 1);
        });
        let authority = certificate(|params| {
            params.subject_alt_names.clear();
            params.not_after = rcgen::date_time_ymd(2025, 1, 2);
        });
        let found = warnings(&[bad, authority], NOW);
        let parts = ["2025-01-01", "2025-01-02", "subjectAltName", "serverAuth"];
        assert_eq!(found.len(), parts.len(), "{found:#?}");
        for (warning, part) in found.iter().zip(parts) {
            assert!(warning.contains(part) && warning.contains(';'), "{part}: {warning}");
        }
    }
}
