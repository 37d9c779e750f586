#include "edgecompress/gate_flags.h"

#include <algorithm>

#include "base/error.h"
#include "recipe/fields.h"

namespace edgecompress::cli {
namespace {

struct GateFlag {
  const char* name;
  const char* help;
  const char* expected;
  GateMetric metric;
  std::string GateFlags::* text;
  GateScope scope;  ///< the smallest that has it
};

constexpr GateFlag kFlags[] = {
    {"--max-ppl-increase", "fail when perplexity grows by more, for example 1%",
     "a share such as 1% or 0.01", GateMetric::PerplexityIncrease,
     &GateFlags::max_perplexity_increase, GateScope::Scores},
    {"--max-kl", "fail when the mean KL divergence to the dense model is more nats",
     "a number such as 0.05", GateMetric::KlDivergence, &GateFlags::max_kl_divergence,
     GateScope::Scores},
    {"--min-top1", "fail when fewer positions keep their most likely token, for example 90%",
     "a share such as 90% or 0.9", GateMetric::Top1Agreement, &GateFlags::min_top1_agreement,
     GateScope::Scores},
    {"--max-size", "fail when the written weights are larger, for example 4GiB",
     "a size such as 4GiB or 500MB", GateMetric::SizeBytes, &GateFlags::max_size,
     GateScope::Folder},
    {"--min-sparsity", "fail when fewer of the blocks' weights are zero, for example 50%",
     "a share such as 50% or 0.5", GateMetric::Sparsity, &GateFlags::min_sparsity,
     GateScope::Folder},
    {"--min-speedup", "fail when the artifact decodes less than so many times as fast as dense",
     "a factor such as 1.5", GateMetric::Speedup, &GateFlags::min_speedup, GateScope::Run},
};

bool has_percent(const std::string& text) { return text.ends_with('%'); }

std::optional<double> limit_of(const GateFlag& flag, const std::string& text) {
  const std::optional<double> number = edgecompress::parse_share(text);
  switch (flag.metric) {
    case GateMetric::SizeBytes:
      return parse_size(text);
    case GateMetric::PerplexityIncrease:
      return number && *number >= 0 ? number : std::nullopt;
    case GateMetric::Sparsity:
    case GateMetric::Top1Agreement:
      return number && *number > 0 && *number <= 1 ? number : std::nullopt;
    case GateMetric::KlDivergence:
    case GateMetric::Speedup:
      return number && *number > 0 && !has_percent(text) ? number : std::nullopt;
  }
  return {};
}

}  // namespace

void add_gate_flags(CLI::App& command, GateFlags& flags, GateScope scope) {
  for (const GateFlag& flag : kFlags) {
    if (flag.scope <= scope) command.add_option(flag.name, flags.*flag.text, flag.help);
  }
  if (scope == GateScope::Scores) return;
  command.add_flag("--gate-before-publish", flags.gate_before_publish,
                   "write no output when a gate fails");
}

std::vector<Gate> gates_of(const GateFlags& flags) {
  std::vector<Gate> gates;
  for (const GateFlag& flag : kFlags) {
    const std::string& text = flags.*flag.text;
    if (text.empty()) continue;
    const std::optional<double> limit = limit_of(flag, text);
    if (!limit) {
      throw Error(ErrorKind::Usage, "U-GATE",
                  concat(flag.name, ": expected ", flag.expected, ", found \"", text, "\""));
    }
    gates.push_back({.metric = flag.metric, .limit = *limit});
  }
  return gates;
}

void add_gates(const GateFlags& flags, Recipe& recipe) {
  for (const Gate& gate : gates_of(flags)) {
    const std::string complaint = gate_complaint(recipe, gate);
    if (!complaint.empty()) {
      throw Error(ErrorKind::Usage, "R20",
                  concat(complaint, ": give --text, or evaluate: and export: in the recipe"));
    }
    std::erase_if(recipe.gates, [&](const Gate& other) { return other.metric == gate.metric; });
    recipe.gates.push_back(gate);
  }
}

}  // namespace edgecompress::cli
