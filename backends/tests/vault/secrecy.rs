//! No secret is logged or part of an error.

use std::time::Duration;

use backends::vault::{Config, KvVersion, Vault};
use serde_json::{Value as Json, json};

use super::{POLICY, approle, config, name, start, transit, value};
use crate::services::vault::Program;
use crate::support::Logged;
use backends::Store;

on_both!(nothing_secret_is_logged_or_in_an_error,);

async fn nothing_secret_is_logged_or_in_an_error(program: Program) {
    let logged = Logged::global();
    let server = start(program).await;
    server.policy("kes", POLICY);
    let ids = server.approle("kes", "kes", "2s", "4s");
    let config = Config { login: approle(&ids), transit: transit("kes"), ..config(&server, "kv2", KvVersion::V2) };
    let mut shown = format!("{config:?}");
    let vault = Vault::open(&config).await.unwrap();
    let (key, secret) = (name("k"), value("Pl4inKeyMaterial"));
    vault.create(&key, &secret).await.unwrap();
    let mut note = |text: String| shown.push_str(&text);
    note(format!("{vault:?} {:?}", vault.create(&key, &secret).await));
    note(format!("{:?} {:?}", vault.get(&name("absent")).await, vault.get(&key).await));
    let sealed = server.root("GET", "kv2/data/k", &Json::Null)["data"]["data"]["k"].as_str().unwrap().to_owned();
    server.root("POST", "kv2/data/foreign", &json!({"data": {"other": "F0reignSecret"}}));
    note(format!("{:?}", vault.get(&name("foreign")).await));
    server.revoke_all();
    note(format!("{:?}", vault.ping().await));
    server.root("DELETE", "auth/approle/role/kes", &Json::Null);
    server.revoke_all();
    note(format!("{:?}", vault.get(&key).await));
    // Until the token is due for renewal, which fails.
    tokio::time::sleep(Duration::from_secs(2)).await;
    server.seal();
    note(format!("{:?}", vault.get(&key).await));
    let logs = logged.text();
    assert!(logs.contains("cannot log in to Vault again"), "nothing is recorded");
    for (what, text) in [("shown", &shown), ("logged", &logs)] {
        for secret in [&ids.1, &server.token, "Pl4inKeyMaterial", "F0reignSecret", &sealed, "hvs.", "s.AAAA"] {
            assert!(!text.contains(secret), "{what}: {secret} in {text}");
        }
    }
    for noisy in ["vaultrs", "rustify"] {
        assert!(!logs.lines().any(|line| line.starts_with(noisy)), "{noisy} logs");
    }
}
