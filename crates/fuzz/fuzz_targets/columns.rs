//! Column mappings. One that was read is written and reads equal.
#![no_main]

use burnisher_data::ColumnMap;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    match serde_json::from_slice::<ColumnMap>(data) {
        Ok(map) => {
            let text = serde_json::to_string(&map).unwrap();
            assert_eq!(serde_json::from_str::<ColumnMap>(&text).unwrap(), map);
            assert_eq!(map.is_empty(), text == "{}");
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});
