// Included by every kernel file, and compiled there for its instruction set; no other file may
// include it.
#pragma once

#include "panel_sparse/kernels.h"

namespace edgecompress {
namespace {

constexpr int kExactTokens = 4;  // that share a loaded column of weights

template <int HEIGHT, int TOKENS>
void add_exact_tokens(const ExactGroup& group, std::int64_t token) {
  float sums[TOKENS][HEIGHT] = {};
  for (std::int64_t column = 0; column < group.columns; ++column) {
    const float* const weights = group.weights + column * HEIGHT;
    for (int t = 0; t < TOKENS; ++t) {
      const float x = group.x[(token + t) * group.x_stride + column];
      for (int row = 0; row < HEIGHT; ++row) sums[t][row] += weights[row] * x;
    }
  }
  for (int t = 0; t < TOKENS; ++t) {
    float* const y = group.y + (token + t) * group.y_stride;
    for (std::int64_t row = 0; row < group.rows; ++row) y[row] += sums[t][row] * group.scales[row];
  }
}

template <int HEIGHT>
void add_exact_rows(const ExactGroup& group) {
  std::int64_t token = 0;
  for (; token + kExactTokens <= group.tokens; token += kExactTokens) {
    add_exact_tokens<HEIGHT, kExactTokens>(group, token);
  }
  for (; token < group.tokens; ++token) add_exact_tokens<HEIGHT, 1>(group, token);
}

void add_exact_group(const ExactGroup& group) {
  if (group.height == 16) return add_exact_rows<16>(group);
  if (group.height == 8) return add_exact_rows<8>(group);
  add_exact_rows<4>(group);
}

}  // namespace
}  // namespace edgecompress
