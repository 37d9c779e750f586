#include "report/html_report.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <map>

#include "base/error.h"
#include "report/html_style.h"
#include "report/html_text.h"
#include "report/report_sections.h"
#include "report/svg_charts.h"
#include "report/text_numbers.h"

namespace edgecompress {
namespace {

constexpr std::array<const char*, 7> kProjections{"q", "k", "v", "o", "gate", "up", "down"};
constexpr std::size_t kLayersInPicture = 128;  // more make a page of megabytes; the JSON has all

/// Where a tensor of a decoder block stands in a picture.
struct BlockPlace {
  std::size_t layer = 0;
  std::size_t projection = 0;
};

std::optional<BlockPlace> place_of(const std::string& module) {
  constexpr std::string_view kPrefix = "model.layers.";
  if (!module.starts_with(kPrefix)) return {};
  const std::string rest = module.substr(kPrefix.size());
  const std::size_t digits = rest.find_first_not_of("0123456789");
  if (digits == 0 || digits > 6 || digits == std::string::npos) return {};
  const std::size_t layer = std::stoul(rest.substr(0, digits));
  if (layer >= kLayersInPicture) return {};
  for (std::size_t i = 0; i < kProjections.size(); ++i) {
    if (rest.ends_with(concat(".", kProjections[i], "_proj"))) return BlockPlace{layer, i};
  }
  return {};
}

using TensorValue = std::optional<double> (*)(const TensorReport&);

std::optional<double> bits_of(const TensorReport& tensor) {
  return tensor.bits ? std::optional(static_cast<double>(*tensor.bits)) : std::nullopt;
}
std::optional<double> sparsity_of(const TensorReport& tensor) { return tensor.sparsity; }
std::optional<double> error_of(const TensorReport& tensor) {
  return tensor.relative_output_error ? tensor.relative_output_error : tensor.relative_weight_error;
}

std::string plain_label(double value) { return formatted("%.0f", value); }
std::string percent_label(double value) { return formatted("%.1f%%", 100 * value); }
std::string error_label(double value) {
  return value == 0 ? "0" : formatted(value < 1e-3 ? "%.0e" : "%.3f", value);
}

HeatMap heat_map(const Report& report, TensorValue value, std::string (*label)(double)) {
  HeatMap map;
  map.columns.assign(kProjections.begin(), kProjections.end());
  for (const TensorReport& tensor : report.tensors) {
    const std::optional<BlockPlace> place = place_of(tensor.name);
    if (!place) continue;
    while (map.rows.size() <= place->layer) {
      map.rows.push_back(std::to_string(map.rows.size()));
      map.values.emplace_back(kProjections.size());
      map.labels.emplace_back(kProjections.size());
    }
    const std::optional<double> found = value(tensor);
    map.values[place->layer][place->projection] = found;
    if (found) map.labels[place->layer][place->projection] = label(*found);
  }
  return map;
}

bool has_values(const HeatMap& map) {
  return std::any_of(map.values.begin(), map.values.end(), [](const auto& row) {
    return std::any_of(row.begin(), row.end(), [](const auto& value) { return value.has_value(); });
  });
}

std::string figure(const std::string& title, const std::string& note, const std::string& picture) {
  return concat("<figure><figcaption><b>", html_escaped(title), "</b><br>", html_escaped(note),
                "</figcaption>", picture, "</figure>\n");
}

std::string heat_maps(const Report& report) {
  std::string out;
  const auto add = [&](const std::string& title, const std::string& note, const HeatMap& map) {
    if (has_values(map)) out += figure(title, note, heat_map_svg(map));
  };
  add("Bits", "of a weight; empty cells stay floating", heat_map(report, bits_of, plain_label));
  add("Sparsity", "share of zeros, counted in the written file",
      heat_map(report, sparsity_of, percent_label));
  add("Error", "relative squared error: of the outputs on the calibration text, or of the weights",
      heat_map(report, error_of, error_label));
  if (out.empty()) return {};
  return "<h2>Layers</h2>\n<div class=\"maps\">\n" + out + "</div>\n";
}

std::string error_lines(const Report& report) {
  const HeatMap map = heat_map(report, error_of, error_label);
  if (!has_values(map)) return {};
  std::vector<LayerLine> lines;
  for (std::size_t projection = 0; projection < kProjections.size(); ++projection) {
    LayerLine line{.name = kProjections[projection], .values = {}};
    for (const auto& row : map.values) line.values.push_back(row[projection]);
    lines.push_back(std::move(line));
  }
  return figure("Error by layer", "the same numbers as the map",
                layer_lines_svg(lines, "relative error"));
}

std::string perplexity_picture(const Report& report) {
  std::vector<ScatterPoint> points;
  for (const StageReport& stage : report.stages) {
    if (!stage.perplexity || !std::isfinite(*stage.perplexity)) continue;
    points.push_back({.name = stage.stage,
                      .x = static_cast<double>(stage.size_bytes) / (1 << 20),
                      .y = *stage.perplexity,
                      .hint = concat(stage.stage, ": ", size_text(stage.size_bytes),
                                     ", perplexity ", formatted("%.3f", *stage.perplexity))});
  }
  if (points.size() < 2) return {};
  return figure("Perplexity against size", "each stage of the run",
                scatter_svg(points, "MiB", "perplexity"));
}

std::string size_picture(const Report& report) {
  const std::vector<std::string> names{"embedding", "attention", "mlp", "head"};
  StackedBar before{.name = "before", .parts = std::vector<double>(4), .total = {}};
  StackedBar after{.name = "after", .parts = std::vector<double>(4), .total = {}};
  std::int64_t total_before = 0;
  std::int64_t total_after = 0;
  for (const TensorReport& tensor : report.tensors) {
    const bool attention = tensor.name.find(".self_attn.") != std::string::npos;
    const std::size_t part = tensor.name == "model.embed_tokens" ? 0
                             : tensor.name == "lm_head"          ? 3
                             : attention                         ? 1
                                                                 : 2;
    before.parts[part] += static_cast<double>(tensor.bytes_before);
    after.parts[part] += static_cast<double>(tensor.bytes_after);
    total_before += tensor.bytes_before;
    total_after += tensor.bytes_after;
  }
  if (total_before == 0) return {};
  before.total = size_text(total_before);
  after.total = size_text(total_after);
  return figure("Size by part", "of the matrices, as the checkpoint stores them",
                stacked_bars_svg({before, after}, names));
}

/// A column that says nothing in any row takes room from those that do.
ReportTable without_empty_columns(const ReportTable& table) {
  ReportTable shorter = table;
  for (std::size_t column = table.head.size(); column-- > 0;) {
    const bool says_something =
        std::any_of(table.rows.begin(), table.rows.end(), [&](const auto& row) {
          return column >= row.size() || (!row[column].empty() && row[column] != "-");
        });
    if (says_something) continue;
    const auto at = static_cast<std::ptrdiff_t>(column);
    shorter.head.erase(shorter.head.begin() + at);
    for (auto& row : shorter.rows) row.erase(row.begin() + at);
  }
  return shorter;
}

std::string html_table(const ReportTable& table) {
  std::string out = "<div class=\"scroll\"><table><thead><tr>";
  for (const std::string& cell : table.head) out += "<th>" + html_escaped(cell) + "</th>";
  out += "</tr></thead><tbody>\n";
  for (const auto& row : table.rows) {
    out += "<tr>";
    for (const std::string& cell : row) {
      const bool failed = cell == "FAIL";
      out += concat(failed ? "<td class=\"fail\">" : "<td>", html_escaped(cell), "</td>");
    }
    out += "</tr>\n";
  }
  return out + "</tbody></table></div>\n";
}

std::string section(const ReportTable& table) {
  if (table.rows.empty()) return {};
  const std::string body = html_table(without_empty_columns(table));
  if (!table.folded) return concat("<h2>", html_escaped(table.title), "</h2>\n", body);
  return concat("<details><summary>", html_escaped(table.title), " (", table.rows.size(),
                ")</summary>\n", body, "</details>\n");
}

std::string cards(const Report& report) {
  std::string out = "<div class=\"cards\">";
  for (const ReportFact& fact : headline_facts(report)) {
    out += concat("<div><span>", html_escaped(fact.name), "</span><b>", html_escaped(fact.value),
                  "</b><small>", html_escaped(fact.note), "</small></div>");
  }
  return out + "</div>\n";
}

std::string recipe_part(const Report& report) {
  std::string out =
      "<h2>How to reproduce</h2>\n<pre>" + html_escaped(reproduce_command(report)) + "</pre>\n";
  if (report.recipe.empty()) return out;
  return out + concat("<details><summary>Effective recipe</summary>\n<pre>",
                      html_escaped(report.recipe), "</pre>\n<p class=\"muted\">SHA-256 ",
                      html_escaped(report.recipe_sha256), "</p></details>\n");
}

}  // namespace

std::string html_report(const Report& report) {
  const std::string title = concat(html_escaped(report.model_name), ", compressed");
  std::string out = concat(
      "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
      "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src "
      "'unsafe-inline'; img-src data:\">\n"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>",
      title, "</title>\n<style>", kReportStyle, "</style>\n</head>\n<body>\n<main>\n<h1>", title,
      "</h1>\n<p class=\"muted\">edgecompress ", html_escaped(report.tool_version), " ",
      html_escaped(report.command), "</p>\n");
  out += cards(report);
  for (const ReportTable& table : {gates_section(report), stages_section(report)}) {
    out += section(table);
  }
  out += "<div class=\"pair\">" + perplexity_picture(report) + size_picture(report) + "</div>\n";
  for (const ReportTable& table : {warnings_section(report), fallbacks_section(report)}) {
    out += section(table);
  }
  out += heat_maps(report) + error_lines(report);
  for (const ReportTable& table :
       {artifact_section(report), speed_section(report), evaluation_section(report),
        tensors_section(report), files_section(report), origin_section(report)}) {
    out += section(table);
  }
  return out + recipe_part(report) +
         "<p class=\"muted\">All numbers are in report.json beside this page.</p>\n</main>\n"
         "</body>\n</html>\n";
}

}  // namespace edgecompress
