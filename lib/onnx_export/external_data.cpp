#include "onnx_export/external_data.h"

#include "base/error.h"

namespace edgecompress {
namespace {

constexpr std::uint64_t kKiB = 1024;
constexpr std::uint64_t kInlineBelow = kKiB;

std::uint64_t alignment_of(std::uint64_t bytes) {
  if (bytes >= kKiB * kKiB) return 64 * kKiB;
  if (bytes >= 64 * kKiB) return 4 * kKiB;
  return 64;
}

}  // namespace

ExternalDataPlan plan_external_data(const std::vector<Initializer>& initializers) {
  ExternalDataPlan plan;
  std::map<std::string, std::uint64_t, std::less<>> sizes;
  for (const Initializer& tensor : initializers) {
    const std::uint64_t bytes = tensor.bytes();
    if (!tensor.same_bytes_as.empty() || bytes < kInlineBelow) continue;
    const std::uint64_t alignment = alignment_of(bytes);
    const std::uint64_t offset = (plan.total_bytes + alignment - 1) / alignment * alignment;
    plan.offsets.emplace(tensor.name, offset);
    sizes.emplace(tensor.name, bytes);
    plan.total_bytes = offset + bytes;
  }
  for (const Initializer& tensor : initializers) {
    if (tensor.same_bytes_as.empty()) continue;
    const auto owner = sizes.find(tensor.same_bytes_as);
    // A small owner is stored in the graph, where bytes cannot be shared: its twin is stored there
    // too.
    if (owner == sizes.end()) continue;
    ensure(owner->second == tensor.bytes(), "two tensors over the same bytes to have one size");
    plan.offsets.emplace(tensor.name, plan.offsets.at(tensor.same_bytes_as));
  }
  return plan;
}

void write_external_data(const std::vector<Initializer>& initializers, const ExternalDataPlan& plan,
                         StagedFile& file, const std::function<void(const Initializer&)>& written) {
  for (const Initializer& tensor : initializers) {
    const auto offset = plan.offsets.find(tensor.name);
    if (offset == plan.offsets.end() || !tensor.same_bytes_as.empty()) continue;
    file.pad_to(alignment_of(tensor.bytes()));
    ensure(file.size_bytes() == offset->second, "the file to be where the plan says");
    with_context(concat("writing tensor ", tensor.name), [&] {
      tensor.source([&](std::span<const std::byte> bytes) { file.append(bytes); });
    });
    ensure(file.size_bytes() == offset->second + tensor.bytes(),
           "a source that gives all bytes of its tensor");
    written(tensor);
  }
}

}  // namespace edgecompress
