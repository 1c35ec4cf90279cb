//! Where the secrets are and how to access them: the settings, their bounds, and the client that is built from them.

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

/// How many days AWS can keep a deleted secret.
/// Source: <https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_DeleteSecret.html>
pub const RECOVERY_DAYS: std::ops::RangeInclusive<u8> = 7..=30;

/// The maximum number of characters in the name of a secret.
/// Source: <https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_CreateSecret.html>
const MAX_SECRET_NAME: usize = 512;

/// Attempts at one request, including the first one: if they time out, they fit into the default time of an operation.
const MAX_ATTEMPTS: u32 = 3;

/// The maximum wait before the second attempt, and twice that before the third; the actual wait is random.
const FIRST_BACKOFF: Duration = Duration::from_millis(500);
const MAX_BACKOFF: Duration = Duration::from_secs(2);

/// The time limit of an operation on very many secrets. Its attempts are few, and each has its own time limit.
const LISTING: Duration = Duration::from_mins(10);

/// How long an idle connection is kept: less than the 350 s after which AWS's load balancers and NAT gateways silently
/// drop it.
const IDLE_CONNECTION: Duration = Duration::from_mins(1);

/// Where the secrets are and how to access them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// The URL of Secrets Manager, with `https://` if it has no scheme. Default: that of AWS for the region. Used only
    /// for Secrets Manager: credentials are obtained from the usual services of AWS.
    pub endpoint: Option<String>,
    /// For example `eu-central-1`. Default: `AWS_REGION`, the profile, the instance.
    pub region: Option<String>,
    /// The KMS key that encrypts new secrets: ID, ARN or alias. Default: `aws/secretsmanager`.
    pub kms_key: Option<String>,
    /// An access key. Default: the SDK's chain: environment, profile, web identity (IRSA), container, instance role.
    pub credentials: Option<Credentials>,
    /// What the names of all secrets begin with, before the name of the key: at most 432 of `0-9 A-Z a-z / _ + = . @
    /// -`. It should end in `/`, because all secrets that begin with it are treated as keys. Default: empty, as in KES.
    /// Secrets without the prefix are neither listed nor changed.
    pub prefix: String,
    /// For how many days a deleted secret can be restored, [`RECOVERY_DAYS`]. Its name stays taken for that time.
    /// Default: none, as in KES: secrets are deleted permanently and immediately.
    pub recovery_window: Option<u8>,
    /// Default: see [`Timeouts`].
    pub timeouts: Timeouts,
}

/// An access key of AWS.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The ID of the access key.
    pub access_key: String,
    /// The secret access key.
    pub secret_key: Secret,
    /// The session token that belongs to temporary credentials.
    pub token: Option<Secret>,
}

/// Time limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// For a connection, including TLS. Default: 2 s.
    pub connect: Duration,
    /// For one attempt at a request. Default: 3 s.
    pub attempt: Duration,
    /// For a whole operation of the store, with all its requests, attempts and waits. Default: 8 s.
    pub operation: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self { connect: Duration::from_secs(2), attempt: Duration::from_secs(3), operation: Duration::from_secs(8) }
    }
}

impl Config {
    /// Checks the bounds of all settings. [`super::Aws::open`] does the same; this is for callers that only read a
    /// config.
    ///
    /// # Errors
    /// What is wrong, naming the setting.
    pub fn check(&self) -> Result<(), String> {
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"/_+=.@-".contains(&byte);
        if let Some(bad) = self.prefix.chars().find(|char| !u8::try_from(*char).is_ok_and(is_allowed)) {
            return Err(format!("prefix '{}' contains {bad:?}; use letters, digits and /_+=.@-", self.prefix));
        }
        let most = MAX_SECRET_NAME - Name::MAX_LEN;
        if self.prefix.len() > most {
            return Err(format!("prefix has {} characters; use at most {most}", self.prefix.len()));
        }
        if let Some(days) = self.recovery_window.filter(|days| !RECOVERY_DAYS.contains(days)) {
            let (least, most) = RECOVERY_DAYS.into_inner();
            return Err(format!(
                "recovery_window is {days} days, which is out of range; use a number from {least} to {most}"
            ));
        }
        let Timeouts { connect, attempt, operation } = self.timeouts;
        if connect.is_zero() || attempt.is_zero() || operation.is_zero() {
            return Err("a timeout is 0; use a duration above 0s".to_owned());
        }
        self.endpoint_url().map(|_| ())
    }

    /// See [`crate::BackendConfig::dangers`].
    pub(crate) fn dangers(&self) -> Vec<(&'static str, String)> {
        let plain = self.endpoint_url().ok().flatten().filter(|url| url.starts_with("http://") && !self.is_local());
        let danger = |url| format!("keys are sent to {url} without TLS; configure an https endpoint");
        plain.map(|url| ("secretsmanager.endpoint", danger(url))).into_iter().collect()
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
            Some(host) if host.contains('@') => {
                Err("endpoint contains a user or password; configure only host and port".to_owned())
            }
            Some(host) if !host.is_empty() && url.bytes().all(|byte| byte.is_ascii_graphic()) => Ok(Some(url)),
            // Not repeated: it may contain a password.
            _ => Err("endpoint is not an http or https URL; configure it as https://HOST:PORT".to_owned()),
        }
    }

    /// Whether the endpoint is this machine. Requests to it do not use a proxy, as with Go's clients.
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

/// Builds a client: finds region and credentials, and makes sure that there are some.
pub(super) async fn connect(config: &Config) -> Result<Connection, StoreError> {
    config.check().map_err(StoreError::unavailable)?;
    let endpoint = config.endpoint_url().map_err(StoreError::unavailable)?;
    for (_, danger) in config.dangers() {
        warn!("{danger}");
    }
    let expired = || {
        StoreError::unreachable(
            "looking up AWS region and credentials took too long; configure region and credentials, or check that the \
             instance's metadata service responds",
        )
    };
    let sdk = within(config.timeouts.operation, expired, async { Ok(sdk_config(config).await) }).await?;
    let Some(region) = sdk.region().map(ToString::to_string) else {
        let reason = "no AWS region: it is set neither in the configuration, nor in AWS_REGION, nor in the profile, \
                      nor by the instance";
        return Err(StoreError::unavailable(reason));
    };
    if let Some(provider) = sdk.credentials_provider() {
        check_credentials(config, &provider).await?;
    }
    let mut service = aws_sdk_secretsmanager::config::Builder::from(&sdk);
    // Only for this service: a web identity is exchanged at STS, regardless of the endpoint for secrets.
    if endpoint.is_some() {
        service.set_endpoint_url(endpoint);
    }
    Ok(Connection { client: Client::from_conf(service.build()), region })
}

/// The settings for all services.
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
    // This service does not stream its responses: the time limit of an attempt covers all of their bytes.
    let stalled = StalledStreamProtectionConfig::disabled();
    let version = BehaviorVersion::latest();
    let http = http_client(config);
    if let (Some(_), Some(region), Some(key)) = (&config.endpoint, &config.region, &config.credentials) {
        // Everything is configured: the environment is not needed.
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

/// Pooled connections over rustls with aws-lc-rs, using `HTTPS_PROXY` and `NO_PROXY` as KES does.
fn http_client(config: &Config) -> SharedHttpClient {
    let proxy = if config.is_local() { ProxyConfig::disabled() } else { ProxyConfig::from_env() };
    Builder::new().build_with_connector_fn(move |settings, _| {
        let mut connector = Connector::builder().proxy_config(proxy.clone()).pool_idle_timeout(IDLE_CONNECTION);
        connector.set_connector_settings(settings.cloned());
        connector.tls_provider(Provider::Rustls(CryptoMode::AwsLc)).build()
    })
}

/// Fetches credentials once, so that a start without any fails, with the chain that found none.
async fn check_credentials(config: &Config, provider: &SharedCredentialsProvider) -> Result<(), StoreError> {
    let chain = if config.credentials.is_some() { "the configuration" } else { DEFAULT_CHAIN };
    let expired = || {
        let text = format!("no credentials: {chain} did not respond in time; check the service that provides them");
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
    fn an_endpoint_without_a_scheme_is_https_and_only_loopback_is_local() {
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
