#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace edgecompress {

/// Where ONNX Runtime's library lies. Order: `named` when not empty, the environment variable EDGECOMPRESS_ONNXRUNTIME,
/// libonnxruntime.so* beside the running program or in ../lib of it, the path given at configure time.
/// Throws Error{Missing} that lists what was tried.
std::filesystem::path find_onnxruntime(const std::filesystem::path& named);

/// ONNX Runtime, opened with dlopen and used through its C API (version 17). One per process and library.
class OnnxRuntime {
 public:
  /// Throws Error{Missing} when the library does not load or is older than 1.17.
  explicit OnnxRuntime(const std::filesystem::path& library);
  ~OnnxRuntime();
  OnnxRuntime(OnnxRuntime&&) noexcept;

  /// For example "1.32.0".
  std::string version() const;

 private:
  friend class DecoderSession;
  struct State;
  std::shared_ptr<State> state_;
};

struct DecoderSessionOptions {
  int num_threads = 1;
  std::filesystem::path custom_ops_library;  ///< empty: none
  std::vector<std::pair<std::string, std::string>> config_entries;  ///< session configuration, for example
                                                                    ///< {"session.intra_op.allow_spinning", "0"}
};

/// A decoder graph with a key-value cache, as edgecompress and onnxruntime-genai's builder export it: inputs input_ids,
/// attention_mask, optionally position_ids, past_key_values.*; outputs logits, present.*.
class DecoderSession {
 public:
  /// Throws Error{Malformed} with ONNX Runtime's own words when the graph does not load, and when it is no such decoder.
  DecoderSession(const OnnxRuntime& runtime, const std::filesystem::path& graph,
                 const DecoderSessionOptions& options);
  ~DecoderSession();
  DecoderSession(DecoderSession&&) noexcept;

  std::int64_t vocab_size() const;

  /// Forgets the cache.
  void reset();

  /// Runs `ids` ([batch, length], row-major) after what the cache holds; the cache grows by length. The batch must stay
  /// the same until reset().
  /// Returns  logits [batch, length, vocab_size], valid until the next call.
  /// Throws   Error{Numeric} when the runtime reports a failure, with its words.
  std::span<const float> run(std::span<const std::int64_t> ids, std::int64_t batch);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace edgecompress
