//! Whole loads, from files written here.

use super::*;
use crate::array::Values;
use image::{GrayImage, Luma, Rgb, RgbImage, Rgba, RgbaImage};
use npyz::WriterBuilder;
use std::fs;
use tempfile::{TempDir, tempdir};

fn spec(dims: &[usize]) -> Vec<InputSpec> {
    let dims: Vec<_> = std::iter::once(None).chain(dims.iter().copied().map(Some)).collect();
    vec![InputSpec::new("x", &dims, DataType::FLOAT)]
}

fn first(count: usize) -> Selection {
    Selection { skip: 0, count, seed: None }
}

fn raw() -> Preprocess {
    Preprocess::preset("raw").unwrap()
}

fn tensor() -> Preprocess {
    Preprocess { kind: Kind::Tensor, ..Preprocess::default() }
}

fn png(folder: &TempDir, name: &str, value: u8) {
    RgbImage::from_pixel(5, 4, Rgb([value, 0, 255])).save(folder.path().join(name)).unwrap();
}

fn npy<T: npyz::AutoSerialize + Copy>(path: &Path, shape: &[u64], values: &[T]) {
    let file = fs::File::create(path).unwrap();
    let mut writer = npyz::WriteOptions::new().default_dtype().shape(shape).writer(file).begin_nd().unwrap();
    writer.extend(values.iter().copied()).unwrap();
    writer.finish().unwrap();
}

/// An archive with the `.npy` files of the folder as members.
fn npz(folder: &TempDir, members: &[&str]) -> std::path::PathBuf {
    let path = folder.path().join("set.npz");
    let mut archive = npyz::npz::NpzWriter::create(&path).unwrap();
    for name in members {
        use std::io::Write;
        let bytes = fs::read(folder.path().join(format!("{name}.npy"))).unwrap();
        archive.zip_writer().start_file(format!("{name}.npy"), Default::default()).unwrap();
        archive.zip_writer().write_all(&bytes).unwrap();
    }
    drop(archive);
    path
}

fn firsts(set: &SampleSet) -> Vec<f32> {
    set.samples.iter().map(|s| s.inputs[0].1.as_f32().unwrap()[0]).collect()
}

#[test]
fn a_folder_is_read_bytewise_by_name_and_other_files_ignored() {
    let folder = tempdir().unwrap();
    for (name, value) in [("b.png", 2), ("a.PNG", 1), ("B.png", 3)] {
        png(&folder, name, value);
    }
    fs::write(folder.path().join("notes.md"), "not a picture").unwrap();
    fs::create_dir(folder.path().join("sub.png")).unwrap();
    let set = load(folder.path(), &spec(&[3, 4, 5]), &raw(), &first(99)).unwrap();
    assert_eq!(set.ids, ["B.png", "a.PNG", "b.png"]);
    assert_eq!(firsts(&set), [3.0, 1.0, 2.0]);
    assert_eq!((set.labels, set.synthetic), (None, false));
    assert_eq!(Some(set.source.as_str()), folder.path().file_name().and_then(|n| n.to_str()));
    assert_eq!(available(folder.path()).unwrap(), 3);
    let skipped = load(folder.path(), &spec(&[3, 4, 5]), &raw(), &Selection { skip: 1, ..first(1) }).unwrap();
    assert_eq!(skipped.ids, ["a.PNG"]);
}

#[test]
fn labels_give_order_and_classes() {
    let folder = tempdir().unwrap();
    png(&folder, "a.png", 1);
    png(&folder, "with space.png", 2);
    fs::write(folder.path().join("labels.txt"), "with space.png 7\n\na.png -1\n").unwrap();
    let set = load(folder.path(), &spec(&[3, 4, 5]), &raw(), &first(99)).unwrap();
    assert_eq!((firsts(&set), set.labels), (vec![2.0, 1.0], Some(vec![7, -1])));
    assert_eq!(available(folder.path()).unwrap(), 2);
}

#[test]
fn labels_that_lie_are_errors_with_their_line() {
    let check = |line: &str, want: &str| {
        let folder = tempdir().unwrap();
        png(&folder, "a.png", 1);
        fs::write(folder.path().join("labels.txt"), format!("a.png 0\n{line}\n")).unwrap();
        let error = load(folder.path(), &spec(&[3, 4, 5]), &raw(), &first(1)).unwrap_err();
        assert_eq!(error.code(), Code::Samples);
        assert!(error.to_string().contains(&format!("labels.txt:2: {want}")), "{error}");
    };
    check("missing.png 1", "no file `missing.png`");
    check("../a.png 1", "`../a.png` is not below this folder");
    check("/etc/passwd 1", "`/etc/passwd` is not below this folder");
    check("a.png", "no class in `a.png`");
    check("a.png cat", "class `cat` is no whole number");
}

#[test]
fn alpha_is_dropped_and_grey_is_spread() {
    let folder = tempdir().unwrap();
    RgbaImage::from_pixel(2, 1, Rgba([10, 20, 30, 0])).save(folder.path().join("a.png")).unwrap();
    GrayImage::from_pixel(2, 1, Luma([99])).save(folder.path().join("b.png")).unwrap();
    let set = load(folder.path(), &spec(&[3, 1, 2]), &raw(), &first(2)).unwrap();
    let values = |i: usize| set.samples[i].inputs[0].1.as_f32().unwrap().to_vec();
    assert_eq!(values(0), [10.0, 10.0, 20.0, 20.0, 30.0, 30.0]);
    assert_eq!(values(1), [99.0; 6]);
    let one = load(&folder.path().join("b.png"), &spec(&[3, 1, 2]), &raw(), &first(2)).unwrap();
    assert_eq!((one.samples.len(), &one.source[..], available(&folder.path().join("b.png")).unwrap()), (1, "b.png", 1));
}

#[test]
fn damaged_pictures_are_errors_that_name_them() {
    let picture = RgbImage::from_fn(64, 64, |x, y| Rgb([x as u8, y as u8, (x * y) as u8]));
    for name in ["a.png", "a.jpg"] {
        let folder = tempdir().unwrap();
        let path = folder.path().join(name);
        picture.save(&path).unwrap();
        let bytes = fs::read(&path).unwrap();
        for length in [0, 1, 20, bytes.len() / 2, bytes.len() - 13] {
            fs::write(&path, &bytes[..length]).unwrap();
            let error = load(folder.path(), &spec(&[3, 64, 64]), &raw(), &first(1)).unwrap_err();
            assert!(error.to_string().contains(&format!("{name}: cannot read the picture")), "{error}");
        }
    }
}

#[test]
fn a_damaged_chunk_is_named_without_its_flags() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("a.png");
    RgbImage::new(1, 1).save(&path).unwrap();
    let mut bytes = fs::read(&path).unwrap();
    bytes[29] ^= 1;
    fs::write(&path, bytes).unwrap();
    let error = load(&path, &spec(&[3, 1, 1]), &raw(), &first(1)).unwrap_err().to_string();
    assert!(error.contains("CRC error") && error.contains("IHDR") && !error.contains("ChunkType"), "{error}");
}

#[test]
fn a_picture_that_claims_to_be_huge_is_refused() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("a.png");
    RgbImage::new(1, 1).save(&path).unwrap();
    let mut bytes = fs::read(&path).unwrap();
    bytes[16..24].copy_from_slice(&[0, 0, 0x3F, 0xFF, 0, 0, 0x3F, 0xFF]);
    let crc = crc32(&bytes[12..29]);
    bytes[29..33].copy_from_slice(&crc.to_be_bytes());
    fs::write(&path, bytes).unwrap();
    let error = load(&path, &spec(&[3, 1, 1]), &raw(), &first(1)).unwrap_err();
    assert!(error.to_string().to_lowercase().contains("limit"), "{error}");
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |c, _| if c & 1 == 1 { c >> 1 ^ 0xEDB8_8320 } else { c >> 1 })
    })
}

#[test]
fn errors_before_anything_is_decoded() {
    let folder = tempdir().unwrap();
    let check = |path: &Path, inputs: &[InputSpec], preprocess: &Preprocess, want: &str| {
        let error = load(path, inputs, preprocess, &first(1)).unwrap_err().to_string();
        assert!(error.contains(want), "{error}");
    };
    check(&folder.path().join("none"), &spec(&[2]), &raw(), "none: cannot read samples: ");
    check(folder.path(), &spec(&[2]), &raw(), "no samples in this folder [TQ301]");
    png(&folder, "a.png", 1);
    check(folder.path(), &spec(&[3, 4, 5]), &Preprocess::default(), "help: give --preprocess");
    let two = [spec(&[3, 4, 5]), spec(&[2])].concat();
    check(folder.path(), &two, &raw(), "pictures can feed one input only, the graph has `x`, `x`");
    check(
        folder.path(),
        &spec(&[3, 4, 4]),
        &raw(),
        "a.png: wrong sample shape: input `x` wants [?, 3, 4, 4], found [1, 3, 4, 5]",
    );
    fs::write(folder.path().join("a.csv"), "1,2").unwrap();
    check(&folder.path().join("a.csv"), &spec(&[2]), &raw(), "a.csv: not samples in a known form");
}

#[test]
fn rows_of_an_npy_are_samples() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("rows.npy");
    npy(&path, &[3, 2], &[0.0f64, 1.0, 2.0, 3.0, 4.0, 5.0]);
    let set = load(&path, &spec(&[2]), &tensor(), &Selection { skip: 1, ..first(9) }).unwrap();
    assert_eq!(
        (firsts(&set), &set.ids[..], &set.source[..]),
        (vec![2.0, 4.0], &["1".to_owned(), "2".to_owned()][..], "rows.npy")
    );
    assert_eq!(set.samples[0].inputs[0].1.dims, [1, 2]);
    assert_eq!(available(&path).unwrap(), 3);
    let shuffled = load(&path, &spec(&[2]), &tensor(), &Selection { seed: Some(1), ..first(3) }).unwrap();
    for (id, value) in shuffled.ids.iter().zip(firsts(&shuffled)) {
        assert_eq!(id.parse::<f32>().unwrap() * 2.0, value);
    }
    let wrong = load(&path, &spec(&[3]), &tensor(), &first(1)).unwrap_err();
    assert!(wrong.to_string().ends_with("rows.npy: wrong sample shape: input `x` wants [?, 3], found [1, 2] [TQ301]"));
    npy(&path, &[2, 2], &[0.0f32, 1.0, 2.0, f32::NAN]);
    let error = load(&path, &spec(&[2]), &tensor(), &first(2)).unwrap_err();
    assert!(error.to_string().contains("rows.npy: row 1: input `x` holds NaN at element 1 [TQ105]"), "{error}");
}

#[test]
fn pictures_in_an_npz_are_prepared_and_labelled() {
    let folder = tempdir().unwrap();
    npy(&folder.path().join("x.npy"), &[2, 1, 2, 3], &(0..12).collect::<Vec<u8>>());
    npy(&folder.path().join("y.npy"), &[2], &[5i64, 6]);
    let path = npz(&folder, &["y", "x"]);
    let unit = Preprocess { mean: vec![1.0], ..raw() };
    let set = load(&path, &spec(&[3, 1, 2]), &unit, &Selection { skip: 1, ..first(1) }).unwrap();
    assert_eq!(set.samples[0].inputs[0].1, Array::from_f32(vec![1, 3, 1, 2], vec![5.0, 8.0, 6.0, 9.0, 7.0, 10.0]));
    assert_eq!(set.labels, Some(vec![6]));
    assert_eq!(available(&path).unwrap(), 2);
    let error = load(&path, &spec(&[3, 1, 2]), &Preprocess::default(), &first(1)).unwrap_err();
    assert!(error.to_string().contains("set.npz: array `x`: input `x` takes floats, the array holds bytes"), "{error}");
}

#[test]
fn several_inputs_come_from_arrays_of_their_names() {
    let folder = tempdir().unwrap();
    npy(&folder.path().join("ids.npy"), &[2, 3], &[1i64, 2, 3, 4, 5, 6]);
    npy(&folder.path().join("x.npy"), &[2, 1], &[0.5f32, 1.5]);
    let ids = InputSpec::new("ids", &[None, None], DataType::INT64);
    let inputs = [vec![ids], spec(&[1])].concat();
    let path = npz(&folder, &["ids", "x"]);
    let set = load(&path, &inputs, &Preprocess::default(), &first(2)).unwrap();
    assert_eq!(set.samples[1].inputs[0].1.values, Values::I64(vec![4, 5, 6]));
    assert_eq!(set.samples[1].inputs[1].1.values, Values::F32(vec![1.5]));
    let missing = load(&npz(&folder, &["ids"]), &inputs, &tensor(), &first(2)).unwrap_err();
    assert!(missing.to_string().contains("no array for input `x`; there are: ids"), "{missing}");
    npy(&folder.path().join("x.npy"), &[3, 1], &[0.5f32, 1.5, 2.5]);
    let uneven = load(&npz(&folder, &["ids", "x"]), &inputs, &tensor(), &first(2)).unwrap_err();
    assert!(uneven.to_string().contains("array `x`: 3 rows, but `ids` has 2"), "{uneven}");
}

#[test]
fn damaged_archives_are_errors() {
    let folder = tempdir().unwrap();
    npy(&folder.path().join("x.npy"), &[50, 2], &[0.25f32; 100]);
    let path = npz(&folder, &["x"]);
    let bytes = fs::read(&path).unwrap();
    for length in 0..bytes.len() {
        fs::write(&path, &bytes[..length]).unwrap();
        assert!(load(&path, &spec(&[2]), &tensor(), &first(50)).is_err(), "{length}");
    }
}

/// Real data that lies beside the repository on some machines.
fn assets() -> Option<std::path::PathBuf> {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/assets/data");
    if data.is_dir() {
        return Some(data);
    }
    eprintln!("skipped: no real data at {}", data.display());
    None
}

#[test]
fn real_data_reads_as_numpy_and_pillow_read_it() {
    let Some(data) = assets() else { return };
    // Labels and first values were printed by Python, with the formulas of the data's own description.
    let cifar = load(&data.join("cifar10_calib256.npz"), &spec(&[3, 32, 32]), &raw(), &first(4)).unwrap();
    assert_eq!((firsts(&cifar), cifar.labels), (vec![215.0, 251.0, 255.0, 42.0], Some(vec![5, 3, 4, 9])));
    let tf = Preprocess::preset("tf").unwrap();
    let imagenet = load(&data.join("imagenet_calib64"), &spec(&[3, 224, 224]), &tf, &first(4)).unwrap();
    assert_eq!(imagenet.labels, Some(vec![8, 12, 16, 32]));
    for (mean, want) in means(&imagenet).into_iter().zip([-0.3801, -0.0726, 0.1006, -0.0588]) {
        assert!((mean - want).abs() < 0.5 / 127.5, "{mean} {want}");
    }
}

fn means(set: &SampleSet) -> Vec<f32> {
    let mean = |values: &[f32]| values.iter().sum::<f32>() / values.len() as f32;
    set.samples.iter().map(|s| mean(s.inputs[0].1.as_f32().unwrap())).collect()
}

fn fixed_rate(rate: &str) -> Vec<FixedInput> {
    let text =
        "<ir_version: 8, opset_import: [\"\" : 13]> g (float[N,2] x, int64 rate, float[N] z) => (y) { y = Relu (x) }";
    let graph = crate::graph::Graph::new(crate::onnx::parse_text(text).unwrap(), crate::onnx::ExternalData::none());
    fixed_inputs(&graph, &[("rate".to_owned(), rate.to_owned())].into(), &Default::default()).unwrap()
}

#[test]
fn archives_may_hold_a_fixed_input_or_leave_it_out() {
    let folder = tempdir().unwrap();
    let write =
        |name: &str, shape: &[u64], values: &[i64]| npy(&folder.path().join(format!("{name}.npy")), shape, values);
    npy(&folder.path().join("x.npy"), &[3, 2], &[0.0f32; 6]);
    let read = |members: &[&str], rate: &str| {
        let path = npz(&folder, members);
        let inputs = [InputSpec::new("x", &[Some(1), Some(2)], DataType::FLOAT)];
        assert_eq!(available_open(&path, &fixed_rate(rate)).unwrap(), 3);
        load_open(&path, &inputs, &fixed_rate(rate), &tensor(), &first(9)).map(|set| set.samples)
    };
    let without = read(&["x"], "8000").unwrap();
    assert_eq!((without.len(), without[0].inputs.len()), (3, 1));
    write("rate", &[3], &[8000, 8000, 16_000]);
    let error = read(&["x", "rate"], "8000").unwrap_err().to_string();
    assert!(error.contains("array `rate`: row 2: input `rate` holds 16000, and it is fixed at 8000"), "{error}");
    write("rate", &[3], &[8000; 3]);
    assert_eq!(read(&["rate", "x"], "8000").unwrap(), without);
    write("rate", &[], &[8000]);
    assert_eq!(read(&["rate", "x"], "8000").unwrap(), without);
    assert!(read(&["rate", "x"], "1").is_err());
    write("rate", &[2], &[8000; 2]);
    let error = read(&["rate", "x"], "8000").unwrap_err().to_string();
    assert!(error.contains("2 rows, but `x` has 3") && error.contains("leave it out: it is fixed"), "{error}");
}

#[test]
fn a_single_array_feeds_the_input_that_is_left_open() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("set.npy");
    npy(&path, &[2, 2], &[1.0f32, 2.0, 3.0, 4.0]);
    let inputs = [InputSpec::new("x", &[Some(1), Some(2)], DataType::FLOAT)];
    let set = load_open(&path, &inputs, &fixed_rate("1"), &tensor(), &first(9)).unwrap();
    assert_eq!(firsts(&set), [1.0, 3.0]);
}
