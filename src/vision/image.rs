//! Pictures in memory.

use super::ImageError;

/// A picture of 8-bit red, green and blue, in rows from the top left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    width: u32,
    height: u32,
    pixels: Vec<u8>,
}

impl Image {
    /// A picture of the given pixels, `[height][width][red, green, blue]`.
    ///
    /// # Errors
    /// [`ImageError::PixelCount`] if there are not three bytes for each of at least one pixel.
    pub fn new(width: u32, height: u32, pixels: Vec<u8>) -> Result<Self, ImageError> {
        let expected = u64::from(width) * u64::from(height);
        if expected == 0 || expected.checked_mul(3) != Some(pixels.len() as u64) {
            return Err(ImageError::PixelCount { found: pixels.len(), width, height });
        }
        Ok(Self { width, height, pixels })
    }

    /// Pixels in a row, at least one.
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Rows, at least one.
    pub fn height(&self) -> u32 {
        self.height
    }

    /// The pixels, `[height][width][red, green, blue]`.
    pub fn pixels(&self) -> &[u8] {
        &self.pixels
    }

    /// The pixels as luminance, `[height][width]`: ITU-R 601-2 weights in 16-bit fixed point, as
    /// Pillow's `convert("L")` has them. Gray pixels keep their value.
    pub fn gray(&self) -> Vec<u8> {
        self.pixels.as_chunks().0.iter().map(luminance).collect()
    }
}

/// `(0.299 R + 0.587 G + 0.114 B)`, rounded; the weights add up to 2^16.
fn luminance(&[red, green, blue]: &[u8; 3]) -> u8 {
    let weighted = u32::from(red) * 19595 + u32::from(green) * 38470 + u32::from(blue) * 7471;
    ((weighted + 0x8000) >> 16) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn size_and_pixels_must_agree() {
        assert!(Image::new(2, 1, vec![0; 6]).is_ok());
        for (width, height, bytes) in [(2, 1, 5), (0, 1, 0), (u32::MAX, u32::MAX, 3)] {
            let error = Image::new(width, height, vec![0; bytes]).unwrap_err();
            assert!(matches!(error, ImageError::PixelCount { .. }), "{error}");
        }
    }

    #[test]
    fn gray_pixels_keep_their_value() {
        let grays: Vec<u8> = (0..=255).collect();
        let pixels = grays.iter().flat_map(|&gray| [gray; 3]).collect();
        assert_eq!(Image::new(16, 16, pixels).unwrap().gray(), grays);
    }

    #[test]
    fn luminance_is_that_of_pillow() {
        // Values of Pillow's Image.convert("L").
        for (pixel, expected) in [
            ([255, 0, 0], 76),
            ([0, 255, 0], 150),
            ([0, 0, 255], 29),
            ([12, 200, 99], 132),
            ([254, 255, 1], 226),
        ] {
            assert_eq!(luminance(&pixel), expected, "{pixel:?}");
        }
    }
}
