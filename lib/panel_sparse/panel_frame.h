#pragma once

#include <cstdint>

#include "panel_sparse/kernels.h"

namespace edgecompress {

// Which function of a kernel a form needs. Kernel is a type of an unnamed namespace, so that every
// file has these functions for itself, as kernels.h demands. It has static function templates
//   shared_panel<BITS, ROWS>(matrix, inputs, panel, y, scratch)  panels that share their columns
//   unstructured<BITS>(matrix, inputs, panel, y, scratch)        panels with a bitmap for each row

using PanelFunction = void (*)(const PanelSparseView& matrix, const QuantizedInputs& inputs,
                               std::int64_t panel, float* y, std::uint8_t* scratch);

template <typename Kernel, int BITS>
PanelFunction panel_function(int shared_rows) {
  switch (shared_rows) {
    case 16:
      return &Kernel::template shared_panel<BITS, 16>;
    case 8:
      return &Kernel::template shared_panel<BITS, 8>;
    case 4:
      return &Kernel::template shared_panel<BITS, 4>;
    default:
      return &Kernel::template unstructured<BITS>;
  }
}

/// What PanelKernel asks for, panel by panel.
template <typename Kernel>
void multiply_panels(const PanelSparseView& m, const QuantizedInputs& in, std::int64_t first_panel,
                     std::int64_t last_panel, float* y, std::uint8_t* scratch) {
  const PanelFunction function = m.form.bits == 8 ? panel_function<Kernel, 8>(m.form.shared_rows)
                                                  : panel_function<Kernel, 4>(m.form.shared_rows);
  for (std::int64_t panel = first_panel; panel < last_panel; ++panel) {
    function(m, in, panel, y, scratch);
  }
}

}  // namespace edgecompress
