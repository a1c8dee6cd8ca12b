//! Which containers are asked for.

use crate::host;

/// Whether events of this mount namespace are not asked for. Known from `gadgetStart` on.
pub fn should_discard_mntns_id(mntns_id: u64) -> bool {
    host::should_discard_mntns_id(mntns_id) != 0
}
