#include "llama/quantization_config.h"

#include <nlohmann/json.hpp>

#include "support/catch.h"
#include "support/refusal.h"

namespace edgecompress {
namespace {

using Json = nlohmann::ordered_json;

Json weights(int bits = 4, std::int64_t group_size = 32) {
  return {{"num_bits", bits},
          {"type", "int"},
          {"symmetric", true},
          {"strategy", "group"},
          {"group_size", group_size}};
}

Json document(const Json& groups, const Json& changes = Json::object()) {
  Json config{{"quant_method", "compressed-tensors"},
              {"format", "pack-quantized"},
              {"quantization_status", "compressed"},
              {"config_groups", groups},
              {"ignore", Json::array()}};
  for (const auto& [name, value] : changes.items()) config[name] = value;
  return {{"quantization_config", config}};
}

Json group(const Json& targets, const Json& scheme) {
  return {{"targets", targets}, {"weights", scheme}};
}

QuantizationConfig parse(const Json& text) {
  std::optional<QuantizationConfig> config = QuantizationConfig::parse(text, "config.json");
  REQUIRE(config.has_value());
  return *config;
}

int bits_of(const QuantizationConfig& config, const std::string& module,
            const std::string& class_name = "Linear") {
  const auto found = config.find(module, class_name);
  return found ? found->scheme.bits : 0;
}

TEST_CASE("a config without quantization has none", "[llama]") {
  CHECK_FALSE(QuantizationConfig::parse(Json::object(), "config.json").has_value());
}

TEST_CASE("a class name covers its modules and ignore takes some out", "[llama]") {
  const QuantizationConfig config =
      parse(document({{"group_0", group({"Linear"}, weights())}},
                     {{"ignore", {"lm_head", "re:.*layers[.]0[.].*"}}}));
  CHECK(bits_of(config, "model.layers.1.mlp.up_proj") == 4);
  CHECK(bits_of(config, "model.layers.0.mlp.up_proj") == 0);
  CHECK(bits_of(config, "lm_head") == 0);
  CHECK(bits_of(config, "model.embed_tokens", "Embedding") == 0);
}

TEST_CASE("an exact name comes before a pattern, a pattern before a class", "[llama]") {
  const QuantizationConfig config =
      parse(document({{"g0", group({"Linear"}, weights(8, 16))},
                      {"g1", group({"re:.*down_proj$"}, weights(8, 32))},
                      {"g2", group({"model.layers.3.mlp.down_proj"}, weights(8, 64))}}));
  const auto group_size = [&](const std::string& module) {
    return config.find(module, "Linear")->scheme.group_size;
  };
  CHECK(group_size("model.layers.3.mlp.down_proj") == 64);
  CHECK(group_size("model.layers.2.mlp.down_proj") == 32);
  CHECK(group_size("model.layers.2.mlp.up_proj") == 16);
}

TEST_CASE("a pattern is anchored at the start only, as Python's re.match", "[llama]") {
  const QuantizationConfig config =
      parse(document({{"g", group({"re:model[.]layers"}, weights())}}));
  CHECK(bits_of(config, "model.layers.3.mlp.down_proj") == 4);
  CHECK(bits_of(config, "x.model.layers.3") == 0);
}

TEST_CASE("schemes and layouts are read", "[llama]") {
  const Json channel{{"num_bits", 8},
                     {"symmetric", false},
                     {"strategy", "channel"},
                     {"group_size", nullptr},
                     {"actorder", "weight"}};
  Json plain = group({"lm_head"}, channel);
  plain["format"] = "int-quantized";
  const QuantizationConfig config =
      parse(document({{"g0", group({"Linear"}, weights(4, 128))}, {"g1", plain}}));
  const auto linear = config.find("x", "Linear");
  REQUIRE(linear.has_value());
  CHECK(linear->scheme == QuantScheme{4, 128, Symmetry::Symmetric});
  CHECK(linear->layout == QuantizedLayout::Packed);
  const auto head = config.find("lm_head", "Linear");
  REQUIRE(head.has_value());
  CHECK(head->scheme == QuantScheme{8, 0, Symmetry::Asymmetric});
  CHECK(head->layout == QuantizedLayout::Plain);
}

TEST_CASE("a strategy that is not named follows from the group size", "[llama]") {
  Json channel{{"num_bits", 8}, {"group_size", -1}};
  Json grouped{{"num_bits", 4}, {"group_size", 64}};
  const QuantizationConfig config =
      parse(document({{"g0", group({"a"}, channel)}, {"g1", group({"b"}, grouped)}}));
  CHECK(config.find("a", "Linear")->scheme.group_size == 0);
  CHECK(config.find("b", "Linear")->scheme.group_size == 64);
}

Json blocks(const Json& structure) {
  return {{"num_bits", 4}, {"strategy", "block"}, {"block_structure", structure}};
}

TEST_CASE("a block of one row is a group whose last one may be short", "[llama]") {
  const QuantizationConfig config = parse(document({{"g", group({"a"}, blocks({1, 32}))}}));
  const std::optional<QuantizedModule> module = config.find("a", "Linear");
  REQUIRE(module.has_value());
  CHECK(module->scheme == QuantScheme{4, 32, Symmetry::Symmetric});
  CHECK(module->strategy == GroupStrategy::Block);
}

struct Lie {
  std::string code;
  Json text;
  std::string words;
};

Lie weights_lie(const std::string& code, const std::string& field, const Json& value,
                const std::string& words) {
  Json scheme = weights();
  scheme[field] = value;
  return {code, document({{"g", group({"Linear"}, scheme)}}), words};
}

Lie config_lie(const std::string& code, const std::string& field, const Json& value,
               const std::string& words) {
  return {code, document({{"g", group({"Linear"}, weights())}}, {{field, value}}), words};
}

Lie group_lie(const std::string& code, const std::string& field, const Json& value,
              const std::string& words) {
  Json changed = group({"Linear"}, weights());
  changed[field] = value;
  return {code, document({{"g", changed}}), words};
}

Json token_activations() {
  return {{"num_bits", 8},
          {"type", "int"},
          {"symmetric", true},
          {"strategy", "token"},
          {"dynamic", true}};
}

TEST_CASE("8-bit activations per token are the ones that a module may have", "[llama]") {
  Json rounded = group({"Linear"}, weights());
  rounded["input_activations"] = token_activations();
  const Json both = document({{"a", rounded}, {"b", group({"lm_head"}, weights())}});
  const auto config = QuantizationConfig::parse(both, "c.json");
  CHECK((config->find("model.layers.0.mlp.up_proj", "Linear")->activations ==
         ActivationRounding::Int8PerToken));
  CHECK((config->find("lm_head", "Linear")->activations == ActivationRounding::None));
  for (const auto& [field, other] : {std::pair<std::string, Json>{"num_bits", 4},
                                     {"type", "float"},
                                     {"symmetric", false},
                                     {"strategy", "tensor"},
                                     {"dynamic", false},
                                     {"dynamic", "local"}}) {
    CAPTURE(field, other.dump());
    Json lie = group({"Linear"}, weights());
    lie["input_activations"] = token_activations();
    lie["input_activations"][field] = other;
    const auto refusal =
        refusal_of([&] { QuantizationConfig::parse(document({{"g", lie}}), "c.json"); });
    REQUIRE(refusal.has_value());
    CHECK(refusal->code == "C15");
    CHECK(refusal->says("input_activations"));
  }
}

TEST_CASE("every other kind of quantization is refused by name", "[llama]") {
  const std::vector<Lie> lies{
      config_lie("C15", "quant_method", "gptq", "\"gptq\""),
      config_lie("C15", "quant_method", "bitsandbytes", "\"bitsandbytes\""),
      config_lie("C15", "format", "float-quantized", "\"float-quantized\""),
      config_lie("C15", "format", "marlin-24", "\"marlin-24\""),
      config_lie("C15", "kv_cache_scheme", {{"num_bits", 8}}, "kv_cache_scheme"),
      config_lie("C15", "sparsity_config", {{"format", "sparse-24-bitmask"}}, "sparse-24-bitmask"),
      config_lie("C15", "transform_config", {{"config_groups", {{"u", 1}}}}, "transform_config"),
      config_lie("C15", "quantization_status", "frozen", "\"frozen\""),
      group_lie("C15", "input_activations", {{"num_bits", 8}}, "input_activations"),
      group_lie("C15", "weights", nullptr, "without weights"),
      weights_lie("C15", "type", "float", "type float"),
      weights_lie("C15", "num_bits", 3, "3-bit"),
      group_lie("C15", "weights", {{"num_bits", 8}}, "strategy tensor"),
      weights_lie("C15", "strategy", "tensor_group", "strategy tensor_group"),
      weights_lie("C15", "block_structure", {1, 32}, "block_structure"),
      group_lie("C15", "weights", blocks({128, 128}), "blocks of 128 rows"),
      weights_lie("C15", "dynamic", true, "dynamic"),
      weights_lie("C15", "actorder", "group", "weight_g_idx")};
  for (const Lie& lie : lies) {
    INFO(lie.text);
    const auto refusal = refusal_of([&] { QuantizationConfig::parse(lie.text, "c.json"); });
    REQUIRE(refusal.has_value());
    INFO(refusal->message);
    CHECK(refusal->code == lie.code);
    CHECK(refusal->kind == ErrorKind::Unsupported);
    CHECK(refusal->says(lie.words));
    CHECK(refusal->says("c.json"));
  }
}

TEST_CASE("a quantization_config that breaks its own rules is refused", "[llama]") {
  const std::vector<Lie> lies{{"C16", {{"quantization_config", 5}}, "an object"},
                              config_lie("C16", "quant_method", nullptr, "no quant_method"),
                              config_lie("C16", "config_groups", Json::object(), "config_groups"),
                              config_lie("C16", "config_groups", 7, "config_groups"),
                              config_lie("C16", "ignore", "lm_head", "ignore"),
                              config_lie("C16", "ignore", {"re:(unclosed"}, "(unclosed"),
                              group_lie("C16", "targets", Json::array(), "targets"),
                              group_lie("C16", "targets", {5}, "targets"),
                              group_lie("C16", "targets", {"re:[z-a]"}, "[z-a]"),
                              group_lie("C16", "weights", "int4", "weights"),
                              weights_lie("C16", "num_bits", "4", "num_bits"),
                              weights_lie("C16", "num_bits", 0, "num_bits"),
                              weights_lie("C16", "group_size", 0, "group_size"),
                              weights_lie("C16", "group_size", 32.5, "group_size"),
                              weights_lie("C16", "symmetric", 1, "symmetric"),
                              weights_lie("C16", "strategy", "channel", "group_size"),
                              weights_lie("C16", "strategy", "block", "group_size"),
                              group_lie("C16", "weights", blocks(nullptr), "needs a block"),
                              group_lie("C16", "weights", blocks({1}), "two positive"),
                              group_lie("C16", "weights", blocks({1, 0}), "two positive"),
                              group_lie("C16", "weights", blocks("1x32"), "two positive"),
                              group_lie("C16", "weights", {{"strategy", "diagonal"}}, "diagonal")};
  for (const Lie& lie : lies) {
    INFO(lie.text);
    const auto refusal = refusal_of([&] { QuantizationConfig::parse(lie.text, "c.json"); });
    REQUIRE(refusal.has_value());
    INFO(refusal->message);
    CHECK(refusal->code == lie.code);
    CHECK(refusal->kind == ErrorKind::Malformed);
    CHECK(refusal->says(lie.words));
  }
}

TEST_CASE("a pattern that would run for ages is stopped", "[llama]") {
  const QuantizationConfig config =
      parse(document({{"g", group({"re:(([a-z0-9._]+)*)*[A-Z]"}, weights())}}));
  const auto refusal = refusal_of([&] { config.find("model.layers.10.mlp.down_proj", "Linear"); });
  REQUIRE(refusal.has_value());
  CHECK(refusal->code == "C16");
  CHECK(refusal->says("takes too long"));
}

}  // namespace
}  // namespace edgecompress
