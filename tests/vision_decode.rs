//! Decoding: every format by its content, pixels as Pillow has them, orientation, limits, damage.

use std::io::Cursor;

use bnn::vision::{ImageError, decode, decode_file};
use image::codecs::{jpeg::JpegEncoder, png::PngEncoder, webp::WebPEncoder};
use image::{DynamicImage, GrayImage, ImageBuffer, ImageEncoder, ImageFormat, RgbImage};
use proptest::prelude::*;

/// Three by two pixels, all different.
fn picture() -> RgbImage {
    RgbImage::from_fn(3, 2, |x, y| image::Rgb([x as u8 * 40, y as u8 * 90, 200 - x as u8]))
}

fn encode(picture: &DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Vec::new();
    picture.write_to(&mut Cursor::new(&mut bytes), format).unwrap();
    bytes
}

/// Little-endian EXIF data with nothing but an orientation.
fn exif(orientation: u8) -> Vec<u8> {
    let mut bytes = b"II*\0\x08\0\0\0\x01\0".to_vec();
    bytes.extend([0x12, 0x01, 3, 0, 1, 0, 0, 0, orientation, 0, 0, 0]);
    bytes.extend([0; 4]);
    bytes
}

fn with_orientation(format: ImageFormat, orientation: u8) -> Vec<u8> {
    fn write(mut encoder: impl ImageEncoder, orientation: u8) {
        encoder.set_exif_metadata(exif(orientation)).unwrap();
        let picture = picture();
        encoder.write_image(&picture, 3, 2, image::ExtendedColorType::Rgb8).unwrap();
    }
    let mut bytes = Vec::new();
    match format {
        ImageFormat::Png => write(PngEncoder::new(&mut bytes), orientation),
        ImageFormat::Jpeg => write(JpegEncoder::new_with_quality(&mut bytes, 100), orientation),
        ImageFormat::WebP => write(WebPEncoder::new_lossless(&mut bytes), orientation),
        other => panic!("{other:?}"),
    }
    bytes
}

/// A progressive JPEG of one component, whose Adobe segment says afterwards that there are four: the decoder panics.
#[test]
fn a_decoder_that_trips_gives_an_error() {
    let found = include_bytes!("../fuzz/corpus/picture/found-colours-beyond-components");
    // Two bytes of the fuzzer's choices stand in front.
    let error = decode(&found[2..]).unwrap_err().to_string();
    assert_eq!(error, "broken or unsupported JPEG picture: the decoder cannot cope with it");
}

#[test]
fn the_content_tells_the_format() {
    let rgb = DynamicImage::ImageRgb8(picture());
    for format in [ImageFormat::Png, ImageFormat::WebP, ImageFormat::Bmp] {
        let image = decode(&encode(&rgb, format)).unwrap();
        assert_eq!((image.width(), image.height()), (3, 2));
        assert_eq!(image.pixels(), picture().as_raw().as_slice(), "{format:?}");
    }
    for format in [ImageFormat::Jpeg, ImageFormat::Gif] {
        let image = decode(&encode(&rgb, format)).unwrap();
        assert_eq!((image.width(), image.height()), (3, 2), "{format:?}");
    }
}

#[test]
fn every_pixel_type_becomes_eight_bit_rgb() {
    let luma16 = ImageBuffer::from_raw(2, 1, vec![0x12ff_u16, 0xff00]).unwrap();
    let rgb16 = ImageBuffer::from_raw(1, 1, vec![0x0180_u16, 0x02ff, 0x0300]).unwrap();
    let cases = [
        (
            DynamicImage::ImageLuma8(GrayImage::from_raw(2, 1, vec![7, 9]).unwrap()),
            vec![7, 7, 7, 9, 9, 9],
        ),
        (
            DynamicImage::ImageLumaA8(ImageBuffer::from_raw(1, 1, vec![7, 0]).unwrap()),
            vec![7, 7, 7],
        ),
        // Transparent pixels keep their colour.
        (
            DynamicImage::ImageRgba8(ImageBuffer::from_raw(1, 1, vec![1, 2, 3, 0]).unwrap()),
            vec![1, 2, 3],
        ),
        (DynamicImage::ImageLuma16(luma16), vec![0x12, 0x12, 0x12, 0xff, 0xff, 0xff]),
        (DynamicImage::ImageRgb16(rgb16), vec![1, 2, 3]),
        (
            DynamicImage::ImageLumaA16(ImageBuffer::from_raw(1, 1, vec![0x0aff, 0]).unwrap()),
            vec![10, 10, 10],
        ),
        (
            DynamicImage::ImageRgba16(
                ImageBuffer::from_raw(1, 1, vec![0x01ff, 0x02ff, 0x03ff, 0]).unwrap(),
            ),
            vec![1, 2, 3],
        ),
    ];
    for (picture, expected) in cases {
        let image = decode(&encode(&picture, ImageFormat::Png)).unwrap();
        assert_eq!(image.pixels(), expected, "{:?}", picture.color());
    }
}

#[test]
fn gray_jpegs_are_gray() {
    let gray = GrayImage::from_fn(16, 8, |x, y| image::Luma([(x * 9 + y * 5) as u8]));
    let image = decode(&encode(&DynamicImage::ImageLuma8(gray), ImageFormat::Jpeg)).unwrap();
    assert!(image.pixels().as_chunks::<3>().0.iter().all(|[r, g, b]| r == g && g == b));
}

#[test]
fn orientation_is_applied() {
    let original = picture();
    // Where the pixel at (x, y) of the upright picture lies in the stored one of 3 x 2.
    type Place = fn(u32, u32) -> (u32, u32);
    let places: [Place; 8] = [
        |x, y| (x, y),
        |x, y| (2 - x, y),
        |x, y| (2 - x, 1 - y),
        |x, y| (x, 1 - y),
        |x, y| (y, x),
        |x, y| (y, 1 - x),
        |x, y| (2 - y, 1 - x),
        |x, y| (2 - y, x),
    ];
    for (orientation, place) in (1..).zip(places) {
        for format in [ImageFormat::Png, ImageFormat::WebP, ImageFormat::Jpeg] {
            let image = decode(&with_orientation(format, orientation)).unwrap();
            let expected = if orientation < 5 { (3, 2) } else { (2, 3) };
            assert_eq!((image.width(), image.height()), expected, "{format:?} {orientation}");
            if format == ImageFormat::Jpeg {
                continue;
            }
            for y in 0..image.height() {
                for x in 0..image.width() {
                    let at = (y * image.width() + x) as usize * 3;
                    let (from_x, from_y) = place(x, y);
                    let expected = original.get_pixel(from_x, from_y).0;
                    assert_eq!(image.pixels()[at..at + 3], expected, "{format:?} {orientation}");
                }
            }
        }
    }
    for unknown in [0, 9, 99] {
        let image = decode(&with_orientation(ImageFormat::Png, unknown)).unwrap();
        assert_eq!(image.pixels(), original.as_raw().as_slice());
    }
}

#[test]
fn other_files_are_told_apart() {
    assert!(matches!(decode(b""), Err(ImageError::Empty)));
    for other in [&b"hello"[..], &[0; 100], b"P6 1 1 255 abc", b"II*\0\0\0\0\0", b"%PDF-1.7"] {
        assert!(matches!(decode(other), Err(ImageError::UnknownFormat)), "{other:?}");
    }
    let error = decode_file("no/such/picture.png").unwrap_err();
    assert!(matches!(error, ImageError::Io { .. }));
    assert!(error.to_string().starts_with("no/such/picture.png: "), "{error}");
}

/// The header of a gray PNG of any size, with the right checksum and no pixels.
fn png_header(width: u32, height: u32) -> Vec<u8> {
    let mut chunk = b"IHDR".to_vec();
    chunk.extend(width.to_be_bytes());
    chunk.extend(height.to_be_bytes());
    chunk.extend([8, 0, 0, 0, 0]);
    let mut bytes = b"\x89PNG\r\n\x1a\n\0\0\0\x0d".to_vec();
    bytes.extend(&chunk);
    bytes.extend(crc32fast::hash(&chunk).to_be_bytes());
    // An empty data chunk, so that decoders get to see the size.
    bytes.extend(b"\0\0\0\0IDAT");
    bytes.extend(crc32fast::hash(b"IDAT").to_be_bytes());
    bytes
}

#[test]
fn large_pictures_are_refused_before_they_are_decoded() {
    for (width, height) in [(16385, 1), (1, 16385), (30000, 30000), (16384, 16384 + 1)] {
        let error = decode(&png_header(width, height)).unwrap_err();
        assert!(matches!(error, ImageError::TooLarge { .. }), "{error}");
        assert!(error.to_string().contains(&format!("{width}x{height}")), "{error}");
    }
    let error = decode(&png_header(i32::MAX as u32, i32::MAX as u32)).unwrap_err();
    assert!(!error.to_string().is_empty());
    let error = decode(&png_header(16384, 16384)).unwrap_err();
    assert!(matches!(error, ImageError::Decode { .. }), "gray fits, but has no pixels: {error}");
}

/// A length that nothing stands behind is not believed, and what is broken about EXIF data does not matter.
#[test]
fn metadata_of_webp_may_lie_about_its_length() {
    let whole = with_orientation(ImageFormat::WebP, 6);
    let at = whole.windows(4).position(|name| name == b"EXIF").expect("EXIF data") + 4;
    let turned = decode(&whole).expect("a picture");
    for length in [u32::MAX - 1, 1 << 31, whole.len() as u32] {
        let mut lying = whole.clone();
        lying[at..at + 4].copy_from_slice(&length.to_le_bytes());
        let plain = decode(&lying).expect("a picture all the same");
        assert_eq!((plain.width(), plain.height()), (turned.height(), turned.width()));
    }
}

#[test]
fn truncated_pictures_never_panic() {
    let rgb = DynamicImage::ImageRgb8(picture());
    use ImageFormat::{Bmp, Gif, Jpeg, Png, WebP};
    for format in [Png, Jpeg, WebP, Bmp, Gif] {
        let bytes = encode(&rgb, format);
        for length in 0..bytes.len() {
            let _ = decode(&bytes[..length]);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 300, failure_persistence: None, ..ProptestConfig::default()
    })]

    #[test]
    fn damaged_pictures_never_panic(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        format in prop::sample::select(vec![
            ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::WebP, ImageFormat::Bmp, ImageFormat::Gif,
        ]),
    ) {
        let mut bytes = encode(&DynamicImage::ImageRgb8(picture()), format);
        for (position, byte) in changes {
            let position = position.index(bytes.len());
            bytes[position] = byte;
        }
        if let Ok(image) = decode(&bytes) {
            let pixels = image.width() as usize * image.height() as usize;
            prop_assert_eq!(image.pixels().len(), pixels * 3);
        }
    }
}
