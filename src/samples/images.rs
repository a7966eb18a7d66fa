//! Samples from JPEG and PNG files.

use super::pixels::Pixels;
use super::preprocess::{Kind, read_text};
use super::{InputSpec, Preprocess, Request, Sample, SampleSet, check, extension, file_name};
use crate::{Code, Context, Error, Result};
use image::{DynamicImage, ImageFormat, ImageReader, Limits};
use rayon::prelude::*;
use std::fs::File;
use std::io::{Cursor, Read};
use std::path::{Component, Path, PathBuf};

const LABELS: &str = "labels.txt";
const LONGEST_SIDE: u32 = 16_384;
const MOST_BYTES: u64 = 256 << 20;

/// A picture file of a folder, and its class where there is one.
struct Entry {
    path: PathBuf,
    label: Option<i64>,
}

/// The selected pictures of a folder.
pub(super) fn folder(request: &Request) -> Result<SampleSet> {
    let entries = entries(request.path)?;
    let picked = request.selection.pick(entries.len()).at(|| request.path.display().to_string())?;
    let entries: Vec<&Entry> = picked.into_iter().filter_map(|i| entries.get(i)).collect();
    read_all(request, &entries)
}

/// One picture file.
pub(super) fn file(request: &Request) -> Result<SampleSet> {
    request.selection.pick(1).at(|| request.path.display().to_string())?;
    read_all(request, &[&Entry { path: request.path.to_owned(), label: None }])
}

/// How many pictures a folder holds.
pub(super) fn count(path: &Path) -> Result<usize> {
    entries(path).map(|entries| entries.len())
}

fn read_all(request: &Request, entries: &[&Entry]) -> Result<SampleSet> {
    let input = request.only_input("pictures")?;
    if request.preprocess.kind != Kind::Image {
        return Err(Error::new(Code::Samples, "pictures need to be told how they become a network input")
            .at(request.path.display().to_string())
            .help("give --preprocess FILE.yaml with `kind: image`, or a preset such as imagenet, tf, unit"));
    }
    let sample = |entry: &&Entry| sample(&entry.path, input, request.preprocess);
    let samples: Result<Vec<Sample>> = entries.par_iter().map(sample).collect();
    let labels = entries.iter().map(|entry| entry.label).collect();
    Ok(request.sample_set(samples?, labels, entries.iter().map(|entry| file_name(&entry.path)).collect()))
}

fn sample(path: &Path, input: &InputSpec, preprocess: &Preprocess) -> Result<Sample> {
    let array = decode(path)
        .and_then(|pixels| pixels.prepare(preprocess))
        .and_then(|array| check::fitted(array, input))
        .at(|| path.display().to_string())?;
    Ok(Sample { inputs: vec![(input.name.clone(), array)] })
}

fn decode(path: &Path) -> Result<Pixels> {
    let unreadable = |why: String| Error::new(Code::Samples, format!("cannot read the picture: {why}"));
    let bytes = read_bytes(path).map_err(|e| unreadable(e.to_string()))?;
    let mut reader = ImageReader::new(Cursor::new(&bytes));
    reader = reader.with_guessed_format().map_err(|e| unreadable(e.to_string()))?;
    if reader.format() == Some(ImageFormat::Jpeg) && is_cut_off(&bytes) {
        return Err(unreadable("the file is cut off".to_owned()));
    }
    let mut limits = Limits::default();
    (limits.max_image_width, limits.max_image_height) = (Some(LONGEST_SIDE), Some(LONGEST_SIDE));
    limits.max_alloc = Some(MOST_BYTES);
    reader.limits(limits);
    let image = reader.decode().map_err(|e| unreadable(in_words(&e.to_string())))?;
    let (height, width) = (image.height() as usize, image.width() as usize);
    let (channels, data) = match image {
        DynamicImage::ImageLuma8(_) | DynamicImage::ImageLumaA8(_) => (1, image.into_luma8().into_raw()),
        _ => (3, image.into_rgb8().into_raw()),
    };
    if data.is_empty() {
        return Err(unreadable("it has no pixels".to_owned()));
    }
    Ok(Pixels { height, width, channels, data })
}

/// The decoder names a chunk of PNG with all its flags: only the name says something.
fn in_words(why: &str) -> String {
    match why.split_once("ChunkType { type: ").and_then(|(before, rest)| Some((before, rest.split_once(" }")?))) {
        Some((before, (flags, after))) => {
            let name = flags.split(',').next().unwrap_or("");
            format!("{before}{name}{after}")
        }
        None => why.to_owned(),
    }
}

fn read_bytes(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = vec![];
    File::open(path)?.take(MOST_BYTES).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Whether a JPEG's last scan has no end: the decoder fills what is missing with grey and says nothing.
fn is_cut_off(bytes: &[u8]) -> bool {
    // Neither marker occurs inside the data of a scan, where 0xFF is followed by 0 or a restart marker.
    let last = |marker: u8| bytes.windows(2).rposition(|pair| pair == [0xFF, marker]);
    let (start, end) = (last(0xDA), last(0xD9));
    start.is_none() || end < start
}

fn entries(folder: &Path) -> Result<Vec<Entry>> {
    let list = folder.join(LABELS);
    let entries = if list.is_file() { labelled(folder, &list)? } else { listed(folder)? };
    if entries.is_empty() {
        return Err(Error::new(Code::Samples, "no samples in this folder")
            .at(folder.display().to_string())
            .help("it should hold JPEG or PNG files, or test_data_set_0 with input_0.pb"));
    }
    Ok(entries)
}

fn listed(folder: &Path) -> Result<Vec<Entry>> {
    let failed = |e: std::io::Error| Error::io(folder, "list", &e);
    let mut paths = vec![];
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if matches!(extension(&path).as_str(), "jpg" | "jpeg" | "png") && path.is_file() {
            paths.push(path);
        }
    }
    paths.sort_by(|a, b| a.as_os_str().as_encoded_bytes().cmp(b.as_os_str().as_encoded_bytes()));
    Ok(paths.into_iter().map(|path| Entry { path, label: None }).collect())
}

fn labelled(folder: &Path, list: &Path) -> Result<Vec<Entry>> {
    let text = read_text(list)?;
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    lines.map(|(i, line)| entry(folder, line).at(|| format!("{}:{}", list.display(), i + 1))).collect()
}

fn entry(folder: &Path, line: &str) -> Result<Entry> {
    let wrong =
        |message: String| Err(Error::new(Code::Samples, message).help("a line is a file name and its class number"));
    let Some((name, label)) = line.trim().rsplit_once(char::is_whitespace) else {
        return wrong(format!("no class in `{}`", line.trim()));
    };
    let Ok(label) = label.parse() else {
        return wrong(format!("class `{label}` is no whole number"));
    };
    let name = Path::new(name.trim_end());
    if !name.components().all(|part| matches!(part, Component::Normal(_))) {
        return wrong(format!("`{}` is not below this folder", name.display()));
    }
    let path = folder.join(name);
    if !path.is_file() {
        return wrong(format!("no file `{}`", name.display()));
    }
    Ok(Entry { path, label: Some(label) })
}
