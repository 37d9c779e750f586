#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace edgecompress {

struct Report;

/// What a gate looks at. Names and units: gate_name().
enum class GateMetric {
  PerplexityIncrease,  ///< perplexity of the last scored stage / that of the first, minus 1
  SizeBytes,           ///< of what was written
  Sparsity,            ///< share of zeros among the decoder blocks' linear weights, 0..1
  KlDivergence,        ///< mean KL(dense || last scored stage), nats
  Top1Agreement,       ///< of the last scored stage with the dense model, 0..1
  Speedup,             ///< decode tokens per second of the artifact / those of the dense artifact
};
inline constexpr std::size_t kNumGateMetrics = 6;

/// A limit that a result must keep: the largest allowed value, or the smallest.
struct Gate {
  GateMetric metric = GateMetric::PerplexityIncrease;
  double limit = 0;
};

/// A gate and what was found.
struct GateReport {
  GateMetric metric = GateMetric::PerplexityIncrease;
  double limit = 0;
  std::optional<double> value = {};  ///< nothing: it was not measured, which fails the gate
  bool passed = false;
};

/// "perplexity_increase", "size_bytes", "sparsity", "kl_divergence_nats", "top1_agreement",
/// "decode_speedup".
std::string_view gate_name(GateMetric metric);
/// True when the limit is the largest allowed value.
bool is_upper_limit(GateMetric metric);
/// A limit or a value in the metric's unit: "+1.00%", "2.40 MiB", "0.0500".
std::string gate_number(GateMetric metric, double value);

/// What a run measured of a gate's metric; nothing when it did not.
std::optional<double> gate_value(const Report& report, GateMetric metric);

/// A value that is absent or not a number fails.
GateReport judge(const Gate& gate, std::optional<double> value);
std::vector<GateReport> judge(const std::vector<Gate>& gates, const Report& report);
bool all_passed(const std::vector<GateReport>& gates);

/// One row per gate: name, limit, value, verdict. ASCII, at most 100 columns. Empty without gates.
std::string gate_table(const std::vector<GateReport>& gates);

}  // namespace edgecompress
