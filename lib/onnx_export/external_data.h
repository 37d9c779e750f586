#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "base/staged_output.h"
#include "onnx_export/graph_builder.h"

namespace edgecompress {

/// Where each tensor lies in the one data file.
///
/// Tensors of at least 1 KiB lie outside the graph; smaller ones, among them every shape-like
/// constant, which optimizers read, stay in it. A tensor of at least 1 MiB begins at a multiple of
/// 64 KiB (Windows maps files at that granularity), one of at least 64 KiB at a multiple of 4 KiB
/// (a page), smaller ones at a multiple of 64 bytes (a cache line): the padding is below 7 % of any
/// tensor.
struct ExternalDataPlan {
  std::map<std::string, std::uint64_t, std::less<>>
      offsets;  ///< by initializer; absent: stored in the graph
  std::uint64_t total_bytes = 0;
};

ExternalDataPlan plan_external_data(const std::vector<Initializer>& initializers);

/// Writes the planned tensors in order. written: called after each with the tensor.
void write_external_data(const std::vector<Initializer>& initializers, const ExternalDataPlan& plan,
                         StagedFile& file, const std::function<void(const Initializer&)>& written);

}  // namespace edgecompress
