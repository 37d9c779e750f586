#include "verify/verify_folder.h"

#include <algorithm>
#include <string_view>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file_hash.h"
#include "base/mapped_file.h"
#include "base/parallel.h"
#include "base/strict_json.h"
#include "llama/model_folder.h"
#include "llama/weight_layout.h"
#include "onnx_export/export_model.h"
#include "verify/hashed_bytes.h"
#include "verify/manifest.h"

namespace edgecompress {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr std::uint64_t kLargestText = std::uint64_t{256} << 20;
constexpr const char* kReportName = "report.json";
constexpr const char* kIndexName = "model.safetensors.index.json";
constexpr const char* kGraphName = "model.onnx";

void refuse_no_folder(const fs::path& path) {
  std::error_code ignored;  // a path that cannot be followed leads to no folder
  if (fs::is_directory(path, ignored)) return;
  throw Error(ErrorKind::Missing, "F-OPEN", concat(path.string(), " is not a folder"));
}

class Verifier {
 public:
  Verifier(fs::path folder, int num_threads, const Progress& progress)
      : folder_(std::move(folder)), num_threads_(num_threads), progress_(progress) {}

  Verification run(const std::optional<fs::path>& source) {
    if (read_manifest()) {
      check_files();
      refuse_unlisted();
    }
    check_formats();
    check_report();
    if (source) compare_with(*source);
    return std::move(result_);
  }

 private:
  void problem(const char* code, const std::string& file, const std::string& message) {
    result_.problems.push_back({code, file, message});
  }

  /// Runs `body`; an Error becomes a problem of `file`, with its own code in the message.
  template <typename Body>
  bool holds(const char* code, const std::string& file, const Body& body) {
    try {
      body();
      return true;
    } catch (const Error& error) {
      problem(code, file, concat("[", error.code(), "] ", error.what()));
    } catch (const nlohmann::json::exception& error) {
      problem(code, file, concat("lacks what was expected: ", error.what()));
    }
    return false;
  }

  bool read_manifest() {
    return holds("V1", kManifestName, [&] {
      const fs::path path = folder_ / kManifestName;
      manifest_ = parse_manifest(read_text_file(path, kLargestText), kManifestName);
      result_.files = manifest_.files.size();
      for (const auto& [name, entry] : manifest_.files) result_.bytes += entry.size_bytes;
    });
  }

  void check_files() {
    std::vector<std::pair<std::string, ManifestEntry>> files(manifest_.files.begin(),
                                                             manifest_.files.end());
    std::vector<std::optional<VerifyProblem>> found(files.size());
    HashedBytes hashed(result_.bytes, progress_);
    parallel_for(static_cast<std::int64_t>(files.size()), 1, num_threads_,
                 [&](std::int64_t index, std::int64_t) {
                   const auto at = static_cast<std::size_t>(index);
                   found[at] = check_file(files[at].first, files[at].second, hashed);
                 });
    for (std::optional<VerifyProblem>& each : found) {
      if (each) result_.problems.push_back(std::move(*each));
    }
    result_.checks.push_back("size and SHA-256 of every file in the manifest");
  }

  std::optional<VerifyProblem> check_file(const std::string& name, const ManifestEntry& entry,
                                          HashedBytes& hashed) const {
    const fs::path path = folder_ / name;
    const fs::file_status status = fs::symlink_status(path);
    if (!fs::exists(status)) return VerifyProblem{"V2", name, "is missing"};
    if (!fs::is_regular_file(status)) {
      return VerifyProblem{"V6", name, "is not a regular file"};
    }
    try {
      const MappedFile file(path);
      if (file.bytes().size() != entry.size_bytes) {
        return VerifyProblem{
            "V3", name,
            concat("has ", file.bytes().size(), " bytes; the manifest says ", entry.size_bytes)};
      }
      const std::string hash = sha256_of_file(file, [&](std::size_t bytes) { hashed.add(bytes); });
      if (hash == entry.sha256) return std::nullopt;
      return VerifyProblem{"V4", name,
                           concat("has the SHA-256 ", hash, "; the manifest says ", entry.sha256)};
    } catch (const Error& error) {
      return VerifyProblem{"V6", name, error.what()};
    }
  }

  void refuse_unlisted() {
    for (const fs::directory_entry& entry : fs::recursive_directory_iterator(folder_)) {
      if (entry.is_directory() && !entry.is_symlink()) continue;
      const std::string name = fs::relative(entry.path(), folder_).generic_string();
      if (name == kManifestName || manifest_.files.count(name) > 0) continue;
      problem("V5", name, "is not in the manifest: the run did not write it");
    }
  }

  std::optional<fs::path> model_place() const {
    for (const fs::path& place : {folder_, folder_ / "checkpoint"}) {
      if (fs::exists(place / kIndexName)) return place;
    }
    return std::nullopt;
  }

  void check_formats() {
    if (fs::exists(folder_ / kGraphName)) {
      const bool good =
          holds("V7", kGraphName, [&] { validate_onnx_folder(folder_ / kGraphName); });
      if (good) result_.checks.push_back("the graph and its external data");
    }
    const std::optional<fs::path> place = model_place();
    if (!place) return;
    holds("V7", kIndexName, [&] {
      model_.emplace(ModelFolder::open(*place));
      result_.checks.push_back("the model folder: headers, shapes, config.json");
    });
  }

  void check_report() {
    const bool read = holds("V8", kReportName, [&] {
      report_ = parse_strict_json(read_text_file(folder_ / kReportName, kLargestText), kReportName);
      report_.at("model").at("config_sha256").get<std::string>();
    });
    if (!read) {
      report_ = nullptr;
      return;
    }
    if (report_.contains("artifact")) {
      holds("V8", kReportName, [&] { check_artifact_hashes(report_.at("artifact")); });
    }
    if (!model_) return;
    const Json& tensors = report_.at("tensors");
    const auto count = static_cast<std::int64_t>(tensors.size());
    for (std::int64_t i = 0; i < count; ++i) {
      holds("V8", kReportName, [&] { recount(tensors.at(static_cast<std::size_t>(i))); });
      progress_({.stage = "count zeros", .done = i + 1, .total = count});
    }
    result_.checks.push_back(
        concat("shapes and zeros of ", count, " tensors, counted again, against the report"));
  }

  void check_artifact_hashes(const Json& artifact) {
    for (const auto& [name, sha256] : artifact.at("file_sha256").items()) {
      const auto listed = manifest_.files.find(name);
      if (listed != manifest_.files.end() && listed->second.sha256 == sha256.get<std::string>())
        continue;
      problem("V8", name, "has another SHA-256 in the report than in the manifest");
    }
    result_.checks.push_back("the artifact's hashes in the report");
  }

  /// Reads every row, so that a code outside its grid or a scale that is not finite shows too.
  void recount(const Json& tensor) {
    const std::string name = tensor.at("name");
    if (!model_->has_matrix(name)) {
      return problem("V8", name, "is in the report and not in the model folder");
    }
    const StoredMatrix matrix = model_->matrix(name);
    const MatrixShape shape = matrix_shape(matrix);
    const Json stored_shape{shape.out_features, shape.in_features};
    if (tensor.at("shape_after") != stored_shape) {
      return problem("V8", name,
                     concat("has the shape ", stored_shape.dump(), "; the report says ",
                            tensor.at("shape_after").dump()));
    }
    holds("V7", name, [&] {
      const auto elements = static_cast<double>(shape.out_features * shape.in_features);
      const double counted =
          static_cast<double>(count_stored_zeros(matrix, num_threads_)) / elements;
      model_->drop(name);
      if (tensor.at("sparsity") == counted) return;
      problem("V8", name,
              concat("has a share of zeros of ", counted, "; the report says ",
                     tensor.at("sparsity").dump()));
    });
  }

  void compare_with(const fs::path& source) {
    refuse_no_folder(source);
    holds("V9", "config.json", [&] { compare_config(source); });
    const fs::path copies = model_place().value_or(folder_);
    for (const char* const name : kTokenizerFiles) {
      const bool needed = fs::exists(copies / name) || std::string_view(name) == "tokenizer.json";
      if (!fs::exists(source / name) || !needed) continue;
      holds("V9", name, [&] {
        const MappedFile wanted(source / name);
        const MappedFile found(copies / name);
        if (std::ranges::equal(wanted.bytes(), found.bytes())) return;
        problem("V9", name, concat("differs from ", (source / name).string()));
      });
    }
    result_.checks.push_back("config.json and tokenizer files of the source");
  }

  void compare_config(const fs::path& source) {
    if (report_.is_null()) return;
    const std::string hash = sha256_of_file(MappedFile(source / "config.json"));
    const std::string reported = report_.at("model").at("config_sha256");
    if (hash == reported) return;
    problem("V9", "config.json",
            concat("of the source has the SHA-256 ", hash, "; the report says ", reported,
                   ": another model, or it changed since"));
  }

  const fs::path folder_;
  const int num_threads_;
  const Progress& progress_;
  Manifest manifest_;
  std::optional<ModelFolder> model_;
  Json report_;
  Verification result_;
};

}  // namespace

Verification verify_folder(const fs::path& folder, const std::optional<fs::path>& source,
                           int num_threads, const Progress& progress) {
  refuse_no_folder(folder);
  if (source) refuse_no_folder(*source);
  return Verifier(folder, num_threads, progress).run(source);
}

}  // namespace edgecompress
