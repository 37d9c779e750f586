#pragma once

#include <cstdint>

#include "ort/ort_api.h"
#include "panel_sparse/multiply.h"

namespace edgecompress {

/// One node ai.edgecompress::PanelSparseMatMul in a session (docs/sparse-format.md).
class PanelSparseKernel {
 public:
  /// Reads and checks the attributes and the whole weight blob.
  PanelSparseKernel(const OrtApi& api, const OrtKernelInfo& info);

  void compute(OrtKernelContext& context) const;

 private:
  std::int64_t attribute(const OrtKernelInfo& info, const char* name) const;
  std::int64_t pieces_for(std::int64_t tokens) const;
  void require(const char* name, std::int64_t stated, std::int64_t held) const;

  const OrtApi* api_;
  bool exact_ = false;
  InstructionSet set_ = InstructionSet::Scalar;
  KernelSet kernels_{};
  PanelSparseView matrix_{};  // over the initializer, which lives as long as the session
};

}  // namespace edgecompress
