#include "ort/beam_search.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/error.h"

namespace edgecompress {
namespace {

struct Beam {
  std::vector<std::int64_t> tokens;
  double log_probability = 0;  ///< of all its tokens, natural

  double mean() const { return log_probability / static_cast<double>(tokens.size()); }
};

/// A beam, continued by one token.
struct BeamStep {
  std::int64_t beam = 0;
  std::int64_t token = 0;
  double log_probability = 0;
};

bool is_likelier(const BeamStep& a, const BeamStep& b) {
  if (a.log_probability != b.log_probability) return a.log_probability > b.log_probability;
  return a.beam != b.beam ? a.beam < b.beam : a.token < b.token;
}

/// Leaves the `count` likeliest, from the likeliest on.
void keep_likeliest(std::vector<BeamStep>& steps, std::size_t count) {
  const auto kept = static_cast<std::ptrdiff_t>(std::min(count, steps.size()));
  std::partial_sort(steps.begin(), steps.begin() + kept, steps.end(), is_likelier);
  steps.resize(static_cast<std::size_t>(kept));
}

double log_of_sum_of_exponentials(std::span<const float> logits) {
  double largest = logits.front();
  for (const float logit : logits) {
    if (!std::isfinite(logit)) {
      throw Error(ErrorKind::Numeric, "F20", "the artifact's logits are not finite");
    }
    largest = std::max(largest, static_cast<double>(logit));
  }
  double sum = 0;
  for (const float logit : logits) sum += std::exp(logit - largest);
  return largest + std::log(sum);
}

/// The `count` likeliest continuations of all beams by one token.
/// logits: one row per beam.
std::vector<BeamStep> likeliest_steps(const std::vector<Beam>& beams, std::span<const float> logits,
                                      std::size_t count) {
  const std::size_t vocab_size = logits.size() / beams.size();
  std::vector<BeamStep> all;
  for (std::size_t beam = 0; beam < beams.size(); ++beam) {
    const std::span<const float> row = logits.subspan(beam * vocab_size, vocab_size);
    const double total = log_of_sum_of_exponentials(row);
    std::vector<BeamStep> steps(vocab_size);
    for (std::size_t token = 0; token < vocab_size; ++token) {
      steps[token] = {.beam = static_cast<std::int64_t>(beam),
                      .token = static_cast<std::int64_t>(token),
                      .log_probability = beams[beam].log_probability + row[token] - total};
    }
    keep_likeliest(steps, count);
    all.insert(all.end(), steps.begin(), steps.end());
  }
  keep_likeliest(all, count);
  return all;
}

void keep_best(std::vector<Beam>& ended, std::size_t count) {
  std::stable_sort(ended.begin(), ended.end(),
                   [](const Beam& a, const Beam& b) { return a.mean() > b.mean(); });
  if (ended.size() > count) ended.resize(count);
}

/// The beams of one moment, and the continuations that have ended.
class BeamSearch {
 public:
  explicit BeamSearch(const BeamSearchOptions& options)
      : options_(options), width_(static_cast<std::size_t>(options.beams)) {}

  /// Goes on by one token. Returns the row of the last logits that each beam now comes from.
  std::vector<std::int64_t> advance(std::span<const float> logits) {
    // half of them could be ends; more than that only with several end tokens
    const std::vector<BeamStep> steps = likeliest_steps(live_, logits, 2 * width_);
    std::vector<Beam> next;
    std::vector<std::int64_t> rows;
    for (std::size_t rank = 0; rank < steps.size() && next.size() < width_; ++rank) {
      Beam beam{.tokens = live_[static_cast<std::size_t>(steps[rank].beam)].tokens,
                .log_probability = steps[rank].log_probability};
      beam.tokens.push_back(steps[rank].token);
      if (!is_end(steps[rank].token)) {
        next.push_back(std::move(beam));
        rows.push_back(steps[rank].beam);
      } else if (rank < width_) {
        ended_.push_back(std::move(beam));
      }
    }
    keep_best(ended_, width_);
    live_ = std::move(next);
    return rows;
  }

  bool is_over() const {
    if (live_.empty()) return true;
    if (std::ssize(live_.front().tokens) >= options_.max_tokens) return true;
    return ended_.size() == width_ && ended_.back().mean() >= live_.front().mean();
  }

  std::vector<std::int64_t> last_tokens() const {
    std::vector<std::int64_t> tokens;
    tokens.reserve(live_.size());
    for (const Beam& beam : live_) tokens.push_back(beam.tokens.back());
    return tokens;
  }

  std::vector<std::int64_t> best() {
    ended_.insert(ended_.end(), live_.begin(), live_.end());
    keep_best(ended_, 1);
    return ended_.front().tokens;
  }

 private:
  bool is_end(std::int64_t token) const {
    const auto& ends = options_.end_tokens;
    return std::find(ends.begin(), ends.end(), token) != ends.end();
  }

  const BeamSearchOptions& options_;
  const std::size_t width_;
  std::vector<Beam> live_{Beam{}};  // from the likeliest on
  std::vector<Beam> ended_;         // by falling mean
};

}  // namespace

std::vector<std::int64_t> search_beams(DecoderSession& session,
                                       std::span<const std::int64_t> prompt,
                                       const BeamSearchOptions& options) {
  ensure(!prompt.empty() && options.beams > 0 && options.max_tokens > 0,
         "a prompt of at least one token, a beam, and a token to make");
  BeamSearch search(options);
  session.reset();
  std::span<const float> logits =
      session.run(prompt, 1).last(static_cast<std::size_t>(session.vocab_size()));
  while (true) {
    const std::vector<std::int64_t> rows = search.advance(logits);
    if (search.is_over()) return search.best();
    session.select_rows(rows);
    logits = session.run(search.last_tokens(), std::ssize(rows));
  }
}

}  // namespace edgecompress
