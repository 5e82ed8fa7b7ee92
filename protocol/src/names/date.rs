//! Calendar dates without a zone, as claims carry them (`spec/06` §1.2).

use std::fmt;
use std::str::FromStr;

/// The largest year, and with its sign changed the smallest.
pub const MAX_YEAR: i32 = 999_999_999;

const DAYS_PER_400_YEARS: i64 = 146_097;
const MILLIS_PER_DAY: i64 = 24 * 60 * 60 * 1000;

/// A text or a calculation that gives no date.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a date of the form YYYY-MM-DD")]
pub struct DateError;

/// A day of the Gregorian calendar, years −999999999 to 999999999.
///
/// As text it is ISO 8601: four digits of a year from 0 to 9999, a sign before the digits of others. A text has exactly
/// one date and a date exactly one text, since claims are signed as text.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Date {
    year: i32,
    month: u8,
    day: u8,
}

impl Date {
    /// Stands for "never": the expiry of a claim that handed its name over to the next key.
    pub const MAX: Date = Date { year: MAX_YEAR, month: 12, day: 31 };

    /// A date; the error says that the calendar has none of these numbers.
    pub fn new(year: i32, month: u8, day: u8) -> Result<Self, DateError> {
        let in_range = (-MAX_YEAR..=MAX_YEAR).contains(&year) && (1..=12).contains(&month);
        if !in_range || day == 0 || day > days_in_month(year, month) {
            return Err(DateError);
        }
        Ok(Date { year, month, day })
    }

    /// The UTC date of a time in milliseconds since 1970.
    pub fn from_unix_millis(millis: i64) -> Self {
        let days = millis.div_euclid(MILLIS_PER_DAY);
        Date::from_epoch_day(days).expect("64 bits of milliseconds reach less than 300 million years")
    }

    /// The date that is `days` after 1970-01-01.
    pub fn from_epoch_day(days: i64) -> Result<Self, DateError> {
        const LIMIT: i64 = (MAX_YEAR as i64 + 1) * 366;
        if !(-LIMIT..=LIMIT).contains(&days) {
            return Err(DateError);
        }
        // Years are counted from March, so that the leap day is the last of its year; day 0 is 0000-03-01.
        let days = days + 719_468;
        let era = days.div_euclid(DAYS_PER_400_YEARS);
        let day_of_era = days.rem_euclid(DAYS_PER_400_YEARS);
        let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
        let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
        let year = era * 400 + year_of_era + i64::from(month <= 2);
        Date::new(i32::try_from(year).map_err(|_| DateError)?, month as u8, day as u8)
    }

    /// Days since 1970-01-01.
    pub fn epoch_day(self) -> i64 {
        let (month, day) = (i64::from(self.month), i64::from(self.day));
        let year = i64::from(self.year) - i64::from(month <= 2);
        let era = year.div_euclid(400);
        let year_of_era = year.rem_euclid(400);
        let month_from_march = (month + 9) % 12;
        let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
        let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
        era * DAYS_PER_400_YEARS + day_of_era - 719_468
    }

    /// The date that is `days` later, or earlier if negative.
    ///
    /// # Errors
    /// Beyond the range of years.
    pub fn plus_days(self, days: i64) -> Result<Self, DateError> {
        Date::from_epoch_day(self.epoch_day().checked_add(days).ok_or(DateError)?)
    }

    /// The same day `months` later, or earlier if negative; the last day of the month where it has no such day.
    ///
    /// # Errors
    /// Beyond the range of years.
    pub fn plus_months(self, months: i32) -> Result<Self, DateError> {
        let total = i64::from(self.year) * 12 + i64::from(self.month) - 1 + i64::from(months);
        let year = i32::try_from(total.div_euclid(12)).map_err(|_| DateError)?;
        let month = total.rem_euclid(12) as u8 + 1;
        Date::new(year, month, self.day.min(days_in_month(year, month)))
    }

    /// The year.
    pub fn year(self) -> i32 {
        self.year
    }

    /// The month, 1 to 12.
    pub fn month(self) -> u8 {
        self.month
    }

    /// The day of the month, 1 to 31.
    pub fn day(self) -> u8 {
        self.day
    }
}

fn days_in_month(year: i32, month: u8) -> u8 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 31,
    }
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = match self.year {
            year if year < 0 => "-",
            year if year > 9999 => "+",
            _ => "",
        };
        write!(f, "{sign}{:04}-{:02}-{:02}", self.year.unsigned_abs(), self.month, self.day)
    }
}

impl fmt::Debug for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Date {
    type Err = DateError;

    fn from_str(text: &str) -> Result<Self, DateError> {
        let (rest, day) = text.rsplit_once('-').ok_or(DateError)?;
        let (year, month) = rest.rsplit_once('-').ok_or(DateError)?;
        let number = |digits: &str| digits.parse::<u8>().map_err(|_| DateError);
        let date = Date::new(year.parse().map_err(|_| DateError)?, number(month)?, number(day)?)?;
        // Signs, missing zeros and superfluous ones: anything that this date is not written with.
        if date.to_string() != text {
            return Err(DateError);
        }
        Ok(date)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn date(text: &str) -> Date {
        text.parse().unwrap()
    }

    #[test]
    fn known_days() {
        for (text, days) in [
            ("1970-01-01", 0),
            ("1969-12-31", -1),
            ("2000-02-29", 11_016),
            ("2024-02-29", 19_782),
            ("2026-08-22", 20_687),
            ("0000-03-01", -719_468),
            ("+999999999-12-31", 365_241_780_471),
            ("-999999999-01-01", -365_243_219_162),
        ] {
            assert_eq!(date(text).epoch_day(), days, "{text}");
            assert_eq!(Date::from_epoch_day(days).unwrap(), date(text));
        }
        assert_eq!(date("+999999999-12-31"), Date::MAX);
        assert!(Date::MAX.plus_days(1).is_err());
        assert!(Date::MAX.plus_months(1).is_err());
    }

    #[test]
    fn months_end_on_their_last_day() {
        assert_eq!(date("2026-12-31").plus_months(2).unwrap(), date("2027-02-28"));
        assert_eq!(date("2023-12-31").plus_months(2).unwrap(), date("2024-02-29"));
        assert_eq!(date("2026-01-15").plus_months(-1).unwrap(), date("2025-12-15"));
    }

    #[test]
    fn only_the_one_text_is_read() {
        for text in [
            "",
            "2026",
            "2026-1-01",
            "+2026-01-01",
            "02026-01-01",
            "-0000-01-01",
            "2026-02-29",
            "2026-13-01",
            "2026-00-01",
            "2026-01-00",
            "10000-01-01",
            "+1000000000-01-01",
            "2026-01-+1",
            " 2026-01-01",
            "2026-01-01\n",
            "--01-01",
            "99-01-01",
        ] {
            assert_eq!(text.parse::<Date>(), Err(DateError), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn texts_and_days_come_back(days in -365_243_219_162i64..=365_241_780_471) {
            let date = Date::from_epoch_day(days).unwrap();
            prop_assert_eq!(date.epoch_day(), days);
            prop_assert_eq!(date.to_string().parse::<Date>().unwrap(), date);
            if let Ok(next) = date.plus_days(1) {
                prop_assert!(next > date);
            }
        }

        #[test]
        fn any_time_has_a_date(millis: i64) {
            let day = Date::from_unix_millis(millis).epoch_day();
            prop_assert_eq!(day, millis.div_euclid(86_400_000));
        }
    }
}
