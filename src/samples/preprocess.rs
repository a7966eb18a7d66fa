//! How a picture becomes a network input: resize, crop, normalise, lay out.

use super::forms;
use crate::{Code, Error, Result, yaml};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// What the samples are before preprocessing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Pictures: 8 bits a channel.
    Image,
    /// Arrays that the network takes as they are.
    Tensor,
    /// Nothing is said; ready arrays are taken, pictures refused.
    #[default]
    None,
}

/// The size that a picture is brought to before cropping.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Resize {
    /// The whole picture to N x N.
    Square(usize),
    /// The whole picture to height and width.
    Exact([usize; 2]),
    /// The shorter side to a length, the other in proportion (rounded down).
    Shorter(Shorter),
}

/// The length of the shorter side.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shorter {
    /// In pixels.
    pub shorter: usize,
}

/// The part in the middle that is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Crop {
    /// N x N.
    Square(usize),
    /// Height and width.
    Exact([usize; 2]),
}

impl Crop {
    /// Height and width.
    pub fn extents(&self) -> [usize; 2] {
        match *self {
            Crop::Square(n) => [n, n],
            Crop::Exact(extents) => extents,
        }
    }
}

/// The resampling kernel, widened when a picture shrinks, as Pillow does it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Filter {
    /// Cubic with a = -0.5.
    #[default]
    Bicubic,
    /// Triangle.
    Bilinear,
}

/// Order of the axes of the network input.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Layout {
    /// Channels before height and width.
    #[default]
    Nchw,
    /// Channels last.
    Nhwc,
}

/// Order of the colour channels of the network input.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChannelOrder {
    /// Red first.
    #[default]
    Rgb,
    /// Blue first.
    Bgr,
    /// One channel of luma (ITU-R 601).
    Gray,
}

impl ChannelOrder {
    /// Number of channels.
    pub fn count(self) -> usize {
        if self == ChannelOrder::Gray { 1 } else { 3 }
    }
}

/// What is done to a picture, in this order: channels, resize, centre crop, `(x - mean) / std` on 0..255, layout.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preprocess {
    /// What the samples are.
    pub kind: Kind,
    /// Brought to this size first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resize: Option<Resize>,
    /// With this kernel.
    #[serde(default)]
    pub filter: Filter,
    /// The middle part that is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crop: Option<Crop>,
    /// Subtracted from 0..255: one number, or one for each channel in the order of `channels`. Nothing: 0.
    #[serde(default, deserialize_with = "forms::one_or_many")]
    pub mean: Vec<f32>,
    /// Then divided by: one number, or one for each channel in the order of `channels`. Nothing: 1.
    #[serde(default, deserialize_with = "forms::one_or_many")]
    pub std: Vec<f32>,
    /// Order of the axes.
    #[serde(default)]
    pub layout: Layout,
    /// Order of the colours.
    #[serde(default)]
    pub channels: ChannelOrder,
}

/// Names that [`Preprocess::preset`] knows, and what each is for.
pub const PRESETS: [(&str, &str); 7] = [
    ("imagenet", "torchvision: shorter side 256 (bilinear), crop 224, ImageNet mean and std"),
    ("imagenet-no-resize", "crop 224, ImageNet mean and std"),
    ("tf", "crop 224, (x - 127.5) / 127.5"),
    ("lite", "crop 224, (x - 127) / 128"),
    ("unit", "x / 255"),
    ("raw", "x, 0 to 255"),
    ("cifar10", "CIFAR-10 mean and std"),
];

const IMAGENET: ([f32; 3], [f32; 3]) = ([123.675, 116.28, 103.53], [58.395, 57.12, 57.375]);
const CIFAR10: ([f32; 3], [f32; 3]) = ([125.307, 122.961, 113.8575], [51.5865, 50.847, 51.255]);
const LONGEST_SIDE: usize = 16_384;

impl Preprocess {
    /// What `--preprocess` names: a preset, else a YAML file.
    ///
    /// # Errors
    /// As [`Preprocess::preset`] and [`Preprocess::read`].
    pub fn find(name: &str) -> Result<Preprocess> {
        let looks_like_file = name.contains(['/', '\\', '.']) || Path::new(name).is_file();
        if looks_like_file { Self::read(Path::new(name)) } else { Self::preset(name) }
    }

    /// Reads a YAML file.
    ///
    /// # Errors
    /// [`Code::Config`] where a key is unknown or a value senseless, [`Code::Io`] where the file cannot be read.
    pub fn read(path: &Path) -> Result<Preprocess> {
        let place = path.display().to_string();
        let preprocess: Preprocess = yaml::parse(&read_text(path)?, &place)?;
        preprocess.validate().map_err(|e| e.at(place))?;
        Ok(preprocess)
    }

    /// A named way of preprocessing pictures.
    ///
    /// # Errors
    /// [`Code::Config`] naming the presets, where `name` is none of them.
    pub fn preset(name: &str) -> Result<Preprocess> {
        let image = |crop: Option<usize>, mean: &[f32], std: &[f32]| Preprocess {
            kind: Kind::Image,
            crop: crop.map(Crop::Square),
            mean: mean.to_vec(),
            std: std.to_vec(),
            ..Preprocess::default()
        };
        let cropped = image(Some(224), &IMAGENET.0, &IMAGENET.1);
        let shorter = Some(Resize::Shorter(Shorter { shorter: 256 }));
        match name {
            "imagenet" => Ok(Preprocess { resize: shorter, filter: Filter::Bilinear, ..cropped }),
            "imagenet-no-resize" => Ok(cropped),
            "tf" => Ok(image(Some(224), &[127.5], &[127.5])),
            "lite" => Ok(image(Some(224), &[127.0], &[128.0])),
            "unit" => Ok(image(None, &[], &[255.0])),
            "raw" => Ok(image(None, &[], &[])),
            "cifar10" => Ok(image(None, &CIFAR10.0, &CIFAR10.1)),
            _ => Err(unknown_preset(name)),
        }
    }

    /// Least and greatest value that a network input can take, over all channels: 0 and 255 through mean and std.
    ///
    /// `None` where the samples are no pictures.
    pub fn value_range(&self) -> Option<(f32, f32)> {
        let ends = (0..self.channels.count()).flat_map(|c| [self.normalized(0, c), self.normalized(255, c)]);
        let extremes = ends.fold((f32::INFINITY, f32::NEG_INFINITY), |(lo, hi), x| (lo.min(x), hi.max(x)));
        (self.kind == Kind::Image).then_some(extremes)
    }

    /// `(x - mean) / std` of a channel, in float32.
    pub(super) fn normalized(&self, x: u8, channel: usize) -> f32 {
        let of = |values: &[f32]| values.get(channel).or(values.first()).copied();
        (f32::from(x) - of(&self.mean).unwrap_or(0.0)) / of(&self.std).unwrap_or(1.0)
    }

    /// Refuses values that make no sense together.
    pub(super) fn validate(&self) -> Result<()> {
        let refuse = |message: String| Err(Error::new(Code::Config, message));
        let channels = self.channels.count();
        for (key, values) in [("mean", &self.mean), ("std", &self.std)] {
            if values.iter().any(|x| !x.is_finite() || (key == "std" && x.abs() < f32::MIN_POSITIVE)) {
                return refuse(format!("`{key}` holds a number that cannot be used: {values:?}"));
            }
            if ![0, 1, channels].contains(&values.len()) {
                return refuse(format!("`{key}` has {} numbers for {channels} channels", values.len()));
            }
        }
        for (key, extents) in [("resize", self.resize_extents()), ("crop", self.crop.as_ref().map(Crop::extents))] {
            if extents.into_iter().flatten().any(|n| n == 0 || n > LONGEST_SIDE) {
                return refuse(format!("`{key}` is not between 1 and {LONGEST_SIDE} pixels"));
            }
        }
        let pictures_only =
            self.resize.is_some() || self.crop.is_some() || !self.mean.is_empty() || !self.std.is_empty();
        if self.kind != Kind::Image && pictures_only {
            return refuse("`resize`, `crop`, `mean` and `std` need `kind: image`".to_owned());
        }
        Ok(())
    }

    fn resize_extents(&self) -> Option<[usize; 2]> {
        self.resize.as_ref().map(|resize| match *resize {
            Resize::Square(n) | Resize::Shorter(Shorter { shorter: n }) => [n, n],
            Resize::Exact(extents) => extents,
        })
    }
}

impl Resize {
    /// Height and width that a picture of `height` x `width` is brought to.
    pub(super) fn target(&self, height: usize, width: usize) -> Result<[usize; 2]> {
        let target = match *self {
            Resize::Square(n) => [n, n],
            Resize::Exact(extents) => extents,
            Resize::Shorter(Shorter { shorter }) if height <= width => [shorter, shorter * width / height.max(1)],
            Resize::Shorter(Shorter { shorter }) => [shorter * height / width.max(1), shorter],
        };
        if target.iter().any(|&n| n > LONGEST_SIDE) {
            let message = format!("{height} x {width} pixels would be resized to {} x {}", target[0], target[1]);
            return Err(Error::new(Code::Samples, message));
        }
        Ok(target)
    }
}

pub(super) fn read_text(path: &Path) -> Result<String> {
    use std::io::Read;
    const MOST: u64 = 1 << 24;
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(|e| Error::io(path, "open", &e))?;
    file.take(MOST).read_to_string(&mut text).map_err(|e| Error::io(path, "read", &e))?;
    Ok(text)
}

fn unknown_preset(name: &str) -> Error {
    let names: Vec<_> = PRESETS.iter().map(|(name, _)| *name).collect();
    Error::new(Code::Config, format!("no preprocess preset `{name}`"))
        .help(format!("presets are {}; anything else is a YAML file", names.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<Preprocess> {
        let preprocess: Preprocess = yaml::parse(text, "p.yaml")?;
        preprocess.validate().map(|()| preprocess)
    }

    fn check(text: &str, want: &str) {
        assert_eq!(parsed(text).unwrap_err().to_string(), want, "{text}");
    }

    #[test]
    fn every_way_to_write_a_size() {
        let resize = |text: &str| parsed(&format!("kind: image\nresize: {text}\n")).unwrap().resize.unwrap();
        assert_eq!(resize("64").target(10, 20).unwrap(), [64, 64]);
        assert_eq!(resize("[32, 48]").target(10, 20).unwrap(), [32, 48]);
        assert_eq!(resize("{shorter: 256}").target(375, 500).unwrap(), [256, 341]);
        assert_eq!(resize("{shorter: 256}").target(500, 375).unwrap(), [341, 256]);
        assert!(resize("{shorter: 256}").target(1, 9000).is_err());
        assert_eq!(parsed("{kind: image, crop: [3, 4]}").unwrap().crop.unwrap().extents(), [3, 4]);
        assert_eq!(parsed("{kind: image, mean: 127, std: [128, 128, 128]}").unwrap().mean, [127.0]);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        check(
            "kind: image\nsize: 3\n",
            "p.yaml:2:1: unknown field `size`, expected one of `kind`, `resize`, `filter`, `crop`, `mean`, `std`, \
             `layout`, `channels` [TQ401]",
        );
        check("{kind: image, std: 0}", "`std` holds a number that cannot be used: [0.0] [TQ401]");
        check("{kind: image, mean: [1, 2]}", "`mean` has 2 numbers for 3 channels [TQ401]");
        check("{kind: image, channels: gray, mean: [1, 2, 3]}", "`mean` has 3 numbers for 1 channels [TQ401]");
        check("{kind: image, crop: 0}", "`crop` is not between 1 and 16384 pixels [TQ401]");
        check("{kind: tensor, crop: 8}", "`resize`, `crop`, `mean` and `std` need `kind: image` [TQ401]");
        check(
            "kind: image\nresize: big\n",
            "p.yaml:2:9: resize: invalid type: string \"big\", expected N, [HEIGHT, WIDTH] or {shorter: N} [TQ401]",
        );
        check(
            "kind: image\nresize: {longer: 3}\n",
            "p.yaml:2:10: resize: unknown field `longer`, expected `shorter` [TQ401]",
        );
        check(
            "kind: image\ncrop: {shorter: 3}\n",
            "p.yaml:2:7: crop: invalid type: map, expected N or [HEIGHT, WIDTH] [TQ401]",
        );
        check("kind: image\nmean: [a]\n", "p.yaml:2:8: mean[0]: invalid type: string \"a\", expected f32 [TQ401]");
    }

    #[test]
    fn presets_are_valid_and_an_unknown_one_lists_them() {
        for (name, _) in PRESETS {
            Preprocess::find(name).unwrap().validate().unwrap();
        }
        let error = Preprocess::find("imagent").unwrap_err();
        assert!(error.to_string().contains("presets are imagenet, "), "{error}");
    }

    #[test]
    fn value_range_is_what_0_and_255_become() {
        let range = |name| Preprocess::preset(name).unwrap().value_range().unwrap();
        assert_eq!(range("raw"), (0.0, 255.0));
        assert_eq!(range("tf"), (-1.0, 1.0));
        assert_eq!(range("lite"), (-127.0 / 128.0, 1.0));
        assert_eq!(range("imagenet"), ((0.0 - 123.675) / 58.395, (255.0 - 103.53) / 57.375));
        assert_eq!(Preprocess::default().value_range(), None);
    }

    #[test]
    fn what_is_printed_reads_back() {
        for (name, _) in PRESETS {
            let preset = Preprocess::preset(name).unwrap();
            assert_eq!(parsed(&yaml::print(&preset).unwrap()).unwrap(), preset);
        }
    }
}
