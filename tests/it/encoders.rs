//! Objects that encoders outside of crates wrote, assembled in both ways: `make encoders`.

use std::fs;
use std::path::{Path, PathBuf};

use bucket_brigade::checkpoint::Checkpoint;
use bucket_brigade::shape::Shape;

use super::both_ways::{Case, Outcome, json_only};

/// Where tests/encoders/encoders.py wrote plain bytes and objects, and reads bodies.
#[expect(clippy::disallowed_methods, reason = "given to the test by make")]
fn folder() -> Option<PathBuf> {
    std::env::var_os("BRIGADE_TEST_ENCODERS").map(PathBuf::from)
}

#[test]
fn objects_of_encoders_outside_of_crates_are_the_same_either_way() {
    let Some(folder) = folder() else {
        return;
    };
    let objects: Vec<PathBuf> = fs::read_dir(folder.join("objects"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    assert!(!objects.is_empty(), "no object in {}", folder.display());
    let (mut copied_bytes, mut source_bytes) = (0, 0);
    for path in &objects {
        let name = path.file_stem().unwrap().to_string_lossy();
        let object = fs::read(path).unwrap();
        let plain_name = name.split('.').next().unwrap();
        let plain = fs::read(folder.join(format!("plain/{plain_name}.log"))).unwrap();
        for (batch_bytes_max, step, is_json) in [
            (8 << 20, 1 << 20, false),
            (200_000, 10_000, plain_name == "ndjson"),
            (40_000, 777, false),
        ] {
            let case = Case {
                input: &object,
                shape: if is_json {
                    json_only()
                } else {
                    Shape::default()
                },
                batch_bytes_max,
                record_bytes_max: batch_bytes_max,
                level: 1,
                step,
                checkpoint: Checkpoint::default(),
            };
            // Shown if it fails.
            println!("{name} in batches of {batch_bytes_max}");
            let outcome = case.check();
            assert!(outcome.plain() == plain, "{name}");
            assert_eq!(outcome.end.as_ref().unwrap().offset, plain.len() as u64);
            let bodies = folder.join(format!("bodies/{name}.{batch_bytes_max}"));
            write(&bodies, &outcome);
            if batch_bytes_max > plain.len() {
                copied_bytes += Outcome::body_bytes(&outcome.copied);
                source_bytes += object.len();
            }
        }
    }
    // Encoders that store, or compress badly, are compressed better here; the others are copied.
    assert!(
        copied_bytes <= source_bytes,
        "{copied_bytes} of {source_bytes}"
    );
}

fn write(bodies: &Path, outcome: &Outcome) {
    fs::create_dir_all(bodies).unwrap();
    for (nth, batch) in outcome.copied.iter().enumerate() {
        fs::write(bodies.join(format!("{nth:05}.gz")), &batch.body.gzip).unwrap();
    }
}
