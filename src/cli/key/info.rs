//! `keyway key info NAME...`: the properties of keys, without their secrets.

use std::process::ExitCode;

use serde_json::Value;

use crate::cli::connection::Query;
use crate::cli::names::for_each;
use crate::cli::terminal::output::{Form, second, time};
use crate::client::path;
use crate::client::responses::Description;

/// The arguments of `keyway key info`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  keyway key info my-key",
    mut_arg("json", |json| json.help("Print one JSON object per key"))
)]
pub(super) struct Args {
    /// Names of the keys.
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
    #[command(flatten)]
    query: Query,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let several = args.names.len() > 1;
    args.query.run(async |client, _| {
        for_each(&args.names, async |name| {
            let response: Value = client.get(&path("/v1/key/describe/", name)).await?;
            let mut output = args.query.output();
            if output.form == Form::Json {
                return Ok(output.json(&response)?);
            }
            let key = client.decode::<Description>("key/describe", &response)?;
            output.fields(&[
                ("Name", key.name),
                ("Algorithm", key.algorithm.unwrap_or_default()),
                ("Created", second(&time(&key.created_at), output.form)),
                ("Created by", key.created_by),
            ])?;
            if several {
                output.line("")?;
            }
            Ok(())
        })
        .await
    })
}
