#include <cstring>
#include <fstream>
#include <iterator>

#include "base/sha256.h"
#include "checkpoint/safetensors.h"
#include "file_bytes.h"
#include "support/catch.h"
#include "support/temp_dir.h"

namespace edgecompress {
namespace {

std::string file_text(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

const std::vector<TensorHeader> kTensors{{"z.weight", DType::F16, {3, 2}},
                                         {"a.empty", DType::F32, {0, 4}},
                                         {"quote\" and \\", DType::I8, {5}},
                                         {"scalar", DType::I64, {}}};

/// Writes kTensors with random data; returns the file's text.
std::string write_file(const std::filesystem::path& target, std::string* hash = nullptr) {
  StagedFolder folder(target, {}, ExistingOutput::Refuse);
  SafetensorsWriter writer(folder, "x.safetensors", kTensors, {{"format", "pt"}, {"by", "test"}});
  const std::string data = random_bytes(12 + 5 + 8, 3);
  writer.append("z.weight", as_bytes(data).subspan(0, 7));  // pieces need not be whole elements
  writer.append("z.weight", as_bytes(data).subspan(7, 5));
  writer.append("a.empty", {});
  writer.append("quote\" and \\", as_bytes(data).subspan(12, 5));
  writer.append("scalar", as_bytes(data).subspan(17, 8));
  const std::string digest = writer.close();
  if (hash != nullptr) *hash = digest;
  folder.publish();
  return file_text(target / "x.safetensors");
}

TEST_CASE("what the writer makes, the parser reads back", "[checkpoint]") {
  const TempDir temp;
  std::string hash;
  const std::string text = write_file(temp.path() / "out", &hash);
  const std::vector<TensorEntry> entries = parse_safetensors(as_bytes(text), "x");
  REQUIRE(entries.size() == kTensors.size());
  const std::string data = random_bytes(25, 3);
  std::size_t position = 0;
  for (std::size_t i = 0; i < entries.size(); ++i) {
    CHECK(entries[i].name == kTensors[i].name);
    CHECK(entries[i].dtype == kTensors[i].dtype);
    CHECK(entries[i].shape == kTensors[i].shape);
    CHECK(std::memcmp(entries[i].bytes.data(), data.data() + position, entries[i].bytes.size()) ==
          0);
    position += entries[i].bytes.size();
  }
  CHECK(position == 25);
  CHECK(hash == sha256_hex(as_bytes(text)));
}

TEST_CASE("the data starts at a multiple of 8 and the size is known before", "[checkpoint]") {
  const TempDir temp;
  const std::string text = write_file(temp.path() / "out");
  std::uint64_t header = 0;
  std::memcpy(&header, text.data(), 8);
  CHECK(header % 8 == 0);
  CHECK(safetensors_file_bytes(kTensors, {{"format", "pt"}, {"by", "test"}}) == text.size());
}

TEST_CASE("the same tensors give the same bytes", "[checkpoint]") {
  const TempDir temp;
  CHECK(write_file(temp.path() / "a") == write_file(temp.path() / "b"));
}

TEST_CASE("missing, surplus and misplaced data are bugs of the caller", "[checkpoint]") {
  const TempDir temp;
  StagedFolder folder(temp.path() / "out", {}, ExistingOutput::Refuse);
  const std::string data = random_bytes(16, 4);
  const std::vector<TensorHeader> tensors{{"a", DType::I8, {4}}, {"b", DType::I8, {4}}};
  SafetensorsWriter writer(folder, "x.safetensors", tensors, {});
  CHECK_THROWS_AS(writer.append("b", as_bytes(data).first(4)), std::logic_error);
  writer.append("a", as_bytes(data).first(3));
  CHECK_THROWS_AS(writer.append("b", as_bytes(data).first(4)), std::logic_error);
  CHECK_THROWS_AS(writer.append("a", as_bytes(data).first(2)), std::logic_error);
  CHECK_THROWS_AS(writer.close(), std::logic_error);
}

}  // namespace
}  // namespace edgecompress
