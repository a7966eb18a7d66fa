//! From 8-bit pictures to the array that the network takes.

use super::preprocess::{ChannelOrder, Layout, Preprocess};
use super::resize::resize;
use crate::array::Array;
use crate::{Code, Error, Result};

/// A picture: rows of pixels, channels interleaved.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Pixels {
    pub height: usize,
    pub width: usize,
    /// 1 (grey) or 3 (red, green, blue).
    pub channels: usize,
    pub data: Vec<u8>,
}

impl Pixels {
    /// The network input of this picture, batch axis of 1 included.
    pub(super) fn prepare(self, preprocess: &Preprocess) -> Result<Array> {
        let mut pixels = self.recolored(preprocess.channels);
        if let Some(size) = &preprocess.resize {
            let target = size.target(pixels.height, pixels.width)?;
            pixels = resize(pixels, target, preprocess.filter);
        }
        if let Some(crop) = &preprocess.crop {
            pixels = pixels.cropped(crop.extents())?;
        }
        Ok(pixels.normalized(preprocess))
    }

    fn recolored(self, order: ChannelOrder) -> Pixels {
        let data = match (self.channels, order) {
            (1, ChannelOrder::Rgb | ChannelOrder::Bgr) => self.data.iter().flat_map(|&x| [x; 3]).collect(),
            (3, ChannelOrder::Gray) => self.data.as_chunks().0.iter().map(luma).collect(),
            (3, ChannelOrder::Bgr) => self.data.as_chunks().0.iter().flat_map(|&[r, g, b]| [b, g, r]).collect(),
            _ => self.data,
        };
        Pixels { channels: order.count(), data, ..self }
    }

    fn cropped(self, [height, width]: [usize; 2]) -> Result<Pixels> {
        if height > self.height || width > self.width {
            let message =
                format!("{} x {} pixels are less than the crop of {height} x {width}", self.height, self.width);
            return Err(Error::new(Code::Samples, message).help("put a `resize` before the crop in the preprocessing"));
        }
        if (height, width) == (self.height, self.width) {
            return Ok(self);
        }
        let (top, left) = ((self.height - height) / 2, (self.width - width) / 2);
        let kept = left * self.channels..(left + width) * self.channels;
        let mut data = Vec::with_capacity(height * kept.len());
        for row in self.data.chunks_exact(self.width * self.channels).skip(top).take(height) {
            data.extend_from_slice(&row[kept.clone()]);
        }
        Ok(Pixels { height, width, channels: self.channels, data })
    }

    pub(super) fn normalized(&self, preprocess: &Preprocess) -> Array {
        let (height, width, channels) = (self.height, self.width, self.channels);
        let table = |c| std::array::from_fn(|x| preprocess.normalized(x as u8, c));
        let tables: Vec<[f32; 256]> = (0..channels).map(table).collect();
        match preprocess.layout {
            Layout::Nhwc => {
                let values = self.data.chunks_exact(channels).flat_map(|pixel| look_up(pixel, &tables)).collect();
                Array::from_f32(vec![1, height, width, channels], values)
            }
            Layout::Nchw => {
                let mut values = Vec::with_capacity(self.data.len());
                for (c, table) in tables.iter().enumerate() {
                    values.extend(self.data.chunks_exact(channels).map(|pixel| table[usize::from(pixel[c])]));
                }
                Array::from_f32(vec![1, channels, height, width], values)
            }
        }
    }
}

fn look_up<'a>(pixel: &'a [u8], tables: &'a [[f32; 256]]) -> impl Iterator<Item = f32> + 'a {
    pixel.iter().zip(tables).map(|(&x, table)| table[usize::from(x)])
}

/// ITU-R 601 luma with 16 fractional bits, as Pillow rounds it; a grey pixel keeps its value.
fn luma(&[r, g, b]: &[u8; 3]) -> u8 {
    let sum = u32::from(r) * 19_595 + u32::from(g) * 38_470 + u32::from(b) * 7_471;
    ((sum + 0x8000) >> 16) as u8
}

#[cfg(test)]
mod tests {
    use super::super::preprocess::{Crop, Kind};
    use super::*;

    fn numbered(height: usize, width: usize) -> Pixels {
        Pixels { height, width, channels: 3, data: (0..height * width * 3).map(|i| i as u8).collect() }
    }

    fn image() -> Preprocess {
        Preprocess { kind: Kind::Image, ..Preprocess::default() }
    }

    fn check(preprocess: &Preprocess, dims: &[usize], values: &[f32]) {
        let array = numbered(3, 4).prepare(preprocess).unwrap();
        assert_eq!(array.dims, dims);
        assert_eq!(&array.as_f32().unwrap()[..values.len()], values);
    }

    #[test]
    fn layouts_and_channel_orders() {
        check(&image(), &[1, 3, 3, 4], &[0.0, 3.0, 6.0, 9.0, 12.0]);
        check(&Preprocess { layout: Layout::Nhwc, ..image() }, &[1, 3, 4, 3], &[0.0, 1.0, 2.0, 3.0]);
        check(&Preprocess { channels: ChannelOrder::Bgr, ..image() }, &[1, 3, 3, 4], &[2.0, 5.0, 8.0]);
        check(&Preprocess { channels: ChannelOrder::Gray, ..image() }, &[1, 1, 3, 4], &[1.0, 4.0, 7.0]);
    }

    #[test]
    fn the_crop_is_the_middle_rounded_up_left() {
        let crop = Preprocess { crop: Some(Crop::Exact([2, 1])), ..image() };
        check(&crop, &[1, 3, 2, 1], &[3.0, 15.0, 4.0, 16.0, 5.0, 17.0]);
        let error = numbered(3, 4).prepare(&Preprocess { crop: Some(Crop::Square(4)), ..image() }).unwrap_err();
        assert_eq!(error.message(), "3 x 4 pixels are less than the crop of 4 x 4");
    }

    #[test]
    fn mean_and_std_are_those_of_the_channel() {
        let preprocess = Preprocess { mean: vec![1.0, 2.0, 3.0], std: vec![2.0, 4.0, 0.3], ..image() };
        let array = numbered(1, 1).prepare(&preprocess).unwrap();
        assert_eq!(array.as_f32().unwrap(), [-0.5, -0.25, (2.0 - 3.0) / 0.3f32]);
    }

    #[test]
    fn grey_becomes_three_equal_channels_and_back() {
        let grey = Pixels { height: 1, width: 2, channels: 1, data: vec![7, 200] };
        let colored = grey.clone().recolored(ChannelOrder::Rgb);
        assert_eq!(colored.data, [7, 7, 7, 200, 200, 200]);
        assert_eq!(colored.recolored(ChannelOrder::Gray), grey);
    }
}
