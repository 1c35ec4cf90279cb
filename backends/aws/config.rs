//! Where the secrets are and how to get in: the settings of the store, their bounds, and the client made of them.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::stalled_stream_protection::StalledStreamProtectionConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_secretsmanager::Client;
use aws_sdk_secretsmanager::config::{ProvideCredentials, SharedCredentialsProvider, SharedHttpClient};
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::Provider;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::{Builder, Connector};
use tracing::warn;

use super::failure::{DEFAULT_CHAIN, clean};
use crate::deadline::within;
use crate::{Name, Secret, StoreError, chain as causes};

/// Days that AWS can keep a deleted secret.
/// Source: <https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_DeleteSecret.html>
pub const RECOVERY_DAYS: std::ops::RangeInclusive<u8> = 7..=30;

/// Characters in the name of a secret at most.
/// Source: <https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_CreateSecret.html>
const MAX_SECRET_NAME: usize = 512;

/// Attempts at one request, the first one included: those that time out fit into the default time of an operation.
const MAX_ATTEMPTS: u32 = 3;

/// The longest wait before the second attempt, and twice that before the third; the wait itself is random below it.
const FIRST_BACKOFF: Duration = Duration::from_millis(500);
const MAX_BACKOFF: Duration = Duration::from_secs(2);

/// The time for an operation on very many secrets. Its attempts are few, and each has a bound of its own.
const LISTING: Duration = Duration::from_mins(10);

/// How long an unused connection is kept: shorter than the 350 s after which AWS's load balancers and NAT gateways
/// forget it without a word.
const IDLE_CONNECTION: Duration = Duration::from_mins(1);

/// Where the secrets are and how to get in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// The URL of Secrets Manager, `https://` when it names no scheme. Default: AWS's own for the region. Used for
    /// Secrets Manager alone: credentials are exchanged where AWS does that.
    pub endpoint: Option<String>,
    /// As in `eu-central-1`. Default: `AWS_REGION`, the profile, the instance.
    pub region: Option<String>,
    /// The KMS key that new secrets are encrypted under: ID, ARN or alias. Default: `aws/secretsmanager`.
    pub kms_key: Option<String>,
    /// An access key. Default: the SDK's chain: environment, profile, web identity (IRSA), container, instance role.
    pub credentials: Option<Credentials>,
    /// What the names of all secrets begin with, before the name of the key; `0-9 A-Z a-z / _ + = . @ -`, at most
    /// 432. Best ends in `/`: what follows it is taken for a key. Default: empty, as KES names them. Secrets without
    /// the prefix are neither listed nor touched.
    pub prefix: String,
    /// Days that a deleted secret can be restored, [`RECOVERY_DAYS`]. Its name stays taken that long. Default: none,
    /// as KES: deleted for ever at once.
    pub recovery_window: Option<u8>,
    /// Default: see [`Timeouts`].
    pub timeouts: Timeouts,
}

/// An access key.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The access key's ID.
    pub access_key: String,
    /// The secret access key.
    pub secret_key: Secret,
    /// The session token that belongs to temporary credentials.
    pub token: Option<Secret>,
}

/// How long things may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// A connection, TLS included. Default: 2 s.
    pub connect: Duration,
    /// One attempt at a request. Default: 3 s.
    pub attempt: Duration,
    /// A whole operation of the store, with all its requests, attempts and waits. Default: 8 s.
    pub operation: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self { connect: Duration::from_secs(2), attempt: Duration::from_secs(3), operation: Duration::from_secs(8) }
    }
}

impl Config {
    /// Checks the bounds of all settings. [`super::Aws::open`] does so, too; alone it serves who only reads a config.
    ///
    /// # Errors
    /// What is wrong, in words that name the setting.
    pub fn check(&self) -> Result<(), String> {
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"/_+=.@-".contains(&byte);
        if let Some(bad) = self.prefix.chars().find(|char| !u8::try_from(*char).is_ok_and(is_allowed)) {
            return Err(format!(
                "prefix '{}' has {bad:?}; a secret's name takes letters, digits and /_+=.@-",
                self.prefix
            ));
        }
        let most = MAX_SECRET_NAME - Name::MAX_LEN;
        if self.prefix.len() > most {
            return Err(format!("prefix has {} characters, {most} at most", self.prefix.len()));
        }
        if let Some(days) = self.recovery_window.filter(|days| !RECOVERY_DAYS.contains(days)) {
            let (least, most) = RECOVERY_DAYS.into_inner();
            return Err(format!("recovery_window is {days} days; AWS takes {least} to {most}"));
        }
        let Timeouts { connect, attempt, operation } = self.timeouts;
        if connect.is_zero() || attempt.is_zero() || operation.is_zero() {
            return Err("a time-out is 0".to_owned());
        }
        self.endpoint_url().map(|_| ())
    }

    /// Whether both lead to the same secrets of the same account, as far as the settings show.
    pub(crate) fn is_same_place(&self, other: &Self) -> bool {
        // Every field is named here, so that a new one has to be judged.
        let Self { endpoint, region, prefix, credentials, kms_key: _, recovery_window: _, timeouts: _ } = self;
        let account = |credentials: &Option<Credentials>| credentials.as_ref().map(|key| key.access_key.clone());
        (endpoint, region, prefix, account(credentials))
            == (&other.endpoint, &other.region, &other.prefix, account(&other.credentials))
    }

    /// With time for a listing of very many secrets, which takes AWS 100 ms for 100 of them; no client waits for it.
    pub(crate) fn for_bulk(mut self) -> Self {
        self.timeouts.operation = self.timeouts.operation.max(LISTING);
        self
    }

    /// The endpoint as a URL.
    pub(super) fn endpoint_url(&self) -> Result<Option<String>, String> {
        let Some(endpoint) = &self.endpoint else { return Ok(None) };
        let url = if endpoint.contains("://") { endpoint.clone() } else { format!("https://{endpoint}") };
        let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
        let host = rest.map(|rest| rest.split('/').next().unwrap_or_default());
        match host {
            Some(host) if host.contains('@') => Err("endpoint holds a user or password; name host and port".to_owned()),
            Some(host) if !host.is_empty() && url.bytes().all(|byte| byte.is_ascii_graphic()) => Ok(Some(url)),
            // Not repeated: who writes another scheme may write a password, too.
            _ => Err("endpoint is no http or https URL; write it as in https://HOST:PORT".to_owned()),
        }
    }

    /// Whether requests go to this machine alone. Those take no proxy, as with Go's clients.
    fn is_local(&self) -> bool {
        let url = self.endpoint_url().ok().flatten().unwrap_or_default();
        let host = url.split("://").nth(1).and_then(|rest| rest.split('/').next()).unwrap_or_default();
        let host = host.rsplit_once(':').map_or(host, |(host, _)| host);
        let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        host == "localhost" || address.is_ok_and(|address| address.is_loopback())
    }
}

/// A client and the region it is for.
pub(super) struct Connection {
    pub(super) client: Client,
    pub(super) region: String,
}

/// Makes a client: finds region and credentials, and makes sure that there are some.
pub(super) async fn connect(config: &Config) -> Result<Connection, StoreError> {
    config.check().map_err(StoreError::unavailable)?;
    let endpoint = config.endpoint_url().map_err(StoreError::unavailable)?;
    if endpoint.as_ref().is_some_and(|url| url.starts_with("http://")) && !config.is_local() {
        warn!(endpoint, "keys travel to this endpoint unencrypted; use https");
    }
    let expired = || {
        StoreError::unreachable(
            "the search for AWS region and credentials took too long; set region and credentials, or see that the \
             instance's metadata service answers",
        )
    };
    let sdk = within(config.timeouts.operation, expired, async { Ok(sdk_config(config).await) }).await?;
    let Some(region) = sdk.region().map(ToString::to_string) else {
        let reason =
            "no AWS region: neither the configuration, nor AWS_REGION, nor the profile, nor the instance name one";
        return Err(StoreError::unavailable(reason));
    };
    if let Some(provider) = sdk.credentials_provider() {
        check_credentials(config, &provider).await?;
    }
    let mut service = aws_sdk_secretsmanager::config::Builder::from(&sdk);
    // On the service alone: a web identity is exchanged at STS, whatever the endpoint for secrets is.
    if endpoint.is_some() {
        service.set_endpoint_url(endpoint);
    }
    Ok(Connection { client: Client::from_conf(service.build()), region })
}

/// The settings that all services share.
async fn sdk_config(config: &Config) -> SdkConfig {
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(config.timeouts.connect)
        .operation_attempt_timeout(config.timeouts.attempt)
        .operation_timeout(config.timeouts.operation)
        .build();
    let retries = RetryConfig::standard()
        .with_max_attempts(MAX_ATTEMPTS)
        .with_initial_backoff(FIRST_BACKOFF)
        .with_max_backoff(MAX_BACKOFF);
    // No answer of this service is a stream: the time-out of an attempt covers all of its bytes.
    let stalled = StalledStreamProtectionConfig::disabled();
    let version = BehaviorVersion::latest();
    let http = http_client(config);
    if let (Some(_), Some(region), Some(key)) = (&config.endpoint, &config.region, &config.credentials) {
        // All is said: the environment is not asked for anything else.
        return SdkConfig::builder()
            .behavior_version(version)
            .region(Region::new(region.clone()))
            .credentials_provider(key.provider())
            .timeout_config(timeouts)
            .retry_config(retries)
            .stalled_stream_protection(stalled)
            .http_client(http)
            .build();
    }
    let mut loader = aws_config::defaults(version)
        .timeout_config(timeouts)
        .retry_config(retries)
        .stalled_stream_protection(stalled)
        .http_client(http);
    if let Some(region) = &config.region {
        loader = loader.region(Region::new(region.clone()));
    }
    if let Some(key) = &config.credentials {
        loader = loader.credentials_provider(key.provider());
    }
    loader.load().await
}

/// Pooled connections over rustls on aws-lc-rs, through the proxy of `HTTPS_PROXY` and `NO_PROXY` as KES.
fn http_client(config: &Config) -> SharedHttpClient {
    let proxy = if config.is_local() { ProxyConfig::disabled() } else { ProxyConfig::from_env() };
    Builder::new().build_with_connector_fn(move |settings, _| {
        let mut connector = Connector::builder().proxy_config(proxy.clone()).pool_idle_timeout(IDLE_CONNECTION);
        connector.set_connector_settings(settings.cloned());
        connector.tls_provider(Provider::Rustls(CryptoMode::AwsLc)).build()
    })
}

/// Asks for credentials once, so that a start without any fails and says which chain found none.
async fn check_credentials(config: &Config, provider: &SharedCredentialsProvider) -> Result<(), StoreError> {
    let chain = if config.credentials.is_some() { "the configuration" } else { DEFAULT_CHAIN };
    let expired = || {
        let text = format!("no credentials: {chain} did not answer in time; see that its service can be reached");
        StoreError::unreachable(text)
    };
    let provide = async {
        let failed =
            |error| StoreError::unavailable(format!("no credentials from {chain}: {}", clean(&causes(&error))));
        provider.provide_credentials().await.map(drop).map_err(failed)
    };
    within(config.timeouts.operation, expired, provide).await
}

impl Credentials {
    fn provider(&self) -> SharedCredentialsProvider {
        let token = self.token.as_ref().map(|token| token.expose().to_owned());
        let secret = self.secret_key.expose();
        let credentials =
            aws_sdk_secretsmanager::config::Credentials::new(&self.access_key, secret, token, None, "configuration");
        SharedCredentialsProvider::new(credentials)
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_without_a_scheme_is_https_and_loopback_alone_is_local() {
        let config = |endpoint: &str| Config { endpoint: Some(endpoint.to_owned()), ..Config::default() };
        let kes = config("secretsmanager.us-east-2.amazonaws.com");
        assert_eq!(kes.endpoint_url().unwrap().unwrap(), "https://secretsmanager.us-east-2.amazonaws.com");
        for local in ["http://127.0.0.1:5000", "localhost:4566", "http://[::1]:80/", "https://127.1.2.3"] {
            assert!(config(local).is_local(), "{local}");
        }
        for other in ["http://localhost.example", "https://127.0.0.1.example:80", "10.0.0.1", "https://[fd00::1]:80"] {
            assert!(!config(other).is_local(), "{other}");
        }
        assert!(!Config::default().is_local());
    }
}
