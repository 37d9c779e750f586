#include "tensor/ordered_sum.h"

#include <ATen/Parallel.h>

#include "support/catch.h"
#include "tensor/aten.h"

namespace edgecompress {
namespace {

TEST_CASE("a sum is the same for any number of threads and holds every element", "[tensor]") {
  at::manual_seed(2);
  for (const std::int64_t size : {1, 4095, 4096, 8191, 12289, 100003}) {
    const at::Tensor values = at::randn({size});
    at::set_num_threads(1);
    const double one = ordered_sum(values);
    at::set_num_threads(3);
    CHECK(ordered_sum(values) == one);
    at::set_num_threads(1);
    CHECK(std::abs(one - values.to(at::kDouble).sum().item<double>()) <
          1e-9 * static_cast<double>(size));
  }
}

}  // namespace
}  // namespace edgecompress
