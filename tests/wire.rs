//! Recorded exchanges with KES, played against this server on every store: `vectors/kes-wire.json`.
//!
//! A step says who asks for what and what the answer must match. In a template a value is compared literally, but
//! `{"$re": R}`, `{"$int": true}`, `{"$b64len": N}`, `{"$time": true}`, `{"$any": true}`, `{"$absent": true}` and
//! `{"$set": [...]}` stand for what they say; names that a template leaves out are ignored unless it says `$exact`.

use std::collections::BTreeMap;

use base64::Engine as _;
use regex::Regex;
use serde_json::Value;

use crate::services::aws::Moto;
use crate::services::postgres::Postgres;
use crate::services::vault::Program;
use crate::support::server::send;
use crate::support::stores::{self, Kv};
use crate::support::{Server, Setup};

const RECORDED: &str = include_str!("vectors/kes-wire.json");

#[tokio::test]
async fn a_client_cannot_tell_the_server_from_kes_on_fs() {
    play("fs: {path: @dir@/keys}").await;
}

#[tokio::test]
async fn a_client_cannot_tell_the_server_from_kes_on_sqlite() {
    play("sqlite: {path: @dir@/keys.db}").await;
}

#[tokio::test]
async fn a_client_cannot_tell_the_server_from_kes_in_memory() {
    play("memory: {}").await;
}

#[tokio::test]
async fn a_client_cannot_tell_the_server_from_kes_on_postgresql() {
    let service = Postgres::start();
    play(&stores::postgres(service.address(), "@unique@")).await;
}

#[tokio::test]
async fn a_client_cannot_tell_the_server_from_kes_on_openbao_kv_v1() {
    let service = stores::start(Program::OpenBao).await;
    play(&stores::vault(&service, &service.url(), Kv::V1, "@unique@")).await;
}

#[tokio::test]
async fn a_client_cannot_tell_the_server_from_kes_on_openbao_kv_v2() {
    let service = stores::start(Program::OpenBao).await;
    play(&stores::vault(&service, &service.url(), Kv::V2, "@unique@")).await;
}

#[tokio::test]
async fn a_client_cannot_tell_the_server_from_kes_on_openbao_kv_v2_with_transit() {
    let service = stores::start(Program::OpenBao).await;
    play(&stores::vault(&service, &service.url(), Kv::V2Transit, "@unique@")).await;
}

#[tokio::test]
async fn a_client_cannot_tell_the_server_from_kes_on_vault_kv_v2() {
    let service = stores::start(Program::Vault).await;
    play(&stores::vault(&service, &service.url(), Kv::V2, "@unique@")).await;
}

#[tokio::test]
async fn a_client_cannot_tell_the_server_from_kes_on_aws_secrets_manager() {
    let service = Moto::start();
    play(&stores::aws(&service.endpoint(), "@unique@")).await;
}

async fn play(keystore: &str) {
    let scenarios: Vec<Value> = serde_json::from_str(RECORDED).unwrap();
    let (mut steps, mut failures) = (0, Vec::new());
    for scenario in &scenarios {
        let extra = scenario["config"].as_object();
        let extra = extra.map(|parts| parts.values().map(|part| part.as_str().unwrap()).collect()).unwrap_or_default();
        let mut server = Server::with(Setup { keystore: keystore.to_owned(), extra, ..Setup::default() });
        let mut variables: BTreeMap<String, Value> =
            [("admin", &server.admin), ("app", &server.app), ("ops", &server.ops), ("stranger", &server.stranger)]
                .into_iter()
                .map(|(name, client)| (format!("id_{name}"), client.identity().as_str().into()))
                .collect();
        for (number, step) in scenario["steps"].as_array().unwrap().iter().enumerate() {
            steps += 1;
            for failure in run(&server, step, &mut variables).await {
                failures.push(format!("{}#{} {}: {failure}", scenario["name"], number + 1, step["path"]));
            }
        }
        assert!(server.is_running(), "the server died:\n{}", server.log());
    }
    assert!(steps > 100, "only {steps} steps were played");
    assert!(failures.is_empty(), "{} of {steps} steps failed:\n{}", failures.len(), failures.join("\n"));
}

async fn run(server: &Server, step: &Value, variables: &mut BTreeMap<String, Value>) -> Vec<String> {
    let client = match step["as"].as_str().unwrap_or("admin") {
        "admin" => Some(&server.admin),
        "app" => Some(&server.app),
        "ops" => Some(&server.ops),
        "stranger" => Some(&server.stranger),
        "none" => None,
        other => panic!("unknown client {other}"),
    };
    for known in step.as_object().unwrap().keys() {
        assert!(
            ["as", "method", "path", "json", "raw", "expect", "save", "why"].contains(&known.as_str()),
            "a step holds {known}, which is not played"
        );
    }
    let path = fill(step["path"].as_str().unwrap(), variables);
    let method = step["method"].as_str().unwrap().parse().unwrap();
    let mut request = server.http(client).request(method, server.url(&path));
    if let Some(json) = step.get("json") {
        request = request.body(fill(&json.to_string(), variables));
    } else if let Some(raw) = step["raw"].as_str() {
        request = request.body(raw.to_owned());
    }
    let expect: Value = serde_json::from_str(&fill(&step["expect"].to_string(), variables)).unwrap();
    let answer = match (send(request, None).await, &expect["tls_error"]) {
        (Err(_), Value::Bool(true)) => return Vec::new(),
        (Err(error), _) => return vec![format!("no response: {error:?}")],
        (Ok(answer), Value::Bool(true)) => return vec![format!("expected a TLS error, got HTTP {}", answer.status)],
        (Ok(answer), _) => answer,
    };
    let mut failures = Vec::new();
    if !expect["status"].is_null() && expect["status"] != answer.status {
        failures.push(format!("status {} is not {}: {}", answer.status, expect["status"], answer.text()));
    }
    if let Some(template) = expect.get("json") {
        compare(template, &answer.json(), "$", &mut failures);
    }
    if let Some(body) = expect["body"].as_str().filter(|body| *body != answer.text()) {
        failures.push(format!("body {:?} is not {body:?}", answer.text()));
    }
    if let Some(pattern) = expect["body_re"].as_str()
        && !Regex::new(&format!("(?ms){pattern}")).unwrap().is_match(&answer.text())
    {
        failures.push(format!("body {:?} does not match /{pattern}/", answer.text()));
    }
    for (name, pattern) in expect["headers"].as_object().into_iter().flatten() {
        let value = answer.headers.get(name).map_or("", |value| value.to_str().unwrap());
        if !Regex::new(&format!("^(?:{})$", pattern.as_str().unwrap())).unwrap().is_match(value) {
            failures.push(format!("header {name}: {value:?} does not match {pattern}"));
        }
    }
    for (variable, field) in step["save"].as_object().into_iter().flatten() {
        variables.insert(variable.clone(), answer.json()[field.as_str().unwrap()].clone());
    }
    failures
}

/// Puts variables in the places of `${NAME}`.
fn fill(text: &str, variables: &BTreeMap<String, Value>) -> String {
    variables.iter().fold(text.to_owned(), |text, (name, value)| {
        text.replace(&format!("${{{name}}}"), value.as_str().unwrap_or_default())
    })
}

/// Adds what differs between a template and a value.
fn compare(template: &Value, value: &Value, at: &str, failures: &mut Vec<String>) {
    let mut fail = |what: String| failures.push(format!("{at}: {value} {what}"));
    let Value::Object(fields) = template else {
        match (template, value) {
            (Value::Array(templates), Value::Array(values)) if templates.len() == values.len() => {
                for (index, (template, value)) in templates.iter().zip(values).enumerate() {
                    compare(template, value, &format!("{at}[{index}]"), failures);
                }
            }
            _ if template == value => {}
            _ => fail(format!("is not {template}")),
        }
        return;
    };
    let text = value.as_str().unwrap_or_default();
    match fields.iter().next().map(|(name, argument)| (name.as_str(), argument)) {
        Some(("$any", _)) => {}
        Some(("$re", pattern)) if Regex::new(pattern.as_str().unwrap()).unwrap().is_match(text) => {}
        Some(("$int", _)) if value.is_i64() || value.is_u64() => {}
        Some(("$b64len", length)) => {
            let bytes = base64::engine::general_purpose::STANDARD.decode(text).map(|bytes| bytes.len() as u64);
            if bytes.ok() != length.as_u64() {
                fail(format!("is not base64 of {length} bytes"));
            }
        }
        Some(("$time", _)) => {
            let rfc3339 = time::format_description::well_known::Rfc3339;
            if time::OffsetDateTime::parse(text, &rfc3339).is_err() {
                fail("is not an RFC 3339 time".to_owned());
            }
        }
        Some(("$set", expected)) => {
            let sorted = |list: &Value| {
                let mut list: Vec<_> = list.as_array().into_iter().flatten().map(Value::to_string).collect();
                list.sort();
                list
            };
            if sorted(expected) != sorted(value) {
                fail(format!("is not the set {expected}"));
            }
        }
        Some((special @ ("$re" | "$int"), argument)) => fail(format!("is not {special} {argument}")),
        _ => {
            for (name, template) in fields.iter().filter(|(name, _)| *name != "$exact") {
                let at = format!("{at}.{name}");
                match (value.get(name), template.get("$absent")) {
                    (None, Some(_)) => {}
                    (Some(_), Some(_)) => failures.push(format!("{at}: should be absent")),
                    (None, None) => failures.push(format!("{at}: is missing")),
                    (Some(value), None) => compare(template, value, &at, failures),
                }
            }
            if fields.contains_key("$exact") {
                for name in value.as_object().into_iter().flatten().map(|(name, _)| name) {
                    if !fields.contains_key(name) {
                        failures.push(format!("{at}.{name}: is not expected"));
                    }
                }
            }
        }
    }
}
