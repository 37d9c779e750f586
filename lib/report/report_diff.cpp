#include "report/report_diff.h"

#include <algorithm>
#include <array>
#include <map>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "report/html_text.h"
#include "report/text_numbers.h"

namespace edgecompress {
namespace {

enum class Unit { Bytes, Count, Share, Plain, Speed };

std::string value_text(Unit unit, const std::optional<double>& value) {
  if (!value) return "-";
  switch (unit) {
    case Unit::Bytes:
      return size_text(static_cast<std::int64_t>(*value));
    case Unit::Count:
      return count_text(static_cast<std::int64_t>(*value));
    case Unit::Share:
      return formatted("%.2f%%", 100 * *value);
    case Unit::Plain:
      return formatted("%.4g", *value);
    case Unit::Speed:
      return formatted("%.1f/s", *value);
  }
  return {};
}

std::optional<double> last(const Report& report, std::optional<double> StageReport::* value) {
  for (auto stage = report.stages.rbegin(); stage != report.stages.rend(); ++stage) {
    if ((*stage).*value) return (*stage).*value;
  }
  return {};
}

bool same_tokens(const Report& first, const Report& second) {
  return first.evaluation && second.evaluation &&
         first.evaluation->token_sha256 == second.evaluation->token_sha256 &&
         first.evaluation->window == second.evaluation->window;
}

class DiffBuilder {
 public:
  DiffBuilder(const Report& first, const Report& second) : first_(first), second_(second) {}

  /// limit: the largest allowed change; of a value that should be large, of its fall.
  void row(const std::string& metric, Unit unit, std::optional<double> a, std::optional<double> b,
           std::optional<double> limit = {}) {
    if (!a && !b && !limit) return;
    DiffRow row{.metric = metric,
                .first = a,
                .second = b,
                .change = {},
                .first_text = value_text(unit, a),
                .second_text = value_text(unit, b),
                .change_text = "-",
                .limit = limit};
    if (a && b && (unit == Unit::Share || *a != 0)) {
      row.change = unit == Unit::Share ? *b - *a : *b / *a - 1;
      row.change_text =
          formatted(unit == Unit::Share ? "%+.2f points" : "%+.2f%%", 100 * *row.change);
    }
    const bool larger_is_better = unit == Unit::Share || unit == Unit::Speed;
    if (limit) {
      row.passed = row.change && (larger_is_better ? -*row.change : *row.change) <= *limit;
    }
    diff.rows.push_back(std::move(row));
  }

  void tensors() {
    std::map<std::string, const TensorReport*> known;
    for (const TensorReport& tensor : first_.tensors) known[tensor.name] = &tensor;
    for (const TensorReport& tensor : second_.tensors) {
      const auto found = known.find(tensor.name);
      if (found == known.end()) continue;
      const auto a = error_of(*found->second);
      const auto b = error_of(tensor);
      if (a == b && found->second->stored_as == tensor.stored_as) continue;
      diff.tensors.push_back({tensor.name, found->second->stored_as, tensor.stored_as, a, b});
    }
    std::stable_sort(
        diff.tensors.begin(), diff.tensors.end(),
        [](const TensorDiff& x, const TensorDiff& y) { return growth(x) > growth(y); });
  }

  ReportDiff diff;

 private:
  static std::optional<double> error_of(const TensorReport& tensor) {
    return tensor.relative_output_error ? tensor.relative_output_error
                                        : tensor.relative_weight_error;
  }
  static double growth(const TensorDiff& tensor) {
    return tensor.error_second.value_or(0) - tensor.error_first.value_or(0);
  }

  const Report& first_;
  const Report& second_;
};

std::string padded(const std::string& text, std::size_t width) {
  return text + std::string(text.size() < width ? width - text.size() : 1, ' ');
}

std::string error_text(const std::optional<double>& error) {
  return error ? formatted("%.2e", *error) : "-";
}

std::string verdict(const DiffRow& row) {
  if (!row.limit) return "";
  return concat(row.passed ? "pass" : "FAIL", " (limit ", formatted("%.2f%%", 100 * *row.limit),
                ")");
}

}  // namespace

bool ReportDiff::passed() const {
  return std::all_of(rows.begin(), rows.end(), [](const DiffRow& row) { return row.passed; });
}

ReportDiff diff_reports(const Report& first, const Report& second, const DiffLimits& limits) {
  DiffBuilder builder(first, second);
  builder.diff.first = first.model_name;
  builder.diff.second = second.model_name;
  const auto bytes = [](std::int64_t value) { return static_cast<double>(value); };
  builder.row("size", Unit::Bytes, bytes(first.bytes_after), bytes(second.bytes_after),
              limits.size_increase);
  builder.row("parameters", Unit::Count, bytes(first.parameters_after),
              bytes(second.parameters_after));
  builder.row("sparsity", Unit::Share, first.sparsity, second.sparsity);
  const bool comparable = same_tokens(first, second);
  const auto score = [&](const Report& report, std::optional<double> StageReport::* value) {
    return comparable ? last(report, value) : std::nullopt;
  };
  builder.row("perplexity", Unit::Plain, score(first, &StageReport::perplexity),
              score(second, &StageReport::perplexity), limits.perplexity_increase);
  builder.row("KL to dense", Unit::Plain, score(first, &StageReport::kl_divergence_nats),
              score(second, &StageReport::kl_divergence_nats));
  builder.row("top-1 with dense", Unit::Share, score(first, &StageReport::top1_agreement),
              score(second, &StageReport::top1_agreement), limits.top1_decrease);
  builder.row("decode tokens", Unit::Speed, first.environment.artifact_decode_tokens_per_second,
              second.environment.artifact_decode_tokens_per_second, limits.speed_decrease);
  builder.tensors();
  if (!comparable && (first.evaluation || second.evaluation)) {
    builder.diff.notes.push_back(
        "perplexity, KL and top-1 do not compare: the two were not scored on the same tokens");
  }
  if (first.environment.cpu != second.environment.cpu) {
    builder.diff.notes.push_back("speeds were measured on different processors");
  }
  if (first.tool_version != second.tool_version) {
    builder.diff.notes.push_back(
        concat("made by edgecompress ", first.tool_version, " and ", second.tool_version));
  }
  return builder.diff;
}

std::string diff_table(const ReportDiff& diff) {
  std::string out = padded("", 20) + padded("first", 16) + padded("second", 16) + "change\n";
  for (const DiffRow& row : diff.rows) {
    out += padded(row.metric, 20) + padded(row.first_text, 16) + padded(row.second_text, 16);
    out += row.limit ? padded(row.change_text, 18) + verdict(row) : row.change_text;
    out += "\n";
  }
  constexpr std::size_t kShown = 10;
  if (!diff.tensors.empty()) out += concat("\n", diff.tensors.size(), " matrices differ:\n");
  for (std::size_t i = 0; i < std::min(diff.tensors.size(), kShown); ++i) {
    const TensorDiff& tensor = diff.tensors[i];
    out += "  " + padded(tensor.name, 40) + padded(tensor.stored_first, 8) +
           padded(tensor.stored_second, 8) + "error " + error_text(tensor.error_first) + " -> " +
           error_text(tensor.error_second) + "\n";
  }
  for (const std::string& note : diff.notes) out += "note  " + note + "\n";
  return out;
}

std::string diff_markdown(const ReportDiff& diff) {
  std::string out =
      concat("## ", markdown_escaped(diff.first), " and ", markdown_escaped(diff.second),
             "\n\n| | first | second | change | limit |\n| --- | --- | --- | --- | --- "
             "|\n");
  for (const DiffRow& row : diff.rows) {
    out += concat("| ", row.metric, " | ", row.first_text, " | ", row.second_text, " | ",
                  row.change_text, " | ", verdict(row), " |\n");
  }
  constexpr std::size_t kShown = 20;
  if (!diff.tensors.empty()) {
    out +=
        concat("\n<details><summary>", diff.tensors.size(),
               " matrices differ</summary>\n\n| matrix | first | second | error | error after |\n"
               "| --- | --- | --- | --- | --- |\n");
    for (std::size_t i = 0; i < std::min(diff.tensors.size(), kShown); ++i) {
      const TensorDiff& tensor = diff.tensors[i];
      out +=
          concat("| ", markdown_escaped(tensor.name), " | ", markdown_escaped(tensor.stored_first),
                 " | ", markdown_escaped(tensor.stored_second), " | ",
                 error_text(tensor.error_first), " | ", error_text(tensor.error_second), " |\n");
    }
    out += "\n</details>\n";
  }
  for (const std::string& note : diff.notes) out += concat("\n> ", markdown_escaped(note), "\n");
  return out;
}

nlohmann::ordered_json diff_json(const ReportDiff& diff) {
  using Json = nlohmann::ordered_json;
  Json out{{"schema", "edgecompress.diff/v1"}, {"passed", diff.passed()}, {"rows", Json::array()}};
  const auto put = [](Json& object, const char* key, const std::optional<double>& value) {
    if (value) object[key] = *value;
  };
  for (const DiffRow& row : diff.rows) {
    Json entry{{"metric", row.metric}};
    put(entry, "first", row.first);
    put(entry, "second", row.second);
    put(entry, "change", row.change);
    put(entry, "limit", row.limit);
    entry["passed"] = row.passed;
    out["rows"].push_back(std::move(entry));
  }
  out["tensors"] = Json::array();
  for (const TensorDiff& tensor : diff.tensors) {
    Json entry{{"name", tensor.name},
               {"stored_first", tensor.stored_first},
               {"stored_second", tensor.stored_second}};
    put(entry, "error_first", tensor.error_first);
    put(entry, "error_second", tensor.error_second);
    out["tensors"].push_back(std::move(entry));
  }
  out["notes"] = diff.notes;
  return out;
}

}  // namespace edgecompress
