//! Which vector instructions the fast paths use.

use std::sync::OnceLock;

/// A set of vector instructions; each holds those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    /// What the compiler makes of plain loops for the target.
    Portable,
    /// x86-64-v3: AVX2, FMA, F16C, BMI.
    Avx2,
    /// AVX-512 F, BW, DQ and VL.
    Avx512,
    /// AVX-512 with products of bf16 pairs.
    Avx512Bf16,
}

impl Level {
    const ALL: [(Self, &'static str); 4] = [
        (Self::Portable, "portable"),
        (Self::Avx2, "avx2"),
        (Self::Avx512, "avx512"),
        (Self::Avx512Bf16, "avx512bf16"),
    ];

    /// The levels of this processor, the lowest first.
    pub(crate) fn available() -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().map(|(level, _)| level).filter(|level| level.is_available())
    }

    #[cfg(target_arch = "x86_64")]
    fn is_available(self) -> bool {
        let avx2 = || {
            is_x86_feature_detected!("avx2")
                && is_x86_feature_detected!("fma")
                && is_x86_feature_detected!("f16c")
                && is_x86_feature_detected!("bmi1")
                && is_x86_feature_detected!("bmi2")
        };
        let avx512 = || {
            avx2()
                && is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512vl")
        };
        match self {
            Self::Portable => true,
            Self::Avx2 => avx2(),
            Self::Avx512 => avx512(),
            Self::Avx512Bf16 => avx512() && is_x86_feature_detected!("avx512bf16"),
        }
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn is_available(self) -> bool {
        self == Self::Portable
    }

    /// The highest level of this processor, or a lower one that the environment variable `BURNISHER_SIMD` names
    /// (`portable`, `avx2`, `avx512`, `avx512bf16`), so that tests run each.
    ///
    /// # Panics
    /// If the variable holds another name: a run that means to test a level must not test another.
    pub(crate) fn current() -> Self {
        static LEVEL: OnceLock<Level> = OnceLock::new();
        *LEVEL.get_or_init(|| {
            let cap = std::env::var("BURNISHER_SIMD").ok().map(|name| {
                let named = Self::ALL.into_iter().find(|(_, of_level)| *of_level == name);
                let names = Self::ALL.map(|(_, name)| name).join(", ");
                named.unwrap_or_else(|| panic!("BURNISHER_SIMD is {name:?}, wanted one of {names}")).0
            });
            Self::available()
                .filter(|level| cap.is_none_or(|cap| *level <= cap))
                .last()
                .unwrap_or(Self::Portable)
        })
    }

    /// Runs plain loops compiled for this level. Only what is inlined into `f` is: mark closures `#[inline(always)]`.
    // `FnMut`, because the shim that calls a closure once is not always inlined.
    #[inline]
    pub(crate) fn run<R>(self, mut f: impl FnMut() -> R) -> R {
        #[cfg(target_arch = "x86_64")]
        {
            // SAFETY: a level is made only where the processor has its instructions.
            match self {
                Self::Portable => f(),
                Self::Avx2 => unsafe { with_avx2(f) },
                Self::Avx512 | Self::Avx512Bf16 => unsafe { with_avx512(f) },
            }
        }
        #[cfg(not(target_arch = "x86_64"))]
        f()
    }

    /// Whether [`f32::mul_add`] is one instruction in what [`Level::run`] runs.
    pub(crate) fn fuses(self) -> bool {
        self >= Self::Avx2 || cfg!(target_arch = "aarch64")
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,bmi1,bmi2,f16c")]
fn with_avx2<R>(mut f: impl FnMut() -> R) -> R {
    f()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,bmi1,bmi2,f16c,avx512f,avx512bw,avx512dq,avx512vl")]
fn with_avx512<R>(mut f: impl FnMut() -> R) -> R {
    f()
}
