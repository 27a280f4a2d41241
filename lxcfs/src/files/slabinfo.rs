//! /proc/slabinfo: what the kernel keeps of which kind is the machine's affair, and root's alone on the host. No group has any.

use super::Facts;

/// Shows the kernel's header. Source: its mm/slab_common.c.
pub(super) fn render(_host: &str, _facts: &Facts) -> String {
    "slabinfo - version: 2.1\n\
     # name            <active_objs> <num_objs> <objsize> <objperslab> <pagesperslab> : \
     tunables <limit> <batchcount> <sharedfactor> : slabdata <active_slabs> <num_slabs> <sharedavail>\n"
        .to_owned()
}
