#include <algorithm>
#include <array>
#include <cmath>
#include <map>

#include "base/error.h"
#include "report/report.h"
#include "report/text_numbers.h"

namespace edgecompress {
namespace {

constexpr std::size_t kWidth = 100;
constexpr std::size_t kStageWidth = 12;
constexpr const char* kAbsent = "-";

/// Printable ASCII only: what comes from file names must not move the cursor or widen a column.
std::string ascii(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if ((c & 0xC0) == 0x80) continue;  // the rest of a UTF-8 character
    out += c >= 0x20 && c < 0x7F ? c : (c == '\n' ? ' ' : '?');
  }
  return out;
}

std::string percent(double share) { return formatted("%.1f%%", 100 * share); }
std::string small(double value) {
  return formatted(std::abs(value) >= 1e-3 || value == 0 ? "%.4f" : "%.1e", value);
}
std::string perplexity(double value) {
  return formatted(std::abs(value) < 1e5 ? "%.3f" : "%.2e", value);
}
std::string change(double share) {
  return formatted(std::abs(share) < 100 ? "%+.1f%%" : "%+.1e%%", 100 * share);
}

using Row = std::array<std::string, 9>;

Row row_of(const StageReport& stage, const StageReport& first) {
  Row row;
  row.fill(kAbsent);
  row[0] = ascii(stage.stage).substr(0, kStageWidth);
  row[1] = count_text(stage.parameters);
  row[2] = size_text(stage.size_bytes);
  if (stage.size_bytes > 0) {
    const double ratio =
        static_cast<double>(first.size_bytes) / static_cast<double>(stage.size_bytes);
    row[3] = formatted(ratio < 1e4 ? "%.2fx" : "%.1ex", ratio);
  }
  row[4] = percent(stage.sparsity);
  if (stage.perplexity) row[5] = perplexity(*stage.perplexity);
  if (stage.perplexity && first.perplexity && &stage != &first) {
    row[6] = change(*stage.perplexity / *first.perplexity - 1);
  }
  if (stage.kl_divergence_nats) row[7] = small(*stage.kl_divergence_nats);
  if (stage.top1_agreement) row[8] = percent(*stage.top1_agreement);
  return row;
}

/// Rows below each other, the first column to the left, the others to the right.
std::string aligned(const std::vector<Row>& rows) {
  std::array<std::size_t, std::tuple_size_v<Row>> widths{};
  for (const Row& row : rows) {
    for (std::size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  std::string out;
  for (const Row& row : rows) {
    out += row[0] + std::string(widths[0] - row[0].size(), ' ');
    for (std::size_t i = 1; i < row.size(); ++i) {
      out += "  " + std::string(widths[i] - row[i].size(), ' ') + row[i];
    }
    out += '\n';
  }
  return out;
}

/// Words in lines of at most kWidth; the first line starts with `label`, the others below its text.
std::string wrapped(const std::string& label, const std::string& text) {
  std::string out;
  std::string line = label;
  bool line_has_word = false;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find(' ', at), text.size());
    // a word longer than a line is cut
    const std::string word = text.substr(at, std::min(end - at, kWidth - label.size()));
    at = word.size() < end - at ? at + word.size() : end + 1;
    if (word.empty()) continue;
    if (line_has_word && line.size() + 1 + word.size() > kWidth) {
      out += line + '\n';
      line.assign(label.size(), ' ');
      line_has_word = false;
    }
    line += (line_has_word ? " " : "") + word;
    line_has_word = true;
  }
  return out + line + '\n';
}

/// "12 of 16 products sparse (12 of 16x4); 0.31 bytes per weight of the decoder blocks".
std::string product_line(const std::vector<ProductReport>& products) {
  std::map<std::string, int> forms;
  std::int64_t weights = 0;
  std::int64_t bytes = 0;
  int sparse = 0;
  for (const ProductReport& product : products) {
    weights += product.weights;
    bytes += product.bytes;
    if (product.form == "dense") continue;
    ++forms[product.form];
    ++sparse;
  }
  std::string list;
  for (const auto& [form, number] : forms) {
    list += concat(list.empty() ? " (" : ", ", number, " as ", form);
  }
  return concat(sparse, " of ", products.size(), " products sparse", list, list.empty() ? "" : ")",
                "; ", formatted("%.3f", static_cast<double>(bytes) / static_cast<double>(weights)),
                " bytes per weight of the decoder blocks");
}

std::string artifact_lines(const ArtifactReport& artifact) {
  const std::string what = concat(ascii(artifact.format), ", ", size_text(artifact.size_bytes));
  if (artifact.onnxruntime_version.empty()) return wrapped("artifact  ", what + ", not run");
  std::string out = wrapped(
      "artifact  ", concat(what, ", run by ONNX Runtime ", ascii(artifact.onnxruntime_version)));
  const std::string indent(10, ' ');
  if (!artifact.products.empty()) out += wrapped(indent, product_line(artifact.products));
  out +=
      wrapped(indent, concat("against the compressed model: logit error ",
                             formatted("%.1e", artifact.max_logit_error.value_or(NAN)), ", mean ",
                             formatted("%.1e", artifact.mean_logit_error.value_or(NAN)), ", KL ",
                             formatted("%.1e", artifact.kl_divergence_nats.value_or(NAN)),
                             ", top-1 ", percent(artifact.top1_agreement.value_or(NAN))));
  out += wrapped(indent, concat("prefill in one piece and token by token differ by ",
                                formatted("%.1e", artifact.cache_split_error.value_or(NAN))));
  std::string measured;
  if (artifact.perplexity_exact)
    measured +=
        concat("perplexity ", perplexity(*artifact.perplexity_exact), " at accuracy level 0");
  if (artifact.perplexity_published) {
    measured += concat(measured.empty() ? "perplexity " : ", ",
                       perplexity(*artifact.perplexity_published), " as published");
  }
  if (!measured.empty()) out += wrapped(indent, measured);
  return out;
}

}  // namespace

std::string report_table(const Report& report) {
  std::vector<Row> rows{
      {"stage", "parameters", "size", "ratio", "sparsity", "perplexity", "change", "KL", "top-1"}};
  for (const StageReport& stage : report.stages)
    rows.push_back(row_of(stage, report.stages.front()));
  std::string out = report.stages.empty() ? "" : aligned(rows);
  if (report.artifact) out += artifact_lines(*report.artifact);
  out += gate_table(report.gates);
  for (const std::string& warning : report.warnings) out += wrapped("warning   ", ascii(warning));
  return out;
}

}  // namespace edgecompress
