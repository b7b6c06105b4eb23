//! PEFT adapter directories: byte for byte what PEFT wrote, and files that lie.

use std::{collections::BTreeMap, fs, path::Path};

use burnisher_lora::{
    AdapterDtype, AdapterTensor, LoraConfig, LoraError, PeftFiles, TargetModules, TensorProblems,
};
use safetensors::{
    Dtype,
    tensor::{TensorView, serialize},
};

use crate::config::{OTHERS, SUPPORTED, fixture};

const MODEL: &str = "adapter_model.safetensors";
const CONFIG: &str = "adapter_config.json";

fn small() -> PeftFiles {
    let config = LoraConfig::new(2).with_target_modules(TargetModules::suffixes(["q_proj"]));
    let tensors = BTreeMap::from([
        (key("lora_A.weight"), AdapterTensor::new([2, 3], vec![0.5, -1.0, 2.0, 0.0, 1.5, -0.25])),
        (key("lora_B.weight"), AdapterTensor::new([4, 2], vec![0.0; 8])),
    ]);
    PeftFiles { config: config.into(), tensors }
}

fn key(tail: &str) -> String {
    format!("base_model.model.model.layers.0.self_attn.q_proj.{tail}")
}

fn shapes(files: &PeftFiles) -> BTreeMap<String, Vec<usize>> {
    files.tensors.iter().map(|(name, tensor)| (name.clone(), tensor.shape.clone())).collect()
}

/// Puts a configuration and these tensors (name, type, shape, bytes) into `dir`.
fn write_raw(dir: &Path, tensors: &[(&str, Dtype, &[usize], Vec<u8>)]) {
    fs::write(dir.join(CONFIG), small().config.to_json()).unwrap();
    let views = tensors
        .iter()
        .map(|(name, dtype, shape, bytes)| (*name, TensorView::new(*dtype, shape.to_vec(), bytes).unwrap()));
    fs::write(dir.join(MODEL), serialize(views, None).unwrap()).unwrap();
}

fn f32_bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

#[test]
fn adapters_of_peft_are_written_back_byte_for_byte() {
    for name in SUPPORTED.iter().chain(OTHERS) {
        let Some(path) = fixture(&format!("{name}/{MODEL}")) else { continue };
        let source = path.parent().unwrap();
        let files = PeftFiles::read(source).unwrap();
        assert!(!files.tensors.is_empty());
        let dir = tempfile::tempdir().unwrap();
        files.write(dir.path()).unwrap();
        let again = PeftFiles::read(dir.path()).unwrap();
        assert_eq!(again.tensors.len(), files.tensors.len());
        for (key, tensor) in &files.tensors {
            let bits = |tensor: &AdapterTensor| tensor.values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(&again.tensors[key]), bits(tensor), "{name} {key}");
            assert_eq!(again.tensors[key].shape, tensor.shape, "{name} {key}");
        }
        for file in [MODEL, CONFIG] {
            let (wanted, found) =
                (fs::read(source.join(file)).unwrap(), fs::read(dir.path().join(file)).unwrap());
            assert!(found == wanted, "{name}/{file} differs from PEFT's");
        }
    }
}

#[test]
fn number_types_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let mut files = small();
    let values = vec![0.5, -1.0, 65504.0, 2.0_f32.powi(-14), 0.0, -3.25];
    for (tail, dtype) in
        [("lora_A.weight", AdapterDtype::F32), ("a", AdapterDtype::F16), ("b", AdapterDtype::BF16)]
    {
        // 65504 is the largest f16, and not a bf16.
        let values: Vec<f32> = match dtype {
            AdapterDtype::BF16 => [0.5, -1.0, 3.0e38_f32, 1.0e-38, 0.0, -3.25]
                .into_iter()
                .map(|value| f32::from_bits(value.to_bits() & 0xffff_0000))
                .collect(),
            _ => values.clone(),
        };
        files.tensors.insert(key(tail), AdapterTensor::new([6], values).with_dtype(dtype));
    }
    files.write(dir.path()).unwrap();
    assert_eq!(PeftFiles::read(dir.path()).unwrap().tensors, files.tensors);
}

/// PEFT in memory, some of its forks and older versions have the adapter's name in the tensor's name.
#[test]
fn adapter_names_inside_tensor_names_are_accepted() {
    let dir = tempfile::tempdir().unwrap();
    let one = || f32_bytes(&[1.0]);
    write_raw(
        dir.path(),
        &[
            ("base_model.model.q.lora_A.default.weight", Dtype::F32, &[1, 1], one()),
            ("base_model.model.q.lora_B.weight", Dtype::F32, &[1, 1], one()),
            ("base_model.model.lm_head.modules_to_save.default.weight", Dtype::F32, &[1, 1], one()),
        ],
    );
    let files = PeftFiles::read(dir.path()).unwrap();
    let names: Vec<&str> = files.tensors.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        [
            "base_model.model.lm_head.weight",
            "base_model.model.q.lora_A.weight",
            "base_model.model.q.lora_B.weight"
        ]
    );

    write_raw(
        dir.path(),
        &[
            ("q.lora_A.default.weight", Dtype::F32, &[1, 1], one()),
            ("q.lora_A.other.weight", Dtype::F32, &[1, 1], one()),
        ],
    );
    let error = PeftFiles::read(dir.path()).unwrap_err().to_string();
    assert!(error.contains(MODEL) && error.contains("several adapters"), "{error}");
}

#[test]
fn every_tensor_that_does_not_fit_is_listed() {
    let mut files = small();
    let expected = shapes(&files);
    files.check(&expected).unwrap();

    let a = files.tensors.remove(&key("lora_A.weight")).unwrap();
    files.tensors.insert("q_proj.lora_A.weight".into(), a);
    files.tensors.insert(key("lora_B.weight"), AdapterTensor::new([8, 2], vec![0.0; 16]));
    files.tensors.insert("extra".into(), AdapterTensor::new([1], vec![0.0]));
    let error = files.check(&expected).unwrap_err();
    let message = error.to_string();
    let LoraError::TensorMismatch(TensorProblems { missing, unexpected, shapes }) = error else {
        panic!("{message}")
    };
    assert_eq!(missing, [key("lora_A.weight")]);
    assert_eq!(unexpected, ["extra", "q_proj.lora_A.weight"]);
    assert_eq!(shapes.len(), 1);
    assert_eq!((&shapes[0].found, &shapes[0].wanted), (&vec![8, 2], &vec![4, 2]));
    assert!(message.contains("found shape [8, 2], wanted [4, 2]"), "{message}");
}

/// PEFT saves the frozen weight of an adapted head along with the adapter.
#[test]
fn the_base_weight_of_an_adapted_module_may_be_there() {
    let mut files = small();
    let expected = shapes(&files);
    files.tensors.insert(key("base_layer.weight"), AdapterTensor::new([4, 3], vec![0.0; 12]));
    files.check(&expected).unwrap();
    files.tensors.insert(key("base_layer.weight"), AdapterTensor::new([3, 4], vec![0.0; 12]));
    let error = files.check(&expected).unwrap_err().to_string();
    assert!(error.contains("found shape [3, 4], wanted [4, 3]"), "{error}");

    let Some(path) = fixture(&format!("peft/llama2/lm_head_target/{MODEL}")) else { return };
    let files = PeftFiles::read(path.parent().unwrap()).unwrap();
    let mut expected = shapes(&files);
    expected.remove("base_model.model.lm_head.base_layer.weight").unwrap();
    files.check(&expected).unwrap();
}

#[test]
fn truncated_and_lying_files_are_errors_with_the_path() {
    let dir = tempfile::tempdir().unwrap();
    small().write(dir.path()).unwrap();
    let whole = fs::read(dir.path().join(MODEL)).unwrap();
    let header = |text: &str, data: usize| {
        let mut bytes = (text.len() as u64).to_le_bytes().to_vec();
        bytes.extend_from_slice(text.as_bytes());
        bytes.resize(bytes.len() + data, 0);
        bytes
    };
    let mut cases: Vec<(String, Vec<u8>)> = [0, 1, 7, 8, 9, whole.len() / 2, whole.len() - 1]
        .into_iter()
        .map(|length| (format!("cut to {length}"), whole[..length].to_vec()))
        .collect();
    let mut longer = whole.clone();
    longer.push(0);
    cases.push(("longer".into(), longer));
    cases.push(("header of 2^64-1 bytes".into(), vec![0xff; 64]));
    for (text, data) in [
        (r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}"#, 4),
        (r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}"#, 8),
        (r#"{"a":{"dtype":"F32","shape":[4611686018427387904],"data_offsets":[0,4]}}"#, 4),
        (r#"{"a":{"dtype":"U8","shape":[1],"data_offsets":[18446744073709551614,18446744073709551615]}}"#, 1),
        (r#"{"a":{"dtype":"I64","shape":[1],"data_offsets":[0,8]}}"#, 8),
        (r#"{"a":{"dtype":"F99","shape":[1],"data_offsets":[0,4]}}"#, 4),
        (r#"{"a":7}"#, 0),
        ("[]", 0),
        ("{", 0),
    ] {
        cases.push((text.into(), header(text, data)));
    }
    for (name, bytes) in cases {
        fs::write(dir.path().join(MODEL), bytes).unwrap();
        let error = PeftFiles::read(dir.path()).unwrap_err();
        let is_it = matches!(&error, LoraError::Safetensors { path, .. } if *path == dir.path().join(MODEL));
        assert!(is_it, "{name}: {error}");
    }
}

/// Sizes that are each possible and together more than 2⁶⁴: an overflow in the reader, if it adds first.
#[test]
fn sizes_that_overflow_together_are_an_error() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join(CONFIG), small().config.to_json()).unwrap();
    let size = (1_u64 << 61) - 1;
    let mut entries = Vec::new();
    for index in 0..8 {
        let (start, end) = (index * size, (index + 1) * size);
        entries
            .push(format!(r#""t{index}":{{"dtype":"U8","shape":[{size}],"data_offsets":[{start},{end}]}}"#));
    }
    // Together 2⁶⁴ - 8; with the header it passes 2⁶⁴.
    let text = format!("{{{}}}", entries.join(","));
    let mut bytes = (text.len() as u64).to_le_bytes().to_vec();
    bytes.extend_from_slice(text.as_bytes());
    fs::write(dir.path().join(MODEL), bytes).unwrap();
    let error = PeftFiles::read(dir.path()).unwrap_err().to_string();
    assert!(error.contains("t0 claims to end at byte"), "{error}");
}

#[test]
fn numbers_that_are_not_finite_are_neither_read_nor_written() {
    let dir = tempfile::tempdir().unwrap();
    let not_finite = [f32::NAN, f32::INFINITY];
    write_raw(
        dir.path(),
        &[
            ("x.lora_A.weight", Dtype::F32, &[1], f32_bytes(&[1.0])),
            ("y.lora_A.weight", Dtype::F32, &[2], f32_bytes(&not_finite)),
            ("z.lora_A.weight", Dtype::F32, &[1], f32_bytes(&not_finite[..1])),
        ],
    );
    let error = PeftFiles::read(dir.path()).unwrap_err();
    assert!(
        matches!(&error, LoraError::NonFiniteTensors { tensors, .. } if *tensors == ["y.lora_A.weight", "z.lora_A.weight"]),
        "{error}"
    );

    // 70000 is a number, but not an f16.
    small().write(dir.path()).unwrap();
    let mut files = small();
    let large = AdapterTensor::new([1], vec![70000.0]).with_dtype(AdapterDtype::F16);
    files.tensors.insert(key("large"), large);
    let error = files.write(dir.path()).unwrap_err();
    assert!(matches!(&error, LoraError::NonFiniteTensors { tensors, .. } if *tensors == [key("large")]));
    // What was there is untouched.
    assert_eq!(PeftFiles::read(dir.path()).unwrap().tensors, small().tensors);
}

#[test]
fn what_is_missing_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let read = || PeftFiles::read(dir.path()).unwrap_err().to_string();
    assert!(read().contains(CONFIG), "{}", read());
    fs::write(dir.path().join(CONFIG), small().config.to_json()).unwrap();
    assert!(read().contains(MODEL), "{}", read());
    fs::write(dir.path().join("adapter_model.bin"), b"PK").unwrap();
    let error = read();
    assert!(error.contains("adapter_model.bin") && error.contains("pickle"), "{error}");
}

#[test]
fn writing_replaces_and_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("a/b");
    small().write(&target).unwrap();
    let mut files = small();
    files.tensors.insert(key("lora_B.weight"), AdapterTensor::new([4, 2], vec![1.0; 8]));
    files.write(&target).unwrap();
    assert_eq!(PeftFiles::read(&target).unwrap().tensors, files.tensors);
    let mut names: Vec<_> = fs::read_dir(&target).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, [CONFIG, MODEL]);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        // Not the owner's alone, as temporary files are, but what any new file gets.
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode();
        fs::write(target.join("new"), b"").unwrap();
        assert_eq!(mode(&target.join(MODEL)), mode(&target.join("new")));
    }

    // A file where the directory should be.
    let file = dir.path().join("file");
    fs::write(&file, b"x").unwrap();
    let error = small().write(&file).unwrap_err();
    assert!(matches!(&error, LoraError::Write { path, .. } if *path == file), "{error}");
}
