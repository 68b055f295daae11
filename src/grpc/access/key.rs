//! API keys: made here, shown once, and kept as hashes.
//!
//! A key is `ldk_`, 32 characters of 5 random bits each, and 6 characters that tell a mistyped or cut one. Its hash is SHA-256 of the whole
//! text. A slow hash, as passwords need, would guard nothing: 160 random bits cannot be guessed whatever a guess costs, and each call would
//! pay for it. Keys are found by their hash, so that how long a look-up takes says nothing of the keys that there are.

use std::fmt::Write as _;

use aws_lc_rs::digest::{SHA256, digest};

pub const PREFIX: &str = "ldk_";
const RANDOM_BYTES: usize = 20;
const RANDOM_CHARS: usize = RANDOM_BYTES * 8 / 5;
const CHECK_CHARS: usize = 6;
const LENGTH: usize = PREFIX.len() + RANDOM_CHARS + CHECK_CHARS;
/// Without `l` and `o`, `0` and `1`.
const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";

/// Says of a text that is no key why.
pub const NOT_WHOLE: &str = "an API key is not whole, for its check characters do not fit: was it cut, or mistyped?";

pub type Hash = [u8; 32];

/// Another key each time. `Err`: the system gives no randomness.
pub fn make() -> Result<String, getrandom::Error> {
    let mut random = [0; RANDOM_BYTES];
    getrandom::fill(&mut random)?;
    let mut key = String::with_capacity(LENGTH);
    key.push_str(PREFIX);
    // Five bytes are eight characters.
    for five in random.chunks_exact(5) {
        let bits = five.iter().fold(0_u64, |bits, byte| bits << 8 | u64::from(*byte));
        push(&mut key, bits, 8);
    }
    let check = u64::from(crc32c::crc32c(key.as_bytes()));
    push(&mut key, check, CHECK_CHARS);
    Ok(key)
}

/// The lowest bits, five a character.
fn push(key: &mut String, bits: u64, chars: usize) {
    for place in (0..chars).rev() {
        key.push(char::from(ALPHABET[(bits >> (5 * place) & 31) as usize]));
    }
}

/// It has the form of a key, and its check characters fit.
pub fn is_whole(text: &str) -> bool {
    let Some((said, check)) = text.split_at_checked(LENGTH - CHECK_CHARS) else { return false };
    let mut expected = String::with_capacity(CHECK_CHARS);
    push(&mut expected, u64::from(crc32c::crc32c(said.as_bytes())), CHECK_CHARS);
    text.len() == LENGTH && text.starts_with(PREFIX) && check == expected
}

pub fn sha256(bytes: &[u8]) -> Hash {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, bytes).as_ref());
    hash
}

/// As the access file has it.
pub fn hash_text(key: &str) -> String {
    let mut text = "sha256:".to_owned();
    for byte in sha256(key.as_bytes()) {
        write!(text, "{byte:02x}").expect("a string can be written to");
    }
    text
}

/// 64 hexadecimal digits.
pub fn parse_hex(text: &str) -> Option<Hash> {
    let mut hash = [0; 32];
    if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    for (byte, digits) in hash.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_differ_are_whole_and_no_changed_one_is() {
        let (one, other) = (make().expect("randomness"), make().expect("randomness"));
        assert_ne!(one, other);
        assert_eq!(one.len(), LENGTH);
        assert!(is_whole(&one) && is_whole(&other));
        for at in 0..one.len() {
            for new in ['a', '9', 'A', '-'] {
                let changed: String = one.chars().enumerate().map(|(place, old)| if place == at { new } else { old }).collect();
                assert_eq!(is_whole(&changed), changed == one, "{changed}");
            }
            assert!(!is_whole(&one[..at]), "a cut one");
        }
        assert!(!is_whole(&format!("{one}a")) && !is_whole(&"é".repeat(21)));
    }

    #[test]
    fn the_hash_is_that_of_sha256() {
        // The example of FIPS 180-2.
        let told = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(hash_text("abc"), told);
        assert_eq!(parse_hex(&told[7..]), Some(sha256(b"abc")));
        for wrong in ["", "zz", &told[8..], &told[..70]] {
            assert_eq!(parse_hex(wrong), None, "{wrong}");
        }
    }
}
