//! Writes a frame header, always in its shortest form.

use super::header::{Header, Opcode};

/// The longest header: two bytes, a 64-bit length, a masking key.
pub const MAX_HEADER: usize = 14;

/// The first byte of a frame.
#[inline]
pub fn first_byte(opcode: Opcode, fin: bool, rsv: u8) -> u8 {
    u8::from(fin) << 7 | rsv << 4 | opcode as u8
}

/// Writes `header` to the start of `out` and returns its length in bytes.
#[inline]
pub fn encode(header: &Header, out: &mut [u8; MAX_HEADER]) -> usize {
    out[0] = first_byte(header.opcode, header.fin, header.rsv);
    let masked = u8::from(header.key.is_some()) << 7;
    let used = match header.length {
        short @ 0..=125 => {
            out[1] = masked | short as u8;
            2
        }
        medium @ 126..=0xffff => {
            out[1] = masked | 126;
            out[2..4].copy_from_slice(&(medium as u16).to_be_bytes());
            4
        }
        long => {
            out[1] = masked | 127;
            out[2..10].copy_from_slice(&long.to_be_bytes());
            10
        }
    };
    let Some(key) = header.key else { return used };
    out[used..used + 4].copy_from_slice(&key);
    used + 4
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_take_their_shortest_form() {
        for (length, expected) in [(0, 2), (125, 2), (126, 4), (65_535, 4), (65_536, 10), (1 << 40, 10)] {
            let header = Header { opcode: Opcode::Binary, fin: true, rsv: 0, key: None, length };
            let mut out = [0; MAX_HEADER];
            assert_eq!(encode(&header, &mut out), expected, "{length}");
            let masked = Header { key: Some([1, 2, 3, 4]), ..header };
            assert_eq!(encode(&masked, &mut out), expected + 4, "{length}");
        }
    }

    #[test]
    fn the_examples_of_section_5_7() {
        let text = Header { opcode: Opcode::Text, fin: true, rsv: 0, key: None, length: 5 };
        let mut out = [0; MAX_HEADER];
        assert_eq!(encode(&text, &mut out), 2);
        assert_eq!(out[..2], [0x81, 0x05]);
        let masked = Header { key: Some([0x37, 0xfa, 0x21, 0x3d]), ..text };
        assert_eq!(encode(&masked, &mut out), 6);
        assert_eq!(out[..6], [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d]);
    }
}
