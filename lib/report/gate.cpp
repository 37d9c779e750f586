#include "report/gate.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "base/error.h"
#include "report/report.h"
#include "report/text_numbers.h"

namespace edgecompress {
namespace {

enum class Unit { Change, Share, Bytes, Plain, Factor };

struct MetricRow {
  GateMetric metric;
  std::string_view name;
  bool upper;
  Unit unit;
};

constexpr std::array<MetricRow, kNumGateMetrics> kRows{{
    {GateMetric::PerplexityIncrease, "perplexity_increase", true, Unit::Change},
    {GateMetric::SizeBytes, "size_bytes", true, Unit::Bytes},
    {GateMetric::Sparsity, "sparsity", false, Unit::Share},
    {GateMetric::KlDivergence, "kl_divergence_nats", true, Unit::Plain},
    {GateMetric::Top1Agreement, "top1_agreement", false, Unit::Share},
    {GateMetric::Speedup, "decode_speedup", false, Unit::Factor},
}};

const MetricRow& row_of(GateMetric metric) {
  const auto row = std::find_if(kRows.begin(), kRows.end(),
                                [&](const MetricRow& other) { return other.metric == metric; });
  ensure(row != kRows.end(), "a row for every gate metric");
  return *row;
}

/// The last stage's value that was measured.
std::optional<double> last_value(const Report& report, std::optional<double> StageReport::* value) {
  for (auto stage = report.stages.rbegin(); stage != report.stages.rend(); ++stage) {
    if ((*stage).*value) return (*stage).*value;
  }
  return {};
}

std::string padded(const std::string& text, std::size_t width, bool to_the_right) {
  const std::string spaces(text.size() < width ? width - text.size() : 0, ' ');
  return to_the_right ? spaces + text : text + spaces;
}

}  // namespace

std::string_view gate_name(GateMetric metric) { return row_of(metric).name; }

bool is_upper_limit(GateMetric metric) { return row_of(metric).upper; }

std::string gate_number(GateMetric metric, double value) {
  if (!std::isfinite(value)) return std::isnan(value) ? "NaN" : (value > 0 ? "inf" : "-inf");
  switch (row_of(metric).unit) {
    case Unit::Change:
      return formatted("%+.2f%%", 100 * value);
    case Unit::Share:
      return formatted("%.2f%%", 100 * value);
    case Unit::Bytes:
      return size_text(static_cast<std::int64_t>(value));
    case Unit::Plain:
      return formatted("%.4g", value);
    case Unit::Factor:
      return formatted("%.2fx", value);
  }
  return {};
}

std::optional<double> gate_value(const Report& report, GateMetric metric) {
  switch (metric) {
    case GateMetric::PerplexityIncrease: {
      const std::optional<double> last = last_value(report, &StageReport::perplexity);
      if (!last || !report.stages.front().perplexity) return {};
      return *last / *report.stages.front().perplexity - 1;
    }
    case GateMetric::SizeBytes:
      return static_cast<double>(report.bytes_after);
    case GateMetric::Sparsity:
      return report.sparsity;
    case GateMetric::KlDivergence:
      return last_value(report, &StageReport::kl_divergence_nats);
    case GateMetric::Top1Agreement:
      return last_value(report, &StageReport::top1_agreement);
    case GateMetric::Speedup: {
      const RunEnvironment& environment = report.environment;
      if (!environment.dense_decode_tokens_per_second ||
          !environment.artifact_decode_tokens_per_second)
        return {};
      return *environment.artifact_decode_tokens_per_second /
             *environment.dense_decode_tokens_per_second;
    }
  }
  return {};
}

GateReport judge(const Gate& gate, std::optional<double> value) {
  const bool passed =
      value && (is_upper_limit(gate.metric) ? *value <= gate.limit : *value >= gate.limit);
  return {.metric = gate.metric, .limit = gate.limit, .value = value, .passed = passed};
}

std::vector<GateReport> judge(const std::vector<Gate>& gates, const Report& report) {
  std::vector<GateReport> out;
  for (const Gate& gate : gates) out.push_back(judge(gate, gate_value(report, gate.metric)));
  return out;
}

bool all_passed(const std::vector<GateReport>& gates) {
  return std::all_of(gates.begin(), gates.end(),
                     [](const GateReport& gate) { return gate.passed; });
}

std::string gate_table(const std::vector<GateReport>& gates) {
  if (gates.empty()) return {};
  constexpr std::array<std::size_t, 3> kWidths{20, 14, 14};
  std::string out = padded("gate", kWidths[0], false) + padded("limit", kWidths[1], true) +
                    padded("found", kWidths[2], true) + "  verdict\n";
  for (const GateReport& gate : gates) {
    const std::string limit =
        concat(is_upper_limit(gate.metric) ? "<= " : ">= ", gate_number(gate.metric, gate.limit));
    const std::string found =
        gate.value ? gate_number(gate.metric, *gate.value) : std::string("not measured");
    out += padded(std::string(gate_name(gate.metric)), kWidths[0], false) +
           padded(limit, kWidths[1], true) + padded(found, kWidths[2], true) +
           (gate.passed ? "  pass\n" : "  FAIL\n");
  }
  return out;
}

}  // namespace edgecompress
