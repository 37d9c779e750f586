#include <algorithm>
#include <cmath>
#include <fstream>
#include <limits>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/strict_json.h"
#include "report/report.h"
#include "report/sample_report.h"
#include "support/catch.h"

namespace edgecompress {
namespace {

using Json = nlohmann::ordered_json;

std::vector<std::string> keys(const Json& object) {
  std::vector<std::string> out;
  for (const auto& [key, value] : object.items()) out.push_back(key);
  return out;
}

const Json& schema() {
  static const Json document = [] {
    std::ifstream file(EDGECOMPRESS_SOURCE_DIR "/docs/report.v1.schema.json");
    const std::string text{std::istreambuf_iterator<char>(file), {}};
    return parse_strict_json(text, "report.v1.schema.json");
  }();
  return document;
}

bool has_type(const Json& value, const std::string& type) {
  if (type == "object") return value.is_object();
  if (type == "array") return value.is_array();
  if (type == "string") return value.is_string();
  if (type == "boolean") return value.is_boolean();
  if (type == "integer") return value.is_number_integer();
  if (type == "number") return value.is_number();
  throw std::logic_error("the check does not know the type " + type);
}

/// Adds what breaks the rule. Knows the part of draft-07 that the report's schema uses and throws
/// at any other word.
void check(const Json& value, const Json& rule, const std::string& where,
           std::vector<std::string>& complaints) {
  for (const auto& [word, argument] : rule.items()) {
    if (word == "$schema" || word == "$id" || word == "title" || word == "description" ||
        word == "definitions")
      continue;
    if (word == "$ref") {
      check(value, schema().at(Json::json_pointer(argument.get<std::string>().substr(1))), where,
            complaints);
    } else if (word == "type") {
      if (!has_type(value, argument.get<std::string>()))
        complaints.push_back(where + " is no " + argument.get<std::string>());
    } else if (word == "const") {
      if (value != argument) complaints.push_back(where + " is not " + argument.dump());
    } else if (word == "enum") {
      if (std::find(argument.begin(), argument.end(), value) == argument.end())
        complaints.push_back(where + " is none of " + argument.dump());
    } else if (word == "anyOf") {
      const bool fits = std::any_of(argument.begin(), argument.end(), [&](const Json& alternative) {
        std::vector<std::string> inner;
        check(value, alternative, where, inner);
        return inner.empty();
      });
      if (!fits) complaints.push_back(where + " fits no alternative");
    } else if (word == "minimum") {
      if (value.is_number() && value.get<double>() < argument.get<double>())
        complaints.push_back(where + " is too small");
    } else if (word == "required") {
      for (const Json& key : argument) {
        if (!value.contains(key.get<std::string>()))
          complaints.push_back(where + " lacks " + key.get<std::string>());
      }
    } else if (word == "properties") {
      for (const auto& [key, inner] : value.items()) {
        if (argument.contains(key)) check(inner, argument.at(key), where + "." + key, complaints);
      }
    } else if (word == "additionalProperties") {
      for (const auto& [key, inner] : value.items()) {
        if (rule.contains("properties") && rule.at("properties").contains(key)) continue;
        if (argument == false) {
          complaints.push_back(where + " must not have " + key);
        } else {
          check(inner, argument, where + "." + key, complaints);
        }
      }
    } else if (word == "items") {
      for (std::size_t i = 0; i < value.size(); ++i)
        check(value[i], argument, where + "[" + std::to_string(i) + "]", complaints);
    } else {
      throw std::logic_error("the check does not know the word " + word);
    }
  }
}

std::vector<std::string> complaints_of(const Json& document) {
  std::vector<std::string> complaints;
  check(document, schema(), "report", complaints);
  return complaints;
}

TEST_CASE("a report's keys have a fixed order", "[report]") {
  const Json json = report_json(sample_report());
  CHECK(keys(json) == std::vector<std::string>{"schema", "nonfinite", "tool_version", "command",
                                               "model", "recipe", "totals", "stages", "evaluation",
                                               "block_training", "training", "artifact", "tensors",
                                               "gates", "warnings", "environment"});
  CHECK(json["schema"] == "edgecompress.report/v1");
  CHECK(keys(json["stages"][1]) ==
        std::vector<std::string>{"stage", "parameters", "size_bytes", "flops_per_token", "sparsity",
                                 "perplexity", "perplexity_change", "kl_divergence_nats",
                                 "top1_agreement"});
  CHECK(keys(json["artifact"]["file_sha256"]) ==
        std::vector<std::string>{"model.onnx", "model.onnx.data"});
}

TEST_CASE("a report's JSON holds every number where its name says", "[report]") {
  const Json json = report_json(sample_report());
  CHECK(json["nonfinite"] == false);
  CHECK(json["model"] == Json({{"name", "mini-llama"},
                               {"config_sha256", "c0ffee"},
                               {"input_manifest_sha256", "decade"}}));
  CHECK(json["recipe"] == Json({{"text", "name: x\n"}, {"sha256", "facade"}}));
  CHECK(json["totals"]["parameters_before"] == 1'235'814'400);
  CHECK(json["totals"]["parameters_after"] == 1'041'000'000);
  CHECK(json["totals"]["size_ratio"] == 2'471'628'800.0 / 702'000'000.0);
  CHECK(json["stages"][0]["perplexity_change"] == 0.0);
  CHECK(json["stages"][1]["perplexity_change"] == 15.0 / 12.5 - 1);
  CHECK(json["stages"][2]["top1_agreement"] == 0.775);
  CHECK(json["artifact"]["products"][0] ==
        Json({{"module", "model.layers.3.mlp.up_proj"},
              {"form", "16x4"},
              {"weights", 4000},
              {"sparsity", 0.55},
              {"stored_share", 0.5},
              {"bytes", 1200},
              {"bytes_per_weight", 0.3},
              {"reason", "16x4 leaves out 50.0 %, pays from 10.0 %"}}));
  CHECK(json["evaluation"]["windows"] == 40);
  CHECK(json["evaluation"]["target_tokens"] == 20'440);
  CHECK(json["block_training"]["perplexity_after"] == 15.75);
  CHECK(json["block_training"]["kept"] == true);
  CHECK(json["block_training"]["blocks"][0]["block"] == 3);
  CHECK(json["block_training"]["blocks"][0]["kept_step"] == 35);
  CHECK(json["block_training"]["blocks"][0]["held_out_loss_after"] == 0.125);
  CHECK(json["training"]["kept_step"] == 12);
  CHECK(json["training"]["steps_done"] == 24);
  CHECK(json["training"]["gate"] == 0.01);
  CHECK(json["training"]["perplexity_increase"] == 0.0375);
  CHECK(json["training"]["held_out_loss_before"] == 0.0625);
  CHECK(json["training"]["held_out_loss_after"] == 0.03125);
  CHECK_FALSE(json["training"]["curve"][0].contains("loss"));
  CHECK(json["training"]["curve"][1]["loss"] == 0.046875);
  CHECK(json["training"]["curve"][1]["tokens"] == 24'576);
  CHECK(json["artifact"]["max_logit_error"] == 1.24e-5);
  CHECK(json["artifact"]["cache_split_error"] == 4.5e-6);
  CHECK(json["artifact"]["perplexity_exact"] == 15.7);
  CHECK(json["artifact"]["perplexity_published"] == 15.75);
  CHECK(json["artifact"]["file_sha256"]["model.onnx.data"] == "cafe");
  CHECK(json["tensors"][0]["shape_after"] == Json({6560, 2048}));
  CHECK(json["tensors"][0]["symmetric"] == false);
  CHECK(json["tensors"][0]["sparsity_target"] == 0.1);
  CHECK(json["tensors"][0]["sparsity"] == 0.11);
  CHECK(json["environment"]["stage_seconds"]["quantize"] == 30.25);
  CHECK(json["environment"]["dense_decode_tokens_per_second"] == 11.5);
  CHECK(json["environment"]["artifact_decode_tokens_per_second"] == 33.5);
}

TEST_CASE("what was not measured is left out, never null", "[report]") {
  Report report;
  report.stages = {
      {.stage = "dense", .perplexity = {}, .kl_divergence_nats = {}, .top1_agreement = {}}};
  report.tensors = {{.name = "t",
                     .shape_before = {},
                     .shape_after = {},
                     .stored_as = "F16",
                     .bits = {},
                     .group_size = {},
                     .symmetric = {},
                     .sparsity_target = {},
                     .relative_weight_error = {}}};
  const Json json = report_json(report);
  CHECK(keys(json) == std::vector<std::string>{"schema", "nonfinite", "tool_version", "command",
                                               "model", "totals", "stages", "tensors", "warnings",
                                               "environment"});
  CHECK(keys(json["stages"][0]) == std::vector<std::string>{"stage", "parameters", "size_bytes",
                                                            "flops_per_token", "sparsity"});
  CHECK(json.dump().find("null") == std::string::npos);
  CHECK(complaints_of(json).empty());
}

TEST_CASE("a number that is not finite is text and marked", "[report]") {
  const auto [number, word] = GENERATE(
      table<double, std::string>({{std::nan(""), "NaN"},
                                  {std::numeric_limits<double>::infinity(), "Infinity"},
                                  {-std::numeric_limits<double>::infinity(), "-Infinity"}}));
  Report report = sample_report();
  report.stages[2].perplexity = number;
  const Json json = report_json(report);
  CHECK(json["nonfinite"] == true);
  CHECK(json["stages"][2]["perplexity"] == word);
  CHECK(json.dump().find("null") == std::string::npos);
  CHECK(complaints_of(json).empty());
}

TEST_CASE("names that are not UTF-8 do not stop a report", "[report]") {
  Report report = sample_report();
  report.model_name = "caf\xE9";
  CHECK(report_json(report)["model"]["name"] == "caf\xEF\xBF\xBD");
  CHECK_NOTHROW(report_json(report).dump());
}

TEST_CASE("a report keeps to its schema", "[report]") {
  CHECK(complaints_of(report_json(sample_report())) == std::vector<std::string>{});
}

TEST_CASE("the schema declares nothing that reports never have", "[report]") {
  // every field of the sample is set, so that every declared property must occur
  const Json json = report_json(sample_report());
  const auto declared = [&](const Json& rule) { return keys(rule.at("properties")); };
  const Json& rules = schema();
  CHECK(declared(rules) == keys(json));
  CHECK(declared(rules["definitions"]["totals"]) == keys(json["totals"]));
  CHECK(declared(rules["definitions"]["stage"]) == keys(json["stages"][1]));
  CHECK(declared(rules["definitions"]["evaluation"]) == keys(json["evaluation"]));
  CHECK(declared(rules["definitions"]["block_training"]) == keys(json["block_training"]));
  CHECK(declared(rules["definitions"]["trained_block"]) ==
        keys(json["block_training"]["blocks"][0]));
  CHECK(declared(rules["definitions"]["training"]) == keys(json["training"]));
  CHECK(declared(rules["definitions"]["training_point"]) == keys(json["training"]["curve"][1]));
  CHECK(declared(rules["definitions"]["artifact"]) == keys(json["artifact"]));
  CHECK(declared(rules["definitions"]["tensor"]) == keys(json["tensors"][0]));
  CHECK(declared(rules["definitions"]["gate"]) == keys(json["gates"][0]));
  CHECK(declared(rules["definitions"]["environment"]) == keys(json["environment"]));
}

TEST_CASE("the schema check sees a missing, a foreign and a mistyped key", "[report]") {
  Json json = report_json(sample_report());
  json["totals"].erase("bytes_after");
  json["stages"][1]["flavour"] = 1;
  json["tensors"][0]["bits"] = "4";
  json["evaluation"]["window"] = -1;
  const std::vector<std::string> complaints = complaints_of(json);
  CHECK(complaints == std::vector<std::string>{"report.totals lacks bytes_after",
                                               "report.stages[1] must not have flavour",
                                               "report.evaluation.window is too small",
                                               "report.tensors[0].bits is no integer"});
}

TEST_CASE("a tensor's row reads back with every field", "[report][property]") {
  TensorReport tensor = sample_report().tensors.front();
  const nlohmann::ordered_json row = tensor_report_json(tensor);
  CHECK(tensor_report_json(parse_tensor_report(row)).dump() == row.dump());
  CHECK(row.size() == 21);  // every field of TensorReport is set in the sample

  tensor.relative_weight_error = std::numeric_limits<double>::infinity();
  tensor.relative_output_error = -std::numeric_limits<double>::infinity();
  tensor.clipped_share = std::numeric_limits<double>::quiet_NaN();
  tensor.sparsity = 1.0 / 3.0;  // no short decimal: all its digits must come back
  const nlohmann::ordered_json odd = tensor_report_json(tensor);
  CHECK(tensor_report_json(parse_tensor_report(odd)).dump() == odd.dump());

  const TensorReport least;
  const nlohmann::ordered_json short_row = tensor_report_json(least);
  CHECK(tensor_report_json(parse_tensor_report(short_row)).dump() == short_row.dump());
  CHECK_THROWS_AS(parse_tensor_report(nlohmann::ordered_json::object()), Error);
  nlohmann::ordered_json wrong = row;
  wrong["sparsity"] = "many";
  CHECK_THROWS_AS(parse_tensor_report(wrong), Error);
}

}  // namespace
}  // namespace edgecompress
