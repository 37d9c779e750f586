#include "llama/config.h"

#include <cmath>
#include <vector>

#include "support/catch.h"
#include "support/refusal.h"
#include "tiny_model.h"

namespace edgecompress {
namespace {

using Json = nlohmann::ordered_json;

LlamaConfig parse(const Json& document) {
  return parse_llama_config(document.dump(), "config.json");
}

/// tiny_config with some fields replaced; a field given as "erase" is taken out.
Json with(const Json& changes) {
  Json document = tiny_config();
  for (const auto& [name, value] : changes.items()) {
    if (value == "erase") {
      document.erase(name);
    } else {
      document[name] = value;
    }
  }
  return document;
}

struct Lie {
  std::string code;
  ErrorKind kind;
  std::string text;
  std::string words;
};

Lie malformed(const std::string& code, const Json& changes, const std::string& words) {
  return {code, ErrorKind::Malformed, with(changes).dump(), words};
}
Lie unsupported(const std::string& code, const Json& changes, const std::string& words) {
  return {code, ErrorKind::Unsupported, with(changes).dump(), words};
}

/// tiny_config with the value of `field` replaced by raw text.
std::string with_raw(const std::string& field, const std::string& raw) {
  std::string text = with({{field, "RAW"}}).dump();
  text.replace(text.find("\"RAW\""), 5, raw);
  return text;
}

std::vector<Lie> text_lies() {
  const std::string good = tiny_config().dump();
  const std::string deep = std::string(70, '[') + std::string(70, ']');
  return {{"C1", ErrorKind::Malformed, good.substr(0, good.size() - 1), "not JSON"},
          {"C1", ErrorKind::Malformed, good + "x", "not JSON"},
          {"C1", ErrorKind::Malformed, "", "not JSON"},
          {"C1", ErrorKind::Malformed, with_raw("rms_norm_eps", "NaN"), "NaN"},
          {"C1", ErrorKind::Malformed, with_raw("rope_theta", "-Infinity"), "-Infinity"},
          {"C1", ErrorKind::Malformed, with_raw("hidden_size", "Infinity"), "hidden_size"},
          {"C2", ErrorKind::Malformed, "{\"a\":1," + good.substr(1, good.size() - 2) + ",\"a\":2}",
           "\"a\" appears twice"},
          {"C3", ErrorKind::Malformed, "[1]", "must be a JSON object"},
          {"C3", ErrorKind::Malformed, "null", "must be a JSON object"},
          {"C3", ErrorKind::Malformed, with_raw("x", deep), "deeper than 64"},
          {"C3", ErrorKind::Malformed, good + std::string((64 << 20) + 1, ' '), "bytes"},
          {"S34", ErrorKind::Malformed, "version https://git-lfs.github.com/spec/v1\n", "lfs pull"},
          {"S35", ErrorKind::Malformed, "<!DOCTYPE html>", "web page"}};
}

std::vector<Lie> identity_lies() {
  return {unsupported("C4", {{"architectures", "erase"}, {"model_type", "erase"}}, "neither"),
          unsupported("C4", {{"architectures", {"Qwen2ForCausalLM"}}, {"model_type", "qwen2"}},
                      "\"Qwen2ForCausalLM\"; supported are LlamaForCausalLM"),
          unsupported("C4", {{"architectures", {"LLaMAForCausalLM"}}, {"model_type", "erase"}},
                      "; the nearest is LlamaForCausalLM"),
          unsupported("C4", {{"architectures", "erase"}, {"model_type", "mistrall"}},
                      "; the nearest is MistralForCausalLM"),
          unsupported("C4", {{"architectures", {"LlamaForCausalLM", "X"}}}, "one architecture"),
          unsupported("C4", {{"architectures", "LlamaForCausalLM"}}, "one architecture"),
          unsupported("C4", {{"model_type", "mistral"}}, "expected \"llama\""),
          malformed("C4", {{"model_type", 5}}, "model_type")};
}

std::vector<Lie> number_lies() {
  std::vector<Lie> lies;
  for (const char* const field : {"hidden_size", "intermediate_size", "num_hidden_layers",
                                  "num_attention_heads", "vocab_size"}) {
    for (const Json& value : {Json("erase"), Json(nullptr), Json("32"), Json(4096.0), Json(-4)}) {
      lies.push_back(malformed("C5", {{field, value}}, field));
    }
    lies.push_back(malformed("C9", {{field, std::int64_t{1} << 40}}, field));
    lies.push_back(malformed("C9", {{field, UINT64_MAX}}, field));
  }
  for (const char* const field :
       {"hidden_size", "intermediate_size", "num_hidden_layers", "vocab_size"}) {
    lies.push_back(malformed("C5", {{field, 0}}, field));
  }
  for (const char* const field : {"num_attention_heads", "num_key_value_heads", "head_dim"}) {
    lies.push_back(malformed("C6", {{field, 0}}, field));
  }
  const std::vector<Lie> more{
      malformed("C5", {{"tie_word_embeddings", 1}}, "true or false"),
      malformed("C5", {{"bos_token_id", "1"}}, "bos_token_id"),
      malformed("C5", {{"pad_token_id", UINT64_MAX}}, "pad_token_id"),
      malformed("C5", {{"eos_token_id", {1, -5}}}, "eos_token_id"),
      malformed("C7", {{"head_dim", "erase"}, {"hidden_size", 30}},
                "multiple of num_attention_heads"),
      malformed("C7", {{"head_dim", 7}}, "even"),
      malformed("C8", {{"num_key_value_heads", 3}}, "divisor of num_attention_heads, 4"),
      malformed("C9", {{"num_hidden_layers", 10'001}}, "10000"),
      malformed("C9", {{"vocab_size", (1 << 22) + 1}}, "4194304"),
      malformed("C9", {{"hidden_size", (1 << 20) + 1}}, "1048576"),
      malformed("C9", {{"num_attention_heads", 1 << 20}, {"num_key_value_heads", 1}}, "head_dim"),
      malformed("C14", {{"rms_norm_eps", 0}}, "rms_norm_eps"),
      malformed("C14", {{"rms_norm_eps", -1e-5}}, "rms_norm_eps"),
      malformed("C14", {{"rms_norm_eps", "1e-5"}}, "rms_norm_eps"),
      malformed("C12", {{"dtype", "float8"}}, "float32, float16 or bfloat16"),
      malformed("C12", {{"dtype", 32}}, "dtype"),
      malformed("C12", {{"torch_dtype", "bfloat16"}}, "the same as dtype")};
  lies.insert(lies.end(), more.begin(), more.end());
  return lies;
}

std::vector<Lie> feature_lies() {
  const auto rope = [](const Json& value) { return Json{{"rope_scaling", value}}; };
  const Json llama3{{"rope_type", "llama3"},
                    {"factor", 8.0},
                    {"low_freq_factor", 1.0},
                    {"high_freq_factor", 4.0},
                    {"original_max_position_embeddings", 32}};
  const auto llama3_with = [&](const std::string& field, const Json& value) {
    Json changed = llama3;
    changed[field] = value;
    return rope(changed);
  };
  return {malformed("C13", {{"rope_theta", 0}}, "rope_theta"),
          malformed("C13", {{"rope_theta", -10000.0}}, "rope_theta"),
          malformed("C13", rope("linear"), "an object"),
          malformed("C13", rope({{"type", "circular"}}), "\"circular\""),
          malformed("C13", rope({{"type", "linear"}, {"factor", 0}}), "factor"),
          malformed("C13", rope({{"type", "linear"}}), "factor"),
          malformed("C13", rope({{"type", "linear"}, {"rope_type", "default"}}), "rope_type"),
          malformed("C13", llama3_with("high_freq_factor", 1.0), "above low_freq_factor"),
          malformed("C13", llama3_with("original_max_position_embeddings", 0), "positive"),
          malformed("C13", llama3_with("low_freq_factor", nullptr), "low_freq_factor"),
          unsupported("C13", rope({{"rope_type", "yarn"}, {"factor", 4.0}}), "yarn"),
          unsupported("C13", rope({{"type", "dynamic"}, {"factor", 4.0}}), "dynamic"),
          unsupported("C13", {{"rope_parameters", {{"rope_type", "longrope"}}}}, "longrope"),
          unsupported("C19", {{"sliding_window", 4096}}, "sliding_window is 4096"),
          unsupported("C19", {{"num_local_experts", 8}}, "num_local_experts"),
          unsupported("C19", {{"vision_config", Json::object()}}, "vision_config"),
          unsupported("C19", {{"hidden_act", "gelu"}}, "\"gelu\""),
          unsupported("C19", {{"partial_rotary_factor", 0.5}}, "partial_rotary_factor"),
          malformed("C20", {{"text_config", {{"hidden_size", 64}}}}, "hidden_size"),
          malformed("C20", {{"text_config", "x"}}, "text_config")};
}

void check_lies(const std::vector<Lie>& lies) {
  REQUIRE_FALSE(lies.empty());
  for (const Lie& lie : lies) {
    INFO("expected " << lie.code << " with \"" << lie.words << "\" of " << lie.text.substr(0, 600));
    const auto refusal = refusal_of([&] { parse_llama_config(lie.text, "dir/config.json"); });
    REQUIRE(refusal.has_value());
    INFO(refusal->message);
    CHECK(refusal->code == lie.code);
    CHECK(refusal->kind == lie.kind);
    CHECK(refusal->says(lie.words));
    CHECK(refusal->says("dir/config.json"));
  }
}

TEST_CASE("text that is no config is refused by its code", "[llama]") { check_lies(text_lies()); }
TEST_CASE("other architectures are refused by name", "[llama]") { check_lies(identity_lies()); }

TEST_CASE("a name that is like no supported one gets no nearest match", "[llama]") {
  const auto refusal = refusal_of(
      [] { parse(with({{"architectures", {"Qwen2ForCausalLM"}}, {"model_type", "qwen2"}})); });
  REQUIRE(refusal.has_value());
  CHECK_FALSE(refusal->says("nearest"));
}
TEST_CASE("every impossible number is refused by its code", "[llama]") {
  check_lies(number_lies());
}
TEST_CASE("every feature that is not there is refused by its code", "[llama]") {
  check_lies(feature_lies());
}

TEST_CASE("the fields are read as they are written", "[llama]") {
  const LlamaConfig config = parse(with({{"eos_token_id", {2, 7}}, {"pad_token_id", -1}}));
  CHECK(config.hidden_size == 32);
  CHECK(config.head_dim == 8);
  CHECK(config.vocab_size == 40);
  CHECK(config.max_position_embeddings == 64);
  CHECK(config.rms_norm_eps == 1e-5);
  CHECK(config.blocks == std::vector<BlockShape>(2, BlockShape{4, 2, 48}));
  CHECK(config.is_uniform());
  CHECK(config.dtype == DType::F32);
  CHECK(config.bos_token_id == 1);
  CHECK(config.eos_token_ids == std::vector<std::int64_t>{2, 7});
  CHECK_FALSE(config.pad_token_id.has_value());
  CHECK(std::holds_alternative<DefaultRope>(config.rope_scaling));
}

TEST_CASE("absent fields take the defaults of transformers", "[llama]") {
  const LlamaConfig config = parse(with({{"num_key_value_heads", "erase"},
                                         {"head_dim", "erase"},
                                         {"max_position_embeddings", "erase"},
                                         {"rms_norm_eps", "erase"},
                                         {"rope_theta", "erase"},
                                         {"tie_word_embeddings", "erase"},
                                         {"eos_token_id", nullptr}}));
  CHECK(config.blocks.front().num_key_value_heads == 4);
  CHECK(config.head_dim == 8);
  CHECK(config.max_position_embeddings == 2048);
  CHECK(config.rms_norm_eps == 1e-6);
  CHECK(config.rope_theta == 10000);
  CHECK_FALSE(config.tie_word_embeddings);
  CHECK(config.eos_token_ids.empty());
}

TEST_CASE("head_dim may be other than hidden_size over heads", "[llama]") {
  const LlamaConfig config = parse(with({{"head_dim", 10}, {"hidden_size", 31}}));
  CHECK(config.head_dim == 10);
}

TEST_CASE("both spellings of dtype are read", "[llama]") {
  CHECK(parse(with({{"dtype", "bfloat16"}})).dtype == DType::BF16);
  CHECK(parse(with({{"dtype", "erase"}, {"torch_dtype", "float16"}})).dtype == DType::F16);
  CHECK(parse(with({{"torch_dtype", "float32"}})).dtype == DType::F32);
}

TEST_CASE("a Mistral without a sliding window is read", "[llama]") {
  const Json mistral{{"architectures", {"MistralForCausalLM"}}, {"model_type", "mistral"}};
  CHECK(parse(with(mistral)).num_blocks() == 2);
  Json with_null = mistral;
  with_null["sliding_window"] = nullptr;
  const LlamaConfig config = parse(with(with_null));
  CHECK(llama_config_document(config)["sliding_window"].is_null());
}

TEST_CASE("rope theta and scaling are read at the top and inside rope_parameters", "[llama]") {
  const LlamaConfig modern = parse(
      with({{"rope_theta", "erase"},
            {"rope_parameters", {{"rope_type", "linear"}, {"factor", 2.5}, {"rope_theta", 5e5}}}}));
  CHECK(modern.rope_theta == 5e5);
  CHECK(modern.rope_scaling == RopeScaling(LinearRope{2.5}));
  const LlamaConfig legacy = parse(with({{"rope_scaling", {{"type", "linear"}, {"factor", 2.5}}}}));
  CHECK(legacy.rope_theta == 10000);
  CHECK(legacy.rope_scaling == modern.rope_scaling);
}

TEST_CASE("NaN in a field that nobody reads does no harm", "[llama]") {
  const LlamaConfig config =
      parse_llama_config(with_raw("time_step_limit", "[0.0, Infinity, NaN]"), "config.json");
  CHECK(config.document["time_step_limit"][0] == 0.0);
  CHECK(config.document["time_step_limit"][1].is_null());
  const LlamaConfig text = parse(with({{"note", "NaN \\\" Infinity"}}));
  CHECK(text.document["note"] == "NaN \\\" Infinity");
}

TEST_CASE("blocks of different widths survive a rewrite", "[llama]") {
  LlamaConfig config = parse(tiny_config());
  config.blocks[1] = {2, 1, 24};
  const Json document = llama_config_document(config);
  CHECK(document["intermediate_size"] == 48);
  const LlamaConfig again = parse(document);
  CHECK(again.blocks == config.blocks);
  CHECK_FALSE(again.is_uniform());
  CHECK_FALSE(llama_config_document(parse(tiny_config())).contains("edgecompress_block_shapes"));
  Json wrong = document;
  wrong["edgecompress_block_shapes"].erase(0);
  const auto refusal = refusal_of([&] { parse(wrong); });
  REQUIRE(refusal.has_value());
  CHECK(refusal->says("a list of 2 objects"));
}

TEST_CASE("a rewritten config says what changed and keeps what is not known", "[llama]") {
  LlamaConfig config = parse(with({{"auto_map", {{"AutoModel", "evil.Model"}}},
                                   {"_name_or_path", "/home/someone/model"},
                                   {"quantization_config", {{"quant_method", "x"}}},
                                   {"initializer_range", 0.02},
                                   {"torch_dtype", "float32"}}));
  config.blocks = {BlockShape{2, 1, 40}, BlockShape{2, 1, 40}};
  config.dtype = DType::BF16;
  config.tie_word_embeddings = true;
  const Json document = llama_config_document(config);
  CHECK_FALSE(document.contains("auto_map"));
  CHECK_FALSE(document.contains("_name_or_path"));
  CHECK_FALSE(document.contains("quantization_config"));
  CHECK(document["initializer_range"] == 0.02);
  CHECK(document["num_attention_heads"] == 2);
  CHECK(document["num_key_value_heads"] == 1);
  CHECK(document["intermediate_size"] == 40);
  CHECK(document["head_dim"] == 8);
  CHECK(document["dtype"] == "bfloat16");
  CHECK(document["torch_dtype"] == "bfloat16");
  CHECK(document["tie_word_embeddings"] == true);
  CHECK(document["model_type"] == "llama");
}

TEST_CASE("a hidden size that the heads do not divide is written as the equal Mistral", "[llama]") {
  LlamaConfig config = parse(tiny_config());
  config.blocks = {BlockShape{3, 3, 40}, BlockShape{3, 3, 40}};
  const Json document = llama_config_document(config);
  CHECK(document["model_type"] == "mistral");
  CHECK(document["architectures"] == Json{"MistralForCausalLM"});
  CHECK(document["sliding_window"].is_null());
  CHECK(parse(document).blocks == config.blocks);
}

void check_frequencies(const Json& changes, const std::vector<double>& expected) {
  const std::vector<double> found = rope_inverse_frequencies(parse(with(changes)));
  REQUIRE(found.size() >= expected.size());
  for (std::size_t i = 0; i < expected.size(); ++i) {
    // transformers computes in float32: a power, a division and up to four more roundings of 2^-24
    CHECK(std::abs(found[i] - expected[i]) <= 8 * 0x1p-24 * expected[i]);
  }
}

// The numbers: transformers 5.23, 1 / theta^(2i/d) and ROPE_INIT_FUNCTIONS, printed with repr.
TEST_CASE("rotary frequencies are those of transformers", "[llama][golden]") {
  check_frequencies(Json::object(),
                    {1.0, 0.10000000149011612, 0.009999999776482582, 0.0010000000474974513});
  check_frequencies(
      {{"rope_scaling", {{"rope_type", "linear"}, {"factor", 2.5}}}},
      {0.4000000059604645, 0.03999999910593033, 0.003999999724328518, 0.0004000000189989805});
  check_frequencies({{"head_dim", 64},
                     {"rope_theta", 500000.0},
                     {"rope_scaling",
                      {{"rope_type", "llama3"},
                       {"factor", 32.0},
                       {"low_freq_factor", 1.0},
                       {"high_freq_factor", 4.0},
                       {"original_max_position_embeddings", 8192}}}},
                    {1.0,
                     0.663601279258728,
                     0.44036662578582764,
                     0.2922278344631195,
                     0.193922758102417,
                     0.12868738174438477,
                     0.08539710193872452,
                     0.05666961893439293,
                     0.03760603070259094,
                     0.02495540864765644,
                     0.016560440883040428,
                     0.010989529080688953,
                     0.00729266507551074,
                     0.00483942124992609,
                     0.0032114461064338684,
                     0.0012905480107292533,
                     0.000429556705057621,
                     9.708286233944818e-05,
                     1.9461638657958247e-05,
                     1.291476746700937e-05,
                     8.570255886297673e-06,
                     5.687232260243036e-06,
                     3.7740544485131977e-06,
                     2.504467147446121e-06,
                     1.6619674170215148e-06,
                     1.1028836297555245e-06,
                     7.318749339901842e-07,
                     4.856731266045244e-07,
                     3.2229328894572973e-07,
                     2.1387423032592778e-07,
                     1.4192720243499934e-07,
                     9.418306490260875e-08});
}

}  // namespace
}  // namespace edgecompress
