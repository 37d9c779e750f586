// Our methods against plain implementations of the published recursions; make_goldens.py.

#include <cstring>
#include <filesystem>
#include <string>
#include <vector>

#include "base/mapped_file.h"
#include "checkpoint/safetensors.h"
#include "prune/least_squares.h"
#include "prune/obs_columns.h"
#include "prune/sparsegpt.h"
#include "quantize/gptq.h"
#include "quantize/refine.h"
#include "stats/damped_hessian.h"
#include "stats/hessian.h"
#include "support/catch.h"
#include "tensor/aten.h"

namespace edgecompress {
namespace {

constexpr double kDamping = 0.01;
// The reference's and ours differ in which of two near codes a float rounds to.
constexpr double kAllowed = 1.01;

at::ScalarType scalar_type(DType dtype) {
  switch (dtype) {
    case DType::F32:
      return at::kFloat;
    case DType::I64:
      return at::kLong;
    case DType::U8:
      return at::kByte;
    default:
      throw std::runtime_error("a golden of an unexpected dtype");
  }
}

class Golden {
 public:
  Golden()
      : file_(std::filesystem::path(EDGECOMPRESS_SOURCE_DIR) /
              "tests/golden/compensation.safetensors"),
        entries_(parse_safetensors(file_.bytes(), "compensation.safetensors")) {}

  at::Tensor get(const std::string& name) const {
    for (const TensorEntry& entry : entries_) {
      if (entry.name != name) continue;
      at::Tensor tensor = at::empty(entry.shape, scalar_type(entry.dtype));
      std::memcpy(tensor.mutable_data_ptr(), entry.bytes.data(), entry.bytes.size());
      return tensor;
    }
    throw std::runtime_error("no golden " + name);
  }
  double error(const std::string& name) const { return get("error." + name).item<double>(); }
  at::Tensor weight() const { return get("weight"); }
  at::Tensor hessian() const { return get("hessian").to(at::kDouble); }
  at::Tensor keep() const { return get("keep").to(at::kBool); }

  double error_of(const at::Tensor& changed) const {
    return output_energy(changed - weight(), relative_hessian(hessian()));
  }

 private:
  MappedFile file_;
  std::vector<TensorEntry> entries_;
};

template <typename T>
std::span<const T> span_of(const at::Tensor& tensor) {
  return {tensor.const_data_ptr<T>(), static_cast<std::size_t>(tensor.numel())};
}

double gptq_error(const Golden& golden, Symmetry symmetry, GptqClip clip, const at::Tensor& keep,
                  int refine_rounds = 0) {
  const at::Tensor weight = golden.weight();
  const at::Tensor hessian = golden.hessian();
  const auto factor = inverse_factor(hessian, kDamping, descending_diagonal(hessian));
  REQUIRE(factor.has_value());
  const at::Tensor mean_square = hessian.diagonal().contiguous();
  const std::span<const std::uint8_t> mask =
      keep.defined() ? span_of<std::uint8_t>(keep) : std::span<const std::uint8_t>{};
  const GptqResult result = quantize_gptq(
      span_of<float>(weight), weight.size(0), weight.size(1),
      {.bits = 4, .group_size = 32, .symmetry = symmetry},
      {span_of<float>(factor->upper), factor->order, span_of<double>(mean_square)}, clip, mask, 2);
  at::Tensor real = at::empty_like(weight);
  const at::Tensor damped = damp(hessian, kDamping).matrix.to(at::kFloat);
  const RefinedMatrix refined =
      refine(span_of<float>(weight), result.matrix, span_of<float>(damped), factor->order, mask,
             refine_rounds, 2);
  refined.matrix.dequantize_rows(
      0, weight.size(0), {real.mutable_data_ptr<float>(), static_cast<std::size_t>(real.numel())});
  return golden.error_of(real);
}

TEST_CASE("GPTQ loses no more than the reference", "[golden]") {
  const Golden golden;
  const auto check = [&](const char* name, Symmetry symmetry, GptqClip clip,
                         const at::Tensor& keep = {}) {
    INFO(name);
    CHECK(gptq_error(golden, symmetry, clip, keep) <= kAllowed * golden.error(name));
  };
  check("gptq_asymmetric", Symmetry::Asymmetric, GptqClip::None);
  check("gptq_asymmetric_search", Symmetry::Asymmetric, GptqClip::Importance);
  check("gptq_symmetric_search", Symmetry::Symmetric, GptqClip::Importance);
  check("gptq_asymmetric_masked", Symmetry::Asymmetric, GptqClip::None, golden.get("keep"));
}

TEST_CASE("GPTQ with a search and refinement loses an eighth less than the reference", "[golden]") {
  const Golden golden;
  const auto check = [&](const char* name, Symmetry symmetry) {
    INFO(name);
    CHECK(gptq_error(golden, symmetry, GptqClip::Importance, {}, 2) <= 0.875 * golden.error(name));
  };
  check("gptq_asymmetric_search", Symmetry::Asymmetric);
  check("gptq_symmetric_search", Symmetry::Symmetric);
}

TEST_CASE("SparseGPT loses no more than the reference", "[golden]") {
  const Golden golden;
  const auto factor = inverse_factor(golden.hessian(), kDamping, natural_order(128));
  REQUIRE(factor.has_value());
  const SparseWeight half = sparsegpt(golden.weight(), *factor, Unstructured{0.5});
  CHECK(golden.error_of(half.weight) <= kAllowed * golden.error("sparsegpt_half"));
  // The same recursion on the same scores: only weights at the limit of a float may differ.
  CHECK(at::count_nonzero(half.keep != golden.keep()).item<std::int64_t>() <= 4);
  const SparseWeight runs = sparsegpt(golden.weight(), *factor, NofM{.keep = 2, .of = 4});
  CHECK(golden.error_of(runs.weight) <= kAllowed * golden.error("sparsegpt_2_of_4"));
}

TEST_CASE("least squares on a support is as good as the reference's", "[golden]") {
  const Golden golden;
  const auto weight =
      least_squares_on_support(golden.weight(), golden.hessian(), golden.keep(), kDamping);
  REQUIRE(weight.has_value());
  CHECK(golden.error_of(*weight) == Approx(golden.error("least_squares")).epsilon(1e-4));
}

TEST_CASE("greedy structured OBS keeps what solving every step from scratch keeps", "[golden]") {
  const Golden golden;
  const auto check = [&](const char* name, std::int64_t width, std::int64_t removed) {
    const auto kept =
        remove_columns_obs(golden.weight(), golden.hessian(), width, {.count = removed}, kDamping);
    REQUIRE(kept.has_value());
    CHECK(at::equal(at::tensor(kept->groups, at::kLong), golden.get(name)));
  };
  check("kept_channels", 1, 32);
  check("kept_groups", 8, 4);
}

}  // namespace
}  // namespace edgecompress
