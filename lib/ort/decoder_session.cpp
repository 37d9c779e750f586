#include <algorithm>

#include "base/checked_math.h"
#include "ort/loaded_graph.h"
#include "ort/session.h"

namespace edgecompress {
namespace {

constexpr std::string_view kPastPrefix = "past_key_values.";

/// One cached tensor: [batch, heads, length, head_size].
struct CacheSlot {
  std::string past_name;
  std::string present_name;
  std::int64_t heads = 0;
  std::int64_t head_size = 0;
};

[[noreturn]] void not_a_decoder(const LoadedGraph& graph, const std::string& why) {
  throw Error(ErrorKind::Malformed, "O06",
              concat(graph.file(), " is not a decoder with a key-value cache: ", why));
}

void require_type(const LoadedGraph& graph, const GraphTensor& tensor,
                  ONNXTensorElementDataType wanted, const char* name_of_type) {
  if (tensor.type == wanted) return;
  throw Error(ErrorKind::Unsupported, "O06",
              concat("'", tensor.name, "' of ", graph.file(), " must be of type ", name_of_type,
                     ", but has ONNX element type ", static_cast<int>(tensor.type)));
}

void require_ids(const LoadedGraph& graph, const GraphTensor& tensor) {
  require_type(graph, tensor, ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64, "int64");
  if (tensor.shape.size() != 2) {
    not_a_decoder(graph,
                  concat("'", tensor.name, "' has ", tensor.shape.size(), " dimensions, not 2"));
  }
}

CacheSlot read_slot(const LoadedGraph& graph, const GraphTensor& past) {
  CacheSlot slot{.past_name = past.name,
                 .present_name = "present." + past.name.substr(kPastPrefix.size())};
  require_type(graph, past, ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT, "float");
  if (past.shape.size() != 4 || past.shape[1] <= 0 || past.shape[3] <= 0) {
    not_a_decoder(graph, concat("'", past.name,
                                "' must be [batch, heads, past length, head size] with numbers for "
                                "heads and head size"));
  }
  slot.heads = past.shape[1];
  slot.head_size = past.shape[3];
  const GraphTensor* const present = graph.find_output(slot.present_name);
  if (present == nullptr) {
    not_a_decoder(graph, concat("input '", past.name, "' has no output '", slot.present_name, "'"));
  }
  require_type(graph, *present, ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT, "float");
  return slot;
}

std::vector<CacheSlot> read_slots(const LoadedGraph& graph) {
  std::vector<CacheSlot> slots;
  for (const GraphTensor& input : graph.inputs()) {
    if (input.name == "input_ids" || input.name == "attention_mask" ||
        input.name == "position_ids") {
      require_ids(graph, input);
    } else if (input.name.starts_with(kPastPrefix)) {
      slots.push_back(read_slot(graph, input));
    } else {
      not_a_decoder(graph, concat("input '", input.name, "' is unknown"));
    }
  }
  if (graph.find_input("input_ids") == nullptr) not_a_decoder(graph, "no input 'input_ids'");
  if (slots.empty()) not_a_decoder(graph, "no input 'past_key_values.*'");
  return slots;
}

std::int64_t read_vocab_size(const LoadedGraph& graph) {
  const GraphTensor* const logits = graph.find_output("logits");
  if (logits == nullptr) not_a_decoder(graph, "no output 'logits'");
  require_type(graph, *logits, ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT, "float");
  if (logits->shape.size() != 3 || logits->shape[2] <= 0) {
    not_a_decoder(graph, "'logits' must be [batch, length, vocabulary] with a number for the last");
  }
  return logits->shape[2];
}

}  // namespace

struct DecoderSession::State {
  State(const OnnxRuntime& runtime, const std::filesystem::path& file,
        const DecoderSessionOptions& options)
      : graph(runtime, file, options),
        slots(read_slots(graph)),
        vocab_size(read_vocab_size(graph)) {
    for (const char* name : {"input_ids", "attention_mask", "position_ids"}) {
      if (graph.find_input(name) != nullptr) input_names.push_back(name);
    }
    output_names.push_back("logits");
    for (const CacheSlot& slot : slots) {
      input_names.push_back(slot.past_name.c_str());
      output_names.push_back(slot.present_name.c_str());
    }
  }

  /// Makes the empty cache on the first run after a reset.
  void begin(std::int64_t new_batch) {
    if (past_length > 0) {
      ensure(new_batch == batch, "the batch to stay the same until reset()");
      return;
    }
    batch = new_batch;
    results.clear();
    results.push_back(
        graph.allocate(ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT, std::vector<std::int64_t>{0}));
    for (const CacheSlot& slot : slots) {
      results.push_back(
          graph.allocate(ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT,
                         std::vector<std::int64_t>{batch, slot.heads, 0, slot.head_size}));
    }
  }

  /// A cached tensor of the sequences `rows`. `old` is [batch, heads, past length, head size].
  OwnedValue rows_of(OrtValue& old, const CacheSlot& slot, std::span<const std::int64_t> rows) {
    const std::int64_t shape[] = {std::ssize(rows), slot.heads, past_length, slot.head_size};
    OwnedValue chosen = graph.allocate(ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT, shape);
    const std::int64_t row_size = slot.heads * past_length * slot.head_size;
    const auto* const from = static_cast<const float*>(graph.data(old));
    auto* const to = static_cast<float*>(graph.data(*chosen.get()));
    for (std::size_t i = 0; i < rows.size(); ++i) {
      std::copy_n(from + rows[i] * row_size, row_size,
                  to + static_cast<std::ptrdiff_t>(i) * row_size);
    }
    return chosen;
  }

  LoadedGraph graph;
  std::vector<CacheSlot> slots;
  std::int64_t vocab_size = 0;
  std::vector<const char*> input_names;
  std::vector<const char*> output_names;
  std::int64_t batch = 0;
  std::int64_t past_length = 0;
  std::vector<OwnedValue> results;  // of the last run: logits, then one per slot; empty after reset
};

DecoderSession::DecoderSession(const OnnxRuntime& runtime, const std::filesystem::path& graph,
                               const DecoderSessionOptions& options)
    : state_(std::make_unique<State>(runtime, graph, options)) {}
DecoderSession::~DecoderSession() = default;
DecoderSession::DecoderSession(DecoderSession&&) noexcept = default;

std::int64_t DecoderSession::vocab_size() const { return state_->vocab_size; }

void DecoderSession::reset() {
  state_->past_length = 0;
  state_->results.clear();
}

void DecoderSession::select_rows(std::span<const std::int64_t> rows) {
  State& state = *state_;
  ensure(state.past_length > 0 && !rows.empty(), "rows of a cache that holds something");
  for (const std::int64_t row : rows) ensure(row >= 0 && row < state.batch, "a row of the cache");
  for (std::size_t i = 0; i < state.slots.size(); ++i) {
    OwnedValue& cached = state.results[i + 1];
    cached = state.rows_of(*cached.get(), state.slots[i], rows);
  }
  state.batch = std::ssize(rows);
}

std::span<const float> DecoderSession::run(std::span<const std::int64_t> ids, std::int64_t batch) {
  State& state = *state_;
  ensure(batch > 0 && !ids.empty() && std::ssize(ids) % batch == 0, "ids to be [batch, length]");
  const auto outside = std::find_if(
      ids.begin(), ids.end(), [&](std::int64_t id) { return id < 0 || id >= state.vocab_size; });
  if (outside != ids.end()) {
    throw Error(ErrorKind::Malformed, "O07",
                concat("token id ", *outside, " is outside the vocabulary of ", state.vocab_size,
                       " of ", state.graph.file(), "; do tokenizer and model belong together?"));
  }
  state.begin(batch);
  const std::int64_t length = std::ssize(ids) / batch;
  const std::int64_t total = state.past_length + length;

  std::vector<std::int64_t> positions(ids.size());
  for (std::size_t i = 0; i < ids.size(); ++i) {
    positions[i] = state.past_length + static_cast<std::int64_t>(i) % length;
  }
  const std::vector<std::int64_t> mask(static_cast<std::size_t>(batch * total), 1);
  const std::int64_t ids_shape[] = {batch, length};
  const std::int64_t mask_shape[] = {batch, total};
  const auto wrap = [&](std::span<const std::int64_t> values, std::span<const std::int64_t> shape) {
    return state.graph.wrap(ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64, shape, values.data(),
                            values.size_bytes());
  };
  const OwnedValue id_value = wrap(ids, ids_shape);
  const OwnedValue mask_value = wrap(mask, mask_shape);
  const OwnedValue position_value = wrap(positions, ids_shape);

  std::vector<const OrtValue*> inputs{id_value.get()};
  if (state.graph.find_input("attention_mask") != nullptr) inputs.push_back(mask_value.get());
  if (state.graph.find_input("position_ids") != nullptr) inputs.push_back(position_value.get());
  for (std::size_t i = 1; i < state.results.size(); ++i) inputs.push_back(state.results[i].get());

  state.results = state.graph.run(state.input_names, inputs, state.output_names);
  state.past_length = total;
  OrtValue& logits = *state.results[0].get();
  const std::vector<std::int64_t> shape = state.graph.describe(logits).shape;
  if (shape != std::vector<std::int64_t>{batch, length, state.vocab_size}) {
    not_a_decoder(state.graph,
                  "'logits' came back in another shape than [batch, length, vocabulary]");
  }
  return {static_cast<const float*>(state.graph.data(logits)),
          static_cast<std::size_t>(batch * length * state.vocab_size)};
}

}  // namespace edgecompress
