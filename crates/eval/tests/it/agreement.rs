//! Agreement of raters against scikit-learn 1.9.1, statsmodels 0.15 and krippendorff 0.9, to 1e-9; Gwet's
//! coefficients by hand.

use burnisher_eval::{
    KappaWeights, Measurement, cohen_kappa, fleiss_kappa, gwet_ac, krippendorff_alpha, randolph_kappa,
};
use proptest::prelude::*;

use crate::{close, fixture, list, number};

#[test]
fn kappas_match() {
    let Some(data) = fixture("agreement.json") else {
        return;
    };
    let cases = list(&data["cohen"]);
    assert_eq!(cases.len(), 6);
    for (index, case) in cases.iter().enumerate() {
        let ratings =
            |name: &str| -> Vec<u64> { list(&case[name]).iter().map(|r| r.as_u64().unwrap()).collect() };
        let weighted = [
            (KappaWeights::Unweighted, "kappa"),
            (KappaWeights::Linear, "linear"),
            (KappaWeights::Quadratic, "quadratic"),
        ];
        for (weights, name) in weighted {
            let got = cohen_kappa(&ratings("a"), &ratings("b"), weights).unwrap();
            match case[name].as_f64() {
                Some(wanted) => close(got.unwrap(), wanted, &format!("case {index}, {name}")),
                None => assert_eq!(got, None, "case {index}, {name}"),
            }
        }
    }
    let cases = list(&data["fleiss"]);
    assert_eq!(cases.len(), 4);
    for (index, case) in cases.iter().enumerate() {
        let table: Vec<Vec<u64>> = serde_json::from_value(case["table"].clone()).unwrap();
        let what = format!("case {index}");
        close(fleiss_kappa(&table).unwrap().unwrap(), number(&case["kappa"]), &what);
        close(randolph_kappa(&table).unwrap().unwrap(), number(&case["randolph"]), &what);
    }
    let error = fleiss_kappa(&[vec![2, 0], vec![2, 1]]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "fleiss kappa: the number of raters of item 1 is 3 in 2 categories, wanted those of item 0: equally many \
         raters and categories everywhere"
    );
}

#[test]
fn alphas_match() {
    let Some(data) = fixture("agreement.json") else {
        return;
    };
    let cases = list(&data["krippendorff"]);
    assert_eq!(cases.len(), 7);
    let mut tried = 0;
    for (index, case) in cases.iter().enumerate() {
        let ratings: Vec<Vec<Option<f64>>> =
            serde_json::from_value(case["ratings_rater_by_item"].clone()).unwrap();
        let levels = [
            (Measurement::Nominal, "nominal"),
            (Measurement::Ordinal, "ordinal"),
            (Measurement::Interval, "interval"),
            (Measurement::Ratio, "ratio"),
        ];
        for (level, name) in levels {
            if let Some(wanted) = case.get(name).map(number) {
                tried += 1;
                let got = krippendorff_alpha(&ratings, level).unwrap().unwrap();
                close(got, wanted, &format!("case {index}, {name}"));
            }
        }
    }
    assert_eq!(tried, 26);
}

#[test]
fn gwets_coefficients_by_hand() {
    let ratings = |rows: &[&[i32]]| -> Vec<Vec<Option<f64>>> {
        rows.iter().map(|row| row.iter().map(|r| (*r > 0).then_some(f64::from(*r))).collect()).collect()
    };
    // Nine of ten items agree on 1: pa 0.9, shares 0.95 and 0.05, pe 2·0.95·0.05 = 0.095; kappa would be 0.
    let skewed = ratings(&[&[1, 1, 1, 1, 1, 1, 1, 1, 1, 1], &[1, 1, 1, 1, 1, 1, 1, 1, 1, 2]]);
    let ac1 = gwet_ac(&skewed, KappaWeights::Unweighted).unwrap().unwrap();
    close(ac1, (0.9 - 0.095) / (1.0 - 0.095), "AC1");
    // Three categories, linear weights 1, ½, 0: pa (1 + ½ + 1) / 3, shares ½, ⅙, ⅓; Σ weights 5, so
    // pe = 5 / 6 · (¼ + 5/36 + 2/9).
    let three = ratings(&[&[1, 1, 3], &[1, 2, 3]]);
    let pe = 5.0 / 6.0 * (0.25 + 5.0 / 36.0 + 2.0 / 9.0);
    let ac2 = gwet_ac(&three, KappaWeights::Linear).unwrap().unwrap();
    close(ac2, (2.5 / 3.0 - pe) / (1.0 - pe), "AC2");
    assert_eq!(gwet_ac(&ratings(&[&[1, 1], &[1, 1]]), KappaWeights::Unweighted).unwrap(), None);
    assert!(gwet_ac(&ratings(&[&[1, 0], &[0, 1]]), KappaWeights::Unweighted).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn full_agreement_is_1_and_order_is_nothing(
        rows in prop::collection::vec(prop::collection::vec(prop::option::of(1..4u8), 6), 2..5),
    ) {
        let ratings = |rows: &[Vec<Option<u8>>]| -> Vec<Vec<Option<f64>>> {
            rows.iter().map(|row| row.iter().map(|r| r.map(f64::from)).collect()).collect()
        };
        let turned: Vec<Vec<Option<u8>>> =
            rows.iter().rev().map(|row| row.iter().rev().copied().collect()).collect();
        let same = vec![rows[0].clone(), rows[0].clone()];
        let levels = [Measurement::Nominal, Measurement::Ordinal, Measurement::Interval, Measurement::Ratio];
        for level in levels {
            let alpha = |rows: &[Vec<Option<u8>>]| krippendorff_alpha(&ratings(rows), level).ok().flatten();
            if let Some(value) = alpha(&same) {
                prop_assert!((value - 1.0).abs() < 1e-12);
            }
            let (there, back) = (alpha(&rows), alpha(&turned));
            prop_assert_eq!(there.is_some(), back.is_some());
            if let (Some(there), Some(back)) = (there, back) {
                prop_assert!(there <= 1.0 + 1e-12 && (there - back).abs() < 1e-9);
            }
        }
        if let Ok(Some(value)) = gwet_ac(&ratings(&rows), KappaWeights::Quadratic) {
            prop_assert!(value <= 1.0 + 1e-12);
        }
    }

    #[test]
    fn kappa_is_symmetric(rows in prop::collection::vec((0..3u8, 0..3u8), 1..20)) {
        let (left, right): (Vec<u8>, Vec<u8>) = rows.into_iter().unzip();
        for weights in [KappaWeights::Unweighted, KappaWeights::Linear, KappaWeights::Quadratic] {
            let there: Option<f64> = cohen_kappa(&left, &right, weights).unwrap();
            let back = cohen_kappa(&right, &left, weights).unwrap();
            prop_assert_eq!(there.is_some(), back.is_some());
            if let (Some(there), Some(back)) = (there, back) {
                prop_assert!((there - back).abs() < 1e-12 && there <= 1.0);
            }
            prop_assert!(cohen_kappa(&left, &left, weights).unwrap().is_none_or(|kappa| kappa == 1.0));
        }
    }
}
