// What the Hessians of a Llama block cost beside GPTQ's own code, in FLOPs and in seconds.
//
//   bench_hessian_cost [hidden=768] [ffn=2048] [sequences=16] [length=512] [threads=2] [rounds=5]
//
// The reference (IST-DASLab gptq, gptq.py, add_batch) gathers one for each of the seven layers, by
// a full product of each sequence. Layers that read the same input share one here, of which half is
// computed. Required: at most 40 % of the reference's FLOPs and time; the exit code is 1 otherwise.
// Time: the smallest of the rounds, which alternate.
#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <utility>
#include <vector>

#include <ATen/Parallel.h>

#include "stats/hessian.h"
#include "tensor/aten.h"

namespace edgecompress {
namespace {

constexpr double kLargestRatio = 0.4;
constexpr std::int64_t kTokensAtOnce = 4096;  // what the walk through the blocks shows at a time

struct Shape {
  std::int64_t hidden;
  std::int64_t ffn;
  std::int64_t sequences;
  std::int64_t length;
};

double seconds_of(const std::function<void()>& body) {
  const auto start = std::chrono::steady_clock::now();
  body();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

/// gptq.py, add_batch, of one layer.
at::Tensor reference_hessian(const at::Tensor& inputs, std::int64_t length) {
  at::Tensor hessian = at::zeros({inputs.size(1), inputs.size(1)});
  const std::int64_t sequences = inputs.size(0) / length;
  for (std::int64_t i = 0; i < sequences; ++i) {
    const auto seen = static_cast<double>(i + 1);
    hessian.mul_(static_cast<double>(i) / seen);
    const at::Tensor sequence = inputs.narrow(0, i * length, length).t() * std::sqrt(2 / seen);
    hessian.add_(sequence.matmul(sequence.t()));
  }
  return hessian;
}

at::Tensor shared_hessian(const at::Tensor& inputs) {
  Hessian hessian(inputs.size(1));
  for (std::int64_t begin = 0; begin < inputs.size(0); begin += kTokensAtOnce) {
    hessian.add(inputs.narrow(0, begin, std::min(kTokensAtOnce, inputs.size(0) - begin)));
  }
  return hessian.matrix();
}

bool report(const char* what, double ours, double theirs) {
  std::printf("%-14s %10.3f %10.3f  ratio %.3f (required %.2f)\n", what, ours, theirs,
              ours / theirs, kLargestRatio);
  return ours <= kLargestRatio * theirs;
}

bool compare(const Shape& shape, int rounds) {
  const auto tokens = static_cast<double>(shape.sequences * shape.length);
  const std::vector<std::pair<std::int64_t, int>> groups{
      {shape.hidden, 3}, {shape.hidden, 1}, {shape.hidden, 2}, {shape.ffn, 1}};
  double our_flops = 0;
  double their_flops = 0;
  std::vector<at::Tensor> inputs;
  for (const auto& [columns, sharing] : groups) {
    our_flops += tokens * static_cast<double>(Hessian::flops_per_token(columns));
    their_flops += tokens * sharing * 2 * static_cast<double>(columns * columns);
    inputs.push_back(at::randn({shape.sequences * shape.length, columns}));
  }
  double our_seconds = INFINITY;
  double their_seconds = INFINITY;
  for (int round = 0; round < rounds; ++round) {
    our_seconds = std::min(our_seconds, seconds_of([&] {
                             for (const at::Tensor& input : inputs) shared_hessian(input);
                           }));
    their_seconds = std::min(their_seconds, seconds_of([&] {
                               for (std::size_t i = 0; i < inputs.size(); ++i) {
                                 for (int layer = 0; layer < groups[i].second; ++layer) {
                                   reference_hessian(inputs[i], shape.length);
                                 }
                               }
                             }));
  }
  std::printf("one block, hidden %ld, FFN %ld, %ld tokens\n%-14s %10s %10s\n", shape.hidden,
              shape.ffn, shape.sequences * shape.length, "", "ours", "reference");
  const bool few = report("GFLOP", our_flops / 1e9, their_flops / 1e9);
  return report("seconds", our_seconds, their_seconds) && few;
}

}  // namespace
}  // namespace edgecompress

int main(int count, char** arguments) {
  std::array<long, 6> numbers{768, 2048, 16, 512, 2, 5};
  for (int i = 1; i < count && i <= static_cast<int>(numbers.size()); ++i) {
    numbers[static_cast<std::size_t>(i - 1)] = std::atol(arguments[i]);
  }
  at::set_num_threads(static_cast<int>(numbers[4]));
  const bool good = edgecompress::compare(
      {.hidden = numbers[0], .ffn = numbers[1], .sequences = numbers[2], .length = numbers[3]},
      static_cast<int>(numbers[5]));
  return good ? 0 : 1;
}
