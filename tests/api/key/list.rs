//! `GET /v1/key/list/PREFIX`

use serde_json::json;

use super::put_file;
use crate::api::{Session, not_an_error};
use crate::support::server::Answer;
use crate::support::{Server, Setup, heavy};

/// The most that the official SDK reads of an answer.
const MAX_PAGE: usize = 1 << 20;

/// A client that may list what begins with `app`.
const POLICY: &str = "policy:
  app:
    allow: ['/v1/key/list/app*']
    identities: ['@app@']
";

fn names(answer: &Answer) -> Vec<String> {
    assert_eq!(answer.status, 200, "{}", answer.text());
    serde_json::from_value(answer.json()["names"].clone()).unwrap()
}

/// All names from `prefix` on, page by page as SDKs read them, and the number of pages.
async fn list_all(session: &Session<'_>, prefix: &str) -> (Vec<String>, usize) {
    let (mut all, mut pages, mut at) = (Vec::new(), 0, prefix.to_owned());
    loop {
        let page = session.get(&format!("/v1/key/list/{at}")).await;
        assert!(page.body.len() <= MAX_PAGE, "a page of {} bytes", page.body.len());
        let of_this_page = names(&page);
        pages += 1;
        let next = page.json()["continue_at"].as_str().unwrap_or_default().to_owned();
        assert!(next.is_empty() || !of_this_page.is_empty(), "an empty page that is not the last");
        all.extend(of_this_page);
        if next.is_empty() {
            return (all, pages);
        }
        // Names of 24 characters: a page that has room for one more is too short.
        assert!(page.body.len() > MAX_PAGE - 512, "a page of {} bytes that is not the last", page.body.len());
        assert!(next.starts_with(prefix.trim_end_matches('*')), "a policy for '{prefix}' does not cover '{next}'");
        assert!(next.bytes().any(|byte| !byte.is_ascii_alphanumeric() && !b"_-".contains(&byte)), "{next} is a name");
        at = next;
    }
}

#[tokio::test]
async fn a_list_of_all_names_needs_no_slash_at_its_end() {
    // The official SDK joins path and pattern so that an empty pattern leaves no slash; KES redirects to the path with it.
    let server = Server::start();
    let (admin, app) = (Session::admin(&server), Session::new(&server, &server.app));
    let mut audit = crate::support::Events::audit(&server).await;
    admin.create("app-1").await;
    // The rule of the app is `/v1/key/list/*`.
    for session in [&admin, &app] {
        assert_eq!(names(&session.get("/v1/key/list").await), ["app-1"]);
        audit.of("/v1/key/list/").await;
    }
    for list in ["policy", "identity"] {
        let [bare, whole] = [format!("/v1/{list}/list"), format!("/v1/{list}/list/")];
        assert_eq!(admin.get(&bare).await.json(), admin.get(&whole).await.json());
        assert_eq!(not_an_error(&app.get(&bare).await, 403), None, "{bare}");
    }
    let denying = Setup {
        policies: "policy: {app: {allow: ['*'], deny: ['/v1/key/list/*'], identities: ['@app@']}}".to_owned(),
        ..Setup::default()
    };
    let server = Server::with(denying);
    let app = Session::new(&server, &server.app);
    for path in ["/v1/key/list", "/v1/key/list?x=1", "/v1/key/list/"] {
        assert_eq!(not_an_error(&app.get(path).await, 403), None, "{path}");
    }
    for path in ["/v1/key/lis%74", "/v1/key%2Flist", "/v1/key/list%2F", "/v1/key/list//", "/v1/key/describe"] {
        assert!(app.get(path).await.status >= 400, "{path}");
    }
}

#[tokio::test]
async fn names_come_in_the_order_of_their_bytes() {
    for keystore in ["fs: {path: @dir@/keys}", "sqlite: {path: @dir@/keys.db}", "memory: {}"] {
        let server = Server::on(keystore);
        let admin = Session::admin(&server);
        let sorted = [
            "0", "9", "A", "Z", "Za", "__", "_a", "a", "a-0", "a-b", "a-b-c", "a0", "aA", "aZ", "a_", "a_b", "aa",
            "ab", "b",
        ];
        for name in sorted.iter().rev() {
            admin.create(name).await;
        }
        for (prefix, expected) in [
            ("", sorted.to_vec()),
            ("*", sorted.to_vec()),
            ("a", sorted[7..18].to_vec()),
            ("a*", sorted[7..18].to_vec()),
            ("a-", sorted[8..11].to_vec()),
            ("a-*", sorted[8..11].to_vec()),
            ("a-b", sorted[9..11].to_vec()),
            ("a_", sorted[14..16].to_vec()),
            ("_", sorted[5..7].to_vec()),
            ("b", vec!["b"]),
            ("B", vec![]),
            ("aaa", vec![]),
            ("~a", sorted[8..].to_vec()),
            ("a~a-b", sorted[10..18].to_vec()),
            ("a~zz", vec![]),
            ("b~a", vec!["b"]),
        ] {
            let answer = admin.get(&format!("/v1/key/list/{prefix}")).await;
            assert_eq!(names(&answer), expected, "{keystore}: '{prefix}'");
            assert_eq!(answer.json().get("continue_at"), None, "{keystore}: '{prefix}'");
        }
    }
}

#[tokio::test]
async fn sixty_thousand_names_come_on_pages_that_an_sdk_can_read_each_exactly_once() {
    let _turn = heavy();
    let server = Server::with(Setup { policies: POLICY.to_owned(), ..Setup::default() });
    let mut expected: Vec<_> = (0..60_000).map(|number| format!("app-{number:020}")).collect();
    for name in &expected {
        put_file(&server, name, "");
    }
    for name in ["aaa", "app", "apq", "zzz"] {
        put_file(&server, name, "");
    }
    put_file(&server, ".hidden", "");
    put_file(&server, "no.name", "");
    let admin = Session::admin(&server);
    expected.insert(0, "app".to_owned());
    for (session, prefix) in [(&admin, "app"), (&admin, "app*"), (&Session::new(&server, &server.app), "app")] {
        let (listed, pages) = list_all(session, prefix).await;
        assert!(listed == expected, "{} names, expected {}", listed.len(), expected.len());
        assert_eq!(pages, 2);
    }
    let (listed, _) = list_all(&admin, "").await;
    expected.insert(0, "aaa".to_owned());
    expected.extend(["apq".to_owned(), "zzz".to_owned()]);
    assert!(listed == expected, "{} names, expected {}", listed.len(), expected.len());
}

#[tokio::test]
async fn a_listing_goes_on_although_its_last_name_was_deleted() {
    let server = Server::start();
    for number in 0..45_000 {
        put_file(&server, &format!("app-{number:020}"), "");
    }
    let admin = Session::admin(&server);
    let first = admin.get("/v1/key/list/app").await;
    let (of_first, token) = (names(&first), crate::api::field(&first, "continue_at"));
    assert_eq!(admin.delete(&format!("/v1/key/delete/{}", of_first.last().unwrap())).await.status, 200);
    let second = names(&admin.get(&format!("/v1/key/list/{token}")).await);
    assert_eq!(of_first.len() + second.len(), 45_000);
    assert_eq!(second[0], format!("app-{:020}", of_first.len()));
}

#[tokio::test]
async fn a_token_opens_no_prefix_that_the_policy_closes() {
    let server = Server::with(Setup { policies: POLICY.to_owned(), ..Setup::default() });
    let admin = Session::admin(&server);
    for name in ["aaa", "app-1", "app-2", "zzz"] {
        admin.create(name).await;
    }
    let app = Session::new(&server, &server.app);
    for refused in ["", "*", "a", "ap", "~app-1", "a~app-1", "zzz", "zzz~app-1", "ap*", "b~app", "%61", "APP"] {
        let answer = app.get(&format!("/v1/key/list/{refused}")).await;
        assert_eq!(not_an_error(&answer, 403), None, "'{refused}'");
    }
    for (allowed, expected) in [
        ("app", json!(["app-1", "app-2"])),
        ("app*", json!(["app-1", "app-2"])),
        ("app~aaa", json!(["app-1", "app-2"])),
        ("app~app-1", json!(["app-2"])),
        ("app~zzz", json!([])),
        ("app%7Eapp-1", json!(["app-2"])),
        ("%61pp~app-1", json!(["app-2"])),
        ("app-2", json!(["app-2"])),
    ] {
        let answer = app.get(&format!("/v1/key/list/{allowed}")).await;
        assert_eq!(answer.json()["names"], expected, "'{allowed}': {}", answer.text());
    }
}

#[tokio::test]
async fn a_pattern_that_no_name_can_match_is_refused() {
    let server = Server::start();
    let admin = Session::admin(&server);
    let (long, long_token) = ("k".repeat(81), format!("app~{}", "k".repeat(81)));
    for (raw, pattern) in [
        ("~", "~"),
        ("app~", "app~"),
        ("app~*", "app~*"),
        ("app~-a", "app~-a"),
        ("app~a-", "app~a-"),
        ("app~_", "app~_"),
        ("app~a.b", "app~a.b"),
        ("app~a~b", "app~a~b"),
        ("~~", "~~"),
        ("-~a", "-~a"),
        ("a*~b", "a*~b"),
        ("app%7E%00", "app~\0"),
        ("app~a%2Fb", "app~a/b"),
        (&long_token, &long_token),
        (&long, &long),
        ("**", "**"),
        ("*a", "*a"),
        ("a*b", "a*b"),
        ("-", "-"),
        ("-a", "-a"),
        ("a.", "a."),
        ("a%2F", "a/"),
        ("a%20", "a "),
        ("%00", "\0"),
        ("a%0Ab", "a\nb"),
        ("%C3%BC", "ü"),
        ("a%25", "a%"),
        ("a+b", "a+b"),
        ("a/b", "a/b"),
    ] {
        let answer = admin.get(&format!("/v1/key/list/{raw}")).await;
        assert_eq!(not_an_error(&answer, 400), None, "{raw}");
        assert_eq!(answer.message(), format!("listing pattern '{pattern}' is empty, too long or is invalid"));
    }
}
