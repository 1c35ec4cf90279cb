//! The server's certificate, key and CAs: one problem does not hide the next.

use rcgen::{CertificateParams, ExtendedKeyUsagePurpose};
use time::{Duration, OffsetDateTime};

use super::{HEAD, check, dir, with_keystore, write};
use crate::support::Client;
use crate::support::program::refusal;

/// A change of a certificate.
type Change<'a> = &'a dyn Fn(&mut CertificateParams);

#[test]
fn an_unreadable_key_certificate_and_ca_are_three_errors_with_their_lines() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("server.cert"), "nonsense").unwrap();
    let message = refusal(dir.path(), &HEAD.replace("keystore:", "  ca: @dir@/ca.pem\nkeystore:"));
    let lines: Vec<_> = message.lines().collect();
    assert_eq!(lines.len(), 3, "{message}");
    for (line, part) in
        lines.iter().zip(["config.yml:5:8: tls.key: ", "config.yml:6:9: tls.cert: ", "config.yml:7:7: tls.ca: "])
    {
        assert!(line.starts_with("error: ") && line.contains(part), "{part}: {message}");
    }
}

#[test]
fn a_certificate_that_has_expired_does_not_hide_that_the_key_is_that_of_another() {
    let dir = dir();
    let expired = Client::server_with(|params| params.not_after = rcgen::date_time_ymd(2020, 2, 3));
    std::fs::write(dir.path().join("server.cert"), expired.pem().0).unwrap();
    let ended = check(&write(dir.path(), &with_keystore("memory: {}")));
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""), "{ended:?}");
    let lines: Vec<_> = ended.stderr.lines().collect();
    assert!(lines.len() == 2 && lines[0].starts_with("warning: ") && lines[0].contains("2020-02-03"), "{ended:?}");
    assert!(lines[1].starts_with("error: ") && lines[1].contains("config.yml:5:8: tls.key: "), "{ended:?}");
    assert!(lines[1].contains("does not belong") && !lines[1].contains("KeyMismatch"), "{ended:?}");
}

#[test]
fn what_clients_would_reject_is_a_warning_at_the_line_of_the_certificate() {
    let dir = dir();
    let in_days = |days| OffsetDateTime::now_utc() + Duration::days(days) + Duration::hours(1);
    let cases: [(Change<'_>, &str); 5] = [
        (&|params| params.subject_alt_names.clear(), "subjectAltName"),
        (&|params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth], "serverAuth"),
        (&|params| params.not_after = in_days(-2), "has expired"),
        (&|params| params.not_after = in_days(29), "expires in 29 days"),
        (&|params| params.not_before = in_days(2), "is not valid yet: valid from 2"),
    ];
    for (change, part) in cases {
        Client::server_with(change).write(dir.path(), "server");
        let ended = check(&write(dir.path(), &with_keystore("memory: {}")));
        assert_eq!((ended.code, ended.stderr.lines().count()), (Some(0), 1), "{part}: {ended:?}");
        assert!(ended.stderr.starts_with("warning: ") && ended.stderr.contains(part), "{part}: {ended:?}");
        assert!(ended.stderr.contains("config.yml:6:9: tls.cert: "), "{ended:?}");
    }
    Client::server_with(|params| params.not_after = in_days(31)).write(dir.path(), "server");
    let ended = check(&write(dir.path(), &with_keystore("memory: {}")));
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
}
