//! Resampling of 8-bit pictures, to the bit as Pillow's `Image.resize` does it.
//!
//! Networks are trained and judged on pictures that Pillow resized, so its arithmetic is kept: weights rounded to 22
//! fractional bits, rows first, and an 8-bit picture between the two directions.

use super::pixels::Pixels;
use super::preprocess::Filter;

const FRACTION: u32 = 32 - 8 - 2;

/// The picture at `height` x `width`.
pub(super) fn resize(source: Pixels, [height, width]: [usize; 2], filter: Filter) -> Pixels {
    let wide = if width == source.width { source } else { horizontal(&source, &windows(source.width, width, filter)) };
    if height == wide.height { wide } else { vertical(&wide, &windows(wide.height, height, filter)) }
}

/// The source pixels that one target pixel is made of, and their weights.
struct Window {
    start: usize,
    weights: Vec<i32>,
}

fn windows(from: usize, to: usize, filter: Filter) -> Vec<Window> {
    let scale = from as f64 / to as f64;
    let widening = scale.max(1.0);
    let support = filter.support() * widening;
    let window = |target: usize| {
        let center = (target as f64 + 0.5) * scale;
        let start = (center - support + 0.5).max(0.0) as usize;
        let end = ((center + support + 0.5) as usize).min(from);
        let weight = |x: usize| filter.weight((x as f64 - center + 0.5) / widening);
        Window { start, weights: fixed_point((start..end).map(weight).collect()) }
    };
    (0..to).map(window).collect()
}

fn fixed_point(weights: Vec<f64>) -> Vec<i32> {
    let sum: f64 = weights.iter().sum();
    let round = |w: f64| (w / sum * f64::from(1 << FRACTION) + 0.5f64.copysign(w)) as i32;
    weights.into_iter().map(round).collect()
}

impl Filter {
    fn support(self) -> f64 {
        match self {
            Filter::Bicubic => 2.0,
            Filter::Bilinear => 1.0,
        }
    }

    fn weight(self, x: f64) -> f64 {
        const A: f64 = -0.5;
        let x = x.abs();
        match self {
            Filter::Bicubic if x < 1.0 => ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0,
            Filter::Bicubic if x < 2.0 => (((x - 5.0) * x + 8.0) * x - 4.0) * A,
            Filter::Bilinear if x < 1.0 => 1.0 - x,
            _ => 0.0,
        }
    }
}

fn horizontal(source: &Pixels, windows: &[Window]) -> Pixels {
    let channels = source.channels;
    let mut data = Vec::with_capacity(source.height * windows.len() * channels);
    for row in source.data.chunks_exact(source.width * channels) {
        for window in windows {
            let pixels = &row[window.start * channels..];
            for channel in 0..channels {
                let values = pixels[channel..].iter().step_by(channels);
                data.push(rounded(window.weights.iter().zip(values).map(|(w, &x)| w * i32::from(x)).sum()));
            }
        }
    }
    Pixels { width: windows.len(), data, ..*source }
}

fn vertical(source: &Pixels, windows: &[Window]) -> Pixels {
    let row_len = source.width * source.channels;
    let mut data = Vec::with_capacity(windows.len() * row_len);
    let mut sums = vec![0i32; row_len];
    for window in windows {
        sums.fill(0);
        let rows = source.data[window.start * row_len..].chunks_exact(row_len);
        for (weight, row) in window.weights.iter().zip(rows) {
            sums.iter_mut().zip(row).for_each(|(sum, &x)| *sum += weight * i32::from(x));
        }
        data.extend(sums.iter().copied().map(rounded));
    }
    Pixels { height: windows.len(), data, ..*source }
}

fn rounded(sum: i32) -> u8 {
    ((sum + (1 << (FRACTION - 1))) >> FRACTION).clamp(0, 255) as u8
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn picture(height: usize, width: usize, channels: usize) -> Pixels {
        let data = (0..height * width * channels).map(|i| ((i * i * 31 + i * 7) % 256) as u8).collect();
        Pixels { height, width, channels, data }
    }

    /// A checksum that Python computes as `zlib.adler32(bytes)`.
    fn adler32(data: &[u8]) -> u32 {
        let (a, b) = data.iter().fold((1u32, 0u32), |(a, b), &x| {
            let a = (a + u32::from(x)) % 65_521;
            (a, (b + a) % 65_521)
        });
        b << 16 | a
    }

    #[test]
    fn equal_to_pillow_to_the_bit() {
        // Pillow 13: Image.fromarray(picture).resize((w, h), filter), zlib.adler32 of its bytes.
        let check = |from: [usize; 2], to: [usize; 2], channels, filter, want: u32| {
            let found = adler32(&resize(picture(from[0], from[1], channels), to, filter).data);
            assert_eq!(found, want, "{from:?} to {to:?}, {channels} channels, {filter:?}");
        };
        check([37, 53], [24, 24], 3, Filter::Bicubic, 0x49f9_5948);
        check([10, 7], [33, 18], 3, Filter::Bicubic, 0x944b_7fc4);
        check([20, 20], [20, 9], 1, Filter::Bicubic, 0xbe56_593c);
        check([37, 53], [24, 30], 3, Filter::Bilinear, 0x0639_2f9e);
        check([9, 8], [17, 8], 1, Filter::Bilinear, 0x07e1_44f8);
        check([1, 300], [2, 7], 3, Filter::Bicubic, 0xc0fd_14d9);
        check([400, 3], [5, 3], 3, Filter::Bicubic, 0x0237_1653);
    }

    proptest! {
        #[test]
        fn a_plain_picture_stays_plain(from in [1usize..40, 1..40], to in [1usize..40, 1..40], value: u8, cubic: bool) {
            let filter = if cubic { Filter::Bicubic } else { Filter::Bilinear };
            let plain = Pixels { height: from[0], width: from[1], channels: 3, data: vec![value; from[0] * from[1] * 3] };
            let resized = resize(plain, to, filter);
            prop_assert_eq!(resized.data.len(), to[0] * to[1] * 3);
            prop_assert!(resized.data.iter().all(|&x| x == value));
        }
    }
}
