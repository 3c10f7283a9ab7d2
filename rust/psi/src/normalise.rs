//! Normalisation of text keys: both sides of a join declare the same steps, so that the same subject is
//! written the same way on both.

use std::borrow::Cow;

use unicode_normalization::{UnicodeNormalization, is_nfkc};

use crate::Refusal;

/// One normalisation step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Strip Unicode white space at both ends.
    Trim,
    /// Unicode lower case, without locale.
    Lower,
    /// Unicode upper case, without locale.
    Upper,
    /// NFKC: full-width forms become ordinary ones.
    Width,
    /// NFKC, then keep the ASCII digits; a value without any is refused.
    Digits,
    /// Mainland mobile number: separators and country code stripped, 11 digits starting with 1.
    PhoneCn,
    /// Resident identity number of 18 characters (GB 11643-1999); one of 15 digits is extended.
    IdCn,
}

impl Step {
    /// Reads a step by its name in a plan.
    pub fn parse(name: &str) -> Result<Self, Refusal> {
        Ok(match name {
            "trim" => Self::Trim,
            "lower" => Self::Lower,
            "upper" => Self::Upper,
            "width" => Self::Width,
            "digits" => Self::Digits,
            "phone_cn" => Self::PhoneCn,
            "id_cn" => Self::IdCn,
            _ => {
                return Err(Refusal::new(
                    "E_FORMAT",
                    format!("unknown normalisation step {name:?}"),
                ));
            }
        })
    }

    /// True if this step surely leaves an ASCII value as it is; looked at before anything is allocated.
    pub(crate) fn keeps(self, value: &[u8]) -> bool {
        match self {
            Self::Trim => {
                let space = |end: Option<&u8>| end.is_some_and(|b| is_space(*b));
                !space(value.first()) && !space(value.last())
            }
            Self::Lower => !value.iter().any(u8::is_ascii_uppercase),
            Self::Upper => !value.iter().any(u8::is_ascii_lowercase),
            Self::Width => true,
            Self::Digits => !value.is_empty() && value.iter().all(u8::is_ascii_digit),
            Self::PhoneCn => {
                value.len() == 11 && value[0] == b'1' && value.iter().all(u8::is_ascii_digit)
            }
            Self::IdCn => {
                value.len() == 18
                    && value[..17].iter().all(u8::is_ascii_digit)
                    && value[17] == id_check(&value[..17])
            }
        }
    }

    /// Applies this step; `None` if the value is not one that the step can take.
    pub fn apply<'a>(self, value: Cow<'a, str>) -> Option<Cow<'a, str>> {
        Some(match self {
            Self::Trim => match value {
                Cow::Borrowed(s) => Cow::Borrowed(s.trim()),
                Cow::Owned(s) => Cow::Owned(s.trim().to_owned()),
            },
            Self::Lower => Cow::Owned(value.to_lowercase()),
            Self::Upper => Cow::Owned(value.to_uppercase()),
            Self::Width => width(value),
            Self::Digits => {
                let digits: String = width(value).chars().filter(char::is_ascii_digit).collect();
                if digits.is_empty() {
                    return None;
                }
                Cow::Owned(digits)
            }
            Self::PhoneCn => Cow::Owned(phone_cn(&value)?),
            Self::IdCn => Cow::Owned(id_cn(&value)?),
        })
    }
}

/// Applies `steps` in order; `None` as soon as one of them cannot take the value.
pub fn normalise<'a>(value: &'a str, steps: &[Step]) -> Option<Cow<'a, str>> {
    steps
        .iter()
        .try_fold(Cow::Borrowed(value), |value, step| step.apply(value))
}

/// White space of ASCII as Unicode has it, which has the vertical tab too.
fn is_space(byte: u8) -> bool {
    char::from(byte).is_whitespace()
}

fn width(value: Cow<'_, str>) -> Cow<'_, str> {
    if value.is_ascii() || is_nfkc(&value) {
        value
    } else {
        Cow::Owned(value.nfkc().collect())
    }
}

fn is_separator(c: char) -> bool {
    // NFKC maps non-breaking and ideographic spaces to ' ' and leaves most dashes apart.
    c.is_whitespace()
        || matches!(
            c,
            '-' | '.' | '(' | ')' | '/' | '\u{2010}'..='\u{2015}' | '\u{2212}'
        )
}

fn phone_cn(value: &str) -> Option<String> {
    let plain: String = width(Cow::Borrowed(value))
        .chars()
        .filter(|c| !is_separator(*c))
        .collect();
    let number = match plain
        .strip_prefix("+86")
        .or_else(|| plain.strip_prefix("0086"))
    {
        Some(rest) => rest,
        None if plain.len() == 13 => plain.strip_prefix("86")?,
        None => &plain,
    };
    let good =
        number.len() == 11 && number.starts_with('1') && number.bytes().all(|b| b.is_ascii_digit());
    good.then(|| number.to_owned())
}

/// The check character of GB 11643-1999 (ISO 7064:1983 MOD 11-2) over 17 digits.
fn id_check(digits: &[u8]) -> u8 {
    const WEIGHTS: [u32; 17] = [7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2];
    let sum: u32 = digits
        .iter()
        .zip(WEIGHTS)
        .map(|(d, w)| u32::from(d - b'0') * w)
        .sum();
    b"10X98765432"[(sum % 11) as usize]
}

fn id_cn(value: &str) -> Option<String> {
    let nfkc = width(Cow::Borrowed(value));
    let mut id = nfkc.trim().to_uppercase();
    let digits = match id.len() {
        15 => 15,
        18 => 17,
        _ => return None,
    };
    if !id.as_bytes()[..digits].iter().all(u8::is_ascii_digit) {
        return None;
    }
    if digits == 15 {
        // Numbers of the first generation leave out the century, which was the twentieth.
        id.insert_str(6, "19");
        id.push(id_check(id.as_bytes()) as char);
        return Some(id);
    }
    (id.as_bytes()[17] == id_check(&id.as_bytes()[..17])).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn run(value: &str, steps: &[&str]) -> Option<String> {
        let steps: Vec<_> = steps.iter().map(|s| Step::parse(s).unwrap()).collect();
        normalise(value, &steps).map(Cow::into_owned)
    }

    #[test]
    fn text_steps() {
        assert_eq!(run(" \u{3000}Ab ", &["trim"]).unwrap(), "Ab");
        assert_eq!(run("ＡＢ１２", &["width", "lower"]).unwrap(), "ab12");
        assert_eq!(run("straße", &["upper"]).unwrap(), "STRASSE");
        assert_eq!(run("No. １２-3", &["digits"]).unwrap(), "123");
        assert_eq!(run("none", &["digits"]), None);
        assert!(Step::parse("reverse").is_err());
    }

    #[test]
    fn plain_values_are_kept() {
        let keeps = |name: &str, value: &str| Step::parse(name).unwrap().keeps(value.as_bytes());
        assert!(keeps("trim", "") && keeps("trim", "a b") && !keeps("trim", "a\x0b"));
        assert!(
            keeps("lower", "a1")
                && !keeps("lower", "aB")
                && keeps("upper", "A1")
                && !keeps("upper", "Ab")
        );
        assert!(keeps("digits", "0") && !keeps("digits", "") && !keeps("digits", "1-2"));
        assert!(keeps("phone_cn", "13800138000") && !keeps("phone_cn", "8613800138000"));
        assert!(keeps("id_cn", "11010519491231002X") && !keeps("id_cn", "11010519491231002x"));
        assert!(keeps("width", "x"));
    }

    #[test]
    fn phone_numbers() {
        for good in [
            "13800138000",
            "+86 138-0013-8000",
            "0086(138)00138000",
            "8613800138000",
            "１３８００１３８０００",
        ] {
            assert_eq!(run(good, &["phone_cn"]).unwrap(), "13800138000", "{good}");
        }
        for bad in [
            "",
            "1380013800",
            "23800138000",
            "+8513800138000",
            "1380013800a",
            "86138001380",
            "+86",
        ] {
            assert_eq!(run(bad, &["phone_cn"]), None, "{bad}");
        }
    }

    #[test]
    fn identity_numbers() {
        assert_eq!(
            run("11010519491231002x", &["id_cn"]).unwrap(),
            "11010519491231002X"
        );
        assert_eq!(
            run(" 110105491231002 ", &["id_cn"]).unwrap(),
            "11010519491231002X"
        );
        for bad in [
            "110105194912310021",
            "11010519491231002",
            "1101051949123A002X",
            "",
            "身份证号码身份证号码身份证号码身份",
        ] {
            assert_eq!(run(bad, &["id_cn"]), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn what_a_step_keeps_it_gives_back(
            value in "[ \\t\\x0b0-9A-Za-z.+-]{0,4}|1[0-9]{10}|[0-9]{18}|[0-9]{17}[0-9Xx]"
        ) {
            for name in ["trim", "lower", "upper", "width", "digits", "phone_cn", "id_cn"] {
                if Step::parse(name).unwrap().keeps(value.as_bytes()) {
                    prop_assert_eq!(run(&value, &[name]), Some(value.clone()), "{}", name);
                }
            }
        }

        #[test]
        fn every_step_takes_any_text_and_a_second_time_changes_nothing(value in "\\PC*") {
            for name in ["trim", "width", "digits", "phone_cn", "id_cn"] {
                if let Some(once) = run(&value, &[name]) {
                    prop_assert_eq!(run(&once, &[name]), Some(once));
                }
            }
            let _ = (run(&value, &["lower"]), run(&value, &["upper"]));
        }
    }
}
