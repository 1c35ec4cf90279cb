//! `GET /v1/key/describe/NAME`

use serde_json::json;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::{put_file, text, vectors};
use crate::api::{Session, field};
use crate::support::Server;

#[tokio::test]
async fn a_new_key_says_when_and_by_whom_it_was_created() {
    let server = Server::start();
    let before = OffsetDateTime::now_utc();
    Session::new(&server, &server.app).create("app-1").await;
    Session::admin(&server).create("admins").await;
    let after = OffsetDateTime::now_utc();
    for (name, creator) in [("app-1", &server.app), ("admins", &server.admin)] {
        let answer = Session::new(&server, &server.ops).get(&format!("/v1/key/describe/{name}")).await;
        let created_at = OffsetDateTime::parse(&field(&answer, "created_at"), &Rfc3339).unwrap();
        assert!(before <= created_at && created_at <= after, "{created_at}");
        assert_eq!(
            answer.json(),
            json!({
                "name": name,
                "algorithm": keyway::crypto::key::Algorithm::preferred().as_str(),
                "created_at": answer.json()["created_at"],
                "created_by": creator.identity().as_str(),
            })
        );
    }
}

#[tokio::test]
async fn a_description_outlasts_a_restart() {
    for keystore in ["fs: {path: @dir@/keys}", "sqlite: {path: @dir@/keys.db}"] {
        let mut server = Server::on(keystore);
        Session::admin(&server).create("key").await;
        let before = server.get("/v1/key/describe/key").await.json();
        server.restart();
        assert_eq!(server.get("/v1/key/describe/key").await.json(), before, "{keystore}");
    }
}

#[tokio::test]
async fn keys_of_every_version_of_kes_are_described() {
    let server = Server::start();
    let admin = Session::admin(&server);
    for vector in vectors() {
        for (form, stored) in vector["stored"].as_object().unwrap() {
            let name = format!("{}-{form}", text(&vector, "name"));
            put_file(&server, &name, stored.as_str().unwrap());
            let description = admin.get(&format!("/v1/key/describe/{name}")).await.json();
            assert_eq!(description["name"], name);
            assert_eq!(description["algorithm"], vector["algorithm"], "{name}");
            if form == "json-oldest" {
                assert_eq!(description["created_at"], "0001-01-01T00:00:00Z", "{name}");
                assert_eq!(description["created_by"], "", "{name}");
            } else {
                assert!(OffsetDateTime::parse(text(&description, "created_at"), &Rfc3339).is_ok(), "{name}");
                assert_eq!(text(&description, "created_by").len(), 64, "{name}");
            }
        }
    }
}
