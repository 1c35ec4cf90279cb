//! A server in front of moto, or instead of it: it returns responses of AWS that moto cannot give, and loses responses.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// A request for Secrets Manager.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    /// For example `GetSecretValue`.
    pub(crate) operation: String,
    /// The signature, which names the access key.
    pub(crate) authorization: String,
    head: String,
    body: Vec<u8>,
}

/// The response to a request.
#[derive(Clone, Debug)]
pub(crate) enum Response {
    /// An error in the format of AWS: status, code, message. Source of the format: the AWS JSON 1.1 protocol,
    /// <https://smithy.io/2.0/aws/protocols/aws-json-1_1-protocol.html>
    Error(u16, &'static str, String),
    /// This JSON.
    Json(String),
    /// That of moto.
    Moto,
    /// Moto processes the request, and only a part of its response is returned.
    Cut,
    /// Moto processes the request, and nothing is returned.
    Lost,
    /// That of moto, after this time.
    Late(Duration),
}

/// A running front.
#[derive(Debug)]
pub(crate) struct Front {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<Request>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Front {
    pub(crate) async fn start(
        moto: Option<String>,
        respond: impl Fn(&Request) -> Response + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (respond, requests) = (Arc::new(respond), Arc::clone(&seen));
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (moto, respond, seen) = (moto.clone(), Arc::clone(&respond), Arc::clone(&requests));
                tokio::spawn(async move {
                    let mut stream = BufReader::new(stream);
                    while let Some(request) = read(&mut stream).await {
                        seen.lock().unwrap().push(request.clone());
                        let response = match respond(&request) {
                            Response::Error(status, code, message) => error(status, code, &message),
                            Response::Json(body) => reply(200, "", &body),
                            Response::Moto => forward(moto.as_deref(), &request).await,
                            Response::Late(time) => {
                                let reply = forward(moto.as_deref(), &request).await;
                                tokio::time::sleep(time).await;
                                reply
                            }
                            Response::Cut => {
                                let mut reply = forward(moto.as_deref(), &request).await;
                                reply.truncate(reply.len() - 20);
                                let _ = stream.write_all(&reply).await;
                                return;
                            }
                            Response::Lost => {
                                forward(moto.as_deref(), &request).await;
                                return;
                            }
                        };
                        if stream.write_all(&response).await.is_err() {
                            return;
                        }
                    }
                });
            }
        });
        Self { address, seen, task }
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The operations requested so far.
    pub(crate) fn operations(&self) -> Vec<String> {
        self.seen.lock().unwrap().iter().map(|request| request.operation.clone()).collect()
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn read(stream: &mut BufReader<TcpStream>) -> Option<Request> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if stream.read_line(&mut head).await.ok()? == 0 {
            return None;
        }
    }
    let header = |name: &str| {
        let line = head.lines().find(|line| line.to_lowercase().starts_with(&format!("{name}:")));
        line.and_then(|line| line.split_once(':')).map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
    };
    let mut body = vec![0; header("content-length").parse().unwrap_or(0)];
    stream.read_exact(&mut body).await.ok()?;
    let operation = header("x-amz-target").trim_start_matches("secretsmanager.").to_owned();
    Some(Request { operation, authorization: header("authorization"), head: head.clone(), body })
}

fn error(status: u16, code: &str, message: &str) -> Vec<u8> {
    let message: String = message.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    let body = format!("{{\"__type\":\"com.amazonaws.secretsmanager#{code}\",\"Message\":\"{message}\"}}");
    reply(status, code, &body)
}

fn reply(status: u16, code: &str, body: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 {status} Response\r\nx-amzn-errortype: {code}\r\ncontent-type: application/x-amz-json-1.1\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

async fn forward(moto: Option<&str>, request: &Request) -> Vec<u8> {
    let address = moto.unwrap().trim_start_matches("http://");
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = request.head.replacen("\r\n", "\r\nconnection: close\r\n", 1);
    stream.write_all(&[head.as_bytes(), &request.body].concat()).await.unwrap();
    let mut reply = Vec::new();
    stream.read_to_end(&mut reply).await.unwrap();
    reply
}
