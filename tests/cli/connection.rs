//! Connecting to a server: endpoints, trust and credentials, and errors that say what to do.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;

use keyway::identity::api_key::ApiKey;
use rcgen::{CertificateParams, KeyPair, SanType};

use crate::services::proxy::{Mode, Proxy};
use crate::support::openssl::openssl;
use crate::support::{Client, Server, Setup, Shell};

/// An address without a server.
fn no_server() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    format!("https://{}", listener.local_addr().unwrap())
}

/// A certificate for 127.0.0.1 with changes, and its key.
fn certificate(change: impl FnOnce(&mut CertificateParams)) -> (String, String) {
    Client::server_with(change).pem()
}

#[test]
fn an_unreachable_server_exits_with_5() {
    let shell = Shell::new().set("KES_SERVER", &no_server());
    let said = shell.fails(5, &["key", "ls", "-k"]);
    assert!(said.contains("https://127.0.0.1:") && said.contains("cannot be reached"), "{said}");
    assert!(said.contains("refused") && said.contains("KES_SERVER"), "{said}");
    let said = Shell::new().fails(5, &["key", "ls", "-k", "--server", "no-such-host.invalid"]);
    assert!(said.contains("https://no-such-host.invalid cannot be reached"), "{said}");
}

#[test]
fn several_servers_are_tried_in_order() {
    let server = Server::start();
    let shell = Shell::of(&server, &server.admin).set("KES_SERVER", &format!("{}, {}", no_server(), server.url("/")));
    assert_eq!(shell.done(&["key", "create", "a", "b"]), "");
    assert_eq!(shell.done(&["key", "ls"]), "a\nb");
    let shell = shell.set("KES_SERVER", &format!("{},{}", no_server(), no_server()));
    let said = shell.fails(5, &["key", "ls"]);
    assert!(
        said.contains("none of the 2 servers could be used") && said.matches("cannot be reached").count() == 2,
        "{said}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_does_not_respond_times_out_and_the_next_one_is_tried() {
    let server = Server::start();
    let proxy = Proxy::start(server.address).await;
    proxy.set(Mode::BlackHole);
    let silent = format!("https://{}", proxy.address());
    let shell = Shell::of(&server, &server.admin).set("KES_SERVER", &silent);
    let start = std::time::Instant::now();
    let said = shell.fails(5, &["key", "create", "a"]);
    assert!(said.contains("did not respond in time"), "{said}");
    shell.set("KES_SERVER", &format!("{silent},{}", server.url(""))).done(&["key", "create", "a"]);
    assert!(start.elapsed().as_secs() < 20, "{:?}", start.elapsed());
}

#[test]
fn a_local_server_is_reached_without_the_proxy_of_the_environment() {
    let server = Server::start();
    let shell = Shell::of(&server, &server.admin).set("HTTPS_PROXY", "http://127.0.0.1:9");
    shell.done(&["key", "create", "a"]);
    let said = shell.fails(5, &["key", "ls", "--server", "https://kes.invalid"]);
    assert!(said.contains("refused"), "other servers are reached through the proxy: {said}");
}

#[test]
fn a_server_with_an_unknown_ca_is_not_trusted() {
    let server = Server::start();
    let shell = Shell::of(&server, &server.admin).unset("KEYWAY_CA");
    let said = shell.fails(5, &["key", "ls"]);
    assert!(said.contains("not trusted") && said.contains("--ca FILE") && said.contains("-k"), "{said}");
    let other = shell.file("other.cert", Client::authority("other").pem().0);
    assert!(shell.fails(5, &["key", "ls", "--ca", &other]).contains("not trusted"));
    shell.done(&["key", "ls", "-k"]);
    shell.done(&["key", "ls", "--ca", &server.dir.path().join("server.cert").display().to_string()]);
    assert!(!server.log().contains("/v1/key/list"), "{}", server.log());
}

#[test]
fn an_expired_certificate_and_one_for_another_name_are_reported() {
    let expired = certificate(|params| params.not_after = rcgen::date_time_ymd(2020, 2, 3));
    let future = certificate(|params| params.not_before = rcgen::date_time_ymd(2999, 1, 1));
    let named = certificate(|params| params.subject_alt_names = vec![SanType::DnsName("kes.test".try_into().unwrap())]);
    let nameless = certificate(|params| params.subject_alt_names.clear());
    for (certificate, parts) in [
        (expired, &["expired at 2020-02-03", "renew"][..]),
        (future, &["not valid before 2999-01-01", "clocks"]),
        (named, &["kes.test", "not for", "127.0.0.1"]),
        (nameless, &["no name", "127.0.0.1"]),
    ] {
        let server = Server::with(Setup { certificate: Some(certificate), ..Setup::default() });
        let said = Shell::of(&server, &server.admin).fails(5, &["key", "ls"]);
        for part in parts {
            assert!(said.contains(part), "{part}: {said}");
        }
        assert!(!said.contains("DnsName") && !said.contains("not trusted"), "{said}");
    }
}

#[test]
fn a_default_certificate_of_openssl_is_trusted_when_it_is_specified_as_the_ca() {
    let dir = tempfile::tempdir().unwrap();
    openssl(
        dir.path(),
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout s.key -out s.cert -days 9 -subj /CN=s \
         -addext basicConstraints=critical,CA:TRUE -addext subjectAltName=IP:127.0.0.1",
    );
    let read = |name: &str| std::fs::read_to_string(dir.path().join(name)).unwrap();
    let setup = Setup { certificate: Some((read("s.cert"), read("s.key"))), ..Setup::default() };
    let server = Server::with(setup);
    let shell = Shell::of(&server, &server.admin);
    shell.done(&["key", "create", "a"]);
    let port = server.address.port();
    let said = shell.fails(5, &["key", "ls", "--server", &format!("https://localhost:{port}")]);
    assert!(said.contains("not for"), "its name is still verified: {said}");
}

#[test]
fn a_server_without_tls_is_reported() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.read(&mut [0; 16]);
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n");
        }
    });
    let said = Shell::new().fails(5, &["key", "ls", "-k", "--server", &address.to_string()]);
    assert!(said.contains("does not use TLS"), "{said}");
    // A key server uses only HTTPS, so a URL with http:// means the same server.
    let said = Shell::new().fails(5, &["key", "ls", "-k", "--server", &format!("http://{address}")]);
    assert!(said.contains(&format!("https://{address} does not use TLS")), "{said}");
}

#[test]
fn two_kinds_of_credentials_and_half_of_one_are_refused_before_anything_is_sent() {
    let server = Server::start();
    let key = ApiKey::generate().unwrap();
    let shell = Shell::of(&server, &server.admin).set("KES_API_KEY", &key.to_text());
    let said = shell.fails(2, &["key", "ls"]);
    for part in ["both", "KES_API_KEY", "KES_CLIENT_KEY", "unset"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let said = Shell::of(&server, &server.admin).unset("KES_CLIENT_KEY").fails(2, &["key", "ls"]);
    assert!(said.contains("KES_CLIENT_KEY is not"), "{said}");
    let said = Shell::of(&server, &server.admin).unset("KES_CLIENT_CERT").fails(2, &["key", "ls"]);
    assert!(said.contains("KES_CLIENT_CERT is not"), "{said}");
    let shell = Shell::of(&server, &server.admin);
    let (certificate, _) = server.app.pem();
    let other = shell.file("other.cert", certificate);
    let said = shell.set("KES_CLIENT_CERT", &other).fails(2, &["key", "ls"]);
    assert!(said.contains("does not match") && said.contains("other.cert"), "{said}");
}

#[test]
fn an_api_key_may_be_in_a_file_and_two_api_keys_are_refused() {
    let server = Server::start();
    let key = ApiKey::generate().unwrap();
    let shell = Shell::of(&server, &server.admin).unset("KES_CLIENT_KEY").unset("KES_CLIENT_CERT");
    let file = shell.file("api.key", format!("{}\n", key.to_text().as_str()));
    let shell = shell.set("KES_API_KEY_FILE", &file);
    let said = shell.fails(3, &["key", "ls"]);
    assert!(said.contains(key.identity().as_str()), "{said}");
    let shell = shell.set("KES_API_KEY", "").set("MINIO_KES_API_KEY", &key.to_text());
    let said = shell.fails(2, &["key", "ls"]);
    assert!(said.contains("both MINIO_KES_API_KEY and KES_API_KEY_FILE are set") && said.contains("unset"), "{said}");
    let shell = shell.set("KES_API_KEY", &key.to_text());
    assert!(shell.fails(2, &["key", "ls"]).contains("both KES_API_KEY and KES_API_KEY_FILE are set"));
    let said = Shell::of(&server, &server.admin).set("KES_API_KEY_FILE", &file).fails(2, &["key", "ls"]);
    assert!(said.contains("both KES_API_KEY_FILE and KES_CLIENT_KEY/KES_CLIENT_CERT are set"), "{said}");
    let bad = shell.file("bad.key", "kes:v1:c2VjcmV0\n");
    for (file, part) in [("none.key", "No such file"), (&bad, "6 bytes")] {
        let said = Shell::new().set("KES_API_KEY_FILE", file).fails(2, &["key", "ls", "-k"]);
        assert!(said.contains("KES_API_KEY_FILE: ") && said.contains(part) && !said.contains("c2Vj"), "{said}");
    }
}

#[test]
fn a_damaged_api_key_is_refused_and_not_repeated() {
    for (text, part) in [("kes:v1:c2VjcmV0", "6 bytes"), ("secret", "begin with kes:v1:"), ("kes:v1:sec!ret", "base64")]
    {
        let said = Shell::new().set("KES_API_KEY", text).fails(2, &["key", "ls", "-k"]);
        assert!(said.contains("KES_API_KEY") && said.contains(part), "{said}");
        assert!(!said.contains("c2Vj") && !said.contains("sec!") && !said.contains("secret"), "{said}");
    }
}

#[test]
fn a_client_without_credentials_is_shown_what_to_set() {
    let server = Server::start();
    let shell = Shell::of(&server, &server.admin).unset("KES_CLIENT_KEY").unset("KES_CLIENT_CERT");
    for command in [&["key", "ls"][..], &["key", "create", "a"], &["log"]] {
        let said = shell.fails(3, command);
        assert!(said.contains("requires authentication") && said.contains("KES_API_KEY"), "{command:?}: {said}");
    }
    let extra = "api:\n  /v1/status: {skip_auth: on}\n".to_owned();
    let server = Server::with(Setup { extra, ..Setup::default() });
    let shell = Shell::of(&server, &server.admin).unset("KES_CLIENT_KEY").unset("KES_CLIENT_CERT");
    assert!(shell.done(&["status"]).contains("healthy"), "a public API needs no credentials");
    let said = shell.fails(3, &["key", "ls"]);
    assert!(said.contains("client certificate is required") && said.contains("KES_API_KEY"), "{said}");
}

#[test]
fn a_client_certificate_that_the_server_refuses_is_reported() {
    let server = Server::with(Setup { tls: "auth: on\nca: @dir@/server.cert\n".to_owned(), ..Setup::default() });
    let said = Shell::of(&server, &server.admin).fails(3, &["key", "ls"]);
    assert!(said.contains("rejected your certificate") && said.contains("tls.auth: on"), "{said}");
}

#[test]
fn questionable_client_certificates_cause_a_warning() {
    let expired = Client::with_params("old", KeyPair::generate().unwrap(), |params| {
        params.not_after = rcgen::date_time_ymd(2020, 1, 1);
    });
    let policies =
        format!("policy:\n  old:\n    allow: [/v1/key/list/*]\n    identities: ['{}']\n", expired.identity());
    let server = Server::with(Setup { policies, ..Setup::default() });
    let ended = Shell::of(&server, &expired).run(&["key", "ls"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.stderr.starts_with("warning: KES_CLIENT_CERT") && ended.stderr.contains("2020"), "{ended:?}");
    let ended = Shell::of(&server, &Client::authority("ca")).run(&["key", "ls"]);
    assert_eq!(ended.code, Some(3), "{ended:?}");
    assert!(ended.stderr.contains("warning: ") && ended.stderr.contains("CA certificate"), "{ended:?}");
}

#[test]
fn the_password_of_a_private_key_comes_from_a_variable_a_file_or_a_prompt() {
    let server = Server::start();
    let shell = Shell::of(&server, &server.admin);
    for form in ["pkcs8 -topk8 -v2 aes-256-cbc", "ec -aes256"] {
        openssl(shell.dir.path(), &format!("{form} -in client.key -out locked.key -passout pass:hunter2"));
        let locked = shell.path("locked.key").display().to_string();
        let shell = Shell::of(&server, &server.admin).set("KES_CLIENT_KEY", &locked);
        let said = shell.fails(2, &["key", "ls"]);
        assert!(said.contains("locked.key") && said.contains("KEYWAY_CLIENT_KEY_PASSWORD"), "{said}");
        let shell = shell.set("KEYWAY_CLIENT_KEY_PASSWORD", "hunter2");
        shell.done(&["key", "ls"]);
        let said = shell.set("KEYWAY_CLIENT_KEY_PASSWORD", "hunter3").fails(2, &["key", "ls"]);
        assert!(said.contains("wrong password") && said.contains("locked.key"), "{said}");
        assert!(!said.contains("hunter3"), "{said}");
        let shell = Shell::of(&server, &server.admin).set("KES_CLIENT_KEY", &locked);
        let file = shell.file("password", "hunter2\n");
        let shell = shell.set("KEYWAY_CLIENT_KEY_PASSWORD_FILE", &file);
        shell.done(&["key", "ls"]);
        let shell = shell.unset("KEYWAY_CLIENT_KEY_PASSWORD_FILE");
        let ended = shell.terminal(&["identity", "info"], &[("Password for ", "hunter2\r")]);
        assert_eq!(ended.code, Some(0), "{ended:?}");
        assert!(ended.stdout.contains(server.admin.identity().as_str()), "{ended:?}");
        assert!(!ended.stdout.contains("hunter2"), "the password is not echoed: {ended:?}");
        let ended = shell.terminal(&["identity", "info"], &[("Password for ", "hunter\u{3}")]);
        assert_eq!(ended.code, Some(130), "Ctrl-C: {ended:?}");
    }
}

#[test]
fn a_refusal_names_the_identity_and_the_command_that_explains_it() {
    let server = Server::start();
    let shell = Shell::of(&server, &server.app);
    let said = shell.fails(3, &["key", "create", "other"]);
    let identity = server.app.identity();
    for part in [
        "not authorized",
        &format!("your identity is {identity}"),
        &format!("policy explain {identity} PUT /v1/key/create/other"),
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    // The suggested command works as printed.
    let (_, command) = said.split_once("keyway ").unwrap();
    let ended = shell.run(&command.trim().split(' ').collect::<Vec<_>>());
    assert_eq!(ended.code, Some(3), "{ended:?}");
    assert!(ended.stdout.contains("nearest rule: /v1/key/create/app*"), "{ended:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_may_have_been_executed_is_never_reported_as_not_executed() {
    let server = Server::start();
    let proxy = Proxy::start(server.address).await;
    let shell = Shell::of(&server, &server.admin).set("KES_SERVER", &format!("https://{}", proxy.address()));
    let (mut unknown, mut unsent) = (0, 0);
    for bytes in (0..4000).step_by(100) {
        proxy.set(Mode::CutAfter(bytes));
        let name = format!("key-{bytes}");
        let ended = shell.run(&["key", "create", &name]);
        proxy.set(Mode::Pass);
        let there = server.get(&format!("/v1/key/describe/{name}")).await.status == 200;
        match ended.code {
            Some(0) => assert!(there, "{bytes}: {ended:?}"),
            Some(5) => {
                unsent += 1;
                assert!(!there, "{bytes}: it was executed but reported as a connection failure: {ended:?}");
            }
            Some(1) => {
                unknown += 1;
                assert!(ended.stderr.contains("is not known"), "{bytes}: {ended:?}");
            }
            _ => panic!("{bytes}: {ended:?}"),
        }
    }
    assert!(unknown > 0 && unsent > 0, "{unknown} unknown, {unsent} unsent");
}
