//! A gadget's custom parameters and what they have done to its metadata.

use crate::Result;
use crate::metadata::config::Config;
use crate::metadata::custom::CustomParams;
use crate::metadata::params::ParamValues;

/// See the module documentation.
#[derive(Debug)]
pub(super) struct Custom {
    pub(super) params: CustomParams,
    /// The metadata before, and after; none if there are no custom parameters.
    configs: Option<(Config, Config)>,
}

impl Custom {
    /// Merges the patches for `values` into `config`.
    pub(super) fn apply(config: &mut Config, values: &ParamValues) -> Result<Self> {
        let params = CustomParams::read(config);
        if params.is_empty() {
            return Ok(Self { params, configs: None });
        }
        let before = config.clone();
        params.apply(config, values)?;
        let configs = Some((before, config.clone()));
        Ok(Self { params, configs })
    }

    /// Whether `values` would give another metadata.
    pub(super) fn depends_on(&self, values: &ParamValues) -> Result<bool> {
        let Some((before, after)) = &self.configs else {
            return Ok(false);
        };
        let mut config = before.clone();
        self.params.apply(&mut config, values)?;
        Ok(config != *after)
    }
}
