//! `GET /v1/api`

use keyway::routes::ROUTES;
use serde_json::{Value, json};

use crate::support::{Server, Setup};

#[tokio::test]
async fn the_list_is_the_route_table_with_the_time_outs_of_the_config() {
    let extra = "api:\n  /v1/key/encrypt/:\n    timeout: 90s\n  /v1/ready:\n    timeout: 7s";
    let server = Server::with(Setup { extra: extra.to_owned(), ..Setup::default() });
    let list = server.get("/v1/api").await.json();
    let mut expected: Vec<Value> = Vec::new();
    for route in ROUTES {
        let timeout = match route.path {
            "/v1/key/encrypt/" => 90,
            "/v1/ready" => 7,
            _ => route.timeout.as_secs(),
        };
        expected.extend(route.paths().map(|path| {
            json!({ "method": route.method.as_str(), "path": path, "max_body": route.max_body, "timeout": timeout })
        }));
    }
    assert_eq!(expected.len(), 23);
    assert_eq!(list, json!(expected));
}

#[tokio::test]
async fn a_time_out_of_less_than_a_second_is_not_reported_as_none() {
    let extra = "api:\n  /v1/key/encrypt/:\n    timeout: 400ms";
    let server = Server::with(Setup { extra: extra.to_owned(), ..Setup::default() });
    let list = server.get("/v1/api").await.json();
    let encrypt = list.as_array().unwrap().iter().find(|api| api["path"] == "/v1/key/encrypt/").unwrap();
    assert_eq!(encrypt["timeout"], 1, "0 would say that it never ends");
}
