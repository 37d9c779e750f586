#include "report/model_card.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "report/html_report.h"
#include "report/text_numbers.h"

namespace edgecompress {
namespace {

/// Text in double quotes for YAML; what YAML would not take in them is left out.
std::string quoted(const std::string& text) {
  std::string out = "\"";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte == 0x7F) continue;
    if (c == '"' || c == '\\') out += '\\';
    out += c;
  }
  return out + '"';
}

bool has_bits(const Report& report, std::int64_t bits) {
  return std::any_of(report.tensors.begin(), report.tensors.end(),
                     [&](const TensorReport& tensor) { return tensor.bits == bits; });
}

std::string tags(const Report& report) {
  std::string out = "tags:\n- edgecompress\n- llama\n";
  if (report.artifact) out += "- onnx\n";
  if (has_bits(report, 4)) out += "- int4\n";
  if (has_bits(report, 8)) out += "- int8\n";
  if (report.parameters_after < report.parameters_before) out += "- pruned\n";
  return out;
}

std::string model_index(const Report& report) {
  const auto last = std::find_if(report.stages.rbegin(), report.stages.rend(),
                                 [](const StageReport& stage) { return stage.perplexity; });
  if (!report.evaluation || last == report.stages.rend() || !std::isfinite(*last->perplexity)) {
    return {};
  }
  return concat("model-index:\n- name: ", quoted(report.model_name),
                "\n  results:\n  - task:\n      type: text-generation\n    dataset:\n      name: ",
                quoted(report.evaluation->text),
                "\n      type: text\n    metrics:\n    - type: "
                "perplexity\n      value: ",
                formatted("%.4f", *last->perplexity), "\n");
}

bool is_word(std::string_view text) {
  return !text.empty() && text.size() <= 64 && std::all_of(text.begin(), text.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '-' || c == '_';
  });
}

}  // namespace

std::string license_of_card(std::string_view card) {
  if (!card.starts_with("---\n")) return {};
  const std::size_t end = card.find("\n---", 3);
  if (end == card.npos) return {};
  const std::string_view front = card.substr(3, end - 3);
  constexpr std::string_view kKey = "\nlicense:";
  const std::size_t at = front.find(kKey);
  if (at == front.npos) return {};
  std::string_view value = front.substr(at + kKey.size());
  value = value.substr(0, value.find('\n'));
  while (value.starts_with(' ')) value.remove_prefix(1);
  while (value.ends_with(' ') || value.ends_with('\r')) value.remove_suffix(1);
  return is_word(value) ? std::string(value) : std::string();
}

std::string model_card(const Report& report, const std::string& license) {
  std::string out = "---\n";
  if (!license.empty()) out += concat("license: ", license, "\n");
  out += concat("base_model: ", quoted(report.model_name), "\n");
  if (has_bits(report, 4) || has_bits(report, 8)) out += "base_model_relation: quantized\n";
  out += concat("library_name: ", report.artifact ? "onnxruntime-genai" : "transformers",
                "\npipeline_tag: text-generation\n", tags(report), model_index(report), "---\n\n");
  return out + markdown_report(report);
}

}  // namespace edgecompress
