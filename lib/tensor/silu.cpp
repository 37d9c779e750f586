#include "tensor/silu.h"

#include <algorithm>

#include <ATen/Parallel.h>

#include "tensor/aten.h"

namespace edgecompress {
namespace {

constexpr std::int64_t kPiece = 16384;  // LibTorch never splits so few elements

}  // namespace

at::Tensor stable_silu(const at::Tensor& x) {
  if (!x.device().is_cpu()) return at::silu(x);
  const at::Tensor flat = x.contiguous().view({-1});
  const at::Tensor result = at::empty_like(flat);
  const std::int64_t pieces = (flat.numel() + kPiece - 1) / kPiece;
  at::parallel_for(0, pieces, 1, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t piece = first; piece < last; ++piece) {
      const std::int64_t begin = piece * kPiece;
      const std::int64_t end = std::min(begin + kPiece, flat.numel());
      at::Tensor out = result.slice(0, begin, end);
      at::silu_out(out, flat.slice(0, begin, end));
    }
  });
  return result.view(x.sizes());
}

}  // namespace edgecompress
