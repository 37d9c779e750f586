#include "weights/sparsity_pattern.h"

#include "base/error.h"

namespace edgecompress {
namespace {

std::string percent(double share) { return concat(share * 100, '%'); }

struct Describe {
  std::string operator()(const Unstructured& p) const {
    return "unstructured " + percent(p.sparsity);
  }
  std::string operator()(const PerRow& p) const { return "per-row " + percent(p.sparsity); }
  std::string operator()(const NofM& p) const {
    return std::to_string(p.keep) + ":" + std::to_string(p.of);
  }
  std::string operator()(const Blocks& p) const {
    return std::to_string(p.rows) + "x" + std::to_string(p.columns) + " " + percent(p.sparsity);
  }
};

struct Target {
  double operator()(const Unstructured& p) const { return p.sparsity; }
  double operator()(const PerRow& p) const { return p.sparsity; }
  double operator()(const NofM& p) const {
    return 1.0 - static_cast<double>(p.keep) / static_cast<double>(p.of);
  }
  double operator()(const Blocks& p) const { return p.sparsity; }
};

}  // namespace

std::string describe(const SparsityPattern& pattern) { return std::visit(Describe{}, pattern); }

double target_sparsity(const SparsityPattern& pattern) { return std::visit(Target{}, pattern); }

}  // namespace edgecompress
