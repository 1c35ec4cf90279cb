//! `GET /version`

use serde_json::json;

use super::Session;
use crate::support::Server;

#[tokio::test]
async fn every_client_may_ask_which_program_this_is() {
    let server = Server::start();
    for client in [&server.admin, &server.app, &server.stranger] {
        let answer = Session::new(&server, client).get("/version").await;
        assert_eq!(answer.json(), json!({ "version": keyway::VERSION, "commit": keyway::COMMIT }));
    }
}
