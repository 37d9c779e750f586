#include "ort/generation.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>

#include "base/error.h"

namespace edgecompress {
namespace {

/// Candidates from the most likely on, equal ones by their id.
std::vector<std::int64_t> by_falling_logit(std::span<const float> logits, std::size_t count) {
  std::vector<std::int64_t> ids(logits.size());
  std::iota(ids.begin(), ids.end(), 0);
  const auto more_likely = [&](std::int64_t a, std::int64_t b) {
    const float x = logits[static_cast<std::size_t>(a)];
    const float y = logits[static_cast<std::size_t>(b)];
    return x > y || (x == y && a < b);
  };
  std::partial_sort(ids.begin(), ids.begin() + static_cast<std::ptrdiff_t>(count), ids.end(),
                    more_likely);
  ids.resize(count);
  return ids;
}

/// The candidates' weights, not normalized, cut where they reach top_p of their sum.
std::vector<double> weights_of(std::span<const float> logits, const std::vector<std::int64_t>& ids,
                               const GenerationOptions& options) {
  const double largest = logits[static_cast<std::size_t>(ids.front())];
  std::vector<double> weights;
  double sum = 0;
  for (const std::int64_t id : ids) {
    const double logit = logits[static_cast<std::size_t>(id)];
    weights.push_back(std::exp((logit - largest) / options.temperature));
    sum += weights.back();
  }
  double reached = 0;
  std::size_t kept = 0;
  while (kept < weights.size() && reached < options.top_p * sum) reached += weights[kept++];
  weights.resize(std::max<std::size_t>(kept, 1));
  return weights;
}

}  // namespace

std::int64_t pick_token(std::span<const float> logits, const GenerationOptions& options,
                        double uniform) {
  const bool finite =
      std::all_of(logits.begin(), logits.end(), [](float logit) { return std::isfinite(logit); });
  if (!finite) throw Error(ErrorKind::Numeric, "F20", "the artifact's logits are not finite");
  if (options.temperature <= 0) return by_falling_logit(logits, 1).front();
  const auto all = static_cast<std::int64_t>(logits.size());
  const std::int64_t count = options.top_k > 0 ? std::min(options.top_k, all) : all;
  const std::vector<std::int64_t> ids = by_falling_logit(logits, static_cast<std::size_t>(count));
  const std::vector<double> weights = weights_of(logits, ids, options);
  double place = uniform * std::accumulate(weights.begin(), weights.end(), 0.0);
  for (std::size_t i = 0; i + 1 < weights.size(); ++i) {
    if (place < weights[i]) return ids[i];
    place -= weights[i];
  }
  return ids[weights.size() - 1];
}

std::vector<std::int64_t> generate_tokens(DecoderSession& session,
                                          std::span<const std::int64_t> prompt,
                                          const GenerationOptions& options) {
  ensure(!prompt.empty(), "a prompt of at least one token");
  std::mt19937_64 generator(options.seed);  // its sequence is fixed by the C++ standard
  std::vector<std::int64_t> tokens;
  std::vector<std::int64_t> next(prompt.begin(), prompt.end());
  session.reset();
  const auto vocab_size = static_cast<std::size_t>(session.vocab_size());
  while (std::ssize(tokens) < options.max_tokens) {
    const std::span<const float> logits = session.run(next, 1).last(vocab_size);
    const double uniform = static_cast<double>(generator() >> 11) * 0x1p-53;
    next.assign(1, pick_token(logits, options, uniform));
    tokens.push_back(next.front());
    const auto& ends = options.end_tokens;
    if (std::find(ends.begin(), ends.end(), next.front()) != ends.end()) break;
  }
  return tokens;
}

}  // namespace edgecompress
