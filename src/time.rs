//! Civil dates from [`SystemTime`] and back, in UTC.
//!
//! The server shows all times in UTC. RFC 3659 §2.3 requires it for `MDTM`, and listings and the
//! log use the same clock. The conversion between days and dates is the usual one over eras of 400
//! years, beginning on 1 March (H. Hinnant, "chrono-compatible low-level date algorithms",
//! `civil_from_days`).

use std::time::{Duration, SystemTime};

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const DAY: i64 = 86_400;
/// One second, in nanoseconds.
const SECOND: i128 = 1_000_000_000;
/// 0000-01-01 and 9999-12-31T23:59:59, in seconds since 1970: the range of a year with four digits.
const FIRST: i64 = -62_167_219_200;
const LAST: i64 = 253_402_300_799;
/// Half a mean Gregorian year. For older files `ls -l` shows the year in place of the time.
const HALF_A_YEAR: Duration = Duration::from_secs(31_556_952 / 2);

/// A date and time of day in UTC, years 0 to 9999.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Civil {
    year: i64,
    month: i64,
    day: i64,
    hour: i64,
    minute: i64,
    second: i64,
    millisecond: i64,
}

impl From<SystemTime> for Civil {
    /// A time outside the years 0 to 9999 becomes the nearest time inside them.
    fn from(time: SystemTime) -> Civil {
        let signed = |distance: Duration| i128::try_from(distance.as_nanos()).unwrap_or(i128::MAX);
        let nanos = match time.duration_since(SystemTime::UNIX_EPOCH) {
            Ok(after) => signed(after),
            Err(before) => -signed(before.duration()),
        };
        // Before 1970 the second that contains the moment is the lower one.
        let seconds = i64::try_from(nanos.div_euclid(SECOND)).unwrap_or(LAST).clamp(FIRST, LAST);
        let millisecond = i64::try_from(nanos.rem_euclid(SECOND) / 1_000_000).unwrap_or(0);
        let (days, rest) = (seconds.div_euclid(DAY), seconds.rem_euclid(DAY));
        let (year, month, day) = date_of(days);
        let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
        Civil { year, month, day, hour, minute, second, millisecond }
    }
}

fn date_of(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468; // days since 0000-03-01
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

fn days_of(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let year_of_era = year.rem_euclid(400);
    let from_march = if month > 2 { month - 3 } else { month + 9 };
    let day_of_year = (153 * from_march + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    year.div_euclid(400) * 146_097 + day_of_era - 719_468
}

impl Civil {
    /// `form` with digits in place of its letters `Y`, `M`, `D`, `h`, `m`, `s` and, for
    /// milliseconds, `i`. A listing has one date per line, and `format!` takes ten times as long.
    fn written<const N: usize>(&self, mut form: [u8; N]) -> [u8; N] {
        let mut left = *self;
        for byte in form.iter_mut().rev() {
            let field = match *byte {
                b'Y' => &mut left.year,
                b'M' => &mut left.month,
                b'D' => &mut left.day,
                b'h' => &mut left.hour,
                b'm' => &mut left.minute,
                b's' => &mut left.second,
                b'i' => &mut left.millisecond,
                _ => continue,
            };
            *byte = b'0'.wrapping_add(u8::try_from(*field % 10).unwrap_or_default());
            *field /= 10;
        }
        form
    }
}

/// `2026-11-23T20:19:00.123Z`, the timestamp of a log line (RFC 3339).
pub fn log_stamp(time: SystemTime) -> [u8; 24] {
    Civil::from(time).written(*b"YYYY-MM-DDThh:mm:ss.iiiZ")
}

/// `2026-11-23 20:19:00`, for a person.
pub fn readable(time: SystemTime) -> [u8; 19] {
    Civil::from(time).written(*b"YYYY-MM-DD hh:mm:ss")
}

/// `20261123201900`, the `time-val` of RFC 3659 §2.3 without a fraction.
pub fn time_val(time: SystemTime) -> [u8; 14] {
    Civil::from(time).written(*b"YYYYMMDDhhmmss")
}

/// Parses a `time-val` of 14 digits. A fraction of a second is allowed and dropped.
pub fn parse_time_val(text: &[u8]) -> Option<SystemTime> {
    let text = str::from_utf8(text).ok()?;
    let (digits, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let is_number =
        |digits: &str| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    if digits.len() != 14 || !is_number(digits) || !is_number(fraction) {
        return None;
    }
    let number: i64 = digits.parse().ok()?;
    let (date, time) = (number / 1_000_000, number % 1_000_000);
    let (year, month, day) = (date / 10_000, date / 100 % 100, date % 100);
    let (hour, minute, second) = (time / 10_000, time / 100 % 100, time % 100);
    if !(1..=12).contains(&month) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let days = days_of(year, month, day);
    if date_of(days) != (year, month, day) {
        return None; // a day such as the 30th of February
    }
    let seconds = days * DAY + hour * 3600 + minute * 60 + second;
    let distance = Duration::from_secs(seconds.unsigned_abs());
    if seconds < 0 {
        SystemTime::UNIX_EPOCH.checked_sub(distance)
    } else {
        SystemTime::UNIX_EPOCH.checked_add(distance)
    }
}

/// `Nov 23 20:19`, or `Nov 23  2026` for a time in the future or more than half a year before
/// `now`: the twelve columns of `ls -l` that FTP clients parse.
pub fn ls_date(time: SystemTime, now: SystemTime) -> [u8; 12] {
    let c = Civil::from(time);
    let recent = now.duration_since(time).is_ok_and(|age| age < HALF_A_YEAR);
    let mut text = c.written(match (recent, c.day < 10) {
        (true, false) => *b"??? DD hh:mm",
        (true, true) => *b"???  D hh:mm",
        (false, false) => *b"??? DD  YYYY",
        (false, true) => *b"???  D  YYYY",
    });
    let name = usize::try_from(c.month - 1).ok().and_then(|index| MONTHS.get(index));
    text.iter_mut().zip(name.unwrap_or(&"???").bytes()).for_each(|(to, from)| *to = from);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64, nanos: u32) -> SystemTime {
        let whole = Duration::from_secs(seconds.unsigned_abs());
        let base = if seconds < 0 {
            SystemTime::UNIX_EPOCH - whole
        } else {
            SystemTime::UNIX_EPOCH + whole
        };
        base + Duration::from_nanos(nanos.into())
    }

    #[test]
    fn dates_of_known_moments_are_right() {
        // Checked with `date -u -d @N`.
        for (seconds, text) in [
            (0, "19700101000000"),
            (951_782_400, "20000229000000"),
            (1_709_251_199, "20240229235959"),
            (1_795_465_140, "20261123201900"),
            (-1, "19691231235959"),
            (-2_203_891_200, "19000301000000"),
            (LAST, "99991231235959"),
        ] {
            assert_eq!(&time_val(at(seconds, 0))[..], text.as_bytes(), "{seconds}");
        }
    }

    #[test]
    fn the_log_stamp_has_milliseconds_also_before_1970() {
        assert_eq!(&log_stamp(at(1_795_465_140, 123_999_999)), b"2026-11-23T20:19:00.123Z");
        assert_eq!(&log_stamp(at(-1, 500_000_000)), b"1969-12-31T23:59:59.500Z");
    }

    #[test]
    fn times_beyond_four_digits_of_a_year_become_the_first_or_last() {
        assert_eq!(&time_val(at(LAST + 1, 0)), b"99991231235959");
        assert_eq!(&time_val(at(i64::MAX, 0)), b"99991231235959");
        assert_eq!(&time_val(at(i64::MIN + 1, 0)), b"00000101000000");
    }

    #[test]
    fn a_time_val_is_read_back_and_nothing_else_is() {
        for seconds in
            [0, 951_782_400, 1_709_251_199, 1_795_465_140, -1, -2_203_891_200, LAST, FIRST]
        {
            let time = at(seconds, 0);
            assert_eq!(parse_time_val(&time_val(time)), Some(time));
        }
        assert_eq!(parse_time_val(b"20261123201900.5"), Some(at(1_795_465_140, 0)));
        for bad in [
            "",
            "202611232019",
            "2026112320190",
            "20261323201900",
            "20260230000000",
            "20261123241900",
            "20261123201900.",
            "+0261123201900",
        ] {
            assert_eq!(parse_time_val(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn ls_shows_the_year_for_old_and_future_times() {
        let now = at(1_795_465_140, 0);
        assert_eq!(&ls_date(at(1_795_465_140 - 60, 0), now), b"Nov 23 20:18");
        assert_eq!(&ls_date(at(1_795_465_140 - 200 * DAY, 0), now), b"May  7  2026");
        assert_eq!(&ls_date(at(1_795_465_140 + 60, 0), now), b"Nov 23  2026");
    }
}
