//! A series of backups in one directory: files named `keyway-20260131T120000Z.age` after the time in UTC, of which the
//! newest are kept. No other file is touched.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use time::{Date, Month, OffsetDateTime, PrimitiveDateTime, Time};

use super::file::{FileError, failure};

/// The name of the backup of this time, which is in UTC.
pub fn file_name(time: OffsetDateTime) -> String {
    let (year, month, day) = time.to_calendar_date();
    let (hour, minute, second) = time.to_hms();
    format!("keyway-{year:04}{:02}{day:02}T{hour:02}{minute:02}{second:02}Z.age", u8::from(month))
}

/// The time in the name of a backup; `None` for every other name.
fn time_of(name: &str) -> Option<OffsetDateTime> {
    let (date, clock) = name.strip_prefix("keyway-")?.strip_suffix("Z.age")?.split_once('T')?;
    let number = |text: &str, at: usize| text.get(at..at + 2)?.parse::<u8>().ok();
    let month = Month::try_from(number(date, 4)?).ok()?;
    let date = Date::from_calendar_date(date.get(..4)?.parse().ok()?, month, number(date, 6)?).ok()?;
    let clock = Time::from_hms(number(clock, 0)?, number(clock, 2)?, number(clock, 4)?).ok()?;
    let time = PrimitiveDateTime::new(date, clock).assume_utc();
    (file_name(time) == name).then_some(time)
}

/// The backups in a directory, in no particular order.
fn backups(directory: &Path) -> Result<Vec<(OffsetDateTime, PathBuf)>, FileError> {
    let failed = |error| failure("read", directory, error);
    let mut backups = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if let Some(time) = entry.file_name().to_str().and_then(time_of)
            && entry.file_type().map_err(failed)?.is_file()
        {
            backups.push((time, entry.path()));
        }
    }
    Ok(backups)
}

/// When the newest backup in a directory was created; `None` if there is none.
///
/// # Errors
/// [`FileError`]
pub fn newest(directory: &Path) -> Result<Option<OffsetDateTime>, FileError> {
    Ok(backups(directory)?.into_iter().map(|(time, _)| time).max())
}

/// Deletes the oldest backups, so that `keep` remain: the one of `latest`, which must be durable, and those before it.
/// Backups with a later time are neither deleted nor counted: they are from another clock. Returns the number of
/// deleted files.
///
/// # Errors
/// [`FileError`]; the files that were not reached remain.
pub fn prune(directory: &Path, latest: OffsetDateTime, keep: NonZeroUsize) -> Result<usize, FileError> {
    let latest = latest.replace_nanosecond(0).unwrap_or(latest);
    let mut older = backups(directory)?;
    older.retain(|(time, _)| *time < latest);
    older.sort_unstable_by(|(one, _), (other, _)| other.cmp(one));
    let mut deleted = 0;
    for (_, path) in older.iter().skip(keep.get() - 1) {
        std::fs::remove_file(path).map_err(|error| failure("delete", path, error))?;
        deleted += 1;
    }
    Ok(deleted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_name_exactly_as_written_is_a_backup_of_the_series() {
        let time = time_of("keyway-20260131T120509Z.age").unwrap();
        assert_eq!((time.unix_timestamp(), file_name(time)), (1_769_861_109, "keyway-20260131T120509Z.age".to_owned()));
        for name in [
            "keyway-20260131T120509Z.age.old",
            "keyway-20260131T120509Z.age~",
            "my-keyway-20260131T120509Z.age",
            "keyway-20260131T120509.age",
            "keyway-20260131T1205090Z.age",
            "keyway-2026013T120509Z.age",
            "keyway-20261331T120509Z.age",
            "keyway-20260230T120509Z.age",
            "keyway-20260131T250509Z.age",
            "keyway-+2260131T120509Z.age",
            "keyway-ü260131T120509Z.age",
            "keyway-T.age",
            "keyway-.age",
            "keys.age",
            "",
        ] {
            assert_eq!(time_of(name), None, "{name}");
        }
    }

    #[test]
    fn the_newest_backups_and_all_other_files_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let name = |day: u8| format!("keyway-202601{day:02}T000000Z.age");
        for name in (1..=6).map(name).chain(["keys.age".to_owned(), "keyway-20260101T000000Z.age.old".to_owned()]) {
            std::fs::write(dir.path().join(name), "").unwrap();
        }
        std::fs::create_dir(dir.path().join("keyway-20250101T000000Z.age")).unwrap();
        // The backup of day 6 is from a clock that was ahead.
        let latest = time_of(&name(5)).unwrap();
        assert_eq!(newest(dir.path()).unwrap(), time_of(&name(6)));
        assert_eq!(prune(dir.path(), latest, NonZeroUsize::new(2).unwrap()).unwrap(), 3);
        let mut left: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        let expected = [
            "keys.age",
            "keyway-20250101T000000Z.age",
            "keyway-20260101T000000Z.age.old",
            "keyway-20260104T000000Z.age",
            "keyway-20260105T000000Z.age",
            "keyway-20260106T000000Z.age",
        ];
        assert_eq!(left, expected);
        assert_eq!(prune(dir.path(), latest, NonZeroUsize::MIN).unwrap(), 1);
        assert_eq!(prune(dir.path(), latest, NonZeroUsize::MIN).unwrap(), 0, "the latest is never deleted");
    }

    #[test]
    fn a_fraction_of_a_second_does_not_make_the_latest_backup_an_old_one() {
        let dir = tempfile::tempdir().unwrap();
        let now = time_of("keyway-20260131T120509Z.age").unwrap() + time::Duration::milliseconds(700);
        std::fs::write(dir.path().join(file_name(now)), "").unwrap();
        assert_eq!(prune(dir.path(), now, NonZeroUsize::MIN).unwrap(), 0);
    }
}
