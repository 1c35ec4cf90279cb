//! A client that sends one request at a time, to prepare measurements and to read listings.

use anyhow::Context as _;
use tokio::runtime::Runtime;

use crate::certificates::Certificates;
use crate::load::{Http1, connect};
use crate::program::Server;
use crate::request::Request;

/// A connection of the admin.
#[derive(Debug)]
pub(crate) struct Session {
    runtime: Runtime,
    connection: Http1,
}

impl Session {
    /// Connects.
    pub(crate) fn open(server: &Server, certificates: &Certificates) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let tls = certificates.client_config(&certificates.admin, false)?;
        let connection = runtime.block_on(connect(server.address, tls))?;
        Ok(Self { runtime, connection: Http1::new(connection) })
    }

    /// Sends a request and returns the body of the response.
    ///
    /// # Errors
    /// Every status other than 200.
    pub(crate) fn send(&mut self, request: &Request) -> anyhow::Result<&[u8]> {
        let status = self.runtime.block_on(self.connection.exchange(&request.http1(0)))?;
        let body = self.connection.body();
        anyhow::ensure!(
            status == 200,
            "{} {}: {status}: {}",
            request.method,
            request.path(0),
            String::from_utf8_lossy(body)
        );
        Ok(body)
    }

    /// One field of the response, empty if it is absent.
    pub(crate) fn field(&mut self, request: &Request, field: &str) -> anyhow::Result<String> {
        let body = self.send(request)?;
        let response: serde_json::Value =
            serde_json::from_slice(body).with_context(|| format!("{}: not JSON", request.path(0)))?;
        Ok(response.get(field).and_then(serde_json::Value::as_str).unwrap_or_default().to_owned())
    }
}
