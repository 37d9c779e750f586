// Compiled with Armv8.2's dot products and Armv8.6's products of 8-bit matrices; called only on
// processors that have them.
#if defined(__aarch64__)
#include "panel_sparse/neon_panels.h"

namespace edgecompress {

KernelSet neon_i8mm_kernels() {
  return {multiply_panels<NeonPanels>, quantize_group, add_exact_group};
}

}  // namespace edgecompress

#endif
