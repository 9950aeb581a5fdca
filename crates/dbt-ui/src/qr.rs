//! QR codes, for what is on this screen and needed on a telephone.

use qrcodegen::{QrCode, QrCodeEcc};

/// How much of light stands around a code (ISO 18004 wants four; two do on a screen).
const BORDER: i32 = 2;

/// Draws a text as a code of letters that are half as wide as high, light on dark as most terminals
/// are. Nothing, where the text is too long for one.
pub fn drawn(text: &str) -> Option<String> {
    let code = QrCode::encode_text(text, QrCodeEcc::Low).ok()?;
    let (first, end) = (-BORDER, code.size() + BORDER);
    let is_light = |x, y| y < end && !code.get_module(x, y);
    let mut drawn = String::new();
    for y in (first..end).step_by(2) {
        for x in first..end {
            drawn.push(match (is_light(x, y), is_light(x, y + 1)) {
                (true, true) => '█',
                (true, false) => '▀',
                (false, true) => '▄',
                (false, false) => ' ',
            });
        }
        drawn.push('\n');
    }
    Some(drawn)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_a_square_with_a_light_border_and_three_eyes() {
        let drawn = drawn("https://id.example.com/device?user_code=WDJB-MJHT").unwrap();
        let lines: Vec<Vec<char>> = drawn.lines().map(|line| line.chars().collect()).collect();
        let width = lines[0].len();
        assert_eq!(lines.len(), width.div_ceil(2));
        // Of the last line there is one half.
        let (last, others) = lines.split_last().unwrap();
        assert!(others.iter().all(|line| line.len() == width && line[..2] == ['█', '█']));
        assert!(last.iter().all(|half| *half == '▀'));
        // The upper edge of an eye: seven dark, of which the five in the middle are light below.
        let eye = ['█', '█', ' ', '▄', '▄', '▄', '▄', '▄', ' ', '█'];
        assert_eq!(lines[1][..10], eye);
        assert!(super::drawn(&"x".repeat(10_000)).is_none());
    }
}
