//! Logging in, and staying logged in: one session for all operations, renewed in the background and replaced when it is
//! refused.
//!
//! A token is renewed when a bit more than half of its lifetime is over, at a time that differs between nodes. When it
//! cannot be renewed any more, a login replaces it. An operation that gets a 403 asks for another session and is tried
//! once more; however many ask at the same time, there is one login, and they share its failure as well. A new token
//! that is refused is valid but lacks rights, which another login would not change, so [`FRESH`] limits how often we
//! log in.
//!
//! A login that Vault refuses is not repeated at once, because it locks the role after a few of them: see [`Refusal`].
//!
//! A token that the operator has configured is renewed as long as Vault allows it, never revoked by us, and replaced
//! only by another one in its file.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use serde_json::Value as Json;
use tokio::sync::{Mutex, Notify};
use tracing::{info, warn};
use vaultrs::api::AuthInfo;
use vaultrs::auth::{approle, cert, kubernetes, oidc};
use zeroize::Zeroizing;

use crate::StoreError;
use crate::vault::client::{Connector, Lease, Session, client, get, quiet};
use crate::vault::config::{Config, Credential, Login, Place};
use crate::vault::error::Failure;
use crate::{Secret, count_refused_credentials, credential_hints};

/// If a session this young is refused, it lacks rights or was revoked; before another login, Vault is asked which it
/// is.
const FRESH: Duration = Duration::from_secs(2);

/// The pauses after one and more refused logins, in seconds; the last one is repeated.
const PAUSES: [u64; 7] = [1, 2, 4, 8, 16, 32, 60];

/// The same with `AppRole`. After five refusals that are less than 15 minutes apart, Vault locks the role for 15 minutes,
/// for every gateway that uses it, and after that again with each refusal. So there are only four.
/// Source: the defaults in <https://developer.hashicorp.com/vault/docs/concepts/user-lockout>
const APPROLE_PAUSES: [u64; 4] = [1, 4, 60, 16 * 60];

/// How long a replaced token stays valid for the requests that still use it, before it is revoked.
const RETIREMENT: Duration = Duration::from_secs(10);

/// The time limit for revoking a token.
const REVOKE_TIMEOUT: Duration = Duration::from_secs(2);

/// Where requests get their session from.
pub(super) struct Connection {
    pub(super) place: Place,
    login: Login,
    connector: Connector,
    pool: ArcSwap<reqwest::Client>,
    session: ArcSwap<Session>,
    /// Held while the session is changed.
    turn: Mutex<Turn>,
    /// Notified when there is another session.
    changed: Notify,
}

#[derive(Default)]
struct Turn {
    /// When the last login failed, and why.
    failed: Option<(Instant, Failure)>,
    refusal: Option<Refusal>,
    closed: bool,
}

/// A login that Vault refused. Until it is due again, all operations that need another token fail with its failure.
struct Refusal {
    failure: Failure,
    /// What was refused; another one is tried at once.
    credential: Option<Secret>,
    /// See [`credentials_may_work_again`](crate::credentials_may_work_again).
    hints: u64,
    since: Instant,
    /// How long to wait.
    pause: Duration,
    /// How often this credential was refused.
    count: usize,
}

impl Refusal {
    /// Whether the login with this credential has to wait.
    fn holds(&self, credential: Option<&Secret>) -> bool {
        self.since.elapsed() < self.pause && !self.is_over(credential)
    }

    /// Whether something has changed since.
    fn is_over(&self, credential: Option<&Secret>) -> bool {
        self.credential.as_ref() != credential || self.hints != credential_hints()
    }
}

impl Connection {
    /// Reads the files and logs in for the first time.
    pub(super) async fn open(config: &Config) -> Result<Self, StoreError> {
        let place = Place::of(config)?;
        let connector = Connector::new(&place, &config.tls)?;
        let pool = connector.pool()?;
        let anonymous = Session::new(&place, &pool, &Secret::from(String::new()), None, false);
        let connection = Self {
            login: config.login.clone(),
            connector,
            pool: ArcSwap::from_pointee(pool),
            session: ArcSwap::from_pointee(anonymous),
            turn: Mutex::default(),
            changed: Notify::new(),
            place,
        };
        let opened = async { connection.log_in(connection.credential().await?.as_ref()).await };
        match opened.await {
            Ok(session) => connection.session.store(Arc::new(session)),
            Err(failure) => {
                let doing = format!("log in with {}{}", connection.login.name(), connection.login_place());
                let failure = match connection.login.engine() {
                    Some(_) if failure.is_denied() => {
                        Failure::NoToken(format!("{}{}", failure.text(), connection.why_denied()))
                    }
                    _ => failure,
                };
                return Err(connection.explain(failure, &doing).await);
            }
        }
        Ok(connection)
    }

    /// The error of a store for a failure, including the health that the server reports if that may be the cause.
    pub(super) async fn explain(&self, failure: Failure, doing: &str) -> StoreError {
        let health = match failure.code() {
            Some(429 | 472 | 473 | 500..) => crate::vault::client::health(&self.session()).await,
            _ => None,
        };
        failure.into_error(doing, &self.place, health)
    }

    pub(super) fn session(&self) -> Arc<Session> {
        self.session.load_full()
    }

    /// Sends a request that changes nothing: once more with another token if it is denied, and once more over another
    /// connection if there is no response.
    pub(super) async fn read<T, C, F>(&self, call: C) -> Result<T, Failure>
    where
        C: Fn(Arc<Session>) -> F,
        F: Future<Output = Result<T, Failure>>,
    {
        let session = self.session();
        match self.write_with(session.clone(), &call).await {
            Err(failure) if failure.is_lost() => {
                self.replace_pool(&session);
                self.write_with(self.session(), &call).await
            }
            done => done,
        }
    }

    /// The `data` of what is at a path of the API, asked with the token as it is: policies need not allow it, and a refusal
    /// must not cause a login. Asked once more if there is no response.
    pub(super) async fn read_without_login(&self, path: &str) -> Result<Json, Failure> {
        let once = async || get(&self.session().keys, path.to_owned()).await;
        let mut response = match once().await {
            Err(failure) if failure.is_lost() => once().await,
            done => done,
        }?;
        Ok(response.get_mut("data").map(Json::take).unwrap_or_default())
    }

    /// Sends a request that may change something: once more with another token if it is denied, because then nothing
    /// has changed, and never again if its outcome is unknown.
    pub(super) async fn write<T, C, F>(&self, call: C) -> Result<T, Failure>
    where
        C: Fn(Arc<Session>) -> F,
        F: Future<Output = Result<T, Failure>>,
    {
        let session = self.session();
        let done = self.write_with(session.clone(), &call).await;
        if matches!(&done, Err(failure) if failure.is_lost()) {
            self.replace_pool(&session);
        }
        done
    }

    async fn write_with<T, C, F>(&self, session: Arc<Session>, call: &C) -> Result<T, Failure>
    where
        C: Fn(Arc<Session>) -> F,
        F: Future<Output = Result<T, Failure>>,
    {
        match call(session.clone()).await {
            Err(failure) if failure.is_denied() => call(self.replace(&session, failure).await?).await,
            done => done,
        }
    }

    /// Replaces the connections after one of them has turned out to be dead; the others probably are, too.
    fn replace_pool(&self, seen: &Arc<Session>) {
        let current = self.session();
        if !Arc::ptr_eq(&current, seen) {
            return;
        }
        // This worked before with the same settings; if it fails now, the old pool is kept.
        if let Ok(pool) = self.connector.pool() {
            let session = Arc::new(current.over(&self.place, &pool));
            self.pool.store(Arc::new(pool));
            self.session.compare_and_swap(&current, session);
        }
    }

    /// A session to replace `seen`, which was refused with `refusal`.
    async fn replace(&self, seen: &Arc<Session>, refusal: Failure) -> Result<Arc<Session>, Failure> {
        let asked = Instant::now();
        let mut turn = self.turn.lock().await;
        let current = self.session();
        if current.secret() != seen.secret() {
            return Ok(current);
        }
        if let Some((when, failure)) = &turn.failed
            && *when >= asked
        {
            return Err(failure.clone());
        }
        if turn.closed || (current.since.elapsed() < FRESH && self.lease(&current).await.is_ok()) {
            return Err(refusal);
        }
        count_refused_credentials();
        self.log_in_again(&mut turn, &current, refusal).await
    }

    async fn log_in_again(
        &self,
        turn: &mut Turn,
        current: &Arc<Session>,
        refusal: Failure,
    ) -> Result<Arc<Session>, Failure> {
        let hints = credential_hints();
        let credential = self.credential().await;
        if let (Some(refusal), Ok(credential)) = (&turn.refusal, &credential)
            && refusal.holds(credential.as_ref())
        {
            return Err(refusal.failure.clone());
        }
        let done = match &credential {
            Ok(credential) => self.log_in(credential.as_ref()).await,
            Err(failure) => Err(failure.clone()),
        };
        let is_denied = matches!(&done, Err(failure) if failure.is_denied());
        let failure = match done {
            Ok(session) if session.secret() != current.secret() => {
                let session = Arc::new(session);
                self.session.store(session.clone());
                turn.failed = None;
                turn.refusal = None;
                self.changed.notify_one();
                info!("logged in to Vault again with {}", self.login.name());
                if current.own {
                    let old = current.clone();
                    tokio::spawn(async move {
                        tokio::time::sleep(RETIREMENT).await;
                        revoke(&old).await;
                    });
                }
                return Ok(session);
            }
            // The same token: either it is valid and lacks rights, or it is not valid.
            Ok(session) => match self.lease(&session).await {
                Err(failure) if failure.is_denied() => Failure::NoToken(format!(
                    "the token is not valid: it is unknown, was revoked or has expired; {}",
                    match &self.login {
                        Login::TokenFile(path) => format!("write a new one to '{}'", path.display()),
                        _ => "configure a new one".to_owned(),
                    }
                )),
                // It is about to expire.
                _ if matches!(refusal, Failure::NoToken(_)) => refusal,
                // It lacks rights.
                _ => {
                    turn.failed = Some((Instant::now(), refusal.clone()));
                    return Err(refusal);
                }
            },
            Err(failure) if failure.is_refused_login() => Failure::NoToken(format!(
                "the token was refused, and logging in with {}{} failed: {}{}",
                self.login.name(),
                self.login_place(),
                failure.text(),
                if is_denied { self.why_denied() } else { "" }
            )),
            // Not a response to the login, but the state of the server or of the network.
            Err(failure) => {
                count_refused_credentials();
                warn!("cannot log in to Vault again: {}", failure.text());
                turn.failed = Some((Instant::now(), failure.clone()));
                return Err(failure);
            }
        };
        count_refused_credentials();
        turn.failed = Some((Instant::now(), failure.clone()));
        let (pauses, text): (&[_], _) = match self.login {
            // A login that is denied does not count: the role is locked.
            Login::AppRole { .. } if !is_denied => (
                &APPROLE_PAUSES,
                "1, 4 and 60 s, then every 16 minutes, because Vault would lock the role after five refusals",
            ),
            _ => (&PAUSES, "1, 2, 4 .. 60 s"),
        };
        let count = self.warn_once(turn, &failure, credential.as_ref().ok().and_then(Option::as_ref), text);
        let pause = Duration::from_secs(pauses.get(count).or(pauses.last()).copied().unwrap_or_default());
        let credential = credential.unwrap_or_default();
        let refusal = Refusal { failure: failure.clone(), credential, hints, since: Instant::now(), pause, count };
        turn.refusal = Some(refusal);
        Err(failure)
    }

    /// Reports the first of the same refusals; returns how many there were before.
    fn warn_once(&self, turn: &mut Turn, failure: &Failure, credential: Option<&Secret>, pauses: &str) -> usize {
        let before = turn.refusal.take().filter(|refusal| !refusal.is_over(credential));
        // Another reason, such as that Vault has locked the role, is worth a line of its own.
        if before.as_ref().is_none_or(|refusal| refusal.failure.text() != failure.text()) {
            warn!(
                "{}: cannot log in to Vault again: {}; trying again after {pauses}; and at once when the file of the \
                 credential changes or the config is reloaded",
                self.place,
                failure.text()
            );
        }
        before.map_or(0, |refusal| refusal.count + 1)
    }

    /// What a login that is denied means: without a token, Vault does not say.
    fn why_denied(&self) -> &'static str {
        match self.login {
            // Source: <https://developer.hashicorp.com/vault/docs/concepts/user-lockout>, as Vault 1.13 and OpenBao 2.7.
            Login::AppRole { .. } => {
                "; either nothing is mounted there, or Vault has locked the role after several refused logins, by default \
                 for 15 minutes: unlock it with `vault write -f sys/locked-users/MOUNT_ACCESSOR/unlock/ROLE_ID`, with \
                 the accessor from `vault auth list`"
            }
            Login::Token(_) | Login::TokenFile(_) => "",
            Login::Kubernetes { .. } | Login::Jwt { .. } | Login::Cert { .. } => {
                "; the role or the credential is invalid, or nothing is mounted there"
            }
        }
    }

    /// The credential of the login, read from its file if necessary; `None` for a TLS certificate.
    async fn credential(&self) -> Result<Option<Secret>, Failure> {
        let path = match &self.login {
            Login::Token(token) => return Ok(Some(token.clone())),
            Login::Cert { .. } => return Ok(None),
            Login::AppRole { secret: Credential::Text(secret), .. }
            | Login::Kubernetes { jwt: Credential::Text(secret), .. }
            | Login::Jwt { jwt: Credential::Text(secret), .. } => return Ok(Some(secret.clone())),
            Login::TokenFile(path)
            | Login::AppRole { secret: Credential::File(path), .. }
            | Login::Kubernetes { jwt: Credential::File(path), .. }
            | Login::Jwt { jwt: Credential::File(path), .. } => path,
        };
        read_credential(path).await.map(Some)
    }

    /// Gets a token in the configured way.
    async fn log_in(&self, credential: Option<&Secret>) -> Result<Session, Failure> {
        let credential = credential.map(Secret::expose).unwrap_or_default();
        let pool = self.pool.load_full();
        let anonymous = client(&self.place, &pool, "", self.place.login_namespace.clone());
        let done = match &self.login {
            Login::Token(_) | Login::TokenFile(_) => return self.session_with(&pool, credential).await,
            Login::AppRole { engine, id, .. } => {
                quiet(approle::login(&anonymous, engine.trim_matches('/'), id, credential)).await
            }
            Login::Kubernetes { engine, role, .. } => {
                quiet(kubernetes::login(&anonymous, engine.trim_matches('/'), role, credential)).await
            }
            Login::Jwt { engine, role, .. } => {
                quiet(oidc::login(&anonymous, engine.trim_matches('/'), credential, role.clone())).await
            }
            Login::Cert { engine, role, .. } => {
                quiet(cert::login(&anonymous, engine.trim_matches('/'), role.as_deref().unwrap_or_default())).await
            }
        };
        let mut info = done?;
        let token = Secret::from(std::mem::take(&mut info.client_token));
        check_token(&token)?;
        Ok(Session::new(&self.place, &pool, &token, lease(&info, None), true))
    }

    /// A session with a token of the operator. An invalid token is accepted here: the first read detects it.
    async fn session_with(&self, pool: &reqwest::Client, token: &str) -> Result<Session, Failure> {
        let token = Secret::from(token.to_owned());
        check_token(&token)?;
        let mut session = Session::new(&self.place, pool, &token, None, false);
        session.lease = match self.lease(&session).await {
            Ok(lease) => lease,
            // Not every policy allows a token to look itself up.
            Err(failure) if failure.is_denied() => None,
            Err(failure) => return Err(failure),
        };
        Ok(session)
    }

    /// Looks up the remaining lifetime of a token. Denied if the token is invalid or lacks the right.
    async fn lease(&self, session: &Session) -> Result<Option<Lease>, Failure> {
        let answer = get(&session.token, "auth/token/lookup-self".to_owned()).await?;
        let ttl = Duration::from_secs(answer.pointer("/data/ttl").and_then(Json::as_u64).unwrap_or(0));
        let renewable = answer.pointer("/data/renewable").and_then(Json::as_bool).unwrap_or(false);
        Ok((!ttl.is_zero()).then_some(Lease { ttl, full: ttl, renewable }))
    }

    /// Renews the session whenever that is due; never ends.
    pub(super) async fn keep_renewed(&self) {
        /// How long to wait with a session that does not expire; another session interrupts it.
        const NO_EXPIRY: Duration = Duration::from_hours(1);
        loop {
            let session = self.session();
            let wait =
                session.lease.map_or(NO_EXPIRY, |lease| spread(lease.ttl / 2).saturating_sub(session.since.elapsed()));
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.changed.notified() => continue,
            }
            let Some(lease) = session.lease else { continue };
            if self.renew(&session, lease).await.is_err() {
                let longest = Duration::from_secs(if session.own { 4 } else { 20 });
                tokio::time::sleep(spread((lease.ttl / 8).clamp(Duration::from_millis(200), longest))).await;
            }
        }
    }

    async fn renew(&self, seen: &Arc<Session>, lease_then: Lease) -> Result<(), Failure> {
        let mut turn = self.turn.lock().await;
        let current = self.session();
        if turn.closed || current.secret() != seen.secret() {
            return Ok(());
        }
        let ended =
            Failure::NoToken("the token expires and cannot be renewed any more; configure a new one".to_owned());
        if lease_then.renewable {
            match quiet(vaultrs::token::renew_self(&current.token, None)).await {
                Ok(info) => {
                    let renewed = lease(&info, Some(lease_then.full));
                    // Close to the maximum lifetime of a token, a renewal extends it by less and less.
                    if renewed.is_some_and(|renewed| renewed.ttl * 2 >= renewed.full) {
                        let pool = self.pool.load_full();
                        let session = Session::new(&self.place, &pool, &current.secret(), renewed, current.own);
                        self.session.store(Arc::new(session));
                        return Ok(());
                    }
                }
                Err(failure) if failure.is_denied() || failure.code() == Some(400) => {}
                Err(failure) => {
                    count_refused_credentials();
                    warn!("cannot renew the Vault token: {}", failure.text());
                    return Err(failure);
                }
            }
        }
        self.log_in_again(&mut turn, &current, ended).await.map(drop)
    }

    /// Revokes the token, if it is from a login of ours.
    pub(super) async fn close(&self) {
        let mut turn = self.turn.lock().await;
        if !turn.closed {
            turn.closed = true;
            revoke(&self.session()).await;
        }
    }

    fn login_place(&self) -> String {
        self.login.engine().map(|engine| format!(" at 'auth/{}'", engine.trim_matches('/'))).unwrap_or_default()
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("place", &self.place).field("login", &self.login).finish_non_exhaustive()
    }
}

async fn revoke(session: &Session) {
    if session.own {
        // A token that is not revoked expires.
        let revoked = quiet(vaultrs::token::revoke_self(&session.token));
        if !matches!(tokio::time::timeout(REVOKE_TIMEOUT, revoked).await, Ok(Ok(()))) {
            info!("could not revoke a Vault token; it remains valid until it expires");
        }
    }
}

fn lease(info: &AuthInfo, full: Option<Duration>) -> Option<Lease> {
    let ttl = Duration::from_secs(info.lease_duration);
    (!ttl.is_zero()).then_some(Lease { ttl, full: full.unwrap_or(ttl), renewable: info.renewable })
}

/// The credential in a file.
async fn read_credential(path: &Path) -> Result<Secret, Failure> {
    let text = tokio::fs::read(path).await.map(Zeroizing::new).map_err(|error| {
        Failure::NoToken(format!("the credential file '{}' cannot be read ({error})", path.display()))
    })?;
    let text = str::from_utf8(&text).unwrap_or_default().trim();
    if text.is_empty() {
        return Err(Failure::NoToken(format!("the credential file '{}' is empty or not text", path.display())));
    }
    Ok(Secret::from(text.to_owned()))
}

/// A token becomes an HTTP header, which can only contain visible ASCII characters.
fn check_token(token: &Secret) -> Result<(), Failure> {
    if token.expose().is_empty() || !token.expose().bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(Failure::NoToken("the token is empty or contains invalid characters".to_owned()));
    }
    Ok(())
}

/// A random duration of 1 to 1.3 times this one, so that nodes that started at the same time do not stay in step.
pub(super) fn spread(duration: Duration) -> Duration {
    let share = u32::try_from(random() % 300).unwrap_or(0);
    duration + duration * share / 1000
}

/// A random number, for spreading and for unique names; it need not be unpredictable.
pub(super) fn random() -> u64 {
    fastrand::u64(..)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_login_waits_for_its_pause_another_credential_or_a_hint() {
        let secret = |text: &str| Some(Secret::from(text.to_owned()));
        let refusal = |credential, pause| Refusal {
            failure: Failure::NoToken("refused".to_owned()),
            credential,
            hints: credential_hints(),
            since: Instant::now(),
            pause,
            count: 0,
        };
        let (old, new) = (secret("old"), secret("new"));
        let refused = refusal(old.clone(), Duration::from_mins(1));
        assert!(refused.holds(old.as_ref()));
        assert!(!refused.holds(new.as_ref()), "another credential");
        assert!(!refused.holds(None), "the credential is gone");
        assert!(!refusal(old.clone(), Duration::ZERO).holds(old.as_ref()), "the pause is over");
        assert!(refusal(None, Duration::from_mins(1)).holds(None), "a TLS certificate");
        crate::credentials_may_work_again();
        assert!(!refused.holds(old.as_ref()), "a reload");
    }

    #[test]
    fn the_pauses_of_an_approle_have_room_for_fewer_refusals_than_lock_it() {
        let until_reset = 15 * 60;
        let refusals = 1 + APPROLE_PAUSES.iter().take_while(|pause| **pause < until_reset).count();
        assert!(refusals < 5, "{refusals} in a row");
        assert!(APPROLE_PAUSES.last().is_some_and(|pause| *pause > until_reset));
    }
}
