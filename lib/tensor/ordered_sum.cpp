#include "tensor/ordered_sum.h"

#include "tensor/aten.h"

namespace edgecompress {
namespace {

constexpr std::int64_t kRowLength = 4096;

}  // namespace

double ordered_sum(const at::Tensor& values) {
  const at::Tensor flat = values.flatten().to(at::kDouble).contiguous();
  const std::int64_t whole = flat.numel() / kRowLength * kRowLength;
  double sum = 0;
  if (whole > kRowLength) {  // several rows: each is summed by one thread
    const at::Tensor rows = flat.narrow(0, 0, whole).view({-1, kRowLength}).sum(1);
    for (std::int64_t i = 0; i < rows.numel(); ++i) sum += rows.data_ptr<double>()[i];
  }
  const double* const data = flat.data_ptr<double>();
  for (std::int64_t i = whole > kRowLength ? whole : 0; i < flat.numel(); ++i) sum += data[i];
  return sum;
}

}  // namespace edgecompress
