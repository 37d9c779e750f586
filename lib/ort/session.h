#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace edgecompress {

class LoadedGraph;    // not part of the interface
struct RuntimeState;  // not part of the interface

/// The version of ONNX Runtime's C API that is used: ONNX Runtime 1.17 brought it.
inline constexpr std::uint32_t kOnnxRuntimeApi = 17;

/// Where ONNX Runtime's library lies. Order: `named` when not empty, the environment variable
/// EDGECOMPRESS_ONNXRUNTIME, libonnxruntime.so* beside the running program or in ../lib or
/// ../libexec/edgecompress of it, the path given at configure time. The first two are wishes: when
/// such a file is absent, no later place is looked at.
/// Throws Error{Missing} that lists what was tried.
std::filesystem::path find_onnxruntime(const std::filesystem::path& named);

/// Where edgecompress's own operators lie, libedgecompress_ops.so. Order: the environment variable
/// EDGECOMPRESS_OPERATORS, beside the running program, in ../lib of it. A file that an artifact
/// carries is never taken: loading it would run code of whoever made the artifact.
/// Throws Error{Missing} that lists what was tried.
std::filesystem::path find_operator_library();

/// ONNX Runtime, opened with dlopen and used through its C API (version 17). The library stays in
/// the process once it is loaded. Copies share one environment.
class OnnxRuntime {
 public:
  /// Throws Error{Missing} when the library does not load, Error{Unsupported} when it is older than
  /// 1.17.
  explicit OnnxRuntime(const std::filesystem::path& library);

  /// For example "1.32.0".
  std::string version() const;

 private:
  friend class LoadedGraph;
  std::shared_ptr<const RuntimeState> state_;
};

struct OnnxSessionOptions {
  int num_threads = 1;
  std::filesystem::path custom_ops_library = {};  ///< empty: none
  std::vector<std::pair<std::string, std::string>> config_entries =
      {};  ///< for example {"session.intra_op.allow_spinning", "0"}
};
using DecoderSessionOptions = OnnxSessionOptions;

/// A named tensor in memory, row-major.
struct OnnxTensor {
  std::string name;
  std::vector<std::int64_t> shape;
  std::variant<std::vector<float>, std::vector<std::int64_t>, std::vector<std::uint8_t>> values;
};

/// Any graph whose inputs and outputs are of the types OnnxTensor holds.
class OnnxSession {
 public:
  /// Throws Error{Malformed} with ONNX Runtime's own words when the graph does not load.
  OnnxSession(const OnnxRuntime& runtime, const std::filesystem::path& graph,
              const OnnxSessionOptions& options);
  ~OnnxSession();
  OnnxSession(OnnxSession&&) noexcept;

  /// Returns all outputs in the graph's order, copied.
  /// Throws Error{Numeric} when ONNX Runtime reports a failure, with its words; Error{Unsupported}
  ///        when an output has another type.
  std::vector<OnnxTensor> run(std::span<const OnnxTensor> inputs);

 private:
  std::unique_ptr<LoadedGraph> graph_;
};

/// A decoder graph with a key-value cache, as edgecompress and onnxruntime-genai's builder export
/// it: inputs input_ids, attention_mask, optionally position_ids, past_key_values.*; outputs
/// logits, present.*. Number of key-value heads and head size may differ between layers.
class DecoderSession {
 public:
  /// Throws Error{Malformed} with ONNX Runtime's own words when the graph does not load, and when
  /// it
  ///        is no such decoder; Error{Unsupported} when ids are not int64 or logits and cache are
  ///        not float.
  DecoderSession(const OnnxRuntime& runtime, const std::filesystem::path& graph,
                 const DecoderSessionOptions& options);
  ~DecoderSession();
  DecoderSession(DecoderSession&&) noexcept;

  std::int64_t vocab_size() const;

  /// Forgets the cache.
  void reset();

  /// Continues with a batch of other sequences of the cache: sequence i becomes what sequence
  /// rows[i] was. Needs a cache that holds something; rows may repeat.
  void select_rows(std::span<const std::int64_t> rows);

  /// Runs `ids` ([batch, length], row-major) after what the cache holds; the cache grows by length.
  /// The batch must stay the same until reset() or select_rows().
  /// Returns  logits [batch, length, vocab_size], valid until the next call of any member.
  /// Throws   Error{Malformed} when an id is outside the vocabulary, Error{Numeric} when ONNX
  /// Runtime
  ///          reports a failure, with its words. The cache is then what it was before.
  std::span<const float> run(std::span<const std::int64_t> ids, std::int64_t batch);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace edgecompress
