//! GetRandomPassword.

use super::invalid_parameter;
use crate::access;
use crate::http::{ApiError, Context, Members};
use crate::lambda::validation::Violations;
use crate::state::ApiState;
use rand::seq::SliceRandom as _;
use serde_json::{Value, json};

const LOWER: &str = "abcdefghijklmnopqrstuvwxyz";
const UPPER: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";
const DIGITS: &str = "0123456789";
const PUNCTUATION: &str = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~";
/// Characters without `PasswordLength`.
const LENGTH: i64 = 32;

/// GetRandomPassword.
pub async fn get(state: &ApiState, context: &Context, members: &Members<'_>) -> Result<Value, ApiError> {
    access::authorize(state, context, "secretsmanager", "GetRandomPassword", "*").await?;
    let mut violations = Violations::default();
    let length = members.integer("PasswordLength")?.unwrap_or(LENGTH);
    violations.range(length, "passwordLength", 1, 4_096);
    let excluded = members.string("ExcludeCharacters")?.unwrap_or_default();
    violations.length(&excluded, "excludeCharacters", 4_096);
    violations.finish()?;
    let flag = |name: &str| Ok::<bool, ApiError>(members.boolean(name)?.unwrap_or(false));
    let mut kinds = Vec::new();
    for (left_out, characters) in [
        (flag("ExcludeLowercase")?, LOWER),
        (flag("ExcludeUppercase")?, UPPER),
        (flag("ExcludeNumbers")?, DIGITS),
        (flag("ExcludePunctuation")?, PUNCTUATION),
        (!flag("IncludeSpace")?, " "),
    ] {
        let left: Vec<char> = characters.chars().filter(|character| !excluded.contains(*character)).collect();
        if !left_out && !left.is_empty() {
            kinds.push(left);
        }
    }
    let each = members.boolean("RequireEachIncludedType")?.unwrap_or(true);
    let password = draw(&kinds, usize::try_from(length).unwrap_or_default(), each)?;
    Ok(json!({"RandomPassword": password}))
}

/// So many characters of these kinds; with `each`, at least one of each. The generator is the operating system's, through
/// a cipher.
fn draw(kinds: &[Vec<char>], length: usize, each: bool) -> Result<String, ApiError> {
    let all: Vec<char> = kinds.concat();
    if all.is_empty() {
        return Err(invalid_parameter("The password can't be generated: every character is excluded."));
    }
    if each && length < kinds.len() {
        return Err(invalid_parameter("Password length is too short based on the required types."));
    }
    let one_of = |characters: &[char]| characters[rand::random_range(0..characters.len())];
    let required = if each { kinds } else { &[] };
    let mut password: Vec<char> = required.iter().map(|kind| one_of(kind)).collect();
    while password.len() < length {
        password.push(one_of(&all));
    }
    password.shuffle(&mut rand::rng());
    Ok(password.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_is_there_and_nothing_else() {
        let kinds = [LOWER, DIGITS].map(|kind| kind.chars().collect::<Vec<_>>());
        for _ in 0..200 {
            let password = draw(&kinds, 2, true).unwrap();
            assert_eq!(password.chars().filter(char::is_ascii_digit).count(), 1, "{password}");
            assert_eq!(password.chars().filter(char::is_ascii_lowercase).count(), 1, "{password}");
        }
        assert_eq!(draw(&kinds, 40, false).unwrap().len(), 40);
        assert!(draw(&kinds, 1, true).is_err());
        assert!(draw(&[], 1, false).is_err());
    }
}
