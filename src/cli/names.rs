//! Commands on several names, and lists of names past any page.

use std::future::Future;
use std::process::ExitCode;

use anyhow::bail;

use super::{exit, print_error};
use crate::client::answers::Names;
use crate::client::{Client, ClientError, path};

/// What no name may hold stands in every token that continues a listing here.
const CONTINUE: char = '~';

/// Does something for each name. A failure is told, and the next name follows, unless no server is there. The exit code
/// is that of the first failure.
pub(super) async fn for_each<'a, F>(names: &'a [String], mut act: impl FnMut(&'a str) -> F) -> anyhow::Result<ExitCode>
where
    F: Future<Output = anyhow::Result<()>>,
{
    let mut code = None;
    for name in names {
        let Err(error) = act(name).await else { continue };
        // What the server says of one name says nothing of the next.
        let goes_on = matches!(error.downcast_ref(), Some(ClientError::Api(_)));
        if !goes_on && code.is_none() {
            return Err(error);
        }
        print_error(&error);
        code.get_or_insert(exit::code(&error));
        if !goes_on {
            break;
        }
    }
    Ok(code.unwrap_or(ExitCode::SUCCESS))
}

/// All names that a list API has, page after page. Each page is given to `page` as it comes.
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
            // KES takes the token for a prefix and would answer with the names that begin so, as if they were all.
            Some(next) if !next.contains(CONTINUE) => bail!(
                "the list is not complete: there are more names, but this server cannot continue a listing (a defect \
                 of KES); ask for several prefixes"
            ),
            Some(next) if next == argument => bail!("the list does not end: the server gives the same page again"),
            Some(next) => argument = next,
        }
    }
}
