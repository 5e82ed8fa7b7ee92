//! Moments in UTC with a resolution of a second, as proofs of possession pack them (`spec/02` §8.5).

use std::fmt;

use crate::encoding::DecodeError;

const SECS_PER_DAY: u64 = 86_400;

/// Year that a packed year of 0 stands for.
const FIRST_YEAR: u64 = 2000;

/// First second that can be packed, 2000-01-01T00:00:00Z, in seconds since 1970.
const FIRST: u64 = 946_684_800;

/// Last second whose text has a year of four digits, 9999-12-31T23:59:59Z.
const LAST: u64 = 253_402_300_799;

/// A second between the years 2000 and 9999, in UTC.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UtcTime {
    unix_secs: u64,
}

impl UtcTime {
    /// The second that lies this many seconds after 1970; moved to the nearest one that can be packed.
    pub fn from_unix_secs(secs: u64) -> Self {
        UtcTime { unix_secs: secs.clamp(FIRST, LAST) }
    }

    /// Seconds since 1970.
    pub fn unix_secs(self) -> u64 {
        self.unix_secs
    }

    /// `YYYYMMDDThhmmssZ`.
    pub fn datetime(self) -> String {
        let second_of_day = self.unix_secs % SECS_PER_DAY;
        let (hour, minute, second) = (second_of_day / 3600, second_of_day / 60 % 60, second_of_day % 60);
        format!("{}T{hour:02}{minute:02}{second:02}Z", self.date())
    }

    /// `YYYYMMDD`.
    pub fn date(self) -> String {
        let (year, month, day) = civil_from_days(self.unix_secs / SECS_PER_DAY);
        format!("{year:04}{month:02}{day:02}")
    }

    /// `second | minute<<6 | hour<<12 | day<<17 | month<<22 | (year−2000)<<26`, positive beyond 2031 too.
    pub fn to_packed(self) -> i64 {
        let (year, month, day) = civil_from_days(self.unix_secs / SECS_PER_DAY);
        let second_of_day = self.unix_secs % SECS_PER_DAY;
        let (hour, minute, second) = (second_of_day / 3600, second_of_day / 60 % 60, second_of_day % 60);
        (second | minute << 6 | hour << 12 | day << 17 | month << 22 | (year - FIRST_YEAR) << 26) as i64
    }

    /// Reads a packed time. The reference packs into 32 bits, so that its values turn negative in 2032; those are taken
    /// as what was meant. Fields that are no date or time of day are refused.
    pub fn from_packed(packed: i64) -> Result<Self, DecodeError> {
        let invalid = || DecodeError::invalid("packed time", "no date or time of day");
        let packed = if packed < 0 { packed.checked_add(1 << 32).ok_or_else(invalid)? } else { packed };
        let packed = u64::try_from(packed).map_err(|_| invalid())?;
        let (second, minute, hour) = (packed & 63, packed >> 6 & 63, packed >> 12 & 31);
        let (day, month, year) = (packed >> 17 & 31, packed >> 22 & 15, (packed >> 26).saturating_add(FIRST_YEAR));
        if second > 59 || minute > 59 || hour > 23 || year > 9999 || !(1..=12).contains(&month) || day == 0 {
            return Err(invalid());
        }
        let days = days_from_civil(year, month, day);
        if civil_from_days(days) != (year, month, day) {
            return Err(invalid());
        }
        Ok(UtcTime { unix_secs: days * SECS_PER_DAY + hour * 3600 + minute * 60 + second })
    }
}

impl fmt::Debug for UtcTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.datetime())
    }
}

/// Days before the month in a year that starts in March, so that the leap day is its last.
fn days_before_month(months_since_march: u64) -> u64 {
    (153 * months_since_march + 2) / 5
}

/// Days from 1970-01-01 to a date of the Gregorian calendar.
fn days_from_civil(year: u64, month: u64, day: u64) -> u64 {
    let year = if month <= 2 { year - 1 } else { year };
    let day_of_year = days_before_month((month + 9) % 12) + day - 1;
    // 719468 days lie between 0000-03-01 and 1970-01-01.
    year * 365 + year / 4 - year / 100 + year / 400 + day_of_year - 719_468
}

/// Year, month and day of a number of days after 1970-01-01.
fn civil_from_days(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let era = days / 146_097;
    let day_of_era = days % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let months_since_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - days_before_month(months_since_march) + 1;
    let month = if months_since_march < 10 { months_since_march + 3 } else { months_since_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_day_until_2400_has_one_date() {
        let mut previous = civil_from_days(FIRST / SECS_PER_DAY - 1);
        assert_eq!(previous, (1999, 12, 31));
        for days in FIRST / SECS_PER_DAY..=days_from_civil(2400, 12, 31) {
            let date = civil_from_days(days);
            assert!(date > previous);
            assert_eq!(days_from_civil(date.0, date.1, date.2), days);
            let noon = UtcTime::from_unix_secs(days * SECS_PER_DAY + 43_200);
            assert_eq!(UtcTime::from_packed(noon.to_packed()), Ok(noon));
            previous = date;
        }
        assert_eq!(previous, (2400, 12, 31));
        assert_eq!(UtcTime::from_unix_secs(u64::MAX).datetime(), "99991231T235959Z");
    }

    #[test]
    fn fields_that_are_no_date_are_refused() {
        let packed = |year: i64, month: i64, day: i64| day << 17 | month << 22 | (year - 2000) << 26;
        assert!(UtcTime::from_packed(packed(2024, 2, 29)).is_ok());
        for bad in
            [packed(2023, 2, 29), packed(2024, 13, 1), packed(2024, 0, 1), packed(2024, 1, 0), -1, i64::MIN, i64::MAX]
        {
            assert!(UtcTime::from_packed(bad).is_err(), "{bad}");
        }
    }
}
