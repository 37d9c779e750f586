#include "evaluate/artifact_evaluation.h"

#include <algorithm>
#include <chrono>
#include <vector>

#include "tensor/aten.h"
#include "tensor/ordered_sum.h"

namespace edgecompress {
namespace {

std::vector<std::int64_t> widened(std::span<const std::int32_t> ids) {
  return {ids.begin(), ids.end()};
}

/// A copy of logits [tokens, vocab_size] that the session's next run may overwrite.
at::Tensor owned(std::span<const float> logits, std::int64_t vocab_size) {
  return at::from_blob(const_cast<float*>(logits.data()),
                       {static_cast<std::int64_t>(logits.size()) / vocab_size, vocab_size},
                       at::kFloat)
      .clone();
}

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

}  // namespace

WindowLogits artifact_logits(DecoderSession& session, const TokenWindows& windows) {
  return [&session, &windows](std::int64_t window) {
    session.reset();
    return owned(session.run(widened(windows.window(window)), 1), session.vocab_size());
  };
}

LogitAgreement compare_logits(const TokenWindows& windows, const WindowLogits& model,
                              const WindowLogits& artifact) {
  LogitAgreement agreement;
  for (std::int64_t i = 0; i < windows.count; ++i) {
    const at::Tensor expected = model(i);
    const at::Tensor difference = (artifact(i) - expected).abs();
    agreement.max_error = std::max(agreement.max_error, difference.max().item<double>());
    agreement.max_logit = std::max(agreement.max_logit, expected.abs().max().item<double>());
    agreement.mean_error += ordered_sum(difference) / static_cast<double>(difference.numel()) /
                            static_cast<double>(windows.count);
  }
  return agreement;
}

double cache_split_error(DecoderSession& session, const TokenWindows& windows,
                         std::int64_t max_tokens) {
  const std::int64_t length = std::min(max_tokens, windows.length);
  std::vector<std::int64_t> ids = widened(windows.window(0));
  ids.resize(static_cast<std::size_t>(length));
  session.reset();
  const at::Tensor whole = owned(session.run(ids, 1), session.vocab_size());
  session.reset();
  double error = 0;
  for (std::int64_t i = 0; i < length; ++i) {
    const at::Tensor one =
        owned(session.run({&ids[static_cast<std::size_t>(i)], 1}, 1), session.vocab_size());
    error = std::max(error, (one[0] - whole[i]).abs().max().item<double>());
  }
  return error;
}

DecoderSpeed measure_speed(DecoderSession& session, const TokenWindows& windows,
                           const SpeedOptions& options) {
  const std::int64_t decoded = std::min(options.decode_tokens, options.context_tokens / 2);
  const std::int64_t prompt =
      std::min({options.prompt_tokens, windows.length, options.context_tokens - decoded});
  std::vector<std::int64_t> ids = widened(windows.window(0));
  ids.resize(static_cast<std::size_t>(prompt));
  const std::int64_t next = ids.back();
  std::vector<double> prefill;
  std::vector<double> decode;
  for (std::int64_t i = 0; i <= options.repetitions; ++i) {
    session.reset();
    const auto prefill_start = std::chrono::steady_clock::now();
    session.run(ids, 1);
    const double prefill_seconds = seconds_since(prefill_start);
    const auto decode_start = std::chrono::steady_clock::now();
    for (std::int64_t step = 0; step < decoded; ++step) session.run({&next, 1}, 1);
    const double decode_seconds = seconds_since(decode_start);
    if (i == 0) continue;  // the first pass touches the weights' pages
    prefill.push_back(static_cast<double>(prompt) / prefill_seconds);
    decode.push_back(static_cast<double>(decoded) / decode_seconds);
  }
  return {.prefill_tokens_per_second = median(prefill), .decode_tokens_per_second = median(decode)};
}

}  // namespace edgecompress
