#include <filesystem>
#include <functional>

#include <nlohmann/json.hpp>

#include "cli/command_run.h"
#include "support/catch.h"

namespace edgecompress {
namespace {

namespace fs = std::filesystem;

constexpr const char* kModel = "tests/models/mini-llama";
constexpr const char* kShard = "model-00003-of-00006.safetensors";

void flip_byte(const fs::path& file, std::streamoff from_end) {
  std::fstream stream(file, std::ios::binary | std::ios::in | std::ios::out);
  stream.seekg(-from_end, std::ios::end);
  const char byte = static_cast<char>(stream.get() ^ 0x10);
  stream.seekp(-from_end, std::ios::end);
  stream.put(byte);
}

void edit(const fs::path& file, const std::function<void(nlohmann::ordered_json&)>& change) {
  nlohmann::ordered_json document = nlohmann::ordered_json::parse(file_text(file));
  change(document);
  std::ofstream(file) << document.dump(1) << "\n";
}

/// A folder that quantize wrote, and copies of it to be damaged.
class Outputs {
 public:
  Outputs() {
    const CommandRun done = run_command(
        "quantize --model " + std::string(kModel) + " -o " + good().string() + " --group-size 32",
        folder_);
    INFO(done.err);
    REQUIRE(done.exit_code == 0);
  }

  fs::path good() const { return folder_.path() / "good"; }

  fs::path copy() {
    const fs::path copied = folder_.path() / ("copy-" + std::to_string(++copies_));
    fs::copy(good(), copied, fs::copy_options::recursive);
    return copied;
  }

  nlohmann::json verify(const fs::path& folder, int exit_code, const std::string& more = "") {
    const CommandRun run = run_command("verify " + folder.string() + " --json" + more, folder_);
    INFO(run.err);
    REQUIRE(run.exit_code == exit_code);
    return nlohmann::json::parse(run.out);
  }

  const TempDir& folder() const { return folder_; }

 private:
  TempDir folder_;
  int copies_ = 0;
};

TEST_CASE("verify finds every kind of damage to an output", "[cli]") {
  Outputs outputs;
  const nlohmann::json whole =
      outputs.verify(outputs.good(), 0, " --source " + std::string(kModel));
  CHECK(whole.at("good") == true);
  CHECK(whole.at("files") ==
        16);  // 6 shards, index, config, 4 tokenizer files, 3 reports, model card

  struct Damage {
    const char* name;
    std::function<void(const fs::path&)> make;
    const char* code;
    const char* file;
  };
  for (const Damage& damage : {
           Damage{"no manifest",
                  [](const fs::path& f) { fs::remove(f / "edgecompress.manifest.json"); }, "V1",
                  "edgecompress.manifest.json"},
           Damage{"manifest cut short",
                  [](const fs::path& f) { fs::resize_file(f / "edgecompress.manifest.json", 100); },
                  "V1", "edgecompress.manifest.json"},
           Damage{"a shard gone", [](const fs::path& f) { fs::remove(f / kShard); }, "V2", kShard},
           Damage{"a shard shorter",
                  [](const fs::path& f) {
                    fs::resize_file(f / kShard, fs::file_size(f / kShard) - 1);
                  },
                  "V3", kShard},
           Damage{"one bit of a weight", [](const fs::path& f) { flip_byte(f / kShard, 9); }, "V4",
                  kShard},
           Damage{"one byte of the tokenizer",
                  [](const fs::path& f) { flip_byte(f / "tokenizer.json", 40); }, "V4",
                  "tokenizer.json"},
           Damage{"a file too many", [](const fs::path& f) { std::ofstream(f / "extra") << "x"; },
                  "V5", "extra"},
           Damage{"a link in a file's place",
                  [](const fs::path& f) {
                    fs::rename(f / kShard, f.parent_path() / "elsewhere");
                    fs::create_symlink(f.parent_path() / "elsewhere", f / kShard);
                  },
                  "V6", kShard},
           Damage{"a report without its model",
                  [](const fs::path& f) {
                    edit(f / "report.json", [](auto& report) { report.erase("model"); });
                  },
                  "V8", "report.json"},
           Damage{"a report that counts other zeros",
                  [](const fs::path& f) {
                    edit(f / "report.json",
                         [](auto& report) { report["tensors"][3]["sparsity"] = 0.5; });
                  },
                  "V8", "model.layers.0.self_attn.v_proj"},
           Damage{"a report of another shape",
                  [](const fs::path& f) {
                    edit(f / "report.json",
                         [](auto& report) { report["tensors"][1]["shape_after"] = {1, 2}; });
                  },
                  "V8", "model.layers.0.self_attn.q_proj"},
       }) {
    CAPTURE(damage.name);
    const fs::path copy = outputs.copy();
    damage.make(copy);
    const nlohmann::json verdict = outputs.verify(copy, 1);
    CHECK(verdict.at("good") == false);
    bool found = false;
    for (const auto& problem : verdict.at("problems")) {
      found = found || (problem.at("code") == damage.code && problem.at("file") == damage.file);
    }
    INFO(verdict.dump(1));
    CHECK(found);
  }
}

TEST_CASE("verify compares with the source that it is given", "[cli]") {
  Outputs outputs;
  const fs::path other = outputs.folder().path() / "other";
  fs::copy(fs::path(EDGECOMPRESS_SOURCE_DIR) / kModel, other);
  std::ofstream(other / "config.json", std::ios::app) << "\n";
  flip_byte(other / "special_tokens_map.json", 20);
  const nlohmann::json verdict = outputs.verify(outputs.good(), 1, " --source " + other.string());
  REQUIRE(verdict.at("problems").size() == 2);
  CHECK(verdict.at("problems")[0].at("code") == "V9");
  CHECK(verdict.at("problems")[0].at("file") == "config.json");
  CHECK(verdict.at("problems")[1].at("file") == "special_tokens_map.json");

  const CommandRun none = run_command("verify /no/such/folder", outputs.folder());
  CHECK(none.exit_code == 66);
}

TEST_CASE("verify checks an ONNX folder's graph, data and report", "[cli]") {
  const TempDir folder;
  const fs::path out = folder.path() / "onnx";
  const CommandRun done = run_command("export --model " + std::string(kModel) + " -o " +
                                          out.string() + " --format genai --skip-check",
                                      folder);
  INFO(done.err);
  REQUIRE(done.exit_code == 0);
  const CommandRun good = run_command("verify " + out.string() + " --source " + kModel, folder);
  CHECK(good.exit_code == 0);
  CHECK(good.out.find("the graph and its external data") != std::string::npos);
  fs::resize_file(out / "model.onnx.data", fs::file_size(out / "model.onnx.data") / 2);
  const CommandRun bad = run_command("verify " + out.string(), folder);
  CHECK(bad.exit_code == 1);
  CHECK(bad.out.find("V3  model.onnx.data") != std::string::npos);
  CHECK(bad.out.find("V7  model.onnx") != std::string::npos);
  CHECK(bad.out.find("[O12]") != std::string::npos);
}

}  // namespace
}  // namespace edgecompress
