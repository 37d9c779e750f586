#include "llama/config.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <cmath>
#include <span>

#include "base/checked_math.h"
#include "base/error.h"
#include "base/suggest.h"
#include "checkpoint/file_kind.h"
#include "llama/config_text.h"

namespace edgecompress {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::int64_t kLargestHidden = std::int64_t{1} << 20;
constexpr std::int64_t kLargestVocabulary = std::int64_t{1} << 22;
constexpr std::int64_t kMostBlocks = 10'000;
constexpr std::int64_t kLargestContext = std::int64_t{1} << 31;
constexpr std::int64_t kLargestToken = INT32_MAX;

/// Reads fields of one JSON object; errors name the file and the field.
class Fields {
 public:
  Fields(const Json& object, std::string source) : object_(object), source_(std::move(source)) {}

  /// Nothing when absent or null.
  const Json* find(const std::string& name) const {
    const auto found = object_.find(name);
    return found == object_.end() || found->is_null() ? nullptr : &*found;
  }

  std::optional<std::int64_t> whole(const std::string& name) const {
    const Json* const value = find(name);
    return value == nullptr ? std::nullopt : whole_number(*value);
  }

  [[noreturn]] void fail(const std::string& code, const std::string& name,
                         const std::string& expected) const {
    const auto found = object_.find(name);
    const std::string value = found == object_.end() ? "nothing" : shown_json(*found);
    const bool is_nan = found != object_.end() && is_json_constant(*found);
    throw Error(ErrorKind::Malformed, is_nan ? "C1" : code,
                concat(source_, ": ", name, " must be ", expected, ", found ", value,
                       is_nan ? ", which JSON does not have" : ""));
  }

  [[noreturn]] void unsupported(const std::string& code, const std::string& message) const {
    throw Error(ErrorKind::Unsupported, code, concat(source_, ": ", message));
  }

  /// A required size; 0 has a code of its own for what is later a divisor.
  std::int64_t size(const std::string& name, std::int64_t high,
                    const std::string& zero_code) const {
    const std::string expected = concat("an integer from 1 to ", high);
    const std::optional<std::int64_t> value = whole(name);
    if (!value || *value < 0) fail("C5", name, expected);
    if (*value == 0) fail(zero_code, name, expected);
    if (*value > high) fail("C9", name, expected);
    return *value;
  }
  std::int64_t size_or(const std::string& name, std::int64_t fallback, std::int64_t high,
                       const std::string& zero_code) const {
    return find(name) == nullptr ? fallback : size(name, high, zero_code);
  }

  bool flag(const std::string& name, bool fallback) const {
    const Json* const value = find(name);
    if (value == nullptr) return fallback;
    if (!value->is_boolean()) fail("C5", name, "true or false");
    return value->get<bool>();
  }

  double positive(const std::string& name, const std::string& code) const {
    const Json* const value = find(name);
    const double number = value != nullptr && value->is_number() ? value->get<double>() : NAN;
    if (!std::isfinite(number) || number <= 0) fail(code, name, "a finite number above 0");
    return number;
  }
  double positive_or(const std::string& name, double fallback, const std::string& code) const {
    return find(name) == nullptr ? fallback : positive(name, code);
  }

  std::string text(const std::string& name, const std::string& code) const {
    const Json* const value = find(name);
    if (value == nullptr || !value->is_string() || is_json_constant(*value)) {
      fail(code, name, "text");
    }
    return value->get<std::string>();
  }

  const Json& object() const { return object_; }
  const std::string& source() const { return source_; }

 private:
  const Json& object_;
  std::string source_;
};

struct Architecture {
  std::string_view name;
  std::string_view model_type;
};
constexpr std::array kArchitectures{Architecture{"LlamaForCausalLM", "llama"},
                                    Architecture{"MistralForCausalLM", "mistral"}};

constexpr std::string_view kSupportedList =
    "supported are LlamaForCausalLM, and MistralForCausalLM without a sliding window";

/// "; the nearest is ..." for a name that differs from a known one by its case or a slip. The words
/// that every name ends with would make all of them near.
std::string nearest_supported(std::string name) {
  const std::size_t ending = name.find("ForCausalLM");
  if (ending != std::string::npos) name.erase(ending);
  std::ranges::transform(name, name.begin(),
                         [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  std::vector<std::string> known;
  known.reserve(kArchitectures.size());
  for (const Architecture& architecture : kArchitectures)
    known.emplace_back(architecture.model_type);
  const std::string near = std::ranges::count(known, name) > 0 ? name : nearest(name, known);
  const auto* const row = std::ranges::find(kArchitectures, near, &Architecture::model_type);
  return row == kArchitectures.end() ? "" : concat("; the nearest is ", row->name);
}

const Architecture& architecture_of(const Fields& config) {
  const auto row = [&](std::string_view found, auto member) {
    return std::find_if(kArchitectures.begin(), kArchitectures.end(),
                        [&](const Architecture& a) { return a.*member == found; });
  };
  const Json* const list = config.find("architectures");
  const bool named =
      list != nullptr && list->is_array() && list->size() == 1 && (*list)[0].is_string();
  if (list != nullptr && !named) {
    config.unsupported("C4", concat("architectures must name one architecture, found ",
                                    shown_json(*list), "; ", kSupportedList));
  }
  const std::string type =
      config.find("model_type") == nullptr ? "" : config.text("model_type", "C4");
  if (!named && type.empty()) {
    config.unsupported("C4", concat("has neither architectures nor model_type; ", kSupportedList));
  }
  const std::string name = named ? (*list)[0].get<std::string>() : "";
  const auto* const by_name =
      named ? row(name, &Architecture::name) : row(type, &Architecture::model_type);
  if (by_name == kArchitectures.end()) {
    config.unsupported("C4", concat("describes \"", shown_text(named ? name : type), "\"; ",
                                    kSupportedList, nearest_supported(named ? name : type)));
  }
  if (!type.empty() && by_name->model_type != type) {
    config.unsupported("C4",
                       concat("gives model_type \"", shown_text(type), "\" with architecture ",
                              by_name->name, ", expected \"", by_name->model_type, "\""));
  }
  return *by_name;
}

void refuse_unsupported_fields(const Fields& config) {
  constexpr std::array<const char*, 12> kMustBeAbsent{
      "sliding_window",        "num_local_experts",      "num_experts",    "n_routed_experts",
      "moe_intermediate_size", "vision_config",          "audio_config",   "partial_rotary_factor",
      "kv_lora_rank",          "attn_logit_softcapping", "logits_scaling", "embedding_multiplier"};
  for (const char* const name : kMustBeAbsent) {
    const Json* const value = config.find(name);
    if (value == nullptr || (value->is_number() && *value == 1.0 &&
                             std::string_view(name) == "partial_rotary_factor")) {
      continue;
    }
    config.unsupported("C19",
                       concat(name, " is ", shown_json(*value),
                              "; edgecompress has no such layer and would compute something else"));
  }
  const Json* const activation = config.find("hidden_act");
  if (activation != nullptr && *activation != "silu") {
    config.unsupported(
        "C19", concat("hidden_act is ", shown_json(*activation), "; supported is \"silu\""));
  }
}

void check_nested(const Fields& config) {
  const Json* const nested = config.find("text_config");
  if (nested == nullptr) return;
  if (!nested->is_object()) config.fail("C20", "text_config", "an object");
  for (const auto& [name, value] : nested->items()) {
    const auto top = config.object().find(name);
    if (top != config.object().end() && *top != value) {
      config.fail("C20", name, concat("the same as in text_config, ", shown_json(value)));
    }
  }
}

/// "rope_type", and "type" as it was called before transformers 4.45.
std::string rope_type(const Fields& rope) {
  const bool modern = rope.find("rope_type") != nullptr;
  const bool legacy = rope.find("type") != nullptr;
  if (modern && legacy && rope.text("type", "C13") != rope.text("rope_type", "C13")) {
    rope.fail("C13", "type", "the same as rope_type");
  }
  if (modern) return rope.text("rope_type", "C13");
  return legacy ? rope.text("type", "C13") : "default";
}

RopeScaling parse_rope_scaling(const Fields& rope) {
  const std::string type = rope_type(rope);
  if (type == "default") return DefaultRope{};
  if (type == "linear") return LinearRope{.factor = rope.positive("factor", "C13")};
  if (type == "llama3") {
    Llama3Rope llama3;
    llama3.factor = rope.positive("factor", "C13");
    llama3.low_freq_factor = rope.positive("low_freq_factor", "C13");
    llama3.high_freq_factor = rope.positive("high_freq_factor", "C13");
    const std::string original = "original_max_position_embeddings";
    const std::optional<std::int64_t> length = rope.whole(original);
    if (!length || *length <= 0 || *length > kLargestContext) {
      rope.fail("C13", original, "a positive integer");
    }
    llama3.original_max_position_embeddings = *length;
    if (llama3.high_freq_factor <= llama3.low_freq_factor) {
      rope.fail("C13", "high_freq_factor", "above low_freq_factor");
    }
    return llama3;
  }
  for (const char* const known : {"dynamic", "yarn", "longrope", "su", "proportional"}) {
    if (type == known) {
      rope.unsupported("C13", concat("the rope type ", type,
                                     " is not supported; default, linear and "
                                     "llama3 are"));
    }
  }
  throw Error(ErrorKind::Malformed, "C13",
              concat(rope.source(), ": unknown rope type \"", shown_text(type),
                     "\"; default, linear and llama3 are supported"));
}

void parse_rope(const Fields& config, LlamaConfig& out) {
  out.rope_theta = config.positive_or("rope_theta", 10000, "C13");
  for (const char* const name : {"rope_scaling", "rope_parameters"}) {
    const Json* const value = config.find(name);
    if (value == nullptr) continue;
    if (!value->is_object()) config.fail("C13", name, "an object");
    const Fields rope(*value, concat(config.source(), ": ", name));
    out.rope_scaling = parse_rope_scaling(rope);
    out.rope_theta = rope.positive_or("rope_theta", out.rope_theta, "C13");
  }
}

DType parse_dtype(const Fields& config) {
  const bool modern = config.find("dtype") != nullptr;
  const bool legacy = config.find("torch_dtype") != nullptr;
  if (!modern && !legacy) return DType::F32;
  const std::string field = modern ? "dtype" : "torch_dtype";
  std::string name = config.text(field, "C12");
  if (modern && legacy && config.text("torch_dtype", "C12") != name) {
    config.fail("C12", "torch_dtype", concat("the same as dtype, \"", shown_text(name), "\""));
  }
  if (name.starts_with("torch.")) name.erase(0, 6);
  if (name == "float32") return DType::F32;
  if (name == "float16") return DType::F16;
  if (name == "bfloat16") return DType::BF16;
  config.fail("C12", field, "float32, float16 or bfloat16");
}

/// -1 stands for "none" in old configs.
std::optional<std::int64_t> token_id(const Fields& config, const std::string& name) {
  if (config.find(name) == nullptr) return std::nullopt;
  const std::optional<std::int64_t> id = config.whole(name);
  if (id == -1) return std::nullopt;
  if (!id || *id < 0 || *id > kLargestToken) config.fail("C5", name, "a token id");
  return id;
}

std::vector<std::int64_t> eos_ids(const Fields& config) {
  const std::string name = "eos_token_id";
  const Json* const value = config.find(name);
  if (value == nullptr || !value->is_array()) {
    const std::optional<std::int64_t> id = token_id(config, name);
    return id ? std::vector<std::int64_t>{*id} : std::vector<std::int64_t>{};
  }
  std::vector<std::int64_t> ids;
  for (const Json& item : *value) {
    const std::optional<std::int64_t> id = whole_number(item);
    if (!id || *id < 0 || *id > kLargestToken) {
      config.fail("C5", name, "a token id or a list of them");
    }
    ids.push_back(*id);
  }
  return ids;
}

BlockShape parse_block_shape(const Fields& fields, std::optional<std::int64_t> default_kv_heads) {
  BlockShape shape;
  shape.num_attention_heads = fields.size("num_attention_heads", kLargestHidden, "C6");
  shape.num_key_value_heads =
      default_kv_heads
          ? fields.size_or("num_key_value_heads", *default_kv_heads, kLargestHidden, "C6")
          : fields.size_or("num_key_value_heads", shape.num_attention_heads, kLargestHidden, "C6");
  shape.intermediate_size = fields.size("intermediate_size", kLargestHidden * 8, "C5");
  if (shape.num_attention_heads % shape.num_key_value_heads != 0) {
    fields.fail("C8", "num_key_value_heads",
                concat("a divisor of num_attention_heads, ", shape.num_attention_heads));
  }
  return shape;
}

std::vector<BlockShape> parse_blocks(const Fields& config, const Architecture& architecture) {
  const auto count = static_cast<std::size_t>(config.size("num_hidden_layers", kMostBlocks, "C5"));
  // MistralConfig's own default, which differs from Llama's
  const bool mistral = architecture.model_type == "mistral";
  const BlockShape uniform =
      parse_block_shape(config, mistral ? std::optional<std::int64_t>(8) : std::nullopt);
  const Json* const list = config.find("edgecompress_block_shapes");
  if (list == nullptr) return std::vector<BlockShape>(count, uniform);
  if (!list->is_array() || list->size() != count) {
    config.fail("C5", "edgecompress_block_shapes", concat("a list of ", count, " objects"));
  }
  std::vector<BlockShape> blocks;
  for (const Json& item : *list) {
    const std::string where =
        concat(config.source(), ": edgecompress_block_shapes[", blocks.size(), "]");
    if (!item.is_object()) {
      throw Error(ErrorKind::Malformed, "C5", concat(where, " must be an object"));
    }
    blocks.push_back(parse_block_shape(Fields(item, where), std::nullopt));
  }
  return blocks;
}

std::int64_t parse_head_dim(const Fields& config, const LlamaConfig& out) {
  const std::int64_t heads = out.blocks.front().num_attention_heads;
  if (config.find("head_dim") == nullptr && out.hidden_size % heads != 0) {
    config.fail(
        "C7", "hidden_size",
        concat("a multiple of num_attention_heads, ", heads, ", when there is no head_dim"));
  }
  const std::int64_t head_dim =
      config.size_or("head_dim", out.hidden_size / heads, kLargestHidden, "C6");
  if (head_dim % 2 != 0) config.fail("C7", "head_dim", "even: rotary embeddings turn pairs");
  return head_dim;
}

/// Products that later code forms must fit into 63 bits with room for the bytes of an element.
void check_products(const Fields& config, const LlamaConfig& out) {
  for (const BlockShape& shape : out.blocks) {
    const auto wide = checked_multiply(static_cast<std::uint64_t>(shape.num_attention_heads),
                                       static_cast<std::uint64_t>(out.head_dim));
    if (!wide || *wide > static_cast<std::uint64_t>(kLargestHidden)) {
      config.fail(
          "C9", "num_attention_heads",
          concat("at most ", kLargestHidden, " when multiplied by head_dim, ", out.head_dim));
    }
  }
}

}  // namespace

bool LlamaConfig::is_uniform() const {
  return std::all_of(blocks.begin(), blocks.end(),
                     [&](const BlockShape& shape) { return shape == blocks.front(); });
}

LlamaConfig parse_llama_config(std::string_view text, const std::string& source) {
  Json document = parse_config_text(text, source);
  LlamaConfig out;
  {
    const Fields config(document, source);
    check_nested(config);
    const Architecture& architecture = architecture_of(config);
    refuse_unsupported_fields(config);
    out.hidden_size = config.size("hidden_size", kLargestHidden, "C5");
    out.vocab_size = config.size("vocab_size", kLargestVocabulary, "C5");
    out.blocks = parse_blocks(config, architecture);
    out.head_dim = parse_head_dim(config, out);
    check_products(config, out);
    // defaults of transformers' LlamaConfig
    out.max_position_embeddings =
        config.size_or("max_position_embeddings", 2048, kLargestContext, "C5");
    out.rms_norm_eps = config.positive_or("rms_norm_eps", 1e-6, "C14");
    parse_rope(config, out);
    out.attention_bias = config.flag("attention_bias", false);
    out.mlp_bias = config.flag("mlp_bias", false);
    out.tie_word_embeddings = config.flag("tie_word_embeddings", false);
    out.dtype = parse_dtype(config);
    out.bos_token_id = token_id(config, "bos_token_id");
    out.eos_token_ids = eos_ids(config);
    out.pad_token_id = token_id(config, "pad_token_id");
  }
  nullify_json_constants(document);
  out.document = std::move(document);
  return out;
}

}  // namespace edgecompress
