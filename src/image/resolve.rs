//! From a name that a user typed to an image that may run.
//!
//! The order is: find the image (store, then bundled catalogue, then registry), the allow list, the trust decision, and only then
//! its content. Trust fails closed: an image whose origin is not established is refused, whatever the reason.

use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tracing::{debug, warn};

use super::registry::{self, Progress, RegistryOptions};
use super::{Catalogue, Digest, GadgetImage, PackedImage, Reference, Store};
use crate::{Error, ErrorKind, Result, ResultExt};

/// Which store to look into.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum StoreChoice {
    /// That of the current user; the system-wide one for root.
    #[default]
    Default,
    /// That of the user who called `sudo`, read-only.
    SudoUser,
    /// The one in this directory.
    Dir(PathBuf),
}

impl StoreChoice {
    /// Opens the store.
    ///
    /// # Errors
    ///
    /// See [`Store::open_default`] and [`Store::open_sudo_user`].
    pub fn open(&self) -> Result<Store> {
        match self {
            Self::Default => Store::open_default(),
            Self::SudoUser => Store::open_sudo_user(),
            Self::Dir(dir) => Ok(Store::open(dir)),
        }
    }
}

/// When to ask the registry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PullPolicy {
    /// First of all.
    Always,
    /// When the image is neither stored nor bundled.
    #[default]
    Missing,
    /// Not at all.
    Never,
}

impl FromStr for PullPolicy {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "always" => Ok(Self::Always),
            "missing" => Ok(Self::Missing),
            "never" => Ok(Self::Never),
            _ => Err(Error::invalid(format!(
                "invalid value {text:?} as \"pull\": valid values are: always, missing, never"
            ))),
        }
    }
}

/// How a [`Resolver`] decides.
#[derive(Clone, Debug)]
pub struct ResolveOptions {
    /// Where images are kept.
    pub store: StoreChoice,
    /// When to ask the registry.
    pub pull: PullPolicy,
    /// Whether only images run whose origin is established. On unless the user says otherwise.
    pub verify_image: bool,
    /// What may run at all; everything when empty. An item is a full reference, `<repository>@<digest>`, or a prefix of full
    /// references followed by `*`.
    pub allowed_gadgets: Vec<String>,
    /// Forbids asking the registry.
    pub disallow_pulling: bool,
    /// How to talk to registries.
    pub registry: RegistryOptions,
    /// The gadgets that come with the program, if they are to be used.
    pub catalogue: Option<Arc<Catalogue>>,
    /// Is told about the progress of a pull.
    pub progress: Progress,
}

impl Default for ResolveOptions {
    fn default() -> Self {
        Self {
            store: StoreChoice::default(),
            pull: PullPolicy::default(),
            verify_image: true,
            allowed_gadgets: Vec::new(),
            disallow_pulling: false,
            registry: RegistryOptions::default(),
            catalogue: Some(Catalogue::bundled()),
            progress: Progress::none(),
        }
    }
}

/// Finds images and decides whether they may run.
#[derive(Debug)]
pub struct Resolver {
    options: ResolveOptions,
    store: Store,
    warned: AtomicBool,
}

/// Where an image was found.
enum Found {
    Stored(Digest),
    Bundled(Box<PackedImage>),
}

impl Resolver {
    /// A resolver with these options.
    ///
    /// # Errors
    ///
    /// When the store cannot be opened.
    pub fn new(options: ResolveOptions) -> Result<Self> {
        Ok(Self {
            store: options.store.open()?,
            options,
            warned: AtomicBool::new(false),
        })
    }

    /// The store that images are looked up in.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// The image that `name` stands for, if it exists and may run.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`] when it is nowhere; [`ErrorKind::Refused`] when the allow list or the lack of trust forbids it;
    /// otherwise what the store, the registry or the image itself was the cause of.
    pub fn resolve(&self, name: &str) -> Result<GadgetImage> {
        let reference = Reference::parse(name)
            .context("normalizing image")
            .context("ensuring image")?;
        let found = self.find(name, &reference).context("ensuring image")?;
        let digest = match &found {
            Found::Stored(digest) => digest,
            Found::Bundled(image) => image.digest(),
        };
        self.check_allowed(name, &reference, digest).context("ensuring image")?;
        if self.options.verify_image {
            if let Found::Stored(digest) = &found {
                self.check_trust(name, &reference, digest)?;
            }
        } else if !self.warned.swap(true, Ordering::Relaxed) {
            warn!("gadget signature verification is disabled due to using corresponding option");
        }
        match found {
            Found::Bundled(image) => GadgetImage::from_packed(&image, Some(reference)),
            Found::Stored(digest) => {
                let image = GadgetImage::from_store(&self.store, &reference)?;
                // Another process may have given the name to another image since the checks above.
                if *image.index_digest() != digest {
                    return Err(
                        Error::new(ErrorKind::Refused, "the image changed while it was being checked")
                            .context(format!("verifying image {name:?}"))
                            .with_hint("try again"),
                    );
                }
                Ok(image)
            }
        }
    }

    fn find(&self, name: &str, reference: &Reference) -> Result<Found> {
        if self.options.pull == PullPolicy::Always {
            let pulled = self.pull(name, reference);
            return pulled.with_context(|| format!("pulling image (always) \"{name}\""));
        }
        match self.store.resolve(reference) {
            Ok(descriptor) => return Ok(Found::Stored(descriptor.digest)),
            Err(e) if e.kind() == ErrorKind::NotFound => {}
            Err(e) => return Err(e.context(format!("resolving image \"{reference}\" on local registry"))),
        }
        if let Some(catalogue) = &self.options.catalogue
            && let Some(image) = catalogue.resolve(reference)?
        {
            debug!("using the bundled gadget {}", reference.name());
            return Ok(Found::Bundled(Box::new(image)));
        }
        match self.options.pull {
            PullPolicy::Never => Err(Error::not_found("not found")
                .context(format!("resolving image \"{reference}\" on local registry"))
                .with_hint("list the stored images with `ig image list`, or let it be pulled with --pull missing")),
            _ => self
                .pull(name, reference)
                .with_context(|| format!("pulling image (if missing) \"{name}\"")),
        }
    }

    fn pull(&self, name: &str, reference: &Reference) -> Result<Found> {
        let work = || {
            if self.options.disallow_pulling {
                return Err(Error::new(ErrorKind::Refused, "pulling is disallowed"));
            }
            registry::pull(&self.store, reference, &self.options.registry, &self.options.progress)
        };
        let descriptor = work().with_context(|| format!("pulling image \"{name}\""))?;
        Ok(Found::Stored(descriptor.digest))
    }

    fn check_allowed(&self, name: &str, reference: &Reference, digest: &Digest) -> Result<()> {
        let allowed = &self.options.allowed_gadgets;
        let full = reference.to_string();
        let pinned = format!("{}@{digest}", reference.repository());
        let matches = |item: &String| match item.strip_suffix('*') {
            _ if *item == full || *item == pinned => true,
            Some(prefix) => full.starts_with(prefix),
            None => false,
        };
        if allowed.is_empty() || allowed.iter().any(matches) {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Refused,
            format!("{name} is not part of allowed gadgets: {}", allowed.join(", ")),
        ))
    }

    /// Passes images that are bundled ones under whatever name; there is no other proof of origin yet.
    fn check_trust(&self, name: &str, reference: &Reference, digest: &Digest) -> Result<()> {
        let context = || format!("verifying image: verifying gadget signature \"{name}\"");
        if let Some(catalogue) = &self.options.catalogue
            && catalogue.contains(digest, reference.name()).with_context(context)?
        {
            return Ok(());
        }
        let bundled = match &self.options.catalogue {
            Some(catalogue) => catalogue.resolve(reference).is_ok_and(|image| image.is_some()),
            None => false,
        };
        let mut hint = String::from(
            "run an image that you trust anyway with --verify-image=false, or a gadget from its sources with `ig run ./path`",
        );
        if bundled {
            hint.push_str(&format!(
                "; `ig image remove {name}` brings back the bundled gadget of that name"
            ));
        }
        Err(Error::new(
            ErrorKind::Refused,
            format!(
                "no signature was verified for {}: this version cannot verify signatures, and the image is none of the bundled ones",
                reference.described(digest)
            ),
        )
        .context(context())
        .with_hint(hint))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::catalogue::tests::archive;
    use crate::image::pack;
    use crate::image::pack::tests::demo;

    struct Setup {
        dir: tempfile::TempDir,
        options: ResolveOptions,
    }

    impl Setup {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let options = ResolveOptions {
                store: StoreChoice::Dir(dir.path().join("store")),
                pull: PullPolicy::Never,
                catalogue: Some(Arc::new(Catalogue::from_archive(archive(&["alpha", "beta"])))),
                ..ResolveOptions::default()
            };
            Self { dir, options }
        }

        fn store(&self) -> Store {
            Store::open(self.dir.path().join("store"))
        }

        fn resolve(&self, name: &str) -> Result<GadgetImage> {
            Resolver::new(self.options.clone()).unwrap().resolve(name)
        }

        fn refusal(&self, name: &str) -> Error {
            self.resolve(name).unwrap_err()
        }
    }

    fn reference(name: &str) -> Reference {
        Reference::parse(name).unwrap()
    }

    #[test]
    fn bundled_gadgets_run_without_a_store() {
        let setup = Setup::new();
        let image = setup.resolve("alpha").unwrap();
        assert_eq!(image.metadata(), b"name: alpha\n");
        assert_eq!(image.reference(), Some(&reference("alpha")));
        assert!(
            !setup.dir.path().join("store").exists(),
            "looking something up creates nothing"
        );
    }

    #[test]
    fn a_stored_image_wins_and_is_refused_unless_trusted() {
        let mut setup = Setup::new();
        let ours = pack(demo()).unwrap();
        setup.store().add(&ours, Some(&reference("alpha"))).unwrap();
        let error = setup.refusal("alpha");
        assert_eq!(error.kind(), ErrorKind::Refused);
        let text = error.to_string();
        assert!(
            text.starts_with("verifying image: verifying gadget signature \"alpha\": no signature was verified for "),
            "{text}"
        );
        assert!(text.contains(&ours.digest().to_string()), "{text}");
        let hint = error.hint().unwrap();
        for way_out in ["--verify-image=false", "`ig run ./path`", "`ig image remove alpha`"] {
            assert!(hint.contains(way_out), "{hint}");
        }
        setup.options.verify_image = false;
        assert_eq!(setup.resolve("alpha").unwrap().index_digest(), ours.digest());
    }

    #[test]
    fn a_bundled_image_is_trusted_under_any_name() {
        let setup = Setup::new();
        let beta = setup
            .options
            .catalogue
            .as_ref()
            .unwrap()
            .image("beta")
            .unwrap()
            .unwrap();
        setup
            .store()
            .add(&beta, Some(&reference("localhost:5000/me/x:1")))
            .unwrap();
        assert_eq!(
            setup.resolve("localhost:5000/me/x:1").unwrap().index_digest(),
            beta.digest()
        );
    }

    #[test]
    fn nothing_is_trusted_without_a_catalogue_or_with_a_broken_one() {
        let mut setup = Setup::new();
        let beta = setup
            .options
            .catalogue
            .as_ref()
            .unwrap()
            .image("beta")
            .unwrap()
            .unwrap();
        setup.store().add(&beta, Some(&reference("x"))).unwrap();
        setup.options.catalogue = None;
        assert_eq!(setup.refusal("x").kind(), ErrorKind::Refused);
        setup.options.catalogue = Some(Arc::new(Catalogue::from_archive(b"no archive".to_vec())));
        assert!(setup.resolve("x").is_err());
    }

    #[test]
    fn never_stops_before_the_registry() {
        let setup = Setup::new();
        assert_eq!(
            setup.refusal("nosuch").to_string(),
            "ensuring image: resolving image \"ghcr.io/inspektor-gadget/gadget/nosuch:latest\" on local registry: not found"
        );
    }

    #[test]
    fn pulling_can_be_disallowed() {
        let mut setup = Setup::new();
        setup.options.disallow_pulling = true;
        setup.options.pull = PullPolicy::Missing;
        assert_eq!(
            setup.refusal("nosuch").to_string(),
            "ensuring image: pulling image (if missing) \"nosuch\": pulling image \"nosuch\": pulling is disallowed"
        );
        assert!(setup.resolve("alpha").is_ok(), "what is bundled needs no pull");
        setup.options.pull = PullPolicy::Always;
        assert_eq!(
            setup.refusal("alpha").to_string(),
            "ensuring image: pulling image (always) \"alpha\": pulling image \"alpha\": pulling is disallowed"
        );
    }

    #[test]
    fn allow_list() {
        let mut setup = Setup::new();
        let digest = *setup.resolve("alpha").unwrap().index_digest();
        let prefix = "ghcr.io/inspektor-gadget/gadget/";
        let mut allowed = |items: &[&str]| {
            setup.options.allowed_gadgets = items.iter().map(|item| (*item).to_owned()).collect();
            setup.resolve("alpha").is_ok()
        };
        assert!(allowed(&[&format!("{prefix}alpha:latest")]));
        assert!(allowed(&["x", &format!("{prefix}al*")]));
        assert!(allowed(&["*"]));
        assert!(allowed(&[&format!("{prefix}alpha@{digest}")]));
        assert!(!allowed(&["alpha"]));
        assert!(!allowed(&[&format!("{prefix}alpha")]));
        assert!(!allowed(&["*alpha:latest"]));
        assert!(!allowed(&[""]));
        assert!(!allowed(&[&format!("{prefix}alpha@{}*", &digest.to_string()[..20])]));
        setup.options.allowed_gadgets = vec!["ghcr.io/a/*".into(), "b".into()];
        let error = setup.refusal("alpha");
        assert_eq!(
            error.to_string(),
            "ensuring image: alpha is not part of allowed gadgets: ghcr.io/a/*, b"
        );
        assert_eq!(error.kind(), ErrorKind::Refused);
    }

    #[test]
    fn names_that_are_none() {
        assert_eq!(
            Setup::new().refusal("Bad Name").to_string(),
            "ensuring image: normalizing image: parsing normalized image \"Bad Name\": invalid reference format: repository name (inspektor-gadget/gadget/Bad Name) must be lowercase"
        );
    }

    #[test]
    fn pull_policies() {
        assert_eq!("always".parse::<PullPolicy>().unwrap(), PullPolicy::Always);
        assert_eq!(
            "sometimes".parse::<PullPolicy>().unwrap_err().to_string(),
            "invalid value \"sometimes\" as \"pull\": valid values are: always, missing, never"
        );
    }
}
