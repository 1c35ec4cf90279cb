//! Backups at an interval, until a signal stops the command.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::anyhow;
use time::OffsetDateTime;
use tokio::time::Instant;

use super::Job;
use crate::cli::stores::{Channel, print};
use crate::cli::{exit, print_error};
use crate::config::duration::GoDuration;
use crate::transfer::Workers;
use crate::transfer::backup::file::Destination;
use crate::transfer::backup::series;

/// Creates a backup at every interval. A failed one is reported; it neither ends the command nor deletes old backups.
pub(super) async fn run(job: &Job<'_>, every: Duration, workers: &Workers) -> anyhow::Result<ExitCode> {
    let wait = first_wait(&job.args.out, every)?;
    if !wait.is_zero() {
        let seconds = GoDuration(Duration::from_secs(wait.as_secs()));
        workers.progress.say(format!("the next backup is due in {seconds}\n").as_bytes())?;
    }
    let mut due = Instant::now() + wait;
    loop {
        tokio::select! {
            biased;
            () = workers.stop.cancelled() => return Ok(ExitCode::SUCCESS),
            () = tokio::time::sleep_until(due) => {}
        }
        // First the time for the name: so the names of two backups differ by the whole interval.
        let (time, start) = (OffsetDateTime::now_utc(), Instant::now());
        due = start + every;
        let is_complete = run_one(job, time, start, workers).await;
        if workers.stop.is_cancelled() && !is_complete {
            return Ok(ExitCode::from(exit::INTERRUPTED));
        }
    }
}

/// Creates one backup, and deletes old ones if it is complete. Returns whether it is.
async fn run_one(job: &Job<'_>, time: OffsetDateTime, start: Instant, workers: &Workers) -> bool {
    let path = job.args.out.join(series::file_name(time));
    let (heading, report) = match job.run(&Destination::File { path, replaces: false }, workers).await {
        Ok(done) => done,
        Err(error) => {
            print_error(&error);
            return false;
        }
    };
    if let Err(error) = print(&heading, start.elapsed(), &report, &job.args.bulk, Channel::Stdout) {
        print_error(&error);
    }
    if let Some(problem) = report.problem() {
        print_error(&anyhow!(problem));
        return false;
    }
    if let Some(keep) = job.args.keep
        && let Err(error) = series::prune(&job.args.out, time, keep)
    {
        print_error(&anyhow!(error).context("the backup is complete, but old backups remain"));
    }
    true
}

/// The time until the first backup is due: an interval after the newest one, so that a service that is restarted often
/// does not replace the history of weeks by backups of the same hour.
fn first_wait(directory: &Path, every: Duration) -> anyhow::Result<Duration> {
    let Some(newest) = series::newest(directory)? else { return Ok(Duration::ZERO) };
    // A backup from the future says nothing about the next one.
    let age = Duration::try_from(OffsetDateTime::now_utc() - newest).unwrap_or(Duration::MAX);
    Ok(every.saturating_sub(age))
}
