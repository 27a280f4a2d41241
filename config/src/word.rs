//! Enums whose values are words of the configuration language.

/// Defines an enum with one word for each variant, read by `FromStr` and written by `Display`.
macro_rules! word_enum {
    (
        $(#[$doc:meta])*
        $name:ident, $expected:literal { $($(#[$variant_doc:meta])* $variant:ident = $word:literal),+ $(,)? }
    ) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[derive(serde::Serialize, serde::Deserialize)]
        pub enum $name { $($(#[$variant_doc])* $variant),+ }

        impl $name {
            /// All variants, in LXC's order.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// Returns the word that stands for this value in a configuration.
            pub const fn word(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::Fault;

            fn from_str(text: &str) -> Result<Self, $crate::Fault> {
                let found = Self::ALL.iter().copied().find(|one| one.word() == text);
                found.ok_or_else(|| {
                    let words = Self::ALL.iter().map(|one| one.word());
                    $crate::Fault::value(text, $expected).meaning($crate::nearest::of(text, words))
                })
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.word())
            }
        }
    };
}
