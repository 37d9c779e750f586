#include "decoder/rotary_table.h"

#include <vector>

#include "tensor/aten.h"

namespace edgecompress {

RotaryTable make_rotary_table(const LlamaConfig& config, std::int64_t positions,
                              at::Device device) {
  const at::Tensor frequency = at::tensor(rope_inverse_frequencies(config), at::kDouble);
  const at::Tensor angle = at::outer(at::arange(positions, at::kDouble), frequency);
  return {angle.cos().to(device, at::kFloat), angle.sin().to(device, at::kFloat)};
}

at::Tensor rotate(const at::Tensor& heads, const RotaryTable& table) {
  const std::int64_t positions = heads.size(2);
  const at::Tensor cos = table.cos.narrow(0, 0, positions);  // [positions, head_dim / 2]
  const at::Tensor sin = table.sin.narrow(0, 0, positions);
  const std::vector<at::Tensor> halves = heads.chunk(2, -1);
  const at::Tensor& a = halves[0];
  const at::Tensor& b = halves[1];
  return at::cat({a * cos - b * sin, b * cos + a * sin}, -1);
}

}  // namespace edgecompress
