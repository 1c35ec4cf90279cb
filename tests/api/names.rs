//! What a key may be called, at every API that takes a name.

use percent_encoding::percent_decode_str;
use serde_json::json;

use super::{Session, assert_none, base64, not_an_error};
use crate::support::{Raw, Server};

/// APIs that take the name of a key.
const APIS: [(&str, &str); 8] = [
    ("PUT", "create"),
    ("PUT", "import"),
    ("GET", "describe"),
    ("DELETE", "delete"),
    ("PUT", "generate"),
    ("PUT", "encrypt"),
    ("PUT", "decrypt"),
    ("PUT", "hmac"),
];

/// A body that each of them takes.
fn body() -> Vec<u8> {
    json!({ "key": base64(&[1; 32]), "cipher": "AES256", "plaintext": "", "ciphertext": "", "message": "" })
        .to_string()
        .into_bytes()
}

#[tokio::test]
async fn names_of_the_rule_are_taken_everywhere() {
    let server = Server::start();
    let longest = "k".repeat(80);
    for (raw, name) in [
        ("a", "a"),
        ("Z", "Z"),
        ("0", "0"),
        ("__", "__"),
        ("_a", "_a"),
        ("a_", "a_"),
        ("_-_", "_-_"),
        ("a--b", "a--b"),
        ("00000000-0000-4000-8000-000000000000", "00000000-0000-4000-8000-000000000000"),
        ("CON", "CON"),
        ("%6Dy%2Dkey%5f1", "my-key_1"),
        (longest.as_str(), longest.as_str()),
        (&"%6B".repeat(80).replacen("%6B", "%6A", 1), &"k".repeat(80).replacen('k', "j", 1)),
    ] {
        let mut connection = Raw::connect(&server, &server.admin).await;
        for (method, api, status) in [
            ("PUT", "create", 200),
            ("PUT", "import", 400),
            ("GET", "describe", 200),
            ("PUT", "generate", 200),
            ("PUT", "encrypt", 200),
            ("PUT", "decrypt", 400),
            ("PUT", "hmac", 200),
            ("DELETE", "delete", 200),
            ("DELETE", "delete", 404),
            ("PUT", "import", 200),
            ("DELETE", "delete", 200),
        ] {
            let answer = connection.request(method, &format!("/v1/key/{api}/{raw}"), &body()).await.unwrap();
            assert_eq!(answer.status, status, "{api} {raw}: {}", answer.text());
            if api == "describe" {
                assert_eq!(answer.json()["name"], name);
            }
            if api == "create" {
                assert!(server.dir.path().join("keys").join(name).is_file(), "{raw} is not stored as {name}");
            }
        }
    }
    server.assert_serves().await;
}

/// Names against the rule, separated by spaces.
const BAD: [&str; 7] = [
    // the rule itself
    "- -a a- -- _",
    // ways out of a directory
    ". .. ... .a a. a.b %2e %2e%2e %2E%2e ..%2f..%2fetc%2fpasswd %2F %2Fetc%2Fpasswd a%2Fb a/b a/ /a // a%5Cb ..%5C",
    "a/../b ./a ~ ~root a%2F..%2Fb",
    // ends of strings and lines
    "%00 a%00 %00a a%00b a%0A a%0D%0Ab %20 a%20 a%20b %09 a%7F a%1B[31m",
    // wildcards and separators of shells, URLs and databases
    "* a* a%3Fb a%23b a+b a~b a;b a:b a,b a@b a=b a&b a$b a!b a(b) a'b a%22b a%60b a%7Cb a%3Cb%3E a%25b a%5Bb%5D a%7Bb%7D",
    // encoded twice: decoded once
    "%2561 %252e%252e a%252Fb %2500",
    // letters that only look right
    "sch%C3%BC %CE%B1 a%E2%80%8Bb %EF%BC%91 K%CC%88 %F0%9F%94%91 %D0%B0bc a%C2%ADb %EF%BB%BFa",
];

#[tokio::test]
async fn names_against_the_rule_are_refused_everywhere() {
    let server = Server::start();
    let (too_long, far_too_long) = ("k".repeat(81), "k".repeat(50_000));
    let names = BAD.iter().flat_map(|names| names.split(' ')).chain(["", &too_long, &far_too_long]);
    let mut failures = Vec::new();
    for raw in names {
        let decoded = percent_decode_str(raw).decode_utf8().unwrap();
        let message = format!("key name '{decoded}' is empty, too long or contains invalid characters");
        for (method, api) in APIS {
            // A connection of its own: the server may close one whose body it did not read.
            let mut connection = Raw::connect(&server, &server.admin).await;
            let short = &raw[..raw.len().min(90)];
            match connection.request(method, &format!("/v1/key/{api}/{raw}"), &body()).await {
                Ok(answer) => failures.extend(
                    not_an_error(&answer, 400)
                        .or_else(|| (answer.message() != message).then(|| answer.message()))
                        .map(|failure| format!("{api} {short:?}: {failure}")),
                ),
                Err(error) => failures.push(format!("{api} {short:?}: {error}")),
            }
        }
    }
    assert_none(&failures);
    assert_eq!(Session::admin(&server).get("/v1/key/list/").await.json()["names"], json!([]));
    let mut files: Vec<_> =
        std::fs::read_dir(server.dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    files.sort();
    assert_eq!(
        files,
        ["config.yml", "keys", "server.cert", "server.key", "stderr", "stdout"],
        "a name left its directory"
    );
    server.assert_serves().await;
}

#[tokio::test]
async fn an_escape_that_is_broken_is_reported() {
    let server = Server::start();
    let broken = "a% a%2 a%zz % %% %%61 %6 a%-1 %u0061 %ff %c0%af %c0%ae%c0%ae %ed%a0%80 %f8%88%80%80%80 %80";
    for raw in broken.split(' ') {
        for (method, api) in APIS {
            let target = format!("/v1/key/{api}/{raw}");
            let answer = Raw::connect(&server, &server.admin).await.request(method, &target, &body()).await.unwrap();
            let failure = not_an_error(&answer, 400);
            assert_eq!(failure, None, "{target}");
            assert_eq!(answer.message(), "invalid path: not percent-encoded UTF-8", "{target}");
        }
    }
    server.assert_serves().await;
}

#[tokio::test]
async fn bytes_that_no_url_may_hold_are_refused() {
    let server = Server::start();
    let targets: [&[u8]; 8] = [
        b"/v1/key/create/a b",
        b"/v1/key/create/sch\xc3\xbc",
        b"/v1/key/create/\xff",
        b"/v1/key/create/a\0b",
        b"/v1/key/create/a\x7fb",
        b"/v1/key/create/\"a\"",
        b"/v1/key/create/<a>",
        b"/v1/key/create/a\tb",
    ];
    for target in targets {
        let mut connection = Raw::connect(&server, &server.admin).await;
        connection.send([b"PUT ", target, b" HTTP/1.1\r\nHost: localhost\r\n\r\n"].concat()).await;
        let status = connection.status().await;
        assert_eq!(status, Ok(400), "{:?}", String::from_utf8_lossy(target));
    }
    assert_eq!(Session::admin(&server).get("/v1/key/list/").await.json()["names"], json!([]));
    server.assert_serves().await;
}

#[tokio::test]
async fn a_path_longer_than_a_head_may_be_is_refused() {
    let server = Server::start();
    for length in [70_000, 1_000_000] {
        let mut connection = Raw::connect(&server, &server.admin).await;
        connection
            .send(format!("GET /v1/key/describe/{} HTTP/1.1\r\nHost: localhost\r\n\r\n", "k".repeat(length)))
            .await;
        let status = connection.status().await;
        assert!(matches!(status, Ok(400 | 414 | 431)), "{length}: {status:?}");
    }
    server.assert_serves().await;
}
