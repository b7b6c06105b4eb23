//! The fields of the section `lora`.

use super::fields::{Field, Kind, default, optional};

pub(super) const LORA: &[Field] = &[
    default(
        "method",
        Kind::Choice(&["lora", "ia3", "vera", "adalora", "prompt_tuning", "prefix_tuning", "full"]),
        r#""lora""#,
        "\"lora\", \"ia3\", \"vera\", \"adalora\", \"prompt_tuning\", \"prefix_tuning\", or \"full\" to train every parameter of the\n\
         model as if this section were absent. A field that the method does not have must keep its default.",
    ),
    default("r", Kind::Whole, "8", "Rank of the adapters."),
    default(
        "lora_alpha",
        Kind::Number,
        "16.0",
        "The adapter is scaled by lora_alpha / r, or by lora_alpha / sqrt(r) with use_rslora.",
    ),
    default(
        "lora_dropout",
        Kind::Number,
        "0.05",
        "Probability with which an input of the adapter is dropped in training, in [0, 1).",
    ),
    optional(
        "target_modules",
        Kind::Targets,
        r#"["q_proj", "v_proj"]"#,
        "Adapted modules: a list of names, \"all-linear\" (every projection but the output head), or a regular\n\
         expression for the whole path. By default PEFT's choice for the architecture.",
    ),
    optional(
        "exclude_modules",
        Kind::Targets,
        r#"["k_proj"]"#,
        "Modules that are not adapted although target_modules names them: a list of names, or a regular\n\
         expression for the whole path.",
    ),
    optional(
        "layers_to_transform",
        Kind::WholeList,
        "[0, 1]",
        "Layers to adapt, counted from 0. By default all.",
    ),
    default(
        "rank_pattern",
        Kind::WholeMap,
        "{}",
        "Other ranks: regular expression for the end of a module's path = rank, for example\n\
         { \"layers.0.self_attn.q_proj\" = 4 }. The first that matches counts.",
    ),
    default("alpha_pattern", Kind::NumberMap, "{}", "Other alphas, as rank_pattern."),
    default(
        "bias",
        Kind::Choice(&["none", "all", "lora_only"]),
        r#""none""#,
        "Which biases of the base model are trained: \"none\", \"all\" or \"lora_only\" (of adapted modules).",
    ),
    default("use_rslora", Kind::Flag, "false", "Rank-stabilised LoRA: scale by lora_alpha / sqrt(r)."),
    default("use_dora", Kind::Flag, "false", "DoRA: the rows of the adapted weights get trained norms."),
    default(
        "lora_bias",
        Kind::Flag,
        "false",
        "Whether B has a trained bias. It can only be merged where the projection has a bias.",
    ),
    default("lora_fa", Kind::Flag, "false", "LoRA-FA: only B is trained, which takes less memory."),
    default(
        "init_lora_weights",
        Kind::Choice(&[
            "kaiming",
            "gaussian",
            "orthogonal",
            "pissa",
            "pissa_niter_4",
            "pissa_niter_16",
            "olora",
            "loftq",
        ]),
        r#""kaiming""#,
        "What the adapter starts with: \"kaiming\", \"gaussian\" and \"orthogonal\" leave the model as it is; \"pissa\" (exact),\n\
         \"pissa_niter_4\", \"pissa_niter_16\" (faster), \"olora\" and \"loftq\" take it out of the weights, which must not be\n\
         quantized but for \"olora\".",
    ),
    optional(
        "trainable_token_indices",
        Kind::WholeList,
        "[32000, 32001]",
        "Tokens whose rows of the embedding are trained, such as new ones.",
    ),
    optional(
        "modules_to_save",
        Kind::TextList,
        r#"["lm_head"]"#,
        "Modules that are trained whole and saved with the adapter.",
    ),
    optional(
        "feedforward_modules",
        Kind::Targets,
        r#"["down_proj"]"#,
        "ia3: targets whose input is multiplied, not their output. By default PEFT's choice for the architecture.",
    ),
    default(
        "d_initial",
        Kind::Number,
        "0.1",
        "vera: what every element of the trained vector before B starts with.",
    ),
    default("projection_prng_key", Kind::Whole, "0", "vera: seed of the matrices that all modules share."),
    default(
        "save_projection",
        Kind::Flag,
        "true",
        "vera: whether those matrices are saved with the adapter.",
    ),
    default("init_r", Kind::Whole, "12", "adalora: rank of every module at first; r is not used."),
    default("target_r", Kind::Whole, "8", "adalora: mean rank of the modules in the end."),
    default("tinit", Kind::Whole, "0", "adalora: steps before ranks are first reduced."),
    default("tfinal", Kind::Whole, "0", "adalora: steps after they are reduced for the last time."),
    default("deltaT", Kind::Whole, "1", "adalora: steps between two reductions."),
    default(
        "beta1",
        Kind::Number,
        "0.85",
        "adalora: how much of the smoothed sensitivity is kept in a step.",
    ),
    default(
        "beta2",
        Kind::Number,
        "0.85",
        "adalora: how much of the smoothed uncertainty is kept in a step.",
    ),
    default(
        "orth_reg_weight",
        Kind::Number,
        "0.5",
        "adalora: weight in the loss of the vectors' distance from orthonormal ones.",
    ),
    default(
        "num_virtual_tokens",
        Kind::Whole,
        "20",
        "prompt_tuning, prefix_tuning: how many trained tokens stand before a text. With data.packing = \"none\".",
    ),
];
