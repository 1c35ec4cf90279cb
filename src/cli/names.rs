//! Commands on several names, and listings of any length.

use std::future::Future;
use std::process::ExitCode;

use anyhow::bail;

use super::{exit, print_error};
use crate::client::responses::{Identities, Names};
use crate::client::{Client, ClientError, path};
use crate::glob::Glob;
use crate::wire::CONTINUE;

/// Runs an action for each name. A failure is printed and the next name follows, unless no server is available. The
/// exit code is that of the first failure.
pub(super) async fn for_each<'a, F>(names: &'a [String], mut act: impl FnMut(&'a str) -> F) -> anyhow::Result<ExitCode>
where
    F: Future<Output = anyhow::Result<()>>,
{
    let mut code = None;
    for name in names {
        let Err(error) = act(name).await else { continue };
        // An error response concerns this name only.
        let continues = matches!(error.downcast_ref(), Some(ClientError::Api(_)));
        if !continues && code.is_none() {
            return Err(error);
        }
        print_error(&error);
        code.get_or_insert(exit::code(&error));
        if !continues {
            break;
        }
    }
    Ok(code.unwrap_or(ExitCode::SUCCESS))
}

/// Fetches all names from a list API, page by page. Each page is passed to `page` as it arrives.
pub(super) async fn list(
    client: &Client,
    api: &str,
    prefix: &str,
    mut page: impl FnMut(Vec<String>) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut argument = prefix.to_owned();
    loop {
        let Names { names, continue_at } = client.get(&path(api, &argument)).await?;
        page(names.unwrap_or_default())?;
        match continue_at.filter(|next| !next.is_empty()) {
            None => return Ok(()),
            // KES treats the token as a prefix: it would return the names with that prefix as if they were all.
            Some(next) if !next.contains(CONTINUE) => bail!(
                "the list is incomplete: there are more names, but this server cannot continue a listing (a KES \
                 defect); list the names prefix by prefix instead"
            ),
            Some(next) if next == argument => bail!("the list does not end: the server returned the same page twice"),
            Some(next) => argument = next,
        }
    }
}

/// Fetches all names that match a pattern from a list API, page by page. The server selects by the literal prefix of the
/// pattern.
pub(super) async fn list_matching(
    client: &Client,
    api: &str,
    pattern: &Glob,
    mut page: impl FnMut(Vec<String>) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    list(client, api, pattern.prefix(), |mut names| {
        names.retain(|name| pattern.matches(name));
        page(names)
    })
    .await
}

/// Fetches all names that match a pattern from a list API.
pub(super) async fn list_all(client: &Client, api: &str, pattern: &Glob) -> anyhow::Result<Vec<String>> {
    let mut all = Vec::new();
    list_matching(client, api, pattern, |names| {
        all.extend(names);
        Ok(())
    })
    .await?;
    Ok(all)
}

/// Fetches all identities that match a pattern.
pub(super) async fn list_identities(client: &Client, pattern: &Glob) -> anyhow::Result<Vec<String>> {
    let response: Identities = client.get(&path("/v1/identity/list/", pattern.prefix())).await?;
    let mut identities = response.identities.unwrap_or_default();
    identities.retain(|identity| pattern.matches(identity));
    Ok(identities)
}

/// Explains an empty list: a pattern without a wildcard is a whole name, not the beginning of one.
#[expect(clippy::print_stderr, reason = "a note belongs on standard error")]
pub(super) fn note_exact_pattern(pattern: &Glob) {
    if pattern.is_exact() {
        eprintln!("note: nothing is named '{pattern}'; use '{pattern}*' for all names that begin with it");
    }
}
