//! Reads a frame header, refusing what RFC 6455 §5 refuses as soon as the bytes that show it are there.

use super::header::{Header, Opcode};
use crate::config::Role;
use crate::error::Violation;

/// Reads the header at the start of `input` for the end that plays `role`; none if more bytes are needed.
/// Returns the header and its length in bytes. `reserved` are the RSV bits that an extension gives a meaning to in data
/// frames.
#[inline]
pub fn decode(input: &[u8], role: Role, reserved: u8) -> Result<Option<(Header, usize)>, Violation> {
    let [first, second, rest @ ..] = input else {
        return match input {
            [first] => check_first(*first, reserved).map(|_| None),
            _ => Ok(None),
        };
    };
    let opcode = check_first(*first, reserved)?;
    let (fin, rsv) = (first & 0x80 != 0, first >> 4 & 7);
    // 5.1. Overview: a client masks all its frames, a server none.
    let masked = second & 0x80 != 0;
    match (role, masked) {
        (Role::Client, true) => return Err(Violation::Masked),
        (Role::Server, false) => return Err(Violation::Unmasked),
        _ => {}
    }
    let short = second & 0x7f;
    if opcode.is_control() && short > 125 {
        // 5.5. The length need not be read to know that it is over 125; a verdict does not depend on what else came.
        return Err(Violation::ControlTooLong);
    }
    let (length, used) = match short {
        126 => {
            let Some(bytes) = rest.first_chunk::<2>() else { return Ok(None) };
            let length = u64::from(u16::from_be_bytes(*bytes));
            // 5.2. The minimal number of bytes must be used.
            if length < 126 {
                return Err(Violation::NonMinimalLength(length));
            }
            (length, 4)
        }
        127 => {
            if rest.first().is_some_and(|high| high & 0x80 != 0) {
                return Err(Violation::LengthSignBit);
            }
            let Some(bytes) = rest.first_chunk::<8>() else { return Ok(None) };
            let length = u64::from_be_bytes(*bytes);
            if length < 65_536 {
                return Err(Violation::NonMinimalLength(length));
            }
            (length, 10)
        }
        _ => (u64::from(short), 2),
    };
    let (key, used) = if masked {
        let Some(key) = input.get(used..).and_then(<[u8]>::first_chunk::<4>) else { return Ok(None) };
        (Some(*key), used + 4)
    } else {
        (None, used)
    };
    Ok(Some((Header { opcode, fin, rsv, key, length }, used)))
}

#[inline]
fn check_first(first: u8, reserved: u8) -> Result<Opcode, Violation> {
    let rsv = first >> 4 & 7;
    let Some(opcode) = Opcode::from_bits(first & 15) else {
        return Err(Violation::Opcode(first & 15));
    };
    let allowed = if opcode.is_control() { 0 } else { reserved };
    if rsv & !allowed != 0 {
        return Err(Violation::ReservedBits(rsv & !allowed));
    }
    if opcode.is_control() && first & 0x80 == 0 {
        return Err(Violation::FragmentedControl);
    }
    Ok(opcode)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{MAX_HEADER, encode};
    use super::*;

    fn client(input: &[u8]) -> Result<Option<(Header, usize)>, Violation> {
        decode(input, Role::Client, 0)
    }

    #[test]
    fn every_violation_of_section_5_2_is_named() {
        let table: [(&[u8], Violation); 17] = [
            (b"\xc1", Violation::ReservedBits(4)),
            (b"\xa1\x00", Violation::ReservedBits(2)),
            (b"\x91\x00", Violation::ReservedBits(1)),
            (b"\xf2\x00", Violation::ReservedBits(7)),
            (b"\x83", Violation::Opcode(3)),
            (b"\x87\x00", Violation::Opcode(7)),
            (b"\x8b\x00", Violation::Opcode(11)),
            (b"\x8f\x00", Violation::Opcode(15)),
            (b"\x09", Violation::FragmentedControl),
            (b"\x08\x00", Violation::FragmentedControl),
            (b"\x89\x7e", Violation::ControlTooLong),
            (b"\x89\x7e\x01\x00", Violation::ControlTooLong),
            (b"\x8a\x7f", Violation::ControlTooLong),
            (b"\x82\x7e\x00\x7d", Violation::NonMinimalLength(125)),
            (b"\x82\x7f\x00\x00\x00\x00\x00\x00\xff\xff", Violation::NonMinimalLength(65_535)),
            (b"\x82\x7f\x80", Violation::LengthSignBit),
            (b"\x82\x80", Violation::Masked),
        ];
        for (bytes, violation) in table {
            assert_eq!(client(bytes), Err(violation), "{bytes:02x?}");
        }
        assert_eq!(decode(b"\x82\x00", Role::Server, 0), Err(Violation::Unmasked));
    }

    #[test]
    fn reserved_bits_pass_on_data_frames_where_an_extension_uses_them_and_never_on_control_frames() {
        assert_eq!(decode(b"\xc1\x00", Role::Client, 4).unwrap().unwrap().0.rsv, 4);
        assert_eq!(decode(b"\xe1\x00", Role::Client, 4), Err(Violation::ReservedBits(2)));
        assert_eq!(decode(b"\xc9\x00", Role::Client, 4), Err(Violation::ReservedBits(4)));
    }

    #[test]
    fn the_largest_length_is_a_header_like_any_other() {
        let bytes = b"\x82\x7f\x7f\xff\xff\xff\xff\xff\xff\xff";
        assert_eq!(client(bytes).unwrap().unwrap().0.length, i64::MAX as u64);
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded_and_no_prefix_of_it_is(
            op in prop::sample::select(vec![Opcode::Continuation, Opcode::Text, Opcode::Binary]),
            fin: bool, rsv in 0u8..8, key: Option<[u8; 4]>,
            length in prop_oneof![0u64..200, 65_500u64..65_600, 0u64..(1 << 62)],
        ) {
            let header = Header { opcode: op, fin, rsv, key, length };
            let mut bytes = [0; MAX_HEADER];
            let n = encode(&header, &mut bytes);
            let role = if key.is_some() { Role::Server } else { Role::Client };
            prop_assert_eq!(decode(&bytes[..n], role, 7), Ok(Some((header, n))));
            for cut in 0..n {
                prop_assert_eq!(decode(&bytes[..cut], role, 7), Ok(None));
            }
        }

        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>, server: bool, reserved in 0u8..8) {
            let role = if server { Role::Server } else { Role::Client };
            let _ = decode(&bytes, role, reserved);
        }
    }
}
