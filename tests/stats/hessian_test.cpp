#include "stats/hessian.h"

#include <limits>
#include <string>

#include <ATen/Parallel.h>

#include "base/error.h"
#include "support/catch.h"
#include "tensor/aten.h"

namespace edgecompress {
namespace {

// More tokens than a tile and more columns than a block, neither a multiple.
constexpr std::int64_t kTokens = 1500;
constexpr std::int64_t kColumns = 700;

at::Tensor make_inputs() {
  at::manual_seed(11);
  const at::Tensor scale = at::rand({kColumns}) * 3 + 0.1;
  return at::randn({kTokens, kColumns}) * scale + at::rand({kColumns});
}

at::Tensor gather(const at::Tensor& inputs) {
  Hessian hessian(inputs.size(1));
  hessian.add(inputs);
  return hessian.matrix();
}

TEST_CASE("a Hessian is the mean outer product of the inputs and symmetric", "[stats][property]") {
  const at::Tensor inputs = make_inputs();
  const at::Tensor exact = inputs.to(at::kDouble);
  const at::Tensor expected = at::mm(exact.t(), exact) / kTokens;
  Hessian hessian(kColumns);
  hessian.add(inputs.narrow(0, 0, 1100));
  hessian.add(inputs.narrow(0, 1100, 0));
  hessian.add(inputs.narrow(0, 1100, kTokens - 1100));
  const at::Tensor matrix = hessian.matrix();
  CHECK(hessian.tokens() == kTokens);
  CHECK(at::equal(matrix, matrix.t()));
  // A sum of 1024 products in float is off by at most 1024 * 2^-24 of the sum of magnitudes, which
  // is at most the root of two diagonal entries.
  const at::Tensor root = expected.diagonal().sqrt();
  CHECK(((matrix - expected).abs() / at::outer(root, root)).max().item<double>() < 1024 * 0x1p-24);
  CHECK((hessian.mean() - exact.mean(0)).abs().max().item<double>() < 1e-6);
}

TEST_CASE("shared Hessians take at most 40 % of the FLOPs of one full product for each layer",
          "[stats]") {
  struct Shape {
    std::int64_t hidden;
    std::int64_t ffn;
  };
  for (const Shape& shape : {Shape{512, 1152}, {768, 2048}, {2048, 5632}, {4096, 11008}}) {
    CAPTURE(shape.hidden, shape.ffn);
    // q, k, v share one; o has one; gate and up share one; down has one
    const std::int64_t shared =
        3 * Hessian::flops_per_token(shape.hidden) + Hessian::flops_per_token(shape.ffn);
    const std::int64_t separate = 2 * (6 * shape.hidden * shape.hidden + shape.ffn * shape.ffn);
    CHECK(static_cast<double>(shared) <= 0.4 * static_cast<double>(separate));
    CHECK(shared >= 3 * shape.hidden * shape.hidden + shape.ffn * shape.ffn);
  }
}

TEST_CASE("a Hessian is the same bytes for any number of threads", "[stats][property]") {
  const at::Tensor inputs = make_inputs();
  const int before = at::get_num_threads();
  at::set_num_threads(1);
  Hessian one(kColumns);
  one.add(inputs);
  const at::Tensor difference = at::randn({300, kColumns});
  const double energy = output_energy(difference, relative_hessian(one.matrix()));
  for (const int threads : {2, 3}) {
    at::set_num_threads(threads);
    Hessian other(kColumns);
    other.add(inputs);
    CHECK(at::equal(one.matrix(), other.matrix()));
    CHECK(at::equal(one.mean(), other.mean()));
    CHECK(energy == output_energy(difference, relative_hessian(other.matrix())));
  }
  at::set_num_threads(before);
}

TEST_CASE("a cross moment is the mean outer product, the same bytes for any number of threads",
          "[stats][property]") {
  const at::Tensor right = make_inputs();
  const at::Tensor left = at::randn({kTokens, 300}) + right.narrow(1, 5, 300);
  const int before = at::get_num_threads();
  const auto moment = [&](int threads) {
    at::set_num_threads(threads);
    CrossMoment cross(300, kColumns);
    cross.add(left.narrow(0, 0, 1100), right.narrow(0, 0, 1100));
    cross.add(left.narrow(0, 1100, kTokens - 1100), right.narrow(0, 1100, kTokens - 1100));
    return cross.matrix();
  };
  const at::Tensor one = moment(1);
  CHECK(at::equal(one, moment(2)));
  CHECK(at::equal(one, moment(3)));
  at::set_num_threads(before);
  const at::Tensor a = left.to(at::kDouble);
  const at::Tensor b = right.to(at::kDouble);
  const at::Tensor bound =
      at::outer(a.square().mean(0).sqrt(), b.square().mean(0).sqrt()) * (1024 * 0x1p-24);
  CHECK(((one - at::mm(a.t(), b) / kTokens).abs() < bound).all().item<bool>());
}

TEST_CASE("the output energy is the mean squared output", "[stats][property]") {
  const at::Tensor inputs = make_inputs();
  const at::Tensor weight = at::randn({30, kColumns});
  const at::Tensor output = at::mm(inputs.to(at::kDouble), weight.to(at::kDouble).t());
  const double expected = output.square().sum().item<double>() / kTokens;
  // The products of the Hessian are float sums of up to 1024 terms.
  CHECK(output_energy(weight, relative_hessian(gather(inputs))) ==
        Approx(expected).epsilon(1024 * 0x1p-24));
}

TEST_CASE("an input that overflows is refused by its index", "[stats]") {
  const auto bad = GENERATE(1e30F, std::numeric_limits<float>::infinity(),
                            std::numeric_limits<float>::quiet_NaN());
  at::Tensor inputs = make_inputs();
  inputs[1300][641] = bad;
  try {
    gather(inputs);
    FAIL("accepted");
  } catch (const Error& error) {
    CHECK(error.kind() == ErrorKind::Numeric);
    CHECK(std::string(error.what()).find("input 641 ") != std::string::npos);
  }
}

}  // namespace
}  // namespace edgecompress
