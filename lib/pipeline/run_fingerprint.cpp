#include "pipeline/run_fingerprint.h"

#include <algorithm>
#include <cstdlib>

#include "base/error.h"
#include "base/file_hash.h"
#include "base/mapped_file.h"
#include "base/sha256.h"
#include "base/version.h"
#include "llama/weight_layout.h"
#include "tensor/runtime.h"

namespace edgecompress {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kHashedEnd = std::size_t{1} << 20;
constexpr std::int64_t kNanoseconds = 1'000'000'000;  // of a second

/// The first MiB holds the header of most shards; a header that is longer shows in the tensors too.
std::string shard_identity(const fs::path& path) {
  const MappedFile file(path);
  const std::span<const std::byte> bytes = file.bytes();
  Sha256 hash;
  hash.add(bytes.first(std::min(bytes.size(), kHashedEnd)));
  hash.add(bytes.last(std::min(bytes.size(), kHashedEnd)));
  return concat(bytes.size(), " bytes, modified ", file.modified_ns() / kNanoseconds, ".",
                file.modified_ns() % kNanoseconds, ", ends ", hash.hex_digest());
}

}  // namespace

void add_model(Fingerprint& fingerprint, const std::string& prefix, const ModelFolder& model) {
  const fs::path& folder = model.path();
  fingerprint.emplace_back(prefix + "config.json",
                           sha256_of_file(MappedFile(folder / "config.json")));
  for (const char* const name : kTokenizerFiles) {
    if (!fs::exists(folder / name)) continue;
    fingerprint.emplace_back(prefix + name, sha256_of_file(MappedFile(folder / name)));
  }
  for (const fs::path& file : model.store().files()) {
    fingerprint.emplace_back(prefix + file.filename().string(), shard_identity(file));
  }
}

void add_tokens(Fingerprint& fingerprint, const std::string& field,
                const std::optional<TokenWindows>& windows) {
  if (!windows) return;
  fingerprint.emplace_back(
      field, concat(windows->count, " windows of ", windows->length, " tokens, ", windows->sha256));
}

Fingerprint run_fingerprint(const std::string& command, const RunOptions& options,
                            const ModelFolder& model, const Recipe* recipe,
                            const WalkTexts* texts) {
  const char* const mkl_branch = std::getenv("MKL_CBWR");
  Fingerprint fingerprint{{"edgecompress", kVersion},
                          {"program", sha256_of_file(MappedFile("/proc/self/exe"))},
                          {"LibTorch", torch_version()},
                          {"instruction set", instruction_set()},
                          {"MKL_CBWR", mkl_branch == nullptr ? "" : mkl_branch},
                          {"command", command}};
  fingerprint.insert(fingerprint.end(), options.request.begin(), options.request.end());
  if (recipe != nullptr) fingerprint.emplace_back("recipe", recipe->source_text);
  if (texts != nullptr) {
    add_tokens(fingerprint, "calibration tokens", texts->calibration);
    add_tokens(fingerprint, "evaluation tokens", texts->evaluation);
  }
  add_model(fingerprint, "", model);
  return fingerprint;
}

}  // namespace edgecompress
