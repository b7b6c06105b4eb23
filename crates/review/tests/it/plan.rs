//! Order, sides and repeats.

use std::collections::{BTreeSet, HashSet};

use burnisher_review::{Item, Judge, Plan, Showing, Study, StudyOptions};
use proptest::prelude::*;

fn study(items: usize, systems: usize, repeats: f64, seed: u64, judges: &[&str]) -> Study {
    let outputs = |item: usize| (0..systems).map(move |s| (format!("s{s}"), format!("{s} on {item}")));
    let items = (0..items).map(|item| Item::new(format!("i{item}"), "p", outputs(item))).collect();
    let judges = judges.iter().map(|judge| Judge::new(*judge));
    Study::new(items)
        .with_options(StudyOptions::new().with_seed(seed).with_repeats(repeats).with_judges(judges))
}

proptest! {
    /// Every pair once, the wanted repeats with swapped sides and far from their first showing.
    #[test]
    fn every_pair_is_shown_once_and_some_twice(
        items in 1usize..12, systems in 2usize..5, repeats in 0.0..=1.0f64, seed: u64,
    ) {
        let plan = Plan::new(&study(items, systems, repeats, seed, &["Ada", "Bob"])).expect("a plan");
        let pairs = systems * (systems - 1) / 2;
        for judge in 0..2 {
            let tasks = plan.tasks(judge);
            let (first, again): (Vec<_>, Vec<_>) =
                tasks.iter().enumerate().partition(|(_, task)| task.showing == Showing::First);
            let key = |task: &burnisher_review::Task| {
                (task.item, BTreeSet::from([task.left.clone(), task.right.clone()]))
            };
            let shown: HashSet<_> = first.iter().map(|(_, task)| key(task)).collect();
            prop_assert_eq!(shown.len(), items * pairs);
            prop_assert_eq!(first.len(), items * pairs);
            prop_assert_eq!(again.len(), (repeats * items as f64).round() as usize);
            let repeated: HashSet<_> = again.iter().map(|(_, task)| task.item).collect();
            prop_assert_eq!(repeated.len(), again.len());
            for (place, task) in &again {
                let (before, original) =
                    first.iter().find(|(_, one)| key(one) == key(task)).expect("shown before");
                prop_assert_eq!((&original.left, &original.right), (&task.right, &task.left));
                prop_assert!(place - before >= again.len());
            }
            let ids: HashSet<&str> = tasks.iter().map(|task| task.id.as_str()).collect();
            prop_assert_eq!(ids.len(), tasks.len());
        }
    }
}

#[test]
fn a_judge_s_tasks_do_not_depend_on_other_judges_or_items() {
    let small = Plan::new(&study(5, 3, 0.0, 4, &["Ada"])).expect("a plan");
    let large = Plan::new(&study(9, 3, 0.0, 4, &["Bob", "Ada"])).expect("a plan");
    let ada = large.judge("Ada").expect("in the study");
    let kept: Vec<_> = large.tasks(ada).iter().filter(|task| task.item < 5).cloned().collect();
    assert_eq!(kept, small.tasks(0));
}

#[test]
fn order_and_sides_differ_between_judges_and_seeds() {
    let plan = Plan::new(&study(64, 2, 0.0, 4, &["Ada", "Bob"])).expect("a plan");
    let other = Plan::new(&study(64, 2, 0.0, 5, &["Ada", "Bob"])).expect("a plan");
    let order = |plan: &Plan, judge| plan.tasks(judge).iter().map(|task| task.item).collect::<Vec<_>>();
    let left = |plan: &Plan, judge| plan.tasks(judge).iter().filter(|task| task.left == "s0").count();
    assert_ne!(order(&plan, 0), order(&plan, 1));
    assert_ne!(order(&plan, 0), order(&other, 0));
    assert_ne!(order(&plan, 0), (0..64).collect::<Vec<_>>());
    for judge in 0..2 {
        assert!((16..=48).contains(&left(&plan, judge)), "{} of 64 on the left", left(&plan, judge));
    }
}

#[test]
fn equal_outputs_are_not_shown_and_pairs_are_limited() {
    let mut study = study(6, 4, 0.0, 1, &["Ada"]);
    let copy = study.items[0].outputs["s0"].clone();
    study.items[0].outputs.insert("s1".to_owned(), copy);
    let plan = Plan::new(&study).expect("a plan");
    assert_eq!((plan.identical_pairs(), plan.tasks(0).len()), (1, 6 * 6 - 1));

    study.options = study.options.with_pairs_per_item(2);
    let plan = Plan::new(&study).expect("a plan");
    let per_item: Vec<usize> =
        (0..6).map(|item| plan.tasks(0).iter().filter(|task| task.item == item).count()).collect();
    assert_eq!(per_item, [2; 6]);
}
