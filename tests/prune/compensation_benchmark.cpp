#include <chrono>
#include <iostream>

#include <ATen/Parallel.h>

#include "compensated_layer.h"
#include "prune/keep_mask.h"
#include "prune/least_squares.h"
#include "prune/obs_columns.h"
#include "prune/sparsegpt.h"
#include "stats/hessian.h"
#include "support/catch.h"

namespace edgecompress {
namespace {

template <typename Body>
void time(const char* name, const Body& body) {
  const auto start = std::chrono::steady_clock::now();
  body();
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  std::cout << name << ": " << seconds.count() << " s on " << at::get_num_threads() << " threads\n";
}

TEST_CASE("how long each step takes on a layer of 768 x 2048", "[.benchmark]") {
  constexpr std::int64_t kRows = 768;
  constexpr std::int64_t kColumns = 2048;
  const CompensatedLayer layer = make_compensated_layer(kRows, kColumns);
  time("Hessian of 8192 tokens", [&] {
    Hessian hessian(kColumns);
    hessian.add(at::ones({8192, kColumns}));
  });
  const auto factor = inverse_factor(layer.hessian, 0.01, natural_order(kColumns));
  REQUIRE(factor.has_value());
  time("SparseGPT 50%", [&] { sparsegpt(layer.weight, *factor, Unstructured{0.5}); });
  time("SparseGPT 2:4", [&] { sparsegpt(layer.weight, *factor, NofM{.keep = 2, .of = 4}); });
  const CompensatedLayer few{layer.weight.narrow(0, 0, 64).contiguous(), layer.hessian};
  const at::Tensor keep = keep_mask(few.weight, {}, MagnitudeMask{}, PerRow{0.5});
  time("least squares on 50% of 64 rows",
       [&] { least_squares_on_support(few.weight, few.hessian, keep, 0.01); });
  time("least squares on 1536 columns",
       [&] { least_squares_columns(layer.weight, layer.hessian, natural_order(1536), 0.01); });
  time("64 channels removed",
       [&] { remove_columns_obs(layer.weight, layer.hessian, 1, {.count = 64}, 0.01); });
  time("2 of 16 groups removed",
       [&] { remove_columns_obs(layer.weight, layer.hessian, 128, {.count = 2}, 0.01); });
}

}  // namespace
}  // namespace edgecompress
